//! A cell as shown. A view has thousands, each with up to six figures: here those are kept in place, where the generated
//! type would make a text on the heap of each.
//!
//! On the wire it is the message `ShownCell` of `consolidation.proto`; `build.rs` puts this type in the place of the
//! generated one. What it shows is `grpc/consolidation.rs`'s.

use compact_str::CompactString;
use prost::bytes::{Buf, BufMut};
use prost::encoding::{self, DecodeContext, WireType};
use prost::{DecodeError, Message};

use super::{read, write};

/// One cell as shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ShownCell {
    /// As printed: a filed cell as it was written, a sum rounded once to the column's scale. Empty is blank.
    pub value: CompactString,
    /// Amounts: the exact sum in 元. Empty for others and for blank.
    pub exact: CompactString,
    /// Amounts: how far the true sum may be from `exact`, in 元. Empty if not at all.
    pub slack: CompactString,
    /// What units reported, in 元, if anything is adjusted or eliminated.
    pub reported: CompactString,
    /// What difference forms add, in 元, if anything.
    pub adjusted: CompactString,
    /// What internal transfers take off, in 元, if anything.
    pub eliminated: CompactString,
}

impl ShownCell {
    /// Its fields in the order of their numbers, which begin with 1.
    fn fields(&self) -> impl Iterator<Item = (u32, &CompactString)> {
        let ShownCell { value, exact, slack, reported, adjusted, eliminated } = self;
        (1..).zip([value, exact, slack, reported, adjusted, eliminated])
    }

    fn field_mut(&mut self, field: u32) -> Option<&mut CompactString> {
        let ShownCell { value, exact, slack, reported, adjusted, eliminated } = self;
        [value, exact, slack, reported, adjusted, eliminated].into_iter().nth((field as usize).checked_sub(1)?)
    }
}

impl Message for ShownCell {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        self.fields().for_each(|(field, text)| write::text(field, text, buf));
    }

    fn merge_field(
        &mut self,
        field: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        match self.field_mut(field) {
            Some(text) => read::merge_text(wire_type, text, buf, context),
            None => encoding::skip_field(wire_type, field, buf, context),
        }
    }

    fn encoded_len(&self) -> usize {
        self.fields().map(|(field, text)| write::bytes_len(field, text.as_bytes())).sum()
    }

    fn clear(&mut self) {
        *self = ShownCell::default();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proto::by_hand;

    /// The message as it would have been generated.
    #[derive(Clone, PartialEq, Message)]
    struct Generated {
        #[prost(string, tag = "1")]
        value: String,
        #[prost(string, tag = "2")]
        exact: String,
        #[prost(string, tag = "3")]
        slack: String,
        #[prost(string, tag = "4")]
        reported: String,
        #[prost(string, tag = "5")]
        adjusted: String,
        #[prost(string, tag = "6")]
        eliminated: String,
    }

    impl From<&ShownCell> for Generated {
        fn from(cell: &ShownCell) -> Generated {
            Generated {
                value: cell.value.to_string(),
                exact: cell.exact.to_string(),
                slack: cell.slack.to_string(),
                reported: cell.reported.to_string(),
                adjusted: cell.adjusted.to_string(),
                eliminated: cell.eliminated.to_string(),
            }
        }
    }

    fn shown() -> impl Strategy<Value = ShownCell> {
        let text = prop_oneof![10 => ".{0,8}", 1 => ".{120,140}"].prop_map(CompactString::from);
        prop::array::uniform6(text).prop_map(|[value, exact, slack, reported, adjusted, eliminated]| ShownCell {
            value,
            exact,
            slack,
            reported,
            adjusted,
            eliminated,
        })
    }

    proptest! {
        #[test]
        fn law_a_cell_is_the_generated_message_on_the_wire(cell in shown(), cut in any::<prop::sample::Index>()) {
            by_hand::is_generated::<ShownCell, Generated>(&cell, cut)?;
        }

        #[test]
        fn law_any_bytes_read_as_the_generated_message_reads_them(bytes in prop::collection::vec(any::<u8>(), 0..48)) {
            by_hand::reads_as_generated::<ShownCell, Generated>(&bytes)?;
        }
    }
}
