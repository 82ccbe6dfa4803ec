//! One line of the access log: who asked for what, what was decided, and how it went.
use super::ctx::Ctx;
use crate::{
    clock::{Clock, Timestamp},
    log::Log,
};
use http::{HeaderValue, Method, Uri};
use pingora::{Error, ErrorType, proxy::Session};
use serde::{Serialize, Serializer};
use std::{net::IpAddr, sync::Arc};

/// The members of a line, in the order of their names.
#[derive(Serialize)]
pub struct Line<'a> {
    actor: Option<&'a str>,
    bytes: Option<usize>,
    client: Option<&'a str>,
    client_address: Option<IpAddr>,
    decision: &'static str,
    /// Why an upstream over TLS was not trusted: a certificate that has expired, or comes from somebody else.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    error: Option<&'a str>,
    issuer: Option<&'a str>,
    #[serde(serialize_with = "text")]
    method: &'a Method,
    path: &'a str,
    reason: &'static str,
    request_id: &'a str,
    route: &'a str,
    seconds: f64,
    shadow: Option<&'static str>,
    status: Option<u16>,
    subject: Option<&'a str>,
    time: Timestamp,
    trace: Option<&'a str>,
}

fn text<S: Serializer>(method: &Method, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(method.as_str())
}

/// The line of a request that has ended, with what ended it where that was an error.
pub fn line<'a>(session: &'a Session, ctx: &'a Ctx, error: Option<&'a Error>, now: Timestamp) -> Line<'a> {
    let request = session.req_header();
    Line {
        bytes: Some(session.body_bytes_sent()),
        detail: error.filter(|e| e.etype() == &ErrorType::TLSHandshakeFailure).map(ToString::to_string),
        error: error.map(|e| e.etype().as_str()),
        status: session.response_written().map(|r| r.status.as_u16()),
        ..of(ctx, (&request.method, &request.uri), now)
    }
}

/// What its line needs of a request that may be ended from outside, when its session is gone.
pub struct Kept {
    /// Where the line goes.
    pub log: Log,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The request's.
    pub method: Method,
    /// The request's.
    pub uri: Uri,
    /// What it was answered, as far as it was.
    pub status: Option<u16>,
}

impl Kept {
    /// Writes the line.
    pub fn tell(&self, ctx: &Ctx) {
        let line = of(ctx, (&self.method, &self.uri), self.clock.now());
        self.log.tell(&Line { status: self.status, ..line });
    }
}

/// What is known without the session.
fn of<'a>(ctx: &'a Ctx, (method, uri): (&'a Method, &'a Uri), now: Timestamp) -> Line<'a> {
    let opened = ctx.admitted.as_ref().and_then(|a| a.permit.opened()).or(ctx.refused.as_ref());
    Line {
        actor: opened.and_then(|o| o.special.as_ref()?.more.act.as_ref()).map(|act| &*act.sub),
        bytes: None,
        client: opened.map(|o| &*o.entitlement.client),
        client_address: ctx.address,
        decision: ctx.outcome,
        detail: None,
        error: None,
        issuer: opened.and_then(|o| o.foreign()).map(|foreign| &*foreign.issuer.name),
        method,
        // The query may hold what nobody should read later.
        path: uri.path(),
        reason: ctx.reason,
        request_id: written(&ctx.request_id),
        route: &ctx.route,
        seconds: ctx.started.elapsed().as_secs_f64(),
        shadow: ctx.shadow,
        status: None,
        subject: opened.map(|o| &*o.subject),
        time: now,
        trace: written(&ctx.traceparent).get(3..35),
    }
}

/// A header of ours as text.
pub fn written(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or_default()
}
