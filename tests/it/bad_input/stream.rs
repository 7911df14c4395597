//! How a filing is sent. None of these leaves a trace.

use std::time::Duration;

use budget_consolidator::proto::{RowChunk, TableHeader, api};
use prost::Message;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request, Status};

use super::{Scene, assert_refused};
use crate::support::*;
use api::submit_request::Part;

const BAD: Code = Code::InvalidArgument;

fn chunk(rows: usize, value: &str) -> Part {
    let row = api::Row { table: 0, key: "合计".into(), values: vec![value.to_owned()] };
    Part::Chunk(vec![row; rows].into_iter().collect())
}

fn header_of(parts: &mut [Part]) -> &mut api::SubmissionHeader {
    let Part::Header(header) = &mut parts[0] else { panic!("no header in front") };
    header
}

fn seal_of(parts: &mut [Part]) -> &mut api::Seal {
    let Some(Part::Seal(seal)) = parts.last_mut() else { panic!("no seal at the end") };
    seal
}

/// One way to spoil the messages of a filing that is good otherwise, and what is answered.
type Case = (&'static str, fn(&mut Vec<Part>), &'static str, &'static [&'static str]);

async fn each_is_refused_without_a_trace(cases: &[Case]) {
    let scene = Scene::fenyang().await;
    for (what, spoil, reason, said) in cases {
        let mut parts = scene.parts();
        spoil(&mut parts);
        let client = scene.client().await;
        let answer = scene.nothing_changes(what, client.submit_parts(parts)).await;
        assert_refused(what, answer, BAD, reason, said);
    }
    scene.stop().await;
}

#[tokio::test]
async fn messages_out_of_order_are_refused_as_what_they_are() {
    each_is_refused_without_a_trace(&[
        ("rows before the header", |p| p.swap(0, 1), "STREAM_ORDER", &["chunk", "header"]),
        ("seal first", |p| p.rotate_right(1), "STREAM_ORDER", &["seal", "header"]),
        ("two headers", |p| p.insert(1, p[0].clone()), "STREAM_ORDER", &["header", "chunk, seal"]),
        ("header after rows", |p| p.insert(2, p[0].clone()), "STREAM_ORDER", &["header", "chunk, seal"]),
        ("rows after the seal", |p| p.push(p[1].clone()), "STREAM_ORDER", &["message", "end"]),
        ("two seals", |p| p.extend(p.last().cloned()), "STREAM_ORDER", &["message", "end"]),
        ("header after the seal", |p| p.push(p[0].clone()), "STREAM_ORDER", &["message", "end"]),
        ("nothing", Vec::clear, "STREAM_UNSEALED", &["0"]),
        ("header alone", |p| p.truncate(1), "STREAM_UNSEALED", &["0"]),
        ("no seal", |p| drop(p.pop()), "STREAM_UNSEALED", &["178"]),
    ])
    .await;
}

#[tokio::test]
async fn a_seal_that_differs_is_refused_with_both_figures() {
    each_is_refused_without_a_trace(&[
        ("one row more", |p| seal_of(p).row_count += 1, "SEAL_COUNT_DIFFERS", &["179", "178"]),
        ("one row less", |p| seal_of(p).row_count -= 1, "SEAL_COUNT_DIFFERS", &["177", "178"]),
        ("a chunk lost", |p| drop(p.remove(1)), "SEAL_COUNT_DIFFERS", &["178", "0"]),
        ("another total", |p| seal_of(p).control_total = "1.23".into(), "SEAL_TOTAL_DIFFERS", &["1.23", "arrived"]),
        ("no total", |p| seal_of(p).control_total.clear(), "SEAL_TOTAL_DIFFERS", &[]),
        (
            "a total with separators",
            |p| seal_of(p).control_total = "1,234.50".into(),
            "SEAL_TOTAL_DIFFERS",
            &["1,234.50"],
        ),
        ("a total with a leading zero", |p| seal_of(p).control_total.insert(0, '0'), "SEAL_TOTAL_DIFFERS", &[]),
        ("another digest", |p| seal_of(p).digest = vec![0; 32], "SEAL_DIGEST_DIFFERS", &["000000000000"]),
        ("no digest", |p| seal_of(p).digest.clear(), "SEAL_DIGEST_DIFFERS", &[]),
        ("a digest too short", |p| seal_of(p).digest.truncate(31), "BAD_REQUEST", &["digest", "31"]),
    ])
    .await;
}

#[tokio::test]
async fn a_changed_cell_that_leaves_count_and_total_is_found_by_the_digest() {
    each_is_refused_without_a_trace(&[(
        "two cells change places",
        |p| {
            let Part::Chunk(chunk) = &mut p[1] else { panic!("no chunk") };
            let mut rows: Vec<api::Row> = Vec::new();
            let row = |table, key: &str, values: &[&str]| {
                let values = values.iter().map(|value| (*value).to_owned()).collect();
                rows.push(api::Row { table, key: key.to_owned(), values });
                Ok::<_, prost::DecodeError>(())
            };
            chunk.read(row).unwrap();
            let at = |key: &str| rows.iter().position(|row| row.table == 2 && row.key == key).unwrap();
            let (a, b) = (at("2080505"), at("2080506"));
            let total = rows[a].values[0].clone();
            rows[a].values[0] = std::mem::replace(&mut rows[b].values[0], total);
            *chunk = rows.into_iter().collect();
        },
        "SEAL_DIGEST_DIFFERS",
        &["sealed", "arrived"],
    )])
    .await;
}

#[tokio::test]
async fn what_is_too_large_is_refused_with_its_limit() {
    each_is_refused_without_a_trace(&[
        ("257 rows in a chunk", |p| p.insert(1, chunk(257, "1.00")), "CHUNK_TOO_LARGE", &["257", "256"]),
        ("a message of 5 MB", |p| p.insert(1, chunk(256, &"9".repeat(20_000))), "CHUNK_TOO_LARGE", &["4194304"]),
        (
            "too many rows",
            |p| {
                header_of(p).tables[0].id = "T99".into();
                p.splice(1..1, vec![chunk(256, ""); 391]);
            },
            "SUBMISSION_TOO_LARGE",
            &["100096", "100000"],
        ),
        (
            "too many bytes",
            |p| {
                header_of(p).tables[0].id = "T99".into();
                p.splice(1..1, vec![chunk(256, &"9".repeat(16_000)); 9]);
            },
            "SUBMISSION_TOO_LARGE",
            &["2304", "33554432"],
        ),
        ("1,001 tables", |p| header_of(p).tables = vec![TableHeader::default(); 1_001], "BAD_REQUEST", &["1001"]),
        ("a long row key", |p| p.insert(1, Part::Chunk(long_key())), "BAD_REQUEST", &["key", "257"]),
        ("a long table id", |p| header_of(p).tables[0].id = "T".repeat(257).into(), "BAD_REQUEST", &["name", "257"]),
        (
            "a long column id",
            |p| header_of(p).tables[0].columns.push("c".repeat(1_000_000).into()),
            "BAD_REQUEST",
            &["name", "1000000"],
        ),
        ("a table that was never stated", |p| p.insert(1, Part::Chunk(stray())), "BAD_REQUEST", &["table", "9999"]),
        ("no key", |p| header_of(p).idempotency_key.clear(), "BAD_REQUEST", &["idempotency_key"]),
        ("a long key", |p| header_of(p).idempotency_key = "k".repeat(65), "BAD_REQUEST", &["idempotency_key"]),
    ])
    .await;
}

fn long_key() -> RowChunk {
    [api::Row { table: 0, key: "9".repeat(257), values: Vec::new() }].into_iter().collect()
}

fn stray() -> RowChunk {
    [api::Row { table: 9_999, key: "合计".into(), values: Vec::new() }].into_iter().collect()
}

/// A header of nothing but columns fills a message; what it costs must not grow with their square.
#[tokio::test(flavor = "multi_thread")]
async fn a_header_full_of_columns_is_answered_at_once() {
    let scene = Scene::fenyang().await;
    let mut parts = scene.parts();
    let columns = &mut header_of(&mut parts).tables[0].columns;
    *columns = (0..250_000).map(|n| format!("{n:x}").into()).chain(vec!["amount".into(); 250_000]).collect();
    let client = scene.client().await;
    let answered = tokio::time::timeout(Duration::from_secs(20), client.submit_parts(parts));
    let answer = scene.nothing_changes("columns", answered).await.expect("no answer in 20 seconds");
    assert_refused("columns", answer, BAD, "BAD_REQUEST", &["columns", "≤ 10000"]);
    scene.stop().await;
}

/// A sender that can stop anywhere: sends what is put into the channel, and ends when that is dropped.
fn sending(client: &Client) -> (mpsc::Sender<api::SubmitRequest>, tokio::task::JoinHandle<()>) {
    let (sender, messages) = mpsc::channel(1);
    let mut service = client.submissions();
    let task = tokio::spawn(async move { drop(service.submit(ReceiverStream::new(messages)).await) });
    (sender, task)
}

async fn send(sender: &mpsc::Sender<api::SubmitRequest>, parts: &[Part]) {
    for part in parts {
        sender.send(api::SubmitRequest { part: Some(part.clone()) }).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
}

/// What was cut leaves its key unused: the whole is taken with it.
async fn files_with_that_key(scene: &Scene, parts: Vec<Part>) {
    let answer = scene.client().await.submit_parts(parts).await.unwrap();
    assert_eq!((answer.version, answer.repeated), (2, false));
}

#[tokio::test]
async fn a_client_that_gives_up_midway_leaves_nothing_behind() {
    let scene = Scene::fenyang().await;
    let parts = scene.parts();
    for upto in [1, 2] {
        let (sender, task) = sending(&scene.client().await);
        let cut = async {
            send(&sender, &parts[..upto]).await;
            task.abort();
            let _ = task.await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        scene.nothing_changes("given up", cut).await;
    }
    files_with_that_key(&scene, parts).await;
    scene.stop().await;
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_end_leaves_nothing_behind() {
    let scene = Scene::fenyang().await;
    let parts = scene.parts();
    // The last round has sent its seal, and not said that this is the end.
    for upto in 1..=parts.len() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (door, inside) = (listener.local_addr().unwrap(), scene.server.address.replace("http://", ""));
        let wire = tokio::spawn(async move {
            let (mut outer, _) = listener.accept().await.unwrap();
            let mut inner = TcpStream::connect(inside).await.unwrap();
            let _ = copy_bidirectional(&mut outer, &mut inner).await;
        });
        let (sender, task) = sending(&Client::connect(&format!("http://{door}"), &unit("407004")).await);
        let cut = async {
            send(&sender, &parts[..upto]).await;
            wire.abort();
            let _ = wire.await;
            let _ = task.await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        scene.nothing_changes("wire cut", cut).await;
        drop(sender);
    }
    files_with_that_key(&scene, parts).await;
    scene.stop().await;
}

/// Calls any RPC with messages as bytes.
pub(super) async fn call(client: &Client, path: &str, messages: Vec<Vec<u8>>) -> Result<(), Status> {
    let mut grpc = tonic::client::Grpc::new(client.connection());
    grpc.ready().await.unwrap();
    let path = PathAndQuery::try_from(path).unwrap();
    grpc.client_streaming(Request::new(tokio_stream::iter(messages)), path, Raw).await.map(|_| ())
}

pub(super) const SUBMIT: &str = "/budget.consolidation.v1.SubmissionService/Submit";

fn encoded(parts: Vec<Part>) -> Vec<Vec<u8>> {
    parts.into_iter().map(|part| api::SubmitRequest { part: Some(part) }.encode_to_vec()).collect()
}

/// The same message with one text of it broken: the first byte of each `text` becomes one that no UTF-8 has.
fn broken(message: &[u8], text: &str) -> Vec<u8> {
    let mut bytes = message.to_vec();
    let at = bytes.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
    bytes[at] = 0xff;
    bytes
}

#[tokio::test]
async fn bytes_that_are_no_message_are_refused_as_the_senders_mistake() {
    let scene = Scene::fenyang().await;
    let good = encoded(scene.parts());
    let with = |at: usize, message: Vec<u8>| {
        let mut messages = good.clone();
        messages[at] = message;
        messages
    };
    for (what, messages, said) in [
        ("unit that is no UTF-8", with(0, broken(&good[0], "407004")), "UTF-8"),
        ("value that is no UTF-8", with(1, broken(&good[1], "162.94")), "UTF-8"),
        ("row key that is no UTF-8", with(1, broken(&good[1], "合计")), "UTF-8"),
        ("total that is no UTF-8", with(2, broken(&good[2], ".")), "UTF-8"),
        ("message cut short", with(1, good[1][..good[1].len() - 3].to_vec()), "message"),
        ("noise", with(0, vec![0xff; 64]), "message"),
        ("message of no part", with(1, Vec::new()), "part"),
    ] {
        let client = scene.client().await;
        let answer = scene.nothing_changes(what, call(&client, SUBMIT, messages)).await;
        assert_refused(what, answer, BAD, "BAD_REQUEST", &[said]);
    }
    scene.stop().await;
}

#[tokio::test]
async fn unary_requests_that_are_no_message_are_refused_as_the_senders_mistake() {
    let scene = Scene::fenyang().await;
    let view = api::ViewRequest { scope: Some(scope("407")), ..Default::default() }.encode_to_vec();
    let huge = api::ImportUnitsRequest { idempotency_key: "k".repeat(5_000_000), ..Default::default() }.encode_to_vec();
    for (what, method, message, reason, said) in [
        ("node that is no UTF-8", "ConsolidationService/View", broken(&view, "407"), "BAD_REQUEST", "UTF-8"),
        ("noise", "ControlFigureService/IssueControlFigures", vec![0xff; 9], "BAD_REQUEST", "message"),
        ("a message of 5 MB", "RegistryService/ImportUnits", huge, "BAD_REQUEST", "4194304"),
    ] {
        let client = scene.server.client(BUREAU).await;
        let path = format!("/budget.consolidation.v1.{method}");
        let answer = scene.nothing_changes(what, call(&client, &path, vec![message])).await;
        assert_refused(what, answer, BAD, reason, &[said]);
    }
    scene.stop().await;
}
