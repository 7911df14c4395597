//! A formula, compiled: every name, join and column is resolved, and nothing is left that could fail to be found.
//!
//! Made by `resolve/`, run by `evaluate.rs`. Tables are numbered as in the form set, its relations behind them.

use super::bound::Listed;
use super::interval::{Interval, Relation};
use super::syntax::Unit;
use crate::budget::submission::Kind;

/// What a figure measures. Only like is compared with and added to like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// Money.
    Amount,
    /// Money for each of something.
    Rate,
    /// Things counted.
    Count,
    /// A share or percentage.
    Ratio,
    /// A year.
    Year,
    /// A number written in a formula.
    Plain,
    /// The number 0, which is nothing of anything.
    Zero,
    /// A text.
    Text,
    /// A time of 14 digits.
    Time,
    /// True or false.
    Condition,
}

impl Measure {
    /// Whether it is measured in numbers.
    pub(super) fn is_number(self) -> bool {
        !matches!(self, Measure::Text | Measure::Time | Measure::Condition)
    }
}

/// One line for one column.
#[derive(Debug)]
pub(super) struct Line {
    /// Which formula of its rule, from 0.
    pub(super) check: usize,
    pub(super) scope: Scope,
    pub(super) when: Option<Expr>,
    /// `when` says the same for every row.
    pub(super) when_once: bool,
    /// The first line of its rule that speaks of the same rows.
    pub(super) like: usize,
    pub(super) claim: Claim,
    /// The table whose rows it holds for, and the column that `*` stands for.
    pub(super) table: Option<usize>,
    pub(super) column: Option<usize>,
    pub(super) kinds: Vec<Kind>,
    /// It looks at sums of units as well.
    pub(super) views: bool,
    pub(super) needs: Needs,
    /// Tables of which it holds every row against every row.
    pub(super) pairs: Vec<[Listed; 2]>,
}

impl Line {
    /// The condition on each row, if it isn't the same for all.
    pub(super) fn when_by_row(&self) -> Option<&Expr> {
        self.when.as_ref().filter(|_| !self.when_once)
    }
}

/// What a line needs beside the filing itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The filings of the units below.
    pub units: bool,
    /// The filing of the year before.
    pub last: bool,
    /// What the round gives, such as its deadline.
    pub given: bool,
}

impl Needs {
    /// What both need.
    pub(super) fn and(self, other: Needs) -> Needs {
        Needs { units: self.units || other.units, last: self.last || other.last, given: self.given || other.given }
    }

    /// Whether the filing alone is enough.
    pub fn filing_only(self) -> bool {
        self == Needs::default()
    }
}

/// What a line holds for.
#[derive(Debug, PartialEq)]
pub(super) enum Scope {
    Once,
    Rows(Rows),
    /// Each row that is in any of these tables.
    AnyOf(Vec<Rows>),
}

/// What a line claims.
#[derive(Debug, PartialEq)]
pub(super) enum Claim {
    /// The first figure against each of the others.
    Chain {
        first: Expr,
        rest: Vec<(Relation, Expr)>,
        measure: Measure,
    },
    Condition(Expr),
}

impl Claim {
    /// How many verdicts it comes to at one row.
    pub(super) fn comparisons(&self) -> u64 {
        match self {
            Claim::Chain { rest, .. } => rest.len() as u64,
            Claim::Condition(_) => 1,
        }
    }
}

/// Rows of a table: those that meet the rows at hand and pass the tests.
#[derive(Debug, PartialEq)]
pub(super) struct Rows {
    pub(super) book: BookOf,
    pub(super) table: usize,
    pub(super) named: Option<Named>,
    pub(super) joins: Vec<Join>,
    pub(super) tests: Vec<Test>,
}

/// Which filing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BookOf {
    This,
    Last,
    Units,
    Given,
    /// A relation of the form set.
    FormSet,
}

/// The one row that a formula calls by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    Record,
    Total,
    /// The number of a key that the rule set knows.
    Key(u32),
}

/// The `position`-th part of a row's key is the `of`-th part of the key at hand in a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Join {
    pub(super) position: usize,
    pub(super) frame: usize,
    pub(super) of: usize,
}

#[derive(Debug, PartialEq)]
pub(super) enum Test {
    Parents,
    Leaves,
    /// Codes of so many digits.
    Level(usize),
    /// A column of the row itself says one of these; folded, and none of them empty.
    Says(Vec<(usize, String)>),
    /// A column of the row itself is a figure of that unit.
    IsUnit(usize, Unit),
    In {
        not: bool,
        rows: Rows,
        /// The part of the listed keys that names the row chosen, if the list itself is found by other parts: then
        /// rows are looked up from the list instead of the other way round.
        leads: Option<usize>,
    },
    Holds(Expr),
}

impl Test {
    /// What a condition on the rows in frame `own` comes to. What their texts say is asked first: that is soon told.
    pub(super) fn of(condition: Expr, own: usize) -> Vec<Test> {
        let parts = match condition {
            Expr::And(parts) => parts,
            other => vec![other],
        };
        let (mut tests, mut rest) = (Vec::new(), Vec::new());
        for part in parts {
            match (said(&part, own), &part) {
                (Some(any), _) => tests.push(Test::Says(any)),
                (None, Expr::IsUnit(of, unit)) if *unit != Unit::Time => match of.as_ref() {
                    Expr::Here { frame, column } if *frame == own => tests.push(Test::IsUnit(*column, *unit)),
                    _ => rest.push(part),
                },
                (None, _) => rest.push(part),
            }
        }
        let one = if rest.len() > 1 { Some(Expr::And(rest)) } else { rest.pop() };
        tests.extend(one.map(Test::Holds));
        tests
    }
}

/// The columns and texts of a condition that only asks what the row itself says.
fn said(expr: &Expr, own: usize) -> Option<Vec<(usize, String)>> {
    match expr {
        Expr::Or(parts) => {
            let parts: Option<Vec<_>> = parts.iter().map(|part| said(part, own)).collect();
            parts.map(|parts| parts.concat())
        }
        Expr::Compare(first, rest, _) => match (first.as_ref(), rest.as_slice()) {
            (Expr::Here { frame, column }, [(Relation::Equal, Expr::Text(text))]) => {
                (*frame == own && !text.is_empty()).then(|| vec![(*column, text.clone())])
            }
            _ => None,
        },
        _ => None,
    }
}

/// What is added up.
#[derive(Debug, PartialEq)]
pub(super) enum Over {
    Rows(Rows),
    Children(usize),
    Leaves(usize),
}

/// A part of a formula.
#[derive(Debug, PartialEq)]
pub(super) enum Expr {
    Number(Interval),
    /// Already folded.
    Text(String),
    /// A column of the row at hand.
    Here {
        frame: usize,
        column: usize,
    },
    /// A column of a row that is looked up.
    Cell {
        rows: Rows,
        column: usize,
    },
    /// A part of the key at hand.
    Key {
        frame: usize,
        position: usize,
        axis: usize,
    },
    Sum {
        over: Over,
        of: Box<Expr>,
    },
    Count(Rows),
    Add(Vec<(bool, Expr)>),
    Multiply(Box<Expr>, Vec<(bool, Expr)>),
    Negative(Box<Expr>),
    /// Of a condition: what has no answer while it is blank.
    Known(Box<Expr>),
    As {
        of: Box<Expr>,
        unit: Unit,
        /// A written sum, to be worked out.
        sum: bool,
    },
    Compare(Box<Expr>, Vec<(Relation, Expr)>, Measure),
    Begins(Box<[Expr; 2]>),
    Or(Vec<Expr>),
    And(Vec<Expr>),
    Not(Box<Expr>),
    Iff(Box<[Expr; 2]>),
    Exists(Rows),
    Present(Box<Expr>),
    /// Something is filled in, in any of these rows.
    Filled(Rows),
    IsUnit(Box<Expr>, Unit),
    Has(Box<[Expr; 2]>),
    Mentions(Box<[Expr; 2]>),
    MentionsMoney(Box<Expr>),
    In(Box<Expr>, Vec<Expr>),
    Unique {
        rows: Rows,
        column: usize,
    },
    Ascending {
        rows: Rows,
        column: usize,
    },
}
