//! Looks at books exactly, one row at a time: with everything that a printed figure can stand for, and a note of each cell
//! that was read. That is what findings are made of, and slow; `at_once` is asked first.
//!
//! Which rows are meant is `select.rs`, what a figure comes to `figures.rs`, whether a condition holds `conditions.rs`.

use super::book::{KEY_PARTS, NONE};
use super::finding::Cause;
use super::interval::{Meeting, Relation};
use super::line::Measure;
use super::world::{Frame, Seen, Sides, Value, World};

/// Looks at books with rows at hand.
pub(super) struct Look<'w, 'a> {
    pub(super) world: &'w World<'a>,
    pub(super) frames: Vec<Frame>,
    pub(super) noted: Noted<'a>,
}

/// All that a verdict rests on.
#[derive(Default)]
pub(super) struct Noted<'a> {
    /// The cells that were read.
    pub(super) seen: Vec<Seen>,
    /// The sides that met, not plainly.
    pub(super) sides: Option<Sides<'a>>,
}

pub(super) type Result<T> = std::result::Result<T, Cause>;

/// Called for one row after the other until it says stop.
pub(super) type Visit<'f, 'w, 'a> = dyn FnMut(&mut Look<'w, 'a>, Frame) -> Result<bool> + 'f;

/// The same for rows that are added up, some of them taken off.
pub(super) type VisitSigned<'f, 'w, 'a> = dyn FnMut(&mut Look<'w, 'a>, Frame, bool) -> Result<bool> + 'f;

impl<'w, 'a> Look<'w, 'a> {
    pub(super) fn new(world: &'w World<'a>) -> Look<'w, 'a> {
        Look { world, frames: Vec::with_capacity(4), noted: Noted::default() }
    }

    /// Looks a row through, to see whether it is meant.
    pub(super) fn inside<T>(&mut self, frame: Frame, look: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.frames.push(frame);
        let before = (self.noted.seen.len(), self.noted.sides.take());
        let found = look(self);
        self.noted.turn_back(before, &frame);
        self.frames.pop();
        found
    }
}

impl<'a> Noted<'a> {
    /// A cell was read.
    pub(super) fn saw(&mut self, frame: &Frame, column: usize) {
        let Frame { book, table, row, key } = *frame;
        let key = if row == NONE { key } else { [NONE; KEY_PARTS] };
        self.seen.push(Seen { book, table, column, row, key });
    }

    /// Two sides met, not plainly.
    pub(super) fn compared(
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

    fn turn_back(&mut self, (from, sides): (usize, Option<Sides<'a>>), row: &Frame) {
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
