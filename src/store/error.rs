//! Every way in which a journal says no, in words for the person who runs it.
//!
//! Knows no status codes; the edge that talks to clients maps these once.

use std::path::PathBuf;

use super::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX, RECORD_BYTES_MAX};

const RESTORE: &str = "Stop the server, keep the directory as it is, and restore from the mirror or the last backup";

/// Why a journal refused or failed. Unless [`outcome_unknown`] says otherwise,
/// nothing was applied.
///
/// [`outcome_unknown`]: JournalError::outcome_unknown
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another writer was there first.
    #[error(
        "the journal's head is {actual}, not {expected}: another writer was first. Read on from {expected}, decide again, and append again"
    )]
    Conflict {
        /// The head that the caller had seen.
        expected: u64,
        /// The head as it is.
        actual: u64,
    },

    /// Several records that are too much for one batch.
    #[error(
        "a batch of {records} records and {bytes} bytes is too large: at most {BATCH_RECORDS_MAX} records and {BATCH_BYTES_MAX} bytes. Append it in parts, a large record alone"
    )]
    BatchTooLarge {
        /// How many records it has.
        records: usize,
        /// Their bytes together.
        bytes: usize,
    },

    /// One record beyond what the store takes at all.
    #[error("a record of {bytes} bytes is too large: at most {RECORD_BYTES_MAX} bytes. Split what it carries")]
    RecordTooLarge {
        /// Its length.
        bytes: usize,
    },

    /// The disk has come down to its reserve. Reads go on.
    #[error(
        "the disk has {free} bytes free and {reserve} are kept in reserve, since the store can't even be read once the disk is full. Free some space or enlarge the disk; nothing was written"
    )]
    Full {
        /// Bytes free now.
        free: u64,
        /// Bytes that must stay free.
        reserve: u64,
    },

    /// A record, or the head at position 0, is not what was written.
    #[error("the journal is damaged at position {position}: {what}. {RESTORE}")]
    Damaged {
        /// The first position that can't be trusted; 0 stands for the head mark.
        position: u64,
        /// What was found.
        what: String,
    },

    /// Another process, or another part of this one, has the store open.
    #[error(
        "the store in {path} is in use by another process. Stop that one first, or give this one a directory of its own"
    )]
    InUse {
        /// The store's directory.
        path: PathBuf,
    },

    /// The store was written by a later program.
    #[error(
        "the store has format {found}, and this program knows formats up to {known}. Use the program that wrote it, or a later one; nothing was touched"
    )]
    NewerFormat {
        /// The format in the store.
        found: u32,
        /// The newest format that this program reads.
        known: u32,
    },

    /// The store could not be opened.
    #[error("the store in {path} could not be opened: {why}. {what_to_do}")]
    OpenFailed {
        /// The store's directory.
        path: PathBuf,
        /// What went wrong.
        why: String,
        /// What the operator can do.
        what_to_do: &'static str,
    },

    /// sled has put data where it never syncs it.
    #[error(
        "{path} holds {files} files, and sled never syncs what it puts there, so the store can't be trusted after a power cut. {RESTORE}"
    )]
    BlobsPresent {
        /// The directory that must stay empty.
        path: PathBuf,
        /// How many files are in it.
        files: usize,
    },

    /// Writing or syncing failed midway: after a restart the batch is there
    /// whole or not at all. The journal takes nothing more.
    #[error(
        "the store in {path} could not make the last batch durable ({why}), so it takes nothing more: a failed sync can't be trusted when repeated. Check the disk, then restart; the batch is then there whole or not at all"
    )]
    SyncFailed {
        /// The store's directory.
        path: PathBuf,
        /// Which step failed, and how.
        why: String,
    },

    /// An earlier batch failed midway, so nothing more is taken.
    #[error(
        "the journal stopped after a write that failed, and takes nothing until it is opened again. Check the disk, then restart; nothing was written"
    )]
    Stopped,

    /// The operating system said no, and nothing was written.
    #[error("{path}: {source}. Check the path, its permissions and the disk")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The system's own words.
        source: std::io::Error,
    },
}

impl JournalError {
    /// Whether the batch may have been written. If not, it certainly was not
    /// applied; if so, the one who sent it must ask again with the same key.
    pub fn outcome_unknown(&self) -> bool {
        match self {
            Self::SyncFailed { .. } => true,
            Self::Conflict { .. }
            | Self::BatchTooLarge { .. }
            | Self::RecordTooLarge { .. }
            | Self::Full { .. }
            | Self::Damaged { .. }
            | Self::InUse { .. }
            | Self::NewerFormat { .. }
            | Self::OpenFailed { .. }
            | Self::BlobsPresent { .. }
            | Self::Stopped
            | Self::Io { .. } => false,
        }
    }
}
