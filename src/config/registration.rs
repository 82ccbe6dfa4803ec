//! `[registration]` of `conf/portcullis.toml`: dynamic client registration, off without this table.
use super::{app, mistake::Findings, scopes};
use crate::{
    clock::Timestamp,
    model::{
        Client,
        registered::{Metadata, Registered},
    },
    policy::registration::{RedirectKind, Registration, Unfit},
    secret::Digest,
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::{collections::BTreeSet, path::Path};
use toml::Value;

/// Grants that an app may register for: a person takes part in each, or has approved before.
const GRANTS: [&str; 4] = [
    "authorization_code",
    "refresh_token",
    "urn:ietf:params:oauth:grant-type:device_code",
    "urn:ietf:params:oauth:grant-type:jwt-bearer",
];
const METHODS: [&str; 4] = ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"];
/// Keys of an app's file that a registration sets, or that none may have.
const NOT_COMMON: [&str; 14] = [
    "client_id",
    "name",
    "blocked",
    "auth",
    "secrets",
    "keys",
    "grants",
    "scopes",
    "approval",
    "run_as",
    "redirect_uris",
    "post_logout_redirect_uris",
    "response_types",
    "backchannel_logout_uri",
];

/// Who may register apps, and what these may have.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegistrationTable {
    /// Anybody may register; without, an initial access token is needed (`portcullis registrations new-token`).
    #[serde(default)]
    open: bool,
    /// Grant types that may be had: authorization_code, refresh_token, device_code or jwt-bearer, each by its full name.
    #[serde(default = "code_and_refresh")]
    grants: BTreeSet<String>,
    /// Scopes that may be had.
    scopes: Vec<String>,
    /// Kinds of redirect URIs that may be had.
    #[serde(default = "web_and_loopback")]
    redirect_uris: BTreeSet<RedirectKind>,
    /// `token_endpoint_auth_method` values that may be had.
    #[serde(default = "methods")]
    auth_methods: Vec<String>,
    /// Registered apps at most.
    #[serde(default = "thousand")]
    most: usize,
    /// Registrations from one address within an hour.
    #[serde(default = "twenty")]
    per_address: u32,
    /// What the file of every such app would say besides, such as `audience`, `token_lifetime` or `refresh`.
    #[schemars(with = "std::collections::BTreeMap<String, serde_json::Value>")]
    app: toml::Table,
}

fn code_and_refresh() -> BTreeSet<String> {
    ["authorization_code".to_owned(), "refresh_token".to_owned()].into()
}

fn web_and_loopback() -> BTreeSet<RedirectKind> {
    [RedirectKind::Https, RedirectKind::Loopback].into()
}

fn methods() -> Vec<String> {
    METHODS.map(str::to_owned).to_vec()
}

fn thousand() -> usize {
    1000
}

fn twenty() -> u32 {
    20
}

/// Validates the table; mistakes go to `found`.
pub fn read(raw: RegistrationTable, found: &mut Findings<'_>) -> Registration {
    for grant in raw.grants.iter().filter(|g| !GRANTS.contains(&g.as_str())) {
        found.wrong("grants", format!("{grant} cannot be registered for; there are {}", GRANTS.join(", ")));
    }
    for method in raw.auth_methods.iter().filter(|m| !METHODS.contains(&m.as_str())) {
        found.wrong("auth_methods", format!("{method} is unknown; there are {}", METHODS.join(", ")));
    }
    let allowed = scopes(found, "scopes", &raw.scopes);
    if allowed.iter().any(|s| s.starts_with("portcullis:")) {
        found.wrong("scopes", "no app can register for administration");
    }
    if raw.grants.is_empty() || raw.auth_methods.is_empty() || raw.most == 0 || raw.per_address == 0 {
        found.wrong("registration", "grants, auth_methods, most and per_address cannot be nothing");
    }
    for key in raw.app.keys().filter(|k| NOT_COMMON.contains(&k.as_str())) {
        found.wrong("app", format!("{key} is no matter of a template"));
    }
    let registration = Registration {
        open: raw.open,
        grants: raw.grants,
        scopes: allowed,
        implied: Default::default(),
        redirect_uris: raw.redirect_uris,
        auth_methods: raw.auth_methods,
        most: raw.most,
        per_address: raw.per_address,
        app: raw.app,
        make,
    };
    // What the template says is checked with an app that asks for nothing.
    if found.mistakes.is_empty() {
        let metadata = Metadata { token_endpoint_auth_method: "none".to_owned(), ..Metadata::default() };
        let (client_id, token) = ("registered".to_owned(), Digest::of(b""));
        let nothing = Registered { client_id, issued: Timestamp(0), by: None, secret: None, token, metadata };
        let any = Registration { auth_methods: methods(), ..registration.clone() };
        if let Err((key, why)) = make(&nothing, &any) {
            found.wrong("app", format!("{key}: {why}"));
        }
    }
    registration
}

/// The app as a file would make it: what it asked for and may still have, and what the template says.
fn make(registered: &Registered, rules: &Registration) -> Result<Client, Unfit> {
    let said = &registered.metadata;
    let unfit = |key: &str, why: &str| Err((key.to_owned(), why.to_owned()));
    if !rules.auth_methods.contains(&said.token_endpoint_auth_method) {
        return unfit("auth", "this method is not allowed any more");
    }
    let list = |items: Vec<&str>| Value::Array(items.into_iter().map(|s| Value::String(s.to_owned())).collect());
    let uris: Vec<&str> = said.redirect_uris.iter().map(String::as_str).collect();
    let uris: Vec<&str> = uris.into_iter().filter(|u| rules.redirect_uris.contains(&RedirectKind::of(u))).collect();
    let may = |g: &&str| rules.grants.contains(*g) && (*g != "authorization_code" || !uris.is_empty());
    let grants: Vec<&str> = said.grant_types.iter().map(String::as_str).filter(may).collect();
    let scopes = said.scope.split(' ').filter(|s| rules.scopes.contains(s) || rules.implied.contains(s)).collect();
    let auth = match said.token_endpoint_auth_method.as_str() {
        "none" => "none",
        "private_key_jwt" => "private_key_jwt",
        _ => "client_secret",
    };
    let mut table = rules.app.clone();
    let mut set = |key: &str, value: Value| drop(table.insert(key.to_owned(), value));
    let text = |value: &str| Value::String(value.to_owned());
    set("client_id", text(&registered.client_id));
    set("name", text(said.client_name.as_deref().unwrap_or(&registered.client_id)));
    set("auth", text(auth));
    set("grants", list(grants));
    set("scopes", list(scopes));
    set("redirect_uris", list(uris));
    set("post_logout_redirect_uris", list(said.post_logout_redirect_uris.iter().map(String::as_str).collect()));
    set("response_types", list(said.response_types.iter().map(String::as_str).collect()));
    // No administrator has looked at it: everybody is asked.
    set("approval", text("self"));
    if let Some(digest) = &registered.secret {
        set("secrets", list(vec![&format!("sha256:{}", digest.hex())]));
    }
    if let Some(jwks) = &said.jwks {
        set(
            "keys",
            Value::Array(vec![Value::Table([("jwks".to_owned(), text(&jwks.to_string()))].into_iter().collect())]),
        );
    }
    if let Some(algorithm) = &said.id_token_signed_response_alg {
        set("id_token_signing_alg", text(algorithm));
    }
    let text = toml::to_string(&table).map_err(|e| ("app".to_owned(), e.to_string()))?;
    app::read(Path::new("registered"), &text).map_err(|mistakes| {
        let first = mistakes.into_iter().next().map(|m| m.message).unwrap_or_default();
        let (key, why) = first.split_once(": ").unwrap_or(("app", &first));
        (key.to_owned(), why.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::mistake::parse;

    fn read_of(text: &str) -> (Registration, Vec<String>) {
        let file = Path::new("p.toml");
        let mut found = Findings::of(file, text);
        let read = read(parse(file, text).unwrap(), &mut found);
        (read, found.mistakes.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_template_caps_what_was_registered_under_an_earlier_one() {
        let (wide, mistakes) = read_of("scopes = [\"a\", \"b\"]\napp = { audience = \"x\", token_lifetime = 60 }\n");
        assert!(mistakes.is_empty(), "{mistakes:?}");
        let metadata = Metadata {
            redirect_uris: vec!["https://app.example/cb".to_owned(), "http://127.0.0.1/cb".to_owned()],
            token_endpoint_auth_method: "none".to_owned(),
            grant_types: vec!["authorization_code".to_owned(), "refresh_token".to_owned()],
            response_types: vec!["code".to_owned()],
            scope: "a b".to_owned(),
            ..Metadata::default()
        };
        let (client_id, token) = ("r".to_owned(), Digest::of(b"t"));
        let app = Registered { client_id, issued: Timestamp(0), by: None, secret: None, token, metadata };
        let made = make(&app, &wide).unwrap();
        assert_eq!((made.scopes.to_string().as_str(), made.grants.len(), made.token_lifetime), ("a b", 2, 60));
        let narrow = read_of(
            "scopes = [\"a\"]\ngrants = [\"authorization_code\"]\nredirect_uris = [\"https\"]\napp.audience = \"x\"\n",
        )
        .0;
        let made = make(&app, &narrow).unwrap();
        assert_eq!((made.scopes.to_string().as_str(), made.grants.len()), ("a", 1));
        assert_eq!(made.interactive.redirect_uris, ["https://app.example/cb"]);
        assert!(make(&app, &Registration { auth_methods: vec!["private_key_jwt".to_owned()], ..narrow }).is_err());
    }

    #[test]
    fn mistakes_of_the_table_and_of_the_template_are_told() {
        let wrong = "scopes = [\"portcullis:admin\"]\ngrants = [\"password\"]\nauth_methods = [\"tls\"]\n\
            app = { run_as = \"root\", token_lifetime = 1 }\n";
        let told = read_of(wrong).1;
        for line in
            ["p.toml:1: scopes", "p.toml:2: grants: password", "p.toml:3: auth_methods", "p.toml:4: app: run_as"]
        {
            assert!(told.iter().any(|m| m.starts_with(line)), "{line} in {told:?}");
        }
        let told = read_of("scopes = [\"a\"]\napp = { audience = \"x\", token_lifetime = 0 }\n").1;
        assert!(told[0].starts_with("p.toml:2: app: token_lifetime"), "{told:?}");
    }
}
