//! `diff`: what differs between two moments, versions, rounds or years, cell by cell, and which events did it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::client::Client;
use super::figures::{Money, cell_text, difference_text, heading, unit_note};
use super::output::{Answer, Failure, Grid, Look, Sheet, Show, strong};
use super::review_events::step_name;
use super::settings::Settings;
use super::view::cell_json;
use super::words::{parse_moment, round_code, round_name, say, time, time_for_programs};
use super::{Times, node_title, parse_round};
use crate::proto::ShownCell;
use crate::proto::api::{self, ChangedCell, ColumnHead, DiffEvent, DiffShown, DiffTable, RowChange};
use crate::wording::{Language, label};

const PAGE_CELLS: u32 = 1_000;

/// What `diff` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[arg(default_value = "", hide_default_value = true)]
    pub(super) node: String,
    #[arg(long = "from", value_name = "SIDE", value_parser = parse_side)]
    pub(super) from_side: Side,
    #[arg(long = "to", value_name = "SIDE", value_parser = parse_side)]
    pub(super) to_side: Option<Side>,
    #[arg(long = "table", value_name = "TABLE")]
    pub(super) tables: Vec<String>,
    #[command(flatten)]
    pub(super) times: Times,
    #[arg(long, value_name = "ID")]
    pub(super) form_set: Option<String>,
}

/// A version, round, year or moment, or several of them: `v1`, `first`, `2023`, `@120`, `2023,first`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Side {
    version: u32,
    round: Option<api::Round>,
    year: Option<u32>,
    as_of: Option<api::AsOf>,
}

/// Reads a side. Four digits are a year; a position has an `@`, or another number of digits.
fn parse_side(text: &str) -> Result<Side, String> {
    let wrong = || "v1, first, 2023, @120, 2024-01-31, 2023,first".to_owned();
    let mut side = Side::default();
    for part in text.split(',') {
        let fresh = if let Some(version) = part.strip_prefix('v') {
            let version = version.parse().ok().filter(|version| *version > 0).ok_or_else(wrong)?;
            std::mem::replace(&mut side.version, version) == 0
        } else if part.len() == 4 && part.bytes().all(|b| b.is_ascii_digit()) {
            side.year.replace(part.parse().map_err(|_| wrong())?).is_none()
        } else if let Ok(round) =
            parse_round(part).and_then(|round| if part.len() == 1 { Err(wrong()) } else { Ok(round) })
        {
            side.round.replace(round).is_none()
        } else {
            side.as_of.replace(parse_moment(part).map_err(|_| wrong())?).is_none()
        };
        if !fresh {
            return Err(wrong());
        }
    }
    Ok(side)
}

impl Side {
    fn wire(&self, args: &Args) -> api::DiffSide {
        api::DiffSide {
            year: self.year.or(args.times.year.map(u32::from)).unwrap_or(0),
            round: self.round.unwrap_or_else(|| args.times.round()).into(),
            form_set: args.form_set.clone().unwrap_or_default(),
            as_of: self.as_of,
            version: self.version,
            kind: api::Kind::Unit.into(),
        }
    }
}

/// Runs `diff`.
///
/// # Errors
/// A refusal, or a server that can't be reached.
pub async fn run(args: Args, settings: &Settings) -> Result<Answer, Failure> {
    let client = Client::connect(settings).await?;
    let mut request = api::DiffRequest {
        node: args.node.clone(),
        from: Some(args.from_side.wire(&args)),
        to: Some(args.to_side.unwrap_or_default().wire(&args)),
        tables: args.tables.clone(),
        page_size: PAGE_CELLS,
        page_token: String::new(),
    };
    let mut diff = Diff::default();
    loop {
        let answer = client.consolidation().diff(request.clone()).await;
        let page = answer.map_err(|status| client.failure(&status))?.into_inner();
        request.page_token.clone_from(&page.next_page_token);
        diff.add(page);
        if request.page_token.is_empty() {
            return Ok(settings.answer(&diff));
        }
    }
}

/// What differs.
#[derive(Debug, Default)]
pub(super) struct Diff {
    node: String,
    name: String,
    from: DiffShown,
    to: DiffShown,
    cells: Vec<ChangedCell>,
    events: BTreeMap<u64, DiffEvent>,
    tables: Vec<DiffTable>,
    causes_left_out: bool,
}

impl Diff {
    fn add(&mut self, page: api::DiffResponse) {
        (self.node, self.name) = (page.node, page.name);
        (self.from, self.to) = (page.from.unwrap_or_default(), page.to.unwrap_or_default());
        self.cells.extend(page.cells);
        self.events.extend(page.events.into_iter().map(|event| (event.position, event)));
        self.tables = page.tables;
        self.causes_left_out |= page.causes_left_out;
    }

    fn table(&self, cells: &[&ChangedCell], look: &Look) -> String {
        let language = look.language;
        let word = |key| label(key, language);
        let Some(first) = cells.first() else { return String::new() };
        let listed = cells.iter().any(|cell| !cell.unit.is_empty());
        let columns: Vec<ColumnHead> = cells.iter().map(|cell| head(cell)).collect();
        let (unit, mixed) = unit_note(columns.iter(), language);
        let mut grid = Grid::new().text("").text(word("head-row")).text(word("head-name"));
        if listed {
            grid = grid.text(word("head-unit"));
        }
        grid = grid
            .text(word("head-column"))
            .figures(word("head-before"))
            .figures(word("head-after"))
            .figures(word("head-difference"))
            .text(word("head-caused-by"));
        for (cell, column) in cells.iter().zip(&columns) {
            let change = match cell.change() {
                RowChange::Added => word("row-added"),
                RowChange::Removed => word("row-removed"),
                RowChange::Kept | RowChange::Unspecified => "",
            };
            let causes: Vec<String> = cell.causes.iter().map(|position| format!("@{position}")).collect();
            let mut row = vec![change.to_owned(), cell.row.clone(), cell.row_label.clone()];
            if listed {
                row.push(cell.unit.clone());
            }
            row.extend([
                heading(column, mixed, Money::AsPrinted),
                value(cell.from.as_ref(), column, language),
                value(cell.to.as_ref(), column, language),
                difference_text(&cell.difference, column),
                causes.join(" "),
            ]);
            grid.row(row);
        }
        let title = strong(&format!("{}（{}）", first.table_name, first.table));
        let unit = if unit.is_empty() { unit } else { format!("  {unit}\n") };
        format!("\n{title}\n{unit}{}", grid.draw(look))
    }
}

/// A figure; a row that is absent says so, and so does a blank.
pub(super) fn value(cell: Option<&ShownCell>, column: &ColumnHead, language: Language) -> String {
    match cell {
        None => label("cell-absent", language).to_owned(),
        Some(cell) if cell.value.is_empty() => label("share-blank", language).to_owned(),
        Some(cell) => cell_text(cell, column, Money::AsPrinted),
    }
}

/// An event with its position, time and actor.
fn told(event: &DiffEvent, language: Language) -> String {
    format!("@{}  {}  {}  {}", event.position, time(event.time_ms), event.actor, what(event, language))
}

/// What happened, in a few words.
pub(super) fn what(event: &DiffEvent, language: Language) -> String {
    let facts = [("unit", event.unit.as_str()), ("version", &event.version.to_string())];
    let what = match event.kind.as_str() {
        "submitted" => say(language, "cause-submitted", &facts),
        "units_imported" => label("cause-units-imported", language).to_owned(),
        "version_moved" => {
            let facts = [facts[0], facts[1], ("step", step_name(event.step, language))];
            say(language, "cause-version-moved", &facts)
        }
        kind => kind.to_owned(),
    };
    if event.reason.is_empty() { what } else { what + language.of("：", ": ") + &event.reason }
}

fn side(shown: &DiffShown, language: Language) -> String {
    let version = shown.version.as_ref().map(|version| version.version.to_string());
    let facts = [
        ("year", shown.year.to_string()),
        ("round", round_name(shown.round, language).to_owned()),
        ("filings", shown.filings.to_string()),
        ("version", version.clone().unwrap_or_default()),
        ("n", shown.position.to_string()),
        ("time", time(shown.time_ms)),
    ];
    let facts = facts.each_ref().map(|(key, value)| (*key, value.as_str()));
    say(language, if version.is_some() { "diff-side-version" } else { "diff-side" }, &facts)
}

impl Show for Diff {
    fn text(&self, look: &Look) -> String {
        let language = look.language;
        let node = node_title(&self.node, &self.name);
        let mut out = format!("{}\n", strong(&say(language, "diff-title", &[("node", &node)])));
        let sides = [("diff-from", side(&self.from, language)), ("diff-to", side(&self.to, language))];
        for (key, text) in sides {
            out.push_str(&format!("  {}\n", say(language, key, &[("side", &text)])));
        }
        let count = self.cells.len().to_string();
        let apart = self.tables.iter().filter(|table| !table.not_compared.is_empty()).count();
        let key = match (self.cells.is_empty(), apart) {
            (true, 0) => "diff-nothing",
            (true, _) => "diff-nothing-compared",
            (false, _) => "diff-count",
        };
        out.push_str(&format!("  {}\n", say(language, key, &[("n", &count)])));
        for table in &self.tables {
            let word = |state: &str| match state {
                "missing" => label("table-missing", language),
                "empty" => label("table-empty", language),
                _ => label("table-filed", language),
            };
            let facts = [("table", table.table.as_str()), ("from", word(&table.from)), ("to", word(&table.to))];
            let key = match table.not_compared.as_str() {
                "" => "diff-table-state",
                "gone" => "diff-table-gone",
                "new" => "diff-table-new",
                "units" => "diff-table-units",
                _ => "diff-table-layout",
            };
            out.push_str(&format!("  {}\n", say(language, key, &facts)));
        }
        let mut at = 0;
        while let Some(first) = self.cells.get(at) {
            let table: Vec<&ChangedCell> =
                self.cells[at..].iter().take_while(|cell| cell.table == first.table).collect();
            at += table.len();
            out.push_str(&self.table(&table, look));
        }
        if !self.events.is_empty() {
            out.push_str(&format!("\n{}\n", strong(label("diff-causes", language))));
            self.events.values().for_each(|event| out.push_str(&format!("  {}\n", told(event, language))));
        }
        if self.causes_left_out {
            out.push_str(&format!("  {}\n", label("diff-causes-left-out", language)));
        }
        out
    }

    fn json(&self) -> Value {
        let shown = |shown: &DiffShown| {
            json!({
                "year": shown.year,
                "round": round_code(shown.round),
                "form_set": shown.form_set,
                "position": shown.position,
                "time": time_for_programs(shown.time_ms),
                "filings": shown.filings,
                "version": shown.version.as_ref().map(|version| version.version),
            })
        };
        let cell = |cell: &ChangedCell| {
            json!({
                "table": cell.table,
                "unit": cell.unit,
                "row": cell.row,
                "label": cell.row_label,
                "column": cell.column,
                "change": change_code(cell),
                "from": cell.from.as_ref().map(cell_json),
                "to": cell.to.as_ref().map(cell_json),
                "difference": cell.difference,
                "causes": cell.causes,
            })
        };
        let table = |table: &DiffTable| json!({ "table": table.table, "from": table.from, "to": table.to, "not_compared": table.not_compared });
        json!({
            "node": self.node,
            "name": self.name,
            "from": shown(&self.from),
            "to": shown(&self.to),
            "cells": self.cells.iter().map(cell).collect::<Vec<_>>(),
            "events": self.events.values().map(event_json).collect::<Vec<_>>(),
            "tables": self.tables.iter().map(table).collect::<Vec<_>>(),
            "causes_left_out": self.causes_left_out,
        })
    }

    fn sheet(&self) -> Sheet {
        let columns = vec![
            "table",
            "unit",
            "row",
            "label",
            "column",
            "change",
            "from",
            "from_exact",
            "to",
            "to_exact",
            "difference",
            "causes",
        ];
        let row = |cell: &ChangedCell| {
            let (from, to) = (cell.from.clone().unwrap_or_default(), cell.to.clone().unwrap_or_default());
            let causes: Vec<String> = cell.causes.iter().map(u64::to_string).collect();
            vec![
                cell.table.clone(),
                cell.unit.clone(),
                cell.row.clone(),
                cell.row_label.clone(),
                cell.column.clone(),
                change_code(cell).to_owned(),
                from.value.into_string(),
                from.exact.into_string(),
                to.value.into_string(),
                to.exact.into_string(),
                cell.difference.clone(),
                causes.join(" "),
            ]
        };
        Sheet { columns, rows: self.cells.iter().map(row).collect() }
    }
}

fn head(cell: &ChangedCell) -> ColumnHead {
    ColumnHead {
        id: cell.column.clone(),
        label: cell.column_label.clone(),
        r#type: cell.column_type.clone(),
        assigned: false,
        grouped: cell.grouped,
    }
}

fn change_code(cell: &ChangedCell) -> &'static str {
    match cell.change() {
        RowChange::Added => "row_added",
        RowChange::Removed => "row_removed",
        RowChange::Kept | RowChange::Unspecified => "changed",
    }
}

fn event_json(event: &DiffEvent) -> Value {
    json!({
        "position": event.position,
        "time": time_for_programs(event.time_ms),
        "actor": event.actor,
        "event": event.kind,
        "unit": event.unit,
        "version": event.version,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_versions_rounds_years_and_moments() {
        let position = |position| Some(api::AsOf { moment: Some(api::as_of::Moment::Position(position)) });
        for (text, side) in [
            ("v1", Side { version: 1, ..Side::default() }),
            ("first", Side { round: Some(api::Round::First), ..Side::default() }),
            ("二上", Side { round: Some(api::Round::Second), ..Side::default() }),
            ("2023", Side { year: Some(2023), ..Side::default() }),
            ("@2023", Side { as_of: position(2023), ..Side::default() }),
            ("120", Side { as_of: position(120), ..Side::default() }),
            ("1", Side { as_of: position(1), ..Side::default() }),
            (
                "2023,first,@7",
                Side { year: Some(2023), round: Some(api::Round::First), as_of: position(7), version: 0 },
            ),
        ] {
            assert_eq!(parse_side(text), Ok(side), "{text}");
        }
        for text in ["", "v0", "v", "third", "first,second", "v1,v2", "@1,@2", "2023,2024"] {
            assert!(parse_side(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_absent_is_not_nothing() {
        let shown = |value: &str, exact: &str| {
            Some(ShownCell { value: value.into(), exact: exact.into(), ..ShownCell::default() })
        };
        let cell = |row: &str, change: RowChange, from, to, difference: &str| ChangedCell {
            table: "A1".into(),
            table_name: "甲表".into(),
            row: row.into(),
            row_label: "机构".into(),
            column: "total".into(),
            column_label: "合计".into(),
            column_type: "万元.2".into(),
            change: change.into(),
            from,
            to,
            difference: difference.into(),
            causes: vec![7],
            ..ChangedCell::default()
        };
        let event = DiffEvent {
            position: 7,
            time_ms: 1_705_482_904_000,
            actor: "budget://407002/unit".into(),
            kind: "submitted".into(),
            unit: "407002".into(),
            version: 2,
            step: 0,
            reason: "减一场".into(),
        };
        let shown_side = |position| DiffShown { year: 2024, round: 2, position, filings: 3, ..DiffShown::default() };
        let diff = Diff {
            node: "407".into(),
            name: "人社局".into(),
            from: shown_side(6),
            to: shown_side(9),
            cells: vec![
                cell("a", RowChange::Kept, shown("1.00", "10000.00"), shown("0.50", "5000.00"), "-5000.00"),
                cell("b", RowChange::Kept, shown("", ""), shown("0.00", "0.00"), ""),
                cell("c", RowChange::Added, None, shown("1,2", ""), ""),
                // Once in 万元 and once in 元: the figures are shown alike, and the difference exactly.
                cell(
                    "d",
                    RowChange::Kept,
                    shown("12345.00", "123450000.00"),
                    shown("10001", "10001.00"),
                    "-123439999.00",
                ),
            ],
            events: [(7, event)].into(),
            tables: vec![DiffTable { table: "B1".into(), not_compared: "layout".into(), ..DiffTable::default() }],
            causes_left_out: false,
        };
        let look = Look { language: Language::Chinese, width: None, colour: false };
        let text = super::super::output::finish(&diff.text(&look), false);
        for part in [
            "单位：万元",
            " -0.50 ",
            "12,345.00",
            " 1.00 ",
            "-12,343.9999",
            "空白",
            "新增行",
            "没有此行",
            "@7",
            "2024-01-17 17:15:04",
            "B1",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(diff.sheet().rows.iter().all(|row| row.len() == diff.sheet().columns.len()));
        assert_eq!(diff.json()["cells"][2]["from"], Value::Null);
        // Where nothing could be compared, nothing is known to be the same.
        let apart = Diff { cells: Vec::new(), ..diff };
        assert!(apart.text(&look).contains("没有对比的表见下"));
        assert!(Diff { tables: Vec::new(), ..apart }.text(&look).contains("没有不同"));
    }
}
