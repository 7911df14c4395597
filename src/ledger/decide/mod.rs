//! Decide: a command, looked at in the light of the state, becomes an event, a repeat or a refusal.
//!
//! Nothing changes here. The writer applies what was decided before it decides the next command,
//! so two commands of one group can't both use the same headroom or version.

mod adjust;
mod control;
mod filing;
mod justify;
mod registry;
mod review;
mod round;

use std::sync::Arc;

use super::actor::{Actor, Operation, may, may_whole};
use super::event::{Envelope, Event, FormSetPublished, IdempotencyKey, Justification, Looked, ReviewedItem, Timestamp};
use super::review::OpinionView;
use super::state::State;
use super::{Contents, Position};
use crate::budget::digest::Digest;
use crate::budget::form_set::{FormFiles, FormSet};
use crate::budget::reason::{Reason, Remark};
use crate::budget::rule::Checked;
use crate::budget::submission::{FormSetVersion, Round, Slot, UnitCode};
use crate::budget::unit_tree::{BUREAU, Node, UnitTree};
pub(super) use control::operation as control_operation;
pub use control::{
    CONTROL_REASON_CHARS_MAX, ControlOrders, ControlPlan, FigureOrder, LineFault, follows as issue_follows,
    plan as plan_control,
};
pub use filing::{AdjustmentOrder, Filing, Judged, admit, judge};
pub use justify::{JUSTIFICATION_CHARS_MAX, JUSTIFICATIONS_MAX};
pub use review::{
    AggregateStep, FigureSet, REVIEW_CHARS_MAX, REVIEW_LINES_MAX, Target, VersionStep, aggregate_digest,
    aggregate_leads_to, figures_follow, find_line, leads_to, legal, legal_for, legal_whole, legal_whole_for, seal_over,
    seals_what_counts,
};

/// Bytes of an idempotency key.
pub const REQUEST_KEY_BYTES_MAX: usize = 64;

/// A command with all that decides it besides the state.
#[derive(Debug)]
pub struct Command {
    /// Who asks.
    pub actor: Actor,
    /// The key of the request.
    pub key: IdempotencyKey,
    /// What the request says, as a digest.
    pub fingerprint: Digest,
    /// When it is decided; the time that its event is logged with.
    pub time: Timestamp,
    /// What is asked for.
    pub action: Action,
}

/// What is asked for.
#[derive(Debug)]
pub enum Action {
    /// Put a form set in force.
    PublishFormSet {
        /// Its files, loaded already.
        form: Arc<FormSet>,
    },
    /// Put a year's unit tree in force.
    ImportUnits {
        /// Budget year.
        year: u16,
        /// All nodes.
        nodes: Vec<Node>,
    },
    /// Issue control figures, or split one's own.
    Control(ControlOrders),
    /// File a submission.
    Submit(Filing),
    /// Say why rules fail.
    Justify {
        /// Whose submission.
        slot: Slot,
        /// The version or refused attempt whose findings they are.
        position: Position,
        /// What is said about findings that it has: whoever asks has looked them up.
        items: Vec<Justification>,
    },
    /// Note that somebody looked, who had leave to.
    Look(Looked),
    /// Open a round, open it again, or move its deadline.
    OpenRound {
        /// Budget year.
        year: u16,
        /// Round.
        round: Round,
        /// Until when it takes filings, if there is a deadline.
        deadline: Option<Timestamp>,
        /// Why.
        reason: String,
    },
    /// Close a round.
    CloseRound {
        /// Budget year.
        year: u16,
        /// Round.
        round: Round,
        /// Why.
        reason: String,
    },
    /// Withdraw, return, accept, approve or reopen a version.
    Step(VersionStep),
    /// Give an office's opinion.
    GiveOpinion {
        /// The version.
        target: Target,
        /// Id of the office.
        office: String,
        /// What it makes of it.
        view: OpinionView,
        /// What it says.
        text: String,
    },
    /// Set reviewed figures.
    ReviewFigures {
        /// The version.
        target: Target,
        /// The figures.
        figures: Vec<FigureSet>,
    },
    /// Seal a department's aggregate and send it to the bureau.
    Forward {
        /// The department.
        department: UnitCode,
        /// Budget year.
        year: u16,
        /// Round.
        round: Round,
        /// What it says.
        text: String,
    },
    /// Return, approve or reopen an aggregate.
    StepAggregate(AggregateStep),
}

impl Action {
    /// The operation that it is.
    pub fn operation(&self) -> Operation {
        match self {
            Action::PublishFormSet { .. } => Operation::PublishFormSet,
            Action::ImportUnits { .. } => Operation::ImportUnits,
            Action::Control(orders) => orders.operation(),
            Action::Submit(filing) if filing.adjustment.is_some() => Operation::Adjust,
            Action::Submit(_) => Operation::Submit,
            Action::Justify { .. } => Operation::Justify,
            Action::Look(_) => Operation::Read,
            Action::OpenRound { .. } => Operation::OpenRound,
            Action::CloseRound { .. } => Operation::CloseRound,
            Action::Step(order) => Operation::of_move(order.step),
            Action::GiveOpinion { .. } => Operation::GiveOpinion,
            Action::ReviewFigures { .. } => Operation::ReviewFigures,
            Action::Forward { .. } => Operation::Forward,
            Action::StepAggregate(order) => Operation::of_move(order.step),
        }
    }
}

/// What became of a command.
#[derive(Debug, PartialEq)]
pub enum Decision {
    /// This happens; of a filing, with all that rules found.
    Record(Box<Event>, Option<Arc<Checked>>),
    /// It happened before, at that position: the same answer again.
    Repeat(Position),
}

/// Decides a command.
///
/// # Errors
/// The refusal, if it can't be done. Findings are no errors: a filing with refusing findings is a `Refused` event.
pub fn decide(state: &State, command: &Command, contents: &dyn Contents) -> Result<Decision, Remark> {
    let Command { actor, key, fingerprint, time, action } = command;
    if key.is_empty() || key.len() > REQUEST_KEY_BYTES_MAX {
        return Err(Remark::new(Reason::BadRequest).with("field", "idempotency_key").with("expected", "1–64"));
    }
    if let Some(used) = state.key_use(actor, action.operation(), key) {
        if used.fingerprint == *fingerprint {
            return Ok(Decision::Repeat(used.position));
        }
        return Err(Remark::new(Reason::KeyReused).with("key", key).with("position", used.position));
    }
    let event = match action {
        Action::PublishFormSet { form } => {
            permit(actor, Operation::PublishFormSet, BUREAU, None)?;
            let form_set = FormSetVersion { id: form.id.clone(), digest: form.digest };
            let files: Arc<FormFiles> = form.files.clone();
            Event::FormSetPublished(FormSetPublished { form_set, files })
        }
        Action::ImportUnits { year, nodes } => {
            permit(actor, Operation::ImportUnits, BUREAU, None)?;
            registry::import_units(state, *year, nodes, contents)?
        }
        Action::Control(orders) => {
            permit(actor, orders.operation(), &orders.by, state.tree(orders.year).map(Arc::as_ref))?;
            control::issue(state, orders, contents)?
        }
        Action::Submit(filing) => {
            let judged = judge(state, actor, filing, *time, contents)?;
            let checked = judged.checked.clone();
            return Ok(Decision::Record(Box::new(filing::record(filing, judged)), Some(checked)));
        }
        Action::Justify { slot, position, items } => {
            permit(actor, Operation::Justify, &slot.unit, state.tree(slot.year).map(Arc::as_ref))?;
            justify::justify(state, slot, *position, items)?
        }
        Action::Look(look) => {
            permit(actor, Operation::Read, &look.node, None)?;
            Event::Looked(look.clone())
        }
        Action::OpenRound { year, round, deadline, reason } => {
            permit(actor, Operation::OpenRound, BUREAU, None)?;
            round::open(state, (*year, *round), *deadline, reason, *time)?
        }
        Action::CloseRound { year, round, reason } => {
            permit(actor, Operation::CloseRound, BUREAU, None)?;
            round::close(state, (*year, *round), reason)?
        }
        Action::Step(order) => {
            permit_on(state, actor, action, &order.target.slot)?;
            review::step(state, actor, order, *time, contents)?
        }
        Action::GiveOpinion { target, office, view, text } => {
            permit_on(state, actor, action, &target.slot)?;
            review::give_opinion(state, actor, target, (office, *view), text)?
        }
        Action::ReviewFigures { target, figures } => {
            permit_on(state, actor, action, &target.slot)?;
            review::review_figures(state, actor, target, figures, contents)?
        }
        Action::Forward { department, year, round, text } => {
            permit(actor, Operation::Forward, department, state.tree(*year).map(Arc::as_ref))?;
            review::forward(state, department, (*year, *round), text)?
        }
        Action::StepAggregate(order) => {
            let tree = state.tree(order.year).map(Arc::as_ref);
            if !may_whole(actor, order.step, &order.department, tree) {
                return Err(Remark::new(Reason::NotPermitted).with("actor", actor).with("node", &order.department));
            }
            review::step_aggregate(state, actor, order, contents)?
        }
    };
    Ok(Decision::Record(Box::new(event), None))
}

/// Whether an event is what is decided in that state if it is ordered again by whoever it names, at its time and under its
/// key. Of a filing, and of what its owner gave up, only whether the key was free then; of an issue of ceilings also whether
/// that was theirs to give: what else those say is worked out elsewhere ([`judge`], [`issue_follows`]). Which findings a
/// version had to have explained, and what the lines of a return mean, has to be looked up, as it was then.
pub fn decided_so(state: &State, envelope: &Envelope, contents: &dyn Contents) -> bool {
    let Envelope { actor, key, fingerprint, time, event, .. } = envelope;
    if let Some(action) = ordered(state, event) {
        let command =
            Command { actor: actor.clone(), key: key.clone(), fingerprint: *fingerprint, time: *time, action };
        let again = decide(state, &command, contents);
        return matches!(again, Ok(Decision::Record(again, _)) if *again == *event);
    }
    let theirs = match event {
        Event::ControlIssued(issued) => {
            may(actor, event.operation(), &issued.by, state.tree(issued.year).map(Arc::as_ref))
        }
        _ => true,
    };
    let free = state.key_use(actor, event.operation(), key).is_none();
    theirs && free && (1..=REQUEST_KEY_BYTES_MAX).contains(&key.len())
}

/// What was ordered when that happened, if the event says all of it.
fn ordered(state: &State, event: &Event) -> Option<Action> {
    let target = |slot: &Slot, version| Target { slot: slot.clone(), version };
    Some(match event.clone() {
        Event::FormSetPublished(published) => {
            let known = state.form_set_version(&published.form_set.digest).cloned();
            let read = || FormSet::load((*published.files).clone()).ok().map(Arc::new);
            Action::PublishFormSet { form: known.or_else(read)? }
        }
        Event::UnitsImported(imported) => Action::ImportUnits { year: imported.year, nodes: imported.nodes },
        Event::Justified(said) => Action::Justify { slot: said.slot, position: said.position, items: said.items },
        Event::Looked(looked) => Action::Look(looked),
        Event::RoundOpened(opened) => Action::OpenRound {
            year: opened.year,
            round: opened.round,
            deadline: opened.deadline,
            reason: opened.reason,
        },
        Event::RoundClosed(closed) => {
            Action::CloseRound { year: closed.year, round: closed.round, reason: closed.reason }
        }
        Event::VersionMoved(moved) => Action::Step(VersionStep {
            target: target(&moved.slot, moved.version),
            step: moved.step,
            reason: moved.reason,
            lines: moved.lines,
            to_justify: Vec::new(),
            reviewed: Some(moved.reviewed),
        }),
        Event::OpinionGiven(given) => Action::GiveOpinion {
            target: target(&given.slot, given.version),
            office: given.office.to_string(),
            view: given.view,
            text: given.text,
        },
        Event::FiguresReviewed(reviewed) => {
            let figure = |item: ReviewedItem| FigureSet { cell: item.cell, amount: item.amount, reason: item.reason };
            let figures = reviewed.items.into_iter().map(figure).collect();
            Action::ReviewFigures { target: target(&reviewed.slot, reviewed.version), figures }
        }
        Event::Forwarded(forwarded) => Action::Forward {
            department: forwarded.department,
            year: forwarded.year,
            round: forwarded.round,
            text: forwarded.text,
        },
        Event::AggregateMoved(moved) => Action::StepAggregate(AggregateStep {
            department: moved.department,
            year: moved.year,
            round: moved.round,
            version: moved.version,
            step: moved.step,
            reason: moved.reason,
        }),
        Event::ControlIssued(_) | Event::Submitted(_) | Event::Refused(_) | Event::TailGivenUp(_) => return None,
    })
}

fn permit(actor: &Actor, operation: Operation, node: &str, tree: Option<&UnitTree>) -> Result<(), Remark> {
    if may(actor, operation, node, tree) {
        return Ok(());
    }
    Err(Remark::new(Reason::NotPermitted).with("actor", actor).with("node", node))
}

fn permit_on(state: &State, actor: &Actor, action: &Action, slot: &Slot) -> Result<(), Remark> {
    permit(actor, action.operation(), &slot.unit, state.tree(slot.year).map(Arc::as_ref))
}

fn current_form<'s>(state: &'s State, id: &str, year: u16) -> Result<&'s Arc<FormSet>, Remark> {
    let form = state.form_set(id).ok_or_else(|| {
        let known: Vec<&str> = state.form_sets().map(|form| form.id.as_str()).collect();
        Remark::new(Reason::UnknownFormSet).with("found", id).with_list("expected", known)
    })?;
    form.is_of(year)?;
    Ok(form)
}
