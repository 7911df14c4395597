//! The generated messages and services of `proto/`, and the few that are written and read by hand where answers and filings
//! have hundreds of them. Named only by `grpc/`, `cli/` and, in `consolidator/`, `record.rs`, `review_record.rs` and `content.rs`.

#[cfg(test)]
mod by_hand;
pub(crate) mod read;
mod row_chunk;
mod shown_cell;
mod table_header;
pub(crate) mod write;

/// A message as bytes: what names a request, beside its key.
pub use prost::Message;
pub use row_chunk::RowChunk;
pub use shown_cell::ShownCell;
pub use table_header::TableHeader;

/// The API, `proto/budget/consolidation/v1`.
#[allow(missing_docs, clippy::all, unreachable_pub)]
pub mod api {
    tonic::include_proto!("budget.consolidation.v1");
}

/// The stored records, `proto/budget/storage/v1`.
#[allow(missing_docs, clippy::all, unreachable_pub)]
pub mod storage {
    tonic::include_proto!("budget.storage.v1");
}

/// Reads rule findings, which lie in answers as their bytes (`write.rs`).
///
/// # Errors
/// Bytes that are no findings.
pub fn rule_findings(written: &[Vec<u8>]) -> Result<Vec<api::RuleFinding>, prost::DecodeError> {
    written.iter().map(|bytes| api::RuleFinding::decode(bytes.as_slice())).collect()
}

/// Descriptors of all of them, comments included: for reflection, and for the test that pins them.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
