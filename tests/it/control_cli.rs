//! `control` as the real binary: two lists of the example on two levels, and a file with bad lines.

use std::path::{Path, PathBuf};
use std::process::Command;

use budget_consolidator::proto::api;
use serde_json::Value;

use crate::support::*;

struct Desk {
    address: String,
    folder: tempfile::TempDir,
}

struct Said {
    code: i32,
    text: String,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

impl Desk {
    /// Runs `control` in a process of its own.
    async fn control(&self, actor: &str, format: &str, arguments: &[&str]) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_consolidator"));
        command.args(["--server", &self.address, "--as", actor, "--format", format, "--lang", "zh", "control"]);
        command.args(arguments);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let text = [output.stdout, output.stderr].concat();
        Said { code: output.status.code().unwrap(), text: String::from_utf8(text).unwrap() }
    }

    async fn give(&self, actor: &str, verb: &str, file: &Path, more: &[&str]) -> Said {
        let fixed = [verb, file.to_str().unwrap(), "--year", "2024", "--form-set", "shanxi-2024"];
        self.control(actor, "json", &[&fixed[..], more].concat()).await
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

const HEADER: &str = "node,table,row,column,amount_unit,ceiling,strength\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_is_issued_and_split_and_bad_files_change_nothing() {
    let server = TestServer::start().await;
    server.client(ADMINISTRATOR).await.import_units("fenyang-2024/units.csv", 2024).await.unwrap();
    let desk = Desk { address: server.address.clone(), folder: tempfile::tempdir().unwrap() };
    let example = |name: &str| {
        let text = std::fs::read_to_string(project("examples/fenyang-2024").join(name)).unwrap();
        desk.file(name, &text)
    };
    let (issue, split) = (example("control-issue.csv"), example("control-split.csv"));
    let early = desk.give("407/department", "split", &split, &[]).await;
    assert_eq!(early.code, 1, "nothing was issued yet: {}", early.text);
    assert_eq!(early.json()["faults"][0]["reason"], "CONTROL_INVALID");
    let issued = desk.give("0/bureau", "issue", &issue, &[]).await;
    assert_eq!((issued.code, issued.json()["figures"].as_u64()), (0, Some(10)), "{}", issued.text);
    let done = desk.give("407/department", "split", &split, &[]).await;
    assert_eq!((done.code, done.json()["changed"].as_u64()), (0, Some(36)), "{}", done.text);
    let again = ["split", split.to_str().unwrap(), "再分", "--year", "2024", "--form-set", "shanxi-2024"];
    let again = desk.control("407/department", "table", &again).await;
    assert!(again.code == 0 && again.text.contains("没有一项改动"), "{}", again.text);
    for (line, words) in [
        ("407004,T03,合计,project,万元,99999999999999999999,hard\n", "这个数太大"),
        ("407004,T03,合计,project,万元,5,lifted\n", "这一栏留空"),
    ] {
        let file = desk.file("wrong.csv", &[HEADER, line].concat());
        let said = desk.give("407/department", "split", &file, &["重分"]).await;
        assert!(said.code == 1 && said.text.contains(words), "{}", said.text);
    }

    // Both lists together are the one list of the example.
    let whole = TestServer::fenyang().await;
    let list = async |server: &TestServer| {
        let request = api::ListControlFiguresRequest { node: "407".into(), ..Default::default() };
        let answer = server.client(BUREAU).await.control().list_control_figures(request).await.unwrap().into_inner();
        let plain = |mut listed: api::ListedControlFigure| {
            listed.by.clear();
            listed
        };
        answer.figures.into_iter().map(plain).collect::<Vec<_>>()
    };
    assert_eq!(list(&server).await, list(&whole).await);
    whole.stop().await;

    let before = list(&server).await;
    let bad = [
        HEADER,
        "407004,T03,合计,project,万元,39.60,hard\n",
        "407999,T03,合计,total,万元,1.00,hard\n",
        "407004,T03,合计,basic,万元,\"1,233.40\",hard\n",
        "\n",
        "407004,T03,合计,total,万元,-1.00,hard\n",
    ];
    let said = desk.give("407/department", "split", &desk.file("bad.csv", &bad.concat()), &["重分"]).await;
    let lines: Vec<u64> =
        said.json()["faults"].as_array().unwrap().iter().map(|f| f["line"].as_u64().unwrap()).collect();
    assert_eq!((said.code, lines), (1, vec![3, 4, 6]), "{}", said.text);
    assert_eq!(list(&server).await, before);
    // Lines of another width are all named too, before anything is asked.
    let odd = [HEADER, "407004,T03,合计\n", "407004,T03,合计,project,万元,39.60,hard\n", "407004,,,,,,,,\n"].concat();
    let said = desk.give("407/department", "split", &desk.file("odd.csv", &odd), &["重分"]).await;
    assert_eq!(said.code, 2, "{}", said.text);
    assert!(said.text.contains("第 2 行有 3 栏") && said.text.contains("第 4 行有 9 栏"), "{}", said.text);
    assert_eq!(list(&server).await, before);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_force_what_changed_it_and_what_is_left_are_shown_in_every_form() {
    let server = TestServer::fenyang().await;
    let desk = Desk { address: server.address.clone(), folder: tempfile::tempdir().unwrap() };
    let raised = [HEADER, "407004,T03,合计,project,万元,40.00,hard\n"].concat();
    let done = desk.give("0/bureau", "issue", &desk.file("raise.csv", &raised), &["追加设备"]).await;
    assert_eq!((done.code, done.json()["changed"].as_u64()), (0, Some(1)), "{}", done.text);
    let ask = async |format: &str, arguments: &[&str]| {
        let said = desk.control("407/department", format, arguments).await;
        assert_eq!(said.code, 0, "{arguments:?} {}", said.text);
        said
    };
    let project = "T03/合计/project";

    let listed = ask("json", &["list", "407004"]).await.json();
    let figure = |listed: &Value| {
        let figures = listed["figures"].as_array().unwrap().clone();
        figures.into_iter().find(|figure| figure["judgement"]["cell"] == project).unwrap()["judgement"].clone()
    };
    assert_eq!(figure(&listed)["ceiling"], "40.00", "{listed}");
    assert!(ask("table", &["list", "407004"]).await.text.contains("40.00"));
    assert!(ask("csv", &["list", "407004"]).await.text.contains(project));
    // As it was before.
    let before = ask("json", &["list", "407004", "--as-of", "4"]).await.json();
    assert_eq!(figure(&before)["ceiling"], "39.60", "{before}");

    let track = ask("json", &["history", "407004", "--cell", project]).await.json();
    let revisions = track["revisions"].as_array().unwrap();
    let last = revisions.last().unwrap();
    assert_eq!((revisions.len(), last["reason"].as_str()), (2, Some("追加设备")), "{track}");
    assert_eq!(
        (&last["changes"][0]["before"]["ceiling"], &last["changes"][0]["after"]["ceiling"]),
        (&"39.60".into(), &"40.00".into())
    );
    let told = ask("table", &["history", "407004", "--cell", project]).await.text;
    assert!(told.contains("追加设备") && told.contains("39.60") && told.contains("0/bureau"), "{told}");

    let left = ask("json", &["headroom", "407004"]).await.json();
    let line = left["lines"].as_array().unwrap().iter().find(|line| line["cell"] == project).unwrap().clone();
    assert_eq!((line["filed"].as_str(), line["left"].as_str()), (Some("0.00"), Some("40.00")), "{left}");
    let told = ask("table", &["headroom", "407"]).await.text;
    assert!(told.contains("41,650.00") && told.contains(project), "{told}");
    assert!(ask("csv", &["headroom"]).await.text.contains("41650.00"));
    server.stop().await;
}
