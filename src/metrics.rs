//! What Prometheus sees.
use prometheus::{IntCounterVec, IntGauge, Opts, Registry, TextEncoder};
use std::sync::Arc;

/// All metrics of one process, on a registry of its own.
pub struct Metrics {
    registry: Registry,
    /// Gate decisions by route, outcome and reason.
    pub decisions: IntCounterVec,
    /// Token requests by grant and outcome.
    pub token_requests: IntCounterVec,
    /// Policy reloads by outcome.
    pub reloads: IntCounterVec,
    /// When the policy in force was taken up, seconds since the epoch.
    pub last_reload: IntGauge,
}

impl Metrics {
    /// Registers everything.
    pub fn new() -> Arc<Self> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels).expect("names and labels are well formed");
            registry.register(Box::new(counter.clone())).expect("each name is registered once");
            counter
        };
        let decisions = counter("portcullis_decisions_total", "Decisions of the gate", &["route", "outcome", "reason"]);
        let token_requests = counter("portcullis_token_requests_total", "Token requests", &["grant", "outcome"]);
        let reloads = counter("portcullis_reloads_total", "Policy reloads", &["outcome"]);
        let last_reload =
            IntGauge::new("portcullis_last_reload_timestamp_seconds", "When the policy in force was taken up")
                .expect("the name is well formed");
        registry.register(Box::new(last_reload.clone())).expect("each name is registered once");
        Arc::new(Self { registry, decisions, token_requests, reloads, last_reload })
    }

    /// The text exposition format.
    pub fn encode(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }
}
