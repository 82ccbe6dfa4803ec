//! The admin listener: metrics, health, reload. And two small servers beside it: the redirect and the example API.
use crate::{config::reload::Reloader, metrics::Metrics, token::Tokens};
use http::{Method, Response, StatusCode, header};
use pingora::{apps::http_app::ServeHttp, protocols::http::ServerSession};
use serde_json::{Value, json};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// `/metrics`, `/livez`, `/readyz`, `POST /reload`.
pub struct Admin {
    /// What `/metrics` shows.
    pub metrics: Arc<Metrics>,
    /// What `/reload` moves.
    pub reloader: Arc<Reloader>,
    /// Whether revocations are known.
    pub tokens: Arc<Tokens>,
    /// Set when the process is draining.
    pub draining: Arc<AtomicBool>,
}

#[async_trait::async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let head = session.req_header();
        match (&head.method, head.uri.path()) {
            (&Method::GET, "/metrics") => {
                self.tokens.measure(&self.metrics);
                self.reloader.certificates().load().measure(&self.metrics);
                self.tokens.issuers.measure(&self.reloader.policy().load().issuers);
                text(StatusCode::OK, "text/plain; version=0.0.4", self.metrics.encode())
            }
            (&Method::GET, "/livez") => text(StatusCode::OK, "text/plain", "ok\n".to_owned()),
            (&Method::GET, "/readyz") => self.ready(),
            (&Method::POST, "/reload") => self.reload().await,
            (_, "/metrics" | "/livez" | "/readyz" | "/reload") => {
                json_answer(StatusCode::METHOD_NOT_ALLOWED, &json!({"error": "method_not_allowed"}))
            }
            _ => json_answer(StatusCode::NOT_FOUND, &json!({"error": "not_found"})),
        }
    }
}

impl Admin {
    fn ready(&self) -> Response<Vec<u8>> {
        let (draining, revocations) = (self.draining.load(Ordering::Acquire), self.tokens.ready());
        let policy = self.reloader.policy();
        let (unknown, needed) = self.tokens.issuers.unknown(&policy.load().issuers);
        let ready = revocations && !draining && !needed;
        let body = json!({
            "ready": ready, "issuers_unknown": unknown, "draining": draining, "revocations_known": revocations,
            "revocations_behind_ms": self.tokens.behind(),
            "revision": policy.load().revision, "last_reload_refused": self.reloader.refused(),
            "certificates_expiring": self.reloader.certificates().load().expiring(self.reloader.now()),
        });
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        json_answer(status, &body)
    }

    async fn reload(&self) -> Response<Vec<u8>> {
        let reloader = self.reloader.clone();
        match tokio::task::spawn_blocking(move || reloader.reload("admin")).await {
            Ok(Ok(done)) => json_answer(StatusCode::OK, &json!({"revision": done.revision, "changes": done.changes})),
            Ok(Err(mistakes)) => {
                let told: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
                json_answer(StatusCode::UNPROCESSABLE_ENTITY, &json!({"error": "refused", "mistakes": told}))
            }
            Err(e) => json_answer(StatusCode::INTERNAL_SERVER_ERROR, &json!({"error": e.to_string()})),
        }
    }
}

/// Sends every request to the same path under the issuer (RFC 9110 §15.4.9).
pub struct Redirect {
    /// The policy whose issuer is meant.
    pub policy: crate::policy::SharedPolicy,
}

#[async_trait::async_trait]
impl ServeHttp for Redirect {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        session.set_keepalive(None);
        let target = session.req_header().uri.path_and_query().map_or("/", |p| p.as_str());
        // `//host` in a path would be read as an authority by no one here: the issuer stands before it.
        let target = if target.starts_with('/') { target } else { "/" };
        let location = format!("{}{target}", self.policy.load().issuer);
        let mut response = text(StatusCode::PERMANENT_REDIRECT, "text/plain", String::new());
        if let Ok(location) = http::HeaderValue::from_str(&location) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        response
    }
}

/// The example API of dev mode: says what reached it.
pub struct Echo;

#[async_trait::async_trait]
impl ServeHttp for Echo {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let mut length = 0;
        while let Ok(Some(part)) = session.read_request_body().await {
            length += part.len();
        }
        let head = session.req_header();
        let headers: serde_json::Map<String, Value> = head
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
            .collect();
        let target = head.uri.path_and_query().map_or("/", |p| p.as_str());
        let body = json!({"method": head.method.as_str(), "target": target, "headers": headers, "body_bytes": length});
        json_answer(StatusCode::OK, &body)
    }
}

fn json_answer(status: StatusCode, body: &Value) -> Response<Vec<u8>> {
    text(status, "application/json", format!("{body}\n"))
}

fn text(status: StatusCode, kind: &'static str, body: String) -> Response<Vec<u8>> {
    let mut response = Response::new(body.into_bytes());
    *response.status_mut() = status;
    let length = response.body().len();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    headers.insert(header::CONTENT_LENGTH, http::HeaderValue::from(length));
    response
}
