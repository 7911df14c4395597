//! Each amount of a filing is changed, one at a time, by ±1, ±2 and ±10 printed units, and the rules are run again.
//!
//! Which formulas can't hold any more is worked out beside the program, in whole 分, by an oracle that has its own
//! equations ([`oracle`], [`shanxi`], [`linjiang`]). For each formula at each row both must say the same, before the
//! change and after: what the oracle finds and the program doesn't is missed, the reverse is a false alarm.
//!
//! An amount cell is one that holds an amount, 0.00 too; a blank one says something else, and stays. A change is
//! *detectable* if it makes at least one formula fail that held before, each formula taken alone.

mod linjiang;
mod oracle;
mod shanxi;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use budget_consolidator::budget::cell::Cell;
use budget_consolidator::budget::form_set::FormSet;
use budget_consolidator::budget::money::Money;
use budget_consolidator::budget::rule::{Books, Needs, Verdict, evaluate};
use budget_consolidator::budget::submission::{Content, Submission};
use budget_consolidator::submission_file::SubmissionFile;
use serde_json::{Value, json};

use crate::support::*;
use oracle::{Equation, Figure, Filing, Instance, Sheet};

/// By how many printed units a cell is changed.
const STEPS: [[i128; 2]; 3] = [[1, -1], [2, -2], [10, -10]];

/// What became of the changes of one table's cells.
#[derive(Clone, Default)]
struct Tally {
    cells: usize,
    /// Cells of which a change of ±1, ±2, ±10 is detected.
    noticed: [usize; 3],
    /// Cells of which any change is detected.
    protected: usize,
    /// The others.
    unprotected: Vec<String>,
    changes: usize,
    detectable: usize,
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        self.unprotected.extend(other.unprotected.iter().cloned());
        self.cells += other.cells;
        self.protected += other.protected;
        self.changes += other.changes;
        self.detectable += other.detectable;
        for (sum, more) in self.noticed.iter_mut().zip(other.noticed) {
            *sum += more;
        }
    }
}

/// One filing, with the rules of its form set and the oracle's equations.
struct Trial {
    form: FormSet,
    submission: Submission,
    amounts: Vec<(String, Figure)>,
    equations: Vec<Equation>,
    checks: BTreeSet<(String, usize)>,
}

type Fails = BTreeSet<Instance>;

impl Trial {
    fn new(form_set: &str, file: &Value, write: fn(&Filing) -> Sheet<'_>) -> Trial {
        let form = form(form_set);
        let reading = SubmissionFile::read(&file.to_string()).unwrap().read_on(&form);
        assert!(!reading.is_refused(), "{:?}", reading.findings);
        let submission = Submission::clone(&reading.submission);
        let filing = Filing::read(form_set, file);
        let Sheet { equations, checks, .. } = write(&filing);
        let names: BTreeSet<&Instance> = equations.iter().map(|equation| &equation.instance).collect();
        assert_eq!(names.len(), equations.len(), "each equation has a name of its own");
        Trial { form, submission, amounts: filing.amounts, equations, checks }
    }

    /// What fails by the program: formulas that the oracle knows, and the others.
    fn judge(&self, submission: &Submission) -> (Fails, Fails) {
        let checked = evaluate(&self.form, &Books::of(submission), Needs::filing_only);
        assert_eq!(checked.counts.not_evaluable, 0, "no change of an amount takes a formula's ground away");
        let fails = checked.findings.iter().filter(|finding| finding.verdict == Verdict::Fail);
        let named = fails.map(|finding| Instance {
            rule: finding.rule.to_string(),
            check: finding.check,
            link: finding.link,
            place: finding.place.to_string(),
        });
        named.partition(|instance| self.checks.contains(&(instance.rule.clone(), instance.check)))
    }

    /// Changes cell after cell; the tallies by table.
    fn run(&self) -> BTreeMap<String, Tally> {
        let figures: Vec<Figure> = self.amounts.iter().map(|(_, figure)| *figure).collect();
        let held: Fails =
            self.equations.iter().filter(|equation| equation.fails(&figures)).map(|e| e.instance.clone()).collect();
        let (found, others) = self.judge(&self.submission);
        assert_eq!(found, held, "what fails in the filing as it is");
        let mut resting: Vec<Vec<&Equation>> = vec![Vec::new(); figures.len()];
        for equation in &self.equations {
            for cell in equation.cells() {
                resting[cell].push(equation);
            }
        }
        let change = |numbers: std::ops::Range<usize>| {
            let (mut submission, mut figures) = (self.submission.clone(), figures.clone());
            let mut tallies = BTreeMap::<String, Tally>::new();
            for number in numbers {
                let cell = &self.amounts[number].0;
                let before = figures[number];
                let mut tally = Tally { cells: 1, ..Tally::default() };
                for (step, sizes) in STEPS.into_iter().enumerate() {
                    let mut noticed = false;
                    for size in sizes {
                        figures[number].fen = before.fen + size * before.unit;
                        put(&self.form, &mut submission, cell, figures[number].fen);
                        let (mut expected, mut detectable) = (held.clone(), false);
                        for equation in &resting[number] {
                            if !equation.fails(&figures) {
                                expected.remove(&equation.instance);
                            } else {
                                detectable |= expected.insert(equation.instance.clone());
                            }
                        }
                        let (found, beside) = self.judge(&submission);
                        let missed: Vec<_> = expected.difference(&found).collect();
                        let false_alarms: Vec<_> = found.difference(&expected).collect();
                        assert!(
                            missed.is_empty() && false_alarms.is_empty() && beside == others,
                            "{cell} by {size}: missed {missed:?}, false alarms {false_alarms:?}"
                        );
                        tally.changes += 1;
                        tally.detectable += usize::from(detectable);
                        noticed |= detectable;
                    }
                    tally.noticed[step] = usize::from(noticed);
                }
                match tally.noticed.contains(&1) {
                    true => tally.protected = 1,
                    false => tally.unprotected.push(cell.clone()),
                }
                figures[number] = before;
                put(&self.form, &mut submission, cell, before.fen);
                tallies.entry(cell.split('/').next().unwrap().to_owned()).or_default().add(&tally);
            }
            assert!(submission == self.submission, "each change is taken back");
            tallies
        };
        // A change is worth the work of a whole filing: shared among threads.
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(figures.len());
        let bounds: Vec<usize> = (0..=threads).map(|at| at * figures.len() / threads).collect();
        std::thread::scope(|scope| {
            let parts: Vec<_> = bounds.windows(2).map(|bound| scope.spawn(|| change(bound[0]..bound[1]))).collect();
            parts.into_iter().fold(BTreeMap::<String, Tally>::new(), |mut all, part| {
                for (table, tally) in part.join().unwrap() {
                    all.entry(table).or_default().add(&tally);
                }
                all
            })
        })
    }
}

/// Each formula that needs only the filing has an equation, which holds for some row of these filings, or says why no
/// change of an amount can reach it.
fn every_formula_is_tried<'t>(trials: impl Iterator<Item = &'t Trial>, untouched: &[(&str, &[usize], &str)]) {
    let (mut formulas, mut tried, mut written) = <(BTreeSet<_>, BTreeSet<_>, BTreeSet<_>)>::default();
    for trial in trials {
        for rule in &trial.form.rules.rules {
            let alone = rule.checks.iter().enumerate().filter(|(_, check)| check.needs.filing_only());
            formulas.extend(alone.map(|(at, _)| (rule.id.to_string(), at)));
        }
        written.extend(trial.checks.clone());
        let resting = trial.equations.iter().filter(|equation| !equation.cells().is_empty());
        tried.extend(resting.map(|equation| (equation.instance.rule.clone(), equation.instance.check)));
    }
    assert_eq!(tried, written, "formulas with an equation that none of the filings has amounts for");
    for (rule, checks, _) in untouched {
        for check in *checks {
            assert!(written.insert(((*rule).to_owned(), *check)), "{rule}.{check} has an equation");
        }
    }
    assert_eq!(written, formulas);
}

/// Puts an amount into a cell that holds one.
fn put(form: &FormSet, submission: &mut Submission, cell: &str, fen: i128) {
    let (rest, column) = cell.rsplit_once('/').unwrap();
    let (table, key) = rest.split_once('/').unwrap();
    let (index, table) = form.table(table).unwrap();
    let column = table.columns.iter().position(|other| other.id == column).unwrap();
    let filed = submission.tables.iter_mut().find(|filed| filed.table == index).unwrap();
    let Content::Rows(rows) = &mut filed.content else { panic!("{cell}: the table is empty") };
    let row = rows.iter().position(|row| row.key.as_str() == key).unwrap();
    match rows.column_mut(column).nth(row) {
        Some(Cell::Amount(amount)) => amount.value = Money::from_fen(i64::try_from(fen).unwrap()),
        other => panic!("{cell}: {other:?} is no amount"),
    }
}

/// A line for each table that has amounts, and which cells no rule protects.
fn shown(form: &FormSet, tallies: &BTreeMap<String, Tally>, parts: &[(&str, &dyn Fn(&str) -> bool)]) -> String {
    let mut text = format!("{:<14} {:>5} {:>5} {:>5} {:>5} {:>10}\n", "table", "cells", "±1", "±2", "±10", "protected");
    let mut line = |name: &str, tally: &Tally| {
        let Tally { cells, noticed: [one, two, ten], protected, .. } = tally;
        let tenths = 1_000 * protected / cells;
        let share = format!("{}.{} %", tenths / 10, tenths % 10);
        writeln!(text, "{name:<14} {cells:>5} {one:>5} {two:>5} {ten:>5} {protected:>10} {share:>8}").unwrap();
    };
    for table in &form.tables {
        if let Some(tally) = tallies.get(table.id.as_str()) {
            line(&table.id, tally);
        }
    }
    let mut all = Tally::default();
    for (name, belongs) in parts {
        let mut sum = Tally::default();
        tallies.iter().filter(|(table, _)| belongs(table)).for_each(|(_, tally)| sum.add(tally));
        line(name, &sum);
        all = sum;
    }
    let Tally { changes, detectable, unprotected, .. } = all;
    write!(text, "\n{detectable} of {changes} changes are detectable; missed 0, false alarms 0").unwrap();
    let unprotected = if unprotected.is_empty() { "none".to_owned() } else { unprotected.join(", ") };
    write!(text, "\nunprotected: {unprotected}").unwrap();
    text
}

fn file(path: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(project(&format!("examples/{path}.json"))).unwrap()).unwrap()
}

#[test]
fn each_change_of_the_published_filing_is_found_if_some_rule_alone_can_find_it() {
    let trial = Trial::new("shanxi-2024", &file("fenyang-2024/submissions/407002"), shanxi::sheet);
    let printed = |table: &str| table == "PF" || table.starts_with(['T']) && table != "TRANSFER";
    let text = shown(&trial.form, &trial.run(), &[("printed, forms", &printed), ("all", &|_| true)]);
    println!("{text}");
    insta::assert_snapshot!(text);
}

/// A filing that has something in every table, and conditions that a change of one unit turns over.
fn with_every_table() -> Value {
    let mut file = file("fenyang-2024/submissions/407004");
    let tables = file["tables"].as_object_mut().unwrap();
    let filled = json!({
        "T07": { "rows": [
            { "row": "合计", "amount": "8.00" },
            { "row": "103", "amount": "8.00" },
            { "row": "10301", "amount": "8.00" },
            { "row": "1030148", "amount": "8.00" },
            { "row": "103014801", "amount": "5.00" },
            { "row": "103014802", "amount": "3.01" },
        ] },
        "T08": { "rows": [
            { "row": "合计", "total": "8.00", "basic": "2.00", "project": "6.00" },
            { "row": "212", "total": "8.00", "basic": "2.00", "project": "6.00" },
            { "row": "21208", "total": "8.00", "basic": "2.00", "project": "6.00" },
            { "row": "2120801", "total": "5.01", "basic": "1.00", "project": "4.00" },
            { "row": "2120804", "total": "3.00", "basic": "1.00", "project": "2.00" },
        ] },
        "T09A": { "rows": [
            { "row": "合计", "amount": "0.50" },
            { "row": "103", "amount": "0.50" },
            { "row": "10306", "amount": "0.50" },
            { "row": "1030601", "amount": "0.50" },
        ] },
        "T09B": { "rows": [
            { "row": "合计", "total": "0.50", "project": "0.50" },
            { "row": "223", "total": "0.50", "project": "0.50" },
            { "row": "22301", "total": "0.50", "project": "0.50" },
            { "row": "2230101", "total": "0.50", "project": "0.50" },
        ] },
        "T10": { "rows": [
            { "row": "abroad" },
            { "row": "reception", "total": "1.20", "general": "1.20" },
            { "row": "vehicle", "total": "3.01", "general": "2.00", "fund": "1.00" },
            { "row": "vehicle_purchase", "total": "1.00", "fund": "1.00" },
            { "row": "vehicle_running", "total": "2.00", "general": "2.00" },
            { "row": "total", "total": "4.20", "general": "3.20", "fund": "1.00" },
        ] },
        "T11": { "rows": [
            { "row": "部门合计", "total": "6.00", "general": "5.00", "capital": "1.00" },
            { "row": "1", "total": "6.00", "general": "5.00", "capital": "1.00" },
        ] },
        "T13": { "rows": [
            { "row": "单位合计", "name": "本单位", "total": "0.30", "general": "0.20", "fund": "0.11" },
            { "row": "2023-001", "name": "上年项目", "total": "0.30", "general": "0.20", "fund": "0.11" },
        ] },
        "OWN": { "rows": [
            { "row": "business", "amount": "1.00" },
            { "row": "operating" },
            { "row": "superior", "amount": "2.00" },
            { "row": "subordinate" },
            { "row": "other", "amount": "0.00" },
            { "row": "total", "amount": "3.00" },
        ] },
    });
    tables.extend(filled.as_object().unwrap().clone());
    // One unit less, and nothing is carried over; one more, and there is other money than appropriations.
    for (table, row, column, amount) in [
        ("T01A", "carry", "amount", "0.01"),
        ("T01A", "special", "amount", "0.00"),
        ("T01A", "fund", "amount", "0.00"),
        ("T01A", "capital", "amount", "0.00"),
        ("T01B", "ending", "total", "0.00"),
        ("T03", "2101102", "basic", "5.20"),
        ("PF", "2024-001", "impl_other", "0"),
    ] {
        let rows = tables[table]["rows"].as_array_mut().unwrap();
        rows.iter_mut().find(|other| other["row"] == row).unwrap()[column] = json!(amount);
    }
    file
}

/// The tables of several filings, added up.
fn together(trials: &[Trial]) -> String {
    let mut tallies = BTreeMap::<String, Tally>::new();
    for trial in trials {
        trial.run().iter().for_each(|(table, tally)| tallies.entry(table.clone()).or_default().add(tally));
    }
    shown(&trials[0].form, &tallies, &[("all", &|_| true)])
}

#[test]
fn the_same_holds_for_filings_in_yuan_with_other_money_and_with_something_in_every_table() {
    let mut files = ["407001", "407003"].map(|unit| file(&format!("fenyang-2024/submissions/{unit}"))).to_vec();
    files.push(with_every_table());
    let trials: Vec<Trial> = files.iter().map(|file| Trial::new("shanxi-2024", file, shanxi::sheet)).collect();
    let seed = Trial::new("shanxi-2024", &file("fenyang-2024/submissions/407002"), shanxi::sheet);
    every_formula_is_tried(trials.iter().chain([&seed]), shanxi::UNTOUCHED);
    insta::assert_snapshot!(together(&trials));
}

#[test]
fn the_same_holds_for_tables_in_yuan_and_fen() {
    let files = ["508001", "508002", "508002001", "508"].map(|unit| file(&format!("linjiang-2024/submissions/{unit}")));
    let trials: Vec<Trial> = files.iter().map(|file| Trial::new("linjiang-2024", file, linjiang::sheet)).collect();
    every_formula_is_tried(trials.iter(), linjiang::UNTOUCHED);
    insta::assert_snapshot!(together(&trials));
}
