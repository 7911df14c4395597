//! The submissions of the past: those of the current group from memory, all others from the journal.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::record::Record;
use super::store_fault;
use crate::budget::reason::{Reason, Remark};
use crate::budget::submission::Submission;
use crate::ledger::state::State;
use crate::ledger::{Contents, Position};
use crate::store::Journal;

/// Finds submissions by position.
pub(super) struct Past<'j> {
    journal: &'j dyn Journal,
    /// A state that knows the form sets: one clone old is recent enough, they come into force in events of their own.
    state: &'j State,
    held: BTreeMap<Position, Arc<Submission>>,
}

impl<'j> Past<'j> {
    pub(super) fn new(journal: &'j dyn Journal, state: &'j State) -> Past<'j> {
        Past { journal, state, held: BTreeMap::new() }
    }

    /// Keeps a submission at hand that is not in the journal yet, or was just read.
    pub(super) fn hold(&mut self, position: Position, submission: Arc<Submission>) {
        self.held.insert(position, submission);
    }
}

impl Contents for Past<'_> {
    fn submission(&self, position: Position) -> Result<Arc<Submission>, Remark> {
        if let Some(held) = self.held.get(&position) {
            return Ok(held.clone());
        }
        let damaged = |what: &str| Remark::new(Reason::JournalDamaged).with("position", position).with("what", what);
        let bytes = self.journal.read(position).map_err(store_fault)?.ok_or_else(|| damaged("record"))?;
        let record = Record::decode(position, &bytes)?;
        let form = record.form_set().and_then(|digest| self.state.form_set_version(&digest));
        Ok(Arc::new(record.submission(form.ok_or_else(|| damaged("form set"))?)?))
    }
}
