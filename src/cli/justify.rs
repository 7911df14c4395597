//! `justify`: says why rules fail, one by one or from a CSV.
//!
//! A person names a finding by its rule and cell; the service is told its fingerprint, so that what is said belongs to
//! the figures that were looked at.

use std::path::PathBuf;

use serde_json::json;

use super::attempt::Attempt;
use super::client::Client;
use super::findings::{fetch, request};
use super::output::{Answer, Failure};
use super::rule_finding;
use super::settings::Settings;
use super::table_file::{TableFile, receipt};
use super::{Done, Times};
use crate::budget::cell::CellAddress;
use crate::proto::api::{self, JudgedSubmission, RuleFinding};

/// What `justify` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    pub(super) node: String,
    #[arg(long, value_name = "ID", conflicts_with = "csv")]
    pub(super) rule: Option<String>,
    #[arg(long, value_name = "TABLE/ROW/COLUMN", requires = "rule")]
    pub(super) place: Option<String>,
    #[arg(long, value_name = "FILE.csv")]
    pub(super) csv: Option<PathBuf>,
    #[arg(long, value_name = "unit|department|difference", default_value = "unit", value_parser = parse_kind)]
    pub(super) kind: api::Kind,
    #[command(flatten)]
    pub(super) times: Times,
    #[arg(requires = "rule")]
    pub(super) text: Option<String>,
}

pub(super) fn parse_kind(text: &str) -> Result<api::Kind, String> {
    match text {
        "unit" => Ok(api::Kind::Unit),
        "department" => Ok(api::Kind::Department),
        "difference" => Ok(api::Kind::Difference),
        _ => Err("unit, department, difference".to_owned()),
    }
}

/// What is said about the findings of a rule: at one place, or wherever it fails.
struct Said {
    rule: String,
    places: Vec<CellAddress>,
    text: String,
}

impl Said {
    fn is_about(&self, finding: &RuleFinding) -> bool {
        let at = |place: &CellAddress| {
            (place.table.as_str(), place.row.as_str(), place.column.as_str())
                == (&finding.table, &finding.row, &finding.column)
        };
        self.rule.eq_ignore_ascii_case(&finding.rule) && (self.places.is_empty() || self.places.iter().any(at))
    }
}

/// Runs `justify`.
///
/// # Errors
/// A file that can't be read, a finding that isn't there, a refusal, or a server that can't be reached.
pub async fn run(args: Args, settings: &Settings) -> Result<Answer, Failure> {
    let (said, bytes) = said(&args, settings)?;
    let client = Client::connect(settings).await?;
    let findings =
        api::ListFindingsRequest { verdicts: vec![api::RuleVerdict::Fail.into()], ..request(&args.node, &args.times) };
    let submissions = fetch(&client, findings).await?.submissions;
    // The last attempt of a slot comes last.
    let of_slot = |judged: &&JudgedSubmission| {
        judged.slot.as_ref().is_some_and(|slot| slot.unit == args.node && slot.kind == i32::from(args.kind))
    };
    let Some(judged) = submissions.iter().rfind(of_slot) else {
        return Err(Failure::Usage(settings.say("justify-nothing", &[("node", &args.node)])));
    };
    let found = rule_finding::read(&judged.rule_findings)?;
    let mut items = Vec::new();
    let mut absent = Vec::new();
    for said in &said {
        let about: Vec<&RuleFinding> = found.iter().filter(|found| said.is_about(found)).collect();
        if about.is_empty() {
            let place = said.places.first().map(ToString::to_string).unwrap_or_default();
            absent.push(format!("{} {place}", said.rule).trim().to_owned());
        }
        items.extend(
            about
                .into_iter()
                .map(|found| api::JustifyItem { fingerprint: found.fingerprint.clone(), text: said.text.clone() }),
        );
    }
    if !absent.is_empty() {
        let facts = [("node", args.node.as_str()), ("findings", &absent.join(", "))];
        return Err(Failure::Usage(settings.say("justify-absent", &facts)));
    }
    let (actor, position) = (settings.actor_text(), judged.position.to_string());
    let whole = [settings.server.as_bytes(), actor.as_bytes(), b"justify", position.as_bytes(), &bytes];
    let attempt = match &args.csv {
        Some(csv) => Attempt::open(csv, &whole),
        None => Attempt::within(settings.unanswered().as_deref(), &whole),
    };
    let count = items.len();
    let request = api::JustifyRequest {
        idempotency_key: attempt.key().to_owned(),
        slot: judged.slot.clone(),
        position: judged.position,
        items,
    };
    let answer = client.submissions().justify(request).await;
    let answer = receipt(answer, attempt, &client)?;
    let facts = [("n", count.to_string()), ("position", answer.position.to_string())];
    let json = json!({ "findings": count, "position": answer.position, "repeated": answer.repeated });
    Ok(settings.answer(&Done::new("justified", &facts, answer.repeated, json)))
}

/// The places that may be meant by `table/row/column`, or by `table/row` of a finding that is about no one column.
fn places(text: &str) -> Vec<CellAddress> {
    let whole = text.split_once('/').map(|(table, row)| (table, row.trim_end_matches('/')));
    let whole = whole.filter(|(table, row)| !table.is_empty() && !row.is_empty());
    CellAddress::parse(text).into_iter().chain(whole.map(|(table, row)| CellAddress::new(table, row, ""))).collect()
}

/// What is said, and the bytes that it was read from.
fn said(args: &Args, settings: &Settings) -> Result<(Vec<Said>, Vec<u8>), Failure> {
    if let Some(csv) = &args.csv {
        // What `findings --format csv` writes, with the last column filled in.
        let columns = ["reason", "table", "row", "column", "justification"];
        let file = TableFile::read_some(csv, &columns, settings)?;
        let line = |[rule, table, row, column, text]: &[String; 5]| {
            let places = vec![CellAddress::new(table, row, column)];
            (!text.is_empty()).then(|| Said { rule: rule.clone(), places, text: text.clone() })
        };
        return Ok((file.rows.iter().filter_map(line).collect(), file.bytes));
    }
    let (Some(rule), Some(text)) = (&args.rule, &args.text) else {
        return Err(Failure::Usage(settings.label("justify-needs").to_owned()));
    };
    let places = match &args.place {
        None => Vec::new(),
        Some(place) => {
            let meant = places(place);
            if meant.is_empty() {
                return Err(Failure::Usage(settings.say("justify-place", &[("place", place)])));
            }
            meant
        }
    };
    let bytes = [rule.as_str(), args.place.as_deref().unwrap_or(""), text].join("\n").into_bytes();
    Ok((vec![Said { rule: rule.clone(), places, text: text.clone() }], bytes))
}
