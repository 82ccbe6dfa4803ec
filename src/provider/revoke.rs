//! Token revocation (RFC 7009).
use super::{
    Cx, client_auth,
    error::{Code, OAuthError},
    params::Params,
};
use crate::{model::AuthMethod, token::OpenError};
use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};

/// A caller ends only its own tokens (S46); an unknown token is no error (S47). A client without a
/// secret, or with keys for assertions alone, names itself: holding the token is what counts.
pub async fn answer(request: &Request<Bytes>, cx: &Cx) -> Result<Option<Value>, OAuthError> {
    let params = Params::read(request)?;
    let failed = || OAuthError::new(Code::InvalidClient, "client authentication failed");
    let caller = client_auth::authenticate(request.headers(), &params, cx)?.ok_or_else(failed)?;
    if !caller.proven && caller.client.auth_method != AuthMethod::None {
        return Err(failed());
    }
    let token = params.require("token", "token is missing")?;
    match cx.tokens.open(token, cx.now) {
        Ok(opened) if opened.client == caller.client.id => {
            cx.tokens.revoke(&opened, cx.now).await?;
            cx.audit.write(json!({"event": "revoke", "outcome": "revoked", "client": opened.client,
                "subject": opened.subject, "authorization": opened.authorization, "time": cx.now}));
        }
        Err(OpenError::Unavailable) => {
            return Err(OAuthError::new(Code::TemporarilyUnavailable, "the service cannot decide now; try again"));
        }
        Ok(_) | Err(OpenError::Invalid | OpenError::Expired | OpenError::Revoked) => {}
    }
    Ok(None)
}
