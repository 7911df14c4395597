//! The seed: what a real unit's published budget prints comes back figure by figure, and its department's sums are
//! what a second arithmetic makes of the same files.

use std::sync::Arc;

use budget_consolidator::proto::{ShownCell, api};
use budget_consolidator::store::MemoryJournal;
use budget_consolidator::submission_file::SubmissionFile;
use serde_json::Value;

use crate::model::{self, Layout, Sums};
use crate::support::*;

const FORM_SET: &str = "shanxi-2024";
const UNIT: &str = "407002";

fn json(path: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(project(path)).unwrap()).unwrap()
}

// ── (a) every printed figure ─────────────────────────────────────────────────────────────

/// The part of the transcription that a table of the form set prints: its number, its half, the field with the row's
/// name, and the fields of its columns.
type Sheet = (&'static str, &'static str, &'static str, &'static str, &'static [(&'static str, &'static str)]);

const BY_SOURCE: &[(&str, &str)] =
    &[("total", "total"), ("general_public", "general"), ("gov_fund", "fund"), ("state_capital", "capital")];
const BY_PURPOSE: &[(&str, &str)] = &[("total", "total"), ("basic", "basic"), ("project", "project")];

const SHEETS: [Sheet; 16] = [
    ("T01A", "1", "income", "item", &[("y2024", "amount")]),
    ("T01B", "1", "expenditure", "item", &[("total", "total"), ("current_year", "current"), ("carried_over", "carry")]),
    (
        "T02",
        "2",
        "rows",
        "name",
        &[
            ("total", "total"),
            ("general_public", "general"),
            ("gov_fund", "fund"),
            ("state_capital", "capital"),
            ("fiscal_special_account", "special"),
            ("unit_funds", "own"),
            ("carried_over", "carry"),
        ],
    ),
    ("T03", "3", "rows", "name", BY_PURPOSE),
    ("T04A", "4", "income", "item", &[("amount", "amount")]),
    (
        "T04B",
        "4",
        "expenditure",
        "item",
        &[("subtotal", "total"), ("general_public", "general"), ("gov_fund", "fund"), ("state_capital", "capital")],
    ),
    ("T05", "5", "rows", "name", BY_PURPOSE),
    (
        "T06",
        "6",
        "rows",
        "dept_econ_name",
        &[("gov_econ_name", "government"), ("total", "total"), ("personnel", "personnel"), ("public", "public")],
    ),
    ("T07", "7", "rows", "income_code", &[("name", "name"), ("gov_fund_income", "amount")]),
    ("T08", "8", "rows", "code", BY_PURPOSE),
    ("T09A", "9", "rows", "income_code", &[("income_name", "name"), ("income", "amount")]),
    ("T09B", "9", "rows", "income_code", BY_PURPOSE),
    ("T10", "10", "rows", "item", BY_SOURCE),
    ("T11", "11", "rows", "unit_name", BY_SOURCE),
    (
        "T12",
        "12",
        "rows",
        "project",
        &[
            ("total", "total"),
            ("general_public", "general"),
            ("gov_fund", "fund"),
            ("state_capital", "capital"),
            ("fiscal_special_account", "special"),
            ("unit_funds", "own"),
        ],
    ),
    ("T13", "13", "rows", "project", BY_SOURCE),
];

/// The fields of a funding half and of an indicator, with the last part of their column.
const FUNDING: [(&str, &str); 6] = [
    ("total", "total"),
    ("central", "central"),
    ("provincial", "provincial"),
    ("city_county", "local"),
    ("unit_self", "self"),
    ("other", "other"),
];
const INDICATOR: [(&str, &str); 4] = [("level1", "level"), ("level2", "class"), ("level3", "name"), ("value", "value")];
const HALVES: [(&str, &str); 2] = [("implementation", "impl"), ("annual", "annual")];
const PARTICULARS: [(&str, &str); 9] = [
    ("project_name", "name"),
    ("department_code", "department_code"),
    ("department_name", "department"),
    ("implementing_unit", "unit"),
    ("project_attribute", "attribute"),
    ("filed_at", "filed_at"),
    ("responsible", "responsible"),
    ("handler", "handler"),
    ("phone", "phone"),
];

/// Compares what a view prints with the transcription and counts the figures, blank ones included.
struct Comparison<'v> {
    view: &'v api::ViewResponse,
    figures: usize,
}

impl<'v> Comparison<'v> {
    fn table(&self, id: &str) -> &'v api::ShownTable {
        self.view.tables.iter().find(|table| table.id == id).unwrap()
    }

    fn row(&self, table: &str, key: &str) -> &'v api::ShownRow {
        let row = self.table(table).rows.iter().find(|row| row.key == key);
        row.unwrap_or_else(|| panic!("no row {table}/{key}"))
    }

    /// One figure: what is printed in the seed (nothing, if null) against what the view prints in that cell.
    fn figure(&mut self, seed: &Value, table: &str, row: &api::ShownRow, column: &str) {
        let printed = printed(self.table(table), row, column);
        assert_eq!(printed, seed.as_str().unwrap_or(""), "{table}/{}/{column}", row.key);
        self.figures += 1;
    }

    fn sheet(&mut self, seed: &Value, (id, number, half, name, columns): Sheet) {
        let sheet = &seed["tables"][number];
        let table = self.table(id);
        let mut expected: Vec<&Value> = sheet[half].as_array().unwrap().iter().collect();
        expected.extend(sheet.get("unit_total_row"));
        expected.rotate_right(usize::from(sheet.get("unit_total_row").is_some()));
        if sheet["note"] == "注：本表无数据" {
            assert_eq!((table.filings, table.empty, table.rows.len()), (1, 1, 0), "{id} is empty on purpose");
            for (row, (field, _)) in expected.iter().flat_map(|row| columns.iter().map(move |column| (row, column))) {
                assert!(row[*field].is_null(), "{id} has a figure: {row}");
                self.figures += 1;
            }
            return;
        }
        assert_eq!((table.filings, table.empty, table.rows.len()), (1, 0, expected.len()), "{id}");
        for (seed, row) in expected.into_iter().zip(&table.rows) {
            let named = [printed(table, row, "name"), row.label.clone(), row.key.clone()];
            let named = named.into_iter().find(|name| !name.is_empty());
            assert_eq!(named.as_deref(), seed[name].as_str(), "{id}/{}", row.key);
            if let Some(code) = seed.get("code").and_then(Value::as_str) {
                assert_eq!(row.key, code, "{id}");
            }
            for (field, column) in columns {
                self.figure(&seed[*field], id, row, column);
            }
        }
    }

    fn performance_form(&mut self, seed: &Value) {
        let project = format!("2024-{:03}", seed["table12_seq"].as_u64().unwrap());
        let row = self.row("PF", &project);
        for (field, column) in PARTICULARS {
            self.figure(&seed[field], "PF", row, column);
        }
        assert_eq!(seed["period"], format!("{}年", printed(self.table("PF"), row, "period")));
        self.figures += 1;
        for (half, prefix) in HALVES {
            for (field, column) in FUNDING {
                self.figure(&seed["funding"][half][field], "PF", row, &format!("{prefix}_{column}"));
            }
            for (at, indicator) in seed["indicators"][half].as_array().unwrap().iter().enumerate() {
                let row = self.row("PI", &format!("{project}/{}", at + 1));
                for (field, column) in INDICATOR {
                    self.figure(&indicator[field], "PI", row, &format!("{prefix}_{column}"));
                }
            }
        }
    }
}

/// A cell as it would be put on paper; the view gives digits, the column says whether they are grouped.
fn printed(table: &api::ShownTable, row: &api::ShownRow, column: &str) -> String {
    let Some(at) = table.columns.iter().position(|head| head.id == column) else { return String::new() };
    let value = &row.cells[at].value;
    if table.columns[at].grouped && !value.is_empty() { model::grouped(value) } else { value.to_string() }
}

/// Compares the whole view of the seed's unit; says how many figures.
async fn compare(server: &TestServer, seed: &Value) -> usize {
    let view = server.client(&unit(UNIT)).await.view(UNIT, &[], false).await.unwrap();
    let mut comparison = Comparison { view: &view, figures: 0 };
    SHEETS.into_iter().for_each(|sheet| comparison.sheet(seed, sheet));
    let forms = seed["performance_targets"].as_array().unwrap();
    forms.iter().for_each(|form| comparison.performance_form(form));
    assert_eq!(comparison.table("PF").rows.len(), forms.len());
    let indicators =
        |form: &Value| HALVES.iter().map(|(half, _)| form["indicators"][half].as_array().unwrap().len()).max().unwrap();
    assert_eq!(comparison.table("PI").rows.len(), forms.iter().map(indicators).sum::<usize>());
    comparison.figures
}

#[tokio::test]
async fn the_seed_comes_back_character_for_character_also_after_a_restart() {
    let seed = json("tests/data/seed-figures.json");
    let journal = Arc::new(MemoryJournal::new());
    let server = TestServer::on(journal.clone()).await;
    server.furnish("fenyang-2024", FORM_SET, 2024).await;
    let file = example(&format!("fenyang-2024/submissions/{UNIT}.json"));
    let answer = server.client(&unit(UNIT)).await.submit(&file, &form(FORM_SET)).await.unwrap();
    assert_eq!(answer.version, 1);
    let figures = compare(&server, &seed).await;
    server.stop().await;

    let server = TestServer::on(journal).await;
    assert_eq!(compare(&server, &seed).await, figures);
    server.stop().await;
    println!("{figures} figures of the seed compared, before and after a restart");
    assert!(figures > 1_500, "{figures}");
}

// ── (b) the department's sums ────────────────────────────────────────────────────────────

#[tokio::test]
async fn the_department_is_the_sum_of_its_units_in_whole_fen() {
    let layout = Layout::read(&form_files(FORM_SET));
    let filing = |code: &str| json(&format!("examples/fenyang-2024/submissions/{code}.json"));
    let mut files = ["407001", "407002", "407003", "407004"].map(filing).to_vec();
    let server = TestServer::start().await;
    server.client(ADMINISTRATOR).await.import_units("fenyang-2024/units.csv", 2024).await.unwrap();
    for file in &files {
        assert_eq!(submit(&server, file).await.version, 1);
    }
    let mut cells = compare_sums(&server, "407", &layout, &files).await;

    // One unit files again, with every amount changed: its transfer no longer agrees with the other side's.
    files[0] = model::doubled(&layout, files[0].clone());
    assert_eq!(submit(&server, &files[0]).await.version, 2);
    cells += compare_sums(&server, "407", &layout, &files).await;

    // Another tries to, and is refused: its version before still counts.
    let mut refused = model::doubled(&layout, files[2].clone());
    refused["tables"]["T01A"]["rows"].as_array_mut().unwrap().push(serde_json::json!({ "row": "no_such_row" }));
    assert_eq!(submit(&server, &refused).await.version, 0);
    cells += compare_sums(&server, "407", &layout, &files).await;

    // It files properly: both sides agree again.
    files[2] = model::doubled(&layout, files[2].clone());
    assert_eq!(submit(&server, &files[2]).await.version, 2);
    cells += compare_sums(&server, "407", &layout, &files).await;

    // A difference form of the department stands on top of what was reported, and may be negative.
    let rows = serde_json::json!([
        { "row": "合计", "total": "-12.345678", "basic": "-12.345678", "project": "0" },
        { "row": "208", "name": "社会保障和就业支出", "total": "-12.345678", "basic": "-12.345678" },
    ]);
    files.push(serde_json::json!({
        "form_set": FORM_SET, "unit": "407", "year": 2024, "round": "second", "kind": "difference",
        "tables": { "T03": { "amount_unit": "万元", "decimals": 6, "rows": rows } },
    }));
    assert_eq!(submit(&server, &files[4]).await.version, 1);
    cells += compare_sums(&server, "407", &layout, &files).await;
    cells += compare_sums(&server, "0", &layout, &files).await;

    // Who has filed nothing is shown blank on the form set of its neighbours.
    let view = server.client(&unit("407005")).await.view("407005", &[], false).await.unwrap();
    assert_eq!((view.form_set.as_str(), view.filings), (FORM_SET, 0));
    assert!(view.tables.iter().all(|table| table.filings == 0 && table.rows.is_empty()));
    server.stop().await;
    println!("{cells} cells of 407 compared");
}

/// Files the text of a file, as the unit or department that it names.
pub async fn submit(server: &TestServer, file: &Value) -> api::SubmitResponse {
    let text = SubmissionFile::read(&file.to_string()).unwrap();
    let role = if file["kind"].as_str().unwrap_or("unit") == "unit" { "unit" } else { "department" };
    let client = server.client(&format!("budget://{}/{role}", file["unit"].as_str().unwrap())).await;
    let form = server.consolidator.snapshot().state.form_set(&text.form_set).unwrap().clone();
    let answer = client.submit(&text, &form).await.unwrap();
    let refusing = answer.verdict.as_ref().unwrap().findings.iter().filter(|f| f.strength == 1);
    refusing.for_each(|finding| println!("{} {}/{}/{}", finding.reason, finding.table, finding.row, finding.column));
    answer
}

/// Compares each cell of each table of a node with the model's sum over `files`; says how many cells.
pub async fn compare_sums(server: &TestServer, node: &str, layout: &Layout, files: &[Value]) -> usize {
    let sums = Sums::of(layout, files);
    let view = server.client(AUDITOR).await.view(node, &[], false).await.unwrap();
    let filed: Vec<_> = layout.tables.iter().filter(|table| table.filed).collect();
    assert_eq!(view.tables.len(), filed.len());
    let mut rows = 0;
    let mut cells = 0;
    for (shown, table) in view.tables.iter().zip(filed) {
        assert_eq!((&shown.id, &shown.roll_up), (&table.id, &table.roll_up));
        assert_eq!(shown.columns.len(), table.columns.len());
        for row in &shown.rows {
            rows += 1;
            let at = format!("{node}: {}/{}", table.id, row.key);
            let expected = sums.0.get(&(table.id.clone(), row.key.clone())).unwrap_or_else(|| panic!("extra row {at}"));
            for (cell, column) in row.cells.iter().zip(&table.columns) {
                let expected = expected.get(&column.id).map(|sum| in_print(sum, column)).unwrap_or_default();
                assert_eq!(*cell, expected, "{at}/{}", column.id);
                cells += 1;
            }
        }
    }
    assert_eq!(rows, sums.0.len(), "{node} lacks rows");
    cells
}

/// A sum as a view gives it.
fn in_print(sum: &model::Sum, column: &model::Column) -> ShownCell {
    if column.unit == "count" {
        return ShownCell { value: model::print(sum.consolidated(), "元", 0).into(), ..Default::default() };
    }
    let some = |fen: i128| if fen == 0 { String::new() } else { model::print(fen, "元", 2) }.into();
    let differs = sum.adjusted != 0 || sum.eliminated != 0;
    ShownCell {
        value: model::print(sum.consolidated(), &column.unit, column.decimals.unwrap_or(2)).into(),
        exact: model::print(sum.consolidated(), "元", 2).into(),
        slack: some(sum.slack),
        reported: if differs { model::print(sum.reported, "元", 2) } else { String::new() }.into(),
        adjusted: some(sum.adjusted),
        eliminated: some(sum.eliminated),
    }
}
