//! The values that a cell had: which event gave each, and by how much it differs from the one before.

use std::collections::BTreeSet;

use super::convert::{self, moment, page_token};
use super::diff::{diff_event, difference, figure_at, is_other, shown};
use super::{limits, look};
use crate::budget::cell::CellAddress;
use crate::budget::form_set::Column;
use crate::budget::reason::Remark;
use crate::budget::submission::{Kind, Slot};
use crate::consolidator::{AsOf, Consolidator, Snapshot};
use crate::ledger::actor::Actor;
use crate::ledger::compare::{Figure, Watched, figure};
use crate::ledger::event::Envelope;
use crate::ledger::state::Version;
use crate::ledger::trace::Traced;
use crate::ledger::view::{self, NodeView, Scope};
use crate::ledger::{Contents, Position};
use crate::proto::api;

/// A value that a cell got.
fn value(envelope: &Envelope, column: &Column, from: Option<&Figure>, to: Option<&Figure>) -> api::CellValue {
    let api::DiffEvent { position, time_ms, actor, kind, unit, version, step, reason } = diff_event(envelope);
    api::CellValue {
        position,
        time_ms,
        actor,
        kind,
        unit,
        version,
        from: from.map(|figure| shown(column, figure)),
        to: to.map(|figure| shown(column, figure)),
        difference: difference(column, from, to),
        step,
        reason,
    }
}

pub(super) async fn of_cell(
    consolidator: &Consolidator,
    actor: &Actor,
    request: api::GetCellHistoryRequest,
) -> Result<api::GetCellHistoryResponse, Remark> {
    let token = page_token(&request.page_token)?;
    let asked = api::Scope {
        node: request.node,
        year: request.year,
        round: request.round,
        form_set: request.form_set,
        as_of: token.map(|(position, _)| moment(position)).or(request.as_of),
    };
    let (snapshot, scope) = look(consolidator, actor, &asked).await?;
    let address = CellAddress::parse(&request.cell).ok_or_else(|| convert::bad_cell(&request.cell))?;
    let tree = view::tree(&snapshot.state, &scope)?;
    let name = super::consolidation::node_name(tree, &scope.node);
    // A unit's own figures are its filing's. A node that has none, and no units below it any more, may have had some.
    let own = Slot { unit: scope.node.clone(), year: scope.year, round: scope.round, kind: Kind::Unit };
    let leaf = tree.children(&scope.node).is_empty() && snapshot.state.filings(&own).is_some();
    let traced = Traced::find(&snapshot.state, &scope, address, &snapshot)?;
    let form = traced.view.form.clone();
    let table = &form.tables[traced.table];
    let column = &table.columns[traced.column];
    let cell = Watched { table: table.id.to_string(), row: traced.address.row.clone(), column: column.id.to_string() };
    let from = token.map_or(0, |(_, at)| at);
    let size = limits::page_size(request.page_size);
    let (values, reached) = match leaf {
        true => filed(&snapshot, &own, &cell, column, from, size)?,
        false => events(consolidator, &snapshot, &scope, &cell, column, from, size).await?,
    };
    let head = snapshot.state.position;
    Ok(api::GetCellHistoryResponse {
        name,
        table_name: table.name.clone(),
        row_label: form.row_label(table, &traced.address.row).to_owned(),
        column_label: column.label.clone(),
        column_type: convert::column_type(column.kind),
        grouped: column.grouped,
        values,
        next_page_token: if reached < head { format!("{head}.{reached}") } else { String::new() },
        position: head,
    })
}

/// What a cell of a unit's own filing came to, behind the position `from`, with each version that was taken and each that
/// ceased to count or counted again; and how far that goes.
fn filed(
    snapshot: &Snapshot,
    slot: &Slot,
    cell: &Watched,
    column: &Column,
    from: Position,
    size: usize,
) -> Result<(Vec<api::CellValue>, Position), Remark> {
    let head = snapshot.state.position;
    let Some(filings) = snapshot.state.filings(slot) else { return Ok((Vec::new(), head)) };
    let steps = |version: &Version| version.steps.iter().map(|step| step.position).collect::<Vec<_>>();
    let moments: BTreeSet<Position> =
        filings.versions.iter().flat_map(|version| steps(version).into_iter().chain([version.position])).collect();
    // Accepted and approved it is the same version: its figure is read once.
    let mut read: Option<(Position, Option<Figure>)> = None;
    let mut at = |moment: Position| -> Result<Option<Figure>, Remark> {
        let Some(version) = filings.counting_at(moment) else { return Ok(None) };
        if let Some((_, figure)) = read.as_ref().filter(|(position, _)| *position == version.position) {
            return Ok(figure.clone());
        }
        let Some(form) = snapshot.state.form_set_version(&version.form_set) else { return Ok(None) };
        let submission = snapshot.submission(version.position)?;
        let figure = figure(Some(&NodeView::of_filing(form.clone(), 0, version.clone(), submission)), cell);
        read = Some((version.position, figure.clone()));
        Ok(figure)
    };
    let mut last = at(from)?;
    let mut values = Vec::new();
    for moment in moments.range(from + 1..) {
        let now = at(*moment)?;
        if is_other(last.as_ref(), now.as_ref()) {
            values.push(value(&snapshot.event(*moment)?, column, last.as_ref(), now.as_ref()));
            if values.len() == size {
                return Ok((values, *moment));
            }
        }
        last = now;
    }
    Ok((values, head))
}

/// What a node showed in a cell after each event behind the position `from`; and how far that goes.
async fn events(
    consolidator: &Consolidator,
    snapshot: &Snapshot,
    scope: &Scope,
    cell: &Watched,
    column: &Column,
    from: Position,
    size: usize,
) -> Result<(Vec<api::CellValue>, Position), Remark> {
    struct Seen {
        last: Option<Figure>,
        values: Vec<(Envelope, Option<Figure>, Option<Figure>)>,
        reached: Position,
    }
    let start = match from {
        0 => snapshot.clone().beginning(),
        from => consolidator.at(AsOf::Position(from)).await?,
    };
    let to = snapshot.state.position.min(from.saturating_add(limits::CAUSE_EVENTS_MAX));
    let seen = Seen { last: figure_at(&start, scope, cell)?, values: Vec::new(), reached: from };
    let (scope, cell) = (scope.clone(), cell.clone());
    let seen = consolidator.walk(start, to, seen, move |seen, envelope, at| {
        let now = figure_at(at, &scope, &cell)?;
        seen.reached = envelope.position;
        if is_other(seen.last.as_ref(), now.as_ref()) {
            seen.values.push((envelope.clone(), seen.last.clone(), now.clone()));
        }
        seen.last = now;
        Ok(seen.values.len() < size)
    });
    let seen = seen.await?;
    let told = |(envelope, from, to): &(Envelope, Option<Figure>, Option<Figure>)| {
        value(envelope, column, from.as_ref(), to.as_ref())
    };
    Ok((seen.values.iter().map(told).collect(), seen.reached))
}
