//! What an auditor asks over a real socket: what differs and why, what a cell or a ceiling was, who did what when.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use budget_consolidator::budget::form_set::{FormSet, Rows};
use budget_consolidator::budget::intake::{Intake, TableHeader};
use budget_consolidator::budget::submission::{Kind, Round, Slot};
use budget_consolidator::cli;
use budget_consolidator::ledger::actor::{Actor, Role};
use budget_consolidator::ledger::decide::{Action, Target, VersionStep};
use budget_consolidator::ledger::review::Move;
use budget_consolidator::proto::ShownCell;
use budget_consolidator::proto::api::as_of::Moment;
use budget_consolidator::proto::api::{self, ReviewStep};
use proptest::prelude::*;

use crate::as_of::{self, act, runtime, take};
use crate::laws::{self, Said, Step, YEAR};
use crate::support::*;

const FIRST_UNIT: &str = "11";

/// A server with the form set and the units of the laws.
struct Scene {
    server: TestServer,
    form: Arc<FormSet>,
    auditor: Client,
}

impl Scene {
    async fn new() -> Scene {
        let server = TestServer::start().await;
        let form = Arc::new(laws::form());
        act(&server.consolidator, Actor::service(), Action::PublishFormSet { form: form.clone() }).await;
        let nodes = laws::nodes([0, 1, 2, 3, 4]);
        act(&server.consolidator, Actor::service(), Action::ImportUnits { year: YEAR, nodes }).await;
        let auditor = server.client(AUDITOR).await;
        Scene { server, form, auditor }
    }

    async fn take(&self, step: &Step) -> u64 {
        take(&self.server.consolidator, &self.form, step).await;
        self.server.consolidator.snapshot().state.position
    }

    /// The form set with other words in its `forms.toml`.
    fn form_with(&self, change: impl Fn(&str) -> String) -> Arc<FormSet> {
        let mut files = self.form.files.as_ref().clone();
        let text = String::from_utf8(files["forms.toml"].clone()).unwrap();
        files.insert("forms.toml".to_owned(), change(&text).into_bytes());
        Arc::new(FormSet::load(files).unwrap())
    }

    /// The same, put in force.
    async fn publish(&self, change: impl Fn(&str) -> String) -> Arc<FormSet> {
        let form = self.form_with(change);
        act(&self.server.consolidator, Actor::service(), Action::PublishFormSet { form: form.clone() }).await;
        form
    }

    async fn diff(&self, node: &str, from: api::DiffSide, to: api::DiffSide) -> api::DiffResponse {
        self.diff_by(node, from, to, 1_000).await
    }

    /// All pages of a comparison.
    async fn diff_by(&self, node: &str, from: api::DiffSide, to: api::DiffSide, page_size: u32) -> api::DiffResponse {
        let mut request = api::DiffRequest {
            node: node.into(),
            from: Some(from),
            to: Some(to),
            tables: Vec::new(),
            page_size,
            page_token: String::new(),
        };
        let mut whole: Option<api::DiffResponse> = None;
        loop {
            let page = self.auditor.consolidation().diff(request.clone()).await.unwrap().into_inner();
            request.page_token.clone_from(&page.next_page_token);
            match &mut whole {
                None => whole = Some(page),
                Some(whole) => whole.cells.extend(page.cells),
            }
            if request.page_token.is_empty() {
                return whole.unwrap();
            }
        }
    }

    /// The cells that a node shows as of a position: (table, row, column) with exact 元.
    async fn cells(&self, node: &str, position: u64) -> BTreeMap<[String; 3], ShownCell> {
        let scope = Some(api::Scope { as_of: side(position).as_of, ..scope(node) });
        let request = api::ViewRequest { scope, tables: Vec::new(), children: false, reviewed: false };
        let Ok(view) = self.auditor.consolidation().view(request).await else { return BTreeMap::new() };
        let mut cells = BTreeMap::new();
        for table in view.into_inner().tables {
            for row in &table.rows {
                for (column, cell) in table.columns.iter().zip(&row.cells) {
                    cells.insert([table.id.clone(), row.key.clone(), column.id.clone()], cell.clone());
                }
            }
        }
        cells
    }
}

fn said(cells: &[((usize, usize), i64)]) -> Said {
    Said { cells: cells.iter().copied().collect(), ..Said::default() }
}

fn another_layout(text: &str) -> String {
    text.replace("y = \"另数\"", "y = \"另数\", z = \"又数\"")
}

fn side(position: u64) -> api::DiffSide {
    let as_of = Some(api::AsOf { moment: Some(Moment::Position(position)) });
    api::DiffSide { as_of, ..api::DiffSide::default() }
}

fn version(version: u32) -> api::DiffSide {
    api::DiffSide { version, ..api::DiffSide::default() }
}

fn named(cell: &api::ChangedCell) -> String {
    let shown = |cell: &Option<ShownCell>| cell.as_ref().map_or("–".to_owned(), |cell| cell.value.to_string());
    let mark = match cell.change() {
        api::RowChange::Added => " added",
        api::RowChange::Removed => " removed",
        _ => "",
    };
    let place = format!("{}/{}/{}{mark}", cell.table, cell.row, cell.column);
    format!("{place}: {} → {} ({}) {:?}", shown(&cell.from), shown(&cell.to), cell.difference, cell.causes)
}

#[tokio::test]
async fn what_was_filed_is_listed_page_by_page_whole_and_once() {
    let scene = Scene::new().await;
    // Unit 11 has another below it, and files a difference form beside its budget.
    scene.take(&Step::Move([0, 0, 2, 3, 4])).await;
    for unit in [0, 1, 0, 2] {
        scene.take(&Step::File(unit, said(&[((1, 0), 500)]))).await;
    }
    for node in ["11", "1"] {
        let delta = laws::read(&scene.form, node, Kind::Difference, &said(&[((1, 0), 20)]));
        as_of::file(&scene.server.consolidator, &scene.form, delta).await;
    }
    let head = scene.server.consolidator.snapshot().state.position;
    let list = async |page_size, page_token: String| {
        // The first page is of a moment, so that each run lists the same; the token keeps the others to it.
        let as_of = page_token.is_empty().then_some(api::AsOf { moment: Some(Moment::Position(head)) });
        let request =
            api::ListSubmissionsRequest { node: "0".into(), page_size, page_token, as_of, ..Default::default() };
        scene.auditor.submissions().list_submissions(request).await.map(|answer| answer.into_inner())
    };
    let whole = list(0, String::new()).await.unwrap().submissions;
    assert_eq!(whole.len(), 6);
    for page_size in [1, 2, 5, 6] {
        let (mut paged, mut token) = (Vec::new(), String::new());
        loop {
            let page = list(page_size, token).await.unwrap();
            paged.extend(page.submissions);
            token = page.next_page_token;
            assert!(paged.len() <= whole.len(), "the same again");
            if token.is_empty() {
                break;
            }
            // What comes meanwhile is on no page.
            scene.take(&Step::File(3, said(&[((1, 0), 500)]))).await;
        }
        assert_eq!(paged, whole, "{page_size}");
    }
    for wrong in ["x", "7", "0.1", "3.9", "8.999", "unit 0000000001"] {
        assert_eq!(reason(&list(1, wrong.into()).await.unwrap_err()), "BAD_REQUEST", "{wrong}");
    }
    scene.server.stop().await;
}

#[tokio::test]
async fn versions_differ_cell_by_cell_and_say_at_which_version() {
    let scene = Scene::new().await;
    let first = scene.take(&Step::File(0, said(&[((1, 0), 500), ((2, 0), 500), ((4, 1), 0)]))).await;
    let second = scene.take(&Step::File(0, said(&[((1, 0), 700), ((2, 0), 700), ((4, 1), 0)]))).await;
    let third = scene.take(&Step::File(0, said(&[((1, 0), 900), ((4, 0), 100)]))).await;
    let diff = scene.diff(FIRST_UNIT, version(1), version(3)).await;
    let told: Vec<String> = diff.cells.iter().map(named).collect();
    assert_eq!(
        told,
        [
            format!("A/1/x: 5.00 → 9.00 (4.00) [{second}, {third}]"),
            format!("A/11/x removed: 5.00 → – () [{second}, {third}]"),
            format!("A/2/x: \u{20}→ 1.00 () [{third}]"),
            format!("A/2/y: 0.00 → \u{20}() [{third}]"),
        ],
    );
    assert_eq!(
        diff.events.iter().map(|event| (event.position, event.version)).collect::<Vec<_>>(),
        [(second, 2), (third, 3)]
    );
    // Asked backwards, and of a moment that didn't know the later versions, the same events are behind it.
    let back = scene.diff(FIRST_UNIT, side(third), side(first)).await;
    let causes = |diff: &api::DiffResponse| diff.cells.iter().map(|cell| cell.causes.clone()).collect::<Vec<_>>();
    assert_eq!(causes(&back), causes(&diff));
    assert_eq!((diff.from.unwrap().version.unwrap().version, diff.to.unwrap().version.unwrap().version), (1, 3));
    assert!(scene.diff(FIRST_UNIT, version(2), version(2)).await.cells.is_empty());
    // A row that came is told even if nothing stands in it.
    let fourth = scene.take(&Step::File(0, said(&[((2, 0), 900), ((4, 0), 100)]))).await;
    let diff = scene.diff(FIRST_UNIT, version(3), version(4)).await;
    let told: Vec<String> = diff.cells.iter().map(named).collect();
    assert_eq!(told, [format!("A/1/x: 9.00 → \u{20}() [{fourth}]"), format!("A/11/x added: – → 9.00 () [{fourth}]")]);
    scene.take(&Step::File(0, said(&[((4, 0), 100)]))).await;
    let sixth = scene.take(&Step::File(0, said(&[((2, 0), 900), ((4, 0), 100)]))).await;
    let diff = scene.diff(FIRST_UNIT, version(5), version(6)).await;
    let told: Vec<String> = diff.cells.iter().map(named).collect();
    assert_eq!(told, [format!("A/1/ added: – → – () [{sixth}]"), format!("A/11/x added: – → 9.00 () [{sixth}]")]);
    scene.server.stop().await;
}

#[tokio::test]
async fn a_list_is_compared_under_its_units_and_a_table_that_came_is_said() {
    let scene = Scene::new().await;
    let before = scene.take(&Step::File(0, said(&[((1, 0), 500)]))).await;
    let with = Said { transfers: [((3, true), 2)].into(), ..said(&[((1, 0), 500)]) };
    let after = scene.take(&Step::File(0, with)).await;
    let diff = scene.diff("1", side(before), side(after)).await;
    let listed: Vec<_> = diff.cells.iter().filter(|cell| !cell.unit.is_empty()).collect();
    assert!(!listed.is_empty() && listed.iter().all(|cell| cell.unit == FIRST_UNIT && cell.table == "M"));
    assert!(listed.iter().all(|cell| cell.change() == api::RowChange::Added && cell.from.is_none()));
    assert!(listed.iter().all(|cell| cell.causes == [after]), "{listed:?}");
    // Asked backwards, the same event is behind it.
    let back = scene.diff("1", side(after), side(before)).await;
    assert_eq!(back.cells.len(), diff.cells.len());
    assert!(back.cells.iter().all(|cell| cell.causes == [after]), "{:?}", back.cells);
    scene.server.stop().await;
}

/// A row that the form prints is there in every filing: whether it was written down blank or left out is no difference.
#[tokio::test]
async fn a_printed_row_that_is_blank_on_both_sides_is_no_difference() {
    let server = TestServer::fenyang().await;
    let form = form("shanxi-2024");
    let mut file = example("fenyang-2024/submissions/407001.json");
    let client = server.client(&unit("407001")).await;
    client.submit(&file, &form).await.unwrap();
    let mut left_out = 0;
    for table in &mut file.tables {
        let (_, definition) = form.table(&table.header.id).unwrap();
        if matches!(definition.rows, Rows::Fixed { .. }) {
            let before = table.rows.len();
            table.rows.retain(|(_, cells)| cells.iter().any(|cell| !cell.is_empty()));
            left_out += before - table.rows.len();
        }
    }
    assert!(left_out > 0);
    assert_eq!(client.submit(&file, &form).await.unwrap().version, 2);
    let request = |from, to| api::DiffRequest {
        node: "407001".into(),
        from: Some(api::DiffSide { version: from, kind: api::Kind::Unit.into(), ..Default::default() }),
        to: Some(api::DiffSide { version: to, kind: api::Kind::Unit.into(), ..Default::default() }),
        ..Default::default()
    };
    for (from, to) in [(1, 2), (2, 1)] {
        let diff = client.consolidation().diff(request(from, to)).await.unwrap().into_inner();
        assert_eq!((diff.cells.as_slice(), diff.changed), (&[][..], 0), "from {from} to {to}");
    }
    server.stop().await;
}

/// Not filed, empty on purpose, and filed are three things.
#[tokio::test]
async fn what_became_of_a_table_is_told() {
    let scene = Scene::new().await;
    let consolidator = &scene.server.consolidator;
    let table = |id: &str, empty| {
        let columns = vec!["x".into()];
        TableHeader { id: id.into(), empty, columns, ..TableHeader::default() }
    };
    for tables in [vec![table("A", false)], vec![table("A", false), table("M", true)]] {
        let slot = Slot { unit: FIRST_UNIT.into(), year: YEAR, round: Round::Second, kind: Kind::Unit };
        let mut intake = Intake::new(&scene.form, slot, &tables);
        assert!(intake.row(0, "2", ["1.00"]));
        as_of::file(consolidator, &scene.form, intake.place()).await;
    }
    for (from, to, told) in [(1, 2, ["M", "missing", "empty"]), (2, 1, ["M", "empty", "missing"])] {
        let diff = scene.diff(FIRST_UNIT, version(from), version(to)).await;
        assert!(diff.cells.is_empty(), "{:?}", diff.cells);
        let [table] = diff.tables.as_slice() else { panic!("{:?}", diff.tables) };
        assert_eq!([table.table.as_str(), &table.from, &table.to], told);
    }
    scene.server.stop().await;
}

#[tokio::test]
async fn rounds_and_years_differ_by_the_filings_behind_them() {
    let scene = Scene::new().await;
    let consolidator = &scene.server.consolidator;
    let nodes = laws::nodes([0, 1, 2, 3, 4]);
    act(consolidator, Actor::service(), Action::ImportUnits { year: YEAR - 1, nodes }).await;
    let (this_year, last_year) = (format!("year = {YEAR}"), format!("year = {}", YEAR - 1));
    let old_form = scene.form_with(|text| text.replace(&this_year, &last_year));
    let publish = async |form: &Arc<FormSet>| {
        let form = form.clone();
        act(consolidator, Actor::service(), Action::PublishFormSet { form }).await;
    };
    let listed = |duty| Said { transfers: [((3, true), duty)].into(), ..Said::default() };
    let file = async |unit: &str, year, round, (fen, duty)| {
        let form = if year == YEAR { &scene.form } else { &old_form };
        let slot = Slot { unit: unit.into(), year, round, kind: Kind::Unit };
        let placed = laws::read_into(form, slot, &Said { cells: said(&[((0, 0), fen)]).cells, ..listed(duty) });
        as_of::file(consolidator, form, placed).await;
        consolidator.snapshot().state.position
    };
    publish(&old_form).await;
    let last_year = file("11", YEAR - 1, Round::Second, (300, 1)).await;
    publish(&scene.form).await;
    for round in [Round::First, Round::Second] {
        let open = Action::OpenRound { year: YEAR, round, deadline: None, reason: String::new() };
        act(consolidator, Actor { node: "0".into(), role: Role::Bureau }, open).await;
    }
    let first = file("11", YEAR, Round::First, (500, 2)).await;
    let at_12 = file("12", YEAR, Round::First, (100, 5)).await;
    let second = file("11", YEAR, Round::Second, (700, 3)).await;
    let other = file("12", YEAR, Round::Second, (100, 6)).await;
    let of = |year: u16, round: api::Round| api::DiffSide {
        year: year.into(),
        round: round.into(),
        ..api::DiffSide::default()
    };
    let told = async |node: &str, from, to| {
        let diff = scene.diff(node, from, to).await;
        let events: Vec<u64> = diff.events.iter().map(|event| event.position).collect();
        (diff.cells.iter().filter(|cell| cell.unit.is_empty()).map(named).collect::<Vec<_>>(), events)
    };
    let (this_first, this) = (of(YEAR, api::Round::First), of(YEAR, api::Round::Second));
    let before = of(YEAR - 1, api::Round::Second);
    // Between rounds: what 12 filed is the same in both, and stands behind nothing.
    let (cells, events) = told("1", this_first.clone(), this.clone()).await;
    let listed = format!("M/Σ/x: 0.07 → 0.09 (0.02) [{first}, {at_12}, {second}, {other}]");
    assert_eq!(cells, [format!("A/和/x: 6.00 → 8.00 (2.00) [{first}, {second}]"), listed]);
    assert_eq!(events, [first, at_12, second, other]);
    // The list of a unit differs by its own filings.
    let diff = scene.diff("1", this_first.clone(), this.clone()).await;
    let of_11 = diff.cells.iter().filter(|cell| cell.unit == "11");
    assert!(of_11.clone().count() > 0 && of_11.clone().all(|cell| cell.causes == [first, second]), "{:?}", diff.cells);
    // Between years: 12 had filed nothing then.
    let (cells, events) = told("1", before.clone(), this.clone()).await;
    let behind = format!("[{last_year}, {second}, {other}]");
    assert_eq!(
        cells,
        ["A/和/x: 3.00 → 8.00 (5.00) ", "M/Σ/x: 0.01 → 0.09 (0.08) "].map(|cell| cell.to_owned() + &behind)
    );
    assert_eq!(events, [last_year, second, other]);
    // Of a unit alone it is its two filings; asked backwards as well.
    let (cells, _) = told("11", before.clone(), this_first).await;
    let behind = format!("[{last_year}, {first}]");
    assert_eq!(
        cells,
        ["A/和/x: 3.00 → 5.00 (2.00) ", "M/14/in/x: 0.01 → 0.02 (0.01) "].map(|cell| cell.to_owned() + &behind)
    );
    let (cells, _) = told("11", this, before).await;
    let behind = format!("[{last_year}, {second}]");
    assert_eq!(
        cells,
        ["A/和/x: 7.00 → 3.00 (-4.00) ", "M/14/in/x: 0.03 → 0.01 (-0.02) "].map(|cell| cell.to_owned() + &behind)
    );
    scene.server.stop().await;
}

/// The shares of a figure come in pages, difference forms among them, with the last lines behind each; what was filed on
/// another layout is no part of it.
#[tokio::test]
async fn a_trace_is_the_same_in_pages_and_of_one_layout() {
    let scene = Scene::new().await;
    scene.take(&Step::File(0, said(&[((0, 0), 900), ((1, 0), 900), ((2, 0), 900)]))).await;
    scene.take(&Step::File(1, said(&[((0, 0), 100)]))).await;
    scene.take(&Step::Differ(said(&[((0, 0), 7)]))).await;
    let trace = async |form_set: &str, page_size: u32, page_token: String| {
        let cell = "A/和/x".to_owned();
        let scope = Some(api::Scope { form_set: form_set.to_owned(), ..scope("1") });
        let request = api::TraceRequest { scope, cell, page_size, page_token, reviewed: false };
        scene.auditor.consolidation().trace(request).await.unwrap().into_inner()
    };
    let whole = trace("", 1_000, String::new()).await.shares;
    let told: Vec<_> = whole.iter().map(|share| (share.unit.as_str(), share.kind(), share.value.as_str())).collect();
    assert_eq!(
        told,
        [("1", api::Kind::Difference, "0.07"), ("11", api::Kind::Unit, "9.00"), ("12", api::Kind::Unit, "1.00")]
    );
    let lines: Vec<&str> = whole.iter().flat_map(|share| &share.lines).map(|line| line.row.as_str()).collect();
    assert_eq!(lines, ["11"], "what adds up others is no line");
    let (mut paged, mut token) = (Vec::new(), String::new());
    for _ in &whole {
        let page = trace("", 1, token).await;
        paged.extend(page.shares);
        token = page.next_page_token;
    }
    assert_eq!((paged, token), (whole, String::new()));
    let form = scene.publish(another_layout).await;
    take(&scene.server.consolidator, &form, &Step::File(1, said(&[((0, 0), 200)]))).await;
    for (layout, told) in [(form.layout, vec!["12 2.00"]), (scene.form.layout, vec!["1 0.07", "11 9.00"])] {
        let shares = trace(&format!("{} {}", form.id, layout.short()), 1_000, String::new()).await.shares;
        assert_eq!(shares.iter().map(|share| format!("{} {}", share.unit, share.value)).collect::<Vec<_>>(), told);
    }
    scene.server.stop().await;
}

#[tokio::test]
async fn tables_of_another_layout_are_said_and_not_compared() {
    let scene = Scene::new().await;
    let before = scene.take(&Step::File(0, said(&[((1, 0), 500)]))).await;
    let form = scene
        .publish(|text| another_layout(text) + "[N]\nname = \"新\"\nrows = \"码\"\ncolumns = { x = \"数\" }\n")
        .await;
    take(&scene.server.consolidator, &form, &Step::File(0, said(&[((1, 0), 900)]))).await;
    for (from, to, left_out) in [
        (side(before), api::DiffSide::default(), [("A", "layout"), ("N", "new")]),
        (api::DiffSide::default(), side(before), [("N", "gone"), ("A", "layout")]),
    ] {
        let diff = scene.diff(FIRST_UNIT, from, to).await;
        assert!(diff.cells.iter().all(|cell| !["A", "N"].contains(&cell.table.as_str())), "{:?}", diff.cells);
        let told: Vec<_> = diff.tables.iter().map(|table| (&*table.table, &*table.not_compared)).collect();
        assert_eq!(told, left_out);
    }
    scene.server.stop().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5, failure_persistence: None, ..ProptestConfig::default() })]

    /// Between any two positions: every cell that differs is told and no other, each with causes, and at each cause it is
    /// another cell than before it. The history of a cell says the same.
    #[test]
    fn law_a_diff_tells_every_cell_that_differs(
        steps in prop::collection::vec(laws::step(), 4..12),
        ends in any::<[prop::sample::Index; 2]>(),
        node in prop::sample::select(vec!["0", "1", "9", "12"]),
    ) {
        runtime().block_on(async {
            let scene = Scene::new().await;
            let first = scene.server.consolidator.snapshot().state.position;
            let mut head = first;
            for step in &steps {
                head = scene.take(step).await;
            }
            let span = usize::try_from(head - first).unwrap() + 1;
            let mut ends = ends.map(|end| first + end.index(span) as u64);
            ends.sort_unstable();
            let diff = scene.diff(node, side(ends[0]), side(ends[1])).await;
            let (before, after) = (scene.cells(node, ends[0]).await, scene.cells(node, ends[1]).await);
            let differ: BTreeSet<[String; 3]> = before
                .keys()
                .chain(after.keys())
                .filter(|cell| {
                    let value = |cells: &BTreeMap<[String; 3], ShownCell>| {
                        cells.get(*cell).map(|cell| cell.value.to_string()).unwrap_or_default()
                    };
                    value(&before) != value(&after)
                })
                .cloned()
                .collect();
            let cell = |cell: &api::ChangedCell| [cell.table.clone(), cell.row.clone(), cell.column.clone()];
            let own: Vec<_> = diff.cells.iter().filter(|cell| cell.unit.is_empty() && !cell.column.is_empty()).collect();
            let told: BTreeSet<[String; 3]> = own.iter().map(|changed| cell(changed)).collect();
            assert_eq!(told, differ, "{node} from {ends:?}");
            assert!(!diff.causes_left_out);
            for changed in own.into_iter().take(6) {
                assert!(!changed.causes.is_empty(), "{changed:?}");
                let events: BTreeSet<u64> = diff.events.iter().map(|event| event.position).collect();
                for cause in &changed.causes {
                    assert!(*cause > ends[0] && *cause <= ends[1] && events.contains(cause), "{changed:?}");
                    let at = async |position| scene.cells(node, position).await.get(&cell(changed)).cloned();
                    assert_ne!(at(cause - 1).await, at(*cause).await, "{changed:?} at {cause}");
                }
            }
            // In pages it is the same.
            let paged = scene.diff_by(node, side(ends[0]), side(ends[1]), 2).await;
            assert_eq!(paged.cells, diff.cells);
            scene.server.stop().await;
        });
    }
}

async fn history_of(scene: &Scene, node: &str, cell: &str, page_size: u32) -> Vec<api::CellValue> {
    let mut request = api::GetCellHistoryRequest {
        node: node.into(),
        cell: cell.into(),
        page_size,
        ..api::GetCellHistoryRequest::default()
    };
    let mut values = Vec::new();
    loop {
        let page = scene.auditor.audit().get_cell_history(request.clone()).await.unwrap().into_inner();
        values.extend(page.values);
        if page.next_page_token.is_empty() {
            return values;
        }
        request.page_token = page.next_page_token;
    }
}

#[tokio::test]
async fn a_cells_history_is_every_value_that_it_had() {
    let scene = Scene::new().await;
    let transfer = |incoming| [((if incoming { 1 } else { 0 }, incoming), 2)].into();
    for step in [
        Step::File(0, said(&[((0, 0), 500)])),
        Step::File(1, Said { transfers: transfer(false), ..said(&[((0, 0), 100), ((0, 1), 300)]) }),
        // The same again: no other value.
        Step::File(0, said(&[((0, 0), 500)])),
        Step::Differ(said(&[((0, 0), 7)])),
        // Both sides agree now: an elimination.
        Step::File(0, Said { transfers: transfer(true), ..said(&[((0, 0), 500)]) }),
        // A unit goes to another department below the same one, and comes back.
        Step::Move([4, 1, 2, 3, 4]),
        Step::Move([0, 1, 2, 3, 4]),
        Step::File(0, said(&[((1, 0), 900)])),
        Step::File(0, said(&[((0, 0), 800)])),
    ] {
        scene.take(&step).await;
    }
    // Given back and reopened, then taken back: it ceases to count, counts again, ceases.
    let slot = Slot { unit: FIRST_UNIT.into(), year: YEAR, round: Round::Second, kind: Kind::Unit };
    let version = scene.server.consolidator.snapshot().state.filings(&slot).unwrap().versions.len() as u32;
    let (department, unit) = (("1", Role::Department), (FIRST_UNIT, Role::Unit));
    for (step, (node, role)) in [(Move::Return, department), (Move::Reopen, department), (Move::Withdraw, unit)] {
        let step = VersionStep {
            target: Target { slot: slot.clone(), version },
            step,
            reason: "so".into(),
            lines: Vec::new(),
            to_justify: Vec::new(),
            reviewed: None,
        };
        act(&scene.server.consolidator, Actor { node: node.into(), role }, Action::Step(step)).await;
    }
    let head = scene.server.consolidator.snapshot().state.position;
    for (node, cell) in [("1", "A/和/x"), ("9", "A/和/x"), ("0", "A/和/y"), (FIRST_UNIT, "A/和/x")] {
        let values = history_of(&scene, node, cell, 0).await;
        let place: [String; 3] = cell.split('/').map(str::to_owned).collect::<Vec<_>>().try_into().unwrap();
        let mut expected = Vec::new();
        let mut last: Option<ShownCell> = None;
        for position in 1..=head {
            let now = scene.cells(node, position).await.get(&place).cloned();
            let differs = |one: &Option<ShownCell>, other: &Option<ShownCell>| {
                one.as_ref().map(|cell| &cell.value) != other.as_ref().map(|cell| &cell.value)
            };
            if differs(&now, &last) {
                expected.push((position, last.clone(), now.clone()));
            }
            last = now;
        }
        let told: Vec<_> = values.iter().map(|one| (one.position, one.from.clone(), one.to.clone())).collect();
        assert_eq!(told, expected, "{node} {cell}");
        assert_eq!(history_of(&scene, node, cell, 1).await, values, "page by page");
    }
    let values = history_of(&scene, "1", "A/和/x", 0).await;
    assert_eq!(values[0].kind, "submitted");
    assert_eq!((values[0].unit.as_str(), values[0].version, values[0].difference.as_str()), (FIRST_UNIT, 1, ""));
    assert_eq!(values[1].difference, "1.00");
    let steps: Vec<_> = history_of(&scene, FIRST_UNIT, "A/和/x", 0).await.into_iter().rev().take(3).collect();
    assert!(steps.iter().all(|one| one.kind == "version_moved" && one.unit == FIRST_UNIT && one.version == version));
    let steps: Vec<_> = steps.iter().map(|one| (one.step(), one.to.is_some())).collect();
    let meant = [(ReviewStep::Withdraw, false), (ReviewStep::Reopen, true), (ReviewStep::Return, false)];
    assert_eq!(steps, meant);
    scene.server.stop().await;
}

#[tokio::test]
async fn events_are_found_by_who_what_whose_and_when() {
    let server = TestServer::fenyang().await;
    let form = form("shanxi-2024");
    for name in ["407003", "407004-over", "407004", "407003"] {
        let file = example(&format!("fenyang-2024/submissions/{name}.json"));
        server.client(&unit(&file.slot.unit)).await.submit(&file, &form).await.unwrap();
    }
    let list = async |request: api::ListEventsRequest| {
        server.client(AUDITOR).await.audit().list_events(request).await.map(|answer| answer.into_inner())
    };
    let all = list(api::ListEventsRequest::default()).await.unwrap();
    assert_eq!(all.events.len() as u64, all.head);
    let kind = |event: &api::JournalEvent| match event.event.as_ref().unwrap() {
        api::journal_event::Event::Submitted(_) => "submitted",
        api::journal_event::Event::Refused(_) => "refused",
        _ => "other",
    };
    let positions = |events: &[api::JournalEvent]| events.iter().map(|event| event.position).collect::<Vec<_>>();
    let only = |wanted: &dyn Fn(&api::JournalEvent) -> bool| -> Vec<u64> {
        all.events.iter().filter(|event| wanted(event)).map(|event| event.position).collect()
    };
    let middle = all.events[all.events.len() / 2].time_ms;
    let unit_events = positions(&server.client(AUDITOR).await.history("407004").await.unwrap().events);
    for (request, expected) in [
        (
            api::ListEventsRequest { actor: unit("407003"), ..Default::default() },
            only(&|event| event.actor == unit("407003")),
        ),
        (
            api::ListEventsRequest { kinds: vec!["refused".into(), "submitted".into()], ..Default::default() },
            only(&|event| kind(event) != "other"),
        ),
        (api::ListEventsRequest { unit: "407004".into(), ..Default::default() }, unit_events),
        (api::ListEventsRequest { from_time_ms: middle, ..Default::default() }, only(&|event| event.time_ms >= middle)),
        (api::ListEventsRequest { to_time_ms: middle, ..Default::default() }, only(&|event| event.time_ms <= middle)),
        (api::ListEventsRequest { from_position: 3, ..Default::default() }, only(&|event| event.position >= 3)),
        (
            api::ListEventsRequest {
                kinds: vec!["submitted".into()],
                unit: "407004".into(),
                from_time_ms: middle,
                ..Default::default()
            },
            only(&|event| kind(event) == "submitted" && event.actor == unit("407004") && event.time_ms >= middle),
        ),
    ] {
        assert!(!expected.is_empty());
        assert_eq!(positions(&list(request.clone()).await.unwrap().events), expected, "{request:?}");
        let mut paged = Vec::new();
        let mut page = api::ListEventsRequest { page_size: 1, ..request };
        loop {
            let answer = list(page.clone()).await.unwrap();
            paged.extend(positions(&answer.events));
            if answer.next_page_token.is_empty() {
                break;
            }
            page.page_token = answer.next_page_token;
        }
        assert_eq!(paged, expected);
    }
    for (request, refusal) in [
        (api::ListEventsRequest { actor: "407003".into(), ..Default::default() }, "BAD_REQUEST"),
        (api::ListEventsRequest { kinds: vec!["filed".into()], ..Default::default() }, "BAD_REQUEST"),
        (api::ListEventsRequest { unit: "999".into(), ..Default::default() }, "UNKNOWN_UNIT"),
        (api::ListEventsRequest { from_time_ms: 2, to_time_ms: 1, ..Default::default() }, "BAD_REQUEST"),
        (api::ListEventsRequest { page_token: "x".into(), ..Default::default() }, "BAD_REQUEST"),
        (api::ListEventsRequest { page_token: "0".into(), ..Default::default() }, "BAD_REQUEST"),
    ] {
        assert_eq!(reason(&list(request.clone()).await.unwrap_err()), refusal, "{request:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn what_can_not_be_compared_or_traced_is_refused() {
    let scene = Scene::new().await;
    let head = scene.take(&Step::File(0, said(&[((1, 0), 500)]))).await;
    let diff = async |request: api::DiffRequest| {
        scene.auditor.consolidation().diff(request).await.map_err(|status| reason(&status))
    };
    let whole = api::DiffRequest {
        node: "1".into(),
        from: Some(side(head - 1)),
        to: Some(api::DiffSide::default()),
        ..api::DiffRequest::default()
    };
    assert!(diff(whole.clone()).await.is_ok());
    for (request, refusal) in [
        (api::DiffRequest { from: None, ..whole.clone() }, "BAD_REQUEST"),
        (api::DiffRequest { to: None, ..whole.clone() }, "BAD_REQUEST"),
        (api::DiffRequest { from: Some(side(head + 1)), ..whole.clone() }, "UNKNOWN_POSITION"),
        (api::DiffRequest { node: "77".into(), ..whole.clone() }, "UNKNOWN_UNIT"),
        (api::DiffRequest { tables: vec!["T99".into()], ..whole.clone() }, "UNKNOWN_TABLE"),
        (api::DiffRequest { node: FIRST_UNIT.into(), from: Some(version(9)), ..whole.clone() }, "UNKNOWN_SUBMISSION"),
        (api::DiffRequest { from: Some(api::DiffSide { year: 1999, ..side(head) }), ..whole.clone() }, "UNKNOWN_YEAR"),
        (api::DiffRequest { page_token: "1.2".into(), ..whole.clone() }, "BAD_REQUEST"),
        (api::DiffRequest { page_token: "0.2.3".into(), ..whole.clone() }, "BAD_REQUEST"),
        (api::DiffRequest { page_token: "1.2.3.4".into(), ..whole.clone() }, "BAD_REQUEST"),
        (api::DiffRequest { page_token: format!("{0}.{0}.1", head + 1), ..whole.clone() }, "UNKNOWN_POSITION"),
    ] {
        assert_eq!(diff(request.clone()).await.unwrap_err(), refusal, "{request:?}");
    }
    for token in ["x", "1", "1.11", "1.11.both", "0.11.unit", "1.11.unit.x"] {
        let request = api::TraceRequest {
            scope: Some(scope("1")),
            cell: "A/1/x".into(),
            page_token: token.into(),
            ..Default::default()
        };
        assert_eq!(reason(&scene.auditor.consolidation().trace(request).await.unwrap_err()), "BAD_REQUEST", "{token}");
    }
    for (cell, token, refusal) in [
        ("A/1/q", "", "UNKNOWN_CELL"),
        ("A", "", "BAD_REQUEST"),
        ("M/11/in/x", "", "NOT_SUMMED"),
        ("A/1/x", "5", "BAD_REQUEST"),
        ("A/1/x", "5.9", "BAD_REQUEST"),
        ("A/1/x", "9999.1", "UNKNOWN_POSITION"),
    ] {
        let request = api::GetCellHistoryRequest {
            node: "1".into(),
            cell: cell.into(),
            page_token: token.into(),
            ..Default::default()
        };
        let answer = scene.auditor.audit().get_cell_history(request).await;
        assert_eq!(reason(&answer.unwrap_err()), refusal, "{cell} {token}");
    }
    scene.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_asks_all_of_it_in_both_languages() {
    let scene = Scene::new().await;
    scene.take(&Step::File(0, said(&[((1, 0), 500), ((2, 0), 500)]))).await;
    scene.take(&Step::File(1, said(&[((1, 0), 300)]))).await;
    scene.take(&Step::Differ(said(&[((1, 0), 20)]))).await;
    let head = scene.take(&Step::File(0, said(&[((1, 0), 700), ((4, 0), 100)]))).await;
    let run = async |line: String, code: u8| {
        let address = scene.server.address.clone();
        let arguments: Vec<_> = format!("consolidator --server {address} --as 0/auditor {line}")
            .split_whitespace()
            .map(std::ffi::OsString::from)
            .collect();
        let ended = tokio::task::spawn_blocking(move || cli::run(arguments)).await.unwrap();
        assert_eq!(ended.code, code, "{line}\n{}{}", ended.out, ended.err);
        ended.out + &ended.err
    };
    let before = head - 1;
    for (line, parts) in [
        ("diff 11 --from v1 --to v2".to_owned(), &["A/1", "5.00", "7.00", "2.00"][1..]),
        (format!("diff 1 --from @{before} --to @{head}"), &["budget://11/unit", "11"]),
        ("history 1 --cell A/1/x".to_owned(), &["5.00", "8.00", "8.20", "10.20"]),
        (format!("history 1 --cell A/1/x --as-of {before}"), &["8.20"]),
        ("history --by 11/unit --kind submitted".to_owned(), &["11"]),
        ("trace 0 A/1/x".to_owned(), &["7.00", "3.00", "0.20", "10.20"]),
        (format!("trace 1 A/1/x --as-of @{before}"), &["8.20"]),
        (format!("view 1 --as-of {before}"), &["8.20"]),
        (format!("status 1 --as-of {before}"), &["11"]),
        (format!("findings 1 --as-of {before}"), &[]),
        (format!("control list 1 --as-of {before}"), &[]),
        (format!("unit list 1 --as-of {before}"), &["11"]),
        (format!("round list --as-of {before}"), &["2030"]),
        (format!("review 11 --as-of {before}"), &["11"]),
    ] {
        for form in ["--lang zh", "--lang en", "--format json", "--format csv"] {
            let text = run(format!("{form} {line}"), 0).await;
            assert!(!text.trim().is_empty(), "{form} {line}");
            let missing: Vec<_> = parts.iter().filter(|part| !text.contains(*part)).collect();
            assert!(form.contains("format") || missing.is_empty(), "{line} lacks {missing:?}:\n{text}");
        }
    }
    // A filing is no step of review, and is called none.
    let told = run("--format json history 1 --cell A/1/x".to_owned(), 0).await;
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let values = told["values"].as_array().unwrap();
    assert!(values.iter().any(|value| value["event"] == "submitted"), "{values:?}");
    assert!(values.iter().all(|value| value["step"] == ""), "{values:?}");
    // What is left out means what the help says that it means.
    for (line, says, never) in [
        ("trace --help", "The shares less the eliminations are the total.", "各 share"),
        ("history --help", "the whole journal if left out", "your own if left out"),
        ("audit rotate-key --help", "its signing key and the last checkpoint", "beside the data directory"),
    ] {
        let told = run(format!("--lang en {line}"), 0).await;
        assert!(told.contains(says) && !told.contains(never), "{told}");
    }
    for line in ["unit list 1", "round list", "review 11"] {
        for (as_of, position) in [(String::new(), head), (format!(" --as-of {before}"), before)] {
            let told = run(format!("--format json {line}{as_of}"), 0).await;
            let told: serde_json::Value = serde_json::from_str(&told).unwrap();
            assert_eq!(told["position"], position, "{line}{as_of}");
        }
        let told = run(format!("--lang en {line} --as-of {before}"), 0).await;
        assert!(told.contains(&format!("As it stood then: as of record {before}")), "{told}");
    }
    for (line, code) in [
        (format!("view 1 --as-of {}", head + 1), 1),
        ("view 1 --as-of yesterday".to_owned(), 2),
        ("diff 1 --from never".to_owned(), 2),
        ("diff 1".to_owned(), 2),
        ("diff 11 --from v7".to_owned(), 1),
        ("history 1 --cell A/9/q".to_owned(), 1),
        ("view 1 --as-of 2020-01-01".to_owned(), 1),
        ("view 1 --children --column x".to_owned(), 0),
        ("view 1 --children --column nowhere".to_owned(), 2),
    ] {
        run(line, code).await;
    }
    scene.server.stop().await;
}

/// Of a node that they see, everybody may ask for some events only; the whole journal is the bureau's and its auditors'.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_sees_a_node_asks_for_some_of_its_history() {
    let server = TestServer::start().await;
    server.furnish("fenyang-2024", "shanxi-2024", 2024).await;
    let form = form("shanxi-2024");
    let file = example("fenyang-2024/submissions/407001.json");
    let unit = server.client("budget://407001/unit").await;
    let filed = unit.submit(&file, &form).await.unwrap().position;
    assert_eq!(unit.submit(&file, &form).await.unwrap().version, 2);
    let ask = |who: &str, arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_consolidator"));
        command.args(["--lang", "en", "--format", "json", "--server", &server.address, "--as", who, "history"]);
        let output = command.args(arguments).env_remove("BUDGET_AS").output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let told: serde_json::Value = serde_json::from_str(&said).unwrap_or_default();
        let Some(events) = told["events"].as_array() else { return Err(said) };
        Ok(events.iter().map(|event| event["position"].as_u64().unwrap()).collect::<Vec<_>>())
    };
    let (first, second) = (filed, filed + 1);
    let (since, until) = (second.to_string(), first.to_string());
    for who in ["407001/unit", "407/department", "0/auditor"] {
        assert_eq!(ask(who, &["407001", "--kind", "submitted"]), Ok(vec![first, second]), "{who}");
        assert_eq!(ask(who, &["407001", "--kind", "justified"]), Ok(vec![]), "{who}");
        assert_eq!(ask(who, &["407001", "--kind", "submitted", "--since", &since]), Ok(vec![second]), "{who}");
        assert_eq!(ask(who, &["407001", "--kind", "submitted", "--until", &until]), Ok(vec![first]), "{who}");
        assert_eq!(ask(who, &["407001", "--by", "407001/unit"]), Ok(vec![first, second]), "{who}");
        let unknown = ask(who, &["407001", "--kind", "filed"]).unwrap_err();
        assert!(unknown.contains("submitted, refused"), "{unknown}");
    }
    assert!(ask("407/department", &["--kind", "submitted"]).unwrap_err().contains("NOT_PERMITTED"));
    server.stop().await;
}
