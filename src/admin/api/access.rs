//! Who may come in: the bearer of a token of ours for this very audience, whose app and user stand and whose scope is
//! enough (S61).
use super::{READ_SCOPE, SCOPE, answer::Problem};
use crate::{
    clock::Timestamp,
    policy::Policy,
    token::{OpenError, Tokens},
};
use http::{HeaderMap, header::AUTHORIZATION};

/// Who asks, for the record of what they do.
pub fn check(
    headers: &HeaderMap,
    policy: &Policy,
    tokens: &Tokens,
    (audience, writes): (&str, bool),
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
    let held = &opened.entitlement;
    let client = policy.clients.get(&*held.client).filter(|c| !c.blocked && !policy.has_ended(&opened.subject));
    let client =
        client.filter(|_| *held.audience == *audience).ok_or_else(|| invalid("the token is not valid here"))?;
    // A scope taken from the app is gone from its older tokens too.
    let holds = |scope: &str| held.scopes.contains(scope) && client.scopes.contains(scope);
    if holds(SCOPE) || !writes && holds(READ_SCOPE) {
        return Ok(format!("{}/{}", held.client, opened.subject));
    }
    tokens.tally.denied(&held.client, &opened.subject, now);
    Err(Problem::insufficient(if writes { SCOPE } else { READ_SCOPE }))
}
