//! What happens to a request, top to bottom: Pingora's phases, a few lines each.
use super::{
    canonical::canonical,
    guard::{self, Denial, Permit},
};
use crate::{
    clock::Clock,
    metrics::Metrics,
    policy::{
        SharedPolicy,
        route::{ErrorStyle, Found, TokenRelay},
    },
    provider::Provider,
    token::Tokens,
};
use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use pingora::{
    http::{RequestHeader, ResponseHeader},
    prelude::*,
    proxy::{ProxyHttp, Session},
};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// Largest body that the authorization server reads, bytes.
const MAX_BODY: usize = 1 << 20;
const BODY_TIME: Duration = Duration::from_secs(10);

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
}

/// A permit, and the issuer of the policy that gave it: one request sees one policy.
pub struct Admitted {
    permit: Permit,
    issuer: Arc<str>,
}

#[async_trait::async_trait]
impl ProxyHttp for Gateway {
    type CTX = Option<Admitted>;

    fn new_ctx(&self) -> Self::CTX {
        None
    }

    async fn request_filter(&self, session: &mut Session, admitted: &mut Self::CTX) -> Result<bool> {
        // Pingora's default is to keep an idle connection for ever.
        session.set_keepalive(Some(10));
        let request = session.req_header();
        let raw = request.raw_path();
        let raw = raw.split(|b| *b == b'?').next().unwrap_or(raw);
        let hosts = request.headers.get_all("host").iter().count();
        let framed_twice =
            request.headers.contains_key("content-length") && request.headers.contains_key("transfer-encoding");
        let host = request.uri.authority().map(|a| a.as_str()).or_else(|| request.headers.get("host")?.to_str().ok());
        let (Ok(path), Some(host), false, false) = (canonical(raw), host, hosts > 1, framed_twice) else {
            session.set_keepalive(None);
            return self.deny(session, "none", Denial::InvalidRequest, ErrorStyle::Oauth, "").await;
        };
        if self.provider.owns(path) {
            return self.local(session).await;
        }
        let policy = self.policy.load();
        let host = host.rsplit_once(':').map_or(host, |(h, _)| h).trim_end_matches('.').to_ascii_lowercase();
        let method = request.method.as_str();
        let asked = (host.as_str(), path, method);
        match guard::check(&policy, &self.tokens, asked, &request.headers, self.clock.now()) {
            Ok(given) => {
                self.metrics.decisions.with_label_values(&[&*given.route().name, "allow", "ok"]).inc();
                *admitted = Some(Admitted { permit: given, issuer: policy.issuer.clone() });
                Ok(false)
            }
            Err(denial) => {
                let (name, style, scope) = match policy.routes.find(asked.0, asked.1, asked.2) {
                    Found::Route(r) => (r.name.clone(), r.errors, r.requirement(method).all.to_string()),
                    Found::MethodNotAllowed | Found::NotFound => ("none".into(), ErrorStyle::Oauth, String::new()),
                };
                self.deny(session, &name, denial, style, &scope).await
            }
        }
    }

    async fn upstream_peer(&self, _session: &mut Session, admitted: &mut Self::CTX) -> Result<Box<HttpPeer>> {
        let Admitted { permit, .. } =
            admitted.as_ref().ok_or_else(|| Error::explain(InternalError, "no permit, nowhere to go"))?;
        let upstream = &permit.route().upstream;
        let turn = permit.route().turn.fetch_add(1, Ordering::Relaxed) % upstream.addresses.len().max(1);
        let address = upstream.addresses.get(turn).ok_or_else(|| Error::explain(InternalError, "no address"))?;
        let name = upstream.tls_name.clone();
        let mut peer = HttpPeer::new(address.as_str(), name.is_some(), name.unwrap_or_default());
        peer.options.connection_timeout = Some(upstream.connect_timeout);
        peer.options.read_timeout = Some(upstream.read_timeout);
        Ok(Box::new(peer))
    }

    async fn upstream_request_filter(
        &self,
        _session: &mut Session,
        request: &mut RequestHeader,
        admitted: &mut Self::CTX,
    ) -> Result<()> {
        let Admitted { permit, issuer } =
            admitted.as_ref().ok_or_else(|| Error::explain(InternalError, "no permit, nowhere to go"))?;
        let names = &permit.route().headers;
        let ours = [names.user.as_str(), &names.client, &names.scopes].map(folded);
        let foreign: Vec<_> = request.headers.keys().filter(|k| believed(k.as_str(), &ours)).cloned().collect();
        foreign.iter().for_each(|name| drop(request.remove_header(name)));
        if permit.route().relay != TokenRelay::Pass {
            request.remove_header("authorization");
        }
        let Some(opened) = permit.opened() else { return Ok(()) };
        request.insert_header(names.user.clone(), &*opened.subject)?;
        request.insert_header(names.client.clone(), &*opened.client)?;
        request.insert_header(names.scopes.clone(), opened.scopes.to_string())?;
        if permit.route().relay == TokenRelay::Replace {
            let audience = &permit.route().resource;
            let token = self.tokens.mint_for_upstream(opened, issuer, audience, self.clock.now());
            request.insert_header("authorization", format!("Bearer {token}"))?;
        }
        Ok(())
    }
}

impl Gateway {
    async fn deny(&self, to: &mut Session, route: &str, why: Denial, style: ErrorStyle, scope: &str) -> Result<bool> {
        self.metrics.decisions.with_label_values(&[route, "deny", why.words().1]).inc();
        send(to, why.response(style, scope)).await
    }

    /// Hands a whole request to the authorization server.
    async fn local(&self, session: &mut Session) -> Result<bool> {
        let mut body = BytesMut::new();
        let read = async {
            while let Some(part) = session.read_request_body().await? {
                body.extend_from_slice(&part);
                if body.len() > MAX_BODY {
                    return Error::e_explain(HTTPStatus(413), "the body is too large");
                }
            }
            Ok(())
        };
        tokio::time::timeout(BODY_TIME, read)
            .await
            .map_err(|_| Error::explain(HTTPStatus(408), "the body came too slowly"))??;
        let head = session.req_header();
        let mut request = Request::new(body.freeze());
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = head.uri.clone();
        *request.headers_mut() = head.headers.clone();
        send(session, self.provider.handle(request).await).await
    }
}

async fn send(session: &mut Session, response: Response<Bytes>) -> Result<bool> {
    let (parts, body) = response.into_parts();
    let mut head = ResponseHeader::build(parts.status, None)?;
    for (name, value) in &parts.headers {
        head.append_header(name, value)?;
    }
    head.insert_header("content-length", body.len())?;
    session.write_response_header(Box::new(head), false).await?;
    session.write_response_body(Some(body), true).await?;
    Ok(true)
}

/// Lower case with `_` and `.` as `-`: the spellings that frameworks confuse.
fn folded(name: &str) -> String {
    name.to_ascii_lowercase().replace(['_', '.'], "-")
}

/// Whether an upstream might believe this header, so that a client must not send it (S62).
fn believed(name: &str, ours: &[String; 3]) -> bool {
    let name = folded(name);
    let exact = ["forwarded", "x-original-url", "x-rewrite-url", "x-http-method-override", "x-real-ip"];
    name.starts_with("x-auth-")
        || name.starts_with("x-forwarded-")
        || exact.contains(&name.as_str())
        || ours.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s62_every_spelling_of_an_identity_header_is_foreign() {
        let ours = ["X-User", "X-App", "X-Scopes"].map(folded);
        for name in ["x-auth-client", "X_Auth_Client", "x.forwarded.user", "X-FORWARDED-For", "x_user", "Forwarded"] {
            assert!(believed(name, &ours), "{name}");
        }
        assert!(!believed("x-request-id", &ours) && !believed("accept", &ours));
    }
}
