//! Token revocation (RFC 7009).
use super::{
    Cx, client_auth,
    error::{Code, OAuthError},
    params::Params,
};
use crate::{
    grant,
    model::{AuthMethod, Authorization, Client, authorization::Presented},
    store::Changes,
    token::OpenError,
};
use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};

/// A caller ends only its own tokens (S46); an unknown token is no error (S47). A client without a
/// secret, or with keys for assertions alone, names itself: holding the token is what counts.
pub async fn answer(request: &Request<Bytes>, cx: &Cx) -> Result<Option<Value>, OAuthError> {
    let params = Params::read(request)?;
    let failed = || OAuthError::new(Code::InvalidClient, "client authentication failed");
    let mut caller = client_auth::authenticate(request.headers(), &params, cx)?.ok_or_else(failed)?;
    if !caller.proven && caller.client.auth_method != AuthMethod::None {
        return Err(failed());
    }
    caller.spend(cx).await?;
    end(params.require("token", "token is missing")?, Some(&caller.client), cx).await?;
    Ok(None)
}

/// Ends `token`; where a caller is named, its own alone. Without one, holding the token is what counts.
pub async fn end(token: &str, caller: Option<&Client>, cx: &Cx) -> Result<(), OAuthError> {
    let owns = |client: &str| caller.is_none_or(|c| *c.id == *client);
    if let Some((id, secret)) = Authorization::parse(token) {
        return revoke_refresh_token(id, secret, owns, cx).await;
    }
    match cx.tokens.open(token, cx.now) {
        Ok(opened) if owns(&opened.entitlement.client) => {
            cx.tokens.revoke(&opened, cx.now).await?;
            cx.audit.write(json!({"event": "revoke", "outcome": "revoked", "client": opened.entitlement.client,
                "subject": opened.subject, "authorization": opened.authorization, "time": cx.now}));
        }
        Err(OpenError::Unavailable) => {
            return Err(OAuthError::new(Code::TemporarilyUnavailable, "the service cannot decide now; try again"));
        }
        Ok(_) | Err(OpenError::Invalid | OpenError::Expired | OpenError::Revoked) => {}
    }
    Ok(())
}

/// With a refresh token goes everything issued from its authorization (S49); only its holder can do that.
async fn revoke_refresh_token(id: &str, secret: &str, owns: impl Fn(&str) -> bool, cx: &Cx) -> Result<(), OAuthError> {
    let Some(record) = cx.store.get(&Authorization::key(id), cx.now).await? else {
        // Another node may have ended it just now: when we say that it has ended, it has ended here too.
        return Ok(cx.tokens.follow(cx.now).await?);
    };
    let authorization: Authorization = grant::stored(&record)?;
    let known = authorization.refresh.as_ref().is_some_and(|r| r.judge(secret) != Presented::Unknown);
    if !known || !owns(&authorization.client) {
        return Ok(());
    }
    let (change, ending) = grant::ending(id, cx.now);
    cx.tokens.commit(Changes(vec![change]), vec![ending], cx.now).await?;
    cx.audit.write(json!({"event": "revoke", "outcome": "revoked", "client": authorization.client,
        "subject": authorization.subject, "authorization": id, "time": cx.now}));
    Ok(())
}
