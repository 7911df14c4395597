//! `round`: opens and closes the rounds of a year, and tells which take filings until when.

use serde_json::{Value, json};

use super::client::Client;
use super::output::{Answer, Failure, Grid, Look, Sheet, Show, strong};
use super::review_events::deadline;
use super::settings::Settings;
use super::table_file::once;
use super::words::{as_of, read_time, round_code, round_name, say, time, time_for_programs};
use super::{Done, Moment, parse_round};
use crate::proto::api::{self, ListRoundsResponse};
use crate::wording::label;

/// What `round` is told.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Verb {
    /// Opens a round, or moves its deadline.
    Open(OpenArgs),
    /// Closes a round.
    Close(CloseArgs),
    /// Lists the rounds of a year.
    List(ListArgs),
}

/// What `round open` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct OpenArgs {
    #[command(flatten)]
    which: Which,
    #[arg(long, value_name = "TIME", value_parser = parse_deadline)]
    deadline: Option<i64>,
    reason: Option<String>,
}

/// What `round close` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct CloseArgs {
    #[command(flatten)]
    which: Which,
    reason: Option<String>,
}

/// What `round list` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct ListArgs {
    #[arg(long)]
    year: Option<u16>,
    #[command(flatten)]
    moment: Moment,
}

/// The round that is changed: nothing about it is guessed.
#[derive(Clone, Debug, clap::Args)]
struct Which {
    #[arg(long)]
    year: u16,
    #[arg(long, value_name = "first|second", value_parser = parse_round)]
    round: api::Round,
}

fn parse_deadline(text: &str) -> Result<i64, String> {
    read_time(text).ok_or_else(|| "2024-01-31, 2024-01-31T18:00".to_owned())
}

/// Runs `round`.
///
/// # Errors
/// A refusal, or a server that can't be reached.
pub async fn run(verb: Verb, settings: &Settings) -> Result<Answer, Failure> {
    let client = Client::connect(settings).await?;
    match verb {
        Verb::Open(OpenArgs { which: Which { year, round }, deadline: until, reason }) => {
            let reason = reason.unwrap_or_default();
            let request = |idempotency_key| api::OpenRoundRequest {
                idempotency_key,
                year: year.into(),
                round: round.into(),
                deadline_ms: until,
                reason: reason.clone(),
            };
            let send = async |request| client.review().open_round(request).await;
            let answer = once(&client, settings, request, send).await?;
            let told = (answer.position, answer.version, answer.repeated);
            Ok(changed("round-opened", (year, round), deadline(until, settings.language), told, settings))
        }
        Verb::Close(CloseArgs { which: Which { year, round }, reason }) => {
            let reason = reason.unwrap_or_default();
            let request = |idempotency_key| api::CloseRoundRequest {
                idempotency_key,
                year: year.into(),
                round: round.into(),
                reason: reason.clone(),
            };
            let send = async |request| client.review().close_round(request).await;
            let answer = once(&client, settings, request, send).await?;
            let told = (answer.position, answer.version, answer.repeated);
            Ok(changed("round-closed", (year, round), String::new(), told, settings))
        }
        Verb::List(ListArgs { year, moment: Moment { as_of } }) => {
            let request = api::ListRoundsRequest { year: year.map_or(0, u32::from), as_of };
            let answer = client.review().list_rounds(request).await.map_err(|status| client.failure(&status))?;
            Ok(settings.answer(&Rounds { answer: answer.into_inner(), past: as_of.is_some() }))
        }
    }
}

fn changed(
    said: &'static str,
    (year, round): (u16, api::Round),
    deadline: String,
    (position, version, repeated): (u64, u32, bool),
    settings: &Settings,
) -> Answer {
    let facts = [
        ("year", year.to_string()),
        ("round", round_name(round.into(), settings.language).to_owned()),
        ("deadline", deadline),
        ("version", version.to_string()),
        ("position", position.to_string()),
    ];
    let json = json!({
        "year": year,
        "round": round_code(round.into()),
        "version": version,
        "position": position,
        "repeated": repeated,
    });
    settings.answer(&Done::new(said, &facts, repeated, json))
}

/// The rounds of a year.
#[derive(Debug)]
struct Rounds {
    answer: ListRoundsResponse,
    /// Whether a moment was asked for.
    past: bool,
}

fn standing(round: &api::RoundState) -> (&'static str, &'static str) {
    match (round.takes_filings, round.open, round.version) {
        (true, _, _) => ("round-takes", "takes_filings"),
        (false, true, _) => ("round-late", "deadline_passed"),
        (false, false, 0) => ("round-never", "never_opened"),
        (false, false, _) => ("round-shut", "closed"),
    }
}

impl Show for Rounds {
    fn text(&self, look: &Look) -> String {
        let language = look.language;
        let facts = [("year", self.answer.year.to_string()), ("time", time(self.answer.time_ms))];
        let facts = facts.each_ref().map(|(key, value)| (*key, value.as_str()));
        let moment = as_of(self.answer.position, self.answer.time_ms, self.past, language);
        let out = format!("{}\n  {moment}\n\n", strong(&say(language, "round-title", &facts)));
        let mut grid = Grid::new()
            .text(label("head-round", language))
            .text(label("head-standing", language))
            .text(label("head-deadline", language));
        for round in &self.answer.rounds {
            grid.row(vec![
                round_name(round.round, language).to_owned(),
                label(standing(round).0, language).to_owned(),
                deadline(round.deadline_ms, language),
            ]);
        }
        out + &grid.draw(look)
    }

    fn json(&self) -> Value {
        let round = |round: &api::RoundState| {
            json!({
                "round": round_code(round.round),
                "standing": standing(round).1,
                "deadline": round.deadline_ms.map(time_for_programs),
                "version": round.version,
            })
        };
        let rounds: Vec<Value> = self.answer.rounds.iter().map(round).collect();
        json!({
            "year": self.answer.year,
            "position": self.answer.position,
            "time": time_for_programs(self.answer.time_ms),
            "rounds": rounds,
        })
    }

    fn sheet(&self) -> Sheet {
        let row = |round: &api::RoundState| {
            let until = round.deadline_ms.map(time_for_programs).unwrap_or_default();
            vec![round_code(round.round).to_owned(), standing(round).1.to_owned(), until, round.version.to_string()]
        };
        Sheet {
            columns: vec!["round", "standing", "deadline", "version"],
            rows: self.answer.rounds.iter().map(row).collect(),
        }
    }
}
