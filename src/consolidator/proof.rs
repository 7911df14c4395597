//! What a reader can have proved: checkpoints, and proofs against them.
//!
//! Every proof is about a size that was signed; nothing is proved of a head that nobody has a signature for.

use std::sync::Arc;

use super::notary::Signed;
use super::{Snapshot, stored};
use crate::budget::digest::Digest;
use crate::budget::reason::{Reason, Remark};
use crate::ledger::Position;
use crate::ledger::checkpoint::PublicKey;

/// An event with the proof that it stands in the journal.
#[derive(Clone, Debug)]
pub struct Proved {
    /// Its stored bytes: the leaf.
    pub leaf: Vec<u8>,
    /// The hashes beside its way to the root, lowest first.
    pub path: Vec<Digest>,
    /// The checkpoint whose root it leads to.
    pub checkpoint: Arc<Signed>,
}

impl Snapshot {
    /// The checkpoint of this snapshot, durably kept. Waits for a disk, if nobody had this one yet.
    ///
    /// # Errors
    /// `NOT_SIGNED`, or what the system says.
    pub fn checkpoint(&self) -> Result<Arc<Signed>, Remark> {
        let signed = self.signed.clone().ok_or_else(|| Remark::new(Reason::NotSigned))?;
        self.notary.make_durable(signed.size)?;
        Ok(signed)
    }

    /// The key that checks the signatures, and the checkpoints at which earlier ones were replaced, oldest first.
    ///
    /// # Errors
    /// `NOT_SIGNED`.
    pub fn keys(&self) -> Result<(PublicKey, Vec<String>), Remark> {
        let (key, changes) = self.notary.keys().ok_or_else(|| Remark::new(Reason::NotSigned))?;
        Ok((key, changes.to_vec()))
    }

    /// The hash of the event at a position, and the proof that it is in the tree of the first `size` (0: all that is
    /// signed).
    ///
    /// # Errors
    /// `UNKNOWN_POSITION`, `NOT_SIGNED`.
    pub fn inclusion(&self, position: Position, size: u64) -> Result<(Digest, Vec<Digest>, u64), Remark> {
        let signed = self.signed.as_ref().ok_or_else(|| Remark::new(Reason::NotSigned))?;
        let size = if size == 0 { signed.size } else { size };
        let unknown = |of: u64| Remark::new(Reason::UnknownPosition).with("position", of).with("head", signed.size);
        if size > signed.size {
            return Err(unknown(size));
        }
        let tree = self.notary.tree();
        let index = position.checked_sub(1).ok_or_else(|| unknown(position))?;
        let path = tree.inclusion(index, size).ok_or_else(|| unknown(position))?;
        let leaf = usize::try_from(index).ok().and_then(|index| tree.leaves().get(index).copied());
        Ok((leaf.ok_or_else(|| unknown(position))?, path, size))
    }

    /// Proof that the first `old` events are the beginning of the first `size` (0: all that is signed).
    ///
    /// # Errors
    /// `UNKNOWN_POSITION`, `NOT_SIGNED`.
    pub fn consistency(&self, old: u64, size: u64) -> Result<(Vec<Digest>, u64), Remark> {
        let signed = self.signed.as_ref().ok_or_else(|| Remark::new(Reason::NotSigned))?;
        let size = if size == 0 { signed.size } else { size };
        let unknown = || Remark::new(Reason::UnknownPosition).with("position", old.max(size)).with("head", signed.size);
        if size > signed.size {
            return Err(unknown());
        }
        Ok((self.notary.tree().consistency(old, size).ok_or_else(unknown)?, size))
    }

    /// The event at a position with its proof against this snapshot's checkpoint.
    ///
    /// # Errors
    /// `UNKNOWN_POSITION`, `NOT_SIGNED`, or a fault.
    pub fn proved(&self, position: Position) -> Result<Proved, Remark> {
        let checkpoint = self.checkpoint()?;
        let (_, path, _) = self.inclusion(position, checkpoint.size)?;
        Ok(Proved { leaf: stored(self.journal.as_ref(), position)?, path, checkpoint })
    }
}
