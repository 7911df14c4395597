//! Recomputing what a journal says, from its records alone: what `fsck` and `audit verify` ask.
//!
//! Changes nothing and trusts nothing. Each record is decoded; the whole is folded in order, and before an event of a
//! filing is folded in, the filing is judged again on the state as it was then: ceilings, version, what it was judged on.
//! Digest, control total, shape and the verdicts of the rules need no state but that: they are worked out on threads
//! beside. What an event says otherwise is a fault, with its position.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use super::past::Past;
use super::record::Record;
use super::{JudgedFiling, saved_state, store_fault, stored};
use crate::budget::digest::Digest;
use crate::budget::finding::Finding;
use crate::budget::form_set::FormSet;
use crate::budget::intake::{FINDINGS_MAX, Reading, Unkept, read_again};
use crate::budget::money::Money;
use crate::budget::reason::{Reason, Remark};
use crate::budget::rule::{Checked, RuleFinding};
use crate::budget::submission::Submission;
use crate::ledger::actor::Actor;
use crate::ledger::checks::{Ahead, Grounds};
use crate::ledger::decide::{
    AdjustmentOrder, Filing, Judged, aggregate_leads_to, decided_so, figures_follow, issue_follows, judge, leads_to,
    seals_what_counts,
};
use crate::ledger::event::{Adjustment, Envelope, Event, Justified, Timestamp};
use crate::ledger::review::Aggregate;
use crate::ledger::state::{FormSetVersions, State, Version};
use crate::ledger::{Position, checkpoint, checks};
use crate::store::{Journal, ReplacedFile};

/// The most faults of one kind that are told one by one.
pub const FAULTS_TOLD_MAX: usize = 20;

/// How many filings wait for the threads that work them out: bounds the memory.
const WAITING_MAX: usize = 32;

/// What was found.
#[derive(Debug, Default)]
pub struct Verified {
    /// Events that were looked at.
    pub events: u64,
    /// Records that can't be read or decoded, in order.
    pub unreadable: Faults,
    /// Why the events don't make a state; none if they do, or if some can't be read.
    pub unfolded: Option<Remark>,
    /// Submissions that were worked out again, refused ones included.
    pub submissions: u64,
    /// Their rows.
    pub rows: u64,
    /// Control figures that they were held against.
    pub judged: u64,
    /// Refused submissions with findings about their shape that can't be worked out again: what found no place is not
    /// among the cells.
    pub shape_untold: u64,
    /// Submissions whose cells don't have the digest that was journalled.
    pub digests: Faults,
    /// Submissions whose counts, totals or versions are others than was journalled; issues and unit trees too.
    pub figures: Faults,
    /// Submissions whose rules come out otherwise than was journalled.
    pub verdicts: Faults,
    /// Submissions that stand otherwise against their control figures.
    pub ceilings: Faults,
    /// Submissions of whose shape or ceilings something else is found.
    pub findings: Faults,
    /// Where what had been signed was given up, in order.
    pub given_up: Vec<GivenUp>,
    /// What was found of the saved state; none if a start would use none, or if the events before it don't make a state.
    pub saved_state: Option<SavedState>,
}

/// A saved state, held against the fold of the events up to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedState {
    /// Its position.
    pub position: Position,
    /// Whether it is that fold.
    pub same: bool,
}

/// An event by which the store's owner went on without records that had been signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenUp {
    /// Its position: the first that was given up.
    pub position: Position,
    /// When.
    pub time: Timestamp,
    /// By whom.
    pub actor: Actor,
    /// How many had been signed; 0 if its checkpoint can't be read.
    pub signed: u64,
    /// The root that was signed for so many.
    pub root: Digest,
}

impl GivenUp {
    /// How many records were given up.
    pub fn count(&self) -> u64 {
        self.signed.saturating_add(1).saturating_sub(self.position)
    }
}

/// Faults of one kind: their number, and the first of them.
#[derive(Debug, Default)]
pub struct Faults {
    /// How many.
    pub count: u64,
    /// The first, at most [`FAULTS_TOLD_MAX`].
    pub first: Vec<Remark>,
}

impl Faults {
    /// One more.
    pub fn add(&mut self, fault: Remark) {
        self.count += 1;
        if self.first.len() < FAULTS_TOLD_MAX {
            self.first.push(fault);
        }
    }
}

impl Verified {
    /// The first position at which something is wrong; none if nothing is.
    pub fn first_bad(&self) -> Option<Position> {
        let kinds = [&self.unreadable, &self.digests, &self.figures, &self.verdicts, &self.ceilings, &self.findings];
        let faults = kinds.into_iter().flat_map(|faults| faults.first.first()).chain(&self.unfolded);
        faults.filter_map(|fault| fault.fact("position")?.parse().ok()).min()
    }
}

/// What is on its way to the threads beside.
enum Job {
    Filed(Box<Filed>),
    /// What was said about findings of a filing of before.
    Justified(Position, Justified, FormSetVersions),
}

/// A filing.
struct Filed {
    envelope: Envelope,
    form: Arc<FormSet>,
    forms: FormSetVersions,
    submission: Arc<Submission>,
    judged: Result<Judged, Remark>,
}

/// What is wrong with one filing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wrong {
    Digest,
    Figures,
    Verdicts,
    Ceilings,
    Findings,
}

/// What the threads beside found, in no order.
#[derive(Default)]
struct Found {
    wrong: Vec<(Position, Wrong, Remark)>,
    shape_untold: u64,
}

impl Found {
    fn add(&mut self, position: Position, wrong: Wrong, what: &str) {
        self.wrong.push((position, wrong, otherwise(position, what)));
    }
}

fn damaged(position: Position, what: &str) -> Remark {
    Remark::new(Reason::JournalDamaged).with("position", position).with("what", what)
}

fn otherwise(position: Position, what: &str) -> Remark {
    Remark::new(Reason::RecordSaysOtherwise).with("position", position).with("what", what)
}

/// Looks at every record up to the journal's head. `progress` is told each position.
///
/// # Errors
/// If the journal can't even say where its head is.
pub fn verify(journal: &dyn Journal, progress: &dyn Fn(Position)) -> Result<Verified, Remark> {
    verify_from(journal, None, progress)
}

/// The same of a store, with the state that is saved in it: its journal, and the file.
///
/// # Errors
/// As [`verify`].
pub fn verify_store(
    journal: &dyn Journal,
    saved: &ReplacedFile,
    progress: &dyn Fn(Position),
) -> Result<Verified, Remark> {
    // Its digest is enough: two whole states need not be in memory at once.
    verify_from(journal, saved_state::beginning(saved, journal), progress)
}

fn verify_from(
    journal: &dyn Journal,
    saved: Option<(Position, Digest)>,
    progress: &dyn Fn(Position),
) -> Result<Verified, Remark> {
    let head = journal.head().map_err(store_fault)?;
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let (jobs, waiting) = sync_channel::<Job>(WAITING_MAX);
    // The threads alone hold the end where they wait: should all of them end early, nobody is left to wait for them.
    let (waiting, found) = (Arc::new(Mutex::new(waiting)), Mutex::new(Found::default()));
    let mut verified = std::thread::scope(|scope| {
        for _ in 0..threads {
            let (waiting, found) = (waiting.clone(), &found);
            scope.spawn(move || work_out_all(journal, &waiting, found));
        }
        drop(waiting);
        fold_all(journal, head, (jobs, &found), saved, progress)
    });
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.wrong.sort_by_key(|(position, wrong, _)| (*position, *wrong));
    verified.shape_untold = found.shape_untold;
    for (_, wrong, fault) in found.wrong {
        match wrong {
            Wrong::Digest => verified.digests.add(fault),
            Wrong::Figures => verified.figures.add(fault),
            Wrong::Verdicts => verified.verdicts.add(fault),
            Wrong::Ceilings => verified.ceilings.add(fault),
            Wrong::Findings => verified.findings.add(fault),
        }
    }
    Ok(verified)
}

/// Decodes and folds in order, and hands the filings on.
fn fold_all(
    journal: &dyn Journal,
    head: Position,
    (jobs, found): (SyncSender<Job>, &Mutex<Found>),
    saved: Option<(Position, Digest)>,
    progress: &dyn Fn(Position),
) -> Verified {
    let mut verified = Verified::default();
    let mut state = State::default();
    for position in 1..=head {
        verified.events += 1;
        progress(position);
        let record = stored(journal, position).and_then(|bytes| Record::decode(position, &bytes));
        match record {
            Err(fault) => verified.unreadable.add(fault),
            // Behind a gap nothing follows from anything; but whether it can be read is still said.
            Ok(_) if verified.unreadable.count > 0 || verified.unfolded.is_some() => {}
            Ok(record) => {
                if let Err(fault) = fold_one(journal, &mut state, &record, (&jobs, found), &mut verified) {
                    verified.unfolded = Some(fault);
                } else if let Some((_, digest)) = saved.filter(|(at, _)| *at == position) {
                    let same = saved_state::digest(&state) == digest;
                    verified.saved_state = Some(SavedState { position, same });
                }
            }
        }
    }
    verified
}

fn fold_one(
    journal: &dyn Journal,
    state: &mut State,
    record: &Record,
    (jobs, found): (&SyncSender<Job>, &Mutex<Found>),
    verified: &mut Verified,
) -> Result<(), Remark> {
    let envelope = &record.envelope;
    let position = envelope.position;
    let mut past = Past::new(journal, state);
    if let Some(attempt) = envelope.event.attempt() {
        let form = state.form_set_version(&attempt.form_set.digest);
        let form = form.ok_or_else(|| damaged(position, "form set"))?.clone();
        verified.submissions += 1;
        verified.judged += attempt.judgements.len() as u64;
        match record.submission(&form).map(Arc::new) {
            // The fold may need those cells as well, and says so then.
            Err(fault) => {
                let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                found.wrong.push((position, Wrong::Digest, fault));
            }
            Ok(submission) => {
                verified.rows += submission.row_count() as u64;
                past.hold(position, submission.clone());
                let judged = judge_again(state, envelope, &form, &submission, &past);
                let (envelope, forms) = (envelope.clone(), state.form_set_versions());
                // The threads end only after this one.
                let _ = jobs.send(Job::Filed(Box::new(Filed { envelope, form, forms, submission, judged })));
            }
        }
    }
    if let Event::Justified(justified) = &envelope.event {
        let _ = jobs.send(Job::Justified(position, justified.clone(), state.form_set_versions()));
    }
    if let Event::TailGivenUp(given_up) = &envelope.event {
        let signed = checkpoint::unverified(&given_up.checkpoint);
        let (signed, root) = signed.map_or_else(|_| Default::default(), |signed| (signed.size, signed.root));
        let (time, actor) = (envelope.time, envelope.actor.clone());
        verified.given_up.push(GivenUp { position, time, actor, signed, root });
    }
    if let Some(what) = strays(state, envelope, &past) {
        // Among what the threads find: all of it is told in order.
        found.lock().unwrap_or_else(PoisonError::into_inner).add(position, Wrong::Figures, what);
    }
    state.apply(envelope, &past)
}

/// What of an event that is no filing doesn't follow from the state before it, if anything: whether it counts on from the one
/// before, where a step of review led to and which reviewed figures it was about, whether such figures could be set, what an
/// aggregate seals, what an issue of ceilings replaced and left behind; and whether it would be decided so again. What people
/// said and chose can't be worked out.
fn strays(state: &State, envelope: &Envelope, past: &Past<'_>) -> Option<&'static str> {
    let round = |year, round| state.round(year, round).map_or(0, |found| found.version) + 1;
    let (follows, what) = match &envelope.event {
        Event::RoundOpened(opened) => (opened.version == round(opened.year, opened.round), "version"),
        Event::RoundClosed(closed) => (closed.version == round(closed.year, closed.round), "version"),
        Event::Forwarded(forwarded) => (seals_what_counts(state, forwarded), "sealed"),
        Event::ControlIssued(issued) => (issue_follows(state, issued, past), "issue"),
        Event::UnitsImported(imported) => {
            (imported.version == state.tree(imported.year).map_or(0, |tree| tree.version) + 1, "version")
        }
        Event::VersionMoved(moved) => {
            let version = state.filings(&moved.slot).and_then(|filings| filings.version(moved.version));
            let leads =
                |version: &Version| (version.state(), leads_to(moved.step, version)) == (moved.from, Some(moved.to));
            let figures = |version: &Version| version.remarks.figures_position() == moved.reviewed;
            (version.is_some_and(|version| leads(version) && figures(version)), "step")
        }
        Event::FiguresReviewed(reviewed) => {
            (figures_follow(state, &envelope.actor, reviewed, past), "reviewed figures")
        }
        Event::AggregateMoved(moved) => {
            let last = state.aggregate(&moved.department, moved.year, moved.round);
            let from = last.filter(|last| last.version == moved.version).map(Aggregate::state);
            let leads = (from, aggregate_leads_to(moved.step, moved.from)) == (Some(moved.from), Some(moved.to));
            (leads, "step")
        }
        Event::FormSetPublished(published) => (envelope.fingerprint == published.form_set.digest, "fingerprint"),
        Event::Looked(looked) => (envelope.fingerprint == Digest::of(looked.method.as_bytes()), "fingerprint"),
        Event::TailGivenUp(given_up) => {
            let signed = checkpoint::unverified(&given_up.checkpoint);
            let is_lost = signed.is_ok_and(|signed| signed.size >= envelope.position);
            (is_lost && envelope.fingerprint == Digest::of(given_up.checkpoint.as_bytes()), "given up")
        }
        _ => (true, ""),
    };
    if !follows {
        return Some(what);
    }
    (!decided_so(state, envelope, past)).then_some("refused")
}

/// Whether each finding that is explained is one that failed there. What can't be read is said elsewhere.
fn was_found(justified: &Justified, past: &Past<'_>) -> bool {
    let Ok(Some(JudgedFiling { form, checked, .. })) = past.judged(justified.position) else { return true };
    justified.items.iter().all(|item| {
        let is_meant = |finding: &&RuleFinding| finding.rule == item.rule && finding.place == item.place;
        let mut meant = checked.findings.iter().filter(|finding| finding.failed()).filter(is_meant);
        meant.any(|finding| form.rules.fingerprint(finding) == item.fingerprint)
    })
}

/// What the state of then makes of a filing: everything but its shape and its rules.
fn judge_again(
    state: &State,
    envelope: &Envelope,
    form: &FormSet,
    submission: &Arc<Submission>,
    past: &Past<'_>,
) -> Result<Judged, Remark> {
    let reading = Reading {
        submission: submission.clone(),
        findings: Vec::new(),
        digest: Digest::default(),
        control_total: Money::ZERO,
        row_count: 0,
    };
    let adjustment = adjustment(&envelope.event);
    // On the same grounds no rule is run here: that is for the threads beside. But an addition is refused for what its rules
    // found and nobody had explained by then.
    let adds = adjustment.is_some_and(|adjustment| adjustment.raised.is_some());
    let grounds = Grounds::of(state, &submission.header, form);
    let ahead = (!adds).then(|| Ahead { grounds, checked: Arc::new(Checked::default()) });
    let adjustment = adjustment.map(AdjustmentOrder::of);
    let filing = Filing { reading: Arc::new(reading), version: None, ahead, adjustment };
    judge(state, &envelope.actor, &filing, envelope.time, past)
}

fn adjustment(event: &Event) -> Option<&Adjustment> {
    match event {
        Event::Submitted(submitted) => submitted.adjustment.as_ref(),
        Event::Refused(refused) => refused.adjustment.as_ref(),
        _ => None,
    }
}

/// A thread beside: ends when there are no filings any more.
fn work_out_all(journal: &dyn Journal, waiting: &Mutex<Receiver<Job>>, found: &Mutex<Found>) {
    loop {
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        let lock = || found.lock().unwrap_or_else(PoisonError::into_inner);
        match job {
            Job::Filed(filed) => {
                let (wrong, shape_untold) = work_out(journal, *filed);
                let mut found = lock();
                found.wrong.extend(wrong);
                found.shape_untold += u64::from(shape_untold);
            }
            Job::Justified(position, justified, forms) => {
                if !was_found(&justified, &Past::of(journal, forms)) {
                    lock().add(position, Wrong::Figures, "justified");
                }
            }
        }
    }
}

/// Works one filing out again. Also says whether its shape can't be.
fn work_out(journal: &dyn Journal, filed: Filed) -> (Vec<(Position, Wrong, Remark)>, bool) {
    let Filed { envelope, form, forms, submission, judged } = filed;
    let position = envelope.position;
    let mut wrong = Vec::new();
    let mut add = |kind, what: &str| wrong.push((position, kind, otherwise(position, what)));
    let Some(attempt) = envelope.event.attempt() else { return (wrong, false) };
    let past = Past::of(journal, forms.clone());
    // On what it was to be judged on then; what the record says of that may lead anywhere.
    let judged = judged.and_then(|judged| {
        let checked = checks::judge(&forms, &submission, &judged.grounds, &past)?;
        Ok((judged, checked))
    });
    // Nobody else needs the cells any more.
    let again = read_again(submission, &form);
    if again.digest != attempt.digest {
        add(Wrong::Digest, "digest");
    }
    let Ok((judged, checked)) = judged else {
        // What is refused now could not have been recorded then.
        add(Wrong::Findings, "refused");
        return (wrong, false);
    };
    if !attempt.verdicts.are_of(&checked) {
        add(Wrong::Verdicts, "verdicts");
    }
    if judged.grounds != attempt.verdicts.grounds {
        add(Wrong::Verdicts, "grounds");
    }
    if judged.judgements != attempt.judgements || judged.control_version != attempt.control_version {
        add(Wrong::Ceilings, "judgements");
    }
    let taken = match &envelope.event {
        Event::Submitted(submitted) => Some(submitted.version),
        _ => None,
    };
    if taken.is_some_and(|version| version != judged.version) {
        add(Wrong::Figures, "version");
    }
    if judged.adjustment.as_ref() != adjustment(&envelope.event) {
        add(Wrong::Figures, "adjustment");
    }
    // A refused filing may have had rows that found no place. Those were counted, and what was found in them stands as recorded.
    let unkept = Unkept::of(&attempt.findings, &form);
    let rows = match unkept.rows() {
        Some(unkept) => again.row_count.checked_add(unkept) == Some(attempt.row_count),
        None => attempt.row_count >= again.row_count,
    };
    if again.control_total != attempt.control_total || !rows {
        add(Wrong::Figures, "control total");
    }
    // What ceilings and the round have to say follows from what was kept.
    let told = |finding: &&Finding| !unkept.has(finding) || judged.findings.contains(finding);
    let meant: Vec<&Finding> = again.findings.iter().filter(told).chain(&judged.findings).collect();
    let found: Vec<&Finding> = attempt.findings.iter().filter(told).collect();
    let untold = found.len() < attempt.findings.len();
    let is_full = |refusing| attempt.findings.iter().filter(|f| f.refuses() == refusing).count() >= FINDINGS_MAX;
    if ![true, false].into_iter().all(|refusing| same(&meant, &found, (refusing, is_full(refusing)))) {
        add(Wrong::Findings, "findings");
    }
    let refused = untold || meant.iter().any(|finding| finding.refuses()) || checked.refuses();
    if refused == taken.is_some() {
        add(Wrong::Verdicts, "outcome");
    }
    if untold || again.is_refused() {
        // What its sender sealed is not kept, and for what can't be read it is a part of what the request said.
        return (wrong, untold);
    }
    // What the request said; whether its sender gave it the digest of its content is not kept.
    let order = adjustment(&envelope.event).map(AdjustmentOrder::of);
    let said = |sealed| Digest::of(&super::said((again.digest, sealed), &again.submission, &form, order.as_ref()));
    if ![said(Some(again.digest)), said(None)].contains(&envelope.fingerprint) {
        add(Wrong::Digest, "fingerprint");
    }
    (wrong, false)
}

/// Whether the same was found, of what refuses or of the rest; rows may have stood in another order when they were filed. Of a
/// list that is full all must be found again, unless what is found again fills a list too.
fn same(meant: &[&Finding], found: &[&Finding], (refusing, is_full): (bool, bool)) -> bool {
    let of = |finding: &&&Finding| finding.refuses() == refusing;
    let key = |finding: &&Finding| {
        let place = &finding.place;
        let cell = (place.table.clone(), place.row.clone(), place.column.clone());
        (cell, finding.strength, finding.remark.to_string())
    };
    let sorted = |mut keys: Vec<_>| {
        keys.sort();
        keys
    };
    let (meant, found) =
        (sorted(meant.iter().filter(of).map(key).collect()), sorted(found.iter().filter(of).map(key).collect()));
    if !is_full {
        return meant == found;
    }
    let mut left = meant.iter();
    // Beyond so many none was noted.
    meant.len() >= FINDINGS_MAX || found.iter().all(|one| left.any(|other| other == one))
}
