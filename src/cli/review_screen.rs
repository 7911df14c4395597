//! `review NODE`: where a submission stands in review: its versions with what was done to each, offices' opinions, filed and
//! reviewed figures side by side, what is still to be explained, and what may be done next.

use std::sync::Arc;

use serde_json::{Value, json};

use super::client::Client;
use super::control::over_json;
use super::notes::ceiling_strength;
use super::output::{Answer, Failure, Grid, Look, Sheet, Show, alarm, strong};
use super::returned::{fates, fates_json, line_text};
use super::review_events::{
    aggregate_json, aggregate_name, line_json, opinion_code, opinion_name, state_code, state_name, step_code, step_name,
};
use super::settings::Settings;
use super::words::{
    as_of, grouped, kind_code, kind_name, round_code, round_name, say, short_digest, time, time_for_programs, who,
};
use super::{Done, rule_finding, rules};
use crate::budget::cell::CellAddress;
use crate::budget::finding::Place;
use crate::budget::form_set::FormSet;
use crate::budget::rule::RuleFinding;
use crate::proto::api::{self, GetReviewResponse};
use crate::wording::{Language, label, place, rule, word};

/// Asks and shows.
pub(super) async fn show(
    client: &Client,
    slot: api::Slot,
    as_of: Option<api::AsOf>,
    settings: &Settings,
) -> Result<Answer, Failure> {
    Ok(settings.answer(&ask(client, slot, as_of).await?))
}

/// Says that reviewed figures are recorded, and shows them beside what was filed, and what no longer adds up with them.
pub(super) async fn show_reviewed(client: &Client, slot: api::Slot, done: Done, settings: &Settings) -> Answer {
    match ask(client, slot, None).await {
        Ok(screen) => settings.answer(&Reviewed { done, screen }),
        // They are recorded, whatever can be seen of them now.
        Err(_) => settings.answer(&done),
    }
}

async fn ask(client: &Client, slot: api::Slot, as_of: Option<api::AsOf>) -> Result<Screen, Failure> {
    let answer = client.review().get_review(api::GetReviewRequest { slot: Some(slot), as_of }).await;
    let answer = answer.map_err(|status| client.failure(&status))?.into_inner();
    let form = match answer.versions.last().and_then(|version| version.version.as_ref()) {
        Some(last) => client.form_set_in_force(&last.form_set_digest).await?,
        None => None,
    };
    let unbalanced = rule_finding::checked(None, &rule_finding::read(&answer.unbalanced)?).findings;
    Ok(Screen { answer, form, unbalanced, past: as_of.is_some() })
}

/// What was just reviewed.
#[derive(Debug)]
struct Reviewed {
    done: Done,
    screen: Screen,
}

impl Show for Reviewed {
    fn text(&self, look: &Look) -> String {
        [self.done.text(look), self.screen.figures(look), self.screen.unbalanced(look.language)].concat()
    }

    fn json(&self) -> Value {
        let mut json = self.done.json();
        json["figures"] = json!(self.screen.answer.figures.iter().map(figure_json).collect::<Vec<_>>());
        json["unbalanced"] = self.screen.unbalanced_json();
        json["unbalanced_left_out"] = json!(self.screen.answer.unbalanced_left_out);
        json
    }

    fn sheet(&self) -> Sheet {
        self.done.sheet()
    }
}

#[derive(Debug)]
struct Screen {
    answer: GetReviewResponse,
    form: Option<Arc<FormSet>>,
    /// What no longer adds up with the reviewed figures.
    unbalanced: Vec<RuleFinding>,
    /// Whether a moment was asked for.
    past: bool,
}

impl Screen {
    fn cell(&self, cell: &str, language: Language) -> String {
        let Some(address) = CellAddress::parse(cell) else { return cell.to_owned() };
        place(&Place::cell(&address.table, 0, &address.row, &address.column), self.form.as_deref(), language)
    }

    fn heading(&self, language: Language) -> String {
        let slot = self.answer.slot.clone().unwrap_or_default();
        let year = slot.year.to_string();
        let facts = [
            ("unit", slot.unit.as_str()),
            ("year", &year),
            ("round", round_name(slot.round, language)),
            ("kind", kind_name(slot.kind, language)),
        ];
        let at = as_of(self.answer.position, self.answer.time_ms, self.past, language);
        format!("{}  {at}\n", strong(&say(language, "filing-of", &facts)))
    }

    /// Where the last version stands, and what may be done with it.
    fn standing(&self, language: Language) -> String {
        let mut out = match self.answer.versions.last().and_then(|found| found.version.as_ref()) {
            None => format!("{}\n", label("review-none", language)),
            Some(version) => {
                let number = version.version.to_string();
                let facts = [("version", number.as_str()), ("state", state_name(version.state, language))];
                format!("{}\n", say(language, "review-stands", &facts))
            }
        };
        if !self.answer.sealed_by.is_empty() {
            let facts = [("department", self.answer.sealed_by.as_str())];
            out.push_str(&format!("{}\n", say(language, "review-sealed", &facts)));
        }
        for over in &self.answer.over {
            let facts = [
                ("cell", self.cell(&over.cell, language)),
                ("filed", grouped(&over.filed)),
                ("holder", over.holder.clone()),
                ("ceiling", grouped(&over.ceiling)),
                ("over", grouped(&over.over)),
                ("unit", over.amount_unit.clone()),
                ("strength", ceiling_strength(&over.strength, language).to_owned()),
            ];
            let facts = facts.each_ref().map(|(key, value)| (*key, value.as_str()));
            out.push_str(&format!("{}\n", alarm(&say(language, "review-over", &facts))));
        }
        let words = |steps: &mut dyn Iterator<Item = &String>| {
            steps.map(|step| word("step", step, language)).collect::<Vec<_>>().join("  ")
        };
        let api::GetReviewResponse { legal, yours, aggregate_legal, aggregate_yours, .. } = &self.answer;
        for (yours, legal, mine, others) in [
            (yours, legal, "review-legal", "review-legal-others"),
            (aggregate_yours, aggregate_legal, "review-legal-whole", "review-legal-whole-others"),
        ] {
            let their = words(&mut legal.iter().filter(|step| !yours.contains(step)));
            for (key, steps) in [(mine, words(&mut yours.iter())), (others, their)] {
                if !steps.is_empty() {
                    out.push_str(&format!("{}\n", say(language, key, &[("steps", &steps)])));
                }
            }
        }
        if yours.is_empty() && aggregate_yours.is_empty() {
            out.push_str(&format!("{}\n", label("review-nothing-legal", language)));
        }
        // Filing is what leads on, and nobody can.
        let files = self.answer.legal.iter().any(|step| step == "submit");
        if files && !self.answer.round.as_ref().is_some_and(|round| round.takes_filings) {
            out.push_str(&format!("{}\n", alarm(label("review-round-ended", language))));
        }
        out
    }

    fn versions(&self, look: &Look) -> String {
        let language = look.language;
        let head = |key| label(key, language);
        let mut grid = Grid::new()
            .text(head("head-version"))
            .text(head("head-time"))
            .text(head("head-actor"))
            .text(head("head-step"))
            .text(head("head-said"));
        let kind = self.answer.slot.as_ref().map_or(api::Kind::Unspecified, api::Slot::kind);
        let counts = if kind == api::Kind::Department { "review-counts-nowhere" } else { "review-counts" };
        for found in &self.answer.versions {
            let version = found.version.clone().unwrap_or_default();
            let what = if version.adjusts > 0 { "step-adjust" } else { "step-submit" };
            let counts = if found.counts { label(counts, language) } else { "" };
            let said: Vec<&str> = [found.cause.as_str(), counts].into_iter().filter(|said| !said.is_empty()).collect();
            let reviewed =
                (found.figures > 0).then(|| say(language, "review-figures-of", &[("n", &found.figures.to_string())]));
            let answers = fates(&found.answers, self.form.as_deref(), language);
            let said: Vec<String> = said.into_iter().map(str::to_owned).chain(reviewed).chain(answers).collect();
            grid.row(vec![
                version.version.to_string(),
                time(version.time_ms),
                who(&found.actor),
                label(what, language).to_owned(),
                said.join("\n"),
            ]);
            for step in &found.steps {
                let lines = step.lines.iter().map(|line| line_text(line, self.form.as_deref(), language));
                let said: Vec<String> =
                    std::iter::once(step.reason.clone()).filter(|said| !said.is_empty()).chain(lines).collect();
                grid.row(vec![
                    version.version.to_string(),
                    time(step.time_ms),
                    who(&step.actor),
                    step_name(step.step, language).to_owned(),
                    said.join("\n"),
                ]);
            }
        }
        if grid.is_empty() { String::new() } else { format!("\n{}", grid.draw(look)) }
    }

    fn opinions(&self, look: &Look) -> String {
        let language = look.language;
        let head = |key| label(key, language);
        let mut grid = Grid::new()
            .text(head("head-office"))
            .text(head("head-opinion"))
            .text(head("head-said"))
            .text(head("head-actor"))
            .text(head("head-time"));
        for said in &self.answer.opinions {
            let when = if said.position == 0 { String::new() } else { time(said.time_ms) };
            let opinion = opinion_name(said.opinion, language).to_owned();
            grid.row(vec![said.title.clone(), opinion, said.text.clone(), who(&said.actor), when]);
        }
        if grid.is_empty() {
            return String::new();
        }
        format!("\n{}\n{}", strong(label("review-opinions", language)), grid.draw(look))
    }

    fn figures(&self, look: &Look) -> String {
        let language = look.language;
        let head = |key| label(key, language);
        let mut grid = Grid::new()
            .text(head("head-cell"))
            .figures(head("head-filed"))
            .figures(head("head-reviewed"))
            .text(head("head-amount-unit"))
            .text(head("head-actor"))
            .text(head("head-said"));
        for pair in &self.answer.figures {
            grid.row(vec![
                self.cell(&pair.cell, language),
                grouped(&pair.filed),
                pair.reviewed.as_deref().map_or_else(|| label("review-taken-back", language).to_owned(), grouped),
                pair.amount_unit.clone(),
                who(&pair.actor),
                pair.reason.clone(),
            ]);
        }
        if grid.is_empty() {
            return String::new();
        }
        format!("\n{}\n{}", strong(label("review-figures-title", language)), grid.draw(look))
    }

    fn unbalanced(&self, language: Language) -> String {
        let n = self.unbalanced.len() + usize::try_from(self.answer.unbalanced_left_out).unwrap_or(0);
        if n == 0 {
            return String::new();
        }
        let mut out = format!("\n{}\n", alarm(&say(language, "review-unbalanced", &[("n", &n.to_string())])));
        for finding in &self.unbalanced {
            let said = match &self.form {
                Some(form) => rule::brief(finding, form, language),
                None => format!("{} {}", finding.rule, finding.place),
            };
            out.push_str(&format!("  {said}\n"));
        }
        out
    }

    fn unbalanced_json(&self) -> Value {
        let Some(form) = &self.form else { return Value::Null };
        json!(self.unbalanced.iter().map(|finding| rules::finding_json(form, finding)).collect::<Vec<_>>())
    }

    fn unjustified(&self, language: Language) -> String {
        if self.answer.unjustified.is_empty() {
            return String::new();
        }
        let n = self.answer.unjustified.len().to_string();
        let mut out = format!("\n{}\n", alarm(&say(language, "review-unjustified", &[("n", &n)])));
        for found in &self.answer.unjustified {
            let (rule, cell) = found.split_once(' ').unwrap_or((found, ""));
            out.push_str(&format!("  {rule} {}\n", self.cell(cell, language)));
        }
        out
    }

    fn aggregates(&self, look: &Look) -> String {
        let language = look.language;
        let head = |key| label(key, language);
        let mut grid = Grid::new()
            .figures(head("head-version"))
            .text(head("head-time"))
            .text(head("head-standing"))
            .figures(head("head-submissions"))
            .text(head("head-digest"))
            .text(head("head-said"));
        for sealed in &self.answer.aggregates {
            let said: Vec<&str> =
                [sealed.text.as_str(), &sealed.reason].into_iter().filter(|said| !said.is_empty()).collect();
            grid.row(vec![
                sealed.version.to_string(),
                time(sealed.time_ms),
                aggregate_name(sealed.state, language).to_owned(),
                sealed.members.len().to_string(),
                short_digest(&sealed.digest),
                said.join("\n"),
            ]);
        }
        if grid.is_empty() {
            return String::new();
        }
        format!("\n{}\n{}", strong(label("review-aggregates", language)), grid.draw(look))
    }
}

impl Show for Screen {
    fn text(&self, look: &Look) -> String {
        let language = look.language;
        [
            self.heading(language),
            self.standing(language),
            self.versions(look),
            self.opinions(look),
            self.figures(look),
            self.unbalanced(language),
            self.unjustified(language),
            self.aggregates(look),
        ]
        .concat()
    }

    fn json(&self) -> Value {
        let answer = &self.answer;
        let slot = answer.slot.clone().unwrap_or_default();
        let step = |step: &api::TakenStep| {
            json!({
                "position": step.position,
                "time": time_for_programs(step.time_ms),
                "actor": step.actor,
                "step": step_code(step.step),
                "state": state_code(step.state),
                "reason": step.reason,
                "lines": step.lines.iter().map(line_json).collect::<Vec<_>>(),
                "reviewed_position": step.reviewed_position,
            })
        };
        let version = |found: &api::ReviewedVersion| {
            let version = found.version.clone().unwrap_or_default();
            json!({
                "version": version.version,
                "position": version.position,
                "time": time_for_programs(version.time_ms),
                "state": state_code(version.state),
                "actor": found.actor,
                "counts": found.counts,
                "adjusts": version.adjusts,
                "cause": found.cause,
                "steps": found.steps.iter().map(step).collect::<Vec<_>>(),
                "answers": fates_json(&found.answers),
                "figures": found.figures,
            })
        };
        let opinion = |said: &api::OfficeOpinion| {
            json!({
                "office": said.office,
                "title": said.title,
                "role": said.role,
                "opinion": opinion_code(said.opinion),
                "text": said.text,
                "actor": said.actor,
                "position": said.position,
            })
        };
        json!({
            "position": answer.position,
            "unit": slot.unit,
            "year": slot.year,
            "round": round_code(slot.round),
            "kind": kind_code(slot.kind),
            "versions": answer.versions.iter().map(version).collect::<Vec<_>>(),
            "legal": answer.legal,
            "yours": answer.yours,
            "aggregate_legal": answer.aggregate_legal,
            "aggregate_yours": answer.aggregate_yours,
            "sealed_by": answer.sealed_by,
            "opinions": answer.opinions.iter().map(opinion).collect::<Vec<_>>(),
            "figures": answer.figures.iter().map(figure_json).collect::<Vec<_>>(),
            "reviewed_position": answer.reviewed_position,
            "unbalanced": self.unbalanced_json(),
            "unbalanced_left_out": answer.unbalanced_left_out,
            "over": answer.over.iter().map(over_json).collect::<Vec<_>>(),
            "unjustified": answer.unjustified,
            "aggregates": answer.aggregates.iter().map(aggregate_json).collect::<Vec<_>>(),
        })
    }

    /// What was done to which version: a row a step.
    fn sheet(&self) -> Sheet {
        let columns = vec!["version", "position", "time", "actor", "step", "state", "said"];
        let mut rows = Vec::new();
        for found in &self.answer.versions {
            let version = found.version.clone().unwrap_or_default();
            let number = version.version.to_string();
            let step = if version.adjusts > 0 { "adjust" } else { "submit" };
            rows.push(vec![
                number.clone(),
                version.position.to_string(),
                time_for_programs(version.time_ms),
                found.actor.clone(),
                step.to_owned(),
                "submitted".to_owned(),
                found.cause.clone(),
            ]);
            rows.extend(found.steps.iter().map(|step| {
                vec![
                    number.clone(),
                    step.position.to_string(),
                    time_for_programs(step.time_ms),
                    step.actor.clone(),
                    step_code(step.step).to_owned(),
                    state_code(step.state).to_owned(),
                    step.reason.clone(),
                ]
            }));
        }
        Sheet { columns, rows }
    }
}

fn figure_json(pair: &api::FigurePair) -> Value {
    json!({
        "cell": pair.cell,
        "filed": pair.filed,
        "reviewed": pair.reviewed,
        "amount_unit": pair.amount_unit,
        "actor": pair.actor,
        "reason": pair.reason,
        "position": pair.position,
    })
}
