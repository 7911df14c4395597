//! The command line over TLS: a folder is copied, and a clerk types `consolidator submit FILE` and nothing else. What
//! goes wrong is said in words, in both languages.

use std::process::Output;

use budget_consolidator::certificate::DAY;
use budget_consolidator::certificate::authority::Validity;

use super::*;

struct Desk {
    home: TempDir,
}

impl Desk {
    fn new() -> Desk {
        Desk { home: tempfile::tempdir().unwrap() }
    }

    async fn run(&self, line: &[&str]) -> (Option<i32>, String) {
        // One that goes on for ever has not refused what it should have.
        let mut command = Command::new("timeout");
        command.args(["60", env!("CARGO_BIN_EXE_consolidator")]);
        for name in ["BUDGET_PROFILE", "BUDGET_SERVER", "BUDGET_AS", "BUDGET_CERT", "BUDGET_CERT_KEY", "BUDGET_CA"] {
            // Set to nothing is as good as not set.
            command.env(name, "");
        }
        command.env("HOME", self.home.path()).env_remove("XDG_CONFIG_HOME").env("LANG", "en_US.UTF-8");
        command.env_remove("LC_ALL").args(line).current_dir(self.home.path());
        let Output { status, stdout, stderr } =
            tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        (status.code(), String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap())
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_an_authority_to_a_filing_by_the_commands_of_the_readme() {
    let desk = Desk::new();
    let ok = async |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (code, said) = desk.run(&words).await;
        assert_eq!(code, Some(0), "{line}: {said}");
        said
    };
    ok("ca init").await;
    ok("ca issue --host localhost --host 127.0.0.1").await;
    let home = desk.home.path().to_owned();
    let data = home.join("data");
    let program = Program::serve(&["--tls", text(&home.join("ca/server"))], &data);
    for who in ["--unit 407003 --role unit", "--unit 0 --role administrator", "--unit 407 --role department"] {
        ok(&format!("ca issue {who} --out .config/consolidator --server {}", program.address)).await;
    }
    for nobody in ["--unit 407 --role auditor", "--unit 0 --role unit"] {
        let line = format!("ca issue {nobody} --out nobody");
        let (code, said) = desk.run(&line.split_whitespace().collect::<Vec<_>>()).await;
        assert!(code == Some(2) && said.contains("There can be no") && !home.join("nobody").exists(), "{said}");
    }
    // One that is dead, for ever, or outlives who issued it, and one that would be written over.
    for (line, words) in [
        ("--unit 407 --role department --days 0", "1–36500"),
        ("--unit 407 --role department --days 99999", "1–36500"),
        ("--unit 407 --role department --days 4000", "--days, at most 3649"),
        ("--host localhost", "another folder with --out"),
    ] {
        let line = format!("ca issue {line}");
        let (code, said) = desk.run(&line.split_whitespace().collect::<Vec<_>>()).await;
        assert!(code != Some(0) && said.contains(words) && !said.contains("os error"), "{line}: {said}");
    }
    let units = project("examples/fenyang-2024/units.csv");
    ok(&format!("--as 0/administrator unit import {} --year 2024", text(&units))).await;
    let filing = project("examples/fenyang-2024/submissions/407003.json");
    std::fs::copy(&filing, home.join("407003.json")).unwrap();
    // The profile is that of the first certificate in the folder.
    let said = ok("submit 407003.json").await;
    assert!(said.contains("407003"), "{said}");
    filer_is_proved(&home);
    let said = ok("--as 407/department status 407").await;
    assert!(said.contains("407003"), "{said}");
    let listed = ok("ca list --format csv").await;
    assert_eq!(listed.matches(",valid,").count(), 4, "{listed}");
    ok("ca revoke 407003/unit --tls ca/server").await;
    let refused = async || desk.run(&["submit", "407003.json"]).await.0 != Some(0);
    until("the revocation counts", refused).await;
    let (code, said) = desk.run(&["submit", "407003.json"]).await;
    assert!(code == Some(3) && said.contains("your certificate was revoked"), "{said}");
    let (code, said) = desk.run(&["--lang", "zh", "submit", "407003.json"]).await;
    assert!(code == Some(3) && said.contains("您的证书已被吊销"), "{said}");
    assert!(ok("ca list").await.contains("revoked"));
    let (code, said) = desk.run(&["ca", "revoke", "407003/unit"]).await;
    assert!(code == Some(1) && said.contains("no certificate of 407003/unit"), "{said}");
    let (code, said) = desk.run(&["ca", "init"]).await;
    assert!(code == Some(1) && said.contains("is there already"), "{said}");
}

/// The receipt that `submit` left is signed with the clerk's key, and whatever is changed of that is noticed.
fn filer_is_proved(home: &Path) {
    let (receipt, changed) = (home.join("407003.receipt"), home.join("changed"));
    let whole: serde_json::Value = serde_json::from_slice(&std::fs::read(&receipt).unwrap()).unwrap();
    let key = whole["public_key"].as_str().unwrap().to_owned();
    let verify = |value: &serde_json::Value| {
        std::fs::write(&changed, serde_json::to_vec(value).unwrap()).unwrap();
        let line = ["consolidator", "--lang", "en", "audit", "verify", text(&changed), "--key", &key];
        // It has a runtime of its own, which can't begin within the test's.
        let line = line.map(std::ffi::OsString::from);
        let ended = std::thread::spawn(|| budget_consolidator::cli::run(line)).join().unwrap();
        (ended.code, ended.out + &ended.err)
    };
    let (code, said) = verify(&whole);
    assert!(code == 0 && said.contains("Whoever filed it has signed it too: budget://407003/unit"), "{said}");
    // The certificate's every byte is tried beside `certificate/signature.rs`.
    for (field, step) in [("certificate", 53), ("signature", 5)] {
        let good = whole["filer_signature"][field].as_str().unwrap();
        for at in (0..good.len()).step_by(step) {
            let mut text = good.as_bytes().to_vec();
            text[at] = if text[at] == b'A' { b'B' } else { b'A' };
            let mut value = whole.clone();
            value["filer_signature"][field] = String::from_utf8(text).unwrap().into();
            let (code, said) = verify(&value);
            assert!(code == 1 && said.contains("Not proved"), "{field} {at}: {said}");
        }
    }
    let mut other = whole.clone();
    other["filer_signature"]["scheme"] = "ecdsa_secp384r1_sha384".into();
    let (code, said) = verify(&other);
    assert!(code == 1 && said.contains("Not proved"), "{said}");
    for field in ["certificate", "scheme", "signature"] {
        let mut without = whole.clone();
        without["filer_signature"].as_object_mut().unwrap().remove(field);
        let (code, said) = verify(&without);
        assert!(code == 1 && said.contains("Not proved"), "{field}: {said}");
    }
    let mut unsigned = whole.clone();
    unsigned.as_object_mut().unwrap().remove("filer_signature");
    let (code, said) = verify(&unsigned);
    assert!(code == 0 && !said.contains("signed it too"), "{said}");
    assert!(said.contains("No signature of whoever filed it"), "{said}");
    // Another's certificate, with a good signature of its own, is not the filer's.
    let own = home.join(".config/consolidator");
    let (certificate, key_file) = (own.join("407-department.pem"), own.join("407-department-key.pem"));
    let mut forged = whole.clone();
    forged["filer_signature"] = signed_by(&certificate, &key_file, &whole["says"]);
    let (code, said) = verify(&forged);
    assert!(code == 1 && said.contains("not of whoever filed it"), "{said}");
}

/// The signature under a receipt as the format describes it, made with another key.
fn signed_by(certificate: &Path, key: &Path, says: &serde_json::Value) -> serde_json::Value {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use sha2::Digest as _;
    use tokio_rustls::rustls::SignatureScheme;
    use tokio_rustls::rustls::crypto::aws_lc_rs::sign::any_supported_type;
    use tokio_rustls::rustls::pki_types::pem::PemObject as _;
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let certificate = CertificateDer::from_pem_file(certificate).unwrap();
    let key = any_supported_type(&PrivateKeyDer::from_pem_file(key).unwrap()).unwrap();
    let said = |name: &str| says[name].as_str().unwrap().to_owned();
    let fingerprint: String = sha2::Sha256::digest(&certificate).iter().map(|byte| format!("{byte:02x}")).collect();
    let slot = format!("{} {} {} {}", said("unit"), says["year"], said("round"), said("kind"));
    let text = format!("budget-consolidator filing, format 1\n{slot}\n{}\n{fingerprint}\n", said("digest"));
    let signer = key.choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256]).unwrap();
    serde_json::json!({
        "certificate": STANDARD.encode(&certificate),
        "scheme": "ecdsa_secp256r1_sha256",
        "signature": STANDARD.encode(signer.sign(text.as_bytes()).unwrap()),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_wrong_on_the_way_is_said_in_words() {
    let (certificates, desk) = (Certificates::new(), Desk::new());
    let (secure, plain) = (certificates.serve(Arc::default()).await, TestServer::start().await);
    let port = secure.address.rsplit(':').next().unwrap().to_owned();
    certificates.issue("407001/unit", year());
    certificates.issue("407002/unit", Validity { from: now() - 2 * DAY, until: now() - DAY });
    certificates.issue("407003/unit", Validity::days(now(), 10));
    let other = Certificates::new();
    other.issue("407001/unit", year());
    let (people, strangers) = (certificates.path("people"), other.path("people"));
    let file = |folder: &Path, name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (good, key) = (file(&people, "407001-unit.pem"), file(&people, "407001-unit-key.pem"));
    let (expired, ending) = (file(&people, "407002-unit.pem"), file(&people, "407003-unit.pem"));
    let (strange, ca) = (file(&strangers, "407001-unit.pem"), file(&people, "ca.pem"));
    let (by_name, by_other_name) = (format!("https://localhost:{port}"), format!("https://[::ffff:127.0.0.1]:{port}"));
    let in_the_clear = format!("http://127.0.0.1:{port}");
    let over_tls = plain.address.replace("http://", "https://");
    let open_key = desk.home.path().join("open-key.pem");
    std::fs::copy(&key, &open_key).unwrap();
    std::fs::set_permissions(&open_key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let nothing = desk.home.path().join("profile.toml");
    std::fs::write(&nothing, "server = 7").unwrap();
    let at = |server: &str, cert: &str| vec!["--server".to_owned(), server.to_owned(), "--cert".into(), cert.into()];
    let more = |mut line: Vec<String>, words: &[&str]| {
        line.extend(words.iter().map(|word| (*word).to_owned()));
        line
    };
    let cases: Vec<(&str, Vec<String>, i32, &str, &str)> = vec![
        ("good", at(&by_name, &good), 0, "", ""),
        ("ends soon", at(&by_name, &ending), 0, "your certificate ends in", "天到期"),
        ("expired", at(&by_name, &expired), 3, "your certificate has ended", "您的证书已到期"),
        (
            "not known",
            more(at(&by_name, &strange), &["--ca", &ca]),
            3,
            "doesn't know the authority",
            "不是它认可的机构",
        ),
        ("wrong server", at(&by_name, &strange), 3, "no certificate of the authority", "拿不出可信的证书"),
        ("wrong name", at(&by_other_name, &good), 3, "certificate is not for", "不是发给"),
        (
            "plaintext",
            more(vec![], &["--server", &in_the_clear, "--as", "407001/unit"]),
            3,
            "Write https://",
            "请写 https://",
        ),
        ("no TLS there", at(&over_tls, &good), 3, "is not encrypted", "没有加密"),
        ("no certificate", more(vec![], &["--server", &by_name]), 2, "asks for a certificate", "要有证书"),
        ("no such file", at(&by_name, "/nowhere.pem"), 1, "is not there", "不存在"),
        ("a key", at(&by_name, &key), 1, "holds no certificate", "没有可用的证书"),
        ("open key", more(at(&by_name, &good), &["--cert-key", text(&open_key)]), 1, "chmod 600", "chmod 600"),
        ("another's", more(at(&by_name, &good), &["--as", "407/department"]), 2, "--as says", "--as 说的是"),
        ("profile", more(vec![], &["--profile", text(&nothing)]), 2, "can't be read", "读不懂"),
    ];
    for (what, line, expected, english, chinese) in cases {
        for (language, said) in [("en", english), ("zh", chinese)] {
            let words = more(line.clone(), &["--lang", language, "form", "list"]);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let (code, output) = desk.run(&words).await;
            assert!(code == Some(expected) && output.contains(said), "{what}: {code:?} {output}");
        }
    }
    secure.stop().await;
    plain.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_not_told_how_to_encrypt_does_not_start() {
    let (certificates, desk) = (Certificates::new(), Desk::new());
    let tls = certificates.path("tls");
    let serve = async |more: &[&str]| {
        let line = [&["serve", "--data", "data", "--listen", "127.0.0.1:0"], more].concat();
        desk.run(&line).await
    };
    let (code, said) = serve(&[]).await;
    assert!(code == Some(1) && said.contains("--tls") && said.contains("NO_TLS"), "{said}");
    let line = ["serve", "--data", "data", "--insecure-loopback", "--listen", "0.0.0.0:0"];
    let (code, said) = desk.run(&line).await;
    assert!(code == Some(1) && said.contains("NOT_ON_LOOPBACK"), "{said}");
    let (code, _) = serve(&["--insecure-loopback", "--tls", text(&tls)]).await;
    assert_eq!(code, Some(2));
    certificates.issue("407001/unit", year());
    let people = certificates.path("people");
    let spoilt = |name: &str, by: &Path| {
        let folder = desk.home.path().join(format!("without {name}"));
        std::fs::create_dir(&folder).unwrap();
        for file in ["server.pem", "server-key.pem", "ca.pem", "revoked.pem"] {
            let from = if file == name { by.to_path_buf() } else { tls.join(file) };
            std::fs::copy(from, folder.join(file)).unwrap();
        }
        folder
    };
    for (name, by, said_of_it) in [
        ("server-key.pem", people.join("407001-unit-key.pem"), "does not belong to the certificate"),
        ("server.pem", tls.join("revoked.pem"), "holds no certificate"),
        ("ca.pem", tls.join("server-key.pem"), "holds no certificate"),
        ("revoked.pem", tls.join("ca.pem"), "holds no list of revoked certificates"),
    ] {
        let (code, said) = serve(&["--tls", text(&spoilt(name, &by))]).await;
        let rightly = code == Some(1) && said.contains(said_of_it) && said.contains(name);
        assert!(rightly, "{name}: {said}");
    }
    assert!(!desk.home.path().join("data").exists(), "nothing was made");
}
