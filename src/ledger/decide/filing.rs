//! A filing: whether it can be taken at all, what is found about it, and which event it becomes.

use std::sync::Arc;

use super::control::{FigureOrder, blank_under_ceiling, capped, over_ceiling};
use super::{adjust, current_form, permit, review};
use crate::budget::control_figure::{CeilingStrength, ControlFigure, Judgement};
use crate::budget::finding::Finding;
use crate::budget::form_set::FormSet;
use crate::budget::intake::Reading;
use crate::budget::reason::{Reason, Remark};
use crate::budget::rule::Checked;
use crate::budget::submission::{Kind, Round, Slot};
use crate::ledger::Contents;
use crate::ledger::actor::{Actor, Operation};
use crate::ledger::checks::{self, Ahead, Grounds, Verdicts};
use crate::ledger::control::ControlChange;
use crate::ledger::event::{Adjustment, Attempt, Event, Refused, Submitted, Timestamp};
use crate::ledger::round;
use crate::ledger::state::State;

/// A filing that was read, ready to be decided.
#[derive(Debug)]
pub struct Filing {
    /// What was read.
    pub reading: Arc<Reading>,
    /// The version that the sender means it to be; `None` for the next one, whichever that is.
    pub version: Option<u32>,
    /// What rules found before it was its turn.
    pub ahead: Option<Ahead>,
    /// If it changes an approved version: why.
    pub adjustment: Option<AdjustmentOrder>,
}

/// How an approved budget is to be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdjustmentOrder {
    /// Why.
    pub cause: String,
    /// The ceilings to raise in the same event (追加): the bureau's. None for a reallocation within the total (调剂).
    pub raised: Vec<FigureOrder>,
}

impl AdjustmentOrder {
    /// All that it says, in one way whoever writes it down: a line for the cause, and one for each ceiling.
    pub fn said(&self, form: &FormSet, round: Round) -> String {
        let mut raised: Vec<String> = self
            .raised
            .iter()
            .map(|figure| {
                let default = ControlFigure::default_strength(form, &figure.cell).unwrap_or(CeilingStrength::Hard);
                let strength = figure.strength.unwrap_or(default).in_round(round).as_str();
                let (unit, cell) = (&figure.unit, &figure.cell);
                let ceiling = figure.ceiling.map_or_else(String::new, |(amount, scale)| {
                    format!("{amount} {} {}", scale.denomination.as_str(), scale.decimals)
                });
                format!("{unit} {cell} {ceiling} {strength}\n")
            })
            .collect();
        raised.sort();
        format!("{}\n{}", self.cause.trim(), raised.concat())
    }

    /// The order that was decided so.
    pub fn of(adjustment: &Adjustment) -> AdjustmentOrder {
        let changes = adjustment.raised.iter().flat_map(|issued| &issued.changes);
        let figure = |(line, change): (u32, &ControlChange)| FigureOrder {
            line,
            unit: change.unit.clone(),
            cell: change.cell.clone(),
            ceiling: change.after.as_ref().map(|after| (after.amount, after.scale)),
            strength: change.after.as_ref().map(|after| after.strength),
        };
        AdjustmentOrder { cause: adjustment.cause.clone(), raised: (1..).zip(changes).map(figure).collect() }
    }
}

/// Whether a filing for `slot` can be taken at all, on the form set of that id.
///
/// Asked before the first row is read, so that a hopeless stream is answered early, and again when it is decided.
///
/// # Errors
/// The refusal.
pub fn admit<'s>(
    state: &'s State,
    actor: &Actor,
    slot: &Slot,
    form_set: &str,
    (adjustment, now): (Option<&AdjustmentOrder>, Timestamp),
) -> Result<&'s Arc<FormSet>, Remark> {
    let tree = state.tree(slot.year);
    let operation = if adjustment.is_some() { Operation::Adjust } else { Operation::Submit };
    permit(actor, operation, &slot.unit, tree.map(Arc::as_ref))?;
    let tree = tree.ok_or_else(|| Remark::new(Reason::UnknownYear).with("year", slot.year))?;
    let node = tree
        .node(&slot.unit)
        .ok_or_else(|| Remark::new(Reason::UnknownUnit).with("unit", &slot.unit).with("year", slot.year))?;
    match slot.kind {
        Kind::Unit if !node.budgeted => return Err(Remark::new(Reason::UnitNotBudgeted).with("unit", &slot.unit)),
        Kind::Unit => {}
        // Only who has units below has a department budget, or something to adjust.
        Kind::Department | Kind::Difference if tree.children(&slot.unit).is_empty() => {
            return Err(Remark::new(Reason::KindNotTaken).with("kind", slot.kind).with("unit", &slot.unit));
        }
        Kind::Department | Kind::Difference => {}
    }
    let form = current_form(state, form_set, slot.year)?;
    if !form.kinds.contains(&slot.kind) {
        return Err(Remark::new(Reason::KindNotTaken).with("kind", slot.kind).with("form_set", form_set));
    }
    match adjustment {
        // Changes of what is approved know no round.
        Some(order) => adjust::admit(state, actor, slot, order)?,
        None => {
            round::admits(state, slot.year, slot.round, now)?;
            review::may_file(state, slot, false)?;
        }
    }
    Ok(form)
}

/// A filing with everything that was found about it: what a dry run answers, and what an event records.
#[derive(Debug)]
pub struct Judged {
    /// Shape and ceilings, in a stable order.
    pub findings: Vec<Finding>,
    /// Check rules.
    pub checked: Arc<Checked>,
    /// What those looked at beside the filing.
    pub grounds: Grounds,
    /// Each control figure of the unit.
    pub judgements: Vec<Judgement>,
    /// The version of the control figures.
    pub control_version: u32,
    /// The version that it would be.
    pub version: u32,
    /// If it changes an approved version: how.
    pub adjustment: Option<Adjustment>,
}

impl Judged {
    /// Whether the filing is refused.
    pub fn is_refused(&self) -> bool {
        self.findings.iter().any(Finding::refuses) || self.checked.refuses()
    }

    /// The filing as judged.
    pub fn attempt(self, reading: &Reading) -> Attempt {
        Attempt {
            slot: reading.submission.header.clone(),
            form_set: reading.submission.form_set.clone(),
            digest: reading.digest,
            control_total: reading.control_total,
            row_count: reading.row_count,
            findings: self.findings,
            verdicts: Verdicts::new(&self.checked, self.grounds),
            judgements: self.judgements,
            control_version: self.control_version,
        }
    }
}

/// Judges a filing against the state, without changing anything.
///
/// # Errors
/// The refusal, if it can't be taken at all.
pub fn judge(
    state: &State,
    actor: &Actor,
    filing: &Filing,
    now: Timestamp,
    contents: &dyn Contents,
) -> Result<Judged, Remark> {
    let reading = &filing.reading;
    let slot = &reading.submission.header;
    let read_on = &reading.submission.form_set;
    let form = admit(state, actor, slot, &read_on.id, (filing.adjustment.as_ref(), now))?;
    if form.digest != read_on.digest {
        let remark = Remark::new(Reason::FormSetOutdated).with("form_set", &form.id);
        return Err(remark.with("found", read_on.digest.short()).with("expected", form.digest.short()));
    }
    let version = state.filings(slot).and_then(|filings| filings.latest()).map_or(1, |latest| latest.version + 1);
    if let Some(meant) = filing.version.filter(|meant| *meant != version) {
        return Err(Remark::new(Reason::VersionConflict).with("found", meant).with("expected", version));
    }
    let mut findings = reading.findings.clone();
    let order = filing.adjustment.as_ref();
    let adjustment = order.map(|order| adjust::adjustment(state, slot, order, &read_on.id, contents)).transpose()?;
    let raised = adjustment.as_ref().and_then(|adjustment| adjustment.raised.as_ref());
    let raised = raised.map(|issued| adjust::raised(state, issued, contents)).transpose()?;
    let control = raised.as_ref().or_else(|| state.control(slot.year, slot.round));
    let mut judgements = Vec::new();
    // Ceilings cap what units spend; a department's own print and deltas have none.
    if slot.kind == Kind::Unit
        && let (Some(book), Some(tree)) = (control, state.tree(slot.year))
    {
        judgements = book.judge(tree, &slot.unit, |cell| ControlFigure::filed(&reading.submission, form, cell));
        for judgement in &judgements {
            capped(&judgement.figure, form)?;
        }
        let blank = |figure| blank_under_ceiling(figure, &slot.unit, &reading.submission, form);
        findings.extend(judgements.iter().filter_map(|judgement| blank(&judgement.figure)));
    }
    findings.extend(judgements.iter().filter_map(|judgement| over_ceiling(judgement, &slot.unit)));
    if let Some(adjustment) = adjustment.as_ref().filter(|adjustment| adjustment.raised.is_none()) {
        findings.extend(adjust::out_of_balance(state, slot, adjustment, (&reading.submission, form), contents)?);
    }
    let (grounds, checked) = checks::check(state, form, &reading.submission, filing.ahead.as_ref(), contents)?;
    if adjustment.as_ref().is_some_and(|adjustment| adjustment.raised.is_some()) {
        findings.extend(adjust::unjustified(state, slot, version, form, &checked));
    }
    let control_version = control.map_or(0, |book| book.version);
    Ok(Judged { findings, checked, grounds, judgements, control_version, version, adjustment })
}

pub(super) fn record(filing: &Filing, mut judged: Judged) -> Event {
    let (refused, version) = (judged.is_refused(), judged.version);
    let adjustment = judged.adjustment.take();
    let attempt = judged.attempt(&filing.reading);
    if refused {
        Event::Refused(Box::new(Refused { attempt, adjustment }))
    } else {
        Event::Submitted(Box::new(Submitted { attempt, version, adjustment }))
    }
}
