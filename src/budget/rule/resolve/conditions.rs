//! Claims and conditions: chains of figures, texts, and what they are joined by.

use super::super::interval::Relation;
use super::super::line::{Claim, Expr, Measure};
use super::super::syntax::{BookWord, Compare, FigureNode, Is, Node, Of, RefNode, Span, Unit};
use super::figures::{is_number, number, word};
use super::{Resolved, ResolvedChain, Resolver, SPELLED_DEPTH_MAX, SPELLED_PARTS_MAX, fault};
use crate::budget::form_set::fold_width;
use crate::budget::reason::Reason;

impl<'f> Resolver<'f> {
    pub(super) fn claim(&mut self, node: &Node) -> Resolved<Claim> {
        let numbers = |rest: &[(Compare, Node)]| rest.iter().all(|(compare, _)| matches!(compare, Compare::Number(_)));
        if let Is::Chain(first, rest) = &node.is
            && numbers(rest)
        {
            let (first, rest, measure) = self.chain(first, rest)?;
            return Ok(Claim::Chain { first, rest, measure });
        }
        Ok(Claim::Condition(self.condition(node)?))
    }

    pub(super) fn condition(&mut self, node: &Node) -> Resolved<Expr> {
        let (expr, measure) = self.expression(node)?;
        if measure == Measure::Condition {
            return Ok(expr);
        }
        fault(node.at, Reason::RuleTypesDiffer, word(measure), word(Measure::Condition))
    }

    pub(super) fn chain(&mut self, first: &Node, rest: &[(Compare, Node)]) -> Resolved<ResolvedChain> {
        let (mut left, of_left) = self.expression(first)?;
        let mut common = of_left;
        let mut links = Vec::new();
        for (compare, node) in rest {
            let (mut right, measure) = self.expression(node)?;
            if self.asking {
                right = known(right, measure, &left);
                left = known(left, of_left, &right);
            }
            common = self.alike(common, measure, node.at)?;
            let Compare::Number(relation) = compare else {
                return fault(node.at, Reason::RuleSyntax, "~", "= ≠ < ≤ > ≥");
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
    pub(super) fn alike(&self, a: Measure, b: Measure, at: Span) -> Resolved<Measure> {
        use Measure::{Count, Plain, Ratio, Year, Zero};
        match (a, b) {
            (a, b) if a == b => Ok(a),
            (Zero, other) | (other, Zero) if is_number(other) => Ok(other),
            (Plain, other @ (Count | Ratio | Year)) | (other @ (Count | Ratio | Year), Plain) => Ok(other),
            (a, b) => fault(at, Reason::RuleTypesDiffer, word(b), word(a)),
        }
    }

    pub(super) fn text(&mut self, node: &Node) -> Resolved<Expr> {
        match self.expression(node)? {
            (expr, Measure::Text) => Ok(expr),
            (_, measure) => fault(node.at, Reason::RuleTypesDiffer, word(measure), word(Measure::Text)),
        }
    }

    pub(super) fn all(&mut self, nodes: &[Node]) -> Resolved<Vec<Expr>> {
        nodes.iter().map(|node| self.condition(node)).collect()
    }

    /// A part of a formula; names of `[let]` are spelled out in it, so how deep and long it becomes is counted.
    pub(super) fn expression(&mut self, node: &Node) -> Resolved<(Expr, Measure)> {
        self.parts += 1;
        if self.parts > SPELLED_PARTS_MAX {
            return fault(node.at, Reason::FormWrongValue, &self.parts.to_string(), "≤ 500000 parts");
        }
        if self.depth >= SPELLED_DEPTH_MAX {
            return fault(node.at, Reason::FormWrongValue, self.open.last().map_or("", String::as_str), "≤ 64 levels");
        }
        self.depth += 1;
        let found = self.meant(node);
        self.depth -= 1;
        found
    }

    fn meant(&mut self, node: &Node) -> Resolved<(Expr, Measure)> {
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
                    let word = if matches!(node.is, Is::Unique(_)) { "unique" } else { "ascending" };
                    return fault(figure.at, Reason::RuleSyntax, word, "table.column");
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
            Is::Table(table) => fault(table.at, Reason::RuleSyntax, &table.table, ". / present / blank"),
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
            Is::MentionsUnit(part, _) => fault(part.at, Reason::RuleSyntax, "mentions", "元"),
            Is::Mentions(parts) => {
                let [text, what] = parts.as_ref();
                let text = self.text(text)?;
                match self.expression(what)? {
                    (what, Measure::Amount) => condition(Expr::Mentions(Box::new([text, what]))),
                    (_, measure) => fault(what.at, Reason::RuleTypesDiffer, word(measure), word(Measure::Amount)),
                }
            }
            Is::In(part, among) => {
                let (mut expr, of_part) = self.expression(part)?;
                let mut common = of_part;
                let mut options = Vec::new();
                for option in among {
                    let (option_is, measure) = self.expression(option)?;
                    common = self.alike(common, measure, option.at)?;
                    options.push(option_is);
                }
                if let Some(first) = options.first().filter(|_| self.asking && options.iter().all(says_something)) {
                    expr = known(expr, of_part, first);
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
            Is::Text(text) => Ok((Expr::Text(fold_width(text).into_owned()), Measure::Text)),
            Is::Sum(part) => self.sum(part),
            Is::Count(table) => Ok((Expr::Count(self.rows(table)?.0), Measure::Count)),
            Is::Figure(figure) => self.figure(figure),
        }
    }

    pub(super) fn presence(&mut self, part: &Node) -> Resolved<Expr> {
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
}

/// What is held against something in a condition. A blank is no count, year, time or text that could be it or not be it;
/// of money it is nothing, which is an answer. Nothing is what is asked for where 0 or "" is written.
fn known(expr: Expr, measure: Measure, against: &Expr) -> Expr {
    let cell = matches!(expr, Expr::Here { .. } | Expr::Cell { .. } | Expr::As { .. });
    let asks = match measure {
        Measure::Time => true,
        Measure::Count | Measure::Year | Measure::Text => says_something(against),
        _ => false,
    };
    if cell && asks { Expr::Known(Box::new(expr)) } else { expr }
}

/// A written number or text that is neither 0 nor "".
fn says_something(expr: &Expr) -> bool {
    match expr {
        Expr::Number(number) => number.nominal().0 != 0,
        Expr::Text(text) => !text.is_empty(),
        _ => false,
    }
}
