//! Control figures on the real service: many units that file at the same moment against one pool, while it is split
//! anew, raised and cut; the two levels and their inverse over a socket; and what is wrong with a list, line by line.

use std::collections::BTreeMap;
use std::sync::Arc;

use budget_consolidator::budget::form_set::FormSet;
use budget_consolidator::proto::api;
use tonic::Code;
use tonic_types::StatusExt;

use crate::bad_input::assert_refused;
use crate::control_laws::{filing, form, form_files};
use crate::control_model::{Ceiling, Model, Strength};
use crate::generator::Random;
use crate::support::*;

const YEAR: u16 = 2024;
const DEPARTMENT: &str = "budget://900/department";
const BETWEEN: &str = "90001";
const CELL: &str = "A/total/x";

/// A department with units, some of them below another unit, and what the model needs to follow.
struct Pool {
    server: TestServer,
    form: Arc<FormSet>,
    model: Model,
    units: Vec<String>,
}

impl Pool {
    async fn new(units: usize) -> Pool {
        let server = TestServer::start().await;
        let administrator = server.client(ADMINISTRATOR).await;
        let files = form_files(YEAR).into_iter().map(|(name, content)| api::FormFile { name, content }).collect();
        let publish = api::PublishFormSetRequest { idempotency_key: new_key(), files };
        administrator.registry().publish_form_set(publish).await.unwrap();
        let mut parents = BTreeMap::from([("900".to_owned(), "0".to_owned()), (BETWEEN.to_owned(), "900".to_owned())]);
        for at in 0..units {
            // A third stands below the one between.
            let parent = if at % 3 == 0 { BETWEEN } else { "900" };
            parents.insert(format!("{parent}{at:03}"), parent.to_owned());
        }
        let units = parents.keys().filter(|code| code.len() > 5).cloned().collect();
        let node = |(code, parent): (&String, &String)| api::UnitNode {
            code: code.clone(),
            parent: parent.clone(),
            name: format!("单位{code}"),
            role: if parent == "0" { "department" } else { "unit" }.into(),
            budgeted: parent != "0",
            ..Default::default()
        };
        let nodes = parents.iter().map(node).collect();
        let import = api::ImportUnitsRequest { idempotency_key: new_key(), year: YEAR.into(), nodes };
        administrator.registry().import_units(import).await.unwrap();
        let model = Model { parents, ..Model::default() };
        Pool { server, form: Arc::new(form(YEAR)), model, units }
    }

    async fn headroom(&self, actor: &str, node: &str) -> api::GetHeadroomResponse {
        let request = api::GetHeadroomRequest { node: node.into(), year: YEAR.into(), ..Default::default() };
        self.server.client(actor).await.control().get_headroom(request).await.unwrap().into_inner()
    }

    async fn track(&self, node: &str) -> Vec<api::ControlRevision> {
        let request = api::ListControlChangesRequest { node: node.into(), year: YEAR.into(), ..Default::default() };
        self.server.client(BUREAU).await.control().list_control_changes(request).await.unwrap().into_inner().revisions
    }
}

fn figure(unit: &str, ceiling: &str, strength: &str) -> api::ControlFigure {
    let [unit, cell, ceiling, amount_unit, strength] = [unit, CELL, ceiling, "元", strength].map(ToOwned::to_owned);
    api::ControlFigure { unit, cell, ceiling, amount_unit, strength }
}

fn issue(figures: Vec<api::ControlFigure>, reason: &str, mark: bool) -> api::IssueControlFiguresRequest {
    let on_over_ceiling = if mark { api::OnOverCeiling::Mark } else { api::OnOverCeiling::Refuse };
    api::IssueControlFiguresRequest {
        idempotency_key: new_key(),
        year: YEAR.into(),
        round: api::Round::Second.into(),
        form_set: "pool".into(),
        figures,
        reason: reason.into(),
        on_over_ceiling: on_over_ceiling.into(),
    }
}

fn split(figures: Vec<api::ControlFigure>, reason: &str, mark: bool) -> api::SplitControlFiguresRequest {
    let api::IssueControlFiguresRequest { idempotency_key, year, round, form_set, figures, reason, on_over_ceiling } =
        issue(figures, reason, mark);
    let node = String::new();
    api::SplitControlFiguresRequest { idempotency_key, year, round, form_set, figures, reason, on_over_ceiling, node }
}

fn money(fen: i128) -> String {
    format!("{}.{:02}", fen / 100, fen % 100)
}

/// What became of something done in a round, at its position: a filing of so many 分, taken or not, or a ceiling.
enum Done {
    Filed { unit: String, fen: i128, refused: bool },
    Given { node: String, fen: i128 },
}

/// How many rounds; the issue's thousands by `CONTROL_ROUNDS`.
fn rounds() -> usize {
    std::env::var("CONTROL_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(40)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn units_that_file_at_the_same_moment_never_overshoot_their_departments_ceiling() {
    let mut pool = Pool::new(12).await;
    let mut random = Random(407);
    let top = 1_000_000_i128;
    let bureau = pool.server.client(BUREAU).await;
    let department = pool.server.client(DEPARTMENT).await;
    let first = issue(vec![figure("900", &money(top), "")], "", false);
    bureau.control().issue_control_figures(first).await.unwrap();
    pool.model.ceilings.insert("900".into(), Ceiling { fen: top, wan: false, strength: Strength::Hard });
    let mut clients = Vec::new();
    for code in &pool.units {
        clients.push((code.clone(), pool.server.client(&unit(code)).await));
    }
    let (mut taken, mut refused, mut full) = (0, 0, 0);
    for round in 0..rounds() {
        // All at once: each unit files something, and now and then the department splits anew meanwhile.
        let mut at_once = tokio::task::JoinSet::new();
        for (code, client) in clients.clone() {
            let fen = i128::try_from(random.below(180_000)).unwrap();
            let form = pool.form.clone();
            at_once.spawn(async move {
                let file = filing(&code, YEAR, [i64::try_from(fen).unwrap(), 0]);
                let answer = client.submit(&file, &form).await.unwrap();
                let refused = answer.verdict.unwrap().outcome == i32::from(api::Outcome::Refused);
                Some((answer.position, Done::Filed { unit: code, fen, refused }))
            });
        }
        if round % 3 == 1 {
            let node = if random.often(3) { BETWEEN.to_owned() } else { random.pick(&pool.units).clone() };
            let fen = i128::try_from(random.below(250_000)).unwrap();
            let department = department.clone();
            at_once.spawn(async move {
                let request = split(vec![figure(&node, &money(fen), "hard")], "重新分解", false);
                let answer = department.control().split_control_figures(request).await.ok()?.into_inner();
                Some((answer.position, Done::Given { node, fen }))
            });
        }
        let done: BTreeMap<u64, Done> = at_once.join_all().await.into_iter().flatten().collect();
        // The journal says in which order; the model follows, and the invariants hold at every position.
        for (position, done) in done {
            match done {
                Done::Filed { unit, fen, refused: was } => {
                    assert_eq!(was, pool.model.refuses(&unit, fen), "{unit} {fen} at {position}: {:?}", pool.model);
                    if was {
                        refused += 1;
                    } else {
                        taken += 1;
                        pool.model.own.insert(unit, fen);
                    }
                }
                Done::Given { node, fen } => {
                    pool.model.ceilings.insert(node, Ceiling { fen, wan: false, strength: Strength::Hard });
                }
            }
            assert_eq!(pool.model.beyond(), [""; 0], "Σ units ≤ department at {position}");
            assert!(pool.model.demand("900") <= top, "the pool holds at {position}");
        }
        let left = pool.headroom(DEPARTMENT, "900").await;
        assert_eq!(left.lines[0].left, money(top - pool.model.demand("900")), "round {round}");
        full += usize::from(pool.model.demand("900") > top * 9 / 10);
    }
    println!("{} rounds: {taken} taken, {refused} refused, pool nine tenths full after {full}", rounds());
    assert!(taken > 0 && refused > 0 && full > 0);
    pool.server.stop().await;
}

/// Whoever splits is told who is above a ceiling among its own, and nothing of those that share the ceiling above.
#[tokio::test]
async fn a_split_tells_nothing_of_what_others_have_filed() {
    let pool = Pool::new(6).await;
    let below = |code: &&String| code.starts_with(BETWEEN);
    let [first, second] = [0, 1].map(|at| pool.units.iter().filter(below).nth(at).unwrap().as_str());
    let beside = pool.units.iter().find(|code| !code.starts_with(BETWEEN)).unwrap();
    let (bureau, between) = (pool.server.client(BUREAU).await, pool.server.client("budget://90001/unit").await);
    let given = issue(vec![figure("900", "100.00", ""), figure(BETWEEN, "30.00", "advisory")], "", false);
    bureau.control().issue_control_figures(given).await.unwrap();
    for (code, fen) in [(beside.as_str(), 6_000), (second, 2_000)] {
        let file = filing(code, YEAR, [fen, 0]);
        pool.server.client(&unit(code)).await.submit(&file, &pool.form).await.unwrap();
    }
    // With 30.00 set apart for the first, what stands between draws 50.00 of the 40.00 that are left.
    let orders = |mark| split(vec![figure(first, "30.00", "")], "分解", mark);
    let status = between.control().split_control_figures(orders(false)).await.unwrap_err();
    assert_eq!(reason(&status), "CEILING_BELOW_FILED");
    let facts = status.get_error_details().error_info().unwrap().metadata.clone();
    assert_eq!((facts["unit"].as_str(), facts["who"].as_str(), facts["filed"].as_str()), ("900", second, "20.00"));
    let check = api::CheckControlFiguresRequest {
        year: YEAR.into(),
        round: api::Round::Second.into(),
        form_set: "pool".into(),
        figures: orders(true).figures,
        reason: "分解".into(),
        node: String::new(),
    };
    let seen = between.control().check_control_figures(check).await.unwrap().into_inner();
    let told = |affected: &[api::OverCeiling]| affected.iter().map(|over| over.unit.clone()).collect::<Vec<_>>();
    let marked = between.control().split_control_figures(orders(true)).await.unwrap().into_inner();
    assert!(told(&seen.affected).iter().all(|unit| unit == second) && !seen.affected.is_empty(), "{seen:?}");
    assert_eq!(told(&marked.affected), told(&seen.affected));
    // The bureau sees all of them.
    assert!(told(&pool.headroom(BUREAU, "900").await.over).contains(beside));
    pool.server.stop().await;
}

#[tokio::test]
async fn a_cut_says_who_is_above_and_marks_them_or_is_refused() {
    let pool = Pool::new(3).await;
    let [other, a, b] = [0, 1, 2].map(|at| pool.units[at].as_str());
    let bureau = pool.server.client(BUREAU).await;
    let department = pool.server.client(DEPARTMENT).await;
    let file = async |code: &str, fen: i64| {
        let answer =
            pool.server.client(&unit(code)).await.submit(&filing(code, YEAR, [fen, 0]), &pool.form).await.unwrap();
        answer.verdict.unwrap()
    };
    // The bureau gives 100.00 to the department, which gives 60.00 to one unit; the others draw on the rest.
    let given = issue(vec![figure("900", "100.00", "")], "", false);
    let given = bureau.control().issue_control_figures(given).await.unwrap().into_inner();
    assert_eq!((given.version, given.figures, given.changed), (1, 1, 1));
    let beyond = department.control().split_control_figures(split(vec![figure(a, "100.01", "")], "", false)).await;
    assert_refused("beyond", beyond, Code::FailedPrecondition, "SPLIT_BEYOND_CEILING", &["100.01", "100.00", "0.01"]);
    department.control().split_control_figures(split(vec![figure(a, "60.00", "")], "", false)).await.unwrap();
    let verdict = file(b, 4_000).await;
    assert_eq!(verdict.control_version, 2);
    let judgement = &verdict.judgements[0];
    assert_eq!(
        (judgement.unit.as_str(), judgement.taken.as_str(), judgement.headroom.as_str()),
        ("900", "60.00", "0.00")
    );
    let over = file(other, 1).await;
    assert_eq!(over.outcome, i32::from(api::Outcome::Refused));
    let finding = &over.findings[0];
    assert_eq!(finding.reason, "OVER_CEILING");
    for said in ["A/total/x", "100.00", "0.01"] {
        assert!(finding.sentence_zh.contains(said), "{}", finding.sentence_zh);
    }
    assert_eq!(file(a, 6_000).await.outcome, i32::from(api::Outcome::Submitted));

    // A cut below what is filed needs a reason, and is refused unless it is to mark.
    let cut = |reason: &str, mark| issue(vec![figure("900", "90.00", ""), figure(a, "50.00", "")], reason, mark);
    let without = bureau.control().issue_control_figures(cut("", true)).await;
    assert_refused("no reason", without, Code::InvalidArgument, "CONTROL_INVALID", &["reason"]);
    let alone = bureau.control().issue_control_figures(issue(vec![figure("900", "59.00", "")], "压减", true)).await;
    assert_refused(
        "below the split",
        alone,
        Code::FailedPrecondition,
        "SPLIT_BEYOND_CEILING",
        &["60.00", "59.00", "1.00"],
    );
    let kept = bureau.control().issue_control_figures(cut("压减", false)).await;
    assert_refused("refuse", kept, Code::FailedPrecondition, "CEILING_BELOW_FILED", &[a, "50.00", "60.00", "10.00"]);
    let check = api::CheckControlFiguresRequest {
        year: YEAR.into(),
        round: api::Round::Second.into(),
        form_set: "pool".into(),
        figures: cut("", true).figures,
        reason: "压减".into(),
        node: String::new(),
    };
    let seen = bureau.control().check_control_figures(check).await.unwrap().into_inner();
    assert_eq!((seen.faults.len(), seen.changed, seen.affected.len()), (0, 2, 1));
    let marked = bureau.control().issue_control_figures(cut("压减", true)).await.unwrap().into_inner();
    assert_eq!(marked.affected, seen.affected);
    let affected = &marked.affected[0];
    assert_eq!((affected.unit.as_str(), affected.version, affected.over.as_str()), (a, 1, "10.00"));
    // It is visible, the one beside it still has what was set apart for it, and nobody else may use the rest twice.
    assert_eq!(pool.headroom(BUREAU, "900").await.over, marked.affected);
    assert_eq!(pool.headroom(&unit(a), a).await.lines[0].left, "-10.00");
    assert!(pool.headroom(&unit(b), b).await.over.is_empty());
    assert_eq!(file(other, 1).await.outcome, i32::from(api::Outcome::Refused));
    assert_eq!(file(a, 5_001).await.outcome, i32::from(api::Outcome::Refused));
    assert_eq!(file(a, 5_000).await.outcome, i32::from(api::Outcome::Submitted));
    assert!(pool.headroom(BUREAU, "900").await.over.is_empty());

    // The bureau's cut left the split to the department, which raises it again within its own; and the other way.
    let own = department.control().split_control_figures(split(vec![figure(a, "50.50", "")], "调回", false)).await;
    assert_refused("the rest is filed", own, Code::FailedPrecondition, "CEILING_BELOW_FILED", &["900", "0.50"]);
    department.control().split_control_figures(split(vec![figure(a, "", "lifted")], "取消", false)).await.unwrap();
    assert_eq!(pool.headroom(&unit(a), a).await.lines[0].holder, "900");
    department.control().split_control_figures(split(vec![figure(a, "50.00", "")], "恢复", false)).await.unwrap();
    let given_by_bureau = issue(vec![figure(b, "40.00", "")], "", false);
    bureau.control().issue_control_figures(given_by_bureau).await.unwrap();
    let not_theirs = department.control().split_control_figures(split(vec![figure(b, "39.00", "")], "改", true)).await;
    assert_refused("the bureau's own", not_theirs, Code::InvalidArgument, "CONTROL_INVALID", &["above", b]);

    // The change track: who, when, which cell, from, to, why.
    let track = pool.track(a).await;
    let from_to = |revision: &api::ControlRevision| {
        let change = &revision.changes[0];
        let text =
            |figure: &Option<api::ControlFigure>| figure.as_ref().map_or("–".to_owned(), |f| f.ceiling.clone());
        (revision.actor.clone(), revision.reason.clone(), text(&change.before), text(&change.after))
    };
    let told: Vec<_> = track.iter().map(from_to).collect();
    let told: Vec<_> = told.iter().map(|(a, b, c, d)| (a.as_str(), b.as_str(), c.as_str(), d.as_str())).collect();
    assert_eq!(
        told,
        [
            (DEPARTMENT, "", "–", "60.00"),
            (BUREAU, "压减", "60.00", "50.00"),
            (DEPARTMENT, "取消", "50.00", "–"),
            (DEPARTMENT, "恢复", "–", "50.00"),
        ]
    );
    assert!(track.iter().all(|revision| revision.time_ms > 0));
    assert_eq!(track[1].affected.len(), 1);
    assert!(pool.track("900").await.len() > track.len());
    pool.server.stop().await;
}

#[tokio::test]
async fn strengths_and_rounds_judge_as_they_say() {
    let pool = Pool::new(3).await;
    let [a, b] = [1, 2].map(|at| pool.units[at].as_str());
    let bureau = pool.server.client(BUREAU).await;
    let list = vec![figure("900", "100.00", ""), figure(a, "30.00", "advisory"), figure(b, "20.00", "none")];
    bureau.control().issue_control_figures(issue(list.clone(), "", false)).await.unwrap();
    let file = async |code: &str, fen: i64| {
        let answer =
            pool.server.client(&unit(code)).await.submit(&filing(code, YEAR, [fen, 0]), &pool.form).await.unwrap();
        answer.verdict.unwrap()
    };
    // Above an advisory one it is a finding, and what is above draws on the department's.
    let verdict = file(a, 4_000).await;
    assert_eq!(verdict.outcome, i32::from(api::Outcome::Submitted));
    assert_eq!(verdict.findings.iter().map(|f| f.reason.as_str()).collect::<Vec<_>>(), ["OVER_ADVISORY_CEILING"]);
    assert_eq!(file(a, 8_001).await.outcome, i32::from(api::Outcome::Refused));
    // One that is never judged says nothing; the department's holds all the same.
    let verdict = file(b, 2_500).await;
    assert_eq!((verdict.findings.len(), verdict.judgements.len()), (0, 1));
    assert_eq!(file(b, 6_001).await.outcome, i32::from(api::Outcome::Refused));
    // In the first round whatever says hard is advisory.
    let mut first = issue(list, "", false);
    first.round = api::Round::First.into();
    bureau.control().issue_control_figures(first).await.unwrap();
    let within = api::ListControlFiguresRequest { round: api::Round::First.into(), ..Default::default() };
    let listed = bureau.control().list_control_figures(within).await.unwrap().into_inner().figures;
    let strengths: Vec<String> = listed.iter().map(|l| l.judgement.as_ref().unwrap().strength.clone()).collect();
    assert_eq!(strengths, ["advisory", "advisory", "none"]);
    pool.server.stop().await;
}

#[tokio::test]
async fn all_bad_lines_of_a_list_are_told_and_nothing_changes() {
    let server = TestServer::fenyang().await;
    let bureau = server.client(BUREAU).await;
    let total = |unit: &str, ceiling: &str| api::ControlFigure {
        unit: unit.into(),
        cell: "T03/合计/total".into(),
        ceiling: ceiling.into(),
        amount_unit: "万元".into(),
        strength: String::new(),
    };
    // A thousand good lines: a function code each.
    let good = (0..1_000)
        .map(|at| api::ControlFigure { cell: format!("T03/{}/total", 201 + at % 30), ..total("407001", "1.00") });
    let mut figures: Vec<api::ControlFigure> = good.take(30).collect();
    let projects =
        (1..=970).map(|at| api::ControlFigure { cell: format!("T12/2024-{at:03}/total"), ..total("407003", "0.01") });
    figures.extend(projects);
    figures[6] = total("407999", "1.00");
    figures[99] = api::ControlFigure { cell: "T03/合计/name".into(), ..total("407001", "1.00") };
    figures[500] = total("407004", "1,234.56");
    figures[700] = total("407004", "-1.00");
    figures[800] = total("407005", "86.00");
    figures[801] = total("407005", "86.00");
    figures[900] = api::ControlFigure { cell: "T12/2024-001/total".into(), ..total("407", "1.00") };
    figures[999] = total("407006", "1.00");
    let check = api::CheckControlFiguresRequest {
        year: 2024,
        round: api::Round::Second.into(),
        form_set: "shanxi-2024".into(),
        figures: figures.clone(),
        reason: "年中".into(),
        node: String::new(),
    };
    let before =
        bureau.control().list_control_figures(api::ListControlFiguresRequest::default()).await.unwrap().into_inner();
    let seen = bureau.control().check_control_figures(check).await.unwrap().into_inner();
    let told: Vec<(u32, &str)> = seen.faults.iter().map(|fault| (fault.line, fault.reason.as_str())).collect();
    assert_eq!(
        told,
        [
            (7, "UNKNOWN_UNIT"),
            (100, "NOT_CONTROLLABLE"),
            (501, "BAD_REQUEST"),
            (701, "CONTROL_INVALID"),
            (802, "CONTROL_INVALID"),
            (901, "NOT_SUMMED"),
            (1000, "UNIT_NOT_BUDGETED"),
        ]
    );
    let request = api::IssueControlFiguresRequest {
        idempotency_key: new_key(),
        year: 2024,
        round: api::Round::Second.into(),
        form_set: "shanxi-2024".into(),
        figures,
        reason: "年中".into(),
        ..Default::default()
    };
    let refused = bureau.control().issue_control_figures(request).await;
    assert_refused("the first", refused, Code::InvalidArgument, "BAD_REQUEST", &["1,234.56", "501"]);
    let after =
        bureau.control().list_control_figures(api::ListControlFiguresRequest::default()).await.unwrap().into_inner();
    assert_eq!(before, after);
    server.stop().await;
}
