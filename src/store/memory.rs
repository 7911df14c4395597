//! A journal in memory, for tests and simulations: the same contract, and a
//! power cut on demand.
//!
//! Knows no files. With its sync withheld it acknowledges what it would lose;
//! that is how a test shows that it would notice a store that does the same.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Journal, JournalError, Observer, Records, check_batch, disk::Step};

/// Records in memory, with a line between what was synced and what was not.
#[derive(Default)]
pub struct MemoryJournal {
    state: Mutex<State>,
    withholds_sync: bool,
    observer: Option<Observer>,
}

#[derive(Default)]
struct State {
    records: Vec<Arc<[u8]>>,
    synced: usize,
    next_sync_fails: bool,
    stopped: bool,
}

impl MemoryJournal {
    /// An empty journal that syncs each batch before it returns.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty journal that returns without syncing, so that a
    /// [`crash`](Self::crash) loses what it acknowledged.
    pub fn without_sync() -> Self {
        Self { withholds_sync: true, ..Self::default() }
    }

    /// Tells `observer` each step, as the store on disk does.
    pub fn observed(self, observer: Observer) -> Self {
        Self { observer: Some(observer), ..self }
    }

    /// Makes all that was appended survive the next [`crash`](Self::crash).
    pub fn sync(&self) {
        let mut state = self.state();
        state.synced = state.records.len();
    }

    /// Lets the next sync fail, after which the journal takes nothing more. What
    /// that batch wrote is gone after the crash; on a real disk it may be there.
    pub fn fail_next_sync(&self) {
        self.state().next_sync_fails = true;
    }

    /// Cuts the power: returns what a restart finds, which is what was synced,
    /// and stops this journal.
    pub fn crash(&self) -> Self {
        let mut state = self.state();
        state.stopped = true;
        let synced = state.synced;
        let records = state.records.iter().take(synced).cloned().collect();
        drop(state);
        Self {
            state: Mutex::new(State { records, synced, ..State::default() }),
            withholds_sync: self.withholds_sync,
            observer: self.observer.clone(),
        }
    }

    /// A panic while the lock was held can't have left a half batch: the state
    /// changes only by one `extend`.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, step: Step) {
        if let Some(observer) = &self.observer {
            observer(step);
        }
    }
}

impl Journal for MemoryJournal {
    fn head(&self) -> Result<u64, JournalError> {
        Ok(self.state().records.len() as u64)
    }

    fn append(&self, expected_head: u64, batch: &[Vec<u8>]) -> Result<u64, JournalError> {
        let mut state = self.state();
        if state.stopped {
            return Err(JournalError::Stopped);
        }
        let head = state.records.len() as u64;
        check_batch(head, expected_head, batch)?;
        if batch.is_empty() {
            return Ok(head);
        }
        let through = head + batch.len() as u64;
        self.tell(Step::Wrote { through });
        self.tell(Step::Flushed { through });
        if !self.withholds_sync {
            if state.next_sync_fails {
                state.stopped = true;
                return Err(JournalError::SyncFailed {
                    path: "(memory)".into(),
                    why: "a test made the sync fail".into(),
                });
            }
            self.tell(Step::Synced { through });
        }
        state.records.extend(batch.iter().map(|record| Arc::from(record.as_slice())));
        if !self.withholds_sync {
            state.synced = state.records.len();
        }
        Ok(through)
    }

    fn read(&self, position: u64) -> Result<Option<Vec<u8>>, JournalError> {
        let index = position.checked_sub(1).and_then(|index| usize::try_from(index).ok());
        let state = self.state();
        Ok(index.and_then(|index| state.records.get(index)).map(|record| record.to_vec()))
    }

    fn scan(&self, from: u64) -> Records<'_> {
        let from = from.max(1);
        let skipped = usize::try_from(from - 1).unwrap_or(usize::MAX);
        let records: Vec<_> = self.state().records.iter().skip(skipped).cloned().collect();
        Box::new(records.into_iter().zip(from..).map(|(record, position)| Ok((position, record.to_vec()))))
    }
}
