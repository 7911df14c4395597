//! `serve --record-looks`: what auditors look at stands in the history of who was looked at, and nobody waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use budget_consolidator::consolidator::{Free, Signing};
use budget_consolidator::proto::api::journal_event::Event;
use budget_consolidator::store::{Journal, JournalError, MemoryJournal, Records};
use tonic::Code;

use crate::support::*;

/// The looks in a unit's history: who, and by what.
async fn looks(server: &TestServer, unit: &str) -> Vec<(String, String)> {
    let history = server.client(BUREAU).await.history(unit).await.unwrap();
    let look = |event: &budget_consolidator::proto::api::JournalEvent| match &event.event {
        Some(Event::Looked(looked)) => Some((event.actor.clone(), looked.method.clone())),
        _ => None,
    };
    history.events.iter().filter_map(look).collect()
}

async fn until_the_writer_is_idle(server: &TestServer, position: u64) {
    for _ in 0..200 {
        if server.consolidator.snapshot().state.position >= position {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("position {position} never came");
}

#[tokio::test]
async fn what_an_auditor_looks_at_is_in_its_history_if_the_deployment_says_so() {
    let server = TestServer::fenyang().await;
    let auditor = server.client(AUDITOR).await;
    let before = server.consolidator.snapshot().state.position;
    auditor.status_board("407002").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(server.consolidator.snapshot().state.position, before, "off unless it is said");
    server.consolidator.record_looks();
    auditor.status_board("407002").await;
    auditor.history("407002").await.unwrap();
    auditor.status_board("407002").await;
    // Who isn't an auditor, who was refused, and what belongs to nobody: no look.
    server.client(BUREAU).await.status_board("407002").await;
    assert_eq!(auditor.view("999", &[], false).await.unwrap_err().code(), Code::NotFound);
    auditor.registry().list_form_sets(budget_consolidator::proto::api::ListFormSetsRequest {}).await.unwrap();
    until_the_writer_is_idle(&server, before + 3).await;
    let by = |method: &str| (AUDITOR.to_owned(), method.to_owned());
    let found = looks(&server, "407002").await;
    assert_eq!(
        found,
        [
            by("ConsolidationService/GetStatusBoard"),
            by("AuditService/GetHistory"),
            by("ConsolidationService/GetStatusBoard")
        ]
    );
    assert_eq!(looks(&server, "407003").await, []);
    // What names no unit is a look at the whole.
    let list = budget_consolidator::proto::api::ListEventsRequest::default();
    auditor.audit().list_events(list).await.unwrap();
    until_the_writer_is_idle(&server, before + 4).await;
    let state = server.consolidator.snapshot().state;
    assert_eq!((state.history("0").len(), state.history("999").len(), state.position), (1, 0, before + 4));
    server.stop().await;
}

/// A receipt is looked at too, and stands in the history of whose event it is.
#[tokio::test]
async fn a_receipt_that_an_auditor_looks_at_is_a_look() {
    let folder = tempfile::tempdir().unwrap();
    let signing = Signing::open(&folder.path().join("signing"), Some("looks.example")).unwrap();
    let server = TestServer::signing(Arc::new(MemoryJournal::new()), None, Some(signing)).await;
    server.furnish("fenyang-2024", "shanxi-2024", 2024).await;
    let file = example("fenyang-2024/submissions/407004.json");
    let filed = server.client(&unit("407004")).await.submit(&file, &form("shanxi-2024")).await.unwrap();
    server.consolidator.record_looks();
    let auditor = server.client(AUDITOR).await;
    let request = budget_consolidator::proto::api::GetReceiptRequest { position: filed.position };
    auditor.audit().get_receipt(request).await.unwrap();
    until_the_writer_is_idle(&server, filed.position + 1).await;
    assert_eq!(looks(&server, "407004").await, [(AUDITOR.to_owned(), "AuditService/GetReceipt".to_owned())]);
    server.stop().await;
}

/// A journal that is full when it is told to be.
struct Full {
    inside: MemoryJournal,
    full: Arc<AtomicBool>,
}

impl Journal for Full {
    fn append(&self, head: u64, batch: &[Vec<u8>]) -> Result<u64, JournalError> {
        if self.full.load(Ordering::SeqCst) {
            return Err(JournalError::Full { path: "/".into(), free: 0, reserve: 1 });
        }
        self.inside.append(head, batch)
    }

    fn read(&self, position: u64) -> Result<Option<Vec<u8>>, JournalError> {
        self.inside.read(position)
    }

    fn scan(&self, from: u64) -> Records<'_> {
        self.inside.scan(from)
    }

    fn head(&self) -> Result<u64, JournalError> {
        self.inside.head()
    }
}

#[tokio::test]
async fn a_look_that_cannot_be_recorded_hinders_no_read_and_is_counted() {
    let full = Arc::new(AtomicBool::new(false));
    let server = TestServer::on(Arc::new(Full { inside: MemoryJournal::new(), full: full.clone() })).await;
    server.furnish("fenyang-2024", "shanxi-2024", 2024).await;
    server.consolidator.record_looks();
    let before = server.consolidator.snapshot().state.position;
    full.store(true, Ordering::SeqCst);
    let auditor = server.client(AUDITOR).await;
    for _ in 0..3 {
        auditor.status_board("407").await;
    }
    let counted = async || server.consolidator.metrics(Free::default(), &[]).contains("budget_looks_lost_total 3");
    until("three looks are counted as lost", counted).await;
    full.store(false, Ordering::SeqCst);
    auditor.status_board("407").await;
    until_the_writer_is_idle(&server, before + 1).await;
    assert_eq!(looks(&server, "407").await.len(), 1);
    server.stop().await;
}
