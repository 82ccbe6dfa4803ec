//! `[[route]]` tables of `conf/portcullis.toml`.
use super::{
    mistake::Findings,
    scopes,
    terms::{self, CorsTable, HeaderRulesTable, LimitTable, MaintenanceTable, RewriteTable, ShadowTable, TermsTables},
    upstream::{self, UpstreamTable},
};
use crate::{
    issuer::Trusted,
    policy::route::{
        Auth, ErrorStyle, IdentityHeaders, PathRule, Requirement, Route, Table, TokenRelay, resource_metadata_path,
    },
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
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
    /// Whose tokens are accepted: names of `[[trusted_issuer]]` tables, and `self` for ours; ours alone without.
    issuers: Option<Vec<String>>,
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
    /// Pages of which other origins may call it.
    cors: Option<CorsTable>,
    /// What changes in a request's headers.
    #[serde(default)]
    request_headers: HeaderRulesTable,
    /// What changes in a response's headers.
    #[serde(default)]
    response_headers: HeaderRulesTable,
    /// The beginning of the path exchanged after the decision.
    rewrite: Option<RewriteTable>,
    /// How many requests.
    #[serde(default)]
    limit: Vec<LimitTable>,
    /// Closed for now.
    maintenance: Option<MaintenanceTable>,
    /// What it is going to need: reported, not enforced.
    shadow: Option<ShadowTable>,
    /// Tells the upstream the client's certificate, where an authority of `[[client_certificate]]` vouches for it:
    /// `Client-Cert` (RFC 9440).
    #[serde(default)]
    client_cert: bool,
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
    /// The token's issuer, on routes with `issuers`.
    issuer: String,
}

impl Default for HeaderTable {
    fn default() -> Self {
        let named = |name: &str| name.to_owned();
        Self {
            user: named("X-Forwarded-User"),
            client: named("X-Auth-Client"),
            scopes: named("X-Auth-Scopes"),
            issuer: named("X-Auth-Issuer"),
        }
    }
}

/// Headers that frame or steer a request, which no identity may be written over.
const RESERVED: [&str; 7] =
    ["host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "authorization"];

/// Tells of the routes of `table` that no request can reach; each begins at its place in `begin`, and `own` says which paths
/// the gateway answers itself.
pub fn unreachable(
    table: &Table,
    begin: &BTreeMap<Arc<str>, usize>,
    own: impl Fn(&str) -> bool,
    found: &mut Findings<'_>,
) {
    let mut told = |route: &Route, why: String| {
        let begin = begin.get(&route.name).copied().unwrap_or_default();
        found.within(begin).wrong("path", format!("{} can never match: {why}", route.name));
    };
    for (route, earlier) in table.unreachable() {
        told(route, format!("it is left nothing by {}; name another path, host or method", earlier.join(" and ")));
    }
    for route in table.iter().filter(|route| own(&route.path.beginning())) {
        told(route, "the gateway answers what is there itself; name another path".to_owned());
    }
}

/// Validates one route; mistakes go to `found`.
pub fn read(raw: RouteTable, (issuer, trusted): (&str, &Trusted), found: &mut Findings<'_>) -> Route {
    let path = found.or("path", PathRule::parse(&raw.path), PathRule::Exact(raw.path.clone()));
    let method_name = |m: &String| !m.is_empty() && m.bytes().all(|b| b.is_ascii_uppercase());
    if !raw.methods.iter().chain(raw.method.keys()).all(method_name) {
        found.wrong("methods", "upper-case HTTP methods such as GET");
    }
    if raw.name.is_empty() {
        found.wrong("name", "must not be empty");
    }
    for method in raw.method.keys().filter(|method| !raw.methods.is_empty() && !raw.methods.contains(*method)) {
        let right = format!("the route does not take {method}: add it to methods, or take this away");
        found.wrong(&format!("method.{method}"), right);
    }
    let names_a_host = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    if raw.host.as_ref().is_some_and(|h| h.is_empty() || h.ends_with('.') || !h.bytes().all(names_a_host)) {
        found.wrong("host", "a host name without port, in ASCII (xn--…)");
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
        issuer: header(&raw.headers.issuer, usual.issuer),
    };
    let tables = TermsTables {
        cors: raw.cors,
        request_headers: raw.request_headers,
        response_headers: raw.response_headers,
        rewrite: raw.rewrite,
        limit: raw.limit,
        maintenance: raw.maintenance,
        shadow: raw.shadow,
        client_cert: raw.client_cert,
    };
    let names = [&headers.user, &headers.client, &headers.scopes, &headers.issuer];
    let terms = terms::read(tables, &path, &raw.methods, names, whole.public, found);
    let issuers = raw.issuers.and_then(|names| super::issuer::accepted(&names, trusted, raw.auth, found));
    Route {
        name: raw.name.into(),
        host: raw.host.map(|h| h.to_ascii_lowercase()),
        path,
        methods: raw.methods,
        requirement: whole,
        per_method,
        resource: resource.into(),
        auth: raw.auth,
        issuers,
        upstream: upstream::read(raw.upstream, found),
        relay: raw.token,
        errors: raw.errors,
        headers,
        terms,
        turn: Arc::default(),
        counts: Arc::default(),
    }
}
