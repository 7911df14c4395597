//! A witness beside sled of how far the journal was: a file of twelve bytes,
//! written after each batch is durable and never synced.
//!
//! Given a log that is damaged somewhere, sled may open the part before it as
//! if there had never been more: head mark and last record then agree, and
//! nothing inside the store can tell. (Of 250 seeded bit flips, in stores closed
//! in order and not, 48 had that effect.) This file can. It may be old after a
//! power cut, and then says less than there is, which is no harm; it never says
//! more than was durable. So it costs no sync.
//!
//! Knows nothing of why a tail is missing: `open.rs` refuses, or leaves it to a
//! mirror to have the tail.
//!
//! ```text
//! file   ACKNOWLEDGED:  position u64 · CRC-32 u32, big-endian
//! ```

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::store::JournalError;
use crate::store::directory::io_at;

/// The file that says what was acknowledged.
pub(in crate::store) const WITNESS_FILE: &str = "ACKNOWLEDGED";

pub(super) struct Witness(File);

impl Witness {
    pub(super) fn open(directory: &Path) -> Result<Witness, JournalError> {
        let path = directory.join(WITNESS_FILE);
        let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path);
        file.map(Witness).map_err(io_at(&path))
    }

    /// What it says; 0 if it says nothing that makes sense: it is new, or was
    /// cut off from power, or is damaged itself, which harms nothing.
    pub(super) fn says(&self) -> u64 {
        let mut bytes = [0; 12];
        let read = self.0.read_exact_at(&mut bytes, 0);
        let position = bytes.first_chunk::<8>().map_or(0, |position| u64::from_be_bytes(*position));
        if read.is_ok() && bytes == written(position) { position } else { 0 }
    }

    /// Everything up to `position` is durable. If this can't be written, nothing
    /// is lost but the witness.
    pub(super) fn note(&self, position: u64) {
        if let Err(error) = self.0.write_all_at(&written(position), 0) {
            tracing::warn!(%error, position, "{WITNESS_FILE} could not be written");
        }
    }
}

fn written(position: u64) -> [u8; 12] {
    let [a, b, c, d, e, f, g, h] = position.to_be_bytes();
    let [i, j, k, l] = crc32fast::hash(&position.to_be_bytes()).to_be_bytes();
    [a, b, c, d, e, f, g, h, i, j, k, l]
}
