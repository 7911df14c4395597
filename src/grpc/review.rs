//! ReviewService: rounds, and the way of a submission from filed to approved.

use tonic::{Request, Response, Status};

use super::convert::{self, bad};
use super::status::status;
use super::{identity, look, quota, review_out};
use crate::budget::cell::CellAddress;
use crate::budget::digest::Digest;
use crate::budget::form_set::FormSet;
use crate::budget::money::{Amount, Decimals, Denomination};
use crate::budget::reason::{Reason, Remark};
use crate::budget::submission::{Round, Slot, UnitCode};
use crate::consolidator::{AsOf, Consolidator, Done, Snapshot};
use crate::ledger::actor::{Actor, Operation, may};
use crate::ledger::decide::{Action, AggregateStep, FigureSet, Target, VersionStep};
use crate::ledger::event::{Event, Timestamp, VersionMoved};
use crate::ledger::review::{Move, OpinionView, ReturnedLine};
use crate::ledger::round::admits;
use crate::proto::api;

pub(super) struct Review(pub(super) Consolidator);

/// Makes an answer of what every write is answered with, and more fields.
macro_rules! answer {
    ($type:ident, $done:expr $(, $field:ident: $value:expr)* $(,)?) => {
        Response::new(api::$type {
            position: $done.envelope.position,
            time_ms: $done.envelope.time.0,
            repeated: $done.repeated,
            $($field: $value,)*
        })
    };
}

fn target(target: Option<api::VersionTarget>) -> Result<Target, Remark> {
    let target = target.ok_or_else(|| bad("target", ""))?;
    Ok(Target { slot: convert::slot(target.slot)?, version: target.version })
}

fn step(target: Target, step: Move, reason: String) -> VersionStep {
    VersionStep { target, step, reason, lines: Vec::new(), to_justify: Vec::new(), reviewed: None }
}

fn aggregate_step(target: api::AggregateTarget, step: Move, reason: String) -> Result<Action, Remark> {
    Ok(Action::StepAggregate(AggregateStep {
        department: target.department.into(),
        year: convert::year(target.year)?,
        round: convert::round(target.round)?,
        version: target.version,
        step,
        reason,
    }))
}

fn line(line: api::ReturnedLine) -> ReturnedLine {
    ReturnedLine {
        table: line.table.into(),
        row: line.row.into(),
        column: line.column.into(),
        rule: line.rule.into(),
        fingerprint: None,
        text: line.text,
    }
}

fn opinion(opinion: i32) -> Result<OpinionView, Remark> {
    match api::Opinion::try_from(opinion) {
        Ok(api::Opinion::Agree) => Ok(OpinionView::Agree),
        Ok(api::Opinion::Object) => Ok(OpinionView::Object),
        Ok(api::Opinion::TakenBack) => Ok(OpinionView::TakenBack),
        Ok(api::Opinion::Unspecified) | Err(_) => Err(bad("opinion", opinion)),
    }
}

/// A reviewed figure, read in the unit of its column.
fn figure(figure: api::ReviewedFigure, form: &FormSet) -> Result<FigureSet, Remark> {
    let cell = CellAddress::parse(&figure.cell).ok_or_else(|| convert::bad_cell(&figure.cell))?;
    let column = form.cell(&cell).and_then(|(table, at)| table.columns.get(at));
    let scale = column.and_then(|column| column.kind.print_scale());
    if column.is_some() && scale.is_none() {
        let remark = Remark::new(Reason::BadReviewedFigure).with("problem", "not_money");
        return Err(remark.with("cell", &cell));
    }
    let read = |text: String| {
        let (denomination, decimals) =
            scale.map_or((Denomination::Yuan, 2), |scale| (scale.denomination, scale.decimals));
        let amount = Amount::parse(&text, denomination, Decimals::Fixed(decimals));
        amount.map_err(|error| bad(&figure.cell, &text).with("expected", convert::amount_like(error)))
    };
    Ok(FigureSet { amount: figure.amount.map(read).transpose()?, cell, reason: figure.reason })
}

/// The form set that a version was filed on.
fn form_of<'s>(snapshot: &'s Snapshot, target: &Target) -> Result<&'s FormSet, Remark> {
    let found = snapshot.state.filings(&target.slot).and_then(|filings| filings.version(target.version));
    let form = found.and_then(|version| snapshot.state.form_set_version(&version.form_set));
    let unknown = || Remark::new(Reason::UnknownSubmission).with("slot", &target.slot).with("version", target.version);
    form.map(AsRef::as_ref).ok_or_else(unknown)
}

fn state_of(done: &Done) -> i32 {
    match &done.envelope.event {
        Event::VersionMoved(moved) => convert::state_out(moved.to),
        _ => api::VersionState::Unspecified.into(),
    }
}

impl Review {
    /// The time that deadlines are compared with: the clock's, or the moment that was asked for.
    fn now(&self, snapshot: &Snapshot, asked: Option<&api::AsOf>) -> Result<Timestamp, Remark> {
        Ok(match asked.map(convert::as_of).transpose()? {
            None => self.0.now(),
            Some(AsOf::Time(time)) => time.min(self.0.now()),
            Some(AsOf::Position(_)) => snapshot.state.time,
        })
    }

    /// Before anything is looked up: no answer tells a stranger what there is.
    fn permit(&self, actor: &Actor, operation: Operation, target: &Target) -> Result<(), Remark> {
        let snapshot = self.0.snapshot();
        let tree = snapshot.state.tree(target.slot.year).map(AsRef::as_ref);
        if may(actor, operation, &target.slot.unit, tree) {
            return Ok(());
        }
        Err(Remark::new(Reason::NotPermitted).with("actor", actor).with("node", &target.slot.unit))
    }

    async fn step(&self, actor: Actor, key: String, fingerprint: Digest, order: VersionStep) -> Result<Done, Status> {
        let (slot, step) = (order.target.slot.clone(), order.step);
        let done = self.0.step(actor, key.into(), fingerprint, order).await.map_err(status)?;
        tracing::info!(%slot, %step, position = done.envelope.position, repeated = done.repeated, "review");
        Ok(done)
    }
}

#[tonic::async_trait]
impl api::review_service_server::ReviewService for Review {
    async fn open_round(
        &self,
        request: Request<api::OpenRoundRequest>,
    ) -> Result<Response<api::OpenRoundResponse>, Status> {
        let actor = identity::actor(&request).map_err(status)?;
        let request = request.into_inner();
        let fingerprint = convert::fingerprint(&request);
        let action = Action::OpenRound {
            year: convert::year(request.year).map_err(status)?,
            round: convert::round(request.round).map_err(status)?,
            deadline: request.deadline_ms.map(Timestamp),
            reason: request.reason,
        };
        let done = self.0.carry_out(actor, request.idempotency_key.into(), fingerprint, action).await;
        let done = done.map_err(status)?;
        let Event::RoundOpened(opened) = &done.envelope.event else { return Err(status(bad("event", ""))) };
        Ok(answer!(OpenRoundResponse, done, version: opened.version))
    }

    async fn close_round(
        &self,
        request: Request<api::CloseRoundRequest>,
    ) -> Result<Response<api::CloseRoundResponse>, Status> {
        let actor = identity::actor(&request).map_err(status)?;
        let request = request.into_inner();
        let fingerprint = convert::fingerprint(&request);
        let action = Action::CloseRound {
            year: convert::year(request.year).map_err(status)?,
            round: convert::round(request.round).map_err(status)?,
            reason: request.reason,
        };
        let done = self.0.carry_out(actor, request.idempotency_key.into(), fingerprint, action).await;
        let done = done.map_err(status)?;
        let Event::RoundClosed(closed) = &done.envelope.event else { return Err(status(bad("event", ""))) };
        Ok(answer!(CloseRoundResponse, done, version: closed.version))
    }

    async fn list_rounds(
        &self,
        request: Request<api::ListRoundsRequest>,
    ) -> Result<Response<api::ListRoundsResponse>, Status> {
        let actor = identity::actor(&request).map_err(status)?;
        let api::ListRoundsRequest { year, as_of } = request.into_inner();
        let asked = api::Scope { year, as_of, ..api::Scope::default() };
        let (snapshot, within) = look(&self.0, &actor, &asked).await.map_err(status)?;
        let (year, now) = (within.year, self.now(&snapshot, asked.as_of.as_ref()).map_err(status)?);
        let rounds = [Round::First, Round::Second].map(|round| review_out::round(&snapshot.state, year, round, now));
        let (rounds, position) = (rounds.to_vec(), snapshot.state.position);
        Ok(Response::new(api::ListRoundsResponse { year: year.into(), rounds, time_ms: now.0, position }))
    }

    async fn withdraw(
        &self,
        request: Request<api::WithdrawRequest>,
    ) -> Result<Response<api::WithdrawResponse>, Status> {
        let actor = identity::actor(&request).map_err(status)?;
        let request = request.into_inner();
        let fingerprint = convert::fingerprint(&request);
        let order = step(target(request.target).map_err(status)?, Move::Withdraw, request.reason);
        let done = self.step(actor, request.idempotency_key, fingerprint, order).await?;
        let Event::VersionMoved(moved) = &done.envelope.event else { return Err(status(bad("event", ""))) };
        let snapshot = self.0.snapshot();
        let counting = snapshot.state.filings(&moved.slot).and_then(|f| f.counting_at(done.envelope.position));
        let counts_on = counting.map_or(0, |version| version.version);
        Ok(answer!(WithdrawResponse, done, state: state_of(&done), counts_on: counts_on))
    }

    async fn r#return(&self, request: Request<api::ReturnRequest>) -> Result<Response<api::ReturnResponse>, Status> {
        use api::return_request::Target as On;
        let actor = identity::actor(&request).map_err(status)?;
        let request = request.into_inner();
        let fingerprint = convert::fingerprint(&request);
        let done = match request.target {
            Some(On::Submission(version)) => {
                let lines = request.lines.into_iter().map(line).collect();
                let order = step(target(Some(version)).map_err(status)?, Move::Return, request.reason);
                let order = VersionStep { lines, ..order };
                self.step(actor, request.idempotency_key, fingerprint, order).await?
            }
            Some(On::Aggregate(target)) => {
                let action = aggregate_step(target, Move::Return, request.reason).map_err(status)?;
                let done = self.0.carry_out(actor, request.idempotency_key.into(), fingerprint, action).await;
                done.map_err(status)?
            }
            None => return Err(status(bad("target", ""))),
        };
        let (state, now) = (self.0.snapshot().state, self.0.now());
        // What changes an approved version knows no round.
        let adjusts = |moved: &VersionMoved| {
            let version = state.filings(&moved.slot).and_then(|filings| filings.version(moved.version));
            version.is_some_and(|version| version.adjusts.is_some())
        };
        let round = match &done.envelope.event {
            Event::VersionMoved(moved) if !adjusts(moved) => Some((moved.slot.year, moved.slot.round)),
            Event::AggregateMoved(moved) => Some((moved.year, moved.round)),
            _ => None,
        };
        let round_ended = round.is_some_and(|(year, round)| admits(&state, year, round, now).is_err());
        Ok(answer!(ReturnResponse, done, round_ended: round_ended))
    }

    async fn give_opinion(
        &self,
        request: Request<api::GiveOpinionRequest>,
    ) -> Result<Response<api::GiveOpinionResponse>, Status> {
        let actor = identity::actor(&request).map_err(status)?;
        let request = request.into_inner();
        let fingerprint = convert::fingerprint(&request);
        let target = target(request.target).map_err(status)?;
        self.permit(&actor, Operation::GiveOpinion, &target).map_err(status)?;
        let action = Action::GiveOpinion {
            target,
            office: request.office,
            view: opinion(request.opinion).map_err(status)?,
            text: request.text,
        };
        let done = self.0.carry_out(actor, request.idempotency_key.into(), fingerprint, action).await;
        let done = done.map_err(status)?;
        Ok(answer!(GiveOpinionResponse, done))
    }

    async fn review_figures(
        &self,
        request: Request<api::ReviewFiguresRequest>,
    ) -> Result<Response<api::ReviewFiguresResponse>, Status> {
        let actor = identity::actor(&request).map_err(status)?;
        let request = request.into_inner();
        let fingerprint = convert::fingerprint(&request);
        let target = target(request.target).map_err(status)?;
        self.permit(&actor, Operation::ReviewFigures, &target).map_err(status)?;
        let snapshot = self.0.snapshot();
        let form = form_of(&snapshot, &target).map_err(status)?;
        let figures = request.figures.into_iter().map(|set| figure(set, form)).collect::<Result<_, Remark>>();
        let action = Action::ReviewFigures { target, figures: figures.map_err(status)? };
        let done = self.0.carry_out(actor, request.idempotency_key.into(), fingerprint, action).await;
        let done = done.map_err(status)?;
        Ok(answer!(ReviewFiguresResponse, done))
    }

    async fn accept(&self, request: Request<api::AcceptRequest>) -> Result<Response<api::AcceptResponse>, Status> {
        let actor = identity::actor(&request).map_err(status)?;
        let _turn = quota::turn(request.extensions()).await;
        let request = request.into_inner();
        let fingerprint = convert::fingerprint(&request);
        let order = step(target(request.target).map_err(status)?, Move::Accept, request.reason);
        let done = self.step(actor, request.idempotency_key, fingerprint, order).await?;
        Ok(answer!(AcceptResponse, done))
    }

    async fn forward(&self, request: Request<api::ForwardRequest>) -> Result<Response<api::ForwardResponse>, Status> {
        let actor = identity::actor(&request).map_err(status)?;
        let request = request.into_inner();
        let fingerprint = convert::fingerprint(&request);
        let department = match request.department.as_str() {
            "" => actor.node.clone(),
            department => UnitCode::from(department),
        };
        let action = Action::Forward {
            department,
            year: convert::year(request.year).map_err(status)?,
            round: convert::round(request.round).map_err(status)?,
            text: request.text,
        };
        let done = self.0.carry_out(actor, request.idempotency_key.into(), fingerprint, action).await;
        let done = done.map_err(status)?;
        let Event::Forwarded(forwarded) = &done.envelope.event else { return Err(status(bad("event", ""))) };
        tracing::info!(department = %forwarded.department, position = done.envelope.position, "forwarded");
        let aggregate = review_out::forwarded(&done.envelope, forwarded);
        Ok(answer!(ForwardResponse, done, aggregate: Some(aggregate)))
    }

    async fn approve(&self, request: Request<api::ApproveRequest>) -> Result<Response<api::ApproveResponse>, Status> {
        use api::approve_request::Target as On;
        let actor = identity::actor(&request).map_err(status)?;
        let _turn = quota::turn(request.extensions()).await;
        let request = request.into_inner();
        let fingerprint = convert::fingerprint(&request);
        let done = match request.target {
            Some(On::Submission(version)) => {
                let order = step(target(Some(version)).map_err(status)?, Move::Approve, request.reason);
                let order = VersionStep { reviewed: request.reviewed_position, ..order };
                self.step(actor, request.idempotency_key, fingerprint, order).await?
            }
            Some(On::Aggregate(target)) => {
                let action = aggregate_step(target, Move::Approve, request.reason).map_err(status)?;
                let done = self.0.carry_out(actor, request.idempotency_key.into(), fingerprint, action).await;
                done.map_err(status)?
            }
            None => return Err(status(bad("target", ""))),
        };
        let reviewed_position = match &done.envelope.event {
            Event::VersionMoved(moved) => moved.reviewed,
            _ => 0,
        };
        Ok(answer!(ApproveResponse, done, reviewed_position: reviewed_position))
    }

    async fn reopen(&self, request: Request<api::ReopenRequest>) -> Result<Response<api::ReopenResponse>, Status> {
        use api::reopen_request::Target as On;
        let actor = identity::actor(&request).map_err(status)?;
        let request = request.into_inner();
        let fingerprint = convert::fingerprint(&request);
        let done = match request.target {
            Some(On::Submission(version)) => {
                let order = step(target(Some(version)).map_err(status)?, Move::Reopen, request.reason);
                self.step(actor, request.idempotency_key, fingerprint, order).await?
            }
            Some(On::Aggregate(target)) => {
                let action = aggregate_step(target, Move::Reopen, request.reason).map_err(status)?;
                let done = self.0.carry_out(actor, request.idempotency_key.into(), fingerprint, action).await;
                done.map_err(status)?
            }
            None => return Err(status(bad("target", ""))),
        };
        let aggregate_state = match &done.envelope.event {
            Event::AggregateMoved(moved) => convert::aggregate_state_out(moved.to),
            _ => api::AggregateState::Unspecified.into(),
        };
        Ok(answer!(ReopenResponse, done, state: state_of(&done), aggregate_state: aggregate_state))
    }

    async fn get_review(
        &self,
        request: Request<api::GetReviewRequest>,
    ) -> Result<Response<api::GetReviewResponse>, Status> {
        let actor = identity::actor(&request).map_err(status)?;
        let bounds = quota::bounds(request.extensions());
        let _turn = quota::turn(request.extensions()).await;
        let api::GetReviewRequest { slot, as_of } = request.into_inner();
        let api::Slot { unit: node, year, round, kind } = slot.unwrap_or_default();
        let asked = api::Scope { node, year, round, as_of, ..api::Scope::default() };
        let (snapshot, within) = look(&self.0, &actor, &asked).await.map_err(status)?;
        crate::ledger::view::tree(&snapshot.state, &within).map_err(status)?;
        let kind = convert::kind(kind).map_err(status)?;
        let slot = Slot { unit: within.node, year: within.year, round: within.round, kind };
        let now = self.now(&snapshot, asked.as_of.as_ref()).map_err(status)?;
        let answer = review_out::review(&snapshot, &actor, &slot, now, &bounds).map_err(status)?;
        Ok(Response::new(answer))
    }
}
