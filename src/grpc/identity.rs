//! Who is asking. The one place: today a header, trusted because plaintext is served on loopback only.

use tonic::Request;

use crate::budget::reason::{Reason, Remark};
use crate::ledger::actor::Actor;

/// The metadata key that names the actor: `budget://407002/unit`.
pub const ACTOR_HEADER: &str = "x-budget-actor";

/// The actor of a request.
///
/// # Errors
/// `UNKNOWN_ACTOR` if the header is absent, given twice or unreadable.
pub(super) fn actor<T>(request: &Request<T>) -> Result<Actor, Remark> {
    let unknown = |found: &str| Remark::new(Reason::UnknownActor).with("found", found).with("header", ACTOR_HEADER);
    let mut values = request.metadata().get_all(ACTOR_HEADER).iter();
    let value = values.next().ok_or_else(|| unknown(""))?;
    let text = value.to_str().map_err(|_| unknown("?"))?;
    if values.next().is_some() {
        return Err(unknown(text));
    }
    Actor::parse(text).ok_or_else(|| unknown(text))
}
