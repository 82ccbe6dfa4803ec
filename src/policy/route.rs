//! Routes: which request goes where, and what it must carry.
use crate::model::ScopeSet;
use http::HeaderName;
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

/// How a route's path is matched, most specific first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathRule {
    /// Exactly this path.
    Exact(String),
    /// Segments, `None` standing for any one (`/orders/{id}`).
    Pattern(Vec<Option<String>>),
    /// This path and everything beneath it, at a segment's border.
    Prefix(String),
}

/// What a request must carry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requirement {
    /// Open without a token.
    pub public: bool,
    /// Every one of these scopes.
    pub all: ScopeSet,
    /// At least one of these scopes, where any is named.
    pub any: ScopeSet,
    /// Only these clients, where any is named.
    pub clients: BTreeSet<String>,
}

/// What becomes of the caller's token on its way to the upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenRelay {
    /// Removed.
    #[default]
    Strip,
    /// Passed as it came.
    Pass,
    /// Replaced by a short-lived JWT of ours for that upstream.
    Replace,
}

/// What a request may show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    /// A bearer token.
    #[default]
    Token,
    /// A browser's session.
    Session,
    /// Either.
    Both,
}

/// The shape of a denial's body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorStyle {
    /// RFC 6750 with a JSON object.
    #[default]
    Oauth,
    /// The array that Salesforce's clients read.
    Salesforce,
}

/// Names of the identity headers set for an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityHeaders {
    /// The subject.
    pub user: HeaderName,
    /// The client.
    pub client: HeaderName,
    /// The granted scopes, space-delimited.
    pub scopes: HeaderName,
}

impl Default for IdentityHeaders {
    fn default() -> Self {
        Self {
            user: HeaderName::from_static("x-forwarded-user"),
            client: HeaderName::from_static("x-auth-client"),
            scopes: HeaderName::from_static("x-auth-scopes"),
        }
    }
}

/// Certificate authorities that an upstream's certificate must come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorities {
    /// In DER.
    pub certificates: Arc<Vec<rustls_pki_types::CertificateDer<'static>>>,
    /// SHA-256 of all of them.
    pub digest: crate::secret::Digest,
}

impl Authorities {
    /// Of certificates known to be well formed.
    pub fn of(certificates: Vec<rustls_pki_types::CertificateDer<'static>>) -> Self {
        let all: Vec<u8> = certificates.iter().flat_map(|c| c.to_vec()).collect();
        Self { certificates: Arc::new(certificates), digest: crate::secret::Digest::of(&all) }
    }
}

/// Where requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// `host:port`, taken in turn.
    pub addresses: Vec<String>,
    /// Verified TLS with this server name; plain HTTP without.
    pub tls_name: Option<String>,
    /// Certificate authorities to trust in place of the system's.
    pub authorities: Option<Authorities>,
    /// Time to connect.
    pub connect_timeout: Duration,
    /// Time between two reads.
    pub read_timeout: Duration,
}

/// One route.
#[derive(Clone, Debug)]
pub struct Route {
    /// The name in logs and metrics.
    pub name: Arc<str>,
    /// Lower-case host, or any.
    pub host: Option<String>,
    /// The path rule.
    pub path: PathRule,
    /// Upper-case methods; empty means all.
    pub methods: BTreeSet<String>,
    /// Requirement for methods that `per_method` does not name.
    pub requirement: Requirement,
    /// Requirements of single methods.
    pub per_method: Vec<(String, Requirement)>,
    /// The expected audience of tokens; the protected resource (RFC 9728).
    pub resource: Arc<str>,
    /// What a request may show.
    pub auth: Auth,
    /// Where it goes.
    pub upstream: Upstream,
    /// What becomes of the token.
    pub relay: TokenRelay,
    /// Shape of denials.
    pub errors: ErrorStyle,
    /// Identity headers.
    pub headers: IdentityHeaders,
    /// Position for upstream addresses taken in turn.
    pub turn: Arc<std::sync::atomic::AtomicUsize>,
    /// Its counters.
    pub counts: Arc<crate::metrics::RouteCounts>,
}

impl Route {
    /// Where the metadata of its resource is found (RFC 9728 §3.1).
    pub fn metadata_url(&self) -> String {
        let authority = self.resource.split('/').nth(2).unwrap_or_default();
        format!("https://{authority}{}", resource_metadata_path(&self.resource).unwrap_or_default())
    }
}

/// Where the metadata of a protected resource is served (RFC 9728 §3.1); `None` for what is no resource identifier.
pub fn resource_metadata_path(resource: &str) -> Option<String> {
    let rest = resource.strip_prefix("https://")?;
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let sound =
        !authority.is_empty() && !resource.contains(['?', '#']) && resource.bytes().all(|b| b.is_ascii_graphic());
    sound.then(|| format!("{RESOURCE_METADATA}{}", path.trim_end_matches('/')))
}

/// RFC 9728 §3.
pub const RESOURCE_METADATA: &str = "/.well-known/oauth-protected-resource";

/// What the table says of a request.
#[derive(Clone, Debug)]
pub enum Found {
    /// The most specific route.
    Route(Arc<Route>),
    /// A path is known, but not with this method; with these, comma-separated.
    MethodNotAllowed(String),
    /// No route: 404.
    NotFound,
}

/// Routes in order of specificity, found by what their paths begin with rather than one after the other.
#[derive(Debug, Default)]
pub struct Table {
    routes: Vec<Arc<Route>>,
    exact: HashMap<String, Vec<usize>>,
    prefix: HashMap<String, Vec<usize>>,
    /// By number of segments.
    pattern: HashMap<usize, Vec<usize>>,
}

impl Table {
    /// Orders `routes`: a named host before any, exact before pattern before prefix, longer before shorter.
    pub fn build(mut routes: Vec<Arc<Route>>) -> Self {
        routes.sort_by_key(|r| std::cmp::Reverse(rank(r)));
        let mut table = Self::default();
        for (at, route) in routes.iter().enumerate() {
            match &route.path {
                PathRule::Exact(path) => table.exact.entry(path.clone()).or_default().push(at),
                PathRule::Prefix(path) => table.prefix.entry(path.clone()).or_default().push(at),
                PathRule::Pattern(segments) => table.pattern.entry(segments.len()).or_default().push(at),
            }
        }
        table.routes = routes;
        table
    }

    /// The most specific route for a canonical path.
    pub fn find(&self, host: &str, path: &str, method: &str) -> Found {
        let mut best: Option<usize> = None;
        let mut known = BTreeSet::new();
        let mut consider = |at: &usize| {
            let route = &self.routes[*at];
            if route.host.as_deref().is_some_and(|h| h != host) || !route.path.matches(path) {
                return;
            }
            if route.methods.is_empty() || route.methods.contains(method) {
                best = Some(best.map_or(*at, |b| b.min(*at)));
            } else {
                known.extend(route.methods.iter().map(String::as_str));
            }
        };
        self.exact.get(path).into_iter().flatten().for_each(&mut consider);
        if !self.pattern.is_empty() {
            let segments = path.bytes().filter(|b| *b == b'/').count();
            self.pattern.get(&segments).into_iter().flatten().for_each(&mut consider);
        }
        if !self.prefix.is_empty() {
            let mut ancestor = Some(path);
            while let Some(prefix) = ancestor {
                self.prefix.get(prefix).into_iter().flatten().for_each(&mut consider);
                ancestor = prefix.rfind('/').map(|end| &prefix[..end]);
            }
        }
        match best {
            Some(at) => Found::Route(self.routes[at].clone()),
            None if known.is_empty() => Found::NotFound,
            None => Found::MethodNotAllowed(known.into_iter().collect::<Vec<_>>().join(", ")),
        }
    }

    /// The routes, most specific first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.iter()
    }

    /// Names of routes that can never match: an earlier one takes all they could.
    pub fn unreachable(&self) -> Vec<String> {
        let covers = |a: &Route, b: &Route| {
            a.host == b.host
                && a.path == b.path
                && (a.methods.is_empty() || (!b.methods.is_empty() && a.methods.is_superset(&b.methods)))
        };
        let shadowed = |i: usize, r: &Arc<Route>| self.routes[..i].iter().any(|earlier| covers(earlier, r));
        self.routes.iter().enumerate().filter(|(i, r)| shadowed(*i, r)).map(|(_, r)| r.name.to_string()).collect()
    }
}

impl Route {
    /// The requirement for `method`.
    pub fn requirement(&self, method: &str) -> &Requirement {
        self.per_method.iter().find(|(m, _)| m == method).map_or(&self.requirement, |(_, r)| r)
    }
}

impl PathRule {
    /// Reads `/a` (exact), `/a/{id}` (pattern) or `/a/*` (prefix).
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if !text.starts_with('/') {
            return Err("a path begins with /");
        }
        if let Some(prefix) = text.strip_suffix("/*") {
            return if prefix.contains(['*', '{']) {
                Err("a prefix takes no pattern")
            } else {
                Ok(Self::Prefix(prefix.to_owned()))
            };
        }
        if text.contains('*') {
            return Err("* stands only at the end, as /*");
        }
        if !text.contains(['{', '}']) {
            return Ok(Self::Exact(text.to_owned()));
        }
        let segment = |s: &str| match (s.strip_prefix('{').and_then(|s| s.strip_suffix('}')), s.contains(['{', '}'])) {
            (Some(name), _) if !name.is_empty() => Ok(None),
            (None, false) => Ok(Some(s.to_owned())),
            _ => Err("{name} must be a whole segment"),
        };
        text[1..].split('/').map(segment).collect::<Result<_, _>>().map(Self::Pattern)
    }

    /// Whether the canonical `path` is covered.
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == path,
            Self::Prefix(prefix) => {
                path.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            Self::Pattern(segments) => {
                let mut given = path[1..].split('/');
                segments.iter().all(|s| given.next().is_some_and(|g| s.as_deref().map_or(!g.is_empty(), |s| s == g)))
                    && given.next().is_none()
            }
        }
    }
}

fn rank(route: &Route) -> (bool, u8, usize, bool) {
    let (kind, length) = match &route.path {
        PathRule::Exact(p) => (2, p.len()),
        PathRule::Pattern(s) => (1, s.iter().flatten().map(|s| s.len() + 100).sum()),
        PathRule::Prefix(p) => (0, p.len()),
    };
    (route.host.is_some(), kind, length, !route.methods.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_match_at_segment_borders() {
        let rule = |text| PathRule::parse(text).expect("a rule");
        assert!(rule("/a/*").matches("/a") && rule("/a/*").matches("/a/b") && !rule("/a/*").matches("/ab"));
        assert!(rule("/a/{id}/c").matches("/a/7/c") && !rule("/a/{id}/c").matches("/a//c"));
        assert!(!rule("/a/{id}").matches("/a/7/8"));
        assert!(PathRule::parse("/a*").is_err() && PathRule::parse("/a/x{y}").is_err());
    }
    fn route(path: &str, host: Option<&str>, methods: &[&str]) -> Arc<Route> {
        let second = Duration::from_secs(1);
        Arc::new(Route {
            name: format!("{}{path}{}", host.unwrap_or(""), methods.join(",")).into(),
            host: host.map(str::to_owned),
            path: PathRule::parse(path).unwrap(),
            methods: methods.iter().map(|&m| m.to_owned()).collect(),
            requirement: Requirement::default(),
            per_method: Vec::new(),
            resource: "https://a".into(),
            auth: Auth::Token,
            upstream: Upstream {
                addresses: Vec::new(),
                tls_name: None,
                authorities: None,
                connect_timeout: second,
                read_timeout: second,
            },
            relay: TokenRelay::Strip,
            errors: ErrorStyle::Oauth,
            headers: IdentityHeaders::default(),
            turn: Arc::default(),
            counts: Arc::default(),
        })
    }

    #[test]
    fn the_most_specific_route_wins_and_a_known_path_tells_its_methods() {
        let table = Table::build(vec![
            route("/*", None, &[]),
            route("/a/*", None, &["GET"]),
            route("/a/{id}", None, &["GET", "PUT"]),
            route("/a/me", None, &["GET"]),
            route("/a/*", Some("h"), &["GET"]),
        ]);
        let found = |host: &str, path: &str, method: &str| match table.find(host, path, method) {
            Found::Route(route) => route.name.to_string(),
            Found::MethodNotAllowed(allow) => format!("405 {allow}"),
            Found::NotFound => "404".to_owned(),
        };
        assert_eq!(found("x", "/a/me", "GET"), "/a/meGET");
        assert_eq!(found("x", "/a/7", "PUT"), "/a/{id}GET,PUT");
        assert_eq!(found("x", "/a/7/8", "GET"), "/a/*GET");
        assert_eq!(found("h", "/a/me", "GET"), "h/a/*GET", "a named host comes first");
        assert_eq!(found("x", "/a/7/8", "POST"), "/*");
        assert_eq!(found("x", "/b", "GET"), "/*");
        let table = Table::build(vec![route("/a/*", None, &["GET"]), route("/a/{id}", None, &["PUT"])]);
        assert!(matches!(table.find("x", "/a/7", "POST"), Found::MethodNotAllowed(m) if m == "GET, PUT"));
        assert!(matches!(table.find("x", "/ab", "GET"), Found::NotFound));
    }

    proptest::proptest! {
        #[test]
        fn the_index_finds_what_a_walk_finds(path in "(/[ab]{0,2}){1,4}", host in "[xh]", get in proptest::bool::ANY) {
            let all = ["/*", "/a/*", "/a/{id}", "/a/b", "/{x}/b/*", "/a/{id}/b", "/b"];
            let all = all.iter().filter_map(|p| PathRule::parse(p).ok().map(|_| p));
            let hosts = [None, Some("h")];
            let routes = all.flat_map(|p| hosts.map(|h| route(p, h, if p.len() % 2 == 0 { &["GET"] } else { &[] })));
            let table = Table::build(routes.collect());
            let method = if get { "GET" } else { "POST" };
            let walked = table.iter().find(|r| {
                r.host.as_deref().is_none_or(|h| h == host) && r.path.matches(&path)
                    && (r.methods.is_empty() || r.methods.contains(method))
            });
            let found = match table.find(&host, &path, method) {
                Found::Route(route) => Some(route.name.clone()),
                Found::MethodNotAllowed(_) | Found::NotFound => None,
            };
            proptest::prop_assert_eq!(found, walked.map(|r| r.name.clone()));
        }
    }
}
