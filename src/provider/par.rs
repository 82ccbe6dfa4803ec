//! Pushed authorization requests (RFC 9126): checked before the browser sees anything, used once.
use super::{
    Cx,
    authorization_request::AuthorizationRequest,
    authorize, client_auth,
    error::{Code, OAuthError},
    params::Params,
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
    let checked = authorize::check(&params, cx).map_err(|refusal| match refusal {
        authorize::Refusal::Page(error) | authorize::Refusal::Redirect(_, error) => error,
    })?;
    let handle = secret::random_token();
    let record = Record::passing(key(&handle), cx.now.plus(LIFETIME), &checked);
    let changes = std::iter::once(Change::Put(record, Expect::Absent)).chain(caller.once).collect();
    cx.store.commit(Changes(changes), cx.now).await.map_err(client_auth::replayed)?;
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
