//! What the check rules found, on the screen, for programs and for spreadsheets; and a rule explained.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::output::{Look, Sheet, Show, alarm, strong};
use super::words::say;
use crate::budget::cell::{Cell, CellAddress};
use crate::budget::finding::Strength;
use crate::budget::form_set::FormSet;
use crate::budget::rule::{Cause, Checked, Counts, Coverage, Quantity, Rule, RuleFinding, Source, Verdict};
use crate::wording::{Language, label, rule};

/// What the rules of a form set found, as it stands on a screen without colours.
pub fn screen(form: &FormSet, checked: &Checked, language: Language) -> String {
    let look = Look { language, width: None, colour: false };
    super::output::finish(&text(form, checked, &[], &look), false)
}

/// How many times rules came out how.
pub(super) fn counts(counts: Counts, language: Language) -> String {
    let counted = [
        ("pass", counts.pass),
        ("rounding", counts.pass_by_rounding),
        ("fail", counts.fail),
        ("not_evaluable", counts.not_evaluable),
    ]
    .map(|(name, count)| (name, count.to_string()));
    say(language, "rule-counts", &counted.each_ref().map(|(name, count)| (*name, count.as_str())))
}

/// Counts, then failures by strength, then what can't be judged, then what rounding explains.
fn text(form: &FormSet, checked: &Checked, said: &[Said], look: &Look) -> String {
    let language = look.language;
    let mut out = format!("  {}\n", counts(checked.counts, language));
    out.push_str(&failed(&ALL_STRENGTHS, form, checked, said, look));
    out.push_str(&not_judged(form, checked, language, |_| true));
    for finding in checked.findings.iter().filter(|finding| finding.verdict == Verdict::PassByRounding) {
        let brief = rule::brief(finding, form, language);
        out.push_str(&format!("  [{}] {brief}\n", label("rule-by-rounding", language)));
    }
    out
}

/// What can't be judged. What many formulas lack, such as a table, is said once, with the rules that lack it.
fn not_judged(form: &FormSet, checked: &Checked, language: Language, wanted: fn(&Cause) -> bool) -> String {
    let mut lacks: Vec<(String, Vec<&RuleFinding>)> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let not_evaluable = checked.findings.iter().filter(|finding| finding.verdict == Verdict::NotEvaluable);
    for finding in not_evaluable.filter(|finding| finding.cause.as_ref().is_some_and(wanted)) {
        let why = rule::cause(finding, form, language);
        let at = *places.entry(why.clone()).or_insert(lacks.len());
        match lacks.get_mut(at) {
            Some((_, alike)) => alike.push(finding),
            None => lacks.push((why, vec![finding])),
        }
    }
    let line = |(why, alike): (String, Vec<&RuleFinding>)| {
        let said = match alike.as_slice() {
            [one] => rule::brief(one, form, language),
            many => {
                let rules = many.chunk_by(|a, b| a.rule == b.rule).filter_map(|of| Some((&of.first()?.rule, of.len())));
                let rules = rules.map(|(rule, count)| match count {
                    1 => rule.to_string(),
                    more => say(language, "rule-lacks-times", &[("rule", rule), ("n", &more.to_string())]),
                });
                let rules = rules.collect::<Vec<_>>().join(language.of("、", ", "));
                say(language, "rule-lacks", &[("why", &why), ("rules", &rules)])
            }
        };
        format!("  [{}] {said}\n", label("rule-not-evaluable", language))
    };
    lacks.into_iter().map(line).collect()
}

const ALL_STRENGTHS: [Strength; 3] = [Strength::Balance, Strength::Logic, Strength::Verify];

/// What failed, one after the other.
pub(super) fn failures(form: &FormSet, checked: &Checked, look: &Look) -> String {
    failed(&ALL_STRENGTHS, form, checked, &[], look)
}

/// What failed of some strengths, with what was said about it.
fn failed(strengths: &[Strength], form: &FormSet, checked: &Checked, said: &[Said], look: &Look) -> String {
    let language = look.language;
    let mut out = String::new();
    for strength in strengths.iter().copied() {
        let fails = |finding: &RuleFinding| finding.failed() && finding.strength == strength;
        let failed = checked.findings.iter().enumerate().filter(|(_, finding)| fails(finding));
        let mut rest = failed.peekable();
        while let Some((at, finding)) = rest.next() {
            let name = strength_name(strength, language);
            let name = if strength == Strength::Balance { alarm(name) } else { name.to_owned() };
            out.push_str(&format!("  [{name}] {}\n", rule::heading(finding, form, language)));
            for line in rule::lines(finding, form, language) {
                out.push_str(&format!("      {line}\n"));
            }
            match said.get(at) {
                Some(Said::Text(text)) => {
                    out.push_str(&format!("      {}\n", say(language, "rule-said", &[("text", text)])));
                }
                Some(Said::Nothing) if strength == Strength::Logic => {
                    out.push_str(&format!("      {}\n", label("rule-unsaid", language)));
                }
                Some(Said::Nothing) | None => {}
            }
            // What holds for a row of findings is said once, behind them.
            let formula = |finding: &RuleFinding| (finding.rule.clone(), finding.check, finding.after.clone());
            if rest.peek().is_none_or(|(_, next)| formula(next) != formula(finding)) {
                for line in rule::advice(finding, form, language) {
                    out.push_str(&format!("      {line}\n"));
                }
            }
        }
    }
    out
}

/// The same for programs.
pub fn answer(form: &FormSet, checked: &Checked) -> Value {
    let counts = checked.counts;
    json!({
        "form_set": form.id.as_str(),
        "form_set_digest": form.digest.to_string(),
        "pass": counts.pass,
        "pass_by_rounding": counts.pass_by_rounding,
        "fail": counts.fail,
        "not_evaluable": counts.not_evaluable,
        "findings": checked.findings.iter().map(|finding| finding_json(form, finding)).collect::<Vec<_>>(),
    })
}

pub(super) fn finding_json(form: &FormSet, finding: &RuleFinding) -> Value {
    let known = form.rules.rule(&finding.rule).map(|(_, rule)| rule);
    let check = known.and_then(|rule| rule.checks.get(finding.check));
    let formula = check.map_or("", |check| check.formula.as_str());
    let of = |text: fn(&Rule) -> &str| known.map_or("", text);
    json!({
        "rule": finding.rule.as_str(),
        "title_zh": of(|rule| &rule.title),
        "title_en": of(|rule| &rule.title_en),
        "strength": finding.strength.as_str(),
        "verdict": finding.verdict.as_str(),
        "check": finding.check,
        "link": finding.link,
        "formula": formula,
        "table": finding.place.table.as_str(),
        "row": finding.place.row.as_str(),
        "column": finding.place.column.as_str(),
        "row_title": finding.row_title.as_str(),
        "left": quantity(finding.left.as_ref()),
        "relation": finding.relation,
        "right": quantity(finding.right.as_ref()),
        "difference": quantity(finding.difference.as_ref()),
        "tolerance": quantity(finding.tolerance.as_ref()),
        "cells": finding.cells.iter().map(|cell| json!({
            "source": source(&cell.source),
            "cell": cell.address.to_string(),
            // As a server says it: blank, or not there at all, is no value.
            "value": cell.value.as_ref().filter(|cell| !cell.is_blank()).map(Cell::to_string),
        })).collect::<Vec<_>>(),
        "left_cells": finding.left_cells,
        "cause": finding.cause.as_ref().map(|cause| cause.as_str()),
        "after": finding.after.as_ref().map(|rule| rule.as_str()),
        "fingerprint": finding.failed().then(|| form.rules.fingerprint(finding).to_string()),
        "sentence_zh": rule::sentence(finding, form, Language::Chinese),
        "sentence_en": rule::sentence(finding, form, Language::English),
    })
}

/// What the rules of a form set found in one filing.
#[derive(Clone, Debug)]
pub(super) struct Judged {
    pub(super) form: Arc<FormSet>,
    pub(super) checked: Checked,
    pub(super) coverage: Option<Coverage>,
    /// What the unit said about each finding, where that is known.
    pub(super) said: Vec<Said>,
    /// Of those that are to be explained, how many are.
    pub(super) justified: usize,
}

/// What a unit said about a finding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Said {
    /// Nothing yet.
    #[default]
    Nothing,
    /// This.
    Text(String),
}

impl Judged {
    /// What refuses in full; of the rest, how many places each rule failed at.
    pub(super) fn brief(&self, look: &Look) -> String {
        let language = look.language;
        if self.form.rules.rules.is_empty() {
            return String::new();
        }
        let mut out = format!("  {}\n", counts(self.checked.counts, language));
        // A table that was forgotten is no matter for later.
        out.push_str(&not_judged(&self.form, &self.checked, language, |why| {
            matches!(why, Cause::TableMissing(_) | Cause::UnitTableMissing(..))
        }));
        out.push_str(&failed(&[Strength::Balance], &self.form, &self.checked, &self.said, look));
        for strength in [Strength::Logic, Strength::Verify] {
            for known in self.form.rules.rules.iter().filter(|known| known.strength == strength) {
                let failed = |finding: &&RuleFinding| finding.failed() && finding.rule == known.id;
                let places = self.checked.findings.iter().filter(failed).count();
                if places > 0 {
                    let facts = [("rule", known.id.as_str()), ("title", rule::title(known, language))];
                    let places = places.to_string();
                    let line = say(language, "rule-places", &[&facts[..], &[("n", &places)]].concat());
                    out.push_str(&format!("  [{}] {line}\n", strength_name(strength, language)));
                }
            }
        }
        out.push_str(&self.to_justify(language));
        out
    }

    /// What the unit has to explain.
    fn to_justify(&self, language: Language) -> String {
        let all = self.checked.findings.iter().filter(|finding| finding.must_be_justified()).count();
        match all.saturating_sub(self.justified) {
            0 => String::new(),
            count => format!("  {}\n", say(language, "rule-to-justify", &[("n", &count.to_string())])),
        }
    }

    /// The findings, and what no rule looked at if that was asked.
    pub(super) fn text(&self, look: &Look) -> String {
        let language = look.language;
        if self.form.rules.rules.is_empty() {
            return String::new();
        }
        let mut out = text(&self.form, &self.checked, &self.said, look);
        if self.said.is_empty() {
            out.push_str(&self.to_justify(language));
        }
        if let Some(coverage) = &self.coverage {
            let touched = (coverage.amounts - coverage.untouched.len()).to_string();
            let facts = [("amounts", coverage.amounts.to_string()), ("touched", touched)];
            let facts = facts.each_ref().map(|(name, fact)| (*name, fact.as_str()));
            out.push_str(&format!("  {}\n", say(language, "rule-coverage", &facts)));
            if !coverage.untouched.is_empty() {
                let cells = coverage.untouched.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                out.push_str(&format!("  {}\n", say(language, "rule-untouched", &[("cells", &cells)])));
            }
        }
        out
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let mut value = answer(&self.form, &self.checked);
        for (at, said) in self.said.iter().enumerate() {
            value["findings"][at]["justification"] = match said {
                Said::Nothing => Value::Null,
                Said::Text(text) => text.as_str().into(),
            };
        }
        if let Some(coverage) = &self.coverage {
            value["coverage"] = json!({
                "amounts": coverage.amounts,
                "untouched": coverage.untouched.iter().map(ToString::to_string).collect::<Vec<_>>(),
            });
        }
        value
    }

    /// For spreadsheets: the columns of a finding about shape, with the rule in place of the reason.
    pub(super) fn cells(&self) -> Vec<Vec<String>> {
        let told = self.checked.findings.iter().zip(self.all_cells());
        let told = told.filter(|(finding, _)| finding.verdict != Verdict::PassByRounding);
        told.map(|(_, (cells, _))| cells).collect()
    }

    /// Those of all findings, each with what the unit said.
    pub(super) fn all_cells(&self) -> Vec<(Vec<String>, String)> {
        let row = |(at, finding): (usize, &RuleFinding)| {
            let CellAddress { table, row, column } = &finding.place;
            let said = match self.said.get(at) {
                Some(Said::Text(text)) => text.clone(),
                Some(Said::Nothing) | None => String::new(),
            };
            let cells = vec![
                finding.strength.as_str().to_owned(),
                finding.rule.to_string(),
                table.to_string(),
                "0".to_owned(),
                row.to_string(),
                column.to_string(),
                rule::sentence(finding, &self.form, Language::Chinese),
                rule::sentence(finding, &self.form, Language::English),
                finding.verdict.as_str().to_owned(),
            ];
            (cells, said)
        };
        self.checked.findings.iter().enumerate().map(row).collect()
    }
}

fn quantity(quantity: Option<&Quantity>) -> Value {
    match quantity {
        None => Value::Null,
        Some(Quantity::Blank) => json!({ "value": "" }),
        Some(Quantity::Amount(amount)) => {
            json!({ "value": amount.to_string(), "amount_unit": amount.scale.denomination.as_str() })
        }
        Some(other @ (Quantity::Percent(_) | Quantity::Number(_) | Quantity::Text(_))) => {
            json!({ "value": other.to_string() })
        }
    }
}

fn source(source: &Source) -> String {
    match source {
        Source::This => "this".to_owned(),
        Source::Last => "last".to_owned(),
        Source::Round => "round".to_owned(),
        Source::Unit(code) => code.to_string(),
    }
}

/// 必须改正, 请说明, 请核实.
fn strength_name(strength: Strength, language: Language) -> &'static str {
    match strength {
        Strength::Balance => label("strength-balance", language),
        Strength::Logic => label("strength-logic", language),
        Strength::Verify => label("strength-verify", language),
    }
}

/// A rule, explained.
pub(super) struct Explained {
    pub(super) form: Arc<FormSet>,
    pub(super) rule: usize,
}

impl Explained {
    fn rule(&self) -> Option<&Rule> {
        self.form.rules.rules.get(self.rule)
    }
}

impl Show for Explained {
    fn text(&self, look: &Look) -> String {
        let Some(known) = self.rule() else { return String::new() };
        rule_text(known, &self.form, look.language)
    }

    fn json(&self) -> Value {
        self.rule().map_or(Value::Null, rule_json)
    }

    fn sheet(&self) -> Sheet {
        let rows = self.rule().map(rule_cells).into_iter().collect();
        Sheet { columns: RULE_COLUMNS.to_vec(), rows }
    }
}

/// Id, title, strength, reason, formulas as written and read aloud, what to do.
fn rule_text(known: &Rule, form: &FormSet, language: Language) -> String {
    let mut out = format!("{}\n\n", strong(&format!("{}  {}", known.id, rule::title(known, language))));
    let mut line = |key: &str, facts: &[(&str, &str)]| out.push_str(&format!("{}\n", say(language, key, facts)));
    line("rules-of", &[("form", &form.title)]);
    line("rule-strength", &[("strength", strength_name(known.strength, language))]);
    line("rule-reason", &[("reason", language.of(&known.reason, &known.reason_en))]);
    for check in &known.checks {
        line("rule-written", &[("formula", &check.formula)]);
        line("rule-aloud", &[("aloud", language.of(&check.aloud, &check.aloud_en))]);
    }
    let example = language.of(&known.example, &known.example_en);
    if !example.is_empty() {
        line("rule-example", &[("example", example)]);
    }
    line("rule-todo", &[("todo", language.of(&known.todo, &known.todo_en))]);
    out
}

/// A rule for programs.
pub(super) fn rule_json(known: &Rule) -> Value {
    json!({
        "id": known.id.as_str(),
        "title_zh": known.title,
        "title_en": known.title_en,
        "strength": known.strength.as_str(),
        "reason_zh": known.reason,
        "reason_en": known.reason_en,
        "todo_zh": known.todo,
        "todo_en": known.todo_en,
        "example_zh": known.example,
        "example_en": known.example_en,
        "checks": known.checks.iter().map(|check| json!({
            "formula": check.formula,
            "aloud_zh": check.aloud,
            "aloud_en": check.aloud_en,
        })).collect::<Vec<_>>(),
    })
}

const RULE_COLUMNS: [&str; 7] = ["rule", "title_zh", "title_en", "strength", "formula", "aloud_zh", "aloud_en"];

fn rule_cells(known: &Rule) -> Vec<String> {
    let all =
        |text: fn(&crate::budget::rule::Check) -> &str| known.checks.iter().map(text).collect::<Vec<_>>().join("\n");
    vec![
        known.id.to_string(),
        known.title.clone(),
        known.title_en.clone(),
        known.strength.as_str().to_owned(),
        all(|check| &check.formula),
        all(|check| &check.aloud),
        all(|check| &check.aloud_en),
    ]
}

/// The rules of a form set, one line each.
pub(super) fn rules_text(form: &FormSet, language: Language) -> String {
    if form.rules.rules.is_empty() {
        return String::new();
    }
    let mut out = format!("\n{}\n", strong(label("rules-title", language)));
    for known in &form.rules.rules {
        let strength = strength_name(known.strength, language);
        out.push_str(&format!("  {} [{strength}] {}\n", known.id, rule::title(known, language)));
        for check in &known.checks {
            out.push_str(&format!("      {}\n", language.of(&check.aloud, &check.aloud_en)));
        }
    }
    out
}
