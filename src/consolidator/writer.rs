//! The one writer. It takes all waiting commands as a group, decides and applies them one after the other on a state
//! of its own, appends their events as one batch with one sync, publishes the state to the readers, and then answers.
//!
//! Order is everything here: nothing is published or answered before its batch is durable. If the append fails, the
//! group's state is dropped, so nothing of it was ever visible; if it may have happened, the writer stops for good.
//! An event is folded in when the next one is decided; the last of a group before the append, or, if it is a filing that
//! is alone, while the append waits for the disk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;

use super::beside::Beside;
use super::notary::{Attestation, Notary, Signed};
use super::past::{Held, Past};
use super::queue::Queue;
use super::record::{self, Packed, Record};
use super::saved_state::Saver;
use super::{Done, Published, Shared, store_fault, stored};
use crate::budget::digest::Digest;
use crate::budget::form_set::{FormFiles, FormSet};
use crate::budget::reason::{Reason, Remark};
use crate::budget::submission::Slot;
use crate::ledger::actor::Actor;
use crate::ledger::decide::{Action, Command, Decision, decide};
use crate::ledger::event::{Envelope, Event, TailGivenUp, Timestamp};
use crate::ledger::state::{Filings, State};
use crate::ledger::{Contents, Position};
use crate::store::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX, RECORD_BYTES_MAX};

/// A command on its way to the writer.
pub(super) struct Job {
    pub(super) command: Command,
    pub(super) packed: Option<Packed>,
    /// What it takes of the queue's room.
    pub(super) bytes: usize,
    /// No other filing is under way.
    pub(super) is_alone: bool,
    pub(super) reply: oneshot::Sender<Result<Done, Remark>>,
}

/// A command of the group that is decided: what it will be answered once the batch is durable.
type Answer = (oneshot::Sender<Result<Done, Remark>>, Result<Done, Remark>);

/// Lets go of what waits when the writer is gone; if it fell, nothing more is taken, and whoever asks is told so.
struct End<'q> {
    queue: &'q Queue<Job>,
    shared: Arc<Shared>,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.accepting.store(false, Ordering::Release);
        }
        self.queue.abandon();
    }
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    beside: Beside,
    saver: Option<Saver>,
}

/// The group being built.
struct Group<'j> {
    fold: Fold<Past<'j>>,
    batch: Vec<Vec<u8>>,
    bytes: usize,
    envelopes: BTreeMap<Position, Arc<Envelope>>,
    answers: Vec<Answer>,
}

/// The state that a group's events lead to.
struct Fold<C> {
    state: State,
    /// The last event, which the state doesn't know yet.
    last: Option<Arc<Envelope>>,
    /// Knows the group's own submissions too.
    past: C,
}

impl<C: Contents> Fold<C> {
    /// Folds the last event in.
    fn catch_up(&mut self) -> Result<(), Remark> {
        self.last.take().map_or(Ok(()), |last| self.state.apply(&last, &self.past))
    }

    /// What is shown of the group once its batch is durable.
    fn conclude(mut self, notary: &Notary, batch: &[Vec<u8>]) -> Result<Outcome, Remark> {
        self.catch_up()?;
        Ok(Outcome { state: self.state, attestation: notary.attest(batch) })
    }
}

impl Fold<Past<'_>> {
    /// The same with no more than is at hand.
    fn beside(self) -> Fold<Held> {
        Fold { past: self.past.held(), state: self.state, last: self.last }
    }

    /// Has at hand what a filing takes the place of in the sums: once it is on its way to the disk, nothing may be missing.
    fn hold_replaced(&mut self, slot: &Slot) -> Result<(), Remark> {
        let Some(replaced) = self.state.filings(slot).and_then(Filings::counting) else { return Ok(()) };
        let position = replaced.position;
        self.past.hold(position, self.past.submission(position)?);
        Ok(())
    }

    /// Whether the last event is a filing, and all that it takes to fold it in is at hand.
    fn is_at_hand(&self) -> bool {
        let is_filing = |last: &Envelope| last.event.attempt().is_some() && last.event.control_revision().is_none();
        self.last.as_deref().is_some_and(is_filing)
    }
}

/// What is shown of a group once it is durable.
struct Outcome {
    state: State,
    attestation: Attestation,
}

/// What became of one command of a group.
enum Step {
    /// Decided; its answer waits for the batch.
    Taken,
    /// Its event doesn't fit into this batch any more: the next group starts with it.
    Full(Box<Job>),
    /// The journal can't be read: the group must not be appended.
    Broken(Remark),
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, saver: Option<Saver>) -> Result<Writer, Remark> {
        Ok(Writer { shared, beside: Beside::start()?, saver })
    }

    /// Runs until the queue is closed and all that came before is answered.
    pub(super) fn run(mut self, queue: &Queue<Job>) {
        // Also if this thread falls: whoever waits then learns that the outcome is unknown.
        let _end = End { queue, shared: self.shared.clone() };
        while let Some(job) = queue.next() {
            self.group(job, queue);
        }
        if let Some(saver) = self.saver.take() {
            saver.close(self.shared.published.load().state.clone());
        }
    }

    /// Takes one group: this command, and what waits behind it.
    fn group(&mut self, first: Job, queue: &Queue<Job>) {
        let (shared, published) = (self.shared.clone(), self.shared.published.load().state.clone());
        let past = Past::new(shared.journal.as_ref(), &published);
        let mut group = Group {
            fold: Fold { state: State::clone(&published), last: None, past },
            batch: Vec::new(),
            bytes: 0,
            envelopes: BTreeMap::new(),
            answers: Vec::new(),
        };
        let is_alone = first.is_alone;
        let mut broken = None;
        let mut next = Some(first);
        while let Some(job) = next.take() {
            match self.step(&mut group, job) {
                Step::Taken if group.answers.len() < BATCH_RECORDS_MAX => next = queue.try_next(),
                Step::Taken => {}
                Step::Full(job) => {
                    let (actor, bytes) = (job.command.actor.clone(), job.bytes);
                    queue.put_back(&actor, *job, bytes);
                    break;
                }
                Step::Broken(fault) => {
                    broken = Some(fault);
                    break;
                }
            }
        }
        let Group { fold, batch, answers, bytes, .. } = group;
        let (batch, is_alone) = (Arc::new(batch), is_alone && answers.len() == 1);
        // Its submissions are let go before the answers are given: whoever sent one frees its memory, not the one writer.
        let outcome = match broken {
            Some(fault) => {
                self.stop();
                Err(fault)
            }
            None if batch.is_empty() => Ok(None),
            None => self.make_durable(published.position, fold, &batch, is_alone).map(Some),
        };
        match outcome {
            Ok(outcome) => {
                let state = outcome.map(|Outcome { state, attestation }| {
                    tracing::debug!(events = batch.len(), bytes, position = state.position, "group durable");
                    let state = Arc::new(state);
                    self.show(state.clone(), self.shared.notary.keep(attestation));
                    state
                });
                for (reply, answer) in answers {
                    if let Ok(done) = &answer {
                        self.shared.metrics.done(done);
                    }
                    respond(reply, answer);
                }
                if let Some((saver, state)) = self.saver.as_mut().zip(state) {
                    saver.offer(&state);
                }
            }
            // Decided on a state that never came to be: even a refusal may be wrong now.
            Err(fault) => answers.into_iter().for_each(|(reply, _)| respond(reply, Err(fault.clone()))),
        }
    }

    /// Appends the events of a group and folds the last of them in: first, or, if it is a filing that is alone, on the
    /// thread beside while this one waits for the disk.
    fn make_durable(
        &self,
        head: Position,
        fold: Fold<Past<'_>>,
        batch: &Arc<Vec<Vec<u8>>>,
        is_alone: bool,
    ) -> Result<Outcome, Remark> {
        if !(is_alone && fold.is_at_hand()) {
            let outcome = fold.conclude(&self.shared.notary, batch).inspect_err(|_| self.stop())?;
            return self.append(head, batch).map(|()| outcome);
        }
        let (fold, shared, appended) = (fold.beside(), self.shared.clone(), batch.clone());
        let begun = self.beside.begin(move || fold.conclude(&shared.notary, &appended));
        self.append(head, batch)?;
        // If it is on the disk and can't be shown, nothing may be built on it.
        begun.end().and_then(|folded| folded).inspect_err(|_| self.stop())
    }

    fn append(&self, head: Position, batch: &[Vec<u8>]) -> Result<(), Remark> {
        if batch.is_empty() {
            return Ok(());
        }
        if !self.shared.accepting.load(Ordering::Acquire) {
            return Err(Remark::new(Reason::StoreStopped).with("what", "writer"));
        }
        let timer = self.shared.metrics.timer();
        match self.shared.journal.append(head, batch) {
            Ok(_) => {
                self.shared.metrics.durable(batch.len(), timer);
                Ok(())
            }
            Err(error) => {
                let fault = store_fault(error);
                // A full disk or an oversized record leaves the journal as it was; anything else ends the writing.
                if !matches!(fault.reason, Reason::StoreFull | Reason::SubmissionTooLarge) {
                    self.stop();
                }
                Err(fault)
            }
        }
    }

    /// Signs the head, if nothing that was published since the start has been signed.
    pub(super) fn sign_head(&self) {
        let published = self.shared.published.load_full();
        if published.signed.is_none() {
            let nothing_new = self.shared.notary.attest(&[]);
            self.show(published.state.clone(), self.shared.notary.keep(nothing_new));
        }
    }

    fn show(&self, state: Arc<State>, signed: Option<Arc<Signed>>) {
        if let Some(signed) = &signed {
            self.shared.journal.keep_checkpoint(signed.size, signed.note.as_bytes());
        }
        self.shared.published.store(Arc::new(Published { state: state.clone(), signed }));
        self.shared.moved.send_replace(state.position);
        self.shared.past_states.offer(&state);
    }

    /// Records that what was signed behind the head is given up.
    pub(super) fn give_up(&self, checkpoint: String) -> Result<(), Remark> {
        let published = self.shared.published.load_full();
        let head = published.state.position;
        let envelope = Envelope {
            position: head + 1,
            time: (self.shared.clock)().max(published.state.time),
            actor: Actor::service(),
            key: format!("given-up-after-{head}").into(),
            fingerprint: Digest::of(checkpoint.as_bytes()),
            event: Event::TailGivenUp(TailGivenUp { checkpoint }),
        };
        let batch = [record::encode(&envelope, None)?];
        let mut state = State::clone(&published.state);
        state.apply(&envelope, &Past::new(self.shared.journal.as_ref(), &published.state))?;
        self.append(head, &batch)?;
        let attestation = self.shared.notary.attest(&batch);
        self.show(Arc::new(state), self.shared.notary.restart(attestation));
        Ok(())
    }

    fn stop(&self) {
        self.shared.accepting.store(false, Ordering::Release);
        tracing::error!("the writer has stopped accepting; reads go on");
    }

    fn step(&self, group: &mut Group<'_>, mut job: Job) -> Step {
        if let Err(fault) = group.fold.catch_up() {
            group.answers.push((job.reply, Err(fault.clone())));
            return Step::Broken(fault);
        }
        let Fold { state, past, .. } = &group.fold;
        // A clock that was set back must not turn the order of events around.
        job.command.time = (self.shared.clock)().max(state.time);
        let (event, checked) = match decide(state, &job.command, past) {
            Ok(Decision::Record(event, checked)) => (*event, checked),
            Ok(Decision::Repeat(position)) => {
                let answer =
                    self.first_answer(group, position).map(|envelope| Done { envelope, repeated: true, checked: None });
                group.answers.push((job.reply, answer));
                return Step::Taken;
            }
            Err(refusal) => {
                group.answers.push((job.reply, Err(refusal)));
                return Step::Taken;
            }
        };
        let envelope = Envelope {
            position: state.position + 1,
            time: job.command.time,
            actor: job.command.actor.clone(),
            key: job.command.key.clone(),
            fingerprint: job.command.fingerprint,
            event,
        };
        let taken = matches!(envelope.event, Event::Submitted(_));
        let bytes = match record::encode(&envelope, job.packed.as_ref()) {
            Ok(bytes) => bytes,
            Err(fault) => {
                group.answers.push((job.reply, Err(fault)));
                return Step::Taken;
            }
        };
        // The store would refuse it with all that was decided beside it.
        if bytes.len() > RECORD_BYTES_MAX {
            let refusal = Remark::new(Reason::SubmissionTooLarge).with("packed", bytes.len());
            group.answers.push((job.reply, Err(refusal.with("allowed_packed", RECORD_BYTES_MAX))));
            return Step::Taken;
        }
        if !group.batch.is_empty()
            && (group.bytes + bytes.len() > BATCH_BYTES_MAX || group.batch.len() == BATCH_RECORDS_MAX)
        {
            return Step::Full(Box::new(job));
        }
        if taken && let Action::Submit(filing) = &job.command.action {
            let submission = &filing.reading.submission;
            // Nothing of it is in the group yet, so nobody else has to suffer for a record that can't be read.
            if let Err(fault) = group.fold.hold_replaced(&submission.header) {
                tracing::error!(%fault, slot = %submission.header, "what a filing takes the place of can't be read");
                group.answers.push((job.reply, Err(fault)));
                return Step::Taken;
            }
            // Shared with the reading: no second copy of the rows.
            group.fold.past.hold(envelope.position, submission.clone());
        }
        let envelope = Arc::new(envelope);
        group.fold.last = Some(envelope.clone());
        group.envelopes.insert(envelope.position, envelope.clone());
        group.bytes += bytes.len();
        group.batch.push(bytes);
        group.answers.push((job.reply, Ok(Done { envelope, repeated: false, checked })));
        Step::Taken
    }

    /// The event that answered a key before: of this group, or from the journal.
    fn first_answer(&self, group: &Group<'_>, position: Position) -> Result<Arc<Envelope>, Remark> {
        if let Some(envelope) = group.envelopes.get(&position) {
            return Ok(envelope.clone());
        }
        let bytes = stored(self.shared.journal.as_ref(), position)?;
        Ok(Arc::new(Record::decode(position, &bytes)?.envelope))
    }

    /// Publishes a form set that the program brings along, unless the journal knows its id already.
    pub(super) fn publish_embedded(&mut self, files: FormFiles) -> Result<(), Remark> {
        let form = FormSet::load(files).map_err(|faults| {
            let first = faults.first().map(|fault| format!("{}:{}:{}", fault.file, fault.line, fault.column));
            Remark::new(Reason::FormSetInvalid).with("place", first.unwrap_or_default())
        })?;
        if self.shared.published.load().state.form_set(&form.id).is_some() {
            return Ok(());
        }
        let (reply, mut answer) = oneshot::channel();
        let command = Command {
            actor: Actor::service(),
            key: format!("embedded-{}", form.digest.short()).into(),
            fingerprint: form.digest,
            time: Timestamp::default(),
            action: Action::PublishFormSet { form: Arc::new(form) },
        };
        self.group(Job { command, packed: None, bytes: 0, is_alone: false, reply }, &Queue::new());
        match answer.try_recv() {
            Ok(answer) => answer.map(|_| ()),
            Err(_) => Err(Remark::new(Reason::OutcomeUnknown)),
        }
    }
}

fn respond(reply: oneshot::Sender<Result<Done, Remark>>, answer: Result<Done, Remark>) {
    if reply.send(answer).is_err() {
        // The client is gone; it will ask again with its key.
        tracing::debug!("nobody waits for this answer any more");
    }
}
