//! `control`: issues control figures from a CSV, and lists those in force with the headroom that is left.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::attempt::Attempt;
use super::client::Client;
use super::notes::{ceiling_strength, judgement_json};
use super::output::{Answer, Failure, Grid, Look, Sheet, Show, strong};
use super::settings::Settings;
use super::table_file::{TableFile, receipt};
use super::words::{grouped, say};
use super::{Done, node_title};
use super::{Moment, Times};
use crate::budget::cell::CellAddress;
use crate::proto::api::{self, ControlFigure, ListControlFiguresResponse};
use crate::wording::label;

/// What `control` is told.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Verb {
    /// Issues the figures of a CSV.
    Issue(IssueArgs),
    /// Lists the figures in force.
    List(ListArgs),
}

/// What `control issue` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct IssueArgs {
    #[arg(value_name = "FILE.csv")]
    pub(super) csv: PathBuf,
    #[arg(long, value_name = "ID")]
    pub(super) form_set: String,
    #[command(flatten)]
    pub(super) times: Times,
}

/// What `control list` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct ListArgs {
    #[arg(default_value = "", hide_default_value = true)]
    pub(super) node: String,
    #[command(flatten)]
    pub(super) times: Times,
    #[command(flatten)]
    pub(super) moment: Moment,
}

/// Runs `control`.
///
/// # Errors
/// A file that can't be read, a refusal, or a server that can't be reached.
pub async fn run(verb: Verb, settings: &Settings) -> Result<Answer, Failure> {
    match verb {
        Verb::Issue(args) => issue(args, settings).await,
        Verb::List(args) => list(args, settings).await,
    }
}

async fn issue(args: IssueArgs, settings: &Settings) -> Result<Answer, Failure> {
    let columns = ["node", "table", "row", "column", "amount_unit", "ceiling", "strength"];
    let file = TableFile::read(&args.csv, &columns, settings)?;
    let Some(year) = args.times.year else { return Err(Failure::Usage(settings.label("year-needed").to_owned())) };
    let figures = file.rows.iter().map(|row| {
        let [unit, table, line, column, amount_unit, ceiling, strength] = row.each_ref().map(String::as_str);
        ControlFigure {
            unit: unit.to_owned(),
            cell: CellAddress::new(table, line, column).to_string(),
            ceiling: ceiling.to_owned(),
            amount_unit: amount_unit.to_owned(),
            strength: strength.to_owned(),
        }
    });
    let client = Client::connect(settings).await?;
    let round = args.times.round();
    let (actor, year_text, round_text) = (settings.actor_text(), year.to_string(), round.as_str_name());
    let request = [&settings.server, &actor, "control", &args.form_set, &year_text, round_text].map(str::as_bytes);
    let attempt = Attempt::open(&args.csv, &[&request[..], &[&file.bytes[..]]].concat());
    let request = api::IssueControlFiguresRequest {
        idempotency_key: attempt.key().to_owned(),
        year: u32::from(year),
        round: i32::from(round),
        form_set: args.form_set,
        figures: figures.collect(),
    };
    let answer = client.control_figures().issue_control_figures(request).await;
    let answer = receipt(answer, attempt, &client)?;
    let facts = [
        ("n", answer.figures.to_string()),
        ("version", answer.version.to_string()),
        ("position", answer.position.to_string()),
    ];
    let json = json!({
        "figures": answer.figures,
        "version": answer.version,
        "position": answer.position,
        "repeated": answer.repeated,
    });
    Ok(settings.answer(&Done::new("control-issued", &facts, answer.repeated, json)))
}

async fn list(args: ListArgs, settings: &Settings) -> Result<Answer, Failure> {
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
            .figures(word("head-filed"))
            .figures(word("head-headroom"))
            .text(word("head-amount-unit"))
            .text(word("head-ceiling-strength"))
            .text("");
        for listed in &self.0.figures {
            let judgement = listed.judgement.clone().unwrap_or_default();
            let remark = match (listed.submitted, judgement.over) {
                (false, _) => word("not-filed"),
                (true, true) => word("over"),
                (true, false) => "",
            };
            grid.row(vec![
                node_title(&listed.unit, &listed.unit_name),
                judgement.cell.clone(),
                grouped(&judgement.ceiling),
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
            ]
        };
        Sheet { columns, rows: self.0.figures.iter().map(row).collect() }
    }
}

/// A control figure for programs.
pub(super) fn figure_json(figure: &ControlFigure) -> Value {
    json!({
        "unit": figure.unit,
        "cell": figure.cell,
        "ceiling": figure.ceiling,
        "amount_unit": figure.amount_unit,
        "strength": figure.strength,
    })
}
