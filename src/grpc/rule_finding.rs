//! What rules found → wire messages, written at once as the bytes that they are there. The way back is the client's:
//! `cli/rule_finding.rs`.

use std::sync::Arc;

use super::limits::Bounds;
use crate::budget::cell::{Cell, CellAddress};
use crate::budget::finding::Strength;
use crate::budget::form_set::FormSet;
use crate::budget::money::Amount;
use crate::budget::rule::{Cause, CellSeen, Counts, Fingerprint, Quantity, RuleFinding, Source, Verdict};
use crate::proto::{Message, api, write};
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
    pub(super) fn findings(&self, findings: &[RuleFinding], bounds: &Bounds) -> (Vec<Vec<u8>>, u32) {
        let all = self.fitting(findings, 0..findings.len(), bounds);
        if all.len() == findings.len() {
            return (all.into_iter().map(|(_, written)| written).collect(), 0);
        }
        let mut places: Vec<usize> = (0..findings.len()).collect();
        places.sort_by_key(|at| (findings[*at].verdict != Verdict::Fail, findings[*at].strength, *at));
        let mut told = self.fitting(findings, places, bounds);
        told.sort_by_key(|(at, _)| *at);
        let left_out = u32::try_from(findings.len() - told.len()).unwrap_or(u32::MAX);
        (told.into_iter().map(|(_, written)| written).collect(), left_out)
    }

    /// Those at these places that fit into an answer, one after the other.
    fn fitting(
        &self,
        findings: &[RuleFinding],
        places: impl IntoIterator<Item = usize>,
        bounds: &Bounds,
    ) -> Vec<(usize, Vec<u8>)> {
        let (mut cells, mut bytes) = (bounds.finding_cells, bounds.finding_bytes());
        let mut told = Vec::with_capacity(findings.len().min(cells));
        for at in places {
            let finding = &findings[at];
            let Some(left) = cells.checked_sub(1 + finding.cells.len()) else { continue };
            let fingerprint = finding.failed().then(|| self.form.rules.fingerprint(finding));
            let written = self.finding(finding, fingerprint.as_ref(), None);
            let Some(room) = bytes.checked_sub(written.len()) else { break };
            (cells, bytes) = (left, room);
            told.push((at, written));
        }
        told
    }

    /// One of them as a `RuleFinding`, with its fingerprint, if it has one, and what its unit has said about it.
    pub(super) fn finding(
        &self,
        finding: &RuleFinding,
        fingerprint: Option<&Fingerprint>,
        justification: Option<&api::Justification>,
    ) -> Vec<u8> {
        let mut written = Vec::with_capacity(256 + 64 * finding.cells.len());
        let out = &mut written;
        write::text(1, &finding.rule, out);
        write::number(2, strength(finding.strength), out);
        write::number(3, finding.check, out);
        write::number(4, finding.link, out);
        write::text(5, &finding.place.table, out);
        write::text(6, &finding.place.row, out);
        write::text(7, &finding.place.column, out);
        write::text(8, &finding.row_title, out);
        write::number(9, verdict(finding.verdict), out);
        for seen in &finding.cells {
            write::message(10, out, |out| put_cell(seen, out));
        }
        write::number(11, finding.left_cells, out);
        let put_side = |field, side: &Option<Quantity>, out: &mut Vec<u8>| {
            if let Some(quantity) = side {
                write::message(field, out, |out| put_quantity(quantity, out));
            }
        };
        put_side(12, &finding.left, out);
        write::text(13, finding.relation, out);
        put_side(14, &finding.right, out);
        put_side(15, &finding.difference, out);
        put_side(16, &finding.tolerance, out);
        if let Some(cause) = &finding.cause {
            write::message(17, out, |out| put_cause(cause, out));
        }
        write::text(18, finding.after.as_deref().unwrap_or_default(), out);
        write::bytes(19, fingerprint.map_or(&[], |fingerprint| &fingerprint.0), out);
        if self.with_sentences {
            write::text(20, &rule::sentence(finding, &self.form, Language::Chinese), out);
            write::text(21, &rule::sentence(finding, &self.form, Language::English), out);
        }
        if let Some(said) = justification {
            write::message(22, out, |out| out.extend(said.encode_to_vec()));
        }
        write::bytes(23, finding.looked.as_ref().map_or(&[], |looked| &looked.0), out);
        written
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

/// The fields of a `SeenCell`.
fn put_cell(seen: &CellSeen, out: &mut Vec<u8>) {
    put_address(1, &seen.address, out);
    match &seen.source {
        Source::This => {}
        Source::Last => write::text(2, "last", out),
        Source::Round => write::text(2, "round", out),
        Source::Unit(code) => write::text(2, code, out),
    }
    if let Some(cell) = seen.value.as_ref().filter(|cell| !cell.is_blank()) {
        write::message(3, out, |out| match cell {
            Cell::Blank => {}
            Cell::Amount(amount) => put_amount(amount, out),
            Cell::Number(number) => put_value(api::QuantityKind::Number, &number.to_text(), out),
            Cell::Text(text) => put_value(api::QuantityKind::Text, text, out),
            Cell::Unreadable(text) => put_value(api::QuantityKind::Unreadable, text, out),
        });
    }
}

/// An address as it prints.
fn put_address(field: u32, CellAddress { table, row, column }: &CellAddress, out: &mut Vec<u8>) {
    write::texts(field, &[table, "/", row, "/", column], out);
}

/// The fields of a `Quantity`.
fn put_quantity(quantity: &Quantity, out: &mut Vec<u8>) {
    match quantity {
        Quantity::Blank => {}
        Quantity::Amount(amount) => put_amount(amount, out),
        Quantity::Percent(number) => put_value(api::QuantityKind::Percent, &number.to_text(), out),
        Quantity::Number(number) => put_value(api::QuantityKind::Number, &number.to_text(), out),
        Quantity::Text(text) => put_value(api::QuantityKind::Text, text, out),
    }
}

/// The same of money.
fn put_amount(amount: &Amount, out: &mut Vec<u8>) {
    put_value(api::QuantityKind::Amount, &amount.to_text(), out);
    write::text(3, amount.scale.denomination.as_str(), out);
}

fn put_value(kind: api::QuantityKind, value: &str, out: &mut Vec<u8>) {
    write::number(1, i32::from(kind), out);
    write::text(2, value, out);
}

/// The fields of a `Cause`.
fn put_cause(cause: &Cause, out: &mut Vec<u8>) {
    write::text(1, cause.as_str(), out);
    match cause {
        Cause::TableMissing(id) | Cause::NotGiven(id) | Cause::FiledUnevenly(id) => write::text(2, id, out),
        Cause::UnitTableMissing(unit, id) => {
            write::text(2, id, out);
            write::text(5, unit, out);
        }
        Cause::RowMissing(id, key) => {
            write::text(2, id, out);
            write::text(3, key, out);
        }
        Cause::Unreadable(address)
        | Cause::BlankFactor(address)
        | Cause::BlankCondition(address)
        | Cause::OtherResult(address) => put_address(4, address, out),
        Cause::NoLastYear | Cause::NoUnits | Cause::DivisionByZero | Cause::TooLarge | Cause::TooLong => {}
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::budget::rule::{Books, evaluate};
    use crate::submission_file::SubmissionFile;

    /// Field by field what generated code would write: nothing out of order, nothing empty, no length of its own.
    #[test]
    fn findings_are_written_as_generated_code_writes_them() {
        let forms = crate::consolidator::embedded_form_sets().into_iter();
        let forms: Vec<Arc<FormSet>> = forms.map(|files| Arc::new(FormSet::load(files).unwrap())).collect();
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
        let mut kinds = BTreeSet::new();
        for folder in ["fenyang-2024", "linjiang-2024"] {
            for entry in std::fs::read_dir(examples.join(folder).join("submissions")).unwrap() {
                let path = entry.unwrap().path();
                let file = SubmissionFile::read(&std::fs::read_to_string(&path).unwrap()).unwrap();
                let form = forms.iter().find(|form| form.id == file.form_set.as_str()).unwrap();
                let reading = file.read_on(form);
                let checked = evaluate(form, &Books::of(&reading.submission), |_| true);
                let said =
                    api::Justification { text: "已核对".into(), position: 7, ..api::Justification::default() };
                let wording = Wording { form: form.clone(), with_sentences: true };
                for finding in &checked.findings {
                    let fingerprint = finding.failed().then(|| form.rules.fingerprint(finding));
                    let written = wording.finding(finding, fingerprint.as_ref(), Some(&said));
                    let read = api::RuleFinding::decode(written.as_slice()).unwrap();
                    assert_eq!(read.encode_to_vec(), written, "{path:?} {} {}", finding.rule, finding.place);
                    let named = fingerprint.map(|fingerprint| fingerprint.0.to_vec()).unwrap_or_default();
                    assert_eq!((&read.fingerprint, read.justification.as_ref()), (&named, Some(&said)));
                    kinds.extend(read.cells.iter().filter_map(|cell| Some(cell.value.as_ref()?.kind)));
                }
            }
        }
        assert_eq!(kinds.len(), 3, "amounts, numbers and texts: {kinds:?}");
    }
}
