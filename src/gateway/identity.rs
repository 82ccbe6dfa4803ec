//! What an upstream is told about the caller, and what a caller may not tell it (S62).
use super::ctx::{Admitted, Ctx};
use crate::{clock::Timestamp, policy::route::TokenRelay, token::Tokens};
use http::HeaderName;
use pingora::{http::RequestHeader, prelude::*};

/// The request's identifier, for the upstream and the caller.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const COOKIE: HeaderName = http::header::COOKIE;
const OWN_COOKIES: &str = "__Host-portcullis";
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// What the request came over.
pub struct Arrival {
    /// The caller's address.
    pub client: Option<String>,
    /// `Host` or `:authority`.
    pub host: Option<String>,
    /// `https` or `http`.
    pub scheme: &'static str,
}

/// Takes away what a client may not say, and says who calls (S62).
pub fn identify(
    request: &mut RequestHeader,
    ctx: &Ctx,
    admitted: &Admitted,
    arrival: Arrival,
    tokens: &Tokens,
    now: Timestamp,
) -> Result<()> {
    let route = admitted.permit.route();
    let names = &route.headers;
    let ours = [names.user.as_str(), names.client.as_str(), names.scopes.as_str()];
    // Nearly every request carries none, and then nothing is allocated.
    while let Some(name) = request.headers.keys().find(|k| believed(k.as_str(), &ours)).cloned() {
        request.remove_header(&name);
    }
    if route.relay != TokenRelay::Pass {
        request.remove_header("authorization");
    }
    strip_cookies(request)?;
    request.insert_header(REQUEST_ID, &*ctx.request_id)?;
    request.insert_header(TRACEPARENT, &*ctx.traceparent)?;
    request.insert_header(FORWARDED_PROTO, arrival.scheme)?;
    if let Some(client) = arrival.client {
        request.insert_header(FORWARDED_FOR, client)?;
    }
    if let Some(host) = arrival.host {
        request.insert_header(FORWARDED_HOST, host)?;
    }
    let Some(opened) = admitted.permit.opened() else { return Ok(()) };
    request.insert_header(names.user.clone(), &*opened.subject)?;
    request.insert_header(names.client.clone(), &*opened.client)?;
    request.insert_header(names.scopes.clone(), opened.scopes.to_string())?;
    if route.relay == TokenRelay::Replace {
        let token = tokens.mint_for_upstream(opened, &admitted.issuer, &route.resource, now);
        request.insert_header("authorization", format!("Bearer {token}"))?;
    }
    Ok(())
}

/// Our own cookies are nobody else's business.
fn strip_cookies(request: &mut RequestHeader) -> Result<()> {
    let ours = |line: &[u8]| line.windows(OWN_COOKIES.len()).any(|w| w == OWN_COOKIES.as_bytes());
    if !request.headers.get_all(COOKIE).iter().any(|line| ours(line.as_bytes())) {
        return Ok(());
    }
    let lines: Vec<String> =
        request.headers.get_all(COOKIE).iter().map(|l| String::from_utf8_lossy(l.as_bytes()).into()).collect();
    let kept: Vec<&str> =
        lines.iter().flat_map(|l| l.split(';')).map(str::trim).filter(|c| !c.starts_with(OWN_COOKIES)).collect();
    request.remove_header(&COOKIE);
    if !kept.is_empty() {
        request.insert_header(COOKIE, kept.join("; "))?;
    }
    Ok(())
}

/// Equal but for case, with `_` and `.` as `-`: the spellings that frameworks confuse.
fn spelt(name: &[u8], known: &str) -> bool {
    name.len() == known.len() && starts(name, known)
}

fn starts(name: &[u8], known: &str) -> bool {
    let folded = |b: &u8| if matches!(b, b'_' | b'.') { b'-' } else { b.to_ascii_lowercase() };
    name.len() >= known.len() && name.iter().zip(known.as_bytes()).all(|(a, b)| folded(a) == folded(b))
}

/// Whether an upstream might believe this header, so that a client must not send it (S62).
fn believed(name: &str, ours: &[&str; 3]) -> bool {
    let name = name.as_bytes();
    // Most headers differ in their first letter already.
    let begins =
        |known: &str| name.first().zip(known.as_bytes().first()).is_some_and(|(a, b)| a.eq_ignore_ascii_case(b));
    if !begins("x-") && !begins("forwarded") && !ours.iter().any(|known| begins(known)) {
        return false;
    }
    let exact = ["forwarded", "x-original-url", "x-rewrite-url", "x-http-method-override", "x-real-ip", "x-request-id"];
    starts(name, "x-auth-") || starts(name, "x-forwarded-") || exact.iter().chain(ours).any(|known| spelt(name, known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s62_every_spelling_of_an_identity_header_is_foreign() {
        let ours = ["X-User", "X-App", "X-Scopes"];
        for name in ["x-auth-client", "X_Auth_Client", "x.forwarded.user", "X-FORWARDED-For", "x_user", "Forwarded"] {
            assert!(believed(name, &ours), "{name}");
        }
        assert!(!believed("x-correlation", &ours) && !believed("accept", &ours));
    }
}
