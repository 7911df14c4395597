//! The mirror's one file: created so that it is never half there, read whole at
//! each start, appended to and synced.
//!
//! Knows nothing of the engine. What is decided from what is found here is in
//! `open.rs`; the format is in `archive/`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::store::archive::{self, Entry, Flaw, Reader};
use crate::store::directory::{io_at, refuse_full, sync, sync_failed};
use crate::store::{Disk, JournalError, Observer, Step};

/// The name of the archive in a mirror's directory.
pub const MIRROR_FILE: &str = "journal.archive";

const DRAFT: &str = "journal.archive.new";

/// The file, open for appending. Dropped, it lets go of the directory's lock.
pub(super) struct MirrorFile {
    file: File,
    directory: PathBuf,
    path: PathBuf,
    disk: Arc<dyn Disk>,
    reserve: u64,
    observer: Option<Observer>,
    /// The last position in it, and where the file ends behind its mark.
    pub(super) position: u64,
    pub(super) end: u64,
    _lock: File,
}

/// What a reading of the whole file found.
pub(super) struct Survey {
    /// The position through which it is complete, and where in the file that is.
    pub(super) marked: u64,
    pub(super) marked_end: u64,
    /// The first position; 0 if there is none.
    pub(super) first: u64,
    /// The record at the lower of `head` and `marked`; none if that is 0.
    pub(super) common: Option<(u64, Vec<u8>)>,
    /// The last checkpoint in that part.
    pub(super) checkpoint: Option<Vec<u8>>,
    /// The last position that is whole, marked or not.
    pub(super) whole: u64,
    /// Whether anything stands behind the last mark.
    pub(super) has_tail: bool,
    /// What does not check, if anything.
    pub(super) flaw: Option<Flaw>,
}

/// Reads a mirror's file to its end, every checksum compared.
pub(super) fn survey(path: &Path, head: u64) -> Result<Survey, JournalError> {
    let mut reader = Reader::open(path)?;
    let (mut last, mut at_mark, mut at_head) = (None, None, None);
    let mut checkpoint = (None, None);
    while let Some(entry) = reader.next()? {
        match entry {
            Entry::Event { position, bytes } => {
                if position == head {
                    at_head = Some((position, bytes.clone()));
                }
                last = Some((position, bytes));
            }
            Entry::Mark { .. } => at_mark = last.take().or(at_mark),
            Entry::Checkpoint { note, .. } => checkpoint.0 = Some(note),
        }
        // What stands behind no mark may be cut off.
        if reader.offset() == reader.marked_end() {
            checkpoint.1 = checkpoint.0.take().or(checkpoint.1);
        }
    }
    let marked = reader.marked();
    Ok(Survey {
        marked,
        marked_end: reader.marked_end(),
        first: reader.first(),
        common: if head < marked { at_head } else { at_mark },
        checkpoint: checkpoint.1,
        whole: reader.position(),
        has_tail: reader.offset() != reader.marked_end() || reader.flaw().is_some(),
        flaw: reader.flaw().cloned(),
    })
}

impl MirrorFile {
    /// Opens the file of a directory whose lock is held, or makes an empty one.
    pub(super) fn open(
        directory: &Path,
        lock: File,
        disk: Arc<dyn Disk>,
        reserve: u64,
        observer: Option<Observer>,
    ) -> Result<MirrorFile, JournalError> {
        let path = directory.join(MIRROR_FILE);
        if !path.exists() {
            // Under another name first: a file that is there always has its first line.
            let draft = directory.join(DRAFT);
            fs::write(&draft, archive::line()).map_err(io_at(&draft))?;
            sync(disk.as_ref(), &draft)?;
            fs::rename(&draft, &path).map_err(io_at(&path))?;
            sync(disk.as_ref(), directory)?;
        }
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(io_at(&path))?;
        let directory = directory.to_path_buf();
        Ok(MirrorFile { file, directory, path, disk, reserve, observer, position: 0, end: 0, _lock: lock })
    }

    /// Takes the file from where a survey says that it is complete. What stands
    /// behind is kept in a file of its own before it is cut off.
    pub(super) fn settle(&mut self, survey: &Survey) -> Result<(), JournalError> {
        if survey.has_tail {
            let kept = self.keep_tail(survey)?;
            tracing::warn!(
                mirror = %self.path.display(),
                complete_through = survey.marked,
                whole_through = survey.whole,
                kept = %kept.display(),
                "the mirror had a torn end, which was never acknowledged: cut off, and kept beside it"
            );
        }
        self.file.set_len(survey.marked_end).map_err(io_at(&self.path))?;
        (self.position, self.end) = (survey.marked, survey.marked_end);
        // Also what an earlier process wrote and may not have synced.
        self.disk.sync(&self.file).map_err(sync_failed(&self.path))
    }

    fn keep_tail(&mut self, survey: &Survey) -> Result<PathBuf, JournalError> {
        let names = (0..).map(|n| self.directory.join(format!("cut-behind-{}.{n}", survey.marked)));
        for path in names {
            let kept = OpenOptions::new().write(true).create_new(true).open(&path);
            let mut kept = match kept {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                kept => kept.map_err(io_at(&path))?,
            };
            self.file.seek(SeekFrom::Start(survey.marked_end)).map_err(io_at(&self.path))?;
            io::copy(&mut Read::by_ref(&mut self.file), &mut kept).map_err(io_at(&path))?;
            self.disk.sync(&kept).map_err(sync_failed(&path))?;
            sync(self.disk.as_ref(), &self.directory)?;
            return Ok(path);
        }
        Ok(self.directory.clone())
    }

    /// Refuses when its disk is down to the reserve.
    pub(super) fn refuse_full(&self) -> Result<(), JournalError> {
        refuse_full(&self.directory, self.disk.as_ref(), self.reserve)
    }

    /// Writes whole records that end in the mark of `through`, and syncs them.
    /// After an error the file must not be written again.
    pub(super) fn append(&mut self, bytes: &[u8], through: u64) -> Result<(), JournalError> {
        let unsure = |step: &str, error: io::Error| JournalError::SyncFailed {
            path: self.path.clone(),
            why: format!("{step}: {error}"),
        };
        self.file.write_all_at(bytes, self.end).map_err(|error| unsure("writing", error))?;
        self.disk.sync(&self.file).map_err(|error| unsure("syncing", error))?;
        self.end += bytes.len() as u64;
        self.position = through;
        if let Some(observer) = &self.observer {
            observer(Step::Synced { through });
        }
        Ok(())
    }

    /// Takes back what was appended behind `end`: the engine refused the batch.
    pub(super) fn undo(&mut self, position: u64, end: u64) -> Result<(), JournalError> {
        let unsure = |error: io::Error| JournalError::SyncFailed {
            path: self.path.clone(),
            why: format!("taking back a batch that the store refused: {error}"),
        };
        self.file.set_len(end).map_err(unsure)?;
        self.disk.sync(&self.file).map_err(unsure)?;
        (self.position, self.end) = (position, end);
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}
