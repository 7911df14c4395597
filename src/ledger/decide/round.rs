//! Opening and closing rounds.

use super::review::text;
use crate::budget::reason::{Reason, Remark};
use crate::budget::submission::Round;
use crate::ledger::event::{Event, RoundClosed, RoundOpened, Timestamp};
use crate::ledger::state::State;

/// Opens a round, opens a closed one again, or moves the deadline of an open one.
pub(super) fn open(
    state: &State,
    (year, round): (u16, Round),
    deadline: Option<Timestamp>,
    reason: &str,
    now: Timestamp,
) -> Result<Event, Remark> {
    if state.tree(year).is_none() {
        return Err(Remark::new(Reason::UnknownYear).with("year", year));
    }
    let invalid = |problem: &str| {
        Remark::new(Reason::RoundInvalid).with("problem", problem).with("year", year).with("round", round)
    };
    if let Some(deadline) = deadline.filter(|deadline| *deadline <= now) {
        return Err(invalid("past").with("deadline", deadline).with("found", now));
    }
    let before = state.round(year, round);
    if before.is_some_and(|before| before.open && before.deadline == deadline) {
        return Err(invalid("open").with("deadline", deadline.map(|at| at.to_string()).unwrap_or_default()));
    }
    // Whoever filed in time will ask why others got longer.
    let reason = text(reason, before.is_some())?;
    let version = before.map_or(0, |before| before.version) + 1;
    Ok(Event::RoundOpened(RoundOpened { year, round, version, deadline, reason }))
}

/// Closes a round.
pub(super) fn close(state: &State, (year, round): (u16, Round), reason: &str) -> Result<Event, Remark> {
    let Some(before) = state.round(year, round).filter(|before| before.open) else {
        let remark = Remark::new(Reason::RoundInvalid).with("problem", "closed");
        return Err(remark.with("year", year).with("round", round));
    };
    let (reason, version) = (text(reason, false)?, before.version + 1);
    Ok(Event::RoundClosed(RoundClosed { year, round, version, reason }))
}
