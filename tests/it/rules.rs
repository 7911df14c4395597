//! The check rules: what they find in the published filing is what the document says, what is wrong with a formula is
//! told at its place, and a justification lives as long as its figures.

use std::collections::{BTreeMap, BTreeSet};

use budget_consolidator::budget::form_set::{ColumnKind, FormFault, FormSet, RollUp};
use budget_consolidator::budget::rule::{
    Books, Cause, Checked, Counts, Needs, RuleFinding, Verdict, coverage, evaluate,
};
use budget_consolidator::budget::submission::{Kind, Submission};
use budget_consolidator::submission_file::SubmissionFile;
use budget_consolidator::wording::{self, Language, rule as say};
use serde_json::{Value, json};

use crate::support::*;

const SEED: &str = "examples/fenyang-2024/submissions/407002.json";

fn file(path: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(project(path)).unwrap()).unwrap()
}

fn read(file: &Value, form: &FormSet) -> Submission {
    let reading = SubmissionFile::read(&file.to_string()).unwrap().read_on(form);
    assert!(!reading.is_refused(), "{:?}", reading.findings);
    Submission::clone(&reading.submission)
}

fn failures(checked: &Checked) -> BTreeSet<(String, String)> {
    let fails = checked.findings.iter().filter(|finding| finding.verdict == Verdict::Fail);
    fails.map(|finding| (finding.rule.to_string(), finding.place.to_string())).collect()
}

// ── the published filing ─────────────────────────────────────────────────────────────────

/// What the document itself gets wrong, read off its pages by hand: rule, cell, and what stands there.
const SLIPS: &[(&str, &[&str], &str)] = &[
    (
        "P-04",
        &["PF/2024-008/impl_central", "PF/2024-023/impl_central", "PF/2024-024/impl_central"],
        "the period's column has the money under 中央, the year's under 省级; both totals are right",
    ),
    (
        "P-04",
        &["PF/2024-008/impl_provincial", "PF/2024-023/impl_provincial", "PF/2024-024/impl_provincial"],
        "the other end of the same slip",
    ),
    ("P-05", &["T12/2024-003/"], "36 projects, 35 forms: that of 2024-003 is not printed"),
    (
        "P-06",
        &[
            "PF/2024-006/name",
            "PF/2024-019/name",
            "PF/2024-021/name",
            "PF/2024-026/name",
            "PF/2024-027/name",
            "PF/2024-032/name",
        ],
        "建国前 for 新中国成立前; the form's own title for a name; 县(区)级 for 县级; 上续 for 上级; 临时工资; 企业养老保险经费",
    ),
    ("P-07", &["PI/2024-026/4/annual_value"], "10642550元 in a form of 15140318 元"),
    ("P-07", &["PI/2024-022/2/impl_value"], "86690000元 in a form of 86890000 元"),
    ("P-08", &["PF/2024-022/", "PF/2024-023/", "PF/2024-024/"], "the cost indicator is a sentence, or 长期"),
    ("P-09", &["PF/2024-026/overview"], "works out 26881772.6元, asks for 15140318"),
    ("P-09", &["PF/2024-030/overview", "PF/2024-031/overview"], "both argue for 705000元 and ask for 96400 and 23600"),
    ("P-09", &["PF/2024-035/overview"], "191952元 and 198540元 are of another year; 180000 is asked for"),
    ("P-10", &["PI/2024-005/1/annual_value"], "2449 people and 2440"),
    ("P-10", &["PI/2024-009/1/annual_value"], "12469 people and 62469"),
    ("P-10", &["PI/2024-022/2/annual_value", "PI/2024-026/4/annual_value"], "the slips of P-07 again"),
    ("P-10", &["PI/2024-023/4/annual_value"], "the period's text breaks off"),
    ("P-12", &["PF/2024-010/filed_at"], "the form is not dated"),
    ("N-06", &["PROCUREMENT/total/amount"], "11.44 for procurement; the only project marked has 9.64"),
    (
        "N-07",
        &["NOTE/-/managed_running_count", "NOTE/-/managed_target_count"],
        "12 and 24 projects: with the kinds that give 110.89 and 41109.17 it is 10 and 26",
    ),
    ("N-07", &["NOTE/-/published_count", "NOTE/-/published_amount"], "36 forms for 41220.06: 35 are printed"),
    (
        "N-07",
        &["NOTE/-/published_running_count", "NOTE/-/published_target_count", "NOTE/-/published_target_amount"],
        "12 and 24 again, and 41109.17: without the form that is not printed it is 10 and 25, and 41104.12",
    ),
    ("N-08", &["GOAL/27/amount"], "0.51 for a project of 5.06"),
    ("N-08", &["GOAL/34/amount"], "the list breaks off before the amount"),
    ("N-08", &["T12/2024-013/"], "34 goals mean 35 of the 36 projects"),
    ("N-08", &["T03/合计/project"], "the goals add up to 39696.47: two of them, and one project, are as just said"),
    (
        "N-09",
        &[
            "GOALMAP/1/2024-036/",
            "GOALMAP/6/2024-030/",
            "GOALMAP/7/2024-031/",
            "GOALMAP/9/2024-002/",
            "GOALMAP/11/2024-008/",
            "GOALMAP/12/2024-009/",
            "GOALMAP/13/2024-010/",
            "GOALMAP/14/2024-023/",
            "GOALMAP/15/2024-004/",
            "GOALMAP/16/2024-001/",
            "GOALMAP/18/2024-019/",
            "GOALMAP/19/2024-014/",
            "GOALMAP/20/2024-016/",
            "GOALMAP/21/2024-017/",
            "GOALMAP/23/2024-015/",
            "GOALMAP/27/2024-003/",
            "GOALMAP/30/2024-021/",
            "GOALMAP/31/2024-011/",
            "GOALMAP/32/2024-012/",
            "GOALMAP/33/2024-025/",
            "GOALMAP/34/2024-026/",
        ],
        "these goals go by other names than their projects",
    ),
    ("N-11", &["ASSET/-/equipment_year"], "equipment as of 2013"),
    ("N-13", &["GOAL/34/amount"], "the list breaks off before the amount"),
    ("U-01", &["UNIT/-/staff_actual"], "37 people on 30 posts"),
];

/// Totals and the sums of what is printed below or beside them, added up by hand in 0.01 万元: all that are off.
/// A total may be off by half as many of them as there are parts.
const ROUNDED: &[(&str, &str, i64, i64, i64)] = &[
    ("V-01", "T02/20805/total", 2_657_754, 2_657_755, 4),
    ("V-01", "T02/20805/general", 2_657_754, 2_657_755, 4),
    ("V-01", "T03/20805/total", 2_657_754, 2_657_755, 4),
    ("V-01", "T05/20805/total", 2_657_754, 2_657_755, 4),
    ("V-01", "T03/208/basic", 39_118, 39_119, 2),
    ("V-01", "T05/208/basic", 39_118, 39_119, 2),
    ("V-01", "T03/20805/basic", 7_754, 7_755, 3),
    ("V-01", "T05/20805/basic", 7_754, 7_755, 3),
    ("V-02", "T02/合计/total", 4_167_092, 4_167_093, 12),
    ("V-02", "T02/合计/general", 4_167_092, 4_167_093, 12),
    ("V-02", "T03/合计/total", 4_167_092, 4_167_093, 12),
    ("V-02", "T05/合计/total", 4_167_092, 4_167_093, 12),
    ("V-02", "T03/合计/basic", 45_086, 45_088, 7),
    ("V-02", "T05/合计/basic", 45_086, 45_088, 7),
    ("V-03", "T06/301/total", 41_286, 41_287, 9),
    ("V-03", "T06/301/personnel", 41_286, 41_287, 9),
    ("V-03", "T06/303/total", 1_865, 1_866, 2),
    ("V-03", "T06/303/personnel", 1_865, 1_866, 2),
    ("V-04", "T06/合计/total", 45_086, 45_087, 3),
    ("V-04", "T06/合计/total", 45_086, 45_089, 15),
    ("V-04", "T06/合计/personnel", 43_151, 43_153, 11),
    ("V-06", "T12/单位合计/total", 4_122_006, 4_122_007, 36),
    ("V-06", "T12/单位合计/general", 4_122_006, 4_122_007, 36),
    ("H-01", "T03/20801/total", 211_835, 211_836, 2),
    ("H-01", "T03/2080109/total", 211_835, 211_836, 2),
    ("H-01", "T05/20801/total", 211_835, 211_836, 2),
    ("H-01", "T05/2080109/total", 211_835, 211_836, 2),
    ("H-03", "T06/合计/total", 45_086, 45_087, 2),
    ("T-08", "T05/2080109/basic", 31_365, 31_366, 0),
    ("T-09", "T03/2082602/project", 1_106_588, 1_106_589, 15),
    ("T-09", "T05/2082602/project", 1_106_588, 1_106_589, 15),
    ("N-07", "NOTE/-/managed_target_amount", 4_110_917, 4_110_918, 26),
];

#[test]
fn the_published_filing_is_found_out_where_it_slips_and_nowhere_else() {
    let form = form("shanxi-2024");
    let checked = judged_both_ways(&form, &Books::of(&read(&file(SEED), &form)));
    let expected: BTreeSet<(String, String)> = SLIPS
        .iter()
        .flat_map(|(rule, cells, _)| cells.iter().map(|cell| ((*rule).to_owned(), (*cell).to_owned())))
        .collect();
    assert_eq!(failures(&checked), expected);
    assert!(!checked.refuses(), "an official document is not refused");
}

#[test]
fn its_rounding_passes_with_the_arithmetic_shown() {
    let form = form("shanxi-2024");
    let checked = judged_both_ways(&form, &Books::of(&read(&file(SEED), &form)));
    let rounded: Vec<&RuleFinding> =
        checked.findings.iter().filter(|finding| finding.verdict == Verdict::PassByRounding).collect();
    let wan = |hundredths: i64| format!("{}.{:02}", hundredths / 100, hundredths % 100);
    let side = |quantity: &Option<budget_consolidator::budget::rule::Quantity>| quantity.as_ref().unwrap().to_string();
    let mut found: Vec<[String; 5]> = rounded
        .iter()
        .map(|f| [f.rule.to_string(), f.place.to_string(), side(&f.left), side(&f.right), side(&f.tolerance)])
        .collect();
    // T-08 has sums on both sides: one part against the eight other items.
    let mut expected: Vec<[String; 5]> = ROUNDED
        .iter()
        .map(|(rule, cell, total, sum, parts)| {
            let slack = if *parts == 0 { (1 + 8 - 1) / 2 } else { parts / 2 };
            [(*rule).to_owned(), (*cell).to_owned(), wan(*total), wan(*sum), wan(slack)]
        })
        .collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn what_only_others_know_is_said_and_not_passed() {
    let form = form("shanxi-2024");
    let seed = read(&file(SEED), &form);
    let all = judged_both_ways(&form, &Books::of(&seed));
    let missing = all.findings.iter().filter(|finding| finding.verdict == Verdict::NotEvaluable);
    let missing: Vec<(&str, &str)> = missing.map(|f| (f.rule.as_str(), f.cause.as_ref().unwrap().as_str())).collect();
    assert_eq!(missing, [("P-14", "not_given"), ("C-07", "no_last_year")]);
    // Ahead of the others, or afterwards: together they are the same.
    let ahead = evaluate(&form, &Books::of(&seed), Needs::filing_only);
    let later = evaluate(&form, &Books::of(&seed), |needs| !needs.filing_only());
    assert_eq!(ahead.counts.not_evaluable, 0);
    assert_eq!(ahead.findings.len() + later.findings.len(), all.findings.len());
    let Counts { pass, pass_by_rounding, fail, not_evaluable } = all.counts;
    insta::assert_snapshot!(
        format!("{pass} pass, {pass_by_rounding} by rounding, {fail} fail, {not_evaluable} not evaluable"),
        @"1873 pass, 32 by rounding, 64 fail, 2 not evaluable"
    );
}

#[test]
fn every_amount_of_the_published_filing_is_in_some_rule() {
    let form = form("shanxi-2024");
    let coverage = coverage(&form, &Books::of(&read(&file(SEED), &form)));
    assert_eq!((coverage.amounts, coverage.untouched.len()), (758, 0), "{:?}", coverage.untouched);
}

#[test]
fn a_year_before_and_a_deadline_are_looked_at_when_they_are_there() {
    let form = form("shanxi-2024");
    let seed = read(&file(SEED), &form);
    let mut before = file(SEED);
    let rows = before["tables"]["T01B"]["rows"].as_array_mut().unwrap();
    rows.iter_mut().find(|row| row["row"] == "total").unwrap()["total"] = json!("36995.02");
    let before = read(&before, &form);
    let mut given = seed.clone();
    given.tables = Vec::new();
    let round = form.tables.iter().position(|table| table.filed_by.is_empty()).unwrap();
    let cells = ["20240301000000", "4"].map(|text| budget_consolidator::budget::cell::Cell::Text(text.into()));
    let mut rows = budget_consolidator::budget::submission::FiledRows::default();
    rows.push("-".into(), cells.len()).clone_from_slice(&cells);
    given.tables.push(budget_consolidator::budget::submission::FiledTable {
        table: round,
        denomination: None,
        decimals: None,
        content: budget_consolidator::budget::submission::Content::Rows(rows),
    });
    let books = Books { last: Some((&before, &form)), given: Some(&given), ..Books::of(&seed) };
    let checked = evaluate(&form, &books, |needs| !needs.filing_only());
    assert_eq!(checked.counts.not_evaluable, 0);
    // One form is dated 13 March 2024.
    assert_eq!(failures(&checked), BTreeSet::from([("P-14".to_owned(), "PF/2024-026/filed_at".to_owned())]));
}

#[test]
fn a_department_is_compared_with_its_units() {
    let form = form("linjiang-2024");
    let path = |unit: &str| format!("examples/linjiang-2024/submissions/{unit}.json");
    let units = ["508001", "508002", "508002001"].map(|unit| read(&file(&path(unit)), &form));
    let units: Vec<_> = units.iter().map(|unit| (unit, &form)).collect();
    let mut department = file(&path("508"));
    let round = toml::from_str("round = { units = '3' }").unwrap();
    let judge = |department: &Value| {
        let department = read(department, &form);
        let given = crate::gallery::given(&round, &form, &department);
        evaluate(&form, &Books { units: &units, given: given.as_ref(), ..Books::of(&department) }, |needs| needs.units)
    };
    assert_eq!(failures(&judge(&department)), BTreeSet::new());
    let rows = department["tables"]["B2"]["rows"].as_array_mut().unwrap();
    let total = rows.iter_mut().find(|row| row["row"] == "总计").unwrap();
    total["basic"] = json!("1.00");
    let found = judge(&department);
    assert_eq!(failures(&found), BTreeSet::from([("S-14".to_owned(), "B2/总计/basic".to_owned())]));
    let cells = &found.findings.iter().find(|finding| finding.verdict == Verdict::Fail).unwrap().cells;
    assert_eq!(cells.len(), 1 + units.len(), "its own cell and one of each unit");
}

/// What a unit grants to another is part of neither side of their department's budget, and of nothing else that it has.
#[test]
fn a_department_is_less_than_its_units_by_what_they_grant_each_other() {
    let form = form("linjiang-2024");
    let path = |unit: &str| format!("examples/linjiang-2024/submissions/{unit}.json");
    let with = |unit: &str, cells: &[(&str, &str, &str, &str)]| {
        let mut file = file(&path(unit));
        for (table, row, column, value) in cells {
            let rows = file["tables"][*table]["rows"].as_array_mut().unwrap();
            rows.iter_mut().find(|other| other["row"] == *row).unwrap()[*column] = json!(value);
        }
        read(&file, &form)
    };
    // 本级 grants 10000.00 of what it would spend on staff; the other spends it on staff.
    let units = [
        with("508001", &[("B2", "总计", "basic", "2258936.79"), ("B2", "总计", "grant", "10000.00")]),
        with(
            "508002",
            &[
                ("B1", "superior", "budget", "10000.00"),
                ("B1", "year", "budget", "3643831.37"),
                ("B1", "total", "budget", "3690131.57"),
                ("B2", "总计", "basic", "1183831.37"),
                ("B2", "总计", "total", "3690131.57"),
            ],
        ),
        with("508002001", &[]),
    ];
    let units: Vec<_> = units.iter().map(|unit| (unit, &form)).collect();
    let judge = |expected: &str, cells: &[(&str, &str, &str, &str)]| {
        let department = with("508", cells);
        let round = toml::from_str(&format!("round = {{ units = '{expected}' }}")).unwrap();
        let given = crate::gallery::given(&round, &form, &department);
        let books = Books { units: &units, given: given.as_ref(), ..Books::of(&department) };
        let fails = failures(&judged_both_ways(&form, &books)).into_iter();
        fails.filter(|(rule, _)| rule == "S-14").map(|(_, place)| place).collect::<Vec<_>>()
    };
    let nothing: [&str; 0] = [];
    for expected in ["3", "4"] {
        assert_eq!(judge(expected, &[]), nothing);
        for (table, row, column, less) in [
            ("B1", "year", "budget", "6885995.45"),
            ("B1", "business", "budget", "350000.74"),
            ("B2", "总计", "total", "6932295.65"),
            ("B2", "总计", "basic", "3855194.95"),
        ] {
            let place = format!("{table}/{row}/{column}");
            assert_eq!(judge(expected, &[(table, row, column, less)]), [place]);
        }
    }
    // More than all of them have together; while one has not filed, it may be that one's.
    for (table, row, column, more) in [
        ("B1", "superior", "budget", "10000.01"),
        ("B1", "business", "budget", "350000.76"),
        ("B2", "总计", "grant", "10000.01"),
        ("B2", "总计", "basic", "3855194.97"),
        ("B8", "合计", "total", "3077100.71"),
    ] {
        assert_eq!(judge("3", &[(table, row, column, more)]), [format!("{table}/{row}/{column}")]);
        assert_eq!(judge("4", &[(table, row, column, more)]), nothing);
    }
}

/// Each unit spends what it takes in code by code; with what units pay each other taken off, only the totals still agree.
#[test]
fn a_departments_income_and_expenditure_agree_in_total_alone() {
    let form = form("shanxi-2024");
    let judge = |cell: &str, value: &str| {
        let patch =
            format!("base = 'fenyang-2024/submissions/407004'\ndepartment = '407'\n[set]\n'{cell}' = '{value}'");
        let filing = read(&crate::gallery::patched(&toml::from_str(&patch).unwrap(), &form), &form);
        let fails = failures(&judged_both_ways(&form, &Books::of(&filing)));
        fails.into_iter().filter(|(rule, _)| rule.starts_with('T')).collect::<Vec<_>>()
    };
    assert_eq!(judge("T02/2101102/total", "5.30"), []);
    assert_eq!(
        judge("T02/合计/total", "163.00"),
        [("T-01".to_owned(), "T01A/total/amount".to_owned()), ("T-01".to_owned(), "T01A/year/amount".to_owned())]
    );
}

/// A share that is part of the whole is found where each share is right by itself: the parts are.
#[test]
fn shares_of_income_add_up_to_all_of_it() {
    let form = form("shanxi-2024");
    let judge = |share: &str| {
        // Without an income there is nothing to hold a share against, but the others.
        let patch = format!(
            "base = 'fenyang-2024/submissions/407004'\n[set]\n'NOTE/-/income_budget' = ''\n'NOTE/-/own_share' = '{share}'"
        );
        let filing = read(&crate::gallery::patched(&toml::from_str(&patch).unwrap(), &form), &form);
        let checked = judged_both_ways(&form, &Books::of(&filing));
        let of_rule = checked.findings.into_iter().filter(|finding| finding.rule == "N-03" && finding.cause.is_none());
        of_rule.map(|finding| (finding.check, finding.verdict)).collect::<Vec<_>>()
    };
    assert_eq!(judge("0"), []);
    assert_eq!(judge("0.01"), [(11, Verdict::PassByRounding)]);
    assert_eq!(judge("5.00"), [(11, Verdict::Fail)]);
}

/// General expenditure on projects under a code is part of what the projects under it cost.
#[test]
fn projects_are_held_against_general_expenditure_too() {
    let form = form("shanxi-2024");
    let judge = |cells: &str| {
        let patch = format!("base = 'fenyang-2024/submissions/407004'\n[set]\n{cells}");
        let filing = read(&crate::gallery::patched(&toml::from_str(&patch).unwrap(), &form), &form);
        let checked = judged_both_ways(&form, &Books::of(&filing));
        let of_rule = checked.findings.into_iter().filter(|finding| finding.rule == "T-09");
        of_rule.map(|finding| (finding.check, finding.place.to_string(), finding.verdict)).collect::<Vec<_>>()
    };
    let found = |check: usize| vec![(check, "T05/2080112/project".to_owned(), Verdict::Fail)];
    assert_eq!(judge("'T05/2080112/project' = '39.00'"), found(2));
    // With other money beside, it may be less, and not more.
    let other = "'T01A/carry/amount' = '1.00'";
    assert_eq!(judge(&format!("{other}\n'T05/2080112/project' = '39.00'")), []);
    assert_eq!(judge(&format!("{other}\n'T05/2080112/project' = '40.00'")), found(3));
}

/// A standard a month is for twelve of them, one that says nothing for one time, if the form doesn't say for how many.
#[test]
fn heads_times_standard_is_reckoned_without_months_too() {
    let form = form("shanxi-2024");
    let judge = |standard: &str, months: &str| {
        let patch = format!(
            "base = 'fenyang-2024/submissions/407004'\n[set]\n'PI/2024-001/1/annual_value' = '50人'\n\
             'PI/2024-001/2/annual_value' = '{standard}'\n'PF/2024-001/months' = '{months}'"
        );
        let filing = read(&crate::gallery::patched(&toml::from_str(&patch).unwrap(), &form), &form);
        let checked = judged_both_ways(&form, &Books::of(&filing));
        let of_rule = checked.findings.into_iter().filter(|finding| finding.rule == "P-13");
        of_rule.map(|finding| (finding.check, finding.verdict)).collect::<Vec<_>>()
    };
    // 240000 元 are asked for.
    assert_eq!(judge("4800元/人", ""), []);
    assert_eq!(judge("4800元/人", "1"), []);
    assert_eq!(judge("4800元/人·年", ""), []);
    assert_eq!(judge("400元/人", "12"), []);
    assert_eq!(judge("400元/人·月", "12"), []);
    assert_eq!(judge("400元/人·月", ""), []);
    assert_eq!(judge("400元/人", ""), [(1, Verdict::Fail)]);
    assert_eq!(judge("4800元/人/月", ""), [(2, Verdict::Fail)]);
    assert_eq!(judge("4800元/人", "12"), [(0, Verdict::Fail)]);
}

/// What is too large to be told is left out; nothing else is told in its place.
#[test]
fn a_side_that_is_too_large_is_not_told_as_another() {
    let form = form("shanxi-2024");
    let patch = "base = 'fenyang-2024/submissions/407004'\n[set]\n'NOTE/-/general' = '999999999.99'\n\
                 'NOTE/-/income_budget' = '0.000001'";
    let filing = read(&crate::gallery::patched(&toml::from_str(patch).unwrap(), &form), &form);
    let checked = judged_both_ways(&form, &Books::of(&filing));
    let finding = checked.findings.iter().find(|finding| finding.rule == "N-03" && finding.check == 0).unwrap();
    assert_eq!((finding.verdict, &finding.right, &finding.difference), (Verdict::Fail, &None, &None));
    let said = Language::ALL.map(|language| say::brief(finding, &form, language));
    assert_eq!(
        said,
        [
            "N-03 占比等于部分除以总数 · 说明 · 一般公共预算占比：查看了：一般公共预算占比 100.00、一般公共预算收入 999999999.99、收入预算 0.000001",
            "N-03 A share equals the part divided by the whole · 说明 · 一般公共预算占比: looked at: 一般公共预算占比 100.00, 一般公共预算收入 999999999.99, 收入预算 0.000001"
        ]
    );
}

/// The department has filed that table, and can't do anything about it but ask.
#[test]
fn a_table_that_a_unit_has_not_filed_is_the_units_to_file() {
    let form = form("linjiang-2024");
    let path = |unit: &str| format!("examples/linjiang-2024/submissions/{unit}.json");
    let mut units = ["508001", "508002", "508002001"].map(|unit| file(&path(unit)));
    units[1]["tables"].as_object_mut().unwrap().remove("B5").unwrap();
    let units = units.map(|unit| read(&unit, &form));
    let units: Vec<_> = units.iter().map(|unit| (unit, &form)).collect();
    let department = read(&file(&path("508")), &form);
    let given = crate::gallery::given(&toml::from_str("round = { units = '3' }").unwrap(), &form, &department);
    let books = Books { units: &units, given: given.as_ref(), ..Books::of(&department) };
    let checked = evaluate(&form, &books, |needs| needs.units);
    let open: Vec<_> = checked.findings.iter().filter_map(|found| found.cause.clone()).collect();
    assert_eq!(open, [Cause::UnitTableMissing("508002".into(), "B5".into())]);
    let finding = checked.findings.iter().find(|found| found.cause.is_some()).unwrap();
    let said = Language::ALL.map(|language| say::sentence(finding, &form, language));
    assert!(said[0].contains("508002 没有报“经济分类表”"), "{said:?}");
    assert!(said[1].contains("508002 did not file"), "{said:?}");
}

/// A filing that has something in every table, as JSON of that kind.
fn full(id: &str, kind: &str, form: &FormSet) -> Value {
    let mut filing = if id == "shanxi-2024" {
        let patch = std::fs::read_to_string(project("tests/data/every-table.toml")).unwrap();
        crate::gallery::patched(&toml::from_str(&patch).unwrap(), form)
    } else {
        file("examples/linjiang-2024/submissions/508.json")
    };
    filing["kind"] = json!(kind);
    let by = Kind::parse(kind).unwrap();
    filing["tables"].as_object_mut().unwrap().retain(|id, _| form.table(id).unwrap().1.is_filed_by(by));
    filing
}

/// Whatever is added up by row key has to be the sum of the units in a department's own budget, whether all have filed or not.
#[test]
fn every_table_that_is_added_up_is_held_against_the_units() {
    for (id, rule, rounds) in [("shanxi-2024", "C-01", &["1", "2"]), ("linjiang-2024", "S-14", &["1", "2"])] {
        let form = form(id);
        let mut unit = full(id, "unit", &form);
        if let Some(transfers) = unit["tables"].get_mut("TRANSFER") {
            *transfers = json!({ "empty": true });
        }
        let unit = read(&unit, &form);
        let units = [(&unit, &form)];
        let department = full(id, "department", &form);
        for expected in rounds {
            let judge = |department: &Value| {
                let filing = read(department, &form);
                let round = toml::from_str(&format!("round = {{ units = '{expected}' }}")).unwrap();
                let given = crate::gallery::given(&round, &form, &filing);
                let mut checked =
                    judged_both_ways(&form, &Books { units: &units, given: given.as_ref(), ..Books::of(&filing) });
                checked.findings.retain(|finding| finding.rule == rule);
                checked
            };
            assert_eq!(judge(&department).findings, [], "{id}: the same is as much");
            let summed =
                form.tables.iter().filter(|table| table.roll_up == RollUp::Sum && table.is_filed_by(Kind::Department));
            for table in summed {
                let amounts: Vec<&str> = table
                    .columns
                    .iter()
                    .filter(|column| matches!(column.kind, ColumnKind::Amount { .. }))
                    .map(|column| column.id.as_str())
                    .collect();
                let mut less = department.clone();
                let rows = less["tables"][table.id.as_str()]["rows"].as_array_mut().unwrap();
                let is_some = |row: &Value, column: &str| {
                    row[column]
                        .as_str()
                        .is_some_and(|text| text.contains(['1', '2', '3', '4', '5', '6', '7', '8', '9']))
                };
                let (row, column) = rows
                    .iter_mut()
                    .find_map(|row| Some((amounts.iter().copied().find(|column| is_some(row, column))?, row)))
                    .map(|(column, row)| (row, column))
                    .unwrap_or_else(|| panic!("{id}: nothing in {}", table.name));
                row[column] = json!("0");
                let place = format!("{}/{}/{column}", table.id, row["row"].as_str().unwrap_or("-"));
                assert_eq!(failures(&judge(&less)), BTreeSet::from([(rule.to_owned(), place)]));
            }
        }
    }
}

/// What units pay each other is eliminated in their department's budget: there it may be less than they have together, by half
/// of what both sides state, and not more.
#[test]
fn a_departments_budget_is_without_what_its_units_pay_each_other() {
    let form = form("shanxi-2024");
    let department = full("shanxi-2024", "department", &form);
    let judge = |own: &str, paid: &str| {
        let mut unit = full("shanxi-2024", "unit", &form);
        let transfer = json!({ "row": "407003/grant-in", "amount": paid, "function": "", "project": "", "note": "" });
        unit["tables"]["TRANSFER"] = json!({ "rows": [transfer] });
        let unit = read(&unit, &form);
        let mut department = department.clone();
        let rows = department["tables"]["OWN"]["rows"].as_array_mut().unwrap();
        rows.iter_mut().find(|row| row["row"] == "superior").unwrap()["amount"] = json!(own);
        let filing = read(&department, &form);
        let round = crate::gallery::given(&toml::from_str("round = { units = '1' }").unwrap(), &form, &filing);
        let books = Books { units: &[(&unit, &form)], given: round.as_ref(), ..Books::of(&filing) };
        let of_rule = |(rule, _): &(String, String)| rule == "C-01";
        failures(&judged_both_ways(&form, &books))
            .into_iter()
            .filter(of_rule)
            .map(|(_, place)| place)
            .collect::<Vec<_>>()
    };
    assert_eq!(judge("0", "40000"), Vec::<String>::new());
    assert_eq!(judge("0", "20000"), ["OWN/superior/amount"], "2.00 万元 less, of which 1.00 were paid");
    assert_eq!(judge("900000", "40000"), ["OWN/superior/amount"]);
}

/// What all formulas of a rule lack is said once, and a table that is empty on purpose lacks nothing.
#[test]
fn a_department_before_its_units_is_told_so_once() {
    let form = form("shanxi-2024");
    let filing = read(&full("shanxi-2024", "department", &form), &form);
    let of_rule = |books: &Books<'_>| -> Vec<String> {
        let found = judged_both_ways(&form, books).findings;
        let own = found.iter().filter(|finding| finding.rule == "C-01");
        own.map(|finding| finding.cause.as_ref().map_or("none", |cause| cause.as_str()).to_owned()).collect()
    };
    assert_eq!(of_rule(&Books::of(&filing)), ["no_units"]);
    let mut empty = full("shanxi-2024", "unit", &form);
    for (id, table) in empty["tables"].as_object_mut().unwrap() {
        if id != "UNIT" {
            *table = json!({ "empty": true });
        }
    }
    let unit = read(&empty, &form);
    assert_eq!(of_rule(&Books { units: &[(&unit, &form)], ..Books::of(&filing) }), ["not_given"]);
    let round = crate::gallery::given(&toml::from_str("round = { units = '2' }").unwrap(), &form, &filing);
    let books = Books { units: &[(&unit, &form)], given: round.as_ref(), ..Books::of(&filing) };
    assert_eq!(of_rule(&books), Vec::<String>::new());
}

// ── justifications ───────────────────────────────────────────────────────────────────────

fn fingerprints(file: &Value, form: &FormSet) -> BTreeMap<String, String> {
    let checked = judged_both_ways(form, &Books::of(&read(file, form)));
    let fails = checked.findings.iter().filter(|finding| finding.verdict == Verdict::Fail);
    fails
        .map(|finding| {
            let (_, rule) = form.rules.rule(&finding.rule).unwrap();
            let name = format!("{}.{} {}", finding.rule, finding.check, finding.place);
            assert_eq!(rule.id, finding.rule);
            (name, form.rules.fingerprint(finding).to_string())
        })
        .collect()
}

#[test]
fn a_finding_keeps_its_name_while_its_figures_stay_and_loses_it_when_one_changes() {
    let form = form("shanxi-2024");
    let before = fingerprints(&file(SEED), &form);
    let names: BTreeSet<&String> = before.values().collect();
    assert_eq!(names.len(), before.len(), "each finding has a name of its own");
    // Another figure changes: every finding that doesn't rest on it keeps its name.
    let mut changed = file(SEED);
    let rows = changed["tables"]["GOAL"]["rows"].as_array_mut().unwrap();
    rows.iter_mut().find(|row| row["row"] == "27").unwrap()["amount"] = json!("0.52");
    let after = fingerprints(&changed, &form);
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    let different: Vec<&String> = before.keys().filter(|key| before[*key] != after[*key]).collect();
    assert_eq!(different, ["N-08.0 GOAL/27/amount", "N-08.3 T03/合计/project"]);
    // Filed again as it was: the same names again.
    assert_eq!(fingerprints(&file(SEED), &form), before);
}

#[test]
fn the_order_in_a_file_changes_nothing() {
    let form = form("shanxi-2024");
    let mut turned = file(SEED);
    for (_, table) in turned["tables"].as_object_mut().unwrap() {
        if let Some(rows) = table.get_mut("rows").and_then(Value::as_array_mut) {
            rows.reverse();
        }
    }
    let checked = |file: &Value| judged_both_ways(&form, &Books::of(&read(file, &form)));
    assert_eq!(checked(&turned), checked(&file(SEED)));
}

// ── what is wrong with rules ─────────────────────────────────────────────────────────────

const SMALL: &str = r#"
id = "small"
year = 2024
amount = "万元.2"
[axis]
"码" = "类 3, 款 5"
"项" = ""
[catalogue]
"码" = "codes.csv"
[A]
name = "甲表"
rows = "合计 > 码"
columns = { total = "合计", part = "部分", other = "另一", count = "个数: count", share = "占比: %.2", words = "文字: text" }
[B]
name = "乙表"
rows = "项"
columns = { total = "合计", twice = "同名", again = "同名" }
[C]
name = "丙表"
columns = { total = "合计", year = "年份: year" }
"#;

/// The small form set with these rules, or what is wrong with them.
fn loaded(rules: &str) -> Result<FormSet, Vec<FormFault>> {
    let codes = "code,name\n101,一\n10101,一一\n10102,二\n102,二\n";
    let files = [("forms.toml", SMALL), ("rules.toml", rules), ("codes.csv", codes)];
    let files = files.into_iter().map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec())).collect();
    FormSet::load(files)
}

fn with_rules(rules: &str) -> Result<FormSet, Vec<String>> {
    loaded(rules)
        .map_err(|faults| faults.iter().map(|f| format!("{}:{}:{} {}", f.file, f.line, f.column, f.remark)).collect())
}

/// What each fault says to people.
fn said(faults: &[FormFault]) -> String {
    let sentences = |fault: &FormFault| Language::ALL.map(|language| wording::sentence(&fault.remark, language));
    let line = |f: &FormFault| {
        format!("    {}:{}:{}\n        {}\n", f.file, f.line, f.column, sentences(f).join("\n        "))
    };
    faults.iter().map(line).collect()
}

fn rule(check: &str) -> String {
    format!(
        "[R]\ntitle = 't'\ntitle_en = 't'\nreason = 'r'\nreason_en = 'r'\ntodo = 'd'\ntodo_en = 'd'\nstrength = 'balance'\ncheck = '{check}'\n"
    )
}

/// A formula for each way of being wrong.
const WRONG: &[&str] = &[
    "无表: 合计 = 部分",
    "甲表: 合计 = 无",
    "甲表[无]: 合计 = 部分",
    "甲表[二]: 合计 = 部分",
    "甲表: 合计 = 乙表.合计",
    "乙表.合计 = 1元",
    "甲表: 合计 = 个数",
    "甲表: 合计 + 个数 = 部分",
    "甲表: 合计 * 部分 = 另一",
    "甲表: 合计 = 占比",
    "甲表: 合计 = 文字",
    "甲表: 合计 = 5",
    "甲表: 合计",
    "甲表: 文字 < \"x\"",
    "甲表 or 乙表: 甲表.合计 = 乙表.合计",
    "甲表[in 乙表]: 合计 = 部分",
    "甲表: 合计 = children.合计",
    "丙表[parents]: 合计 = 0",
    "合计 = sum(children.合计)",
    "甲表: 合计 = sum(部分)",
    "乙表: 同名 = 0",
    "乙表: * = 丙表.年份",
    "* = 0",
    "甲表: 合计 = 部分 +",
    "甲表: (合计 = 部分",
    "甲表: 合计 ? 部分",
    "甲表, 乙表 or 丙表: 合计 = 0",
    "甲表: 合计 as 元 = 部分",
    "甲表: 合计 mentions 元",
    "units.甲表: 合计 = 0",
    "甲表: 合计 = units.甲表.合计",
    "甲表: 合计 = when",
    "",
    "甲表[101, 102]: 合计 = 0",
    "甲表: 合计 = last.codes.合计",
    "甲表: 文字 ~ 文字 = 文字",
    "unique 合计",
    "甲表: 甲表",
    "甲表: 文字 as time = 部分",
    "甲表: 文字 mentions 人",
    "甲表: 合计 * = 0",
];

#[test]
fn wrong_formulas_are_refused_with_place_and_reason() {
    let mut out = String::new();
    for check in WRONG {
        let faults = loaded(&rule(check)).map(|_| ()).unwrap_err();
        out += &format!("{check}\n{}", said(&faults));
    }
    insta::assert_snapshot!(out);
}

/// Each message names its rule, and says in words of its language what was expected.
#[test]
fn messages_of_rules_name_the_rule_and_speak_in_words() {
    for check in WRONG {
        for fault in loaded(&rule(check)).map(|_| ()).unwrap_err() {
            let [zh, en] = Language::ALL.map(|language| wording::sentence(&fault.remark, language));
            assert!(zh.starts_with("规则 R：") && en.starts_with("Rule R: "), "{check}: {zh} / {en}");
            assert_ne!(fault.remark.fact("expected"), Some(""), "{check}");
            // Nothing of English but words of formulas and files.
            let words = zh.split(|c: char| !c.is_ascii_alphabetic()).filter(|word| word.len() > 2);
            let known = [
                "sum", "count", "children", "parents", "when", "forms", "toml", "axis", "blank", "present", "time",
                "and", "bytes", "units", "let",
            ];
            let foreign: Vec<&str> = words.filter(|word| !known.contains(word) && !check.contains(word)).collect();
            assert_eq!(foreign, Vec::<&str>::new(), "{check}: {zh}");
            assert!(!en.contains(" / "), "{check}: {en}");
        }
    }
}

/// A name that no rule uses says nothing, and nobody would see what is wrong in it.
#[test]
fn a_name_that_no_rule_uses_is_warned_of() {
    let text = format!("[let]\n'用了' = '合计 = 0'\n'没用' = '无此栏 = 0'\n{}", rule("甲表 when 用了: 部分 = 0"));
    let form = loaded(&text).unwrap();
    let unused = form.rules.warnings.iter().filter(|fault| fault.remark.reason.code() == "RULE_NAME_UNUSED");
    let unused: Vec<_> = unused.map(|f| (f.line, f.column, f.remark.fact("found"))).collect();
    assert_eq!(unused, [(3, 8, Some("没用"))]);
}

#[test]
fn wrong_files_of_rules_are_refused() {
    let sound = rule("甲表: 合计 = 部分");
    let deep = format!("甲表: 合计 = {}部分{}", "(".repeat(2_000 / 4), ")".repeat(2_000 / 4));
    let long = format!("甲表: 合计 = {}0", "部分 + ".repeat(1_000));
    let mut out = String::new();
    for (what, text) in [
        ("the same id twice", format!("{sound}{sound}")),
        ("a strength that there isn't", sound.replace("balance", "hard")),
        ("a key that there isn't", format!("{sound}colour = 1\n")),
        ("no check", sound.lines().filter(|line| !line.starts_with("check")).fold(String::new(), |t, l| t + l + "\n")),
        ("no title", sound.replacen("title = 't'\n", "", 1)),
        ("a kind that there isn't", format!("{sound}applies = 'town'\n")),
        (
            "a name that names itself",
            format!("{}[let]\n'a' = 'b'\n'b' = '1 = 1 and a'\n", rule("甲表 when a: 合计 = 部分")),
        ),
        ("a fault inside a name", format!("{}[let]\n'a' = '合计 = 个数'\n", rule("甲表 when a: 合计 = 部分"))),
        ("a name that is a column too", format!("{}[let]\n'合计' = '1 = 1'\n", rule("甲表 when 合计: 部分 = 0"))),
        ("too deep", rule(&deep)),
        ("too long", rule(&long)),
        ("no TOML", "[R\n".to_owned()),
        (
            "a check elsewhere that says nothing",
            format!("{sound}[elsewhere]\nP-1 = {{ says = 'x', see = 'NO_SUCH' }}\n"),
        ),
    ] {
        let faults = loaded(&text).map(|_| ()).unwrap_err();
        out += &format!("{what}\n{}", said(&faults));
    }
    insta::assert_snapshot!(out);
}

#[test]
fn a_rule_without_rows_and_a_column_without_rules_are_warned_of() {
    let warnings = |rules: &str| {
        let form = with_rules(rules).unwrap();
        form.rules
            .warnings
            .iter()
            .map(|f| format!("{}:{} {}", f.line, f.column, f.remark))
            .collect::<Vec<_>>()
            .join("\n")
    };
    insta::assert_snapshot!(warnings(&rule("甲表[款, parents]: * = sum(children.*)")), @r#"
    1:2 RULE_NEVER_HOLDS found="甲表[款, parents]: * = sum(children.*)" rule="R"
    1:1 RULE_COLUMN_UNREAD found="乙表.合计"
    1:1 RULE_COLUMN_UNREAD found="乙表.同名"
    1:1 RULE_COLUMN_UNREAD found="乙表.同名"
    1:1 RULE_COLUMN_UNREAD found="丙表.合计"
    "#);
    for id in ["shanxi-2024", "linjiang-2024"] {
        let warned = &form(id).rules.warnings;
        assert!(warned.len() <= 1, "{id}: {warned:?}");
    }
}

/// Times are kept as they are written: somebody has to ask, and a condition on which rows are meant asks nobody.
#[test]
fn a_time_that_no_rule_asks_for_is_warned_of() {
    let files = form_files("shanxi-2024");
    let rules = String::from_utf8(files["rules.toml"].clone()).unwrap();
    let unasked = |rules: &str| {
        let mut files = files.clone();
        files.insert("rules.toml".to_owned(), rules.as_bytes().to_vec());
        let warnings = FormSet::load(files).unwrap().rules.warnings;
        let unasked = warnings.iter().filter(|fault| fault.remark.reason.code() == "RULE_TIME_UNASKED");
        unasked.map(|fault| fault.remark.fact("found").unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    let asked = "check = '绩效目标: 填报日期 is time'";
    assert_eq!(rules.matches(asked).count(), 1);
    assert_eq!(unasked(&rules), [""; 0]);
    for other in ["绩效目标: 填报日期 present", "绩效目标 when 填报日期 is time: 填报日期 present"]
    {
        assert_eq!(unasked(&rules.replace(asked, &format!("check = '{other}'"))), ["绩效目标.填报日期"], "{other}");
    }
    for other in ["填报日期 blank or 填报日期 is time", "填报日期 present and 填报日期 is time"] {
        assert_eq!(unasked(&rules.replace(asked, &format!("check = '绩效目标: {other}'"))), [""; 0], "{other}");
    }
}

/// Rows that meet by a key are looked up; rows against rows are bounded, at load and by how many are filed.
#[test]
fn rows_against_rows_are_bounded() {
    let forms = r#"
id = "lists"
year = 2024
[axis]
"甲码" = ""
"乙码" = ""
"丙码" = ""
[A]
name = "甲"
rows = "甲码"
columns = { amount = "金额", words = "文字: text" }
[B]
name = "乙"
rows = "乙码"
columns = { amount = "金额", words = "文字: text" }
[C]
name = "丙"
rows = "丙码"
columns = { amount = "金额", words = "文字: text" }
[AB]
name = "甲乙"
rows = "甲码 × 乙码"
columns = { amount = "金额" }
"#;
    let load = |check: &str| {
        let files = [("forms.toml", forms.to_owned()), ("rules.toml", rule(check))];
        FormSet::load(files.into_iter().map(|(name, text)| (name.to_owned(), text.into_bytes())).collect())
    };
    let told = |form: &FormSet, of_a: usize, of_b: usize| {
        let rows = |count: usize| -> Vec<Value> {
            (0..count).map(|at| json!({ "row": at.to_string(), "amount": "1.00" })).collect()
        };
        let both: Vec<Value> = (0..of_b).map(|at| json!({ "row": format!("0/{at}"), "amount": "1.00" })).collect();
        let tables = json!({
            "A": { "rows": rows(of_a) }, "B": { "rows": rows(of_b) }, "C": { "empty": true }, "AB": { "rows": both },
        });
        let file = json!({
            "form_set": "lists", "unit": "1", "year": 2024, "round": "second", "kind": "unit", "tables": tables,
        });
        let checked = judged_both_ways(form, &Books::of(&read(&file, form)));
        let causes: Vec<String> = checked
            .findings
            .iter()
            .map(|f| f.cause.as_ref().map_or("none", |cause| cause.as_str()).to_owned())
            .collect();
        (checked.counts.pass, causes)
    };
    for check in [
        "甲: exists 乙",
        "甲 or 甲: exists 乙",
        "甲 when count(乙) > 0: exists 乙",
        "甲[exists 乙]: 金额 = 1元",
        "甲: sum(乙.金额) ≥ 1元",
    ] {
        let form = load(check).unwrap();
        let (a, b) = if check.contains("sum") { (10, 10) } else { (1_000, 10_000) };
        assert_eq!(told(&form, a, b), (a as u64, vec![]), "{check}");
        assert_eq!(told(&form, 1_000, 10_001), (0, vec!["too_long".to_owned()]), "{check}");
    }
    // These meet: however many there are, each is looked up, also where all of one list share a part of their key.
    for check in [
        "甲乙: exists 乙",
        "甲乙: 金额 = 甲.金额",
        "乙: sum(甲乙.金额) = 金额",
        "乙: exists 甲乙[exists 甲]",
        "甲乙: exists 甲乙[in 乙]",
    ] {
        assert_eq!(told(&load(check).unwrap(), 1_000, 10_001), (10_001, vec![]), "{check}");
    }
    for (check, found) in [
        ("甲: exists 乙[exists 丙]", "甲 × 乙 × 丙"),
        ("甲[exists 乙[count(丙) > 0]]: 金额 = 0", "甲 × 乙 × 丙"),
        ("甲: 金额 = sum(乙[文字 = \"x\" and exists 丙].金额)", "甲 × 乙 × 丙"),
        ("甲乙: exists 丙[exists 甲[exists 乙[exists 丙]]]", ""),
    ] {
        let Err(faults) = load(check) else {
            assert_eq!(found, "", "{check}");
            continue;
        };
        let fault = &faults[0];
        assert_eq!(
            (fault.remark.reason.code(), fault.remark.fact("found")),
            ("RULE_TAKES_TOO_LONG", Some(found)),
            "{check}"
        );
        assert_eq!((fault.line, fault.column), (9, 10), "{check}");
    }
}

/// Names that are spelled out make a formula as deep and long as brackets do, line after line.
#[test]
fn names_within_names_are_bounded() {
    let lets = |count: usize, each: &dyn Fn(usize) -> String| {
        let names: Vec<String> = (1..=count).map(|at| format!("L{at} = '{}'\n", each(at))).collect();
        let last = format!("甲表: 合计 = L{count}");
        loaded(&format!("[let]\nL0 = '1元'\n{}{}", names.concat(), rule(&last)))
    };
    let nested = |count| lets(count, &|at| format!("(L{} + 1元)", at - 1));
    let doubled = |count| lets(count, &|at| format!("L{} + L{}", at - 1, at - 1));
    assert!(nested(20).is_ok() && doubled(8).is_ok());
    for (form, expected) in [(nested(50), "≤ 64 levels"), (nested(900), "≤ 64 levels"), (doubled(29), "≤ 500000 parts")]
    {
        let faults = form.err().unwrap();
        let Some(fault) = faults.first() else { panic!("no fault") };
        assert_eq!(fault.remark.reason.code(), "FORM_WRONG_VALUE");
        assert_eq!(fault.remark.fact("expected"), Some(expected));
        // Where it is: in the text of a name.
        assert!(fault.line >= 2, "{}:{}", fault.line, fault.column);
    }
    // The deepest that is taken is judged on a thread with as little stack as the server's.
    let Ok(form) = nested(30) else { panic!("30 are not many") };
    let file = json!({
        "form_set": "small", "unit": "1", "year": 2024, "round": "second", "kind": "unit",
        "tables": { "A": { "rows": [{ "row": "101", "total": "5.00" }, { "row": "合计", "total": "5.00" }] } },
    });
    let submission = read(&file, &form);
    assert!(!judged_both_ways(&form, &Books::of(&submission)).findings.is_empty());
}

// ── blanks, missing, chains ──────────────────────────────────────────────────────────────

fn judged(check: &str, tables: Value) -> Vec<String> {
    let form = with_rules(&rule(check)).unwrap();
    let file = json!({
        "form_set": "small", "unit": "1", "year": 2024, "round": "second", "kind": "unit", "tables": tables,
    });
    let submission = read(&file, &form);
    let checked = judged_both_ways(&form, &Books::of(&submission));
    let told = checked.findings.iter().map(|finding| {
        let brief = say::brief(finding, &form, Language::English);
        format!("{} {brief}", finding.verdict.as_str())
    });
    let counts = checked.counts;
    std::iter::once(format!("{} pass", counts.pass)).chain(told).collect()
}

#[test]
fn blank_zero_missing_and_empty_are_four_things() {
    let rows = |rows: Value| json!({ "A": { "rows": rows } });
    let full = rows(json!([{ "row": "101", "total": "5.00" }, { "row": "合计", "total": "5.00", "part": "0.00" }]));
    // A blank is exactly nothing and no part; a printed 0.00 has a rounding of its own.
    assert_eq!(
        judged("甲表: 合计 = 部分", full.clone()),
        [
            "0 pass",
            "fail R t · 甲表 · 合计 · 合计: 合计 5.00 万元 should equal 部分 0.00 万元; off by 5.00 万元, which is not a matter of rounding",
            "fail R t · 甲表 · 101 一 · 合计: 合计 5.00 万元 should equal 部分 blank; off by 5.00 万元, which is not a matter of rounding",
        ]
    );
    // A code that is not listed is blank; a row that is called by name has to be there.
    assert_eq!(judged("甲表[101]: 另一 = 甲表[102].另一", full.clone())[1..].len(), 1);
    assert!(judged("甲表[102]: 合计 = 0", full.clone())[1].contains("has no row “102 二”"));
    // A table that was not filed can't be judged; one that is empty on purpose is all blanks.
    let empty = json!({ "A": { "empty": true }, "B": { "rows": [{ "row": "x", "total": "1.00" }] } });
    assert_eq!(judged("甲表[合计]: 合计 = 0", empty.clone()), ["1 pass"]);
    assert_eq!(judged("甲表: 合计 = 1元", empty.clone()), ["0 pass"]);
    assert!(judged("乙表: 合计 = 丙表.合计", empty)[1].contains("丙表 was not filed"));
    // A factor that is blank gives no product.
    assert!(judged("甲表[101]: 合计 = 2 * 部分", full.clone())[1].contains("is blank, so nothing can be computed"));
    assert!(judged("甲表[合计]: 占比 = 合计 / 部分", full)[1].contains("may be zero"));
}

/// Nobody knows whether a rule is to be asked where what its condition asks for is blank; of money a blank is nothing.
#[test]
fn a_blank_in_a_condition_is_no_answer() {
    let row = json!({ "row": "101", "total": "5.00", "part": "4.00" });
    let with = |column: &str, value: &str| {
        let mut row = row.clone();
        row[column] = json!(value);
        json!({ "A": { "rows": [row] }, "C": { "rows": [{ "row": "-", "total": "5.00" }] } })
    };
    let blank = with("other", "");
    for (condition, column, value) in [
        ("个数 = 1", "count", "1"),
        ("1 = 个数", "count", "1"),
        ("个数 ≥ 1", "count", "1"),
        ("个数 ≠ 2", "count", "1"),
        ("not 个数 = 2", "count", "1"),
        ("文字 = \"甲\"", "words", "甲"),
        ("文字 in (\"甲\", \"乙\")", "words", "甲"),
        ("文字 as 人 > 1", "words", "5人"),
        ("另一 = 1万元 and 个数 = 1 or 个数 = 1", "count", "1"),
    ] {
        let told = judged(&format!("甲表[101] when {condition}: 合计 = 部分"), blank.clone());
        assert_eq!((told.len(), &*told[0]), (2, "0 pass"), "{condition}: {told:?}");
        assert!(
            told[1].starts_with("not_evaluable R t · 甲表 · 101 一") && told[1].contains("is blank, so nobody knows"),
            "{told:?}"
        );
        let told = judged(&format!("甲表[101] when {condition}: 合计 = 部分"), with(column, value));
        assert!(told[1].starts_with("fail"), "{condition}: {told:?}");
    }
    // What is the same for every row is said once.
    let told = judged("甲表 when 丙表.年份 = 2024: * = 0", blank.clone());
    assert_eq!(told.len(), 2, "{told:?}");
    for condition in [
        // Nothing is what is asked for.
        "个数 = 0",
        "文字 = \"\"",
        "个数 blank",
        "not 文字 present",
        // A blank amount is nothing, a blank text says nothing.
        "另一 = 0",
        "另一 < 1元",
        "not 文字 has \"甲\"",
        // Which rows are chosen is no condition of the line.
        "not exists 甲表[文字 = \"甲\"]",
        "count(甲表[个数 = 1]) = 0",
        // One condition that fails decides, and of two ways one that holds.
        "个数 = 1 or 另一 = 0",
    ] {
        let told = judged(&format!("甲表[101] when {condition}: 合计 = 部分"), blank.clone());
        assert!(told[1].starts_with("fail"), "{condition}: {told:?}");
    }
    assert_eq!(judged("甲表[101] when 个数 = 1 and 另一 = 1元: 合计 = 部分", blank.clone()), ["0 pass"]);
    // What a line claims is another thing: a blank there is held against what it should be.
    assert!(judged("甲表[101]: 个数 = 1", blank)[1].starts_with("fail"));
}

/// The period of a project, and what kind of unit it is, are asked for by the form set.
#[test]
fn a_project_without_a_period_is_not_passed() {
    let form = form("shanxi-2024");
    let mut changed = file("examples/fenyang-2024/submissions/407004.json");
    let rows = changed["tables"]["PF"]["rows"].as_array_mut().unwrap();
    rows.iter_mut().find(|row| row["row"] == "2024-001").unwrap()["period"] = json!("");
    changed["tables"]["UNIT"]["rows"][0]["type"] = json!("");
    let checked = judged_both_ways(&form, &Books::of(&read(&changed, &form)));
    let blank = checked
        .findings
        .iter()
        .filter(|finding| finding.cause.as_ref().is_some_and(|cause| cause.as_str() == "blank_condition"));
    let rules: BTreeSet<&str> = blank.clone().map(|finding| finding.rule.as_str()).collect();
    assert_eq!(rules, BTreeSet::from(["E-01", "E-02", "P-03", "P-04", "P-10", "T-07", "T-08"]));
    let rows: BTreeSet<String> = blank.filter(|finding| finding.rule == "P-03").map(|f| f.place.to_string()).collect();
    assert_eq!(rows.len(), 1);
}

/// An amount that can't be read may be the one that is asked for, or none: that is no pass.
#[test]
fn an_amount_that_can_not_be_read_is_not_passed_over() {
    let with = |words: &str| json!({ "A": { "rows": [{ "row": "101", "total": "1200.00", "words": words }] } });
    let mentions = |words: &str| judged("甲表[101] when 文字 mentions 元: 文字 mentions 合计", with(words));
    assert_eq!(mentions("需0.12亿元。"), ["1 pass"]);
    assert_eq!(mentions("需12百万元，另有若干。"), ["1 pass"]);
    assert_eq!(mentions("需三千余元，合计1200万元。"), ["1 pass"]);
    assert_eq!(mentions("单位：万元"), ["0 pass"]);
    assert!(mentions("需0.13亿元。")[1].starts_with("fail"));
    for words in ["需一千二百万元。", "需1200余万元。", "需13百万元，其中三千元自筹。"] {
        let told = mentions(words);
        assert!(told[1].starts_with("not_evaluable") && told[1].contains("can't be read"), "{words}: {told:?}");
    }
    let is = |words: &str| judged("甲表[101] when 文字 is 元: 文字 as 元 = 合计", with(words));
    assert_eq!(is("0.12亿元"), ["1 pass"]);
    assert_eq!(is("每年1200万元"), ["0 pass"]);
    assert!(is("10~20万元")[1].starts_with("not_evaluable"));
    let counted = |words: &str| judged("甲表[101] when count(甲表[文字 is 元/人]) = 1: 合计 = 0", with(words));
    assert!(counted("0.2万元/人·年")[1].starts_with("fail"));
    assert!(counted("70余元/人")[1].starts_with("not_evaluable"));
    assert_eq!(counted("70余元"), ["0 pass"]);
}

/// A written sum has to come to the result that stands behind it.
#[test]
fn the_result_behind_a_written_sum_is_held_against_it() {
    let form = form("shanxi-2024");
    let told = |sum: &str| {
        let mut changed = file("examples/fenyang-2024/submissions/407004.json");
        let rows = changed["tables"]["PF"]["rows"].as_array_mut().unwrap();
        let row = rows.iter_mut().find(|row| row["row"] == "2024-001").unwrap();
        (row["sum"], row["overview"]) = (json!(sum), json!("办理争议案件，需240000元。"));
        let checked = judged_both_ways(&form, &Books::of(&read(&changed, &form)));
        let own = checked.findings.iter().find(|finding| finding.rule == "A-01" && finding.place.row == "2024-001");
        own.map(|finding| (finding.verdict, finding.cause.as_ref().map(|cause| cause.as_str())))
    };
    assert_eq!(told("300件×800元"), None);
    assert_eq!(told("300件×800元=240000元=24.00万元"), None);
    assert_eq!(told("300件×800元=250000元"), Some((Verdict::NotEvaluable, Some("other_result"))));
    assert_eq!(told("300件×800元=二十四万元"), Some((Verdict::NotEvaluable, Some("unreadable"))));
    assert_eq!(told("300件×900元=270000元"), Some((Verdict::Fail, None)));
}

/// 10 is more than 9.5 and the same as 10.0; a wide letter is that letter.
#[test]
fn values_in_order_are_figures_and_folded_texts() {
    let holds = |check: &str, column: &str, values: &[&str]| {
        let rows: Vec<Value> = values
            .iter()
            .enumerate()
            .map(|(at, value)| json!({ "row": (101 + at).to_string(), column: value }))
            .collect();
        let mut all = rows;
        all.push(json!({ "row": "合计" }));
        judged(check, json!({ "A": { "rows": all } })) == ["1 pass"]
    };
    let (share, words, amount) = ("占比", "文字", "合计");
    for (column, id, values, ascending, unique) in [
        (share, "share", ["9.50", "10.00"], true, true),
        (share, "share", ["10.00", "9.50"], false, true),
        (share, "share", ["10.00", "10.00"], true, false),
        (amount, "total", ["9.50", "10.00"], true, true),
        (words, "words", ["ＡＢ", "AB"], true, false),
        (words, "words", ["ab", "b"], true, true),
        (words, "words", ["b", "ab"], false, true),
        (words, "words", ["", "ab"], true, true),
    ] {
        assert_eq!(holds(&format!("ascending 甲表.{column}"), id, &values), ascending, "ascending {values:?}");
        assert_eq!(holds(&format!("unique 甲表.{column}"), id, &values), unique, "unique {values:?}");
    }
}

#[test]
fn a_chain_names_the_link_that_fails() {
    let tables = json!({ "A": { "rows": [{ "row": "101", "total": "5.00", "part": "5.00", "other": "4.00" }] } });
    let told = judged("甲表: 合计 = 部分 = 另一", tables);
    assert_eq!(told[0], "1 pass");
    assert!(told[1].contains("合计 5.00 万元 should equal 另一 4.00"), "{told:?}");
}

#[test]
fn a_rule_whose_figures_have_failed_already_says_so() {
    let two = rule("甲表: 合计 = 部分") + &rule("甲表: 合计 = 另一").replace("[R]", "[S]");
    let form = with_rules(&two).unwrap();
    let file = json!({
        "form_set": "small", "unit": "1", "year": 2024, "round": "second", "kind": "unit",
        "tables": { "A": { "rows": [{ "row": "101", "total": "5.00", "part": "6.00", "other": "7.00" }] } },
    });
    let checked = judged_both_ways(&form, &Books::of(&read(&file, &form)));
    let after: Vec<Option<&str>> = checked.findings.iter().map(|finding| finding.after.as_deref()).collect();
    assert_eq!(after, [None, Some("R")]);
}

/// What was written in brackets is read in them: without, another formula would be heard.
#[test]
fn brackets_are_read_aloud() {
    for (check, zh, en) in [
        ("甲表: 合计 = 合计 - (部分 - 另一)", "合计减（部分减另一）", "合计 minus (部分 minus 另一)"),
        ("甲表: 合计 = 合计 - (部分 + 另一) + 部分", "减（部分加另一）加部分", "minus (部分 plus 另一) plus 部分"),
        ("甲表: 占比 = 部分 / (另一 * 2)", "部分除以（另一乘以2）", "部分 divided by (另一 times 2)"),
        ("甲表: 占比 = 部分 / (另一 / 2)", "部分除以（另一除以2）", "部分 divided by (另一 divided by 2)"),
        ("甲表 when not (合计 = 0 and 部分 = 0): 合计 = 另一", "并非（合计", "not (合计"),
        ("甲表 when not (合计 = 0 or 部分 = 0): 合计 = 另一", "并非（合计", "not (合计"),
    ] {
        let form = with_rules(&rule(check)).unwrap();
        let check = &form.rules.rules[0].checks[0];
        assert!(check.aloud.contains(zh) && check.aloud_en.contains(en), "{} / {}", check.aloud, check.aloud_en);
    }
}

/// A formula may call rows and columns by their ids; a sentence calls them by what is printed.
#[test]
fn what_is_called_by_an_id_is_read_aloud_by_its_name() {
    for (check, zh, en) in [
        (
            "甲表[parents]: total = sum(children.part)",
            "合计等于下级部分之和",
            "合计 equals the sum of 部分 of the rows below",
        ),
        ("甲表[合计].total = sum(甲表[leaves].part)", "的合计等于", "合计 of row"),
        ("甲表: exists 甲表[合计]", "有甲表「合计」行", "there is row “合计” of 甲表"),
        ("甲表: exists 甲表[leaves]", "行", "there are rows of 甲表"),
    ] {
        let form = with_rules(&rule(check)).unwrap();
        let check = &form.rules.rules[0].checks[0];
        assert!(check.aloud.contains(zh) && check.aloud_en.contains(en), "{} / {}", check.aloud, check.aloud_en);
    }
}

/// A table that many formulas need and nobody filed is said once on the screen, with the rules that need it.
#[test]
fn what_many_formulas_lack_is_said_once() {
    let mut seed = file(SEED);
    seed["tables"].as_object_mut().unwrap().remove("NOTE").unwrap();
    let form = form("shanxi-2024");
    let books = read(&seed, &form);
    let checked = evaluate(&form, &Books::of(&books), |_| true);
    let lacking = checked.findings.iter().filter(|finding| finding.verdict == Verdict::NotEvaluable).count();
    let screen = budget_consolidator::cli::rules::screen(&form, &checked, Language::Chinese);
    let said: Vec<&str> = screen.lines().filter(|line| line.contains("没有报“说明”这张表")).collect();
    assert!(lacking > 40 && said.len() == 1, "{said:?}");
    assert!(said[0].contains("N-01（9 处）") && said[0].contains("N-04（3 处）"), "{said:?}");
    let lines = screen.lines().filter(|line| line.starts_with("  [无法审核]")).count();
    assert_eq!(lines, 2, "P-14 and this: {screen}");
}

/// Without its total row a table has nothing that its rows could be held against: that is no pass.
#[test]
fn a_total_row_that_was_left_out_is_said() {
    let rows = json!([{ "row": "101", "total": "5.00" }, { "row": "102", "total": "4.00" }]);
    let told = judged("甲表[parents]: 合计 = sum(children.合计)", json!({ "A": { "rows": rows } }));
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[1].starts_with("not_evaluable") && told[1].contains("合计"), "{told:?}");
}

/// A justification rests on what was counted as well, though that stands in no cell.
#[test]
fn another_count_is_another_finding() {
    let form = with_rules(&rule("甲表[合计]: 个数 = count(乙表)")).unwrap();
    let name = |listed: &[&str]| {
        let listed: Vec<Value> = listed.iter().map(|key| json!({ "row": key, "total": "1.00" })).collect();
        let total = json!({ "row": "合计", "total": "1.00", "count": "9" });
        let file = json!({
            "form_set": "small", "unit": "1", "year": 2024, "round": "second", "kind": "unit",
            "tables": { "A": { "rows": [total] }, "B": { "rows": listed } },
        });
        let checked = judged_both_ways(&form, &Books::of(&read(&file, &form)));
        form.rules.fingerprint(&checked.findings[0])
    };
    assert_eq!(name(&["x"]), name(&["y"]), "as many");
    assert_ne!(name(&["x"]), name(&["x", "y"]));
}

/// What people have said about a finding doesn't outlive what the finding says.
#[test]
fn a_finding_loses_its_name_when_a_name_in_its_formula_means_something_else() {
    let named = |means: &str, checks: &str| {
        let form = with_rules(&format!("[let]\n\"项\" = '{means}'\n\"两项\" = '项 + 1元'\n{}", rule(checks))).unwrap();
        let file = json!({
            "form_set": "small", "unit": "1", "year": 2024, "round": "second", "kind": "unit",
            "tables": { "A": { "rows": [{ "row": "合计", "total": "5.00" }] } },
        });
        fingerprints(&file, &form)
    };
    for check in ["甲表: 合计 = 项", "甲表: 合计 = 两项"] {
        assert_ne!(named("1元", check), named("2元", check), "{check}");
    }
    // What it doesn't use is none of its business.
    assert_eq!(named("1元", "甲表: 合计 = 7元"), named("2元", "甲表: 合计 = 7元"));
}

/// Rows that were looked through and are not meant are not told, and yet it matters what they say.
#[test]
fn a_finding_loses_its_name_when_a_row_that_was_looked_through_says_something_else() {
    let form = with_rules(&rule("甲表[合计]: exists 乙表[合计 = 9元]")).unwrap();
    let named = |looked: &str, other: &str| {
        let file = json!({
            "form_set": "small", "unit": "1", "year": 2024, "round": "second", "kind": "unit",
            "tables": {
                "A": { "rows": [{ "row": "合计", "total": "5.00", "part": other }] },
                "B": { "rows": [{ "row": "x", "total": looked }] },
            },
        });
        let found = fingerprints(&file, &form);
        assert_eq!(found.len(), 1);
        found
    };
    assert_ne!(named("1.00", "1.00"), named("2.00", "1.00"));
    assert_eq!(named("1.00", "1.00"), named("1.00", "2.00"));
}

/// Findings are asked for by a rule's id, in small letters or capitals, and by the code of a reason.
#[test]
fn an_id_is_had_once() {
    let twice = rule("甲表: 合计 = 部分") + &rule("甲表: 合计 = 另一").replace("[R]", "[r]");
    let code = rule("甲表: 合计 = 部分").replace("[R]", "[over_ceiling]");
    let elsewhere = rule("甲表: 合计 = 部分") + "[elsewhere]\nr = { says = '一', says_en = 'one', see = [] }\n";
    for rules in [twice, code, elsewhere] {
        let Err(faults) = loaded(&rules) else { panic!("{rules}") };
        assert_eq!(faults[0].remark.fact("expected"), Some("an id of its own"), "{rules}");
    }
}

/// A table that should be blank and isn't: each cell in it is part of what was found.
#[test]
fn all_that_is_filled_in_is_noted_where_nothing_should_be() {
    let form = with_rules(&rule("甲表 blank")).unwrap();
    let file = |part: &str| {
        json!({
            "form_set": "small", "unit": "1", "year": 2024, "round": "second", "kind": "unit",
            "tables": { "A": { "rows": [
                { "row": "101", "total": "1.00" }, { "row": "合计", "total": "1.00", "part": part },
            ] } },
        })
    };
    let checked = judged_both_ways(&form, &Books::of(&read(&file("2.00"), &form)));
    let seen: Vec<String> = checked.findings[0].cells.iter().map(|cell| cell.address.to_string()).collect();
    assert_eq!(seen.len(), 3, "{seen:?}");
    assert_ne!(fingerprints(&file("2.00"), &form), fingerprints(&file("3.00"), &form));
}

/// The first condition that fails decides; what the others look at belongs to the finding all the same.
#[test]
fn what_a_condition_looks_at_is_noted_whole() {
    let form = with_rules(&rule("甲表[101]: 合计 = 9元 and 部分 = 8元 and 另一 = 7元")).unwrap();
    let file = json!({
        "form_set": "small", "unit": "1", "year": 2024, "round": "second", "kind": "unit",
        "tables": { "A": { "rows": [{ "row": "101", "total": "1.00", "part": "2.00", "other": "3.00" }] } },
    });
    let checked = judged_both_ways(&form, &Books::of(&read(&file, &form)));
    let seen: Vec<&str> = checked.findings[0].cells.iter().map(|cell| cell.address.column.as_str()).collect();
    assert_eq!(seen, ["total", "part", "other"]);
    let right = checked.findings[0].right.as_ref().map(ToString::to_string);
    assert_eq!(right.as_deref(), Some("0.0009"), "the first is what is told");
}
