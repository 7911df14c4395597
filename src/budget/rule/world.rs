//! What rules look at: the filing, the form set's relations, and whatever other filings there are, each a numbered
//! [`Book`]. And the small values by which the evaluation speaks of it: a row at hand, a cell that was read, a figure.
//!
//! Knows no rules. Next: `evaluate.rs`.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::ops::Range;

use super::book::{Book, BookTable, KEY_PARTS};
use super::consolidated::Slack;
use super::evaluate::{Books, Filed};
use super::interval::{Interval, Relation};
use super::keys::Keys;
use super::line::Measure;
use crate::budget::cell::Cell;
use crate::budget::form_set::{ColumnKind, FormSet, Rows as RowsOf, fold_width};
use crate::budget::money::{Amount, Decimals, Denomination, Scale};
use crate::budget::number::Number;

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
    /// The texts of the filing, folded, for each column that somebody has asked for; and where those of a table begin.
    folded: (Vec<OnceCell<Folded<'a>>>, Vec<usize>),
}

/// The texts of a column, by row: empty for a blank, nothing for what is no text or nothing but spaces.
type Folded<'a> = Vec<Option<Cow<'a, str>>>;

/// Which book is whose.
pub(super) const THIS: usize = 0;
pub(super) const RELATIONS: usize = 1;

impl<'a> World<'a> {
    pub(super) fn new(form: &'a FormSet, filings: &Books<'a>, slack: Option<&'a Slack>) -> World<'a> {
        let rules = &form.rules;
        let mut keys = Keys::new(&rules.keys);
        // The relations have a place among the books, but are numbered already.
        let mut books = vec![Book::of(filings.filing, form, form, rules, &mut keys), Book::default()];
        let mut add = |(submission, filed_on): Filed<'a>| {
            books.push(Book::of(submission, filed_on, form, rules, &mut keys));
            books.len() - 1
        };
        let last = filings.last.map(&mut add);
        let given = filings.given.map(|given| add((given, form)));
        let first = filings.units.iter().map(|unit| add(*unit)).min();
        let units = first.map_or(0..0, |first| first..first + filings.units.len());
        let (mut columns, mut from) = (0, Vec::with_capacity(form.tables.len()));
        for table in &form.tables {
            from.push(columns);
            columns += table.columns.len();
        }
        let folded = (vec![OnceCell::new(); columns], from);
        World { form, keys, books, filings: *filings, slack, last, given, units, folded }
    }

    pub(super) fn table(&self, book: usize, table: usize) -> Option<&BookTable<'a>> {
        let book = if book == RELATIONS { Some(&self.form.rules.relations) } else { self.books.get(book) };
        book.and_then(|book| book.tables.get(table))
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

    /// The texts of a column of the filing, with their widths folded.
    pub(super) fn folded(&self, table: usize, column: usize) -> &[Option<Cow<'a, str>>] {
        let (columns, from) = &self.folded;
        let place = from.get(table).and_then(|from| columns.get(from + column));
        let Some((place, filed)) = place.zip(self.table(THIS, table)) else { return &[] };
        place.get_or_init(|| {
            let fold = |row| match filed.cell(row, column) {
                None | Some(Cell::Blank) => Some(Cow::Borrowed("")),
                Some(Cell::Text(text)) => Some(fold_width(text)).filter(|text| !text.is_empty()),
                Some(_) => None,
            };
            (0..filed.len()).map(fold).collect()
        })
    }

    /// How the cells of a column are read.
    pub(super) fn reading(&self, table: usize, column: usize) -> Reading<'a> {
        let kind = self.form.tables.get(table).and_then(|table| table.columns.get(column)).map(|column| column.kind);
        let columns = self.form.tables.get(table).map_or(0, |table| table.columns.len());
        let slack = self.slack.map(|slack| slack.get(table).map_or(&[][..], Vec::as_slice));
        Reading { kind, slack, column, columns }
    }

    /// Whether rows stand below this one.
    pub(super) fn is_parent(&self, book: usize, table: usize, row: u32) -> bool {
        let Some(filed) = self.table(book, table) else { return false };
        match self.fixed_rows(table) {
            Some(fixed) => filed.printed_at(row).and_then(|at| fixed.get(at)).is_some_and(|row| !row.parts.is_empty()),
            None => filed.is_parent(row),
        }
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

/// What stands in a cell, and what a figure there can stand for.
pub(super) enum Standing<'c> {
    Blank,
    /// Everything that prints so.
    Amount(Amount),
    /// A sum of amounts, and how far it may be from the truth, in 分.
    Sum(i128, i128),
    Count(Number),
    Percent(Number),
    Text(&'c str),
    Unreadable,
}

impl Standing<'_> {
    /// All that a figure can stand for.
    pub(super) fn figure(&self) -> Option<Interval> {
        match self {
            Standing::Amount(amount) => Some(Interval::of_amount(*amount)),
            Standing::Sum(fen, slack) => Some(Interval::of_sum(*fen, *slack)),
            Standing::Count(number) => Some(Interval::of_count(*number)),
            Standing::Percent(number) => Some(Interval::of_percent(*number)),
            Standing::Blank | Standing::Text(_) | Standing::Unreadable => None,
        }
    }
}

/// How the cells of a column are read.
pub(super) struct Reading<'a> {
    kind: Option<ColumnKind>,
    /// How far sums may be from the truth, in 分: row by row, a place for each column.
    slack: Option<&'a [i128]>,
    column: usize,
    columns: usize,
}

impl Reading<'_> {
    /// What stands in the cell of a row.
    #[inline]
    pub(super) fn of<'c>(&self, row: u32, cell: &'c Cell) -> Standing<'c> {
        match cell {
            Cell::Blank => Standing::Blank,
            Cell::Amount(amount) => match self.slack {
                Some(slack) => {
                    let slack = slack.get(row as usize * self.columns + self.column).copied().unwrap_or(0);
                    Standing::Sum(amount.value.fen(), slack)
                }
                // Who writes 4060 元 means it: only 万元 hide something behind their last digit.
                None if amount.scale.denomination == Denomination::Yuan && self.is_as_written() => {
                    Standing::Amount(Amount { scale: Scale::FEN, ..*amount })
                }
                None => Standing::Amount(*amount),
            },
            Cell::Number(filed) => match self.kind {
                Some(ColumnKind::Percent { .. }) => Standing::Percent(*filed),
                _ => Standing::Count(*filed),
            },
            Cell::Text(text) => Standing::Text(text),
            Cell::Unreadable(_) => Standing::Unreadable,
        }
    }

    fn is_as_written(&self) -> bool {
        matches!(self.kind, Some(ColumnKind::Amount { decimals: Decimals::AsWritten, .. }))
    }
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
