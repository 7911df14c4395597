//! Saying why rules fail.

use std::collections::BTreeSet;

use super::review::not_in_state;
use crate::budget::reason::{Reason, Remark};
use crate::budget::submission::Slot;
use crate::ledger::Position;
use crate::ledger::event::{Event, Justification, Justified};
use crate::ledger::review::VersionState;
use crate::ledger::state::{State, Version};

/// The longest justification, in characters.
pub const JUSTIFICATION_CHARS_MAX: usize = 2_000;
/// The most findings that are justified at once.
pub const JUSTIFICATIONS_MAX: usize = 1_000;

pub(super) fn justify(
    state: &State,
    slot: &Slot,
    position: Position,
    items: &[Justification],
) -> Result<Event, Remark> {
    let unknown = || Remark::new(Reason::UnknownSubmission).with("slot", slot).with("version", "");
    let filings = state.filings(slot).ok_or_else(unknown)?;
    let counts = filings.latest().map(|latest| latest.position);
    let refused = filings.refused_since(Position::MAX).map(|(position, _)| position);
    if ![counts, refused].contains(&Some(position)) {
        let last = refused.or(counts).ok_or_else(unknown)?;
        return Err(Remark::new(Reason::FindingsOutdated).with("found", position).with("expected", last));
    }
    // What was accepted or approved was so with the words that it had then.
    let decided = |version: &&Version| matches!(version.state(), VersionState::Accepted | VersionState::Approved);
    if let Some(version) = filings.latest().filter(decided).filter(|latest| latest.position == position) {
        return Err(not_in_state(state, slot, Some(version), "justify"));
    }
    let bad = |problem: &str| Remark::new(Reason::BadJustification).with("problem", problem);
    if items.is_empty() {
        return Err(bad("empty"));
    }
    if items.len() > JUSTIFICATIONS_MAX {
        return Err(bad("many").with("found", items.len()).with("allowed", JUSTIFICATIONS_MAX));
    }
    let mut said = BTreeSet::new();
    for item in items {
        let bad = |problem| bad(problem).with("rule", &item.rule).with("cell", &item.place);
        let length = item.text.chars().count();
        if item.text.trim().is_empty() {
            return Err(bad("blank"));
        }
        if length > JUSTIFICATION_CHARS_MAX {
            return Err(bad("long").with("found", length).with("allowed", JUSTIFICATION_CHARS_MAX));
        }
        if item.text.chars().any(|c| c.is_control() && c != '\n') {
            return Err(bad("control"));
        }
        if !said.insert(item.fingerprint) {
            return Err(bad("twice"));
        }
    }
    Ok(Event::Justified(Justified { slot: slot.clone(), position, items: items.to_vec() }))
}
