//! Which rows a formula means: the one that meets the rows at hand, each that passes the tests, the row that is called
//! by name.
//!
//! Knows nothing of amounts. Tests that are conditions are asked of `conditions.rs`.

use super::book::{BookTable, KEY_PARTS, NONE, State, TOTAL};
use super::finding::{Cause, Source};
use super::interval::Meeting;
use super::line::{BookOf, Join, Named, Rows, Test};
use super::look::{Answer, Eye, Look, Visit};
use super::names::Names;
use super::report::Reporter;
use super::syntax::Unit;
use super::world::{Frame, RELATIONS, THIS, World};
use super::written;
use crate::budget::cell::Cell;
use crate::budget::form_set::{fold_width, folds_to};

impl<'w, 'a, E: Eye<'a>> Look<'w, 'a, E> {
    pub(super) fn book(&self, of: BookOf) -> Answer<'a, usize, E> {
        match of {
            BookOf::This => Ok(THIS),
            BookOf::FormSet => Ok(RELATIONS),
            BookOf::Last => self.world.last.ok_or_else(|| E::lack(|| Cause::NoLastYear)),
            BookOf::Given => Ok(self.world.given.unwrap_or(usize::MAX)),
            BookOf::Units => Err(E::lack(|| Cause::NoUnits)),
        }
    }

    pub(super) fn table_missing(&self, rows: &Rows, book: usize) -> E::Lack {
        E::lack(|| {
            let id = self.world.id(rows.table);
            match (rows.book, self.world.source(book)) {
                (BookOf::Given, _) => Cause::NotGiven(id),
                (_, Source::Unit(unit)) => Cause::UnitTableMissing(unit, id),
                _ => Cause::TableMissing(id),
            }
        })
    }

    /// The part of the key at hand by which rows are met.
    #[inline]
    fn part(&self, join: &Join) -> u32 {
        self.frames.get(join.frame).map_or(NONE, |frame| self.world.part(frame, join.of))
    }

    /// The key that rows have to have, where it is at hand.
    fn wanted(&self, rows: &Rows) -> [u32; KEY_PARTS] {
        let mut key = [NONE; KEY_PARTS];
        for join in &rows.joins {
            if let Some(part) = key.get_mut(join.position) {
                *part = self.part(join);
            }
        }
        key
    }

    /// The one row that is meant. A code that is not listed is a frame without a row: all blank.
    pub(super) fn find(&mut self, rows: &'a Rows) -> Answer<'a, Frame, E> {
        let book = self.book(rows.book)?;
        let world = self.world;
        let absent = |key| Frame { book, table: rows.table, row: NONE, key };
        let Some(table) = world.table(book, rows.table).filter(|table| table.state != State::Missing) else {
            return Err(self.table_missing(rows, book));
        };
        let (row, key) = match rows.named {
            Some(Named::Record) => (if table.len() > 0 { 0 } else { NONE }, [NONE; KEY_PARTS]),
            Some(Named::Total) => (table.total, [TOTAL; KEY_PARTS]),
            Some(Named::Key(number)) => (table.row(number), [number; KEY_PARTS]),
            None => match rows.joins.as_slice() {
                [join] if table.width == 1 => {
                    let part = self.part(join);
                    (table.row(part), [part, NONE, NONE, NONE])
                }
                _ => {
                    let key = self.wanted(rows);
                    (row_with(table, rows, &key), key)
                }
            },
        };
        if table.state == State::Empty {
            return Ok(absent(key));
        }
        if row == NONE {
            let listed = rows.named.is_none() && world.fixed_rows(rows.table).is_none();
            if listed {
                return Ok(absent(key));
            }
            let name = || Reporter::row_name(world, &absent(key));
            return Err(E::lack(|| Cause::RowMissing(world.id(rows.table), name())));
        }
        let frame = Frame::of(book, rows.table, row);
        if self.passes(rows, frame)? { Ok(frame) } else { Ok(absent(key)) }
    }

    /// Calls `f` for each row until it says stop. A total row is no row of its own, but for a scope.
    pub(super) fn each(&mut self, rows: &'a Rows, total: bool, f: &mut Visit<'_, 'w, 'a, E>) -> Answer<'a, (), E> {
        if rows.book != BookOf::Units {
            let book = self.book(rows.book)?;
            return self.each_in(book, rows, total, f).map(|_| ());
        }
        if self.world.units.is_empty() {
            return Err(E::lack(|| Cause::NoUnits));
        }
        for book in self.world.units.clone() {
            if !self.each_in(book, rows, total, f)? {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn each_in(
        &mut self,
        book: usize,
        rows: &'a Rows,
        total: bool,
        f: &mut Visit<'_, 'w, 'a, E>,
    ) -> Answer<'a, bool, E> {
        let world = self.world;
        let Some(table) = world.table(book, rows.table).filter(|table| table.state != State::Missing) else {
            return Err(self.table_missing(rows, book));
        };
        let mut visit = |run: &mut Self, row: u32| -> Answer<'a, bool, E> {
            let frame = Frame::of(book, rows.table, row);
            Ok(!run.passes(rows, frame)? || f(run, frame)?)
        };
        if table.state == State::Empty {
            return Ok(true);
        }
        if let Some(named) = rows.named {
            let row = match named {
                Named::Record => 0,
                Named::Total => table.total,
                Named::Key(number) => table.row(number),
            };
            return if row == NONE || row >= table.len() { Ok(true) } else { visit(self, row) };
        }
        if let Some(join) = rows.joins.first() {
            let part = self.part(join);
            if table.width == 1 {
                let row = table.row(part);
                return if row == NONE { Ok(true) } else { visit(self, row) };
            }
            let wanted = if rows.joins.len() == 1 { [NONE; KEY_PARTS] } else { self.wanted(rows) };
            let with =
                if rows.joins.len() == 1 { table.with(join.position, part) } else { fewest(table, rows, &wanted) };
            for row in with {
                let fits = rows.joins.len() == 1 || table.fits(*row, &rows.joins, &wanted);
                if fits && !visit(self, *row)? {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        let lists = rows.tests.iter().find_map(|test| match test {
            Test::In { rows, leads: Some(part), .. } => Some((rows, *part)),
            _ => None,
        });
        if let Some((list, part)) = lists {
            for row in self.listed(table, list, part)? {
                if !visit(self, row)? {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        for row in 0..table.len() {
            let is_total = row == table.total && table.width > 0;
            if (!is_total || total) && !visit(self, row)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The rows of a table that a list names, looking from the list.
    pub(super) fn listed(&mut self, table: &BookTable<'a>, list: &'a Rows, part: usize) -> Answer<'a, Vec<u32>, E> {
        let book = self.book(list.book)?;
        let Some(keys) = self.world.table(book, list.table).filter(|keys| keys.state != State::Missing) else {
            return Err(self.table_missing(list, book));
        };
        let outer = || list.joins.iter().filter(|join| join.position != part);
        let wanted = self.wanted(list);
        let Some(first) = outer().next() else { return Ok(Vec::new()) };
        let mut rows = Vec::new();
        let number = wanted.get(first.position).copied().unwrap_or(NONE);
        for at in keys.with(first.position, number) {
            let key = keys.key(*at);
            if outer().all(|join| key.get(join.position) == wanted.get(join.position)) {
                rows.extend(key.get(part).map(|number| table.row(*number)).filter(|row| *row != NONE));
            }
        }
        rows.sort_unstable();
        rows.dedup();
        Ok(rows)
    }

    /// The keys that are in any of these tables, by their numbers.
    pub(super) fn keys_of(&mut self, all: &'a [Rows]) -> Answer<'a, Vec<[u32; KEY_PARTS]>, E> {
        let mut keys = Vec::new();
        for rows in all {
            self.each(rows, true, &mut |run, frame| {
                keys.push(run.world.key(&frame));
                Ok(true)
            })?;
        }
        keys.sort_unstable();
        keys.dedup();
        Ok(keys)
    }

    #[inline]
    pub(super) fn passes(&mut self, rows: &'a Rows, frame: Frame) -> Answer<'a, bool, E> {
        if rows.tests.is_empty() { Ok(true) } else { self.passes_all(&rows.tests, &frame) }
    }

    fn passes_all(&mut self, tests: &'a [Test], frame: &Frame) -> Answer<'a, bool, E> {
        for test in tests {
            let passes = match test {
                Test::Parents => self.world.is_parent(frame.book, frame.table, frame.row),
                Test::Leaves => !self.world.is_parent(frame.book, frame.table, frame.row),
                Test::Says(any) => self.says_any(frame, any)?,
                Test::IsUnit(column, unit) => self.is_unit(frame, *column, *unit)?,
                Test::Level(digits) => {
                    let table = self.world.table(frame.book, frame.table);
                    table.is_some_and(|table| table.is_on_level(frame.row, *digits))
                }
                Test::In { .. } | Test::Holds(_) => self.passes_inside(test, *frame)?,
            };
            if !passes {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Tests for which other rows may be looked at, too.
    #[inline(never)]
    fn passes_inside(&mut self, test: &'a Test, frame: Frame) -> Answer<'a, bool, E> {
        self.inside(frame, |run| match test {
            Test::In { not, rows, .. } => Ok(run.exists(rows)? != *not),
            Test::Holds(expr) => Ok(run.truth(expr)? != Meeting::Never),
            Test::Parents | Test::Leaves | Test::Level(_) | Test::Says(_) | Test::IsUnit(..) => Ok(true),
        })
    }

    /// Whether a row says one of these in its own columns. That is nothing that a verdict rests on, so it isn't noted.
    fn says_any(&self, frame: &Frame, any: &[(usize, String)]) -> Answer<'a, bool, E> {
        for (column, wanted) in any {
            match self.world.cell(frame, *column) {
                Some(Cell::Text(text)) if folds_to(text, wanted) => return Ok(true),
                Some(Cell::Unreadable(_)) => return Err(self.unreadable_at(frame, *column)),
                _ => {}
            }
        }
        Ok(false)
    }

    /// The same of a figure of that unit.
    fn is_unit(&self, frame: &Frame, column: usize, unit: Unit) -> Answer<'a, bool, E> {
        match self.world.cell(frame, column) {
            Some(Cell::Text(text)) if !written::may_be(text, unit) => Ok(false),
            Some(Cell::Text(text)) => {
                let reading = match self.world.text(frame, column) {
                    Some(text) => text.reading(),
                    None => written::read(&fold_width(text)),
                };
                reading.is_unit(unit).ok_or_else(|| self.unreadable_at(frame, column))
            }
            Some(Cell::Unreadable(_)) => Err(self.unreadable_at(frame, column)),
            _ => Ok(false),
        }
    }

    #[cold]
    fn unreadable_at(&self, frame: &Frame, column: usize) -> E::Lack {
        E::lack(|| Cause::Unreadable(Reporter::address(self.world, &frame.cell(column))))
    }

    pub(super) fn exists(&mut self, rows: &'a Rows) -> Answer<'a, bool, E> {
        let mut found = false;
        self.each(rows, false, &mut |_, _| {
            found = true;
            Ok(false)
        })?;
        Ok(found)
    }
}

/// Keys of rows of a table as people list them: the total, then by key.
pub(super) fn in_order(world: &World<'_>, table: usize, mut keys: Vec<[u32; KEY_PARTS]>) -> Vec<[u32; KEY_PARTS]> {
    let axes = Names { form: world.form }.axes(table);
    let spelled = |key: &[u32; KEY_PARTS], at: usize| world.keys.name(axes[at], key[at]);
    keys.sort_by(|a, b| {
        let by_name = || (0..axes.len().min(KEY_PARTS)).map(|at| spelled(a, at).cmp(spelled(b, at)));
        let total = (a[0] != TOTAL).cmp(&(b[0] != TOTAL));
        total.then_with(|| by_name().find(|order| order.is_ne()).unwrap_or_else(|| a.cmp(b)))
    });
    keys
}

fn row_with(table: &BookTable<'_>, rows: &Rows, key: &[u32; KEY_PARTS]) -> u32 {
    let mut with = fewest(table, rows, key).iter().copied();
    with.find(|row| table.fits(*row, &rows.joins, key)).unwrap_or(NONE)
}

/// The rows that have one of the parts asked for: of that which the fewest have, so that no list of one project or one number
/// is gone through for each of its rows.
fn fewest<'t>(table: &'t BookTable<'_>, rows: &Rows, key: &[u32; KEY_PARTS]) -> &'t [u32] {
    let with = |join: &Join| table.with(join.position, key.get(join.position).copied().unwrap_or(NONE));
    rows.joins.iter().map(with).min_by_key(|with| with.len()).unwrap_or_default()
}
