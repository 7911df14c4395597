//! What rules found, as it came over the wire: back to what this program words itself. The way there is the server's:
//! `grpc/rule_finding.rs`.

use super::output::Failure;
use crate::budget::cell::{Cell, CellAddress};
use crate::budget::digest::Digest;
use crate::budget::finding::Strength;
use crate::budget::money::{Amount, Decimals, Denomination};
use crate::budget::number::Number;
use crate::budget::rule::{Cause, CellSeen, Checked, Counts, Quantity, RuleFinding, Source, Verdict};
use crate::proto::{self, api};

/// The findings of an answer.
///
/// # Errors
/// A failure if they are none that this program can read.
pub(super) fn read(written: &[Vec<u8>]) -> Result<Vec<api::RuleFinding>, Failure> {
    proto::rule_findings(written).map_err(|error| Failure::Failed(error.to_string()))
}

/// All that rules found in one filing.
pub(super) fn checked(counts: Option<api::RuleCounts>, findings: &[api::RuleFinding]) -> Checked {
    Checked { findings: findings.iter().map(finding).collect(), counts: self::counts(counts.unwrap_or_default()) }
}

pub(super) fn counts(wire: api::RuleCounts) -> Counts {
    let api::RuleCounts { pass, pass_by_rounding, fail, not_evaluable } = wire;
    Counts { pass, pass_by_rounding, fail, not_evaluable }
}

fn finding(wire: &api::RuleFinding) -> RuleFinding {
    RuleFinding {
        rule: wire.rule.as_str().into(),
        strength: strength(wire.strength),
        check: number(wire.check),
        link: number(wire.link),
        place: CellAddress::new(&wire.table, &wire.row, &wire.column),
        row_title: wire.row_title.as_str().into(),
        verdict: match api::RuleVerdict::try_from(wire.verdict) {
            Ok(api::RuleVerdict::Pass) => Verdict::Pass,
            Ok(api::RuleVerdict::PassByRounding) => Verdict::PassByRounding,
            Ok(api::RuleVerdict::NotEvaluable) => Verdict::NotEvaluable,
            // What is not understood is taken as seriously as can be.
            Ok(api::RuleVerdict::Fail | api::RuleVerdict::Unspecified) | Err(_) => Verdict::Fail,
        },
        cells: wire.cells.iter().filter_map(cell).collect(),
        left_cells: number(wire.left_cells),
        looked: Digest::from_bytes(&wire.looked),
        left: wire.left.as_ref().map(quantity),
        relation: RELATIONS.into_iter().find(|known| *known == wire.relation).unwrap_or_default(),
        right: wire.right.as_ref().map(quantity),
        difference: wire.difference.as_ref().map(quantity),
        tolerance: wire.tolerance.as_ref().map(quantity),
        cause: wire.cause.as_ref().and_then(cause),
        after: (!wire.after.is_empty()).then(|| wire.after.as_str().into()),
    }
}

const RELATIONS: [&str; 6] = ["=", "≠", "<", "≤", ">", "≥"];

/// What follows from a finding; what is not understood is taken as seriously as can be.
pub(super) fn strength(strength: i32) -> Strength {
    match api::Strength::try_from(strength) {
        Ok(api::Strength::Logic) => Strength::Logic,
        Ok(api::Strength::Verify) => Strength::Verify,
        Ok(api::Strength::Balance | api::Strength::Unspecified) | Err(_) => Strength::Balance,
    }
}

fn number(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn cell(wire: &api::SeenCell) -> Option<CellSeen> {
    let source = match wire.source.as_str() {
        "" => Source::This,
        "last" => Source::Last,
        "round" => Source::Round,
        code => Source::Unit(code.into()),
    };
    let value = wire.value.as_ref().map(|value| match quantity(value) {
        Quantity::Amount(amount) => Cell::Amount(amount),
        Quantity::Percent(number) | Quantity::Number(number) => Cell::Number(number),
        Quantity::Text(text) if value.kind == i32::from(api::QuantityKind::Unreadable) => {
            Cell::Unreadable(text.as_str().into())
        }
        Quantity::Text(text) => Cell::Text(text.into()),
        Quantity::Blank => Cell::Blank,
    });
    Some(CellSeen { source, address: CellAddress::parse(&wire.cell)?, value })
}

fn quantity(wire: &api::Quantity) -> Quantity {
    let text = || Quantity::Text(wire.value.as_str().into());
    let number = || Number::parse(&wire.value, Decimals::AsWritten).ok();
    let read = match api::QuantityKind::try_from(wire.kind) {
        Ok(api::QuantityKind::Unspecified) => Some(Quantity::Blank),
        Ok(api::QuantityKind::Amount) => Denomination::parse(&wire.amount_unit)
            .and_then(|unit| Amount::parse(&wire.value, unit, Decimals::AsWritten).ok())
            .map(Quantity::Amount),
        Ok(api::QuantityKind::Percent) => number().map(Quantity::Percent),
        Ok(api::QuantityKind::Number) => number().map(Quantity::Number),
        Ok(api::QuantityKind::Text | api::QuantityKind::Unreadable) | Err(_) => None,
    };
    read.unwrap_or_else(text)
}

fn cause(wire: &api::Cause) -> Option<Cause> {
    let cell = || CellAddress::parse(&wire.cell);
    Some(match wire.code.as_str() {
        "table_missing" => Cause::TableMissing(wire.table.as_str().into()),
        "unit_table_missing" => Cause::UnitTableMissing(wire.unit.as_str().into(), wire.table.as_str().into()),
        "row_missing" => Cause::RowMissing(wire.table.as_str().into(), wire.row.as_str().into()),
        "no_last_year" => Cause::NoLastYear,
        "no_units" => Cause::NoUnits,
        "not_given" => Cause::NotGiven(wire.table.as_str().into()),
        "unreadable" => Cause::Unreadable(cell()?),
        "blank_factor" => Cause::BlankFactor(cell()?),
        "blank_condition" => Cause::BlankCondition(cell()?),
        "other_result" => Cause::OtherResult(cell()?),
        "division_by_zero" => Cause::DivisionByZero,
        "too_large" => Cause::TooLarge,
        "too_long" => Cause::TooLong,
        "filed_unevenly" => Cause::FiledUnevenly(wire.table.as_str().into()),
        _ => return None,
    })
}
