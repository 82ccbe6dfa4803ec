//! Where scopes are checked: the only maker of a [`Permit`].
use super::{
    credential::{Credential, credential_for, is_b64token},
    possession::{self, Shown},
};
use crate::{
    clock::Timestamp,
    policy::{
        Policy,
        route::{Auth, ErrorStyle, Found, Requirement, Route},
    },
    secret::Digest,
    token::{OpenError, Opened, Tokens},
};
use http::HeaderMap;
use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
};

/// Leave to forward one request along one route.
#[derive(Debug)]
pub struct Permit {
    route: Arc<Route>,
    opened: Option<Arc<Opened>>,
}

impl Permit {
    /// Where the request may go.
    pub fn route(&self) -> &Arc<Route> {
        &self.route
    }

    /// For whom; nobody on a public route.
    pub fn opened(&self) -> Option<&Arc<Opened>> {
        self.opened.as_ref()
    }
}

/// Why a request is not forwarded (RFC 6750 §3.1 where it speaks of it).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// 404: no route.
    NotFound,
    /// 405: the path is known, the method is not.
    MethodNotAllowed,
    /// 401 without an error code: no credentials came.
    Unauthenticated,
    /// 400 `invalid_request`: the credentials are malformed.
    InvalidRequest,
    /// 401 `invalid_token`.
    InvalidToken,
    /// 401 `invalid_token`: bound to a key, and shown without proof (RFC 9449 §7.2).
    NotProven,
    /// 401 `invalid_token`: the route wants a token that is bound to a key.
    NotBound,
    /// 401 `invalid_token`: bound to a client certificate that the connection has not shown (RFC 8705 §3).
    NotItsCertificate,
    /// 421: the host asks for a client certificate, and the connection was not made for it (RFC 9110 §15.5.20).
    Misdirected,
    /// 401 `invalid_dpop_proof`.
    InvalidProof,
    /// 401 `use_dpop_nonce` (RFC 9449 §9).
    UseNonce,
    /// 403: the route takes asset tokens, or does not.
    OtherToken,
    /// 403 `insufficient_scope`.
    InsufficientScope,
    /// 403: this app may not use the route.
    ClientNotAllowed,
    /// 403: the app's or the user's policy does not let this address in.
    IpRestricted,
    /// 503: nothing can be decided.
    Unavailable,
}

/// What a request carries to show who it is.
#[derive(Clone)]
pub struct Carried<'a> {
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// The browser's session behind its cookie, where one was looked up.
    pub session: Option<Arc<Opened>>,
    /// Where it comes from, as far as that is known.
    pub address: Option<IpAddr>,
    /// Host and port that were asked for, as they were told.
    pub authority: &'a str,
    /// Thumbprint of the client's certificate, its key proven by the handshake.
    pub certificate: Option<Digest>,
    /// Where to put down who was refused, once that is known.
    pub refused: Option<&'a OnceLock<Arc<Opened>>>,
}

impl<'a> From<&'a HeaderMap> for Carried<'a> {
    fn from(headers: &'a HeaderMap) -> Self {
        let host = headers.get(http::header::HOST).and_then(|h| h.to_str().ok());
        Self {
            headers,
            session: None,
            address: None,
            authority: host.unwrap_or_default(),
            certificate: None,
            refused: None,
        }
    }
}

/// Decides on one request with one policy; `path` is canonical and `host` lower case.
pub fn check(
    policy: &Policy,
    tokens: &Tokens,
    request: (&str, &str, &str),
    carried: Carried<'_>,
    now: Timestamp,
) -> Result<Permit, Denial> {
    let (host, path, method) = request;
    let route = match policy.routes.find(host, path, method) {
        Found::Route(route) => route,
        Found::MethodNotAllowed(..) => return Err(Denial::MethodNotAllowed),
        Found::NotFound => return Err(Denial::NotFound),
        Found::Undecidable => return Err(Denial::InvalidRequest),
    };
    let opened = decide((policy, tokens), (&route, route.requirement(method)), (path, method), &carried, now)?;
    Ok(Permit { route, opened })
}

/// Whether what a request carries satisfies `requirement` of `route`, and for whom; nobody where it is public.
pub fn decide(
    (policy, tokens): (&Policy, &Tokens),
    (route, requirement): (&Route, &Requirement),
    (path, method): (&str, &str),
    carried: &Carried<'_>,
    now: Timestamp,
) -> Result<Option<Arc<Opened>>, Denial> {
    if requirement.public {
        return Ok(None);
    }
    let failed = |error| match error {
        OpenError::Unavailable => Denial::Unavailable,
        OpenError::Invalid | OpenError::Expired | OpenError::Revoked => Denial::InvalidToken,
    };
    let came = credential_for(route.errors, carried.headers);
    // Salesforce knows no malformed credentials, and its programs sign in again at no other answer than this.
    let malformed = match route.errors {
        ErrorStyle::Salesforce => Denial::InvalidToken,
        ErrorStyle::Oauth => Denial::InvalidRequest,
    };
    let (token, bound) = match came {
        Credential::Bearer(token) => (Some(token), false),
        Credential::Dpop(token) => (Some(token), true),
        Credential::None | Credential::Malformed => (None, false),
    };
    let opened = match (came, carried.session.clone(), route.auth) {
        (Credential::Bearer(token) | Credential::Dpop(token), _, Auth::Token | Auth::Both) => {
            let opened = match &route.issuers {
                None => tokens.open_bytes(token, now),
                Some(accepted) => tokens.open_accepted(token, accepted, now),
            };
            match opened {
                // What opens is well formed: the question is put to the others alone.
                Err(OpenError::Invalid) if !is_b64token(token) => return Err(malformed),
                opened => opened.map_err(failed)?,
            }
        }
        (Credential::None, Some(session), Auth::Session | Auth::Both) => {
            tokens.alive(&session, now).map_err(failed)?;
            session
        }
        (Credential::Malformed, _, _) => return Err(malformed),
        (Credential::None | Credential::Bearer(_) | Credential::Dpop(_), _, _) => return Err(Denial::Unauthenticated),
    };
    let refused = |why| {
        if let Some(place) = carried.refused {
            let _ = place.set(opened.clone());
        }
        // The usage view is one of our apps.
        if opened.foreign().is_none() {
            tokens.tally.denied(&opened.entitlement.client, &opened.subject, now);
        }
        Err(why)
    };
    if let Err(why) = entitled(policy, (route, requirement), &opened, carried.address, now) {
        return refused(why);
    }
    let (authority, certificate) = (carried.authority, carried.certificate);
    let shown = Shown { token, bound, headers: carried.headers, authority, path, method, certificate };
    match possession::check((policy, tokens), (route, requirement), &opened, shown, now) {
        Ok(()) => Ok(Some(opened)),
        // A question, not an attempt.
        Err(Denial::UseNonce) => Err(Denial::UseNonce),
        Err(why) => refused(why),
    }
}

/// Whether what was opened is enough for a request from `address`, by the policy in force; asked again while a stream
/// lasts.
pub fn entitled(
    policy: &Policy,
    (route, requirement): (&Route, &Requirement),
    opened: &Opened,
    address: Option<IpAddr>,
    now: Timestamp,
) -> Result<(), Denial> {
    let entitlement = &opened.entitlement;
    let client = if let Some(foreign) = opened.foreign() {
        if !policy.stands_elsewhere(opened, foreign, &route.resource) {
            return Err(Denial::InvalidToken);
        }
        None
    } else {
        let Some(standing) = policy.standing(opened, now).filter(|_| entitlement.opens(&route.resource)) else {
            return Err(Denial::InvalidToken);
        };
        // An app that was moved to another audience opens the new one alone, also with its older tokens. What one
        // exchanged is for an audience of its own, judged with the rest of the exchange.
        let exchanged = opened.special.as_ref().is_some_and(|special| special.more.exchanged_from.is_some());
        if *standing.client.audience != *route.resource && !exchanged {
            return Err(Denial::InvalidToken);
        }
        if !policy.admits(standing.client, standing.user.map(|u| &**u), address, opened.shown()) {
            return Err(Denial::IpRestricted);
        }
        Some(standing.client)
    };
    // A scope taken from the app is gone from its older tokens too.
    let holds =
        |scope: &str| entitlement.scopes.contains(scope) && client.is_none_or(|client| client.scopes.contains(scope));
    let any = requirement.any.is_empty() || requirement.any.iter().any(holds);
    if !any || !requirement.all.iter().all(holds) {
        return Err(Denial::InsufficientScope);
    }
    if !requirement.clients.is_empty() && !requirement.clients.contains(&*entitlement.client) {
        return Err(Denial::ClientNotAllowed);
    }
    Ok(())
}
