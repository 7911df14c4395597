//! Looks at books with formulas, one row at a time; in one of two ways, by the same text.
//!
//! [`Exact`] reckons with everything that a printed figure can stand for and notes each cell that was read: what findings
//! are made of. [`Glance`] reckons with prints alone (`printed.rs`) and notes nothing: nearly all lines plainly hold, and
//! then that is all there is to know. What prints can't tell it doesn't say, and is looked at again exactly.
//!
//! Which rows are meant is `select.rs`, what a figure comes to `figures.rs`, whether a condition holds `conditions.rs`.

use super::finding::Cause;
use super::interval::{Impossible, Interval, Meeting, Relation};
use super::line::Measure;
use super::printed::Print;
use super::world::{Frame, Seen, Sides, Standing, Value, World};
use crate::budget::money::Amount;

/// Looks at books with rows at hand.
pub(super) struct Look<'w, 'a, E> {
    pub(super) world: &'w World<'a>,
    pub(super) frames: Vec<Frame>,
    pub(super) eye: E,
}

/// How closely formulas are looked at.
pub(super) trait Eye<'a>: Default {
    /// What it reckons with.
    type Figure: Figure;
    /// Why there is no answer.
    type Lack;
    /// What was noted at some time.
    type Before;
    /// Whether it notes anything.
    const NOTES: bool;

    fn lack(cause: impl FnOnce() -> Cause) -> Self::Lack;

    /// A cell was read.
    fn saw(&mut self, frame: &Frame, column: usize);

    /// The cell that was read last is of no account.
    fn forget(&mut self);

    /// The cells that were read, as far as anything is noted.
    fn seen(&self) -> &[Seen];

    /// Two sides met, not plainly.
    fn compared(
        &mut self,
        meeting: Meeting,
        left: &Value<'a, Self::Figure>,
        right: Value<'a, Self::Figure>,
        kind: (Relation, Measure),
        left_cells: usize,
    );

    /// What was noted before a row is looked through, to see whether it is meant.
    fn before(&mut self) -> Self::Before;

    /// Back to the sides that were to be told then; the cells that were read since stay noted.
    fn tell(&mut self, before: Self::Before);

    /// Back to that, but for the cells that the row was held against.
    fn turn_back(&mut self, before: Self::Before, row: &Frame);
}

/// What can be reckoned with.
pub(super) trait Figure: Copy {
    const ZERO: Self;

    /// A figure with all that it can stand for, if it can be one of these.
    fn of(figure: &Interval) -> Option<Self>;
    fn of_amount(amount: Amount) -> Option<Self>;
    /// What stands in a cell, if it is a figure.
    fn of_cell(standing: &Standing) -> Option<Self>;
    fn plus(&self, other: &Self) -> Result<Self, Impossible>;
    fn minus(&self, other: &Self) -> Result<Self, Impossible>;
    fn negative(&self) -> Self;
    fn times(&self, other: &Self) -> Result<Self, Impossible>;
    fn divided_by(&self, other: &Self) -> Result<Self, Impossible>;
    fn compare(&self, relation: Relation, other: &Self) -> Result<Meeting, Impossible>;
}

/// An answer, or why there is none.
pub(super) type Answer<'a, T, E> = Result<T, <E as Eye<'a>>::Lack>;

/// Called for one row after the other until it says stop.
pub(super) type Visit<'f, 'w, 'a, E> = dyn FnMut(&mut Look<'w, 'a, E>, Frame) -> Answer<'a, bool, E> + 'f;

impl<'w, 'a, E: Eye<'a>> Look<'w, 'a, E> {
    pub(super) fn new(world: &'w World<'a>) -> Look<'w, 'a, E> {
        Look { world, frames: Vec::with_capacity(4), eye: E::default() }
    }

    /// Looks a row through, to see whether it is meant.
    pub(super) fn inside<T>(
        &mut self,
        frame: Frame,
        look: impl FnOnce(&mut Self) -> Answer<'a, T, E>,
    ) -> Answer<'a, T, E> {
        let before = self.eye.before();
        let found = self.at(frame, look);
        self.eye.turn_back(before, &frame);
        found
    }

    /// Looks with one more row at hand.
    #[inline]
    pub(super) fn at<T>(&mut self, frame: Frame, look: impl FnOnce(&mut Self) -> T) -> T {
        self.frames.push(frame);
        let found = look(self);
        self.frames.pop();
        found
    }
}

// ── exactly ──────────────────────────────────────────────────────────────────────────────

/// Reckons with intervals, and notes all that a verdict rests on.
#[derive(Default)]
pub(super) struct Exact<'a> {
    /// The cells that were read.
    pub(super) seen: Vec<Seen>,
    /// Those of rows that were only looked through: not named, and yet a finding rests on them.
    pub(super) looked: Vec<Seen>,
    /// The sides that met, not plainly.
    pub(super) sides: Option<Sides<'a>>,
}

impl Exact<'_> {
    /// Another instance begins: nothing was read yet.
    pub(super) fn clear(&mut self) {
        self.seen.clear();
        self.looked.clear();
    }
}

impl<'a> Eye<'a> for Exact<'a> {
    type Figure = Interval;
    type Lack = Cause;
    type Before = (usize, Option<Sides<'a>>);
    const NOTES: bool = true;

    fn lack(cause: impl FnOnce() -> Cause) -> Cause {
        cause()
    }

    fn saw(&mut self, frame: &Frame, column: usize) {
        self.seen.push(frame.cell(column));
    }

    fn forget(&mut self) {
        self.seen.pop();
    }

    fn seen(&self) -> &[Seen] {
        &self.seen
    }

    fn compared(
        &mut self,
        meeting: Meeting,
        left: &Value<'a, Interval>,
        right: Value<'a, Interval>,
        (relation, measure): (Relation, Measure),
        left_cells: usize,
    ) {
        // The first that fails is what is told, or else the first that rounding explains.
        if meeting == Meeting::Never || self.sides.is_none() {
            self.sides = Some(Sides { left: *left, right, relation, measure, left_cells });
        }
    }

    fn before(&mut self) -> (usize, Option<Sides<'a>>) {
        (self.seen.len(), self.sides.take())
    }

    fn tell(&mut self, (_, sides): (usize, Option<Sides<'a>>)) {
        self.sides = sides;
    }

    fn turn_back(&mut self, (from, sides): (usize, Option<Sides<'a>>), row: &Frame) {
        // Cells of the rows that are looked through are not what is told; those that they are held against are.
        let mut kept = from;
        for at in from..self.seen.len() {
            let seen = self.seen[at];
            let own = seen.book == row.book && seen.table == row.table && seen.row == row.row;
            if own {
                self.looked.push(seen);
            } else if !self.seen[..kept].contains(&seen) {
                self.seen[kept] = seen;
                kept += 1;
            }
        }
        self.seen.truncate(kept);
        self.sides = sides;
    }
}

impl Figure for Interval {
    const ZERO: Interval = Interval::ZERO;

    fn of(figure: &Interval) -> Option<Interval> {
        Some(*figure)
    }

    fn of_amount(amount: Amount) -> Option<Interval> {
        Some(Interval::of_amount(amount))
    }

    fn of_cell(standing: &Standing) -> Option<Interval> {
        standing.figure()
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

// ── at a glance ──────────────────────────────────────────────────────────────────────────

/// Reckons with prints, and notes nothing.
#[derive(Default)]
pub(super) struct Glance;

/// Prints can't tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unsure;

impl<'a> Eye<'a> for Glance {
    type Figure = Print;
    type Lack = Unsure;
    type Before = ();
    const NOTES: bool = false;

    fn lack(_: impl FnOnce() -> Cause) -> Unsure {
        Unsure
    }

    fn saw(&mut self, _: &Frame, _: usize) {}

    fn forget(&mut self) {}

    fn seen(&self) -> &[Seen] {
        &[]
    }

    fn compared(&mut self, _: Meeting, _: &Value<'a, Print>, _: Value<'a, Print>, _: (Relation, Measure), _: usize) {}

    fn before(&mut self) {}

    fn tell(&mut self, (): ()) {}

    fn turn_back(&mut self, (): (), _: &Frame) {}
}
