//! The submissions of the past: those of the current group from memory, all others from the journal.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::record::Record;
use super::{JudgedFiling, stored};
use crate::budget::reason::{Reason, Remark};
use crate::budget::submission::Submission;
use crate::ledger::state::{FormSetVersions, State};
use crate::ledger::{Contents, Position};
use crate::store::Journal;

/// Finds submissions by position.
pub(super) struct Past<'j> {
    journal: &'j dyn Journal,
    /// As old as the journal's records is recent enough: what is filed on a newer one is held. Only these are kept of a
    /// state, so that the one being folded into stays the sole owner of its sums and need not copy them.
    form_sets: FormSetVersions,
    held: Held,
}

/// Submissions at hand: what is not among them can't be found.
#[derive(Clone, Default)]
pub(super) struct Held(BTreeMap<Position, Arc<Submission>>);

impl Contents for Held {
    fn submission(&self, position: Position) -> Result<Arc<Submission>, Remark> {
        let missing = || Remark::new(Reason::JournalDamaged).with("position", position).with("what", "record");
        self.0.get(&position).cloned().ok_or_else(missing)
    }
}

impl<'j> Past<'j> {
    pub(super) fn new(journal: &'j dyn Journal, state: &State) -> Past<'j> {
        Past::of(journal, state.form_set_versions())
    }

    /// The same by the form sets alone.
    pub(super) fn of(journal: &'j dyn Journal, form_sets: FormSetVersions) -> Past<'j> {
        Past { journal, form_sets, held: Held::default() }
    }

    /// Keeps a submission at hand that is not in the journal yet, or was just read.
    pub(super) fn hold(&mut self, position: Position, submission: Arc<Submission>) {
        self.held.0.insert(position, submission);
    }

    /// Those that are at hand.
    pub(super) fn held(&self) -> Held {
        self.held.clone()
    }
}

impl Past<'_> {
    /// The filing at a position with what rules found in it; none if that is no filing.
    pub(super) fn judged(&self, position: Position) -> Result<Option<JudgedFiling>, Remark> {
        JudgedFiling::of(Record::decode(position, &stored(self.journal, position)?)?, &self.form_sets, self)
    }
}

impl Contents for Past<'_> {
    fn submission(&self, position: Position) -> Result<Arc<Submission>, Remark> {
        if let Some(held) = self.held.0.get(&position) {
            return Ok(held.clone());
        }
        let damaged = |what: &str| Remark::new(Reason::JournalDamaged).with("position", position).with("what", what);
        let record = Record::decode(position, &stored(self.journal, position)?)?;
        let form = record.form_set().and_then(|digest| self.form_sets.get(&digest));
        Ok(Arc::new(record.submission(form.ok_or_else(|| damaged("form set"))?)?))
    }
}
