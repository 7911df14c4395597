//! The state: what the journal adds up to. A value: a clone costs nothing and never changes.
//!
//! The writer folds into a clone and publishes it when the batch is durable, so readers share no lock with it
//! and a failed batch is simply dropped. Cells of past submissions are not in here, only their positions.

use std::sync::Arc;

use compact_str::CompactString;
use imbl::{OrdMap, Vector};

use super::actor::{Actor, Operation};
use super::control::{ControlBook, ControlChange};
use super::event::{
    AggregateMoved, ControlIssued, Envelope, Event, FiguresReviewed, Forwarded, IdempotencyKey, Submitted, Timestamp,
    VersionMoved,
};
use super::review::{Aggregate, AggregateState, Remarks, Step, VersionState};
use super::round::RoundState;
use super::{Contents, Position};
use crate::budget::cell::{Cell, CellAddress};
use crate::budget::control_figure::ControlFigure;
use crate::budget::digest::Digest;
use crate::budget::form_set::FormSet;
use crate::budget::money::Money;
use crate::budget::reason::{Reason, Remark};
use crate::budget::roll_up::{Direction, Totals};
use crate::budget::rule::Fingerprint;
use crate::budget::submission::{FiledTable, Kind, Round, Slot, Submission, UnitCode};
use crate::budget::transfer::Transfer;
use crate::budget::unit_tree::{BUREAU, UnitTree};

/// Every version of a form set that ever came into force, by digest.
pub type FormSetVersions = OrdMap<Digest, Arc<FormSet>>;

/// Everything that follows from the journal up to a position.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Position of the last event folded in.
    pub position: Position,
    /// Its time.
    pub time: Timestamp,
    pub(super) form_sets: OrdMap<CompactString, Arc<FormSet>>,
    pub(super) form_set_versions: FormSetVersions,
    pub(super) trees: OrdMap<u16, Arc<UnitTree>>,
    pub(super) controls: OrdMap<(u16, Round), ControlBook>,
    pub(super) rounds: OrdMap<(u16, Round), RoundState>,
    pub(super) slots: OrdMap<Slot, Filings>,
    pub(super) aggregates: OrdMap<(UnitCode, u16, Round), Vector<Aggregate>>,
    pub(super) books: OrdMap<BookKey, Book>,
    pub(super) transfers: OrdMap<(u16, Round, UnitCode), Stated>,
    pub(super) keys: OrdMap<(Actor, Operation, IdempotencyKey), KeyUse>,
    pub(super) history: OrdMap<UnitCode, Vector<Position>>,
}

/// What was filed into one slot.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filings {
    /// The versions taken, oldest first. A list to copy, since a persistent one makes room for 64 from the start.
    pub versions: Arc<Vec<Version>>,
    /// Positions and times of refused attempts.
    pub refused: Vector<(Position, Timestamp)>,
    /// Where findings were justified, oldest first. A justification is of one finding with its figures, whichever
    /// version they are in: so it stays while they do, and needs no expiring.
    pub justified: OrdMap<Fingerprint, Vector<Position>>,
}

/// One version of a submission.
#[derive(Clone, Debug, PartialEq)]
pub struct Version {
    /// 1, 2, 3…
    pub version: u32,
    /// Where its event stands.
    pub position: Position,
    /// When it was taken.
    pub time: Timestamp,
    /// Its digest.
    pub digest: Digest,
    /// The version of the form set that it was filed on.
    pub form_set: Digest,
    /// How many findings it carries, failed rules included.
    pub findings: u32,
    /// The approved version that it changes, if it is an adjustment.
    pub adjusts: Option<u32>,
    /// The states that review brought it into, oldest first. Before the first it is submitted.
    pub steps: Vec<Step<VersionState>>,
    /// Opinions and reviewed figures.
    pub remarks: Remarks,
}

impl Version {
    /// Where it stands.
    pub fn state(&self) -> VersionState {
        self.steps.last().map_or(VersionState::Submitted, |step| step.state)
    }

    /// Where it stood at a position of the journal.
    pub fn state_at(&self, position: Position) -> VersionState {
        let step = self.steps.iter().rev().find(|step| step.position <= position);
        step.map_or(VersionState::Submitted, |step| step.state)
    }

    /// Whether it was approved as it was made (追加): it was never accepted, so nothing leads back to that.
    pub fn approved_at_once(&self) -> bool {
        self.state() == VersionState::Approved && self.steps.len() == 1
    }

    /// What it draws on the ceilings of a cell: what was filed, or what a reviewer set in its place if that is more. What
    /// is approved is the reviewed figure, and the filed one stays free to come back to.
    pub fn drawn(&self, submission: &Submission, form: &FormSet, cell: &CellAddress) -> Money {
        let filed = ControlFigure::filed(submission, form, cell);
        self.remarks.figure(cell).map_or(filed, |amount| filed.max(amount.value))
    }

    /// What an approval of it is of, in a cell: what a reviewer set, or else what was filed.
    pub fn approvable(&self, submission: &Submission, form: &FormSet, cell: &CellAddress) -> Money {
        let filed = || ControlFigure::filed(submission, form, cell);
        self.remarks.figure(cell).map_or_else(filed, |amount| amount.value)
    }

    /// What an approval of it is of, in all cells.
    pub fn as_reviewed(&self, mut submission: Submission, form: &FormSet) -> Submission {
        for (cell, amount) in self.remarks.figures.iter().filter_map(|(cell, set)| Some((cell, set.amount?))) {
            // Only cells that are there can be reviewed.
            let _ = submission.put(form, cell, Cell::Amount(amount));
        }
        submission
    }

    /// Where its last return stands, if it is returned.
    pub fn returned(&self) -> Option<Position> {
        self.steps.last().filter(|step| step.state == VersionState::Returned).map(|step| step.position)
    }
}

impl Filings {
    /// The last version, whether it counts or not.
    pub fn latest(&self) -> Option<&Version> {
        self.versions.last()
    }

    /// The version that says where all of it stands: the last one. What was withdrawn leaves what it had followed: a return
    /// that is still to be answered, or the approved version that it was to change.
    pub fn standing(&self) -> Option<&Version> {
        let latest = self.latest()?;
        if latest.state() != VersionState::Withdrawn {
            return Some(latest);
        }
        self.returned_before(latest).or_else(|| self.counting()).or(Some(latest))
    }

    /// The version whose return a later one answers: the one before it, those left out that had been withdrawn.
    pub fn returned_before(&self, version: &Version) -> Option<&Version> {
        let state = |before: &&Version| before.state_at(version.position);
        let mut before = self.versions.iter().rev().filter(|before| before.version < version.version);
        before.find(|before| state(before) != VersionState::Withdrawn).filter(|b| state(b) == VersionState::Returned)
    }

    /// The version that counts, if one does. A returned or withdrawn one doesn't, and nothing older takes its place;
    /// only behind an adjustment the approved version that it would have changed stays in force.
    pub fn counting(&self) -> Option<&Version> {
        self.counting_at(Position::MAX)
    }

    /// The version that counted at a position of the journal.
    pub fn counting_at(&self, position: Position) -> Option<&Version> {
        let mut version = self.latest_at(position)?;
        while !version.state_at(position).counts() {
            version = self.version(version.adjusts?)?;
        }
        Some(version)
    }

    /// The version of that number.
    pub fn version(&self, version: u32) -> Option<&Version> {
        self.versions.iter().find(|found| found.version == version)
    }

    /// The last version at a position of the journal, whether it counted or not.
    pub fn latest_at(&self, position: Position) -> Option<&Version> {
        self.versions.iter().rev().find(|version| version.position <= position)
    }

    /// The last attempt up to a position, if it came after the last version then and was refused.
    pub fn refused_since(&self, position: Position) -> Option<(Position, Timestamp)> {
        let counted_from = self.latest_at(position).map_or(0, |version| version.position);
        let last = self.refused.iter().rev().find(|(refused, _)| *refused <= position);
        last.copied().filter(|(refused, _)| *refused > counted_from)
    }

    /// Where a finding was last justified, up to a position.
    pub fn justified_at(&self, finding: &Fingerprint, position: Position) -> Option<Position> {
        self.justified.get(finding)?.iter().rev().copied().find(|justified| *justified <= position)
    }
}

/// Sums that belong together: one year and round, under one layout.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BookKey {
    pub(super) year: u16,
    pub(super) round: Round,
    pub(super) layout: Digest,
}

/// The sums of one book: for each node that has others below it.
#[derive(Clone, Debug)]
pub(super) struct Book {
    pub(super) form: Arc<FormSet>,
    pub(super) reported: OrdMap<UnitCode, Arc<Totals>>,
    pub(super) adjusted: OrdMap<UnitCode, Arc<Totals>>,
    pub(super) eliminated: OrdMap<UnitCode, Arc<Totals>>,
}

/// Which sums of a book something is posted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Reported,
    Adjusted,
    Eliminated,
}

/// The internal transfers that a unit's counting submission states.
#[derive(Clone, Debug)]
pub(super) struct Stated {
    pub(super) form: Arc<FormSet>,
    pub(super) transfers: Vec<Transfer>,
}

/// What a key was used for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct KeyUse {
    pub(super) fingerprint: Digest,
    pub(super) position: Position,
}

impl State {
    /// Folds one event in.
    ///
    /// # Errors
    /// `JOURNAL_DAMAGED` if the event doesn't follow on this state, or what it builds on can't be read.
    /// The state is then of no more use: a caller folds into a clone.
    pub fn apply(&mut self, envelope: &Envelope, contents: &dyn Contents) -> Result<(), Remark> {
        let damaged =
            |what: &str| Remark::new(Reason::JournalDamaged).with("position", envelope.position).with("what", what);
        if envelope.position != self.position + 1 {
            return Err(damaged("sequence"));
        }
        if envelope.time < self.time {
            return Err(damaged("time"));
        }
        self.position = envelope.position;
        self.time = envelope.time;
        let key = (envelope.actor.clone(), envelope.event.operation(), envelope.key.clone());
        // A look is never asked for again, so it has no key to remember.
        if !matches!(envelope.event, Event::Looked(_)) {
            self.keys.insert(key, KeyUse { fingerprint: envelope.fingerprint, position: envelope.position });
        }
        match &envelope.event {
            Event::FormSetPublished(published) => {
                let form = match self.form_set_versions.get(&published.form_set.digest) {
                    Some(form) => form.clone(),
                    None => Arc::new(FormSet::load((*published.files).clone()).map_err(|_| damaged("form set"))?),
                };
                if form.digest != published.form_set.digest {
                    return Err(damaged("form set digest"));
                }
                self.form_set_versions.insert(form.digest, form.clone());
                self.form_sets.insert(form.id.clone(), form);
            }
            Event::UnitsImported(imported) => {
                let tree = UnitTree::new(imported.version, imported.nodes.clone()).map_err(|_| damaged("unit tree"))?;
                self.replace_tree(imported.year, Arc::new(tree), contents)?;
            }
            Event::ControlIssued(issued) => self.issued(issued, envelope.position, contents)?,
            Event::Submitted(submitted) => self.submitted(envelope, submitted, contents)?,
            Event::Refused(refused) => {
                let slot = &refused.attempt.slot;
                self.slots.entry(slot.clone()).or_default().refused.push_back((envelope.position, envelope.time));
                self.note(&slot.unit, envelope.position);
            }
            // It is a fact about the journal; no figure follows from it.
            Event::TailGivenUp(_) => {}
            Event::Justified(justified) => {
                let filings = self.slots.get_mut(&justified.slot).ok_or_else(|| damaged("slot"))?;
                for item in &justified.items {
                    filings.justified.entry(item.fingerprint).or_default().push_back(envelope.position);
                }
                self.note(&justified.slot.unit, envelope.position);
            }
            Event::Looked(looked) => self.note(&looked.node, envelope.position),
            Event::RoundOpened(opened) => {
                let round = self.rounds.entry((opened.year, opened.round)).or_default();
                (round.version, round.open, round.deadline) = (opened.version, true, opened.deadline);
                round.changes.push_back(envelope.position);
                self.note(&BUREAU.into(), envelope.position);
            }
            Event::RoundClosed(closed) => {
                let round = self.rounds.get_mut(&(closed.year, closed.round)).ok_or_else(|| damaged("round"))?;
                (round.version, round.open) = (closed.version, false);
                round.changes.push_back(envelope.position);
                self.note(&BUREAU.into(), envelope.position);
            }
            Event::VersionMoved(moved) => self.moved(envelope, moved, contents)?,
            Event::OpinionGiven(given) => {
                let version = self.version_mut(&given.slot, given.version).ok_or_else(|| damaged("version"))?;
                version.remarks.opinions.entry(given.office.clone()).or_default().push_back(envelope.position);
                self.note(&given.slot.unit, envelope.position);
            }
            Event::FiguresReviewed(reviewed) => self.reviewed(envelope, reviewed, contents)?,
            Event::Forwarded(forwarded) => self.forwarded(envelope, forwarded),
            Event::AggregateMoved(moved) => self.aggregate_moved(envelope, moved)?,
        }
        Ok(())
    }

    fn issued(&mut self, issued: &ControlIssued, position: Position, contents: &dyn Contents) -> Result<(), Remark> {
        self.change_control((issued.year, issued.round), issued.version, &issued.changes, contents)?;
        let mut units: Vec<&UnitCode> = issued.changes.iter().map(|change| &change.unit).collect();
        units.dedup();
        units.into_iter().for_each(|unit| self.note(unit, position));
        Ok(())
    }

    fn version_mut(&mut self, slot: &Slot, version: u32) -> Option<&mut Version> {
        let versions = Arc::make_mut(&mut self.slots.get_mut(slot)?.versions);
        versions.iter_mut().find(|found| found.version == version)
    }

    fn moved(&mut self, envelope: &Envelope, moved: &VersionMoved, contents: &dyn Contents) -> Result<(), Remark> {
        let before = self.slots.get(&moved.slot).and_then(Filings::counting).cloned();
        let damaged =
            || Remark::new(Reason::JournalDamaged).with("position", envelope.position).with("what", "version");
        let version = self.version_mut(&moved.slot, moved.version).ok_or_else(damaged)?;
        if (version.state(), version.position) != (moved.from, moved.position) {
            return Err(damaged());
        }
        version.steps.push(Step { state: moved.to, position: envelope.position, time: envelope.time });
        self.note(&moved.slot.unit, envelope.position);
        self.recount(&moved.slot, before, contents)
    }

    fn reviewed(
        &mut self,
        envelope: &Envelope,
        reviewed: &FiguresReviewed,
        contents: &dyn Contents,
    ) -> Result<(), Remark> {
        let damaged =
            || Remark::new(Reason::JournalDamaged).with("position", envelope.position).with("what", "version");
        let slot = &reviewed.slot;
        let version = self.version_mut(slot, reviewed.version).ok_or_else(damaged)?;
        version.remarks.review(&reviewed.items, envelope.position);
        self.note(&slot.unit, envelope.position);
        // A filing is read again only where a ceiling stands on what was set.
        let book = self.control(slot.year, slot.round).zip(self.tree(slot.year));
        let capped = |(book, tree): (&ControlBook, &Arc<UnitTree>)| {
            reviewed.items.iter().any(|item| book.is_tracked(tree, &slot.unit, &item.cell))
        };
        let counts = self.slots.get(slot).and_then(Filings::counting).filter(|_| book.is_some_and(capped));
        if let Some(version) = counts.filter(|version| version.version == reviewed.version).cloned() {
            let submission = contents.submission(version.position)?;
            self.count_under_ceilings(slot, Some((&version, &submission)));
        }
        Ok(())
    }

    fn forwarded(&mut self, envelope: &Envelope, forwarded: &Forwarded) {
        let mut members: Vec<Position> = forwarded.members.iter().map(|member| member.position).collect();
        members.sort_unstable();
        let state = AggregateState::Forwarded;
        let step = Step { state, position: envelope.position, time: envelope.time };
        let key = (forwarded.department.clone(), forwarded.year, forwarded.round);
        self.aggregates.entry(key).or_default().push_back(Aggregate {
            version: forwarded.version,
            digest: forwarded.digest,
            members: members.into_iter().collect(),
            steps: Vector::unit(step),
        });
        self.note(&forwarded.department, envelope.position);
    }

    fn aggregate_moved(&mut self, envelope: &Envelope, moved: &AggregateMoved) -> Result<(), Remark> {
        let damaged =
            || Remark::new(Reason::JournalDamaged).with("position", envelope.position).with("what", "aggregate");
        let key = (moved.department.clone(), moved.year, moved.round);
        let last = self.aggregates.get_mut(&key).and_then(|all| all.back_mut()).ok_or_else(damaged)?;
        if (last.version, last.state()) != (moved.version, moved.from) {
            return Err(damaged());
        }
        last.steps.push_back(Step { state: moved.to, position: envelope.position, time: envelope.time });
        self.note(&moved.department, envelope.position);
        Ok(())
    }

    fn note(&mut self, unit: &UnitCode, position: Position) {
        self.history.entry(unit.clone()).or_default().push_back(position);
    }

    fn submitted(&mut self, envelope: &Envelope, submitted: &Submitted, contents: &dyn Contents) -> Result<(), Remark> {
        let slot = &submitted.attempt.slot;
        let damaged =
            |what: &str| Remark::new(Reason::JournalDamaged).with("position", envelope.position).with("what", what);
        if !self.trees.contains_key(&slot.year) {
            return Err(damaged("unit tree"));
        }
        let before = self.slots.get(slot).and_then(Filings::counting).cloned();
        let attempt = &submitted.attempt;
        let findings = attempt.findings.len() + attempt.verdicts.failed();
        let mut version = Version {
            version: submitted.version,
            position: envelope.position,
            time: envelope.time,
            digest: attempt.digest,
            form_set: attempt.form_set.digest,
            findings: u32::try_from(findings).unwrap_or(u32::MAX),
            adjusts: submitted.adjustment.as_ref().map(|adjustment| adjustment.base),
            steps: Vec::new(),
            remarks: Remarks::default(),
        };
        if let Some(raised) = submitted.adjustment.as_ref().and_then(|adjustment| adjustment.raised.as_ref()) {
            // The bureau's own act: nothing is left to approve.
            let state = VersionState::Approved;
            version.steps.push(Step { state, position: envelope.position, time: envelope.time });
            self.issued(raised, envelope.position, contents)?;
        }
        Arc::make_mut(&mut self.slots.entry(slot.clone()).or_default().versions).push(version);
        if self.history.get(&slot.unit).and_then(Vector::last) != Some(&envelope.position) {
            self.note(&slot.unit, envelope.position);
        }
        self.recount(slot, before, contents)
    }

    /// Moves the sums from the version of a slot that counted before to the one that counts now.
    fn recount(&mut self, slot: &Slot, before: Option<Version>, contents: &dyn Contents) -> Result<(), Remark> {
        let after = self.slots.get(slot).and_then(Filings::counting).cloned();
        let position = |version: &Option<Version>| version.as_ref().map(|version| version.position);
        if position(&before) == position(&after) {
            return Ok(());
        }
        let read = |version: Version| {
            let submission = contents.submission(version.position)?;
            Ok::<_, Remark>((version, submission))
        };
        let (before, after) = (before.map(read).transpose()?, after.map(read).transpose()?);
        self.repost(slot, before.as_ref(), after.as_ref())?;
        self.count_under_ceilings(slot, after.as_ref().map(|(version, submission)| (version, &**submission)));
        Ok(())
    }

    /// Takes what a slot added to the sums off them and posts something else, with the eliminations of its transfers.
    pub(super) fn repost(
        &mut self,
        slot: &Slot,
        before: Option<&(Version, Arc<Submission>)>,
        after: Option<&(Version, Arc<Submission>)>,
    ) -> Result<(), Remark> {
        let damaged =
            |what: &str| Remark::new(Reason::JournalDamaged).with("position", self.position).with("what", what);
        let tree = self.trees.get(&slot.year).cloned().ok_or_else(|| damaged("unit tree"))?;
        if slot.kind == Kind::Unit {
            self.eliminate(&tree, slot, Direction::Remove);
        }
        if let Some((before, submission)) = before {
            self.post(&tree, slot, before.form_set, submission, Direction::Remove)?;
        }
        let mut stated = None;
        if let Some((after, submission)) = after {
            self.post(&tree, slot, after.form_set, submission, Direction::Add)?;
            let form = self.form_set_versions.get(&after.form_set).cloned();
            stated = form.and_then(|form| {
                let transfers = form.transfers.as_ref()?.of(submission);
                (!transfers.is_empty()).then_some(Stated { form, transfers })
            });
        }
        if slot.kind == Kind::Unit {
            let key = (slot.year, slot.round, slot.unit.clone());
            match stated {
                Some(stated) => self.transfers.insert(key, stated),
                None => self.transfers.remove(&key),
            };
            self.eliminate(&tree, slot, Direction::Add);
        }
        Ok(())
    }

    /// Puts changed ceilings of a year and round in force, as of the event that is being folded in.
    pub(super) fn change_control(
        &mut self,
        round: (u16, Round),
        version: u32,
        changes: &[ControlChange],
        contents: &dyn Contents,
    ) -> Result<(), Remark> {
        let Some(tree) = self.trees.get(&round.0).cloned() else {
            let remark = Remark::new(Reason::JournalDamaged).with("position", self.position);
            return Err(remark.with("what", "unit tree"));
        };
        // Taken out, so that it is the sole owner of what it changes.
        let mut book = self.controls.remove(&round).unwrap_or_default();
        book.change(&tree, changes, &mut self.own_filed(round.0, round.1, contents))?;
        book.version = version;
        book.changed_at.push_back(self.position);
        self.controls.insert(round, book);
        Ok(())
    }

    /// What counts in a unit's slot from now on, if anything, is counted under its ceilings.
    pub(super) fn count_under_ceilings(&mut self, slot: &Slot, counts: Option<(&Version, &Submission)>) {
        if slot.kind != Kind::Unit {
            return;
        }
        let Some(tree) = self.trees.get(&slot.year).cloned() else { return };
        let Some(book) = self.controls.get_mut(&(slot.year, slot.round)) else { return };
        let counts = counts.and_then(|counts| Some((counts, self.form_set_versions.get(&counts.0.form_set)?)));
        book.file(&tree, &slot.unit, |cell| {
            counts.map_or(Money::ZERO, |((version, submission), form)| version.drawn(submission, form, cell))
        });
    }

    /// What counts of a unit in some cells: for cells that get a ceiling after it has filed.
    pub(super) fn own_filed<'s>(
        &'s self,
        year: u16,
        round: Round,
        contents: &'s dyn Contents,
    ) -> impl FnMut(&str, &[&CellAddress]) -> Result<Vec<Money>, Remark> + use<'s> {
        move |unit, cells| {
            let slot = Slot { unit: unit.into(), year, round, kind: Kind::Unit };
            let Some(version) = self.filings(&slot).and_then(Filings::counting) else {
                return Ok(vec![Money::ZERO; cells.len()]);
            };
            let submission = contents.submission(version.position)?;
            let Some(form) = self.form_set_versions.get(&version.form_set) else {
                let remark = Remark::new(Reason::JournalDamaged).with("position", version.position);
                return Err(remark.with("what", "form set"));
            };
            Ok(cells.iter().map(|cell| version.drawn(&submission, form, cell)).collect())
        }
    }

    /// Posts a submission to every node above it, or takes it off.
    fn post(
        &mut self,
        tree: &UnitTree,
        slot: &Slot,
        form_set: Digest,
        submission: &Submission,
        direction: Direction,
    ) -> Result<(), Remark> {
        let nodes: Vec<UnitCode> = posting_nodes(tree, slot).into_iter().map(UnitCode::from).collect();
        self.post_to(&nodes, slot, form_set, submission, direction)
    }

    fn post_to(
        &mut self,
        nodes: &[UnitCode],
        slot: &Slot,
        form_set: Digest,
        submission: &Submission,
        direction: Direction,
    ) -> Result<(), Remark> {
        let level = match slot.kind {
            Kind::Unit => Level::Reported,
            Kind::Difference => Level::Adjusted,
            Kind::Department => return Ok(()),
        };
        let Some(form) = self.form_set_versions.get(&form_set).cloned() else {
            return Err(Remark::new(Reason::JournalDamaged).with("position", self.position).with("what", "form set"));
        };
        self.post_tables(nodes, (slot.year, slot.round), &form, level, &submission.tables, direction);
        Ok(())
    }

    fn post_tables(
        &mut self,
        nodes: &[UnitCode],
        (year, round): (u16, Round),
        form: &Arc<FormSet>,
        level: Level,
        tables: &[FiledTable],
        direction: Direction,
    ) {
        let book = self.books.entry(BookKey { year, round, layout: form.layout }).or_insert_with(|| Book {
            form: form.clone(),
            reported: OrdMap::new(),
            adjusted: OrdMap::new(),
            eliminated: OrdMap::new(),
        });
        let side = match level {
            Level::Reported => &mut book.reported,
            Level::Adjusted => &mut book.adjusted,
            Level::Eliminated => &mut book.eliminated,
        };
        for node in nodes {
            let totals = side.entry(node.clone()).or_insert_with(|| Arc::new(Totals::new(form)));
            let totals = Arc::make_mut(totals);
            totals.post(form, tables, direction);
            if totals.filings == 0 {
                side.remove(node);
            }
        }
    }

    /// Eliminates every transfer of a unit that its counterparty states too, or takes the eliminations off again.
    fn eliminate(&mut self, tree: &UnitTree, slot: &Slot, direction: Direction) {
        let round = (slot.year, slot.round);
        let Some(own) = self.transfers.get(&(round.0, round.1, slot.unit.clone())).cloned() else { return };
        for transfer in &own.transfers {
            self.eliminate_one(tree, round, &slot.unit, &own.form, transfer, direction);
        }
    }

    fn eliminate_one(
        &mut self,
        tree: &UnitTree,
        (year, round): (u16, Round),
        unit: &UnitCode,
        form: &Arc<FormSet>,
        transfer: &Transfer,
        direction: Direction,
    ) {
        let Some(rules) = &form.transfers else { return };
        let Some(other) =
            self.counterpart(year, round, unit, form, transfer).filter(|other| other.amount == transfer.amount)
        else {
            return;
        };
        let Some(meet) = tree.common_ancestor(unit, &transfer.counterparty) else { return };
        let nodes: Vec<UnitCode> = tree.path(meet).into_iter().map(UnitCode::from).collect();
        for side in [transfer, &other] {
            let tables = rules.elimination(form, side);
            self.post_tables(&nodes, (year, round), form, Level::Eliminated, &tables, direction);
        }
    }

    /// What the other side of a transfer states about it, under the same layout.
    pub(super) fn counterpart(
        &self,
        year: u16,
        round: Round,
        unit: &UnitCode,
        form: &FormSet,
        transfer: &Transfer,
    ) -> Option<Transfer> {
        if transfer.counterparty == *unit {
            return None;
        }
        let opposite = form.transfers.as_ref()?.opposite(&transfer.kind)?;
        let stated = self.transfers.get(&(year, round, transfer.counterparty.clone()))?;
        if stated.form.layout != form.layout {
            return None;
        }
        stated.transfers.iter().find(|other| other.counterparty == *unit && other.kind == opposite).cloned()
    }

    /// Eliminates every pair of a year once, or takes all eliminations off.
    fn eliminate_all(&mut self, tree: &UnitTree, year: u16, direction: Direction) {
        let all: Vec<_> =
            self.transfers.iter().filter(|((of, _, _), _)| *of == year).map(|(k, s)| (k.clone(), s.clone())).collect();
        for ((_, round, unit), stated) in all {
            // Each pair is met from both its sides: take it from the lesser one.
            for transfer in stated.transfers.iter().filter(|transfer| unit < transfer.counterparty) {
                self.eliminate_one(tree, (year, round), &unit, &stated.form, transfer, direction);
            }
        }
    }

    /// Puts a new tree in force and moves the postings of every submission whose way to the bureau changed.
    fn replace_tree(&mut self, year: u16, tree: Arc<UnitTree>, contents: &dyn Contents) -> Result<(), Remark> {
        if let Some(old) = self.trees.get(&year).cloned() {
            self.eliminate_all(&old, year, Direction::Remove);
            let filed: Vec<(Slot, Version)> = self
                .slots
                .iter()
                .filter(|(slot, _)| slot.year == year)
                .filter_map(|(slot, filings)| Some((slot.clone(), filings.counting()?.clone())))
                .collect();
            for (slot, version) in filed {
                let (before, after) = (posting_nodes(&old, &slot), posting_nodes(&tree, &slot));
                if before == after {
                    continue;
                }
                let submission = contents.submission(version.position)?;
                let only = |a: &[&str], b: &[&str]| -> Vec<UnitCode> {
                    a.iter().filter(|node| !b.contains(node)).map(|node| UnitCode::from(*node)).collect()
                };
                self.post_to(&only(&before, &after), &slot, version.form_set, &submission, Direction::Remove)?;
                self.post_to(&only(&after, &before), &slot, version.form_set, &submission, Direction::Add)?;
            }
            self.eliminate_all(&tree, year, Direction::Add);
            let rounds: Vec<Round> = self.controls_of(year).map(|(round, _)| round).collect();
            for round in rounds {
                let Some(book) = self.control(year, round) else { continue };
                let book = book.replanted(&old, &tree, &mut self.own_filed(year, round, contents))?;
                self.controls.insert((year, round), book);
            }
        }
        self.trees.insert(year, tree);
        Ok(())
    }

    /// What a key was used for before.
    pub(super) fn key_use(&self, actor: &Actor, operation: Operation, key: &IdempotencyKey) -> Option<&KeyUse> {
        self.keys.get(&(actor.clone(), operation, key.clone()))
    }

    /// Where the event stands that a key was used for.
    pub fn answered_at(&self, actor: &Actor, operation: Operation, key: &IdempotencyKey) -> Option<Position> {
        self.key_use(actor, operation, key).map(|used| used.position)
    }

    /// The form set of that id that is in force.
    pub fn form_set(&self, id: &str) -> Option<&Arc<FormSet>> {
        self.form_sets.get(id)
    }

    /// The form set version of that digest.
    pub fn form_set_version(&self, digest: &Digest) -> Option<&Arc<FormSet>> {
        self.form_set_versions.get(digest)
    }

    /// All versions of form sets: a clone that costs nothing.
    pub fn form_set_versions(&self) -> FormSetVersions {
        self.form_set_versions.clone()
    }

    /// All form sets in force, sorted by id.
    pub fn form_sets(&self) -> impl Iterator<Item = &Arc<FormSet>> {
        self.form_sets.values()
    }

    /// The unit tree of a year.
    pub fn tree(&self, year: u16) -> Option<&Arc<UnitTree>> {
        self.trees.get(&year)
    }

    /// The unit trees of all years, oldest first.
    pub fn trees(&self) -> impl DoubleEndedIterator<Item = &Arc<UnitTree>> {
        self.trees.values()
    }

    /// The latest year that has a unit tree.
    pub fn latest_year(&self) -> Option<u16> {
        self.trees.get_max().map(|(year, _)| *year)
    }

    /// The control figures of a year and round.
    pub fn control(&self, year: u16, round: Round) -> Option<&ControlBook> {
        self.controls.get(&(year, round))
    }

    /// The control figures of a year, by round.
    pub fn controls_of(&self, year: u16) -> impl Iterator<Item = (Round, &ControlBook)> {
        self.controls.iter().filter(move |((of, _), _)| *of == year).map(|((_, round), book)| (*round, book))
    }

    /// A round of a year, if it was ever opened.
    pub fn round(&self, year: u16, round: Round) -> Option<&RoundState> {
        self.rounds.get(&(year, round))
    }

    /// All rounds that were ever opened, by year.
    pub fn rounds(&self) -> impl Iterator<Item = (u16, Round, &RoundState)> {
        self.rounds.iter().map(|((year, round), state)| (*year, *round, state))
    }

    /// The last aggregate of a department.
    pub fn aggregate(&self, department: &str, year: u16, round: Round) -> Option<&Aggregate> {
        self.aggregates(department, year, round)?.last()
    }

    /// All aggregates of a department, oldest first.
    pub fn aggregates(&self, department: &str, year: u16, round: Round) -> Option<&Vector<Aggregate>> {
        self.aggregates.get(&(department.into(), year, round))
    }

    /// The aggregate that seals the submissions of a node, with its department.
    pub fn seal<'s>(&'s self, node: &str, year: u16, round: Round) -> Option<(UnitCode, &'s Aggregate)> {
        let path = self.trees.get(&year)?.path(node).into_iter().map(UnitCode::from).collect::<Vec<_>>();
        let sealed = |department: UnitCode| {
            let aggregate = self.aggregate(&department, year, round).filter(|found| found.state().seals())?;
            Some((department, aggregate))
        };
        path.into_iter().find_map(sealed)
    }

    /// What units at or below a node have reported in a cell, under one layout.
    pub fn reported(&self, year: u16, round: Round, layout: Digest, node: &str, cell: &CellAddress) -> Money {
        let sum = || {
            let book = self.books.get(&BookKey { year, round, layout })?;
            let (index, table) = book.form.table(&cell.table)?;
            let column = table.column(&cell.column)?;
            Some(book.reported.get(node)?.table(index)?.row(&cell.row)?.column(column).value.money())
        };
        sum().unwrap_or(Money::ZERO)
    }

    /// What was filed into a slot.
    pub fn filings(&self, slot: &Slot) -> Option<&Filings> {
        self.slots.get(slot)
    }

    /// All slots in which something was filed, sorted.
    pub fn slots(&self) -> impl Iterator<Item = (&Slot, &Filings)> {
        self.slots.iter()
    }

    /// The positions of all events that concern a unit, in order.
    pub fn history(&self, unit: &str) -> Vector<Position> {
        self.history.get(unit).cloned().unwrap_or_default()
    }
}

/// The nodes whose sums a submission belongs to: all above it, and its own where others stand below it.
///
/// A unit without units below it has no sums of its own: its submission is all there is, and is read from the journal.
fn posting_nodes<'t>(tree: &'t UnitTree, slot: &'t Slot) -> Vec<&'t str> {
    if slot.kind == Kind::Department || !tree.contains(&slot.unit) {
        return Vec::new();
    }
    let mut path = tree.path(&slot.unit);
    if tree.children(&slot.unit).is_empty() {
        path.remove(0);
    }
    path
}
