//! The past as readers ask for it: the state at an earlier position, or at a time.
//!
//! States are persistent values, so some of the latest published ones are kept and cost only what differs between
//! them. An earlier position is folded from the nearest kept state: [`SPACING`] events at most (or one group) for the
//! last [`SPACING`] × [`RECENT_MAX`] positions. What lies further back is folded from the journal's first event, or from
//! what was folded for an earlier question: the same work as a restart without its saved state, one such fold at a
//! time and never on a thread that serves. It knows nothing of who may ask.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

use super::{Consolidator, Snapshot, fold_to, store_fault};
use crate::budget::reason::{Reason, Remark};
use crate::consolidator::record::Record;
use crate::ledger::Position;
use crate::ledger::event::{Envelope, Timestamp};
use crate::ledger::state::State;
use crate::store::Journal;

/// So many positions lie between two kept states, or one group of the writer if that is more.
pub const SPACING: u64 = 16;
/// How many of the latest states are kept.
pub const RECENT_MAX: usize = 16;
/// How many states are kept that were folded for a question: two, for whoever compares two moments.
const FOLDED_MAX: usize = 2;
/// A longer fold than this waits for its turn.
const SHORT_FOLD_MAX: u64 = 4 * SPACING;

/// A moment of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AsOf {
    /// Through that position.
    Position(Position),
    /// Through all events that were logged at that time or before.
    Time(Timestamp),
}

/// The states that are kept.
pub(super) struct PastStates {
    recent: Mutex<VecDeque<Arc<State>>>,
    folded: Mutex<VecDeque<Arc<State>>>,
    /// For folds that take long: one at a time.
    turn: Semaphore,
}

impl PastStates {
    /// Begins with the state that a start found.
    pub(super) fn new(state: Arc<State>) -> PastStates {
        let recent = Mutex::new(VecDeque::from([state]));
        PastStates { recent, folded: Mutex::default(), turn: Semaphore::new(1) }
    }

    /// Keeps a state that was just published, if the last one that was kept is far enough behind.
    pub(super) fn offer(&self, state: &Arc<State>) {
        let mut recent = held(&self.recent);
        if recent.back().is_some_and(|last| state.position < last.position + SPACING) {
            return;
        }
        recent.push_back(state.clone());
        if recent.len() > RECENT_MAX {
            recent.pop_front();
        }
    }

    /// Keeps a state that was folded for a question.
    fn keep(&self, state: &Arc<State>) {
        let mut folded = held(&self.folded);
        folded.retain(|other| other.position != state.position);
        folded.push_back(state.clone());
        if folded.len() > FOLDED_MAX {
            folded.pop_front();
        }
    }

    /// The nearest state at or before a position.
    fn nearest(&self, position: Position) -> Arc<State> {
        let recent = held(&self.recent).iter().rev().find(|state| state.position <= position).cloned();
        let folded = held(&self.folded);
        let folded = folded.iter().filter(|state| state.position <= position).cloned();
        folded.chain(recent).max_by_key(|state| state.position).unwrap_or_default()
    }
}

/// A list behind its lock; a thread that panicked with it left it whole.
fn held<T>(list: &Mutex<T>) -> MutexGuard<'_, T> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Consolidator {
    /// What readers saw at a moment.
    ///
    /// # Errors
    /// `UNKNOWN_POSITION` beyond the head, `TIME_BEFORE_JOURNAL`, or a fault.
    pub async fn at(&self, as_of: AsOf) -> Result<Snapshot, Remark> {
        let now = self.snapshot();
        let position = match as_of {
            AsOf::Position(position) => position,
            AsOf::Time(time) if time >= now.state.time => now.state.position,
            AsOf::Time(time) => {
                let now = now.clone();
                blocking(move || now.position_at(time)).await?
            }
        };
        let head = now.state.position;
        if position == 0 || position > head {
            return Err(Remark::new(Reason::UnknownPosition).with("position", position).with("head", head));
        }
        if position == head {
            return Ok(now);
        }
        let nearest = self.shared.past_states.nearest(position);
        if nearest.position == position {
            return Ok(Snapshot { state: nearest, ..now });
        }
        if position - nearest.position <= SHORT_FOLD_MAX {
            return self.fold_to(now, nearest, position).await;
        }
        let turn = self.shared.past_states.turn.acquire().await;
        let _turn = turn.map_err(|_| Remark::new(Reason::StoreStopped).with("what", "fold"))?;
        // Whoever was before may have folded what is needed.
        let nearest = self.shared.past_states.nearest(position);
        self.fold_to(now, nearest, position).await
    }

    /// Whether what readers saw at a position costs little to look at again.
    pub fn is_near(&self, position: Position) -> bool {
        let nearest = self.shared.past_states.nearest(position).position;
        position > 0 && position <= self.shared.published.load().state.position && position - nearest <= SHORT_FOLD_MAX
    }

    async fn fold_to(&self, now: Snapshot, from: Arc<State>, position: Position) -> Result<Snapshot, Remark> {
        let shared = self.shared.clone();
        blocking(move || {
            let state = Arc::new(fold_to(State::clone(&from), now.journal.as_ref(), position)?);
            tracing::debug!(from = from.position, position, "folded for a question");
            shared.past_states.keep(&state);
            Ok(Snapshot { state, ..now })
        })
        .await
    }

    /// Goes on from a snapshot to a later position, event by event, off the threads that serve and in turn with other long
    /// folds. `seen` is told each event with the snapshot behind it and keeps what it wants in `T`, until it says that it
    /// has seen enough. Where it ended is kept, for whoever goes on from there.
    ///
    /// # Errors
    /// Those of `seen`, or a fault.
    pub async fn walk<T: Send + 'static>(
        &self,
        from: Snapshot,
        to: Position,
        mut kept: T,
        mut seen: impl FnMut(&mut T, &Envelope, &Snapshot) -> Result<bool, Remark> + Send + 'static,
    ) -> Result<T, Remark> {
        let turn = self.shared.past_states.turn.acquire().await;
        let _turn = turn.map_err(|_| Remark::new(Reason::StoreStopped).with("what", "fold"))?;
        let shared = self.shared.clone();
        blocking(move || {
            let end = from.walk(to, |envelope, at| seen(&mut kept, envelope, at))?;
            shared.past_states.keep(&end.state);
            Ok(kept)
        })
        .await
    }
}

/// Off the threads that serve.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Remark> + Send + 'static) -> Result<T, Remark> {
    let stopped = |_| Err(Remark::new(Reason::StoreStopped).with("what", "reader"));
    tokio::task::spawn_blocking(work).await.unwrap_or_else(stopped)
}

impl Snapshot {
    /// The last position that was logged at a time or before.
    ///
    /// # Errors
    /// `TIME_BEFORE_JOURNAL`, or a fault.
    pub fn position_at(&self, time: Timestamp) -> Result<Position, Remark> {
        // Times never go back, so there is one place where they pass the one that is asked for.
        let (mut before, mut after) = (0, self.state.position + 1);
        while after - before > 1 {
            let middle = before + (after - before) / 2;
            if self.event(middle)?.time <= time { before = middle } else { after = middle }
        }
        if before > 0 {
            return Ok(before);
        }
        let first = self.event(1)?.time;
        Err(Remark::new(Reason::TimeBeforeJournal).with("time", time).with("first", first))
    }

    /// Before the first event.
    pub fn beginning(self) -> Snapshot {
        Snapshot { state: Arc::default(), ..self }
    }

    /// As it was when this was asked for.
    pub fn of_today(self) -> Snapshot {
        Snapshot { state: self.today.clone(), ..self }
    }

    fn walk(
        self,
        to: Position,
        mut seen: impl FnMut(&Envelope, &Snapshot) -> Result<bool, Remark>,
    ) -> Result<Snapshot, Remark> {
        let mut at = self;
        let journal: Arc<dyn Journal> = at.journal.clone();
        for record in journal.scan(at.state.position + 1) {
            let (position, bytes) = record.map_err(store_fault)?;
            if position > to {
                break;
            }
            let record = Record::decode(position, &bytes)?;
            super::fold_one(Arc::make_mut(&mut at.state), journal.as_ref(), &record)?;
            if !seen(&record.envelope, &at)? {
                break;
            }
        }
        Ok(at)
    }
}
