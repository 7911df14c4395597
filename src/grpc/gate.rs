//! The gate: what each request passes before a service sees it, and what each answer passes on its way out.
//!
//! A method that isn't listed in `access.rs` is refused, and so is who doesn't say who they are, or who has a role that
//! never does this. By which node it is done to, the service judges: it knows the request. An identity that asks too much
//! is refused (`quota.rs`), and what takes too long ends. Each request has an id, which the client may give and always
//! gets back, and a span in the log with its id, method, actor, and once they are known unit and position.

use std::cell::RefCell;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body::{Frame, SizeHint};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tonic::body::Body;
use tonic::codegen::{Bytes, Service, http};
use tonic::{Code, Status};
use tower_layer::{Layer, layer_fn};
use tracing::Instrument;
use tracing::field::Empty;

use super::access::{self, Guard, Method};
use super::identity::{self, Came};
use super::limits::ANSWER_PART_BYTES;
use super::quota::{Pass, Quotas};
use super::status::status;
use crate::budget::reason::{Reason, Remark};
use crate::budget::submission::UnitCode;
use crate::budget::unit_tree::BUREAU;
use crate::consolidator::Consolidator;
use crate::ledger::actor::{Actor, Operation, Role, fits, may_somewhere};
use crate::ledger::state::State;

/// The metadata key of a request's id, on the way in and out.
pub const REQUEST_ID_HEADER: &str = "x-request-id";

tokio::task_local! {
    /// The node that the request in hand is about.
    static ABOUT: RefCell<UnitCode>;
}

/// Notes which node the request in hand is about, for the log and for who records looks.
pub(super) fn about(node: &str) {
    tracing::Span::current().record("unit", node);
    // Outside of a request there is nothing to note.
    let _ = ABOUT.try_with(|about| *about.borrow_mut() = node.into());
}

/// Puts a gate before all services.
pub(super) fn gate<S>(consolidator: Consolidator, quotas: Arc<Quotas>) -> impl Layer<S, Service = Gate<S>> + Clone {
    layer_fn(move |inside| Gate { inside, consolidator: consolidator.clone(), quotas: quotas.clone() })
}

/// A service behind a gate.
#[derive(Clone)]
pub(super) struct Gate<S> {
    inside: S,
    consolidator: Consolidator,
    quotas: Arc<Quotas>,
}

/// A request that may come in.
struct Admitted {
    method: &'static Method,
    /// Absent where nobody has to say who they are, and nobody did.
    actor: Option<Actor>,
}

/// Who comes in; or why not. Roles are judged by the newest tree where the request names no node.
fn admit(path: &str, who: Result<Actor, Remark>, state: &State) -> Result<Admitted, Remark> {
    let method = access::method(path).ok_or_else(|| Remark::new(Reason::UnknownMethod).with("method", path))?;
    let (actor, may) = match method.guard {
        Guard::Open => return Ok(Admitted { method, actor: who.ok() }),
        Guard::Known => {
            let (actor, tree) = (who?, state.latest_year().and_then(|year| state.tree(year)));
            let fits = fits(&actor, tree.map(Arc::as_ref));
            (actor, fits)
        }
        Guard::May(operation) => {
            let actor = who?;
            let may = may_somewhere(&actor, operation);
            (actor, may)
        }
    };
    if !may {
        return Err(Remark::new(Reason::NotPermitted).with("actor", &actor));
    }
    Ok(Admitted { method, actor: Some(actor) })
}

/// The id that the client gave, if it can be said again; else one of our own.
fn request_id<B>(request: &http::Request<B>) -> String {
    static START: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish());
    static COUNT: AtomicU64 = AtomicU64::new(1);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let given = request.headers().get(REQUEST_ID_HEADER).and_then(|value| value.to_str().ok());
    match given.filter(|id| (1..=64).contains(&id.len()) && id.chars().all(plain)) {
        Some(id) => id.to_owned(),
        None => format!("{:08x}-{}", *START & 0xffff_ffff, COUNT.fetch_add(1, Ordering::Relaxed)),
    }
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

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let id = request_id(&request);
        let span = tracing::info_span!("request", %id, method = Empty, actor = Empty, unit = Empty, position = Empty);
        let consolidator = self.consolidator.clone();
        let who = identity::who(request.extensions(), request.headers());
        if let Ok(actor) = &who {
            span.record("actor", tracing::field::display(actor));
        }
        // First, so that what is refused is counted too.
        let admitted = self.quotas.enter(who.as_ref().ok()).and_then(|pass| {
            let admitted = admit(request.uri().path(), who, &consolidator.snapshot().state)?;
            span.record("method", admitted.method.name.trim_start_matches('/'));
            Ok((admitted, Arc::new(pass)))
        });
        let (admitted, pass) = match admitted {
            Ok(admitted) => admitted,
            Err(refusal) => {
                // Who asks too often is counted, and doesn't fill the log as well.
                if refusal.reason != Reason::TooManyRequests {
                    span.in_scope(|| tracing::info!(%refusal, "not let in"));
                }
                let response = out(status(refusal).into_http(), &id, &consolidator, None);
                return Box::pin(std::future::ready(Ok(response)));
            }
        };
        let bounds = self.quotas.bounds;
        let longest = match admitted.method.guard {
            Guard::May(Operation::Submit | Operation::Adjust) => bounds.stream,
            Guard::May(_) | Guard::Known | Guard::Open => bounds.request,
        };
        request.extensions_mut().insert(pass.clone());
        let held = request.extensions().get::<Came>().map(|came| Held::new(came.show_out.clone(), bounds.answer, pass));
        // Looks of auditors are recorded if the deployment says so, at the bureau's node if it is no other.
        let name = admitted.method.name;
        let reads = matches!(admitted.method.guard, Guard::May(Operation::Read | Operation::Export));
        let looks = admitted.actor.filter(|actor| reads && actor.role == Role::Auditor);
        let answer = self.inside.call(request);
        let answered = async move {
            let response = match tokio::time::timeout(longest, answer).await {
                Ok(answer) => answer?,
                Err(_) => {
                    let remark = Remark::new(Reason::RequestTooSlow).with("limit", "total");
                    status(remark.with("seconds", longest.as_secs())).into_http()
                }
            };
            match Status::from_header_map(response.headers()).filter(|found| found.code() != Code::Ok) {
                Some(refused) => tracing::info!(code = ?refused.code(), "refused"),
                None => {
                    if let Some(actor) = looks {
                        let node = ABOUT.with(|about| about.borrow().clone());
                        consolidator.looked(&actor, name, &node);
                    }
                }
            }
            Ok(out(response, &id, &consolidator, held))
        };
        Box::pin(ABOUT.scope(RefCell::new(BUREAU.into()), answered).instrument(span))
    }
}

/// An answer on its way out: with the request's id, and what is held until it is sent.
fn out(
    mut response: http::Response<Body>,
    id: &str,
    consolidator: &Consolidator,
    held: Option<Held>,
) -> http::Response<Body> {
    if let Ok(id) = http::HeaderValue::from_str(id) {
        response.headers_mut().insert(REQUEST_ID_HEADER, id);
    }
    if let Some(limit) = over_limit(response.headers()) {
        consolidator.over_limit(limit);
    }
    response.map(|body| Body::new(Answer { body, rest: Bytes::new(), held, consolidator: consolidator.clone() }))
}

/// The limit that a refusal is about, if it is about one.
fn over_limit(headers: &http::HeaderMap) -> Option<&'static str> {
    use tonic_types::StatusExt;
    let refused = Status::from_header_map(headers)?;
    let info = refused.get_details_error_info()?;
    Reason::from_code(&info.reason).and_then(|reason| match reason {
        Reason::TooManyRequests => Some(match info.metadata.get("limit").map(String::as_str) {
            Some("open") => "requests_open",
            Some("under_way") => "under_way",
            _ => "requests_per_second",
        }),
        Reason::TooManyWatches => Some("watches"),
        Reason::RequestTooSlow => Some("time"),
        Reason::ChunkTooLarge => Some("chunk"),
        Reason::SubmissionTooLarge => Some("submission"),
        Reason::AnswerTooLarge => Some("answer"),
        Reason::Busy => Some("waiting"),
        _ => None,
    })
}

/// The body of an answer. If it turns out larger than any answer may be, tonic ends it with a status that says little:
/// ours says what to do. It is handed on in parts: a large one at once would be out of our hands, and its pass given back,
/// with all of it still waiting for the client in HTTP/2's buffers.
struct Answer {
    body: Body,
    /// What was made of it and is not handed on yet.
    rest: Bytes,
    held: Option<Held>,
    consolidator: Consolidator,
}

/// What an answer holds until it is sent: the request's pass, and, while a part of it waits for the client, a watch on how
/// long that takes. Whoever takes nothing would else keep the server's memory for as long as they like.
struct Held {
    show_out: mpsc::Sender<()>,
    longest: Duration,
    /// Runs while the client has a part to take.
    waits: Option<AbortHandle>,
    _pass: Arc<Pass>,
}

impl Held {
    fn new(show_out: mpsc::Sender<()>, longest: Duration, pass: Arc<Pass>) -> Held {
        Held { show_out, longest, waits: None, _pass: pass }
    }

    /// A part was handed on: from here it is the client's turn.
    fn handed_on(&mut self) {
        let (show_out, longest) = (self.show_out.clone(), self.longest);
        let waits = tokio::spawn(async move {
            tokio::time::sleep(longest).await;
            tracing::info!("a connection is closed: its client takes nothing of an answer");
            let _ = show_out.try_send(());
        });
        self.waits = Some(waits.abort_handle());
    }

    /// It was taken: more is asked for, or all is sent.
    fn taken(&mut self) {
        if let Some(waits) = self.waits.take() {
            waits.abort();
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.taken();
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(held) = &mut self.held {
            held.taken();
        }
        let frame = match self.part() {
            Some(part) => part,
            None => match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => self.handed(frame),
                ended => return Poll::Ready(ended),
            },
        };
        if let Some(held) = &mut self.held {
            held.handed_on();
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.rest.is_empty() { self.body.size_hint() } else { SizeHint::default() }
    }
}

impl Answer {
    /// The next part of what there is.
    fn part(&mut self) -> Option<Frame<Bytes>> {
        let length = self.rest.len().min(ANSWER_PART_BYTES);
        (length > 0).then(|| Frame::data(self.rest.split_to(length)))
    }

    /// A frame as it is handed on: of much data the first part, of a status that says little ours.
    fn handed(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        match frame.into_data() {
            Ok(data) => {
                self.rest = data;
                self.part().unwrap_or_else(|| Frame::data(Bytes::new()))
            }
            Err(frame) => match frame.into_trailers() {
                Ok(trailers) => Frame::trailers(self.explained(trailers)),
                Err(frame) => frame,
            },
        }
    }

    fn explained(&self, trailers: http::HeaderMap) -> http::HeaderMap {
        let found = Status::from_header_map(&trailers);
        let too_large = |found: &Status| found.code() == Code::OutOfRange && found.details().is_empty();
        if !found.as_ref().is_some_and(too_large) {
            return trailers;
        }
        let refused = status(Remark::new(Reason::AnswerTooLarge).with("allowed", super::limits::ANSWER_BYTES_MAX));
        let refused: http::Response<Body> = refused.into_http();
        if let Some(limit) = over_limit(refused.headers()) {
            self.consolidator.over_limit(limit);
        }
        let mut trailers = refused.headers().clone();
        trailers.remove(http::header::CONTENT_TYPE);
        trailers
    }
}
