//! An app's policies, each at every door where it matters; `docs/reference/policies.md` names these tests.
mod documented;
mod gate;
mod network;
mod secrets;
mod telling;

pub use documented::sources;

use super::people::{
    AuthMethod, Browser, Bytes, CALLBACK, Client, Clock, Level, Policy, Request, SECRET, TokenFormat, Value, World,
    answer, app, json, read, redeem, refresh, request, tokens, world,
};
use portcullis::{
    model::{Network, Policies, Ranges, Relaxation},
    provider::ClientAddress,
    secret::Digest,
};
use std::sync::Arc;

/// Puts a changed app into force, as a reload does.
fn change(w: &World, id: &str, with: impl FnOnce(&mut Client)) {
    w.reload(|policy| {
        let mut client = app(id);
        with(&mut client);
        policy.clients.insert(id.into(), Arc::new(client));
    });
}

/// A form posted from `address`.
async fn post(w: &World, address: &str, path: &str, fields: &[(&str, &str)]) -> (u16, Value) {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let request = Request::post(path).header("content-type", "application/x-www-form-urlencoded");
    let mut request = request.body(Bytes::from(body)).unwrap();
    request.extensions_mut().insert(ClientAddress(address.parse().unwrap()));
    let response = w.provider.handle(request).await;
    (response.status().as_u16(), read(&response))
}

/// What `userinfo` says to whoever shows `token` from `address`.
async fn userinfo(w: &World, address: &str, token: &Value) -> u16 {
    let request =
        Request::get("/oauth2/userinfo").header("authorization", format!("Bearer {}", token.as_str().unwrap()));
    let mut request = request.body(Bytes::new()).unwrap();
    request.extensions_mut().insert(ClientAddress(address.parse().unwrap()));
    w.provider.handle(request).await.status().as_u16()
}

/// The claims of a JWT, unverified.
fn claims(jwt: &Value) -> Value {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let body = jwt.as_str().unwrap().split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).unwrap()).unwrap()
}
