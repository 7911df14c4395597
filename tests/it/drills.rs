//! Drills on the real binary: `kill -9` with filings in flight, and the order of writes, syncs and answers. In files
//! of their own: the power cut (`power_cut`), the full disk (`disk_full`), flipped bits (`bit_flips`).
//!
//! `DRILL_ROUNDS=200 DRILL_FLIPS=500 DRILL_CUTS=20 cargo test --release --test it drills -- --nocapture` is the long
//! form. A drill that can't be held here prints SKIPPED and why.

mod bit_flips;
mod disk_full;
mod power_cut;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use budget_consolidator::budget::digest::Digest;
use budget_consolidator::budget::form_set::FormSet;
use budget_consolidator::budget::intake::{Intake, TableHeader};
use budget_consolidator::budget::submission::{Kind, Round, Slot};
use budget_consolidator::consolidator::Consolidator;
use budget_consolidator::proto::api;
use budget_consolidator::store::{MemoryJournal, SledJournal, SledOptions, Step};
use budget_consolidator::submission_file::SubmissionFile;

use prost::Message;

use crate::safekeeping::{consolidator, path, said};
use crate::support::*;

/// How long a drill is, by an environment variable.
fn rounds(variable: &str, short: u64) -> u64 {
    std::env::var(variable).ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(short)
}

/// The server as a process of its own.
struct Process {
    child: Child,
    address: String,
}

impl Process {
    fn start(data: &Path) -> Process {
        Process::spawn(serve(data))
    }

    fn start_mirrored(data: &Path, mirror: &Path) -> Process {
        let mut command = serve(data);
        command.arg("--mirror").arg(mirror);
        Process::spawn(command)
    }

    fn spawn(mut command: Command) -> Process {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        assert!(address.starts_with("http://"), "the server did not come up: {address:?}");
        Process { child, address: address.trim().to_owned() }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn serve(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_consolidator"));
    command.args(["serve", "--insecure-loopback", "--listen", "127.0.0.1:0", "--data"]).arg(data);
    command
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A version of the unit's filing that no other attempt has: its note column carries a counter.
fn variant(base: &SubmissionFile, counter: u64) -> SubmissionFile {
    let mut file = base.clone();
    let table = file.tables.iter_mut().find(|table| table.header.id == "T12").unwrap();
    let at = table.header.columns.iter().position(|column| column == "name").unwrap();
    let row = table.rows.iter_mut().find(|(key, _)| key.contains('-')).unwrap();
    row.1[at] = format!("{} {counter}", row.1[at]);
    file
}

/// What was acknowledged: digest by unit and version.
type Acknowledged = Arc<Mutex<BTreeMap<(String, u32), Vec<u8>>>>;

async fn file_until_the_server_is_gone(
    address: String,
    base: SubmissionFile,
    form: Arc<FormSet>,
    from: u64,
    acknowledged: Acknowledged,
) {
    let unit_code = base.slot.unit.to_string();
    let client = Client::connect(&address, &unit(&unit_code)).await;
    for counter in from.. {
        match client.submit(&variant(&base, counter), &form).await {
            Ok(answer) => {
                let verdict = answer.verdict.unwrap();
                assert_eq!(verdict.outcome, i32::from(api::Outcome::Submitted), "{:?}", verdict.findings);
                acknowledged.lock().unwrap().insert((unit_code.clone(), answer.version), verdict.digest);
            }
            Err(_) => return,
        }
    }
}

/// Every version that is there is whole: its rows give its digest again. Returns how many.
async fn check_versions(address: &str, form: &FormSet, acknowledged: &Acknowledged) -> usize {
    let auditor = Client::connect(address, AUDITOR).await;
    let mut present = BTreeMap::new();
    let mut page_token = String::new();
    loop {
        let request = api::ListSubmissionsRequest { page_size: 1_000, page_token, ..Default::default() };
        let page = auditor.submissions().list_submissions(request).await.unwrap().into_inner();
        for listed in page.submissions {
            let (slot, version) = (listed.slot.unwrap(), listed.version.unwrap());
            present.insert((slot.unit, version.version), version.digest);
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    for (key, digest) in acknowledged.lock().unwrap().iter() {
        assert_eq!(present.get(key), Some(digest), "acknowledged and gone: {key:?}");
    }
    // The newest of each unit is the one that could be half there.
    let newest: BTreeMap<&String, u32> = present.keys().map(|(unit, version)| (unit, *version)).collect();
    for (unit_code, version) in newest {
        let slot = Slot { unit: unit_code.as_str().into(), year: 2024, round: Round::Second, kind: Kind::Unit };
        let request = api::GetSubmissionRequest { slot: Some(slot_out(&slot)), version, ..Default::default() };
        let filed = auditor.submissions().get_submission(request).await.unwrap().into_inner();
        let headers: Vec<TableHeader> = filed
            .tables
            .iter()
            .map(|table| TableHeader {
                id: table.id.clone(),
                empty: table.empty,
                amount_unit: table.amount_unit.clone(),
                decimals: table.decimals,
                columns: table.columns.clone(),
            })
            .collect();
        let mut intake = Intake::new(form, slot, &headers);
        for row in &filed.rows {
            assert!(intake.row(row.table as usize, &row.key, row.values.iter().map(String::as_str)));
        }
        let digest: Digest = intake.finish().digest;
        assert_eq!(
            digest.0.to_vec(),
            present[&(unit_code.clone(), version)],
            "half a submission: {unit_code} {version}"
        );
    }
    present.len()
}

/// Files for the example's units, each as fast as it is answered, until the server is gone.
fn keep_filing(
    address: &str,
    form: &Arc<FormSet>,
    from: u64,
    acknowledged: &Acknowledged,
) -> Vec<tokio::task::JoinHandle<()>> {
    let bases = ["407001", "407003", "407004"].map(|code| example(&format!("fenyang-2024/submissions/{code}.json")));
    let file = |base| file_until_the_server_is_gone(address.to_owned(), base, form.clone(), from, acknowledged.clone());
    bases.into_iter().map(file).map(tokio::spawn).collect()
}

/// What readers see of the department.
async fn views(address: &str) -> Vec<u8> {
    let auditor = Client::connect(address, AUDITOR).await;
    // Where nothing was filed before the kill there is nothing to show, and that has to stay so.
    let view = auditor.view("407", &[], true).await;
    let view = view.map_or_else(|refused| refused.message().as_bytes().to_vec(), |view| view.encode_to_vec());
    [view, auditor.status_board("407").await.encode_to_vec()].concat()
}

/// The data directory is lost: it comes back from the mirror.
fn lose_and_restore(data: &Path, mirror: &Path) {
    std::fs::remove_dir_all(data).unwrap();
    let (text, code) = said(&consolidator(&["restore", path(mirror), "--data", path(data)]));
    assert_eq!(code, Some(0), "{text}");
}

/// A long drill begins anew after so many rounds, or its starts would get slower and slower.
const ROUNDS_OF_ONE_JOURNAL: u64 = 24;

/// What a series of rounds came to.
#[derive(Default)]
struct Killed {
    acknowledged: usize,
    present: usize,
    restored: u64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_with_filings_in_flight_every_acknowledged_submission_is_whole() {
    let rounds = rounds("DRILL_ROUNDS", 20);
    let mut all = Killed::default();
    for first in (0..rounds).step_by(ROUNDS_OF_ONE_JOURNAL as usize) {
        let series = kill_again_and_again(first..rounds.min(first + ROUNDS_OF_ONE_JOURNAL)).await;
        all.acknowledged += series.acknowledged;
        all.present += series.present;
        all.restored += series.restored;
    }
    let Killed { acknowledged, present, restored } = all;
    assert!(acknowledged as u64 > rounds, "too few filings were in flight: {acknowledged}");
    println!(
        "kill -9: {rounds} rounds, half with a mirror, {restored} with the data directory lost and restored; \
         {acknowledged} submissions acknowledged, {present} present, none lost, none half"
    );
}

/// Every other round with a mirror. In half of those, the data directory is lost as well: at once, so that the mirror
/// alone must have what was acknowledged, or after a look at the views, which must be the same.
async fn kill_again_and_again(rounds: std::ops::Range<u64>) -> Killed {
    let directory = tempfile::tempdir().unwrap();
    let (data, mirror) = (directory.path().join("data"), directory.path().join("mirror"));
    let form = Arc::new(form("shanxi-2024"));
    let process = Process::start(&data);
    Client::connect(&process.address, ADMINISTRATOR).await.import_units("fenyang-2024/units.csv", 2024).await.unwrap();
    process.kill();
    let acknowledged = Acknowledged::default();
    let mut killed = Killed::default();
    for round in rounds {
        let start = || if round % 2 == 0 { Process::start(&data) } else { Process::start_mirrored(&data, &mirror) };
        let process = start();
        let clients = keep_filing(&process.address, &form, round * 1_000_000, &acknowledged);
        // A different moment each round, spread over a few group commits.
        tokio::time::sleep(Duration::from_millis(40 + round * 37 % 160)).await;
        process.kill();
        for client in clients {
            client.await.unwrap();
        }
        if round % 8 == 3 {
            lose_and_restore(&data, &mirror);
            killed.restored += 1;
        }
        let process = start();
        killed.present = check_versions(&process.address, &form, &acknowledged).await;
        let before = views(&process.address).await;
        process.kill();
        if round % 8 == 7 {
            lose_and_restore(&data, &mirror);
            killed.restored += 1;
            let process = start();
            assert_eq!(views(&process.address).await, before, "other views from the mirror");
            process.kill();
        }
    }
    killed.acknowledged = acknowledged.lock().unwrap().len();
    killed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_precedes_the_sync_of_its_event() {
    let directory = tempfile::tempdir().unwrap();
    let steps: Arc<Mutex<Vec<Step>>> = Arc::default();
    let seen = steps.clone();
    let observer: budget_consolidator::store::Observer = Arc::new(move |step| seen.lock().unwrap().push(step));
    let options = SledOptions { observer: Some(observer), ..SledOptions::default() };
    let server = TestServer::on(Arc::new(SledJournal::open(directory.path(), options).unwrap())).await;
    server.furnish("fenyang-2024", "shanxi-2024", 2024).await;
    let form = form("shanxi-2024");
    let base = example("fenyang-2024/submissions/407003.json");
    let client = server.client(&unit("407003")).await;
    for counter in 0..5 {
        let answer = client.submit(&variant(&base, counter), &form).await.unwrap();
        let steps = steps.lock().unwrap();
        let at = |wanted: fn(&Step) -> Option<u64>| {
            steps.iter().position(|step| wanted(step).is_some_and(|through| through >= answer.position))
        };
        let wrote = at(|step| if let Step::Wrote { through } = step { Some(*through) } else { None });
        let flushed = at(|step| if let Step::Flushed { through } = step { Some(*through) } else { None });
        let synced = at(|step| if let Step::Synced { through } = step { Some(*through) } else { None });
        assert!(wrote.is_some() && wrote < flushed && flushed < synced, "{wrote:?} {flushed:?} {synced:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_journal_that_does_not_sync_loses_what_it_acknowledged() {
    // The control: the same check on a build without the sync must fail, or it would prove nothing.
    for (journal, survives) in [(MemoryJournal::new(), true), (MemoryJournal::without_sync(), false)] {
        let journal = Arc::new(journal);
        let server = TestServer::on(journal.clone()).await;
        server.furnish("fenyang-2024", "shanxi-2024", 2024).await;
        let file = example("fenyang-2024/submissions/407003.json");
        let answer = server.client(&unit("407003")).await.submit(&file, &form("shanxi-2024")).await.unwrap();
        let after = Arc::new(journal.crash());
        server.stop().await;
        let (consolidator, writer) = Consolidator::open(after, test_clock(), Vec::new(), None).unwrap();
        assert_eq!(consolidator.snapshot().event(answer.position).is_ok(), survives);
        consolidator.close().await;
        tokio::task::spawn_blocking(move || writer.join()).await.unwrap();
    }
}

/// The binary's own system calls: between two answers there is always a completed sync.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_binary_syncs_before_each_answer() {
    if Command::new("strace").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        skipped("the_binary_syncs_before_each_answer", "strace can't be had");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("strace.log");
    let mut command = Command::new("strace");
    command.args(["-f", "-q", "-e", "trace=fsync,fdatasync", "-o"]).arg(&log);
    command.arg(env!("CARGO_BIN_EXE_consolidator")).args([
        "serve",
        "--insecure-loopback",
        "--listen",
        "127.0.0.1:0",
        "--data",
    ]);
    command.arg(directory.path().join("data"));
    let syncs = || {
        let text = std::fs::read_to_string(&log).unwrap();
        text.lines().filter(|line| line.contains("sync") && line.trim_end().ends_with("= 0")).count()
    };
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut address = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
    if !address.starts_with("http://") {
        child.wait().unwrap();
        skipped("the_binary_syncs_before_each_answer", "strace may not trace here");
        return;
    }
    let process = Process { child, address: address.trim().to_owned() };
    Client::connect(&process.address, ADMINISTRATOR).await.import_units("fenyang-2024/units.csv", 2024).await.unwrap();
    let client = Client::connect(&process.address, &unit("407003")).await;
    let base = example("fenyang-2024/submissions/407003.json");
    let form = form("shanxi-2024");
    for counter in 0..3 {
        let before = syncs();
        client.submit(&variant(&base, counter), &form).await.unwrap();
        assert!(syncs() > before, "answered without a sync");
    }
    drop(process);
    // strace is told by its child's end; give its tracee no chance to outlive the test.
    let _ = Command::new("pkill").args(["-f"]).arg(directory.path().join("data")).status();
}
