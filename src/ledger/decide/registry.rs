//! Putting a unit tree in force.

use super::control::keep_sums;
use crate::budget::reason::{Reason, Remark};
use crate::budget::submission::Kind;
use crate::budget::unit_tree::{Node, UnitTree};
use crate::ledger::Contents;
use crate::ledger::event::{Event, UnitsImported};
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
    keep_sums(state, year, &tree, contents)?;
    Ok(Event::UnitsImported(UnitsImported { year, version, nodes: nodes.to_vec() }))
}
