//! AuditService: what happened.

use std::pin::Pin;

use prost::Message;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::convert;
use super::limits;
use super::messages::Messages;
use super::status::status;
use super::{cell_history, events, findings, gate, identity, look, proof, quota, review_out};
use crate::budget::reason::{Reason, Remark};
use crate::budget::unit_tree::{BUREAU, UnitTree};
use crate::consolidator::Consolidator;
use crate::ledger::actor::{Operation, may};
use crate::ledger::event::{ControlIssued, Envelope, Event, Justification};
use crate::proto::api;

pub(super) struct Audit(pub(super) Consolidator);

fn raised_out(raised: &ControlIssued) -> Vec<api::ControlChange> {
    raised.changes.iter().map(|change| convert::change_out(change, String::new())).collect()
}

/// An event for a reader; `unit` leaves only that unit's figures in an issue of control figures.
pub(super) fn event_out(envelope: &Envelope, unit: Option<&str>) -> api::JournalEvent {
    use api::journal_event::Event as Wire;
    let event = match &envelope.event {
        Event::Submitted(submitted) => Wire::Submitted(api::SubmittedEvent {
            slot: Some(convert::slot_out(&submitted.attempt.slot)),
            version: submitted.version,
            form_set: submitted.attempt.form_set.id.to_string(),
            verdict: Some(convert::verdict(&submitted.attempt, false)),
            adjusts: submitted.adjustment.as_ref().map_or(0, |adjustment| adjustment.base),
            adjustment: submitted.adjustment.as_ref().map(convert::adjustment_out),
            raised: submitted
                .adjustment
                .iter()
                .flat_map(|adjustment| &adjustment.raised)
                .flat_map(raised_out)
                .collect(),
        }),
        Event::Refused(refused) => Wire::Refused(api::RefusedEvent {
            slot: Some(convert::slot_out(&refused.attempt.slot)),
            form_set: refused.attempt.form_set.id.to_string(),
            verdict: Some(convert::verdict(&refused.attempt, true)),
        }),
        Event::ControlIssued(issued) => Wire::ControlIssued(api::ControlIssuedEvent {
            year: issued.year.into(),
            round: convert::round_out(issued.round),
            version: issued.version,
            figures: issued
                .changes
                .iter()
                .filter(|change| unit.is_none_or(|unit| change.unit == unit))
                .map(|change| convert::ceiling_out(&change.unit, &change.cell, change.after.as_ref()))
                .collect(),
            by: issued.by.to_string(),
            reason: issued.reason.clone(),
        }),
        Event::Justified(justified) => Wire::Justified(api::JustifiedEvent {
            slot: Some(convert::slot_out(&justified.slot)),
            position: justified.position,
            items: justified.items.iter().map(justified_item).collect(),
        }),
        Event::TailGivenUp(given_up) => {
            Wire::TailGivenUp(api::TailGivenUpEvent { checkpoint: given_up.checkpoint.clone() })
        }
        Event::Looked(looked) => {
            Wire::Looked(api::LookedEvent { node: looked.node.to_string(), method: looked.method.to_string() })
        }
        Event::RoundOpened(opened) => Wire::RoundOpened(review_out::opened_event(opened)),
        Event::RoundClosed(closed) => Wire::RoundClosed(review_out::closed_event(closed)),
        Event::VersionMoved(moved) => Wire::VersionMoved(review_out::moved_event(moved)),
        Event::OpinionGiven(given) => Wire::OpinionGiven(review_out::opinion_event(given)),
        Event::FiguresReviewed(reviewed) => Wire::FiguresReviewed(review_out::reviewed_event(reviewed)),
        Event::Forwarded(forwarded) => Wire::Forwarded(review_out::forwarded_event(envelope, forwarded)),
        Event::AggregateMoved(moved) => Wire::AggregateMoved(review_out::aggregate_event(moved)),
        Event::UnitsImported(imported) => Wire::UnitsImported(api::UnitsImportedEvent {
            year: imported.year.into(),
            version: imported.version,
            nodes: u32::try_from(imported.nodes.len()).unwrap_or(u32::MAX),
        }),
        Event::FormSetPublished(published) => Wire::FormSetPublished(api::FormSetPublishedEvent {
            id: published.form_set.id.to_string(),
            digest: published.form_set.digest.0.to_vec(),
        }),
    };
    api::JournalEvent {
        position: envelope.position,
        time_ms: envelope.time.0,
        actor: envelope.actor.to_string(),
        idempotency_key: envelope.key.to_string(),
        event: Some(event),
    }
}

fn justified_item(item: &Justification) -> api::JustifiedItem {
    api::JustifiedItem {
        rule: item.rule.to_string(),
        table: item.place.table.to_string(),
        row: item.place.row.to_string(),
        column: item.place.column.to_string(),
        text: item.text.clone(),
        fingerprint: item.fingerprint.0.to_vec(),
    }
}

#[tonic::async_trait]
impl api::audit_service_server::AuditService for Audit {
    type ExportJournalStream = Pin<Box<dyn Stream<Item = Result<api::ExportJournalResponse, Status>> + Send>>;

    async fn export_journal(
        &self,
        request: Request<api::ExportJournalRequest>,
    ) -> Result<Response<Self::ExportJournalStream>, Status> {
        let actor = identity::actor(&request).map_err(status)?;
        if !may(&actor, Operation::Export, BUREAU, None) {
            return Err(status(Remark::new(Reason::NotPermitted).with("actor", &actor).with("node", BUREAU)));
        }
        let patience = quota::bounds(request.extensions()).answer;
        let export = self.0.snapshot().export(request.into_inner().from_position).map_err(status)?;
        tracing::info!(%actor, "the journal is being exported");
        let (pieces, waiting_pieces) = tokio::sync::mpsc::channel(limits::PIECES_WAITING_MAX);
        let (stream, end) = Messages::new(waiting_pieces);
        let waiting = tokio::runtime::Handle::current();
        // The journal is read on a thread that may wait: for the disk, and for the client.
        tokio::task::spawn_blocking(move || {
            for piece in export {
                let piece = match piece {
                    Ok(piece) => piece,
                    Err(fault) => return end.because(fault),
                };
                let piece =
                    api::ExportJournalResponse { archive: piece.bytes, position: piece.position, head: piece.head };
                // A client that is gone, or takes nothing, keeps no thread.
                if waiting.block_on(pieces.send_timeout(piece, patience)).is_err() {
                    let remark = Remark::new(Reason::RequestTooSlow).with("limit", "answer");
                    return end.because(remark.with("seconds", patience.as_secs()));
                }
            }
        });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn get_checkpoint(
        &self,
        request: Request<api::GetCheckpointRequest>,
    ) -> Result<Response<api::GetCheckpointResponse>, Status> {
        identity::actor(&request).map_err(status)?;
        proof::answer(self.0.snapshot(), proof::checkpoint).await
    }

    async fn get_inclusion_proof(
        &self,
        request: Request<api::GetInclusionProofRequest>,
    ) -> Result<Response<api::GetInclusionProofResponse>, Status> {
        identity::actor(&request).map_err(status)?;
        let request = request.into_inner();
        proof::answer(self.0.snapshot(), move |snapshot| proof::inclusion(snapshot, &request)).await
    }

    async fn get_consistency_proof(
        &self,
        request: Request<api::GetConsistencyProofRequest>,
    ) -> Result<Response<api::GetConsistencyProofResponse>, Status> {
        identity::actor(&request).map_err(status)?;
        let request = request.into_inner();
        proof::answer(self.0.snapshot(), move |snapshot| proof::consistency(snapshot, &request)).await
    }

    async fn get_public_key(
        &self,
        request: Request<api::GetPublicKeyRequest>,
    ) -> Result<Response<api::GetPublicKeyResponse>, Status> {
        identity::actor(&request).map_err(status)?;
        proof::answer(self.0.snapshot(), proof::public_key).await
    }

    async fn get_receipt(
        &self,
        request: Request<api::GetReceiptRequest>,
    ) -> Result<Response<api::GetReceiptResponse>, Status> {
        let actor = identity::actor(&request).map_err(status)?;
        let position = request.into_inner().position;
        let found =
            proof::answer(self.0.snapshot(), move |snapshot| proof::receipt(snapshot, &actor, position)).await?;
        let (receipt, node) = found.into_inner();
        gate::about(&node);
        Ok(Response::new(receipt))
    }

    async fn get_history(
        &self,
        request: Request<api::GetHistoryRequest>,
    ) -> Result<Response<api::GetHistoryResponse>, Status> {
        let actor = identity::actor(&request).map_err(status)?;
        let page_bytes = quota::page_bytes(request.extensions());
        let request = request.into_inner();
        let snapshot = self.0.snapshot();
        let state = &snapshot.state;
        let unit = if request.unit.is_empty() { actor.node.to_string() } else { request.unit };
        let sees = |tree: Option<&UnitTree>| may(&actor, Operation::Read, &unit, tree);
        // One that has left the tree keeps its history; one that was moved has that of a year where it stood then.
        let trees = || state.trees().rev().map(AsRef::as_ref).filter(|tree: &&UnitTree| tree.contains(&unit));
        let is_nowhere = trees().next().is_none();
        if !(is_nowhere && sees(None) || trees().any(|tree| sees(Some(tree)))) {
            return Err(status(Remark::new(Reason::NotPermitted).with("actor", &actor).with("node", &unit)));
        }
        gate::about(&unit);
        let tree = trees().next();
        let node = tree.and_then(|tree| tree.node(&unit));
        let node = node.ok_or_else(|| status(Remark::new(Reason::UnknownUnit).with("unit", &unit).with("year", "")))?;
        let from = convert::position_token(&request.page_token).map_err(status)?;
        let positions = state.history(&unit);
        let mut wanted = positions.iter().copied().filter(|position| *position > from).peekable();
        let (mut events, mut bytes) = (Vec::new(), 0);
        while events.len() < limits::page_size(request.page_size)
            && bytes < page_bytes
            && let Some(position) = wanted.next()
        {
            let envelope = snapshot.event(position).map_err(status)?;
            let of_year = envelope.event.year().and_then(|year| state.tree(year)).map(AsRef::as_ref);
            if !sees(of_year.or(tree)) {
                continue;
            }
            let event = event_out(&envelope, Some(&unit));
            bytes += event.encoded_len();
            events.push(event);
        }
        let last = events.last().map(|event| event.position.to_string());
        let next_page_token = if wanted.peek().is_some() { last.unwrap_or_default() } else { String::new() };
        Ok(Response::new(api::GetHistoryResponse {
            name: node.name.clone(),
            events,
            next_page_token,
            position: state.position,
        }))
    }

    async fn list_findings(
        &self,
        request: Request<api::ListFindingsRequest>,
    ) -> Result<Response<api::ListFindingsResponse>, Status> {
        let actor = identity::actor(&request).map_err(status)?;
        let page_bytes = quota::page_bytes(request.extensions());
        let (_, extensions, request) = request.into_parts();
        let _turn = quota::turn(&extensions).await;
        let asked = api::Scope {
            node: request.node.clone(),
            year: request.year,
            round: request.round,
            form_set: String::new(),
            as_of: findings::as_of(&request).map_err(status)?,
        };
        let (snapshot, within) = look(&self.0, &actor, &asked).await.map_err(status)?;
        findings::list(&snapshot, &within, &request, page_bytes).map(Response::new).map_err(status)
    }

    async fn list_events(
        &self,
        request: Request<api::ListEventsRequest>,
    ) -> Result<Response<api::ListEventsResponse>, Status> {
        let actor = identity::actor(&request).map_err(status)?;
        let page_bytes = quota::page_bytes(request.extensions());
        let request = request.into_inner();
        // The whole journal is everybody's business: only who may read the bureau's node sees it.
        if !may(&actor, Operation::Read, BUREAU, None) {
            return Err(status(Remark::new(Reason::NotPermitted).with("actor", &actor).with("node", BUREAU)));
        }
        events::list(&self.0.snapshot(), &request, page_bytes).map(Response::new).map_err(status)
    }

    async fn get_cell_history(
        &self,
        request: Request<api::GetCellHistoryRequest>,
    ) -> Result<Response<api::GetCellHistoryResponse>, Status> {
        let actor = identity::actor(&request).map_err(status)?;
        let _turn = quota::turn(request.extensions()).await;
        cell_history::of_cell(&self.0, &actor, request.into_inner()).await.map(Response::new).map_err(status)
    }
}
