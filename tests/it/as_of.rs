//! The past: what is asked for as of a position or a time is what was seen then, and costs what it says.

use std::sync::{Arc, Mutex};

use budget_consolidator::budget::digest::Digest;
use budget_consolidator::budget::form_set::FormSet;
use budget_consolidator::budget::intake::Placed;
use budget_consolidator::budget::reason::Reason;
use budget_consolidator::budget::submission::{Kind, Slot};
use budget_consolidator::consolidator::{AsOf, Consolidator, RECENT_MAX, SPACING, WriterThread, fold};
use budget_consolidator::ledger::actor::{Actor, Role};
use budget_consolidator::ledger::decide::Action;
use budget_consolidator::ledger::event::Timestamp;
use budget_consolidator::ledger::image;
use budget_consolidator::ledger::state::State;
use budget_consolidator::proto::api;
use budget_consolidator::proto::api::as_of::Moment;
use budget_consolidator::store::{Journal, JournalError, MemoryJournal, Records};
use proptest::prelude::*;

use crate::laws::{self, Step, UNITS, YEAR};
use crate::support::*;

pub async fn act(consolidator: &Consolidator, actor: Actor, action: Action) {
    let key = new_key();
    consolidator.carry_out(actor, key.as_str().into(), Digest::of(key.as_bytes()), action).await.unwrap();
}

pub async fn take(consolidator: &Consolidator, form: &Arc<FormSet>, step: &Step) {
    let (unit, kind, said) = match step {
        Step::File(unit, said) => (UNITS[*unit], Kind::Unit, said),
        Step::Differ(said) => ("1", Kind::Difference, said),
        Step::Move(parents) => {
            let action = Action::ImportUnits { year: YEAR, nodes: laws::nodes(*parents) };
            return act(consolidator, Actor::service(), action).await;
        }
        Step::Review(unit, step) => {
            let order = laws::review(&consolidator.snapshot().state, UNITS[*unit], *step);
            if let Some((actor, order)) = order {
                let key = new_key();
                let fingerprint = Digest::of(key.as_bytes());
                consolidator.step(actor, key.as_str().into(), fingerprint, order).await.unwrap();
            }
            return;
        }
    };
    file(consolidator, form, laws::read(form, unit, kind, said)).await;
}

/// Files what was read, by whoever it is of.
pub async fn file(consolidator: &Consolidator, form: &Arc<FormSet>, placed: Placed) {
    let Slot { unit, kind, .. } = placed.submission.header.clone();
    let prepared = consolidator.prepare(placed, None, form, (None, None)).await.unwrap();
    let role = if kind == Kind::Unit { Role::Unit } else { Role::Department };
    consolidator.submit(Actor { node: unit, role }, new_key().as_str().into(), prepared).await.unwrap();
}

/// A service in this process, without a socket, that steps of the laws are taken by.
pub struct Service {
    pub consolidator: Consolidator,
    form: Arc<FormSet>,
    writer: WriterThread,
}

impl Service {
    pub async fn on(journal: Arc<dyn Journal>) -> Service {
        let (consolidator, writer) = Consolidator::open(journal, test_clock(), Vec::new(), None).unwrap();
        let service = Service { consolidator, form: Arc::new(laws::form()), writer };
        service.act(Actor::service(), Action::PublishFormSet { form: service.form.clone() }).await;
        service.act(Actor::service(), Action::ImportUnits { year: YEAR, nodes: laws::nodes([0, 1, 2, 3, 4]) }).await;
        service
    }

    async fn act(&self, actor: Actor, action: Action) {
        act(&self.consolidator, actor, action).await;
    }

    pub async fn take(&self, step: &Step) {
        take(&self.consolidator, &self.form, step).await;
    }

    pub fn head(&self) -> u64 {
        self.consolidator.snapshot().state.position
    }

    pub async fn at(&self, position: u64) -> Arc<State> {
        self.consolidator.at(AsOf::Position(position)).await.unwrap().state
    }

    pub async fn stop(self) {
        self.consolidator.close().await;
        tokio::task::spawn_blocking(move || self.writer.join()).await.unwrap();
    }
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// The state that the first events of a journal add up to, as bytes.
fn folded(journal: &MemoryJournal, position: u64) -> Vec<u8> {
    let copy = MemoryJournal::new();
    for position in 1..=position {
        copy.append(position - 1, &[journal.read(position).unwrap().unwrap()]).unwrap();
    }
    image::image(&fold(&copy).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

    /// From kept states, from the first event and from one another.
    #[test]
    fn law_the_past_is_the_fold_of_its_beginning(
        steps in prop::collection::vec(laws::step(), 20..70),
        asked in prop::collection::vec(any::<prop::sample::Index>(), 12),
    ) {
        runtime().block_on(async {
            let journal = Arc::new(MemoryJournal::new());
            let service = Service::on(journal.clone()).await;
            for step in &steps {
                service.take(step).await;
            }
            let head = service.head();
            for at in asked {
                let position = at.index(usize::try_from(head).unwrap()) as u64 + 1;
                let state = service.at(position).await;
                assert_eq!(state.position, position);
                assert!(image::image(&state) == folded(&journal, position), "as of {position} of {head}");
            }
            service.stop().await;
        });
    }
}

/// Notes from where it is scanned.
#[derive(Default)]
struct Watched {
    journal: MemoryJournal,
    scanned: Mutex<Vec<u64>>,
}

impl Journal for Watched {
    fn head(&self) -> Result<u64, JournalError> {
        self.journal.head()
    }

    fn append(&self, expected_head: u64, batch: &[Vec<u8>]) -> Result<u64, JournalError> {
        self.journal.append(expected_head, batch)
    }

    fn read(&self, position: u64) -> Result<Option<Vec<u8>>, JournalError> {
        self.journal.read(position)
    }

    fn scan(&self, from: u64) -> Records<'_> {
        self.scanned.lock().unwrap().push(from);
        self.journal.scan(from)
    }
}

#[tokio::test]
async fn recent_positions_are_folded_from_a_kept_state_nearby() {
    let journal = Arc::new(Watched::default());
    let service = Service::on(journal.clone()).await;
    let span = SPACING * RECENT_MAX as u64;
    let said = laws::Said { cells: [((1, 0), 5)].into(), ..laws::Said::default() };
    while service.head() < span + 3 * SPACING {
        service.take(&Step::File(usize::try_from(service.head() % 5).unwrap(), said.clone())).await;
    }
    let head = service.head();
    for position in [head - 1, head - SPACING, head - span + SPACING + 1] {
        journal.scanned.lock().unwrap().clear();
        assert_eq!(service.at(position).await.position, position);
        let from = journal.scanned.lock().unwrap().first().copied().unwrap_or(position);
        assert!(position - from < SPACING, "as of {position} of {head}, folded from {from}");
    }
    // Far back, from the first event: but asked again, from what was folded for the question.
    let old = SPACING + 3;
    journal.scanned.lock().unwrap().clear();
    assert_eq!(service.at(old).await.position, old);
    assert_eq!(journal.scanned.lock().unwrap().first(), Some(&1), "so old a state is not kept");
    journal.scanned.lock().unwrap().clear();
    assert_eq!(service.at(old).await.position, old);
    assert!(journal.scanned.lock().unwrap().is_empty(), "it was folded again");
    assert_eq!(service.at(old + 2).await.position, old + 2);
    assert_eq!(*journal.scanned.lock().unwrap(), [old + 1]);
    service.stop().await;
}

#[tokio::test]
async fn a_time_means_everything_logged_by_then() {
    let service = Service::on(Arc::new(MemoryJournal::new())).await;
    for unit in 0..5 {
        service.take(&Step::File(unit, laws::Said::default())).await;
    }
    let times: Vec<Timestamp> = {
        let now = service.consolidator.snapshot();
        (1..=now.state.position).map(|position| now.event(position).unwrap().time).collect()
    };
    let at = async |ms| service.consolidator.at(AsOf::Time(Timestamp(ms))).await.map(|then| then.state.position);
    for (at_index, time) in times.iter().enumerate() {
        let position = at_index as u64 + 1;
        assert_eq!(at(time.0).await.unwrap(), position);
        assert_eq!(at(time.0 + 1).await.unwrap(), position);
        let before = at(time.0 - 1).await;
        match position {
            1 => assert_eq!(before.unwrap_err().reason, Reason::TimeBeforeJournal),
            _ => assert_eq!(before.unwrap(), position - 1),
        }
    }
    assert_eq!(at(i64::MAX).await.unwrap(), service.head());
    assert_eq!(at(i64::MIN).await.unwrap_err().reason, Reason::TimeBeforeJournal);
    service.stop().await;
}

fn as_of(moment: Moment) -> Option<api::AsOf> {
    Some(api::AsOf { moment: Some(moment) })
}

/// Everything that a reader sees of a department, as of a moment.
async fn seen(client: &Client, as_of: Option<api::AsOf>) -> Vec<String> {
    let scope = Some(api::Scope { as_of, ..scope("407") });
    let view = api::ViewRequest { scope: scope.clone(), tables: Vec::new(), children: true, reviewed: false };
    let view = client.consolidation().view(view).await.unwrap().into_inner();
    let rows = api::ListRowsRequest { scope: scope.clone(), table: "T12".into(), ..Default::default() };
    let rows = client.consolidation().list_rows(rows).await.unwrap().into_inner();
    let trace = api::TraceRequest { scope: scope.clone(), cell: "T03/合计/project".into(), ..Default::default() };
    let trace = client.consolidation().trace(trace).await.unwrap().into_inner();
    let board = client.consolidation().get_status_board(api::GetStatusBoardRequest { scope }).await.unwrap();
    let ceilings = api::ListControlFiguresRequest { node: "407".into(), as_of, ..Default::default() };
    let ceilings = client.control().list_control_figures(ceilings).await.unwrap().into_inner();
    let findings = api::ListFindingsRequest { node: "407".into(), as_of, ..Default::default() };
    let findings = client.audit().list_findings(findings).await.unwrap().into_inner();
    let listed = api::ListSubmissionsRequest { node: "407".into(), as_of, ..Default::default() };
    let listed = client.submissions().list_submissions(listed).await.unwrap().into_inner();
    let mut seen = vec![
        format!("{view:#?}"),
        format!("{rows:#?}"),
        format!("{trace:#?}"),
        format!("{:#?}", board.into_inner()),
        format!("{ceilings:#?}"),
        format!("{findings:#?}"),
        format!("{listed:#?}"),
    ];
    for submission in listed.submissions.iter().filter(|submission| submission.counts) {
        let request = api::GetSubmissionRequest { slot: submission.slot.clone(), as_of, version: 0 };
        seen.push(format!("{:#?}", client.submissions().get_submission(request).await.unwrap().into_inner()));
    }
    seen
}

#[tokio::test]
async fn whatever_was_seen_is_seen_again_as_of_then() {
    let server = TestServer::fenyang().await;
    let form = form("shanxi-2024");
    let auditor = server.client(AUDITOR).await;
    let mut then = Vec::new();
    for name in ["407001", "407004-over", "407002", "407004", "407003"] {
        let file = example(&format!("fenyang-2024/submissions/{name}.json"));
        let answer = server.client(&unit(&file.slot.unit)).await.submit(&file, &form).await.unwrap();
        then.push((answer.position, answer.time_ms, seen(&auditor, None).await));
    }
    for (position, time_ms, seen_then) in then {
        assert_eq!(seen(&auditor, as_of(Moment::Position(position))).await, seen_then, "as of {position}");
        assert_eq!(seen(&auditor, as_of(Moment::TimeMs(time_ms))).await, seen_then, "as of the time of {position}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_moment_that_never_was_is_refused() {
    let server = TestServer::fenyang().await;
    let head = server.consolidator.snapshot().state.position;
    let auditor = server.client(AUDITOR).await;
    let view = async |client: &Client, moment: Option<Moment>| {
        let scope = Some(api::Scope { as_of: Some(api::AsOf { moment }), ..scope("407") });
        let request = api::ViewRequest { scope, tables: Vec::new(), children: false, reviewed: false };
        client.consolidation().view(request).await.map_err(|status| reason(&status))
    };
    for (moment, refusal) in [
        (Some(Moment::Position(head + 1)), "UNKNOWN_POSITION"),
        (Some(Moment::Position(u64::MAX)), "UNKNOWN_POSITION"),
        (Some(Moment::Position(0)), "UNKNOWN_POSITION"),
        (Some(Moment::TimeMs(0)), "TIME_BEFORE_JOURNAL"),
        (None, "BAD_REQUEST"),
        // Before there was a unit tree.
        (Some(Moment::Position(1)), "UNKNOWN_YEAR"),
    ] {
        assert_eq!(view(&auditor, moment).await.unwrap_err(), refusal, "{moment:?}");
    }
    // Who may not see it learns nothing of the past either, not even whether there is such a position.
    let stranger = server.client("budget://508/department").await;
    for position in [head, head + 1] {
        assert_eq!(view(&stranger, Some(Moment::Position(position))).await.unwrap_err(), "NOT_PERMITTED");
    }
    let both = api::ListFindingsRequest {
        node: "407".into(),
        position: 1,
        as_of: as_of(Moment::Position(1)),
        ..Default::default()
    };
    assert_eq!(reason(&auditor.audit().list_findings(both).await.unwrap_err()), "BAD_REQUEST");
    server.stop().await;
}

#[tokio::test]
async fn who_may_look_back_is_said_by_todays_tree() {
    let server = TestServer::fenyang().await;
    let before = server.consolidator.snapshot().state.position;
    let units = server.client(ADMINISTRATOR).await.registry().list_units(api::ListUnitsRequest::default()).await;
    let mut nodes = units.unwrap().into_inner().nodes;
    let department = nodes.iter().find(|node| node.code == "407").unwrap().clone();
    nodes.push(api::UnitNode { code: "408".into(), name: "另一部门".into(), ..department });
    nodes.iter_mut().filter(|node| node.code == "407003").for_each(|node| node.parent = "408".into());
    let request = api::ImportUnitsRequest { idempotency_key: new_key(), year: 2024, nodes };
    server.client(ADMINISTRATOR).await.registry().import_units(request).await.unwrap();
    let view = async |actor: &str, node: &str| {
        let scope =
            Some(api::Scope { as_of: as_of(Moment::Position(before)), form_set: "shanxi-2024".into(), ..scope(node) });
        let request = api::ViewRequest { scope, tables: Vec::new(), children: false, reviewed: false };
        server.client(actor).await.consolidation().view(request).await.map_err(|status| reason(&status))
    };
    assert!(view("budget://408/department", "407003").await.is_ok());
    assert_eq!(view(DEPARTMENT, "407003").await.unwrap_err(), "NOT_PERMITTED");
    // What is shown is what was there then.
    assert_eq!(view("budget://408/department", "408").await.unwrap_err(), "UNKNOWN_UNIT");
    // Without a year it is the last one that there was then.
    let nodes = unit_nodes("fenyang-2024/units.csv");
    let request = api::ImportUnitsRequest { idempotency_key: new_key(), year: 2025, nodes };
    server.client(ADMINISTRATOR).await.registry().import_units(request).await.unwrap();
    let (as_of, form_set) = (as_of(Moment::Position(before)), "shanxi-2024".into());
    let scope = Some(api::Scope { as_of, form_set, year: 0, ..scope("407003") });
    let request = api::ViewRequest { scope, tables: Vec::new(), children: false, reviewed: false };
    assert_eq!(server.client(AUDITOR).await.consolidation().view(request).await.unwrap().into_inner().year, 2024);
    server.stop().await;
}
