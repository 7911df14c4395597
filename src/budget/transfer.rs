//! Internal transfers: money that one unit books as spent and another as received, taken off their common sum.
//!
//! Which table holds them, which kinds are opposites and which cells each kind stands in is data of the form set
//! ([`TransferRules`]). A pair is eliminated if both sides agree in amount; otherwise it is an exception, shown with
//! both parties and never dropped. Where in the tree that happens is the ledger's business.

use std::collections::BTreeMap;

use compact_str::CompactString;

use super::cell::{Cell, RowKey};
use super::form_set::{FormSet, Rows};
use super::money::{Amount, Money, Scale};
use super::submission::{Content, FiledRow, FiledRows, FiledTable, Submission, UnitCode};

/// How a form set knows internal transfers.
#[derive(Debug)]
pub struct TransferRules {
    /// Index of the table, whose rows are keyed counterparty/kind.
    pub table: usize,
    /// Index of its amount column.
    pub amount: usize,
    /// Index of the column that names the code of the row that the money stands in.
    pub code: Option<usize>,
    /// The kinds by key.
    pub kinds: BTreeMap<CompactString, TransferKind>,
}

/// One kind of transfer.
#[derive(Debug)]
pub struct TransferKind {
    /// What the other side calls it.
    pub opposite: CompactString,
    /// Its name for people.
    pub title: String,
    /// The cells that hold the money and are reduced.
    pub cells: Vec<EliminatedCell>,
}

/// A cell, or a family of cells, that an elimination reduces.
#[derive(Debug)]
pub struct EliminatedCell {
    /// Index of the table.
    pub table: usize,
    /// Which rows.
    pub rows: EliminatedRows,
    /// Index of the column.
    pub column: usize,
    /// Only if this column of the transfer's row is filled (`true`) or blank (`false`).
    pub when: Option<(usize, bool)>,
}

/// The rows of an [`EliminatedCell`].
#[derive(Debug)]
pub enum EliminatedRows {
    /// The row of that key.
    Row(RowKey),
    /// The row of the transfer's code, those above it, and the total row.
    Code,
    /// The row keyed by the code's coarsest level.
    Class,
}

/// One side of a transfer, as a unit filed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// The unit on the other side.
    pub counterparty: UnitCode,
    /// Its kind.
    pub kind: CompactString,
    /// How much, in 元.
    pub amount: Money,
    /// The code of the row that the money stands in, if its table says one.
    pub code: CompactString,
    /// Which columns of its row are filled.
    pub filled: Vec<bool>,
}

impl TransferRules {
    /// What the other side calls this kind.
    pub fn opposite(&self, kind: &str) -> Option<&str> {
        self.kinds.get(kind).map(|kind| kind.opposite.as_str())
    }

    /// The transfers that a submission states, sorted by counterparty and kind.
    pub fn of(&self, submission: &Submission) -> Vec<Transfer> {
        let Some(filed) = submission.table(self.table) else { return Vec::new() };
        let transfer = |row: FiledRow<'_>| {
            let (counterparty, kind) = row.key.split_once('/')?;
            let text = |column: usize| match &row.cells[column] {
                Cell::Text(text) => (**text).into(),
                Cell::Blank | Cell::Amount(_) | Cell::Number(_) | Cell::Unreadable(_) => CompactString::default(),
            };
            Some(Transfer {
                counterparty: counterparty.into(),
                kind: kind.into(),
                amount: row.cells[self.amount].amount()?.value,
                code: self.code.map(text).unwrap_or_default(),
                filled: row.cells.iter().map(|cell| !cell.is_blank()).collect(),
            })
        };
        filed.rows().iter().filter_map(transfer).collect()
    }

    /// The cells that eliminating one side takes off, as tables of a filing.
    pub fn elimination(&self, form: &FormSet, transfer: &Transfer) -> Vec<FiledTable> {
        let cells = self.kinds.get(&transfer.kind).map_or(&[][..], |kind| &kind.cells);
        let mut tables: BTreeMap<usize, BTreeMap<RowKey, Box<[Cell]>>> = BTreeMap::new();
        for cell in cells {
            if cell.when.is_some_and(|(column, filled)| transfer.filled.get(column) != Some(&filled)) {
                continue;
            }
            let width = form.tables[cell.table].columns.len();
            for row in rows(form, cell, &transfer.code) {
                let cells = tables.entry(cell.table).or_default().entry(row);
                let amount = Amount { value: transfer.amount, scale: Scale::FEN };
                cells.or_insert_with(|| vec![Cell::Blank; width].into_boxed_slice())[cell.column] =
                    Cell::Amount(amount);
            }
        }
        let table = |(table, rows): (usize, BTreeMap<RowKey, Box<[Cell]>>)| FiledTable {
            table,
            denomination: None,
            decimals: None,
            content: Content::Rows(filed(rows)),
        };
        tables.into_iter().map(table).collect()
    }
}

fn filed(rows: BTreeMap<RowKey, Box<[Cell]>>) -> FiledRows {
    let mut filed = FiledRows::default();
    for (key, cells) in rows {
        filed.push(key, cells.len()).clone_from_slice(&cells);
    }
    filed
}

fn rows(form: &FormSet, cell: &EliminatedCell, code: &CompactString) -> Vec<RowKey> {
    let table = &form.tables[cell.table];
    match &cell.rows {
        EliminatedRows::Row(key) => vec![key.clone()],
        EliminatedRows::Code if code.is_empty() => table.total_row().map(RowKey::from).into_iter().collect(),
        EliminatedRows::Code => {
            let above = std::iter::successors(Some(code.as_str()), |code| form.parent_code(table, code));
            above.chain(table.total_row()).map(RowKey::from).collect()
        }
        EliminatedRows::Class => {
            let Rows::Fixed { rows, .. } = &table.rows else { return Vec::new() };
            rows.iter()
                .filter(|row| !code.is_empty() && code.starts_with(row.key.as_str()))
                .map(|row| row.key.clone())
                .collect()
        }
    }
}
