//! `[server]` of `conf/portcullis.toml`: what a reload cannot change.
use super::mistake::Findings;
use crate::{model::Ranges, store::Backend, token::keys::wrapping::Places};
use schemars::JsonSchema;
use serde::Deserialize;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

/// Listeners, places and limits.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerTable {
    /// HTTPS listeners, `address:port`.
    listen: Vec<SocketAddr>,
    /// Plain listeners that only redirect to the issuer.
    #[serde(default)]
    redirect: Vec<SocketAddr>,
    /// The listener of /metrics, /livez, /readyz and /reload; keep it off public networks.
    #[serde(default = "loopback")]
    admin: SocketAddr,
    /// In dev mode, where the example API listens.
    #[serde(default = "example")]
    example_api: SocketAddr,
    /// Folder of the database and the keys; relative to this file.
    data: PathBuf,
    /// Worker threads; one for each core without.
    threads: Option<usize>,
    /// Mebibytes of opened tokens kept in the cache.
    #[serde(default = "sixty_four")]
    cache_mib: u64,
    /// Proxies in front whose `X-Forwarded-For` and PROXY headers are believed: addresses, ranges and networks.
    #[serde(default)]
    trusted_proxies: Vec<String>,
    /// Those of `listen` where each connection begins with a PROXY header (version 1 or 2) of a trusted proxy.
    #[serde(default)]
    proxy_protocol: Vec<SocketAddr>,
    /// Seconds for a TLS handshake.
    #[serde(default = "ten")]
    handshake_timeout: u64,
    /// Seconds from a request's first byte to the end of its header.
    #[serde(default = "ten")]
    header_timeout: u64,
    /// Seconds between two reads of a request's body, and before it must bring 128 bytes a second on average.
    #[serde(default = "twenty")]
    body_timeout: u64,
    /// Open connections at most, over all listeners of `listen` and `redirect` together; `admin` and the admin API have 64
    /// of their own each.
    #[serde(default = "many")]
    max_connections: usize,
    /// Seconds that requests in flight get when the process is asked to end.
    #[serde(default = "ten")]
    grace: u64,
    /// The access log's file; standard output without. Relative to this file.
    access_log: Option<PathBuf>,
    /// The audit stream's file; standard error without. Relative to this file.
    audit_log: Option<PathBuf>,
}

/// What the process is started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// HTTPS listeners.
    pub listen: Vec<SocketAddr>,
    /// Plain listeners that redirect.
    pub redirect: Vec<SocketAddr>,
    /// The admin listener.
    pub admin: SocketAddr,
    /// The data folder.
    pub data: PathBuf,
    /// Where records are kept.
    pub store: Backend,
    /// The key-encryption key, where keys are kept in the store; in files of the data folder without.
    pub keys: Option<Places>,
    /// Worker threads.
    pub threads: usize,
    /// Bytes of the token cache.
    pub cache_bytes: u64,
    /// Proxies that are believed.
    pub trusted_proxies: Ranges,
    /// Listeners where connections begin with a PROXY header.
    pub proxy_protocol: Vec<SocketAddr>,
    /// Limit of a TLS handshake.
    pub handshake_timeout: Duration,
    /// Limit of a request's header.
    pub header_timeout: Duration,
    /// Limit of a pause in a request's body.
    pub body_timeout: Duration,
    /// Open connections at most.
    pub max_connections: usize,
    /// Time to drain.
    pub grace: Duration,
    /// Access log; standard output if `None`.
    pub access_log: Option<PathBuf>,
    /// Audit stream; standard error if `None`.
    pub audit_log: Option<PathBuf>,
    /// The example API, in dev mode alone.
    pub example_api: Option<SocketAddr>,
    /// The admin API, where it is on.
    pub admin_api: Option<super::admin_api::AdminApi>,
    /// Traces of requests, where they are on.
    pub telemetry: Option<crate::telemetry::Options>,
}

impl Settings {
    /// What `other` says otherwise, as the file calls it: it takes effect when the process starts again.
    pub fn changed(&self, other: &Self) -> Vec<&'static str> {
        let all = [
            ("[server] listen", self.listen != other.listen),
            ("[server] redirect", self.redirect != other.redirect),
            ("[server] admin", self.admin != other.admin),
            ("[server] data", self.data != other.data),
            ("[server] threads", self.threads != other.threads),
            ("[server] cache_mib", self.cache_bytes != other.cache_bytes),
            ("[server] trusted_proxies", self.trusted_proxies != other.trusted_proxies),
            ("[server] proxy_protocol", self.proxy_protocol != other.proxy_protocol),
            ("[server] handshake_timeout", self.handshake_timeout != other.handshake_timeout),
            ("[server] header_timeout", self.header_timeout != other.header_timeout),
            ("[server] body_timeout", self.body_timeout != other.body_timeout),
            ("[server] max_connections", self.max_connections != other.max_connections),
            ("[server] grace", self.grace != other.grace),
            ("[server] access_log", self.access_log != other.access_log),
            ("[server] audit_log", self.audit_log != other.audit_log),
            ("[server] example_api, or dev", self.example_api != other.example_api),
            ("[store]", self.store != other.store),
            ("[keys]", self.keys != other.keys),
            ("[admin_api]", self.admin_api != other.admin_api),
            ("[telemetry]", self.telemetry != other.telemetry),
        ];
        all.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
    }
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9901))
}

fn example() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9902))
}

fn sixty_four() -> u64 {
    64
}

fn ten() -> u64 {
    10
}

fn twenty() -> u64 {
    20
}

fn many() -> usize {
    20_000
}

/// Validates the table; mistakes go to `found`.
pub fn read(raw: ServerTable, dev: bool, found: &mut Findings<'_>) -> Settings {
    if raw.listen.is_empty() {
        found.wrong("listen", "one or more of address:port");
    }
    let mut all: Vec<_> = [&raw.listen[..], &raw.redirect, &[raw.admin]].concat();
    all.retain(|a| a.port() != 0);
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    if all.len() < count {
        found.wrong("listen", "an address is named twice");
    }
    for (key, value) in [
        ("handshake_timeout", raw.handshake_timeout),
        ("header_timeout", raw.header_timeout),
        ("body_timeout", raw.body_timeout),
        ("grace", raw.grace),
    ] {
        if !(1..=600).contains(&value) {
            found.wrong(key, "between 1 and 600 seconds");
        }
    }
    if !(1..=65_536).contains(&raw.cache_mib) {
        found.wrong("cache_mib", "between 1 and 65536");
    }
    if raw.max_connections == 0 {
        found.wrong("max_connections", "at least 1");
    }
    if raw.threads.is_some_and(|t| !(1..=1024).contains(&t)) {
        found.wrong("threads", "between 1 and 1024");
    }
    let trusted = Ranges::parse(&raw.trusted_proxies);
    let trusted_proxies = found.or("trusted_proxies", trusted, Ranges::default());
    if raw.proxy_protocol.iter().any(|a| !raw.listen.contains(a)) {
        found.wrong("proxy_protocol", "names addresses of listen");
    }
    if !raw.proxy_protocol.is_empty() && raw.trusted_proxies.is_empty() {
        found.wrong("proxy_protocol", "needs trusted_proxies: anybody could say to be anybody");
    }
    let folder = found.folder();
    let place = |path: &Path| folder.join(path);
    Settings {
        listen: raw.listen,
        redirect: raw.redirect,
        admin: raw.admin,
        data: place(&raw.data),
        store: Backend::Sqlite,
        keys: None,
        threads: raw.threads.or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1),
        cache_bytes: raw.cache_mib.saturating_mul(1 << 20),
        trusted_proxies,
        proxy_protocol: raw.proxy_protocol,
        handshake_timeout: Duration::from_secs(raw.handshake_timeout),
        header_timeout: Duration::from_secs(raw.header_timeout),
        body_timeout: Duration::from_secs(raw.body_timeout),
        max_connections: raw.max_connections,
        grace: Duration::from_secs(raw.grace),
        access_log: raw.access_log.as_deref().map(place),
        audit_log: raw.audit_log.as_deref().map(place),
        example_api: dev.then_some(raw.example_api),
        admin_api: None,
        telemetry: None,
    }
}
