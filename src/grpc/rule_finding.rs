//! What rules found → wire messages. The way back is the client's: `cli/rule_finding.rs`.

use std::sync::Arc;

use compact_str::{CompactString, ToCompactString};
use prost::Message;

use super::limits::Bounds;
use crate::budget::cell::{Cell, CellAddress};
use crate::budget::finding::Strength;
use crate::budget::form_set::FormSet;
use crate::budget::rule::{Cause, CellSeen, Counts, Quantity, RuleFinding, Source, Verdict};
use crate::proto::{self, api};
use crate::wording::{Language, rule};

/// Words rule findings, with sentences or without.
pub(super) struct Wording {
    form: Arc<FormSet>,
    with_sentences: bool,
}

impl Wording {
    /// For findings by the rules of `form`; `sentences` as the request had it.
    pub(super) fn new(form: &Arc<FormSet>, sentences: i32) -> Wording {
        Wording { form: form.clone(), with_sentences: sentences != i32::from(api::Sentences::None) }
    }

    /// For an answer that leaves the wording to its reader.
    pub(super) fn without_sentences(form: &Arc<FormSet>) -> Wording {
        Wording { form: form.clone(), with_sentences: false }
    }

    /// As many as an answer can hold, in their order, and how many more there are.
    pub(super) fn findings(&self, findings: &[RuleFinding], bounds: &Bounds) -> (Vec<api::RuleFinding>, u32) {
        let mut places: Vec<usize> = (0..findings.len()).collect();
        places.sort_by_key(|at| (findings[*at].verdict != Verdict::Fail, findings[*at].strength, *at));
        // `limits::FINDING_BYTES_MAX`, as that answer has it.
        let (mut cells, mut bytes) = (bounds.finding_cells, bounds.answer_bytes / 2);
        let mut told = Vec::with_capacity(findings.len().min(cells));
        for at in places {
            let Some(left) = cells.checked_sub(1 + findings[at].cells.len()) else { continue };
            let finding = self.finding(&findings[at]);
            let Some(room) = bytes.checked_sub(finding.encoded_len()) else { break };
            (cells, bytes) = (left, room);
            told.push((at, finding));
        }
        told.sort_by_key(|(at, _)| *at);
        let left_out = number(findings.len() - told.len());
        (told.into_iter().map(|(_, finding)| finding).collect(), left_out)
    }

    pub(super) fn finding(&self, finding: &RuleFinding) -> api::RuleFinding {
        let sentence = |language| match self.with_sentences {
            true => rule::sentence(finding, &self.form, language),
            false => String::new(),
        };
        api::RuleFinding {
            rule: finding.rule.to_string(),
            strength: strength(finding.strength),
            check: number(finding.check),
            link: number(finding.link),
            table: finding.place.table.to_string(),
            row: finding.place.row.to_string(),
            column: finding.place.column.to_string(),
            row_title: finding.row_title.to_string(),
            verdict: verdict(finding.verdict),
            cells: finding.cells.iter().map(cell).collect(),
            left_cells: number(finding.left_cells),
            left: finding.left.as_ref().map(quantity),
            relation: finding.relation.to_owned(),
            right: finding.right.as_ref().map(quantity),
            difference: finding.difference.as_ref().map(quantity),
            tolerance: finding.tolerance.as_ref().map(quantity),
            cause: finding.cause.as_ref().map(cause),
            after: finding.after.as_ref().map(ToString::to_string).unwrap_or_default(),
            fingerprint: self.form.rules.fingerprint(finding).0.to_vec(),
            sentence_zh: sentence(Language::Chinese),
            sentence_en: sentence(Language::English),
            justification: None,
        }
    }
}

pub(super) fn counts(counts: Counts) -> api::RuleCounts {
    let Counts { pass, pass_by_rounding, fail, not_evaluable } = counts;
    api::RuleCounts { pass, pass_by_rounding, fail, not_evaluable }
}

pub(super) fn strength(strength: Strength) -> i32 {
    match strength {
        Strength::Balance => api::Strength::Balance,
        Strength::Logic => api::Strength::Logic,
        Strength::Verify => api::Strength::Verify,
    }
    .into()
}

pub(super) fn verdict(verdict: Verdict) -> i32 {
    match verdict {
        Verdict::Pass => api::RuleVerdict::Pass,
        Verdict::PassByRounding => api::RuleVerdict::PassByRounding,
        Verdict::Fail => api::RuleVerdict::Fail,
        Verdict::NotEvaluable => api::RuleVerdict::NotEvaluable,
    }
    .into()
}

fn number(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn cell(seen: &CellSeen) -> proto::SeenCell {
    let source = match &seen.source {
        Source::This => CompactString::default(),
        Source::Last => "last".into(),
        Source::Round => "round".into(),
        Source::Unit(code) => code.clone(),
    };
    let value = seen.value.as_ref().filter(|cell| !cell.is_blank()).map(value);
    proto::SeenCell { cell: seen.address.spelled(), source, value }
}

fn value(cell: &Cell) -> proto::Quantity {
    let of = |kind: api::QuantityKind| proto::Quantity {
        kind: kind.into(),
        value: cell.to_compact_string(),
        amount_unit: CompactString::default(),
    };
    match cell {
        Cell::Blank => of(api::QuantityKind::Unspecified),
        Cell::Amount(amount) => quantity(&Quantity::Amount(*amount)),
        Cell::Number(_) => of(api::QuantityKind::Number),
        Cell::Text(_) => of(api::QuantityKind::Text),
        Cell::Unreadable(_) => of(api::QuantityKind::Unreadable),
    }
}

fn quantity(quantity: &Quantity) -> proto::Quantity {
    let (kind, value, amount_unit) = match quantity {
        Quantity::Blank => (api::QuantityKind::Unspecified, CompactString::default(), ""),
        Quantity::Amount(amount) => {
            (api::QuantityKind::Amount, amount.to_compact_string(), amount.scale.denomination.as_str())
        }
        Quantity::Percent(number) => (api::QuantityKind::Percent, number.to_compact_string(), ""),
        Quantity::Number(number) => (api::QuantityKind::Number, number.to_compact_string(), ""),
        Quantity::Text(text) => (api::QuantityKind::Text, text.clone(), ""),
    };
    proto::Quantity { kind: kind.into(), value, amount_unit: amount_unit.into() }
}

fn cause(cause: &Cause) -> api::Cause {
    let (mut table, mut row, mut cell) = (String::new(), String::new(), String::new());
    let mut at = |address: &CellAddress| cell = address.to_string();
    match cause {
        Cause::TableMissing(id) | Cause::NotGiven(id) | Cause::FiledUnevenly(id) => table = id.to_string(),
        Cause::RowMissing(id, key) => (table, row) = (id.to_string(), key.to_string()),
        Cause::Unreadable(address) | Cause::BlankFactor(address) => at(address),
        Cause::NoLastYear | Cause::NoUnits | Cause::DivisionByZero | Cause::TooLarge => {}
    }
    api::Cause { code: cause.as_str().to_owned(), table, row, cell }
}
