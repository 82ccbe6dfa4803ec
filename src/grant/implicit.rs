//! User-agent flow: the token comes straight back with the redirect (RFC 6749 §4.2). Off unless an app's policy names
//! its response types. No refresh token, ever; and what is issued is an authorization like any other, that can be ended.
use serde_json::Value;

/// Fields of the fragment, out of a token response.
pub fn fields(answer: &Value, id_token: bool) -> Vec<(&'static str, String)> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let wanted = ["access_token", "token_type", "expires_in", "scope", "id_token"];
    wanted
        .into_iter()
        .filter(|name| *name != "id_token" || id_token)
        .filter_map(|name| answer.get(name).map(|value| (name, text(value))))
        .collect()
}
