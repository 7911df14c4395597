//! A checkpoint: the size and root of the journal's tree, signed. In the formats that transparency logs share, so that
//! programs that aren't ours can check one too: a [tlog-checkpoint](https://c2sp.org/tlog-checkpoint) in a
//! [signed note](https://c2sp.org/signed-note), Ed25519.
//!
//! ```text
//! budget.example.gov/2024                             origin: the name of this journal
//! 1042                                                size: events
//! qINS1GRFhWHwdkUeqLEoP4yEMkTBBzxBkGwGQlVlVcs=        root, base64
//!
//! — budget.example.gov/2024 4fhVBPq0sTfC…              signature: base64 of 4 bytes key id and 64 bytes Ed25519
//! ```
//! When the key changes, a checkpoint has a fourth line, `successor KEY`, and the signatures of both keys: whoever trusts
//! the old one can trust the new one by it.
//!
//! Pure: knows no files, and makes no keys of its own; a seed is handed in. Keys are kept by `store/signing.rs`.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};

use crate::budget::digest::Digest;

/// The algorithm byte of Ed25519 in keys of signed notes.
const ED25519: u8 = 1;
const SIGNATURE_MARK: &str = "— ";
const SUCCESSOR: &str = "successor ";
const PRIVATE: &str = "PRIVATE+KEY";
/// The longest note that is read.
pub const NOTE_BYTES_MAX: usize = 2_000;

/// What a signature says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The name of the journal.
    pub origin: String,
    /// How many events.
    pub size: u64,
    /// The root of their tree.
    pub root: Digest,
    /// The key that signs from here on, if it changes.
    pub successor: Option<PublicKey>,
}

impl Checkpoint {
    fn text(&self) -> String {
        let mut out = format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root.0));
        if let Some(key) = &self.successor {
            out.push_str(&format!("{SUCCESSOR}{key}\n"));
        }
        out
    }

    fn parse(text: &str) -> Option<Checkpoint> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let origin = lines.next().filter(|name| is_name(name))?.to_owned();
        let written = lines.next()?;
        let size: u64 = written.parse().ok()?;
        let root = Digest::from_bytes(&STANDARD.decode(lines.next()?).ok()?)?;
        let successor = match lines.next() {
            None => None,
            Some(line) => Some(PublicKey::parse(line.strip_prefix(SUCCESSOR)?)?),
        };
        let checkpoint = Checkpoint { origin, size, root, successor };
        // One text for one meaning: no leading zeros, no other base64, nothing behind.
        (checkpoint.text() == text).then_some(checkpoint)
    }
}

/// Whether a text can name a journal or a key.
pub fn is_name(name: &str) -> bool {
    let fits = |c: char| !c.is_whitespace() && !c.is_control() && c != '+';
    (1..=200).contains(&name.len()) && name.chars().all(fits)
}

/// A key that signatures are checked with, written `NAME+ID+BASE64`.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    name: String,
    key: VerifyingKey,
}

impl PublicKey {
    /// Reads a key; surrounding blanks are passed over.
    pub fn parse(text: &str) -> Option<PublicKey> {
        let mut parts = text.trim().splitn(3, '+');
        let name = parts.next().filter(|name| is_name(name))?.to_owned();
        let id = parts.next()?;
        let bytes = STANDARD.decode(parts.next()?).ok()?;
        let (ED25519, key) = bytes.split_first().map(|(kind, key)| (*kind, key))? else { return None };
        let public = PublicKey { name, key: VerifyingKey::from_bytes(key.try_into().ok()?).ok()? };
        (format!("{:08x}", public.id()) == id).then_some(public)
    }

    /// Whose it is.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Tells keys of one name apart.
    pub fn id(&self) -> u32 {
        let hash = Sha256::new().chain_update(self.name.as_bytes()).chain_update([b'\n', ED25519]);
        let [a, b, c, d, ..] = <[u8; 32]>::from(hash.chain_update(self.key.as_bytes()).finalize());
        u32::from_be_bytes([a, b, c, d])
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&[ED25519], self.key.as_bytes().as_slice()].concat();
        write!(f, "{}+{:08x}+{}", self.name, self.id(), STANDARD.encode(bytes))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// A key that signs, written `PRIVATE+KEY+NAME+ID+BASE64`.
#[derive(Clone)]
pub struct PrivateKey {
    name: String,
    key: SigningKey,
}

impl PrivateKey {
    /// The key of a seed of 32 random bytes; none if the name can't be one.
    pub fn from_seed(name: &str, seed: [u8; 32]) -> Option<PrivateKey> {
        is_name(name).then(|| PrivateKey { name: name.to_owned(), key: SigningKey::from_bytes(&seed) })
    }

    /// Reads a key.
    pub fn parse(text: &str) -> Option<PrivateKey> {
        let rest = text.trim().strip_prefix(PRIVATE)?.strip_prefix('+')?;
        let mut parts = rest.splitn(3, '+');
        let (name, id) = (parts.next()?, parts.next()?);
        let bytes = STANDARD.decode(parts.next()?).ok()?;
        let (ED25519, seed) = bytes.split_first().map(|(kind, seed)| (*kind, seed))? else { return None };
        let private = PrivateKey::from_seed(name, seed.try_into().ok()?)?;
        (format!("{:08x}", private.public().id()) == id).then_some(private)
    }

    /// How it is kept.
    pub fn secret_text(&self) -> String {
        let bytes = [&[ED25519], self.key.as_bytes().as_slice()].concat();
        format!("{PRIVATE}+{}+{:08x}+{}", self.name, self.public().id(), STANDARD.encode(bytes))
    }

    /// The key that checks what this one signs.
    pub fn public(&self) -> PublicKey {
        PublicKey { name: self.name.clone(), key: self.key.verifying_key() }
    }

    fn line(&self, text: &str) -> String {
        let signature = self.key.sign(text.as_bytes()).to_bytes();
        let bytes = [&self.public().id().to_be_bytes(), signature.as_slice()].concat();
        format!("{SIGNATURE_MARK}{} {}\n", self.name, STANDARD.encode(bytes))
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.public())
    }
}

/// Signs a checkpoint: the note, as it is handed out.
pub fn sign(checkpoint: &Checkpoint, keys: &[&PrivateKey]) -> String {
    let text = checkpoint.text();
    let lines = keys.iter().map(|key| key.line(&text));
    let lines: String = lines.collect();
    format!("{text}\n{lines}")
}

/// Why a note is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadNote {
    /// It is no checkpoint in a signed note.
    Malformed,
    /// None of the keys has signed it.
    UnknownKey,
    /// A key is said to have signed it and has not.
    WrongSignature,
}

impl BadNote {
    /// A stable name.
    pub fn code(self) -> &'static str {
        match self {
            BadNote::Malformed => "malformed",
            BadNote::UnknownKey => "unknown-key",
            BadNote::WrongSignature => "wrong-signature",
        }
    }
}

/// What a note says, without any look at its signatures: for what is about to be compared by other means.
///
/// # Errors
/// [`BadNote::Malformed`].
pub fn unverified(note: &str) -> Result<Checkpoint, BadNote> {
    split_note(note).map(|(checkpoint, _, _)| checkpoint)
}

/// What a note says, if one of these keys has signed it under the origin's name.
///
/// # Errors
/// Why not.
pub fn verify(note: &str, keys: &[PublicKey]) -> Result<Checkpoint, BadNote> {
    let (checkpoint, text, lines) = split_note(note)?;
    let mut signed = false;
    for (name, id, signature) in lines {
        // Others may sign as well; what they say is between them and whoever knows their keys.
        let Some(key) = keys.iter().find(|key| key.name == name && key.id() == id) else { continue };
        key.key.verify_strict(text.as_bytes(), &signature).map_err(|_| BadNote::WrongSignature)?;
        signed |= key.name == checkpoint.origin;
    }
    if signed { Ok(checkpoint) } else { Err(BadNote::UnknownKey) }
}

/// The keys that can be trusted if these can: themselves, and whichever they were replaced by, one after the other.
pub fn trusted(keys: &[PublicKey], changes: &[String]) -> Vec<PublicKey> {
    let mut keys = keys.to_vec();
    for change in changes {
        let Ok(Checkpoint { successor: Some(next), .. }) = verify(change, &keys) else { continue };
        // Nobody becomes a successor without a word of its own.
        if is_signed_by(change, &next) {
            keys.push(next);
        }
    }
    keys
}

/// Which of these notes, from 0, is no change of keys or leads to no key that is trusted: the first of them. From the last
/// on, since whoever knows only the newest key knows the earlier ones by what they handed over to.
pub fn stray_change(trusted: &[PublicKey], changes: &[String]) -> Option<usize> {
    let mut keys = trusted.to_vec();
    let successors: Vec<_> = changes.iter().map(|change| unverified(change).ok()?.successor).collect();
    let mut stray = None;
    for (at, (change, next)) in changes.iter().zip(&successors).enumerate().rev() {
        let leads = next.as_ref().is_some_and(|next| keys.contains(next) && is_signed_by(change, next));
        if leads && verify(change, &keys).is_ok() {
            keys.extend(successors.iter().flatten().filter(|key| is_signed_by(change, key)).cloned());
        } else {
            stray = Some(at);
        }
    }
    stray
}

/// Whether a key has handed over to another in one of these changes: then it is handed the journal no more.
pub fn has_handed_over(key: &PublicKey, changes: &[String]) -> bool {
    let to_another = |change: &str| unverified(change).is_ok_and(|found| found.successor.is_some_and(|to| to != *key));
    changes.iter().any(|change| to_another(change) && is_signed_by(change, key))
}

fn is_signed_by(note: &str, key: &PublicKey) -> bool {
    verify(note, std::slice::from_ref(key)).is_ok()
}

type SignatureLine<'n> = (&'n str, u32, Signature);

fn split_note(note: &str) -> Result<(Checkpoint, &str, Vec<SignatureLine<'_>>), BadNote> {
    let parsed = || {
        let end = note.rfind("\n\n").filter(|_| note.len() <= NOTE_BYTES_MAX)? + 1;
        let (text, lines) = (note.get(..end)?, note.get(end + 1..)?.strip_suffix('\n')?);
        let lines = lines.split('\n').map(signature_line).collect::<Option<Vec<_>>>()?;
        Some((Checkpoint::parse(text)?, text, lines))
    };
    parsed().ok_or(BadNote::Malformed)
}

fn signature_line(line: &str) -> Option<SignatureLine<'_>> {
    let (name, signature) = line.strip_prefix(SIGNATURE_MARK)?.split_once(' ')?;
    let bytes = STANDARD.decode(signature).ok().filter(|_| is_name(name))?;
    let (id, signature) = bytes.split_first_chunk::<4>()?;
    Some((name, u32::from_be_bytes(*id), Signature::from_slice(signature).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> PrivateKey {
        PrivateKey::from_seed("budget.example/2024", [seed; 32]).unwrap()
    }

    fn checkpoint() -> Checkpoint {
        let origin = "budget.example/2024".to_owned();
        Checkpoint { origin, size: 1042, root: Digest([7; 32]), successor: None }
    }

    #[test]
    fn a_signed_checkpoint_reads_back() {
        let note = sign(&checkpoint(), &[&key(1)]);
        assert_eq!(verify(&note, &[key(2).public(), key(1).public()]), Ok(checkpoint()));
        assert_eq!(verify(&note, &[key(2).public()]), Err(BadNote::UnknownKey));
        assert!(note.starts_with("budget.example/2024\n1042\n") && note.len() < NOTE_BYTES_MAX / 3, "{note}");
    }

    /// The example key of the Go implementation of signed notes.
    #[test]
    fn keys_are_written_as_others_write_them() {
        let public = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        assert_eq!(PublicKey::parse(public).unwrap().to_string(), public);
        let private = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
        let key = PrivateKey::parse(private).unwrap();
        assert_eq!((key.public().to_string().as_str(), key.secret_text().as_str()), (public, private));
        assert!(PrivateKey::parse(&private.replace("c74f20a3", "c74f20a4")).is_none());
        for wrong in [&public[1..], &public[..public.len() - 4], "a+00000000+AQ==", "", "a+b"] {
            assert_eq!(PublicKey::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let note = sign(&checkpoint(), &[&key(1)]);
        for bit in 0..note.len() * 8 {
            let mut changed = note.clone().into_bytes();
            changed[bit / 8] ^= 1 << (bit % 8);
            let changed = String::from_utf8(changed);
            assert!(changed.is_err() || verify(&changed.unwrap(), &[key(1).public()]).is_err(), "bit {bit}");
        }
        for cut in 0..note.len() {
            assert!(note.get(..cut).is_none_or(|note| verify(note, &[key(1).public()]).is_err()), "cut {cut}");
        }
    }

    #[test]
    fn a_change_of_key_is_signed_by_both() {
        let change = Checkpoint { successor: Some(key(2).public()), ..checkpoint() };
        let note = sign(&change, &[&key(1), &key(2)]);
        for known in [key(1), key(2)] {
            assert_eq!(verify(&note, &[known.public()]), Ok(change.clone()));
        }
    }

    #[test]
    fn what_is_signed_is_still_no_checkpoint_if_it_is_written_otherwise() {
        let signed = |text: &str| verify(&format!("{text}\n{}", key(1).line(text)), &[key(1).public()]);
        let text = checkpoint().text();
        assert_eq!(signed(&text), Ok(checkpoint()));
        for other in [text.replace("1042", "01042"), text.replace("1042", "+1042"), format!("{text}more\n")] {
            assert_eq!(signed(&other), Err(BadNote::Malformed), "{other}");
        }
        let lines = key(2).line(&text).repeat(NOTE_BYTES_MAX / 100);
        let long = format!("{text}\n{}{lines}", key(1).line(&text));
        assert!(long.len() > NOTE_BYTES_MAX);
        assert_eq!(verify(&long, &[key(1).public()]), Err(BadNote::Malformed));
    }

    /// Whoever else is known may vouch for a checkpoint; its own journal's key must.
    #[test]
    fn only_the_key_of_the_origin_makes_a_checkpoint() {
        let other = PrivateKey::from_seed("witness.example", [3; 32]).unwrap();
        let note = sign(&checkpoint(), &[&other]);
        assert_eq!(verify(&note, &[other.public()]), Err(BadNote::UnknownKey));
        let note = sign(&checkpoint(), &[&key(1), &other]);
        assert_eq!(verify(&note, &[other.public(), key(1).public()]), Ok(checkpoint()));
    }

    #[test]
    fn a_wrong_signature_counts_more_than_a_right_one() {
        let note = sign(&checkpoint(), &[&key(1)]);
        let other = sign(&Checkpoint { size: 7, ..checkpoint() }, &[&key(2)]);
        let line = other.lines().last().unwrap();
        let both = format!("{note}{line}\n");
        assert_eq!(verify(&both, &[key(1).public()]), Ok(checkpoint()));
        assert_eq!(verify(&both, &[key(1).public(), key(2).public()]), Err(BadNote::WrongSignature));
    }
}
