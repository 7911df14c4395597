//! Connections that break, and a service that is told to stop.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use budget_consolidator::cli::serve::STOPPED_AT_ONCE;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;

use super::*;

/// Stands between a client and a server: passes bytes on, can swallow the server's, and can reset both.
struct Relay {
    address: String,
    swallow: Arc<AtomicBool>,
    cut: oneshot::Sender<()>,
    passing: tokio::task::JoinHandle<()>,
}

impl Relay {
    async fn before(server: &str) -> Relay {
        let (scheme, server) = server.split_once("://").map(|(s, a)| (s.to_owned(), a.to_owned())).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("{scheme}://{}", listener.local_addr().unwrap());
        let (cut, mut told) = oneshot::channel();
        let swallow = Arc::new(AtomicBool::new(false));
        let swallowing = swallow.clone();
        let passing = tokio::spawn(async move {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut server = TcpStream::connect(server).await.unwrap();
            let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
            loop {
                tokio::select! {
                    _ = &mut told => break,
                    read = client.read(&mut up) => match read {
                        Ok(bytes) if bytes > 0 => server.write_all(&up[..bytes]).await.unwrap(),
                        _ => break,
                    },
                    read = server.read(&mut down) => match read {
                        Ok(_) if swallowing.load(Ordering::Relaxed) => {}
                        Ok(bytes) if bytes > 0 => client.write_all(&down[..bytes]).await.unwrap(),
                        _ => break,
                    },
                }
            }
            // Closed so, a socket sends a reset.
            let _ = client.set_zero_linger();
            let _ = server.set_zero_linger();
        });
        Relay { address, swallow, cut, passing }
    }

    /// Nothing passes any more once this has come back.
    async fn cut(self) {
        let _ = self.cut.send(());
        self.passing.await.unwrap();
    }
}

/// A filing that is being sent, piece by piece.
struct Sending {
    pieces: mpsc::Sender<api::SubmitRequest>,
    rest: std::vec::IntoIter<api::submit_request::Part>,
    answer: tokio::task::JoinHandle<Result<api::SubmitResponse, Status>>,
}

impl Sending {
    /// Sends the header and the first rows.
    async fn begin(client: &Client, key: &str) -> Sending {
        let form = form("shanxi-2024");
        let rest = parts(&example("fenyang-2024/submissions/407003.json"), &form, key).into_iter();
        let (pieces, stream) = mpsc::channel(1);
        let mut service = client.submissions();
        let answer =
            tokio::spawn(
                async move { service.submit(ReceiverStream::new(stream)).await.map(|answer| answer.into_inner()) },
            );
        let mut sending = Sending { pieces, rest, answer };
        assert!(sending.next().await && sending.next().await);
        // The second found room, so the first was taken: the request is on its way. What is asked behind it on the same
        // connection is answered once the server has it.
        look(client).await.unwrap();
        sending
    }

    async fn next(&mut self) -> bool {
        let Some(part) = self.rest.next() else { return false };
        self.pieces.send(api::SubmitRequest { part: Some(part) }).await.is_ok()
    }

    async fn finish(mut self) -> Result<api::SubmitResponse, Status> {
        while self.next().await {}
        drop(self.pieces);
        self.answer.await.unwrap()
    }
}

async fn furnished(certificates: &Certificates) -> (TestServer, Person) {
    let server = certificates.serve(Arc::default()).await;
    let administrator = certificates.issue("0/administrator", year()).connect(&server.address).await;
    administrator.import_units("fenyang-2024/units.csv", 2024).await.unwrap();
    (server, certificates.issue("407003/unit", year()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_midway_leaves_nothing() {
    let certificates = Certificates::new();
    let (server, unit) = furnished(&certificates).await;
    let before = server.consolidator.snapshot().state.position;
    let relay = Relay::before(&server.address).await;
    let sending = Sending::begin(&unit.connect(&relay.address).await, "reset").await;
    relay.cut().await;
    assert!(sending.finish().await.is_err());
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(server.consolidator.snapshot().state.position, before);
    // The key was not used up.
    let whole = Sending::begin(&unit.connect(&server.address).await, "reset").await.finish().await.unwrap();
    assert_eq!((whole.version, whole.position), (1, before + 1));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_lost_the_answer_asks_again_and_gets_the_first_one() {
    let certificates = Certificates::new();
    let (server, unit) = furnished(&certificates).await;
    let before = server.consolidator.snapshot().state.position;
    let relay = Relay::before(&server.address).await;
    let sending = Sending::begin(&unit.connect(&relay.address).await, "lost").await;
    relay.swallow.store(true, Ordering::Relaxed);
    let answer = tokio::spawn(sending.finish());
    let start = Instant::now();
    while server.consolidator.snapshot().state.position == before {
        assert!(start.elapsed() < Duration::from_secs(10), "never filed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    relay.cut().await;
    assert!(answer.await.unwrap().is_err(), "the answer should have been lost");
    let again = Sending::begin(&unit.connect(&server.address).await, "lost").await.finish().await.unwrap();
    assert_eq!((again.version, again.position), (1, before + 1));
    assert_eq!(server.consolidator.snapshot().state.position, before + 1);
    server.stop().await;
}

/// A server on a directory, and a unit that is connected.
async fn program(certificates: &Certificates, data: &Path) -> (Program, Person) {
    let program = Program::serve(&["--tls", certificates.path("tls").to_str().unwrap()], data);
    let administrator = certificates.issue("0/administrator", year()).connect(&program.address).await;
    administrator.import_units("fenyang-2024/units.csv", 2024).await.unwrap();
    (program, certificates.issue("407003/unit", year()))
}

/// The filing of 407003 that a new start on the directory shows: how many versions.
async fn versions(data: &Path) -> usize {
    let again = Program::serve(&["--insecure-loopback"], data);
    let client = Client::connect(&again.address, AUDITOR).await;
    let request = api::ListSubmissionsRequest::default();
    client.submissions().list_submissions(request).await.unwrap().into_inner().submissions.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_open_at_sigterm_may_end_and_is_not_lost() {
    let (certificates, data) = (Certificates::new(), tempfile::tempdir().unwrap());
    let (mut program, unit) = program(&certificates, data.path()).await;
    let sending = Sending::begin(&unit.connect(&program.address).await, "drained").await;
    program.signal("TERM");
    until("nobody new gets in", async || unit.ask(&program.address).await.is_err()).await;
    let answer = sending.finish().await.unwrap();
    assert_eq!(answer.version, 1);
    assert_eq!(program.ended(Duration::from_secs(8)).await, Some(0));
    assert_eq!(versions(data.path()).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_it_at_once_and_loses_nothing_acknowledged() {
    let (certificates, data) = (Certificates::new(), tempfile::tempdir().unwrap());
    let (mut program, unit) = program(&certificates, data.path()).await;
    let client = unit.connect(&program.address).await;
    assert_eq!(Sending::begin(&client, "first").await.finish().await.unwrap().version, 1);
    let sending = Sending::begin(&client, "second").await;
    program.signal("TERM");
    until("nobody new gets in", async || unit.ask(&program.address).await.is_err()).await;
    assert_eq!(program.child.try_wait().unwrap(), None, "it waits for the open stream");
    program.signal("TERM");
    assert_eq!(program.ended(Duration::from_secs(3)).await, Some(STOPPED_AT_ONCE));
    assert!(sending.finish().await.is_err());
    assert_eq!(versions(data.path()).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_never_ends_does_not_keep_it_from_stopping() {
    let certificates = Certificates::new();
    let (server, unit) = furnished(&certificates).await;
    let sending = Sending::begin(&unit.connect(&server.address).await, "endless").await;
    let start = Instant::now();
    // The tests' drain is two seconds.
    server.stop().await;
    assert!((Duration::from_secs(1)..Duration::from_secs(8)).contains(&start.elapsed()), "{:?}", start.elapsed());
    drop(sending);
}
