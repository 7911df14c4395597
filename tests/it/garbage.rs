//! Seeded damage to what comes from outside: messages on the wire, filings as files, form sets. Never a panic, never an
//! answer that is no answer, and no memory without bound.
//!
//! Two seconds each by default and at least a few tries, however busy the machine is; `GARBAGE_SECONDS=20`, or
//! `CI=true`, for longer. Each starts from honest input and changes
//! a few bytes at a time, so that most of it gets far.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use budget_consolidator::budget::form_set::FormSet;
use budget_consolidator::budget::rule::{Books, evaluate};
use budget_consolidator::consolidator::fold;
use budget_consolidator::consolidator::record::Packed;
use budget_consolidator::consolidator::verify::verify;
use budget_consolidator::grpc;
use budget_consolidator::grpc::access::METHODS;
use budget_consolidator::grpc::limits::Bounds;
use budget_consolidator::ledger::image;
use budget_consolidator::proto::api;
use budget_consolidator::store::MemoryJournal;
use budget_consolidator::submission_file::SubmissionFile;
use prost::Message;
use prost::bytes::{BufMut, Bytes};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataValue;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status};

use crate::access::Api;
use crate::support::*;

/// SplitMix64: the same damage in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// Bytes that parsers trip over.
const NASTY: [&[u8]; 14] = [
    b"\"",
    b"[",
    b"{",
    b"/",
    b"-",
    b"0",
    b"9999999999999999999",
    b"1e308",
    b"\xff",
    b"\x00",
    b"\n",
    "合计".as_bytes(),
    "…".as_bytes(),
    b"sum(",
];

/// A few bytes flipped, cut out, doubled, or put in.
fn damaged(honest: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = honest.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        let length = random.below(12).min(bytes.len() - at.min(bytes.len()));
        match random.below(5) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            1 => drop(bytes.drain(at..at + length)),
            2 => {
                let part = bytes[at..at + length].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, part);
            }
            3 => {
                let nasty = NASTY[random.below(NASTY.len())];
                bytes.splice(at..at, nasty.iter().copied());
            }
            _ if random.below(20) == 0 => bytes.truncate(at),
            _ => {}
        }
    }
    bytes
}

fn long_enough() -> Duration {
    let default = if std::env::var("CI").is_ok_and(|ci| ci == "true") { 20 } else { 2 };
    let asked = std::env::var("GARBAGE_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(asked.unwrap_or(default))
}

/// Set for a test that runs by itself.
const ALONE: &str = "GARBAGE_ALONE";

/// Runs a test again by itself, in a process of its own, so that what it takes of memory is nobody else's. True in there.
fn alone(test: &str) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let line = ["--exact", &format!("garbage::{test}"), "--nocapture"];
    let ran = Command::new(std::env::current_exe().unwrap()).args(line).env(ALONE, "1").output().unwrap();
    let (said, complained) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    println!("{said}");
    assert!(ran.status.success() && said.contains("1 passed"), "{said}\n{complained}");
    false
}

/// The most memory that this process ever had, in MiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() / 1024
}

/// The most that it may ever have: some eight times what it takes in two seconds, of which the journal in memory is a part.
const PEAK_MIB_MAX: u64 = 400;

fn honest_filings() -> Vec<(SubmissionFile, String)> {
    [
        "fenyang-2024/submissions/407002.json",
        "fenyang-2024/submissions/407003.json",
        "linjiang-2024/submissions/508.json",
    ]
    .map(|path| (example(path), std::fs::read_to_string(project("examples").join(path)).unwrap()))
    .to_vec()
}

#[test]
fn damaged_filings_are_read_judged_and_packed_or_refused() {
    if !alone("damaged_filings_are_read_judged_and_packed_or_refused") {
        return;
    }
    let forms = ["shanxi-2024", "linjiang-2024"].map(form);
    let honest = honest_filings();
    let (mut random, end) = (Random(1), Instant::now() + long_enough());
    let (mut tried, mut read) = (0_u32, 0_u32);
    while Instant::now() < end || read <= 20 {
        let (_, text) = &honest[random.below(honest.len())];
        let bytes = damaged(text.as_bytes(), &mut random);
        tried += 1;
        let Ok(file) = SubmissionFile::read_bytes(&bytes) else { continue };
        let Some(form) = forms.iter().find(|form| form.id == file.form_set) else { continue };
        let reading = file.read_on(form);
        evaluate(form, &Books::of(&reading.submission), |_| true);
        Packed::new(&reading.submission, form).unwrap();
        read += 1;
    }
    println!("{tried} damaged filings, {read} of them could be read");
    assert!(read > 20, "{read} of {tried}");
    println!("{} MiB at most", peak());
    assert!(peak() < PEAK_MIB_MAX, "{} MiB", peak());
}

#[test]
fn damaged_form_sets_load_or_are_refused_with_a_place() {
    if !alone("damaged_form_sets_load_or_are_refused_with_a_place") {
        return;
    }
    let sets = ["shanxi-2024", "linjiang-2024"].map(form_files);
    let filings: Vec<SubmissionFile> = honest_filings().into_iter().map(|(file, _)| file).collect();
    let (mut random, end) = (Random(2), Instant::now() + long_enough());
    let (mut tried, mut loaded) = (0_u32, 0_u32);
    while Instant::now() < end || loaded <= 5 {
        let mut files = sets[random.below(sets.len())].clone();
        let at = random.below(files.len());
        let (name, bytes) = files.iter().nth(at).map(|(name, bytes)| (name.clone(), bytes.clone())).unwrap();
        files.insert(name, damaged(&bytes, &mut random));
        tried += 1;
        match FormSet::load(files) {
            Ok(form) => {
                loaded += 1;
                for file in filings.iter().filter(|file| file.form_set == form.id.as_str()) {
                    evaluate(&form, &Books::of(&file.read_on(&form).submission), |_| true);
                }
            }
            Err(faults) => assert!(!faults.is_empty() && faults.iter().all(|fault| !fault.file.is_empty())),
        }
    }
    println!("{tried} damaged form sets, {loaded} of them loaded");
    assert!(loaded > 5, "{loaded} of {tried}");
    println!("{} MiB at most", peak());
    assert!(peak() < PEAK_MIB_MAX, "{} MiB", peak());
}

/// What is decided can be worked out again from the journal alone, whatever was filed: cells that could not be read
/// included.
#[tokio::test]
async fn damaged_filings_that_are_sealed_can_be_worked_out_again() {
    if !alone("damaged_filings_that_are_sealed_can_be_worked_out_again") {
        return;
    }
    count_panics();
    let journal = Arc::new(MemoryJournal::new());
    let server = TestServer::on(journal.clone()).await;
    server.furnish("fenyang-2024", "shanxi-2024", 2024).await;
    let form = form("shanxi-2024");
    let text = std::fs::read_to_string(project("examples/fenyang-2024/submissions/407003.json")).unwrap();
    let client = server.client(&unit("407003")).await;
    let (mut random, end) = (Random(4), Instant::now() + long_enough());
    let (mut taken, mut refused, mut answered) = (0_u32, 0_u32, 0_u32);
    while Instant::now() < end || refused <= 5 {
        let Ok(file) = SubmissionFile::read_bytes(&damaged(text.as_bytes(), &mut random)) else { continue };
        match client.submit(&file, &form).await {
            Ok(answer) if answer.version > 0 => taken += 1,
            Ok(_) => refused += 1,
            Err(status) => {
                assert!(OWN.contains(&status.code()) && !reason(&status).is_empty(), "{status:?}");
                answered += 1;
            }
        }
    }
    println!("{taken} damaged filings taken, {refused} refused with findings, {answered} answered otherwise");
    assert!(refused > 5, "{taken} {refused} {answered}");
    assert_eq!(PANICS.load(Ordering::SeqCst), 0);
    println!("{} MiB at most", peak());
    assert!(peak() < PEAK_MIB_MAX, "{} MiB", peak());
    let state = server.consolidator.snapshot().state;
    server.stop().await;
    let verified = verify(journal.as_ref(), &|_| {}).unwrap();
    let faults = (verified.unreadable.count, &verified.unfolded, verified.digests.count, verified.verdicts.count);
    assert_eq!(faults, (0, &None, 0, 0), "{:?} {:?}", verified.digests.first, verified.verdicts.first);
    assert_eq!(verified.submissions, u64::from(taken + refused));
    assert_eq!(image::image(&fold(journal.as_ref()).unwrap()), image::image(&state));
}

/// How a filing is refused.
const OWN: [Code; 6] = [
    Code::InvalidArgument,
    Code::NotFound,
    Code::FailedPrecondition,
    Code::PermissionDenied,
    Code::Aborted,
    Code::ResourceExhausted,
];

/// Sends bytes as they are.
#[derive(Clone, Copy)]
struct AsTheyAre;

impl Codec for AsTheyAre {
    type Encode = Bytes;
    type Decode = api::SubmitResponse;
    type Encoder = AsTheyAre;
    type Decoder = AsTheyAre;

    fn encoder(&mut self) -> AsTheyAre {
        AsTheyAre
    }

    fn decoder(&mut self) -> AsTheyAre {
        AsTheyAre
    }
}

impl Encoder for AsTheyAre {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}

impl Decoder for AsTheyAre {
    type Item = api::SubmitResponse;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<api::SubmitResponse>, Status> {
        api::SubmitResponse::decode(buffer).map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}

/// Panics of any thread since the start; a server turns its own into an answer, so they have to be counted.
static PANICS: AtomicUsize = AtomicUsize::new(0);

fn count_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let before_hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            // Alone every panic counts: the server runs on the test's own thread. Else those of the tests' own threads are
            // other tests that fail.
            let alone = std::env::var_os(ALONE).is_some();
            if alone || std::thread::current().name().is_none_or(|name| name.contains("tokio") || name == "writer") {
                PANICS.fetch_add(1, Ordering::SeqCst);
            }
            before_hook(panic);
        }));
    });
}

/// Each method of the API, by whoever may call it: requests that are damaged, and bytes that never were one.
#[tokio::test]
async fn damaged_requests_of_every_method_are_answered() {
    if !alone("damaged_requests_of_every_method_are_answered") {
        return;
    }
    count_panics();
    let server = TestServer::within(Bounds { per_second: 1_000_000, ..Bounds::default() }).await;
    server.furnish("fenyang-2024", "shanxi-2024", 2024).await;
    let known = Api::new();
    let mut clients = Vec::new();
    for actor in [BUREAU, AUDITOR, ADMINISTRATOR, DEPARTMENT, "budget://407003/unit"] {
        clients.push(server.client(actor).await);
    }
    let ours: Vec<_> = METHODS.iter().filter(|method| known.methods.contains_key(&method.path())).collect();
    let (mut random, end) = (Random(5), Instant::now() + long_enough());
    let (mut tried, mut taken) = (0_u32, 0_u32);
    while Instant::now() < end || tried <= 20 || taken == 0 {
        let method = ours[tried as usize % ours.len()];
        let field: Vec<&str> = method.node.split('.').filter(|name| !name.is_empty()).collect();
        let honest = known.request(&known.methods[&method.path()], &field, ["407003", "407", "0"][random.below(3)]);
        let message = match random.below(8) {
            0 => (0..random.below(64)).map(|_| random.below(256) as u8).collect(),
            _ if honest.is_empty() => Vec::new(),
            _ => damaged(&honest, &mut random),
        };
        let mut grpc = tonic::client::Grpc::new(clients[random.below(clients.len())].connection());
        grpc.ready().await.unwrap();
        let request = Request::new(tokio_stream::once(message));
        let path = PathAndQuery::try_from(method.path()).unwrap();
        tried += 1;
        let answer = match grpc.streaming(request, path, Raw).await {
            Ok(answer) => match tokio::time::timeout(Duration::from_millis(20), answer.into_inner().message()).await {
                Ok(first) => first.map(drop),
                Err(_still_open) => Ok(()),
            },
            Err(status) => Err(status),
        };
        match answer {
            Ok(()) => taken += 1,
            Err(status) => {
                let ours = [Code::Unknown, Code::Internal, Code::DataLoss, Code::Unauthenticated, Code::Unimplemented];
                assert!(!ours.contains(&status.code()), "{}: {status:?}", method.name);
                assert!(!reason(&status).starts_with("Status"), "{}: without a reason: {status:?}", method.name);
            }
        }
    }
    println!("{tried} damaged requests, {taken} answered");
    assert!(tried > 20 && taken > 0, "{taken} of {tried}");
    assert_eq!(PANICS.load(Ordering::SeqCst), 0);
    println!("{} MiB at most", peak());
    assert!(peak() < PEAK_MIB_MAX, "{} MiB", peak());
    server.stop().await;
}

#[tokio::test]
async fn damaged_messages_are_answered_and_a_filing_still_goes_through() {
    if !alone("damaged_messages_are_answered_and_a_filing_still_goes_through") {
        return;
    }
    let server = TestServer::fenyang().await;
    let form = form("shanxi-2024");
    let file = example("fenyang-2024/submissions/407003.json");
    let honest: Vec<Bytes> = parts(&file, &form, "garbage")
        .into_iter()
        .map(|part| api::SubmitRequest { part: Some(part) }.encode_to_vec().into())
        .collect();
    count_panics();
    let channel = Endpoint::from_shared(server.address.clone()).unwrap().connect().await.unwrap();
    let path = PathAndQuery::from_static("/budget.consolidation.v1.SubmissionService/Submit");
    let (mut random, end) = (Random(3), Instant::now() + long_enough());
    let (mut tried, mut refused, mut sealed) = (0_u32, 0_u32, 0_u32);
    while Instant::now() < end || refused <= 20 {
        let mut messages = honest.clone();
        for _ in 0..=random.below(2) {
            let at = random.below(messages.len());
            match random.below(8) {
                0 => drop(messages.remove(at)),
                1 => messages.insert(at, honest[random.below(honest.len())].clone()),
                _ => messages[at] = damaged(&messages[at], &mut random).into(),
            }
            if messages.is_empty() {
                messages = honest.clone();
            }
        }
        let mut client = tonic::client::Grpc::new(channel.clone());
        client.ready().await.unwrap();
        let mut request = Request::new(tokio_stream::iter(messages));
        request.metadata_mut().insert(grpc::ACTOR_HEADER, MetadataValue::from_static("budget://407003/unit"));
        tried += 1;
        match client.client_streaming(request, path.clone(), AsTheyAre).await {
            Ok(_) => sealed += 1,
            Err(status) => {
                refused += 1;
                assert!(OWN.contains(&status.code()) && !reason(&status).is_empty(), "{status:?}");
            }
        }
    }
    println!("{tried} damaged streams, {refused} refused, {sealed} decided");
    assert!(refused > 20 && tried == refused + sealed);
    assert_eq!(PANICS.load(Ordering::SeqCst), 0);
    println!("{} MiB at most", peak());
    assert!(peak() < PEAK_MIB_MAX, "{} MiB", peak());
    // And the next honest one goes through as if nothing had been.
    let taken = server.client(&unit("407003")).await.submit(&file, &form).await.unwrap();
    assert!(taken.version > 0);
    assert!(Arc::strong_count(&server.consolidator.snapshot().state) > 0);
    server.stop().await;
}
