//! Watch: a board that is followed over a real socket, resumed, let go, and closed to strangers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use budget_consolidator::grpc::limits::WATCHES_PER_ACTOR_MAX;
use budget_consolidator::proto::api;
use budget_consolidator::proto::api::watch_response::Said;
use budget_consolidator::store::MemoryJournal;
use tokio::time::{Instant, timeout};
use tonic::transport::Endpoint;
use tonic::{Code, Status, Streaming};

use crate::support::*;

/// Longer than anything here takes; it only ends a test that would hang.
const NEVER: Duration = Duration::from_secs(20);

type Watch = Streaming<api::WatchResponse>;

async fn open(client: &Client, node: &str, resume_position: u64) -> Result<Watch, Status> {
    let request = api::WatchRequest { scope: Some(scope(node)), resume_position, heartbeat_seconds: 1 };
    client.consolidation().watch(request).await.map(|answer| answer.into_inner())
}

async fn next(watch: &mut Watch) -> Result<api::WatchResponse, Status> {
    let message = timeout(NEVER, watch.message()).await.expect("something is said");
    message.map(|message| message.expect("it does not end without a status"))
}

/// The next message that is no heartbeat.
async fn news(watch: &mut Watch) -> (u64, Said) {
    loop {
        let message = next(watch).await.unwrap();
        match message.said.unwrap() {
            Said::Heartbeat(_) => {}
            said => return (message.position, said),
        }
    }
}

async fn snapshot(watch: &mut Watch) -> api::GetStatusBoardResponse {
    match news(watch).await {
        (_, Said::Snapshot(board)) => board,
        (_, other) => panic!("no snapshot: {other:?}"),
    }
}

async fn change(watch: &mut Watch) -> (u64, api::BoardChange) {
    match news(watch).await {
        (position, Said::Change(change)) => (position, change),
        (_, other) => panic!("no change: {other:?}"),
    }
}

/// The status that a watch ends with, and the position that it names.
async fn end(watch: &mut Watch) -> (Status, u64) {
    loop {
        if let Err(status) = next(watch).await {
            use tonic_types::StatusExt;
            let facts = status.get_error_details().error_info().map(|info| info.metadata.clone()).unwrap_or_default();
            let position = facts.get("position").and_then(|position| position.parse().ok()).unwrap_or(0);
            return (status, position);
        }
    }
}

async fn file(server: &TestServer, name: &str) -> api::SubmitResponse {
    let code = name.split('-').next().unwrap();
    let file = example(&format!("fenyang-2024/submissions/{name}.json"));
    server.client(&unit(code)).await.submit(&file, &form("shanxi-2024")).await.unwrap()
}

fn units(change: &api::BoardChange) -> Vec<&str> {
    change.lines.iter().map(|line| line.unit.as_str()).collect()
}

#[tokio::test]
async fn a_watch_begins_with_the_board_and_then_tells_what_changes() {
    let server = TestServer::fenyang().await;
    let department = server.client(DEPARTMENT).await;
    let mut watch = open(&department, "407", 0).await.unwrap();
    let board = snapshot(&mut watch).await;
    assert_eq!(board, department.status_board("407").await);
    assert_eq!(board.lines.len(), 5, "who is not separately budgeted is not expected");
    let refused = file(&server, "407004-over").await;
    let (position, told) = change(&mut watch).await;
    assert_eq!((position, units(&told)), (refused.position, vec!["407004"]));
    assert_eq!(told.lines[0].standing, i32::from(api::Standing::Refused));
    assert_eq!(told.counts, department.status_board("407").await.counts);
    // What comes faster than it is told is put together: follow until the board is the one that is asked for.
    let mut lines: BTreeMap<String, api::StatusLine> =
        board.lines.into_iter().chain(told.lines).map(|line| (line.unit.clone(), line)).collect();
    for name in ["407001", "407002", "407003", "407004"] {
        file(&server, name).await;
    }
    let whole = department.status_board("407").await;
    loop {
        let (position, told) = change(&mut watch).await;
        lines.extend(told.lines.into_iter().map(|line| (line.unit.clone(), line)));
        if position == whole.position {
            assert_eq!(told.counts, whole.counts);
            break;
        }
    }
    assert_eq!(lines.into_values().collect::<Vec<_>>(), whole.lines);
    drop(watch);
    server.stop().await;
}

#[tokio::test]
async fn who_resumes_gets_what_changed_since_or_the_whole_board() {
    let server = TestServer::fenyang().await;
    let department = server.client(DEPARTMENT).await;
    file(&server, "407001").await;
    let known = file(&server, "407002").await.position;
    file(&server, "407004-over").await;
    file(&server, "407004").await;
    let (position, told) = change(&mut open(&department, "407", known).await.unwrap()).await;
    assert_eq!((position, units(&told)), (known + 2, vec!["407004"]));
    assert_eq!(told.lines[0].standing, i32::from(api::Standing::Submitted));
    // Who knows all learns at once that it is current.
    let (position, told) = change(&mut open(&department, "407", known + 2).await.unwrap()).await;
    assert_eq!((position, told.lines.len()), (known + 2, 0));
    assert_eq!(told.counts, department.status_board("407").await.counts);
    // A position that isn't there yet is of another journal.
    let board = snapshot(&mut open(&department, "407", known + 100).await.unwrap()).await;
    assert_eq!(board.lines.len(), 5);
    // Another tree may change any line.
    server.client(ADMINISTRATOR).await.import_units("fenyang-2024/units.csv", 2024).await.unwrap();
    let board = snapshot(&mut open(&department, "407", known + 2).await.unwrap()).await;
    assert_eq!(board, department.status_board("407").await);
    server.stop().await;
}

#[tokio::test]
async fn nobody_learns_what_is_not_his() {
    let server = TestServer::fenyang().await;
    let own = server.client(&unit("407001")).await;
    for node in ["407", "407002", "0"] {
        let refused = open(&own, node, 0).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused)), (Code::PermissionDenied, "NOT_PERMITTED".into()), "{node}");
    }
    let mut watch = open(&own, "", 0).await.unwrap();
    assert_eq!(snapshot(&mut watch).await.lines.len(), 1);
    // Others file. Nothing is said about it, and what is said comes when a heartbeat is due, not when something happens.
    let opened = Instant::now();
    let before = server.client(AUDITOR).await.status_board("0").await.position;
    file(&server, "407002").await;
    let beat = next(&mut watch).await.unwrap();
    assert!(matches!(beat.said, Some(Said::Heartbeat(_))), "{beat:?}");
    assert!(opened.elapsed() > Duration::from_millis(500), "{:?}", opened.elapsed());
    let resumed = change(&mut open(&own, "", before).await.unwrap()).await;
    assert_eq!(resumed.1.lines, []);
    server.stop().await;
}

#[tokio::test]
async fn who_leaves_the_tree_sees_no_more_of_it() {
    let server = TestServer::start().await;
    // Without ceilings: a tree that leaves some behind is refused.
    server.client(ADMINISTRATOR).await.import_units("fenyang-2024/units.csv", 2024).await.unwrap();
    let department = server.client(DEPARTMENT).await;
    let mut watch = open(&department, "407002", 0).await.unwrap();
    assert_eq!(snapshot(&mut watch).await.lines.len(), 1);
    let mut bureau = open(&server.client(BUREAU).await, "407002", 0).await.unwrap();
    assert_eq!(snapshot(&mut bureau).await.lines.len(), 1);
    // Another year's department has the code; 407002 is nowhere.
    server.client(ADMINISTRATOR).await.import_units("linjiang-2024/units.csv", 2024).await.unwrap();
    assert_eq!(reason(&end(&mut watch).await.0), "NOT_PERMITTED");
    assert_eq!(reason(&end(&mut bureau).await.0), "UNKNOWN_UNIT");
    server.stop().await;
}

#[tokio::test]
async fn stopping_waits_for_no_watch_and_tells_each_where_to_resume() {
    let journal = Arc::new(MemoryJournal::new());
    let server = TestServer::on(journal.clone()).await;
    server.furnish("fenyang-2024", "shanxi-2024", 2024).await;
    let department = server.client(DEPARTMENT).await;
    let mut watch = open(&department, "407", 0).await.unwrap();
    let known = snapshot(&mut watch).await.position;
    let stopping = Instant::now();
    let (stopped, (status, position)) = tokio::join!(
        async {
            server.stop().await;
            stopping.elapsed()
        },
        async {
            let ended = end(&mut watch).await;
            // An open connection is no open stream, but the test's server waits for it as well.
            drop(watch);
            drop(department);
            ended
        }
    );
    assert_eq!((status.code(), reason(&status)), (Code::Unavailable, "SERVER_STOPPING".into()));
    assert!(stopped < Duration::from_millis(1500), "the drain deadline is at 2 s: {stopped:?}");
    // The next server knows the same position.
    let server = TestServer::on(journal).await;
    file(&server, "407001").await;
    let (_, told) = change(&mut open(&server.client(DEPARTMENT).await, "407", position).await.unwrap()).await;
    assert_eq!((position, units(&told)), (known, vec!["407001"]));
    server.stop().await;
}

#[tokio::test]
async fn stopping_waits_for_nobody_who_watches_health() {
    use tonic_health::pb::health_check_response::ServingStatus;
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    let server = TestServer::start().await;
    // A filing that is under way, for which the server does wait.
    let client = server.client("budget://407001/unit").await;
    let (parts, arriving) = tokio::sync::mpsc::channel(1);
    let arriving = tokio_stream::wrappers::ReceiverStream::new(arriving);
    let filing = tokio::spawn(async move { client.submissions().submit(arriving).await });
    let mut watches = Vec::new();
    let mut checks = HealthClient::new(server.client(BUREAU).await.connection());
    for service in ["", "budget.consolidation.v1.SubmissionService", "budget.consolidation.v1.AuditService"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let mut watch = checks.watch(request).await.unwrap().into_inner();
        assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving, "{service}");
        watches.push(watch);
    }
    let stopping = tokio::spawn(server.stop());
    for mut watch in watches {
        let told = timeout(Duration::from_secs(1), watch.message()).await.expect("told at once");
        assert_eq!(told.unwrap().unwrap().status(), ServingStatus::NotServing);
        let ended = timeout(Duration::from_secs(1), watch.message()).await.expect("let go");
        assert!(ended.unwrap().is_none());
    }
    assert!(!stopping.is_finished(), "the filing is still open");
    drop((parts, checks));
    assert!(filing.await.unwrap().is_err());
    stopping.await.unwrap();
}

/// A tree of department 900 with so many units that its board doesn't fit into what a connection holds.
async fn large_department(server: &TestServer) {
    let node = |code: String, parent: &str, role: &str| api::UnitNode {
        name: format!("{code} {}", "很长的名称".repeat(20)),
        code,
        parent: parent.into(),
        role: role.into(),
        budgeted: role == "unit",
        ..Default::default()
    };
    let units = (0..2000).map(|at| node(format!("900{at:04}"), "900", "unit"));
    let nodes = std::iter::once(node("900".into(), "0", "department")).chain(units).collect();
    let request = api::ImportUnitsRequest { idempotency_key: new_key(), year: 2024, nodes };
    server.client(ADMINISTRATOR).await.registry().import_units(request).await.unwrap();
}

#[tokio::test]
async fn who_takes_nothing_is_let_go_and_told_where_to_resume() {
    let server = TestServer::start().await;
    large_department(&server).await;
    let small = Endpoint::from_shared(server.address.clone())
        .unwrap()
        .initial_stream_window_size(16 * 1024)
        .initial_connection_window_size(1024 * 1024);
    let client = Client::on(small.connect().await.unwrap(), "budget://900/department");
    let mut idle = Vec::new();
    for _ in 0..WATCHES_PER_ACTOR_MAX {
        // Long enough that none is let go before all of them are open.
        let request = api::WatchRequest { scope: Some(scope("900")), heartbeat_seconds: 2, ..Default::default() };
        idle.push(client.consolidation().watch(request).await.unwrap().into_inner());
    }
    let refused = open(&client, "900", 0).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused)), (Code::ResourceExhausted, "TOO_MANY_WATCHES".into()));
    // Another identity isn't kept out.
    snapshot(&mut open(&server.client(AUDITOR).await, "900", 0).await.unwrap()).await;
    // Not one byte of a board is read, and the places are free again all the same.
    let again = timeout(3 * NEVER, async {
        loop {
            match open(&client, "900", 0).await {
                Ok(watch) => return watch,
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    });
    let mut again = again.await.expect("a place is free");
    let mut first = idle.remove(0);
    let known = snapshot(&mut first).await.position;
    let (status, position) = end(&mut first).await;
    assert_eq!((status.code(), reason(&status)), (Code::Aborted, "WATCH_TOO_SLOW".into()));
    assert_eq!(position, known);
    // Who reads is not too slow, however long nothing happens.
    snapshot(&mut again).await;
    for _ in 0..3 {
        assert!(matches!(next(&mut again).await.unwrap().said, Some(Said::Heartbeat(_))));
    }
    drop((idle, first, again, client));
    server.stop().await;
}

#[tokio::test]
async fn a_place_is_free_again_when_a_client_goes() {
    let server = TestServer::fenyang().await;
    let client = server.client(DEPARTMENT).await;
    for _ in 0..3 * WATCHES_PER_ACTOR_MAX {
        let watch = timeout(NEVER, async {
            loop {
                match open(&client, "407", 0).await {
                    Ok(watch) => return watch,
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        });
        snapshot(&mut watch.await.expect("a place is free")).await;
    }
    let too_long = api::WatchRequest { heartbeat_seconds: 61, ..Default::default() };
    assert_eq!(reason(&client.consolidation().watch(too_long).await.unwrap_err()), "BAD_REQUEST");
    server.stop().await;
}
