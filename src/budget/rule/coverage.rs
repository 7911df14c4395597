//! Which amounts of a filing some rule has looked at, and which none.

use super::Needs;
use super::evaluate::{Books, run};
use super::names::Names;
use crate::budget::cell::CellAddress;
use crate::budget::form_set::FormSet;

/// How much of a filing the rules cover.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Amount cells with something in them.
    pub amounts: usize,
    /// Those of them that no rule looked at, in the order of tables and rows.
    pub untouched: Vec<CellAddress>,
}

/// Runs the rules and notes which filled amount cells of the filing none of them read.
pub fn coverage(form: &FormSet, books: &Books<'_>) -> Coverage {
    let size = |(at, table): (usize, &crate::budget::form_set::Table)| {
        let rows = books.filing.table(at).map_or(0, |filed| filed.rows().len());
        vec![false; rows * table.columns.len()]
    };
    let mut touched: Vec<Vec<bool>> = form.tables.iter().enumerate().map(size).collect();
    run(form, books, None, |_: Needs| true, Some(&mut touched));
    let names = Names { form };
    let mut coverage = Coverage::default();
    for (at, table) in form.tables.iter().enumerate() {
        let rows = books.filing.table(at).into_iter().flat_map(|filed| filed.rows().iter());
        for (row, filed) in rows.enumerate() {
            for (column, definition) in table.columns.iter().enumerate() {
                let filled = filed.cells.get(column).is_some_and(|cell| !cell.is_blank());
                if !filled || !names.is_covered(at, definition) {
                    continue;
                }
                coverage.amounts += 1;
                let read = touched.get(at).and_then(|cells| cells.get(row * table.columns.len() + column));
                if read != Some(&true) {
                    coverage.untouched.push(CellAddress::new(&table.id, filed.key, &definition.id));
                }
            }
        }
    }
    coverage
}
