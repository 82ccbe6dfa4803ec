//! Wire shapes, as clients read them: snapshots of whole answers, with what changes from run to run left out.
use super::people::{Browser, CALLBACK, DEVICE, redeem, request, tokens, world};
use super::provider::{World, read};
use bytes::Bytes;
use http::{Request, Response};
use serde_json::{Value, json};

/// What differs in every run, by the name of its member.
const CHANGING: [&str; 12] = [
    "access_token",
    "refresh_token",
    "id_token",
    "device_code",
    "user_code",
    "verification_uri_complete",
    "request_uri",
    "jti",
    "sid",
    "kid",
    "at_hash",
    "grant_id",
];

fn steady(value: Value) -> Value {
    match value {
        Value::Object(all) => all
            .into_iter()
            .map(|(name, value)| {
                let value = if CHANGING.contains(&name.as_str()) { json!("…") } else { steady(value) };
                (name, value)
            })
            .collect(),
        Value::Array(all) => all.into_iter().map(steady).collect(),
        other => other,
    }
}

fn shape(response: &Response<Bytes>) -> Value {
    let header = |name: &str| response.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
    json!({
        "status": response.status().as_u16(),
        "content-type": header("content-type"),
        "cache-control": header("cache-control"),
        "www-authenticate": header("www-authenticate"),
        "body": steady(read(response)),
    })
}

async fn get(w: &World, path: &str, token: Option<&str>) -> Response<Bytes> {
    let mut request = Request::get(path);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    w.provider.handle(request.body(Bytes::new()).unwrap()).await
}

#[tokio::test]
async fn documents() {
    let w = world().await;
    for path in ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"] {
        insta::assert_json_snapshot!("discovery", shape(&get(&w, path, None).await));
    }
}

#[tokio::test]
async fn token_answers() {
    let w = world().await;
    let (code, _) = tokens(&w, "web").await;
    insta::assert_json_snapshot!("token_of_a_code", steady(code.clone()));
    let id_token = code["id_token"].as_str().unwrap();
    let claims = w.tokens.verify_claims("JWT", id_token, portcullis::clock::Clock::now(&*w.clock)).unwrap();
    insta::assert_json_snapshot!("id_token", steady(claims));
    let token = code["access_token"].as_str().unwrap();
    insta::assert_json_snapshot!("userinfo", shape(&get(&w, "/oauth2/userinfo", Some(token)).await));
    let introspected = w.token("app").await;
    let introspected = w.post("/oauth2/introspect", Some("app"), &[("token", &introspected)]).await;
    insta::assert_json_snapshot!("introspection", shape(&introspected));
    let device = w.post("/oauth2/device_authorization", None, &[("client_id", "web")]).await;
    insta::assert_json_snapshot!("device_authorization", shape(&device));
    let fields = [("client_id", "web"), ("response_type", "code"), ("redirect_uri", CALLBACK)];
    let challenge = [("code_challenge", "a".repeat(43)), ("code_challenge_method", "S256".to_owned())];
    let challenge = challenge.iter().map(|(k, v)| (*k, v.as_str()));
    let fields: Vec<(&str, &str)> = fields.into_iter().chain(challenge).collect();
    insta::assert_json_snapshot!("pushed_request", shape(&w.post("/oauth2/par", None, &fields).await));
}

/// One table: situation → status, error, description, as a client of the RFCs gets them.
#[tokio::test]
async fn errors() {
    let w = world().await;
    let mut b = Browser::new(&w);
    let code = b.authorize(&request("web", &[]), "alice").await["code"].clone();
    let late = b.authorize(&request("web", &[]), "alice").await["code"].clone();
    redeem(&w, "web", &code, &[]).await;
    w.clock.advance(60);
    let web = ("client_id", "web");
    /// Name, path, basic credentials, form.
    type Post<'a> = (&'a str, &'a str, Option<&'a str>, Vec<(&'a str, &'a str)>);
    let posts: [Post<'_>; 17] = [
        ("no grant_type", "token", None, vec![web]),
        ("unknown grant_type", "token", None, vec![web, ("grant_type", "magic")]),
        ("no client", "token", None, vec![("grant_type", "refresh_token"), ("refresh_token", "x")]),
        ("unknown client", "token", None, vec![("grant_type", "authorization_code"), ("client_id", "nobody")]),
        ("no secret", "token", None, vec![("grant_type", "client_credentials"), ("client_id", "app")]),
        ("blocked app", "token", Some("blocked"), vec![("grant_type", "client_credentials")]),
        ("grant not allowed", "token", Some("app"), vec![("grant_type", "refresh_token"), ("refresh_token", "x")]),
        ("scope too wide", "token", Some("app"), vec![("grant_type", "client_credentials"), ("scope", "admin")]),
        ("no code", "token", None, vec![web, ("grant_type", "authorization_code")]),
        ("unknown code", "token", None, vec![web, ("grant_type", "authorization_code"), ("code", "x")]),
        ("unknown refresh token", "token", None, vec![web, ("grant_type", "refresh_token"), ("refresh_token", "x")]),
        ("unknown device code", "token", None, vec![web, ("grant_type", DEVICE), ("device_code", "x")]),
        ("no assertion", "token", None, vec![("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer")]),
        ("two methods", "token", Some("app"), vec![("grant_type", "client_credentials"), ("client_secret", "x")]),
        ("introspection by nobody", "introspect", None, vec![("token", "x")]),
        ("revocation of nothing", "revoke", Some("app"), vec![]),
        ("device flow not allowed", "device_authorization", Some("app"), vec![]),
    ];
    let mut table = Vec::new();
    for (situation, path, auth, fields) in posts {
        let response = w.post(&format!("/oauth2/{path}"), auth, &fields).await;
        let body = read(&response);
        let line = |what: &str| body[what].as_str().unwrap_or("–").to_owned();
        table.push(format!(
            "{situation}: {} {}: {}",
            response.status().as_u16(),
            line("error"),
            line("error_description")
        ));
    }
    for (situation, code) in [("code used before", &code), ("code too late", &late)] {
        let (status, body) = redeem(&w, "web", code, &[]).await;
        table.push(format!("{situation}: {status} {}: {}", body["error"], body["error_description"]));
    }
    let bad = get(&w, "/oauth2/userinfo", Some("x")).await;
    table.push(format!("userinfo, bad token: {} {}", bad.status().as_u16(), read(&bad)["error"]));
    insta::assert_snapshot!("errors", table.join("\n"));
}
