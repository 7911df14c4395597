//! A store from an archive: made beside where it shall be, or within a directory that is there and empty, compared record
//! by record with the archive, and only then given its place.
//!
//! Knows no events: whether they make sense is checked by the caller between
//! [`Draft::write`] and [`Draft::finish`]. A draft that is dropped is removed;
//! one that a crash leaves is removed by the next restore, and until then no
//! store is opened there.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::archive::{Entry, Flaw, Reader};
use super::directory::{LOCK_FILE, io_at, nearest_existing, sync, sync_above, take_lock};
use super::sled::open::{BLOBS, CONFIG_FILE, DATA_FILE, SNAPSHOT_PREFIX};
use super::sled::witness::WITNESS_FILE;
use super::{
    BATCH_BYTES_MAX, BATCH_RECORDS_MAX, Disk, Journal, JournalError, MIRROR_FILE, RealDisk, STORE_FORMAT_FILE,
    SledJournal, SledOptions,
};

const SUFFIX: &str = ".restoring";
/// The draft within a directory that is there: it may be where a disk is mounted, which nothing can be renamed to.
pub(in crate::store) const DRAFT_WITHIN: &str = "restoring";
/// What a new file system has in it.
pub(in crate::store) const LOST_AND_FOUND: &str = "lost+found";
/// The first thing in a draft: what has other things and not this is no draft, whatever its name, and is not removed.
const DRAFT_FILE: &str = "RESTORING";

/// The archive that a path means: a file, or the one in a mirror's directory.
pub fn archive_at(path: &Path) -> PathBuf {
    if path.is_dir() { path.join(MIRROR_FILE) } else { path.to_path_buf() }
}

/// What an archive holds, every checksum compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// The first position; 0 if there is no event.
    pub first: u64,
    /// The last position that is whole.
    pub last: u64,
    /// The last position of a batch that is complete: what stands behind it in a mirror was never acknowledged.
    pub marked: u64,
    /// Whether the file ends as it should, with a mark.
    pub complete: bool,
    /// Bytes that were read and make sense.
    pub bytes: u64,
    /// Where it stops making sense, if it does.
    pub flaw: Option<Flaw>,
}

/// Reads an archive to its end. `progress` is told the bytes read so far.
///
/// # Errors
/// What no archive of this program has, or what the system says; damage is in the answer.
pub fn read_through(archive: &Path, progress: &dyn Fn(u64)) -> Result<Contents, JournalError> {
    let mut reader = Reader::open(archive)?;
    while reader.next()?.is_some() {
        progress(reader.offset());
    }
    Ok(Contents {
        first: reader.first(),
        last: reader.position(),
        marked: reader.marked(),
        complete: reader.is_complete(),
        bytes: reader.offset(),
        flaw: reader.flaw().cloned(),
    })
}

/// Appends records to a journal in batches within its limits.
pub(super) struct Batches {
    head: u64,
    batch: Vec<Vec<u8>>,
    bytes: usize,
}

impl Batches {
    pub(super) fn new(head: u64) -> Batches {
        Batches { head, batch: Vec::new(), bytes: 0 }
    }

    pub(super) fn add(&mut self, journal: &dyn Journal, record: Vec<u8>) -> Result<(), JournalError> {
        let fits = self.bytes + record.len() <= BATCH_BYTES_MAX && self.batch.len() < BATCH_RECORDS_MAX;
        if !self.batch.is_empty() && !fits {
            self.write(journal)?;
        }
        self.bytes += record.len();
        self.batch.push(record);
        Ok(())
    }

    pub(super) fn finish(mut self, journal: &dyn Journal) -> Result<u64, JournalError> {
        self.write(journal)?;
        Ok(self.head)
    }

    fn write(&mut self, journal: &dyn Journal) -> Result<(), JournalError> {
        self.head = journal.append(self.head, &self.batch)?;
        self.batch.clear();
        self.bytes = 0;
        Ok(())
    }
}

/// A store that is being made from an archive.
pub struct Draft {
    journal: Option<SledJournal>,
    draft: PathBuf,
    target: PathBuf,
    /// Whether the draft lies in the directory that the store is for, which stays.
    within: bool,
    /// The nearest directory above the target that was there before.
    existed: PathBuf,
}

impl Draft {
    /// Writes the events up to `through` beside `directory`, or into it if it is
    /// there and empty, opens what was written again, and compares it with the archive. `progress` is told the
    /// bytes of the archive that were written so far.
    ///
    /// # Errors
    /// [`JournalError::NotEmpty`] if there is anything in `directory`; what the
    /// archive or the store says.
    pub fn write(
        archive: &Path,
        directory: &Path,
        through: u64,
        progress: &dyn Fn(u64),
    ) -> Result<Draft, JournalError> {
        let target = std::path::absolute(directory).map_err(io_at(directory))?;
        let within = target.is_dir();
        let target = if within { fs::canonicalize(&target).map_err(io_at(&target))? } else { target };
        refuse_link(&target)?;
        let beside = draft_beside(&target).ok_or_else(|| JournalError::NotEmpty { path: target.clone() })?;
        let path = if within { target.join(DRAFT_WITHIN) } else { beside.clone() };
        refuse_unless_empty(&target, within)?;
        remove_left_over(&path, within.then_some(&target))?;
        // One of a time when the directory wasn't there.
        if within && is_draft(&beside) {
            remove_left_over(&beside, None)?;
        }
        let existed = nearest_existing(&target);
        let mut draft = Draft { journal: None, draft: path, target, within, existed };
        fs::create_dir_all(&draft.draft).map_err(io_at(&draft.draft))?;
        fs::write(draft.draft.join(DRAFT_FILE), "").map_err(io_at(&draft.draft))?;
        let journal = SledJournal::open(&draft.draft, SledOptions::default())?;
        let mut batches = Batches::new(0);
        let mut reader = Reader::open(archive)?;
        while let Some(entry) = reader.next()? {
            match entry {
                Entry::Event { position, bytes } if position <= through => batches.add(&journal, bytes)?,
                Entry::Event { .. } => break,
                Entry::Mark { .. } | Entry::Checkpoint { .. } => {}
            }
            progress(reader.offset());
        }
        batches.finish(&journal)?;
        drop(journal);
        // What counts is what the next start will find.
        let journal = SledJournal::open(&draft.draft, SledOptions::default())?;
        compare(&journal, archive, through)?;
        draft.journal = Some(journal);
        Ok(draft)
    }

    /// The store, for the caller to check what it holds.
    pub fn journal(&self) -> Option<&dyn Journal> {
        self.journal.as_ref().map(|journal| journal as &dyn Journal)
    }

    /// Gives the store its name.
    ///
    /// # Errors
    /// What the system says; then nothing is left, or in a directory that was there something without FORMAT.
    pub fn finish(self) -> Result<(), JournalError> {
        self.finish_on(&RealDisk)
    }

    fn finish_on(mut self, disk: &dyn Disk) -> Result<(), JournalError> {
        self.journal = None;
        // The store's own is gone; another restore must not take this for what one left that was cut off.
        let _lock = take_lock(&self.draft)?;
        refuse_unless_empty(&self.target, self.within)?;
        if self.within {
            return self.move_in(disk);
        }
        fs::rename(&self.draft, &self.target).map_err(io_at(&self.target))?;
        let draft_file = self.target.join(DRAFT_FILE);
        fs::remove_file(&draft_file).map_err(io_at(&draft_file))?;
        sync(disk, &self.target)?;
        sync_above(disk, &self.target, &self.existed)
    }

    /// Moves what is in the draft to where it lies. FORMAT comes last: without it nothing there is taken for a store.
    fn move_in(&self, disk: &dyn Disk) -> Result<(), JournalError> {
        let entries = fs::read_dir(&self.draft).map_err(io_at(&self.draft))?;
        let names: Result<Vec<_>, io::Error> = entries.map(|entry| Ok(entry?.file_name())).collect();
        let mut names = names.map_err(io_at(&self.draft))?;
        // sled's log first, by which a directory without FORMAT is known as no new one.
        names.sort_by_key(|name| (name == STORE_FORMAT_FILE, name != DATA_FILE));
        for name in names.into_iter().filter(|name| name != DRAFT_FILE && name != LOCK_FILE) {
            if name == STORE_FORMAT_FILE {
                sync(disk, &self.target)?;
            }
            let to = self.target.join(&name);
            fs::rename(self.draft.join(&name), &to).map_err(io_at(&to))?;
        }
        sync(disk, &self.target)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        self.journal = None;
        if let Err(error) = remove_draft(&self.draft)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, draft = %self.draft.display(), "an unfinished store was left behind; remove it");
        }
    }
}

/// Refuses a directory with anything in it; if the store is made within it, but for what may be there then.
fn refuse_unless_empty(directory: &Path, within: bool) -> Result<(), JournalError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io_at(directory)(error)),
    };
    let half = is_half_moved_in(directory);
    for entry in entries {
        let name = entry.map_err(io_at(directory))?.file_name();
        let may_be_there = name == DRAFT_WITHIN || name == LOST_AND_FOUND || (half && is_of_store(&name));
        if !(within && may_be_there) {
            return Err(JournalError::NotEmpty { path: directory.to_path_buf() });
        }
    }
    Ok(())
}

/// Whether what is in a directory may have been moved there by a restore that was cut off: FORMAT, which comes last, is
/// still in its draft.
fn is_half_moved_in(directory: &Path) -> bool {
    let draft = directory.join(DRAFT_WITHIN);
    is_draft(&draft) && draft.join(STORE_FORMAT_FILE).exists() && !directory.join(STORE_FORMAT_FILE).exists()
}

/// Whether a store has a file of that name, FORMAT apart.
pub(in crate::store) fn is_of_store(name: &OsStr) -> bool {
    let is_snapshot = name.to_str().is_some_and(|name| name.starts_with(SNAPSHOT_PREFIX));
    is_snapshot || [DATA_FILE, CONFIG_FILE, BLOBS, WITNESS_FILE, LOCK_FILE].iter().any(|own| name == *own)
}

/// A name that is a link to nothing can't be given to a store.
fn refuse_link(target: &Path) -> Result<(), JournalError> {
    match fs::symlink_metadata(target) {
        Ok(meta) if meta.is_symlink() => Err(io_at(target)(io::Error::other("a symbolic link to nothing"))),
        _ => Ok(()),
    }
}

/// `data.restoring` beside `data`: the same disk, so that the name can be given in one step. None if it has no name.
fn draft_beside(target: &Path) -> Option<PathBuf> {
    let mut name = target.file_name()?.to_owned();
    name.push(SUFFIX);
    Some(target.with_file_name(name))
}

/// Whether a restore into a directory was cut off before it was done: there is a draft, and no store but what the restore
/// has moved in.
pub(in crate::store) fn is_unfinished(directory: &Path) -> bool {
    let is_there = |name: &str| directory.join(name).exists();
    let is_drafted =
        || is_draft(&directory.join(DRAFT_WITHIN)) || draft_beside(directory).is_some_and(|at| is_draft(&at));
    !is_there(STORE_FORMAT_FILE) && (is_half_moved_in(directory) || !is_there(DATA_FILE) && is_drafted())
}

/// Removes the draft of a restore that had moved everything in when it was cut off: it must not be taken for another's later.
pub(in crate::store) fn remove_emptied_draft(store: &Path) {
    let draft = store.join(DRAFT_WITHIN);
    if draft.join(DRAFT_FILE).exists()
        && let Err(error) = remove_left_over(&draft, None)
    {
        tracing::warn!(%error, draft = %draft.display(), "what a restore left could not be removed");
    }
}

/// Whether a directory is what a restore makes before it is done; at the first moment there is nothing in it.
fn is_draft(directory: &Path) -> bool {
    let is_empty = || fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none());
    directory.join(DRAFT_FILE).exists() || is_empty()
}

/// Removes what a restore left that was killed, also what of it had been moved into `target`, in which
/// [`refuse_unless_empty`] has seen nothing else. Any other directory of the draft's name is not ours.
fn remove_left_over(draft: &Path, target: Option<&PathBuf>) -> Result<(), JournalError> {
    if !draft.exists() {
        return Ok(());
    }
    if !draft.join(DRAFT_FILE).exists() {
        return refuse_unless_empty(draft, false);
    }
    let _lock = take_lock(draft)?;
    if let Some(target) = target.filter(|target| is_half_moved_in(target)) {
        for entry in fs::read_dir(target).map_err(io_at(target))? {
            let path = entry.map_err(io_at(target))?.path();
            if path.file_name().is_some_and(is_of_store) {
                remove(&path).map_err(io_at(&path))?;
            }
        }
    }
    remove_draft(draft).map_err(io_at(draft))
}

/// Removes a draft; last of all that by which it is known as one.
fn remove_draft(draft: &Path) -> io::Result<()> {
    for entry in fs::read_dir(draft)? {
        let entry = entry?;
        if entry.file_name() != DRAFT_FILE {
            remove(&entry.path())?;
        }
    }
    let mark = draft.join(DRAFT_FILE);
    if mark.exists() {
        fs::remove_file(mark)?;
    }
    fs::remove_dir(draft)
}

fn remove(path: &Path) -> io::Result<()> {
    if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

/// Compares a store with the archive it was made from.
fn compare(journal: &dyn Journal, archive: &Path, through: u64) -> Result<(), JournalError> {
    let mut reader = Reader::open(archive)?;
    let mut stored = journal.scan(1);
    while let Some(entry) = reader.next()? {
        let Entry::Event { position, bytes } = entry else { continue };
        if position > through {
            break;
        }
        if stored.next().transpose()? != Some((position, bytes)) {
            let what = "what was written is not what the archive has".to_owned();
            return Err(JournalError::Damaged { position, what });
        }
    }
    match stored.next().transpose()? {
        None => Ok(()),
        Some((position, _)) => Err(JournalError::Damaged { position, what: "it is not in the archive".to_owned() }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::File;
    use std::sync::Mutex;

    use super::*;
    use crate::store::archive;

    /// A disk that notes what it syncs.
    #[derive(Default)]
    struct Noting(Mutex<Vec<PathBuf>>);

    impl Disk for Noting {
        fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
            RealDisk.free_bytes(dir)
        }

        fn sync(&self, file: &File) -> io::Result<()> {
            use std::os::fd::AsRawFd;
            let path = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
            self.0.lock().unwrap().push(path);
            RealDisk.sync(file)
        }
    }

    #[test]
    fn a_store_is_there_after_a_power_cut_with_all_directories_that_were_made_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let source = root.join("archive");
        let mut bytes = archive::line().into_bytes();
        archive::add_batch(&mut bytes, 0, [&b"one"[..], b"two"]);
        fs::write(&source, bytes).unwrap();
        // The first time `a` has to be made as well, the second it is there.
        for (store, above) in [("a/b/store", &["a/b", "a", ""][..]), ("a/store", &["a"])] {
            let (store, disk) = (root.join(store), Noting::default());
            Draft::write(&source, &store, 2, &|_| {}).unwrap().finish_on(&disk).unwrap();
            let mut expected = vec![store.clone()];
            expected.extend(above.iter().map(|at| root.join(at).components().collect::<PathBuf>()));
            assert_eq!(*disk.0.lock().unwrap(), expected);
            assert_eq!(SledJournal::open(&store, SledOptions::default()).unwrap().head().unwrap(), 2);
        }
    }
}
