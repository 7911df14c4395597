//! Which rows are meant, place by place. Says what `select.rs` says, where prints can tell.

use super::super::book::{BookTable, KEY_PARTS, NONE, State};
use super::super::line::{BookOf, Named, Rows, Test};
use super::super::world::{RELATIONS, THIS};
use super::batch::{Batch, Open};
use super::{AtOnce, Truth};

/// Prints can't tell which row.
pub(super) const UNKNOWN: u32 = NONE - 1;
/// The most rows that are met at once; a formula that meets more is asked place by place.
const MET_MAX: usize = 1 << 20;

/// Rows that were met.
pub(super) struct Met<'b> {
    pub(super) rows: Batch<'b>,
    /// Which of them are taken off, if rows are added up.
    pub(super) minus: Vec<bool>,
    /// Places from which it can't be told which are.
    pub(super) unsure: Vec<u32>,
}

/// A list of pairs being made.
#[derive(Default)]
struct Pairs {
    from: Vec<u32>,
    rows: Vec<u32>,
    minus: Vec<bool>,
    unsure: Vec<u32>,
}

impl Pairs {
    /// With room for one row at each place, or for each row of a table once.
    fn at(at: &Batch<'_>, table: Option<&BookTable<'_>>) -> Pairs {
        let room = table.map_or(0, |table| table.len() as usize).max(at.len);
        Pairs { from: Vec::with_capacity(room), rows: Vec::with_capacity(room), ..Pairs::default() }
    }

    fn push(&mut self, from: u32, row: u32) {
        self.from.push(from);
        self.rows.push(row);
    }

    fn met<'b>(self, book: usize, table: usize, at: &'b Batch<'b>) -> Met<'b> {
        let rows = at.inside(book, table, self.from, self.rows);
        Met { rows, minus: self.minus, unsure: self.unsure }
    }
}

impl<'w, 'a> AtOnce<'w, 'a> {
    fn book(&self, of: BookOf) -> Option<usize> {
        match of {
            BookOf::This => Some(THIS),
            BookOf::FormSet => Some(RELATIONS),
            BookOf::Last => self.world.last,
            BookOf::Given => self.world.given,
            BookOf::Units => None,
        }
    }

    /// The books in which rows are looked for.
    pub(super) fn books(&self, of: BookOf) -> Option<Vec<usize>> {
        match of {
            BookOf::Units if self.world.units.is_empty() => None,
            BookOf::Units => Some(self.world.units.clone().collect()),
            _ => self.book(of).map(|book| vec![book]),
        }
    }

    fn filed(&self, book: usize, table: usize) -> Option<&'w BookTable<'a>> {
        self.world.table(book, table).filter(|table| table.state != State::Missing)
    }

    /// The numbers that rows have to have, for each join one list.
    fn wanted(&self, rows: &Rows, at: &Batch<'_>) -> Vec<(usize, Vec<u32>)> {
        rows.joins.iter().map(|join| (join.position, at.parts(self.world, join.frame, join.of))).collect()
    }

    /// Book and rows: the one that is meant at each place. Nothing if that can't be told anywhere.
    pub(super) fn find(&self, rows: &'a Rows, at: &Batch<'_>) -> Option<(usize, Vec<u32>)> {
        let book = self.book(rows.book)?;
        let table = self.filed(book, rows.table)?;
        if table.state == State::Empty {
            return Some((book, vec![NONE; at.len]));
        }
        let mut found = match rows.named {
            Some(named) => vec![named_row(table, named); at.len],
            None => {
                let wanted = self.wanted(rows, at);
                let one = |place| met(table, &wanted, place).next().unwrap_or(NONE);
                (0..at.len).map(one).collect()
            }
        };
        // A code that is not listed is as good as blank; a row of the form that is not there is amiss.
        if rows.named.is_some() || self.world.fixed_rows(rows.table).is_some() {
            found.iter_mut().filter(|row| **row == NONE).for_each(|row| *row = UNKNOWN);
        }
        if !rows.tests.is_empty() {
            let there = (0_u32..).zip(&found).filter(|(_, row)| **row < UNKNOWN).map(|(place, row)| (place, *row));
            let (from, met) = there.unzip();
            let inner = at.inside(book, rows.table, from, met);
            for (place, truth) in inner.from().iter().zip(self.passes(&rows.tests, &inner)) {
                if let Some(row) = found.get_mut(*place as usize) {
                    *row = match truth {
                        Truth::Plain => *row,
                        Truth::Never => NONE,
                        Truth::Unsure => UNKNOWN,
                    };
                }
            }
        }
        Some((book, found))
    }

    /// Each row that is meant at each place. A total row is no row of its own, but for a scope.
    pub(super) fn each<'b>(&self, book: usize, rows: &'a Rows, total: bool, at: &'b Batch<'b>) -> Met<'b> {
        let mut pairs = Pairs::at(at, self.world.table(book, rows.table));
        let places = 0..u32::try_from(at.len).unwrap_or(NONE);
        let mut tests: Vec<&'a Test> = rows.tests.iter().collect();
        match self.filed(book, rows.table) {
            None => pairs.unsure = places.collect(),
            Some(table) if table.state == State::Empty => {}
            Some(table) => {
                if let Some(named) = rows.named {
                    let row = named_row(table, named);
                    if row < table.len() {
                        places.for_each(|place| pairs.push(place, row));
                    }
                } else if !rows.joins.is_empty() {
                    let wanted = self.wanted(rows, at);
                    for place in places {
                        met(table, &wanted, place as usize).for_each(|row| pairs.push(place, row));
                    }
                } else if let Some((test, list, part)) = rows.tests.iter().enumerate().find_map(leading) {
                    if self.listed(table, list, part, at, &mut pairs) && list.tests.is_empty() {
                        tests.remove(test);
                    }
                } else if at.len.saturating_mul(table.len() as usize) > MET_MAX {
                    pairs.unsure = places.collect();
                } else {
                    let is_total = |row: u32| row == table.total && table.width > 0;
                    for place in places {
                        (0..table.len()).filter(|row| total || !is_total(*row)).for_each(|row| pairs.push(place, row));
                    }
                }
            }
        }
        let mut met = pairs.met(book, rows.table, at);
        if !tests.is_empty() && met.rows.len > 0 {
            let passed = self.pass(&tests, &met.rows);
            let unsure = met.rows.from().iter().zip(&passed).filter(|(_, truth)| **truth == Truth::Unsure);
            met.unsure.extend(unsure.map(|(place, _)| *place));
            let mut kept: Vec<u32> = Vec::with_capacity(passed.len());
            kept.extend((0..).zip(&passed).filter(|(_, truth)| truth.is_plain()).map(|(at, _)| at));
            if kept.len() < met.rows.len {
                met.rows = met.rows.keep(&kept);
            }
        }
        met
    }

    /// The rows of a table that a list names, looking from the list. Whether it could be told.
    fn listed(&self, table: &BookTable<'a>, list: &'a Rows, part: usize, at: &Batch<'_>, pairs: &mut Pairs) -> bool {
        let places = 0..u32::try_from(at.len).unwrap_or(NONE);
        let Some(keys) = self.book(list.book).and_then(|book| self.filed(book, list.table)) else {
            pairs.unsure = places.collect();
            return false;
        };
        let wanted: Vec<(usize, Vec<u32>)> = list
            .joins
            .iter()
            .filter(|join| join.position != part)
            .map(|join| (join.position, at.parts(self.world, join.frame, join.of)))
            .collect();
        for place in places {
            let mut rows: Vec<u32> = met(keys, &wanted, place as usize)
                .map(|row| table.row(keys.part(row, part)))
                .filter(|row| *row != NONE)
                .collect();
            rows.sort_unstable();
            rows.dedup();
            rows.into_iter().for_each(|row| pairs.push(place, row));
        }
        true
    }

    /// Whether the rows at hand are among those that are chosen.
    pub(super) fn passes(&self, tests: &'a [Test], at: &Batch<'_>) -> Vec<Truth> {
        self.pass(&tests.iter().collect::<Vec<_>>(), at)
    }

    fn pass(&self, tests: &[&'a Test], at: &Batch<'_>) -> Vec<Truth> {
        let mut found = vec![Truth::Plain; at.len];
        let mut open = Open::all(at);
        for test in tests {
            let passed = self.test(test, open.batch());
            open.settle(&passed, Truth::is_plain, |place, truth| {
                if let Some(found) = found.get_mut(place) {
                    *found = truth;
                }
            });
        }
        found
    }

    fn test(&self, test: &'a Test, at: &Batch<'_>) -> Vec<Truth> {
        let Some(own) = at.own() else { return vec![Truth::Unsure; at.len] };
        let table = self.world.table(own.book, own.table);
        let by_row = |holds: &dyn Fn(u32) -> bool| own.rows.iter().map(|row| Truth::of(holds(*row))).collect();
        match test {
            Test::Parents => by_row(&|row| self.world.is_parent(own.book, own.table, row)),
            Test::Leaves => by_row(&|row| !self.world.is_parent(own.book, own.table, row)),
            Test::Level(digits) => by_row(&|row| table.is_some_and(|table| table.is_on_level(row, *digits))),
            Test::In { not, rows, .. } => {
                let found = self.exists(rows, at).into_iter();
                found.map(|truth| if *not { truth.not() } else { truth }).collect()
            }
            Test::Holds(expr) => self.truths(expr, at),
        }
    }

    pub(super) fn exists(&self, rows: &'a Rows, at: &Batch<'_>) -> Vec<Truth> {
        self.any(rows, false, at, |_, _| true)
    }

    /// Whether there is a row for which something holds, place by place.
    pub(super) fn any(
        &self,
        rows: &'a Rows,
        total: bool,
        at: &Batch<'_>,
        holds: impl Fn(usize, u32) -> bool,
    ) -> Vec<Truth> {
        let Some(books) = self.books(rows.book) else { return vec![Truth::Unsure; at.len] };
        let mut found = vec![Truth::Never; at.len];
        for book in books {
            let met = self.each(book, rows, total, at);
            let there = met.rows.own().map_or(&[][..], |own| &own.rows);
            let mut say = |place: u32, truth| {
                if let Some(found) = found.get_mut(place as usize) {
                    *found = truth;
                }
            };
            for (place, row) in met.rows.from().iter().zip(there) {
                if holds(book, *row) {
                    say(*place, Truth::Plain);
                }
            }
            met.unsure.into_iter().for_each(|place| say(place, Truth::Unsure));
        }
        found
    }

    /// The keys that are in each of these tables.
    pub(in super::super) fn keys_of(&self, all: &'a [Rows]) -> Option<Vec<Vec<[u32; KEY_PARTS]>>> {
        let once = Batch::once();
        let keys_of = |rows: &'a Rows| {
            let mut keys = Vec::new();
            for book in self.books(rows.book)? {
                let met = self.each(book, rows, true, &once);
                if !met.unsure.is_empty() {
                    return None;
                }
                let table = self.world.table(book, rows.table)?;
                let rows = met.rows.own().map_or(&[][..], |own| &own.rows);
                keys.extend(rows.iter().map(|row| table.key(*row)));
            }
            Some(keys)
        };
        all.iter().map(keys_of).collect()
    }

    /// The rows below each row at hand, or the last of them; of fixed rows, those that it adds, some of them taken off.
    pub(super) fn below<'b>(&self, frame: usize, leaves: bool, at: &'b Batch<'b>) -> Met<'b> {
        let Some((book, table, rows)) = at.rows(frame) else { return Pairs::default().met(THIS, 0, at) };
        let mut pairs = Pairs::at(at, self.world.table(book, table));
        pairs.minus.reserve(pairs.rows.capacity());
        for (place, row) in (0_u32..).zip(rows.iter()) {
            if self.add_below(book, table, (place, *row), (leaves, false), &mut pairs).is_none() {
                pairs.unsure.push(place);
            }
        }
        pairs.met(book, table, at)
    }

    fn add_below(
        &self,
        book: usize,
        table: usize,
        (place, row): (u32, u32),
        (leaves, minus): (bool, bool),
        pairs: &mut Pairs,
    ) -> Option<()> {
        let Some(filed) = self.world.table(book, table) else { return Some(()) };
        let mut add = |child: u32, minus: bool| {
            if leaves && self.world.is_parent(book, table, child) {
                return self.add_below(book, table, (place, child), (leaves, minus), pairs);
            }
            pairs.push(place, child);
            pairs.minus.push(minus);
            Some(())
        };
        let Some(fixed) = self.world.fixed_rows(table) else {
            return filed.children(row).try_for_each(|child| add(child, minus));
        };
        let parts = filed.printed_at(row).and_then(|at| fixed.get(at)).map_or(&[][..], |row| &row.parts);
        parts.iter().try_for_each(|part| {
            let child = filed.fixed.get(part.row).copied().filter(|row| *row != NONE)?;
            add(child, minus != part.minus)
        })
    }
}

fn named_row(table: &BookTable<'_>, named: Named) -> u32 {
    match named {
        Named::Record if table.len() > 0 => 0,
        Named::Record => NONE,
        Named::Total => table.total,
        Named::Key(number) => table.row(number),
    }
}

/// A list that leads to the rows that it names.
fn leading((at, test): (usize, &Test)) -> Option<(usize, &Rows, usize)> {
    match test {
        Test::In { rows, leads: Some(part), .. } => Some((at, rows, *part)),
        _ => None,
    }
}

/// The rows of a table that have what is wanted at a place.
fn met<'t>(table: &'t BookTable<'_>, wanted: &'t [(usize, Vec<u32>)], place: usize) -> impl Iterator<Item = u32> + 't {
    let number = move |list: &Vec<u32>| list.get(place).copied().unwrap_or(NONE);
    let first = wanted.first().map(|(position, list)| (*position, number(list)));
    let one = first.filter(|_| table.width == 1).map(|(_, number)| table.row(number)).filter(|row| *row != NONE);
    let several = first.filter(|_| table.width != 1).map_or(&[][..], |(position, number)| table.with(position, number));
    let fits =
        move |row: &u32| wanted.iter().skip(1).all(|(position, list)| table.part(*row, *position) == number(list));
    one.into_iter().chain(several.iter().map(|(_, row)| *row).filter(fits))
}
