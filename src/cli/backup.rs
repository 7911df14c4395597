//! `backup`: the whole journal of a running server into one file, checked before it gets its name.
//!
//! The file is an archive as the mirror's is; `restore` makes a store from it. It is written under another name, read
//! back from the disk with every checksum compared, synced, and only then named: a file with the name is whole.

use std::fs::{self, File};
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::client::Client;
use super::output::{Answer, Failure, Look, Sheet, Show};
use super::serve::wall_clock;
use super::settings::Settings;
use super::words::{grouped, hex, say, time, time_for_programs};
use crate::budget::reason::{Reason, Remark};
use crate::consolidator::operator_fault;
use crate::proto::api;
use crate::store::restore::read_through;

/// What `backup` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[arg(value_name = "FILE")]
    pub(super) archive_file: PathBuf,
}

/// Runs `backup`.
///
/// # Errors
/// A file that is there already or can't be written, a refusal, or a server that can't be reached.
pub async fn run(args: Args, settings: &Settings) -> Result<Answer, Failure> {
    save(args, "backup-saved", settings).await
}

/// The same for an auditor, `audit export`, with the label that says that it is done.
pub(super) async fn save(args: Args, said: &'static str, settings: &Settings) -> Result<Answer, Failure> {
    let file = &args.archive_file;
    let name = file.display().to_string();
    if file.exists() {
        return Err(Failure::Usage(settings.say("backup-exists", &[("file", &name)])));
    }
    let client = Client::connect(settings).await?;
    let draft = Draft::of(file);
    let head = receive(&client, &draft.0, settings).await?;
    let failed = |error: std::io::Error| unwritten(settings, file, &error);
    let saved = check(&draft.0, head, &name, settings).map_err(|found| match found {
        Checked::Unread(error) => failed(error),
        Checked::Wrong(failure) => failure,
    })?;
    fs::rename(&draft.0, file).map_err(failed)?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    Ok(settings.answer(&Saved { said, ..saved }))
}

/// Writes what the server sends; returns the position that it ends at.
async fn receive(client: &Client, draft: &Path, settings: &Settings) -> Result<u64, Failure> {
    let failed = |error: std::io::Error| unwritten(settings, draft, &error);
    let request = api::ExportJournalRequest { from_position: 0 };
    let answer = client.audit().export_journal(request).await;
    let mut pieces = answer.map_err(|status| client.failure(&status))?.into_inner();
    let mut file = File::create(draft).map_err(failed)?;
    let bar = progress(0, "{bar:30} {pos}/{len}");
    let mut head = 0;
    while let Some(piece) = pieces.message().await.map_err(|status| client.failure(&status))? {
        file.write_all(&piece.archive).map_err(failed)?;
        head = piece.head;
        bar.set_length(head);
        bar.set_position(piece.position);
    }
    file.sync_all().map_err(failed)?;
    bar.finish_and_clear();
    Ok(head)
}

/// Why a file that was written is not taken.
enum Checked {
    Unread(std::io::Error),
    Wrong(Failure),
}

/// Reads the file back: every record whole, from the first to the head, and complete at its end.
fn check(draft: &Path, head: u64, name: &str, settings: &Settings) -> Result<Saved, Checked> {
    let refused = |remark| Checked::Wrong(Failure::Refused(remark));
    let contents = read_through(draft, &|_| {}).map_err(|error| refused(operator_fault(error)))?;
    let whole = contents.complete && contents.last == head && contents.first == u64::from(head > 0);
    if !whole {
        let facts = [("through", contents.last.to_string()), ("head", head.to_string())];
        let text = settings.say("backup-incomplete", &facts.each_ref().map(|(key, fact)| (*key, fact.as_str())));
        return Err(Checked::Wrong(Failure::Failed(text)));
    }
    let sha256 = sha256(draft).map_err(Checked::Unread)?;
    Ok(Saved {
        said: "backup-saved",
        file: name.to_owned(),
        head,
        bytes: contents.bytes,
        sha256,
        time_ms: wall_clock()().0,
    })
}

fn sha256(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1024 * 1024];
    loop {
        let read = file.read(&mut buffer)?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        hash.update(bytes);
    }
    Ok(hex(&hash.finalize()))
}

fn unwritten(settings: &Settings, file: &Path, error: &std::io::Error) -> Failure {
    let facts = [("file", file.display().to_string()), ("error", error.to_string())];
    Failure::Failed(settings.say("file-unwritable", &facts.each_ref().map(|(key, fact)| (*key, fact.as_str()))))
}

/// The file under its other name; removed unless it was given the right one.
struct Draft(PathBuf);

impl Draft {
    fn of(file: &Path) -> Draft {
        let mut name = file.file_name().unwrap_or_default().to_owned();
        name.push(".part");
        Draft(file.with_file_name(name))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Named by now, or never made.
        let _ = fs::remove_file(&self.0);
    }
}

/// What was saved.
#[derive(Debug)]
struct Saved {
    /// The label that says it.
    said: &'static str,
    file: String,
    head: u64,
    bytes: u64,
    sha256: String,
    time_ms: i64,
}

impl Show for Saved {
    fn text(&self, look: &Look) -> String {
        let facts = [
            ("file", self.file.clone()),
            ("head", self.head.to_string()),
            ("bytes", grouped(&self.bytes.to_string())),
            ("time", time(self.time_ms)),
            ("sha256", self.sha256.clone()),
        ];
        say(look.language, self.said, &facts.each_ref().map(|(key, fact)| (*key, fact.as_str()))) + "\n"
    }

    fn json(&self) -> Value {
        json!({
            "file": self.file,
            "first_position": u64::from(self.head > 0),
            "last_position": self.head,
            "bytes": self.bytes,
            "sha256": self.sha256,
            "time": time_for_programs(self.time_ms),
        })
    }

    fn sheet(&self) -> Sheet {
        let row = [self.file.clone(), self.head.to_string(), self.bytes.to_string(), self.sha256.clone()];
        Sheet { columns: vec!["file", "last_position", "bytes", "sha256"], rows: vec![row.into()] }
    }
}

/// A bar on a terminal, nothing elsewhere.
pub(super) fn progress(length: u64, template: &str) -> ProgressBar {
    let target =
        if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(length), target);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// An archive that begins later than a store must.
pub(super) fn begins_late(path: &Path, first: u64) -> Remark {
    Remark::new(Reason::NotAnArchive).with("path", path.display()).with("first", first)
}
