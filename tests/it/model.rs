//! The same arithmetic done another way: whole 分 in `i128`, straight from the files, with a parser of its own.
//!
//! It shares nothing with the crate but the files and the type that holds them, so that a mistake would have to be made twice to go unseen.

use std::collections::BTreeMap;

use budget_consolidator::budget::form_set::FormFiles;
use serde_json::Value;

/// How a column is counted and printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub id: String,
    /// `元`, `万元`, `count`, or anything that doesn't add up.
    pub unit: String,
    /// `None` is as written.
    pub decimals: Option<u32>,
}

/// What the model needs to know of a table.
#[derive(Clone, Debug)]
pub struct Table {
    pub id: String,
    pub roll_up: String,
    /// Whether anybody files it; if not, it is there for rules to ask.
    pub filed: bool,
    /// The key of the row that adds the others up.
    pub total: Option<String>,
    /// Digits of the levels of its codes; of its first axis, if there are more.
    levels: Vec<usize>,
    pub columns: Vec<Column>,
}

/// A form set, as far as sums go.
#[derive(Clone, Debug)]
pub struct Layout {
    pub tables: Vec<Table>,
    transfers: Option<Transfers>,
}

/// Which table holds internal transfers, and what is taken off which cells.
#[derive(Clone, Debug)]
struct Transfers {
    table: String,
    amount: String,
    code: String,
    opposites: BTreeMap<String, String>,
    /// Kind, table, row, column, condition.
    cells: Vec<[String; 5]>,
}

impl Layout {
    /// Reads the files of a form set.
    pub fn read(files: &FormFiles) -> Layout {
        let text = |name: &str| std::str::from_utf8(&files[name]).unwrap();
        let document: toml::Table = toml::from_str(text("forms.toml")).unwrap();
        let amount = document.get("amount").map_or("元.2", |amount| amount.as_str().unwrap());
        let tables = document.iter().filter_map(|(id, value)| value.as_table().map(|entries| (id, entries)));
        let tables: Vec<_> = tables.filter(|(_, entries)| entries.contains_key("columns")).collect();
        let transfers = tables.iter().find_map(|(id, entries)| {
            let entry = |key: &str| entries.get("transfer")?.get(key).map(|value| value.as_str().unwrap().to_owned());
            let fields = |name: String| csv::Reader::from_reader(text(&name).as_bytes()).into_records();
            Some(Transfers {
                table: (*id).clone(),
                amount: entry("amount")?,
                code: entry("code").unwrap_or_default(),
                opposites: fields(entry("kinds")?).map(Result::unwrap).map(|r| (r[0].into(), r[1].into())).collect(),
                cells: fields(entry("cells")?).map(|r| r.unwrap().deserialize(None).unwrap()).collect(),
            })
        });
        let axis = |name: &str| document.get("axis").and_then(|axes| axes.get(name)).and_then(toml::Value::as_str);
        Layout {
            tables: tables.into_iter().map(|(id, entries)| Table::read(id, entries, amount, axis)).collect(),
            transfers,
        }
    }
}

impl Table {
    fn read<'d>(id: &str, entries: &toml::Table, amount: &str, axis: impl Fn(&str) -> Option<&'d str>) -> Table {
        let column = |(id, spec): (&String, &toml::Value)| {
            let mut words = spec.as_str().unwrap().rsplit_once(": ").map_or("", |(_, words)| words).split_whitespace();
            let kind = words.rfind(|word| !["assigned", "grouped", "signed", "required"].contains(word));
            let (unit, decimals) = split_type(kind.unwrap_or(amount));
            Column { id: id.clone(), unit: unit.to_owned(), decimals }
        };
        let rows = entries.get("rows").and_then(toml::Value::as_str).unwrap_or("");
        let (total, keys) = rows.split_once(" > ").map_or((None, rows), |(total, keys)| (Some(total.to_owned()), keys));
        let levels = axis(keys.split(" × ").next().unwrap_or("")).unwrap_or("");
        Table {
            id: id.to_owned(),
            roll_up: entries.get("rollup").map_or("sum", |value| value.as_str().unwrap()).to_owned(),
            filed: entries.get("filed_by").is_none_or(|kinds| !kinds.as_array().unwrap().is_empty()),
            total,
            levels: levels.split(", ").filter_map(|level| level.split_once(' ')?.1.parse().ok()).collect(),
            columns: entries["columns"].as_table().unwrap().iter().map(column).collect(),
        }
    }
}

/// `万元.2` is 万元 with 2 decimals, `元` has 2, `元.~` as many as are written.
fn split_type(kind: &str) -> (&str, Option<u32>) {
    let (unit, decimals) = kind.split_once('.').unwrap_or((kind, "2"));
    (unit, decimals.parse().ok())
}

fn decimals_max(unit: &str) -> u32 {
    if unit == "万元" { 6 } else { 2 }
}

/// How many decimals are written.
fn written(text: &str) -> u32 {
    text.split_once('.').map_or(0, |(_, fraction)| u32::try_from(fraction.len()).unwrap())
}

/// An amount in 分; a count is worth a 元 a piece.
pub fn fen(text: &str, unit: &str) -> i128 {
    text.replace('.', "").parse::<i128>().unwrap() * 10_i128.pow(decimals_max(unit) - written(text))
}

/// 分 printed in `unit` with so many decimals, rounded half up by magnitude.
pub fn print(fen: i128, unit: &str, decimals: u32) -> String {
    let quantum = 10_u128.pow(decimals_max(unit) - decimals);
    let rounded = (fen.unsigned_abs() + quantum / 2) / quantum;
    let sign = if fen < 0 && rounded > 0 { "-" } else { "" };
    let digits = format!("{rounded:0>width$}", width = decimals as usize + 1);
    let (whole, fraction) = digits.split_at(digits.len() - decimals as usize);
    if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

/// `4060` with thousands separators.
pub fn grouped(text: &str) -> String {
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let (sign, whole) = whole.split_at(usize::from(whole.starts_with('-')));
    let first = (whole.len() + 2) % 3 + 1;
    let mut out = format!("{sign}{}", whole.get(..first).unwrap_or(""));
    for at in (first..whole.len()).step_by(3) {
        out.push(',');
        out.push_str(&whole[at..at + 3]);
    }
    out + rest
}

/// The sum of one cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    pub reported: i128,
    pub adjusted: i128,
    pub eliminated: i128,
    /// Half of the last printed digit of every part, added up.
    pub slack: i128,
}

impl Sum {
    pub fn consolidated(&self) -> i128 {
        self.reported + self.adjusted - self.eliminated
    }
}

/// Sums by table, row and column; a row that was filed but has nothing to add up is there without columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums(pub BTreeMap<(String, String), BTreeMap<String, Sum>>);

impl Sums {
    /// The sums of the filings below a node, each the text of its file.
    pub fn of(layout: &Layout, files: &[Value]) -> Sums {
        let mut sums = Sums::default();
        for file in files.iter().filter(|file| file["kind"] != "department") {
            sums.add(layout, file);
        }
        if let Some(transfers) = &layout.transfers {
            sums.eliminate(layout, transfers, files);
        }
        sums
    }

    fn add(&mut self, layout: &Layout, file: &Value) {
        for table in &layout.tables {
            let filed = &file["tables"][table.id.as_str()];
            for row in rows(filed) {
                let key = row["row"].as_str().unwrap();
                let key = match (table.roll_up.as_str(), &table.total) {
                    ("none", _) => continue,
                    ("list", None) => "Σ",
                    ("list", Some(total)) if total != key => continue,
                    _ => key,
                };
                let sums = self.0.entry((table.id.clone(), key.to_owned())).or_default();
                for column in &table.columns {
                    let Some(text) = text(row, &column.id) else { continue };
                    let stated = filed["decimals"].as_u64().map(|decimals| u32::try_from(decimals).unwrap());
                    let (unit, decimals) = match column.unit.as_str() {
                        "count" => ("count", Some(2)),
                        "元" | "万元" => {
                            (filed["amount_unit"].as_str().unwrap_or(&column.unit), stated.or(column.decimals))
                        }
                        _ => continue,
                    };
                    let sum = sums.entry(column.id.clone()).or_default();
                    let part = fen(text, unit);
                    if file["kind"] == "difference" {
                        sum.adjusted += part
                    } else {
                        sum.reported += part
                    }
                    let finer = decimals_max(unit).saturating_sub(decimals.unwrap_or(written(text)));
                    sum.slack += 10_i128.pow(finer) / 2;
                }
            }
        }
    }

    /// Takes off what two of the units state about each other with one amount.
    fn eliminate(&mut self, layout: &Layout, transfers: &Transfers, files: &[Value]) {
        let table = |id: &str| layout.tables.iter().find(|table| table.id == id).unwrap();
        let column = table(&transfers.table).columns.iter().find(|column| column.id == transfers.amount).unwrap();
        let mut stated: BTreeMap<(&str, &str, &str), (i128, &Value)> = BTreeMap::new();
        for file in files.iter().filter(|file| file["kind"].as_str().unwrap_or("unit") == "unit") {
            let filed = &file["tables"][transfers.table.as_str()];
            for row in rows(filed) {
                let (other, kind) = row["row"].as_str().unwrap().split_once('/').unwrap();
                let unit = filed["amount_unit"].as_str().unwrap_or(&column.unit);
                let amount = fen(row[transfers.amount.as_str()].as_str().unwrap(), unit);
                stated.insert((file["unit"].as_str().unwrap(), other, kind), (amount, row));
            }
        }
        for ((unit, other, kind), (amount, row)) in &stated {
            let Some(opposite) = transfers.opposites.get(*kind) else { continue };
            if unit == other || stated.get(&(*other, *unit, opposite)).is_none_or(|(theirs, _)| theirs != amount) {
                continue;
            }
            let code = text(row, &transfers.code).unwrap_or("");
            for [of, id, key, column, when] in &transfers.cells {
                let filled = |column: &str| text(row, column).is_some();
                if of != kind || !when.is_empty() && when.strip_prefix('!').map_or_else(|| !filled(when), filled) {
                    continue;
                }
                let table = table(id);
                let keys: Vec<String> = match key.as_str() {
                    "@code" => {
                        let above = table.levels.iter().filter(|digits| **digits <= code.len());
                        above.map(|digits| code[..*digits].to_owned()).chain(table.total.clone()).collect()
                    }
                    "@class" => code.get(..3).map(str::to_owned).into_iter().collect(),
                    key => vec![key.to_owned()],
                };
                for key in keys {
                    let sums = self.0.entry((id.clone(), key)).or_default();
                    sums.entry(column.clone()).or_default().eliminated += amount;
                }
            }
        }
    }
}

fn rows(filed: &Value) -> impl Iterator<Item = &Value> {
    filed["rows"].as_array().into_iter().flatten()
}

/// What stands in a column of a row; nothing if it is blank.
fn text<'r>(row: &'r Value, column: &str) -> Option<&'r str> {
    row[column].as_str().filter(|text| !text.is_empty())
}

/// The text of a filing with each amount doubled: balances stay, every figure changes.
pub fn doubled(layout: &Layout, mut file: Value) -> Value {
    for table in &layout.tables {
        let Some(Value::Array(rows)) = file["tables"].get_mut(&table.id).and_then(|filed| filed.get_mut("rows")) else {
            continue;
        };
        for column in table.columns.iter().filter(|column| ["元", "万元"].contains(&column.unit.as_str())) {
            for cell in rows.iter_mut().filter_map(|row| row.get_mut(&column.id)) {
                let Some(text) = cell.as_str().filter(|text| !text.is_empty()) else { continue };
                let decimals = written(text);
                // At its own scale an amount is printed as it is.
                *cell = Value::from(print(2 * fen(text, "万元"), "万元", decimals));
            }
        }
    }
    file
}

#[test]
fn the_model_can_count() {
    for (text, unit, units, decimals, print_) in [
        ("41670.92", "万元", 41_670_920_000, 2, "41670.92"),
        ("0.405", "万元", 405_000, 2, "0.41"),
        ("-0.004", "万元", -4_000, 2, "0.00"),
        ("-0.005", "万元", -5_000, 2, "-0.01"),
        ("12.5", "元", 1_250, 0, "13"),
        ("7", "元", 700, 2, "7.00"),
    ] {
        assert_eq!(fen(text, unit), units, "{text}");
        assert_eq!(print(units, unit, decimals), print_, "{text}");
    }
    let texts = ["0", "999", "4060", "140870000", "-1234567.50"].map(grouped);
    assert_eq!(texts, ["0", "999", "4,060", "140,870,000", "-1,234,567.50"]);
}
