//! Keys of rows, numbered on each axis from 1, so that rows are found and compared by numbers.
//!
//! What the form set itself knows — keys that formulas call by name, relations, catalogues — is numbered once, at load;
//! a filing's own keys behind them, when it is judged.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use compact_str::CompactString;

use super::book::NONE;
use super::names::Names;
use crate::budget::form_set::{FixedRow, FormSet, Rows};

/// Row keys are a few bytes long, and a filing's own keys harm nobody else: eight bytes at a time, and no more.
#[derive(Clone, Default)]
pub(super) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        // The map looks at the lowest bits too, which multiplying leaves nearly alone.
        self.0 ^ self.0.rotate_left(29)
    }

    fn write(&mut self, bytes: &[u8]) {
        let (whole, rest) = bytes.as_chunks::<8>();
        whole.iter().for_each(|eight| self.write_u64(u64::from_le_bytes(*eight)));
        if !rest.is_empty() {
            self.write_u64(rest.iter().fold(1, |word, byte| word << 8 | u64::from(*byte)));
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.write_u64(u64::from(byte));
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

pub(super) type KeyHash = BuildHasherDefault<KeyHasher>;

/// The keys that a form set knows, by axis.
#[derive(Debug, Default)]
pub(super) struct KnownKeys {
    axes: Vec<KnownAxis>,
}

#[derive(Debug, Default)]
struct KnownAxis {
    numbers: HashMap<CompactString, u32, KeyHash>,
    names: Vec<CompactString>,
}

impl KnownKeys {
    /// Those that formulas call by name first, as they were numbered; then those of catalogues.
    pub(super) fn new(form: &FormSet, called: &[(usize, CompactString)]) -> KnownKeys {
        let count = form.axes.len() + form.tables.len() + form.relations.len();
        let mut known = KnownKeys { axes: std::iter::repeat_with(KnownAxis::default).take(count).collect() };
        for (axis, key) in called {
            known.number(*axis, key);
        }
        for (at, axis) in form.axes.iter().enumerate() {
            axis.catalogue.iter().flat_map(|catalogue| catalogue.names.keys()).for_each(|key| {
                known.number(at, key);
            });
        }
        known
    }

    /// The fixed rows of a table, by key; none if it has no fixed rows.
    pub(super) fn fixed(&mut self, form: &FormSet, table: usize) -> Vec<FixedKey> {
        let Some(Rows::Fixed { rows, .. }) = form.tables.get(table).map(|table| &table.rows) else { return Vec::new() };
        let Some(axis) = Names { form }.axes(table).first().copied() else { return Vec::new() };
        let places = (0_u32..).zip(rows.iter());
        let key = |(place, row): (u32, &FixedRow)| FixedKey {
            number: self.number(axis, &row.key),
            key: row.key.clone(),
            place,
        };
        let mut keys: Vec<FixedKey> = places.map(key).collect();
        keys.sort_by(|a, b| a.key.cmp(&b.key));
        keys
    }

    pub(super) fn number(&mut self, axis: usize, key: &CompactString) -> u32 {
        let Some(KnownAxis { numbers, names }) = self.axes.get_mut(axis) else { return NONE };
        *numbers.entry(key.clone()).or_insert_with(|| {
            names.push(key.clone());
            u32::try_from(names.len()).unwrap_or(NONE)
        })
    }
}

/// A fixed row of a table: its key, the number of that, and where it is printed.
#[derive(Debug)]
pub(super) struct FixedKey {
    pub(super) key: CompactString,
    pub(super) number: u32,
    pub(super) place: u32,
}

/// All keys on each axis.
pub(super) struct Keys<'a> {
    known: &'a KnownKeys,
    own: Vec<OwnAxis<'a>>,
}

#[derive(Clone, Default)]
struct OwnAxis<'a> {
    numbers: HashMap<&'a str, u32, KeyHash>,
    names: Vec<&'a str>,
}

impl<'a> Keys<'a> {
    pub(super) fn new(known: &'a KnownKeys) -> Keys<'a> {
        Keys { known, own: vec![OwnAxis::default(); known.axes.len()] }
    }

    pub(super) fn number(&mut self, axis: usize, key: &'a str) -> u32 {
        let (Some(known), Some(own)) = (self.known.axes.get(axis), self.own.get_mut(axis)) else { return NONE };
        if let Some(number) = known.numbers.get(key) {
            return *number;
        }
        *own.numbers.entry(key).or_insert_with(|| {
            own.names.push(key);
            u32::try_from(known.names.len() + own.names.len()).unwrap_or(NONE)
        })
    }

    /// The key of that number; nothing for a total.
    pub(super) fn name(&self, axis: usize, number: u32) -> &'a str {
        let (Some(known), Some(own)) = (self.known.axes.get(axis), self.own.get(axis)) else { return "" };
        let Some(at) = usize::try_from(number).ok().and_then(|number| number.checked_sub(1)) else { return "" };
        match known.names.get(at) {
            Some(name) => name,
            None => own.names.get(at - known.names.len()).copied().unwrap_or(""),
        }
    }
}
