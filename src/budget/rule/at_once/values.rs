//! What figures come to, place by place, as they are printed. Says what `figures.rs` says, where prints can tell.

use std::borrow::Cow;
use std::cell::OnceCell;

use super::super::book::Cells;
use super::super::line::{Expr, Over, Rows};
use super::super::printed::Print;
use super::super::syntax::Unit;
use super::super::world::{Standing, THIS};
use super::super::written;
use super::batch::Batch;
use super::rows::UNKNOWN;
use super::{AtOnce, Truth};
use crate::budget::cell::Cell;
use crate::budget::form_set::{ColumnKind, fold_width};

/// What a figure comes to at one place.
#[derive(Clone, Copy, Debug)]
pub(in super::super) enum Value<'w> {
    Blank,
    Figure(Print),
    Text(&'w str),
    Unsure,
}

impl<'w> Value<'w> {
    fn of(figure: Option<Print>) -> Value<'w> {
        figure.map_or(Value::Unsure, Value::Figure)
    }

    /// As a number: a blank adds nothing.
    pub(super) fn number(&self) -> Option<Print> {
        match self {
            Value::Figure(print) => Some(*print),
            Value::Blank => Some(Print::ZERO),
            Value::Text(_) | Value::Unsure => None,
        }
    }

    /// As a factor: a blank is none.
    fn factor(&self) -> Option<Print> {
        if let Value::Figure(print) = self { Some(*print) } else { None }
    }

    /// As a text: a blank says nothing.
    pub(super) fn text(&self) -> Option<&'w str> {
        match self {
            Value::Text(text) => Some(text),
            Value::Blank | Value::Figure(_) => Some(""),
            Value::Unsure => None,
        }
    }
}

impl<'w, 'a> AtOnce<'w, 'a> {
    pub(super) fn values(&self, expr: &'a Expr, at: &Batch<'_>) -> Vec<Value<'w>> {
        if at.len == 0 {
            return Vec::new();
        }
        let figures = |figures: Vec<Option<Print>>| figures.into_iter().map(Value::of).collect();
        match expr {
            Expr::Number(number) => vec![Value::of(Print::of(number).ok()); at.len],
            Expr::Text(text) => vec![Value::Text(text); at.len],
            Expr::Here { frame, column } => match at.rows(*frame) {
                Some((book, table, rows)) => self.cells(book, table, &rows, *column),
                None => vec![Value::Blank; at.len],
            },
            Expr::Cell { rows, column } => match self.find(rows, at) {
                Some((book, found)) => self.cells(book, rows.table, &found, *column),
                None => vec![Value::Unsure; at.len],
            },
            Expr::Key { frame, position, axis } => {
                let name = |number| Value::Text(self.world.keys.name(*axis, number));
                at.parts(self.world, *frame, *position).into_iter().map(name).collect()
            }
            Expr::Sum { over, of } => figures(self.sum(over, of, at)),
            Expr::Count(rows) => {
                let counts = self.totals(rows, at, |inner| vec![Some(Print::exactly(1)); inner.len]);
                figures(counts)
            }
            Expr::Add(parts) => {
                let mut totals = vec![Some(Print::ZERO); at.len];
                for (minus, part) in parts {
                    for (total, part) in totals.iter_mut().zip(self.values(part, at)) {
                        *total = total.and_then(|total| added(total, part.number()?, *minus));
                    }
                }
                figures(totals)
            }
            // Prints don't divide.
            Expr::Multiply(_, factors) if factors.iter().any(|(divides, _)| *divides) => vec![Value::Unsure; at.len],
            Expr::Multiply(first, factors) => {
                let mut products: Vec<Option<Print>> = self.values(first, at).iter().map(Value::factor).collect();
                for (_, factor) in factors {
                    for (product, factor) in products.iter_mut().zip(self.values(factor, at)) {
                        *product = product.and_then(|product| product.times(&factor.factor()?).ok());
                    }
                }
                figures(products)
            }
            Expr::Negative(part) => {
                let negative = |value: &Value<'_>| Value::of(value.number().map(|print| print.negative()));
                self.values(part, at).iter().map(negative).collect()
            }
            Expr::As { of, unit, sum } => {
                self.folded(of, at).into_iter().map(|value| read_as(value, *unit, *sum)).collect()
            }
            condition => {
                let counted = |truth| match truth {
                    Truth::Plain => Value::Figure(Print::exactly(1)),
                    Truth::Never => Value::Figure(Print::ZERO),
                    Truth::Unsure => Value::Unsure,
                };
                self.truths(condition, at).into_iter().map(counted).collect()
            }
        }
    }

    /// Texts with their widths folded.
    pub(super) fn folded(&self, expr: &'a Expr, at: &Batch<'_>) -> Vec<Value<'w>> {
        if let Expr::Here { frame, column } = expr
            && let Some((THIS, table, rows)) = at.rows(*frame)
        {
            let folded = self.world.folded(table, *column);
            let value = |row: &u32| match folded.get(*row as usize) {
                None => Value::Blank,
                Some(None) => Value::Unsure,
                Some(Some(text)) if text.is_empty() => Value::Blank,
                Some(Some(text)) => Value::Text(text),
            };
            return rows.iter().map(value).collect();
        }
        let mut values = self.values(expr, at);
        for value in &mut values {
            if let Value::Text(text) = value
                && let Cow::Owned(_) = fold_width(text)
            {
                *value = Value::Unsure;
            }
        }
        values
    }

    /// A column of these rows.
    fn cells(&self, book: usize, table: usize, rows: &[u32], column: usize) -> Vec<Value<'w>> {
        let world = self.world;
        // The round leaves out what it doesn't know.
        let blank = if Some(book) == world.given { Value::Unsure } else { Value::Blank };
        if let Some((figures, columns)) = self.figures(book, table, column) {
            let value = |row: &u32| match figures.get(*row as usize * columns + column) {
                None if *row == UNKNOWN => Value::Unsure,
                None | Some(Value::Blank) => blank,
                Some(value) => *value,
            };
            return rows.iter().map(value).collect();
        }
        let reading = world.reading(table, column);
        let cells = world.table(book, table).map_or_else(Cells::none, |filed| filed.column(column));
        let value = |row: &u32| match cells.at(*row) {
            None if *row == UNKNOWN => Value::Unsure,
            None | Some(Cell::Blank) => blank,
            Some(Cell::Text(text)) => Value::Text(text),
            Some(cell) => printed(&reading.of(*row, cell)),
        };
        rows.iter().map(value).collect()
    }

    /// The figures of a table, if a column has amounts.
    fn figures(&self, book: usize, table: usize, column: usize) -> Option<(&'w [Value<'static>], usize)> {
        let world = self.world;
        let columns = &world.form.tables.get(table)?.columns;
        if !matches!(columns.get(column)?.kind, ColumnKind::Amount { .. }) {
            return None;
        }
        let readings: OnceCell<Vec<_>> = OnceCell::new();
        let readings =
            || readings.get_or_init(|| (0..columns.len()).map(|column| world.reading(table, column)).collect());
        world.table(book, table)?.figures(|row, column, cell| {
            readings().get(column).map_or(Value::Unsure, |reading| printed(&reading.of(row, cell)))
        })
    }

    fn sum(&self, over: &'a Over, of: &'a Expr, at: &Batch<'_>) -> Vec<Option<Print>> {
        let numbers = |inner: &Batch<'_>| self.values(of, inner).iter().map(Value::number).collect();
        let (frame, leaves) = match over {
            Over::Rows(rows) => return self.totals(rows, at, numbers),
            Over::Children(frame) => (*frame, false),
            Over::Leaves(frame) => (*frame, true),
        };
        let mut totals = vec![Some(Print::ZERO); at.len];
        let below = self.below(frame, leaves, at);
        let parts: Vec<Option<Print>> = numbers(&below.rows);
        for ((place, minus), part) in below.rows.from().iter().zip(&below.minus).zip(parts) {
            add_to(&mut totals, *place, part, *minus);
        }
        for place in below.unsure {
            add_to(&mut totals, place, None, false);
        }
        totals
    }

    /// What the rows that are met from each place come to.
    fn totals(
        &self,
        rows: &'a Rows,
        at: &Batch<'_>,
        figures: impl Fn(&Batch<'_>) -> Vec<Option<Print>>,
    ) -> Vec<Option<Print>> {
        let Some(books) = self.books(rows.book) else { return vec![None; at.len] };
        let mut totals = vec![Some(Print::ZERO); at.len];
        for book in books {
            let met = self.each(book, rows, false, at);
            for (place, part) in met.rows.from().iter().zip(figures(&met.rows)) {
                add_to(&mut totals, *place, part, false);
            }
            for place in met.unsure {
                add_to(&mut totals, place, None, false);
            }
        }
        totals
    }
}

/// A figure as it is printed.
fn printed(standing: &Standing<'_>) -> Value<'static> {
    match standing {
        Standing::Blank => Value::Blank,
        Standing::Amount(amount) => Value::of(Print::of_amount(*amount).ok()),
        standing => Value::of(standing.figure().and_then(|figure| Print::of(&figure).ok())),
    }
}

#[inline]
fn added(total: Print, part: Print, minus: bool) -> Option<Print> {
    if minus { total.minus(&part) } else { total.plus(&part) }.ok()
}

fn add_to(totals: &mut [Option<Print>], place: u32, part: Option<Print>, minus: bool) {
    if let Some(total) = totals.get_mut(place as usize) {
        *total = total.and_then(|total| added(total, part?, minus));
    }
}

fn read_as<'w>(value: Value<'w>, unit: Unit, sum: bool) -> Value<'w> {
    let Value::Text(text) = value else { return value };
    let read = written::read(text, unit).or_else(|| if sum { written::sum(text) } else { None });
    Value::of(read.and_then(|read| Print::of(&read).ok()))
}
