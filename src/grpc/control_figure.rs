//! ControlFigureService: ceilings, and the headroom under them.

use tonic::{Request, Response, Status};

use super::convert::{self, bad};
use super::limits;
use super::status::status;
use super::{identity, look};
use crate::budget::reason::{Reason, Remark};
use crate::budget::submission::{Kind, Slot};
use crate::consolidator::Consolidator;
use crate::ledger::decide::Action;
use crate::ledger::event::Event;
use crate::ledger::view;
use crate::proto::api;

pub(super) struct ControlFigures(pub(super) Consolidator);

#[tonic::async_trait]
impl api::control_figure_service_server::ControlFigureService for ControlFigures {
    async fn issue_control_figures(
        &self,
        request: Request<api::IssueControlFiguresRequest>,
    ) -> Result<Response<api::IssueControlFiguresResponse>, Status> {
        let actor = identity::actor(&request).map_err(status)?;
        let request = request.into_inner();
        let fingerprint = convert::fingerprint(&request);
        if request.figures.len() > limits::FIGURES_MAX {
            return Err(status(bad("figures", request.figures.len())));
        }
        let year = convert::year(request.year).map_err(status)?;
        let round = convert::round(request.round).map_err(status)?;
        let figures =
            request.figures.into_iter().map(convert::figure).collect::<Result<Vec<_>, _>>().map_err(status)?;
        let action = Action::IssueControl { year, round, form_set: request.form_set, figures };
        let key = request.idempotency_key.into();
        let done = self.0.carry_out(actor, key, fingerprint, action).await.map_err(status)?;
        let Event::ControlIssued(issued) = &done.envelope.event else {
            return Err(status(Remark::new(Reason::JournalDamaged).with("position", done.envelope.position)));
        };
        tracing::info!(year, version = issued.version, position = done.envelope.position, "control figures in force");
        Ok(Response::new(api::IssueControlFiguresResponse {
            position: done.envelope.position,
            version: issued.version,
            figures: u32::try_from(issued.figures.len()).unwrap_or(u32::MAX),
            repeated: done.repeated,
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
        let mut figures = Vec::new();
        // Figures come sorted by unit, so each submission is read once.
        let mut filed = None;
        for figure in book.all().filter(|figure| tree.is_within(&figure.unit, &within.node)) {
            let above = !tree.children(&figure.unit).is_empty();
            let slot = Slot { unit: figure.unit.clone(), year: within.year, round: within.round, kind: Kind::Unit };
            let (judgement, submitted) = if above {
                let filed = view::reported(state, &slot, &figure.cell);
                (figure.judge_filed(filed.unwrap_or(crate::budget::money::Money::ZERO)), filed.is_some())
            } else {
                if filed.as_ref().is_none_or(|(unit, _)| *unit != figure.unit) {
                    filed = Some((figure.unit.clone(), view::filing(state, &slot, &snapshot).map_err(status)?));
                }
                let submission = filed.as_ref().and_then(|(_, filing)| filing.as_ref());
                let form = submission.and_then(|(version, _)| state.form_set_version(&version.form_set));
                match (submission, form) {
                    (Some((_, submission)), Some(form)) => (figure.judge(submission, form), true),
                    _ => (figure.judge_filed(crate::budget::money::Money::ZERO), false),
                }
            };
            figures.push(api::ListedControlFigure {
                unit: figure.unit.to_string(),
                unit_name: tree.node(&figure.unit).map_or_else(String::new, |node| node.name.clone()),
                judgement: Some(convert::judgement_out(&judgement)),
                submitted,
            });
        }
        Ok(Response::new(api::ListControlFiguresResponse { version: book.version, figures, position: state.position }))
    }
}
