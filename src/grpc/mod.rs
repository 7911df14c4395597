//! The server side of tonic: one file per service, and what they share. Wire types stop here.
//!
//! Knows the API's messages, the [`Consolidator`] and what a reader may ask of a state; not how anything is stored.
//! How connections come in: `door.rs`, and over TLS: `tls.rs`. Who is asking: `identity.rs`. What each request passes
//! first: `gate.rs`; who may call what: `access.rs`. Which status a reason travels as: `status.rs`. What is too much:
//! `limits.rs`; of one identity at once: `quota.rs`.
//! What tonic itself refuses: `explained.rs`. Whether it takes filings, for load balancers: `health.rs`.
//! Streams that follow the status board: `watch.rs`.
//! Core values to messages and back: `convert.rs`.

pub mod access;
mod audit;
mod board;
mod cell_history;
mod consolidation;
mod control_figure;
mod convert;
mod diff;
pub mod door;
mod events;
mod explained;
mod findings;
mod gate;
mod health;
mod identity;
pub mod limits;
mod messages;
mod proof;
mod quota;
mod registry;
mod review;
mod review_out;
mod rule_finding;
mod status;
mod submission;
pub mod tls;
mod trace;
mod watch;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tonic::service::Routes;
use tonic::transport::server::Router;
use tonic::transport::{Error, Server};
use tonic_health::pb::health_server::{Health, HealthServer};
use tower_layer::Layer;

use crate::budget::reason::{Reason, Remark};
use crate::budget::submission::{Round, UnitCode};
use crate::consolidator::{Consolidator, Snapshot};
use crate::ledger::actor::{Actor, Operation, may};
use crate::ledger::view::Scope;
use crate::proto::{DESCRIPTORS, api};

use door::Door;
use explained::Explained;
pub use gate::REQUEST_ID_HEADER;
use gate::{Gate, gate};
pub use identity::ACTOR_HEADER;
use limits::Bounds;
use quota::Quotas;
use watch::Stopping;

/// Serves at a door until `shutdown` is done and the open streams have ended, at most `drain` later.
///
/// # Errors
/// What tonic says if it can't serve.
pub async fn serve(
    consolidator: Consolidator,
    door: Door,
    shutdown: impl Future<Output = ()> + Send + 'static,
    drain: Duration,
) -> Result<(), Error> {
    serve_within(Bounds::default(), consolidator, door, shutdown, drain).await
}

/// The same within other bounds than usual: for tests of what happens at them.
///
/// # Errors
/// As [`serve`].
pub async fn serve_within(
    bounds: Bounds,
    consolidator: Consolidator,
    door: Door,
    shutdown: impl Future<Output = ()> + Send + 'static,
    drain: Duration,
) -> Result<(), Error> {
    consolidator.bound_waiting(bounds.waiting_bytes);
    let (stopping, stopped) = watch::stopping();
    let (health, health_service) = tonic_health::server::health_reporter();
    let mut told = health.clone();
    let following = tokio::spawn(health::follow(health, consolidator.clone()));
    let follows = following.abort_handle();
    let shutdown = async move {
        shutdown.await;
        follows.abort();
        // Whoever balances load looks elsewhere while what is under way is finished.
        health::stop(&mut told).await;
        stopping.now();
    };
    let serving = router(bounds, consolidator, health_service, stopped.clone());
    let serving = serving.serve_with_incoming_shutdown(door.open(bounds), shutdown);
    // Graceful shutdown waits for open streams. Watches end by themselves; a filing may stay open for ever: hence the
    // deadline.
    let deadline = async {
        stopped.wait().await;
        tokio::time::sleep(drain).await;
    };
    let served = tokio::select! {
        ended = serving => ended,
        () = deadline => {
            tracing::warn!("streams were still open at the drain deadline; what was not sealed is not filed");
            Ok(())
        }
    };
    following.abort();
    served
}

fn router(
    bounds: Bounds,
    consolidator: Consolidator,
    health_service: HealthServer<impl Health>,
    stopping: Stopping,
) -> Router<impl Layer<Routes, Service = Gate<Routes>> + Clone> {
    let reflection =
        || tonic_reflection::server::Builder::configure().register_encoded_file_descriptor_set(DESCRIPTORS);
    let mut server = Server::builder()
        .max_concurrent_streams(limits::STREAMS_PER_CONNECTION_MAX)
        .initial_connection_window_size(limits::WINDOW_BYTES)
        .initial_stream_window_size(limits::WINDOW_BYTES)
        .http2_keepalive_interval(Some(limits::KEEPALIVE))
        .http2_max_header_list_size(limits::HEADER_BYTES_MAX)
        .layer(gate(consolidator.clone(), Arc::new(Quotas::new(bounds))))
        .add_service(health_service);
    match reflection().build_v1() {
        Ok(service) => server = server.add_service(service),
        Err(error) => tracing::error!(%error, "no reflection"),
    }
    match reflection().build_v1alpha() {
        Ok(service) => server = server.add_service(service),
        Err(error) => tracing::error!(%error, "no reflection v1alpha"),
    }
    let services = consolidator;
    macro_rules! add {
        ($module:ident, $server:ident, $service:expr) => {
            server = server.add_service(Explained(
                api::$module::$server::new($service)
                    .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
                    .max_encoding_message_size(bounds.answer_bytes),
            ));
        };
    }
    add!(submission_service_server, SubmissionServiceServer, submission::Submissions(services.clone()));
    add!(control_figure_service_server, ControlFigureServiceServer, control_figure::ControlFigures(services.clone()));
    add!(
        consolidation_service_server,
        ConsolidationServiceServer,
        consolidation::Consolidation::new(services.clone(), stopping)
    );
    add!(registry_service_server, RegistryServiceServer, registry::Registry(services.clone()));
    add!(review_service_server, ReviewServiceServer, review::Review(services.clone()));
    add!(audit_service_server, AuditServiceServer, audit::Audit(services));
    server
}

/// What a read request means: its node (the asker's own if not said), year and round, if the asker may see it.
fn scope(
    snapshot: &Snapshot,
    actor: &Actor,
    node: &str,
    year: u32,
    round: i32,
    form_set: &str,
) -> Result<Scope, Remark> {
    let state = &snapshot.state;
    let year = match year {
        0 => state.latest_year().ok_or_else(|| Remark::new(Reason::UnknownYear).with("year", ""))?,
        year => convert::year(year)?,
    };
    let round = match api::Round::try_from(round) {
        Ok(api::Round::First) => Round::First,
        Ok(api::Round::Second | api::Round::Unspecified) => Round::Second,
        Err(_) => return Err(convert::bad("round", round)),
    };
    let node = if node.is_empty() { actor.node.clone() } else { UnitCode::from(node) };
    let form_set = (!form_set.is_empty()).then(|| form_set.to_owned());
    // What a node was is told to whoever may see it today, and to nobody who could then.
    if !may(actor, Operation::Read, &node, snapshot.today.tree(year).map(AsRef::as_ref)) {
        return Err(Remark::new(Reason::NotPermitted).with("actor", actor).with("node", node));
    }
    gate::about(&node);
    Ok(Scope { node, year, round, form_set, reviewed: false })
}

/// A scope of the wire, if the asker may see it, with the snapshot that it is looked up in: now, or as of a moment.
async fn look(consolidator: &Consolidator, actor: &Actor, asked: &api::Scope) -> Result<(Snapshot, Scope), Remark> {
    let within = |snapshot: &Snapshot| scope(snapshot, actor, &asked.node, asked.year, asked.round, &asked.form_set);
    let now = consolidator.snapshot();
    // First, so that nothing is folded for whoever may not see it.
    let scope = within(&now)?;
    let Some(as_of) = &asked.as_of else { return Ok((now, scope)) };
    let then = consolidator.at(convert::as_of(as_of)?).await?;
    let scope = within(&then)?;
    Ok((then, scope))
}
