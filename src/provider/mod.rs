//! The authorization server, without sockets: requests in, responses out.
pub mod client_auth;
mod discovery;
pub mod error;
mod introspect;
pub mod params;
mod revoke;
pub mod token;

use crate::{
    clock::{Clock, Timestamp},
    log::Log,
    metrics::Metrics,
    policy::{Policy, SharedPolicy, route::RESOURCE_METADATA},
    store::Store,
    token::Tokens,
};
use bytes::Bytes;
use error::{Code, OAuthError};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use serde_json::{Value, json};
use std::sync::Arc;

/// Paths of the standard profile.
pub mod paths {
    /// RFC 6749 §3.2.
    pub const TOKEN: &str = "/oauth2/token";
    /// RFC 7009.
    pub const REVOKE: &str = "/oauth2/revoke";
    /// RFC 7662.
    pub const INTROSPECT: &str = "/oauth2/introspect";
    /// RFC 8414.
    pub const METADATA: &str = "/.well-known/oauth-authorization-server";
    /// RFC 7517.
    pub const JWKS: &str = "/.well-known/jwks.json";
}

fn is_resource_metadata(path: &str) -> bool {
    path.strip_prefix(RESOURCE_METADATA).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What one request sees: one policy, one time.
pub struct Cx {
    /// The snapshot.
    pub policy: Arc<Policy>,
    /// The store.
    pub store: Arc<dyn Store>,
    /// Mint and opener.
    pub tokens: Arc<Tokens>,
    /// The time, read once.
    pub now: Timestamp,
    /// What was issued, refused, ended.
    pub audit: Log,
}

impl Cx {
    /// Accepted `aud` values of assertions: exact strings (S36).
    pub fn audiences(&self) -> [String; 3] {
        let issuer = &self.policy.issuer;
        [issuer.to_string(), format!("{issuer}/"), format!("{issuer}{}", paths::TOKEN)]
    }
}

/// The authorization server.
pub struct Provider {
    policy: SharedPolicy,
    store: Arc<dyn Store>,
    tokens: Arc<Tokens>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    audit: Log,
}

impl Provider {
    /// Hangs the server onto what it needs.
    pub fn new(
        policy: SharedPolicy,
        store: Arc<dyn Store>,
        tokens: Arc<Tokens>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        audit: Log,
    ) -> Self {
        Self { policy, store, tokens, clock, metrics, audit }
    }

    /// Whether `path` is answered here rather than proxied. `/oauth2/` is ours whole.
    pub fn owns(&self, path: &str) -> bool {
        path.starts_with("/oauth2/") || path == paths::METADATA || path == paths::JWKS || is_resource_metadata(path)
    }

    /// Answers one request.
    pub async fn handle(&self, request: Request<Bytes>) -> Response<Bytes> {
        let cx = Cx {
            policy: self.policy.load_full(),
            store: self.store.clone(),
            tokens: self.tokens.clone(),
            now: self.clock.now(),
            audit: self.audit.clone(),
        };
        let allowed = match request.uri().path() {
            paths::TOKEN | paths::REVOKE | paths::INTROSPECT => Method::POST,
            paths::METADATA | paths::JWKS => Method::GET,
            path if is_resource_metadata(path) => Method::GET,
            _ => return respond(StatusCode::NOT_FOUND, Some(&json!({"error": "not_found"}))),
        };
        if request.method() != allowed {
            let mut refusal = respond(StatusCode::METHOD_NOT_ALLOWED, Some(&json!({"error": "method_not_allowed"})));
            let allow = HeaderValue::from_str(allowed.as_str()).expect("a method is a header value");
            refusal.headers_mut().insert(header::ALLOW, allow);
            return refusal;
        }
        match request.uri().path() {
            paths::TOKEN => self.token(&request, &cx).await,
            paths::REVOKE => settle("revoke", &cx, revoke::answer(&request, &cx).await),
            paths::INTROSPECT => settle("introspect", &cx, introspect::answer(&request, &cx).map(Some)),
            paths::JWKS => respond(StatusCode::OK, Some(&cx.tokens.jwks())),
            paths::METADATA => respond(StatusCode::OK, Some(&discovery::metadata(&cx.policy))),
            path => match discovery::resource(&cx.policy, path) {
                Some(document) => respond(StatusCode::OK, Some(&document)),
                None => respond(StatusCode::NOT_FOUND, Some(&json!({"error": "not_found"}))),
            },
        }
    }

    async fn token(&self, request: &Request<Bytes>, cx: &Cx) -> Response<Bytes> {
        let mut trace = token::Trace::default();
        let outcome = token::answer(request, cx, &mut trace).await;
        let (name, detail) = match &outcome {
            Ok(_) => ("issued", ""),
            Err(error) => (error.code.name(), error.detail.as_str()),
        };
        self.metrics.token_requests.with_label_values(&[trace.grant, name]).inc();
        cx.audit.write(json!({"event": "token", "outcome": name, "grant": trace.grant, "client": trace.client,
            "subject": trace.subject, "scope": trace.scopes, "detail": detail, "time": cx.now}));
        settle("token", cx, outcome.map(Some))
    }
}

fn settle(endpoint: &str, cx: &Cx, outcome: Result<Option<Value>, OAuthError>) -> Response<Bytes> {
    match outcome {
        Ok(body) => respond(StatusCode::OK, body.as_ref()),
        Err(error) => {
            if endpoint != "token" {
                cx.audit.write(json!({"event": endpoint, "outcome": error.code.name(),
                    "detail": error.detail, "time": cx.now}));
            }
            refuse(&error)
        }
    }
}

fn refuse(error: &OAuthError) -> Response<Bytes> {
    let body = json!({"error": error.code.name(), "error_description": error.public});
    let mut response = respond(error.code.status(), Some(&body));
    if error.code == Code::InvalidClient {
        let challenge = HeaderValue::from_static("Basic realm=\"portcullis\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

fn respond(status: StatusCode, body: Option<&Value>) -> Response<Bytes> {
    let mut response = Response::new(body.map(|b| Bytes::from(b.to_string())).unwrap_or_default());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if body.is_some() {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    response
}
