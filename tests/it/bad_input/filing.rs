//! What stands in a filing. All of these are sealed, so each refusal is an event with its findings.

use budget_consolidator::budget::intake::FINDINGS_MAX;
use budget_consolidator::budget::reason::Reason;
use budget_consolidator::proto::api;
use budget_consolidator::submission_file::{FileTable, SubmissionFile};

use super::{Scene, assert_found, set, table_at};
use crate::support::{example, form};

/// What is wrong: how it comes into the filing, and the finding that it must give.
struct Case {
    name: &'static str,
    spoil: fn(&mut SubmissionFile),
    reason: &'static str,
    /// `table/row/column`.
    place: &'static str,
    said: &'static [&'static str],
}

async fn each_is_refused_at_its_place(scene: &Scene, cases: &[Case]) {
    for Case { name, spoil, reason, place, said } in cases {
        let mut file = scene.file();
        spoil(&mut file);
        let verdict = scene.one_refusal_is_noted(name, &file).await;
        let finding = assert_found(name, &verdict, reason, place, said);
        assert_eq!(finding.strength, i32::from(api::Strength::Balance), "{name}");
        let on_a_line = !finding.row.is_empty() && *reason != "OVER_CEILING";
        assert_eq!(finding.line > 0, on_a_line, "{name}: a row as sent has its line, and nothing else has one");
    }
    scene.refusals_are_borne_out();
}

fn filed<'f>(file: &'f mut SubmissionFile, table: &str) -> &'f mut FileTable {
    let at = table_at(file, table);
    &mut file.tables[at]
}

#[tokio::test]
async fn figures_that_are_none_are_refused_at_their_cell() {
    let scene = Scene::fenyang().await;
    let amount = "T03/合计/total";
    for (cell, value, reason) in [
        (amount, "1,234.5", "AMOUNT_SEPARATOR"),
        (amount, "1_000", "AMOUNT_SEPARATOR"),
        (amount, "1 000", "AMOUNT_SEPARATOR"),
        (amount, "1，234.5", "AMOUNT_SEPARATOR"),
        (amount, "1e3", "AMOUNT_EXPONENT"),
        (amount, "NaN", "AMOUNT_MALFORMED"),
        (amount, "inf", "AMOUNT_MALFORMED"),
        (amount, "+5", "AMOUNT_MALFORMED"),
        (amount, "007", "AMOUNT_MALFORMED"),
        (amount, "-0.00", "AMOUNT_MALFORMED"),
        (amount, "１６２", "AMOUNT_MALFORMED"),
        (amount, "\u{2212}5", "AMOUNT_MALFORMED"),
        (amount, "5.", "AMOUNT_MALFORMED"),
        (amount, "1.2.3", "AMOUNT_MALFORMED"),
        (amount, "162.941", "AMOUNT_TOO_PRECISE"),
        (amount, "1000000000.00", "AMOUNT_TOO_LARGE"),
        (amount, "99999999999999999999999999999999", "AMOUNT_TOO_LARGE"),
        (amount, "-1.00", "AMOUNT_NEGATIVE"),
        ("UNIT/-/staff_actual", "12.5", "AMOUNT_TOO_PRECISE"),
        ("UNIT/-/staff_actual", "-1", "AMOUNT_NEGATIVE"),
        ("UNIT/-/staff_actual", "99999999999999999", "AMOUNT_TOO_LARGE"),
        ("ASSET/-/vehicle_year", "99", "AMOUNT_MALFORMED"),
        ("NOTE/-/general_share", "NaN", "AMOUNT_MALFORMED"),
    ] {
        let mut file = scene.file();
        set(&mut file, cell, value);
        let what = format!("{value} in {cell}");
        let verdict = scene.one_refusal_is_noted(&what, &file).await;
        assert_found(&what, &verdict, reason, cell, &[value]);
    }
    scene.refusals_are_borne_out();
    scene.stop().await;
}

#[tokio::test]
async fn what_has_no_place_in_the_form_set_is_refused_by_name() {
    let scene = Scene::fenyang().await;
    let cases = [
        Case {
            name: "unknown table",
            spoil: |file| {
                let mut table = filed(file, "T03").clone();
                table.header.id = "T99".into();
                file.tables.push(table);
            },
            reason: "UNKNOWN_TABLE",
            place: "T99//",
            said: &["T99", "T03, T04A"],
        },
        Case {
            name: "table twice",
            spoil: |file| {
                let table = filed(file, "T03").clone();
                file.tables.push(table);
            },
            reason: "DUPLICATE_TABLE",
            place: "T03//",
            said: &[],
        },
        Case {
            name: "unknown column",
            spoil: |file| set(file, "T03/合计/sum", "1.00"),
            reason: "UNKNOWN_COLUMN",
            place: "T03//sum",
            said: &["sum", "basic, project"],
        },
        Case {
            name: "column twice",
            spoil: |file| filed(file, "T03").header.columns.push("total".into()),
            reason: "DUPLICATE_COLUMN",
            place: "T03//total",
            said: &["total"],
        },
        Case {
            name: "more values than columns",
            spoil: |file| filed(file, "T10").rows.push(("total".into(), vec!["1.00".into(); 9])),
            reason: "TOO_MANY_VALUES",
            place: "T10/total/",
            said: &[],
        },
        Case {
            name: "unknown fixed row",
            spoil: |file| set(file, "T01A/lottery/amount", "1.00"),
            reason: "UNKNOWN_ROW",
            place: "T01A/lottery/",
            said: &["lottery", "general"],
        },
        Case {
            name: "key that is no code",
            spoil: |file| set(file, "T03/20A/total", "1.00"),
            reason: "BAD_ROW_KEY",
            place: "T03/20A/",
            said: &["20A"],
        },
        Case {
            name: "row twice",
            spoil: |file| filed(file, "T03").rows.push(("20801".into(), Vec::new())),
            reason: "DUPLICATE_ROW",
            place: "T03/20801/",
            said: &["20801"],
        },
        Case {
            name: "parent row absent",
            spoil: |file| filed(file, "T03").rows.retain(|(key, _)| key != "20801"),
            reason: "PARENT_ROW_ABSENT",
            place: "T03/2080112/",
            said: &["2080112", "20801"],
        },
        Case {
            name: "rows in a table that is empty on purpose",
            spoil: |file| filed(file, "T03").header.empty = true,
            reason: "EMPTY_TABLE_HAS_ROWS",
            place: "T03//",
            said: &["13"],
        },
        Case {
            name: "unknown amount unit",
            spoil: |file| filed(file, "T03").header.amount_unit = "美元".into(),
            reason: "BAD_AMOUNT_UNIT",
            place: "T03//",
            said: &["美元"],
        },
        Case {
            name: "decimals beyond the 分",
            spoil: |file| {
                filed(file, "T03").header.amount_unit = "元".into();
                filed(file, "T03").header.decimals = Some(3);
            },
            reason: "BAD_AMOUNT_UNIT",
            place: "T03//",
            said: &["元 3"],
        },
        Case {
            name: "known code with a wrong name",
            spoil: |file| set(file, "T03/2080112/name", "劳动争议仲裁"),
            reason: "NAME_DIFFERS",
            place: "T03/2080112/name",
            said: &["2080112", "劳动争议仲裁", "劳动人事争议调解仲裁"],
        },
        Case {
            name: "text too long",
            spoil: |file| set(file, "UNIT/-/duty", &"职".repeat(2_731)),
            reason: "TEXT_TOO_LONG",
            place: "UNIT/-/duty",
            said: &["8193", "8192"],
        },
        Case {
            name: "control character",
            spoil: |file| set(file, "UNIT/-/duty", "bell\u{7}"),
            reason: "BAD_TEXT",
            place: "UNIT/-/duty",
            said: &[],
        },
        Case {
            name: "nothing at all",
            spoil: |file| file.tables.clear(),
            reason: "NOTHING_FILED",
            place: "//",
            said: &[],
        },
        Case {
            name: "above the ceiling",
            spoil: |file| set(file, "T03/合计/project", "43.60"),
            reason: "OVER_CEILING",
            place: "T03/合计/project",
            said: &["39.60", "43.60", "4.00", "万元"],
        },
    ];
    each_is_refused_at_its_place(&scene, &cases).await;
    scene.stop().await;
}

#[tokio::test]
async fn a_complete_catalogue_and_a_form_in_yuan_refuse_what_they_do_not_know() {
    let scene = Scene::linjiang().await;
    let cases = [
        Case {
            name: "unknown code",
            spoil: |file| set(file, "B2/2130398/total", "1.00"),
            reason: "UNKNOWN_CODE",
            place: "B2/2130398/",
            said: &["2130398", "subjects.csv"],
        },
        Case {
            name: "third decimal of 分",
            spoil: |file| set(file, "B2/总计/total", "2687437.291"),
            reason: "AMOUNT_TOO_PRECISE",
            place: "B2/总计/total",
            said: &["2687437.291", "2"],
        },
        Case {
            name: "beyond the cap by one 分",
            spoil: |file| set(file, "B1/total/budget", "10000000000000.00"),
            reason: "AMOUNT_TOO_LARGE",
            place: "B1/total/budget",
            said: &["10000000000000.00"],
        },
        Case {
            name: "stated decimals beyond the 分 of the form set's own 元",
            spoil: |file| filed(file, "B2").header.decimals = Some(3),
            reason: "BAD_AMOUNT_UNIT",
            place: "B2//",
            said: &["3"],
        },
        Case {
            name: "required cell blank",
            spoil: |file| set(file, "B8/合计/name", ""),
            reason: "REQUIRED_BLANK",
            place: "B8/合计/name",
            said: &[],
        },
    ];
    each_is_refused_at_its_place(&scene, &cases).await;
    scene.stop().await;
}

#[tokio::test]
async fn an_unknown_code_in_an_incomplete_catalogue_is_a_question_and_the_filing_is_taken() {
    let scene = Scene::fenyang().await;
    let mut file = scene.file();
    set(&mut file, "T03/2080198/total", "0.00");
    let answer = scene.client().await.submit(&file, &scene.form).await.unwrap();
    let verdict = answer.verdict.unwrap();
    assert_eq!((verdict.outcome, answer.version), (api::Outcome::Submitted.into(), 2));
    let finding = assert_found("code", &verdict, "CODE_TO_VERIFY", "T03/2080198/", &["2080198", "function.csv"]);
    assert_eq!(finding.strength, i32::from(api::Strength::Verify));
    scene.stop().await;
}

#[tokio::test]
async fn every_fault_of_a_filing_is_listed_and_not_the_first_only() {
    let scene = Scene::fenyang().await;
    let mut file = scene.file();
    for (cell, value) in [("T03/合计/total", "1e3"), ("T05/合计/basic", "NaN"), ("T06/301/total", "1_0")] {
        set(&mut file, cell, value);
    }
    let verdict = scene.one_refusal_is_noted("three faults", &file).await;
    assert_found("T03", &verdict, "AMOUNT_EXPONENT", "T03/合计/total", &["1e3"]);
    assert_found("T05", &verdict, "AMOUNT_MALFORMED", "T05/合计/basic", &["NaN"]);
    assert_found("T06", &verdict, "AMOUNT_SEPARATOR", "T06/301/total", &["1_0"]);
    scene.stop().await;
}

#[tokio::test]
async fn a_dry_run_of_a_bad_filing_lists_its_faults_and_leaves_no_trace() {
    let scene = Scene::fenyang().await;
    let mut file = scene.file();
    set(&mut file, "T03/合计/total", "1e3");
    let client = scene.client().await;
    let answer = scene.nothing_changes("dry run", client.dry_run(&file, &scene.form)).await.unwrap();
    let verdict = answer.verdict.unwrap();
    assert_eq!(verdict.outcome, i32::from(api::Outcome::Refused));
    assert_found("dry run", &verdict, "AMOUNT_EXPONENT", "T03/合计/total", &["1e3"]);
    scene.stop().await;
}

#[tokio::test]
async fn thousands_of_long_wrong_names_are_refused_in_an_answer_that_can_be_read() {
    let scene = Scene::fenyang().await;
    let mut file = scene.file();
    let long = "名".repeat(2_700);
    for table in ["T02", "T03", "T05"] {
        let keys: Vec<String> = filed(&mut file, table).rows.iter().map(|(key, _)| key.clone()).collect();
        keys.iter().filter(|key| *key != "合计").for_each(|key| set(&mut file, &format!("{table}/{key}/name"), &long));
    }
    let verdict = scene.one_refusal_is_noted("long names", &file).await;
    assert_eq!(verdict.findings.iter().filter(|finding| finding.reason == "NAME_DIFFERS").count(), 36);
    let bytes: usize = verdict.findings.iter().map(|finding| finding.sentence_zh.len()).sum();
    assert!(bytes < 36 * 1_000, "{bytes} bytes of sentences");
    scene.stop().await;
}

type Spoil<'s> = &'s dyn Fn(&mut SubmissionFile);

/// What is wrong with the shape of these is more than is listed: of what is left out nobody can say later whether rows were lost.
#[tokio::test]
async fn filings_with_more_findings_than_are_listed_verify() {
    let scene = Scene::fenyang().await;
    let many = |file: &mut SubmissionFile, table: &str, value: &str| {
        let table = filed(file, table);
        let at = table.header.columns.iter().position(|column| column == "total").unwrap();
        let row = |n: usize| {
            let mut values = vec![String::new(); table.header.columns.len()];
            value.clone_into(&mut values[at]);
            (format!("2024-9{n:04}"), values)
        };
        table.rows.extend((0..FINDINGS_MAX + 100).map(row).collect::<Vec<_>>());
    };
    let spoils: [(&str, Spoil<'_>); 4] = [
        ("a key twice behind them", &|file| {
            many(file, "T03", "1,234.00");
            let table = filed(file, "T03");
            table.rows.push(table.rows[0].clone());
        }),
        ("rows in an empty table behind them", &|file| {
            many(file, "T12", "1,234.00");
            set(file, "T13/单位合计/total", "1.00");
            filed(file, "T13").header.empty = true;
        }),
        ("a value too many in each", &|file| {
            many(file, "T12", "");
            filed(file, "T12").rows.iter_mut().for_each(|(_, values)| values.push("x".to_owned()));
            set(file, "T05/坏/total", "1.00");
        }),
        ("the same key in each", &|file| {
            many(file, "T12", "");
            filed(file, "T12").rows.iter_mut().for_each(|(key, _)| "2024-001".clone_into(key));
            set(file, "T05/坏/total", "1.00");
        }),
    ];
    for (what, spoil) in spoils {
        let mut file = scene.file();
        spoil(&mut file);
        let verdict = scene.one_refusal_is_noted(what, &file).await;
        assert!(verdict.findings.len() >= FINDINGS_MAX, "{what}: {}", verdict.findings.len());
    }
    scene.refusals_are_borne_out();
    scene.stop().await;
}

/// Their long names are read as well as short ones: what is wrong is one thing, and said once.
#[test]
fn rows_in_a_table_that_is_empty_on_purpose_are_one_finding_and_a_flood_of_them_is_bounded() {
    let mut file = example("fenyang-2024/submissions/407002.json");
    filed(&mut file, "T03").header.empty = true;
    let reading = file.read_on(&form("shanxi-2024"));
    let refusing: Vec<_> = reading.findings.iter().filter(|finding| finding.refuses()).collect();
    assert_eq!(refusing.len(), 1, "{refusing:?}");
    assert_eq!(refusing[0].remark.reason, Reason::EmptyTableHasRows);
    // Each of these is a finding, and there are two tables of them.
    for table in ["T03", "T05"] {
        let rows = &mut filed(&mut file, table).rows;
        rows.extend((0..3_000).map(|n| (format!("x{}", n / 2), Vec::new())));
    }
    let reading = file.read_on(&form("shanxi-2024"));
    assert_eq!(reading.findings.iter().filter(|finding| finding.refuses()).count(), FINDINGS_MAX);
}
