//! What rules look at: the filing, the form set's relations, and whatever other filings there are, each a numbered
//! [`Book`]. And the small values by which the evaluation speaks of it: a row at hand, a cell that was read, a figure.
//!
//! Knows no rules. Next: `evaluate.rs`.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::hash::{Hash, Hasher};
use std::ops::Range;

use super::book::{Book, BookTable, KEY_PARTS, NONE};
use super::consolidated::Slack;
use super::evaluate::{Books, Filed};
use super::interval::{Interval, Relation};
use super::keys::Keys;
use super::line::Measure;
use super::written::{self, Reading};
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
    /// What the texts of the filing say, as far as somebody has asked: for each column, by row; and where those of a table
    /// begin.
    texts: (Vec<OnceCell<ColumnTexts<'a>>>, Vec<usize>),
}

/// The texts of a column, by row.
type ColumnTexts<'a> = Vec<OnceCell<Box<Text<'a>>>>;

/// What a text says: it is read many times over.
pub(super) struct Text<'a> {
    /// As it was written.
    pub(super) said: &'a str,
    /// With its width folded.
    pub(super) folded: Cow<'a, str>,
    reading: OnceCell<Reading>,
    mentioned: OnceCell<Vec<Interval>>,
}

impl Text<'_> {
    /// What it is as a whole.
    pub(super) fn reading(&self) -> Reading {
        *self.reading.get_or_init(|| written::read(&self.folded))
    }

    /// The amounts of money that it mentions.
    pub(super) fn mentioned(&self) -> &[Interval] {
        self.mentioned.get_or_init(|| written::mentioned(self.said))
    }
}

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
        let texts = (std::iter::repeat_with(OnceCell::new).take(columns).collect(), from);
        World { form, keys, books, filings: *filings, slack, last, given, units, texts }
    }

    #[inline]
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

    /// A part of the key of a row at hand.
    pub(super) fn part(&self, frame: &Frame, part: usize) -> u32 {
        if frame.row == NONE {
            return frame.key.get(part).copied().unwrap_or(NONE);
        }
        self.table(frame.book, frame.table).map_or(NONE, |table| table.part(frame.row, part))
    }

    /// The key of a row at hand.
    pub(super) fn key(&self, frame: &Frame) -> [u32; KEY_PARTS] {
        let of_row = |table: &BookTable<'a>| table.key(frame.row);
        if frame.row == NONE { frame.key } else { self.table(frame.book, frame.table).map_or(frame.key, of_row) }
    }

    // ── texts of the filing ──────────────────────────────────────────────────────────────

    /// What a row of the filing says in a column; nothing if that is no text.
    pub(super) fn text(&self, frame: &Frame, column: usize) -> Option<&Text<'a>> {
        let Some(Cell::Text(text)) = self.cell(frame, column).filter(|_| frame.book == THIS) else { return None };
        let (columns, from) = &self.texts;
        let rows = columns.get(from.get(frame.table)? + column)?.get_or_init(|| {
            let rows = self.table(THIS, frame.table).map_or(0, BookTable::len);
            std::iter::repeat_with(OnceCell::new).take(rows as usize).collect()
        });
        let read =
            || Text { said: text, folded: fold_width(text), reading: OnceCell::new(), mentioned: OnceCell::new() };
        rows.get(frame.row as usize).map(|place| place.get_or_init(|| Box::new(read())).as_ref())
    }

    // ── cells ────────────────────────────────────────────────────────────────────────────

    /// The cell of a row at hand; nothing where there is no row, or no such column in its filing's form set.
    #[inline]
    pub(super) fn cell(&self, frame: &Frame, column: usize) -> Option<&'a Cell> {
        self.table(frame.book, frame.table)?.cell(frame.row, column)
    }

    /// The figure in a cell.
    pub(super) fn standing(&self, (table, row, column): (usize, u32, usize), cell: &Cell) -> Standing {
        match cell {
            Cell::Amount(amount) => match self.slack {
                Some(slack) => Standing::Sum(amount.value.fen(), self.slack_of(slack, (table, row, column))),
                None => Standing::Amount(self.as_meant(*amount, table, column)),
            },
            Cell::Number(filed) => match self.kind(table, column) {
                Some(ColumnKind::Percent { .. }) => Standing::Percent(*filed),
                _ => Standing::Count(*filed),
            },
            Cell::Blank | Cell::Text(_) | Cell::Unreadable(_) => Standing::None,
        }
    }

    /// Who writes 4060 元 means it: only 万元 hide something behind their last digit.
    #[inline]
    pub(super) fn as_meant(&self, amount: Amount, table: usize, column: usize) -> Amount {
        match amount.scale.denomination {
            Denomination::Yuan if self.is_as_written(table, column) => Amount { scale: Scale::FEN, ..amount },
            Denomination::Yuan | Denomination::Wan => amount,
        }
    }

    fn kind(&self, table: usize, column: usize) -> Option<ColumnKind> {
        Some(self.form.tables.get(table)?.columns.get(column)?.kind)
    }

    fn is_as_written(&self, table: usize, column: usize) -> bool {
        matches!(self.kind(table, column), Some(ColumnKind::Amount { decimals: Decimals::AsWritten, .. }))
    }

    /// How far a sum may be from the truth, in 分.
    fn slack_of(&self, slack: &Slack, (table, row, column): (usize, u32, usize)) -> i128 {
        let columns = self.form.tables.get(table).map_or(0, |table| table.columns.len());
        slack.get(table).and_then(|slack| slack.get(row as usize * columns + column)).copied().unwrap_or(0)
    }

    // ── rows ─────────────────────────────────────────────────────────────────────────────

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
            Some(RowsOf::Fixed { rows, .. }) => Some(&**rows),
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
    /// [`NONE`] for a key without a row.
    pub(super) row: u32,
    /// Only of a key without a row; of others the book knows.
    pub(super) key: [u32; KEY_PARTS],
}

impl Frame {
    /// A row of a table.
    pub(super) fn of(book: usize, table: usize, row: u32) -> Frame {
        Frame { book, table, row, key: [NONE; KEY_PARTS] }
    }

    /// One of its cells.
    pub(super) fn cell(&self, column: usize) -> Seen {
        let Frame { book, table, row, key } = *self;
        Seen { book, table, column, row, key }
    }
}

/// A cell that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) book: usize,
    pub(super) table: usize,
    pub(super) column: usize,
    pub(super) row: u32,
    pub(super) key: [u32; KEY_PARTS],
}

impl Hash for Seen {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Rows of one table differ most; the key is that of a row that isn't there.
        let place = (self.book << 16 ^ self.table << 8 ^ self.column) as u64;
        state.write_u64(place << 32 | u64::from(self.row));
        if self.row == NONE {
            self.key.iter().for_each(|part| state.write_u32(*part));
        }
    }
}

/// The figure that stands in a cell.
pub(super) enum Standing {
    /// Nothing, or nothing that is a figure.
    None,
    /// Everything that prints so.
    Amount(Amount),
    /// A sum of amounts, and how far it may be from the truth, in 分.
    Sum(i128, i128),
    Count(Number),
    Percent(Number),
}

impl Standing {
    /// All that a figure can stand for.
    pub(super) fn figure(&self) -> Option<Interval> {
        match self {
            Standing::Amount(amount) => Some(Interval::of_amount(*amount)),
            Standing::Sum(fen, slack) => Some(Interval::of_sum(*fen, *slack)),
            Standing::Count(number) => Some(Interval::of_count(*number)),
            Standing::Percent(number) => Some(Interval::of_percent(*number)),
            Standing::None => None,
        }
    }
}

/// What a figure comes to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a, F> {
    Number(F),
    Blank,
    Text(&'a str),
}

/// The two sides of the comparison that decided.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sides<'a> {
    pub(super) left: Value<'a, Interval>,
    pub(super) right: Value<'a, Interval>,
    pub(super) relation: Relation,
    pub(super) measure: Measure,
    /// Where the right side's cells begin in what was read.
    pub(super) left_cells: usize,
}
