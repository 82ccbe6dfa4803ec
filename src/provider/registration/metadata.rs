//! Client metadata (RFC 7591 §2): each field read by its own rule, and what is not understood ignored.
use super::super::error::{Code, OAuthError};
use crate::{
    model::{ScopeSet, registered::Metadata},
    policy::registration::{RedirectKind, Registration},
};
use serde_json::Value;

/// Longest URI, bytes.
const LONGEST_URI: usize = 2000;
/// Longest name or other text, bytes.
const LONGEST: usize = 200;
/// Entries of a list at most.
const MOST: usize = 16;
/// Longest key set, bytes.
const LONGEST_KEYS: usize = 16 << 10;
/// Members of private and symmetric keys (RFC 7518 §6).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
/// What the server would have to fetch or call: nothing that came from outside makes it open a connection.
const FETCHED: [(&str, &str); 5] = [
    ("jwks_uri", "jwks_uri: keys are taken by value, in jwks"),
    ("sector_identifier_uri", "sector_identifier_uri: not supported"),
    ("request_uris", "request_uris: not supported"),
    ("backchannel_logout_uri", "backchannel_logout_uri: not for apps that register themselves"),
    ("initiate_login_uri", "initiate_login_uri: not supported"),
];

fn wrong(public: &'static str) -> OAuthError {
    OAuthError::new(Code::InvalidClientMetadata, public)
}

/// What an app says of itself, each value one that it may have.
pub fn read(value: &Value, rules: &Registration) -> Result<Metadata, OAuthError> {
    if value.get("software_statement").is_some() {
        return Err(OAuthError::new(Code::UnapprovedSoftwareStatement, "software statements are not accepted here"));
    }
    for (name, why) in FETCHED {
        if value.get(name).is_some_and(|v| !v.is_null()) {
            return Err(wrong(why));
        }
    }
    let method = method(value, rules)?;
    let grant_types = match list(value, "grant_types", wrong("grant_types: a list of strings"))? {
        list if list.is_empty() => vec!["authorization_code".to_owned()],
        list => list,
    };
    if !grant_types.iter().all(|g| rules.grants.contains(g)) {
        return Err(wrong("grant_types: not all of them can be had here").detail(grant_types.join(" ")));
    }
    let code = grant_types.iter().any(|g| g == "authorization_code");
    let named = list(value, "response_types", wrong("response_types: a list of strings"))?;
    let response_types = match (code, &named[..]) {
        (true, []) => vec!["code".to_owned()],
        (true, [one]) if one == "code" => named,
        (false, []) => named,
        _ => return Err(wrong("response_types: code with the grant authorization_code, and nothing else")),
    };
    Ok(Metadata {
        redirect_uris: redirect_uris(value, "redirect_uris", code, rules)?,
        post_logout_redirect_uris: redirect_uris(value, "post_logout_redirect_uris", false, rules)?,
        jwks: keys(value, &method)?,
        token_endpoint_auth_method: method,
        grant_types,
        response_types,
        client_name: text(value, "client_name", wrong("client_name: one line of text"))?,
        client_uri: link(value, "client_uri", wrong("client_uri: an https URL"))?,
        logo_uri: link(value, "logo_uri", wrong("logo_uri: an https URL"))?,
        tos_uri: link(value, "tos_uri", wrong("tos_uri: an https URL"))?,
        policy_uri: link(value, "policy_uri", wrong("policy_uri: an https URL"))?,
        scope: scope(value, rules)?,
        contacts: list(value, "contacts", wrong("contacts: a list of strings"))?,
        software_id: text(value, "software_id", wrong("software_id: one line of text"))?,
        software_version: text(value, "software_version", wrong("software_version: one line of text"))?,
        application_type: one_of(value, "application_type", &["web", "native"], "application_type: web or native")?,
        id_token_signed_response_alg: one_of(
            value,
            "id_token_signed_response_alg",
            &["RS256", "ES256", "EdDSA"],
            "id_token_signed_response_alg: RS256, ES256 or EdDSA",
        )?,
    })
}

fn method(value: &Value, rules: &Registration) -> Result<String, OAuthError> {
    let named = text(value, "token_endpoint_auth_method", wrong("token_endpoint_auth_method: a string"))?;
    let allowed = |m: &String| rules.auth_methods.contains(m);
    match named {
        Some(named) if allowed(&named) => Ok(named),
        Some(named) => Err(wrong("token_endpoint_auth_method: cannot be had here").detail(named)),
        // RFC 7591 §2, where it may be.
        None => {
            let standard = Some("client_secret_basic".to_owned()).filter(allowed);
            Ok(standard.or_else(|| rules.auth_methods.first().cloned()).unwrap_or_default())
        }
    }
}

fn scope(value: &Value, rules: &Registration) -> Result<String, OAuthError> {
    let Some(named) = value.get("scope").filter(|v| !v.is_null()) else { return Ok(rules.scopes.to_string()) };
    let asked = named.as_str().and_then(ScopeSet::parse).ok_or_else(|| wrong("scope: space-delimited scopes"))?;
    if rules.scopes.union(&rules.implied).contains_all(&asked) {
        Ok(asked.to_string())
    } else {
        Err(wrong("scope: not all of it can be had here").detail(asked))
    }
}

fn redirect_uris(value: &Value, name: &str, needed: bool, rules: &Registration) -> Result<Vec<String>, OAuthError> {
    let wrong = |why| OAuthError::new(Code::InvalidRedirectUri, why);
    let uris = strings(value, name).ok_or_else(|| wrong("redirect URIs: a list of strings"))?;
    if needed && uris.is_empty() {
        return Err(wrong("redirect_uris: one at least"));
    }
    if uris.len() > MOST || uris.iter().any(|u| u.is_empty() || u.len() > LONGEST_URI) {
        return Err(wrong("redirect URIs: too many, or too long"));
    }
    for uri in &uris {
        let kind = RedirectKind::of(uri);
        // A reversed domain name is its owner's; any other word belongs to whoever comes first (RFC 8252 §7.1).
        let own = kind != RedirectKind::CustomScheme || uri.split(':').next().is_some_and(|s| s.contains('.'));
        if !own || !rules.redirect_uris.contains(&kind) {
            return Err(wrong("redirect URIs: this kind cannot be had here").detail(format!("{kind:?}")));
        }
    }
    Ok(uris)
}

/// Public keys by value; whether they are good ones is judged as for a file.
fn keys(value: &Value, method: &str) -> Result<Option<Value>, OAuthError> {
    let Some(jwks) = value.get("jwks").filter(|v| !v.is_null()) else {
        return if method == "private_key_jwt" { Err(wrong("jwks: needed for private_key_jwt")) } else { Ok(None) };
    };
    let keys = jwks.get("keys").and_then(Value::as_array).ok_or_else(|| wrong("jwks: a JWK Set"))?;
    if keys.is_empty() || keys.len() > MOST || jwks.to_string().len() > LONGEST_KEYS {
        return Err(wrong("jwks: no key, too many, or too long"));
    }
    if keys.iter().any(|key| PRIVATE.iter().any(|member| key.get(member).is_some())) {
        return Err(wrong("jwks: holds a private or a symmetric key; keep that to yourself, and make another"));
    }
    Ok(Some(jwks.clone()))
}

fn strings(value: &Value, name: &str) -> Option<Vec<String>> {
    match value.get(name) {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Array(items)) => items.iter().map(|i| i.as_str().map(str::to_owned)).collect(),
        Some(_) => None,
    }
}

fn list(value: &Value, name: &str, error: OAuthError) -> Result<Vec<String>, OAuthError> {
    let sound = |items: &Vec<String>| items.len() <= MOST && items.iter().all(|i| is_line(i));
    strings(value, name).filter(sound).ok_or(error)
}

fn is_line(text: &str) -> bool {
    !text.is_empty() && text.len() <= LONGEST && !text.chars().any(char::is_control)
}

fn text(value: &Value, name: &str, error: OAuthError) -> Result<Option<String>, OAuthError> {
    match value.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if is_line(text) => Ok(Some(text.clone())),
        Some(_) => Err(error),
    }
}

fn link(value: &Value, name: &str, error: OAuthError) -> Result<Option<String>, OAuthError> {
    match value.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(uri))
            if uri.starts_with("https://") && uri.len() <= LONGEST_URI && uri.bytes().all(|b| b.is_ascii_graphic()) =>
        {
            Ok(Some(uri.clone()))
        }
        Some(_) => Err(error),
    }
}

fn one_of(value: &Value, name: &str, known: &[&str], why: &'static str) -> Result<Option<String>, OAuthError> {
    let named = text(value, name, wrong(why))?;
    if named.as_deref().is_none_or(|n| known.contains(&n)) { Ok(named) } else { Err(wrong(why)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn foreign_values_never_panic_and_never_widen(name in "[a-z_]{3,30}", text in "\\PC{0,40}") {
            let rules = Registration {
                open: true,
                grants: ["authorization_code".to_owned()].into(),
                scopes: ScopeSet::of(&["openid"]),
                implied: ScopeSet::default(),
                redirect_uris: [RedirectKind::Https].into(),
                auth_methods: vec!["none".to_owned()],
                most: 1,
                per_address: 1,
                app: toml::Table::new(),
                make: |_, _| Err(Default::default()),
            };
            for value in [serde_json::json!(text), serde_json::json!([text]), serde_json::json!({ &*text: text })] {
                let mut said = serde_json::json!({"redirect_uris": ["https://app.example/cb"]});
                for field in [&*name, "scope", "grant_types", "jwks", "contacts"] {
                    said[field] = value.clone();
                    if let Ok(read) = read(&said, &rules) {
                        proptest::prop_assert!(read.grant_types == ["authorization_code"] && ["", "openid"].contains(&&*read.scope));
                    }
                }
            }
        }
    }
}
