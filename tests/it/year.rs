//! The year of one department, from 一上 to 调剂 and 追加, through the API: a real socket, mutual TLS, a certificate for each
//! role. What `demo` plays for people, asserted step by step. The clock is turned by hand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use budget_consolidator::budget::digest::Digest;
use budget_consolidator::budget::form_set::FormSet;
use budget_consolidator::cli::serve::wall_clock;
use budget_consolidator::consolidator::verify::verify;
use budget_consolidator::consolidator::{Clock, Consolidator, embedded_form_sets};
use budget_consolidator::grpc::door::Door;
use budget_consolidator::grpc::tls::Tls;
use budget_consolidator::ledger::event::Timestamp;
use budget_consolidator::proto::api::{self, Round, Standing, VersionState};
use budget_consolidator::store::{Journal, MemoryJournal};
use budget_consolidator::submission_file::SubmissionFile;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tonic::{Status, Streaming};

use crate::support::*;
use crate::tls::{Certificates, year};
use crate::verified;

type Review = api::review_service_client::ReviewServiceClient<Connection>;

const UNITS: [&str; 5] = ["407001", "407002", "407003", "407004", "407005"];
const DEPARTMENT: &str = "407";
const PROJECT: &str = "T03/合计/project";
const DAY: i64 = 86_400_000;
/// 2023-10-09 09:00 in China.
const AUTUMN: i64 = 1_696_813_200_000;
const WINTER: i64 = AUTUMN + 60 * DAY;
const SPRING: i64 = AUTUMN + 156 * DAY;

/// Everybody of the year, each on a connection with a certificate of their own.
struct Year {
    server: TestServer,
    journal: Arc<dyn Journal>,
    clock: Arc<AtomicI64>,
    form: FormSet,
    units: BTreeMap<&'static str, Client>,
    department: Client,
    bureau: Client,
    auditor: Client,
    administrator: Client,
}

fn review(client: &Client) -> Review {
    Review::new(client.connection())
}

fn filing(name: &str) -> SubmissionFile {
    example(&format!("fenyang-2024/submissions/{name}.json"))
}

fn unit_of(name: &str) -> &str {
    name.split('-').next().unwrap()
}

fn slot(unit: &str, round: Round) -> api::Slot {
    api::Slot { unit: unit.into(), year: 2024, round: round.into(), kind: api::Kind::Unit.into() }
}

fn target(unit: &str, version: u32) -> api::VersionTarget {
    api::VersionTarget { slot: Some(slot(unit, Round::Second)), version }
}

fn aggregate(version: u32) -> api::AggregateTarget {
    api::AggregateTarget { department: DEPARTMENT.into(), year: 2024, round: Round::Second.into(), version }
}

fn ceiling(unit: &str, cell: &str, wan: &str) -> api::ControlFigure {
    api::ControlFigure {
        unit: unit.into(),
        cell: cell.into(),
        ceiling: wan.into(),
        amount_unit: "万元".into(),
        strength: "hard".into(),
    }
}

fn line(place: [&str; 3], rule: &str, text: &str) -> api::ReturnedLine {
    let [table, row, column] = place.map(str::to_owned);
    api::ReturnedLine { table, row, column, rule: rule.into(), text: text.into() }
}

fn refusal<T: std::fmt::Debug>(answer: Result<T, Status>) -> String {
    reason(&answer.unwrap_err())
}

/// Rules that failed and must be explained: "rule table/row/column".
fn unjustified(verdict: &api::Verdict) -> Vec<String> {
    let (logic, fail) = (i32::from(api::Strength::Logic), i32::from(api::RuleVerdict::Fail));
    let found = found(&verdict.rule_findings);
    let failed = found.iter().filter(|found| (found.strength, found.verdict) == (logic, fail));
    failed.map(|found| format!("{} {}/{}/{}", found.rule, found.table, found.row, found.column)).collect()
}

fn reasons(verdict: &api::Verdict) -> Vec<&str> {
    verdict.findings.iter().map(|found| found.reason.as_str()).collect()
}

fn judged<'v>(verdict: &'v api::Verdict, cell: &str) -> &'v api::Judgement {
    verdict.judgements.iter().find(|judgement| judgement.cell == cell).unwrap()
}

impl Year {
    async fn begin() -> Year {
        let certificates = Certificates::new();
        let clock = Arc::new(AtomicI64::new(AUTUMN));
        let hand = clock.clone();
        let turned: Clock = Arc::new(move || Timestamp(hand.load(Ordering::SeqCst)));
        let journal: Arc<dyn Journal> = Arc::new(MemoryJournal::new());
        let opened = Consolidator::open(journal.clone(), turned, embedded_form_sets(), None).unwrap();
        // Certificates go by the clock on the wall.
        let tls = Tls::open(&certificates.path("tls"), wall_clock()).unwrap();
        let door = Door::secure(TcpListener::bind("127.0.0.1:0").await.unwrap(), tls);
        let server = TestServer::behind(door, opened);
        let connect = async |actor: &str| certificates.issue(actor, year()).connect(&server.address).await;
        let mut units = BTreeMap::new();
        for unit in UNITS {
            units.insert(unit, connect(&format!("{unit}/unit")).await);
        }
        let [department, bureau, auditor, administrator] = [
            connect("407/department").await,
            connect("0/bureau").await,
            connect("0/auditor").await,
            connect("0/administrator").await,
        ];
        administrator.import_units("fenyang-2024/units.csv", 2024).await.unwrap();
        let form = form("shanxi-2024");
        Year { server, journal, clock, form, units, department, bureau, auditor, administrator }
    }

    fn it_is(&self, now: i64) {
        self.clock.store(now, Ordering::SeqCst);
    }

    async fn submit(&self, name: &str) -> Result<api::SubmitResponse, Status> {
        self.units[unit_of(name)].submit(&filing(name), &self.form).await
    }

    async fn open_round(&self, round: Round, deadline: i64, said: &str) {
        let request = api::OpenRoundRequest {
            idempotency_key: new_key(),
            year: 2024,
            round: round.into(),
            deadline_ms: Some(deadline),
            reason: said.into(),
        };
        review(&self.bureau).open_round(request).await.unwrap();
    }

    async fn close_round(&self, round: Round) {
        let (idempotency_key, reason) = (new_key(), "年度终了".into());
        let request = api::CloseRoundRequest { idempotency_key, year: 2024, round: round.into(), reason };
        review(&self.bureau).close_round(request).await.unwrap();
    }

    async fn issue(&self, round: Round, figures: Vec<api::ControlFigure>) -> api::IssueControlFiguresResponse {
        let request = api::IssueControlFiguresRequest {
            idempotency_key: new_key(),
            year: 2024,
            round: round.into(),
            form_set: self.form.id.to_string(),
            figures,
            ..Default::default()
        };
        self.bureau.control().issue_control_figures(request).await.unwrap().into_inner()
    }

    async fn split(&self, figures: Vec<api::ControlFigure>) -> Result<api::SplitControlFiguresResponse, Status> {
        let request = api::SplitControlFiguresRequest {
            idempotency_key: new_key(),
            year: 2024,
            round: Round::Second.into(),
            form_set: self.form.id.to_string(),
            figures,
            ..Default::default()
        };
        self.department.control().split_control_figures(request).await.map(|answer| answer.into_inner())
    }

    /// Says something about every failed logic rule of a unit's last filing.
    async fn justify(&self, unit: &str) {
        let client = &self.units[unit];
        let request = api::ListFindingsRequest { node: unit.into(), ..Default::default() };
        let listed = client.audit().list_findings(request).await.unwrap().into_inner();
        let judged = listed.submissions.last().unwrap();
        let (logic, fail) = (i32::from(api::Strength::Logic), i32::from(api::RuleVerdict::Fail));
        let open = |found: &&api::RuleFinding| (found.strength, found.verdict) == (logic, fail);
        let item = |found: &api::RuleFinding| api::JustifyItem {
            fingerprint: found.fingerprint.clone(),
            text: "已核对，按原件填报".into(),
        };
        let items: Vec<_> = found(&judged.rule_findings).iter().filter(open).map(item).collect();
        assert!(!items.is_empty(), "{unit} has something to explain");
        let slot = Some(slot(unit, Round::Second));
        let request = api::JustifyRequest { idempotency_key: new_key(), slot, position: judged.position, items };
        client.submissions().justify(request).await.unwrap();
    }

    async fn accept(&self, unit: &str, version: u32) -> Result<(), Status> {
        let target = Some(target(unit, version));
        let request = api::AcceptRequest { idempotency_key: new_key(), target, ..Default::default() };
        review(&self.department).accept(request).await.map(drop)
    }

    /// Whether nothing can be filed again now.
    async fn give_back(&self, by: &Client, to: api::return_request::Target, lines: Vec<api::ReturnedLine>) -> bool {
        let (idempotency_key, reason) = (new_key(), "请按所列各处核对".to_owned());
        let request = api::ReturnRequest { idempotency_key, target: Some(to), reason, lines };
        review(by).r#return(request).await.unwrap().into_inner().round_ended
    }

    async fn forward(&self) -> Result<api::Aggregate, Status> {
        let request = api::ForwardRequest {
            idempotency_key: new_key(),
            department: DEPARTMENT.into(),
            year: 2024,
            round: Round::Second.into(),
            text: "五个单位均已审核".into(),
        };
        review(&self.department).forward(request).await.map(|answer| answer.into_inner().aggregate.unwrap())
    }

    async fn approve(
        &self,
        by: &Client,
        target: api::approve_request::Target,
        reviewed_position: Option<u64>,
    ) -> Result<u64, Status> {
        let request = api::ApproveRequest {
            idempotency_key: new_key(),
            target: Some(target),
            reviewed_position,
            ..Default::default()
        };
        review(by).approve(request).await.map(|answer| answer.into_inner().reviewed_position)
    }

    async fn adjust(
        &self,
        by: &Client,
        name: &str,
        cause: &str,
        raised: Vec<api::ControlFigure>,
    ) -> Result<api::AdjustResponse, Status> {
        let adjustment = api::Adjustment { cause: cause.into(), raised };
        by.adjust(&filing(name), &self.form, adjustment).await
    }

    async fn get_review(&self, by: &Client, unit: &str) -> api::GetReviewResponse {
        let request = api::GetReviewRequest { slot: Some(slot(unit, Round::Second)), as_of: None };
        review(by).get_review(request).await.unwrap().into_inner()
    }

    async fn board(&self) -> BTreeMap<String, (Standing, String)> {
        let board = self.auditor.status_board(DEPARTMENT).await;
        board.lines.iter().map(|line| (line.unit.clone(), (line.standing(), line.waits_for.clone()))).collect()
    }

    /// Where a unit stands, and who is next.
    async fn stands(&self, unit: &str) -> (Standing, String) {
        self.board().await[unit].clone()
    }

    /// What the department's total of a cell is, in 元.
    async fn total(&self, table: &str, row: &str, column: &str) -> String {
        let view = self.auditor.view(DEPARTMENT, &[table], false).await.unwrap();
        let table = &view.tables[0];
        let at = table.columns.iter().position(|found| found.id == column).unwrap();
        table.rows.iter().find(|found| found.key == row).unwrap().cells[at].value.to_string()
    }

    async fn watch(&self, scope: api::Scope) -> Streaming<api::WatchResponse> {
        let request = api::WatchRequest { scope: Some(scope), resume_position: 0, heartbeat_seconds: 1 };
        let mut watch = self.department.consolidation().watch(request).await.unwrap().into_inner();
        let first = watch.message().await.unwrap().unwrap().said.unwrap();
        assert!(matches!(first, api::watch_response::Said::Snapshot(_)));
        watch
    }

    async fn end(self) {
        let board = self.board().await;
        let state = self.server.consolidator.snapshot();
        self.server.stop().await;
        // What every event says follows from those before it; and the journal alone gives the same state.
        assert_eq!(verify(self.journal.as_ref(), &|_| {}).unwrap().first_bad(), None);
        let records: Vec<Vec<u8>> = self.journal.scan(1).map(|record| record.unwrap().1).collect();
        verified::alterations_are_found(&records);
        let opened = Consolidator::open(self.journal, test_clock(), embedded_form_sets(), None).unwrap();
        let again = TestServer::around(opened).await;
        let image = budget_consolidator::ledger::image::image;
        assert_eq!(image(&again.consolidator.snapshot().state), image(&state.state));
        let lines = again.client(AUDITOR).await.status_board(DEPARTMENT).await.lines;
        let standings = lines.iter().map(|line| (line.unit.clone(), (line.standing(), line.waits_for.clone())));
        assert_eq!(standings.collect::<BTreeMap<_, _>>(), board);
        again.stop().await;
    }
}

/// The next whole board that a watch tells.
async fn told_whole(watch: &mut Streaming<api::WatchResponse>) -> api::GetStatusBoardResponse {
    loop {
        let message = timeout(Duration::from_secs(20), watch.message()).await.unwrap().unwrap().unwrap();
        if let Some(api::watch_response::Said::Snapshot(board)) = message.said {
            return board;
        }
    }
}

/// The next change that a watch tells.
async fn change(watch: &mut Streaming<api::WatchResponse>) -> api::BoardChange {
    loop {
        let message = timeout(Duration::from_secs(20), watch.message()).await.unwrap().unwrap().unwrap();
        if let Some(api::watch_response::Said::Change(change)) = message.said {
            return change;
        }
    }
}

/// 一上: ceilings are advice. What exceeds them is found and taken.
async fn first_round(year: &Year) {
    year.open_round(Round::First, AUTUMN + 30 * DAY, "").await;
    assert_eq!(refusal(year.submit("407004").await), "ROUND_CLOSED", "二上 is not open yet");
    year.issue(Round::First, vec![ceiling("407004", PROJECT, "39.60")]).await;
    let wish = year.submit("407004-first").await.unwrap();
    let verdict = wish.verdict.as_ref().unwrap();
    assert_eq!((verdict.outcome(), wish.version), (api::Outcome::Submitted, 1));
    assert_eq!(reasons(verdict), ["OVER_ADVISORY_CEILING"]);
    let judgement = judged(verdict, PROJECT);
    assert_eq!((judgement.strength.as_str(), judgement.headroom.as_str()), ("advisory", "-4.00"));
    // Its performance forms are dated after the deadline, and are not once that has moved.
    let late = |verdict: &api::Verdict| {
        let found = found(&verdict.rule_findings);
        let late = found.iter().filter(|found| found.rule == "P-14");
        late.filter(|found| found.verdict == i32::from(api::RuleVerdict::Fail)).count()
    };
    assert_eq!(late(verdict), 2);
    year.open_round(Round::First, AUTUMN + 40 * DAY, "顺延十天").await;
    let again = year.submit("407004-first").await.unwrap();
    assert_eq!((again.version, late(again.verdict.as_ref().unwrap())), (2, 0));

    // Who is late: by the clock, without any event; and not as it stood in time.
    let scope = api::Scope { round: Round::First.into(), ..scope(DEPARTMENT) };
    let board = async |as_of: Option<api::AsOf>| {
        let request = api::GetStatusBoardRequest { scope: Some(api::Scope { as_of, ..scope.clone() }) };
        year.auditor.consolidation().get_status_board(request).await.unwrap().into_inner()
    };
    let late = |board: &api::GetStatusBoardResponse| -> Vec<String> {
        let late: Vec<_> = board.lines.iter().filter(|line| line.late).map(|line| line.unit.clone()).collect();
        assert_eq!(board.counts.as_ref().unwrap().late as usize, late.len());
        late
    };
    assert_eq!(late(&board(None).await), [""; 0]);
    let mut watch = year.watch(scope.clone()).await;
    year.it_is(AUTUMN + 40 * DAY + 1);
    let missing = ["407001", "407002", "407003", "407005"];
    assert_eq!(late(&board(None).await), missing);
    assert_eq!(late(&told_whole(&mut watch).await), missing);
    let moment = Some(api::as_of::Moment::Position(wish.position));
    assert_eq!(late(&board(Some(api::AsOf { moment })).await), [""; 0]);
    assert_eq!(refusal(year.submit("407004-first").await), "DEADLINE_PASSED");
}

/// 一下: the bureau's ceilings for the department, the department's for its units, and never more than it has.
async fn ceilings(year: &Year) {
    year.it_is(WINTER);
    let issued = year.issue(Round::Second, ceilings_of("control-issue.csv")).await;
    assert_eq!((issued.version, issued.changed), (1, 10));
    let mut beyond = ceilings_of("control-split.csv");
    let own = beyond.iter_mut().find(|figure| (figure.unit.as_str(), figure.cell.as_str()) == ("407004", PROJECT));
    own.unwrap().ceiling = "50.00".into();
    assert_eq!(refusal(year.split(beyond).await), "SPLIT_BEYOND_CEILING");
    let split = year.split(ceilings_of("control-split.csv")).await.unwrap();
    assert_eq!((split.version, split.changed), (2, 36));
}

/// 二上: above a hard ceiling is refused, with everything that one needs to know; below it is taken.
async fn second_round(year: &Year) {
    year.it_is(SPRING);
    year.open_round(Round::Second, SPRING + 5 * DAY, "").await;
    for unit in ["407001", "407002", "407003"] {
        assert_eq!(year.submit(unit).await.unwrap().version, 1, "{unit}");
    }
    assert_eq!(year.stands("407004").await, (Standing::Missing, "407004".into()));
    let over = year.submit("407004-over").await.unwrap();
    let verdict = over.verdict.as_ref().unwrap();
    assert_eq!((verdict.outcome(), over.version), (api::Outcome::Refused, 0));
    assert_eq!((reasons(verdict), verdict.control_version), (vec!["OVER_CEILING"], 2));
    let judgement = judged(verdict, PROJECT);
    let told = [&judgement.unit, &judgement.ceiling, &judgement.filed, &judgement.headroom, &judgement.amount_unit];
    assert_eq!(told, ["407004", "39.60", "43.60", "-4.00", "万元"]);
    assert_eq!(year.stands("407004").await, (Standing::Refused, "407004".into()));
    let taken = year.submit("407004").await.unwrap();
    let judgement = judged(taken.verdict.as_ref().unwrap(), PROJECT);
    assert_eq!((taken.version, judgement.headroom.as_str()), (1, "0.00"));
}

/// A return names lines, a rule among them; the next version says what became of each.
async fn returned_and_corrected(year: &Year) {
    let shares = year.submit("407005-shares").await.unwrap();
    let found = unjustified(shares.verdict.as_ref().unwrap());
    let [first, second] = found.as_slice() else { panic!("{found:?}") };
    let rule = first.split(' ').next().unwrap().to_owned();
    assert!(first.ends_with("NOTE/-/basic_share") && second.ends_with("NOTE/-/project_share"), "{found:?}");
    assert_eq!(refusal(year.accept("407005", 1).await), "FINDINGS_UNJUSTIFIED");
    let without = api::ReturnRequest {
        idempotency_key: new_key(),
        target: Some(api::return_request::Target::Submission(target("407005", 1))),
        ..Default::default()
    };
    assert_eq!(refusal(review(&year.department).r#return(without).await), "BAD_REVIEW_TEXT", "a reason is needed");
    let lines = vec![
        line(["NOTE", "-", "basic_share"], &rule, "占比是上年的"),
        line(["NOTE", "-", "project_share"], &rule, "占比是上年的"),
        line(["T12", "单位合计", ""], "", "请核对"),
    ];
    let to = api::return_request::Target::Submission(target("407005", 1));
    year.give_back(&year.department, to, lines).await;
    assert_eq!(year.stands("407005").await, (Standing::Returned, "407005".into()));

    let again = year.submit("407005").await.unwrap();
    let fates: Vec<api::LineFate> = again.answers.iter().map(api::LineAnswer::fate).collect();
    assert_eq!(fates, [api::LineFate::Changed, api::LineFate::Changed, api::LineFate::Unchanged]);
    let cell = &again.answers[0].cells[0];
    assert_eq!([&cell.cell, &cell.from, &cell.to], ["NOTE/-/basic_share", "75.70", "77.02"]);

    // What is right all the same is explained instead.
    assert_eq!(refusal(year.accept("407002", 1).await), "FINDINGS_UNJUSTIFIED");
    let to = api::return_request::Target::Submission(target("407002", 1));
    let lines = vec![line(["ASSET", "-", "equipment_year"], "N-11", "年份晚于编制年度")];
    year.give_back(&year.department, to, lines).await;
    year.justify("407002").await;
    let again = year.submit("407002").await.unwrap();
    let told: Vec<_> = again.answers.iter().map(|answer| (answer.fate(), answer.justification.as_str())).collect();
    assert_eq!(told, [(api::LineFate::Justified, "已核对，按原件填报")]);

    // Two reviewers on different versions: the second is told.
    assert_eq!(refusal(year.accept("407005", 1).await), "VERSION_MOVED");
    year.accept("407005", 2).await.unwrap();
    assert_eq!(year.stands("407005").await, (Standing::Accepted, DEPARTMENT.into()));
}

/// Offices say what they make of a version; a reviewed figure stands beside the filed one; all are accepted.
async fn reviewed_and_accepted(year: &Year) {
    let opinion = |office: &str| api::GiveOpinionRequest {
        idempotency_key: new_key(),
        target: Some(target("407004", 1)),
        office: office.into(),
        opinion: api::Opinion::Agree.into(),
        text: "同意".into(),
    };
    review(&year.bureau).give_opinion(opinion("performance")).await.unwrap();
    assert_eq!(refusal(review(&year.department).give_opinion(opinion("performance")).await), "UNKNOWN_OFFICE");
    review(&year.department).give_opinion(opinion("department")).await.unwrap();
    let before = year.total("T03", "合计", "project").await;
    let figure = |amount: Option<&str>| api::ReviewFiguresRequest {
        idempotency_key: new_key(),
        target: Some(target("407004", 1)),
        figures: vec![api::ReviewedFigure {
            cell: "T12/2024-002/total".into(),
            amount: amount.map(str::to_owned),
            reason: "设备按市场价核减".into(),
        }],
    };
    let set = review(&year.department).review_figures(figure(Some("15.00"))).await.unwrap().into_inner();
    let seen = year.get_review(&year.units["407004"], "407004").await;
    let offices: Vec<(&str, i32)> = seen.opinions.iter().map(|said| (said.office.as_str(), said.opinion)).collect();
    let (agree, none) = (i32::from(api::Opinion::Agree), 0);
    assert_eq!(
        offices,
        [("department", agree), ("division", none), ("performance", agree), ("budget", none)],
        "in the form set's order"
    );
    let pair = &seen.figures[0];
    assert_eq!(
        (pair.filed.as_str(), pair.reviewed.as_deref(), pair.amount_unit.as_str()),
        ("15.60", Some("15.00"), "万元")
    );
    assert_eq!((pair.actor.as_str(), pair.reason.as_str()), ("budget://407/department", "设备按市场价核减"));
    assert_eq!(seen.reviewed_position, set.position);
    // What was filed in 元, with 分, stands in 万元 beside what is set in 万元.
    let in_yuan = api::ReviewFiguresRequest {
        idempotency_key: new_key(),
        target: Some(target("407003", 1)),
        figures: vec![api::ReviewedFigure {
            cell: "T03/合计/basic".into(),
            amount: Some("180.00".into()),
            reason: "压减".into(),
        }],
    };
    review(&year.department).review_figures(in_yuan.clone()).await.unwrap();
    let pair = year.get_review(&year.auditor, "407003").await.figures.remove(0);
    assert_eq!(
        (pair.filed.as_str(), pair.reviewed.as_deref(), pair.amount_unit.as_str()),
        ("182.599441", Some("180.00"), "万元")
    );
    let taken_back = api::ReviewedFigure { amount: None, ..in_yuan.figures[0].clone() };
    let taken_back = api::ReviewFiguresRequest { idempotency_key: new_key(), figures: vec![taken_back], ..in_yuan };
    review(&year.department).review_figures(taken_back).await.unwrap();
    assert_eq!(year.total("T03", "合计", "project").await, before, "what was filed stays as it is");

    assert_eq!(refusal(year.forward().await), "DEPARTMENT_NOT_READY");
    for (unit, version) in [("407001", 1), ("407002", 2), ("407003", 1), ("407004", 1)] {
        year.accept(unit, version).await.unwrap();
    }
}

/// The department seals and sends; the bureau gives back; it is sent again, approved, and passed on to the units.
async fn forwarded_and_approved(year: &Year) {
    let mut watch = year.watch(scope(DEPARTMENT)).await;
    let sealed = year.forward().await.unwrap();
    let members: Vec<(&str, u32)> = sealed.members.iter().map(|m| (m.unit.as_str(), m.version)).collect();
    assert_eq!(members, [("407001", 1), ("407002", 2), ("407003", 1), ("407004", 1), ("407005", 2)]);
    let round_version = sealed.round_version;
    assert_eq!((sealed.version, round_version, sealed.tree_version), (1, 1, 1));
    assert_eq!(sealed.digest, digest_of(&sealed), "anybody can work it out");
    // All five lines at once.
    let told = change(&mut watch).await;
    let lines: Vec<(&str, Standing)> = told.lines.iter().map(|line| (line.unit.as_str(), line.standing())).collect();
    assert_eq!(lines, UNITS.map(|unit| (unit, Standing::Forwarded)));
    let counts = told.counts.unwrap();
    assert_eq!((counts.forwarded, counts.wait_for_bureau, counts.accepted), (5, 5, 0));
    drop(watch);
    assert_eq!(refusal(year.submit("407001").await), "SUBMISSION_SEALED");
    let withdraw =
        api::WithdrawRequest { idempotency_key: new_key(), target: Some(target("407001", 1)), ..Default::default() };
    assert_eq!(refusal(review(&year.units["407001"]).withdraw(withdraw).await), "SUBMISSION_SEALED");
    // Nobody leaves or joins those whom it speaks for, until it is given back.
    let nodes = unit_nodes("fenyang-2024/units.csv");
    let moved = nodes.iter().cloned().map(|node| match node.code.as_str() {
        "407004" => api::UnitNode { parent: "0".into(), ..node },
        _ => node,
    });
    let like = nodes.iter().find(|node| node.code == "407005").unwrap().clone();
    let joined = nodes.iter().cloned().chain([api::UnitNode { code: "407009".into(), ..like }]);
    for nodes in [moved.collect::<Vec<_>>(), joined.collect()] {
        let request = api::ImportUnitsRequest { idempotency_key: new_key(), year: 2024, nodes };
        assert_eq!(refusal(year.administrator.registry().import_units(request).await), "UNITS_SEALED");
    }

    year.give_back(&year.bureau, api::return_request::Target::Aggregate(aggregate(1)), Vec::new()).await;
    assert_eq!(year.stands("407001").await, (Standing::Accepted, DEPARTMENT.into()));
    let sealed = year.forward().await.unwrap();
    assert_eq!((sealed.version, sealed.members.len()), (2, 5));
    let whole = |version| api::approve_request::Target::Aggregate(aggregate(version));
    let one = |unit: &str, version| api::approve_request::Target::Submission(target(unit, version));
    assert_eq!(refusal(year.approve(&year.department, one("407001", 1), None).await), "AGGREGATE_NOT_IN_STATE");
    assert_eq!(refusal(year.approve(&year.bureau, whole(1), None).await), "VERSION_MOVED");
    year.approve(&year.bureau, whole(2), None).await.unwrap();
    assert_eq!(year.stands("407004").await, (Standing::Forwarded, DEPARTMENT.into()));
    // An approval is of the reviewed figures that were looked at.
    let reviewed = year.get_review(&year.department, "407004").await.reviewed_position;
    assert_eq!(refusal(year.approve(&year.department, one("407004", 1), Some(0)).await), "VERSION_MOVED");
    assert_eq!(year.approve(&year.department, one("407004", 1), Some(reviewed)).await.unwrap(), reviewed);
    for (unit, version) in [("407001", 1), ("407002", 2), ("407003", 1), ("407005", 2)] {
        // Of 407003 a figure was set and taken back.
        let reviewed = year.get_review(&year.department, unit).await.reviewed_position;
        assert_eq!(year.approve(&year.department, one(unit, version), None).await.unwrap(), reviewed);
        assert_eq!(reviewed > 0, unit == "407003", "{unit}");
    }
    assert!(year.board().await.values().all(|stands| *stands == (Standing::Approved, String::new())));
}

/// After approval: 调剂 within the total, by the unit and through review; 追加 with its ceilings, by the bureau and at once.
async fn adjusted(year: &Year) {
    year.it_is(SPRING + 200 * DAY);
    let before = year.total("T03", "合计", "project").await;
    let unit = &year.units["407004"];
    assert_eq!(refusal(year.submit("407004").await), "DEADLINE_PASSED");
    assert_eq!(refusal(year.adjust(unit, "407004-moved", " ", Vec::new()).await), "BAD_REVIEW_TEXT", "a cause");
    let grown = year.adjust(unit, "407004-over", "多要四万元", Vec::new()).await.unwrap();
    assert_eq!((grown.version, grown.state()), (0, VersionState::Unspecified));
    let found = reasons(grown.verdict.as_ref().unwrap()).join(" ");
    assert!(found.contains("ADJUSTMENT_MOVED") && found.contains("OVER_CEILING"), "{found}");

    let moved = year.adjust(unit, "407004-moved", "办案经费结余，调剂用于设备", Vec::new()).await.unwrap();
    assert_eq!((moved.version, moved.state(), moved.adjusts), (2, VersionState::Submitted, 1));
    assert_eq!(year.stands("407004").await, (Standing::Submitted, DEPARTMENT.into()));
    // It knows no round: what is given back can be filed again, or the return be undone.
    let moved = || api::return_request::Target::Submission(target("407004", 2));
    assert!(!year.give_back(&year.department, moved(), Vec::new()).await);
    let target_of = Some(api::reopen_request::Target::Submission(target("407004", 2)));
    let request = api::ReopenRequest { idempotency_key: new_key(), target: target_of, reason: "再看".into() };
    review(&year.department).reopen(request).await.unwrap();
    year.accept("407004", 2).await.unwrap();
    assert_eq!(
        year.stands("407004").await,
        (Standing::Accepted, "0".into()),
        "adjustments are the bureau's to approve"
    );
    let one = |version| api::approve_request::Target::Submission(target("407004", version));
    assert_eq!(refusal(year.approve(&year.department, one(2), None).await), "NOT_YOUR_STEP");
    year.approve(&year.bureau, one(2), None).await.unwrap();
    assert_eq!(year.total("T03", "合计", "project").await, before, "it adds up to zero");
    // Why a cell is another now is said with it.
    let asked =
        api::GetCellHistoryRequest { node: "407004".into(), cell: "T12/2024-002/total".into(), ..Default::default() };
    let history = year.auditor.audit().get_cell_history(asked).await.unwrap().into_inner();
    let why: Vec<(&str, &str)> =
        history.values.iter().map(|value| (value.kind.as_str(), value.reason.as_str())).collect();
    let last = ["办案经费结余，调剂用于设备", "再看"];
    let known = |reason: &str| why.iter().any(|(_, said)| *said == reason);
    assert!(why[0] == ("submitted", "") && last.into_iter().all(known), "{why:?}");

    // 追加: the ceilings rise in the event that uses them.
    let raised = vec![ceiling("407004", PROJECT, "43.60")];
    assert_eq!(refusal(year.adjust(unit, "407004-over", "追加", raised.clone()).await), "ADJUSTMENT_INVALID");
    let elsewhere = vec![ceiling("407001", PROJECT, "299.00")];
    assert_eq!(refusal(year.adjust(&year.bureau, "407004-over", "追加", elsewhere).await), "ADJUSTMENT_INVALID");
    let lower = vec![ceiling("407004", PROJECT, "39.00")];
    assert_eq!(refusal(year.adjust(&year.bureau, "407004-over", "追加", lower).await), "ADJUSTMENT_INVALID");
    // Who may make one may try it first; and try nothing else.
    let adjustment = api::Adjustment { cause: "追加".into(), raised: raised.clone() };
    let tried = year.bureau.dry_run_as(&filing("407004-over"), &year.form, Some(adjustment)).await.unwrap();
    assert_eq!((tried.version, judged(tried.verdict.as_ref().unwrap(), PROJECT).headroom.as_str()), (3, "0.00"));
    assert_eq!(refusal(year.bureau.dry_run(&filing("407004-over"), &year.form).await), "NOT_PERMITTED");
    // It is approved at once, so nothing of it may be left unjustified.
    let more = vec![ceiling("407005", "T03/合计/total", "87.00")];
    let open = year.adjust(&year.bureau, "407005-shares", "追加", more).await.unwrap();
    assert_eq!((open.version, open.state()), (0, VersionState::Unspecified));
    assert_eq!(reasons(open.verdict.as_ref().unwrap()), ["FINDINGS_UNJUSTIFIED"]);
    assert_eq!(year.stands("407005").await, (Standing::Approved, String::new()));
    let added = year.adjust(&year.bureau, "407004-over", " 上级追加设备经费\n", raised).await.unwrap();
    assert_eq!((added.version, added.state(), added.adjusts), (3, VersionState::Approved, 2), "{added:?}");
    assert_eq!(judged(added.verdict.as_ref().unwrap(), PROJECT).headroom, "0.00");
    assert_ne!(year.total("T03", "合计", "project").await, before);
    let request = api::ListControlChangesRequest { node: "407004".into(), cell: PROJECT.into(), ..Default::default() };
    let track = year.auditor.control().list_control_changes(request).await.unwrap().into_inner();
    let last = track.revisions.last().unwrap();
    let ceilings = |change: &api::ControlChange| {
        [&change.before, &change.after].map(|figure| figure.as_ref().unwrap().ceiling.clone())
    };
    assert_eq!((last.position, last.reason.as_str()), (added.position, "上级追加设备经费"));
    assert_eq!(ceilings(&last.changes[0]), ["39.60", "43.60"]);
    let told = year.auditor.history("407004").await.unwrap().events.into_iter();
    let told = told.filter(|event| event.position == added.position).find_map(|event| event.event);
    let Some(api::journal_event::Event::Submitted(told)) = told else { panic!("{told:?}") };
    assert_eq!(told.raised.iter().map(ceilings).collect::<Vec<_>>(), [["39.60", "43.60"]]);
    let seen = year.get_review(&year.auditor, "407004").await;
    let causes: Vec<&str> = seen.versions.iter().map(|version| version.cause.as_str()).collect();
    assert_eq!(causes, ["", "办案经费结余，调剂用于设备", "上级追加设备经费"]);
    let counts: Vec<bool> = seen.versions.iter().map(|version| version.counts).collect();
    assert_eq!(counts, [false, false, true]);
    assert_eq!(seen.legal, ["adjust"], "what was approved as it was made leads back by another adjustment");
}

/// The recipe of `Aggregate.digest`, from the answer alone.
fn digest_of(sealed: &api::Aggregate) -> Vec<u8> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let api::Aggregate { department, version, tree_version, round_version, members, .. } = sealed;
    let mut text = format!("{department} 2024 second {version} {tree_version} {round_version}\n");
    for member in members {
        let api::AggregateMember { unit, version, position, digest, form_set_digest, reviewed_position, .. } = member;
        let (digest, form_set) = (hex(digest), hex(form_set_digest));
        text.push_str(&format!("{unit} unit {version} {position} {digest} {form_set} {reviewed_position}\n"));
    }
    Digest::of(text.as_bytes()).0.to_vec()
}

/// A ceiling is cut below what was approved under it, which is marked.
async fn cut(year: &Year) {
    let request = api::IssueControlFiguresRequest {
        idempotency_key: new_key(),
        year: 2024,
        round: Round::Second.into(),
        form_set: year.form.id.to_string(),
        figures: vec![ceiling("407004", PROJECT, "1.00")],
        reason: "压减项目支出".into(),
        on_over_ceiling: api::OnOverCeiling::Mark.into(),
    };
    assert_eq!(year.get_review(&year.department, "407004").await.over, []);
    let issued = year.bureau.control().issue_control_figures(request).await.unwrap().into_inner();
    assert_eq!(issued.changed, 1);
    // Who reviews it sees what it is above.
    let over = year.get_review(&year.department, "407004").await.over;
    let over: Vec<_> =
        over.iter().map(|over| [&over.holder, &over.cell, &over.filed, &over.ceiling, &over.over]).collect();
    assert_eq!(over, [["407004", PROJECT, "43.60", "1.00", "42.60"]]);
    assert!(year.auditor.status_board("407004").await.lines[0].over_ceiling);
}

fn ceilings_of(csv: &str) -> Vec<api::ControlFigure> {
    control_figures(&format!("fenyang-2024/{csv}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_year_from_the_first_wish_to_the_last_addition() {
    let year = Year::begin().await;
    first_round(&year).await;
    ceilings(&year).await;
    second_round(&year).await;
    returned_and_corrected(&year).await;
    reviewed_and_accepted(&year).await;
    forwarded_and_approved(&year).await;
    adjusted(&year).await;
    cut(&year).await;
    year.close_round(Round::Second).await;
    year.end().await;
}
