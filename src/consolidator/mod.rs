//! The consolidator: one writer, many readers, and the journal below them.
//!
//! The only place with policy about time and concurrency. A [`Consolidator`] is opened on a journal, folds it,
//! and starts the one writer thread (`writer.rs`). Readers take a [`snapshot`](Consolidator::snapshot): a value that
//! shares no lock with the writer. Events become bytes in `record.rs`; past submissions are found by `past.rs`.
//! It knows nothing of gRPC, and of budgets only what [`crate::ledger`] tells it.

mod as_of;
mod beside;
mod content;
mod export;
mod metrics;
mod notary;
mod past;
mod proof;
mod queue;
pub mod record;
mod review;
mod review_record;
mod saved_state;
mod saved_tree;
pub mod verify;
mod weight;
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinError;

use crate::budget::digest::Digest;
use crate::budget::finding::Finding;
use crate::budget::form_set::{FormFiles, FormSet};
use crate::budget::intake::{Placed, Reading};
use crate::budget::reason::{Reason, Remark};
use crate::budget::rule::{Checked, Fingerprint, RuleFinding};
use crate::budget::submission::{Slot, Submission};
use crate::ledger::actor::{Actor, Operation, may};
use crate::ledger::checks::{self, Ahead};
use crate::ledger::decide::{Action, AdjustmentOrder, Command, Filing};
use crate::ledger::event::{Envelope, Event, IdempotencyKey, Justification, Looked, Timestamp};
use crate::ledger::state::{FormSetVersions, State};
use crate::ledger::tree::leaf_hash;
use crate::ledger::{Contents, Position};
use crate::store::{Journal, JournalError, ReplacedFile};
use as_of::PastStates;
pub use as_of::{AsOf, RECENT_MAX, SPACING};
pub use export::{Export, Piece};
pub use metrics::Free;
use metrics::{Metrics, Standing};
use notary::Notary;
pub use notary::{Signed, Signing};
use past::Past;
pub use proof::Proved;
use queue::Queue;
use record::{Packed, Record};
pub use saved_state::SAVED_STATE_FILE;
use saved_state::Saver;
pub use saved_tree::SAVED_TREE_FILE;
use weight::weight;
use writer::{Job, Writer};

/// Looks are recorded while fewer commands than these wait for the writer.
const LOOKS_BEHIND_MAX: usize = 1_024;

/// The key of all looks: nobody asks for one again.
const LOOK_KEY: &str = "look";

/// The server's clock, handed in so that tests can turn it.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The form sets in `forms/`, embedded when the program was built.
pub fn embedded_form_sets() -> Vec<FormFiles> {
    const EMBEDDED: &[&[(&str, &[u8])]] = include!(concat!(env!("OUT_DIR"), "/form_sets.rs"));
    let file = |(name, bytes): &(&str, &[u8])| ((*name).to_owned(), bytes.to_vec());
    EMBEDDED.iter().map(|files| files.iter().map(file).collect()).collect()
}

/// A command that was carried out (or had been, under the same key).
#[derive(Clone, Debug)]
pub struct Done {
    /// Its event, durable in the journal.
    pub envelope: Arc<Envelope>,
    /// Whether it is the first answer given again.
    pub repeated: bool,
    /// What rules found, if it is a filing that was just decided.
    pub checked: Option<Arc<Checked>>,
}

/// A handle on the writer and the readers' snapshot. Clones share them.
#[derive(Clone)]
pub struct Consolidator {
    shared: Arc<Shared>,
    entrance: Arc<Entrance>,
}

/// What the handle shares with the writer.
struct Shared {
    journal: Arc<dyn Journal>,
    published: ArcSwap<Published>,
    notary: Arc<Notary>,
    /// The position of what is published, for those who wait for it to move.
    moved: watch::Sender<Position>,
    past_states: PastStates,
    accepting: AtomicBool,
    /// How many filings are on their way from being read to being answered.
    under_way: AtomicUsize,
    records_looks: AtomicBool,
    metrics: Metrics,
    clock: Clock,
}

/// What readers see: everything acknowledged, and the checkpoint that was signed of it.
struct Published {
    state: Arc<State>,
    signed: Option<Arc<Signed>>,
}

/// Where commands come in; the queue closes with the last handle.
struct Entrance(Arc<Queue<Job>>);

impl Drop for Entrance {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Waits for the writer to end, which it does after [`Consolidator::close`], or when the last handle is gone.
pub struct WriterThread(JoinHandle<()>);

impl WriterThread {
    /// Blocks until the writer has ended and everything it took is answered.
    pub fn join(self) {
        if self.0.join().is_err() {
            tracing::error!("the writer thread ended by a panic");
        }
    }
}

impl Consolidator {
    /// Folds the journal and starts the writer. Form sets of `form_sets` whose id the journal doesn't know yet are
    /// published first; one that it knows stays as it is, so that an upgrade of the program changes no rules.
    /// With a file for the `saved` state, only what came after it is folded.
    ///
    /// # Errors
    /// `JOURNAL_NEWER`, `JOURNAL_DAMAGED`, or what the store says.
    pub fn open(
        journal: Arc<dyn Journal>,
        clock: Clock,
        form_sets: Vec<FormFiles>,
        saved: Option<ReplacedFile>,
    ) -> Result<(Consolidator, WriterThread), Remark> {
        Consolidator::open_signing(journal, clock, form_sets, saved, None)
    }

    /// The same with checkpoints that are signed.
    ///
    /// # Errors
    /// As [`Consolidator::open`]; `STORE_BEHIND_CHECKPOINT` or `STORE_NOT_AS_SIGNED` if the journal is not what was
    /// signed.
    pub fn open_signing(
        journal: Arc<dyn Journal>,
        clock: Clock,
        form_sets: Vec<FormFiles>,
        saved: Option<ReplacedFile>,
        signing: Option<Signing>,
    ) -> Result<(Consolidator, WriterThread), Remark> {
        let state = saved.as_ref().and_then(|file| saved_state::read(file, journal.as_ref())).unwrap_or_default();
        let tree_file = saved.as_ref().map(|file| file.beside(SAVED_TREE_FILE));
        let mut tree = tree_file.map(|file| saved_tree::read(&file, journal.as_ref())).unwrap_or_default();
        let (from, hashed) = (state.position, tree.size());
        // Those that only the state has been saved for.
        if hashed < from {
            for record in journal.scan(hashed + 1).take_while(|record| !matches!(record, Ok((at, _)) if *at > from)) {
                tree.push(leaf_hash(&record.map_err(store_fault)?.1));
            }
        }
        let state = fold_each(state, journal.as_ref(), Position::MAX, &mut |position, bytes| {
            if position > tree.size() {
                tree.push(leaf_hash(bytes));
            }
        })?;
        tracing::info!(from, hashed, position = state.position, "journal folded");
        let notary = Arc::new(Notary::new(tree, signing));
        let given_up = notary.compare()?;
        let saver = saved.map(|file| Saver::start(file, journal.clone(), notary.clone(), from)).transpose()?;
        let state = Arc::new(state);
        let shared = Arc::new(Shared {
            moved: watch::Sender::new(state.position),
            journal,
            past_states: PastStates::new(state.clone()),
            published: ArcSwap::from_pointee(Published { state, signed: None }),
            notary,
            accepting: AtomicBool::new(true),
            under_way: AtomicUsize::new(0),
            records_looks: AtomicBool::new(false),
            metrics: Metrics::new(),
            clock,
        });
        let queue = Arc::new(Queue::new());
        let jobs = queue.clone();
        let mut writer = Writer::new(shared.clone(), saver)?;
        if let Some(note) = given_up {
            writer.give_up(note)?;
        }
        for files in form_sets {
            writer.publish_embedded(files)?;
        }
        writer.sign_head();
        let thread = std::thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || writer.run(&jobs))
            .map_err(|error| Remark::new(Reason::StoreStopped).with("what", error))?;
        Ok((Consolidator { shared, entrance: Arc::new(Entrance(queue)) }, WriterThread(thread)))
    }

    /// The state that readers see: everything acknowledged, nothing else.
    pub fn snapshot(&self) -> Snapshot {
        let Published { state, signed } = &*self.shared.published.load_full();
        let (journal, notary) = (self.shared.journal.clone(), self.shared.notary.clone());
        Snapshot { today: state.clone(), state: state.clone(), journal, notary, signed: signed.clone() }
    }

    /// The position of the readers' state as it moves. However many wait for it, the writer only says it once.
    pub fn positions(&self) -> watch::Receiver<Position> {
        self.shared.moved.subscribe()
    }

    /// The time at which a command would be decided now.
    pub fn now(&self) -> Timestamp {
        (self.shared.clock)().max(self.shared.published.load().state.time)
    }

    /// Whether commands are taken: the writer has not stopped, and the disk is not down to its reserve.
    pub fn is_accepting(&self) -> bool {
        !self.has_stopped() && self.shared.journal.has_room()
    }

    /// Whether the writer has stopped for good.
    pub fn has_stopped(&self) -> bool {
        !self.shared.accepting.load(Ordering::Acquire)
    }

    /// What is counted, in the text format of Prometheus. `free` is how many bytes are left on the disks, `certificates`
    /// until when those of the server hold, in seconds of Unix time.
    pub fn metrics(&self, free: Free, certificates: &[(&'static str, i64)]) -> String {
        let standing = Standing {
            position: self.shared.published.load().state.position,
            mirrored: self.mirror_position(),
            queue: self.entrance.0.len(),
            queue_bytes: self.entrance.0.bytes(),
            accepting: self.is_accepting(),
            free,
        };
        self.shared.metrics.text(standing, certificates)
    }

    /// The position through which a mirror has everything durably; none without a mirror.
    pub fn mirror_position(&self) -> Option<Position> {
        self.shared.journal.mirrored()
    }

    /// Sums a filing up, packs it for the journal and runs the rules: the costly part, done before it waits for the
    /// writer. `sealed` is the digest that the sender gave it: what can't be read is told apart by it.
    ///
    /// A filing that is alone is worked on by several processors at once; of many, each is by one.
    ///
    /// # Errors
    /// A fault.
    pub async fn prepare(
        &self,
        placed: Placed,
        sealed: Option<Digest>,
        form: &Arc<FormSet>,
        (version, adjustment): (Option<u32>, Option<AdjustmentOrder>),
    ) -> Result<PreparedFiling, Remark> {
        let (under_way, snapshot) = (Arc::new(UnderWay::one_more(&self.shared)), self.snapshot());
        let filed = || (placed.submission.clone(), form.clone());
        let ((packs, pack_on), (judges, judge_on), sum_up_on) = (filed(), filed(), form.clone());
        let sum_up = move || placed.sum_up(&sum_up_on);
        let pack = move || Packed::new(&packs, &pack_on);
        let judge = move || checks::check(&snapshot.state, &judge_on, &judges, None, &snapshot);
        let (packed, reading, judged) = if under_way.is_alone() {
            // The last one runs here; the first, which takes longest but for many rules, wherever somebody has nothing to do.
            let counted = || under_way.clone();
            let parts = (elsewhere(counted(), pack), elsewhere(counted(), sum_up), elsewhere(counted(), judge));
            (parts.0.await, parts.1.await, parts.2.await)
        } else {
            (pack(), sum_up(), judge())
        };
        let (packed, (grounds, checked)) = (packed?, judged?);
        Ok(PreparedFiling {
            fingerprint: fingerprint(&reading, sealed, form, adjustment.as_ref()),
            filing: Filing { reading: Arc::new(reading), version, ahead: Some(Ahead { grounds, checked }), adjustment },
            packed,
            under_way,
        })
    }

    /// Files a prepared filing.
    ///
    /// # Errors
    /// The refusal, or a fault.
    pub async fn submit(&self, actor: Actor, key: IdempotencyKey, prepared: PreparedFiling) -> Result<Done, Remark> {
        let PreparedFiling { filing, fingerprint, packed, under_way } = prepared;
        // Held until it is answered, so that it is freed where it was made.
        let _reading = filing.reading.clone();
        let command = command(actor, key, fingerprint, Action::Submit(filing));
        self.put(command, Some(packed), under_way.is_alone()).await
    }

    /// Justifies findings of the filing at a position: each is named by its fingerprint, and must be a failed rule.
    ///
    /// # Errors
    /// The refusal, or a fault.
    pub async fn justify(
        &self,
        actor: Actor,
        key: IdempotencyKey,
        fingerprint: Digest,
        (slot, position): (Slot, Position),
        texts: Vec<(Fingerprint, String)>,
    ) -> Result<Done, Remark> {
        let snapshot = self.snapshot();
        // Before anything is looked up: no answer tells a stranger what there is.
        let tree = snapshot.state.tree(slot.year).map(Arc::as_ref);
        if !may(&actor, Operation::Justify, &slot.unit, tree) {
            return Err(Remark::new(Reason::NotPermitted).with("actor", &actor).with("node", &slot.unit));
        }
        let unknown = || Remark::new(Reason::UnknownSubmission).with("slot", &slot).with("version", "");
        if position == 0 || position > snapshot.state.position {
            return Err(unknown());
        }
        let filing = snapshot.judged(position)?.ok_or_else(unknown)?;
        if filing.envelope.event.attempt().is_none_or(|attempt| attempt.slot != slot) {
            return Err(unknown());
        }
        let failed = filing.checked.findings.iter().filter(|finding| finding.failed());
        let failed: BTreeMap<Fingerprint, &RuleFinding> =
            failed.map(|finding| (filing.form.rules.fingerprint(finding), finding)).collect();
        let item = |(fingerprint, text): (Fingerprint, String)| {
            let finding = failed.get(&fingerprint).ok_or_else(|| {
                let remark = Remark::new(Reason::UnknownFinding).with("slot", &slot);
                remark.with("fingerprint", fingerprint.short())
            })?;
            Ok(Justification { rule: finding.rule.clone(), place: finding.place.clone(), fingerprint, text })
        };
        let items = texts.into_iter().map(item).collect::<Result<_, Remark>>()?;
        self.carry_out(actor, key, fingerprint, Action::Justify { slot, position, items }).await
    }

    /// Carries out any other command.
    ///
    /// # Errors
    /// The refusal, or a fault.
    pub async fn carry_out(
        &self,
        actor: Actor,
        key: IdempotencyKey,
        fingerprint: Digest,
        action: Action,
    ) -> Result<Done, Remark> {
        self.send(actor, key, fingerprint, action).await
    }

    /// Ends the writer once everything that waits before this is answered. Later commands are faults.
    pub async fn close(&self) {
        self.entrance.0.close();
    }

    async fn send(
        &self,
        actor: Actor,
        key: IdempotencyKey,
        fingerprint: Digest,
        action: Action,
    ) -> Result<Done, Remark> {
        self.put(command(actor, key, fingerprint, action), None, false).await
    }

    /// Has the writer decide a command: that of a filing with its cells packed.
    async fn put(&self, command: Command, packed: Option<Packed>, is_alone: bool) -> Result<Done, Remark> {
        let stopped = || Remark::new(Reason::StoreStopped).with("what", "writer");
        if self.has_stopped() {
            return Err(stopped());
        }
        let (reply, answer) = oneshot::channel();
        let (actor, queue) = (command.actor.clone(), &self.entrance.0);
        let bytes = weight(&command.action, packed.as_ref());
        let let_go =
            queue.push(&actor, Job { command, packed, bytes, is_alone, reply }, bytes).map_err(|_| stopped())?;
        for job in let_go {
            // Who asked has gone already if nobody hears it.
            let _ = job.reply.send(Err(Remark::new(Reason::Busy).with("waiting", queue.len())));
        }
        // A writer that ends without an answer may have appended before: the client must ask again.
        let done = answer.await.unwrap_or_else(|_| Err(Remark::new(Reason::OutcomeUnknown)))?;
        tracing::Span::current().record("position", done.envelope.position);
        Ok(done)
    }

    /// From now on, commands of at most so many bytes wait for the writer, of all identities together. Beyond it, the
    /// last of whoever has the most waiting is refused: `BUSY`, and certainly not carried out.
    pub fn bound_waiting(&self, bytes: usize) {
        self.entrance.0.bound(bytes);
    }

    /// From now on, what auditors look at is recorded.
    pub fn record_looks(&self) {
        self.shared.records_looks.store(true, Ordering::Release);
    }

    /// Records that somebody looked at a node, if that is recorded. Nobody waits for it: the answer is on its way, and
    /// goes out whether or not this can be kept. A look that is lost (the store is full or has stopped, or very many
    /// wait) is logged as a warning and counted.
    pub fn looked(&self, actor: &Actor, method: &str, node: &str) {
        if !self.shared.records_looks.load(Ordering::Acquire) {
            return;
        }
        let look = Looked { node: node.into(), method: method.into() };
        let said = format!("{method} {node}");
        let lost = {
            let (actor, shared) = (actor.clone(), self.shared.clone());
            move |why: Remark| {
                shared.metrics.look_lost();
                tracing::warn!(%actor, look = said, %why, "a look of an auditor could not be recorded");
            }
        };
        if self.entrance.0.len() >= LOOKS_BEHIND_MAX {
            return lost(Remark::new(Reason::Busy).with("waiting", LOOKS_BEHIND_MAX));
        }
        let (consolidator, actor) = (self.clone(), actor.clone());
        let fingerprint = Digest::of(look.method.as_bytes());
        tokio::spawn(async move {
            if let Err(why) = consolidator.send(actor, LOOK_KEY.into(), fingerprint, Action::Look(look)).await {
                lost(why);
            }
        });
    }

    /// Counts a request that was refused because of a limit.
    pub fn over_limit(&self, limit: &'static str) {
        self.shared.metrics.over_limit(limit);
    }
}

/// Its time is the writer's to say.
fn command(actor: Actor, key: IdempotencyKey, fingerprint: Digest, action: Action) -> Command {
    Command { actor, key, fingerprint, time: Timestamp::default(), action }
}

/// What a filing says, for its key. Rows that found no place are in no digest of cells: their number and the findings
/// about them tell such filings apart, from each other and from the corrected one.
fn fingerprint(reading: &Reading, sealed: Option<Digest>, form: &FormSet, how: Option<&AdjustmentOrder>) -> Digest {
    let mut said = said((reading.digest, sealed), &reading.submission, form, how);
    if reading.is_refused() {
        said.extend(reading.row_count.to_be_bytes());
        for Finding { place, remark, .. } in &reading.findings {
            let text = format!("{} {} {} {} {remark}\n", place.table, place.line, place.row, place.column);
            said.extend(text.as_bytes());
        }
    }
    Digest::of(&said)
}

/// What a filing without faults of shape says: its content, the digest that its sender gave it if one was given, and how
/// it changes an approved version if it does. All of it can be worked out again from its event.
fn said(
    (digest, sealed): (Digest, Option<Digest>),
    submission: &Submission,
    form: &FormSet,
    adjustment: Option<&AdjustmentOrder>,
) -> Vec<u8> {
    let mut said = [digest.0, sealed.unwrap_or_default().0].concat();
    if let Some(adjustment) = adjustment {
        said.extend(adjustment.said(form, submission.header.round).as_bytes());
    }
    said
}

/// A filing that is read and packed.
pub struct PreparedFiling {
    filing: Filing,
    fingerprint: Digest,
    packed: Packed,
    under_way: Arc<UnderWay>,
}

impl PreparedFiling {
    /// What was read.
    pub fn reading(&self) -> &Reading {
        &self.filing.reading
    }
}

/// A filing on its way from being read to being answered, counted while it is.
struct UnderWay(Arc<Shared>);

impl UnderWay {
    fn one_more(shared: &Arc<Shared>) -> UnderWay {
        shared.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(shared.clone())
    }

    fn is_alone(&self) -> bool {
        self.0.under_way.load(Ordering::Relaxed) == 1
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Has some work of a filing done by whichever of the runtime's threads comes to it first. It is under way until that is
/// done, even if nobody waits for it any more.
fn elsewhere<T: Send + 'static>(
    under_way: Arc<UnderWay>,
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = T> {
    let task = tokio::spawn(async move {
        let _under_way = under_way;
        work()
    });
    async move {
        match task.await.map_err(JoinError::try_into_panic) {
            Ok(done) => done,
            // As it would have here.
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            // The runtime ends, and whoever waits with it.
            Err(Err(_)) => std::future::pending().await,
        }
    }
}

/// A filing of the past, with what was found in it.
#[derive(Debug)]
pub struct JudgedFiling {
    /// Its event: a `Submitted` or `Refused` one.
    pub envelope: Envelope,
    /// The version of the form set that it was judged by.
    pub form: Arc<FormSet>,
    /// What its rules found.
    pub checked: Checked,
}

impl JudgedFiling {
    /// What a record's filing comes to, worked out again; none if it is no filing's.
    fn of(record: Record, forms: &FormSetVersions, contents: &dyn Contents) -> Result<Option<JudgedFiling>, Remark> {
        let Some(attempt) = record.envelope.event.attempt() else { return Ok(None) };
        let position = record.envelope.position;
        let damaged = || Remark::new(Reason::JournalDamaged).with("position", position).with("what", "form set");
        let form = forms.get(&attempt.form_set.digest).ok_or_else(damaged)?.clone();
        let submission = record.submission(&form)?;
        let checked = checks::found_again(forms, &submission, &attempt.verdicts, contents)?;
        Ok(Some(JudgedFiling { envelope: record.envelope, form, checked }))
    }
}

/// What readers look at: one position, and the past behind it.
#[derive(Clone)]
pub struct Snapshot {
    /// The state at that position.
    pub state: Arc<State>,
    /// The state that was published when it was asked for: whatever is looked at, who may is said by today's trees.
    pub today: Arc<State>,
    journal: Arc<dyn Journal>,
    notary: Arc<Notary>,
    signed: Option<Arc<Signed>>,
}

impl Snapshot {
    /// The event at a position.
    ///
    /// # Errors
    /// `UNKNOWN_POSITION`, or a fault.
    pub fn event(&self, position: Position) -> Result<Envelope, Remark> {
        Ok(self.record(position)?.envelope)
    }

    /// A filing with its cells and all that was found in it, figures included; none if the event at that position is
    /// something else.
    ///
    /// # Errors
    /// `UNKNOWN_POSITION`, or a fault.
    pub fn judged(&self, position: Position) -> Result<Option<JudgedFiling>, Remark> {
        JudgedFiling::of(self.record(position)?, &self.state.form_set_versions(), self)
    }

    fn record(&self, position: Position) -> Result<Record, Remark> {
        let unknown =
            || Remark::new(Reason::UnknownPosition).with("position", position).with("head", self.state.position);
        if position == 0 || position > self.state.position {
            return Err(unknown());
        }
        let bytes = self.journal.read(position).map_err(store_fault)?.ok_or_else(unknown)?;
        Record::decode(position, &bytes)
    }
}

impl Contents for Snapshot {
    fn submission(&self, position: Position) -> Result<Arc<Submission>, Remark> {
        Past::new(self.journal.as_ref(), self.state.as_ref()).submission(position)
    }
}

/// Folds a whole journal.
///
/// # Errors
/// `JOURNAL_NEWER`, `JOURNAL_DAMAGED`, or what the store says.
pub fn fold(journal: &dyn Journal) -> Result<State, Remark> {
    fold_to(State::default(), journal, Position::MAX)
}

/// Folds what a journal has after a state, up to a position.
fn fold_to(state: State, journal: &dyn Journal, to: Position) -> Result<State, Remark> {
    fold_each(state, journal, to, &mut |_, _| {})
}

/// The same; each record is told before it is folded in.
fn fold_each(
    mut state: State,
    journal: &dyn Journal,
    to: Position,
    each: &mut dyn FnMut(Position, &[u8]),
) -> Result<State, Remark> {
    for record in journal.scan(state.position + 1) {
        let (position, bytes) = record.map_err(store_fault)?;
        if position > to {
            break;
        }
        each(position, &bytes);
        fold_one(&mut state, journal, &Record::decode(position, &bytes)?)?;
    }
    Ok(state)
}

fn fold_one(state: &mut State, journal: &dyn Journal, record: &Record) -> Result<(), Remark> {
    let mut past = Past::new(journal, state);
    let taken = matches!(record.envelope.event, Event::Submitted(_));
    if let Some(form) = record.form_set().filter(|_| taken).and_then(|digest| state.form_set_version(&digest)) {
        past.hold(record.envelope.position, Arc::new(record.submission(form)?));
    }
    state.apply(&record.envelope, &past)
}

/// The bytes of a record that must be there.
fn stored(journal: &dyn Journal, position: Position) -> Result<Vec<u8>, Remark> {
    let missing = || Remark::new(Reason::JournalDamaged).with("position", position).with("what", "record");
    journal.read(position).map_err(store_fault)?.ok_or_else(missing)
}

/// What a failure of the store means to a client: certainly not applied, or unknown.
pub(crate) fn store_fault(error: JournalError) -> Remark {
    let at = |reason, path: &std::path::Path| Remark::new(reason).with("path", path.display());
    let remark = match &error {
        JournalError::Damaged { position, what } => {
            Remark::new(Reason::JournalDamaged).with("position", position).with("what", what)
        }
        JournalError::ArchiveDamaged { path, position, last, what, remedy, .. } => at(Reason::ArchiveDamaged, path)
            .with("position", position)
            .with("last", last)
            .with("what", what)
            .with("remedy", remedy.code()),
        JournalError::HistoriesDiffer { path, position } => {
            at(Reason::HistoriesDiffer, path).with("position", position)
        }
        JournalError::TailLost { head, acknowledged } => {
            Remark::new(Reason::StoreTailLost).with("head", head).with("acknowledged", acknowledged)
        }
        JournalError::StoreEmpty { mirror, events } => at(Reason::StoreEmpty, mirror).with("events", events),
        JournalError::NotEmpty { path } => at(Reason::DirectoryNotEmpty, path),
        JournalError::KeyExposed { path, mode } => {
            at(Reason::SigningKeyUnusable, path).with("what", "exposed").with("mode", format!("{mode:o}"))
        }
        JournalError::LastCheckpointDamaged { path } => at(Reason::LastCheckpointDamaged, path),
        JournalError::NotAnArchive { path } => at(Reason::NotAnArchive, path),
        JournalError::BeginsLate { path, first } => at(Reason::NotAnArchive, path).with("first", first),
        JournalError::Full { path, free, reserve } => {
            at(Reason::StoreFull, path).with("free", free).with("reserve", reserve)
        }
        JournalError::BlobsPresent { .. } => Remark::new(Reason::JournalDamaged).with("what", FILES_IN_BLOBS),
        JournalError::OpenFailed { path, why } => at(Reason::StoreUnreadable, path).with("what", why),
        JournalError::WrongDirectory { data, mirror, problem } => {
            let remark = Remark::new(Reason::WrongDirectory).with("data", data.display());
            let remark = mirror.iter().fold(remark, |remark, mirror| remark.with("mirror", mirror.display()));
            remark.with("problem", problem.code())
        }
        JournalError::SigningWithinData { data, signing } => {
            let remark = Remark::new(Reason::WrongDirectory).with("data", data.display());
            remark.with("signing", signing.display()).with("problem", "signing-within-data")
        }
        JournalError::NewerFormat { path, found, known } => {
            at(Reason::JournalNewer, path).with("found", found).with("known", known)
        }
        JournalError::NewerKind { path, position, kind } => {
            at(Reason::JournalNewer, path).with("position", position).with("kind", kind)
        }
        JournalError::SyncFailed { .. } => Remark::new(Reason::OutcomeUnknown).with("what", &error),
        JournalError::InUse { path } => at(Reason::StoreInUse, path),
        JournalError::BatchTooLarge { .. } | JournalError::RecordTooLarge { .. } => {
            Remark::new(Reason::SubmissionTooLarge).with("what", &error)
        }
        JournalError::Conflict { .. } | JournalError::Stopped | JournalError::Io { .. } => {
            Remark::new(Reason::StoreStopped).with("what", &error)
        }
    };
    tracing::error!(%error, reason = remark.reason.code(), "the store failed");
    remark
}

/// What is damaged where sled has put files beside its log; in the catalogue's words.
const FILES_IN_BLOBS: &str = "files in blobs";

/// What a failure of the store means to whoever runs it, at a start and without a server: nobody has sent anything, so
/// nothing was refused and nothing is to be sent again. What is said is the path, and what the system says of it.
pub(crate) fn operator_fault(error: JournalError) -> Remark {
    let unusable = |path: &std::path::Path| Remark::new(Reason::PathUnusable).with("path", path.display());
    let remark = match &error {
        JournalError::Io { path, source } => unusable(path).with("what", source),
        JournalError::SyncFailed { path, why } => unusable(path).with("what", why),
        JournalError::BlobsPresent { path, .. } => {
            Remark::new(Reason::StoreUnreadable).with("path", path.display()).with("what", FILES_IN_BLOBS)
        }
        _ => return store_fault(error),
    };
    tracing::error!(%error, reason = remark.reason.code(), "the store failed");
    remark
}
