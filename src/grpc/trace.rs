//! Trace: where the figure of a cell comes from.

use std::collections::BTreeMap;

use super::consolidation::{filed_cell, node_name, on_basis, summed_cell};
use super::convert::{self, moment};
use super::rule_finding;
use super::{limits, look};
use crate::budget::cell::{Cell, CellAddress};
use crate::budget::reason::Remark;
use crate::budget::roll_up::{SUBTOTAL_ROW, Sum};
use crate::budget::submission::UnitCode;
use crate::consolidator::{Consolidator, Snapshot};
use crate::ledger::actor::Actor;
use crate::ledger::trace::{After, Elimination, Line, Share, Traced, eliminations, shares};
use crate::ledger::view::{self, Scope};
use crate::proto::{ShownCell, api};

pub(super) async fn answer(
    consolidator: &Consolidator,
    actor: &Actor,
    request: api::TraceRequest,
) -> Result<api::TraceResponse, Remark> {
    let mut asked = request.scope.clone().unwrap_or_default();
    let after = token(&request.page_token)?;
    if let Some((position, _)) = &after {
        asked.as_of = Some(moment(*position));
    }
    let (snapshot, scope) = look(consolidator, actor, &asked).await?;
    let (snapshot, scope, _) = on_basis(snapshot, scope, request.reviewed)?;
    trace(&snapshot, &scope, &request, after.map(|(_, after)| after).as_ref())
}

/// The position that the first page showed, and the last share of the page before.
fn token(token: &str) -> Result<Option<(u64, After)>, Remark> {
    convert::token_of(token, |after, _| {
        let (unit, kind) = after.split_once('.')?;
        let difference = match kind {
            "unit" => false,
            "difference" => true,
            _ => return None,
        };
        Some(After { unit: unit.into(), difference })
    })
}

fn trace(
    snapshot: &Snapshot,
    scope: &Scope,
    request: &api::TraceRequest,
    after: Option<&After>,
) -> Result<api::TraceResponse, Remark> {
    let state = &snapshot.state;
    let address = CellAddress::parse(&request.cell).ok_or_else(|| convert::bad_cell(&request.cell))?;
    let tree = view::tree(state, scope)?;
    let traced = Traced::find(state, scope, address, snapshot)?;
    let form = &traced.view.form;
    let (table, address) = (&form.tables[traced.table], &traced.address);
    let column = &table.columns[traced.column];
    let size = limits::page_size(request.page_size);
    let (shares, more) = shares(state, scope, &traced, after, size, snapshot)?;
    let next_page_token = match shares.last().filter(|_| more) {
        Some(last) => format!("{}.{}.{}", state.position, last.unit, last.kind),
        None => String::new(),
    };
    let eliminations = if after.is_none() { eliminations(state, scope, &traced) } else { Vec::new() };
    let filed = traced.view.filing.as_ref().and_then(|(_, submission)| submission.cell(form, address)).map(filed_cell);
    let figure = filed.unwrap_or_else(|| {
        let row = traced.view.row(traced.table, &address.row);
        row.get(traced.column).map_or_else(ShownCell::default, |posted| summed_cell(column, posted))
    });
    let mut between: BTreeMap<&UnitCode, api::TraceNode> = BTreeMap::new();
    for code in shares.iter().flat_map(|share| &share.path) {
        if !between.contains_key(code) {
            let below = Scope { node: code.clone(), ..scope.clone() };
            let beside = view::view_beside(state, &below, form, snapshot)?;
            let posted = beside.row(traced.table, &address.row).get(traced.column).copied();
            let figure = posted.map(|posted| summed_cell(column, &posted));
            between.insert(code, api::TraceNode { code: code.to_string(), name: node_name(tree, code), figure });
        }
    }
    let nodes = between.into_values().collect();
    Ok(api::TraceResponse {
        cell: address.to_string(),
        table_name: table.name.clone(),
        row_label: form.row_label(table, &address.row).to_owned(),
        column_label: column.label.clone(),
        figure: Some(figure),
        shares: shares.iter().map(|share| share_out(snapshot, address, share)).collect::<Result<_, _>>()?,
        next_page_token,
        position: state.position,
        time_ms: state.time.0,
        eliminations: eliminations.iter().map(elimination).collect(),
        nodes,
    })
}

fn elimination(elimination: &Elimination) -> api::TraceElimination {
    api::TraceElimination {
        unit: elimination.unit.to_string(),
        counterparty: elimination.counterparty.to_string(),
        title: elimination.title.clone(),
        amount: elimination.amount.to_string(),
        path: elimination.path.iter().map(UnitCode::to_string).collect(),
    }
}

fn exact(cell: &Cell) -> String {
    cell.amount().map_or_else(String::new, |amount| amount.value.to_string())
}

fn share_out(snapshot: &Snapshot, address: &CellAddress, share: &Share) -> Result<api::TraceShare, Remark> {
    let line = |line: &Line| api::TraceLine {
        row: line.row.to_string(),
        label: line.label.clone(),
        value: line.cell.to_string(),
        exact: exact(&line.cell),
        minus: line.minus,
        as_filed: line.as_filed.as_ref().map(Cell::to_string),
    };
    let of_amounts = share.lines.iter().any(|line| line.cell.amount().is_some());
    // The sum of a list stands in no cell: it is said in 元, or as a count.
    let (value, amount, scale) = match &share.cell {
        Some(cell) => {
            let scale = cell.amount().map_or_else(String::new, |amount| amount.scale.to_string());
            (cell.to_string(), exact(cell), scale)
        }
        None if share.sum.parts == 0 => Default::default(),
        None => listed(&share.sum, of_amounts),
    };
    let list_as_filed = share.sum_as_filed.map(|sum| listed(&sum, of_amounts).0);
    let event = snapshot.event(share.version.position)?;
    let verdicts = event.event.attempt().map(|attempt| &attempt.verdicts);
    let here = verdicts.into_iter().flat_map(|verdicts| &verdicts.listed).filter(|verdict| {
        let place = &verdict.place;
        place.table == address.table
            && place.row == address.row
            && (place.column == address.column || place.column.is_empty())
    });
    let verdict = |verdict: &crate::ledger::checks::RuleVerdict| api::TraceVerdict {
        rule: verdict.rule.to_string(),
        row: verdict.place.row.to_string(),
        column: verdict.place.column.to_string(),
        verdict: rule_finding::verdict(verdict.verdict),
    };
    Ok(api::TraceShare {
        unit: share.unit.to_string(),
        name: share.name.clone(),
        kind: convert::kind_out(share.kind),
        version: Some(convert::version_out(&share.version)),
        filed: share.cell.is_some() || (address.row == SUBTOTAL_ROW && !share.lines.is_empty()),
        value,
        exact: amount,
        scale,
        lines: share.lines.iter().map(line).collect(),
        path: share.path.iter().map(UnitCode::to_string).collect(),
        verdicts: here.map(verdict).collect(),
        rule_counts: verdicts.map(|verdicts| rule_finding::counts(verdicts.counts)),
        as_filed: share.as_filed.as_ref().map(Cell::to_string).or(list_as_filed),
    })
}

/// The sum of a list as text: value, exact 元, scale.
fn listed(sum: &Sum, amounts: bool) -> (String, String, String) {
    let money = sum.value.money();
    match amounts {
        true => (money.to_string(), money.to_string(), "元.2".to_owned()),
        false => ((money.fen() / 100).to_string(), String::new(), String::new()),
    }
}
