//! `audit verify EXPORT`: everything that an export says, worked out again from its bytes and one public key.
//!
//! No server, no data directory. In order: is the file whole; does the tree over its events have the roots that were
//! signed; can each record be read; does each filing have its digest, its totals, its verdicts, its ceilings. What is
//! wrong is named with its first position, and so is how far the journal can be trusted all the same.

use std::path::Path;

use super::backup::progress;
use super::output::{Answer, Failure};
use super::report::{Report, Standing};
use super::settings::Settings;
use crate::budget::digest::Digest;
use crate::budget::reason::{Reason, Remark};
use crate::consolidator::operator_fault;
use crate::consolidator::verify::{Faults, verify};
use crate::ledger::checkpoint::{self, BadNote, Checkpoint, PublicKey};
use crate::ledger::tree::{Tree, leaf_hash};
use crate::store::archive::{ArchiveJournal, Entry, Survey};
use crate::store::restore::archive_at;

/// Verifies an export, a backup or a mirror.
///
/// # Errors
/// A file that isn't there or no archive at all; what is wrong in one is in the answer.
pub(super) fn run(path: &Path, keys: &[PublicKey], settings: &Settings) -> Result<Answer, Failure> {
    let refused = |error| Failure::Refused(operator_fault(error));
    let archive = archive_at(path);
    let length = std::fs::metadata(&archive).map_or(0, |meta| meta.len());
    let named = keys.last().map_or_else(String::new, PublicKey::to_string);
    let facts = vec![("file", path.display().to_string()), ("key", named)];
    let ends = ["verify-end-good", "verify-end-bad"];
    let mut report = Report { title: "verify-title", ends, facts, lines: Vec::new() };

    let bar = progress(length, "{bar:30} {percent}%");
    let mut tree = Tree::default();
    let mut notes = Vec::new();
    let opened = ArchiveJournal::open(&archive, |entry, offset| {
        match entry {
            Entry::Event { bytes, .. } => tree.push(leaf_hash(bytes)),
            Entry::Checkpoint { position, note } => notes.push((*position, note.clone())),
            Entry::Mark { .. } => {}
        }
        bar.set_position(offset);
    });
    bar.finish_and_clear();
    let (journal, survey) = opened.map_err(refused)?;
    whole(&mut report, &archive, &survey, tree.size());
    // The last group of a mirror that is being written has its checkpoint with the next one.
    let written = path.is_dir();
    let (signed, wrong) = signatures(&mut report, keys, (&tree, written), &notes);

    // Of a file that was cut, and of one whose end nobody has signed, the first that is missing or unsigned is bad.
    let through = signed.unwrap_or(0);
    let unsigned = through < tree.size() && !(written && through > 0);
    let cut = (!survey.complete || unsigned).then_some(through + 1);
    let mut first_bad = survey.flaw.as_ref().map(|flaw| flaw.position).or(cut);
    if survey.first > 1 {
        // Nothing can be folded that doesn't begin at the beginning.
        report.say(Standing::Skipped, "verify-begins-late", &[("first", survey.first.to_string())]);
        report.bad("verify-no-beginning", &[], Vec::new());
        first_bad = Some(1);
    } else {
        let bar = progress(tree.size(), "{bar:30} {pos}/{len}");
        let verified = verify(&journal, &|position| bar.set_position(position)).map_err(Failure::Refused)?;
        bar.finish_and_clear();
        first_bad = first_bad.into_iter().chain(verified.first_bad()).min();
        report.facts.push(("rows", verified.rows.to_string()));
        report.verified(verified);
    }
    report.facts.push(("size", through.to_string()));
    if report.bad_lines() > 0 {
        let good = first_bad.map_or(through, |bad| through.min(bad.saturating_sub(1)));
        let key = if good == 0 { "verify-trust-nothing" } else { "verify-trust-through" };
        // A wrong checkpoint takes nothing from events that another one vouches for.
        let first = first_bad.or(wrong).map_or_else(|| "–".to_owned(), |bad| bad.to_string());
        report.say(Standing::Note, key, &[("through", good.to_string()), ("first", first)]);
    }
    let code = u8::from(report.bad_lines() > 0);
    Ok(Answer { code, ..settings.answer(&report) })
}

/// Whether the file is whole, from its first byte to its last.
fn whole(report: &mut Report, path: &Path, survey: &Survey, events: u64) {
    let facts = [("n", events.to_string()), ("bytes", survey.bytes.to_string())];
    match &survey.flaw {
        Some(flaw) => {
            let remark = Remark::new(Reason::ArchiveDamaged).with("path", path.display());
            let remark = remark.with("position", flaw.position).with("what", &flaw.what);
            let remark = match flaw.resumed {
                Some(behind) => remark.with("last", behind.last),
                None => remark,
            };
            report.bad("verify-file-bad", &[("offset", flaw.offset.to_string())], vec![remark]);
        }
        None if !survey.complete => report.bad("verify-file-cut", &facts, Vec::new()),
        None => report.say(Standing::Good, "verify-file", &facts),
    }
}

/// Holds the tree against every checkpoint: the largest size up to which it is as signed, and behind which event the first
/// checkpoint stands that is wrong.
fn signatures(
    report: &mut Report,
    keys: &[PublicKey],
    (tree, written): (&Tree, bool),
    notes: &[(u64, Vec<u8>)],
) -> (Option<u64>, Option<u64>) {
    let texts = notes.iter().map(|(at, note)| (*at, String::from_utf8_lossy(note).into_owned()));
    let texts: Vec<_> = texts.map(|(at, note)| (at, checkpoint::unverified(&note).ok(), note)).collect();
    let successor = |said: &Option<Checkpoint>| said.as_ref().and_then(|said| said.successor.clone());
    let changes = texts.iter().filter(|(_, said, _)| successor(said).is_some());
    let changes: Vec<String> = changes.map(|(.., note)| note.clone()).collect();
    let keys = checkpoint::trusted(keys, &changes);
    let vouched = vouched_for(&keys, tree, &changes);
    let mut earlier = 0_usize;
    let (mut unsigned, mut differing, mut doubled) = (Faults::default(), Faults::default(), Faults::default());
    let mut before: Vec<Checkpoint> = Vec::new();
    let mut signed: Option<(u64, Digest)> = None;
    let (mut passed, mut strange) = (0, 0);
    for (at, said, note) in &texts {
        let at_fault = |what: &str| Remark::new(Reason::RecordSaysOtherwise).with("position", at).with("what", what);
        let next = successor(said);
        let in_turn = next.as_ref().is_none_or(|next| !checkpoint::has_handed_over(next, &changes[..passed]));
        passed += usize::from(next.is_some());
        match checkpoint::verify(note, &keys) {
            Err(BadNote::UnknownKey) => match said {
                Some(found) if in_turn && found.size <= vouched && tree.root(found.size) == Some(found.root) => {
                    earlier += 1;
                }
                _ => {
                    strange += 1;
                    unsigned.add(at_fault("unknown key"));
                }
            },
            Err(_) => unsigned.add(at_fault("checkpoint")),
            Ok(found) if tree.root(found.size) != Some(found.root) || found.size > *at => {
                differing.add(at_fault("checkpoint"));
            }
            Ok(found) => {
                // One that was put in again is of a size that was passed. Only a change of keys signs the same size anew.
                before.retain(|other| other.size >= found.size);
                let anew = found.successor.is_some() && before.iter().all(|other| other.size == found.size);
                if !in_turn || !before.is_empty() && (!anew || before.contains(&found)) {
                    doubled.add(at_fault("checkpoint again"));
                }
                signed = signed.max(Some((found.size, found.root)));
                before.push(found);
            }
        }
    }
    let wrong = [&unsigned, &differing, &doubled].into_iter().flat_map(|faults| faults.first.first());
    let wrong = wrong.filter_map(|fault| fault.fact("position")?.parse().ok()).min();
    let count = [("n", texts.len().to_string())];
    if doubled.count > 0 {
        report.bad("verify-checkpoints-again", &[("bad", doubled.count.to_string())], doubled.first);
    }
    let size = signed.map(|(size, _)| size);
    if size.is_none() && strange > 0 && strange == texts.len() {
        // Mostly it is the key that is wrong, not the file.
        report.bad("verify-other-key", &count, Vec::new());
        return (None, wrong);
    }
    if !texts.is_empty() {
        report.faults("verify-signatures", "verify-signatures-bad", &count, unsigned);
    }
    if earlier > 0 {
        report.say(Standing::Note, "verify-earlier-key", &[("n", earlier.to_string())]);
    }
    match (differing.count, size) {
        (0, Some(size)) if size == tree.size() => {
            let root = signed.map_or(String::new(), |(_, root)| root.to_string());
            report.say(Standing::Good, "verify-tree", &[("n", size.to_string()), ("root", root)]);
        }
        (0, size) => {
            let facts = [("n", tree.size().to_string()), ("signed", size.unwrap_or(0).to_string())];
            match size {
                Some(_) if written => report.say(Standing::Note, "verify-unsigned-yet", &facts),
                Some(_) => report.bad("verify-unsigned-end", &facts, Vec::new()),
                None => report.bad("verify-unsigned", &facts, Vec::new()),
            }
        }
        _ => report.faults("verify-tree", "verify-tree-bad", &count, differing),
    }
    (size, wrong)
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
