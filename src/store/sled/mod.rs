//! The journal on sled 0.34.7, made durable and checked from outside.
//!
//! sled on its own keeps too little of what it promises here: its `flush` ends
//! before the device has the data, and it can answer with a panic. So this file
//! syncs sled's one data file itself before it acknowledges, carries checksums
//! of its own, and stops at the first write that it can't be sure of.
//!
//! Knows neither what a record means nor how to repair one. How a store is
//! opened and what is refused there is in `open`; the entries of a record are
//! in `record`.

pub(in crate::store) mod open;
pub(in crate::store) mod witness;

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::directory::refuse_full;
use super::record::{self, damaged};
use super::{Disk, Journal, JournalError, Observer, RealDisk, Records, Step, check_batch};

use self::witness::Witness;

pub use self::open::{FORMAT_FILE as STORE_FORMAT_FILE, STORE_FORMAT};

/// How a store on disk is run; the defaults are those of the server.
#[derive(Clone)]
pub struct SledOptions {
    /// Bytes that must stay free on the disk. On a full disk sled can't even be
    /// read, so writing stops this much earlier. Default 64 MiB.
    pub reserve_bytes: u64,
    /// Memory for sled's page cache. Default 64 MiB; a filing is read rarely,
    /// since views are kept outside the store.
    pub cache_bytes: u64,
    /// The disk; tests put their own here.
    pub disk: Arc<dyn Disk>,
    /// Is told each step of an append; none by default.
    pub observer: Option<Observer>,
    /// Open even if the store has lost its tail: a mirror may have it, and
    /// [`MirroredJournal`](crate::store::MirroredJournal) refuses if it has not.
    /// Default no.
    pub tail_elsewhere: bool,
}

impl Default for SledOptions {
    fn default() -> Self {
        Self {
            reserve_bytes: 64 * 1024 * 1024,
            cache_bytes: 64 * 1024 * 1024,
            disk: Arc::new(RealDisk),
            observer: None,
            tail_elsewhere: false,
        }
    }
}

/// A journal in a directory, by sled.
///
/// ```no_run
/// use budget_consolidator::store::{Journal, SledJournal, SledOptions};
///
/// let journal = SledJournal::open("data/journal".as_ref(), SledOptions::default())?;
/// let head = journal.append(journal.head()?, &[b"a record".to_vec()])?;
/// assert_eq!(journal.read(head)?, Some(b"a record".to_vec()));
/// # Ok::<(), budget_consolidator::store::JournalError>(())
/// ```
pub struct SledJournal {
    // Fields drop in this order: sled lets go of its file before the lock does.
    db: ::sled::Db,
    /// A handle of our own on sled's data file, open from the start, so that it
    /// is told of every write error since.
    data: File,
    directory: PathBuf,
    options: SledOptions,
    /// The last acknowledged position. sled's tree may hold more for a moment,
    /// or for good after a failed sync; nobody sees that.
    head: AtomicU64,
    writer: Mutex<Writer>,
    witness: Witness,
    /// What the witness said at the start.
    acknowledged: u64,
    _lock: File,
}

/// What the one writer at a time knows.
struct Writer {
    stopped: bool,
}

impl SledJournal {
    /// Opens the store in `directory`, creating it if there is none, and checks
    /// that head and last record fit each other.
    ///
    /// # Errors
    /// Anything in [`JournalError`] but the errors of an append, and
    /// [`JournalError::Full`] if the disk is down to its reserve.
    pub fn open(directory: &Path, options: SledOptions) -> Result<Self, JournalError> {
        open::open(directory, options)
    }

    /// Brings a batch to the device. Any failure in here leaves open what a
    /// restart will find.
    fn persist(&self, batch: ::sled::Batch, through: u64) -> Result<(), JournalError> {
        let unsure = |step: &str, why: &dyn std::fmt::Display| JournalError::SyncFailed {
            path: self.directory.clone(),
            why: format!("{step}: {why}"),
        };
        guarded(|| self.db.apply_batch(batch)).map_err(|error| unsure("writing", &error))?;
        self.tell(Step::Wrote { through });
        guarded(|| self.db.flush()).map_err(|error| unsure("flushing", &error))?;
        self.tell(Step::Flushed { through });
        // sled's flush ends in sync_file_range, which neither commits the
        // file's new extents nor empties the device's cache.
        self.options.disk.sync(&self.data).map_err(|error| unsure("syncing", &error))?;
        // Each time, since listing an empty directory costs next to nothing beside
        // a sync, and before the acknowledgement: what sled moves into a file of
        // its own was not covered by this sync.
        open::refuse_blobs(&self.directory).map_err(|error| unsure("checking", &error))?;
        self.tell(Step::Synced { through });
        Ok(())
    }

    fn tell(&self, step: Step) {
        if let Some(observer) = &self.options.observer {
            observer(step);
        }
    }

    /// What a failed read means: the system's own errors stay as they are,
    /// anything else in sled is damage.
    fn read_error(&self, position: u64, error: ::sled::Error) -> JournalError {
        if let ::sled::Error::Io(source) = error {
            return JournalError::Io { path: self.directory.clone(), source };
        }
        damaged(position, error.to_string())
    }
}

impl Journal for SledJournal {
    fn head(&self) -> Result<u64, JournalError> {
        Ok(self.head.load(Ordering::Acquire))
    }

    fn append(&self, expected_head: u64, batch: &[Vec<u8>]) -> Result<u64, JournalError> {
        // A poisoned lock is a writer that panicked midway.
        let mut writer = self.writer.lock().map_err(|_| JournalError::Stopped)?;
        if writer.stopped {
            return Err(JournalError::Stopped);
        }
        let head = self.head.load(Ordering::Acquire);
        check_batch(head, expected_head, batch)?;
        if batch.is_empty() {
            return Ok(head);
        }
        refuse_full(&self.directory, self.options.disk.as_ref(), self.options.reserve_bytes)?;

        let mut entries = ::sled::Batch::default();
        let mut through = head;
        for bytes in batch {
            through += 1;
            for (key, value) in record::pieces(through, bytes) {
                entries.insert(&key, value);
            }
        }
        entries.insert(&record::head_key(), &record::head_value(through));
        if let Err(error) = self.persist(entries, through) {
            // For good: after a failed fsync the kernel forgets the pages that
            // it could not write, and the next fsync would succeed without them.
            writer.stopped = true;
            tracing::error!(%error, through, "the journal stops");
            return Err(error);
        }
        self.head.store(through, Ordering::Release);
        self.witness.note(through);
        Ok(through)
    }

    fn has_room(&self) -> bool {
        refuse_full(&self.directory, self.options.disk.as_ref(), self.options.reserve_bytes).is_ok()
    }

    fn read(&self, position: u64) -> Result<Option<Vec<u8>>, JournalError> {
        if position == 0 || position > self.head()? {
            return Ok(None);
        }
        let mut records = Scan::new(self, position, position);
        records.next().map(|record| record.map(|(_, bytes)| bytes)).transpose()
    }

    fn scan(&self, from: u64) -> Records<'_> {
        Box::new(Scan::new(self, from.max(1), self.head.load(Ordering::Acquire)))
    }

    fn acknowledged(&self) -> u64 {
        self.acknowledged
    }
}

/// Reads the positions `next..=last`, each of which must be there.
struct Scan<'a> {
    journal: &'a SledJournal,
    entries: ::sled::Iter,
    next: u64,
    last: u64,
}

impl<'a> Scan<'a> {
    fn new(journal: &'a SledJournal, from: u64, last: u64) -> Self {
        // The range ends by count, not by key, so that an entry that should not
        // be there meets a check instead of being skipped.
        let entries = journal.db.range(record::key(from, 0)..);
        Self { journal, entries, next: from, last }
    }
}

impl Iterator for Scan<'_> {
    type Item = Result<(u64, Vec<u8>), JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next > self.last {
            return None;
        }
        let position = self.next;
        self.next += 1;
        let record = record::join(position, || {
            guarded(|| self.entries.next().transpose()).map_err(|error| self.journal.read_error(position, error))
        });
        if record.is_err() {
            self.next = u64::MAX;
            self.last = 0;
        }
        Some(record.map(|bytes| (position, bytes)))
    }
}

/// Calls sled and turns a panic into its error: on pages that it can't read,
/// and on some failing disks, sled panics instead of returning one. Whoever
/// gets the error must not go on writing.
fn guarded<T>(call: impl FnOnce() -> ::sled::Result<T>) -> ::sled::Result<T> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        Err(::sled::Error::ReportableBug(format!("sled panicked: {text}")))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn panic_inside_sled_becomes_an_error_with_its_words() {
        let error = guarded(|| -> ::sled::Result<()> { panic!("page {} unreadable", 7) }).unwrap_err();
        assert!(error.to_string().contains("page 7 unreadable"), "{error}");
        assert!(guarded(|| Ok(7)).is_ok());
    }
}
