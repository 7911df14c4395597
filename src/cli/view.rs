//! `view`: the figures of a node, table by table, or its units side by side.
//!
//! Asks the server and puts the answer together; how a table is drawn is in `figures.rs`.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Value, json};

use super::client::Client;
use super::figures::{Money, Side, card_or_grid, side_by_side};
use super::output::{Answer, Failure, Grid, Look, Sheet, Show, strong};
use super::rule_finding::{self, checked};
use super::rules;
use super::settings::Settings;
use super::words::{as_of, grouped, round_code, round_name, say, short_digest};
use super::{Moment, Times, node_title};
use crate::budget::form_set::FormSet;
use crate::proto::ShownCell;
use crate::proto::api::{self, InternalTransfer, RuleFinding, ShownRow, ShownTable, TransferStanding, ViewResponse};
use crate::wording::label;

/// How many rows of a list are asked for at once.
const PAGE_ROWS: u32 = 1_000;

/// What `view` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[arg(default_value = "", hide_default_value = true)]
    pub(super) node: String,
    #[arg(long = "table", value_name = "TABLE")]
    pub(super) tables: Vec<String>,
    #[arg(long)]
    pub(super) children: bool,
    #[arg(long = "reviewed")]
    pub(super) as_reviewed: bool,
    #[arg(long, requires = "children")]
    pub(super) column: Option<String>,
    #[arg(long, conflicts_with = "yuan")]
    pub(super) wan: bool,
    #[arg(long)]
    pub(super) yuan: bool,
    #[arg(long, conflicts_with = "wan")]
    pub(super) exact: bool,
    #[command(flatten)]
    pub(super) times: Times,
    #[command(flatten)]
    pub(super) moment: Moment,
    #[arg(long, value_name = "ID")]
    pub(super) form_set: Option<String>,
}

/// Runs `view`.
///
/// # Errors
/// A refusal, or a server that can't be reached.
pub async fn run(args: Args, settings: &Settings) -> Result<Answer, Failure> {
    let client = Client::connect(settings).await?;
    let scope = args.moment.of(args.times.scope(&args.node, args.form_set.as_deref()));
    let Args { children, as_reviewed: reviewed, .. } = args;
    let request = api::ViewRequest { scope: Some(scope.clone()), tables: args.tables.clone(), children, reviewed };
    let answer = client.consolidation().view(request).await.map_err(|status| client.failure(&status))?.into_inner();
    if let Some(column) = &args.column {
        let known: BTreeSet<&str> =
            answer.tables.iter().flat_map(|table| &table.columns).map(|column| column.id.as_str()).collect();
        if !known.contains(column.as_str()) {
            let facts = [("column", column.as_str()), ("known", &known.into_iter().collect::<Vec<_>>().join(", "))];
            return Err(Failure::Usage(say(settings.language, "column-unknown", &facts)));
        }
    }
    let mut lists = HashMap::new();
    if !args.children {
        // From here on the same node, year, round, form set and position, also where the asker left them out.
        let scope = api::Scope {
            node: answer.node.clone(),
            year: answer.year,
            round: answer.round,
            form_set: args.form_set.clone().unwrap_or_else(|| answer.form_set.clone()),
            as_of: Some(api::AsOf { moment: Some(api::as_of::Moment::Position(answer.position)) }),
        };
        for table in answer.tables.iter().filter(|table| is_cut(table)) {
            lists.insert(table.id.clone(), listed(&client, &scope, &table.id, reviewed).await?);
        }
    }
    let money = match (args.wan, args.yuan, args.exact) {
        (true, _, _) => Money::Wan,
        (_, true, _) => Money::Yuan,
        (_, _, true) => Money::Exact,
        _ => Money::AsPrinted,
    };
    let failed = rule_finding::read(&answer.rule_findings)?;
    let form = match failed.is_empty() {
        true => None,
        false => Some(client.form_set_version(&answer.form_set, &answer.form_set_digest).await?),
    };
    let past = args.moment.as_of.is_some();
    Ok(settings.answer(&View { answer, failed, past, lists, form, money, children, reviewed, column: args.column }))
}

/// Whether rows stand behind the table that the view has not.
fn is_cut(table: &ShownTable) -> bool {
    let rows = table.rows.iter().filter(|row| row.level > 0).count() as u64;
    table.roll_up == "list" && rows < table.listed
}

async fn listed(client: &Client, scope: &api::Scope, table: &str, reviewed: bool) -> Result<Vec<ShownRow>, Failure> {
    let mut rows = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = api::ListRowsRequest {
            scope: Some(scope.clone()),
            table: table.to_owned(),
            page_size: PAGE_ROWS,
            page_token,
            reviewed,
        };
        let page =
            client.consolidation().list_rows(request).await.map_err(|status| client.failure(&status))?.into_inner();
        rows.extend(page.table.unwrap_or_default().rows);
        if page.next_page_token.is_empty() {
            return Ok(rows);
        }
        page_token = page.next_page_token;
    }
}

/// The figures of a node, and how they are wanted.
#[derive(Debug)]
pub(super) struct View {
    pub(super) answer: ViewResponse,
    /// What rules failed at.
    pub(super) failed: Vec<RuleFinding>,
    /// Whether an earlier moment was asked for.
    pub(super) past: bool,
    /// Rows of list tables by table.
    pub(super) lists: HashMap<String, Vec<ShownRow>>,
    /// The form set, if a rule fails on the sums.
    pub(super) form: Option<FormSet>,
    pub(super) money: Money,
    pub(super) children: bool,
    /// Whether it is shown as it was reviewed.
    pub(super) reviewed: bool,
    pub(super) column: Option<String>,
}

impl View {
    fn heading(&self, look: &Look) -> String {
        let answer = &self.answer;
        let language = look.language;
        let facts = [
            ("node", node_title(&answer.node, &answer.name)),
            ("year", answer.year.to_string()),
            ("round", round_name(answer.round, language).to_owned()),
            ("position", answer.position.to_string()),
            ("filings", answer.filings.to_string()),
            ("expected", answer.expected.to_string()),
            ("tree", answer.tree_version.to_string()),
            ("form_set", answer.form_set.clone()),
            ("digest", short_digest(&answer.form_set_digest)),
        ];
        let facts = facts.each_ref().map(|(key, value)| (*key, value.as_str()));
        let mut out =
            format!("{}\n{}\n", strong(&say(language, "view-title", &facts)), say(language, "view-state", &facts));
        if self.reviewed {
            let n = self.answer.reviewed.to_string();
            let key = if self.answer.reviewed == 0 { "view-reviewed-none" } else { "view-reviewed" };
            out.push_str(&format!("  {}\n", strong(&say(language, key, &[("n", &n)]))));
        }
        if self.past {
            out.push_str(&format!("  {}\n", as_of(answer.position, answer.time_ms, true, language)));
        }
        out
    }

    fn table(&self, table: &ShownTable, look: &Look) -> String {
        let language = look.language;
        let mut out = format!("\n{}\n", strong(&format!("{} {}（{}）", table.name, table.title, table.id)));
        if table.filings == 0 {
            out.push_str(&format!("  {}\n", label("table-missing", language)));
            return out;
        }
        if table.empty >= table.filings {
            out.push_str(&format!("  {}\n", label("table-empty", language)));
            return out;
        }
        if self.children {
            let children: Vec<Side<'_>> = self
                .answer
                .children
                .iter()
                .map(|child| Side {
                    title: match child.code == self.answer.node {
                        true => say(language, "side-own", &[("node", &child.code)]),
                        false => node_title(&child.code, &child.name),
                    },
                    filed: child.filings > 0,
                    table: child.tables.iter().find(|other| other.id == table.id),
                })
                .collect();
            out.push_str(&side_by_side(table, &children, self.column.as_deref(), self.money, look));
        } else {
            let total = table.rows.iter().filter(|row| !self.lists.contains_key(&table.id) || row.level == 0);
            let listed = self.lists.get(&table.id).into_iter().flatten();
            let rows: Vec<&ShownRow> = total.chain(listed).collect();
            if rows.is_empty() && table.roll_up == "none" {
                out.push_str(&format!("  {}\n", label("table-not-summed", language)));
            } else {
                out.push_str(&card_or_grid(table, &rows, self.money, look));
            }
        }
        // A difference form moves a total without being anybody's filing: whoever reads one is told.
        let adjusted = table.rows.iter().filter(|row| row.cells.iter().any(|cell| !cell.adjusted.is_empty())).count();
        if adjusted > 0 && !self.children {
            out.push_str(&format!("  {}\n", say(language, "view-adjusted", &[("n", &adjusted.to_string())])));
        }
        let count = |key: &str, n: u32, of: u32| say(language, key, &[("n", &n.to_string()), ("of", &of.to_string())]);
        if table.empty > 0 {
            out.push_str(&format!("  {}\n", count("table-partly-empty", table.empty, table.filings)));
        }
        if table.filings < self.answer.filings {
            out.push_str(&format!("  {}\n", count("table-partly-missing", table.filings, self.answer.filings)));
        }
        out
    }
}

impl View {
    /// How the rules come out on the sums, and where they fail.
    fn rules(&self, look: &Look) -> String {
        let counts = self.answer.rule_counts.unwrap_or_default();
        if counts == api::RuleCounts::default() {
            return String::new();
        }
        let checked = checked(Some(counts), &self.failed);
        let mut out = format!("\n{}\n", strong(label("view-rules", look.language)));
        out.push_str(&format!("  {}\n", rules::counts(checked.counts, look.language)));
        if let Some(form) = &self.form {
            out.push_str(&rules::failures(form, &checked, look));
        }
        out
    }
}

impl Show for View {
    fn text(&self, look: &Look) -> String {
        let tables: String = self.answer.tables.iter().map(|table| self.table(table, look)).collect();
        self.heading(look) + &tables + &transfers(&self.answer.transfers, look) + &self.rules(look)
    }

    fn json(&self) -> Value {
        let answer = &self.answer;
        let children: Vec<Value> = answer
            .children
            .iter()
            .map(|child| {
                json!({
                    "node": child.code,
                    "name": child.name,
                    "filings": child.filings,
                    "tables": child.tables.iter().map(|table| table_json(table, &[])).collect::<Vec<_>>(),
                })
            })
            .collect();
        let list = |id: &str| self.lists.get(id).map_or(&[][..], Vec::as_slice);
        json!({
            "node": answer.node,
            "name": answer.name,
            "year": answer.year,
            "round": round_code(answer.round),
            "position": answer.position,
            // How many submissions have reviewed figures, where these are shown.
            "reviewed": self.reviewed.then_some(answer.reviewed),
            "tree_version": answer.tree_version,
            "form_set": answer.form_set,
            "form_set_digest": super::words::hex(&answer.form_set_digest),
            "filings": answer.filings,
            "expected": answer.expected,
            "tables": answer.tables.iter().map(|table| table_json(table, list(&table.id))).collect::<Vec<_>>(),
            "children": children,
            "rules": rules_json(answer, &self.failed),
            "transfers": answer.transfers.iter().map(transfer_json).collect::<Vec<_>>(),
        })
    }

    fn sheet(&self) -> Sheet {
        let columns = vec![
            "node",
            "table",
            "unit",
            "row",
            "label",
            "level",
            "column",
            "column_label",
            "type",
            "value",
            "exact",
            "slack",
            "reported",
            "adjusted",
            "eliminated",
            "year",
            "round",
            "position",
            "basis",
        ];
        // A file goes from hand to hand without its heading: each line says of when it is, and by which figures.
        let (year, position) = (self.answer.year.to_string(), self.answer.position.to_string());
        let basis = if self.reviewed { "reviewed" } else { "filed" };
        let mut rows = Vec::new();
        let nodes = std::iter::once((&self.answer.node, &self.answer.tables))
            .chain(self.answer.children.iter().map(|child| (&child.code, &child.tables)));
        for (node, tables) in nodes {
            for table in tables {
                let own = *node == self.answer.node;
                let list = self.lists.get(&table.id).filter(|_| own);
                let total = table.rows.iter().filter(|row| list.is_none() || row.level == 0);
                for row in total.chain(list.into_iter().flatten()) {
                    for (column, cell) in table.columns.iter().zip(&row.cells) {
                        rows.push(vec![
                            node.clone(),
                            table.id.clone(),
                            row.unit.clone(),
                            row.key.clone(),
                            row.label.clone(),
                            row.level.to_string(),
                            column.id.clone(),
                            column.label.clone(),
                            column.r#type.clone(),
                            cell.value.to_string(),
                            cell.exact.to_string(),
                            cell.slack.to_string(),
                            cell.reported.to_string(),
                            cell.adjusted.to_string(),
                            cell.eliminated.to_string(),
                            year.clone(),
                            round_code(self.answer.round).to_owned(),
                            position.clone(),
                            basis.to_owned(),
                        ]);
                    }
                }
            }
        }
        Sheet { columns, rows }
    }
}

fn rules_json(answer: &ViewResponse, failed: &[RuleFinding]) -> Value {
    let counts = answer.rule_counts.unwrap_or_default();
    let finding = |finding: &RuleFinding| json!({ "rule": finding.rule, "table": finding.table, "row": finding.row, "column": finding.column });
    json!({
        "pass": counts.pass,
        "pass_by_rounding": counts.pass_by_rounding,
        "fail": counts.fail,
        "not_evaluable": counts.not_evaluable,
        "failed": failed.iter().map(finding).collect::<Vec<_>>(),
    })
}

fn table_json(table: &ShownTable, listed: &[ShownRow]) -> Value {
    let columns: Vec<Value> = table
        .columns
        .iter()
        .map(|column| {
            json!({
                "id": column.id,
                "label": column.label,
                "type": column.r#type,
                "assigned": column.assigned,
                "grouped": column.grouped,
            })
        })
        .collect();
    let total = table.rows.iter().filter(|row| listed.is_empty() || row.level == 0);
    json!({
        "id": table.id,
        "name": table.name,
        "title": table.title,
        "filings": table.filings,
        "empty": table.empty,
        "roll_up": table.roll_up,
        "listed": table.listed,
        "columns": columns,
        "rows": total.chain(listed).map(|row| row_json(table, row)).collect::<Vec<_>>(),
    })
}

fn row_json(table: &ShownTable, row: &ShownRow) -> Value {
    let cells = table.columns.iter().zip(&row.cells).map(|(column, cell)| (column.id.clone(), cell_json(cell)));
    json!({
        "row": row.key,
        "label": row.label,
        "level": row.level,
        "unit": row.unit,
        "cells": cells.collect::<serde_json::Map<_, _>>(),
    })
}

/// Internal transfers between the units below: what was taken off the sums, and what is still open.
fn transfers(transfers: &[InternalTransfer], look: &Look) -> String {
    if transfers.is_empty() {
        return String::new();
    }
    let word = |key| label(key, look.language);
    let mut grid = Grid::new()
        .text(word("head-unit"))
        .text(word("head-counterparty"))
        .text(word("head-transfer"))
        .figures(word("head-own-amount"))
        .figures(word("head-other-amount"))
        .text("");
    for transfer in transfers {
        let standing = match transfer.standing() {
            TransferStanding::Eliminated => word("transfer-eliminated"),
            TransferStanding::Differs => word("transfer-differs"),
            TransferStanding::OneSided => word("transfer-one-sided"),
            TransferStanding::Unspecified => "",
        };
        grid.row(vec![
            node_title(&transfer.unit, &transfer.name),
            node_title(&transfer.counterparty, &transfer.counterparty_name),
            transfer.title.clone(),
            grouped(&transfer.amount),
            grouped(&transfer.counterparty_amount),
            standing.to_owned(),
        ]);
    }
    format!("\n{}\n{}", strong(word("transfers-title")), grid.draw(look))
}

fn transfer_json(transfer: &InternalTransfer) -> Value {
    let standing = match transfer.standing() {
        TransferStanding::Eliminated => "eliminated",
        TransferStanding::Differs => "differs",
        TransferStanding::OneSided => "one_sided",
        TransferStanding::Unspecified => "",
    };
    json!({
        "unit": transfer.unit,
        "name": transfer.name,
        "counterparty": transfer.counterparty,
        "counterparty_name": transfer.counterparty_name,
        "title": transfer.title,
        "amount": transfer.amount,
        "counterparty_amount": transfer.counterparty_amount,
        "standing": standing,
    })
}

/// A cell for programs; what is empty is left out.
pub(super) fn cell_json(cell: &ShownCell) -> Value {
    let parts = [
        ("exact", &cell.exact),
        ("slack", &cell.slack),
        ("reported", &cell.reported),
        ("adjusted", &cell.adjusted),
        ("eliminated", &cell.eliminated),
    ];
    let mut value = json!({ "value": cell.value.as_str() });
    if let Some(value) = value.as_object_mut() {
        let said = parts.into_iter().filter(|(_, text)| !text.is_empty());
        value.extend(said.map(|(name, text)| (name.to_owned(), Value::from(text.as_str()))));
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::figures::samples::{sample_node, sample_table};
    use crate::wording::Language;

    const LOOK: Look = Look { language: Language::Chinese, width: None, colour: false };

    fn view(tables: Vec<ShownTable>) -> View {
        let answer = ViewResponse { tables, ..sample_node() };
        View {
            failed: Vec::new(),
            answer,
            past: false,
            lists: HashMap::new(),
            form: None,
            money: Money::AsPrinted,
            children: false,
            reviewed: false,
            column: None,
        }
    }

    fn text(view: &View) -> String {
        crate::cli::output::finish(&view.text(&LOOK), false)
    }

    #[test]
    fn a_view_says_of_what_and_when_it_is() {
        insta::assert_snapshot!(text(&view(vec![sample_table()])), @r#"
        407 人社局 · 2024 年二上
          已报 2 / 应报 3 · 截至第 9 号记录 · 单位树第 1 版 · 报表格式 x-2024（cdcdcdcdcdcd）

        甲表 样表（A1）
          单位：万元
        行     名称             合计
        -----------------------------
        合计               42,750.33
        901    甲类支出    42,750.33
        90101  　人力资源
        "#);
    }

    /// A file is passed on without the command that made it.
    #[test]
    fn each_line_of_a_csv_says_of_when_it_is_and_by_which_figures() {
        for (reviewed, basis) in [(false, "filed"), (true, "reviewed")] {
            let sheet = View { reviewed, ..view(vec![sample_table()]) }.sheet();
            assert!(sheet.columns.ends_with(&["year", "round", "position", "basis"]));
            assert!(!sheet.rows.is_empty());
            for row in &sheet.rows {
                assert_eq!(row.len(), sheet.columns.len());
                assert!(row.ends_with(&["2024", "second", "9", basis].map(str::to_owned)), "{row:?}");
            }
        }
    }

    #[test]
    fn missing_and_empty_on_purpose_are_told_apart() {
        let missing = ShownTable { filings: 0, rows: vec![], ..sample_table() };
        let empty = ShownTable { filings: 2, empty: 2, rows: vec![], ..sample_table() };
        let text = text(&view(vec![missing, empty]));
        assert!(text.contains("未报送") && text.contains("本表无数据"), "{text}");
    }

    #[test]
    fn programs_get_every_cell() {
        let view = view(vec![sample_table()]);
        let sheet = view.sheet();
        assert_eq!(sheet.rows.len(), 6);
        assert!(sheet.rows.iter().all(|row| row.len() == sheet.columns.len()));
        assert_eq!(view.json()["tables"][0]["rows"][0]["cells"]["total"]["exact"], "427503300.00");
    }
}
