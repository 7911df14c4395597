//! The checkpoints that were seen before, one for each server: by them every verb that talks to a server notices when it
//! shows another history, or less of it.
//!
//! Kept by `audit checkpoint --save` in a folder of the user's own. Without one nothing is asked; with one it costs a
//! small call each time.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::client::Client;
use super::output::Failure;
use super::settings::Settings;
use super::way::own_folder;
use crate::budget::digest::Digest;
use crate::budget::reason::{Reason, Remark};
use crate::ledger::checkpoint::{self, BadNote, Checkpoint, PublicKey};
use crate::ledger::tree::is_consistent;
use crate::proto::api;

/// The variable that names the folder.
const FOLDER_VARIABLE: &str = "BUDGET_CHECKPOINTS";

/// What was seen of a server.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    server: String,
    public_key: String,
    checkpoint: String,
}

/// A checkpoint that was seen, with the key that signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) key: PublicKey,
    pub(super) checkpoint: Checkpoint,
}

/// The folder that the environment means: one below the user's own, unless it names another; none if it means none.
pub(super) fn folder() -> Option<PathBuf> {
    let named = std::env::var_os(FOLDER_VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
    named.or_else(|| Some(own_folder()?.join("checkpoints")))
}

/// The file for the server that is meant.
pub(super) fn file(settings: &Settings) -> Option<PathBuf> {
    let server = settings.server.rsplit("://").next().unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' };
    let name: String = server.chars().map(plain).collect();
    Some(settings.checkpoints.as_ref()?.join(format!("{name}.json")))
}

/// What was saved for the server that is meant.
pub(super) fn read(settings: &Settings) -> Result<Option<Seen>, Failure> {
    let Some(path) = file(settings) else { return Ok(None) };
    let wrong = |error: &str| {
        let facts = [("file", path.display().to_string()), ("error", error.to_owned())];
        Failure::Usage(settings.say("seen-unreadable", &facts.each_ref().map(|(k, v)| (*k, v.as_str()))))
    };
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(&error.to_string())),
    };
    let kept: Kept = serde_json::from_slice(&bytes).map_err(|error| wrong(&error.to_string()))?;
    let key = PublicKey::parse(&kept.public_key).ok_or_else(|| wrong("public_key"))?;
    let checkpoint = checkpoint::verify(&kept.checkpoint, std::slice::from_ref(&key));
    let checkpoint = checkpoint.map_err(|bad| wrong(bad.code()))?;
    Ok(Some(Seen { key, checkpoint }))
}

/// Saves what was seen. Never half of it: written under another name first.
pub(super) fn save(settings: &Settings, key: &PublicKey, note: &str) -> Result<PathBuf, Failure> {
    let path = file(settings).ok_or_else(|| Failure::Usage(settings.say("seen-no-folder", &[])))?;
    let kept = Kept { server: settings.server.clone(), public_key: key.to_string(), checkpoint: note.to_owned() };
    let write = || {
        let text = serde_json::to_string_pretty(&kept)? + "\n";
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let draft = path.with_extension("json.new");
        std::fs::write(&draft, text)?;
        std::fs::rename(&draft, &path)
    };
    write().map_err(|error: std::io::Error| {
        let facts = [("file", path.display().to_string()), ("error", error.to_string())];
        Failure::Usage(settings.say("file-unwritable", &facts.each_ref().map(|(k, v)| (*k, v.as_str()))))
    })?;
    Ok(path)
}

/// Holds the server against what was saved of it, if anything was.
pub(super) async fn compare(client: &Client, settings: &Settings) -> Result<(), Failure> {
    let Some(seen) = read(settings)? else { return Ok(()) };
    let request = api::GetConsistencyProofRequest { old_size: seen.checkpoint.size, size: 0 };
    let answer = match client.audit().get_consistency_proof(request).await {
        Ok(answer) => answer.into_inner(),
        Err(status) => match client.failure(&status) {
            // Whoever isn't known is told so by what they asked for.
            Failure::Refused(remark) if remark.reason == Reason::UnknownActor => return Ok(()),
            failure => return Err(failure),
        },
    };
    let path = file(settings).map(|path| path.display().to_string()).unwrap_or_default();
    judge(&seen, &answer, &settings.server).map(|_| ()).map_err(|remark| Failure::Refused(remark.with("path", path)))
}

/// Whether what a server shows goes on from what was seen: its checkpoint and the key that signed it, if so.
///
/// # Errors
/// `HISTORY_FORKED`, `HISTORY_ROLLED_BACK`, `SIGNING_KEY_CHANGED`.
pub(super) fn judge(
    seen: &Seen,
    answer: &api::GetConsistencyProofResponse,
    server: &str,
) -> Result<(PublicKey, Checkpoint), Remark> {
    let keys = checkpoint::trusted(std::slice::from_ref(&seen.key), &answer.key_changes);
    let saved = seen.checkpoint.size;
    let forked = |size: u64| {
        let remark = Remark::new(Reason::HistoryForked).with("server", server);
        remark.with("size", size).with("saved", saved)
    };
    let now = match checkpoint::verify(&answer.checkpoint, &keys) {
        Ok(now) => now,
        Err(BadNote::UnknownKey) => {
            let remark = Remark::new(Reason::SigningKeyChanged).with("server", server);
            return Err(remark.with("found", &answer.public_key).with("expected", &seen.key));
        }
        Err(BadNote::Malformed | BadNote::WrongSignature) => return Err(forked(answer.size)),
    };
    if now.size < saved {
        let remark = Remark::new(Reason::HistoryRolledBack).with("server", server);
        return Err(remark.with("size", now.size).with("saved", saved));
    }
    let path: Option<Vec<Digest>> = answer.path.iter().map(|hash| Digest::from_bytes(hash)).collect();
    let old = (saved, &seen.checkpoint.root);
    if !path.is_some_and(|path| is_consistent(old, (now.size, &now.root), &path)) {
        return Err(forked(now.size));
    }
    let key = PublicKey::parse(&answer.public_key).filter(|key| keys.contains(key));
    Ok((key.unwrap_or_else(|| seen.key.clone()), now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::checkpoint::{PrivateKey, sign};
    use crate::ledger::tree::{Tree, leaf_hash};

    fn key(seed: u8) -> PrivateKey {
        PrivateKey::from_seed("budget.example", [seed; 32]).unwrap()
    }

    fn tree(leaves: u8, changed: Option<u8>) -> Tree {
        Tree::of((0..leaves).map(|n| leaf_hash(&[if changed == Some(n) { 99 } else { n }])))
    }

    fn at(tree: &Tree, successor: Option<PublicKey>) -> Checkpoint {
        let origin = "budget.example".to_owned();
        Checkpoint { origin, size: tree.size(), root: tree.root(tree.size()).unwrap(), successor }
    }

    fn answer(tree: &Tree, old: u64, signer: &PrivateKey, changes: Vec<String>) -> api::GetConsistencyProofResponse {
        let path = tree.consistency(old, tree.size()).unwrap_or_default();
        api::GetConsistencyProofResponse {
            path: path.iter().map(|hash| hash.0.to_vec()).collect(),
            size: tree.size(),
            checkpoint: sign(&at(tree, None), &[signer]),
            public_key: signer.public().to_string(),
            key_changes: changes,
        }
    }

    #[test]
    fn a_longer_history_of_the_same_key_goes_on() {
        let seen = Seen { key: key(1).public(), checkpoint: at(&tree(5, None), None) };
        for leaves in 5..12 {
            assert!(judge(&seen, &answer(&tree(leaves, None), 5, &key(1), vec![]), "s").is_ok(), "{leaves}");
        }
    }

    #[test]
    fn forks_rollbacks_and_strangers_are_named() {
        let seen = Seen { key: key(1).public(), checkpoint: at(&tree(5, None), None) };
        let reason = |answer: &api::GetConsistencyProofResponse| judge(&seen, answer, "s").unwrap_err().reason;
        assert_eq!(reason(&answer(&tree(8, Some(2)), 5, &key(1), vec![])), Reason::HistoryForked);
        assert_eq!(reason(&answer(&tree(5, Some(2)), 5, &key(1), vec![])), Reason::HistoryForked);
        assert_eq!(reason(&answer(&tree(4, None), 5, &key(1), vec![])), Reason::HistoryRolledBack);
        assert_eq!(reason(&answer(&tree(8, None), 5, &key(2), vec![])), Reason::SigningKeyChanged);
        let mut other = answer(&tree(8, None), 5, &key(1), vec![]);
        other.path[0][0] ^= 1;
        assert_eq!(reason(&other), Reason::HistoryForked);
        other.path.clear();
        assert_eq!(reason(&other), Reason::HistoryForked);
    }

    #[test]
    fn a_key_that_was_handed_over_is_trusted_and_one_that_took_over_is_not() {
        let seen = Seen { key: key(1).public(), checkpoint: at(&tree(5, None), None) };
        let handed = sign(&at(&tree(6, None), Some(key(2).public())), &[&key(1), &key(2)]);
        let good = answer(&tree(8, None), 5, &key(2), vec![handed]);
        assert_eq!(judge(&seen, &good, "s").unwrap().0, key(2).public());
        for signers in [vec![&key(1)], vec![&key(2)]] {
            let taken = sign(&at(&tree(6, None), Some(key(2).public())), &signers);
            let bad = answer(&tree(8, None), 5, &key(2), vec![taken]);
            assert_eq!(judge(&seen, &bad, "s").unwrap_err().reason, Reason::SigningKeyChanged);
        }
    }
}
