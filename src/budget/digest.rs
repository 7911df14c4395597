//! The digest of a submission: one name for its content, the same whatever format or order it came in.
//!
//! The recipe, for programs in other languages. SHA-256 over one byte string. A *text* is its length in bytes
//! as 4 bytes big-endian, then its UTF-8 bytes. In order:
//!
//! 1. texts: `budget-submission-1`, unit, year in decimal, round, kind, digest of the form set in lower-case hex;
//! 2. for each table that was filed, sorted by id: text id, then one byte `E` (empty on purpose) or `F` (filed).
//!    If filed: text amount unit (`元` or `万元`, or empty where the table states none), one byte decimals stated
//!    (255 where it states none), number of rows as 4 bytes big-endian, and for each row, sorted by key: text key,
//!    then for each column of the form set's table, sorted by id: one byte state and what belongs to it —
//!    `B` blank; `0` an amount of zero and `A` any other amount: amount in 分 as 8 bytes big-endian two's complement,
//!    one byte `Y` (元) or `W` (万元), one byte decimals; `N` number: mantissa as 8 bytes, one byte decimals;
//!    `T` text: text; `U` unreadable: text as written.
//!
//! Sorting is by UTF-8 bytes. The control total is the sum of all amount cells in 元.

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::cell::Cell;
use super::form_set::FormSet;
use super::money::{Denomination, Money, Total};
use super::submission::{Content, Submission};

/// A SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of some bytes.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(Sha256::digest(bytes).into())
    }

    /// The digest from its bytes, if they are 32.
    pub fn from_bytes(bytes: &[u8]) -> Option<Digest> {
        bytes.try_into().ok().map(Digest)
    }

    /// The digest from 64 hex digits.
    pub fn from_hex(text: &str) -> Option<Digest> {
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
        }
        Some(Digest(bytes))
    }

    /// The first twelve hex digits, for people.
    pub fn short(&self) -> String {
        let mut whole = self.to_string();
        whole.truncate(12);
        whole
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({})", self.short())
    }
}

/// The digest of a submission, by the recipe above.
pub fn digest(submission: &Submission, form: &FormSet) -> Digest {
    const PIECE_BYTES: usize = 8 * 1024;
    let mut hash = Sha256::new();
    let mut out = Vec::with_capacity(2 * PIECE_BYTES);
    let header = &submission.header;
    for part in
        ["budget-submission-1", &header.unit, &header.year.to_string(), header.round.as_str(), header.kind.as_str()]
    {
        text(&mut out, part);
    }
    text(&mut out, &form.digest.to_string());
    let mut tables: Vec<_> = submission.tables.iter().map(|filed| (&form.tables[filed.table], filed)).collect();
    tables.sort_by(|(a, _), (b, _)| a.id.cmp(&b.id));
    for (table, filed) in tables {
        text(&mut out, &table.id);
        let rows = match &filed.content {
            Content::Empty => {
                out.push(b'E');
                continue;
            }
            Content::Rows(rows) => rows,
        };
        out.push(b'F');
        text(&mut out, filed.denomination.map_or("", Denomination::as_str));
        out.push(filed.decimals.unwrap_or(u8::MAX));
        out.extend((rows.len() as u32).to_be_bytes());
        for row in rows.iter() {
            text(&mut out, row.key);
            for column in &table.columns_by_id {
                cell(&mut out, &row.cells[*column]);
            }
            if out.len() >= PIECE_BYTES {
                hash.update(&out);
                out.clear();
            }
        }
    }
    hash.update(&out);
    Digest(hash.finalize().into())
}

/// The control total: all amount cells of a submission added up, in 元.
pub fn control_total(submission: &Submission) -> Money {
    let amounts = submission.tables.iter().flat_map(|filed| filed.rows().cells().0).filter_map(Cell::amount);
    Total::from_fen(amounts.map(|amount| amount.value.fen()).sum()).money()
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u32).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Each piece of known length in one go: there are thousands of cells.
fn cell(out: &mut Vec<u8>, cell: &Cell) {
    match cell {
        Cell::Blank => out.push(b'B'),
        Cell::Amount(amount) => {
            let state = if amount.value.is_zero() { b'0' } else { b'A' };
            // A cell's amount is below 10^15 分, so its low eight bytes are all of it.
            let [.., a, b, c, d, e, f, g, h] = amount.value.fen().to_be_bytes();
            let denomination = match amount.scale.denomination {
                Denomination::Yuan => b'Y',
                Denomination::Wan => b'W',
            };
            out.extend_from_slice(&[state, a, b, c, d, e, f, g, h, denomination, amount.scale.decimals]);
        }
        Cell::Number(number) => {
            let [a, b, c, d, e, f, g, h] = number.mantissa.to_be_bytes();
            out.extend_from_slice(&[b'N', a, b, c, d, e, f, g, h, number.decimals]);
        }
        Cell::Text(words) => written(out, b'T', words),
        Cell::Unreadable(words) => written(out, b'U', words),
    }
}

fn written(out: &mut Vec<u8>, state: u8, words: &str) {
    let [a, b, c, d] = (words.len() as u32).to_be_bytes();
    out.extend_from_slice(&[state, a, b, c, d]);
    out.extend_from_slice(words.as_bytes());
}
