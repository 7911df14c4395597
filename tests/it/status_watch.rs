//! `status --watch` as the real binary, through the loss of its server.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::*;

/// Longer than anything here takes; it only ends a test that would hang.
const NEVER: Duration = Duration::from_secs(30);

/// A process whose lines are read as they come.
struct Process {
    child: Child,
    lines: Receiver<String>,
}

fn lines_of(from: impl Read + Send + 'static, to: std::sync::mpsc::Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let _ = to.send(line);
        }
    });
}

impl Process {
    fn start(arguments: &[&str]) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_consolidator"));
        let mut child = command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (to, lines) = channel();
        lines_of(child.stdout.take().unwrap(), to.clone());
        lines_of(child.stderr.take().unwrap(), to);
        Process { child, lines }
    }

    fn serve(data: &Path, listen: &str) -> (Process, String) {
        let server =
            Process::start(&["serve", "--insecure-loopback", "--listen", listen, "--data", data.to_str().unwrap()]);
        let address = server.line_with("http://");
        (server, address)
    }

    /// The next line that says that; what comes before is passed over.
    fn line_with(&self, text: &str) -> String {
        self.lines_until(text).pop().unwrap()
    }

    /// All lines up to one that says that.
    fn lines_until(&self, text: &str) -> Vec<String> {
        let deadline = Instant::now() + NEVER;
        let mut seen = Vec::new();
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => seen.push(line),
                Err(error) => panic!("{error}: no line says {text:?}: {seen:#?}"),
            }
            if seen.last().unwrap().contains(text) {
                return seen;
            }
        }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ctrl-C; the exit code.
    fn interrupt(mut self) -> Option<i32> {
        let sent = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn file(address: &str, code: &str) {
    let file = example(&format!("fenyang-2024/submissions/{code}.json"));
    let answer = Client::connect(address, &unit(code)).await.submit(&file, &form("shanxi-2024")).await.unwrap();
    assert_eq!(answer.version, 1);
}

#[tokio::test]
async fn a_watch_survives_its_server_and_ends_with_ctrl_c() {
    let folder = tempfile::tempdir().unwrap();
    let (server, address) = Process::serve(folder.path(), "127.0.0.1:0");
    let administrator = Client::connect(&address, ADMINISTRATOR).await;
    administrator.import_units("fenyang-2024/units.csv", 2024).await.unwrap();
    let common = ["--server", &address, "--as", "407/department", "--lang", "zh", "status", "407", "--watch"];
    let people = Process::start(&common);
    let program = Process::start(&[&common[..], &["--format", "json"]].concat());
    people.line_with("407005");
    let first: Value = serde_json::from_str(&program.line_with("{")).unwrap();
    assert_eq!(first["snapshot"]["counts"]["missing"], 5);
    file(&address, "407001").await;
    let told = people.line_with("407001");
    assert!(told.contains("未报 → 已报") && told.contains("第 1 版"), "{told}");
    let told: Value = serde_json::from_str(&program.line_with("change")).unwrap();
    assert_eq!(told["change"]["lines"][0]["unit"], "407001");
    let known = told["position"].as_u64().unwrap();
    server.kill();
    assert!(people.line_with("接着看").contains(&format!("从第 {known} 号记录")));
    let (server, again) = Process::serve(folder.path(), address.strip_prefix("http://").unwrap());
    assert_eq!(again, address);
    people.line_with("已重新连上");
    file(&address, "407002").await;
    // What was known before is not told again.
    let since = people.lines_until("407002");
    assert!(!since.iter().any(|line| line.contains("407001")), "{since:#?}");
    assert_eq!(people.interrupt(), Some(0));
    assert_eq!(program.interrupt(), Some(0));
    server.kill();
}

#[test]
fn what_cannot_be_followed_is_said_at_once() {
    let wrong = Process::start(&["--lang", "zh", "status", "--watch", "--format", "csv"]);
    wrong.line_with("json");
    let nobody = Process::start(&["--lang", "zh", "--server", "127.0.0.1:9", "status", "--watch"]);
    nobody.line_with("127.0.0.1:9");
    for (mut process, code) in [(wrong, 2), (nobody, 3)] {
        assert_eq!(process.child.wait().unwrap().code(), Some(code));
    }
}
