//! What a figure comes to: a cell as everything that prints so, and what is reckoned from cells.
//!
//! The arithmetic itself is `interval.rs`'s and `printed.rs`'s; here it meets cells, blanks and texts.

use std::borrow::Cow;

use super::book::NONE;
use super::finding::Cause;
use super::interval::{Impossible, Interval, Meeting};
use super::line::{Expr, Over};
use super::look::{Answer, Eye, Figure, Look};
use super::report::Reporter;
use super::syntax::Unit;
use super::world::{Frame, Seen, Text, Value};
use super::written::{self, Unsummed};
use crate::budget::cell::{Cell, CellAddress};
use crate::budget::form_set::fold_width;

/// What a figure comes to, or why it comes to nothing.
type Worth<'a, E> = Answer<'a, Value<'a, <E as Eye<'a>>::Figure>, E>;

impl<'w, 'a, E: Eye<'a>> Look<'w, 'a, E> {
    // ── cells ────────────────────────────────────────────────────────────────────────────

    pub(super) fn read(&mut self, frame: &Frame, column: usize) -> Worth<'a, E> {
        self.eye.saw(frame, column);
        match self.world.cell(frame, column).filter(|cell| !cell.is_blank()) {
            None if self.is_given(frame) => Err(self.not_given(frame)),
            None => Ok(Value::Blank),
            Some(Cell::Text(text)) => Ok(Value::Text(text)),
            Some(cell) => self.figure_of(frame, column, cell).map(Value::Number),
        }
    }

    /// A cell as a number: a blank adds nothing.
    #[inline]
    fn read_number(&mut self, frame: &Frame, column: usize) -> Answer<'a, E::Figure, E> {
        self.eye.saw(frame, column);
        self.as_number(frame, column)
    }

    #[inline]
    fn as_number(&self, frame: &Frame, column: usize) -> Answer<'a, E::Figure, E> {
        match self.world.cell(frame, column).filter(|cell| !cell.is_blank()) {
            None if self.is_given(frame) => Err(self.not_given(frame)),
            None => Ok(E::Figure::ZERO),
            Some(cell) => self.figure_of(frame, column, cell),
        }
    }

    #[inline]
    fn figure_of(&self, frame: &Frame, column: usize, cell: &Cell) -> Answer<'a, E::Figure, E> {
        let world = self.world;
        let figure = match cell {
            Cell::Amount(amount) if world.slack.is_none() => {
                E::Figure::of_amount(world.as_meant(*amount, frame.table, column))
            }
            cell => E::Figure::of_cell(&world.standing((frame.table, frame.row, column), cell)),
        };
        figure.ok_or_else(|| self.unreadable())
    }

    /// The round leaves out what it doesn't know, such as a deadline that nobody has set.
    #[inline]
    fn is_given(&self, frame: &Frame) -> bool {
        Some(frame.book) == self.world.given
    }

    #[cold]
    fn not_given(&self, frame: &Frame) -> E::Lack {
        E::lack(|| Cause::NotGiven(self.world.id(frame.table)))
    }

    /// The cell that was read last can't be read as what it should be.
    #[cold]
    pub(super) fn unreadable(&self) -> E::Lack {
        self.unreadable_in(self.last_seen())
    }

    /// The same of a cell that was read before.
    #[cold]
    pub(super) fn unreadable_in(&self, seen: Option<Seen>) -> E::Lack {
        E::lack(|| Cause::Unreadable(self.address_of(seen)))
    }

    /// The cell that was read last, as far as anything is noted.
    pub(super) fn last_seen(&self) -> Option<Seen> {
        self.eye.seen().last().copied()
    }

    fn last_address(&self) -> CellAddress {
        self.address_of(self.last_seen())
    }

    fn address_of(&self, seen: Option<Seen>) -> CellAddress {
        let empty = || CellAddress::new("", "", "");
        seen.map_or_else(empty, |seen| Reporter::address(self.world, &seen))
    }

    // ── texts ────────────────────────────────────────────────────────────────────────────

    /// A blank says nothing, and neither does a number.
    pub(super) fn text(&mut self, expr: &'a Expr) -> Answer<'a, &'a str, E> {
        if let Expr::Here { frame, column } = expr
            && let Some(frame) = self.frames.get(*frame)
            && let Some(Cell::Text(text)) = self.world.cell(frame, *column)
        {
            self.eye.saw(frame, *column);
            return Ok(text);
        }
        Ok(match self.value(expr)? {
            Value::Text(text) => text,
            Value::Blank | Value::Number(_) => "",
        })
    }

    /// What the row at hand says, if that is all that is asked for.
    pub(super) fn text_at_hand(&mut self, expr: &Expr) -> Option<&'w Text<'a>> {
        let Expr::Here { frame, column } = expr else { return None };
        let frame = self.frames.get(*frame)?;
        let text = self.world.text(frame, *column)?;
        self.eye.saw(frame, *column);
        Some(text)
    }

    /// A text with its width folded.
    pub(super) fn folded(&mut self, expr: &'a Expr) -> Answer<'a, Cow<'w, str>, E> {
        match self.text_at_hand(expr) {
            Some(text) => Ok(Cow::Borrowed(&text.folded)),
            None => Ok(fold_width(self.text(expr)?)),
        }
    }

    /// The amounts that a text mentions, and the text.
    pub(super) fn mentioned(&mut self, expr: &'a Expr) -> Answer<'a, (Cow<'w, [Interval]>, &'a str), E> {
        match self.text_at_hand(expr) {
            Some(text) => Ok((Cow::Borrowed(text.mentioned()), text.said)),
            None => {
                let text = self.text(expr)?;
                Ok((Cow::Owned(written::mentioned(text)), text))
            }
        }
    }

    fn read_as(&mut self, of: &'a Expr, unit: Unit, sum: bool) -> Worth<'a, E> {
        let (reading, folded) = match self.text_at_hand(of) {
            Some(text) => (text.reading(), Cow::Borrowed(text.folded.as_ref())),
            None => {
                let text = match self.value(of)? {
                    Value::Text(text) => fold_width(text),
                    other => return Ok(other),
                };
                (written::read(&text), text)
            }
        };
        if sum && reading.figure(unit).is_none() {
            return match written::sum(&folded) {
                Err(Unsummed::Otherwise) => Err(E::lack(|| Cause::OtherResult(self.last_address()))),
                sum => self.worth(sum.ok()),
            };
        }
        self.worth(reading.figure(unit))
    }

    fn worth(&self, read: Option<Interval>) -> Worth<'a, E> {
        read.as_ref().and_then(E::Figure::of).map(Value::Number).ok_or_else(|| self.unreadable())
    }

    // ── what is reckoned ─────────────────────────────────────────────────────────────────

    pub(super) fn value(&mut self, expr: &'a Expr) -> Worth<'a, E> {
        match expr {
            Expr::Text(text) => Ok(Value::Text(text)),
            Expr::Here { frame, column } => match self.frames.get(*frame).copied() {
                Some(frame) => self.read(&frame, *column),
                None => Ok(Value::Blank),
            },
            Expr::Cell { rows, column } => {
                let frame = self.find(rows)?;
                self.read(&frame, *column)
            }
            Expr::Key { frame, position, axis } => {
                let number = self.frames.get(*frame).map_or(NONE, |frame| self.world.part(frame, *position));
                Ok(Value::Text(self.world.keys.name(*axis, number)))
            }
            Expr::As { of, unit, sum } => self.read_as(of, *unit, *sum),
            Expr::Known(of) => match self.value(of)? {
                Value::Blank => Err(E::lack(|| Cause::BlankCondition(self.last_address()))),
                known => Ok(known),
            },
            number => self.reckoned(number).map(Value::Number),
        }
    }

    /// A blank adds nothing.
    #[inline]
    pub(super) fn number(&mut self, expr: &'a Expr) -> Answer<'a, E::Figure, E> {
        let Expr::Here { frame, column } = expr else { return self.reckoned(expr) };
        let Some(frame) = self.frames.get(*frame) else { return Ok(E::Figure::ZERO) };
        self.eye.saw(frame, *column);
        self.as_number(frame, *column)
    }

    /// The same of anything but a cell of a row at hand, as most are.
    fn reckoned(&mut self, expr: &'a Expr) -> Answer<'a, E::Figure, E> {
        match expr {
            Expr::Here { .. } => self.number(expr),
            Expr::Number(number) => self.exactly(number),
            Expr::Cell { rows, column } => {
                let frame = self.find(rows)?;
                self.read_number(&frame, *column)
            }
            Expr::Text(_) | Expr::Key { .. } => Err(self.unreadable()),
            Expr::As { .. } | Expr::Known(_) => match self.value(expr)? {
                Value::Number(number) => Ok(number),
                Value::Blank => Ok(E::Figure::ZERO),
                Value::Text(_) => Err(self.unreadable()),
            },
            Expr::Sum { over, of } => self.sum(over, of),
            Expr::Count(rows) => {
                let mut count = 0;
                self.each(rows, false, &mut |_, _| {
                    count += 1;
                    Ok(true)
                })?;
                self.exactly(&Interval::exact(count, 1))
            }
            Expr::Add(parts) => {
                let mut total = E::Figure::ZERO;
                for (minus, part) in parts {
                    let part = self.number(part)?;
                    total = if *minus { total.minus(&part) } else { total.plus(&part) }.map_err(impossible::<E>)?;
                }
                Ok(total)
            }
            Expr::Multiply(first, factors) => {
                let mut product = self.factor(first)?;
                for (divides, factor) in factors {
                    let factor = self.factor(factor)?;
                    let next = if *divides { product.divided_by(&factor) } else { product.times(&factor) };
                    product = next.map_err(impossible::<E>)?;
                }
                Ok(product)
            }
            Expr::Negative(part) => Ok(self.number(part)?.negative()),
            condition => {
                let holds = self.truth(condition)? != Meeting::Never;
                self.exactly(&Interval::exact(holds.into(), 1))
            }
        }
    }

    fn exactly(&self, figure: &Interval) -> Answer<'a, E::Figure, E> {
        E::Figure::of(figure).ok_or_else(|| E::lack(|| Cause::TooLarge))
    }

    /// A blank is no factor.
    fn factor(&mut self, expr: &'a Expr) -> Answer<'a, E::Figure, E> {
        match self.value(expr)? {
            Value::Number(number) => Ok(number),
            Value::Blank => Err(E::lack(|| Cause::BlankFactor(self.last_address()))),
            Value::Text(_) => Err(self.unreadable()),
        }
    }

    fn sum(&mut self, over: &'a Over, of: &'a Expr) -> Answer<'a, E::Figure, E> {
        let mut total = E::Figure::ZERO;
        let own = self.frames.len();
        let mut add = |run: &mut Self, frame: Frame, minus: bool| -> Answer<'a, (), E> {
            let part = match of {
                Expr::Here { frame: at, column } if *at == own => run.read_number(&frame, *column)?,
                of => run.at(frame, |run| run.number(of))?,
            };
            total = if minus { total.minus(&part) } else { total.plus(&part) }.map_err(impossible::<E>)?;
            Ok(())
        };
        match over {
            Over::Rows(rows) => {
                self.each(rows, false, &mut |run, frame| add(run, frame, false).map(|()| true))?;
            }
            Over::Children(at) | Over::Leaves(at) => {
                let leaves = matches!(over, Over::Leaves(_));
                if let Some(frame) = self.frames.get(*at).copied() {
                    self.below(frame, leaves, &mut add)?;
                }
            }
        }
        Ok(total)
    }

    /// The rows below one, or the last of them; of fixed rows, those that it adds, some of them taken off.
    #[inline]
    fn below(
        &mut self,
        frame: Frame,
        leaves: bool,
        f: &mut impl FnMut(&mut Self, Frame, bool) -> Answer<'a, (), E>,
    ) -> Answer<'a, (), E> {
        let world = self.world;
        let Some(table) = world.table(frame.book, frame.table) else { return Ok(()) };
        if world.fixed_rows(frame.table).is_some() {
            return self.below_fixed(frame, leaves, false, f);
        }
        let mut each = |row| f(self, Frame::of(frame.book, frame.table, row), false);
        if leaves {
            table.leaves(frame.row).try_for_each(each)
        } else {
            table.children(frame.row).try_for_each(&mut each)
        }
    }

    fn below_fixed(
        &mut self,
        frame: Frame,
        leaves: bool,
        minus: bool,
        f: &mut dyn FnMut(&mut Self, Frame, bool) -> Answer<'a, (), E>,
    ) -> Answer<'a, (), E> {
        let world = self.world;
        let filed = world.table(frame.book, frame.table).zip(world.fixed_rows(frame.table));
        let Some((table, fixed)) = filed else { return Ok(()) };
        let parts = table.printed_at(frame.row).and_then(|at| fixed.get(at)).map_or(&[][..], |row| &row.parts);
        for part in parts {
            let row = table.fixed.get(part.row).copied().unwrap_or(NONE);
            if row == NONE {
                let key = || fixed.get(part.row).map(|row| row.key.clone()).unwrap_or_default();
                return Err(E::lack(|| Cause::RowMissing(world.id(frame.table), key())));
            }
            let child = Frame::of(frame.book, frame.table, row);
            let minus = minus != part.minus;
            if leaves && world.is_parent(child.book, child.table, child.row) {
                self.below_fixed(child, leaves, minus, f)?;
            } else {
                f(self, child, minus)?;
            }
        }
        Ok(())
    }
}

pub(super) fn impossible<'a, E: Eye<'a>>(impossible: Impossible) -> E::Lack {
    E::lack(|| match impossible {
        Impossible::DivisionByZero => Cause::DivisionByZero,
        Impossible::TooLarge => Cause::TooLarge,
    })
}
