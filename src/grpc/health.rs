//! The health that load balancers and supervisors ask for: whether filings are taken.
//!
//! While nothing is taken (the writer has stopped, or the disk is down to its reserve), the services that write, and the
//! server as a whole, are NOT_SERVING, while those that only read stay as they are: they still answer. Knows nothing of
//! why; the log and the answers say.

use std::time::Duration;

use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::consolidator::Consolidator;

/// How soon a stopped writer is noticed: well within what a load balancer waits between two questions.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The server as a whole, and the services that write.
const WRITING: [&str; 5] = [
    "",
    "budget.consolidation.v1.SubmissionService",
    "budget.consolidation.v1.ControlFigureService",
    "budget.consolidation.v1.RegistryService",
    "budget.consolidation.v1.ReviewService",
];
const READING: [&str; 2] = ["budget.consolidation.v1.ConsolidationService", "budget.consolidation.v1.AuditService"];

/// Says whether it serves, as long as it runs. A stopped writer never goes on, so then it ends.
pub(super) async fn follow(health: HealthReporter, consolidator: Consolidator) {
    for service in WRITING.into_iter().chain(READING) {
        health.set_service_status(service, ServingStatus::Serving).await;
    }
    let mut serves = true;
    while !consolidator.has_stopped() {
        let accepts = consolidator.is_accepting();
        if accepts != serves {
            serves = accepts;
            say(&health, if serves { ServingStatus::Serving } else { ServingStatus::NotServing }).await;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    say(&health, ServingStatus::NotServing).await;
}

/// Nothing is served any more. Whoever watches is told so, and let go: nobody waits for a watch to end by itself.
pub(super) async fn stop(health: &mut HealthReporter) {
    for service in WRITING.into_iter().chain(READING) {
        health.set_service_status(service, ServingStatus::NotServing).await;
        // Watches end with what they watch; who only asks still gets an answer.
        health.clear_service_status(service).await;
        health.set_service_status(service, ServingStatus::NotServing).await;
    }
}

async fn say(health: &HealthReporter, status: ServingStatus) {
    for service in WRITING {
        health.set_service_status(service, status).await;
    }
}
