//! Userinfo (OIDC Core §5.3): what the scopes of a token let its app know of the subject.
use super::{
    Cx,
    error::{Code, OAuthError},
    params::Params,
    possession::{self, Shown},
    restriction,
};
use crate::{
    grant,
    model::{Authorization, Client, User, user::SCOPE_CLAIMS},
    token::{OpenError, Opened},
};
use bytes::Bytes;
use http::{Method, Request, header};
use serde_json::{Value, json};
use std::sync::Arc;

/// A token that holds, its app, and the person it acts for.
pub struct Holder {
    /// What the token says.
    pub opened: Arc<Opened>,
    /// The app, not blocked.
    pub client: Arc<Client>,
    /// The person, active.
    pub user: Arc<User>,
}

/// Whose `token` is.
pub async fn holder(shown: &Shown<'_>, cx: &Cx) -> Result<Holder, OAuthError> {
    let refused = |code, why: &'static str| OAuthError::new(code, why);
    let invalid = || refused(Code::InvalidToken, "the token is invalid or has ended");
    let opened = cx.tokens.open(shown.token, cx.now).map_err(|e| match e {
        OpenError::Unavailable => refused(Code::TemporarilyUnavailable, "the service cannot decide now; try again"),
        OpenError::Invalid | OpenError::Expired | OpenError::Revoked => invalid(),
    })?;
    // A device's token opens the routes that ask for it, and nothing else.
    if opened.special.as_ref().is_some_and(|s| s.more.asset.is_some()) {
        return Err(invalid());
    }
    possession::at_resource(&opened, shown, cx)?;
    let client = cx.policy.standing(&opened, cx.now).ok_or_else(invalid)?.client;
    let user = cx.user(&opened.subject).await?.filter(|u| u.active).ok_or_else(invalid)?;
    restriction::address(client, Some(&user), opened.shown(), cx)
        .map_err(|e| OAuthError { code: Code::InvalidToken, ..e })?;
    Ok(Holder { client: client.clone(), user, opened })
}

/// The claims; the token comes in the header, or in the form of a POST (RFC 6750 §2.1, §2.2).
pub async fn answer(request: &Request<Bytes>, cx: &Cx) -> Result<Value, OAuthError> {
    let refused = |code, why: &'static str| OAuthError::new(code, why);
    let invalid = || refused(Code::InvalidToken, "the token is invalid or has ended");
    let header = request.headers().get(header::AUTHORIZATION);
    let form = (request.method() == Method::POST && !request.body().is_empty()).then(|| Params::read(request));
    let form = form.transpose()?;
    let posted = form.as_ref().and_then(|f| f.get("access_token"));
    let (token, bound) = match (header, posted) {
        (Some(_), Some(_)) => return Err(refused(Code::InvalidRequest, "more than one token")),
        (None, Some(token)) => (token, false),
        (Some(value), None) => {
            let (scheme, token) = value.to_str().ok().and_then(|v| v.split_once(' ')).ok_or_else(invalid)?;
            let bound = scheme.eq_ignore_ascii_case("dpop");
            if !bound && !scheme.eq_ignore_ascii_case("bearer") {
                return Err(invalid());
            }
            (token.trim(), bound)
        }
        (None, None) => return Err(invalid()),
    };
    let shown = Shown { token, bound, request, path: super::paths::USERINFO };
    let Holder { opened, client, user } = holder(&shown, cx).await?;
    let holds = |scope: &str| opened.entitlement.scopes.contains(scope) && client.scopes.contains(scope);
    if !holds("openid") {
        return Err(refused(Code::InsufficientScope, "the token does not carry the scope openid"));
    }
    let mut claims = json!({ "sub": user.username });
    let of_scopes = SCOPE_CLAIMS.iter().filter(|(scope, _)| holds(scope)).flat_map(|(_, names)| names.iter());
    let record = match &opened.authorization {
        Some(id) => cx.store.get(&Authorization::key(id), cx.now).await?,
        None => None,
    };
    let authorization = record.map(|r| grant::stored::<Authorization>(&r)).transpose()?;
    let by_name = authorization.as_ref().map(|a| a.claims.userinfo.as_slice()).unwrap_or_default();
    for name in of_scopes.copied().chain(by_name.iter().map(String::as_str)) {
        if let Some(value) = user.claim(name) {
            claims[name] = value;
        }
    }
    Ok(claims)
}
