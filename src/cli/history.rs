//! `history`: what happened to a unit — who, when, what, with which findings and ceilings.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::client::Client;
use super::notes::{Note, counts, headroom, judgement_json, list};
use super::output::{Answer, Failure, Grid, Look, Sheet, Show, strong};
use super::settings::Settings;
use super::words::{
    grouped, hex, kind_code, kind_name, parse_moment, parse_since, round_code, round_name, say, short_digest, time,
    time_for_programs,
};
use super::{Moment, Times, actor, cell_history, node_title, review_events, rule_finding, rules};
use crate::budget::form_set::FormSet;
use crate::budget::reason::{Reason, Remark};
use crate::ledger::event::KINDS;
use crate::proto::api::journal_event::Event;
use crate::proto::api::{self, JournalEvent, Verdict};
use crate::wording::{Language, label};

const PAGE_EVENTS: u32 = 1_000;

/// What `history` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[arg(id = "history_node", value_name = "NODE", default_value = "", hide_default_value = true)]
    pub(super) node: String,
    #[arg(long, value_name = "TABLE/ROW/COLUMN")]
    pub(super) cell: Option<String>,
    #[arg(long, value_name = "NODE/ROLE", conflicts_with = "cell")]
    pub(super) by: Option<String>,
    #[arg(long = "kind", value_name = "KIND", conflicts_with = "cell")]
    pub(super) event_kinds: Vec<String>,
    #[arg(long, value_name = "TIME", value_parser = parse_since, conflicts_with = "cell")]
    pub(super) since: Option<api::AsOf>,
    #[arg(long, value_name = "TIME", value_parser = parse_moment, conflicts_with = "cell")]
    pub(super) until: Option<api::AsOf>,
    #[command(flatten)]
    pub(super) times: Times,
    #[command(flatten)]
    pub(super) moment: Moment,
    #[arg(long, value_name = "ID")]
    pub(super) form_set: Option<String>,
}

/// Runs `history`.
///
/// # Errors
/// A refusal, or a server that can't be reached.
pub async fn run(args: Args, settings: &Settings) -> Result<Answer, Failure> {
    if args.cell.is_none() && (args.times.year.is_some() || args.times.round.is_some()) {
        return Err(Failure::Usage(settings.say("history-times-of-cell", &[])));
    }
    match &args.cell {
        Some(cell) => cell_history::of_cell(&args, cell, settings).await,
        None if args.node.is_empty() => events(args, settings).await,
        None => of_unit(args, settings).await,
    }
}

async fn of_unit(args: Args, settings: &Settings) -> Result<Answer, Failure> {
    if let Some(kind) = args.event_kinds.iter().find(|kind| !KINDS.contains(&kind.as_str())) {
        let remark = Remark::new(Reason::BadRequest).with("field", "kinds").with("found", kind);
        return Err(Failure::Refused(remark.with("expected", KINDS.join(", "))));
    }
    let by = actor(args.by.as_deref(), settings.language)?.map(|actor| actor.to_string());
    let client = Client::connect(settings).await?;
    let wanted = |event: &JournalEvent| {
        by.as_ref().is_none_or(|by| event.actor == *by)
            && (args.event_kinds.is_empty() || args.event_kinds.iter().any(|kind| kind == kind_of(event)))
            && is_since(event, args.since)
            && is_until(event, args.until)
            && is_until(event, args.moment.as_of)
    };
    let mut events = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = api::GetHistoryRequest { unit: args.node.clone(), page_size: PAGE_EVENTS, page_token };
        let page = client.audit().get_history(request).await.map_err(|status| client.failure(&status))?.into_inner();
        events.extend(page.events.into_iter().filter(wanted));
        if page.next_page_token.is_empty() {
            let forms = form_sets(&client, &events).await;
            let history = History { unit: args.node, name: page.name, position: page.position, events, forms };
            return Ok(settings.answer(&history));
        }
        page_token = page.next_page_token;
    }
}

fn is_since(event: &JournalEvent, since: Option<api::AsOf>) -> bool {
    match since.and_then(|since| since.moment) {
        Some(api::as_of::Moment::Position(position)) => event.position >= position,
        Some(api::as_of::Moment::TimeMs(ms)) => event.time_ms >= ms,
        None => true,
    }
}

fn is_until(event: &JournalEvent, until: Option<api::AsOf>) -> bool {
    match until.and_then(|until| until.moment) {
        Some(api::as_of::Moment::Position(position)) => event.position <= position,
        Some(api::as_of::Moment::TimeMs(ms)) => event.time_ms <= ms,
        None => true,
    }
}

/// The stable name of what happened.
fn kind_of(event: &JournalEvent) -> &'static str {
    told(event, Language::English).0
}

/// The journal, or some of it.
async fn events(args: Args, settings: &Settings) -> Result<Answer, Failure> {
    use api::as_of::Moment::{Position, TimeMs};
    let client = Client::connect(settings).await?;
    let moment = |moment: Option<api::AsOf>| moment.and_then(|as_of| as_of.moment);
    let until = args.until.or(args.moment.as_of);
    let mut request = api::ListEventsRequest {
        page_size: PAGE_EVENTS,
        actor: actor(args.by.as_deref(), settings.language)?.map_or_else(String::new, |actor| actor.to_string()),
        kinds: args.event_kinds.clone(),
        ..api::ListEventsRequest::default()
    };
    match moment(args.since) {
        Some(Position(position)) => request.from_position = position,
        Some(TimeMs(ms)) => request.from_time_ms = ms,
        None => {}
    }
    let mut last = u64::MAX;
    match moment(until) {
        Some(Position(position)) => last = position,
        Some(TimeMs(ms)) => request.to_time_ms = ms,
        None => {}
    }
    let mut events = Vec::new();
    loop {
        let answer = client.audit().list_events(request.clone()).await;
        let page = answer.map_err(|status| client.failure(&status))?.into_inner();
        events.extend(page.events.into_iter().filter(|event| event.position <= last));
        if page.next_page_token.parse().map_or(true, |at: u64| at >= last) {
            let forms = form_sets(&client, &events).await;
            let (unit, name) = (String::new(), String::new());
            let history = History { unit, name, events, position: page.head, forms };
            return Ok(settings.answer(&history));
        }
        request.page_token = page.next_page_token;
    }
}

/// What happened to a unit.
#[derive(Debug)]
pub(super) struct History {
    unit: String,
    name: String,
    events: Vec<JournalEvent>,
    position: u64,
    /// Form sets by id, for the names of tables and columns; one that can't be had is not needed either.
    forms: HashMap<String, FormSet>,
}

/// The form sets that the events' filings stand on.
async fn form_sets(client: &Client, events: &[JournalEvent]) -> HashMap<String, FormSet> {
    let mut forms = HashMap::new();
    for id in events.iter().filter_map(form_set_id) {
        if !forms.contains_key(id)
            && let Ok(form) = client.form_set(id).await
        {
            forms.insert(id.to_owned(), form);
        }
    }
    forms
}

fn form_set_id(event: &JournalEvent) -> Option<&str> {
    match &event.event {
        Some(Event::Submitted(submitted)) => Some(&submitted.form_set),
        Some(Event::Refused(refused)) => Some(&refused.form_set),
        _ => None,
    }
}

/// An event in a few words: stable code, sentence, verdict if it has one.
fn told(event: &JournalEvent, language: Language) -> (&'static str, String, Option<&Verdict>) {
    let filing = |slot: Option<&api::Slot>| {
        let slot = slot.cloned().unwrap_or_default();
        let year = slot.year.to_string();
        let facts = [
            ("unit", slot.unit.as_str()),
            ("year", &year),
            ("round", round_name(slot.round, language)),
            ("kind", kind_name(slot.kind, language)),
        ];
        say(language, "filing-of", &facts)
    };
    match &event.event {
        Some(Event::Submitted(submitted)) => {
            let facts = [("what", filing(submitted.slot.as_ref())), ("version", submitted.version.to_string())];
            let facts = facts.each_ref().map(|(key, value)| (*key, value.as_str()));
            ("submitted", say(language, "event-submitted", &facts), submitted.verdict.as_ref())
        }
        Some(Event::Refused(refused)) => {
            let what = filing(refused.slot.as_ref());
            ("refused", say(language, "event-refused", &[("what", &what)]), refused.verdict.as_ref())
        }
        Some(Event::ControlIssued(issued)) => {
            let facts = [
                ("year", issued.year.to_string()),
                ("round", round_name(issued.round, language).to_owned()),
                ("version", issued.version.to_string()),
                ("n", issued.figures.len().to_string()),
            ];
            let facts = facts.each_ref().map(|(key, value)| (*key, value.as_str()));
            ("control_issued", say(language, "event-control-issued", &facts), None)
        }
        Some(Event::Justified(justified)) => {
            let facts = [
                ("what", filing(justified.slot.as_ref())),
                ("at", justified.position.to_string()),
                ("n", justified.items.len().to_string()),
            ];
            let facts = facts.each_ref().map(|(key, value)| (*key, value.as_str()));
            ("justified", say(language, "event-justified", &facts), None)
        }
        Some(Event::TailGivenUp(given_up)) => {
            let size = given_up.checkpoint.lines().nth(1).unwrap_or_default();
            ("tail_given_up", say(language, "event-tail-given-up", &[("size", size)]), None)
        }
        Some(Event::UnitsImported(imported)) => {
            let facts = [
                ("year", imported.year.to_string()),
                ("version", imported.version.to_string()),
                ("n", imported.nodes.to_string()),
            ];
            let facts = facts.each_ref().map(|(key, value)| (*key, value.as_str()));
            ("units_imported", say(language, "event-units-imported", &facts), None)
        }
        Some(Event::Looked(looked)) => {
            let facts = [("node", looked.node.as_str()), ("what", looked.method.as_str())];
            ("looked", say(language, "event-looked", &facts), None)
        }
        Some(Event::FormSetPublished(published)) => {
            let facts = [("id", published.id.clone()), ("digest", short_digest(&published.digest))];
            let facts = facts.each_ref().map(|(key, value)| (*key, value.as_str()));
            ("form_set_published", say(language, "event-form-set-published", &facts), None)
        }
        Some(event) => {
            let told = review_events::told(event, language);
            let (code, sentence) = told.unwrap_or_else(|| ("unknown", label("event-unknown", language).to_owned()));
            (code, sentence, None)
        }
        None => ("unknown", label("event-unknown", language).to_owned(), None),
    }
}

fn notes(verdict: &Verdict) -> Vec<Note> {
    verdict.findings.iter().map(Note::wire).collect()
}

impl History {
    fn event(&self, event: &JournalEvent, look: &Look) -> String {
        let form = form_set_id(event).and_then(|id| self.forms.get(id));
        let language = look.language;
        let (_, sentence, verdict) = told(event, language);
        let position = event.position.to_string();
        let mut out = format!(
            "\n{}  {}  {}\n  {}\n",
            say(language, "event-position", &[("n", &position)]),
            time(event.time_ms),
            event.actor,
            strong(&sentence)
        );
        let inner = Look { width: look.width.map(|width| width.saturating_sub(4)), ..*look };
        let mut indent = |text: &str| text.lines().for_each(|line| out.push_str(&format!("    {line}\n")));
        if let Some(verdict) = verdict {
            let rows = verdict.row_count.to_string();
            let total = grouped(&verdict.control_total);
            let facts =
                [say(language, "fact-rows", &[("n", &rows)]), say(language, "fact-control-total", &[("n", &total)])];
            let digest = say(language, "fact-digest", &[("n", &short_digest(&verdict.digest))]);
            indent(&format!("{} · {} · {digest}", facts[0], facts[1]));
            let notes = notes(verdict);
            if !notes.is_empty() {
                indent(&format!("{}{}", label("findings", language), counts(&notes, language)));
                indent(&list(&notes, form, &inner));
            }
            if let Some(counted) = verdict.rule_counts.filter(|counted| *counted != api::RuleCounts::default()) {
                indent(&rules::counts(rule_finding::counts(counted), language));
            }
            if !verdict.judgements.is_empty() {
                let version = verdict.control_version.to_string();
                indent(&say(language, "headroom-title", &[("n", &version)]));
                indent(&headroom(&verdict.judgements, form, &inner));
            }
        }
        review_events::details(event.event.as_ref(), language).iter().for_each(|line| indent(line));
        if let Some(Event::Justified(justified)) = &event.event {
            for item in &justified.items {
                let place = [&item.table, &item.row, &item.column];
                let place = place.into_iter().filter(|part| !part.is_empty()).map(String::as_str);
                indent(&format!("{} {}  {}", item.rule, place.collect::<Vec<_>>().join("/"), item.text));
            }
        }
        if let Some(Event::ControlIssued(issued)) = &event.event {
            let mut grid = Grid::new()
                .text(label("head-unit", language))
                .text(label("head-cell", language))
                .figures(label("head-ceiling", language))
                .text(label("head-amount-unit", language))
                .text(label("head-ceiling-strength", language));
            for figure in &issued.figures {
                grid.row(vec![
                    figure.unit.clone(),
                    figure.cell.clone(),
                    grouped(&figure.ceiling),
                    figure.amount_unit.clone(),
                    super::notes::ceiling_strength(&figure.strength, language),
                ]);
            }
            if !grid.is_empty() {
                indent(&grid.draw(&inner));
            }
        }
        out
    }
}

impl Show for History {
    fn text(&self, look: &Look) -> String {
        let language = look.language;
        let unit = node_title(&self.unit, &self.name);
        let title = if unit.is_empty() { "events-title" } else { "history-title" };
        let mut out = format!("{}\n", strong(&say(language, title, &[("unit", &unit)])));
        out.push_str(&format!("  {}\n", say(language, "as-of", &[("n", &self.position.to_string())])));
        if self.events.is_empty() {
            out.push_str(&format!("  {}\n", label("history-nothing", language)));
        }
        out.extend(self.events.iter().map(|event| self.event(event, look)));
        out
    }

    fn json(&self) -> Value {
        json!({
            "unit": self.unit,
            "name": self.name,
            "position": self.position,
            "events": self.events.iter().map(event_json).collect::<Vec<_>>(),
        })
    }

    fn sheet(&self) -> Sheet {
        let columns = vec!["position", "time", "actor", "event", "what", "version", "findings", "over_ceilings"];
        let row = |event: &JournalEvent| {
            let (code, sentence, verdict) = told(event, Language::English);
            let version = match &event.event {
                Some(Event::Submitted(submitted)) => submitted.version.to_string(),
                Some(Event::ControlIssued(issued)) => issued.version.to_string(),
                Some(Event::UnitsImported(imported)) => imported.version.to_string(),
                Some(event) => review_events::version(event),
                None => String::new(),
            };
            let over = verdict.map(|verdict| verdict.judgements.iter().filter(|judgement| judgement.over).count());
            vec![
                event.position.to_string(),
                time_for_programs(event.time_ms),
                event.actor.clone(),
                code.to_owned(),
                sentence,
                version,
                verdict.map_or(String::new(), |verdict| verdict.findings.len().to_string()),
                over.map_or(String::new(), |over| over.to_string()),
            ]
        };
        Sheet { columns, rows: self.events.iter().map(row).collect() }
    }
}

fn event_json(event: &JournalEvent) -> Value {
    let (code, ..) = told(event, Language::English);
    let slot = |slot: Option<&api::Slot>| {
        slot.map(|slot| {
            json!({ "unit": slot.unit, "year": slot.year, "round": round_code(slot.round), "kind": kind_code(slot.kind) })
        })
    };
    let detail = match &event.event {
        Some(Event::Submitted(submitted)) => json!({
            "slot": slot(submitted.slot.as_ref()),
            "version": submitted.version,
            "form_set": submitted.form_set,
            "adjusts": (submitted.adjusts > 0).then_some(submitted.adjusts),
            "cause": submitted.adjustment.as_ref().map(|adjustment| &adjustment.cause),
            "raised": submitted.raised.iter().map(super::control::history::change_json).collect::<Vec<_>>(),
            "verdict": submitted.verdict.as_ref().map(verdict_json),
        }),
        Some(Event::Refused(refused)) => json!({
            "slot": slot(refused.slot.as_ref()),
            "form_set": refused.form_set,
            "verdict": refused.verdict.as_ref().map(verdict_json),
        }),
        Some(Event::ControlIssued(issued)) => json!({
            "year": issued.year,
            "round": round_code(issued.round),
            "version": issued.version,
            "figures": issued.figures.iter().map(super::control::figure_json).collect::<Vec<_>>(),
        }),
        Some(Event::TailGivenUp(given_up)) => json!({ "checkpoint": given_up.checkpoint }),
        Some(Event::UnitsImported(imported)) => {
            json!({ "year": imported.year, "version": imported.version, "nodes": imported.nodes })
        }
        Some(Event::FormSetPublished(published)) => json!({ "id": published.id, "digest": hex(&published.digest) }),
        Some(Event::Looked(looked)) => json!({ "node": looked.node, "method": looked.method }),
        Some(Event::Justified(justified)) => json!({
            "slot": slot(justified.slot.as_ref()),
            "position": justified.position,
            "items": justified.items.iter().map(|item| json!({
                "rule": item.rule,
                "table": item.table,
                "row": item.row,
                "column": item.column,
                "text": item.text,
                "fingerprint": hex(&item.fingerprint),
            })).collect::<Vec<_>>(),
        }),
        Some(event) => review_events::json(event),
        None => Value::Null,
    };
    json!({
        "position": event.position,
        "time": time_for_programs(event.time_ms),
        "actor": event.actor,
        "idempotency_key": event.idempotency_key,
        "event": code,
        "detail": detail,
    })
}

fn verdict_json(verdict: &Verdict) -> Value {
    json!({
        "findings": notes(verdict).iter().map(Note::json).collect::<Vec<_>>(),
        "rule_counts": verdict.rule_counts.map(|counts| json!({
            "pass": counts.pass,
            "pass_by_rounding": counts.pass_by_rounding,
            "fail": counts.fail,
            "not_evaluable": counts.not_evaluable,
        })),
        "judgements": verdict.judgements.iter().map(judgement_json).collect::<Vec<_>>(),
        "control_version": verdict.control_version,
        "row_count": verdict.row_count,
        "control_total": verdict.control_total,
        "digest": hex(&verdict.digest),
        "form_set_digest": hex(&verdict.form_set_digest),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_says_who_when_and_what() {
        let finding = api::Finding {
            strength: 1,
            reason: "OVER_CEILING".into(),
            sentence_zh: "超出控制数。".into(),
            ..api::Finding::default()
        };
        let verdict = Verdict {
            findings: vec![finding],
            control_version: 1,
            control_total: "1234.00".into(),
            digest: vec![0xab; 32],
            ..Verdict::default()
        };
        let slot = api::Slot { unit: "407004".into(), year: 2024, round: 2, kind: 1 };
        let refused = api::RefusedEvent { slot: Some(slot), form_set: "x".into(), verdict: Some(verdict) };
        let event = JournalEvent {
            position: 7,
            time_ms: 1_705_482_904_000,
            actor: "budget://407004/unit".into(),
            idempotency_key: "k".into(),
            event: Some(Event::Refused(refused)),
        };
        let history = History {
            unit: "407004".into(),
            name: "中心".into(),
            events: vec![event],
            position: 9,
            forms: HashMap::new(),
        };
        let look = Look { language: Language::Chinese, width: None, colour: false };
        insta::assert_snapshot!(super::super::output::finish(&history.text(&look), false), @r#"
        407004 中心 · 经过
          截至第 9 号记录

        第 7 号  2024-01-17 17:15:04  budget://407004/unit
          报送被拒绝：407004 · 2024 年二上 · 单位预算
            0 行 · 校验总额 1,234.00 元（所有金额格之和） · 摘要 abababababab
            审核发现：必须改正 1
              [必须改正] 整份报表
                  超出控制数。
                  (OVER_CEILING)
        "#);
        assert_eq!(history.json()["events"][0]["event"], "refused");
        assert!(history.sheet().rows.iter().all(|row| row.len() == history.sheet().columns.len()));
    }
}
