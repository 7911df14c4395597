//! The status board: who below a node was expected to file, where each stands, and what changed between two states.
//!
//! A board is derived on the spot and kept nowhere. Whoever follows one ([`Followed`]) holds the state that he knows it
//! by: two states share all that is the same in both, so comparing them costs what changed and not what there is.
//! It knows nothing of who watches, or how often: that is `grpc/watch.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::ordmap::DiffItem;

use super::Position;
use super::event::Timestamp;
use super::review::{Aggregate, AggregateState, VersionState};
use super::state::{State, Version};
use super::view::{Scope, tree};
use crate::budget::reason::Remark;
use crate::budget::submission::{Kind, Slot, UnitCode};
use crate::budget::unit_tree::{BUREAU, Node, NodeRole, UnitTree};

/// Where one expected unit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Nothing came.
    Missing,
    /// Something came and was refused; nothing counts.
    Refused,
    /// Taken back by who filed it; nothing counts.
    Withdrawn,
    /// Given back with a reason; nothing counts.
    Returned,
    /// A version counts and waits for review.
    Submitted,
    /// Accepted by the department.
    Accepted,
    /// In an aggregate that is with the bureau, or back from there with its approval.
    Forwarded,
    /// Approved (批复).
    Approved,
}

/// Whose turn it is: who has to do something so that a unit's budget goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Turn {
    /// The unit: to file, to correct, to file again.
    Unit,
    /// The department: to review, to send on, to approve.
    Department,
    /// The bureau: to decide.
    Bureau,
    /// Nobody: all is done.
    Nobody,
}

/// One line of the status board.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusLine {
    /// The unit.
    pub unit: Node,
    /// Where it stands.
    pub standing: Standing,
    /// Whose turn it is.
    pub turn: Turn,
    /// The node whose turn it is; none if it is nobody's.
    pub waits_for: Option<UnitCode>,
    /// The version that says so ([`standing`](super::state::Filings::standing)), whether it counts or not.
    pub version: Option<Version>,
    /// How many attempts were refused.
    pub refused: usize,
    /// Position and time of the last refused attempt, if it came after the version that counts.
    pub refused_since: Option<(Position, Timestamp)>,
    /// Whether the round takes no filings any more and nothing counts.
    pub late: bool,
    /// Whether what counts is above a hard ceiling, which was cut after it had been filed.
    pub over_ceiling: bool,
}

impl StatusLine {
    /// Where the last version was returned, if it was.
    pub fn given_back(&self) -> Option<Position> {
        self.version.as_ref().filter(|_| self.standing == Standing::Returned).and_then(Version::returned)
    }
}

/// How many of the units expected at or below a node stand where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    standings: BTreeMap<Standing, usize>,
    turns: BTreeMap<Turn, usize>,
    late: usize,
    over_ceiling: usize,
}

impl Counts {
    /// How many stand there.
    pub fn of(&self, standing: Standing) -> usize {
        self.standings.get(&standing).copied().unwrap_or(0)
    }

    /// How many wait for them.
    pub fn waiting_for(&self, turn: Turn) -> usize {
        self.turns.get(&turn).copied().unwrap_or(0)
    }

    /// How many are late.
    pub fn late(&self) -> usize {
        self.late
    }

    /// How many are above a ceiling.
    pub fn over_ceiling(&self) -> usize {
        self.over_ceiling
    }

    /// How many are expected.
    pub fn expected(&self) -> usize {
        self.standings.values().sum()
    }

    fn add(&mut self, line: &StatusLine) {
        *self.standings.entry(line.standing).or_default() += 1;
        *self.turns.entry(line.turn).or_default() += 1;
        self.late += usize::from(line.late);
        self.over_ceiling += usize::from(line.over_ceiling);
    }

    fn take_off(&mut self, line: &StatusLine) {
        for count in [self.standings.get_mut(&line.standing), self.turns.get_mut(&line.turn)].into_iter().flatten() {
            *count = count.saturating_sub(1);
        }
        self.late = self.late.saturating_sub(usize::from(line.late));
        self.over_ceiling = self.over_ceiling.saturating_sub(usize::from(line.over_ceiling));
    }
}

/// A department on a board, with what is at or below it.
#[derive(Clone, Debug, PartialEq)]
pub struct DepartmentLine {
    /// The department.
    pub node: Node,
    /// How many of its units stand where.
    pub counts: Counts,
    /// Where its last aggregate was returned, if it was.
    pub given_back: Option<Position>,
}

/// The board of a node.
#[derive(Clone, Debug)]
pub struct Board {
    /// One line for each expected unit, sorted by code. Units not separately budgeted are not expected.
    pub lines: Vec<StatusLine>,
    /// How many stand where.
    pub counts: Counts,
    /// The departments at or below the node, sorted by code; those without a unit that is expected are left out.
    pub departments: Vec<DepartmentLine>,
}

/// The board of a node, at a time: what is late is judged by it.
///
/// # Errors
/// `UNKNOWN_YEAR` or `UNKNOWN_UNIT`.
pub fn board(state: &State, scope: &Scope, time: Timestamp) -> Result<Board, Remark> {
    let (tree, ended) = (tree(state, scope)?, ended(state, scope, time));
    let lines: Vec<StatusLine> =
        tree.budgeted_below(&scope.node).into_iter().map(|unit| line(state, scope, tree, unit, ended)).collect();
    let mut counts = BTreeMap::from([(scope.node.clone(), Counts::default())]);
    for line in &lines {
        for node in counted_at(tree, scope, &line.unit.code) {
            counts.entry(node).or_default().add(line);
        }
    }
    let departments = departments((state, scope, tree), &counts, counts.keys());
    Ok(Board { lines, counts: counts.remove(&scope.node).unwrap_or_default(), departments })
}

/// The nodes of a board whose counts a unit is in: the board's own, and the departments from the unit up to it.
fn counted_at(tree: &UnitTree, scope: &Scope, unit: &str) -> BTreeSet<UnitCode> {
    let path = tree.path(unit).into_iter().map(UnitCode::from);
    let inside = path.take_while(|node| tree.is_within(node, &scope.node));
    let department = |node: &UnitCode| tree.node(node).is_some_and(|node| node.role == NodeRole::Department);
    inside.filter(|node| *node == scope.node || department(node)).collect()
}

fn departments<'c>(
    (state, scope, tree): (&State, &Scope, &UnitTree),
    counts: &BTreeMap<UnitCode, Counts>,
    which: impl Iterator<Item = &'c UnitCode>,
) -> Vec<DepartmentLine> {
    let line = |code: &UnitCode| {
        let node = tree.node(code).filter(|node| node.role == NodeRole::Department)?;
        let last = state.aggregate(code, scope.year, scope.round).and_then(|aggregate| aggregate.steps.last());
        let given_back = last.filter(|step| step.state == AggregateState::Returned).map(|step| step.position);
        Some(DepartmentLine { node: node.clone(), counts: counts.get(code)?.clone(), given_back })
    };
    which.filter_map(line).collect()
}

/// Whether the round was opened and takes no filings any more.
fn ended(state: &State, scope: &Scope, time: Timestamp) -> bool {
    state.round(scope.year, scope.round).is_some_and(|round| !round.takes(time))
}

fn line(state: &State, scope: &Scope, tree: &UnitTree, unit: &Node, ended: bool) -> StatusLine {
    let filings = state.filings(&scope.slot(&unit.code, Kind::Unit)).cloned().unwrap_or_default();
    let version = filings.standing().cloned();
    // Nobody reviews what their own node filed.
    let department = tree.path(&unit.code).into_iter().skip(1).find(|node| *node != BUREAU).map(UnitCode::from);
    let seal = state.seal(&unit.code, scope.year, scope.round).map(|(_, aggregate)| aggregate);
    let seal = seal.filter(|aggregate| version.as_ref().is_some_and(|version| aggregate.holds(version.position)));
    let standing = match (version.as_ref().map(Version::state), filings.refused.last()) {
        (Some(VersionState::Withdrawn), _) => Standing::Withdrawn,
        (Some(VersionState::Returned), _) => Standing::Returned,
        (Some(VersionState::Submitted), _) => Standing::Submitted,
        (Some(VersionState::Accepted), _) if seal.is_some() => Standing::Forwarded,
        (Some(VersionState::Accepted), _) => Standing::Accepted,
        (Some(VersionState::Approved), _) => Standing::Approved,
        (None, Some(_)) => Standing::Refused,
        (None, None) => Standing::Missing,
    };
    let adjusts = version.as_ref().is_some_and(|version| version.adjusts.is_some());
    let turn = match standing {
        Standing::Missing | Standing::Refused | Standing::Withdrawn | Standing::Returned => Turn::Unit,
        Standing::Approved => Turn::Nobody,
        Standing::Submitted | Standing::Accepted if department.is_none() => Turn::Bureau,
        // The bureau approves adjustments one by one.
        Standing::Accepted | Standing::Forwarded if adjusts => Turn::Bureau,
        Standing::Submitted | Standing::Accepted => Turn::Department,
        Standing::Forwarded => match seal.map(Aggregate::state) {
            Some(AggregateState::Approved) if department.is_some() => Turn::Department,
            _ => Turn::Bureau,
        },
    };
    let waits_for = match turn {
        Turn::Unit => Some(unit.code.clone()),
        Turn::Department => department,
        Turn::Bureau => Some(BUREAU.into()),
        Turn::Nobody => None,
    };
    let over_ceiling = state.control(scope.year, scope.round).is_some_and(|book| book.is_over(tree, &unit.code));
    StatusLine {
        unit: unit.clone(),
        late: ended && filings.counting().is_none(),
        over_ceiling,
        standing,
        turn,
        waits_for,
        refused: filings.refused.len(),
        refused_since: filings.refused_since(Position::MAX),
        version,
    }
}

/// What became of a board.
#[derive(Clone, Debug)]
pub enum Change {
    /// These lines, and these departments, are other ones now.
    Lines(Vec<StatusLine>, Vec<DepartmentLine>),
    /// More than lines may have changed: look at all of it again.
    Everything,
}

/// A board that is followed from state to state.
#[derive(Clone, Debug)]
pub struct Followed {
    scope: Scope,
    state: Arc<State>,
    /// Whether its round had ended.
    ended: bool,
    /// Of the board's own node, and of each department on it.
    counts: BTreeMap<UnitCode, Counts>,
}

impl Followed {
    /// Begins with the board as it stands in a state, at a time.
    ///
    /// # Errors
    /// As [`board`].
    pub fn begin(state: Arc<State>, scope: Scope, time: Timestamp) -> Result<(Followed, Board), Remark> {
        let (board, ended) = (board(&state, &scope, time)?, ended(&state, &scope, time));
        let mut counts: BTreeMap<UnitCode, Counts> =
            board.departments.iter().map(|line| (line.node.code.clone(), line.counts.clone())).collect();
        counts.insert(scope.node.clone(), board.counts.clone());
        Ok((Followed { scope, state, ended, counts }, board))
    }

    /// The position that it is followed to.
    pub fn position(&self) -> Position {
        self.state.position
    }

    /// How many stand where.
    pub fn counts(&self) -> Counts {
        self.counts.get(&self.scope.node).cloned().unwrap_or_default()
    }

    /// Goes on to a later state, or only to a later time, and says what is different then.
    pub fn go_on(&mut self, now: Arc<State>, time: Timestamp) -> Change {
        let before = std::mem::replace(&mut self.state, now);
        let ended = ended(&self.state, &self.scope, time);
        if std::mem::replace(&mut self.ended, ended) != ended {
            return Change::Everything;
        }
        let (Some(tree), Some(old)) = (self.state.tree(self.scope.year), before.tree(self.scope.year)) else {
            return Change::Everything;
        };
        if !Arc::ptr_eq(tree, old) && tree != old {
            return Change::Everything;
        }
        let mut changed = Vec::new();
        let mut counted = BTreeSet::new();
        for unit in units_changed(&before, &self.state, &self.scope) {
            let Some(unit) = expected(tree, &self.scope, &unit) else { continue };
            let (was, is) =
                (line(&before, &self.scope, tree, unit, ended), line(&self.state, &self.scope, tree, unit, ended));
            if was == is {
                continue;
            }
            for node in counted_at(tree, &self.scope, &unit.code) {
                let counts = self.counts.entry(node.clone()).or_default();
                counts.take_off(&was);
                counts.add(&is);
                counted.insert(node);
            }
            changed.push(is);
        }
        let departments = departments((&self.state, &self.scope, tree), &self.counts, counted.iter());
        Change::Lines(changed, departments)
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
    let mut units: BTreeSet<UnitCode> = slots.filter(of_scope).map(|slot| slot.unit.clone()).collect();
    let book = |state: &State| state.control(scope.year, scope.round).cloned().unwrap_or_default();
    if let Some(tree) = now.tree(scope.year) {
        // What a department seals, or gets back, changes the standing of all units in it.
        let sealed = before.aggregates.diff(&now.aggregates).map(|item| match item {
            DiffItem::Add(key, _) | DiffItem::Remove(key, _) => key,
            DiffItem::Update { new: (key, _), .. } => key,
        });
        for (department, ..) in sealed.filter(|(_, year, round)| (*year, *round) == (scope.year, scope.round)) {
            units.extend(tree.budgeted_below(department).iter().map(|unit| unit.code.clone()));
        }
        units.extend(book(before).over_changed(&book(now), tree));
    }
    units
}
