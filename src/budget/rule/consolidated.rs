//! The figures of a node with units below, as rules see them: sums in place of printed figures, each with how far the
//! true sum may be from it.
//!
//! Rules say themselves whether they look at sums (`applies = [..., "view"]`). Tables that are not added up are not
//! there. Whose sums they are is the ledger's business.

use super::evaluate::{Books, Checked, run};
use crate::budget::cell::{Cell, RowKey};
use crate::budget::form_set::{Column, ColumnKind, FormSet};
use crate::budget::money::{Amount, Decimals, Denomination, Money, Scale};
use crate::budget::number::Number;
use crate::budget::roll_up::Sum;
use crate::budget::submission::{Content, FiledRows, FiledTable, FormSetVersion, Slot, Submission};

/// How far the sums of each table may be from the truth, in 分: row by row, a place for each column.
pub(super) type Slack = Vec<Vec<i128>>;

/// The sums of a node.
#[derive(Debug)]
pub struct Consolidated {
    submission: Submission,
    slack: Slack,
}

impl Consolidated {
    /// No sums yet, of a node that `header` names.
    pub fn new(form: &FormSet, header: Slot) -> Consolidated {
        let form_set = FormSetVersion { id: form.id.clone(), digest: form.digest };
        let submission = Submission { header, form_set, tables: Vec::new() };
        Consolidated { submission, slack: vec![Vec::new(); form.tables.len()] }
    }

    /// Adds a table, after those before it; its rows sorted by key, with a sum for each column.
    pub fn add(&mut self, form: &FormSet, table: usize, rows: &[(RowKey, Vec<Sum>)]) {
        let (Some(definition), Some(slack)) = (form.tables.get(table), self.slack.get_mut(table)) else { return };
        let width = definition.columns.len();
        let mut filed = FiledRows::with_capacity(rows.len(), width);
        for (key, sums) in rows {
            let cells = filed.push(key.clone(), width);
            for ((cell, sum), column) in cells.iter_mut().zip(sums).zip(&definition.columns) {
                *cell = shown(sum, column);
            }
            let of_row = sums.iter().map(|sum| sum.slack.fen()).chain(std::iter::repeat(0));
            slack.extend(of_row.take(width));
        }
        let content = if rows.is_empty() { Content::Empty } else { Content::Rows(filed) };
        self.submission.tables.push(FiledTable { table, denomination: None, decimals: None, content });
    }

    /// What the rules that look at sums find in these.
    pub fn check(&self, form: &FormSet) -> Checked {
        run(form, &Books::of(&self.submission), Some(&self.slack), |_| true, None)
    }
}

/// A sum as a cell: an amount with the column's decimals, or as many as it takes to be exact.
fn shown(sum: &Sum, column: &Column) -> Cell {
    if sum.parts == 0 {
        return Cell::Blank;
    }
    let value: Money = sum.value.money();
    match column.kind {
        ColumnKind::Amount { denomination, decimals } => {
            let least = match decimals {
                Decimals::Fixed(decimals) => decimals,
                Decimals::AsWritten => 0,
            };
            let scale = |decimals: u8| Scale { denomination, decimals };
            let exact = |decimals: &u8| value.round_to(scale(*decimals)) == value;
            let finest = denomination.decimals_max();
            Cell::Amount(Amount { value, scale: scale((least..=finest).find(exact).unwrap_or(finest)) })
        }
        ColumnKind::Count => {
            // A count is kept in the place of 元.
            let scale = Scale { denomination: Denomination::Yuan, decimals: 0 };
            Number::parse(&value.print(scale), Decimals::Fixed(0)).map_or(Cell::Blank, Cell::Number)
        }
        _ => Cell::Blank,
    }
}
