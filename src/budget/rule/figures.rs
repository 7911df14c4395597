//! What a figure comes to: a cell as everything that prints so, and what is reckoned from cells.
//!
//! The arithmetic itself is `interval.rs`; here it meets cells, blanks and texts.

use std::borrow::Cow;

use super::book::NONE;
use super::finding::Cause;
use super::interval::{Impossible, Interval, Meeting};
use super::line::{Expr, Over};
use super::look::{Look, Result, VisitSigned};
use super::report::Reporter;
use super::world::{Frame, Standing, Value};
use super::written;
use crate::budget::cell::CellAddress;
use crate::budget::form_set::fold_width;

impl<'w, 'a> Look<'w, 'a> {
    pub(super) fn read(&mut self, frame: Frame, column: usize) -> Result<Value<'a>> {
        self.noted.saw(&frame, column);
        let Frame { book, table, row, .. } = frame;
        let cell = self.world.table(book, table).and_then(|table| table.cell(row, column));
        let standing = cell.map_or(Standing::Blank, |cell| self.world.reading(table, column).of(row, cell));
        match standing {
            // The round leaves out what it doesn't know, such as a deadline that nobody has set.
            Standing::Blank if Some(book) == self.world.given => Err(Cause::NotGiven(self.world.id(table))),
            Standing::Blank => Ok(Value::Blank),
            Standing::Text(text) => Ok(Value::Text(Cow::Borrowed(text))),
            _ => standing.figure().map(Value::Number).ok_or_else(|| self.unreadable()),
        }
    }

    /// The cell that was read last can't be read as what it should be.
    pub(super) fn unreadable(&self) -> Cause {
        Cause::Unreadable(self.last_address())
    }

    fn last_address(&self) -> CellAddress {
        let empty = || CellAddress::new("", "", "");
        self.noted.seen.last().map_or_else(empty, |seen| Reporter::address(self.world, seen))
    }

    pub(super) fn number(&mut self, expr: &'a Expr) -> Result<Interval> {
        match self.value(expr)? {
            Value::Number(number) => Ok(number),
            Value::Blank => Ok(Interval::ZERO),
            Value::Text(_) => Err(self.unreadable()),
        }
    }

    pub(super) fn factor(&mut self, expr: &'a Expr) -> Result<Interval> {
        match self.value(expr)? {
            Value::Number(number) => Ok(number),
            Value::Blank => Err(Cause::BlankFactor(self.last_address())),
            Value::Text(_) => Err(self.unreadable()),
        }
    }

    pub(super) fn text(&mut self, expr: &'a Expr) -> Result<Cow<'a, str>> {
        Ok(match self.value(expr)? {
            Value::Text(text) => text,
            Value::Blank | Value::Number(_) => Cow::Borrowed(""),
        })
    }

    pub(super) fn folded(&mut self, expr: &'a Expr) -> Result<Cow<'a, str>> {
        Ok(match self.text(expr)? {
            Cow::Borrowed(text) => fold_width(text),
            Cow::Owned(text) => Cow::Owned(fold_width(&text).into_owned()),
        })
    }

    pub(super) fn value(&mut self, expr: &'a Expr) -> Result<Value<'a>> {
        match expr {
            Expr::Number(number) => Ok(Value::Number(*number)),
            Expr::Text(text) => Ok(Value::Text(Cow::Borrowed(text))),
            Expr::Here { frame, column } => match self.frames.get(*frame).copied() {
                Some(frame) => self.read(frame, *column),
                None => Ok(Value::Blank),
            },
            Expr::Cell { rows, column } => {
                let frame = self.find(rows)?;
                self.read(frame, *column)
            }
            Expr::Key { frame, position, axis } => {
                let number = self.frames.get(*frame).and_then(|frame| frame.key.get(*position)).copied();
                Ok(Value::Text(Cow::Borrowed(self.world.keys.name(*axis, number.unwrap_or(NONE)))))
            }
            Expr::Sum { over, of } => self.sum(over, of),
            Expr::Count(rows) => {
                let mut count = 0;
                self.each(rows, false, &mut |_, _| {
                    count += 1;
                    Ok(true)
                })?;
                Ok(Value::Number(Interval::exact(count, 1)))
            }
            Expr::Add(parts) => {
                let mut total = Interval::ZERO;
                for (minus, part) in parts {
                    let part = self.number(part)?;
                    total = if *minus { total.minus(&part) } else { total.plus(&part) }.map_err(impossible)?;
                }
                Ok(Value::Number(total))
            }
            Expr::Multiply(first, factors) => {
                let mut product = self.factor(first)?;
                for (divides, factor) in factors {
                    let factor = self.factor(factor)?;
                    let next = if *divides { product.divided_by(&factor) } else { product.times(&factor) };
                    product = next.map_err(impossible)?;
                }
                Ok(Value::Number(product))
            }
            Expr::Negative(part) => Ok(Value::Number(self.number(part)?.negative())),
            Expr::As { of, unit, sum } => match self.value(of)? {
                Value::Text(text) => {
                    let text = fold_width(&text);
                    let read = written::read(&text, *unit).or_else(|| if *sum { written::sum(&text) } else { None });
                    read.map(Value::Number).ok_or_else(|| self.unreadable())
                }
                other => Ok(other),
            },
            condition => match self.truth(condition)? {
                Meeting::Never => Ok(Value::Number(Interval::ZERO)),
                Meeting::Plain | Meeting::ByRounding => Ok(Value::Number(Interval::exact(1, 1))),
            },
        }
    }

    pub(super) fn sum(&mut self, over: &'a Over, of: &'a Expr) -> Result<Value<'a>> {
        let mut total = Interval::ZERO;
        let mut add = |run: &mut Self, frame: Frame, minus: bool| -> Result<bool> {
            run.frames.push(frame);
            let part = run.number(of);
            run.frames.pop();
            let part = part?;
            total = if minus { total.minus(&part) } else { total.plus(&part) }.map_err(impossible)?;
            Ok(true)
        };
        match over {
            Over::Rows(rows) => self.each(rows, false, &mut |run, frame| add(run, frame, false))?,
            Over::Children(at) | Over::Leaves(at) => {
                let leaves = matches!(over, Over::Leaves(_));
                if let Some(frame) = self.frames.get(*at).copied() {
                    self.below(frame, leaves, false, &mut add)?;
                }
            }
        }
        Ok(Value::Number(total))
    }

    /// The rows below one, or the last of them; of fixed rows, those that it adds, some of them taken off.
    pub(super) fn below(
        &mut self,
        frame: Frame,
        leaves: bool,
        minus: bool,
        f: &mut VisitSigned<'_, 'w, 'a>,
    ) -> Result<()> {
        let world = self.world;
        let Some(table) = world.table(frame.book, frame.table) else { return Ok(()) };
        if let Some(fixed) = world.fixed_rows(frame.table) {
            let parts = table.printed_at(frame.row).and_then(|at| fixed.get(at)).map_or(&[][..], |row| &row.parts);
            for part in parts {
                let row = table.fixed.get(part.row).copied().unwrap_or(NONE);
                if row == NONE {
                    let key = fixed.get(part.row).map(|row| row.key.clone()).unwrap_or_default();
                    return Err(Cause::RowMissing(world.id(frame.table), key));
                }
                let child = self.frame(frame.book, frame.table, row);
                let minus = minus != part.minus;
                if leaves && self.world.is_parent(child.book, child.table, child.row) {
                    self.below(child, leaves, minus, f)?;
                } else {
                    f(self, child, minus)?;
                }
            }
            return Ok(());
        }
        for row in table.children(frame.row) {
            let child = self.frame(frame.book, frame.table, row);
            if leaves && table.is_parent(row) {
                self.below(child, leaves, minus, f)?;
            } else {
                f(self, child, minus)?;
            }
        }
        Ok(())
    }
}

pub(super) fn impossible(impossible: Impossible) -> Cause {
    match impossible {
        Impossible::DivisionByZero => Cause::DivisionByZero,
        Impossible::TooLarge => Cause::TooLarge,
    }
}
