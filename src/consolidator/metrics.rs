//! What is counted while the service runs, as Prometheus reads it. Counts begin at the start of the program; what
//! stands somewhere (positions, the queue) is looked at when somebody asks.
//!
//! No figure of any budget is in here, and no unit's name. Who may ask, and how, is `cli/metrics.rs`.

use std::time::Instant;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::Done;
use crate::budget::finding::Strength;
use crate::ledger::Position;
use crate::ledger::event::Event;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByStrength {
    strength: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCertificate {
    certificate: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByLimit {
    limit: &'static str,
}

/// All that is counted.
pub(super) struct Metrics {
    registry: Registry,
    filings: Family<ByOutcome, Counter>,
    findings: Family<ByStrength, Counter>,
    over_limit: Family<ByLimit, Counter>,
    looks_lost: Counter,
    group_events: Histogram,
    sync: Histogram,
    position: Gauge,
    mirror_lag: Gauge,
    queue: Gauge,
    queue_bytes: Gauge,
    accepting: Gauge,
    store_free: Gauge,
    mirror_free: Gauge,
    certificates: Family<ByCertificate, Gauge>,
}

/// How things stand at the moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub(super) position: Position,
    /// Where the mirror is, if there is one.
    pub(super) mirrored: Option<Position>,
    /// Commands that wait for the writer.
    pub(super) queue: usize,
    /// And the memory that they take.
    pub(super) queue_bytes: usize,
    pub(super) accepting: bool,
    pub(super) free: Free,
}

/// Bytes free on the disks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Free {
    /// Where the store is, if that is known.
    pub store: Option<u64>,
    /// Where the mirror is, if there is one and that is known.
    pub mirror: Option<u64>,
}

/// Measures how long something takes.
pub(super) struct Timer(Instant);

impl Metrics {
    pub(super) fn new() -> Metrics {
        let mut registry = Registry::with_prefix("budget");
        let metrics = Metrics {
            filings: Family::default(),
            findings: Family::default(),
            over_limit: Family::default(),
            looks_lost: Counter::default(),
            group_events: Histogram::new(exponential_buckets(1.0, 2.0, 8)),
            sync: Histogram::new(exponential_buckets(0.0001, 2.0, 15)),
            position: Gauge::default(),
            mirror_lag: Gauge::default(),
            queue: Gauge::default(),
            queue_bytes: Gauge::default(),
            accepting: Gauge::default(),
            store_free: Gauge::default(),
            mirror_free: Gauge::default(),
            certificates: Family::default(),
            registry: Registry::default(),
        };
        registry.register("filings", "Filings that were decided, by outcome", metrics.filings.clone());
        registry.register("findings", "What was found in them, by strength", metrics.findings.clone());
        let lost = metrics.looks_lost.clone();
        registry.register("looks_lost", "Looks of auditors that could not be recorded", lost);
        let over_limit = metrics.over_limit.clone();
        registry.register(
            "requests_over_limit",
            "Requests that were refused, by the limit that they went beyond",
            over_limit,
        );
        registry.register("group_events", "Events that became durable together", metrics.group_events.clone());
        let sync = metrics.sync.clone();
        registry.register_with_unit("group_sync", "Time to append and sync them", Unit::Seconds, sync);
        registry.register("journal_position", "Position of the last durable event", metrics.position.clone());
        let lag = metrics.mirror_lag.clone();
        registry.register("mirror_lag_events", "Events that the mirror is behind; -1 without a mirror", lag);
        registry.register("writer_queue", "Commands that wait for the writer", metrics.queue.clone());
        let bytes = metrics.queue_bytes.clone();
        registry.register_with_unit("writer_queue", "What they take, about", Unit::Bytes, bytes);
        registry.register(
            "accepting",
            "1 if commands are taken; 0 while a disk is down to its reserve, which ends by itself, or once writing has stopped",
            metrics.accepting.clone(),
        );
        let free = metrics.store_free.clone();
        registry.register_with_unit("store_free", "Free where the store is; -1 if unknown", Unit::Bytes, free);
        let free = metrics.mirror_free.clone();
        let help = "Free where the mirror is; -1 without a mirror or if unknown";
        registry.register_with_unit("mirror_free", help, Unit::Bytes, free);
        let certificates = metrics.certificates.clone();
        registry.register("certificate_expiry", "Unix time at which a certificate of the server ends", certificates);
        Metrics { registry, ..metrics }
    }

    pub(super) fn timer(&self) -> Timer {
        Timer(Instant::now())
    }

    /// So many events became durable together.
    pub(super) fn durable(&self, events: usize, timer: Timer) {
        self.group_events.observe(u32::try_from(events).unwrap_or(u32::MAX).into());
        self.sync.observe(timer.0.elapsed().as_secs_f64());
    }

    /// A look could not be recorded.
    pub(super) fn look_lost(&self) {
        self.looks_lost.inc();
    }

    /// A request went beyond a limit.
    pub(super) fn over_limit(&self, limit: &'static str) {
        self.over_limit.get_or_create(&ByLimit { limit }).inc();
    }

    /// A command was carried out.
    pub(super) fn done(&self, done: &Done) {
        let Some(attempt) = done.envelope.event.attempt() else { return };
        let outcome = match done.envelope.event {
            _ if done.repeated => "repeated",
            Event::Refused(_) => "refused",
            _ => "submitted",
        };
        self.filings.get_or_create(&ByOutcome { outcome }).inc();
        if done.repeated {
            return;
        }
        let failed = done.checked.iter().flat_map(|checked| &checked.findings);
        let failed = failed.filter(|finding| finding.failed()).map(|finding| finding.strength);
        for strength in attempt.findings.iter().map(|finding| finding.strength).chain(failed) {
            self.findings.get_or_create(&ByStrength { strength: Strength::as_str(strength) }).inc();
        }
    }

    /// Everything in the text format of Prometheus.
    pub(super) fn text(&self, standing: Standing, certificates: &[(&'static str, i64)]) -> String {
        for (certificate, until) in certificates.iter().copied() {
            self.certificates.get_or_create(&ByCertificate { certificate }).set(until);
        }
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.position.set(whole(standing.position));
        let lag = standing.mirrored.map(|mirrored| whole(standing.position.saturating_sub(mirrored)));
        self.mirror_lag.set(lag.unwrap_or(-1));
        self.queue.set(i64::try_from(standing.queue).unwrap_or(i64::MAX));
        self.queue_bytes.set(i64::try_from(standing.queue_bytes).unwrap_or(i64::MAX));
        self.accepting.set(standing.accepting.into());
        self.store_free.set(standing.free.store.map_or(-1, whole));
        self.mirror_free.set(standing.free.mirror.map_or(-1, whole));
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            tracing::error!("the metrics could not be written");
        }
        text
    }
}
