//! Changing what is approved: 调剂 within the total, 追加 with the ceilings raised in the same event.
//!
//! Either is a whole new filing, judged by rules and ceilings like any other, that names the approved version which it
//! follows. A reallocation is filed by the unit and goes through review again; meanwhile the filed figures count, and if
//! it is withdrawn or returned the approved version counts on. An addition is the bureau's and approved as it is made.

use std::sync::Arc;

use super::control::{ControlOrders, issue};
use super::review::{filed, may_file, text};
use crate::budget::cell::CellAddress;
use crate::budget::control_figure::ControlFigure;
use crate::budget::finding::{Finding, Place};
use crate::budget::form_set::FormSet;
use crate::budget::money::Money;
use crate::budget::reason::{Reason, Remark};
use crate::budget::rule::{Checked, RuleFinding};
use crate::budget::submission::{Slot, Submission};
use crate::budget::unit_tree::BUREAU;
use crate::ledger::actor::{Actor, Role};
use crate::ledger::control::{Ceiling, ControlBook};
use crate::ledger::decide::filing::AdjustmentOrder;
use crate::ledger::event::{Adjustment, ControlIssued, Event};
use crate::ledger::state::{Filings, State, Version};
use crate::ledger::{Contents, Position};

/// Whether an approved budget can be changed this way by this actor.
pub(super) fn admit(state: &State, actor: &Actor, slot: &Slot, order: &AdjustmentOrder) -> Result<(), Remark> {
    let by_bureau = actor.role == Role::Bureau;
    if order.raised.is_empty() == by_bureau {
        let problem = if by_bureau { "raises_nothing" } else { "not_the_bureau" };
        return Err(Remark::new(Reason::AdjustmentInvalid).with("problem", problem).with("slot", slot));
    }
    text(&order.cause, true)?;
    may_file(state, slot, true)?;
    Ok(())
}

/// How a filing follows on the approved version.
pub(super) fn adjustment(
    state: &State,
    slot: &Slot,
    order: &AdjustmentOrder,
    form_set: &str,
    contents: &dyn Contents,
) -> Result<Adjustment, Remark> {
    let illegal = || Remark::new(Reason::AdjustmentInvalid).with("problem", "not_approved").with("slot", slot);
    let base = may_file(state, slot, true)?.ok_or_else(illegal)?;
    let raised = if order.raised.is_empty() { None } else { Some(raise(state, slot, order, form_set, contents)?) };
    Ok(Adjustment { base, cause: text(&order.cause, true)?, raised })
}

/// The ceilings that an addition raises: only up, and only the unit's and those of the nodes above it.
fn raise(
    state: &State,
    slot: &Slot,
    order: &AdjustmentOrder,
    form_set: &str,
    contents: &dyn Contents,
) -> Result<ControlIssued, Remark> {
    let path = state.tree(slot.year).map(|tree| tree.path(&slot.unit)).unwrap_or_default();
    for figure in &order.raised {
        let problem = |problem: &str| {
            let remark = Remark::new(Reason::AdjustmentInvalid).with("problem", problem).with("slot", slot);
            remark.with("unit", &figure.unit).with("cell", &figure.cell)
        };
        if !path.contains(&figure.unit.as_str()) {
            return Err(problem("elsewhere"));
        }
        let before = state.control(slot.year, slot.round).and_then(|book| book.ceiling(&figure.unit, &figure.cell));
        let higher = |before: &Ceiling| figure.ceiling.is_some_and(|(amount, _)| amount > before.amount);
        if !before.is_some_and(higher) {
            return Err(problem("not_raised"));
        }
    }
    let orders = ControlOrders {
        by: BUREAU.into(),
        year: slot.year,
        round: slot.round,
        form_set: form_set.to_owned(),
        reason: text(&order.cause, true)?,
        mark: false,
        figures: order.raised.clone(),
    };
    match issue(state, &orders, contents)? {
        Event::ControlIssued(issued) => Ok(issued),
        _ => Err(Remark::new(Reason::ControlInvalid).with("problem", "empty")),
    }
}

/// The control figures as they are after an addition.
pub(super) fn raised(state: &State, issued: &ControlIssued, contents: &dyn Contents) -> Result<ControlBook, Remark> {
    let mut book = state.control(issued.year, issued.round).cloned().unwrap_or_default();
    if let Some(tree) = state.tree(issued.year) {
        book.change(tree, &issued.changes, &mut state.own_filed(issued.year, issued.round, contents))?;
    }
    book.version = issued.version;
    Ok(book)
}

/// What a reallocation must leave as it was, and doesn't: the totals that the form set names, as they were approved,
/// which is as they were reviewed.
pub(super) fn out_of_balance(
    state: &State,
    slot: &Slot,
    adjustment: &Adjustment,
    (after, form): (&Submission, &FormSet),
    contents: &dyn Contents,
) -> Result<Vec<Finding>, Remark> {
    if form.adjust_totals.is_empty() {
        let remark = Remark::new(Reason::AdjustmentInvalid).with("problem", "no_total");
        return Err(remark.with("slot", slot).with("form_set", &form.id));
    }
    let damaged = || Remark::new(Reason::JournalDamaged).with("position", state.position).with("what", "version");
    let base = state.filings(slot).and_then(|filings| filings.version(adjustment.base)).ok_or_else(damaged)?;
    let approved = Figures::of(state, base, contents)?;
    let moved = |cell: &CellAddress| moved(cell, approved.get(cell), ControlFigure::filed(after, form, cell));
    Ok(form.adjust_totals.iter().filter_map(moved).collect())
}

/// Whether a reallocation that is to be approved still leaves the totals as they were: what reviewers set counts too.
pub(super) fn stays_in_balance(
    state: &State,
    filings: &Filings,
    version: &Version,
    contents: &dyn Contents,
) -> Result<(), Remark> {
    let Some(base) = version.adjusts.and_then(|base| filings.version(base)) else { return Ok(()) };
    let (before, after) = (Figures::of(state, base, contents)?, Figures::of(state, version, contents)?);
    let mut moved = after.form.adjust_totals.iter().filter_map(|cell| moved(cell, before.get(cell), after.get(cell)));
    moved.next().map_or(Ok(()), |finding| Err(finding.remark))
}

fn moved(cell: &CellAddress, from: Money, to: Money) -> Option<Finding> {
    if from == to {
        return None;
    }
    let remark = Remark::new(Reason::AdjustmentMoved).with("cell", cell).with("from", from).with("to", to);
    Some(Finding::refusing(Place::address(cell), remark.with("difference", to - from)))
}

/// The figures of a version as they are approved: a reviewed one stands before the filed.
struct Figures<'s> {
    version: &'s Version,
    form: &'s FormSet,
    submission: Arc<Submission>,
}

impl<'s> Figures<'s> {
    fn of(state: &'s State, version: &'s Version, contents: &dyn Contents) -> Result<Figures<'s>, Remark> {
        let (form, submission) = filed(state, version, contents)?;
        Ok(Figures { version, form, submission })
    }

    fn get(&self, cell: &CellAddress) -> Money {
        self.version.approvable(&self.submission, self.form, cell)
    }
}

/// An addition is approved as it is made, so what is to be explained must be explained before.
pub(super) fn unjustified(
    state: &State,
    slot: &Slot,
    version: u32,
    form: &FormSet,
    checked: &Checked,
) -> Option<Finding> {
    let said = |finding: &&RuleFinding| {
        let fingerprint = form.rules.fingerprint(finding);
        state.filings(slot).is_some_and(|filings| filings.justified_at(&fingerprint, Position::MAX).is_some())
    };
    let to_justify = checked.findings.iter().filter(|finding| finding.must_be_justified());
    let open: Vec<&RuleFinding> = to_justify.filter(|finding| !said(finding)).collect();
    let first = open.first()?;
    let remark = Remark::new(Reason::FindingsUnjustified).with("slot", slot).with("version", version);
    let remark = remark.with("found", open.len());
    let list = open.iter().map(|finding| format!("{} {}", finding.rule, finding.place));
    Some(Finding::refusing(Place::address(&first.place), remark.with_list("findings", list)))
}
