//! `control list`: the control figures in force, what is filed and split under each, and what is left.

use serde_json::{Value, json};

use super::super::client::Client;
use super::super::node_title;
use super::super::notes::{ceiling_strength, judgement_json};
use super::super::output::{Answer, Failure, Grid, Look, Sheet, Show, strong};
use super::super::settings::Settings;
use super::super::words::{grouped, say};
use super::{NodeArgs, standing};
use crate::proto::api::{self, ListControlFiguresResponse};
use crate::wording::label;

pub(super) async fn list(args: NodeArgs, settings: &Settings) -> Result<Answer, Failure> {
    let client = Client::connect(settings).await?;
    let scope = args.times.scope(&args.node, None);
    let request = api::ListControlFiguresRequest {
        node: scope.node,
        year: scope.year,
        round: scope.round,
        as_of: args.moment.as_of,
    };
    let answer = client.control_figures().list_control_figures(request).await;
    let answer = answer.map_err(|status| client.failure(&status))?.into_inner();
    Ok(settings.answer(&Ceilings(answer)))
}

/// The control figures in force.
#[derive(Debug)]
struct Ceilings(ListControlFiguresResponse);

impl Show for Ceilings {
    fn text(&self, look: &Look) -> String {
        let language = look.language;
        let word = |key| label(key, language);
        let facts = [("version", self.0.version.to_string()), ("n", self.0.position.to_string())];
        let facts = facts.each_ref().map(|(key, value)| (*key, value.as_str()));
        let mut out = format!("{}\n", strong(&say(language, "control-title", &facts)));
        out.push_str(&format!("  {}\n", say(language, "as-of", &facts)));
        if self.0.figures.is_empty() {
            return out + &format!("  {}\n", word("control-nothing"));
        }
        let mut grid = Grid::new()
            .text(word("head-unit"))
            .text(word("head-cell"))
            .figures(word("head-ceiling"))
            .figures(word("head-split"))
            .figures(word("head-filed"))
            .figures(word("head-headroom"))
            .text(word("head-amount-unit"))
            .text(word("head-ceiling-strength"))
            .text("");
        for listed in &self.0.figures {
            let judgement = listed.judgement.clone().unwrap_or_default();
            let remark = match listed.submitted {
                false => word("not-filed"),
                true => standing(judgement.over, &judgement.filed, &judgement.ceiling, language),
            };
            grid.row(vec![
                node_title(&listed.unit, &listed.unit_name),
                judgement.cell.clone(),
                grouped(&judgement.ceiling),
                zero_blank(&listed.split),
                if listed.submitted { grouped(&judgement.filed) } else { String::new() },
                grouped(&judgement.headroom),
                judgement.amount_unit.clone(),
                ceiling_strength(&judgement.strength, language),
                remark.to_owned(),
            ]);
        }
        out.push('\n');
        out + &grid.draw(look)
    }

    fn json(&self) -> Value {
        let figures: Vec<Value> = self
            .0
            .figures
            .iter()
            .map(|listed| {
                json!({
                    "unit": listed.unit,
                    "unit_name": listed.unit_name,
                    "submitted": listed.submitted,
                    "split": listed.split,
                    "by": listed.by,
                    "judgement": listed.judgement.as_ref().map(judgement_json),
                })
            })
            .collect();
        json!({ "version": self.0.version, "position": self.0.position, "figures": figures })
    }

    fn sheet(&self) -> Sheet {
        let columns = vec![
            "unit",
            "unit_name",
            "cell",
            "ceiling",
            "filed",
            "headroom",
            "amount_unit",
            "strength",
            "over",
            "submitted",
            "split",
            "by",
        ];
        let yes = |is: bool| (if is { "yes" } else { "no" }).to_owned();
        let row = |listed: &api::ListedControlFigure| {
            let judgement = listed.judgement.clone().unwrap_or_default();
            vec![
                listed.unit.clone(),
                listed.unit_name.clone(),
                judgement.cell,
                judgement.ceiling,
                judgement.filed,
                judgement.headroom,
                judgement.amount_unit,
                judgement.strength,
                yes(judgement.over),
                yes(listed.submitted),
                listed.split.clone(),
                listed.by.clone(),
            ]
        };
        Sheet { columns, rows: self.0.figures.iter().map(row).collect() }
    }
}

/// An amount, or nothing if nothing was split.
fn zero_blank(amount: &str) -> String {
    if amount == "0.00" { String::new() } else { grouped(amount) }
}
