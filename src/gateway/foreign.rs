//! A request whose token another issuer may have signed with a key that is not known here yet: it waits for the one fetch
//! that is under way, for a while, and is decided on once more.
use super::credential::{Credential, credential_for};
use crate::{
    policy::{Policy, route::Found},
    token::{Tokens, unverified},
};
use http::HeaderMap;
use std::time::Duration;

/// Longest that a request waits for another issuer's keys.
const WAIT: Duration = Duration::from_secs(3);

/// Waits where waiting may change what was decided on a request (host, canonical path, method) with these headers:
/// `true` when it may have. To be asked of a denial, never before a decision.
pub async fn heard(policy: &Policy, tokens: &Tokens, request: (&str, &str, &str), headers: &HeaderMap) -> bool {
    if policy.issuers.is_empty() {
        return false;
    }
    let Found::Route(route) = policy.routes.find(request.0, request.1, request.2) else { return false };
    let (Credential::Bearer(token) | Credential::Dpop(token), Some(accepted)) =
        (credential_for(route.errors, headers), &route.issuers)
    else {
        return false;
    };
    let named = std::str::from_utf8(token).ok().and_then(|token| unverified(token, accepted));
    let Some((issuer, kid)) = named else { return false };
    let Some(mut round) = tokens.issuers.of(issuer).awaited(issuer, kid.as_deref()) else { return false };
    // Whether it came or not: the keys say.
    tokio::time::timeout(WAIT, round.changed()).await.is_ok()
}
