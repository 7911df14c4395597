//! Receipts, exports and saved checkpoints as people use them: the real command line, no server where none is needed, and
//! every way in which such a file can be wrong.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use budget_consolidator::cli;
use budget_consolidator::consolidator::{Consolidator, Signing};
use budget_consolidator::ledger::checkpoint::{Checkpoint, PrivateKey, sign};
use budget_consolidator::ledger::tree::{Tree, leaf_hash};
use budget_consolidator::proto::{api, storage};
use budget_consolidator::store::{Journal, MIRROR_FILE, MemoryJournal, MirrorOptions, MirroredJournal, archive};
use prost::Message;
use serde_json::Value;
use tempfile::TempDir;

use crate::replay::file_the_example;
use crate::support::{ADMINISTRATOR, TestServer, new_key, project, skipped, test_clock, unit_nodes};
use crate::verified::{Alter, altered};

const ORIGIN: &str = "budget.example/2024";

fn signing(folder: &Path) -> Signing {
    Signing::open(&folder.join("signing"), Some(ORIGIN)).unwrap()
}

async fn served(journal: Arc<dyn Journal>, folder: &Path) -> TestServer {
    TestServer::signing(journal, None, Some(signing(folder))).await
}

/// The published key of a signing directory.
fn key(folder: &Path) -> String {
    let keys = fs::read_to_string(folder.join("signing/public-keys")).unwrap();
    keys.lines().last().unwrap().to_owned()
}

/// Runs a command line in this process: what it says, and its exit code.
fn offline(arguments: &[&str]) -> (String, u8) {
    let line: Vec<OsString> = ["consolidator", "--lang", "en"].iter().chain(arguments).map(OsString::from).collect();
    // It has a runtime of its own, which can't begin within the test's.
    let ended = std::thread::spawn(move || cli::run(line)).join().unwrap();
    (ended.out + &ended.err, ended.code)
}

/// Runs the binary against a server, with saved checkpoints in a folder of the test's own.
fn online(server: &TestServer, folder: &Path, arguments: &[&str]) -> (String, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_consolidator"));
    command.args(["--lang", "en", "--server", &server.address]).args(arguments);
    let output = command.env_remove("BUDGET_AS").env("BUDGET_CHECKPOINTS", folder.join("seen")).output().unwrap();
    (String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(), output.status.code())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A filing of the example, copied to where it may be changed.
fn filing(folder: &Path, name: &str) -> PathBuf {
    let to = folder.join(format!("{name}.json"));
    fs::copy(project("examples/fenyang-2024/submissions").join(format!("{name}.json")), &to).unwrap();
    to
}

fn python(receipt: &Path, key: &str) -> Option<(String, bool)> {
    let script = project("examples/verify_receipt.py");
    let output = Command::new("python3").arg("-B").arg(script).arg(receipt).arg(key).output();
    let output =
        output.inspect_err(|error| skipped("examples/verify_receipt.py", &format!("python3: {error}"))).ok()?;
    Some((String::from_utf8_lossy(&output.stdout).into_owned(), output.status.success()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_proves_a_filing_offline_and_a_changed_digit_is_named() {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    let server = served(Arc::new(MemoryJournal::new()), root).await;
    server.furnish("fenyang-2024", "shanxi-2024", 2024).await;
    let file = filing(root, "407001");
    let (said, code) = online(&server, root, &["--as", "407001/unit", "submit", text(&file)]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("Receipt: 407001.receipt"), "{said}");
    let first = root.join("407001.receipt");
    // A second version has a receipt of its own; the first one's stays.
    online(&server, root, &["--as", "407001/unit", "submit", text(&file)]);
    let second = first.clone();
    let first = root.join("407001.receipt.5");
    let fetched = root.join("fetched");
    let (said, code) = online(&server, root, &["--as", "0/auditor", "audit", "receipt", "5", "--out", text(&fetched)]);
    assert_eq!(code, Some(0), "{said}");
    server.stop().await;

    let key = key(root);
    for (receipt, version) in [(&first, 1), (&second, 2), (&fetched, 1)] {
        let (said, code) = offline(&["audit", "verify", text(receipt), text(&file), "--key", &key]);
        assert_eq!(code, 0, "{said}");
        assert!(said.contains(&format!("Proved: version {version} of 407001, 2024")), "{said}");
        assert!(said.contains("is what the receipt holds"), "{said}");
        if let Some((said, proved)) = python(receipt, &key) {
            assert!(proved && said.contains("PROVED") && said.contains(ORIGIN), "{said}");
        }
    }
    // Signatures of others don't count, and a note of more than 2,000 bytes is not read, here as there.
    for (others, good) in [(2, true), (20, false)] {
        let mut receipt: Value = serde_json::from_str(&fs::read_to_string(&second).unwrap()).unwrap();
        let line = format!("— somebody.else {}=\n", "A".repeat(91));
        receipt["checkpoint"] = (receipt["checkpoint"].as_str().unwrap().to_owned() + &line.repeat(others)).into();
        let long = root.join("long.receipt");
        fs::write(&long, receipt.to_string()).unwrap();
        assert_eq!(offline(&["audit", "verify", text(&long), "--key", &key]).1 == 0, good, "{others}");
        if let Some((said, proved)) = python(&long, &key) {
            assert_eq!((proved, said.contains("too long")), (good, !good), "{said}");
        }
    }
    // The key may be given as the file that the service keeps.
    assert_eq!(offline(&["audit", "verify", text(&first), "--key", text(&root.join("signing/public-keys"))]).1, 0);

    let whole = fs::read_to_string(&file).unwrap();
    let amount = whole.split('"').find(|part| part.len() > 5 && part.contains('.') && part.parse::<f64>().is_ok());
    let amount = amount.unwrap().to_owned();
    let digit = if amount.starts_with('1') { "2" } else { "1" };
    fs::write(&file, whole.replacen(&amount, &format!("{digit}{}", &amount[1..]), 1)).unwrap();
    let (said, code) = offline(&["audit", "verify", text(&first), text(&file), "--key", &key]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("1 places differ") && said.contains(&format!("receipt {amount}")), "{said}");
    let named = said.lines().find(|line| line.contains(": receipt ")).unwrap();
    assert_eq!(named.split(':').next().unwrap().matches('/').count(), 2, "{named}");

    // What stands beside the cells is held against it too.
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut filing: Value = serde_json::from_str(&whole).unwrap();
        change(&mut filing);
        fs::write(&file, filing.to_string()).unwrap();
        let (said, code) = offline(&["audit", "verify", text(&first), text(&file), "--key", &key]);
        assert_eq!(code, 1, "{said}");
        said
    };
    let said = changed(&|filing| filing["round"] = "first".into());
    assert!(said.contains("unit, year, round or kind: receipt 407001 2024 second"), "{said}");
    let said = changed(&|filing| filing["tables"]["T01A"]["amount_unit"] = "元".into());
    assert!(said.contains("T01A: receipt the unit of the form, file 元"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_of_another_server_proves_nothing() {
    let (ours, theirs) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    for folder in [ours.path(), theirs.path()] {
        let server = served(Arc::new(MemoryJournal::new()), folder).await;
        server.furnish("fenyang-2024", "shanxi-2024", 2024).await;
        let receipt = folder.join("3.receipt");
        let (said, code) =
            online(&server, folder, &["--as", "0/auditor", "audit", "receipt", "3", "--out", text(&receipt)]);
        assert_eq!(code, Some(0), "{said}");
        server.stop().await;
    }
    let receipt = theirs.path().join("3.receipt");
    let (said, code) = offline(&["audit", "verify", text(&receipt), "--key", &key(ours.path())]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("Not proved") && said.contains("unknown-key"), "{said}");
    if let Some((said, proved)) = python(&receipt, &key(ours.path())) {
        assert!(!proved && said.contains("not signed by this key"), "{said}");
    }
}

/// A journal with one small event that is not the program's own, its export, and its receipt.
async fn small(root: &Path) -> (PathBuf, PathBuf, String) {
    let journal: Arc<dyn Journal> = Arc::new(MemoryJournal::new());
    let opened = Consolidator::open_signing(journal, test_clock(), Vec::new(), None, Some(signing(root)));
    let server = TestServer::around(opened.unwrap()).await;
    let nodes = unit_nodes("fenyang-2024/units.csv");
    let administrator = server.client(ADMINISTRATOR).await;
    for count in [2, 3, 4] {
        let nodes = nodes[..count].to_vec();
        let request = api::ImportUnitsRequest { idempotency_key: new_key(), year: 2024, nodes };
        administrator.registry().import_units(request).await.unwrap();
    }
    let (export, receipt) = (root.join("export"), root.join("2.receipt"));
    let (said, code) = online(&server, root, &["--as", "0/auditor", "audit", "export", text(&export)]);
    assert_eq!(code, Some(0), "{said}");
    let (said, code) = online(&server, root, &["--as", "0/auditor", "audit", "receipt", "2", "--out", text(&receipt)]);
    assert_eq!(code, Some(0), "{said}");
    server.stop().await;
    (export, receipt, key(root))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_changed_byte_of_a_receipt_passes() {
    let folder = TempDir::new().unwrap();
    let (_, receipt, key) = small(folder.path()).await;
    let whole = fs::read(&receipt).unwrap();
    let value: Value = serde_json::from_slice(&whole).unwrap();
    let changed = folder.path().join("changed");
    let verify = |bytes: &[u8]| {
        fs::write(&changed, bytes).unwrap();
        offline(&["audit", "verify", text(&changed), "--key", &key])
    };
    assert_eq!(verify(&whole).1, 0);
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        let (said, code) = verify(&bytes);
        // A blank for another blank changes nothing that is said.
        let same = serde_json::from_slice::<Value>(&bytes).is_ok_and(|other| other == value);
        assert!(code == 1 || code == 0 && same, "byte {at}: {code} {said}");
    }
    for cut in (0..whole.len() - 1).step_by(7) {
        assert_ne!(verify(&whole[..cut]).1, 0, "cut at {cut}");
    }
    assert_ne!(verify(&[&whole[..], b"x"].concat()).1, 0);
    assert_ne!(verify(&[&whole[..], &whole[..]].concat()).1, 0);
}

/// The places in a JSON value: whatever can be taken out or exchanged by itself.
fn places(value: &Value) -> Vec<String> {
    let inner: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(name, inner)| (name.clone(), inner)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(at, inner)| (at.to_string(), inner)).collect(),
        _ => Vec::new(),
    };
    let below = |(name, inner): (String, &Value)| {
        let behind = places(inner).into_iter().map(|behind| format!("/{name}{behind}")).collect::<Vec<_>>();
        [vec![format!("/{name}")], behind].concat()
    };
    inner.into_iter().flat_map(below).collect()
}

/// A value without what stands at a place.
fn without(value: &Value, place: &str) -> Value {
    let mut value = value.clone();
    let (outer, name) = place.rsplit_once('/').unwrap();
    match value.pointer_mut(outer).unwrap() {
        Value::Object(fields) => drop(fields.remove(name)),
        Value::Array(items) => drop(items.remove(name.parse().unwrap())),
        _ => unreachable!(),
    }
    value
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_field_of_a_receipt_can_be_exchanged_or_left_out_in_silence() {
    let (folder, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let fetch = async |root: &Path, journal: &Arc<MemoryJournal>, position: &str, name: &str| {
        let server = served(journal.clone(), root).await;
        if journal.head().unwrap() < 6 {
            server.furnish("fenyang-2024", "shanxi-2024", 2024).await;
            for unit in ["407001", "407002"] {
                let (file, role) = (filing(root, unit), format!("{unit}/unit"));
                online(&server, root, &["--as", &role, "submit", text(&file)]);
            }
        }
        // So that the last checkpoint is none of a change of keys, which both have signed.
        let year = 2025 + u32::try_from(journal.head().unwrap()).unwrap();
        server.client(ADMINISTRATOR).await.import_units("fenyang-2024/units.csv", year).await.unwrap();
        let out = root.join(name);
        let (said, code) =
            online(&server, root, &["--as", "0/auditor", "audit", "receipt", position, "--out", text(&out)]);
        assert_eq!(code, Some(0), "{said}");
        server.stop().await;
        serde_json::from_slice::<Value>(&fs::read(out).unwrap()).unwrap()
    };
    let rotate = |root: &Path| {
        let (said, code) = offline(&["audit", "rotate-key", "--signing", text(&root.join("signing"))]);
        assert_eq!(code, 0, "{said}");
    };
    // After two changes of keys, beside others: of before, of another event, and of another service.
    let (journal, root) = (Arc::new(MemoryJournal::new()), folder.path());
    let mut others = vec![fetch(root, &journal, "5", "first").await];
    let oldest = key(root);
    rotate(root);
    others.push(fetch(root, &journal, "5", "between").await);
    rotate(root);
    let whole = fetch(root, &journal, "5", "whole").await;
    others.push(fetch(root, &journal, "6", "beside").await);
    let theirs = Arc::new(MemoryJournal::new());
    fetch(elsewhere.path(), &theirs, "5", "first").await;
    rotate(elsewhere.path());
    others.push(fetch(elsewhere.path(), &theirs, "5", "second").await);

    let (newest, published) = (key(root), root.join("signing/public-keys"));
    let changed = root.join("changed");
    let mut tried = 0;
    for key in [oldest.as_str(), &newest, text(&published)] {
        let verify = |value: &Value| {
            fs::write(&changed, value.to_string()).unwrap();
            offline(&["audit", "verify", text(&changed), "--key", key])
        };
        assert_eq!(verify(&whole).1, 0);
        let mut noticed = |what: String, value: &Value| {
            let (said, code) = verify(value);
            assert!(code == 1 && said.contains("Not proved"), "{what} by {key}: {said}");
            let python = python(&changed, key).filter(|_| !what.contains("/says") && key == newest);
            assert!(python.is_none_or(|(_, proved)| !proved), "{what} by Python");
            tried += 1;
        };
        for place in places(&whole) {
            let left = without(&whole, &place);
            // Whoever knows the keys needs to be told of no change between them.
            if !place.starts_with("/key_changes/") || key == oldest {
                noticed(format!("without {place}"), &left);
            }
            for (number, other) in others.iter().enumerate() {
                let put = other.pointer(&place).filter(|put| whole.pointer(&place) != Some(*put));
                let harmless = place == "/key_changes" && number < 2 && key != oldest;
                if let Some(put) = put.filter(|_| !harmless) {
                    let mut value = whole.clone();
                    *value.pointer_mut(&place).unwrap() = put.clone();
                    noticed(format!("{place} of receipt {number}"), &value);
                }
            }
            let other = match whole.pointer(&place).unwrap() {
                Value::Number(number) => Value::from(number.as_u64().unwrap() + 1),
                Value::String(text) => Value::from(format!("{text}0")),
                _ => continue,
            };
            let mut value = whole.clone();
            *value.pointer_mut(&place).unwrap() = other;
            noticed(format!("another {place}"), &value);
        }
    }
    assert!(tried > 200, "{tried}");
    // No one can tell that it never was there, so it is said that it isn't.
    let (said, _) = offline(&["audit", "verify", text(&root.join("whole")), "--key", &newest]);
    assert!(said.contains("No signature of whoever filed it"), "{said}");
}

/// The records of an archive behind its first line, each whole.
fn records(archive: &[u8]) -> (Vec<u8>, Vec<Vec<u8>>) {
    let line = archive.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let (mut rest, mut found) = (&archive[line..], Vec::new());
    while !rest.is_empty() {
        let length = u32::from_be_bytes(rest[9..13].try_into().unwrap()) as usize;
        let (record, behind) = rest.split_at(17 + length + 4);
        found.push(record.to_vec());
        rest = behind;
    }
    (archive[..line].to_vec(), found)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_changed_byte_of_an_export_passes() {
    let folder = TempDir::new().unwrap();
    let (export, _, key) = small(folder.path()).await;
    let whole = fs::read(&export).unwrap();
    let changed = folder.path().join("changed");
    let verify = |bytes: &[u8]| {
        fs::write(&changed, bytes).unwrap();
        offline(&["audit", "verify", text(&changed), "--key", &key])
    };
    let (said, code) = verify(&whole);
    assert_eq!(code, 0, "{said}");
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        let (said, code) = verify(&bytes);
        assert_eq!(code, 1, "byte {at}: {said}");
        // In the first line it is no archive any more; behind it the place and what is left are named.
        let named = said.contains("can still be trusted") || said.contains("nothing in it can be trusted");
        assert!(named || said.contains("ARCHIVE") || said.contains("NEWER"), "byte {at}: {said}");
    }
    for cut in (0..whole.len()).step_by(3) {
        assert_eq!(verify(&whole[..cut]).1, 1, "cut at {cut}");
    }
    for more in [&b"x"[..], &[0; 40], &whole] {
        assert_eq!(verify(&[&whole[..], more].concat()).1, 1, "{} bytes more", more.len());
    }
    let (line, records) = records(&whole);
    let built = |records: &[Vec<u8>]| [line.clone(), records.concat()].concat();
    assert_eq!(built(&records), whole);
    for at in 0..records.len() {
        let mut left_out = records.clone();
        left_out.remove(at);
        assert_eq!(verify(&built(&left_out)).1, 1, "record {at} left out");
        // Twice, wherever the second one stands.
        for to in 0..=records.len() {
            let mut twice = records.clone();
            twice.insert(to, records[at].clone());
            let (said, code) = verify(&built(&twice));
            assert_eq!(code, 1, "record {at} again at {to}: {said}");
            assert!(!said.contains("The first wrong position: –"), "record {at} again at {to}: {said}");
        }
        for other in at + 1..records.len() {
            let mut swapped = records.clone();
            swapped.swap(at, other);
            let (said, code) = verify(&built(&swapped));
            assert_eq!(code, 1, "records {at} and {other} swapped: {said}");
        }
    }
}

/// The checkpoints in a mirror, each with the position behind which it stands.
fn checkpoints(mirror: &Path) -> Vec<(u64, Vec<u8>)> {
    let mut reader = archive::Reader::open(&mirror.join(MIRROR_FILE)).unwrap();
    let mut found = Vec::new();
    while let Some(entry) = reader.next().unwrap() {
        if let archive::Entry::Checkpoint { position, note } = entry {
            found.push((position, note));
        }
    }
    found
}

/// Until nobody has the mirror open: the last connection lets go of it a moment after the server has stopped, and only
/// then its last checkpoint is written.
fn wait_for(mirror: &Path) {
    let lock = fs::File::open(mirror.join("LOCK")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_is_in_a_mirror_once_however_often_it_is_started_and_a_second_one_is_named() {
    let folder = TempDir::new().unwrap();
    let (root, memory) = (folder.path(), Arc::new(MemoryJournal::new()));
    let mirror = root.join("mirror");
    let mirrored = |lagging: bool| -> Arc<dyn Journal> {
        let options = MirrorOptions { lagging, ..MirrorOptions::default() };
        Arc::new(MirroredJournal::open(memory.clone(), &mirror, options).unwrap())
    };
    let grow = async |server: &TestServer, year| {
        server.client(ADMINISTRATOR).await.import_units("fenyang-2024/units.csv", year).await.unwrap();
    };
    // Started with nothing new, with something new behind it, synced and lagging.
    for (at, lagging) in [false, false, true, true, false].into_iter().enumerate() {
        let server = served(mirrored(lagging), root).await;
        if at % 2 == 0 {
            grow(&server, 2024 + u32::try_from(at).unwrap()).await;
        }
        server.stop().await;
    }
    wait_for(&mirror);
    let found = checkpoints(&mirror);
    assert!(found.len() >= 3 && found.windows(2).all(|pair| pair[0].0 < pair[1].0), "{found:?}");
    let key = key(root);
    let verify = || offline(&["audit", "verify", text(&mirror), "--key", &key]);
    let (said, code) = verify();
    assert_eq!(code, 0, "{said}");

    // Whoever puts an earlier one in again at the end, and one of then where it stood.
    let file = mirror.join(MIRROR_FILE);
    let whole = fs::read(&file).unwrap();
    let head = memory.head().unwrap();
    for (_, note) in &found {
        let mut longer = whole.clone();
        archive::add_checkpoint(&mut longer, head, note);
        fs::write(&file, longer).unwrap();
        let (said, code) = verify();
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("are there twice or out of order"), "{said}");
        let named = format!("first wrong position: {head}; records 1 to {head} can still be trusted");
        assert!(said.contains(&named), "{said}");
    }
    // A change of keys signs the same size anew, and once.
    fs::write(&file, &whole).unwrap();
    assert_eq!(offline(&["audit", "rotate-key", "--signing", text(&root.join("signing"))]).1, 0);
    for _ in 0..2 {
        served(mirrored(false), root).await.stop().await;
    }
    wait_for(&mirror);
    let (said, code) = verify();
    assert_eq!((code, checkpoints(&mirror).len()), (0, found.len() + 1), "{said}");
}

/// Keys hand over to one another in one order. Each is known by its own key, or only by the newest.
#[test]
fn changes_of_keys_stand_once_and_in_their_order() {
    let folder = TempDir::new().unwrap();
    let keys = [1, 2, 3].map(|seed| PrivateKey::from_seed(ORIGIN, [seed; 32]).unwrap());
    let records = [vec![0x10], vec![0x11]];
    let tree = Tree::of(records.iter().map(|record| leaf_hash(record)));
    let plain = |size| Checkpoint { origin: ORIGIN.to_owned(), size, root: tree.root(size).unwrap(), successor: None };
    let change = |from: &PrivateKey, to: &PrivateKey, others: &[&PrivateKey]| {
        let said = Checkpoint { successor: Some(to.public()), ..plain(1) };
        sign(&said, &[&[from, to], others].concat())
    };
    let [one, two, three] = &keys;
    let (first, second) = (change(one, two, &[]), change(two, three, &[]));
    // Checkpoints behind the first record, and behind the second.
    let judged = |notes: [&[&String]; 2], known: &[&PrivateKey]| {
        let mut out = archive::line().into_bytes();
        for ((record, notes), position) in records.iter().zip(notes).zip(1..) {
            archive::add_event(&mut out, position, record);
            archive::add_mark(&mut out, position);
            notes.iter().for_each(|note| archive::add_checkpoint(&mut out, position, note.as_bytes()));
        }
        let (file, key) = (folder.path().join("export"), folder.path().join("key"));
        fs::write(&file, out).unwrap();
        fs::write(&key, known.iter().map(|key| format!("{}\n", key.public())).collect::<String>()).unwrap();
        // The records are none of this program's: only what is said of checkpoints counts.
        let said = offline(&["audit", "verify", text(&file), "--key", text(&key)]).0;
        (said.contains("are there twice or out of order") || said.contains("checkpoints are wrong"), said)
    };
    let last = sign(&plain(2), &[three]);
    for known in [vec![one], vec![three], vec![one, two, three]] {
        let (alarm, said) = judged([&[&first, &second], &[&last]], &known);
        assert!(!alarm, "{said}");
        let (alarm, said) = judged([&[&second, &first], &[&last]], &known);
        assert!(alarm, "exchanged: {said}");
    }
    // The same once more, and somebody else's name under it.
    let witness = PrivateKey::from_seed("witness.example", [9; 32]).unwrap();
    let (alarm, said) = judged([&[&first, &change(one, two, &[&witness])], &[&sign(&plain(2), &[two])]], &[one]);
    assert!(alarm, "{said}");
    // A mirror may lack a change, and have one that was cut off: the key that was there before went on.
    let (alarm, said) = judged([&[&first], &[&last]], &[one, two, three]);
    assert!(!alarm, "{said}");
    let (alarm, said) = judged([&[&first], &[&sign(&plain(2), &[one])]], &[one]);
    assert!(!alarm, "{said}");
}

/// An export of these records, with a tree and a checkpoint that the owner of the key makes.
fn forged(root: &Path, records: &[Vec<u8>]) -> PathBuf {
    let key = PrivateKey::parse(&fs::read_to_string(root.join("signing/signing-key")).unwrap()).unwrap();
    let tree = Tree::of(records.iter().map(|record| leaf_hash(record)));
    let size = tree.size();
    let checkpoint = Checkpoint { origin: ORIGIN.to_owned(), size, root: tree.root(size).unwrap(), successor: None };
    let mut out = archive::line().into_bytes();
    for (record, position) in records.iter().zip(1..) {
        archive::add_event(&mut out, position, record);
    }
    archive::add_mark(&mut out, size);
    archive::add_checkpoint(&mut out, size, sign(&checkpoint, &[&key]).as_bytes());
    let path = root.join("forged");
    fs::write(&path, out).unwrap();
    path
}

fn attempt(envelope: &mut storage::Envelope) -> Option<&mut storage::Attempt> {
    match envelope.event.as_mut()? {
        storage::envelope::Event::Submitted(submitted) => submitted.attempt.as_mut(),
        storage::envelope::Event::Refused(refused) => refused.attempt.as_mut(),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_was_altered_and_signed_again_is_found_out() {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    let journal = Arc::new(MemoryJournal::new());
    let server = served(journal.clone(), root).await;
    file_the_example(&server).await;
    server.stop().await;
    let records: Vec<Vec<u8>> = journal.scan(1).map(|record| record.unwrap().1).collect();
    let key = key(root);
    let verify = |records: &[Vec<u8>]| {
        let path = forged(root, records);
        let (said, code) = offline(&["--format", "json", "audit", "verify", text(&path), "--key", &key]);
        let report: Value = serde_json::from_str(&said).unwrap();
        let bad = report["checks"].as_array().unwrap().iter().filter(|check| check["standing"] == "bad");
        let bad = bad.map(|check| {
            let position = check["faults"][0]["facts"]["position"].as_str().unwrap_or("").to_owned();
            (check["check"].as_str().unwrap().to_owned(), position)
        });
        (code, bad.collect::<Vec<_>>())
    };
    assert_eq!(verify(&records), (0, vec![]));

    let alterations: [(&str, &str, Alter); 9] = [
        ("a count of verdicts", "fsck-verdicts-bad", |e| {
            let verdicts = attempt(e)?.verdicts.as_mut()?;
            verdicts.pass = verdicts.pass.checked_sub(1)?;
            verdicts.fail += 1;
            Some(())
        }),
        ("the grounds of the verdicts", "fsck-verdicts-bad", |e| {
            attempt(e)?.verdicts.as_mut()?.expected_plus_one += 1;
            Some(())
        }),
        ("headroom", "fsck-ceilings-bad", |e| {
            attempt(e)?.judgements.first_mut()?.headroom_fen += 1;
            Some(())
        }),
        ("what was filed under a ceiling", "fsck-ceilings-bad", |e| {
            attempt(e)?.judgements.first_mut()?.filed_fen += 1;
            Some(())
        }),
        ("the version of the control figures", "fsck-ceilings-bad", |e| {
            attempt(e)?.control_version += 1;
            Some(())
        }),
        ("the control total", "fsck-figures-bad", |e| {
            let attempt = attempt(e)?;
            attempt.control_total_fen = (attempt.control_total_fen.parse::<i128>().unwrap() + 1).to_string();
            Some(())
        }),
        ("the row count", "fsck-figures-bad", |e| {
            attempt(e)?.row_count += 1;
            Some(())
        }),
        ("the digest", "fsck-digests-bad", |e| {
            attempt(e)?.digest[0] ^= 1;
            Some(())
        }),
        ("the version", "fsck-figures-bad", |e| match e.event.as_mut()? {
            storage::envelope::Event::Submitted(submitted) => {
                submitted.version += 1;
                Some(())
            }
            _ => None,
        }),
    ];
    for (what, check, alter) in alterations {
        let found = altered(records.iter().enumerate(), alter);
        let (at, record) = found.unwrap_or_else(|| panic!("nothing in the example has {what}"));
        let (position, mut all) = (at + 1, records.clone());
        all[at] = record;
        let (code, bad) = verify(&all);
        assert_eq!(code, 1, "{what} at {position}");
        assert!(bad.contains(&(check.to_owned(), position.to_string())), "{what} at {position}: {bad:?}");
    }

    // A refusal that never was, and a figure in the cells themselves, with its digest made right.
    let found = altered(records.iter().enumerate(), |envelope| {
        let Some(storage::envelope::Event::Submitted(submitted)) = envelope.event.take() else { return None };
        let storage::Submitted { attempt, content_zstd, .. } = submitted;
        envelope.event =
            Some(storage::envelope::Event::Refused(storage::Refused { attempt, content_zstd, adjustment: None }));
        Some(())
    });
    let (at, record) = found.unwrap();
    let all: Vec<_> = records[..at].iter().cloned().chain([record]).collect();
    let (code, bad) = verify(&all);
    assert_eq!((code, bad), (1, vec![("fsck-verdicts-bad".to_owned(), (at + 1).to_string())]));
    let found = altered(records.iter().enumerate(), |envelope| {
        let Some(storage::envelope::Event::Submitted(submitted)) = envelope.event.as_mut() else { return None };
        let bytes = zstd::decode_all(submitted.content_zstd.as_slice()).unwrap();
        let mut content = storage::Content::decode(bytes.as_slice()).unwrap();
        let column = content.tables.iter_mut().flat_map(|table| &mut table.columns).find(|c| !c.values.is_empty())?;
        column.values[0] += 1;
        submitted.content_zstd = zstd::bulk::compress(&content.encode_to_vec(), 1).unwrap();
        Some(())
    });
    let (at, record) = found.unwrap();
    let all: Vec<_> = records[..at].iter().cloned().chain([record]).collect();
    let (code, bad) = verify(&all);
    assert_eq!(code, 1);
    assert!(bad.contains(&("fsck-digests-bad".to_owned(), (at + 1).to_string())), "{bad:?}");
}

/// The export of a server that goes on after the first two records, and gives up the others; and when it gave them up.
async fn exported_after_a_loss(root: &Path, journal: &MemoryJournal) -> (PathBuf, i64) {
    let left: Vec<Vec<u8>> = journal.scan(1).take(2).map(|record| record.unwrap().1).collect();
    let short = Arc::new(MemoryJournal::new());
    short.append(0, &left).unwrap();
    let server = TestServer::signing(short, None, Some(signing(root).giving_up_after(Some(2)))).await;
    server.client(ADMINISTRATOR).await.import_units("fenyang-2024/units.csv", 2024).await.unwrap();
    let export = root.join("export");
    assert_eq!(online(&server, root, &["--as", "0/auditor", "audit", "export", text(&export)]).1, Some(0));
    let when = server.consolidator.snapshot().event(3).unwrap().time.0;
    server.stop().await;
    (export, when)
}

/// Nothing about it is wrong, and whoever was promised otherwise by a receipt has to learn of it all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_signed_and_given_up_is_told_with_its_position_who_when_and_how_much() {
    let folder = TempDir::new().unwrap();
    let (root, journal) = (folder.path(), Arc::new(MemoryJournal::new()));
    let server = served(journal.clone(), root).await;
    server.furnish("fenyang-2024", "shanxi-2024", 2024).await;
    server.stop().await;
    let head = journal.head().unwrap();
    let (export, when) = exported_after_a_loss(root, &journal).await;

    let key = key(root);
    let (said, code) = offline(&["audit", "verify", text(&export), "--key", &key]);
    let count = head - 2;
    let told = format!("{count} records that had been signed were given up, from this position to {head}");
    assert!(code == 0 && said.contains("[note] Record 3 (") && said.contains(&told), "{said}");
    assert!(said.contains("0/administrator"), "{said}");
    let (said, _) = offline(&["--format", "json", "audit", "verify", text(&export), "--key", &key]);
    let report: Value = serde_json::from_str(&said).unwrap();
    let line = report["checks"].as_array().unwrap().iter().find(|check| check["check"] == "verify-given-up").unwrap();
    assert_eq!(line["standing"], "note");
    let at = line["facts"]["time"].as_str().unwrap();
    assert_eq!(
        (line["facts"]["position"].as_str(), line["facts"]["n"].as_str()),
        (Some("3"), Some(&*count.to_string()))
    );
    // The test's clock stands in January 2024.
    assert!(when > 1_704_000_000_000 && at.starts_with("2024-01-"), "{at} {when}");
    // A journal of which nothing was given up says nothing of the kind.
    let whole = forged(root, &journal.scan(1).map(|record| record.unwrap().1).collect::<Vec<_>>());
    let (said, code) = offline(&["audit", "verify", text(&whole), "--key", &key]);
    assert!(code == 0 && !said.contains("given up"), "{said}");
}

/// The change was signed over records that are gone since: no tree agrees with it, and the journal says why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_was_changed_before_records_were_given_up_is_no_alarm() {
    let folder = TempDir::new().unwrap();
    let (root, journal) = (folder.path(), Arc::new(MemoryJournal::new()));
    let server = served(journal.clone(), root).await;
    server.furnish("fenyang-2024", "shanxi-2024", 2024).await;
    server.stop().await;
    let old = key(root);
    assert_eq!(offline(&["audit", "rotate-key", "--signing", text(&root.join("signing"))]).1, 0);
    let (export, _) = exported_after_a_loss(root, &journal).await;
    let keys = root.join("signing").join("public-keys");
    for key in [old.as_str(), text(&keys)] {
        let (said, code) = offline(&["audit", "verify", text(&export), "--key", key]);
        assert!(code == 0 && said.contains("were given up"), "{said}");
    }
}

/// Where the checkpoint of a server is saved.
fn saved(folder: &Path, server: &TestServer) -> PathBuf {
    let name = server.address.trim_start_matches("http://").replace(':', "_");
    folder.join("seen").join(format!("{name}.json"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_verb_notices_a_fork_or_a_rollback() {
    let (a, b) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let journal = Arc::new(MemoryJournal::new());
    let server = served(journal.clone(), a.path()).await;
    server.furnish("fenyang-2024", "shanxi-2024", 2024).await;
    let (said, code) = online(&server, a.path(), &["--as", "407/department", "audit", "checkpoint", "--save"]);
    assert_eq!(code, Some(0), "{said}");
    let status = ["--as", "407/department", "status", "407"];
    assert_eq!(online(&server, a.path(), &status).1, Some(0));
    let first = fs::read(saved(a.path(), &server)).unwrap();
    // What a verb has seen is what counts from then on.
    server.client(ADMINISTRATOR).await.import_units("fenyang-2024/units.csv", 2025).await.unwrap();
    assert_eq!(online(&server, a.path(), &status).1, Some(0));
    let seen = fs::read(saved(a.path(), &server)).unwrap();
    assert_ne!(seen, first);
    assert_eq!(online(&server, a.path(), &status).1, Some(0));
    assert_eq!(fs::read(saved(a.path(), &server)).unwrap(), seen);
    // Nobody is believed who only says that this was seen: neither another size nor another key.
    let kept: Value = serde_json::from_slice(&seen).unwrap();
    let (checkpoint, stranger) =
        (kept["checkpoint"].as_str().unwrap(), PrivateKey::from_seed(ORIGIN, [7; 32]).unwrap());
    let size = checkpoint.lines().nth(1).unwrap();
    for (field, altered) in [
        ("checkpoint", checkpoint.replacen(&format!("\n{size}\n"), "\n1\n", 1)),
        ("public_key", stranger.public().to_string()),
    ] {
        let mut kept = kept.clone();
        kept[field] = altered.into();
        fs::write(saved(a.path(), &server), kept.to_string()).unwrap();
        let (said, code) = online(&server, a.path(), &status);
        assert_eq!(code, Some(2), "{field}: {said}");
        assert!(said.contains("seen") && said.contains(".json"), "{field}: {said}");
    }
    let first_saved = saved(a.path(), &server);
    server.stop().await;

    // The same key on another history, and on less of the same one.
    fs::create_dir(b.path().join("signing")).unwrap();
    fs::copy(a.path().join("signing/signing-key"), b.path().join("signing/signing-key")).unwrap();
    let fork = served(Arc::new(MemoryJournal::new()), b.path()).await;
    let again = ["--as", "407/department", "audit", "checkpoint", "--save"];
    let put = |server: &TestServer| {
        let path = saved(a.path(), server);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, &seen).unwrap();
    };
    // Under another address it is the same service by its key.
    fs::write(&first_saved, &seen).unwrap();
    let (said, code) = online(&fork, a.path(), &status);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("HISTORY_ROLLED_BACK") && said.contains(text(&first_saved)), "{said}");
    fs::remove_file(&first_saved).unwrap();
    put(&fork);
    for arguments in [&status[..], &again] {
        let (said, code) = online(&fork, a.path(), arguments);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("rollback") && said.contains("HISTORY_ROLLED_BACK"), "{said}");
    }
    for _ in 0..5 {
        fork.furnish("fenyang-2024", "shanxi-2024", 2024).await;
    }
    for arguments in [&status[..], &again] {
        let (said, code) = online(&fork, a.path(), arguments);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("fork") && said.contains("HISTORY_FORKED"), "{said}");
    }
    // Whoever has looked into it can go on.
    let replace = [&again[..], &["--replace"]].concat();
    assert_eq!(online(&fork, a.path(), &replace).1, Some(0));
    assert_eq!(online(&fork, a.path(), &status).1, Some(0));
    fork.stop().await;

    let stranger = TempDir::new().unwrap();
    let other = served(Arc::new(MemoryJournal::new()), stranger.path()).await;
    put(&other);
    let (said, code) = online(&other, a.path(), &status);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("SIGNING_KEY_CHANGED"), "{said}");
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_is_verified_as_an_export_is_and_a_rotated_key_by_the_old_one() {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    let memory = Arc::new(MemoryJournal::new());
    let mirrored = |memory: &Arc<MemoryJournal>| -> Arc<dyn Journal> {
        Arc::new(MirroredJournal::open(memory.clone(), &root.join("mirror"), MirrorOptions::default()).unwrap())
    };
    let server = served(mirrored(&memory), root).await;
    file_the_example(&server).await;
    server.stop().await;
    let old = key(root);
    let mirror = root.join("mirror");
    let (said, code) = offline(&["audit", "verify", text(&mirror), "--key", &old]);
    assert_eq!(code, 0, "{said}");

    let (said, code) = offline(&["audit", "rotate-key", "--signing", text(&root.join("signing"))]);
    assert_eq!(code, 0, "{said}");
    let new = key(root);
    assert!(new != old && said.contains(&new), "{said}");
    let server = served(mirrored(&memory), root).await;
    let receipt = root.join("a.receipt");
    let arguments = ["--as", "0/auditor", "audit", "receipt", "5", "--out", text(&receipt)];
    let (said, code) = online(&server, root, &arguments);
    assert_eq!(code, Some(0), "{said}");
    let export = root.join("export");
    assert_eq!(online(&server, root, &["--as", "0/auditor", "audit", "export", text(&export)]).1, Some(0));
    // While it is written, its last group waits for the next one to be signed: that is said, and is no alarm.
    server.client(ADMINISTRATOR).await.import_units("linjiang-2024/units.csv", 2025).await.unwrap();
    let published = root.join("signing/public-keys");
    let (said, code) = offline(&["audit", "verify", text(&mirror), "--key", text(&published)]);
    assert!(code == 0 && said.contains("that is being written"), "{said}");
    server.stop().await;
    // The file with all keys checks what any of them signed.
    for proof in [&receipt, &export, &mirror] {
        let (said, code) = offline(&["audit", "verify", text(proof), "--key", text(&published)]);
        assert_eq!(code, 0, "{} {said}", proof.display());
    }
    // A receipt of something else is no filing's, and a filing beside it is not passed over.
    let filed = filing(root, "407001");
    for proof in [&export, &mirror] {
        let (said, code) = offline(&["audit", "verify", text(proof), text(&filed), "--key", &new]);
        assert!(code == 2 && said.contains("is not the receipt of a filing"), "{said}");
    }
    // Nobody gets a key who hasn't one: neither where there is nothing, nor in the place of one that was lost.
    let nowhere = root.join("nowhere");
    assert_eq!(offline(&["audit", "rotate-key", "--signing", text(&nowhere)]).1, 2);
    assert!(!nowhere.exists());
    let (secret, aside) = (root.join("signing/signing-key"), root.join("aside"));
    fs::rename(&secret, &aside).unwrap();
    let keys = fs::read(&published).unwrap();
    let refused = Signing::open(&root.join("signing"), Some(ORIGIN)).err().unwrap();
    assert_eq!(refused.reason.code(), "SIGNING_KEY_MISSING");
    assert!(!secret.exists() && fs::read(&published).unwrap() == keys, "a key was made");
    fs::rename(&aside, &secret).unwrap();
    for key in [&old, &new] {
        for proof in [&receipt, &export, &mirror.join(MIRROR_FILE)] {
            let (said, code) = offline(&["audit", "verify", text(proof), "--key", key]);
            assert_eq!(code, 0, "{} {said}", proof.display());
            // The mirror has checkpoints of the old key, which the new one can't check: the change stands for their records.
            let earlier = key == &new && proof.ends_with(MIRROR_FILE);
            assert_eq!(said.contains("signed by an earlier key"), earlier, "{} {said}", proof.display());
        }
        if let Some((said, proved)) = python(&receipt, key) {
            assert!(proved, "{said}");
        }
    }
}

/// Who has the wrong key should look for another key, and not for somebody who has altered the file.
#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_another_service_is_told_by_its_key() {
    let (mine, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (export, _, key) = small(mine.path()).await;
    let (_, _, another) = small(other.path()).await;
    assert_ne!(key, another);
    let (said, code) = offline(&["audit", "verify", text(&export), "--key", &another]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("none of them signed by this key") && !said.contains("RECORD_SAYS_OTHERWISE"), "{said}");
}
