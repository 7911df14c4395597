//! From numbered rows and intervals back to what people know: addresses, cells, amounts in the table's unit.
//!
//! Only for what is told: a plain pass never comes here.

use compact_str::CompactString;

use super::book::{NONE, TOTAL};
use super::finding::{Cause, CellSeen, Quantity, RuleFinding, Verdict};
use super::interval::{Interval, Relation};
use super::line::{Line, Measure};
use super::names::Names;
use super::world::{Frame, Seen, Sides, Value, World};
use crate::budget::cell::{Cell, CellAddress, RECORD_ROW};
use crate::budget::digest::Digest;
use crate::budget::form_set::{ColumnKind, Rows};
use crate::budget::money::{Amount, Denomination, Money, Scale};
use crate::budget::number::Number;

/// What a finding is made from.
pub(super) struct Reporter<'r, 'a> {
    pub(super) world: &'r World<'a>,
    pub(super) seen: &'r [Seen],
    /// Cells of rows that were only looked through.
    pub(super) looked: &'r [Seen],
    pub(super) sides: Option<&'r Sides<'a>>,
}

impl Reporter<'_, '_> {
    pub(super) fn finding(
        &self,
        rule: usize,
        line: &Line,
        frame: Option<&Frame>,
        link: usize,
        (verdict, cause): (Verdict, Option<Cause>),
    ) -> RuleFinding {
        let rules = &self.world.form.rules.rules;
        let (id, strength) =
            rules.get(rule).map_or((CompactString::default(), crate::budget::finding::Strength::Verify), |rule| {
                (rule.id.clone(), rule.strength)
            });
        let cells: Vec<CellSeen> = self.seen.iter().map(|seen| self.cell(seen)).collect();
        let left_cells = self.sides.map_or(cells.len(), |sides| sides.left_cells.min(cells.len()));
        let figures = self.sides.map(|sides| self.figures(sides));
        let (left, right, difference, tolerance) = figures.unwrap_or_default();
        RuleFinding {
            rule: id,
            strength,
            check: line.check,
            link,
            place: self.place(line, frame, &cells),
            row_title: frame.map_or_else(CompactString::default, |frame| self.row_title(frame)),
            verdict,
            cells,
            left_cells,
            looked: self.looked(verdict),
            left,
            relation: self.sides.map_or("", |sides| sign(sides.relation)),
            right,
            difference,
            tolerance,
            cause,
            after: None,
        }
    }

    /// Names the cells that were looked through; only failures go by a name.
    fn looked(&self, verdict: Verdict) -> Option<Digest> {
        if verdict != Verdict::Fail || self.looked.is_empty() {
            return None;
        }
        let mut said = Vec::with_capacity(64 * self.looked.len());
        self.looked.iter().for_each(|seen| self.cell(seen).put(&mut said));
        Some(Digest::of(&said))
    }

    fn place(&self, line: &Line, frame: Option<&Frame>, cells: &[CellSeen]) -> CellAddress {
        let form = self.world.form;
        let first = cells.first().map(|cell| &cell.address);
        let Some(table) = line.table.and_then(|table| form.tables.get(table)) else {
            // A line about nothing in particular is about the first figure that it names.
            return first.cloned().unwrap_or_else(|| CellAddress::new("", "", ""));
        };
        let row = frame.map_or_else(CompactString::default, |frame| Reporter::row_name(self.world, frame));
        let starred = line.column.and_then(|column| table.columns.get(column)).map(|column| column.id.clone());
        let column = starred.or_else(|| {
            let here = |cell: &&CellAddress| cell.table == table.id && cell.row == row;
            first.filter(here).map(|cell| cell.column.clone())
        });
        CellAddress { table: table.id.clone(), row, column: column.unwrap_or_default() }
    }

    /// What a listed row calls itself: the first column that every row must fill in.
    fn row_title(&self, frame: &Frame) -> CompactString {
        let Some(table) = self.world.form.tables.get(frame.table) else { return CompactString::default() };
        let named = |column: &crate::budget::form_set::Column| column.required && column.kind == ColumnKind::Text;
        let column = table.columns.iter().position(named);
        let filed = self.world.table(frame.book, frame.table);
        match column.zip(filed).and_then(|(column, filed)| filed.cell(frame.row, column)) {
            Some(Cell::Text(text)) if matches!(table.rows, Rows::Keyed { .. }) => CompactString::from(&**text),
            _ => CompactString::default(),
        }
    }

    fn cell(&self, seen: &Seen) -> CellSeen {
        let table = self.world.table(seen.book, seen.table);
        let value = table.and_then(|table| table.cell(seen.row, seen.column)).cloned();
        CellSeen { source: self.world.source(seen.book), address: Reporter::address(self.world, seen), value }
    }

    pub(super) fn address(world: &World<'_>, seen: &Seen) -> CellAddress {
        let Some(table) = world.form.tables.get(seen.table) else { return CellAddress::new("", "", "") };
        let frame = Frame { book: seen.book, table: seen.table, row: seen.row, key: seen.key };
        let column = table.columns.get(seen.column).map(|column| column.id.clone()).unwrap_or_default();
        CellAddress { table: table.id.clone(), row: Reporter::row_name(world, &frame), column }
    }

    /// The key of a row, also of one that is not there.
    pub(super) fn row_name(world: &World<'_>, frame: &Frame) -> CompactString {
        let table = world.table(frame.book, frame.table);
        let spelled = table.map_or("", |table| table.spelled(frame.row));
        if !spelled.is_empty() {
            return spelled.into();
        }
        let names = Names { form: world.form };
        let definition = world.form.tables.get(frame.table);
        if let Some(Rows::Record) = definition.map(|table| &table.rows) {
            return RECORD_ROW.into();
        }
        if frame.key[0] == TOTAL {
            return definition.and_then(|table| table.total_row()).unwrap_or("").into();
        }
        let axes = names.axes(frame.table);
        let numbers = match table {
            Some(table) if frame.row != NONE => table.key(frame.row),
            _ => frame.key,
        };
        let parts = axes.iter().zip(numbers).map(|(axis, number)| world.keys.name(*axis, number));
        parts.collect::<Vec<_>>().join("/").into()
    }

    // ── amounts ──────────────────────────────────────────────────────────────────────────

    fn figures(&self, sides: &Sides<'_>) -> (Option<Quantity>, Option<Quantity>, Option<Quantity>, Option<Quantity>) {
        let (left_seen, right_seen) = self.seen.split_at(sides.left_cells.min(self.seen.len()));
        let scales = [self.scale(left_seen), self.scale(right_seen)];
        let common = scales[0].or(scales[1]).unwrap_or(Scale::FEN);
        let left = quantity(&sides.left, sides.measure, scales[0].unwrap_or(common));
        let right = quantity(&sides.right, sides.measure, scales[1].unwrap_or(common));
        let number = |value: &Value<'_, Interval>| match value {
            Value::Number(number) => Some(*number),
            Value::Blank => Some(Interval::ZERO),
            Value::Text(_) => None,
        };
        let (Some(a), Some(b)) = (number(&sides.left), number(&sides.right)) else {
            return (left, right, None, None);
        };
        // Sides in different units differ by an amount in the finer one.
        let scale = match scales {
            [Some(a), Some(b)] if a.denomination != b.denomination => {
                Scale { denomination: Denomination::Yuan, decimals: 0 }
            }
            [Some(a), Some(b)] => Scale { decimals: a.decimals.max(b.decimals), ..a },
            _ => common,
        };
        let difference = a.minus(&b).ok().and_then(|difference| fraction(difference.nominal(), sides.measure, scale));
        let slack = a.slack(&b, self.step(sides.measure, &a, &b)).ok();
        let slack = slack.and_then(|slack| fraction(slack, sides.measure, scale));
        (left, right, difference, slack)
    }

    fn values(&self, seen: &[Seen]) -> impl Iterator<Item = &Cell> {
        seen.iter().filter_map(|seen| self.world.table(seen.book, seen.table)?.cell(seen.row, seen.column))
    }

    /// How the first amount among these cells is printed.
    fn scale(&self, seen: &[Seen]) -> Option<Scale> {
        self.values(seen).find_map(Cell::amount).map(|amount| amount.scale)
    }

    /// The last printed digit of the finest figure: what tolerances are multiples of.
    /// Where the sides don't lie a multiple of it apart, as quotients and products may, the finest step there is.
    fn step(&self, measure: Measure, a: &Interval, b: &Interval) -> (i128, i128) {
        let (step, over) = self.printed_step(measure);
        let apart = a.minus(b).map(|difference| difference.nominal());
        let multiple = apart.is_ok_and(|(value, by)| {
            let (value, by) = (value.checked_mul(over), by.checked_mul(step));
            value.zip(by).is_some_and(|(value, by)| value % by == 0)
        });
        match measure {
            _ if multiple => (step, over),
            Measure::Ratio => (1, 100_000_000),
            _ => (1, 1),
        }
    }

    fn printed_step(&self, measure: Measure) -> (i128, i128) {
        let decimals = |of: fn(&Cell) -> Option<u8>| self.values(self.seen).filter_map(of).max();
        match measure {
            Measure::Amount | Measure::Rate | Measure::Zero => {
                let quantum = |cell: &Cell| cell.amount().map(|amount| amount.scale.quantum_fen());
                (self.values(self.seen).filter_map(quantum).min().unwrap_or(1).into(), 1)
            }
            Measure::Ratio => {
                let digits =
                    decimals(|cell| if let Cell::Number(number) = cell { Some(number.decimals) } else { None });
                (1, 100 * 10_i128.pow(u32::from(digits.unwrap_or(2))))
            }
            Measure::Count | Measure::Year | Measure::Plain | Measure::Text | Measure::Time | Measure::Condition => {
                (1, 1)
            }
        }
    }
}

fn quantity(value: &Value<'_, Interval>, measure: Measure, scale: Scale) -> Option<Quantity> {
    match value {
        Value::Blank => Some(Quantity::Blank),
        Value::Text(text) => Some(Quantity::Text((*text).into())),
        Value::Number(number) => fraction(number.nominal(), measure, scale),
    }
}

/// A fraction as a quantity: an amount at that scale, with more decimals if it needs them. None if it is too large to be
/// told: no other figure stands for it.
fn fraction((value, over): (i128, i128), measure: Measure, scale: Scale) -> Option<Quantity> {
    let times = |by: i128| Some(rounded(value.checked_mul(by)?, over));
    Some(match measure {
        Measure::Amount | Measure::Rate | Measure::Zero => {
            let value = Money::from_total_fen(rounded(value, over))?;
            let decimals = value.exact_decimals(scale.denomination, scale.decimals);
            Quantity::Amount(Amount { value, scale: Scale { decimals, ..scale } })
        }
        Measure::Ratio => {
            let exact = value.checked_mul(10_000).is_some_and(|value| value % over == 0);
            Quantity::Percent(if exact { number(times(10_000)?, 2)? } else { number(times(1_000_000)?, 4)? })
        }
        Measure::Count | Measure::Year | Measure::Plain | Measure::Text | Measure::Time | Measure::Condition => {
            let whole = value % over == 0;
            Quantity::Number(if whole { number(value / over, 0)? } else { number(times(100)?, 2)? })
        }
    })
}

fn number(mantissa: i128, decimals: u8) -> Option<Number> {
    Some(Number { mantissa: i64::try_from(mantissa).ok()?, decimals })
}

/// Half away from zero.
fn rounded(value: i128, over: i128) -> i128 {
    if over == 1 {
        return value;
    }
    let (whole, rest) = (value / over, value % over);
    let away = i128::from(rest.abs() >= over - rest.abs() && rest != 0);
    whole + away * value.signum()
}

fn sign(relation: Relation) -> &'static str {
    match relation {
        Relation::Equal => "=",
        Relation::Different => "≠",
        Relation::Below => "<",
        Relation::AtMost => "≤",
        Relation::Above => ">",
        Relation::AtLeast => "≥",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_to_be_told_is_not_told_as_nothing() {
        let told = |value: i128, over: i128, measure| fraction((value, over), measure, Scale::FEN);
        let large = i128::from(i64::MAX);
        for measure in [Measure::Amount, Measure::Ratio, Measure::Count] {
            assert!(told(6, 3, measure).is_some());
            assert_eq!(told(i128::MAX, 1, measure), None);
            assert_eq!(told(i128::MAX, 2, measure), None);
        }
        assert!(told(large, 1, Measure::Count).is_some() && told(large, 1, Measure::Amount).is_some());
        assert_eq!(told(large + 1, 1, Measure::Count), None);
        // Sums of money may be larger than the other figures.
        assert!(told(large + 1, 1, Measure::Amount).is_some());
        assert_eq!(told(10_i128.pow(27), 1, Measure::Amount), None);
        assert_eq!(
            told(large, 10_000, Measure::Ratio),
            Some(Quantity::Percent(Number { mantissa: i64::MAX, decimals: 2 }))
        );
    }
}
