//! `submit` and `adjust`: read filings, check their shape here, and stream those that have one to the server.
//!
//! A filing that would be refused for its shape is not sent. Sent ones are answered by the server, findings included;
//! after an unknown outcome the same command repeats the same request (`attempt.rs`).

use std::collections::HashMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio_stream::StreamExt;

use super::attempt::Attempt;
use super::client::Client;
use super::control::give;
use super::filing::{Filed, Filing, Filings};
use super::notes::Note;
use super::output::{Answer, Failure};
use super::receipt;
use super::settings::Settings;
use crate::budget::form_set::FormSet;
use crate::budget::intake::Reading;
use crate::budget::reason::Reason;
use crate::budget::submission::{Kind, Round, Slot};
use crate::proto::api::submit_request::Part;
use crate::proto::{Message, RowChunk, TableHeader, api};
use crate::submission_file::SubmissionFile;

/// The most rows of a chunk, as the service has it.
const CHUNK_ROWS_MAX: usize = 256;
/// A chunk is closed early when its texts reach this, far below what a message may hold.
const CHUNK_BYTES_MAX: usize = 256 * 1024;

/// What `submit` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[arg(value_name = "FILE|DIR", required = true)]
    pub(super) paths: Vec<PathBuf>,
    #[arg(long)]
    pub(super) dry_run: bool,
    #[arg(long, value_name = "VERSION")]
    pub(super) expect_version: Option<u32>,
}

/// What `adjust` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct AdjustArgs {
    #[arg(id = "adjusted", value_name = "FILE")]
    path: PathBuf,
    cause: String,
    #[arg(long, value_name = "FILE.csv")]
    raise: Option<PathBuf>,
    #[arg(long)]
    dry_run: bool,
    #[arg(long, value_name = "VERSION")]
    expect_version: Option<u32>,
}

/// How filings are sent.
struct How {
    dry_run: bool,
    expect_version: Option<u32>,
    /// What makes them change an approved version, if they do.
    adjustment: Option<api::Adjustment>,
}

/// Runs `submit`.
///
/// # Errors
/// A path that isn't there, or a server that can't be reached at all; what happens to one filing is in the answer.
pub async fn run(args: Args, settings: &Settings) -> Result<Answer, Failure> {
    let how = How { dry_run: args.dry_run, expect_version: args.expect_version, adjustment: None };
    file_all(&args.paths, &how, settings).await
}

/// Runs `adjust`.
///
/// # Errors
/// As `submit`, or a list of ceilings that can't be read.
pub async fn adjust(args: AdjustArgs, settings: &Settings) -> Result<Answer, Failure> {
    let raised = match &args.raise {
        Some(csv) => give::figures_of(&give::read(csv, settings)?),
        None => Vec::new(),
    };
    let adjustment = Some(api::Adjustment { cause: args.cause, raised });
    let how = How { dry_run: args.dry_run, expect_version: args.expect_version, adjustment };
    file_all(&[args.path], &how, settings).await
}

async fn file_all(paths: &[PathBuf], how: &How, settings: &Settings) -> Result<Answer, Failure> {
    let files = files_of(paths, settings)?;
    if !how.dry_run && files.len() > 1 {
        each_once(&files, settings)?;
    }
    let client = Client::connect(settings).await?;
    let mut desk = Desk { client, settings, forms: HashMap::new() };
    let bar = progress(&files);
    let mut done = Vec::with_capacity(files.len());
    for path in &files {
        bar.set_message(file_name(path));
        let filing = desk.file(path, how, &bar).await;
        let lost = matches!(&filing.result, Err(Failure::Unreachable(_)));
        done.push(filing);
        bar.inc(1);
        if lost {
            break;
        }
    }
    bar.finish_and_clear();
    let unsent = files.len() - done.len();
    let filings = Filings { filings: done, unsent, sent: true };
    Ok(Answer { code: filings.code(), ..settings.answer(&filings) })
}

/// The files that are meant: a folder stands for its `*.json`, sorted.
pub(super) fn files_of(paths: &[PathBuf], settings: &Settings) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        let wrong = |error: &std::io::Error| settings.unreadable(path, error);
        if !path.is_dir() {
            std::fs::metadata(path).map_err(|error| wrong(&error))?;
            files.push(path.clone());
            continue;
        }
        let mut inside: Vec<PathBuf> = std::fs::read_dir(path)
            .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
            .map_err(|error| wrong(&error))?;
        inside.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        inside.sort();
        if inside.is_empty() {
            return Err(Failure::Usage(settings.say("folder-empty", &[("file", &path.display().to_string())])));
        }
        files.extend(inside);
    }
    Ok(files)
}

/// Of two files for the same unit, round and kind the one that is sent last would stand, and both would have passed: an old
/// copy in the folder is enough.
fn each_once(files: &[PathBuf], settings: &Settings) -> Result<(), Failure> {
    let mut by_slot: HashMap<Slot, Vec<String>> = HashMap::new();
    for path in files {
        // What is wrong with one that can't be read is told when it is its turn.
        if let Ok((_, file)) = read(path, settings) {
            by_slot.entry(file.slot).or_default().push(file_name(path));
        }
    }
    let mut twice: Vec<String> = by_slot
        .into_iter()
        .filter(|(_, files)| files.len() > 1)
        .map(|(slot, files)| {
            let files = files.join(settings.label("list-comma"));
            settings.say("files-of-slot", &[("unit", slot.unit.as_str()), ("files", &files)])
        })
        .collect();
    if twice.is_empty() {
        return Ok(());
    }
    twice.sort();
    let twice = twice.join(settings.label("list-semicolon"));
    Err(Failure::Usage(settings.say("files-of-one-slot", &[("files", &twice)])))
}

/// Reads a submission file.
pub(super) fn read(path: &Path, settings: &Settings) -> Result<(Vec<u8>, SubmissionFile), Failure> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| settings.unreadable(path, &error))?;
    let file = SubmissionFile::read_bytes(&bytes).map_err(|fault| {
        let facts = [("file", name.as_str()), ("error", &fault.sentence(settings.language))];
        Failure::Usage(settings.say("file-not-a-submission", &facts))
    })?;
    Ok((bytes, file))
}

/// The name of a file without its folder.
pub(super) fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

struct Desk<'s> {
    client: Client,
    settings: &'s Settings,
    forms: HashMap<String, Arc<FormSet>>,
}

impl Desk<'_> {
    async fn file(&mut self, path: &Path, how: &How, bar: &ProgressBar) -> Filing {
        let (bytes, file) = match read(path, self.settings) {
            Ok(read) => read,
            Err(failure) => return Filing::failed(file_name(path), None, failure),
        };
        let slot = file.slot.clone();
        let result = self.send(path, &bytes, &file, how, bar).await;
        match result {
            Ok((form, filed)) => {
                Filing { file: file_name(path), slot: Some(slot), form: Some(form), result: Ok(filed) }
            }
            Err(failure) => Filing::failed(file_name(path), Some(slot), failure),
        }
    }

    async fn send(
        &mut self,
        path: &Path,
        bytes: &[u8],
        file: &SubmissionFile,
        how: &How,
        bar: &ProgressBar,
    ) -> Result<(Arc<FormSet>, Filed), Failure> {
        let form = self.form(&file.form_set).await?;
        let reading = file.read_on(&form);
        if reading.is_refused() {
            let filed = Filed::unsent(&reading, &form);
            return Ok((form, filed));
        }
        if how.dry_run {
            let parts = parts(file, &form, &reading, "", how);
            let stream = tokio_stream::iter(parts).map(|part| api::DryRunRequest { part: Some(dry(part)) });
            let answer = self.client.submissions().dry_run(stream).await;
            let answer = answer.map_err(|status| self.client.failure(&status))?.into_inner();
            let filed = Filed::dry(answer, &form)?;
            return Ok((form, filed));
        }
        let actor = self.settings.actor_text();
        let expected = how.expect_version.map(|version| version.to_string()).unwrap_or_default();
        let adjustment = how.adjustment.as_ref().map(Message::encode_to_vec).unwrap_or_default();
        let server = self.settings.server.as_bytes();
        let request: [&[u8]; 6] = [server, actor.as_bytes(), &form.digest.0, expected.as_bytes(), bytes, &adjustment];
        let attempt = Attempt::open(path, &request);
        let parts = parts(file, &form, &reading, attempt.key(), how);
        let ticks = bar.clone();
        let parts = tokio_stream::iter(parts.into_iter().inspect(move |_| ticks.tick()));
        let answer = match how.adjustment {
            None => {
                let stream = parts.map(|part| api::SubmitRequest { part: Some(part) });
                self.client.submissions().submit(stream).await.map(|answer| Filed::sent(answer.into_inner(), &form))
            }
            Some(_) => {
                let stream = parts.map(|part| api::AdjustRequest { part: Some(adjusting(part)) });
                self.client.submissions().adjust(stream).await.map(|answer| Filed::adjusted(answer.into_inner(), &form))
            }
        };
        match answer {
            Ok(filed) => {
                attempt.answered();
                let mut filed = filed?;
                filed.receipt = Some(self.receipt(path, filed.position).await);
                Ok((form, filed))
            }
            Err(status) => {
                let failure = self.client.failure(&status);
                if is_final(&failure) {
                    attempt.answered();
                }
                Err(failure)
            }
        }
    }

    /// Leaves the receipt beside the filing. Whatever goes wrong here, the filing stands.
    async fn receipt(&self, path: &Path, position: u64) -> Result<String, String> {
        let text =
            super::audit::receipt_text(&self.client, position, self.settings, self.settings.credentials.as_ref()).await;
        let text = text.map_err(|failure| failure.sentence(self.settings.language))?;
        let file = receipt::beside(path);
        receipt::save(&file, &text).map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(file_name(&file))
    }

    async fn form(&mut self, id: &str) -> Result<Arc<FormSet>, Failure> {
        if let Some(form) = self.forms.get(id) {
            return Ok(Arc::clone(form));
        }
        let form = Arc::new(self.client.form_set(id).await?);
        self.forms.insert(id.to_owned(), Arc::clone(&form));
        Ok(form)
    }
}

/// Whether the request was answered for good: only then may the next attempt have a key of its own.
pub(super) fn is_final(failure: &Failure) -> bool {
    match failure {
        // Of a request that took too long the server may still carry out what it has received.
        Failure::Refused(remark) => !matches!(
            remark.reason,
            Reason::OutcomeUnknown | Reason::RequestTooSlow | Reason::Busy | Reason::StoreFull | Reason::StoreStopped
        ),
        Failure::Failed(_) | Failure::Usage(_) | Failure::Unreachable(_) => false,
    }
}

/// Header, chunks, seal.
fn parts(file: &SubmissionFile, form: &FormSet, reading: &Reading, key: &str, how: &How) -> Vec<Part> {
    let tables = file.tables.iter().map(|table| TableHeader {
        id: table.header.id.clone(),
        empty: table.header.empty,
        amount_unit: table.header.amount_unit.clone(),
        decimals: table.header.decimals,
        columns: table.header.columns.clone(),
    });
    let mut parts = vec![Part::Header(api::SubmissionHeader {
        slot: Some(slot_message(&file.slot)),
        form_set: file.form_set.clone(),
        form_set_digest: form.digest.0.to_vec(),
        idempotency_key: key.to_owned(),
        version: how.expect_version,
        tables: tables.collect(),
        sentences: api::Sentences::None.into(),
        adjustment: how.adjustment.clone(),
    })];
    let mut chunk = RowChunk::default();
    let mut bytes = 0;
    for (table, (row, values)) in
        file.tables.iter().enumerate().flat_map(|(at, table)| table.rows.iter().map(move |row| (at, row)))
    {
        bytes += row.len() + values.iter().map(String::len).sum::<usize>();
        let table = u32::try_from(table).unwrap_or(u32::MAX);
        chunk.push(&api::Row { table, key: row.clone(), values: values.clone() });
        if chunk.len() == CHUNK_ROWS_MAX || bytes >= CHUNK_BYTES_MAX {
            parts.push(Part::Chunk(std::mem::take(&mut chunk)));
            bytes = 0;
        }
    }
    if !chunk.is_empty() {
        parts.push(Part::Chunk(chunk));
    }
    parts.push(Part::Seal(api::Seal {
        row_count: reading.row_count,
        control_total: reading.control_total.to_string(),
        digest: reading.digest.0.to_vec(),
    }));
    parts
}

fn dry(part: Part) -> api::dry_run_request::Part {
    match part {
        Part::Header(header) => api::dry_run_request::Part::Header(header),
        Part::Chunk(chunk) => api::dry_run_request::Part::Chunk(chunk),
        Part::Seal(seal) => api::dry_run_request::Part::Seal(seal),
    }
}

fn adjusting(part: Part) -> api::adjust_request::Part {
    match part {
        Part::Header(header) => api::adjust_request::Part::Header(header),
        Part::Chunk(chunk) => api::adjust_request::Part::Chunk(chunk),
        Part::Seal(seal) => api::adjust_request::Part::Seal(seal),
    }
}

fn slot_message(slot: &Slot) -> api::Slot {
    let round = match slot.round {
        Round::First => api::Round::First,
        Round::Second => api::Round::Second,
    };
    let kind = match slot.kind {
        Kind::Unit => api::Kind::Unit,
        Kind::Department => api::Kind::Department,
        Kind::Difference => api::Kind::Difference,
    };
    api::Slot { unit: slot.unit.to_string(), year: slot.year.into(), round: i32::from(round), kind: i32::from(kind) }
}

/// A bar on a terminal, nothing elsewhere.
fn progress(files: &[PathBuf]) -> ProgressBar {
    let target =
        if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(files.len() as u64), target);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    bar
}

/// The findings of a reading.
pub(super) fn notes(reading: &Reading) -> Vec<Note> {
    reading.findings.iter().map(Note::local).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::intake::TableHeader;
    use crate::budget::reason::Remark;
    use crate::submission_file::FileTable;

    #[test]
    fn a_key_is_kept_until_it_is_sure_what_became_of_the_request() {
        let refused = |reason| is_final(&Failure::Refused(Remark::new(reason)));
        assert!(refused(Reason::NotPermitted) && refused(Reason::TooManyRequests));
        assert!(!refused(Reason::OutcomeUnknown) && !refused(Reason::RequestTooSlow));
        assert!(!is_final(&Failure::Unreachable(String::new())));
    }

    #[test]
    fn two_files_of_one_slot_are_not_sent() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, unit: &str, round: &str| {
            let path = folder.path().join(name);
            let head = format!(r#""unit": "{unit}", "year": 2024, "round": "{round}", "kind": "unit""#);
            std::fs::write(&path, format!(r#"{{ "form_set": "x", {head}, "tables": {{}} }}"#)).unwrap();
            path
        };
        let settings = crate::cli::samples::settings();
        let once =
            [write("1.json", "407001", "second"), write("2.json", "407001", "first"), folder.path().join("3.json")];
        std::fs::write(&once[2], "no JSON").unwrap();
        assert!(read(&once[0], &settings).is_ok(), "{:?}", read(&once[0], &settings).err());
        assert!(each_once(&once, &settings).is_ok());
        let twice = [&once[..], &[write("1 copy.json", "407001", "second")]].concat();
        let Err(Failure::Usage(said)) = each_once(&twice, &settings) else { panic!("sent") };
        assert!(said.contains("407001（1.json，1 copy.json）") && !said.contains("2.json"), "{said}");
        assert!(each_once(&[&once[..1], &once[..1]].concat(), &settings).is_err());
    }

    #[test]
    fn a_filing_is_cut_into_chunks_between_header_and_seal() {
        let files = crate::consolidator::embedded_form_sets().into_iter().next().unwrap();
        let form = FormSet::load(files).unwrap();
        let header = TableHeader { id: form.tables[0].id.clone(), columns: vec![], ..TableHeader::default() };
        let rows = (0..600).map(|at| (at.to_string(), vec![])).collect();
        let slot = Slot { unit: "1".into(), year: 2024, round: Round::Second, kind: Kind::Unit };
        let file = SubmissionFile {
            form_set: form.id.to_string(),
            slot,
            note: Default::default(),
            tables: vec![FileTable { header, rows }],
        };
        let how = How { dry_run: false, expect_version: None, adjustment: None };
        let parts = parts(&file, &form, &file.read_on(&form), "k", &how);
        let rows: Vec<usize> = parts
            .iter()
            .filter_map(|part| match part {
                Part::Chunk(chunk) => Some(chunk.len()),
                Part::Header(_) | Part::Seal(_) => None,
            })
            .collect();
        assert_eq!(rows, [256, 256, 88]);
        assert!(matches!(parts.first(), Some(Part::Header(_))) && matches!(parts.last(), Some(Part::Seal(_))));
    }

    #[test]
    fn only_an_answer_ends_an_attempt() {
        assert!(is_final(&Failure::Refused(Remark::new(Reason::KeyReused))));
        assert!(!is_final(&Failure::Refused(Remark::new(Reason::OutcomeUnknown))));
        assert!(!is_final(&Failure::Unreachable(String::new())));
    }
}
