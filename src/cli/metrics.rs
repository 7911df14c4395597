//! The pages that a Prometheus and a supervisor read, on an address of their own: `serve --metrics 127.0.0.1:9407`.
//!
//! Plain HTTP and open to whoever reaches it: it has counts, and neither figures nor names. It is up before the journal
//! is folded, so that `/ready` can say so. A few connections at once, and none that says nothing.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

use crate::consolidator::{Consolidator, Free};
use crate::grpc::tls::Tls;
use crate::store::{Disk, RealDisk};

/// What Prometheus calls its text format.
const FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// So many connections at once; whoever comes then waits until one ends.
const CONNECTIONS_MAX: usize = 16;
/// A connection of which nothing is heard for so long is over.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is looked at.
#[derive(Clone)]
pub(super) struct Watched {
    /// Set once the journal is folded.
    pub(super) up: Arc<OnceLock<Consolidator>>,
    /// Whether it was told to stop, and only finishes what is under way.
    pub(super) stops: Arc<AtomicBool>,
    /// Where the data are.
    pub(super) data: PathBuf,
    /// Where the mirror is, if there is one.
    pub(super) mirror: Option<PathBuf>,
    /// The server's certificates, if it has any.
    pub(super) tls: Option<Arc<Tls>>,
}

impl Watched {
    /// What `/metrics` answers.
    fn page(&self) -> Response {
        let Some(consolidator) = self.up.get() else { return STARTING.into_response() };
        let expiry = self.tls.as_ref().map(|tls| tls.expiry());
        let expiry = expiry.as_ref().map_or(&[][..], |expiry| expiry);
        let free = |directory: &PathBuf| RealDisk.free_bytes(directory).ok();
        let free = Free { store: free(&self.data), mirror: self.mirror.as_ref().and_then(free) };
        let text = consolidator.metrics(free, expiry);
        ([(CONTENT_TYPE, FORMAT)], text).into_response()
    }

    /// What `/ready` answers: whether filings are taken.
    fn ready(&self) -> (StatusCode, &'static str) {
        match self.up.get() {
            None => STARTING,
            Some(_) if self.stops.load(Ordering::Relaxed) => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
            Some(consolidator) if consolidator.is_accepting() => (StatusCode::OK, "ready\n"),
            Some(_) => (StatusCode::SERVICE_UNAVAILABLE, "reads only\n"),
        }
    }
}

const STARTING: (StatusCode, &str) = (StatusCode::SERVICE_UNAVAILABLE, "starting\n");

/// Serves `/metrics` and `/ready` for as long as it is polled.
pub(super) async fn serve(listener: TcpListener, watched: Watched) {
    let asked = watched.clone();
    let router = Router::new()
        .route("/metrics", get(async move || watched.page()))
        .route("/ready", get(async move || asked.ready()));
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    if let Err(error) = axum::serve(Doorway { listener, places }, router).await {
        tracing::error!(%error, "the metrics are not served any more");
    }
}

/// How connections come in: so many at most, the others wait outside. What has no certificate must not use up the
/// descriptors that the API needs as well.
struct Doorway {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

impl Listener for Doorway {
    type Io = Visit;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Visit, SocketAddr) {
        // Nobody closes it.
        let place = self.places.clone().acquire_owned().await.ok();
        let (stream, from) = Listener::accept(&mut self.listener).await;
        (Visit { stream, patience: Box::pin(tokio::time::sleep(PATIENCE)), _place: place }, from)
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection in its place. Over when nothing was heard for so long.
struct Visit {
    stream: TcpStream,
    patience: Pin<Box<Sleep>>,
    _place: Option<OwnedSemaphorePermit>,
}

impl AsyncRead for Visit {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(cx, buffer) {
            self.patience.as_mut().reset(tokio::time::Instant::now() + PATIENCE);
            return Poll::Ready(read);
        }
        self.patience.as_mut().poll(cx).map(|()| Err(std::io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for Visit {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::budget::digest::Digest;
    use crate::consolidator::{Clock, embedded_form_sets};
    use crate::ledger::actor::Actor;
    use crate::ledger::decide::Action;
    use crate::ledger::event::{Looked, Timestamp};
    use crate::store::{Journal, JournalError, MemoryJournal, Records};

    /// Whoever only stands there takes nothing from the API's descriptors, and is gone in time for whoever asks.
    #[tokio::test]
    async fn who_only_stands_there_takes_few_places_and_not_for_long() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let watched =
            Watched { up: Arc::default(), stops: Arc::default(), data: PathBuf::new(), mirror: None, tls: None };
        let served = tokio::spawn(serve(listener, watched));
        let mut standing = Vec::new();
        for _ in 0..2 * CONNECTIONS_MAX {
            standing.push(TcpStream::connect(address).await.unwrap());
        }
        let mut asks = TcpStream::connect(address).await.unwrap();
        asks.write_all(b"GET /ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut said = String::new();
        let early = tokio::time::timeout(PATIENCE / 2, asks.read_to_string(&mut said)).await;
        assert!(early.is_err(), "no place is free yet: {said}");
        tokio::time::timeout(5 * PATIENCE, asks.read_to_string(&mut said)).await.expect("a place").unwrap();
        assert!(said.starts_with("HTTP/1.1 503") && said.ends_with("starting\n"), "{said}");
        // Those who stood there were shown out.
        let gone = tokio::time::timeout(PATIENCE, standing[0].read(&mut [0])).await.expect("an end");
        assert_eq!(gone.unwrap_or(0), 0);
        served.abort();
    }

    /// A journal of which nobody knows what became of its last batch.
    struct Broken(MemoryJournal);

    impl Journal for Broken {
        fn append(&self, head: u64, batch: &[Vec<u8>]) -> Result<u64, JournalError> {
            // The form set that came with the program is still taken.
            if head == 0 { self.0.append(head, batch) } else { Err(JournalError::Stopped) }
        }

        fn read(&self, position: u64) -> Result<Option<Vec<u8>>, JournalError> {
            self.0.read(position)
        }

        fn scan(&self, from: u64) -> Records<'_> {
            self.0.scan(from)
        }

        fn head(&self) -> Result<u64, JournalError> {
            self.0.head()
        }
    }

    #[tokio::test]
    async fn it_is_not_ready_once_the_store_only_reads() {
        let journal = Arc::new(Broken(MemoryJournal::new()));
        let clock: Clock = Arc::new(|| Timestamp(1_705_000_000_000));
        let forms = embedded_form_sets().into_iter().take(1).collect();
        let (consolidator, writer) = Consolidator::open(journal, clock, forms, None).unwrap();
        let up = Arc::new(OnceLock::new());
        assert!(up.set(consolidator.clone()).is_ok());
        let watched = Watched { up, stops: Arc::default(), data: PathBuf::new(), mirror: None, tls: None };
        assert_eq!(watched.ready().0, StatusCode::OK);
        let stopping = Watched { stops: Arc::new(AtomicBool::new(true)), ..watched.clone() };
        assert_eq!(stopping.ready(), (StatusCode::SERVICE_UNAVAILABLE, "stopping\n"));
        drop(stopping);
        let action = Action::Look(Looked { node: "0".into(), method: "x".into() });
        let actor = Actor::parse("budget://0/auditor").unwrap();
        assert!(consolidator.carry_out(actor, "look".into(), Digest::default(), action).await.is_err());
        assert_eq!(watched.ready(), (StatusCode::SERVICE_UNAVAILABLE, "reads only\n"));
        drop((consolidator, watched));
        writer.join();
    }

    #[test]
    fn it_is_not_ready_while_the_journal_is_folded() {
        let watched =
            Watched { up: Arc::default(), stops: Arc::default(), data: PathBuf::new(), mirror: None, tls: None };
        assert_eq!(watched.ready().0, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(watched.page().status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
