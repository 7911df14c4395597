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
use std::time::Duration;

use rustix::fs::FlockOperation;

use super::{Disk, JournalError, SledJournal, SledOptions, Writer, guarded};
use crate::store::record::{self, damaged};

/// The format of the whole directory: which engine, which keys, which framing.
/// Raised when an older program would misread what a newer one wrote.
pub const STORE_FORMAT: u32 = 1;

const FORMAT_FILE: &str = "FORMAT";
const FORMAT_DRAFT: &str = "FORMAT.new";
const FORMAT_PREFIX: &str = "budget-consolidator journal, format ";
const LOCK_FILE: &str = "LOCK";

/// sled lets go of its file lock a moment after its handle is dropped, by
/// threads of its own. Our own lock is held by then, so waiting is safe.
const LOCK_ATTEMPTS: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

pub(super) fn open(directory: &Path, options: SledOptions) -> Result<SledJournal, JournalError> {
    let disk = options.disk.as_ref();
    let existing = nearest_existing(directory);
    fs::create_dir_all(directory).map_err(io_at(directory))?;
    let directory = fs::canonicalize(directory).map_err(io_at(directory))?;
    let existing = fs::canonicalize(&existing).map_err(io_at(&existing))?;

    let lock = take_lock(&directory)?;
    // Before sled: a directory in a later format must not be touched by it.
    let origin = check_format(&directory, disk)?;
    // Before sled: opened on a full disk, it leaves a half-written snapshot
    // because of which no later open succeeds.
    refuse_full(&directory, &options)?;
    remove_half_snapshots(&directory)?;
    refuse_blobs(&directory)?;
    let db = open_sled(&directory, &options)?;
    refuse_blobs(&directory)?;

    let data_path = directory.join("db");
    // Writable, since some file systems sync only what the handle could write.
    let data = OpenOptions::new().read(true).write(true).open(&data_path);
    let data = data.map_err(io_at(&data_path))?;
    sync_all(disk, &directory, &existing, &data)?;

    let journal = SledJournal {
        db,
        data,
        directory,
        options,
        head: AtomicU64::new(0),
        writer: Mutex::new(Writer { stopped: false }),
        _lock: lock,
    };
    if origin == Origin::New {
        found(&journal)?;
    }
    let head = check_head(&journal)?;
    journal.head.store(head, std::sync::atomic::Ordering::Release);
    tracing::info!(directory = %journal.directory.display(), head, "store opened");
    Ok(journal)
}

/// Refuses when the disk is down to the reserve.
pub(super) fn refuse_full(directory: &Path, options: &SledOptions) -> Result<(), JournalError> {
    let free = options.disk.free_bytes(directory).map_err(io_at(directory))?;
    if free < options.reserve_bytes {
        return Err(JournalError::Full { free, reserve: options.reserve_bytes });
    }
    Ok(())
}

/// Refuses when sled keeps anything in `blobs/`: it never syncs what is there.
pub(super) fn refuse_blobs(directory: &Path) -> Result<(), JournalError> {
    let path = directory.join("blobs");
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

/// A lock of our own, before sled's: sled answers a held lock with an I/O error
/// that can't be told from others.
fn take_lock(directory: &Path) -> Result<File, JournalError> {
    let path = directory.join(LOCK_FILE);
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(io_at(&path))?;
    // A process that is just being started holds copies of its parent's locks until it runs its own program.
    for attempt in 1.. {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(rustix::io::Errno::WOULDBLOCK) if attempt < LOCK_ATTEMPTS => std::thread::sleep(LOCK_PAUSE),
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(JournalError::InUse { path: directory.to_path_buf() }),
            Err(error) => return Err(io_at(&path)(error.into())),
        }
    }
    Ok(file)
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
    match text.trim_end().strip_prefix(FORMAT_PREFIX).map(str::parse) {
        Some(Ok(STORE_FORMAT)) => Ok(Origin::Existing),
        Some(Ok(found)) if found > STORE_FORMAT => Err(JournalError::NewerFormat { found, known: STORE_FORMAT }),
        _ => Err(JournalError::OpenFailed {
            path: directory.to_path_buf(),
            why: format!("{FORMAT_FILE} does not name a format of this program"),
            what_to_do: "Give the directory of a store, or restore FORMAT from a backup",
        }),
    }
}

/// Says that a store is being made here, before sled's first file exists, so
/// that sled data of others, or data whose FORMAT was lost, is not taken over.
fn draft_format(directory: &Path, disk: &dyn Disk) -> Result<(), JournalError> {
    let draft = directory.join(FORMAT_DRAFT);
    if directory.join("db").exists() && !draft.exists() {
        return Err(JournalError::OpenFailed {
            path: directory.to_path_buf(),
            why: format!("it holds sled data but no {FORMAT_FILE}"),
            what_to_do: "Give an empty directory, or restore FORMAT from a backup",
        });
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
    let failed = |error: ::sled::Error| JournalError::OpenFailed {
        path: directory.clone(),
        why: error.to_string(),
        what_to_do: "Check the disk, then start again with an empty directory",
    };
    // Only if there is none: a mark that is there is evidence, whatever it says.
    let (key, value) = (record::head_key(), record::head_value(0).to_vec());
    let mark = || journal.db.compare_and_swap(key, None as Option<&[u8]>, Some(value));
    guarded(|| mark().map(drop)).map_err(failed)?;
    guarded(|| journal.db.flush()).map_err(failed)?;
    disk.sync(&journal.data).map_err(sync_failed(&directory.join("db")))?;
    let path = directory.join(FORMAT_FILE);
    fs::rename(directory.join(FORMAT_DRAFT), &path).map_err(io_at(&path))?;
    sync(disk, directory)
}

/// Removes what an open on a full disk left behind. sled writes a snapshot
/// under this name, then renames it; half ones hold nothing that its log lacks.
fn remove_half_snapshots(directory: &Path) -> Result<(), JournalError> {
    for entry in fs::read_dir(directory).map_err(io_at(directory))? {
        let path = entry.map_err(io_at(directory))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            tracing::warn!(path = %path.display(), "removing a half-written snapshot of sled");
            fs::remove_file(&path).map_err(io_at(&path))?;
        }
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
                return Err(JournalError::OpenFailed {
                    path: directory.to_path_buf(),
                    why: error.to_string(),
                    what_to_do: "Check the disk, keep the directory as it is, and restore from the mirror or the last backup",
                });
            }
        }
    }
}

/// Syncs what sled never does: its files and the names of its files, and the
/// directories down from the one that existed before.
fn sync_all(disk: &dyn Disk, directory: &Path, existing: &Path, data: &File) -> Result<(), JournalError> {
    disk.sync(data).map_err(sync_failed(&directory.join("db")))?;
    sync(disk, &directory.join("conf"))?;
    sync(disk, &directory.join("blobs"))?;
    sync(disk, directory)?;
    for parent in directory.ancestors().skip(1) {
        sync(disk, parent)?;
        if parent == existing || !parent.starts_with(existing) {
            break;
        }
    }
    Ok(())
}

/// Reads the head mark and the last record, and refuses unless they agree.
fn check_head(journal: &SledJournal) -> Result<u64, JournalError> {
    let read = |key| journal.db.get(key);
    let mark = guarded(|| read(record::head_key())).map_err(|error| journal.read_error(0, error))?;
    let mark = mark.ok_or_else(|| damaged(0, "the head mark is missing"))?;
    let head = record::parse_head(&mark)?;

    let last = guarded(|| journal.db.range(..record::head_key()).next_back().transpose())
        .map_err(|error| journal.read_error(head, error))?;
    let last = match last {
        None => 0,
        Some((key, _)) => {
            record::position_of(&key).ok_or_else(|| damaged(0, "an entry has a key that is not a position"))?
        }
    };
    if last > head {
        return Err(damaged(head + 1, format!("there are records up to {last} behind the head {head}")));
    }
    if last < head {
        return Err(damaged(last + 1, format!("the head is {head}, but the last record is {last}")));
    }
    super::Scan::new(journal, head.max(1), head).try_for_each(|record| record.map(drop))?;
    Ok(head)
}

fn nearest_existing(directory: &Path) -> PathBuf {
    let mut ancestors = directory.ancestors().filter(|path| !path.as_os_str().is_empty());
    let found = ancestors.find(|path| path.exists());
    found.unwrap_or(Path::new(".")).to_path_buf()
}

fn sync(disk: &dyn Disk, path: &Path) -> Result<(), JournalError> {
    let file = File::open(path).map_err(io_at(path))?;
    disk.sync(&file).map_err(sync_failed(path))
}

fn sync_failed(path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    move |error| JournalError::SyncFailed { path: path.to_path_buf(), why: format!("syncing: {error}") }
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    move |source| JournalError::Io { path: path.to_path_buf(), source }
}
