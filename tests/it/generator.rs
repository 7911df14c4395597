//! Form sets of random names and shapes, and random filings on them: the same for the same seed, on every machine.

use std::collections::{BTreeMap, BTreeSet};

use budget_consolidator::budget::form_set::FormFiles;
use serde_json::{Map, Value, json};

/// The year of all of them.
pub const FORM_YEAR: u16 = 2031;

/// splitmix64: small, and the same on every machine.
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    /// True `of` times in ten.
    pub fn often(&mut self, of: usize) -> bool {
        self.below(10) < of
    }

    pub fn pick<'t, T>(&mut self, of: &'t [T]) -> &'t T {
        &of[self.below(of.len())]
    }

    pub fn digits(&mut self, count: usize) -> String {
        (0..count).map(|_| char::from(b"0123456789"[self.below(10)])).collect()
    }
}

/// Names that were not given out before.
pub struct Names {
    pub random: Random,
    given: BTreeSet<String>,
}

impl Names {
    pub fn new(seed: u64) -> Names {
        Names { random: Random(seed), given: BTreeSet::new() }
    }

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
pub struct Table {
    pub id: String,
    pub rows: Rows,
    /// Id and type of each column.
    pub columns: Vec<(String, String)>,
    pub rollup: &'static str,
}

pub enum Rows {
    Record,
    Fixed(Vec<String>),
    Coded(String),
    Listed,
}

pub struct Generated {
    pub files: FormFiles,
    pub id: String,
    pub tables: Vec<Table>,
    /// Official name by code, upper codes included.
    pub codes: BTreeMap<String, String>,
    pub levels: Vec<usize>,
    pub transfers: Transfers,
}

/// The table of internal transfers: its id, its columns, and the kinds with their opposites.
pub struct Transfers {
    pub id: String,
    pub amount: String,
    pub code: String,
    pub mark: String,
    pub kinds: Vec<(String, String)>,
}

const AMOUNTS: [&str; 6] = ["元", "元.0", "元.~", "万元.2", "万元.6", "万元.~"];
const OTHERS: [&str; 4] = ["count", "text", "%.2", "year"];

pub fn generate(names: &mut Names) -> Generated {
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
        "id = \"{id}\"\nyear = {FORM_YEAR}\nkinds = [\"unit\", \"difference\"]\n\n[axis]\n\"{coded}\" = \"{}\"\n\
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
        forms += &format!(
            "\n[{}]\nname = \"{name}\"\n{rows}rollup = \"{rollup}\"\ncontrol = [\"{}\"]\n\n[{0}.columns]\n",
            table.id, table.columns[0].0
        );
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
pub fn amount(random: &mut Random, decimals_max: usize) -> String {
    let (length, decimals) = (1 + random.below(8), random.below(decimals_max + 1));
    let digits = format!("{:0>1$}", random.digits(length).trim_start_matches('0'), decimals + 1);
    let (whole, fraction) = digits.split_at(digits.len() - decimals);
    let sign = if random.often(2) && digits.bytes().any(|b| b != b'0') { "-" } else { "" };
    if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

pub fn filing(random: &mut Random, form: &Generated, unit: &str, kind: &str, transfers: Vec<Value>) -> Value {
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
        "form_set": form.id, "unit": unit, "year": FORM_YEAR, "round": "second", "kind": kind, "tables": tables,
    })
}

/// For each unit, the rows of its transfers: most stated by both sides alike, some not.
pub fn transfers(random: &mut Random, form: &Generated, units: &[String]) -> BTreeMap<String, Vec<Value>> {
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
