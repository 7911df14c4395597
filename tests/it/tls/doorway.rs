//! Bytes that are no handshake, and handshakes that never end. Each time a good client is served all the same.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use budget_consolidator::grpc::limits;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request};

use super::*;

fn port_of(address: &str) -> &str {
    address.split_once("://").unwrap().1
}

/// Sends bytes and reads until the end, at most for so long.
fn shout(address: &str, bytes: &[u8], within: Duration) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(port_of(address))?;
    stream.set_read_timeout(Some(within))?;
    stream.write_all(bytes)?;
    let mut heard = Vec::new();
    match stream.read_to_end(&mut heard) {
        // A reset is an end as well.
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(heard),
        other => other.map(|_| heard),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_handshake_is_hung_up_on() {
    let certificates = Certificates::new();
    let good = certificates.issue("407001/unit", year());
    let (secure, plain) = (certificates.serve(Arc::default()).await, TestServer::start().await);
    let seeded: Vec<u8> = (0..4_096u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    // A TLS record that says it goes on for ever.
    let endless = [&[0x16, 0x03, 0x01, 0x40, 0x00][..], &[0x01; 20_000][..]].concat();
    let http1 = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec();
    let http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    for (what, bytes) in [("HTTP/1", &http1), ("HTTP/2", &http2), ("garbage", &seeded), ("an endless record", &endless)]
    {
        let (address, bytes) = (secure.address.clone(), bytes.clone());
        let heard = tokio::task::spawn_blocking(move || shout(&address, &bytes, Duration::from_secs(5)));
        let heard = heard.await.unwrap();
        // An alert in the clear, from which our own client knows that it should have spoken TLS; nothing else.
        assert!(heard.as_ref().is_ok_and(|heard| heard.len() <= 7), "{what}: {heard:?}");
        good.ask(&secure.address).await.unwrap();
    }
    for (what, bytes) in [("HTTP/1", &http1), ("garbage", &seeded), ("a TLS hello", &endless)] {
        let (address, bytes) = (plain.address.clone(), bytes.clone());
        let heard = tokio::task::spawn_blocking(move || shout(&address, &bytes, Duration::from_secs(5)));
        assert!(heard.await.unwrap().is_ok(), "{what}: not hung up on");
        look(&plain.client(BUREAU).await).await.unwrap();
    }
    secure.stop().await;
    plain.stop().await;
}

/// Whoever is hung up on is listened to for a moment, so that they can read why, and not for longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_goes_on_talking_is_listened_to_for_a_moment() {
    let certificates = Certificates::new();
    let server = certificates.serve(Arc::default()).await;
    let address = server.address.clone();
    let listened = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(port_of(&address)).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n").unwrap();
        let start = Instant::now();
        // A closed socket answers with a reset, and the next write hears of it.
        while stream.write_all(b"x").is_ok() && start.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(50));
        }
        start.elapsed()
    });
    let listened = listened.await.unwrap();
    assert!((Duration::from_millis(800)..Duration::from_secs(8)).contains(&listened), "{listened:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_header_block_that_is_too_large_is_refused_and_the_connection_goes_on() {
    let certificates = Certificates::new();
    let server = certificates.serve(Arc::default()).await;
    let client = certificates.issue("407001/unit", year()).connect(&server.address).await;
    let asked = |bytes: usize| {
        let mut request = Request::new(api::ListFormSetsRequest::default());
        request.metadata_mut().insert("x-long", MetadataValue::try_from("a".repeat(bytes)).unwrap());
        request
    };
    client.registry().list_form_sets(asked(1_000)).await.unwrap();
    let status = client.registry().list_form_sets(asked(limits::HEADER_BYTES_MAX as usize)).await.unwrap_err();
    assert_ne!(status.code(), Code::Ok);
    look(&client).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn one_identity_has_so_many_connections_and_others_theirs() {
    let certificates = Certificates::new();
    let server = certificates.serve(Arc::default()).await;
    let greedy = certificates.issue("407001/unit", year());
    let mut held = Vec::new();
    for _ in 0..limits::CONNECTIONS_PER_IDENTITY_MAX {
        let client = greedy.connect(&server.address).await;
        look(&client).await.unwrap();
        held.push(client);
    }
    assert!(greedy.ask(&server.address).await.is_err());
    certificates.issue("407002/unit", year()).ask(&server.address).await.unwrap();
    // Whoever leaves makes room.
    drop(held);
    let start = Instant::now();
    while let Err(text) = greedy.ask(&server.address).await {
        assert!(start.elapsed() < Duration::from_secs(30), "{text}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server.stop().await;
}

/// How many files a process may have open here.
fn files_max() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(3).and_then(|word| word.parse().ok()).unwrap_or(usize::MAX)
}

/// The most memory that a process ever had, in MiB.
fn peak(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() / 1_024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_who_stand_in_the_doorway_take_no_room_from_those_who_mean_well() {
    let wanted = std::env::var("HALF_OPEN").ok().and_then(|text| text.parse().ok()).unwrap_or(10_000);
    let number = wanted.min(files_max().saturating_sub(1_000));
    if number < wanted {
        println!("SHORTENED to {number} connections: this process may open no more files");
    }
    let certificates = Certificates::new();
    let (good, data) = (certificates.issue("407001/unit", year()), tempfile::tempdir().unwrap());
    let program = Program::serve(&["--tls", certificates.path("tls").to_str().unwrap()], data.path());
    good.ask(&program.address).await.unwrap();
    let before = peak(program.child.id());
    let mut held = Vec::new();
    for at in 0..number {
        let mut stream = TcpStream::connect(port_of(&program.address)).unwrap();
        // Half of them begin to say something.
        if at % 2 == 0 {
            let _ = stream.write_all(&[0x16, 0x03, 0x01]);
        }
        held.push(stream);
        if at % 1_000 == 999 {
            let asked = tokio::time::timeout(Duration::from_secs(10), good.ask(&program.address));
            asked.await.expect("an answer in time").unwrap();
        }
    }
    let files = std::fs::read_dir(format!("/proc/{}/fd", program.child.id())).unwrap().count();
    assert!(files <= limits::HALF_OPEN_MAX + 200, "{files} files are open");
    let grown = peak(program.child.id()) - before;
    assert!(grown < 64, "{grown} MiB for connections that say nothing");
}
