//! Issuing control figures, and judging a filing by them.

use super::current_form;
use crate::budget::cell::CellAddress;
use crate::budget::control_figure::{CeilingStrength, ControlFigure, Judgement};
use crate::budget::finding::{Finding, Place};
use crate::budget::form_set::FormSet;
use crate::budget::intake::Reading;
use crate::budget::money::{Money, Scale};
use crate::budget::reason::{Reason, Remark};
use crate::budget::submission::{Round, Slot, Submission, UnitCode};
use crate::ledger::control::ControlBook;
use crate::ledger::event::{ControlIssued, Event};
use crate::ledger::state::State;
use crate::ledger::{Contents, view};

/// A control figure as ordered: the strength may be left to the form set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FigureOrder {
    /// The unit.
    pub unit: UnitCode,
    /// The cell.
    pub cell: CellAddress,
    /// The ceiling.
    pub ceiling: Money,
    /// The scale that it is issued in.
    pub scale: Scale,
    /// Its strength, or the form set's default.
    pub strength: Option<CeilingStrength>,
}

pub(super) fn issue(
    state: &State,
    year: u16,
    round: Round,
    form_set: &str,
    orders: &[FigureOrder],
) -> Result<Event, Remark> {
    let tree = state.tree(year).ok_or_else(|| Remark::new(Reason::UnknownYear).with("year", year))?;
    let form = current_form(state, form_set, year)?;
    if orders.is_empty() {
        return Err(Remark::new(Reason::ControlInvalid).with("problem", "empty"));
    }
    let mut figures: Vec<ControlFigure> = Vec::with_capacity(orders.len());
    for order in orders {
        let node = tree
            .node(&order.unit)
            .ok_or_else(|| Remark::new(Reason::UnknownUnit).with("unit", &order.unit).with("year", year))?;
        if !node.budgeted && tree.children(&node.code).is_empty() {
            return Err(Remark::new(Reason::UnitNotBudgeted).with("unit", &order.unit));
        }
        if form.cell(&order.cell).is_none() {
            return Err(Remark::new(Reason::UnknownCell).with("cell", &order.cell).with("form_set", &form.id));
        }
        let default = ControlFigure::default_strength(form, &order.cell)
            .ok_or_else(|| Remark::new(Reason::NotControllable).with("cell", &order.cell))?;
        if order.ceiling.is_negative() {
            let remark = Remark::new(Reason::ControlInvalid).with("problem", "negative").with("unit", &order.unit);
            return Err(remark.with("cell", &order.cell).with("found", order.ceiling.print(order.scale)));
        }
        figures.push(ControlFigure {
            unit: order.unit.clone(),
            cell: order.cell.clone(),
            ceiling: order.ceiling,
            scale: order.scale,
            strength: order.strength.unwrap_or(default),
        });
    }
    figures.sort_by(|a, b| (&a.unit, &a.cell).cmp(&(&b.unit, &b.cell)));
    if let Some(pair) = figures.windows(2).find(|pair| (&pair[0].unit, &pair[0].cell) == (&pair[1].unit, &pair[1].cell))
    {
        let remark = Remark::new(Reason::ControlInvalid).with("problem", "duplicate");
        return Err(remark.with("unit", &pair[0].unit).with("cell", &pair[0].cell));
    }
    let version = state.control(year, round).map_or(0, |book| book.version) + 1;
    Ok(Event::ControlIssued(ControlIssued { year, round, version, figures }))
}

/// A control figure, if the form set has the cell that it caps. A filing on another form set can't slip by its ceiling.
pub(super) fn capped<'b>(figure: &'b ControlFigure, form: &FormSet) -> Result<&'b ControlFigure, Remark> {
    if form.cell(&figure.cell).is_some() {
        return Ok(figure);
    }
    Err(Remark::new(Reason::CeilingElsewhere)
        .with("cell", &figure.cell)
        .with("form_set", &form.id)
        .with("unit", &figure.unit))
}

/// Judges the ceilings of the nodes that have this unit below them, or are it and have others below: what all their
/// units have filed, with this filing in place of its forerunner.
pub(super) fn judge_pools(
    state: &State,
    slot: &Slot,
    book: &ControlBook,
    reading: &Reading,
    form: &FormSet,
    contents: &dyn Contents,
) -> Result<Vec<Judgement>, Remark> {
    let Some(tree) = state.tree(slot.year) else { return Ok(Vec::new()) };
    let is_leaf = tree.children(&slot.unit).is_empty();
    let pools: Vec<&str> = tree.path(&slot.unit).into_iter().skip(usize::from(is_leaf)).collect();
    if pools.iter().all(|node| book.of_unit(node).next().is_none()) {
        return Ok(Vec::new());
    }
    // The version before may stand on another version of the form set, with its tables elsewhere.
    let before = view::filing(state, slot, contents)?
        .and_then(|(version, submission)| Some((state.form_set_version(&version.form_set)?, submission)));
    let mut judgements = Vec::new();
    for node in pools {
        for figure in book.of_unit(node) {
            let capped = capped(figure, form)?;
            let at = Slot { unit: node.into(), ..slot.clone() };
            let others = view::reported(state, &at, &figure.cell).unwrap_or(Money::ZERO);
            let replaced = before.as_ref().map_or(Money::ZERO, |(form, submission)| capped.filed(submission, form));
            let filed = others - replaced + capped.filed(&reading.submission, form);
            judgements.push(figure.judge_filed(filed));
        }
    }
    Ok(judgements)
}

/// Nothing filed where a ceiling stands is not the same as 0: it counts as nothing, and is asked about.
pub(super) fn blank_under_ceiling(figure: &ControlFigure, submission: &Submission, form: &FormSet) -> Option<Finding> {
    let filed = submission.cell(form, &figure.cell).is_some_and(|cell| !cell.is_blank());
    let remark = || {
        Remark::new(Reason::CappedCellBlank)
            .with("cell", &figure.cell)
            .with("ceiling", figure.ceiling.print(figure.scale))
            .with("amount_unit", figure.scale.denomination.as_str())
    };
    (!filed).then(|| Finding::verify(Place::address(&figure.cell), remark()))
}

pub(super) fn over_ceiling(judgement: &Judgement) -> Option<Finding> {
    if !judgement.is_over() {
        return None;
    }
    let figure = &judgement.figure;
    let reason = if judgement.refuses() { Reason::OverCeiling } else { Reason::OverAdvisoryCeiling };
    let remark = Remark::new(reason)
        .with("unit", &figure.unit)
        .with("cell", &figure.cell)
        .with("ceiling", figure.ceiling.print(figure.scale))
        .with("filed", judgement.filed.print(figure.scale))
        .with("over", judgement.headroom.abs().print(figure.scale))
        .with("amount_unit", figure.scale.denomination.as_str());
    let place = Place::address(&figure.cell);
    Some(if judgement.refuses() { Finding::refusing(place, remark) } else { Finding::verify(place, remark) })
}
