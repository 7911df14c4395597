//! `control`: issues and splits control figures from a CSV, lists those in force, tells their change track, and what is left.

pub(super) mod give;
mod headroom;
pub(super) mod history;
mod list;

use std::path::PathBuf;

use serde_json::{Value, json};

use super::output::{Answer, Failure};
use super::settings::Settings;
use super::{Moment, Times};
use crate::budget::money::Money;
use crate::proto::api::{ControlFigure, OverCeiling};
use crate::wording::{Language, label};

/// What `control` is told.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Verb {
    /// Issues the figures of a CSV.
    Issue(GiveArgs),
    /// Splits the asker's own among those below it.
    Split(GiveArgs),
    /// Lists the figures in force.
    List(NodeArgs),
    /// Tells what was changed, when, by whom and why.
    History(HistoryArgs),
    /// Says what is left.
    Headroom(NodeArgs),
}

/// What `control issue` and `control split` are told.
#[derive(Clone, Debug, clap::Args)]
#[command(mut_arg("year", |arg| arg.required(true)))]
pub struct GiveArgs {
    #[arg(value_name = "FILE.csv")]
    pub(super) csv: PathBuf,
    #[arg(long, value_name = "ID")]
    pub(super) form_set: String,
    #[arg(id = "change_reason", value_name = "REASON", default_value = "", hide_default_value = true)]
    pub(super) reason: String,
    #[arg(long)]
    pub(super) mark_over: bool,
    #[arg(long, id = "check_only")]
    pub(super) dry_run: bool,
    #[command(flatten)]
    pub(super) times: Times,
}

/// What `control list` and `control headroom` are told.
#[derive(Clone, Debug, clap::Args)]
pub struct NodeArgs {
    #[arg(default_value = "", hide_default_value = true)]
    pub(super) node: String,
    #[command(flatten)]
    pub(super) times: Times,
    #[command(flatten)]
    pub(super) moment: Moment,
}

/// What `control history` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct HistoryArgs {
    #[arg(default_value = "", hide_default_value = true)]
    pub(super) node: String,
    #[arg(long, value_name = "CELL", default_value = "", hide_default_value = true)]
    pub(super) cell: String,
    #[command(flatten)]
    pub(super) times: Times,
}

/// Runs `control`.
///
/// # Errors
/// A file that can't be read, a refusal, or a server that can't be reached.
pub async fn run(verb: Verb, settings: &Settings) -> Result<Answer, Failure> {
    match verb {
        Verb::Issue(args) => give::give(args, give::Way::Issue, settings).await,
        Verb::Split(args) => give::give(args, give::Way::Split, settings).await,
        Verb::List(args) => list::list(args, settings).await,
        Verb::History(args) => history::history(args, settings).await,
        Verb::Headroom(args) => headroom::headroom(args, settings).await,
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

/// A version above a ceiling, for programs.
pub(super) fn over_json(over: &OverCeiling) -> Value {
    json!({
        "unit": over.unit,
        "unit_name": over.unit_name,
        "version": over.version,
        "holder": over.holder,
        "cell": over.cell,
        "filed": over.filed,
        "ceiling": over.ceiling,
        "over": over.over,
        "amount_unit": over.amount_unit,
        "strength": over.strength,
    })
}

/// What is said beside a ceiling: that it is exceeded, or that what was filed under it is more, since somebody below is above
/// a ceiling of their own that was cut.
fn standing(is_over: bool, filed: &str, ceiling: &str, language: Language) -> &'static str {
    let is_more = || Some(Money::parse_total(filed)? > Money::parse_total(ceiling)?);
    match (is_over, is_more()) {
        (true, _) => label("over", language),
        (false, Some(true)) => label("over-below", language),
        (false, _) => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_that_was_filed_than_a_ceiling_has_is_said_even_where_the_ceiling_has_room() {
        let said = |is_over, filed| standing(is_over, filed, "7000000.00", Language::English);
        assert_eq!([said(false, "7000000.00"), said(false, "")], ["", ""]);
        assert_eq!(said(true, "7367568.86"), "over");
        assert!(said(false, "7367568.86").starts_with("filed in all is more"));
    }
}
