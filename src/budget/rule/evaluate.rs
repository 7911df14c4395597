//! Runs the rules on a filing: every line at every row, to a verdict and, unless it plainly passes, a finding.
//!
//! Pure: the same books give the same findings in the same order — by rule, formula, table, column, row, link.
//! This is the way from rules to findings: lines, rows, instances. Each is looked at twice (`look.rs`): at a glance, which
//! nearly always is enough, and exactly where prints can't tell or something is to be told.

use std::collections::{HashMap, HashSet};

use super::Needs;
use super::book::{NONE, State};
use super::bound::Listed;
use super::conditions::meet;
use super::consolidated::Slack;
use super::finding::{Cause, Counts, RuleFinding, Verdict};
use super::interval::Meeting;
use super::keys::KeyHash;
use super::line::{BookOf, Claim, Expr, Line, Rows, Scope, Test};
use super::look::{Answer, Exact, Glance, Look, Unsure};
use super::report::Reporter;
use super::select::in_order;
use super::world::{Frame, RELATIONS, Seen, Sides, THIS, World};
use crate::budget::form_set::{FixedRow, FormSet};
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

/// Beyond so many times that a row is held against a row, a line is not evaluable: known before it is begun, and the same on
/// every machine.
const PAIRED_ROWS_MAX: u64 = 10_000_000;

/// Findings that there is room for from the start.
const FINDINGS: usize = 128;

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
        glance: touched.is_none().then(|| Look::new(&world)),
        exact: Look::new(&world),
        checked: Checked { findings: Vec::with_capacity(FINDINGS), counts: Counts::default() },
        failed: HashMap::default(),
        fresh: Vec::new(),
        once: Vec::new(),
        unmet: Vec::new(),
        touched,
        spoken_of: SpokenOf::default(),
        at: (0, 0),
    };
    for (number, rule) in form.rules.rules.iter().enumerate() {
        let mut check = None;
        run.once.clear();
        run.unmet.clear();
        for (at, line) in rule.lines.iter().enumerate() {
            // The columns of one formula lack the same things.
            if check.replace(line.check) != Some(line.check) {
                run.once.retain(Cause::is_of_rule);
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

struct Run<'w, 'a> {
    world: &'w World<'a>,
    /// Asked first: it sees what plainly holds. Not there where each cell that is read is to be noted.
    glance: Option<Look<'w, 'a, Glance>>,
    /// Asked for everything else.
    exact: Look<'w, 'a, Exact<'a>>,
    checked: Checked,
    /// Cells that a rule failed, and which.
    failed: HashMap<Seen, usize, KeyHash>,
    /// The same for the rule at hand.
    fresh: Vec<Seen>,
    /// What was said once for the formula at hand, or for its rule.
    once: Vec<Cause>,
    /// What conditions that no row has a part in lack, for the rule at hand: its formulas often share one.
    unmet: Vec<Cause>,
    touched: Option<&'w mut Touched>,
    /// The rows that the line before spoke of.
    spoken_of: SpokenOf,
    at: (usize, usize),
}

type Result<T> = std::result::Result<T, Cause>;

impl<'a> Look<'_, 'a, Glance> {
    /// Whether a line speaks of a row; `rows` says which it is for.
    fn is_spoken_of(&mut self, line: &'a Line, rows: Option<&'a Rows>, frame: Frame) -> Answer<'a, bool, Glance> {
        if let Some(rows) = rows
            && !self.passes(rows, frame)?
        {
            return Ok(false);
        }
        self.is_meant(line, Some(frame))
    }

    /// The same of a row that it is for.
    fn is_meant(&mut self, line: &'a Line, frame: Option<Frame>) -> Answer<'a, bool, Glance> {
        let Some(when) = line.when_by_row() else { return Ok(true) };
        self.frames.extend(frame);
        let met = self.truth(when);
        self.frames.clear();
        Ok(met? != Meeting::Never)
    }

    /// Whether a line plainly holds at a row of which it speaks. If not, there is something to tell.
    fn holds(&mut self, line: &'a Line, frame: Option<Frame>) -> bool {
        self.frames.extend(frame);
        let met = match &line.claim {
            Claim::Condition(condition) => self.truth(condition),
            Claim::Chain { first, rest, measure } => self.compare(first, rest, *measure),
        };
        self.frames.clear();
        met == Ok(Meeting::Plain)
    }
}

/// The rows of which lines speak, one after the other the same.
#[derive(Default)]
struct SpokenOf {
    /// Rule and first line.
    by: Option<(usize, usize)>,
    rows: Vec<Frame>,
    /// Where prints can't tell.
    unsure: Vec<Frame>,
}

/// A row at which a line is to be looked at exactly.
struct Open {
    row: u32,
    /// That the line speaks of it is known.
    is_meant: bool,
}

impl<'a> Run<'_, 'a> {
    // ── lines and rows ───────────────────────────────────────────────────────────────────

    fn line(&mut self, line: &'a Line) {
        if line.pairs.iter().any(|pair| self.rows_against_rows(pair) > PAIRED_ROWS_MAX) {
            return self.not_evaluable(line, 0, Cause::TooLong);
        }
        if line.when_once {
            match line.when.as_ref().map_or(Ok(Meeting::Plain), |when| self.once(when)) {
                Ok(Meeting::Never) => return,
                Ok(Meeting::Plain | Meeting::ByRounding) => {}
                Err(cause) if self.unmet.contains(&cause) => return,
                Err(cause) => {
                    self.unmet.push(cause.clone());
                    return self.not_evaluable(line, 0, cause);
                }
            }
        }
        let done = match &line.scope {
            Scope::Once => {
                self.at_frame(line, None);
                Ok(())
            }
            Scope::Rows(rows) => self.rows_of_scope(line, rows),
            Scope::AnyOf(all) => self.keys_of_any(line, all),
        };
        if let Err(cause) = done {
            self.exact.eye.clear();
            self.not_evaluable(line, 0, cause);
        }
    }

    /// How many times a row is held against a row, if all of one table are against all of another.
    fn rows_against_rows(&self, pair: &[Listed; 2]) -> u64 {
        let rows = pair.map(|(book, table)| {
            let books = match book {
                BookOf::This => THIS..THIS + 1,
                BookOf::FormSet => RELATIONS..RELATIONS + 1,
                BookOf::Units => self.world.units.clone(),
                BookOf::Last => self.world.last.map_or(0..0, |book| book..book + 1),
                BookOf::Given => self.world.given.map_or(0..0, |book| book..book + 1),
            };
            books.filter_map(|book| self.world.table(book, table)).map(|table| u64::from(table.len())).sum::<u64>()
        });
        rows[0].saturating_mul(rows[1])
    }

    /// The rows of which a line speaks, among these.
    fn spoken_of(&mut self, line: &'a Line, rows: Option<&'a Rows>, frames: impl Iterator<Item = Frame>) -> SpokenOf {
        let mut spoken_of = std::mem::take(&mut self.spoken_of);
        let by = Some((self.at.0, line.like));
        if spoken_of.by == by {
            return spoken_of;
        }
        spoken_of.by = by;
        spoken_of.rows.clear();
        spoken_of.unsure.clear();
        let Some(glance) = &mut self.glance else {
            spoken_of.unsure.extend(frames);
            return spoken_of;
        };
        for frame in frames {
            match glance.is_spoken_of(line, rows, frame) {
                Ok(true) => spoken_of.rows.push(frame),
                Ok(false) => {}
                Err(Unsure) => spoken_of.unsure.push(frame),
            }
        }
        spoken_of
    }

    fn plainly_holds(&mut self, line: &'a Line, frame: Option<Frame>) -> bool {
        self.glance.as_mut().is_some_and(|glance| glance.holds(line, frame))
    }

    /// Whether a condition that no row has a part in holds.
    fn once(&mut self, condition: &'a Expr) -> Result<Meeting> {
        match self.glance.as_mut().map(|glance| glance.truth(condition)) {
            Some(Ok(meeting)) => Ok(meeting),
            _ => self.whether(condition),
        }
    }

    fn whether(&mut self, condition: &'a Expr) -> Result<Meeting> {
        self.exact.eye.clear();
        self.exact.truth(condition)
    }

    fn rows_of_scope(&mut self, line: &'a Line, rows: &'a Rows) -> Result<()> {
        let book = self.exact.book(rows.book)?;
        let world = self.world;
        let Some(table) = world.table(book, rows.table) else { return Ok(()) };
        match (table.state, rows.named) {
            (State::Missing, _) => return Err(self.exact.table_missing(rows, book)),
            (_, Some(_)) => {
                let frame = self.exact.find(rows)?;
                self.at_frame(line, Some(frame));
                return Ok(());
            }
            (State::Empty, None) => return Ok(()),
            (State::Filed, None) => {}
        }
        let fixed = world.fixed_rows(rows.table);
        let frames = (0..table.len()).map(|row| Frame::of(book, rows.table, row));
        let spoken_of = self.spoken_of(line, Some(rows), frames);
        let mut open: Vec<Open> =
            spoken_of.unsure.iter().map(|frame| Open { row: frame.row, is_meant: false }).collect();
        let failing = spoken_of.rows.iter().filter(|frame| !self.plainly_holds(line, Some(**frame)));
        open.extend(failing.map(|frame| Open { row: frame.row, is_meant: true }));
        open.sort_by(|a, b| table.as_printed(a.row, b.row));
        if fixed.is_none() && table.total == NONE && is_for_parents(rows) {
            self.total_lost(line, rows.table);
        }
        let stopped = match fixed {
            Some(fixed) => self.fixed_rows(line, rows, (book, &table.fixed, fixed), &open),
            None => open.iter().find_map(|open| Some((open.row, self.candidate(line, rows, book, open).err()?))),
        };
        let held = match &stopped {
            None => spoken_of.rows.len() + spoken_of.unsure.len() - open.len(),
            // What can't be judged ends a line: rows behind it were not looked at.
            Some((at, _)) => {
                let open: HashSet<u32, KeyHash> = open.iter().map(|open| open.row).collect();
                let before = |row: u32| table.as_printed(row, *at).is_lt();
                spoken_of.rows.iter().filter(|frame| !open.contains(&frame.row) && before(frame.row)).count()
            }
        };
        self.hold(line, held);
        self.spoken_of = spoken_of;
        stopped.map_or(Ok(()), |(_, cause)| Err(cause))
    }

    /// A table whose total row was left out has nothing that its rows could be held against: that is said.
    fn total_lost(&mut self, line: &'a Line, table: usize) {
        let total = self.world.form.tables.get(table).and_then(|table| table.total_row());
        if let Some(total) = total.filter(|_| self.world.slack.is_none()) {
            self.exact.eye.clear();
            self.not_evaluable(line, 0, Cause::RowMissing(self.world.id(table), total.into()));
        }
    }

    /// Fixed rows are printed one by one, those too that are not there.
    fn fixed_rows(
        &mut self,
        line: &'a Line,
        rows: &'a Rows,
        (book, filed, fixed): (usize, &[u32], &[FixedRow]),
        open: &[Open],
    ) -> Option<(u32, Cause)> {
        let required = is_for_parents(rows);
        for (row, definition) in filed.iter().zip(fixed) {
            if *row == NONE && required && !definition.parts.is_empty() {
                let cause = Cause::RowMissing(self.world.id(rows.table), definition.key.clone());
                self.exact.eye.clear();
                self.not_evaluable(line, 0, cause);
            } else if let Some(open) = open.iter().find(|open| open.row == *row)
                && let Err(cause) = self.candidate(line, rows, book, open)
            {
                return Some((*row, cause));
            }
        }
        None
    }

    fn candidate(&mut self, line: &'a Line, rows: &'a Rows, book: usize, open: &Open) -> Result<()> {
        let frame = Frame::of(book, rows.table, open.row);
        if open.is_meant || self.exact.passes(rows, frame)? {
            self.exactly_at(line, Some(frame), open.is_meant);
        }
        Ok(())
    }

    fn at_frame(&mut self, line: &'a Line, frame: Option<Frame>) {
        let meant = self.glance.as_mut().map_or(Err(Unsure), |glance| glance.is_meant(line, frame));
        match meant {
            Ok(false) => {}
            Ok(true) if self.plainly_holds(line, frame) => self.hold(line, 1),
            meant => self.exactly_at(line, frame, meant.is_ok()),
        }
    }

    /// Looks again exactly; at a row that is meant if a glance has seen that it is.
    fn exactly_at(&mut self, line: &'a Line, frame: Option<Frame>, is_meant: bool) {
        self.exact.frames.extend(frame);
        self.instance(line, is_meant);
        self.exact.frames.clear();
    }

    /// Each key that is in any of the tables, in order: the total, then by key.
    fn keys_of_any(&mut self, line: &'a Line, all: &'a [Rows]) -> Result<()> {
        let Some(table) = all.first().map(|first| first.table) else { return Ok(()) };
        let keys = match &mut self.glance {
            _ if self.spoken_of.by == Some((self.at.0, line.like)) => Vec::new(),
            Some(glance) => glance.keys_of(all).or_else(|Unsure| self.exact.keys_of(all))?,
            None => self.exact.keys_of(all)?,
        };
        let at_key = |key| Frame { book: THIS, table, row: NONE, key };
        let spoken_of = self.spoken_of(line, None, keys.into_iter().map(at_key));
        let mut open: Vec<_> = spoken_of.unsure.iter().map(|frame| frame.key).collect();
        let failing = spoken_of.rows.iter().filter(|frame| !self.plainly_holds(line, Some(**frame)));
        open.extend(failing.map(|frame| frame.key));
        self.hold(line, spoken_of.unsure.len() + spoken_of.rows.len() - open.len());
        self.spoken_of = spoken_of;
        for key in in_order(self.world, table, open) {
            self.exactly_at(line, Some(at_key(key)), false);
        }
        Ok(())
    }

    /// So many rows at which a line plainly holds.
    fn hold(&mut self, line: &Line, rows: usize) {
        self.checked.counts.pass += line.claim.comparisons() * rows as u64;
    }

    // ── one instance ─────────────────────────────────────────────────────────────────────

    fn instance(&mut self, line: &'a Line, is_meant: bool) {
        if let Some(when) = line.when_by_row().filter(|_| !is_meant) {
            match self.whether(when) {
                Ok(Meeting::Never) => return,
                Ok(Meeting::Plain | Meeting::ByRounding) => {}
                Err(cause) => return self.not_evaluable(line, 0, cause),
            }
        }
        self.exact.eye.clear();
        self.exact.eye.sides = None;
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
                let left_cells = self.exact.eye.seen.len();
                for (link, (relation, expr)) in rest.iter().enumerate() {
                    self.exact.eye.seen.truncate(left_cells);
                    let met = self.exact.value(expr).and_then(|right| {
                        let meeting = meet::<Exact<'_>>(&left, &right, *relation);
                        if !matches!(meeting, Ok(Meeting::Plain)) {
                            let (relation, measure) = (*relation, *measure);
                            self.exact.eye.sides = Some(Sides { left, right, relation, measure, left_cells });
                        }
                        meeting
                    });
                    match met {
                        Ok(meeting) => self.verdict(line, link, meeting),
                        Err(cause) => self.not_evaluable(line, link, cause),
                    }
                    self.exact.eye.sides = None;
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
            mark(touched, self.world, &self.exact.eye.seen);
        }
        if verdict == Verdict::Pass {
            return;
        }
        let mut finding = self.report(line, link, verdict, None);
        if verdict == Verdict::Fail {
            let after = self.exact.eye.seen.iter().filter_map(|seen| self.failed.get(seen)).min();
            finding.after = after.and_then(|rule| self.world.form.rules.rules.get(*rule)).map(|rule| rule.id.clone());
            self.fresh.extend(&self.exact.eye.seen);
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
        self.exact.eye.sides = None;
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
        let Exact { seen, looked, sides } = &self.exact.eye;
        let reporter = Reporter { world: self.world, seen, looked, sides: sides.as_ref() };
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

/// Whether rows are those that others stand below.
fn is_for_parents(rows: &Rows) -> bool {
    rows.tests.iter().any(|test| matches!(test, Test::Parents))
}
