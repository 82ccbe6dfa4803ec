//! What an upstream is told about the caller, and what a caller may not tell it (S62).
use super::ctx::{Admitted, Ctx};
use crate::{
    clock::Timestamp,
    policy::route::{HeaderRules, Protocol, Rewrite, TokenRelay},
    provider::possession::HEADER,
    token::Tokens,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{AUTHORIZATION, COOKIE, SET_COOKIE, TE},
};
use pingora::{
    http::{RequestHeader, ResponseHeader},
    prelude::*,
};

/// The request's identifier, for the upstream and the caller.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Headers that are added at most.
const ADDED: usize = 12;
const OWN_COOKIES: &str = "__Host-portcullis";
/// Who acts for the subject, where somebody does (RFC 8693).
const ACTOR: HeaderName = HeaderName::from_static("x-auth-actor");
/// The device that an asset token speaks of.
const ASSET: HeaderName = HeaderName::from_static("x-auth-asset");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// RFC 9440 §2.2.
const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// What the request came over.
pub struct Arrival {
    /// The caller's address.
    pub client: Option<String>,
    /// `https` or `http`.
    pub scheme: &'static str,
}

/// Takes away what a client may not say, and says who calls (S62).
pub async fn identify(
    request: &mut RequestHeader,
    ctx: &Ctx,
    admitted: &Admitted,
    arrival: Arrival,
    tokens: &Tokens,
    now: Timestamp,
) -> Result<()> {
    let route = admitted.permit.route();
    let names = &route.headers;
    let ours = [names.user.as_str(), names.client.as_str(), names.scopes.as_str(), names.issuer.as_str()];
    let terms = route.terms.as_deref();
    let rewrite = terms.and_then(|terms| terms.rewrite.as_ref());
    let replacing = admitted.permit.opened().filter(|_| route.relay == TokenRelay::Replace);
    let token = match replacing {
        Some(opened) => {
            let minted = tokens.mint_for_upstream(opened, &admitted.issuer, &route.resource, now).await;
            Some(minted.or_err(InternalError, "a token for the upstream")?)
        }
        None => None,
    };
    edit(request, rewrite, |given| {
        let mut headers = HeaderMap::with_capacity(given.len() + ADDED);
        let mut name = None;
        for (next, value) in given {
            // Of a name that came several times the values follow without it.
            name = next.or(name);
            let Some(name) = &name else { continue };
            if name == TRACESTATE && ctx.begins_trace {
                continue;
            }
            if believed(name.as_str(), &ours) || (name == AUTHORIZATION && route.relay != TokenRelay::Pass) {
                continue;
            }
            if name == COOKIE && holds_ours(value.as_bytes()) {
                if let Some(kept) = without_ours(&value) {
                    headers.append(name, kept);
                }
                continue;
            }
            headers.append(name, value);
        }
        if let Some(terms) = terms {
            apply(&terms.request_headers, &mut headers);
        }
        if route.upstream.protocol == Protocol::Grpc {
            // Hop by hop, so Pingora has taken it away, and without it there are no trailers.
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        headers.insert(REQUEST_ID, ctx.request_id.clone());
        headers.insert(TRACEPARENT, ctx.traceparent.clone());
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static(arrival.scheme));
        headers.insert(FORWARDED_HOST, ctx.host.clone());
        if let Some(client) = arrival.client {
            headers.insert(FORWARDED_FOR, value(client)?);
        }
        if let Some(certificate) = &ctx.certificate {
            headers.insert(CLIENT_CERT, value(format!(":{}:", STANDARD.encode(certificate.der())))?);
        }
        let Some(opened) = admitted.permit.opened() else { return Ok(headers) };
        headers.insert(&names.user, value(&*opened.subject)?);
        headers.insert(&names.client, opened.entitlement.client_value.clone());
        headers.insert(&names.scopes, opened.entitlement.scopes_value.clone());
        if route.issuers.is_some() {
            let issuer = match opened.foreign() {
                Some(foreign) => foreign.issuer.url_value.clone(),
                None => value(&*admitted.issuer)?,
            };
            headers.insert(&names.issuer, issuer);
        }
        if let Some(special) = &opened.special {
            if route.relay != TokenRelay::Pass {
                headers.remove(HEADER);
            }
            if let Some(act) = &special.more.act {
                headers.insert(ACTOR, value(&*act.sub)?);
            }
            if let Some(id) = special.more.asset.as_ref().and_then(|a| a.id.as_deref()) {
                headers.insert(ASSET, value(id)?);
            }
        }
        if let Some(token) = token {
            headers.insert(AUTHORIZATION, value(format!("Bearer {token}"))?);
        }
        Ok(headers)
    })
}

/// Sets and removes headers, in whatever spelling they came.
fn apply(rules: &HeaderRules, headers: &mut HeaderMap) {
    for name in rules.remove.iter().chain(rules.set.iter().map(|(name, _)| name)) {
        let alike = |came: &&HeaderName| spelt(came.as_str().as_bytes(), name.as_str());
        let all: Vec<HeaderName> = headers.keys().filter(alike).cloned().collect();
        for came in &all {
            headers.remove(came);
        }
    }
    for (name, value) in &rules.set {
        headers.insert(name, value.clone());
    }
}

/// Takes our own cookies out of an upstream's answer: one on the issuer's host could put a session of its choice there.
pub fn keep_our_cookies(response: &mut ResponseHeader) -> Result<()> {
    let ours = |line: &HeaderValue| {
        // A cookie without a name is sent back as its value alone, which would then read like one of ours.
        let line = line.as_bytes();
        let begin = line.iter().position(|b| !b" \t=".contains(b)).unwrap_or(line.len());
        line[begin..].starts_with(OWN_COOKIES.as_bytes())
    };
    let all = response.headers.get_all(SET_COOKIE);
    if !all.iter().any(ours) {
        return Ok(());
    }
    let kept: Vec<HeaderValue> = all.iter().filter(|line| !ours(line)).cloned().collect();
    response.remove_header(&SET_COOKIE);
    kept.into_iter().try_for_each(|line| response.append_header(SET_COOKIE, line).map(|_| ()))
}

/// Changes the headers in one go. Pingora keeps the spelling of each name in a second map that every single change has
/// to follow; here it is given up, as over HTTP/2 there is none, and an upstream must not care (RFC 9110 §5.1).
fn edit(
    request: &mut RequestHeader,
    rewrite: Option<&Rewrite>,
    change: impl FnOnce(HeaderMap) -> Result<HeaderMap>,
) -> Result<()> {
    let raw = request.raw_path();
    let rewritten = rewrite.map(|rule| rule.apply(raw));
    // What the URI does not give back byte for byte has to be put back.
    let raw = (Some(raw) != request.uri.path_and_query().map(|p| p.as_str().as_bytes())).then(|| raw.to_vec());
    let empty = RequestHeader::from(http::Request::new(()).into_parts().0);
    let mut parts: http::request::Parts = std::mem::replace(request, empty).into();
    parts.headers = change(parts.headers)?;
    if let (Some(target), true) = (&rewritten, parts.uri.authority().is_some()) {
        let mut uri = parts.uri.into_parts();
        let target = http::uri::PathAndQuery::try_from(target.as_slice());
        uri.path_and_query = Some(target.or_err(InternalError, "the rewritten target")?);
        parts.uri = http::Uri::from_parts(uri).or_err(InternalError, "the rewritten target")?;
        *request = parts.into();
        return Ok(());
    }
    *request = parts.into();
    match rewritten.or(raw) {
        Some(raw) => request.set_raw_path(&raw),
        None => Ok(()),
    }
}

fn value<T>(text: T) -> Result<HeaderValue>
where
    HeaderValue: TryFrom<T>,
{
    HeaderValue::try_from(text).map_err(|_| Error::explain(InternalError, "an identity that no header can carry"))
}

fn holds_ours(line: &[u8]) -> bool {
    line.windows(OWN_COOKIES.len()).any(|w| w == OWN_COOKIES.as_bytes())
}

/// Our own cookies are nobody else's business.
fn without_ours(line: &HeaderValue) -> Option<HeaderValue> {
    let line = String::from_utf8_lossy(line.as_bytes());
    let kept: Vec<&str> = line.split(';').map(str::trim).filter(|c| !c.starts_with(OWN_COOKIES)).collect();
    HeaderValue::try_from(kept.join("; ")).ok().filter(|kept| !kept.is_empty())
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
fn believed(name: &str, ours: &[&str; 4]) -> bool {
    let name = name.as_bytes();
    // Most headers differ in their first letter already.
    let begins =
        |known: &str| name.first().zip(known.as_bytes().first()).is_some_and(|(a, b)| a.eq_ignore_ascii_case(b));
    // A proxy in front would tell of a client's certificate so (RFC 9440, and what came before it).
    if starts(name, "client-cert") || starts(name, "ssl-client") {
        return true;
    }
    // Others say by these who is behind them.
    if spelt(name, "remote-user") || spelt(name, "true-client-ip") {
        return true;
    }
    if !begins("x-") && !begins("forwarded") && !ours.iter().any(|known| begins(known)) {
        return false;
    }
    let exact = [
        "forwarded",
        "x-forwarded",
        "x-rewrite-url",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
        "x-real-ip",
        "x-request-id",
        "x-sfdc-session",
    ];
    let begun = [
        "x-auth-",
        "x-forwarded-",
        "x-original-",
        "x-remote-",
        "x-client-cert",
        "x-client-verify",
        "x-client-dn",
        "x-ssl-",
        "x-tls-client",
        "x-arr-clientcert",
        "x-amzn-mtls-",
    ];
    begun.iter().any(|known| starts(name, known)) || exact.iter().chain(ours).any(|known| spelt(name, known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_sets_no_cookie_of_ours_and_a_rule_knows_every_spelling() {
        let mut response = ResponseHeader::build(200, None).unwrap();
        let lines =
            ["a=1", "__Host-portcullis-gate=x; Path=/", " __Host-portcullis=x", "=__Host-portcullis-gate=x", "b=2"];
        for line in lines {
            response.append_header(SET_COOKIE, line).unwrap();
        }
        keep_our_cookies(&mut response).unwrap();
        let kept: Vec<_> = response.headers.get_all(SET_COOKIE).iter().collect();
        assert_eq!(kept, ["a=1", "b=2"]);
        let name = HeaderName::from_static;
        let set = vec![(name("x-env"), HeaderValue::from_static("test"))];
        let rules = HeaderRules { set, remove: vec![name("x-secret")] };
        let mut headers = HeaderMap::new();
        for came in ["x_env", "x.env", "x-env", "x_secret", "x-other"] {
            headers.append(name(came), HeaderValue::from_static("client"));
        }
        apply(&rules, &mut headers);
        assert_eq!(
            (headers.len(), &headers["x-env"], &headers["x-other"]),
            (2, &"test".parse().unwrap(), &"client".parse().unwrap())
        );
    }

    #[test]
    fn s62_every_spelling_of_an_identity_header_is_foreign() {
        let ours = ["X-User", "X-App", "X-Scopes", "Y-Issuer"];
        for name in
            ["x-auth-client", "X_Auth_Client", "x.forwarded.user", "X-FORWARDED-For", "x_user", "Forwarded", "y_issuer"]
        {
            assert!(believed(name, &ours), "{name}");
        }
        for name in [
            "Client-Cert",
            "client_cert_chain",
            "X-Client-Cert",
            "x-client-dn",
            "X-SSL-Client-Verify",
            "X-Forwarded-Client-Cert",
            "ssl-client-subject-dn",
            "SSL_CLIENT_CERT",
            "X-Amzn-Mtls-Clientcert-Leaf",
            "X-ARR-ClientCert",
            "X.TLS.Client.Cert",
            "X-HTTP-Method",
            "x_method_override",
            "X-SFDC-Session",
            "X-Original-URL",
            "x_original_uri",
            "X-Original-Method",
            "X-Remote-User",
            "REMOTE_USER",
            "X-Client-IP",
            "True-Client-IP",
        ] {
            assert!(believed(name, &ours), "{name}");
        }
        assert!(
            !believed("client-version", &ours)
                && !believed("x-client-version", &ours)
                && !believed("content-type", &ours)
        );
        assert!(!believed("x-correlation", &ours) && !believed("accept", &ours));
    }
}
