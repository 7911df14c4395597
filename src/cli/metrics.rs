//! The pages that a Prometheus and a supervisor read, on an address of their own: `serve --metrics 127.0.0.1:9407`.
//!
//! Plain HTTP and open to whoever reaches it: it has counts, and neither figures nor names. It is up before the journal
//! is folded, so that `/ready` can say so.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::consolidator::Consolidator;
use crate::grpc::tls::Tls;
use crate::store::{Disk, RealDisk};

/// What Prometheus calls its text format.
const FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is looked at.
#[derive(Clone)]
pub(super) struct Watched {
    /// Set once the journal is folded.
    pub(super) up: Arc<OnceLock<Consolidator>>,
    /// Where the data are.
    pub(super) data: PathBuf,
    /// The server's certificates, if it has any.
    pub(super) tls: Option<Arc<Tls>>,
}

impl Watched {
    /// What `/metrics` answers.
    fn page(&self) -> Response {
        let Some(consolidator) = self.up.get() else { return STARTING.into_response() };
        let expiry = self.tls.as_ref().map(|tls| tls.expiry());
        let expiry = expiry.as_ref().map_or(&[][..], |expiry| expiry);
        let text = consolidator.metrics(RealDisk.free_bytes(&self.data).ok(), expiry);
        ([(CONTENT_TYPE, FORMAT)], text).into_response()
    }

    /// What `/ready` answers: whether filings are taken.
    fn ready(&self) -> (StatusCode, &'static str) {
        match self.up.get() {
            None => STARTING,
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
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "the metrics are not served any more");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::digest::Digest;
    use crate::consolidator::{Clock, embedded_form_sets};
    use crate::ledger::actor::Actor;
    use crate::ledger::decide::Action;
    use crate::ledger::event::{Looked, Timestamp};
    use crate::store::{Journal, JournalError, MemoryJournal, Records};

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
        let watched = Watched { up, data: PathBuf::new(), tls: None };
        assert_eq!(watched.ready().0, StatusCode::OK);
        let action = Action::Look(Looked { node: "0".into(), method: "x".into() });
        let actor = Actor::parse("budget://0/auditor").unwrap();
        assert!(consolidator.carry_out(actor, "look".into(), Digest::default(), action).await.is_err());
        assert_eq!(watched.ready(), (StatusCode::SERVICE_UNAVAILABLE, "reads only\n"));
        drop((consolidator, watched));
        writer.join();
    }

    #[test]
    fn it_is_not_ready_while_the_journal_is_folded() {
        let watched = Watched { up: Arc::default(), data: PathBuf::new(), tls: None };
        assert_eq!(watched.ready().0, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(watched.page().status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
