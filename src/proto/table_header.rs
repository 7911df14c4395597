//! What a filing states of one table. There are two dozen in each filing, with some two hundred ids of columns: here those
//! are kept in place, where the generated type would make a text on the heap of each.
//!
//! On the wire it is the message `TableHeader` of `common.proto`; `build.rs` puts this type in the place of the generated
//! one. What it means is for `budget/intake.rs`.

use compact_str::CompactString;
use prost::bytes::{Buf, BufMut};
use prost::encoding::{self, DecodeContext, WireType};
use prost::{DecodeError, Message};

use super::{read, write};

/// Columns that there is room for from the start: few tables have more.
const COLUMNS: usize = 12;

/// What a submission states of one table before its rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TableHeader {
    /// Table id, such as `T03`.
    pub id: CompactString,
    /// The table has no data, and that is meant (本表无数据). Then it has no rows.
    pub empty: bool,
    /// `元` or `万元` for all its amount columns; empty for the form set's default.
    pub amount_unit: CompactString,
    /// Decimals of all its amount columns; absent for the form set's default.
    pub decimals: Option<u32>,
    /// The ids of the columns that its rows give values for, in that order. Others are blank.
    pub columns: Vec<CompactString>,
}

impl Message for TableHeader {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        write::text(1, &self.id, buf);
        if self.empty {
            encoding::bool::encode(2, &self.empty, buf);
        }
        write::text(3, &self.amount_unit, buf);
        if let Some(decimals) = &self.decimals {
            encoding::uint32::encode(4, decimals, buf);
        }
        self.columns.iter().for_each(|column| write::item(5, column.as_bytes(), buf));
    }

    fn merge_field(
        &mut self,
        field: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        match field {
            1 => read::merge_text(wire_type, &mut self.id, buf, context),
            2 => encoding::bool::merge(wire_type, &mut self.empty, buf, context),
            3 => read::merge_text(wire_type, &mut self.amount_unit, buf, context),
            4 => encoding::uint32::merge(wire_type, self.decimals.get_or_insert_default(), buf, context),
            5 => {
                let mut column = CompactString::default();
                read::merge_text(wire_type, &mut column, buf, context)?;
                if self.columns.is_empty() {
                    self.columns.reserve(COLUMNS);
                }
                self.columns.push(column);
                Ok(())
            }
            _ => encoding::skip_field(wire_type, field, buf, context),
        }
    }

    fn encoded_len(&self) -> usize {
        let empty = if self.empty { encoding::bool::encoded_len(2, &self.empty) } else { 0 };
        let decimals = self.decimals.map_or(0, |decimals| encoding::uint32::encoded_len(4, &decimals));
        let columns = self.columns.iter().map(|column| write::item_len(5, column.as_bytes())).sum::<usize>();
        let texts = [(1, &self.id), (3, &self.amount_unit)];
        let texts = texts.map(|(field, text)| write::bytes_len(field, text.as_bytes()));
        texts.into_iter().sum::<usize>() + empty + decimals + columns
    }

    fn clear(&mut self) {
        *self = TableHeader::default();
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
        id: String,
        #[prost(bool, tag = "2")]
        empty: bool,
        #[prost(string, tag = "3")]
        amount_unit: String,
        #[prost(uint32, optional, tag = "4")]
        decimals: Option<u32>,
        #[prost(string, repeated, tag = "5")]
        columns: Vec<String>,
    }

    impl From<&TableHeader> for Generated {
        fn from(header: &TableHeader) -> Generated {
            Generated {
                id: header.id.to_string(),
                empty: header.empty,
                amount_unit: header.amount_unit.to_string(),
                decimals: header.decimals,
                columns: header.columns.iter().map(CompactString::to_string).collect(),
            }
        }
    }

    fn header() -> impl Strategy<Value = TableHeader> {
        let text = || prop_oneof![10 => ".{0,8}", 1 => ".{120,140}"].prop_map(CompactString::from);
        let decimals = prop::option::of(prop_oneof![0..3_u32, any::<u32>()]);
        let parts = (text(), any::<bool>(), text(), decimals, prop::collection::vec(text(), 0..20));
        parts.prop_map(|(id, empty, amount_unit, decimals, columns)| TableHeader {
            id,
            empty,
            amount_unit,
            decimals,
            columns,
        })
    }

    proptest! {
        #[test]
        fn law_a_header_is_the_generated_message_on_the_wire(header in header(), cut in any::<prop::sample::Index>()) {
            by_hand::is_generated::<TableHeader, Generated>(&header, cut)?;
        }

        #[test]
        fn law_any_bytes_read_as_the_generated_message_reads_them(bytes in prop::collection::vec(any::<u8>(), 0..48)) {
            by_hand::reads_as_generated::<TableHeader, Generated>(&bytes)?;
        }
    }
}
