//! Rules on sums: honest rounding never fails a view, whatever was rounded where; a figure that is wrong by more than
//! all roundings together does; and what a view says, it says over a socket.

use budget_consolidator::budget::cell::RowKey;
use budget_consolidator::budget::form_set::FormSet;
use budget_consolidator::budget::intake::TableHeader;
use budget_consolidator::budget::roll_up::{RowSums, Totals};
use budget_consolidator::budget::rule::{Books, Cause, Checked, Consolidated, SumRow, Verdict, evaluate};
use budget_consolidator::budget::submission::{Content, Kind, Round, Slot, Submission};
use budget_consolidator::proto::api;
use budget_consolidator::submission_file::{FileTable, SubmissionFile};
use proptest::prelude::*;
use std::sync::LazyLock;

use crate::support::*;

static FORM: LazyLock<FormSet> = LazyLock::new(|| form("shanxi-2024"));

/// Lowest codes, and the codes above each.
const LEAVES: [(&str, [&str; 2]); 3] =
    [("2080505", ["20805", "208"]), ("2080506", ["20805", "208"]), ("2101102", ["21011", "210"])];
const ROWS: [&str; 8] = ["合计", "208", "20805", "2080505", "2080506", "210", "21011", "2101102"];
/// Half of the last printed digit of 万元 with two decimals, in 分.
const HALF: i64 = 5_000;

/// 分 as 万元 with two decimals, half up.
fn printed(fen: i64) -> String {
    let hundredths = (fen + HALF) / (2 * HALF);
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

/// 表三 of a unit that spends so many 分 under each code for staff and for projects, each figure rounded by itself.
fn unit_filing(number: usize, spent: &[[i64; 2]; 3], off: i64) -> Submission {
    let row = |key: &str| -> (String, Vec<String>) {
        let under = |(code, above): &(&str, [&str; 2])| key == "合计" || *code == key || above.contains(&key);
        let of = |column: usize| -> i64 {
            LEAVES.iter().zip(spent).filter(|(leaf, _)| under(leaf)).map(|(_, spent)| spent[column]).sum()
        };
        let (basic, project) = (of(0) + if key == "20805" { off } else { 0 }, of(1));
        (key.to_owned(), [basic + project, basic, project].map(printed).to_vec())
    };
    let columns = ["total", "basic", "project"].map(Into::into).to_vec();
    let file = SubmissionFile {
        form_set: FORM.id.to_string(),
        slot: Slot { unit: format!("u{number}").into(), year: FORM.year, round: Round::Second, kind: Kind::Unit },
        note: String::new(),
        tables: vec![FileTable {
            header: TableHeader { id: "T03".into(), columns, ..TableHeader::default() },
            rows: ROWS.map(row).to_vec(),
        }],
    };
    let reading = file.read_on(&FORM);
    assert!(!reading.is_refused(), "{:?}", reading.findings.first());
    (*reading.submission).clone()
}

/// What rules find in the sum of some filings.
fn check_sum(filings: &[Submission]) -> Checked {
    let totals = Totals::of(&FORM, filings);
    let header = Slot { unit: "d".into(), year: FORM.year, round: Round::Second, kind: Kind::Department };
    let mut sums = Consolidated::new(&FORM, header);
    for (table, rows) in totals.tables() {
        let columns = 0..FORM.tables[table].columns.len();
        let row = |(key, filings, sums): (&RowKey, u32, RowSums<'_>)| SumRow {
            key: key.clone(),
            filings,
            sums: columns.clone().map(|column| sums.column(column)).collect(),
        };
        sums.add(&FORM, table, rows.filings, &rows.rows().map(row).collect::<Vec<_>>());
    }
    sums.check(&FORM)
}

fn failed(checked: &Checked) -> Vec<String> {
    let failed = checked.findings.iter().filter(|finding| finding.verdict == Verdict::Fail);
    failed.map(|finding| format!("{} {}", finding.rule, finding.place)).collect()
}

/// What up to so many units spend.
fn units(most: usize) -> impl Strategy<Value = Vec<[[i64; 2]; 3]>> {
    let spent = || prop::array::uniform2(0..9_000_000_i64);
    prop::collection::vec(prop::array::uniform3(spent()), 1..most)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// If each filing holds, so does their sum: the amounts that make each hold add up to amounts that make it hold.
    #[test]
    fn a_sum_of_honest_filings_never_fails(units in units(40)) {
        let filings: Vec<Submission> = units.iter().enumerate().map(|(at, spent)| unit_filing(at, spent, 0)).collect();
        for filing in &filings {
            let alone = evaluate(&FORM, &Books::of(filing), |needs| needs.filing_only());
            prop_assert_eq!(failed(&alone).into_iter().filter(|rule| rule.starts_with(['V', 'H'])).count(), 0);
        }
        let sum = check_sum(&filings);
        prop_assert_eq!(failed(&sum), [""; 0]);
        prop_assert!(sum.counts.pass + sum.counts.pass_by_rounding >= 10, "{:?}", sum.counts);
    }

    /// An independent bound in whole 分: each figure that goes into the two sides is printed at most half a digit away from
    /// itself, and stands for what is at most half a digit away from it. A parent that is off by more than all of that can't
    /// be explained, and is found at its row.
    #[test]
    fn a_figure_off_by_more_than_all_roundings_fails_the_sum(
        units in units(12),
        more in 1..1_000_000_i64,
    ) {
        let figures = i64::try_from(3 * units.len()).unwrap();
        let off = 2 * figures * HALF + more;
        let filing = |(at, spent): (usize, &[[i64; 2]; 3])| unit_filing(at, spent, if at == 0 { off } else { 0 });
        let sum = check_sum(&units.iter().enumerate().map(filing).collect::<Vec<_>>());
        prop_assert!(failed(&sum).contains(&"V-01 T03/20805/basic".to_owned()), "{:?}", failed(&sum));
    }
}

/// A unit that files a code and nothing below it, or leaves a table out, makes no failure of what is right.
#[test]
fn units_that_file_to_different_depth_fail_no_sum() {
    let deep = unit_filing(1, &[[1_000_000, 0]; 3], 0);
    let mut shallow = unit_filing(2, &[[2_000_000, 0]; 3], 0);
    let Content::Rows(rows) = &mut shallow.tables[0].content else { panic!("no rows") };
    let (kept, dropped): (Vec<usize>, Vec<usize>) = (0..rows.len()).partition(|at| rows.at(*at).unwrap().key.len() < 7);
    rows.arrange([&kept[..], &dropped[..]].concat());
    rows.truncate(kept.len());
    let sum = check_sum(&[deep.clone(), shallow.clone()]);
    assert_eq!(failed(&sum), [""; 0]);
    let uneven = |sum: &Checked| {
        let cause = Some(Cause::FiledUnevenly("T03".into()));
        sum.findings.iter().filter(|finding| finding.cause == cause).count()
    };
    assert!(uneven(&sum) >= 2, "{:?}", sum.counts);
    // By themselves they are even.
    assert_eq!(uneven(&check_sum(&[deep.clone(), deep])), 0);
}

#[tokio::test]
async fn a_view_says_how_rules_come_out_on_its_sums() {
    let server = TestServer::start().await;
    crate::replay::file_the_example(&server).await;
    let department = server.client(DEPARTMENT).await;
    let view = department.view("407", &["T01A"], false).await.unwrap();
    let counts = view.rule_counts.unwrap();
    assert!(counts.pass > 500 && counts.pass_by_rounding > 10, "{counts:?}");
    assert_eq!((counts.fail, view.rule_findings.len()), (0, 0));
    // A unit's own filing was judged when it came.
    let own = department.view("407002", &["T01A"], false).await.unwrap();
    assert_eq!(own.rule_counts, Some(api::RuleCounts::default()));

    // A rule about sums alone, which none of these keeps.
    let mut files = form_files("shanxi-2024");
    let rules = String::from_utf8(files["rules.toml"].clone()).unwrap();
    let rule = "\n[X-01]\ntitle = \"t\"\ntitle_en = \"t\"\nreason = \"r\"\nreason_en = \"r\"\nstrength = \"balance\"\n\
                applies = \"view\"\ncheck = '表三[合计].合计 = 0'\ntodo = \"d\"\ntodo_en = \"d\"\n";
    files.insert("rules.toml".into(), (rules + rule).into_bytes());
    let publish = api::PublishFormSetRequest {
        idempotency_key: "x".into(),
        files: files.into_iter().map(|(name, content)| api::FormFile { name, content }).collect(),
    };
    server.client(ADMINISTRATOR).await.registry().publish_form_set(publish).await.unwrap();
    let file = example("fenyang-2024/submissions/407003.json");
    let in_force = server.consolidator.snapshot().state.form_set("shanxi-2024").unwrap().clone();
    let taken = server.client(&unit("407003")).await.submit(&file, &in_force).await.unwrap();
    assert_eq!(taken.verdict.unwrap().outcome, i32::from(api::Outcome::Submitted), "the rule is not about filings");
    let view = department.view("407", &["T01A"], false).await.unwrap();
    let all = found(&view.rule_findings);
    let [found] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!((found.rule.as_str(), found.table.as_str(), found.row.as_str()), ("X-01", "T03", "合计"));
    let total = department.view("407", &["T03"], false).await.unwrap().tables.remove(0);
    let total = total.rows.iter().find(|row| row.key == "合计").unwrap();
    let digits = |text: &str| text.replace('.', "");
    assert_eq!(
        digits(&found.left.as_ref().unwrap().value),
        digits(&total.cells[1].exact),
        "the sum as the view has it"
    );
    server.stop().await;
}
