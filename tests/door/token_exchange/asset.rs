//! Asset tokens: a user, a device, and the key that it proves.
use super::{API, GRANT, change, exchange, exchanges, json, kind, of, text};
use crate::{
    gate::{needs, route},
    holder::Holder,
    people::{Clock, Policy, SECRET, ScopeSet, Value, World, read},
    provider::world_with,
};
use portcullis::{
    admin::{Here, Office, asset::Registered},
    gateway::guard::{Carried, Denial, check},
    model::exchange::AssetTokens,
    policy::{
        in_force::InForce,
        route::{Requirement, Table},
    },
    token::OpenError,
};
use std::sync::Arc;

const TELEMETRY: &str = "https://telemetry.example";

fn devices(policy: &mut Policy) {
    exchanges(policy);
    let scopes = ScopeSet::of(&["openid", "api", "read", "email", "offline_access"]);
    change(policy, "web", |c| c.scopes = scopes.clone());
    change(policy, "app", |c| {
        c.scopes = scopes.clone();
        c.exchange.asset = Some(AssetTokens {
            audiences: vec![TELEMETRY.to_owned(), API.to_owned()],
            lifetime: 300,
            attributes: ["email".to_owned()].into(),
            needs: ["api", "openid"].map(str::to_owned).into(),
        });
    });
    let asked = |proof: bool| Requirement { asset: true, proof, ..Requirement::default() };
    policy.routes = Table::build(vec![
        route("/events", TELEMETRY, asked(false)),
        route("/proven", TELEMETRY, asked(true)),
        route("/orders", API, needs("read")),
    ]);
}

/// Alice signs in to the app beside the device.
async fn hers(w: &World, scope: &str) -> String {
    let code =
        super::Browser::new(w).authorize(&super::request("web", &[("scope", scope)]), "alice").await["code"].clone();
    let (_, body) = super::redeem(w, "web", &code, &[]).await;
    text(&body, "access_token").to_owned()
}

fn office(w: &World) -> Office {
    let policy = w.policy.load_full();
    let in_force = Arc::new(InForce::of(Policy::clone(&policy)));
    let here = Some(Here { tokens: w.tokens.clone(), in_force });
    let (by, audit) = ("os:root".to_owned(), portcullis::log::Log::off());
    Office { policy, store: w.store.clone(), here, audit, by, through: "command line", now: w.clock.now() }
}

async fn listed(w: &World) -> Vec<Registered> {
    office(w).assets((Some("app"), Some("alice")), "", 100).await.unwrap().items
}

async fn asset_token(w: &World, token: &str, actor: Option<&str>, more: &[(&str, &str)]) -> (u16, Value) {
    let jwt = kind("jwt");
    let actor = actor.map(|a| [("actor_token", a), ("actor_token_type", &*jwt)]);
    let fields: Vec<(&str, &str)> = actor.iter().flatten().copied().chain(more.iter().copied()).collect();
    of(w, "app", token, &fields).await
}

fn ask(w: &World, path: &str, scheme: &str, token: &str, proof: Option<String>) -> Result<(), Denial> {
    let mut headers = http::HeaderMap::new();
    headers.insert("authorization", format!("{scheme} {token}").parse().unwrap());
    proof.into_iter().for_each(|p| drop(headers.insert("dpop", p.parse().unwrap())));
    let carried = Carried { authority: "gate.example", ..(&headers).into() };
    check(&w.policy.load(), &w.tokens, ("gate.example", path, "GET"), carried, w.clock.now()).map(drop)
}

#[tokio::test]
async fn a_device_is_registered_and_its_token_opens_what_asks_for_it_with_the_key_it_signed_with() {
    let w = world_with(devices).await;
    let (device, now) = (Holder::new(), w.clock.now().0);
    let token = hers(&w, "openid api read email offline_access").await;
    let says = json!({"Name": "Printer", "SerialNumber": "4711", "did": "d-1", "AccountId": "acme"});
    let actor = device.actor(says, now);
    let (status, body) = asset_token(&w, &token, Some(&actor), &[]).await;
    assert_eq!(status, 200, "{body}");
    let shape: Vec<&String> = body.as_object().unwrap().keys().collect();
    assert_eq!(shape, ["access_token", "expires_in", "issued_token_type", "token_type"]);
    assert_eq!(
        (&body["issued_token_type"], &body["token_type"], &body["expires_in"]),
        (&json!(kind("jwt")), &json!("Bearer"), &json!(120)),
        "no longer than the actor token"
    );
    let jwt = text(&body, "access_token");
    let said = w.tokens.verify_claims("asset+jwt", jwt, w.clock.now()).unwrap();
    assert_eq!(said["cnf"]["jwk"], device.jwk);
    assert_eq!((&said["sub"], &said["aud"]), (&json!("alice"), &json!([TELEMETRY, API])));
    let all = listed(&w).await;
    let [known] = &all[..] else { panic!("{all:?}") };
    assert_eq!((&*known.username, &*known.client_id, known.account.as_deref()), ("alice", "app", Some("acme")));
    assert_eq!(
        said["asset"],
        json!({"id": known.id, "name": "Printer", "serial_number": "4711",
        "attributes": {"email": "alice@example.com"}})
    );
    assert_eq!(said["act"], json!({"sub": known.id, "client_id": "app"}), "S41: the device acts");
    // It opens what asks for it alone, and where the route wants it, with a proof of its key.
    let proof = |h: &Holder| Some(h.proof("GET", "https://gate.example/proven", Some(jwt), w.clock.now().0));
    assert_eq!(ask(&w, "/events", "Bearer", jwt, None), Ok(()));
    assert_eq!(ask(&w, "/orders", "Bearer", jwt, None), Err(Denial::OtherToken));
    assert_eq!(ask(&w, "/events", "Bearer", &token, None), Err(Denial::InvalidToken), "hers has another audience");
    assert_eq!(ask(&w, "/proven", "Bearer", jwt, None), Err(Denial::NotProven));
    assert_eq!(ask(&w, "/proven", "DPoP", jwt, None), Err(Denial::InvalidProof));
    assert_eq!(ask(&w, "/proven", "DPoP", jwt, proof(&Holder::new())), Err(Denial::InvalidToken), "a thief's key");
    let good = proof(&device);
    assert_eq!(ask(&w, "/proven", "DPoP", jwt, good.clone()), Ok(()));
    assert_eq!(ask(&w, "/proven", "DPoP", jwt, good), Err(Denial::InvalidProof), "S37");
    let seen = read(&w.post("/oauth2/introspect", Some("app"), &[("token", jwt)]).await);
    assert_eq!((&seen["asset"]["id"], &seen["cnf"]["jwk"]), (&json!(known.id), &device.jwk));
    // Neither userinfo nor a further exchange takes it.
    let request = http::Request::get("/oauth2/userinfo").header("authorization", format!("Bearer {jwt}"));
    assert_eq!(w.provider.handle(request.body(Default::default()).unwrap()).await.status(), 401);
    let fields = [("subject_token", jwt), ("subject_token_type", &*kind("jwt"))];
    assert_eq!(exchange(&w, "app", &fields).await.0, 400);
    // The asset's end is felt by the next request; so is that of her sign-in.
    office(&w).remove_asset(&known.id).await.unwrap();
    assert_eq!(ask(&w, "/events", "Bearer", jwt, None), Err(Denial::InvalidToken));
    assert!(listed(&w).await.is_empty());
}

#[tokio::test]
async fn a_known_device_is_linked_by_serial_number_or_id_and_nobody_else_can_be_it() {
    let w = world_with(devices).await;
    let (device, thief) = (Holder::new(), Holder::new());
    let token = hers(&w, "openid api offline_access").await;
    let signed = |h: &Holder, says: Value, iat: i64| h.actor(says, w.clock.now().0 + iat);
    let serial = || json!({"serial_number": "1", "name": "Pump"});
    let (status, first) = asset_token(&w, &token, Some(&signed(&device, serial(), 0)), &[]).await;
    assert_eq!(status, 200, "{first}");
    let id = listed(&w).await[0].id.clone();
    assert_eq!(asset_token(&w, &token, Some(&signed(&device, serial(), 1)), &[]).await.0, 200, "the same again");
    let renamed = json!({"id": id, "name": "Old pump"});
    let (status, body) = asset_token(&w, &token, Some(&signed(&device, renamed, 2)), &[]).await;
    assert_eq!(status, 200, "{body}");
    let all = listed(&w).await;
    assert_eq!(all.len(), 1, "one device is one asset");
    assert_eq!((all[0].name.as_deref(), all[0].serial_number.as_deref()), (Some("Old pump"), Some("1")));
    let used = signed(&device, serial(), 3);
    assert_eq!(asset_token(&w, &token, Some(&used), &[]).await.0, 200);
    let without = {
        let mut claims = json!({"exp": w.clock.now().0 + 60});
        claims["cnf"] = json!({"jwk": device.jwk});
        jsonwebtoken::encode(&jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256), &claims, &thief.key).unwrap()
    };
    let typed = device.sign(&json!({"exp": w.clock.now().0 + 60, "cnf": {"jwk": device.jwk}}), |_| {});
    let cases = [
        ("S37 used before", used),
        ("another key", signed(&thief, serial(), 0)),
        ("an unknown id", signed(&device, json!({"id": "nothing"}), 0)),
        ("S32 not signed with the key in it", without),
        ("S38 a proof", typed),
        ("S34 expired", signed(&device, serial(), -120)),
        ("S35 from the future", signed(&device, serial(), 61)),
        ("S36 for somebody else", signed(&device, json!({"serial_number": "2", "aud": "https://other.example"}), 0)),
        ("an unprintable name", signed(&device, json!({"serial_number": "2", "name": "a\nb"}), 0)),
    ];
    for (what, actor) in cases {
        let (status, body) = asset_token(&w, &token, Some(&actor), &[]).await;
        assert_eq!((status, &body["error"]), (400, &json!("invalid_grant")), "{what}: {body}");
    }
    let poor = hers(&w, "openid offline_access").await;
    let (_, body) = asset_token(&w, &poor, Some(&signed(&device, serial(), 4)), &[]).await;
    assert_eq!(body["error"], "invalid_scope", "api and openid are needed");
    let (_, body) =
        asset_token(&w, &token, Some(&signed(&device, serial(), 5)), &[("audience", "https://x.example")]).await;
    assert_eq!(body["error"], "invalid_target");
    // Blocked: no new token, and the old ones end; then neither.
    let jwt = text(&first, "access_token");
    assert!(office(&w).block_asset(&id, true).await.unwrap());
    assert_eq!(w.tokens.open(jwt, w.clock.now()).err(), Some(OpenError::Revoked));
    assert_eq!(asset_token(&w, &token, Some(&signed(&device, serial(), 6)), &[]).await.0, 400);
    assert!(office(&w).block_asset(&id, false).await.unwrap());
    w.clock.advance(1);
    let (status, body) = asset_token(&w, &token, Some(&signed(&device, serial(), 7)), &[]).await;
    assert_eq!(status, 200, "{body}");
    let jwt = text(&body, "access_token");
    assert!(w.tokens.open(jwt, w.clock.now()).is_ok());
    w.tokens.end_all("client/web", 600, w.clock.now()).await.unwrap();
    assert_eq!(w.tokens.open(jwt, w.clock.now()).err(), Some(OpenError::Revoked), "tied to what it came from");
}

#[tokio::test]
async fn both_wire_shapes_and_a_token_without_a_device() {
    let w = world_with(|policy| {
        devices(policy);
        policy.salesforce = Some(std::sync::Arc::new(portcullis::policy::salesforce::Salesforce {
            organization: "00D000000000062".into(),
            instance_url: "https://acme.my.example".into(),
            ..Default::default()
        }));
    })
    .await;
    let token = hers(&w, "openid api offline_access").await;
    let device = Holder::new();
    let actor = device.actor(json!({"serial_number": "9"}), w.clock.now().0);
    let (access, jwt) = (kind("access_token"), kind("jwt"));
    let fields = [
        ("grant_type", GRANT),
        ("client_id", "app"),
        ("client_secret", SECRET),
        ("subject_token", &token),
        ("subject_token_type", &access),
        ("actor_token", &actor),
        ("actor_token_type", &jwt),
    ];
    let response = w.post("/services/oauth2/token", None, &fields).await;
    let body = read(&response);
    assert_eq!((response.status().as_u16(), &body["issued_token_type"]), (200, &json!(jwt)), "{body}");
    assert!(body["id"].is_null() && body["expires_in"] == 120, "{body}");
    let (status, body) = asset_token(&w, &token, None, &[]).await;
    assert_eq!((status, &body["expires_in"]), (200, &json!(300)), "{body}");
    let said = w.tokens.verify_claims("asset+jwt", text(&body, "access_token"), w.clock.now()).unwrap();
    assert_eq!((&said["cnf"], &said["asset"]["id"]), (&Value::Null, &Value::Null));
    assert_eq!(ask(&w, "/events", "Bearer", text(&body, "access_token"), None), Ok(()));
    assert_eq!(ask(&w, "/proven", "Bearer", text(&body, "access_token"), None), Err(Denial::NotBound));
    // Asked for by name, the same app gets a plain exchange; on the Salesforce paths with their fields.
    let plain = [&fields[..5], &[("requested_token_type", &*access)]].concat();
    let body = read(&w.post("/services/oauth2/token", None, &plain).await);
    assert_eq!(body["issued_token_type"], access, "{body}");
    assert!(body["id"].as_str().unwrap().starts_with("https://") && body["instance_url"] == "https://acme.my.example");
    // F12: the app gets no asset tokens any more, or none for this; the older ones open nothing.
    let (_, body) = asset_token(&w, &token, None, &[]).await;
    let asset = text(&body, "access_token");
    let tightened: [fn(&mut Option<AssetTokens>); 2] =
        [|rules| *rules = None, |rules| rules.iter_mut().for_each(|rules| rules.audiences = vec![API.to_owned()])];
    for tighten in tightened {
        let routes = w.policy.load().routes.clone();
        let before = w.policy.load_full();
        w.reload(|policy| {
            policy.routes = routes;
            let mut app = (*policy.clients["app"]).clone();
            tighten(&mut app.exchange.asset);
            policy.clients.insert("app".into(), Arc::new(app));
        });
        assert_eq!(ask(&w, "/events", "Bearer", asset, None), Err(Denial::InvalidToken));
        w.policy.store(before);
        assert_eq!(ask(&w, "/events", "Bearer", asset, None), Ok(()));
    }
    let wrong = [&fields[..5], &[("requested_token_type", "urn:x")]].concat();
    let body = read(&w.post("/services/oauth2/token", None, &wrong).await);
    assert_eq!(body["error"], "invalid_request", "{body}");
}
