//! Whether the directories that were named can be what they were named as, looked at before anything is made in them.
//!
//! Knows the files by which a store and a mirror are told from one another, not what is in them.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::directory::nearest_existing;
use super::restore::{DRAFT_WITHIN, LOST_AND_FOUND, is_of_store};
use super::sled::STORE_FORMAT_FILE;
use super::sled::open::{DATA_FILE, FORMAT_DRAFT};
use super::{JournalError, MIRROR_FILE};

/// What is wrong with directories that were named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misnamed {
    /// The data directory holds a mirror.
    DataIsMirror,
    /// The mirror's directory holds a store.
    MirrorIsStore,
    /// Both are one directory.
    Same,
    /// The mirror lies within the data directory.
    MirrorWithinData,
    /// The data directory lies within the mirror's.
    DataWithinMirror,
    /// The data directory holds other files, and no store.
    Others,
    /// There is no store in the directory.
    NoStore,
    /// A restore into the directory was cut off before it was done.
    Unfinished,
    /// sled's files without the file that says whose they are.
    NoFormat,
    /// That file says something else.
    UnknownFormat,
}

impl Misnamed {
    /// A stable name.
    pub fn code(self) -> &'static str {
        match self {
            Self::DataIsMirror => "data-is-mirror",
            Self::MirrorIsStore => "mirror-is-store",
            Self::Same => "same",
            Self::MirrorWithinData => "mirror-within-data",
            Self::DataWithinMirror => "data-within-mirror",
            Self::Others => "others",
            Self::NoStore => "no-store",
            Self::Unfinished => "unfinished",
            Self::NoFormat => "no-format",
            Self::UnknownFormat => "unknown-format",
        }
    }
}

impl fmt::Display for Misnamed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DataIsMirror => "the data directory holds a mirror, not a store",
            Self::MirrorIsStore => "the mirror's directory holds a store",
            Self::Same => "both are one directory",
            Self::MirrorWithinData => "the mirror lies within the data directory and would be lost with it",
            Self::DataWithinMirror => "the data directory lies within the mirror's and would be lost with it",
            Self::Others => "the directory holds other files, and no store",
            Self::NoStore => "no store is in the directory",
            Self::Unfinished => "a restore into the directory was cut off before it was done",
            Self::NoFormat => "the directory holds sled data but no FORMAT",
            Self::UnknownFormat => "FORMAT does not name a format of this program",
        })
    }
}

/// Refuses a data directory that is a mirror's or full of other files, and a mirror's that is a store's or the same.
///
/// # Errors
/// [`JournalError::WrongDirectory`].
pub fn refuse_misnamed(data: &Path, mirror: Option<&Path>) -> Result<(), JournalError> {
    let wrong = |problem| Err(wrong(data, mirror, problem));
    if mirror.is_some_and(|mirror| resolved(mirror) == resolved(data)) {
        return wrong(Misnamed::Same);
    }
    // Beside a FORMAT a stray archive changes nothing.
    if data.join(MIRROR_FILE).exists() && !data.join(STORE_FORMAT_FILE).exists() {
        return wrong(Misnamed::DataIsMirror);
    }
    if mirror.is_some_and(|mirror| mirror.join(STORE_FORMAT_FILE).exists()) {
        return wrong(Misnamed::MirrorIsStore);
    }
    if holds_others(data) {
        return wrong(Misnamed::Others);
    }
    Ok(())
}

/// Whether a directory holds files of somebody's, and nothing by which it could be a store, or become one again.
fn holds_others(data: &Path) -> bool {
    let is_there = |name: &str| data.join(name).exists();
    if is_there(STORE_FORMAT_FILE) || is_there(DATA_FILE) {
        return false;
    }
    // What can't be read is refused by whoever reads it.
    let Ok(entries) = fs::read_dir(data) else { return false };
    let is_ours = |name: &OsStr| {
        let hidden = name.to_str().is_some_and(|name| name.starts_with('.'));
        let known = [FORMAT_DRAFT, DRAFT_WITHIN, LOST_AND_FOUND].iter().any(|known| name == *known);
        hidden || known || is_of_store(name)
    };
    entries.flatten().any(|entry| !is_ours(&entry.file_name()))
}

/// Refuses a mirror that lies within the data directory, and the reverse: whatever takes one takes both.
///
/// # Errors
/// [`JournalError::WrongDirectory`].
pub fn refuse_within(data: &Path, mirror: &Path) -> Result<(), JournalError> {
    let (at_data, at_mirror) = (resolved(data), resolved(mirror));
    if at_mirror == at_data {
        return Err(wrong(data, Some(mirror), Misnamed::Same));
    }
    if at_mirror.starts_with(&at_data) {
        return Err(wrong(data, Some(mirror), Misnamed::MirrorWithinData));
    }
    if at_data.starts_with(&at_mirror) {
        return Err(wrong(data, Some(mirror), Misnamed::DataWithinMirror));
    }
    Ok(())
}

/// Refuses a signing directory within the data directory: with the data, the proof of what it was would be lost.
///
/// # Errors
/// [`JournalError::SigningWithinData`].
pub fn refuse_signing_within(data: &Path, signing: &Path) -> Result<(), JournalError> {
    if !resolved(signing).starts_with(resolved(data)) {
        return Ok(());
    }
    Err(JournalError::SigningWithinData { data: data.to_path_buf(), signing: signing.to_path_buf() })
}

fn wrong(data: &Path, mirror: Option<&Path>, problem: Misnamed) -> JournalError {
    JournalError::WrongDirectory { data: data.to_path_buf(), mirror: mirror.map(Path::to_path_buf), problem }
}

/// A path without symbolic links, as far as it exists; the rest may still be made.
fn resolved(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let existing = nearest_existing(&path);
    let rest = path.strip_prefix(&existing).unwrap_or(Path::new("")).to_path_buf();
    let real = fs::canonicalize(&existing).unwrap_or(existing);
    if rest.as_os_str().is_empty() { real } else { real.join(rest) }
}
