//! The Salesforce paths through the provider's door: what its clients send, and what they insist on.
mod clients;
mod errors;
mod flows;
mod identity;
mod password;
mod scopes;
mod sf;
mod single_access;

use super::people::{
    self, AuthMethod, Browser, Bytes, CALLBACK, Client, Clock, Policy, Request, SECRET, ScopeSet, Value, World, answer,
    app, json, opens, read,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use portcullis::{
    policy::salesforce::Salesforce,
    secret::{Digest, Plain},
};
use std::{collections::BTreeMap, sync::Arc};

const ORGANIZATION: &str = "00D000000000062";
const INSTANCE: &str = "https://acme.my.example";
const TOKEN: &str = "/services/oauth2/token";
const BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// As long as jsforce and sf send it.
fn verifier() -> String {
    "v".repeat(171)
}

/// An app of a program written for Salesforce, with a secret.
fn connected(id: &str) -> Client {
    let mut client = app(id);
    client.auth_method = AuthMethod::ClientSecret;
    client.secrets = vec![Digest::of(SECRET.as_bytes())];
    client.scopes = ScopeSet::of(&["api", "web", "id", "openid", "email", "profile", "refresh_token", "full"]);
    client.grants.insert("client_credentials".to_owned());
    client.run_as = Some("alice".into());
    client.interactive.response_types = ["code", "token", "id_token token"].map(str::to_owned).into();
    client
}

fn organization(policy: &mut Policy) {
    let mut add = |id: &str, change: fn(&mut Client)| {
        let mut client = connected(id);
        change(&mut client);
        policy.clients.insert(id.into(), Arc::new(client));
    };
    add("consumer", |_| {});
    add("platform", |c| {
        c.auth_method = AuthMethod::None;
        c.secrets.clear();
        let own = ["com.example.app:/cb", "https://id.example/services/oauth2/success"];
        c.interactive.redirect_uris.extend(own.map(str::to_owned));
    });
    add("lenient", |c| {
        c.salesforce.query_parameters = true;
        c.salesforce.query_tokens = true;
    });
    add("named", |c| c.salesforce.secret = Some(Plain::of(SECRET)));
    policy.salesforce = Some(Arc::new(Salesforce {
        organization: ORGANIZATION.into(),
        instance_url: INSTANCE.into(),
        audiences: vec!["https://login.salesforce.com".to_owned(), "login.salesforce.com".to_owned()],
        soap_app: None,
    }));
}

async fn world() -> World {
    super::provider::world_with(|policy| {
        people::people(policy);
        organization(policy);
    })
    .await
}

fn authorize(client: &str, more: &[(&str, &str)]) -> String {
    let challenge = Digest::text(&verifier());
    let mut fields = BTreeMap::from([
        ("response_type", "code"),
        ("client_id", client),
        ("redirect_uri", CALLBACK),
        ("state", "xyz"),
        ("code_challenge", &challenge),
    ]);
    for (name, value) in more {
        if value.is_empty() {
            fields.remove(name)
        } else {
            fields.insert(name, value)
        };
    }
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    format!("/services/oauth2/authorize?{query}")
}

async fn token(w: &World, fields: &[(&str, &str)]) -> (u16, Value) {
    let response = w.post(TOKEN, None, fields).await;
    assert_eq!(response.headers()["cache-control"], "no-store", "S18");
    (response.status().as_u16(), read(&response))
}

/// Signs in and redeems the code.
async fn signed_in(w: &World, client: &str, more: &[(&str, &str)]) -> Value {
    let code = Browser::new(w).authorize(&authorize(client, more), "alice").await["code"].clone();
    let verifier = verifier();
    let mut fields = vec![
        ("grant_type", "authorization_code"),
        ("client_id", client),
        ("code", &code),
        ("redirect_uri", CALLBACK),
        ("code_verifier", &verifier),
    ];
    if client != "platform" {
        fields.push(("client_secret", SECRET));
    }
    let (status, body) = token(w, &fields).await;
    assert_eq!(status, 200, "{body}");
    body
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("{name} in {value}"))
}

async fn send(w: &World, request: http::request::Builder, body: &str) -> http::Response<Bytes> {
    w.provider.handle(request.body(Bytes::from(body.to_owned())).unwrap()).await
}
