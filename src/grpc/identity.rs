//! Who is asking: the one place that turns a request into an [`Actor`].
//!
//! The door (`door.rs`) puts [`Came`] into the extensions of each request: over TLS the client's certificate, on
//! loopback without TLS a promise to name the actor in a header. A request without a caller came in by no door of ours,
//! and nobody is asking. Knows nothing of what an actor may do.

use std::sync::Arc;

use tokio::sync::mpsc;
use tonic::Request;
use tonic::codegen::http::{Extensions, HeaderMap};

use super::tls::Peer;
use crate::budget::reason::{Reason, Remark};
use crate::ledger::actor::Actor;

/// The metadata key that names the actor where there is no certificate: `budget://407002/unit`.
pub const ACTOR_HEADER: &str = "x-budget-actor";

/// What the door knows of a connection, with each request of it.
#[derive(Clone, Debug)]
pub(super) struct Came {
    /// Who it belongs to.
    pub(super) caller: Caller,
    /// Says that it has to go.
    pub(super) show_out: mpsc::Sender<()>,
}

/// How the connection of a request came in.
#[derive(Clone, Debug)]
pub(super) enum Caller {
    /// Without TLS, on loopback: each request names its actor in [`ACTOR_HEADER`].
    Named,
    /// Over TLS, with this certificate.
    Certified(Arc<Peer>),
}

/// The actor of a request.
///
/// # Errors
/// Why it is not known, or not believed, who is asking.
pub(super) fn actor<T>(request: &Request<T>) -> Result<Actor, Remark> {
    who(request.extensions(), request.metadata().as_ref())
}

/// The same for whoever sees only the parts of a request.
///
/// # Errors
/// As [`actor`].
pub(super) fn who(extensions: &Extensions, headers: &HeaderMap) -> Result<Actor, Remark> {
    match extensions.get::<Came>().map(|came| &came.caller) {
        Some(Caller::Named) => named(headers),
        // Whoever sends it expects it to count, and it doesn't: better said than passed over.
        Some(Caller::Certified(_)) if headers.contains_key(ACTOR_HEADER) => {
            Err(Remark::new(Reason::IdentityClaimed).with("header", ACTOR_HEADER))
        }
        Some(Caller::Certified(peer)) => peer.actor(),
        None => Err(unknown("")),
    }
}

fn unknown(found: &str) -> Remark {
    Remark::new(Reason::UnknownActor).with("found", found).with("header", ACTOR_HEADER)
}

fn named(headers: &HeaderMap) -> Result<Actor, Remark> {
    let mut values = headers.get_all(ACTOR_HEADER).iter();
    let value = values.next().ok_or_else(|| unknown(""))?;
    let text = value.to_str().map_err(|_| unknown("?"))?;
    if values.next().is_some() {
        return Err(unknown(text));
    }
    Actor::parse(text).ok_or_else(|| unknown(text))
}
