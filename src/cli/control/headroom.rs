//! `control headroom`: per cell what a node may still file or split, and who is above a ceiling.

use serde_json::{Value, json};

use super::super::client::Client;
use super::super::notes::ceiling_strength;
use super::super::output::{Answer, Failure, Grid, Look, Sheet, Show, strong};
use super::super::settings::Settings;
use super::super::words::{grouped, say};
use super::give::affected_text;
use super::{NodeArgs, over_json, standing};
use crate::proto::api::{self, GetHeadroomResponse};
use crate::wording::label;

pub(super) async fn headroom(args: NodeArgs, settings: &Settings) -> Result<Answer, Failure> {
    let client = Client::connect(settings).await?;
    let scope = args.times.scope(&args.node, None);
    let request =
        api::GetHeadroomRequest { node: scope.node, year: scope.year, round: scope.round, as_of: args.moment.as_of };
    let answer = client.control_figures().get_headroom(request).await;
    let answer = answer.map_err(|status| client.failure(&status))?.into_inner();
    Ok(settings.answer(&Left(answer)))
}

/// What is left of each ceiling.
#[derive(Debug)]
struct Left(GetHeadroomResponse);

impl Show for Left {
    fn text(&self, look: &Look) -> String {
        let language = look.language;
        let word = |key| label(key, language);
        let facts = [("version", self.0.version.to_string()), ("n", self.0.position.to_string())];
        let facts = facts.each_ref().map(|(key, value)| (*key, value.as_str()));
        let mut out = format!("{}\n", strong(&say(language, "control-headroom-title", &facts)));
        out.push_str(&format!("  {}\n", say(language, "as-of", &facts)));
        if self.0.lines.is_empty() {
            return out + &format!("  {}\n", word("control-headroom-nothing"));
        }
        let mut grid = Grid::new()
            .text(word("head-cell"))
            .text(word("head-holder"))
            .figures(word("head-ceiling"))
            .figures(word("head-split"))
            .figures(word("head-filed"))
            .figures(word("head-left"))
            .text(word("head-amount-unit"))
            .text(word("head-ceiling-strength"))
            .text("");
        for line in &self.0.lines {
            grid.row(vec![
                line.cell.clone(),
                line.holder.clone(),
                grouped(&line.ceiling),
                grouped(&line.split),
                grouped(&line.filed),
                grouped(&line.left),
                line.amount_unit.clone(),
                ceiling_strength(&line.strength, language),
                standing(line.left.starts_with('-'), &line.filed, &line.ceiling, language).to_owned(),
            ]);
        }
        out.push('\n');
        out + &grid.draw(look) + &affected_text(&self.0.over, look)
    }

    fn json(&self) -> Value {
        let line = |line: &api::Headroom| {
            json!({
                "cell": line.cell,
                "holder": line.holder,
                "ceiling": line.ceiling,
                "split": line.split,
                "filed": line.filed,
                "left": line.left,
                "amount_unit": line.amount_unit,
                "strength": line.strength,
            })
        };
        json!({
            "version": self.0.version,
            "position": self.0.position,
            "lines": self.0.lines.iter().map(line).collect::<Vec<_>>(),
            "over": self.0.over.iter().map(over_json).collect::<Vec<_>>(),
        })
    }

    fn sheet(&self) -> Sheet {
        let columns = vec!["cell", "holder", "ceiling", "split", "filed", "left", "amount_unit", "strength"];
        let row = |line: &api::Headroom| {
            let texts = [
                &line.cell,
                &line.holder,
                &line.ceiling,
                &line.split,
                &line.filed,
                &line.left,
                &line.amount_unit,
                &line.strength,
            ];
            texts.into_iter().cloned().collect()
        };
        Sheet { columns, rows: self.0.lines.iter().map(row).collect() }
    }
}
