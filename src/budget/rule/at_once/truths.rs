//! Whether a condition holds, place by place. Says what `conditions.rs` says, where prints can tell.

use super::super::interval::{Meeting, Relation};
use super::super::line::{BookOf, Expr, Rows};
use super::super::printed::Print;
use super::super::syntax::Unit;
use super::super::written;
use super::batch::{Batch, Open};
use super::values::Value;
use super::{AtOnce, Truth};
use crate::budget::form_set::{fold_width, folds_to};

impl<'w, 'a> AtOnce<'w, 'a> {
    pub(in super::super) fn truths(&self, expr: &'a Expr, at: &Batch<'_>) -> Vec<Truth> {
        if at.len == 0 {
            return Vec::new();
        }
        match expr {
            // One that fails decides, even if another can't be judged; and one that holds.
            Expr::And(parts) => self.joined(parts, at, Truth::Never),
            Expr::Or(parts) => self.joined(parts, at, Truth::Plain),
            Expr::Not(part) => self.truths(part, at).into_iter().map(Truth::not).collect(),
            Expr::Iff(parts) => {
                let [a, b] = parts.as_ref();
                pairwise(&self.truths(a, at), &self.truths(b, at), |a, b| match (a, b) {
                    (Truth::Unsure, _) | (_, Truth::Unsure) => Truth::Unsure,
                    (a, b) => Truth::of(a == b),
                })
            }
            Expr::Compare(first, rest, _) => self.compare(first, rest, at),
            Expr::Begins(parts) => self.texts(parts, at, |a, b| a.starts_with(b) || b.starts_with(a)),
            Expr::Has(parts) => self.texts(parts, at, |a, b| a.contains(b)),
            Expr::Exists(rows) => self.exists(rows, at),
            Expr::Filled(rows) => self.filled(rows, at),
            Expr::IsUnit(_, Unit::Time) | Expr::Unique { .. } | Expr::Ascending { .. } => vec![Truth::Unsure; at.len],
            Expr::IsUnit(part, unit) => self.text(part, at, |text| written::read(text, *unit).is_some()),
            Expr::MentionsMoney(part) => self.text(part, at, |text| written::mentioned(text).next().is_some()),
            Expr::Mentions(parts) => {
                let [text, amount] = parts.as_ref();
                pairwise(&self.folded(text, at), &self.values(amount, at), |text, amount| mentions(&text, &amount))
            }
            Expr::In(part, among) => {
                let values = self.values(part, at);
                let mut found = vec![Truth::Never; at.len];
                for option in among {
                    let options = self.values(option, at);
                    for (found, (value, option)) in found.iter_mut().zip(values.iter().zip(&options)) {
                        if *found == Truth::Never {
                            *found = meet(value, option, Relation::Equal);
                        }
                    }
                }
                found
            }
            Expr::Present(part) => self.values(part, at).iter().map(present).collect(),
            figure => self.values(figure, at).iter().map(present).collect(),
        }
    }

    fn joined(&self, parts: &'a [Expr], at: &Batch<'_>, decides: Truth) -> Vec<Truth> {
        let mut found = vec![decides.not(); at.len];
        let mut open = Open::all(at);
        for part in parts {
            let truths = self.truths(part, open.batch());
            open.settle(
                &truths,
                |truth| truth != decides,
                |place, truth| {
                    if let Some(found) = found.get_mut(place).filter(|_| truth != decides.not()) {
                        *found = truth;
                    }
                },
            );
        }
        found
    }

    /// The first figure against each of the others.
    pub(super) fn compare(&self, first: &'a Expr, rest: &'a [(Relation, Expr)], at: &Batch<'_>) -> Vec<Truth> {
        let left = self.values(first, at);
        let mut worst = vec![Truth::Plain; left.len()];
        for (relation, expr) in rest {
            // What is written in the formula is the same at each place.
            if let (Expr::Text(wanted), Relation::Equal) = (expr, relation) {
                let says =
                    |value: &Value<'_>| value.text().map_or(Truth::Unsure, |text| Truth::of(folds_to(text, wanted)));
                worst.iter_mut().zip(&left).for_each(|(worst, left)| *worst = worst.and(says(left)));
                continue;
            }
            let right = self.values(expr, at);
            let both = left.iter().zip(&right);
            worst.iter_mut().zip(both).for_each(|(worst, (a, b))| *worst = worst.and(meet(a, b, *relation)));
        }
        worst
    }

    fn text(&self, part: &'a Expr, at: &Batch<'_>, holds: impl Fn(&str) -> bool) -> Vec<Truth> {
        let of = |value: &Value<'_>| value.text().map_or(Truth::Unsure, |text| Truth::of(holds(text)));
        self.folded(part, at).iter().map(of).collect()
    }

    fn texts(&self, parts: &'a [Expr; 2], at: &Batch<'_>, holds: impl Fn(&str, &str) -> bool) -> Vec<Truth> {
        let [a, b] = parts;
        // Most are the same as they stand.
        pairwise(&self.values(a, at), &self.values(b, at), |a, b| match (a.text(), b.text()) {
            (Some(a), Some(b)) => Truth::of(a == b || holds(&fold_width(a), &fold_width(b))),
            _ => Truth::Unsure,
        })
    }

    fn filled(&self, rows: &'a Rows, at: &Batch<'_>) -> Vec<Truth> {
        // What the round doesn't give can't be told from what it leaves blank.
        if rows.book == BookOf::Given {
            return vec![Truth::Unsure; at.len];
        }
        let columns = self.world.form.tables.get(rows.table).map_or(0, |table| table.columns.len());
        self.any(rows, true, at, |book, row| {
            let table = self.world.table(book, rows.table);
            let cell = |column| table.and_then(|table| table.cell(row, column));
            (0..columns).any(|column| cell(column).is_some_and(|cell| !cell.is_blank()))
        })
    }
}

fn pairwise<T: Copy>(a: &[T], b: &[T], both: impl Fn(T, T) -> Truth) -> Vec<Truth> {
    a.iter().zip(b).map(|(a, b)| both(*a, *b)).collect()
}

fn present(value: &Value<'_>) -> Truth {
    match value {
        Value::Unsure => Truth::Unsure,
        Value::Blank => Truth::Never,
        Value::Figure(_) | Value::Text(_) => Truth::Plain,
    }
}

fn lie(a: &Print, b: &Print, relation: Relation) -> Truth {
    match a.compare(relation, b) {
        Ok(Meeting::Plain) => Truth::Plain,
        Ok(Meeting::Never) => Truth::Never,
        Ok(Meeting::ByRounding) | Err(_) => Truth::Unsure,
    }
}

/// How two values lie. A blank is nothing: 0 among figures, an empty text among texts.
#[inline]
fn meet(left: &Value<'_>, right: &Value<'_>, relation: Relation) -> Truth {
    if let (Some(left), Some(right)) = (left.number(), right.number()) {
        return lie(&left, &right, relation);
    }
    let (Some(left), Some(right)) = (left.text(), right.text()) else { return Truth::Unsure };
    if let Relation::Equal | Relation::Different = relation {
        return Truth::of(same(left, right) == (relation == Relation::Equal));
    }
    let (left, right) = (fold_width(left), fold_width(right));
    Truth::of(match relation {
        Relation::Equal | Relation::Different => false,
        Relation::AtMost => left <= right,
        Relation::AtLeast => left >= right,
        Relation::Below => left < right,
        Relation::Above => left > right,
    })
}

/// Whether two texts are one, whatever their width.
fn same(a: &str, b: &str) -> bool {
    a == b || fold_width(a) == fold_width(b)
}

fn mentions(text: &Value<'_>, amount: &Value<'_>) -> Truth {
    let (Some(text), Some(amount)) = (text.text(), amount.number()) else { return Truth::Unsure };
    for one in written::mentioned(text) {
        match Print::of(&one).map_or(Truth::Unsure, |one| lie(&one, &amount, Relation::Equal)) {
            Truth::Never => {}
            decided => return decided,
        }
    }
    Truth::Never
}
