//! The door with TLS, over real sockets: who gets in and who doesn't, what happens to those who are in when their
//! certificate falls, and what a connection that breaks leaves behind. `way_in` is about certificates, `doorway` about
//! bytes that are no handshake, `breaks` about connections that end, `clerk` about the command line.

mod breaks;
mod clerk;
mod doorway;
mod way_in;

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use budget_consolidator::certificate::authority::{Authority, Validity};
use budget_consolidator::cli::serve::wall_clock;
use budget_consolidator::consolidator::{Consolidator, embedded_form_sets};
use budget_consolidator::grpc::door::Door;
use budget_consolidator::grpc::limits::Bounds;
use budget_consolidator::grpc::tls::Tls;
use budget_consolidator::ledger::actor::Actor;
use budget_consolidator::ledger::event::Timestamp;
use budget_consolidator::proto::api;
use budget_consolidator::store::MemoryJournal;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tonic::Status;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::support::*;

/// Seconds of Unix time by the clock on the wall.
pub(crate) fn now() -> i64 {
    wall_clock()().0 / 1_000
}

pub(crate) fn year() -> Validity {
    Validity::days(now(), 365)
}

/// An authority in a folder of its own, which has made a folder for a server.
pub(crate) struct Certificates {
    folder: TempDir,
    pub(crate) authority: Authority,
}

impl Certificates {
    pub(crate) fn new() -> Certificates {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::init(&folder.path().join("ca"), "Test", year()).unwrap();
        authority.issue_server(&["localhost".into(), "127.0.0.1".into()], year(), &folder.path().join("tls")).unwrap();
        Certificates { folder, authority }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A certificate, in the folder `people`.
    pub(crate) fn issue(&self, actor: &str, validity: Validity) -> Person {
        let actor = Actor::parse(&format!("budget://{actor}")).unwrap();
        self.authority.issue_identity(&actor, validity, &self.path("people"), "https://localhost").unwrap();
        let name = format!("{}-{}", actor.node, actor.role.as_str());
        Person::read(&self.path("people"), &name)
    }

    /// A server in this process, by the clock on the wall turned by so many seconds.
    pub(crate) async fn serve(&self, turned: Arc<AtomicI64>) -> TestServer {
        self.serve_within(turned, Bounds::default()).await
    }

    /// The same, within other bounds than usual.
    pub(crate) async fn serve_within(&self, turned: Arc<AtomicI64>, bounds: Bounds) -> TestServer {
        let wall = wall_clock();
        let clock = Arc::new(move || Timestamp(wall().0 + turned.load(Ordering::Relaxed) * 1_000));
        let tls = Tls::open(&self.path("tls"), clock).unwrap();
        let door = Door::secure(TcpListener::bind("127.0.0.1:0").await.unwrap(), tls);
        let opened = Consolidator::open(Arc::new(MemoryJournal::new()), test_clock(), embedded_form_sets(), None);
        TestServer::behind_within(door, opened.unwrap(), bounds)
    }
}

/// Certificate and key of somebody, and whom they trust.
#[derive(Clone)]
pub(crate) struct Person {
    pub(crate) certificate: String,
    pub(crate) key: String,
    pub(crate) ca: String,
}

impl Person {
    pub(crate) fn read(folder: &Path, name: &str) -> Person {
        let read = |file: String| std::fs::read_to_string(folder.join(file)).unwrap();
        Person {
            certificate: read(format!("{name}.pem")),
            key: read(format!("{name}-key.pem")),
            ca: read("ca.pem".to_owned()),
        }
    }

    fn tls(&self) -> ClientTlsConfig {
        ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&self.ca))
            .identity(Identity::from_pem(&self.certificate, &self.key))
    }

    pub(crate) async fn connect(&self, address: &str) -> Client {
        Client::on(channel(address, self.tls()).await.unwrap(), "")
    }

    /// Connects and asks for something; with all that went wrong as text.
    pub(crate) async fn ask(&self, address: &str) -> Result<(), String> {
        ask_over(address, self.tls()).await
    }
}

async fn channel(address: &str, tls: ClientTlsConfig) -> Result<Channel, tonic::transport::Error> {
    Endpoint::from_shared(address.to_owned()).unwrap().tls_config(tls).unwrap().connect().await
}

pub(crate) async fn ask_over(address: &str, tls: ClientTlsConfig) -> Result<(), String> {
    let channel = channel(address, tls).await.map_err(|error| causes(&error))?;
    look(&Client::on(channel, "")).await.map_err(|status| causes(&status))
}

/// Any request for which one has to be somebody.
pub(crate) async fn look(client: &Client) -> Result<(), Status> {
    client.registry().list_form_sets(api::ListFormSetsRequest::default()).await.map(drop)
}

pub(crate) fn causes(error: &dyn Error) -> String {
    let mut text = format!("{error} {error:?}");
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner} {inner:?}"));
        cause = inner.source();
    }
    text
}

/// The program itself, serving.
pub(crate) struct Program {
    pub(crate) child: Child,
    pub(crate) address: String,
}

impl Program {
    pub(crate) fn serve(arguments: &[&str], data: &Path) -> Program {
        let mut child = Command::new(env!("CARGO_BIN_EXE_consolidator"))
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Program { child, address: address.trim().to_owned() }
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: &str) {
        let line = format!("kill -{signal} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &line]).status().unwrap().success());
    }

    /// Waits for its end; its exit code.
    pub(crate) async fn ended(&mut self, within: Duration) -> Option<i32> {
        let start = Instant::now();
        while start.elapsed() < within {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("still running after {within:?}");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
