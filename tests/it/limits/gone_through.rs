//! What is gone through to answer one question: so many events and versions, on a journal that is long enough.

use budget_consolidator::budget::digest::Digest;
use budget_consolidator::consolidator::record;
use budget_consolidator::ledger::actor::Actor;
use budget_consolidator::ledger::event::{Envelope, Event, Looked, Timestamp};
use budget_consolidator::store::Journal;

use super::*;

/// Writes so many looks behind what a journal has.
fn looked(journal: &MemoryJournal, count: usize) {
    let head = journal.head().unwrap();
    let event = |at: usize| Envelope {
        position: head + 1 + at as u64,
        // Behind whatever the tests' clock has come to.
        time: Timestamp(1_706_000_000_000),
        actor: Actor::parse(AUDITOR).unwrap(),
        key: "look".into(),
        fingerprint: Digest::default(),
        event: Event::Looked(Looked { node: "0".into(), method: "AuditService/ListEvents".into() }),
    };
    let records: Vec<Vec<u8>> = (0..count).map(|at| record::encode(&event(at), None).unwrap()).collect();
    for batch in records.chunks(200) {
        journal.append(journal.head().unwrap(), batch).unwrap();
    }
}

#[tokio::test]
async fn so_many_events_are_looked_at_for_a_page() {
    let journal = Arc::new(MemoryJournal::new());
    looked(&journal, limits::EVENTS_MAX);
    // Behind the looks stand the form sets that come with the program.
    let server = TestServer::on(journal).await;
    let client = server.client(AUDITOR).await;
    let page = async |from_position: u64, page_token: &str| {
        let (kinds, page_token) = (vec!["form_set_published".to_owned()], page_token.to_owned());
        let request = api::ListEventsRequest { from_position, kinds, page_token, ..Default::default() };
        let page = client.audit().list_events(request).await.unwrap().into_inner();
        (page.events.len(), page.next_page_token)
    };
    let (found, next) = page(1, "").await;
    assert!(found == 0 && !next.is_empty(), "one event too many was looked at");
    assert_eq!(page(1, &next).await, (2, String::new()));
    assert_eq!(page(2, "").await.0, 1, "the one before the last that may be looked at");
    server.stop().await;
}

#[tokio::test]
async fn so_many_events_are_gone_through_for_causes() {
    let journal = Arc::new(MemoryJournal::new());
    let form = form("shanxi-2024");
    let file = async |server: &TestServer, duty: usize| {
        let mut file = example("fenyang-2024/submissions/407004.json");
        let table = file.tables.iter_mut().find(|filed| filed.header.id == "UNIT").unwrap();
        let at = table.header.columns.iter().position(|known| known == "duty").unwrap();
        table.rows[0].1[at] = format!("职责{duty}");
        server.client(&unit("407004")).await.submit(&file, &form).await.unwrap()
    };
    let server = TestServer::on(journal.clone()).await;
    server.furnish("fenyang-2024", "shanxi-2024", 2024).await;
    let first = file(&server, 0).await;
    server.stop().await;
    looked(&journal, usize::try_from(limits::CAUSE_EVENTS_MAX).unwrap() - 1);
    let server = TestServer::on(journal).await;
    let second = file(&server, 1).await;
    assert_eq!(second.position - first.position, limits::CAUSE_EVENTS_MAX);
    let client = server.client(DEPARTMENT).await;
    let left_out = async |node: &str, from: api::DiffSide, to: api::DiffSide| {
        let tables = vec!["UNIT".to_owned()];
        let request =
            api::DiffRequest { node: node.into(), from: Some(from), to: Some(to), tables, ..Default::default() };
        let answer = client.consolidation().diff(request).await.unwrap().into_inner();
        (answer.causes_left_out, answer.events.len())
    };
    let at = |position: u64| api::DiffSide {
        as_of: Some(api::AsOf { moment: Some(api::as_of::Moment::Position(position)) }),
        form_set: "shanxi-2024".into(),
        ..Default::default()
    };
    let (fits, beyond) = (at(first.position), at(first.position - 1));
    assert!(!left_out("407004", fits, at(second.position)).await.0);
    assert!(left_out("407004", beyond, at(second.position)).await.0);
    // The history of a sum's cell goes page by page.
    let request = |page_token: &str| api::GetCellHistoryRequest {
        node: "407".into(),
        cell: "T01A/total/amount".into(),
        form_set: "shanxi-2024".into(),
        page_token: page_token.into(),
        ..Default::default()
    };
    let (mut values, mut pages, mut token) = (0, 0, String::new());
    loop {
        let page = client.audit().get_cell_history(request(&token)).await.unwrap().into_inner();
        (values, pages, token) = (values + page.values.len(), pages + 1, page.next_page_token);
        if token.is_empty() {
            break;
        }
    }
    assert_eq!((values, pages), (1, 2), "not all of the journal for one page");
    // Versions of one filing.
    for duty in 2..=limits::CAUSE_VERSIONS_MAX {
        file(&server, duty).await;
    }
    let version = |version: usize| api::DiffSide {
        version: u32::try_from(version).unwrap(),
        kind: api::Kind::Unit.into(),
        form_set: "shanxi-2024".into(),
        ..Default::default()
    };
    let most = limits::CAUSE_VERSIONS_MAX;
    assert!(!left_out("407004", version(1), version(most)).await.0);
    assert!(left_out("407004", version(1), version(most + 1)).await.0);
    server.stop().await;
}

/// Between two rounds a diff says what changed a cell, and puts units' lists side by side, for so many units.
#[tokio::test]
async fn so_many_units_are_gone_through_and_put_side_by_side() {
    let files = FormFiles::from([(
        "forms.toml".to_owned(),
        b"id = \"many\"\ntitle = \"many\"\nyear = 2024\namount = \"\xe5\x85\x83.2\"\nkinds = [\"unit\"]\n\
          [axis]\nP = \"\"\n\
          [A]\nname = \"A\"\nrows = [\"total T\"]\nrollup = \"sum\"\ncolumns = { x = \"X\" }\n\
          [L]\nname = \"L\"\nrows = \"P\"\nrollup = \"list\"\ncolumns = { y = \"Y\" }\n"
            .to_vec(),
    )]);
    let form = FormSet::load(files.clone()).unwrap();
    let server = TestServer::start().await;
    let bureau = server.client(BUREAU).await;
    let files = files.into_iter().map(|(name, content)| api::FormFile { name, content }).collect();
    let publish = api::PublishFormSetRequest { idempotency_key: new_key(), files };
    bureau.registry().publish_form_set(publish).await.unwrap();
    let code = |at: usize| format!("9{at:04}");
    let node = |code: String, parent: &str| api::UnitNode {
        name: code.clone(),
        role: if parent == "0" { "department" } else { "unit" }.into(),
        budgeted: parent != "0",
        parent: parent.into(),
        code,
        ..Default::default()
    };
    let units = (1..=limits::LIST_UNITS_MAX + 1).map(|at| node(code(at), "90"));
    let nodes = std::iter::once(node("90".into(), "0")).chain(units).collect();
    let import = api::ImportUnitsRequest { idempotency_key: new_key(), year: 2024, nodes };
    bureau.registry().import_units(import).await.unwrap();
    let channel = Endpoint::from_shared(server.address.clone()).unwrap().connect().await.unwrap();
    let file = async |from: usize, to: usize| {
        for at in from..=to {
            let filed = serde_json::json!({
                "unit": code(at), "year": 2024, "round": "second", "kind": "unit", "form_set": "many",
                "tables": { "A": { "rows": [{ "row": "total", "x": "1.00" }] }, "L": { "rows": [{ "row": "1", "y": "2.00" }] } },
            });
            let filed = SubmissionFile::read(&filed.to_string()).unwrap();
            Client::on(channel.clone(), &unit(&code(at))).submit(&filed, &form).await.unwrap();
        }
    };
    let diff = async || {
        let side =
            |round: api::Round| api::DiffSide { round: round.into(), form_set: "many".into(), ..Default::default() };
        let request = api::DiffRequest {
            node: "90".into(),
            from: Some(side(api::Round::First)),
            to: Some(side(api::Round::Second)),
            ..Default::default()
        };
        let answer = bureau.consolidation().diff(request).await.unwrap().into_inner();
        let lists = answer.tables.iter().find(|table| table.table == "L").map(|table| table.not_compared.clone());
        (answer.causes_left_out, lists.unwrap_or_default())
    };
    let (causes, lists) = (limits::CAUSE_UNITS_MAX, limits::LIST_UNITS_MAX);
    file(1, causes).await;
    assert_eq!(diff().await, (false, String::new()));
    file(causes + 1, causes + 1).await;
    assert_eq!(diff().await, (true, String::new()));
    file(causes + 2, lists).await;
    assert_eq!(diff().await, (true, String::new()));
    file(lists + 1, lists + 1).await;
    assert_eq!(diff().await, (true, "units".to_owned()));
    server.stop().await;
}
