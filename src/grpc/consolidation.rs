//! ConsolidationService: sums, where they come from, and who has filed (`board.rs`, `watch.rs`).

use std::sync::Arc;

use compact_str::{CompactString, ToCompactString};
use prost::Message;
use tonic::{Request, Response, Status};

use super::board;
use super::convert::{self, bad};
use super::limits::{self, Bounds};
use super::messages::Messages;
use super::rule_finding::{self, Wording};
use super::status::status;
use super::watch::{Stopping, Watches};
use super::{diff, identity, look, quota, trace};
use crate::budget::cell::Cell;
use crate::budget::form_set::{Column, FormSet, Table};
use crate::budget::money::{Amount, Money, Total};
use crate::budget::reason::{Reason, Remark};
use crate::budget::roll_up::SUBTOTAL_ROW;
use crate::budget::submission::{Content, FiledRow, FiledTable, UnitCode};
use crate::budget::unit_tree::{BUREAU, UnitTree};
use crate::consolidator::{Consolidator, Snapshot};
use crate::ledger::view::{self, NodeView, Posted, PostedRow, Scope, TransferStanding};
use crate::proto::{ShownCell, api};

pub(super) struct Consolidation {
    consolidator: Consolidator,
    watches: Watches,
}

impl Consolidation {
    pub(super) fn new(consolidator: Consolidator, stopping: Stopping) -> Consolidation {
        Consolidation { watches: Watches::new(consolidator.clone(), stopping), consolidator }
    }
}

impl Consolidation {
    /// Where a request looks, if the asker may.
    async fn look(
        &self,
        request: &Request<impl Sized>,
        asked: Option<&api::Scope>,
    ) -> Result<(Snapshot, Scope), Status> {
        let actor = identity::actor(request).map_err(status)?;
        look(&self.consolidator, &actor, &asked.cloned().unwrap_or_default()).await.map_err(status)
    }
}

pub(super) fn node_name(tree: &UnitTree, code: &str) -> String {
    match tree.node(code) {
        Some(node) => node.name.clone(),
        None if code == BUREAU => "财政局".to_owned(),
        None => String::new(),
    }
}

fn head(column: &Column) -> api::ColumnHead {
    api::ColumnHead {
        id: column.id.to_string(),
        label: column.label.clone(),
        r#type: convert::column_type(column.kind),
        assigned: column.assigned,
        grouped: column.grouped,
    }
}

fn table_out(table: &Table, rows: Vec<api::ShownRow>) -> api::ShownTable {
    api::ShownTable {
        id: table.id.to_string(),
        name: table.name.clone(),
        title: table.title.clone(),
        columns: table.columns.iter().map(head).collect(),
        rows,
        roll_up: convert::roll_up_name(table.roll_up),
        ..api::ShownTable::default()
    }
}

/// A cell as it was filed.
pub(super) fn filed_cell(cell: &Cell) -> ShownCell {
    let amount = cell.amount();
    let slack = amount.map_or(Money::ZERO, |amount| amount.scale.half_quantum());
    ShownCell {
        value: amount.map_or_else(|| cell.to_compact_string(), Amount::to_text),
        exact: amount.map_or_else(CompactString::default, |amount| amount.value.to_text()),
        slack: some_money(slack),
        ..ShownCell::default()
    }
}

/// A cell as it was summed.
pub(super) fn summed_cell(column: &Column, posted: &Posted) -> ShownCell {
    let sum = posted.consolidated();
    // What is taken off shows even where nobody has filed the cell: nothing is dropped on the way to a total.
    if sum.parts == 0 && posted.eliminated.parts == 0 {
        return ShownCell::default();
    }
    let Some(scale) = column.kind.print_scale() else {
        return ShownCell { value: (sum.value.fen() / 100).to_compact_string(), ..ShownCell::default() };
    };
    let differs = posted.adjusted.value != Total::ZERO || posted.eliminated.value != Total::ZERO;
    let money = sum.value.money();
    ShownCell {
        value: Amount { value: money, scale }.to_text(),
        exact: money.to_text(),
        slack: some_money(sum.slack.money()),
        reported: if differs { posted.reported.value.money().to_text() } else { CompactString::default() },
        adjusted: some_money(posted.adjusted.value.money()),
        eliminated: some_money(posted.eliminated.value.money()),
    }
}

fn some_money(money: Money) -> CompactString {
    if money.is_zero() { CompactString::default() } else { money.to_text() }
}

fn filed_rows(form: &FormSet, table: &Table, filed: &FiledTable) -> Vec<api::ShownRow> {
    let mut rows: Vec<_> = filed.rows().iter().collect();
    form.sort_for_print(table, &mut rows, |row| row.key);
    let shown = |row: FiledRow<'_>| api::ShownRow {
        key: row.key.to_string(),
        label: form.row_label(table, row.key).to_owned(),
        level: level(form, table, row.key),
        cells: row.cells.iter().map(filed_cell).collect(),
        unit: String::new(),
    };
    rows.into_iter().map(shown).collect()
}

fn level(form: &FormSet, table: &Table, key: &str) -> u32 {
    if key == SUBTOTAL_ROW { 0 } else { u32::try_from(form.row_level(table, key)).unwrap_or(0) }
}

fn summed_row(form: &FormSet, table: &Table, row: PostedRow<'_>) -> api::ShownRow {
    api::ShownRow {
        key: row.key.to_string(),
        label: form.row_label(table, row.key).to_owned(),
        level: level(form, table, row.key),
        cells: row.cells().zip(&table.columns).map(|(posted, column)| summed_cell(column, &posted)).collect(),
        unit: String::new(),
    }
}

/// A table beside the one of the node above. That has the subtotal of a list without a total row: so has what it adds up.
fn shown_beside(view: &NodeView, index: usize) -> api::ShownTable {
    let mut shown = shown_table(view, index);
    if view.filing.is_some() {
        let subtotal = view.rows(index).find(|row| row.key == SUBTOTAL_ROW);
        shown.rows.extend(subtotal.map(|row| summed_row(&view.form, &view.form.tables[index], row)));
    }
    shown
}

fn shown_table(view: &NodeView, index: usize) -> api::ShownTable {
    let form = view.form.as_ref();
    let table = &form.tables[index];
    let totals = view.reported.table(index);
    let rows = match &view.filing {
        Some((_, submission)) => submission.table(index).map_or_else(Vec::new, |filed| filed_rows(form, table, filed)),
        None => view.rows_in_print(index).into_iter().map(|row| summed_row(form, table, row)).collect(),
    };
    let (filings, empty, listed) = match &view.filing {
        Some((_, submission)) => {
            let filed = submission.table(index);
            let empty = filed.is_some_and(|filed| filed.content == Content::Empty);
            (u32::from(filed.is_some()), u32::from(empty), 0)
        }
        None => totals.map_or((0, 0, 0), |totals| (totals.filings, totals.empty, totals.listed)),
    };
    api::ShownTable { filings, empty, listed, ..table_out(table, rows) }
}

/// The indexes of the tables asked for; of all if none are.
pub(super) fn wanted(form: &FormSet, ids: &[String]) -> Result<Vec<usize>, Remark> {
    if ids.is_empty() {
        // What nobody files is there for rules to ask, and never has anything to show.
        let filed = form.tables.iter().enumerate().filter(|(_, table)| !table.filed_by.is_empty());
        return Ok(filed.map(|(index, _)| index).collect());
    }
    let index = |id: &String| {
        form.table(id).map(|(index, _)| index).ok_or_else(|| {
            let known: Vec<&str> = form.tables.iter().map(|table| table.id.as_str()).collect();
            Remark::new(Reason::UnknownTable).with("found", id).with_list("expected", known)
        })
    };
    ids.iter().map(index).collect()
}

/// What is looked at as it was filed, or as it was reviewed; and in how many submissions that is something else.
pub(super) fn on_basis(snapshot: Snapshot, scope: Scope, reviewed: bool) -> Result<(Snapshot, Scope, u32), Remark> {
    if !reviewed {
        return Ok((snapshot, scope, 0));
    }
    let (snapshot, count) = snapshot.as_reviewed(&scope)?;
    Ok((snapshot, Scope { reviewed, ..scope }, count))
}

fn view_out(
    (snapshot, reviewed): (&Snapshot, u32),
    scope: &Scope,
    request: &api::ViewRequest,
    bounds: &Bounds,
) -> Result<api::ViewResponse, Remark> {
    let state = &snapshot.state;
    let tree = view::tree(state, scope)?;
    let view = view::view(state, scope, snapshot)?;
    let tables = wanted(&view.form, &request.tables)?;
    let mut children = Vec::new();
    let below = tree.children(&scope.node);
    if request.children && !below.is_empty() {
        let shown = |code: &str, child: &NodeView| api::ChildView {
            code: code.to_owned(),
            name: node_name(tree, code),
            filings: child.reported.filings,
            tables: tables.iter().map(|index| shown_beside(child, *index)).collect(),
        };
        // What the node has filed itself is in its sums too.
        let own = view::own_beside(state, scope, &view.form, snapshot)?;
        children.extend(own.map(|own| shown(&scope.node, &own)));
        let mut bytes = 0;
        for code in below {
            let below = Scope { node: code.clone(), ..scope.clone() };
            let child = shown(code, &view::view_beside(state, &below, &view.form, snapshot)?);
            // Known while it grows: all of it would be made, to be refused on its way out.
            bytes += child.encoded_len();
            if bytes > bounds.answer_bytes {
                return Err(Remark::new(Reason::AnswerTooLarge).with("allowed", bounds.answer_bytes));
            }
            children.push(child);
        }
    }
    let checked = view.check(scope);
    let failed = checked.findings.iter().filter(|finding| finding.failed()).cloned();
    let (rule_findings, _) = Wording::without_sentences(&view.form).findings(&failed.collect::<Vec<_>>(), bounds);
    Ok(api::ViewResponse {
        rule_counts: Some(rule_finding::counts(checked.counts)),
        rule_findings,
        node: scope.node.to_string(),
        name: node_name(tree, &scope.node),
        year: scope.year.into(),
        round: convert::round_out(scope.round),
        position: state.position,
        time_ms: state.time.0,
        tree_version: view.tree_version,
        form_set: view.form.id.to_string(),
        form_set_digest: view.form.digest.0.to_vec(),
        filings: view.reported.filings,
        reviewed,
        expected: tree.budgeted_count(&scope.node),
        tables: tables.iter().map(|index| shown_table(&view, *index)).collect(),
        children,
        transfers: view::transfers(state, scope).iter().map(|transfer| transfer_out(tree, transfer)).collect(),
    })
}

fn transfer_out(tree: &UnitTree, transfer: &view::InternalTransfer) -> api::InternalTransfer {
    let standing = match transfer.standing {
        TransferStanding::Eliminated => api::TransferStanding::Eliminated,
        TransferStanding::Differs => api::TransferStanding::Differs,
        TransferStanding::OneSided => api::TransferStanding::OneSided,
    };
    api::InternalTransfer {
        unit: transfer.unit.to_string(),
        name: node_name(tree, &transfer.unit),
        counterparty: transfer.counterparty.to_string(),
        counterparty_name: node_name(tree, &transfer.counterparty),
        title: transfer.title.clone(),
        amount: transfer.amount.to_string(),
        counterparty_amount: transfer.other.map_or_else(String::new, |other| other.to_string()),
        standing: standing.into(),
    }
}

/// The rows of a list table from the first unit behind one on.
fn rows_out(
    snapshot: &Snapshot,
    scope: &Scope,
    request: &api::ListRowsRequest,
    after: Option<&UnitCode>,
    page_bytes: usize,
) -> Result<api::ListRowsResponse, Remark> {
    let state = &snapshot.state;
    let tree = view::tree(state, scope)?;
    if after.is_some_and(|after| !tree.is_within(after, &scope.node)) {
        return Err(bad("page_token", &request.page_token));
    }
    let form: Arc<FormSet> = view::view(state, scope, snapshot)?.form;
    let index = wanted(&form, std::slice::from_ref(&request.table))?[0];
    let table = &form.tables[index];
    let size = limits::page_size(request.page_size);
    let (mut rows, mut bytes) = (Vec::new(), 0);
    let mut last = UnitCode::default();
    let mut next_page_token = String::new();
    for unit in tree.budgeted_after(&scope.node, after.map_or("", UnitCode::as_str)) {
        if rows.len() >= size || bytes >= page_bytes {
            next_page_token = format!("{}.{last}", state.position);
            break;
        }
        let Some((version, submission)) = view::filing(state, scope, &unit.code, snapshot)? else { continue };
        if state.form_set_version(&version.form_set).is_none_or(|other| other.layout != form.layout) {
            continue;
        }
        let Some(filed) = submission.table(index) else { continue };
        for row in filed_rows(&form, table, filed) {
            let row = api::ShownRow { unit: unit.code.to_string(), ..row };
            bytes += row.encoded_len();
            rows.push(row);
        }
        last = unit.code.clone();
    }
    Ok(api::ListRowsResponse { table: Some(table_out(table, rows)), next_page_token, position: state.position })
}

#[tonic::async_trait]
impl api::consolidation_service_server::ConsolidationService for Consolidation {
    type WatchStream = Messages<api::WatchResponse>;

    async fn watch(&self, request: Request<api::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        // What is followed is what is to come: a moment of the past has no changes.
        if request.get_ref().scope.as_ref().is_some_and(|scope| scope.as_of.is_some()) {
            return Err(status(convert::bad("as_of", "")));
        }
        let (_, scope) = self.look(&request, request.get_ref().scope.as_ref()).await?;
        let actor = identity::actor(&request).map_err(status)?;
        self.watches.open(actor, scope, request.get_ref()).await.map(Response::new).map_err(status)
    }

    async fn view(&self, request: Request<api::ViewRequest>) -> Result<Response<api::ViewResponse>, Status> {
        let _turn = quota::turn(request.extensions()).await;
        let (snapshot, scope) = self.look(&request, request.get_ref().scope.as_ref()).await?;
        let (snapshot, scope, reviewed) = on_basis(snapshot, scope, request.get_ref().reviewed).map_err(status)?;
        let bounds = quota::bounds(request.extensions());
        view_out((&snapshot, reviewed), &scope, request.get_ref(), &bounds).map(Response::new).map_err(status)
    }

    async fn list_rows(
        &self,
        request: Request<api::ListRowsRequest>,
    ) -> Result<Response<api::ListRowsResponse>, Status> {
        let _turn = quota::turn(request.extensions()).await;
        let unit = |after: &str, _| Some(UnitCode::from(after));
        let token = convert::token_of(&request.get_ref().page_token, unit).map_err(status)?;
        let mut asked = request.get_ref().scope.clone().unwrap_or_default();
        let after = token.map(|(shown, after)| {
            asked.as_of = Some(convert::moment(shown));
            after
        });
        let (snapshot, scope) = self.look(&request, Some(&asked)).await?;
        let scope = Scope { reviewed: request.get_ref().reviewed, ..scope };
        let page_bytes = quota::page_bytes(request.extensions());
        rows_out(&snapshot, &scope, request.get_ref(), after.as_ref(), page_bytes).map(Response::new).map_err(status)
    }

    async fn trace(&self, request: Request<api::TraceRequest>) -> Result<Response<api::TraceResponse>, Status> {
        let actor = identity::actor(&request).map_err(status)?;
        let _turn = quota::turn(request.extensions()).await;
        trace::answer(&self.consolidator, &actor, request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn diff(&self, request: Request<api::DiffRequest>) -> Result<Response<api::DiffResponse>, Status> {
        let actor = identity::actor(&request).map_err(status)?;
        let _turn = quota::turn(request.extensions()).await;
        diff::answer(&self.consolidator, &actor, request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn get_status_board(
        &self,
        request: Request<api::GetStatusBoardRequest>,
    ) -> Result<Response<api::GetStatusBoardResponse>, Status> {
        let _turn = quota::turn(request.extensions()).await;
        let (snapshot, scope) = self.look(&request, request.get_ref().scope.as_ref()).await?;
        let past = snapshot.state.position < snapshot.today.position;
        let time = if past { snapshot.state.time } else { self.consolidator.now() };
        board::get(&snapshot, &scope, time).map(Response::new).map_err(status)
    }
}
