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
    let server = settings.server.rsplit("://").next().unwrap_or_default().trim_end_matches('/');
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
    match std::fs::read(&path) {
        Ok(bytes) => parse(&bytes).map(Some).map_err(|error| wrong(&error)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(wrong(&error.to_string())),
    }
}

fn parse(kept: &[u8]) -> Result<Seen, String> {
    let kept: Kept = serde_json::from_slice(kept).map_err(|error| error.to_string())?;
    let key = PublicKey::parse(&kept.public_key).ok_or("public_key")?;
    let checkpoint = checkpoint::verify(&kept.checkpoint, std::slice::from_ref(&key));
    Ok(Seen { key, checkpoint: checkpoint.map_err(|bad| bad.code().to_owned())? })
}

/// What was saved of the service that this one is by its key, under whichever address it was asked then, and where.
async fn by_key(client: &Client, settings: &Settings) -> Option<(Seen, PathBuf)> {
    let files = settings.checkpoints.as_ref().and_then(|folder| std::fs::read_dir(folder).ok());
    let files = files.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let all: Vec<(Seen, PathBuf)> =
        files.filter_map(|path| Some((parse(&std::fs::read(&path).ok()?).ok()?, path))).collect();
    if all.is_empty() {
        return None;
    }
    // Nobody has asked about this address: what doesn't answer is not held against it.
    let Ok(Some(answer)) = proof(client, 1).await else { return None };
    let same = |seen: &Seen| {
        let keys = checkpoint::trusted(std::slice::from_ref(&seen.key), &answer.key_changes);
        checkpoint::verify(&answer.checkpoint, &keys).is_ok()
    };
    all.into_iter().filter(|(seen, _)| same(seen)).max_by_key(|(seen, _)| seen.checkpoint.size)
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

/// How the journal goes on from a size to its last checkpoint; nothing for whoever isn't known, who is told so by what they
/// asked for.
async fn proof(client: &Client, old_size: u64) -> Result<Option<api::GetConsistencyProofResponse>, Failure> {
    let request = api::GetConsistencyProofRequest { old_size, size: 0 };
    match client.audit().get_consistency_proof(request).await {
        Ok(answer) => Ok(Some(answer.into_inner())),
        Err(status) => match client.failure(&status) {
            Failure::Refused(remark) if remark.reason == Reason::UnknownActor => Ok(None),
            failure => Err(failure),
        },
    }
}

/// Holds the server against what was saved of it, if anything was. What it has grown to is what was seen from then on.
pub(super) async fn compare(client: &Client, settings: &Settings) -> Result<(), Failure> {
    let found = match read(settings)?.zip(file(settings)) {
        Some(found) => Some(found),
        None => by_key(client, settings).await,
    };
    let Some((seen, path)) = found else { return Ok(()) };
    let Some(answer) = proof(client, seen.checkpoint.size).await? else { return Ok(()) };
    let judged = judge(&seen, &answer, &settings.server);
    let (key, now) = judged.map_err(|remark| Failure::Refused(remark.with("path", path.display())))?;
    if now.size > seen.checkpoint.size {
        // Where nothing can be written, what was saved still counts.
        let _ = save(settings, &key, &answer.checkpoint);
    }
    Ok(())
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
