//! Recomputing what a journal says, from its records alone: what `fsck` asks.
//!
//! Changes nothing and trusts nothing: each record is decoded by itself, the whole is folded, and of each filing the
//! digest and the verdicts of the rules are worked out again from its cells. Where the records come from is [`crate::store`]'s business.

use super::past::Past;
use super::record::Record;
use super::{fold, store_fault, stored};
use crate::budget::digest::digest;
use crate::budget::reason::{Reason, Remark};
use crate::ledger::state::State;
use crate::ledger::{Position, checks};
use crate::store::Journal;

/// The most faults of one kind that are told one by one.
pub const FAULTS_TOLD_MAX: usize = 20;

/// What was found.
#[derive(Debug, Default)]
pub struct Verified {
    /// Events that were looked at.
    pub events: u64,
    /// Records that can't be read or decoded, in order.
    pub unreadable: Faults,
    /// Why the events don't make a state; none if they do, or if some can't be read.
    pub unfolded: Option<Remark>,
    /// Submissions that were worked out again, refused ones included.
    pub submissions: u64,
    /// Submissions whose cells don't have the digest that was journalled.
    pub digests: Faults,
    /// Submissions whose rules come out otherwise than was journalled.
    pub verdicts: Faults,
}

/// Faults of one kind: their number, and the first of them.
#[derive(Debug, Default)]
pub struct Faults {
    /// How many.
    pub count: u64,
    /// The first, at most [`FAULTS_TOLD_MAX`].
    pub first: Vec<Remark>,
}

impl Faults {
    /// One more.
    pub fn add(&mut self, fault: Remark) {
        self.count += 1;
        if self.first.len() < FAULTS_TOLD_MAX {
            self.first.push(fault);
        }
    }
}

/// Looks at every record up to the journal's head. `progress` is told each position.
///
/// # Errors
/// If the journal can't even say where its head is.
pub fn verify(journal: &dyn Journal, progress: &dyn Fn(Position)) -> Result<Verified, Remark> {
    let head = journal.head().map_err(store_fault)?;
    let mut verified = Verified::default();
    for position in 1..=head {
        verified.events += 1;
        if let Err(fault) = record_at(journal, position) {
            verified.unreadable.add(fault);
        }
        progress(position);
    }
    if verified.unreadable.count > 0 {
        return Ok(verified);
    }
    match fold(journal) {
        Ok(state) => judge_again(journal, head, &state, &mut verified)?,
        Err(fault) => verified.unfolded = Some(fault),
    }
    Ok(verified)
}

fn record_at(journal: &dyn Journal, position: Position) -> Result<Record, Remark> {
    Record::decode(position, &stored(journal, position)?)
}

fn judge_again(journal: &dyn Journal, head: Position, state: &State, verified: &mut Verified) -> Result<(), Remark> {
    let (past, forms) = (Past::new(journal, state), state.form_set_versions());
    for position in 1..=head {
        let record = record_at(journal, position)?;
        let Some(attempt) = record.envelope.event.attempt() else { continue };
        let damaged = |what: &str| Remark::new(Reason::JournalDamaged).with("position", position).with("what", what);
        let form = record.form_set().and_then(|digest| state.form_set_version(&digest));
        let form = form.ok_or_else(|| damaged("form set"))?;
        verified.submissions += 1;
        let submission = match record.submission(form) {
            Ok(submission) => submission,
            Err(fault) => {
                verified.digests.add(fault);
                continue;
            }
        };
        if digest(&submission, form) != attempt.digest {
            verified.digests.add(damaged("digest"));
        }
        match checks::judge(&forms, &submission, &attempt.verdicts.grounds, &past) {
            Ok(checked) if attempt.verdicts.are_of(&checked) => {}
            Ok(_) => verified.verdicts.add(damaged("verdicts")),
            Err(fault) => verified.verdicts.add(fault),
        }
    }
    Ok(())
}
