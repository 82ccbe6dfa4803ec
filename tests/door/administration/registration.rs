//! Apps that register themselves (RFC 7591, RFC 7592), over TLS.
use crate::process::{GRANT, Gate, text, until};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use std::fs;

const DEVICE: &str = "urn:ietf:params:oauth:grant-type:device_code";

fn start(table: &str) -> Gate {
    let mut gate = Gate::prepare();
    let (main, issuer) = (fs::read_to_string(gate.config()).unwrap(), gate.issuer());
    let template = format!("app = {{ audience = \"{issuer}\", token_lifetime = 300 }}");
    fs::write(gate.config(), format!("{main}\n[registration]\n{table}\n{template}\n")).unwrap();
    gate.run();
    gate
}

/// Status, headers and body.
fn ask(gate: &Gate, method: &str, url: &str, token: Option<&str>, body: Option<&Value>) -> (u16, String, Value) {
    let url = if url.starts_with('/') { format!("{}{url}", gate.issuer()) } else { url.to_owned() };
    let mut arguments = vec!["--http1.1".to_owned(), "-i".to_owned(), "-X".to_owned(), method.to_owned()];
    let headers = token.map(|t| format!("Authorization: Bearer {t}")).into_iter();
    for header in headers.chain(body.map(|_| "Content-Type: application/json".to_owned())) {
        arguments.extend(["-H".to_owned(), header]);
    }
    if let Some(body) = body {
        arguments.extend(["-d".to_owned(), body.to_string()]);
    }
    arguments.push(url);
    let told = gate.curl(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let (head, body) = told.split_once("\r\n\r\n").unwrap();
    let body = if body.is_empty() { Value::Null } else { serde_json::from_str(body).unwrap() };
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_ascii_lowercase(), body)
}

fn register(gate: &Gate, token: Option<&str>, metadata: &Value) -> (u16, String, Value) {
    ask(gate, "POST", "/oauth2/register", token, Some(metadata))
}

fn done(gate: &Gate, arguments: &[&str]) -> String {
    let out = gate.command(arguments, "");
    assert!(out.status.success(), "{arguments:?}: {}", text(&out.stderr));
    text(&out.stdout)
}

fn initial_token(gate: &Gate, uses: &str) -> String {
    let told = done(gate, &["registrations", "new-token", "--uses", uses, "--note", "for a test"]);
    told.lines().next().unwrap().rsplit(' ').next().unwrap().to_owned()
}

/// The demo app's own key as a key set.
fn jwks(gate: &Gate) -> Value {
    let pair = rcgen::KeyPair::from_pem(&fs::read_to_string(gate.path("certs/orders-robot.key")).unwrap()).unwrap();
    let point = pair.public_key_raw();
    let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..65]));
    json!({"keys": [{"kty": "EC", "crv": "P-256", "x": x, "y": y}]})
}

/// A token for alice by an assertion that the app signs.
fn exchanged(gate: &Gate, client: &str) -> (u16, Value) {
    let key = gate.path("certs/orders-robot.key");
    let made = ["token", "assertion", "--client", client, "--subject", "alice", "--key", key.to_str().unwrap()];
    let assertion = done(gate, &made);
    let fields = [("grant_type", GRANT), ("assertion", assertion.trim()), ("scope", "orders:read")];
    let mut answer = gate.agent().post(format!("{}/oauth2/token", gate.issuer())).send_form(fields).unwrap();
    (answer.status().as_u16(), serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap())
}

#[test]
fn s22_an_app_registers_with_a_token_that_counts_once_acts_at_the_gate_and_is_gone_when_it_says_so() {
    let grants = format!("[\"authorization_code\", \"refresh_token\", \"{GRANT}\", \"{DEVICE}\"]");
    let mut gate = start(&format!("scopes = [\"openid\", \"orders:read\"]\ngrants = {grants}"));
    let (_, _, metadata) = ask(&gate, "GET", "/.well-known/openid-configuration", None, None);
    let endpoint = format!("{}/oauth2/register", gate.issuer());
    assert_eq!(metadata["registration_endpoint"], endpoint.as_str());
    let said = json!({"client_name": "Field app", "token_endpoint_auth_method": "private_key_jwt", "grant_types": [GRANT],
        "scope": "orders:read", "jwks": jwks(&gate), "favourite_colour": "red"});
    let (status, head, body) = register(&gate, None, &said);
    assert!(status == 401 && head.contains("www-authenticate: bearer"), "{head}");
    assert_eq!(body["error"], "invalid_token");

    // Sixteen at once with a token that is good for two: exactly two apps.
    let initial = initial_token(&gate, "2");
    let apps: Vec<Value> = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..16).map(|_| scope.spawn(|| register(&gate, Some(&initial), &said))).collect();
        let answers = tries.into_iter().map(|t| t.join().unwrap()).collect::<Vec<_>>();
        assert!(answers.iter().all(|(status, ..)| [201, 401].contains(status)), "{answers:?}");
        answers.into_iter().filter(|(status, ..)| *status == 201).map(|(.., body)| body).collect()
    });
    assert_eq!(apps.len(), 2, "S30: each use counts once");
    let app = &apps[0];
    let text_of = |name: &str| app[name].as_str().unwrap().to_owned();
    let (client, own) = (text_of("client_id"), text_of("registration_access_token"));
    let here = text_of("registration_client_uri");
    assert_eq!(here, format!("{endpoint}/{client}"));
    assert!(app["client_secret"].is_null() && app["client_id_issued_at"].is_i64(), "{app}");
    assert!(app["favourite_colour"].is_null() && app["response_types"] == json!([]), "{app}");

    // Nobody approved it: it registered itself, and no administrator decides for users.
    assert_eq!(exchanged(&gate, &client).1["error_description"], "user hasn't approved this consumer");
    done(&gate, &["approvals", "grant", &client, "alice"]);
    let token = exchanged(&gate, &client).1["access_token"].as_str().unwrap().to_owned();
    assert_eq!(gate.call(&token), 200, "all doors know it at once");
    assert_eq!(gate.admin("POST", "/reload").0, 200);
    gate.signal("-TERM");
    gate.child.as_mut().unwrap().wait().unwrap();
    gate.run();
    assert_eq!(gate.call(&token), 200, "it outlives a reload and a restart");
    assert!(done(&gate, &["apps", "list"]).contains(&format!("{client}: Field app")));
    assert!(done(&gate, &["apps", "show", &client]).contains("\"origin\": \"registered\""));

    // A narrower template caps it at the very next request.
    gate.edit("conf/portcullis.toml", "scopes = [\"openid\", \"orders:read\"]", "scopes = [\"openid\"]");
    assert_eq!(gate.admin("POST", "/reload").0, 200);
    assert_eq!(gate.call(&token), 403);
    gate.edit("conf/portcullis.toml", "scopes = [\"openid\"]\n", "scopes = [\"openid\", \"orders:read\"]\n");
    assert_eq!(gate.admin("POST", "/reload").0, 200);
    assert_eq!(gate.call(&token), 200);

    // RFC 7592: seen, replaced and removed by whoever holds its own token.
    let (status, _, seen) = ask(&gate, "GET", &here, Some(&own), None);
    assert_eq!(
        (status, &seen["client_name"], &seen["registration_access_token"]),
        (200, &"Field app".into(), &own.as_str().into())
    );
    for foreign in [None, Some(&*initial), apps[1]["registration_access_token"].as_str()] {
        assert_eq!(ask(&gate, "GET", &here, foreign, None).0, 401);
    }
    assert_eq!(ask(&gate, "GET", &format!("{endpoint}/orders-robot"), Some(&own), None).0, 401);
    let mut next = said.clone();
    next["client_id"] = client.as_str().into();
    next["client_name"] = "Field app 2".into();
    for (field, value) in
        [("client_id", json!("another")), ("client_secret", json!("x")), ("client_id_issued_at", json!(1))]
    {
        let mut wrong = next.clone();
        wrong[field] = value;
        let (status, _, told) = ask(&gate, "PUT", &here, Some(&own), Some(&wrong));
        assert_eq!((status, &told["error"]), (400, &"invalid_request".into()), "{field}");
    }
    let (status, _, told) = ask(&gate, "PUT", &here, Some(&own), Some(&next));
    assert_eq!((status, &told["client_name"]), (200, &"Field app 2".into()), "{told}");
    // From a key to a secret: the secret is told this once, and no key is left.
    let mut next =
        json!({"client_id": client, "grant_types": [DEVICE], "token_endpoint_auth_method": "client_secret_post"});
    let (_, _, told) = ask(&gate, "PUT", &here, Some(&own), Some(&next));
    let secret = told["client_secret"].as_str().unwrap().to_owned();
    assert!(secret.len() == 43 && told["client_secret_expires_at"] == 0 && told["jwks"].is_null(), "{told}");
    next["client_secret"] = secret.as_str().into();
    assert!(ask(&gate, "PUT", &here, Some(&own), Some(&next)).2["client_secret"].is_null());
    assert_eq!(ask(&gate, "POST", &here, Some(&own), None).0, 405);
    assert_eq!(ask(&gate, "DELETE", &here, Some(&own), None).0, 204);
    assert_eq!((gate.call(&token), ask(&gate, "GET", &here, Some(&own), None).0), (401, 401));
    assert!(!done(&gate, &["apps", "list"]).contains(&client));

    // The administrator removes the other, and an app of the configuration is no business of this.
    let other = apps[1]["client_id"].as_str().unwrap();
    assert!(done(&gate, &["registrations", "remove", other]).contains("is gone"));
    assert!(until(|| ask(
        &gate,
        "GET",
        &format!("{endpoint}/{other}"),
        apps[1]["registration_access_token"].as_str(),
        None
    )
    .0 == 401));
    let out = gate.command(&["registrations", "remove", "orders-robot"], "");
    assert!(!out.status.success() && text(&out.stderr).contains("remove its file"), "{}", text(&out.stderr));
    for file in ["audit.log", "access.log", "data/portcullis.db", "data/portcullis.db-wal"] {
        let held = text(&fs::read(gate.path(file)).unwrap_or_default());
        for kept in [&own, &secret, &initial] {
            assert!(!held.contains(kept.as_str()), "S22: {file}");
        }
    }
    assert!(fs::read_to_string(gate.path("audit.log")).unwrap().contains("\"event\":\"registration\""));
}

#[test]
fn every_field_is_judged_with_the_code_that_the_standard_has_for_it() {
    let gate = start("scopes = [\"openid\", \"orders:read\"]\nper_address = 400");
    let initial = initial_token(&gate, "5");
    let good = json!({"redirect_uris": ["https://app.example/cb"], "client_name": "Field app"});
    let with = |name: &str, value: Value| {
        let mut said = good.clone();
        said[name] = value;
        said
    };
    let private = json!({"keys": [{"kty": "EC", "crv": "P-256", "x": "x", "y": "y", "d": "d"}]});
    let weak = json!({"keys": [{"kty": "RSA", "n": "q".repeat(172), "e": "AQAB"}]});
    let (uri, meta) = ("invalid_redirect_uri", "invalid_client_metadata");
    for (said, expected) in [
        (json!({}), uri),
        (with("redirect_uris", json!([])), uri),
        (with("redirect_uris", json!("https://app.example/cb")), uri),
        (with("redirect_uris", json!(["https://app.example/cb#x"])), uri),
        (with("redirect_uris", json!(["http://app.example/cb"])), uri),
        (with("redirect_uris", json!(["javascript:alert(1)"])), uri),
        (with("redirect_uris", json!(["com.example.app:/cb"])), uri),
        (with("redirect_uris", json!(["https://user@app.example/cb"])), uri),
        (with("redirect_uris", json!(vec!["https://app.example/cb"; 17])), uri),
        (with("post_logout_redirect_uris", json!(["http://app.example/"])), uri),
        (with("token_endpoint_auth_method", json!("tls_client_auth")), meta),
        (with("token_endpoint_auth_method", json!(7)), meta),
        (with("token_endpoint_auth_method", json!("private_key_jwt")), meta),
        (with("grant_types", json!(["client_credentials"])), meta),
        (with("grant_types", json!(["password", "authorization_code"])), meta),
        (with("response_types", json!(["token"])), meta),
        (with("response_types", json!("code")), meta),
        (with("scope", json!("openid portcullis:admin")), meta),
        (with("scope", json!(["openid"])), meta),
        (with("client_name", json!("a\nb")), meta),
        (with("client_name", json!("Orders PORTAL")), meta),
        (with("logo_uri", json!("http://app.example/logo")), meta),
        (with("contacts", json!([1])), meta),
        (with("jwks_uri", json!("https://app.example/jwks")), meta),
        (with("jwks", json!("x")), meta),
        (with("jwks", private), meta),
        (with("jwks", weak), meta),
        (with("backchannel_logout_uri", json!("https://10.0.0.1/")), meta),
        (with("sector_identifier_uri", json!("https://10.0.0.1/")), meta),
        (with("application_type", json!("desktop")), meta),
        (with("id_token_signed_response_alg", json!("none")), meta),
        (with("software_statement", json!("eyJ…")), "unapproved_software_statement"),
        (json!([]), meta),
    ] {
        let (status, head, told) = register(&gate, Some(&initial), &said);
        assert_eq!((status, &told["error"]), (400, &expected.into()), "{said} {told}");
        assert!(head.contains("cache-control: no-store") && told["error_description"].is_string(), "{head}");
    }
    // None of these used anything up; the Salesforce profile's own path is off here, and on where it is.
    let (status, _, app) = register(&gate, Some(&initial), &good);
    assert_eq!(status, 201, "{app}");
    assert_eq!(app["token_endpoint_auth_method"], "client_secret_basic", "RFC 7591 §2's own defaults");
    assert_eq!((&app["grant_types"], &app["response_types"]), (&json!(["authorization_code"]), &json!(["code"])));
    assert_eq!(app["scope"], "openid orders:read");
    assert!(app["client_secret"].as_str().is_some_and(|s| s.len() == 43) && app["client_secret_expires_at"] == 0);
    // A browser is asked to sign in for it, and sent nowhere else than it said.
    let ask_for = |uri: &str| {
        let id = app["client_id"].as_str().unwrap();
        let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
        ask_page(
            &gate,
            &format!(
                "/oauth2/authorize?response_type=code&client_id={id}&redirect_uri={uri}&code_challenge={challenge}&code_challenge_method=S256"
            ),
        )
    };
    let begun = ask_for("https%3A%2F%2Fapp.example%2Fcb");
    assert!(begun.contains(" 303") && begun.contains("location: /oauth2/login"), "{begun}");
    let refused = ask_for("https%3A%2F%2Fevil.example%2Fcb");
    assert!(refused.contains(" 400") && !refused.contains("location:"), "S2: {refused}");
    let id = done(&gate, &["registrations", "tokens"]).split(':').next().unwrap().to_owned();
    done(&gate, &["registrations", "withdraw-token", &id]);
    assert_eq!(register(&gate, Some(&initial), &good).0, 401);
}

fn ask_page(gate: &Gate, path: &str) -> String {
    gate.curl(&["--http1.1", "-i", &format!("{}{path}", gate.issuer())]).to_ascii_lowercase()
}

#[test]
fn registration_is_off_unless_allowed_and_where_it_is_open_it_is_rate_limited_and_bounded() {
    let closed = Gate::start();
    assert_eq!(register(&closed, None, &json!({})).0, 404);
    let out = closed.command(&["registrations", "new-token"], "");
    assert!(!out.status.success() && text(&out.stderr).contains("[registration]"), "{}", text(&out.stderr));
    let gate = start(
        "open = true\nscopes = [\"openid\"]\nmost = 2\nper_address = 4\nauth_methods = [\"none\"]\n\
         redirect_uris = [\"custom_scheme\", \"loopback\"]",
    );
    let said = json!({"redirect_uris": ["com.example.app:/cb", "http://127.0.0.1/cb"]});
    let (status, _, app) = register(&gate, None, &said);
    assert_eq!((status, &app["token_endpoint_auth_method"]), (201, &"none".into()), "{app}");
    assert_eq!(register(&gate, Some("nonsense"), &said).0, 401, "a token that is sent must be good");
    assert_eq!(register(&gate, None, &said).0, 201);
    let (status, _, told) = register(&gate, None, &said);
    assert_eq!((status, &told["error"]), (503, &"temporarily_unavailable".into()), "no more than two");
    let (status, head, _) = register(&gate, None, &said);
    assert!(status == 429 && head.contains("retry-after:"), "{head}");
    let metrics = gate.admin("GET", "/metrics").1;
    assert!(metrics.contains("portcullis_registrations_total{method=\"POST\",outcome=\"too_many\"} 1"), "{metrics}");
}

#[test]
fn mistakes_of_both_tables_are_named_with_file_line_and_key() {
    let mut gate = Gate::prepare();
    gate.run();
    let main = fs::read_to_string(gate.config()).unwrap();
    let tables = "\n[admin_api]\nlisten = \"127.0.0.1:ADMIN\"\n[registration]\nscopes = [\"openid\"]\n\
        grants = [\"password\"]\napp = { run_as = \"root\" }\n";
    fs::write(gate.config(), main + &tables.replace("ADMIN", &gate.admin.to_string())).unwrap();
    let told = text(&gate.command(&["check"], "").stderr);
    for mistake in
        ["listen: an address is named twice", "grants: password cannot be registered for", "app: run_as is no"]
    {
        assert!(told.contains(mistake), "{mistake} in {told}");
    }
}
