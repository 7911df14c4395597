//! What the names of a formula can mean in a form set: tables, rows, levels, columns, axes.
//!
//! Used at load, to resolve a formula and to read it aloud.

use super::line::Measure;
use crate::budget::form_set::{Column, ColumnKind, FormSet, Level, RollUp, Rows, fold_width};

/// A form set by its names. Relations are tables too, numbered behind the tables.
#[derive(Clone, Copy)]
pub(super) struct Names<'f> {
    pub(super) form: &'f FormSet,
}

/// A row that is called by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RowName {
    Total,
    Key(String),
}

impl<'f> Names<'f> {
    /// The table or relation of that name or id.
    pub(super) fn table(self, name: &str) -> Option<usize> {
        let tables = &self.form.tables;
        let by = |fits: &dyn Fn(&str, &str) -> bool| {
            let table = tables.iter().position(|table| fits(&table.name, &table.id));
            let relation = || self.form.relations.iter().position(|relation| fits(&relation.name, &relation.id));
            table.or_else(|| relation().map(|at| tables.len() + at))
        };
        by(&|table, _| table == name).or_else(|| by(&|_, id| id == name))
    }

    pub(super) fn table_names(self) -> Vec<&'f str> {
        let tables = self.form.tables.iter().map(|table| table.name.as_str());
        tables.chain(self.form.relations.iter().map(|relation| relation.name.as_str())).collect()
    }

    pub(super) fn table_name(self, table: usize) -> &'f str {
        let relation = || self.form.relations.get(table - self.form.tables.len());
        match self.form.tables.get(table) {
            Some(table) => &table.name,
            None => relation().map_or("", |relation| &relation.name),
        }
    }

    pub(super) fn columns(self, table: usize) -> &'f [Column] {
        self.form.tables.get(table).map_or(&[], |table| &table.columns)
    }

    pub(super) fn rows(self, table: usize) -> Option<&'f Rows> {
        self.form.tables.get(table).map(|table| &table.rows)
    }

    /// Whether the filing's table is filled in by the round instead of filed.
    pub(super) fn is_given(self, table: usize) -> bool {
        self.form.tables.get(table).is_some_and(|table| table.filed_by.is_empty())
    }

    /// The axes that the rows of a table stand on. A table with fixed rows of its own has an axis of its own.
    pub(super) fn axes(self, table: usize) -> Vec<usize> {
        let own = self.form.axes.len() + table;
        match self.rows(table) {
            Some(Rows::Record) => Vec::new(),
            Some(Rows::Fixed { axis, .. }) => vec![axis.unwrap_or(own)],
            Some(Rows::Keyed { axes, .. }) => axes.clone(),
            None => {
                let relation = self.form.relations.get(table - self.form.tables.len());
                let named = |name: &String| self.form.axes.iter().position(|axis| axis.name == *name);
                relation.map_or_else(Vec::new, |relation| {
                    relation.axes.iter().map(|name| named(name).unwrap_or(usize::MAX)).collect()
                })
            }
        }
    }

    pub(super) fn axis_name(self, axis: usize) -> &'f str {
        self.form
            .axes
            .get(axis)
            .map_or_else(|| self.table_name(axis.saturating_sub(self.form.axes.len())), |axis| &axis.name)
    }

    /// The levels of the codes of a table's one axis.
    pub(super) fn levels(self, table: usize) -> &'f [Level] {
        match self.axes(table).as_slice() {
            [axis] => self.form.axes.get(*axis).map_or(&[], |axis| &axis.levels),
            _ => &[],
        }
    }

    /// The columns of that label or id: more than one is ambiguous.
    pub(super) fn column(self, table: usize, name: &str) -> Vec<usize> {
        let all = self.columns(table).iter().enumerate();
        let labelled: Vec<usize> = all.clone().filter(|(_, column)| column.label == name).map(|(at, _)| at).collect();
        if !labelled.is_empty() {
            return labelled;
        }
        all.filter(|(_, column)| column.id == name).map(|(at, _)| at).collect()
    }

    /// The rows of that key, label or catalogue name: more than one is ambiguous.
    pub(super) fn row(self, table: usize, name: &str) -> Vec<RowName> {
        match self.rows(table) {
            Some(Rows::Fixed { rows, .. }) => {
                if rows.iter().any(|row| row.key == name) {
                    return vec![RowName::Key(name.to_owned())];
                }
                let labelled = rows.iter().filter(|row| row.label == name);
                labelled.map(|row| RowName::Key(row.key.to_string())).collect()
            }
            Some(Rows::Keyed { total, axes }) => {
                if total.as_ref().is_some_and(|total| total == name) {
                    return vec![RowName::Total];
                }
                let [axis] = axes.as_slice() else { return Vec::new() };
                let Some(axis) = self.form.axes.get(*axis) else { return Vec::new() };
                let catalogue = axis.catalogue.as_ref();
                let is_code = name.bytes().all(|byte| byte.is_ascii_digit())
                    && axis.levels.iter().any(|level| level.digits == name.len());
                if is_code && catalogue.is_none_or(|known| !known.complete || known.name(name).is_some()) {
                    return vec![RowName::Key(name.to_owned())];
                }
                let Some(catalogue) = catalogue else { return Vec::new() };
                let folded = fold_width(name);
                let named = catalogue.names.iter().filter(|(_, known)| fold_width(known) == folded);
                named.map(|(code, _)| RowName::Key(code.to_string())).collect()
            }
            Some(Rows::Record) | None => Vec::new(),
        }
    }

    /// Whether any row of the table can have rows below it.
    pub(super) fn has_parents(self, table: usize) -> bool {
        match self.rows(table) {
            Some(Rows::Fixed { rows, .. }) => rows.iter().any(|row| !row.parts.is_empty()),
            Some(Rows::Keyed { total, .. }) => total.is_some() || self.levels(table).len() > 1,
            Some(Rows::Record) | None => false,
        }
    }

    /// The label of a row for a sentence.
    pub(super) fn row_label(self, table: usize, row: &RowName) -> String {
        match (row, self.form.tables.get(table)) {
            (RowName::Total, Some(table)) => table.total_row().map_or_else(String::new, ToString::to_string),
            (RowName::Key(key), Some(definition)) => match self.form.row_label(definition, key) {
                "" => key.clone(),
                label => label.to_owned(),
            },
            (_, None) => String::new(),
        }
    }

    /// Whether the coverage of rules counts a column: amounts that stand on the official form and add up to something.
    pub(super) fn is_covered(self, table: usize, column: &Column) -> bool {
        let listed = self
            .form
            .tables
            .get(table)
            .is_some_and(|table| table.roll_up != RollUp::None || !table.filed_by.is_empty());
        listed && matches!(column.kind, ColumnKind::Amount { .. }) && !self.is_given(table)
    }
}

/// What a column measures.
pub(super) fn measure(column: &Column) -> Measure {
    match column.kind {
        ColumnKind::Amount { .. } => Measure::Amount,
        ColumnKind::Percent { .. } => Measure::Ratio,
        ColumnKind::Count => Measure::Count,
        ColumnKind::Year => Measure::Year,
        ColumnKind::Time => Measure::Time,
        ColumnKind::Text | ColumnKind::Calculation | ColumnKind::Name => Measure::Text,
    }
}
