//! Where the figure of a cell comes from: the share of each submission, and what internal transfers take off, so that a
//! person can add it up on paper.
//!
//! A law holds it (`tests/it/form_laws.rs`): for every cell of every table and node, shares less eliminations are the
//! figure that [`view`](super::view) shows.

use super::Contents;
use super::state::{Filings, State, Version};
use super::view::{NodeView, Scope, as_meant, form_of, tree, view};
use crate::budget::cell::{Cell, CellAddress, RowKey};
use crate::budget::form_set::{FormSet, RollUp, Rows, Table};
use crate::budget::money::Money;
use crate::budget::reason::{Reason, Remark};
use crate::budget::roll_up::{SUBTOTAL_ROW, Sum};
use crate::budget::submission::{FiledTable, Kind, UnitCode};
use crate::budget::unit_tree::{BUREAU, UnitTree};

/// A cell of a view that can be traced.
#[derive(Debug)]
pub struct Traced {
    /// The figures of the node.
    pub view: NodeView,
    /// The cell.
    pub address: CellAddress,
    /// Index of its table in the view's form set.
    pub table: usize,
    /// Index of its column.
    pub column: usize,
}

impl Traced {
    /// Finds the cell in what a node shows.
    ///
    /// # Errors
    /// As [`view`], `UNKNOWN_CELL`, or `NOT_SUMMED` for a cell that a node with units below it doesn't have.
    pub fn find(state: &State, scope: &Scope, address: CellAddress, contents: &dyn Contents) -> Result<Traced, Remark> {
        let view = view(state, scope, contents)?;
        let form = view.form.as_ref();
        let unknown = || Remark::new(Reason::UnknownCell).with("cell", &address).with("form_set", &form.id);
        let (table, definition) = form.table(&address.table).ok_or_else(unknown)?;
        let column = definition.column(&address.column).ok_or_else(unknown)?;
        let subtotal = definition.roll_up == RollUp::List && address.row == SUBTOTAL_ROW;
        if form.cell(&address).is_none() && !subtotal {
            return Err(unknown());
        }
        let summed = definition.roll_up == RollUp::Sum || definition.total_row() == Some(&address.row) || subtotal;
        let adds_up = definition.columns[column].kind.adds_up();
        if view.filing.is_none() && (definition.roll_up == RollUp::None || !summed || !adds_up) {
            return Err(Remark::new(Reason::NotSummed).with("cell", &address).with("table", &definition.name));
        }
        Ok(Traced { view, address, table, column })
    }
}

/// One submission's share of a figure.
#[derive(Debug)]
pub struct Share {
    /// Who filed it.
    pub unit: UnitCode,
    /// Its name.
    pub name: String,
    /// Unit or difference form.
    pub kind: Kind,
    /// The version that counts.
    pub version: Version,
    /// The nodes between the one that is traced and the unit, from the top.
    pub path: Vec<UnitCode>,
    /// What stands in the cell; `None` if its row or table was not filed. Of a list without a total row there is no such
    /// cell, only lines.
    pub cell: Option<Cell>,
    /// What was filed in its place, if a reviewed figure stands there.
    pub as_filed: Option<Cell>,
    /// What the submission adds to the figure: the cell, or the sum of its list.
    pub sum: Sum,
    /// What its list came to as it was filed, if reviewed figures make it something else.
    pub sum_as_filed: Option<Sum>,
    /// The lines below the cell, down to the ones that add up no others.
    pub lines: Vec<Line>,
}

/// A line of a filing behind a figure.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// Row key.
    pub row: RowKey,
    /// Its label.
    pub label: String,
    /// What stands in the column.
    pub cell: Cell,
    /// What was filed in its place, if a reviewed figure stands there.
    pub as_filed: Option<Cell>,
    /// Whether it is taken off.
    pub minus: bool,
}

/// Which share comes next: those of a page are behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct After {
    /// The unit of the last share.
    pub unit: UnitCode,
    /// Whether it was its difference form.
    pub difference: bool,
}

/// The shares of a figure behind `after`, at most `limit`, sorted by unit and then kind. Also says whether there are more.
///
/// # Errors
/// A fault of the journal.
pub fn shares(
    state: &State,
    scope: &Scope,
    traced: &Traced,
    after: Option<&After>,
    limit: usize,
    contents: &dyn Contents,
) -> Result<(Vec<Share>, bool), Remark> {
    let tree = tree(state, scope)?;
    let mut shares = Vec::new();
    // A unit's own figures are its own filing, without what was posted on top of it.
    let leaf = tree.children(&scope.node).is_empty();
    let kinds: &[Kind] = if leaf { &[Kind::Unit] } else { &[Kind::Unit, Kind::Difference] };
    let bureau = (scope.node == BUREAU).then_some(BUREAU);
    let codes = bureau.into_iter().chain(tree.nodes().map(|node| node.code.as_str()));
    for code in codes.filter(|code| tree.is_within(code, &scope.node)) {
        for kind in kinds {
            let here = After { unit: code.into(), difference: *kind == Kind::Difference };
            if after.is_some_and(|after| here <= *after) {
                continue;
            }
            let Some(version) = state.filings(&scope.slot(code, *kind)).and_then(Filings::counting) else { continue };
            let form = form_of(state, version)?;
            if form.layout != traced.view.form.layout {
                continue;
            }
            if shares.len() == limit {
                return Ok((shares, true));
            }
            let filing = contents.submission(version.position)?;
            let submission = as_meant(state, scope, version, &filing)?;
            let table = &form.tables[traced.table];
            let filed = submission.table(traced.table);
            let row = filed.and_then(|filed| filed.row(&traced.address.row));
            let cell = row.and_then(|row| row.cells.get(traced.column)).cloned();
            let as_filed = |row: &str| {
                let address = CellAddress { row: row.into(), ..traced.address.clone() };
                let reviewed = scope.reviewed && version.remarks.figure(&address).is_some();
                filing.cell(&form, &address).filter(|_| reviewed).cloned()
            };
            let adds_up = table.columns[traced.column].kind.adds_up();
            let mut lines = filed
                .map_or_else(Vec::new, |filed| lines_below(&form, table, filed, &traced.address.row, traced.column));
            lines.iter_mut().for_each(|line| line.as_filed = as_filed(&line.row));
            let is_list = traced.address.row == SUBTOTAL_ROW;
            let sum_as_filed = filing.table(traced.table).filter(|_| is_list).map(|filed| listed(filed, traced.column));
            let sum = match filed {
                Some(filed) if is_list => listed(filed, traced.column),
                _ => cell.as_ref().filter(|_| adds_up).and_then(Sum::of).unwrap_or(Sum::BLANK),
            };
            shares.push(Share {
                unit: code.into(),
                name: tree.node(code).map_or_else(String::new, |node| node.name.clone()),
                kind: *kind,
                version: version.clone(),
                path: path_below(tree, &scope.node, code),
                cell,
                as_filed: as_filed(&traced.address.row),
                sum_as_filed: sum_as_filed.filter(|filed| *filed != sum),
                sum,
                lines,
            });
        }
    }
    Ok((shares, false))
}

/// What the rows of a list add up to.
fn listed(filed: &FiledTable, column: usize) -> Sum {
    let cells = filed.rows().iter().filter_map(|row| row.cells.get(column).and_then(Sum::of));
    cells.fold(Sum::BLANK, |sum, cell| Sum {
        value: sum.value + cell.value,
        slack: sum.slack + cell.slack,
        parts: sum.parts + cell.parts,
    })
}

/// The nodes between two, neither included, from the top.
fn path_below(tree: &UnitTree, above: &str, code: &str) -> Vec<UnitCode> {
    let path = tree.path(code);
    let between = path.into_iter().skip(1).take_while(|node| *node != above);
    let mut between: Vec<UnitCode> = between.map(UnitCode::from).collect();
    between.reverse();
    if code == above { Vec::new() } else { between }
}

/// The lines below a row, down to those that add up no others; those with nothing in the column are left out.
fn lines_below(form: &FormSet, table: &Table, filed: &FiledTable, row: &str, column: usize) -> Vec<Line> {
    let mut found: Vec<(&str, bool)> = Vec::new();
    match &table.rows {
        Rows::Record => {}
        Rows::Fixed { rows, .. } => {
            let mut open: Vec<(usize, bool)> = rows.place(row).map(|at| (at, false)).into_iter().collect();
            // A form set has no cycles, so this ends; the bound is for sums that name one row many times.
            while let Some((at, minus)) = open.pop() {
                if found.len() > rows.len() {
                    break;
                }
                if rows[at].parts.is_empty() && rows[at].key != row {
                    found.push((&rows[at].key, minus));
                }
                open.extend(rows[at].parts.iter().rev().map(|part| (part.row, minus != part.minus)));
            }
        }
        Rows::Keyed { .. } => {
            let is_total = table.total_row() == Some(row) || row == SUBTOTAL_ROW;
            let keys: Vec<&str> =
                filed.rows().iter().map(|r| r.key.as_str()).filter(|key| table.total_row() != Some(key)).collect();
            let coded = form.code_axis(table).is_some();
            let below = |key: &str, above: &str| coded && key.len() > above.len() && key.starts_with(above);
            // They are sorted: if any begins with a key, the next one does.
            let is_last = |at: usize, key: &str| !keys.get(at + 1).is_some_and(|next| below(next, key));
            let wanted = keys.iter().enumerate().filter(|(_, key)| is_total || below(key, row));
            found.extend(wanted.filter(|(at, key)| is_last(*at, key)).map(|(_, key)| (*key, false)));
        }
    }
    let line = |(key, minus): (&str, bool)| {
        let cells = &filed.row(key)?.cells;
        let cell = cells.get(column)?.apart();
        let named =
            cells.iter().zip(&table.columns).find(|(c, _)| matches!(c, Cell::Text(_))).map(|(c, _)| c.to_string());
        let label = match form.row_label(table, key) {
            "" => named.unwrap_or_default(),
            label => label.to_owned(),
        };
        (!cell.is_blank()).then(|| Line { row: key.into(), label, cell, as_filed: None, minus })
    };
    found.into_iter().filter_map(line).collect()
}

/// What one side of an eliminated transfer takes off a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elimination {
    /// The unit in whose figure the money stands.
    pub unit: UnitCode,
    /// The other side.
    pub counterparty: UnitCode,
    /// What the unit calls it.
    pub title: String,
    /// How much.
    pub amount: Money,
    /// The lowest node at which it is taken off, and those between it and the one that is traced, from the top.
    pub path: Vec<UnitCode>,
}

/// What internal transfers between units below a node take off a cell, both sides of each pair apart.
pub fn eliminations(state: &State, scope: &Scope, traced: &Traced) -> Vec<Elimination> {
    let address = &traced.address;
    let Some(tree) = state.tree(scope.year) else { return Vec::new() };
    let inside = |code: &str| tree.contains(code) && tree.is_within(code, &scope.node);
    let mut found = Vec::new();
    for ((year, round, unit), stated) in &state.transfers {
        let Some(rules) = &stated.form.transfers else { continue };
        let named = stated.form.layout == traced.view.form.layout;
        if (*year, *round) != (scope.year, scope.round) || !inside(unit) || !named {
            continue;
        }
        let Some((table, definition)) = stated.form.table(&address.table) else { continue };
        let Some(column) = definition.column(&address.column) else { continue };
        for transfer in stated.transfers.iter().filter(|transfer| inside(&transfer.counterparty)) {
            let other = state.counterpart(*year, *round, unit, &stated.form, transfer);
            if other.is_none_or(|other| other.amount != transfer.amount) {
                continue;
            }
            let tables = rules.elimination(&stated.form, transfer);
            let Some(filed) = tables.iter().find(|filed| filed.table == table) else { continue };
            let taken = match address.row == SUBTOTAL_ROW {
                true => listed(filed, column),
                false => filed.row(&address.row).and_then(|row| Sum::of(&row.cells[column])).unwrap_or(Sum::BLANK),
            };
            if taken.parts > 0 {
                let title = rules.kinds.get(&transfer.kind).map_or_else(String::new, |kind| kind.title.clone());
                let (unit, counterparty) = (unit.clone(), transfer.counterparty.clone());
                let meet = tree.common_ancestor(&unit, &counterparty).unwrap_or(BUREAU);
                let mut path = path_below(tree, &scope.node, meet);
                path.extend((meet != scope.node).then(|| UnitCode::from(meet)));
                found.push(Elimination { unit, counterparty, title, amount: taken.value.money(), path });
            }
        }
    }
    found
}
