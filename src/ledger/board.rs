//! The status board: who below a node was expected to file, where each stands, and what changed between two states.
//!
//! A board is derived on the spot and kept nowhere. Whoever follows one ([`Followed`]) holds the state that he knows it
//! by: two states share all that is the same in both, so comparing them costs what changed and not what there is.
//! It knows nothing of who watches, or how often: that is `grpc/watch.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::ordmap::DiffItem;

use super::Position;
use super::event::{Event, Timestamp};
use super::state::{State, Version};
use super::view::{Scope, tree};
use crate::budget::reason::Remark;
use crate::budget::submission::{Kind, Slot, UnitCode};
use crate::budget::unit_tree::{Node, UnitTree};

/// Where one expected unit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Nothing came.
    Missing,
    /// Something came and was refused; nothing counts.
    Refused,
    /// A version counts.
    Submitted,
}

/// One line of the status board.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusLine {
    /// The unit.
    pub unit: Node,
    /// Where it stands.
    pub standing: Standing,
    /// The version that counts.
    pub latest: Option<Version>,
    /// How many attempts were refused.
    pub refused: usize,
    /// Position and time of the last refused attempt, if it came after the version that counts.
    pub refused_since: Option<(Position, Timestamp)>,
}

/// How many of the units expected at or below a node stand where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<Standing, usize>);

impl Counts {
    /// How many stand there.
    pub fn of(&self, standing: Standing) -> usize {
        self.0.get(&standing).copied().unwrap_or(0)
    }

    /// How many are expected.
    pub fn expected(&self) -> usize {
        self.0.values().sum()
    }

    fn add(&mut self, line: &StatusLine) {
        *self.0.entry(line.standing).or_default() += 1;
    }

    fn take_off(&mut self, line: &StatusLine) {
        let count = self.0.entry(line.standing).or_default();
        *count = count.saturating_sub(1);
    }
}

/// The board of a node.
#[derive(Clone, Debug)]
pub struct Board {
    /// One line for each expected unit, sorted by code. Units not separately budgeted are not expected.
    pub lines: Vec<StatusLine>,
    /// How many stand where.
    pub counts: Counts,
}

/// The board of a node.
///
/// # Errors
/// `UNKNOWN_YEAR` or `UNKNOWN_UNIT`.
pub fn board(state: &State, scope: &Scope) -> Result<Board, Remark> {
    let tree = tree(state, scope)?;
    let lines: Vec<StatusLine> =
        tree.budgeted_below(&scope.node).into_iter().map(|unit| line(state, scope, unit)).collect();
    let mut counts = Counts::default();
    lines.iter().for_each(|line| counts.add(line));
    Ok(Board { lines, counts })
}

fn line(state: &State, scope: &Scope, unit: &Node) -> StatusLine {
    let filings = state.filings(&scope.slot(&unit.code, Kind::Unit)).cloned().unwrap_or_default();
    let latest = filings.latest().cloned();
    let standing = match (&latest, filings.refused.last()) {
        (Some(_), _) => Standing::Submitted,
        (None, Some(_)) => Standing::Refused,
        (None, None) => Standing::Missing,
    };
    StatusLine {
        unit: unit.clone(),
        standing,
        refused: filings.refused.len(),
        refused_since: filings.refused_since(Position::MAX),
        latest,
    }
}

/// What became of a board.
#[derive(Clone, Debug)]
pub enum Change {
    /// These lines are other ones now.
    Lines(Vec<StatusLine>),
    /// More than lines may have changed: look at all of it again.
    Everything,
}

/// What an event may change on boards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touched<'e> {
    /// Nothing.
    Nothing,
    /// The line of one unit.
    Unit(&'e UnitCode),
    /// Any line.
    Everything,
}

/// What an event may change on boards. Exhaustive: a new event must be placed.
pub fn touched(event: &Event) -> Touched<'_> {
    match event {
        Event::FormSetPublished(_) | Event::ControlIssued(_) | Event::Justified(_) => Touched::Nothing,
        Event::UnitsImported(_) => Touched::Everything,
        Event::Submitted(submitted) => Touched::Unit(&submitted.attempt.slot.unit),
        Event::Refused(refused) => Touched::Unit(&refused.attempt.slot.unit),
    }
}

/// A board that is followed from state to state.
#[derive(Clone, Debug)]
pub struct Followed {
    scope: Scope,
    state: Arc<State>,
    counts: Counts,
}

impl Followed {
    /// Begins with the board as it stands in a state.
    ///
    /// # Errors
    /// As [`board`].
    pub fn begin(state: Arc<State>, scope: Scope) -> Result<(Followed, Board), Remark> {
        let board = board(&state, &scope)?;
        Ok((Followed { scope, state, counts: board.counts.clone() }, board))
    }

    /// The position that it is followed to.
    pub fn position(&self) -> Position {
        self.state.position
    }

    /// How many stand where.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The lines of these units.
    pub fn lines(&self, units: &BTreeSet<UnitCode>) -> Vec<StatusLine> {
        let Some(tree) = self.state.tree(self.scope.year) else { return Vec::new() };
        let expected = units.iter().filter_map(|unit| expected(tree, &self.scope, unit));
        expected.map(|unit| line(&self.state, &self.scope, unit)).collect()
    }

    /// Goes on to a later state, and says what is different there.
    pub fn go_on(&mut self, now: Arc<State>) -> Change {
        let before = std::mem::replace(&mut self.state, now);
        let (Some(tree), Some(old)) = (self.state.tree(self.scope.year), before.tree(self.scope.year)) else {
            return Change::Everything;
        };
        if !Arc::ptr_eq(tree, old) {
            return Change::Everything;
        }
        let mut changed = Vec::new();
        for unit in units_changed(&before, &self.state, &self.scope) {
            let Some(unit) = expected(tree, &self.scope, &unit) else { continue };
            let (was, is) = (line(&before, &self.scope, unit), line(&self.state, &self.scope, unit));
            if was != is {
                self.counts.take_off(&was);
                self.counts.add(&is);
                changed.push(is);
            }
        }
        Change::Lines(changed)
    }
}

/// A unit that is expected on the board of a scope.
fn expected<'t>(tree: &'t UnitTree, scope: &Scope, unit: &str) -> Option<&'t Node> {
    tree.node(unit).filter(|node| node.budgeted && tree.is_within(unit, &scope.node))
}

/// The units something of which differs between two states, in the year and round of a scope. Costs what differs.
fn units_changed(before: &State, now: &State, scope: &Scope) -> BTreeSet<UnitCode> {
    let slots = before.slots.diff(&now.slots).map(|item| match item {
        DiffItem::Add(slot, _) | DiffItem::Remove(slot, _) => slot,
        DiffItem::Update { new: (slot, _), .. } => slot,
    });
    let of_scope = |slot: &&Slot| (slot.year, slot.round) == (scope.year, scope.round);
    slots.filter(of_scope).map(|slot| slot.unit.clone()).collect()
}
