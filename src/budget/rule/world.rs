//! What rules look at: the filing, the form set's relations, and whatever other filings there are, each a numbered
//! [`Book`]. And the small values by which the evaluation speaks of it: a row at hand, a cell that was read, a figure.
//!
//! Knows no rules. Next: `evaluate.rs`.

use std::borrow::Cow;
use std::ops::Range;

use super::book::{Book, BookTable, KEY_PARTS, Keys};
use super::consolidated::Slack;
use super::evaluate::{Books, Filed};
use super::interval::{Interval, Relation};
use super::line::Measure;
use crate::budget::form_set::{FormSet, Rows as RowsOf};

/// All filings, numbered: the filing, the relations, then whatever else there is.
pub(super) struct World<'a> {
    pub(super) form: &'a FormSet,
    pub(super) keys: Keys<'a>,
    pub(super) books: Vec<Book<'a>>,
    pub(super) filings: Books<'a>,
    /// How far the figures of the filing may be from the truth, if they are sums.
    pub(super) slack: Option<&'a Slack>,
    pub(super) last: Option<usize>,
    pub(super) given: Option<usize>,
    pub(super) units: Range<usize>,
}

/// Which book is whose.
pub(super) const THIS: usize = 0;
pub(super) const RELATIONS: usize = 1;

impl<'a> World<'a> {
    pub(super) fn new(form: &'a FormSet, filings: &Books<'a>, slack: Option<&'a Slack>) -> World<'a> {
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

    /// How far a sum may be from the truth, in 分.
    pub(super) fn slack(&self, table: usize, row: u32, column: usize) -> i128 {
        let columns = self.form.tables.get(table).map_or(0, |table| table.columns.len());
        let slack = self.slack.and_then(|slack| slack.get(table));
        slack.and_then(|slack| slack.get(row as usize * columns + column)).copied().unwrap_or(0)
    }

    pub(super) fn fixed_rows(&self, table: usize) -> Option<&'a [crate::budget::form_set::FixedRow]> {
        match self.form.tables.get(table).map(|table| &table.rows) {
            Some(RowsOf::Fixed { rows, .. }) => Some(rows),
            _ => None,
        }
    }

    pub(super) fn id(&self, table: usize) -> compact_str::CompactString {
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
    /// [`super::book::NONE`] for a key without a row.
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
pub(super) enum Value<'a, N = Interval> {
    Number(N),
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
