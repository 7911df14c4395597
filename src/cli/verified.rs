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
use super::signatures::Signatures;
use crate::budget::reason::{Reason, Remark};
use crate::consolidator::operator_fault;
use crate::consolidator::verify::verify;
use crate::ledger::checkpoint::PublicKey;
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
    // Nothing can be folded that doesn't begin at the beginning.
    let verified = match survey.first {
        0 | 1 => {
            let bar = progress(tree.size(), "{bar:30} {pos}/{len}");
            let verified = verify(&journal, &|position| bar.set_position(position)).map_err(Failure::Refused)?;
            bar.finish_and_clear();
            Some(verified)
        }
        _ => None,
    };
    // The last group of a mirror that is being written has its checkpoint with the next one.
    let written = path.is_dir();
    let given_up = verified.as_ref().map_or(&[][..], |verified| &verified.given_up);
    let signatures = Signatures::of(&notes, keys, (&tree, given_up));
    let (signed, wrong) = (signatures.through(), signatures.first_bad());
    signatures.tell(&mut report, (tree.size(), written));

    // Of a file that was cut, and of one whose end nobody has signed, the first that is missing or unsigned is bad.
    let through = signed.unwrap_or(0);
    let unsigned = through < tree.size() && !(written && through > 0);
    let cut = (!survey.complete || unsigned).then_some(through + 1);
    let mut first_bad = survey.flaw.as_ref().map(|flaw| flaw.position).or(cut);
    match verified {
        Some(verified) => {
            first_bad = first_bad.into_iter().chain(verified.first_bad()).min();
            report.facts.push(("rows", verified.rows.to_string()));
            report.verified(verified);
        }
        None => {
            report.say(Standing::Skipped, "verify-begins-late", &[("first", survey.first.to_string())]);
            report.bad("verify-no-beginning", &[], Vec::new());
            first_bad = Some(1);
        }
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
