//! Every way in which a journal says no, in words for the person who runs it.
//!
//! Knows no status codes; the edge that talks to clients maps these once.

use std::fmt;
use std::path::PathBuf;

use super::places::Misnamed;
use super::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX, RECORD_BYTES_MAX};

const RESTORE: &str = "Stop the server, keep the directory as it is, and rebuild the store in another directory from the mirror or the last backup: consolidator restore MIRROR_OR_FILE --data NEW_DIRECTORY";

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
        "the disk of {path} has {free} bytes free and {reserve} are kept in reserve, since the store can't even be read once the disk is full. Free some space or enlarge the disk; nothing was written"
    )]
    Full {
        /// The directory that the disk was asked for.
        path: PathBuf,
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

    /// The store ends before what was acknowledged.
    #[error("the store ends at {head}, but {acknowledged} was acknowledged: its tail is lost. {RESTORE}")]
    TailLost {
        /// The last position that it has.
        head: u64,
        /// The last that was acknowledged.
        acknowledged: u64,
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
        "{path} has format {found}, and this program knows formats up to {known}. Use the program that wrote it, or a later one; nothing was touched"
    )]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// The format in the store.
        found: u32,
        /// The newest format that this program reads.
        known: u32,
    },

    /// The engine can't open its files.
    #[error("the store in {path} could not be opened: {why}. {RESTORE}")]
    OpenFailed {
        /// The store's directory.
        path: PathBuf,
        /// What went wrong.
        why: String,
    },

    /// A directory is not what it was named as.
    #[error("{}{}: {problem}. Check --data and --mirror; nothing was touched", data.display(), mirror.iter().map(|mirror| format!(" and {}", mirror.display())).collect::<String>())]
    WrongDirectory {
        /// The directory that was named as the store's.
        data: PathBuf,
        /// The one that was named as the mirror's, if one was.
        mirror: Option<PathBuf>,
        /// What is wrong.
        problem: Misnamed,
    },

    /// The signing directory lies within the data directory.
    #[error("{} and {}: the signing directory lies within the data directory. Move it out as it is, and name where it is by --signing; nothing was touched", data.display(), signing.display())]
    SigningWithinData {
        /// The directory that was named as the store's.
        data: PathBuf,
        /// The signing directory.
        signing: PathBuf,
    },

    /// An archive that begins behind the first record.
    #[error(
        "the first record of {path} is {first}, and a mirror begins with 1. Name a mirror directory, or an empty one"
    )]
    BeginsLate {
        /// The file.
        path: PathBuf,
        /// The first position.
        first: u64,
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

    /// A file that should be an archive does not begin like one.
    #[error("{path} does not begin like an archive of this program. Name a backup file or a mirror directory")]
    NotAnArchive {
        /// The file.
        path: PathBuf,
    },

    /// An archive has a kind of record from later.
    #[error(
        "{path} has a record of kind {kind} at position {position}, which this program does not know. Use the program that wrote it, or a later one; nothing was touched"
    )]
    NewerKind {
        /// The file.
        path: PathBuf,
        /// The position in its header.
        position: u64,
        /// The kind.
        kind: u8,
    },

    /// An archive is damaged before its end.
    #[error(
        "{path} is damaged at position {position}, at byte {offset}: {what}; whole records stand behind it, up to position {last}. {remedy}"
    )]
    ArchiveDamaged {
        /// The file.
        path: PathBuf,
        /// The first position that can't be read.
        position: u64,
        /// Where in the file.
        offset: u64,
        /// What was found.
        what: String,
        /// The highest position that can be read behind it.
        last: u64,
        /// What the operator can do.
        remedy: Remedy,
    },

    /// Store and mirror do not hold the same history.
    #[error(
        "the store and the mirror in {path} differ at position {position}: they are not copies of one history. Name the mirror that belongs to the store; if it is the right one, keep both as they are and compare them: consolidator fsck --data DIRECTORY --mirror {path}"
    )]
    HistoriesDiffer {
        /// The mirror's directory.
        path: PathBuf,
        /// The first position at which they differ.
        position: u64,
    },

    /// The store has nothing, its mirror has.
    #[error(
        "the store is empty, and the mirror in {mirror} holds {events} events. If the store was lost, rebuild it and start again: consolidator restore {mirror} --data DATA_DIRECTORY (move what is left in that directory away first). If this is a new service, give it an empty mirror directory. Nothing was touched"
    )]
    StoreEmpty {
        /// The mirror's directory.
        mirror: PathBuf,
        /// How many events the mirror has.
        events: u64,
    },

    /// A directory that must be empty is not.
    #[error("{path} is not empty, and nothing is ever restored over what is there. Name a new or an empty directory")]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },

    /// The file of the signing key can be read or changed by others than its owner.
    #[error(
        "{path} has mode {mode:o}: others than its owner can read or change the key that signs checkpoints. If nobody else has had it, chmod 600 {path}; otherwise replace it: consolidator audit rotate-key"
    )]
    KeyExposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },

    /// The file of the last checkpoint has no whole slot.
    #[error(
        "{path} is damaged, and it says how far the journal had come when it was last signed. Compare the journal with the checkpoints that departments and auditors keep; if they agree with it, move the file away and start again"
    )]
    LastCheckpointDamaged {
        /// The file.
        path: PathBuf,
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

/// What can be done about a damaged archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// A mirror whose store has everything that the file had.
    MadeFromStore,
    /// A mirror whose store lacks something that stands behind the damage.
    Compared,
    /// A file by itself.
    OtherCopy,
}

impl Remedy {
    /// A stable name.
    pub fn code(self) -> &'static str {
        match self {
            Self::MadeFromStore => "made-from-store",
            Self::Compared => "compared",
            Self::OtherCopy => "other-copy",
        }
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MadeFromStore => {
                "The store has everything that the file had: move the file away and start again, and a new mirror is made from the store"
            }
            Self::Compared => {
                "The store lacks something that stands behind the damage: keep both as they are, and look at them with consolidator fsck. If the power was just cut while the last batch was written, that batch was never acknowledged: move the file away and start again, and a new mirror is made from the store"
            }
            Self::OtherCopy => {
                "Use another copy; if there is none, restore what stands before the damage with --through, and what stands behind it is lost"
            }
        })
    }
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
            | Self::TailLost { .. }
            | Self::InUse { .. }
            | Self::NewerFormat { .. }
            | Self::OpenFailed { .. }
            | Self::WrongDirectory { .. }
            | Self::SigningWithinData { .. }
            | Self::BeginsLate { .. }
            | Self::BlobsPresent { .. }
            | Self::NotAnArchive { .. }
            | Self::NewerKind { .. }
            | Self::ArchiveDamaged { .. }
            | Self::HistoriesDiffer { .. }
            | Self::StoreEmpty { .. }
            | Self::NotEmpty { .. }
            | Self::KeyExposed { .. }
            | Self::LastCheckpointDamaged { .. }
            | Self::Stopped
            | Self::Io { .. } => false,
        }
    }
}
