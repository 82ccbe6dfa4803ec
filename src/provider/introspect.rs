//! Token introspection (RFC 7662).
use super::{
    Cx, client_auth,
    error::{Code, OAuthError},
    params::Params,
};
use crate::token::OpenError;
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
    Ok(json!({"active": true, "scope": opened.entitlement.scopes.to_string(), "client_id": opened.entitlement.client,
        "username": opened.subject, "sub": opened.subject, "token_type": "Bearer", "aud": opened.entitlement.audience,
        "iss": cx.policy.issuer, "jti": opened.jti, "iat": opened.issued, "nbf": opened.issued,
        "exp": opened.expires}))
}
