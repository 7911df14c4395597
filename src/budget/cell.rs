//! One cell: its address, and what can stand in it.
//!
//! The address (table, row key, column) is what ceilings, findings, trace and diff all speak of.
//! Next: `form_set` says which cells there are, `submission` holds them.

use std::fmt;

use compact_str::CompactString;

use super::cell_text::CellText;
use super::money::Amount;
use super::number::Number;

/// The key of a row: a fixed row's key, a code, or list keys joined by `/`.
pub type RowKey = CompactString;

/// The key of the one row of a record.
pub const RECORD_ROW: &str = "-";

/// What stands in a cell of a row that was filed. A row or table that is not there has no cells at all:
/// that is *missing*, and something else than *blank*.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// Left blank.
    Blank,
    /// An amount of money, a printed `0` included.
    Amount(Amount),
    /// A count, year or percentage.
    Number(Number),
    /// Text, as it was written.
    Text(CellText),
    /// What was written where the column's type can't read it; kept word for word. It is rare: so it may lie elsewhere, and
    /// a cell be no larger than a short text.
    Unreadable(Box<str>),
}

impl Cell {
    /// The amount, if it is one.
    pub fn amount(&self) -> Option<Amount> {
        match self {
            Cell::Amount(amount) => Some(*amount),
            Cell::Blank | Cell::Number(_) | Cell::Text(_) | Cell::Unreadable(_) => None,
        }
    }

    /// The same, apart from its filing: what is kept for longer doesn't keep the other texts of that in memory.
    pub fn apart(&self) -> Cell {
        match self {
            Cell::Text(text) => Cell::Text(text.apart()),
            Cell::Blank | Cell::Amount(_) | Cell::Number(_) | Cell::Unreadable(_) => self.clone(),
        }
    }

    /// Whether nothing stands in it.
    pub fn is_blank(&self) -> bool {
        matches!(self, Cell::Blank)
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cell::Blank => Ok(()),
            Cell::Amount(amount) => amount.fmt(f),
            Cell::Number(number) => number.fmt(f),
            Cell::Text(text) => f.write_str(text),
            Cell::Unreadable(text) => f.write_str(text),
        }
    }
}

/// The address of a cell, written `T03/2080109/basic`; a list's row key may itself hold slashes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CellAddress {
    /// Table id.
    pub table: CompactString,
    /// Row key.
    pub row: RowKey,
    /// Column id.
    pub column: CompactString,
}

impl CellAddress {
    /// An address from its parts.
    pub fn new(table: &str, row: &str, column: &str) -> CellAddress {
        CellAddress { table: table.into(), row: row.into(), column: column.into() }
    }

    /// Reads `table/row/column`; the row is everything between the first and the last slash.
    pub fn parse(text: &str) -> Option<CellAddress> {
        let (table, rest) = text.split_once('/')?;
        let (row, column) = rest.rsplit_once('/')?;
        let whole = !table.is_empty() && !row.is_empty() && !column.is_empty();
        whole.then(|| CellAddress::new(table, row, column))
    }
}

impl fmt::Display for CellAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.table, self.row, self.column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A night has tens of millions of them.
    #[test]
    fn cells_are_as_small_as_texts() {
        assert_eq!((size_of::<Cell>(), size_of::<Option<Cell>>()), (24, 24));
    }

    #[test]
    fn addresses_read_back() {
        for text in ["T03/2080109/basic", "PI/2024-001/3/value", "T03/合计/total"] {
            assert_eq!(CellAddress::parse(text).unwrap().to_string(), text);
        }
        for text in ["T03", "T03/x", "/a/b", "T03//b", "T03/a/"] {
            assert_eq!(CellAddress::parse(text), None, "{text}");
        }
    }
}
