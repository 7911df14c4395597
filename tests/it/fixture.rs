//! A journal as format 1 has it, kept as a file: every later program must read it to the same state.
//!
//! `tests/data/journal-1.archive` was written by the program itself. If this test fails, the stored form of an event,
//! or what it means, has changed: then the format's number goes up and the old form must still be read. (A state that
//! holds more than before has another digest too: then only `journal-1.state` is renewed.) Only while format 1 is
//! unreleased may the fixture be made anew: `FIXTURE=write cargo test --test it fixture`.

use std::sync::Arc;

use budget_consolidator::budget::digest::Digest;
use budget_consolidator::consolidator::fold;
use budget_consolidator::ledger::image;
use budget_consolidator::proto::api;
use budget_consolidator::store::archive::{Entry, Reader};
use budget_consolidator::store::{Journal, MemoryJournal};

use crate::replay::file_the_example;
use crate::support::*;

const FIXTURE: &str = "tests/data/journal-1.archive";
/// SHA-256 of the image of the state that it folds to.
const STATE: &str = "tests/data/journal-1.state";

#[tokio::test]
async fn the_journal_of_format_1_is_still_read_to_the_same_state() {
    if std::env::var_os("FIXTURE").is_some_and(|what| what == "write") {
        write().await;
    }
    let journal = MemoryJournal::new();
    let mut archive = Reader::open(&project(FIXTURE)).unwrap();
    while let Some(entry) = archive.next().unwrap() {
        if let Entry::Event { position, bytes } = entry {
            journal.append(position - 1, &[bytes]).unwrap();
        }
    }
    assert!(archive.flaw().is_none() && archive.is_complete());
    assert_eq!(journal.head().unwrap(), 10);
    let state = Digest::of(&image::image(&fold(&journal).unwrap()));
    assert_eq!(state.to_string(), std::fs::read_to_string(project(STATE)).unwrap().trim());
}

/// The example as it is filed: form sets, units, ceilings, filings that are taken and one that is refused, written by the
/// program of today.
async fn write() {
    let server = TestServer::on(Arc::new(MemoryJournal::new())).await;
    file_the_example(&server).await;
    let mut stream = server
        .client(AUDITOR)
        .await
        .audit()
        .export_journal(api::ExportJournalRequest::default())
        .await
        .unwrap()
        .into_inner();
    let mut bytes = Vec::new();
    while let Some(piece) = stream.message().await.unwrap() {
        bytes.extend(piece.archive);
    }
    let state = Digest::of(&image::image(&server.consolidator.snapshot().state));
    std::fs::write(project(FIXTURE), bytes).unwrap();
    std::fs::write(project(STATE), format!("{state}\n")).unwrap();
    server.stop().await;
}
