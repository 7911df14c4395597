//! Findings and ceilings for people: where something is, as on the sheet, and what to do.
//!
//! The same for a finding of this program ([`finding::Finding`]) and one that came over the wire.

use serde_json::{Value, json};

use super::output::{Grid, Look, alarm};
use super::words::{grouped, say};
use crate::budget::cell::CellAddress;
use crate::budget::finding::{self, Strength};
use crate::budget::form_set::FormSet;
use crate::budget::reason::{Reason, Remark};
use crate::budget::rule::Verdict;
use crate::proto::api;
use crate::wording::{Language, label, sentence};

/// A finding, wherever it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    strength: Strength,
    reason: String,
    table: String,
    line: u32,
    row: String,
    column: String,
    facts: Vec<(String, String)>,
    zh: String,
    en: String,
}

impl Note {
    /// A finding that this program made.
    pub(super) fn local(finding: &finding::Finding) -> Note {
        Note {
            strength: finding.strength,
            reason: finding.reason().code().to_owned(),
            table: finding.place.table.to_string(),
            line: finding.place.line,
            row: finding.place.row.to_string(),
            column: finding.place.column.to_string(),
            facts: finding.remark.facts.clone(),
            zh: sentence(&finding.remark, Language::Chinese),
            en: sentence(&finding.remark, Language::English),
        }
    }

    /// A finding that the server made, in the server's words.
    pub(super) fn wire(finding: &api::Finding) -> Note {
        let facts: Vec<(String, String)> = finding.facts.iter().map(|f| (f.name.clone(), f.value.clone())).collect();
        let own = |words: &str, language| match Reason::from_code(&finding.reason) {
            Some(reason) if words.is_empty() => sentence(&Remark { reason, facts: facts.clone() }, language),
            _ => words.to_owned(),
        };
        Note {
            strength: super::rule_finding::strength(finding.strength),
            reason: finding.reason.clone(),
            table: finding.table.clone(),
            line: finding.line,
            row: finding.row.clone(),
            column: finding.column.clone(),
            zh: own(&finding.sentence_zh, Language::Chinese),
            en: own(&finding.sentence_en, Language::English),
            facts,
        }
    }

    /// Where it is: `甲表（A1） 第 3 行 9010109 基本支出（basic）`.
    pub(super) fn place(&self, form: Option<&FormSet>, language: Language) -> String {
        let table = form.and_then(|form| form.table(&self.table)).map(|(_, table)| table);
        let named = |name: &str, id: &str| say(language, "named", &[("name", name), ("id", id)]);
        let mut parts = Vec::new();
        match table {
            _ if self.table.is_empty() => parts.push(label("place-whole", language).to_owned()),
            Some(table) => parts.push(named(&table.name, &self.table)),
            None => parts.push(self.table.clone()),
        }
        if self.line > 0 {
            parts.push(say(language, "place-line", &[("line", &self.line.to_string())]));
        }
        if !self.row.is_empty() {
            let known = form.zip(table).map_or("", |(form, table)| form.row_label(table, &self.row));
            parts.push(if known.is_empty() { self.row.clone() } else { format!("{} {known}", self.row) });
        }
        if !self.column.is_empty() {
            let known = table.and_then(|table| table.column(&self.column).and_then(|at| table.columns.get(at)));
            parts.push(known.map_or_else(|| self.column.clone(), |column| named(&column.label, &self.column)));
        }
        parts.join(" · ")
    }

    /// The sentence.
    pub(super) fn sentence(&self, language: Language) -> &str {
        match language {
            Language::Chinese => &self.zh,
            Language::English => &self.en,
        }
    }

    /// Whether a filing with it is refused.
    pub(super) fn refuses(&self) -> bool {
        self.strength == Strength::Balance
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        json!({
            "strength": self.strength.as_str(),
            "reason": self.reason,
            "table": self.table,
            "line": self.line,
            "row": self.row,
            "column": self.column,
            "facts": self.facts.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
            "sentence_zh": self.zh,
            "sentence_en": self.en,
        })
    }

    /// Names of the columns of [`Note::cells`].
    pub(super) const COLUMNS: [&'static str; 9] =
        ["strength", "reason", "table", "line", "row", "column", "sentence_zh", "sentence_en", "verdict"];

    /// For spreadsheets.
    pub(super) fn cells(&self) -> Vec<String> {
        vec![
            self.strength.as_str().to_owned(),
            self.reason.clone(),
            self.table.clone(),
            self.line.to_string(),
            self.row.clone(),
            self.column.clone(),
            self.zh.clone(),
            self.en.clone(),
            // What is found of a filing's shape is wrong; only rules come out otherwise, too.
            Verdict::Fail.as_str().to_owned(),
        ]
    }
}

/// How many of each strength: `拒绝 3 · 须说明 0 · 请核实 2`; empty if there are none.
pub(super) fn counts(notes: &[Note], language: Language) -> String {
    let of = |strength: Strength| notes.iter().filter(|note| note.strength == strength).count();
    let parts: Vec<String> = [Strength::Balance, Strength::Logic, Strength::Verify]
        .into_iter()
        .map(|strength| (strength_name(strength, language), of(strength)))
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    parts.join(" · ")
}

/// 拒绝, 须说明, 请核实.
fn strength_name(strength: Strength, language: Language) -> &'static str {
    match strength {
        Strength::Balance => label("strength-balance", language),
        Strength::Logic => label("strength-logic", language),
        Strength::Verify => label("strength-verify", language),
    }
}

/// All findings, the refusing ones first, each with place, sentence and code.
pub(super) fn list(notes: &[Note], form: Option<&FormSet>, look: &Look) -> String {
    let mut sorted: Vec<&Note> = notes.iter().collect();
    sorted.sort_by_key(|note| note.strength);
    let mut out = String::new();
    for note in sorted {
        let name = strength_name(note.strength, look.language);
        let name = if note.refuses() { alarm(name) } else { name.to_owned() };
        out.push_str(&format!("  [{name}] {}\n", note.place(form, look.language)));
        for line in note.sentence(look.language).lines() {
            out.push_str(&format!("      {line}\n"));
        }
        out.push_str(&format!("      ({})\n", note.reason));
    }
    out
}

/// What is left under each ceiling.
pub(super) fn headroom(judgements: &[api::Judgement], form: Option<&FormSet>, look: &Look) -> String {
    let word = |key| label(key, look.language);
    let is_shared = judgements.iter().any(|judgement| taken(judgement).is_some());
    let mut grid = Grid::new().text(word("head-holder"));
    if form.is_some() {
        grid = grid.text(word("head-figure"));
    }
    grid = grid.text(word("head-cell")).figures(word("head-ceiling"));
    if is_shared {
        grid = grid.figures(word("head-taken"));
    }
    grid = grid
        .figures(word("head-filed"))
        .figures(word("head-headroom"))
        .text(word("head-amount-unit"))
        .text(word("head-ceiling-strength"))
        .text("");
    for judgement in judgements {
        let mut cells = vec![judgement.unit.clone()];
        cells.extend(form.map(|form| cell_name(form, &judgement.cell)));
        cells.extend([judgement.cell.clone(), grouped(&judgement.ceiling)]);
        cells.extend(is_shared.then(|| taken(judgement).map(grouped).unwrap_or_default()));
        cells.extend([
            grouped(&judgement.filed),
            grouped(&judgement.headroom),
            judgement.amount_unit.clone(),
            ceiling_strength(&judgement.strength, look.language),
            if judgement.over { word("over").to_owned() } else { String::new() },
        ]);
        grid.row(cells);
    }
    if grid.is_empty() { String::new() } else { grid.draw(look) }
}

/// What others have of a ceiling that several units share, if they have anything.
fn taken(judgement: &api::Judgement) -> Option<&str> {
    Some(judgement.taken.as_str()).filter(|taken| taken.bytes().any(|digit| matches!(digit, b'1'..=b'9')))
}

/// `甲表 · 甲类支出 · 基本支出`, for a cell's address.
fn cell_name(form: &FormSet, cell: &str) -> String {
    let Some(address) = CellAddress::parse(cell) else { return String::new() };
    let Some((_, table)) = form.table(&address.table) else { return String::new() };
    let row = match form.row_label(table, &address.row) {
        "" => address.row.as_str(),
        label => label,
    };
    let column = table.column(&address.column).and_then(|at| table.columns.get(at));
    format!("{} · {row} · {}", table.name, column.map_or("", |column| column.label.as_str()))
}

/// 硬性, 参考.
pub(super) fn ceiling_strength(code: &str, language: Language) -> String {
    match code {
        "hard" => label("ceiling-hard", language).to_owned(),
        "advisory" => label("ceiling-advisory", language).to_owned(),
        "none" => label("ceiling-none", language).to_owned(),
        "lifted" => label("ceiling-lifted", language).to_owned(),
        other => other.to_owned(),
    }
}

/// A judgement for programs.
pub(super) fn judgement_json(judgement: &api::Judgement) -> Value {
    json!({
        "unit": judgement.unit,
        "cell": judgement.cell,
        "ceiling": judgement.ceiling,
        "filed": judgement.filed,
        "headroom": judgement.headroom,
        "amount_unit": judgement.amount_unit,
        "strength": judgement.strength,
        "over": judgement.over,
        "taken": judgement.taken,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(strength: Strength) -> Note {
        Note::local(&finding::Finding {
            strength,
            place: finding::Place::cell("T1", 3, "901", "basic"),
            remark: Remark::new(Reason::AmountSeparator).with("found", "1,0"),
        })
    }

    #[test]
    fn places_read_like_a_sheet() {
        let place = note(Strength::Balance).place(None, Language::Chinese);
        assert_eq!(place, "T1 · 第 3 行 · 901 · basic");
    }

    #[test]
    fn what_refuses_comes_first_and_is_counted() {
        let notes = [note(Strength::Verify), note(Strength::Balance), note(Strength::Verify)];
        assert_eq!(counts(&notes, Language::Chinese).matches(" · ").count(), 1);
        assert!(counts(&notes, Language::Chinese).ends_with(" 2"));
        let text = list(&notes, None, &Look { language: Language::English, width: None, colour: false });
        assert_eq!(text.matches("AMOUNT_SEPARATOR").count() % 3, 0, "{text}");
    }

    #[test]
    fn an_unknown_strength_refuses() {
        assert!(Note::wire(&api::Finding::default()).refuses());
    }
}
