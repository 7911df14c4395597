//! The whole path, over real sockets: filing, reading, disk, memory, restart; and beside it a server that only
//! decodes the same messages, so that the figures can be read as shares of what the machine gives.
//!
//! `cargo bench` measures with 100 and 1,000 units, `BENCH_UNITS=100,1000,10000 cargo bench` with 10,000 as well.
//! Both servers are processes of their own, and the store is on the disk that `target/` is on. Clients send
//! messages that were encoded beforehand. Sink and server take turns with the same filings, so whatever else the
//! machine does falls on both. Everything is printed as one table at the end.

#![allow(clippy::expect_used, clippy::float_arithmetic)]

mod client;
mod data;
mod report;
mod server;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use budget_consolidator::budget::form_set::RollUp;
use budget_consolidator::consolidator::{SAVED_STATE_FILE, SAVED_TREE_FILE};
use budget_consolidator::store::{Journal, SledJournal, SledOptions};
use tempfile::TempDir;
use tonic::transport::Channel;

use client::Rules;
use data::{Filing, Generator};
use report::{Flooded, Ingest, Lone, Report, Size};
use server::Process;

/// As in the program itself; the sink has it too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How many streams file at once, and which part of the units files that way.
const STREAMS: [(usize, usize); 3] = [(1, 10), (64, 30), (16, 60)];
/// Filings that are prepared at once: each stream takes several of them.
const WAVE: usize = 512;
/// Filings of the lone client.
const LONE: usize = 300;
/// Looks of one kind at one size.
const LOOKS: usize = 200;

fn main() {
    if server::run_as_told() {
        return;
    }
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("nothing is measured: run it by `cargo bench`");
        return;
    }
    let asked = std::env::var("BENCH_UNITS").unwrap_or_else(|_| "100,1000".to_owned());
    let sizes: Vec<usize> = asked.split(',').map(|size| size.trim().parse().expect("BENCH_UNITS=100,1000")).collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let generator = Arc::new(Generator::new());
    let lone = |rules| runtime.block_on(lone(&generator, rules));
    let flooded = runtime.block_on(beside_a_flood(&generator));
    let mut report = Report { lone: lone(Rules::None), lone_ruled: lone(Rules::All), flooded, ..Report::default() };
    for units in sizes {
        eprintln!("{units} units");
        report.sizes.push(runtime.block_on(size(&generator, units)));
    }
    println!("{report}");
}

/// A directory on the disk that `target/` is on.
fn directory() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory")
}

/// The filings of some units, made by as many threads as there are processors.
fn prepare(generator: &Generator, units: std::ops::Range<usize>) -> Arc<Vec<Filing>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = units.len().div_ceil(threads).max(1);
    let starts: Vec<usize> = units.clone().step_by(share).collect();
    let made = std::thread::scope(|scope| {
        let part = |start: usize| start..(start + share).min(units.end);
        let spawn = |start| scope.spawn(move || part(start).map(|unit| generator.filing(unit)).collect::<Vec<_>>());
        let parts: Vec<_> = starts.into_iter().map(spawn).collect();
        parts.into_iter().flat_map(|part| part.join().expect("filings")).collect()
    });
    Arc::new(made)
}

async fn connections(server: &Process, count: usize) -> Vec<Channel> {
    let mut channels = Vec::with_capacity(count);
    for _ in 0..count {
        channels.push(client::connect(&server.address).await);
    }
    channels
}

/// One client, one filing after the other; then the same records appended to a bare journal, with filings that go to the
/// sink in between.
async fn lone(generator: &Arc<Generator>, rules: Rules) -> Lone {
    const WARM_UP: usize = 50;
    let (data, bare) = (directory(), directory());
    let (server, sink) = (Process::real(data.path()), Process::sink());
    let (channel, sinks) = (client::connect(&server.address).await, client::connect(&sink.address).await);
    client::furnish(&channel, generator, WARM_UP + LONE, rules).await;
    let mut lone = Lone::default();
    let filings = prepare(generator, 0..WARM_UP + LONE);
    for (at, filing) in filings.iter().enumerate() {
        let (sunk, filed) = (client::file(&sinks, filing, rules).await, client::file(&channel, filing, rules).await);
        if at >= WARM_UP {
            lone.sink.push(sunk);
            lone.filed.push(filed);
        }
    }
    lone.rows = filings.iter().map(|filing| filing.rows).sum::<u64>() as f64 / filings.len() as f64;
    server.stop();
    let open = |path: &Path| SledJournal::open(path, SledOptions::default()).expect("the journal");
    let records: Vec<Vec<u8>> =
        open(&data.path().join("store")).scan(1).map(|record| record.expect("a record").1).collect();
    let journal = open(bare.path());
    for ((head, record), filing) in (0..).zip(&records).zip(filings.iter().cycle()) {
        // At about the pace at which the server appended them: what has rested is slower than what is driven.
        client::file(&sinks, filing, rules).await;
        let start = Instant::now();
        journal.append(head, std::slice::from_ref(record)).expect("an append");
        if head as usize >= records.len() - LONE {
            lone.bare.push(start.elapsed());
        }
    }
    lone
}

/// One client files alone, and then beside another that floods.
async fn beside_a_flood(generator: &Arc<Generator>) -> Flooded {
    const WARM_UP: usize = 20;
    const FILINGS: usize = 100;
    let data = directory();
    let server = Process::real(data.path());
    let channel = client::connect(&server.address).await;
    client::furnish(&channel, generator, 1 + WARM_UP + 2 * FILINGS, Rules::All).await;
    let (flooding, filings) = (prepare(generator, 0..1), prepare(generator, 1..1 + WARM_UP + 2 * FILINGS));
    let mut flooded = Flooded::default();
    for filing in &filings[..WARM_UP] {
        client::file(&channel, filing, Rules::All).await;
    }
    for filing in &filings[WARM_UP..WARM_UP + FILINGS] {
        flooded.alone.push(client::file(&channel, filing, Rules::All).await);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let streams = client::flood(&connections(&server, 64).await, &flooding, &stop);
    tokio::time::sleep(Duration::from_secs(1)).await;
    for filing in &filings[WARM_UP + FILINGS..] {
        flooded.beside.push(client::file(&channel, filing, Rules::All).await);
    }
    stop.store(true, Ordering::Relaxed);
    for stream in streams {
        flooded.others += stream.await.expect("a stream");
    }
    server.stop();
    flooded
}

/// Everything that is measured with so many units.
async fn size(generator: &Arc<Generator>, units: usize) -> Size {
    let directories = [directory(), directory(), directory(), directory()];
    let [plain, plain_mirrored, data, mirrored] = directories.each_ref().map(TempDir::path);
    let sink = Process::sink();
    let (plain, plain_mirrored) = (Process::real(plain), Process::mirrored(plain_mirrored));
    let (server, twin) = (Process::real(data), Process::mirrored(mirrored));
    for (server, rules) in
        [(&plain, Rules::None), (&plain_mirrored, Rules::None), (&server, Rules::All), (&twin, Rules::All)]
    {
        client::furnish(&client::connect(&server.address).await, generator, units, rules).await;
    }
    let channel = client::connect(&server.address).await;
    let store = data.join("store");
    let empty = disk(&store);
    let mut size = Size { units, ..Size::default() };
    let mut next = 0;
    for (streams, percent) in STREAMS {
        let end = if percent == STREAMS[2].1 { units } else { next + units * percent / 100 };
        let ingest = ingest(
            generator,
            [
                (&sink, Rules::None),
                (&plain, Rules::None),
                (&plain_mirrored, Rules::None),
                (&server, Rules::All),
                (&twin, Rules::All),
            ],
            next..end,
            streams,
        )
        .await;
        size.lines += ingest.lines;
        size.ingest.push(ingest);
        next = end;
    }
    let summed = generator.form.tables.iter().filter(|table| table.roll_up == RollUp::Sum);
    let summed: Vec<String> = summed.map(|table| table.id.to_string()).collect();
    for look in 0..LOOKS {
        size.views.push(client::view(&channel, &summed, units).await);
        // Each time another one, so that none is at hand; the small size has no more than half its events.
        let ago = 1 + (look as u64 * 29) % (units as u64 / 2).min(230);
        size.past_views.push(client::view_before(&channel, &summed, ago).await);
        size.pages.push(client::list(&channel).await);
    }
    size.memory = server.peak_memory();
    for server in [plain, plain_mirrored, server, twin] {
        server.stop();
    }
    let saved = [SAVED_STATE_FILE, SAVED_TREE_FILE].map(|name| store.join(name));
    size.saved = saved.iter().map(|path| std::fs::metadata(path).map_or(0, |file| file.len())).sum();
    size.mirror = disk(&mirrored.join("mirror"));
    size.disk = disk(&store) - empty - size.saved;
    for (time, whole) in [(&mut size.restart, false), (&mut size.rebuild, true)] {
        if whole {
            saved.iter().for_each(|path| std::fs::remove_file(path).expect("a saved state and tree"));
        }
        let start = Instant::now();
        let server = Process::real(data);
        let channel = client::connect(&server.address).await;
        client::view(&channel, &summed, units).await;
        *time = start.elapsed();
        size.memory_restarted = size.memory_restarted.max(server.peak_memory());
        server.stop();
    }
    size
}

/// Files with so many streams, wave by wave: to the sink, and to the server without and with rules, without and with a
/// mirror.
async fn ingest(
    generator: &Arc<Generator>,
    servers: [(&Process, Rules); 5],
    units: std::ops::Range<usize>,
    streams: usize,
) -> Ingest {
    let mut ingest = Ingest { streams, ..Ingest::default() };
    let mut connected = Vec::new();
    for (server, _) in servers {
        connected.push(connections(server, streams).await);
    }
    for start in units.clone().step_by(WAVE) {
        let filings = prepare(generator, start..(start + WAVE).min(units.end));
        for filing in filings.iter() {
            ingest.filings += 1;
            ingest.lines += filing.rows;
            ingest.cells += filing.cells;
            ingest.bytes += filing.bytes;
        }
        let Ingest { sink, plain, plain_mirrored, ruled, ruled_mirrored, .. } = &mut ingest;
        let times = [sink, plain, plain_mirrored, ruled, ruled_mirrored];
        for (((server, rules), channels), time) in servers.into_iter().zip(&connected).zip(times) {
            let before = server.processor_time();
            time.wall += client::file_all(channels, &filings, rules).await;
            time.processor += server.processor_time() - before;
        }
    }
    ingest
}

/// What the files below a directory take on the disk.
fn disk(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("a file"));
    let blocks = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(file) if file.is_dir() => disk(&entry.path()),
        Ok(file) => file.blocks() * 512,
        Err(_) => 0,
    };
    entries.map(blocks).sum()
}

/// The value that so many percent of all are not above.
fn percentile(times: &[Duration], percent: usize) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort();
    sorted.get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}
