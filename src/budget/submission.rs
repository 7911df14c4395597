//! A submission: the cells that one unit files for one year and round. Immutable once read.
//!
//! Missing, blank, 0 and *empty on purpose* are four different things: a table or row that is not there,
//! [`Cell::Blank`], an amount of zero, and [`Content::Empty`].
//! How texts become one: `intake.rs`. What names its content: `digest.rs`.

use std::fmt;

use compact_str::CompactString;

use super::cell::{Cell, CellAddress, RowKey};
use super::digest::Digest;
use super::form_set::FormSet;
use super::money::Denomination;

/// The code of a node in the unit tree, such as `407` or `407002`. Text: leading zeros count.
pub type UnitCode = CompactString;

/// The round of a budget year (两上两下).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Round {
    /// 一上, the proposal.
    First,
    /// 二上, the budget within the control figures.
    Second,
}

impl Round {
    /// The name used in files and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Round::First => "first",
            Round::Second => "second",
        }
    }

    /// Reads that name.
    pub fn parse(text: &str) -> Option<Round> {
        [Round::First, Round::Second].into_iter().find(|round| round.as_str() == text)
    }
}

/// What kind of submission it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A unit's own budget: what is rolled up.
    Unit,
    /// A department's own printed budget: kept and compared, never rolled up.
    Department,
    /// 差额表: deltas that the parent posts on top of its units.
    Difference,
}

impl Kind {
    /// The name used in files and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Unit => "unit",
            Kind::Department => "department",
            Kind::Difference => "difference",
        }
    }

    /// Reads that name.
    pub fn parse(text: &str) -> Option<Kind> {
        [Kind::Unit, Kind::Department, Kind::Difference].into_iter().find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a submission is of: versions count per this.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    /// Who files it.
    pub unit: UnitCode,
    /// Budget year.
    pub year: u16,
    /// Round of that year.
    pub round: Round,
    /// Kind of submission.
    pub kind: Kind,
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {}", self.unit, self.year, self.round, self.kind)
    }
}

/// An exact version of a form set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FormSetVersion {
    /// Its id.
    pub id: CompactString,
    /// The digest of its files.
    pub digest: Digest,
}

/// The cells of one submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// Whose, of when and of what kind.
    pub header: Slot,
    /// What it was filed on.
    pub form_set: FormSetVersion,
    /// The tables that were filed, in the order of the form set.
    pub tables: Vec<FiledTable>,
}

/// One table as filed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FiledTable {
    /// Index into [`FormSet::tables`].
    pub table: usize,
    /// The denomination that the table states over its columns' default.
    pub denomination: Option<Denomination>,
    /// The decimals that the table states over its columns' default.
    pub decimals: Option<u8>,
    /// Its rows, or that it is empty on purpose.
    pub content: Content,
}

/// What a filed table holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// 本表无数据: there is nothing, and that is meant.
    Empty,
    /// Rows, sorted by key.
    Rows(FiledRows),
}

/// The rows of a table as filed, sorted by key, each with a cell for each column of the form set's table.
///
/// Kept as one list of keys and one of cells: a filing has hundreds of rows, and a night has thousands of filings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FiledRows {
    keys: Vec<RowKey>,
    cells: Vec<Cell>,
}

/// One row as filed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FiledRow<'r> {
    /// Its key.
    pub key: &'r RowKey,
    /// A cell for each column of the form set's table.
    pub cells: &'r [Cell],
}

impl FiledRows {
    /// No rows yet, with room for some.
    pub fn with_capacity(rows: usize, columns: usize) -> FiledRows {
        FiledRows { keys: Vec::with_capacity(rows), cells: Vec::with_capacity(rows * columns) }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = FiledRow<'_>> + ExactSizeIterator + Clone {
        let width = self.width();
        let row = move |(at, key)| FiledRow { key, cells: &self.cells[at * width..(at + 1) * width] };
        self.keys.iter().enumerate().map(row)
    }

    /// Their keys, in order.
    pub fn keys(&self) -> &[RowKey] {
        &self.keys
    }

    /// Their cells, row by row, and how many each has.
    pub fn cells(&self) -> (&[Cell], usize) {
        (&self.cells, self.width())
    }

    /// The row of that key.
    pub fn get(&self, key: &str) -> Option<FiledRow<'_>> {
        self.keys.binary_search_by(|other| other.as_str().cmp(key)).ok().and_then(|at| self.at(at))
    }

    /// The row at a place.
    pub fn at(&self, at: usize) -> Option<FiledRow<'_>> {
        let width = self.width();
        Some(FiledRow { key: self.keys.get(at)?, cells: self.cells.get(at * width..(at + 1) * width)? })
    }

    /// Adds a row behind the others, blank throughout; its cells are to be filled. All rows have as many.
    pub fn push(&mut self, key: RowKey, columns: usize) -> &mut [Cell] {
        let filled = self.cells.len();
        self.keys.push(key);
        // Cheaper than copies of one blank, and than one at a time.
        self.cells.extend((0..columns).map(|_| Cell::Blank));
        &mut self.cells[filled..]
    }

    /// The cells of one column, to be filled.
    pub fn column_mut(&mut self, column: usize) -> impl Iterator<Item = &mut Cell> {
        let width = self.width();
        self.cells.iter_mut().skip(column).step_by(width.max(1))
    }

    /// Whether the keys ascend, each once.
    pub fn is_sorted(&self) -> bool {
        self.keys.is_sorted_by(|a, b| a < b)
    }

    /// Puts the rows in another order: each place gets the row of the place that is named there, each of which is named
    /// once.
    pub fn arrange(&mut self, mut places: Vec<usize>) {
        let width = self.width();
        for start in 0..places.len() {
            // Rows that take each other's places stand in a circle: each swap puts one of them where it belongs.
            let mut here = start;
            loop {
                let from = std::mem::replace(&mut places[here], here);
                if from == start {
                    break;
                }
                self.keys.swap(here, from);
                let (before, behind) = self.cells.split_at_mut(here.max(from) * width);
                before[here.min(from) * width..][..width].swap_with_slice(&mut behind[..width]);
                here = from;
            }
        }
    }

    /// Only the first rows.
    pub fn truncate(&mut self, rows: usize) {
        self.cells.truncate(rows * self.width());
        self.keys.truncate(rows);
    }

    fn width(&self) -> usize {
        self.cells.len() / self.keys.len().max(1)
    }
}

static NO_ROWS: FiledRows = FiledRows { keys: Vec::new(), cells: Vec::new() };

impl Submission {
    /// The filed table of that index.
    pub fn table(&self, table: usize) -> Option<&FiledTable> {
        self.tables.iter().find(|filed| filed.table == table)
    }

    /// All rows with the index of their table.
    pub fn rows(&self) -> impl Iterator<Item = (usize, FiledRow<'_>)> {
        self.tables.iter().flat_map(|filed| filed.rows().iter().map(move |row| (filed.table, row)))
    }

    /// How many rows it has.
    pub fn row_count(&self) -> usize {
        self.tables.iter().map(|filed| filed.rows().len()).sum()
    }

    /// The cell at an address. `None`: no such table or row was filed, which is *missing*.
    pub fn cell(&self, form: &FormSet, address: &CellAddress) -> Option<&Cell> {
        let (index, table) = form.table(&address.table)?;
        let column = table.column(&address.column)?;
        self.table(index)?.row(&address.row).and_then(|row| row.cells.get(column))
    }

    /// Puts something else into a cell; `None` if it is missing.
    pub fn put(&mut self, form: &FormSet, address: &CellAddress, cell: Cell) -> Option<()> {
        let (index, table) = form.table(&address.table)?;
        let column = table.column(&address.column)?;
        let filed = self.tables.iter_mut().find(|filed| filed.table == index)?;
        let Content::Rows(rows) = &mut filed.content else { return None };
        let row = rows.keys().binary_search(&address.row).ok()?;
        *rows.column_mut(column).nth(row)? = cell;
        Some(())
    }
}

impl FiledTable {
    /// Its rows; none if it is empty on purpose.
    pub fn rows(&self) -> &FiledRows {
        match &self.content {
            Content::Empty => &NO_ROWS,
            Content::Rows(rows) => rows,
        }
    }

    /// The row of that key.
    pub fn row(&self, key: &str) -> Option<FiledRow<'_>> {
        self.rows().get(key)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn law_rows_are_arranged_as_places_say(
            places in (0..40_usize).prop_flat_map(|rows| Just((0..rows).collect::<Vec<_>>()).prop_shuffle()),
            width in 0..4_usize,
            kept in any::<prop::sample::Index>(),
        ) {
            let mut rows = FiledRows::default();
            for row in 0..places.len() {
                let cells = rows.push(row.to_string().into(), width).iter_mut();
                (0..).zip(cells).for_each(|(column, cell)| *cell = Cell::Text(format!("{row}/{column}").into()));
            }
            let before = rows.clone();
            rows.arrange(places.clone());
            let kept = kept.index(places.len() + 1);
            rows.truncate(kept);
            let found: Vec<FiledRow<'_>> = rows.iter().collect();
            let expected: Vec<FiledRow<'_>> = places[..kept].iter().map(|place| before.at(*place).unwrap()).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
