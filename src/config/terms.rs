//! What a `[[route]]` may ask for beyond a decision: CORS, header rules, a rewritten path, limits, maintenance, shadow.
use super::{mistake::Findings, scopes};
use crate::policy::route::{Cors, HeaderRules, Limit, Maintenance, PathRule, Per, Requirement, Rewrite, Terms};
use http::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
    time::Duration,
};

/// Pages of which other origins may call the route and read its answers.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CorsTable {
    /// Exact origins (`https://app.example`); `["*"]` for any, and then without credentials.
    origins: Vec<String>,
    /// Methods; those of the route without.
    #[serde(default)]
    methods: BTreeSet<String>,
    /// Request headers beyond those always allowed.
    #[serde(default = "usual_headers")]
    headers: Vec<String>,
    /// Response headers that a page may read.
    #[serde(default)]
    expose: Vec<String>,
    /// Whether cookies may come along.
    #[serde(default)]
    credentials: bool,
    /// Seconds that a browser keeps the answer to a preflight.
    #[serde(default = "ten_minutes")]
    max_age: u32,
}

/// Headers set and removed.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HeaderRulesTable {
    /// Set, whatever was there.
    set: BTreeMap<String, String>,
    /// Removed.
    remove: Vec<String>,
}

/// The beginning of the path exchanged after the decision.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RewriteTable {
    /// Taken away: with it begins the route's path.
    #[serde(default)]
    strip_prefix: String,
    /// Put there instead.
    #[serde(default)]
    add_prefix: String,
}

/// So many requests in a window that moves; counted by each process for itself.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitTable {
    /// Its name in `RateLimit-Policy`; limits of one name count together on all routes.
    name: String,
    /// Whose requests count together: one `app`'s, one `user`'s, one `address`'s.
    per: Per,
    /// How many.
    requests: u32,
    /// In how many seconds: 60 makes a rate, 86400 a quota.
    window: u64,
}

/// The route is closed: who may pass is told to come back later.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MaintenanceTable {
    /// Seconds after which to ask again.
    #[serde(default = "five_minutes")]
    retry_after: u32,
    /// What is said.
    #[serde(default = "closed")]
    message: String,
}

/// What the route is going to need: decided on and reported in log and metric, not enforced.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShadowTable {
    /// Every one of these scopes.
    #[serde(default)]
    scopes: Vec<String>,
    /// At least one of these scopes.
    #[serde(default)]
    any_scope: Vec<String>,
    /// Only these apps.
    #[serde(default)]
    clients: BTreeSet<String>,
}

/// The tables as a route holds them.
pub struct TermsTables {
    /// `cors`
    pub cors: Option<CorsTable>,
    /// `request_headers`
    pub request_headers: HeaderRulesTable,
    /// `response_headers`
    pub response_headers: HeaderRulesTable,
    /// `rewrite`
    pub rewrite: Option<RewriteTable>,
    /// `limit`
    pub limit: Vec<LimitTable>,
    /// `maintenance`
    pub maintenance: Option<MaintenanceTable>,
    /// `shadow`
    pub shadow: Option<ShadowTable>,
    /// `client_cert`
    pub client_cert: bool,
}

fn usual_headers() -> Vec<String> {
    ["authorization", "content-type"].map(str::to_owned).to_vec()
}

fn ten_minutes() -> u32 {
    600
}

fn five_minutes() -> u32 {
    300
}

fn closed() -> String {
    "closed for maintenance; try again later".to_owned()
}

/// Headers that frame a message or say who calls; a rule may not touch them.
const FRAMING: [&str; 10] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "upgrade",
    "te",
    "trailer",
    "keep-alive",
    "traceparent",
    "x-request-id",
];

/// Validates the tables; `None` for a plain route, which then pays for none of it.
pub fn read(
    raw: TermsTables,
    path: &PathRule,
    methods: &BTreeSet<String>,
    identity: [&HeaderName; 4],
    public: bool,
    found: &mut Findings<'_>,
) -> Option<Arc<Terms>> {
    let mut rules = |key: &str, table: HeaderRulesTable, request: bool| {
        let mut name = |name: &String| {
            let read = HeaderName::try_from(name.as_str()).ok().filter(|n| {
                let ours = identity.contains(&n) || n.as_str().starts_with("x-forwarded-") || n == "forwarded";
                !(FRAMING.contains(&n.as_str()) || request && ours)
            });
            let why = || format!("{name:?} is no header, or one that frames the message or says who calls");
            found.or(key, read.map(Some).ok_or_else(why), None)
        };
        let remove = table.remove.iter().filter_map(&mut name).collect();
        let named: Vec<_> = table.set.iter().filter_map(|(n, v)| Some((name(n)?, v))).collect();
        let value = |v: &String| HeaderValue::try_from(v.as_str()).map_err(|_| format!("{v:?} is no header value"));
        let empty = HeaderValue::from_static("");
        let set = named.into_iter().map(|(n, v)| (n, found.or(key, value(v), empty.clone()))).collect();
        HeaderRules { set, remove }
    };
    let request_headers = rules("request_headers", raw.request_headers, true);
    let response_headers = rules("response_headers", raw.response_headers, false);
    let terms = Terms {
        cors: raw.cors.map(|table| cors(table, methods, found)),
        request_headers,
        response_headers,
        rewrite: raw.rewrite.map(|table| rewrite(table, path, found)),
        limits: raw.limit.into_iter().filter_map(|table| limit(table, public, found)).collect(),
        maintenance: raw
            .maintenance
            .map(|table| Maintenance { retry_after: table.retry_after, message: table.message }),
        shadow: raw.shadow.map(|table| {
            if table.scopes.is_empty() && table.any_scope.is_empty() && table.clients.is_empty() {
                found.wrong("shadow", "say what the route is going to need: scopes, any_scope or clients");
            }
            Requirement {
                public: false,
                all: scopes(found, "shadow", &table.scopes),
                any: scopes(found, "shadow", &table.any_scope),
                clients: table.clients,
                ..Requirement::default()
            }
        }),
        client_cert: raw.client_cert,
    };
    let plain = terms.cors.is_none()
        && terms.request_headers == HeaderRules::default()
        && terms.response_headers == HeaderRules::default()
        && terms.rewrite.is_none()
        && terms.limits.is_empty()
        && terms.maintenance.is_none()
        && terms.shadow.is_none()
        && !terms.client_cert;
    (!plain).then(|| Arc::new(terms))
}

fn cors(table: CorsTable, methods: &BTreeSet<String>, found: &mut Findings<'_>) -> Cors {
    let any = table.origins == ["*"];
    let origin = |o: &String| {
        let rest = o.strip_prefix("https://").or_else(|| o.strip_prefix("http://"));
        rest.is_some_and(|r| !r.is_empty() && r.bytes().all(|b| b.is_ascii_graphic() && !b"/?#*@,".contains(&b)))
    };
    if !any && (table.origins.is_empty() || !table.origins.iter().all(origin)) {
        found.wrong("origins", "origins such as https://app.example, or [\"*\"]");
    }
    if any && table.credentials {
        found.wrong("credentials", "not for any origin (Fetch §3.2.5): name the origins");
    }
    let mut list = |key: &str, items: Vec<&str>| {
        let joined = items.join(", ");
        let tokens = items.iter().all(|i| HeaderName::try_from(*i).is_ok());
        let read = HeaderValue::try_from(joined).ok().filter(|_| tokens);
        found.or(key, read.ok_or_else(|| "a list of tokens".to_owned()), HeaderValue::from_static(""))
    };
    let usual = BTreeSet::from(["GET".to_owned(), "HEAD".to_owned(), "POST".to_owned()]);
    let named = [&table.methods, methods, &usual].into_iter().find(|m| !m.is_empty());
    let methods = list("methods", named.into_iter().flatten().map(String::as_str).collect());
    let headers = list("headers", table.headers.iter().map(String::as_str).collect());
    let expose = list("expose", table.expose.iter().map(String::as_str).collect());
    Cors {
        origins: if any { BTreeSet::new() } else { table.origins.into_iter().collect() },
        methods,
        headers,
        expose: (!table.expose.is_empty()).then_some(expose),
        credentials: table.credentials,
        max_age: table.max_age,
    }
}

fn rewrite(table: RewriteTable, path: &PathRule, found: &mut Findings<'_>) -> Rewrite {
    let sound = |prefix: &String| {
        prefix.is_empty()
            || prefix.starts_with('/')
                && !prefix.ends_with('/')
                && prefix[1..].split('/').all(|s| !s.is_empty() && s != "." && s != "..")
                && prefix.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-._~".contains(&b))
    };
    for (key, prefix) in [("strip_prefix", &table.strip_prefix), ("add_prefix", &table.add_prefix)] {
        if !sound(prefix) {
            found.wrong(key, "begins with /, ends without, and holds letters, digits and -._~ alone");
        }
    }
    let written = match path {
        PathRule::Exact(path) | PathRule::Prefix(path) => path.clone(),
        PathRule::Pattern(segments) => {
            let literal = segments.iter().map_while(|s| s.as_deref()).map(|s| format!("/{s}"));
            literal.collect::<Vec<_>>().concat()
        }
    };
    let begins = written.strip_prefix(&table.strip_prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if !begins {
        found.wrong("strip_prefix", "the route's path does not begin with it");
    }
    Rewrite { strip: table.strip_prefix, add: table.add_prefix }
}

fn limit(table: LimitTable, public: bool, found: &mut Findings<'_>) -> Option<Limit> {
    let before = found.mistakes.len();
    let token = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if table.name.is_empty() || !table.name.bytes().all(token) {
        found.wrong("limit", "name: letters, digits and -_.");
    }
    if !(1..=10_000_000).contains(&table.requests) {
        found.wrong("limit", "requests: between 1 and 10000000");
    }
    if !(1..=31 * 86_400).contains(&table.window) {
        found.wrong("limit", "window: between 1 and 2678400 seconds");
    }
    if public && table.per != Per::Address {
        found.wrong("limit", "per: nobody is known on a public route; count by address");
    }
    (found.mistakes.len() == before).then(|| Limit {
        name: table.name,
        per: table.per,
        requests: table.requests,
        window: Duration::from_secs(table.window),
        buckets: OnceLock::new(),
    })
}
