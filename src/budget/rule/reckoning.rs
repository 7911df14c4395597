//! The two ways of reckoning: one evaluation, asked with different figures.
//!
//! [`Exact`] has everything that a printed figure can stand for and notes each cell that was read: what findings are made
//! of, and slow. [`Printed`](super::printed::Printed) has the printed figures alone and notes nothing: enough to see that
//! a line plainly holds, as nearly all do, and quick. Which rows are meant, what a condition asks and in what order is one
//! text for both: `select.rs`, `figures.rs`, `conditions.rs`.

use super::book::{KEY_PARTS, NONE};
use super::finding::Cause;
use super::interval::{Impossible, Interval, Meeting, Relation};
use super::line::Measure;
use super::world::{Frame, Seen, Sides, Value, World};
use crate::budget::money::Amount;

/// Looks at books with rows at hand.
pub(super) struct Look<'w, 'a, R> {
    pub(super) world: &'w World<'a>,
    pub(super) frames: Vec<Frame>,
    pub(super) by: R,
}

impl<'w, 'a, R: Default> Look<'w, 'a, R> {
    pub(super) fn new(world: &'w World<'a>) -> Look<'w, 'a, R> {
        Look { world, frames: Vec::with_capacity(4), by: R::default() }
    }
}

/// What figures are, why there may be none, and what is noted on the way.
pub(super) trait Reckoning<'a>: Default {
    type Number: Number;
    type Lack;

    fn lack(cause: impl FnOnce() -> Cause) -> Self::Lack;

    /// A cell was read.
    fn saw(&mut self, _frame: &Frame, _column: usize) {}
    /// The last of them counts for nothing.
    fn unsaw(&mut self) {}
    /// The cells that were read.
    fn seen(&self) -> &[Seen] {
        &[]
    }
    fn last(&self) -> Option<&Seen> {
        self.seen().last()
    }
    /// Two sides met, not plainly.
    fn compared(
        &mut self,
        _meeting: Meeting,
        _left: &Value<'a, Self::Number>,
        _right: Value<'a, Self::Number>,
        _by: (Relation, Measure),
        _left_cells: usize,
    ) {
    }
    /// A row is looked through, to see whether it is meant; what is to be given back at its end.
    fn turn_to_row(&mut self) -> Before<'a> {
        (0, None)
    }
    fn turn_back(&mut self, _before: Before<'a>, _row: &Frame) {}
}

/// What was read, and what had decided, before a row was looked through.
pub(super) type Before<'a> = (usize, Option<Sides<'a>>);

/// Called for one row after the other until it says stop.
pub(super) type Visit<'f, 'w, 'a, R> =
    dyn FnMut(&mut Look<'w, 'a, R>, Frame) -> Result<bool, <R as Reckoning<'a>>::Lack> + 'f;

/// The same for rows that are added up, some of them taken off.
pub(super) type VisitSigned<'f, 'w, 'a, R> =
    dyn FnMut(&mut Look<'w, 'a, R>, Frame, bool) -> Result<bool, <R as Reckoning<'a>>::Lack> + 'f;

/// A figure to reckon with.
pub(super) trait Number: Copy {
    const ZERO: Self;
    fn of(figure: &Interval) -> Result<Self, Impossible>;
    fn of_amount(amount: Amount) -> Result<Self, Impossible>;
    fn plus(&self, other: &Self) -> Result<Self, Impossible>;
    fn minus(&self, other: &Self) -> Result<Self, Impossible>;
    fn negative(&self) -> Self;
    fn times(&self, other: &Self) -> Result<Self, Impossible>;
    fn divided_by(&self, other: &Self) -> Result<Self, Impossible>;
    fn compare(&self, relation: Relation, other: &Self) -> Result<Meeting, Impossible>;
}

/// With intervals, and a note of all that a verdict rests on.
#[derive(Default)]
pub(super) struct Exact<'a> {
    pub(super) seen: Vec<Seen>,
    pub(super) sides: Option<Sides<'a>>,
}

impl<'a> Reckoning<'a> for Exact<'a> {
    type Number = Interval;
    type Lack = Cause;

    fn lack(cause: impl FnOnce() -> Cause) -> Cause {
        cause()
    }

    fn saw(&mut self, frame: &Frame, column: usize) {
        let Frame { book, table, row, key } = *frame;
        let key = if row == NONE { key } else { [NONE; KEY_PARTS] };
        self.seen.push(Seen { book, table, column, row, key });
    }

    fn unsaw(&mut self) {
        self.seen.pop();
    }

    fn seen(&self) -> &[Seen] {
        &self.seen
    }

    fn compared(
        &mut self,
        meeting: Meeting,
        left: &Value<'a>,
        right: Value<'a>,
        (relation, measure): (Relation, Measure),
        left_cells: usize,
    ) {
        // The first that fails is what is told, or else the first that rounding explains.
        if meeting == Meeting::Never || self.sides.is_none() {
            self.sides = Some(Sides { left: left.clone(), right, relation, measure, left_cells });
        }
    }

    fn turn_to_row(&mut self) -> Before<'a> {
        (self.seen.len(), self.sides.take())
    }

    fn turn_back(&mut self, (from, sides): Before<'a>, row: &Frame) {
        // Cells of the rows that are looked through are not what the line rests on; those that they are held
        // against are.
        let mut kept = from;
        for at in from..self.seen.len() {
            let seen = self.seen[at];
            let own = seen.book == row.book && seen.table == row.table && seen.row == row.row;
            if !own && !self.seen[..kept].contains(&seen) {
                self.seen[kept] = seen;
                kept += 1;
            }
        }
        self.seen.truncate(kept);
        self.sides = sides;
    }
}

impl Number for Interval {
    const ZERO: Interval = Interval::ZERO;

    fn of(figure: &Interval) -> Result<Interval, Impossible> {
        Ok(*figure)
    }

    fn of_amount(amount: Amount) -> Result<Interval, Impossible> {
        Ok(Interval::of_amount(amount))
    }

    fn plus(&self, other: &Interval) -> Result<Interval, Impossible> {
        Interval::plus(self, other)
    }

    fn minus(&self, other: &Interval) -> Result<Interval, Impossible> {
        Interval::minus(self, other)
    }

    fn negative(&self) -> Interval {
        Interval::negative(self)
    }

    fn times(&self, other: &Interval) -> Result<Interval, Impossible> {
        Interval::times(self, other)
    }

    fn divided_by(&self, other: &Interval) -> Result<Interval, Impossible> {
        Interval::divided_by(self, other)
    }

    fn compare(&self, relation: Relation, other: &Interval) -> Result<Meeting, Impossible> {
        Interval::compare(self, relation, other)
    }
}
