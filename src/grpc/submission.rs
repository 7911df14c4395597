//! SubmissionService: filing, dry runs, and submissions as they were filed.

use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;
use prost::{DecodeError, Message};
use tonic::{Code, Extensions, Request, Response, Status, Streaming};

use super::convert::{self, bad};
use super::limits::{self, Bounds};
use super::rule_finding::Wording;
use super::status::status;
use super::{gate, identity, look, quota};
use crate::budget::cell::{Cell, RowKey};
use crate::budget::digest::Digest;
use crate::budget::form_set::FormSet;
use crate::budget::intake::{Intake, Placed, Reading, TableHeader};
use crate::budget::money::Money;
use crate::budget::reason::{Reason, Remark};
use crate::budget::rule::{Checked, RuleFinding};
use crate::budget::submission::Slot;
use crate::consolidator::{Consolidator, Done, Snapshot};
use crate::ledger::actor::{Actor, Operation};
use crate::ledger::decide::{AdjustmentOrder, Filing, admit, judge};
use crate::ledger::event::{Attempt, Event, IdempotencyKey};
use crate::ledger::state::Filings;
use crate::ledger::{Contents, Position};
use crate::proto::{self, RowChunk, api};

pub(super) struct Submissions(pub(super) Consolidator);

/// One message of a filing, whichever RPC it came by.
enum Part {
    Header(api::SubmissionHeader),
    Chunk(RowChunk),
    Seal(api::Seal),
}

trait Parts: Message {
    /// Whether it is a change of an approved version, whatever its header says.
    const ADJUSTS: bool = false;

    fn part(self) -> Option<Part>;
}

impl Parts for api::SubmitRequest {
    fn part(self) -> Option<Part> {
        Some(match self.part? {
            api::submit_request::Part::Header(header) => Part::Header(header),
            api::submit_request::Part::Chunk(chunk) => Part::Chunk(chunk),
            api::submit_request::Part::Seal(seal) => Part::Seal(seal),
        })
    }
}

impl Parts for api::AdjustRequest {
    const ADJUSTS: bool = true;

    fn part(self) -> Option<Part> {
        Some(match self.part? {
            api::adjust_request::Part::Header(header) => Part::Header(header),
            api::adjust_request::Part::Chunk(chunk) => Part::Chunk(chunk),
            api::adjust_request::Part::Seal(seal) => Part::Seal(seal),
        })
    }
}

impl Parts for api::DryRunRequest {
    fn part(self) -> Option<Part> {
        Some(match self.part? {
            api::dry_run_request::Part::Header(header) => Part::Header(header),
            api::dry_run_request::Part::Chunk(chunk) => Part::Chunk(chunk),
            api::dry_run_request::Part::Seal(seal) => Part::Seal(seal),
        })
    }
}

/// A sealed filing as it arrived.
struct Received {
    key: IdempotencyKey,
    version: Option<u32>,
    adjustment: Option<AdjustmentOrder>,
    form: Arc<FormSet>,
    sentences: i32,
    placed: Placed,
    seal: Seal,
}

/// What the sender says that it has sent.
struct Seal {
    row_count: u64,
    control_total: String,
    digest: Option<Digest>,
}

/// What a stream says before its rows.
struct Opening {
    key: IdempotencyKey,
    slot: Slot,
    version: Option<u32>,
    adjustment: Option<AdjustmentOrder>,
    form: Arc<FormSet>,
    sentences: i32,
    tables: Vec<TableHeader>,
}

impl Submissions {
    /// Takes a stream to its seal. Nothing is kept of one that breaks.
    async fn receive<M: Parts>(
        &self,
        actor: &Actor,
        stream: &mut Streaming<M>,
        extensions: &Extensions,
    ) -> Result<Received, Status> {
        let idle = quota::bounds(extensions).idle;
        let mut bytes = 0;
        let header = match next(stream, idle, &mut bytes).await? {
            Some(Part::Header(header)) => header,
            Some(Part::Chunk(_)) => return Err(order("chunk", "header")),
            Some(Part::Seal(_)) => return Err(order("seal", "header")),
            None => return Err(status(Remark::new(Reason::StreamUnsealed).with("rows", 0))),
        };
        let opening = self.open(actor, header, M::ADJUSTS).map_err(status)?;
        let Opening { key, slot, version, adjustment, form, sentences, tables } = opening;
        let mut intake = Intake::new(&form, slot, &tables);
        let mut rows: u64 = 0;
        let seal = loop {
            match next(stream, idle, &mut bytes).await? {
                Some(Part::Chunk(chunk)) => {
                    rows += chunk.len() as u64;
                    within_limits(&chunk, rows, bytes).map_err(status)?;
                    // One identity's filings are read in turn, so that a flood of them leaves the others their half.
                    let _turn = quota::turn(extensions).await;
                    take_rows(&mut intake, &chunk).map_err(|Unreadable(remark)| status(remark))?;
                    quota::hold(extensions, weight(&intake, bytes)).map_err(status)?;
                }
                Some(Part::Seal(seal)) => break seal,
                Some(Part::Header(_)) => return Err(order("header", "chunk, seal")),
                None => return Err(status(Remark::new(Reason::StreamUnsealed).with("rows", rows))),
            }
        };
        if next(stream, idle, &mut bytes).await?.is_some() {
            return Err(order("message", "end"));
        }
        let digest = convert::digest("digest", &seal.digest).map_err(status)?;
        let seal = Seal { row_count: seal.row_count, control_total: seal.control_total, digest };
        Ok(Received { key, version, adjustment, sentences, placed: intake.place(), form, seal })
    }

    /// Reads a header, and sees whether its sender may file there and now, on that form set.
    fn open(&self, actor: &Actor, header: api::SubmissionHeader, adjusts: bool) -> Result<Opening, Remark> {
        let key = IdempotencyKey::from(header.idempotency_key);
        let slot = convert::slot(header.slot)?;
        bounded(&header.tables)?;
        // One that says nothing is refused for that, once it is clear that the asker may adjust at all.
        let adjustment = header.adjustment.or_else(|| adjusts.then(api::Adjustment::default));
        let adjustment = adjustment.map(convert::adjustment_order).transpose()?;
        let snapshot = self.0.snapshot();
        let stated = convert::digest("form_set_digest", &header.form_set_digest)?;
        let operation = if adjustment.is_some() { Operation::Adjust } else { Operation::Submit };
        let answered = snapshot.state.answered_at(actor, operation, &key);
        let before = answered.map(|position| judged_on(&snapshot, position)).transpose()?.flatten();
        let is_meant = |form: &Arc<FormSet>| form.id == header.form_set && stated.is_none_or(|is| is == form.digest);
        let admission = (adjustment.as_ref(), self.0.now());
        // Who asks again gets the first answer, also when the round has closed or the rules have changed in the meantime.
        let form = match (before.filter(is_meant), admit(&snapshot.state, actor, &slot, &header.form_set, admission)) {
            (Some(form), _) => form,
            (None, Ok(form)) => form.clone(),
            (None, Err(refusal)) => {
                snapshot.state.form_set(&header.form_set).filter(|_| answered.is_some()).ok_or(refusal)?.clone()
            }
        };
        gate::about(&slot.unit);
        if let Some(stated) = stated.filter(|stated| *stated != form.digest) {
            let remark = Remark::new(Reason::FormSetOutdated).with("form_set", &form.id);
            return Err(remark.with("found", stated.short()).with("expected", form.digest.short()));
        }
        let (version, sentences) = (header.version, header.sentences);
        let tables = header.tables.into_iter().map(convert::table_header).collect();
        Ok(Opening { key, slot, version, adjustment, form, sentences, tables })
    }
}

/// The form set that the filing at a position was judged on, if one stands there.
fn judged_on(snapshot: &Snapshot, position: Position) -> Result<Option<Arc<FormSet>>, Remark> {
    let envelope = snapshot.event(position)?;
    let judged = envelope.event.attempt().and_then(|attempt| snapshot.state.form_set_version(&attempt.form_set.digest));
    Ok(judged.cloned())
}

/// Messages came in another order than header, rows, seal.
fn order(found: &str, expected: &str) -> Status {
    status(Remark::new(Reason::StreamOrder).with("found", found).with("expected", expected))
}

/// Whether a chunk may be as long as it is, and the whole that it belongs to.
fn within_limits(chunk: &RowChunk, rows: u64, bytes: usize) -> Result<(), Remark> {
    if chunk.len() > limits::CHUNK_ROWS_MAX {
        let remark = Remark::new(Reason::ChunkTooLarge).with("rows", chunk.len());
        return Err(remark.with("allowed", limits::CHUNK_ROWS_MAX));
    }
    if rows > limits::ROWS_MAX || bytes > limits::SUBMISSION_BYTES_MAX {
        let remark = Remark::new(Reason::SubmissionTooLarge).with("rows", rows).with("bytes", bytes);
        let remark = remark.with("allowed_rows", limits::ROWS_MAX);
        return Err(remark.with("allowed_bytes", limits::SUBMISSION_BYTES_MAX));
    }
    Ok(())
}

impl Submissions {
    /// Files what was received; of an adjustment also which version it changes, and whether that raised ceilings.
    async fn file(
        &self,
        actor: Actor,
        received: Received,
        extensions: &Extensions,
    ) -> Result<(api::SubmitResponse, Option<(u32, bool)>), Status> {
        let Received { key, version, adjustment, sentences, form, placed, seal } = received;
        let slot = placed.submission.header.clone();
        let turn = quota::turn(extensions).await;
        let prepared = self.0.prepare(placed, seal.digest, &form, (version, adjustment)).await.map_err(status)?;
        drop(turn);
        compare(prepared.reading(), &seal).map_err(status)?;
        let done = self.0.submit(actor, key, prepared).await.map_err(status)?;
        let bounds = quota::bounds(extensions);
        let answer = answer(&done, &self.0.snapshot(), sentences, &bounds).map_err(status)?;
        // Not of the event, but of this moment: the only part of the answer that a repetition may say differently.
        let answer = api::SubmitResponse { mirror_position: self.0.mirror_position(), ..answer };
        tracing::info!(%slot, position = answer.position, version = answer.version, repeated = answer.repeated, "filing decided");
        let adjustment = match &done.envelope.event {
            Event::Submitted(submitted) => submitted.adjustment.as_ref(),
            _ => None,
        };
        Ok((answer, adjustment.map(|adjustment| (adjustment.base, adjustment.raised.is_some()))))
    }
}

/// Why rows can't be taken at all.
struct Unreadable(Remark);

impl From<DecodeError> for Unreadable {
    fn from(error: DecodeError) -> Unreadable {
        Unreadable(bad("message", error))
    }
}

fn take_rows(intake: &mut Intake<'_>, chunk: &RowChunk) -> Result<(), Unreadable> {
    chunk.read(|table, key, values| {
        if key.len() > limits::KEY_BYTES_MAX {
            return Err(Unreadable(bad("key", format!("{} bytes", key.len()))));
        }
        if !intake.row(usize::try_from(table).unwrap_or(usize::MAX), key, values.iter().copied()) {
            return Err(Unreadable(bad("table", table)));
        }
        Ok(())
    })
}

/// The memory that a filing takes while it comes in, about: its texts, rows and cells, with room to grow.
fn weight(intake: &Intake<'_>, bytes: usize) -> usize {
    let (rows, cells) = intake.size();
    let rows = usize::try_from(rows).unwrap_or(usize::MAX).saturating_mul(size_of::<RowKey>());
    bytes.saturating_add(rows).saturating_add(cells.saturating_mul(size_of::<Cell>() * 3 / 2))
}

/// Refuses table headers that no form set can mean: what they state comes back in findings, and those are kept.
fn bounded(tables: &[proto::TableHeader]) -> Result<(), Remark> {
    let names = tables.iter().flat_map(|table| table.columns.iter().chain([&table.id, &table.amount_unit]));
    for (field, found, most) in [
        ("tables", tables.len(), limits::TABLES_MAX),
        ("columns", tables.iter().map(|table| table.columns.len()).sum(), limits::COLUMNS_MAX),
        ("bytes of a name", names.map(CompactString::len).max().unwrap_or(0), limits::KEY_BYTES_MAX),
    ] {
        if found > most {
            return Err(bad(field, found).with("expected", format!("≤ {most}")));
        }
    }
    Ok(())
}

/// The next message of a stream, and its bytes added up.
async fn next<M: Parts>(stream: &mut Streaming<M>, idle: Duration, bytes: &mut usize) -> Result<Option<Part>, Status> {
    let too_slow = |_| {
        let remark = Remark::new(Reason::RequestTooSlow).with("limit", "idle");
        status(remark.with("seconds", idle.as_secs()))
    };
    match tokio::time::timeout(idle, stream.message()).await.map_err(too_slow)? {
        Ok(Some(message)) => {
            *bytes += message.encoded_len();
            message.part().map(Some).ok_or_else(|| status(bad("part", "")))
        }
        Ok(None) => Ok(None),
        // What can't be decoded (a text that is no UTF-8, say) is the sender's mistake and not ours.
        Err(error) if error.code() == Code::Internal => Err(status(bad("message", error.message()))),
        Err(error) if error.code() == Code::OutOfRange => {
            let remark = Remark::new(Reason::ChunkTooLarge).with("bytes", error.message());
            Err(status(remark.with("allowed", limits::MESSAGE_BYTES_MAX)))
        }
        Err(error) => Err(error),
    }
}

/// What arrived is what was sent, as far as the sender's seal says what that was.
fn compare(reading: &Reading, seal: &Seal) -> Result<(), Remark> {
    let differs = |reason, sealed: String, arrived: String| {
        Err(Remark::new(reason).with("sealed", sealed).with("arrived", arrived))
    };
    if seal.row_count != reading.row_count {
        return differs(Reason::SealCountDiffers, seal.row_count.to_string(), reading.row_count.to_string());
    }
    if reading.is_refused() {
        // Cells that can't be read or placed have no agreed sum or digest.
        return Ok(());
    }
    let total = seal.control_total.as_str();
    if Money::parse_total(total) != Some(reading.control_total) {
        return differs(Reason::SealTotalDiffers, total.to_owned(), reading.control_total.to_string());
    }
    if seal.digest != Some(reading.digest) {
        let sealed = seal.digest.map_or_else(String::new, |digest| digest.short());
        return differs(Reason::SealDigestDiffers, sealed, reading.digest.short());
    }
    Ok(())
}

/// How a filing was judged, with all that rules found.
fn verdict(
    attempt: &Attempt,
    refused: bool,
    checked: &Checked,
    (wording, bounds): (&Wording, &Bounds),
) -> api::Verdict {
    let (rule_findings, rule_findings_left_out) = wording.findings(&checked.findings, bounds);
    api::Verdict { rule_findings, rule_findings_left_out, ..convert::verdict(attempt, refused) }
}

/// How many of the failed logic rules were justified by a position.
fn justified(filings: Option<&Filings>, as_of: Position, form: &FormSet, checked: &Checked) -> u32 {
    // Of most filings nothing was ever said, and names are dear.
    let Some(filings) = filings.filter(|filings| !filings.justified.is_empty()) else { return 0 };
    let failed = checked.findings.iter().filter(|finding| finding.must_be_justified());
    let said = |finding: &&RuleFinding| filings.justified_at(&form.rules.fingerprint(finding), as_of).is_some();
    u32::try_from(failed.filter(said).count()).unwrap_or(u32::MAX)
}

/// The answer that an event gives: the same whenever it is asked for.
fn answer(done: &Done, snapshot: &Snapshot, sentences: i32, bounds: &Bounds) -> Result<api::SubmitResponse, Remark> {
    let damaged =
        |what: &str| Remark::new(Reason::JournalDamaged).with("position", done.envelope.position).with("what", what);
    let attempt = done.envelope.event.attempt().ok_or_else(|| damaged("key"))?;
    let version = match &done.envelope.event {
        Event::Submitted(submitted) => submitted.version,
        _ => 0,
    };
    let form = snapshot.state.form_set_version(&attempt.form_set.digest).ok_or_else(|| damaged("form set"))?;
    let wording = Wording::new(form, sentences);
    let filings = snapshot.state.filings(&attempt.slot);
    let judged = |checked: &Checked| api::Verdict {
        justified: justified(filings, done.envelope.position, form, checked),
        ..verdict(attempt, version == 0, checked, (&wording, bounds))
    };
    let verdict = match &done.checked {
        Some(checked) => judged(checked),
        None => judged(&snapshot.judged(done.envelope.position)?.ok_or_else(|| damaged("key"))?.checked),
    };
    Ok(api::SubmitResponse {
        verdict: Some(verdict),
        position: done.envelope.position,
        version,
        time_ms: done.envelope.time.0,
        repeated: done.repeated,
        mirror_position: None,
        answers: super::review_out::answers(snapshot, &attempt.slot, version, done.envelope.position)?,
    })
}

#[tonic::async_trait]
impl api::submission_service_server::SubmissionService for Submissions {
    async fn submit(
        &self,
        request: Request<Streaming<api::SubmitRequest>>,
    ) -> Result<Response<api::SubmitResponse>, Status> {
        let actor = identity::actor(&request).map_err(status)?;
        let (_, extensions, mut stream) = request.into_parts();
        let received = self.receive(&actor, &mut stream, &extensions).await?;
        if received.adjustment.is_some() {
            return Err(status(bad("adjustment", "Submit").with("expected", "Adjust")));
        }
        let (answer, _) = self.file(actor, received, &extensions).await?;
        Ok(Response::new(answer))
    }

    async fn adjust(
        &self,
        request: Request<Streaming<api::AdjustRequest>>,
    ) -> Result<Response<api::AdjustResponse>, Status> {
        let actor = identity::actor(&request).map_err(status)?;
        let (_, extensions, mut stream) = request.into_parts();
        let received = self.receive(&actor, &mut stream, &extensions).await?;
        let (answer, adjusts) = self.file(actor, received, &extensions).await?;
        let state = match adjusts {
            None => api::VersionState::Unspecified,
            Some((_, true)) => api::VersionState::Approved,
            Some((_, false)) => api::VersionState::Submitted,
        };
        Ok(Response::new(api::AdjustResponse {
            verdict: answer.verdict,
            position: answer.position,
            version: answer.version,
            time_ms: answer.time_ms,
            repeated: answer.repeated,
            mirror_position: answer.mirror_position,
            state: state.into(),
            adjusts: adjusts.map_or(0, |(base, _)| base),
            answers: answer.answers,
        }))
    }

    async fn dry_run(
        &self,
        request: Request<Streaming<api::DryRunRequest>>,
    ) -> Result<Response<api::DryRunResponse>, Status> {
        let actor = identity::actor(&request).map_err(status)?;
        let (_, extensions, mut stream) = request.into_parts();
        let bounds = quota::bounds(&extensions);
        let Received { version, adjustment, sentences, form, placed, seal, .. } =
            self.receive(&actor, &mut stream, &extensions).await?;
        let _turn = quota::turn(&extensions).await;
        let reading = placed.sum_up(&form);
        compare(&reading, &seal).map_err(status)?;
        let filing = Filing { reading: Arc::new(reading), version, ahead: None, adjustment };
        let snapshot = self.0.snapshot();
        let judged = judge(&snapshot.state, &actor, &filing, self.0.now(), &snapshot).map_err(status)?;
        let (refused, version, checked) = (judged.is_refused(), judged.version, judged.checked.clone());
        let attempt = judged.attempt(&filing.reading);
        let filings = snapshot.state.filings(&attempt.slot);
        let verdict = api::Verdict {
            justified: justified(filings, snapshot.state.position, &form, &checked),
            ..verdict(&attempt, refused, &checked, (&Wording::new(&form, sentences), &bounds))
        };
        Ok(Response::new(api::DryRunResponse { verdict: Some(verdict), version, position: snapshot.state.position }))
    }

    async fn justify(&self, request: Request<api::JustifyRequest>) -> Result<Response<api::JustifyResponse>, Status> {
        let actor = identity::actor(&request).map_err(status)?;
        let _turn = quota::turn(request.extensions()).await;
        let request = request.into_inner();
        let fingerprint = convert::fingerprint(&request);
        let slot = convert::slot(request.slot).map_err(status)?;
        let item = |item: api::JustifyItem| {
            let finding = convert::digest("fingerprint", &item.fingerprint)?;
            Ok((finding.ok_or_else(|| bad("fingerprint", ""))?, item.text))
        };
        let texts = request.items.into_iter().map(item).collect::<Result<Vec<_>, Remark>>().map_err(status)?;
        let within = (slot, request.position);
        let done = self.0.justify(actor, request.idempotency_key.into(), fingerprint, within, texts).await;
        let done = done.map_err(status)?;
        Ok(Response::new(api::JustifyResponse {
            position: done.envelope.position,
            time_ms: done.envelope.time.0,
            repeated: done.repeated,
        }))
    }

    async fn get_submission(
        &self,
        request: Request<api::GetSubmissionRequest>,
    ) -> Result<Response<api::GetSubmissionResponse>, Status> {
        let actor = identity::actor(&request).map_err(status)?;
        let request = request.into_inner();
        let asked = request.slot.unwrap_or_default();
        let asked_at = api::Scope {
            node: asked.unit,
            year: asked.year,
            round: asked.round,
            form_set: String::new(),
            as_of: request.as_of,
        };
        let (snapshot, within) = look(&self.0, &actor, &asked_at).await.map_err(status)?;
        let slot = Slot {
            unit: within.node,
            year: within.year,
            round: within.round,
            kind: convert::kind(asked.kind).map_err(status)?,
        };
        let unknown =
            || status(Remark::new(Reason::UnknownSubmission).with("slot", &slot).with("version", request.version));
        let filings = snapshot.state.filings(&slot).ok_or_else(unknown)?;
        let version = match request.version {
            0 => filings.latest(),
            wanted => filings.versions.iter().find(|version| version.version == wanted),
        }
        .ok_or_else(unknown)?;
        let submission = snapshot.submission(version.position).map_err(status)?;
        let form = snapshot.state.form_set_version(&version.form_set).ok_or_else(unknown)?;
        let (tables, rows) = convert::submission_out(&submission, form);
        Ok(Response::new(api::GetSubmissionResponse {
            slot: Some(convert::slot_out(&slot)),
            version: Some(convert::version_out(version)),
            form_set: form.id.to_string(),
            tables,
            rows,
        }))
    }

    async fn list_submissions(
        &self,
        request: Request<api::ListSubmissionsRequest>,
    ) -> Result<Response<api::ListSubmissionsResponse>, Status> {
        let actor = identity::actor(&request).map_err(status)?;
        let request = request.into_inner();
        let token = convert::page_token(&request.page_token).map_err(status)?;
        let as_of = token.map(|(shown, _)| convert::moment(shown)).or(request.as_of);
        let asked = api::Scope { node: request.node, year: request.year, as_of, ..api::Scope::default() };
        let (snapshot, within) = look(&self.0, &actor, &asked).await.map_err(status)?;
        let state = &snapshot.state;
        let tree = state.tree(within.year);
        let visible = |unit: &str| tree.is_some_and(|tree| tree.is_within(unit, &within.node));
        let mut listed = state
            .slots()
            .filter(|(slot, _)| slot.year == within.year && visible(&slot.unit))
            .flat_map(|(slot, filings)| filings.versions.iter().map(move |version| (slot, filings, version)))
            .peekable();
        if let Some((_, after)) = token
            && !listed.any(|(_, _, version)| version.position == after)
        {
            return Err(status(bad("page_token", &request.page_token)));
        }
        let mut last = 0;
        let submissions: Vec<api::ListedSubmission> = listed
            .by_ref()
            .take(limits::page_size(request.page_size))
            .map(|(slot, filings, version)| {
                last = version.position;
                api::ListedSubmission {
                    slot: Some(convert::slot_out(slot)),
                    version: Some(convert::version_out(version)),
                    counts: filings.counting().is_some_and(|counts| counts.version == version.version),
                }
            })
            .collect();
        let more = listed.peek().is_some();
        let next_page_token = if more { format!("{}.{last}", state.position) } else { String::new() };
        Ok(Response::new(api::ListSubmissionsResponse { submissions, next_page_token }))
    }
}
