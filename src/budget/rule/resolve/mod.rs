//! From the tree of a formula to lines that can be run: names, axes, joins and types, or what is wrong with them.
//!
//! A figure that isn't one figure, a name that means nothing or two things, 万元 and 个 side by side: all refused here.
//! Lines and names are here; `rows.rs` finds which rows are meant, `conditions.rs` and `figures.rs` go down the tree.
//! The grammar is `syntax.rs`'s, running is `evaluate.rs`'s.

mod conditions;
mod figures;
mod rows;

use std::collections::{BTreeMap, BTreeSet};

use compact_str::CompactString;

use super::bound;
use super::interval::Relation;
use super::line::{BookOf, Expr, Line, Measure, Needs, Scope};
use super::names::Names;
use super::syntax::{BookWord, CheckNode, FigureNode, Is, Node, Of, RefNode, Span};
use crate::budget::form_set::RollUp;
use crate::budget::reason::{Reason, Remark};
use crate::budget::submission::Kind;
use figures::is_starred;

/// The most lines that one formula may become.
pub const FORMULA_LINES_MAX: usize = 2_000;

/// How deep a formula may nest once the names in it are spelled out.
const SPELLED_DEPTH_MAX: usize = 64;
/// Of how many parts the lines of a form set may consist together, names spelled out.
const SPELLED_PARTS_MAX: usize = 500_000;

/// What is wrong with a formula, and where.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) at: Span,
    pub(super) remark: Remark,
}

type Resolved<T> = Result<T, Fault>;

/// The first figure of a chain, those it is compared with, and what they measure.
type ResolvedChain = (Expr, Vec<(Relation, Expr)>, Measure);

/// What a form set's formulas have in common while they are resolved.
pub(super) struct Resolver<'f> {
    pub(super) names: Names<'f>,
    pub(super) lets: &'f BTreeMap<String, Node>,
    /// Keys called by name, by axis.
    pub(super) keys: Vec<(usize, CompactString)>,
    /// Columns that some formula reads.
    pub(super) read: Vec<Vec<bool>>,
    pub(super) tables: Vec<bool>,
    frames: Vec<Frame>,
    /// The column that `*` stands for.
    star: Option<String>,
    /// Names of `[let]` being spelled out.
    open: Vec<String>,
    /// How deep the part at hand is in its formula, and how many parts there were so far.
    depth: usize,
    parts: usize,
    /// Those that the formula at hand uses, also within one another.
    pub(super) used: BTreeSet<String>,
    needs: Needs,
    filed: Vec<usize>,
    /// Whether anything looked at the row at hand.
    row_used: bool,
    /// It is a line's own condition that is resolved: what is blank there may leave it without an answer.
    asking: bool,
}

/// A row at hand: of the scope, of a selection, or of a sum.
#[derive(Clone)]
struct Frame {
    table: usize,
    axes: Vec<usize>,
    /// It is a row of that table; otherwise only a key.
    row: bool,
    of: FrameOf,
}

#[derive(Clone)]
enum FrameOf {
    Scope,
    Selection,
    Sum(BookWord, String),
}

fn fault<T>(at: Span, reason: Reason, found: &str, expected: &str) -> Resolved<T> {
    Err(Fault { at, remark: Remark::new(reason).with("found", found).with("expected", expected) })
}

impl<'f> Resolver<'f> {
    pub(super) fn new(names: Names<'f>, lets: &'f BTreeMap<String, Node>) -> Resolver<'f> {
        let count = names.form.tables.len() + names.form.relations.len();
        Resolver {
            names,
            lets,
            keys: Vec::new(),
            read: names.form.tables.iter().map(|table| vec![false; table.columns.len()]).collect(),
            tables: vec![false; count],
            frames: Vec::new(),
            star: None,
            open: Vec::new(),
            depth: 0,
            parts: 0,
            used: BTreeSet::new(),
            needs: Needs::default(),
            filed: Vec::new(),
            row_used: false,
            asking: false,
        }
    }

    /// The lines of one formula: for each table of the scope, for each column that `*` stands for.
    pub(super) fn lines(&mut self, at: usize, check: &CheckNode, kinds: &[Kind], views: bool) -> Resolved<Vec<Line>> {
        let alternatives: Vec<&[RefNode]> = if check.scope.is_empty() {
            vec![&[]]
        } else if check.any_of {
            vec![&check.scope]
        } else {
            check.scope.chunks(1).collect()
        };
        let mut lines = Vec::new();
        for scope in alternatives {
            let starred = self.starred(scope.first(), check)?;
            for star in starred {
                self.star = star;
                lines.push(self.line(at, scope, check, kinds, views)?);
                if lines.len() > FORMULA_LINES_MAX {
                    return fault(check.claim.at, Reason::FormWrongValue, &lines.len().to_string(), "≤ 2000");
                }
            }
        }
        Ok(lines)
    }

    fn line(&mut self, at: usize, scope: &[RefNode], check: &CheckNode, kinds: &[Kind], views: bool) -> Resolved<Line> {
        self.frames.clear();
        self.depth = 0;
        (self.needs, self.filed) = (Needs::default(), Vec::new());
        let (resolved, table) = self.scope(scope)?;
        self.row_used = false;
        self.asking = true;
        let when = check.when.as_ref().map(|when| self.condition(when)).transpose();
        self.asking = false;
        let when = when?;
        let when_once = !self.row_used;
        let claim = self.claim(&check.claim)?;
        let filed = std::mem::take(&mut self.filed);
        let tables = &self.names.form.tables;
        let has = |kind: &Kind| filed.iter().all(|table| tables.get(*table).is_none_or(|t| t.is_filed_by(*kind)));
        // Only what is added up has sums.
        let summed = |table: &usize| tables.get(*table).is_some_and(|table| table.roll_up == RollUp::Sum);
        let views = views && !filed.is_empty() && filed.iter().all(summed) && self.needs.filing_only();
        let column =
            self.star.as_ref().zip(table).and_then(|(star, table)| self.names.column(table, star).first().copied());
        let mut line = Line {
            check: at,
            scope: resolved,
            when,
            when_once,
            like: 0,
            claim,
            table,
            column,
            kinds: kinds.iter().copied().filter(has).collect(),
            views,
            needs: self.needs,
            pairs: Vec::new(),
        };
        line.pairs = bound::pairs(self.names, &line).or_else(|three| {
            let found = three.map(|(_, table)| self.names.table_name(table)).join(" × ");
            fault(Span::default(), Reason::RuleTakesTooLong, &found, "≤ 2")
        })?;
        Ok(line)
    }

    fn scope(&mut self, scope: &[RefNode]) -> Resolved<(Scope, Option<usize>)> {
        let mut all = Vec::new();
        for table in scope {
            all.push(self.rows(table)?.0);
        }
        let (Some(first), Some(node)) = (all.first(), scope.first()) else { return Ok((Scope::Once, None)) };
        let (table, axes) = (first.table, self.names.axes(first.table));
        for (rows, node) in all.iter().zip(scope) {
            let found = self.names.axes(rows.table);
            if found != axes {
                let names = |axes: &[usize]| {
                    axes.iter().map(|axis| self.names.axis_name(*axis)).collect::<Vec<_>>().join(" × ")
                };
                return fault(node.at, Reason::RuleAxesDiffer, &names(&found), &names(&axes));
            }
        }
        let any_of = scope.len() > 1;
        if first.book == BookOf::Units && !any_of {
            return fault(node.at, Reason::RuleSyntax, &format!("units.{}", node.table), "sum(units.…)");
        }
        self.frames.push(Frame { table, axes, row: !any_of, of: FrameOf::Scope });
        Ok(match (any_of, all.pop()) {
            (false, Some(rows)) => (Scope::Rows(rows), Some(table)),
            (_, last) => (Scope::AnyOf(all.into_iter().chain(last).collect()), Some(table)),
        })
    }

    /// The columns that `*` stands for, by label: amounts that all tables with a `*` have; one `None` without any `*`.
    fn starred(&mut self, scope: Option<&RefNode>, check: &CheckNode) -> Resolved<Vec<Option<String>>> {
        let mut stars: Vec<&FigureNode> = Vec::new();
        check.when.iter().chain([&check.claim]).for_each(|node| stars_of(node, &mut stars));
        let Some(first) = stars.first() else { return Ok(vec![None]) };
        let mut labels: Option<Vec<&'f str>> = None;
        for star in &stars {
            let node = match &star.of {
                Of::Table(table) => Some(table),
                Of::Here | Of::Children | Of::Leaves => scope,
            };
            let Some(node) = node else {
                return fault(star.at, Reason::FormUnknownName, "*", "a table in front");
            };
            let columns = self.names.columns(self.table(node)?);
            let fits = |label: &str| columns.iter().any(|c| c.label == label && is_starred(c.kind, c.assigned));
            labels = Some(match labels {
                None => columns.iter().map(|column| column.label.as_str()).filter(|label| fits(label)).collect(),
                Some(labels) => labels.into_iter().filter(|label| fits(label)).collect(),
            });
        }
        let labels = labels.unwrap_or_default();
        if labels.is_empty() {
            return fault(first.at, Reason::FormUnknownName, "*", "an amount column");
        }
        Ok(labels.into_iter().map(|label| Some(label.to_owned())).collect())
    }
}

/// The first figure of a sum that is more than one: its children, or a table.
fn driver(node: &Node) -> Option<&FigureNode> {
    match &node.is {
        Is::Figure(figure) => (figure.of != Of::Here).then_some(figure),
        Is::Add(parts) => parts.iter().find_map(|(_, part)| driver(part)),
        Is::Multiply(first, rest) => driver(first).or_else(|| rest.iter().find_map(|(_, part)| driver(part))),
        Is::Negative(part) | Is::As(part, _) => driver(part),
        _ => None,
    }
}

fn stars_of<'n>(node: &'n Node, stars: &mut Vec<&'n FigureNode>) {
    match &node.is {
        Is::Figure(figure) | Is::Unique(figure) | Is::Ascending(figure) => {
            if figure.column.is_none() {
                stars.push(figure);
            }
        }
        Is::Or(parts) | Is::And(parts) => parts.iter().for_each(|part| stars_of(part, stars)),
        Is::Iff(parts) | Is::Has(parts) | Is::Mentions(parts) => {
            parts.iter().for_each(|part| stars_of(part, stars));
        }
        Is::Not(part)
        | Is::Present(part)
        | Is::Blank(part)
        | Is::CountedIn(part, _)
        | Is::MentionsUnit(part, _)
        | Is::As(part, _)
        | Is::Negative(part)
        | Is::Sum(part) => stars_of(part, stars),
        Is::Chain(first, rest) => {
            stars_of(first, stars);
            rest.iter().for_each(|(_, part)| stars_of(part, stars));
        }
        Is::In(part, among) => {
            stars_of(part, stars);
            among.iter().for_each(|part| stars_of(part, stars));
        }
        Is::Add(parts) => parts.iter().for_each(|(_, part)| stars_of(part, stars)),
        Is::Multiply(first, rest) => {
            stars_of(first, stars);
            rest.iter().for_each(|(_, part)| stars_of(part, stars));
        }
        Is::Number(..) | Is::Text(_) | Is::Exists(_) | Is::Count(_) | Is::Table(_) => {}
    }
}
