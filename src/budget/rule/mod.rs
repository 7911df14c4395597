//! The check rules of a form set (审核公式): formulas over cells, and what they find in a filing.
//!
//! A rule is data: `rules.toml` of the form set, described in `forms/README.md`. What a line doesn't name, it holds for
//! each of; figures meet where their axes agree; a printed figure stands for every amount that prints so.
//!
//! Reading order: `syntax` (text → tree) → `resolve` (tree → `line`, with every load-time error) → `interval`
//! (exact arithmetic on printed figures) → `keys`, `book` and `world` (filings, numbered) → `evaluate` (verdicts), which
//! looks at them by `look` (in two ways: exactly, and by printed figures alone, `printed`), by way of `select`, `figures` and
//! `conditions` → `report` → `finding`.
//! Beside them `load` (the file), `bound` (what would take too long), `written` (figures in texts), `aloud` (a formula as a
//! sentence), `coverage`, and `consolidated` (sums instead of a filing).
//! It knows no other filings but those it is handed, and nothing of who may do what.

mod aloud;
mod book;
mod bound;
mod conditions;
mod consolidated;
mod coverage;
mod evaluate;
mod figures;
mod finding;
mod interval;
mod keys;
mod line;
mod load;
mod look;
mod names;
mod printed;
mod report;
mod resolve;
mod select;
mod syntax;
mod world;
mod written;

use std::collections::HashMap;

use compact_str::CompactString;

use super::finding::Strength;
use super::form_set::FormFault;
use super::reason::Reason;
use super::submission::Kind;
use book::Book;
use keys::{FixedKey, KeyHash, KnownKeys};
use line::Line;

pub use consolidated::{Consolidated, SumRow};
pub use coverage::{Coverage, coverage};
pub use evaluate::{Books, Checked, Filed, evaluate, evaluate_exactly};
pub use finding::{Cause, CellSeen, Counts, Fingerprint, Quantity, RuleFinding, Source, Verdict};
pub use line::Needs;
pub(crate) use load::load;
pub use load::{PAIRED_LINES_MAX, RULE_LINES_MAX, RULES_MAX};
pub use resolve::FORMULA_LINES_MAX;
pub use syntax::{FORMULA_BYTES_MAX, FORMULA_DEPTH_MAX};

/// The rules of a form set, compiled.
#[derive(Debug, Default)]
pub struct RuleSet {
    /// The rules, in the order of the file.
    pub rules: Vec<Rule>,
    /// Checks that people know by an id, and that are no formulas.
    pub elsewhere: Vec<Elsewhere>,
    /// What is allowed but probably not meant: rules that can never find anything, amounts that no rule reads.
    pub warnings: Vec<FormFault>,
    /// Where each of them is, by its id.
    by_id: HashMap<CompactString, usize, KeyHash>,
    /// What the rules for each kind of submission need beside it.
    needs: Vec<(Kind, Needs)>,
    /// Keys that the form set knows.
    keys: KnownKeys,
    /// Its fixed rows, numbered, for each table.
    fixed: Vec<Vec<FixedKey>>,
    /// Its relations, numbered.
    relations: Book<'static>,
    /// Which tables any rule looks into, relations behind.
    tables: Vec<bool>,
}

/// A check that people know by its id and look for among the rules: it is made elsewhere, or not at all.
#[derive(Debug)]
pub struct Elsewhere {
    /// Its id, such as `P-11`.
    pub id: CompactString,
    /// Where it is made, in Chinese.
    pub says: String,
    /// The same in English.
    pub says_en: String,
    /// What is found where it fails.
    pub see: Vec<Reason>,
}

/// One rule.
#[derive(Debug)]
pub struct Rule {
    /// Its id, such as `V-01`.
    pub id: CompactString,
    /// Heading of its findings, in Chinese.
    pub title: String,
    /// The same in English.
    pub title_en: String,
    /// Why there is such a rule, in Chinese.
    pub reason: String,
    /// The same in English.
    pub reason_en: String,
    /// What to do about a finding, in Chinese.
    pub todo: String,
    /// The same in English.
    pub todo_en: String,
    /// A failure as an example, in Chinese; empty if the form set gives none.
    pub example: String,
    /// The same in English.
    pub example_en: String,
    /// What follows from a finding.
    pub strength: Strength,
    /// The kinds of submission that it looks at.
    pub kinds: Vec<Kind>,
    /// Whether it looks at sums of units as well.
    pub views: bool,
    /// Its formulas.
    pub checks: Vec<Check>,
    lines: Vec<Line>,
}

/// One formula of a rule.
#[derive(Debug)]
pub struct Check {
    /// As it is written.
    pub formula: String,
    /// The same with the names of `[let]` in it: whoever changes what a name means changes the formula.
    pub(super) spelled_out: String,
    /// Read aloud in Chinese.
    pub aloud: String,
    /// Read aloud in English.
    pub aloud_en: String,
    /// What it needs beside the filing.
    pub needs: Needs,
}

impl RuleSet {
    /// The name of a finding of one of these rules with the figures that it rests on.
    pub fn fingerprint(&self, finding: &RuleFinding) -> Fingerprint {
        let check = self.rule(&finding.rule).and_then(|(_, rule)| rule.checks.get(finding.check));
        finding.fingerprint(check.map_or("", |check| &check.spelled_out))
    }

    /// What the rules that look at submissions of a kind need beside them.
    pub fn needs(&self, kind: Kind) -> Needs {
        self.needs.iter().find(|(of, _)| *of == kind).map_or_else(Needs::default, |(_, needs)| *needs)
    }

    /// What is said of an id that is no rule's.
    pub fn elsewhere(&self, id: &str) -> Option<&Elsewhere> {
        self.elsewhere.iter().find(|known| known.id.eq_ignore_ascii_case(id))
    }

    /// Number and rule of that id.
    pub fn rule(&self, id: &str) -> Option<(usize, &Rule)> {
        let at = *self.by_id.get(id)?;
        Some((at, self.rules.get(at)?))
    }
}
