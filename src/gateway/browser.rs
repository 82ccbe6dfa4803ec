//! What a browser is shown that navigates and may not pass, on routes that take its session: never a line of JSON where a
//! person can do something about it.
use super::{framing::opens_websocket, guard::Denial, host::authority};
use crate::{
    clock::Timestamp,
    policy::{
        Policy,
        route::{Auth, Requirement, Route},
    },
    provider::gate_session::navigates,
    token::Opened,
};
use http::header::{AUTHORIZATION, ORIGIN};
use pingora::http::RequestHeader;

/// Seconds within which somebody who has just signed in is not sent to sign in again: whatever keeps them out, that
/// does not help.
const JUST: i64 = 5;

/// What a refused browser is shown.
#[derive(Debug, PartialEq, Eq)]
pub enum Shown {
    /// The way to sign in, and back.
    SignIn,
    /// The page for this error.
    Page(&'static str),
    /// What every program gets.
    Json,
}

impl Shown {
    /// To a request that was refused with `denial` along `route`, having shown this session.
    pub fn to(
        request: &RequestHeader,
        denial: Denial,
        (policy, route): (&Policy, &Route),
        session: Option<&Opened>,
        now: Timestamp,
    ) -> Self {
        if !browses(request, route) {
            return Self::Json;
        }
        let just = session.is_some_and(|session| now < session.issued.plus(JUST));
        let requirement = route.requirement(request.method.as_str());
        // Whoever signs in to an app for another resource would be refused as before, and so on.
        let app = policy.people.sign_in.get(&authority(request)).and_then(|app| policy.clients.get(app.as_str()));
        let app = app.filter(|app| !just && *app.audience == *route.resource);
        match denial {
            Denial::Unauthenticated | Denial::InvalidToken if app.is_some() => Self::SignIn,
            // The app has been given scopes since they signed in to it.
            Denial::InsufficientScope if app.is_some_and(|app| grants(requirement, |s| app.scopes.contains(s))) => {
                Self::SignIn
            }
            Denial::InvalidToken
            | Denial::InsufficientScope
            | Denial::ClientNotAllowed
            | Denial::OtherToken
            | Denial::NotProven
            | Denial::NotBound
            | Denial::NotItsCertificate
            | Denial::IpRestricted => Self::Page("not_allowed"),
            Denial::Unavailable => Self::Page("unavailable"),
            Denial::Unauthenticated
            | Denial::NotFound
            | Denial::MethodNotAllowed
            | Denial::InvalidRequest
            | Denial::Misdirected
            | Denial::InvalidProof
            | Denial::UseNonce => Self::Json,
        }
    }
}

/// Whether somebody looks at what is answered: a browser navigates, on a route that takes its session.
pub fn browses(request: &RequestHeader, route: &Route) -> bool {
    let navigates = || navigates(&request.method, &request.headers) && !request.headers.contains_key(AUTHORIZATION);
    route.auth != Auth::Token && navigates()
}

/// Whether a page of another origin opens a WebSocket: it could speak with the browser's session, and read what comes
/// (RFC 6455 §10.2). A program names no origin, and holds the session itself.
pub fn opens_from_elsewhere(request: &RequestHeader, route: &Route) -> bool {
    let Some(origin) = request.headers.get(ORIGIN).filter(|_| opens_websocket(&request.headers)) else { return false };
    let own = format!("https://{}", authority(request));
    let cors = route.terms.as_ref().and_then(|terms| terms.cors.as_ref());
    !origin.as_bytes().eq_ignore_ascii_case(own.as_bytes()) && !cors.is_some_and(|cors| cors.trusts(origin))
}

fn grants(requirement: &Requirement, has: impl Fn(&str) -> bool) -> bool {
    requirement.all.iter().all(&has) && (requirement.any.is_empty() || requirement.any.iter().any(&has))
}
