//! A filing as the rules see it: rows numbered, keys numbered, and who stands above whom, worked out once.
//!
//! Built for each filing that is judged; after that, finding a row is a look into a list, without hashing.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::RuleSet;
use super::names::Names;
use crate::budget::cell::Cell;
use crate::budget::form_set::{FormSet, Rows};
use crate::budget::submission::{Content, Submission};

/// No row, or no key.
pub(super) const NONE: u32 = u32::MAX;
/// The key of a total row, on every axis.
pub(super) const TOTAL: u32 = 0;
/// The most parts of a row key that formulas can join by.
pub(super) const KEY_PARTS: usize = 4;

/// FNV-1a: row keys are a few bytes long, and a filing's own keys harm nobody else.
#[derive(Clone)]
pub(super) struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Fnv {
        Fnv(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        // The map looks at the highest bits, which FNV leaves nearly alone.
        self.0 ^ self.0.rotate_left(29)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

type Numbers<'a> = HashMap<&'a str, u32, BuildHasherDefault<Fnv>>;

/// The keys on each axis, numbered from 1; those that formulas call by name come first.
pub(super) struct Keys<'a> {
    numbers: Vec<Numbers<'a>>,
    names: Vec<Vec<&'a str>>,
}

impl<'a> Keys<'a> {
    pub(super) fn new(rules: &'a RuleSet, form: &FormSet) -> Keys<'a> {
        let count = form.axes.len() + form.tables.len() + form.relations.len();
        let mut keys = Keys { numbers: vec![Numbers::default(); count], names: vec![Vec::new(); count] };
        for (axis, key) in &rules.keys {
            keys.number(*axis, key);
        }
        keys
    }

    fn number(&mut self, axis: usize, key: &'a str) -> u32 {
        let (Some(numbers), Some(names)) = (self.numbers.get_mut(axis), self.names.get_mut(axis)) else { return NONE };
        *numbers.entry(key).or_insert_with(|| {
            names.push(key);
            u32::try_from(names.len()).unwrap_or(NONE)
        })
    }

    /// The key of that number; nothing for a total.
    pub(super) fn name(&self, axis: usize, number: u32) -> &'a str {
        let at = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
        self.names.get(axis).zip(at).and_then(|(names, at)| names.get(at)).copied().unwrap_or("")
    }
}

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
#[derive(Default)]
pub(super) struct BookTable<'a> {
    pub(super) state: State,
    pub(super) keys: Vec<&'a str>,
    cells: Vec<&'a [Cell]>,
    /// Where the columns of the form set at hand are in `cells`, if the filing is on another form set.
    columns: Option<Vec<Option<usize>>>,
    /// The numbered parts of each row's key, `width` for each row.
    numbers: Vec<u32>,
    pub(super) width: usize,
    /// For keys of one part: the row of each number.
    by_number: Vec<u32>,
    /// For keys of several parts: number and row, sorted, for each part.
    by_part: Vec<Vec<(u32, u32)>>,
    /// The row above, for coded rows and lists under a total.
    parents: Vec<u32>,
    first_child: Vec<u32>,
    next_child: Vec<u32>,
    pub(super) total: u32,
    /// The rows as they are printed: the total first, then codes as text, lists by number.
    pub(super) order: Vec<u32>,
    /// For fixed rows, in print order: the row as filed.
    pub(super) fixed: Vec<u32>,
    /// The same the other way round: where each row as filed is printed.
    printed: Vec<u32>,
}

/// One filing.
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
            let mut table = BookTable {
                state: if filed.content == Content::Empty { State::Empty } else { State::Filed },
                ..BookTable::default()
            };
            if !same {
                let other = index.and_then(|index| filed_on.tables.get(index));
                let column = |id: &str| other.and_then(|other| other.column(id));
                table.columns = Some(definition.columns.iter().map(|c| column(&c.id)).collect());
            }
            let rows = filed.rows();
            (table.keys, table.cells) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
            for row in rows.iter() {
                table.keys.push(row.key.as_str());
                table.cells.push(row.cells);
            }
            table.number(at, form, keys);
            table
        });
        Book { tables: tables.collect() }
    }

    /// The relations of a form set, as a book of their own.
    pub(super) fn of_relations(form: &'a FormSet, rules: &RuleSet, keys: &mut Keys<'a>) -> Book<'a> {
        let names = Names { form };
        let mut tables: Vec<BookTable<'a>> = form.tables.iter().map(|_| BookTable::default()).collect();
        for (at, relation) in form.relations.iter().enumerate() {
            let at = form.tables.len() + at;
            let mut table = BookTable { state: State::Filed, ..BookTable::default() };
            if rules.tables.get(at).copied().unwrap_or(false) {
                let axes = names.axes(at);
                table.width = axes.len().min(KEY_PARTS);
                for tuple in &relation.tuples {
                    table.keys.push("");
                    for (axis, part) in axes.iter().zip(tuple).take(KEY_PARTS) {
                        table.numbers.push(keys.number(*axis, part.as_str()));
                    }
                }
                table.order = (0..table.len()).collect();
                table.index();
            }
            tables.push(table);
        }
        Book { tables }
    }
}

impl<'a> BookTable<'a> {
    fn number(&mut self, at: usize, form: &FormSet, keys: &mut Keys<'a>) {
        let axes = Names { form }.axes(at);
        self.width = axes.len().min(KEY_PARTS);
        self.total = NONE;
        let total = form.tables.get(at).and_then(|table| table.total_row());
        let mut numbers = Vec::with_capacity(self.keys.len() * self.width);
        // Rows are sorted, so most have their first parts in common with the one before.
        let mut before: [(&str, u32); KEY_PARTS] = [("", NONE); KEY_PARTS];
        for (row, key) in self.keys.iter().enumerate() {
            if total.is_some_and(|total| total == *key) {
                self.total = u32::try_from(row).unwrap_or(NONE);
                numbers.extend(std::iter::repeat_n(TOTAL, self.width));
            } else if let [axis] = axes.as_slice() {
                numbers.push(keys.number(*axis, key));
            } else {
                let mut parts = key.split('/');
                for (axis, known) in axes.iter().zip(&mut before) {
                    match parts.next() {
                        Some(part) if known.0 == part && known.1 != NONE => {}
                        Some(part) => *known = (part, keys.number(*axis, part)),
                        None => *known = ("", NONE),
                    }
                    numbers.push(known.1);
                }
            }
        }
        self.numbers = numbers;
        self.index();
        let coded = !Names { form }.levels(at).is_empty();
        self.order = (0..self.len()).collect();
        if !coded {
            let keys = &self.keys;
            self.order.sort_by(|a, b| as_listed(keys[*a as usize], keys[*b as usize]));
        }
        self.order.sort_by_key(|row| *row != self.total);
        match form.tables.get(at).map(|table| &table.rows) {
            Some(Rows::Keyed { .. }) => self.rank(coded),
            Some(Rows::Fixed { rows, .. }) => {
                let filed = |key: &str| self.keys.binary_search(&key).ok().and_then(|row| u32::try_from(row).ok());
                self.fixed = rows.iter().map(|row| filed(&row.key).unwrap_or(NONE)).collect();
                self.printed = vec![NONE; self.keys.len()];
                for (at, row) in (0..).zip(&self.fixed) {
                    if let Some(printed) = self.printed.get_mut(*row as usize) {
                        *printed = at;
                    }
                }
            }
            Some(Rows::Record) | None => {}
        }
    }

    fn index(&mut self) {
        if self.width == 1 {
            let most = self.numbers.iter().copied().filter(|number| *number != NONE).max().map_or(0, |most| most + 1);
            self.by_number = vec![NONE; usize::try_from(most).unwrap_or(0)];
            for (row, number) in (0_u32..).zip(&self.numbers) {
                if let Some(place) = usize::try_from(*number).ok().and_then(|number| self.by_number.get_mut(number)) {
                    *place = row;
                }
            }
        } else {
            for part in 0..self.width {
                let numbers = self.numbers.iter().skip(part).step_by(self.width);
                let mut sorted: Vec<(u32, u32)> = numbers.copied().zip(0_u32..).collect();
                sorted.sort_unstable();
                self.by_part.push(sorted);
            }
        }
    }

    /// Finds the row above each: the longest code that begins its code, or the total row. Rows are sorted by key.
    fn rank(&mut self, coded: bool) {
        let count = self.keys.len();
        self.parents = vec![self.total; count];
        self.first_child = vec![NONE; count];
        self.next_child = vec![NONE; count];
        let mut above: Vec<u32> = Vec::new();
        for row in 0..count {
            let here = u32::try_from(row).unwrap_or(NONE);
            if here == self.total {
                self.parents[row] = NONE;
                continue;
            }
            if coded {
                while above.last().is_some_and(|up| !self.keys[row].starts_with(self.keys[*up as usize])) {
                    above.pop();
                }
                if let Some(up) = above.last() {
                    self.parents[row] = *up;
                }
                above.push(here);
            }
        }
        for row in (0..count).rev() {
            let up = self.parents[row];
            if up != NONE {
                self.next_child[row] = self.first_child[up as usize];
                self.first_child[up as usize] = u32::try_from(row).unwrap_or(NONE);
            }
        }
    }

    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.keys.len()).unwrap_or(NONE)
    }

    /// A cell; `None` if the filing's form set has no such column.
    pub(super) fn cell(&self, row: u32, column: usize) -> Option<&'a Cell> {
        let column = match &self.columns {
            None => column,
            Some(columns) => columns.get(column).copied().flatten()?,
        };
        self.cells.get(row as usize).and_then(|cells| cells.get(column))
    }

    /// Where a row stands among the fixed rows of its table.
    pub(super) fn printed_at(&self, row: u32) -> Option<usize> {
        let at = self.printed.get(row as usize).copied().filter(|at| *at != NONE)?;
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

    /// The row of that key of one part.
    pub(super) fn row(&self, number: u32) -> u32 {
        self.by_number.get(number as usize).copied().unwrap_or(NONE)
    }

    /// The rows whose keys have that part.
    pub(super) fn with(&self, part: usize, number: u32) -> &[(u32, u32)] {
        let Some(sorted) = self.by_part.get(part) else { return &[] };
        let from = sorted.partition_point(|(of, _)| *of < number);
        let to = from + sorted[from..].partition_point(|(of, _)| *of == number);
        &sorted[from..to]
    }

    /// Whether rows stand below this one. A total row always stands above its table.
    pub(super) fn is_parent(&self, row: u32) -> bool {
        row == self.total || self.first_child.get(row as usize).is_some_and(|child| *child != NONE)
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
