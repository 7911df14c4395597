//! `control history`: the change track (修订轨迹) of control figures.

use serde_json::{Value, json};

use super::super::client::Client;
use super::super::node_title;
use super::super::notes::ceiling_strength;
use super::super::output::{Answer, Failure, Grid, Look, Sheet, Show, strong};
use super::super::settings::Settings;
use super::super::words::{grouped, say, time, time_for_programs};
use super::give::affected_text;
use super::{HistoryArgs, figure_json, over_json};
use crate::proto::api::{self, ControlFigure, ControlRevision};
use crate::wording::{Language, label};

pub(super) async fn history(args: HistoryArgs, settings: &Settings) -> Result<Answer, Failure> {
    let client = Client::connect(settings).await?;
    let scope = args.times.scope(&args.node, None);
    let mut revisions = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = api::ListControlChangesRequest {
            node: scope.node.clone(),
            year: scope.year,
            round: scope.round,
            cell: args.cell.clone(),
            page_size: 0,
            page_token,
        };
        let answer = client.control_figures().list_control_changes(request).await;
        let answer = answer.map_err(|status| client.failure(&status))?.into_inner();
        revisions.extend(answer.revisions);
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            return Ok(settings.answer(&Track(revisions)));
        }
    }
}

/// The change track.
#[derive(Debug)]
struct Track(Vec<ControlRevision>);

/// What became of a ceiling, for programs.
pub(in crate::cli) fn change_json(change: &api::ControlChange) -> Value {
    json!({
        "unit": change.unit,
        "unit_name": change.unit_name,
        "cell": change.cell,
        "before": change.before.as_ref().map(figure_json),
        "after": change.after.as_ref().map(figure_json),
    })
}

/// `1,234.00 万元 硬性`.
pub(in crate::cli) fn ceiling(figure: Option<&ControlFigure>, language: Language) -> String {
    let Some(figure) = figure else { return "–".to_owned() };
    format!("{} {} {}", grouped(&figure.ceiling), figure.amount_unit, ceiling_strength(&figure.strength, language))
}

impl Show for Track {
    fn text(&self, look: &Look) -> String {
        let language = look.language;
        let word = |key| label(key, language);
        if self.0.is_empty() {
            return format!("{}\n", word("control-no-changes"));
        }
        let mut out = String::new();
        for revision in &self.0 {
            let facts = [
                ("version", revision.version.to_string()),
                ("position", revision.position.to_string()),
                ("time", time(revision.time_ms)),
                ("actor", revision.actor.clone()),
            ];
            let facts = facts.each_ref().map(|(key, value)| (*key, value.as_str()));
            out.push_str(&format!("{}\n", strong(&say(language, "control-revision", &facts))));
            if !revision.reason.is_empty() {
                out.push_str(&format!("  {}\n", say(language, "control-reason", &[("reason", &revision.reason)])));
            }
            let mut grid = Grid::new()
                .text(word("head-unit"))
                .text(word("head-cell"))
                .figures(word("head-from"))
                .figures(word("head-to"));
            for change in &revision.changes {
                grid.row(vec![
                    node_title(&change.unit, &change.unit_name),
                    change.cell.clone(),
                    ceiling(change.before.as_ref(), language),
                    ceiling(change.after.as_ref(), language),
                ]);
            }
            out.push_str(&grid.draw(look));
            out.push_str(&affected_text(&revision.affected, look));
            out.push('\n');
        }
        out
    }

    fn json(&self) -> Value {
        let revision = |revision: &ControlRevision| {
            json!({
                "position": revision.position,
                "time": time_for_programs(revision.time_ms),
                "actor": revision.actor,
                "version": revision.version,
                "reason": revision.reason,
                "changes": revision.changes.iter().map(change_json).collect::<Vec<_>>(),
                "affected": revision.affected.iter().map(over_json).collect::<Vec<_>>(),
            })
        };
        json!({ "revisions": self.0.iter().map(revision).collect::<Vec<_>>() })
    }

    fn sheet(&self) -> Sheet {
        let columns = vec![
            "position",
            "time",
            "actor",
            "version",
            "reason",
            "unit",
            "cell",
            "before",
            "after",
            "amount_unit",
            "strength",
        ];
        let row = |revision: &ControlRevision, change: &api::ControlChange| {
            let (before, after) = (change.before.clone().unwrap_or_default(), change.after.clone().unwrap_or_default());
            let now = if change.after.is_some() { &after } else { &before };
            vec![
                revision.position.to_string(),
                time_for_programs(revision.time_ms),
                revision.actor.clone(),
                revision.version.to_string(),
                revision.reason.clone(),
                change.unit.clone(),
                change.cell.clone(),
                before.ceiling.clone(),
                after.ceiling.clone(),
                now.amount_unit.clone(),
                now.strength.clone(),
            ]
        };
        let rows = |revision: &ControlRevision| -> Vec<Vec<String>> {
            revision.changes.iter().map(|change| row(revision, change)).collect()
        };
        Sheet { columns, rows: self.0.iter().flat_map(rows).collect() }
    }
}
