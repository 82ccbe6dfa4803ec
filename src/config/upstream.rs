//! `upstream` of a `[[route]]`: its addresses, and how one of them is chosen.
use super::mistake::Findings;
use crate::policy::route::{
    Address, Authorities, Balance, Breaker, Key, MOST_ADDRESSES, Probe, Protocol, Rule, Upstream,
};
use http::HeaderName;
use schemars::JsonSchema;
use serde::Deserialize;
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

/// An upstream.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpstreamTable {
    /// `host:port`, taken in turn.
    addresses: Vec<String>,
    /// Verified TLS with this server name; plain HTTP without.
    tls_name: Option<String>,
    /// PEM of the certificate authorities to trust in place of the system's; relative to this file.
    ca_file: Option<String>,
    /// Milliseconds to connect.
    #[serde(default = "two_seconds")]
    connect_timeout_ms: u64,
    /// Milliseconds between two reads; WebSocket and server-sent events may be silent for as long.
    #[serde(default = "half_a_minute")]
    read_timeout_ms: u64,
    /// `http1`, `http2` (without TLS by prior knowledge), or `grpc`: HTTP/2, trailers, and bodies as slow as they like.
    #[serde(default)]
    protocol: Protocol,
    /// Further addresses tried when one cannot be connected to; all without. Nothing has been sent then.
    retries: Option<usize>,
    /// How an address is chosen.
    #[serde(default)]
    balance: BalanceName,
    /// For `consistent_hash`: `address` (the client's), `subject`, or `header:X-Name`.
    hash_on: Option<String>,
    /// Requests in flight that one address takes.
    most_in_flight: Option<usize>,
    /// Takes an address out when requests fail there.
    breaker: Option<BreakerTable>,
    /// Asks each address how it is.
    probe: Option<ProbeTable>,
}

/// How an address is chosen.
#[derive(Clone, Copy, Default, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum BalanceName {
    /// In turn.
    #[default]
    RoundRobin,
    /// The one with the fewest requests in flight.
    LeastConnections,
    /// The same one for the same key.
    ConsistentHash,
}

/// When an address is taken out because requests failed there: no connection, no whole answer, or a bad status.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct BreakerTable {
    /// Consecutive failures.
    after: u32,
    /// Milliseconds until one request may try it again.
    out_for_ms: u64,
    /// Statuses that count as failures.
    statuses: Vec<u16>,
}

impl Default for BreakerTable {
    fn default() -> Self {
        Self { after: 5, out_for_ms: 10_000, statuses: vec![502, 503, 504] }
    }
}

/// A request that asks each address how it is.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ProbeTable {
    /// Path and query of a GET.
    path: String,
    /// Milliseconds between two.
    #[serde(default = "five_seconds")]
    interval_ms: u64,
    /// Milliseconds to answer.
    #[serde(default = "two_seconds")]
    timeout_ms: u64,
    /// Good answers in a row that bring an address back.
    #[serde(default = "two")]
    healthy_after: u32,
    /// Bad ones in a row that take it out.
    #[serde(default = "two")]
    unhealthy_after: u32,
    /// Good statuses.
    #[serde(default = "good")]
    statuses: Vec<u16>,
}

fn two_seconds() -> u64 {
    2_000
}

fn five_seconds() -> u64 {
    5_000
}

fn half_a_minute() -> u64 {
    30_000
}

fn two() -> u32 {
    2
}

fn good() -> Vec<u16> {
    vec![200, 204]
}

/// Validates an upstream; mistakes go to `found`.
pub fn read(raw: UpstreamTable, found: &mut Findings<'_>) -> Upstream {
    let with_port = |a: &String| {
        a.rsplit_once(':').is_some_and(|(host, port)| {
            let bracketed = host.starts_with('[') && host.ends_with(']');
            !host.is_empty() && (bracketed || !host.contains(':')) && port.parse::<u16>().is_ok_and(|p| p > 0)
        })
    };
    if raw.addresses.is_empty() || raw.addresses.len() > MOST_ADDRESSES || !raw.addresses.iter().all(with_port) {
        found.wrong("addresses", format!("one or more of host:port, at most {MOST_ADDRESSES}"));
    }
    if raw.ca_file.is_some() && raw.tls_name.is_none() {
        found.wrong("ca_file", "needs tls_name: without it the upstream is spoken to in plain HTTP");
    }
    let mut between = |key: &str, value: u64, most: u64| {
        if !(1..=most).contains(&value) {
            found.wrong(key, format!("between 1 and {most}"));
        }
    };
    between("connect_timeout_ms", raw.connect_timeout_ms, 60_000);
    between("read_timeout_ms", raw.read_timeout_ms, 3_600_000);
    if let Some(breaker) = &raw.breaker {
        between("after", breaker.after.into(), 1_000);
        between("out_for_ms", breaker.out_for_ms, 3_600_000);
    }
    if let Some(probe) = &raw.probe {
        between("interval_ms", probe.interval_ms, 3_600_000);
        between("timeout_ms", probe.timeout_ms, 60_000);
        between("healthy_after", probe.healthy_after.into(), 100);
        between("unhealthy_after", probe.unhealthy_after.into(), 100);
        if !probe.path.starts_with('/') || !probe.path.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
            found.wrong("path", "of a probe: begins with / and holds visible ASCII");
        }
    }
    if raw.most_in_flight == Some(0) {
        found.wrong("most_in_flight", "at least 1");
    }
    let folder = found.folder();
    let authorities = raw.ca_file.as_ref().map(|file| {
        let read = super::certificate::authorities(&folder.join(file)).map_err(|why| format!("{file}: {why}"));
        let sound = read.and_then(|all| match all.iter().find_map(|c| webpki::anchor_from_trusted_cert(c).err()) {
            Some(e) => Err(format!("{file}: not the certificate of an authority: {e}")),
            None => Ok(all),
        });
        Authorities::of(found.or("ca_file", sound, Vec::new()))
    });
    let balance = balance(&raw, found);
    Upstream {
        addresses: raw.addresses.iter().map(|a| Address::of(a)).collect(),
        tls_name: raw.tls_name,
        authorities,
        connect_timeout: Duration::from_millis(raw.connect_timeout_ms),
        read_timeout: Duration::from_millis(raw.read_timeout_ms),
        protocol: raw.protocol,
        retries: raw.retries,
        balance,
    }
}

/// `None` where addresses are plainly taken in turn.
fn balance(raw: &UpstreamTable, found: &mut Findings<'_>) -> Option<Arc<Balance>> {
    let key = match raw.hash_on.as_deref() {
        None => None,
        Some("address") => Some(Key::Address),
        Some("subject") => Some(Key::Subject),
        Some(other) => {
            let name = other.strip_prefix("header:").and_then(|name| HeaderName::try_from(name).ok());
            let why = || "address, subject, or header: and a header's name".to_owned();
            found.or("hash_on", name.map(|name| Some(Key::Header(name))).ok_or_else(why), None)
        }
    };
    let rule = match (raw.balance, key) {
        (BalanceName::RoundRobin, None) => Rule::RoundRobin,
        (BalanceName::LeastConnections, None) => Rule::LeastConnections,
        (BalanceName::ConsistentHash, Some(key)) => Rule::ConsistentHash(key),
        (BalanceName::ConsistentHash, None) => {
            found.wrong("balance", "consistent_hash needs hash_on");
            Rule::RoundRobin
        }
        (_, Some(_)) => {
            found.wrong("hash_on", "is for balance = \"consistent_hash\"");
            Rule::RoundRobin
        }
    };
    let plain =
        rule == Rule::RoundRobin && raw.breaker.is_none() && raw.probe.is_none() && raw.most_in_flight.is_none();
    let milliseconds = Duration::from_millis;
    (!plain).then(|| {
        let breaker = raw.breaker.as_ref().map(|b| Breaker {
            after: b.after,
            out_for: milliseconds(b.out_for_ms),
            statuses: b.statuses.clone(),
        });
        let probe = raw.probe.as_ref().map(|p| Probe {
            path: p.path.clone(),
            interval: milliseconds(p.interval_ms),
            timeout: milliseconds(p.timeout_ms),
            healthy_after: p.healthy_after,
            unhealthy_after: p.unhealthy_after,
            statuses: p.statuses.clone(),
        });
        let identity = format!("{:?} {:?} {breaker:?} {probe:?}", raw.addresses, raw.tls_name);
        let most_in_flight = raw.most_in_flight;
        Arc::new(Balance { rule, breaker, probe, most_in_flight, identity, pool: OnceLock::new() })
    })
}
