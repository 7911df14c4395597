//! Texts of messages that are kept in place if they are short, as nearly all are: the wire sees no difference.
//!
//! For messages of which an answer has hundreds; `seen_cell.rs` and `shown_cell.rs` are made of them.

use compact_str::CompactString;
use prost::DecodeError;
use prost::bytes::{Buf, BufMut};
use prost::encoding::{self, DecodeContext, WireType};

/// Writes a text field, left out if empty.
pub(super) fn put_text(field: u32, text: &str, buf: &mut impl BufMut) {
    if !text.is_empty() {
        encoding::encode_key(field, WireType::LengthDelimited, buf);
        encoding::encode_varint(text.len() as u64, buf);
        buf.put_slice(text.as_bytes());
    }
}

/// How long that is.
pub(super) fn text_len(field: u32, text: &str) -> usize {
    match text.len() {
        0 => 0,
        length => encoding::key_len(field) + encoding::encoded_len_varint(length as u64) + length,
    }
}

/// Reads a text field.
///
/// # Errors
/// As generated code.
pub(super) fn merge_text(
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
