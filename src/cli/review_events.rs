//! Events of rounds and review in a history: as a sentence, with their details, and for programs.

use serde_json::{Value, json};

use super::control::history::ceiling;
use super::words::{
    grouped, hex, kind_code, kind_name, round_code, round_name, say, short_digest, time, time_for_programs,
};
use crate::proto::api::journal_event::Event;
use crate::proto::api::{self, AggregateState, Opinion, ReturnedLine, ReviewStep, VersionState};
use crate::wording::{Language, label};

/// The stable name of a state.
pub(super) fn state_code(state: i32) -> &'static str {
    match VersionState::try_from(state) {
        Ok(VersionState::Returned) => "returned",
        Ok(VersionState::Accepted) => "accepted",
        Ok(VersionState::Approved) => "approved",
        Ok(VersionState::Withdrawn) => "withdrawn",
        Ok(VersionState::Submitted | VersionState::Unspecified) | Err(_) => "submitted",
    }
}

/// 已报, 已退回 …
pub(super) fn state_name(state: i32, language: Language) -> &'static str {
    match state_code(state) {
        "returned" => label("state-returned", language),
        "accepted" => label("state-accepted", language),
        "approved" => label("state-approved", language),
        "withdrawn" => label("state-withdrawn", language),
        _ => label("state-submitted", language),
    }
}

/// The stable name of an aggregate's state.
pub(super) fn aggregate_code(state: i32) -> &'static str {
    match AggregateState::try_from(state) {
        Ok(AggregateState::Returned) => "returned",
        Ok(AggregateState::Approved) => "approved",
        Ok(AggregateState::Recalled) => "recalled",
        Ok(AggregateState::Forwarded | AggregateState::Unspecified) | Err(_) => "forwarded",
    }
}

/// 已上报, 已批复 …
pub(super) fn aggregate_name(state: i32, language: Language) -> &'static str {
    match aggregate_code(state) {
        "returned" => label("state-returned", language),
        "approved" => label("state-approved", language),
        "recalled" => label("state-recalled", language),
        _ => label("state-forwarded", language),
    }
}

/// The stable name of a step.
pub(super) fn step_code(step: i32) -> &'static str {
    match ReviewStep::try_from(step) {
        Ok(ReviewStep::Withdraw) => "withdraw",
        Ok(ReviewStep::Return) => "return",
        Ok(ReviewStep::Accept) => "accept",
        Ok(ReviewStep::Approve) => "approve",
        Ok(ReviewStep::Reopen) => "reopen",
        Ok(ReviewStep::Unspecified) | Err(_) => "",
    }
}

/// 退回, 接收 …
pub(super) fn step_name(step: i32, language: Language) -> &'static str {
    match step_code(step) {
        "withdraw" => label("step-withdraw", language),
        "return" => label("step-return", language),
        "accept" => label("step-accept", language),
        "approve" => label("step-approve", language),
        _ => label("step-reopen", language),
    }
}

/// The stable name of an opinion.
pub(super) fn opinion_code(opinion: i32) -> &'static str {
    match Opinion::try_from(opinion) {
        Ok(Opinion::Agree) => "agree",
        Ok(Opinion::Object) => "object",
        Ok(Opinion::TakenBack) => "taken_back",
        Ok(Opinion::Unspecified) | Err(_) => "",
    }
}

/// 同意, 不同意 …
pub(super) fn opinion_name(opinion: i32, language: Language) -> &'static str {
    match opinion_code(opinion) {
        "agree" => label("opinion-agree", language),
        "object" => label("opinion-object", language),
        "taken_back" => label("opinion-taken-back", language),
        _ => label("opinion-none", language),
    }
}

/// 截止 2024-01-31 18:00:00, or that there is none.
pub(super) fn deadline(deadline: Option<i64>, language: Language) -> String {
    match deadline {
        Some(at) => say(language, "deadline-at", &[("time", &time(at))]),
        None => label("deadline-none", language).to_owned(),
    }
}

/// `T03/2080109/basic`, as much of it as is meant, with the rule in front.
pub(super) fn line(line: &ReturnedLine) -> String {
    let place: Vec<&str> = [&line.table, &line.row, &line.column]
        .into_iter()
        .map(String::as_str)
        .filter(|part| !part.is_empty())
        .collect();
    format!("{} {}", line.rule, place.join("/")).trim().to_owned()
}

fn filing(target: Option<&api::VersionTarget>, language: Language) -> (String, String) {
    let slot = target.and_then(|target| target.slot.clone()).unwrap_or_default();
    let year = slot.year.to_string();
    let facts = [
        ("unit", slot.unit.as_str()),
        ("year", &year),
        ("round", round_name(slot.round, language)),
        ("kind", kind_name(slot.kind, language)),
    ];
    (say(language, "filing-of", &facts), target.map_or(0, |target| target.version).to_string())
}

/// Such an event in a few words: stable code and sentence.
pub(super) fn told(event: &Event, language: Language) -> Option<(&'static str, String)> {
    let told = match event {
        Event::RoundOpened(opened) => {
            let (year, deadline) = (opened.year.to_string(), deadline(opened.deadline_ms, language));
            let facts =
                [("year", year.as_str()), ("round", round_name(opened.round, language)), ("deadline", &deadline)];
            ("round_opened", say(language, "event-round-opened", &facts))
        }
        Event::RoundClosed(closed) => {
            let facts = [("year", &*closed.year.to_string()), ("round", round_name(closed.round, language))];
            ("round_closed", say(language, "event-round-closed", &facts))
        }
        Event::VersionMoved(moved) => {
            let (what, version) = filing(moved.target.as_ref(), language);
            let facts = [
                ("step", step_name(moved.step, language)),
                ("what", &what),
                ("version", &version),
                ("from", state_name(moved.from, language)),
                ("to", state_name(moved.to, language)),
            ];
            (moved_code(moved.step), say(language, "event-version-moved", &facts))
        }
        Event::OpinionGiven(given) => {
            let (what, version) = filing(given.target.as_ref(), language);
            let facts = [
                ("office", given.office.as_str()),
                ("opinion", opinion_name(given.opinion, language)),
                ("what", &what),
                ("version", &version),
            ];
            ("opinion_given", say(language, "event-opinion", &facts))
        }
        Event::FiguresReviewed(reviewed) => {
            let (what, version) = filing(reviewed.target.as_ref(), language);
            let facts = [("n", &*reviewed.figures.len().to_string()), ("what", &what), ("version", &version)];
            ("figures_reviewed", say(language, "event-figures", &facts))
        }
        Event::Forwarded(forwarded) => {
            let sealed = forwarded.aggregate.clone().unwrap_or_default();
            let facts = [
                ("department", sealed.department.as_str()),
                ("year", &forwarded.year.to_string()),
                ("round", round_name(forwarded.round, language)),
                ("version", &sealed.version.to_string()),
                ("n", &sealed.members.len().to_string()),
                ("digest", &short_digest(&sealed.digest)),
            ];
            ("forwarded", say(language, "event-forwarded", &facts))
        }
        Event::AggregateMoved(moved) => {
            let target = moved.target.clone().unwrap_or_default();
            let facts = [
                ("step", step_name(moved.step, language)),
                ("department", target.department.as_str()),
                ("year", &target.year.to_string()),
                ("round", round_name(target.round, language)),
                ("version", &target.version.to_string()),
                ("from", aggregate_name(moved.from, language)),
                ("to", aggregate_name(moved.to, language)),
            ];
            ("aggregate_moved", say(language, "event-aggregate-moved", &facts))
        }
        _ => return None,
    };
    Some(told)
}

fn moved_code(step: i32) -> &'static str {
    match step_code(step) {
        "withdraw" => "withdrawn",
        "return" => "returned",
        "accept" => "accepted",
        "approve" => "approved",
        _ => "reopened",
    }
}

/// What stands below the sentence: reasons, lines, figures.
pub(super) fn details(event: Option<&Event>, language: Language) -> Vec<String> {
    let said = |text: &str| if text.is_empty() { Vec::new() } else { vec![text.to_owned()] };
    match event {
        Some(Event::RoundOpened(opened)) => said(&opened.reason),
        Some(Event::RoundClosed(closed)) => said(&closed.reason),
        Some(Event::VersionMoved(moved)) => {
            let lines =
                moved.lines.iter().map(|found| format!("{}  {}", line(found), found.text).trim_end().to_owned());
            said(&moved.reason).into_iter().chain(lines).collect()
        }
        Some(Event::OpinionGiven(given)) => said(&given.text),
        Some(Event::FiguresReviewed(reviewed)) => {
            let figure = |figure: &api::ReviewedFigure| {
                let amount = figure.amount.as_deref().map_or("–".to_owned(), grouped);
                format!("{} = {amount}  {}", figure.cell, figure.reason)
            };
            reviewed.figures.iter().map(figure).collect()
        }
        Some(Event::Forwarded(forwarded)) => {
            let sealed = forwarded.aggregate.clone().unwrap_or_default();
            let member = |member: &api::AggregateMember| {
                let kind = kind_name(member.kind, language);
                format!("{} · {kind} · v{} · {}", member.unit, member.version, short_digest(&member.digest))
            };
            said(&sealed.text).into_iter().chain(sealed.members.iter().map(member)).collect()
        }
        Some(Event::AggregateMoved(moved)) => said(&moved.reason),
        Some(Event::Submitted(submitted)) if submitted.adjusts > 0 => {
            let cause = submitted.adjustment.as_ref().map_or("", |adjustment| &adjustment.cause);
            let adjusts = say(language, "event-adjusts", &[("base", &submitted.adjusts.to_string()), ("cause", cause)]);
            std::iter::once(adjusts).chain(submitted.raised.iter().map(|change| raised(change, language))).collect()
        }
        _ => Vec::new(),
    }
}

/// A ceiling that an addition raised.
fn raised(change: &api::ControlChange, language: Language) -> String {
    let (from, to) = (ceiling(change.before.as_ref(), language), ceiling(change.after.as_ref(), language));
    let facts = [("unit", change.unit.as_str()), ("cell", &change.cell), ("from", &from), ("to", &to)];
    say(language, "event-raised", &facts)
}

/// The version that it is about; empty for other events.
pub(super) fn version(event: &Event) -> String {
    let of = |target: &Option<api::VersionTarget>| target.as_ref().map_or(0, |target| target.version);
    let version = match event {
        Event::RoundOpened(opened) => opened.version,
        Event::RoundClosed(closed) => closed.version,
        Event::VersionMoved(moved) => of(&moved.target),
        Event::OpinionGiven(given) => of(&given.target),
        Event::FiguresReviewed(reviewed) => of(&reviewed.target),
        Event::Forwarded(forwarded) => forwarded.aggregate.as_ref().map_or(0, |sealed| sealed.version),
        Event::AggregateMoved(moved) => moved.target.as_ref().map_or(0, |target| target.version),
        _ => return String::new(),
    };
    version.to_string()
}

pub(super) fn line_json(line: &ReturnedLine) -> Value {
    json!({ "table": line.table, "row": line.row, "column": line.column, "rule": line.rule, "text": line.text })
}

/// Such an event for programs; null for others.
pub(super) fn json(event: &Event) -> Value {
    let target = |target: &Option<api::VersionTarget>| {
        let target = target.clone().unwrap_or_default();
        let slot = target.slot.unwrap_or_default();
        json!({
            "unit": slot.unit,
            "year": slot.year,
            "round": round_code(slot.round),
            "kind": kind_code(slot.kind),
            "version": target.version,
        })
    };
    match event {
        Event::RoundOpened(opened) => json!({
            "year": opened.year,
            "round": round_code(opened.round),
            "version": opened.version,
            "deadline": opened.deadline_ms.map(time_for_programs),
            "reason": opened.reason,
        }),
        Event::RoundClosed(closed) => json!({
            "year": closed.year,
            "round": round_code(closed.round),
            "version": closed.version,
            "reason": closed.reason,
        }),
        Event::VersionMoved(moved) => json!({
            "target": target(&moved.target),
            "step": step_code(moved.step),
            "from": state_code(moved.from),
            "to": state_code(moved.to),
            "reason": moved.reason,
            "lines": moved.lines.iter().map(line_json).collect::<Vec<_>>(),
            "reviewed_position": moved.reviewed_position,
        }),
        Event::OpinionGiven(given) => json!({
            "target": target(&given.target),
            "office": given.office,
            "opinion": opinion_code(given.opinion),
            "text": given.text,
        }),
        Event::FiguresReviewed(reviewed) => json!({
            "target": target(&reviewed.target),
            "figures": reviewed.figures.iter().map(|figure| json!({
                "cell": figure.cell,
                "reviewed": figure.amount,
                "reason": figure.reason,
            })).collect::<Vec<_>>(),
        }),
        Event::Forwarded(forwarded) => {
            let sealed = forwarded.aggregate.clone().unwrap_or_default();
            json!({
                "year": forwarded.year,
                "round": round_code(forwarded.round),
                "aggregate": aggregate_json(&sealed),
            })
        }
        Event::AggregateMoved(moved) => {
            let target = moved.target.clone().unwrap_or_default();
            json!({
                "department": target.department,
                "year": target.year,
                "round": round_code(target.round),
                "version": target.version,
                "step": step_code(moved.step),
                "from": aggregate_code(moved.from),
                "to": aggregate_code(moved.to),
                "reason": moved.reason,
            })
        }
        _ => Value::Null,
    }
}

/// What a department sealed, for programs.
pub(super) fn aggregate_json(sealed: &api::Aggregate) -> Value {
    json!({
        "department": sealed.department,
        "version": sealed.version,
        "position": sealed.position,
        "state": aggregate_code(sealed.state),
        "tree_version": sealed.tree_version,
        "round_version": sealed.round_version,
        "digest": hex(&sealed.digest),
        "text": sealed.text,
        "members": sealed.members.iter().map(|member| json!({
            "unit": member.unit,
            "kind": kind_code(member.kind),
            "version": member.version,
            "position": member.position,
            "digest": hex(&member.digest),
            "reviewed_position": member.reviewed_position,
        })).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_addition_says_which_ceilings_it_raised() {
        let figure = |ceiling: &str| {
            let figure = api::ControlFigure {
                ceiling: ceiling.to_owned(),
                amount_unit: "万元".to_owned(),
                ..Default::default()
            };
            Some(api::ControlFigure { strength: "hard".to_owned(), ..figure })
        };
        let change = api::ControlChange {
            unit: "508001".to_owned(),
            cell: "T03/合计/total".to_owned(),
            before: figure("41.85"),
            after: figure("44.00"),
            ..Default::default()
        };
        let submitted = api::SubmittedEvent { adjusts: 3, raised: vec![change], ..Default::default() };
        let said = details(Some(&Event::Submitted(submitted)), Language::Chinese);
        assert_eq!(said[1], "提高控制数：508001 T03/合计/total  41.85 万元 硬性 → 44.00 万元 硬性");
    }
}
