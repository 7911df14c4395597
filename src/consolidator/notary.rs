//! The notary: keeps the tree over the journal, and signs its root with each group.
//!
//! **When.** What it will say of a group can be made beside the append; it is kept once that is durable, and published
//! together with the state. A checkpoint is made durable before it is handed out, not before: an append pays no sync for it.
//! **At a start** the journal is held against the last checkpoint that was signed. One that ends earlier, or is another,
//! is not served, unless somebody gives the lost tail up by its position; then that stands in the journal.
//!
//! What a tree and a checkpoint are is [`crate::ledger`]'s business; where key and last checkpoint are kept is
//! [`SigningDirectory`]'s.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use super::{operator_fault, store_fault};
use crate::budget::digest::Digest;
use crate::budget::reason::{Reason, Remark};
use crate::ledger::Position;
use crate::ledger::checkpoint::{self, Checkpoint, PrivateKey, PublicKey};
use crate::ledger::tree::{Tree, leaf_hash};
use crate::store::SigningDirectory;

/// What signs: the key, and what it signed last.
pub struct Signing {
    directory: SigningDirectory,
    key: PrivateKey,
    changes: Vec<String>,
    last: Option<(Checkpoint, String)>,
    give_up_after: Option<Position>,
}

impl Signing {
    /// Opens a signing directory; makes a key under the name `origin` if there is none. Without a name it gets one.
    ///
    /// # Errors
    /// `SIGNING_KEY_UNUSABLE` if there is a key and it can't be used or has another name, `LAST_CHECKPOINT_DAMAGED`, or
    /// what the system says.
    pub fn open(path: &Path, origin: Option<&str>) -> Result<Signing, Remark> {
        let directory = SigningDirectory::open(path).map_err(operator_fault)?;
        let unusable =
            |what: &str| Remark::new(Reason::SigningKeyUnusable).with("path", path.display()).with("what", what);
        let notes = directory.last_checkpoints().map_err(operator_fault)?;
        let key = match directory.key().map_err(operator_fault)? {
            Some(text) => PrivateKey::parse(&text).ok_or_else(|| unusable("no-key"))?,
            // A new one would not have signed it either, and would stand among the keys that do.
            None if !notes.is_empty() => {
                return Err(Remark::new(Reason::SigningKeyMissing).with("path", path.display()));
            }
            None => new_key(&directory, origin).ok_or_else(|| unusable("no-name"))??,
        };
        if origin.is_some_and(|origin| origin != key.public().name()) {
            return Err(unusable("other-name").with("name", key.public().name()));
        }
        let known = [key.public()];
        let signed = notes.iter().filter_map(|note| Some((checkpoint::verify(note, &known).ok()?, note.clone())));
        let last = signed.max_by_key(|(checkpoint, _)| checkpoint.size);
        if last.is_none() && !notes.is_empty() {
            return Err(unusable("other-key"));
        }
        let mut changes = directory.key_changes().map_err(operator_fault)?;
        // A rotation that was cut off leaves a change to a key that never came to be; the next takes its place.
        let successor = |change: &String| checkpoint::unverified(change).ok()?.successor;
        changes.pop_if(|change| successor(change).as_ref() != Some(&key.public()));
        Ok(Signing { directory, key, changes, last, give_up_after: None })
    }

    /// Gives up what was signed behind `position`, if the journal ends there: on purpose, and recorded.
    pub fn giving_up_after(self, position: Option<Position>) -> Signing {
        Signing { give_up_after: position, ..self }
    }

    /// The key that checks the signatures.
    pub fn public_key(&self) -> PublicKey {
        self.key.public()
    }

    /// Puts a new key in the place of this one. The last checkpoint is signed again by both, and names the new one.
    ///
    /// # Errors
    /// `NOT_SIGNED` if nothing was signed yet, or what the system says.
    pub fn rotate(self) -> Result<PublicKey, Remark> {
        let (last, _) = self.last.ok_or_else(|| Remark::new(Reason::NotSigned))?;
        let fresh = fresh_key(self.key.public().name()).ok_or_else(|| Remark::new(Reason::NotSigned))?;
        let change = Checkpoint { successor: Some(fresh.public()), ..last };
        let note = checkpoint::sign(&change, &[&self.key, &fresh]);
        // In this order: whatever a crash leaves, the key that is there has signed the last checkpoint.
        self.directory.restart_from(&note).map_err(operator_fault)?;
        self.directory.put_key_change(self.changes.len() + 1, &note).map_err(operator_fault)?;
        self.directory.put_key(&fresh.secret_text(), &fresh.public().to_string()).map_err(operator_fault)?;
        Ok(fresh.public())
    }
}

fn new_key(directory: &SigningDirectory, origin: Option<&str>) -> Option<Result<PrivateKey, Remark>> {
    let mut random = [0; 4];
    getrandom::fill(&mut random).ok()?;
    let named = format!("budget-consolidator/{:08x}", u32::from_be_bytes(random));
    let key = fresh_key(origin.unwrap_or(&named))?;
    let public = key.public().to_string();
    tracing::info!(%public, path = %directory.path().display(), "a signing key was made");
    Some(directory.put_key(&key.secret_text(), &public).map(|()| key).map_err(operator_fault))
}

fn fresh_key(name: &str) -> Option<PrivateKey> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).ok()?;
    PrivateKey::from_seed(name, seed)
}

/// A checkpoint as it is handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// How many events.
    pub size: u64,
    /// The root of their tree.
    pub root: Digest,
    /// The signed note.
    pub note: String,
}

/// What the notary says of some records once they are durable.
pub(super) struct Attestation {
    leaves: Vec<Digest>,
    signed: Option<Signed>,
}

/// Tree and signatures of a running journal.
pub(super) struct Notary {
    tree: RwLock<Tree>,
    signing: Option<Signing>,
    /// Up to which size the last checkpoint is durable.
    durable: Mutex<u64>,
}

impl Notary {
    pub(super) fn new(tree: Tree, signing: Option<Signing>) -> Notary {
        Notary { tree: RwLock::new(tree), signing, durable: Mutex::new(0) }
    }

    pub(super) fn tree(&self) -> RwLockReadGuard<'_, Tree> {
        // A panic can't have left half a leaf that matters: only the writer pushes, and it is gone then.
        self.tree.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds the journal against the last checkpoint that was signed. Some: its tail was lost and is given up by whoever
    /// starts the service; this is the note that shows what there was.
    ///
    /// # Errors
    /// `STORE_BEHIND_CHECKPOINT`, `STORE_NOT_AS_SIGNED`.
    pub(super) fn compare(&self) -> Result<Option<String>, Remark> {
        let tree = self.tree();
        let Some(Signing { last, give_up_after, directory, .. }) = &self.signing else { return Ok(None) };
        let Some((last, note)) = last else {
            if tree.size() > 0 {
                tracing::warn!(
                    head = tree.size(),
                    "no last checkpoint beside the signing key: nothing says how far it had signed"
                );
            }
            return Ok(None);
        };
        if tree.root(last.size) == Some(last.root) {
            return Ok(None);
        }
        let is_behind = tree.size() < last.size;
        // Only what is missing can be given up: a journal that says otherwise than what was signed is no loss.
        if is_behind && *give_up_after == Some(tree.size()) {
            tracing::warn!(head = tree.size(), signed = last.size, "what was signed behind the head is given up");
            return Ok(Some(note.clone()));
        }
        let reason = if is_behind { Reason::StoreBehindCheckpoint } else { Reason::StoreNotAsSigned };
        let remark = Remark::new(reason).with("head", tree.size()).with("size", last.size);
        Err(remark.with("path", directory.path().display()))
    }

    /// Signs the tree as it will be with the leaves of some more records. Nobody sees anything of it before they are
    /// durable and it is kept.
    pub(super) fn attest(&self, batch: &[Vec<u8>]) -> Attestation {
        // Hashed before the lock: readers make proofs meanwhile.
        let leaves: Vec<Digest> = batch.iter().map(|bytes| leaf_hash(bytes)).collect();
        let (size, root) = {
            let tree = self.tree();
            (tree.size() + leaves.len() as u64, tree.root_with(&leaves))
        };
        let note = |signing: &Signing| {
            let key = signing.key.public();
            // One that hands over to a key that was never kept is not handed out: nobody signs by that key.
            let same = |last: &Checkpoint| {
                let is_own = last.successor.as_ref().is_none_or(|successor| *successor == key);
                last.size == size && last.root == root && is_own
            };
            if let Some((_, note)) = signing.last.as_ref().filter(|(last, _)| same(last)) {
                return note.clone();
            }
            let origin = key.name().to_owned();
            checkpoint::sign(&Checkpoint { origin, size, root, successor: None }, &[&signing.key])
        };
        let signing = self.signing.as_ref().filter(|_| size > 0);
        Attestation { leaves, signed: signing.map(|signing| Signed { size, root, note: note(signing) }) }
    }

    /// Adds the leaves of records that are durable now, and keeps the checkpoint over them. None without a key, without an
    /// event, or if it can't be kept.
    pub(super) fn keep(&self, Attestation { leaves, signed }: Attestation) -> Option<Arc<Signed>> {
        {
            let mut tree = self.tree.write().unwrap_or_else(PoisonError::into_inner);
            leaves.into_iter().for_each(|leaf| tree.push(leaf));
        }
        let (signing, signed) = self.signing.as_ref().zip(signed)?;
        match signing.directory.keep_last(&signed.note) {
            Ok(()) => Some(Arc::new(signed)),
            Err(error) => {
                tracing::error!(%error, size = signed.size, "no checkpoint: it can't be kept");
                None
            }
        }
    }

    /// The same where a tail was given up: every checkpoint before is forgotten, this is the only one.
    pub(super) fn restart(&self, attestation: Attestation) -> Option<Arc<Signed>> {
        let signed = self.keep(attestation)?;
        let restarted = self.signing.as_ref()?.directory.restart_from(&signed.note);
        restarted.map(|()| signed).map_err(|error| tracing::error!(%error, "no checkpoint: it can't be kept")).ok()
    }

    /// Makes sure that a checkpoint is kept before it is handed out.
    pub(super) fn make_durable(&self, size: u64) -> Result<(), Remark> {
        let signing = self.signing.as_ref().ok_or_else(|| Remark::new(Reason::NotSigned))?;
        let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        if *durable < size {
            signing.directory.sync_last().map_err(store_fault)?;
            *durable = size;
        }
        Ok(())
    }

    /// The key that checks the signatures, and the checkpoints at which earlier ones were replaced.
    pub(super) fn keys(&self) -> Option<(PublicKey, &[String])> {
        self.signing.as_ref().map(|signing| (signing.key.public(), signing.changes.as_slice()))
    }
}
