//! `findings`: what was found in the submissions at or below a node, with what units said about it.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::client::Client;
use super::notes::{Note, list};
use super::output::{Answer, Failure, Look, Sheet, Show, strong};
use super::rule_finding::{self, checked};
use super::rules::{Judged, Said};
use super::settings::Settings;
use super::words::{kind_code, kind_name, round_code, round_name, say, time, time_for_programs};
use super::{Moment, Times, node_title};
use crate::budget::form_set::FormSet;
use crate::proto::api::{self, JudgedSubmission};
use crate::wording::label;

const PAGE_SUBMISSIONS: u32 = 100;

/// What `findings` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[arg(default_value = "", hide_default_value = true)]
    pub(super) node: String,
    #[arg(long, value_name = "ID")]
    pub(super) rule: Option<String>,
    #[arg(long, value_enum, hide_possible_values = true)]
    pub(super) strength: Option<Strength>,
    #[arg(long = "verdict", value_enum, default_value = "fail", hide_possible_values = true)]
    pub(super) verdict: Verdict,
    #[command(flatten)]
    pub(super) times: Times,
    #[command(flatten)]
    pub(super) moment: Moment,
}

/// Of which strength.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Strength {
    /// 必须改正.
    Balance,
    /// 请说明.
    Logic,
    /// 请核实.
    Verify,
}

/// Which verdicts are listed.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Verdict {
    /// 不通过.
    Fail,
    /// 因四舍五入通过.
    Rounding,
    /// 无法审核.
    NotEvaluable,
    /// All of these.
    All,
}

/// Runs `findings`.
///
/// # Errors
/// A refusal, or a server that can't be reached.
pub async fn run(args: Args, settings: &Settings) -> Result<Answer, Failure> {
    let client = Client::connect(settings).await?;
    let strength = match args.strength {
        None => api::Strength::Unspecified,
        Some(Strength::Balance) => api::Strength::Balance,
        Some(Strength::Logic) => api::Strength::Logic,
        Some(Strength::Verify) => api::Strength::Verify,
    };
    let verdicts = match args.verdict {
        Verdict::Fail => vec![api::RuleVerdict::Fail],
        Verdict::Rounding => vec![api::RuleVerdict::PassByRounding],
        Verdict::NotEvaluable => vec![api::RuleVerdict::NotEvaluable],
        Verdict::All => Vec::new(),
    };
    let request = api::ListFindingsRequest {
        rule: args.rule.unwrap_or_default(),
        strength: strength.into(),
        verdicts: verdicts.into_iter().map(i32::from).collect(),
        as_of: args.moment.as_of,
        ..request(&args.node, &args.times)
    };
    let found = fetch(&client, request).await?;
    let mut forms = HashMap::new();
    let mut listed = Vec::new();
    for submission in found.submissions {
        listed.push(Listed::new(submission, &client, &mut forms).await?);
    }
    let (position, year, round) = (found.position, found.year, found.round);
    Ok(settings.answer(&Findings { listed, position, year, round }))
}

/// A request for everything that was found at or below a node, without sentences.
pub(super) fn request(node: &str, times: &Times) -> api::ListFindingsRequest {
    let scope = times.scope(node, None);
    api::ListFindingsRequest {
        node: scope.node,
        year: scope.year,
        round: scope.round,
        page_size: PAGE_SUBMISSIONS,
        sentences: api::Sentences::None.into(),
        ..api::ListFindingsRequest::default()
    }
}

/// All pages of an answer as one.
pub(super) async fn fetch(
    client: &Client,
    mut request: api::ListFindingsRequest,
) -> Result<api::ListFindingsResponse, Failure> {
    let mut submissions = Vec::new();
    loop {
        let answer = client.audit().list_findings(request.clone()).await;
        let page = answer.map_err(|status| client.failure(&status))?.into_inner();
        submissions.extend(page.submissions);
        if page.next_page_token.is_empty() {
            return Ok(api::ListFindingsResponse { submissions, ..page });
        }
        request.page_token = page.next_page_token;
    }
}

/// A submission with what was found in it.
#[derive(Debug)]
struct Listed {
    wire: JudgedSubmission,
    notes: Vec<Note>,
    rules: Judged,
}

impl Listed {
    async fn new(
        wire: JudgedSubmission,
        client: &Client,
        forms: &mut HashMap<Vec<u8>, Arc<FormSet>>,
    ) -> Result<Listed, Failure> {
        let form = match forms.get(&wire.form_set_digest) {
            Some(form) => form.clone(),
            None => {
                let form = Arc::new(client.form_set_version(&wire.form_set, &wire.form_set_digest).await?);
                forms.insert(wire.form_set_digest.clone(), form.clone());
                form
            }
        };
        let said = |finding: &api::RuleFinding| match &finding.justification {
            Some(said) => Said::Text(said.text.clone()),
            None => Said::Nothing,
        };
        let found = rule_finding::read(&wire.rule_findings)?;
        let said = found.iter().map(said).collect();
        Ok(Listed {
            notes: wire.findings.iter().map(Note::wire).collect(),
            rules: Judged { form, checked: checked(wire.rule_counts, &found), coverage: None, said, justified: 0 },
            wire,
        })
    }

    fn text(&self, look: &Look) -> String {
        let language = look.language;
        let slot = self.wire.slot.clone().unwrap_or_default();
        let year = slot.year.to_string();
        let unit = node_title(&slot.unit, &self.wire.name);
        let (round, kind) = (round_name(slot.round, language), kind_name(slot.kind, language));
        let filing = say(language, "filing-of", &[("unit", &unit), ("year", &year), ("round", round), ("kind", kind)]);
        let number = |key: &str, n: String| say(language, key, &[("n", &n)]);
        let version = match self.wire.version {
            0 => label("findings-refused", language).to_owned(),
            version => number("fact-version", version.to_string()),
        };
        let position = number("fact-position", self.wire.position.to_string());
        let mut out = format!("\n{}\n  {version} · {position} · {}\n", strong(&filing), time(self.wire.time_ms));
        out.push_str(&list(&self.notes, Some(&self.rules.form), look));
        out.push_str(&self.rules.text(look));
        if self.wire.unjustified > 0 {
            out.push_str(&format!("  {}\n", number("findings-unjustified", self.wire.unjustified.to_string())));
        }
        out
    }

    fn json(&self) -> Value {
        let slot = self.wire.slot.clone().unwrap_or_default();
        json!({
            "slot": { "unit": slot.unit, "year": slot.year, "round": round_code(slot.round), "kind": kind_code(slot.kind) },
            "name": self.wire.name,
            "version": self.wire.version,
            "position": self.wire.position,
            "time": time_for_programs(self.wire.time_ms),
            "findings": self.notes.iter().map(Note::json).collect::<Vec<_>>(),
            "rules": self.rules.json(),
            "unjustified": self.wire.unjustified,
        })
    }
}

/// Submissions with what was found in them.
#[derive(Debug)]
struct Findings {
    listed: Vec<Listed>,
    position: u64,
    year: u32,
    round: i32,
}

impl Show for Findings {
    fn text(&self, look: &Look) -> String {
        let language = look.language;
        let mut out = format!("{}\n", strong(label("findings-title", language)));
        let facts = [("year", self.year.to_string()), ("round", round_name(self.round, language).to_owned())];
        let of = say(language, "findings-of", &facts.each_ref().map(|(key, value)| (*key, value.as_str())));
        out.push_str(&format!("  {of} · {}\n", say(language, "as-of", &[("n", &self.position.to_string())])));
        if self.listed.is_empty() {
            out.push_str(&format!("  {}\n", label("findings-none", language)));
        }
        out.extend(self.listed.iter().map(|listed| listed.text(look)));
        out
    }

    fn json(&self) -> Value {
        json!({
            "position": self.position,
            "year": self.year,
            "round": round_code(self.round),
            "submissions": self.listed.iter().map(Listed::json).collect::<Vec<_>>(),
        })
    }

    fn sheet(&self) -> Sheet {
        let mut columns = vec!["unit", "round", "kind", "version", "position"];
        columns.extend(Note::COLUMNS);
        columns.push("justification");
        let mut rows = Vec::new();
        for listed in &self.listed {
            let slot = listed.wire.slot.clone().unwrap_or_default();
            let head = [
                slot.unit,
                round_code(slot.round).to_owned(),
                kind_code(slot.kind).to_owned(),
                listed.wire.version.to_string(),
                listed.wire.position.to_string(),
            ];
            let notes = listed.notes.iter().map(|note| (note.cells(), String::new()));
            let rules = listed.rules.all_cells().into_iter();
            rows.extend(notes.chain(rules).map(|(cells, said)| [&head[..], &cells[..], &[said]].concat()));
        }
        Sheet { columns, rows }
    }
}
