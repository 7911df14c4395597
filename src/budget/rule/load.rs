//! Reads `rules.toml`: rules, their formulas and the names of `[let]`; everything wrong with them, each at its place.
//!
//! What a formula means is worked out in `resolve/`; here its faults get file, line and column.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::book::Book;
use super::keys::KnownKeys;
use super::line::{Claim, Expr, Line, Rows, Scope, Test};
use super::names::Names;
use super::resolve::{Fault, Resolver};
use super::syntax::{Node, Span, SyntaxFault, Unit, parse_check, parse_let};
use super::{Check, Elsewhere, Needs, Rule, RuleSet, aloud};
use crate::budget::finding::Strength;
use crate::budget::form_set::{Column, ColumnKind, FormFault, FormSet, RULES_FILE, Table};
use crate::budget::reason::{Reason, Remark};
use crate::budget::submission::Kind;

/// Sections that are no rules.
const SECTIONS: [&str; 2] = ["let", "elsewhere"];
/// What `applies` calls the sums of a node.
const VIEW: &str = "view";
/// The most rules of a form set, formulas of a rule, and names of `[let]`.
pub const RULES_MAX: usize = 1_000;
/// The most lines that all rules together may become.
pub const RULE_LINES_MAX: usize = 20_000;
/// The most of them that may hold every row of a table against every row of another.
pub const PAIRED_LINES_MAX: usize = 100;
/// The most faults that are told.
const FAULTS_MAX: usize = 200;

/// The rules of a form set; none if it has no `rules.toml`.
///
/// # Errors
/// All faults found, each with line and column.
pub(crate) fn load(form: &FormSet) -> Result<RuleSet, Vec<FormFault>> {
    let Some(bytes) = form.files.get(RULES_FILE) else { return Ok(RuleSet::default()) };
    let mut loader = Loader { text: "", faults: Vec::new(), of: String::new(), ids: BTreeSet::new() };
    let rules = match std::str::from_utf8(bytes) {
        Ok(text) => {
            loader.text = text;
            loader.rules(form)
        }
        Err(error) => {
            let line = 1 + bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
            let remark = Remark::new(Reason::FormSyntax).with("found", "").with("expected", "UTF-8");
            return Err(vec![FormFault { file: RULES_FILE.to_owned(), line, column: 1, remark }]);
        }
    };
    loader.faults.truncate(FAULTS_MAX);
    if loader.faults.is_empty() { Ok(rules) } else { Err(loader.faults) }
}

struct Loader<'t> {
    text: &'t str,
    faults: Vec<FormFault>,
    /// The rule at hand, or the name of `[let]`: each message says which.
    of: String,
    /// Ids so far, in capital letters.
    ids: BTreeSet<String>,
}

type Value<'t> = Spanned<DeValue<'t>>;

/// A name of `[let]`: where its text stands, and what it means.
struct Let {
    name: String,
    span: Range<usize>,
    text: String,
}

impl<'t> Loader<'t> {
    fn rules(&mut self, form: &FormSet) -> RuleSet {
        let document = match DeTable::parse(self.text) {
            Ok(document) => document,
            Err(error) => {
                let span = error.span().unwrap_or(0..0);
                self.of = self.section(span.start);
                self.fault(span, Remark::new(Reason::FormSyntax).with("found", error.message().trim()));
                return RuleSet::default();
            }
        };
        let document = document.get_ref();
        if document.len() > RULES_MAX {
            self.wrong(0..0, Reason::FormWrongValue, &document.len().to_string(), "≤ 1000");
            return RuleSet::default();
        }
        let (meanings, texts) = self.lets(document);
        self.of.clear();
        let names = Names { form };
        let mut resolver = Resolver::new(names, &meanings);
        let mut set = RuleSet::default();
        let (mut count, mut paired, mut used) = (0, 0, BTreeSet::new());
        for (key, value) in document.iter().filter(|(key, _)| !SECTIONS.contains(&key.get_ref().as_ref())) {
            self.of = key.get_ref().to_string();
            let DeValue::Table(entries) = value.get_ref() else {
                self.wrong(key.span(), Reason::FormUnknownKey, key.get_ref(), "[V-01], [let], [elsewhere]");
                continue;
            };
            let rule = self.rule(form, key, entries, (&mut resolver, &mut used), &texts);
            if let Some(rule) = rule {
                count += rule.lines.len();
                if count > RULE_LINES_MAX {
                    self.wrong(key.span(), Reason::FormWrongValue, &count.to_string(), "≤ 20000");
                    return set;
                }
                paired += rule.lines.iter().filter(|line| !line.pairs.is_empty()).count();
                if paired > PAIRED_LINES_MAX {
                    let last = rule.lines.iter().flat_map(|line| &line.pairs).last();
                    let found = last.map(|pair| pair.map(|(_, table)| names.table_name(table)).join(" × "));
                    self.wrong(key.span(), Reason::RuleTakesTooLong, &found.unwrap_or_default(), "≤ 100");
                    return set;
                }
                set.warnings.extend(self.idle(form, &rule, key.span()));
                set.rules.push(rule);
            }
        }
        for unused in texts.iter().filter(|known| !used.contains(&known.name)) {
            let remark = Remark::new(Reason::RuleNameUnused).with("found", &unused.name);
            set.warnings.push(self.place(unused.span.start, remark));
        }
        set.elsewhere = self.elsewhere(document);
        self.of.clear();
        set.warnings.extend(unread(form, &resolver.read));
        set.warnings.extend(unasked(form, &set.rules));
        set.by_id = set.rules.iter().enumerate().map(|(at, rule)| (rule.id.clone(), at)).collect();
        set.needs = needs(&set.rules);
        set.keys = KnownKeys::new(form, &resolver.keys);
        set.fixed = (0..form.tables.len()).map(|table| set.keys.fixed(form, table)).collect();
        set.relations = Book::of_relations(form, &resolver.tables, &mut set.keys);
        set.tables = resolver.tables;
        set
    }

    fn lets(&mut self, document: &DeTable<'t>) -> (BTreeMap<String, Node>, Vec<Let>) {
        let (mut meanings, mut texts): (_, Vec<Let>) = (BTreeMap::new(), Vec::new());
        let Some(value) = document.get("let") else { return (meanings, texts) };
        let DeValue::Table(entries) = value.get_ref() else {
            self.wrong(value.span(), Reason::FormWrongValue, "let", "a section");
            return (meanings, texts);
        };
        for (key, value) in entries {
            self.of = format!("[let] {}", key.get_ref());
            let Some(text) = self.text_of(value) else { continue };
            texts.push(Let { name: key.get_ref().to_string(), span: value.span(), text });
            let parsed = texts.last().map(|known| parse_let(&known.text, texts.len()));
            match parsed {
                Some(Ok(node)) => {
                    meanings.insert(key.get_ref().to_string(), node);
                }
                Some(Err(fault)) => self.syntax(&fault, &value.span(), &texts),
                None => {}
            }
        }
        (meanings, texts)
    }

    /// Checks that are no formulas.
    fn elsewhere(&mut self, document: &DeTable<'t>) -> Vec<Elsewhere> {
        let Some(value) = document.get("elsewhere") else { return Vec::new() };
        self.of = "[elsewhere]".to_owned();
        let DeValue::Table(checks) = value.get_ref() else {
            self.wrong(value.span(), Reason::FormWrongValue, "elsewhere", "a section");
            return Vec::new();
        };
        let mut all = Vec::new();
        for (key, value) in checks {
            self.of = format!("[elsewhere] {}", key.get_ref());
            if !self.ids.insert(key.get_ref().to_ascii_uppercase()) {
                self.wrong(key.span(), Reason::FormWrongValue, key.get_ref(), "an id of its own");
            }
            let DeValue::Table(entries) = value.get_ref() else {
                self.wrong(
                    value.span(),
                    Reason::FormWrongValue,
                    key.get_ref(),
                    "{ says = '…', says_en = '…', see = [] }",
                );
                continue;
            };
            let known = ["says", "says_en", "see"];
            for (key, _) in entries.iter().filter(|(key, _)| !known.contains(&key.get_ref().as_ref())) {
                self.wrong(key.span(), Reason::FormUnknownKey, key.get_ref(), &known.join(", "));
            }
            let [says, says_en] = ["says", "says_en"].map(|name| self.required_text(entries, name, key));
            let see = self.reasons(entries.get("see"));
            if let (Some(says), Some(says_en)) = (says, says_en) {
                all.push(Elsewhere { id: key.get_ref().as_ref().into(), says, says_en, see });
            }
        }
        all
    }

    fn reasons(&mut self, value: Option<&Value<'t>>) -> Vec<Reason> {
        let Some(value) = value else { return Vec::new() };
        let one = std::slice::from_ref(value);
        let items: &[Value<'t>] = match value.get_ref() {
            DeValue::Array(items) => items,
            _ => one,
        };
        let mut reasons = Vec::new();
        for item in items {
            let Some(text) = self.text_of(item) else { continue };
            match Reason::from_code(&text) {
                Some(reason) => reasons.push(reason),
                None => self.wrong(item.span(), Reason::FormWrongValue, &text, "a code that explain knows"),
            }
        }
        reasons
    }

    fn rule(
        &mut self,
        form: &FormSet,
        key: &Spanned<Cow<'t, str>>,
        entries: &DeTable<'t>,
        (resolver, used): (&mut Resolver<'_>, &mut BTreeSet<String>),
        texts: &[Let],
    ) -> Option<Rule> {
        let id = key.get_ref();
        let known = [
            "title",
            "title_en",
            "reason",
            "reason_en",
            "todo",
            "todo_en",
            "example",
            "example_en",
            "strength",
            "applies",
            "check",
        ];
        for (key, _) in entries {
            if !known.contains(&key.get_ref().as_ref()) {
                self.wrong(key.span(), Reason::FormUnknownKey, key.get_ref(), &known.join(", "));
            }
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if !id.chars().all(plain) || id.len() > 32 {
            self.wrong(key.span(), Reason::FormWrongValue, id, "a rule's id");
        }
        // Findings are asked for by it, whichever way it is written.
        if !self.ids.insert(id.to_ascii_uppercase()) || Reason::from_code(&id.to_ascii_uppercase()).is_some() {
            self.wrong(key.span(), Reason::FormWrongValue, id, "an id of its own");
        }
        let mut say = |name: &str| self.required_text(entries, name, key);
        let texts_of_rule = ["title", "title_en", "reason", "reason_en", "todo", "todo_en"].map(&mut say);
        let [example, example_en] = ["example", "example_en"]
            .map(|name| entries.get(name).map_or_else(|| Some(String::new()), |value| self.text_of(value)));
        let strength = self.strength(entries, key);
        let (kinds, views) = self.applies(entries);
        let formulas = self.formulas(entries, key);
        let (mut checks, mut lines) = (Vec::new(), Vec::new());
        for (span, formula) in formulas {
            let node = match parse_check(&formula) {
                Ok(node) => node,
                Err(fault) => {
                    self.syntax(&fault, &span, texts);
                    continue;
                }
            };
            let lines_of_it = resolver.lines(checks.len(), &node, &kinds, views);
            let names = std::mem::take(&mut resolver.used);
            let spelled_out = spelled_out(&formula, texts.iter().filter(|known| names.contains(&known.name)));
            used.extend(names);
            match lines_of_it {
                Ok(more) => {
                    let needs = more.iter().fold(Needs::default(), |all, line| all.and(line.needs));
                    let spoken = aloud::sentences(Names { form }, &node);
                    checks.push(Check { formula, spelled_out, aloud: spoken.0, aloud_en: spoken.1, needs });
                    more.into_iter().for_each(|line| push(&mut lines, line));
                }
                Err(fault) => self.meaning(fault, &span, &formula, texts),
            }
        }
        let [title, title_en, reason, reason_en, todo, todo_en] = texts_of_rule;
        Some(Rule {
            id: id.as_ref().into(),
            title: title?,
            title_en: title_en?,
            reason: reason?,
            reason_en: reason_en?,
            todo: todo?,
            todo_en: todo_en?,
            example: example?,
            example_en: example_en?,
            strength: strength?,
            kinds,
            views,
            checks,
            lines,
        })
    }

    fn formulas(&mut self, entries: &DeTable<'t>, key: &Spanned<Cow<'t, str>>) -> Vec<(Range<usize>, String)> {
        let Some(value) = entries.get("check") else {
            self.wrong(key.span(), Reason::FormMissingKey, "", "check");
            return Vec::new();
        };
        let one = std::slice::from_ref(value);
        let items: &[Value<'t>] = match value.get_ref() {
            DeValue::Array(items) => items,
            _ => one,
        };
        if items.is_empty() || items.len() > RULES_MAX {
            self.wrong(value.span(), Reason::FormWrongValue, &items.len().to_string(), "1–1000 formulas");
        }
        items.iter().filter_map(|item| Some((item.span(), self.text_of(item)?))).collect()
    }

    fn strength(&mut self, entries: &DeTable<'t>, key: &Spanned<Cow<'t, str>>) -> Option<Strength> {
        let text = self.required_text(entries, "strength", key)?;
        let known = [Strength::Balance, Strength::Logic, Strength::Verify];
        let found = known.into_iter().find(|strength| strength.as_str() == text);
        if found.is_none() {
            let span = entries.get("strength").map_or(key.span(), Spanned::span);
            self.wrong(span, Reason::FormWrongValue, &text, "balance, logic, verify");
        }
        found
    }

    /// The kinds of submission that a rule looks at, and whether it looks at sums: without a word, budgets and nothing
    /// else.
    fn applies(&mut self, entries: &DeTable<'t>) -> (Vec<Kind>, bool) {
        let Some(value) = entries.get("applies") else { return (vec![Kind::Unit, Kind::Department], false) };
        let one = std::slice::from_ref(value);
        let items: &[Value<'t>] = match value.get_ref() {
            DeValue::Array(items) => items,
            _ => one,
        };
        let (mut kinds, mut views) = (Vec::new(), false);
        for item in items {
            let Some(text) = self.text_of(item) else { continue };
            match Kind::parse(&text) {
                Some(kind) => kinds.push(kind),
                None if text == VIEW => views = true,
                None => self.wrong(item.span(), Reason::FormWrongValue, &text, "unit, department, difference, view"),
            }
        }
        (kinds, views)
    }

    // ── faults and their places ──────────────────────────────────────────────────────────

    fn required_text(&mut self, entries: &DeTable<'t>, name: &str, key: &Spanned<Cow<'t, str>>) -> Option<String> {
        match entries.get(name) {
            Some(value) => self.text_of(value),
            None => {
                self.wrong(key.span(), Reason::FormMissingKey, "", name);
                None
            }
        }
    }

    fn text_of(&mut self, value: &Value<'t>) -> Option<String> {
        match value.get_ref() {
            DeValue::String(text) => Some(text.to_string()),
            _ => {
                self.wrong(value.span(), Reason::FormWrongValue, "", "a text");
                None
            }
        }
    }

    fn syntax(&mut self, fault: &SyntaxFault, span: &Range<usize>, texts: &[Let]) {
        let remark = Remark::new(Reason::RuleSyntax).with("found", &fault.found).with("expected", fault.expected);
        self.meaning(Fault { at: fault.at, remark }, span, "", texts);
    }

    fn meaning(&mut self, fault: Fault, span: &Range<usize>, formula: &str, texts: &[Let]) {
        let Span { source, start, .. } = fault.at;
        let known = source.checked_sub(1).and_then(|at| texts.get(at));
        let (span, formula) = known.map_or((span, formula), |known| (&known.span, known.text.as_str()));
        // A formula in single quotes stands in the file as it is; in another string, its beginning has to do.
        let raw = span.start + 1..span.end.saturating_sub(1);
        let same = formula.is_empty() || self.text.get(raw) == Some(formula);
        let at = if same { span.start + 1 + start } else { span.start };
        self.fault(at..at, fault.remark);
    }

    fn wrong(&mut self, span: Range<usize>, reason: Reason, found: &str, expected: &str) {
        self.fault(span, Remark::new(reason).with("found", found).with("expected", expected));
    }

    fn fault(&mut self, span: Range<usize>, remark: Remark) {
        let fault = self.place(span.start, remark);
        self.faults.push(fault);
    }

    fn place(&self, at: usize, remark: Remark) -> FormFault {
        let remark = if self.of.is_empty() { remark } else { remark.with("rule", &self.of) };
        let before = self.text.get(..at).unwrap_or("");
        let line = 1 + before.matches('\n').count();
        let column = 1 + before.rsplit('\n').next().map_or(0, |start| start.chars().count());
        FormFault { file: RULES_FILE.to_owned(), line, column, remark }
    }

    /// The rule whose section a place is in, as far as the file can be read.
    fn section(&self, at: usize) -> String {
        let end = self.text.get(at..).and_then(|rest| rest.find('\n')).map_or(self.text.len(), |line| at + line);
        let headers = self.text.get(..end).unwrap_or("").lines().rev();
        let name = headers.filter_map(|line| line.strip_prefix('[')?.split(']').next()).next();
        name.unwrap_or_default().to_owned()
    }

    /// A rule with lines that can never have a row, or that no kind of submission is judged by.
    fn idle(&self, form: &FormSet, rule: &Rule, span: Range<usize>) -> Option<FormFault> {
        let idle = rule
            .lines
            .iter()
            .find(|line| (line.kinds.is_empty() && !line.views) || scope_is_idle(form, &line.scope))?;
        let formula = rule.checks.get(idle.check).map_or("", |check| check.formula.as_str());
        let remark = Remark::new(Reason::RuleNeverHolds).with("found", formula);
        Some(self.place(span.start, remark))
    }
}

/// A formula with the names of `[let]` that it uses: all that it says.
fn spelled_out<'l>(formula: &str, names: impl Iterator<Item = &'l Let>) -> String {
    names.fold(formula.to_owned(), |said, Let { name, text, .. }| said + "\n" + name + " = " + text)
}

fn scope_is_idle(form: &FormSet, scope: &Scope) -> bool {
    match scope {
        Scope::Once => false,
        Scope::Rows(rows) => rows_are_idle(form, rows),
        Scope::AnyOf(all) => all.iter().all(|rows| rows_are_idle(form, rows)),
    }
}

/// Whether there can be no such rows in any filing.
fn rows_are_idle(form: &FormSet, rows: &Rows) -> bool {
    let relation = rows.table.checked_sub(form.tables.len()).and_then(|at| form.relations.get(at));
    let names = Names { form };
    let levels: Vec<usize> = rows
        .tests
        .iter()
        .filter_map(|test| if let Test::Level(digits) = test { Some(*digits) } else { None })
        .collect();
    let parents = rows.tests.iter().any(|test| matches!(test, Test::Parents));
    let leaves = rows.tests.iter().any(|test| matches!(test, Test::Leaves));
    let finest = names.levels(rows.table).last().map(|level| level.digits);
    relation.is_some_and(|relation| relation.tuples.is_empty())
        || levels.windows(2).any(|pair| pair[0] != pair[1])
        || parents && leaves
        || parents && rows.named.is_none() && levels.first().is_some_and(|level| Some(*level) == finest)
}

/// Amount columns of the official form that no rule reads.
fn unread(form: &FormSet, read: &[Vec<bool>]) -> Vec<FormFault> {
    let names = Names { form };
    let mut unread = Vec::new();
    for (at, table) in form.tables.iter().enumerate() {
        let columns = table.columns.iter().enumerate().filter(|(_, column)| names.is_covered(at, column));
        for (column, definition) in columns {
            if !read.get(at).and_then(|columns| columns.get(column)).copied().unwrap_or(false) {
                unread.push(of_column(Reason::RuleColumnUnread, table, definition));
            }
        }
    }
    unread
}

/// Columns for times, which are kept as they are written, of which no rule asks whether they are any.
fn unasked(form: &FormSet, rules: &[Rule]) -> Vec<FormFault> {
    let names = Names { form };
    let claimed = rules.iter().flat_map(|rule| &rule.lines).filter_map(|line| match &line.claim {
        Claim::Condition(condition) => Some((condition, line.table)),
        Claim::Chain { .. } => None,
    });
    let claimed: Vec<_> = claimed.collect();
    let mut unasked = Vec::new();
    for (at, table) in form.tables.iter().enumerate().filter(|(at, _)| !names.is_given(*at)) {
        let times = table.columns.iter().enumerate().filter(|(_, column)| column.kind == ColumnKind::Time);
        for (column, definition) in times {
            if !claimed.iter().any(|(condition, of)| asks_for_time(condition, *of, (at, column))) {
                unasked.push(of_column(Reason::RuleTimeUnasked, table, definition));
            }
        }
    }
    unasked
}

/// Whether a condition on rows of the table `of` asks of a column whether it holds a time.
fn asks_for_time(condition: &Expr, of: Option<usize>, (table, column): (usize, usize)) -> bool {
    match condition {
        Expr::And(parts) | Expr::Or(parts) => parts.iter().any(|part| asks_for_time(part, of, (table, column))),
        Expr::IsUnit(part, Unit::Time) => match part.as_ref() {
            Expr::Here { column: asked, .. } => of == Some(table) && *asked == column,
            Expr::Cell { rows, column: asked } => rows.table == table && *asked == column,
            _ => false,
        },
        _ => false,
    }
}

/// What is to be said of a column, at the beginning of the file: it stands nowhere in it.
fn of_column(reason: Reason, table: &Table, column: &Column) -> FormFault {
    let remark = Remark::new(reason).with("found", format!("{}.{}", table.name, column.label));
    FormFault { file: RULES_FILE.to_owned(), line: 1, column: 1, remark }
}

/// Lines that speak of the same rows come one after the other: the columns of a formula.
fn push(lines: &mut Vec<Line>, mut line: Line) {
    line.like = match lines.last() {
        Some(last) if last.scope == line.scope && last.when == line.when => last.like,
        _ => lines.len(),
    };
    lines.push(line);
}

/// What the lines for each kind of submission need, that any looks at.
fn needs(rules: &[Rule]) -> Vec<(Kind, Needs)> {
    let mut all: Vec<(Kind, Needs)> = Vec::new();
    for line in rules.iter().flat_map(|rule| &rule.lines) {
        for kind in &line.kinds {
            match all.iter_mut().find(|(of, _)| of == kind) {
                Some((_, needs)) => *needs = needs.and(line.needs),
                None => all.push((*kind, line.needs)),
            }
        }
    }
    all
}
