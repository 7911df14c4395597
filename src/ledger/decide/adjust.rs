//! Changing what is approved: 调剂 within the total, 追加 with the ceilings raised in the same event.
//!
//! Either is a whole new filing, judged by rules and ceilings like any other, that names the approved version which it
//! follows. A reallocation is filed by the unit and goes through review again; meanwhile the filed figures count, and if
//! it is withdrawn or returned the approved version counts on. An addition is the bureau's and approved as it is made.

use super::control::{ControlOrders, issue};
use super::review::{may_file, text};
use crate::budget::cell::CellAddress;
use crate::budget::finding::{Finding, Place};
use crate::budget::form_set::FormSet;
use crate::budget::money::Money;
use crate::budget::reason::{Reason, Remark};
use crate::budget::submission::{Slot, Submission};
use crate::budget::unit_tree::BUREAU;
use crate::ledger::Contents;
use crate::ledger::actor::{Actor, Role};
use crate::ledger::control::{Ceiling, ControlBook};
use crate::ledger::decide::filing::AdjustmentOrder;
use crate::ledger::event::{Adjustment, ControlIssued, Event};
use crate::ledger::state::State;

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
        reason: order.cause.clone(),
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
    let before_form = state.form_set_version(&base.form_set).ok_or_else(damaged)?;
    let before = contents.submission(base.position)?;
    let value = |submission: &Submission, form: &FormSet, cell: &CellAddress| {
        submission.cell(form, cell).and_then(|cell| cell.amount()).map_or(Money::ZERO, |amount| amount.value)
    };
    let approved = |cell: &CellAddress| {
        let reviewed = base.remarks.figures.get(cell).and_then(|figure| figure.amount);
        reviewed.map_or_else(|| value(&before, before_form, cell), |amount| amount.value)
    };
    let moved = |cell: &CellAddress| {
        let (from, to) = (approved(cell), value(after, form, cell));
        if from == to {
            return None;
        }
        let remark = Remark::new(Reason::AdjustmentMoved).with("cell", cell).with("from", from).with("to", to);
        Some(Finding::refusing(Place::address(cell), remark.with("difference", to - from)))
    };
    Ok(form.adjust_totals.iter().filter_map(moved).collect())
}
