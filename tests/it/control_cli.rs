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
    let said = desk.give("407/department", "split", &desk.file("bad.csv", &bad.concat()), &["--reason", "重分"]).await;
    let lines: Vec<u64> =
        said.json()["faults"].as_array().unwrap().iter().map(|f| f["line"].as_u64().unwrap()).collect();
    assert_eq!((said.code, lines), (1, vec![3, 4, 6]), "{}", said.text);
    assert_eq!(list(&server).await, before);
    server.stop().await;
}
