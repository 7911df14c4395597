//! What else is asked for: units, years, form sets and cells that aren't there, and lists that can't come into force.

use budget_consolidator::budget::form_set::{FormFiles, FormSet};
use budget_consolidator::proto::api;
use tonic::{Code, Status};

use super::{Scene, assert_refused, set};
use crate::support::*;
use api::submit_request::Part;

type Header = api::SubmissionHeader;

fn slot(header: &mut Header) -> &mut api::Slot {
    header.slot.as_mut().unwrap()
}

#[tokio::test]
async fn a_filing_for_what_is_not_there_is_refused_by_name() {
    use Code::{FailedPrecondition, InvalidArgument, NotFound};
    type Case = (&'static str, fn(&mut Header), Code, &'static str, &'static [&'static str]);
    let scene = Scene::fenyang().await;
    let cases: [Case; 17] = [
        ("407004", |h| slot(h).year = 2031, NotFound, "UNKNOWN_YEAR", &["2031"]),
        ("407004", |h| slot(h).year = 0, NotFound, "UNKNOWN_YEAR", &["0"]),
        ("407004", |h| slot(h).year = 70_000, InvalidArgument, "BAD_REQUEST", &["year", "70000"]),
        ("407004", |h| slot(h).round = 0, InvalidArgument, "BAD_REQUEST", &["round", "0"]),
        ("407004", |h| slot(h).round = 7, InvalidArgument, "BAD_REQUEST", &["round", "7"]),
        (
            "407004",
            |h| slot(h).round = api::Round::First.into(),
            FailedPrecondition,
            "ROUND_CLOSED",
            &["first", "second"],
        ),
        ("407004", |h| slot(h).kind = 9, InvalidArgument, "BAD_REQUEST", &["kind", "9"]),
        (
            "407004",
            |h| slot(h).kind = api::Kind::Department.into(),
            FailedPrecondition,
            "KIND_NOT_TAKEN",
            &["department", "407004"],
        ),
        ("407004", |h| h.slot = None, InvalidArgument, "BAD_REQUEST", &["slot"]),
        (
            "407004",
            |h| h.form_set = "shanxi-1999".into(),
            NotFound,
            "UNKNOWN_FORM_SET",
            &["shanxi-1999", "shanxi-2024"],
        ),
        ("407004", |h| h.form_set.clear(), NotFound, "UNKNOWN_FORM_SET", &["shanxi-2024"]),
        ("407004", |h| h.form_set_digest = vec![7; 32], FailedPrecondition, "FORM_SET_OUTDATED", &["070707070707"]),
        ("407004", |h| h.form_set_digest = vec![7; 31], InvalidArgument, "BAD_REQUEST", &["form_set_digest", "31"]),
        ("407999", |h| slot(h).unit = "407999".into(), NotFound, "UNKNOWN_UNIT", &["407999", "2024"]),
        ("407006", |h| slot(h).unit = "407006".into(), FailedPrecondition, "UNIT_NOT_BUDGETED", &["407006"]),
        ("407", |h| slot(h).unit = "407".into(), FailedPrecondition, "UNIT_NOT_BUDGETED", &["407"]),
        ("407004", |h| slot(h).unit.clear(), Code::PermissionDenied, "NOT_PERMITTED", &["407004"]),
    ];
    for (sender, spoil, code, reason, said) in cases {
        let mut parts = scene.parts();
        let Part::Header(header) = &mut parts[0] else { panic!("no header in front") };
        spoil(header);
        let actor = if sender == "407" { DEPARTMENT.to_owned() } else { unit(sender) };
        let client = scene.server.client(&actor).await;
        let what = format!("{reason} {said:?}");
        let answer = scene.nothing_changes(&what, client.submit_parts(parts)).await;
        assert_refused(&what, answer, code, reason, said);
    }
    scene.stop().await;
}

#[tokio::test]
async fn a_form_set_of_another_year_takes_nothing() {
    let scene = Scene::fenyang().await;
    scene.server.client(ADMINISTRATOR).await.import_units("fenyang-2024/units.csv", 2023).await.unwrap();
    let mut file = scene.file();
    file.slot.year = 2023;
    let client = scene.client().await;
    let answer = scene.nothing_changes("filing", client.submit(&file, &scene.form)).await;
    assert_refused("filing", answer, Code::FailedPrecondition, "YEAR_DIFFERS", &["2023", "shanxi-2024", "2024"]);
    let bureau = scene.server.client(BUREAU).await;
    let issue = bureau.issue_control("fenyang-2024/control.csv", "shanxi-2024", 2023);
    let answer = scene.nothing_changes("issue", issue).await;
    assert_refused("issue", answer, Code::FailedPrecondition, "YEAR_DIFFERS", &["2023", "shanxi-2024", "2024"]);
    scene.stop().await;
}

#[tokio::test]
async fn a_question_about_what_is_not_there_is_refused_by_name() {
    let scene = Scene::fenyang().await;
    let bureau = scene.server.client(BUREAU).await;
    let view = async |scope: api::Scope, tables: &[&str]| {
        let tables = tables.iter().map(|table| (*table).to_owned()).collect();
        let request = api::ViewRequest { scope: Some(scope), tables, children: true, reviewed: false };
        bureau.consolidation().view(request).await.map(drop)
    };
    let trace = async |cell: &str| {
        let request = api::TraceRequest { scope: Some(scope("407")), cell: cell.into(), ..Default::default() };
        bureau.consolidation().trace(request).await.map(drop)
    };
    let rows = async |table: &str| {
        let request = api::ListRowsRequest { scope: Some(scope("407")), table: table.into(), ..Default::default() };
        bureau.consolidation().list_rows(request).await.map(drop)
    };
    let submission = async |unit: &str, version: u32| {
        let slot = Some(api::Slot { unit: unit.into(), year: 2024, ..Default::default() });
        bureau
            .submissions()
            .get_submission(api::GetSubmissionRequest { slot, version, ..Default::default() })
            .await
            .map(drop)
    };
    let history = async |unit: &str, page_token: &str| {
        let request = api::GetHistoryRequest { unit: unit.into(), page_token: page_token.into(), page_size: 0 };
        bureau.audit().get_history(request).await.map(drop)
    };
    let form_set = async |id: &str, digest: Vec<u8>| {
        bureau.registry().get_form_set(api::GetFormSetRequest { id: id.into(), digest }).await.map(drop)
    };
    let at = |change: fn(&mut api::Scope)| {
        let mut scope = scope("407");
        change(&mut scope);
        scope
    };
    let before = scene.fingerprint().await;
    use Code::{InvalidArgument, NotFound};
    type Answer = (&'static str, Result<(), Status>, Code, &'static [&'static str]);
    let answers: [Answer; 17] = [
        ("UNKNOWN_UNIT", view(at(|s| s.node = "999".into()), &[]).await, NotFound, &["999"]),
        ("UNKNOWN_YEAR", view(at(|s| s.year = 2031), &[]).await, NotFound, &["2031"]),
        ("UNKNOWN_FORM_SET", view(at(|s| s.form_set = "none".into()), &[]).await, NotFound, &["none", "shanxi-2024"]),
        ("BAD_REQUEST", view(at(|s| s.year = 70_000), &[]).await, InvalidArgument, &["year", "70000"]),
        ("BAD_REQUEST", view(at(|s| s.round = 7), &[]).await, InvalidArgument, &["round", "7"]),
        ("UNKNOWN_TABLE", view(scope("407"), &["T03", "T99"]).await, InvalidArgument, &["T99", "T03"]),
        ("UNKNOWN_TABLE", rows("T99").await, InvalidArgument, &["T99"]),
        ("UNKNOWN_CELL", trace("T99/合计/total").await, NotFound, &["T99/合计/total"]),
        ("UNKNOWN_CELL", trace("T03/合计/sum").await, NotFound, &["T03/合计/sum"]),
        ("UNKNOWN_CELL", trace("T01A/lottery/amount").await, NotFound, &["T01A/lottery/amount"]),
        ("BAD_REQUEST", trace("T03").await, InvalidArgument, &["cell", "T03"]),
        ("UNKNOWN_SUBMISSION", submission("407005", 0).await, NotFound, &["407005"]),
        ("UNKNOWN_SUBMISSION", submission("407004", 2).await, NotFound, &["407004", "2"]),
        ("UNKNOWN_UNIT", history("999", "").await, NotFound, &["999"]),
        ("BAD_REQUEST", history("407004", "next").await, InvalidArgument, &["page_token", "next"]),
        ("UNKNOWN_FORM_SET", form_set("none", Vec::new()).await, NotFound, &["none", "shanxi-2024"]),
        ("UNKNOWN_FORM_SET", form_set("shanxi-2024", vec![7; 32]).await, NotFound, &["shanxi-2024"]),
    ];
    for (reason, answer, code, said) in answers {
        assert_refused(&format!("{reason} {said:?}"), answer, code, reason, said);
    }
    assert_eq!(before.differences(&scene.fingerprint().await), [""; 0]);
    scene.stop().await;
}

fn figure(unit: &str, cell: &str, ceiling: &str, amount_unit: &str, strength: &str) -> api::ControlFigure {
    let [unit, cell, ceiling, amount_unit, strength] =
        [unit, cell, ceiling, amount_unit, strength].map(ToOwned::to_owned);
    api::ControlFigure { unit, cell, ceiling, amount_unit, strength }
}

#[tokio::test]
async fn one_wrong_control_figure_refuses_the_whole_list_and_is_named() {
    let scene = Scene::fenyang().await;
    let bureau = scene.server.client(BUREAU).await;
    // A good one, whose ceiling would show if anything of a list came into force.
    let good = figure("407004", "T03/合计/total", "999.00", "万元", "hard");
    let total = "T03/合计/total";
    use Code::{FailedPrecondition, InvalidArgument, NotFound};
    for (wrong, code, reason, said) in [
        (figure("407999", total, "1.00", "万元", ""), NotFound, "UNKNOWN_UNIT", ["407999", "2024"]),
        (figure("407006", total, "1.00", "万元", ""), FailedPrecondition, "UNIT_NOT_BUDGETED", ["407006", ""]),
        (
            figure("407001", "T99/合计/total", "1.00", "万元", ""),
            NotFound,
            "UNKNOWN_CELL",
            ["T99/合计/total", "shanxi"],
        ),
        (figure("407001", "T03/合计/sum", "1.00", "万元", ""), NotFound, "UNKNOWN_CELL", ["T03/合计/sum", ""]),
        (figure("407001", "T03/20A/total", "1.00", "万元", ""), NotFound, "UNKNOWN_CELL", ["T03/20A/total", ""]),
        (figure("407001", "T01A/lottery/amount", "1.00", "万元", ""), NotFound, "UNKNOWN_CELL", ["lottery", ""]),
        (
            figure("407001", "T03/合计/name", "1.00", "万元", ""),
            FailedPrecondition,
            "NOT_CONTROLLABLE",
            ["T03/合计/name", ""],
        ),
        (figure("407001", total, "-1.00", "万元", ""), InvalidArgument, "CONTROL_INVALID", ["407001", "-1.00"]),
        (figure("407004", total, "998.00", "元", ""), InvalidArgument, "CONTROL_INVALID", ["407004", total]),
        (figure("407001", "T03", "1.00", "万元", ""), InvalidArgument, "BAD_REQUEST", ["cell", "T03"]),
        (figure("407001", total, "1,234.5", "万元", ""), InvalidArgument, "BAD_REQUEST", ["407001", "1,234.5"]),
        (figure("407001", total, "1e3", "万元", ""), InvalidArgument, "BAD_REQUEST", [total, "1e3"]),
        (figure("407001", total, "", "万元", ""), InvalidArgument, "BAD_REQUEST", [total, "ceiling"]),
        (figure("407001", total, "1.005", "元", ""), InvalidArgument, "BAD_REQUEST", [total, "1.005"]),
        (
            figure("407001", total, "10000000000000.00", "元", ""),
            InvalidArgument,
            "BAD_REQUEST",
            [total, "10000000000000"],
        ),
        (figure("407001", total, "1.00", "亿元", ""), InvalidArgument, "BAD_REQUEST", [total, "亿元"]),
        (figure("407001", total, "1.00", "万元", "soft"), InvalidArgument, "BAD_REQUEST", [total, "soft"]),
    ] {
        let what = format!("{wrong:?}");
        let lists = [[good.clone(), wrong.clone()], [wrong, good.clone()]];
        let attempts = async { [issue(&bureau, lists[0].to_vec()).await, issue(&bureau, lists[1].to_vec()).await] };
        for answer in scene.nothing_changes(&what, attempts).await {
            assert_refused(&what, answer, code, reason, &said);
        }
    }
    let none = scene.nothing_changes("none", issue(&bureau, Vec::new())).await;
    assert_refused("none", none, InvalidArgument, "CONTROL_INVALID", &["empty"]);
    let many = scene.nothing_changes("many", issue(&bureau, vec![api::ControlFigure::default(); 100_001])).await;
    assert_refused("many", many, InvalidArgument, "BAD_REQUEST", &["figures", "100001"]);
    scene.stop().await;
}

#[tokio::test]
async fn a_ceiling_on_a_code_that_a_complete_catalogue_lacks_is_refused() {
    let server = TestServer::start().await;
    let scene = Scene::furnish(server, "linjiang-2024", "linjiang-2024", "508", "508001", &[]).await;
    let bureau = scene.server.client(BUREAU).await;
    let on = |code: &str| vec![figure("508001", &format!("B2/{code}/total"), "99999999.00", "元", "")];
    let unknown = scene.nothing_changes("unknown", issue_on(&bureau, "linjiang-2024", on("2080599"))).await;
    let said = ["2080599", "subjects.csv", "1"];
    assert_refused("unknown", unknown, Code::InvalidArgument, "UNKNOWN_CODE", &said);
    // A catalogue that is not complete can't say so.
    let scene_of_another = Scene::fenyang().await;
    let other = scene_of_another.server.client(BUREAU).await;
    issue(&other, vec![figure("407004", "T03/2080599/total", "1.00", "万元", "")]).await.unwrap();
    for known in ["2080505", "2080506"] {
        issue_on(&bureau, "linjiang-2024", on(known)).await.unwrap();
    }
    scene.stop().await;
    scene_of_another.stop().await;
}

async fn issue(bureau: &Client, figures: Vec<api::ControlFigure>) -> Result<(), Status> {
    issue_on(bureau, "shanxi-2024", figures).await
}

async fn issue_on(bureau: &Client, form_set: &str, figures: Vec<api::ControlFigure>) -> Result<(), Status> {
    let request = api::IssueControlFiguresRequest {
        idempotency_key: new_key(),
        year: 2024,
        round: api::Round::Second.into(),
        form_set: form_set.into(),
        figures,
        ..Default::default()
    };
    bureau.control().issue_control_figures(request).await.map(drop)
}

fn node(code: &str, parent: &str) -> api::UnitNode {
    api::UnitNode {
        code: code.into(),
        parent: parent.into(),
        name: format!("单位{code}"),
        role: "unit".into(),
        budgeted: true,
        ..Default::default()
    }
}

async fn import(client: &Client, year: u32, nodes: Vec<api::UnitNode>) -> Result<(), Status> {
    let request = api::ImportUnitsRequest { idempotency_key: new_key(), year, nodes };
    client.registry().import_units(request).await.map(drop)
}

#[tokio::test]
async fn a_unit_tree_that_is_none_does_not_come_into_force() {
    let scene = Scene::fenyang().await;
    let administrator = scene.server.client(ADMINISTRATOR).await;
    let mut nameless = node("1", "0");
    nameless.name = " ".into();
    let mut king = node("1", "0");
    king.role = "king".into();
    let deep = |levels: u32| (1..=levels).map(|n| node(&n.to_string(), &(n - 1).to_string())).collect::<Vec<_>>();
    for (what, nodes, said) in [
        ("nothing", vec![], ["empty", ""]),
        ("a circle", vec![node("1", "0"), node("2", "4"), node("3", "2"), node("4", "3")], ["depth", "2"]),
        ("its own parent", vec![node("407", "407")], ["depth", "407"]),
        ("seventeen levels", deep(17), ["depth", "16"]),
        ("no parent", vec![node("407001", "407")], ["parent", "407001"]),
        ("a code twice", vec![node("407", "0"), node("407", "0")], ["duplicate", "407"]),
        ("no code", vec![node("", "0")], ["code", ""]),
        ("a long code", vec![node(&"4".repeat(25), "0")], ["code", "4444"]),
        ("a code with a slash", vec![node("407/1", "0")], ["code", "407/1"]),
        ("a code in full-width digits", vec![node("４０７", "0")], ["code", "４０７"]),
        ("the bureau", vec![node("0", "0")], ["code", "0"]),
        ("no name", vec![nameless], ["name", "1"]),
        ("an unknown role", vec![king], ["role", "king"]),
    ] {
        let answer = scene.nothing_changes(what, import(&administrator, 2024, nodes)).await;
        assert_refused(what, answer, Code::InvalidArgument, "UNIT_TREE_INVALID", &said);
    }
    for year in [0, 1948, 3000, 70_000] {
        let answer = scene.nothing_changes("year", import(&administrator, year, vec![node("407", "0")])).await;
        assert_refused("year", answer, Code::InvalidArgument, "BAD_REQUEST", &["year", &year.to_string()]);
    }
    scene.stop().await;
}

#[tokio::test]
async fn a_unit_with_submissions_can_not_leave_the_tree_or_stop_filing() {
    let scene = Scene::fenyang().await;
    let administrator = scene.server.client(ADMINISTRATOR).await;
    let request = api::ListUnitsRequest { node: "0".into(), year: 2024, as_of: None };
    let nodes = administrator.registry().list_units(request).await.unwrap().into_inner().nodes;
    let without: Vec<_> = nodes.iter().filter(|node| node.code != "407004").cloned().collect();
    let unbudgeted =
        nodes.iter().cloned().map(|node| api::UnitNode { budgeted: node.code != "407004" && node.budgeted, ..node });
    for (what, tree) in [("removed", without), ("not budgeted", unbudgeted.collect())] {
        let answer = scene.nothing_changes(what, import(&administrator, 2024, tree)).await;
        assert_refused(what, answer, Code::FailedPrecondition, "UNIT_HAS_SUBMISSIONS", &["407004", "2024"]);
    }
    // One that has not filed can leave, once its ceilings are lifted.
    let idle: Vec<_> = nodes.into_iter().filter(|node| node.code != "407005").collect();
    let answer = scene.nothing_changes("ceilings", import(&administrator, 2024, idle.clone())).await;
    assert_refused("ceilings", answer, Code::FailedPrecondition, "TREE_BREAKS_CEILINGS", &["407005", "T03"]);
    let bureau = scene.server.client(BUREAU).await;
    let within = api::ListControlFiguresRequest { node: "407005".into(), year: 2024, ..Default::default() };
    let in_force = bureau.control().list_control_figures(within).await.unwrap().into_inner().figures;
    let lifted = |listed: &api::ListedControlFigure| {
        figure("407005", &listed.judgement.as_ref().unwrap().cell, "", "", "lifted")
    };
    let lift = api::IssueControlFiguresRequest {
        idempotency_key: new_key(),
        year: 2024,
        round: api::Round::Second.into(),
        form_set: "shanxi-2024".into(),
        figures: in_force.iter().map(lifted).collect(),
        reason: "并入 407003".into(),
        ..Default::default()
    };
    assert_eq!(bureau.control().issue_control_figures(lift).await.unwrap().into_inner().changed, 6);
    import(&administrator, 2024, idle).await.unwrap();
    scene.stop().await;
}

/// A form set with four faults, and where they are.
fn faulty() -> (FormFiles, Vec<(&'static str, u32, &'static str)>) {
    let mut files = form_files("linjiang-2024");
    let forms = String::from_utf8(files["forms.toml"].clone()).unwrap();
    let subjects = String::from_utf8(files["subjects.csv"].clone()).unwrap();
    let line = |text: &str, found: &str| {
        let at = text.lines().position(|line| line.contains(found)).unwrap_or_else(|| panic!("no {found}"));
        u32::try_from(at).unwrap() + 1
    };
    let forms = forms
        .replacen("rollup = \"sum\"", "rollup = \"total\"", 1)
        .replacen("advisory = [", "advisories = [", 1)
        .replacen("year + carry", "year + carrots", 1);
    let subjects = subjects + "208,,社会保障和就业支出,doubled\n";
    let places = vec![
        ("forms.toml", line(&forms, "rollup = \"total\""), "FORM_WRONG_VALUE"),
        ("forms.toml", line(&forms, "advisories"), "FORM_UNKNOWN_KEY"),
        ("forms.toml", line(&forms, "carrots"), "FORM_UNKNOWN_NAME"),
        ("subjects.csv", line(&subjects, "doubled"), "FORM_DUPLICATE"),
    ];
    files.insert("forms.toml".into(), forms.into_bytes());
    files.insert("subjects.csv".into(), subjects.into_bytes());
    (files, places)
}

fn sent(files: FormFiles) -> Vec<api::FormFile> {
    files.into_iter().map(|(name, content)| api::FormFile { name, content }).collect()
}

async fn publish(client: &Client, files: Vec<api::FormFile>) -> Result<(), Status> {
    let request = api::PublishFormSetRequest { idempotency_key: new_key(), files };
    client.registry().publish_form_set(request).await.map(drop)
}

#[tokio::test]
async fn a_form_set_with_faults_is_not_published_and_a_check_lists_them_all() {
    let scene = Scene::fenyang().await;
    let administrator = scene.server.client(ADMINISTRATOR).await;
    let (files, places) = faulty();
    let check = async {
        let request = api::CheckFormSetRequest { files: sent(files.clone()) };
        administrator.registry().check_form_set(request).await.unwrap().into_inner()
    };
    let answer = scene.nothing_changes("check", check).await;
    assert_eq!((answer.id.as_str(), answer.digest.len()), ("", 0));
    for (file, line, reason) in places {
        let found = answer.faults.iter().find(|fault| (fault.file.as_str(), fault.line) == (file, line));
        let fault = found.unwrap_or_else(|| panic!("nothing at {file}:{line} in {:#?}", answer.faults));
        assert_eq!((fault.reason.as_str(), fault.column > 0), (reason, true), "{fault:?}");
        assert!(!fault.sentence_zh.is_empty() && !fault.sentence_en.is_empty(), "{fault:?}");
    }
    assert_eq!(answer.faults.len(), 4, "{:#?}", answer.faults);
    let first = &answer.faults[0];
    let place = format!("{}:{}:{}", first.file, first.line, first.column);
    let published = scene.nothing_changes("publish", publish(&administrator, sent(files))).await;
    assert_refused("publish", published, Code::InvalidArgument, "FORM_SET_INVALID", &[&place, "4"]);
    scene.stop().await;
}

#[tokio::test]
async fn files_that_are_no_form_set_are_refused_with_their_place() {
    let scene = Scene::fenyang().await;
    let administrator = scene.server.client(ADMINISTRATOR).await;
    let file = |name: &str, content: &[u8]| api::FormFile { name: name.into(), content: content.to_vec() };
    for (what, files, reason, said) in [
        ("nothing", vec![], "FORM_SET_INVALID", "forms.toml"),
        ("no TOML", vec![file("forms.toml", b"id = \n")], "FORM_SET_INVALID", "forms.toml:1:"),
        ("no UTF-8", vec![file("forms.toml", b"id = \"\xff\"\n")], "FORM_SET_INVALID", "forms.toml:1:"),
        ("a path", vec![file("../forms.toml", b"")], "BAD_REQUEST", "../forms.toml"),
        ("a name twice", vec![file("a.csv", b""), file("a.csv", b"")], "BAD_REQUEST", "a.csv"),
        ("too much", vec![file("a.csv", &vec![b' '; 3 * 1024 * 1024 + 1])], "BAD_REQUEST", "3145729"),
    ] {
        let answer = scene.nothing_changes(what, publish(&administrator, files)).await;
        assert_refused(what, answer, Code::InvalidArgument, reason, &[said]);
    }
    scene.stop().await;
}

/// The view of 407 on one form set, with the units side by side.
async fn view_on(scene: &Scene, form_set: &str) -> Result<api::ViewResponse, Status> {
    let within = api::Scope { form_set: form_set.into(), ..scope("407") };
    let request = api::ViewRequest { scope: Some(within), tables: Vec::new(), children: true, reviewed: false };
    let department = scene.server.client(DEPARTMENT).await;
    department.consolidation().view(request).await.map(|answer| answer.into_inner())
}

/// Per child: its code and how many filings are in its figures.
fn filings(view: &api::ViewResponse) -> Vec<(&str, u32)> {
    view.children.iter().map(|child| (child.code.as_str(), child.filings)).collect()
}

#[tokio::test]
async fn filings_on_two_form_sets_are_never_added_up() {
    let scene = Scene::without_ceilings().await;
    let other = form("linjiang-2024");
    let mut file = example("linjiang-2024/submissions/508002001.json");
    file.slot.unit = "407005".into();
    let before = view_on(&scene, "").await.unwrap();
    let answer = scene.server.client(&unit("407005")).await.submit(&file, &other).await.unwrap();
    assert_eq!(answer.version, 1);
    let mixed = view_on(&scene, "").await;
    assert_refused(
        "view",
        mixed,
        Code::FailedPrecondition,
        "MIXED_FORM_SETS",
        &["407", "shanxi-2024", "linjiang-2024", "(2)", "(1)"],
    );
    let ours = view_on(&scene, "shanxi-2024").await.unwrap();
    assert_eq!((&ours.tables, ours.filings), (&before.tables, 2));
    assert_eq!(ours.children, before.children, "407005 has filed nothing on this one");
    let theirs = view_on(&scene, "linjiang-2024").await.unwrap();
    assert_eq!((theirs.tables.len(), theirs.filings), (9, 1));
    let expected = [("407001", 0), ("407002", 0), ("407003", 0), ("407004", 0), ("407005", 1), ("407006", 0)];
    assert_eq!(filings(&theirs), expected);
    assert!(theirs.children.iter().all(|child| child.tables.len() == 9));
    scene.stop().await;
}

#[tokio::test]
async fn a_new_layout_of_a_form_set_leaves_the_view_of_what_was_filed_under_the_old_one() {
    // 508002001 has not filed, so it is shown as nothing, on the form set of the others.
    let server = TestServer::start().await;
    let scene = Scene::furnish(server, "linjiang-2024", "linjiang-2024", "508", "508001", &[]).await;
    let view = async || scene.server.client("budget://508/department").await.view("508", &[], true).await.unwrap();
    let before = view().await;
    let mut files = form_files("linjiang-2024");
    let forms = String::from_utf8(files["forms.toml"].clone()).unwrap();
    let last = forms.find("[B9]").unwrap();
    files.insert("forms.toml".into(), forms.as_bytes()[..last].to_vec());
    // Its rules speak of the table that goes.
    files.remove("rules.toml");
    let smaller = FormSet::load(files.clone()).unwrap();
    publish(&scene.server.client(ADMINISTRATOR).await, sent(files)).await.unwrap();
    assert_eq!(view().await.children, before.children, "a unit that has not filed is shown beside the others");
    let mut file = example("linjiang-2024/submissions/508002.json");
    file.tables.retain(|table| table.header.id != "B9");
    set(&mut file, "B2/总计/carry", "0.00");
    let answer = scene.server.client(&unit("508002")).await.submit(&file, &smaller).await.unwrap();
    assert_eq!(answer.version, 1);
    let mixed = scene.server.client(BUREAU).await.view("508", &[], true).await;
    assert_refused("view", mixed, Code::FailedPrecondition, "MIXED_FORM_SETS", &["508", "(1), linjiang-2024", "(1)"]);
    scene.stop().await;
}
