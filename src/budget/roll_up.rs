//! The roll-up: sums per cell over many submissions, kept by difference.
//!
//! A [`Totals`] is what a node of the unit tree adds up. Posting a submission and taking it off again leaves exactly
//! what was there before, so by-difference always equals a full recompute.
//! It knows nothing of the tree: which node a submission is posted to is the ledger's business.

use std::sync::Arc;

use super::cell::{Cell, RowKey};
use super::form_set::{FormSet, RollUp, Table};
use super::money::{CELL_FEN_MAX, Money, Total};
use super::submission::{Content, FiledRow, FiledTable, Submission};

/// The row key under which a list table without a total row shows the sum of its rows.
pub const SUBTOTAL_ROW: &str = "Σ";

/// The sum of one cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sum {
    /// The exact sum of what was reported, in 元 (whole pieces for a column of counts).
    pub value: Total,
    /// How far the true sum may be from it: half a printed digit for each part that was rounded.
    pub slack: Total,
    /// How many cells with a figure were added. None means blank, which is not 0.
    pub parts: u32,
}

impl Sum {
    /// Nothing added yet.
    pub const BLANK: Sum = Sum { value: Total::ZERO, slack: Total::ZERO, parts: 0 };

    /// The sum of a single cell; `None` if nothing in it adds up.
    pub fn of(cell: &Cell) -> Option<Sum> {
        match cell {
            Cell::Amount(amount) => Some(Sum {
                value: amount.value.into(),
                slack: Total::from_fen(i128::from(amount.scale.half_quantum_fen())),
                parts: 1,
            }),
            Cell::Number(number) if number.decimals == 0 && number.mantissa.abs() <= CELL_FEN_MAX / 100 => {
                Some(Sum { value: Money::from_fen(number.mantissa * 100).into(), slack: Total::ZERO, parts: 1 })
            }
            Cell::Blank | Cell::Number(_) | Cell::Text(_) | Cell::Unreadable(_) => None,
        }
    }

    fn post(&mut self, other: Sum, direction: Direction) {
        match direction {
            Direction::Add => {
                self.value = self.value + other.value;
                self.slack = self.slack + other.slack;
                self.parts += other.parts;
            }
            Direction::Remove => {
                self.value = self.value - other.value;
                self.slack = self.slack - other.slack;
                self.parts = self.parts.saturating_sub(other.parts);
            }
        }
    }
}

/// Whether something is posted or taken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Posted.
    Add,
    /// Taken off again.
    Remove,
}

/// The sums of one table.
///
/// Column by column, and only of columns that anybody filled in; the row keys are shared. A copy for the readers is made
/// with each group of filings: it is a few block copies and no walk over rows.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TableTotals {
    /// How many submissions filed it.
    pub filings: u32,
    /// How many of those filed it as empty on purpose.
    pub empty: u32,
    /// How many rows of list tables stand behind it.
    pub listed: u64,
    /// Sorted.
    keys: Arc<Vec<RowKey>>,
    /// How many submissions have each row.
    counts: Vec<u32>,
    /// By column, then by row. The last of them is never `None`.
    columns: Vec<Option<Vec<Sum>>>,
}

/// The sums of one row.
#[derive(Clone, Copy, Debug)]
pub struct RowSums<'t> {
    columns: &'t [Option<Vec<Sum>>],
    row: usize,
}

impl RowSums<'_> {
    /// The sum of the cells in that column.
    pub fn column(&self, column: usize) -> Sum {
        let sums = self.columns.get(column).and_then(Option::as_deref);
        sums.and_then(|sums| sums.get(self.row)).copied().unwrap_or(Sum::BLANK)
    }
}

/// All sums of one node under one layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totals {
    /// How many submissions are posted.
    pub filings: u32,
    tables: Vec<Option<Arc<TableTotals>>>,
}

impl Totals {
    /// Nothing posted yet, for a form set of so many tables.
    pub fn new(form: &FormSet) -> Totals {
        Totals { filings: 0, tables: vec![None; form.tables.len()] }
    }

    /// The totals of a few submissions.
    pub fn of<'s>(form: &FormSet, submissions: impl IntoIterator<Item = &'s Submission>) -> Totals {
        let mut totals = Totals::new(form);
        submissions.into_iter().for_each(|submission| totals.post(form, &submission.tables, Direction::Add));
        totals
    }

    /// The sums of the table of that index, if any submission filed it.
    pub fn table(&self, table: usize) -> Option<&TableTotals> {
        self.tables.get(table).and_then(Option::as_deref)
    }

    /// The sums of all tables that any submission filed, each with its index.
    pub fn tables(&self) -> impl Iterator<Item = (usize, &TableTotals)> {
        self.tables.iter().enumerate().filter_map(|(table, totals)| Some((table, totals.as_deref()?)))
    }

    /// Puts the sums of a table in their place. `None` if there is no such table.
    pub fn put(&mut self, table: usize, totals: TableTotals) -> Option<()> {
        *self.tables.get_mut(table)? = Some(Arc::new(totals));
        Some(())
    }

    /// Posts the tables of a submission, or takes off those of one that was posted.
    pub fn post(&mut self, form: &FormSet, tables: &[FiledTable], direction: Direction) {
        count(&mut self.filings, direction);
        for filed in tables {
            let table = &form.tables[filed.table];
            let slot = &mut self.tables[filed.table];
            let totals = Arc::make_mut(slot.get_or_insert_with(Arc::default));
            totals.post(table, filed, direction);
            if totals.filings == 0 {
                *slot = None;
            }
        }
    }
}

impl TableTotals {
    /// Row keys, sorted, each with how many submissions have it, and its sums.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = (&RowKey, u32, RowSums<'_>)> {
        let rows = self.keys.iter().zip(&self.counts).enumerate();
        rows.map(|(row, (key, count))| (key, *count, RowSums { columns: &self.columns, row }))
    }

    /// Adds a row behind the others, with how many submissions have it and the sums of its columns.
    /// `None` if its key doesn't come after theirs, or a sum is missing.
    pub fn push(&mut self, key: RowKey, count: u32, sums: impl Iterator<Item = Option<Sum>>) -> Option<()> {
        if self.keys.last().is_some_and(|last| *last >= key) {
            return None;
        }
        let at = self.keys.len();
        self.insert(at, key);
        self.counts[at] = count;
        for (column, sum) in sums.enumerate() {
            let sum = sum?;
            if sum.parts > 0 {
                self.column(column)[at] = sum;
            }
        }
        Some(())
    }

    /// The sums of the row of that key.
    pub fn row(&self, key: &str) -> Option<RowSums<'_>> {
        let row = self.keys.binary_search_by(|row| row.as_str().cmp(key)).ok()?;
        Some(RowSums { columns: &self.columns, row })
    }

    /// The sums of a column, by row.
    fn column(&mut self, column: usize) -> &mut [Sum] {
        if self.columns.len() <= column {
            self.columns.resize(column + 1, None);
        }
        let rows = self.keys.len();
        self.columns[column].get_or_insert_with(|| vec![Sum::BLANK; rows])
    }

    fn insert(&mut self, at: usize, key: RowKey) {
        Arc::make_mut(&mut self.keys).insert(at, key);
        self.counts.insert(at, 0);
        self.columns.iter_mut().flatten().for_each(|sums| sums.insert(at, Sum::BLANK));
    }

    fn remove(&mut self, at: usize) {
        Arc::make_mut(&mut self.keys).remove(at);
        self.counts.remove(at);
        for sums in self.columns.iter_mut().flatten() {
            sums.remove(at);
        }
    }

    /// Lets go of columns in which nothing is left, so that what was posted and taken off leaves no trace.
    fn tidy(&mut self) {
        let is_blank = |sums: &mut Vec<Sum>| sums.iter().all(|sum| sum.parts == 0);
        self.columns.iter_mut().for_each(|sums| drop(sums.take_if(is_blank)));
        while self.columns.pop_if(|sums| sums.is_none()).is_some() {}
    }

    fn post(&mut self, table: &Table, filed: &FiledTable, direction: Direction) {
        count(&mut self.filings, direction);
        if filed.content == Content::Empty {
            count(&mut self.empty, direction);
        }
        match table.roll_up {
            RollUp::None => {}
            RollUp::Sum => self.post_rows(table, filed.rows().iter(), direction),
            RollUp::List => {
                let total = table.total_row().and_then(|key| filed.rows().get(key));
                let count = filed.rows().len() - usize::from(total.is_some());
                match direction {
                    Direction::Add => self.listed += count as u64,
                    Direction::Remove => self.listed = self.listed.saturating_sub(count as u64),
                }
                self.post_rows(table, total, direction);
                if count > 0 && table.total_row().is_none() {
                    let mut subtotal = vec![Sum::BLANK; table.columns.len()];
                    for (column, sum) in filed.rows().iter().flat_map(|row| sums(table, row.cells)) {
                        subtotal[column].post(sum, Direction::Add);
                    }
                    let parts = subtotal.into_iter().enumerate().filter(|(_, sum)| sum.parts > 0);
                    self.post_row(0, SUBTOTAL_ROW, parts, direction);
                }
            }
        }
        if direction == Direction::Remove {
            self.tidy();
        }
    }

    /// Posts rows that are sorted by key.
    fn post_rows<'r>(&mut self, table: &Table, rows: impl IntoIterator<Item = FiledRow<'r>>, direction: Direction) {
        let mut next = 0;
        for row in rows {
            next = self.post_row(next, row.key, sums(table, row.cells), direction);
        }
    }

    /// Posts a row that can't stand before the place `from`, column by column; where the one after it can stand.
    fn post_row(
        &mut self,
        from: usize,
        key: &str,
        parts: impl Iterator<Item = (usize, Sum)>,
        direction: Direction,
    ) -> usize {
        // Units file much the same rows: the next one is mostly the one that is looked for.
        let found = match self.keys.get(from) {
            Some(row) if row == key => Ok(0),
            _ => self.keys[from..].binary_search_by(|row| row.as_str().cmp(key)),
        };
        let at = match found {
            Ok(at) => from + at,
            Err(at) => {
                self.insert(from + at, key.into());
                from + at
            }
        };
        count(&mut self.counts[at], direction);
        parts.for_each(|(column, part)| self.column(column)[at].post(part, direction));
        if self.counts[at] > 0 {
            return at + 1;
        }
        self.remove(at);
        at
    }
}

/// What the cells of a row add to the sums of their columns: most columns are texts and add nothing.
fn sums<'r>(table: &'r Table, cells: &'r [Cell]) -> impl Iterator<Item = (usize, Sum)> + use<'r> {
    table.adding_columns.iter().filter_map(|column| Some((*column, Sum::of(&cells[*column])?)))
}

fn count(counter: &mut u32, direction: Direction) {
    *counter = match direction {
        Direction::Add => *counter + 1,
        Direction::Remove => counter.saturating_sub(1),
    };
}
