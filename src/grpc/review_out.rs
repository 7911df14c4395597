//! Rounds and review as messages: what a reader of them sees.

use super::control_figure::over_out;
use super::convert::{aggregate_state_out, kind_out, round_out, slot_out, state_out, version_out};
use super::limits::{self, Bounds};
use super::rule_finding::Wording;
use crate::budget::money::{Amount, Scale};
use crate::budget::reason::Remark;
use crate::budget::submission::{Kind, Round, Slot};
use crate::consolidator::Snapshot;
use crate::ledger::actor::{Actor, Operation};
use crate::ledger::answers::{Fate, LineAnswer};
use crate::ledger::decide::{legal, legal_for, legal_whole, legal_whole_for, seal_over};
use crate::ledger::event::{
    AggregateMoved, Envelope, Event, FiguresReviewed, Forwarded, OpinionGiven, RoundClosed, RoundOpened, Timestamp,
    VersionMoved,
};
use crate::ledger::review::{Aggregate, AggregateState, Member, Move, OpinionView, ReturnedLine};
use crate::ledger::round::open_rounds;
use crate::ledger::state::{State, Version};
use crate::ledger::{Contents, Position};
use crate::proto::api;

pub(super) fn round(state: &State, year: u16, round: Round, now: Timestamp) -> api::RoundState {
    let found = state.round(year, round);
    let open = open_rounds(state, year).contains(&round);
    let deadline = found.and_then(|found| found.deadline);
    api::RoundState {
        round: round_out(round),
        version: found.map_or(0, |found| found.version),
        takes_filings: open && deadline.is_none_or(|deadline| now <= deadline),
        open,
        deadline_ms: deadline.map(|deadline| deadline.0),
    }
}

pub(super) fn step_out(step: Move) -> i32 {
    match step {
        Move::Withdraw => api::ReviewStep::Withdraw,
        Move::Return => api::ReviewStep::Return,
        Move::Accept => api::ReviewStep::Accept,
        Move::Approve => api::ReviewStep::Approve,
        Move::Reopen => api::ReviewStep::Reopen,
    }
    .into()
}

fn opinion_out(view: OpinionView) -> i32 {
    match view {
        OpinionView::Agree => api::Opinion::Agree,
        OpinionView::Object => api::Opinion::Object,
        OpinionView::TakenBack => api::Opinion::TakenBack,
    }
    .into()
}

fn line_out(line: &ReturnedLine) -> api::ReturnedLine {
    api::ReturnedLine {
        table: line.table.to_string(),
        row: line.row.to_string(),
        column: line.column.to_string(),
        rule: line.rule.to_string(),
        text: line.text.clone(),
    }
}

/// What was said in the return at a position, as much of it as a board shows.
pub(super) fn given_back(snapshot: &Snapshot, returned: Option<Position>) -> Result<Option<api::GivenBack>, Remark> {
    let Some(position) = returned else { return Ok(None) };
    let envelope = snapshot.event(position)?;
    let (reason, lines) = match &envelope.event {
        Event::VersionMoved(moved) => (&moved.reason, moved.lines.as_slice()),
        Event::AggregateMoved(moved) => (&moved.reason, &[][..]),
        _ => return Ok(None),
    };
    let shown = |line: &ReturnedLine| api::ReturnedLine { text: beginning(&line.text), ..line_out(line) };
    Ok(Some(api::GivenBack {
        position,
        time_ms: envelope.time.0,
        actor: envelope.actor.to_string(),
        reason: beginning(reason),
        lines: lines.iter().take(limits::RETURN_LINES_SHOWN).map(shown).collect(),
        line_count: u32::try_from(lines.len()).unwrap_or(u32::MAX),
    }))
}

/// As much of a text as a board shows.
fn beginning(text: &str) -> String {
    match text.char_indices().nth(limits::RETURN_CHARS_SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

fn member_out(member: &Member) -> api::AggregateMember {
    api::AggregateMember {
        unit: member.unit.to_string(),
        kind: kind_out(member.kind),
        version: member.version,
        position: member.position,
        digest: member.digest.0.to_vec(),
        form_set_digest: member.form_set.0.to_vec(),
        reviewed_position: member.reviewed,
    }
}

/// What was sealed, as it stood then.
pub(super) fn forwarded(envelope: &Envelope, forwarded: &Forwarded) -> api::Aggregate {
    api::Aggregate {
        department: forwarded.department.to_string(),
        version: forwarded.version,
        position: envelope.position,
        time_ms: envelope.time.0,
        state: aggregate_state_out(AggregateState::Forwarded),
        tree_version: forwarded.tree_version,
        round_version: forwarded.round_version,
        members: forwarded.members.iter().map(member_out).collect(),
        digest: forwarded.digest.0.to_vec(),
        text: forwarded.text.clone(),
        reason: String::new(),
    }
}

fn aggregate(snapshot: &Snapshot, aggregate: &Aggregate) -> Result<Option<api::Aggregate>, Remark> {
    let Some(sealed) = aggregate.steps.head() else { return Ok(None) };
    let envelope = snapshot.event(sealed.position)?;
    let Event::Forwarded(event) = &envelope.event else { return Ok(None) };
    let reason = match aggregate.steps.last().filter(|step| step.position != sealed.position) {
        None => String::new(),
        Some(step) => match snapshot.event(step.position)?.event {
            Event::AggregateMoved(moved) => moved.reason,
            _ => String::new(),
        },
    };
    Ok(Some(api::Aggregate { state: aggregate_state_out(aggregate.state()), reason, ..forwarded(&envelope, event) }))
}

/// What became of the lines that the version before was returned for, with what was said about the justified ones.
/// That is as of a position: an answer to a filing never says later what it didn't say first.
pub(super) fn answers(
    snapshot: &Snapshot,
    slot: &Slot,
    version: u32,
    as_of: Position,
) -> Result<Vec<api::LineAnswer>, Remark> {
    let out = |answer: LineAnswer| -> Result<api::LineAnswer, Remark> {
        let mut out = api::LineAnswer { line: Some(line_out(&answer.line)), ..api::LineAnswer::default() };
        let fate = match answer.fate {
            Fate::Changed(cells) => {
                let cell = |cell: crate::ledger::answers::ChangedCell| api::AnsweredCell {
                    cell: cell.cell.to_string(),
                    from: cell.from,
                    to: cell.to,
                };
                out.changed = u32::try_from(cells.len()).unwrap_or(u32::MAX);
                out.cells = cells.into_iter().take(limits::CHANGED_CELLS_MAX).map(cell).collect();
                api::LineFate::Changed
            }
            Fate::Justified(position) => {
                if let Event::Justified(justified) = snapshot.event(position)?.event {
                    let said =
                        justified.items.into_iter().find(|item| Some(item.fingerprint) == answer.line.fingerprint);
                    out.justification = said.map(|item| item.text).unwrap_or_default();
                }
                api::LineFate::Justified
            }
            Fate::Unchanged => api::LineFate::Unchanged,
        };
        out.fate = fate.into();
        Ok(out)
    };
    snapshot.answers(slot, version, as_of)?.into_iter().map(out).collect()
}

/// Where a slot, and the aggregates of its node, stand in review.
pub(super) fn review(
    snapshot: &Snapshot,
    actor: &Actor,
    slot: &Slot,
    now: Timestamp,
    bounds: &Bounds,
) -> Result<api::GetReviewResponse, Remark> {
    let state = &snapshot.state;
    let filings = state.filings(slot);
    let latest = filings.and_then(|filings| filings.latest());
    let seal = seal_over(state, slot, latest);
    let verbs = |legal: Vec<Operation>| legal.into_iter().map(|operation| operation.verb().to_owned()).collect();
    let mut answer = api::GetReviewResponse {
        position: state.position,
        time_ms: now.0,
        slot: Some(slot_out(slot)),
        legal: verbs(legal(state, slot, latest)),
        yours: verbs(legal_for(state, actor, slot, latest)),
        round: Some(round(state, slot.year, slot.round, now)),
        sealed_by: seal.map(|(department, _)| department.to_string()).unwrap_or_default(),
        ..api::GetReviewResponse::default()
    };
    let counting = filings.and_then(|filings| filings.counting()).map(|version| version.version);
    for found in filings.into_iter().flat_map(|filings| filings.versions.iter()) {
        answer.versions.push(version(snapshot, slot, found, counting)?);
    }
    for found in state.aggregates(&slot.unit, slot.year, slot.round).into_iter().flatten() {
        answer.aggregates.extend(aggregate(snapshot, found)?);
    }
    if let Some(last) = state.aggregate(&slot.unit, slot.year, slot.round) {
        let within = (slot.year, slot.round);
        answer.aggregate_legal = verbs(legal_whole(state, last, within));
        answer.aggregate_yours = verbs(legal_whole_for(state, last, within, actor, &slot.unit));
    }
    let Some(latest) = latest else { return Ok(answer) };
    if let (Kind::Unit, Some(version), Some(tree), Some(book)) =
        (slot.kind, counting, state.tree(slot.year), state.control(slot.year, slot.round))
    {
        answer.over = book.over_of(tree, &slot.unit).iter().map(|over| over_out(over, version, Some(tree))).collect();
    }
    answer.unjustified = snapshot.unjustified(slot, latest)?;
    answer.opinions = opinions(snapshot, latest)?;
    answer.figures = figures(snapshot, latest)?;
    answer.reviewed_position = latest.remarks.figures_position();
    if let Some(form) = state.form_set_version(&latest.form_set) {
        let unbalanced = snapshot.unbalanced(latest)?;
        (answer.unbalanced, answer.unbalanced_left_out) =
            Wording::without_sentences(form).findings(&unbalanced, bounds);
    }
    Ok(answer)
}

fn version(
    snapshot: &Snapshot,
    slot: &Slot,
    version: &Version,
    counting: Option<u32>,
) -> Result<api::ReviewedVersion, Remark> {
    let envelope = snapshot.event(version.position)?;
    let cause = match &envelope.event {
        Event::Submitted(submitted) => submitted.adjustment.as_ref().map(|adjustment| adjustment.cause.clone()),
        _ => None,
    };
    let mut steps = Vec::new();
    for step in version.steps.iter().filter(|step| step.position != version.position) {
        let envelope = snapshot.event(step.position)?;
        let Event::VersionMoved(moved) = &envelope.event else { continue };
        steps.push(api::TakenStep {
            position: envelope.position,
            time_ms: envelope.time.0,
            actor: envelope.actor.to_string(),
            step: step_out(moved.step),
            state: state_out(moved.to),
            reason: moved.reason.clone(),
            lines: moved.lines.iter().map(line_out).collect(),
            reviewed_position: if moved.step == Move::Approve { moved.reviewed } else { 0 },
        });
    }
    Ok(api::ReviewedVersion {
        version: Some(version_out(version)),
        actor: envelope.actor.to_string(),
        counts: counting == Some(version.version),
        cause: cause.unwrap_or_default(),
        steps,
        answers: answers(snapshot, slot, version.version, Position::MAX)?,
        figures: u32::try_from(version.remarks.figures_standing()).unwrap_or(u32::MAX),
    })
}

fn opinions(snapshot: &Snapshot, version: &Version) -> Result<Vec<api::OfficeOpinion>, Remark> {
    let Some(form) = snapshot.state.form_set_version(&version.form_set) else { return Ok(Vec::new()) };
    let mut opinions = Vec::new();
    for office in &form.offices {
        let mut out = api::OfficeOpinion {
            office: office.id.to_string(),
            title: office.title.clone(),
            role: office.role.to_string(),
            ..api::OfficeOpinion::default()
        };
        if let Some(position) = version.remarks.opinions.get(&office.id).and_then(|positions| positions.last()) {
            let envelope = snapshot.event(*position)?;
            if let Event::OpinionGiven(given) = &envelope.event {
                out.opinion = opinion_out(given.view);
                out.text = given.text.clone();
                out.actor = envelope.actor.to_string();
                (out.position, out.time_ms) = (envelope.position, envelope.time.0);
            }
        }
        opinions.push(out);
    }
    Ok(opinions)
}

fn figures(snapshot: &Snapshot, version: &Version) -> Result<Vec<api::FigurePair>, Remark> {
    if version.remarks.figures.is_empty() {
        return Ok(Vec::new());
    }
    let Some(form) = snapshot.state.form_set_version(&version.form_set) else { return Ok(Vec::new()) };
    let submission = snapshot.submission(version.position)?;
    let mut pairs = Vec::new();
    for (cell, figure) in &version.remarks.figures {
        let envelope = snapshot.event(figure.position)?;
        let Event::FiguresReviewed(reviewed) = &envelope.event else { continue };
        let item = reviewed.items.iter().find(|item| item.cell == *cell);
        let filed = submission.cell(form, cell).and_then(|cell| cell.amount());
        // Side by side means in one unit, that of the column, and what was filed more finely is shown so.
        let column = form.cell(cell).and_then(|(table, at)| table.columns.get(at));
        let scale = column.and_then(|column| column.kind.print_scale()).or(filed.map(|filed| filed.scale));
        let print = |amount: Amount| {
            let Scale { denomination, decimals } = scale.unwrap_or(amount.scale);
            let decimals = amount.value.exact_decimals(denomination, decimals);
            amount.value.print(Scale { denomination, decimals })
        };
        pairs.push(api::FigurePair {
            cell: cell.to_string(),
            filed: filed.map(print).unwrap_or_default(),
            reviewed: figure.amount.map(print),
            amount_unit: scale.map_or("", |scale| scale.denomination.as_str()).to_owned(),
            actor: envelope.actor.to_string(),
            reason: item.map(|item| item.reason.clone()).unwrap_or_default(),
            position: envelope.position,
            time_ms: envelope.time.0,
        });
    }
    Ok(pairs)
}

// ── events ───────────────────────────────────────────────────────────────────────────────

fn target(slot: &Slot, version: u32) -> Option<api::VersionTarget> {
    Some(api::VersionTarget { slot: Some(slot_out(slot)), version })
}

pub(super) fn opened_event(opened: &RoundOpened) -> api::RoundOpenedEvent {
    api::RoundOpenedEvent {
        year: opened.year.into(),
        round: round_out(opened.round),
        version: opened.version,
        deadline_ms: opened.deadline.map(|deadline| deadline.0),
        reason: opened.reason.clone(),
    }
}

pub(super) fn closed_event(closed: &RoundClosed) -> api::RoundClosedEvent {
    api::RoundClosedEvent {
        year: closed.year.into(),
        round: round_out(closed.round),
        version: closed.version,
        reason: closed.reason.clone(),
    }
}

pub(super) fn moved_event(moved: &VersionMoved) -> api::VersionMovedEvent {
    api::VersionMovedEvent {
        target: target(&moved.slot, moved.version),
        step: step_out(moved.step),
        from: state_out(moved.from),
        to: state_out(moved.to),
        reason: moved.reason.clone(),
        lines: moved.lines.iter().map(line_out).collect(),
        reviewed_position: moved.reviewed,
    }
}

pub(super) fn opinion_event(given: &OpinionGiven) -> api::OpinionGivenEvent {
    api::OpinionGivenEvent {
        target: target(&given.slot, given.version),
        office: given.office.to_string(),
        opinion: opinion_out(given.view),
        text: given.text.clone(),
    }
}

pub(super) fn reviewed_event(reviewed: &FiguresReviewed) -> api::FiguresReviewedEvent {
    let figure = |item: &crate::ledger::event::ReviewedItem| api::ReviewedFigure {
        cell: item.cell.to_string(),
        amount: item.amount.map(|amount| amount.value.print(amount.scale)),
        reason: item.reason.clone(),
    };
    let figures = reviewed.items.iter().map(figure).collect();
    api::FiguresReviewedEvent { target: target(&reviewed.slot, reviewed.version), figures }
}

pub(super) fn aggregate_event(moved: &AggregateMoved) -> api::AggregateMovedEvent {
    api::AggregateMovedEvent {
        target: Some(api::AggregateTarget {
            department: moved.department.to_string(),
            year: moved.year.into(),
            round: round_out(moved.round),
            version: moved.version,
        }),
        step: step_out(moved.step),
        from: aggregate_state_out(moved.from),
        to: aggregate_state_out(moved.to),
        reason: moved.reason.clone(),
    }
}

pub(super) fn forwarded_event(envelope: &Envelope, event: &Forwarded) -> api::ForwardedEvent {
    let aggregate = Some(forwarded(envelope, event));
    api::ForwardedEvent { year: event.year.into(), round: round_out(event.round), aggregate }
}
