//! The steps of review: `withdraw`, `return`, `opinion`, `accept`, `forward`, `approve` and `reopen`.
//!
//! Each names the version that was looked at: if another one was filed since, the service says so instead of acting.

use std::path::Path;

use serde_json::json;

use super::attempt::Attempt;
use super::client::Client;
use super::justify::parse_kind;
use super::output::{Answer, Failure};
use super::settings::Settings;
use super::table_file::receipt;
use super::{Done, Times};
use crate::proto::api::{self, ReturnedLine};

/// What a step on a version, or on a department's aggregate, is told.
#[derive(Clone, Debug, clap::Args)]
pub struct StepArgs {
    node: String,
    #[arg(long = "version", value_name = "N")]
    looked_at: u32,
    #[arg(long, conflicts_with = "kind")]
    aggregate: bool,
    #[arg(long, value_name = "unit|department|difference", default_value = "unit", value_parser = parse_kind)]
    kind: api::Kind,
    #[command(flatten)]
    times: Times,
    step_reason: Option<String>,
}

/// What `withdraw` and `accept` are told: an aggregate has neither.
#[derive(Clone, Debug, clap::Args)]
pub struct VersionArgs {
    node: String,
    #[arg(long = "version", value_name = "N")]
    looked_at: u32,
    #[arg(long, value_name = "unit|department|difference", default_value = "unit", value_parser = parse_kind)]
    kind: api::Kind,
    #[command(flatten)]
    times: Times,
    step_reason: Option<String>,
}

/// What `return` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct ReturnArgs {
    #[command(flatten)]
    step: StepArgs,
    #[arg(long = "line", value_name = "[RULE@]TABLE[/ROW[/COLUMN]][=TEXT]", value_parser = parse_line)]
    lines: Vec<ReturnedLine>,
}

/// What `opinion` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct OpinionArgs {
    #[command(flatten)]
    on: VersionArgs,
    #[arg(long, value_name = "ID")]
    office: String,
    #[arg(long, value_name = "agree|object|taken_back", value_parser = parse_opinion)]
    view: api::Opinion,
}

/// What `forward` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct ForwardArgs {
    #[arg(default_value = "", hide_default_value = true)]
    node: String,
    #[command(flatten)]
    times: Times,
    step_reason: Option<String>,
}

/// Reads `T12/2024-013`, `PF/2024-008/impl_central=来源不对`, `P-04@PF/2024-008`.
fn parse_line(text: &str) -> Result<ReturnedLine, String> {
    let (place, said) = text.split_once('=').unwrap_or((text, ""));
    let (rule, place) = place.split_once('@').unwrap_or(("", place));
    let table = place.split('/').next().unwrap_or_default();
    if table.is_empty() {
        return Err("TABLE/ROW, RULE@TABLE/ROW/COLUMN=…".to_owned());
    }
    let rest = place.get(table.len() + 1..).unwrap_or_default();
    // A row's key may hold strokes of its own; a column's id never does. `PI/2024-026/4/` is such a row, all of it.
    let (row, column) = rest.rsplit_once('/').unwrap_or((rest, ""));
    Ok(ReturnedLine {
        table: table.to_owned(),
        row: row.to_owned(),
        column: column.to_owned(),
        rule: rule.to_owned(),
        text: said.to_owned(),
    })
}

fn parse_opinion(text: &str) -> Result<api::Opinion, String> {
    match text {
        "agree" => Ok(api::Opinion::Agree),
        "object" => Ok(api::Opinion::Object),
        "taken_back" => Ok(api::Opinion::TakenBack),
        _ => Err("agree, object, taken_back".to_owned()),
    }
}

/// A connection, with the attempt that is made on it.
struct Asking<'s> {
    client: Client,
    attempt: Attempt,
    settings: &'s Settings,
}

impl<'s> Asking<'s> {
    async fn begin(settings: &'s Settings) -> Result<Asking<'s>, Failure> {
        Ok(Asking { client: Client::connect(settings).await?, attempt: Attempt::open(Path::new(""), &[]), settings })
    }

    fn key(&self) -> String {
        self.attempt.key().to_owned()
    }

    /// The year that is meant: the latest one if none is said.
    async fn year(&self, times: &Times) -> Result<u32, Failure> {
        if let Some(year) = times.year {
            return Ok(year.into());
        }
        let latest = self.client.review().list_rounds(api::ListRoundsRequest { year: 0 }).await;
        Ok(latest.map_err(|status| self.client.failure(&status))?.into_inner().year)
    }

    async fn version(&self, args: &VersionArgs) -> Result<api::VersionTarget, Failure> {
        let (year, round) = (self.year(&args.times).await?, args.times.round().into());
        let slot = api::Slot { unit: args.node.clone(), year, round, kind: args.kind.into() };
        Ok(api::VersionTarget { slot: Some(slot), version: args.looked_at })
    }

    async fn aggregate(&self, args: &StepArgs) -> Result<api::AggregateTarget, Failure> {
        Ok(api::AggregateTarget {
            department: args.node.clone(),
            year: self.year(&args.times).await?,
            round: args.times.round().into(),
            version: args.looked_at,
        })
    }
}

impl StepArgs {
    fn of_version(&self) -> VersionArgs {
        VersionArgs {
            node: self.node.clone(),
            looked_at: self.looked_at,
            kind: self.kind,
            times: self.times.clone(),
            step_reason: self.step_reason.clone(),
        }
    }
}

/// What was done to which version, and where it stands in the journal.
fn done(
    said: &'static str,
    node: &str,
    version: u32,
    (position, repeated): (u64, bool),
    settings: &Settings,
) -> Answer {
    let facts = [("node", node.to_owned()), ("version", version.to_string()), ("position", position.to_string())];
    let json = json!({ "node": node, "version": version, "position": position, "repeated": repeated });
    settings.answer(&Done::new(said, &facts, repeated, json))
}

/// Runs `withdraw`.
///
/// # Errors
/// A refusal, or a server that can't be reached.
pub async fn withdraw(args: VersionArgs, settings: &Settings) -> Result<Answer, Failure> {
    let asking = Asking::begin(settings).await?;
    let request = api::WithdrawRequest {
        idempotency_key: asking.key(),
        target: Some(asking.version(&args).await?),
        reason: args.step_reason.unwrap_or_default(),
    };
    let Asking { client, attempt, settings } = asking;
    let answer = receipt(client.review().withdraw(request).await, attempt, &client)?;
    Ok(done("review-withdrawn", &args.node, args.looked_at, (answer.position, answer.repeated), settings))
}

/// Runs `accept`.
///
/// # Errors
/// A refusal, or a server that can't be reached.
pub async fn accept(args: VersionArgs, settings: &Settings) -> Result<Answer, Failure> {
    let asking = Asking::begin(settings).await?;
    let request = api::AcceptRequest {
        idempotency_key: asking.key(),
        target: Some(asking.version(&args).await?),
        reason: args.step_reason.unwrap_or_default(),
    };
    let Asking { client, attempt, settings } = asking;
    let answer = receipt(client.review().accept(request).await, attempt, &client)?;
    Ok(done("review-accepted", &args.node, args.looked_at, (answer.position, answer.repeated), settings))
}

/// Runs `opinion`.
///
/// # Errors
/// A refusal, or a server that can't be reached.
pub async fn opinion(args: OpinionArgs, settings: &Settings) -> Result<Answer, Failure> {
    let asking = Asking::begin(settings).await?;
    let on = args.on;
    let request = api::GiveOpinionRequest {
        idempotency_key: asking.key(),
        target: Some(asking.version(&on).await?),
        office: args.office,
        opinion: args.view.into(),
        text: on.step_reason.unwrap_or_default(),
    };
    let Asking { client, attempt, settings } = asking;
    let answer = receipt(client.review().give_opinion(request).await, attempt, &client)?;
    Ok(done("review-opinion", &on.node, on.looked_at, (answer.position, answer.repeated), settings))
}

/// Runs `return`.
///
/// # Errors
/// A refusal, or a server that can't be reached.
pub async fn give_back(args: ReturnArgs, settings: &Settings) -> Result<Answer, Failure> {
    use api::return_request::Target;
    let asking = Asking::begin(settings).await?;
    let step = args.step;
    let target = match step.aggregate {
        true => Target::Aggregate(asking.aggregate(&step).await?),
        false => Target::Submission(asking.version(&step.of_version()).await?),
    };
    let request = api::ReturnRequest {
        idempotency_key: asking.key(),
        target: Some(target),
        reason: step.step_reason.unwrap_or_default(),
        lines: args.lines,
    };
    let Asking { client, attempt, settings } = asking;
    let answer = receipt(client.review().r#return(request).await, attempt, &client)?;
    Ok(done("review-returned", &step.node, step.looked_at, (answer.position, answer.repeated), settings))
}

/// Runs `approve`.
///
/// # Errors
/// A refusal, or a server that can't be reached.
pub async fn approve(args: StepArgs, settings: &Settings) -> Result<Answer, Failure> {
    use api::approve_request::Target;
    let asking = Asking::begin(settings).await?;
    let target = match args.aggregate {
        true => Target::Aggregate(asking.aggregate(&args).await?),
        false => Target::Submission(asking.version(&args.of_version()).await?),
    };
    let request = api::ApproveRequest {
        idempotency_key: asking.key(),
        target: Some(target),
        reason: args.step_reason.unwrap_or_default(),
        reviewed_position: None,
    };
    let Asking { client, attempt, settings } = asking;
    let answer = receipt(client.review().approve(request).await, attempt, &client)?;
    Ok(done("review-approved", &args.node, args.looked_at, (answer.position, answer.repeated), settings))
}

/// Runs `reopen`.
///
/// # Errors
/// A refusal, or a server that can't be reached.
pub async fn reopen(args: StepArgs, settings: &Settings) -> Result<Answer, Failure> {
    use api::reopen_request::Target;
    let asking = Asking::begin(settings).await?;
    let target = match args.aggregate {
        true => Target::Aggregate(asking.aggregate(&args).await?),
        false => Target::Submission(asking.version(&args.of_version()).await?),
    };
    let request = api::ReopenRequest {
        idempotency_key: asking.key(),
        target: Some(target),
        reason: args.step_reason.unwrap_or_default(),
    };
    let Asking { client, attempt, settings } = asking;
    let answer = receipt(client.review().reopen(request).await, attempt, &client)?;
    Ok(done("review-reopened", &args.node, args.looked_at, (answer.position, answer.repeated), settings))
}

/// Runs `forward`.
///
/// # Errors
/// A refusal, or a server that can't be reached.
pub async fn forward(args: ForwardArgs, settings: &Settings) -> Result<Answer, Failure> {
    let asking = Asking::begin(settings).await?;
    let request = api::ForwardRequest {
        idempotency_key: asking.key(),
        department: args.node,
        year: asking.year(&args.times).await?,
        round: args.times.round().into(),
        text: args.step_reason.unwrap_or_default(),
    };
    let Asking { client, attempt, settings } = asking;
    let answer = receipt(client.review().forward(request).await, attempt, &client)?;
    let sealed = answer.aggregate.unwrap_or_default();
    Ok(done("review-forwarded", &sealed.department, sealed.version, (answer.position, answer.repeated), settings))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_with_as_much_as_it_says() {
        let read = |text: &str| {
            let line = parse_line(text).unwrap();
            [line.rule, line.table, line.row, line.column, line.text]
        };
        assert_eq!(read("T12"), ["", "T12", "", "", ""]);
        assert_eq!(read("T12/2024-013"), ["", "T12", "2024-013", "", ""]);
        assert_eq!(read("P-04@PF/2024-008/impl_central=来源"), ["P-04", "PF", "2024-008", "impl_central", "来源"]);
        assert_eq!(read("PI/2024-026/4/"), ["", "PI", "2024-026/4", "", ""]);
        assert!(parse_line("").is_err());
        assert!(parse_line("P-04@").is_err());
    }
}
