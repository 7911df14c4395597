//! The gallery: for each rule the smallest change of a sound filing that breaks it, and one that it passes only by
//! rounding, or the reason why there is none; with the screen in both languages and the answer for programs as snapshots.
//!
//! Two single figures of one precision never meet by rounding: one is the other, or it isn't. They can where tables are
//! filed at several precisions, which a filing may state for each table; so a case may state them too.
//!
//! A case is a patch: `tests/gallery/FORM SET/RULE/fail.toml` or `rounding.toml`. To accept new snapshots and write
//! the table in `tests/gallery/README.md` again: `INSTA_UPDATE=always cargo test --test it gallery`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use budget_consolidator::budget::form_set::{ColumnKind, FormSet, Table};
use budget_consolidator::budget::money::{Amount, Decimals, Denomination, Scale};
use budget_consolidator::budget::rule::{Books, Verdict};
use budget_consolidator::budget::submission::{Kind, Submission};
use budget_consolidator::cli::rules::{answer, screen};
use budget_consolidator::submission_file::SubmissionFile;
use budget_consolidator::wording::Language;
use serde_json::{Value, json};

use crate::support::*;

const FORM_SETS: [&str; 2] = ["shanxi-2024", "linjiang-2024"];
const README: &str = "tests/gallery/README.md";

/// Rules that no filing passes by rounding, and why: each has a `fail.toml` only.
pub const NEVER_BY_ROUNDING: &[(&str, &str, &str)] = &[
    ("shanxi-2024", "P-03", "both figures stand in one table, at one precision"),
    ("shanxi-2024", "P-04", "both figures stand in one table, at one precision"),
    ("shanxi-2024", "P-05", "asks which projects have a form"),
    ("shanxi-2024", "P-06", "compares names"),
    ("shanxi-2024", "P-08", "asks which indicators there are"),
    ("shanxi-2024", "P-10", "compares texts"),
    ("shanxi-2024", "P-12", "asks for a date"),
    ("shanxi-2024", "P-14", "compares times"),
    ("shanxi-2024", "A-01", "a written sum comes to an exact amount: one rounding at most, in the text"),
    ("shanxi-2024", "N-09", "compares names"),
    ("shanxi-2024", "N-11", "counts and years are exact"),
    ("shanxi-2024", "N-12", "asks what is blank or nothing"),
    ("shanxi-2024", "N-13", "asks what is blank"),
    ("shanxi-2024", "U-01", "counts are exact"),
    ("shanxi-2024", "U-02", "compares names and codes"),
    ("shanxi-2024", "E-01", "compares names"),
    ("shanxi-2024", "E-02", "asks what is blank"),
];

/// Changes a file: `set` puts texts into cells (a row that isn't there is added), `remove` drops rows, `only` empties
/// all tables but these, `stated` files a table at another precision (`万元.3`), its amounts printed anew.
pub fn patched(patch: &toml::Table, form: &FormSet) -> Value {
    let path = project(&format!("examples/{}.json", patch["base"].as_str().unwrap()));
    let mut file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let tables = file["tables"].as_object_mut().unwrap();
    if let Some(only) = patch.get("only") {
        let only: Vec<&str> = only.as_array().unwrap().iter().map(|table| table.as_str().unwrap()).collect();
        tables
            .iter_mut()
            .filter(|(id, _)| !only.contains(&id.as_str()))
            .for_each(|(_, t)| *t = json!({ "empty": true }));
    }
    if let Some(node) = patch.get("department") {
        tables.retain(|id, _| form.table(id).unwrap().1.is_filed_by(Kind::Department));
        file["unit"] = json!(node.as_str().unwrap());
        file["kind"] = json!("department");
    }
    for (id, kind) in patch.get("stated").and_then(toml::Value::as_table).into_iter().flatten() {
        state(&mut file["tables"][id], form.table(id).unwrap().1, kind.as_str().unwrap());
    }
    let texts = |key: &str| patch.get(key).and_then(toml::Value::as_table).cloned().unwrap_or_default();
    for (cell, value) in texts("set") {
        let (rest, column) = cell.rsplit_once('/').unwrap();
        let (table, key) = rest.split_once('/').unwrap();
        let table = file["tables"][table].as_object_mut().unwrap();
        table.remove("empty");
        let rows = table.entry("rows").or_insert(json!([])).as_array_mut().unwrap();
        if !rows.iter().any(|row| row["row"] == key) {
            rows.push(json!({ "row": key }));
        }
        rows.iter_mut().find(|row| row["row"] == key).unwrap()[column] = json!(value.as_str().unwrap());
    }
    for row in patch.get("remove").and_then(toml::Value::as_array).into_iter().flatten() {
        let (table, key) = row.as_str().unwrap().split_once('/').unwrap();
        file["tables"][table]["rows"].as_array_mut().unwrap().retain(|row| row["row"] != key);
    }
    file
}

/// The table at that precision.
fn state(filed: &mut Value, table: &Table, kind: &str) {
    let (unit, decimals) = kind.split_once('.').unwrap();
    let scale = Scale { denomination: Denomination::parse(unit).unwrap(), decimals: decimals.parse().unwrap() };
    for row in filed.get_mut("rows").and_then(Value::as_array_mut).into_iter().flatten() {
        for column in &table.columns {
            let ColumnKind::Amount { denomination, decimals } = column.kind else { continue };
            if let Some(value) = row.get_mut(column.id.as_str()) {
                let amount = Amount::parse(value.as_str().unwrap(), denomination, decimals).unwrap();
                *value = json!(amount.value.print(scale));
            }
        }
    }
    filed["amount_unit"] = json!(unit);
    filed["decimals"] = json!(scale.decimals);
}

fn read(file: &Value, form: &FormSet) -> Submission {
    let reading = SubmissionFile::read(&file.to_string()).unwrap().read_on(form);
    assert!(!reading.is_refused(), "{:?}", reading.findings);
    Submission::clone(&reading.submission)
}

/// What the round gives: values of the tables that nobody files, by column.
pub fn given(patch: &toml::Table, form: &FormSet, filing: &Submission) -> Option<Submission> {
    use budget_consolidator::budget::cell::Cell;
    use budget_consolidator::budget::number::Number;
    use budget_consolidator::budget::submission::{Content, FiledRows, FiledTable};
    let values = patch.get("round")?.as_table().unwrap();
    let table = form.tables.iter().position(|table| table.filed_by.is_empty()).unwrap();
    let cells = form.tables[table].columns.iter().map(|column| match values.get(column.id.as_str()) {
        None => Cell::Blank,
        Some(value) if column.kind == ColumnKind::Count => {
            Cell::Number(Number::parse(value.as_str().unwrap(), Decimals::Fixed(0)).unwrap())
        }
        Some(value) => Cell::Text(value.as_str().unwrap().into()),
    });
    let cells: Vec<Cell> = cells.collect();
    let mut rows = FiledRows::default();
    rows.push("-".into(), cells.len()).clone_from_slice(&cells);
    let filed = FiledTable { table, denomination: None, decimals: None, content: Content::Rows(rows) };
    Some(Submission { tables: vec![filed], ..filing.clone() })
}

fn cases(form_set: &str) -> Vec<(String, String, PathBuf)> {
    let mut cases = Vec::new();
    let names = |folder: &Path| {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        entries.collect::<BTreeSet<String>>()
    };
    let folder = project(&format!("tests/gallery/{form_set}"));
    for rule in names(&folder) {
        for file in names(&folder.join(&rule)) {
            if let Some(case) = file.strip_suffix(".toml") {
                cases.push((rule.clone(), case.to_owned(), folder.join(&rule).join(&file)));
            }
        }
    }
    cases
}

#[test]
fn gallery() {
    let mut table = String::from("| form set | rule | | what |\n|--|--|--|--|\n");
    for id in FORM_SETS {
        let form = form(id);
        let (mut failed, mut rounded) = (BTreeSet::new(), BTreeSet::new());
        let mut examples = BTreeMap::new();
        for (rule, case, path) in cases(id) {
            let patch: toml::Table = toml::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
            let filing = read(&patched(&patch, &form), &form);
            let sub = |key: &str| patch.get(key).and_then(toml::Value::as_array).cloned().unwrap_or_default();
            let units: Vec<Submission> =
                sub("units").iter().map(|unit| read(&patched(unit.as_table().unwrap(), &form), &form)).collect();
            let units: Vec<_> = units.iter().map(|unit| (unit, &form)).collect();
            let last = patch.get("last").map(|last| read(&patched(last.as_table().unwrap(), &form), &form));
            let given = given(&patch, &form, &filing);
            let last = last.as_ref().map(|last| (last, &form));
            let books = Books { filing: &filing, last, units: &units, given: given.as_ref() };
            let checked = judged_both_ways(&form, &books);
            let verdict = if case == "fail" { Verdict::Fail } else { Verdict::PassByRounding };
            let own = checked.findings.iter().filter(|finding| finding.rule == rule);
            assert!(
                own.clone().any(|finding| finding.verdict == verdict),
                "{id}/{rule}/{case}: {:#?}",
                own.collect::<Vec<_>>()
            );
            if case == "fail" { &mut failed } else { &mut rounded }.insert(rule.clone());
            if case == "fail" {
                let first = own.clone().find(|finding| finding.verdict == verdict).unwrap();
                let told =
                    Language::ALL.map(|language| budget_consolidator::wording::rule::example(first, &form, language));
                examples.insert(rule.clone(), told);
            }
            snapshot(&path, &format!("{case}.zh"), &screen(&form, &checked, Language::Chinese));
            snapshot(&path, &format!("{case}.en"), &screen(&form, &checked, Language::English));
            let mut answer = answer(&form, &checked);
            answer["form_set_digest"] = json!("…");
            let findings = answer["findings"].as_array_mut().unwrap();
            findings.retain(|finding| finding["rule"] == rule.as_str() && finding["verdict"] == verdict.as_str());
            snapshot(&path, &format!("{case}.json"), &format!("{answer:#}"));
            table += &format!("| {id} | {rule} | {case} | {} |\n", patch["why"].as_str().unwrap());
        }
        check_examples(id, &form, &examples);
        let rules: BTreeSet<String> = form.rules.rules.iter().map(|rule| rule.id.to_string()).collect();
        assert_eq!(failed, rules, "{id}: each rule has a filing that breaks it, and each folder a rule");
        let never =
            NEVER_BY_ROUNDING.iter().filter(|(form_set, ..)| *form_set == id).map(|(_, rule, _)| (*rule).to_owned());
        let never: BTreeSet<String> = never.collect();
        assert!(never.is_disjoint(&rounded), "{id}: passes by rounding, and is said never to");
        let told: BTreeSet<String> = never.union(&rounded).cloned().collect();
        assert_eq!(told, rules, "{id}: each rule has a filing that passes by rounding, or says why there is none");
    }
    let never = NEVER_BY_ROUNDING.iter().map(|(id, rule, why)| format!("| {id} | {rule} | {why} |\n"));
    let never = format!("## Never by rounding\n\n| form set | rule | why |\n|--|--|--|\n{}", never.collect::<String>());
    let text = format!(
        "# One broken filing for each rule\n\nWritten by `tests/it/gallery.rs`, which says how. A case is a change of a sound filing.\n\n{table}\n{never}"
    );
    if std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
        std::fs::write(project(README), &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(project(README)).unwrap(), text);
}

/// The example that a form set gives for a rule is what the smallest filing that breaks it is told.
fn check_examples(id: &str, form: &FormSet, examples: &BTreeMap<String, [String; 2]>) {
    if std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
        let path = project("forms").join(id).join("rules.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        let mut written = String::new();
        let mut rule = String::new();
        for line in text.lines().filter(|line| !line.starts_with("example")) {
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.split(']').next()) {
                rule = name.to_owned();
            }
            if let Some([zh, en]) = examples.get(&rule).filter(|_| line.starts_with("todo = ")) {
                written += &format!("example = {zh:?}\nexample_en = {en:?}\n");
            }
            written += line;
            written.push('\n');
        }
        std::fs::write(path, written).unwrap();
        return;
    }
    for rule in &form.rules.rules {
        assert_eq!([&rule.example, &rule.example_en], examples[rule.id.as_str()].each_ref(), "{id}/{}", rule.id);
    }
}

fn snapshot(case: &Path, name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(case.parent().unwrap());
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}
