//! The JSON Schema (2020-12) of the submission files of one form set: for editors, and for programs that write them.
//!
//! It says as much as a schema can: keys, types, the grammar of each column. What depends on several cells, such as
//! a parent row that has to be there or a name that has to fit its code, only the intake can check.

use serde_json::{Map, Value, json};

use crate::budget::cell::RECORD_ROW;
use crate::budget::form_set::{Axis, Column, ColumnKind, FormSet, Rows, Table};
use crate::budget::intake::TEXT_BYTES_MAX;
use crate::budget::money::Decimals;
use crate::budget::submission::{Kind, Round};

/// The most decimals of any amount: 分 written in 万元.
const DECIMALS_MAX: u8 = 6;

/// The JSON Schema of a submission file on this form set.
pub fn schema(form: &FormSet) -> Value {
    // What nobody files is in no file.
    let filed = form.tables.iter().filter(|table| !table.filed_by.is_empty());
    let tables: Map<String, Value> = filed.map(|table| (table.id.to_string(), table_schema(form, table))).collect();
    let kinds: Vec<&str> = form.kinds.iter().map(|kind| kind.as_str()).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": format!("urn:budget-consolidator:form-set:{}:{}", form.id, form.digest.short()),
        "title": form.title,
        "type": "object",
        "required": ["form_set", "unit", "year", "round", "tables"],
        "additionalProperties": false,
        "properties": {
            "form_set": { "const": form.id.as_str(), "description": "表样 / form set" },
            "unit": {
                "type": "string", "pattern": "^[0-9A-Za-z]{1,24}$",
                "description": "单位编码，写在引号里 / unit code, in quotes",
            },
            "year": { "const": form.year, "description": "预算年度 / budget year" },
            "round": {
                "enum": [Round::First.as_str(), Round::Second.as_str()],
                "description": "first 一上, second 二上",
            },
            "kind": {
                "enum": kinds, "default": Kind::Unit.as_str(),
                "description": "unit 单位预算, department 部门预算, difference 差额表",
            },
            "note": { "type": ["string", "null"], "description": "说明，不属于报表内容 / not part of the submission" },
            "tables": {
                "type": "object", "properties": tables, "additionalProperties": false, "minProperties": 1,
                "description": "没有写出的表等于没有报 / a table that is not mentioned is not filed",
            },
        },
    })
}

fn table_schema(form: &FormSet, table: &Table) -> Value {
    let signed_everywhere = table.is_filed_by(Kind::Difference);
    let mut columns = Map::new();
    let mut by_default = Map::new();
    let mut required = vec![json!("row")];
    columns.insert("row".to_owned(), row_schema(form, table));
    for column in &table.columns {
        let id = column.id.to_string();
        let signed = column.signed || signed_everywhere;
        columns.insert(id.clone(), column_schema(column, signed));
        if let ColumnKind::Amount { denomination, decimals } = column.kind {
            let most = match decimals {
                Decimals::Fixed(fixed) => fixed,
                Decimals::AsWritten => denomination.decimals_max(),
            };
            by_default.insert(id.clone(), json!({ "pattern": number_pattern(most, signed) }));
        }
        if column.required {
            required.push(json!(id));
        }
    }
    let row = json!({
        "type": "object", "required": required, "properties": columns, "additionalProperties": false,
    });
    let rows = match rows_max(table) {
        Some(most) => json!({ "type": "array", "items": row, "maxItems": most }),
        None => json!({ "type": "array", "items": row }),
    };
    let kinds: Vec<&str> = table.filed_by.iter().map(|kind| kind.as_str()).collect();
    let mut schema = json!({
        "title": format!("{} {}", table.name, table.title).trim(),
        "description": format!("由谁报 / filed by: {}", kinds.join(", ")),
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "empty": { "type": "boolean", "description": "true = 本表无数据 / nothing to report" },
            "amount_unit": { "enum": ["元", "万元"], "description": "本表金额单位 / unit of this table's amounts" },
            "decimals": {
                "type": "integer", "minimum": 0, "maximum": DECIMALS_MAX,
                "description": "本表金额小数位数：元最多 2 位，万元最多 6 位 / decimals of this table's amounts",
            },
            "rows": rows,
        },
        "anyOf": [
            { "required": ["rows"], "properties": { "empty": { "const": false } } },
            {
                "required": ["empty"],
                "properties": { "empty": { "const": true }, "rows": { "maxItems": 0 } },
            },
        ],
    });
    if !by_default.is_empty()
        && let Some(table) = schema.as_object_mut()
    {
        // The column's own decimals hold unless the table states others.
        table.insert(
            "if".to_owned(),
            json!({ "not": { "anyOf": [{ "required": ["amount_unit"] }, { "required": ["decimals"] }] } }),
        );
        table.insert("then".to_owned(), json!({ "properties": { "rows": { "items": { "properties": by_default } } } }));
    }
    schema
}

fn rows_max(table: &Table) -> Option<usize> {
    match &table.rows {
        Rows::Record => Some(1),
        Rows::Fixed { rows, .. } => Some(rows.len()),
        Rows::Keyed { .. } => None,
    }
}

fn row_schema(form: &FormSet, table: &Table) -> Value {
    match &table.rows {
        Rows::Record => json!({ "const": RECORD_ROW, "description": "本表只有一行 / the only row" }),
        Rows::Fixed { rows, .. } => {
            let keys: Vec<&str> = rows.iter().map(|row| row.key.as_str()).collect();
            let labels: Vec<String> = rows.iter().map(|row| format!("{} {}", row.key, row.label)).collect();
            json!({ "enum": keys, "description": labels.join("\n") })
        }
        Rows::Keyed { total, axes } => {
            let axes: Vec<&Axis> = axes.iter().filter_map(|axis| form.axes.get(*axis)).collect();
            let pattern: Vec<String> = axes.iter().map(|axis| axis_pattern(axis)).collect();
            let names: Vec<&str> = axes.iter().map(|axis| axis.name.as_str()).collect();
            let key = json!({
                "type": "string",
                "pattern": format!("^{}$", pattern.join("/")),
                "description": names.join("/"),
            });
            match total {
                Some(total) => json!({ "anyOf": [{ "const": total.as_str() }, key] }),
                None => key,
            }
        }
    }
}

fn axis_pattern(axis: &Axis) -> String {
    if axis.levels.is_empty() {
        // The intake takes letters of any script, digits, - . _; not every regex dialect can say that.
        return "[^/\\s]{1,64}".to_owned();
    }
    let levels: Vec<String> = axis.levels.iter().map(|level| format!("[0-9]{{{}}}", level.digits)).collect();
    format!("({})", levels.join("|"))
}

fn column_schema(column: &Column, signed: bool) -> Value {
    let (what, pattern) = match column.kind {
        ColumnKind::Amount { denomination, decimals } => {
            let unit = denomination.as_str();
            let what = match decimals {
                Decimals::Fixed(most) => {
                    format!("金额，{unit}，最多 {most} 位小数 / amount in {unit}, {most} decimals")
                }
                Decimals::AsWritten => format!("金额，{unit}，小数位照写 / amount in {unit}, decimals as written"),
            };
            (what, Some(number_pattern(DECIMALS_MAX, signed)))
        }
        ColumnKind::Percent { decimals } => {
            let most = match decimals {
                Decimals::Fixed(fixed) => fixed,
                Decimals::AsWritten => DECIMALS_MAX,
            };
            ("百分数，不写 % / percentage without %".to_owned(), Some(number_pattern(most, true)))
        }
        ColumnKind::Count => ("整数 / whole number".to_owned(), Some(number_pattern(0, signed))),
        ColumnKind::Year => ("年份，4 位 / year".to_owned(), Some("^([1-9][0-9]{3})?$".to_owned())),
        ColumnKind::Time => ("时间，14 位：年月日时分秒 / YYYYMMDDhhmmss".to_owned(), None),
        ColumnKind::Text => ("文字 / text".to_owned(), None),
        ColumnKind::Calculation => ("算式 / a written sum".to_owned(), None),
        ColumnKind::Name => ("与编码对应的名称 / the name of the row's code".to_owned(), None),
    };
    let mut schema = json!({ "title": column.label, "description": what });
    if let Some(schema) = schema.as_object_mut() {
        let kind = if column.required { json!("string") } else { json!(["string", "null"]) };
        schema.insert("type".to_owned(), kind);
        if let Some(pattern) = pattern {
            schema.insert("pattern".to_owned(), json!(pattern));
        } else {
            schema.insert("maxLength".to_owned(), json!(TEXT_BYTES_MAX));
        }
        if column.required {
            schema.insert("minLength".to_owned(), json!(1));
        }
    }
    schema
}

/// The grammar of [`crate::budget::money::Amount::parse`] with at most so many decimals; nothing at all is a blank.
///
/// Without look-ahead, so that every regex dialect can read it: `-0.00` is kept out by listing where the first
/// digit that is not 0 may stand.
fn number_pattern(decimals: u8, signed: bool) -> String {
    let fraction = if decimals == 0 { String::new() } else { format!("(\\.[0-9]{{1,{decimals}}})?") };
    let mut ways = vec![format!("(0|[1-9][0-9]*){fraction}")];
    if signed {
        ways.push(format!("-[1-9][0-9]*{fraction}"));
        for zeros in 0..decimals {
            ways.push(format!("-0\\.0{{{zeros}}}[1-9][0-9]{{0,{}}}", decimals - 1 - zeros));
        }
    }
    format!("^({})?$", ways.join("|"))
}
