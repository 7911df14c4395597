//! Issuing and splitting control figures, and what a filing is told about them.
//!
//! A list is carried out on a copy of the book and looked at there: whoever raises a ceiling in another event
//! ([`plan`] with the same orders) keeps the same invariants.

use std::collections::{BTreeMap, BTreeSet};

use super::current_form;
use crate::budget::cell::CellAddress;
use crate::budget::control_figure::{CeilingStrength, ControlFigure, Judgement};
use crate::budget::finding::{Finding, Place};
use crate::budget::form_set::FormSet;
use crate::budget::money::{Money, Scale};
use crate::budget::reason::{Reason, Remark};
use crate::budget::submission::{Kind, Round, Slot, Submission, UnitCode};
use crate::budget::unit_tree::{BUREAU, UnitTree};
use crate::ledger::Contents;
use crate::ledger::actor::Operation;
use crate::ledger::control::{Ceiling, ControlBook, ControlChange, Line};
use crate::ledger::event::{Affected, ControlIssued, Event};
use crate::ledger::state::State;

/// The longest reason of a change, in characters.
pub const CONTROL_REASON_CHARS_MAX: usize = 2_000;

/// A list of control figures as ordered.
#[derive(Clone, Debug)]
pub struct ControlOrders {
    /// The bureau, which issues, or the node that splits its own among those below it.
    pub by: UnitCode,
    /// Budget year.
    pub year: u16,
    /// Round.
    pub round: Round,
    /// The form set on whose cells they stand.
    pub form_set: String,
    /// Why; needed where a figure that is in force changes.
    pub reason: String,
    /// Whether what is filed above a cut ceiling is marked; else the cut is refused.
    pub mark: bool,
    /// The figures.
    pub figures: Vec<FigureOrder>,
}

impl ControlOrders {
    /// The operation that it is.
    pub fn operation(&self) -> Operation {
        operation(&self.by)
    }
}

/// Whether figures are issued or split depends on who gives them.
pub(in crate::ledger) fn operation(by: &str) -> Operation {
    if by == BUREAU { Operation::IssueControl } else { Operation::SplitControl }
}

/// A control figure as ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FigureOrder {
    /// Its line in the list, from 1.
    pub line: u32,
    /// The node.
    pub unit: UnitCode,
    /// The cell.
    pub cell: CellAddress,
    /// The ceiling and the scale that it is issued in; `None` lifts the one in force.
    pub ceiling: Option<(Money, Scale)>,
    /// Its strength, or the form set's default.
    pub strength: Option<CeilingStrength>,
}

/// What is wrong with one line of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineFault {
    /// The line, from 1.
    pub line: u32,
    /// What is wrong.
    pub remark: Remark,
}

/// What a list would do.
#[derive(Clone, Debug, Default)]
pub struct ControlPlan {
    /// All that is wrong with it, by line. Sums are looked at once each line is right by itself.
    pub faults: Vec<LineFault>,
    /// What it changes; what it leaves as it was is in here too.
    pub changes: Vec<ControlChange>,
    /// Whose versions are above a ceiling because of it.
    pub affected: Vec<Affected>,
}

/// Looks at a list without changing anything.
///
/// # Errors
/// The refusal, if it can't be looked at line by line; or a fault of the journal.
pub fn plan(state: &State, orders: &ControlOrders, contents: &dyn Contents) -> Result<ControlPlan, Remark> {
    let mut plan = comes_to(state, orders, contents)?;
    let form = current_form(state, &orders.form_set, orders.year)?;
    let in_force = |order: &FigureOrder| {
        let book = state.control(orders.year, orders.round);
        book.is_some_and(|book| book.ceiling(&order.unit, &order.cell).is_some())
    };
    // Nobody could file there. One that is in force has been filed under, by a catalogue that had it.
    for order in orders.figures.iter().filter(|order| order.ceiling.is_some() && !in_force(order)) {
        let lacks = form.cell(&order.cell).and_then(|(table, _)| form.lacks_code(table, &order.cell.row));
        if let Some(catalogue) = lacks.filter(|_| plan.faults.iter().all(|fault| fault.line != order.line)) {
            let remark = Remark::new(Reason::UnknownCode).with("code", &order.cell.row);
            plan.faults.push(LineFault { line: order.line, remark: remark.with("catalogue", &catalogue.file) });
        }
    }
    plan.faults.sort_by_key(|fault| fault.line);
    Ok(plan)
}

/// The same of a list that was in order when it came: its codes are not asked about again.
fn comes_to(state: &State, orders: &ControlOrders, contents: &dyn Contents) -> Result<ControlPlan, Remark> {
    let tree = state.tree(orders.year).ok_or_else(|| Remark::new(Reason::UnknownYear).with("year", orders.year))?;
    let form = current_form(state, &orders.form_set, orders.year)?;
    if orders.figures.is_empty() {
        return Err(invalid("empty"));
    }
    let nothing = ControlBook::default();
    let book = state.control(orders.year, orders.round).unwrap_or(&nothing);
    let mut plan = ControlPlan::default();
    let mut first: BTreeMap<(&UnitCode, &CellAddress), u32> = BTreeMap::new();
    for order in &orders.figures {
        let result = match first.get(&(&order.unit, &order.cell)) {
            Some(line) => Err(about(invalid("duplicate").with("first", line), order)),
            None => change(orders, order, tree, form, book),
        };
        first.entry((&order.unit, &order.cell)).or_insert(order.line);
        match result {
            Ok(change) => plan.changes.push(change),
            Err(remark) => plan.faults.push(LineFault { line: order.line, remark }),
        }
    }
    if plan.faults.is_empty() {
        plan.faults.extend(reason_fault(orders, &plan.changes));
    }
    if !plan.faults.is_empty() {
        return Ok(plan);
    }
    let mut after = book.clone();
    after.change(tree, &plan.changes, &mut state.own_filed(orders.year, orders.round, contents))?;
    let mut touched: BTreeSet<(&str, &CellAddress)> = BTreeSet::new();
    for change in &plan.changes {
        touched.extend(after.reach(tree, &change.unit, &change.cell).into_iter().map(|node| (node, &change.cell)));
    }
    let lines: BTreeMap<(&str, &CellAddress), u32> =
        first.into_iter().map(|((unit, cell), line)| ((unit.as_str(), cell), line)).collect();
    for (node, cell) in touched {
        if let Some(remark) =
            after.line(node, cell).and_then(|line| split_fault(tree, &after, &plan.changes, node, line))
        {
            let below = || lines.iter().find(|((unit, of), _)| *of == cell && tree.is_within(unit, node));
            let line = lines.get(&(node, cell)).or_else(|| below().map(|(_, line)| line)).copied().unwrap_or(0);
            plan.faults.push(LineFault { line, remark });
        }
        plan.affected.extend(affected(state, orders, tree, (book, &after), node, cell));
    }
    plan.faults.sort_by_key(|fault| fault.line);
    Ok(plan)
}

pub(super) fn issue(state: &State, orders: &ControlOrders, contents: &dyn Contents) -> Result<Event, Remark> {
    carry_out(state, orders, plan(state, orders, contents)?)
}

fn carry_out(state: &State, orders: &ControlOrders, plan: ControlPlan) -> Result<Event, Remark> {
    if let Some(LineFault { line, remark }) = plan.faults.first() {
        return Err(remark.clone().with("line", line).with("faults", plan.faults.len()));
    }
    if let Some(first) = plan.affected.iter().find(|affected| affected.is_hard()).filter(|_| !orders.mark) {
        let figure = &first.over.figure;
        let count = plan.affected.iter().filter(|affected| affected.is_hard()).count();
        let remark = Remark::new(Reason::CeilingBelowFiled)
            .with("unit", &figure.unit)
            .with("cell", &figure.cell)
            .with("ceiling", figure.ceiling.print(figure.scale))
            .with("over", first.over.over.print(figure.scale))
            .with("amount_unit", figure.scale.denomination.as_str())
            .with("count", count);
        // Who splits isn't told what others have filed under the ceiling that they share.
        let told = plan.affected.iter().filter(|affected| affected.is_hard());
        let told = told.map(|affected| &affected.over).find(|over| is_below(state, orders, &over.unit));
        return Err(match told {
            Some(over) => remark.with("who", &over.unit).with("filed", over.filed.print(over.figure.scale)),
            None => remark,
        });
    }
    let version = state.control(orders.year, orders.round).map_or(0, |book| book.version) + 1;
    let ControlPlan { mut changes, affected, .. } = plan;
    changes.sort_by(|a, b| (&a.unit, &a.cell).cmp(&(&b.unit, &b.cell)));
    let ControlOrders { by, year, round, reason, .. } = orders.clone();
    Ok(Event::ControlIssued(ControlIssued { year, round, version, by, reason, changes, affected }))
}

/// Whether a unit stands at or below the node that gives ceilings.
fn is_below(state: &State, orders: &ControlOrders, unit: &str) -> bool {
    state.tree(orders.year).is_some_and(|tree| tree.is_within(unit, &orders.by))
}

/// Whether an issue is what an order in that state comes to: the ceilings before, every sum, and whose versions are above.
pub fn follows(state: &State, issued: &ControlIssued, contents: &dyn Contents) -> bool {
    let ControlIssued { by, year, round, reason, changes, .. } = issued;
    let order = |(line, change): (u32, &ControlChange)| FigureOrder {
        line,
        unit: change.unit.clone(),
        cell: change.cell.clone(),
        ceiling: change.after.as_ref().map(|after| (after.amount, after.scale)),
        strength: change.after.as_ref().map(|after| after.strength),
    };
    let mut orders = ControlOrders {
        by: by.clone(),
        year: *year,
        round: *round,
        form_set: String::new(),
        reason: reason.clone(),
        mark: true,
        figures: (1..).zip(changes).map(order).collect(),
    };
    // An issue doesn't keep the form set on whose cells it was ordered.
    state.form_sets().filter(|form| form.year == *year).any(|form| {
        orders.form_set = form.id.to_string();
        let again = comes_to(state, &orders, contents).and_then(|plan| carry_out(state, &orders, plan));
        matches!(again, Ok(Event::ControlIssued(again)) if again == *issued)
    })
}

/// Whether a new unit tree keeps every sum of ceilings, and every filing below its ceiling.
pub(super) fn keep_sums(state: &State, year: u16, new: &UnitTree, contents: &dyn Contents) -> Result<(), Remark> {
    let Some(old) = state.tree(year) else { return Ok(()) };
    for (round, book) in state.controls_of(year) {
        let breaks = |problem: &str, unit: &str, cell: &CellAddress| {
            let remark = Remark::new(Reason::TreeBreaksCeilings).with("problem", problem).with("unit", unit);
            remark.with("cell", cell).with("round", round)
        };
        if let Some((unit, line)) = book.all().find(|(unit, _)| !new.contains(unit)) {
            return Err(breaks("gone", unit, &line.cell));
        }
        let after = book.replanted(old, new, &mut state.own_filed(year, round, contents))?;
        for (unit, line) in after.all() {
            let Some(figure) = line.figure(unit) else { continue };
            let amounts = |remark: Remark, found: Money, over: Money| {
                let scale = exact(figure.scale, &[figure.ceiling, found]);
                remark
                    .with("ceiling", figure.ceiling.print(scale))
                    .with("found", found.print(scale))
                    .with("over", over.print(scale))
                    .with("amount_unit", scale.denomination.as_str())
            };
            if line.split() > figure.ceiling {
                return Err(amounts(breaks("split", unit, &line.cell), line.split(), line.split() - figure.ceiling));
            }
            let before = book.line(unit, &line.cell).map_or(Money::ZERO, overshoot);
            if figure.strength == CeilingStrength::Hard && overshoot(line) > before {
                return Err(amounts(breaks("filed", unit, &line.cell), line.demand(), overshoot(line)));
            }
        }
    }
    Ok(())
}

fn invalid(problem: &str) -> Remark {
    Remark::new(Reason::ControlInvalid).with("problem", problem)
}

fn about(remark: Remark, order: &FigureOrder) -> Remark {
    remark.with("unit", &order.unit).with("cell", &order.cell)
}

/// What one line changes.
fn change(
    orders: &ControlOrders,
    order: &FigureOrder,
    tree: &UnitTree,
    form: &FormSet,
    book: &ControlBook,
) -> Result<ControlChange, Remark> {
    let FigureOrder { unit, cell, .. } = order;
    let by = &orders.by;
    // Whoever splits learns nothing of what is not below them, not even whether it is there.
    if unit == by || by != BUREAU && !(tree.contains(unit) && tree.is_within(unit, by)) {
        return Err(about(invalid("outside").with("by", by), order));
    }
    let node =
        tree.node(unit).ok_or_else(|| Remark::new(Reason::UnknownUnit).with("unit", unit).with("year", orders.year))?;
    let is_leaf = tree.children(unit).is_empty();
    if !node.budgeted && is_leaf {
        return Err(Remark::new(Reason::UnitNotBudgeted).with("unit", unit));
    }
    if form.cell(cell).is_none() {
        return Err(Remark::new(Reason::UnknownCell).with("cell", cell).with("form_set", &form.id));
    }
    let default = ControlFigure::default_strength(form, cell)
        .ok_or_else(|| Remark::new(Reason::NotControllable).with("cell", cell))?;
    if !is_leaf && !ControlFigure::adds_up(form, cell) {
        return Err(Remark::new(Reason::NotSummed).with("cell", cell).with("unit", unit));
    }
    let before = book.ceiling(unit, cell).cloned();
    if before.as_ref().is_some_and(|before| by != BUREAU && !tree.is_within(&before.by, by)) {
        return Err(about(invalid("above").with("by", by), order));
    }
    let Some((amount, scale)) = order.ceiling else {
        let lifted = ControlChange { unit: unit.clone(), cell: cell.clone(), before, after: None };
        return if lifted.before.is_some() { Ok(lifted) } else { Err(about(invalid("nothing_to_lift"), order)) };
    };
    if amount.is_negative() {
        return Err(about(invalid("negative"), order).with("found", amount.print(scale)));
    }
    // What isn't added up, such as one project, has no ceiling above that could be split.
    if by != BUREAU && ControlFigure::adds_up(form, cell) && book.ceiling(by, cell).is_none() {
        return Err(about(invalid("nothing_to_split").with("by", by), order));
    }
    let strength = order.strength.unwrap_or(default).in_round(orders.round);
    let by = before.as_ref().map_or(by, |before| &before.by).clone();
    let after = Some(Ceiling { amount, scale, strength, by });
    Ok(ControlChange { unit: unit.clone(), cell: cell.clone(), before, after })
}

fn reason_fault(orders: &ControlOrders, changes: &[ControlChange]) -> Option<LineFault> {
    let reason = orders.reason.as_str();
    let at =
        |order: &FigureOrder, problem: &str| LineFault { line: order.line, remark: about(invalid(problem), order) };
    if reason.chars().count() > CONTROL_REASON_CHARS_MAX {
        return orders.figures.first().map(|order| at(order, "reason_long"));
    }
    if reason.chars().any(|c| c.is_control() && c != '\n') {
        return orders.figures.first().map(|order| at(order, "reason_control"));
    }
    let changed =
        |(_, change): &(&FigureOrder, &ControlChange)| change.before.is_some() && change.before != change.after;
    let first = orders.figures.iter().zip(changes).find(changed).filter(|_| reason.trim().is_empty());
    first.map(|(order, _)| at(order, "reason"))
}

/// The scale of a ceiling, or 元 if that alone shows these amounts exactly.
fn exact(scale: Scale, amounts: &[Money]) -> Scale {
    if amounts.iter().all(|amount| amount.round_to(scale) == *amount) { scale } else { Scale::FEN }
}

/// Σ units ≤ department: the two numbers, and what was there to be split by this list.
fn split_fault(
    tree: &UnitTree,
    after: &ControlBook,
    changes: &[ControlChange],
    node: &str,
    line: &Line,
) -> Option<Remark> {
    let figure = line.figure(node).filter(|figure| line.split() > figure.ceiling)?;
    let holder =
        |unit| after.reach(tree, unit, &line.cell).into_iter().skip(1).find(|n| after.ceiling(n, &line.cell).is_some());
    let of_list = changes.iter().filter(|change| change.cell == line.cell && holder(&change.unit) == Some(node));
    let of_list: Money = of_list.filter_map(|change| change.after.as_ref()).map(|ceiling| ceiling.amount).sum();
    let left = figure.ceiling - (line.split() - of_list);
    let scale = exact(figure.scale, &[figure.ceiling, line.split(), left]);
    Some(
        Remark::new(Reason::SplitBeyondCeiling)
            .with("unit", node)
            .with("cell", &line.cell)
            .with("ceiling", figure.ceiling.print(scale))
            .with("split", line.split().print(scale))
            .with("over", (line.split() - figure.ceiling).print(scale))
            .with("left", left.print(scale))
            .with("amount_unit", scale.denomination.as_str()),
    )
}

fn overshoot(line: &Line) -> Money {
    line.left().filter(|left| left.is_negative()).map_or(Money::ZERO, Money::abs)
}

/// Who is above the ceiling of a node now, and was not so far above it before.
fn affected(
    state: &State,
    orders: &ControlOrders,
    tree: &UnitTree,
    (before, after): (&ControlBook, &ControlBook),
    node: &str,
    cell: &CellAddress,
) -> Vec<Affected> {
    let was = before.line(node, cell).map_or(Money::ZERO, overshoot);
    let over = after.over(tree, node, cell).into_iter().filter(|over| over.over > was);
    over.map(|over| {
        let slot = Slot { unit: over.unit.clone(), year: orders.year, round: orders.round, kind: Kind::Unit };
        let counting = state.filings(&slot).and_then(|filings| filings.counting());
        let (version, position) = counting.map_or((0, 0), |version| (version.version, version.position));
        Affected { version, position, over }
    })
    .collect()
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

/// Whether what a version is to draw from now on is within the ceilings, in the cells that are asked about.
///
/// # Errors
/// `OVER_CEILING`, of the first hard one that it isn't within.
pub(super) fn fits(
    state: &State,
    slot: &Slot,
    drawn: impl Fn(&CellAddress) -> Money,
    asked: impl Fn(&CellAddress) -> bool,
) -> Result<(), Remark> {
    let (Some(book), Some(tree), Kind::Unit) = (state.control(slot.year, slot.round), state.tree(slot.year), slot.kind)
    else {
        return Ok(());
    };
    let judgements = book.judge(tree, &slot.unit, drawn);
    let judgements = judgements.iter().filter(|judgement| asked(&judgement.figure.cell));
    let over = judgements.filter_map(|judgement| over_ceiling(judgement, &slot.unit));
    over.filter(Finding::refuses).map(|finding| Err(finding.remark)).next().unwrap_or(Ok(()))
}

/// Nothing filed where a ceiling stands is not the same as 0: it counts as nothing, and is asked about. A whole table that is
/// left out would slip by a hard ceiling with all its rows; that is refused.
/// Nothing stands in a capped cell, or its whole table was left out. Of a ceiling that a unit shares only the latter is told:
/// not each of those that share it has something there.
pub(super) fn blank_under_ceiling(
    figure: &ControlFigure,
    unit: &str,
    submission: &Submission,
    form: &FormSet,
) -> Option<Finding> {
    if submission.cell(form, &figure.cell).is_some_and(|cell| !cell.is_blank()) {
        return None;
    }
    let table = form.table(&figure.cell.table).filter(|(at, _)| submission.table(*at).is_none());
    let is_shared = figure.unit != unit;
    if is_shared && (table.is_none() || figure.strength != CeilingStrength::Hard) {
        return None;
    }
    let place = Place::address(&figure.cell);
    let remark = Remark::new(Reason::CappedCellBlank)
        .with("cell", &figure.cell)
        .with("ceiling", figure.ceiling.print(figure.scale))
        .with("amount_unit", figure.scale.denomination.as_str());
    let remark = if is_shared { remark.with("holder", &figure.unit) } else { remark };
    Some(match table {
        Some((_, table)) if figure.strength == CeilingStrength::Hard => {
            Finding::refusing(place, remark.with("table", &table.name))
        }
        Some((_, table)) => Finding::verify(place, remark.with("table", &table.name)),
        None => Finding::verify(place, remark),
    })
}

pub(super) fn over_ceiling(judgement: &Judgement, unit: &str) -> Option<Finding> {
    if !judgement.is_over() {
        return None;
    }
    let figure = &judgement.figure;
    let reason = if judgement.refuses() { Reason::OverCeiling } else { Reason::OverAdvisoryCeiling };
    let mut remark = Remark::new(reason)
        .with("unit", &figure.unit)
        .with("cell", &figure.cell)
        .with("ceiling", figure.ceiling.print(figure.scale))
        .with("filed", judgement.filed.print(figure.scale))
        .with("over", judgement.headroom.abs().print(figure.scale))
        .with("amount_unit", figure.scale.denomination.as_str());
    if figure.unit != unit {
        let room = (figure.ceiling - judgement.taken).max(Money::ZERO);
        remark = remark
            .with("holder", &figure.unit)
            .with("taken", judgement.taken.print(figure.scale))
            .with("room", room.print(figure.scale));
    }
    let place = Place::address(&figure.cell);
    Some(if judgement.refuses() { Finding::refusing(place, remark) } else { Finding::verify(place, remark) })
}
