//! The submissions of the past: those of the current group from memory, all others from the journal.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::record::Record;
use super::stored;
use crate::budget::form_set::FormSet;
use crate::budget::reason::{Reason, Remark};
use crate::budget::rule::Checked;
use crate::budget::submission::Submission;
use crate::ledger::state::{FormSetVersions, State};
use crate::ledger::{Contents, Position, checks};
use crate::store::Journal;

/// Finds submissions by position.
pub(super) struct Past<'j> {
    journal: &'j dyn Journal,
    /// As old as the journal's records is recent enough: what is filed on a newer one is held. Only these are kept of a
    /// state, so that the one being folded into stays the sole owner of its sums and need not copy them.
    form_sets: FormSetVersions,
    held: BTreeMap<Position, Arc<Submission>>,
}

impl<'j> Past<'j> {
    pub(super) fn new(journal: &'j dyn Journal, state: &State) -> Past<'j> {
        Past::of(journal, state.form_set_versions())
    }

    /// The same by the form sets alone.
    pub(super) fn of(journal: &'j dyn Journal, form_sets: FormSetVersions) -> Past<'j> {
        Past { journal, form_sets, held: BTreeMap::new() }
    }

    /// Keeps a submission at hand that is not in the journal yet, or was just read.
    pub(super) fn hold(&mut self, position: Position, submission: Arc<Submission>) {
        self.held.insert(position, submission);
    }
}

impl Past<'_> {
    /// What rules found in the filing at a position, and on which form set; none if that is no filing.
    pub(super) fn found(&self, position: Position) -> Result<Option<(Checked, Arc<FormSet>)>, Remark> {
        let record = Record::decode(position, &stored(self.journal, position)?)?;
        let form = record.form_set().and_then(|digest| self.form_sets.get(&digest));
        let Some((attempt, form)) = record.envelope.event.attempt().zip(form) else { return Ok(None) };
        let submission = record.submission(form)?;
        let checked = checks::found_again(&self.form_sets, &submission, &attempt.verdicts, self)?;
        Ok(Some((checked, form.clone())))
    }
}

impl Contents for Past<'_> {
    fn submission(&self, position: Position) -> Result<Arc<Submission>, Remark> {
        if let Some(held) = self.held.get(&position) {
            return Ok(held.clone());
        }
        let damaged = |what: &str| Remark::new(Reason::JournalDamaged).with("position", position).with("what", what);
        let record = Record::decode(position, &stored(self.journal, position)?)?;
        let form = record.form_set().and_then(|digest| self.form_sets.get(&digest));
        Ok(Arc::new(record.submission(form.ok_or_else(|| damaged("form set"))?)?))
    }
}
