//! Lines that a version was returned for: as sheet, row and column, and what became of each in the version after it.

use serde_json::{Value, json};

use super::output::alarm;
use super::review_events::line_json;
use super::words::say;
use crate::budget::finding::Place;
use crate::budget::form_set::FormSet;
use crate::proto::api::{LineAnswer, LineFate, ReturnedLine};
use crate::wording::{Language, label, place};

/// `N-03 其他说明 · 基本支出占比 (NOTE/-/basic_share)`, as much of it as is meant.
pub(super) fn place_of(line: &ReturnedLine, form: Option<&FormSet>, language: Language) -> String {
    let meant = Place::cell(&line.table, 0, &line.row, &line.column);
    format!("{} {}", line.rule, place(&meant, form, language)).trim().to_owned()
}

/// A line as whoever gave it back says it.
pub(super) fn line_text(line: &ReturnedLine, form: Option<&FormSet>, language: Language) -> String {
    format!("· {}  {}", place_of(line, form, language), line.text).trim_end().to_owned()
}

/// What became of returned lines, one a line.
pub(super) fn fates(answers: &[LineAnswer], form: Option<&FormSet>, language: Language) -> Vec<String> {
    let blank = label("cell-blank", language);
    let shown = |text: &str| if text.is_empty() { blank.to_owned() } else { text.to_owned() };
    let fate = |answer: &LineAnswer| {
        let line = answer.line.clone().unwrap_or_default();
        let here = place_of(&line, form, language);
        let said = match answer.fate() {
            LineFate::Changed => {
                let cell = |cell: &crate::proto::api::AnsweredCell| {
                    // Of a whole row or table one wants to know which cell.
                    let which = if line.column.is_empty() { format!("{} ", cell.cell) } else { String::new() };
                    format!("{which}{} → {}", shown(&cell.from), shown(&cell.to))
                };
                let mut cells: Vec<String> = answer.cells.iter().map(cell).collect();
                let more = u64::from(answer.changed).saturating_sub(answer.cells.len() as u64);
                if more > 0 {
                    cells.push(say(language, "answer-more", &[("n", &more.to_string())]));
                }
                format!("{}  {here}  {}", label("answer-changed", language), cells.join("; "))
            }
            LineFate::Justified => {
                format!("{}  {here}  {}", label("answer-justified", language), answer.justification)
            }
            LineFate::Unchanged | LineFate::Unspecified => {
                // Only what a rule found can be explained; of anything else nobody is to be told that it was not.
                let unanswered = if line.rule.is_empty() { "answer-same" } else { "answer-unchanged" };
                format!("{}  {here}", alarm(label(unanswered, language)))
            }
        };
        match line.text.as_str() {
            "" => said,
            asked => format!("{said}  {}", say(language, "answer-asked", &[("text", asked)])),
        }
    };
    answers.iter().map(fate).collect()
}

/// The same for programs.
pub(super) fn fates_json(answers: &[LineAnswer]) -> Value {
    let fate = |answer: &LineAnswer| {
        let fate = match answer.fate() {
            LineFate::Changed => "changed",
            LineFate::Justified => "justified",
            LineFate::Unchanged | LineFate::Unspecified => "unchanged",
        };
        let cell =
            |cell: &crate::proto::api::AnsweredCell| json!({ "cell": cell.cell, "from": cell.from, "to": cell.to });
        json!({
            "line": line_json(&answer.line.clone().unwrap_or_default()),
            "fate": fate,
            "cells": answer.cells.iter().map(cell).collect::<Vec<_>>(),
            "changed": answer.changed,
            "justification": answer.justification,
        })
    };
    answers.iter().map(fate).collect()
}
