//! The page that a Prometheus reads, on an address of its own: `serve --metrics 127.0.0.1:9407`.
//!
//! Plain HTTP and open to whoever reaches it: it has counts, and neither figures nor names.

use std::path::PathBuf;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::consolidator::Consolidator;
use crate::store::{Disk, RealDisk};

/// What Prometheus calls its text format.
const FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves `/metrics` for as long as it is polled.
pub(super) async fn serve(listener: TcpListener, consolidator: Consolidator, data: PathBuf) {
    let page = move || {
        let text = consolidator.metrics(RealDisk.free_bytes(&data).ok());
        async move { ([(CONTENT_TYPE, FORMAT)], text) }
    };
    if let Err(error) = axum::serve(listener, Router::new().route("/metrics", get(page))).await {
        tracing::error!(%error, "the metrics are not served any more");
    }
}
