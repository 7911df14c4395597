//! Backup, restore and fsck as an operator runs them: the real binary, on directories that a server left, whole and
//! damaged.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use budget_consolidator::consolidator::SAVED_STATE_FILE;
use budget_consolidator::store::{
    Journal, MIRROR_FILE, MemoryJournal, MirrorOptions, MirroredJournal, ReplacedFile, SledJournal, SledOptions,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::mirror::Device;
use crate::replay::{digest_of_all_views, file_the_example};
use crate::support::*;
use crate::verified::altered;

pub fn consolidator(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_consolidator"));
    command.args(["--lang", "en"]).args(arguments).env_remove("BUDGET_AS").env_remove("BUDGET_SERVER");
    command.output().unwrap()
}

/// Standard output and error, and the exit code.
pub fn said(output: &Output) -> (String, Option<i32>) {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    (String::from_utf8_lossy(&text).into_owned(), output.status.code())
}

pub fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub fn sled(directory: &Path) -> SledJournal {
    SledJournal::open(directory, SledOptions::default()).unwrap()
}

pub fn mirrored(root: &Path) -> Arc<dyn Journal> {
    let options = SledOptions { tail_elsewhere: true, ..SledOptions::default() };
    let engine = Arc::new(SledJournal::open(&root.join("data"), options).unwrap());
    Arc::new(MirroredJournal::open(engine, &root.join("mirror"), MirrorOptions::default()).unwrap())
}

/// `data` and `mirror` with the whole example in them, and the digest of all views.
pub async fn filed() -> (TempDir, String) {
    let root = TempDir::new().unwrap();
    let server = TestServer::on(mirrored(root.path())).await;
    file_the_example(&server).await;
    let digest = digest_of_all_views(&server).await.to_string();
    server.stop().await;
    (root, digest)
}

pub async fn views_of(data: &Path) -> String {
    let server = TestServer::on(Arc::new(sled(data))).await;
    let digest = digest_of_all_views(&server).await.to_string();
    server.stop().await;
    digest
}

fn fsck(root: &Path, mirror: bool) -> (Value, Option<i32>) {
    let (data, at) = (root.join("data"), root.join("mirror"));
    let mut arguments = vec!["--format", "json", "fsck", "--data", path(&data)];
    if mirror {
        arguments.extend(["--mirror", path(&at)]);
    }
    let output = consolidator(&arguments);
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{:?}", said(&output)));
    (report, output.status.code())
}

/// The checks that stand badly, and the position of the first fault of each.
fn bad(report: &Value) -> Vec<(String, String)> {
    let checks = report["checks"].as_array().unwrap().iter().filter(|check| check["standing"] == "bad");
    checks
        .map(|check| {
            let position = check["faults"][0]["facts"]["position"].as_str().unwrap_or("");
            (check["check"].as_str().unwrap().to_owned(), position.to_owned())
        })
        .collect()
}

/// Everything in a directory, for a comparison before and after.
fn contents(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            found.extend(contents(&entry))
        } else {
            found.push((entry.clone(), fs::read(entry).unwrap()))
        }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_data_directory_comes_back_from_the_mirror_with_the_same_views() {
    let (root, before) = filed().await;
    let (data, mirror) = (root.path().join("data"), root.path().join("mirror"));
    fs::remove_dir_all(&data).unwrap();
    // A start would be a start from nothing: it is refused, leaves nothing behind, and says what to do.
    let served = consolidator(&[
        "serve",
        "--insecure-loopback",
        "--data",
        path(&data),
        "--mirror",
        path(&mirror),
        "--listen",
        "127.0.0.1:0",
    ]);
    let (text, code) = said(&served);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("STORE_EMPTY") && text.contains("consolidator restore"), "{text}");
    assert!(!data.exists());
    let (text, code) = said(&consolidator(&["restore", path(&mirror), "--data", path(&data)]));
    assert_eq!(code, Some(0), "{text}");
    // Nor does it sign what is there already by a key that nobody knows.
    let served = consolidator(&["serve", "--insecure-loopback", "--data", path(&data), "--listen", "127.0.0.1:0"]);
    let (text, code) = said(&served);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("SIGNING_KEY_MISSING") && text.contains("--signing"), "{text}");
    // A name that is mistyped is no wish for a new key either.
    let mistyped = root.path().join("singing");
    let options = ["--data", path(&data), "--signing", path(&mistyped), "--listen", "127.0.0.1:0"];
    let (text, code) = said(&consolidator(&[&["serve", "--insecure-loopback"], &options[..]].concat()));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("SIGNING_KEY_MISSING") && text.contains(path(&mistyped)) && !mistyped.exists(), "{text}");
    assert_eq!(views_of(&data).await, before);
    let (report, code) = fsck(root.path(), true);
    assert_eq!((code, bad(&report)), (Some(0), vec![]));
    // And it goes on with the same mirror.
    let server = TestServer::on(mirrored(root.path())).await;
    assert_eq!(digest_of_all_views(&server).await.to_string(), before);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_says_how_far_the_mirror_is() {
    let (file, form) = (example("fenyang-2024/submissions/407003.json"), form("shanxi-2024"));
    let server = TestServer::fenyang().await;
    let answer = server.client(&unit("407003")).await.submit(&file, &form).await.unwrap();
    assert_eq!(answer.mirror_position, None, "there is none");
    server.stop().await;

    let root = TempDir::new().unwrap();
    let server = TestServer::on(mirrored(root.path())).await;
    server.furnish("fenyang-2024", "shanxi-2024", 2024).await;
    let answer = server.client(&unit("407003")).await.submit(&file, &form).await.unwrap();
    assert!(answer.mirror_position >= Some(answer.position), "{answer:?}");
    server.stop().await;

    let device = Arc::new(Device::default());
    let options = MirrorOptions { lagging: true, disk: device.clone(), ..MirrorOptions::default() };
    let journal = MirroredJournal::open(Arc::new(MemoryJournal::new()), &root.path().join("lagging"), options).unwrap();
    let server = TestServer::on(Arc::new(journal)).await;
    server.furnish("fenyang-2024", "shanxi-2024", 2024).await;
    device.slow.store(true, Ordering::SeqCst);
    let client = server.client(&unit("407003")).await;
    client.submit(&file, &form).await.unwrap();
    let behind = client.submit(&file, &form).await.unwrap();
    assert!(behind.mirror_position.is_some() && behind.mirror_position < Some(behind.position), "{behind:?}");
    device.slow.store(false, Ordering::SeqCst);
    while server.consolidator.mirror_position() < Some(behind.position) {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_taken_while_filings_arrive_restores_to_what_it_says() {
    let root = TempDir::new().unwrap();
    let server = TestServer::on(Arc::new(sled(&root.path().join("data")))).await;
    file_the_example(&server).await;
    let saved = root.path().join("saved");
    let filing = tokio::spawn({
        let client = server.client(&unit("407003")).await;
        async move {
            let (file, form) = (example("fenyang-2024/submissions/407003.json"), form("shanxi-2024"));
            for _ in 0..40 {
                client.submit(&file, &form).await.unwrap();
            }
        }
    });
    let arguments = ["--server", &server.address, "--as", "0/auditor", "--format", "json", "backup", path(&saved)];
    let arguments: Vec<String> = arguments.map(str::to_owned).into();
    let output =
        tokio::task::spawn_blocking(move || consolidator(&arguments.iter().map(String::as_str).collect::<Vec<_>>()));
    let output = output.await.unwrap();
    filing.await.unwrap();
    assert!(output.status.success(), "{:?}", said(&output));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let last = told["last_position"].as_u64().unwrap();
    assert_eq!(told["bytes"].as_u64().unwrap(), fs::metadata(&saved).unwrap().len());
    assert!(!root.path().join("saved.part").exists());
    let restored = root.path().join("restored");
    let (text, code) = said(&consolidator(&["restore", path(&saved), "--data", path(&restored)]));
    assert_eq!(code, Some(0), "{text}");
    let copy = sled(&restored);
    assert_eq!(copy.head().unwrap(), last);
    let snapshot = server.consolidator.snapshot();
    assert!(last <= snapshot.state.position && last >= 10, "{last}");
    for position in 1..=last {
        let event = format!("{:?}", snapshot.event(position).unwrap());
        let bytes = copy.read(position).unwrap().unwrap();
        let record = budget_consolidator::consolidator::record::Record::decode(position, &bytes).unwrap();
        assert_eq!(format!("{:?}", record.envelope), event);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_for_bureau_auditors_and_administrators_and_writes_over_nothing() {
    let root = TempDir::new().unwrap();
    let server = TestServer::fenyang().await;
    let run = |actor: &str, file: &Path| {
        let arguments = ["--server", &server.address, "--as", actor, "backup", path(file)].map(str::to_owned);
        tokio::task::spawn_blocking(move || said(&consolidator(&arguments.each_ref().map(String::as_str))))
    };
    for actor in ["407/department", "407002/unit", "0/department", "0/unit", "407/auditor"] {
        let (text, code) = run(actor, &root.path().join("no")).await.unwrap();
        assert!(code == Some(1) && text.contains("NOT_PERMITTED"), "{actor}: {text}");
    }
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0, "nothing is left of what was refused");
    for actor in ["0/bureau", "0/auditor", "0/administrator"] {
        let file = root.path().join(actor.replace('/', "-"));
        assert_eq!(run(actor, &file).await.unwrap().1, Some(0));
        let before = fs::read(&file).unwrap();
        let (text, code) = run(actor, &file).await.unwrap();
        assert!(code == Some(2) && text.contains("is there already"), "{text}");
        assert_eq!(fs::read(&file).unwrap(), before);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_takes_an_empty_directory_only_and_leaves_nothing_when_it_fails() {
    let (root, before) = filed().await;
    let (mirror, other) = (root.path().join("mirror"), root.path().join("other"));
    let restore = |from: &Path| said(&consolidator(&["restore", path(from), "--data", path(&other)]));
    fs::create_dir(&other).unwrap();
    fs::write(other.join("precious"), "text").unwrap();
    let (text, code) = restore(&mirror);
    assert!(code == Some(1) && text.contains("DIRECTORY_NOT_EMPTY"), "{text}");
    assert_eq!(contents(&other).len(), 1);
    let data = root.path().join("data");
    let (text, code) = said(&consolidator(&["restore", path(&mirror), "--data", path(&data)]));
    assert!(code == Some(1) && text.contains("DIRECTORY_NOT_EMPTY"), "{text}");
    fs::remove_file(other.join("precious")).unwrap();

    // Damaged in the middle: the position is named, nothing is made.
    let whole = fs::read(mirror.join(MIRROR_FILE)).unwrap();
    let file = root.path().join("file");
    let mut bytes = whole.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let (text, code) = restore(&file);
    assert!(code == Some(1) && text.contains("ARCHIVE_DAMAGED") && text.contains("at position "), "{text}");
    let position: u64 = text.split("at position ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert_eq!((fs::read_dir(&other).unwrap().count(), root.path().join("other.restoring").exists()), (0, false));
    // What stands before it can be had when it is asked for.
    let through = (position - 1).to_string();
    let part = ["restore", path(&file), "--data", path(&other), "--through", &through];
    let (text, code) = said(&consolidator(&part));
    assert!(code == Some(0) && text.contains(&format!("{through} records")), "{text}");
    assert_eq!(sled(&other).head().unwrap(), position - 1);
    fs::remove_dir_all(&other).unwrap();

    // No archive, and events that make no sense.
    fs::write(&file, "year,unit\n").unwrap();
    let (text, code) = restore(&file);
    assert!(code == Some(1) && text.contains("NOT_AN_ARCHIVE"), "{text}");
    let mut nonsense = budget_consolidator::store::archive::line().into_bytes();
    budget_consolidator::store::archive::add_event(&mut nonsense, 1, b"noise");
    budget_consolidator::store::archive::add_mark(&mut nonsense, 1);
    fs::write(&file, nonsense).unwrap();
    let (text, code) = restore(&file);
    assert!(code == Some(1) && text.contains("JOURNAL_DAMAGED"), "{text}");
    assert!(!other.exists() && !root.path().join("other.restoring").exists());

    // Cut short: all that is whole, and a word about the rest.
    fs::write(&file, &whole[..whole.len() - 30]).unwrap();
    let (text, code) = restore(&file);
    assert!(code == Some(1) && text.contains("end of the source is torn"), "{text}");
    fs::remove_dir_all(&other).unwrap();

    // What a killed restore left does not stand in the way of the next.
    fs::create_dir_all(root.path().join("other.restoring")).unwrap();
    fs::write(root.path().join("other.restoring/RESTORING"), "").unwrap();
    assert_eq!(restore(&mirror).1, Some(0));
    assert_eq!(views_of(&other).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fsck_finds_nothing_wrong_with_what_is_sound_and_changes_nothing() {
    let (root, before) = filed().await;
    fs::write(root.path().join("data/snap.00000000000F4240.generating"), b"half").unwrap();
    let files = contents(root.path());
    for mirror in [false, true] {
        let (report, code) = fsck(root.path(), mirror);
        assert_eq!((code, bad(&report)), (Some(0), vec![]), "{report:#}");
        assert!(report.to_string().contains("half-snapshots"), "a left-over is told");
    }
    assert_eq!(contents(root.path()), files, "not a byte is changed, and no copy is left");
    assert_eq!(views_of(&root.path().join("data")).await, before);
    // The report as an operator sees it.
    let (data, mirror) = (root.path().join("data"), root.path().join("mirror"));
    let (text, _) = said(&consolidator(&["fsck", "--data", path(&data), "--mirror", path(&mirror)]));
    assert!(text.trim_end().ends_with("Nothing is wrong.") && text.lines().count() < 16, "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fsck_names_what_is_damaged_and_changes_nothing() {
    type Change = fn(&Path);
    fn in_sled(root: &Path, change: impl FnOnce(&::sled::Db)) {
        crate::journal_contract::tamper(&root.join("data"), change);
    }
    fn key(position: u64, piece: u32) -> Vec<u8> {
        [position.to_be_bytes().as_slice(), &piece.to_be_bytes()].concat()
    }
    fn flip(db: &::sled::Db, position: u64) {
        let mut value = db.get(key(position, 0)).unwrap().unwrap().to_vec();
        *value.last_mut().unwrap() ^= 0x10;
        db.insert(key(position, 0), value).unwrap();
    }
    /// A record whose checksums fit, and whose bytes are not what was written.
    fn rewrite(root: &Path, position: u64, bytes: &[u8]) {
        let journal = sled(&root.join("data"));
        let records: Vec<_> = journal.scan(1).map(|record| record.unwrap().1).collect();
        drop(journal);
        fs::remove_dir_all(root.join("data")).unwrap();
        let journal = sled(&root.join("data"));
        for (head, record) in (0..).zip(records) {
            let record = if head + 1 == position { bytes.to_vec() } else { record };
            journal.append(head, &[record]).unwrap();
        }
    }
    let changes: [(&str, &str, Change); 8] = [
        ("fsck-records-bad", "5", |root| in_sled(root, |db| flip(db, 5))),
        ("fsck-records-bad", "4", |root| rewrite(root, 4, b"noise")),
        ("fsck-mirror-differs", "4", |root| rewrite(root, 4, b"noise")),
        ("fsck-head-differs", "", |root| in_sled(root, |db| drop(db.insert(key(99, 0), "beyond").unwrap()))),
        ("fsck-head-unreadable", "", |root| in_sled(root, |db| drop(db.remove(key(u64::MAX, 0)).unwrap()))),
        ("fsck-blobs-bad", "", |root| fs::write(root.join("data/blobs/7"), b"never synced").unwrap()),
        ("fsck-format-bad", "", |root| fs::remove_file(root.join("data/FORMAT")).unwrap()),
        ("fsck-opens-not", "", |root| {
            let length = fs::metadata(root.join("data/conf")).unwrap().len();
            fs::write(root.join("data/conf"), vec![0xa5; length as usize]).unwrap();
        }),
    ];
    for (expected, position, change) in changes {
        let (root, _) = filed().await;
        change(root.path());
        let files = contents(root.path());
        let (report, code) = fsck(root.path(), true);
        let found = bad(&report);
        assert_eq!(code, Some(1), "{expected}: {report:#}");
        assert!(found.contains(&(expected.to_owned(), position.to_owned())), "{expected}: {report:#}");
        assert_eq!(contents(root.path()), files, "{expected}");
    }
    let (root, _) = filed().await;
    let file = root.path().join("mirror").join(MIRROR_FILE);
    let mut bytes = fs::read(&file).unwrap();
    bytes[60] ^= 1;
    fs::write(&file, bytes).unwrap();
    assert_eq!(bad(&fsck(root.path(), true).0), [("fsck-mirror-bad".to_owned(), "1".to_owned())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fsck_recomputes_digests_and_tells_a_store_that_is_behind_its_mirror() {
    let (root, _) = filed().await;
    // A submission whose journalled digest is another's: every checksum fits, the fold is content.
    let journal = sled(&root.path().join("data"));
    let records: Vec<_> = journal.scan(1).map(|record| record.unwrap().1).collect();
    drop(journal);
    let forged = altered(records.iter().enumerate(), |envelope| {
        use budget_consolidator::proto::storage::envelope::Event;
        let Some(Event::Submitted(submitted)) = &mut envelope.event else { return None };
        submitted.attempt.as_mut().unwrap().digest[0] ^= 1;
        Some(())
    });
    let (at, forged) = forged.unwrap();
    for (name, cut) in [("digest", false), ("behind", true)] {
        fs::remove_dir_all(root.path().join("data")).unwrap();
        let journal = sled(&root.path().join("data"));
        for (head, record) in (0u64..).zip(&records[..records.len() - if cut { 2 } else { 0 }]) {
            let record = if !cut && head == at as u64 { forged.clone() } else { record.clone() };
            journal.append(head, &[record]).unwrap();
        }
        drop(journal);
        let found = bad(&fsck(root.path(), true).0);
        let expected =
            if cut { ("fsck-store-behind", String::new()) } else { ("fsck-digests-bad", (at + 1).to_string()) };
        assert!(found.contains(&(expected.0.to_owned(), expected.1)), "{name}: {found:?}");
    }
    // Nobody checks what is in use.
    let _held = sled(&root.path().join("data"));
    let data = root.path().join("data");
    let (text, code) = said(&consolidator(&["fsck", "--data", path(&data)]));
    assert!(code == Some(1) && text.contains("STORE_IN_USE"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fsck_compares_the_saved_state_with_what_the_records_fold_to() {
    let root = TempDir::new().unwrap();
    let data = root.path().join("data");
    let journal = Arc::new(sled(&data));
    let server = TestServer::saving(journal, Some(ReplacedFile::new(&data, SAVED_STATE_FILE))).await;
    file_the_example(&server).await;
    server.stop().await;
    let (report, code) = fsck(root.path(), false);
    assert_eq!((code, bad(&report)), (Some(0), vec![]), "{report:#}");
    assert!(report.to_string().contains("fsck-saved-state"), "{report:#}");
    // The time of the last event, which stands behind its position.
    let saved = data.join(SAVED_STATE_FILE);
    let forged = crate::saved_state::forged(&fs::read(&saved).unwrap(), |image| image[1] ^= 2);
    fs::write(&saved, forged).unwrap();
    let files = contents(root.path());
    let (report, code) = fsck(root.path(), false);
    assert_eq!((code, bad(&report)), (Some(1), vec![("fsck-saved-state-differs".to_owned(), String::new())]));
    assert_eq!(contents(root.path()), files, "nothing is changed");
    let (text, _) = said(&consolidator(&["fsck", "--data", path(&data)]));
    assert!(text.contains("move the file saved-state away"), "{text}");
    fs::remove_file(&saved).unwrap();
    assert_eq!(fsck(root.path(), false).1, Some(0));
}
