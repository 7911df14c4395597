//! Looking at a store without touching it, for `fsck`.
//!
//! sled can't be opened without writing: it may finish a snapshot, cut a torn
//! segment or truncate its file. So what is opened is a copy of the directory,
//! made in a scratch directory that is removed at the end; the store itself is
//! only read, and locked while it is, so that no server starts meanwhile.
//!
//! Knows no events. It says what is there; what that means is up to the caller.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::directory::{LOCK_FILE, hold, io_at, refuse_full, sync_failed};
use super::sled::open::{BLOBS, DATA_FILE, format_of, half_snapshots, open_copy, refuse_blobs};
use super::{Disk, Journal, JournalError, RealDisk, SledJournal, SledOptions};

const EIO: i32 = rustix::io::Errno::IO.raw_os_error();

/// A store's directory, locked and looked at from outside.
pub struct Directory {
    path: PathBuf,
    _lock: Option<File>,
}

impl Directory {
    /// Locks a store's directory.
    ///
    /// # Errors
    /// [`JournalError::InUse`], or what the system says.
    pub fn lock(path: &Path) -> Result<Directory, JournalError> {
        fs::read_dir(path).map_err(io_at(path))?;
        let lock = match File::open(path.join(LOCK_FILE)) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(io_at(&path.join(LOCK_FILE))(error)),
        };
        if let Some(file) = &lock {
            hold(file, path)?;
        }
        Ok(Directory { path: path.to_path_buf(), _lock: lock })
    }

    /// Whether it says that it is a store of a format that this program reads.
    ///
    /// # Errors
    /// If it does not.
    pub fn format(&self) -> Result<(), JournalError> {
        format_of(&self.path)
    }

    /// Whether sled keeps nothing where it never syncs it.
    ///
    /// # Errors
    /// [`JournalError::BlobsPresent`].
    pub fn blobs(&self) -> Result<(), JournalError> {
        refuse_blobs(&self.path)
    }

    /// Snapshots that sled did not finish; the next start removes them, and nothing is lost.
    ///
    /// # Errors
    /// What the system says.
    pub fn half_snapshots(&self) -> Result<Vec<PathBuf>, JournalError> {
        half_snapshots(&self.path)
    }

    /// Copies the store into `scratch`, which must not exist, and opens the copy.
    ///
    /// # Errors
    /// [`JournalError::OpenFailed`] if the fault is the store's; anything else is said of the copy, or by the system.
    pub fn open_copy_in(&self, scratch: &Path) -> Result<StoreCopy, JournalError> {
        if !self.path.join(DATA_FILE).exists() {
            let why = format!("its file {DATA_FILE} is missing");
            return Err(JournalError::OpenFailed { path: self.path.clone(), why });
        }
        let parent = scratch.parent().unwrap_or(Path::new("."));
        let bytes = files(&self.path)?.iter().map(|(_, bytes)| bytes).sum::<u64>();
        let reserve = SledOptions::default().reserve_bytes;
        refuse_full(parent, &RealDisk, bytes.saturating_add(reserve))?;
        fs::create_dir(scratch).map_err(io_at(scratch))?;
        let scratch = Scratch(scratch.to_path_buf());
        fs::create_dir(scratch.0.join(BLOBS)).map_err(io_at(&scratch.0))?;
        for (path, _) in files(&self.path)? {
            let name = path.file_name().unwrap_or_default();
            let to = scratch.0.join(name);
            if name != LOCK_FILE && !half_snapshots(&self.path)?.contains(&path) {
                copy(&path, &to)?;
            }
        }
        // The copy reads like the store only if the disk took all of it.
        let data = scratch.0.join(DATA_FILE);
        let copied = File::open(&data).map_err(io_at(&data))?;
        RealDisk.sync(&copied).map_err(sync_failed(&data))?;
        let opened = open_copy(&scratch.0).map_err(|error| match error {
            // What sled says of the copy it would say of the store.
            JournalError::OpenFailed { why, .. } => JournalError::OpenFailed { path: self.path.clone(), why },
            other => other,
        })?;
        Ok(StoreCopy { mark: opened.mark, last: opened.last, journal: opened.journal, _scratch: scratch })
    }
}

/// Copies a file; an error names the side that it is on.
fn copy(from: &Path, to: &Path) -> Result<(), JournalError> {
    File::open(from).map_err(io_at(from))?;
    // What the device can't give is the store's; a full or read-only disk is the copy's.
    let at = |error: &io::Error| if error.raw_os_error() == Some(EIO) { from } else { to };
    fs::copy(from, to).map(drop).map_err(|error| io_at(at(&error))(error))
}

/// The plain files of a directory, with their sizes.
fn files(directory: &Path) -> Result<Vec<(PathBuf, u64)>, JournalError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(io_at(directory))? {
        let entry = entry.map_err(io_at(directory))?;
        let meta = entry.metadata().map_err(io_at(&entry.path()))?;
        if meta.is_file() {
            found.push((entry.path(), meta.len()));
        }
    }
    Ok(found)
}

/// An opened copy of a store.
pub struct StoreCopy {
    /// What the head mark says.
    pub mark: Result<u64, JournalError>,
    /// The position of the last record.
    pub last: Result<u64, JournalError>,
    journal: SledJournal,
    // Removed after the journal is dropped.
    _scratch: Scratch,
}

impl StoreCopy {
    /// Its records, up to the higher of mark and last; it appends nothing.
    pub fn journal(&self) -> &dyn Journal {
        &self.journal
    }
}

struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, scratch = %self.0.display(), "a copy was left behind; remove it");
        }
    }
}
