//! A budget's way through review, over a socket: a round with a deadline, a return that names lines and what became of
//! them, acceptance, sealing, approval, and each step taken back again. Who may not, and when it is too late, is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use budget_consolidator::consolidator::verify::verify;
use budget_consolidator::consolidator::{Clock, Consolidator, embedded_form_sets};
use budget_consolidator::grpc::limits;
use budget_consolidator::ledger::event::Timestamp;
use budget_consolidator::proto::{Message, api, storage};
use budget_consolidator::store::{Journal, MemoryJournal};
use budget_consolidator::submission_file::SubmissionFile;
use tonic::{Response, Status};
use tonic_types::StatusExt;

use crate::bad_input::set;
use crate::support::*;

type Review = api::review_service_client::ReviewServiceClient<Connection>;

const UNIT: &str = "407002";
const NOW: i64 = 1_705_000_000_000;
const DAY: i64 = 86_400_000;

/// Department 407 with its one unit, and a clock that is turned by hand.
struct Scene {
    server: TestServer,
    journal: Arc<dyn Journal>,
    clock: Arc<AtomicI64>,
    form: budget_consolidator::budget::form_set::FormSet,
    unit: Client,
    department: Client,
    bureau: Client,
}

fn review(client: &Client) -> Review {
    Review::new(client.connection())
}

fn slot() -> api::Slot {
    slot_out(&example("fenyang-2024/submissions/407002.json").slot)
}

fn target(version: u32) -> api::VersionTarget {
    api::VersionTarget { slot: Some(slot()), version }
}

fn aggregate(version: u32) -> api::AggregateTarget {
    api::AggregateTarget { department: "407".into(), year: 2024, round: api::Round::Second.into(), version }
}

/// The unit's filing, with another year in one place.
fn filing(year: Option<&str>) -> SubmissionFile {
    let mut file = example("fenyang-2024/submissions/407002.json");
    if let Some(year) = year {
        let table = file.tables.iter_mut().find(|table| table.header.id == "ASSET").unwrap();
        let at = table.header.columns.iter().position(|column| column == "equipment_year").unwrap();
        year.clone_into(&mut table.rows[0].1[at]);
    }
    file
}

/// The department, on the unit's form set also when nothing counts there.
fn scope_of_form() -> Option<api::Scope> {
    Some(api::Scope { form_set: "shanxi-2024".into(), ..scope("407") })
}

/// Why a step was refused.
fn refusal<T: std::fmt::Debug>(answer: Result<T, Status>) -> String {
    reason(&answer.unwrap_err())
}

impl Scene {
    async fn open() -> Scene {
        let journal: Arc<dyn Journal> = Arc::new(MemoryJournal::new());
        let hand = Arc::new(AtomicI64::new(NOW));
        let clock: Clock = {
            let hand = hand.clone();
            Arc::new(move || Timestamp(hand.load(Ordering::SeqCst)))
        };
        let opened = Consolidator::open(journal.clone(), clock, embedded_form_sets(), None).unwrap();
        let server = TestServer::around(opened).await;
        let mut nodes = unit_nodes("fenyang-2024/units.csv");
        nodes.retain(|node| ["407", UNIT].contains(&node.code.as_str()));
        let request = api::ImportUnitsRequest { idempotency_key: new_key(), year: 2024, nodes };
        server.client(ADMINISTRATOR).await.registry().import_units(request).await.unwrap();
        let (unit, department) = (server.client(&unit(UNIT)).await, server.client(DEPARTMENT).await);
        let bureau = server.client(BUREAU).await;
        Scene { form: form("shanxi-2024"), server, journal, clock: hand, unit, department, bureau }
    }

    async fn file(&self, year: Option<&str>) -> Result<api::SubmitResponse, Status> {
        self.unit.submit(&filing(year), &self.form).await
    }

    async fn open_round(&self, deadline: i64, said: &str) -> Result<u32, Status> {
        let request = api::OpenRoundRequest {
            idempotency_key: new_key(),
            year: 2024,
            round: api::Round::Second.into(),
            deadline_ms: Some(deadline),
            reason: said.into(),
        };
        review(&self.bureau).open_round(request).await.map(|answer| answer.into_inner().version)
    }

    async fn give_back(
        &self,
        version: u32,
        said: &str,
        lines: Vec<api::ReturnedLine>,
    ) -> Result<api::ReturnResponse, Status> {
        let request = api::ReturnRequest {
            idempotency_key: new_key(),
            target: Some(api::return_request::Target::Submission(target(version))),
            reason: said.into(),
            lines,
        };
        review(&self.department).r#return(request).await.map(Response::into_inner)
    }

    async fn accept(&self, by: &Client, version: u32) -> Result<(), Status> {
        let request =
            api::AcceptRequest { idempotency_key: new_key(), target: Some(target(version)), ..Default::default() };
        review(by).accept(request).await.map(drop)
    }

    async fn approve(&self, by: &Client, target: api::approve_request::Target) -> Result<(), Status> {
        let request = api::ApproveRequest { idempotency_key: new_key(), target: Some(target), ..Default::default() };
        review(by).approve(request).await.map(drop)
    }

    async fn reopen(&self, by: &Client, target: api::reopen_request::Target) -> Result<api::ReopenResponse, Status> {
        let request = api::ReopenRequest { idempotency_key: new_key(), target: Some(target), reason: "复核".into() };
        review(by).reopen(request).await.map(|answer| answer.into_inner())
    }

    /// Project expenditure of a node is capped, in 万元, whoever is above then.
    async fn cap(&self, unit: &str, ceiling: &str, strength: &str) {
        let cell = "T03/合计/project".into();
        let [unit, ceiling, amount_unit, strength] = [unit, ceiling, "万元", strength].map(ToOwned::to_owned);
        let request = api::IssueControlFiguresRequest {
            idempotency_key: new_key(),
            year: 2024,
            round: api::Round::Second.into(),
            form_set: "shanxi-2024".into(),
            figures: vec![api::ControlFigure { unit, cell, ceiling, amount_unit, strength }],
            reason: "压减".into(),
            on_over_ceiling: api::OnOverCeiling::Mark.into(),
        };
        self.bureau.control().issue_control_figures(request).await.unwrap();
    }

    /// The bureau sets it in the first version.
    async fn review_down(&self, amount: &str) {
        self.set(amount).await.unwrap();
    }

    async fn set(&self, amount: &str) -> Result<(), Status> {
        let cell = "T03/合计/project".into();
        let figure = api::ReviewedFigure { cell, amount: Some(amount.into()), reason: "核减".into() };
        let request =
            api::ReviewFiguresRequest { idempotency_key: new_key(), target: Some(target(1)), figures: vec![figure] };
        review(&self.bureau).review_figures(request).await.map(drop)
    }

    async fn withdraw(&self, version: u32) -> Result<(), Status> {
        let request =
            api::WithdrawRequest { idempotency_key: new_key(), target: Some(target(version)), ..Default::default() };
        review(&self.unit).withdraw(request).await.map(drop)
    }

    async fn forward(&self) -> Result<api::Aggregate, Status> {
        let request = api::ForwardRequest {
            idempotency_key: new_key(),
            department: "407".into(),
            year: 2024,
            round: api::Round::Second.into(),
            text: String::new(),
        };
        review(&self.department).forward(request).await.map(|answer| answer.into_inner().aggregate.unwrap())
    }

    /// Says something about every failed logic rule of the version that was filed last.
    async fn justify(&self) {
        let request = api::ListFindingsRequest { node: UNIT.into(), ..Default::default() };
        let judged = self.unit.audit().list_findings(request).await.unwrap().into_inner().submissions.pop().unwrap();
        let (logic, fail) = (i32::from(api::Strength::Logic), i32::from(api::RuleVerdict::Fail));
        let open = |found: &&api::RuleFinding| {
            (found.strength, found.verdict) == (logic, fail) && found.justification.is_none()
        };
        let item = |found: &api::RuleFinding| api::JustifyItem {
            fingerprint: found.fingerprint.clone(),
            text: "按原件填报".into(),
        };
        let items: Vec<_> = found(&judged.rule_findings).iter().filter(open).map(item).collect();
        assert!(!items.is_empty());
        let request =
            api::JustifyRequest { idempotency_key: new_key(), slot: Some(slot()), position: judged.position, items };
        self.unit.submissions().justify(request).await.unwrap();
    }

    /// Where the version that was filed last stands, and what may be done with it.
    async fn review(&self) -> api::GetReviewResponse {
        let request = api::GetReviewRequest { slot: Some(slot()), as_of: None };
        review(&self.department).get_review(request).await.unwrap().into_inner()
    }

    async fn standing(&self) -> (u32, bool) {
        let last = self.review().await.versions.pop().unwrap();
        (last.version.unwrap().version, last.counts)
    }

    /// How many filings count at the department, and the figure of its first table's total.
    async fn counted(&self) -> (u32, String) {
        let request =
            api::ViewRequest { scope: scope_of_form(), tables: vec!["T01A".into()], children: false, reviewed: false };
        let view = self.department.consolidation().view(request).await.unwrap().into_inner();
        let total = view.tables[0].rows.iter().find(|row| row.key == "total");
        (view.filings, total.map(|row| row.cells[0].value.to_string()).unwrap_or_default())
    }

    /// Where the unit stands on the board, and who is next.
    async fn on_board(&self) -> (api::Standing, String) {
        let board = self.department.status_board("407").await;
        let line = &board.lines[0];
        (line.standing(), line.waits_for.clone())
    }

    async fn end(self) {
        self.server.stop().await;
        // What every event says follows from those before it.
        assert_eq!(verify(self.journal.as_ref(), &|_| {}).unwrap().first_bad(), None);
    }
}

fn line(table: &str, row: &str, column: &str, rule: &str) -> api::ReturnedLine {
    api::ReturnedLine {
        table: table.into(),
        row: row.into(),
        column: column.into(),
        rule: rule.into(),
        text: "请核对".into(),
    }
}

#[tokio::test]
async fn a_round_with_a_deadline_takes_filings_until_then_and_never_after() {
    let scene = Scene::open().await;
    let deadline = NOW + DAY;
    assert_eq!(refusal(scene.open_round(NOW - 1, "").await), "ROUND_INVALID");
    assert_eq!(scene.open_round(deadline, "").await.unwrap(), 1);
    scene.clock.store(deadline, Ordering::SeqCst);
    assert_eq!(scene.file(None).await.unwrap().version, 1);
    scene.clock.store(deadline + 1, Ordering::SeqCst);
    assert_eq!(refusal(scene.file(None).await), "DEADLINE_PASSED");
    assert_eq!(refusal(scene.unit.dry_run(&filing(None), &scene.form).await), "DEADLINE_PASSED");
    // Whoever filed in time will ask why.
    assert_eq!(refusal(scene.open_round(deadline + DAY, "").await), "BAD_REVIEW_TEXT");
    assert_eq!(scene.open_round(deadline + DAY, "系统故障，顺延一天").await.unwrap(), 2);
    assert_eq!(scene.file(None).await.unwrap().version, 2);
    let request = api::CloseRoundRequest {
        idempotency_key: new_key(),
        year: 2024,
        round: api::Round::Second.into(),
        reason: String::new(),
    };
    assert_eq!(refusal(review(&scene.department).close_round(request.clone()).await), "NOT_PERMITTED");
    review(&scene.bureau).close_round(request.clone()).await.unwrap();
    let again = api::CloseRoundRequest { idempotency_key: new_key(), ..request };
    assert_eq!(refusal(review(&scene.bureau).close_round(again).await), "ROUND_INVALID");
    assert_eq!(refusal(scene.file(None).await), "ROUND_CLOSED");
    let rounds =
        review(&scene.unit).list_rounds(api::ListRoundsRequest { year: 2024, as_of: None }).await.unwrap().into_inner();
    let second = rounds.rounds.iter().find(|round| round.round == i32::from(api::Round::Second)).unwrap();
    assert_eq!((second.version, second.open, second.takes_filings), (3, false, false));
    scene.end().await;
}

#[tokio::test]
async fn a_returned_filing_is_answered_line_by_line_and_accepted_once_all_is_explained() {
    let scene = Scene::open().await;
    scene.file(None).await.unwrap();
    let full = scene.counted().await;
    assert_eq!(full.0, 1);

    assert_eq!(refusal(scene.give_back(1, " ", Vec::new()).await), "BAD_REVIEW_TEXT");
    let nowhere = vec![line("T01A", "nowhere", "", "")];
    assert_eq!(refusal(scene.give_back(1, "请修改", nowhere).await), "UNKNOWN_LINE");
    let lines = vec![
        line("ASSET", "-", "equipment_year", ""),
        line("PF", "2024-008", "impl_central", "P-04"),
        line("T12", "2024-013", "", ""),
    ];
    scene.give_back(1, "三处请核对", lines).await.unwrap();
    assert_eq!(scene.standing().await, (1, false));
    assert_eq!(scene.on_board().await, (api::Standing::Returned, UNIT.to_owned()));
    assert_eq!(refusal(scene.accept(&scene.department, 1).await), "NOT_IN_STATE");
    scene.justify().await;

    let again = scene.file(Some("2021")).await.unwrap();
    assert_eq!((again.version, scene.counted().await), (2, full));
    let fates: Vec<api::LineFate> = again.answers.iter().map(api::LineAnswer::fate).collect();
    assert_eq!(fates, [api::LineFate::Changed, api::LineFate::Justified, api::LineFate::Unchanged]);
    assert_eq!(again.answers[0].cells[0].to, "2021");
    assert_eq!(again.answers[1].justification, "按原件填报");
    assert_eq!(scene.review().await.versions[1].answers, again.answers);

    // Another year is another finding, which nobody has explained.
    assert_eq!(refusal(scene.accept(&scene.department, 2).await), "FINDINGS_UNJUSTIFIED");
    scene.justify().await;
    assert_eq!(refusal(scene.accept(&scene.department, 1).await), "VERSION_MOVED");
    assert_eq!(refusal(scene.accept(&scene.unit, 2).await), "NOT_PERMITTED");
    // There is a department to do that.
    assert_eq!(refusal(scene.accept(&scene.bureau, 2).await), "NOT_YOUR_STEP");
    scene.accept(&scene.department, 2).await.unwrap();
    assert_eq!(refusal(scene.file(None).await), "NOT_IN_STATE");
    assert_eq!(refusal(scene.withdraw(2).await), "NOT_IN_STATE");
    scene.end().await;
}

/// What was seen of the rounds, the unit tree and where the filing stood.
type Seen = (api::ListRoundsResponse, api::ListUnitsResponse, api::GetReviewResponse);

impl Scene {
    async fn see(&self, position: Option<u64>) -> Seen {
        let as_of = position.map(|at| api::AsOf { moment: Some(api::as_of::Moment::Position(at)) });
        let rounds = api::ListRoundsRequest { as_of, ..Default::default() };
        let rounds = review(&self.unit).list_rounds(rounds).await.unwrap().into_inner();
        let units = api::ListUnitsRequest { as_of, ..Default::default() };
        let units = self.department.registry().list_units(units).await.unwrap().into_inner();
        let asked = api::GetReviewRequest { slot: Some(slot()), as_of };
        (rounds, units, review(&self.department).get_review(asked).await.unwrap().into_inner())
    }

    /// A second later, and what is seen then.
    async fn later(&self, seen: &mut Vec<Seen>) {
        seen.push(self.see(None).await);
        self.clock.fetch_add(1_000, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn rounds_units_and_review_are_shown_as_of_a_position_as_they_were_seen_then() {
    use api::reopen_request::Target;
    let scene = Scene::open().await;
    let mut seen = Vec::new();
    scene.later(&mut seen).await;
    scene.open_round(NOW + 20_000, "").await.unwrap();
    scene.later(&mut seen).await;
    scene.file(None).await.unwrap();
    scene.later(&mut seen).await;
    scene.give_back(1, "请核对", vec![line("ASSET", "-", "equipment_year", "")]).await.unwrap();
    scene.later(&mut seen).await;
    scene.file(Some("2021")).await.unwrap();
    scene.later(&mut seen).await;
    scene.justify().await;
    scene.later(&mut seen).await;
    scene.accept(&scene.department, 2).await.unwrap();
    scene.later(&mut seen).await;
    scene.reopen(&scene.department, Target::Submission(target(2))).await.unwrap();
    scene.later(&mut seen).await;
    let mut nodes = unit_nodes("fenyang-2024/units.csv");
    nodes.retain(|node| ["407", UNIT, "407001"].contains(&node.code.as_str()));
    let request = api::ImportUnitsRequest { idempotency_key: new_key(), year: 2024, nodes: nodes.clone() };
    scene.server.client(ADMINISTRATOR).await.registry().import_units(request).await.unwrap();
    scene.later(&mut seen).await;
    // A year that begins later is not the latest one of before.
    let request = api::ImportUnitsRequest { idempotency_key: new_key(), year: 2025, nodes: nodes.clone() };
    scene.server.client(ADMINISTRATOR).await.registry().import_units(request).await.unwrap();
    scene.later(&mut seen).await;
    scene.clock.store(NOW + DAY, Ordering::SeqCst);
    let request = api::ImportUnitsRequest { idempotency_key: new_key(), year: 2025, nodes };
    scene.server.client(ADMINISTRATOR).await.registry().import_units(request).await.unwrap();

    let positions: Vec<u64> = seen.iter().map(|(rounds, ..)| rounds.position).collect();
    assert!(positions.windows(2).all(|pair| pair[0] < pair[1]), "{positions:?}");
    for (then, position) in seen.iter().zip(positions) {
        assert_eq!((then.1.position, then.2.position), (position, position));
        assert_eq!(scene.see(Some(position)).await, *then, "as of {position}");
    }
    // The deadline is held against the time of then, not against the clock.
    let asked = api::ListRoundsRequest { year: 2024, as_of: None };
    let now = review(&scene.unit).list_rounds(asked).await.unwrap().into_inner();
    assert!(seen[1].0.rounds[1].takes_filings && !now.rounds[1].takes_filings && now.rounds[1].open);
    // Of a time it is that time, also where nothing was recorded between the deadline and it; never one that is still to come.
    for (at, takes_filings, time) in
        [(NOW + 19_999, true, NOW + 19_999), (NOW + 20_001, false, NOW + 20_001), (NOW + 9 * DAY, false, NOW + DAY)]
    {
        let at = Some(api::AsOf { moment: Some(api::as_of::Moment::TimeMs(at)) });
        let asked = api::ListRoundsRequest { year: 2024, as_of: at };
        let then = review(&scene.unit).list_rounds(asked).await.unwrap().into_inner();
        assert_eq!((then.rounds[1].takes_filings, then.time_ms), (takes_filings, time));
    }
    let beyond = Some(api::AsOf { moment: Some(api::as_of::Moment::Position(999)) });
    let asked = api::ListRoundsRequest { as_of: beyond, ..Default::default() };
    assert_eq!(refusal(review(&scene.unit).list_rounds(asked).await), "UNKNOWN_POSITION");
    scene.end().await;
}

/// Nobody is left with nothing that counts and no way to file it again without being told.
#[tokio::test]
async fn what_is_given_back_after_the_round_has_ended_says_how_it_goes_on() {
    use api::reopen_request::Target;
    let scene = Scene::open().await;
    let deadline = NOW + DAY;
    scene.open_round(deadline, "").await.unwrap();
    scene.file(None).await.unwrap();
    assert!(!scene.give_back(1, "请核对", Vec::new()).await.unwrap().round_ended);
    scene.reopen(&scene.department, Target::Submission(target(1))).await.unwrap();
    scene.clock.store(deadline + 1, Ordering::SeqCst);
    assert_eq!(refusal(scene.withdraw(1).await), "DEADLINE_PASSED");
    assert_eq!(scene.standing().await, (1, true));
    assert!(scene.give_back(1, "请核对", Vec::new()).await.unwrap().round_ended);
    let standing = scene.review().await;
    assert!(standing.legal.contains(&"submit".into()) && !standing.round.unwrap().takes_filings);
    scene.reopen(&scene.department, Target::Submission(target(1))).await.unwrap();
    assert_eq!(scene.standing().await, (1, true));
    scene.give_back(1, "请核对", Vec::new()).await.unwrap();
    scene.open_round(deadline + DAY, "给退回的单位一天").await.unwrap();
    assert_eq!(scene.file(None).await.unwrap().version, 2);
    scene.end().await;
}

/// A unit doesn't lose what it has to do by filing something and taking it back.
#[tokio::test]
async fn a_return_is_answered_whatever_was_withdrawn_meanwhile() {
    let scene = Scene::open().await;
    scene.file(None).await.unwrap();
    let given_back = scene.give_back(1, "请核对", vec![line("ASSET", "-", "equipment_year", "")]).await.unwrap();
    for (version, year) in [(2, None), (3, None), (4, Some("2021"))] {
        let answer = scene.file(year).await.unwrap();
        let fate = if year.is_some() { api::LineFate::Changed } else { api::LineFate::Unchanged };
        assert_eq!(answer.answers.iter().map(api::LineAnswer::fate).collect::<Vec<_>>(), [fate], "{version}");
        scene.withdraw(version).await.unwrap();
        let board = scene.department.status_board("407").await;
        assert_eq!(board.lines[0].standing(), api::Standing::Returned);
        assert_eq!(board.lines[0].given_back.as_ref().unwrap().position, given_back.position);
        assert_eq!(scene.counted().await.0, 0);
    }
    scene.file(None).await.unwrap();
    assert_eq!(scene.on_board().await, (api::Standing::Submitted, "407".to_owned()));
    scene.end().await;
}

/// Of a whole table that was given back, an answer names so many of the cells that changed.
#[tokio::test]
async fn of_a_table_that_was_given_back_so_many_cells_are_named() {
    let scene = Scene::open().await;
    scene.file(None).await.unwrap();
    let most = limits::CHANGED_CELLS_MAX;
    for (version, changed) in [(1, most), (2, most + 1)] {
        scene.give_back(version, "请核对", vec![line("PI", "", "", "")]).await.unwrap();
        let mut file = filing(None);
        let table = file.tables.iter_mut().find(|table| table.header.id == "PI").unwrap();
        // Another text in so many rows, of which each version has its own.
        let at = table.header.columns.iter().position(|column| column == "annual_name").unwrap();
        table.rows.iter_mut().take(changed).for_each(|(_, cells)| cells[at].push_str(&format!("（{version}）")));
        if version == 2 {
            table.rows.iter_mut().take(most).for_each(|(_, cells)| cells[at].push('改'));
        }
        let answer = scene.unit.submit(&file, &scene.form).await.unwrap();
        let told = &answer.answers[0];
        assert_eq!((told.cells.len(), told.changed as usize), (most, changed));
    }
    scene.end().await;
}

/// What was found beside rules can be what a return is about too.
#[tokio::test]
async fn a_return_names_any_finding_by_its_code() {
    let scene = Scene::open().await;
    let ceiling = "node,table,row,column,amount_unit,ceiling,strength\n407002,T03,合计,total,万元,1.00,advisory\n";
    let path = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(path.path(), ceiling).unwrap();
    scene.bureau.issue_control(path.path().to_str().unwrap(), "shanxi-2024", 2024).await.unwrap();
    scene.file(None).await.unwrap();
    let wrong = line("T03", "合计", "basic", "OVER_ADVISORY_CEILING");
    assert_eq!(refusal(scene.give_back(1, "超", vec![wrong]).await), "UNKNOWN_LINE");
    scene.give_back(1, "超", vec![line("T03", "", "", "over_advisory_ceiling")]).await.unwrap();
    let told = scene.department.status_board("407").await.lines[0].given_back.clone().unwrap();
    let said = &told.lines[0];
    assert_eq!([&said.rule, &said.row, &said.column], ["OVER_ADVISORY_CEILING", "合计", "total"]);
    scene.end().await;
}

/// What is to be done stands on the board, beside whose turn it is; of very much of it the beginning.
#[tokio::test]
async fn a_board_says_what_is_to_be_done() {
    let scene = Scene::open().await;
    let watch = api::WatchRequest { scope: Some(scope("407")), resume_position: 0, heartbeat_seconds: 60 };
    let mut watch = scene.department.consolidation().watch(watch).await.unwrap().into_inner();
    watch.message().await.unwrap();
    scene.file(None).await.unwrap();
    assert_eq!(scene.department.status_board("407").await.lines[0].given_back, None);
    let long = |chars: usize| "长".repeat(chars);
    let shown = limits::RETURN_CHARS_SHOWN;
    let said = |chars: usize| api::ReturnedLine { text: long(chars), ..line("T12", "2024-013", "", "") };
    for (lines, chars, cut) in
        [(limits::RETURN_LINES_SHOWN, shown, false), (1 + limits::RETURN_LINES_SHOWN, shown + 1, true)]
    {
        let given_back = scene.give_back(1, &long(chars), vec![said(chars); lines]).await.unwrap();
        let board = scene.department.status_board("407").await;
        let told = board.lines[0].given_back.clone().unwrap();
        assert_eq!((told.position, told.time_ms), (given_back.position, given_back.time_ms));
        assert_eq!((told.actor.as_str(), told.line_count as usize), (DEPARTMENT, lines));
        assert_eq!(told.lines.len(), limits::RETURN_LINES_SHOWN);
        for text in std::iter::once(&told.reason).chain(told.lines.iter().map(|line| &line.text)) {
            assert_eq!((text.chars().count(), text.ends_with('…')), (shown + usize::from(cut), cut));
        }
        // Whoever watches is told the same.
        let changed = loop {
            let message = watch.message().await.unwrap().unwrap();
            if let Some(api::watch_response::Said::Change(change)) = message.said
                && let Some(line) = change.lines.into_iter().find(|line| line.given_back.is_some())
                && message.position >= given_back.position
            {
                break line;
            }
        };
        assert_eq!(changed.given_back, Some(told));
        scene.reopen(&scene.department, api::reopen_request::Target::Submission(target(1))).await.unwrap();
        assert_eq!(scene.department.status_board("407").await.lines[0].given_back, None);
    }

    // And what the bureau gives back to the department.
    scene.justify().await;
    scene.accept(&scene.department, 1).await.unwrap();
    scene.forward().await.unwrap();
    let request = api::ReturnRequest {
        idempotency_key: new_key(),
        target: Some(api::return_request::Target::Aggregate(aggregate(1))),
        reason: "项目支出偏高".into(),
        lines: Vec::new(),
    };
    assert!(!review(&scene.bureau).r#return(request).await.unwrap().into_inner().round_ended);
    let told = |board: api::GetStatusBoardResponse| board.departments[0].given_back.clone();
    let given_back = told(scene.department.status_board("407").await).unwrap();
    assert_eq!((given_back.reason.as_str(), given_back.actor.as_str()), ("项目支出偏高", BUREAU));
    scene.forward().await.unwrap();
    assert_eq!(told(scene.department.status_board("407").await), None);
    drop(watch);
    scene.end().await;
}

/// They are those that a filing with the same figures is refused for, and the version can be approved all the same.
#[tokio::test]
async fn sums_that_reviewed_figures_break_are_told() {
    let scene = Scene::open().await;
    scene.file(None).await.unwrap();
    assert!(scene.review().await.unbalanced.is_empty());
    scene.review_down("30.00").await;
    let seen = scene.review().await;
    let told = |findings: &[Vec<u8>]| -> Vec<(String, String, Option<api::Quantity>, Option<api::Quantity>)> {
        let refuses = |found: &api::RuleFinding| {
            (found.strength, found.verdict) == (api::Strength::Balance.into(), api::RuleVerdict::Fail.into())
        };
        let said = |found: api::RuleFinding| {
            (found.rule, [found.table, found.row, found.column].join("/"), found.left, found.right)
        };
        found(findings).into_iter().filter(refuses).map(said).collect()
    };
    let mut filed = filing(None);
    set(&mut filed, "T03/合计/project", "30.00");
    let verdict = scene.unit.dry_run(&filed, &scene.form).await.unwrap().verdict.unwrap();
    assert_eq!(told(&seen.unbalanced), told(&verdict.rule_findings));
    let rules: Vec<String> = told(&seen.unbalanced).into_iter().map(|(rule, ..)| rule).collect();
    assert_eq!(
        (rules.as_slice(), seen.unbalanced_left_out),
        (["V-01", "V-02", "H-01", "T-03", "T-06"].map(str::to_owned).as_slice(), 0)
    );
    assert_eq!(seen.versions[0].figures, 1);
    // Of what a reviewer has taken back nothing is left.
    let figure = api::ReviewedFigure { cell: "T03/合计/project".into(), amount: None, reason: "恢复".into() };
    let request =
        api::ReviewFiguresRequest { idempotency_key: new_key(), target: Some(target(1)), figures: vec![figure] };
    review(&scene.bureau).review_figures(request).await.unwrap();
    let seen = scene.review().await;
    assert_eq!((seen.unbalanced.len(), seen.versions[0].figures), (0, 0));
    scene.end().await;
}

#[tokio::test]
async fn what_is_accepted_is_sealed_approved_and_opened_again_step_by_step() {
    use api::{AggregateState, VersionState, approve_request, reopen_request};
    let scene = Scene::open().await;
    scene.file(None).await.unwrap();
    scene.justify().await;
    let unit = || approve_request::Target::Submission(target(1));
    assert_eq!(refusal(scene.forward().await), "DEPARTMENT_NOT_READY");
    let stands = |standing, next: &str| (standing, next.to_owned());
    assert_eq!(scene.on_board().await, stands(api::Standing::Submitted, "407"));
    let seen = scene.review().await;
    assert_eq!(seen.legal, ["submit", "withdraw", "return", "justify", "opinion", "review", "accept"]);
    assert_eq!(seen.yours, ["return", "opinion", "review", "accept"], "of those what the department may do");
    scene.accept(&scene.department, 1).await.unwrap();
    assert_eq!(scene.on_board().await, stands(api::Standing::Accepted, "407"));
    assert_eq!(refusal(scene.approve(&scene.department, unit()).await), "AGGREGATE_NOT_IN_STATE");

    let sealed = scene.forward().await.unwrap();
    assert_eq!((sealed.version, sealed.members.len(), sealed.members[0].version), (1, 1, 1));
    assert_eq!(scene.on_board().await, stands(api::Standing::Forwarded, "0"));
    assert_eq!(refusal(scene.give_back(1, "请修改", Vec::new()).await), "SUBMISSION_SEALED");
    assert_eq!(refusal(scene.approve(&scene.department, unit()).await), "AGGREGATE_NOT_IN_STATE");
    let whole = || approve_request::Target::Aggregate(aggregate(1));
    // Of one that isn't there: which is the last.
    let none = scene.approve(&scene.bureau, approve_request::Target::Aggregate(aggregate(9))).await.unwrap_err();
    assert_eq!(reason(&none), "UNKNOWN_AGGREGATE");
    let facts = none.get_error_details().error_info().unwrap().metadata.clone();
    assert_eq!((facts["version"].as_str(), facts["last"].as_str()), ("9", "1"));
    assert_eq!(refusal(scene.approve(&scene.department, whole()).await), "NOT_PERMITTED");
    scene.approve(&scene.bureau, whole()).await.unwrap();
    assert_eq!(scene.on_board().await, stands(api::Standing::Forwarded, "407"));
    scene.approve(&scene.department, unit()).await.unwrap();
    assert_eq!(scene.on_board().await, stands(api::Standing::Approved, ""));
    assert_eq!(refusal(scene.file(None).await), "NOT_IN_STATE");

    // And back, the last step first.
    let (of_unit, of_whole) =
        (|| reopen_request::Target::Submission(target(1)), || reopen_request::Target::Aggregate(aggregate(1)));
    assert_eq!(refusal(scene.reopen(&scene.bureau, of_whole()).await), "DEPARTMENT_NOT_READY");
    assert_eq!(scene.reopen(&scene.department, of_unit()).await.unwrap().state(), VersionState::Accepted);
    let back = scene.reopen(&scene.bureau, of_whole()).await.unwrap();
    assert_eq!(back.aggregate_state(), AggregateState::Forwarded);
    let back = scene.reopen(&scene.department, of_whole()).await.unwrap();
    assert_eq!(back.aggregate_state(), AggregateState::Recalled);
    assert_eq!(scene.reopen(&scene.department, of_unit()).await.unwrap().state(), VersionState::Submitted);
    assert_eq!(scene.counted().await.0, 1);
    scene.end().await;
}

#[tokio::test]
async fn what_a_cut_has_left_above_its_ceiling_is_not_approved() {
    use api::approve_request::Target;
    let scene = Scene::open().await;
    let filed = scene.file(None).await.unwrap();
    assert_eq!(filed.version, 1);
    scene.justify().await;
    scene.accept(&scene.department, 1).await.unwrap();
    scene.forward().await.unwrap();
    let (whole, unit) = (|| Target::Aggregate(aggregate(1)), || Target::Submission(target(1)));
    let cut = async |ceiling: &str| scene.cap(UNIT, ceiling, "hard").await;

    cut("30.00").await;
    let above = scene.approve(&scene.bureau, whole()).await.unwrap_err();
    assert_eq!(reason(&above), "DEPARTMENT_NOT_READY");
    let facts = above.get_error_details().error_info().unwrap().metadata.clone();
    assert_eq!((facts["problem"].as_str(), facts["found"].as_str()), ("above", UNIT));
    scene.review_down("30.01").await;
    assert_eq!(refusal(scene.approve(&scene.bureau, whole()).await), "DEPARTMENT_NOT_READY");
    // More than what was filed is a figure of the review, and told as one.
    let more = scene.set("99999.99").await.unwrap_err();
    assert_eq!(reason(&more), "REVIEWED_OVER_CEILING");
    let facts = more.get_error_details().error_info().unwrap().metadata.clone();
    let told = ["reviewed", "ceiling", "over"].map(|fact| facts[fact].as_str());
    assert_eq!((told, facts.contains_key("filed")), (["99999.99", "30.00", "99969.99"], false));
    scene.review_down("30.00").await;
    scene.approve(&scene.bureau, whole()).await.unwrap();

    // A later cut keeps the department from passing it on.
    cut("29.99").await;
    let above = scene.approve(&scene.department, unit()).await.unwrap_err();
    assert_eq!(reason(&above), "APPROVAL_OVER_CEILING");
    assert!(above.message().contains("29.99") && above.message().contains("0.01"), "{}", above.message());
    cut("30.00").await;
    scene.approve(&scene.department, unit()).await.unwrap();
    scene.end().await;
}

#[tokio::test]
async fn above_the_departments_ceiling_an_advisory_one_of_its_own_lets_nobody_through() {
    use api::approve_request::Target;
    let scene = Scene::open().await;
    scene.cap("407", "41650.00", "hard").await;
    scene.cap(UNIT, "30000.00", "advisory").await;
    // 41,220.06 万元.
    scene.file(None).await.unwrap();
    scene.justify().await;
    scene.accept(&scene.department, 1).await.unwrap();
    scene.forward().await.unwrap();
    let whole = || Target::Aggregate(aggregate(1));
    scene.cap("407", "41000.00", "hard").await;
    assert_eq!(refusal(scene.approve(&scene.bureau, whole()).await), "DEPARTMENT_NOT_READY");
    let department = api::Slot { unit: "407".into(), kind: api::Kind::Difference.into(), ..slot() };
    let request = api::GetReviewRequest { slot: Some(department), as_of: None };
    let seen = review(&scene.bureau).get_review(request).await.unwrap().into_inner();
    assert_eq!(
        (seen.aggregate_legal.join(" "), seen.aggregate_yours.join(" ")),
        ("return approve reopen".into(), "return approve".into())
    );
    scene.review_down("41000.00").await;
    scene.approve(&scene.bureau, whole()).await.unwrap();
    scene.approve(&scene.department, Target::Submission(target(1))).await.unwrap();
    scene.end().await;
}

#[tokio::test]
async fn what_is_withdrawn_counts_nowhere_until_it_is_filed_again() {
    let scene = Scene::open().await;
    scene.file(None).await.unwrap();
    let (_, full) = scene.counted().await;
    scene.withdraw(1).await.unwrap();
    assert_eq!(scene.on_board().await, (api::Standing::Withdrawn, UNIT.to_owned()));
    assert_eq!(scene.standing().await, (1, false));
    let (filings, left) = scene.counted().await;
    assert_eq!(filings, 0);
    assert_ne!(left, full);
    assert_eq!(refusal(scene.accept(&scene.department, 1).await), "NOT_IN_STATE");
    let trace = api::TraceRequest { scope: scope_of_form(), cell: "T01A/total/amount".into(), ..Default::default() };
    let traced = scene.department.consolidation().trace(trace).await.unwrap().into_inner();
    assert_eq!(traced.shares, []);
    scene.file(None).await.unwrap();
    assert_eq!((scene.standing().await, scene.counted().await), ((2, true), (1, full)));
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_takes_every_step_in_both_languages() {
    let scene = Scene::open().await;
    let run = async |line: &str, code: u8| {
        let line = format!("consolidator --server {} {line}", scene.server.address);
        let arguments: Vec<_> = line.split_whitespace().map(std::ffi::OsString::from).collect();
        let ended = tokio::task::spawn_blocking(move || budget_consolidator::cli::run(arguments)).await.unwrap();
        assert_eq!(ended.code, code, "{line}\n{}{}", ended.out, ended.err);
        let said = ended.out + &ended.err;
        assert!(!said.contains('?') && !said.contains('{') || line.contains("json"), "{line}\n{said}");
        said
    };
    let never = run("--as 407002/unit --lang en round list", 0).await;
    assert!(never.contains("takes filings") && never.contains("never opened"), "{never}");
    run("--as 0/bureau --lang en round open --year 2024 --round second --deadline 2024-06-30", 0).await;
    run("--as 0/bureau --lang zh round open --year 2024 --round second --deadline 2024-07-31", 1).await;
    run("--as 407/department --lang zh round close --year 2024 --round second", 1).await;
    scene.file(None).await.unwrap();
    let department = "--as 407/department --lang zh";
    run(&format!("{department} return 407002 --version 1"), 1).await;
    run(&format!("{department} return 407002 --version 1 --line P-04@PF/2024-008/impl_central=来源 请核对"), 0).await;
    scene.justify().await;
    scene.file(None).await.unwrap();
    run(&format!("{department} accept 407002 --version 1"), 1).await;
    let withdrawn = run("--as 407002/unit --lang en withdraw 407002 --version 2", 0).await;
    assert!(withdrawn.contains("Version 2 of 407002 (2024, second round) is withdrawn"), "{withdrawn}");
    scene.file(None).await.unwrap();
    run(&format!("{department} opinion 407002 --version 3 --office nobody --view agree"), 1).await;
    let stands = run("--as 407002/unit --lang zh review 407002", 0).await;
    assert!(stands.contains("第 3 版：已报") && stands.contains("退回") && stands.contains("请核对"), "{stands}");
    assert!(stands.contains("已说明  P-04") && stands.contains("尚无意见"), "{stands}");
    let figure = "--version 3 --figure T12/2024-008/total=6500.00";
    run(&format!("--as 407002/unit review 407002 {figure} 核减"), 1).await;
    run(&format!("{department} review 407002 {figure}"), 1).await;
    run(&format!("{department} review 407002 {figure} 核减"), 0).await;
    run(&format!("{department} opinion 407002 --version 3 --office department --view agree"), 0).await;
    let stands = run("--as 0/auditor --lang en review 407002", 0).await;
    assert!(stands.contains("6,572.11") && stands.contains("6,500.00") && stands.contains("agrees"), "{stands}");
    assert!(stands.contains("407/department") && stands.contains("核减"), "{stands}");
    run(&format!("{department} accept 407002 --version 3"), 0).await;
    run(&format!("{department} forward 407"), 0).await;
    run("--as 0/bureau --lang en return 407 --aggregate --version 1 again", 0).await;
    run(&format!("{department} forward"), 0).await;
    run("--as 0/bureau --lang en approve 407 --aggregate --version 2", 0).await;
    run(&format!("{department} approve 407002 --version 3"), 0).await;
    // 调剂 of nothing: the same figures again.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("407002.json");
    std::fs::copy(project("examples/fenyang-2024/submissions/407002.json"), &file).unwrap();
    let file = file.display();
    run(&format!("--as 0/bureau --lang zh adjust {file} 追加"), 1).await;
    let tried = run(&format!("--as 407002/unit --lang zh adjust {file} 更正说明 --dry-run"), 0).await;
    assert!(tried.contains("第 4 版"), "{tried}");
    let adjusted = run(&format!("--as 407002/unit --lang zh adjust {file} 更正说明"), 0).await;
    assert!(adjusted.contains("调整第 3 版"), "{adjusted}");
    let stands = run("--as 0/auditor --format json review 407002", 0).await;
    let json: serde_json::Value = serde_json::from_str(&stands).unwrap();
    assert_eq!(
        (json["versions"][3]["cause"].as_str(), json["versions"][3]["adjusts"].as_u64()),
        (Some("更正说明"), Some(3))
    );
    let csv = run("--as 0/auditor --format csv review 407002", 0).await;
    assert!(csv.contains("adjust,submitted,更正说明"), "{csv}");
    run("--as 407002/unit --lang zh withdraw 407002 --version 4", 0).await;
    run(&format!("{department} reopen 407002 --version 3"), 1).await;
    // The last version is the withdrawn one; behind it the approved one counts on.
    run(&format!("{department} reopen 407002 --version 4 复核"), 1).await;
    assert!(!scene.standing().await.1 && scene.counted().await.0 == 1);
    let history = run("--as 0/auditor --lang zh history 407002", 0).await;
    assert!(history.contains("已退回") && history.contains("更正说明"), "{history}");
    run("--as 0/bureau --format json round list", 0).await;
    run("--as 0/bureau --lang zh round close --year 2024 --round second", 0).await;
    let closed = run("--as 407002/unit --format csv round list", 0).await;
    assert!(closed.contains("second,closed"), "{closed}");
    scene.end().await;
}

#[tokio::test]
async fn what_is_no_review_is_refused_with_its_reason_and_changes_nothing() {
    let scene = Scene::open().await;
    scene.file(None).await.unwrap();
    let before = scene.server.consolidator.snapshot().state.position;
    let nowhere = |row: &str, column: &str| vec![line("T12", row, column, "")];
    for (said, lines, code) in [
        ("好".repeat(2_001), Vec::new(), "BAD_REVIEW_TEXT"),
        ("请\u{7}改".to_owned(), Vec::new(), "BAD_REVIEW_TEXT"),
        ("请改".to_owned(), vec![line("T12", "2024-013", "", ""); 1_001], "BAD_REVIEW_TEXT"),
        ("请改".to_owned(), nowhere("2024-999", ""), "UNKNOWN_LINE"),
        ("请改".to_owned(), nowhere("2024-013", "nothing"), "UNKNOWN_LINE"),
        ("请改".to_owned(), vec![line("T99", "", "", "")], "UNKNOWN_LINE"),
    ] {
        assert_eq!(refusal(scene.give_back(1, &said, lines).await), code, "{said}");
    }
    let figure = |cell: &str, amount: &str, reason: &str| api::ReviewedFigure {
        cell: cell.into(),
        amount: (!amount.is_empty()).then(|| amount.into()),
        reason: reason.into(),
    };
    let good = || figure("T12/2024-013/total", "1.00", "核减");
    for (figures, problem) in [
        (Vec::new(), "empty"),
        (vec![good(); 1_001], "many"),
        (vec![good(), good()], "twice"),
        (vec![figure("T12/2024-013/total", "-1.00", "核减")], "negative"),
        (vec![figure("T12/2024-013/total", "", "收回")], "nothing"),
        (vec![figure("PF/2024-008/name", "1.00", "核减")], "not_money"),
        (vec![figure("T12/2024-999/total", "1.00", "核减")], "row"),
        (vec![good(), figure("T12/2024-008/total", "1.00", " ")], "blank"),
    ] {
        let request = api::ReviewFiguresRequest { idempotency_key: new_key(), target: Some(target(1)), figures };
        let status = review(&scene.department).review_figures(request).await.unwrap_err();
        let told = tonic_types::StatusExt::get_error_details(&status);
        assert_eq!(told.error_info().unwrap().metadata["problem"], problem, "{status:?}");
    }
    assert_eq!(scene.server.consolidator.snapshot().state.position, before);
    scene.end().await;
}

#[tokio::test]
async fn an_aggregate_that_seals_other_than_what_counts_is_noticed() {
    let scene = Scene::open().await;
    scene.file(None).await.unwrap();
    scene.justify().await;
    scene.accept(&scene.department, 1).await.unwrap();
    let sealed = scene.forward().await.unwrap().position;
    let journal = scene.journal.clone();
    scene.end().await;
    let altered = |change: &dyn Fn(&mut storage::Forwarded)| {
        let copy = MemoryJournal::new();
        for record in journal.scan(1) {
            let (position, bytes) = record.unwrap();
            let mut envelope = storage::Envelope::decode(bytes.as_slice()).unwrap();
            if let Some(storage::envelope::Event::Forwarded(forwarded)) = &mut envelope.event {
                change(forwarded);
            }
            copy.append(position - 1, &[envelope.encode_to_vec()]).unwrap();
        }
        verify(&copy, &|_| {}).unwrap().first_bad()
    };
    assert_eq!(altered(&|_| {}), None);
    assert_eq!(altered(&|forwarded| forwarded.members[0].digest[0] ^= 1), Some(sealed));
    assert_eq!(altered(&|forwarded| forwarded.members.clear()), Some(sealed));
    assert_eq!(altered(&|forwarded| forwarded.digest[0] ^= 1), Some(sealed));
    assert_eq!(altered(&|forwarded| forwarded.version = 2), Some(sealed));
    assert_eq!(altered(&|forwarded| forwarded.tree_version = 2), Some(sealed));
}

/// Passes bytes on to a server; of the first connection nothing comes back, until it is cut.
async fn deaf_once(server: &str, cut: tokio::sync::oneshot::Receiver<()>) -> String {
    let server = server.split_once("://").unwrap().1.to_owned();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (client, _) = listener.accept().await.unwrap();
        let there = tokio::net::TcpStream::connect(&server).await.unwrap();
        let ((mut from, to), (back, mut up)) = (client.into_split(), there.into_split());
        tokio::select! {
            _ = tokio::io::copy(&mut from, &mut up) => {}
            _ = cut => {}
        }
        drop((from, to, up, back));
        while let Ok((mut client, _)) = listener.accept().await {
            let mut there = tokio::net::TcpStream::connect(&server).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut there).await });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_whose_answer_was_lost_is_taken_once() {
    let scene = Scene::open().await;
    scene.file(None).await.unwrap();
    scene.justify().await;
    let (cut, told) = tokio::sync::oneshot::channel();
    let relay = deaf_once(&scene.server.address, told).await;
    let folder = tempfile::tempdir().unwrap();
    let accept = || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_consolidator"));
        command.args(["--server", &relay, "--as", "407/department", "--format", "json"]);
        command.args(["accept", "407002", "--version", "1", "--year", "2024"]);
        command.env("BUDGET_CHECKPOINTS", folder.path());
        tokio::task::spawn_blocking(move || command.output().unwrap())
    };
    let before = scene.server.consolidator.snapshot().state.position;
    let lost = accept();
    while scene.server.consolidator.snapshot().state.position == before {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    cut.send(()).unwrap();
    assert_eq!(lost.await.unwrap().status.code(), Some(3), "nobody knows what became of it");
    let again = accept().await.unwrap();
    let said: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!((said["repeated"].as_bool(), said["position"].as_u64()), (Some(true), Some(before + 1)), "{said}");
    // It was answered: the same words again are another step, and too late.
    let third = accept().await.unwrap();
    assert_eq!(third.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&third.stderr).contains("NOT_IN_STATE"));
    assert_eq!(scene.server.consolidator.snapshot().state.position, before + 1);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "no key stays behind");
    scene.end().await;
}
