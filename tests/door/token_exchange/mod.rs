//! Token exchange through the provider's door (RFC 8693).
mod asset;
mod refused;

use super::{
    people::{self, Browser, Client, Clock, Policy, ScopeSet, Value, World, json, opens, read, redeem, request},
    provider::world_with,
    saml_grants,
    saml_messages::P256,
};
use portcullis::{
    model::{AuthMethod, Exchange, TokenFormat},
    policy::saml::Saml,
    saml::TrustedKeys,
};
use std::sync::Arc;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const API: &str = "https://api.example";
const ORDERS: &str = "https://orders.example";

fn kind(name: &str) -> String {
    format!("urn:ietf:params:oauth:token-type:{name}")
}

/// Apps: `web` and `own` are people's; `app` (opaque) and `jwt` may exchange tokens of both, for orders too.
fn exchanges(policy: &mut Policy) {
    people::people(policy);
    let mut own = people::app("own");
    own.grants.insert(GRANT.to_owned());
    policy.clients.insert("own".into(), Arc::new(own));
    let rules = Exchange {
        from: ["web", "app", "jwt"].map(str::to_owned).into(),
        audiences: [ORDERS.to_owned()].into(),
        ..Exchange::default()
    };
    for id in ["app", "jwt"] {
        change(policy, id, |app| {
            app.grants.insert(GRANT.to_owned());
            app.exchange = rules.clone();
        });
    }
    policy.saml = Saml::default();
    policy.saml.apps.insert("app".into(), TrustedKeys::of([P256.certificate.as_slice()]).unwrap());
}

fn change(policy: &mut Policy, id: &str, change: impl FnOnce(&mut Client)) {
    change(Arc::get_mut(policy.clients.get_mut(id).unwrap()).unwrap());
}

async fn world() -> World {
    world_with(exchanges).await
}

async fn exchange(w: &World, app: &str, fields: &[(&str, &str)]) -> (u16, Value) {
    let all: Vec<(&str, &str)> = std::iter::once(("grant_type", GRANT)).chain(fields.iter().copied()).collect();
    let response = w.post("/oauth2/token", Some(app), &all).await;
    (response.status().as_u16(), read(&response))
}

/// Exchanges an access token, with more fields.
async fn of(w: &World, app: &str, token: &str, more: &[(&str, &str)]) -> (u16, Value) {
    let access = kind("access_token");
    let fields = [("subject_token", token), ("subject_token_type", &*access)];
    exchange(w, app, &[&fields[..], more].concat()).await
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("{name} in {value}"))
}

async fn told(w: &World, app: &str, token: &str) -> Value {
    read(&w.post("/oauth2/introspect", Some(app), &[("token", token)]).await)
}

/// Alice signs in to `web`.
async fn alice(w: &World, app: &str) -> Value {
    let code = Browser::new(w).authorize(&request(app, &[]), "alice").await["code"].clone();
    let (status, body) = redeem(w, app, &code, &[]).await;
    assert_eq!(status, 200, "{body}");
    body
}

#[tokio::test]
async fn s41_an_exchange_narrows_scope_and_life_and_ends_with_what_it_came_from() {
    let w = world().await;
    let hers = alice(&w, "web").await;
    let token = text(&hers, "access_token");
    w.clock.advance(400);
    let (status, answer) = of(&w, "app", token, &[]).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        (&answer["issued_token_type"], &answer["token_type"], &answer["scope"]),
        (&kind("access_token").into(), &json!("Bearer"), &json!("read")),
        "what both apps may have"
    );
    assert_eq!(answer["expires_in"], 200, "S41: no longer than the token it came from");
    assert!(answer["refresh_token"].is_null() && answer["id_token"].is_null());
    let seen = told(&w, "app", text(&answer, "access_token")).await;
    assert_eq!(
        (&seen["sub"], &seen["client_id"], &seen["aud"], &seen["act"]),
        (&json!("alice"), &json!("app"), &json!(API), &Value::Null)
    );
    let (_, narrow) = of(&w, "app", token, &[("scope", "read"), ("resource", ORDERS), ("audience", ORDERS)]).await;
    assert_eq!(told(&w, "app", text(&narrow, "access_token")).await["aud"], ORDERS);
    for (field, value, error) in [
        ("scope", "write", "invalid_scope"),
        ("scope", "openid", "invalid_scope"),
        ("resource", "https://other.example", "invalid_target"),
        ("audience", "https://other.example", "invalid_target"),
    ] {
        let (status, body) = of(&w, "app", token, &[(field, value)]).await;
        assert_eq!((status, &body["error"]), (400, &error.into()), "S21, S41: {field}={value}");
    }
    // A second exchange, by an app that gets JWTs: it hangs on the same authorization.
    let (status, again) = of(&w, "jwt", text(&answer, "access_token"), &[("requested_token_type", &kind("jwt"))]).await;
    assert_eq!((status, &again["issued_token_type"]), (200, &kind("jwt").into()), "{again}");
    let fields = [("client_id", "web"), ("token", text(&hers, "refresh_token"))];
    assert_eq!(w.post("/oauth2/revoke", None, &fields).await.status(), 200);
    for ended in [&answer, &narrow, &again] {
        assert!(!opens(&w, &ended["access_token"]), "S49: its authorization has ended");
    }
    assert_eq!(of(&w, "app", token, &[]).await.0, 400, "what has ended becomes nothing new");
}

#[tokio::test]
async fn s41_the_actor_is_recorded_in_every_form_and_a_chain_keeps_who_acted_before() {
    let w = world().await;
    let hers = alice(&w, "web").await;
    let robot = w.token("app").await;
    let access = kind("access_token");
    let actor = [("actor_token", &*robot), ("actor_token_type", &*access)];
    let (status, first) = of(&w, "app", text(&hers, "access_token"), &actor).await;
    assert_eq!(status, 200, "{first}");
    let act = json!({"sub": "robot", "client_id": "app"});
    assert_eq!(told(&w, "app", text(&first, "access_token")).await["act"], act, "opaque");
    let second = w.token("jwt").await;
    let actor = [("actor_token", &*second), ("actor_token_type", &*access)];
    let (status, chained) = of(&w, "jwt", text(&first, "access_token"), &actor).await;
    assert_eq!(status, 200, "{chained}");
    let said = w.tokens.verify_claims("at+jwt", text(&chained, "access_token"), w.clock.now()).unwrap();
    assert_eq!(said["act"], json!({"sub": "robot", "client_id": "jwt", "act": act}), "a JWT, and who acted before");
    assert_eq!(said["sub"], "alice");
    // Without an actor token the chain stays.
    let (_, kept) = of(&w, "jwt", text(&chained, "access_token"), &[]).await;
    assert_eq!(told(&w, "jwt", text(&kept, "access_token")).await["act"], said["act"]);
    // The actor's end is the end of what it does for others.
    assert_eq!(w.post("/oauth2/revoke", Some("app"), &[("token", &robot)]).await.status(), 200);
    assert!(!opens(&w, &first["access_token"]) && !opens(&w, &kept["access_token"]));
}

#[tokio::test]
async fn s41_refresh_and_id_tokens_are_exchanged_within_their_authorization_and_stay_what_they_are() {
    let w = world().await;
    let hers = alice(&w, "own").await;
    let public = |kind_of: &str, token: &str| {
        let kind = kind(kind_of);
        let all = [
            ("grant_type", GRANT.to_owned()),
            ("client_id", "own".to_owned()),
            ("subject_token", token.to_owned()),
            ("subject_token_type", kind),
        ];
        let w = &w;
        async move {
            let all: Vec<(&str, &str)> = all.iter().map(|(k, v)| (*k, v.as_str())).collect();
            let response = w.post("/oauth2/token", None, &all).await;
            (response.status().as_u16(), read(&response))
        }
    };
    let refresh_token = text(&hers, "refresh_token").to_owned();
    let (status, by_refresh) = public("refresh_token", &refresh_token).await;
    assert_eq!(
        (status, &by_refresh["scope"], &by_refresh["expires_in"]),
        (200, &json!("offline_access openid read"), &json!(600)),
        "{by_refresh}"
    );
    let (status, by_id) = public("id_token", text(&hers, "id_token")).await;
    assert_eq!((status, &by_id["scope"]), (200, &json!("offline_access openid read")), "{by_id}");
    w.clock.advance(1);
    let (status, next) = people::refresh(&w, "own", &refresh_token).await;
    assert_eq!(status, 200, "not consumed by the exchange: {next}");
    assert_eq!(public("refresh_token", &refresh_token).await.0, 400, "replaced");
    w.clock.advance(598);
    let (status, late) = public("id_token", text(&hers, "id_token")).await;
    assert_eq!((status, &late["expires_in"]), (200, &json!(1)), "S41: {late}");
    w.clock.advance(1);
    assert_eq!(public("id_token", text(&hers, "id_token")).await.0, 400, "S34: its time is over");
    let fields = [("client_id", "own"), ("token", text(&next, "refresh_token"))];
    assert_eq!(w.post("/oauth2/revoke", None, &fields).await.status(), 200);
    assert!(!opens(&w, &late["access_token"]), "its authorization has ended");
    assert_eq!(public("refresh_token", text(&next, "refresh_token")).await.0, 400);
}

#[tokio::test]
async fn s37_s41_assertions_of_the_app_are_exchanged_once_and_may_act_is_respected() {
    let w = world().await;
    let now = w.clock.now().0;
    let says = |jti: &str, sub: &str, may: Value| {
        w.signed(&json!({"iss": "app", "sub": sub, "aud": "https://id.example", "exp": now + 120, "jti": jti, "may_act": may}))
    };
    let jwt = kind("jwt");
    let by_jwt = |token: String, actor: Option<String>| {
        let (w, jwt) = (&w, &jwt);
        async move {
            let mut fields = vec![("subject_token", &*token), ("subject_token_type", &**jwt)];
            if let Some(actor) = &actor {
                fields.extend([("actor_token", &**actor), ("actor_token_type", &**jwt)]);
            }
            exchange(w, "app", &fields).await
        }
    };
    let plain =
        w.signed(&json!({"iss": "app", "sub": "alice", "aud": "https://id.example", "exp": now + 120, "jti": "1"}));
    let (status, body) = by_jwt(plain.clone(), None).await;
    assert_eq!((status, &body["expires_in"], &body["scope"]), (200, &json!(120), &json!("read write")), "{body}");
    assert_eq!(by_jwt(plain, None).await.0, 400, "S37");
    let dispatcher =
        || w.signed(&json!({"iss": "app", "sub": "dispatcher", "aud": "https://id.example", "exp": now + 60}));
    let (status, body) = by_jwt(says("2", "alice", json!({"sub": "dispatcher"})), Some(dispatcher())).await;
    assert_eq!((status, &body["expires_in"]), (200, &json!(60)), "no longer than the actor's: {body}");
    let seen = told(&w, "app", text(&body, "access_token")).await;
    assert_eq!((&seen["act"]["sub"], &seen["may_act"]["sub"]), (&json!("dispatcher"), &json!("dispatcher")));
    for (may, why) in [
        (json!({"sub": "another"}), "names another"),
        (json!({}), "names nobody"),
        (json!("dispatcher"), "cannot be read"),
        (json!({"sub": "dispatcher", "iss": "https://other.example"}), "of another issuer"),
    ] {
        let (status, body) = by_jwt(says(why, "alice", may), Some(dispatcher())).await;
        assert_eq!((status, &body["error"]), (400, &json!("invalid_grant")), "{why}");
    }
    let (status, body) = by_jwt(says("3", "alice", json!({"client_id": "app"})), None).await;
    assert_eq!(status, 200, "the app itself: {body}");
    assert_eq!(by_jwt(says("4", "alice", json!({"client_id": "jwt"})), None).await.0, 400);
    assert_eq!(by_jwt(says("5", "bob", json!({"client_id": "app"})), None).await.0, 400, "whom it is not approved for");
    let saml = kind("saml2");
    let assertion = saml_grants::signed(&saml_grants::says(&w, "app", "alice"), &P256);
    let fields = [("subject_token", &*assertion), ("subject_token_type", &*saml)];
    let (status, body) = exchange(&w, "app", &fields).await;
    assert_eq!((status, &body["expires_in"]), (200, &json!(200)), "S41, S52: {body}");
    assert_eq!(exchange(&w, "app", &fields).await.0, 400, "S52");
    let spoilt = saml_grants::signed(&saml_grants::says(&w, "app", "alice"), &super::saml_messages::OTHER);
    let fields = [("subject_token", &*spoilt), ("subject_token_type", &*saml)];
    assert_eq!(exchange(&w, "app", &fields).await.0, 400, "S50: another key");
}
