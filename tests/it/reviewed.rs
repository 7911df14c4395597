//! Sums as they were reviewed (审核数): what a second server shows whose units have filed the reviewed figures themselves.
//! Both have the form set without its rules, since figures that are changed one by one don't add up.

use std::collections::{BTreeMap, BTreeSet};

use budget_consolidator::budget::form_set::{ColumnKind, FormSet};
use budget_consolidator::budget::money::{Decimals, Denomination};
use budget_consolidator::budget::submission::{Kind, Slot};
use budget_consolidator::proto::api;
use budget_consolidator::proto::api::review_service_client::ReviewServiceClient;
use budget_consolidator::submission_file::SubmissionFile;

use crate::bad_input::set;
use crate::generator::Random;
use crate::support::*;

const UNITS: [&str; 4] = ["407001", "407002", "407003", "407004"];
const NODES: [&str; 6] = ["0", "407", "407001", "407002", "407003", "407004"];
/// What 407001 pays 407003, as each of them states it; both state the same.
const PAID: [(&str, &str); 2] =
    [("407001", "TRANSFER/407003/grant-out/amount"), ("407003", "TRANSFER/407001/grant-in/amount")];

fn file_of(unit: &str) -> SubmissionFile {
    example(&format!("fenyang-2024/submissions/{unit}.json"))
}

/// Cells with an amount that is filed in the unit of its column.
fn amounts(file: &SubmissionFile, form: &FormSet) -> Vec<String> {
    let wan = ColumnKind::Amount { denomination: Denomination::Wan, decimals: Decimals::Fixed(2) };
    let tables = file.tables.iter().filter(|table| table.header.amount_unit.is_empty());
    let cells = tables.flat_map(|table| {
        let (_, definition) = form.table(&table.header.id).unwrap();
        let kind = |id: &str| definition.columns[definition.column(id).unwrap()].kind;
        let is_paid = table.header.id == "TRANSFER";
        let row = move |(key, values): &(String, Vec<String>)| {
            let filled = table.header.columns.iter().zip(values).filter(|(_, value)| !value.is_empty());
            let of_money = filled.filter(|(column, _)| kind(column) == wan || is_paid && *column == "amount");
            of_money.map(|(column, _)| format!("{}/{key}/{column}", table.header.id)).collect::<Vec<_>>()
        };
        table.rows.iter().flat_map(row).collect::<Vec<_>>()
    });
    cells.collect()
}

async fn view(client: &Client, node: &str, reviewed: bool) -> api::ViewResponse {
    let scope = Some(api::Scope { form_set: "shanxi-2024".into(), ..scope(node) });
    let request = api::ViewRequest { scope, tables: Vec::new(), children: true, reviewed };
    let view = client.consolidation().view(request).await.unwrap().into_inner();
    // What stands in the tables is the same; the journals and the rules are others.
    api::ViewResponse {
        position: 0,
        time_ms: 0,
        form_set_digest: Vec::new(),
        rule_counts: None,
        rule_findings: Vec::new(),
        reviewed: 0,
        ..view
    }
}

async fn rows(client: &Client, node: &str, reviewed: bool) -> Vec<api::ShownRow> {
    let scope = Some(api::Scope { form_set: "shanxi-2024".into(), ..scope(node) });
    let request = api::ListRowsRequest { scope, table: "T12".into(), page_size: 1_000, reviewed, ..Default::default() };
    client.consolidation().list_rows(request).await.unwrap().into_inner().table.unwrap().rows
}

async fn trace(client: &Client, node: &str, cell: &str, reviewed: bool) -> Option<api::TraceResponse> {
    let scope = Some(api::Scope { form_set: "shanxi-2024".into(), ..scope(node) });
    let request = api::TraceRequest { scope, cell: cell.to_owned(), reviewed, ..Default::default() };
    // A row of a list has no sum.
    client.consolidation().trace(request).await.ok().map(tonic::Response::into_inner)
}

/// What two servers have in common of it.
fn figures(trace: api::TraceResponse) -> api::TraceResponse {
    let line = |line| api::TraceLine { as_filed: None, ..line };
    let share = |share: api::TraceShare| api::TraceShare {
        version: None,
        verdicts: Vec::new(),
        rule_counts: None,
        as_filed: None,
        lines: share.lines.into_iter().map(line).collect(),
        ..share
    };
    let shares = trace.shares.into_iter().map(share).collect();
    api::TraceResponse { position: 0, time_ms: 0, shares, ..trace }
}

/// A difference form of the department, on one cell.
fn difference() -> SubmissionFile {
    let template = file_of(UNITS[0]);
    let mut table = template.tables.iter().find(|table| table.header.id == "T03").unwrap().clone();
    table.rows = vec![("合计".to_owned(), vec![String::new(); table.header.columns.len()])];
    let slot = Slot { unit: "407".into(), kind: Kind::Difference, ..template.slot.clone() };
    let mut file = SubmissionFile { slot, tables: vec![table], ..template };
    set(&mut file, "T03/合计/total", "-12.00");
    file
}

#[tokio::test]
async fn law_sums_as_reviewed_are_what_filing_the_reviewed_figures_gives() {
    let form = form("shanxi-2024");
    let files = form.files.iter().filter(|(name, _)| *name != "rules.toml");
    let bare: Vec<(String, Vec<u8>)> = files.map(|(name, bytes)| (name.clone(), bytes.clone())).collect();
    let form = FormSet::load(bare.iter().cloned().collect()).unwrap();
    for seed in 0..3 {
        let mut random = Random(seed);
        let (server, other) = (TestServer::start().await, TestServer::start().await);
        for server in [&server, &other] {
            let administrator = server.client(ADMINISTRATOR).await;
            administrator.import_units("fenyang-2024/units.csv", 2024).await.unwrap();
            let file =
                |(name, content): &(String, Vec<u8>)| api::FormFile { name: name.clone(), content: content.clone() };
            let files = bare.iter().map(file).collect();
            let publish = api::PublishFormSetRequest { idempotency_key: new_key(), files };
            administrator.registry().publish_form_set(publish).await.unwrap();
        }
        let (seen, expected) = (server.client(BUREAU).await, other.client(BUREAU).await);
        let (mut changed, mut reviewed) = (Vec::new(), BTreeSet::new());
        let filers = UNITS.iter().map(|code| (unit(code), file_of(code)));
        for (at, (actor, mut file)) in filers.chain([(DEPARTMENT.to_owned(), difference())]).enumerate() {
            server.client(&actor).await.submit(&file, &form).await.unwrap();
            let cells = amounts(&file, &form);
            // One of them has none.
            let count = if at == seed as usize || cells.is_empty() { 0 } else { 1 + random.below(6) };
            let mut figures: BTreeMap<String, String> = BTreeMap::new();
            for _ in 0..count {
                let amount = format!("{}.{:02}", random.below(5_000), random.below(100));
                figures.insert(cells[random.below(cells.len())].clone(), amount);
            }
            // What is reviewed on both sides of a payment is taken off as it was reviewed; what one side says, not at all.
            let sides = &PAID[..[0, 1, 2][seed as usize % 3]];
            let own = sides.iter().filter(|(unit, _)| *unit == file.slot.unit && file.slot.kind == Kind::Unit);
            figures.extend(own.map(|(_, cell)| ((*cell).to_owned(), "50000.00".to_owned())));
            figures.iter().for_each(|(cell, amount)| set(&mut file, cell, amount));
            let slot = slot_out(&file.slot);
            reviewed.extend(figures.keys().map(|cell| (slot.unit.clone(), slot.kind, cell.clone())));
            changed.extend(figures.keys().cloned());
            let figure = |(cell, amount)| api::ReviewedFigure { cell, amount: Some(amount), reason: "核定".into() };
            let figures: Vec<_> = figures.into_iter().map(figure).collect();
            if !figures.is_empty() {
                let target = Some(api::VersionTarget { slot: Some(slot), version: 1 });
                let request = api::ReviewFiguresRequest { idempotency_key: new_key(), target, figures };
                ReviewServiceClient::new(seen.connection()).review_figures(request).await.unwrap();
            }
            other.client(&actor).await.submit(&file, &form).await.unwrap();
        }
        for node in NODES {
            assert_eq!(view(&seen, node, true).await, view(&expected, node, false).await, "{node}, {changed:?}");
            assert_eq!(rows(&seen, node, true).await, rows(&expected, node, false).await, "{node}, {changed:?}");
            for cell in &changed {
                let told = trace(&seen, node, cell, true).await;
                let meant = trace(&expected, node, cell, false).await;
                assert_eq!(told.clone().map(figures), meant.map(figures), "{node} {cell}");
                // Beside what was reviewed stands what was filed.
                let filed = trace(&seen, node, cell, false).await.into_iter().flat_map(|trace| trace.shares);
                for (share, filed) in told.into_iter().flat_map(|trace| trace.shares).zip(filed) {
                    let is_reviewed = reviewed.contains(&(share.unit.clone(), share.kind, cell.clone()));
                    assert_eq!(share.as_filed, is_reviewed.then_some(filed.value), "{} {cell}", share.unit);
                    assert_eq!(filed.as_filed, None);
                    let (table, column) = (cell.split('/').next().unwrap(), cell.rsplit('/').next().unwrap());
                    for line in &share.lines {
                        let of_line = (share.unit.clone(), share.kind, format!("{table}/{}/{column}", line.row));
                        assert_eq!(line.as_filed.is_some(), reviewed.contains(&of_line), "{of_line:?}");
                        let own = filed.lines.iter().find(|own| own.row == line.row).map_or("", |own| &own.value);
                        assert!(line.as_filed.as_ref().is_none_or(|as_filed| as_filed == own), "{of_line:?}");
                    }
                }
            }
        }
        assert_ne!(view(&seen, "407", true).await, view(&seen, "407", false).await, "{changed:?}");
        server.stop().await;
        other.stop().await;
    }
}
