//! From a [`Submission`] back to the text of its file: the same cells, hence the same digest.

use std::fmt::Write as _;

use serde_json::Value;

use crate::budget::form_set::FormSet;
use crate::budget::submission::{Content, FiledTable, Submission};

/// The file of a submission, with an optional note: one row per line, rows in print order, blanks left off.
///
/// Amounts are printed at the scale that they were reported with. `form` is the version that it was filed on.
pub fn write(submission: &Submission, form: &FormSet, note: &str) -> String {
    let header = &submission.header;
    let mut out = String::from("{\n");
    line(&mut out, "form_set", &quoted(&submission.form_set.id));
    line(&mut out, "unit", &quoted(&header.unit));
    line(&mut out, "year", &header.year.to_string());
    line(&mut out, "round", &quoted(header.round.as_str()));
    line(&mut out, "kind", &quoted(header.kind.as_str()));
    if !note.is_empty() {
        line(&mut out, "note", &quoted(note));
    }
    out.push_str("  \"tables\": {");
    for (at, filed) in submission.tables.iter().enumerate() {
        out.push_str(if at == 0 { "\n" } else { ",\n" });
        table(&mut out, filed, form);
    }
    out.push_str("\n  }\n}\n");
    out
}

fn table(out: &mut String, filed: &FiledTable, form: &FormSet) {
    let Some(table) = form.tables.get(filed.table) else { return };
    put(out, format_args!("    {}: {{ ", quoted(&table.id)));
    if let Some(denomination) = filed.denomination {
        put(out, format_args!("\"amount_unit\": {}, ", quoted(denomination.as_str())));
    }
    if let Some(decimals) = filed.decimals {
        put(out, format_args!("\"decimals\": {decimals}, "));
    }
    let rows = match &filed.content {
        Content::Empty => return out.push_str("\"empty\": true }"),
        Content::Rows(rows) => rows,
    };
    let mut rows: Vec<_> = rows.iter().collect();
    form.sort_for_print(table, &mut rows, |row| row.key);
    out.push_str("\"rows\": [");
    for (at, row) in rows.into_iter().enumerate() {
        out.push_str(if at == 0 { "\n" } else { ",\n" });
        put(out, format_args!("      {{\"row\": {}", quoted(row.key)));
        for (column, cell) in table.columns.iter().zip(row.cells).filter(|(_, cell)| !cell.is_blank()) {
            put(out, format_args!(", {}: {}", quoted(&column.id), quoted(&cell.to_string())));
        }
        out.push('}');
    }
    out.push_str("\n    ] }");
}

fn line(out: &mut String, key: &str, value: &str) {
    put(out, format_args!("  {}: {value},\n", quoted(key)));
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String can't fail.
    let _ = out.write_fmt(text);
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}
