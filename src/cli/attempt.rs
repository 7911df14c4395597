//! Idempotency keys: one for each attempt, kept until it is answered: beside the file that is sent, or in a folder of the
//! user's own if no file is.
//!
//! If the outcome of a request is unknown (the connection broke, the program was killed), the same command run again
//! finds the key of that attempt and sends it again, so nothing is done twice. The key belongs to exactly this request:
//! who asks, of which server, with which content; for another one a new key is made.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};

use crate::budget::digest::Digest;

/// The folder of keys that stand beside no file; there only while one is unanswered.
pub(super) const UNANSWERED: &str = "unanswered";

/// One attempt at a request.
#[derive(Debug)]
pub(super) struct Attempt {
    key: String,
    kept: Option<PathBuf>,
}

impl Attempt {
    /// The attempt at sending `file`; `request` is all that makes the request what it is.
    ///
    /// Where the folder can't be written to, the key lasts only as long as the program runs.
    pub(super) fn open(file: &Path, request: &[&[u8]]) -> Attempt {
        Attempt::kept_in(beside(file), named(request))
    }

    /// The attempt at a request that no file is sent with: its key is kept in that folder.
    pub(super) fn within(folder: Option<&Path>, request: &[&[u8]]) -> Attempt {
        let request = named(request);
        let there = folder.filter(|folder| std::fs::create_dir_all(folder).is_ok());
        Attempt::kept_in(
            there.map(|folder| folder.join(format!("{}.key", request.get(..32).unwrap_or(&request)))),
            request,
        )
    }

    fn kept_in(path: Option<PathBuf>, request: String) -> Attempt {
        let Some(path) = path else { return Attempt { key: fresh_key(), kept: None } };
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        if let Some((key, of)) = kept.trim_end().split_once(' ')
            && of == request
        {
            return Attempt { key: key.to_owned(), kept: Some(path) };
        }
        let key = fresh_key();
        let kept = std::fs::write(&path, format!("{key} {request}\n")).is_ok();
        Attempt { key, kept: kept.then_some(path) }
    }

    /// The key.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// The request was answered: the next one is a new attempt.
    pub(super) fn answered(self) {
        if let Some(path) = self.kept {
            // A key that stays behind is harmless: it gets the same answer once more.
            let _ = std::fs::remove_file(&path);
            if let Some(folder) = path.parent().filter(|folder| folder.ends_with(UNANSWERED)) {
                // Only if nothing else is in it.
                let _ = std::fs::remove_dir(folder);
            }
        }
    }
}

/// Names a request by all its parts.
fn named(request: &[&[u8]]) -> String {
    let mut whole = Vec::new();
    for part in request {
        whole.extend((part.len() as u64).to_be_bytes());
        whole.extend(*part);
    }
    Digest::of(&whole).to_string()
}

/// `.407002.json.key` beside `407002.json`; for a folder, inside it.
fn beside(file: &Path) -> Option<PathBuf> {
    if file.is_dir() {
        return Some(file.join(".publish.key"));
    }
    let name = file.file_name()?.to_str()?;
    Some(file.with_file_name(format!(".{name}.key")))
}

/// 128 bits that the standard library takes from the system's randomness, as 32 hex digits.
fn fresh_key() -> String {
    let half = || {
        let mut hash = RandomState::new().build_hasher();
        hash.write_u128(std::process::id().into());
        hash.finish()
    };
    format!("{:016x}{:016x}", half(), half())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_lasts_until_it_is_answered() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("407002.json");
        let first = Attempt::open(&file, &[b"a", b"b"]);
        let again = Attempt::open(&file, &[b"a", b"b"]);
        assert_eq!(first.key(), again.key());
        again.answered();
        assert_ne!(Attempt::open(&file, &[b"a", b"b"]).key(), first.key());
    }

    #[test]
    fn other_content_is_another_attempt() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("407002.json");
        let first = Attempt::open(&file, &[b"a", b"b"]);
        assert_ne!(Attempt::open(&file, &[b"ab", b""]).key(), first.key());
        assert_eq!(first.key().len(), 32);
    }

    #[test]
    fn a_request_without_a_file_has_a_key_of_its_own_in_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join(UNANSWERED);
        let open = |request: &[u8]| Attempt::within(Some(&place), &[request]);
        let (first, other) = (open(b"a"), open(b"b"));
        assert_eq!(open(b"a").key(), first.key());
        assert_ne!(other.key(), first.key());
        first.answered();
        assert_eq!(open(b"b").key(), other.key(), "each stands by itself");
        other.answered();
        assert!(!place.exists());
    }

    #[test]
    fn without_a_place_to_keep_it_there_is_a_key_all_the_same() {
        assert_eq!(Attempt::open(Path::new("/nowhere/at/all.json"), &[]).key().len(), 32);
    }
}
