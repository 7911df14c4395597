//! Opening a mirror beside its store: the two are compared before anything is
//! served, and what one has more than the other goes to the other, or is named.
//!
//! | found | done |
//! |---|---|
//! | the last record that both have differs | refused, with the first position that differs |
//! | the mirror has more | the store takes it over; the log says which positions |
//! | the store has more | the mirror takes it over |
//! | the mirror ends in an unfinished batch | cut off and kept beside it: the mark that is missing is written and synced with its batch, so it was never acknowledged |
//! | the mirror's last batch is damaged, and the store has all of it | the same |
//! | the mirror is damaged anywhere else | refused, with the position |
//! | neither has all that the store knows to have been acknowledged | refused, with the position |
//! | the store has nothing, the mirror has | refused: it is as likely the wrong directory as a lost one |
//!
//! Knows no more of the engine than [`Journal`].

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::file::{MIRROR_FILE, MirrorFile, Survey, survey};
use super::{Checkpoint, MirrorOptions, catch_up};
use crate::store::archive::{Entry, Reader};
use crate::store::directory::{io_at, nearest_existing, refuse_full, sync, sync_above, take_lock};
use crate::store::restore::Batches;
use crate::store::sled::open::refuse_lost_tail;
use crate::store::{Journal, JournalError, Remedy};

/// Opens the mirror, and brings store and mirror to the same head (a lagging
/// mirror follows later). Returns the file, the head, and the last checkpoint in the file.
pub(super) fn open(
    engine: &Arc<dyn Journal>,
    directory: &Path,
    options: &MirrorOptions,
) -> Result<(MirrorFile, u64, Option<Vec<u8>>), JournalError> {
    let disk = options.disk.clone();
    let existed = nearest_existing(directory);
    fs::create_dir_all(directory).map_err(io_at(directory))?;
    let directory = fs::canonicalize(directory).map_err(io_at(directory))?;
    let existed = fs::canonicalize(&existed).map_err(io_at(&existed))?;
    let lock = take_lock(&directory)?;
    // One that lags is waited for by nobody: it goes on once there is room, and says so till then.
    if !options.lagging {
        refuse_full(&directory, disk.as_ref(), options.reserve_bytes)?;
    }

    let observer = options.observer.clone();
    let mut file = MirrorFile::open(&directory, lock, disk.clone(), options.reserve_bytes, observer)?;
    let head = engine.head()?;
    let found = survey(file.path(), head)?;
    check(&found, file.path(), head)?;
    if head == 0 && found.marked > 0 {
        return Err(JournalError::StoreEmpty { mirror: directory, events: found.marked });
    }
    if let Some((position, mirrored)) = &found.common
        && engine.read(*position)?.as_ref() != Some(mirrored)
    {
        let position = first_difference(engine.as_ref(), file.path(), *position)?;
        return Err(JournalError::HistoriesDiffer { path: directory, position });
    }
    file.settle(&found)?;
    sync(disk.as_ref(), &directory)?;
    sync_above(disk.as_ref(), &directory, &existed)?;

    let head = if found.marked > head { adopt(engine.as_ref(), &file, head, found.marked)? } else { head };
    // What neither has is lost, and is said, before anything new takes its positions.
    refuse_lost_tail(head, engine.acknowledged())?;
    if found.marked < head && !options.lagging {
        catch_up(&mut file, engine.as_ref(), &Checkpoint::default(), |_| {})?;
        tracing::info!(from = found.marked + 1, through = head, "the mirror was behind and has caught up");
    }
    tracing::info!(mirror = %directory.display(), position = file.position, head, lagging = options.lagging, "mirror opened");
    Ok((file, head, found.checkpoint))
}

/// Refuses a file that can't be the mirror of a store with this head.
fn check(found: &Survey, path: &Path, head: u64) -> Result<(), JournalError> {
    if found.first > 1 || (found.first == 0 && found.marked > 0) {
        return Err(JournalError::BeginsLate { path: path.to_path_buf(), first: found.first });
    }
    let Some(flaw) = &found.flaw else { return Ok(()) };
    let Some(behind) = flaw.resumed else { return Ok(()) };
    let store_has_it = behind.last <= head;
    if store_has_it && behind.within_last_batch {
        return Ok(());
    }
    Err(JournalError::ArchiveDamaged {
        path: path.to_path_buf(),
        position: flaw.position,
        offset: flaw.offset,
        what: flaw.what.clone(),
        last: behind.last,
        remedy: if store_has_it { Remedy::MadeFromStore } else { Remedy::Compared },
    })
}

/// The first position at which the two differ, given that they do at `at`.
fn first_difference(engine: &dyn Journal, path: &Path, at: u64) -> Result<u64, JournalError> {
    let mut reader = Reader::open(path)?;
    while let Some(entry) = reader.next()? {
        if let Entry::Event { position, bytes } = entry
            && (position >= at || engine.read(position)?.as_ref() != Some(&bytes))
        {
            return Ok(position);
        }
    }
    Ok(at)
}

/// Gives the store what only the mirror has. It was durable there and may have
/// been acknowledged.
fn adopt(engine: &dyn Journal, file: &MirrorFile, head: u64, through: u64) -> Result<u64, JournalError> {
    tracing::warn!(from = head + 1, through, mirror = %file.path().display(), "the store is behind its mirror and takes over its tail");
    let mut batches = Batches::new(head);
    let mut reader = Reader::open(file.path())?;
    while let Some(entry) = reader.next()? {
        if let Entry::Event { position, bytes } = entry
            && position > head
        {
            batches.add(engine, bytes)?;
        }
    }
    let head = batches.finish(engine)?;
    debug_assert_eq!(head, through, "the file was cut behind its mark");
    Ok(head)
}

/// How many events a mirror directory holds completely; 0 if there is no mirror
/// in it. Touches nothing.
pub(super) fn events_in(directory: &Path) -> Result<u64, JournalError> {
    let path = directory.join(MIRROR_FILE);
    if !path.exists() { Ok(0) } else { survey(&path, 0).map(|found| found.marked) }
}
