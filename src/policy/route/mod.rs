//! Routes: which request goes where, and what it must carry.
mod balance;
pub mod canonical;
mod limit;
mod path;
mod table;
mod terms;

use crate::{issuer::Accepted, model::ScopeSet};
pub use balance::{Balance, Breaker, Key, MOST_ADDRESSES, Pool, Probe, Rule, Taken, hash};
use http::HeaderName;
pub use limit::{Buckets, Limit, Per, Standing};
pub use path::PathRule;
use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};
pub use table::{Found, Table};
pub use terms::{Asked, Cors, HeaderRules, Maintenance, Rewrite, Terms, preflight};

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
    /// An asset token; any other without.
    pub asset: bool,
    /// Proof that the caller holds the key that the token is bound to (RFC 9449).
    pub proof: bool,
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
    /// The token's issuer, on routes that accept those of several.
    pub issuer: HeaderName,
}

impl Default for IdentityHeaders {
    fn default() -> Self {
        Self {
            user: HeaderName::from_static("x-forwarded-user"),
            client: HeaderName::from_static("x-auth-client"),
            scopes: HeaderName::from_static("x-auth-scopes"),
            issuer: HeaderName::from_static("x-auth-issuer"),
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

/// `host:port` of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An IP address, which needs no resolving.
    Socket(SocketAddr),
    /// A name.
    Name(String),
}

impl Address {
    /// Reads `host:port`.
    pub fn of(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Name(text.to_owned()), Self::Socket)
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(socket) => socket.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// What is spoken to an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2; without TLS by prior knowledge.
    Http2,
    /// The same, with `te: trailers`, and bodies as slow as they like.
    Grpc,
}

/// Where requests go.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Taken in turn.
    pub addresses: Vec<Address>,
    /// Verified TLS with this server name; plain HTTP without.
    pub tls_name: Option<String>,
    /// Certificate authorities to trust in place of the system's.
    pub authorities: Option<Authorities>,
    /// Time to connect.
    pub connect_timeout: Duration,
    /// Time between two reads.
    pub read_timeout: Duration,
    /// What is spoken.
    pub protocol: Protocol,
    /// Further addresses tried when one cannot be connected to; all if `None`.
    pub retries: Option<usize>,
    /// How an address is chosen, where that is more than in turn.
    pub balance: Option<Arc<Balance>>,
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            tls_name: None,
            authorities: None,
            connect_timeout: Duration::from_secs(2),
            read_timeout: Duration::from_secs(30),
            protocol: Protocol::Http1,
            retries: None,
            balance: None,
        }
    }
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
    /// Whose tokens are accepted; ours alone without.
    pub issuers: Option<Arc<Accepted>>,
    /// Where it goes.
    pub upstream: Upstream,
    /// What becomes of the token.
    pub relay: TokenRelay,
    /// Shape of denials.
    pub errors: ErrorStyle,
    /// Identity headers.
    pub headers: IdentityHeaders,
    /// What it asks for beyond a decision; nothing on a plain route.
    pub terms: Asked,
    /// Position for upstream addresses taken in turn.
    pub turn: Arc<std::sync::atomic::AtomicUsize>,
    /// Its counters.
    pub counts: Arc<crate::metrics::RouteCounts>,
}

impl Route {
    /// The requirement for `method`.
    pub fn requirement(&self, method: &str) -> &Requirement {
        self.per_method.iter().find(|(m, _)| m == method).map_or(&self.requirement, |(_, r)| r)
    }

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
