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
use std::ops::Range;

use budget_consolidator::budget::cell::Cell;
use budget_consolidator::budget::form_set::FormSet;
use budget_consolidator::budget::money::Money;
use budget_consolidator::budget::rule::{Books, Needs, Verdict, evaluate};
use budget_consolidator::budget::submission::{Content, Submission};
use budget_consolidator::submission_file::SubmissionFile;
use serde_json::Value;

use crate::gallery::{NEVER_BY_ROUNDING, patched};
use crate::support::*;
use oracle::{Equation, Figure, Filing, Instance, Sheet};

/// By how many printed units a cell is changed.
const STEPS: [[i128; 2]; 3] = [[1, -1], [2, -2], [10, -10]];

/// What became of the changes of one table's cells.
#[derive(Clone, Default)]
struct Tally {
    cells: usize,
    /// Cells of which a change by 1, 2, 10 is detectable, up or down.
    noticed: [usize; 3],
    /// Cells of which any change is detectable.
    protected: usize,
    /// The others.
    unprotected: Vec<String>,
    changes: usize,
    detectable: usize,
    /// What the oracle finds and the program doesn't.
    missed: Vec<String>,
    /// What the program finds and the oracle doesn't.
    false_alarms: Vec<String>,
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        self.unprotected.extend(other.unprotected.iter().cloned());
        self.missed.extend(other.missed.iter().cloned());
        self.false_alarms.extend(other.false_alarms.iter().cloned());
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
        let rounded = checked.findings.iter().filter(|finding| finding.verdict == Verdict::PassByRounding);
        for finding in rounded {
            let never = NEVER_BY_ROUNDING.iter().any(|(id, rule, _)| self.form.id == *id && finding.rule == *rule);
            assert!(!never, "{finding:?} passes by rounding, and the gallery says that it never does");
        }
        let fails = checked.findings.iter().filter(|finding| finding.verdict == Verdict::Fail);
        let named = fails.map(|finding| Instance {
            rule: finding.rule.to_string(),
            check: finding.check,
            link: finding.link,
            place: finding.place.to_string(),
        });
        named.partition(|instance| self.checks.contains(&(instance.rule.clone(), instance.check)))
    }

    /// How many verdicts the program gives by the formulas that the oracle knows.
    fn asked(&self) -> usize {
        let mut files = form_files(&self.form.id);
        let mut rules: toml::Table = toml::from_str(str::from_utf8(&files["rules.toml"]).unwrap()).unwrap();
        rules.remove("elsewhere");
        for (id, rule) in rules.iter_mut().filter(|(id, _)| *id != "let") {
            let formulas = match &rule["check"] {
                toml::Value::Array(formulas) => formulas.clone(),
                one => vec![one.clone()],
            };
            let known = formulas.into_iter().enumerate().filter(|(at, _)| self.checks.contains(&(id.clone(), *at)));
            rule["check"] = toml::Value::Array(known.map(|(_, formula)| formula).collect());
        }
        rules.retain(|id, rule| id == "let" || rule["check"].as_array().is_some_and(|checks| !checks.is_empty()));
        files.insert("rules.toml".to_owned(), toml::to_string(&rules).unwrap().into_bytes());
        let form = FormSet::load(files).unwrap();
        let counts = evaluate(&form, &Books::of(&self.submission), Needs::filing_only).counts;
        usize::try_from(counts.pass + counts.pass_by_rounding + counts.fail).unwrap()
    }

    /// The filing as it is: both say the same of it.
    fn ground(&self) -> Ground<'_> {
        let figures: Vec<Figure> = self.amounts.iter().map(|(_, figure)| *figure).collect();
        let fails = self.equations.iter().filter(|equation| equation.fails(&figures));
        let held: Fails = fails.map(|equation| equation.instance.clone()).collect();
        let (found, others) = self.judge(&self.submission);
        assert_eq!(found, held, "what fails in the filing as it is");
        let asked = self.equations.iter().filter(|equation| equation.applies(&figures)).count();
        assert_eq!(self.asked(), asked, "how often formulas are asked, one row and link at a time");
        let mut resting: Vec<Vec<&Equation>> = vec![Vec::new(); figures.len()];
        for equation in &self.equations {
            for cell in equation.cells() {
                resting[cell].push(equation);
            }
        }
        Ground { figures, fails: held, others, resting }
    }

    /// Changes cell after cell; the tallies by table.
    fn run(&self) -> BTreeMap<String, Tally> {
        let ground = self.ground();
        let change = |numbers: Range<usize>| {
            let (mut submission, mut figures) = (self.submission.clone(), ground.figures.clone());
            let tallies = numbers.map(|number| self.change(number, &ground, &mut submission, &mut figures));
            let tallies: Vec<Tally> = tallies.collect();
            assert!(submission == self.submission, "each change is taken back");
            tallies
        };
        // A change is worth the work of a whole filing: shared among threads.
        let cells = self.amounts.len();
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let bounds: Vec<usize> = (0..=threads).map(|at| at * cells / threads).collect();
        let tallies = std::thread::scope(|scope| {
            let parts: Vec<_> = bounds.windows(2).map(|bound| scope.spawn(|| change(bound[0]..bound[1]))).collect();
            parts.into_iter().flat_map(|part| part.join().unwrap()).collect::<Vec<_>>()
        });
        let mut by_table = BTreeMap::<String, Tally>::new();
        for ((cell, _), tally) in self.amounts.iter().zip(tallies) {
            by_table.entry(cell.split('/').next().unwrap().to_owned()).or_default().add(&tally);
        }
        by_table
    }

    /// All changes of one cell, each of which is taken back.
    fn change(&self, number: usize, ground: &Ground<'_>, submission: &mut Submission, figures: &mut [Figure]) -> Tally {
        let (cell, before) = &self.amounts[number];
        let mut tally = Tally { cells: 1, ..Tally::default() };
        for (step, sizes) in STEPS.into_iter().enumerate() {
            for size in sizes {
                figures[number].fen = before.fen + size * before.unit;
                put(&self.form, submission, cell, figures[number].fen);
                let (mut expected, mut detectable) = (ground.fails.clone(), false);
                for equation in &ground.resting[number] {
                    if equation.fails(figures) {
                        detectable |= expected.insert(equation.instance.clone());
                    } else {
                        expected.remove(&equation.instance);
                    }
                }
                let (found, others) = self.judge(submission);
                tally.changes += 1;
                tally.detectable += usize::from(detectable);
                tally.noticed[step] |= usize::from(detectable);
                let told = |what: &str, instance: &Instance| format!("{cell} by {size}: {what} {instance:?}");
                tally.missed.extend(expected.difference(&found).map(|instance| told("missed", instance)));
                let alarms = found.difference(&expected).chain(others.symmetric_difference(&ground.others));
                tally.false_alarms.extend(alarms.map(|instance| told("false alarm of", instance)));
            }
        }
        tally.protected = usize::from(tally.noticed.contains(&1));
        tally.unprotected.extend((tally.protected == 0).then(|| cell.clone()));
        figures[number] = *before;
        put(&self.form, submission, cell, before.fen);
        tally
    }
}

/// A filing before any change: what fails, and which equations rest on which cell.
struct Ground<'t> {
    figures: Vec<Figure>,
    fails: Fails,
    /// What fails of the formulas that no change of an amount can reach.
    others: Fails,
    resting: Vec<Vec<&'t Equation>>,
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

/// A line for each table that has amounts, and which cells no rule protects; `printed` are added up apart.
fn shown(form: &FormSet, tallies: &BTreeMap<String, Tally>, printed: &[&str]) -> String {
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
    let sum = |belongs: &dyn Fn(&str) -> bool| {
        let tallies = tallies.iter().filter(|(table, _)| belongs(table));
        tallies.fold(Tally::default(), |mut sum, (_, tally)| {
            sum.add(tally);
            sum
        })
    };
    if !printed.is_empty() {
        line("printed", &sum(&|table| printed.contains(&table)));
    }
    let all = sum(&|_| true);
    line("all", &all);
    let Tally { changes, detectable, unprotected, missed, false_alarms, .. } = all;
    assert!(missed.is_empty() && false_alarms.is_empty(), "{missed:#?} {false_alarms:#?}");
    write!(text, "\n{detectable} of {changes} changes are detectable; detectable and missed: 0; false alarms: 0")
        .unwrap();
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
    let text = shown(&trial.form, &trial.run(), &shanxi::PRINTED);
    println!("{text}");
    insta::assert_snapshot!("published_filing", text);
}

/// A changed example, such as a case of the gallery.
fn changed(path: &str, form_set: &str) -> Value {
    let patch = toml::from_str(&std::fs::read_to_string(project(&format!("tests/{path}.toml"))).unwrap()).unwrap();
    patched(&patch, &form(form_set))
}

/// The tables of several filings, added up.
fn together(trials: &[Trial]) -> String {
    let mut tallies = BTreeMap::<String, Tally>::new();
    for trial in trials {
        trial.run().iter().for_each(|(table, tally)| tallies.entry(table.clone()).or_default().add(tally));
    }
    shown(&trials[0].form, &tallies, &[])
}

#[test]
fn the_same_holds_for_filings_in_yuan_with_other_money_and_with_something_in_every_table() {
    let mut files = ["407001", "407003"].map(|unit| file(&format!("fenyang-2024/submissions/{unit}"))).to_vec();
    files.push(changed("data/every-table", "shanxi-2024"));
    let trials: Vec<Trial> = files.iter().map(|file| Trial::new("shanxi-2024", file, shanxi::sheet)).collect();
    let seed = Trial::new("shanxi-2024", &file("fenyang-2024/submissions/407002"), shanxi::sheet);
    every_formula_is_tried(trials.iter().chain([&seed]), shanxi::UNTOUCHED);
    insta::assert_snapshot!("other_filings", together(&trials));
}

#[test]
fn the_same_holds_for_tables_in_yuan_and_fen() {
    let units = ["508001", "508002", "508002001", "508"];
    let mut files = units.map(|unit| file(&format!("linjiang-2024/submissions/{unit}"))).to_vec();
    files.push(changed("gallery/linjiang-2024/S-05/rounding", "linjiang-2024"));
    let trials: Vec<Trial> = files.iter().map(|file| Trial::new("linjiang-2024", file, linjiang::sheet)).collect();
    every_formula_is_tried(trials.iter(), linjiang::UNTOUCHED);
    insta::assert_snapshot!("in_yuan_and_fen", together(&trials));
}
