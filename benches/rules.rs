//! What all rules of a form set cost on one filing: `cargo bench --bench rules`.
//!
//! The published filing of the example, and the same with its lists of projects made longer: 500 rows, 5,000 rows.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use budget_consolidator::budget::form_set::{FormFiles, FormSet};
use budget_consolidator::budget::rule::{Books, Needs, evaluate};
use budget_consolidator::submission_file::SubmissionFile;
use serde_json::Value;

/// As in the program itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FORM_SET: &str = "forms/shanxi-2024";
const FILING: &str = "examples/fenyang-2024/submissions/407002.json";
const ROUNDS: u32 = 200;

fn main() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let form = form(&home.join(FORM_SET));
    let text = std::fs::read_to_string(home.join(FILING)).unwrap();
    println!("| rows | lines judged | rules that need only the filing | µs a row | all rules |");
    println!("| --- | --- | --- | --- | --- |");
    for rows in [None, Some(500), Some(5_000)] {
        let text = rows.map_or_else(|| text.clone(), |rows| with_rows(&text, rows));
        let reading = SubmissionFile::read(&text).unwrap().read_on(&form);
        assert!(!reading.is_refused(), "{:?}", reading.findings.first());
        let books = Books::of(&reading.submission);
        let counts = evaluate(&form, &books, Needs::filing_only).counts;
        let judged = counts.pass + counts.pass_by_rounding + counts.fail + counts.not_evaluable;
        let ahead = fastest(|| evaluate(&form, &books, Needs::filing_only));
        let all = fastest(|| evaluate(&form, &books, |_| true));
        let rows = reading.submission.row_count();
        let each = ahead.as_nanos() as u64 / rows as u64;
        println!(
            "| {rows} | {judged} | {} µs | {}.{:02} | {} µs |",
            ahead.as_micros(),
            each / 1_000,
            each % 1_000 / 10,
            all.as_micros()
        );
    }
}

/// The median of some rounds.
fn fastest<T>(mut run: impl FnMut() -> T) -> Duration {
    let mut rounds: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let from = Instant::now();
            black_box(run());
            from.elapsed()
        })
        .collect();
    rounds.sort();
    rounds[rounds.len() / 2]
}

fn form(folder: &Path) -> FormSet {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap())
    });
    FormSet::load(files.collect::<FormFiles>()).unwrap()
}

/// The same filing with so many rows: projects, their functions, forms and indicators are cut or repeated under new codes.
fn with_rows(text: &str, rows: usize) -> String {
    let mut file: Value = serde_json::from_str(text).unwrap();
    let tables = file["tables"].as_object_mut().unwrap();
    let lists = ["T12", "PFUNC", "PF", "PI", "GOALMAP"];
    let count = |tables: &serde_json::Map<String, Value>, pick: &dyn Fn(&str) -> bool| -> usize {
        let tables = tables.iter().filter(|(id, _)| pick(id));
        tables.filter_map(|(_, table)| table["rows"].as_array()).map(Vec::len).sum()
    };
    let others = count(tables, &|id| !lists.contains(&id));
    let listed = count(tables, &|id| lists.contains(&id));
    let wanted = rows - others;
    for id in lists {
        let own = tables[id]["rows"].as_array().unwrap().clone();
        let take = own.len() * wanted / listed;
        let repeated = (0..take).map(|at| {
            let mut row = own[at % own.len()].clone();
            let key = row["row"].as_str().unwrap().replace("2024-", &format!("2024-{}", at / own.len()));
            row["row"] = Value::from(key);
            row
        });
        let mut seen = std::collections::BTreeSet::new();
        let rows: Vec<Value> = repeated.filter(|row| seen.insert(row["row"].as_str().unwrap().to_owned())).collect();
        tables[id]["rows"] = Value::Array(rows);
    }
    file.to_string()
}
