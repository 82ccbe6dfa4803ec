//! Answers of the engine in the shape that Salesforce's clients read.
use crate::{
    clock::Timestamp,
    model::{Client, TokenFormat},
    policy::salesforce::Salesforce,
    secret::Plain,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

/// Adds `instance_url`, `id`, `issued_at` and `signature` to the answer of a grant. `shown` is the secret that this very
/// request carried: it is known there, whatever form the app's file keeps it in. Without it the one that the file names
/// by reference signs; where there is neither, `signature` is left out, since nobody could check it.
pub fn token(
    mut answer: Value,
    client: &Client,
    subject: &str,
    shown: Option<&Plain>,
    settings: &Salesforce,
    now: Timestamp,
) -> Value {
    let id = settings.identity_url(subject);
    let issued_at = format!("{}000", now.0);
    if let Some(secret) = shown.or(client.salesforce.secret.as_ref()) {
        let signature = secret.sign(format!("{id}{issued_at}").as_bytes());
        answer["signature"] = STANDARD.encode(signature).into();
    }
    if client.token_format == TokenFormat::Jwt {
        answer["token_format"] = "jwt".into();
    }
    if let Some(fields) = answer.as_object_mut() {
        fields.remove("expires_in");
    }
    answer["instance_url"] = (*settings.instance_url).into();
    answer["id"] = id.into();
    answer["issued_at"] = issued_at.into();
    answer
}

/// Fields of the user-agent flow's fragment.
pub fn fragment(answer: &Value, id_token: bool) -> Vec<(&'static str, String)> {
    let wanted =
        ["access_token", "refresh_token", "instance_url", "id", "issued_at", "signature", "scope", "token_type"];
    let wanted = wanted.into_iter().chain(id_token.then_some("id_token"));
    wanted.filter_map(|name| answer[name].as_str().map(|value| (name, value.to_owned()))).collect()
}

/// The answer to a device: the code as eight characters without the dash that people are shown elsewhere.
pub fn device(answer: &Value) -> Value {
    let code = answer["user_code"].as_str().unwrap_or_default().replace('-', "");
    json!({"device_code": answer["device_code"], "user_code": code,
        "verification_uri": answer["verification_uri"], "interval": answer["interval"]})
}

/// What introspection tells.
pub fn introspection(answer: &Value) -> Value {
    if answer["active"] != true {
        return json!({"active": false});
    }
    let mut told = json!({"token_type": "access_token"});
    for name in ["active", "scope", "client_id", "username", "sub", "exp", "iat", "nbf"] {
        told[name] = answer[name].clone();
    }
    for name in ["cnf", "act", "may_act"] {
        if let Some(value) = answer.get(name) {
            told[name] = value.clone();
        }
    }
    told
}
