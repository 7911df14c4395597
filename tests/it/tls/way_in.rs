//! Certificates: which get in, as whom, and for how long.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use budget_consolidator::certificate::DAY;
use budget_consolidator::certificate::authority::{Authority, Validity};
use budget_consolidator::grpc::ACTOR_HEADER;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use tonic::Code;
use tonic::transport::{Certificate, ClientTlsConfig};

use super::*;
use crate::bad_input::assert_refused;

/// A certificate of the authority that names whatever it is told.
fn forged(certificates: &Certificates, uris: &[&str], usage: ExtendedKeyUsagePurpose) -> Person {
    let read = |name: &str| std::fs::read_to_string(certificates.path("ca").join(name)).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&read("ca.pem"), KeyPair::from_pem(&read("ca-key.pem")).unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, &issuer).unwrap();
    Person { certificate: certificate.pem(), key: key.serialize_pem(), ca: read("ca.pem") }
}

#[tokio::test]
async fn whoever_has_a_certificate_is_whom_it_names_and_nobody_else() {
    let certificates = Certificates::new();
    let server = certificates.serve(Arc::default()).await;
    let administrator = certificates.issue("0/administrator", year()).connect(&server.address).await;
    administrator.import_units("fenyang-2024/units.csv", 2024).await.unwrap();
    let unit = certificates.issue("407003/unit", year());
    let client = unit.connect(&server.address).await;
    let (file, form) = (example("fenyang-2024/submissions/407003.json"), form("shanxi-2024"));
    client.submit(&file, &form).await.unwrap();
    let history = client.history("407003").await.unwrap();
    let who: Vec<&str> = history.events.iter().map(|event| event.actor.as_str()).collect();
    assert!(!who.is_empty() && who.iter().all(|actor| *actor == "budget://407003/unit"), "{who:?}");
    assert_refused("another's", client.history("407001").await, Code::PermissionDenied, "NOT_PERMITTED", &[]);
    // The header that counts on loopback is refused, even if it says the same.
    for claimed in [BUREAU, "budget://407003/unit"] {
        let claiming = Client::on(channel(&server.address, unit.tls()).await.unwrap(), claimed);
        let answer = claiming.history("407003").await;
        assert_refused(claimed, answer, Code::Unauthenticated, "IDENTITY_CLAIMED", &[ACTOR_HEADER]);
    }
    server.stop().await;
}

#[tokio::test]
async fn who_has_no_good_certificate_does_not_get_in_and_is_told_why() {
    let certificates = Certificates::new();
    let server = certificates.serve(Arc::default()).await;
    let good = certificates.issue("407001/unit", year());
    let past = Validity { from: now() - 2 * DAY, until: now() - DAY };
    let expired = certificates.issue("407002/unit", past);
    let revoked = certificates.issue("407003/unit", year());
    assert_eq!(certificates.authority.revoke("407003/unit", now()).unwrap().len(), 1);
    let folder = certificates.path("tls");
    certificates.authority.copy_revoked(&folder).unwrap();
    let other = Certificates::new();
    let stranger = Person { ca: good.ca.clone(), ..other.issue("407001/unit", year()) };
    let servers_own = forged(&certificates, &["budget://407001/unit"], ExtendedKeyUsagePurpose::ServerAuth);
    // The list counts as soon as it was looked at.
    let start = Instant::now();
    while revoked.ask(&server.address).await.is_ok() {
        assert!(start.elapsed() < Duration::from_secs(30), "the revoked one still gets in");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for (what, person, said) in [
        ("expired", expired, "CertificateExpired"),
        ("revoked", revoked, "CertificateRevoked"),
        ("of another authority", stranger, "UnknownCA"),
        ("a server's", servers_own, "alert"),
    ] {
        let answer = person.ask(&server.address).await;
        assert!(answer.as_ref().is_err_and(|text| text.contains(said)), "{what}: {answer:?}");
    }
    let nobody = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&good.ca));
    let answer = ask_over(&server.address, nobody).await;
    assert!(answer.as_ref().is_err_and(|text| text.contains("CertificateRequired")), "{answer:?}");
    // And the client sees to whom it talks.
    let posing = other.serve(Arc::default()).await;
    let answer = good.ask(&posing.address).await;
    assert!(answer.as_ref().is_err_and(|text| text.contains("UnknownIssuer")), "{answer:?}");
    good.ask(&server.address).await.unwrap();
    posing.stop().await;
    server.stop().await;
}

#[tokio::test]
async fn a_certificate_names_exactly_one_and_one_that_there_can_be() {
    let certificates = Certificates::new();
    let server = certificates.serve(Arc::default()).await;
    let forge = |uris: &[&str]| forged(&certificates, uris, ExtendedKeyUsagePurpose::ClientAuth);
    for (uris, problem) in [
        (&[][..], "none"),
        (&["budget://407001/unit", "budget://407/department"][..], "several"),
        (&["budget://407001/unit", "budget://407001/unit"][..], "several"),
        (&["budget://407001/unit", "https://example.org"][..], "several"),
        (&["budget://407001/king"][..], "unreadable"),
        (&["https://407001/unit"][..], "unreadable"),
    ] {
        let client = forge(uris).connect(&server.address).await;
        let answer = look(&client).await;
        assert_refused(&format!("{uris:?}"), answer, Code::Unauthenticated, "CERTIFICATE_IDENTITY", &[problem]);
    }
    // Somebody that there can be, but not here: a role of the bureau's for another node.
    let client = forge(&["budget://407/bureau"]).connect(&server.address).await;
    assert_refused("role", look(&client).await, Code::PermissionDenied, "NOT_PERMITTED", &[]);
    // A unit that no tree has: what it hears of others is what anybody hears.
    let administrator = certificates.issue("0/administrator", year()).connect(&server.address).await;
    administrator.import_units("fenyang-2024/units.csv", 2024).await.unwrap();
    let stranger = certificates.issue("999999/unit", year()).connect(&server.address).await;
    for node in ["407001", "407", "0", "888888"] {
        let answer = stranger.view(node, &[], false).await;
        assert_refused(node, answer, Code::PermissionDenied, "NOT_PERMITTED", &[]);
    }
    let (mut file, form) = (example("fenyang-2024/submissions/407003.json"), form("shanxi-2024"));
    assert_eq!(reason(&stranger.submit(&file, &form).await.unwrap_err()), "NOT_PERMITTED");
    file.slot.unit = "999999".into();
    assert_eq!(reason(&stranger.submit(&file, &form).await.unwrap_err()), "UNKNOWN_UNIT");
    server.stop().await;
}

/// Asks until the answer changes.
async fn until_refused(client: &Client) -> String {
    let start = Instant::now();
    loop {
        match look(client).await {
            Ok(()) => assert!(start.elapsed() < Duration::from_secs(30), "still answered"),
            Err(status) => return reason(&status),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_certificate_that_falls_while_connected_is_refused_and_then_shown_out() {
    let certificates = Certificates::new();
    let turned = Arc::new(AtomicI64::new(0));
    let server = certificates.serve(turned.clone()).await;
    let revoked = certificates.issue("407001/unit", year()).connect(&server.address).await;
    let ending = certificates.issue("407002/unit", Validity { from: now(), until: now() + 3_600 });
    let ending = ending.connect(&server.address).await;
    let staying = certificates.issue("407003/unit", year()).connect(&server.address).await;
    for client in [&revoked, &ending, &staying] {
        look(client).await.unwrap();
    }
    turned.store(3_700, Ordering::Relaxed);
    assert_eq!(reason(&look(&ending).await.unwrap_err()), "CERTIFICATE_EXPIRED");
    certificates.authority.revoke("407001/unit", now()).unwrap();
    certificates.authority.copy_revoked(&certificates.path("tls")).unwrap();
    assert_eq!(until_refused(&revoked).await, "CERTIFICATE_REVOKED");
    // A stream that only listens is not asked again: its connection is closed instead.
    let start = Instant::now();
    loop {
        let status = look(&revoked).await.unwrap_err();
        if !reason(&status).starts_with("CERTIFICATE_") {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "the connection is still open");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    look(&staying).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn files_that_change_count_without_a_restart_and_broken_ones_do_not() {
    let certificates = Certificates::new();
    let server = certificates.serve(Arc::default()).await;
    let before = certificates.issue("407001/unit", year());
    let connected = before.connect(&server.address).await;
    look(&connected).await.unwrap();
    let tls = certificates.path("tls");
    // Half of a file: what held goes on holding.
    let whole = std::fs::read_to_string(tls.join("ca.pem")).unwrap();
    std::fs::write(tls.join("ca.pem"), &whole[..whole.len() / 2]).unwrap();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    before.ask(&server.address).await.unwrap();
    // A second authority beside the first, each with its list.
    let next = Authority::init(&certificates.path("next"), "Test", year()).unwrap();
    let read = |folder: &str, name: &str| std::fs::read_to_string(certificates.path(folder).join(name)).unwrap();
    let both = |name: &str| read("ca", name) + &read("next", name);
    std::fs::write(tls.join("revoked.pem"), both("revoked.pem")).unwrap();
    std::fs::write(tls.join("ca.pem"), both("ca.pem")).unwrap();
    let actor = Actor::parse("budget://407002/unit").unwrap();
    next.issue_identity(&actor, year(), &certificates.path("new"), "").unwrap();
    let after = Person { ca: before.ca.clone(), ..Person::read(&certificates.path("new"), "407002-unit") };
    let start = Instant::now();
    while let Err(text) = after.ask(&server.address).await {
        assert!(start.elapsed() < Duration::from_secs(30), "{text}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    before.ask(&server.address).await.unwrap();
    // A list that is gone, as while files are exchanged, or a link to nothing, lets nobody in again.
    let revoked = certificates.issue("407003/unit", year());
    certificates.authority.revoke("407003/unit", now()).unwrap();
    std::fs::write(tls.join("revoked.pem"), both("revoked.pem")).unwrap();
    while revoked.ask(&server.address).await.is_ok() {
        assert!(start.elapsed() < Duration::from_secs(60), "the revoked one still gets in");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    std::fs::remove_file(tls.join("revoked.pem")).unwrap();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(revoked.ask(&server.address).await.is_err(), "the list was only gone");
    std::os::unix::fs::symlink("nowhere", tls.join("revoked.pem")).unwrap();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(revoked.ask(&server.address).await.is_err(), "a link to nothing is no absence");
    std::fs::remove_file(tls.join("revoked.pem")).unwrap();
    // The first is taken out: its certificates are not taken any more, on open connections either.
    std::fs::write(tls.join("revoked.pem"), read("next", "revoked.pem")).unwrap();
    std::fs::write(tls.join("ca.pem"), read("next", "ca.pem")).unwrap();
    assert_eq!(until_refused(&connected).await, "CERTIFICATE_UNKNOWN");
    let answer = before.ask(&server.address).await;
    assert!(answer.as_ref().is_err_and(|text| text.contains("UnknownCA")), "{answer:?}");
    after.ask(&server.address).await.unwrap();
    server.stop().await;
}
