//! What happens to a request, top to bottom: Pingora's phases, a few lines each.
use super::{
    canonical::canonical,
    ctx::{Admitted, Ctx, HeaderSeen, KEEPALIVE},
    denial::Told,
    framing,
    guard::{self, Carried, Denial},
    identity::{self, Arrival},
    mount,
    pace::Pace,
    upstream::Peers,
};
use crate::{
    clock::Clock,
    log::Log,
    metrics::Metrics,
    policy::{
        Policy, SharedPolicy,
        route::{Auth, ErrorStyle, Found},
    },
    provider::{Provider, gate_session},
    token::{Opened, Tokens},
};
use bytes::Bytes;
use http::{StatusCode, header::HOST};
use pingora::{
    http::{RequestHeader, ResponseHeader},
    prelude::*,
    proxy::{FailToProxy, ProxyHttp, Session},
};
use serde_json::json;
use std::{
    any::Any,
    sync::Arc,
    time::{Duration, Instant},
};

/// How long a client may take nothing of what is written to it.
const TAKING: Duration = Duration::from_secs(30);

/// The gate.
pub struct Gateway {
    /// The authorization server behind the same door.
    pub provider: Arc<Provider>,
    /// Opener of tokens.
    pub tokens: Arc<Tokens>,
    /// The policy in force.
    pub policy: SharedPolicy,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Decisions are counted here.
    pub metrics: Arc<Metrics>,
    /// One line a request.
    pub access_log: Log,
    /// The ways to upstreams.
    pub peers: Peers,
    /// How slowly bodies may come.
    pub pace: Pace,
}

#[async_trait::async_trait]
impl ProxyHttp for Gateway {
    type CTX = Ctx;

    fn new_ctx(&self) -> Ctx {
        Ctx::new()
    }

    fn on_connection_reuse(&self, _session: &mut Session, _ctx: &mut Ctx, carried: Box<dyn Any + Send + Sync>) {
        if let Some(seen) = carried.downcast_ref::<HeaderSeen>() {
            seen.tell();
        }
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Ctx) -> Result<bool> {
        // Pingora's default is to keep an idle connection for ever.
        session.set_keepalive(Some(KEEPALIVE));
        session.set_read_timeout(Some(self.pace.pause));
        session.set_write_timeout(Some(TAKING));
        let sound = {
            let raw = session.as_http1().map(|session| session.get_headers_raw_bytes()).unwrap_or_default();
            framing::sound(&raw, session.req_header())
        };
        let request = session.req_header();
        ctx.begin(&request.headers);
        ctx.counted = Some(self.metrics.request_begun());
        let raw = request.raw_path();
        let raw = raw.split(|b| *b == b'?').next().unwrap_or(raw);
        let (Ok(path), Some(host), false) = (canonical(raw), host(request), !sound) else {
            session.set_keepalive(None);
            return self.deny(session, ctx, Denial::InvalidRequest, Told::nothing(ErrorStyle::Oauth)).await;
        };
        if self.provider.owns(path) {
            (ctx.outcome, ctx.reason) = ("local", "provider");
            let request = mount::read_within(session, self.pace.pause).await?;
            let mut response = self.provider.handle(request).await;
            response.headers_mut().insert(identity::REQUEST_ID, ctx.request_id.clone());
            mount::send(session, response).await?;
            return Ok(true);
        }
        let policy = self.policy.load();
        let method = request.method.as_str();
        let asked = (host.as_str(), path, method);
        ctx.host = http::HeaderValue::from_str(&host).unwrap_or(http::HeaderValue::from_static("invalid"));
        let session_of = match self.browser(&policy, request).await {
            Ok(opened) => opened,
            Err(denial) => return self.deny(session, ctx, denial, Told::nothing(ErrorStyle::Oauth)).await,
        };
        let address = session.client_addr().and_then(|a| a.as_inet()).map(|a| a.ip());
        let carried = Carried { headers: &request.headers, session: session_of, address, authority: named(request) };
        match guard::check(&policy, &self.tokens, asked, carried, self.clock.now()) {
            Ok(permit) => {
                ctx.route = permit.route().name.clone();
                (ctx.outcome, ctx.reason) = ("allow", "ok");
                permit.route().counts.allowed(&self.metrics, &ctx.route).inc();
                ctx.admitted = Some(Admitted { permit, issuer: policy.issuer.clone() });
                Ok(false)
            }
            Err(denial) => {
                let told = match policy.routes.find(asked.0, asked.1, asked.2) {
                    Found::Route(route) => {
                        ctx.route = route.name.clone();
                        if denial == Denial::Unauthenticated
                            && route.auth != Auth::Token
                            && policy.people.sign_in.contains_key(&authority(request))
                            && gate_session::navigates(&request.method, &request.headers)
                        {
                            return self.send_to_sign_in(session, ctx).await;
                        }
                        let nonce = (denial == Denial::UseNonce).then(|| self.tokens.nonce(self.clock.now()));
                        Told { nonce, ..Told::of(&route, method) }
                    }
                    Found::MethodNotAllowed(allowed) => Told { allow: allowed, ..Told::nothing(ErrorStyle::Oauth) },
                    Found::NotFound => Told::nothing(ErrorStyle::Oauth),
                };
                self.deny(session, ctx, denial, told).await
            }
        }
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        _end: bool,
        ctx: &mut Ctx,
    ) -> Result<()> {
        // What flows after an upgrade is no body.
        if session.was_upgraded() {
            return Ok(());
        }
        ctx.body.take(body.as_ref().map_or(0, Bytes::len), self.pace)
    }

    async fn upstream_peer(&self, _session: &mut Session, ctx: &mut Ctx) -> Result<Box<HttpPeer>> {
        let route = admitted(ctx)?.permit.route().clone();
        let peer = self.peers.next(&route, &mut ctx.attempt).await?;
        ctx.sent = Some(Instant::now());
        Ok(peer)
    }

    /// Nothing has been sent yet, so another address may be tried, each once.
    fn fail_to_connect(&self, _: &mut Session, _: &HttpPeer, ctx: &mut Ctx, mut e: Box<Error>) -> Box<Error> {
        let addresses = ctx.admitted.as_ref().map_or(0, |a| a.permit.route().upstream.addresses.len());
        ctx.failed += 1;
        e.set_retry(ctx.failed < addresses);
        e
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Ctx,
    ) -> Result<()> {
        let tls = session.digest().is_some_and(|d| d.ssl_digest.is_some());
        let arrival = Arrival {
            client: session.client_addr().and_then(|a| a.as_inet()).map(|a| a.ip().to_string()),
            scheme: if tls { "https" } else { "http" },
        };
        identity::identify(request, ctx, admitted(ctx)?, arrival, &self.tokens, self.clock.now())
    }

    async fn response_filter(
        &self,
        _session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Ctx,
    ) -> Result<()> {
        if let (Some(sent), Some(admitted)) = (ctx.sent, &ctx.admitted) {
            let counts = &admitted.permit.route().counts;
            counts.upstream(&self.metrics, &ctx.route).observe(sent.elapsed().as_secs_f64());
        }
        response.insert_header("X-Request-Id", ctx.request_id.clone())
    }

    async fn fail_to_proxy(&self, session: &mut Session, e: &Error, ctx: &mut Ctx) -> FailToProxy {
        let status = failure_status(e);
        if status > 0 && session.response_written().is_none() {
            let style = ctx.admitted.as_ref().map_or(ErrorStyle::Oauth, |a| a.permit.route().errors);
            // The client may be gone already, and then there is nobody to tell.
            let _ = mount::send(session, super::denial::failure(status, style)).await;
        }
        ctx.reason = if e.esource() == &ErrorSource::Upstream { "upstream_failed" } else { "failed" };
        if ctx.reason == "upstream_failed" {
            self.metrics.upstream_failures.with_label_values(&[&*ctx.route]).inc();
        }
        FailToProxy { error_code: status, can_reuse_downstream: false }
    }

    /// For diagnostics: the query may hold what nobody should read later.
    fn request_summary(&self, session: &Session, ctx: &Ctx) -> String {
        let request = session.req_header();
        format!("{} {} {}", request.method, request.uri.path(), text(&ctx.request_id))
    }

    async fn logging(&self, session: &mut Session, e: Option<&Error>, ctx: &mut Ctx) {
        if !self.access_log.is_on() {
            return;
        }
        let request = session.req_header();
        let opened = ctx.admitted.as_ref().and_then(|a| a.permit.opened());
        let seconds = ctx.started.elapsed().as_secs_f64();
        self.access_log.write(json!({
            "time": self.clock.now(), "request_id": text(&ctx.request_id), "trace": text(&ctx.traceparent).get(3..35),
            "client_address": session.client_addr().map(ToString::to_string),
            // The query may hold what nobody should read later.
            "method": request.method.as_str(), "path": request.uri.path(), "route": &*ctx.route,
            "client": opened.map(|o| &*o.entitlement.client), "subject": opened.map(|o| &*o.subject),
            "actor": opened.and_then(|o| o.special.as_ref()?.more.act.as_ref()).map(|act| &act.sub),
            "decision": ctx.outcome, "reason": ctx.reason,
            "status": session.response_written().map(|r| r.status.as_u16()),
            "bytes": session.body_bytes_sent(), "seconds": seconds, "error": e.map(|e| e.etype().as_str()),
        }));
    }
}

impl Gateway {
    /// The session of a browser that shows its cookie, where this host has any.
    async fn browser(&self, policy: &Policy, request: &RequestHeader) -> Result<Option<Arc<Opened>>, Denial> {
        if policy.people.sign_in.is_empty() || !request.headers.contains_key(http::header::COOKIE) {
            return Ok(None);
        }
        let opened = self.provider.browser_session(&request.headers, &authority(request)).await;
        opened.map_err(|_| Denial::Unavailable)
    }

    async fn send_to_sign_in(&self, session: &mut Session, ctx: &mut Ctx) -> Result<bool> {
        (ctx.outcome, ctx.reason) = ("deny", "sign_in");
        self.metrics.decisions.with_label_values(&[&*ctx.route, "deny", ctx.reason]).inc();
        let back = session.req_header().uri.path_and_query().map_or("/", |p| p.as_str());
        let back: String = form_urlencoded::byte_serialize(back.as_bytes()).collect();
        let mut response = http::Response::new(Bytes::new());
        *response.status_mut() = StatusCode::SEE_OTHER;
        let to = format!("{}?rd={back}", crate::provider::paths::START);
        if let Ok(to) = http::HeaderValue::from_str(&to) {
            response.headers_mut().insert(http::header::LOCATION, to);
        }
        response.headers_mut().insert(http::header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
        mount::send(session, response).await?;
        Ok(true)
    }

    async fn deny(&self, session: &mut Session, ctx: &mut Ctx, why: Denial, told: Told) -> Result<bool> {
        (ctx.outcome, ctx.reason) = ("deny", why.words().1);
        self.metrics.decisions.with_label_values(&[&*ctx.route, "deny", ctx.reason]).inc();
        mount::discard(session).await;
        let mut response = why.response(&told);
        response.headers_mut().insert(identity::REQUEST_ID, ctx.request_id.clone());
        mount::send(session, response).await?;
        Ok(true)
    }
}

fn text(value: &http::HeaderValue) -> &str {
    value.to_str().unwrap_or_default()
}

fn admitted(ctx: &Ctx) -> Result<&Admitted> {
    ctx.admitted.as_ref().ok_or_else(|| Error::explain(InternalError, "no permit, nowhere to go"))
}

/// The host asked for, lower case, without port and trailing dot; `None` if it is told twice and differently.
fn host(request: &RequestHeader) -> Option<String> {
    let plain = |text: &str| {
        let name = text.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
        name.map_or(text, |(name, _)| name).trim_end_matches('.').to_ascii_lowercase()
    };
    let header = match request.headers.get(HOST) {
        Some(value) => Some(plain(value.to_str().ok()?)),
        None => None,
    };
    let authority = request.uri.authority().map(|a| plain(a.as_str()));
    match (authority, header) {
        (Some(a), Some(h)) if a != h => None,
        (Some(host), _) | (None, Some(host)) if !host.is_empty() && host.bytes().all(names_a_host) => Some(host),
        _ => None,
    }
}

/// A byte of a name or an address (RFC 3986 §3.2.2), without what nobody has in one: escapes and sub-delimiters.
fn names_a_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':' | b'[' | b']')
}

/// Host and port as the browser sees them, lower case.
fn authority(request: &RequestHeader) -> String {
    named(request).to_ascii_lowercase()
}

/// The same as they were told.
fn named(request: &RequestHeader) -> &str {
    let named = request.uri.authority().map(|a| a.as_str());
    let header = request.headers.get(HOST).and_then(|h| h.to_str().ok());
    named.or(header).unwrap_or_default()
}

fn failure_status(e: &Error) -> u16 {
    match (e.etype(), e.esource()) {
        (HTTPStatus(code), _) => *code,
        (ConnectTimedout | ReadTimedout | WriteTimedout | TLSHandshakeTimedout, ErrorSource::Upstream) => 504,
        (_, ErrorSource::Upstream) => 502,
        (ConnectTimedout, _) => 504,
        (ConnectError | ConnectRefused | ConnectNoRoute, _) => 502,
        (WriteError | ReadError | ConnectionClosed, ErrorSource::Downstream) => 0,
        (ReadTimedout, ErrorSource::Downstream) => 408,
        (_, ErrorSource::Downstream) => StatusCode::BAD_REQUEST.as_u16(),
        _ => StatusCode::INTERNAL_SERVER_ERROR.as_u16(),
    }
}
