//! The main way over a real socket: file, be refused, correct, read, trace, restart.

use crate::support::*;
use budget_consolidator::proto::api;

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
    let corrected = example("fenyang-2024/submissions/407004.json");
    let answer = client.submit(&corrected, &form).await.unwrap();
    assert_eq!(answer.version, 1);

    let department = server.client(DEPARTMENT).await;
    let board = department.status_board("407").await;
    assert_eq!((board.submitted, board.refused, board.missing), (4, 0, 1));
    let view = department.view("407", &["T03"], true).await.unwrap();
    assert_eq!(view.filings, 4);
    assert_eq!(view.children.len(), 6, "five expected units, and one whose money is in another filing");
    let history = server.client(AUDITOR).await.history("407004").await.unwrap();
    assert_eq!(history.events.len(), 3);
    server.stop().await;
}
