//! The hashes of the tree's leaves, saved beside the state, so that a restart need not hash the whole journal again.
//!
//! Disposable and never trusted: they count only with their digest, and if the last of them is the hash of the journal's
//! record at its position; what they add up to is held against the last signed checkpoint besides.
//!
//! ```text
//! line     budget-consolidator saved tree, format 1
//! digest   SHA-256 of all that follows
//! hashes   32 bytes for each position from 1 on
//! ```

use super::{store_fault, stored};
use crate::budget::digest::Digest;
use crate::budget::reason::Remark;
use crate::ledger::tree::{Tree, leaf_hash};
use crate::store::{Journal, ReplacedFile};

/// The name of the file in the data directory.
pub const SAVED_TREE_FILE: &str = "saved-tree";

const LINE: &[u8] = b"budget-consolidator saved tree, format 1\n";

/// The saved tree of a journal; an empty one if there is none that counts.
pub(super) fn read(file: &ReplacedFile, journal: &dyn Journal) -> Tree {
    let passed_over = |why: &str| tracing::warn!(why, "the saved tree is passed over; the journal is hashed whole");
    match file.read() {
        Ok(None) => Tree::default(),
        Ok(Some(bytes)) => parse(&bytes, journal).map_err(passed_over).unwrap_or_default(),
        Err(error) => {
            passed_over(&error.to_string());
            Tree::default()
        }
    }
}

fn parse(bytes: &[u8], journal: &dyn Journal) -> Result<Tree, &'static str> {
    let rest = bytes.strip_prefix(LINE).ok_or("it has another format")?;
    let (digest, hashes) = rest.split_at_checked(32).ok_or("it is cut off")?;
    if Digest::of(hashes).0 != digest {
        return Err("it does not have its digest");
    }
    let (hashes, []) = hashes.as_chunks::<32>() else { return Err("it is cut off") };
    let last = hashes.last().ok_or("it is empty")?;
    let same = stored(journal, hashes.len() as u64).is_ok_and(|record| leaf_hash(&record).0 == *last);
    if same { Ok(Tree::of(hashes.iter().map(|hash| Digest(*hash)))) } else { Err("it belongs to another journal") }
}

/// Saves the hashes of the first `leaves`.
pub(super) fn write(file: &ReplacedFile, leaves: &[Digest]) -> Result<(), Remark> {
    let hashes: Vec<u8> = leaves.iter().flat_map(|leaf| leaf.0).collect();
    file.replace(&[LINE, &Digest::of(&hashes).0, &hashes].concat()).map_err(store_fault)
}
