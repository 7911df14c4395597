//! What every message that is written and read by hand is held to: on the wire it is the generated one.

use std::fmt::Debug;

use proptest::prelude::*;
use prost::Message;
use prost::bytes::Buf;

/// Written, it is the generated message; and it is read from that as it comes, and in two pieces.
pub(super) fn is_generated<M, G>(message: &M, cut: prop::sample::Index) -> Result<(), TestCaseError>
where
    M: Message + Default + Clone + PartialEq + Debug,
    G: Message + for<'m> From<&'m M>,
{
    let bytes = G::from(message).encode_to_vec();
    prop_assert_eq!(&message.encode_to_vec(), &bytes);
    prop_assert_eq!(message.encoded_len(), bytes.len());
    let (first, second) = bytes.split_at(cut.index(bytes.len() + 1));
    prop_assert_eq!(M::decode(first.chain(second)), Ok(message.clone()));
    prop_assert_eq!(M::decode(bytes.as_slice()), Ok(message.clone()));
    Ok(())
}

/// Any bytes are read as the generated message reads them, or not read either.
pub(super) fn reads_as_generated<M, G>(bytes: &[u8]) -> Result<(), TestCaseError>
where
    M: Message + Default,
    G: Message + Default + PartialEq + Debug + for<'m> From<&'m M>,
{
    let read = M::decode(bytes).ok().map(|message| G::from(&message));
    prop_assert_eq!(read, G::decode(bytes).ok());
    Ok(())
}
