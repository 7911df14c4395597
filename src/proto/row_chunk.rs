//! A chunk of rows as a server reads it: the bytes that came, read in place.
//!
//! On the wire it is the message `RowChunk` of `submission.proto`, field by field; `build.rs` puts this type in the place
//! of the generated one, which would make a text of every cell of every filing, only to be read once and dropped.
//! Knows nothing of forms: what the texts mean is for `budget/intake.rs`.

use prost::bytes::{Buf, BufMut, Bytes};
use prost::encoding::{self, DecodeContext, WireType};
use prost::{DecodeError, Message};

use super::api;

/// Field number of `rows`.
const ROWS: u32 = 1;
/// Field numbers of `Row`.
const TABLE: u32 = 1;
const KEY: u32 = 2;
const VALUES: u32 = 3;

/// Some rows of a filing, each as its encoded `Row`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RowChunk(Vec<Bytes>);

impl RowChunk {
    /// How many rows it has.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a row.
    pub fn push(&mut self, row: &api::Row) {
        self.0.push(row.encode_to_vec().into());
    }

    /// Reads the rows in the order in which they came: index of the table, row key, values.
    ///
    /// # Errors
    /// What `each` says, or that the bytes are no rows, as the generated message would have said on arrival.
    pub fn read<E: From<DecodeError>>(
        &self,
        mut each: impl FnMut(u32, &str, &[&str]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut values = Vec::new();
        for row in &self.0 {
            values.clear();
            let (table, key) = read_row(row, &mut values)?;
            each(table, key, &values)?;
        }
        Ok(())
    }
}

impl FromIterator<api::Row> for RowChunk {
    fn from_iter<I: IntoIterator<Item = api::Row>>(rows: I) -> RowChunk {
        let mut chunk = RowChunk::default();
        rows.into_iter().for_each(|row| chunk.push(&row));
        chunk
    }
}

/// Reads the fields of a `Row`. They may come in any order, and of a field that comes twice the last counts.
fn read_row<'r>(mut bytes: &'r [u8], values: &mut Vec<&'r str>) -> Result<(u32, &'r str), DecodeError> {
    let context = DecodeContext::default();
    // Tags and most lengths are ASCII, so a row with short texts is one text as a whole: one check instead of many.
    let row = simdutf8::basic::from_utf8(bytes).ok();
    let (mut table, mut key) = (0, "");
    while !bytes.is_empty() {
        let (field, wire_type) = encoding::decode_key(&mut bytes)?;
        match field {
            TABLE => encoding::uint32::merge(wire_type, &mut table, &mut bytes, context.clone())?,
            KEY => key = read_text(wire_type, &mut bytes, row)?,
            VALUES => values.push(read_text(wire_type, &mut bytes, row)?),
            _ => encoding::skip_field(wire_type, field, &mut bytes, context.clone())?,
        }
    }
    Ok((table, key))
}

/// A text where it lies in `bytes`, which is the rest of `row` if that is one text as a whole.
fn read_text<'r>(wire_type: WireType, bytes: &mut &'r [u8], row: Option<&'r str>) -> Result<&'r str, DecodeError> {
    let whole = *bytes;
    encoding::check_wire_type(WireType::LengthDelimited, wire_type)?;
    let length = encoding::decode_varint(bytes)?;
    let text = usize::try_from(length).ok().and_then(|length| bytes.split_at_checked(length));
    if let Some((text, rest)) = text {
        let known = row.and_then(|row| row.get(row.len() - bytes.len()..row.len() - rest.len()));
        if let Some(text) = known.or_else(|| simdutf8::basic::from_utf8(text).ok()) {
            *bytes = rest;
            return Ok(text);
        }
    }
    // prost refuses it too, in its own words.
    let refused = encoding::string::merge(wire_type, &mut String::new(), &mut { whole }, DecodeContext::default());
    refused.map(|()| "")
}

impl Message for RowChunk {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        for row in &self.0 {
            encoding::encode_key(ROWS, WireType::LengthDelimited, buf);
            encoding::encode_varint(row.len() as u64, buf);
            buf.put_slice(row);
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
        let mut row = Bytes::new();
        encoding::bytes::merge(wire_type, &mut row, buf, context)?;
        self.0.push(row);
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        let row = |row: &Bytes| encoding::key_len(ROWS) + encoding::encoded_len_varint(row.len() as u64) + row.len();
        self.0.iter().map(row).sum()
    }

    fn clear(&mut self) {
        self.0.clear();
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

    fn rows() -> impl Strategy<Value = Vec<api::Row>> {
        let row = (any::<u32>(), ".{0,8}", prop::collection::vec(".{0,6}", 0..5));
        prop::collection::vec(row.prop_map(|(table, key, values)| api::Row { table, key, values }), 0..8)
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
