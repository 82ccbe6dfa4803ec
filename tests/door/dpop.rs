//! Tokens that are bound to a key, and the proof of it (RFC 9449): at the token endpoint, at userinfo, at the gate.
use super::{
    gate::{needs, route},
    holder::{Holder, claims},
    people::{
        self, Browser, Bytes, CALLBACK, Clock, ISSUER, Policy, Request, SECRET, VERIFIER, Value, World, json, read,
        request,
    },
    process::{GRANT, Gate},
    provider::world_with,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use portcullis::{
    gateway::guard::{Carried, Denial, check},
    policy::route::{Requirement, Table},
};
use std::{collections::BTreeMap, sync::Arc};

const TOKEN: &str = "https://id.example/oauth2/token";

async fn world() -> World {
    world_with(|policy| {
        people::people(policy);
        let mut bound = people::app("bound");
        bound.dpop_bound = true;
        bound.interactive.response_types = ["code", "token"].map(str::to_owned).into();
        policy.clients.insert("bound".into(), Arc::new(bound));
        policy.salesforce = Some(Arc::new(portcullis::policy::salesforce::Salesforce {
            organization: "00D000000000062".into(),
            instance_url: "https://acme.my.example".into(),
            ..Default::default()
        }));
    })
    .await
}

/// A POST with as many proofs as are given.
async fn post(
    w: &World,
    path: &str,
    proofs: &[String],
    auth: Option<&str>,
    fields: &[(&str, &str)],
) -> http::Response<Bytes> {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let mut request = Request::post(path).header("content-type", "application/x-www-form-urlencoded");
    for proof in proofs {
        request = request.header("dpop", proof);
    }
    if let Some(id) = auth {
        request = request.header("authorization", format!("Basic {}", STANDARD.encode(format!("{id}:{SECRET}"))));
    }
    w.provider.handle(request.body(Bytes::from(body)).unwrap()).await
}

async fn credentials(w: &World, proofs: &[String]) -> (u16, Value) {
    let response = post(w, "/oauth2/token", proofs, Some("app"), &[("grant_type", "client_credentials")]).await;
    (response.status().as_u16(), read(&response))
}

async fn redeem(w: &World, app: &str, code: &str, proofs: &[String]) -> (u16, Value) {
    let fields = [
        ("grant_type", "authorization_code"),
        ("client_id", app),
        ("code", code),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
    ];
    let response = post(w, "/oauth2/token", proofs, None, &fields).await;
    (response.status().as_u16(), read(&response))
}

async fn refresh(w: &World, app: &str, token: &str, proofs: &[String]) -> (u16, Value) {
    let fields = [("grant_type", "refresh_token"), ("client_id", app), ("refresh_token", token)];
    let response = post(w, "/oauth2/token", proofs, None, &fields).await;
    (response.status().as_u16(), read(&response))
}

#[tokio::test]
async fn s37_a_proof_at_the_token_endpoint_binds_the_token_once_and_a_bad_one_gets_none() {
    let w = world().await;
    let (holder, now) = (Holder::new(), w.clock.now().0);
    let proof = holder.proof("POST", TOKEN, None, now);
    let (status, body) = credentials(&w, std::slice::from_ref(&proof)).await;
    assert_eq!((status, &body["token_type"]), (200, &json!("DPoP")), "{body}");
    let token = body["access_token"].as_str().unwrap();
    let seen = read(&w.post("/oauth2/introspect", Some("app"), &[("token", token)]).await);
    assert_eq!((&seen["cnf"]["jkt"], &seen["token_type"]), (&json!(holder.thumbprint()), &json!("DPoP")));
    let (status, again) = credentials(&w, std::slice::from_ref(&proof)).await;
    assert_eq!((status, &again["error"]), (400, &json!("invalid_dpop_proof")), "S37");
    let store = w.store.clone();
    let w = w.restarted(store).await;
    assert_eq!(credentials(&w, &[proof]).await.1["error"], "invalid_dpop_proof", "S37: across restarts");
    let with = |name: &str, value: Value| {
        let mut claims = claims("POST", TOKEN, None, now);
        claims[name] = value;
        vec![holder.sign(&claims, |_| {})]
    };
    let good = || holder.proof("POST", TOKEN, None, now);
    let cases = [
        ("two proofs", vec![good(), good()]),
        ("not a JWS", vec!["x".to_owned()]),
        ("htm", with("htm", json!("GET"))),
        ("htu", with("htu", json!("https://id.example/oauth2/revoke"))),
        ("htu of another server", with("htu", json!("https://evil.example/oauth2/token"))),
        ("S34 old", with("iat", json!(now - 61))),
        ("S35 ahead", with("iat", json!(now + 61))),
        ("S38 typ", vec![holder.sign(&claims("POST", TOKEN, None, now), |h| h.typ = Some("JWT".to_owned()))]),
        ("S33 another key", {
            let other = serde_json::from_value(Holder::new().jwk).ok();
            vec![holder.sign(&claims("POST", TOKEN, None, now), |h| h.jwk = other)]
        }),
    ];
    for (what, proofs) in cases {
        let (status, body) = credentials(&w, &proofs).await;
        assert_eq!((status, &body["error"]), (400, &json!("invalid_dpop_proof")), "{what}");
    }
    let (_, plain) = credentials(&w, &[]).await;
    assert_eq!(plain["token_type"], "Bearer", "and without any proof it is as it was");
}

#[tokio::test]
async fn a_public_app_s_refresh_token_is_bound_and_an_app_that_must_bind_gets_nothing_without_proof() {
    let w = world().await;
    let (holder, thief) = (Holder::new(), Holder::new());
    let proof = |h: &Holder| vec![h.proof("POST", TOKEN, None, w.clock.now().0)];
    let code = |app: &'static str, more: Vec<(&'static str, String)>| {
        let w = &w;
        async move {
            let more: Vec<(&str, &str)> = more.iter().map(|(k, v)| (*k, v.as_str())).collect();
            Browser::new(w).authorize(&request(app, &more), "alice").await["code"].clone()
        }
    };
    let (status, first) = redeem(&w, "web", &code("web", vec![]).await, &proof(&holder)).await;
    assert_eq!((status, &first["token_type"]), (200, &json!("DPoP")), "{first}");
    let token = first["refresh_token"].as_str().unwrap();
    for (what, proofs) in [("no proof", vec![]), ("another key", proof(&thief))] {
        let (status, body) = refresh(&w, "web", token, &proofs).await;
        assert_eq!((status, &body["error"]), (400, &json!("invalid_grant")), "{what}");
    }
    let (status, second) = refresh(&w, "web", token, &proof(&holder)).await;
    assert_eq!((status, &second["token_type"]), (200, &json!("DPoP")), "{second}");
    let unbound = code("bound", vec![]).await;
    let (status, body) = redeem(&w, "bound", &unbound, &[]).await;
    assert_eq!((status, &body["error"]), (400, &json!("invalid_dpop_proof")), "dpop_bound_access_tokens");
    assert_eq!(redeem(&w, "bound", &unbound, &proof(&holder)).await.0, 200, "the code was not spent by that");
    let told = Browser::new(&w).authorize(&request("bound", &[("response_type", "token")]), "alice").await;
    assert_eq!(told["error"], "unauthorized_client", "a redirect cannot carry a bound token");
    // dpop_jkt binds the code (§10).
    let thumbprint = json!(holder.thumbprint()).as_str().unwrap().to_owned();
    let bound = code("web", vec![("dpop_jkt", thumbprint.clone())]).await;
    for (what, proofs) in [("no proof", vec![]), ("another key", proof(&thief))] {
        let (status, body) = redeem(&w, "web", &bound, &proofs).await;
        assert_eq!((status, &body["error"]), (400, &json!("invalid_dpop_proof")), "{what}");
    }
    assert_eq!(redeem(&w, "web", &bound, &proof(&holder)).await.0, 200, "S25");
    let told = Browser::new(&w).authorize(&request("web", &[("dpop_jkt", "short")]), "alice").await;
    assert_eq!(told["error"], "invalid_request");
    // A pushed request is bound by its proof; a dpop_jkt beside it names the same key (§10.1).
    let par = |jkt: String, holder: &Holder| {
        let proof = holder.proof("POST", &format!("{ISSUER}/oauth2/par"), None, w.clock.now().0);
        let pushed = request("web", &[("dpop_jkt", &jkt)]);
        let fields: BTreeMap<String, String> =
            form_urlencoded::parse(pushed.split_once('?').unwrap().1.as_bytes()).into_owned().collect();
        let w = &w;
        async move {
            let fields: Vec<(&str, &str)> = fields.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            read(&post(w, "/oauth2/par", &[proof], None, &fields).await)
        }
    };
    assert_eq!(par(thumbprint, &thief).await["error"], "invalid_dpop_proof");
    let pushed = par(String::new(), &holder).await;
    let target = format!("/oauth2/authorize?client_id=web&request_uri={}", pushed["request_uri"].as_str().unwrap());
    let code = Browser::new(&w).authorize(&target, "alice").await["code"].clone();
    assert_eq!(redeem(&w, "web", &code, &proof(&thief)).await.0, 400);
    assert_eq!(redeem(&w, "web", &code, &proof(&holder)).await.0, 200);
}

#[tokio::test]
async fn nonces_are_asked_for_where_the_policy_says_so_and_hold_for_their_time() {
    let w = world().await;
    let set = |nonce: bool| {
        w.reload(|policy: &mut Policy| {
            policy.dpop.nonce = nonce;
            policy.routes = Table::build(vec![route("/orders", "https://api.example", needs("read"))]);
        });
    };
    set(true);
    let holder = Holder::new();
    let proof = |nonce: Option<&str>| {
        let mut claims = claims("POST", TOKEN, None, w.clock.now().0);
        claims["nonce"] = json!(nonce);
        holder.sign(&claims, |_| {})
    };
    let fields = [("grant_type", "client_credentials")];
    let challenged = post(&w, "/oauth2/token", &[proof(None)], Some("app"), &fields).await;
    assert_eq!((challenged.status().as_u16(), &read(&challenged)["error"]), (400, &json!("use_dpop_nonce")));
    let nonce = challenged.headers()["dpop-nonce"].to_str().unwrap().to_owned();
    let (status, body) = credentials(&w, &[proof(Some(&nonce))]).await;
    assert_eq!((status, &body["token_type"]), (200, &json!("DPoP")), "{body}");
    assert_eq!(credentials(&w, &[proof(Some("guessed"))]).await.1["error"], "use_dpop_nonce");
    let token = body["access_token"].as_str().unwrap();
    let ask = |nonce: Option<&str>| {
        let mut claims = claims("GET", "https://api.example/orders", Some(token), w.clock.now().0);
        claims["nonce"] = json!(nonce);
        let mut headers = http::HeaderMap::new();
        headers.insert("authorization", format!("DPoP {token}").parse().unwrap());
        headers.insert("dpop", holder.sign(&claims, |_| {}).parse().unwrap());
        let carried = Carried { authority: "api.example", ..(&headers).into() };
        check(&w.policy.load(), &w.tokens, ("api.example", "/orders", "GET"), carried, w.clock.now()).map(drop)
    };
    assert_eq!((ask(None), ask(Some("guessed"))), (Err(Denial::UseNonce), Err(Denial::UseNonce)));
    assert_eq!(ask(Some(&nonce)), Ok(()), "one nonce serves until its time is over");
    w.clock.advance(300);
    assert_eq!(ask(Some(&nonce)), Err(Denial::UseNonce));
    set(false);
    assert_eq!(ask(None), Ok(()));
}

#[tokio::test]
async fn s60_at_the_gate_each_bad_proof_is_refused_beside_its_accepted_twin() {
    let w = world().await;
    let proven = Requirement { proof: true, ..needs("read") };
    w.reload(|policy| {
        let api = "https://api.example";
        policy.routes = Table::build(vec![route("/orders", api, needs("read")), route("/proven", api, proven)]);
    });
    let (holder, now) = (Holder::new(), w.clock.now().0);
    let (_, body) = credentials(&w, &[holder.proof("POST", TOKEN, None, now)]).await;
    let token = body["access_token"].as_str().unwrap().to_owned();
    let plain = w.token("app").await;
    let ask = |path: &str, authorization: String, proofs: &[String]| {
        let mut headers = http::HeaderMap::new();
        headers.insert("authorization", authorization.parse().unwrap());
        for proof in proofs {
            headers.append("dpop", proof.parse().unwrap());
        }
        let carried = Carried { authority: "API.example:443", ..(&headers).into() };
        check(&w.policy.load(), &w.tokens, ("api.example", path, "GET"), carried, w.clock.now()).map(drop)
    };
    let at = |path: &str| format!("https://api.example{path}");
    let good = |path: &str| vec![holder.proof("GET", &at(path), Some(&token), now)];
    let bound = || format!("DPoP {token}");
    assert_eq!(ask("/orders", bound(), &good("/orders")), Ok(()));
    assert_eq!(ask("/proven", bound(), &good("/proven")), Ok(()));
    let once = good("/orders");
    assert_eq!(
        (ask("/orders", bound(), &once), ask("/orders", bound(), &once)),
        (Ok(()), Err(Denial::InvalidProof)),
        "S37"
    );
    assert_eq!(
        ask("/orders", format!("Bearer {token}"), &good("/orders")),
        Err(Denial::NotProven),
        "as a bearer token"
    );
    assert_eq!(ask("/orders", format!("Bearer {token}"), &[]), Err(Denial::NotProven));
    assert_eq!(ask("/orders", format!("Bearer {plain}"), &[]), Ok(()), "an unbound one is as it was");
    assert_eq!(ask("/orders", format!("DPoP {plain}"), &[]), Err(Denial::NotBound));
    assert_eq!(ask("/proven", format!("Bearer {plain}"), &[]), Err(Denial::NotBound), "the route asks for a key");
    let with = |name: &str, value: Value| {
        let mut claims = claims("GET", &at("/orders"), Some(&token), now);
        claims[name] = value;
        vec![holder.sign(&claims, |_| {})]
    };
    let stranger = Holder::new();
    let cases = [
        ("no proof", vec![], Denial::InvalidProof),
        ("two proofs", [good("/orders"), good("/orders")].concat(), Denial::InvalidProof),
        ("for another path", good("/proven"), Denial::InvalidProof),
        ("for another method", with("htm", json!("POST")), Denial::InvalidProof),
        ("for another host", with("htu", json!("https://other.example/orders")), Denial::InvalidProof),
        ("for another token", with("ath", json!(portcullis::secret::Digest::text("x"))), Denial::InvalidProof),
        ("without ath", with("ath", Value::Null), Denial::InvalidProof),
        ("S34 old", with("iat", json!(now - 61)), Denial::InvalidProof),
        ("S35 ahead", with("iat", json!(now + 61)), Denial::InvalidProof),
        ("S33 by another key", vec![stranger.proof("GET", &at("/orders"), Some(&token), now)], Denial::InvalidToken),
        ("garbage", vec!["\u{e4}".to_owned()], Denial::InvalidProof),
    ];
    for (what, proofs, why) in cases {
        assert_eq!(ask("/orders", bound(), &proofs), Err(why), "{what}");
    }
    assert_eq!(ask("/orders", "DPoP x".to_owned(), &good("/orders")), Err(Denial::InvalidToken));
}

#[tokio::test]
async fn userinfo_and_the_salesforce_paths_take_a_bound_token_with_its_proof_alone() {
    let w = world().await;
    let holder = Holder::new();
    let code = Browser::new(&w).authorize(&request("web", &[]), "alice").await["code"].clone();
    let second = "https://acme.my.example/services/oauth2/token";
    let fields = [
        ("grant_type", "authorization_code"),
        ("client_id", "web"),
        ("code", &*code),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
    ];
    let proof = holder.proof("POST", second, None, w.clock.now().0);
    let response = post(&w, "/services/oauth2/token", &[proof], None, &fields).await;
    let body = read(&response);
    assert_eq!((response.status().as_u16(), &body["token_type"]), (200, &json!("DPoP")), "{body}");
    let token = body["access_token"].as_str().unwrap();
    let get = |path: &'static str, scheme: &'static str, proof: Option<String>| {
        let mut request = Request::get(path).header("authorization", format!("{scheme} {token}"));
        if let Some(proof) = proof {
            request = request.header("dpop", proof);
        }
        w.provider.handle(request.body(Bytes::new()).unwrap())
    };
    for path in ["/oauth2/userinfo", "/services/oauth2/userinfo"] {
        let proof = || Some(holder.proof("GET", &format!("{ISSUER}{path}"), Some(token), w.clock.now().0));
        assert_eq!(get(path, "DPoP", proof()).await.status(), 200, "{path}");
        for (scheme, proof) in [("Bearer", None), ("Bearer", proof()), ("DPoP", None)] {
            let refused = get(path, scheme, proof).await;
            assert!(matches!(refused.status().as_u16(), 400 | 401 | 403), "{path} {scheme}");
        }
        let other = Holder::new().proof("GET", &format!("{ISSUER}{path}"), Some(token), w.clock.now().0);
        assert!(get(path, "DPoP", Some(other)).await.status().is_client_error());
    }
}

#[test]
fn raw_bound_tokens_at_the_gate_are_refused_in_the_words_of_rfc_9449() {
    let gate = Gate::start();
    let (holder, now) = (Holder::new(), portcullis::clock::SystemClock.now().0);
    let endpoint = format!("{}/oauth2/token", gate.issuer());
    let fields = [("grant_type", GRANT), ("scope", "orders:read"), ("assertion", &gate.assertion())];
    let request = gate.agent().post(&endpoint).header("dpop", holder.proof("POST", &endpoint, None, now));
    let answer: Value =
        serde_json::from_str(&request.send_form(fields).unwrap().body_mut().read_to_string().unwrap()).unwrap();
    assert_eq!(answer["token_type"], "DPoP", "{answer}");
    let token = answer["access_token"].as_str().unwrap();
    let url = format!("{}/orders/7", gate.issuer());
    let bound = format!("Authorization: DPoP {token}");
    let proof = |url: &str| format!("DPoP: {}", holder.proof("GET", url, Some(token), now));
    for version in ["--http1.1", "--http2"] {
        let seen =
            gate.curl(&[version, "-i", "-H", &bound, "-H", &proof(&format!("{url}?a=b")), &format!("{url}?x=y")]);
        assert!(seen.contains(" 200") && seen.contains("\"x-forwarded-user\":\"alice\""), "{seen}");
        assert!(!seen.to_ascii_lowercase().contains("\"dpop\""), "the proof goes no further: {seen}");
        let other = proof(&format!("{}/orders/8", gate.issuer()));
        for (what, headers, error) in [
            ("as a bearer token", vec![format!("Authorization: Bearer {token}")], "invalid_token"),
            ("no proof", vec![bound.clone()], "invalid_dpop_proof"),
            ("two proofs", vec![bound.clone(), proof(&url), proof(&url)], "invalid_dpop_proof"),
            ("for another path", vec![bound.clone(), other.clone()], "invalid_dpop_proof"),
            ("garbage", vec![bound.clone(), "DPoP: a.b.c".to_owned()], "invalid_dpop_proof"),
            ("a huge one", vec![bound.clone(), format!("DPoP: {}", "a".repeat(20_000))], "invalid_dpop_proof"),
        ] {
            let mut arguments = vec![version, "-i"];
            headers.iter().for_each(|h| arguments.extend(["-H", h]));
            arguments.push(&url);
            let seen = gate.curl(&arguments).to_ascii_lowercase();
            assert!(seen.contains(" 401") && seen.contains(&format!("\"error\":\"{error}\"")), "{what}: {seen}");
            assert!(seen.contains("www-authenticate: dpop realm=") && seen.contains("algs=\"es256"), "{what}: {seen}");
        }
    }
    let metadata = gate.curl(&[&format!("{}/.well-known/oauth-authorization-server", gate.issuer())]);
    assert!(metadata.contains("dpop_signing_alg_values_supported"), "{metadata}");
    let logs = ["access.log", "audit.log"].map(|f| std::fs::read_to_string(gate.path(f)).unwrap_or_default());
    assert!(logs.iter().all(|log| !log.contains(token)), "a token in a log");
}
