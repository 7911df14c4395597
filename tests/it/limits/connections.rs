//! Connections: how long one may take to come in, how many there may be, and what the server's first frames promise.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, HandshakeKind, RootCertStore};

use super::*;
use crate::tls::{Certificates, Person, look, year};

const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Settings that say nothing.
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

async fn knock(server: &TestServer) -> TcpStream {
    TcpStream::connect(server.address.split_once("://").unwrap().1).await.unwrap()
}

/// A connector with a person's certificate.
fn connector(person: &Person) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(person.ca.as_bytes()).unwrap()).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(person.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(person.key.as_bytes()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    let mut config = config.with_client_auth_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsConnector::from(Arc::new(config))
}

/// Waits until the other side hangs up; how long it took.
async fn hung_up(what: &str, mut stream: impl AsyncReadExt + Unpin, start: Instant) -> Duration {
    let ended = tokio::time::timeout(Duration::from_secs(8), async {
        while stream.read(&mut [0; 1_024]).await.is_ok_and(|bytes| bytes > 0) {}
    });
    assert!(ended.await.is_ok(), "{what}: still connected, after longer than it may take");
    start.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_takes_no_longer_than_it_may() {
    let bounds = Bounds { handshake: Duration::from_secs(1), ..Bounds::default() };
    let certificates = Certificates::new();
    let person = certificates.issue("407001/unit", year());
    let (secure, plain) = (certificates.serve_within(Arc::default(), bounds).await, TestServer::within(bounds).await);
    let (start, mut stay) = (Instant::now(), Vec::new());
    for (server, what, said) in [
        (&secure, "silent at TLS", &b""[..]),
        (&secure, "half a record at TLS", &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01][..]),
        (&plain, "silent in the clear", b""),
        (&plain, "half a greeting", &GREETING[..11]),
    ] {
        let mut stream = knock(server).await;
        stream.write_all(said).await.unwrap();
        stay.push(tokio::spawn(hung_up(what, stream, start)));
    }
    // Through its handshake, and then it says nothing or half of it.
    for said in [&b""[..], &GREETING[..11]] {
        let name = "localhost".try_into().unwrap();
        let mut stream = connector(&person).connect(name, knock(&secure).await).await.unwrap();
        stream.write_all(said).await.unwrap();
        stream.flush().await.unwrap();
        stay.push(tokio::spawn(hung_up("no greeting over TLS", stream, start)));
    }
    // Slow, and in time.
    let mut slow = knock(&plain).await;
    slow.write_all(&GREETING[..11]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    slow.write_all(&[&GREETING[11..], SETTINGS].concat()).await.unwrap();
    let mut head = [0; 9];
    tokio::time::timeout(Duration::from_secs(8), slow.read_exact(&mut head)).await.unwrap().unwrap();
    assert_eq!(head[3], 4, "settings come first: {head:?}");
    for one in stay {
        let took = one.await.unwrap();
        assert!(took > Duration::from_millis(900), "not before its time: {took:?}");
    }
    person.ask(&secure.address).await.unwrap();
    // Who greeted in time stays: the server answers a ping.
    slow.write_all(&[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]).await.unwrap();
    let mut heard = Vec::new();
    while !heard.ends_with(&[1, 2, 3, 4, 5, 6, 7, 8]) {
        let read = tokio::time::timeout(Duration::from_secs(8), slow.read_buf(&mut heard)).await.unwrap().unwrap();
        assert!(read > 0, "hung up on: {heard:?}");
    }
    secure.stop().await;
    plain.stop().await;
}

/// A session that goes on would go on after its certificate was revoked.
#[tokio::test]
async fn every_connection_shows_its_certificate_anew() {
    let certificates = Certificates::new();
    let server = certificates.serve(Arc::default()).await;
    let connector = connector(&certificates.issue("407001/unit", year()));
    for at in 0..3 {
        let stream = knock(&server).await;
        let mut stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
        stream.write_all(&[GREETING, SETTINGS].concat()).await.unwrap();
        // Where there was a ticket it would have come by now.
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Full), "connection {at}");
    }
    server.stop().await;
}

#[tokio::test]
async fn as_many_connections_are_let_in_as_may_be() {
    let bounds = Bounds { connections: 3, ..Bounds::default() };
    let certificates = Certificates::new();
    let server = certificates.serve_within(Arc::default(), bounds).await;
    let mut held = Vec::new();
    for unit in ["407001", "407002", "407003"] {
        let client = certificates.issue(&format!("{unit}/unit"), year()).connect(&server.address).await;
        look(&client).await.unwrap();
        held.push(client);
    }
    let fourth = certificates.issue("407004/unit", year());
    assert!(fourth.ask(&server.address).await.is_err());
    for client in &held {
        look(client).await.unwrap();
    }
    held.pop();
    until("whoever leaves makes room", async || fourth.ask(&server.address).await.is_ok()).await;
    server.stop().await;
    // And where nobody has a certificate.
    let server = TestServer::within(bounds).await;
    let held = [server.client(BUREAU).await, server.client(AUDITOR).await, server.client(ADMINISTRATOR).await];
    for client in &held {
        look(client).await.unwrap();
    }
    let mut fourth = knock(&server).await;
    fourth.write_all(&[GREETING, SETTINGS].concat()).await.unwrap();
    hung_up("one connection too many", fourth, Instant::now()).await;
    server.stop().await;
}

/// How much a client may send ahead, how many streams and how long headers it may send: HTTP/2 says so at the beginning,
/// and whoever goes beyond breaks the protocol.
#[tokio::test]
async fn a_client_sends_ahead_as_much_as_it_may() {
    let server = TestServer::start().await;
    let mut stream = knock(&server).await;
    stream.write_all(&[GREETING, SETTINGS].concat()).await.unwrap();
    let (mut settings, mut window) = (Vec::new(), 65_535);
    while settings.is_empty() || window == 65_535 {
        let mut head = [0; 9];
        tokio::time::timeout(Duration::from_secs(8), stream.read_exact(&mut head)).await.unwrap().unwrap();
        let mut frame = vec![0; usize::from(head[1]) * 256 + usize::from(head[2])];
        stream.read_exact(&mut frame).await.unwrap();
        match (head[3], head[4]) {
            (4, 0) => settings = frame,
            (8, _) => window += u32::from_be_bytes(frame.try_into().unwrap()),
            _ => {}
        }
    }
    let setting = |id: u8| {
        let found = settings.chunks(6).find(|setting| setting[..2] == [0, id]);
        found.map(|setting| u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]))
    };
    assert_eq!(setting(3), Some(limits::STREAMS_PER_CONNECTION_MAX));
    assert_eq!(setting(4), Some(limits::WINDOW_BYTES));
    assert_eq!(setting(6), Some(limits::HEADER_BYTES_MAX));
    assert_eq!(window, limits::WINDOW_BYTES);
    // A filing of usual size goes into it with room to spare.
    let messages = parts(&example("fenyang-2024/submissions/407002.json"), &form("shanxi-2024"), "ahead").into_iter();
    let bytes: usize = messages.map(|part| api::SubmitRequest { part: Some(part) }.encoded_len()).sum();
    assert!(bytes < limits::WINDOW_BYTES as usize / 4, "{bytes}");
    server.stop().await;
}
