//! The layout of a form set: what must be the same for two submissions to be added up in one view.
//!
//! Tables, row axes, fixed rows and what they add, columns and their types, how a table rolls up, what is eliminated.
//! Not in it: titles, labels, catalogues, ceilings, relations and rules. So a better title or a new rule in mid-season
//! leaves every sum as it is. A layout lives in memory only; what is stored is the digest of the whole form set.

use std::fmt::Write as _;

use super::{FormSet, RollUp, Rows, Table};
use crate::budget::digest::Digest;

/// Names the layout of a form set.
pub(super) fn layout(form: &FormSet) -> Digest {
    let mut text = format!("{}\n", form.id);
    form.tables.iter().for_each(|table| put_table(&mut text, form, table));
    if let Some(rules) = &form.transfers {
        put(&mut text, format_args!("transfers {} {} {:?}", rules.table, rules.amount, rules.code));
        for (key, kind) in &rules.kinds {
            put(&mut text, format_args!("kind {key} {} {:?}", kind.opposite, kind.cells));
        }
    }
    Digest::of(text.as_bytes())
}

/// Whether a cell of a table means the same in two form sets: same rows, same columns, rolled up alike.
pub fn same_table((form, table): (&FormSet, &Table), (other_form, other): (&FormSet, &Table)) -> bool {
    let text = |form, table| {
        let mut text = String::new();
        put_table(&mut text, form, table);
        text
    };
    text(form, table) == text(other_form, other)
}

fn put_table(text: &mut String, form: &FormSet, table: &Table) {
    let roll_up = match table.roll_up {
        RollUp::Sum => "sum",
        RollUp::List => "list",
        RollUp::None => "none",
    };
    put(text, format_args!("table {} {roll_up}", table.id));
    match &table.rows {
        Rows::Record => put(text, format_args!("record")),
        Rows::Fixed { rows, .. } => {
            for row in rows.iter() {
                put(text, format_args!("row {} {:?}", row.key, row.parts));
            }
        }
        Rows::Keyed { total, axes } => {
            put(text, format_args!("keyed {total:?}"));
            for level in axes.iter().flat_map(|axis| &form.axes[*axis].levels) {
                put(text, format_args!("level {}", level.digits));
            }
        }
    }
    for column in &table.columns {
        put(text, format_args!("column {} {:?}", column.id, column.kind));
    }
}

fn put(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing into a string can't fail.
    let _ = writeln!(text, "{line}");
}
