//! Who may come in: the bearer of a token of ours for this very audience, whose app and user stand and whose scope is
//! enough (S61).
use super::{READ_SCOPE, SCOPE, answer::Problem};
use crate::{
    clock::Timestamp,
    policy::Policy,
    token::{OpenError, Tokens},
};
use http::{HeaderMap, header::AUTHORIZATION};
use std::net::IpAddr;

/// What a request must show and where it comes from.
pub struct Door<'a> {
    /// `aud` of the tokens that open it.
    pub audience: &'a str,
    /// Whether it changes anything.
    pub writes: bool,
    /// Whose address asks.
    pub address: Option<IpAddr>,
}

/// Who asks, for the record of what they do.
pub fn check(
    headers: &HeaderMap,
    policy: &Policy,
    tokens: &Tokens,
    door: &Door<'_>,
    now: Timestamp,
) -> Result<String, Problem> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let token = match (values.next().map(|v| v.to_str().unwrap_or_default()), values.next()) {
        (None, _) => return Err(Problem::unauthorized(None, "a bearer token is needed")),
        (Some(value), None) => value.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")),
        (Some(_), Some(_)) => None,
    };
    let invalid = |why: &str| Problem::unauthorized(Some("invalid_token"), why);
    let (_, token) = token.ok_or_else(|| invalid("one Authorization header with the scheme Bearer"))?;
    let opened = tokens.open(token.trim(), now).map_err(|why| match why {
        OpenError::Unavailable => Problem::new(503, "nothing can be decided now; try again"),
        OpenError::Invalid | OpenError::Expired | OpenError::Revoked => invalid("the token is not valid"),
    })?;
    // A token that is bound to a key is shown with a proof, which nobody here takes; a device's opens its own routes.
    if opened.special.as_ref().is_some_and(|s| s.more.cnf.is_some() || s.key.is_some() || s.more.asset.is_some()) {
        return Err(invalid("a token that is bound to a key does not open this"));
    }
    let held = &opened.entitlement;
    let standing = policy.standing(&opened, now).filter(|_| *held.audience == *door.audience);
    let standing = standing.ok_or_else(|| invalid("the token is not valid here"))?;
    let refused = |problem| {
        tokens.tally.denied(&held.client, &opened.subject, now);
        Err(problem)
    };
    if !policy.admits(standing.client, standing.user.map(|u| &**u), door.address, opened.shown()) {
        return refused(Problem::new(403, "the app's or the user's policy does not let this address in"));
    }
    // A scope taken from the app is gone from its older tokens too.
    let holds = |scope: &str| held.scopes.contains(scope) && standing.client.scopes.contains(scope);
    if holds(SCOPE) || !door.writes && holds(READ_SCOPE) {
        return Ok(format!("{}/{}", held.client, opened.subject));
    }
    refused(Problem::insufficient(if door.writes { SCOPE } else { READ_SCOPE }))
}
