//! A filing: whether it can be taken at all, what is found about it, and which event it becomes.

use std::sync::Arc;

use super::control::{blank_under_ceiling, capped, over_ceiling};
use super::{current_form, permit};
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
use crate::ledger::event::{Attempt, Event, Refused, Submitted};
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
}

/// Whether a filing for `slot` can be taken at all, on the form set of that id.
///
/// Asked before the first row is read, so that a hopeless stream is answered early, and again when it is decided.
///
/// # Errors
/// The refusal.
pub fn admit<'s>(state: &'s State, actor: &Actor, slot: &Slot, form_set: &str) -> Result<&'s Arc<FormSet>, Remark> {
    let tree = state.tree(slot.year);
    permit(actor, Operation::Submit, &slot.unit, tree.map(Arc::as_ref))?;
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
    // Until rounds can be opened and closed, the second one counts as open.
    if slot.round != Round::Second {
        return Err(Remark::new(Reason::RoundClosed).with("round", slot.round).with("expected", Round::Second));
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
pub fn judge(state: &State, actor: &Actor, filing: &Filing, contents: &dyn Contents) -> Result<Judged, Remark> {
    let reading = &filing.reading;
    let slot = &reading.submission.header;
    let read_on = &reading.submission.form_set;
    let form = admit(state, actor, slot, &read_on.id)?;
    if form.digest != read_on.digest {
        let remark = Remark::new(Reason::FormSetOutdated).with("form_set", &form.id);
        return Err(remark.with("found", read_on.digest.short()).with("expected", form.digest.short()));
    }
    let version = state.filings(slot).and_then(|filings| filings.latest()).map_or(1, |latest| latest.version + 1);
    if let Some(meant) = filing.version.filter(|meant| *meant != version) {
        return Err(Remark::new(Reason::VersionConflict).with("found", meant).with("expected", version));
    }
    let mut findings = reading.findings.clone();
    let control = state.control(slot.year, slot.round);
    let mut judgements = Vec::new();
    // Ceilings cap what units spend; a department's own print and deltas have none.
    if slot.kind == Kind::Unit
        && let (Some(book), Some(tree)) = (control, state.tree(slot.year))
    {
        judgements = book.judge(tree, &slot.unit, |cell| ControlFigure::filed(&reading.submission, form, cell));
        for judgement in &judgements {
            capped(&judgement.figure, form)?;
        }
        let own = book.of_unit(&slot.unit).filter(|figure| figure.strength != CeilingStrength::None);
        findings.extend(own.filter_map(|figure| blank_under_ceiling(&figure, &reading.submission, form)));
    }
    findings.extend(judgements.iter().filter_map(|judgement| over_ceiling(judgement, &slot.unit)));
    let (grounds, checked) = checks::check(state, form, &reading.submission, filing.ahead.as_ref(), contents)?;
    let control_version = control.map_or(0, |book| book.version);
    Ok(Judged { findings, checked, grounds, judgements, control_version, version })
}

pub(super) fn record(reading: &Reading, judged: Judged) -> Event {
    let (refused, version) = (judged.is_refused(), judged.version);
    let attempt = judged.attempt(reading);
    if refused {
        Event::Refused(Box::new(Refused { attempt }))
    } else {
        Event::Submitted(Box::new(Submitted { attempt, version }))
    }
}
