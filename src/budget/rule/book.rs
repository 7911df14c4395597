//! A filing as the rules see it: rows numbered, keys numbered, and who stands above whom, worked out once.
//!
//! Built for each filing that is judged; after that, finding a row is a look into a list, without hashing.

use std::cmp::Ordering;
use std::sync::OnceLock;

use super::RuleSet;
use super::keys::{FixedKey, Keys, KnownKeys};
use super::line::Join;
use super::names::Names;
use crate::budget::cell::{Cell, RowKey};
use crate::budget::form_set::FormSet;
use crate::budget::submission::{Content, Submission};

/// No row, or no key.
pub(super) const NONE: u32 = u32::MAX;
/// The key of a total row, on every axis.
pub(super) const TOTAL: u32 = 0;
/// The most parts of a row key that formulas can join by.
pub(super) const KEY_PARTS: usize = 4;

/// Whether a table was filed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    #[default]
    Missing,
    /// Empty on purpose.
    Empty,
    Filed,
}

/// One table of a filing.
#[derive(Debug, Default)]
pub(super) struct BookTable<'a> {
    pub(super) state: State,
    rows: u32,
    keys: &'a [RowKey],
    /// Row by row, `filed_columns` for each.
    cells: &'a [Cell],
    filed_columns: usize,
    /// Where the columns of the form set at hand are among them, if the filing is on another form set.
    columns: Option<Vec<Option<usize>>>,
    /// The numbered parts of each row's key, `width` for each row.
    numbers: Vec<u32>,
    pub(super) width: usize,
    /// For keys of one part: the row of each number.
    by_number: Vec<u32>,
    /// For keys of several parts: the rows of each number, for each part that was asked for.
    by_part: [OnceLock<ByPart>; KEY_PARTS],
    /// For coded rows and lists under a total: the first row below each, and the next beside it.
    first_child: Vec<u32>,
    next_child: Vec<u32>,
    /// For coded rows: behind the last row below each. Those below it stand between.
    ends: Vec<u32>,
    pub(super) total: u32,
    /// Whether its rows are printed as their codes sort.
    coded: bool,
    /// For fixed rows, in print order: the row as filed.
    pub(super) fixed: Vec<u32>,
    /// The same the other way round: where each row as filed is printed.
    places: Vec<u32>,
}

/// Rows, by a part of their keys.
#[derive(Debug, Default)]
struct ByPart {
    /// Where the rows of each number begin; those of the last number end where the last begins.
    from: Vec<u32>,
    rows: Vec<u32>,
}

/// One filing.
#[derive(Debug, Default)]
pub(super) struct Book<'a> {
    pub(super) tables: Vec<BookTable<'a>>,
}

impl<'a> Book<'a> {
    /// Numbers a filing; `filed_on` is the form set that it was filed on, `form` the one whose rules are asked.
    pub(super) fn of(
        submission: &'a Submission,
        filed_on: &FormSet,
        form: &FormSet,
        rules: &RuleSet,
        keys: &mut Keys<'a>,
    ) -> Book<'a> {
        let same = filed_on.digest == form.digest;
        let tables = form.tables.iter().enumerate().map(|(at, definition)| {
            if !rules.tables.get(at).copied().unwrap_or(false) {
                return BookTable::default();
            }
            let index = if same { Some(at) } else { filed_on.table(&definition.id).map(|(index, _)| index) };
            let Some(filed) = index.and_then(|index| submission.table(index)) else { return BookTable::default() };
            let rows = filed.rows();
            let (cells, filed_columns) = rows.cells();
            let mut table = BookTable {
                state: if filed.content == Content::Empty { State::Empty } else { State::Filed },
                rows: u32::try_from(rows.len()).unwrap_or(NONE),
                keys: rows.keys(),
                cells,
                filed_columns,
                ..BookTable::default()
            };
            if !same {
                let other = index.and_then(|index| filed_on.tables.get(index));
                let column = |id: &str| other.and_then(|other| other.column(id));
                table.columns = Some(definition.columns.iter().map(|c| column(&c.id)).collect());
            }
            match (rules.fixed.get(at).map(Vec::as_slice), Names { form }.axes(at).as_slice()) {
                (Some(known @ [_, ..]), [axis]) => table.number_fixed(*axis, known, keys),
                (_, axes) => table.number(at, axes, form, keys),
            }
            table
        });
        Book { tables: tables.collect() }
    }

    /// The relations of a form set, as a book of their own.
    pub(super) fn of_relations(form: &FormSet, used: &[bool], keys: &mut KnownKeys) -> Book<'static> {
        let names = Names { form };
        let mut tables: Vec<BookTable<'static>> = form.tables.iter().map(|_| BookTable::default()).collect();
        for (at, relation) in form.relations.iter().enumerate() {
            let at = form.tables.len() + at;
            let mut table = BookTable { state: State::Filed, total: NONE, ..BookTable::default() };
            if used.get(at).copied().unwrap_or(false) {
                let axes = names.axes(at);
                table.width = axes.len().min(KEY_PARTS);
                table.rows = u32::try_from(relation.tuples.len()).unwrap_or(NONE);
                for tuple in &relation.tuples {
                    for (axis, part) in axes.iter().zip(tuple).take(KEY_PARTS) {
                        table.numbers.push(keys.number(*axis, part));
                    }
                }
                table.index();
            }
            tables.push(table);
        }
        Book { tables }
    }
}

impl<'a> BookTable<'a> {
    fn number(&mut self, at: usize, axes: &[usize], form: &FormSet, keys: &mut Keys<'a>) {
        self.width = axes.len().min(KEY_PARTS);
        self.total = NONE;
        let total = form.tables.get(at).and_then(|table| table.total_row());
        let mut numbers = Vec::with_capacity(self.keys.len() * self.width);
        // Rows are sorted, so most have their first parts in common with the one before.
        let mut before: [(&str, u32); KEY_PARTS] = [("", NONE); KEY_PARTS];
        for (row, key) in self.keys.iter().map(RowKey::as_str).enumerate() {
            if total.is_some_and(|total| total == key) {
                self.total = u32::try_from(row).unwrap_or(NONE);
                numbers.extend(std::iter::repeat_n(TOTAL, self.width));
            } else if let [axis] = axes {
                numbers.push(keys.number(*axis, key));
            } else {
                let mut rest = Some(key);
                for (axis, known) in axes.iter().zip(&mut before) {
                    let part = rest.map(|rest| match rest.strip_prefix(known.0) {
                        Some(after) if known.1 != NONE && (after.is_empty() || after.starts_with('/')) => known.0,
                        _ => rest.split_once('/').map_or(rest, |(part, _)| part),
                    });
                    rest = rest.zip(part).and_then(|(rest, part)| rest.get(part.len() + 1..));
                    match part {
                        Some(part) if part.len() == known.0.len() && known.1 != NONE && part == known.0 => {}
                        Some(part) => *known = (part, keys.number(*axis, part)),
                        None => *known = ("", NONE),
                    }
                    numbers.push(known.1);
                }
            }
        }
        self.numbers = numbers;
        self.index();
        self.coded = !Names { form }.levels(at).is_empty();
        if self.coded || self.total != NONE {
            self.rank();
        }
    }

    /// The same for fixed rows, which the form set has numbered already; `known` by key, as rows are.
    fn number_fixed(&mut self, axis: usize, known: &[FixedKey], keys: &mut Keys<'a>) {
        (self.width, self.total) = (1, NONE);
        self.fixed = vec![NONE; known.len()];
        self.places = vec![NONE; self.keys.len()];
        let mut known = known.iter().peekable();
        for (row, key) in (0_u32..).zip(self.keys) {
            while known.next_if(|fixed| fixed.key < *key).is_some() {}
            let Some(fixed) = known.next_if(|fixed| fixed.key == *key) else {
                self.numbers.push(keys.number(axis, key));
                continue;
            };
            self.numbers.push(fixed.number);
            if let (Some(of_place), Some(of_row)) =
                (self.fixed.get_mut(fixed.place as usize), self.places.get_mut(row as usize))
            {
                (*of_place, *of_row) = (row, fixed.place);
            }
        }
        self.index();
    }

    fn index(&mut self) {
        if self.width != 1 {
            return;
        }
        let most = self.numbers.iter().copied().filter(|number| *number != NONE).max().map_or(0, |most| most + 1);
        self.by_number = vec![NONE; usize::try_from(most).unwrap_or(0)];
        for (row, number) in (0_u32..).zip(&self.numbers) {
            if let Some(place) = usize::try_from(*number).ok().and_then(|number| self.by_number.get_mut(number)) {
                *place = row;
            }
        }
    }

    /// Finds the row above each: the longest code that begins its code, or the total row. Rows are sorted by key.
    fn rank(&mut self) {
        let count = self.keys.len();
        let mut parents = vec![self.total; count];
        let mut above: Vec<u32> = Vec::new();
        self.ends = if self.coded { vec![self.rows; count] } else { Vec::new() };
        for (row, parent) in parents.iter_mut().enumerate() {
            let here = u32::try_from(row).unwrap_or(NONE);
            if here == self.total {
                *parent = NONE;
                continue;
            }
            if self.coded {
                let is_below = |up: &u32| self.keys[row].starts_with(self.keys[*up as usize].as_str());
                while let Some(up) = above.pop_if(|up| !is_below(up)) {
                    self.ends[up as usize] = here;
                }
                if let Some(up) = above.last() {
                    *parent = *up;
                }
                above.push(here);
            }
        }
        (self.first_child, self.next_child) = (vec![NONE; count], vec![NONE; count]);
        for (row, up) in parents.iter().enumerate().rev().filter(|(_, up)| **up != NONE) {
            self.next_child[row] = self.first_child[*up as usize];
            self.first_child[*up as usize] = u32::try_from(row).unwrap_or(NONE);
        }
    }

    /// How two rows stand in print: the total first, then codes as text, lists by number.
    pub(super) fn as_printed(&self, a: u32, b: u32) -> Ordering {
        let listed = || match self.coded {
            true => Ordering::Equal,
            false => as_listed(self.spelled(a), self.spelled(b)),
        };
        let place = |row: u32| self.places.get(row as usize);
        (a != self.total)
            .cmp(&(b != self.total))
            .then_with(|| place(a).cmp(&place(b)))
            .then_with(listed)
            .then(a.cmp(&b))
    }

    /// The key of a row as it is written.
    pub(super) fn spelled(&self, row: u32) -> &'a str {
        self.keys.get(row as usize).map_or("", RowKey::as_str)
    }

    pub(super) fn len(&self) -> u32 {
        self.rows
    }

    /// A cell; `None` if there is no such row, or no such column in the filing's form set.
    #[inline]
    pub(super) fn cell(&self, row: u32, column: usize) -> Option<&'a Cell> {
        let column = match &self.columns {
            None => column,
            Some(columns) => columns.get(column).copied().flatten()?,
        };
        let at = (row as usize).checked_mul(self.filed_columns)?.checked_add(column)?;
        if column < self.filed_columns { self.cells.get(at) } else { None }
    }

    /// Where a row stands among the fixed rows of its table.
    pub(super) fn printed_at(&self, row: u32) -> Option<usize> {
        let at = self.places.get(row as usize).copied().filter(|at| *at != NONE)?;
        usize::try_from(at).ok()
    }

    /// The numbered parts of a row's key.
    pub(super) fn key(&self, row: u32) -> [u32; KEY_PARTS] {
        let mut key = [NONE; KEY_PARTS];
        let from = row as usize * self.width;
        if let Some(parts) = self.numbers.get(from..from + self.width) {
            key[..self.width].copy_from_slice(parts);
        }
        key
    }

    /// One part of a row's key.
    pub(super) fn part(&self, row: u32, part: usize) -> u32 {
        if part >= self.width {
            return NONE;
        }
        self.numbers.get((row as usize).saturating_mul(self.width) + part).copied().unwrap_or(NONE)
    }

    /// Whether a row has a code of so many digits.
    pub(super) fn is_on_level(&self, row: u32, digits: usize) -> bool {
        let key = self.spelled(row);
        key.len() == digits && key.bytes().all(|byte| byte.is_ascii_digit())
    }

    /// The row of that key of one part.
    pub(super) fn row(&self, number: u32) -> u32 {
        self.by_number.get(number as usize).copied().unwrap_or(NONE)
    }

    /// The rows whose keys have that part, in order.
    pub(super) fn with(&self, part: usize, number: u32) -> &[u32] {
        let Some(by_part) = self.by_part.get(part).filter(|_| part < self.width && number != NONE) else { return &[] };
        let ByPart { from, rows } = by_part.get_or_init(|| self.rows_by_part(part));
        let begin = |number: usize| from.get(number).map(|at| *at as usize);
        match (begin(number as usize), begin(number as usize + 1)) {
            (Some(first), Some(end)) => rows.get(first..end).unwrap_or(&[]),
            _ => &[],
        }
    }

    /// Counts the rows of each number, and puts each behind those before it.
    fn rows_by_part(&self, part: usize) -> ByPart {
        let numbers = || self.numbers.iter().skip(part).step_by(self.width).copied();
        let count = numbers().filter(|number| *number != NONE).max().map_or(0, |most| most as usize + 1);
        let mut ends = vec![0_u32; count + 1];
        for number in numbers() {
            if let Some(end) = ends.get_mut(number as usize) {
                *end += 1;
            }
        }
        let mut sum = 0;
        for end in &mut ends {
            sum += std::mem::replace(end, sum);
        }
        let mut rows = vec![NONE; sum as usize];
        for (row, number) in (0_u32..).zip(numbers()) {
            let Some(end) = ends.get_mut(number as usize) else { continue };
            if let Some(place) = rows.get_mut(*end as usize) {
                *place = row;
            }
            *end += 1;
        }
        // Each has moved on to where the next begins.
        ends.pop();
        ends.insert(0, 0);
        ByPart { from: ends, rows }
    }

    /// Whether a row has the parts that are wanted.
    pub(super) fn fits(&self, row: u32, joins: &[Join], wanted: &[u32; KEY_PARTS]) -> bool {
        let part = |join: &Join| wanted.get(join.position).is_none_or(|part| *part == self.part(row, join.position));
        joins.iter().all(part)
    }

    /// Whether rows stand below this one. A total row always stands above its table.
    pub(super) fn is_parent(&self, row: u32) -> bool {
        row == self.total || self.first_child.get(row as usize).is_some_and(|child| *child != NONE)
    }

    /// The last rows below one: those with none below them.
    pub(super) fn leaves(&self, row: u32) -> impl Iterator<Item = u32> + '_ {
        let end = || self.ends.get(row as usize).copied().unwrap_or(0);
        let below = if row == self.total { 0..self.len() } else { row.saturating_add(1)..end() };
        below.filter(|row| !self.is_parent(*row))
    }

    pub(super) fn children(&self, row: u32) -> impl Iterator<Item = u32> + '_ {
        let first = self.first_child.get(row as usize).copied().filter(|child| *child != NONE);
        std::iter::successors(first, |child| self.next_child.get(*child as usize).copied().filter(|next| *next != NONE))
    }
}

/// Lists go by number, 9 before 10, and numbers before all else: one order for any keys that there may be.
fn as_listed(a: &str, b: &str) -> Ordering {
    // Neighbours have most of their keys in common: only the part in which they first differ decides.
    let (left, right) = (a.as_bytes(), b.as_bytes());
    let same = left.iter().zip(right).take_while(|(a, b)| a == b).count();
    let from = left.iter().take(same).rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let part = |key: &'_ [u8]| {
        let rest = key.get(from..).unwrap_or(&[]);
        let length = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
        let is_word = !rest.iter().take(length).all(u8::is_ascii_digit);
        (is_word, if is_word { 0 } else { length })
    };
    part(left).cmp(&part(right)).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An order that runs in a circle makes sorting panic, and keys come from outside.
    #[test]
    fn keys_of_any_kind_have_one_order() {
        let keys =
            ["9", "10", "1a", "a", "", "9/2", "9/10", "9/x", "10/1", "1a/3", "合计", "2024-001/3", "2024-001/12"];
        for a in keys {
            for b in keys {
                assert_eq!(as_listed(a, b), as_listed(b, a).reverse(), "{a} {b}");
                for c in keys {
                    let falls = as_listed(a, b) != Ordering::Greater && as_listed(b, c) != Ordering::Greater;
                    assert!(!falls || as_listed(a, c) != Ordering::Greater, "{a} {b} {c}");
                }
            }
        }
    }
}
