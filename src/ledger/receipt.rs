//! A receipt: an event as it is stored, and what proves that it stands in the journal. Whoever keeps it needs no server.
//!
//! Pure. What the event says is read by `consolidator/record.rs`; how a receipt is written as a file, by `cli/receipt.rs`.

use super::Position;
use super::checkpoint::{self, BadNote, Checkpoint, PublicKey};
use super::tree::{leaf_hash, root_of_inclusion};
use crate::budget::digest::Digest;

/// An event with its proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Where the event stands.
    pub position: Position,
    /// Its stored bytes.
    pub leaf: Vec<u8>,
    /// The hashes beside its way to the root, lowest first.
    pub path: Vec<Digest>,
    /// The checkpoint whose root it leads to: a signed note.
    pub checkpoint: String,
    /// The key that is said to check it.
    pub key: PublicKey,
    /// The checkpoints at which earlier keys were replaced, oldest first.
    pub key_changes: Vec<String>,
}

/// Why a receipt proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadReceipt {
    /// Its checkpoint is not one of that key.
    Note(BadNote),
    /// The checkpoint is good, but the event is not in its tree.
    NotInTree,
    /// The event is in the tree, but the receipt names a key that has not signed it, or that can't be trusted.
    OtherKey,
    /// Of what is said to have handed keys over, this one, from 1, is no such thing or leads to no trusted key.
    KeyChange(usize),
}

impl Receipt {
    /// What the receipt's checkpoint says, if the event stands in its tree and one of these keys, or one that they handed
    /// over to, has signed it.
    ///
    /// # Errors
    /// Why it proves nothing.
    pub fn verify(&self, keys: &[PublicKey]) -> Result<Checkpoint, BadReceipt> {
        let keys = checkpoint::trusted(keys, &self.key_changes);
        let signed = checkpoint::verify(&self.checkpoint, &keys).map_err(BadReceipt::Note)?;
        let index = self.position.checked_sub(1).ok_or(BadReceipt::NotInTree)?;
        let root = root_of_inclusion(&leaf_hash(&self.leaf), index, signed.size, &self.path);
        if root != Some(signed.root) {
            return Err(BadReceipt::NotInTree);
        }
        // It proves nothing, but whoever reads the file takes it for the key that does.
        let named = std::slice::from_ref(&self.key);
        if !keys.contains(&self.key) || checkpoint::verify(&self.checkpoint, named).is_err() {
            return Err(BadReceipt::OtherKey);
        }
        match checkpoint::stray_change(&keys, &self.key_changes) {
            Some(at) => Err(BadReceipt::KeyChange(at + 1)),
            None => Ok(signed),
        }
    }
}
