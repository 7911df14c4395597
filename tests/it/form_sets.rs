//! Any form set: one with random names, published to a running server, filed on and summed; and the second example.
//!
//! `FORM_SET_SEED=17 cargo test --test it form_sets` plays one seed again.

use std::collections::{BTreeMap, BTreeSet};

use budget_consolidator::budget::form_set::FormFiles;
use budget_consolidator::budget::intake::TableHeader;
use budget_consolidator::budget::submission::{Kind, Slot};
use budget_consolidator::proto::api;
use budget_consolidator::submission_file::{FileTable, SubmissionFile};
use serde_json::{Map, Value, json};

use crate::model::Layout;
use crate::seed::{compare_sums, submit};
use crate::support::*;

const YEAR: u32 = 2031;

/// splitmix64: small, and the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    /// True `of` times in ten.
    fn often(&mut self, of: usize) -> bool {
        self.below(10) < of
    }

    fn pick<'t, T>(&mut self, of: &'t [T]) -> &'t T {
        &of[self.below(of.len())]
    }

    fn digits(&mut self, count: usize) -> String {
        (0..count).map(|_| char::from(b"0123456789"[self.below(10)])).collect()
    }
}

/// Names that were not given out before.
struct Names {
    random: Random,
    given: BTreeSet<String>,
}

impl Names {
    fn new_name(&mut self, letters: impl Fn(&mut Random) -> String) -> String {
        loop {
            let name = letters(&mut self.random);
            if name != "row" && self.given.insert(name.clone()) {
                return name;
            }
        }
    }

    fn id(&mut self) -> String {
        self.new_name(|random| {
            let length = 1 + random.below(6);
            let letters = b"ABCDEFGHJKMNPQRSTUVWXYZabcdefghjkmnpqrstuvwxyz0123456789_";
            let tail: String = (0..length).map(|_| char::from(*random.pick(letters))).collect();
            format!("{}{tail}", char::from(letters[random.below(40)]))
        })
    }

    fn chinese(&mut self) -> String {
        self.new_name(|random| {
            (0..2 + random.below(5)).map(|_| char::from_u32(0x4e00 + random.below(5_000) as u32).unwrap()).collect()
        })
    }
}

// ── a form set of random names ───────────────────────────────────────────────────────────

/// A generated table: what a filing must know to fill it in.
struct Table {
    id: String,
    rows: Rows,
    /// Id and type of each column.
    columns: Vec<(String, String)>,
    rollup: &'static str,
}

enum Rows {
    Record,
    Fixed(Vec<String>),
    Coded(String),
    Listed,
}

struct Generated {
    files: FormFiles,
    id: String,
    tables: Vec<Table>,
    /// Official name by code, upper codes included.
    codes: BTreeMap<String, String>,
    levels: Vec<usize>,
    transfers: Transfers,
}

/// The table of internal transfers: its id, its columns, and the kinds with their opposites.
struct Transfers {
    id: String,
    amount: String,
    code: String,
    mark: String,
    kinds: Vec<(String, String)>,
}

const AMOUNTS: [&str; 6] = ["元", "元.0", "元.~", "万元.2", "万元.6", "万元.~"];
const OTHERS: [&str; 4] = ["count", "text", "%.2", "year"];

fn generate(names: &mut Names) -> Generated {
    let levels = vec![1 + names.random.below(2), 3 + names.random.below(2), 6];
    let mut codes: BTreeMap<String, String> = BTreeMap::new();
    for _ in 0..12 {
        let code = names.random.digits(levels[2]);
        for digits in &levels {
            codes.insert(code[..*digits].to_owned(), names.chinese());
        }
    }
    let mut tables: Vec<Table> = (0..6)
        .map(|at| {
            let amounts = (0..1 + names.random.below(4)).map(|_| (*names.random.pick(&AMOUNTS)).to_owned());
            let kinds: Vec<String> = amounts.collect();
            let mut columns: Vec<(String, String)> = kinds.into_iter().map(|kind| (names.id(), kind)).collect();
            if names.random.often(5) {
                columns.push((names.id(), (*names.random.pick(&OTHERS)).to_owned()));
            }
            let rows = match at {
                0 => Rows::Record,
                1 | 2 => Rows::Fixed((0..2 + names.random.below(5)).map(|_| names.id()).collect()),
                3 | 4 => Rows::Coded(names.chinese()),
                _ => Rows::Listed,
            };
            if matches!(rows, Rows::Coded(_)) {
                columns.push((names.id(), "name".to_owned()));
            }
            let rollup = match rows {
                Rows::Listed => "list",
                Rows::Coded(_) if names.random.often(3) => "list",
                Rows::Record if names.random.often(3) => "none",
                _ => "sum",
            };
            Table { id: names.id(), rows, columns, rollup }
        })
        .collect();
    for at in (1..tables.len()).rev() {
        tables.swap(at, names.random.below(at + 1));
    }
    let transfers = Transfers {
        id: names.id(),
        amount: names.id(),
        code: names.id(),
        mark: names.id(),
        kinds: (0..2).map(|_| (names.id(), names.id())).collect(),
    };
    let id = format!("r-{}", names.random.digits(9));
    let files = written(names, &id, &tables, &transfers, &codes, &levels);
    Generated { files, id, tables, codes, levels, transfers }
}

/// The files of a generated form set.
fn written(
    names: &mut Names,
    id: &str,
    tables: &[Table],
    transfers: &Transfers,
    codes: &BTreeMap<String, String>,
    levels: &[usize],
) -> FormFiles {
    let (coded, list, other) = (names.chinese(), names.chinese(), names.chinese());
    let names_of_levels: Vec<String> = levels.iter().map(|digits| format!("{} {digits}", names.chinese())).collect();
    let mut forms = format!(
        "id = \"{id}\"\nyear = {YEAR}\nkinds = [\"unit\", \"difference\"]\n\n[axis]\n\"{coded}\" = \"{}\"\n\
         \"{list}\" = \"\"\n\"{other}\" = \"\"\n\n[catalogue]\n\"{coded}\" = \"codes.csv\"\n",
        names_of_levels.join(", ")
    );
    for table in tables {
        let rows = match &table.rows {
            Rows::Record => String::new(),
            Rows::Fixed(keys) => {
                let rows: Vec<String> = keys.iter().map(|key| format!("\"{key} {}\"", names.chinese())).collect();
                format!("rows = [{}]\n", rows.join(", "))
            }
            Rows::Coded(total) => format!("rows = \"{total} > {coded}\"\n"),
            Rows::Listed => format!("rows = \"{list} × {other}\"\n"),
        };
        let (name, rollup) = (names.chinese(), table.rollup);
        forms += &format!("\n[{}]\nname = \"{name}\"\n{rows}rollup = \"{rollup}\"\n\n[{0}.columns]\n", table.id);
        for (id, kind) in &table.columns {
            forms += &format!("{id} = \"{}: {kind} signed\"\n", names.chinese());
        }
    }
    let Transfers { id, amount, code, mark, kinds } = transfers;
    forms += &format!(
        "\n[{id}]\nname = \"{}\"\nrows = \"{list} × {other}\"\nrollup = \"list\"\n\
         transfer = {{ kinds = \"kinds.csv\", cells = \"cells.csv\", amount = \"{amount}\", code = \"{code}\" }}\n\
         columns = {{ {amount} = \"{}: 元 required\", {code} = \"{}: text\", {mark} = \"{}: text\" }}\n",
        names.chinese(),
        names.chinese(),
        names.chinese(),
        names.chinese(),
    );
    let mut kinds_csv = String::from("kind,opposite,side,title\n");
    let mut cells_csv = String::from("kind,table,row,column,when\n");
    for (a, b) in kinds {
        kinds_csv += &format!("{a},{b},in,{}\n{b},{a},out,{}\n", names.chinese(), names.chinese());
        for (kind, table) in [a, b].into_iter().flat_map(|kind| tables.iter().map(move |table| (kind, table))) {
            let row = match &table.rows {
                _ if table.rollup != "sum" || names.random.often(4) => continue,
                Rows::Record => "-",
                Rows::Fixed(keys) => names.random.pick(keys).as_str(),
                Rows::Coded(_) => "@code",
                Rows::Listed => continue,
            };
            let when = [String::new(), mark.clone(), format!("!{mark}")];
            cells_csv += &format!("{kind},{},{row},{},{}\n", table.id, table.columns[0].0, names.random.pick(&when));
        }
    }
    let codes_csv = codes.iter().fold(String::from("code,name\n"), |csv, (code, name)| csv + code + "," + name + "\n");
    [("forms.toml", forms), ("codes.csv", codes_csv), ("kinds.csv", kinds_csv), ("cells.csv", cells_csv)]
        .into_iter()
        .map(|(name, text)| (name.to_owned(), text.into_bytes()))
        .collect()
}

// ── random filings on it ─────────────────────────────────────────────────────────────────

/// An amount that a column of this type takes, perhaps negative.
fn amount(random: &mut Random, decimals_max: usize) -> String {
    let (length, decimals) = (1 + random.below(8), random.below(decimals_max + 1));
    let digits = format!("{:0>1$}", random.digits(length).trim_start_matches('0'), decimals + 1);
    let (whole, fraction) = digits.split_at(digits.len() - decimals);
    let sign = if random.often(2) && digits.bytes().any(|b| b != b'0') { "-" } else { "" };
    if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

fn filing(random: &mut Random, form: &Generated, unit: &str, kind: &str, transfers: Vec<Value>) -> Value {
    let mut tables = Map::new();
    for table in &form.tables {
        if random.often(2) {
            continue;
        }
        if random.often(1) {
            tables.insert(table.id.clone(), json!({ "empty": true }));
            continue;
        }
        let stated = random.often(3).then(|| if random.often(5) { ("元", 2) } else { ("万元", 6) });
        let decimals = stated.filter(|_| random.often(5)).map(|(_, most)| random.below(most + 1));
        let keys: BTreeSet<String> = match &table.rows {
            Rows::Record => ["-".to_owned()].into(),
            Rows::Fixed(keys) => keys.iter().filter(|_| random.often(7)).cloned().collect(),
            Rows::Coded(total) => {
                let leaves = form.codes.keys().filter(|code| code.len() == form.levels[2] && random.often(4));
                let all = leaves.flat_map(|code| form.levels.iter().map(|digits| code[..*digits].to_owned()));
                let all: BTreeSet<String> = all.collect();
                all.into_iter().chain(random.often(8).then(|| total.clone())).collect()
            }
            Rows::Listed => (0..random.below(5)).map(|at| format!("k{}/{at}", random.below(3))).collect(),
        };
        let rows = keys.into_iter().map(|key| {
            let mut row = Map::from_iter([("row".to_owned(), json!(key))]);
            for (id, kind) in &table.columns {
                if random.often(2) {
                    continue;
                }
                let value = match kind.as_str() {
                    "name" => form.codes.get(&key).cloned().unwrap_or_default(),
                    "text" => "text".to_owned(),
                    "year" => "2030".to_owned(),
                    "count" => amount(random, 0),
                    "%.2" => amount(random, 2),
                    kind => {
                        let (unit, own) = kind.split_once('.').unwrap_or((kind, "2"));
                        let most = |unit: &str| if unit == "元" { 2 } else { 6 };
                        let finest = most(stated.map_or(unit, |(unit, _)| unit));
                        let own = own.parse().unwrap_or(finest).min(finest);
                        amount(random, decimals.unwrap_or(own))
                    }
                };
                row.insert(id.clone(), json!(value));
            }
            Value::Object(row)
        });
        let mut filed = Map::from_iter([("rows".to_owned(), Value::Array(rows.collect()))]);
        filed.extend(stated.map(|(unit, _)| ("amount_unit".to_owned(), json!(unit))));
        filed.extend(decimals.map(|decimals| ("decimals".to_owned(), json!(decimals))));
        tables.insert(table.id.clone(), Value::Object(filed));
    }
    tables.insert(form.transfers.id.clone(), json!({ "rows": transfers }));
    json!({
        "form_set": form.id, "unit": unit, "year": YEAR, "round": "second", "kind": kind, "tables": tables,
    })
}

/// For each unit, the rows of its transfers: most stated by both sides alike, some not.
fn transfers(random: &mut Random, form: &Generated, units: &[String]) -> BTreeMap<String, Vec<Value>> {
    let rules = &form.transfers;
    let mut rows: BTreeMap<(String, String, String), Value> = BTreeMap::new();
    let codes: Vec<&String> = form.codes.keys().collect();
    for _ in 0..2 * units.len() {
        let (a, b) = (random.pick(units).clone(), random.pick(units).clone());
        let (kind, opposite) = random.pick(&rules.kinds).clone();
        let amount = (1 + random.below(1_000_000)).to_string();
        for (unit, other, kind) in [(&a, &b, kind), (&b, &a, opposite)] {
            let stated = if random.often(1) { format!("{amount}.01") } else { amount.clone() };
            let mut row = json!({ "row": format!("{other}/{kind}"), &rules.amount: stated });
            if random.often(7) {
                row[&rules.code] = json!(random.pick(&codes));
            }
            if random.often(5) {
                row[&rules.mark] = json!("x");
            }
            if random.often(9) {
                rows.insert((unit.clone(), other.clone(), kind), row);
            }
        }
    }
    let mut of_units: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for ((unit, ..), row) in rows {
        of_units.entry(unit).or_default().push(row);
    }
    of_units
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
    let request =
        api::ImportUnitsRequest { idempotency_key: new_key(), year: YEAR, nodes: nodes.iter().map(node).collect() };
    server.client(ADMINISTRATOR).await.registry().import_units(request).await.unwrap();
}

fn is_below(nodes: &BTreeMap<String, String>, code: &str, above: &str) -> bool {
    above == "0" || code == above || nodes.get(code).is_some_and(|parent| is_below(nodes, parent, above))
}

async fn play(seed: u64) -> usize {
    println!("FORM_SET_SEED={seed}");
    let mut names = Names { random: Random(seed), given: BTreeSet::new() };
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
            header: TableHeader { id: "T03".into(), columns: vec!["total".into()], ..TableHeader::default() },
            rows: vec![("合计".into(), vec!["-1.25".into()])],
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
