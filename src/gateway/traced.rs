//! What the trace of a request says (OpenTelemetry semantic conventions for HTTP). Never a query, a header or a body.
use super::{access_log, ctx::Ctx};
use crate::telemetry::{Attribute, Trace, Tracer};
use pingora::{Error, ErrorSource, prelude::HttpPeer, proxy::Session};

/// The methods that OpenTelemetry knows.
const METHODS: [&str; 9] = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];

/// Notes the address that the request goes to.
pub fn chosen(ctx: &mut Ctx, peer: &HttpPeer) {
    if let Some(trace) = &mut ctx.trace {
        trace.peer = Some(peer._address.to_string());
    }
}

/// Hands over the spans of a request that has ended, with what ended it where that was an error.
pub fn ended(tracer: &Tracer, trace: &Trace, session: &Session, ctx: &Ctx, error: Option<&Error>) {
    let request = session.req_header();
    let status = session.response_written().map(|r| i64::from(r.status.as_u16()));
    // Any method may be asked for: a name of a span that anybody can choose would be of no use.
    let method = request.method.as_str();
    let method = if METHODS.contains(&method) { method } else { "_OTHER" };
    let route = ctx.admitted.as_ref().map(|a| a.permit.route().path.to_string());
    let scheme = if session.digest().is_some_and(|d| d.ssl_digest.is_some()) { "https" } else { "http" };
    let mut about: Vec<Attribute> =
        vec![("http.request.method", method.to_owned().into()), ("url.scheme", scheme.into())];
    about.extend(status.map(|s| ("http.response.status_code", s.into())));
    if let (Some(sent), Some(peer)) = (ctx.sent, &trace.peer) {
        let mut told = about.clone();
        let (host, port) = peer.rsplit_once(':').unwrap_or((peer, ""));
        told.push(("server.address", host.trim_matches(['[', ']']).to_owned().into()));
        told.extend(port.parse::<u16>().ok().map(|port| ("server.port", i64::from(port).into())));
        told.extend(
            (ctx.failed > 0).then(|| ("http.request.resend_count", i64::try_from(ctx.failed).unwrap_or(0).into())),
        );
        let lost = error.filter(|e| e.esource() == &ErrorSource::Upstream);
        told.extend(lost.map(|e| ("error.type", e.etype().as_str().to_owned().into())));
        let failed = lost.is_some() || status.is_some_and(|s| s >= 400);
        trace.upstream(sent, method.to_owned(), failed, told);
    }
    about.extend([
        ("url.path", request.uri.path().to_owned().into()),
        ("server.address", access_log::written(&ctx.host).to_owned().into()),
        ("portcullis.route", ctx.route.to_string().into()),
        ("portcullis.decision", ctx.outcome.into()),
        ("portcullis.reason", ctx.reason.into()),
        ("portcullis.request_id", access_log::written(&ctx.request_id).to_owned().into()),
    ]);
    about.extend(ctx.address.map(|a| ("client.address", a.to_string().into())));
    about.extend(error.map(|e| ("error.type", e.etype().as_str().to_owned().into())));
    let name = route.as_ref().map_or_else(|| method.to_owned(), |route| format!("{method} {route}"));
    about.extend(route.map(|route| ("http.route", route.into())));
    trace.server(name, status.is_none_or(|s| s >= 500), about);
    tracer.end(trace);
}
