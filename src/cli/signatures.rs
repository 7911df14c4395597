//! The checkpoints of an export, each held against the keys, against the tree over its events, and against those before it.
//! A change of keys that was signed over records which were given up since agrees with no tree; it only changes keys.
//!
//! Knows no files. What comes of it is told in `audit verify`'s report: `verified.rs`.

use super::report::{Report, Standing};
use crate::budget::digest::Digest;
use crate::budget::reason::{Reason, Remark};
use crate::consolidator::verify::{Faults, GivenUp};
use crate::ledger::checkpoint::{self, BadNote, Checkpoint, PublicKey};
use crate::ledger::tree::Tree;

/// What came out about them.
#[derive(Default)]
pub(super) struct Signatures {
    /// How many checkpoints there are.
    count: usize,
    /// The largest that is signed as the tree is.
    signed: Option<(u64, Digest)>,
    /// Those of keys that are not at hand, for which one at hand vouches.
    earlier: usize,
    /// Those of keys for which none does.
    strange: usize,
    /// Those that no trusted key signed.
    unsigned: Faults,
    /// Those that are signed and say something else than the tree.
    differing: Faults,
    /// Those that were put in again.
    doubled: Faults,
}

/// A checkpoint as it stands in the export.
struct Note {
    /// Behind which event.
    at: u64,
    text: String,
    /// What it says, whoever signed it.
    said: Option<Checkpoint>,
}

impl Note {
    /// The key that it hands over to, if it changes keys.
    fn successor(&self) -> Option<&PublicKey> {
        self.said.as_ref()?.successor.as_ref()
    }

    fn fault(&self, what: &str) -> Remark {
        Remark::new(Reason::RecordSaysOtherwise).with("position", self.at).with("what", what)
    }
}

impl Signatures {
    /// Holds each of `notes`, with the position that it stands behind, against all that it can be held against: keys, the tree,
    /// and what the journal itself says was given up of it.
    pub(super) fn of(
        notes: &[(u64, Vec<u8>)],
        keys: &[PublicKey],
        (tree, given_up): (&Tree, &[GivenUp]),
    ) -> Signatures {
        let note = |(at, note): &(u64, Vec<u8>)| {
            let text = String::from_utf8_lossy(note).into_owned();
            Note { at: *at, said: checkpoint::unverified(&text).ok(), text }
        };
        let notes: Vec<Note> = notes.iter().map(note).collect();
        let changes = notes.iter().filter(|note| note.successor().is_some());
        let changes: Vec<String> = changes.map(|note| note.text.clone()).collect();
        let keys = checkpoint::trusted(keys, &changes);
        let vouched = vouched_for(&keys, tree, &changes);
        let mut found = Signatures { count: notes.len(), ..Signatures::default() };
        let mut before: Vec<Checkpoint> = Vec::new();
        let mut passed = 0;
        for note in &notes {
            // A key that has handed over is handed the journal no more.
            let handed_over = |next| changes.get(..passed).is_some_and(|past| checkpoint::has_handed_over(next, past));
            let in_turn = !note.successor().is_some_and(handed_over);
            passed += usize::from(note.successor().is_some());
            match checkpoint::verify(&note.text, &keys) {
                Err(BadNote::UnknownKey) => {
                    let agrees = |said: &Checkpoint| said.size <= vouched && tree.root(said.size) == Some(said.root);
                    if in_turn && note.said.as_ref().is_some_and(agrees) {
                        found.earlier += 1;
                    } else {
                        found.strange += 1;
                        found.unsigned.add(note.fault("unknown key"));
                    }
                }
                Err(_) => found.unsigned.add(note.fault("checkpoint")),
                Ok(said) if in_turn && said.successor.is_some() && is_of_lost(&said, given_up) => {}
                Ok(said) if tree.root(said.size) != Some(said.root) || said.size > note.at => {
                    found.differing.add(note.fault("checkpoint"));
                }
                Ok(said) => {
                    // One that was put in again is of a size that was passed. Only a change of keys signs the same size anew.
                    before.retain(|other| other.size >= said.size);
                    let anew = said.successor.is_some() && before.iter().all(|other| other.size == said.size);
                    if !in_turn || !before.is_empty() && (!anew || before.contains(&said)) {
                        found.doubled.add(note.fault("checkpoint again"));
                    }
                    found.signed = found.signed.max(Some((said.size, said.root)));
                    before.push(said);
                }
            }
        }
        found
    }

    /// Up to which size the tree is as it was signed.
    pub(super) fn through(&self) -> Option<u64> {
        self.signed.map(|(size, _)| size)
    }

    /// Behind which event the first stands that is wrong.
    pub(super) fn first_bad(&self) -> Option<u64> {
        let first =
            [&self.unsigned, &self.differing, &self.doubled].into_iter().flat_map(|faults| faults.first.first());
        first.filter_map(|fault| fault.fact("position")?.parse().ok()).min()
    }

    /// Tells it, for a tree of that size; the last group of one that is still `written` has its checkpoint with the next.
    pub(super) fn tell(self, report: &mut Report, (size, written): (u64, bool)) {
        let count = [("n", self.count.to_string())];
        if self.doubled.count > 0 {
            report.bad("verify-checkpoints-again", &[("bad", self.doubled.count.to_string())], self.doubled.first);
        }
        if self.signed.is_none() && self.strange > 0 && self.strange == self.count {
            // Mostly it is the key that is wrong, not the file.
            return report.bad("verify-other-key", &count, Vec::new());
        }
        if self.count > 0 {
            report.faults("verify-signatures", "verify-signatures-bad", &count, self.unsigned);
        }
        if self.earlier > 0 {
            report.say(Standing::Note, "verify-earlier-key", &[("n", self.earlier.to_string())]);
        }
        if self.differing.count > 0 {
            return report.faults("verify-tree", "verify-tree-bad", &count, self.differing);
        }
        let signed = self.signed.map_or(0, |(size, _)| size);
        let facts = [("n", size.to_string()), ("signed", signed.to_string())];
        match self.signed {
            Some((signed, root)) if signed == size => {
                report.say(Standing::Good, "verify-tree", &[("n", size.to_string()), ("root", root.to_string())]);
            }
            Some(_) if written => report.say(Standing::Note, "verify-unsigned-yet", &facts),
            Some(_) => report.bad("verify-unsigned-end", &facts, Vec::new()),
            None => report.bad("verify-unsigned", &facts, Vec::new()),
        }
    }
}

/// Whether a checkpoint counts records that were given up: those from the event that says so to the last that was signed.
fn is_of_lost(said: &Checkpoint, given_up: &[GivenUp]) -> bool {
    let is_of = |lost: &GivenUp| match said.size {
        size if size == lost.signed => said.root == lost.root,
        size => (lost.position..lost.signed).contains(&size),
    };
    given_up.iter().any(is_of)
}

/// Up to which size checkpoints may be of keys that are not at hand: who was given only a newer key can't check what earlier
/// ones signed, but the last change to a known key stands for the records up to there.
fn vouched_for(keys: &[PublicKey], tree: &Tree, changes: &[String]) -> u64 {
    let valid = changes.iter().filter_map(|note| Some((note, checkpoint::verify(note, keys).ok()?)));
    let from_unknown = valid.filter(|(note, change)| {
        let others: Vec<PublicKey> =
            keys.iter().filter(|key| Some(*key) != change.successor.as_ref()).cloned().collect();
        change.successor.is_some() && checkpoint::verify(note, &others).is_err()
    });
    let agreeing = from_unknown.filter(|(_, change)| tree.root(change.size) == Some(change.root));
    agreeing.map(|(_, change)| change.size).max().unwrap_or(0)
}
