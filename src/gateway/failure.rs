//! Whose failure it is when a request that was let through comes to no good end.
use http::StatusCode;
use pingora::{http::ResponseHeader, prelude::*, proxy::Session};

/// Whether the upstream was silent where it may be: while the request is not whole, or once it has answered. Whoever
/// may send a request could otherwise take every address out by stalling it.
pub fn waits(session: &mut Session, e: &Error) -> bool {
    let last = |r: &ResponseHeader| !r.status.is_informational() || r.status == StatusCode::SWITCHING_PROTOCOLS;
    let silent = e.etype() == &ReadTimedout && e.esource() == &ErrorSource::Upstream;
    silent && (session.response_written().is_some_and(last) || !session.as_mut().is_body_done())
}

/// The status that says so; 0 where there is nobody to tell.
pub fn status(e: &Error) -> u16 {
    match (e.etype(), e.esource()) {
        (HTTPStatus(code), _) => *code,
        (ConnectTimedout | ReadTimedout | WriteTimedout | TLSHandshakeTimedout, ErrorSource::Upstream) => 504,
        (_, ErrorSource::Upstream) => 502,
        (ConnectTimedout, _) => 504,
        (ConnectError | ConnectRefused | ConnectNoRoute, _) => 502,
        (WriteError | ReadError | ConnectionClosed, ErrorSource::Downstream) => 0,
        (ReadTimedout, ErrorSource::Downstream) => 408,
        (_, ErrorSource::Downstream) => 400,
        _ => 500,
    }
}
