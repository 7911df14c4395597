//! A finding: one fact about a submission, at one place, with a strength. Data, never an error.
//!
//! Findings are returned all together and in the order of the tables, never only the first.
//! What they say is made from their reason and facts by [`crate::wording`].

use super::cell::{CellAddress, RowKey};
use super::reason::{Reason, Remark};
use compact_str::CompactString;

/// What follows from a finding (基本平衡, 逻辑性, 核实性).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Strength {
    /// Must hold: the submission is refused.
    Balance,
    /// Must hold or be explained before acceptance.
    Logic,
    /// A question: please verify.
    Verify,
}

impl Strength {
    /// The name used in files and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Strength::Balance => "balance",
            Strength::Logic => "logic",
            Strength::Verify => "verify",
        }
    }
}

/// Where something is in a submission, as exactly as is known. Empty parts mean the whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Table id, as the submission gave it.
    pub table: CompactString,
    /// Which row of that table as filed, from 1; 0 if no row is meant.
    pub line: u32,
    /// Row key, as the submission gave it.
    pub row: RowKey,
    /// Column id, as the submission gave it.
    pub column: CompactString,
}

impl Place {
    /// A whole table.
    pub fn table(id: &str) -> Place {
        Place { table: id.into(), ..Place::default() }
    }

    /// One row.
    pub fn row(table: &str, line: u32, row: &str) -> Place {
        Place { table: table.into(), line, row: row.into(), column: CompactString::default() }
    }

    /// One cell.
    pub fn cell(table: &str, line: u32, row: &str, column: &str) -> Place {
        Place { column: column.into(), ..Place::row(table, line, row) }
    }

    /// A cell by its address.
    pub fn address(address: &CellAddress) -> Place {
        Place::cell(&address.table, 0, &address.row, &address.column)
    }
}

/// One fact about a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What follows from it.
    pub strength: Strength,
    /// Where it is.
    pub place: Place,
    /// What it is: a stable reason and its facts.
    pub remark: Remark,
}

impl Finding {
    /// A finding for which a submission is refused.
    pub fn refusing(place: Place, remark: Remark) -> Finding {
        Finding { strength: Strength::Balance, place, remark }
    }

    /// A question to verify.
    pub fn verify(place: Place, remark: Remark) -> Finding {
        Finding { strength: Strength::Verify, place, remark }
    }

    /// Whether a submission with this finding is refused.
    pub fn refuses(&self) -> bool {
        self.strength == Strength::Balance
    }

    /// Its reason.
    pub fn reason(&self) -> Reason {
        self.remark.reason
    }
}
