//! The figures of a node with units below, as rules see them: sums in place of printed figures, each with how far the
//! true sum may be from it.
//!
//! Rules say themselves whether they look at sums (`applies = [..., "view"]`). Tables that are not added up are not
//! there. Whose sums they are is the ledger's business.

use std::collections::{BTreeMap, BTreeSet};

use compact_str::CompactString;

use super::evaluate::{Books, Checked, run};
use super::finding::{Cause, RuleFinding, Verdict};
use crate::budget::cell::{Cell, CellAddress, RowKey};
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
    /// How many submissions have each table, by index.
    filings: Vec<u32>,
    /// Rows that some submission may have without any row below them.
    shallow: BTreeSet<(usize, RowKey)>,
}

/// One row of sums.
#[derive(Debug)]
pub struct SumRow {
    /// Its key.
    pub key: RowKey,
    /// How many submissions have it.
    pub filings: u32,
    /// A sum for each column.
    pub sums: Vec<Sum>,
}

impl Consolidated {
    /// No sums yet, of a node that `header` names.
    pub fn new(form: &FormSet, header: Slot) -> Consolidated {
        let form_set = FormSetVersion { id: form.id.clone(), digest: form.digest };
        let submission = Submission { header, form_set, tables: Vec::new() };
        let tables = form.tables.len();
        Consolidated { submission, slack: vec![Vec::new(); tables], filings: vec![0; tables], shallow: BTreeSet::new() }
    }

    /// Adds a table that so many submissions have, after those before it; its rows sorted by key.
    pub fn add(&mut self, form: &FormSet, table: usize, filings: u32, rows: &[SumRow]) {
        let (Some(definition), Some(slack)) = (form.tables.get(table), self.slack.get_mut(table)) else { return };
        if let Some(of_table) = self.filings.get_mut(table) {
            *of_table = filings;
        }
        let width = definition.columns.len();
        let mut filed = FiledRows::with_capacity(rows.len(), width);
        // The most submissions that have one row below each row: if all that have the row do, none ends there.
        let mut deeper: BTreeMap<&str, u32> = BTreeMap::new();
        for row in rows {
            let above = form.parent_code(definition, &row.key).or(definition.total_row());
            if let Some(above) = above.filter(|above| *above != row.key) {
                let most = deeper.entry(above).or_default();
                *most = row.filings.max(*most);
            }
        }
        for SumRow { key, filings, sums } in rows {
            if deeper.get(key.as_str()).is_some_and(|most| most < filings) {
                self.shallow.insert((table, key.clone()));
            }
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

    /// What the rules that look at sums find in these. A failure that may come from units that file a table to different
    /// depth, or not at all, is none that can be judged.
    pub fn check(&self, form: &FormSet) -> Checked {
        let mut checked = run(form, &Books::of(&self.submission), Some(&self.slack), |_| true, None);
        for finding in checked.findings.iter_mut().filter(|finding| finding.failed()) {
            if let Some(table) = self.uneven(form, finding) {
                finding.verdict = Verdict::NotEvaluable;
                finding.cause = Some(Cause::FiledUnevenly(table));
                checked.counts.fail -= 1;
                checked.counts.not_evaluable += 1;
            }
        }
        // Nobody is sent to a failure that is none.
        let failed = checked.findings.iter().filter(|finding| finding.failed()).map(|finding| finding.rule.clone());
        let failed: BTreeSet<CompactString> = failed.collect();
        for finding in &mut checked.findings {
            finding.after.take_if(|after| !failed.contains(after));
        }
        checked
    }

    /// The table that units file to different depth, among those that a finding rests on.
    fn uneven(&self, form: &FormSet, finding: &RuleFinding) -> Option<CompactString> {
        let addresses = finding.cells.iter().map(|cell| &cell.address);
        let cells: Vec<(usize, &CellAddress)> =
            addresses.filter_map(|address| Some((form.table(&address.table)?.0, address))).collect();
        let most = cells.iter().map(|(table, _)| self.filings.get(*table)).max()?;
        if let Some((_, lesser)) = cells.iter().find(|(table, _)| self.filings.get(*table) < most) {
            return Some(lesser.table.clone());
        }
        // A row is held against rows below it only if there are others of its table.
        let is_shallow = |(table, at): &&(usize, &CellAddress)| {
            let others = || cells.iter().any(|(of, other)| of == table && other.row != at.row);
            let total = form.tables.get(*table).and_then(|table| table.total_row()) == Some(&at.row);
            let at_or_below = |(of, row): &(usize, RowKey)| of == table && (total || row.starts_with(at.row.as_str()));
            others() && self.shallow.iter().any(at_or_below)
        };
        cells.iter().find(is_shallow).map(|(_, at)| at.table.clone())
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
            let decimals = value.exact_decimals(denomination, least);
            Cell::Amount(Amount { value, scale: Scale { denomination, decimals } })
        }
        ColumnKind::Count => {
            // A count is kept in the place of 元.
            let scale = Scale { denomination: Denomination::Yuan, decimals: 0 };
            Number::parse(&value.print(scale), Decimals::Fixed(0)).map_or(Cell::Blank, Cell::Number)
        }
        _ => Cell::Blank,
    }
}
