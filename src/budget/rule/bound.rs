//! How often a formula goes through rows for each of other rows.
//!
//! Rows that are met by a key at hand are looked up. What has nothing in common with the rows at hand is gone through whole,
//! and again for each of them: rows times rows. A formula that would do that with three lists is refused at load; how long
//! one with two takes is known from the rows of a filing before it is asked.

use super::line::{BookOf, Claim, Expr, Join, Line, Over, Rows, Scope, Test};
use super::names::Names;

/// Tables whose rows are gone through, whole.
pub(super) type Listed = (BookOf, usize);

/// The pairs of tables of which a line holds every row against every row; or three, which is too many.
pub(super) fn pairs(names: Names<'_>, line: &Line) -> Result<Vec<[Listed; 2]>, [Listed; 3]> {
    let mut walk = Walk { names, levels: Vec::new(), pairs: Vec::new(), three: None };
    let rows = match &line.scope {
        Scope::Once => &[],
        Scope::Rows(rows) => std::slice::from_ref(rows),
        Scope::AnyOf(all) => all.as_slice(),
    };
    for rows in rows {
        let level = walk.level(rows);
        walk.tests(rows, level);
    }
    let scope = rows.first().map(|rows| walk.level(rows));
    if let Some(when) = &line.when {
        // What is the same for every row is asked once.
        let of_row = scope.clone().map(|level| if line.when_once { Level { of: None, ..level } } else { level });
        walk.below(of_row, |walk| walk.expr(when));
    }
    walk.below(scope, |walk| match &line.claim {
        Claim::Condition(condition) => walk.expr(condition),
        Claim::Chain { first, rest, .. } => {
            walk.expr(first);
            rest.iter().for_each(|(_, expr)| walk.expr(expr));
        }
    });
    walk.three.map_or(Ok(walk.pairs), Err)
}

/// Rows at hand, one after the other.
#[derive(Clone)]
struct Level {
    /// Nothing if it is one row only.
    of: Option<Listed>,
    /// How many parts its keys have.
    width: usize,
    /// What it meets of the rows at hand around it.
    joins: Vec<Join>,
}

struct Walk<'f> {
    names: Names<'f>,
    levels: Vec<Level>,
    pairs: Vec<[Listed; 2]>,
    three: Option<[Listed; 3]>,
}

impl Walk<'_> {
    fn level(&self, rows: &Rows) -> Level {
        let width = self.names.axes(rows.table).len();
        // Rows that a list names are looked up from the list.
        let list = rows.tests.iter().find_map(|test| match test {
            Test::In { rows, leads: Some(_), .. } => Some(rows),
            _ => None,
        });
        if let Some(list) = list.filter(|_| rows.joins.is_empty() && rows.named.is_none()) {
            let outer = list.joins.iter().filter(|join| join.frame < self.levels.len());
            return Level { of: Some((list.book, list.table)), width, joins: outer.copied().collect() };
        }
        let one = rows.book != BookOf::Units && (rows.named.is_some() || rows.joins.len() == width);
        Level { of: (!one).then_some((rows.book, rows.table)), width, joins: rows.joins.clone() }
    }

    /// Goes on with some rows at hand.
    fn below(&mut self, level: Option<Level>, look: impl FnOnce(&mut Self)) {
        let Some(level) = level else { return look(self) };
        if let Some(of) = level.of {
            // Where the rows around it are told apart by what it meets of them, each of its own rows is met once at most.
            let around = self.levels.iter().enumerate().filter(|(at, outer)| {
                let told_apart =
                    (0..outer.width).all(|part| level.joins.iter().any(|join| join.frame == *at && join.of == part));
                !told_apart
            });
            let around: Vec<Listed> = around.filter_map(|(_, outer)| outer.of).collect();
            match around.as_slice() {
                [] => {}
                [one] => self.pairs.push([*one, of]),
                [one, two, ..] => self.three = self.three.or(Some([*one, *two, of])),
            }
        }
        self.levels.push(level);
        look(self);
        self.levels.pop();
    }

    /// What chooses rows, and what is asked of each of them.
    fn rows(&mut self, rows: &Rows, of_each: impl FnOnce(&mut Self)) {
        let level = self.level(rows);
        self.tests(rows, level.clone());
        self.below(Some(level), of_each);
    }

    fn tests(&mut self, rows: &Rows, level: Level) {
        self.below(Some(level), |walk| {
            for test in &rows.tests {
                match test {
                    Test::In { rows, .. } => walk.rows(rows, |_| {}),
                    Test::Holds(condition) => walk.expr(condition),
                    Test::Parents | Test::Leaves | Test::Level(_) | Test::Says(_) | Test::IsUnit(..) => {}
                }
            }
        });
    }

    fn all<'e>(&mut self, parts: impl IntoIterator<Item = &'e Expr>) {
        parts.into_iter().for_each(|part| self.expr(part));
    }

    fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::Number(_) | Expr::Text(_) | Expr::Here { .. } | Expr::Key { .. } => {}
            Expr::Cell { rows, .. }
            | Expr::Count(rows)
            | Expr::Exists(rows)
            | Expr::Filled(rows)
            | Expr::Unique { rows, .. }
            | Expr::Ascending { rows, .. } => self.rows(rows, |_| {}),
            Expr::Sum { over: Over::Rows(rows), of } => self.rows(rows, |walk| walk.expr(of)),
            Expr::Sum { over: Over::Children(at) | Over::Leaves(at), of } => {
                // Rows below are those of one row only.
                let joins = |outer: &Level| (0..outer.width).map(|of| Join { position: of, frame: *at, of }).collect();
                let below = self.levels.get(*at).map(|outer| Level { joins: joins(outer), ..outer.clone() });
                self.below(below, |walk| walk.expr(of));
            }
            Expr::Add(parts) => self.all(parts.iter().map(|(_, part)| part)),
            Expr::Multiply(first, factors) => {
                self.expr(first);
                self.all(factors.iter().map(|(_, factor)| factor));
            }
            Expr::Compare(first, rest, _) => {
                self.expr(first);
                self.all(rest.iter().map(|(_, part)| part));
            }
            Expr::In(part, among) => {
                self.expr(part);
                self.all(among);
            }
            Expr::Or(parts) | Expr::And(parts) => self.all(parts),
            Expr::Begins(two) | Expr::Iff(two) | Expr::Has(two) | Expr::Mentions(two) => self.all(two.iter()),
            Expr::Negative(part)
            | Expr::Known(part)
            | Expr::As { of: part, .. }
            | Expr::Not(part)
            | Expr::Present(part)
            | Expr::IsUnit(part, _)
            | Expr::MentionsMoney(part) => self.expr(part),
        }
    }
}
