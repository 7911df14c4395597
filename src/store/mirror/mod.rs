//! A journal with a mirror: an engine, and an archive file in another directory
//! (better on another disk) that is kept current with it.
//!
//! **Synced** (the default): a batch is written and synced in both, in parallel,
//! before it is acknowledged; if either fails, nothing more is taken. So each
//! acknowledged event is in two places. **Lagging**: a batch is acknowledged
//! once the engine has it, and the mirror follows by reading the engine, so
//! that a slow mirror costs no memory; [`Journal::mirrored`] says how far it is.
//!
//! Knows any [`Journal`] as its engine, and no budgets. What happens when the
//! two don't hold the same is in `open.rs`, the file itself in `file.rs`.

mod file;
mod open;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use self::file::MirrorFile;
use super::archive;
use super::directory::{io_at, refuse_full};
use super::{Disk, Journal, JournalError, Observer, RealDisk, Records, check_batch};

pub use self::file::MIRROR_FILE;

/// How much a following mirror reads and syncs at once.
const FOLLOW_BYTES: usize = 1024 * 1024;

/// After how long a follower that met a full disk looks again whether there is room, if nothing is appended meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(3);

/// How a mirror is kept; the defaults are those of the server.
#[derive(Clone)]
pub struct MirrorOptions {
    /// Acknowledge before the mirror has it, and let it follow. Default no.
    pub lagging: bool,
    /// Bytes that must stay free on the mirror's disk. Default 64 MiB.
    pub reserve_bytes: u64,
    /// The disk; tests put their own here.
    pub disk: Arc<dyn Disk>,
    /// Is told when the mirror has synced; none by default.
    pub observer: Option<Observer>,
}

impl Default for MirrorOptions {
    fn default() -> Self {
        Self { lagging: false, reserve_bytes: 64 * 1024 * 1024, disk: Arc::new(RealDisk), observer: None }
    }
}

/// An engine and its mirror, as one journal.
pub struct MirroredJournal {
    engine: Arc<dyn Journal>,
    /// What was acknowledged. The engine may hold more after a failed sync of
    /// the mirror; nobody sees that before a restart.
    head: AtomicU64,
    mirrored: Arc<AtomicU64>,
    directory: PathBuf,
    options: MirrorOptions,
    writer: Mutex<Writer>,
    checkpoint: Checkpoint,
}

/// What is known of checkpoints, by the writer and the mirror's thread.
type Checkpoint = Arc<Mutex<Checkpoints>>;

#[derive(Default)]
struct Checkpoints {
    /// The last one that was signed, and the head that it is of, if it is not in the file yet.
    waiting: Option<(u64, Vec<u8>)>,
    /// The last one in the file: after a restart the same one comes again, and is not written twice.
    written: Option<Vec<u8>>,
}

/// What the one writer at a time knows, and its way to the mirror's thread.
struct Writer {
    stopped: bool,
    work: Option<SyncSender<Work>>,
    done: Receiver<Result<Vec<u8>, JournalError>>,
    /// Comes back with each answer, so that a batch needs no new memory.
    buffer: Vec<u8>,
    thread: Option<JoinHandle<()>>,
}

/// What the mirror's thread is told.
enum Work {
    /// Write and sync these records; answered.
    Append { bytes: Vec<u8>, through: u64 },
    /// Take the last batch back; answered.
    Undo,
    /// There may be more in the engine. Not answered.
    Follow,
}

impl MirroredJournal {
    /// Opens the mirror in `directory`, making it if there is none, compares it
    /// with the engine, and brings the two together.
    ///
    /// # Errors
    /// What stands in the table of `open.rs`, [`JournalError::InUse`],
    /// [`JournalError::Full`], or what the engine or the system says.
    pub fn open(engine: Arc<dyn Journal>, directory: &Path, options: MirrorOptions) -> Result<Self, JournalError> {
        let (file, head, written) = open::open(&engine, directory, &options)?;
        let mirrored = Arc::new(AtomicU64::new(file.position));
        let (work, jobs) = sync_channel(1);
        let (reply, done) = sync_channel(1);
        let (followed, shown) = (engine.clone(), mirrored.clone());
        let checkpoint = Arc::new(Mutex::new(Checkpoints { waiting: None, written }));
        let waiting = checkpoint.clone();
        let thread = std::thread::Builder::new().name("mirror".to_owned());
        let thread = thread
            .spawn(move || run(file, followed.as_ref(), &shown, &waiting, &jobs, &reply))
            .map_err(io_at(directory))?;
        let journal = Self {
            engine,
            head: AtomicU64::new(head),
            mirrored,
            directory: directory.to_path_buf(),
            options,
            writer: Mutex::new(Writer {
                stopped: false,
                work: Some(work),
                done,
                buffer: Vec::new(),
                thread: Some(thread),
            }),
            checkpoint,
        };
        if journal.options.lagging
            && let Ok(writer) = journal.writer.lock()
        {
            writer.nudge();
        }
        Ok(journal)
    }

    /// How many events a mirror directory holds, without touching it: 0 if there
    /// is no mirror.
    ///
    /// # Errors
    /// A file that is no archive, or what the system says.
    pub fn events_in(directory: &Path) -> Result<u64, JournalError> {
        open::events_in(directory)
    }

    /// Both at once: the mirror's thread writes and syncs while this one does.
    fn append_synced(&self, writer: &mut Writer, head: u64, batch: &[Vec<u8>]) -> Result<u64, JournalError> {
        refuse_full(&self.directory, self.options.disk.as_ref(), self.options.reserve_bytes)?;
        let mut bytes = std::mem::take(&mut writer.buffer);
        bytes.clear();
        let with_checkpoint = add_checkpoint(&mut bytes, head, &self.checkpoint);
        let through = archive::add_batch(&mut bytes, head, batch.iter().map(Vec::as_slice));
        writer.tell(Work::Append { bytes, through })?;
        let in_engine = self.engine.append(head, batch);
        let in_mirror = writer.answer();
        match (in_engine, in_mirror) {
            (Ok(_), Ok(buffer)) => {
                writer.buffer = buffer;
                Ok(through)
            }
            // The engine is sure that it has nothing: then the mirror must not have it either.
            // Otherwise a restart would adopt what was answered as certainly not applied.
            (Err(error), Ok(_)) if !error.outcome_unknown() => {
                writer.tell(Work::Undo).and_then(|()| writer.answer()).map_err(|undone| {
                    tracing::error!(%undone, through, "the journal stops: the mirror has a batch that the store refused");
                    undone
                })?;
                if with_checkpoint {
                    put_back_checkpoint(head, &self.checkpoint);
                }
                writer.stopped |= matches!(error, JournalError::Stopped);
                Err(error)
            }
            (Err(error), _) | (_, Err(error)) => {
                writer.stopped = true;
                tracing::error!(%error, through, "the journal stops: store and mirror must both have what is acknowledged");
                Err(error)
            }
        }
    }
}

impl Writer {
    /// A mirror whose thread is gone can't take anything any more.
    fn tell(&mut self, work: Work) -> Result<(), JournalError> {
        let told = self.work.as_ref().is_some_and(|to_mirror| to_mirror.send(work).is_ok());
        self.stopped |= !told;
        if told { Ok(()) } else { Err(thread_gone()) }
    }

    fn answer(&mut self) -> Result<Vec<u8>, JournalError> {
        let answer = self.done.recv().unwrap_or_else(|_| Err(thread_gone()));
        self.stopped |= answer.is_err();
        answer
    }

    /// One word that waits is enough: the follower looks at the engine's head.
    fn nudge(&self) {
        if let Some(work) = &self.work {
            let _ = work.try_send(Work::Follow);
        }
    }
}

/// Only a panic ends the thread early: what it was told may be written or not.
fn thread_gone() -> JournalError {
    JournalError::SyncFailed { path: MIRROR_FILE.into(), why: "the mirror's thread is gone".to_owned() }
}

impl Journal for MirroredJournal {
    fn head(&self) -> Result<u64, JournalError> {
        Ok(self.head.load(Ordering::Acquire))
    }

    fn append(&self, expected_head: u64, batch: &[Vec<u8>]) -> Result<u64, JournalError> {
        let mut writer = self.writer.lock().map_err(|_| JournalError::Stopped)?;
        if writer.stopped {
            return Err(JournalError::Stopped);
        }
        let head = self.head.load(Ordering::Acquire);
        check_batch(head, expected_head, batch)?;
        if batch.is_empty() {
            return Ok(head);
        }
        let through = if self.options.lagging {
            let through = self.engine.append(head, batch)?;
            writer.nudge();
            through
        } else {
            self.append_synced(&mut writer, head, batch)?
        };
        self.head.store(through, Ordering::Release);
        Ok(through)
    }

    fn has_room(&self) -> bool {
        // A mirror that may lag is waited for by nobody.
        let room = || refuse_full(&self.directory, self.options.disk.as_ref(), self.options.reserve_bytes).is_ok();
        self.engine.has_room() && (self.options.lagging || room())
    }

    fn read(&self, position: u64) -> Result<Option<Vec<u8>>, JournalError> {
        if position > self.head()? { Ok(None) } else { self.engine.read(position) }
    }

    fn scan(&self, from: u64) -> Records<'_> {
        let head = self.head.load(Ordering::Acquire);
        let within = move |record: &Result<(u64, Vec<u8>), _>| record.as_ref().map_or(true, |(at, _)| *at <= head);
        Box::new(self.engine.scan(from).take_while(within))
    }

    fn acknowledged(&self) -> u64 {
        self.engine.acknowledged()
    }

    fn mirrored(&self) -> Option<u64> {
        Some(self.mirrored.load(Ordering::Acquire))
    }

    fn keep_checkpoint(&self, head: u64, note: &[u8]) {
        let mut checkpoints = self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner);
        if checkpoints.written.as_deref() != Some(note) {
            checkpoints.waiting = Some((head, note.to_vec()));
        }
    }
}

impl Drop for MirroredJournal {
    /// A lagging mirror catches up first, and the last checkpoint is written; then its thread and its lock are gone.
    fn drop(&mut self) {
        let writer = self.writer.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        writer.work = None;
        if let Some(thread) = writer.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the mirror's thread ended by a panic");
        }
    }
}

/// The mirror's thread: ends when nobody can tell it anything any more.
fn run(
    mut file: MirrorFile,
    engine: &dyn Journal,
    mirrored: &AtomicU64,
    checkpoint: &Checkpoint,
    jobs: &Receiver<Work>,
    reply: &SyncSender<Result<Vec<u8>, JournalError>>,
) {
    let mut before = (file.position, file.end);
    let mut follows = false;
    let mut followed = Followed::Done;
    // What failed is not written again: nobody can say what is there.
    let mut sound = true;
    loop {
        // Room is made by nobody who would say so here.
        let told = match followed {
            Followed::Waits => jobs.recv_timeout(LOOK_AGAIN),
            Followed::Done | Followed::Failed => jobs.recv().map_err(RecvTimeoutError::from),
        };
        let work = match told {
            Ok(work) => work,
            Err(RecvTimeoutError::Timeout) => Work::Follow,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        let answer = match work {
            Work::Append { bytes, through } => {
                before = (file.position, file.end);
                file.append(&bytes, through).map(|()| bytes)
            }
            Work::Undo => file.undo(before.0, before.1).map(|()| Vec::new()),
            Work::Follow => {
                follows = true;
                followed = follow(&mut file, engine, mirrored, checkpoint, followed);
                continue;
            }
        };
        mirrored.store(file.position, Ordering::Release);
        sound &= answer.is_ok();
        if reply.send(answer).is_err() {
            return;
        }
    }
    if follows {
        followed = follow(&mut file, engine, mirrored, checkpoint, followed);
    }
    let (mut bytes, through) = (Vec::new(), file.position);
    if sound && followed != Followed::Failed && add_checkpoint(&mut bytes, through, checkpoint) {
        // No harm if this fails: the next start has another checkpoint.
        let _ = file.append(&bytes, through);
    }
}

/// Adds the checkpoint that waits, if it is of this head.
fn add_checkpoint(out: &mut Vec<u8>, head: u64, checkpoint: &Checkpoint) -> bool {
    let mut checkpoints = checkpoint.lock().unwrap_or_else(PoisonError::into_inner);
    let Some((_, note)) = checkpoints.waiting.take_if(|(of, _)| *of == head) else { return false };
    archive::add_checkpoint(out, head, &note);
    checkpoints.written = Some(note);
    true
}

/// Lets the checkpoint that was added last wait again: the batch that it was written with was taken back.
fn put_back_checkpoint(head: u64, checkpoint: &Checkpoint) {
    let mut checkpoints = checkpoint.lock().unwrap_or_else(PoisonError::into_inner);
    // What is in the file now is an older one, which doesn't come again.
    let note = checkpoints.written.take();
    if checkpoints.waiting.is_none() {
        checkpoints.waiting = note.map(|note| (head, note));
    }
}

/// What became of following the engine.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Followed {
    /// It is where the engine is.
    Done,
    /// Its disk is full: nothing was written, and it goes on once there is room.
    Waits,
    /// A failed sync can't be trusted when repeated, so the mirror stays where it is until a restart, and its lag grows
    /// where all can see it.
    Failed,
}

/// Follows the engine, unless that has failed before.
fn follow(
    file: &mut MirrorFile,
    engine: &dyn Journal,
    mirrored: &AtomicU64,
    checkpoint: &Checkpoint,
    before: Followed,
) -> Followed {
    if before == Followed::Failed {
        return before;
    }
    match catch_up(file, engine, checkpoint, |position| mirrored.store(position, Ordering::Release)) {
        Ok(()) => {
            if before == Followed::Waits {
                tracing::info!(position = file.position, "there is room again, and the mirror has caught up");
            }
            Followed::Done
        }
        Err(error @ JournalError::Full { .. }) => {
            // Once, and not each time that it looks.
            if before != Followed::Waits {
                tracing::warn!(%error, position = file.position, "the mirror falls behind");
            }
            Followed::Waits
        }
        Err(error) => {
            tracing::error!(%error, position = file.position, "the mirror stops, and falls behind until a restart");
            Followed::Failed
        }
    }
}

/// Brings the file to the engine's head in pieces, each synced.
fn catch_up(
    file: &mut MirrorFile,
    engine: &dyn Journal,
    checkpoint: &Checkpoint,
    reached: impl Fn(u64),
) -> Result<(), JournalError> {
    while file.position < engine.head()? {
        file.refuse_full()?;
        let (mut bytes, mut through) = (Vec::new(), file.position);
        add_checkpoint(&mut bytes, through, checkpoint);
        for record in engine.scan(file.position + 1) {
            let (position, record) = record?;
            archive::add_event(&mut bytes, position, &record);
            through = position;
            if bytes.len() >= FOLLOW_BYTES {
                break;
            }
        }
        if through == file.position {
            break;
        }
        archive::add_mark(&mut bytes, through);
        file.append(&bytes, through)?;
        tracing::debug!(through, "the mirror has followed");
        reached(through);
    }
    Ok(())
}
