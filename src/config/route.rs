//! `[[route]]` tables of `conf/portcullis.toml`.
use super::{mistake::Findings, scopes};
use crate::policy::route::{
    Address, Auth, Authorities, ErrorStyle, IdentityHeaders, PathRule, Requirement, Route, TokenRelay, Upstream,
    resource_metadata_path,
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// Which requests go where, and what they must carry.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteTable {
    /// The name in logs and metrics.
    name: String,
    /// Only requests for this host; any without.
    host: Option<String>,
    /// `/orders` (exact), `/orders/*` (and everything beneath), `/orders/{id}` (any one segment).
    path: String,
    /// Methods; all without.
    #[serde(default)]
    methods: BTreeSet<String>,
    /// Open without a token.
    #[serde(default)]
    public: bool,
    /// Every one of these scopes is needed.
    #[serde(default)]
    scopes: Vec<String>,
    /// At least one of these scopes is needed.
    #[serde(default)]
    any_scope: Vec<String>,
    /// Only these apps.
    #[serde(default)]
    clients: BTreeSet<String>,
    /// An asset token is needed; any other without.
    #[serde(default)]
    requires_asset: bool,
    /// The caller has to prove that they hold the key that the token is bound to (DPoP, RFC 9449).
    #[serde(default)]
    proof_of_possession: bool,
    /// What single methods need instead.
    #[serde(default)]
    method: BTreeMap<String, MethodTable>,
    /// The expected audience of tokens: an absolute https URL; the issuer without.
    resource: Option<String>,
    /// What a request may show: a bearer `token`, a browser's `session`, or `both`.
    #[serde(default)]
    auth: Auth,
    /// Where it goes.
    upstream: UpstreamTable,
    /// What becomes of the caller's token.
    #[serde(default)]
    token: TokenRelay,
    /// The shape of a denial's body.
    #[serde(default)]
    errors: ErrorStyle,
    /// Names of the identity headers.
    #[serde(default)]
    headers: HeaderTable,
}

/// What one method needs.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct MethodTable {
    #[serde(default)]
    public: bool,
    #[serde(default)]
    scopes: Vec<String>,
    #[serde(default)]
    any_scope: Vec<String>,
    #[serde(default)]
    clients: BTreeSet<String>,
    #[serde(default)]
    requires_asset: bool,
    #[serde(default)]
    proof_of_possession: bool,
}

/// An upstream.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct UpstreamTable {
    /// `host:port`, taken in turn.
    addresses: Vec<String>,
    /// Verified TLS with this server name; plain HTTP without.
    tls_name: Option<String>,
    /// PEM of the certificate authorities to trust in place of the system's; relative to this file.
    ca_file: Option<String>,
    /// Milliseconds to connect.
    #[serde(default = "two_seconds")]
    connect_timeout_ms: u64,
    /// Milliseconds between two reads.
    #[serde(default = "half_a_minute")]
    read_timeout_ms: u64,
}

/// Names of the identity headers set for the upstream.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct HeaderTable {
    /// The subject.
    user: String,
    /// The client.
    client: String,
    /// The granted scopes.
    scopes: String,
}

impl Default for HeaderTable {
    fn default() -> Self {
        let named = |name: &str| name.to_owned();
        Self { user: named("X-Forwarded-User"), client: named("X-Auth-Client"), scopes: named("X-Auth-Scopes") }
    }
}

fn two_seconds() -> u64 {
    2_000
}

fn half_a_minute() -> u64 {
    30_000
}

/// Headers that frame or steer a request, which no identity may be written over.
const RESERVED: [&str; 7] =
    ["host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "authorization"];

/// Validates one route; mistakes go to `found`.
pub fn read(raw: RouteTable, issuer: &str, found: &mut Findings<'_>) -> Route {
    let path = found.or("path", PathRule::parse(&raw.path).map_err(str::to_owned), PathRule::Exact(raw.path.clone()));
    let method_name = |m: &String| !m.is_empty() && m.bytes().all(|b| b.is_ascii_uppercase());
    if !raw.methods.iter().chain(raw.method.keys()).all(method_name) {
        found.wrong("methods", "upper-case HTTP methods such as GET");
    }
    if raw.name.is_empty() {
        found.wrong("name", "must not be empty");
    }
    if raw.host.as_ref().is_some_and(|h| h.is_empty() || h.contains([':', '/', '*']) || h.ends_with('.')) {
        found.wrong("host", "a host name without port");
    }
    let mut requirement = |t: MethodTable| {
        let MethodTable { public, clients, requires_asset: asset, proof_of_possession: proof, .. } = t;
        let nothing = t.scopes.is_empty() && t.any_scope.is_empty() && clients.is_empty() && !asset;
        if public && (!nothing || proof) {
            found.wrong("public", "a public route asks for neither scopes nor clients nor a kind of token");
        }
        if !public && nothing {
            found.wrong("scopes", "say what the route needs: scopes, any_scope, clients, or public = true");
        }
        let (all, any) = (scopes(found, "scopes", &t.scopes), scopes(found, "any_scope", &t.any_scope));
        Requirement { public, all, any, clients, asset, proof }
    };
    let whole = requirement(MethodTable {
        public: raw.public,
        scopes: raw.scopes,
        any_scope: raw.any_scope,
        clients: raw.clients,
        requires_asset: raw.requires_asset,
        proof_of_possession: raw.proof_of_possession,
    });
    let per_method = raw.method.into_iter().map(|(method, table)| (method, requirement(table))).collect();
    let resource = raw.resource.unwrap_or_else(|| issuer.to_owned());
    if resource_metadata_path(&resource).is_none() {
        found.wrong("resource", "an absolute https URL without query and fragment (RFC 9728 §1.2)");
    }
    let mut header = |name: &str, otherwise: http::HeaderName| {
        let read = http::HeaderName::try_from(name).ok().filter(|n| !RESERVED.contains(&n.as_str()));
        found.or("headers", read.ok_or_else(|| format!("{name:?} cannot name an identity header")), otherwise)
    };
    let usual = IdentityHeaders::default();
    let headers = IdentityHeaders {
        user: header(&raw.headers.user, usual.user),
        client: header(&raw.headers.client, usual.client),
        scopes: header(&raw.headers.scopes, usual.scopes),
    };
    Route {
        name: raw.name.into(),
        host: raw.host.map(|h| h.to_ascii_lowercase()),
        path,
        methods: raw.methods,
        requirement: whole,
        per_method,
        resource: resource.into(),
        auth: raw.auth,
        upstream: upstream(raw.upstream, found),
        relay: raw.token,
        errors: raw.errors,
        headers,
        turn: Arc::default(),
        counts: Arc::default(),
    }
}

fn upstream(raw: UpstreamTable, found: &mut Findings<'_>) -> Upstream {
    let with_port = |a: &String| {
        a.rsplit_once(':').is_some_and(|(host, port)| {
            let bracketed = host.starts_with('[') && host.ends_with(']');
            !host.is_empty() && (bracketed || !host.contains(':')) && port.parse::<u16>().is_ok_and(|p| p > 0)
        })
    };
    if raw.addresses.is_empty() || !raw.addresses.iter().all(with_port) {
        found.wrong("addresses", "one or more of host:port");
    }
    if raw.ca_file.is_some() && raw.tls_name.is_none() {
        found.wrong("ca_file", "needs tls_name: without it the upstream is spoken to in plain HTTP");
    }
    if !(1..=60_000).contains(&raw.connect_timeout_ms) {
        found.wrong("connect_timeout_ms", "between 1 and 60000");
    }
    if !(1..=3_600_000).contains(&raw.read_timeout_ms) {
        found.wrong("read_timeout_ms", "between 1 and 3600000");
    }
    let folder = found.folder();
    let authorities = raw.ca_file.map(|file| {
        let read = super::certificate::authorities(&folder.join(&file)).map_err(|why| format!("{file}: {why}"));
        let sound = read.and_then(|all| match all.iter().find_map(|c| webpki::anchor_from_trusted_cert(c).err()) {
            Some(e) => Err(format!("{file}: not the certificate of an authority: {e}")),
            None => Ok(all),
        });
        Authorities::of(found.or("ca_file", sound, Vec::new()))
    });
    Upstream {
        addresses: raw.addresses.iter().map(|a| Address::of(a)).collect(),
        tls_name: raw.tls_name,
        authorities,
        connect_timeout: Duration::from_millis(raw.connect_timeout_ms),
        read_timeout: Duration::from_millis(raw.read_timeout_ms),
    }
}
