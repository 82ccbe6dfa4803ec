//! What the gate answers by itself.
use super::{
    access_log::Kept,
    browser::opens_from_elsewhere,
    client_certificate::{self, Misdirected},
    ctx::Ctx,
    denial::Told,
    guard::Denial,
    host::authority,
    identity, mount,
    proxy::Gateway,
    terms,
    watch::{self, Held},
};
use crate::{
    model::ClientCertificate,
    policy::{
        Policy,
        route::{Auth, Found, Route},
    },
    provider::web,
    telemetry,
    token::Opened,
};
use bytes::Bytes;
use http::StatusCode;
use pingora::{http::RequestHeader, prelude::*, proxy::Session};
use std::sync::Arc;

impl Gateway {
    /// What the authorization server answers.
    pub(super) async fn provide(
        &self,
        session: &mut Session,
        ctx: &Ctx,
        certificate: Option<Arc<ClientCertificate>>,
    ) -> Result<()> {
        let request = mount::read_within(session, (ctx.address, certificate), self.pace.pause).await?;
        let mut response = telemetry::within(ctx.trace.as_deref(), Box::pin(self.provider.handle(request))).await;
        response.headers_mut().insert(identity::REQUEST_ID, ctx.request_id.clone());
        mount::send(session, response).await
    }

    /// What a stream that begins now is held by.
    pub(super) fn held(&self, opened: &Arc<Opened>, route: &Arc<Route>, ctx: &Ctx, session: &Session) -> Held {
        Held {
            opened: opened.clone(),
            route: route.clone(),
            address: ctx.address,
            method: session.req_header().method.as_str().to_owned(),
            tokens: self.tokens.clone(),
            policy: self.policy.clone(),
            clock: self.clock.clone(),
            metrics: self.metrics.clone(),
        }
    }

    /// Keeps what the log needs of a request that may be ended from outside.
    pub(super) fn keep(&self, session: &Session, ctx: &mut Ctx) {
        if !self.access_log.is_on() {
            return;
        }
        let request = session.req_header();
        let (log, clock) = (self.access_log.clone(), self.clock.clone());
        let (method, uri) = (request.method.clone(), request.uri.clone());
        ctx.kept = Some(Box::new(Kept { log, clock, method, uri, status: None }));
    }

    /// The client's certificate, as far as it counts for `host`.
    pub(super) fn certificate(
        &self,
        policy: &Policy,
        session: &Session,
        host: &str,
    ) -> Result<Option<Arc<ClientCertificate>>, Misdirected> {
        let rules = &policy.client_certificates;
        if rules.is_empty() {
            return Ok(None);
        }
        let socket = session.digest().and_then(|digest| digest.socket_digest.as_ref());
        let local = socket.and_then(|s| s.local_addr()).and_then(|a| a.as_inet()).copied();
        client_certificate::admit(rules, watch::arrived(), (host, local), self.clock.now())
    }

    /// Who could pass does not, for now.
    pub(super) async fn turn_away(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        why: &'static str,
        told: &Told,
    ) -> Result<bool> {
        (ctx.outcome, ctx.reason) = ("deny", why);
        self.metrics.decisions.with_label_values(&[&*ctx.route, "deny", why]).inc();
        mount::discard(session).await;
        let mut response = terms::refusal(ctx.rate.as_ref(), told);
        self.complete(session, ctx, told, &mut response);
        mount::send(session, response).await?;
        Ok(true)
    }

    /// What every answer of our own to a request along a route says.
    fn complete(&self, session: &Session, ctx: &Ctx, told: &Told, response: &mut http::Response<Bytes>) {
        if let Some(cors) = told.terms.as_ref().and_then(|terms| terms.cors.as_ref()) {
            terms::readable(cors, &session.req_header().headers, response.headers_mut());
        }
        response.headers_mut().insert(identity::REQUEST_ID, ctx.request_id.clone());
    }

    /// The session of a browser that shows its cookie, where the route takes one; that of a public route it can do
    /// without.
    pub(super) async fn browser(
        &self,
        policy: &Policy,
        (host, path, method): (&str, &str, &str),
        request: &RequestHeader,
    ) -> Result<Option<Arc<Opened>>, Denial> {
        let route = match policy.routes.find(host, path, method) {
            Found::Route(route) if route.auth != Auth::Token && !opens_from_elsewhere(request, &route) => route,
            Found::Route(_) | Found::MethodNotAllowed(..) | Found::NotFound | Found::Undecidable => return Ok(None),
        };
        match self.provider.browser_session(&request.headers, &authority(request)).await {
            Ok(opened) => Ok(opened),
            Err(_) if route.requirement(method).public => Ok(None),
            Err(_) => Err(Denial::Unavailable),
        }
    }

    /// A browser without a session is sent to get one, and comes back.
    pub(super) async fn send_to_sign_in(&self, session: &mut Session, ctx: &mut Ctx) -> Result<bool> {
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

    /// Refuses, and counts it.
    pub(super) async fn deny(&self, session: &mut Session, ctx: &mut Ctx, why: Denial, told: Told) -> Result<bool> {
        (ctx.outcome, ctx.reason) = ("deny", why.words().1);
        self.metrics.decisions.with_label_values(&[&*ctx.route, "deny", ctx.reason]).inc();
        mount::discard(session).await;
        let mut response = why.response(&told);
        if let Some(key) = told.page {
            web::in_words(&mut response, key, &session.req_header().headers, &self.policy.load());
        }
        self.complete(session, ctx, &told, &mut response);
        mount::send(session, response).await?;
        Ok(true)
    }
}
