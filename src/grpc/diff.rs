//! Diff: what differs between two moments, versions, rounds or years of a node, and which events did it.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};

use super::consolidation::{filed_cell, node_name, summed_cell, wanted};
use super::convert::{self, bad};
use super::review_out::step_out;
use super::{limits, look};
use crate::budget::form_set::{Column, FormSet};
use crate::budget::reason::{Reason, Remark};
use crate::budget::submission::{Kind, Slot};
use crate::consolidator::{Consolidator, Snapshot};
use crate::ledger::actor::Actor;
use crate::ledger::compare::{Change, Comparison, Figure, NotCompared, RowChange, Side, TableState, Watched};
use crate::ledger::compare::{compare, figure, share};
use crate::ledger::event::{Envelope, Event};
use crate::ledger::state::{Filings, Version};
use crate::ledger::view::{self, NodeView, Scope};
use crate::ledger::{Contents, Position};
use crate::proto::{ShownCell, api};

/// A side that was found.
struct Found {
    snapshot: Snapshot,
    scope: Scope,
    view: NodeView,
    /// The slot and version, if a single filing is compared.
    filing: Option<(Slot, Version)>,
}

pub(super) async fn answer(
    consolidator: &Consolidator,
    actor: &Actor,
    request: api::DiffRequest,
) -> Result<api::DiffResponse, Remark> {
    let (positions, offset) = token(&request.page_token)?;
    let (Some(from), Some(to)) = (&request.from, &request.to) else {
        // Who may not see the node is told that, whatever else is wrong.
        look(consolidator, actor, &api::Scope { node: request.node, ..api::Scope::default() }).await?;
        return Err(bad(if request.from.is_none() { "from" } else { "to" }, ""));
    };
    let from = find(consolidator, actor, &request.node, from, positions.map(|(from, _)| from)).await?;
    let to = find(consolidator, actor, &request.node, to, positions.map(|(_, to)| to)).await?;
    if !request.tables.is_empty() {
        wanted(&to.view.form, &request.tables)?;
    }
    let Comparison { changes, tables, not_compared } = compare(from.side(), to.side(), &request.tables)?;
    let page: Vec<&Change> = changes.iter().skip(offset).take(limits::page_size(request.page_size)).collect();
    let causes = causes(consolidator, &from, &to, &page).await?;
    let end = offset + page.len();
    let positions = (from.snapshot.state.position, to.snapshot.state.position);
    let next_page_token =
        if end < changes.len() { format!("{}.{}.{end}", positions.0, positions.1) } else { String::new() };
    let mut events = BTreeMap::new();
    for position in causes.iter().flatten().flatten() {
        if !events.contains_key(position) {
            // Both sides know every event up to their own position; the later one knows the most.
            let teller = if *position <= positions.1 { &to.snapshot } else { &from.snapshot };
            events.insert(*position, diff_event(&teller.event(*position)?));
        }
    }
    let cells = page.iter().enumerate().map(|(at, change)| {
        let causes = causes.as_ref().and_then(|causes| causes.get(at)).cloned().unwrap_or_default();
        changed(&from, &to, change, causes)
    });
    let tree = view::tree(&to.snapshot.state, &to.scope)?;
    Ok(api::DiffResponse {
        node: to.scope.node.to_string(),
        name: node_name(tree, &to.scope.node),
        from: Some(from.shown()),
        to: Some(to.shown()),
        cells: cells.collect(),
        events: events.into_values().collect(),
        tables: tables_out(&to.view.form, &tables, &not_compared),
        changed: u32::try_from(changes.len()).unwrap_or(u32::MAX),
        causes_left_out: causes.is_none(),
        next_page_token,
    })
}

/// The positions of both sides, and how many cells earlier pages had.
fn token(token: &str) -> Result<(Option<(Position, Position)>, usize), Remark> {
    if token.is_empty() {
        return Ok((None, 0));
    }
    let read = || {
        let mut parts = token.split('.');
        let position = |text: &str| text.parse().ok().filter(|position| *position > 0);
        let (from, to) = (position(parts.next()?)?, position(parts.next()?)?);
        let offset = parts.next()?.parse().ok()?;
        parts.next().is_none().then_some((Some((from, to)), offset))
    };
    read().ok_or_else(|| bad("page_token", token))
}

async fn find(
    consolidator: &Consolidator,
    actor: &Actor,
    node: &str,
    side: &api::DiffSide,
    position: Option<Position>,
) -> Result<Found, Remark> {
    let asked = api::Scope {
        node: node.to_owned(),
        year: side.year,
        round: side.round,
        form_set: side.form_set.clone(),
        as_of: position.map(convert::moment).or(side.as_of),
    };
    let (snapshot, scope) = look(consolidator, actor, &asked).await?;
    if side.version == 0 {
        let view = view::view(&snapshot.state, &scope, &snapshot)?;
        let kind = Kind::Unit;
        let slot = Slot { unit: scope.node.clone(), year: scope.year, round: scope.round, kind };
        let filing = view.filing.as_ref().map(|(version, _)| (slot, version.clone()));
        return Ok(Found { snapshot, scope, view, filing });
    }
    let kind = convert::kind(side.kind)?;
    let slot = Slot { unit: scope.node.clone(), year: scope.year, round: scope.round, kind };
    let unknown = || Remark::new(Reason::UnknownSubmission).with("slot", &slot).with("version", side.version);
    let filings = snapshot.state.filings(&slot).ok_or_else(unknown)?;
    let version = filings.versions.iter().find(|version| version.version == side.version).ok_or_else(unknown)?;
    let form = snapshot.state.form_set_version(&version.form_set).ok_or_else(unknown)?;
    let submission = snapshot.submission(version.position)?;
    let tree_version = view::tree(&snapshot.state, &scope)?.version;
    let view = NodeView::of_filing(form.clone(), tree_version, version.clone(), submission);
    let filing = Some((slot.clone(), version.clone()));
    Ok(Found { snapshot, scope, view, filing })
}

impl Found {
    fn side(&self) -> Side<'_> {
        Side { view: &self.view, state: &self.snapshot.state, scope: &self.scope, contents: &self.snapshot }
    }

    fn shown(&self) -> api::DiffShown {
        api::DiffShown {
            year: self.scope.year.into(),
            round: convert::round_out(self.scope.round),
            form_set: self.view.form.id.to_string(),
            form_set_digest: self.view.form.digest.0.to_vec(),
            position: self.snapshot.state.position,
            time_ms: self.snapshot.state.time.0,
            filings: self.view.reported.filings,
            version: self.filing.as_ref().map(|(_, version)| convert::version_out(version)),
        }
    }
}

/// A figure as View shows it.
pub(super) fn shown(column: &Column, figure: &Figure) -> ShownCell {
    match figure {
        Figure::Filed(cell) => filed_cell(cell),
        Figure::Summed(posted) => summed_cell(column, posted),
    }
}

/// By how much an amount grew, if amounts stand on both sides.
pub(super) fn difference(column: &Column, from: Option<&Figure>, to: Option<&Figure>) -> String {
    let (Some(from), Some(to)) = (from.map(Figure::sum), to.map(Figure::sum)) else { return String::new() };
    let amounts = column.kind.print_scale().is_some() && from.parts > 0 && to.parts > 0;
    if amounts { (to.value.money() - from.value.money()).to_string() } else { String::new() }
}

fn changed(from: &Found, to: &Found, change: &Change, causes: Vec<Position>) -> api::ChangedCell {
    let form = &to.view.form;
    let table = &form.tables[change.table];
    let column = change.column.and_then(|column| table.columns.get(column));
    let label = match form.row_label(table, &change.row) {
        "" => from.view.form.table(&table.id).map_or("", |(_, old)| from.view.form.row_label(old, &change.row)),
        label => label,
    };
    let figure = |figure: &Option<Figure>| figure.as_ref().zip(column).map(|(figure, column)| shown(column, figure));
    api::ChangedCell {
        table: table.id.to_string(),
        table_name: table.name.clone(),
        unit: change.unit.as_ref().map_or_else(String::new, ToString::to_string),
        row: change.row.to_string(),
        row_label: label.to_owned(),
        column: column.map_or_else(String::new, |column| column.id.to_string()),
        column_label: column.map_or_else(String::new, |column| column.label.clone()),
        column_type: column.map_or_else(String::new, |column| convert::column_type(column.kind)),
        grouped: column.is_some_and(|column| column.grouped),
        change: match change.change {
            RowChange::Kept => api::RowChange::Kept,
            RowChange::Added => api::RowChange::Added,
            RowChange::Removed => api::RowChange::Removed,
        }
        .into(),
        from: figure(&change.from),
        to: figure(&change.to),
        difference: column
            .map_or_else(String::new, |column| difference(column, change.from.as_ref(), change.to.as_ref())),
        causes,
    }
}

fn tables_out(
    form: &FormSet,
    tables: &[(usize, TableState, TableState)],
    not_compared: &[(String, NotCompared)],
) -> Vec<api::DiffTable> {
    let state = |state: TableState| match state {
        TableState::Missing => "missing",
        TableState::Empty => "empty",
        TableState::Filed => "filed",
    };
    let filed = tables.iter().map(|(table, from, to)| api::DiffTable {
        table: form.tables[*table].id.to_string(),
        from: state(*from).to_owned(),
        to: state(*to).to_owned(),
        not_compared: String::new(),
    });
    let left_out = not_compared.iter().map(|(table, why)| {
        let why = match why {
            NotCompared::Gone => "gone",
            NotCompared::New => "new",
            NotCompared::LayoutDiffers => "layout",
            NotCompared::TooManyUnits => "units",
        };
        api::DiffTable { table: table.clone(), not_compared: why.to_owned(), ..api::DiffTable::default() }
    });
    filed.chain(left_out).collect()
}

/// What an event says of itself where it is told as the cause of a change.
pub(super) fn diff_event(envelope: &Envelope) -> api::DiffEvent {
    let (unit, version, step, reason) = match &envelope.event {
        Event::Submitted(submitted) => {
            let cause = submitted.adjustment.as_ref().map_or("", |adjustment| &adjustment.cause);
            (Some(&submitted.attempt.slot.unit), submitted.version, 0, cause)
        }
        Event::Refused(refused) => (Some(&refused.attempt.slot.unit), 0, 0, ""),
        Event::VersionMoved(moved) => {
            (Some(&moved.slot.unit), moved.version, step_out(moved.step), moved.reason.as_str())
        }
        _ => (None, 0, 0, ""),
    };
    api::DiffEvent {
        position: envelope.position,
        time_ms: envelope.time.0,
        actor: envelope.actor.to_string(),
        kind: envelope.event.kind().to_owned(),
        unit: unit.map_or_else(String::new, ToString::to_string),
        version,
        step,
        reason: reason.to_owned(),
    }
}

type Causes = Vec<Vec<Position>>;

/// For each change, the positions of the events that made it; none if there is too much between the two sides.
async fn causes(
    consolidator: &Consolidator,
    from: &Found,
    to: &Found,
    page: &[&Change],
) -> Result<Option<Causes>, Remark> {
    match (&from.filing, &to.filing) {
        (Some((slot, old)), Some((other, new))) if slot == other => between_versions(to, slot, old, new, page),
        // Nothing was filed on one side, or the rounds or years differ: the filings themselves are what changed it.
        (Some((_, old)), Some((_, new))) => Ok(Some(vec![sorted([old.position, new.position]); page.len()])),
        _ if (from.scope.year, from.scope.round) != (to.scope.year, to.scope.round) => between_rounds(from, to, page),
        _ => between_positions(consolidator, from, to, page).await,
    }
}

fn sorted(positions: impl IntoIterator<Item = Position>) -> Vec<Position> {
    positions.into_iter().collect::<BTreeSet<_>>().into_iter().collect()
}

fn watched(to: &Found, change: &Change) -> Option<Watched> {
    let table = &to.view.form.tables[change.table];
    let column = change.column.and_then(|column| table.columns.get(column)).or(table.columns.first())?;
    Some(Watched { table: table.id.to_string(), row: change.row.clone(), column: column.id.to_string() })
}

/// Whether a figure is another one; a row that came or went is a change too.
pub(super) fn is_other(before: Option<&Figure>, after: Option<&Figure>) -> bool {
    match (before, after) {
        (Some(before), Some(after)) => !before.is_same(after),
        (before, after) => before.is_some() != after.is_some(),
    }
}

/// The versions of one filing at which each cell changed.
fn between_versions(
    to: &Found,
    slot: &Slot,
    old: &Version,
    new: &Version,
    page: &[&Change],
) -> Result<Option<Causes>, Remark> {
    let (first, last) = (old.version.min(new.version), old.version.max(new.version));
    // Today knows all versions between, whichever side is the later one.
    let filings = to.snapshot.today.filings(slot);
    let versions: Vec<Version> = filings
        .map(|filings| filings.versions.iter().filter(|v| (first..=last).contains(&v.version)).cloned().collect())
        .unwrap_or_default();
    if versions.len() > limits::CAUSE_VERSIONS_MAX {
        return Ok(None);
    }
    let cells: Vec<Option<Watched>> = page.iter().map(|change| watched(to, change)).collect();
    let mut causes = vec![Vec::new(); page.len()];
    let mut before: Option<NodeView> = None;
    let reader = to.snapshot.clone().of_today();
    for version in versions {
        let Some(form) = reader.state.form_set_version(&version.form_set) else { continue };
        let submission = reader.submission(version.position)?;
        let position = version.position;
        let view = NodeView::of_filing(form.clone(), 0, version, submission);
        if let Some(before) = &before {
            for (cell, causes) in cells.iter().zip(&mut causes) {
                let Some(cell) = cell else { continue };
                if is_other(figure(Some(before), cell).as_ref(), figure(Some(&view), cell).as_ref()) {
                    causes.push(position);
                }
            }
        }
        before = Some(view);
    }
    Ok(Some(causes))
}

/// The filings that stand behind a change between rounds or years: of each unit whose share differs, both.
fn between_rounds(from: &Found, to: &Found, page: &[&Change]) -> Result<Option<Causes>, Remark> {
    let units = |found: &Found| -> BTreeMap<(String, Kind), Version> {
        let state = &found.snapshot.state;
        let Some(tree) = state.tree(found.scope.year) else { return BTreeMap::new() };
        let inside = tree.nodes().filter(|node| tree.is_within(&node.code, &found.scope.node));
        let slot =
            |unit: &str, kind| Slot { unit: unit.into(), year: found.scope.year, round: found.scope.round, kind };
        let counting = |unit: &str, kind| state.filings(&slot(unit, kind)).and_then(Filings::counting).cloned();
        let both = inside.flat_map(|node| [Kind::Unit, Kind::Difference].map(|kind| (node.code.to_string(), kind)));
        both.filter_map(|(unit, kind)| Some(((unit.clone(), kind), counting(&unit, kind)?))).collect()
    };
    let (old, new) = (units(from), units(to));
    let slots: BTreeSet<&(String, Kind)> = old.keys().chain(new.keys()).collect();
    if slots.len() > limits::CAUSE_UNITS_MAX {
        return Ok(None);
    }
    let view = |found: &Found, version: Option<&Version>| -> Result<Option<NodeView>, Remark> {
        let Some(version) = version else { return Ok(None) };
        let Some(form) = found.snapshot.state.form_set_version(&version.form_set) else { return Ok(None) };
        let submission = found.snapshot.submission(version.position)?;
        Ok(Some(NodeView::of_filing(form.clone(), 0, version.clone(), submission)))
    };
    let cells: Vec<Option<Watched>> = page.iter().map(|change| watched(to, change)).collect();
    let mut causes = vec![Vec::new(); page.len()];
    for slot in slots {
        let (old, new) = (old.get(slot), new.get(slot));
        let (before, after) = (view(from, old)?, view(to, new)?);
        for ((change, cell), causes) in page.iter().zip(&cells).zip(&mut causes) {
            let Some(cell) = cell.as_ref().filter(|_| change.unit.as_ref().is_none_or(|unit| *unit == slot.0)) else {
                continue;
            };
            if is_other(share(before.as_ref(), cell).as_ref(), share(after.as_ref(), cell).as_ref()) {
                causes.extend([old, new].into_iter().flatten().map(|version| version.position));
            }
        }
    }
    Ok(Some(causes.into_iter().map(sorted).collect()))
}

/// The events between two moments after which each cell was another one.
async fn between_positions(
    consolidator: &Consolidator,
    from: &Found,
    to: &Found,
    page: &[&Change],
) -> Result<Option<Causes>, Remark> {
    let (first, last) = (&from.snapshot, &to.snapshot);
    // Asked backwards, the same events are gone through forwards.
    let (first, last) = if first.state.position <= last.state.position { (first, last) } else { (last, first) };
    if last.state.position - first.state.position > limits::CAUSE_EVENTS_MAX {
        return Ok(None);
    }
    let mut walk = Walk::new(&to.scope, first);
    for change in page {
        walk.watch(watched(to, change), change.unit.as_deref())?;
    }
    let end = last.state.position;
    let walk = consolidator.walk(first.clone(), end, walk, |walk, envelope, at| walk.step(envelope, at)).await?;
    Ok(Some(walk.causes))
}

/// Cells that are watched while the journal is gone through.
struct Walk {
    scope: Scope,
    start: Snapshot,
    cells: Vec<Option<(Scope, Watched)>>,
    last: Vec<Option<Figure>>,
    causes: Causes,
}

impl Walk {
    fn new(scope: &Scope, start: &Snapshot) -> Walk {
        Walk { scope: scope.clone(), start: start.clone(), cells: vec![], last: vec![], causes: vec![] }
    }

    /// Watches a cell of the node, or of a unit below it whose list it is in.
    fn watch(&mut self, cell: Option<Watched>, unit: Option<&str>) -> Result<(), Remark> {
        let scope = match unit {
            Some(unit) => Scope { node: unit.into(), ..self.scope.clone() },
            None => self.scope.clone(),
        };
        let cell = cell.map(|cell| (scope, cell));
        let now = cell.as_ref().map(|(scope, cell)| figure_at(&self.start, scope, cell)).transpose()?;
        self.cells.push(cell);
        self.last.push(now.flatten());
        self.causes.push(Vec::new());
        Ok(())
    }

    fn step(&mut self, envelope: &Envelope, at: &Snapshot) -> Result<bool, Remark> {
        let mut views: BTreeMap<String, Option<NodeView>> = BTreeMap::new();
        for ((cell, last), causes) in self.cells.iter().zip(&mut self.last).zip(&mut self.causes) {
            let Some((scope, cell)) = cell else { continue };
            // The lists of a unit change with its own filings only.
            let own = envelope.event.attempt().is_none_or(|attempt| attempt.slot.unit == scope.node);
            if scope.node != self.scope.node && !own {
                continue;
            }
            let view = match views.entry(scope.node.to_string()) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => unknown.insert(shown_at(at, scope)?),
            };
            let now = figure(view.as_ref(), cell);
            if is_other(last.as_ref(), now.as_ref()) {
                causes.push(envelope.position);
                *last = now;
            }
        }
        Ok(true)
    }
}

/// What a node showed in a cell; nothing where it showed nothing at all.
pub(super) fn figure_at(at: &Snapshot, scope: &Scope, cell: &Watched) -> Result<Option<Figure>, Remark> {
    Ok(figure(shown_at(at, scope)?.as_ref(), cell))
}

/// What a node showed; nothing where it wasn't there, or nobody could say on which form set. What can't be read is no
/// such moment.
fn shown_at(at: &Snapshot, scope: &Scope) -> Result<Option<NodeView>, Remark> {
    let nothing = |why: &Remark| {
        use Reason::{FormSetNotNamed, MixedFormSets, UnknownFormSet, UnknownUnit, UnknownYear};
        matches!(why.reason, UnknownYear | UnknownUnit | UnknownFormSet | FormSetNotNamed | MixedFormSets)
    };
    match view::view(&at.state, scope, at) {
        Ok(view) => Ok(Some(view)),
        Err(why) if nothing(&why) => Ok(None),
        Err(fault) => Err(fault),
    }
}
