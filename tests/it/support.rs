//! What the integration tests share: a real server on a real socket, clients with an identity, filings from files.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use budget_consolidator::budget::form_set::{FormFiles, FormSet};
use budget_consolidator::budget::rule::{Books, Checked, evaluate, evaluate_exactly};
use budget_consolidator::budget::submission::{Kind, Round, Slot};
use budget_consolidator::consolidator::{Clock, Consolidator, Signing, WriterThread, embedded_form_sets};
use budget_consolidator::grpc;
use budget_consolidator::grpc::door::Door;
use budget_consolidator::grpc::limits::Bounds;
use budget_consolidator::ledger::event::Timestamp;
use budget_consolidator::proto::{self, api};
use budget_consolidator::store::{Journal, MemoryJournal, ReplacedFile};
use budget_consolidator::submission_file::SubmissionFile;
use prost::bytes::{Buf, BufMut};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

pub const BUREAU: &str = "budget://0/bureau";
pub const AUDITOR: &str = "budget://0/auditor";
pub const ADMINISTRATOR: &str = "budget://0/administrator";
pub const DEPARTMENT: &str = "budget://407/department";

pub fn unit(code: &str) -> String {
    format!("budget://{code}/unit")
}

/// A path inside the project.
pub fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The files of a form set in `forms/`.
pub fn form_files(id: &str) -> FormFiles {
    let files = std::fs::read_dir(project("forms").join(id)).unwrap();
    files
        .map(|file| file.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap()))
        .filter(|(name, _)| name.ends_with(".toml") || name.ends_with(".csv"))
        .collect()
}

pub fn form(id: &str) -> FormSet {
    FormSet::load(form_files(id)).unwrap()
}

/// A filing of `examples/`, such as `fenyang-2024/submissions/407002.json`.
pub fn example(path: &str) -> SubmissionFile {
    let text = std::fs::read_to_string(project("examples").join(path)).unwrap();
    SubmissionFile::read(&text).unwrap()
}

/// A clock that moves one second at each look.
/// What all rules find. The quick look for plain passes, which comes first, must not change a thing.
pub fn judged_both_ways(form: &FormSet, books: &Books<'_>) -> Checked {
    let checked = evaluate(form, books, |_| true);
    assert_eq!(checked, evaluate_exactly(form, books), "prints and intervals disagree");
    checked
}

pub fn test_clock() -> Clock {
    let now = AtomicI64::new(1_705_000_000_000);
    Arc::new(move || Timestamp(now.fetch_add(1_000, Ordering::Relaxed)))
}

/// A server in this process, on a real socket.
pub struct TestServer {
    pub consolidator: Consolidator,
    pub address: String,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
    writer: WriterThread,
}

impl TestServer {
    /// On memory, with the embedded form sets.
    pub async fn start() -> TestServer {
        TestServer::on(Arc::new(MemoryJournal::new())).await
    }

    pub async fn on(journal: Arc<dyn Journal>) -> TestServer {
        TestServer::saving(journal, None).await
    }

    /// On memory, within other bounds than usual.
    pub async fn within(bounds: Bounds) -> TestServer {
        TestServer::bounded(Arc::new(MemoryJournal::new()), None, bounds).await
    }

    /// On a journal, within other bounds than usual.
    pub async fn on_within(journal: Arc<dyn Journal>, bounds: Bounds) -> TestServer {
        TestServer::bounded(journal, None, bounds).await
    }

    /// With a file for the saved state.
    pub async fn saving(journal: Arc<dyn Journal>, saved: Option<ReplacedFile>) -> TestServer {
        TestServer::bounded(journal, saved, Bounds::default()).await
    }

    async fn bounded(journal: Arc<dyn Journal>, saved: Option<ReplacedFile>, bounds: Bounds) -> TestServer {
        let opened = Consolidator::open(journal, test_clock(), embedded_form_sets(), saved);
        TestServer::around_within(opened.unwrap(), bounds).await
    }

    /// With signed checkpoints.
    pub async fn signing(
        journal: Arc<dyn Journal>,
        saved: Option<ReplacedFile>,
        signing: Option<Signing>,
    ) -> TestServer {
        let opened = Consolidator::open_signing(journal, test_clock(), embedded_form_sets(), saved, signing);
        TestServer::around(opened.unwrap()).await
    }

    /// On what was opened already.
    pub async fn around(opened: (Consolidator, WriterThread)) -> TestServer {
        TestServer::around_within(opened, Bounds::default()).await
    }

    async fn around_within((consolidator, writer): (Consolidator, WriterThread), bounds: Bounds) -> TestServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        TestServer::behind_within(Door::insecure(listener).unwrap(), (consolidator, writer), bounds)
    }

    /// Behind a door.
    pub fn behind(door: Door, opened: (Consolidator, WriterThread)) -> TestServer {
        TestServer::behind_within(door, opened, Bounds::default())
    }

    /// The same, within other bounds than usual.
    pub fn behind_within(
        door: Door,
        (consolidator, writer): (Consolidator, WriterThread),
        bounds: Bounds,
    ) -> TestServer {
        let address = format!("{}://{}", door.scheme(), door.address().unwrap());
        let (stop, stopped) = oneshot::channel();
        let served = consolidator.clone();
        let serving = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            grpc::serve_within(bounds, served, door, stopped, Duration::from_secs(2)).await.unwrap();
        });
        TestServer { consolidator, address, stop, serving, writer }
    }

    /// Ends it in an orderly way.
    pub async fn stop(self) {
        let _ = self.stop.send(());
        self.serving.await.unwrap();
        self.consolidator.close().await;
        drop(self.consolidator);
        tokio::task::spawn_blocking(move || self.writer.join()).await.unwrap();
    }

    pub async fn client(&self, actor: &str) -> Client {
        Client::connect(&self.address, actor).await
    }

    /// Units and control figures of an example, by administrator and bureau.
    pub async fn furnish(&self, example: &str, form_set: &str, year: u32) {
        self.client(ADMINISTRATOR).await.import_units(&format!("{example}/units.csv"), year).await.unwrap();
        self.client(BUREAU).await.issue_control(&format!("{example}/control.csv"), form_set, year).await.unwrap();
    }

    /// The example of department 407: tree, ceilings.
    pub async fn fenyang() -> TestServer {
        let server = TestServer::start().await;
        server.furnish("fenyang-2024", "shanxi-2024", 2024).await;
        server
    }
}

/// Waits until something holds, however busy the machine is.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < Duration::from_secs(30), "{what}: not within 30 seconds");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Says who is asking.
#[derive(Clone)]
pub struct As(String);

impl Interceptor for As {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if !self.0.is_empty() {
            request.metadata_mut().insert(grpc::ACTOR_HEADER, MetadataValue::try_from(self.0.as_str()).unwrap());
        }
        Ok(request)
    }
}

pub type Connection = InterceptedService<Channel, As>;

/// A client with an identity.
#[derive(Clone)]
pub struct Client {
    connection: Connection,
}

static KEYS: AtomicU64 = AtomicU64::new(1);

/// A key that no other attempt of this test run has.
pub fn new_key() -> String {
    format!("test-{}", KEYS.fetch_add(1, Ordering::Relaxed))
}

impl Client {
    pub async fn connect(address: &str, actor: &str) -> Client {
        let channel = Endpoint::from_shared(address.to_owned()).unwrap().connect().await.unwrap();
        Client::on(channel, actor)
    }

    /// On a connection that is there already.
    pub fn on(channel: Channel, actor: &str) -> Client {
        Client { connection: InterceptedService::new(channel, As(actor.to_owned())) }
    }

    /// For calls that no generated client can make.
    pub fn connection(&self) -> Connection {
        self.connection.clone()
    }

    pub fn submissions(&self) -> api::submission_service_client::SubmissionServiceClient<Connection> {
        api::submission_service_client::SubmissionServiceClient::new(self.connection.clone())
            .max_decoding_message_size(grpc::limits::ANSWER_BYTES_MAX)
    }

    pub fn registry(&self) -> api::registry_service_client::RegistryServiceClient<Connection> {
        api::registry_service_client::RegistryServiceClient::new(self.connection.clone())
    }

    pub fn consolidation(&self) -> api::consolidation_service_client::ConsolidationServiceClient<Connection> {
        api::consolidation_service_client::ConsolidationServiceClient::new(self.connection.clone())
            .max_decoding_message_size(grpc::limits::ANSWER_BYTES_MAX)
    }

    pub fn control(&self) -> api::control_figure_service_client::ControlFigureServiceClient<Connection> {
        api::control_figure_service_client::ControlFigureServiceClient::new(self.connection.clone())
    }

    pub fn audit(&self) -> api::audit_service_client::AuditServiceClient<Connection> {
        api::audit_service_client::AuditServiceClient::new(self.connection.clone())
    }

    /// Sends the messages of a filing as they are.
    pub async fn submit_parts(&self, parts: Vec<api::submit_request::Part>) -> Result<api::SubmitResponse, Status> {
        let messages: Vec<_> = parts.into_iter().map(|part| api::SubmitRequest { part: Some(part) }).collect();
        self.submissions().submit(tokio_stream::iter(messages)).await.map(|answer| answer.into_inner())
    }

    /// Files a file with a new key.
    pub async fn submit(&self, file: &SubmissionFile, form: &FormSet) -> Result<api::SubmitResponse, Status> {
        self.submit_parts(parts(file, form, &new_key())).await
    }

    pub async fn dry_run(&self, file: &SubmissionFile, form: &FormSet) -> Result<api::DryRunResponse, Status> {
        self.dry_run_as(file, form, None).await
    }

    /// The same of what may be an adjustment.
    pub async fn dry_run_as(
        &self,
        file: &SubmissionFile,
        form: &FormSet,
        adjustment: Option<api::Adjustment>,
    ) -> Result<api::DryRunResponse, Status> {
        use api::dry_run_request::Part as To;
        use api::submit_request::Part as From;
        let dry = |part| match part {
            From::Header(header) => To::Header(api::SubmissionHeader { adjustment: adjustment.clone(), ..header }),
            From::Chunk(chunk) => To::Chunk(chunk),
            From::Seal(seal) => To::Seal(seal),
        };
        let messages: Vec<_> =
            parts(file, form, "").into_iter().map(|part| api::DryRunRequest { part: Some(dry(part)) }).collect();
        self.submissions().dry_run(tokio_stream::iter(messages)).await.map(|answer| answer.into_inner())
    }

    /// Changes an approved version: a filing whose header says how.
    pub async fn adjust(
        &self,
        file: &SubmissionFile,
        form: &FormSet,
        adjustment: api::Adjustment,
    ) -> Result<api::AdjustResponse, Status> {
        use api::adjust_request::Part as To;
        use api::submit_request::Part as From;
        let part = |part| match part {
            From::Header(header) => {
                To::Header(api::SubmissionHeader { adjustment: Some(adjustment.clone()), ..header })
            }
            From::Chunk(chunk) => To::Chunk(chunk),
            From::Seal(seal) => To::Seal(seal),
        };
        let parts = parts(file, form, &new_key()).into_iter();
        let messages: Vec<_> = parts.map(|of| api::AdjustRequest { part: Some(part(of)) }).collect();
        self.submissions().adjust(tokio_stream::iter(messages)).await.map(|answer| answer.into_inner())
    }

    pub async fn import_units(&self, csv: &str, year: u32) -> Result<api::ImportUnitsResponse, Status> {
        let request = api::ImportUnitsRequest { idempotency_key: new_key(), year, nodes: unit_nodes(csv) };
        self.registry().import_units(request).await.map(|answer| answer.into_inner())
    }

    pub async fn issue_control(
        &self,
        csv: &str,
        form_set: &str,
        year: u32,
    ) -> Result<api::IssueControlFiguresResponse, Status> {
        let figures = control_figures(csv);
        let request = api::IssueControlFiguresRequest {
            idempotency_key: new_key(),
            year,
            round: api::Round::Second.into(),
            form_set: form_set.to_owned(),
            figures,
            ..Default::default()
        };
        self.control().issue_control_figures(request).await.map(|answer| answer.into_inner())
    }

    pub async fn view(&self, node: &str, tables: &[&str], children: bool) -> Result<api::ViewResponse, Status> {
        let request = api::ViewRequest {
            scope: Some(scope(node)),
            tables: tables.iter().map(|table| (*table).to_owned()).collect(),
            children,
            reviewed: false,
        };
        self.consolidation().view(request).await.map(|answer| answer.into_inner())
    }

    pub async fn status_board(&self, node: &str) -> api::GetStatusBoardResponse {
        let request = api::GetStatusBoardRequest { scope: Some(scope(node)) };
        self.consolidation().get_status_board(request).await.unwrap().into_inner()
    }

    pub async fn history(&self, unit: &str) -> Result<api::GetHistoryResponse, Status> {
        let request = api::GetHistoryRequest { unit: unit.to_owned(), ..Default::default() };
        self.audit().get_history(request).await.map(|answer| answer.into_inner())
    }
}

/// A node in the latest year and the second round.
/// The rule findings of an answer.
pub fn found(written: &[Vec<u8>]) -> Vec<api::RuleFinding> {
    proto::rule_findings(written).unwrap()
}

pub fn scope(node: &str) -> api::Scope {
    api::Scope { node: node.to_owned(), ..Default::default() }
}

/// The units of a file of `examples/`.
pub fn unit_nodes(csv: &str) -> Vec<api::UnitNode> {
    let node = |r: Vec<String>| api::UnitNode {
        code: r[0].clone(),
        parent: r[1].clone(),
        name: r[2].clone(),
        role: r[3].clone(),
        unit_type: r[4].clone(),
        funding: r[5].clone(),
        division: r[6].clone(),
        budgeted: r[7] == "yes",
    };
    records(&project("examples").join(csv)).into_iter().map(node).collect()
}

/// The control figures of a file of `examples/`.
pub fn control_figures(csv: &str) -> Vec<api::ControlFigure> {
    let figure = |r: Vec<String>| api::ControlFigure {
        unit: r[0].clone(),
        cell: format!("{}/{}/{}", r[1], r[2], r[3]),
        amount_unit: r[4].clone(),
        ceiling: r[5].clone(),
        strength: r[6].clone(),
    };
    records(&project("examples").join(csv)).into_iter().map(figure).collect()
}

fn records(path: &Path) -> Vec<Vec<String>> {
    let mut reader = csv::Reader::from_path(path).unwrap();
    reader.records().map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect()
}

/// Says that a test can't be held here, and why. Past the test runner, which keeps what a passed test prints to itself.
pub fn skipped(test: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}

/// The messages of a filing: header, chunks of 256 rows, seal.
pub fn parts(file: &SubmissionFile, form: &FormSet, key: &str) -> Vec<api::submit_request::Part> {
    use api::submit_request::Part;
    let reading = file.read_on(form);
    let tables = file.tables.iter().map(|table| proto::TableHeader {
        id: table.header.id.clone(),
        empty: table.header.empty,
        amount_unit: table.header.amount_unit.clone(),
        decimals: table.header.decimals,
        columns: table.header.columns.clone(),
    });
    let header = api::SubmissionHeader {
        slot: Some(slot_out(&file.slot)),
        form_set: file.form_set.clone(),
        form_set_digest: Vec::new(),
        idempotency_key: key.to_owned(),
        version: None,
        tables: tables.collect(),
        sentences: 0,
        adjustment: None,
    };
    let rows: Vec<api::Row> = file
        .tables
        .iter()
        .enumerate()
        .flat_map(|(at, table)| {
            table.rows.iter().map(move |(key, values)| api::Row {
                table: u32::try_from(at).unwrap(),
                key: key.clone(),
                values: values.clone(),
            })
        })
        .collect();
    let seal = api::Seal {
        row_count: rows.len() as u64,
        control_total: reading.control_total.to_string(),
        digest: reading.digest.0.to_vec(),
    };
    let chunks = rows.chunks(256).map(|rows| Part::Chunk(rows.iter().cloned().collect()));
    std::iter::once(Part::Header(header)).chain(chunks).chain([Part::Seal(seal)]).collect()
}

pub fn slot_out(slot: &Slot) -> api::Slot {
    api::Slot {
        unit: slot.unit.to_string(),
        year: slot.year.into(),
        round: match slot.round {
            Round::First => api::Round::First,
            Round::Second => api::Round::Second,
        }
        .into(),
        kind: match slot.kind {
            Kind::Unit => api::Kind::Unit,
            Kind::Department => api::Kind::Department,
            Kind::Difference => api::Kind::Difference,
        }
        .into(),
    }
}

/// The stable reason of a refusal.
pub fn reason(status: &Status) -> String {
    use tonic_types::StatusExt;
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_else(|| format!("{status:?}"))
}

/// Sends bytes as they are, so that messages can be wrong in ways that no generated type can be.
#[derive(Clone, Copy, Default)]
pub struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Raw;
    type Decoder = Raw;
    fn encoder(&mut self) -> Raw {
        Raw
    }
    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;
    fn encode(&mut self, item: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;
    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let bytes = from.remaining();
        Ok(Some(from.copy_to_bytes(bytes).to_vec()))
    }
}
