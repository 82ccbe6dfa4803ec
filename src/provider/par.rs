//! Pushed authorization requests (RFC 9126): checked before the browser sees anything, used once.
use super::{
    Cx,
    authorization_request::AuthorizationRequest,
    authorize, client_auth,
    error::{Code, OAuthError},
    params::Params,
    possession,
};
use crate::{
    model::AuthMethod,
    secret::{self, Digest},
    store::{Change, Changes, Expect, Record, StoreError},
};
use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};

const PREFIX: &str = "urn:ietf:params:oauth:request_uri:";
/// Seconds that a handle may be used.
const LIFETIME: i64 = 90;

fn key(handle: &str) -> String {
    format!("par/{}", Digest::text(handle))
}

/// `POST /oauth2/par`.
pub async fn push(request: &Request<Bytes>, cx: &Cx) -> Result<Value, OAuthError> {
    let params = Params::read(request)?;
    let failed = || OAuthError::new(Code::InvalidClient, "client authentication failed");
    let caller = client_auth::authenticate(request.headers(), &params, cx)?.ok_or_else(failed)?;
    if !caller.proven && caller.client.auth_method != AuthMethod::None {
        return Err(failed());
    }
    if params.get("request_uri").is_some() {
        return Err(OAuthError::new(Code::InvalidRequest, "request_uri cannot be pushed"));
    }
    let params = params.with("client_id", &caller.client.id);
    let shown = possession::at_endpoint(request, super::paths::PAR, cx)?;
    let mut checked = authorize::check(&params, cx).map_err(|refusal| match refusal {
        authorize::Refusal::Page(error) | authorize::Refusal::Redirect(_, error) => error,
    })?;
    if let Some(shown) = &shown {
        // RFC 9449 §10.1: both name one key.
        if checked.key.is_some_and(|key| key != shown.key) {
            return Err(OAuthError::new(Code::InvalidDpopProof, "the DPoP proof is missing or does not hold")
                .detail("dpop_jkt names another key"));
        }
        checked.key = Some(shown.key);
    }
    let handle = secret::random_token();
    let record = Record::passing(key(&handle), cx.now.plus(LIFETIME), &checked);
    let changes = std::iter::once(Change::Put(record, Expect::Absent)).chain(caller.once);
    let changes = changes.chain(shown.map(|s| s.once)).collect();
    cx.store.commit(Changes(changes), cx.now).await.map_err(|error| match error {
        StoreError::Conflict(key) if key.starts_with("proof/") => possession::used_before(),
        other => client_auth::replayed(other),
    })?;
    Ok(json!({"request_uri": format!("{PREFIX}{handle}"), "expires_in": LIFETIME}))
}

/// The request that `request_uri` stands for; it is used up.
pub async fn take(params: &Params, cx: &Cx) -> Result<Option<AuthorizationRequest>, OAuthError> {
    let Some(uri) = params.get("request_uri") else { return Ok(None) };
    let gone = || OAuthError::new(Code::InvalidRequestUri, "request_uri is unknown, used or expired");
    let handle = uri.strip_prefix(PREFIX).ok_or_else(gone)?;
    let record = cx.store.get(&key(handle), cx.now).await?.ok_or_else(gone)?;
    let request: AuthorizationRequest = crate::grant::stored(&record)?;
    if params.get("client_id") != Some(&request.client) {
        return Err(gone());
    }
    let used = Change::Delete(record.key, Expect::Version(record.version));
    match cx.store.commit(Changes(vec![used]), cx.now).await {
        Ok(()) => Ok(Some(request)),
        Err(StoreError::Conflict(_)) => Err(gone()),
        Err(e) => Err(e.into()),
    }
}
