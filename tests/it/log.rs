//! What the log says of a request: who, what, where in the journal; and no figure and no text of a filing.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use budget_consolidator::certificate::authority::Validity;
use budget_consolidator::grpc::REQUEST_ID_HEADER;
use budget_consolidator::proto::api;
use tonic::Request;
use tonic::metadata::MetadataValue;

use crate::support::*;

#[tokio::test]
async fn the_log_names_request_actor_unit_and_position_and_no_figure() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Command::new(env!("CARGO_BIN_EXE_consolidator"))
        .args(["serve", "--insecure-loopback", "--listen", "127.0.0.1:0", "--log", "json", "--data"])
        .arg(data.path().join("data"))
        .env_remove("RUST_LOG")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut address = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut address).unwrap();
    let address = address.trim().to_owned();
    let connect = async |actor: &str| Client::connect(&address, actor).await;
    connect(ADMINISTRATOR).await.import_units("fenyang-2024/units.csv", 2024).await.unwrap();
    connect(BUREAU).await.issue_control("fenyang-2024/control.csv", "shanxi-2024", 2024).await.unwrap();
    let form = form("shanxi-2024");
    let file = example("fenyang-2024/submissions/407002.json");
    let parts = parts(&file, &form, "key-that-is-nobodys-business");
    let mut request = Request::new(tokio_stream::iter(
        parts.into_iter().map(|part| api::SubmitRequest { part: Some(part) }).collect::<Vec<_>>(),
    ));
    request.metadata_mut().insert(REQUEST_ID_HEADER, MetadataValue::from_static("clerk-17"));
    let client = connect(&unit("407002")).await;
    let answer = client.submissions().submit(request).await.unwrap();
    // The id comes back; without one, or with one that can't be said again, the server makes one.
    assert_eq!(answer.metadata().get(REQUEST_ID_HEADER).unwrap(), "clerk-17");
    let answer = answer.into_inner();
    let (position, total) = (answer.position, answer.verdict.unwrap().control_total);
    for given in ["", "a b", "x\"}"] {
        let mut request = Request::new(api::ListFormSetsRequest {});
        if !given.is_empty() {
            request.metadata_mut().insert(REQUEST_ID_HEADER, MetadataValue::try_from(given).unwrap());
        }
        let answer = client.registry().list_form_sets(request).await.unwrap();
        let made = answer.metadata().get(REQUEST_ID_HEADER).unwrap().to_str().unwrap();
        assert!(made != given && made.len() > 8, "{made}");
    }
    // Refused, with figures and without.
    let slip = example("fenyang-2024/submissions/407004-slip.json");
    assert_eq!(connect(&unit("407004")).await.submit(&slip, &form).await.unwrap().version, 0);
    let denied = client.view("407", &[], false).await.unwrap_err();
    assert!(denied.metadata().contains_key(REQUEST_ID_HEADER));

    Command::new("kill").arg(server.id().to_string()).status().unwrap();
    let mut log = String::new();
    server.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    server.wait().unwrap();

    let lines: Vec<serde_json::Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))).collect();
    // When something happened is no figure, and looks like one.
    let said = |line: &serde_json::Value| {
        let mut line = line.clone();
        line.as_object_mut().unwrap().remove("timestamp");
        line.to_string()
    };
    let log: String = lines.iter().map(said).collect();
    let filed = lines.iter().find(|line| line["span"]["id"] == "clerk-17").unwrap_or_else(|| panic!("{log}"));
    let span = &filed["span"];
    assert_eq!(span["actor"], "budget://407002/unit");
    assert_eq!(span["unit"], "407002");
    assert_eq!(span["position"], position);
    assert_eq!(span["method"], "SubmissionService/Submit");
    // Every value of what was filed that is long enough to be told from a count.
    let values: BTreeSet<&String> = [&file, &slip]
        .into_iter()
        .flat_map(|file| &file.tables)
        .flat_map(|table| &table.rows)
        .flat_map(|(_, values)| values)
        .filter(|value| value.chars().count() >= 4 && value.parse::<u16>().is_err())
        .collect();
    assert!(values.len() > 100, "{}", values.len());
    for value in values {
        assert!(!log.contains(value.as_str()), "{value} is in the log:\n{log}");
    }
    assert!(total.len() > 6, "{total}");
    for secret in ["nobodys-business", "41670", &total] {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
    }
}

/// Whoever reads the log hears in time that nobody will get in any more.
#[test]
fn the_log_warns_of_a_certificate_that_ends_soon() {
    let certificates = crate::tls::Certificates::new();
    let soon = Validity::days(crate::tls::now(), 10);
    let folder = certificates.path("soon");
    certificates.authority.issue_server(&["localhost".into()], soon, &folder).unwrap();
    let data = tempfile::tempdir().unwrap();
    for (tls, warned) in [(folder, true), (certificates.path("tls"), false)] {
        let mut server = Command::new(env!("CARGO_BIN_EXE_consolidator"))
            .args(["serve", "--listen", "127.0.0.1:0", "--log", "json", "--tls"])
            .arg(tls)
            .arg("--data")
            .arg(data.path().join(warned.to_string()))
            .env_remove("RUST_LOG")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Command::new("kill").arg(server.id().to_string()).status().unwrap();
        let mut log = String::new();
        server.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        server.wait().unwrap();
        assert_eq!(log.contains("a certificate ends soon"), warned, "{log}");
    }
}
