//! From the tree of a formula to lines that can be run: names, axes, joins and types, or what is wrong with them.
//!
//! A figure that isn't one figure, a name that means nothing or two things, 万元 and 个 side by side: all refused here.
//! The grammar is `syntax.rs`'s, running is `evaluate.rs`'s.

use std::collections::BTreeMap;

use compact_str::CompactString;

use super::interval::{Interval, Relation};
use super::line::{BookOf, Claim, Expr, Join, Line, Measure, Named, Needs, Over, Rows, Scope, Test};
use super::names::{Names, RowName, measure};
use super::syntax::{BookWord, CheckNode, Compare, FigureNode, Is, Node, NumberUnit, Of, RefNode, Select, Span, Unit};
use crate::budget::form_set::{ColumnKind, RollUp, Rows as RowsOf, fold_width};
use crate::budget::reason::{Reason, Remark};
use crate::budget::submission::Kind;

/// The most lines that one formula may become.
const LINES_MAX: usize = 2_000;

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
    needs: Needs,
    filed: Vec<usize>,
    /// Whether anything looked at the row at hand.
    row_used: bool,
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
            needs: Needs::default(),
            filed: Vec::new(),
            row_used: false,
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
                if lines.len() > LINES_MAX {
                    return fault(check.claim.at, Reason::FormWrongValue, &lines.len().to_string(), "≤ 2000");
                }
            }
        }
        Ok(lines)
    }

    fn line(&mut self, at: usize, scope: &[RefNode], check: &CheckNode, kinds: &[Kind], views: bool) -> Resolved<Line> {
        self.frames.clear();
        (self.needs, self.filed) = (Needs::default(), Vec::new());
        let (resolved, table) = self.scope(scope)?;
        self.row_used = false;
        let when = check.when.as_ref().map(|when| self.condition(when)).transpose()?;
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
        Ok(Line {
            check: at,
            scope: resolved,
            when,
            when_once,
            claim,
            table,
            column,
            kinds: kinds.iter().copied().filter(has).collect(),
            views,
            needs: self.needs,
        })
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
            return fault(node.at, Reason::RuleFreeAxis, &node.table, "sum(units.…)");
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
                return fault(star.at, Reason::FormUnknownName, "*", "table:");
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
            return fault(first.at, Reason::FormUnknownName, "*", "amount column");
        }
        Ok(labels.into_iter().map(|label| Some(label.to_owned())).collect())
    }

    // ── tables and rows ──────────────────────────────────────────────────────────────────

    fn table(&mut self, node: &RefNode) -> Resolved<usize> {
        match self.names.table(&node.table) {
            Some(table) => Ok(table),
            None => fault(node.at, Reason::FormUnknownName, &node.table, &self.names.table_names().join(", ")),
        }
    }

    /// Rows of a table, and the axes that are left free.
    fn rows(&mut self, node: &RefNode) -> Resolved<(Rows, Vec<usize>)> {
        let table = self.table(node)?;
        let axes = self.names.axes(table);
        if axes.contains(&usize::MAX) {
            return fault(node.at, Reason::FormUnknownName, &node.table, "[axis]");
        }
        if let Some(used) = self.tables.get_mut(table) {
            *used = true;
        }
        let book = self.book(node, table)?;
        let mut joins = Vec::new();
        for (position, axis) in axes.iter().enumerate() {
            let at_hand = self.frames.iter().enumerate().rev().find_map(|(at, frame)| {
                frame.axes.iter().position(|of| of == axis).map(|of| Join { position, frame: at, of })
            });
            joins.extend(at_hand);
        }
        let (mut named, mut tests) = (None, Vec::new());
        self.frames.push(Frame { table, axes: axes.clone(), row: true, of: FrameOf::Selection });
        let selected = node.select.iter().try_for_each(|select| match self.select(table, select)? {
            Chosen::Row(row) if named.is_none() => {
                named = Some(row);
                Ok(())
            }
            Chosen::Row(_) => fault(node.at, Reason::FormWrongValue, &node.table, "one row"),
            Chosen::Rows(test) => {
                tests.push(test);
                Ok(())
            }
        });
        self.frames.pop();
        selected?;
        if axes.is_empty() {
            named = Some(Named::Record);
        }
        if named.is_some() {
            joins.clear();
        }
        self.row_used |= !joins.is_empty();
        let bound = |position: &usize| named.is_some() || joins.iter().any(|join| join.position == *position);
        let free = (0..axes.len()).filter(|position| !bound(position)).map(|position| axes[position]).collect();
        Ok((Rows { book, table, named, joins, tests }, free))
    }

    fn book(&mut self, node: &RefNode, table: usize) -> Resolved<BookOf> {
        let relation = table >= self.names.form.tables.len();
        Ok(match node.book {
            BookWord::This if relation => BookOf::FormSet,
            BookWord::This if self.names.is_given(table) => {
                self.needs.given = true;
                BookOf::Given
            }
            BookWord::This => {
                self.filed.push(table);
                BookOf::This
            }
            BookWord::Last | BookWord::Units if relation || self.names.is_given(table) => {
                return fault(node.at, Reason::FormWrongValue, &node.table, "a filed table");
            }
            BookWord::Last => {
                self.needs.last = true;
                BookOf::Last
            }
            BookWord::Units => {
                self.needs.units = true;
                BookOf::Units
            }
        })
    }

    fn select(&mut self, table: usize, select: &Select) -> Resolved<Chosen> {
        let test = match select {
            Select::Parents(at) if !self.names.has_parents(table) => {
                return fault(*at, Reason::RuleNeverHolds, "parents", self.names.table_name(table));
            }
            Select::Parents(_) => Test::Parents,
            Select::Leaves(_) => Test::Leaves,
            Select::Name(name, at) => return self.row_or_level(table, name, *at),
            Select::In { not, table: node } => {
                let (rows, _) = self.rows(node)?;
                if rows.joins.is_empty() {
                    return fault(node.at, Reason::RuleAxesDiffer, &node.table, self.names.table_name(table));
                }
                let chosen = self.frames.len() - 1;
                let own = rows.joins.iter().find(|join| join.frame == chosen && join.of == 0);
                let outer = rows.joins.iter().any(|join| join.frame != chosen);
                let single = self.names.axes(table).len() == 1;
                let leads = own.filter(|_| outer && single && !*not).map(|join| join.position);
                Test::In { not: *not, rows, leads }
            }
            Select::Test(node) => Test::Holds(self.condition(node)?),
        };
        Ok(Chosen::Rows(test))
    }

    fn row_or_level(&mut self, table: usize, name: &str, at: Span) -> Resolved<Chosen> {
        let rows = self.names.row(table, name);
        let level = self.names.levels(table).iter().find(|level| level.name == name);
        match (rows.as_slice(), level) {
            ([], Some(level)) => Ok(Chosen::Rows(Test::Level(level.digits))),
            ([RowName::Total], None) => Ok(Chosen::Row(Named::Total)),
            ([RowName::Key(key)], None) => {
                let axis = self.names.axes(table).first().copied().unwrap_or(usize::MAX);
                Ok(Chosen::Row(Named::Key(self.key(axis, key))))
            }
            ([], None) => {
                let levels = self.names.levels(table).iter().map(|level| level.name.clone());
                let rows = match self.names.rows(table) {
                    Some(RowsOf::Fixed { rows, .. }) => rows.iter().map(|row| row.label.clone()).collect(),
                    Some(RowsOf::Keyed { total, .. }) => total.iter().map(ToString::to_string).collect(),
                    Some(RowsOf::Record) | None => Vec::new(),
                };
                let known: Vec<String> = rows.into_iter().chain(levels).collect();
                fault(at, Reason::FormUnknownName, name, &known.join(", "))
            }
            (several, level) => {
                let keys = several.iter().map(|row| match row {
                    RowName::Total => name.to_owned(),
                    RowName::Key(key) => key.clone(),
                });
                let known: Vec<String> = keys.chain(level.map(|level| format!("[{}]", level.name))).collect();
                fault(at, Reason::RuleAmbiguousName, name, &known.join(", "))
            }
        }
    }

    /// The number of a key, from 1 on its axis: 0 is the total row.
    fn key(&mut self, axis: usize, key: &str) -> u32 {
        let mut on_axis = self.keys.iter().filter(|(of, _)| *of == axis);
        let number = match on_axis.position(|(_, known)| known == key) {
            Some(at) => at,
            None => {
                self.keys.push((axis, key.into()));
                self.keys.iter().filter(|(of, _)| *of == axis).count() - 1
            }
        };
        u32::try_from(number + 1).unwrap_or(u32::MAX)
    }

    // ── claims and conditions ────────────────────────────────────────────────────────────

    fn claim(&mut self, node: &Node) -> Resolved<Claim> {
        let numbers = |rest: &[(Compare, Node)]| rest.iter().all(|(compare, _)| matches!(compare, Compare::Number(_)));
        if let Is::Chain(first, rest) = &node.is
            && numbers(rest)
        {
            let (first, rest, measure) = self.chain(first, rest)?;
            return Ok(Claim::Chain { first, rest, measure });
        }
        Ok(Claim::Condition(self.condition(node)?))
    }

    fn condition(&mut self, node: &Node) -> Resolved<Expr> {
        let (expr, measure) = self.expression(node)?;
        if measure == Measure::Condition {
            return Ok(expr);
        }
        fault(node.at, Reason::RuleTypesDiffer, word(measure), word(Measure::Condition))
    }

    fn chain(&mut self, first: &Node, rest: &[(Compare, Node)]) -> Resolved<ResolvedChain> {
        let (left, mut common) = self.expression(first)?;
        let mut links = Vec::new();
        for (compare, node) in rest {
            let (right, measure) = self.expression(node)?;
            common = self.alike(common, measure, node.at)?;
            let Compare::Number(relation) = compare else {
                return fault(node.at, Reason::FormSyntax, "~", "= ≠ < ≤ > ≥");
            };
            let ordered = !matches!(relation, Relation::Equal | Relation::Different);
            if common == Measure::Condition || common == Measure::Text && ordered {
                return fault(node.at, Reason::RuleTypesDiffer, word(common), "a figure");
            }
            links.push((*relation, right));
        }
        Ok((left, links, common))
    }

    /// The measure of two that are compared or added.
    fn alike(&self, a: Measure, b: Measure, at: Span) -> Resolved<Measure> {
        use Measure::{Count, Plain, Ratio, Year, Zero};
        match (a, b) {
            (a, b) if a == b => Ok(a),
            (Zero, other) | (other, Zero) if is_number(other) => Ok(other),
            (Plain, other @ (Count | Ratio | Year)) | (other @ (Count | Ratio | Year), Plain) => Ok(other),
            (a, b) => fault(at, Reason::RuleTypesDiffer, word(b), word(a)),
        }
    }

    fn text(&mut self, node: &Node) -> Resolved<Expr> {
        match self.expression(node)? {
            (expr, Measure::Text) => Ok(expr),
            (_, measure) => fault(node.at, Reason::RuleTypesDiffer, word(measure), word(Measure::Text)),
        }
    }

    fn all(&mut self, nodes: &[Node]) -> Resolved<Vec<Expr>> {
        nodes.iter().map(|node| self.condition(node)).collect()
    }

    fn expression(&mut self, node: &Node) -> Resolved<(Expr, Measure)> {
        let condition = |expr| Ok((expr, Measure::Condition));
        match &node.is {
            Is::Or(parts) => condition(Expr::Or(self.all(parts)?)),
            Is::And(parts) => condition(Expr::And(self.all(parts)?)),
            Is::Not(part) => condition(Expr::Not(Box::new(self.condition(part)?))),
            Is::Iff(parts) => {
                let [a, b] = parts.as_ref();
                condition(Expr::Iff(Box::new([self.condition(a)?, self.condition(b)?])))
            }
            Is::Chain(first, rest) => {
                if let [(Compare::Begins, right)] = rest.as_slice() {
                    return condition(Expr::Begins(Box::new([self.text(first)?, self.text(right)?])));
                }
                let (first, rest, measure) = self.chain(first, rest)?;
                condition(Expr::Compare(Box::new(first), rest, measure))
            }
            Is::Exists(table) => condition(Expr::Exists(self.rows(table)?.0)),
            Is::Unique(figure) | Is::Ascending(figure) => {
                let Of::Table(table) = &figure.of else {
                    return fault(figure.at, Reason::FormSyntax, "unique", "table.column");
                };
                let (rows, _) = self.rows(table)?;
                let column = self.column(rows.table, figure)?;
                condition(match node.is {
                    Is::Unique(_) => Expr::Unique { rows, column },
                    _ => Expr::Ascending { rows, column },
                })
            }
            Is::Present(part) | Is::Blank(part) => {
                let present = self.presence(part)?;
                condition(match node.is {
                    Is::Present(_) => present,
                    _ => Expr::Not(Box::new(present)),
                })
            }
            Is::Table(table) => fault(table.at, Reason::FormSyntax, &table.table, ". / present / blank"),
            Is::CountedIn(part, Unit::Time) => {
                let (expr, _) = self.expression(part)?;
                condition(Expr::IsUnit(Box::new(expr), Unit::Time))
            }
            Is::CountedIn(part, unit) => condition(Expr::IsUnit(Box::new(self.text(part)?), *unit)),
            Is::Has(parts) => {
                let [a, b] = parts.as_ref();
                condition(Expr::Has(Box::new([self.text(a)?, self.text(b)?])))
            }
            Is::MentionsUnit(part, Unit::Yuan) => condition(Expr::MentionsMoney(Box::new(self.text(part)?))),
            Is::MentionsUnit(part, _) => fault(part.at, Reason::FormWrongValue, "mentions", "元"),
            Is::Mentions(parts) => {
                let [text, what] = parts.as_ref();
                let text = self.text(text)?;
                match self.expression(what)? {
                    (what, Measure::Amount) => condition(Expr::Mentions(Box::new([text, what]))),
                    (_, measure) => fault(what.at, Reason::RuleTypesDiffer, word(measure), word(Measure::Amount)),
                }
            }
            Is::In(part, among) => {
                let (expr, mut common) = self.expression(part)?;
                let mut options = Vec::new();
                for option in among {
                    let (expr, measure) = self.expression(option)?;
                    common = self.alike(common, measure, option.at)?;
                    options.push(expr);
                }
                condition(Expr::In(Box::new(expr), options))
            }
            Is::Add(addends) => self.addition(addends),
            Is::Multiply(first, factors) => self.product(node.at, first, factors),
            Is::Negative(part) => match self.expression(part)? {
                (expr, measure) if is_number(measure) => Ok((Expr::Negative(Box::new(expr)), measure)),
                (_, measure) => fault(part.at, Reason::RuleTypesDiffer, word(measure), "a figure"),
            },
            Is::As(part, unit) => self.read_as(part, *unit),
            Is::Number(digits, decimals, unit) => Ok(number(*digits, *decimals, *unit)),
            Is::Text(text) => Ok((Expr::Text(fold_width(text)), Measure::Text)),
            Is::Sum(part) => self.sum(part),
            Is::Count(table) => Ok((Expr::Count(self.rows(table)?.0), Measure::Count)),
            Is::Figure(figure) => self.figure(figure),
        }
    }

    fn presence(&mut self, part: &Node) -> Resolved<Expr> {
        let table = match &part.is {
            Is::Table(table) => Some(table.clone()),
            // A bare name that is no column here may be a whole table.
            Is::Figure(FigureNode { of: Of::Here, column: Some(name), at }) if !self.is_known(name) => self
                .names
                .table(name)
                .map(|_| RefNode { at: *at, book: BookWord::This, table: name.clone(), select: Vec::new() }),
            _ => None,
        };
        match table {
            Some(table) => Ok(Expr::Filled(self.rows(&table)?.0)),
            None => Ok(Expr::Present(Box::new(self.expression(part)?.0))),
        }
    }

    // ── figures ──────────────────────────────────────────────────────────────────────────

    fn addition(&mut self, addends: &[(bool, Node)]) -> Resolved<(Expr, Measure)> {
        let mut parts = Vec::new();
        let mut common = Measure::Zero;
        for (minus, node) in addends {
            let (expr, measure) = self.expression(node)?;
            if !is_number(measure) {
                return fault(node.at, Reason::RuleTypesDiffer, word(measure), "a figure");
            }
            common = self.alike(common, measure, node.at)?;
            parts.push((*minus, expr));
        }
        Ok((Expr::Add(parts), common))
    }

    fn product(&mut self, at: Span, first: &Node, factors: &[(bool, Node)]) -> Resolved<(Expr, Measure)> {
        let (first_expr, mut measure) = self.expression(first)?;
        let mut parts = Vec::new();
        for (divides, node) in factors {
            let (expr, by) = self.expression(node)?;
            let product = if *divides { quotient_of(measure, by) } else { product_of(measure, by) };
            let Some(product) = product else {
                let sign = if *divides { "/" } else { "×" };
                let found = format!("{} {sign} {}", word(measure), word(by));
                return fault(at, Reason::RuleTypesDiffer, &found, "amount × count, amount × share, amount / amount");
            };
            measure = product;
            parts.push((*divides, expr));
        }
        Ok((Expr::Multiply(Box::new(first_expr), parts), measure))
    }

    fn read_as(&mut self, part: &Node, unit: Unit) -> Resolved<(Expr, Measure)> {
        let sum = match &part.is {
            Is::Figure(figure) => self.is_calculation(figure),
            _ => false,
        };
        let of = Box::new(self.text(part)?);
        let measure = match unit {
            Unit::Yuan => Measure::Amount,
            Unit::YuanPerHead => Measure::Rate,
            Unit::Heads => Measure::Count,
            Unit::Time => return fault(part.at, Reason::FormWrongValue, "time", "元 / 元/人 / 人"),
        };
        Ok((Expr::As { of, unit, sum }, measure))
    }

    fn is_calculation(&self, figure: &FigureNode) -> bool {
        let table = match &figure.of {
            Of::Table(table) => self.names.table(&table.table),
            Of::Here | Of::Children | Of::Leaves => self.frames.iter().rev().map(|frame| frame.table).find(|table| {
                figure.column.as_ref().is_some_and(|column| !self.names.column(*table, column).is_empty())
            }),
        };
        let column = table.zip(figure.column.as_ref()).and_then(|(table, column)| {
            self.names.column(table, column).first().and_then(|at| self.names.columns(table).get(*at))
        });
        column.is_some_and(|column| column.kind == ColumnKind::Calculation)
    }

    fn sum(&mut self, part: &Node) -> Resolved<(Expr, Measure)> {
        let Some(figure) = driver(part) else {
            return fault(part.at, Reason::FormSyntax, "sum", "sum(children.…) / sum(table.column)");
        };
        let scope = self.frames.iter().position(|frame| matches!(frame.of, FrameOf::Scope) && frame.row);
        let (over, frame) = match (&figure.of, scope) {
            (Of::Table(table), _) => {
                let (rows, _) = self.rows(table)?;
                let of = FrameOf::Sum(table.book, table.table.clone());
                let frame = Frame { table: rows.table, axes: self.names.axes(rows.table), row: true, of };
                (Over::Rows(rows), frame)
            }
            (_, None) => return fault(figure.at, Reason::FormSyntax, "children", "table[parents]: …"),
            (of, Some(at)) => {
                let table = self.frames[at].table;
                if !self.names.has_parents(table) {
                    return fault(figure.at, Reason::RuleNeverHolds, "children", self.names.table_name(table));
                }
                self.row_used = true;
                let over = if *of == Of::Children { Over::Children(at) } else { Over::Leaves(at) };
                let of = FrameOf::Sum(BookWord::This, String::new());
                (over, Frame { table, axes: self.names.axes(table), row: true, of })
            }
        };
        self.frames.push(frame);
        let of = self.expression(part);
        self.frames.pop();
        let (of, measure) = of?;
        if !is_number(measure) {
            return fault(part.at, Reason::RuleTypesDiffer, word(measure), "a figure");
        }
        Ok((Expr::Sum { over, of: Box::new(of) }, measure))
    }

    fn figure(&mut self, figure: &FigureNode) -> Resolved<(Expr, Measure)> {
        match &figure.of {
            Of::Here => self.here(figure),
            Of::Children | Of::Leaves => {
                let summed = self.frames.iter().rposition(|frame| match &frame.of {
                    FrameOf::Sum(_, name) => name.is_empty(),
                    FrameOf::Scope | FrameOf::Selection => false,
                });
                let Some(frame) = summed else {
                    return fault(figure.at, Reason::RuleFreeAxis, "children", "sum(children.…)");
                };
                self.cell_here(frame, figure)
            }
            Of::Table(table) => {
                let summed = self.frames.iter().rposition(|frame| match &frame.of {
                    FrameOf::Sum(book, name) => *book == table.book && *name == table.table,
                    FrameOf::Scope | FrameOf::Selection => false,
                });
                if let Some(frame) = summed {
                    return self.cell_here(frame, figure);
                }
                let (rows, free) = self.rows(table)?;
                if !free.is_empty() || rows.book == BookOf::Units {
                    let free: Vec<&str> = free.iter().map(|axis| self.names.axis_name(*axis)).collect();
                    let free = if free.is_empty() { "units".to_owned() } else { free.join(", ") };
                    let found = format!("{}.{}", table.table, figure.column.as_deref().unwrap_or("*"));
                    return fault(figure.at, Reason::RuleFreeAxis, &found, &free);
                }
                let column = self.column(rows.table, figure)?;
                let measure = self.names.columns(rows.table).get(column).map_or(Measure::Text, measure);
                Ok((Expr::Cell { rows, column }, measure))
            }
        }
    }

    fn cell_here(&mut self, frame: usize, figure: &FigureNode) -> Resolved<(Expr, Measure)> {
        self.row_used = true;
        let table = self.frames[frame].table;
        let column = self.column(table, figure)?;
        let measure = self.names.columns(table).get(column).map_or(Measure::Text, measure);
        Ok((Expr::Here { frame, column }, measure))
    }

    /// Whether a bare name is a column or axis at hand, or a `[let]`.
    fn is_known(&self, name: &str) -> bool {
        let at_hand = |frame: &Frame| {
            frame.row && !self.names.column(frame.table, name).is_empty()
                || frame.axes.iter().any(|axis| self.names.axis_name(*axis) == name)
        };
        self.lets.contains_key(name) || self.frames.iter().any(at_hand)
    }

    /// A bare name: a `[let]`, a column of the row at hand, or a part of its key. The innermost row comes first.
    fn here(&mut self, figure: &FigureNode) -> Resolved<(Expr, Measure)> {
        let at_hand: Vec<(usize, Frame)> = self
            .frames
            .iter()
            .cloned()
            .enumerate()
            .rev()
            .filter(|(_, frame)| !matches!(frame.of, FrameOf::Sum(..)))
            .collect();
        let Some(name) = &figure.column else {
            return match at_hand.iter().find(|(_, frame)| frame.row) {
                Some((frame, _)) => self.cell_here(*frame, figure),
                None => fault(figure.at, Reason::FormUnknownName, "*", "table:"),
            };
        };
        for (at, frame) in &at_hand {
            let columns = if frame.row { self.names.column(frame.table, name).len() } else { 0 };
            let position = frame.axes.iter().position(|axis| self.names.axis_name(*axis) == name);
            match (columns, position) {
                (0, None) => {}
                _ if self.lets.contains_key(name) => {
                    return fault(figure.at, Reason::RuleAmbiguousName, name, "[let], column");
                }
                (1, None) => return self.cell_here(*at, figure),
                (0, Some(position)) => {
                    self.row_used = true;
                    let axis = frame.axes[position];
                    return Ok((Expr::Key { frame: *at, position, axis }, Measure::Text));
                }
                _ => {
                    let table = self.names.table_name(frame.table);
                    return fault(figure.at, Reason::RuleAmbiguousName, name, table);
                }
            }
        }
        if let Some(meant) = self.lets.get(name) {
            if self.open.contains(name) {
                return fault(figure.at, Reason::FormCycle, name, "");
            }
            self.open.push(name.clone());
            let meant = self.expression(meant);
            self.open.pop();
            return meant;
        }
        let mut known: Vec<String> = Vec::new();
        for (_, frame) in at_hand.iter().filter(|(_, frame)| frame.row) {
            known.extend(self.names.columns(frame.table).iter().map(|column| column.label.clone()));
        }
        known.extend(self.lets.keys().cloned());
        fault(figure.at, Reason::FormUnknownName, name, &known.join(", "))
    }

    fn column(&mut self, table: usize, figure: &FigureNode) -> Resolved<usize> {
        let star = self.star.clone();
        let name = figure.column.as_ref().or(star.as_ref());
        let found = name.map_or_else(Vec::new, |name| self.names.column(table, name));
        let shown = name.map_or("*", String::as_str);
        match found.as_slice() {
            [column] => {
                if let Some(read) = self.read.get_mut(table).and_then(|columns| columns.get_mut(*column)) {
                    *read = true;
                }
                Ok(*column)
            }
            [] => {
                let known: Vec<&str> = self.names.columns(table).iter().map(|column| column.label.as_str()).collect();
                fault(figure.at, Reason::FormUnknownName, shown, &known.join(", "))
            }
            several => {
                let columns = self.names.columns(table);
                let ids: Vec<&str> = several.iter().map(|at| columns[*at].id.as_str()).collect();
                fault(figure.at, Reason::RuleAmbiguousName, shown, &ids.join(", "))
            }
        }
    }
}

enum Chosen {
    Row(Named),
    Rows(Test),
}

fn is_starred(kind: ColumnKind, assigned: bool) -> bool {
    matches!(kind, ColumnKind::Amount { .. }) && !assigned
}

fn number(digits: i64, decimals: u8, unit: NumberUnit) -> (Expr, Measure) {
    let ten = 10_i128.pow(u32::from(decimals));
    let digits = i128::from(digits);
    let (value, measure) = match unit {
        NumberUnit::None if digits == 0 => (Interval::ZERO, Measure::Zero),
        NumberUnit::None => (Interval::exact(digits, ten), Measure::Plain),
        NumberUnit::Percent => (Interval::exact(digits, ten * 100), Measure::Ratio),
        NumberUnit::Yuan => (Interval::exact(digits * 100, ten), Measure::Amount),
        NumberUnit::Wan => (Interval::exact(digits * 1_000_000, ten), Measure::Amount),
    };
    (Expr::Number(value), measure)
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

fn is_number(measure: Measure) -> bool {
    !matches!(measure, Measure::Text | Measure::Time | Measure::Condition)
}

fn product_of(a: Measure, b: Measure) -> Option<Measure> {
    use Measure::{Amount, Count, Plain, Rate, Ratio, Zero};
    match (a, b) {
        (Plain | Zero, other) | (other, Plain | Zero) if is_number(other) => Some(other),
        (Ratio, other @ (Amount | Rate | Count | Ratio)) | (other @ (Amount | Rate | Count), Ratio) => Some(other),
        (Count, Count) => Some(Count),
        (Count, Amount | Rate) | (Amount | Rate, Count) => Some(Amount),
        _ => None,
    }
}

fn quotient_of(a: Measure, b: Measure) -> Option<Measure> {
    use Measure::{Amount, Count, Plain, Rate, Ratio};
    match (a, b) {
        (a, Plain | Ratio) if is_number(a) => Some(a),
        (Amount, Amount) | (Count, Count) | (Rate, Rate) => Some(Ratio),
        (Amount, Count) => Some(Rate),
        (Amount, Rate) => Some(Count),
        _ => None,
    }
}

/// What a measure is called in a message.
fn word(measure: Measure) -> &'static str {
    match measure {
        Measure::Amount => "amount",
        Measure::Rate => "rate",
        Measure::Count => "count",
        Measure::Ratio => "share",
        Measure::Year => "year",
        Measure::Plain | Measure::Zero => "number",
        Measure::Text => "text",
        Measure::Time => "time",
        Measure::Condition => "condition",
    }
}
