//! Keys and versions: the same again, something else under the same key, and several at once.

use std::sync::Arc;

use budget_consolidator::budget::form_set::FormSet;
use budget_consolidator::proto::api;
use budget_consolidator::store::{SledJournal, SledOptions};
use budget_consolidator::submission_file::{FileTable, SubmissionFile};
use tempfile::TempDir;
use tonic::{Code, Status};

use super::{Scene, assert_refused, head, set, table_at};
use crate::support::*;
use api::submit_request::Part;

async fn file_with_key(
    client: &Client,
    file: &SubmissionFile,
    form: &FormSet,
    key: &str,
) -> Result<api::SubmitResponse, Status> {
    client.submit_parts(parts(file, form, key)).await
}

/// The answer as it was given first.
fn first(answer: api::SubmitResponse) -> api::SubmitResponse {
    api::SubmitResponse { repeated: false, ..answer }
}

#[tokio::test]
async fn the_same_key_with_the_same_content_is_answered_the_same_again() {
    let scene = Scene::fenyang().await;
    let client = scene.client().await;
    let mut refused = scene.file();
    set(&mut refused, "T03/合计/total", "1e3");
    for (key, file) in [("taken", scene.file()), ("refused", refused)] {
        let before = head(&scene.server.client(BUREAU).await).await;
        let answer = file_with_key(&client, &file, &scene.form, key).await.unwrap();
        assert_eq!((answer.position, answer.repeated), (before + 1, false), "{key}");
        let again = scene.nothing_changes(key, file_with_key(&client, &file, &scene.form, key)).await.unwrap();
        assert!(again.repeated, "{key}");
        assert_eq!(first(again), answer, "{key}");
    }
    scene.stop().await;
}

#[tokio::test]
async fn the_same_key_is_answered_the_same_after_a_restart() {
    let directory = TempDir::new().unwrap();
    let open = || Arc::new(SledJournal::open(directory.path(), SledOptions::default()).unwrap());
    let server = TestServer::on(open()).await;
    server.furnish("fenyang-2024", "shanxi-2024", 2024).await;
    let form = form("shanxi-2024");
    let (taken, refused) =
        (example("fenyang-2024/submissions/407004.json"), example("fenyang-2024/submissions/407004-over.json"));
    let client = server.client(&unit("407004")).await;
    let no = file_with_key(&client, &refused, &form, "no").await.unwrap();
    let yes = file_with_key(&client, &taken, &form, "yes").await.unwrap();
    assert_eq!((no.version, yes.version), (0, 1));
    server.stop().await;

    let server = TestServer::on(open()).await;
    let client = server.client(&unit("407004")).await;
    for (key, file, answer) in [("no", &refused, no), ("yes", &taken, yes)] {
        let again = file_with_key(&client, file, &form, key).await.unwrap();
        assert!(again.repeated, "{key}");
        assert_eq!(first(again), answer, "{key}");
    }
    let other = file_with_key(&client, &taken, &form, "no").await;
    assert_refused("other content", other, Code::Aborted, "KEY_REUSED", &["no"]);
    server.stop().await;
}

#[tokio::test]
async fn the_same_key_with_other_content_is_refused_with_the_first_ones_position() {
    let scene = Scene::fenyang().await;
    let client = scene.client().await;
    type Spoil = (&'static str, fn(&mut SubmissionFile));
    let spoils: [Spoil; 6] = [
        ("one figure", |file| set(file, "T03/合计/project", "39.50")),
        ("blank for nothing", |file| set(file, "T01A/fund/amount", "0")),
        ("one table less", |file| drop(file.tables.pop())),
        ("a figure that can't be read", |file| set(file, "T03/合计/total", "1e3")),
        ("a row that has no place", |file| {
            let at = table_at(file, "T03");
            file.tables[at].rows.push(("20801".into(), Vec::new()));
        }),
        ("a table that has no place", |file| {
            let mut table: FileTable = file.tables[0].clone();
            table.header.id = "T99".into();
            file.tables.push(table);
        }),
    ];
    for (what, spoil) in spoils {
        let (good, mut other) = (scene.file(), scene.file());
        spoil(&mut other);
        // Whichever came first, the other one is other content.
        for (round, [a, b]) in [[&good, &other], [&other, &good]].into_iter().enumerate() {
            let key = format!("{what} {round}").replace(' ', "-");
            let answer = file_with_key(&client, a, &scene.form, &key).await.unwrap();
            let again = scene.nothing_changes(what, file_with_key(&client, b, &scene.form, &key)).await;
            let position = answer.position.to_string();
            assert_refused(&key, again, Code::Aborted, "KEY_REUSED", &[&key, &position]);
        }
    }
    scene.stop().await;
}

#[tokio::test]
async fn the_same_key_sent_many_times_at_once_is_one_event() {
    let scene = Scene::fenyang().await;
    let before = head(&scene.server.client(BUREAU).await).await;
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let (client, file) = (scene.client().await, parts(&scene.file(), &scene.form, "all-at-once"));
        tasks.push(tokio::spawn(async move { client.submit_parts(file).await.unwrap() }));
    }
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    assert_eq!(answers.iter().filter(|answer| !answer.repeated).count(), 1);
    assert!(answers.iter().all(|answer| (answer.version, answer.position) == (2, before + 1)));
    assert_eq!(head(&scene.server.client(BUREAU).await).await, before + 1);
    scene.stop().await;
}

#[tokio::test]
async fn a_key_belongs_to_who_sent_it_and_to_what_it_was_sent_for() {
    let scene = Scene::fenyang().await;
    let file = example("fenyang-2024/submissions/407002.json");
    for (code, file) in [("407004", scene.file()), ("407002", file)] {
        let client = scene.server.client(&unit(code)).await;
        let answer = file_with_key(&client, &file, &scene.form, "shared").await.unwrap();
        assert!(!answer.repeated, "{code}");
    }
    scene.stop().await;
}

fn meant_as(mut parts: Vec<Part>, version: u32) -> Vec<Part> {
    let Part::Header(header) = &mut parts[0] else { panic!("no header in front") };
    header.version = Some(version);
    parts
}

#[tokio::test]
async fn two_filings_meant_as_the_same_version_are_one_and_a_conflict() {
    for _ in 0..5 {
        let server = TestServer::fenyang().await;
        let form = form("shanxi-2024");
        let file = example("fenyang-2024/submissions/407004.json");
        let client = server.client(&unit("407004")).await;
        let before = head(&server.client(BUREAU).await).await;
        let one = client.submit_parts(meant_as(parts(&file, &form, &new_key()), 1));
        let two = client.submit_parts(meant_as(parts(&file, &form, &new_key()), 1));
        let (one, two) = tokio::join!(one, two);
        let (taken, conflict) = if one.is_ok() { (one, two) } else { (two, one) };
        assert_eq!(taken.unwrap().version, 1);
        assert_refused("second", conflict, Code::Aborted, "VERSION_CONFLICT", &["1", "2"]);
        assert_eq!(head(&server.client(BUREAU).await).await, before + 1);
        server.stop().await;
    }
}

#[tokio::test]
async fn a_version_that_is_not_the_next_one_is_a_conflict_and_leaves_no_trace() {
    let scene = Scene::fenyang().await;
    for version in [0, 1, 3, u32::MAX] {
        let client = scene.client().await;
        let attempt = client.submit_parts(meant_as(scene.parts(), version));
        let answer = scene.nothing_changes("version", attempt).await;
        assert_refused("version", answer, Code::Aborted, "VERSION_CONFLICT", &[&version.to_string(), "2"]);
    }
    scene.stop().await;
}
