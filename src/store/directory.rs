//! What the store and its mirror share about directories: the lock, the reserve
//! of free space, syncs of names, and errors that name the path.
//!
//! Knows no format. The steps of opening are in `sled/open.rs` and `mirror/`.

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;

use super::{Disk, JournalError};

pub(super) const LOCK_FILE: &str = "LOCK";

/// sled lets go of its file lock a moment after its handle is dropped, by
/// threads of its own. Our own lock is held by then, so waiting is safe.
pub(super) const LOCK_ATTEMPTS: u32 = 100;
pub(super) const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// A lock of our own, before sled's: sled answers a held lock with an I/O error
/// that can't be told from others.
pub(super) fn take_lock(directory: &Path) -> Result<File, JournalError> {
    let path = directory.join(LOCK_FILE);
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(io_at(&path))?;
    hold(&file, directory)?;
    Ok(file)
}

/// Locks an open file: one that was opened for reading does as well.
pub(super) fn hold(file: &File, directory: &Path) -> Result<(), JournalError> {
    // A process that is just being started holds copies of its parent's locks until it runs its own program.
    for attempt in 1.. {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(rustix::io::Errno::WOULDBLOCK) if attempt < LOCK_ATTEMPTS => std::thread::sleep(LOCK_PAUSE),
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(JournalError::InUse { path: directory.to_path_buf() }),
            Err(error) => return Err(io_at(&directory.join(LOCK_FILE))(error.into())),
        }
    }
    Ok(())
}

/// Refuses when the disk is down to the reserve.
pub(super) fn refuse_full(directory: &Path, disk: &dyn Disk, reserve: u64) -> Result<(), JournalError> {
    let free = disk.free_bytes(directory).map_err(io_at(directory))?;
    if free < reserve {
        return Err(JournalError::Full { path: directory.to_path_buf(), free, reserve });
    }
    Ok(())
}

/// Syncs the names in the directories above `directory`, up to the one that
/// `existed` before.
pub(super) fn sync_above(disk: &dyn Disk, directory: &Path, existed: &Path) -> Result<(), JournalError> {
    for parent in directory.ancestors().skip(1) {
        sync(disk, parent)?;
        if parent == existed || !parent.starts_with(existed) {
            break;
        }
    }
    Ok(())
}

pub(super) fn nearest_existing(directory: &Path) -> PathBuf {
    let mut ancestors = directory.ancestors().filter(|path| !path.as_os_str().is_empty());
    let found = ancestors.find(|path| path.exists());
    found.unwrap_or(Path::new(".")).to_path_buf()
}

pub(super) fn sync(disk: &dyn Disk, path: &Path) -> Result<(), JournalError> {
    let file = File::open(path).map_err(io_at(path))?;
    disk.sync(&file).map_err(sync_failed(path))
}

pub(super) fn sync_failed(path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    move |error| JournalError::SyncFailed { path: path.to_path_buf(), why: format!("syncing: {error}") }
}

pub(super) fn io_at(path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    move |source| JournalError::Io { path: path.to_path_buf(), source }
}
