//! Rounds: whether filings are taken, and until when. They count per year; both may be open at once (一上 and 二上).
//!
//! A year in which no round was ever opened takes filings into the second one: nobody who never heard of rounds is
//! locked out. From the first `round open` of a year on, only rounds that are open take filings.

use imbl::Vector;

use super::Position;
use super::event::Timestamp;
use super::state::State;
use crate::budget::reason::{Reason, Remark};
use crate::budget::submission::Round;

/// One round of one year, from its first opening on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoundState {
    /// Counts its openings and closings.
    pub version: u32,
    /// Whether it takes filings.
    pub open: bool,
    /// Until when, if it has a deadline. A filing logged at that very moment is in time.
    pub deadline: Option<Timestamp>,
    /// Where it was opened and closed, oldest first.
    pub changes: Vector<Position>,
}

impl RoundState {
    /// Whether it takes a filing at that time.
    pub fn takes(&self, now: Timestamp) -> bool {
        self.open && self.deadline.is_none_or(|deadline| now <= deadline)
    }
}

/// Whether a round takes filings at that time.
///
/// # Errors
/// `ROUND_CLOSED` with the rounds that are open, or `DEADLINE_PASSED` with the deadline.
pub fn admits(state: &State, year: u16, round: Round, now: Timestamp) -> Result<(), Remark> {
    let open: Vec<&str> = open_rounds(state, year).into_iter().map(Round::as_str).collect();
    let found = state.round(year, round);
    if !open.contains(&round.as_str()) {
        return Err(Remark::new(Reason::RoundClosed).with("round", round).with("expected", open.join(", ")));
    }
    match found.and_then(|found| found.deadline).filter(|deadline| now > *deadline) {
        Some(deadline) => Err(Remark::new(Reason::DeadlinePassed)
            .with("year", year)
            .with("round", round)
            .with("deadline", deadline)
            .with("found", now)),
        None => Ok(()),
    }
}

/// The rounds of a year that are open, whatever their deadlines.
pub fn open_rounds(state: &State, year: u16) -> Vec<Round> {
    let rounds = [Round::First, Round::Second];
    if rounds.iter().all(|round| state.round(year, *round).is_none()) {
        return vec![Round::Second];
    }
    rounds.into_iter().filter(|round| state.round(year, *round).is_some_and(|found| found.open)).collect()
}
