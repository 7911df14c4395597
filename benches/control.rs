//! What control figures cost: `cargo bench --bench control`.
//!
//! The same filing goes to three consolidators that know 10,000 units, in turns: one without control figures, one with the
//! five that bind this filing, one with 10,000 that came in one call, those five among them. In this process and on
//! memory, so that the difference is not lost between network and disk.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use budget_consolidator::budget::cell::CellAddress;
use budget_consolidator::budget::digest::Digest;
use budget_consolidator::budget::form_set::FormSet;
use budget_consolidator::budget::money::{Denomination, Money, Scale};
use budget_consolidator::budget::submission::Round;
use budget_consolidator::budget::unit_tree::{BUREAU, Node, NodeRole};
use budget_consolidator::consolidator::{Clock, Consolidator, WriterThread, embedded_form_sets};
use budget_consolidator::ledger::actor::{Actor, Role};
use budget_consolidator::ledger::decide::{Action, ControlOrders, FigureOrder, Filing, judge};
use budget_consolidator::ledger::event::{Event, Timestamp};
use budget_consolidator::store::MemoryJournal;
use budget_consolidator::submission_file::SubmissionFile;

const FORM_SET: &str = "shanxi-2024";
const FILING: &str = "examples/fenyang-2024/submissions/407002.json";
const YEAR: u16 = 2024;
/// The filer's department; the others have as many units each.
const DEPARTMENT: &str = "407";
const UNIT: &str = "407002";
const CEILINGS: usize = 10_000;
/// Those of them that this filing is judged against: its own two, and three of its department's.
const BINDING: usize = 5;
const UNITS_PER_DEPARTMENT: usize = 20;
const ROUNDS: usize = 300;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(FILING)).unwrap();
    let form =
        embedded_form_sets().into_iter().filter_map(|files| FormSet::load(files).ok()).find(|f| f.id == FORM_SET);
    let (form, file) = (Arc::new(form.unwrap()), SubmissionFile::read(&text).unwrap());
    let without = start().await;
    let (few, _) = start_with_ceilings(BINDING).await;
    let (with, issued) = start_with_ceilings(CEILINGS).await;
    let (mut plain, mut bound, mut judged) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        for (server, times) in [(&without.0, &mut plain), (&few.0, &mut bound), (&with.0, &mut judged)] {
            let from = Instant::now();
            let prepared = server.prepare(file.place_on(&form), None, &form, (None, None)).await.unwrap();
            let actor = Actor { node: UNIT.into(), role: Role::Unit };
            let done = server.submit(actor, format!("filing-{round}").into(), prepared).await.unwrap();
            times.push(from.elapsed());
            assert!(matches!(done.envelope.event, Event::Submitted(_)), "taken");
        }
    }
    let alone = |server: &Consolidator| {
        let snapshot = server.snapshot();
        let filing = Filing { reading: Arc::new(file.read_on(&form)), version: None, ahead: None, adjustment: None };
        let actor = Actor { node: UNIT.into(), role: Role::Unit };
        median((0..ROUNDS).map(|_| {
            let from = Instant::now();
            let judged = judge(&snapshot.state, &actor, &filing, server.now(), &snapshot).unwrap();
            (judged, from.elapsed()).1
        }))
    };
    let [plain, bound, judged] = [plain, bound, judged].map(|times| median(times.into_iter()));
    let ratio = |a: Duration, b: Duration| {
        let per_mille = a.as_nanos() * 1_000 / b.as_nanos();
        format!("{}.{:03}", per_mille / 1_000, per_mille % 1_000)
    };
    println!(
        "| | without ceilings | with the {BINDING} that bind it | with {CEILINGS} | against {BINDING} | against none |"
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    println!(
        "| a filing, from its text to durable in memory, p50 | {plain:?} | {bound:?} | {judged:?} | **{}** | {} |",
        ratio(judged, bound),
        ratio(judged, plain)
    );
    let [plain, bound, judged] = [&without.0, &few.0, &with.0].map(alone);
    println!(
        "| its judgement alone, rules included, p50 | {plain:?} | {bound:?} | {judged:?} | {} | {} |",
        ratio(judged, bound),
        ratio(judged, plain)
    );
    println!("| {CEILINGS} ceilings issued in one call | | | {issued:?} | | |");
    for (server, writer) in [without, few, with] {
        server.close().await;
        drop(server);
        writer.join();
    }
}

fn median(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<Duration> = times.collect();
    times.sort();
    times[times.len() / 2]
}

fn units() -> Vec<(String, String)> {
    let mut units = Vec::new();
    for at in 0..CEILINGS / UNITS_PER_DEPARTMENT {
        let department = if at == 0 { DEPARTMENT.to_owned() } else { format!("8{at:03}") };
        units.push((department.clone(), BUREAU.to_owned()));
        units.extend((1..=UNITS_PER_DEPARTMENT).map(|unit| (format!("{department}{unit:03}"), department.clone())));
    }
    units
}

async fn start() -> (Consolidator, WriterThread) {
    let now = AtomicI64::new(1_705_000_000_000);
    let clock: Clock = Arc::new(move || Timestamp(now.fetch_add(1_000, Ordering::Relaxed)));
    let journal = Arc::new(MemoryJournal::new());
    let (server, writer) = Consolidator::open(journal, clock, embedded_form_sets(), None).unwrap();
    let node = |(code, parent): (String, String)| Node {
        name: format!("单位{code}"),
        role: if parent == BUREAU { NodeRole::Department } else { NodeRole::Unit },
        unit_type: String::new(),
        funding: String::new(),
        division: String::new(),
        budgeted: parent != BUREAU,
        code: code.into(),
        parent: parent.into(),
    };
    let nodes = units().into_iter().map(node).collect();
    let import = Action::ImportUnits { year: YEAR, nodes };
    server.carry_out(Actor::service(), "units".into(), Digest::of(b"units"), import).await.unwrap();
    (server, writer)
}

async fn start_with_ceilings(count: usize) -> ((Consolidator, WriterThread), Duration) {
    let server = start().await;
    // The department's on three cells, the filer's on two of them and the rest one each: the third is drawn on.
    let order = |(line, (unit, cell)): (u32, (String, &str))| FigureOrder {
        line,
        unit: unit.into(),
        cell: CellAddress::parse(cell).unwrap(),
        ceiling: Some((
            Money::from_fen(if cell.ends_with("total") { 90_000_000_000 } else { 45_000_000_000 }),
            Scale { denomination: Denomination::Wan, decimals: 2 },
        )),
        strength: None,
    };
    let cells = ["T03/合计/total", "T03/合计/project", "T05/合计/total"];
    let own = [(UNIT.to_owned(), cells[1]), (UNIT.to_owned(), "T03/20805/total")];
    let department = cells.map(|cell| (DEPARTMENT.to_owned(), cell));
    let others = units().into_iter().filter(|(_, above)| above != BUREAU && above != DEPARTMENT);
    let figures = department.into_iter().chain(own).chain(others.map(|(unit, _)| (unit, cells[0])));
    let mut figures: Vec<FigureOrder> = (1..).zip(figures).map(order).collect();
    let extra = (1..)
        .take(CEILINGS - figures.len())
        .map(|at| (format!("407{:03}", at % 10 + 11), format!("T12/2024-9{at:02}/total")));
    let from = u32::try_from(figures.len()).unwrap() + 1;
    let extra: Vec<(String, String)> = extra.collect();
    figures.extend((from..).zip(extra.iter().map(|(unit, cell)| (unit.clone(), cell.as_str()))).map(order));
    assert_eq!(figures.len(), CEILINGS);
    // The binding ones come first.
    figures.truncate(count);
    let orders = ControlOrders {
        by: BUREAU.into(),
        year: YEAR,
        round: Round::Second,
        form_set: FORM_SET.to_owned(),
        reason: String::new(),
        mark: false,
        figures,
    };
    let actor = Actor { node: BUREAU.into(), role: Role::Bureau };
    let at = Instant::now();
    server.0.carry_out(actor, "ceilings".into(), Digest::of(b"ceilings"), Action::Control(orders)).await.unwrap();
    (server, at.elapsed())
}
