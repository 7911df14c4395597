//! Figures as a person reads them: a printed table with its amounts in columns, or one record after the other.
//!
//! Knows answers of the service, not how they were asked for.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::output::{Grid, Look};
use super::words::{grouped, money, say, scale_of, written_scale};
use crate::budget::money::{Denomination, Money as Sum, Scale};
use crate::budget::roll_up::SUBTOTAL_ROW;
use crate::proto::ShownCell;
use crate::proto::api::{ColumnHead, ShownRow, ShownTable};
use crate::wording::{Language, label};

/// How amounts are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Money {
    /// As the column's type says.
    AsPrinted,
    /// 万元 with two decimals.
    Wan,
    /// 元 with 分.
    Yuan,
    /// 元 with 分, and how far the true sum may be from it.
    Exact,
}

/// A unit beside others.
#[derive(Debug)]
pub(super) struct Side<'t> {
    /// Code and name.
    pub(super) title: String,
    /// Whether it has filed anything.
    pub(super) filed: bool,
    /// Its table, if it has it.
    pub(super) table: Option<&'t ShownTable>,
}

/// The key of the one row of a record.
const RECORD: &str = "-";
/// The width of a heading over figures: `汾阳市人力` and `427,261,893.91` both fit.
const HEADING_WIDTH: usize = 14;
/// Type of a column that holds the printed name of a code.
const NAME: &str = "name";

/// What an amount column is shown in.
fn shown_scale(column: &ColumnHead, how: Money) -> Option<Scale> {
    let own = scale_of(&column.r#type)?;
    Some(match how {
        Money::AsPrinted => own,
        Money::Wan => Scale { denomination: Denomination::Wan, decimals: 2 },
        Money::Yuan | Money::Exact => Scale::FEN,
    })
}

/// A cell as shown in a table for people.
pub(super) fn cell_text(cell: &ShownCell, column: &ColumnHead, how: Money) -> String {
    let Some(scale) = shown_scale(column, how) else {
        return if column.grouped { grouped(&cell.value) } else { cell.value.to_string() };
    };
    let Some(exact) = money(&cell.exact) else { return cell.value.to_string() };
    let own = scale_of(&column.r#type);
    let as_written = written_scale(&cell.value, &cell.exact, own);
    let text = match how {
        // Written in the column's denomination: character for character. Else (filed in 元 under 万元) converted.
        Money::AsPrinted if as_written.is_some_and(|written| written.denomination == scale.denomination) => {
            grouped(&cell.value)
        }
        Money::AsPrinted | Money::Wan | Money::Yuan | Money::Exact => grouped(&exact.print(scale)),
    };
    if how == Money::Exact && !cell.slack.is_empty() { format!("{text} ±{}", grouped(&cell.slack)) } else { text }
}

/// By how much an amount grew, with its sign, in what the column is printed in: with as many decimals as it takes to be
/// exact.
pub(super) fn difference_text(difference: &str, column: &ColumnHead) -> String {
    let Some((value, own)) = money(difference).zip(scale_of(&column.r#type)) else { return String::new() };
    let decimals = value.exact_decimals(own.denomination, own.decimals);
    let text = grouped(&value.print(Scale { decimals, ..own }));
    if value.is_negative() { text } else { format!("+{text}") }
}

fn is_figure(column: &ColumnHead) -> bool {
    scale_of(&column.r#type).is_some()
        || column.r#type == "count"
        || column.r#type == "year"
        || column.r#type.starts_with('%')
}

/// `单位：万元` for above a list of cells, and whether each is to say its own because they differ.
pub(super) fn unit_note<'c>(columns: impl Iterator<Item = &'c ColumnHead>, language: Language) -> (String, bool) {
    let (unit, mixed) = amount_units(&columns.collect::<Vec<_>>(), Money::AsPrinted);
    (unit.map_or_else(String::new, |unit| say(language, "amounts-in", &[("unit", unit)])), mixed)
}

/// The unit, if all amount columns are shown in one; and whether they are not.
fn amount_units(columns: &[&ColumnHead], how: Money) -> (Option<&'static str>, bool) {
    let mut units: Vec<&'static str> =
        columns.iter().filter_map(|column| shown_scale(column, how)).map(|scale| scale.denomination.as_str()).collect();
    units.sort_unstable();
    units.dedup();
    match units.as_slice() {
        [] => (None, false),
        [one] => (Some(one), false),
        _ => (None, true),
    }
}

/// What stands above a column, or beside a cell of it.
pub(super) fn heading(column: &ColumnHead, mixed: bool, how: Money) -> String {
    let unit = shown_scale(column, how).filter(|_| mixed).map(|scale| format!("（{}）", scale.denomination.as_str()));
    format!("{}{}{}", column.label, unit.unwrap_or_default(), if column.assigned { "*" } else { "" })
}

fn notes(columns: &[&ColumnHead], unit: Option<&str>, how: Money, language: Language) -> (String, String) {
    let above = match unit {
        Some(unit) if how == Money::Exact => {
            format!("  {}\n", say(language, "amounts-exact", &[("unit", unit)]))
        }
        Some(unit) => format!("  {}\n", say(language, "amounts-in", &[("unit", unit)])),
        None => String::new(),
    };
    let below = if columns.iter().any(|column| column.assigned) {
        format!("  {}\n", label("column-assigned", language))
    } else {
        String::new()
    };
    (above, below)
}

/// The printed name of a row: what was filed as its name, else the label.
fn row_name(table: &ShownTable, row: &ShownRow) -> String {
    let filed =
        table.columns.iter().zip(&row.cells).find(|(column, cell)| column.r#type == NAME && !cell.value.is_empty());
    filed.map_or_else(|| row.label.clone(), |(_, cell)| cell.value.to_string())
}

/// A row's key for people.
fn row_key(row: &ShownRow, language: Language) -> String {
    if row.key == SUBTOTAL_ROW { label("subtotal", language).to_owned() } else { row.key.clone() }
}

/// A heading in several short lines of about the same length, so that its column is no wider than its figures need.
fn stacked(title: &str) -> String {
    let (code, name) = title.split_once(' ').unwrap_or((title, ""));
    let lines = name.width().div_ceil(HEADING_WIDTH).max(1);
    // One more than the even share, because a wide character can't be cut in two.
    let line_width = name.width().div_ceil(lines) + 1;
    let mut out = code.to_owned();
    let mut width = line_width;
    for c in name.chars() {
        let more = c.width().unwrap_or(0);
        if width + more > line_width {
            out.push('\n');
            width = 0;
        }
        out.push(c);
        width += more;
    }
    out
}

fn indented(name: &str, level: u32) -> String {
    // Wide spaces: a table draws them as they are.
    "\u{3000}".repeat(usize::try_from(level.saturating_sub(1)).unwrap_or(0).min(8)) + name
}

/// A table as on the sheet; where that is too wide for the terminal, or is a record, row after row.
pub(super) fn card_or_grid(table: &ShownTable, rows: &[&ShownRow], how: Money, look: &Look) -> String {
    let columns: Vec<&ColumnHead> = table.columns.iter().filter(|column| column.r#type != NAME).collect();
    let (unit, mixed) = amount_units(&columns, how);
    let (above, below) = notes(&columns, unit, how, look.language);
    let is_record = matches!(rows, [row] if row.key == RECORD);
    let grid = grid(table, rows, mixed, how, look.language);
    // A little too wide is wrapped; far too wide nobody can read.
    let fits = look.width.is_none_or(|width| grid.natural_width() <= usize::from(width) * 3 / 2);
    let body = if is_record || !fits { cards(table, rows, mixed, how, look) } else { grid.draw(look) };
    above + &body + &below
}

fn grid(table: &ShownTable, rows: &[&ShownRow], mixed: bool, how: Money, language: Language) -> Grid {
    let with_unit = rows.iter().any(|row| !row.unit.is_empty());
    let with_name = rows.iter().any(|row| !row_name(table, row).is_empty());
    let mut grid = Grid::new();
    if with_unit {
        grid = grid.text(label("head-unit", language));
    }
    grid = grid.text(label("head-row", language));
    if with_name {
        grid = grid.text(label("head-name", language));
    }
    let columns: Vec<(usize, &ColumnHead)> =
        table.columns.iter().enumerate().filter(|(_, column)| column.r#type != NAME).collect();
    for (_, column) in &columns {
        let head = heading(column, mixed, how);
        grid = if is_figure(column) { grid.figures(head) } else { grid.text(head) };
    }
    for row in rows {
        let mut cells = Vec::with_capacity(columns.len() + 3);
        if with_unit {
            cells.push(row.unit.clone());
        }
        cells.push(row_key(row, language));
        if with_name {
            cells.push(indented(&row_name(table, row), row.level));
        }
        let shown = |(at, column): &(usize, &ColumnHead)| {
            row.cells.get(*at).map_or(String::new(), |cell| cell_text(cell, column, how))
        };
        cells.extend(columns.iter().map(shown));
        grid.row(cells);
    }
    grid
}

/// One row after the other, each as heading and value; blanks are left out.
fn cards(table: &ShownTable, rows: &[&ShownRow], mixed: bool, how: Money, look: &Look) -> String {
    let mut out = String::new();
    for row in rows {
        let (key, name) = (row_key(row, look.language), row_name(table, row));
        let title: Vec<&str> = [row.unit.as_str(), key.as_str(), &name]
            .into_iter()
            .filter(|part| !part.is_empty() && *part != RECORD)
            .collect();
        if !title.is_empty() {
            out.push_str(&format!("  {}\n", super::output::strong(&title.join(" "))));
        }
        let mut grid = Grid::new().text(label("head-column", look.language)).text(label("head-value", look.language));
        for (column, cell) in table.columns.iter().zip(&row.cells).filter(|(column, _)| column.r#type != NAME) {
            let text = cell_text(cell, column, how);
            if !text.is_empty() {
                grid.row(vec![heading(column, mixed, how), text]);
            }
        }
        if grid.is_empty() {
            out.push_str(&format!("    {}\n", label("row-blank", look.language)));
            continue;
        }
        let inner = Look { width: look.width.map(|width| width.saturating_sub(4)), ..*look };
        // The heading of two columns says nothing here; after it and its line come the values.
        for line in grid.draw(&inner).lines().skip(2) {
            out.push_str(&format!("    {line}\n"));
        }
    }
    out
}

/// What a unit has in the cell of a row and column.
fn cell_beside<'t>(side: &Side<'t>, row: &ShownRow, column: usize) -> Option<&'t ShownCell> {
    side.table?.rows.iter().find(|other| other.key == row.key)?.cells.get(column)
}

/// What is added at a node itself to what comes from below, by difference forms, and what is eliminated there, as less.
fn moved_here(row: &ShownRow, column: usize, children: &[Side<'_>]) -> [Sum; 2] {
    let of = |cell: &ShownCell| {
        let or_nothing = |text: &str| money(text).unwrap_or(Sum::ZERO);
        [or_nothing(&cell.adjusted), -or_nothing(&cell.eliminated)]
    };
    let own = row.cells.get(column).map_or([Sum::ZERO; 2], of);
    let below = children.iter().filter_map(|child| cell_beside(child, row, column));
    below.fold(own, |[adjusted, eliminated], cell| {
        let [less_adjusted, less_eliminated] = of(cell);
        [adjusted - less_adjusted, eliminated - less_eliminated]
    })
}

/// Nothing if nothing is moved.
fn moved_text(moved: Sum, column: &ColumnHead, how: Money) -> String {
    let Some(scale) = shown_scale(column, how).filter(|_| !moved.is_zero()) else { return String::new() };
    let decimals = moved.exact_decimals(scale.denomination, scale.decimals);
    grouped(&moved.print(Scale { decimals, ..scale }))
}

/// One amount column of a table, with the nodes directly below side by side.
pub(super) fn side_by_side(
    table: &ShownTable,
    children: &[Side<'_>],
    column: Option<&str>,
    how: Money,
    look: &Look,
) -> String {
    let language = look.language;
    let wanted = |head: &ColumnHead| match column {
        Some(id) => head.id == id,
        None => scale_of(&head.r#type).is_some(),
    };
    let Some((at, head)) = table.columns.iter().enumerate().find(|(_, head)| wanted(head)) else {
        let known: Vec<&str> = table.columns.iter().map(|column| column.id.as_str()).collect();
        let key = if column.is_some() { "column-unknown" } else { "column-none" };
        let facts = [("column", column.unwrap_or("")), ("known", &known.join(", "))];
        return format!("  {}\n", say(language, key, &facts));
    };
    let unit = shown_scale(head, how).map_or("", |scale| scale.denomination.as_str());
    let mut out = format!("  {}\n", say(language, "side-by-side", &[("column", &head.label), ("unit", unit)]));
    let with_name = table.rows.iter().any(|row| !row_name(table, row).is_empty());
    let mut grid = Grid::new().text(label("head-row", language));
    if with_name {
        grid = grid.text(label("head-name", language));
    }
    grid = grid.figures(label("head-sum", language));
    for child in children {
        let missing = if child.filed { String::new() } else { format!("\n{}", label("side-not-filed", language)) };
        grid = grid.figures(format!("{}{missing}", stacked(&child.title)));
    }
    // With what is adjusted and eliminated between those below, a row adds up.
    let moved: Vec<[Sum; 2]> = table.rows.iter().map(|row| moved_here(row, at, children)).collect();
    let shown = [0, 1].map(|which| moved.iter().any(|moved| !moved[which].is_zero()));
    for key in shown.iter().zip(["head-adjusted", "head-eliminated"]).filter_map(|(shown, key)| shown.then_some(key)) {
        grid = grid.figures(label(key, language));
    }
    for (row, moved) in table.rows.iter().zip(&moved) {
        let mut cells = vec![row_key(row, language)];
        if with_name {
            cells.push(indented(&row_name(table, row), row.level));
        }
        cells.push(row.cells.get(at).map_or(String::new(), |cell| cell_text(cell, head, how)));
        for child in children {
            let cell = cell_beside(child, row, at);
            cells.push(cell.map_or(String::new(), |cell| cell_text(cell, head, how)));
        }
        let moved = moved.iter().zip(shown).filter(|(_, shown)| *shown);
        cells.extend(moved.map(|(moved, _)| moved_text(*moved, head, how)));
        grid.row(cells);
    }
    out.push_str(&grid.draw(look));
    out
}

#[cfg(test)]
pub(super) mod samples {
    //! Made-up answers for tests of what is drawn.

    use super::*;
    use crate::proto::api::{Round, ViewResponse};

    pub(in crate::cli) fn column(id: &str, label: &str, kind: &str) -> ColumnHead {
        ColumnHead { id: id.into(), label: label.into(), r#type: kind.into(), assigned: false, grouped: false }
    }

    pub(in crate::cli) fn amount(value: &str, exact: &str) -> ShownCell {
        ShownCell { value: value.into(), exact: exact.into(), ..ShownCell::default() }
    }

    pub(in crate::cli) fn row(key: &str, label: &str, level: u32, cells: Vec<ShownCell>) -> ShownRow {
        ShownRow { key: key.into(), label: label.into(), level, cells, unit: String::new() }
    }

    pub(in crate::cli) fn sample_table() -> ShownTable {
        let blank = ShownCell::default;
        ShownTable {
            id: "A1".into(),
            name: "甲表".into(),
            title: "样表".into(),
            columns: vec![column("name", "科目名称", "name"), column("total", "合计", "万元.2")],
            rows: vec![
                row("合计", "", 0, vec![blank(), amount("42750.33", "427503300.00")]),
                row("901", "甲类支出", 1, vec![blank(), amount("42750.33", "427503300.00")]),
                row("90101", "人力资源", 2, vec![blank(), blank()]),
            ],
            filings: 2,
            empty: 0,
            roll_up: "sum".into(),
            listed: 0,
        }
    }

    pub(in crate::cli) fn sample_node() -> ViewResponse {
        ViewResponse {
            node: "407".into(),
            name: "人社局".into(),
            year: 2024,
            round: i32::from(Round::Second),
            position: 9,
            tree_version: 1,
            form_set: "x-2024".into(),
            form_set_digest: vec![0xcd; 32],
            filings: 2,
            expected: 3,
            ..ViewResponse::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::samples::*;
    use super::*;

    const LOOK: Look = Look { language: Language::Chinese, width: None, colour: false };

    #[test]
    fn amounts_are_shown_as_asked() {
        let wan = column("total", "合计", "万元.2");
        let cell = ShownCell { slack: "50.00".into(), ..amount("2118.35", "21183500.00") };
        assert_eq!(cell_text(&cell, &wan, Money::AsPrinted), "2,118.35");
        assert_eq!(cell_text(&cell, &wan, Money::Wan), "2,118.35");
        assert_eq!(cell_text(&cell, &wan, Money::Yuan), "21,183,500.00");
        assert_eq!(cell_text(&cell, &wan, Money::Exact), "21,183,500.00 ±50.00");
        // Filed in 元 under a heading in 万元: converted, so that a column never mixes both.
        assert_eq!(cell_text(&amount("21183512.00", "21183512.00"), &wan, Money::AsPrinted), "2,118.35");
        assert_eq!(cell_text(&ShownCell::default(), &wan, Money::Yuan), "");
        assert_eq!(cell_text(&amount("0", "0.00"), &column("a", "数", "元.~"), Money::AsPrinted), "0");
    }

    #[test]
    fn a_record_is_a_list_of_headings_and_values() {
        let mut table = sample_table();
        table.columns = vec![column("staff", "编制", "count"), column("why", "原因", "text")];
        let value = |text: &str| ShownCell { value: text.into(), ..ShownCell::default() };
        table.rows = vec![row("-", "", 1, vec![value("30"), value("")])];
        let rows: Vec<&ShownRow> = table.rows.iter().collect();
        assert_eq!(card_or_grid(&table, &rows, Money::AsPrinted, &LOOK), "    编制  30\n");
    }

    #[test]
    fn units_stand_side_by_side() {
        let table = sample_table();
        let child = sample_table();
        let children = [
            Side { title: "407001 本级".into(), filed: true, table: Some(&child) },
            Side { title: "407005 中心".into(), filed: false, table: None },
        ];
        insta::assert_snapshot!(side_by_side(&table, &children, None, Money::AsPrinted, &LOOK), @r#"
          栏：合计 · 单位：万元
        行     名称             合计     407001  407005
                                           本级    中心
                                                 无报送
        ------------------------------------------------
        合计               42,750.33  42,750.33
        901    甲类支出    42,750.33  42,750.33
        90101  　人力资源
        "#);
        let text = side_by_side(&table, &children, Some("nothing"), Money::AsPrinted, &LOOK);
        assert!(text.contains("nothing") && text.contains("total"), "{text}");
    }

    /// Else the columns of a department with internal transfers don't add up to its sum, and nothing says why.
    #[test]
    fn what_is_adjusted_and_eliminated_stands_beside_the_units() {
        let cell = |exact: &str, adjusted: &str, eliminated: &str| ShownCell {
            adjusted: adjusted.into(),
            eliminated: eliminated.into(),
            ..amount(&exact.replace("0000.00", ".00"), exact)
        };
        let one = |cell: ShownCell| ShownTable {
            columns: vec![column("total", "合计", "万元.2")],
            rows: vec![row("合计", "", 0, vec![cell])],
            ..sample_table()
        };
        // 701 + 1000 - 1 - 12; the second child has moved 3 and 2 of it at itself.
        let table = one(cell("16880000.00", "20000.00", "140000.00"));
        let (a, b) = (one(amount("701.00", "7010000.00")), one(cell("10000000.00", "30000.00", "20000.00")));
        let side = |title: &str, table| Side { title: title.into(), filed: true, table: Some(table) };
        let children = [side("4071 甲", &a), side("4072 乙", &b)];
        insta::assert_snapshot!(side_by_side(&table, &children, None, Money::AsPrinted, &LOOK), @r#"
          栏：合计 · 单位：万元
        行        合计    4071      4072   调整    抵销
                            甲        乙
        ------------------------------------------------
        合计  1,688.00  701.00  1,000.00  -1.00  -12.00
        "#);
    }
}
