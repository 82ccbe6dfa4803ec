//! What happens to a request, top to bottom: Pingora's phases, a few lines each.
use super::{
    access_log, address, balance,
    browser::{Shown, browses},
    canonical::canonical,
    client_certificate,
    connection::Proxies,
    ctx::{Admitted, Ctx, KEEPALIVE},
    denial::Told,
    failure, foreign, framing,
    guard::{self, Carried, Denial, Permit},
    host::{host, named},
    identity::{self, Arrival},
    mount,
    pace::Pace,
    terms, traced,
    upstream::Peers,
    watch,
};
use crate::{
    assembly::Assembly,
    clock::Clock,
    log::Log,
    metrics::Metrics,
    policy::{
        SharedPolicy,
        route::{ErrorStyle, Found, Protocol},
    },
    provider::{Provider, web},
    telemetry::{self, Tracer},
    token::Tokens,
};
use bytes::Bytes;
use http::StatusCode;
use pingora::{
    http::{RequestHeader, ResponseHeader},
    prelude::*,
    proxy::{FailToProxy, ProxyHttp, Session},
};
use std::{
    sync::{Arc, OnceLock},
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
    pub peers: Arc<Peers>,
    /// How slowly bodies may come.
    pub pace: Pace,
    /// Proxies in front.
    pub proxies: Proxies,
    /// Traces requests, where that is on.
    pub tracer: Option<Arc<Tracer>>,
}

impl Gateway {
    /// The gate of what was put together, without an access log and with nobody in front: a proxy of your own sets what it
    /// has, and lets its phases call these.
    pub fn of(assembly: &Assembly) -> Self {
        Self {
            provider: assembly.provider.clone(),
            tokens: assembly.tokens.clone(),
            policy: assembly.policy.clone(),
            clock: assembly.clock.clone(),
            metrics: assembly.metrics.clone(),
            access_log: Log::off(),
            peers: Arc::default(),
            pace: Pace::default(),
            proxies: Proxies::default(),
            tracer: assembly.tracer.clone(),
        }
    }
}

#[async_trait::async_trait]
impl ProxyHttp for Gateway {
    type CTX = Ctx;

    fn new_ctx(&self) -> Ctx {
        Ctx::new()
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Ctx) -> Result<bool> {
        watch::header_seen();
        // Pingora's default is to keep an idle connection for ever.
        session.set_keepalive(Some(KEEPALIVE));
        session.set_read_timeout(Some(self.pace.pause));
        session.set_write_timeout(Some(TAKING));
        let sound = {
            let raw = session.as_http1().map(|session| session.get_headers_raw_bytes()).unwrap_or_default();
            framing::sound(&raw, session.req_header())
        };
        let request = session.req_header();
        ctx.begin(&request.headers, self.tracer.as_deref());
        ctx.address = address::client(session, &self.proxies.trusted);
        ctx.counted = Some(self.metrics.request_begun());
        let raw = request.raw_path();
        let raw = raw.split(|b| *b == b'?').next().unwrap_or(raw);
        let (Ok(path), Some(host), false) = (canonical(raw), host(request), !sound) else {
            session.set_keepalive(None);
            return self.deny(session, ctx, Denial::InvalidRequest, Told::nothing(ErrorStyle::Oauth)).await;
        };
        let policy = self.policy.load();
        let certificate = match self.certificate(&policy, session, &host) {
            Ok(certificate) => certificate,
            Err(client_certificate::Misdirected) => {
                session.set_keepalive(None);
                return self.deny(session, ctx, Denial::Misdirected, Told::nothing(ErrorStyle::Oauth)).await;
            }
        };
        if self.provider.owns(path) {
            drop(policy); // the provider takes its own
            (ctx.outcome, ctx.reason) = ("local", "provider");
            // On the heap, so that no proxied request makes room for what the authorization server may need.
            Box::pin(self.provide(session, ctx, certificate)).await?;
            return Ok(true);
        }
        if let Some(response) = terms::to_preflight(&policy, &host, path, request) {
            (ctx.outcome, ctx.reason) = ("local", "preflight");
            mount::send(session, response).await?;
            return Ok(true);
        }
        let method = request.method.as_str();
        let asked = (host.as_str(), path, method);
        ctx.host = http::HeaderValue::from_str(&host).unwrap_or(http::HeaderValue::from_static("invalid"));
        let browses = !policy.people.sign_in.is_empty() && request.headers.contains_key(http::header::COOKIE);
        let (session_of, unknown) = match browses {
            false => (None, None),
            // On the heap too: few requests come from a browser.
            true => {
                match Box::pin(telemetry::within(ctx.trace.as_deref(), self.browser(&policy, asked, request))).await {
                    Ok(opened) => (opened, None),
                    Err(denial) => (None, Some(denial)),
                }
            }
        };
        let refused = OnceLock::new();
        let carried = Carried {
            headers: &request.headers,
            session: session_of,
            address: ctx.address,
            authority: named(request),
            certificate: certificate.as_ref().map(|c| c.thumbprint),
            refused: Some(&refused),
        };
        let now = self.clock.now();
        let decide = |now| guard::check(&policy, &self.tokens, asked, carried.clone(), now);
        let mut decided = unknown.map_or_else(|| decide(now), Err);
        if matches!(decided, Err(Denial::InvalidToken | Denial::Unavailable))
            && foreign::heard(&policy, &self.tokens, asked, &request.headers).await
        {
            decided = decide(self.clock.now());
        }
        match decided {
            Ok(permit) => {
                ctx.route = permit.route().name.clone();
                if let Some(asked) = &permit.route().terms {
                    if let Some(requirement) = &asked.shadow {
                        let rules = (&**policy, &*self.tokens);
                        let decided =
                            terms::shadow(rules, (&permit, requirement), (path, method), &carried, now, &self.metrics);
                        ctx.shadow = Some(decided);
                    }
                    ctx.certificate = certificate.filter(|c| asked.client_cert && c.trusted);
                    if asked.maintenance.is_some() {
                        ctx.refused = permit.opened().cloned();
                        return self.turn_away(session, ctx, "maintenance", &Told::of(permit.route(), method)).await;
                    }
                    if !asked.limits.is_empty() {
                        ctx.rate = terms::count(&asked.limits, &permit, ctx.address, |limit| self.peers.buckets(limit));
                    }
                    if ctx.rate.as_ref().is_some_and(terms::RateLimit::reached) {
                        ctx.refused = permit.opened().cloned();
                        return self.turn_away(session, ctx, "rate_limited", &Told::of(permit.route(), method)).await;
                    }
                }
                if session.is_http2() && !session.is_body_empty() && !unhurried(&permit) {
                    self.keep(session, ctx);
                    watch::body_due(Some(self.pace.pause));
                }
                if session.is_upgrade_req() && framing::opens_websocket(&session.req_header().headers) {
                    // It may be silent for as long as the upstream may, from before the 101: reading has begun by then.
                    session.set_read_timeout(Some(permit.route().upstream.read_timeout));
                }
                (ctx.outcome, ctx.reason) = ("allow", "ok");
                permit.route().counts.allowed(&self.metrics, &ctx.route).inc();
                ctx.admitted = Some(Admitted { permit, issuer: policy.issuer.clone() });
                Ok(false)
            }
            Err(denial) => {
                ctx.refused = refused.get().cloned();
                let told = match policy.routes.find(asked.0, asked.1, asked.2) {
                    Found::Route(route) => {
                        ctx.route = route.name.clone();
                        let page = match Shown::to(request, denial, (&policy, &route), carried.session.as_deref(), now)
                        {
                            Shown::SignIn => return self.send_to_sign_in(session, ctx).await,
                            Shown::Page(key) => Some(key),
                            Shown::Json => None,
                        };
                        let nonce = (denial == Denial::UseNonce).then(|| self.tokens.nonce(self.clock.now()));
                        Told { nonce, page, ..Told::of(&route, method) }
                    }
                    Found::MethodNotAllowed(route, allow) => {
                        ctx.route = route.name.clone();
                        Told { allow, ..Told::of(&route, method) }
                    }
                    Found::NotFound | Found::Undecidable => Told::nothing(ErrorStyle::Oauth),
                };
                self.deny(session, ctx, denial, told).await
            }
        }
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Ctx,
    ) -> Result<()> {
        // What flows after an upgrade is no body.
        if session.was_upgraded() || ctx.admitted.as_ref().is_some_and(|a| unhurried(&a.permit)) {
            return Ok(());
        }
        if session.is_http2() {
            watch::body_due((body.is_some() && !end).then_some(self.pace.pause));
        }
        ctx.body.take(body.as_ref().map_or(0, Bytes::len), self.pace)
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Ctx) -> Result<Box<HttpPeer>> {
        let route = admitted(ctx)?.permit.route().clone();
        let now = Instant::now();
        ctx.sent = Some(now);
        let Some(asked) = &route.upstream.balance else {
            let peer = self.peers.next(&route, &mut ctx.attempt).await?;
            traced::chosen(ctx, &peer);
            return Ok(peer);
        };
        let key = balance::key(asked, session, ctx);
        let taken = self.peers.pool(asked, &route).take(asked, key, ctx.tried, now);
        let taken = taken.ok_or_else(|| Error::explain(HTTPStatus(503), "no address takes requests now"))?;
        let place = taken.place();
        ctx.tried |= 1 << place;
        ctx.taken = Some(taken);
        let peer = self.peers.peer(&route, place, ctx.failed).await?;
        traced::chosen(ctx, &peer);
        Ok(peer)
    }

    /// Nothing has been sent yet, so another address may be tried, each once.
    fn fail_to_connect(&self, _: &mut Session, _: &HttpPeer, ctx: &mut Ctx, mut e: Box<Error>) -> Box<Error> {
        let upstream = ctx.admitted.as_ref().map(|a| &a.permit.route().upstream);
        let most = upstream.map_or(0, |u| u.retries.map_or(u.addresses.len(), |r| (r + 1).min(u.addresses.len())));
        balance::judge(ctx, false);
        ctx.failed += 1;
        e.set_retry(ctx.failed < most);
        e
    }

    /// Something may have been sent. Only what may safely be done twice is tried again, and only where a kept connection
    /// had been closed meanwhile.
    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        e: Box<Error>,
        ctx: &mut Ctx,
        reused: bool,
    ) -> Box<Error> {
        let mut e = e.more_context(format!("Peer: {peer}"));
        if session.req_header().method.is_idempotent() && !session.as_ref().retry_buffer_truncated() {
            e.retry.decide_reuse(reused);
        } else {
            e.set_retry(false);
        }
        if e.retry() {
            // The same address, by a connection of its own.
            ctx.tried = 0;
        } else if e.esource() == &ErrorSource::Upstream && !failure::waits(session, &e) {
            balance::judge(ctx, false);
        }
        e
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Ctx,
    ) -> Result<()> {
        let tls = session.digest().is_some_and(|d| d.ssl_digest.is_some());
        let arrival =
            Arrival { client: ctx.address.map(|a| a.to_string()), scheme: if tls { "https" } else { "http" } };
        identity::identify(request, ctx, admitted(ctx)?, arrival, &self.tokens, self.clock.now()).await
    }

    async fn response_filter(&self, session: &mut Session, response: &mut ResponseHeader, ctx: &mut Ctx) -> Result<()> {
        if let (Some(sent), Some(admitted)) = (ctx.sent, &ctx.admitted) {
            let counts = &admitted.permit.route().counts;
            counts.upstream(&self.metrics, &ctx.route).observe(sent.elapsed().as_secs_f64());
        }
        balance::answered(ctx, response);
        if is_stream(response) {
            self.keep(session, ctx);
        }
        identity::keep_our_cookies(response)?;
        if let Some(admitted) = &ctx.admitted {
            let route = admitted.permit.route();
            if is_stream(response)
                && let Some(opened) = admitted.permit.opened()
            {
                watch::hold(self.held(opened, route, ctx, session));
            }
            if let Some(asked) = &route.terms {
                terms::on_response(asked, ctx.rate.as_ref(), &session.req_header().headers, response)?;
            }
        }
        if let Some(kept) = &mut ctx.kept {
            kept.status = Some(response.status.as_u16());
        }
        response.insert_header("X-Request-Id", ctx.request_id.clone())
    }

    async fn fail_to_proxy(&self, session: &mut Session, e: &Error, ctx: &mut Ctx) -> FailToProxy {
        let waits = failure::waits(session, e);
        let status = if waits { StatusCode::REQUEST_TIMEOUT.as_u16() } else { failure::status(e) };
        if status > 0 && session.response_written().is_none() {
            let route = ctx.admitted.as_ref().map(|a| a.permit.route());
            let mut response = super::denial::failure(status, route.map_or(ErrorStyle::Oauth, |route| route.errors));
            let request = session.req_header();
            if status >= 500 && route.is_some_and(|route| browses(request, route)) {
                web::in_words(&mut response, "unavailable", &request.headers, &self.policy.load());
            }
            // The connection ends with this answer, so the answer says so: nobody may write another request into it.
            session.set_keepalive(None);
            // The client may be gone already, and then there is nobody to tell.
            let _ = mount::send(session, response).await;
        }
        ctx.reason = if e.esource() == &ErrorSource::Upstream && !waits { "upstream_failed" } else { "failed" };
        if ctx.reason == "upstream_failed" {
            self.metrics.upstream_failures.with_label_values(&[&*ctx.route]).inc();
        }
        FailToProxy { error_code: status, can_reuse_downstream: false }
    }

    /// For diagnostics: the query may hold what nobody should read later.
    fn request_summary(&self, session: &Session, ctx: &Ctx) -> String {
        let request = session.req_header();
        format!("{} {} {}", request.method, request.uri.path(), access_log::written(&ctx.request_id))
    }

    async fn logging(&self, session: &mut Session, e: Option<&Error>, ctx: &mut Ctx) {
        ctx.kept = None;
        if let (Some(tracer), Some(trace)) = (&self.tracer, ctx.trace.take()) {
            traced::ended(tracer, &trace, session, ctx, e);
        }
        if !self.access_log.is_on() {
            return;
        }
        self.access_log.tell(&access_log::line(session, ctx, e, self.clock.now()));
    }
}

/// Whether an answer goes on for as long as both sides like.
fn is_stream(response: &ResponseHeader) -> bool {
    let kind = || response.headers.get(http::header::CONTENT_TYPE).map(http::HeaderValue::as_bytes);
    let begins = |kind: &[u8]| kind.starts_with(b"text/event-stream") || kind.starts_with(b"application/grpc");
    response.status == StatusCode::SWITCHING_PROTOCOLS || kind().is_some_and(begins)
}

/// Whether its bodies are as slow as they like.
fn unhurried(permit: &Permit) -> bool {
    permit.route().upstream.protocol == Protocol::Grpc
}

fn admitted(ctx: &Ctx) -> Result<&Admitted> {
    ctx.admitted.as_ref().ok_or_else(|| Error::explain(InternalError, "no permit, nowhere to go"))
}
