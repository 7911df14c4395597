//! Each limit of `src/grpc/limits.rs` at its edge, over a real socket: at the limit it is taken, one beyond it is refused
//! and the limit is named. And that none is left out, here or in the comments of `proto/`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use budget_consolidator::budget::cell::{Cell, RowKey};
use budget_consolidator::budget::form_set::{FormFiles, FormSet};
use budget_consolidator::consolidator::Free;
use budget_consolidator::grpc::limits::{self, Bounds};
use budget_consolidator::proto::api::submit_request::Part;
use budget_consolidator::proto::{TableHeader, api};
use budget_consolidator::store::MemoryJournal;
use budget_consolidator::submission_file::SubmissionFile;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt;

use crate::support::*;

mod connections;
mod gone_through;
mod said;
mod waiting;

/// Each limit, how `proto/` says it, and the test that tries it.
const TRIED: &[(&str, &str, &str)] = &[
    ("HANDSHAKE_MAX", "10 seconds for its handshake", "a_handshake_takes_no_longer_than_it_may"),
    ("CONNECTIONS_MAX", "4,096 in all", "as_many_connections_are_let_in_as_may_be"),
    ("HALF_OPEN_MAX", "512 of them", "ten_thousand_who_stand_in_the_doorway_take_no_room_from_those_who_mean_well"),
    ("CONNECTIONS_PER_IDENTITY_MAX", "64 connections", "one_identity_has_so_many_connections_and_others_theirs"),
    ("HEADER_BYTES_MAX", "16 KiB of headers", "a_header_block_that_is_too_large_is_refused_and_the_connection_goes_on"),
    ("MESSAGE_BYTES_MAX", "4 MiB", "a_message_is_as_large_as_it_may_be"),
    ("ANSWER_BYTES_MAX", "64 MiB", "an_answer_is_as_large_as_it_may_be"),
    ("STREAMS_PER_CONNECTION_MAX", "128", "a_connection_has_as_many_streams_as_it_may"),
    ("WINDOW_BYTES", "1 MiB", "a_client_sends_ahead_as_much_as_it_may"),
    ("CHUNK_ROWS_MAX", "at most 256", "a_filing_is_as_large_as_it_may_be"),
    ("ROWS_MAX", "100,000 rows", "a_filing_is_as_large_as_it_may_be"),
    ("SUBMISSION_BYTES_MAX", "32 MiB", "a_filing_is_as_large_as_it_may_be"),
    ("TABLES_MAX", "At most 1,000,", "a_filing_is_as_large_as_it_may_be"),
    ("COLUMNS_MAX", "10,000 columns", "a_filing_is_as_large_as_it_may_be"),
    ("KEY_BYTES_MAX", "256 bytes", "a_filing_is_as_large_as_it_may_be"),
    ("FINDING_CELLS_MAX", "100,000 cells", "findings_are_as_many_as_an_answer_holds"),
    ("FINDING_BYTES_MAX", "32 MiB", "findings_are_as_many_as_an_answer_holds"),
    ("WATCHES_PER_ACTOR_MAX", "16", "who_takes_nothing_is_let_go_and_told_where_to_resume"),
    ("HEARTBEAT_SECONDS", "1 to 60", "a_watch_begins_with_the_board_and_then_tells_what_changes"),
    ("FIGURES_MAX", "at most 50,000", "lists_are_as_long_as_they_may_be"),
    ("NODES_MAX", "at most 50,000, on 16", "lists_are_as_long_as_they_may_be"),
    ("FORM_SET_BYTES_MAX", "3 MiB", "lists_are_as_long_as_they_may_be"),
    ("PAGE_DEFAULT", "0 means 100", "a_page_is_as_long_as_it_may_be"),
    ("PAGE_MAX", "more than 1,000 means 1,000", "a_page_is_as_long_as_it_may_be"),
    ("PAGE_BYTES_MAX", "16 MiB", "a_page_of_very_long_events_ends_early"),
    ("OPEN_PER_ACTOR_MAX", "64 requests", "an_identity_has_as_many_requests_open_as_it_may"),
    ("PER_SECOND_PER_ACTOR_MAX", "500 a second", "an_identity_asks_as_often_as_it_may"),
    ("STREAM_IDLE_SECONDS_MAX", "30 seconds", "a_filing_rests_no_longer_than_it_may"),
    ("STREAM_SECONDS_MAX", "10 minutes", "a_filing_takes_no_longer_than_it_may"),
    ("REQUEST_SECONDS_MAX", "60 seconds", "a_request_takes_no_longer_than_it_may"),
    ("ANSWER_SECONDS_MAX", "within 10 minutes", "an_answer_waits_for_its_client_no_longer_than_it_may"),
    ("EVENTS_MAX", "no more than 10,000 events", "so_many_events_are_looked_at_for_a_page"),
    ("CAUSE_EVENTS_MAX", "more than 5,000 events", "so_many_events_are_gone_through_for_causes"),
    ("CAUSE_UNITS_MAX", "200 units", "so_many_units_are_gone_through_and_put_side_by_side"),
    ("LIST_UNITS_MAX", "500 units' lists", "so_many_units_are_gone_through_and_put_side_by_side"),
    ("CHANGED_CELLS_MAX", "the first 20", "of_a_table_that_was_given_back_so_many_cells_are_named"),
    ("FORMULA_LINES_MAX", "2,000 lines", "a_form_set_is_as_large_as_it_may_be"),
    ("PAIRED_LINES_MAX", "100 may hold each row", "a_form_set_is_as_large_as_it_may_be"),
    ("RULE_LINES_MAX", "20,000 lines", "a_form_set_is_as_large_as_it_may_be"),
    ("CAUSE_VERSIONS_MAX", "100 versions", "so_many_events_are_gone_through_for_causes"),
    ("WAITING_BYTES_MAX", "512 MiB", "as_much_waits_for_the_writer_as_may"),
    ("CHANGES_PAGE", "0 for 1,000", "a_page_of_the_change_track_is_as_long_as_it_may_be"),
    ("CHANGES_PAGE_MAX", "0 for 1,000, at most 10,000", "a_page_of_the_change_track_is_as_long_as_it_may_be"),
    ("TEXT_BYTES_MAX", "8,192 bytes", "what_stands_in_a_cell_is_as_much_as_it_may_be"),
    ("CELL_FEN_MAX", "9,999,999,999,999.99", "what_stands_in_a_cell_is_as_much_as_it_may_be"),
    ("FINDINGS_MAX", "1,000 that refuse", "what_stands_in_a_cell_is_as_much_as_it_may_be"),
    ("NODE_TEXT_CHARS_MAX", "at most 200 characters each", "a_tree_is_as_deep_as_it_may_be"),
    ("UNDER_WAY_BYTES_PER_ACTOR_MAX", "128 MiB of memory", "filings_that_come_in_take_no_more_memory_than_they_may"),
    ("UNDER_WAY_BYTES_MAX", "1 GiB for all", "filings_that_come_in_take_no_more_memory_than_they_may"),
    ("CODE_BYTES_MAX", "at most 24", "a_tree_is_as_deep_as_it_may_be"),
    ("DEPTH_MAX", "16 levels", "a_tree_is_as_deep_as_it_may_be"),
    ("REQUEST_KEY_BYTES_MAX", "1–64 bytes", "a_tree_is_as_deep_as_it_may_be"),
    ("FORMULA_BYTES_MAX", "4,000 bytes", "a_form_set_is_as_large_as_it_may_be"),
    ("FORMULA_DEPTH_MAX", "24 deep", "a_form_set_is_as_large_as_it_may_be"),
    ("RULES_MAX", "1,000 rules", "a_form_set_is_as_large_as_it_may_be"),
    ("PARTS_MAX", "2,000 rows", "a_form_set_is_as_large_as_it_may_be"),
    ("CONTROL_REASON_CHARS_MAX", "at most 2,000 characters", "what_is_said_is_as_long_as_it_may_be"),
    ("JUSTIFICATIONS_MAX", "At most 1,000", "what_is_said_is_as_long_as_it_may_be"),
    ("JUSTIFICATION_CHARS_MAX", "2,000 characters", "what_is_said_is_as_long_as_it_may_be"),
    ("REVIEW_CHARS_MAX", "At most 2,000 characters", "what_is_said_is_as_long_as_it_may_be"),
    ("RETURN_LINES_SHOWN", "the first 5", "a_board_says_what_is_to_be_done"),
    ("RETURN_CHARS_SHOWN", "the first 200 characters", "a_board_says_what_is_to_be_done"),
    ("REVIEW_LINES_MAX", "at most 1,000", "what_is_said_is_as_long_as_it_may_be"),
];

/// What else bounds something and is no promise to a client; each with the test that tries it, or why none does.
const INTERNAL: &[(&str, &str)] = &[
    ("KEEPALIVE", "how often hyper asks whether a client is there: its own business"),
    ("IDENTITIES_REMEMBERED_MAX", "who_has_something_open_is_not_forgotten_among_many"),
    ("LOOK_EVERY", "how soon files are read again, which files_that_change… waits for"),
    ("LOOKS_BEFORE_SHOWN_OUT", "a_certificate_that_falls_while_connected_is_refused_and_then_shown_out"),
    ("LINGER_MAX", "who_goes_on_talking_is_listened_to_for_a_moment"),
    ("LINGER_BYTES_MAX", "a second bound of the same, for who talks fast"),
    ("ACCEPT_PAUSE", "a pause, not a bound"),
    ("PIECES_WAITING_MAX", "memory of an export for a slow client: 4 MiB"),
    ("ANSWER_PART_BYTES", "an_answer_waits_for_its_client_no_longer_than_it_may"),
];

#[test]
fn each_limit_is_stated_and_tried() {
    let read = |path: &str| std::fs::read_to_string(project(path)).unwrap();
    let source = read("src/grpc/limits.rs");
    let known: Vec<&str> = source
        .lines()
        .filter_map(|line| match line.strip_prefix("pub use crate::") {
            Some(path) => path.trim_end_matches(';').rsplit("::").next(),
            None => line.strip_prefix("pub const ")?.split_once(':').map(|(name, _)| name),
        })
        .collect();
    let folder = |path: &str| {
        let files = std::fs::read_dir(project(path)).unwrap().map(|file| file.unwrap().path());
        files.filter(|path| path.is_file()).map(|path| std::fs::read_to_string(path).unwrap()).collect::<String>()
    };
    let proto: String = folder("proto/budget/consolidation/v1")
        .split_whitespace()
        .filter(|word| *word != "//")
        .collect::<Vec<_>>()
        .join(" ");
    let tests = folder("tests/it") + &folder("tests/it/limits") + &folder("tests/it/tls");
    let names: Vec<&str> = TRIED.iter().map(|(name, _, _)| *name).collect();
    for name in &known {
        assert!(names.contains(name), "{name} of src/grpc/limits.rs is tried by no test");
    }
    let inside = source.lines().filter_map(|line| line.strip_prefix("pub(crate) const ")?.split_once(':'));
    let inside: Vec<&str> = inside.map(|(name, _)| name).collect();
    assert_eq!(inside.iter().collect::<BTreeSet<_>>(), INTERNAL.iter().map(|(name, _)| name).collect(), "INTERNAL");
    // Each bound that a test can have otherwise is one of those limits, or `turns`.
    let fields = source.split_once("pub struct Bounds {").unwrap().1.split_once("\n}").unwrap().0;
    let fields = fields.lines().filter_map(|line| line.trim().strip_prefix("pub ")?.split_once(':'));
    let fields: Vec<&str> = fields.map(|(name, _)| name).filter(|name| *name != "turns").collect();
    let links = source.matches("    /// [`").count();
    assert_eq!(fields.len(), links, "{fields:?}");
    assert!(tests.contains("fn what_is_costly_waits_for_a_turn("));
    for (name, said, test) in TRIED {
        assert!(known.contains(name), "{name} is no limit");
        assert!(proto.contains(said), "{name}: no comment of proto/ says {said:?}");
        assert!(tests.contains(&format!("fn {test}(")), "{name}: there is no test {test}");
    }
    // What runs is what is stated.
    let bounds = Bounds::default();
    let seconds = [bounds.idle, bounds.stream, bounds.request].map(|time| time.as_secs());
    assert_eq!(seconds, [limits::STREAM_IDLE_SECONDS_MAX, limits::STREAM_SECONDS_MAX, limits::REQUEST_SECONDS_MAX]);
    assert_eq!((bounds.open, bounds.per_second), (limits::OPEN_PER_ACTOR_MAX, limits::PER_SECOND_PER_ACTOR_MAX));
    assert_eq!((bounds.answer_bytes, bounds.waiting_bytes), (limits::ANSWER_BYTES_MAX, limits::WAITING_BYTES_MAX));
    assert_eq!((bounds.handshake, bounds.connections), (limits::HANDSHAKE_MAX, limits::CONNECTIONS_MAX));
    assert_eq!(bounds.finding_cells, limits::FINDING_CELLS_MAX);
    let under_way = [bounds.under_way_per_actor, bounds.under_way];
    assert_eq!(under_way, [limits::UNDER_WAY_BYTES_PER_ACTOR_MAX, limits::UNDER_WAY_BYTES_MAX]);
    assert_eq!(bounds.answer.as_secs(), limits::ANSWER_SECONDS_MAX);
    // What the answer's bounds are cut from.
    assert_eq!([limits::FINDING_BYTES_MAX * 2, limits::PAGE_BYTES_MAX * 4], [limits::ANSWER_BYTES_MAX; 2]);
}

/// The reason of a refusal and everything that it says.
#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, stable: &str, said: &str) {
    let status = answer.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (code, stable), "{status:?}");
    let info = status.get_error_details().error_info().unwrap().clone();
    assert!(info.metadata.values().any(|fact| fact.contains(said)), "no {said} in {info:?}");
    if code == Code::ResourceExhausted && stable != "ANSWER_TOO_LARGE" {
        assert!(status.get_details_retry_info().and_then(|info| info.retry_delay).is_some(), "{status:?}");
    }
}

/// What has to come soon, however busy the machine is.
async fn in_time<T>(coming: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), coming).await.expect("an answer within 30 seconds")
}

const BAD: Code = Code::InvalidArgument;
const EXHAUSTED: Code = Code::ResourceExhausted;

/// Calls any unary RPC with bytes.
async fn call(client: &Client, method: &str, message: Vec<u8>) -> Result<(), Status> {
    let mut grpc = tonic::client::Grpc::new(client.connection());
    grpc.ready().await.unwrap();
    let path = PathAndQuery::try_from(format!("/budget.consolidation.v1.{method}")).unwrap();
    grpc.unary(Request::new(message), path, Raw).await.map(drop)
}

#[tokio::test]
async fn a_message_is_as_large_as_it_may_be() {
    let server = TestServer::fenyang().await;
    let client = server.client(BUREAU).await;
    let message = |bytes: usize| {
        let mut message = api::ListUnitsRequest { node: "407".into(), year: 2024, as_of: None }.encode_to_vec();
        // A field that nobody knows fills it up: readers pass it over.
        encode_key(99, WireType::LengthDelimited, &mut message);
        let rest = bytes - message.len() - 4;
        encode_varint(rest as u64, &mut message);
        message.resize(bytes, 0);
        message
    };
    call(&client, "RegistryService/ListUnits", message(limits::MESSAGE_BYTES_MAX)).await.unwrap();
    let beyond = call(&client, "RegistryService/ListUnits", message(limits::MESSAGE_BYTES_MAX + 1)).await;
    refused(beyond, BAD, "BAD_REQUEST", "4194304");
    server.stop().await;
}

#[tokio::test]
async fn an_answer_is_as_large_as_it_may_be() {
    let list = async |client: &Client| {
        let request = api::ListUnitsRequest { node: "407".into(), year: 2024, as_of: None };
        client.registry().list_units(request).await.map(|answer| answer.into_inner())
    };
    let server = TestServer::fenyang().await;
    let bytes = list(&server.client(BUREAU).await).await.unwrap().encoded_len();
    server.stop().await;
    for (answer_bytes, fits) in [(bytes, true), (bytes - 1, false)] {
        let server = TestServer::within(Bounds { answer_bytes, ..Bounds::default() }).await;
        server.furnish("fenyang-2024", "shanxi-2024", 2024).await;
        let client = server.client(BUREAU).await;
        let answer = list(&client).await;
        if fits {
            assert_eq!(answer.unwrap().encoded_len(), bytes);
        } else {
            refused(answer, EXHAUSTED, "ANSWER_TOO_LARGE", "67108864");
            assert!(server.consolidator.metrics(Free::default(), &[]).contains("limit=\"answer\"} 1"));
            // The connection goes on.
            client.registry().list_form_sets(api::ListFormSetsRequest {}).await.unwrap();
        }
        server.stop().await;
    }
}

/// A stream of a filing that is under way: what to send on, and its answer.
type Filing = (mpsc::Sender<api::SubmitRequest>, tokio::task::JoinHandle<Result<api::SubmitResponse, Status>>);

/// Begins to file for a unit of the example, and stops behind the header.
async fn begun(client: &Client) -> Filing {
    let (sender, receiver) = mpsc::channel(4);
    let mut submissions = client.submissions();
    let stream = ReceiverStream::new(receiver);
    let task = tokio::spawn(async move { submissions.submit(stream).await.map(|answer| answer.into_inner()) });
    sender.send(api::SubmitRequest { part: Some(Part::Header(header())) }).await.unwrap();
    (sender, task)
}

fn header() -> api::SubmissionHeader {
    let file = example("fenyang-2024/submissions/407004.json");
    let Part::Header(header) = parts(&file, &form("shanxi-2024"), &new_key()).remove(0) else { panic!("no header") };
    header
}

#[tokio::test]
async fn a_connection_has_as_many_streams_as_it_may() {
    // More than one identity may have open, so that only the connection's streams count.
    let server = TestServer::within(Bounds { open: 1_000, ..Bounds::default() }).await;
    let client = server.client(BUREAU).await;
    let watch = || async {
        let mut grpc = tonic::client::Grpc::new(client.connection());
        grpc.ready().await.unwrap();
        let path = PathAndQuery::from_static("/grpc.health.v1.Health/Watch");
        let mut stream = grpc.server_streaming(Request::new(Vec::new()), path, Raw).await.unwrap().into_inner();
        stream.message().await.unwrap();
        stream
    };
    let mut open = Vec::new();
    for _ in 0..limits::STREAMS_PER_CONNECTION_MAX {
        open.push(watch().await);
    }
    let waiting = tokio::time::timeout(Duration::from_millis(300), watch()).await;
    assert!(waiting.is_err(), "one more than a connection may have");
    open.pop();
    tokio::time::timeout(Duration::from_secs(5), watch()).await.expect("a place is free again");
    drop(open);
    server.stop().await;
}

/// Sends a header as changed and chunks, and no seal: what is refused is refused before, and else its absence is.
async fn filed(
    client: &Client,
    change: impl FnOnce(&mut api::SubmissionHeader),
    chunks: Vec<Vec<api::Row>>,
) -> Result<(), Status> {
    let mut header = header();
    change(&mut header);
    let chunks = chunks.into_iter().map(|rows| Part::Chunk(rows.into_iter().collect()));
    client.submit_parts(std::iter::once(Part::Header(header)).chain(chunks).collect()).await.map(drop)
}

#[tokio::test]
async fn a_filing_is_as_large_as_it_may_be() {
    let server = TestServer::fenyang().await;
    let client = server.client(&unit("407004")).await;
    let unsealed = |what: &str, answer: Result<(), Status>| {
        assert_eq!(reason(&answer.unwrap_err()), "STREAM_UNSEALED", "{what}");
    };
    let row = |key: &str, value: &str| api::Row { table: 0, key: key.to_owned(), values: vec![value.to_owned()] };
    let rows = |count: usize| vec![row("1", ""); count];
    let untouched = |_: &mut api::SubmissionHeader| ();

    unsealed("chunk", filed(&client, untouched, vec![rows(limits::CHUNK_ROWS_MAX)]).await);
    let beyond = filed(&client, untouched, vec![rows(limits::CHUNK_ROWS_MAX + 1)]).await;
    refused(beyond, BAD, "CHUNK_TOO_LARGE", "256");

    let most = usize::try_from(limits::ROWS_MAX).unwrap();
    let mut chunks = vec![rows(limits::CHUNK_ROWS_MAX); most / limits::CHUNK_ROWS_MAX];
    chunks.push(rows(most % limits::CHUNK_ROWS_MAX));
    unsealed("rows", filed(&client, untouched, chunks.clone()).await);
    chunks.push(rows(1));
    refused(filed(&client, untouched, chunks).await, BAD, "SUBMISSION_TOO_LARGE", "100000");

    // Long values, and the last one as long as is left.
    let bytes = |rows: &[api::Row]| {
        let part = Part::Chunk(rows.iter().cloned().collect());
        api::SubmitRequest { part: Some(part) }.encoded_len()
    };
    let head =
        |header: &api::SubmissionHeader| api::SubmitRequest { part: Some(Part::Header(header.clone())) }.encoded_len();
    let fixed = header();
    let long = vec![row("1", &"9".repeat(15_000)); 256];
    let many = (limits::SUBMISSION_BYTES_MAX - head(&fixed)) / bytes(&long);
    let left = limits::SUBMISSION_BYTES_MAX - head(&fixed) - many * bytes(&long);
    let overhead = bytes(&[row("1", &"9".repeat(left))]) - left;
    for (length, fits) in [(left - overhead, true), (left - overhead + 1, false)] {
        let last = vec![row("1", &"9".repeat(length))];
        let total = head(&fixed) + many * bytes(&long) + bytes(&last);
        assert_eq!(total <= limits::SUBMISSION_BYTES_MAX, fits, "{total}");
        let chunks = [vec![long.clone(); many], vec![last]].concat();
        let answer = filed(&client, |header| *header = fixed.clone(), chunks).await;
        if fits { unsealed("bytes", answer) } else { refused(answer, BAD, "SUBMISSION_TOO_LARGE", "33554432") }
    }

    let table = |id: String, columns: usize| TableHeader {
        id: id.into(),
        columns: vec!["c".into(); columns],
        ..Default::default()
    };
    let tables = |count: usize| (0..count).map(|at| table(format!("X{at}"), 0)).collect::<Vec<_>>();
    unsealed("tables", filed(&client, |h| h.tables = tables(limits::TABLES_MAX), Vec::new()).await);
    let beyond = filed(&client, |h| h.tables = tables(limits::TABLES_MAX + 1), Vec::new()).await;
    refused(beyond, BAD, "BAD_REQUEST", "1000");
    unsealed("columns", filed(&client, |h| h.tables = vec![table("X".into(), limits::COLUMNS_MAX)], Vec::new()).await);
    let beyond = filed(&client, |h| h.tables = vec![table("X".into(), limits::COLUMNS_MAX + 1)], Vec::new()).await;
    refused(beyond, BAD, "BAD_REQUEST", "10000");
    for (length, fits) in [(limits::KEY_BYTES_MAX, true), (limits::KEY_BYTES_MAX + 1, false)] {
        let by_id = filed(&client, |h| h.tables = vec![table("X".repeat(length), 0)], Vec::new()).await;
        let by_key = filed(&client, untouched, vec![vec![row(&"1".repeat(length), "")]]).await;
        for answer in [by_id, by_key] {
            if fits { unsealed("key", answer) } else { refused(answer, BAD, "BAD_REQUEST", "257") }
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn lists_are_as_long_as_they_may_be() {
    let server = TestServer::fenyang().await;
    let bureau = server.client(BUREAU).await;
    let issue = async |figures: usize| {
        let request = api::IssueControlFiguresRequest {
            idempotency_key: new_key(),
            year: 2024,
            round: api::Round::Second.into(),
            form_set: "shanxi-2024".into(),
            figures: vec![api::ControlFigure::default(); figures],
            ..Default::default()
        };
        bureau.control().issue_control_figures(request).await.map(drop)
    };
    // At the limit, it is the first of them that is wrong.
    refused(issue(limits::FIGURES_MAX).await, BAD, "BAD_REQUEST", "cell");
    refused(issue(limits::FIGURES_MAX + 1).await, BAD, "BAD_REQUEST", "figures");
    let import = async |nodes: usize| {
        let nodes = vec![api::UnitNode { role: "unit".into(), ..Default::default() }; nodes];
        let request = api::ImportUnitsRequest { idempotency_key: new_key(), year: 2024, nodes };
        bureau.registry().import_units(request).await.map(drop)
    };
    refused(import(limits::NODES_MAX).await, BAD, "UNIT_TREE_INVALID", "code");
    refused(import(limits::NODES_MAX + 1).await, BAD, "BAD_REQUEST", "50001");
    let check = async |bytes: usize| {
        let files = vec![api::FormFile { name: "forms.toml".into(), content: vec![b'#'; bytes] }];
        bureau.registry().check_form_set(api::CheckFormSetRequest { files }).await.map(drop)
    };
    check(limits::FORM_SET_BYTES_MAX).await.unwrap();
    refused(check(limits::FORM_SET_BYTES_MAX + 1).await, BAD, "BAD_REQUEST", "3145729");
    server.stop().await;
}

#[tokio::test]
async fn a_page_is_as_long_as_it_may_be() {
    let server = TestServer::within(Bounds { per_second: 1_000_000, ..Bounds::default() }).await;
    let administrator = server.client(ADMINISTRATOR).await;
    for year in 0..1_010 {
        administrator.import_units("fenyang-2024/units.csv", 1950 + year).await.unwrap();
    }
    let list = async |page_size: u32| {
        let request = api::ListEventsRequest { page_size, ..Default::default() };
        administrator.audit().list_events(request).await.unwrap().into_inner().events.len()
    };
    for (asked, given) in [(0, 100), (1, 1), (1_000, 1_000), (1_001, 1_000), (u32::MAX, 1_000)] {
        assert_eq!(list(asked).await, given, "{asked}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_page_of_very_long_events_ends_early() {
    // Of an answer a hundredth as large: nobody files for an hour to fill a page.
    let answer_bytes = limits::ANSWER_BYTES_MAX / 100;
    let server = TestServer::within(Bounds { answer_bytes, ..Bounds::default() }).await;
    server.furnish("fenyang-2024", "shanxi-2024", 2024).await;
    let client = server.client(&unit("407004")).await;
    let form = form("shanxi-2024");
    let mut file = example("fenyang-2024/submissions/407004.json");
    // Many findings, each with what was found.
    let wrong = format!("{}，", "万".repeat(120));
    let table = file.tables.iter().position(|table| table.header.id == "T03").unwrap();
    file.tables[table].rows = (0..50).map(|row| (format!("2{row:06}"), vec![wrong.clone(); 3])).collect();
    let filings = 12;
    for _ in 0..filings {
        assert_eq!(client.submit(&file, &form).await.unwrap().version, 0);
    }
    let bureau = server.client(BUREAU).await;
    let (mut listed, mut from) = (0, 1);
    let mut pages = Vec::new();
    loop {
        let request = api::ListEventsRequest { from_position: from, page_size: 1_000, ..Default::default() };
        let mut audit = bureau.audit().max_decoding_message_size(limits::ANSWER_BYTES_MAX);
        let page = audit.list_events(request).await.unwrap().into_inner();
        let Some(last) = page.events.last() else { break };
        from = last.position + 1;
        listed += page.events.len();
        pages.push(page.encoded_len());
    }
    assert!(pages.len() >= 2 && pages.iter().all(|bytes| *bytes < answer_bytes), "{pages:?}");
    assert_eq!(listed as u64, server.consolidator.snapshot().state.position);
    let (mut listed, mut page_token) = (0, String::new());
    loop {
        let request = api::GetHistoryRequest { unit: "407004".into(), page_size: 1_000, page_token };
        let mut audit = bureau.audit().max_decoding_message_size(limits::ANSWER_BYTES_MAX);
        let page = audit.get_history(request).await.unwrap().into_inner();
        listed += page.events.iter().filter(|event| event.actor.ends_with("/unit")).count();
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(listed, filings);
    server.stop().await;
}

/// Pages that are made of filings.
#[tokio::test]
async fn a_page_of_long_filings_ends_early() {
    let journal = Arc::new(MemoryJournal::new());
    let server = TestServer::on(journal.clone()).await;
    crate::replay::file_the_example(&server).await;
    let found = async |client: &Client, page_token: String| {
        let request =
            api::ListFindingsRequest { node: "407".into(), page_size: 1_000, page_token, ..Default::default() };
        client.audit().list_findings(request).await.unwrap().into_inner()
    };
    let rows = async |client: &Client, page_token: String| {
        let (scope, table) = (Some(scope("407")), "T03".into());
        let request = api::ListRowsRequest { scope, table, page_size: 1_000, page_token, reviewed: false };
        client.consolidation().list_rows(request).await.unwrap().into_inner()
    };
    let bureau = server.client(BUREAU).await;
    let all = (found(&bureau, String::new()).await, rows(&bureau, String::new()).await);
    assert!(all.0.next_page_token.is_empty() && all.1.next_page_token.is_empty());
    server.stop().await;
    // As large as the page that had all of them: a quarter of it is where a page ends.
    for (answer_bytes, of_findings) in [(all.0.encoded_len(), true), (all.1.encoded_len(), false)] {
        let server = TestServer::on_within(journal.clone(), Bounds { answer_bytes, ..Bounds::default() }).await;
        let bureau = server.client(BUREAU).await;
        let (mut pages, mut listed, mut token) = (0, 0, String::new());
        loop {
            let (items, next) = if of_findings {
                let page = found(&bureau, token).await;
                (page.submissions.len(), page.next_page_token)
            } else {
                let page = rows(&bureau, token).await;
                (page.table.unwrap().rows.len(), page.next_page_token)
            };
            (pages, listed, token) = (pages + 1, listed + items, next);
            if token.is_empty() {
                break;
            }
        }
        assert!(pages > 1, "one page has them all");
        let whole = if of_findings { all.0.submissions.len() } else { all.1.table.as_ref().unwrap().rows.len() };
        assert_eq!(listed, whole);
        server.stop().await;
    }
}

/// The pages of a list are of the moment that the first one showed, whatever is filed in the meantime.
#[tokio::test]
async fn the_pages_of_a_list_are_of_one_moment() {
    let server = TestServer::on(Arc::new(MemoryJournal::new())).await;
    crate::replay::file_the_example(&server).await;
    let bureau = server.client(BUREAU).await;
    let page = async |page_size, page_token: &str| {
        let (scope, table, page_token) = (Some(scope("407")), "T03".into(), page_token.to_owned());
        let request = api::ListRowsRequest { scope, table, page_size, page_token, reviewed: false };
        bureau.consolidation().list_rows(request).await.map(|answer| answer.into_inner())
    };
    let rows = |page: &api::ListRowsResponse| page.table.clone().unwrap().rows;
    let whole = page(1_000, "").await.unwrap();
    let (mut listed, mut token, mut filed) = (Vec::new(), String::new(), 0);
    loop {
        let answer = page(1, &token).await.unwrap();
        assert_eq!(answer.position, whole.position);
        listed.extend(rows(&answer));
        token = answer.next_page_token;
        if token.is_empty() {
            break;
        }
        if filed == 0 {
            // A unit that is still to come files something else.
            let mut file = example("fenyang-2024/submissions/407004.json");
            file.tables.retain(|table| table.header.id != "T03");
            file.tables.extend(
                example("fenyang-2024/submissions/407005.json").tables.into_iter().filter(|t| t.header.id == "T03"),
            );
            let answer = server.client(&unit("407004")).await.submit(&file, &form("shanxi-2024")).await.unwrap();
            filed = answer.position;
        }
    }
    assert!(filed > whole.position && listed == rows(&whole));
    let of_nobody = format!("{}.508", whole.position);
    for made_up in ["407", "0.407", "x.407", &of_nobody] {
        refused(page(1, made_up).await, BAD, "BAD_REQUEST", "page_token");
    }
    server.stop().await;
}

/// What stands below a node, side by side, is no more than an answer may be, and is not made beyond that.
#[tokio::test]
async fn children_side_by_side_end_where_an_answer_does() {
    let journal = Arc::new(MemoryJournal::new());
    let server = TestServer::on(journal.clone()).await;
    crate::replay::file_the_example(&server).await;
    let whole = server.client(BUREAU).await.view("407", &[], true).await.unwrap();
    let of_children: usize = whole.children.iter().map(Message::encoded_len).sum();
    server.stop().await;
    let server = TestServer::on_within(journal, Bounds { answer_bytes: of_children / 2, ..Bounds::default() }).await;
    let bureau = server.client(BUREAU).await;
    refused(bureau.view("407", &[], true).await, EXHAUSTED, "ANSWER_TOO_LARGE", &(of_children / 2).to_string());
    bureau.view("407", &["T03"], true).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn findings_are_as_many_as_an_answer_holds() {
    // What failed stands among what passed by rounding.
    let (file, form) = (example("fenyang-2024/submissions/407002.json"), form("shanxi-2024"));
    // Whatever is asked: an answer to a filing, and to a dry run.
    let told = async |bounds: Bounds| {
        let server = TestServer::within(bounds).await;
        server.furnish("fenyang-2024", "shanxi-2024", 2024).await;
        let client = server.client(&unit("407002")).await;
        let filed = client.submit(&file, &form).await.unwrap().verdict.unwrap();
        let dry = client.dry_run(&file, &form).await.unwrap().verdict.unwrap();
        server.stop().await;
        assert_eq!(filed.rule_findings, dry.rule_findings);
        assert_eq!(filed.rule_findings_left_out, dry.rule_findings_left_out);
        filed
    };
    let all = told(Bounds::default()).await;
    let failed = |verdict: &api::Verdict| {
        let found = found(&verdict.rule_findings);
        let failed = found.iter().filter(|found| found.verdict == i32::from(api::RuleVerdict::Fail));
        failed.map(|found| found.fingerprint.clone()).collect::<Vec<_>>()
    };
    assert!(!failed(&all).is_empty() && failed(&all).len() < all.rule_findings.len());
    assert_eq!(all.rule_findings_left_out, 0);
    let every = found(&all.rule_findings);
    let finding_cells: usize = every.iter().map(|found| 1 + found.cells.len()).sum();
    let bytes: usize = every.iter().map(Message::encoded_len).sum();
    let within = |finding_cells: usize, bytes: usize| {
        let bounds = Bounds::default();
        told(Bounds { finding_cells, answer_bytes: 2 * bytes, ..bounds })
    };
    let enough = limits::FINDING_BYTES_MAX;
    let that_failed = every.iter().filter(|found| found.verdict == i32::from(api::RuleVerdict::Fail));
    let for_those: usize = that_failed.map(|found| 1 + found.cells.len()).sum();
    for (cells, bytes, fits) in [
        (finding_cells, enough, true),
        (finding_cells - 1, enough, false),
        (for_those, enough, false),
        (finding_cells, bytes, true),
        (finding_cells, bytes - 1, false),
    ] {
        let verdict = within(cells, bytes).await;
        assert_eq!(verdict.rule_findings_left_out == 0, fits, "{cells} {bytes}");
        let count = verdict.rule_findings.len() + verdict.rule_findings_left_out as usize;
        assert_eq!(count, all.rule_findings.len(), "those left out are counted");
        assert_eq!(failed(&verdict), failed(&all), "what failed comes first");
    }
}

/// A page ends with the event that fills it.
#[tokio::test]
async fn a_page_of_the_change_track_is_as_long_as_it_may_be() {
    let server = TestServer::start().await;
    server.client(ADMINISTRATOR).await.import_units("fenyang-2024/units.csv", 2024).await.unwrap();
    let bureau = server.client(BUREAU).await;
    let codes = std::fs::read_to_string(project("forms/shanxi-2024/function.csv")).unwrap();
    let codes = codes.lines().skip(1).filter_map(|line| line.split(',').next());
    let cells = codes.flat_map(|code| ["total", "basic", "project"].map(|column| format!("T03/{code}/{column}")));
    let cells: Vec<String> = cells.collect();
    let cells = ["407001", "407002", "407003", "407004", "407005"]
        .iter()
        .flat_map(|unit| cells.iter().map(move |cell| (*unit, cell)));
    let cells: Vec<_> = cells.take(limits::CHANGES_PAGE).collect();
    assert_eq!(cells.len(), limits::CHANGES_PAGE, "the catalogue has too few codes");
    let issue = async |cells: &[(&str, &String)], ceiling: usize| {
        let figure = |(unit, cell): &(&str, &String)| api::ControlFigure {
            unit: (*unit).to_owned(),
            cell: (*cell).clone(),
            amount_unit: "万元".into(),
            ceiling: ceiling.to_string(),
            strength: "hard".into(),
        };
        let request = api::IssueControlFiguresRequest {
            idempotency_key: new_key(),
            year: 2024,
            round: api::Round::First.into(),
            form_set: "shanxi-2024".into(),
            figures: cells.iter().map(figure).collect(),
            reason: "又一次".into(),
            ..Default::default()
        };
        bureau.control().issue_control_figures(request).await.unwrap();
    };
    let most = limits::CHANGES_PAGE_MAX / limits::CHANGES_PAGE;
    for ceiling in 1..=most {
        issue(&cells, ceiling).await;
    }
    issue(&cells[..1], most + 1).await;
    let page = async |page_size: u32, page_token: &str| {
        let (round, page_token) = (api::Round::First.into(), page_token.to_owned());
        let request = api::ListControlChangesRequest { round, page_size, page_token, ..Default::default() };
        let mut control = bureau.control().max_decoding_message_size(limits::ANSWER_BYTES_MAX);
        let page = control.list_control_changes(request).await.unwrap().into_inner();
        (page.revisions.iter().map(|revision| revision.changes.len()).sum::<usize>(), page.next_page_token)
    };
    for (asked, given) in
        [(0, 1_000), (1_000, 1_000), (1_001, 2_000), (10_000, 10_000), (10_001, 10_000), (u32::MAX, 10_000)]
    {
        let (listed, next) = page(asked, "").await;
        assert!(listed == given && !next.is_empty(), "{asked}: {listed}");
        if given == limits::CHANGES_PAGE_MAX {
            assert_eq!(page(asked, &next).await, (1, String::new()), "{asked}: what is left");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn an_identity_has_as_many_requests_open_as_it_may() {
    let server = TestServer::fenyang().await;
    let client = server.client(&unit("407004")).await;
    let read = async |client: &Client| client.registry().list_form_sets(api::ListFormSetsRequest {}).await.map(drop);
    let mut open = Vec::new();
    for _ in 0..limits::OPEN_PER_ACTOR_MAX {
        open.push(begun(&client).await);
    }
    // All of them are in once one more is refused; with one less, that one more fits.
    until("one more is refused", async || read(&client).await.is_err()).await;
    refused(read(&client).await, EXHAUSTED, "TOO_MANY_REQUESTS", "64");
    open.pop();
    until("one less makes room", async || read(&client).await.is_ok()).await;
    open.push(begun(&client).await);
    until("and is taken again", async || read(&client).await.is_err()).await;
    // By whatever connection it comes, it is the same identity; and another one doesn't notice.
    refused(read(&server.client(&unit("407004")).await).await, EXHAUSTED, "TOO_MANY_REQUESTS", "open");
    read(&server.client(&unit("407003")).await).await.unwrap();
    assert!(server.consolidator.metrics(Free::default(), &[]).contains("limit=\"requests_open\"}"));
    drop(open);
    server.stop().await;
}

/// What is refused is counted too: else whoever may do nothing could ask as often as they like.
#[tokio::test]
async fn what_is_refused_is_counted_too() {
    let server = TestServer::within(Bounds { per_second: 3, ..Bounds::default() }).await;
    let auditor = server.client(AUDITOR).await;
    let open_round = async || {
        let request = api::OpenRoundRequest { idempotency_key: new_key(), year: 2024, ..Default::default() };
        let mut review = api::review_service_client::ReviewServiceClient::new(auditor.connection());
        reason(&review.open_round(request).await.unwrap_err())
    };
    let mut said = Vec::new();
    for _ in 0..60 {
        said.push(open_round().await);
    }
    assert_eq!(said[0], "NOT_PERMITTED");
    assert!(said.contains(&"TOO_MANY_REQUESTS".to_owned()), "{said:?}");
    server.stop().await;
}

/// Rules, packing and the reading of rows take a turn among the same identity's own; with none to give, they wait.
#[tokio::test]
async fn what_is_costly_waits_for_a_turn() {
    let server = TestServer::within(Bounds { turns: 0, request: Duration::from_secs(1), ..Bounds::default() }).await;
    server.furnish("fenyang-2024", "shanxi-2024", 2024).await;
    let client = server.client(&unit("407004")).await;
    let (file, form) = (example("fenyang-2024/submissions/407004.json"), form("shanxi-2024"));
    // A row that can't be read would be refused as it comes in; one without tables has none, and waits to be judged.
    let header = |with_tables: bool| {
        let Part::Header(mut header) = parts(&file, &form, &new_key()).swap_remove(0) else { panic!("no header") };
        header.tables.retain(|_| with_tables);
        Part::Header(header)
    };
    let wrong = api::Row { table: 9_999, key: "1".into(), values: vec![] };
    let seal = api::Seal { control_total: "0.00".into(), ..Default::default() };
    for (with_tables, rest) in [(true, Part::Chunk([wrong].into_iter().collect())), (false, Part::Seal(seal))] {
        let filed = client.submit_parts(vec![header(with_tables), rest]);
        let filed = tokio::time::timeout(Duration::from_millis(500), filed).await;
        assert!(filed.is_err(), "without a turn: {filed:?}");
    }
    let view = server.client(DEPARTMENT).await.view("407", &[], true).await;
    refused(view, EXHAUSTED, "REQUEST_TOO_SLOW", "1");
    // What costs little needs none.
    client.registry().list_form_sets(api::ListFormSetsRequest {}).await.unwrap();
    server.stop().await;
}

/// Of one identity, and of all together, beyond which whoever holds the most is refused.
#[tokio::test]
async fn filings_that_come_in_take_no_more_memory_than_they_may() {
    // What a row takes, about.
    let form = form("shanxi-2024");
    let columns = form.table("PF").unwrap().1.columns.len();
    let row = size_of::<RowKey>() + columns * size_of::<Cell>() * 3 / 2 + 16;
    let bounds = Bounds { under_way_per_actor: 500 * row, under_way: 700 * row, ..Bounds::default() };
    let server = TestServer::within(bounds).await;
    server.furnish("fenyang-2024", "shanxi-2024", 2024).await;
    let begun = async |code: &str| {
        let client = server.client(&unit(code)).await;
        let file = example(&format!("fenyang-2024/submissions/{code}.json"));
        let mut parts = parts(&file, &form, &new_key());
        let Part::Header(mut header) = parts.swap_remove(0) else { panic!("no header") };
        header.tables = vec![TableHeader { id: "PF".into(), ..Default::default() }];
        let (sender, receiver) = mpsc::channel(1);
        let mut submissions = client.submissions();
        let stream = ReceiverStream::new(receiver);
        let task = tokio::spawn(async move { submissions.submit(stream).await.map(drop) });
        sender.send(api::SubmitRequest { part: Some(Part::Header(header)) }).await.unwrap();
        (sender, task)
    };
    let rows = |count: usize| {
        let row = |at: usize| api::Row { table: 0, key: format!("2024-{at:03}"), values: vec![] };
        api::SubmitRequest { part: Some(Part::Chunk((0..count).map(row).collect())) }
    };
    // One identity, by several streams.
    let (first, second) = (begun("407004").await, begun("407004").await);
    first.0.send(rows(250)).await.unwrap();
    second.0.send(rows(250)).await.unwrap();
    for (sender, _) in [&first, &second] {
        let _ = sender.send(rows(250)).await;
    }
    let mut answers = Vec::new();
    for (sender, task) in [first, second] {
        drop(sender);
        answers.push(reason(&task.await.unwrap().unwrap_err()));
    }
    answers.sort();
    assert!(answers.contains(&"TOO_MANY_REQUESTS".to_owned()), "{answers:?}");
    // All together: whoever holds less is not refused.
    let (large, small) = (begun("407004").await, begun("407003").await);
    large.0.send(rows(256)).await.unwrap();
    large.0.send(rows(150)).await.unwrap();
    small.0.send(rows(256)).await.unwrap();
    small.0.send(rows(20)).await.unwrap();
    // Beyond what all may, and still less than the other.
    small.0.send(rows(40)).await.unwrap();
    // All of it is taken in by then, however busy the machine is.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!small.1.is_finished(), "{:?}", small.1.await);
    large.0.send(rows(30)).await.unwrap();
    assert_eq!(reason(&large.1.await.unwrap().unwrap_err()), "BUSY");
    drop(small.0);
    assert_eq!(reason(&small.1.await.unwrap().unwrap_err()), "STREAM_UNSEALED");
    server.stop().await;
}

/// Who needn't say who they are, and don't, share what one identity has; who says so has their own.
#[tokio::test]
async fn health_and_reflection_are_counted_too() {
    let server = TestServer::within(Bounds { open: 3, request: Duration::from_secs(2), ..Bounds::default() }).await;
    let open = async |actor: &str, path: &'static str, request: Option<Vec<u8>>| {
        let mut grpc = tonic::client::Grpc::new(server.client(actor).await.connection());
        grpc.ready().await.unwrap();
        let (sender, receiver) = mpsc::channel(1);
        let ends = request.as_ref().is_some_and(Vec::is_empty);
        if let Some(request) = request {
            sender.send(request).await.unwrap();
        }
        // Who asks of services may have more to ask.
        match ends {
            true => drop(sender),
            false => drop(tokio::spawn(async move { sender.closed().await })),
        }
        let stream = ReceiverStream::new(receiver);
        grpc.streaming(Request::new(stream), PathAndQuery::from_static(path), Raw).await.map(Response::into_inner)
    };
    let health = "/grpc.health.v1.Health/Watch";
    let reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    for actor in ["", BUREAU] {
        let mut streams = Vec::new();
        for (path, request) in
            [(reflection, Some(vec![0x3a, 0])), (reflection, Some(vec![0x3a, 0])), (health, Some(vec![]))]
        {
            streams.push(open(actor, path, request).await.unwrap());
        }
        for (path, request) in [(health, Some(vec![])), (reflection, Some(vec![0x3a, 0]))] {
            refused(open(actor, path, request).await, EXHAUSTED, "TOO_MANY_REQUESTS", "open");
        }
        // Whoever has a name doesn't notice those who have none, and the other way round.
        let other = if actor.is_empty() { BUREAU } else { "" };
        drop(open(other, health, Some(vec![])).await.unwrap());
        streams.pop();
        until("one that has ended makes room", async || open(actor, health, Some(vec![])).await.is_ok()).await;
    }
    // And they take no longer than anything else until they answer.
    refused(open(AUDITOR, health, None).await, EXHAUSTED, "REQUEST_TOO_SLOW", "2");
    server.stop().await;
}

/// Whoever takes nothing of an answer keeps it, and their place, no longer than they may; who waits for news may wait.
#[tokio::test]
async fn an_answer_waits_for_its_client_no_longer_than_it_may() {
    let within = Duration::from_millis(2_500);
    let server = TestServer::within(Bounds { open: 1, answer: within, ..Bounds::default() }).await;
    server.furnish("fenyang-2024", "shanxi-2024", 2024).await;
    let narrow = Endpoint::from_shared(server.address.clone()).unwrap();
    let narrow = narrow.initial_stream_window_size(65_535).initial_connection_window_size(65_535);
    let deaf = Client::on(narrow.connect().await.unwrap(), &unit("407004"));
    let mut grpc = tonic::client::Grpc::new(deaf.connection());
    grpc.ready().await.unwrap();
    let request = api::GetFormSetRequest { id: "shanxi-2024".into(), ..Default::default() }.encode_to_vec();
    let path = PathAndQuery::from_static("/budget.consolidation.v1.RegistryService/GetFormSet");
    let start = Instant::now();
    let mut untaken = grpc.server_streaming(Request::new(request), path, Raw).await.unwrap().into_inner();
    let listening = server.client(&unit("407004")).await;
    let list = async || listening.registry().list_form_sets(api::ListFormSetsRequest {}).await.map(drop);
    refused(list().await, EXHAUSTED, "TOO_MANY_REQUESTS", "open");
    until("the place is free again", async || list().await.is_ok()).await;
    assert!(start.elapsed() >= within, "{:?}", start.elapsed());
    assert!(untaken.message().await.is_err(), "its connection is gone, and the rest of the answer");

    let watching = server.client(DEPARTMENT).await;
    let request = api::WatchRequest { scope: Some(scope("407")), heartbeat_seconds: 60, ..Default::default() };
    let mut news = watching.consolidation().watch(request).await.unwrap().into_inner();
    news.message().await.unwrap();
    tokio::time::sleep(within + within / 2).await;
    let file = example("fenyang-2024/submissions/407004.json");
    listening.submit(&file, &form("shanxi-2024")).await.unwrap();
    news.message().await.unwrap().expect("news");
    drop(news);
    server.stop().await;
}

/// A stream counts until its end, not until it begins to answer.
#[tokio::test]
async fn an_answer_that_goes_on_is_an_open_request() {
    let server = TestServer::within(Bounds { open: 2, ..Bounds::default() }).await;
    server.furnish("fenyang-2024", "shanxi-2024", 2024).await;
    let client = server.client(DEPARTMENT).await;
    let watch = async || {
        let request = api::WatchRequest { scope: Some(scope("407")), ..Default::default() };
        let mut stream = client.consolidation().watch(request).await?.into_inner();
        stream.message().await?;
        Ok::<_, Status>(stream)
    };
    let mut open = vec![watch().await.unwrap(), watch().await.unwrap()];
    let read = async || client.registry().list_form_sets(api::ListFormSetsRequest {}).await.map(drop);
    refused(read().await, EXHAUSTED, "TOO_MANY_REQUESTS", "open");
    open.pop();
    until("one that has ended makes room", async || read().await.is_ok()).await;
    drop(open);
    server.stop().await;
}

#[tokio::test]
async fn an_identity_asks_as_often_as_it_may() {
    // The count at the edge is tried beside the code, with a clock that stands still; here, that it counts at all.
    let server = TestServer::within(Bounds { per_second: 1, ..Bounds::default() }).await;
    let list = async |actor: &str| {
        let client = server.client(actor).await;
        client.registry().list_form_sets(api::ListFormSetsRequest {}).await.map(drop)
    };
    // The second of two that come within less than a second; on a slow machine it may take some tries.
    let mut tries = 0..10;
    let second = loop {
        assert!(tries.next().is_some(), "no two requests within a second");
        let begin = Instant::now();
        list(BUREAU).await.unwrap();
        let second = list(BUREAU).await;
        if begin.elapsed() < Duration::from_millis(900) {
            break second;
        }
        tokio::time::sleep(Duration::from_millis(2_100)).await;
    };
    refused(second, EXHAUSTED, "TOO_MANY_REQUESTS", "per_second");
    list(AUDITOR).await.unwrap();
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    list(BUREAU).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn a_filing_rests_no_longer_than_it_may() {
    let server = TestServer::within(Bounds { idle: Duration::from_millis(2_000), ..Bounds::default() }).await;
    server.furnish("fenyang-2024", "shanxi-2024", 2024).await;
    let client = server.client(&unit("407004")).await;
    // One that goes on slowly is waited for, longer in all than it may rest.
    let (sender, task) = begun(&client).await;
    let mut rest =
        parts(&example("fenyang-2024/submissions/407004.json"), &form("shanxi-2024"), "slow").into_iter().skip(1);
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        sender.send(api::SubmitRequest { part: Some(Part::Chunk(std::iter::empty().collect())) }).await.unwrap();
    }
    for part in &mut rest {
        sender.send(api::SubmitRequest { part: Some(part) }).await.unwrap();
    }
    drop(sender);
    assert_eq!(task.await.unwrap().unwrap().version, 1);
    let (_sender, task) = begun(&client).await;
    refused(in_time(task).await.unwrap(), EXHAUSTED, "REQUEST_TOO_SLOW", "idle");
    assert!(server.consolidator.metrics(Free::default(), &[]).contains("limit=\"time\"} 1"));
    server.stop().await;
}

#[tokio::test]
async fn a_filing_takes_no_longer_than_it_may() {
    let (stream, request) = (Duration::from_secs(2), Duration::from_secs(1));
    let server = TestServer::within(Bounds { stream, request, ..Bounds::default() }).await;
    server.furnish("fenyang-2024", "shanxi-2024", 2024).await;
    let client = server.client(&unit("407004")).await;
    let (sender, task) = begun(&client).await;
    let dripping = tokio::spawn(async move {
        while sender.send(api::SubmitRequest { part: Some(Part::Chunk(std::iter::empty().collect())) }).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    refused(in_time(task).await.unwrap(), EXHAUSTED, "REQUEST_TOO_SLOW", "total");
    dripping.abort();
    // An adjustment is a filing too: it has as long, and here its header never comes.
    let (_sender, receiver) = mpsc::channel(1);
    let answer = in_time(client.submissions().adjust(ReceiverStream::new(receiver))).await;
    let info = answer.as_ref().unwrap_err().get_error_details().error_info().unwrap().clone();
    assert_eq!(info.metadata["seconds"], "2");
    refused(answer, EXHAUSTED, "REQUEST_TOO_SLOW", "total");
    // And nothing is kept of it.
    assert_eq!(server.client(BUREAU).await.status_board("407").await.submitted, 0);
    server.stop().await;
}

#[tokio::test]
async fn a_request_takes_no_longer_than_it_may() {
    let server = TestServer::within(Bounds { request: Duration::from_millis(1_500), ..Bounds::default() }).await;
    let client = server.client(BUREAU).await;
    // The headers of a request, and its message never comes.
    let (_sender, receiver) = mpsc::channel::<Vec<u8>>(1);
    let mut grpc = tonic::client::Grpc::new(client.connection());
    grpc.ready().await.unwrap();
    let path = PathAndQuery::from_static("/budget.consolidation.v1.RegistryService/ListFormSets");
    let answer = in_time(grpc.client_streaming(Request::new(ReceiverStream::new(receiver)), path, Raw)).await;
    refused(answer.map(drop), EXHAUSTED, "REQUEST_TOO_SLOW", "total");
    client.registry().list_form_sets(api::ListFormSetsRequest {}).await.unwrap();
    server.stop().await;
}
