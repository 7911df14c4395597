//! `fsck`: is everything in a store, and in its mirror, as it was written? Without a server, and without changing anything.
//!
//! Each thing that is looked at is one line. The store is locked and copied, and the copy is opened
//! ([`crate::store::inspect`] says why); records are decoded and folded by [`crate::consolidator::verify`]. Nothing is
//! repaired: what to do is said.

use std::path::{Path, PathBuf};

use super::backup::progress;
use super::output::{Answer, Failure};
use super::report::{Report, Standing};
use super::settings::Settings;
use crate::budget::reason::{Reason, Remark};
use crate::consolidator::verify::{Faults, verify_store};
use crate::consolidator::{SAVED_STATE_FILE, operator_fault};
use crate::store::inspect::{Directory, StoreCopy};
use crate::store::places::{Misnamed, refuse_misnamed};
use crate::store::restore::archive_at;
use crate::store::{Journal, JournalError, ReplacedFile, archive};

/// What `fsck` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[arg(long = "data", value_name = "DIR")]
    pub(super) store: PathBuf,
    #[arg(long = "mirror", value_name = "DIR")]
    pub(super) its_mirror: Option<PathBuf>,
    #[arg(long, value_name = "DIR")]
    pub(super) scratch: Option<PathBuf>,
}

/// Runs `fsck`.
///
/// # Errors
/// A directory that isn't there, is no store or is in use, and a disk that doesn't let it be looked at; what is wrong in
/// a store is in the answer.
pub fn run(args: &Args, settings: &Settings) -> Result<Answer, Failure> {
    let refused = |error| Failure::Refused(operator_fault(error));
    refuse_misnamed(&args.store, args.its_mirror.as_deref()).map_err(refused)?;
    let store = Directory::lock(&args.store).map_err(refused)?;
    let _mirror_lock = args.its_mirror.as_deref().map(Directory::lock).transpose().map_err(refused)?;
    let mut facts = vec![("store", args.store.display().to_string())];
    facts.extend(args.its_mirror.iter().map(|mirror| ("mirror", mirror.display().to_string())));
    let [title, bad] = match args.its_mirror {
        None => ["fsck-title", "fsck-end-bad"],
        Some(_) => ["fsck-title-mirror", "fsck-end-bad-mirror"],
    };
    let mut report = Report { title, ends: ["fsck-end-good", bad], facts, lines: Vec::new() };
    judge(&mut report, ["fsck-format", "fsck-format-bad"], store.format())?;
    judge(&mut report, ["fsck-blobs", "fsck-blobs-bad"], store.blobs())?;
    let half = store.half_snapshots().map_err(refused)?;
    if !half.is_empty() {
        report.say(Standing::Note, "fsck-half-snapshots", &[("n", half.len().to_string())]);
    }
    let scratch = scratch(&args.store, args.scratch.as_deref())?;
    let (opened, copy) = match store.open_copy_in(&scratch) {
        Ok(copy) => (Ok(()), Some(copy)),
        Err(error) => (Err(error), None),
    };
    judge(&mut report, ["fsck-opens", "fsck-opens-not"], opened)?;
    let saved = ReplacedFile::new(&args.store, SAVED_STATE_FILE);
    let head = copy.as_ref().map(|copy| look_at_records(copy, &saved, &mut report)).transpose()?;
    if let Some(mirror) = &args.its_mirror {
        compare(mirror, copy.as_ref().map(StoreCopy::journal), head.unwrap_or(0), &mut report)?;
    }
    let code = u8::from(report.bad_lines() > 0);
    Ok(Answer { code, ..settings.answer(&report) })
}

/// A directory that isn't there yet, beside the store: the same disk, and not perhaps in memory as the system's own is.
fn scratch(store: &Path, asked: Option<&Path>) -> Result<PathBuf, Failure> {
    let io = |source| Failure::Refused(operator_fault(JournalError::Io { path: store.to_path_buf(), source }));
    let store = std::path::absolute(store).map_err(io)?;
    let parent = asked.map_or_else(|| store.parent().unwrap_or(&store).to_path_buf(), Path::to_path_buf);
    let name = store.file_name().unwrap_or_default().to_string_lossy();
    Ok(parent.join(format!("{name}.fsck-{}", std::process::id())))
}

/// Head mark, every record, their fold, every digest, and the saved state. Returns the head as far as it is known.
fn look_at_records(copy: &StoreCopy, saved: &ReplacedFile, report: &mut Report) -> Result<u64, Failure> {
    let head = copy.journal().head().map_err(|error| Failure::Refused(operator_fault(error)))?;
    match (&copy.mark, &copy.last) {
        (Ok(mark), Ok(last)) if mark == last => report.say(Standing::Good, "fsck-head", &[("head", mark.to_string())]),
        (Ok(mark), Ok(last)) => {
            let facts = [("mark", mark.to_string()), ("last", last.to_string())];
            report.bad("fsck-head-differs", &facts, Vec::new());
        }
        (mark, last) => {
            let faults = [mark, last].into_iter().filter_map(fault_of);
            report.bad("fsck-head-unreadable", &[], faults.collect());
        }
    }
    let acknowledged = copy.journal().acknowledged();
    if acknowledged > head {
        let facts = [("head", head.to_string()), ("acknowledged", acknowledged.to_string())];
        report.bad("fsck-tail-lost", &facts, Vec::new());
    }
    let bar = progress(head, "{bar:30} {pos}/{len}");
    let verified = verify_store(copy.journal(), saved, &|position| bar.set_position(position));
    let verified = verified.map_err(Failure::Refused)?;
    bar.finish_and_clear();
    report.verified(verified);
    Ok(head)
}

/// The error of a result, as a fault.
fn fault_of(result: &Result<u64, JournalError>) -> Option<Remark> {
    let what = |error: &JournalError| match error {
        // What to do is said at the end, once.
        JournalError::Damaged { what, .. } => what.clone(),
        other => other.to_string(),
    };
    result.as_ref().err().map(|error| Remark::new(Reason::JournalDamaged).with("what", what(error)))
}

/// The mirror by itself, and record for record against the store.
fn compare(mirror: &Path, store: Option<&dyn Journal>, head: u64, report: &mut Report) -> Result<(), Failure> {
    let refused = |error| Failure::Refused(operator_fault(error));
    let path = archive_at(mirror);
    let mut reader = match archive::Reader::open(&path) {
        Ok(reader) => reader,
        Err(error @ JournalError::NotAnArchive { .. }) => {
            report.bad("fsck-mirror-bad", &[], vec![operator_fault(error)]);
            return Ok(());
        }
        Err(error) => return Err(refused(error)),
    };
    let mut differing = Faults::default();
    let (mut compared, mut of_batch, mut differ_in_batch) = (0, 0, Vec::new());
    while let Some(entry) = reader.next().map_err(refused)? {
        let (position, bytes) = match entry {
            archive::Entry::Event { position, bytes } => (position, bytes),
            archive::Entry::Checkpoint { .. } => continue,
            // Only what a mark completes counts: a start cuts off the rest, and the store may have others in its place.
            archive::Entry::Mark { .. } => {
                compared += std::mem::take(&mut of_batch);
                for position in differ_in_batch.drain(..) {
                    let fault = Remark::new(Reason::HistoriesDiffer).with("path", mirror.display());
                    differing.add(fault.with("position", position));
                }
                continue;
            }
        };
        let Some(store) = store.filter(|_| position <= head) else { continue };
        of_batch += 1;
        // One that the store can't read was told above.
        if store.read(position).is_ok_and(|stored| stored.as_ref() != Some(&bytes)) {
            differ_in_batch.push(position);
        }
    }
    // As a start and a restore see it: neither takes one that begins later.
    if reader.first() > 1 || (reader.first() == 0 && reader.marked() > 0) {
        let first = reader.first();
        let fault = operator_fault(JournalError::BeginsLate { path, first });
        report.bad("fsck-mirror-late", &[], vec![fault]);
        return Ok(());
    }
    let last = reader.marked();
    let has_tail = reader.offset() != reader.marked_end() || reader.flaw().is_some();
    let events = [("n", last.to_string())];
    let damage = reader.flaw().and_then(|flaw| Some((flaw, flaw.resumed?)));
    match damage {
        Some((flaw, behind)) => {
            let remark = Remark::new(Reason::ArchiveDamaged).with("path", path.display());
            let remark = remark.with("position", flaw.position).with("last", behind.last).with("what", &flaw.what);
            report.bad("fsck-mirror-bad", &[], vec![remark]);
        }
        _ if has_tail => report.say(Standing::Note, "fsck-mirror-torn", &events),
        _ => report.say(Standing::Good, "fsck-mirror", &events),
    }
    if store.is_none() {
        report.say(Standing::Skipped, "fsck-mirror-skipped", &[]);
        return Ok(());
    }
    let differs = differing.count > 0;
    report.faults("fsck-mirror-same", "fsck-mirror-differs", &[("n", compared.to_string())], differing);
    let facts = |more: u64| [("n", more.to_string()), ("head", head.to_string()), ("last", last.to_string())];
    // How far a damaged one got says nothing of how far it was; and no start brings two histories together.
    if damage.is_some() || differs {
        return Ok(());
    }
    match last.cmp(&head) {
        std::cmp::Ordering::Equal => {}
        std::cmp::Ordering::Less => report.say(Standing::Note, "fsck-mirror-behind", &facts(head - last)),
        // No start fills an empty store: that is a restore's business, and the refusal says how.
        std::cmp::Ordering::Greater if head == 0 => {
            let fault = JournalError::StoreEmpty { mirror: mirror.to_path_buf(), events: last };
            report.bad("fsck-store-empty", &facts(last), vec![operator_fault(fault)]);
        }
        std::cmp::Ordering::Greater => report.bad("fsck-store-behind", &facts(last - head), Vec::new()),
    }
    Ok(())
}

/// One thing about the store as a line. Only what is wrong with the store itself is judged; what kept it from being
/// looked at is refused.
fn judge(report: &mut Report, [good, bad]: [&'static str; 2], result: Result<(), JournalError>) -> Result<(), Failure> {
    match result {
        Ok(()) => report.say(Standing::Good, good, &[]),
        Err(
            error @ (JournalError::OpenFailed { .. }
            | JournalError::Damaged { .. }
            | JournalError::BlobsPresent { .. }
            | JournalError::WrongDirectory { problem: Misnamed::NoFormat | Misnamed::UnknownFormat, .. }),
        ) => report.bad(bad, &[], vec![operator_fault(error)]),
        Err(error) => return Err(Failure::Refused(operator_fault(error))),
    }
    Ok(())
}
