//! Proof of possession (DPoP, RFC 9449) where the authorization server itself is asked: at the token endpoint, for pushed
//! requests, and at userinfo.
use super::{
    Cx,
    error::{Code, OAuthError},
};
use crate::{
    model::Wire,
    secret::Digest,
    store::{Change, Expect, Record},
    token::{
        Opened,
        proof::{self, Asked, Proof, Target},
    },
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};

/// The header that carries a proof.
pub const HEADER: &str = "dpop";

/// A proof that holds for this request.
pub struct Proven {
    /// Thumbprint of the key.
    pub key: Digest,
    /// The write that makes the proof usable once, across restarts and nodes (S37).
    pub once: Change,
}

/// Where a client finds the nonce for its next proof (RFC 9449 §8).
pub const NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

impl Cx {
    /// The addresses under which clients reach `path` here.
    fn own(&self, path: &str) -> Vec<String> {
        let alias = self.policy.client_certificates.endpoints();
        let second = self.policy.salesforce.as_ref().filter(|_| self.wire == Wire::Salesforce);
        let hosts = std::iter::once(&self.policy.issuer).chain(second.map(|s| &s.instance_url));
        let hosts = hosts.map(|host| &**host).chain(alias);
        hosts.map(|host| format!("{host}{path}")).collect()
    }
}

/// The response to a refusal, with a nonce where the proof lacked one.
pub fn with_nonce(mut response: Response<Bytes>, error: &OAuthError, cx: &Cx) -> Response<Bytes> {
    if error.code == Code::UseDpopNonce
        && let Ok(nonce) = HeaderValue::try_from(cx.tokens.nonce(cx.now))
    {
        response.headers_mut().insert(NONCE, nonce);
    }
    response
}

fn bad(detail: impl std::fmt::Display) -> OAuthError {
    OAuthError::new(Code::InvalidDpopProof, "the DPoP proof is missing or does not hold").detail(detail)
}

/// The proof that an app which must have one did not send.
pub fn missing() -> OAuthError {
    bad("this app's tokens are bound to a key")
}

/// A proof that was used before.
pub fn used_before() -> OAuthError {
    bad("used before")
}

/// One proof, or none; two are nobody's (RFC 9449 §4.3).
fn header(headers: &HeaderMap) -> Result<Option<&str>, OAuthError> {
    let mut all = headers.get_all(HEADER).iter();
    match (all.next(), all.next()) {
        (None, _) => Ok(None),
        (Some(one), None) => one.to_str().map(Some).map_err(|_| bad("not text")),
        (Some(_), Some(_)) => Err(bad("more than one proof")),
    }
}

fn verified(text: &str, method: &str, urls: &[String], token: Option<&str>, cx: &Cx) -> Result<Proof, OAuthError> {
    let targets: Vec<Target<'_>> = urls.iter().filter_map(|url| target(url)).collect();
    let rules = cx.policy.dpop;
    let asked = Asked { method, at: &targets, token: token.map(str::as_bytes), lifetime: rules.lifetime, now: cx.now };
    let proof = proof::verify(text, asked).map_err(bad)?;
    if !cx.tokens.nonce_holds(proof.nonce.as_deref(), rules, cx.now) {
        return Err(OAuthError::new(Code::UseDpopNonce, "the DPoP proof needs the nonce that comes with this answer"));
    }
    Ok(proof)
}

fn target(url: &str) -> Option<Target<'_>> {
    let rest = url.split_once("://")?.1;
    let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    Some(Target { authority, path })
}

/// The proof that a POST to `path` carries, if it carries one.
pub fn at_endpoint(request: &Request<Bytes>, path: &str, cx: &Cx) -> Result<Option<Proven>, OAuthError> {
    let Some(text) = header(request.headers())? else { return Ok(None) };
    let proof = verified(text, request.method().as_str(), &cx.own(path), None, cx)?;
    let record = Record {
        key: format!("proof/{}", proof.name.hex()),
        version: 0,
        index: None,
        expires: Some(proof.remember),
        body: Vec::new(),
    };
    Ok(Some(Proven { key: proof.key, once: Change::Put(record, Expect::Absent) }))
}

/// How a token came to an endpoint of ours that takes tokens.
pub struct Shown<'a> {
    /// The token.
    pub token: &'a str,
    /// Whether it came under the DPoP scheme.
    pub bound: bool,
    /// The request.
    pub request: &'a Request<Bytes>,
    /// The path that the caller used.
    pub path: &'a str,
}

/// Whether whoever shows `opened` holds the key that it is bound to, if it is.
pub fn at_resource(opened: &Opened, shown: &Shown<'_>, cx: &Cx) -> Result<(), OAuthError> {
    let invalid =
        |detail: &str| OAuthError::new(Code::InvalidToken, "the token is invalid or has ended").detail(detail);
    let cnf = opened.special.as_ref().and_then(|s| s.more.cnf.as_ref());
    let certificate = cnf.and_then(|cnf| cnf.certificate);
    if certificate.is_some() && certificate != cx.certificate.as_ref().map(|c| c.thumbprint) {
        return Err(invalid("bound to a certificate that the connection has not shown"));
    }
    match (cnf.filter(|cnf| cnf.key().is_some()), shown.bound) {
        (None, false) => Ok(()),
        (None, true) => Err(invalid("not bound to a key, but shown as if")),
        (Some(_), false) => Err(invalid("bound to a key, but shown as a bearer token")),
        (Some(cnf), true) => {
            let text = header(shown.request.headers())?.ok_or_else(|| bad("missing"))?;
            let method = shown.request.method().as_str();
            let proof = verified(text, method, &cx.own(shown.path), Some(shown.token), cx)?;
            if cnf.jkt != Some(proof.key) {
                return Err(invalid("bound to another key"));
            }
            if !cx.tokens.first_seen(proof.name) {
                return Err(bad("used before"));
            }
            Ok(())
        }
    }
}
