//! What differs between two sets of figures, cell by cell.
//!
//! A row that is absent is not a row of nothing: rows that came or went are said so. What is written otherwise and is the
//! same amount has not changed. Tables whose rows or columns differ are not compared, and that is said too.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Contents;
use super::state::{Filings, State, Version};
use super::view::{NodeView, Posted, Scope, form_of};
use crate::budget::cell::{Cell, RowKey};
use crate::budget::form_set::{RollUp, Rows as FormRows, Table, same_table};
use crate::budget::reason::Remark;
use crate::budget::roll_up::{SUBTOTAL_ROW, Sum, Totals};
use crate::budget::submission::{Content, FiledTable, Kind, UnitCode};

/// The lists of more units than this are not put side by side at once.
pub const LIST_UNITS_MAX: usize = 500;

/// What stands in a cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Figure {
    /// As it was filed.
    Filed(Cell),
    /// As it was summed.
    Summed(Posted),
}

impl Figure {
    /// What it adds up to; nothing for a text.
    pub fn sum(&self) -> Sum {
        match self {
            Figure::Filed(cell) => Sum::of(cell).unwrap_or(Sum::BLANK),
            Figure::Summed(posted) => posted.consolidated(),
        }
    }

    /// Whether nothing stands there.
    pub fn is_blank(&self) -> bool {
        match self {
            Figure::Filed(cell) => cell.is_blank(),
            Figure::Summed(posted) => posted.consolidated().parts == 0,
        }
    }

    /// Whether both say the same, however it is written.
    pub fn is_same(&self, other: &Figure) -> bool {
        let (sum, theirs) = (self.sum(), other.sum());
        match (self, other) {
            (Figure::Filed(cell), Figure::Filed(theirs)) if cell == theirs => true,
            _ if sum.parts > 0 && theirs.parts > 0 => sum.value == theirs.value,
            _ => self.is_blank() && other.is_blank(),
        }
    }
}

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowChange {
    /// It is on both sides.
    Kept,
    /// It came.
    Added,
    /// It went.
    Removed,
}

/// A cell that is not the same on both sides.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Index of the table in the form set of the later side.
    pub table: usize,
    /// The unit whose row it is, in the list of a node with units below.
    pub unit: Option<UnitCode>,
    /// The row.
    pub row: RowKey,
    /// Index of the column; none for a row that came or went without anything in it.
    pub column: Option<usize>,
    /// What became of the row.
    pub change: RowChange,
    /// What stood there.
    pub from: Option<Figure>,
    /// What stands there.
    pub to: Option<Figure>,
}

/// Why a table is not compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotCompared {
    /// Only the earlier form set has it.
    Gone,
    /// Only the later form set has it.
    New,
    /// Its rows or columns differ.
    LayoutDiffers,
    /// The lists of too many units would have to be read.
    TooManyUnits,
}

/// Whether a table was filed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableState {
    /// Not filed.
    Missing,
    /// Filed as empty on purpose.
    Empty,
    /// Filed.
    Filed,
}

impl TableState {
    fn of(filed: Option<&FiledTable>) -> TableState {
        match filed.map(|filed| &filed.content) {
            None => TableState::Missing,
            Some(Content::Empty) => TableState::Empty,
            Some(_) => TableState::Filed,
        }
    }
}

/// What differs.
#[derive(Debug, Default)]
pub struct Comparison {
    /// The cells, in print order.
    pub changes: Vec<Change>,
    /// Tables that one side filed and the other didn't, or as empty: by index in the later form set.
    pub tables: Vec<(usize, TableState, TableState)>,
    /// Tables that can't be compared, by id.
    pub not_compared: Vec<(String, NotCompared)>,
}

/// One side: figures, and where the lists below them are.
#[derive(Clone, Copy)]
pub struct Side<'s> {
    /// The figures.
    pub view: &'s NodeView,
    /// The state that they are of.
    pub state: &'s State,
    /// The scope that they are of.
    pub scope: &'s Scope,
    /// Its filings.
    pub contents: &'s dyn Contents,
}

/// What differs between two sides, in all tables or those named.
///
/// # Errors
/// A fault of the journal.
pub fn compare(from: Side<'_>, to: Side<'_>, tables: &[String]) -> Result<Comparison, Remark> {
    let mut found = Comparison::default();
    let wanted = |id: &str| tables.is_empty() || tables.iter().any(|table| table == id);
    let (before, after) = (&from.view.form, &to.view.form);
    for gone in before.tables.iter().filter(|table| wanted(&table.id) && after.table(&table.id).is_none()) {
        found.not_compared.push((gone.id.to_string(), NotCompared::Gone));
    }
    for (index, table) in after.tables.iter().enumerate().filter(|(_, table)| wanted(&table.id)) {
        // What nobody files is there for rules to ask.
        if table.filed_by.is_empty() {
            continue;
        }
        let Some((old_index, old)) = before.table(&table.id) else {
            found.not_compared.push((table.id.to_string(), NotCompared::New));
            continue;
        };
        if !same_table((before, old), (after, table)) {
            found.not_compared.push((table.id.to_string(), NotCompared::LayoutDiffers));
            continue;
        }
        if let (Some((_, old)), Some((_, new))) = (&from.view.filing, &to.view.filing) {
            let states = (TableState::of(old.table(old_index)), TableState::of(new.table(index)));
            if states.0 != states.1 {
                found.tables.push((index, states.0, states.1));
            }
        }
        let rows = (rows_of(from.view, old_index), rows_of(to.view, index));
        compare_rows(to.view, index, None, &rows.0, &rows.1, &mut found.changes);
        if table.roll_up == RollUp::List && (from.view.filing.is_none() || to.view.filing.is_none()) {
            compare_lists((from, old_index), (to, index), &mut found)?;
        }
    }
    Ok(found)
}

type Rows = BTreeMap<RowKey, Vec<Figure>>;

/// The rows of a table as a node shows them.
fn rows_of(view: &NodeView, table: usize) -> Rows {
    match &view.filing {
        Some((_, submission)) => submission.table(table).map_or_else(Rows::new, |filed| filed_rows(filed, None)),
        None => view.rows(table).map(|row| (row.key.clone(), row.cells().map(Figure::Summed).collect())).collect(),
    }
}

/// The rows of a filed table, without the one that adds the others up if it is named.
fn filed_rows(filed: &FiledTable, without: Option<&str>) -> Rows {
    let rows = filed.rows().iter().filter(|row| Some(row.key.as_str()) != without);
    rows.map(|row| (row.key.clone(), row.cells.iter().map(Cell::apart).map(Figure::Filed).collect())).collect()
}

fn compare_rows(
    view: &NodeView,
    table: usize,
    unit: Option<&UnitCode>,
    from: &Rows,
    to: &Rows,
    changes: &mut Vec<Change>,
) {
    let definition: &Table = &view.form.tables[table];
    let mut keys: Vec<&RowKey> = from.keys().chain(to.keys()).collect();
    keys.sort();
    keys.dedup();
    view.form.sort_for_print(definition, &mut keys, |key| key);
    for key in keys {
        let (old, new) = (from.get(key), to.get(key));
        let change = match (old, new) {
            (None, _) => RowChange::Added,
            (_, None) => RowChange::Removed,
            _ => RowChange::Kept,
        };
        let told = changes.len();
        let mut tell = |column, from: Option<&Figure>, to: Option<&Figure>| {
            let (unit, row) = (unit.cloned(), key.clone());
            changes.push(Change { table, unit, row, column, change, from: from.cloned(), to: to.cloned() });
        };
        for column in 0..definition.columns.len() {
            let cell = |row: Option<&'_ Vec<Figure>>| row.and_then(|row| row.get(column)).cloned();
            match (cell(old), cell(new)) {
                (Some(old), Some(new)) if !old.is_same(&new) => tell(Some(column), Some(&old), Some(&new)),
                (Some(one), None) if !one.is_blank() => tell(Some(column), Some(&one), None),
                (None, Some(one)) if !one.is_blank() => tell(Some(column), None, Some(&one)),
                _ => {}
            }
        }
        // A row that the form prints in every filing is there whether it was written or not.
        let printed = matches!(definition.rows, FormRows::Fixed { .. } | FormRows::Record);
        if change != RowChange::Kept && changes.len() == told && !printed {
            let (unit, row) = (unit.cloned(), key.clone());
            changes.push(Change { table, unit, row, column: None, change, from: None, to: None });
        }
    }
}

/// The versions that count below a node, unit by unit.
fn versions<'s>(side: &Side<'s>) -> BTreeMap<UnitCode, &'s Version> {
    let Some(tree) = side.state.tree(side.scope.year) else { return BTreeMap::new() };
    let version = |code: &UnitCode| side.state.filings(&side.scope.slot(code, Kind::Unit)).and_then(Filings::counting);
    let inside = tree.nodes().map(|node| &node.code).filter(|code| tree.is_within(code, &side.scope.node));
    inside.filter_map(|code| Some((code.clone(), version(code)?))).collect()
}

/// The lists of the units below, each unit's beside its own.
fn compare_lists(
    (from, old_table): (Side<'_>, usize),
    (to, table): (Side<'_>, usize),
    found: &mut Comparison,
) -> Result<(), Remark> {
    let (old, new) = (versions(&from), versions(&to));
    let mut units: Vec<&UnitCode> = old.keys().chain(new.keys()).collect();
    units.sort();
    units.dedup();
    units.retain(|unit| old.get(*unit).map(|v| v.position) != new.get(*unit).map(|v| v.position));
    if units.len() > LIST_UNITS_MAX {
        let id = to.view.form.tables[table].id.to_string();
        found.not_compared.push((id, NotCompared::TooManyUnits));
        return Ok(());
    }
    let total = to.view.form.tables[table].total_row();
    let rows = |side: &Side<'_>, version: Option<&&Version>, table: usize| -> Result<Rows, Remark> {
        let Some(version) = version else { return Ok(Rows::new()) };
        if form_of(side.state, version)?.layout != side.view.form.layout {
            return Ok(Rows::new());
        }
        let submission = side.contents.submission(version.position)?;
        Ok(submission.table(table).map_or_else(Rows::new, |filed| filed_rows(filed, total)))
    };
    for unit in units {
        let (old, new) = (rows(&from, old.get(unit), old_table)?, rows(&to, new.get(unit), table)?);
        compare_rows(to.view, table, Some(unit), &old, &new, &mut found.changes);
    }
    Ok(())
}

/// A cell that is watched through events: its address, whichever form set has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Watched {
    /// Table id.
    pub table: String,
    /// Row key.
    pub row: RowKey,
    /// Column id.
    pub column: String,
}

/// What stands in a cell of a node; `None` if its row is not there, or the node shows nothing.
pub fn figure(view: Option<&NodeView>, cell: &Watched) -> Option<Figure> {
    let view = view?;
    let (table, definition) = view.form.table(&cell.table)?;
    let column = definition.column(&cell.column)?;
    match &view.filing {
        Some((_, submission)) => {
            let row = submission.table(table)?.row(&cell.row)?;
            Some(Figure::Filed(row.cells.get(column)?.apart()))
        }
        None => summed(view, table, column, &cell.row),
    }
}

/// What a filing adds to a cell of the nodes above it: what stands there, or what its list adds up to.
pub fn share(filing: Option<&NodeView>, cell: &Watched) -> Option<Figure> {
    if cell.row != SUBTOTAL_ROW {
        return figure(filing, cell);
    }
    let filing = filing?;
    let (table, definition) = filing.form.table(&cell.table)?;
    summed(filing, table, definition.column(&cell.column)?, &cell.row)
}

fn summed(view: &NodeView, table: usize, column: usize, row: &str) -> Option<Figure> {
    let sides = [Some(&view.reported), view.adjusted.as_ref(), view.eliminated.as_ref()];
    let there = |totals: &&Arc<Totals>| totals.table(table).is_some_and(|totals| totals.row(row).is_some());
    sides.into_iter().flatten().find(there)?;
    view.row(table, row).get(column).copied().map(Figure::Summed)
}
