//! What an app is told: ID tokens, custom attributes and permissions, introspection; and for how long.
use super::*;
use portcullis::model::{Attribute, ScopeSet};

#[tokio::test]
async fn id_tokens_are_as_long_lived_as_told_and_say_what_the_app_is_told() {
    let w = world().await;
    w.reload(|policy| {
        let mut client = app("web");
        client.scopes = ScopeSet::of(&["openid", "email", "custom_permissions"]);
        let told = &mut client.policies;
        told.id_token.lifetime = Some(90);
        told.id_token.audiences = vec!["https://reports.example".to_owned()];
        (told.id_token.claims, told.id_token.custom_attributes, told.id_token.custom_permissions) = (true, true, true);
        told.custom_attributes = [
            ("tier".to_owned(), Attribute::Text("gold".to_owned())),
            ("mail".to_owned(), Attribute::Claim("email".to_owned())),
            ("desk".to_owned(), Attribute::OfUser("desk".to_owned())),
            ("unknown".to_owned(), Attribute::OfUser("nothing".to_owned())),
        ]
        .into();
        told.custom_permissions =
            [("Sell", "sales"), ("Support", "support")].map(|(n, p)| (n.to_owned(), [p.to_owned()].into())).into();
        policy.clients.insert("web".into(), Arc::new(client));
        let mut alice = (*policy.users["alice"]).clone();
        alice.profile.attributes.insert("desk".to_owned(), "4711".to_owned());
        policy.users.insert("alice".into(), Arc::new(alice));
    });
    let mut browser = Browser::new(&w);
    let asked = async |browser: &mut Browser<'_>, scope| {
        let code = browser.authorize(&request("web", &[("scope", scope)]), "alice").await["code"].clone();
        claims(&redeem(&w, "web", &code, &[]).await.1["id_token"])
    };
    let said = asked(&mut browser, "openid email custom_permissions").await;
    assert_eq!(said["aud"], json!(["web", "https://reports.example"]));
    assert_eq!((&said["azp"], said["exp"].as_i64()), (&json!("web"), Some(w.clock.now().0 + 90)));
    assert_eq!(said["email"], "alice@example.com");
    assert_eq!(said["custom_attributes"], json!({"tier": "gold", "mail": "alice@example.com", "desk": "4711"}));
    assert_eq!(said["custom_permissions"], json!({"Sell": true}));
    let less = asked(&mut browser, "openid").await;
    assert!(less["email"].is_null() && less["custom_permissions"].is_null(), "scopes not asked for: {less}");
}

#[tokio::test]
async fn a_jwt_access_token_carries_custom_attributes_where_it_may_and_opens_all_the_same() {
    let w = world().await;
    let issued = async |told: bool| {
        change(&w, "web", |client| {
            client.token_format = TokenFormat::Jwt;
            client.scopes = ScopeSet::of(&["openid", "custom_permissions"]);
            client.policies.token_attributes = told;
            client.policies.custom_attributes = [("tier".to_owned(), Attribute::Text("gold".to_owned()))].into();
            client.policies.custom_permissions = [("Sell".to_owned(), ["sales".to_owned()].into())].into();
        });
        let scope = [("scope", "openid custom_permissions")];
        let code = Browser::new(&w).authorize(&request("web", &scope), "alice").await["code"].clone();
        redeem(&w, "web", &code, &[]).await.1["access_token"].clone()
    };
    let token = issued(true).await;
    let said = claims(&token);
    assert_eq!(said["custom_attributes"], json!({"tier": "gold"}));
    assert_eq!((&said["custom_permissions"], &said["sub"]), (&json!({"Sell": true}), &json!("alice")));
    assert_eq!(userinfo(&w, "10.0.0.1", &token).await, 200);
    assert!(claims(&issued(false).await)["custom_attributes"].is_null());
}

#[tokio::test]
async fn introspection_of_others_tokens_is_for_who_may_introspect_all() {
    let w = world().await;
    let (body, _) = tokens(&w, "web").await;
    let token = body["access_token"].as_str().unwrap();
    let asks = async || read(&w.post("/oauth2/introspect", Some("plain"), &[("token", token)]).await)["active"].clone();
    assert_eq!(asks().await, false, "S46");
    change(&w, "plain", |client| {
        client.auth_method = AuthMethod::ClientSecret;
        client.secrets = vec![Digest::of(SECRET.as_bytes())];
        client.policies.introspect_all = true;
    });
    assert_eq!(asks().await, true);
    change(&w, "web", |client| client.blocked = true);
    assert_eq!(asks().await, false, "a blocked app's token is not active");
}

#[tokio::test]
async fn a_session_timeout_ends_older_tokens_whatever_they_say() {
    let w = world().await;
    let (body, _) = tokens(&w, "web").await;
    w.clock.advance(200);
    assert_eq!(userinfo(&w, "10.0.0.1", &body["access_token"]).await, 200);
    change(&w, "web", |client| client.policies.session_timeout = Some(200));
    assert_eq!(userinfo(&w, "10.0.0.1", &body["access_token"]).await, 401);
    change(&w, "web", |client| client.policies.session_timeout = Some(201));
    assert_eq!(userinfo(&w, "10.0.0.1", &body["access_token"]).await, 200);
}

#[tokio::test]
async fn the_approvals_of_one_user_are_as_many_as_the_app_may_have() {
    let w = world().await;
    change(&w, "web", |client| client.policies.approvals_per_user = 2);
    let mut all = Vec::new();
    for _ in 0..3 {
        all.push(tokens(&w, "web").await.0);
        w.clock.advance(1);
    }
    let mut live = Vec::new();
    for body in &all {
        live.push(refresh(&w, "web", body["refresh_token"].as_str().unwrap()).await.0);
    }
    assert_eq!(live, [400, 200, 200], "the third ends the oldest");
}

#[tokio::test]
async fn a_required_level_that_is_raised_holds_at_refresh_and_for_assertions() {
    let w = world().await;
    let (body, _) = tokens(&w, "web").await;
    assert_eq!(w.bearer(&w.assertion()).await.0, 200);
    w.reload(|policy| {
        for id in ["web", "app"] {
            let mut client = (*policy.clients[id]).clone();
            client.interactive.level = Level::HighAssurance;
            policy.clients.insert(id.into(), Arc::new(client));
        }
    });
    assert_eq!(userinfo(&w, "10.0.0.1", &body["access_token"]).await, 401, "nor do older tokens tell anything");
    let (status, told) = refresh(&w, "web", body["refresh_token"].as_str().unwrap()).await;
    assert_eq!((status, &told["error"]), (400, &json!("invalid_grant")));
    let claims =
        json!({"iss": "app", "sub": "alice", "aud": "https://id.example", "exp": w.clock.now().0 + 60, "jti": "two"});
    let (status, told) = w.bearer(&w.signed(&claims)).await;
    assert_eq!(
        (status, &told["error_description"]),
        (400, &json!("authentication failure")),
        "nobody shows a second factor there"
    );
    let machine = w.post("/oauth2/token", Some("app"), &[("grant_type", "client_credentials")]).await;
    assert_eq!(machine.status(), 200, "what a program does in its own name no person has to prove");
}
