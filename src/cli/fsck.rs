//! `fsck`: is everything in a store, and in its mirror, as it was written? Without a server, and without changing anything.
//!
//! Each thing that is looked at is one line. The store is locked and copied, and the copy is opened
//! ([`crate::store::inspect`] says why); records are decoded and folded by [`crate::consolidator::verify`]. Nothing is
//! repaired: what to do is said.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::backup::progress;
use super::output::{Answer, Failure, Look, Sheet, Show, alarm, strong};
use super::settings::Settings;
use super::words::say;
use crate::budget::reason::{Reason, Remark};
use crate::consolidator::store_fault;
use crate::consolidator::verify::{Faults, verify};
use crate::store::inspect::{Directory, StoreCopy};
use crate::store::restore::archive_at;
use crate::store::{Journal, JournalError, archive};
use crate::wording::{Language, label, sentence};

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
/// A directory that isn't there or is in use; what is wrong in it is in the answer.
pub fn run(args: &Args, settings: &Settings) -> Result<Answer, Failure> {
    let refused = |error| Failure::Refused(store_fault(error));
    let store = Directory::lock(&args.store).map_err(refused)?;
    let _mirror_lock = args.its_mirror.as_deref().map(Directory::lock).transpose().map_err(refused)?;
    let mut report = Report {
        store: args.store.display().to_string(),
        mirror: args.its_mirror.as_ref().map(|mirror| mirror.display().to_string()),
        lines: Vec::new(),
    };
    report.judge("fsck-format", store.format());
    report.judge("fsck-blobs", store.blobs());
    let half = store.half_snapshots().map_err(refused)?;
    if !half.is_empty() {
        report.say(Standing::Note, "fsck-half-snapshots", &[("n", half.len().to_string())]);
    }
    let scratch = scratch(&args.store, args.scratch.as_deref())?;
    let copy = match store.open_copy_in(&scratch) {
        Ok(copy) => {
            report.say(Standing::Good, "fsck-opens", &[]);
            Some(copy)
        }
        // Not the store's fault: it was not looked at.
        Err(error @ (JournalError::Full { .. } | JournalError::InUse { .. })) => return Err(refused(error)),
        Err(error) => {
            report.bad("fsck-opens-not", &[], vec![opened_not(error)]);
            None
        }
    };
    let head = copy.as_ref().map(|copy| look_at_records(copy, &mut report)).transpose()?;
    if let Some(mirror) = &args.its_mirror {
        compare(mirror, copy.as_ref().map(StoreCopy::journal), head.unwrap_or(0), &mut report)?;
    }
    let code = u8::from(report.bad_lines() > 0);
    Ok(Answer { code, ..settings.answer(&report) })
}

/// What a store that can't be opened is: sled's words are about the copy, the fault is the store's.
fn opened_not(error: JournalError) -> Remark {
    let what = match &error {
        JournalError::OpenFailed { why, .. } => why.clone(),
        other => other.to_string(),
    };
    Remark::new(Reason::JournalDamaged).with("what", what)
}

/// A directory that isn't there yet, beside the store: the same disk, and not perhaps in memory as the system's own is.
fn scratch(store: &Path, asked: Option<&Path>) -> Result<PathBuf, Failure> {
    let io = |source| Failure::Refused(store_fault(JournalError::Io { path: store.to_path_buf(), source }));
    let store = std::path::absolute(store).map_err(io)?;
    let parent = asked.map_or_else(|| store.parent().unwrap_or(&store).to_path_buf(), Path::to_path_buf);
    let name = store.file_name().unwrap_or_default().to_string_lossy();
    Ok(parent.join(format!("{name}.fsck-{}", std::process::id())))
}

/// Head mark, every record, their fold, every digest. Returns the head as far as it is known.
fn look_at_records(copy: &StoreCopy, report: &mut Report) -> Result<u64, Failure> {
    let head = copy.journal().head().map_err(|error| Failure::Refused(store_fault(error)))?;
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
    let verified = verify(copy.journal(), &|position| bar.set_position(position)).map_err(Failure::Refused)?;
    bar.finish_and_clear();
    let events = [("n", verified.events.to_string())];
    report.faults("fsck-records", "fsck-records-bad", &events, verified.unreadable);
    if report.last_is_bad() {
        report.say(Standing::Skipped, "fsck-fold-skipped", &[]);
        return Ok(head);
    }
    match verified.unfolded {
        Some(fault) => report.bad("fsck-fold-bad", &[], vec![fault]),
        None => {
            report.say(Standing::Good, "fsck-fold", &[]);
            let submissions = [("n", verified.submissions.to_string())];
            report.faults("fsck-digests", "fsck-digests-bad", &submissions, verified.digests);
            report.faults("fsck-verdicts", "fsck-verdicts-bad", &submissions, verified.verdicts);
        }
    }
    Ok(head)
}

/// The error of a result, as a fault.
fn fault_of(result: &Result<u64, JournalError>) -> Option<Remark> {
    result.as_ref().err().map(|error| Remark::new(Reason::JournalDamaged).with("what", error))
}

/// The mirror by itself, and record for record against the store.
fn compare(mirror: &Path, store: Option<&dyn Journal>, head: u64, report: &mut Report) -> Result<(), Failure> {
    let refused = |error| Failure::Refused(store_fault(error));
    let path = archive_at(mirror);
    let mut reader = match archive::Reader::open(&path) {
        Ok(reader) => reader,
        Err(error @ JournalError::Io { .. }) => return Err(refused(error)),
        Err(error) => {
            report.bad("fsck-mirror-bad", &[], vec![store_fault(error)]);
            return Ok(());
        }
    };
    let mut differing = Faults::default();
    let mut compared = 0;
    while let Some(entry) = reader.next().map_err(refused)? {
        let archive::Entry::Event { position, bytes } = entry else { continue };
        let Some(store) = store.filter(|_| position <= head) else { continue };
        compared += 1;
        // One that the store can't read was told above.
        if store.read(position).is_ok_and(|stored| stored.as_ref() != Some(&bytes)) {
            let fault = Remark::new(Reason::HistoriesDiffer).with("path", mirror.display());
            differing.add(fault.with("position", position));
        }
    }
    let last = reader.position();
    let events = [("n", last.to_string())];
    let damage = reader.flaw().and_then(|flaw| Some((flaw, flaw.resumed?)));
    match damage {
        Some((flaw, behind)) => {
            let remark = Remark::new(Reason::ArchiveDamaged).with("path", path.display());
            let remark = remark.with("position", flaw.position).with("last", behind.last).with("what", &flaw.what);
            report.bad("fsck-mirror-bad", &[], vec![remark]);
        }
        _ if !reader.is_complete() && last > 0 => report.say(Standing::Note, "fsck-mirror-torn", &events),
        _ => report.say(Standing::Good, "fsck-mirror", &events),
    }
    if store.is_none() {
        report.say(Standing::Skipped, "fsck-mirror-skipped", &[]);
        return Ok(());
    }
    report.faults("fsck-mirror-same", "fsck-mirror-differs", &[("n", compared.to_string())], differing);
    let facts = |more: u64| [("n", more.to_string()), ("head", head.to_string()), ("last", last.to_string())];
    // How far a damaged one got says nothing of how far it was.
    if damage.is_some() {
        return Ok(());
    }
    match last.cmp(&head) {
        std::cmp::Ordering::Equal => {}
        std::cmp::Ordering::Less => report.say(Standing::Note, "fsck-mirror-behind", &facts(head - last)),
        std::cmp::Ordering::Greater => report.bad("fsck-store-behind", &facts(last - head), Vec::new()),
    }
    Ok(())
}

/// How a thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Good,
    /// Worth knowing; the next start deals with it.
    Note,
    Bad,
    /// Couldn't be looked at because of another fault.
    Skipped,
}

impl Standing {
    fn code(self) -> &'static str {
        match self {
            Standing::Good => "good",
            Standing::Note => "note",
            Standing::Bad => "bad",
            Standing::Skipped => "skipped",
        }
    }

    fn sign(self, language: Language) -> &'static str {
        match self {
            Standing::Good => label("fsck-good", language),
            Standing::Note => label("fsck-note", language),
            Standing::Bad => label("fsck-bad", language),
            Standing::Skipped => label("fsck-skipped", language),
        }
    }
}

/// One thing that was looked at.
#[derive(Debug)]
struct Line {
    standing: Standing,
    key: &'static str,
    facts: Vec<(&'static str, String)>,
    faults: Vec<Remark>,
}

impl Line {
    fn text(&self, language: Language) -> String {
        let facts: Vec<(&str, &str)> = self.facts.iter().map(|(key, fact)| (*key, fact.as_str())).collect();
        say(language, self.key, &facts)
    }
}

/// All that was looked at.
#[derive(Debug)]
struct Report {
    store: String,
    mirror: Option<String>,
    lines: Vec<Line>,
}

impl Report {
    fn say(&mut self, standing: Standing, key: &'static str, facts: &[(&'static str, String)]) {
        self.lines.push(Line { standing, key, facts: facts.to_vec(), faults: Vec::new() });
    }

    fn bad(&mut self, key: &'static str, facts: &[(&'static str, String)], faults: Vec<Remark>) {
        self.lines.push(Line { standing: Standing::Bad, key, facts: facts.to_vec(), faults });
    }

    fn judge(&mut self, key: &'static str, result: Result<(), JournalError>) {
        match result {
            Ok(()) => self.say(Standing::Good, key, &[]),
            Err(error) => {
                let bad = if key == "fsck-format" { "fsck-format-bad" } else { "fsck-blobs-bad" };
                self.bad(bad, &[], vec![Remark::new(Reason::JournalDamaged).with("what", error)]);
            }
        }
    }

    fn faults(&mut self, good: &'static str, bad: &'static str, facts: &[(&'static str, String)], faults: Faults) {
        if faults.count == 0 {
            self.say(Standing::Good, good, facts);
        } else {
            let facts = [facts, &[("bad", faults.count.to_string())]].concat();
            self.bad(bad, &facts, faults.first);
        }
    }

    fn last_is_bad(&self) -> bool {
        self.lines.last().is_some_and(|line| line.standing == Standing::Bad)
    }

    fn bad_lines(&self) -> usize {
        self.lines.iter().filter(|line| line.standing == Standing::Bad).count()
    }
}

impl Show for Report {
    fn text(&self, look: &Look) -> String {
        let language = look.language;
        let title = match &self.mirror {
            None => say(language, "fsck-title", &[("store", &self.store)]),
            Some(mirror) => say(language, "fsck-title-mirror", &[("store", &self.store), ("mirror", mirror)]),
        };
        let mut out = format!("{}\n", strong(&title));
        for line in &self.lines {
            let mark = |text: String| if line.standing == Standing::Bad { alarm(&text) } else { text };
            out.push_str(&mark(format!("  [{}] {}", line.standing.sign(language), line.text(language))));
            out.push('\n');
            for fault in &line.faults {
                out.push_str(&format!("      {} ({})\n", sentence(fault, language), fault.reason));
            }
        }
        let bad = self.bad_lines();
        let end = match (bad, self.mirror.is_some()) {
            (0, _) => "fsck-end-good",
            (_, true) => "fsck-end-bad-mirror",
            (_, false) => "fsck-end-bad",
        };
        let facts = [("n", bad.to_string()), ("store", self.store.clone())];
        let facts = facts.each_ref().map(|(key, fact)| (*key, fact.as_str()));
        out.push_str(&format!("{}\n", say(language, end, &facts)));
        out
    }

    fn json(&self) -> Value {
        let fault = |fault: &Remark| Failure::Refused(fault.clone()).json(Language::English);
        let line = |line: &Line| {
            json!({
                "check": line.key,
                "standing": line.standing.code(),
                "facts": line.facts.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
                "sentence": line.text(Language::English),
                "faults": line.faults.iter().map(fault).collect::<Vec<_>>(),
            })
        };
        json!({
            "store": self.store,
            "mirror": self.mirror,
            "bad": self.bad_lines(),
            "checks": self.lines.iter().map(line).collect::<Vec<_>>(),
        })
    }

    fn sheet(&self) -> Sheet {
        let row = |line: &Line| {
            let position = line.faults.first().and_then(|fault| fault.fact("position")).unwrap_or("");
            [line.key, line.standing.code(), position, &line.text(Language::English)].map(str::to_owned).to_vec()
        };
        let columns = vec!["check", "standing", "first_position", "sentence"];
        Sheet { columns, rows: self.lines.iter().map(row).collect() }
    }
}
