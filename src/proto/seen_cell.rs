//! Cells and figures that a rule looked at. An answer has hundreds of them, and nearly all their texts are short: here
//! those are kept in place, where the generated types would make a text on the heap of each.
//!
//! On the wire they are the messages `SeenCell` and `Quantity` of `rule.proto`; `build.rs` puts these types in the place
//! of the generated ones. What they mean is `grpc/rule_finding.rs`'s and `cli/rule_finding.rs`'s.

use compact_str::CompactString;
use prost::bytes::{Buf, BufMut};
use prost::encoding::{self, DecodeContext, WireType};
use prost::{DecodeError, Message};

use super::short_text::{merge_text, put_text, text_len};

/// A figure or text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Quantity {
    /// What it is, a `QuantityKind`.
    pub kind: i32,
    /// As printed.
    pub value: CompactString,
    /// `元` or `万元` for money; else empty.
    pub amount_unit: CompactString,
}

/// A cell that a rule looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SeenCell {
    /// Its address, `T03/2080109/basic`.
    pub cell: CompactString,
    /// Which filing it was read in.
    pub source: CompactString,
    /// What stood there; absent if nothing did.
    pub value: Option<Quantity>,
}

impl Message for Quantity {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        if self.kind != 0 {
            encoding::int32::encode(1, &self.kind, buf);
        }
        put_text(2, &self.value, buf);
        put_text(3, &self.amount_unit, buf);
    }

    fn merge_field(
        &mut self,
        field: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        match field {
            1 => encoding::int32::merge(wire_type, &mut self.kind, buf, context),
            2 => merge_text(wire_type, &mut self.value, buf, context),
            3 => merge_text(wire_type, &mut self.amount_unit, buf, context),
            _ => encoding::skip_field(wire_type, field, buf, context),
        }
    }

    fn encoded_len(&self) -> usize {
        let kind = if self.kind == 0 { 0 } else { encoding::int32::encoded_len(1, &self.kind) };
        kind + text_len(2, &self.value) + text_len(3, &self.amount_unit)
    }

    fn clear(&mut self) {
        *self = Quantity::default();
    }
}

impl Message for SeenCell {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        put_text(1, &self.cell, buf);
        put_text(2, &self.source, buf);
        if let Some(value) = &self.value {
            encoding::message::encode(3, value, buf);
        }
    }

    fn merge_field(
        &mut self,
        field: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        match field {
            1 => merge_text(wire_type, &mut self.cell, buf, context),
            2 => merge_text(wire_type, &mut self.source, buf, context),
            3 => encoding::message::merge(wire_type, self.value.get_or_insert_default(), buf, context),
            _ => encoding::skip_field(wire_type, field, buf, context),
        }
    }

    fn encoded_len(&self) -> usize {
        let value = self.value.as_ref().map_or(0, |value| encoding::message::encoded_len(3, value));
        text_len(1, &self.cell) + text_len(2, &self.source) + value
    }

    fn clear(&mut self) {
        *self = SeenCell::default();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The messages as they would have been generated.
    #[derive(Clone, PartialEq, Message)]
    struct GeneratedQuantity {
        #[prost(int32, tag = "1")]
        kind: i32,
        #[prost(string, tag = "2")]
        value: String,
        #[prost(string, tag = "3")]
        amount_unit: String,
    }

    #[derive(Clone, PartialEq, Message)]
    struct GeneratedCell {
        #[prost(string, tag = "1")]
        cell: String,
        #[prost(string, tag = "2")]
        source: String,
        #[prost(message, optional, tag = "3")]
        value: Option<GeneratedQuantity>,
    }

    impl From<&SeenCell> for GeneratedCell {
        fn from(seen: &SeenCell) -> GeneratedCell {
            let value = |value: &Quantity| GeneratedQuantity {
                kind: value.kind,
                value: value.value.to_string(),
                amount_unit: value.amount_unit.to_string(),
            };
            GeneratedCell {
                cell: seen.cell.to_string(),
                source: seen.source.to_string(),
                value: seen.value.as_ref().map(value),
            }
        }
    }

    fn text() -> impl Strategy<Value = CompactString> {
        prop_oneof![10 => ".{0,8}", 1 => ".{120,140}"].prop_map(CompactString::from)
    }

    fn seen() -> impl Strategy<Value = SeenCell> {
        let quantity = (-2..9, text(), text());
        let quantity = quantity.prop_map(|(kind, value, amount_unit)| Quantity { kind, value, amount_unit });
        let parts = (text(), text(), prop::option::of(quantity));
        parts.prop_map(|(cell, source, value)| SeenCell { cell, source, value })
    }

    proptest! {
        #[test]
        fn law_a_cell_is_the_generated_message_on_the_wire(seen in seen()) {
            let bytes = GeneratedCell::from(&seen).encode_to_vec();
            prop_assert_eq!(&seen.encode_to_vec(), &bytes);
            prop_assert_eq!(seen.encoded_len(), bytes.len());
            prop_assert_eq!(SeenCell::decode(bytes.as_slice()), Ok(seen));
        }

        #[test]
        fn law_any_bytes_read_as_the_generated_message_reads_them(bytes in prop::collection::vec(any::<u8>(), 0..48)) {
            let read = SeenCell::decode(bytes.as_slice()).ok().map(|seen| GeneratedCell::from(&seen));
            prop_assert_eq!(read, GeneratedCell::decode(bytes.as_slice()).ok());
        }
    }
}
