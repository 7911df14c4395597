//! Messages read field by field where they lie, without a copy of each: the other way of `write.rs`.
//!
//! For what this program has written itself and reads by the thousand. It is stricter than generated code: the reader says
//! which fields there are, and anything else is damage.

use prost::encoding::{self, WireType};

/// What stands in a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field<'b> {
    /// A number or truth value.
    Number(u64),
    /// A text, bytes, a message, or packed numbers.
    Bytes(&'b [u8]),
}

/// Gives each field of a message with its number, in order. `None` if the bytes are no message, or `each` says so.
pub(crate) fn fields<'b>(mut bytes: &'b [u8], mut each: impl FnMut(u32, Field<'b>) -> Option<()>) -> Option<()> {
    while !bytes.is_empty() {
        let (number, wire_type) = encoding::decode_key(&mut bytes).ok()?;
        let value = encoding::decode_varint(&mut bytes).ok()?;
        match wire_type {
            WireType::Varint => each(number, Field::Number(value))?,
            WireType::LengthDelimited => {
                let (found, rest) = bytes.split_at_checked(usize::try_from(value).ok()?)?;
                bytes = rest;
                each(number, Field::Bytes(found))?;
            }
            _ => return None,
        }
    }
    Some(())
}

/// A text. `None` if it is none.
pub(crate) fn text(bytes: &[u8]) -> Option<&str> {
    simdutf8::basic::from_utf8(bytes).ok()
}

/// The next of some packed `sint64`.
pub(crate) fn signed(packed: &mut &[u8]) -> Option<i64> {
    let zigzag = encoding::decode_varint(packed).ok()?;
    Some((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::proto::storage;

    fn read(bytes: &[u8]) -> Option<Vec<(u32, Field<'_>)>> {
        let mut all = Vec::new();
        fields(bytes, |number, field| {
            all.push((number, field));
            Some(())
        })?;
        Some(all)
    }

    #[test]
    fn fields_are_those_that_generated_code_writes() {
        let values = vec![0, -1, 1, i64::MIN, i64::MAX];
        let column = storage::Column { id: "名称".into(), values: values.clone(), ..storage::Column::default() };
        let bytes = column.encode_to_vec();
        let [(1, Field::Bytes(id)), (3, Field::Bytes(mut packed))] = read(&bytes).unwrap()[..] else {
            panic!("{bytes:?}")
        };
        assert_eq!((text(id), text(&id[..1])), (Some("名称"), None));
        let again: Vec<i64> = std::iter::from_fn(|| signed(&mut packed)).collect();
        assert_eq!((again, packed), (values, &[][..]));
        let table = storage::Table { decimals_plus_one: 300, ..storage::Table::default() };
        assert_eq!(read(&table.encode_to_vec()), Some(vec![(4, Field::Number(300))]));
        // Cut off anywhere, it is none, or one without its last fields.
        for end in 0..bytes.len() {
            assert!(read(&bytes[..end]).is_none_or(|fields| fields.len() < 2), "{end}");
        }
    }
}
