//! The RPCs of AuditService that prove: checkpoints, proofs, the public key, receipts.
//!
//! What is proved is [`crate::consolidator`]'s business. A checkpoint is made durable before it is handed out, so each of
//! these may wait for a disk, on a thread that may.

use tonic::{Response, Status};

use super::status::status;
use crate::budget::digest::Digest;
use crate::budget::reason::{Reason, Remark};
use crate::budget::submission::UnitCode;
use crate::budget::unit_tree::BUREAU;
use crate::consolidator::{Proved, Snapshot};
use crate::ledger::actor::{Actor, Operation, may};
use crate::ledger::event::Event;
use crate::proto::api;

/// Works an answer out on a thread that may wait.
pub(super) async fn answer<T: Send + 'static>(
    snapshot: Snapshot,
    work: impl FnOnce(&Snapshot) -> Result<T, Remark> + Send + 'static,
) -> Result<Response<T>, Status> {
    let worked = tokio::task::spawn_blocking(move || work(&snapshot)).await;
    let ended = || Err(Remark::new(Reason::StoreStopped).with("what", "proof"));
    worked.unwrap_or_else(|_| ended()).map(Response::new).map_err(status)
}

pub(super) fn checkpoint(snapshot: &Snapshot) -> Result<api::GetCheckpointResponse, Remark> {
    let signed = snapshot.checkpoint()?;
    Ok(api::GetCheckpointResponse { checkpoint: signed.note.clone(), size: signed.size })
}

pub(super) fn inclusion(
    snapshot: &Snapshot,
    request: &api::GetInclusionProofRequest,
) -> Result<api::GetInclusionProofResponse, Remark> {
    let signed = snapshot.checkpoint()?;
    let (leaf, path, size) = snapshot.inclusion(request.position, request.size)?;
    Ok(api::GetInclusionProofResponse {
        leaf_hash: leaf.0.to_vec(),
        path: hashes(&path),
        size,
        checkpoint: signed.note.clone(),
    })
}

pub(super) fn consistency(
    snapshot: &Snapshot,
    request: &api::GetConsistencyProofRequest,
) -> Result<api::GetConsistencyProofResponse, Remark> {
    let signed = snapshot.checkpoint()?;
    // Whoever has seen more than there is must learn so from the signature, not from a refusal.
    let shrunk = request.size == 0 && request.old_size > signed.size;
    let (path, size) = match shrunk {
        true => (Vec::new(), signed.size),
        false => snapshot.consistency(request.old_size, request.size)?,
    };
    let (key, key_changes) = snapshot.keys()?;
    Ok(api::GetConsistencyProofResponse {
        path: hashes(&path),
        size,
        checkpoint: signed.note.clone(),
        public_key: key.to_string(),
        key_changes,
    })
}

pub(super) fn public_key(snapshot: &Snapshot) -> Result<api::GetPublicKeyResponse, Remark> {
    let (key, key_changes) = snapshot.keys()?;
    Ok(api::GetPublicKeyResponse { public_key: key.to_string(), key_changes })
}

/// A receipt, and whose it is.
pub(super) fn receipt(
    snapshot: &Snapshot,
    actor: &Actor,
    position: u64,
) -> Result<(api::GetReceiptResponse, UnitCode), Remark> {
    let envelope = snapshot.event(position)?;
    let slot = match &envelope.event {
        Event::Justified(justified) => Some(&justified.slot),
        event => event.attempt().map(|attempt| &attempt.slot),
    };
    let node = slot.map_or(BUREAU, |slot| slot.unit.as_str());
    let tree = slot.and_then(|slot| snapshot.state.tree(slot.year)).map(AsRef::as_ref);
    if !may(actor, Operation::Read, node, tree) {
        // Not whose it is: no answer tells a stranger that a unit is there.
        return Err(Remark::new(Reason::NotPermitted).with("actor", actor));
    }
    let Proved { leaf, path, checkpoint } = snapshot.proved(position)?;
    let (key, key_changes) = snapshot.keys()?;
    let receipt = api::GetReceiptResponse {
        position,
        leaf,
        path: hashes(&path),
        checkpoint: checkpoint.note.clone(),
        public_key: key.to_string(),
        key_changes,
    };
    Ok((receipt, node.into()))
}

fn hashes(path: &[Digest]) -> Vec<Vec<u8>> {
    path.iter().map(|hash| hash.0.to_vec()).collect()
}
