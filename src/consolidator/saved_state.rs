//! The state, saved beside the journal now and then, so that a restart folds only what came after.
//!
//! Disposable: a saved state counts only if its digest is right, a program that folds alike wrote it, and the journal's
//! record at its position is the one that it was made of. Otherwise the journal is folded from its first event, which gives
//! the same state. That tells damage, another program and another journal, but not a state that somebody made who can write
//! in the directory: a start believes it, and `fsck` compares it with what the journal folds to. Saving runs on a thread of
//! its own, on the readers' snapshot.
//!
//! ```text
//! line    budget-consolidator saved state, format 1, program SOURCES
//! digest  SHA-256 of all that follows
//! record  SHA-256 of the journal's record at that position
//! image   zstd of ledger::image
//! ```

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::notary::Notary;
use super::saved_tree::{self, SAVED_TREE_FILE};
use super::{content, store_fault, stored};
use crate::budget::digest::Digest;
use crate::budget::reason::{Reason, Remark};
use crate::ledger::Position;
use crate::ledger::image;
use crate::ledger::state::State;
use crate::store::{Journal, ReplacedFile};

/// The name of the file in the data directory.
pub const SAVED_STATE_FILE: &str = "saved-state";

/// Which program: named by the sources of what is folded (`build.rs`), since a version can fold otherwise than another build of it.
const LINE: &str = concat!("budget-consolidator saved state, format 1, program ", env!("FOLD_SOURCES"), "\n");

/// A state is saved again after this many events, or after a third of the journal if that is more: so saving costs
/// a fixed share of the work, and a restart folds a third at most.
const EVENTS_MIN: u64 = 1_000;

/// The saved state of a journal, if there is one that counts.
pub(super) fn read(file: &ReplacedFile, journal: &dyn Journal) -> Option<State> {
    let passed_over = |why: String| tracing::warn!(why, "the saved state is passed over; the journal is folded whole");
    usable(file, journal).map_err(passed_over).ok().flatten()
}

/// Where a start would begin: the position of the saved state, and the digest of its image. None if there is none that
/// counts.
pub(super) fn beginning(file: &ReplacedFile, journal: &dyn Journal) -> Option<(Position, Digest)> {
    let state = usable(file, journal).ok().flatten()?;
    Some((state.position, digest(&state)))
}

/// What names a state.
pub(super) fn digest(state: &State) -> Digest {
    Digest::of(&image::image(state))
}

fn usable(file: &ReplacedFile, journal: &dyn Journal) -> Result<Option<State>, String> {
    let bytes = file.read().map_err(|error| error.to_string())?;
    Ok(bytes.map(|bytes| parse(&bytes, journal)).transpose()?)
}

fn parse(bytes: &[u8], journal: &dyn Journal) -> Result<State, &'static str> {
    let rest = bytes.strip_prefix(LINE.as_bytes()).ok_or("another version of the program wrote it")?;
    let (digest, rest) = rest.split_at_checked(32).ok_or("it is cut off")?;
    if Digest::of(rest).0 != digest {
        return Err("it does not have its digest");
    }
    let (record, packed) = rest.split_at_checked(32).ok_or("it is cut off")?;
    let unpacked = content::decompress(packed).ok_or("it can't be unpacked")?;
    let state = image::state(&unpacked).ok_or("it can't be read")?;
    let same = stored(journal, state.position).is_ok_and(|bytes| Digest::of(&bytes).0 == record);
    if same { Ok(state) } else { Err("it belongs to another journal") }
}

fn write(file: &ReplacedFile, journal: &dyn Journal, state: &State) -> Result<(), Remark> {
    let mut checked = Digest::of(&stored(journal, state.position)?).0.to_vec();
    checked.extend(content::compress(&image::image(state))?);
    let bytes = [LINE.as_bytes(), &Digest::of(&checked).0, &checked].concat();
    file.replace(&bytes).map_err(store_fault)
}

/// Saves states in the background, the last one when it is closed.
pub(super) struct Saver {
    /// Holds one at most: while one is being saved, newer ones wait for the next occasion.
    states: SyncSender<Arc<State>>,
    thread: JoinHandle<()>,
    saved: Position,
}

impl Saver {
    /// Starts with a state whose saved form reaches to `saved`.
    ///
    /// # Errors
    /// If the operating system gives no thread.
    pub(super) fn start(
        file: ReplacedFile,
        journal: Arc<dyn Journal>,
        notary: Arc<Notary>,
        saved: Position,
    ) -> Result<Saver, Remark> {
        let (states, waiting) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("saver".to_owned())
            .spawn(move || save_all(&file, journal.as_ref(), &notary, &waiting))
            .map_err(|error| Remark::new(Reason::StoreStopped).with("what", error))?;
        Ok(Saver { states, thread, saved })
    }

    /// Saves the state if enough has happened since the last one.
    pub(super) fn offer(&mut self, state: &Arc<State>) {
        let due = EVENTS_MIN.max(state.position / 3);
        if state.position >= self.saved + due && self.states.try_send(state.clone()).is_ok() {
            self.saved = state.position;
        }
    }

    /// Saves the last state and waits until that is done.
    pub(super) fn close(self, state: Arc<State>) {
        let Saver { states, thread, saved } = self;
        if state.position > saved && states.send(state).is_err() {
            tracing::error!("the saver had ended already");
        }
        drop(states);
        if thread.join().is_err() {
            tracing::error!("the saver ended by a panic");
        }
    }
}

fn save_all(file: &ReplacedFile, journal: &dyn Journal, notary: &Notary, states: &Receiver<Arc<State>>) {
    let tree_file = file.beside(SAVED_TREE_FILE);
    for state in states {
        // No harm is done: the next start folds more.
        let leaves =
            usize::try_from(state.position).ok().and_then(|to| Some(notary.tree().leaves().get(..to)?.to_vec()));
        let saved =
            write(file, journal, &state).and_then(|()| saved_tree::write(&tree_file, &leaves.unwrap_or_default()));
        match saved {
            Ok(()) => tracing::debug!(position = state.position, "state saved"),
            Err(fault) => tracing::warn!(%fault, position = state.position, "the state could not be saved"),
        }
    }
}
