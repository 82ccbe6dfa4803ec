//! THE token pipeline: parameters → client → may it? → the grant → scopes → mint → commit → answer.
use super::{
    Cx,
    client_auth::{self, Authenticated},
    error::{Code, OAuthError},
    params::Params,
};
use crate::{
    grant::{self, Grant, TokenRequest},
    model::{AuthMethod, Client, ScopeSet},
    secret,
    store::{Changes, StoreError},
    token::Claims,
};
use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};

/// What the log may know of a token request.
#[derive(Default)]
pub struct Trace {
    /// The grant type, `unknown` if it is none of ours.
    pub grant: &'static str,
    /// The client.
    pub client: String,
    /// The subject.
    pub subject: String,
    /// The granted scopes.
    pub scopes: String,
}

/// Answers `POST /oauth2/token` (RFC 6749 §3.2).
pub async fn answer(request: &Request<Bytes>, cx: &Cx, trace: &mut Trace) -> Result<Value, OAuthError> {
    trace.grant = "unknown";
    let params = Params::read(request)?;
    let grant = which(params.require("grant_type", "grant_type is missing")?)?;
    trace.grant = grant.grant_type();
    let (caller, client) = caller(request, &params, grant, cx)?;
    trace.client = client.as_ref().map(|c| c.id.to_string()).unwrap_or_default();
    if let Some(client) = &client {
        may_use(client, grant)?;
    }
    let proven = caller.as_ref().is_some_and(|c| c.proven);
    let redeemed = grant.redeem(&TokenRequest { params: &params, client: client.as_ref(), proven }, cx).await?;
    may_use(&redeemed.client, grant)?;
    trace.subject = redeemed.subject.to_string();
    let scopes = narrow(params.get("scope"), &redeemed.scopes)?;
    trace.scopes = scopes.to_string();

    let claims = Claims {
        iss: cx.policy.issuer.to_string(),
        sub: redeemed.subject.to_string(),
        client_id: redeemed.client.id.to_string(),
        aud: redeemed.client.audience.to_string(),
        scope: scopes.to_string(),
        jti: secret::random_id(),
        iat: cx.now,
        exp: cx.now.plus(redeemed.client.token_lifetime),
    };
    let token = cx.tokens.mint(&claims, redeemed.client.token_format, redeemed.client.signing_algorithm);
    let mut changes = redeemed.changes;
    changes.extend(caller.and_then(|c| c.once));
    if !changes.is_empty() {
        cx.store.commit(Changes(changes), cx.now).await.map_err(used_before)?;
    }
    Ok(json!({"access_token": token, "token_type": "Bearer",
        "expires_in": redeemed.client.token_lifetime, "scope": claims.scope}))
}

fn which(grant_type: &str) -> Result<&'static dyn Grant, OAuthError> {
    let unknown = || OAuthError::new(Code::UnsupportedGrantType, "grant_type is not supported");
    grant::all().into_iter().find(|g| g.grant_type() == grant_type).ok_or_else(unknown)
}

type Caller = (Option<Authenticated>, Option<std::sync::Arc<Client>>);

/// A client that can authenticate must, except where the grant itself proves it (RFC 7521 §4.1).
fn caller(request: &Request<Bytes>, params: &Params, grant: &dyn Grant, cx: &Cx) -> Result<Caller, OAuthError> {
    let caller = client_auth::authenticate(request.headers(), params, cx)?;
    let named = grant.names_client(params);
    if let (Some(caller), Some(named)) = (&caller, &named)
        && *caller.client.id != **named
    {
        return Err(OAuthError::new(Code::InvalidGrant, "the assertion is invalid").detail("issued by another"));
    }
    let must_prove = |c: &Authenticated| !c.proven && named.is_none() && c.client.auth_method != AuthMethod::None;
    if caller.as_ref().is_some_and(must_prove) {
        return Err(OAuthError::new(Code::InvalidClient, "client authentication failed").detail("no credentials"));
    }
    let client = match &caller {
        Some(caller) => Some(caller.client.clone()),
        None => named.and_then(|id| cx.policy.clients.get(id.as_str()).cloned()),
    };
    Ok((caller, client))
}

fn may_use(client: &Client, grant: &dyn Grant) -> Result<(), OAuthError> {
    if client.blocked {
        return Err(OAuthError::new(Code::UnauthorizedClient, "this app is blocked by admin"));
    }
    if !client.grants.contains(grant.grant_type()) {
        return Err(OAuthError::new(Code::UnauthorizedClient, "this app may not use this grant"));
    }
    Ok(())
}

/// Asked scopes must be among the allowed ones (S21); without a request all allowed ones are granted.
fn narrow(asked: Option<&str>, allowed: &ScopeSet) -> Result<ScopeSet, OAuthError> {
    let invalid = |why| OAuthError::new(Code::InvalidScope, why);
    match asked {
        None => Ok(allowed.clone()),
        Some(text) => {
            let asked = ScopeSet::parse(text).ok_or_else(|| invalid("scope is malformed or too long"))?;
            allowed.contains_all(&asked).then_some(asked).ok_or_else(|| invalid("scope exceeds what this app may have"))
        }
    }
}

fn used_before(error: StoreError) -> OAuthError {
    match error {
        StoreError::Conflict(key) => {
            OAuthError::new(Code::InvalidGrant, "the assertion was used before").detail(format!("replay of {key}"))
        }
        other => other.into(),
    }
}
