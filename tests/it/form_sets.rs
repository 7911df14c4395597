//! Any form set: one with random names, published to a running server, filed on and summed; and the second example.
//!
//! `FORM_SET_SEED=17 cargo test --test it form_sets` plays one seed again.

use std::collections::{BTreeMap, BTreeSet};

use budget_consolidator::budget::form_set::FormFiles;
use budget_consolidator::budget::intake::TableHeader;
use budget_consolidator::budget::submission::{Kind, Slot};
use budget_consolidator::cli;
use budget_consolidator::proto::api;
use budget_consolidator::submission_file::{FileTable, SubmissionFile};
use serde_json::Value;

use crate::generator::{FORM_YEAR, Names, Random, filing, generate, transfers};
use crate::model::Layout;
use crate::seed::{compare_sums, submit};
use crate::support::*;

/// What is allowed but probably not meant is told when it is published, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishing_tells_the_warnings() {
    let server = TestServer::start().await;
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(project("forms/linjiang-2024")).unwrap() {
        let path = entry.unwrap().path();
        let mut text = std::fs::read_to_string(&path).unwrap();
        if path.ends_with("rules.toml") {
            text = text.replacen("[let]\n", "[let]\n\"没用\" = '1 = 1'\n", 1);
        }
        std::fs::write(folder.path().join(path.file_name().unwrap()), text).unwrap();
    }
    for (format, wanted) in [("table", "(RULE_NAME_UNUSED)"), ("json", "\"reason\": \"RULE_NAME_UNUSED\"")] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_consolidator"));
        command.args(["--server", &server.address, "--as", "0/bureau", "--lang", "zh", "--format", format]);
        let output = command.args(["form", "publish"]).arg(folder.path()).output().unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && told.contains(wanted) && told.contains("没用"), "{told}");
    }
    server.stop().await;
}

/// From the program alone to another year: saved, changed in three places, checked, published, saved again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_form_set_is_saved_to_make_the_next_of_it() {
    let server = TestServer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (next, again) = (folder.path().join("next"), folder.path().join("again"));
    let form = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_consolidator"));
        command.args(["--server", &server.address, "--as", "0/bureau", "--lang", "zh", "form"]);
        let output = command.args(arguments).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let text = next.to_str().unwrap();
    let (code, told) = form(&["save", "shanxi-2024", text, "--offline"]);
    assert!(code == 0 && told.contains(&format!("form publish {text}")), "{told}");
    for (name, bytes) in &form_files("shanxi-2024") {
        assert_eq!(&std::fs::read(next.join(name)).unwrap(), bytes, "{name}");
    }
    let (code, told) = form(&["save", "shanxi-2024", text]);
    assert!(code == 2 && told.contains("已经有东西"), "{told}");
    let forms = std::fs::read_to_string(next.join("forms.toml")).unwrap();
    let changed = forms.replacen("\"shanxi-2024\"", "\"shanxi-2025\"", 1).replacen("year = 2024", "year = 2025", 1);
    std::fs::write(next.join("forms.toml"), &changed).unwrap();
    for verb in ["check", "publish"] {
        let (code, told) = form(&[verb, text]);
        assert!(code == 0 && told.contains("shanxi-2025"), "{told}");
    }
    let (code, told) = form(&["save", "shanxi-2025", again.to_str().unwrap()]);
    assert_eq!(code, 0, "{told}");
    assert_eq!(std::fs::read_to_string(again.join("forms.toml")).unwrap(), changed);
    let (code, told) = form(&["save", "nothing", folder.path().join("none").to_str().unwrap()]);
    assert!(code == 1 && told.contains("UNKNOWN_FORM_SET") && !folder.path().join("none").exists(), "{told}");
    server.stop().await;
}

/// Nodes by code, each with the one above: two departments, units at up to three levels below.
fn random_tree(random: &mut Random) -> BTreeMap<String, String> {
    let mut nodes: BTreeMap<String, String> =
        [("D1".to_owned(), "0".to_owned()), ("D2".to_owned(), "0".to_owned())].into();
    for at in 0..7 {
        let parents: Vec<String> = nodes.keys().filter(|code| code.len() < 6).cloned().collect();
        let parent = random.pick(&parents);
        nodes.insert(format!("{parent}U{at}"), parent.clone());
    }
    nodes
}

async fn publish(server: &TestServer, files: &FormFiles) -> api::PublishFormSetResponse {
    let files =
        files.iter().map(|(name, content)| api::FormFile { name: name.clone(), content: content.clone() }).collect();
    let request = api::PublishFormSetRequest { idempotency_key: new_key(), files };
    server.client(ADMINISTRATOR).await.registry().publish_form_set(request).await.unwrap().into_inner()
}

async fn import(server: &TestServer, nodes: &BTreeMap<String, String>) {
    let node = |(code, parent): (&String, &String)| api::UnitNode {
        code: code.clone(),
        parent: parent.clone(),
        name: format!("单位{code}"),
        role: if parent == "0" { "department" } else { "unit" }.to_owned(),
        budgeted: parent != "0",
        ..Default::default()
    };
    let request = api::ImportUnitsRequest {
        idempotency_key: new_key(),
        year: FORM_YEAR.into(),
        nodes: nodes.iter().map(node).collect(),
    };
    server.client(ADMINISTRATOR).await.registry().import_units(request).await.unwrap();
}

fn is_below(nodes: &BTreeMap<String, String>, code: &str, above: &str) -> bool {
    above == "0" || code == above || nodes.get(code).is_some_and(|parent| is_below(nodes, parent, above))
}

async fn play(seed: u64) -> usize {
    println!("FORM_SET_SEED={seed}");
    let mut names = Names::new(seed);
    let form = generate(&mut names);
    let layout = Layout::read(&form.files);
    let mut random = names.random;
    let nodes = random_tree(&mut random);
    let units: Vec<String> = nodes.keys().filter(|code| nodes[*code] != "0").cloned().collect();
    let inner: Vec<&str> = ["0"].into_iter().chain(nodes.values().map(String::as_str)).collect();

    let server = TestServer::start().await;
    let published = publish(&server, &form.files).await;
    assert_eq!(published.id, form.id);
    import(&server, &nodes).await;
    let mut filed: BTreeMap<(String, &str), Value> = BTreeMap::new();
    let mut cells = 0;
    for round in 0..2 {
        let mut stated = transfers(&mut random, &form, &units);
        let slots = units.iter().map(|unit| (unit.as_str(), "unit"));
        let slots = slots.chain(inner.iter().filter(|node| **node != "0").map(|node| (*node, "difference")));
        for (unit, kind) in slots.filter(|_| random.often(8)).collect::<Vec<_>>() {
            let rows = if kind == "unit" { stated.remove(unit).unwrap_or_default() } else { Vec::new() };
            let file = filing(&mut random, &form, unit, kind, rows);
            let answer = submit(&server, &file).await;
            assert!(answer.version > 0, "{file:#}\n{answer:#?}");
            filed.insert((unit.to_owned(), kind), file);
        }
        for node in inner.iter().collect::<BTreeSet<_>>() {
            let below = filed.iter().filter(|((unit, _), _)| is_below(&nodes, unit, node));
            let files: Vec<Value> = below.map(|(_, file)| file.clone()).collect();
            if !files.is_empty() || round > 0 {
                cells += compare_sums(&server, node, &layout, &files).await;
            }
        }
    }
    server.stop().await;
    cells
}

#[tokio::test]
async fn any_form_set_is_published_filed_on_and_summed() {
    let seeds: Vec<u64> = match std::env::var("FORM_SET_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (1..=8).collect(),
    };
    let mut cells = 0;
    for seed in seeds {
        cells += play(seed).await;
    }
    println!("{cells} cells of random form sets compared");
}

#[test]
fn form_sets_at_hand_are_looked_at_whatever_is_wrong_with_the_way_to_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let profile = folder.path().join("profile.toml");
    std::fs::write(&profile, "server = [").unwrap();
    let run = |line: &str| {
        let forms = project("forms");
        let line = format!("consolidator --profile {} form {line}", profile.display());
        let line = line.replace("FORMS", forms.to_str().unwrap());
        cli::run(line.split_whitespace().map(std::ffi::OsString::from).collect::<Vec<_>>())
    };
    for line in [
        "list --offline",
        "show linjiang-2024 --offline",
        "schema linjiang-2024 --forms FORMS/linjiang-2024",
        "check FORMS/linjiang-2024",
    ] {
        let ended = run(line);
        assert_eq!(ended.code, 0, "{line}: {}", ended.err);
    }
    for line in ["list", "publish FORMS/linjiang-2024"] {
        assert_ne!(run(line).code, 0, "{line}");
    }
}

// ── the second example ───────────────────────────────────────────────────────────────────

#[tokio::test]
async fn the_second_form_set_works_without_a_line_of_code_for_it() {
    let server = TestServer::start().await;
    server.furnish("linjiang-2024", "linjiang-2024", 2024).await;
    let layout = Layout::read(&form_files("linjiang-2024"));
    let file = |name: &str| -> Value {
        let path = project("examples/linjiang-2024/submissions").join(name).with_extension("json");
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    };
    let mut files = Vec::new();
    for code in ["508001", "508002", "508002001"] {
        files.push(file(code));
        assert_eq!(submit(&server, files.last().unwrap()).await.version, 1, "{code}");
        let cells = compare_sums(&server, "508", &layout, &files).await;
        assert!(cells > 100, "{cells}");
    }
    compare_sums(&server, "508002", &layout, &files[1..]).await;
    // Side by side stands all that is in the sum: what the node has filed itself, and what the unit below it has.
    let sides = server.client(AUDITOR).await.view("508002", &["B2"], true).await.unwrap();
    let total = |tables: &[api::ShownTable]| {
        let at = tables[0].columns.iter().position(|column| column.id == "total").unwrap();
        let row = tables[0].rows.iter().find(|row| row.key == "总计").unwrap();
        row.cells[at].exact.parse::<rust_decimal::Decimal>().unwrap()
    };
    let codes: Vec<&str> = sides.children.iter().map(|child| child.code.as_str()).collect();
    assert_eq!(codes, ["508002", "508002001"]);
    assert_eq!(
        sides.children.iter().map(|child| total(&child.tables)).sum::<rust_decimal::Decimal>(),
        total(&sides.tables)
    );

    // The department's own printed budget is kept, and enters no sum.
    files.push(file("508"));
    assert_eq!(submit(&server, &files[3]).await.version, 1);
    compare_sums(&server, "508", &layout, &files).await;
    let client = server.client("budget://508/department").await;
    let view = client.view("508", &[], true).await.unwrap();
    assert_eq!((view.filings, view.expected), (3, 3));

    // It says itself that it is the sum of the three, cell by cell, to the 分.
    let department = SubmissionFile::read(&files[3].to_string()).unwrap();
    for table in &department.tables {
        let shown = view.tables.iter().find(|shown| shown.id == table.header.id).unwrap();
        if shown.roll_up != "sum" {
            continue;
        }
        for (key, values) in &table.rows {
            let row = shown.rows.iter().find(|row| row.key == *key).unwrap();
            for (id, value) in table.header.columns.iter().zip(values) {
                let at = shown.columns.iter().position(|head| head.id == *id).unwrap();
                if shown.columns[at].r#type.starts_with('元') && !value.is_empty() {
                    let printed = if value.contains('.') { value.clone() } else { format!("{value}.00") };
                    assert_eq!(row.cells[at].value, printed, "{}/{key}/{id}", shown.id);
                }
            }
        }
    }
    assert_eq!(client.status_board("508").await.submitted, 3);
    server.stop().await;
}

#[tokio::test]
async fn difference_forms_adjust_the_parent_and_nobody_below() {
    let server = TestServer::fenyang().await;
    let form = form("shanxi-2024");
    let file = example("fenyang-2024/submissions/407004.json");
    server.client(&unit("407004")).await.submit(&file, &form).await.unwrap();
    let delta = SubmissionFile {
        slot: Slot { unit: "407".into(), kind: Kind::Difference, ..file.slot.clone() },
        note: String::new(),
        form_set: file.form_set.clone(),
        tables: vec![FileTable {
            header: TableHeader {
                id: "T03".into(),
                columns: vec!["total".into(), "project".into()],
                ..TableHeader::default()
            },
            // Deltas have to balance as well.
            rows: ["合计", "208", "20801", "2080109"].map(|row| (row.into(), vec!["-1.25".into(); 2])).to_vec(),
        }],
    };
    let department = server.client(DEPARTMENT).await;
    assert_eq!(department.submit(&delta, &form).await.unwrap().version, 1);
    let view = department.view("407", &["T03"], true).await.unwrap();
    let cell = |table: &api::ShownTable| table.rows.iter().find(|row| row.key == "合计").unwrap().cells[1].clone();
    let total = cell(&view.tables[0]);
    assert_eq!((total.reported.as_str(), total.adjusted.as_str()), ("1629400.00", "-12500.00"));
    assert_eq!(total.exact, "1616900.00");
    let below = view.children.iter().find(|child| child.code == "407004").unwrap();
    assert_eq!(cell(&below.tables[0]).exact, "1629400.00");
    server.stop().await;
}

#[tokio::test]
async fn a_filing_on_another_form_set_can_not_slip_by_its_ceiling() {
    let server = TestServer::fenyang().await;
    let form = form("linjiang-2024");
    let mut file = example("linjiang-2024/submissions/508001.json");
    file.slot.unit = "407005".into();
    let refused = server.client(&unit("407005")).await.submit(&file, &form).await.unwrap_err();
    assert_eq!(reason(&refused), "CEILING_ELSEWHERE", "{refused:?}");
    assert!(refused.message().contains("T01A/general/amount"), "{}", refused.message());
    server.stop().await;
}
