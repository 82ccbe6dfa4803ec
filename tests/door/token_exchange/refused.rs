//! What is not exchanged, and what the policy ends.
use super::{
    API, AuthMethod, Client, Clock, Exchange, GRANT, ORDERS, ScopeSet, TokenFormat, World, alice, change, exchange,
    exchanges, kind, of, read, text, world, world_with,
};
use crate::gate::{needs, route};
use portcullis::{
    gateway::guard::{Denial, check},
    policy::route::Table,
};
use std::sync::Arc;

#[tokio::test]
async fn it_is_off_unless_named_and_every_bad_request_is_told_so() {
    let w = world_with(|policy| {
        exchanges(policy);
        change(policy, "rs256", |c| c.grants.insert(GRANT.to_owned()).then_some(()).unwrap());
        change(policy, "jwt", |c| c.exchange.actor_required = true);
    })
    .await;
    let hers = alice(&w, "web").await;
    let token = text(&hers, "access_token");
    assert_eq!(of(&w, "eddsa", token, &[]).await.1["error"], "unauthorized_client", "S20: off unless named");
    assert_eq!(of(&w, "rs256", token, &[]).await.1["error"], "invalid_grant", "another app's token, and none is named");
    assert_eq!(of(&w, "jwt", token, &[]).await.1["error"], "invalid_request", "actor_required");
    let access = kind("access_token");
    let jwt = kind("jwt");
    let (refresh, id) = (kind("refresh_token"), kind("id_token"));
    let (refresh_token, id_token) = (text(&hers, "refresh_token"), text(&hers, "id_token"));
    /// What is wrong, the form, the error.
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);
    let cases: [Case<'_>; 12] = [
        ("no token", &[("subject_token_type", &access)], "invalid_request"),
        ("no type", &[("subject_token", token)], "invalid_request"),
        ("an unknown type", &[("subject_token", token), ("subject_token_type", "urn:x")], "invalid_request"),
        (
            "S38 an ID token as access token",
            &[("subject_token", id_token), ("subject_token_type", &access)],
            "invalid_grant",
        ),
        ("S38 an access token as ID token", &[("subject_token", token), ("subject_token_type", &id)], "invalid_grant"),
        ("S38 an ID token as assertion", &[("subject_token", id_token), ("subject_token_type", &jwt)], "invalid_grant"),
        (
            "S27 a refresh token of another",
            &[("subject_token", refresh_token), ("subject_token_type", &refresh)],
            "invalid_grant",
        ),
        ("garbage", &[("subject_token", "x"), ("subject_token_type", &access)], "invalid_grant"),
        (
            "an actor without type",
            &[("subject_token", token), ("subject_token_type", &access), ("actor_token", token)],
            "invalid_request",
        ),
        (
            "a type without actor",
            &[("subject_token", token), ("subject_token_type", &access), ("actor_token_type", &access)],
            "invalid_request",
        ),
        (
            "a bad actor",
            &[
                ("subject_token", token),
                ("subject_token_type", &access),
                ("actor_token", "x"),
                ("actor_token_type", &access),
            ],
            "invalid_grant",
        ),
        (
            "a refresh token asked for",
            &[("subject_token", token), ("subject_token_type", &access), ("requested_token_type", &refresh)],
            "invalid_request",
        ),
    ];
    for (what, fields, error) in cases {
        let (status, body) = exchange(&w, "app", fields).await;
        assert_eq!((status, &body["error"]), (400, &error.into()), "{what}: {body}");
    }
    let (_, body) = of(&w, "app", token, &[("requested_token_type", &jwt)]).await;
    assert_eq!(body["error"], "invalid_request", "an app that gets opaque tokens gets no JWT");
    let bare = [("grant_type", GRANT), ("client_id", "app"), ("subject_token", token), ("subject_token_type", &access)];
    assert_eq!(w.post("/oauth2/token", None, &bare).await.status(), 401, "S19");
    let wide =
        vec![("client_id", "own"), ("grant_type", GRANT), ("subject_token", token), ("subject_token_type", &access)];
    assert_eq!(read(&w.post("/oauth2/token", None, &wide).await)["error"], "invalid_grant", "its own alone");
}

type Change = fn(&mut Client);

#[tokio::test]
async fn f12_a_policy_that_is_tightened_ends_exchanged_tokens_at_the_gate() {
    let w = world().await;
    let hers = alice(&w, "web").await;
    let (_, answer) = of(&w, "app", text(&hers, "access_token"), &[("resource", ORDERS)]).await;
    let bearer = format!("Bearer {}", text(&answer, "access_token"));
    let ask = |w: &World| {
        let headers = http::HeaderMap::from_iter([(http::header::AUTHORIZATION, bearer.parse().unwrap())]);
        let policy = w.policy.load();
        let asked = ("localhost", "/orders", "GET");
        check(&policy, &w.tokens, asked, (&headers).into(), w.clock.now()).map(|p| p.opened().is_some())
    };
    let set = |change_app: Change, change_web: Change| {
        w.reload(|policy| {
            policy.routes = Table::build(vec![route("/orders", ORDERS, needs("read"))]);
            for (id, change) in [("app", change_app), ("web", change_web)] {
                let old = policy.clients[id].clone();
                let mut new = Client {
                    id: old.id.clone(),
                    name: old.name.clone(),
                    secrets: old.secrets.clone(),
                    keys: Vec::new(),
                    grants: [GRANT.to_owned()].into(),
                    scopes: ScopeSet::of(&["read"]),
                    token_format: TokenFormat::Opaque,
                    auth_method: AuthMethod::ClientSecret,
                    audience: API.into(),
                    exchange: Exchange {
                        from: ["web".to_owned()].into(),
                        audiences: [ORDERS.to_owned()].into(),
                        ..Exchange::default()
                    },
                    ..super::people::app(id)
                };
                change(&mut new);
                policy.clients.insert(id.into(), Arc::new(new));
            }
        });
    };
    set(|_| {}, |_| {});
    assert_eq!(ask(&w), Ok(true));
    let cases: [(&str, Change, Change); 5] = [
        ("the grant is gone", |c| c.grants.clear(), |_| {}),
        ("the app may not exchange web's tokens any more", |c| c.exchange.from.clear(), |_| {}),
        ("nor for this audience", |c| c.exchange.audiences.clear(), |_| {}),
        ("the app is blocked", |c| c.blocked = true, |_| {}),
        ("the app whose token it was is blocked", |_| {}, |c| c.blocked = true),
    ];
    for (what, app, web) in cases {
        set(app, web);
        assert_eq!(ask(&w), Err(Denial::InvalidToken), "{what}");
    }
    set(|_| {}, |_| {});
    assert_eq!(ask(&w), Ok(true), "nothing of it was the token's own end");
    w.tokens.end_all("client/web", 600, w.clock.now()).await.unwrap();
    assert_eq!(ask(&w), Err(Denial::InvalidToken), "every token of web, and what came of it");
}

/// One table: situation × profile → status, error, description.
#[tokio::test]
async fn each_profile_has_its_own_errors_to_the_letter() {
    let w = world_with(|policy| {
        exchanges(policy);
        policy.salesforce = Some(Arc::new(portcullis::policy::salesforce::Salesforce {
            organization: "00D000000000062".into(),
            instance_url: "https://acme.my.example".into(),
            ..Default::default()
        }));
    })
    .await;
    let hers = alice(&w, "web").await;
    let (access, refresh) = (kind("access_token"), kind("refresh_token"));
    let good = [("subject_token", text(&hers, "access_token")), ("subject_token_type", &*access)];
    let with = |more: &[(&'static str, &'static str)]| [&good[..], more].concat();
    let situations = [
        ("no subject token", vec![("subject_token_type", &*access)]),
        ("unknown kind", vec![("subject_token", "x"), ("subject_token_type", "urn:x")]),
        ("no such token", vec![("subject_token", "x"), ("subject_token_type", &*access)]),
        (
            "another app's refresh token",
            vec![("subject_token", text(&hers, "refresh_token")), ("subject_token_type", &*refresh)],
        ),
        ("scope too wide", with(&[("scope", "write")])),
        ("another audience", with(&[("audience", "https://other.example")])),
        ("actor without kind", with(&[("actor_token", "x")])),
        ("a kind that is not issued", with(&[("requested_token_type", "urn:x")])),
    ];
    let mut table = Vec::new();
    for (situation, fields) in situations {
        for (profile, path) in [("standard", "/oauth2/token"), ("salesforce", "/services/oauth2/token")] {
            let client = [("grant_type", GRANT), ("client_id", "app"), ("client_secret", crate::provider::SECRET)];
            let response = w.post(path, None, &[&client[..], &fields].concat()).await;
            let body = read(&response);
            let told = |name: &str| body[name].as_str().unwrap_or("–").to_owned();
            let status = response.status().as_u16();
            table.push(format!("{situation}, {profile}: {status} {}: {}", told("error"), told("error_description")));
        }
    }
    insta::assert_snapshot!("exchange_errors", table.join("\n"));
}
