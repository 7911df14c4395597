//! The two servers that are compared, each in a process of its own: this program again, told by the environment what
//! to be. So the memory and the processor time of a server are its own, and a restart is one.

use std::convert::Infallible;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::task::{Context, Poll};
use std::time::Duration;

use budget_consolidator::cli::serve;
use budget_consolidator::grpc::limits;
use budget_consolidator::proto::api;
use budget_consolidator::proto::api::submission_service_server::SERVICE_NAME;
use budget_consolidator::store::MirrorOptions;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{ClientStreamingService, Grpc, NamedService};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

const ROLE: &str = "BENCH_ROLE";
const DATA: &str = "BENCH_DATA";

/// A server that runs. Dropped, it is killed; asked to stop, it ends in an orderly way.
pub(crate) struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    pub(crate) address: String,
}

impl Process {
    /// The server itself, on a data directory.
    pub(crate) fn real(data: &Path) -> Process {
        Process::spawn("real", data)
    }

    /// The same with a synced mirror, in a directory below the data's.
    pub(crate) fn mirrored(data: &Path) -> Process {
        Process::spawn("mirrored", data)
    }

    /// A server that decodes the same messages, counts them and answers.
    pub(crate) fn sink() -> Process {
        Process::spawn("sink", Path::new(""))
    }

    fn spawn(role: &str, data: &Path) -> Process {
        let program = std::env::current_exe().expect("the path of this program");
        let mut command = Command::new(program);
        command.env(ROLE, role).env(DATA, data).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("a second process");
        let mut address = String::new();
        let output = child.stdout.take().expect("its output");
        BufReader::new(output).read_line(&mut address).expect("its address");
        assert!(address.starts_with("http://"), "the {role} server did not come up");
        Process { stdin: child.stdin.take(), child, address: address.trim().to_owned() }
    }

    /// Ends it in an orderly way and waits for that.
    pub(crate) fn stop(mut self) {
        self.stdin = None;
        self.child.wait().expect("the end of a server");
    }

    /// The most memory that it ever had, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok());
        kib.unwrap_or_default() * 1024
    }

    /// The processor time that it has used, in ticks of 10 ms.
    pub(crate) fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        // Behind the name in parentheses, user and system time are the 12th and 13th field.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_ascii_whitespace().skip(11).take(2);
        Duration::from_millis(fields.filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() * 10)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the server that the environment asks for, until its standard input ends; `false` if it asks for none.
pub(crate) fn run_as_told() -> bool {
    let Ok(role) = std::env::var(ROLE) else { return false };
    let data = std::env::var_os(DATA).unwrap_or_default();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let (ended, end) = oneshot::channel::<()>();
        std::thread::spawn(move || {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            let _ = ended.send(());
        });
        let shutdown = async {
            let _ = end.await;
        };
        if role == "sink" {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            println!("http://{}", listener.local_addr().expect("an address"));
            let server = Server::builder()
                .max_concurrent_streams(limits::STREAMS_PER_CONNECTION_MAX)
                .initial_connection_window_size(limits::WINDOW_BYTES)
                .initial_stream_window_size(limits::WINDOW_BYTES)
                .http2_keepalive_interval(Some(Duration::from_secs(30)))
                .add_service(Sink);
            let served =
                server.serve_with_incoming_shutdown(TcpIncoming::from(listener).with_nodelay(Some(true)), shutdown);
            served.await.expect("the sink");
        } else {
            let address = ([127, 0, 0, 1], 0).into();
            let data = Path::new(&data);
            let mirror = data.join("mirror");
            let mirror = (role == "mirrored").then(|| (mirror.as_path(), MirrorOptions::default()));
            let server = serve::open_mirrored(&data.join("store"), mirror, address).await.expect("the store");
            println!("{}", server.address);
            server.run(shutdown).await.expect("the server");
        }
    });
    true
}

/// Decodes what arrives as generated code does, a text for each cell, counts the rows, and answers.
#[derive(Clone)]
struct Sink;

/// `SubmitRequest` as it would be generated; the server reads chunks and the headers of tables by leaner types of its own.
#[derive(Clone, PartialEq, prost::Message)]
struct Received {
    #[prost(oneof = "Part", tags = "1, 2, 3")]
    part: Option<Part>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Part {
    #[prost(message, tag = "1")]
    Header(Header),
    #[prost(message, tag = "2")]
    Chunk(Chunk),
    #[prost(message, tag = "3")]
    Seal(api::Seal),
}

#[derive(Clone, PartialEq, prost::Message)]
struct Header {
    #[prost(message, optional, tag = "1")]
    slot: Option<api::Slot>,
    #[prost(string, tag = "2")]
    form_set: String,
    #[prost(bytes = "vec", tag = "3")]
    form_set_digest: Vec<u8>,
    #[prost(string, tag = "4")]
    idempotency_key: String,
    #[prost(uint32, optional, tag = "5")]
    version: Option<u32>,
    #[prost(message, repeated, tag = "6")]
    tables: Vec<TableHeader>,
    #[prost(enumeration = "api::Sentences", tag = "7")]
    sentences: i32,
    #[prost(message, optional, tag = "8")]
    adjustment: Option<api::Adjustment>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TableHeader {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(bool, tag = "2")]
    empty: bool,
    #[prost(string, tag = "3")]
    amount_unit: String,
    #[prost(uint32, optional, tag = "4")]
    decimals: Option<u32>,
    #[prost(string, repeated, tag = "5")]
    columns: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Chunk {
    #[prost(message, repeated, tag = "1")]
    rows: Vec<api::Row>,
}

impl ClientStreamingService<Received> for Sink {
    type Response = api::SubmitResponse;
    type Future = BoxFuture<Response<api::SubmitResponse>, Status>;

    fn call(&mut self, request: Request<Streaming<Received>>) -> Self::Future {
        Box::pin(async {
            let mut stream = request.into_inner();
            let mut verdict = api::Verdict::default();
            while let Some(message) = stream.message().await? {
                if let Some(Part::Chunk(chunk)) = message.part {
                    verdict.row_count += chunk.rows.len() as u64;
                }
            }
            Ok(Response::new(api::SubmitResponse { verdict: Some(verdict), version: 1, ..Default::default() }))
        })
    }
}

impl Service<http::Request<Body>> for Sink {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async {
            let mut grpc = Grpc::new(ProstCodec::<api::SubmitResponse, Received>::default())
                .apply_max_message_size_config(Some(limits::MESSAGE_BYTES_MAX), None);
            Ok(grpc.client_streaming(Sink, request).await)
        })
    }
}

impl NamedService for Sink {
    const NAME: &'static str = SERVICE_NAME;
}
