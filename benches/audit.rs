//! What proving costs: `cargo bench --bench audit`.
//!
//! Proofs in a tree of a million leaves; the share of the tree and of its signatures in filing; how fast `audit verify`
//! works a whole export out again. Filings are the published one, each by a unit of its own, filed in this process:
//! without network and disk, so the tree's share is the larger.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::ffi::OsString;
use std::hint::black_box;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use budget_consolidator::budget::form_set::{FormFiles, FormSet};
use budget_consolidator::budget::unit_tree::{BUREAU, Node, NodeRole};
use budget_consolidator::cli;
use budget_consolidator::consolidator::{Clock, Consolidator, Signing};
use budget_consolidator::ledger::actor::Actor;
use budget_consolidator::ledger::decide::Action;
use budget_consolidator::ledger::event::Timestamp;
use budget_consolidator::ledger::tree::{Tree, is_consistent, leaf_hash, root_of_inclusion};
use budget_consolidator::store::{Journal, MemoryJournal};
use budget_consolidator::submission_file::SubmissionFile;

/// As in the program itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FORM_SET: &str = "forms/shanxi-2024";
const FILING: &str = "examples/fenyang-2024/submissions/407002.json";
const LEAVES: u64 = 1_000_000;
const PROOFS: u64 = 10_000;
const UNITS: usize = 900;
/// How many file at once, so that groups form as they do on a server.
const STREAMS: usize = 16;

fn main() {
    println!("| | |");
    println!("| --- | --- |");
    proofs();
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let journal = Arc::new(MemoryJournal::new());
    let rows = upkeep(&journal, folder.path());
    verify(folder.path(), rows);
}

/// Runs in a million leaves.
fn proofs() {
    let start = Instant::now();
    let tree = Tree::of((0..LEAVES).map(|leaf| leaf_hash(&leaf.to_be_bytes())));
    let built = start.elapsed();
    let root = tree.root(LEAVES).unwrap();
    let places: Vec<u64> = (0..PROOFS).map(|n| n * 7_919 % LEAVES).collect();
    let timed = |work: &dyn Fn(u64)| {
        let start = Instant::now();
        places.iter().for_each(|at| work(*at));
        start.elapsed() / PROOFS as u32
    };
    let inclusion = timed(&|at| drop(black_box(tree.inclusion(at, LEAVES))));
    let consistency = timed(&|at| drop(black_box(tree.consistency(at + 1, LEAVES))));
    for at in places.iter().take(100) {
        let path = tree.inclusion(*at, LEAVES).unwrap();
        assert_eq!(root_of_inclusion(&leaf_hash(&at.to_be_bytes()), *at, LEAVES, &path), Some(root));
        let (old, path) = (tree.root(at + 1).unwrap(), tree.consistency(at + 1, LEAVES).unwrap());
        assert!(is_consistent((at + 1, &old), (LEAVES, &root), &path));
    }
    println!("| a tree of {LEAVES} leaves, built | {} ms |", built.as_millis());
    println!("| inclusion proof in it | {} |", micros(inclusion));
    println!("| consistency proof in it | {} |", micros(consistency));
}

/// Files, and measures what the tree has of it. Leaves the export and the key in the folder.
fn upkeep(journal: &Arc<MemoryJournal>, folder: &Path) -> u64 {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = form_files(&home.join(FORM_SET));
    let form = Arc::new(FormSet::load(files.clone()).unwrap());
    let text = std::fs::read_to_string(home.join(FILING)).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let now = std::sync::atomic::AtomicI64::new(1);
    let clock: Clock = Arc::new(move || Timestamp(now.fetch_add(1, std::sync::atomic::Ordering::Relaxed)));
    let signing = Signing::open(&folder.join("signing"), None).unwrap();
    let opened = Consolidator::open_signing(journal.clone(), clock, vec![files], None, Some(signing));
    let (consolidator, writer) = opened.unwrap();
    let node = |code: String, parent: &str, role, budgeted| Node {
        name: code.clone(),
        code: code.into(),
        parent: parent.into(),
        role,
        unit_type: String::new(),
        funding: String::new(),
        division: String::new(),
        budgeted,
    };
    let units: Vec<String> = (1..=UNITS).map(|n| format!("407{n:03}")).collect();
    let mut nodes = vec![node("407".to_owned(), BUREAU, NodeRole::Department, false)];
    nodes.extend(units.iter().map(|unit| node(unit.clone(), "407", NodeRole::Unit, true)));
    runtime.block_on(async {
        let import = Action::ImportUnits { year: form.year, nodes };
        consolidator.carry_out(Actor::service(), "units".into(), Default::default(), import).await.unwrap();
    });
    let files: Vec<_> = units
        .iter()
        .map(|unit| SubmissionFile::read(&text.replace("\"407002\"", &format!("\"{unit}\""))).unwrap())
        .collect();
    let rows: u64 = files.iter().flat_map(|file| &file.tables).map(|table| table.rows.len() as u64).sum();
    let placed: Vec<_> = files.iter().map(|file| file.place_on(&form)).collect();
    let before = journal.head().unwrap();
    let mut work = placed.into_iter().zip(&units).collect::<Vec<_>>();
    let start = Instant::now();
    let processor = processor_time();
    runtime.block_on(async {
        while !work.is_empty() {
            let tasks: Vec<_> = work
                .split_off(work.len().saturating_sub(STREAMS))
                .into_iter()
                .map(|(placed, unit)| {
                    let (consolidator, form) = (consolidator.clone(), form.clone());
                    let actor = Actor::parse(&format!("budget://{unit}/unit")).unwrap();
                    tokio::spawn(async move {
                        let prepared = consolidator.prepare(placed, None, &form, (None, None)).await.unwrap();
                        consolidator.submit(actor, "once".into(), prepared).await.unwrap();
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
        }
    });
    let (filing, used) = (start.elapsed(), processor_time() - processor);
    let records: Vec<Vec<u8>> = journal.scan(before + 1).map(|record| record.unwrap().1).collect();
    let bytes: usize = records.iter().map(Vec::len).sum();
    let mut tree = Tree::default();
    let start = Instant::now();
    records.iter().for_each(|record| tree.push(leaf_hash(record)));
    let kept = start.elapsed();
    let signing = time_of_signatures(records.len());
    println!(
        "| {} filings of {} rows, filed without a network | {} ms, {} ms of processors |",
        records.len(),
        rows / records.len() as u64,
        filing.as_millis(),
        used.as_millis()
    );
    println!(
        "| of it the tree: a leaf hash of {} bytes and its nodes, each | {} |",
        bytes / records.len(),
        micros(kept / records.len() as u32)
    );
    println!("| share of the tree in that processor time | {} |", share(kept, used));
    println!(
        "| a signature, if each filing were a group of its own, each | {} |",
        micros(signing / records.len() as u32)
    );
    println!("| share of those signatures at {STREAMS} a group | {} |", share(signing / STREAMS as u32, used));
    let export = consolidator.snapshot().export(0).unwrap();
    let mut file = std::fs::File::create(folder.join("export")).unwrap();
    for piece in export {
        file.write_all(&piece.unwrap().bytes).unwrap();
    }
    runtime.block_on(consolidator.close());
    drop(consolidator);
    writer.join();
    rows
}

fn time_of_signatures(count: usize) -> Duration {
    use budget_consolidator::ledger::checkpoint::{Checkpoint, PrivateKey, sign};
    let key = PrivateKey::from_seed("bench", [7; 32]).unwrap();
    let root = leaf_hash(b"");
    let start = Instant::now();
    for size in 0..count as u64 {
        black_box(sign(&Checkpoint { origin: "bench".to_owned(), size, root, successor: None }, &[&key]));
    }
    start.elapsed()
}

/// Verifies the export as an auditor does.
fn verify(folder: &Path, rows: u64) {
    let (export, key) = (folder.join("export"), folder.join("signing/public-keys"));
    let line =
        ["consolidator", "--lang", "en", "audit", "verify", export.to_str().unwrap(), "--key", key.to_str().unwrap()];
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let start = Instant::now();
        let ended = cli::run(line.iter().map(OsString::from));
        best = best.min(start.elapsed());
        assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
    }
    let each = rows as u128 * 1_000_000 / best.as_micros().max(1);
    println!("| audit verify: {rows} rows, rules and all | {} ms, {each} rows/s |", best.as_millis());
}

fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().skip(11).take(2);
    Duration::from_millis(fields.map(|ticks| ticks.parse::<u64>().unwrap()).sum::<u64>() * 10)
}

fn micros(time: Duration) -> String {
    let nanos = time.as_nanos();
    format!("{}.{:02} µs", nanos / 1_000, nanos % 1_000 / 10)
}

fn share(part: Duration, whole: Duration) -> String {
    let hundredths = part.as_nanos() * 10_000 / whole.as_nanos().max(1);
    format!("{}.{:02} %", hundredths / 100, hundredths % 100)
}

fn form_files(folder: &Path) -> FormFiles {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml" || extension == "csv"))
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap()))
        .collect()
}
