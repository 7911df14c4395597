//! The same arithmetic done another way: whole 分 in `i128`, straight from the files, with a parser of its own.
//!
//! It shares nothing with the crate but the files, so that a mistake would have to be made twice to go unseen.

use std::collections::BTreeMap;

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
    /// The key of the row that adds the others up.
    pub total: Option<String>,
    pub columns: Vec<Column>,
}

/// The tables of a `forms.toml`, in order.
pub fn tables(forms: &str) -> Vec<Table> {
    let document: toml::Table = toml::from_str(forms).unwrap();
    let default = document.get("amount").map_or("元.2", |amount| amount.as_str().unwrap()).to_owned();
    let spec_of = |spec: &str| {
        let words = spec.rsplit_once(": ").map_or("", |(_, words)| words).split_whitespace();
        let kind = words.filter(|word| !["assigned", "grouped", "signed", "required"].contains(word)).last();
        let (unit, decimals) = split_type(kind.unwrap_or(&default));
        (unit.to_owned(), decimals)
    };
    let table = |(id, entries): (&String, &toml::Table)| {
        let rows = entries.get("rows").and_then(toml::Value::as_str).unwrap_or("");
        let columns = entries["columns"].as_table().unwrap().iter().map(|(id, spec)| {
            let (unit, decimals) = spec_of(spec.as_str().unwrap());
            Column { id: id.clone(), unit, decimals }
        });
        Table {
            id: id.clone(),
            roll_up: entries.get("rollup").map_or("sum", |value| value.as_str().unwrap()).to_owned(),
            total: rows.split_once(" > ").map(|(total, _)| total.to_owned()),
            columns: columns.collect(),
        }
    };
    let tables = document.iter().filter_map(|(id, value)| value.as_table().map(|entries| (id, entries)));
    tables.filter(|(_, entries)| entries.contains_key("columns")).map(table).collect()
}

/// `万元.2` is 万元 with 2 decimals, `元` has 2, `元.~` as many as are written.
fn split_type(kind: &str) -> (&str, Option<u32>) {
    let (unit, decimals) = kind.split_once('.').unwrap_or((kind, "2"));
    (unit, decimals.parse().ok())
}

fn decimals_max(unit: &str) -> u32 {
    if unit == "万元" { 6 } else { 2 }
}

/// An amount in 分; a count is worth a 元 a piece.
pub fn fen(text: &str, unit: &str) -> i128 {
    let decimals = text.split_once('.').map_or(0, |(_, fraction)| u32::try_from(fraction.len()).unwrap());
    text.replace('.', "").parse::<i128>().unwrap() * 10_i128.pow(decimals_max(unit) - decimals)
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
    pub fen: i128,
    /// Half of the last printed digit of every part, added up.
    pub slack: i128,
    pub parts: u32,
}

/// Sums by table, row and column; a row that was filed but has nothing to add up is there without columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums(pub BTreeMap<(String, String), BTreeMap<String, Sum>>);

impl Sums {
    /// The sums of some filings, each the text of its file.
    pub fn of<'t>(tables: &[Table], files: impl IntoIterator<Item = &'t Value>) -> Sums {
        let mut sums = Sums::default();
        files.into_iter().for_each(|file| sums.add(tables, file));
        sums
    }

    fn add(&mut self, tables: &[Table], file: &Value) {
        for table in tables {
            let Some(filed) = file["tables"].get(&table.id) else { continue };
            for row in filed.get("rows").and_then(Value::as_array).into_iter().flatten() {
                let key = row["row"].as_str().unwrap();
                let key = match (table.roll_up.as_str(), &table.total) {
                    ("none", _) => continue,
                    ("list", None) => "Σ",
                    ("list", Some(total)) if total != key => continue,
                    _ => key,
                };
                let sums = self.0.entry((table.id.clone(), key.to_owned())).or_default();
                for column in &table.columns {
                    let Some(text) = row.get(&column.id).and_then(Value::as_str).filter(|text| !text.is_empty()) else {
                        continue;
                    };
                    let unit = filed.get("amount_unit").and_then(Value::as_str).unwrap_or(&column.unit);
                    let (unit, decimals) = match column.unit.as_str() {
                        "count" => ("count", Some(2)),
                        "元" | "万元" => {
                            let stated = filed.get("decimals").and_then(Value::as_u64);
                            (unit, stated.map(|d| u32::try_from(d).unwrap()).or(column.decimals))
                        }
                        _ => continue,
                    };
                    let written =
                        text.split_once('.').map_or(0, |(_, fraction)| u32::try_from(fraction.len()).unwrap());
                    let sum = sums.entry(column.id.clone()).or_default();
                    sum.fen += fen(text, unit);
                    sum.slack += 10_i128.pow(decimals_max(unit) - decimals.unwrap_or(written)) / 2;
                    sum.parts += 1;
                }
            }
        }
    }
}

/// The text of a filing with each amount and count doubled: balances stay, every figure changes.
pub fn doubled(tables: &[Table], mut file: Value) -> Value {
    for table in tables {
        let Some(rows) = file["tables"].get_mut(&table.id).and_then(|filed| filed.get_mut("rows")) else { continue };
        for row in rows.as_array_mut().unwrap() {
            for column in table.columns.iter().filter(|column| ["元", "万元"].contains(&column.unit.as_str())) {
                if let Some(cell) = row.get_mut(&column.id).filter(|cell| cell.as_str().is_some_and(|t| !t.is_empty()))
                {
                    let text = cell.as_str().unwrap();
                    let decimals = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
                    let twice = 2 * text.replace('.', "").parse::<i128>().unwrap();
                    let digits = format!("{:0>width$}", twice.abs(), width = decimals + 1);
                    let (whole, fraction) = digits.split_at(digits.len() - decimals);
                    let sign = if twice < 0 { "-" } else { "" };
                    let point = if fraction.is_empty() { "" } else { "." };
                    *cell = Value::from(format!("{sign}{whole}{point}{fraction}"));
                }
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
