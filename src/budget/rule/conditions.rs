//! Whether a condition holds: plainly, only by rounding, or never; and how two figures or texts meet.

use std::borrow::Cow;

use super::figures::impossible;
use super::finding::Cause;
use super::interval::{Meeting, Relation};
use super::line::{Expr, Measure, Rows};
use super::look::{Answer, Eye, Figure, Look};
use super::syntax::Unit;
use super::world::Value;
use super::written;
use crate::budget::cell::Cell;
use crate::budget::form_set::{fold_width, folds_alike, one_begins_other};
use crate::budget::number::Number;

impl<'a, E: Eye<'a>> Look<'_, 'a, E> {
    pub(super) fn truth(&mut self, expr: &'a Expr) -> Answer<'a, Meeting, E> {
        let plain = |holds: bool| Ok(if holds { Meeting::Plain } else { Meeting::Never });
        match expr {
            Expr::And(parts) => self.worst(parts),
            Expr::Or(parts) => self.best(parts),
            Expr::Not(part) => plain(self.truth(part)? == Meeting::Never),
            Expr::Iff(parts) => {
                let [a, b] = parts.as_ref();
                plain((self.truth(a)? == Meeting::Never) == (self.truth(b)? == Meeting::Never))
            }
            Expr::Compare(first, rest, measure) => self.compare(first, rest, *measure),
            Expr::Begins(parts) => {
                let [a, b] = parts.as_ref();
                let (a, b) = (self.text(a)?, self.text(b)?);
                plain(one_begins_other(a, b))
            }
            Expr::Has(parts) => {
                let [a, b] = parts.as_ref();
                let (a, b) = (self.folded(a)?, self.folded(b)?);
                plain(a.contains(b.as_ref()))
            }
            Expr::Exists(rows) => plain(self.exists(rows)?),
            Expr::Present(part) => plain(!matches!(self.value(part)?, Value::Blank)),
            Expr::Filled(rows) => plain(self.filled(rows)?),
            Expr::IsUnit(part, Unit::Time) => plain(written::is_time(self.text(part)?)),
            Expr::IsUnit(part, unit) => {
                let reading = match self.text_at_hand(part) {
                    Some(text) => text.reading(),
                    None => written::read(&fold_width(self.text(part)?)),
                };
                plain(reading.is_unit(*unit).ok_or_else(|| self.unreadable())?)
            }
            Expr::MentionsMoney(part) => {
                let (amounts, text) = self.mentioned(part)?;
                // What can't be read is an amount that is mentioned, but nobody knows which.
                if amounts.is_empty() && written::mentions_unclear(text) {
                    return Err(self.unreadable());
                }
                plain(!amounts.is_empty())
            }
            Expr::Mentions(parts) => {
                let [text, amount] = parts.as_ref();
                let (mentioned, text) = self.mentioned(text)?;
                let at = self.last_seen();
                let amount = self.number(amount)?;
                let mut best = Meeting::Never;
                for one in mentioned.iter() {
                    let one = E::Figure::of(one).ok_or_else(|| E::lack(|| Cause::TooLarge))?;
                    match one.compare(Relation::Equal, &amount).map_err(impossible::<E>)? {
                        Meeting::Plain => return Ok(Meeting::Plain),
                        Meeting::ByRounding => best = Meeting::ByRounding,
                        Meeting::Never => {}
                    }
                }
                if best == Meeting::Never && written::mentions_unclear(text) {
                    return Err(self.unreadable_in(at));
                }
                Ok(best)
            }
            Expr::In(part, among) => {
                let value = self.value(part)?;
                for option in among {
                    let option = self.value(option)?;
                    if meet::<E>(&value, &option, Relation::Equal)? != Meeting::Never {
                        return Ok(Meeting::Plain);
                    }
                }
                Ok(Meeting::Never)
            }
            Expr::Unique { rows, column } => plain(self.in_order(rows, *column, true)?),
            Expr::Ascending { rows, column } => plain(self.in_order(rows, *column, false)?),
            figure => plain(!matches!(self.value(figure)?, Value::Blank)),
        }
    }

    /// All must hold. One that fails decides, even if another can't be judged; what the others look at is noted all the same,
    /// as far as anything is: the verdict rests on it too.
    pub(super) fn worst(&mut self, parts: &'a [Expr]) -> Answer<'a, Meeting, E> {
        let (mut worst, mut cause) = (Meeting::Plain, None);
        for (at, part) in parts.iter().enumerate() {
            match self.truth(part) {
                Ok(Meeting::Never) => {
                    if E::NOTES {
                        self.look_at(parts.get(at + 1..).unwrap_or(&[]));
                    }
                    return Ok(Meeting::Never);
                }
                Ok(Meeting::ByRounding) => worst = Meeting::ByRounding,
                Ok(Meeting::Plain) => {}
                Err(missing) => cause = cause.or(Some(missing)),
            }
        }
        cause.map_or(Ok(worst), Err)
    }

    /// Notes what some conditions look at, whatever they come to.
    fn look_at(&mut self, parts: &'a [Expr]) {
        let before = self.eye.before();
        for part in parts {
            // It doesn't matter any more whether it holds, or can be judged.
            let _ = self.truth(part);
        }
        self.eye.tell(before);
    }

    /// One must hold. One that does decides, even if another can't be judged.
    pub(super) fn best(&mut self, parts: &'a [Expr]) -> Answer<'a, Meeting, E> {
        let (mut best, mut cause) = (Meeting::Never, None);
        for part in parts {
            match self.truth(part) {
                Ok(Meeting::Plain) => return Ok(Meeting::Plain),
                Ok(Meeting::ByRounding) => best = Meeting::ByRounding,
                Ok(Meeting::Never) => {}
                Err(missing) => cause = cause.or(Some(missing)),
            }
        }
        if best == Meeting::Never { cause.map_or(Ok(best), Err) } else { Ok(best) }
    }

    #[inline]
    pub(super) fn compare(
        &mut self,
        first: &'a Expr,
        rest: &'a [(Relation, Expr)],
        measure: Measure,
    ) -> Answer<'a, Meeting, E> {
        if !E::NOTES && measure.is_number() {
            self.compare_numbers(first, rest)
        } else {
            self.compare_noting(first, rest, measure)
        }
    }

    fn compare_noting(
        &mut self,
        first: &'a Expr,
        rest: &'a [(Relation, Expr)],
        measure: Measure,
    ) -> Answer<'a, Meeting, E> {
        let left = self.value(first)?;
        let left_cells = self.eye.seen().len();
        let mut worst = Meeting::Plain;
        for (relation, expr) in rest {
            let right = self.value(expr)?;
            let meeting = meet::<E>(&left, &right, *relation)?;
            if meeting != Meeting::Plain {
                self.eye.compared(meeting, &left, right, (*relation, measure), left_cells);
            }
            worst = worst.and(meeting);
        }
        Ok(worst)
    }

    /// The same where nothing is to be told of the sides.
    fn compare_numbers(&mut self, first: &'a Expr, rest: &'a [(Relation, Expr)]) -> Answer<'a, Meeting, E> {
        let left = self.number(first)?;
        let mut worst = Meeting::Plain;
        for (relation, expr) in rest {
            let right = self.number(expr)?;
            worst = worst.and(left.compare(*relation, &right).map_err(impossible::<E>)?);
        }
        Ok(worst)
    }

    /// Whether anything is filled in. One cell is enough to know; but what is said about it is said about all of them.
    pub(super) fn filled(&mut self, rows: &'a Rows) -> Answer<'a, bool, E> {
        let columns = self.world.form.tables.get(rows.table).map_or(0, |table| table.columns.len());
        let mut filled = false;
        self.each(rows, true, &mut |run, frame| {
            for column in 0..columns {
                let blank = matches!(run.read(&frame, column), Ok(Value::Blank));
                if blank {
                    run.eye.forget();
                } else {
                    filled = true;
                    if !E::NOTES {
                        return Ok(false);
                    }
                }
            }
            Ok(true)
        })?;
        Ok(filled)
    }

    pub(super) fn in_order(&mut self, rows: &'a Rows, column: usize, unique: bool) -> Answer<'a, bool, E> {
        let mut values: Vec<Ranked<'a>> = Vec::new();
        self.each(rows, false, &mut |run, frame| {
            let cell = run.world.table(frame.book, frame.table).and_then(|table| table.cell(frame.row, column));
            let _ = run.read(&frame, column)?;
            values.extend(cell.and_then(Ranked::of));
            Ok(true)
        })?;
        if unique {
            values.sort();
        }
        Ok(values.windows(2).all(|pair| match pair {
            [a, b] if unique => a != b,
            [a, b] => a <= b,
            _ => true,
        }))
    }
}

/// What is in a cell, as one of several in order: figures by what they come to, texts and times by their characters, however
/// wide those are.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Ranked<'a> {
    Figure(i128),
    Text(Cow<'a, str>),
}

impl<'a> Ranked<'a> {
    /// Nothing of a blank; what can't be read was said before.
    fn of(cell: &'a Cell) -> Option<Ranked<'a>> {
        match cell {
            Cell::Blank | Cell::Unreadable(_) => None,
            Cell::Amount(amount) => Some(Ranked::Figure(amount.value.fen())),
            Cell::Number(Number { mantissa, decimals }) => {
                // All to the most decimals that a number can have, so that 9.5 is less than 10.
                let fill = 10_i128.checked_pow(u32::from(RANKED_DECIMALS.saturating_sub(*decimals)));
                Some(Ranked::Figure(fill.and_then(|fill| i128::from(*mantissa).checked_mul(fill))?))
            }
            Cell::Text(text) => Some(Ranked::Text(fold_width(text))),
        }
    }
}

/// More decimals than the digits of any number.
const RANKED_DECIMALS: u8 = 19;

/// How two values lie. A blank is nothing: 0 among figures, an empty text among texts.
pub(super) fn meet<'a, E: Eye<'a>>(
    left: &Value<'a, E::Figure>,
    right: &Value<'a, E::Figure>,
    relation: Relation,
) -> Answer<'a, Meeting, E> {
    let number = |value: &Value<'a, E::Figure>| match value {
        Value::Number(number) => Some(*number),
        Value::Blank => Some(E::Figure::ZERO),
        Value::Text(_) => None,
    };
    if let (Some(left), Some(right)) = (number(left), number(right)) {
        return left.compare(relation, &right).map_err(impossible::<E>);
    }
    fn text<'v, F>(value: &Value<'v, F>) -> &'v str {
        match value {
            Value::Text(text) => text,
            Value::Blank | Value::Number(_) => "",
        }
    }
    let (left, right) = (text(left), text(right));
    let holds = match relation {
        Relation::Equal => folds_alike(left, right),
        Relation::Different => !folds_alike(left, right),
        // Times are texts of the same length.
        Relation::AtMost => fold_width(left) <= fold_width(right),
        Relation::AtLeast => fold_width(left) >= fold_width(right),
        Relation::Below => fold_width(left) < fold_width(right),
        Relation::Above => fold_width(left) > fold_width(right),
    };
    Ok(if holds { Meeting::Plain } else { Meeting::Never })
}
