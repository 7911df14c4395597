//! The full disk, for real: the binary on a small tmpfs that a ballast fills.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use budget_consolidator::store::{
    Journal, JournalError, MemoryJournal, MirrorOptions, MirroredJournal, SledJournal, SledOptions,
};
use tempfile::TempDir;
use tonic::Code;

use super::power_cut::{Mounted, run};
use super::{Process, serve, variant, views};
use crate::mirror::record;
use crate::safekeeping::said;
use crate::support::*;

fn tmpfs(root: &Path, size: &str) -> Result<Mounted, String> {
    let at = root.join("small");
    fs::create_dir_all(&at).unwrap();
    run("mount", &[&"-t", &"tmpfs", &"-o", &format!("size={size}"), &"tmpfs", &at])?;
    Ok(Mounted(at))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_goes_into_a_disk_that_is_mounted_empty() {
    let (root, journal) = (TempDir::new().unwrap(), Arc::new(MemoryJournal::new()));
    let small = match tmpfs(root.path(), "200m") {
        Ok(small) => small,
        Err(why) => return skipped("a restore into a mount point", &why),
    };
    let mirror = root.path().join("mirror");
    let options = MirrorOptions::default();
    let server = TestServer::on(Arc::new(MirroredJournal::open(journal.clone(), &mirror, options).unwrap())).await;
    server.furnish("fenyang-2024", "shanxi-2024", 2024).await;
    server.stop().await;
    let (from, to) = (mirror.to_str().unwrap(), small.0.to_str().unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_consolidator"));
    let (text, code) = said(&command.args(["--lang", "en", "restore", from, "--data", to]).output().unwrap());
    assert_eq!(code, Some(0), "{text}");
    let restored = SledJournal::open(&small.0, SledOptions::default()).unwrap();
    assert_eq!(restored.head().unwrap(), journal.head().unwrap());
    drop(restored);
    assert!(!root.path().join("small.restoring").exists() && !small.0.join("restoring").exists());
}

/// Takes all space but so many MiB.
fn fill(disk: &Path, leave_mib: u64) {
    let free = rustix::fs::statvfs(disk).map(|stat| stat.f_bavail * stat.f_frsize).unwrap();
    let bytes = free.saturating_sub(leave_mib * 1024 * 1024);
    let ballast = fs::File::create(disk.join("ballast")).unwrap();
    let block = vec![7; 1024 * 1024];
    let mut at = 0;
    while at < bytes {
        let length = (bytes - at).min(block.len() as u64) as usize;
        ballast.write_all_at(&block[..length], at).unwrap();
        at += length as u64;
    }
}

/// How a start ends that should be refused; one that serves instead is killed.
fn ended(command: &mut Command) -> (String, Option<i32>) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    for _ in 0..500 {
        if child.try_wait().unwrap().is_some() {
            return said(&child.wait_with_output().unwrap());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    panic!("it serves");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_full_disk_filings_are_refused_early_reads_go_on_and_a_start_says_what_to_do() {
    // Store and mirror each on the disk that fills, in turn.
    for mirror_fills in [false, true] {
        let root = TempDir::new().unwrap();
        let small = match tmpfs(root.path(), "160m") {
            Ok(small) => small,
            Err(why) => return skipped("on_a_full_disk_filings_are_refused_early", &why),
        };
        let (full, other) = (small.0.join("full"), root.path().join("other"));
        let (data, mirror) = if mirror_fills { (&other, &full) } else { (&full, &other) };
        let process = Process::start_mirrored(data, mirror);
        let admin = Client::connect(&process.address, ADMINISTRATOR).await;
        admin.import_units("fenyang-2024/units.csv", 2024).await.unwrap();
        let client = Client::connect(&process.address, &unit("407003")).await;
        let (base, form) = (example("fenyang-2024/submissions/407003.json"), form("shanxi-2024"));
        client.submit(&variant(&base, 0), &form).await.unwrap();
        let before = views(&process.address).await;

        fill(&small.0, 40);
        for counter in 1..4 {
            let refused = client.submit(&variant(&base, counter), &form).await.unwrap_err();
            assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "STORE_FULL"));
            assert_eq!(views(&process.address).await, before);
        }
        process.kill();
        let mut command = serve(data);
        let (text, code) = ended(command.arg("--mirror").arg(mirror).arg("--lang").arg("en"));
        assert!(code == Some(1) && text.contains("STORE_FULL") && text.contains("67108864"), "{text}");

        fs::remove_file(small.0.join("ballast")).unwrap();
        let process = Process::start_mirrored(data, mirror);
        assert_eq!(views(&process.address).await, before);
        let client = Client::connect(&process.address, &unit("407003")).await;
        assert_eq!(client.submit(&variant(&base, 9), &form).await.unwrap().version, 2);
        process.kill();
    }
    println!(
        "full disk: store and mirror in turn; filings refused early, reads went on, starts refused, then as before"
    );
}

/// Without the reserve: the write itself fails midway. What was acknowledged must survive that too.
#[test]
fn a_mirror_that_runs_out_of_space_within_a_write_loses_nothing_acknowledged() {
    let root = TempDir::new().unwrap();
    let small = match tmpfs(root.path(), "1m") {
        Ok(small) => small,
        Err(why) => return skipped("a_mirror_that_runs_out_of_space_within_a_write", &why),
    };
    let mirror = small.0.join("mirror");
    let engine = Arc::new(MemoryJournal::new());
    let options = MirrorOptions { reserve_bytes: 0, ..MirrorOptions::default() };
    let journal = MirroredJournal::open(engine.clone(), &mirror, options.clone()).unwrap();
    let mut head = 0;
    let error = loop {
        let batch: Vec<_> = (head + 1..=head + 20).map(record).collect();
        match journal.append(head, &batch) {
            Ok(reached) => head = reached,
            Err(error) => break error,
        }
    };
    assert!(head > 100 && matches!(error, JournalError::SyncFailed { .. }), "{head} {error}");
    assert!(matches!(journal.append(head, &[record(head + 1)]), Err(JournalError::Stopped)));
    drop(journal);
    run("mount", &[&"-o", &"remount,size=8m", &small.0]).unwrap();
    assert_eq!(
        MirroredJournal::events_in(&mirror).unwrap(),
        head,
        "what the mirror completed is what was acknowledged"
    );
    let journal = MirroredJournal::open(engine, &mirror, options).unwrap();
    assert_eq!((journal.head().unwrap(), journal.mirrored()), (head + 20, Some(head + 20)));
}

/// What the reserve is for: on a disk that is really full sled can't be opened, and leaves a half-written snapshot.
#[test]
fn a_start_on_a_full_disk_leaves_nothing_that_a_later_start_minds() {
    let root = TempDir::new().unwrap();
    let small = match tmpfs(root.path(), "24m") {
        Ok(small) => small,
        Err(why) => return skipped("a_start_on_a_full_disk_leaves_nothing", &why),
    };
    let data = small.0.join("data");
    let options = SledOptions { reserve_bytes: 0, ..SledOptions::default() };
    let journal = SledJournal::open(&data, options.clone()).unwrap();
    for head in 0..200 {
        journal.append(head, &[record(head + 1)]).unwrap();
    }
    drop(journal);
    fill(&small.0, 0);
    // With the reserve it is refused before sled is touched; without, whatever sled does must not harm.
    let refused = SledJournal::open(&data, SledOptions::default()).err().unwrap();
    assert!(matches!(refused, JournalError::Full { .. }), "{refused}");
    drop(SledJournal::open(&data, options.clone()));
    fs::remove_file(small.0.join("ballast")).unwrap();
    let journal = SledJournal::open(&data, options).unwrap();
    let found: Vec<_> = journal.scan(1).map(|found| found.unwrap().1).collect();
    assert_eq!(found, (1..=200).map(record).collect::<Vec<_>>());
}
