//! Review: what leads a version, or a department's aggregate, from one state to the next.
//!
//! Each step looks at the version it is about: a reviewer who looked at another one is told. What is legal in a state is
//! one table, [`legal`]; refusals name it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use compact_str::CompactString;

use super::adjust;
use super::control::fits;
use crate::budget::cell::CellAddress;
use crate::budget::control_figure::CeilingStrength;
use crate::budget::digest::Digest;
use crate::budget::form_set::FormSet;
use crate::budget::money::Amount;
use crate::budget::reason::{Reason, Remark};
use crate::budget::rule::Fingerprint;
use crate::budget::submission::{Kind, Round, Slot, Submission, UnitCode};
use crate::budget::unit_tree::{BUREAU, UnitTree};
use crate::ledger::actor::{Actor, Operation, Reviewed, Role, is_theirs, is_theirs_whole, may, may_whole};
use crate::ledger::control::{ControlBook, OverCeiling};
use crate::ledger::event::{
    AggregateMoved, Event, FiguresReviewed, Forwarded, OpinionGiven, ReviewedItem, Timestamp, VersionMoved,
};
use crate::ledger::review::{Aggregate, AggregateState, Member, Move, OpinionView, ReturnedLine, VersionState};
use crate::ledger::state::{Filings, State, Version};
use crate::ledger::{Contents, Position, round};

/// The longest reason, opinion or cause, in characters.
pub const REVIEW_CHARS_MAX: usize = 2_000;
/// The most lines of a return, or figures that are set at once.
pub const REVIEW_LINES_MAX: usize = 1_000;

/// A version that something is done to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Whose submission.
    pub slot: Slot,
    /// The version that was looked at.
    pub version: u32,
}

/// A step of review on a version.
#[derive(Clone, Debug, PartialEq)]
pub struct VersionStep {
    /// The version.
    pub target: Target,
    /// What is done.
    pub step: Move,
    /// Why.
    pub reason: String,
    /// Of a return: the lines that it is about, looked up already.
    pub lines: Vec<ReturnedLine>,
    /// Of an acceptance or approval: the failed logic findings of that version, looked up already.
    pub to_justify: Vec<(CompactString, CellAddress, Fingerprint)>,
    /// Of an approval: the last event that set the reviewed figures that were looked at, if the reviewer says so.
    pub reviewed: Option<Position>,
}

/// What may be done with the last version of a slot. By somebody; what only waits for headroom, an open round, an
/// explanation or a reviewed figure that keeps the total is named too.
pub fn legal(state: &State, slot: &Slot, version: Option<&Version>) -> Vec<Operation> {
    use Operation::{
        Accept, Adjust, Approve, Forward, GiveOpinion, Justify, Reopen, Return, ReviewFigures, Submit, Withdraw,
    };
    let sealed = seal_over(state, slot, version).map(|(_, aggregate)| aggregate.state());
    let Some(version) = version else {
        let node = state.tree(slot.year).and_then(|tree| tree.node(&slot.unit));
        let files = node.is_some_and(|node| node.budgeted || slot.kind != Kind::Unit);
        return if files && sealed.is_none() { vec![Submit] } else { vec![] };
    };
    let adjusts = version.adjusts.is_some();
    if let Some(sealed) = sealed.filter(|_| version.state() != VersionState::Approved) {
        let own = is_departments_own(state, slot);
        let sealed = if adjusts { AggregateState::Forwarded } else { sealed };
        return match (sealed, version.state()) {
            (AggregateState::Forwarded, VersionState::Submitted) if own => {
                vec![Justify, GiveOpinion, ReviewFigures, Accept]
            }
            (AggregateState::Forwarded, VersionState::Accepted) if own => {
                vec![GiveOpinion, ReviewFigures, Approve, Reopen]
            }
            (AggregateState::Forwarded, VersionState::Accepted) if adjusts || is_next(state, slot) => {
                vec![GiveOpinion, ReviewFigures, Approve]
            }
            (AggregateState::Forwarded, VersionState::Accepted) => vec![GiveOpinion, ReviewFigures],
            (_, VersionState::Submitted) if own => vec![Justify, Accept],
            (_, VersionState::Accepted) if own => vec![Approve, Reopen],
            (_, VersionState::Accepted) => vec![Approve],
            _ => vec![],
        };
    }
    match version.state() {
        VersionState::Submitted if adjusts => vec![Withdraw, Return, Justify, GiveOpinion, ReviewFigures, Accept],
        VersionState::Submitted => vec![Submit, Withdraw, Return, Justify, GiveOpinion, ReviewFigures, Accept],
        VersionState::Returned if adjusts => vec![Adjust, Justify, Reopen],
        VersionState::Returned => vec![Submit, Justify, Reopen],
        VersionState::Withdrawn if adjusts => vec![Adjust],
        VersionState::Withdrawn => vec![Submit],
        // Adjustments, and what no department stands above, are approved one by one.
        VersionState::Accepted if adjusts || is_next(state, slot) => {
            vec![Return, GiveOpinion, ReviewFigures, Approve, Reopen]
        }
        VersionState::Accepted => vec![Return, GiveOpinion, ReviewFigures, Forward, Reopen],
        VersionState::Approved if version.approved_at_once() => vec![Adjust],
        VersionState::Approved => vec![Adjust, Reopen],
    }
}

/// Of that, what is theirs who ask.
pub fn legal_for(state: &State, actor: &Actor, slot: &Slot, version: Option<&Version>) -> Vec<Operation> {
    let tree = state.tree(slot.year).map(Arc::as_ref);
    let of = reviewed(state, slot, version);
    let is_sealed = seal_over(state, slot, version).is_some();
    let theirs = |operation: &Operation| {
        let whole = (*operation == Operation::Forward).then(|| top(state, slot)).flatten();
        may(actor, *operation, whole.as_ref().unwrap_or(&slot.unit), tree)
            && operation.step().is_none_or(|step| is_theirs(actor, step, of))
            && match operation {
                // What a department has sealed is with the bureau, with the figures that it set.
                Operation::ReviewFigures => !(actor.role == Role::Department && is_sealed),
                Operation::GiveOpinion => version.is_some_and(|version| has_office(state, version, actor.role)),
                _ => true,
            }
    };
    legal(state, slot, version).into_iter().filter(theirs).collect()
}

/// Whether any office that gives opinions on a version is that role's.
fn has_office(state: &State, version: &Version, role: Role) -> bool {
    form_of(state, version).is_ok_and(|form| form.offices.iter().any(|office| office.role == role.as_str()))
}

/// What may be done with the last aggregate of a department, by somebody. What was approved and adjusted since is never
/// opened again.
pub fn legal_whole(state: &State, last: &Aggregate, within: (u16, Round)) -> Vec<Operation> {
    let standing = last.state();
    let is_final = || {
        standing == AggregateState::Approved
            && !adjusted(state, &approved_since(state, last, within), within).is_empty()
    };
    let steps = [Move::Return, Move::Approve, Move::Reopen];
    let steps = steps.into_iter().filter(|step| aggregate_leads_to(*step, standing).is_some());
    let steps = steps.filter(|step| *step != Move::Reopen || !is_final());
    let forward = (!standing.seals()).then_some(Operation::Forward);
    forward.into_iter().chain(steps.map(Operation::of_move)).collect()
}

/// Of that, what is theirs who ask.
pub fn legal_whole_for(
    state: &State,
    last: &Aggregate,
    (year, round): (u16, Round),
    actor: &Actor,
    department: &str,
) -> Vec<Operation> {
    let tree = state.tree(year).map(Arc::as_ref);
    let theirs = |operation: &Operation| match operation.step() {
        Some(step) => {
            may_whole(actor, step, department, tree) && is_theirs_whole(actor, step, department, last.state())
        }
        None => may(actor, *operation, department, tree),
    };
    legal_whole(state, last, (year, round)).into_iter().filter(theirs).collect()
}

fn verbs(legal: Vec<Operation>) -> String {
    legal.into_iter().map(Operation::verb).collect::<Vec<_>>().join(", ")
}

/// A submission as far as that says whose step it is.
fn reviewed<'s>(state: &State, slot: &'s Slot, version: Option<&Version>) -> Reviewed<'s> {
    Reviewed {
        unit: &slot.unit,
        next: is_next(state, slot),
        adjusts: version.is_some_and(|version| version.adjusts.is_some()),
        approved: version.is_some_and(|version| version.state() == VersionState::Approved),
    }
}

/// A text that somebody gives: trimmed, and there if it must be.
pub(super) fn text(text: &str, needed: bool) -> Result<String, Remark> {
    let bad = |problem: &str| Remark::new(Reason::BadReviewText).with("problem", problem);
    let (text, length) = (text.trim(), text.chars().count());
    if needed && text.is_empty() {
        return Err(bad("blank"));
    }
    if length > REVIEW_CHARS_MAX {
        return Err(bad("long").with("found", length).with("allowed", REVIEW_CHARS_MAX));
    }
    if text.chars().any(|c| c.is_control() && c != '\n') {
        return Err(bad("control"));
    }
    Ok(text.to_owned())
}

/// The version that a reviewer looked at, if it is still the last one.
fn looked_at<'s>(state: &'s State, target: &Target) -> Result<(&'s Filings, &'s Version), Remark> {
    let Target { slot, version } = target;
    let unknown = || Remark::new(Reason::UnknownSubmission).with("slot", slot).with("version", version);
    let filings = state.filings(slot).ok_or_else(unknown)?;
    let latest = filings.latest().ok_or_else(unknown)?;
    if latest.version == *version {
        return Ok((filings, latest));
    }
    filings.version(*version).ok_or_else(unknown)?;
    let remark = Remark::new(Reason::VersionMoved).with("slot", slot).with("found", version);
    Err(remark.with("expected", latest.version).with("state", latest.state()).with("what", "version"))
}

pub(super) fn not_in_state(state: &State, slot: &Slot, version: Option<&Version>, step: &str) -> Remark {
    Remark::new(Reason::NotInState)
        .with("slot", slot)
        .with("version", version.map_or(0, |version| version.version))
        .with("state", version.map_or("missing", |version| version.state().as_str()))
        .with("step", step)
        .with("expected", verbs(legal(state, slot, version)))
}

/// Why a step can't be taken from where a version stands: it is sealed, and whoever wants it open must turn to those who
/// sealed it; or else its own state. What is approved is told as that.
fn not_now(state: &State, slot: &Slot, version: &Version, step: &str) -> Remark {
    let by_itself = version.state() == VersionState::Approved || is_departments_own(state, slot);
    match unsealed(state, slot, Some(version), step) {
        Err(sealed) if !by_itself => sealed,
        _ => not_in_state(state, slot, Some(version), step),
    }
}

/// The seal that a version is under, or would come under. An adjustment that was filed after it is beyond it, until the
/// department forwards again.
pub fn seal_over<'s>(state: &'s State, slot: &Slot, version: Option<&Version>) -> Option<(UnitCode, &'s Aggregate)> {
    let beyond = |seal: &Aggregate, version: &Version| version.adjusts.is_some() && !seal.holds(version.position);
    let seal = state.seal(&slot.unit, slot.year, slot.round);
    seal.filter(|(_, seal)| !version.is_some_and(|version| beyond(seal, version)))
}

/// Refuses what would change a sealed submission.
fn unsealed(state: &State, slot: &Slot, version: Option<&Version>, step: &str) -> Result<(), Remark> {
    let Some((department, aggregate)) = seal_over(state, slot, version) else { return Ok(()) };
    let expected = match aggregate.state() {
        AggregateState::Forwarded => "return, reopen",
        _ => "reopen",
    };
    Err(Remark::new(Reason::SubmissionSealed)
        .with("slot", slot)
        .with("department", department)
        .with("version", aggregate.version)
        .with("state", aggregate.state())
        .with("step", step)
        .with("expected", expected))
}

/// Whether a new version may be filed at all; which it would change if it is an adjustment.
pub(super) fn may_file(state: &State, slot: &Slot, adjusts: bool) -> Result<Option<u32>, Remark> {
    let filings = state.filings(slot);
    let latest = filings.and_then(Filings::latest);
    if adjusts {
        let adjusted = |version: &Version| match version.state() {
            VersionState::Approved => Some(version.version),
            VersionState::Returned | VersionState::Withdrawn => version.adjusts,
            VersionState::Submitted | VersionState::Accepted => None,
        };
        let base = latest.and_then(adjusted);
        return base.map(Some).ok_or_else(|| not_in_state(state, slot, latest, "adjust"));
    }
    let Some(version) = latest else {
        unsealed(state, slot, None, "submit")?;
        return Ok(None);
    };
    let taken = matches!(version.state(), VersionState::Submitted | VersionState::Returned | VersionState::Withdrawn);
    if !taken || version.adjusts.is_some() {
        return Err(not_now(state, slot, version, "submit"));
    }
    unsealed(state, slot, latest, "submit")?;
    Ok(None)
}

pub(super) fn step(
    state: &State,
    actor: &Actor,
    order: &VersionStep,
    now: Timestamp,
    contents: &dyn Contents,
) -> Result<Event, Remark> {
    let slot = &order.target.slot;
    let last = state.filings(slot).and_then(Filings::latest);
    let of = reviewed(state, slot, last);
    if !is_theirs(actor, order.step, of) {
        let remark = Remark::new(Reason::NotYourStep).with("actor", actor).with("slot", slot);
        return Err(remark.with("step", order.step));
    }
    let (filings, version) = looked_at(state, &order.target)?;
    let from = version.state();
    let illegal = || not_now(state, slot, version, order.step.as_str());
    let reason = text(&order.reason, matches!(order.step, Move::Return | Move::Reopen))?;
    let to = leads_to(order.step, version).ok_or_else(illegal)?;
    match (order.step, from) {
        // The bureau approved it as a whole before its department passes it on.
        (Move::Approve, _) if actor.role == Role::Department => passed_on(state, slot, version)?,
        (Move::Approve, _) => {}
        // What was approved at once was never accepted; another adjustment leads back.
        (Move::Reopen, VersionState::Approved) if version.approved_at_once() => return Err(illegal()),
        (Move::Reopen, VersionState::Approved) => {}
        (Move::Accept | Move::Reopen, VersionState::Submitted | VersionState::Accepted)
            if is_departments_own(state, slot) => {}
        _ => unsealed(state, slot, Some(version), order.step.as_str())?,
    }
    if order.step == Move::Withdraw && version.adjusts.is_none() {
        // What leads back is to file again: nobody takes the last thing away that counts and can't.
        round::admits(state, slot.year, slot.round, now)?;
    }
    if matches!(order.step, Move::Accept | Move::Approve) {
        all_justified(filings, slot, version, &order.to_justify)?;
    }
    if order.step == Move::Approve {
        adjust::stays_in_balance(state, filings, version, contents)?;
    }
    let reviewed = version.remarks.figures_position();
    if let Some(seen) = order.reviewed.filter(|seen| *seen != reviewed) {
        let remark = Remark::new(Reason::VersionMoved).with("slot", slot).with("found", seen);
        return Err(remark.with("expected", reviewed).with("state", from).with("what", "figures"));
    }
    if from.counts() != to.counts() {
        still_fits(state, slot, filings, (version, to), contents)?;
    }
    if order.step == Move::Approve {
        approvable(state, slot, contents)?;
    }
    let lines = if order.step == Move::Return { lines_of(&order.lines)? } else { Vec::new() };
    Ok(Event::VersionMoved(Box::new(VersionMoved {
        slot: slot.clone(),
        version: version.version,
        position: version.position,
        step: order.step,
        from,
        to,
        reason,
        lines,
        reviewed,
    })))
}

/// The state that a step leads a version to, if it can be taken from where that stands.
pub fn leads_to(step: Move, version: &Version) -> Option<VersionState> {
    Some(match (step, version.state()) {
        (Move::Withdraw, VersionState::Submitted) => VersionState::Withdrawn,
        (Move::Return, VersionState::Submitted | VersionState::Accepted) => VersionState::Returned,
        (Move::Accept, VersionState::Submitted) => VersionState::Accepted,
        (Move::Approve, VersionState::Accepted) => VersionState::Approved,
        (Move::Reopen, VersionState::Accepted) => VersionState::Submitted,
        (Move::Reopen, VersionState::Approved) => VersionState::Accepted,
        (Move::Reopen, VersionState::Returned) => before_last(version),
        _ => return None,
    })
}

/// The same of an aggregate.
pub fn aggregate_leads_to(step: Move, from: AggregateState) -> Option<AggregateState> {
    Some(match (step, from) {
        (Move::Return, AggregateState::Forwarded) => AggregateState::Returned,
        (Move::Approve, AggregateState::Forwarded) => AggregateState::Approved,
        (Move::Reopen, AggregateState::Forwarded) => AggregateState::Recalled,
        (Move::Reopen, AggregateState::Approved) => AggregateState::Forwarded,
        _ => return None,
    })
}

/// The state before the last step.
fn before_last(version: &Version) -> VersionState {
    version.steps.iter().rev().nth(1).map_or(VersionState::Submitted, |step| step.state)
}

/// A department approves what is in an aggregate once the bureau has approved that.
fn passed_on(state: &State, slot: &Slot, version: &Version) -> Result<(), Remark> {
    let seal = state.seal(&slot.unit, slot.year, slot.round).map(|(_, aggregate)| aggregate);
    let standing = seal.map(Aggregate::state);
    if standing == Some(AggregateState::Approved) && seal.is_some_and(|seal| seal.holds(version.position)) {
        return Ok(());
    }
    Err(Remark::new(Reason::AggregateNotInState)
        .with("department", top(state, slot).unwrap_or_else(|| slot.unit.clone()))
        .with("version", seal.map_or(0, |seal| seal.version))
        .with("state", standing.map_or("not_forwarded", AggregateState::as_str))
        .with("step", "approve")
        .with("expected", AggregateState::Approved))
}

/// Whether no department stands between a unit and the bureau, which then does what a department would.
fn is_next(state: &State, slot: &Slot) -> bool {
    state.tree(slot.year).and_then(|tree| tree.node(&slot.unit)).is_some_and(|node| node.parent == BUREAU)
}

/// Whether it is what a department files for itself, beside its units. The bureau reviews it whatever the department has
/// sealed: a seal keeps figures as they are, and nobody else could take it further.
fn is_departments_own(state: &State, slot: &Slot) -> bool {
    slot.kind != Kind::Unit && is_next(state, slot)
}

/// The node directly below the bureau that a unit stands under.
fn top(state: &State, slot: &Slot) -> Option<UnitCode> {
    let tree = state.tree(slot.year)?;
    tree.path(&slot.unit).into_iter().rev().nth(1).map(UnitCode::from)
}

fn all_justified(
    filings: &Filings,
    slot: &Slot,
    version: &Version,
    findings: &[(CompactString, CellAddress, Fingerprint)],
) -> Result<(), Remark> {
    let open: Vec<String> = findings
        .iter()
        .filter(|(_, _, fingerprint)| filings.justified_at(fingerprint, Position::MAX).is_none())
        .map(|(rule, place, _)| format!("{rule} {place}"))
        .collect();
    if open.is_empty() {
        return Ok(());
    }
    Err(Remark::new(Reason::FindingsUnjustified)
        .with("slot", slot)
        .with("version", version.version)
        .with("found", open.len())
        .with_list("findings", open))
}

/// What counts again after a step must still be within the ceilings: others may have used what it left free.
fn still_fits(
    state: &State,
    slot: &Slot,
    filings: &Filings,
    (version, to): (&Version, VersionState),
    contents: &dyn Contents,
) -> Result<(), Remark> {
    let counts_then = if to.counts() {
        Some(version)
    } else {
        // Only behind an adjustment something older counts again.
        let mut base = version.adjusts.and_then(|base| filings.version(base));
        while let Some(found) = base.filter(|found| !found.state().counts()) {
            base = found.adjusts.and_then(|base| filings.version(base));
        }
        base
    };
    let Some(counts_then) = counts_then else { return Ok(()) };
    let (form, submission) = filed(state, counts_then, contents)?;
    let now = if version.state().counts() { Some(filed(state, version, contents)?) } else { None };
    let drawn = |cell: &CellAddress| counts_then.drawn(&submission, form, cell);
    // What draws no more than what counts now makes nothing worse: else a cut would keep it from being given back.
    let more = |cell: &CellAddress| {
        now.as_ref().is_none_or(|(form, submission)| drawn(cell) > version.drawn(submission, form, cell))
    };
    fits(state, slot, drawn, more)
}

/// What a cut has left above its ceiling goes on counting; to be approved it must be within, as it was reviewed.
fn approvable(state: &State, slot: &Slot, contents: &dyn Contents) -> Result<(), Remark> {
    let (Some(book), Some(tree), Kind::Unit) = (state.control(slot.year, slot.round), state.tree(slot.year), slot.kind)
    else {
        return Ok(());
    };
    if !book.is_over(tree, &slot.unit) {
        return Ok(());
    }
    let book = as_reviewed(state, (slot.year, slot.round), (book, tree), contents)?;
    let Some(over) = above_hard(&book, tree, &slot.unit) else { return Ok(()) };
    let figure = over.figure;
    let remark = Remark::new(Reason::ApprovalOverCeiling).with("unit", &slot.unit).with("cell", &figure.cell);
    let remark = remark.with("reviewed", over.filed.print(figure.scale)).with("holder", &figure.unit);
    let remark = remark.with("ceiling", figure.ceiling.print(figure.scale));
    Err(remark.with("over", over.over.print(figure.scale)).with("amount_unit", figure.scale.denomination.as_str()))
}

/// The first hard ceiling that a unit is above.
fn above_hard(book: &ControlBook, tree: &UnitTree, unit: &str) -> Option<OverCeiling> {
    book.over_of(tree, unit).into_iter().find(|over| over.figure.strength == CeilingStrength::Hard)
}

/// How ceilings would be drawn on if what counts had been filed as it was reviewed.
fn as_reviewed(
    state: &State,
    (year, round): (u16, Round),
    (book, tree): (&ControlBook, &UnitTree),
    contents: &dyn Contents,
) -> Result<ControlBook, Remark> {
    let mut book = book.clone();
    for (slot, filings) in state.slots() {
        let is_unit = (slot.year, slot.round, slot.kind) == (year, round, Kind::Unit);
        let reviewed = filings.counting().filter(|version| is_unit && version.remarks.figures_position() > 0);
        if let Some(version) = reviewed {
            let (form, submission) = filed(state, version, contents)?;
            book.file(tree, &slot.unit, |cell| version.approvable(&submission, form, cell));
        }
    }
    Ok(book)
}

/// What was filed as a version, and on which form set.
pub(super) fn filed<'s>(
    state: &'s State,
    version: &Version,
    contents: &dyn Contents,
) -> Result<(&'s FormSet, Arc<Submission>), Remark> {
    Ok((form_of(state, version)?, contents.submission(version.position)?))
}

/// The form set that a version was filed on.
fn form_of<'s>(state: &'s State, version: &Version) -> Result<&'s FormSet, Remark> {
    let damaged = || Remark::new(Reason::JournalDamaged).with("position", version.position).with("what", "form set");
    state.form_set_version(&version.form_set).map(Arc::as_ref).ok_or_else(damaged)
}

fn lines_of(lines: &[ReturnedLine]) -> Result<Vec<ReturnedLine>, Remark> {
    if lines.len() > REVIEW_LINES_MAX {
        let remark = Remark::new(Reason::BadReviewText).with("problem", "many");
        return Err(remark.with("found", lines.len()).with("allowed", REVIEW_LINES_MAX));
    }
    let line = |line: &ReturnedLine| Ok(ReturnedLine { text: text(&line.text, false)?, ..line.clone() });
    lines.iter().map(line).collect()
}

/// Whether a submission has the line that a reviewer names: a table that was filed, a row of it, a column.
///
/// # Errors
/// `UNKNOWN_LINE`.
pub fn find_line(form: &FormSet, submission: &Submission, line: &ReturnedLine) -> Result<(), Remark> {
    let place = [line.table.as_str(), line.row.as_str(), line.column.as_str()].join("/");
    let place = place.trim_end_matches('/').to_owned();
    let unknown =
        |problem: &str| Remark::new(Reason::UnknownLine).with("line", &place).with("problem", problem.to_owned());
    let (index, table) = form.table(&line.table).ok_or_else(|| unknown("table"))?;
    if line.row.is_empty() {
        return if line.column.is_empty() { Ok(()) } else { Err(unknown("row")) };
    }
    if !line.column.is_empty() && table.column(&line.column).is_none() {
        return Err(unknown("column"));
    }
    // A row that is missing can be returned for that, if the form says which rows there are.
    let address = CellAddress::new(&line.table, &line.row, table.columns.first().map_or("", |column| &column.id));
    let filed = submission.table(index).and_then(|filed| filed.row(&line.row)).is_some();
    let printed = matches!(table.rows, crate::budget::form_set::Rows::Fixed { .. }) && form.cell(&address).is_some();
    if filed || printed { Ok(()) } else { Err(unknown("row")) }
}

pub(super) fn give_opinion(
    state: &State,
    actor: &Actor,
    target: &Target,
    (office, view): (&str, OpinionView),
    said: &str,
) -> Result<Event, Remark> {
    let (_, version) = looked_at(state, target)?;
    let slot = &target.slot;
    reviewable(state, slot, version, "opinion")?;
    let form = form_of(state, version)?;
    let role = actor.role.as_str();
    let mine = || form.offices.iter().filter(|office| office.role == role).map(|office| office.id.as_str());
    if !mine().any(|mine| mine == office) {
        let remark = Remark::new(Reason::UnknownOffice).with("office", office).with("form_set", &form.id);
        return Err(remark.with("actor", actor).with("expected", mine().collect::<Vec<_>>().join(", ")));
    }
    if view == OpinionView::TakenBack && !version.remarks.opinions.contains_key(office) {
        let remark = Remark::new(Reason::BadReviewText).with("problem", "nothing");
        return Err(remark.with("office", office));
    }
    Ok(Event::OpinionGiven(OpinionGiven {
        slot: slot.clone(),
        version: version.version,
        position: version.position,
        office: office.into(),
        view,
        // Who objects says why.
        text: text(said, view == OpinionView::Object)?,
    }))
}

/// Opinions and reviewed figures are for versions that are under review; also while they are with the bureau.
fn reviewable(state: &State, slot: &Slot, version: &Version, step: &str) -> Result<(), Remark> {
    let seal = seal_over(state, slot, Some(version));
    let decided = seal.is_some_and(|(_, aggregate)| aggregate.state() == AggregateState::Approved);
    let open = matches!(version.state(), VersionState::Submitted | VersionState::Accepted);
    // An adjustment is decided one by one, and may have to be brought into balance for that.
    if open && (!decided || version.adjusts.is_some()) {
        return Ok(());
    }
    Err(not_in_state(state, slot, Some(version), step))
}

/// A figure as a reviewer sets it.
#[derive(Clone, Debug, PartialEq)]
pub struct FigureSet {
    /// The cell.
    pub cell: CellAddress,
    /// The figure; none takes an earlier one back.
    pub amount: Option<Amount>,
    /// Why.
    pub reason: String,
}

pub(super) fn review_figures(
    state: &State,
    actor: &Actor,
    target: &Target,
    figures: &[FigureSet],
    contents: &dyn Contents,
) -> Result<Event, Remark> {
    let (_, version) = looked_at(state, target)?;
    let slot = &target.slot;
    reviewable(state, slot, version, "review")?;
    if actor.role == Role::Department {
        // What it sealed is with the bureau: its own figures are part of that.
        unsealed(state, slot, Some(version), "review")?;
    }
    let bad = |problem: &str| Remark::new(Reason::BadReviewedFigure).with("problem", problem);
    if figures.is_empty() {
        return Err(bad("empty"));
    }
    if figures.len() > REVIEW_LINES_MAX {
        return Err(bad("many").with("found", figures.len()).with("allowed", REVIEW_LINES_MAX));
    }
    let (form, submission) = filed(state, version, contents)?;
    let mut seen = BTreeSet::new();
    let mut items = Vec::new();
    for figure in figures {
        let bad = |problem| bad(problem).with("cell", &figure.cell);
        let line = ReturnedLine {
            table: figure.cell.table.clone(),
            row: figure.cell.row.clone(),
            column: figure.cell.column.clone(),
            ..ReturnedLine::default()
        };
        find_line(form, &submission, &line)?;
        let column = form.table(&figure.cell.table).and_then(|(_, table)| {
            let at = table.column(&figure.cell.column)?;
            table.columns.get(at)
        });
        let Some(column) = column.filter(|column| column.kind.print_scale().is_some()) else {
            return Err(bad("not_money"));
        };
        if !column.signed && slot.kind != Kind::Difference && figure.amount.is_some_and(|a| a.value.is_negative()) {
            return Err(bad("negative"));
        }
        if figure.amount.is_none() && version.remarks.figure(&figure.cell).is_none() {
            return Err(bad("nothing"));
        }
        if !seen.insert(&figure.cell) {
            return Err(bad("twice"));
        }
        let reason = text(&figure.reason, true)?;
        items.push(ReviewedItem { cell: figure.cell.clone(), amount: figure.amount, reason });
    }
    items.sort_by(|a, b| a.cell.cmp(&b.cell));
    let mut after = version.clone();
    after.remarks.review(&items, version.position);
    let drawn = |version: &Version, cell: &CellAddress| version.drawn(&submission, form, cell);
    // Less may be set even where others, or a cut, have left nothing.
    let fitting = fits(state, slot, |cell| drawn(&after, cell), |cell| drawn(&after, cell) > drawn(version, cell));
    fitting.map_err(of_reviewed)?;
    let (version, position) = (version.version, version.position);
    Ok(Event::FiguresReviewed(FiguresReviewed { slot: slot.clone(), version, position, items }))
}

/// Above a ceiling, said of a figure that nobody filed.
fn of_reviewed(over: Remark) -> Remark {
    let named = |(name, fact): (String, String)| (if name == "filed" { "reviewed".to_owned() } else { name }, fact);
    Remark { reason: Reason::ReviewedOverCeiling, facts: over.facts.into_iter().map(named).collect() }
}

/// Whether reviewed figures are such as may be set on that version as it stood: cells that are there, amounts that the
/// column takes, within the ceilings.
pub fn figures_follow(state: &State, actor: &Actor, reviewed: &FiguresReviewed, contents: &dyn Contents) -> bool {
    let target = Target { slot: reviewed.slot.clone(), version: reviewed.version };
    let figure = |item: &ReviewedItem| {
        let ReviewedItem { cell, amount, reason } = item.clone();
        FigureSet { cell, amount, reason }
    };
    let figures: Vec<FigureSet> = reviewed.items.iter().map(figure).collect();
    let again = review_figures(state, actor, &target, &figures, contents);
    again.is_ok_and(|again| again == Event::FiguresReviewed(reviewed.clone()))
}

// ── aggregates ───────────────────────────────────────────────────────────────────────────

pub(super) fn forward(
    state: &State,
    department: &UnitCode,
    (year, round): (u16, Round),
    said: &str,
) -> Result<Event, Remark> {
    let tree = state.tree(year).ok_or_else(|| Remark::new(Reason::UnknownYear).with("year", year))?;
    let node = tree
        .node(department)
        .ok_or_else(|| Remark::new(Reason::UnknownUnit).with("unit", department).with("year", year))?;
    let last = state.aggregate(department, year, round);
    if let Some(last) = last.filter(|last| last.state().seals()) {
        return Err(aggregate_not_in_state(state, department, last, (year, round), "forward"));
    }
    let not_ready =
        |problem: &str| Remark::new(Reason::DepartmentNotReady).with("department", department).with("problem", problem);
    if node.parent != BUREAU {
        return Err(not_ready("below").with("found", &node.parent));
    }
    let units = tree.budgeted_below(department);
    let standing = |unit: &str| {
        let slot = Slot { unit: unit.into(), year, round, kind: Kind::Unit };
        state.filings(&slot).and_then(Filings::standing).map(Version::state)
    };
    let in_state = |wanted: Option<VersionState>| {
        let found = units.iter().map(|unit| unit.code.as_str()).filter(|unit| standing(unit) == wanted);
        found.map(str::to_owned).collect::<Vec<_>>()
    };
    // What units of it that have units below file beside their own is not expected, but must be decided upon.
    let inside = |slot: &Slot| slot.unit != *department && tree.is_within(&slot.unit, department);
    let beside = state.slots().filter(|(slot, filings)| {
        let of_round = (slot.year, slot.round) == (year, round) && slot.kind != Kind::Unit;
        let last = filings.latest().map(Version::state);
        of_round && inside(slot) && last == Some(VersionState::Submitted)
    });
    let beside = beside.map(|(slot, _)| format!("{} {}", slot.unit, slot.kind));
    let unready @ [missing, submitted, returned, withdrawn] = &[
        in_state(None),
        in_state(Some(VersionState::Submitted)).into_iter().chain(beside).collect(),
        in_state(Some(VersionState::Returned)),
        in_state(Some(VersionState::Withdrawn)),
    ];
    if units.is_empty() || unready.iter().any(|units| !units.is_empty()) {
        let remark = not_ready("units").with_list("missing", missing).with_list("submitted", submitted);
        return Err(remark.with_list("returned", returned).with_list("withdrawn", withdrawn));
    }
    let members = members(state, tree, department, (year, round));
    let version = last.map_or(0, |last| last.version) + 1;
    let mut forwarded = Forwarded {
        department: department.clone(),
        year,
        round,
        version,
        tree_version: tree.version,
        round_version: state.round(year, round).map_or(0, |round| round.version),
        members,
        digest: Digest::default(),
        text: text(said, false)?,
    };
    forwarded.digest = aggregate_digest(&forwarded);
    Ok(Event::Forwarded(Box::new(forwarded)))
}

/// All that counts at or below a department, sorted by unit and kind.
fn members(state: &State, tree: &UnitTree, department: &str, (year, round): (u16, Round)) -> Vec<Member> {
    let inside = |unit: &str| tree.contains(unit) && tree.is_within(unit, department);
    let slots = state.slots().filter(|(slot, _)| (slot.year, slot.round) == (year, round) && inside(&slot.unit));
    slots
        .filter_map(|(slot, filings)| {
            let version = filings.counting()?;
            Some(Member {
                unit: slot.unit.clone(),
                kind: slot.kind,
                version: version.version,
                position: version.position,
                digest: version.digest,
                form_set: version.form_set,
                reviewed: version.remarks.figures_position(),
            })
        })
        .collect()
}

/// Whether an aggregate seals what counted when it was sealed, and is named by that.
pub fn seals_what_counts(state: &State, forwarded: &Forwarded) -> bool {
    let Forwarded { department, year, round, .. } = forwarded;
    let next = state.aggregate(department, *year, *round).map_or(0, |last| last.version) + 1;
    let counted = |tree: &Arc<UnitTree>| {
        forwarded.tree_version == tree.version && forwarded.members == members(state, tree, department, (*year, *round))
    };
    forwarded.version == next
        && state.tree(*year).is_some_and(counted)
        && forwarded.digest == aggregate_digest(forwarded)
}

/// Names an aggregate: SHA-256 over a text that anybody can write down again, one line a submission.
pub fn aggregate_digest(forwarded: &Forwarded) -> Digest {
    let Forwarded { department, year, round, version, tree_version, round_version, members, .. } = forwarded;
    let mut text = format!("{department} {year} {round} {version} {tree_version} {round_version}\n");
    for member in members {
        let Member { unit, kind, version, position, digest, form_set, reviewed } = member;
        // Writing into a string can't fail.
        let _ = writeln!(text, "{unit} {kind} {version} {position} {digest} {form_set} {reviewed}");
    }
    Digest::of(text.as_bytes())
}

fn aggregate_not_in_state(
    state: &State,
    department: &str,
    last: &Aggregate,
    within: (u16, Round),
    step: &str,
) -> Remark {
    Remark::new(Reason::AggregateNotInState)
        .with("department", department)
        .with("version", last.version)
        .with("state", last.state())
        .with("step", step)
        .with("expected", verbs(legal_whole(state, last, within)))
}

/// A step of review on an aggregate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AggregateStep {
    /// The department.
    pub department: UnitCode,
    /// Budget year.
    pub year: u16,
    /// Round.
    pub round: Round,
    /// The aggregate that was looked at.
    pub version: u32,
    /// What is done.
    pub step: Move,
    /// Why.
    pub reason: String,
}

pub(super) fn step_aggregate(
    state: &State,
    actor: &Actor,
    order: &AggregateStep,
    contents: &dyn Contents,
) -> Result<Event, Remark> {
    let AggregateStep { department, year, round, version, step, reason } = order;
    let last = state.aggregate(department, *year, *round).ok_or_else(|| {
        let remark = Remark::new(Reason::AggregateNotInState).with("department", department).with("version", version);
        remark.with("state", "not_forwarded").with("step", step).with("expected", "forward")
    })?;
    if last.version != *version {
        if *version == 0 || *version > last.version {
            let remark = Remark::new(Reason::UnknownAggregate).with("department", department);
            return Err(remark.with("version", version).with("last", last.version));
        }
        let remark = Remark::new(Reason::VersionMoved).with("slot", department).with("found", version);
        return Err(remark.with("expected", last.version).with("state", last.state()).with("what", "aggregate"));
    }
    let from = last.state();
    let illegal = || aggregate_not_in_state(state, department, last, (*year, *round), step.as_str());
    let to = aggregate_leads_to(*step, from).ok_or_else(illegal)?;
    if !is_theirs_whole(actor, *step, department, from) {
        let remark = Remark::new(Reason::NotYourStep).with("actor", actor).with("slot", department);
        return Err(remark.with("step", step));
    }
    if *step == Move::Approve {
        let above = above_ceilings(state, last, (*year, *round), contents)?;
        if !above.is_empty() {
            let remark = Remark::new(Reason::DepartmentNotReady).with("department", department);
            return Err(remark.with("problem", "above").with_list("found", above));
        }
    }
    if from == AggregateState::Approved {
        let approved = approved_since(state, last, (*year, *round));
        let adjusted = adjusted(state, &approved, (*year, *round));
        let (problem, found) = if adjusted.is_empty() { ("approved", approved) } else { ("adjusted", adjusted) };
        if !found.is_empty() {
            let remark = Remark::new(Reason::DepartmentNotReady).with("department", department);
            return Err(remark.with("problem", problem).with_list("found", found));
        }
    }
    Ok(Event::AggregateMoved(AggregateMoved {
        department: department.clone(),
        year: *year,
        round: *round,
        version: *version,
        step: *step,
        from,
        to,
        reason: text(reason, matches!(step, Move::Return | Move::Reopen))?,
    }))
}

/// The units of an aggregate that a cut has left above a hard ceiling, as they were reviewed. What is approved already is
/// not approved by this.
fn above_ceilings(
    state: &State,
    aggregate: &Aggregate,
    (year, round): (u16, Round),
    contents: &dyn Contents,
) -> Result<Vec<String>, Remark> {
    let (Some(book), Some(tree)) = (state.control(year, round), state.tree(year)) else { return Ok(Vec::new()) };
    let waits = |filings: &Filings| {
        let held = filings.counting().filter(|version| aggregate.holds(version.position));
        held.is_some_and(|version| version.state() != VersionState::Approved)
    };
    let is_over =
        |slot: &Slot| (slot.year, slot.round, slot.kind) == (year, round, Kind::Unit) && book.is_over(tree, &slot.unit);
    let mut above: Vec<&Slot> =
        state.slots().filter(|(slot, filings)| is_over(slot) && waits(filings)).map(|(slot, _)| slot).collect();
    if !above.is_empty() {
        // What was reviewed is read once for all of them.
        let book = as_reviewed(state, (year, round), (book, tree), contents)?;
        above.retain(|slot| above_hard(&book, tree, &slot.unit).is_some());
    }
    Ok(above.into_iter().map(|slot| slot.unit.to_string()).collect())
}

/// Those of some units of which anything was filed to change what is approved: nothing leads back behind that.
fn adjusted(state: &State, units: &[String], (year, round): (u16, Round)) -> Vec<String> {
    let is_adjusted = |unit: &&String| {
        let mut of_unit =
            state.slots().filter(|(slot, _)| slot.unit == unit.as_str() && (slot.year, slot.round) == (year, round));
        of_unit.any(|(_, filings)| filings.latest().is_some_and(|latest| latest.adjusts.is_some()))
    };
    units.iter().filter(is_adjusted).cloned().collect()
}

/// The units of an approved aggregate that its department has approved since.
fn approved_since(state: &State, aggregate: &Aggregate, (year, round): (u16, Round)) -> Vec<String> {
    let since = aggregate.steps.last().map_or(0, |step| step.position);
    let by_department = |slot: &Slot| (slot.year, slot.round) == (year, round) && !is_next(state, slot);
    // An adjustment that it holds is approved one by one, and not by the department.
    let approved = |version: &Version| {
        let last = version.steps.last();
        version.adjusts.is_none()
            && aggregate.holds(version.position)
            && last.is_some_and(|step| step.state == VersionState::Approved && step.position > since)
    };
    let slots = state.slots().filter(|(slot, _)| by_department(slot));
    slots.filter(|(_, filings)| filings.versions.iter().any(approved)).map(|(slot, _)| slot.unit.to_string()).collect()
}
