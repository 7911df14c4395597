//! The steps of review: `withdraw`, `return`, `opinion`, `review`, `accept`, `forward`, `approve` and `reopen`.
//!
//! Each names the version that was looked at: if another one was filed since, the service says so instead of acting.
//! What `review` shows: `review_screen.rs`.

use serde_json::json;
use tonic::{Response, Status};

use super::client::Client;
use super::justify::parse_kind;
use super::output::{Answer, Failure};
use super::settings::Settings;
use super::table_file::once;
use super::words::{parse_moment, round_code, round_name};
use super::{Done, Times, review_screen};
use crate::proto::Message;
use crate::proto::api::{self, ReturnedLine};

/// What a step on a version is told.
#[derive(Clone, Debug, clap::Args)]
pub struct VersionArgs {
    node: String,
    #[arg(long = "version", value_name = "N")]
    looked_at: u32,
    #[arg(long, value_name = "unit|department|difference", default_value = "unit", value_parser = parse_kind)]
    kind: api::Kind,
    #[command(flatten)]
    times: Times,
    #[arg(value_name = "REASON")]
    step_reason: Option<String>,
}

/// What a step on a version, or on a department's aggregate, is told.
#[derive(Clone, Debug, clap::Args)]
pub struct StepArgs {
    #[command(flatten)]
    on: VersionArgs,
    #[arg(long, conflicts_with = "kind")]
    aggregate: bool,
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

/// What `review` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct ReviewArgs {
    node: String,
    #[arg(long = "version", value_name = "N", requires = "figures")]
    reviewed: Option<u32>,
    #[arg(long = "figure", value_name = "TABLE/ROW/COLUMN=AMOUNT", requires = "reviewed", value_parser = parse_figure)]
    figures: Vec<api::ReviewedFigure>,
    #[arg(long, value_name = "unit|department|difference", default_value = "unit", value_parser = parse_kind)]
    kind: api::Kind,
    #[command(flatten)]
    times: Times,
    #[arg(long, value_name = "POSITION|TIME", value_parser = parse_moment, conflicts_with_all = ["figures", "reviewed"])]
    as_of: Option<api::AsOf>,
    #[arg(value_name = "REASON", requires = "figures")]
    step_reason: Option<String>,
}

/// What `forward` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct ForwardArgs {
    #[arg(default_value = "", hide_default_value = true)]
    node: String,
    #[command(flatten)]
    times: Times,
    #[arg(value_name = "REASON")]
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

/// Reads `T12/2024-002/total=15.00`; nothing behind the sign takes the figure back.
fn parse_figure(text: &str) -> Result<api::ReviewedFigure, String> {
    match text.rsplit_once('=') {
        Some((cell, amount)) if !cell.is_empty() => Ok(api::ReviewedFigure {
            cell: cell.to_owned(),
            amount: (!amount.is_empty()).then(|| amount.to_owned()),
            reason: String::new(),
        }),
        _ => Err("TABLE/ROW/COLUMN=AMOUNT, TABLE/ROW/COLUMN=".to_owned()),
    }
}

fn parse_opinion(text: &str) -> Result<api::Opinion, String> {
    match text {
        "agree" => Ok(api::Opinion::Agree),
        "object" => Ok(api::Opinion::Object),
        "taken_back" => Ok(api::Opinion::TakenBack),
        _ => Err("agree, object, taken_back".to_owned()),
    }
}

/// Whoever takes a step, at the service.
struct Desk<'s> {
    client: Client,
    settings: &'s Settings,
}

/// What every step is answered with.
trait Taken {
    fn position(&self) -> u64;
    fn repeated(&self) -> bool;
}

macro_rules! taken {
    ($( $answer:ident ),+) => {
        $( impl Taken for api::$answer {
            fn position(&self) -> u64 {
                self.position
            }

            fn repeated(&self) -> bool {
                self.repeated
            }
        } )+
    };
}

taken!(
    WithdrawResponse,
    ReturnResponse,
    GiveOpinionResponse,
    ReviewFiguresResponse,
    AcceptResponse,
    ForwardResponse,
    ApproveResponse,
    ReopenResponse
);

impl<'s> Desk<'s> {
    async fn open(settings: &'s Settings) -> Result<Desk<'s>, Failure> {
        Ok(Desk { client: Client::connect(settings).await?, settings })
    }

    /// The year that is meant: the latest one if none is said.
    async fn year(&self, times: &Times) -> Result<u32, Failure> {
        if let Some(year) = times.year {
            return Ok(year.into());
        }
        let latest = self.client.review().list_rounds(api::ListRoundsRequest::default()).await;
        Ok(latest.map_err(|status| self.client.failure(&status))?.into_inner().year)
    }

    /// What a step is about, with the year that is meant.
    async fn subject(&self, node: &str, version: u32, times: &Times) -> Result<Subject, Failure> {
        Ok(Subject { node: node.to_owned(), version, year: self.year(times).await?, round: times.round() })
    }

    /// Takes a step, once however often it is asked for, and says what was done to what.
    async fn take<Q: Message, A: Taken>(
        &self,
        said: &'static str,
        subject: &Subject,
        request: impl Fn(String) -> Q,
        send: impl AsyncFnOnce(Q) -> Result<Response<A>, Status>,
    ) -> Result<Answer, Failure> {
        let answer = once(&self.client, self.settings, request, send).await?;
        Ok(self.settings.answer(&self.done(said, subject, &answer)))
    }

    fn done(&self, said: &'static str, subject: &Subject, answer: &impl Taken) -> Done {
        let Subject { node, version, year, round } = subject;
        let (position, repeated) = (answer.position(), answer.repeated());
        let facts = [
            ("node", node.clone()),
            ("year", year.to_string()),
            ("round", round_name((*round).into(), self.settings.language).to_owned()),
            ("version", version.to_string()),
            ("position", position.to_string()),
        ];
        let json = json!({
            "node": node,
            "year": year,
            "round": round_code((*round).into()),
            "version": version,
            "position": position,
            "repeated": repeated,
        });
        Done::new(said, &facts, repeated, json)
    }
}

/// A version of a node's submission, or its aggregate of that number.
struct Subject {
    node: String,
    version: u32,
    year: u32,
    round: api::Round,
}

impl Subject {
    fn version(&self, kind: api::Kind) -> api::VersionTarget {
        let slot = api::Slot { unit: self.node.clone(), year: self.year, round: self.round.into(), kind: kind.into() };
        api::VersionTarget { slot: Some(slot), version: self.version }
    }

    fn aggregate(&self) -> api::AggregateTarget {
        api::AggregateTarget {
            department: self.node.clone(),
            year: self.year,
            round: self.round.into(),
            version: self.version,
        }
    }
}

impl VersionArgs {
    async fn subject(&self, desk: &Desk<'_>) -> Result<Subject, Failure> {
        desk.subject(&self.node, self.looked_at, &self.times).await
    }

    fn reason(&self) -> String {
        self.step_reason.clone().unwrap_or_default()
    }
}

/// Runs `withdraw`.
///
/// # Errors
/// A refusal, or a server that can't be reached.
pub async fn withdraw(args: VersionArgs, settings: &Settings) -> Result<Answer, Failure> {
    let desk = Desk::open(settings).await?;
    let subject = args.subject(&desk).await?;
    let (target, reason) = (Some(subject.version(args.kind)), args.reason());
    let request =
        |idempotency_key| api::WithdrawRequest { idempotency_key, target: target.clone(), reason: reason.clone() };
    let send = async |request| desk.client.review().withdraw(request).await;
    let answer: api::WithdrawResponse = once(&desk.client, settings, request, send).await?;
    let said = match answer.counts_on {
        0 if args.kind == api::Kind::Department => "review-withdrawn-department",
        0 => "review-withdrawn",
        _ => "review-withdrawn-counts-on",
    };
    let mut done = desk.done(said, &subject, &answer);
    done.facts.push(("counts_on", answer.counts_on.to_string()));
    done.json["counts_on"] = json!(answer.counts_on);
    Ok(settings.answer(&done))
}

/// Runs `accept`.
///
/// # Errors
/// A refusal, or a server that can't be reached.
pub async fn accept(args: VersionArgs, settings: &Settings) -> Result<Answer, Failure> {
    let desk = Desk::open(settings).await?;
    let subject = args.subject(&desk).await?;
    let (target, reason) = (Some(subject.version(args.kind)), args.reason());
    let request =
        |idempotency_key| api::AcceptRequest { idempotency_key, target: target.clone(), reason: reason.clone() };
    let send = async |request| desk.client.review().accept(request).await;
    desk.take("review-accepted", &subject, request, send).await
}

/// Runs `opinion`.
///
/// # Errors
/// A refusal, or a server that can't be reached.
pub async fn opinion(args: OpinionArgs, settings: &Settings) -> Result<Answer, Failure> {
    let desk = Desk::open(settings).await?;
    let subject = args.on.subject(&desk).await?;
    let (target, text) = (Some(subject.version(args.on.kind)), args.on.reason());
    let request = |idempotency_key| api::GiveOpinionRequest {
        idempotency_key,
        target: target.clone(),
        office: args.office.clone(),
        opinion: args.view.into(),
        text: text.clone(),
    };
    let send = async |request| desk.client.review().give_opinion(request).await;
    desk.take("review-opinion", &subject, request, send).await
}

/// Runs `review`: shows where a submission stands, or sets reviewed figures of it.
///
/// # Errors
/// A refusal, or a server that can't be reached.
pub async fn review(args: ReviewArgs, settings: &Settings) -> Result<Answer, Failure> {
    let desk = Desk::open(settings).await?;
    let Some(version) = args.reviewed.filter(|_| !args.figures.is_empty()) else {
        // No year is the latest that there was at the moment that is asked for.
        let year = args.times.year.map_or(0, u32::from);
        let slot = api::Slot { unit: args.node, year, round: args.times.round().into(), kind: args.kind.into() };
        return review_screen::show(&desk.client, slot, args.as_of, settings).await;
    };
    let subject = desk.subject(&args.node, version, &args.times).await?;
    let reason = args.step_reason.unwrap_or_default();
    let figures: Vec<api::ReviewedFigure> =
        args.figures.into_iter().map(|figure| api::ReviewedFigure { reason: reason.clone(), ..figure }).collect();
    let target = Some(subject.version(args.kind));
    let request = |idempotency_key| api::ReviewFiguresRequest {
        idempotency_key,
        target: target.clone(),
        figures: figures.clone(),
    };
    let send = async |request| desk.client.review().review_figures(request).await;
    let answer = once(&desk.client, settings, request, send).await?;
    let done = desk.done("review-figures", &subject, &answer);
    let slot = subject.version(args.kind).slot.unwrap_or_default();
    Ok(review_screen::show_reviewed(&desk.client, slot, done, settings).await)
}

/// Runs `return`.
///
/// # Errors
/// A refusal, or a server that can't be reached.
pub async fn give_back(args: ReturnArgs, settings: &Settings) -> Result<Answer, Failure> {
    use api::return_request::Target;
    let desk = Desk::open(settings).await?;
    let ReturnArgs { step: StepArgs { on, aggregate }, lines } = args;
    let subject = on.subject(&desk).await?;
    let target = Some(match aggregate {
        true => Target::Aggregate(subject.aggregate()),
        false => Target::Submission(subject.version(on.kind)),
    });
    let request = |idempotency_key| api::ReturnRequest {
        idempotency_key,
        target: target.clone(),
        reason: on.reason(),
        lines: lines.clone(),
    };
    let send = async |request| desk.client.review().r#return(request).await;
    let answer: api::ReturnResponse = once(&desk.client, settings, request, send).await?;
    let said = if answer.round_ended { "review-returned-ended" } else { "review-returned" };
    let mut done = desk.done(said, &subject, &answer);
    done.json["round_ended"] = json!(answer.round_ended);
    Ok(settings.answer(&done))
}

/// Runs `approve`.
///
/// # Errors
/// A refusal, or a server that can't be reached.
pub async fn approve(args: StepArgs, settings: &Settings) -> Result<Answer, Failure> {
    use api::approve_request::Target;
    let desk = Desk::open(settings).await?;
    let StepArgs { on, aggregate } = args;
    let subject = on.subject(&desk).await?;
    let target = Some(match aggregate {
        true => Target::Aggregate(subject.aggregate()),
        false => Target::Submission(subject.version(on.kind)),
    });
    let request = |idempotency_key| api::ApproveRequest {
        idempotency_key,
        target: target.clone(),
        reason: on.reason(),
        reviewed_position: None,
    };
    let send = async |request| desk.client.review().approve(request).await;
    desk.take("review-approved", &subject, request, send).await
}

/// Runs `reopen`.
///
/// # Errors
/// A refusal, or a server that can't be reached.
pub async fn reopen(args: StepArgs, settings: &Settings) -> Result<Answer, Failure> {
    use api::reopen_request::Target;
    let desk = Desk::open(settings).await?;
    let StepArgs { on, aggregate } = args;
    let subject = on.subject(&desk).await?;
    let target = Some(match aggregate {
        true => Target::Aggregate(subject.aggregate()),
        false => Target::Submission(subject.version(on.kind)),
    });
    let request = |idempotency_key| api::ReopenRequest { idempotency_key, target: target.clone(), reason: on.reason() };
    let send = async |request| desk.client.review().reopen(request).await;
    desk.take("review-reopened", &subject, request, send).await
}

/// Runs `forward`.
///
/// # Errors
/// A refusal, or a server that can't be reached.
pub async fn forward(args: ForwardArgs, settings: &Settings) -> Result<Answer, Failure> {
    let desk = Desk::open(settings).await?;
    let (year, text) = (desk.year(&args.times).await?, args.step_reason.unwrap_or_default());
    let request = |idempotency_key| api::ForwardRequest {
        idempotency_key,
        department: args.node.clone(),
        year,
        round: args.times.round().into(),
        text: text.clone(),
    };
    let send = async |request| desk.client.review().forward(request).await;
    let answer: api::ForwardResponse = once(&desk.client, settings, request, send).await?;
    let sealed = answer.aggregate.clone().unwrap_or_default();
    let subject = Subject { node: sealed.department, version: sealed.version, year, round: args.times.round() };
    Ok(settings.answer(&desk.done("review-forwarded", &subject, &answer)))
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
        let figure = parse_figure("T12/2024-002/total=15.00").unwrap();
        assert_eq!((figure.cell.as_str(), figure.amount.as_deref()), ("T12/2024-002/total", Some("15.00")));
        assert_eq!(parse_figure("T12/2024-002/total=").unwrap().amount, None);
        assert!(parse_figure("=1").is_err() && parse_figure("T12").is_err());
        assert!(parse_line("").is_err());
        assert!(parse_line("P-04@").is_err());
    }
}
