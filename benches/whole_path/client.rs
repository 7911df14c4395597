//! The clients: filing with messages encoded beforehand, so that the two cores are the servers', and reading.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use budget_consolidator::grpc::{self, limits};
use budget_consolidator::proto::api;
use budget_consolidator::proto::api::consolidation_service_client::ConsolidationServiceClient;
use budget_consolidator::proto::api::control_figure_service_client::ControlFigureServiceClient;
use budget_consolidator::proto::api::registry_service_client::RegistryServiceClient;
use prost::Message;
use prost::bytes::{BufMut, Bytes};
use tokio::task::JoinHandle;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::data::{FORM_SET, Filing, Generator, YEAR};

/// Sends prepared bytes as they are, and of an answer reads only whether the filing was taken: what a client does with the
/// rest of it, it does on a machine of its own.
#[derive(Clone, Copy)]
struct Prepared;

/// What is read of a `SubmitResponse`; the numbers are those of `submission.proto`, the rest is passed over.
#[derive(Clone, PartialEq, Message)]
struct Taken {
    #[prost(message, optional, tag = "1")]
    verdict: Option<TakenRows>,
    #[prost(uint32, tag = "3")]
    version: u32,
}

/// Of its verdict.
#[derive(Clone, PartialEq, Message)]
struct TakenRows {
    #[prost(uint64, tag = "5")]
    row_count: u64,
}

impl Codec for Prepared {
    type Encode = Bytes;
    type Decode = Taken;
    type Encoder = Prepared;
    type Decoder = Prepared;

    fn encoder(&mut self) -> Prepared {
        Prepared
    }

    fn decoder(&mut self) -> Prepared {
        Prepared
    }
}

impl Encoder for Prepared {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}

impl Decoder for Prepared {
    type Item = Taken;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Taken>, Status> {
        let message = Taken::decode(buffer);
        message.map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}

pub(crate) async fn connect(address: &str) -> Channel {
    let endpoint = Endpoint::from_shared(address.to_owned()).expect("an address");
    endpoint.connect().await.expect("a connection")
}

fn request<T>(actor: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(grpc::ACTOR_HEADER, MetadataValue::try_from(actor).expect("an actor"));
    request
}

/// Files one filing and sees that it was taken; how long that took.
pub(crate) async fn file(channel: &Channel, filing: &Filing, rules: Rules) -> Duration {
    let start = Instant::now();
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.expect("a connection");
    let mut messages = filing.messages.clone();
    if let Some(seal) = messages.last_mut().filter(|_| rules == Rules::None) {
        *seal = filing.seal_without_rules.clone();
    }
    let messages = tokio_stream::iter(messages);
    let request = request(&format!("budget://{}/unit", filing.unit), messages);
    let path = PathAndQuery::from_static("/budget.consolidation.v1.SubmissionService/Submit");
    let answer = client.client_streaming(request, path, Prepared).await.expect("an answer").into_inner();
    let taken = answer.verdict.is_some_and(|verdict| verdict.row_count == filing.rows);
    assert!(taken && answer.version == 1, "the filing of {} was not taken whole", filing.unit);
    start.elapsed()
}

/// Files one filing again and again, on each connection, as new versions by one identity, until it is told to stop.
/// Answers of any kind will do: whoever floods is refused as well.
pub(crate) fn flood(channels: &[Channel], filing: &Arc<Vec<Filing>>, stop: &Arc<AtomicBool>) -> Vec<JoinHandle<u64>> {
    let stream = |(at, channel): (usize, &Channel)| {
        let (channel, filing, stop) = (channel.clone(), filing.clone(), stop.clone());
        tokio::spawn(async move {
            let filing = &filing[0];
            let header = api::SubmitRequest::decode(filing.messages[0].clone()).expect("a header");
            let mut answered = 0;
            while !stop.load(Ordering::Relaxed) {
                let mut header = header.clone();
                if let Some(api::submit_request::Part::Header(header)) = &mut header.part {
                    header.idempotency_key = format!("flood-{at}-{answered}");
                }
                let mut messages = filing.messages.clone();
                messages[0] = header.encode_to_vec().into();
                let mut client = tonic::client::Grpc::new(channel.clone());
                client.ready().await.expect("a connection");
                let request = request(&format!("budget://{}/unit", filing.unit), tokio_stream::iter(messages));
                let path = PathAndQuery::from_static("/budget.consolidation.v1.SubmissionService/Submit");
                drop(client.client_streaming(request, path, Prepared).await);
                answered += 1;
            }
            answered
        })
    };
    channels.iter().enumerate().map(stream).collect()
}

/// Files all of them, each connection one after the other; how long that took.
pub(crate) async fn file_all(channels: &[Channel], filings: &Arc<Vec<Filing>>, rules: Rules) -> Duration {
    let waiting: Arc<Mutex<VecDeque<usize>>> = Arc::new(Mutex::new((0..filings.len()).collect()));
    let start = Instant::now();
    let streams: Vec<_> = channels
        .iter()
        .map(|channel| {
            let (channel, waiting, filings) = (channel.clone(), waiting.clone(), filings.clone());
            tokio::spawn(async move {
                loop {
                    let next = waiting.lock().expect("the queue").pop_front();
                    let Some(next) = next else { break };
                    file(&channel, &filings[next], rules).await;
                }
            })
        })
        .collect();
    for stream in streams {
        stream.await.expect("a stream");
    }
    start.elapsed()
}

/// Imports the tree of so many units and issues their ceilings; without rules, the form set is put in force without.
pub(crate) async fn furnish(channel: &Channel, generator: &Generator, units: usize, rules: Rules) {
    if rules == Rules::None {
        let files = generator.form_without_rules.files.iter();
        let file =
            |(name, content): (&String, &Vec<u8>)| api::FormFile { name: name.clone(), content: content.clone() };
        let publish =
            api::PublishFormSetRequest { idempotency_key: "no-rules".into(), files: files.map(file).collect() };
        let mut registry = RegistryServiceClient::new(channel.clone());
        registry.publish_form_set(request("budget://0/administrator", publish)).await.expect("a form set");
    }
    let import =
        api::ImportUnitsRequest { idempotency_key: "tree".into(), year: YEAR.into(), nodes: generator.units(units) };
    let mut registry = RegistryServiceClient::new(channel.clone());
    registry.import_units(request("budget://0/administrator", import)).await.expect("the tree");
    let issue = api::IssueControlFiguresRequest {
        idempotency_key: "ceilings".into(),
        year: YEAR.into(),
        round: api::Round::Second.into(),
        form_set: FORM_SET.into(),
        figures: generator.ceilings(units),
        ..Default::default()
    };
    let mut control = ControlFigureServiceClient::new(channel.clone());
    control.issue_control_figures(request("budget://0/bureau", issue)).await.expect("the ceilings");
}

/// Whether a server runs the form set's rules.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rules {
    None,
    All,
}

fn consolidation(channel: &Channel) -> ConsolidationServiceClient<Channel> {
    ConsolidationServiceClient::new(channel.clone()).max_decoding_message_size(limits::ANSWER_BYTES_MAX)
}

fn everything() -> Option<api::Scope> {
    Some(api::Scope { node: "0".into(), ..api::Scope::default() })
}

/// Looks at everything, and sees that so many filings are in it.
pub(crate) async fn view(channel: &Channel, tables: &[String], filings: usize) -> Duration {
    let start = Instant::now();
    let message = api::ViewRequest { scope: everything(), tables: tables.to_vec(), children: false, reviewed: false };
    let view = consolidation(channel).view(request("budget://0/bureau", message)).await.expect("a view").into_inner();
    assert_eq!(view.filings as usize, filings, "the view must show every filing");
    start.elapsed()
}

/// The same so many positions ago.
pub(crate) async fn view_before(channel: &Channel, tables: &[String], ago: u64) -> Duration {
    let ask = async |as_of| {
        let scope = everything().map(|scope| api::Scope { as_of, ..scope });
        let message = api::ViewRequest { scope, tables: tables.to_vec(), children: false, reviewed: false };
        consolidation(channel).view(request("budget://0/bureau", message)).await.expect("a view").into_inner()
    };
    let position = ask(None).await.position - ago;
    let start = Instant::now();
    let as_of = api::AsOf { moment: Some(api::as_of::Moment::Position(position)) };
    assert_eq!(ask(Some(as_of)).await.position, position);
    start.elapsed()
}

/// The first page of the list of projects.
pub(crate) async fn list(channel: &Channel) -> Duration {
    let start = Instant::now();
    let message = api::ListRowsRequest { scope: everything(), table: "T12".into(), ..Default::default() };
    let page = consolidation(channel).list_rows(request("budget://0/bureau", message)).await.expect("a page");
    assert!(page.into_inner().table.is_some_and(|table| table.rows.len() >= limits::PAGE_DEFAULT));
    start.elapsed()
}
