//! Keys of rows, numbered on each axis from 1, so that rows are found and compared by numbers.
//!
//! What the form set itself knows — keys that formulas call by name, relations, catalogues — is numbered once, at load;
//! a filing's own keys behind them, when it is judged.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;

use compact_str::CompactString;

use super::book::NONE;
use super::names::Names;
use crate::budget::form_set::{FixedRow, FormSet, Rows};

/// Row keys are a few bytes long: eight bytes at a time, and no more. Whoever files chooses up to a hundred thousand of
/// them, so both numbers are secret: nobody can choose keys that all fall together.
#[derive(Clone, Copy)]
pub(super) struct KeyHasher {
    state: u64,
    factor: u64,
}

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.state
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
        // Both halves of the product: the lower alone says nothing of the upper bits.
        let product = u128::from(self.state ^ word) * u128::from(self.factor);
        self.state = product as u64 ^ (product >> 64) as u64;
    }
}

/// One secret for the whole process. The order of these maps is never seen.
#[derive(Clone, Copy)]
pub(super) struct KeyHash(KeyHasher);

impl Default for KeyHash {
    fn default() -> KeyHash {
        static SECRET: LazyLock<KeyHasher> = LazyLock::new(|| {
            let random = RandomState::new();
            KeyHasher { state: random.hash_one(0), factor: random.hash_one(1) | 1 }
        });
        KeyHash(*SECRET)
    }
}

impl BuildHasher for KeyHash {
    type Hasher = KeyHasher;

    fn build_hasher(&self) -> KeyHasher {
        self.0
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    /// A bit that differs at the top of one word and is taken back in the next makes no difference to a hash of the lower
    /// halves of products, whatever it began with.
    #[test]
    fn differences_that_take_each_other_back_change_the_hash() {
        let key = |which: u32| -> Vec<u8> {
            let words = (0..8_u32).map(|at| {
                let differs = u64::from(which >> (at / 2) & 1);
                0x3131_3131_3131_3131 ^ differs << (if at % 2 == 0 { 63 } else { 4 })
            });
            words.flat_map(u64::to_le_bytes).collect()
        };
        let hash = |key: &[u8]| {
            let mut hasher = KeyHash::default().build_hasher();
            hasher.write(key);
            hasher.finish()
        };
        let hashes: std::collections::BTreeSet<u64> = (0..16).map(|which| hash(&key(which))).collect();
        assert_eq!(hashes.len(), 16);
        assert_eq!(hash(&key(7)), hash(&key(7)), "the same in all maps");
    }
}
