//! Bad input over a real socket: a clear answer, and nothing lost.
//!
//! Every attempt is made between two looks at everything that readers see: [`Scene::nothing_changes`] for what leaves
//! no trace, [`Scene::one_refusal_is_noted`] for a sealed filing that is refused. `filing` is about what stands in a
//! filing, `stream` about how it is sent, `retry` about keys and versions, `identity` about who asks, `request` about
//! everything else that is asked for, `store` about the journal below.

mod filing;
mod identity;
mod request;
mod retry;
mod store;
mod stream;

use std::future::Future;
use std::io::Cursor;
use std::path::Path;

use budget_consolidator::budget::form_set::FormSet;
use budget_consolidator::budget::intake::FINDINGS_MAX;
use budget_consolidator::consolidator::verify::verify;
use budget_consolidator::proto::storage::{self, envelope::Event as Stored};
use budget_consolidator::proto::{Message, api};
use budget_consolidator::store::{Journal, MemoryJournal, archive};
use budget_consolidator::submission_file::SubmissionFile;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::support::*;

/// A department with filings in it, and the one unit below it that does everything wrong.
pub(crate) struct Scene {
    pub(crate) server: TestServer,
    pub(crate) form: FormSet,
    /// The folder of the example.
    example: &'static str,
    department: &'static str,
    unit: &'static str,
}

impl Scene {
    /// 407 on an incomplete catalogue. 407004 has filed.
    pub(crate) async fn fenyang() -> Scene {
        let server = TestServer::start().await;
        Scene::furnish(server, "fenyang-2024", "shanxi-2024", "407", "407004", &["407001"]).await
    }

    /// 508 on a complete catalogue, in 元. 508001 has filed.
    pub(crate) async fn linjiang() -> Scene {
        let server = TestServer::start().await;
        Scene::furnish(server, "linjiang-2024", "linjiang-2024", "508", "508001", &["508002001"]).await
    }

    async fn furnish(
        server: TestServer,
        example: &'static str,
        form_set: &str,
        department: &'static str,
        unit: &'static str,
        others: &[&str],
    ) -> Scene {
        server.furnish(example, form_set, 2024).await;
        Scene::filed(server, example, form_set, department, unit, others).await
    }

    /// Like [`Scene::fenyang`], with no control figures issued.
    pub(crate) async fn without_ceilings() -> Scene {
        let server = TestServer::start().await;
        server.client(ADMINISTRATOR).await.import_units("fenyang-2024/units.csv", 2024).await.unwrap();
        Scene::filed(server, "fenyang-2024", "shanxi-2024", "407", "407004", &["407001"]).await
    }

    async fn filed(
        server: TestServer,
        example: &'static str,
        form_set: &str,
        department: &'static str,
        unit: &'static str,
        others: &[&str],
    ) -> Scene {
        let scene = Scene { server, form: form(form_set), example, department, unit };
        for code in [unit].iter().chain(others) {
            let file = scene.file_of(code);
            let answer = scene.server.client(&super::support::unit(code)).await.submit(&file, &scene.form).await;
            assert_eq!(answer.unwrap().version, 1, "{code}");
        }
        scene
    }

    fn file_of(&self, code: &str) -> SubmissionFile {
        example(&format!("{}/submissions/{code}.json", self.example))
    }

    /// A filing of the unit that nothing is wrong with.
    pub(crate) fn file(&self) -> SubmissionFile {
        self.file_of(self.unit)
    }

    /// The messages of that filing with a key of its own.
    pub(crate) fn parts(&self) -> Vec<api::submit_request::Part> {
        parts(&self.file(), &self.form, &new_key())
    }

    /// The unit itself.
    pub(crate) async fn client(&self) -> Client {
        self.server.client(&unit(self.unit)).await
    }

    /// Everything that readers see of the department and the unit.
    pub(crate) async fn fingerprint(&self) -> Fingerprint {
        let bureau = self.server.client(BUREAU).await;
        let mut views = Vec::new();
        for node in [self.department, self.unit] {
            let within = api::Scope { form_set: self.form.id.to_string(), ..scope(node) };
            let request = api::ViewRequest { scope: Some(within), tables: Vec::new(), children: true, reviewed: false };
            let mut view = bureau.consolidation().view(request).await.unwrap().into_inner();
            (view.position, view.time_ms) = (0, 0);
            views.push(view);
        }
        let mut ceilings = bureau
            .control()
            .list_control_figures(api::ListControlFiguresRequest { node: self.department.into(), ..Default::default() })
            .await
            .unwrap()
            .into_inner();
        ceilings.position = 0;
        let versions =
            api::ListSubmissionsRequest { node: self.department.into(), page_size: 1_000, ..Default::default() };
        let units = api::ListUnitsRequest { node: "0".into(), year: 2024, as_of: None };
        let mut units = bureau.registry().list_units(units).await.unwrap().into_inner();
        (units.position, units.time_ms) = (0, 0);
        Fingerprint {
            views,
            ceilings,
            versions: bureau.submissions().list_submissions(versions).await.unwrap().into_inner().submissions,
            units,
            form_sets: bureau.registry().list_form_sets(api::ListFormSetsRequest {}).await.unwrap().into_inner(),
            board: bureau.status_board(self.department).await.lines,
            history: bureau.history(self.unit).await.unwrap().events,
            head: head(&bureau).await,
        }
    }

    /// Lets something be tried that must leave no trace at all.
    pub(crate) async fn nothing_changes<T>(&self, what: &str, attempt: impl Future<Output = T>) -> T {
        let before = self.fingerprint().await;
        let answer = attempt.await;
        assert_eq!(before.differences(&self.fingerprint().await), [""; 0], "{what}");
        answer
    }

    /// Files something that is refused once sealed: one event and one line of history more, and nothing else.
    pub(crate) async fn one_refusal_is_noted(&self, what: &str, file: &SubmissionFile) -> api::Verdict {
        let before = self.fingerprint().await;
        let answer = self.client().await.submit(file, &self.form).await.unwrap_or_else(|e| panic!("{what}: {e}"));
        let after = self.fingerprint().await;
        assert_eq!(before.differences(&after), ["board", "history", "head"], "{what}");
        assert_eq!((after.head, answer.position), (before.head + 1, before.head + 1), "{what}");
        let (last, earlier) = after.history.split_last().unwrap();
        assert_eq!(earlier, before.history, "{what}");
        let verdict = answer.verdict.unwrap();
        assert_eq!((verdict.outcome, answer.version), (api::Outcome::Refused.into(), 0), "{what}");
        let Some(api::journal_event::Event::Refused(event)) = &last.event else { panic!("{what}: {last:?}") };
        // What rules found is counted there; ListFindings has the rest.
        let noted = api::Verdict { rule_findings: Vec::new(), ..verdict.clone() };
        assert_eq!(event.verdict.as_ref(), Some(&noted), "{what}");
        for (line, was) in after.board.iter().zip(&before.board) {
            assert_eq!(line.version, was.version, "{what}: {}", line.unit);
            assert_eq!(line.refused, was.refused + u32::from(line.unit == self.unit), "{what}: {}", line.unit);
        }
        verdict
    }

    /// What was refused so far verifies; and wherever the cells bear out what was found in them, not with another reason, and
    /// not with nothing found.
    fn refusals_are_borne_out(&self) {
        let pieces = self.server.consolidator.snapshot().export(1).unwrap();
        let archive: Vec<u8> = pieces.flat_map(|piece| piece.unwrap().bytes).collect();
        let mut reader = archive::Reader::new(Cursor::new(archive), Path::new("an export")).unwrap();
        let entries = std::iter::from_fn(|| reader.next().unwrap());
        let events = entries
            .filter_map(|entry| if let archive::Entry::Event { bytes, .. } = entry { Some(bytes) } else { None });
        let records: Vec<Vec<u8>> = events.collect();
        let (mut told, mut untold) = (0, 0);
        let [mut other, mut none] = [records.clone(), records.clone()];
        for at in 0..records.len() {
            let envelope = storage::Envelope::decode(records[at].as_slice()).unwrap();
            let Some(Stored::Refused(refused)) = &envelope.event else { continue };
            let findings = &refused.attempt.as_ref().unwrap().findings;
            let is_cut = findings.len() >= FINDINGS_MAX;
            if is_cut || findings.iter().any(|finding| UNKEPT.contains(&finding.reason.as_str())) {
                untold += 1;
                continue;
            }
            told += 1;
            for (spoilt, with) in [(&mut other, Some("AMOUNT_EXPONENT")), (&mut none, None)] {
                let mut envelope = envelope.clone();
                let Some(Stored::Refused(refused)) = &mut envelope.event else { unreachable!() };
                let findings = &mut refused.attempt.as_mut().unwrap().findings;
                match with {
                    Some(reason) if findings[0].reason != reason => reason.clone_into(&mut findings[0].reason),
                    Some(_) => "AMOUNT_SEPARATOR".clone_into(&mut findings[0].reason),
                    None => drop(findings.remove(0)),
                }
                spoilt[at] = envelope.encode_to_vec();
            }
        }
        let verified = |records: &[Vec<u8>]| {
            let journal = MemoryJournal::new();
            journal.append(0, records).unwrap();
            verify(&journal, &|_| {}).unwrap()
        };
        let whole = verified(&records);
        assert_eq!((whole.first_bad(), whole.shape_untold), (None, untold), "{whole:?}");
        for spoilt in [&other, &none] {
            let found = verified(spoilt);
            assert_eq!((found.findings.count, found.shape_untold), (told, untold), "{found:?}");
        }
    }

    pub(crate) async fn stop(self) {
        self.server.stop().await;
    }
}

/// What these are about found no place, and is not among the cells.
const UNKEPT: [&str; 8] = [
    "UNKNOWN_TABLE",
    "DUPLICATE_TABLE",
    "UNKNOWN_COLUMN",
    "DUPLICATE_COLUMN",
    "TOO_MANY_VALUES",
    "DUPLICATE_ROW",
    "EMPTY_TABLE_HAS_ROWS",
    "BAD_AMOUNT_UNIT",
];

/// The position of the journal's last event.
pub(crate) async fn head(client: &Client) -> u64 {
    client.audit().list_events(api::ListEventsRequest::default()).await.unwrap().into_inner().head
}

/// All that readers see, without the position that they see it at.
#[derive(Clone)]
pub(crate) struct Fingerprint {
    views: Vec<api::ViewResponse>,
    ceilings: api::ListControlFiguresResponse,
    versions: Vec<api::ListedSubmission>,
    units: api::ListUnitsResponse,
    form_sets: api::ListFormSetsResponse,
    board: Vec<api::StatusLine>,
    history: Vec<api::JournalEvent>,
    pub(crate) head: u64,
}

impl Fingerprint {
    /// What differs, by name: the whole would be too long to read.
    pub(crate) fn differences(&self, other: &Fingerprint) -> Vec<&'static str> {
        [
            ("views", self.views == other.views),
            ("ceilings", self.ceilings == other.ceilings),
            ("versions", self.versions == other.versions),
            ("units", self.units == other.units),
            ("form sets", self.form_sets == other.form_sets),
            ("board", self.board == other.board),
            ("history", self.history == other.history),
            ("head", self.head == other.head),
        ]
        .into_iter()
        .filter_map(|(name, same)| (!same).then_some(name))
        .collect()
    }
}

/// Expects a refusal with that code and stable reason, whose message or facts say all of `said`.
#[track_caller]
pub(crate) fn assert_refused<T>(what: &str, answer: Result<T, Status>, code: Code, stable: &str, said: &[&str]) {
    let Err(status) = answer else { panic!("{what}: was taken, should be {stable}") };
    assert_eq!((reason(&status).as_str(), status.code()), (stable, code), "{what}: {status:?}");
    let details = status.get_error_details();
    let info = details.error_info().expect("a reason");
    assert!(status.message().chars().count() > 8 && !status.message().contains('{'), "{what}: {}", status.message());
    for figure in said {
        let in_facts = info.metadata.iter().any(|(name, fact)| name == figure || fact.contains(figure));
        assert!(status.message().contains(figure) || in_facts, "{what}: no {figure} in {status:?}");
    }
}

/// Expects a finding of that reason at a place (`table/row/column`, parts that aren't meant empty), whose sentences
/// say all of `said`.
#[track_caller]
pub(crate) fn assert_found<'v>(
    what: &str,
    verdict: &'v api::Verdict,
    stable: &str,
    place: &str,
    said: &[&str],
) -> &'v api::Finding {
    let place_of = |finding: &api::Finding| format!("{}/{}/{}", finding.table, finding.row, finding.column);
    let found = verdict.findings.iter().find(|finding| finding.reason == stable && place_of(finding) == place);
    let listed = || verdict.findings.iter().map(|f| format!("{} {}", f.reason, place_of(f))).collect::<Vec<_>>();
    let finding = found.unwrap_or_else(|| panic!("{what}: no {stable} at {place} in {:#?}", listed()));
    for figure in said {
        for sentence in [&finding.sentence_zh, &finding.sentence_en] {
            assert!(sentence.contains(figure), "{what}: no {figure} in {sentence}");
        }
    }
    finding
}

/// The index of a table in a file.
#[track_caller]
pub(crate) fn table_at(file: &SubmissionFile, table: &str) -> usize {
    file.tables.iter().position(|filed| filed.header.id == table).unwrap_or_else(|| panic!("no {table} in the file"))
}

/// Writes one value into a file; the row and the column come into being if they aren't there.
pub(crate) fn set(file: &mut SubmissionFile, cell: &str, value: &str) {
    let (table, rest) = cell.split_once('/').unwrap();
    let (row, column) = rest.rsplit_once('/').unwrap();
    let at = table_at(file, table);
    let table = &mut file.tables[at];
    table.header.empty = false;
    let columns = &mut table.header.columns;
    let column = columns.iter().position(|id| id == column).unwrap_or_else(|| {
        columns.push(column.into());
        columns.len() - 1
    });
    let row = table.rows.iter().position(|(key, _)| key == row).unwrap_or_else(|| {
        table.rows.push((row.to_owned(), Vec::new()));
        table.rows.len() - 1
    });
    let values = &mut table.rows[row].1;
    values.resize(values.len().max(column + 1), String::new());
    values[column] = value.to_owned();
}
