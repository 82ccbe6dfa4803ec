//! What a route asks for besides a decision.
use super::{answer, get, routes};
use crate::process::{Gate, until};
use serde_json::Value;

fn route(gate: &Gate, name: &str, needs: &str, more: &str) -> String {
    format!(
        "[[route]]\nname = \"{name}\"\npath = \"/{name}/*\"\n{needs}\n{more}\nupstream.addresses = [\"127.0.0.1:{}\"]\n\n",
        gate.example
    )
}

#[test]
fn cors_header_rules_and_a_rewritten_path() {
    let mut gate = Gate::prepare();
    let cors = "methods = [\"GET\", \"PUT\"]\ncors = { origins = [\"https://app.example\"], expose = [\"x-request-id\"], credentials = true, max_age = 60 }";
    let rules = "request_headers = { set = { X-Env = \"test\", Authorization = \"Basic upstream\" }, remove = [\"X-Secret\"] }\nresponse_headers = { set = { Strict-Transport-Security = \"max-age=1\" }, remove = [\"content-type\"] }\nrewrite = { strip_prefix = \"/rules\", add_prefix = \"/v2\" }";
    let text = route(&gate, "cors", "scopes = [\"orders:read\"]", cors)
        + &route(&gate, "rules", "scopes = [\"orders:read\"]", rules);
    routes(&gate, &text);
    gate.run();
    let token = format!("Bearer {}", gate.token());
    let url = format!("{}/cors/x", gate.issuer());
    let preflight = |origin: &str, method: &str| {
        let (origin, method) = (format!("Origin: {origin}"), format!("Access-Control-Request-Method: {method}"));
        gate.curl(&["-i", "-X", "OPTIONS", "-H", &origin, "-H", &method, &url]).to_ascii_lowercase()
    };
    let allowed = preflight("https://app.example", "PUT");
    for part in [
        " 204",
        "access-control-allow-origin: https://app.example",
        "access-control-allow-methods: get, put",
        "access-control-allow-headers: authorization, content-type",
        "access-control-allow-credentials: true",
        "access-control-max-age: 60",
        "vary: origin",
    ] {
        assert!(allowed.contains(part), "{part} in {allowed}");
    }
    let foreign = preflight("https://evil.example", "PUT");
    assert!(!foreign.contains("access-control"), "{foreign}");
    assert!(
        preflight("https://app.example", "DELETE").contains(" 405"),
        "no preflight for what the route does not take"
    );
    for (bearer, status) in [(&*token, 200), ("Bearer x", 401)] {
        let told = answer(&gate, "/cors/x", &[("origin", "https://app.example"), ("authorization", bearer)]);
        assert_eq!(
            (told.status().as_u16(), &told.headers()["access-control-allow-origin"]),
            (status, &"https://app.example".parse().unwrap()),
            "a page may read why"
        );
        let other = answer(&gate, "/cors/x", &[("origin", "null"), ("authorization", bearer)]);
        assert!(!other.headers().contains_key("access-control-allow-origin"));
    }
    let sent = [("authorization", &*token), ("x-secret", "s"), ("x-env", "client")];
    let mut told = answer(&gate, "/rules/a%20b?c=/rules", &sent);
    assert_eq!(told.headers()["strict-transport-security"], "max-age=1");
    assert!(!told.headers().contains_key("content-type"));
    let seen: Value = serde_json::from_str(&told.body_mut().read_to_string().unwrap()).unwrap();
    assert_eq!(seen["target"], "/v2/a%20b?c=/rules");
    let headers = &seen["headers"];
    assert_eq!((&headers["x-env"], &headers["authorization"]), (&"test".into(), &"Basic upstream".into()));
    assert_eq!((&headers["x-secret"], &headers["x-forwarded-user"]), (&Value::Null, &"alice".into()));
    let over_h2 =
        gate.curl(&["--http2", "-H", &format!("Authorization: {token}"), &format!("{}/rules", gate.issuer())]);
    assert!(over_h2.contains("\"target\":\"/v2\""), "{over_h2}");
}

#[test]
fn limits_by_app_user_and_address_maintenance_and_a_shadow_decision() {
    let mut gate = Gate::prepare();
    let read = "scopes = [\"orders:read\"]";
    let limit = |per: &str, requests: u32| {
        format!("limit = [{{ name = \"{per}\", per = \"{per}\", requests = {requests}, window = 3600 }}]")
    };
    let two = "limit = [{ name = \"rate\", per = \"user\", requests = 100, window = 60 }, { name = \"quota\", per = \"app\", requests = 2, window = 86400 }]";
    let text = route(&gate, "app", read, &limit("app", 3))
        + &route(&gate, "address", "public = true", &limit("address", 2))
        + &route(&gate, "two", read, two)
        + &route(
            &gate,
            "closed",
            read,
            "errors = \"salesforce\"\nmethods = [\"GET\"]\nmaintenance = { retry_after = 77, message = \"back at noon\" }",
        )
        + &route(&gate, "shadow", read, "shadow = { scopes = [\"orders:write\"] }")
        + &route(&gate, "open", "public = true", "shadow = { scopes = [\"orders:read\"] }");
    routes(&gate, &text);
    gate.run();
    let token = format!("Bearer {}", gate.token());
    let bearer = [("authorization", token.as_str())];
    let lefts: Vec<String> = (0..3)
        .map(|_| {
            let told = answer(&gate, "/app/x", &bearer);
            assert_eq!(
                (told.status().as_u16(), &told.headers()["ratelimit-policy"]),
                (200, &"\"app\";q=3;w=3600".parse().unwrap())
            );
            told.headers()["ratelimit"].to_str().unwrap().split(';').nth(1).unwrap().to_owned()
        })
        .collect();
    assert_eq!(lefts, ["r=2", "r=1", "r=0"]);
    let mut over = answer(&gate, "/app/x", &bearer);
    assert_eq!(over.status(), 429);
    let wait: u64 = over.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=1200).contains(&wait) && over.headers()["ratelimit"].to_str().unwrap().contains("r=0"), "{wait}");
    assert!(over.body_mut().read_to_string().unwrap().contains("\"error\":\"rate_limited\""));
    assert_eq!(get(&gate, "/app/x", &[]).0, 401, "who may not pass is told that first");
    assert_eq!([0; 3].map(|_| get(&gate, "/address/x", &[]).0), [200, 200, 429]);
    assert_eq!([0; 3].map(|_| get(&gate, "/two/x", &bearer).0), [200, 200, 429]);
    let told = answer(&gate, "/two/x", &bearer);
    assert_eq!(told.headers()["ratelimit-policy"], "\"rate\";q=100;w=60, \"quota\";q=2;w=86400");
    assert!(
        told.headers()["ratelimit"].to_str().unwrap().starts_with("\"rate\";r=98;"),
        "a refused one is not counted: {told:?}"
    );
    assert_eq!(gate.admin("POST", "/reload").0, 200);
    assert_eq!(get(&gate, "/app/x", &bearer).0, 429, "a reload forgets nothing");
    let mut closed = answer(&gate, "/closed/x", &bearer);
    assert_eq!((closed.status().as_u16(), &closed.headers()["retry-after"]), (503, &"77".parse().unwrap()));
    let shape = "[{\"errorCode\":\"TEMPORARILY_UNAVAILABLE\",\"message\":\"back at noon\"}]";
    assert_eq!(closed.body_mut().read_to_string().unwrap(), shape, "the route's error style");
    assert_eq!(get(&gate, "/closed/x", &[]).0, 401);
    let method = gate.curl(&["-X", "PUT", &format!("{}/closed/x", gate.issuer())]);
    assert!(method.starts_with("[{\"errorCode\":\"METHOD_NOT_ALLOWED\""), "{method}");
    assert_eq!(
        (get(&gate, "/shadow/x", &bearer).0, get(&gate, "/open/x", &[]).0, get(&gate, "/open/x", &bearer).0),
        (200, 200, 200)
    );
    let metrics = gate.admin("GET", "/metrics").1;
    for line in [
        "portcullis_shadow_decisions_total{outcome=\"deny\",reason=\"insufficient_scope\",route=\"shadow\"} 1",
        "portcullis_shadow_decisions_total{outcome=\"deny\",reason=\"unauthorized\",route=\"open\"} 1",
        "portcullis_shadow_decisions_total{outcome=\"allow\",reason=\"ok\",route=\"open\"} 1",
        "portcullis_decisions_total{outcome=\"deny\",reason=\"rate_limited\",route=\"app\"} 2",
        "portcullis_decisions_total{outcome=\"deny\",reason=\"maintenance\",route=\"closed\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    let log = || std::fs::read_to_string(gate.path("access.log")).unwrap();
    assert!(until(|| log().contains("\"shadow\":\"insufficient_scope\"")), "{}", log());
    let limited = log().lines().find(|l| l.contains("\"status\":429") && l.contains("\"app\"")).map(str::to_owned);
    assert!(limited.as_ref().is_some_and(|l| l.contains("\"subject\":\"alice\"")), "{limited:?}");
}
