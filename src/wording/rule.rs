//! What a rule found, for an accountant: which figure, against which, by how much, what rounding explains, what to do.
//!
//! Names of tables, rows and columns come from the form set, words from the catalogue's labels.

use super::{Language, clean, label};
use crate::budget::cell::{Cell, CellAddress, RECORD_ROW};
use crate::budget::form_set::{FormSet, Rows};
use crate::budget::rule::{Cause, CellSeen, Quantity, Rule, RuleFinding, Source, Verdict};

/// The most cells that are spelled out.
const CELLS_MAX: usize = 8;

/// `V-01 上级科目等于下级科目之和 · 表三 · 20805 行政事业单位养老支出 · 合计`.
pub fn heading(finding: &RuleFinding, form: &FormSet, language: Language) -> String {
    let title = form.rules.rule(&finding.rule).map_or("", |(_, rule)| title(rule, language));
    let place = address(&finding.place, &finding.row_title, form);
    let parts = [format!("{} {title}", finding.rule).trim().to_owned(), place];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" · ")
}

/// The title of a rule.
pub fn title(rule: &Rule, language: Language) -> &str {
    language.of(&rule.title, &rule.title_en)
}

/// What it is about, a line for each: the two sides, the difference, and an earlier rule that comes first.
pub fn lines(finding: &RuleFinding, form: &FormSet, language: Language) -> Vec<String> {
    let mut lines = figures(finding, form, language);
    lines.extend(finding.after.as_ref().map(|after| fill("rule-after", language, &[("rule", after)])));
    lines
}

/// The formula and what to do: the same for all findings of a formula. Nothing if an earlier rule comes first.
pub fn advice(finding: &RuleFinding, form: &FormSet, language: Language) -> Vec<String> {
    let Some((_, rule)) = form.rules.rule(&finding.rule).filter(|_| finding.after.is_none()) else { return Vec::new() };
    let check = rule.checks.get(finding.check);
    let formula = check.map(|check| language.of(&check.aloud, &check.aloud_en));
    let formula = formula.map(|formula| fill("rule-formula", language, &[("formula", formula)]));
    let todo = fill("rule-todo", language, &[("todo", language.of(&rule.todo, &rule.todo_en))]);
    formula.into_iter().chain([todo]).collect()
}

/// All of it as one sentence, for programs that show no more.
pub fn sentence(finding: &RuleFinding, form: &FormSet, language: Language) -> String {
    let link = language.of("；", "; ");
    [lines(finding, form, language), advice(finding, form, language)].concat().join(link)
}

/// Where it is and what is wrong, on one line: what stands as an example in a form set.
pub fn example(finding: &RuleFinding, form: &FormSet, language: Language) -> String {
    let place = address(&finding.place, &finding.row_title, form);
    let said = figures(finding, form, language).join(language.of("；", "; "));
    let link = if place.is_empty() || said.is_empty() { "" } else { language.of("：", ": ") };
    format!("{place}{link}{said}")
}

/// Why it can't be judged; nothing if it can.
pub fn cause(finding: &RuleFinding, form: &FormSet, language: Language) -> String {
    finding.cause.as_ref().map_or_else(String::new, |cause| why(cause, form, language))
}

/// What can't be judged, and why; or the arithmetic of what passes by rounding: on one line.
pub fn brief(finding: &RuleFinding, form: &FormSet, language: Language) -> String {
    let heading = heading(finding, form, language);
    let said = figures(finding, form, language).join(language.of("；", "; "));
    format!("{heading}{}{said}", language.of("：", ": "))
}

fn figures(finding: &RuleFinding, form: &FormSet, language: Language) -> Vec<String> {
    let (left_cells, right_cells) = finding.cells.split_at(finding.left_cells.min(finding.cells.len()));
    if let Some(cause) = &finding.cause {
        return vec![why(cause, form, language)];
    }
    let (Some(left), Some(right)) = (&finding.left, &finding.right) else {
        return conditions(finding, form, language);
    };
    let relation = label(relation_key(finding.relation), language);
    let side = |quantity: &Quantity, cells: &[CellSeen]| {
        if let Some(cell) = alone(quantity, cells) {
            return one_cell(quantity, cell, finding, form, language);
        }
        let cells = spelled(cells, Some(quantity), finding, form, language);
        if cells.is_empty() {
            return with_unit(quantity, language);
        }
        let facts = [("value", with_unit(quantity, language)), ("cells", cells)];
        let facts = facts.each_ref().map(|(name, fact)| (*name, fact.as_str()));
        fill("rule-side", language, &facts)
    };
    let both = [("left", side(left, left_cells)), ("right", side(right, right_cells))];
    let (left, right) = (both[0].1.as_str(), both[1].1.as_str());
    let mut lines = vec![fill("rule-sides", language, &[("left", left), ("relation", relation), ("right", right)])];
    if let (Some(difference), Some(tolerance)) = (&finding.difference, &finding.tolerance) {
        let none = is_zero(tolerance);
        let (difference, tolerance) = (with_unit(difference, language), with_unit(tolerance, language));
        // Which side is the greater is plain to see.
        let difference = difference.trim_start_matches('-').to_owned();
        let key = match finding.verdict {
            Verdict::PassByRounding => "rule-explained",
            _ if matches!(finding.difference, Some(Quantity::Number(_))) => "rule-difference-count",
            _ if none => "rule-difference-exact",
            Verdict::Pass | Verdict::Fail | Verdict::NotEvaluable => "rule-difference",
        };
        lines.push(fill(key, language, &[("difference", &difference), ("tolerance", &tolerance)]));
    }
    lines
}

/// The one cell that a side is, if it is no more than that.
fn alone<'c>(quantity: &Quantity, cells: &'c [CellSeen]) -> Option<&'c CellSeen> {
    let [cell] = cells else { return None };
    let same = match (quantity, &cell.value) {
        (Quantity::Amount(amount), Some(Cell::Amount(cell))) => amount.value == cell.value,
        (Quantity::Percent(a) | Quantity::Number(a), Some(Cell::Number(b))) => a == b,
        (_, Some(Cell::Amount(_) | Cell::Number(_))) => false,
        _ => true,
    };
    same.then_some(cell)
}

/// A side that is one cell: its name and what stands in it.
fn one_cell(quantity: &Quantity, cell: &CellSeen, finding: &RuleFinding, form: &FormSet, language: Language) -> String {
    let name = cell_name(cell, &finding.place, form, language);
    match &cell.value {
        Some(Cell::Text(text)) => format!("{name} “{}”", clean(text)),
        Some(Cell::Unreadable(text)) => format!("{name} “{}”", clean(text)),
        _ => format!("{name} {}", with_unit(quantity, language)),
    }
}

fn is_zero(quantity: &Quantity) -> bool {
    match quantity {
        Quantity::Amount(amount) => amount.value.is_zero(),
        Quantity::Percent(number) | Quantity::Number(number) => number.mantissa == 0,
        Quantity::Text(_) | Quantity::Blank => true,
    }
}

/// A condition that doesn't hold has no two sides: only what it looked at.
fn conditions(finding: &RuleFinding, form: &FormSet, language: Language) -> Vec<String> {
    let cells = spelled(&finding.cells, None, finding, form, language);
    if cells.is_empty() { Vec::new() } else { vec![fill("rule-looked", language, &[("cells", &cells)])] }
}

/// `基本支出 313.65、项目支出 1804.71`; with the unit where it is another than that of what they come to.
fn spelled(
    cells: &[CellSeen],
    quantity: Option<&Quantity>,
    finding: &RuleFinding,
    form: &FormSet,
    language: Language,
) -> String {
    let amounts = || cells.iter().filter_map(|cell| cell.value.as_ref()?.amount());
    let unit = match quantity {
        Some(Quantity::Amount(amount)) => Some(amount.scale.denomination),
        Some(_) => None,
        None => amounts().next().map(|amount| amount.scale.denomination),
    };
    let same = unit.is_none_or(|unit| amounts().all(|amount| amount.scale.denomination == unit));
    let filled: Vec<&CellSeen> =
        cells.iter().filter(|cell| cells.len() == 1 || cell.value.as_ref().is_some_and(|v| !v.is_blank())).collect();
    let one = |cell: &&CellSeen| {
        let name = cell_name(cell, &finding.place, form, language);
        let value = match &cell.value {
            None | Some(Cell::Blank) => label("rule-blank", language).to_owned(),
            Some(Cell::Text(text)) => format!("“{}”", clean(text)),
            Some(Cell::Unreadable(text)) => format!("“{}”", clean(text)),
            Some(Cell::Amount(amount)) if !same => with_unit(&Quantity::Amount(*amount), language),
            Some(value) => value.to_string(),
        };
        format!("{name} {value}")
    };
    let mut said: Vec<String> = filled.iter().take(CELLS_MAX).map(one).collect();
    if filled.len() > CELLS_MAX {
        said.push(fill("rule-more-cells", language, &[("n", &filled.len().to_string())]));
    }
    said.join(language.of("、", ", "))
}

/// The name of a cell, as short as it can be beside the place of the finding.
fn cell_name(cell: &CellSeen, place: &CellAddress, form: &FormSet, language: Language) -> String {
    let source = match &cell.source {
        Source::This | Source::Round => String::new(),
        Source::Last => label("rule-last-year", language).to_owned(),
        Source::Unit(code) => format!("{code} "),
    };
    let address = &cell.address;
    let here = cell.source == Source::This && address.table == place.table;
    let Some((_, table)) = form.table(&address.table) else { return address.to_string() };
    let column = table.column(&address.column).and_then(|at| table.columns.get(at));
    let column = column.map_or(address.column.as_str(), |column| &column.label);
    let row = row_name(address, form);
    let parts = match (here, address.row == place.row, address.column == place.column) {
        (true, true, _) => vec![column],
        (true, false, true) if !row.is_empty() => vec![row.as_str()],
        (true, false, _) => vec![row.as_str(), column],
        (false, true, _) => vec![table.name.as_str(), column],
        (false, ..) => vec![table.name.as_str(), row.as_str(), column],
    };
    source + &parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("·")
}

/// `20805 行政事业单位养老支出`, or the printed label of a fixed row.
fn row_name(address: &CellAddress, form: &FormSet) -> String {
    let Some((_, table)) = form.table(&address.table) else { return address.row.to_string() };
    if address.row == RECORD_ROW {
        return String::new();
    }
    match (&table.rows, form.row_label(table, &address.row)) {
        (_, "") => clean(&address.row),
        // Keys that are no codes are made up by the form set.
        (Rows::Fixed { .. }, label) if !address.row.bytes().all(|byte| byte.is_ascii_digit()) => label.to_owned(),
        (_, label) => format!("{} {label}", clean(&address.row)),
    }
}

/// `表三 · 20805 行政事业单位养老支出 · 合计`.
fn address(address: &CellAddress, title: &str, form: &FormSet) -> String {
    let Some((_, table)) = form.table(&address.table) else { return String::new() };
    let column = table.column(&address.column).and_then(|at| table.columns.get(at));
    let row = format!("{} {}", row_name(address, form), clean(title));
    let parts = [table.name.clone(), row.trim().to_owned(), column.map_or("", |c| &c.label).to_owned()];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" · ")
}

/// A quantity with what it is counted in.
fn with_unit(quantity: &Quantity, language: Language) -> String {
    match quantity {
        Quantity::Amount(amount) => format!("{amount} {}", amount.scale.denomination.as_str()),
        Quantity::Percent(_) | Quantity::Number(_) => quantity.to_string(),
        Quantity::Text(text) => format!("“{}”", clean(text)),
        Quantity::Blank => label("rule-blank", language).to_owned(),
    }
}

fn why(cause: &Cause, form: &FormSet, language: Language) -> String {
    let table = |id: &str| form.table(id).map_or_else(|| id.to_owned(), |(_, table)| table.name.clone());
    let cell = |at: &CellAddress| address(at, "", form);
    match cause {
        Cause::TableMissing(id) => fill("rule-table-missing", language, &[("table", &table(id))]),
        Cause::UnitTableMissing(unit, id) => {
            fill("rule-unit-table-missing", language, &[("unit", unit), ("table", &table(id))])
        }
        Cause::RowMissing(id, row) => {
            let row = row_name(&CellAddress::new(id, row, ""), form);
            fill("rule-row-missing", language, &[("table", &table(id)), ("row", &row)])
        }
        Cause::NoLastYear => label("rule-no-last-year", language).to_owned(),
        Cause::NoUnits => label("rule-no-units", language).to_owned(),
        Cause::NotGiven(_) => label("rule-not-given", language).to_owned(),
        Cause::Unreadable(at) => fill("rule-unreadable", language, &[("cell", &cell(at))]),
        Cause::BlankFactor(at) => fill("rule-blank-factor", language, &[("cell", &cell(at))]),
        Cause::BlankCondition(at) => fill("rule-blank-condition", language, &[("cell", &cell(at))]),
        Cause::OtherResult(at) => fill("rule-other-result", language, &[("cell", &cell(at))]),
        Cause::DivisionByZero => label("rule-division", language).to_owned(),
        Cause::TooLarge => label("rule-too-large", language).to_owned(),
        Cause::TooLong => label("rule-too-long", language).to_owned(),
        Cause::FiledUnevenly(id) => fill("rule-filed-unevenly", language, &[("table", &table(id))]),
    }
}

fn relation_key(relation: &str) -> &'static str {
    match relation {
        "≠" => "relation-different",
        "<" => "relation-below",
        "≤" => "relation-at-most",
        ">" => "relation-above",
        "≥" => "relation-at-least",
        _ => "relation-equal",
    }
}

/// A label with its `{name}`s filled in.
fn fill(key: &str, language: Language, facts: &[(&str, &str)]) -> String {
    let mut out = String::new();
    let mut rest = label(key, language);
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let Some((name, tail)) = after.split_once('}') else { break };
        out.push_str(facts.iter().find(|(known, _)| *known == name).map_or("", |(_, fact)| fact));
        rest = tail;
    }
    out + rest
}
