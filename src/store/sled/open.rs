//! Opening a store: everything that is checked, removed or synced before the
//! first record is taken, in the order in which it must happen.
//!
//! Knows nothing of appending. Nothing here repairs data: what does not fit is
//! refused with words for the operator.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use super::{Disk, JournalError, SledJournal, SledOptions, Witness, Writer, guarded};
use crate::store::directory::{
    LOCK_ATTEMPTS, LOCK_PAUSE, io_at, nearest_existing, refuse_full, sync, sync_above, sync_failed, take_lock,
};
use crate::store::places::Misnamed;
use crate::store::record::{self, damaged};
use crate::store::restore::{is_unfinished, remove_emptied_draft};

/// The format of the whole directory: which engine, which keys, which framing.
/// Raised when an older program would misread what a newer one wrote.
pub const STORE_FORMAT: u32 = 1;

/// Where sled puts what is too large for its pages; must stay empty.
pub(in crate::store) const BLOBS: &str = "blobs";

/// sled's log, which holds everything.
pub(in crate::store) const DATA_FILE: &str = "db";

/// sled's own settings.
pub(in crate::store) const CONFIG_FILE: &str = "conf";

/// How the names of sled's snapshots begin.
pub(in crate::store) const SNAPSHOT_PREFIX: &str = "snap.";

/// The file that says that a directory is a store, and of which format.
pub const FORMAT_FILE: &str = "FORMAT";
pub(in crate::store) const FORMAT_DRAFT: &str = "FORMAT.new";
const FORMAT_PREFIX: &str = "budget-consolidator journal, format ";

pub(super) fn open(directory: &Path, options: SledOptions) -> Result<SledJournal, JournalError> {
    let disk = options.disk.as_ref();
    // Before anything is made: into a directory with anything in it nothing is restored.
    let named = std::path::absolute(directory).map_err(io_at(directory))?;
    if is_unfinished(&fs::canonicalize(&named).unwrap_or(named)) {
        return Err(misnamed(directory, Misnamed::Unfinished));
    }
    let existing = nearest_existing(directory);
    fs::create_dir_all(directory).map_err(io_at(directory))?;
    let directory = fs::canonicalize(directory).map_err(io_at(directory))?;
    let existing = fs::canonicalize(&existing).map_err(io_at(&existing))?;

    let lock = take_lock(&directory)?;
    // Before sled: a directory in a later format must not be touched by it.
    let origin = check_format(&directory, disk)?;
    if origin == Origin::Existing {
        remove_emptied_draft(&directory);
    }
    // Before sled: opened on a full disk, it leaves a half-written snapshot
    // because of which no later open succeeds.
    refuse_full(&directory, disk, options.reserve_bytes)?;
    remove_half_snapshots(&directory)?;
    refuse_blobs(&directory)?;
    let db = open_sled(&directory, &options)?;
    let witness = Witness::open(&directory)?;
    refuse_blobs(&directory)?;

    let data_path = directory.join(DATA_FILE);
    // Writable, since some file systems sync only what the handle could write.
    let data = OpenOptions::new().read(true).write(true).open(&data_path);
    let data = data.map_err(io_at(&data_path))?;
    sync_all(disk, &directory, &existing, &data)?;

    let acknowledged = witness.says();
    let journal = SledJournal {
        db,
        data,
        directory,
        options,
        head: AtomicU64::new(0),
        writer: Mutex::new(Writer { stopped: false }),
        witness,
        acknowledged,
        _lock: lock,
    };
    if origin == Origin::New {
        found(&journal)?;
    }
    let head = check_head(&journal)?;
    if !journal.options.tail_elsewhere {
        refuse_lost_tail(head, acknowledged)?;
    }
    journal.head.store(head, std::sync::atomic::Ordering::Release);
    tracing::info!(directory = %journal.directory.display(), head, "store opened");
    Ok(journal)
}

/// Refuses when a store ends before what was acknowledged.
pub(in crate::store) fn refuse_lost_tail(head: u64, acknowledged: u64) -> Result<(), JournalError> {
    if acknowledged > head {
        return Err(JournalError::TailLost { head, acknowledged });
    }
    Ok(())
}

/// Refuses when sled keeps anything in `blobs/`: it never syncs what is there.
pub(in crate::store) fn refuse_blobs(directory: &Path) -> Result<(), JournalError> {
    let path = directory.join(BLOBS);
    let files = match fs::read_dir(&path) {
        Ok(entries) => entries.count(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(io_at(&path)(error)),
    };
    if files > 0 {
        return Err(JournalError::BlobsPresent { path, files });
    }
    Ok(())
}

#[derive(PartialEq, Eq)]
enum Origin {
    /// Nothing was ever acknowledged here.
    New,
    /// A head mark must be there.
    Existing,
}

/// A line of text beside sled's files rather than an entry in sled: it is read
/// before sled is, and by a person.
fn check_format(directory: &Path, disk: &dyn Disk) -> Result<Origin, JournalError> {
    let path = directory.join(FORMAT_FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            draft_format(directory, disk)?;
            return Ok(Origin::New);
        }
        Err(error) => return Err(io_at(&path)(error)),
    };
    known_format(directory, &text).map(|()| Origin::Existing)
}

fn known_format(directory: &Path, text: &str) -> Result<(), JournalError> {
    match text.trim_end().strip_prefix(FORMAT_PREFIX).map(str::parse) {
        Some(Ok(STORE_FORMAT)) => Ok(()),
        Some(Ok(found)) if found > STORE_FORMAT => {
            Err(JournalError::NewerFormat { path: directory.join(FORMAT_FILE), found, known: STORE_FORMAT })
        }
        _ => Err(misnamed(directory, Misnamed::UnknownFormat)),
    }
}

fn misnamed(directory: &Path, problem: Misnamed) -> JournalError {
    JournalError::WrongDirectory { data: directory.to_path_buf(), mirror: None, problem }
}

/// Whether a directory says that it is a store, and one that this program reads.
pub(in crate::store) fn format_of(directory: &Path) -> Result<(), JournalError> {
    let path = directory.join(FORMAT_FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let holds_data = directory.join(DATA_FILE).exists();
            return Err(misnamed(directory, if holds_data { Misnamed::NoFormat } else { Misnamed::NoStore }));
        }
        Err(error) => return Err(io_at(&path)(error)),
    };
    known_format(directory, &text)
}

/// The half-written snapshots of sled in a directory.
pub(in crate::store) fn half_snapshots(directory: &Path) -> Result<Vec<PathBuf>, JournalError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(io_at(directory))? {
        let path = entry.map_err(io_at(directory))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with(SNAPSHOT_PREFIX) && name.ends_with(".generating") {
            found.push(path);
        }
    }
    Ok(found)
}

/// Opens a *copy* of a store to look at what is in it, however little of it
/// fits: the head mark and the position of the last record are told apart, and
/// the journal reads up to the higher of them and appends nothing.
pub(in crate::store) fn open_copy(copy: &Path) -> Result<Opened, JournalError> {
    let options = SledOptions::default();
    let lock = take_lock(copy)?;
    let db = open_sled(copy, &options)?;
    let data_path = copy.join(DATA_FILE);
    let data = File::open(&data_path).map_err(io_at(&data_path))?;
    let witness = Witness::open(copy)?;
    let acknowledged = witness.says();
    let journal = SledJournal {
        db,
        data,
        directory: copy.to_path_buf(),
        options,
        head: AtomicU64::new(0),
        writer: Mutex::new(Writer { stopped: true }),
        witness,
        acknowledged,
        _lock: lock,
    };
    let (mark, last) = (head_mark(&journal), last_position(&journal));
    let head = mark.as_ref().unwrap_or(&0).max(last.as_ref().unwrap_or(&0));
    journal.head.store(*head, std::sync::atomic::Ordering::Release);
    Ok(Opened { mark, last, journal })
}

/// A copy of a store that was opened to be looked at.
pub(in crate::store) struct Opened {
    /// What the head mark says.
    pub(in crate::store) mark: Result<u64, JournalError>,
    /// The position of the last record.
    pub(in crate::store) last: Result<u64, JournalError>,
    /// Reads; appends nothing.
    pub(in crate::store) journal: SledJournal,
}

/// Says that a store is being made here, before sled's first file exists, so
/// that sled data of others, or data whose FORMAT was lost, is not taken over.
fn draft_format(directory: &Path, disk: &dyn Disk) -> Result<(), JournalError> {
    let draft = directory.join(FORMAT_DRAFT);
    if directory.join(DATA_FILE).exists() && !draft.exists() {
        return Err(misnamed(directory, Misnamed::NoFormat));
    }
    fs::write(&draft, format!("{FORMAT_PREFIX}{STORE_FORMAT}\n")).map_err(io_at(&draft))?;
    sync(disk, &draft)?;
    sync(disk, directory)
}

/// Gives a new store its head mark, and FORMAT after it. From then on a store
/// without a head mark is damaged: given a data file that it can't read at all,
/// sled may open an empty store without a word.
fn found(journal: &SledJournal) -> Result<(), JournalError> {
    let directory = &journal.directory;
    let disk = journal.options.disk.as_ref();
    // Nothing is lost that was ever taken: not a store that can't be read, but a disk that can't be written.
    let failed = |error: ::sled::Error| JournalError::SyncFailed { path: directory.clone(), why: error.to_string() };
    // Only if there is none: a mark that is there is evidence, whatever it says.
    let (key, value) = (record::head_key(), record::head_value(0).to_vec());
    let mark = || journal.db.compare_and_swap(key, None as Option<&[u8]>, Some(value));
    guarded(|| mark().map(drop)).map_err(failed)?;
    guarded(|| journal.db.flush()).map_err(failed)?;
    disk.sync(&journal.data).map_err(sync_failed(&directory.join(DATA_FILE)))?;
    let path = directory.join(FORMAT_FILE);
    fs::rename(directory.join(FORMAT_DRAFT), &path).map_err(io_at(&path))?;
    sync(disk, directory)
}

/// Removes what an open on a full disk left behind. sled writes a snapshot
/// under this name, then renames it; half ones hold nothing that its log lacks.
fn remove_half_snapshots(directory: &Path) -> Result<(), JournalError> {
    for path in half_snapshots(directory)? {
        tracing::warn!(path = %path.display(), "removing a half-written snapshot of sled");
        fs::remove_file(&path).map_err(io_at(&path))?;
    }
    Ok(())
}

fn open_sled(directory: &Path, options: &SledOptions) -> Result<::sled::Db, JournalError> {
    let config = ::sled::Config::new()
        .path(directory)
        .cache_capacity(options.cache_bytes)
        // Each append flushes; a timer would only move the moment of an error
        // to a thread that nobody hears.
        .flush_every_ms(None)
        // Records arrive compressed where that pays.
        .use_compression(false);
    let mut attempts = LOCK_ATTEMPTS;
    loop {
        match guarded(|| config.open()) {
            Ok(db) => return Ok(db),
            Err(::sled::Error::Io(error)) if error.to_string().contains("acquire lock") => {
                attempts -= 1;
                if attempts == 0 {
                    return Err(JournalError::InUse { path: directory.to_path_buf() });
                }
                std::thread::sleep(LOCK_PAUSE);
            }
            Err(error) => {
                return Err(JournalError::OpenFailed { path: directory.to_path_buf(), why: error.to_string() });
            }
        }
    }
}

/// Syncs what sled never does: its files and the names of its files, and the
/// directories down from the one that existed before.
fn sync_all(disk: &dyn Disk, directory: &Path, existing: &Path, data: &File) -> Result<(), JournalError> {
    disk.sync(data).map_err(sync_failed(&directory.join(DATA_FILE)))?;
    sync(disk, &directory.join("conf"))?;
    sync(disk, &directory.join(BLOBS))?;
    sync(disk, directory)?;
    sync_above(disk, directory, existing)
}

fn head_mark(journal: &SledJournal) -> Result<u64, JournalError> {
    let mark = guarded(|| journal.db.get(record::head_key())).map_err(|error| journal.read_error(0, error))?;
    record::parse_head(&mark.ok_or_else(|| damaged(0, "the head mark is missing"))?)
}

/// The position of the last record; 0 if there is none.
fn last_position(journal: &SledJournal) -> Result<u64, JournalError> {
    let last = guarded(|| journal.db.range(..record::head_key()).next_back().transpose())
        .map_err(|error| journal.read_error(0, error))?;
    let Some((key, _)) = last else { return Ok(0) };
    record::position_of(&key).ok_or_else(|| damaged(0, "an entry has a key that is not a position"))
}

/// Reads the head mark and the last record, and refuses unless they agree.
fn check_head(journal: &SledJournal) -> Result<u64, JournalError> {
    let head = head_mark(journal)?;
    let last = last_position(journal).map_err(|error| match error {
        // Where sled can't say, the head is as far as it is known.
        JournalError::Damaged { position: 0, what } => damaged(head, what),
        other => other,
    })?;
    if last > head {
        return Err(damaged(head + 1, format!("there are records up to {last} behind the head {head}")));
    }
    if last < head {
        return Err(damaged(last + 1, format!("the head is {head}, but the last record is {last}")));
    }
    super::Scan::new(journal, head.max(1), head).try_for_each(|record| record.map(drop))?;
    Ok(head)
}
