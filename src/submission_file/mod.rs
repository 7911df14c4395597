//! Filings as JSON files: reading them strictly, writing them, and the JSON Schema of a form set.
//!
//! It knows the file format and nothing of the wire, the server or the ledger. What a row key or an amount
//! may be is the form set's business: [`SubmissionFile::read_on`] hands the texts to [`crate::budget::intake`].
//! Next: `read.rs` (text → [`SubmissionFile`]), `write.rs` (back again), `schema.rs`.
//!
//! # The format
//! One JSON object per filing, described for people in `forms/README.md`:
//!
//! ```json
//! {
//!   "form_set": "shanxi-2024", "unit": "407002", "year": 2024, "round": "second", "kind": "unit",
//!   "note": "free text, not part of the submission",
//!   "tables": {
//!     "T03": { "amount_unit": "万元", "decimals": 2, "rows": [ { "row": "2080109", "total": "2118.35" } ] },
//!     "T07": { "empty": true }
//!   }
//! }
//! ```
//!
//! * `kind` may be left out and then means `unit`. `note`, `amount_unit` and `decimals` may be left out.
//! * Every value of a row is text in quotes, so that no program on the way turns `100.00` into `100`;
//!   a column that is left out, `null` and `""` all mean blank. `"0"` is a printed zero.
//! * A table has either `rows` or `"empty": true` (本表无数据). A table that is not mentioned is not filed.
//! * Unknown keys, keys given twice and values of the wrong kind are faults, each with line and column.

mod read;
mod schema;
mod write;

use std::fmt;

pub use schema::schema;
pub use write::write;

use crate::budget::form_set::FormSet;
use crate::budget::intake::{Intake, Placed, Reading, TableHeader};
use crate::budget::reason::Remark;
use crate::budget::submission::Slot;
use crate::wording::{self, Language};

/// The longest file that is read, in bytes; the longest known filing has a hundred thousand.
pub const FILE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The most values, blanks before the last one of a row included, that a file may spell out.
pub const VALUES_MAX: usize = 10_000_000;

/// A file's bytes without the byte order mark that spreadsheets and some editors put before a text.
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes)
}

/// A filing as its file gives it: texts, not yet checked against a form set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubmissionFile {
    /// The id of the form set that it is filed on.
    pub form_set: String,
    /// Whose, of when and of what kind.
    pub slot: Slot,
    /// Free text for people; no part of the submission.
    pub note: String,
    /// Its tables, in the order of the file.
    pub tables: Vec<FileTable>,
}

/// One table of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileTable {
    /// What it states before its rows. Its columns are those that any of its rows names, in the order of first use.
    pub header: TableHeader,
    /// Each row's key and its values, in the order of the header's columns; blanks at the end may be left off.
    pub rows: Vec<(String, Vec<String>)>,
}

/// Why a file can't be read: the first fault, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFault {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong, what was found and what expected.
    pub remark: Remark,
}

impl SubmissionFile {
    /// Reads a file's text.
    ///
    /// # Errors
    /// The first fault, with line and column.
    pub fn read(text: &str) -> Result<SubmissionFile, FileFault> {
        read::read(text)
    }

    /// Reads a file's bytes, which have to be UTF-8.
    ///
    /// # Errors
    /// The first fault; for bytes that are not UTF-8 the place of the first of them.
    pub fn read_bytes(bytes: &[u8]) -> Result<SubmissionFile, FileFault> {
        read::read_bytes(bytes)
    }

    /// Reads the filing on its form set: what it holds, and everything that is wrong with its shape.
    ///
    /// That `form` is the one that the file names is for the caller to see to.
    pub fn read_on(&self, form: &FormSet) -> Reading {
        self.place_on(form).sum_up(form)
    }

    /// The same before its cells are hashed and added up.
    pub fn place_on(&self, form: &FormSet) -> Placed {
        let headers: Vec<TableHeader> = self.tables.iter().map(|table| table.header.clone()).collect();
        let mut intake = Intake::new(form, self.slot.clone(), &headers);
        for (at, table) in self.tables.iter().enumerate() {
            for (key, values) in &table.rows {
                intake.row(at, key, values.iter().map(String::as_str));
            }
        }
        intake.place()
    }
}

impl FileFault {
    /// Place and fault as a sentence.
    pub fn sentence(&self, language: Language) -> String {
        let sentence = wording::sentence(&self.remark, language);
        match language {
            Language::Chinese => format!("第 {} 行第 {} 个字符：{sentence}", self.line, self.column),
            Language::English => format!("Line {}, character {}: {sentence}", self.line, self.column),
        }
    }
}

impl fmt::Display for FileFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.remark)
    }
}

impl std::error::Error for FileFault {}

#[cfg(test)]
mod tests;
