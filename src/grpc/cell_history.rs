//! The values that a cell had: which event gave each, and by how much it differs from the one before.

use super::convert::bad;
use super::diff::{difference, figure_at, is_other, shown};
use super::{limits, look};
use crate::budget::cell::CellAddress;
use crate::budget::form_set::Column;
use crate::budget::reason::Remark;
use crate::budget::submission::{Kind, Slot};
use crate::consolidator::{AsOf, Consolidator, Snapshot};
use crate::ledger::actor::Actor;
use crate::ledger::compare::{Figure, Watched, figure};
use crate::ledger::event::{Envelope, Event};
use crate::ledger::state::Version;
use crate::ledger::trace::Traced;
use crate::ledger::view::{self, NodeView, Scope};
use crate::ledger::{Contents, Position};
use crate::proto::api;

/// So many events are gone through for one page.
const EVENTS_MAX: u64 = 5_000;

/// The position that the first page showed, and how far the page before came.
fn token(token: &str) -> Result<Option<(Position, Position)>, Remark> {
    if token.is_empty() {
        return Ok(None);
    }
    let read = || {
        let (position, at) = token.split_once('.')?;
        let (position, at): (Position, Position) = (position.parse().ok()?, at.parse().ok()?);
        (0 < at && at <= position).then_some((position, at))
    };
    read().map(Some).ok_or_else(|| bad("page_token", token))
}

fn at(position: Position) -> api::AsOf {
    api::AsOf { moment: Some(api::as_of::Moment::Position(position)) }
}

/// A value that a cell got.
fn value(envelope: &Envelope, column: &Column, from: Option<&Figure>, to: Option<&Figure>) -> api::CellValue {
    let attempt = envelope.event.attempt();
    api::CellValue {
        position: envelope.position,
        time_ms: envelope.time.0,
        actor: envelope.actor.to_string(),
        kind: envelope.event.kind().to_owned(),
        unit: attempt.map_or_else(String::new, |attempt| attempt.slot.unit.to_string()),
        version: match &envelope.event {
            Event::Submitted(submitted) => submitted.version,
            _ => 0,
        },
        from: from.map(|figure| shown(column, figure)),
        to: to.map(|figure| shown(column, figure)),
        difference: difference(column, from, to),
    }
}

pub(super) async fn of_cell(
    consolidator: &Consolidator,
    actor: &Actor,
    request: api::GetCellHistoryRequest,
) -> Result<api::GetCellHistoryResponse, Remark> {
    let token = token(&request.page_token)?;
    let asked = api::Scope {
        node: request.node,
        year: request.year,
        round: request.round,
        form_set: request.form_set,
        as_of: token.map(|(position, _)| at(position)).or(request.as_of),
    };
    let (snapshot, scope) = look(consolidator, actor, &asked).await?;
    let address = CellAddress::parse(&request.cell).ok_or_else(|| bad("cell", &request.cell))?;
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
        true => versions(&snapshot, &own, &cell, column, from, size)?,
        false => events(consolidator, &snapshot, &scope, &cell, column, from, size).await?,
    };
    let head = snapshot.state.position;
    Ok(api::GetCellHistoryResponse {
        name,
        table_name: table.name.clone(),
        row_label: form.row_label(table, &traced.address.row).to_owned(),
        column_label: column.label.clone(),
        values,
        next_page_token: if reached < head { format!("{head}.{reached}") } else { String::new() },
        position: head,
    })
}

/// What a cell was in each version of a unit's filing, behind the position `from`; and how far that goes.
fn versions(
    snapshot: &Snapshot,
    slot: &Slot,
    cell: &Watched,
    column: &Column,
    from: Position,
    size: usize,
) -> Result<(Vec<api::CellValue>, Position), Remark> {
    let versions: Vec<Version> =
        snapshot.state.filings(slot).map_or_else(Vec::new, |filings| filings.versions.iter().cloned().collect());
    let figure_in = |version: &Version| -> Result<Option<Figure>, Remark> {
        let Some(form) = snapshot.state.form_set_version(&version.form_set) else { return Ok(None) };
        let submission = snapshot.submission(version.position)?;
        Ok(figure(Some(&NodeView::of_filing(form.clone(), 0, version.clone(), submission)), cell))
    };
    let mut last = match versions.iter().rev().find(|version| version.position <= from) {
        Some(version) => figure_in(version)?,
        None => None,
    };
    let mut values = Vec::new();
    for version in versions.iter().filter(|version| version.position > from) {
        let now = figure_in(version)?;
        if is_other(last.as_ref(), now.as_ref()) {
            values.push(value(&snapshot.event(version.position)?, column, last.as_ref(), now.as_ref()));
            if values.len() == size {
                return Ok((values, version.position));
            }
        }
        last = now;
    }
    Ok((values, snapshot.state.position))
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
    let to = snapshot.state.position.min(from.saturating_add(EVENTS_MAX));
    let seen = Seen { last: figure_at(&start, scope, cell), values: Vec::new(), reached: from };
    let (scope, cell) = (scope.clone(), cell.clone());
    let seen = consolidator.walk(start, to, seen, move |seen, envelope, at| {
        let now = figure_at(at, &scope, &cell);
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
