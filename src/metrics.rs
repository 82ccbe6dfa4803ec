//! What Prometheus sees.
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder, core::Collector,
};
use std::sync::{Arc, OnceLock};

/// Seconds; from a memory hit to a slow upstream.
const LATENCY: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

/// All metrics of one process, on a registry of its own.
pub struct Metrics {
    registry: Registry,
    /// Gate decisions by route, outcome and reason.
    pub decisions: IntCounterVec,
    /// Token requests by grant and outcome.
    pub token_requests: IntCounterVec,
    /// Sign-ins by outcome.
    pub logins: IntCounterVec,
    /// Policy reloads by outcome.
    pub reloads: IntCounterVec,
    /// When the policy in force was taken up, seconds since the epoch.
    pub last_reload: IntGauge,
    /// Look-ups in the cache of opened tokens: hit, miss, negative.
    pub cache: IntCounterVec,
    /// Tokens pushed out of the cache, by cause.
    pub cache_evictions: IntCounterVec,
    /// Bytes and entries of the cache.
    pub cache_size: IntGaugeVec,
    /// Seconds from the request to the upstream's response header, by route.
    pub upstream: HistogramVec,
    /// Requests that were let through and found no upstream, or lost it, by route.
    pub upstream_failures: IntCounterVec,
    /// Seconds of a store commit.
    pub store_commit: Histogram,
    /// Seconds of a look into the store, waiting for one's turn included.
    pub store_read: Histogram,
    /// Open connections to the database, by what they do.
    pub store_connections: IntGaugeVec,
    /// Connections to the database at work, by what they do.
    pub store_at_work: IntGaugeVec,
    /// Commits, or reads, that shared one way to the database.
    pub store_group: HistogramVec,
    /// Expired records removed from the store.
    pub swept: IntCounter,
    /// How long ago everything was known that other nodes had announced, milliseconds; -1 if it never was.
    pub feed_age: IntGauge,
    /// 1 while what is known of revocations may be acted upon.
    pub ready: IntGauge,
    /// Answers that the store did not give, by operation.
    pub store_errors: IntCounterVec,
    /// The last instant of each certificate that is shown, seconds since the epoch, by its first host.
    pub certificate_end: IntGaugeVec,
    /// Whether an upstream's address takes requests, by route and address.
    pub upstream_healthy: IntGaugeVec,
    /// What the requirement that is going to come would have decided.
    pub shadow_decisions: IntCounterVec,
    /// Streams ended with what let them in.
    pub streams_ended: IntCounterVec,
    /// Open connections.
    pub connections: IntGauge,
    /// Requests in flight.
    pub in_flight: IntGauge,
    /// Connections refused for want of room.
    pub connections_refused: IntCounter,
    /// Counts of the usage view that found no room before they could be written down.
    pub usage_lost: IntCounter,
    /// Lines that could not be written, by log.
    pub log_lines_lost: IntCounterVec,
    /// Requests to the admin API, by operation and status.
    pub admin_requests: IntCounterVec,
    /// Dynamic client registration, by method and outcome.
    pub registrations: IntCounterVec,
    /// Spans of traced requests, by what became of them: sent, failed, dropped.
    pub trace_spans: IntCounterVec,
    /// TLS handshakes that failed or took too long.
    pub handshakes_failed: IntCounter,
    /// Fetches of other issuers' keys, by issuer and outcome.
    pub issuer_fetches: IntCounterVec,
    /// Tokens of other issuers whose key is not known, by issuer.
    pub issuer_unknown_keys: IntCounterVec,
    /// How long ago an issuer's keys were asked for, seconds; -1 if they never came.
    pub issuer_keys_age: IntGaugeVec,
}

/// A route's own counters, found once instead of at every request.
#[derive(Debug, Default)]
pub struct RouteCounts {
    allowed: OnceLock<IntCounter>,
    upstream: OnceLock<Histogram>,
}

impl RouteCounts {
    /// Requests let through on `route`.
    pub fn allowed(&self, metrics: &Metrics, route: &str) -> &IntCounter {
        self.allowed.get_or_init(|| metrics.decisions.with_label_values(&[route, "allow", "ok"]))
    }

    /// The upstream's latency on `route`.
    pub fn upstream(&self, metrics: &Metrics, route: &str) -> &Histogram {
        self.upstream.get_or_init(|| metrics.upstream.with_label_values(&[route]))
    }
}

/// Counts one connection or request while it lives.
pub struct Counted(IntGauge);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

const FIRM: &str = "names and labels are constant and well formed, and each is registered once";

fn add<C: Collector + Clone + 'static>(registry: &Registry, made: prometheus::Result<C>) -> C {
    let collector = made.expect(FIRM);
    registry.register(Box::new(collector.clone())).expect(FIRM);
    collector
}

impl Metrics {
    /// Registers everything.
    pub fn new() -> Arc<Self> {
        let registry = Registry::new();
        let r = &registry;
        let counters = |name: &str, help: &str, labels: &[&str]| {
            add(r, IntCounterVec::new(Opts::new(format!("portcullis_{name}"), help), labels))
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            add(r, IntGaugeVec::new(Opts::new(format!("portcullis_{name}"), help), labels))
        };
        let group = HistogramOpts::new("portcullis_store_group_size", "Commits or reads that shared one way")
            .buckets(vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0]);
        let gauge = |name: &str, help: &str| add(r, IntGauge::new(format!("portcullis_{name}"), help));
        let counter = |name: &str, help: &str| add(r, IntCounter::new(format!("portcullis_{name}"), help));
        let histogram = |name: &str, help: &str| HistogramOpts::new(name, help).buckets(LATENCY.to_vec());
        let build = IntGaugeVec::new(Opts::new("portcullis_build_info", "The running version"), &["version"]);
        add(r, build).with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let upstream = histogram("portcullis_upstream_seconds", "Time to the upstream's response header");
        // A counter that begins at nought shows its first increase.
        let from_nought = |counters: IntCounterVec, values: &[&str]| {
            values.iter().for_each(|value| drop(counters.with_label_values(&[value])));
            counters
        };
        let logins = counters("logins_total", "Sign-ins of people", &["outcome"]);
        let reloads = counters("reloads_total", "Policy reloads", &["outcome"]);
        let evictions = counters("token_cache_evictions_total", "Tokens removed from the cache", &["cause"]);
        let sizes = Opts::new("portcullis_token_cache_size", "Cache of opened tokens, in bytes and entries");
        Arc::new(Self {
            decisions: counters("decisions_total", "Decisions of the gate", &["route", "outcome", "reason"]),
            token_requests: counters("token_requests_total", "Token requests", &["grant", "outcome"]),
            logins: from_nought(logins, &["signed_in", "login_wrong", "login_throttled", "login_busy", "saml"]),
            reloads: from_nought(reloads, &["applied", "refused"]),
            last_reload: gauge("last_reload_timestamp_seconds", "When the policy in force was taken up"),
            cache: counters("token_cache_total", "Look-ups in the cache of opened tokens", &["result"]),
            cache_evictions: from_nought(evictions, &["size", "ended"]),
            cache_size: add(r, IntGaugeVec::new(sizes, &["unit"])),
            upstream: add(r, HistogramVec::new(upstream, &["route"])),
            upstream_failures: counters("upstream_failures_total", "Requests that an upstream failed", &["route"]),
            store_commit: add(
                r,
                Histogram::with_opts(histogram("portcullis_store_commit_seconds", "Time of a store commit")),
            ),
            store_read: add(
                r,
                Histogram::with_opts(histogram("portcullis_store_read_seconds", "Time of a look into the store")),
            ),
            store_connections: gauges("store_connections", "Open connections to the database", &["role"]),
            store_at_work: gauges("store_connections_at_work", "Connections to the database at work", &["role"]),
            store_group: add(r, HistogramVec::new(group, &["role"])),
            swept: counter("store_swept_total", "Expired records removed from the store"),
            feed_age: gauge("feed_age_milliseconds", "How long ago all announced revocations were known, -1 if never"),
            ready: gauge("revocations_known", "1 while revocations are known, so that the gate decides"),
            store_errors: counters("store_errors_total", "Answers that the store did not give", &["operation"]),
            certificate_end: gauges(
                "certificate_expires_timestamp_seconds",
                "When a certificate that is shown expires",
                &["host"],
            ),
            upstream_healthy: gauges(
                "upstream_healthy",
                "Whether an upstream's address takes requests",
                &["route", "address"],
            ),
            shadow_decisions: counters(
                "shadow_decisions_total",
                "What shadow requirements would have decided",
                &["route", "outcome", "reason"],
            ),
            streams_ended: counters("streams_ended_total", "Streams ended with their authorization", &["route"]),
            connections: gauge("connections", "Open connections"),
            in_flight: gauge("requests_in_flight", "Requests in flight"),
            connections_refused: counter("connections_refused_total", "Connections refused for want of room"),
            usage_lost: counter("usage_counts_lost_total", "Counts of the usage view that found no room"),
            log_lines_lost: from_nought(
                counters("log_lines_lost_total", "Lines that could not be written", &["log"]),
                &["access", "audit"],
            ),
            admin_requests: counters("admin_requests_total", "Requests to the admin API", &["operation", "status"]),
            registrations: counters("registrations_total", "Dynamic client registration", &["method", "outcome"]),
            trace_spans: from_nought(
                counters("trace_spans_total", "Spans of traced requests", &["outcome"]),
                &["sent", "failed", "dropped"],
            ),
            handshakes_failed: counter("tls_handshakes_failed_total", "TLS handshakes failed or too slow"),
            issuer_fetches: counters("issuer_fetches_total", "Fetches of other issuers' keys", &["issuer", "outcome"]),
            issuer_unknown_keys: counters(
                "issuer_unknown_keys_total",
                "Tokens of other issuers whose key is not known",
                &["issuer"],
            ),
            issuer_keys_age: gauges(
                "issuer_keys_age_seconds",
                "How long ago an issuer's keys were asked for, -1 if they never came",
                &["issuer"],
            ),
            registry,
        })
    }

    /// Counts a connection until the guard is dropped.
    pub fn connection_opened(&self) -> Counted {
        self.connections.inc();
        Counted(self.connections.clone())
    }

    /// Counts a connection to the database until the guard is dropped.
    pub fn store_connection_opened(&self, role: &str) -> Counted {
        let gauge = self.store_connections.with_label_values(&[role]);
        gauge.inc();
        Counted(gauge)
    }

    /// Notes that `role` has `size` commits or reads before it, until the guard is dropped.
    pub fn store_busy(&self, role: &str, size: usize) -> Counted {
        self.store_group.with_label_values(&[role]).observe(size as f64);
        let gauge = self.store_at_work.with_label_values(&[role]);
        gauge.inc();
        Counted(gauge)
    }

    /// Counts a request until the guard is dropped.
    pub fn request_begun(&self) -> Counted {
        self.in_flight.inc();
        Counted(self.in_flight.clone())
    }

    /// The text exposition format.
    pub fn encode(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }
}
