//! An archive as a journal that can only be read: for whoever recomputes everything from a file.
//!
//! Holds the place of each record, not its bytes, so the file may be larger than the memory.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{Entry, Flaw, Reader, TRAILER_BYTES};
use crate::store::directory::io_at;
use crate::store::{Journal, JournalError, Records};

/// The events of an archive that begins with the first one.
pub struct ArchiveJournal {
    file: File,
    path: PathBuf,
    /// Where each record's bytes begin, and how many they are.
    places: Vec<(u64, usize)>,
}

/// What was found on the way through the file.
#[derive(Debug)]
pub struct Survey {
    /// The first position; 0 if there is no event.
    pub first: u64,
    /// Whether the file ends as it should.
    pub complete: bool,
    /// Bytes that were read and make sense.
    pub bytes: u64,
    /// Where it stops making sense, if it does.
    pub flaw: Option<Flaw>,
}

impl ArchiveJournal {
    /// Reads an archive to its end, every checksum compared; `each` is told what there is and the bytes read so far.
    ///
    /// # Errors
    /// A file that is no archive of this program, or what the system says; damage is in the survey.
    pub fn open(path: &Path, mut each: impl FnMut(&Entry, u64)) -> Result<(ArchiveJournal, Survey), JournalError> {
        let mut reader = Reader::open(path)?;
        let mut places = Vec::new();
        while let Some(entry) = reader.next()? {
            if let Entry::Event { bytes, .. } = &entry {
                places.push((reader.offset() - (bytes.len() + TRAILER_BYTES) as u64, bytes.len()));
            }
            each(&entry, reader.offset());
        }
        let survey = Survey {
            first: reader.first(),
            complete: reader.is_complete(),
            bytes: reader.offset(),
            flaw: reader.flaw().cloned(),
        };
        let file = File::open(path).map_err(io_at(path))?;
        Ok((ArchiveJournal { file, path: path.to_path_buf(), places }, survey))
    }

    fn bytes(&self, (offset, length): (u64, usize)) -> Result<Vec<u8>, JournalError> {
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, offset).map_err(io_at(&self.path))?;
        Ok(bytes)
    }
}

impl Journal for ArchiveJournal {
    fn head(&self) -> Result<u64, JournalError> {
        Ok(self.places.len() as u64)
    }

    fn append(&self, _expected_head: u64, _batch: &[Vec<u8>]) -> Result<u64, JournalError> {
        Err(JournalError::Stopped)
    }

    fn read(&self, position: u64) -> Result<Option<Vec<u8>>, JournalError> {
        let index = position.checked_sub(1).and_then(|index| usize::try_from(index).ok());
        let place = index.and_then(|index| self.places.get(index));
        place.map(|place| self.bytes(*place)).transpose()
    }

    fn scan(&self, from: u64) -> Records<'_> {
        let from = from.max(1);
        let skipped = usize::try_from(from - 1).unwrap_or(usize::MAX);
        let places = self.places.iter().skip(skipped).zip(from..);
        Box::new(places.map(|(place, position)| Ok((position, self.bytes(*place)?))))
    }
}
