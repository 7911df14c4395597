//! The journal: an ordered, durable list of records, and the only truth the
//! program keeps.
//!
//! **What it is.** A record is bytes under a position; positions are 1, 2, 3…
//! without a gap. A batch becomes durable as a whole or not at all, and only
//! after it is durable does [`Journal::append`] return.
//!
//! **What it does not know.** Budgets, events, clocks, the network. It never
//! looks inside a record and never repairs one: damage is named by position,
//! and the remedy is a copy kept elsewhere.
//!
//! **Where to go next.** `sled` is the engine in use (its opening steps are in
//! `sled/open.rs`), `record` is how a record becomes checked pieces, `archive`
//! is the file format of mirrors and backups, `mirror` keeps a second copy in
//! step, `signing` keeps what must not share the data's fate, `replaced_file` is for what can be derived again, `restore` makes a store from an archive, `inspect` looks at a store
//! without touching it, `places` tells directories that were mixed up, `disk` is the seam through which tests see and disturb
//! the disk, `memory` is the journal for tests and simulations, `error` every
//! way to say no. The rules that all engines share are in
//! `tests/it/journal_contract.rs`.

pub mod archive;
mod directory;
mod disk;
mod error;
pub mod inspect;
mod memory;
mod mirror;
pub mod places;
mod record;
mod replaced_file;
pub mod restore;
mod signing;
mod sled;

use std::sync::Arc;

pub use self::disk::{Disk, Observer, RealDisk, Step};
pub use self::error::{JournalError, Remedy};
pub use self::memory::MemoryJournal;
pub use self::mirror::{MIRROR_FILE, MirrorOptions, MirroredJournal};
pub use self::replaced_file::ReplacedFile;
pub use self::signing::{KEY_FILE, SigningDirectory};
pub use self::sled::{STORE_FORMAT, STORE_FORMAT_FILE, SledJournal, SledOptions};

/// The most bytes that several records may have together in one batch.
///
/// sled rewrites pages while it takes a batch, about five times its bytes, and
/// moves a page of more than 128 KiB into a file that it never syncs. Up to this
/// size, about 64 filings, neither losses at a simulated power cut nor such
/// files were ever seen. A single record may be larger: [`RECORD_BYTES_MAX`].
pub const BATCH_BYTES_MAX: usize = 400 * 1024;

/// The most records in one batch: memory in sled grows with the entries of a
/// batch, not only with its bytes.
pub const BATCH_RECORDS_MAX: usize = 256;

/// The most bytes of one record; above [`BATCH_BYTES_MAX`] it must be a batch
/// of its own.
pub const RECORD_BYTES_MAX: usize = 8 * 1024 * 1024;

const _: () = assert!(BATCH_BYTES_MAX < RECORD_BYTES_MAX);

/// Records read in order, each with its position.
pub type Records<'a> = Box<dyn Iterator<Item = Result<(u64, Vec<u8>), JournalError>> + Send + 'a>;

/// An ordered list of records that only grows, durable on return.
///
/// Kept small on purpose, so that another engine can take its place.
pub trait Journal: Send + Sync + 'static {
    /// The position of the last acknowledged record; 0 if there is none.
    fn head(&self) -> Result<u64, JournalError>;

    /// Appends `batch` at `expected_head + 1` and on, all of it or nothing, and
    /// returns the new head once it is durable. An empty batch only compares
    /// the head.
    ///
    /// # Errors
    /// [`JournalError::Conflict`] if the head is not `expected_head`. After an
    /// error for which [`JournalError::outcome_unknown`] is true the batch may
    /// be found after a restart, whole or not at all.
    fn append(&self, expected_head: u64, batch: &[Vec<u8>]) -> Result<u64, JournalError>;

    /// The record at `position`, checked; none if it is 0 or beyond the head.
    fn read(&self, position: u64) -> Result<Option<Vec<u8>>, JournalError>;

    /// The records from `from` to the head as it is now, in order and checked.
    /// Ends after the first error.
    fn scan(&self, from: u64) -> Records<'_>;

    /// Whether there is room for more: whether an append now would not be refused with [`JournalError::Full`].
    fn has_room(&self) -> bool {
        true
    }

    /// The position through which a second copy has everything durably; none if
    /// there is no second copy. At most the head, but for a moment.
    fn mirrored(&self) -> Option<u64> {
        None
    }

    /// The highest position that this journal knows to have been acknowledged
    /// before it was opened: beyond the head if its tail was lost since. 0 if it
    /// doesn't know.
    fn acknowledged(&self) -> u64 {
        0
    }

    /// Takes a signed checkpoint of the records up to the head, for a copy that has a place for it. Not durable before
    /// the next append or the end; without such a copy it is let go.
    fn keep_checkpoint(&self, _head: u64, _note: &[u8]) {}
}

impl<J: Journal + ?Sized> Journal for Arc<J> {
    fn head(&self) -> Result<u64, JournalError> {
        (**self).head()
    }

    fn append(&self, expected_head: u64, batch: &[Vec<u8>]) -> Result<u64, JournalError> {
        (**self).append(expected_head, batch)
    }

    fn read(&self, position: u64) -> Result<Option<Vec<u8>>, JournalError> {
        (**self).read(position)
    }

    fn scan(&self, from: u64) -> Records<'_> {
        (**self).scan(from)
    }

    fn has_room(&self) -> bool {
        (**self).has_room()
    }

    fn mirrored(&self) -> Option<u64> {
        (**self).mirrored()
    }

    fn acknowledged(&self) -> u64 {
        (**self).acknowledged()
    }

    fn keep_checkpoint(&self, head: u64, note: &[u8]) {
        (**self).keep_checkpoint(head, note);
    }
}

/// What every engine checks before it touches a batch, so that a batch that
/// memory takes in a test is one that the disk takes as well.
fn check_batch(head: u64, expected_head: u64, batch: &[Vec<u8>]) -> Result<(), JournalError> {
    if head != expected_head {
        return Err(JournalError::Conflict { expected: expected_head, actual: head });
    }
    if let Some(record) = batch.iter().find(|record| record.len() > RECORD_BYTES_MAX) {
        return Err(JournalError::RecordTooLarge { bytes: record.len() });
    }
    let bytes = batch.iter().map(Vec::len).sum();
    if batch.len() > BATCH_RECORDS_MAX || (batch.len() > 1 && bytes > BATCH_BYTES_MAX) {
        return Err(JournalError::BatchTooLarge { records: batch.len(), bytes });
    }
    Ok(())
}
