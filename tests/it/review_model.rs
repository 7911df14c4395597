//! Rounds and review once more, the plain way: what each version has been through is a stack, and every command has a list
//! of objections, whichever of them the ledger names first.

use std::collections::{BTreeMap, BTreeSet};

use budget_consolidator::budget::reason::Reason;

/// What is filed, by whom: four units' budgets; what the department and a unit with one below file beside them.
pub const FILERS: [&str; 7] =
    ["90001", "9000101", "90002", "700", "900/department", "900/difference", "90001/department"];
pub const OFFICES: [(&str, &str); 2] = [("own", "department"), ("budget", "bureau")];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum At {
    Submitted,
    Returned,
    Accepted,
    Approved,
    Withdrawn,
}

impl At {
    pub fn counts(self) -> bool {
        !matches!(self, At::Returned | At::Withdrawn)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealed {
    Forwarded,
    Returned,
    Approved,
    Recalled,
}

impl Sealed {
    pub fn seals(self) -> bool {
        matches!(self, Sealed::Forwarded | Sealed::Approved)
    }
}

/// What is done to a version or an aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Do {
    Withdraw,
    Return,
    Accept,
    Approve,
    Reopen,
}

#[derive(Clone, Debug)]
pub struct Version {
    /// In 分.
    pub figures: [i64; 2],
    /// Which one it changes.
    pub adjusts: Option<usize>,
    /// Where it stands is on top.
    pub way: Vec<At>,
    pub opinions: BTreeSet<&'static str>,
    pub reviewed: BTreeMap<usize, i64>,
}

impl Version {
    pub fn at(&self) -> At {
        *self.way.last().unwrap()
    }

    /// What it draws on the ceiling: the first figure, or the one set in its place if that is more.
    pub fn drawn(&self) -> i64 {
        self.figures[0].max(self.total())
    }

    /// What was approved of the first figure.
    pub fn total(&self) -> i64 {
        self.as_reviewed(0)
    }

    /// A reviewed figure stands before the filed.
    pub fn as_reviewed(&self, at: usize) -> i64 {
        self.reviewed.get(&at).copied().unwrap_or(self.figures[at])
    }
}

#[derive(Clone, Debug, Default)]
pub struct Slot {
    pub versions: Vec<Version>,
    /// The second figures that were explained, which stand for the findings that rest on them.
    pub explained: BTreeSet<i64>,
    pub refused: usize,
}

impl Slot {
    pub fn latest(&self) -> Option<&Version> {
        self.versions.last()
    }

    /// Where all of it stands: what was taken back leaves a return that is still to be answered, or what it was to change.
    pub fn standing(&self) -> Option<At> {
        let last = self.latest()?.at();
        let kept = self.versions.iter().rev().map(Version::at).find(|at| *at != At::Withdrawn);
        match (last, kept) {
            (At::Withdrawn, Some(At::Returned)) => kept,
            (At::Withdrawn, _) => Some(self.counting().map_or(last, |at| self.versions[at].at())),
            _ => Some(last),
        }
    }

    /// The one that counts: the last, or what it was to change.
    pub fn counting(&self) -> Option<usize> {
        let mut at = self.versions.len().checked_sub(1)?;
        while !self.versions[at].at().counts() {
            at = self.versions[at].adjusts?;
        }
        Some(at)
    }
}

#[derive(Clone, Debug)]
pub struct Aggregate {
    pub at: Sealed,
    pub members: BTreeMap<&'static str, usize>,
    /// What was approved since the bureau approved all of it.
    pub passed_on: BTreeSet<&'static str>,
}

/// Who files it.
pub fn node_of(filer: &str) -> &str {
    filer.split_once('/').map_or(filer, |(node, _)| node)
}

/// Whether it is a unit's budget, which is expected, added up and capped.
pub fn is_budget(filer: &str) -> bool {
    !filer.contains('/')
}

/// A round: whether it is open, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    pub open: bool,
    pub until: Option<i64>,
}

#[derive(Clone, Debug, Default)]
pub struct Model {
    pub now: i64,
    /// The first and the second; none before it was ever opened.
    pub rounds: [Option<Open>; 2],
    pub slots: BTreeMap<(&'static str, usize), Slot>,
    /// The department's.
    pub aggregates: [Vec<Aggregate>; 2],
    /// What the department's units may spend of the first figure in the second round; none if it was lifted.
    pub ceiling: Option<i64>,
    /// Whether the second unit has left the department, and stands right below the bureau.
    pub moved: bool,
}

/// Whoever asks: node and role.
pub type Who = (&'static str, &'static str);

type Objections = BTreeSet<Reason>;

impl Model {
    /// Who stands below whom: a department, two units of it, one below the first; and a unit right below the bureau.
    pub fn parents(&self, moved: bool) -> [(&'static str, &'static str); 5] {
        [("900", "0"), ("90001", "900"), ("9000101", "90001"), ("90002", if moved { "0" } else { "900" }), ("700", "0")]
    }

    pub fn above(&self, filer: &str) -> Vec<&'static str> {
        let mut path = Vec::new();
        let mut at = node_of(filer);
        while let Some((_, parent)) = self.parents(self.moved).iter().find(|(node, _)| *node == at) {
            path.push(*parent);
            at = parent;
        }
        path
    }

    /// Whether it is the budget of a unit of the department.
    pub fn in_department(&self, filer: &str) -> bool {
        is_budget(filer) && self.above(filer).contains(&"900")
    }

    /// Whether the department's seal is over it.
    pub fn under_seal(&self, filer: &str) -> bool {
        node_of(filer) == "900" || self.above(filer).contains(&"900")
    }

    /// Whether no department stands between it and the bureau.
    pub fn is_next(&self, filer: &str) -> bool {
        self.above(filer)[0] == "0"
    }

    /// What a department files for itself.
    pub fn is_departments_own(&self, filer: &str) -> bool {
        !is_budget(filer) && self.is_next(filer)
    }

    pub fn slot(&self, unit: &'static str, round: usize) -> Slot {
        self.slots.get(&(unit, round)).cloned().unwrap_or_default()
    }

    /// The department's last aggregate, if it seals.
    pub fn seal(&self, unit: &str, round: usize) -> Option<&Aggregate> {
        self.aggregates[round].last().filter(|last| last.at.seals() && self.under_seal(unit))
    }

    /// What a seal of now would hold: which version counts, of each filer below the department.
    pub fn what_counts(&self, round: usize) -> BTreeMap<&'static str, usize> {
        let counting = |filer: &'static str| Some((filer, self.slot(filer, round).counting()?));
        FILERS.into_iter().filter(|filer| self.under_seal(filer)).filter_map(counting).collect()
    }

    /// Whether the last version is under it: of what changes an approved version only what was there at the sealing.
    pub fn last_is_sealed(&self, unit: &'static str, round: usize) -> bool {
        let slot = self.slot(unit, round);
        self.seal(unit, round).is_some_and(|seal| {
            let adjusts = slot.latest().is_some_and(|last| last.adjusts.is_some());
            !adjusts || seal.members.get(unit).is_some_and(|sealed| sealed + 1 == slot.versions.len())
        })
    }

    /// What counts of the first figure in the department, but for one unit.
    pub fn others(&self, unit: &str, round: usize) -> i64 {
        let counts =
            |(of, _): &(&(&'static str, usize), &Slot)| of.1 == round && self.in_department(of.0) && of.0 != unit;
        let figure = |slot: &Slot| slot.counting().map_or(0, |at| slot.versions[at].drawn());
        self.slots.iter().filter(counts).map(|(_, slot)| figure(slot)).sum()
    }

    /// Nothing never goes beyond a ceiling, however far others are.
    pub fn fits(&self, unit: &str, round: usize, figure: i64, ceiling: Option<i64>) -> bool {
        let Some(ceiling) = ceiling else { return true };
        let free = round == 0 || figure == 0 || !self.in_department(unit);
        free || self.others(unit, round) + figure <= ceiling
    }

    /// Whether what counts of a unit is within the ceiling, if everybody's had been filed as it was reviewed.
    pub fn approvable(&self, unit: &'static str, round: usize) -> bool {
        let Some(ceiling) = self.ceiling.filter(|_| round == 1 && self.in_department(unit)) else { return true };
        let counts = |(of, slot): (&(&'static str, usize), &Slot)| {
            (of.1 == round && self.in_department(of.0)).then(|| slot.counting().map(|at| slot.versions[at].total()))
        };
        let own = self.slot(unit, round);
        let own = own.counting().map_or(0, |at| own.versions[at].total());
        own == 0 || self.slots.iter().filter_map(counts).flatten().sum::<i64>() <= ceiling
    }

    /// How far the department's units are above their ceiling.
    pub fn overshoot(&self, ceiling: Option<i64>) -> i64 {
        ceiling.map_or(0, |ceiling| (self.others("", 1) - ceiling).max(0))
    }

    /// Another ceiling for the department in the second round, or none any more.
    pub fn cap(&self, who: Who, ceiling: Option<i64>, mark: bool, said: bool) -> Objections {
        let mut found = Objections::new();
        insert(&mut found, who != ("0", "bureau"), Reason::NotPermitted);
        let changes = self.ceiling.is_some() && self.ceiling != ceiling;
        insert(&mut found, changes && !said, Reason::ControlInvalid);
        insert(&mut found, self.ceiling.is_none() && ceiling.is_none(), Reason::ControlInvalid);
        let more = self.overshoot(ceiling) > self.overshoot(self.ceiling);
        insert(&mut found, more && !mark, Reason::CeilingBelowFiled);
        found
    }

    /// Another unit tree.
    pub fn import(&self, who: Who, moved: bool) -> Objections {
        let mut found = Objections::new();
        insert(&mut found, who != ("0", "bureau"), Reason::NotPermitted);
        let sealed = self.aggregates.iter().any(|of_round| of_round.last().is_some_and(|last| last.at.seals()));
        insert(&mut found, sealed && moved != self.moved, Reason::UnitsSealed);
        let after = Model { moved, ..self.clone() };
        let breaks = after.overshoot(self.ceiling) > self.overshoot(self.ceiling);
        insert(&mut found, breaks, Reason::TreeBreaksCeilings);
        found
    }

    pub fn takes(&self, round: usize) -> Option<Reason> {
        let open = match self.rounds {
            [None, None] => round == 1,
            rounds => rounds[round].is_some_and(|round| round.open),
        };
        let late = self.rounds[round].is_some_and(|round| round.until.is_some_and(|until| self.now > until));
        if !open {
            Some(Reason::RoundClosed)
        } else if late {
            Some(Reason::DeadlinePassed)
        } else {
            None
        }
    }

    fn reviewer(&self, who: Who, unit: &str) -> bool {
        who == ("0", "bureau") || who.1 == "department" && self.above(unit).contains(&who.0)
    }

    fn own(&self, who: Who, unit: &str) -> bool {
        who.0 == node_of(unit) && matches!(who.1, "unit" | "department")
    }

    pub fn open(&self, who: Who, round: usize, until: Option<i64>, said: bool) -> Objections {
        let mut found = Objections::new();
        let before = self.rounds[round];
        let same = before == Some(Open { open: true, until });
        insert(&mut found, who != ("0", "bureau"), Reason::NotPermitted);
        insert(&mut found, same || until.is_some_and(|until| until <= self.now), Reason::RoundInvalid);
        insert(&mut found, before.is_some() && !said, Reason::BadReviewText);
        found
    }

    pub fn close(&self, who: Who, round: usize) -> Objections {
        let mut found = Objections::new();
        insert(&mut found, who != ("0", "bureau"), Reason::NotPermitted);
        insert(&mut found, !self.rounds[round].is_some_and(|round| round.open), Reason::RoundInvalid);
        found
    }

    pub fn file(&self, who: Who, unit: &'static str, round: usize) -> Objections {
        let mut found = Objections::new();
        insert(&mut found, !self.own(who, unit), Reason::NotPermitted);
        found.extend(self.takes(round));
        let slot = self.slot(unit, round);
        let free =
            |version: &Version| version.adjusts.is_none() && !matches!(version.at(), At::Accepted | At::Approved);
        insert(&mut found, !slot.latest().is_none_or(free), Reason::NotInState);
        let sealed = self.last_is_sealed(unit, round);
        insert(&mut found, sealed, Reason::SubmissionSealed);
        found
    }

    /// The version that an adjustment would change.
    pub fn base(&self, unit: &'static str, round: usize) -> Option<usize> {
        let slot = self.slot(unit, round);
        let last = slot.versions.len().checked_sub(1)?;
        match slot.versions[last].at() {
            At::Approved => Some(last),
            At::Returned | At::Withdrawn => slot.versions[last].adjusts,
            At::Submitted | At::Accepted => None,
        }
    }

    /// `raised` is the new ceiling of an addition.
    pub fn adjust(&self, who: Who, unit: &'static str, round: usize, raised: Option<i64>) -> Objections {
        let mut found = Objections::new();
        insert(&mut found, !self.own(who, unit) && who != ("0", "bureau"), Reason::NotPermitted);
        insert(&mut found, raised.is_some() != (who.1 == "bureau"), Reason::AdjustmentInvalid);
        let above = node_of(unit) == "900" || self.above(unit).contains(&"900");
        let rises = round == 1 && above && raised.is_some_and(|raised| self.ceiling.is_some_and(|was| raised > was));
        insert(&mut found, raised.is_some() && !rises, Reason::AdjustmentInvalid);
        insert(&mut found, self.base(unit, round).is_none(), Reason::NotInState);
        found
    }

    fn unjustified(&self, slot: &Slot) -> bool {
        slot.latest().is_some_and(|last| last.figures[1] % 2 == 1 && !slot.explained.contains(&last.figures[1]))
    }

    /// Where a step leads.
    pub fn leads(&self, step: Do, version: &Version) -> Option<At> {
        match (step, version.at()) {
            (Do::Withdraw, At::Submitted) => Some(At::Withdrawn),
            (Do::Return, At::Submitted | At::Accepted) => Some(At::Returned),
            (Do::Accept, At::Submitted) => Some(At::Accepted),
            (Do::Approve, At::Accepted) => Some(At::Approved),
            (Do::Reopen, At::Accepted | At::Returned | At::Approved) => version.way.iter().rev().nth(1).copied(),
            _ => None,
        }
    }

    pub fn step(&self, who: Who, unit: &'static str, round: usize, meant: i64, step: Do, said: bool) -> Objections {
        let mut found = Objections::new();
        let slot = self.slot(unit, round);
        let next = self.is_next(unit);
        let may = match step {
            Do::Withdraw => self.own(who, unit),
            Do::Reopen => self.reviewer(who, unit) || who == (node_of(unit), "department"),
            _ => self.reviewer(who, unit),
        };
        insert(&mut found, !may, Reason::NotPermitted);
        insert(&mut found, who.0 == node_of(unit) && step != Do::Withdraw, Reason::NotYourStep);
        insert(&mut found, step == Do::Accept && who.1 == "bureau" && !next, Reason::NotYourStep);
        let adjusts = slot.latest().is_some_and(|last| last.adjusts.is_some());
        let theirs = if adjusts || next { "bureau" } else { "department" };
        insert(&mut found, step == Do::Approve && who.1 != theirs, Reason::NotYourStep);
        insert(&mut found, matches!(step, Do::Return | Do::Reopen) && !said, Reason::BadReviewText);
        found.extend(looked_at(&slot, meant));
        let Some(version) = slot.latest() else { return found };
        let to = self.leads(step, version);
        insert(&mut found, to.is_none(), Reason::NotInState);
        let seal = self.seal(unit, round);
        let free = match (step, version.at()) {
            (Do::Approve, _) | (Do::Reopen, At::Approved) => true,
            (Do::Accept | Do::Reopen, At::Submitted | At::Accepted) => self.is_departments_own(unit),
            _ => false,
        };
        if step == Do::Withdraw && !adjusts {
            found.extend(self.takes(round));
        }
        insert(&mut found, !free && self.last_is_sealed(unit, round), Reason::SubmissionSealed);
        if step == Do::Approve {
            let passed_on = seal.is_some_and(|seal| {
                seal.at == Sealed::Approved && seal.members.get(unit) == Some(&(slot.versions.len() - 1))
            });
            insert(&mut found, who.1 == "department" && !adjusts && !passed_on, Reason::AggregateNotInState);
        }
        if let (Do::Approve, Some(base)) = (step, version.adjusts) {
            insert(&mut found, version.total() != slot.versions[base].total(), Reason::AdjustmentMoved);
        }
        if step == Do::Reopen && version.at() == At::Approved {
            insert(&mut found, who.1 != "bureau" && (adjusts || next), Reason::NotYourStep);
        }
        insert(
            &mut found,
            matches!(step, Do::Accept | Do::Approve) && self.unjustified(&slot),
            Reason::FindingsUnjustified,
        );
        insert(&mut found, step == Do::Approve && !self.approvable(unit, round), Reason::ApprovalOverCeiling);
        if let Some(to) = to {
            let mut after = slot.clone();
            let at = after.versions.len() - 1;
            after.versions[at].way.push(to);
            // What draws no more than what counted until then makes nothing worse.
            let more = |at: &usize| !version.at().counts() || after.versions[*at].drawn() > version.drawn();
            if let Some(counts) = after.counting().filter(|_| version.at().counts() != to.counts()).filter(more) {
                let fits = self.fits(unit, round, after.versions[counts].drawn(), self.ceiling);
                insert(&mut found, !fits, Reason::OverCeiling);
            }
        }
        found
    }

    /// Whether versions may still be remarked upon.
    fn reviewable(&self, unit: &'static str, round: usize, version: &Version) -> bool {
        let decided = self.seal(unit, round).is_some_and(|seal| seal.at == Sealed::Approved);
        matches!(version.at(), At::Submitted | At::Accepted) && (!decided || version.adjusts.is_some())
    }

    pub fn opine(
        &self,
        who: Who,
        unit: &'static str,
        round: usize,
        meant: i64,
        (office, takes_back): (usize, bool),
    ) -> Objections {
        let mut found = Objections::new();
        let slot = self.slot(unit, round);
        insert(&mut found, !self.reviewer(who, unit), Reason::NotPermitted);
        insert(&mut found, OFFICES[office].1 != who.1, Reason::UnknownOffice);
        found.extend(looked_at(&slot, meant));
        let Some(version) = slot.latest() else { return found };
        insert(&mut found, !self.reviewable(unit, round, version), Reason::NotInState);
        insert(&mut found, takes_back && !version.opinions.contains(OFFICES[office].0), Reason::BadReviewText);
        found
    }

    pub fn set(
        &self,
        who: Who,
        unit: &'static str,
        round: usize,
        meant: i64,
        (cell, amount): (usize, Option<i64>),
    ) -> Objections {
        let mut found = Objections::new();
        let slot = self.slot(unit, round);
        insert(&mut found, !self.reviewer(who, unit), Reason::NotPermitted);
        found.extend(looked_at(&slot, meant));
        let Some(version) = slot.latest() else { return found };
        insert(&mut found, !self.reviewable(unit, round, version), Reason::NotInState);
        let sealed = self.last_is_sealed(unit, round);
        insert(&mut found, sealed && who.1 == "department", Reason::SubmissionSealed);
        insert(&mut found, amount.is_none() && !version.reviewed.contains_key(&cell), Reason::BadReviewedFigure);
        let more = amount.filter(|amount| cell == 0 && *amount > version.drawn());
        let beyond = more.is_some_and(|more| !self.fits(unit, round, more, self.ceiling));
        insert(&mut found, beyond, Reason::ReviewedOverCeiling);
        found
    }

    pub fn justify(&self, who: Who, unit: &'static str, round: usize) -> Objections {
        let mut found = Objections::new();
        insert(&mut found, !self.own(who, unit), Reason::NotPermitted);
        let slot = self.slot(unit, round);
        // A refused attempt may be explained too; here it is the last version that is meant.
        let nothing = if slot.refused > 0 { Reason::FindingsOutdated } else { Reason::UnknownSubmission };
        insert(&mut found, slot.latest().is_none(), nothing);
        let decided = slot.latest().is_some_and(|last| matches!(last.at(), At::Accepted | At::Approved));
        insert(&mut found, decided, Reason::NotInState);
        found
    }

    pub fn forward(&self, who: Who, round: usize) -> Objections {
        let mut found = Objections::new();
        insert(&mut found, who != ("900", "department"), Reason::NotPermitted);
        insert(
            &mut found,
            self.aggregates[round].last().is_some_and(|last| last.at.seals()),
            Reason::AggregateNotInState,
        );
        let ready = |unit: &'static str| {
            self.slot(unit, round).standing().is_some_and(|at| matches!(at, At::Accepted | At::Approved))
        };
        let all = FILERS.into_iter().filter(|unit| self.in_department(unit)).all(ready);
        insert(&mut found, !all, Reason::DepartmentNotReady);
        // What was filed beside the budgets below it need not be there, but is decided upon.
        let open =
            |filer: &'static str| self.slot(filer, round).latest().is_some_and(|last| last.at() == At::Submitted);
        let beside = |filer: &&str| !is_budget(filer) && self.under_seal(filer) && !self.is_departments_own(filer);
        insert(&mut found, FILERS.into_iter().filter(beside).any(open), Reason::DepartmentNotReady);
        found
    }

    pub fn aggregate_leads(&self, round: usize, step: Do) -> Option<Sealed> {
        match (step, self.aggregates[round].last()?.at) {
            (Do::Return, Sealed::Forwarded) => Some(Sealed::Returned),
            (Do::Approve, Sealed::Forwarded) => Some(Sealed::Approved),
            (Do::Reopen, Sealed::Forwarded) => Some(Sealed::Recalled),
            (Do::Reopen, Sealed::Approved) => Some(Sealed::Forwarded),
            _ => None,
        }
    }

    pub fn step_aggregate(&self, who: Who, round: usize, meant: i64, step: Do, said: bool) -> Objections {
        let mut found = Objections::new();
        let bureau = who == ("0", "bureau");
        let department = who == ("900", "department");
        insert(&mut found, !(bureau || step == Do::Reopen && department), Reason::NotPermitted);
        let all = &self.aggregates[round];
        let count = i64::try_from(all.len()).unwrap();
        insert(&mut found, count == 0, Reason::AggregateNotInState);
        insert(&mut found, count > 0 && (meant < 1 || meant > count), Reason::UnknownAggregate);
        insert(&mut found, meant >= 1 && meant < count, Reason::VersionMoved);
        insert(&mut found, matches!(step, Do::Return | Do::Reopen) && !said, Reason::BadReviewText);
        let Some(last) = all.last() else { return found };
        insert(&mut found, self.aggregate_leads(round, step).is_none(), Reason::AggregateNotInState);
        let recalls = step == Do::Reopen && last.at == Sealed::Forwarded;
        insert(&mut found, recalls != department, Reason::NotYourStep);
        let above = |(unit, at): (&&'static str, &usize)| {
            let slot = self.slot(unit, round);
            let waits = slot.counting() == Some(*at) && slot.versions[*at].at() != At::Approved;
            waits && !self.approvable(unit, round)
        };
        let is_above = last.members.iter().filter(|(unit, _)| is_budget(unit)).any(above);
        insert(&mut found, step == Do::Approve && is_above, Reason::DepartmentNotReady);
        if step == Do::Reopen && last.at == Sealed::Approved {
            let passed_on = last.passed_on.iter().any(|unit| !self.is_next(unit));
            insert(&mut found, passed_on, Reason::DepartmentNotReady);
        }
        found
    }
}

fn insert(found: &mut Objections, holds: bool, reason: Reason) {
    if holds {
        found.insert(reason);
    }
}

/// Versions count from 1; only the last one can be meant.
fn looked_at(slot: &Slot, meant: i64) -> Option<Reason> {
    let count = i64::try_from(slot.versions.len()).unwrap();
    match meant {
        _ if count == 0 || meant < 1 || meant > count => Some(Reason::UnknownSubmission),
        _ if meant < count => Some(Reason::VersionMoved),
        _ => None,
    }
}
