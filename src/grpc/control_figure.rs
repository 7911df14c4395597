//! ControlFigureService: ceilings, their split, their change track, and the headroom under them.

use tonic::{Request, Response, Status};

use super::convert::{self, bad};
use super::limits;
use super::status::status;
use super::{identity, look, quota, scope};
use crate::budget::cell::CellAddress;
use crate::budget::control_figure::{CeilingStrength, ControlFigure};
use crate::budget::money::Money;
use crate::budget::reason::{Reason, Remark};
use crate::budget::submission::{Kind, Slot, UnitCode};
use crate::budget::unit_tree::{BUREAU, UnitTree};
use crate::consolidator::{Consolidator, Done};
use crate::ledger::actor::{Actor, Operation, may};
use crate::ledger::control::{ControlBook, ControlChange, Line, OverCeiling};
use crate::ledger::decide::{Action, ControlOrders, LineFault, plan_control};
use crate::ledger::event::{Affected, ControlIssued, Event};
use crate::ledger::state::State;
use crate::ledger::view::{self, Scope};
use crate::proto::api;
use crate::wording::{self, Language};

pub(super) struct ControlFigures(pub(super) Consolidator);

/// A list as it came, of either kind.
struct List {
    year: u32,
    round: i32,
    form_set: String,
    figures: Vec<api::ControlFigure>,
    reason: String,
    on_over_ceiling: i32,
}

impl List {
    /// The orders of all lines that can be read, and what is wrong with the others.
    fn orders(self, by: UnitCode) -> Result<(ControlOrders, Vec<LineFault>), Remark> {
        if self.figures.len() > limits::FIGURES_MAX {
            return Err(bad("figures", self.figures.len()));
        }
        let mark = match api::OnOverCeiling::try_from(self.on_over_ceiling) {
            Ok(api::OnOverCeiling::Mark) => true,
            Ok(api::OnOverCeiling::Refuse | api::OnOverCeiling::Unspecified) => false,
            Err(_) => return Err(bad("on_over_ceiling", self.on_over_ceiling)),
        };
        let (mut figures, mut faults) = (Vec::new(), Vec::new());
        for (line, figure) in (1..).zip(self.figures) {
            match convert::figure(line, figure) {
                Ok(order) => figures.push(order),
                Err(remark) => faults.push(LineFault { line, remark }),
            }
        }
        let (year, round) = (convert::year(self.year)?, convert::round(self.round)?);
        let (form_set, reason) = (self.form_set, self.reason);
        Ok((ControlOrders { by, year, round, form_set, reason, mark, figures }, faults))
    }
}

impl ControlFigures {
    async fn carry_out(
        &self,
        actor: Actor,
        key: String,
        fingerprint: crate::budget::digest::Digest,
        (orders, faults): (ControlOrders, Vec<LineFault>),
    ) -> Result<(Done, ControlIssued), Remark> {
        if let Some(LineFault { line, remark }) = faults.first() {
            return Err(remark.clone().with("line", line).with("faults", faults.len()));
        }
        let done = self.0.carry_out(actor, key.into(), fingerprint, Action::Control(orders)).await?;
        let Event::ControlIssued(issued) = &done.envelope.event else {
            return Err(Remark::new(Reason::JournalDamaged).with("position", done.envelope.position));
        };
        let issued = issued.clone();
        let (year, version, by) = (issued.year, issued.version, issued.by.as_str());
        tracing::info!(year, version, by, position = done.envelope.position, "control figures in force");
        Ok((done, issued))
    }

    fn affected(&self, issued: &ControlIssued) -> Vec<api::OverCeiling> {
        let snapshot = self.0.snapshot();
        affected_out(&issued.affected, &issued.by, snapshot.state.tree(issued.year).map(AsRef::as_ref))
    }
}

/// Who is above a ceiling, of those below the node that gave it: others may share a ceiling above, and whoever splits isn't told
/// what they have filed.
fn affected_out(affected: &[Affected], by: &str, tree: Option<&UnitTree>) -> Vec<api::OverCeiling> {
    let below = affected.iter().filter(|one| tree.is_some_and(|tree| tree.is_within(&one.over.unit, by)));
    below.map(|one| over_out(&one.over, one.version, tree)).collect()
}

fn changed(changes: &[ControlChange]) -> u32 {
    count(changes.iter().filter(|change| change.before != change.after).count())
}

fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn name(tree: Option<&UnitTree>, unit: &str) -> String {
    tree.and_then(|tree| tree.node(unit)).map_or_else(String::new, |node| node.name.clone())
}

pub(super) fn over_out(over: &OverCeiling, version: u32, tree: Option<&UnitTree>) -> api::OverCeiling {
    let figure = &over.figure;
    api::OverCeiling {
        unit: over.unit.to_string(),
        unit_name: name(tree, &over.unit),
        version,
        holder: figure.unit.to_string(),
        cell: figure.cell.to_string(),
        filed: over.filed.print(figure.scale),
        ceiling: figure.ceiling.print(figure.scale),
        over: over.over.print(figure.scale),
        amount_unit: figure.scale.denomination.as_str().to_owned(),
        strength: figure.strength.as_str().to_owned(),
    }
}

fn fault_out(fault: &LineFault) -> api::ControlFault {
    api::ControlFault {
        line: fault.line,
        reason: fault.remark.reason.code().to_owned(),
        sentence_zh: wording::sentence(&fault.remark, Language::Chinese),
        sentence_en: wording::sentence(&fault.remark, Language::English),
    }
}

/// What is filed at or below a node in a cell; `None` if nothing counts there.
fn filed(
    state: &State,
    tree: &UnitTree,
    within: &Scope,
    node: &UnitCode,
    line: Option<&Line>,
    cell: &CellAddress,
) -> Option<Money> {
    let slot = Slot { unit: node.clone(), year: within.year, round: within.round, kind: Kind::Unit };
    if !tree.children(node).is_empty() {
        return view::reported(state, &slot, cell);
    }
    let counts = state.filings(&slot).is_some_and(|filings| filings.counting().is_some());
    counts.then(|| line.map_or(Money::ZERO, Line::own))
}

fn listed(
    state: &State,
    tree: &UnitTree,
    within: &Scope,
    (unit, line): (&UnitCode, &Line),
    figure: &ControlFigure,
) -> api::ListedControlFigure {
    let filed = filed(state, tree, within, unit, Some(line), &line.cell);
    let print = |money: Money| money.print(figure.scale);
    let left = figure.left(line.demand());
    api::ListedControlFigure {
        unit: unit.to_string(),
        unit_name: name(Some(tree), unit),
        judgement: Some(api::Judgement {
            cell: line.cell.to_string(),
            ceiling: print(figure.ceiling),
            filed: print(filed.unwrap_or(Money::ZERO)),
            headroom: print(left),
            amount_unit: figure.scale.denomination.as_str().to_owned(),
            strength: figure.strength.as_str().to_owned(),
            over: left.is_negative() && figure.strength != CeilingStrength::None,
            unit: unit.to_string(),
            taken: String::new(),
        }),
        submitted: filed.is_some(),
        split: print(line.split()),
        by: line.ceiling.as_ref().map_or_else(String::new, |ceiling| ceiling.by.to_string()),
    }
}

/// The ceilings that a node files under, cell by cell: its own, else the next ones above that it draws on.
fn headroom(state: &State, tree: &UnitTree, within: &Scope, book: &ControlBook) -> Vec<api::Headroom> {
    let mut lines = Vec::new();
    for (cell, holder) in book.holders(tree, &within.node) {
        let Some(line) = book.line(holder, cell) else { continue };
        let Some(figure) = line.figure(holder) else { continue };
        let filed = filed(state, tree, within, &within.node, book.line(&within.node, cell), cell);
        let print = |money: Money| money.print(figure.scale);
        lines.push(api::Headroom {
            cell: cell.to_string(),
            holder: holder.to_owned(),
            ceiling: print(figure.ceiling),
            split: print(line.split()),
            filed: print(filed.unwrap_or(Money::ZERO)),
            left: print(figure.left(line.demand())),
            amount_unit: figure.scale.denomination.as_str().to_owned(),
            strength: figure.strength.as_str().to_owned(),
        });
    }
    lines
}

#[tonic::async_trait]
impl api::control_figure_service_server::ControlFigureService for ControlFigures {
    async fn issue_control_figures(
        &self,
        request: Request<api::IssueControlFiguresRequest>,
    ) -> Result<Response<api::IssueControlFiguresResponse>, Status> {
        let actor = identity::actor(&request).map_err(status)?;
        let request = request.into_inner();
        let fingerprint = convert::fingerprint(&request);
        let api::IssueControlFiguresRequest {
            idempotency_key,
            year,
            round,
            form_set,
            figures,
            reason,
            on_over_ceiling,
        } = request;
        let list = List { year, round, form_set, figures, reason, on_over_ceiling };
        let orders = list.orders(BUREAU.into()).map_err(status)?;
        let (done, issued) = self.carry_out(actor, idempotency_key, fingerprint, orders).await.map_err(status)?;
        Ok(Response::new(api::IssueControlFiguresResponse {
            position: done.envelope.position,
            version: issued.version,
            figures: count(issued.changes.len()),
            repeated: done.repeated,
            changed: changed(&issued.changes),
            affected: self.affected(&issued),
        }))
    }

    async fn split_control_figures(
        &self,
        request: Request<api::SplitControlFiguresRequest>,
    ) -> Result<Response<api::SplitControlFiguresResponse>, Status> {
        let actor = identity::actor(&request).map_err(status)?;
        let request = request.into_inner();
        let fingerprint = convert::fingerprint(&request);
        let api::SplitControlFiguresRequest {
            idempotency_key,
            year,
            round,
            form_set,
            figures,
            reason,
            on_over_ceiling,
            node,
        } = request;
        let by = if node.is_empty() { actor.node.clone() } else { node.into() };
        let list = List { year, round, form_set, figures, reason, on_over_ceiling };
        let orders = list.orders(by).map_err(status)?;
        let (done, issued) = self.carry_out(actor, idempotency_key, fingerprint, orders).await.map_err(status)?;
        Ok(Response::new(api::SplitControlFiguresResponse {
            position: done.envelope.position,
            version: issued.version,
            figures: count(issued.changes.len()),
            repeated: done.repeated,
            changed: changed(&issued.changes),
            affected: self.affected(&issued),
        }))
    }

    async fn check_control_figures(
        &self,
        request: Request<api::CheckControlFiguresRequest>,
    ) -> Result<Response<api::CheckControlFiguresResponse>, Status> {
        let actor = identity::actor(&request).map_err(status)?;
        let _turn = quota::turn(request.extensions()).await;
        let api::CheckControlFiguresRequest { year, round, form_set, figures, reason, node } = request.into_inner();
        let by = if node.is_empty() { actor.node.clone() } else { UnitCode::from(node) };
        let snapshot = self.0.snapshot();
        let state = &snapshot.state;
        let tree = u16::try_from(year).ok().and_then(|year| state.tree(year)).map(AsRef::as_ref);
        if !may(&actor, Operation::Read, &by, tree) {
            return Err(status(Remark::new(Reason::NotPermitted).with("actor", &actor).with("node", &by)));
        }
        let list = List { year, round, form_set, figures, reason, on_over_ceiling: 0 };
        let (orders, mut faults) = list.orders(by.clone()).map_err(status)?;
        let plan = if orders.figures.is_empty() && !faults.is_empty() {
            Default::default()
        } else {
            plan_control(state, &orders, &snapshot).map_err(status)?
        };
        faults.extend(plan.faults);
        faults.sort_by_key(|fault| fault.line);
        Ok(Response::new(api::CheckControlFiguresResponse {
            position: state.position,
            faults: faults.iter().map(fault_out).collect(),
            changed: changed(&plan.changes),
            affected: affected_out(&plan.affected, &by, tree),
        }))
    }

    async fn list_control_figures(
        &self,
        request: Request<api::ListControlFiguresRequest>,
    ) -> Result<Response<api::ListControlFiguresResponse>, Status> {
        let actor = identity::actor(&request).map_err(status)?;
        let request = request.into_inner();
        let asked = api::Scope {
            node: request.node,
            year: request.year,
            round: request.round,
            form_set: String::new(),
            as_of: request.as_of,
        };
        let (snapshot, within) = look(&self.0, &actor, &asked).await.map_err(status)?;
        let state = &snapshot.state;
        let tree = view::tree(state, &within).map_err(status)?;
        let Some(book) = state.control(within.year, within.round) else {
            return Ok(Response::new(api::ListControlFiguresResponse {
                position: state.position,
                ..Default::default()
            }));
        };
        let figures = book.all().filter(|(unit, _)| tree.is_within(unit, &within.node));
        let figures = figures
            .filter_map(|(unit, line)| Some(listed(state, tree, &within, (unit, line), &line.figure(unit)?)))
            .collect();
        Ok(Response::new(api::ListControlFiguresResponse { version: book.version, figures, position: state.position }))
    }

    async fn list_control_changes(
        &self,
        request: Request<api::ListControlChangesRequest>,
    ) -> Result<Response<api::ListControlChangesResponse>, Status> {
        let actor = identity::actor(&request).map_err(status)?;
        let request = request.into_inner();
        let snapshot = self.0.snapshot();
        let state = &snapshot.state;
        let within = scope(&snapshot, &actor, &request.node, request.year, request.round, "").map_err(status)?;
        let tree = view::tree(state, &within).map_err(status)?;
        let after = convert::position_token(&request.page_token).map_err(status)?;
        let page = match usize::try_from(request.page_size) {
            Ok(0) | Err(_) => limits::CHANGES_PAGE,
            Ok(size) => size.min(limits::CHANGES_PAGE_MAX),
        };
        let seen = |unit: &str| tree.is_within(unit, &within.node);
        let mut answer = api::ListControlChangesResponse::default();
        let mut listed = 0;
        let changed_at = state.control(within.year, within.round).into_iter().flat_map(ControlBook::changed_at);
        for position in changed_at.filter(|position| *position > after) {
            if listed >= page {
                answer.next_page_token = answer.revisions.last().map_or(after, |last| last.position).to_string();
                break;
            }
            let envelope = snapshot.event(position).map_err(status)?;
            let Some(revision) = envelope.event.control_revision() else { continue };
            let changes = revision.changes.iter().filter(|change| {
                change.before != change.after
                    && seen(&change.unit)
                    && (request.cell.is_empty() || change.cell.to_string() == request.cell)
            });
            let changes: Vec<api::ControlChange> =
                changes.map(|change| convert::change_out(change, name(Some(tree), &change.unit))).collect();
            if changes.is_empty() {
                continue;
            }
            listed += changes.len();
            let affected = revision.affected.iter().filter(|one| seen(&one.over.unit));
            answer.revisions.push(api::ControlRevision {
                position,
                time_ms: envelope.time.0,
                actor: envelope.actor.to_string(),
                version: revision.version,
                reason: revision.reason.to_owned(),
                changes,
                affected: affected.map(|one| over_out(&one.over, one.version, Some(tree))).collect(),
            });
        }
        Ok(Response::new(answer))
    }

    async fn get_headroom(
        &self,
        request: Request<api::GetHeadroomRequest>,
    ) -> Result<Response<api::GetHeadroomResponse>, Status> {
        let actor = identity::actor(&request).map_err(status)?;
        let request = request.into_inner();
        let asked = api::Scope {
            node: request.node,
            year: request.year,
            round: request.round,
            form_set: String::new(),
            as_of: request.as_of,
        };
        let (snapshot, within) = look(&self.0, &actor, &asked).await.map_err(status)?;
        let state = &snapshot.state;
        let tree = view::tree(state, &within).map_err(status)?;
        let mut answer = api::GetHeadroomResponse { position: state.position, ..Default::default() };
        if let Some(book) = state.control(within.year, within.round) {
            answer.version = book.version;
            answer.lines = headroom(state, tree, &within, book);
            // A unit may be over because of a ceiling above it: all are looked through, and only its own are said.
            let over = book.all().flat_map(|(holder, line)| book.over(tree, holder, &line.cell));
            for over in over.filter(|over| tree.is_within(&over.unit, &within.node)) {
                let slot = Slot { unit: over.unit.clone(), year: within.year, round: within.round, kind: Kind::Unit };
                let version =
                    state.filings(&slot).and_then(|filings| filings.counting()).map_or(0, |counting| counting.version);
                answer.over.push(over_out(&over, version, Some(tree)));
            }
        }
        Ok(Response::new(answer))
    }
}
