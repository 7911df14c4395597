//! The events of the journal. Everything else is a fold of them.
//!
//! An event holds verdicts and judgements as they fell: a replay never judges again.
//! How an event becomes bytes: `consolidator/record.rs` and `proto/budget/storage/v1`.

use std::sync::Arc;

use compact_str::CompactString;

use super::Position;
use super::actor::{Actor, Operation};
use super::checks::Verdicts;
use crate::budget::cell::CellAddress;
use crate::budget::control_figure::{ControlFigure, Judgement};
use crate::budget::digest::Digest;
use crate::budget::finding::Finding;
use crate::budget::form_set::FormFiles;
use crate::budget::money::Money;
use crate::budget::rule::Fingerprint;
use crate::budget::submission::{FormSetVersion, Round, Slot};
use crate::budget::unit_tree::Node;

/// Milliseconds since 1970-01-01 UTC, as the server's clock had them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

/// The key by which a client makes a retry give the first answer again.
pub type IdempotencyKey = CompactString;

/// An event with all that was logged with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    /// Where it stands in the journal.
    pub position: Position,
    /// When it was logged; never before the event in front of it.
    pub time: Timestamp,
    /// Who did it.
    pub actor: Actor,
    /// The key of the request.
    pub key: IdempotencyKey,
    /// What the request said, as a digest: the same key with another fingerprint is refused.
    pub fingerprint: Digest,
    /// What happened.
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A form set, or a new version of one, came into force.
    FormSetPublished(FormSetPublished),
    /// A year's unit tree came into force.
    UnitsImported(UnitsImported),
    /// Control figures were issued.
    ControlIssued(ControlIssued),
    /// A submission was taken as a new version.
    Submitted(Box<Submitted>),
    /// A sealed submission was refused; it counts nowhere.
    Refused(Box<Refused>),
    /// Findings were justified.
    Justified(Justified),
}

impl Event {
    /// The operation that makes such events.
    pub fn operation(&self) -> Operation {
        match self {
            Event::FormSetPublished(_) => Operation::PublishFormSet,
            Event::UnitsImported(_) => Operation::ImportUnits,
            Event::ControlIssued(_) => Operation::IssueControl,
            Event::Submitted(_) | Event::Refused(_) => Operation::Submit,
            Event::Justified(_) => Operation::Justify,
        }
    }

    /// The filing that was decided, if one was.
    pub fn attempt(&self) -> Option<&Attempt> {
        match self {
            Event::Submitted(submitted) => Some(&submitted.attempt),
            Event::Refused(refused) => Some(&refused.attempt),
            Event::FormSetPublished(_) | Event::UnitsImported(_) | Event::ControlIssued(_) | Event::Justified(_) => {
                None
            }
        }
    }
}

/// A form set came into force.
#[derive(Clone, Debug, PartialEq)]
pub struct FormSetPublished {
    /// Its id and digest.
    pub form_set: FormSetVersion,
    /// Its files, whole: an upgrade of the program can't change what was judged.
    pub files: Arc<FormFiles>,
}

/// A year's unit tree came into force.
#[derive(Clone, Debug, PartialEq)]
pub struct UnitsImported {
    /// Budget year.
    pub year: u16,
    /// Counts the imports of that year.
    pub version: u32,
    /// All nodes.
    pub nodes: Vec<Node>,
}

/// Control figures were issued: each replaces an earlier one on the same cell.
#[derive(Clone, Debug, PartialEq)]
pub struct ControlIssued {
    /// Budget year.
    pub year: u16,
    /// Round.
    pub round: Round,
    /// Counts the issues of that year and round.
    pub version: u32,
    /// The figures.
    pub figures: Vec<ControlFigure>,
}

/// A sealed filing as it was judged. Its cells are in the same record.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// Whose, of when, of what kind.
    pub slot: Slot,
    /// What it was filed on.
    pub form_set: FormSetVersion,
    /// Digest of its content.
    pub digest: Digest,
    /// Sum of all its amounts.
    pub control_total: Money,
    /// How many rows it has.
    pub row_count: u64,
    /// What was found about shape and ceilings.
    pub findings: Vec<Finding>,
    /// How the check rules came out.
    pub verdicts: Verdicts,
    /// How it stands against each control figure of the unit.
    pub judgements: Vec<Judgement>,
    /// The version of the control figures that it was judged by; 0 if none were issued.
    pub control_version: u32,
}

/// A submission was taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Submitted {
    /// How it was judged.
    pub attempt: Attempt,
    /// Its version: 1, 2, 3… of its slot.
    pub version: u32,
}

/// A sealed filing was refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// How it was judged.
    pub attempt: Attempt,
}

/// A unit said why rules fail.
#[derive(Clone, Debug, PartialEq)]
pub struct Justified {
    /// Whose submission.
    pub slot: Slot,
    /// The version or refused attempt whose findings they are.
    pub position: Position,
    /// What it said, about each of some findings.
    pub items: Vec<Justification>,
}

/// Why one finding is as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Justification {
    /// The rule.
    pub rule: CompactString,
    /// Where.
    pub place: CellAddress,
    /// The finding and the figures that it rests on.
    pub fingerprint: Fingerprint,
    /// What was said.
    pub text: String,
}
