//! Whether a condition holds: plainly, only by rounding, or never; and how two figures or texts meet.

use std::borrow::Cow;

use super::figures::impossible;
use super::interval::{Interval, Meeting, Relation};
use super::line::{Expr, Measure, Rows};
use super::look::{Look, Result};
use super::syntax::Unit;
use super::world::Value;
use super::written;
use crate::budget::form_set::fold_width;

impl<'a> Look<'_, 'a> {
    pub(super) fn truth(&mut self, expr: &'a Expr) -> Result<Meeting> {
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
                if a == b {
                    return plain(true);
                }
                let (a, b) = (fold_width(&a), fold_width(&b));
                plain(a.starts_with(b.as_ref()) || b.starts_with(a.as_ref()))
            }
            Expr::Has(parts) => {
                let [a, b] = parts.as_ref();
                let (a, b) = (self.folded(a)?, self.folded(b)?);
                plain(a.contains(b.as_ref()))
            }
            Expr::Exists(rows) => plain(self.exists(rows)?),
            Expr::Present(part) => plain(!matches!(self.value(part)?, Value::Blank)),
            Expr::Filled(rows) => plain(self.filled(rows)?),
            Expr::IsUnit(part, Unit::Time) => plain(written::is_time(&self.text(part)?)),
            Expr::IsUnit(part, unit) => plain(written::read(&self.folded(part)?, *unit).is_some()),
            Expr::MentionsMoney(part) => plain(written::mentioned(&self.folded(part)?).next().is_some()),
            Expr::Mentions(parts) => {
                let [text, amount] = parts.as_ref();
                let text = self.folded(text)?;
                let amount = self.number(amount)?;
                let mut best = Meeting::Never;
                for one in written::mentioned(&text) {
                    match one.compare(Relation::Equal, &amount).map_err(impossible)? {
                        Meeting::Plain => return Ok(Meeting::Plain),
                        Meeting::ByRounding => best = Meeting::ByRounding,
                        Meeting::Never => {}
                    }
                }
                Ok(best)
            }
            Expr::In(part, among) => {
                let value = self.value(part)?;
                for option in among {
                    let option = self.value(option)?;
                    if meet(&value, &option, Relation::Equal)? != Meeting::Never {
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

    /// All must hold. One that fails decides, even if another can't be judged.
    pub(super) fn worst(&mut self, parts: &'a [Expr]) -> Result<Meeting> {
        let (mut worst, mut cause) = (Meeting::Plain, None);
        for part in parts {
            match self.truth(part) {
                Ok(Meeting::Never) => return Ok(Meeting::Never),
                Ok(Meeting::ByRounding) => worst = Meeting::ByRounding,
                Ok(Meeting::Plain) => {}
                Err(missing) => cause = cause.or(Some(missing)),
            }
        }
        cause.map_or(Ok(worst), Err)
    }

    /// One must hold. One that does decides, even if another can't be judged.
    pub(super) fn best(&mut self, parts: &'a [Expr]) -> Result<Meeting> {
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

    pub(super) fn compare(
        &mut self,
        first: &'a Expr,
        rest: &'a [(Relation, Expr)],
        measure: Measure,
    ) -> Result<Meeting> {
        let left = self.value(first)?;
        let left_cells = self.noted.seen.len();
        let mut worst = Meeting::Plain;
        for (relation, expr) in rest {
            let right = self.value(expr)?;
            let meeting = meet(&left, &right, *relation)?;
            if meeting != Meeting::Plain {
                self.noted.compared(meeting, &left, right, (*relation, measure), left_cells);
            }
            worst = match (worst, meeting) {
                (Meeting::Never, _) | (_, Meeting::Never) => Meeting::Never,
                (Meeting::ByRounding, _) | (_, Meeting::ByRounding) => Meeting::ByRounding,
                (Meeting::Plain, Meeting::Plain) => Meeting::Plain,
            };
        }
        Ok(worst)
    }

    pub(super) fn filled(&mut self, rows: &'a Rows) -> Result<bool> {
        let columns = self.world.form.tables.get(rows.table).map_or(0, |table| table.columns.len());
        let mut filled = false;
        self.each(rows, true, &mut |run, frame| {
            for column in 0..columns {
                let blank = matches!(run.read(frame, column), Ok(Value::Blank));
                if blank {
                    run.noted.seen.pop();
                } else {
                    filled = true;
                    return Ok(false);
                }
            }
            Ok(true)
        })?;
        Ok(filled)
    }

    pub(super) fn in_order(&mut self, rows: &'a Rows, column: usize, unique: bool) -> Result<bool> {
        let mut values: Vec<Cow<'a, str>> = Vec::new();
        self.each(rows, false, &mut |run, frame| {
            let cell = run.world.table(frame.book, frame.table).and_then(|table| table.cell(frame.row, column));
            let _ = run.read(frame, column)?;
            values.extend(cell.filter(|cell| !cell.is_blank()).map(|cell| Cow::Owned(cell.to_string())));
            Ok(true)
        })?;
        if unique {
            values.sort();
        }
        let by_size = |text: &str| (text.len(), text.to_owned());
        Ok(values.windows(2).all(|pair| match pair {
            [a, b] if unique => a != b,
            [a, b] => by_size(a) <= by_size(b),
            _ => true,
        }))
    }
}

/// How two values lie. A blank is nothing: 0 among figures, an empty text among texts.
pub(super) fn meet(left: &Value<'_>, right: &Value<'_>, relation: Relation) -> Result<Meeting> {
    let number = |value: &Value<'_>| match value {
        Value::Number(number) => Some(*number),
        Value::Blank => Some(Interval::ZERO),
        Value::Text(_) => None,
    };
    if let (Some(left), Some(right)) = (number(left), number(right)) {
        return left.compare(relation, &right).map_err(impossible);
    }
    fn text<'v>(value: &'v Value<'_>) -> Cow<'v, str> {
        match value {
            Value::Text(text) => fold_width(text),
            Value::Blank | Value::Number(_) => Cow::Borrowed(""),
        }
    }
    let same = || match (left, right) {
        (Value::Text(left), Value::Text(right)) if left == right => true,
        _ => text(left) == text(right),
    };
    let holds = match relation {
        Relation::Equal => same(),
        Relation::Different => !same(),
        // Times are texts of the same length.
        Relation::AtMost => text(left) <= text(right),
        Relation::AtLeast => text(left) >= text(right),
        Relation::Below => text(left) < text(right),
        Relation::Above => text(left) > text(right),
    };
    Ok(if holds { Meeting::Plain } else { Meeting::Never })
}
