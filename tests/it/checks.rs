//! The rules on the server: the same list as offline, kept with the filing and worked out again from it; what refuses;
//! what a unit explains, and for how long; which other filings are looked at.

use std::collections::BTreeMap;
use std::sync::Arc;

use budget_consolidator::budget::form_set::{FormFiles, FormSet};
use budget_consolidator::budget::rule::{Books, evaluate};
use budget_consolidator::consolidator::verify::verify;
use budget_consolidator::ledger::actor::Actor;
use budget_consolidator::ledger::event::Event;
use budget_consolidator::proto::api::{self, JudgedSubmission, Quantity, RuleFinding};
use budget_consolidator::proto::storage;
use budget_consolidator::store::{Journal, MemoryJournal};
use budget_consolidator::submission_file::SubmissionFile;
use budget_consolidator::wording::{Language, rule};
use prost::Message;

use crate::support::*;

const SEED: &str = "fenyang-2024/submissions/407002.json";

/// A filing with one value changed.
fn changed(path: &str, table: &str, row: &str, column: &str, value: &str) -> SubmissionFile {
    let mut file = example(path);
    let table = file.tables.iter_mut().find(|filed| filed.header.id == table).unwrap();
    let at = table.header.columns.iter().position(|id| id == column).unwrap();
    let (_, values) = table.rows.iter_mut().find(|(key, _)| key == row).unwrap();
    assert_ne!(values[at], value, "nothing would change");
    values[at] = value.to_owned();
    file
}

fn request(node: &str) -> api::ListFindingsRequest {
    api::ListFindingsRequest { node: node.to_owned(), ..Default::default() }
}

async fn findings(client: &Client, request: api::ListFindingsRequest) -> Vec<JudgedSubmission> {
    client.audit().list_findings(request).await.unwrap().into_inner().submissions
}

/// What rules found in the one submission of a unit.
async fn judged(server: &TestServer, node: &str) -> JudgedSubmission {
    findings(&server.client(AUDITOR).await, request(node)).await.pop().unwrap()
}

fn failed(verdict: &api::Verdict) -> Vec<RuleFinding> {
    let fail = i32::from(api::RuleVerdict::Fail);
    found(&verdict.rule_findings).into_iter().filter(|finding| finding.verdict == fail).collect()
}

fn place(finding: &RuleFinding) -> String {
    format!("{} {}/{}/{}", finding.rule, finding.table, finding.row, finding.column)
}

/// A finding without what only ListFindings says.
fn bare(finding: &RuleFinding) -> RuleFinding {
    RuleFinding { justification: None, ..finding.clone() }
}

// ── the same list ────────────────────────────────────────────────────────────────────────

#[tokio::test]
async fn the_answer_holds_what_check_finds_offline() {
    let server = TestServer::fenyang().await;
    let (form, file) = (form("shanxi-2024"), example(SEED));
    let reading = file.read_on(&form);
    let offline = evaluate(&form, &Books::of(&reading.submission), |_| true);
    let client = server.client(&unit("407002")).await;
    let dry = client.dry_run(&file, &form).await.unwrap().verdict.unwrap();
    let filed = client.submit(&file, &form).await.unwrap();
    assert_eq!(filed.version, 1, "the seed is taken as printed");
    let filed = filed.verdict.unwrap();
    assert_eq!(dry.rule_findings, filed.rule_findings);
    let counts = filed.rule_counts.unwrap();
    assert_eq!(
        (counts.pass, counts.pass_by_rounding, counts.fail, counts.not_evaluable),
        (offline.counts.pass, offline.counts.pass_by_rounding, offline.counts.fail, offline.counts.not_evaluable)
    );
    assert_eq!((filed.rule_findings.len(), filed.rule_findings_left_out), (offline.findings.len(), 0));
    for (wire, found) in found(&filed.rule_findings).iter().zip(&offline.findings) {
        assert_eq!((&*wire.rule, wire.check as usize, wire.link as usize), (&*found.rule, found.check, found.link));
        assert_eq!(place(wire), format!("{} {}", found.rule, found.place));
        let fingerprint = found.failed().then(|| form.rules.fingerprint(found).0.to_vec());
        assert_eq!(wire.fingerprint, fingerprint.unwrap_or_default());
        assert_eq!(wire.sentence_zh, rule::sentence(found, &form, Language::Chinese));
        assert_eq!(wire.sentence_en, rule::sentence(found, &form, Language::English));
        assert_eq!(wire.cells.len(), found.cells.len());
        for (cell, seen) in wire.cells.iter().zip(&found.cells) {
            let value = seen.value.as_ref().map(ToString::to_string).filter(|value| !value.is_empty());
            let sent = (cell.cell.to_string(), cell.value.as_ref().map(|v| v.value.to_string()));
            assert_eq!(sent, (seen.address.to_string(), value));
        }
        let texts = |of: &Option<_>| of.as_ref().map(ToString::to_string);
        let sides = [&wire.left, &wire.right, &wire.difference, &wire.tolerance].map(|side| side.as_ref());
        let found = [&found.left, &found.right, &found.difference, &found.tolerance].map(texts);
        let percent = |q: &Quantity| if q.kind == i32::from(api::QuantityKind::Percent) { "%" } else { "" };
        assert_eq!(sides.map(|side| side.map(|q| q.value.to_string() + percent(q))), found, "{}", place(wire));
    }
    server.stop().await;
}

#[tokio::test]
async fn sentences_can_be_left_to_the_reader() {
    let server = TestServer::fenyang().await;
    let (form, file) = (form("shanxi-2024"), example(SEED));
    let mut parts = parts(&file, &form, &new_key());
    let Some(api::submit_request::Part::Header(header)) = parts.first_mut() else { panic!("no header") };
    header.sentences = api::Sentences::None.into();
    let client = server.client(&unit("407002")).await;
    let without = client.submit_parts(parts).await.unwrap().verdict.unwrap().rule_findings;
    let with = client.submit(&file, &form).await.unwrap().verdict.unwrap().rule_findings;
    let cut = |finding: &RuleFinding| RuleFinding {
        sentence_zh: String::new(),
        sentence_en: String::new(),
        ..finding.clone()
    };
    let (without, with) = (found(&without), found(&with));
    assert!(with.iter().all(|finding| !finding.sentence_zh.is_empty() && !finding.sentence_en.is_empty()));
    assert_eq!(without, with.iter().map(cut).collect::<Vec<_>>());
    server.stop().await;
}

#[tokio::test]
async fn whoever_asks_again_gets_the_same_findings_after_a_restart_too() {
    let journal = Arc::new(MemoryJournal::new());
    let server = TestServer::on(journal.clone()).await;
    server.furnish("fenyang-2024", "shanxi-2024", 2024).await;
    let form = form("shanxi-2024");
    let taken = parts(&example(SEED), &form, "taken");
    let slip = parts(&example("fenyang-2024/submissions/407004-slip.json"), &form, "slip");
    let first = server.client(&unit("407002")).await.submit_parts(taken.clone()).await.unwrap();
    let refused = server.client(&unit("407004")).await.submit_parts(slip.clone()).await.unwrap();
    server.stop().await;

    let server = TestServer::on(journal).await;
    let again = server.client(&unit("407002")).await.submit_parts(taken).await.unwrap();
    assert!(again.repeated && !first.repeated);
    assert_eq!(again.verdict, first.verdict);
    let again = server.client(&unit("407004")).await.submit_parts(slip).await.unwrap();
    assert_eq!(again.verdict, refused.verdict);
    for (node, answer) in [("407002", first), ("407004", refused)] {
        let listed = judged(&server, node).await;
        assert_eq!((listed.position, listed.version), (answer.position, answer.version));
        let verdict = answer.verdict.unwrap();
        assert_eq!(found(&listed.rule_findings).iter().map(bare).collect::<Vec<_>>(), found(&verdict.rule_findings));
        assert_eq!(listed.rule_counts, verdict.rule_counts);
    }
    server.stop().await;
}

// ── refusing ─────────────────────────────────────────────────────────────────────────────

#[tokio::test]
async fn a_failed_balance_rule_refuses_with_all_findings_and_counts_nowhere() {
    let server = TestServer::fenyang().await;
    let form = form("shanxi-2024");
    let client = server.client(&unit("407004")).await;
    let slip = example("fenyang-2024/submissions/407004-slip.json");
    let answer = client.submit(&slip, &form).await.unwrap();
    let verdict = answer.verdict.unwrap();
    assert_eq!((answer.version, verdict.outcome), (0, api::Outcome::Refused.into()));
    assert!(verdict.findings.is_empty(), "nothing is wrong with shape or ceilings");
    let places: Vec<String> = failed(&verdict).iter().map(place).collect();
    // By hand: 2080506 is 6.41 in 表二 and 表五, and 6.14 in 表三.
    for expected in [
        "V-01 T03/20805/total",
        "V-01 T03/20805/basic",
        "V-02 T03/合计/total",
        "V-02 T03/合计/basic",
        "T-02 T02/2080506/total",
        "T-03 T03/2080506/total",
        "T-03 T03/2080506/basic",
    ] {
        assert!(places.contains(&expected.to_owned()), "{expected} is not in {places:?}");
    }
    assert_eq!(places.len(), 7);
    assert_eq!(server.client(DEPARTMENT).await.status_board("407").await.submitted, 0);
    let listed = judged(&server, "407004").await;
    assert_eq!((listed.version, listed.rule_findings.len()), (0, verdict.rule_findings.len()));

    // A cell that can't be read and a sum that is wrong are told at once.
    let mut both = slip.clone();
    let table = both.tables.iter_mut().find(|table| table.header.id == "T06").unwrap();
    table.rows[0].1[2] = "1,0".into();
    let verdict = client.submit(&both, &form).await.unwrap().verdict.unwrap();
    assert_eq!(verdict.findings.len(), 1);
    assert!(failed(&verdict).iter().map(place).any(|place| place == "V-01 T03/20805/total"));

    let right = client.submit(&example("fenyang-2024/submissions/407004.json"), &form).await.unwrap();
    assert_eq!(right.version, 1);
    assert_eq!(server.client(DEPARTMENT).await.view("407", &[], false).await.unwrap().filings, 1);
    server.stop().await;
}

// ── explaining ───────────────────────────────────────────────────────────────────────────

/// The example's words, by rule and place.
fn words() -> BTreeMap<String, String> {
    let path = project("examples/fenyang-2024/justifications/407002.csv");
    let mut reader = csv::Reader::from_path(path).unwrap();
    let line = |record: csv::StringRecord| {
        (format!("{} {}/{}/{}", &record[0], &record[1], &record[2], &record[3]), record[4].to_owned())
    };
    reader.records().map(|record| line(record.unwrap())).collect()
}

fn justify(judged: &JudgedSubmission, items: &[(&RuleFinding, &str)]) -> api::JustifyRequest {
    let item = |(finding, text): &(&RuleFinding, &str)| api::JustifyItem {
        fingerprint: finding.fingerprint.clone(),
        text: (*text).to_owned(),
    };
    api::JustifyRequest {
        idempotency_key: new_key(),
        slot: judged.slot.clone(),
        position: judged.position,
        items: items.iter().map(item).collect(),
    }
}

/// Says the example's words about all that the seed has to explain.
async fn justify_the_seed(server: &TestServer) -> api::JustifyResponse {
    let words = words();
    let judged = judged(server, "407002").await;
    let logic = i32::from(api::Strength::Logic);
    let fail = i32::from(api::RuleVerdict::Fail);
    let found = found(&judged.rule_findings);
    let open = found.iter().filter(|found| (found.strength, found.verdict) == (logic, fail));
    let items: Vec<(&RuleFinding, &str)> = open.map(|found| (found, words[&place(found)].as_str())).collect();
    assert_eq!((items.len(), judged.unjustified as usize), (words.len(), words.len()));
    let client = server.client(&unit("407002")).await;
    client.submissions().justify(justify(&judged, &items)).await.unwrap().into_inner()
}

#[tokio::test]
async fn with_the_examples_words_nothing_of_the_seed_is_left_to_explain() {
    let server = TestServer::fenyang().await;
    let form = form("shanxi-2024");
    let client = server.client(&unit("407002")).await;
    let first = client.submit(&example(SEED), &form).await.unwrap();
    let said = justify_the_seed(&server).await;
    assert_eq!(said.position, first.position + 1);
    let after = judged(&server, "407002").await;
    assert_eq!(after.unjustified, 0);
    let found_after = found(&after.rule_findings);
    let one = found_after.iter().find(|found| found.rule == "N-11").unwrap();
    let justification = one.justification.as_ref().unwrap();
    assert_eq!(justification.text, words()["N-11 ASSET/-/equipment_year"]);
    assert_eq!((justification.actor.as_str(), justification.position), ("budget://407002/unit", said.position));
    // Before it was said, it was not.
    let before = api::ListFindingsRequest { position: first.position, ..request("407002") };
    let before = findings(&server.client(AUDITOR).await, before).await.pop().unwrap();
    assert_eq!(before.unjustified as usize, words().len());
    assert!(found(&before.rule_findings).iter().all(|found| found.justification.is_none()));
    server.stop().await;
}

#[tokio::test]
async fn words_stay_with_their_figures_and_go_when_one_of_them_changes() {
    let server = TestServer::fenyang().await;
    let form = form("shanxi-2024");
    let client = server.client(&unit("407002")).await;
    let first = client.submit(&example(SEED), &form).await.unwrap();
    assert_eq!(first.verdict.unwrap().justified, 0);
    justify_the_seed(&server).await;
    // A figure that no explained finding rests on.
    let other = changed(SEED, "ASSET", "-", "floor_area", "5");
    let again = client.submit(&other, &form).await.unwrap().verdict.unwrap();
    assert_eq!((again.justified, client.dry_run(&other, &form).await.unwrap().verdict.unwrap().justified), (56, 56));
    let unjustified = |judged: &JudgedSubmission| -> Vec<String> {
        let (logic, fail) = (i32::from(api::Strength::Logic), i32::from(api::RuleVerdict::Fail));
        let found = found(&judged.rule_findings);
        let open = found.iter().filter(|found| (found.strength, found.verdict) == (logic, fail));
        open.filter(|found| found.justification.is_none()).map(place).collect()
    };
    let of_other = judged(&server, "407002").await;
    assert_eq!((unjustified(&of_other), of_other.version), (Vec::new(), 2));
    // The year of one: exactly that has to be explained again, and that the notes now say another.
    let of_year = client.submit(&changed(SEED, "ASSET", "-", "equipment_year", "2014"), &form).await.unwrap();
    assert_eq!(of_year.verdict.unwrap().justified, 55);
    let of_year = judged(&server, "407002").await;
    assert_eq!((unjustified(&of_year), of_year.unjustified), (vec!["N-11 ASSET/-/equipment_year".to_owned(); 2], 2));
    // The old figures bring the old words back.
    let back = client.submit(&example(SEED), &form).await.unwrap();
    let of_seed = judged(&server, "407002").await;
    assert_eq!((of_seed.unjustified, of_seed.version), (0, back.version));
    // A later word takes an earlier one's place.
    let of_year = |judged: &JudgedSubmission| {
        found(&judged.rule_findings).into_iter().find(|found| found.rule == "N-11").unwrap()
    };
    client.submissions().justify(justify(&of_seed, &[(&of_year(&of_seed), "另有说明")])).await.unwrap();
    let later = judged(&server, "407002").await;
    assert_eq!(of_year(&later).justification.as_ref().unwrap().text, "另有说明");
    server.stop().await;
}

#[tokio::test]
async fn what_is_said_of_a_refused_attempt_counts_for_the_version_that_is_taken() {
    let server = TestServer::fenyang().await;
    let form = form("shanxi-2024");
    let client = server.client(&unit("407002")).await;
    // 表三's total is wrong, so it is refused; what has to be explained can be explained all the same.
    let refused = client.submit(&changed(SEED, "T03", "合计", "total", "41670.00"), &form).await.unwrap();
    assert_eq!(refused.version, 0);
    justify_the_seed(&server).await;
    assert_eq!(client.submit(&example(SEED), &form).await.unwrap().version, 1);
    assert_eq!(judged(&server, "407002").await.unjustified, 0);
    server.stop().await;
}

#[tokio::test]
async fn what_can_not_be_an_explanation_is_refused_and_nothing_is_kept() {
    let server = TestServer::fenyang().await;
    let form = form("shanxi-2024");
    let client = server.client(&unit("407002")).await;
    let other = example("fenyang-2024/submissions/407001.json");
    let other = server.client(&unit("407001")).await.submit(&other, &form).await.unwrap();
    let first = client.submit(&example(SEED), &form).await.unwrap();
    let seed = judged(&server, "407002").await;
    let of = |rule: &str| found(&seed.rule_findings).into_iter().find(|found| found.rule == rule).unwrap();
    let (year, nameless) = (of("N-11"), of("V-01"));
    assert_eq!(nameless.verdict, i32::from(api::RuleVerdict::PassByRounding));
    assert!(nameless.fingerprint.is_empty(), "only failures have one");
    let reading = example(SEED).read_on(&form);
    let offline = evaluate(&form, &Books::of(&reading.submission), |_| true);
    let rounded = offline.findings.iter().find(|found| found.rule == "V-01").unwrap();
    let rounded = RuleFinding { fingerprint: form.rules.fingerprint(rounded).0.to_vec(), ..nameless.clone() };
    let unknown = RuleFinding { fingerprint: vec![7; 32], ..year.clone() };
    let short = RuleFinding { fingerprint: vec![7; 31], ..year.clone() };
    let long = "长".repeat(2_001);
    let ask = |items: &[(&RuleFinding, &str)]| justify(&seed, items);
    let at = |position| api::JustifyRequest { position, ..ask(&[(&year, "x")]) };
    let of_slot = |unit: &str, kind: api::Kind| {
        let slot = api::Slot { unit: unit.into(), kind: kind.into(), ..seed.slot.clone().unwrap() };
        api::JustifyRequest { slot: Some(slot), ..ask(&[(&year, "x")]) }
    };
    for (what, request, expected) in [
        ("a finding that isn't there", ask(&[(&unknown, "x")]), "UNKNOWN_FINDING"),
        ("what passes by rounding", ask(&[(&rounded, "x")]), "UNKNOWN_FINDING"),
        ("what has no fingerprint", ask(&[(&nameless, "x")]), "BAD_REQUEST"),
        ("a fingerprint that is none", ask(&[(&short, "x")]), "BAD_REQUEST"),
        ("nothing", ask(&[]), "BAD_JUSTIFICATION"),
        ("blanks", ask(&[(&year, " \n")]), "BAD_JUSTIFICATION"),
        ("too much", ask(&[(&year, &long)]), "BAD_JUSTIFICATION"),
        ("a bell", ask(&[(&year, "a\u{7}")]), "BAD_JUSTIFICATION"),
        ("one thing twice", ask(&[(&year, "a"), (&year, "b")]), "BAD_JUSTIFICATION"),
        ("no key", api::JustifyRequest { idempotency_key: String::new(), ..ask(&[(&year, "x")]) }, "BAD_REQUEST"),
        ("a position that isn't there", at(99), "UNKNOWN_SUBMISSION"),
        ("a position that is no filing", at(1), "UNKNOWN_SUBMISSION"),
        ("another's filing", at(other.position), "UNKNOWN_SUBMISSION"),
        ("another slot of its own", of_slot("407002", api::Kind::Difference), "UNKNOWN_SUBMISSION"),
        ("another's slot", of_slot("407001", api::Kind::Unit), "NOT_PERMITTED"),
    ] {
        let refusal = client.submissions().justify(request).await.unwrap_err();
        assert_eq!(reason(&refusal), expected, "{what}");
    }
    for actor in [unit("407001"), DEPARTMENT.to_owned(), BUREAU.to_owned(), AUDITOR.to_owned()] {
        let stranger = server.client(&actor).await;
        // Whatever there is or isn't: the same answer.
        for asked in [ask(&[(&year, "x")]), ask(&[(&unknown, "x")]), at(99)] {
            let refusal = stranger.submissions().justify(asked).await.unwrap_err();
            assert_eq!(reason(&refusal), "NOT_PERMITTED", "{actor}");
        }
    }
    assert_eq!(judged(&server, "407002").await, seed, "nothing was kept");

    // The longest there may be; asked again with its key; then the key for something else.
    let most = "长".repeat(2_000);
    let request = ask(&[(&year, &most)]);
    let said = client.submissions().justify(request.clone()).await.unwrap().into_inner();
    let again = client.submissions().justify(request.clone()).await.unwrap().into_inner();
    assert_eq!((again.position, again.repeated, said.repeated), (said.position, true, false));
    let other = api::JustifyRequest { items: ask(&[(&year, "y")]).items, ..request };
    assert_eq!(reason(&client.submissions().justify(other).await.unwrap_err()), "KEY_REUSED");
    // Filed again since.
    client.submit(&changed(SEED, "ASSET", "-", "equipment_year", "2014"), &form).await.unwrap();
    let refusal = client.submissions().justify(at(first.position)).await.unwrap_err();
    assert_eq!(reason(&refusal), "FINDINGS_OUTDATED");
    server.stop().await;
}

// ── rules that change, filings that others are held against ──────────────────────────────

fn with_rule(mut files: FormFiles, text: &str) -> FormFiles {
    let rules = String::from_utf8(files["rules.toml"].clone()).unwrap();
    files.insert("rules.toml".into(), (rules + text).into_bytes());
    files
}

async fn publish(server: &TestServer, files: FormFiles) -> FormSet {
    let file = |(name, content): (&String, &Vec<u8>)| api::FormFile { name: name.clone(), content: content.clone() };
    let request = api::PublishFormSetRequest { idempotency_key: new_key(), files: files.iter().map(file).collect() };
    server.client(ADMINISTRATOR).await.registry().publish_form_set(request).await.unwrap();
    FormSet::load(files).unwrap()
}

#[tokio::test]
async fn a_rule_added_to_a_published_copy_judges_the_next_filing_and_no_earlier_one() {
    let server = TestServer::fenyang().await;
    let old = form("shanxi-2024");
    let client = server.client(&unit("407002")).await;
    let sent = parts(&example(SEED), &old, "once");
    let first = client.submit_parts(sent.clone()).await.unwrap();
    let before = judged(&server, "407002").await;
    let added = "\n[X-01]\ntitle = \"t\"\ntitle_en = \"t\"\nreason = \"r\"\nreason_en = \"r\"\nstrength = \"balance\"\n\
                 check = '表三[合计].项目支出 = 0'\ntodo = \"d\"\ntodo_en = \"d\"\n";
    let new = publish(&server, with_rule(form_files("shanxi-2024"), added)).await;
    assert_ne!(new.digest, old.digest);
    // What was found stays what it was, by the version that found it.
    assert_eq!(judged(&server, "407002").await, before);
    assert_eq!(before.form_set_digest, old.digest.0);
    // Who asks again with the same key and the same filing gets the first answer, of the version that judged it.
    let again = client.submit_parts(sent).await.unwrap();
    assert_eq!((again.repeated, again.position, again.version), (true, first.position, 1));
    // The next filing is judged by the new one, and refused by it.
    let second = client.submit(&example(SEED), &new).await.unwrap();
    let verdict = second.verdict.unwrap();
    assert_eq!((second.version, verdict.form_set_digest.as_slice()), (0, &new.digest.0[..]));
    assert!(failed(&verdict).iter().any(|found| found.rule == "X-01"));
    let [counting, refused] = findings(&server.client(AUDITOR).await, request("407002")).await.try_into().unwrap();
    assert_eq!((counting, refused.position, refused.version), (before, second.position, 0));
    assert_eq!(refused.rule_findings.len(), verdict.rule_findings.len());
    assert!(first.version == 1 && refused.form_set_digest == new.digest.0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_departments_budget_is_held_against_what_its_units_have_filed() {
    let server = TestServer::start().await;
    server.furnish("linjiang-2024", "linjiang-2024", 2024).await;
    let form = form("linjiang-2024");
    let own = "linjiang-2024/submissions/508.json";
    let department = server.client("budget://508/department").await;
    let of_s14 = |verdict: &api::Verdict, kind: api::RuleVerdict| -> Vec<RuleFinding> {
        let found = found(&verdict.rule_findings).into_iter();
        found.filter(|found| found.rule == "S-14" && found.verdict == i32::from(kind)).collect()
    };
    let alone = department.dry_run(&example(own), &form).await.unwrap().verdict.unwrap();
    let causes: Vec<String> =
        of_s14(&alone, api::RuleVerdict::NotEvaluable).iter().map(|found| found.cause.clone().unwrap().code).collect();
    assert_eq!(causes, ["no_units"], "once for all tables");
    for code in ["508001", "508002", "508002001"] {
        let file = example(&format!("linjiang-2024/submissions/{code}.json"));
        assert_eq!(server.client(&unit(code)).await.submit(&file, &form).await.unwrap().version, 1);
    }
    // A unit that files for itself and has others below it: its subtotal in a trace is of both.
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_consolidator"));
    let told = command.args(["--lang", "en", "--server", &server.address, "--as", "0/auditor"]);
    let told = told.args(["trace", "508", "B1/total/budget"]).env_remove("BUDGET_AS").output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    let subtotal = told.lines().find(|line| line.contains("subtotal") && line.contains("508002 ")).unwrap();
    assert!(subtotal.trim_end().ends_with("4,244,858.37"), "{told}");

    let beside = department.dry_run(&example(own), &form).await.unwrap().verdict.unwrap();
    assert_eq!(of_s14(&beside, api::RuleVerdict::NotEvaluable), []);
    assert_eq!(of_s14(&beside, api::RuleVerdict::Fail), []);

    // Less than its units have together.
    let mut less = example(own);
    let table = less.tables.iter_mut().find(|table| table.header.id == "B2").unwrap();
    let basic = table.header.columns.iter().position(|id| id == "basic").unwrap();
    table.rows[0].1[basic] = "1.00".into();
    let answer = department.submit(&less, &form).await.unwrap();
    let verdict = answer.verdict.unwrap();
    assert_eq!(answer.version, 0);
    let [found] = of_s14(&verdict, api::RuleVerdict::Fail).try_into().unwrap();
    let sources: Vec<&str> = found.cells.iter().map(|cell| cell.source.as_str()).collect();
    assert_eq!(sources, ["", "508001", "508002", "508002001"]);
    // The units file anew: what was found then is still what was found then.
    let before = judged(&server, "508").await;
    let again = example("linjiang-2024/submissions/508001.json");
    server.client(&unit("508001")).await.submit(&again, &form).await.unwrap();
    let position = findings(&server.client(AUDITOR).await, request("508")).await;
    let after = position.into_iter().find(|judged| judged.slot == before.slot).unwrap();
    assert_eq!(after, before);
    server.stop().await;
}

/// `shanxi-2024` for the year before.
fn year_before() -> FormFiles {
    let mut files = form_files("shanxi-2024");
    let text = String::from_utf8(files["forms.toml"].clone()).unwrap();
    let text =
        text.replacen("id = \"shanxi-2024\"", "id = \"shanxi-2023\"", 1).replacen("year = 2024", "year = 2023", 1);
    files.insert("forms.toml".into(), text.into_bytes());
    files
}

/// The seed, filed the year before.
fn of_2023() -> SubmissionFile {
    let mut file = example(SEED);
    (file.form_set, file.slot.year) = ("shanxi-2023".into(), 2023);
    file
}

#[tokio::test]
async fn the_year_before_is_compared_if_it_was_filed() {
    let server = TestServer::fenyang().await;
    let form = form("shanxi-2024");
    let client = server.client(&unit("407002")).await;
    let of_c07 = |verdict: &api::Verdict| found(&verdict.rule_findings).into_iter().find(|found| found.rule == "C-07");
    let without = of_c07(&client.dry_run(&example(SEED), &form).await.unwrap().verdict.unwrap()).unwrap();
    assert_eq!(without.cause.unwrap().code, "no_last_year");

    let old = publish(&server, year_before()).await;
    server.client(ADMINISTRATOR).await.import_units("fenyang-2024/units.csv", 2023).await.unwrap();
    let prepared = {
        let file = example(SEED);
        let in_force = server.consolidator.snapshot().state.form_set("shanxi-2024").unwrap().clone();
        server.consolidator.prepare(file.place_on(&in_force), None, &in_force, (None, None)).await.unwrap()
    };
    let filed = client.submit(&of_2023(), &old).await.unwrap();
    assert_eq!(filed.version, 1);

    // It was prepared when there was no year before; it is decided when there is.
    let actor = Actor::parse(&unit("407002")).unwrap();
    let done = server.consolidator.submit(actor, "prepared".into(), prepared).await.unwrap();
    let Event::Submitted(submitted) = &done.envelope.event else { panic!("refused") };
    assert_eq!(submitted.attempt.verdicts.grounds.last, Some(filed.position));
    let checked = done.checked.as_ref().unwrap();
    assert!(submitted.attempt.verdicts.are_of(checked));
    assert_eq!(checked.findings.iter().find(|found| found.rule == "C-07").unwrap().cause, None, "judged again");

    let with = of_c07(&client.submit(&example(SEED), &form).await.unwrap().verdict.unwrap()).unwrap();
    assert_eq!(with.cause, None);
    let last: Vec<_> = with.cells.iter().filter(|cell| cell.source == "last").collect();
    assert_eq!(last[0].cell, "T01B/total/total");
    // The seed's own total of the year, for it was filed twice.
    assert_eq!(last[0].value.as_ref().unwrap().value, "41670.92");
    server.stop().await;
}

#[tokio::test]
async fn what_asks_for_a_deadline_is_not_judged_before_rounds_have_one() {
    let server = TestServer::fenyang().await;
    let verdict = server.client(&unit("407002")).await.submit(&example(SEED), &form("shanxi-2024")).await.unwrap();
    let verdict = verdict.verdict.unwrap();
    let found: Vec<_> = found(&verdict.rule_findings).into_iter().filter(|found| found.rule == "P-14").collect();
    assert_eq!(found.len(), 1, "said once");
    assert_eq!(found[0].cause.as_ref().unwrap().code, "not_given");
    server.stop().await;
}

// ── asking ───────────────────────────────────────────────────────────────────────────────

#[tokio::test]
async fn findings_are_asked_for_by_node_rule_strength_and_verdict_page_by_page() {
    let server = TestServer::start().await;
    crate::replay::file_the_example(&server).await;
    let department = server.client(DEPARTMENT).await;
    let all = findings(&department, request("407")).await;
    let slots: Vec<(&str, u32)> =
        all.iter().map(|judged| (judged.slot.as_ref().unwrap().unit.as_str(), judged.version)).collect();
    assert_eq!(slots, [("407001", 2), ("407002", 1), ("407003", 1), ("407004", 1)]);
    let mut paged = Vec::new();
    let mut ask = api::ListFindingsRequest { page_size: 1, ..request("407") };
    loop {
        let page = department.audit().list_findings(ask.clone()).await.unwrap().into_inner();
        assert_eq!(page.submissions.len(), 1);
        paged.extend(page.submissions);
        if page.next_page_token.is_empty() {
            break;
        }
        ask.page_token = page.next_page_token;
    }
    assert_eq!(paged, all);

    let seed = &all[1];
    let only = |of: &dyn Fn(&RuleFinding) -> bool| -> Vec<RuleFinding> {
        found(&seed.rule_findings).into_iter().filter(|found| of(found)).collect()
    };
    let logic = i32::from(api::Strength::Logic);
    let fail = i32::from(api::RuleVerdict::Fail);
    for (ask, expected) in [
        (api::ListFindingsRequest { rule: "N-09".into(), ..request("407") }, only(&|found| found.rule == "N-09")),
        (
            api::ListFindingsRequest { strength: logic, verdicts: vec![fail], ..request("407") },
            only(&|found| (found.strength, found.verdict) == (logic, fail)),
        ),
    ] {
        let judged = findings(&department, ask).await;
        let found: Vec<RuleFinding> = judged.iter().flat_map(|judged| found(&judged.rule_findings)).collect();
        assert!(!expected.is_empty());
        assert_eq!(found, expected);
    }
    // A ceiling is a reason too; 407004's first attempt was over it, and is asked for as it was then.
    let over = api::ListFindingsRequest { rule: "OVER_CEILING".into(), position: 8, ..request("407") };
    let [over] = findings(&department, over).await.try_into().unwrap();
    assert_eq!((over.version, over.findings.len(), over.slot.unwrap().unit.as_str()), (0, 1, "407004"));

    let refused = |client: Client, ask: api::ListFindingsRequest| async move {
        reason(&client.audit().list_findings(ask).await.unwrap_err())
    };
    let stranger = server.client(&unit("407001")).await;
    assert_eq!(refused(stranger.clone(), request("407002")).await, "NOT_PERMITTED");
    assert_eq!(refused(stranger, request("407")).await, "NOT_PERMITTED");
    let beyond = api::ListFindingsRequest { position: 1_000, ..request("407") };
    assert_eq!(refused(department.clone(), beyond).await, "UNKNOWN_POSITION");
    let made_up = [("x", "BAD_REQUEST"), ("1", "BAD_REQUEST"), ("9999.1", "UNKNOWN_POSITION"), ("5.0", "BAD_REQUEST")];
    for (token, why) in made_up {
        let ask = api::ListFindingsRequest { page_token: token.into(), ..request("407") };
        assert_eq!(refused(department.clone(), ask).await, why, "{token}");
    }
    let strength = api::ListFindingsRequest { strength: 9, ..request("407") };
    assert_eq!(refused(department.clone(), strength).await, "BAD_REQUEST");
    // A mistyped rule is no rule that nothing was found by.
    for (rule, known) in [("N11", false), ("N-11", true), ("n-11", true), ("P-11", true), ("DUPLICATE_ROW", true)] {
        let ask = api::ListFindingsRequest { rule: rule.into(), ..request("407") };
        match department.audit().list_findings(ask).await {
            Ok(answer) => {
                let answer = answer.into_inner();
                assert_eq!((answer.year, answer.round, known), (2024, api::Round::Second.into(), true), "{rule}");
            }
            Err(refused) => assert_eq!((reason(&refused).as_str(), known), ("UNKNOWN_RULE", false), "{rule}"),
        }
    }
    server.stop().await;
}

// ── recomputing ──────────────────────────────────────────────────────────────────────────

/// A copy of a journal with the verdicts of every filing changed.
fn with_verdicts(journal: &MemoryJournal, change: impl Fn(&mut storage::Verdicts)) -> MemoryJournal {
    let copy = MemoryJournal::new();
    for record in journal.scan(1) {
        let (position, bytes) = record.unwrap();
        let mut envelope = storage::Envelope::decode(bytes.as_slice()).unwrap();
        if let Some(storage::envelope::Event::Submitted(submitted)) = &mut envelope.event {
            change(submitted.attempt.as_mut().unwrap().verdicts.as_mut().unwrap());
        }
        copy.append(position - 1, &[envelope.encode_to_vec()]).unwrap();
    }
    copy
}

#[tokio::test]
async fn a_verdict_that_was_altered_in_the_journal_is_noticed() {
    let journal = Arc::new(MemoryJournal::new());
    let server = TestServer::on(journal.clone()).await;
    crate::replay::file_the_example(&server).await;
    server.stop().await;
    let look = |journal: &MemoryJournal| {
        let verified = verify(journal, &|_| {}).unwrap();
        assert_eq!((verified.unreadable.count, verified.digests.count), (0, 0));
        (verified.submissions, verified.verdicts.count)
    };
    // Five were taken and one refused; of all the cells are there.
    assert_eq!(look(&journal), (6, 0));
    assert_eq!(look(&with_verdicts(&journal, |_| {})), (6, 0));
    assert_eq!(look(&with_verdicts(&journal, |verdicts| verdicts.pass += 1)), (6, 5));
    let one_less = |verdicts: &mut storage::Verdicts| {
        let bytes = zstd::decode_all(verdicts.list_zstd.as_slice()).unwrap();
        let mut list = storage::VerdictList::decode(bytes.as_slice()).unwrap();
        list.verdicts[0] = 4 - list.verdicts[0];
        verdicts.list_zstd = zstd::bulk::compress(&list.encode_to_vec(), 1).unwrap();
    };
    let altered = with_verdicts(&journal, one_less);
    assert!(look(&altered).1 >= 1);
    // The verdicts are still those that fell, as the journal has them.
    let server = TestServer::on(Arc::new(altered)).await;
    let first = found(&judged(&server, "407002").await.rule_findings).remove(0);
    assert_eq!((first.verdict, first.left), (i32::from(api::RuleVerdict::NotEvaluable), None), "without figures");
    server.stop().await;
}
