//! Review: in which state a version is, what leads from one to the next, and the aggregates that departments seal.
//!
//! Values only: who may do what stands in `actor.rs`, what a command becomes in `decide/review.rs`, what an event changes
//! in `state.rs`. Texts (reasons, opinions) stay in the journal; the state keeps their positions.

use compact_str::CompactString;
use imbl::Vector;

use super::Position;
use super::event::{ReviewedItem, Timestamp};
use crate::budget::cell::{CellAddress, RowKey};
use crate::budget::digest::Digest;
use crate::budget::money::Amount;
use crate::budget::rule::Fingerprint;
use crate::budget::submission::{Kind, UnitCode};

macro_rules! names {
    ($type:ident { $( $variant:ident = $name:literal, )+ }) => {
        impl $type {
            /// All of them.
            pub const ALL: &'static [$type] = &[ $( $type::$variant, )+ ];

            /// The name used in files, in the journal and in answers.
            pub fn as_str(self) -> &'static str {
                match self { $( $type::$variant => $name, )+ }
            }

            /// Reads that name.
            pub fn parse(text: &str) -> Option<$type> {
                $type::ALL.iter().copied().find(|known| known.as_str() == text)
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

/// Where a version stands. A refused attempt is no version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VersionState {
    /// Taken; counts.
    Submitted,
    /// Given back with a reason; counts nowhere.
    Returned,
    /// Accepted by the department; counts.
    Accepted,
    /// 批复; counts.
    Approved,
    /// Taken back by who filed it; counts nowhere.
    Withdrawn,
}

names!(VersionState {
    Submitted = "submitted",
    Returned = "returned",
    Accepted = "accepted",
    Approved = "approved",
    Withdrawn = "withdrawn",
});

impl VersionState {
    /// Whether a version in this state counts against ceilings and in the roll-up.
    pub fn counts(self) -> bool {
        matches!(self, VersionState::Submitted | VersionState::Accepted | VersionState::Approved)
    }
}

/// What leads a version, or an aggregate, from one state to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Move {
    /// Who filed it takes it back.
    Withdraw,
    /// A reviewer gives it back.
    Return,
    /// The department accepts it.
    Accept,
    /// 批复.
    Approve,
    /// The last acceptance, approval, return or sealing is undone.
    Reopen,
}

names!(Move {
    Withdraw = "withdraw",
    Return = "return",
    Accept = "accept",
    Approve = "approve",
    Reopen = "reopen",
});

/// A state that something came into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step<S> {
    /// The state.
    pub state: S,
    /// Where the event stands.
    pub position: Position,
    /// When.
    pub time: Timestamp,
}

/// What a reviewer set in place of a filed figure (审核数).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReviewedFigure {
    /// The figure; none if it was taken back.
    pub amount: Option<Amount>,
    /// Where it was set: author, time and reason stand there.
    pub position: Position,
}

/// What stands at a version beside its state.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Remarks {
    /// Where each office gave its opinions, oldest first.
    pub opinions: imbl::OrdMap<CompactString, Vector<Position>>,
    /// What reviewers set, by cell: the last word on each.
    pub figures: imbl::OrdMap<CellAddress, ReviewedFigure>,
}

impl Remarks {
    /// The last event that set figures; 0 if none did. It names a set of reviewed figures exactly.
    pub fn figures_position(&self) -> Position {
        self.figures.values().map(|figure| figure.position).max().unwrap_or(0)
    }

    /// How many figures stand that reviewers set.
    pub fn figures_standing(&self) -> usize {
        self.figures.values().filter(|figure| figure.amount.is_some()).count()
    }

    /// Whether there is any.
    pub fn has_figures(&self) -> bool {
        self.figures_standing() > 0
    }

    /// The figure that reviewers set in a cell, if one stands.
    pub fn figure(&self, cell: &CellAddress) -> Option<Amount> {
        self.figures.get(cell).and_then(|set| set.amount)
    }

    /// Figures are set, as of the event at a position.
    pub fn review(&mut self, items: &[ReviewedItem], position: Position) {
        let figure = |item: &ReviewedItem| (item.cell.clone(), ReviewedFigure { amount: item.amount, position });
        self.figures.extend(items.iter().map(figure));
    }
}

/// A line that a return is about. Empty parts mean the whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReturnedLine {
    /// Table id.
    pub table: CompactString,
    /// Row key.
    pub row: RowKey,
    /// Column id.
    pub column: CompactString,
    /// The rule that failed there; empty if none is meant.
    pub rule: CompactString,
    /// That finding with its figures, if one is meant.
    pub fingerprint: Option<Fingerprint>,
    /// What the reviewer says about the line.
    pub text: String,
}

/// What an office makes of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OpinionView {
    /// It agrees.
    Agree,
    /// It objects.
    Object,
    /// It takes its earlier opinion back.
    TakenBack,
}

names!(OpinionView {
    Agree = "agree",
    Object = "object",
    TakenBack = "taken_back",
});

/// Where an aggregate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AggregateState {
    /// With the bureau; its submissions are sealed.
    Forwarded,
    /// Given back by the bureau; nothing is sealed.
    Returned,
    /// Approved to the department; its submissions stay sealed while it approves them.
    Approved,
    /// Taken back by the department before the bureau decided.
    Recalled,
}

names!(AggregateState {
    Forwarded = "forwarded",
    Returned = "returned",
    Approved = "approved",
    Recalled = "recalled",
});

impl AggregateState {
    /// Whether the submissions in it can't change.
    pub fn seals(self) -> bool {
        matches!(self, AggregateState::Forwarded | AggregateState::Approved)
    }
}

/// One submission in an aggregate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who filed it.
    pub unit: UnitCode,
    /// Its kind.
    pub kind: Kind,
    /// Its version.
    pub version: u32,
    /// Where that stands.
    pub position: Position,
    /// Its digest.
    pub digest: Digest,
    /// The version of the form set that it was filed on.
    pub form_set: Digest,
    /// The last event that set reviewed figures of it; 0 if none did.
    pub reviewed: Position,
}

/// What a department sealed and sent to the bureau (上报), as the state keeps it: its members stand in the event.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// Counts those of the department, year and round.
    pub version: u32,
    /// Its digest.
    pub digest: Digest,
    /// Positions of the versions in it, ascending.
    pub members: Vector<Position>,
    /// The states it came into, oldest first; never empty.
    pub steps: Vector<Step<AggregateState>>,
}

impl Aggregate {
    /// Where it stands.
    pub fn state(&self) -> AggregateState {
        self.steps.last().map_or(AggregateState::Recalled, |step| step.state)
    }

    /// Whether that version is in it.
    pub fn holds(&self, version: Position) -> bool {
        self.members.binary_search(&version).is_ok()
    }
}
