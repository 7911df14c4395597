//! The signing directory: the key that signs checkpoints, and the last checkpoint that was signed. Apart from the data,
//! so that what happens to the data does not happen to it.
//!
//! Knows neither keys nor checkpoints: texts go in and come out. A checkpoint is written by itself and synced only when
//! somebody asks, which is before it is handed out: so an append pays no sync for it.
//!
//! ```text
//! signing-key        the key, mode 0600; refused if anybody else can read it
//! public-keys        the keys that check its signatures, one a line, the newest last
//! key-change-N       the checkpoint at which the N-th key was replaced, signed by both
//! last-checkpoint    two slots of 4096 bytes, written in turn: length u32 · CRC-32 u32 · text, big-endian
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::directory::{io_at, nearest_existing, sync, sync_above, take_lock};
use super::{JournalError, RealDisk};

/// The file with the key.
pub const KEY_FILE: &str = "signing-key";
const PUBLIC_FILE: &str = "public-keys";
const LAST_FILE: &str = "last-checkpoint";
const CHANGE_PREFIX: &str = "key-change-";
const SLOT_BYTES: usize = 4096;
const SLOT_HEADER_BYTES: usize = 8;

/// An open signing directory, locked.
pub struct SigningDirectory {
    path: PathBuf,
    last: Mutex<Option<Last>>,
    _lock: File,
}

/// The file of the last checkpoint, and which slot is written next.
struct Last {
    file: File,
    next: u64,
}

impl SigningDirectory {
    /// Opens the directory, making it if there is none.
    ///
    /// # Errors
    /// [`JournalError::InUse`], or what the system says.
    pub fn open(path: &Path) -> Result<SigningDirectory, JournalError> {
        let existed = nearest_existing(path);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io_at(path))?;
        let path = fs::canonicalize(path).map_err(io_at(path))?;
        let existed = fs::canonicalize(&existed).map_err(io_at(&existed))?;
        let lock = take_lock(&path)?;
        sync_above(&RealDisk, &path, &existed)?;
        Ok(SigningDirectory { path, last: Mutex::new(None), _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The key; none if there is none yet.
    ///
    /// # Errors
    /// [`JournalError::KeyExposed`] if others than its owner can read or change it, or what the system says.
    pub fn key(&self) -> Result<Option<String>, JournalError> {
        let path = self.path.join(KEY_FILE);
        let meta = match fs::metadata(&path) {
            Ok(meta) => meta,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_at(&path)(error)),
        };
        let mode = meta.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(JournalError::KeyExposed { path, mode });
        }
        fs::read_to_string(&path).map(Some).map_err(io_at(&path))
    }

    /// Puts a key in the place of the one before, if there was one; adds its public half to the list.
    ///
    /// # Errors
    /// What the system says.
    pub fn put_key(&self, secret: &str, public: &str) -> Result<(), JournalError> {
        let listed = self.path.join(PUBLIC_FILE);
        let before = read_if_there(&listed)?.unwrap_or_default();
        self.replace(PUBLIC_FILE, &format!("{before}{public}\n"), 0o644)?;
        self.replace(KEY_FILE, &format!("{secret}\n"), 0o600)
    }

    /// The checkpoints at which keys were replaced, oldest first.
    ///
    /// # Errors
    /// What the system says.
    pub fn key_changes(&self) -> Result<Vec<String>, JournalError> {
        let mut changes = Vec::new();
        while let Some(change) = read_if_there(&self.path.join(change_name(changes.len() + 1)))? {
            changes.push(change);
        }
        Ok(changes)
    }

    /// Keeps the checkpoint at which a key is replaced, as the `number`-th, from 1.
    ///
    /// # Errors
    /// What the system says.
    pub fn put_key_change(&self, number: usize, note: &str) -> Result<(), JournalError> {
        self.replace(&change_name(number), note, 0o644)
    }

    /// What is in the slots of the last checkpoint; none if nothing was kept yet.
    ///
    /// # Errors
    /// [`JournalError::LastCheckpointDamaged`] if neither slot is whole, or what the system says.
    pub fn last_checkpoints(&self) -> Result<Vec<String>, JournalError> {
        let path = self.path.join(LAST_FILE);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io_at(&path)(error)),
        };
        let whole: Vec<String> = [0, 1].into_iter().filter_map(|slot| read_slot(&file, slot)).collect();
        if whole.is_empty() { Err(JournalError::LastCheckpointDamaged { path }) } else { Ok(whole) }
    }

    /// Keeps a checkpoint as the last one. It survives the end of the process, but only after [`sync_last`] a power cut.
    ///
    /// [`sync_last`]: SigningDirectory::sync_last
    ///
    /// # Errors
    /// What the system says.
    pub fn keep_last(&self, note: &str) -> Result<(), JournalError> {
        let path = self.path.join(LAST_FILE);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let last = match last.as_mut() {
            Some(last) => last,
            None => last.insert(Last { file: self.open_last(note)?, next: 0 }),
        };
        last.file.write_all_at(&slot(note), last.next * SLOT_BYTES as u64).map_err(io_at(&path))?;
        last.next = 1 - last.next;
        Ok(())
    }

    /// Keeps a checkpoint as the only one, durably.
    ///
    /// # Errors
    /// What the system says.
    pub fn restart_from(&self, note: &str) -> Result<(), JournalError> {
        self.keep_last(note)?;
        self.keep_last(note)?;
        self.sync_last()
    }

    /// Makes the last checkpoint durable.
    ///
    /// # Errors
    /// What the system says.
    pub fn sync_last(&self) -> Result<(), JournalError> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // Another handle, so that the writer need not wait for this sync.
        let file = last.as_ref().map(|last| last.file.try_clone()).transpose();
        drop(last);
        let path = self.path.join(LAST_FILE);
        match file.map_err(io_at(&path))? {
            Some(file) => file.sync_data().map_err(io_at(&path)),
            None => Ok(()),
        }
    }

    /// The file, made whole under another name first if it isn't there: it never has no whole slot.
    fn open_last(&self, note: &str) -> Result<File, JournalError> {
        let path = self.path.join(LAST_FILE);
        if !path.exists() {
            let both = [slot(note), slot(note)].concat();
            let draft = self.path.join(format!("{LAST_FILE}.new"));
            fs::write(&draft, both).map_err(io_at(&draft))?;
            sync(&RealDisk, &draft)?;
            fs::rename(&draft, &path).map_err(io_at(&path))?;
            sync(&RealDisk, &self.path)?;
        }
        OpenOptions::new().read(true).write(true).open(&path).map_err(io_at(&path))
    }

    fn replace(&self, name: &str, text: &str, mode: u32) -> Result<(), JournalError> {
        let (path, draft) = (self.path.join(name), self.path.join(format!("{name}.new")));
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(io_at(&draft)(error)),
            Ok(()) | Err(_) => {}
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft);
        let mut file = file.map_err(io_at(&draft))?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(io_at(&draft))?;
        fs::rename(&draft, &path).map_err(io_at(&path))?;
        sync(&RealDisk, &self.path)
    }
}

fn change_name(number: usize) -> String {
    format!("{CHANGE_PREFIX}{number}")
}

fn read_if_there(path: &Path) -> Result<Option<String>, JournalError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_at(path)(error)),
    }
}

fn slot(note: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(SLOT_BYTES);
    out.extend((note.len() as u32).to_be_bytes());
    out.extend(crc32fast::hash(note.as_bytes()).to_be_bytes());
    out.extend(note.as_bytes());
    out.resize(SLOT_BYTES.max(out.len()), 0);
    out
}

fn read_slot(file: &File, number: u64) -> Option<String> {
    let mut bytes = vec![0; SLOT_BYTES];
    file.read_exact_at(&mut bytes, number * SLOT_BYTES as u64).ok()?;
    let length = u32::from_be_bytes(*bytes.first_chunk::<4>()?) as usize;
    let checksum = u32::from_be_bytes(*bytes.get(4..)?.first_chunk::<4>()?);
    let text = bytes.get(SLOT_HEADER_BYTES..)?.get(..length)?;
    (crc32fast::hash(text) == checksum).then(|| String::from_utf8(text.to_vec()).ok()).flatten()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_last_checkpoint_is_in_one_slot_or_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signing");
        let directory = SigningDirectory::open(&path).unwrap();
        assert!(directory.last_checkpoints().unwrap().is_empty());
        for note in ["one", "two", "three"] {
            directory.keep_last(note).unwrap();
        }
        assert_eq!(directory.last_checkpoints().unwrap(), ["three", "two"]);
        drop(directory);
        let file = OpenOptions::new().write(true).open(path.join(LAST_FILE)).unwrap();
        file.write_all_at(b"x", 10).unwrap();
        let directory = SigningDirectory::open(&path).unwrap();
        assert_eq!(directory.last_checkpoints().unwrap(), ["two"]);
        file.write_all_at(b"x", 4096 + 10).unwrap();
        assert!(matches!(directory.last_checkpoints(), Err(JournalError::LastCheckpointDamaged { .. })));
    }

    #[test]
    fn one_process_signs_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let directory = SigningDirectory::open(folder.path()).unwrap();
        assert!(matches!(SigningDirectory::open(folder.path()), Err(JournalError::InUse { .. })));
        drop(directory);
        assert!(SigningDirectory::open(folder.path()).is_ok());
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let directory = SigningDirectory::open(folder.path()).unwrap();
        assert_eq!(directory.key().unwrap(), None);
        directory.put_key("secret", "public").unwrap();
        assert_eq!(directory.key().unwrap().as_deref(), Some("secret\n"));
        let path = folder.path().join(KEY_FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(matches!(directory.key(), Err(JournalError::KeyExposed { mode: found, .. }) if found == mode));
        }
    }
}
