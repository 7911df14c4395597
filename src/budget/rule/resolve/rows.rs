//! Tables and rows: which are named, which are chosen, and by which axes they meet the rows at hand.

use super::super::line::{BookOf, Join, Named, Rows, Test};
use super::super::names::RowName;
use super::super::syntax::{BookWord, RefNode, Select, Span};
use super::figures::Chosen;
use super::{Frame, FrameOf, Resolved, Resolver, fault};
use crate::budget::form_set::Rows as RowsOf;
use crate::budget::reason::Reason;

impl<'f> Resolver<'f> {
    pub(super) fn table(&mut self, node: &RefNode) -> Resolved<usize> {
        match self.names.table(&node.table) {
            Some(table) => Ok(table),
            None => fault(node.at, Reason::FormUnknownName, &node.table, &self.names.table_names().join(", ")),
        }
    }

    /// Rows of a table, and the axes that are left free.
    pub(super) fn rows(&mut self, node: &RefNode) -> Resolved<(Rows, Vec<usize>)> {
        let table = self.table(node)?;
        let axes = self.names.axes(table);
        if axes.contains(&usize::MAX) {
            return fault(node.at, Reason::FormUnknownName, &node.table, "an axis of forms.toml");
        }
        if let Some(used) = self.tables.get_mut(table) {
            *used = true;
        }
        let book = self.book(node, table)?;
        let mut joins = Vec::new();
        for (position, axis) in axes.iter().enumerate() {
            let at_hand = self.frames.iter().enumerate().rev().find_map(|(at, frame)| {
                frame.axes.iter().position(|of| of == axis).map(|of| Join { position, frame: at, of })
            });
            joins.extend(at_hand);
        }
        let (mut named, mut tests) = (None, Vec::new());
        self.frames.push(Frame { table, axes: axes.clone(), row: true, of: FrameOf::Selection });
        // What chooses rows is no condition of the line: a row that says nothing is none of those that say so.
        let asking = std::mem::take(&mut self.asking);
        let selected = node.select.iter().try_for_each(|select| match self.select(table, select)? {
            Chosen::Row(row) if named.is_none() => {
                named = Some(row);
                Ok(())
            }
            Chosen::Row(_) => fault(node.at, Reason::RuleSyntax, &node.table, "one row"),
            Chosen::Rows(more) => {
                tests.extend(more);
                Ok(())
            }
        });
        self.frames.pop();
        self.asking = asking;
        selected?;
        if axes.is_empty() {
            named = Some(Named::Record);
        }
        if named.is_some() {
            joins.clear();
        }
        self.row_used |= !joins.is_empty();
        let bound = |position: &usize| named.is_some() || joins.iter().any(|join| join.position == *position);
        let free = (0..axes.len()).filter(|position| !bound(position)).map(|position| axes[position]).collect();
        Ok((Rows { book, table, named, joins, tests }, free))
    }

    pub(super) fn book(&mut self, node: &RefNode, table: usize) -> Resolved<BookOf> {
        let relation = table >= self.names.form.tables.len();
        Ok(match node.book {
            BookWord::This if relation => BookOf::FormSet,
            BookWord::This if self.names.is_given(table) => {
                self.needs.given = true;
                BookOf::Given
            }
            BookWord::This => {
                self.filed.push(table);
                BookOf::This
            }
            BookWord::Last | BookWord::Units if relation || self.names.is_given(table) => {
                return fault(node.at, Reason::RuleSyntax, &node.table, "a filed table");
            }
            BookWord::Last => {
                self.needs.last = true;
                BookOf::Last
            }
            BookWord::Units => {
                self.needs.units = true;
                BookOf::Units
            }
        })
    }

    pub(super) fn select(&mut self, table: usize, select: &Select) -> Resolved<Chosen> {
        let test = match select {
            Select::Parents(at) if !self.names.has_parents(table) => {
                return fault(*at, Reason::RuleNeverHolds, "parents", self.names.table_name(table));
            }
            Select::Parents(_) => Test::Parents,
            Select::Leaves(_) => Test::Leaves,
            Select::Name(name, at) => return self.row_or_level(table, name, *at),
            Select::In { not, table: node } => {
                let (rows, _) = self.rows(node)?;
                if rows.joins.is_empty() {
                    return fault(node.at, Reason::RuleAxesDiffer, &node.table, self.names.table_name(table));
                }
                let chosen = self.frames.len() - 1;
                let own = rows.joins.iter().find(|join| join.frame == chosen && join.of == 0);
                let outer = rows.joins.iter().any(|join| join.frame != chosen);
                let single = self.names.axes(table).len() == 1;
                let leads = own.filter(|_| outer && single && !*not).map(|join| join.position);
                Test::In { not: *not, rows, leads }
            }
            Select::Test(node) => {
                let condition = self.condition(node)?;
                return Ok(Chosen::Rows(Test::of(condition, self.frames.len() - 1)));
            }
        };
        Ok(Chosen::Rows(vec![test]))
    }

    pub(super) fn row_or_level(&mut self, table: usize, name: &str, at: Span) -> Resolved<Chosen> {
        let rows = self.names.row(table, name);
        let level = self.names.levels(table).iter().find(|level| level.name == name);
        match (rows.as_slice(), level) {
            ([], Some(level)) => Ok(Chosen::Rows(vec![Test::Level(level.digits)])),
            ([RowName::Total], None) => Ok(Chosen::Row(Named::Total)),
            ([RowName::Key(key)], None) => {
                let axis = self.names.axes(table).first().copied().unwrap_or(usize::MAX);
                Ok(Chosen::Row(Named::Key(self.key(axis, key))))
            }
            ([], None) => {
                let levels = self.names.levels(table).iter().map(|level| level.name.clone());
                let rows = match self.names.rows(table) {
                    Some(RowsOf::Fixed { rows, .. }) => rows.iter().map(|row| row.label.clone()).collect(),
                    Some(RowsOf::Keyed { total, .. }) => total.iter().map(ToString::to_string).collect(),
                    Some(RowsOf::Record) | None => Vec::new(),
                };
                let known: Vec<String> = rows.into_iter().chain(levels).collect();
                fault(at, Reason::FormUnknownName, name, &known.join(", "))
            }
            (several, level) => {
                let keys = several.iter().map(|row| match row {
                    RowName::Total => name.to_owned(),
                    RowName::Key(key) => key.clone(),
                });
                let known: Vec<String> = keys.chain(level.map(|level| format!("[{}]", level.name))).collect();
                fault(at, Reason::RuleAmbiguousName, name, &known.join(", "))
            }
        }
    }

    /// The number of a key, from 1 on its axis: 0 is the total row.
    pub(super) fn key(&mut self, axis: usize, key: &str) -> u32 {
        let mut on_axis = self.keys.iter().filter(|(of, _)| *of == axis);
        let number = match on_axis.position(|(_, known)| known == key) {
            Some(at) => at,
            None => {
                self.keys.push((axis, key.into()));
                self.keys.iter().filter(|(of, _)| *of == axis).count() - 1
            }
        };
        u32::try_from(number + 1).unwrap_or(u32::MAX)
    }
}
