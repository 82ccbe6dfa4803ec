//! Apps that authenticate by certificate, and tokens that are bound to one.
use super::House;
use crate::{
    gate::{needs, route},
    holder::Holder,
    people::{self, Browser, Bytes, CALLBACK, Clock, ISSUER, Request, VERIFIER, World, request},
    provider::world_with,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use portcullis::{
    gateway::guard::{Carried, Denial, check},
    model::ClientCertificate,
    policy::route::Table,
    secret::Digest,
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde_json::{Value, json};
use std::sync::Arc;

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

fn thumbprint(house: &House, client: &str) -> Value {
    let pem = std::fs::read(house.gate.path(&format!("certs/{client}.pem"))).unwrap();
    json!(Digest::of(&CertificateDer::from_pem_slice(&pem).unwrap()))
}

fn post(house: &House, host: &str, client: Option<&str>, path: &str, form: &str) -> (u16, Value) {
    let (status, body) = house.get(host, client, &[path, "-d", form]).unwrap();
    (status, serde_json::from_str(&body).unwrap_or_default())
}

fn token(house: &House, host: &str, client: Option<&str>, app: &str) -> (u16, Value) {
    post(house, host, client, "/oauth2/token", &format!("grant_type=client_credentials&client_id={app}"))
}

#[test]
fn s17_s19_s61_apps_authenticate_by_certificate_and_a_bound_token_opens_with_that_certificate_alone() {
    let proven =
        "[[route]]\nname = \"proven\"\npath = \"/proven\"\nscopes = [\"orders:read\"]\nproof_of_possession = true\n";
    let mut house = House::start("");
    let example = house.gate.example;
    let route = format!("{proven}upstream.addresses = [\"127.0.0.1:{example}\"]\n\n[[route]]\nname = \"status\"");
    house.gate.edit("conf/portcullis.toml", "[[route]]\nname = \"status\"", &route);
    assert_eq!(house.gate.admin("POST", "/reload").0, 200);
    // RFC 8705 §2: who gets a token, and who does not.
    for (host, client, app, status) in [
        ("must.example", Some("robot"), "by-name", 200),
        ("may.example", Some("robot"), "by-name", 200),
        ("may.example", Some("robot"), "by-subject", 200),
        ("may.example", Some("own"), "by-itself", 200),
        ("may.example", Some("other"), "by-name", 401),
        ("may.example", Some("other"), "by-subject", 401),
        ("may.example", Some("own"), "by-name", 401),
        ("may.example", Some("another"), "by-itself", 401),
        ("may.example", Some("robot"), "by-itself", 401),
        ("may.example", None, "by-name", 401),
        ("may.example", None, "by-itself", 401),
        ("localhost", Some("robot"), "by-name", 401),
        ("localhost", Some("own"), "by-itself", 401),
    ] {
        let (got, body) = token(&house, host, client, app);
        assert_eq!(got, status, "{host} {client:?} {app}: {body}");
        assert!(status == 200 || body["error"] == "invalid_client", "{body}");
    }
    // Self-made, with everything that the real one says.
    house.client("robot-self", None, |c| *c = super::leaf("robot"));
    assert_eq!(token(&house, "may.example", Some("robot-self"), "by-name").0, 401, "nobody vouches for it");
    assert_eq!(token(&house, "may.example", Some("robot-self"), "by-subject").0, 401);
    let mixed = "grant_type=client_credentials&client_id=by-name&client_secret=x";
    assert_eq!(post(&house, "may.example", Some("robot"), "/oauth2/token", mixed).0, 401, "S17");
    let unbound = token(&house, "may.example", Some("robot"), "by-subject").1;
    let open = |host: &str, client: Option<&str>, path: &str, token: &Value, version: &str| {
        let bearer = format!("Authorization: Bearer {}", token.as_str().unwrap());
        house.get(host, client, &[path, version, "-i", "-H", &bearer]).unwrap()
    };
    assert_eq!(open("localhost", None, "/orders/7", &unbound["access_token"], "--http2").0, 200, "as its app asks");
    for (app, client, thief) in [("by-name", "robot", "other"), ("by-itself", "own", "another")] {
        let (_, answer) = token(&house, "may.example", Some(client), app);
        assert_eq!(answer["token_type"], "Bearer", "{answer}");
        let bound = &answer["access_token"];
        let form = format!("client_id={app}&token={}", bound.as_str().unwrap());
        let (_, told) = post(&house, "may.example", Some(client), "/oauth2/introspect", &form);
        assert_eq!(told["cnf"], json!({"x5t#S256": thumbprint(&house, client)}), "RFC 8705 §3.2: {told}");
        let (status, _) = post(&house, "may.example", Some(thief), "/oauth2/introspect", &form);
        assert_eq!(status, 401, "S46");
        if app == "by-itself" {
            let claims = bound.as_str().unwrap().split('.').nth(1).unwrap();
            let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
            assert_eq!(claims["cnf"], told["cnf"], "RFC 8705 §3.1");
        }
        for version in ["--http1.1", "--http2"] {
            for path in ["/orders/7", "/proven"] {
                let (status, seen) = open("may.example", Some(client), path, bound, version);
                assert!(status == 200 && seen.contains("\"x-forwarded-user\":\"alice\""), "{version} {path}: {seen}");
            }
            for (what, host, shown) in [
                ("without", "may.example", None),
                ("another", "may.example", Some(thief)),
                ("where nobody asks", "localhost", Some(client)),
            ] {
                let (status, seen) = open(host, shown, "/orders/7", bound, version);
                assert!(status == 401 && seen.contains("\"error\":\"invalid_token\""), "S61 {what}: {seen}");
                assert!(seen.to_lowercase().contains("www-authenticate: bearer realm="), "{seen}");
            }
            let crossed = format!("Authorization: Bearer {}", bound.as_str().unwrap());
            let arguments = ["/orders/7", version, "-H", &crossed, "-H", "Host: localhost"];
            assert_eq!(house.status("may.example", Some(client), &arguments), Some(401), "for its own host alone");
            assert_eq!(open("may.example", None, "/proven", &unbound["access_token"], version).0, 401, "not bound");
        }
        let revoked = post(&house, "may.example", Some(thief), "/oauth2/revoke", &form);
        assert_eq!((revoked.0, open("may.example", Some(client), "/orders/7", bound, "--http2").0), (401, 200), "S46");
        assert_eq!(post(&house, "may.example", Some(client), "/oauth2/revoke", &form).0, 200);
        assert_eq!(open("may.example", Some(client), "/orders/7", bound, "--http2").0, 401, "S49");
    }
    let metadata = house.gate.curl(&[&format!("{}/.well-known/oauth-authorization-server", house.gate.issuer())]);
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    let methods = metadata["token_endpoint_auth_methods_supported"].as_array().unwrap();
    assert!(methods.contains(&json!("tls_client_auth")) && methods.contains(&json!("self_signed_tls_client_auth")));
    assert_eq!(metadata["tls_client_certificate_bound_access_tokens"], true);
    let alias = format!("https://may.example:{}/oauth2/token", house.gate.https);
    assert_eq!(metadata["mtls_endpoint_aliases"]["token_endpoint"], alias);
    let logs = ["access.log", "audit.log"].map(|f| std::fs::read_to_string(house.gate.path(f)).unwrap_or_default());
    assert!(logs.iter().all(|log| !log.contains("BEGIN CERT")));
    house.gate.child.take().map(|mut child| (child.kill(), child.wait()));
}

/// A request of a client with this certificate, as the gate hands it to the provider.
async fn asked(w: &World, certificate: Option<&str>, request: http::request::Builder, body: String) -> (u16, Value) {
    let mut request = request.body(Bytes::from(body)).unwrap();
    if let Some(der) = certificate {
        request.extensions_mut().insert(Arc::new(ClientCertificate::of(der.as_bytes(), false)));
    }
    let response = w.provider.handle(request).await;
    (response.status().as_u16(), people::read(&response))
}

#[tokio::test]
async fn s27_s61_a_public_app_s_refresh_token_is_bound_to_its_certificate_and_so_is_userinfo() {
    let w = world_with(|policy| {
        people::people(policy);
        let mut bound = people::app("bound");
        bound.certificate_bound = true;
        bound.grants.insert(EXCHANGE.to_owned());
        bound.interactive.response_types = ["code", "token"].map(str::to_owned).into();
        policy.clients.insert("bound".into(), Arc::new(bound));
    })
    .await;
    let post = |certificate: Option<&'static str>, proof: Option<String>, fields: Vec<(&'static str, String)>| {
        let mut request = Request::post("/oauth2/token").header("content-type", "application/x-www-form-urlencoded");
        if let Some(proof) = proof {
            request = request.header("dpop", proof);
        }
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        asked(&w, certificate, request, body)
    };
    let code = || async {
        let asked = request("bound", &[("scope", "openid offline_access")]);
        Browser::new(&w).authorize(&asked, "alice").await["code"].clone()
    };
    let redeem = |code: String| {
        vec![
            ("grant_type", "authorization_code".to_owned()),
            ("client_id", "bound".to_owned()),
            ("code", code),
            ("redirect_uri", CALLBACK.to_owned()),
            ("code_verifier", VERIFIER.to_owned()),
        ]
    };
    let refresh = |token: &Value| {
        vec![
            ("grant_type", "refresh_token".to_owned()),
            ("client_id", "bound".to_owned()),
            ("refresh_token", token.as_str().unwrap().to_owned()),
        ]
    };
    let told = Browser::new(&w).authorize(&request("bound", &[("response_type", "token")]), "alice").await;
    assert_eq!(told["error"], "unauthorized_client", "a redirect cannot carry a bound token");
    let first = code().await;
    let (status, body) = post(None, None, redeem(first.clone())).await;
    assert_eq!((status, &body["error"]), (400, &json!("invalid_request")), "no token without a certificate");
    let (status, answer) = post(Some("mine"), None, redeem(first)).await;
    assert_eq!((status, &answer["token_type"]), (200, &json!("Bearer")), "{answer}");
    for (what, certificate) in [("no certificate", None), ("another", Some("thief"))] {
        let (status, body) = post(certificate, None, refresh(&answer["refresh_token"])).await;
        assert_eq!((status, &body["error"]), (400, &json!("invalid_grant")), "S27: {what}");
    }
    let (status, second) = post(Some("mine"), None, refresh(&answer["refresh_token"])).await;
    assert_eq!(status, 200, "{second}");
    let userinfo = |certificate| {
        let bearer = format!("Bearer {}", second["access_token"].as_str().unwrap());
        asked(&w, certificate, Request::get("/oauth2/userinfo").header("authorization", bearer), String::new())
    };
    assert_eq!(
        (userinfo(Some("mine")).await.0, userinfo(None).await.0, userinfo(Some("thief")).await.0),
        (200, 401, 401)
    );
    let exchange = |certificate| {
        let fields = vec![
            ("grant_type", EXCHANGE.to_owned()),
            ("client_id", "bound".to_owned()),
            ("subject_token", second["access_token"].as_str().unwrap().to_owned()),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token".to_owned()),
        ];
        post(certificate, None, fields)
    };
    assert_eq!((exchange(None).await.0, exchange(Some("thief")).await.0), (400, 400), "S41: a stolen one");
    let (status, onwards) = exchange(Some("mine")).await;
    assert_eq!(status, 200, "{onwards}");
    let opened = w.tokens.open(onwards["access_token"].as_str().unwrap(), w.clock.now()).unwrap();
    let cnf = opened.special.as_ref().and_then(|special| special.more.cnf.clone()).unwrap();
    assert_eq!(cnf.certificate, Some(Digest::of(b"mine")), "S41: what comes of it is bound, too");
    // Both ways at once: then both are asked for.
    let holder = Holder::new();
    let endpoint = format!("{ISSUER}/oauth2/token");
    let proof = holder.proof("POST", &endpoint, None, w.clock.now().0);
    let (_, both) = post(Some("mine"), Some(proof), redeem(code().await)).await;
    assert_eq!(both["token_type"], "DPoP", "{both}");
    let token = both["access_token"].as_str().unwrap();
    w.reload(|policy| {
        policy.clients.insert("bound".into(), policy.clients["bound"].clone());
        policy.routes = Table::build(vec![route("/orders", "https://api.example", needs("openid"))]);
    });
    let ask = |scheme: &str, proven: bool, certificate: Option<&str>| {
        let mut headers = http::HeaderMap::new();
        headers.insert("authorization", format!("{scheme} {token}").parse().unwrap());
        if proven {
            let proof = holder.proof("GET", "https://api.example/orders", Some(token), w.clock.now().0);
            headers.insert("dpop", proof.parse().unwrap());
        }
        let certificate = certificate.map(|der| Digest::of(der.as_bytes()));
        let carried = Carried { authority: "api.example", certificate, ..(&headers).into() };
        check(&w.policy.load(), &w.tokens, ("api.example", "/orders", "GET"), carried, w.clock.now()).map(drop)
    };
    assert_eq!(ask("DPoP", true, Some("mine")), Ok(()));
    assert_eq!(ask("DPoP", true, None), Err(Denial::NotItsCertificate));
    assert_eq!(ask("DPoP", true, Some("thief")), Err(Denial::NotItsCertificate));
    assert_eq!(ask("DPoP", false, Some("mine")), Err(Denial::InvalidProof));
    assert_eq!(ask("Bearer", false, Some("mine")), Err(Denial::NotProven));
}
