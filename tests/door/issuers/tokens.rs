//! What their tokens must say, and what becomes of it.
use super::{Idp, Pair, header, metric, now, reload, route, seen, status, with};
use crate::process::{Gate, until};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;
use std::fs;

#[test]
fn s32_s33_s34_s36_s38_s61_their_tokens_open_what_the_route_and_the_map_say_and_nothing_else() {
    let gate = Gate::start();
    let (idp, pair, other) = (Idp::start(&gate), Pair::named("k1"), Pair::named("k1"));
    idp.state().keys = vec![pair.jwk()];
    let plain = route(&gate, "own", "", "") + &route(&gate, "theirs", "\"good\"", "token = \"pass\"");
    let plain = plain + &route(&gate, "both", "\"self\", \"good\"", "token = \"replace\"");
    let plain = plain + &route(&gate, "named", "\"good\"", "clients = [\"good:else\"]");
    let all = plain.clone() + &idp.table("good", "types = [\"at+jwt\", \"JWT\"]\nneeded = true");
    reload(&gate, &all);
    assert!(until(|| gate.ready()["issuers_unknown"] == json!([])), "{}", gate.ready());
    let token = idp.token(&pair, json!({}));
    let told = seen(&gate, "/theirs", &token);
    for (name, value) in [
        ("x-forwarded-user", "good:u1"),
        ("x-auth-client", "good:app"),
        ("x-auth-scopes", "orders:read"),
        ("x-auth-issuer", &idp.url("good")),
        ("authorization", &format!("Bearer {token}")),
    ] {
        assert_eq!(told["headers"][name], *value, "{name}");
    }
    // Replaced by one of ours, which says whose it was.
    let replaced = seen(&gate, "/both", &token)["headers"]["authorization"].as_str().unwrap().to_owned();
    let body = B64.decode(replaced.split('.').nth(1).unwrap()).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&claims["iss"], &claims["sub"]), (&gate.issuer().into(), &"good:u1".into()));
    // Ours where it is said, theirs where it is said.
    let own = gate.token();
    assert_eq!(
        [status(&gate, "/own", &own), status(&gate, "/both", &own), status(&gate, "/theirs", &own)],
        [200, 200, 401]
    );
    assert_eq!(seen(&gate, "/both", &own)["headers"]["x-auth-issuer"], gate.issuer());
    assert_eq!([status(&gate, "/own", &token), status(&gate, "/named", &token)], [401, 403]);
    // Nothing of ours takes it.
    let userinfo = gate.agent().get(format!("{}/oauth2/userinfo", gate.issuer()));
    let answer = userinfo.header("authorization", format!("Bearer {token}")).call().unwrap();
    assert_eq!(answer.status(), 401);
    let fields = [("client_id", "orders-robot"), ("token", &*token)];
    let revoked = gate.agent().post(format!("{}/oauth2/revoke", gate.issuer())).send_form(fields).unwrap();
    assert_eq!((revoked.status().as_u16(), status(&gate, "/theirs", &token)), (200, 200), "S46: not ours to end");

    let sign = |header: Header, changes| pair.sign(&header, &with(idp.claims("good"), changes));
    let jwt = |typ: &str| Header { typ: Some(typ.to_owned()), ..header("k1") };
    assert_eq!(status(&gate, "/theirs", &sign(jwt("JWT"), json!({"aud": ["x", "api://orders"]}))), 200);
    let unsigned = |header: &str| {
        let part = |text: &str| B64.encode(text);
        format!("{}.{}.", part(header), part(&idp.claims("good").to_string()))
    };
    let point = pair.jwk().to_string();
    let symmetric = Header { alg: Algorithm::HS256, ..header("k1") };
    let symmetric = jsonwebtoken::encode(&symmetric, &idp.claims("good"), &EncodingKey::from_secret(point.as_bytes()));
    let embedded = Header { jku: Some(idp.url("redirect")), ..header("k1") };
    for (why, token) in [
        ("another's key", other.sign(&header("k1"), &idp.claims("good"))),
        ("S33 where to find a key", other.sign(&embedded, &idp.claims("good"))),
        ("alg none", unsigned(r#"{"alg":"none","typ":"at+jwt","kid":"k1"}"#)),
        ("no signature", unsigned(r#"{"alg":"ES256","typ":"at+jwt","kid":"k1"}"#)),
        ("S32 HS256 with the public key", symmetric.unwrap()),
        ("aud", sign(header("k1"), json!({"aud": "api://other"}))),
        ("no aud", sign(header("k1"), json!({"aud": null}))),
        ("iss", sign(header("k1"), json!({"iss": idp.url("other")}))),
        ("S34 exp", sign(header("k1"), json!({"exp": now() - 60}))),
        ("S34 exp as text", sign(header("k1"), json!({"exp": "9999999999"}))),
        ("nbf", sign(header("k1"), json!({"nbf": now() + 120}))),
        ("S38 typ", sign(jwt("dpop+jwt"), json!({}))),
        ("S38 an ID token", sign(jwt("JWT"), json!({"nonce": "n", "at_hash": "h"}))),
        ("S38 a logout token", sign(jwt("logout+jwt"), json!({"events": {}}))),
        ("bound to a key without a proof", sign(header("k1"), json!({"cnf": {"jkt": B64.encode([7; 32])}}))),
        ("bound to something else", sign(header("k1"), json!({"cnf": {"kid": "x"}}))),
        ("a subject for a header", sign(header("k1"), json!({"sub": "a\r\nb"}))),
    ] {
        assert_eq!(status(&gate, "/theirs", &token), 401, "{why}");
    }
    assert_eq!(
        status(&gate, "/theirs", &idp.token(&pair, json!({"scope": "unknown orders:read"}))),
        403,
        "S61 unmapped"
    );

    // The next request sees a tighter map, and an issuer that is gone, also for what was opened before.
    let tighter = all.replace("\"Orders.Read\" = ", "\"Orders.ReadAll\" = ");
    reload(&gate, &tighter);
    assert_eq!(status(&gate, "/theirs", &token), 403);
    reload(&gate, &all);
    assert_eq!(status(&gate, "/theirs", &token), 200);
    reload(&gate, &plain.replace("\"self\", \"good\"", "\"self\"").replace("\"good\"", "\"self\""));
    assert_eq!(
        [status(&gate, "/theirs", &token), status(&gate, "/both", &token), status(&gate, "/own", &own)],
        [401, 401, 200]
    );
    assert!(metric(&gate, "portcullis_issuer_fetches_total{issuer=\"good\",outcome=\"ok\"}"));
    let logs = || ["access.log", "audit.log"].map(|f| fs::read_to_string(gate.path(f)).unwrap());
    assert!(until(|| logs()[0].contains("\"issuer\":\"good\"") && logs()[1].contains("\"event\":\"issuer_keys\"")));
    assert!(logs().iter().all(|log| !log.contains(&token)), "a token in a log");
    // A mistake is told with file, line and key.
    let wrong = all.replace("\"self\", \"good\"", "\"self\", \"goood\"")
        + "[[trusted_issuer]]\nname = \"b\"\nurl = \"http://b.example\"\naudience = []\nalgorithms = [\"HS256\"]\n";
    super::routes(&gate, &wrong);
    let told = String::from_utf8_lossy(&gate.command(&["check"], "").stderr).into_owned();
    for part in ["goood", ": url: ", ": audience: ", ": algorithms: HS256", ": scopes: "] {
        assert!(told.contains(part) && told.contains("portcullis.toml:"), "{part} in {told}");
    }
}
