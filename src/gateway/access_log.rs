//! One line of the access log: who asked for what, what was decided, and how it went.
use super::ctx::Ctx;
use crate::clock::Timestamp;
use http::HeaderValue;
use pingora::{Error, ErrorType, proxy::Session};
use serde::{Serialize, Serializer};
use std::net::IpAddr;

/// The members of a line, in the order of their names.
#[derive(Serialize)]
pub struct Line<'a> {
    actor: Option<&'a str>,
    bytes: usize,
    client: Option<&'a str>,
    client_address: Option<IpAddr>,
    decision: &'static str,
    /// Why an upstream over TLS was not trusted: a certificate that has expired, or comes from somebody else.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    error: Option<&'a str>,
    issuer: Option<&'a str>,
    #[serde(serialize_with = "text")]
    method: &'a http::Method,
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

fn text<S: Serializer>(method: &http::Method, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(method.as_str())
}

/// The line of a request that has ended, with what ended it where that was an error.
pub fn line<'a>(session: &'a Session, ctx: &'a Ctx, error: Option<&'a Error>, now: Timestamp) -> Line<'a> {
    let request = session.req_header();
    let opened = ctx.admitted.as_ref().and_then(|a| a.permit.opened()).or(ctx.refused.as_ref());
    Line {
        actor: opened.and_then(|o| o.special.as_ref()?.more.act.as_ref()).map(|act| &*act.sub),
        bytes: session.body_bytes_sent(),
        client: opened.map(|o| &*o.entitlement.client),
        client_address: ctx.address,
        decision: ctx.outcome,
        detail: error.filter(|e| e.etype() == &ErrorType::TLSHandshakeFailure).map(ToString::to_string),
        error: error.map(|e| e.etype().as_str()),
        issuer: opened.and_then(|o| o.foreign()).map(|foreign| &*foreign.issuer.name),
        method: &request.method,
        // The query may hold what nobody should read later.
        path: request.uri.path(),
        reason: ctx.reason,
        request_id: written(&ctx.request_id),
        route: &ctx.route,
        seconds: ctx.started.elapsed().as_secs_f64(),
        shadow: ctx.shadow,
        status: session.response_written().map(|r| r.status.as_u16()),
        subject: opened.map(|o| &*o.subject),
        time: now,
        trace: written(&ctx.traceparent).get(3..35),
    }
}

/// A header of ours as text.
pub fn written(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or_default()
}
