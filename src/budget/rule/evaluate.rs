//! Runs the rules on a filing: every line at every row, to a verdict and, unless it plainly passes, a finding.
//!
//! Pure: the same books give the same findings in the same order — by rule, formula, table, column, row, link.
//! This is the way from rules to findings: lines, rows, instances. Which rows are meant is `select.rs`, what a figure
//! comes to `figures.rs`, whether a condition holds `conditions.rs`; all of them read from a `world.rs`.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use super::Needs;
use super::book::{Fnv, NONE, State};
use super::conditions::meet;
use super::consolidated::Slack;
use super::finding::{Cause, Counts, RuleFinding, Verdict};
use super::interval::Meeting;
use super::line::{Claim, Expr, Line, Rows, Scope, Test};
use super::printed::{Printed, Unsure};
use super::reckoning::{Exact, Look};
use super::report::Reporter;
use super::world::{Frame, Seen, Sides, THIS, World};
use crate::budget::form_set::FormSet;
use crate::budget::submission::Submission;

/// A filing with the form set that it was filed on.
pub type Filed<'a> = (&'a Submission, &'a FormSet);

/// What rules look at.
#[derive(Clone, Copy, Debug)]
pub struct Books<'a> {
    /// The filing that is judged, on the form set whose rules are asked.
    pub filing: &'a Submission,
    /// The one of the year before.
    pub last: Option<Filed<'a>>,
    /// Those of the units below.
    pub units: &'a [Filed<'a>],
    /// What the round gives: tables that nobody files.
    pub given: Option<&'a Submission>,
}

impl<'a> Books<'a> {
    /// The filing alone.
    pub fn of(filing: &'a Submission) -> Books<'a> {
        Books { filing, last: None, units: &[], given: None }
    }
}

/// What the rules found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Everything but plain passes, in a stable order.
    pub findings: Vec<RuleFinding>,
    /// All verdicts, counted.
    pub counts: Counts,
}

impl Checked {
    /// Whether the filing is refused by a rule.
    pub fn refuses(&self) -> bool {
        self.findings.iter().any(RuleFinding::refuses)
    }
}

/// Judges a filing by the rules of its form set; `which` says which lines are run, by what they need.
///
/// What needs only the filing can be run ahead and beside others; the rest when the other filings are known.
pub fn evaluate(form: &FormSet, books: &Books<'_>, which: impl Fn(Needs) -> bool) -> Checked {
    run(form, books, None, which, None)
}

/// The same the long way round, every figure with all that it can stand for: what [`evaluate`] is held to by tests.
pub fn evaluate_exactly(form: &FormSet, books: &Books<'_>) -> Checked {
    run(form, books, None, |_| true, Some(&mut Touched::new()))
}

pub(super) type Touched = Vec<Vec<bool>>;

/// The same; of sums if there is a `slack` for them; and notes which cells of the filing any line looked at.
pub(super) fn run(
    form: &FormSet,
    books: &Books<'_>,
    slack: Option<&Slack>,
    which: impl Fn(Needs) -> bool,
    touched: Option<&mut Touched>,
) -> Checked {
    let world = World::new(form, books, slack);
    let mut run = Run {
        world: &world,
        printed: touched.is_none().then(|| Look::new(&world)),
        exact: Look::new(&world),
        checked: Checked::default(),
        failed: HashMap::default(),
        fresh: Vec::new(),
        once: Vec::new(),
        touched,
        at: (0, 0),
    };
    for (number, rule) in form.rules.rules.iter().enumerate() {
        let mut check = None;
        for (at, line) in rule.lines.iter().enumerate() {
            // The columns of one formula lack the same things.
            if check.replace(line.check) != Some(line.check) {
                run.once.clear();
            }
            let applies = match slack {
                None => line.kinds.contains(&books.filing.header.kind),
                Some(_) => line.views,
            };
            if applies && which(line.needs) {
                run.at = (number, at);
                run.line(line);
            }
        }
        for seen in std::mem::take(&mut run.fresh) {
            run.failed.entry(seen).or_insert(number);
        }
    }
    run.checked
}

type Result<T> = std::result::Result<T, Cause>;

struct Run<'w, 'a> {
    world: &'w World<'a>,
    /// Asked first: it sees what plainly holds. Not there where each cell that is read is to be noted.
    printed: Option<Look<'w, 'a, Printed>>,
    /// Asked for everything else.
    exact: Look<'w, 'a, Exact<'a>>,
    checked: Checked,
    /// Cells that a rule failed, and which.
    failed: HashMap<Seen, usize, BuildHasherDefault<Fnv>>,
    /// The same for the rule at hand.
    fresh: Vec<Seen>,
    /// What was said once for the formula at hand.
    once: Vec<Cause>,
    touched: Option<&'w mut Touched>,
    at: (usize, usize),
}

impl<'w, 'a> Run<'w, 'a> {
    // ── lines and rows ───────────────────────────────────────────────────────────────────

    fn line(&mut self, line: &'a Line) {
        self.exact.frames.clear();
        if line.when_once {
            match line.when.as_ref().map_or(Ok(Meeting::Plain), |when| self.either(when)) {
                Ok(Meeting::Never) => return,
                Ok(Meeting::Plain | Meeting::ByRounding) => {}
                Err(cause) => return self.not_evaluable(line, 0, cause),
            }
        }
        let done = match &line.scope {
            Scope::Once => {
                self.instance(line);
                Ok(())
            }
            Scope::Rows(rows) => self.rows_of_scope(line, rows),
            Scope::AnyOf(all) => self.keys_of_any(line, all),
        };
        if let Err(cause) = done {
            self.exact.by.seen.clear();
            self.not_evaluable(line, 0, cause);
        }
    }

    /// The quick look, at the same rows.
    fn printed(&mut self) -> Option<&mut Look<'w, 'a, Printed>> {
        let printed = self.printed.as_mut()?;
        printed.frames.clone_from(&self.exact.frames);
        Some(printed)
    }

    /// Whether a condition holds, by prints if they tell.
    fn either(&mut self, condition: &'a Expr) -> Result<Meeting> {
        if let Some(Ok(meeting)) = self.printed().map(|printed| printed.truth(condition)) {
            return Ok(meeting);
        }
        self.exact.by.seen.clear();
        self.exact.truth(condition)
    }

    fn rows_of_scope(&mut self, line: &'a Line, rows: &'a Rows) -> Result<()> {
        let book = self.exact.book(rows.book)?;
        let world = self.world;
        let Some(table) = world.table(book, rows.table) else { return Ok(()) };
        match (table.state, rows.named) {
            (State::Missing, _) => return Err(self.exact.table_missing(rows)),
            (_, Some(_)) => {
                let frame = self.exact.find(rows)?;
                self.at_frame(line, frame);
                return Ok(());
            }
            (State::Empty, None) => return Ok(()),
            (State::Filed, None) => {}
        }
        if let Some(fixed) = world.fixed_rows(rows.table) {
            let required = rows.tests.iter().any(|test| matches!(test, Test::Parents));
            for (row, definition) in table.fixed.iter().zip(fixed) {
                if *row == NONE {
                    if required && !definition.parts.is_empty() {
                        let cause = Cause::RowMissing(world.id(rows.table), definition.key.clone());
                        self.exact.by.seen.clear();
                        self.not_evaluable(line, 0, cause);
                    }
                    continue;
                }
                self.candidate(line, rows, book, *row)?;
            }
            return Ok(());
        }
        for row in &table.order {
            self.candidate(line, rows, book, *row)?;
        }
        Ok(())
    }

    fn candidate(&mut self, line: &'a Line, rows: &'a Rows, book: usize, row: u32) -> Result<()> {
        let frame = self.exact.frame(book, rows.table, row);
        let passes = match self.printed().map(|printed| printed.passes(rows, frame)) {
            Some(Ok(passes)) => passes,
            None | Some(Err(Unsure)) => self.exact.passes(rows, frame)?,
        };
        if passes {
            self.at_frame(line, frame);
        }
        Ok(())
    }

    fn at_frame(&mut self, line: &'a Line, frame: Frame) {
        self.exact.frames.push(frame);
        self.instance(line);
        self.exact.frames.pop();
    }

    /// Each key that is in any of the tables, in order: the total, then by key.
    fn keys_of_any(&mut self, line: &'a Line, all: &'a [Rows]) -> Result<()> {
        let Some(first) = all.first() else { return Ok(()) };
        let keys = match self.printed().map(|printed| printed.keys_of(all)) {
            Some(Ok(keys)) => keys,
            None | Some(Err(Unsure)) => self.exact.keys_of(all)?,
        };
        for key in keys {
            self.at_frame(line, Frame { book: THIS, table: first.table, row: NONE, key });
        }
        Ok(())
    }

    // ── one instance ─────────────────────────────────────────────────────────────────────

    fn instance(&mut self, line: &'a Line) {
        if let Some(passed) = self.printed().and_then(|printed| printed.plainly(line)) {
            self.checked.counts.pass += passed;
            return;
        }
        if let Some(when) = line.when.as_ref().filter(|_| !line.when_once) {
            match self.either(when) {
                Ok(Meeting::Never) => return,
                Ok(Meeting::Plain | Meeting::ByRounding) => {}
                Err(cause) => return self.not_evaluable(line, 0, cause),
            }
        }
        self.exact.by.seen.clear();
        self.exact.by.sides = None;
        match &line.claim {
            Claim::Condition(expr) => match self.exact.truth(expr) {
                Ok(meeting) => self.verdict(line, 0, meeting),
                Err(cause) => self.not_evaluable(line, 0, cause),
            },
            Claim::Chain { first, rest, measure } => {
                let left = match self.exact.value(first) {
                    Ok(left) => left,
                    Err(cause) => return self.not_evaluable(line, 0, cause),
                };
                let left_cells = self.exact.by.seen.len();
                for (link, (relation, expr)) in rest.iter().enumerate() {
                    self.exact.by.seen.truncate(left_cells);
                    let met = self.exact.value(expr).and_then(|right| {
                        let meeting = meet::<Exact<'_>>(&left, &right, *relation);
                        if !matches!(meeting, Ok(Meeting::Plain)) {
                            let (left, relation, measure) = (left.clone(), *relation, *measure);
                            self.exact.by.sides = Some(Sides { left, right, relation, measure, left_cells });
                        }
                        meeting
                    });
                    match met {
                        Ok(meeting) => self.verdict(line, link, meeting),
                        Err(cause) => self.not_evaluable(line, link, cause),
                    }
                    self.exact.by.sides = None;
                }
            }
        }
    }

    fn verdict(&mut self, line: &'a Line, link: usize, meeting: Meeting) {
        let verdict = match meeting {
            Meeting::Plain => Verdict::Pass,
            Meeting::ByRounding => Verdict::PassByRounding,
            Meeting::Never => Verdict::Fail,
        };
        self.checked.counts.add(verdict);
        if let Some(touched) = &mut self.touched {
            mark(touched, self.world, &self.exact.by.seen);
        }
        if verdict == Verdict::Pass {
            return;
        }
        let mut finding = self.report(line, link, verdict, None);
        if verdict == Verdict::Fail {
            let after = self.exact.by.seen.iter().filter_map(|seen| self.failed.get(seen)).min();
            finding.after = after.and_then(|rule| self.world.form.rules.rules.get(*rule)).map(|rule| rule.id.clone());
            self.fresh.extend(&self.exact.by.seen);
        }
        self.checked.findings.push(finding);
    }

    fn not_evaluable(&mut self, line: &'a Line, link: usize, cause: Cause) {
        if cause.is_of_line() {
            if self.once.contains(&cause) {
                return;
            }
            self.once.push(cause.clone());
        }
        self.checked.counts.add(Verdict::NotEvaluable);
        self.exact.by.sides = None;
        let of_line = cause.is_of_line();
        let mut finding = self.report(line, link, Verdict::NotEvaluable, Some(cause));
        if of_line {
            (finding.place.row, finding.place.column) = Default::default();
            finding.row_title = Default::default();
            (finding.cells, finding.left_cells) = (Vec::new(), 0);
        }
        self.checked.findings.push(finding);
    }

    fn report(&self, line: &'a Line, link: usize, verdict: Verdict, cause: Option<Cause>) -> RuleFinding {
        let Exact { seen, sides } = &self.exact.by;
        let reporter = Reporter { world: self.world, seen, sides: sides.as_ref() };
        reporter.finding(self.at.0, line, self.exact.frames.first(), link, (verdict, cause))
    }
}

fn mark(touched: &mut Touched, world: &World<'_>, seen: &[Seen]) {
    for seen in seen.iter().filter(|seen| seen.book == THIS && seen.row != NONE) {
        let columns = world.form.tables.get(seen.table).map_or(0, |table| table.columns.len());
        let at = seen.row as usize * columns + seen.column;
        if let Some(cell) = touched.get_mut(seen.table).and_then(|cells| cells.get_mut(at)) {
            *cell = true;
        }
    }
}
