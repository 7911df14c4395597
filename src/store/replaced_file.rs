//! A small file that is only ever replaced as a whole: there is the old one or the new one, never half of one.
//!
//! Knows nothing of what is in it. For what can be derived again, and so need not be durable when a batch is.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::directory::{io_at, refuse_full, sync};
use super::{Disk, JournalError, RealDisk};

/// Bytes that stay free on the disk: more than the journal's own reserve, so that it is never what fills the disk.
const RESERVE_BYTES: u64 = 128 * 1024 * 1024;

/// A file in a directory, and what it takes to replace it.
#[derive(Clone)]
pub struct ReplacedFile {
    directory: PathBuf,
    name: &'static str,
    disk: Arc<dyn Disk>,
}

impl ReplacedFile {
    /// The file of that name in a directory, on the real disk.
    pub fn new(directory: &Path, name: &'static str) -> ReplacedFile {
        ReplacedFile { directory: directory.to_path_buf(), name, disk: Arc::new(RealDisk) }
    }

    /// Another file in the same directory.
    pub fn beside(&self, name: &'static str) -> ReplacedFile {
        ReplacedFile { name, ..self.clone() }
    }

    /// Its content; none if there is no such file.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn read(&self) -> Result<Option<Vec<u8>>, JournalError> {
        let path = self.directory.join(self.name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_at(&path)(error)),
        }
    }

    /// Replaces its content. A draft that an earlier attempt left is overwritten.
    ///
    /// # Errors
    /// [`JournalError::Full`] near the journal's reserve, or what the operating system says; the old content is then
    /// still there.
    pub fn replace(&self, bytes: &[u8]) -> Result<(), JournalError> {
        refuse_full(&self.directory, self.disk.as_ref(), RESERVE_BYTES + bytes.len() as u64)?;
        let (path, draft) = (self.directory.join(self.name), self.directory.join(format!("{}.new", self.name)));
        fs::write(&draft, bytes).map_err(io_at(&draft))?;
        sync(self.disk.as_ref(), &draft)?;
        fs::rename(&draft, &path).map_err(io_at(&path))?;
        sync(self.disk.as_ref(), &self.directory)
    }
}
