//! The gate: what each request passes before a service sees it.
//!
//! A method that isn't listed in `access.rs` is refused, and so is who doesn't say who they are, or who has a role that
//! never does this. By which node it is done to, the service judges: it knows the request.

use std::future::ready;
use std::pin::Pin;
use std::task::{Context, Poll};

use tonic::body::Body;
use tonic::codegen::{Service, http};
use tower_layer::{Layer, layer_fn};

use super::access::{self, Guard};
use super::identity;
use super::status::status;
use crate::budget::reason::{Reason, Remark};
use crate::ledger::actor::{fits, may_somewhere};

/// Puts a gate before all services.
pub(super) fn gate<S>() -> impl Layer<S, Service = Gate<S>> + Clone {
    layer_fn(|inside| Gate { inside })
}

/// A service behind a gate.
#[derive(Clone)]
pub(super) struct Gate<S> {
    inside: S,
}

/// Why a request doesn't come in, if it doesn't.
fn admit<B>(request: &http::Request<B>) -> Result<(), Remark> {
    let path = request.uri().path();
    let method = access::method(path).ok_or_else(|| Remark::new(Reason::UnknownMethod).with("method", path))?;
    let operation = match method.guard {
        Guard::Open => return Ok(()),
        Guard::Known => None,
        Guard::May(operation) => Some(operation),
    };
    let actor = identity::who(request.extensions(), request.headers())?;
    let may = operation.map_or_else(|| fits(&actor, None), |operation| may_somewhere(&actor, operation));
    if may { Ok(()) } else { Err(Remark::new(Reason::NotPermitted).with("actor", &actor)) }
}

impl<S> Service<http::Request<Body>> for Gate<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
    S::Error: Send + 'static,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inside.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        match admit(&request) {
            Ok(()) => Box::pin(self.inside.call(request)),
            Err(refusal) => Box::pin(ready(Ok(status(refusal).into_http()))),
        }
    }
}
