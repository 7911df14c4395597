//! The journal below: written by a newer program, in use elsewhere, on a full disk, on a disk that fails.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use budget_consolidator::budget::reason::{Reason, Remark};
use budget_consolidator::cli::serve;
use budget_consolidator::consolidator::{Consolidator, embedded_form_sets};
use budget_consolidator::proto::storage;
use budget_consolidator::store::{Disk, Journal, MemoryJournal, RealDisk, SledJournal, SledOptions};
use prost::Message;
use tempfile::TempDir;
use tonic::Code;

use super::{Scene, assert_refused, head};
use crate::support::*;

fn open(directory: &Path) -> SledJournal {
    SledJournal::open(directory, SledOptions::default()).unwrap()
}

/// Starts to serve a data directory, and expects that it is refused.
async fn serving_fails(directory: &Path) -> Remark {
    match serve::open(directory, "127.0.0.1:0".parse().unwrap()).await {
        Ok(_) => panic!("serves {}", directory.display()),
        Err(remark) => remark,
    }
}

/// A record of another format at the journal's end.
fn append_format(journal: &dyn Journal, format: u32) {
    let head = journal.head().unwrap();
    let record = storage::Envelope { format, position: head + 1, ..Default::default() };
    journal.append(head, &[record.encode_to_vec()]).unwrap();
}

#[tokio::test]
async fn a_journal_with_a_record_of_a_newer_program_is_not_opened() {
    let directory = TempDir::new().unwrap();
    let server = TestServer::on(Arc::new(open(directory.path()))).await;
    server.furnish("fenyang-2024", "shanxi-2024", 2024).await;
    server.stop().await;
    let journal = open(directory.path());
    append_format(&journal, 2);
    let newer = journal.head().unwrap();
    drop(journal);
    let remark = serving_fails(directory.path()).await;
    assert_eq!(remark.reason, Reason::JournalNewer);
    let place = newer.to_string();
    let facts = ["position", "found", "known"].map(|name| remark.fact(name).unwrap());
    assert_eq!(facts, [place.as_str(), "2", "1"]);
    assert_eq!(open(directory.path()).head().unwrap(), newer, "nothing was written");
}

#[tokio::test]
async fn a_data_directory_of_a_newer_program_is_not_opened() {
    let directory = TempDir::new().unwrap();
    drop(open(directory.path()));
    std::fs::write(directory.path().join("FORMAT"), "budget-consolidator journal, format 2\n").unwrap();
    let remark = serving_fails(directory.path()).await;
    assert_eq!(remark.reason, Reason::JournalNewer);
    assert_eq!((remark.fact("found"), remark.fact("known")), (Some("2"), Some("1")), "{remark}");
    assert!(remark.fact("path").unwrap().ends_with("FORMAT"), "{remark}");
}

#[tokio::test]
async fn records_that_are_none_are_damage_at_their_position() {
    for (what, record) in [
        ("noise", vec![0xff; 32]),
        ("nothing", Vec::new()),
        ("another position", storage::Envelope { format: 1, position: 9, ..Default::default() }.encode_to_vec()),
        ("no event", storage::Envelope { format: 1, position: 1, ..Default::default() }.encode_to_vec()),
    ] {
        let journal = MemoryJournal::new();
        journal.append(0, &[record]).unwrap();
        let opened = Consolidator::open(Arc::new(journal), test_clock(), embedded_form_sets(), None);
        let Err(remark) = opened else { panic!("{what} was opened") };
        assert_eq!((remark.reason, remark.fact("position")), (Reason::JournalDamaged, Some("1")), "{what}: {remark}");
    }
}

#[tokio::test]
async fn a_data_directory_in_use_is_not_opened_again_and_its_server_goes_on() {
    let directory = TempDir::new().unwrap();
    let server = TestServer::on(Arc::new(open(directory.path()))).await;
    server.furnish("fenyang-2024", "shanxi-2024", 2024).await;
    let remark = serving_fails(directory.path()).await;
    assert_eq!(remark.reason, Reason::StoreInUse);
    let path = directory.path().canonicalize().unwrap();
    assert_eq!(remark.fact("path"), path.to_str(), "{remark}");
    let file = example("fenyang-2024/submissions/407004.json");
    let answer = server.client(&unit("407004")).await.submit(&file, &form("shanxi-2024")).await.unwrap();
    assert_eq!(answer.version, 1);
    server.stop().await;
}

/// A disk that says it is full, or whose sync fails, while a test wants it to.
#[derive(Default)]
struct Ailing {
    full: AtomicBool,
    fails: AtomicBool,
}

impl Disk for Ailing {
    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        if self.full.load(Ordering::SeqCst) { Ok(1_234) } else { RealDisk.free_bytes(dir) }
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk is ill"));
        }
        RealDisk.sync(file)
    }
}

const SUBMISSIONS: &str = "budget.consolidation.v1.SubmissionService";

/// Whether a service says that it serves.
async fn health(server: &TestServer, service: &str) -> bool {
    use tonic_health::pb::health_check_response::ServingStatus;
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    let mut client = HealthClient::new(server.client("").await.connection());
    let answer = client.check(HealthCheckRequest { service: service.to_owned() }).await.unwrap();
    answer.into_inner().status() == ServingStatus::Serving
}

async fn scene_on(directory: &Path, disk: &Arc<Ailing>) -> Scene {
    let options = SledOptions { disk: disk.clone(), ..SledOptions::default() };
    let server = TestServer::on(Arc::new(SledJournal::open(directory, options).unwrap())).await;
    Scene::furnish(server, "fenyang-2024", "shanxi-2024", "407", "407004", &["407001"]).await
}

#[tokio::test]
async fn on_a_full_disk_nothing_is_taken_and_reads_go_on_until_there_is_space_again() {
    let (directory, disk) = (TempDir::new().unwrap(), Arc::new(Ailing::default()));
    let scene = scene_on(directory.path(), &disk).await;
    let (bureau, unit) = (scene.server.client(BUREAU).await, scene.client().await);
    disk.full.store(true, Ordering::SeqCst);
    let parts = scene.parts();
    for _ in 0..2 {
        let filed = scene.nothing_changes("filing", unit.submit_parts(parts.clone())).await;
        assert_refused("filing", filed, Code::ResourceExhausted, "STORE_FULL", &["1234", "67108864"]);
    }
    let issue = bureau.issue_control("fenyang-2024/control.csv", "shanxi-2024", 2024);
    let issued = scene.nothing_changes("issue", issue).await;
    assert_refused("issue", issued, Code::ResourceExhausted, "STORE_FULL", &["1234"]);
    let dry_run = unit.dry_run(&scene.file(), &scene.form).await.unwrap();
    assert_eq!(dry_run.version, 2, "a dry run writes nothing");
    // Whoever balances load is told, and told when there is space again, without anybody filing.
    until("the health says so", async || !health(&scene.server, "").await).await;
    assert!(!health(&scene.server, SUBMISSIONS).await && !scene.server.consolidator.is_accepting());
    assert!(health(&scene.server, "budget.consolidation.v1.ConsolidationService").await);
    disk.full.store(false, Ordering::SeqCst);
    until("and that it is over", async || health(&scene.server, "").await).await;
    assert!(health(&scene.server, SUBMISSIONS).await && scene.server.consolidator.is_accepting());
    let answer = unit.submit_parts(parts).await.unwrap();
    assert_eq!((answer.version, answer.repeated), (2, false));
    scene.stop().await;
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_taken_or_seen_until_a_restart_that_knows_the_key() {
    let (directory, disk) = (TempDir::new().unwrap(), Arc::new(Ailing::default()));
    let scene = scene_on(directory.path(), &disk).await;
    let (bureau, unit) = (scene.server.client(BUREAU).await, scene.client().await);
    let before = head(&bureau).await;
    let parts = scene.parts();
    let views = bureau.view("407", &[], true).await.unwrap();
    assert!(health(&scene.server, "").await && health(&scene.server, SUBMISSIONS).await);
    disk.fails.store(true, Ordering::SeqCst);
    let filed = scene.nothing_changes("failed sync", unit.submit_parts(parts.clone())).await;
    assert_refused("failed sync", filed, Code::Unavailable, "OUTCOME_UNKNOWN", &["the disk is ill"]);
    disk.fails.store(false, Ordering::SeqCst);
    for _ in 0..2 {
        let again = scene.nothing_changes("stopped", unit.submit_parts(parts.clone())).await;
        assert_refused("stopped", again, Code::Unavailable, "STORE_STOPPED", &[]);
    }
    // Whoever balances load is told; whoever reads goes on.
    let mut told = false;
    for _ in 0..100 {
        told = !health(&scene.server, "").await && !health(&scene.server, SUBMISSIONS).await;
        if told {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(told, "the health is still good");
    assert!(health(&scene.server, "budget.consolidation.v1.ConsolidationService").await);
    assert_eq!(bureau.view("407", &[], true).await.unwrap(), views);
    let issue = bureau.issue_control("fenyang-2024/control.csv", "shanxi-2024", 2024);
    assert_refused("issue", scene.nothing_changes("stopped", issue).await, Code::Unavailable, "STORE_STOPPED", &[]);
    scene.stop().await;

    // The batch is there whole or not at all; the key finds out which, and there is one version of it.
    let server = TestServer::on(Arc::new(open(directory.path()))).await;
    let answer = server.client(&super::super::support::unit("407004")).await.submit_parts(parts).await.unwrap();
    assert_eq!((answer.version, answer.position), (2, before + 1));
    assert_eq!(head(&server.client(BUREAU).await).await, before + 1);
    server.stop().await;
}
