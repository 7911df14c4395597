//! Messages written field by field, straight from what they tell.
//!
//! An answer to a filing has some hundred findings with some five hundred cells. To make the generated messages of them first
//! costs a text on the heap for each of their fields, and their lengths are counted once for every message around them. So
//! a `RuleFinding` is in its answer as its bytes (`build.rs`): whoever sends it writes these, whoever gets it reads them by
//! the generated message. Fields that say nothing are left out, as generated code leaves them out.

use prost::bytes::BufMut;
use prost::encoding::{self, WireType};

/// A text.
pub(crate) fn text(field: u32, text: &str, out: &mut impl BufMut) {
    bytes(field, text.as_bytes(), out);
}

/// A text of several parts.
pub(crate) fn texts(field: u32, parts: &[&str], out: &mut impl BufMut) {
    let all = parts.iter().map(|part| part.len()).sum();
    if all > 0 {
        length(field, all, out);
        parts.iter().for_each(|part| out.put_slice(part.as_bytes()));
    }
}

/// Some bytes.
pub(crate) fn bytes(field: u32, bytes: &[u8], out: &mut impl BufMut) {
    if !bytes.is_empty() {
        item(field, bytes, out);
    }
}

/// How long that field is.
pub(crate) fn bytes_len(field: u32, bytes: &[u8]) -> usize {
    if bytes.is_empty() { 0 } else { item_len(field, bytes) }
}

/// One text, message or bytes of a list: an empty one has its place, too.
pub(crate) fn item(field: u32, bytes: &[u8], out: &mut impl BufMut) {
    length(field, bytes.len(), out);
    out.put_slice(bytes);
}

/// How long that field is.
pub(crate) fn item_len(field: u32, bytes: &[u8]) -> usize {
    encoding::key_len(field) + encoding::encoded_len_varint(bytes.len() as u64) + bytes.len()
}

/// How a field of so many bytes begins.
pub(crate) fn length(field: u32, length: usize, out: &mut impl BufMut) {
    match (u8::try_from(field << 3 | WireType::LengthDelimited as u32), u8::try_from(length)) {
        // As nearly all do.
        (Ok(key @ ..0x80), Ok(length @ ..0x80)) => out.put_slice(&[key, length]),
        _ => {
            encoding::encode_key(field, WireType::LengthDelimited, out);
            encoding::encode_varint(length as u64, out);
        }
    }
}

/// A number, or what an enumeration numbers.
pub(crate) fn number(field: u32, number: impl TryInto<u32>, out: &mut Vec<u8>) {
    let number = number.try_into().unwrap_or(u32::MAX);
    if number > 0 {
        encoding::uint32::encode(field, &number, out);
    }
}

/// A message, which `write` writes; one that says nothing is still there.
pub(crate) fn message(field: u32, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    delimited(field, SHORT, out, write);
}

/// The same of one that is mostly long.
pub(crate) fn long_message(field: u32, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    delimited(field, LONG, out, write);
}

/// So many bytes say how long something is that is shorter than 128 bytes, or than 16 KiB.
const SHORT: usize = 1;
const LONG: usize = 2;

/// A field whose length is only known behind it, and is left `room`. What is longer or shorter than that is for is moved.
fn delimited(field: u32, room: usize, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    encoding::encode_key(field, WireType::LengthDelimited, out);
    let start = out.len();
    out.resize(start + room, 0);
    write(out);
    let length = out.len() - start - room;
    let needed = encoding::encoded_len_varint(length as u64);
    if needed != room {
        out.splice(start..start + room, std::iter::repeat_n(0, needed));
    }
    encoding::encode_varint(length as u64, &mut &mut out[start..start + needed]);
}
