//! A form set: which tables, rows, columns and codes a region files in a year. Data from `forms/`, never code.
//!
//! This file says what a loaded form set is; [`load`](FormSet::load) (in `load.rs`) reads one from its files.
//! It knows nothing of what was filed: that is `submission.rs`.

mod catalogue;
mod layout;
mod load;
mod rows;

use std::collections::BTreeMap;
use std::sync::Arc;

use compact_str::CompactString;
use sha2::{Digest as _, Sha256};

pub use catalogue::Catalogue;
pub(crate) use catalogue::{fold_width, folds_alike, folds_to, one_begins_other};
pub use layout::same_table;
pub use load::{FormFault, PARTS_MAX};
pub use rows::{FixedRow, FixedRows, Part};

use super::cell::{CellAddress, RECORD_ROW};
use super::digest::Digest;
use super::money::{Decimals, Denomination, Scale};
use super::reason::{Reason, Remark};
use super::rule::RuleSet;
use super::submission::Kind;
use super::transfer::TransferRules;

/// The files of a form set by name: `forms.toml`, `rules.toml`, `*.csv`.
pub type FormFiles = BTreeMap<String, Vec<u8>>;

/// The file that says which tables there are.
pub const FORMS_FILE: &str = "forms.toml";
/// The file with the check rules.
pub const RULES_FILE: &str = "rules.toml";

/// A loaded form set: everything resolved, nothing left that could fail.
#[derive(Debug)]
pub struct FormSet {
    /// Its id, such as `shanxi-2024`.
    pub id: CompactString,
    /// Title for people.
    pub title: String,
    /// The budget year that it is for.
    pub year: u16,
    /// The kinds of submission that it takes.
    pub kinds: Vec<Kind>,
    /// Digest of all its files: names the exact version of forms and rules.
    pub digest: Digest,
    /// What must be the same to add up: titles, labels, catalogues and rules may differ (`layout.rs`).
    pub layout: Digest,
    /// Its axes.
    pub axes: Vec<Axis>,
    /// Its tables in print order.
    pub tables: Vec<Table>,
    /// Its relations: tables of the form set itself.
    pub relations: Vec<Relation>,
    /// How it knows internal transfers, if it does.
    pub transfers: Option<TransferRules>,
    /// The offices that give opinions in review, in that order.
    pub offices: Vec<Office>,
    /// The cells that a reallocation (调剂) leaves as they are.
    pub adjust_totals: Vec<CellAddress>,
    /// Its check rules.
    pub rules: RuleSet,
    /// The files that it was loaded from.
    pub files: Arc<FormFiles>,
}

/// An office that gives opinions in review.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Office {
    /// Its id, such as `performance`.
    pub id: CompactString,
    /// Its name for people: 绩效科.
    pub title: String,
    /// Whose it is: `department` or `bureau`.
    pub role: CompactString,
}

/// A named axis that rows stand on.
#[derive(Debug)]
pub struct Axis {
    /// Its name, such as 功能.
    pub name: String,
    /// Levels of its codes, coarse to fine; none for a flat list of free keys.
    pub levels: Vec<Level>,
    /// The catalogue of its codes, if there is one.
    pub catalogue: Option<Catalogue>,
}

/// A level of an axis with codes, such as 款 with 5 digits.
#[derive(Debug)]
pub struct Level {
    /// Its name.
    pub name: String,
    /// How many digits its codes have.
    pub digits: usize,
}

/// A relation between axes, such as function code ↔ economic item.
#[derive(Debug)]
pub struct Relation {
    /// Its id.
    pub id: CompactString,
    /// Its name in formulas.
    pub name: String,
    /// The axes (or attributes) it relates, as in the header of its file.
    pub axes: Vec<String>,
    /// Its tuples, in the order of the file.
    pub tuples: Vec<Vec<CompactString>>,
}

/// One table of the form set.
#[derive(Debug)]
pub struct Table {
    /// Its id, the first part of a cell's address: `T03`.
    pub id: CompactString,
    /// Its short name in formulas and talk: 表三.
    pub name: String,
    /// Its printed title.
    pub title: String,
    /// What its rows are.
    pub rows: Rows,
    /// How it rolls up.
    pub roll_up: RollUp,
    /// The kinds of submission that have it.
    pub filed_by: Vec<Kind>,
    /// Its columns in print order.
    pub columns: Vec<Column>,
    /// Indexes into `columns`, sorted by column id: the order of the digest.
    pub columns_by_id: Vec<usize>,
    /// Indexes into `columns` of those that add up.
    pub adding_columns: Vec<usize>,
    /// Indexes into `columns` of those that no row may leave blank.
    pub required_columns: Vec<usize>,
}

/// What the rows of a table are.
#[derive(Debug)]
pub enum Rows {
    /// One row, keyed [`RECORD_ROW`].
    Record,
    /// The same rows in every filing.
    Fixed {
        /// The rows in print order.
        rows: FixedRows,
        /// The axis that the keys are codes of, as an index into [`FormSet::axes`].
        axis: Option<usize>,
    },
    /// Rows keyed by one axis or several, perhaps under a total row.
    Keyed {
        /// Key and label of the total row.
        total: Option<CompactString>,
        /// The axes, as indexes into [`FormSet::axes`].
        axes: Vec<usize>,
    },
}

impl Rows {
    /// Room to begin with for the rows of a filing: how many there are, or a guess.
    pub fn usual_count(&self) -> usize {
        match self {
            Rows::Record => 1,
            Rows::Fixed { rows, .. } => rows.len(),
            Rows::Keyed { .. } => 32,
        }
    }
}

/// How a table rolls up through the unit tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RollUp {
    /// Cell by cell, by row key.
    Sum,
    /// Rows are listed under their unit; columns are subtotalled.
    List,
    /// Not at all.
    None,
}

/// A column of a table.
#[derive(Debug)]
pub struct Column {
    /// Its id, the last part of a cell's address: `basic`.
    pub id: CompactString,
    /// Its printed heading.
    pub label: String,
    /// What its cells hold.
    pub kind: ColumnKind,
    /// Not on the official form: values are assigned by whoever files.
    pub assigned: bool,
    /// Printed with thousands separators.
    pub grouped: bool,
    /// May be negative.
    pub signed: bool,
    /// May not be blank.
    pub required: bool,
    /// Whether its cells may carry a ceiling, and how strong one is unless said otherwise.
    pub control: Control,
}

/// Whether a cell may carry a ceiling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// It may not.
    None,
    /// It may; advisory by default.
    Advisory,
    /// It may; hard by default.
    Hard,
}

/// What the cells of a column hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// Money.
    Amount {
        /// Denomination, unless the filing states another.
        denomination: Denomination,
        /// Decimals, unless the filing states others.
        decimals: Decimals,
    },
    /// A percentage.
    Percent {
        /// Digits after the point.
        decimals: Decimals,
    },
    /// A whole number, not below zero unless signed.
    Count,
    /// A year of four digits.
    Year,
    /// A time of 14 digits, `YYYYMMDDhhmmss`.
    Time,
    /// Free text.
    Text,
    /// A written sum such as `58人×70元`.
    Calculation,
    /// The printed name of the row's code.
    Name,
}

impl ColumnKind {
    /// What its amounts are counted in unless a filing says otherwise; nothing if it holds none.
    pub fn denomination(self) -> Option<Denomination> {
        if let ColumnKind::Amount { denomination, .. } = self { Some(denomination) } else { None }
    }

    /// Whether its cells are added up.
    pub fn adds_up(self) -> bool {
        matches!(self, ColumnKind::Amount { .. } | ColumnKind::Count)
    }

    /// The scale in which sums of an amount column are printed.
    pub fn print_scale(self) -> Option<Scale> {
        match self {
            ColumnKind::Amount { denomination, decimals: Decimals::Fixed(decimals) } => {
                Some(Scale { denomination, decimals })
            }
            ColumnKind::Amount { denomination, decimals: Decimals::AsWritten } => {
                Some(Scale { denomination, decimals: 2 })
            }
            ColumnKind::Percent { .. }
            | ColumnKind::Count
            | ColumnKind::Year
            | ColumnKind::Time
            | ColumnKind::Text
            | ColumnKind::Calculation
            | ColumnKind::Name => None,
        }
    }
}

impl FormSet {
    /// The digest that names a version: SHA-256 over all files, sorted by name, name and bytes length-prefixed.
    pub fn digest_of(files: &FormFiles) -> Digest {
        let mut hash = Sha256::new();
        for (name, bytes) in files {
            for part in [name.as_bytes(), bytes.as_slice()] {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
        }
        Digest(hash.finalize().into())
    }

    /// Index and table of that id.
    pub fn table(&self, id: &str) -> Option<(usize, &Table)> {
        self.tables.iter().enumerate().find(|(_, table)| table.id == id)
    }

    /// Table and column of a cell's address; whether there is such a row only a filing knows, but for fixed rows.
    pub fn cell(&self, address: &CellAddress) -> Option<(&Table, usize)> {
        let (_, table) = self.table(&address.table)?;
        let column = table.column(&address.column)?;
        let known = match &table.rows {
            Rows::Record => address.row == RECORD_ROW,
            Rows::Fixed { rows, .. } => rows.place(&address.row).is_some(),
            Rows::Keyed { total, .. } => {
                total.as_ref().is_some_and(|total| *total == address.row)
                    || self.key_fault(table, &address.row).is_none()
            }
        };
        known.then_some((table, column))
    }

    /// What is wrong with a row key of a keyed table: the form that was expected. `None` if it is well formed.
    pub fn key_fault(&self, table: &Table, key: &str) -> Option<String> {
        let Rows::Keyed { axes, .. } = &table.rows else { return None };
        let mut rest = Some(key);
        let takes = |axis: &usize| {
            rest.take().is_some_and(|key| {
                let slash = key.bytes().position(|byte| byte == b'/');
                rest = slash.and_then(|at| key.get(at + 1..));
                self.axes[*axis].takes(slash.map_or(key, |at| &key[..at]))
            })
        };
        let fits = axes.iter().all(takes) && rest.is_none();
        if fits {
            return None;
        }
        Some(axes.iter().map(|axis| self.axes[*axis].expected()).collect::<Vec<_>>().join(" / "))
    }

    /// The label of a row: printed for fixed rows, the catalogue's name for codes, nothing where only a filing knows.
    pub fn row_label<'t>(&'t self, table: &'t Table, key: &str) -> &'t str {
        match &table.rows {
            Rows::Record => "",
            Rows::Fixed { rows, .. } => rows.find(key).map_or("", |row| &row.label),
            Rows::Keyed { axes, .. } => {
                let catalogue = match axes.as_slice() {
                    [axis] => self.axes[*axis].catalogue.as_ref(),
                    _ => None,
                };
                catalogue.and_then(|catalogue| catalogue.name(key)).unwrap_or("")
            }
        }
    }

    /// The level of a coded row: 0 for a total row, 1 for the coarsest level; 1 for rows without levels.
    pub fn row_level(&self, table: &Table, key: &str) -> usize {
        match &table.rows {
            Rows::Record => 1,
            Rows::Fixed { rows, .. } => rows.find(key).map_or(1, |row| usize::from(row.parts.is_empty())),
            Rows::Keyed { total, axes } => {
                if total.as_ref().is_some_and(|total| total == key) {
                    return 0;
                }
                let levels = axes.first().map_or(&[][..], |axis| &self.axes[*axis].levels);
                levels.iter().position(|level| level.digits == key.len()).map_or(1, |level| level + 1)
            }
        }
    }

    /// The axis of a coded table: one axis, whose codes have levels.
    pub fn code_axis(&self, table: &Table) -> Option<usize> {
        match &table.rows {
            Rows::Keyed { axes, .. } => match axes.as_slice() {
                [axis] => Some(*axis).filter(|axis| !self.axes[*axis].levels.is_empty()),
                _ => None,
            },
            Rows::Record | Rows::Fixed { .. } => None,
        }
    }

    /// Whether it is this year's.
    ///
    /// # Errors
    /// `YEAR_DIFFERS`.
    pub fn is_of(&self, year: u16) -> Result<(), Remark> {
        if self.year == year {
            return Ok(());
        }
        let remark = Remark::new(Reason::YearDiffers).with("year", year).with("form_set", &self.id);
        Err(remark.with("expected", self.year))
    }

    /// The complete catalogue that lacks the code of a row of a coded table.
    pub fn lacks_code(&self, table: &Table, row: &str) -> Option<&Catalogue> {
        let catalogue = self.axes[self.code_axis(table)?].catalogue.as_ref()?;
        let is_code = table.total_row().is_none_or(|total| total != row);
        Some(catalogue).filter(|catalogue| is_code && catalogue.complete && catalogue.name(row).is_none())
    }

    /// The code above `key` in a coded table, if it has one.
    pub fn parent_code<'k>(&self, table: &Table, key: &'k str) -> Option<&'k str> {
        let axis = self.code_axis(table)?;
        let above = self.axes[axis].levels.iter().rev().find(|level| level.digits < key.len())?;
        key.get(..above.digits)
    }

    /// Puts rows that are sorted by key in print order.
    pub fn sort_for_print<R>(&self, table: &Table, rows: &mut [R], key: impl Fn(&R) -> &str) {
        match &table.rows {
            // Codes are printed as they sort, but for the total.
            Rows::Keyed { total, .. } if self.code_axis(table).is_some() => {
                if let Some(at) = rows.iter().position(|row| total.as_deref() == Some(key(row))) {
                    rows[..=at].rotate_right(1);
                }
            }
            Rows::Record | Rows::Fixed { .. } | Rows::Keyed { .. } => {
                rows.sort_by_cached_key(|row| self.print_position(table, key(row)));
            }
        }
    }

    /// Where a row stands in print: total first, then fixed rows as listed, keys by code, list numbers by value.
    fn print_position(&self, table: &Table, key: &str) -> (usize, Vec<(u64, CompactString)>) {
        match &table.rows {
            Rows::Record => (0, Vec::new()),
            Rows::Fixed { rows, .. } => (rows.place(key).unwrap_or(rows.len()), Vec::new()),
            Rows::Keyed { total, .. } => {
                if total.as_ref().is_some_and(|total| total == key) {
                    return (0, Vec::new());
                }
                let coded = self.code_axis(table).is_some();
                // Codes sort as text (208 before 20801), free numbers by value (9 before 10).
                let part = |part: &str| (if coded { 0 } else { part.parse().unwrap_or(u64::MAX) }, part.into());
                (1, key.split('/').map(part).collect())
            }
        }
    }
}

impl Axis {
    /// Whether `part` can be a key on this axis: digits of one of its levels, or any free key.
    fn takes(&self, part: &str) -> bool {
        if self.levels.is_empty() {
            let free = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '_');
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            let fits = |part: &str| part.bytes().all(plain) || part.chars().all(free);
            return !part.is_empty() && part.len() <= 64 && fits(part);
        }
        part.bytes().all(|b| b.is_ascii_digit()) && self.levels.iter().any(|level| level.digits == part.len())
    }

    fn expected(&self) -> String {
        if self.levels.is_empty() {
            return self.name.clone();
        }
        let levels: Vec<String> = self.levels.iter().map(|level| format!("{} {}", level.name, level.digits)).collect();
        format!("{} ({})", self.name, levels.join(", "))
    }
}

impl Table {
    /// Index of the column of that id.
    pub fn column(&self, id: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.id == id)
    }

    /// The key of its total row.
    pub fn total_row(&self) -> Option<&str> {
        match &self.rows {
            Rows::Keyed { total, .. } => total.as_deref(),
            Rows::Record | Rows::Fixed { .. } => None,
        }
    }

    /// Whether a filing of this kind has it.
    pub fn is_filed_by(&self, kind: Kind) -> bool {
        self.filed_by.contains(&kind)
    }
}
