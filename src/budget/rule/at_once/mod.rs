//! Judges a line at all its rows at once, by printed figures: the quick look that nearly every line plainly passes.
//!
//! Each part of a formula is worked out for all rows before the next is looked at, so what a formula costs is paid once
//! for a table and not once for a row. Nothing is noted of what was read, and no reason is given: where a row doesn't
//! plainly hold, or prints can't tell, `evaluate.rs` asks again exactly. It answers only what that would answer too, and
//! tests ask both ways.
//! `batch.rs` is the rows at hand, `rows.rs` finds which rows are meant, `values.rs` what figures come to, `truths.rs`
//! whether conditions hold. The arithmetic is `printed.rs`'s.

mod batch;
mod rows;
mod truths;
mod values;

use super::line::{Claim, Line, Rows};
use super::world::World;
use batch::Open;

pub(super) use batch::Batch;
pub(super) use values::Value;

/// Looks at a world, many rows at a time.
pub(super) struct AtOnce<'w, 'a> {
    world: &'w World<'a>,
}

/// What can be said of a line at one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// All its comparisons plainly hold.
    Holds,
    /// It doesn't speak of this row.
    Idle,
    /// It takes the exact way to answer.
    Unsure,
}

/// Whether a condition holds at one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Truth {
    Plain,
    Never,
    Unsure,
}

impl Truth {
    fn of(holds: bool) -> Truth {
        if holds { Truth::Plain } else { Truth::Never }
    }

    fn is_plain(self) -> bool {
        self == Truth::Plain
    }

    /// Both. What can't be told can't be told of both.
    fn and(self, other: Truth) -> Truth {
        match (self, other) {
            (Truth::Unsure, _) | (_, Truth::Unsure) => Truth::Unsure,
            (Truth::Never, _) | (_, Truth::Never) => Truth::Never,
            (Truth::Plain, Truth::Plain) => Truth::Plain,
        }
    }

    fn not(self) -> Truth {
        match self {
            Truth::Plain => Truth::Never,
            Truth::Never => Truth::Plain,
            Truth::Unsure => Truth::Unsure,
        }
    }
}

impl<'w, 'a> AtOnce<'w, 'a> {
    pub(super) fn new(world: &'w World<'a>) -> AtOnce<'w, 'a> {
        AtOnce { world }
    }

    /// What can be said of a line at each of these rows; `rows` says which of them it speaks of.
    pub(super) fn line(&self, line: &'a Line, rows: Option<&'a Rows>, at: &Batch<'_>) -> Vec<Said> {
        let mut said = vec![Said::Unsure; at.len];
        let mut open = Open::all(at);
        if let Some(rows) = rows.filter(|rows| !rows.tests.is_empty()) {
            let chosen = self.passes(&rows.tests, open.batch());
            open.settle(&chosen, Truth::is_plain, |place, truth| idle(&mut said, place, truth));
        }
        if let Some(when) = line.when.as_ref().filter(|_| !line.when_once) {
            let meant = self.truths(when, open.batch());
            open.settle(&meant, Truth::is_plain, |place, truth| idle(&mut said, place, truth));
        }
        let held = match &line.claim {
            Claim::Condition(condition) => self.truths(condition, open.batch()),
            Claim::Chain { first, rest, .. } => self.compare(first, rest, open.batch()),
        };
        open.tell(&held, |place, truth| {
            if let (Truth::Plain, Some(said)) = (truth, said.get_mut(place)) {
                *said = Said::Holds;
            }
        });
        said
    }
}

/// A line doesn't speak of rows that are not chosen, or where its condition never holds.
fn idle(said: &mut [Said], place: usize, truth: Truth) {
    if let (Truth::Never, Some(said)) = (truth, said.get_mut(place)) {
        *said = Said::Idle;
    }
}
