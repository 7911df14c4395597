//! Laws of the rules: verdicts against all books of whole 分 that print so, and a loader that no text makes fall.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use budget_consolidator::budget::form_set::FormSet;
use budget_consolidator::budget::rule::{Books, Checked, Verdict};
use budget_consolidator::submission_file::SubmissionFile;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::support::*;

// ── verdicts by brute force ──────────────────────────────────────────────────────────────

/// Figures in 分, printed in 元 with one decimal: small enough to try all books.
const QUANTUM: i64 = 10;

const FORMS: &str = r#"
id = "law"
year = 2024
amount = "元.1"
[A]
name = "甲"
[A.columns]
l1 = "左一: signed"
l2 = "左二: signed"
l3 = "左三: signed"
le = "左精: 元.2 signed"
r1 = "右一: signed"
r2 = "右二: signed"
r3 = "右三: signed"
re = "右精: 元.2 signed"
"#;

/// A side: its printed figures (or blanks) in tenths, and one exact amount in 分.
type Side = ([Option<i64>; 3], Option<i64>);

const FORMULAS: [(&str, [i64; 3]); 3] = [
    ("甲: 左一 + 左二 + 左三 + 左精 = 右一 + 右二 + 右三 + 右精", [1, 1, 1]),
    ("甲: 左一 + 左二 + 左三 + 左精 = 2 * 右一 + 右二 - 右三 + 右精", [2, 1, -1]),
    ("甲: 左一 + 左二 + 左三 + 左精 ≤ 右一 + 右二 + 右三 + 右精", [1, 1, 1]),
];

static LAWS: LazyLock<Vec<FormSet>> =
    LazyLock::new(|| FORMULAS.iter().map(|(formula, _)| law(FORMS, formula)).collect());

fn law(forms: &str, formula: &str) -> FormSet {
    let rules = format!(
        "[R]\ntitle = 't'\ntitle_en = 't'\nreason = 'r'\nreason_en = 'r'\ntodo = 'd'\ntodo_en = 'd'\nstrength = 'logic'\ncheck = '{formula}'\n"
    );
    let files = [("forms.toml", forms.to_owned()), ("rules.toml", rules)];
    FormSet::load(files.into_iter().map(|(name, text)| (name.to_owned(), text.into_bytes())).collect()).unwrap()
}

fn decimal(value: i64, decimals: u32) -> String {
    let over = 10_i64.pow(decimals);
    let sign = if value < 0 { "-" } else { "" };
    format!("{sign}{}.{:0width$}", value.abs() / over, value.abs() % over, width = decimals as usize)
}

fn judge(form: &FormSet, left: &Side, right: &Side) -> Checked {
    let mut row = Map::from_iter([("row".to_owned(), json!("-"))]);
    for (name, (printed, exact)) in [("l", left), ("r", right)] {
        for (at, figure) in printed.iter().enumerate() {
            row.extend(figure.map(|figure| (format!("{name}{}", at + 1), json!(decimal(figure, 1)))));
        }
        row.extend(exact.map(|fen| (format!("{name}e"), json!(decimal(fen, 2)))));
    }
    judge_row(form, row)
}

fn judge_row(form: &FormSet, row: Map<String, Value>) -> Checked {
    let file = json!({
        "form_set": "law", "unit": "1", "year": 2024, "round": "second", "kind": "unit",
        "tables": { "A": { "rows": [row] } },
    });
    let reading = SubmissionFile::read(&file.to_string()).unwrap().read_on(form);
    assert!(!reading.is_refused(), "{:?}", reading.findings);
    judged_both_ways(form, &Books::of(&reading.submission))
}

fn verdict(checked: &Checked) -> Verdict {
    checked.findings.first().map_or(Verdict::Pass, |finding| finding.verdict)
}

/// All amounts in 分 that print as so many tenths: rounded half away from zero, tried one by one.
fn behind(tenths: i64) -> Vec<i64> {
    let prints = |fen: &i64| {
        let (whole, rest) = (fen.abs() / QUANTUM, fen.abs() % QUANTUM);
        (whole + i64::from(rest >= QUANTUM / 2)) * fen.signum() == tenths
    };
    (tenths * QUANTUM - QUANTUM..=tenths * QUANTUM + QUANTUM).filter(prints).collect()
}

/// All sums that a side can have.
fn sums(side: &Side, factors: [i64; 3]) -> BTreeSet<i64> {
    let mut sums = BTreeSet::from([side.1.unwrap_or(0)]);
    for (figure, factor) in side.0.iter().zip(factors) {
        if let Some(figure) = figure {
            let amounts = behind(*figure);
            sums = sums.iter().flat_map(|sum| amounts.iter().map(move |fen| sum + factor * fen)).collect();
        }
    }
    sums
}

fn side() -> impl Strategy<Value = Side> {
    let figure = || prop::option::weighted(0.8, -8..=8_i64);
    ([figure(), figure(), figure()], prop::option::weighted(0.4, -60..=60_i64))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn a_verdict_says_whether_any_book_prints_so(left in side(), right in side(), at in 0..FORMULAS.len()) {
        let (lefts, rights) = (sums(&left, [1, 1, 1]), sums(&right, FORMULAS[at].1));
        let possible = if at == 2 { lefts.first() <= rights.last() } else { !lefts.is_disjoint(&rights) };
        let found = verdict(&judge(&LAWS[at], &left, &right));
        // A blank has no product.
        prop_assert_eq!(found == Verdict::NotEvaluable, at == 1 && right.0[0].is_none());
        prop_assume!(found != Verdict::NotEvaluable);
        prop_assert_eq!(found != Verdict::Fail, possible, "{:?} against {:?}: {:?}", left, right, found);
    }

    #[test]
    fn what_is_off_by_more_than_its_tolerance_fails_and_nothing_else(left in side(), right in side()) {
        let checked = judge(&LAWS[0], &left, &right);
        if let Some(finding) = checked.findings.first() {
            let fen = |quantity: &Option<budget_consolidator::budget::rule::Quantity>| match quantity {
                Some(budget_consolidator::budget::rule::Quantity::Amount(amount)) => amount.value.fen(),
                other => panic!("{other:?}"),
            };
            let off = fen(&finding.difference).abs() > fen(&finding.tolerance);
            prop_assert_eq!(off, finding.verdict == Verdict::Fail, "{:?}", finding);
        }
    }

    #[test]
    fn a_coefficient_of_quarters_is_exact_up_to_the_gaps_between_its_multiples(x in 0..400_i64, y in 0..700_i64) {
        let form = &*QUARTERS;
        let row = Map::from_iter([("row", "-".to_owned()), ("x", decimal(x, 1)), ("y", decimal(y, 1))]
            .map(|(key, value)| (key.to_owned(), json!(value))));
        let found = verdict(&judge_row(form, row));
        let (xs, ys) = (behind(x), behind(y));
        let exists = ys.iter().any(|y| xs.iter().any(|x| 4 * y == 7 * x));
        prop_assert!(!exists || found != Verdict::Fail, "{x} {y}: a book prints so");
        let meet = (7 * xs[0]).max(4 * ys[0]) <= (7 * xs[xs.len() - 1]).min(4 * ys[ys.len() - 1]);
        prop_assert_eq!(found != Verdict::Fail, meet, "{} {}: {:?}", x, y, found);
    }
}

static QUARTERS: LazyLock<FormSet> = LazyLock::new(|| {
    let forms =
        "id = \"law\"\nyear = 2024\namount = \"元.1\"\n[A]\nname = \"甲\"\ncolumns = { x = \"基\", y = \"计\" }\n";
    law(forms, "甲: 计 = 1.75 * 基")
});

#[test]
fn exact_figures_are_compared_exactly() {
    let side = |fen| ([None; 3], Some(fen));
    assert_eq!(verdict(&judge(&LAWS[0], &side(12), &side(12))), Verdict::Pass);
    assert_eq!(verdict(&judge(&LAWS[0], &side(12), &side(13))), Verdict::Fail);
}

// ── no text makes the loader fall ────────────────────────────────────────────────────────

const PIECES: [&str; 44] = [
    "表三",
    "表五[合计]",
    "合计",
    "基本支出",
    "绩效目标",
    "指标",
    "对应科目",
    "units.",
    "last.",
    ".",
    "*",
    "(",
    ")",
    "[",
    "]",
    ",",
    ":",
    "=",
    "≤",
    "~",
    "+",
    "-",
    "/",
    "sum(",
    "count(",
    "children.*",
    "leaves.合计",
    "parents",
    "leaves",
    "not ",
    "in ",
    "and ",
    "or ",
    "iff ",
    "when ",
    "exists ",
    "present",
    "blank",
    "mentions ",
    "as 元",
    "is 人",
    "1.75",
    "\"字\"",
    "0",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn pieces_of_formulas_load_or_are_refused_at_a_place(pieces in prop::collection::vec(0..PIECES.len(), 1..24)) {
        let formula: String = pieces.iter().map(|at| PIECES[*at]).collect::<Vec<_>>().join(" ");
        loads_or_says_where(&formula)?;
    }

    #[test]
    fn formulas_with_a_damaged_letter_load_or_are_refused_at_a_place(at in any::<prop::sample::Index>(), cut in 0..200_usize, with in any::<char>()) {
        let formulas = &*FORMULAS_OF_SHANXI;
        let formula = &formulas[at.index(formulas.len())];
        let damaged: String = formula
            .chars()
            .enumerate()
            .map(|(place, c)| if place == cut % formula.chars().count() { with } else { c })
            .collect();
        loads_or_says_where(&damaged)?;
    }
}

static FORMULAS_OF_SHANXI: LazyLock<Vec<String>> = LazyLock::new(|| {
    let rules = form("shanxi-2024").rules;
    rules.rules.iter().flat_map(|rule| rule.checks.iter().map(|check| check.formula.clone())).collect()
});

fn loads_or_says_where(formula: &str) -> Result<(), TestCaseError> {
    let mut files = form_files("shanxi-2024");
    let rule = json!({
        "R": {
            "title": "t", "title_en": "t", "reason": "r", "reason_en": "r", "todo": "d", "todo_en": "d",
            "strength": "logic", "check": formula,
        }
    });
    files.insert("rules.toml".to_owned(), toml::to_string(&rule).unwrap().into_bytes());
    match FormSet::load(files) {
        Ok(form) => {
            let path = project("examples/fenyang-2024/submissions/407004.json");
            let file = SubmissionFile::read(&std::fs::read_to_string(path).unwrap()).unwrap();
            let reading = file.read_on(&form);
            judged_both_ways(&form, &Books::of(&reading.submission));
        }
        Err(faults) => {
            prop_assert!(!faults.is_empty() && faults.iter().all(|fault| fault.file == "rules.toml" && fault.line > 0));
        }
    }
    Ok(())
}
