//! Runs the rules on a filing: every line at every row, to a verdict and, unless it plainly passes, a finding.
//!
//! Pure: the same books give the same findings in the same order — by rule, formula, table, column, row, link.
//! How formulas are found to mean something is `resolve.rs`; how two figures meet, `interval.rs`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use super::book::{Book, BookTable, KEY_PARTS, Keys, NONE, State, TOTAL};
use super::consolidated::Slack;
use super::finding::{Cause, Counts, RuleFinding, Verdict};
use super::interval::{Impossible, Interval, Meeting, Relation};
use super::line::{BookOf, Claim, Expr, Line, Measure, Named, Over, Rows, Scope, Test};
use super::report::Reporter;
use super::syntax::Unit;
use super::{Needs, written};
use crate::budget::cell::Cell;
use crate::budget::form_set::{ColumnKind, FormSet, Rows as RowsOf, fold_width};
use crate::budget::money::{Decimals, Denomination};
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
        frames: Vec::with_capacity(4),
        seen: Vec::with_capacity(64),
        sides: None,
        checked: Checked::default(),
        failed: HashMap::new(),
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

/// All filings, numbered: the filing, the relations, then whatever else there is.
pub(super) struct World<'a> {
    pub(super) form: &'a FormSet,
    pub(super) keys: Keys<'a>,
    pub(super) books: Vec<Book<'a>>,
    pub(super) filings: Books<'a>,
    /// How far the figures of the filing may be from the truth, if they are sums.
    slack: Option<&'a Slack>,
    last: Option<usize>,
    given: Option<usize>,
    pub(super) units: Range<usize>,
}

/// Which book is whose.
const THIS: usize = 0;
const RELATIONS: usize = 1;

impl<'a> World<'a> {
    fn new(form: &'a FormSet, filings: &Books<'a>, slack: Option<&'a Slack>) -> World<'a> {
        let rules = &form.rules;
        let mut keys = Keys::new(rules, form);
        let mut books = vec![Book::of(filings.filing, form, form, rules, &mut keys)];
        books.push(Book::of_relations(form, rules, &mut keys));
        let mut add = |(submission, filed_on): Filed<'a>| {
            books.push(Book::of(submission, filed_on, form, rules, &mut keys));
            books.len() - 1
        };
        let last = filings.last.map(&mut add);
        let given = filings.given.map(|given| add((given, form)));
        let first = filings.units.iter().map(|unit| add(*unit)).min();
        let units = first.map_or(0..0, |first| first..first + filings.units.len());
        World { form, keys, books, filings: *filings, slack, last, given, units }
    }

    pub(super) fn table(&self, book: usize, table: usize) -> Option<&BookTable<'a>> {
        self.books.get(book).and_then(|book| book.tables.get(table))
    }

    pub(super) fn source(&self, book: usize) -> super::Source {
        if Some(book) == self.last {
            super::Source::Last
        } else if Some(book) == self.given {
            super::Source::Round
        } else if self.units.contains(&book) {
            let unit = self.filings.units.get(book - self.units.start);
            super::Source::Unit(unit.map(|(unit, _)| unit.header.unit.clone()).unwrap_or_default())
        } else {
            super::Source::This
        }
    }

    fn fixed_rows(&self, table: usize) -> Option<&'a [crate::budget::form_set::FixedRow]> {
        match self.form.tables.get(table).map(|table| &table.rows) {
            Some(RowsOf::Fixed { rows, .. }) => Some(rows),
            _ => None,
        }
    }

    fn id(&self, table: usize) -> compact_str::CompactString {
        let relation = || self.form.relations.get(table - self.form.tables.len());
        match self.form.tables.get(table) {
            Some(table) => table.id.clone(),
            None => relation().map(|relation| relation.id.clone()).unwrap_or_default(),
        }
    }
}

/// A row at hand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) book: usize,
    pub(super) table: usize,
    /// [`NONE`] for a key without a row.
    pub(super) row: u32,
    pub(super) key: [u32; KEY_PARTS],
}

/// A cell that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Seen {
    pub(super) book: usize,
    pub(super) table: usize,
    pub(super) column: usize,
    pub(super) row: u32,
    pub(super) key: [u32; KEY_PARTS],
}

/// What a figure comes to.
#[derive(Clone, Debug)]
pub(super) enum Value<'a> {
    Number(Interval),
    Blank,
    Text(Cow<'a, str>),
}

/// The two sides of the comparison that decided.
#[derive(Clone, Debug)]
pub(super) struct Sides<'a> {
    pub(super) left: Value<'a>,
    pub(super) right: Value<'a>,
    pub(super) relation: Relation,
    pub(super) measure: Measure,
    /// Where the right side's cells begin in what was read.
    pub(super) left_cells: usize,
}

type Result<T> = std::result::Result<T, Cause>;

struct Run<'w, 'a> {
    world: &'w World<'a>,
    frames: Vec<Frame>,
    seen: Vec<Seen>,
    sides: Option<Sides<'a>>,
    checked: Checked,
    /// Cells that a rule failed, and which.
    failed: HashMap<Seen, usize>,
    /// The same for the rule at hand.
    fresh: Vec<Seen>,
    /// What was said once for the formula at hand.
    once: Vec<Cause>,
    touched: Option<&'w mut Touched>,
    at: (usize, usize),
}

impl<'a> Run<'_, 'a> {
    // ── lines and rows ───────────────────────────────────────────────────────────────────

    fn line(&mut self, line: &'a Line) {
        self.frames.clear();
        if line.when_once {
            self.seen.clear();
            match line.when.as_ref().map_or(Ok(Meeting::Plain), |when| self.truth(when)) {
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
            self.seen.clear();
            self.not_evaluable(line, 0, cause);
        }
    }

    fn rows_of_scope(&mut self, line: &'a Line, rows: &'a Rows) -> Result<()> {
        let book = self.book(rows.book)?;
        let world = self.world;
        let Some(table) = world.table(book, rows.table) else { return Ok(()) };
        match (table.state, rows.named) {
            (State::Missing, _) => return Err(self.table_missing(rows)),
            (_, Some(_)) => {
                let frame = self.find(rows)?;
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
                        self.seen.clear();
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
        let frame = self.frame(book, rows.table, row);
        if self.passes(rows, frame)? {
            self.at_frame(line, frame);
        }
        Ok(())
    }

    fn at_frame(&mut self, line: &'a Line, frame: Frame) {
        self.frames.push(frame);
        self.instance(line);
        self.frames.pop();
    }

    /// Each key that is in any of the tables, in order: the total, then by key.
    fn keys_of_any(&mut self, line: &'a Line, all: &'a [Rows]) -> Result<()> {
        let world = self.world;
        let Some(first) = all.first() else { return Ok(()) };
        let mut keys: Vec<[u32; KEY_PARTS]> = Vec::new();
        for rows in all {
            self.each(rows, true, &mut |_, frame| {
                keys.push(frame.key);
                Ok(true)
            })?;
        }
        let axes = super::names::Names { form: world.form }.axes(first.table);
        let spelled = |key: &[u32; KEY_PARTS]| {
            let parts = axes.iter().zip(key).map(|(axis, number)| world.keys.name(*axis, *number));
            parts.collect::<Vec<_>>()
        };
        keys.sort_by_cached_key(|key| (key[0] != TOTAL, spelled(key)));
        keys.dedup();
        for key in keys {
            self.at_frame(line, Frame { book: THIS, table: first.table, row: NONE, key });
        }
        Ok(())
    }

    // ── one instance ─────────────────────────────────────────────────────────────────────

    fn instance(&mut self, line: &'a Line) {
        if let Some(when) = line.when.as_ref().filter(|_| !line.when_once) {
            self.seen.clear();
            match self.truth(when) {
                Ok(Meeting::Never) => return,
                Ok(Meeting::Plain | Meeting::ByRounding) => {}
                Err(cause) => return self.not_evaluable(line, 0, cause),
            }
        }
        self.seen.clear();
        self.sides = None;
        match &line.claim {
            Claim::Condition(expr) => match self.truth(expr) {
                Ok(meeting) => self.verdict(line, 0, meeting),
                Err(cause) => self.not_evaluable(line, 0, cause),
            },
            Claim::Chain { first, rest, measure } => {
                let left = match self.value(first) {
                    Ok(left) => left,
                    Err(cause) => return self.not_evaluable(line, 0, cause),
                };
                let left_cells = self.seen.len();
                for (link, (relation, expr)) in rest.iter().enumerate() {
                    self.seen.truncate(left_cells);
                    let met = self.value(expr).and_then(|right| {
                        let meeting = meet(&left, &right, *relation);
                        if !matches!(meeting, Ok(Meeting::Plain)) {
                            let (left, relation, measure) = (left.clone(), *relation, *measure);
                            self.sides = Some(Sides { left, right, relation, measure, left_cells });
                        }
                        meeting
                    });
                    match met {
                        Ok(meeting) => self.verdict(line, link, meeting),
                        Err(cause) => self.not_evaluable(line, link, cause),
                    }
                    self.sides = None;
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
            mark(touched, self.world, &self.seen);
        }
        if verdict == Verdict::Pass {
            return;
        }
        let mut finding = self.report(line, link, verdict, None);
        if verdict == Verdict::Fail {
            let after = self.seen.iter().filter_map(|seen| self.failed.get(seen)).min();
            finding.after = after.and_then(|rule| self.world.form.rules.rules.get(*rule)).map(|rule| rule.id.clone());
            self.fresh.extend(&self.seen);
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
        self.sides = None;
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
        let reporter = Reporter { world: self.world, seen: &self.seen, sides: self.sides.as_ref() };
        reporter.finding(self.at.0, line, self.frames.first(), link, (verdict, cause))
    }

    // ── finding rows ─────────────────────────────────────────────────────────────────────

    fn book(&self, of: BookOf) -> Result<usize> {
        match of {
            BookOf::This => Ok(THIS),
            BookOf::FormSet => Ok(RELATIONS),
            BookOf::Last => self.world.last.ok_or(Cause::NoLastYear),
            BookOf::Given => Ok(self.world.given.unwrap_or(usize::MAX)),
            BookOf::Units => Err(Cause::NoUnits),
        }
    }

    fn table_missing(&self, rows: &Rows) -> Cause {
        let id = self.world.id(rows.table);
        if rows.book == BookOf::Given { Cause::NotGiven(id) } else { Cause::TableMissing(id) }
    }

    fn frame(&self, book: usize, table: usize, row: u32) -> Frame {
        let key = self.world.table(book, table).map_or([NONE; KEY_PARTS], |table| table.key(row));
        Frame { book, table, row, key }
    }

    /// The key that rows have to have, where it is at hand.
    fn wanted(&self, rows: &Rows) -> [u32; KEY_PARTS] {
        let mut key = [NONE; KEY_PARTS];
        for join in &rows.joins {
            let at_hand = self.frames.get(join.frame).and_then(|frame| frame.key.get(join.of));
            if let (Some(part), Some(at_hand)) = (key.get_mut(join.position), at_hand) {
                *part = *at_hand;
            }
        }
        key
    }

    /// The one row that is meant. A code that is not listed is a frame without a row: all blank.
    fn find(&mut self, rows: &'a Rows) -> Result<Frame> {
        let book = self.book(rows.book)?;
        let world = self.world;
        let absent = |key| Frame { book, table: rows.table, row: NONE, key };
        let Some(table) = world.table(book, rows.table).filter(|table| table.state != State::Missing) else {
            return Err(self.table_missing(rows));
        };
        let (row, key) = match rows.named {
            Some(Named::Record) => (if table.len() > 0 { 0 } else { NONE }, [NONE; KEY_PARTS]),
            Some(Named::Total) => (table.total, [TOTAL; KEY_PARTS]),
            Some(Named::Key(number)) => (table.row(number), [number; KEY_PARTS]),
            None => {
                let key = self.wanted(rows);
                (if table.width == 1 { table.row(key[0]) } else { row_with(table, rows, &key) }, key)
            }
        };
        if table.state == State::Empty {
            return Ok(absent(key));
        }
        if row == NONE {
            let listed = rows.named.is_none() && world.fixed_rows(rows.table).is_none();
            if listed {
                return Ok(absent(key));
            }
            let name = Reporter::row_name(world, &absent(key));
            return Err(Cause::RowMissing(world.id(rows.table), name));
        }
        let frame = self.frame(book, rows.table, row);
        if self.passes(rows, frame)? { Ok(frame) } else { Ok(absent(key)) }
    }

    /// Calls `f` for each row until it says stop. A total row is no row of its own, but for a scope.
    fn each(&mut self, rows: &'a Rows, total: bool, f: &mut dyn FnMut(&mut Self, Frame) -> Result<bool>) -> Result<()> {
        if rows.book != BookOf::Units {
            let book = self.book(rows.book)?;
            return self.each_in(book, rows, total, f).map(|_| ());
        }
        if self.world.units.is_empty() {
            return Err(Cause::NoUnits);
        }
        for book in self.world.units.clone() {
            if !self.each_in(book, rows, total, f)? {
                break;
            }
        }
        Ok(())
    }

    fn each_in(
        &mut self,
        book: usize,
        rows: &'a Rows,
        total: bool,
        f: &mut dyn FnMut(&mut Self, Frame) -> Result<bool>,
    ) -> Result<bool> {
        let world = self.world;
        let Some(table) = world.table(book, rows.table).filter(|table| table.state != State::Missing) else {
            return Err(self.table_missing(rows));
        };
        let mut visit = |run: &mut Self, row: u32| -> Result<bool> {
            let frame = run.frame(book, rows.table, row);
            Ok(!run.passes(rows, frame)? || f(run, frame)?)
        };
        if table.state == State::Empty {
            return Ok(true);
        }
        if let Some(named) = rows.named {
            let row = match named {
                Named::Record => 0,
                Named::Total => table.total,
                Named::Key(number) => table.row(number),
            };
            return if row == NONE || row >= table.len() { Ok(true) } else { visit(self, row) };
        }
        let key = self.wanted(rows);
        if let (1, Some(_)) = (table.width, rows.joins.first()) {
            let row = table.row(key[0]);
            return if row == NONE { Ok(true) } else { visit(self, row) };
        }
        if let Some(join) = rows.joins.first() {
            let number = key.get(join.position).copied().unwrap_or(NONE);
            for (_, row) in table.with(join.position, number) {
                let have = table.key(*row);
                let fits = rows.joins.iter().all(|join| have.get(join.position) == key.get(join.position));
                if fits && !visit(self, *row)? {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        let lists = rows.tests.iter().find_map(|test| match test {
            Test::In { rows, leads: Some(part), .. } => Some((rows, *part)),
            _ => None,
        });
        if let Some((list, part)) = lists {
            for row in self.listed(table, list, part)? {
                if !visit(self, row)? {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        for row in 0..table.len() {
            let is_total = row == table.total && table.width > 0;
            if (!is_total || total) && !visit(self, row)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The rows of a table that a list names, looking from the list.
    fn listed(&mut self, table: &BookTable<'a>, list: &'a Rows, part: usize) -> Result<Vec<u32>> {
        let book = self.book(list.book)?;
        let Some(keys) = self.world.table(book, list.table).filter(|keys| keys.state != State::Missing) else {
            return Err(self.table_missing(list));
        };
        let outer = || list.joins.iter().filter(|join| join.position != part);
        let wanted = self.wanted(list);
        let Some(first) = outer().next() else { return Ok(Vec::new()) };
        let mut rows = Vec::new();
        let number = wanted.get(first.position).copied().unwrap_or(NONE);
        for (_, at) in keys.with(first.position, number) {
            let key = keys.key(*at);
            if outer().all(|join| key.get(join.position) == wanted.get(join.position)) {
                rows.extend(key.get(part).map(|number| table.row(*number)).filter(|row| *row != NONE));
            }
        }
        rows.sort_unstable();
        rows.dedup();
        Ok(rows)
    }

    fn passes(&mut self, rows: &'a Rows, frame: Frame) -> Result<bool> {
        for test in &rows.tests {
            let passes = match test {
                Test::Parents => self.is_parent(frame),
                Test::Leaves => !self.is_parent(frame),
                Test::Level(digits) => {
                    let table = self.world.table(frame.book, frame.table);
                    let key = table.and_then(|table| table.keys.get(frame.row as usize)).copied().unwrap_or("");
                    key.len() == *digits && key.bytes().all(|byte| byte.is_ascii_digit())
                }
                Test::In { not, rows, .. } => self.inside(frame, |run| run.exists(rows))? != *not,
                Test::Holds(expr) => self.inside(frame, |run| run.truth(expr))? != Meeting::Never,
            };
            if !passes {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn inside<T>(&mut self, frame: Frame, look: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.frames.push(frame);
        let (from, sides) = (self.seen.len(), self.sides.take());
        let found = look(self);
        // Cells of the rows that are looked through are not what the line rests on; those that they are held
        // against are.
        let mut kept = from;
        for at in from..self.seen.len() {
            let seen = self.seen[at];
            let own = seen.book == frame.book && seen.table == frame.table && seen.row == frame.row;
            if !own && !self.seen[..kept].contains(&seen) {
                self.seen[kept] = seen;
                kept += 1;
            }
        }
        self.seen.truncate(kept);
        self.sides = sides;
        self.frames.pop();
        found
    }

    fn is_parent(&self, frame: Frame) -> bool {
        let Some(table) = self.world.table(frame.book, frame.table) else { return false };
        match self.world.fixed_rows(frame.table) {
            Some(fixed) => {
                let at = table.fixed.iter().position(|row| *row == frame.row);
                at.and_then(|at| fixed.get(at)).is_some_and(|row| !row.parts.is_empty())
            }
            None => table.is_parent(frame.row),
        }
    }

    fn exists(&mut self, rows: &'a Rows) -> Result<bool> {
        let mut found = false;
        self.each(rows, false, &mut |_, _| {
            found = true;
            Ok(false)
        })?;
        Ok(found)
    }

    // ── figures ──────────────────────────────────────────────────────────────────────────

    fn read(&mut self, frame: Frame, column: usize) -> Result<Value<'a>> {
        let Frame { book, table, row, key } = frame;
        let key = if row == NONE { key } else { [NONE; KEY_PARTS] };
        self.seen.push(Seen { book, table, column, row, key });
        let cell = self.world.table(book, table).and_then(|table| table.cell(row, column));
        Ok(match cell {
            // The round leaves out what it doesn't know, such as a deadline that nobody has set.
            None | Some(Cell::Blank) if Some(book) == self.world.given => {
                return Err(Cause::NotGiven(self.world.id(table)));
            }
            None | Some(Cell::Blank) => Value::Blank,
            Some(Cell::Amount(amount)) if self.world.slack.is_some() => {
                let columns = self.world.form.tables.get(table).map_or(0, |table| table.columns.len());
                let slack = self.world.slack.and_then(|slack| slack.get(table));
                let slack = slack.and_then(|slack| slack.get(row as usize * columns + column)).copied();
                Value::Number(Interval::of_sum(amount.value.fen(), slack.unwrap_or(0)))
            }
            Some(Cell::Amount(amount)) => {
                let kind =
                    self.world.form.tables.get(table).and_then(|table| table.columns.get(column)).map(|c| c.kind);
                let yuan = amount.scale.denomination == Denomination::Yuan;
                // Who writes 4060 元 means it: only 万元 hide something behind their last digit.
                let exact = matches!(kind, Some(ColumnKind::Amount { decimals: Decimals::AsWritten, .. })) && yuan;
                let exactly = || Interval::exact(amount.value.fen(), 1);
                Value::Number(if exact { exactly() } else { Interval::of_amount(*amount) })
            }
            Some(Cell::Number(number)) => {
                let column = self.world.form.tables.get(table).and_then(|table| table.columns.get(column));
                let percent = column.is_some_and(|column| matches!(column.kind, ColumnKind::Percent { .. }));
                Value::Number(if percent { Interval::of_percent(*number) } else { Interval::of_count(*number) })
            }
            Some(Cell::Text(text)) => Value::Text(Cow::Borrowed(text.as_str())),
            Some(Cell::Unreadable(_)) => return Err(self.unreadable()),
        })
    }

    /// The cell that was read last can't be read as what it should be.
    fn unreadable(&self) -> Cause {
        Cause::Unreadable(self.last_address())
    }

    fn last_address(&self) -> crate::budget::cell::CellAddress {
        let empty = || crate::budget::cell::CellAddress::new("", "", "");
        self.seen.last().map_or_else(empty, |seen| Reporter::address(self.world, seen))
    }

    fn number(&mut self, expr: &'a Expr) -> Result<Interval> {
        match self.value(expr)? {
            Value::Number(number) => Ok(number),
            Value::Blank => Ok(Interval::ZERO),
            Value::Text(_) => Err(self.unreadable()),
        }
    }

    fn factor(&mut self, expr: &'a Expr) -> Result<Interval> {
        match self.value(expr)? {
            Value::Number(number) => Ok(number),
            Value::Blank => Err(Cause::BlankFactor(self.last_address())),
            Value::Text(_) => Err(self.unreadable()),
        }
    }

    fn text(&mut self, expr: &'a Expr) -> Result<Cow<'a, str>> {
        Ok(match self.value(expr)? {
            Value::Text(text) => text,
            Value::Blank | Value::Number(_) => Cow::Borrowed(""),
        })
    }

    fn folded(&mut self, expr: &'a Expr) -> Result<Cow<'a, str>> {
        Ok(match self.text(expr)? {
            Cow::Borrowed(text) => folded(text),
            Cow::Owned(text) => Cow::Owned(folded(&text).into_owned()),
        })
    }

    fn value(&mut self, expr: &'a Expr) -> Result<Value<'a>> {
        match expr {
            Expr::Number(number) => Ok(Value::Number(*number)),
            Expr::Text(text) => Ok(Value::Text(Cow::Borrowed(text))),
            Expr::Here { frame, column } => match self.frames.get(*frame).copied() {
                Some(frame) => self.read(frame, *column),
                None => Ok(Value::Blank),
            },
            Expr::Cell { rows, column } => {
                let frame = self.find(rows)?;
                self.read(frame, *column)
            }
            Expr::Key { frame, position, axis } => {
                let number = self.frames.get(*frame).and_then(|frame| frame.key.get(*position)).copied();
                Ok(Value::Text(Cow::Borrowed(self.world.keys.name(*axis, number.unwrap_or(NONE)))))
            }
            Expr::Sum { over, of } => self.sum(over, of),
            Expr::Count(rows) => {
                let mut count = 0;
                self.each(rows, false, &mut |_, _| {
                    count += 1;
                    Ok(true)
                })?;
                Ok(Value::Number(Interval::exact(count, 1)))
            }
            Expr::Add(parts) => {
                let mut total = Interval::ZERO;
                for (minus, part) in parts {
                    let part = self.number(part)?;
                    total = if *minus { total.minus(&part) } else { total.plus(&part) }.map_err(impossible)?;
                }
                Ok(Value::Number(total))
            }
            Expr::Multiply(first, factors) => {
                let mut product = self.factor(first)?;
                for (divides, factor) in factors {
                    let factor = self.factor(factor)?;
                    let next = if *divides { product.divided_by(&factor) } else { product.times(&factor) };
                    product = next.map_err(impossible)?;
                }
                Ok(Value::Number(product))
            }
            Expr::Negative(part) => Ok(Value::Number(self.number(part)?.negative())),
            Expr::As { of, unit, sum } => match self.value(of)? {
                Value::Text(text) => {
                    let text = folded(&text);
                    let read = written::read(&text, *unit).or_else(|| if *sum { written::sum(&text) } else { None });
                    read.map(Value::Number).ok_or_else(|| self.unreadable())
                }
                other => Ok(other),
            },
            condition => match self.truth(condition)? {
                Meeting::Never => Ok(Value::Number(Interval::ZERO)),
                Meeting::Plain | Meeting::ByRounding => Ok(Value::Number(Interval::exact(1, 1))),
            },
        }
    }

    fn sum(&mut self, over: &'a Over, of: &'a Expr) -> Result<Value<'a>> {
        let mut total = Interval::ZERO;
        let mut add = |run: &mut Self, frame: Frame, minus: bool| -> Result<bool> {
            run.frames.push(frame);
            let part = run.number(of);
            run.frames.pop();
            let part = part?;
            total = if minus { total.minus(&part) } else { total.plus(&part) }.map_err(impossible)?;
            Ok(true)
        };
        match over {
            Over::Rows(rows) => self.each(rows, false, &mut |run, frame| add(run, frame, false))?,
            Over::Children(at) | Over::Leaves(at) => {
                let leaves = matches!(over, Over::Leaves(_));
                if let Some(frame) = self.frames.get(*at).copied() {
                    self.below(frame, leaves, false, &mut add)?;
                }
            }
        }
        Ok(Value::Number(total))
    }

    /// The rows below one, or the last of them; of fixed rows, those that it adds, some of them taken off.
    fn below(
        &mut self,
        frame: Frame,
        leaves: bool,
        minus: bool,
        f: &mut dyn FnMut(&mut Self, Frame, bool) -> Result<bool>,
    ) -> Result<()> {
        let world = self.world;
        let Some(table) = world.table(frame.book, frame.table) else { return Ok(()) };
        if let Some(fixed) = world.fixed_rows(frame.table) {
            let at = table.fixed.iter().position(|row| *row == frame.row && frame.row != NONE);
            let parts = at.and_then(|at| fixed.get(at)).map_or(&[][..], |row| &row.parts);
            for part in parts {
                let row = table.fixed.get(part.row).copied().unwrap_or(NONE);
                if row == NONE {
                    let key = fixed.get(part.row).map(|row| row.key.clone()).unwrap_or_default();
                    return Err(Cause::RowMissing(world.id(frame.table), key));
                }
                let child = self.frame(frame.book, frame.table, row);
                let minus = minus != part.minus;
                if leaves && self.is_parent(child) {
                    self.below(child, leaves, minus, f)?;
                } else {
                    f(self, child, minus)?;
                }
            }
            return Ok(());
        }
        for row in table.children(frame.row) {
            let child = self.frame(frame.book, frame.table, row);
            if leaves && table.is_parent(row) {
                self.below(child, leaves, minus, f)?;
            } else {
                f(self, child, minus)?;
            }
        }
        Ok(())
    }

    // ── conditions ───────────────────────────────────────────────────────────────────────

    fn truth(&mut self, expr: &'a Expr) -> Result<Meeting> {
        let plain = |holds: bool| Ok(if holds { Meeting::Plain } else { Meeting::Never });
        match expr {
            Expr::And(parts) => self.worst(parts),
            Expr::Or(parts) => self.best(parts),
            Expr::Not(part) => plain(self.truth(part)? == Meeting::Never),
            Expr::Iff(parts) => {
                let [a, b] = parts.as_ref();
                plain((self.truth(a)? == Meeting::Never) == (self.truth(b)? == Meeting::Never))
            }
            Expr::Compare(first, rest, measure) => self.compare(first, rest, *measure),
            Expr::Begins(parts) => {
                let [a, b] = parts.as_ref();
                let (a, b) = (self.folded(a)?, self.folded(b)?);
                plain(a.starts_with(b.as_ref()) || b.starts_with(a.as_ref()))
            }
            Expr::Has(parts) => {
                let [a, b] = parts.as_ref();
                let (a, b) = (self.folded(a)?, self.folded(b)?);
                plain(a.contains(b.as_ref()))
            }
            Expr::Exists(rows) => plain(self.exists(rows)?),
            Expr::Present(part) => plain(!matches!(self.value(part)?, Value::Blank)),
            Expr::Filled(rows) => plain(self.filled(rows)?),
            Expr::IsUnit(part, Unit::Time) => plain(written::is_time(&self.text(part)?)),
            Expr::IsUnit(part, unit) => plain(written::read(&self.folded(part)?, *unit).is_some()),
            Expr::MentionsMoney(part) => plain(!written::mentioned(&self.folded(part)?).is_empty()),
            Expr::Mentions(parts) => {
                let [text, amount] = parts.as_ref();
                let mentioned = written::mentioned(&self.folded(text)?);
                let amount = self.number(amount)?;
                let mut best = Meeting::Never;
                for one in mentioned {
                    match one.compare(Relation::Equal, &amount).map_err(impossible)? {
                        Meeting::Plain => return Ok(Meeting::Plain),
                        Meeting::ByRounding => best = Meeting::ByRounding,
                        Meeting::Never => {}
                    }
                }
                Ok(best)
            }
            Expr::In(part, among) => {
                let value = self.value(part)?;
                for option in among {
                    let option = self.value(option)?;
                    if meet(&value, &option, Relation::Equal)? != Meeting::Never {
                        return Ok(Meeting::Plain);
                    }
                }
                Ok(Meeting::Never)
            }
            Expr::Unique { rows, column } => plain(self.in_order(rows, *column, true)?),
            Expr::Ascending { rows, column } => plain(self.in_order(rows, *column, false)?),
            figure => plain(!matches!(self.value(figure)?, Value::Blank)),
        }
    }

    /// All must hold. One that fails decides, even if another can't be judged.
    fn worst(&mut self, parts: &'a [Expr]) -> Result<Meeting> {
        let (mut worst, mut cause) = (Meeting::Plain, None);
        for part in parts {
            match self.truth(part) {
                Ok(Meeting::Never) => return Ok(Meeting::Never),
                Ok(Meeting::ByRounding) => worst = Meeting::ByRounding,
                Ok(Meeting::Plain) => {}
                Err(missing) => cause = cause.or(Some(missing)),
            }
        }
        cause.map_or(Ok(worst), Err)
    }

    /// One must hold. One that does decides, even if another can't be judged.
    fn best(&mut self, parts: &'a [Expr]) -> Result<Meeting> {
        let (mut best, mut cause) = (Meeting::Never, None);
        for part in parts {
            match self.truth(part) {
                Ok(Meeting::Plain) => return Ok(Meeting::Plain),
                Ok(Meeting::ByRounding) => best = Meeting::ByRounding,
                Ok(Meeting::Never) => {}
                Err(missing) => cause = cause.or(Some(missing)),
            }
        }
        if best == Meeting::Never { cause.map_or(Ok(best), Err) } else { Ok(best) }
    }

    fn compare(&mut self, first: &'a Expr, rest: &'a [(Relation, Expr)], measure: Measure) -> Result<Meeting> {
        let left = self.value(first)?;
        let left_cells = self.seen.len();
        let mut worst = Meeting::Plain;
        for (relation, expr) in rest {
            let right = self.value(expr)?;
            let meeting = meet(&left, &right, *relation)?;
            if meeting == Meeting::Never || self.sides.is_none() && meeting == Meeting::ByRounding {
                let left = left.clone();
                self.sides = Some(Sides { left, right, relation: *relation, measure, left_cells });
            }
            worst = match (worst, meeting) {
                (Meeting::Never, _) | (_, Meeting::Never) => Meeting::Never,
                (Meeting::ByRounding, _) | (_, Meeting::ByRounding) => Meeting::ByRounding,
                (Meeting::Plain, Meeting::Plain) => Meeting::Plain,
            };
        }
        Ok(worst)
    }

    fn filled(&mut self, rows: &'a Rows) -> Result<bool> {
        let columns = self.world.form.tables.get(rows.table).map_or(0, |table| table.columns.len());
        let mut filled = false;
        self.each(rows, true, &mut |run, frame| {
            for column in 0..columns {
                let blank = matches!(run.read(frame, column), Ok(Value::Blank));
                if blank {
                    run.seen.pop();
                } else {
                    filled = true;
                    return Ok(false);
                }
            }
            Ok(true)
        })?;
        Ok(filled)
    }

    fn in_order(&mut self, rows: &'a Rows, column: usize, unique: bool) -> Result<bool> {
        let mut values: Vec<Cow<'a, str>> = Vec::new();
        self.each(rows, false, &mut |run, frame| {
            let cell = run.world.table(frame.book, frame.table).and_then(|table| table.cell(frame.row, column));
            let _ = run.read(frame, column)?;
            values.extend(cell.filter(|cell| !cell.is_blank()).map(|cell| Cow::Owned(cell.to_string())));
            Ok(true)
        })?;
        if unique {
            values.sort();
        }
        let by_size = |text: &str| (text.len(), text.to_owned());
        Ok(values.windows(2).all(|pair| match pair {
            [a, b] if unique => a != b,
            [a, b] => by_size(a) <= by_size(b),
            _ => true,
        }))
    }
}

/// As [`fold_width`]; most texts are folded as they stand, and are not copied.
fn folded(text: &str) -> Cow<'_, str> {
    // Spaces, and the first bytes of wide forms, brackets and wide spaces in UTF-8.
    let may_fold = |byte: &u8| byte.is_ascii_whitespace() || matches!(*byte, 0x0b | 0xc2 | 0xe1 | 0xe2 | 0xe3 | 0xef);
    if text.as_bytes().iter().any(may_fold) { Cow::Owned(fold_width(text)) } else { Cow::Borrowed(text) }
}

fn row_with(table: &BookTable<'_>, rows: &Rows, key: &[u32; KEY_PARTS]) -> u32 {
    let Some(join) = rows.joins.first() else { return NONE };
    let number = key.get(join.position).copied().unwrap_or(NONE);
    let fits = |row: &u32| {
        let have = table.key(*row);
        rows.joins.iter().all(|join| have.get(join.position) == key.get(join.position))
    };
    table.with(join.position, number).iter().map(|(_, row)| *row).find(fits).unwrap_or(NONE)
}

fn impossible(impossible: Impossible) -> Cause {
    match impossible {
        Impossible::DivisionByZero => Cause::DivisionByZero,
        Impossible::TooLarge => Cause::TooLarge,
    }
}

/// How two values lie. A blank is nothing: 0 among figures, an empty text among texts.
fn meet(left: &Value<'_>, right: &Value<'_>, relation: Relation) -> Result<Meeting> {
    let number = |value: &Value<'_>| match value {
        Value::Number(number) => Some(*number),
        Value::Blank => Some(Interval::ZERO),
        Value::Text(_) => None,
    };
    if let (Some(left), Some(right)) = (number(left), number(right)) {
        return left.compare(relation, &right).map_err(impossible);
    }
    fn text<'v>(value: &'v Value<'_>) -> Cow<'v, str> {
        match value {
            Value::Text(text) => folded(text),
            Value::Blank | Value::Number(_) => Cow::Borrowed(""),
        }
    }
    let same = || match (left, right) {
        (Value::Text(left), Value::Text(right)) if left == right => true,
        _ => text(left) == text(right),
    };
    let holds = match relation {
        Relation::Equal => same(),
        Relation::Different => !same(),
        // Times are texts of the same length.
        Relation::AtMost => text(left) <= text(right),
        Relation::AtLeast => text(left) >= text(right),
        Relation::Below => text(left) < text(right),
        Relation::Above => text(left) > text(right),
    };
    Ok(if holds { Meeting::Plain } else { Meeting::Never })
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
