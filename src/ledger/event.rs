//! The events of the journal. Everything else is a fold of them.
//!
//! An event holds verdicts and judgements as they fell: a replay never judges again.
//! How an event becomes bytes: `consolidator/record.rs` and `proto/budget/storage/v1`.

use std::fmt;
use std::sync::Arc;

use compact_str::CompactString;

use super::Position;
use super::actor::{Actor, Operation};
use super::checks::Verdicts;
use super::control::{ControlChange, OverCeiling};
use super::review::{AggregateState, Member, Move, OpinionView, ReturnedLine, VersionState};
use crate::budget::cell::CellAddress;
use crate::budget::control_figure::{CeilingStrength, Judgement};
use crate::budget::digest::Digest;
use crate::budget::finding::Finding;
use crate::budget::form_set::FormFiles;
use crate::budget::money::{Amount, Money};
use crate::budget::rule::Fingerprint;
use crate::budget::submission::{FormSetVersion, Round, Slot, UnitCode};
use crate::budget::unit_tree::Node;

/// Milliseconds since 1970-01-01 UTC, as the server's clock had them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Year, month, day, hour, minute and second on a clock in China: at +08:00 without summer time since 1992.
    fn in_china(self) -> [i64; 6] {
        let seconds = self.0.div_euclid(1_000).saturating_add(8 * 3_600);
        let (day, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        // Counted from 1 March of the year 0, so that a leap day is the last of its year: eras of 400 years.
        let from_march = day + 719_468;
        let (era, of_era) = (from_march.div_euclid(146_097), from_march.rem_euclid(146_097));
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = era * 400 + year_of_era + i64::from(month <= 2);
        [year, month, day, second / 3_600, second / 60 % 60, second % 60]
    }

    /// In 14 digits, as forms write times: `20240131120000`.
    pub fn digits(self) -> String {
        let [year, month, day, hour, minute, second] = self.in_china();
        format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}")
    }
}

/// As on a clock in China, `2024-01-31 12:00:00`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [year, month, day, hour, minute, second] = self.in_china();
        write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
    }
}

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

/// The stable names of what can happen.
pub const KINDS: [&str; 15] = [
    "form_set_published",
    "units_imported",
    "control_issued",
    "submitted",
    "refused",
    "justified",
    "looked",
    "tail_given_up",
    "round_opened",
    "round_closed",
    "version_moved",
    "opinion_given",
    "figures_reviewed",
    "forwarded",
    "aggregate_moved",
];

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A form set, or a new version of one, came into force.
    FormSetPublished(FormSetPublished),
    /// A year's unit tree came into force.
    UnitsImported(UnitsImported),
    /// Control figures were issued or split.
    ControlIssued(ControlIssued),
    /// A submission was taken as a new version.
    Submitted(Box<Submitted>),
    /// A sealed submission was refused; it counts nowhere.
    Refused(Box<Refused>),
    /// Findings were justified.
    Justified(Justified),
    /// Somebody looked.
    Looked(Looked),
    /// The end of the journal was lost, and given up on purpose.
    TailGivenUp(TailGivenUp),
    /// A round was opened, or its deadline moved.
    RoundOpened(RoundOpened),
    /// A round was closed.
    RoundClosed(RoundClosed),
    /// A version came into another state.
    VersionMoved(Box<VersionMoved>),
    /// An office gave its opinion about a version.
    OpinionGiven(OpinionGiven),
    /// A reviewer set figures of a version.
    FiguresReviewed(FiguresReviewed),
    /// A department sealed an aggregate and sent it to the bureau.
    Forwarded(Box<Forwarded>),
    /// An aggregate came into another state.
    AggregateMoved(AggregateMoved),
}

impl Event {
    /// The operation that makes such events.
    pub fn operation(&self) -> Operation {
        match self {
            Event::FormSetPublished(_) => Operation::PublishFormSet,
            Event::UnitsImported(_) => Operation::ImportUnits,
            Event::ControlIssued(issued) => super::decide::control_operation(&issued.by),
            Event::Submitted(submitted) if submitted.adjustment.is_some() => Operation::Adjust,
            Event::Refused(refused) if refused.adjustment.is_some() => Operation::Adjust,
            Event::Submitted(_) | Event::Refused(_) => Operation::Submit,
            Event::Justified(_) => Operation::Justify,
            Event::Looked(_) => Operation::Read,
            Event::TailGivenUp(_) => Operation::GiveUpTail,
            Event::RoundOpened(_) => Operation::OpenRound,
            Event::RoundClosed(_) => Operation::CloseRound,
            Event::VersionMoved(moved) => Operation::of_move(moved.step),
            Event::OpinionGiven(_) => Operation::GiveOpinion,
            Event::FiguresReviewed(_) => Operation::ReviewFigures,
            Event::Forwarded(_) => Operation::Forward,
            Event::AggregateMoved(moved) => Operation::of_move(moved.step),
        }
    }

    /// What it changed of control figures, if it did.
    pub fn control_revision(&self) -> Option<ControlRevision<'_>> {
        let issued = match self {
            Event::ControlIssued(issued) => issued,
            // An addition (追加) raises ceilings in the same event.
            Event::Submitted(submitted) => submitted.adjustment.as_ref()?.raised.as_ref()?,
            _ => return None,
        };
        let ControlIssued { version, reason, changes, affected, .. } = issued;
        Some(ControlRevision { version: *version, reason, changes, affected })
    }

    /// The budget year that it is of, if it is of one.
    pub fn year(&self) -> Option<u16> {
        match self {
            Event::FormSetPublished(_) | Event::Looked(_) | Event::TailGivenUp(_) => None,
            Event::UnitsImported(imported) => Some(imported.year),
            Event::ControlIssued(issued) => Some(issued.year),
            Event::Submitted(submitted) => Some(submitted.attempt.slot.year),
            Event::Refused(refused) => Some(refused.attempt.slot.year),
            Event::Justified(justified) => Some(justified.slot.year),
            Event::RoundOpened(opened) => Some(opened.year),
            Event::RoundClosed(closed) => Some(closed.year),
            Event::VersionMoved(moved) => Some(moved.slot.year),
            Event::OpinionGiven(given) => Some(given.slot.year),
            Event::FiguresReviewed(reviewed) => Some(reviewed.slot.year),
            Event::Forwarded(forwarded) => Some(forwarded.year),
            Event::AggregateMoved(moved) => Some(moved.year),
        }
    }

    /// What happened, by a stable name.
    pub fn kind(&self) -> &'static str {
        match self {
            Event::FormSetPublished(_) => "form_set_published",
            Event::UnitsImported(_) => "units_imported",
            Event::ControlIssued(_) => "control_issued",
            Event::Submitted(_) => "submitted",
            Event::Refused(_) => "refused",
            Event::Justified(_) => "justified",
            Event::Looked(_) => "looked",
            Event::TailGivenUp(_) => "tail_given_up",
            Event::RoundOpened(_) => "round_opened",
            Event::RoundClosed(_) => "round_closed",
            Event::VersionMoved(_) => "version_moved",
            Event::OpinionGiven(_) => "opinion_given",
            Event::FiguresReviewed(_) => "figures_reviewed",
            Event::Forwarded(_) => "forwarded",
            Event::AggregateMoved(_) => "aggregate_moved",
        }
    }

    /// The filing that was decided, if one was.
    pub fn attempt(&self) -> Option<&Attempt> {
        match self {
            Event::Submitted(submitted) => Some(&submitted.attempt),
            Event::Refused(refused) => Some(&refused.attempt),
            Event::FormSetPublished(_)
            | Event::UnitsImported(_)
            | Event::ControlIssued(_)
            | Event::Justified(_)
            | Event::TailGivenUp(_)
            | Event::Looked(_)
            | Event::RoundOpened(_)
            | Event::RoundClosed(_)
            | Event::VersionMoved(_)
            | Event::OpinionGiven(_)
            | Event::FiguresReviewed(_)
            | Event::Forwarded(_)
            | Event::AggregateMoved(_) => None,
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

/// Control figures were issued or split: each takes the place of an earlier one on the same cell.
#[derive(Clone, Debug, PartialEq)]
pub struct ControlIssued {
    /// Budget year.
    pub year: u16,
    /// Round.
    pub round: Round,
    /// Counts the issues and splits of that year and round.
    pub version: u32,
    /// Who gave them: the bureau, or the node that split its own.
    pub by: UnitCode,
    /// Why.
    pub reason: String,
    /// What each was and is, sorted by unit and cell.
    pub changes: Vec<ControlChange>,
    /// Whose versions are above a ceiling because of it.
    pub affected: Vec<Affected>,
}

/// What an event changed of control figures: one entry of their change track.
#[derive(Clone, Copy, Debug)]
pub struct ControlRevision<'e> {
    /// Their version from then on.
    pub version: u32,
    /// Why.
    pub reason: &'e str,
    /// What each was and is.
    pub changes: &'e [ControlChange],
    /// Whose versions are above a ceiling because of it.
    pub affected: &'e [Affected],
}

/// A version that is above a ceiling since that was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Affected {
    /// The version.
    pub version: u32,
    /// Where its event stands.
    pub position: Position,
    /// By how much, and above which ceiling.
    pub over: OverCeiling,
}

impl Affected {
    /// Whether that ceiling is hard, so that the version is marked.
    pub fn is_hard(&self) -> bool {
        self.over.figure.strength == CeilingStrength::Hard
    }
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
    /// How it stands against each control figure of the unit, and those above that it draws on.
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
    /// If it changes an approved version: which, and why.
    pub adjustment: Option<Adjustment>,
}

/// How a version follows on an approved one (调剂, 追加).
#[derive(Clone, Debug, PartialEq)]
pub struct Adjustment {
    /// The approved version that it changes.
    pub base: u32,
    /// Why.
    pub cause: String,
    /// The ceilings that were raised in the same event (追加); such a version is approved at once. None for a
    /// reallocation within the total (调剂).
    pub raised: Option<ControlIssued>,
}

/// A sealed filing was refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// How it was judged.
    pub attempt: Attempt,
    /// If it would have changed an approved version: which, and why.
    pub adjustment: Option<Adjustment>,
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

/// What had been signed behind this position was lost, and the service was told to go on without it. Whoever keeps a
/// checkpoint of it sees a fork here, and this says why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TailGivenUp {
    /// The last checkpoint that had been signed: a signed note.
    pub checkpoint: String,
}

/// Somebody looked at a node. Recorded only where a deployment says so, and changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    /// At which.
    pub node: UnitCode,
    /// By which method of the API: `ConsolidationService/View`.
    pub method: CompactString,
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

/// A round was opened, opened again, or its deadline moved.
#[derive(Clone, Debug, PartialEq)]
pub struct RoundOpened {
    /// Budget year.
    pub year: u16,
    /// Round.
    pub round: Round,
    /// Counts the openings and closings of that round.
    pub version: u32,
    /// Until when it takes filings, if there is a deadline.
    pub deadline: Option<Timestamp>,
    /// Why; may be empty at the first opening.
    pub reason: String,
}

/// A round was closed.
#[derive(Clone, Debug, PartialEq)]
pub struct RoundClosed {
    /// Budget year.
    pub year: u16,
    /// Round.
    pub round: Round,
    /// Counts the openings and closings of that round.
    pub version: u32,
    /// Why; may be empty.
    pub reason: String,
}

/// A version came into another state.
#[derive(Clone, Debug, PartialEq)]
pub struct VersionMoved {
    /// Whose submission.
    pub slot: Slot,
    /// Its version.
    pub version: u32,
    /// Where that stands.
    pub position: Position,
    /// What was done.
    pub step: Move,
    /// The state before.
    pub from: VersionState,
    /// The state from now on.
    pub to: VersionState,
    /// Why; empty where nothing was said.
    pub reason: String,
    /// Of a return: the lines that it is about.
    pub lines: Vec<ReturnedLine>,
    /// The last event that set reviewed figures of it, 0 if none did: an approval is of these figures.
    pub reviewed: Position,
}

/// An office gave its opinion.
#[derive(Clone, Debug, PartialEq)]
pub struct OpinionGiven {
    /// Whose submission.
    pub slot: Slot,
    /// The version that it is about.
    pub version: u32,
    /// Where that stands.
    pub position: Position,
    /// Id of the office.
    pub office: CompactString,
    /// What it makes of it.
    pub view: OpinionView,
    /// What it says.
    pub text: String,
}

/// A reviewer set figures.
#[derive(Clone, Debug, PartialEq)]
pub struct FiguresReviewed {
    /// Whose submission.
    pub slot: Slot,
    /// The version that they are of.
    pub version: u32,
    /// Where that stands.
    pub position: Position,
    /// The figures, sorted by cell.
    pub items: Vec<ReviewedItem>,
}

/// What a reviewer set in one cell.
#[derive(Clone, Debug, PartialEq)]
pub struct ReviewedItem {
    /// The cell.
    pub cell: CellAddress,
    /// The figure; none takes an earlier one back.
    pub amount: Option<Amount>,
    /// Why.
    pub reason: String,
}

/// A department sealed an aggregate.
#[derive(Clone, Debug, PartialEq)]
pub struct Forwarded {
    /// The department.
    pub department: UnitCode,
    /// Budget year.
    pub year: u16,
    /// Round.
    pub round: Round,
    /// Counts the aggregates of that department, year and round.
    pub version: u32,
    /// The version of the unit tree.
    pub tree_version: u32,
    /// The version of the round; 0 if it was never opened.
    pub round_version: u32,
    /// The submissions in it, sorted by unit and kind.
    pub members: Vec<Member>,
    /// Names all of that.
    pub digest: Digest,
    /// What the department says; may be empty.
    pub text: String,
}

/// An aggregate came into another state.
#[derive(Clone, Debug, PartialEq)]
pub struct AggregateMoved {
    /// The department.
    pub department: UnitCode,
    /// Budget year.
    pub year: u16,
    /// Round.
    pub round: Round,
    /// Which aggregate.
    pub version: u32,
    /// What was done.
    pub step: Move,
    /// The state before.
    pub from: AggregateState,
    /// The state from now on.
    pub to: AggregateState,
    /// Why; empty where nothing was said.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_on_a_clock_in_china() {
        for (ms, text) in [
            (1_705_482_904_000, "2024-01-17 17:15:04"),
            (1_709_136_000_000, "2024-02-29 00:00:00"),
            (951_796_799_999, "2000-02-29 11:59:59"),
            (0, "1970-01-01 08:00:00"),
            (-28_800_001, "1969-12-31 23:59:59"),
            (4_107_542_400_000, "2100-03-01 08:00:00"),
        ] {
            assert_eq!(Timestamp(ms).to_string(), text);
        }
        assert_eq!(Timestamp(1_705_482_904_000).digits(), "20240117171504");
        // No time, but no panic either.
        assert!(!Timestamp(i64::MAX).to_string().is_empty() && !Timestamp(i64::MIN).to_string().is_empty());
    }
}
