//! Putting a unit tree in force.

use std::collections::BTreeSet;

use super::control::keep_sums;
use crate::budget::reason::{Reason, Remark};
use crate::budget::submission::{Kind, Round, UnitCode};
use crate::budget::unit_tree::{BUREAU, Node, UnitTree};
use crate::ledger::Contents;
use crate::ledger::event::{Event, UnitsImported};
use crate::ledger::review::{Aggregate, AggregateState};
use crate::ledger::state::State;

pub(super) fn import_units(state: &State, year: u16, nodes: &[Node], contents: &dyn Contents) -> Result<Event, Remark> {
    if !(1949..=2999).contains(&year) {
        let remark = Remark::new(Reason::BadRequest).with("field", "year").with("found", year);
        return Err(remark.with("expected", "1949–2999"));
    }
    let version = state.tree(year).map_or(1, |tree| tree.version + 1);
    let tree = UnitTree::new(version, nodes.to_vec())?;
    for (slot, filings) in state.slots().filter(|(slot, _)| slot.year == year) {
        let stays = match slot.kind {
            Kind::Unit => tree.node(&slot.unit).is_some_and(|node| node.budgeted),
            Kind::Department | Kind::Difference => tree.node(&slot.unit).is_some(),
        };
        if filings.counting().is_some() && !stays {
            return Err(Remark::new(Reason::UnitHasSubmissions).with("unit", &slot.unit).with("year", year));
        }
    }
    keep_sealed(state, year, &tree)?;
    keep_sums(state, year, &tree, contents)?;
    Ok(Event::UnitsImported(UnitsImported { year, version, nodes: nodes.to_vec() }))
}

/// Whom a sealed aggregate speaks for must not change under it: a unit that left would be approved in two, and one that came
/// could neither file nor be waited for. Nor may the department come to stand below another, whose seal would be over it.
fn keep_sealed(state: &State, year: u16, tree: &UnitTree) -> Result<(), Remark> {
    let Some(before) = state.tree(year) else { return Ok(()) };
    let counts = state.slots().filter(|(slot, filings)| slot.year == year && filings.counting().is_some());
    let filers: BTreeSet<(Round, &str)> = counts.map(|(slot, _)| (slot.round, slot.unit.as_str())).collect();
    for ((department, of, round), aggregates) in &state.aggregates {
        let sealed = aggregates.last().map(Aggregate::state);
        if *of != year || !sealed.is_some_and(AggregateState::seals) {
            continue;
        }
        let speaks_for = |tree: &UnitTree| -> BTreeSet<UnitCode> {
            let inside = tree.nodes().filter(|node| tree.is_within(&node.code, department));
            let spoken_for = inside.filter(|node| node.budgeted || filers.contains(&(*round, node.code.as_str())));
            spoken_for.map(|node| node.code.clone()).collect()
        };
        let (old, new) = (speaks_for(before), speaks_for(tree));
        let stays = tree.node(department).is_some_and(|node| node.parent == BUREAU);
        if let Some(unit) = old.symmetric_difference(&new).next().or((!stays).then_some(department)) {
            let remark = Remark::new(Reason::UnitsSealed).with("department", department).with("unit", unit);
            return Err(remark.with("year", year).with("round", round));
        }
    }
    Ok(())
}
