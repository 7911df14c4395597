//! What a Prometheus reads: counts of what happened, and where things stand; nothing of what was filed.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use budget_consolidator::consolidator::Free;

use crate::support::*;

/// Name with labels, and value, of each line that is no comment.
fn values(page: &str) -> BTreeMap<String, String> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.rsplit_once(' ')).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[tokio::test]
async fn what_happened_is_counted_and_what_stands_is_looked_at() {
    let server = TestServer::start().await;
    crate::replay::file_the_example(&server).await;
    let form = form("shanxi-2024");
    let slip = example("fenyang-2024/submissions/407004-slip.json");
    let client = server.client(&unit("407004")).await;
    let asked = parts(&slip, &form, "slip");
    client.submit_parts(asked.clone()).await.unwrap();
    client.submit_parts(asked).await.unwrap();
    let page = server.consolidator.metrics(Free { store: Some(4_096), mirror: Some(8_192) }, &[]);
    let values = values(&page);
    let value = |name: &str| values.get(name).unwrap_or_else(|| panic!("{name} is not in\n{page}")).as_str();
    for (name, expected) in [
        ("budget_filings_total{outcome=\"submitted\"}", "5"),
        ("budget_filings_total{outcome=\"refused\"}", "2"),
        ("budget_filings_total{outcome=\"repeated\"}", "1"),
        // The ceiling, and the seven rules that the slip fails.
        ("budget_findings_total{strength=\"balance\"}", "8"),
        ("budget_findings_total{strength=\"logic\"}", "56"),
        ("budget_journal_position", "11"),
        ("budget_group_events_sum", "11.0"),
        ("budget_mirror_lag_events", "-1"),
        ("budget_writer_queue", "0"),
        ("budget_accepting", "1"),
        ("budget_store_free_bytes", "4096"),
        ("budget_mirror_free_bytes", "8192"),
    ] {
        assert_eq!(value(name), expected, "{name}\n{page}");
    }
    assert!(value("budget_group_sync_seconds_count").parse::<u64>().unwrap() > 0);
    // What can't be read is found once, however often the answer is asked for.
    let mut unreadable = example("fenyang-2024/submissions/407004.json");
    "好多".clone_into(&mut unreadable.tables[0].rows[0].1[0]);
    let asked = parts(&unreadable, &form, "unreadable");
    let found = async || {
        client.submit_parts(asked.clone()).await.unwrap();
        let page = server.consolidator.metrics(Free::default(), &[]);
        page.lines().filter(|line| line.starts_with("budget_findings_total")).map(str::to_owned).collect::<Vec<_>>()
    };
    let once = found().await;
    assert_ne!(
        once.join("\n"),
        page.lines().filter(|line| line.starts_with("budget_findings_total")).collect::<Vec<_>>().join("\n")
    );
    assert_eq!(once, found().await);
    for word in ["407", "fenyang", "41670"] {
        assert!(!page.contains(word), "{word} is nobody's business\n{page}");
    }
    server.stop().await;
}

#[test]
fn the_page_is_served_on_an_address_of_its_own() {
    let data = tempfile::tempdir().unwrap();
    let certificates = crate::tls::Certificates::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut server = Command::new(env!("CARGO_BIN_EXE_consolidator"))
        .args(["serve", "--listen", "127.0.0.1:0", "--metrics", &free.to_string(), "--tls"])
        .arg(certificates.path("tls"))
        .arg("--data")
        .arg(data.path().join("data"))
        .arg("--mirror")
        .arg(data.path().join("mirror"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut address = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut address).unwrap();
    let ask = |path: &str| {
        let mut stream = TcpStream::connect(free).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let (page, ready) = (ask("/metrics"), ask("/ready"));
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    // The two form sets that came with the program, in store and mirror.
    assert!(page.contains("budget_journal_position 2\n") && page.contains("budget_mirror_lag_events 0\n"), "{page}");
    for disk in ["store", "mirror"] {
        assert!(page.contains(&format!("budget_{disk}_free_bytes ")), "{page}");
        assert!(!page.contains(&format!("budget_{disk}_free_bytes -1")), "{page}");
    }
    for certificate in ["server", "ca"] {
        let name = format!("budget_certificate_expiry{{certificate=\"{certificate}\"}} ");
        let until = page.lines().find_map(|line| line.strip_prefix(&name)).unwrap_or_else(|| panic!("{page}"));
        let days = (until.parse::<i64>().unwrap() - crate::tls::now()) / 86_400;
        assert!((363..=365).contains(&days), "{certificate}: {days}");
    }
    assert!(ready.starts_with("HTTP/1.1 200") && ready.ends_with("ready\n"), "{ready}");
}
