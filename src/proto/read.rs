//! Messages read field by field where they lie, without a copy of each: the other way of `write.rs`.
//!
//! For what this program has written itself and reads by the thousand. It is stricter than generated code: the reader says
//! which fields there are, and anything else is damage.

use compact_str::CompactString;
use prost::DecodeError;
use prost::bytes::Buf;
use prost::encoding::{self, DecodeContext, WireType};

/// What stands in a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field<'b> {
    /// A number or truth value.
    Number(u64),
    /// A text, bytes, a message, or packed numbers.
    Bytes(&'b [u8]),
}

/// Gives each field of a message with its number, in order. `None` if the bytes are no message, or `each` says so.
pub(crate) fn fields<'b>(bytes: &'b [u8], each: impl FnMut(u32, Field<'b>) -> Option<()>) -> Option<()> {
    fields_before(0, bytes, each).map(|_| ())
}

/// The same of those before the first of number `end`; returns the bytes from there on.
pub(crate) fn fields_before<'b>(
    end: u32,
    mut bytes: &'b [u8],
    mut each: impl FnMut(u32, Field<'b>) -> Option<()>,
) -> Option<&'b [u8]> {
    while !bytes.is_empty() {
        let from = bytes;
        let (number, wire_type) = encoding::decode_key(&mut bytes).ok()?;
        if number == end {
            return Some(from);
        }
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
    Some(bytes)
}

/// Texts of one field that stand behind each other. They are looked at together, whether they are text, if all are short:
/// then what stands between them is ASCII.
pub(crate) struct Texts<'b> {
    number: u32,
    bytes: &'b [u8],
    rest: &'b [u8],
    whole: Option<&'b str>,
}

impl<'b> Texts<'b> {
    /// Those of that field, and nothing else.
    pub(crate) fn new(number: u32, bytes: &'b [u8]) -> Texts<'b> {
        Texts { number, bytes, rest: bytes, whole: text(bytes) }
    }

    /// Whether there are no more.
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next. `None` if there is none, or it is no text.
    pub(crate) fn next(&mut self) -> Option<&'b str> {
        let (number, wire_type) = encoding::decode_key(&mut self.rest).ok()?;
        let length = usize::try_from(encoding::decode_varint(&mut self.rest).ok()?).ok()?;
        let from = self.bytes.len() - self.rest.len();
        let (found, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        if (number, wire_type) != (self.number, WireType::LengthDelimited) {
            return None;
        }
        match self.whole {
            Some(whole) => whole.get(from..from + length),
            None => text(found),
        }
    }
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

/// Reads a text field of a message as generated code does, into a text that is kept in place if it is short.
pub(crate) fn merge_text(
    wire_type: WireType,
    text: &mut CompactString,
    buf: &mut impl Buf,
    context: DecodeContext,
) -> Result<(), DecodeError> {
    // Where all of it lies at hand and its length is one byte, it is read from there.
    if let (WireType::LengthDelimited, [length @ ..0x80, rest @ ..]) = (wire_type, buf.chunk())
        && let Some(Ok(read)) = rest.get(..usize::from(*length)).map(std::str::from_utf8)
    {
        *text = read.into();
        buf.advance(1 + text.len());
        return Ok(());
    }
    let mut read = String::new();
    encoding::string::merge(wire_type, &mut read, buf, context)?;
    *text = read.into();
    Ok(())
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
        // Texts, all of them short, and one that is long.
        for texts in [vec!["", "甲", "a"], vec!["甲乙", &"长".repeat(50), ""]] {
            let texts: Vec<String> = texts.into_iter().map(str::to_owned).collect();
            let column = storage::Column { states: vec![3], texts: texts.clone(), ..storage::Column::default() };
            let bytes = column.encode_to_vec();
            let rest = fields_before(5, &bytes, |number, field| {
                assert_eq!((number, field), (2, Field::Bytes(&[3])));
                Some(())
            });
            let mut found = Texts::new(5, rest.unwrap());
            texts.iter().for_each(|text| assert_eq!(found.next(), Some(text.as_str())));
            assert!(found.is_empty() && found.next().is_none());
            assert_eq!(Texts::new(4, rest.unwrap()).next(), None, "of another field");
        }
        // What is no text by itself is none among others: 甲 begins in one and ends in another.
        let halves = [&[0x2a, 2][..], &"甲".as_bytes()[..2], &[0x2a, 1], &"甲".as_bytes()[2..]].concat();
        assert_eq!(Texts::new(5, &halves).next(), None);
        // Cut off anywhere, it is none, or one without its last fields.
        for end in 0..bytes.len() {
            assert!(read(&bytes[..end]).is_none_or(|fields| fields.len() < 2), "{end}");
        }
    }
}
