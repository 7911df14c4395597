//! How a record lies in a store of keys and values: cut into small pieces, with
//! its length and checksum, under keys that sort by position.
//!
//! Knows no engine; any store with ordered keys and atomic batches can carry
//! it. All numbers are big-endian.
//!
//! ```text
//! key              (position u64, piece u32)
//! first value      format u8 · pieces u32 · length u64 · CRC-32 u32 · bytes
//! other values     bytes
//! head mark        key (u64::MAX, 0), value: format u8 · head u64 · CRC-32 u32
//! ```
//! The checksums cover the position too, so a record under a wrong key is as
//! noticeable as a changed one.

use super::{JournalError, RECORD_BYTES_MAX};

/// No value is longer. sled keeps up to 16 entries in a leaf, and a leaf over
/// 128 KiB goes to a file that is never synced: 16 times this is half of that.
pub(super) const PIECE_BYTES_MAX: usize = 4096;

const RECORD_FORMAT: u8 = 1;
const HEADER_BYTES: usize = 1 + 4 + 8 + 4;

pub(super) type Key = [u8; 12];

pub(super) fn key(position: u64, piece: u32) -> Key {
    let [a, b, c, d, e, f, g, h] = position.to_be_bytes();
    let [i, j, k, l] = piece.to_be_bytes();
    [a, b, c, d, e, f, g, h, i, j, k, l]
}

/// The position in a key; none if it is not a key of ours.
pub(super) fn position_of(key: &[u8]) -> Option<u64> {
    let (position, piece) = key.split_first_chunk::<8>()?;
    (piece.len() == 4).then(|| u64::from_be_bytes(*position))
}

/// The head mark sorts behind all records: there it shares the leaf that an
/// append rewrites anyhow. In front, it would rewrite the oldest records for
/// ever.
pub(super) fn head_key() -> Key {
    key(u64::MAX, 0)
}

pub(super) fn head_value(head: u64) -> [u8; 13] {
    let [a, b, c, d, e, f, g, h] = head.to_be_bytes();
    let [i, j, k, l] = checksum(u64::MAX, &head.to_be_bytes()).to_be_bytes();
    [RECORD_FORMAT, a, b, c, d, e, f, g, h, i, j, k, l]
}

pub(super) fn parse_head(value: &[u8]) -> Result<u64, JournalError> {
    let head = value.split_first().and_then(|(_, rest)| rest.first_chunk::<8>()).map(|head| u64::from_be_bytes(*head));
    match head {
        Some(head) if value == head_value(head) => Ok(head),
        _ => Err(damaged(0, "the head mark does not have its checksum")),
    }
}

/// The entries that hold `record` at `position`.
pub(super) fn pieces(position: u64, record: &[u8]) -> Vec<(Key, Vec<u8>)> {
    let (first, rest) = record.split_at(record.len().min(PIECE_BYTES_MAX - HEADER_BYTES));
    let mut entries = vec![(key(position, 0), Vec::new())];
    let mut count: u32 = 1;
    for chunk in rest.chunks(PIECE_BYTES_MAX) {
        entries.push((key(position, count), chunk.to_vec()));
        count += 1;
    }
    if let Some((_, value)) = entries.first_mut() {
        value.reserve_exact(HEADER_BYTES + first.len());
        value.push(RECORD_FORMAT);
        value.extend_from_slice(&count.to_be_bytes());
        value.extend_from_slice(&(record.len() as u64).to_be_bytes());
        value.extend_from_slice(&checksum(position, record).to_be_bytes());
        value.extend_from_slice(first);
    }
    entries
}

/// Puts the record at `position` together from entries in key order and checks
/// count, length and checksum. Takes no more entries than the record has.
pub(super) fn join<K: AsRef<[u8]>, V: AsRef<[u8]>>(
    position: u64,
    mut next: impl FnMut() -> Result<Option<(K, V)>, JournalError>,
) -> Result<Vec<u8>, JournalError> {
    let mut piece = |number: u32| match next()? {
        Some((found, value)) if found.as_ref() == key(position, number) => Ok(value),
        Some((found, _)) => {
            Err(damaged(position, format!("piece {number} is missing; the next entry is {:02x?}", found.as_ref())))
        }
        None => Err(damaged(position, format!("piece {number} is missing"))),
    };

    let first = piece(0)?;
    let header =
        Header::parse(first.as_ref()).ok_or_else(|| damaged(position, "the record's header makes no sense"))?;
    let mut record = Vec::with_capacity(header.length);
    record.extend_from_slice(first.as_ref().get(HEADER_BYTES..).unwrap_or_default());
    for number in 1..header.pieces {
        record.extend_from_slice(piece(number)?.as_ref());
    }
    if record.len() != header.length {
        let what = format!("{} bytes instead of {}", record.len(), header.length);
        return Err(damaged(position, what));
    }
    let actual = checksum(position, &record);
    if actual != header.checksum {
        let what = format!("checksum {actual:08x} instead of {:08x}", header.checksum);
        return Err(damaged(position, what));
    }
    Ok(record)
}

struct Header {
    pieces: u32,
    length: usize,
    checksum: u32,
}

impl Header {
    /// None unless the numbers fit each other, so that a damaged length never
    /// becomes an allocation.
    fn parse(value: &[u8]) -> Option<Self> {
        let (format, rest) = value.split_first()?;
        let (pieces, rest) = rest.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk::<8>()?;
        let (checksum, _) = rest.split_first_chunk::<4>()?;
        let header = Self {
            pieces: u32::from_be_bytes(*pieces),
            length: usize::try_from(u64::from_be_bytes(*length)).ok()?,
            checksum: u32::from_be_bytes(*checksum),
        };
        let sane = *format == RECORD_FORMAT
            && header.length <= RECORD_BYTES_MAX
            && (HEADER_BYTES + header.length).div_ceil(PIECE_BYTES_MAX) == header.pieces as usize;
        sane.then_some(header)
    }
}

fn checksum(position: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&position.to_be_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

pub(super) fn damaged(position: u64, what: impl Into<String>) -> JournalError {
    JournalError::Damaged { position, what: what.into() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn rejoin(position: u64, entries: Vec<(Key, Vec<u8>)>) -> Result<Vec<u8>, JournalError> {
        let mut entries = entries.into_iter();
        join(position, || Ok(entries.next()))
    }

    #[test]
    fn record_of_any_size_comes_back_in_pieces_within_the_limit() {
        for length in [0, 1, 4078, 4079, 4080, 4096, 8175, 8176, 12_000] {
            let record: Vec<u8> = (0..length).map(|n: usize| (n % 251) as u8).collect();
            let entries = pieces(7, &record);
            assert!(entries.iter().all(|(_, value)| value.len() <= PIECE_BYTES_MAX));
            assert_eq!(entries.len(), (HEADER_BYTES + length).div_ceil(PIECE_BYTES_MAX));
            assert_eq!(rejoin(7, entries).unwrap(), record);
        }
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let entries = pieces(7, &[0x5a; 5000]);
        for (entry, (_, value)) in entries.iter().enumerate() {
            for bit in 0..value.len() * 8 {
                let mut changed = entries.clone();
                changed[entry].1[bit / 8] ^= 1 << (bit % 8);
                let error = rejoin(7, changed).unwrap_err();
                assert!(matches!(error, JournalError::Damaged { position: 7, .. }), "{error}");
            }
        }
    }

    #[test]
    fn record_under_another_position_is_noticed() {
        let mut entries = pieces(7, b"moved");
        entries[0].0 = key(8, 0);
        assert!(rejoin(8, entries).is_err());
    }

    #[test]
    fn missing_swapped_or_cut_pieces_are_noticed() {
        let whole = pieces(7, &(0..3 * 4096).map(|n| (n / 64) as u8).collect::<Vec<_>>());
        for gone in 0..whole.len() {
            let mut entries = whole.clone();
            entries.remove(gone);
            assert!(rejoin(7, entries).is_err());
        }
        let mut swapped = whole.clone();
        let value = swapped[1].1.clone();
        swapped[1].1 = std::mem::replace(&mut swapped[2].1, value);
        assert!(rejoin(7, swapped).is_err());
        let mut cut = whole;
        cut[1].1.pop();
        assert!(rejoin(7, cut).is_err());
    }

    #[test]
    fn head_mark_with_any_flipped_bit_is_noticed() {
        let value = head_value(41);
        assert_eq!(parse_head(&value).unwrap(), 41);
        for bit in 0..value.len() * 8 {
            let mut changed = value;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(parse_head(&changed).is_err());
        }
        assert!(parse_head(&[]).is_err());
    }
}
