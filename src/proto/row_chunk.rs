//! A chunk of rows as a server reads it: the bytes that came, read in place.
//!
//! On the wire it is the message `RowChunk` of `submission.proto`, field by field; `build.rs` puts this type in the place
//! of the generated one, which would make a text of every cell of every filing, only to be read once and dropped.
//! Knows nothing of forms: what the texts mean is for `budget/intake.rs`.

use prost::bytes::{Buf, BufMut};
use prost::encoding::{self, DecodeContext, WireType};
use prost::{DecodeError, Message};

use super::{api, write};

/// Field number of `rows`.
const ROWS: u32 = 1;
/// Field numbers of `Row`.
const TABLE: u32 = 1;
const KEY: u32 = 2;
const VALUES: u32 = 3;
/// So many rows are looked at together, whether they are text: tags and most lengths are ASCII, so rows with short texts
/// are one text as a whole.
const CHECKED_ROWS: usize = 16;
/// How the fields of texts begin.
const KEY_TAG: u8 = tag(KEY);
const VALUE_TAG: u8 = tag(VALUES);

const fn tag(field: u32) -> u8 {
    (field as u8) << 3 | WireType::LengthDelimited as u8
}

/// Some rows of a filing, each as its encoded `Row`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RowChunk {
    /// The rows, one behind the other: in a list of their own each would be shared, counted and freed by itself.
    bytes: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<usize>,
}

impl RowChunk {
    /// How many rows it has.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Adds a row.
    pub fn push(&mut self, row: &api::Row) {
        row.encode_raw(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// Reads the rows in the order in which they came: index of the table, row key, values.
    ///
    /// # Errors
    /// What `each` says, or that the bytes are no rows, as the generated message would have said on arrival.
    pub fn read<E: From<DecodeError>>(
        &self,
        mut each: impl FnMut(u32, &str, &[&str]) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut values, mut start) = (Vec::new(), 0);
        for ends in self.ends.chunks(CHECKED_ROWS) {
            let bytes = &self.bytes[start..ends.last().map_or(start, |end| *end)];
            let whole = simdutf8::basic::from_utf8(bytes).ok();
            let mut from = 0;
            for end in ends {
                let to = end - start;
                let row = &bytes[from..to];
                let text = match whole {
                    Some(whole) => whole.get(from..to),
                    None => simdutf8::basic::from_utf8(row).ok(),
                };
                from = to;
                values.clear();
                let (table, key) = read_row(row, text, &mut values)?;
                each(table, key, &values)?;
            }
            start += bytes.len();
        }
        Ok(())
    }

    fn rows(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |end| &self.bytes[std::mem::replace(&mut start, *end)..*end])
    }
}

impl FromIterator<api::Row> for RowChunk {
    fn from_iter<I: IntoIterator<Item = api::Row>>(rows: I) -> RowChunk {
        let mut chunk = RowChunk::default();
        rows.into_iter().for_each(|row| chunk.push(&row));
        chunk
    }
}

/// Reads the fields of a `Row`, which are also `row` if they are one text as a whole. They may come in any order, and of a
/// field that comes twice the last counts.
fn read_row<'r>(
    mut bytes: &'r [u8],
    row: Option<&'r str>,
    values: &mut Vec<&'r str>,
) -> Result<(u32, &'r str), DecodeError> {
    let context = DecodeContext::default();
    let (mut table, mut key) = (0, "");
    while !bytes.is_empty() {
        match read_short_text(&mut bytes, row) {
            Some((VALUE_TAG, text)) => values.push(text),
            Some((_, text)) => key = text,
            None => {
                let (field, wire_type) = encoding::decode_key(&mut bytes)?;
                match field {
                    TABLE => encoding::uint32::merge(wire_type, &mut table, &mut bytes, context.clone())?,
                    KEY => key = read_text(wire_type, &mut bytes)?,
                    VALUES => values.push(read_text(wire_type, &mut bytes)?),
                    _ => encoding::skip_field(wire_type, field, &mut bytes, context.clone())?,
                }
            }
        }
    }
    Ok((table, key))
}

/// The next field, if it is a text of less than 128 bytes: nearly all are. Its tag, and the text where it lies in
/// `bytes`, which is the rest of `row` if that is one text as a whole.
fn read_short_text<'r>(bytes: &mut &'r [u8], row: Option<&'r str>) -> Option<(u8, &'r str)> {
    let [tag @ (KEY_TAG | VALUE_TAG), length @ ..0x80, after @ ..] = *bytes else { return None };
    let (text, rest) = after.split_at_checked(usize::from(*length))?;
    let text = match row {
        Some(row) => row.get(row.len() - after.len()..row.len() - rest.len())?,
        None => std::str::from_utf8(text).ok()?,
    };
    *bytes = rest;
    Some((*tag, text))
}

/// Any text where it lies.
fn read_text<'r>(wire_type: WireType, bytes: &mut &'r [u8]) -> Result<&'r str, DecodeError> {
    let whole = *bytes;
    encoding::check_wire_type(WireType::LengthDelimited, wire_type)?;
    let length = encoding::decode_varint(bytes)?;
    let text = usize::try_from(length).ok().and_then(|length| bytes.split_at_checked(length));
    if let Some((text, rest)) = text
        && let Ok(text) = simdutf8::basic::from_utf8(text)
    {
        *bytes = rest;
        return Ok(text);
    }
    // prost refuses it too, in its own words.
    let refused = encoding::string::merge(wire_type, &mut String::new(), &mut { whole }, DecodeContext::default());
    refused.map(|()| "")
}

impl Message for RowChunk {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        for row in self.rows() {
            write::item(ROWS, row, buf);
        }
    }

    fn merge_field(
        &mut self,
        field: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        if field != ROWS {
            return encoding::skip_field(wire_type, field, buf, context);
        }
        encoding::check_wire_type(WireType::LengthDelimited, wire_type)?;
        let length = encoding::decode_varint(buf)?;
        let Some(length) = usize::try_from(length).ok().filter(|length| *length <= buf.remaining()) else {
            // prost refuses what is longer than the message in its own words.
            return encoding::bytes::merge(wire_type, &mut Vec::new(), &mut [1].as_slice(), context);
        };
        if self.bytes.is_empty() {
            // What is left of a message is mostly rows.
            self.bytes.reserve_exact(buf.remaining());
        }
        match buf.chunk().get(..length) {
            Some(row) => {
                self.bytes.extend_from_slice(row);
                buf.advance(length);
            }
            None => self.bytes.put(buf.take(length)),
        }
        self.ends.push(self.bytes.len());
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        let row = |row: &[u8]| encoding::key_len(ROWS) + encoding::encoded_len_varint(row.len() as u64) + row.len();
        self.rows().map(row).sum()
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The message as it would have been generated.
    #[derive(Clone, PartialEq, Message)]
    struct Generated {
        #[prost(message, repeated, tag = "1")]
        rows: Vec<api::Row>,
    }

    /// More than are looked at together, and here and there a text that is not short.
    fn rows() -> impl Strategy<Value = Vec<api::Row>> {
        let value = prop_oneof![30 => ".{0,6}", 1 => ".{120,140}"];
        let row = (any::<u32>(), ".{0,8}", prop::collection::vec(value, 0..5));
        let row = row.prop_map(|(table, key, values)| api::Row { table, key, values });
        prop::collection::vec(row, 0..2 * CHECKED_ROWS + 3)
    }

    /// The rows of a chunk on the wire, as this type reads them and as the generated message does.
    fn both(bytes: &[u8]) -> (Option<Vec<api::Row>>, Option<Vec<api::Row>>) {
        let read = RowChunk::decode(bytes).and_then(|chunk| {
            let mut rows = Vec::new();
            chunk.read::<DecodeError>(|table, key, values| {
                let values = values.iter().map(|value| (*value).to_owned()).collect();
                rows.push(api::Row { table, key: key.to_owned(), values });
                Ok(())
            })?;
            Ok(rows)
        });
        (read.ok(), Generated::decode(bytes).ok().map(|generated| generated.rows))
    }

    proptest! {
        #[test]
        fn law_a_chunk_is_the_generated_message_on_the_wire(rows in rows()) {
            let chunk: RowChunk = rows.iter().cloned().collect();
            let bytes = Generated { rows: rows.clone() }.encode_to_vec();
            prop_assert_eq!(&chunk.encode_to_vec(), &bytes);
            prop_assert_eq!(chunk.encoded_len(), bytes.len());
            prop_assert_eq!(both(&bytes), (Some(rows.clone()), Some(rows)));
        }

        #[test]
        fn law_any_bytes_read_as_the_generated_message_reads_them(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let (read, generated) = both(&bytes);
            prop_assert_eq!(read, generated);
        }

        #[test]
        fn law_a_damaged_chunk_reads_as_the_generated_message_reads_it(
            rows in rows(), at in any::<prop::sample::Index>(), byte in any::<u8>()
        ) {
            let mut bytes = Generated { rows }.encode_to_vec();
            prop_assume!(!bytes.is_empty());
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let (read, generated) = both(&bytes);
            prop_assert_eq!(read, generated);
        }
    }
}
