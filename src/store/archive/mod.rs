//! The archive: one file that holds a journal, or the front part of one. The
//! mirror, a backup, and what `restore` reads are all this.
//!
//! Knows positions and bytes, not what a record means. Reading one, and telling
//! damage from a torn end, is in `read.rs`; the mirror that is kept current is
//! in `mirror/`.
//!
//! # The format, for whoever has to read it without this program
//! A line of text, then records up to the end of the file. Nothing is ever
//! changed in place: the file only grows. All numbers are unsigned and
//! big-endian; CRC-32 is the one of zlib and gzip (polynomial 0xEDB88320).
//!
//! ```text
//! line      "budget-consolidator archive, format 1" and a line feed
//! record    kind      1 byte
//!           position  8 bytes
//!           length    4 bytes
//!           CRC-32    4 bytes   of the 13 bytes before
//!           bytes     as many as length says
//!           CRC-32    4 bytes   of kind, position, length and bytes
//! ```
//! | kind | is | position | bytes |
//! |---|---|---|---|
//! | 1 | an event | its position in the journal; each is one more than the last | as the journal has them: a `budget.storage.v1.Envelope` of protobuf, see `proto/budget/storage/v1/journal.proto` |
//! | 2 | a mark: all before it was written as one, and is complete | that of the event before it | none |
//! | 3 | a signed checkpoint of the journal, at this size or an earlier one | that of the event before it | the signed note, as in `ledger/checkpoint.rs` |
//!
//! A mark stands once behind what it completes, and checkpoints stand behind a mark, before the next event. They go up in
//! size, and none is there twice; only one that hands the key over may be of the size before it.
//!
//! Other kinds are kept for later. A reader
//! that meets one whose two checksums fit, and does not know it, must stop: the
//! file is of a newer program.
//!
//! The header has a checksum of its own, so that a reader can trust a length
//! before it takes so many bytes, and can find the next record behind a damaged
//! one. The mark tells a file that is complete from one that was cut between
//! two records, which no checksum of a record could: a complete archive ends in
//! a mark, or in checkpoints behind one. After a power cut the mirror may end in events without one, or in
//! half a record: a *torn end*, which was never acknowledged. What does not
//! check while something that does stands behind it is *damage*.

mod journal;
mod read;

pub use self::journal::{ArchiveJournal, Survey};
pub use self::read::{Entry, Flaw, Reader, Resumed};

/// The format that this program writes, and the newest that it reads.
pub const ARCHIVE_FORMAT: u32 = 1;

const LINE_PREFIX: &str = "budget-consolidator archive, format ";
const EVENT: u8 = 1;
const MARK: u8 = 2;
const CHECKPOINT: u8 = 3;

/// Bytes of a record before its own.
const HEADER_BYTES: usize = 1 + 8 + 4 + 4;
/// Bytes of a record behind its own.
const TRAILER_BYTES: usize = 4;
/// What the headers' own checksums cover.
const CHECKED_BYTES: usize = HEADER_BYTES - 4;

/// The line that an archive begins with.
pub fn line() -> String {
    format!("{LINE_PREFIX}{ARCHIVE_FORMAT}\n")
}

/// Adds an event to bytes that will be written.
pub fn add_event(out: &mut Vec<u8>, position: u64, bytes: &[u8]) {
    add(out, EVENT, position, bytes);
}

/// Adds the mark that completes what was added before.
pub fn add_mark(out: &mut Vec<u8>, through: u64) {
    add(out, MARK, through, &[]);
}

/// Adds a signed checkpoint behind what is there up to `head`.
pub fn add_checkpoint(out: &mut Vec<u8>, head: u64, note: &[u8]) {
    add(out, CHECKPOINT, head, note);
}

/// A whole batch behind `head`: its events and their mark.
pub(super) fn add_batch<'b>(out: &mut Vec<u8>, head: u64, batch: impl IntoIterator<Item = &'b [u8]>) -> u64 {
    let mut through = head;
    for bytes in batch {
        through += 1;
        add_event(out, through, bytes);
    }
    add_mark(out, through);
    through
}

fn add(out: &mut Vec<u8>, kind: u8, position: u64, bytes: &[u8]) {
    // No record is longer than RECORD_BYTES_MAX, far below 4 GiB; a length that
    // lied would be found by the first reader.
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let start = out.len();
    out.reserve(HEADER_BYTES + bytes.len() + TRAILER_BYTES);
    out.push(kind);
    out.extend_from_slice(&position.to_be_bytes());
    out.extend_from_slice(&length.to_be_bytes());
    let checked = out.get(start..).unwrap_or_default();
    let mut whole = crc32fast::Hasher::new();
    whole.update(checked);
    whole.update(bytes);
    let header = crc32fast::hash(checked);
    out.extend_from_slice(&header.to_be_bytes());
    out.extend_from_slice(bytes);
    out.extend_from_slice(&whole.finalize().to_be_bytes());
}
