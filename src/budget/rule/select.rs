//! Which rows a formula means: the one that meets the rows at hand, each that passes the tests, the row that is called
//! by name.
//!
//! Knows nothing of amounts. Tests that are conditions are asked of `conditions.rs`.

use std::cmp::Ordering;

use super::book::{BookTable, KEY_PARTS, NONE, State, TOTAL};
use super::finding::Cause;
use super::interval::{Meeting, Relation};
use super::line::{BookOf, Expr, Named, Rows, Test};
use super::look::{Look, Result, Visit};
use super::names::Names;
use super::report::Reporter;
use super::world::{Frame, RELATIONS, THIS, World};
use crate::budget::cell::Cell;
use crate::budget::form_set::folds_to;

impl<'w, 'a> Look<'w, 'a> {
    pub(super) fn book(&self, of: BookOf) -> Result<usize> {
        match of {
            BookOf::This => Ok(THIS),
            BookOf::FormSet => Ok(RELATIONS),
            BookOf::Last => self.world.last.ok_or(Cause::NoLastYear),
            BookOf::Given => Ok(self.world.given.unwrap_or(usize::MAX)),
            BookOf::Units => Err(Cause::NoUnits),
        }
    }

    pub(super) fn table_missing(&self, rows: &Rows) -> Cause {
        let id = self.world.id(rows.table);
        if rows.book == BookOf::Given { Cause::NotGiven(id) } else { Cause::TableMissing(id) }
    }

    pub(super) fn frame(&self, book: usize, table: usize, row: u32) -> Frame {
        let key = self.world.table(book, table).map_or([NONE; KEY_PARTS], |table| table.key(row));
        Frame { book, table, row, key }
    }

    /// The key that rows have to have, where it is at hand.
    pub(super) fn wanted(&self, rows: &Rows) -> [u32; KEY_PARTS] {
        let mut key = [NONE; KEY_PARTS];
        for join in &rows.joins {
            let at_hand = self.frames.get(join.frame).and_then(|frame| frame.key.get(join.of));
            if let (Some(part), Some(at_hand)) = (key.get_mut(join.position), at_hand) {
                *part = *at_hand;
            }
        }
        key
    }

    /// The one row that is meant. A code that is not listed is a frame without a row: all blank.
    pub(super) fn find(&mut self, rows: &'a Rows) -> Result<Frame> {
        let book = self.book(rows.book)?;
        let world = self.world;
        let absent = |key| Frame { book, table: rows.table, row: NONE, key };
        let Some(table) = world.table(book, rows.table).filter(|table| table.state != State::Missing) else {
            return Err(self.table_missing(rows));
        };
        let (row, key) = match rows.named {
            Some(Named::Record) => (if table.len() > 0 { 0 } else { NONE }, [NONE; KEY_PARTS]),
            Some(Named::Total) => (table.total, [TOTAL; KEY_PARTS]),
            Some(Named::Key(number)) => (table.row(number), [number; KEY_PARTS]),
            None => {
                let key = self.wanted(rows);
                (if table.width == 1 { table.row(key[0]) } else { row_with(table, rows, &key) }, key)
            }
        };
        if table.state == State::Empty {
            return Ok(absent(key));
        }
        if row == NONE {
            let listed = rows.named.is_none() && world.fixed_rows(rows.table).is_none();
            if listed {
                return Ok(absent(key));
            }
            return Err(Cause::RowMissing(world.id(rows.table), Reporter::row_name(world, &absent(key))));
        }
        let frame = self.frame(book, rows.table, row);
        if self.passes(rows, frame)? { Ok(frame) } else { Ok(absent(key)) }
    }

    /// Calls `f` for each row until it says stop. A total row is no row of its own, but for a scope.
    pub(super) fn each(&mut self, rows: &'a Rows, total: bool, f: &mut Visit<'_, 'w, 'a>) -> Result<()> {
        if rows.book != BookOf::Units {
            let book = self.book(rows.book)?;
            return self.each_in(book, rows, total, f).map(|_| ());
        }
        if self.world.units.is_empty() {
            return Err(Cause::NoUnits);
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
        f: &mut Visit<'_, 'w, 'a>,
    ) -> Result<bool> {
        let world = self.world;
        let Some(table) = world.table(book, rows.table).filter(|table| table.state != State::Missing) else {
            return Err(self.table_missing(rows));
        };
        let mut visit = |run: &mut Self, row: u32| -> Result<bool> {
            let frame = run.frame(book, rows.table, row);
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
        let key = self.wanted(rows);
        if let (1, Some(_)) = (table.width, rows.joins.first()) {
            let row = table.row(key[0]);
            return if row == NONE { Ok(true) } else { visit(self, row) };
        }
        if let Some(join) = rows.joins.first() {
            let number = key.get(join.position).copied().unwrap_or(NONE);
            for (_, row) in table.with(join.position, number) {
                let have = table.key(*row);
                let fits = rows.joins.iter().all(|join| have.get(join.position) == key.get(join.position));
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
    pub(super) fn listed(&mut self, table: &BookTable<'a>, list: &'a Rows, part: usize) -> Result<Vec<u32>> {
        let book = self.book(list.book)?;
        let Some(keys) = self.world.table(book, list.table).filter(|keys| keys.state != State::Missing) else {
            return Err(self.table_missing(list));
        };
        let outer = || list.joins.iter().filter(|join| join.position != part);
        let wanted = self.wanted(list);
        let Some(first) = outer().next() else { return Ok(Vec::new()) };
        let mut rows = Vec::new();
        let number = wanted.get(first.position).copied().unwrap_or(NONE);
        for (_, at) in keys.with(first.position, number) {
            let key = keys.key(*at);
            if outer().all(|join| key.get(join.position) == wanted.get(join.position)) {
                rows.extend(key.get(part).map(|number| table.row(*number)).filter(|row| *row != NONE));
            }
        }
        rows.sort_unstable();
        rows.dedup();
        Ok(rows)
    }

    /// The keys that are in each of these tables.
    pub(super) fn keys_of(&mut self, all: &'a [Rows]) -> Result<Vec<Vec<[u32; KEY_PARTS]>>> {
        let mut keys = Vec::new();
        for rows in all {
            let mut own = Vec::new();
            self.each(rows, true, &mut |_, frame| {
                own.push(frame.key);
                Ok(true)
            })?;
            keys.push(own);
        }
        Ok(keys)
    }

    pub(super) fn passes(&mut self, rows: &'a Rows, frame: Frame) -> Result<bool> {
        for test in &rows.tests {
            let passes = match test {
                Test::Parents => self.world.is_parent(frame.book, frame.table, frame.row),
                Test::Leaves => !self.world.is_parent(frame.book, frame.table, frame.row),
                Test::Level(digits) => {
                    let table = self.world.table(frame.book, frame.table);
                    table.is_some_and(|table| table.is_on_level(frame.row, *digits))
                }
                Test::In { not, rows, .. } => self.inside(frame, |run| run.exists(rows))? != *not,
                Test::Holds(expr) => match self.says(expr, frame) {
                    Some(holds) => holds,
                    None => self.inside(frame, |run| run.truth(expr))? != Meeting::Never,
                },
            };
            if !passes {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What most tests of rows come to: whether a text of the row itself is one that is written in the formula. `None` for
    /// any other test. No other cell is looked at, so there is nothing to note.
    fn says(&self, expr: &Expr, frame: Frame) -> Option<bool> {
        match expr {
            Expr::And(parts) => parts.iter().try_fold(true, |all, part| Some(all & self.says(part, frame)?)),
            Expr::Or(parts) => parts.iter().try_fold(false, |any, part| Some(any | self.says(part, frame)?)),
            Expr::Compare(first, rest, _) => {
                let Expr::Here { frame: at, column } = first.as_ref() else { return None };
                let [(Relation::Equal, Expr::Text(wanted))] = rest.as_slice() else { return None };
                if *at != self.frames.len() {
                    return None;
                }
                let table = self.world.table(frame.book, frame.table)?;
                match table.cell(frame.row, *column)? {
                    Cell::Text(text) => Some(folds_to(text, wanted)),
                    Cell::Blank if !wanted.is_empty() => Some(false),
                    Cell::Blank | Cell::Amount(_) | Cell::Number(_) | Cell::Unreadable(_) => None,
                }
            }
            _ => None,
        }
    }

    pub(super) fn exists(&mut self, rows: &'a Rows) -> Result<bool> {
        let mut found = false;
        self.each(rows, false, &mut |_, _| {
            found = true;
            Ok(false)
        })?;
        Ok(found)
    }
}

/// Each key that is in any of these lists, in order: the total, then by key. They are keys of rows of that table.
pub(super) fn in_order(world: &World<'_>, table: usize, all: Vec<Vec<[u32; KEY_PARTS]>>) -> Vec<[u32; KEY_PARTS]> {
    let axes = Names { form: world.form }.axes(table);
    let spelled = |key: &[u32; KEY_PARTS], at: usize| world.keys.name(axes[at], key[at]);
    let order = |a: &[u32; KEY_PARTS], b: &[u32; KEY_PARTS]| {
        let by_name = || (0..axes.len().min(KEY_PARTS)).map(|at| spelled(a, at).cmp(spelled(b, at)));
        match (a == b, (a[0] != TOTAL).cmp(&(b[0] != TOTAL))) {
            (true, _) => Ordering::Equal,
            (false, Ordering::Equal) => by_name().find(|order| order.is_ne()).unwrap_or_else(|| a.cmp(b)),
            (false, order) => order,
        }
    };
    let mut keys: Vec<[u32; KEY_PARTS]> = Vec::new();
    for mut own in all {
        // The keys of one table stand in order, but for the total among codes; those of several units don't.
        if let Some(total) = own.iter().position(|key| key[0] == TOTAL) {
            own[..=total].rotate_right(1);
        }
        if !own.is_sorted_by(|a, b| order(a, b).is_lt()) {
            own.sort_by(order);
            own.dedup();
        }
        keys = merged(keys, own, order);
    }
    keys
}

/// Two sorted lists as one, what is in both once.
fn merged<T: Copy>(first: Vec<T>, second: Vec<T>, order: impl Fn(&T, &T) -> Ordering) -> Vec<T> {
    let mut all = Vec::with_capacity(first.len() + second.len());
    let (mut first, mut second) = (first.into_iter().peekable(), second.into_iter().peekable());
    loop {
        let next = match (first.peek(), second.peek()) {
            (Some(a), Some(b)) => order(a, b),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return all,
        };
        all.extend(if next.is_le() { first.next() } else { None });
        let other = if next.is_ge() { second.next() } else { None };
        all.extend(other.filter(|_| next.is_gt()));
    }
}

fn row_with(table: &BookTable<'_>, rows: &Rows, key: &[u32; KEY_PARTS]) -> u32 {
    let Some(join) = rows.joins.first() else { return NONE };
    let number = key.get(join.position).copied().unwrap_or(NONE);
    let fits = |row: &u32| {
        let have = table.key(*row);
        rows.joins.iter().all(|join| have.get(join.position) == key.get(join.position))
    };
    table.with(join.position, number).iter().map(|(_, row)| *row).find(fits).unwrap_or(NONE)
}
