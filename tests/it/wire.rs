//! The main way over a real socket: file, be refused, correct, read, trace, restart.

use crate::support::*;
use budget_consolidator::budget::intake::TableHeader;
use budget_consolidator::proto::{ShownCell, api};
use budget_consolidator::submission_file::{FileTable, SubmissionFile};

#[tokio::test]
async fn the_example_flows_from_filing_to_view() {
    let server = TestServer::fenyang().await;
    let form = form("shanxi-2024");
    for code in ["407001", "407002", "407003"] {
        let file = example(&format!("fenyang-2024/submissions/{code}.json"));
        let answer = server.client(&unit(code)).await.submit(&file, &form).await.unwrap();
        let verdict = answer.verdict.unwrap();
        let refusing: Vec<_> =
            verdict.findings.iter().filter(|f| f.strength == i32::from(api::Strength::Balance)).collect();
        assert_eq!(verdict.outcome, i32::from(api::Outcome::Submitted), "{code}: {refusing:#?}");
        assert_eq!(answer.version, 1);
    }
    let over = example("fenyang-2024/submissions/407004-over.json");
    let client = server.client(&unit("407004")).await;
    let answer = client.submit(&over, &form).await.unwrap();
    let verdict = answer.verdict.unwrap();
    assert_eq!((verdict.outcome, answer.version), (i32::from(api::Outcome::Refused), 0));
    assert!(verdict.findings.iter().any(|f| f.reason == "OVER_CEILING" && f.table == "T03"), "{:#?}", verdict.findings);
    // Nor does it get by without the table that the ceiling stands in; as an empty one it may be filed, and is asked about.
    let at = over.tables.iter().position(|table| table.header.id == "T03").unwrap();
    let mut left_out = over.clone();
    left_out.tables.remove(at);
    let mut empty = over.clone();
    empty.tables[at] =
        FileTable { header: TableHeader { empty: true, ..over.tables[at].header.clone() }, rows: Vec::new() };
    for (file, refused) in [(&left_out, true), (&empty, false)] {
        let verdict = client.dry_run(file, &form).await.unwrap().verdict.unwrap();
        let blank = |f: &&api::Finding| f.reason == "CAPPED_CELL_BLANK" && f.table == "T03";
        let blank = verdict.findings.iter().find(blank).unwrap();
        assert_eq!(blank.strength == i32::from(api::Strength::Balance), refused, "{blank:#?}");
        assert_eq!(blank.facts.iter().any(|fact| fact.name == "table"), refused, "{blank:#?}");
    }
    let corrected = example("fenyang-2024/submissions/407004.json");
    // Nor without one in which it shares its department's ceiling.
    let mut shared = corrected.clone();
    shared.tables.retain(|table| table.header.id != "T10");
    let verdict = client.dry_run(&shared, &form).await.unwrap().verdict.unwrap();
    let blank = verdict.findings.iter().find(|f| f.reason == "CAPPED_CELL_BLANK" && f.table == "T10").unwrap();
    assert_eq!(blank.strength, i32::from(api::Strength::Balance), "{blank:#?}");
    assert!(blank.facts.iter().any(|fact| fact.name == "holder" && fact.value == "407"), "{blank:#?}");
    let answer = client.submit(&corrected, &form).await.unwrap();
    assert_eq!(answer.version, 1);

    let department = server.client(DEPARTMENT).await;
    let board = department.status_board("407").await;
    assert_eq!((board.submitted, board.refused, board.missing), (4, 0, 1));
    let view = department.view("407", &["T03"], true).await.unwrap();
    assert_eq!(view.filings, 4);
    assert_eq!(view.children.len(), 6, "five expected units, and one whose money is in another filing");
    // A list without a total row has a subtotal, of the units as well.
    let view = department.view("407", &["PF"], true).await.unwrap();
    let subtotal = |table: &api::ShownTable| {
        let row = table.rows.iter().find(|row| row.key == "Σ")?;
        let at = table.columns.iter().position(|column| column.id == "annual_total")?;
        row.cells[at].exact.replace('.', "").parse::<i128>().ok()
    };
    let parts: Vec<i128> = view.children.iter().filter_map(|child| subtotal(&child.tables[0])).collect();
    assert!(parts.len() > 1);
    assert_eq!(subtotal(&view.tables[0]), Some(parts.into_iter().sum()));
    let history = server.client(AUDITOR).await.history("407004").await.unwrap();
    assert_eq!(history.events.len(), 3);
    server.stop().await;
}

/// The cell of a shown table.
fn shown<'v>(view: &'v api::ViewResponse, table: &str, row: &str, column: &str) -> &'v ShownCell {
    let table = view.tables.iter().find(|t| t.id == table).unwrap();
    let at = table.columns.iter().position(|c| c.id == column).unwrap();
    &table.rows.iter().find(|r| r.key == row).unwrap().cells[at]
}

#[tokio::test]
async fn internal_transfers_are_eliminated_in_pairs_and_exceptions_are_shown() {
    let server = TestServer::fenyang().await;
    let form = form("shanxi-2024");
    let department = server.client(DEPARTMENT).await;
    // One side alone is an exception, and nothing is taken off.
    let payer = example("fenyang-2024/submissions/407001.json");
    server.client(&unit("407001")).await.submit(&payer, &form).await.unwrap();
    let view = department.view("407", &[], false).await.unwrap();
    assert_eq!(view.transfers[0].standing, i32::from(api::TransferStanding::OneSided));
    assert_eq!(shown(&view, "T03", "合计", "total").eliminated, "");

    let mut receiver = example("fenyang-2024/submissions/407003.json");
    server.client(&unit("407003")).await.submit(&receiver, &form).await.unwrap();
    let view = department.view("407", &[], false).await.unwrap();
    assert_eq!(view.transfers.len(), 1, "{:?}", view.transfers);
    assert_eq!(view.transfers[0].standing, i32::from(api::TransferStanding::Eliminated));
    // Income and expenditure shrink alike, so what is carried over does not change.
    for (table, row, column) in [
        ("T01A", "total", "amount"),
        ("T01B", "total", "total"),
        ("T02", "2080111", "own"),
        ("T03", "合计", "total"),
        ("T03", "2080111", "project"),
        ("OWN", "superior", "amount"),
    ] {
        assert_eq!(shown(&view, table, row, column).eliminated, "120000.00", "{table}/{row}/{column}");
    }
    assert_eq!(shown(&view, "T01A", "general", "amount").eliminated, "");
    let total = shown(&view, "T03", "合计", "total");
    assert_eq!((total.reported.as_str(), total.exact.as_str()), ("9543294.41", "9423294.41"));

    // The receiver corrects its amount: the pair no longer agrees, and the elimination is taken off again.
    let table = receiver.tables.iter_mut().find(|table| table.header.id == "TRANSFER").unwrap();
    let at = table.header.columns.iter().position(|column| column == "amount").unwrap();
    table.rows[0].1[at] = "120000.01".to_owned();
    server.client(&unit("407003")).await.submit(&receiver, &form).await.unwrap();
    let view = department.view("407", &[], false).await.unwrap();
    assert_eq!(view.transfers[0].standing, i32::from(api::TransferStanding::Differs));
    assert_eq!(shown(&view, "T03", "合计", "total").exact, "9543294.41");
    server.stop().await;
}

/// A unit's history is read by whoever answers for it, year by year: one that was moved is not laid open to its next department.
#[tokio::test]
async fn a_years_history_is_read_by_whoever_answered_for_that_year() {
    let server = TestServer::fenyang().await;
    let file = example("fenyang-2024/submissions/407004.json");
    server.client(&unit("407004")).await.submit(&file, &form("shanxi-2024")).await.unwrap();
    let moved: Vec<api::UnitNode> = [("408", "0", "department"), ("407", "0", "department"), ("407004", "408", "unit")]
        .map(|(code, parent, role)| api::UnitNode {
            code: code.into(),
            parent: parent.into(),
            name: code.into(),
            role: role.into(),
            budgeted: role == "unit",
            ..Default::default()
        })
        .into();
    let import = api::ImportUnitsRequest { idempotency_key: new_key(), year: 2025, nodes: moved };
    server.client(ADMINISTRATOR).await.registry().import_units(import).await.unwrap();
    let kinds = async |actor: &str| {
        let history = server.client(actor).await.history("407004").await?;
        Ok::<_, tonic::Status>(history.events.len())
    };
    let all = kinds(AUDITOR).await.unwrap();
    assert!(all >= 2);
    assert_eq!(kinds(&unit("407004")).await.unwrap(), all);
    assert_eq!(kinds(DEPARTMENT).await.unwrap(), all, "what it answered for");
    assert_eq!(kinds("budget://408/department").await.unwrap(), 0, "nothing happened in its year yet");
    assert_eq!(reason(&kinds("budget://409/department").await.unwrap_err()), "NOT_PERMITTED");
    server.stop().await;
}

/// What is paid under one code and received under another is taken off both: no code of the sum agrees then, and nothing is wrong.
#[tokio::test]
async fn a_transfer_under_two_codes_leaves_a_sum_that_no_rule_fails() {
    let server = TestServer::fenyang().await;
    let form = form("shanxi-2024");
    let patch = r#"
        base = "fenyang-2024/submissions/407001"
        remove = ["T02/2080111", "T03/2080111", "PFUNC/2024-004/2080111"]
        [set]
        "T02/2080108/total" = "20.00"
        "T02/2080108/own" = "12.00"
        "T03/2080108/total" = "20.00"
        "T03/2080108/project" = "20.00"
        "PFUNC/2024-004/2080108/amount" = "12.00"
        "TRANSFER/407003/grant-out/function" = "2080108"
    "#;
    let payer = crate::gallery::patched(&toml::from_str(patch).unwrap(), &form).to_string();
    let receiver = std::fs::read_to_string(project("examples/fenyang-2024/submissions/407003.json")).unwrap();
    for (code, file) in [("407001", payer), ("407003", receiver)] {
        let file = SubmissionFile::read(&file).unwrap();
        let answer = server.client(&unit(code)).await.submit(&file, &form).await.unwrap();
        assert_eq!(answer.version, 1, "{code}: {:?}", answer.verdict);
    }
    let view = server.client(DEPARTMENT).await.view("407", &[], false).await.unwrap();
    assert_eq!(view.transfers[0].standing, i32::from(api::TransferStanding::Eliminated));
    for (table, row, eliminated) in [
        ("T02", "2080111", "120000.00"),
        ("T02", "2080108", ""),
        ("T03", "2080111", ""),
        ("T03", "2080108", "120000.00"),
    ] {
        assert_eq!(shown(&view, table, row, "total").eliminated, eliminated, "{table}/{row}");
    }
    assert_eq!((view.rule_counts.unwrap().fail, found(&view.rule_findings)), (0, Vec::new()));
    server.stop().await;
}
