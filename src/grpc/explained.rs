//! What tonic refuses on its own, before a service sees it, gets a reason as well.
//!
//! A request that can't be decoded (a text that is no UTF-8, say) is `INTERNAL` to tonic, and one that is too large
//! `OUT_OF_RANGE`. Both are the sender's mistake. Statuses of our own carry details; what carries none is tonic's.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;
use tonic::{Code, Status};

use super::convert::bad;
use super::limits;
use super::status::status;

/// A service whose refusals all have a reason.
#[derive(Clone)]
pub(super) struct Explained<S>(pub(super) S);

impl<S: NamedService> NamedService for Explained<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Explained<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async move { answer.await.map(explain) })
    }
}

fn explain(response: http::Response<Body>) -> http::Response<Body> {
    match Status::from_header_map(response.headers()).filter(|found| found.details().is_empty()) {
        Some(found) if found.code() == Code::Internal => status(bad("message", found.message())).into_http(),
        Some(found) if found.code() == Code::OutOfRange => {
            let remark = bad("message", found.message()).with("expected", format!("≤ {}", limits::MESSAGE_BYTES_MAX));
            status(remark).into_http()
        }
        Some(_) | None => response,
    }
}
