//! `history --cell`: every value that a cell had.

use serde_json::{Value, json};

use super::client::Client;
use super::diff::value;
use super::figures::{difference_text, unit_note};
use super::output::{Answer, Failure, Grid, Look, Sheet, Show, strong};
use super::review_events::step_code;
use super::settings::Settings;
use super::view::cell_json;
use super::words::{say, time, time_for_programs};
use super::{history, node_title};
use crate::proto::api::{self, CellValue, ColumnHead};
use crate::wording::label;

const PAGE_VALUES: u32 = 1_000;

/// The values of a cell.
pub(super) async fn of_cell(args: &history::Args, cell: &str, settings: &Settings) -> Result<Answer, Failure> {
    let client = Client::connect(settings).await?;
    let scope = args.times.scope(&args.node, args.form_set.as_deref());
    let mut request = api::GetCellHistoryRequest {
        node: scope.node,
        year: scope.year,
        round: scope.round,
        form_set: scope.form_set,
        cell: cell.to_owned(),
        as_of: args.moment.as_of,
        page_size: PAGE_VALUES,
        page_token: String::new(),
    };
    let mut values = Vec::new();
    loop {
        let answer = client.audit().get_cell_history(request.clone()).await;
        let page = answer.map_err(|status| client.failure(&status))?.into_inner();
        values.extend(page.values);
        if page.next_page_token.is_empty() {
            let column = ColumnHead {
                label: page.column_label,
                r#type: page.column_type,
                grouped: page.grouped,
                ..ColumnHead::default()
            };
            let title = [page.table_name, page.row_label, column.label.clone()];
            let node = node_title(&args.node, &page.name);
            let cell = cell.to_owned();
            return Ok(settings.answer(&CellHistory { node, cell, title, column, values, position: page.position }));
        }
        request.page_token = page.next_page_token;
    }
}

/// The values that a cell had.
#[derive(Debug)]
struct CellHistory {
    node: String,
    cell: String,
    title: [String; 3],
    column: ColumnHead,
    values: Vec<CellValue>,
    position: u64,
}

impl Show for CellHistory {
    fn text(&self, look: &Look) -> String {
        let language = look.language;
        let word = |key| label(key, language);
        let title: Vec<&str> = self.title.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
        let facts = [("node", self.node.as_str()), ("title", &title.join(" · ")), ("cell", &self.cell)];
        let mut out = format!("{}\n", strong(&say(language, "cell-history-title", &facts)));
        out.push_str(&format!("  {}\n", say(language, "as-of", &[("n", &self.position.to_string())])));
        if self.values.is_empty() {
            return out + &format!("  {}\n", word("cell-history-nothing"));
        }
        let (unit, _) = unit_note([&self.column].into_iter(), language);
        if !unit.is_empty() {
            out.push_str(&format!("  {unit}\n"));
        }
        let mut grid = Grid::new()
            .figures(word("head-position"))
            .text(word("head-time"))
            .text(word("head-actor"))
            .figures(word("head-before"))
            .figures(word("head-after"))
            .figures(word("head-difference"))
            .text(word("head-caused-by"));
        for one in &self.values {
            let event = api::DiffEvent {
                kind: one.kind.clone(),
                unit: one.unit.clone(),
                version: one.version,
                step: one.step,
                reason: one.reason.clone(),
                ..api::DiffEvent::default()
            };
            grid.row(vec![
                one.position.to_string(),
                time(one.time_ms),
                one.actor.clone(),
                value(one.from.as_ref(), &self.column, language),
                value(one.to.as_ref(), &self.column, language),
                difference_text(&one.difference, &self.column),
                super::diff::what(&event, language),
            ]);
        }
        out + &grid.draw(look)
    }

    fn json(&self) -> Value {
        let one = |one: &CellValue| {
            json!({
                "position": one.position,
                "time": time_for_programs(one.time_ms),
                "actor": one.actor,
                "event": one.kind,
                "unit": one.unit,
                "version": one.version,
                "step": step_code(one.step),
                "reason": one.reason,
                "from": one.from.as_ref().map(cell_json),
                "to": one.to.as_ref().map(cell_json),
                "difference": one.difference,
            })
        };
        json!({ "cell": self.cell, "position": self.position, "values": self.values.iter().map(one).collect::<Vec<_>>() })
    }

    fn sheet(&self) -> Sheet {
        let columns = vec!["position", "time", "actor", "event", "unit", "version", "from", "to", "difference"];
        let row = |one: &CellValue| {
            vec![
                one.position.to_string(),
                time_for_programs(one.time_ms),
                one.actor.clone(),
                one.kind.clone(),
                one.unit.clone(),
                one.version.to_string(),
                one.from.clone().unwrap_or_default().value.into_string(),
                one.to.clone().unwrap_or_default().value.into_string(),
                one.difference.clone(),
            ]
        };
        Sheet { columns, rows: self.values.iter().map(row).collect() }
    }
}
