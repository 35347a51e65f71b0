//! Figures for Prometheus. No names and no ids of keys in them.

use std::sync::{Arc, atomic::AtomicU64};

use http::StatusCode;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::domain::Core;

/// The class of a status.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Class {
    class: &'static str,
}

/// What is counted.
pub struct Metrics {
    registry: Registry,
    answers: [Counter; 5],
    verifications: Counter,
    refused_connections: Counter,
    counted: Gauge,
    cached: Gauge,
    look_ups: Gauge,
    hit_ratio: Gauge<f64, AtomicU64>,
    ready: Gauge,
    rows_checked: Gauge,
    rows_failed: Gauge,
    rounds: Gauge,
    lease: Gauge,
    applied: Gauge,
    behind: Gauge,
    lease_failures: Gauge,
    limited: Gauge,
    delivered: Gauge,
    undelivered: Gauge,
}

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

impl Metrics {
    /// All at zero.
    pub fn new() -> Arc<Metrics> {
        let mut registry = Registry::with_prefix("keyward");
        let answers = Family::<Class, Counter>::default();
        registry.register("gateway_answers", "Answers of the gateway by class of their status", answers.clone());
        let verifications = Counter::default();
        registry.register("verifications", "Answers of /auth/verify", verifications.clone());
        let refused_connections = Counter::default();
        registry.register(
            "connections_refused",
            "Connections closed as they came, because there were as many as there may be",
            refused_connections.clone(),
        );
        let (counted, cached, ready) = (Gauge::default(), Gauge::default(), Gauge::default());
        registry.register("usage_calls", "Calls that usage was counted for since the start", counted.clone());
        registry.register("agent_keys_cached", "Agent keys kept in memory", cached.clone());
        let (look_ups, hit_ratio) = (Gauge::default(), Gauge::default());
        registry.register(
            "agent_key_look_ups",
            "Agent keys looked up in the database since the start",
            look_ups.clone(),
        );
        registry.register(
            "agent_key_cache_hit_ratio",
            "Share of the gateway's answers and verifications since the start that needed no look-up",
            hit_ratio.clone(),
        );
        registry.register("catalog_ready", "Whether providers and models could be read", ready.clone());
        let (rows_checked, rows_failed, rounds) = (Gauge::default(), Gauge::default(), Gauge::default());
        registry.register(
            "integrity_rows_checked",
            "Rows whose integrity the last round checked",
            rows_checked.clone(),
        );
        registry.register("integrity_rows_failed", "Rows that failed in the last round", rows_failed.clone());
        registry.register("integrity_rounds", "Rounds through all rows since the start", rounds.clone());
        let (lease, applied) = (Gauge::default(), Gauge::default());
        let (behind, lease_failures) = (Gauge::default(), Gauge::default());
        registry.register(
            "lease_remaining_milliseconds",
            "How long this node may still decide from memory; 0 where it needs no lease, or has lost it",
            lease.clone(),
        );
        registry.register(
            "lease_failures",
            "Renewals of the lease that failed since the start",
            lease_failures.clone(),
        );
        registry.register("changes_applied", "The number of the last change this node took over", applied.clone());
        registry.register("changes_behind", "Changes beyond it when the lease was last renewed", behind.clone());
        let (limited, delivered, undelivered) = (Gauge::default(), Gauge::default(), Gauge::default());
        registry.register(
            "limited_calls",
            "Calls refused for a limit or a budget of their key since the start",
            limited.clone(),
        );
        registry.register(
            "messages_delivered",
            "Warnings that webhooks and mail servers took since the start",
            delivered.clone(),
        );
        registry.register("messages_failed", "Tries to deliver one that failed", undelivered.clone());
        Arc::new(Metrics {
            answers: CLASSES.map(|class| answers.get_or_create(&Class { class }).clone()),
            registry,
            verifications,
            refused_connections,
            counted,
            cached,
            look_ups,
            hit_ratio,
            ready,
            rows_checked,
            rows_failed,
            rounds,
            lease,
            applied,
            behind,
            lease_failures,
            limited,
            delivered,
            undelivered,
        })
    }

    /// Counts an answer of the gateway.
    pub fn answered(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES.len());
        self.answers[class - 1].inc();
    }

    /// Counts an answer of `/auth/verify`.
    pub fn verified(&self) {
        self.verifications.inc();
    }

    /// Counts a connection that was closed as it came.
    pub fn refused_connection(&self) {
        self.refused_connections.inc();
    }

    /// All figures, in OpenMetrics' text format.
    pub fn render(&self, core: &Core) -> String {
        self.counted.set(core.meter.calls());
        self.cached.set(i64::try_from(core.keys.len()).unwrap_or(i64::MAX));
        let look_ups = core.look_ups.made();
        self.look_ups.set(i64::try_from(look_ups).unwrap_or(i64::MAX));
        let checks = self.answers.iter().map(Counter::get).sum::<u64>() + self.verifications.get();
        // A look-up whose call is not answered yet is no miss of those that are.
        self.hit_ratio.set((1.0 - look_ups as f64 / checks.max(1) as f64).max(0.0));
        self.ready.set(i64::from(core.catalog().is_read()));
        let load = |count: &std::sync::atomic::AtomicI64| count.load(std::sync::atomic::Ordering::Relaxed);
        self.rows_checked.set(load(&core.findings.rows));
        self.rows_failed.set(load(&core.findings.failed));
        self.rounds.set(load(&core.findings.rounds));
        self.lease.set(core.lease.remaining_ms());
        self.applied.set(load(&core.lease.applied));
        self.behind.set(load(&core.lease.behind));
        self.limited.set(load(&core.spending.refused));
        self.delivered.set(load(&core.sent.delivered));
        self.undelivered.set(load(&core.sent.failed));
        let failures = core.lease.failures.load(std::sync::atomic::Ordering::Relaxed);
        self.lease_failures.set(i64::try_from(failures).unwrap_or(i64::MAX));
        let mut text = String::new();
        // Writing to a String cannot fail.
        if encode(&mut text, &self.registry).is_err() {
            tracing::error!("the metrics cannot be written");
        }
        text
    }
}
