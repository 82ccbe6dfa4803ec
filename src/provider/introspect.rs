//! Token introspection (RFC 7662).
use super::{
    Cx, client_auth,
    error::{Code, OAuthError},
    params::Params,
};
use crate::token::{More, OpenError};
use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};

/// A caller must authenticate and sees only its own tokens (S46), or all where its policy says so; all else is inactive
/// (S48).
pub async fn answer(request: &Request<Bytes>, cx: &Cx) -> Result<Value, OAuthError> {
    let params = Params::read(request)?;
    let caller = client_auth::authenticate(request.headers(), &params, cx)?.filter(|c| c.proven);
    let mut caller = caller.ok_or_else(|| OAuthError::new(Code::InvalidClient, "client authentication failed"))?;
    caller.spend(cx).await?;
    let token = params.require("token", "token is missing")?;
    let inactive = json!({"active": false});
    let opened = match cx.tokens.open(token, cx.now) {
        Ok(opened) => opened,
        Err(OpenError::Unavailable) => {
            return Err(OAuthError::new(Code::TemporarilyUnavailable, "the service cannot decide now; try again"));
        }
        Err(OpenError::Invalid | OpenError::Expired | OpenError::Revoked) => return Ok(inactive),
    };
    let may = *opened.entitlement.client == *caller.client.id || caller.client.policies.introspect_all;
    if !may || caller.client.blocked || cx.policy.standing(&opened, cx.now).is_none() {
        return Ok(inactive);
    }
    let mut told = json!({"active": true, "scope": opened.entitlement.scopes.to_string(), "client_id": opened.entitlement.client,
        "username": opened.subject, "sub": opened.subject, "token_type": "Bearer", "aud": audience(&opened.entitlement.audience),
        "iss": cx.policy.issuer, "jti": opened.jti, "iat": opened.issued, "nbf": opened.issued,
        "exp": opened.expires});
    if let Some(special) = &opened.special {
        tell(&special.more, &mut told);
    }
    Ok(told)
}

/// What few tokens say: RFC 8693 §4.1 and §4.4, RFC 9449 §6.2, RFC 7800.
fn tell(more: &More, told: &mut Value) {
    if more.cnf.as_ref().is_some_and(|cnf| cnf.jkt.is_some()) {
        told["token_type"] = "DPoP".into();
    }
    let members = [
        ("cnf", json!(more.cnf)),
        ("act", json!(more.act)),
        ("may_act", json!(more.may_act)),
        ("asset", json!(more.asset)),
    ];
    for (name, value) in members.into_iter().filter(|(_, value)| !value.is_null()) {
        told[name] = value;
    }
}

/// A text, or a list where there are several (RFC 7662 §2.2).
fn audience(all: &str) -> Value {
    if all.contains(' ') { json!(all.split(' ').collect::<Vec<_>>()) } else { all.into() }
}
