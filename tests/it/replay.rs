//! The journal alone: what it holds gives the same views in another process, with everything derived thrown away.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use budget_consolidator::budget::digest::Digest;
use budget_consolidator::budget::reason::Remark;
use budget_consolidator::consolidator::fold;
use budget_consolidator::proto::api;
use budget_consolidator::store::{Journal, MemoryJournal, SledJournal, SledOptions};
use prost::Message;

use crate::support::*;

/// Says to the child where the journal is.
const DIRECTORY: &str = "REPLAY_DIRECTORY";
const CHILD: &str = "replay::child_prints_the_digest_of_all_views";

fn sled(directory: &Path) -> Arc<SledJournal> {
    Arc::new(SledJournal::open(directory, SledOptions::default()).unwrap())
}

/// What every reader sees of every node, as one digest.
pub async fn digest_of_all_views(server: &TestServer) -> Digest {
    let client = server.client(AUDITOR).await;
    let units = client.registry().list_units(api::ListUnitsRequest::default()).await.unwrap().into_inner();
    let nodes: Vec<&str> = ["0"].into_iter().chain(units.nodes.iter().map(|node| node.code.as_str())).collect();
    let mut seen = units.encode_to_vec();
    for node in nodes {
        seen.extend(client.view(node, &[], true).await.unwrap().encode_to_vec());
        seen.extend(client.status_board(node).await.encode_to_vec());
        let request = api::ListControlFiguresRequest { node: node.to_owned(), ..Default::default() };
        seen.extend(client.control().list_control_figures(request).await.unwrap().into_inner().encode_to_vec());
        let request = api::ListSubmissionsRequest { node: node.to_owned(), ..Default::default() };
        let listed = client.submissions().list_submissions(request).await.unwrap().into_inner();
        for submission in &listed.submissions {
            let version = submission.version.as_ref().unwrap().version;
            let request = api::GetSubmissionRequest { slot: submission.slot.clone(), version, ..Default::default() };
            seen.extend(client.submissions().get_submission(request).await.unwrap().into_inner().encode_to_vec());
        }
        seen.extend(listed.encode_to_vec());
        if node != "0" {
            seen.extend(client.history(node).await.unwrap().encode_to_vec());
        }
    }
    Digest::of(&seen)
}

/// The whole example: filings, a refused attempt, a correction, a version on top.
pub async fn file_the_example(server: &TestServer) {
    server.furnish("fenyang-2024", "shanxi-2024", 2024).await;
    let form = form("shanxi-2024");
    for name in ["407001", "407002", "407003", "407004-over", "407004", "407001"] {
        let file = example(&format!("fenyang-2024/submissions/{name}.json"));
        server.client(&unit(&file.slot.unit)).await.submit(&file, &form).await.unwrap();
    }
}

#[tokio::test]
async fn another_process_sees_the_same_from_the_journal_alone() {
    let directory = tempfile::tempdir().unwrap();
    let server = TestServer::on(sled(directory.path())).await;
    file_the_example(&server).await;
    let before = digest_of_all_views(&server).await;
    server.stop().await;

    drop_derived_data(directory.path());
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", CHILD, "--nocapture"])
        .env(DIRECTORY, directory.path())
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{printed}\n{}", String::from_utf8_lossy(&child.stderr));
    assert!(printed.contains(&format!("digest {before}")), "expected {before}, the new process said\n{printed}");
}

/// Of the store's files, a snapshot of sled is derived: sled makes it again from its log. There is nothing else.
fn drop_derived_data(directory: &Path) {
    let mut names = BTreeSet::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                folders.push(path);
            } else if name.starts_with("snap.") {
                std::fs::remove_file(path).unwrap();
            } else {
                names.insert(name);
            }
        }
    }
    println!("left of the store: {names:?}");
    assert!(names.contains("db") && names.iter().all(|name| KEPT.contains(&name.as_str())), "{names:?}");
}

/// sled's log and settings, the mark of the format, the file that only one process may hold, and the witness of how far
/// the journal was.
const KEPT: [&str; 5] = ["db", "conf", "LOCK", "FORMAT", "ACKNOWLEDGED"];

/// Does nothing unless the test above starts it.
#[tokio::test]
async fn child_prints_the_digest_of_all_views() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let server = TestServer::on(sled(Path::new(&directory))).await;
    println!("digest {}", digest_of_all_views(&server).await);
    server.stop().await;
}

/// Any beginning of the journal, copied record by record, is a journal of its own and gives the state of that position.
#[tokio::test]
async fn every_beginning_of_the_journal_folds() {
    let journal = Arc::new(MemoryJournal::new());
    let server = TestServer::on(journal.clone()).await;
    file_the_example(&server).await;
    let whole = server.consolidator.snapshot().state.position;
    server.stop().await;
    let copy = MemoryJournal::new();
    for position in 1..=whole {
        let bytes = journal.read(position).unwrap().unwrap();
        copy.append(position - 1, &[bytes]).unwrap();
        let state = fold(&copy).unwrap_or_else(|remark: Remark| panic!("at {position}: {remark}"));
        assert_eq!(state.position, position);
    }
    let server = TestServer::on(Arc::new(copy)).await;
    let copied = digest_of_all_views(&server).await;
    server.stop().await;
    let server = TestServer::on(journal).await;
    assert_eq!(copied, digest_of_all_views(&server).await);
    server.stop().await;
}
