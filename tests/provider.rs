//! The authorization server through its door: HTTP requests in, HTTP responses out.
#![allow(clippy::unwrap_used)] // a test ends where its ground gives way
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Request, Response};
use portcullis::{
    clock::{Clock, ManualClock, Timestamp},
    metrics::Metrics,
    model::{Approval, AuthMethod, Client, ScopeSet, TokenFormat, User, VerificationKey},
    policy::Policy,
    provider::Provider,
    secret::Digest,
    store::{Store, memory::MemoryStore},
    token::{Tokens, keys::Keys},
};
use serde_json::{Value, json};
use std::sync::Arc;

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const SECRET: &str = "a-secret-of-more-than-thirty-two-characters";

struct World {
    provider: Provider,
    tokens: Arc<Tokens>,
    clock: Arc<ManualClock>,
    key: jsonwebtoken::EncodingKey,
    _data: tempfile::TempDir,
}

fn client(id: &str, format: TokenFormat, public: &str) -> Arc<Client> {
    Arc::new(Client {
        id: id.into(),
        name: id.to_owned(),
        blocked: id == "blocked",
        auth_method: AuthMethod::ClientSecret,
        secrets: vec![Digest::of(SECRET.as_bytes())],
        keys: vec![VerificationKey::from_pem(public.as_bytes()).unwrap()],
        grants: ["client_credentials".to_owned(), JWT_BEARER.to_owned()].into(),
        scopes: ScopeSet::of(&["read", "write"]),
        approval: Approval::Admin(["sales".to_owned()].into()),
        run_as: Some("robot".into()),
        token_format: format,
        token_lifetime: 600,
        audience: "https://api.example".into(),
        assertion_lifetime: 300,
    })
}

async fn world() -> World {
    let data = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(Timestamp(1_000_000)));
    let pair = rcgen::KeyPair::generate().unwrap();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let keys = Arc::new(Keys::load_or_create(data.path(), &*clock).unwrap());
    let tokens = Arc::new(Tokens::new(keys, store.clone(), 1 << 20, &Metrics::new()));
    tokens.load_revocations(clock.now()).await.unwrap();
    let mut policy = Policy { issuer: "https://id.example".into(), ..Policy::default() };
    for (id, format) in [("app", TokenFormat::Opaque), ("jwt", TokenFormat::Jwt), ("blocked", TokenFormat::Opaque)] {
        policy.clients.insert(id.into(), client(id, format, &pair.public_key_pem()));
    }
    for (name, permission) in [("alice", "sales"), ("bob", "support")] {
        let user =
            User { username: name.into(), permissions: [permission.to_owned()].into(), password: None, active: true };
        policy.users.insert(name.into(), Arc::new(user));
    }
    let policy = Arc::new(arc_swap::ArcSwap::from_pointee(policy));
    let provider =
        Provider::new(policy, store, tokens.clone(), clock.clone(), Metrics::new(), portcullis::log::Log::off());
    let key = jsonwebtoken::EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
    World { provider, tokens, clock, key, _data: data }
}

impl World {
    async fn post(&self, path: &str, auth: Option<&str>, fields: &[(&str, &str)]) -> Response<Bytes> {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let mut request = Request::post(path).header("content-type", "application/x-www-form-urlencoded");
        if let Some(id) = auth {
            request = request.header("authorization", format!("Basic {}", STANDARD.encode(format!("{id}:{SECRET}"))));
        }
        self.provider.handle(request.body(Bytes::from(body)).unwrap()).await
    }

    async fn token(&self, id: &str) -> String {
        let response = self.post("/oauth2/token", Some(id), &[("grant_type", "client_credentials")]).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["cache-control"], "no-store", "S18");
        read(&response)["access_token"].as_str().unwrap().to_owned()
    }

    fn claims(&self) -> Value {
        let now = self.clock.now().0;
        json!({"iss": "app", "sub": "alice", "aud": "https://id.example", "exp": now + 120, "jti": "one"})
    }

    fn sign(&self, claims: &Value, header: impl FnOnce(&mut jsonwebtoken::Header)) -> String {
        let mut head = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256);
        header(&mut head);
        jsonwebtoken::encode(&head, claims, &self.key).unwrap()
    }

    async fn bearer(&self, assertion: &str) -> (u16, Value) {
        let response = self.post("/oauth2/token", None, &[("grant_type", JWT_BEARER), ("assertion", assertion)]).await;
        (response.status().as_u16(), read(&response))
    }
}

fn read(response: &Response<Bytes>) -> Value {
    serde_json::from_slice(response.body()).unwrap_or(Value::Null)
}

#[tokio::test]
async fn s46_to_s48_both_token_forms_are_introspected_and_revoked_by_their_owner_alone() {
    let w = world().await;
    for owner in ["app", "jwt"] {
        let other = if owner == "app" { "jwt" } else { "app" };
        let token = w.token(owner).await;
        let seen = read(&w.post("/oauth2/introspect", Some(owner), &[("token", &token)]).await);
        assert_eq!((&seen["active"], &seen["sub"]), (&json!(true), &json!("robot")));
        let foreign = read(&w.post("/oauth2/introspect", Some(other), &[("token", &token)]).await);
        assert_eq!(foreign, json!({"active": false}), "S46, S48");
        assert_eq!(w.post("/oauth2/revoke", Some(other), &[("token", &token)]).await.status(), 200);
        assert!(w.tokens.open(&token, w.clock.now()).is_ok(), "S46");
        assert_eq!(w.post("/oauth2/revoke", Some(owner), &[("token", &token)]).await.status(), 200);
        assert_eq!(w.tokens.open(&token, w.clock.now()).err(), Some(portcullis::token::OpenError::Revoked));
        assert_eq!(w.post("/oauth2/revoke", Some(owner), &[("token", "unknown")]).await.status(), 200, "S47");
    }
}

#[tokio::test]
async fn s16_s17_s19_s20_s21_requests_that_must_be_refused() {
    let w = world().await;
    let grant = ("grant_type", "client_credentials");
    let get = Request::get("/oauth2/token").body(Bytes::new()).unwrap();
    assert_eq!(w.provider.handle(get).await.status(), 405, "S16");
    let query = w.post("/oauth2/token?client_secret=x", Some("app"), &[grant]).await;
    assert_eq!(read(&query)["error"], "invalid_request", "S16");
    let two = w.post("/oauth2/token", Some("app"), &[grant, ("client_id", "app"), ("client_secret", SECRET)]).await;
    assert_eq!(read(&two)["error"], "invalid_request", "S17");
    let bare = w.post("/oauth2/token", None, &[grant, ("client_id", "app")]).await;
    assert_eq!((bare.status().as_u16(), &read(&bare)["error"]), (401, &json!("invalid_client")), "S19");
    let unknown = w.post("/oauth2/token", None, &[grant, ("client_id", "nobody"), ("client_secret", SECRET)]).await;
    let wrong = w.post("/oauth2/token", None, &[grant, ("client_id", "app"), ("client_secret", "wrong")]).await;
    assert_eq!(unknown.body(), wrong.body(), "no enumeration of clients");
    let other = w.post("/oauth2/token", Some("app"), &[("grant_type", "password")]).await;
    assert_eq!(read(&other)["error"], "unsupported_grant_type");
    let blocked = w.post("/oauth2/token", Some("blocked"), &[grant]).await;
    assert_eq!(read(&blocked)["error"], "unauthorized_client", "S20");
    let wide = w.post("/oauth2/token", Some("app"), &[grant, ("scope", "read admin")]).await;
    assert_eq!(read(&wide)["error"], "invalid_scope", "S21");
    let narrow = w.post("/oauth2/token", Some("app"), &[grant, ("scope", "read")]).await;
    assert_eq!(read(&narrow)["scope"], "read");
}

#[tokio::test]
async fn s37_an_assertion_works_once() {
    let w = world().await;
    let assertion = w.sign(&w.claims(), |_| {});
    assert_eq!(w.bearer(&assertion).await.0, 200);
    let (status, body) = w.bearer(&assertion).await;
    assert_eq!((status, &body["error"]), (400, &json!("invalid_grant")));
}

#[tokio::test]
async fn s32_to_s39_assertions_that_must_be_refused_beside_their_accepted_twin() {
    let w = world().await;
    let now = w.clock.now().0;
    let with = |key: &str, value: Value| {
        let mut claims = w.claims();
        claims[key] = value;
        w.sign(&claims, |_| {})
    };
    let foreign =
        jsonwebtoken::EncodingKey::from_ec_pem(rcgen::KeyPair::generate().unwrap().serialize_pem().as_bytes());
    let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256);
    let hmac = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
    let cases = [
        ("S32 another key", jsonwebtoken::encode(&header, &w.claims(), &foreign.unwrap()).unwrap()),
        ("S32 HMAC", jsonwebtoken::encode(&hmac, &w.claims(), &jsonwebtoken::EncodingKey::from_secret(b"x")).unwrap()),
        ("S34 expired", with("exp", json!(now))),
        ("S34 exp as text", with("exp", json!("soon"))),
        ("S34 exp too far", with("exp", json!(now + 4000))),
        ("S35 nbf ahead", with("nbf", json!(now + 61))),
        ("S35 iat ahead", with("iat", json!(now + 61))),
        ("S36 audience", with("aud", json!("https://id.example.evil"))),
        ("not approved", with("sub", json!("bob"))),
        ("unknown user", with("sub", json!("mallory"))),
        ("S38 typ", w.sign(&w.claims(), |h| h.typ = Some("at+jwt".to_owned()))),
        ("S39 crit", w.sign(&w.claims(), |h| h.crit = Some(vec!["b64".to_owned()]))),
        ("malformed", "a.b.c".to_owned()),
    ];
    for (what, assertion) in cases {
        let (status, body) = w.bearer(&assertion).await;
        assert!(status == 400 || status == 401, "{what}: {status} {body}");
        assert!(body["access_token"].is_null(), "{what}");
    }
    let ahead = w.sign(
        &{
            let mut c = w.claims();
            c["nbf"] = json!(now + 10);
            c
        },
        |h| h.jku = Some("https://evil.example".to_owned()),
    );
    assert_eq!(w.bearer(&ahead).await.0, 200, "S33, S35: a key URL is ignored, ten seconds are accepted");
}

#[tokio::test]
async fn a_token_expires_on_every_hit_and_bad_ones_never_open() {
    let w = world().await;
    let token = w.token("app").await;
    assert!(w.tokens.open(&token, w.clock.now()).is_ok());
    w.clock.advance(600);
    assert_eq!(w.tokens.open(&token, w.clock.now()).err(), Some(portcullis::token::OpenError::Expired));
    for bad in ["", "pc_", "pc_aaaaaaaa_AAAA", "a.b.c", &token[..token.len() - 2]] {
        assert_eq!(w.tokens.open(bad, w.clock.now()).err(), Some(portcullis::token::OpenError::Invalid));
    }
}

mod gate {
    use super::*;
    use portcullis::{
        gateway::guard::{Denial, check},
        policy::route::{ErrorStyle, IdentityHeaders, PathRule, Requirement, Route, Table, TokenRelay, Upstream},
    };

    fn route(path: &str, resource: &str, requirement: Requirement) -> Arc<Route> {
        let second = std::time::Duration::from_secs(1);
        let name = |n: &str| n.to_owned();
        Arc::new(Route {
            name: path.into(),
            host: None,
            path: PathRule::parse(path).unwrap(),
            methods: ["GET".to_owned()].into(),
            requirement,
            per_method: Vec::new(),
            resource: resource.into(),
            upstream: Upstream {
                addresses: vec![name("127.0.0.1:1")],
                tls_name: None,
                authorities: None,
                connect_timeout: second,
                read_timeout: second,
            },
            relay: TokenRelay::Strip,
            errors: ErrorStyle::Oauth,
            headers: IdentityHeaders { user: name("u"), client: name("c"), scopes: name("s") },
            turn: Arc::default(),
        })
    }

    fn needs(scope: &str) -> Requirement {
        Requirement { all: ScopeSet::of(&[scope]), ..Requirement::default() }
    }

    #[tokio::test]
    async fn s61_s66_audience_scope_client_and_user_are_enforced_and_no_decision_means_no_permit() {
        let w = world().await;
        let token = w.token("app").await;
        let api = "https://api.example";
        let mut policy = Policy {
            routes: Table::build(vec![
                route("/orders/*", api, needs("read")),
                route("/admin", api, needs("admin")),
                route("/other", "https://other.example", needs("read")),
                route("/open", api, Requirement { public: true, ..Requirement::default() }),
            ]),
            ..Policy::default()
        };
        let pair = rcgen::KeyPair::generate().unwrap();
        policy.clients.insert("app".into(), client("app", TokenFormat::Opaque, &pair.public_key_pem()));
        let ask = |policy: &Policy, method: &str, path: &str, header: Option<String>| {
            let mut headers = http::HeaderMap::new();
            header.into_iter().for_each(|h| drop(headers.insert("authorization", h.parse().unwrap())));
            check(policy, &w.tokens, ("localhost", path, method), &headers, w.clock.now()).map(|p| p.opened().is_some())
        };
        let bearer = || Some(format!("Bearer {token}"));
        assert_eq!(ask(&policy, "GET", "/orders/7", bearer()), Ok(true));
        assert_eq!(ask(&policy, "GET", "/open", None), Ok(false));
        assert_eq!(ask(&policy, "GET", "/orders/7", None), Err(Denial::Unauthenticated));
        assert_eq!(ask(&policy, "GET", "/orders/7", Some("Bearer x".into())), Err(Denial::InvalidToken));
        assert_eq!(ask(&policy, "GET", "/orders/7", Some("Basic x".into())), Err(Denial::InvalidRequest));
        assert_eq!(ask(&policy, "GET", "/admin", bearer()), Err(Denial::InsufficientScope));
        assert_eq!(ask(&policy, "GET", "/other", bearer()), Err(Denial::InvalidToken), "S61 audience");
        assert_eq!(ask(&policy, "POST", "/admin", bearer()), Err(Denial::MethodNotAllowed));
        assert_eq!(ask(&policy, "GET", "/nowhere", bearer()), Err(Denial::NotFound), "S66");
        let robot = User { username: "robot".into(), permissions: Default::default(), password: None, active: false };
        policy.users.insert("robot".into(), Arc::new(robot));
        assert_eq!(ask(&policy, "GET", "/orders/7", bearer()), Err(Denial::InvalidToken), "an ended user");
        policy.users.clear();
        policy.clients.clear();
        assert_eq!(ask(&policy, "GET", "/orders/7", bearer()), Err(Denial::InvalidToken), "an ended app");
    }

    /// Answers one connection's requests with the request's own head.
    fn upstream() -> String {
        use std::io::{BufRead, BufReader, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                let head: Vec<String> = lines.by_ref().take_while(|l| !l.is_empty()).collect();
                let head = head.join("\n").to_ascii_lowercase();
                let _ = write!(
                    &stream,
                    "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{head}",
                    head.len()
                );
            }
        });
        address
    }

    fn send(gate: &str, request: &str) -> String {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(gate).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
        stream.write_all(request.replace('\n', "\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn s49_s60_s62_through_sockets_a_permit_forwards_and_a_revocation_is_felt_by_the_next_request() {
        let w = world().await;
        let token = w.token("app").await;
        let api = "https://api.example";
        let mut orders = route("/orders/*", api, needs("read"));
        Arc::get_mut(&mut orders).unwrap().upstream.addresses = vec![upstream()];
        let pair = rcgen::KeyPair::generate().unwrap();
        let mut policy = Policy { routes: Table::build(vec![orders]), ..Policy::default() };
        policy.clients.insert("app".into(), client("app", TokenFormat::Opaque, &pair.public_key_pem()));
        let gateway = portcullis::gateway::proxy::Gateway {
            provider: Arc::new(w.provider),
            tokens: w.tokens.clone(),
            policy: Arc::new(arc_swap::ArcSwap::from_pointee(policy)),
            clock: w.clock.clone(),
            metrics: Metrics::new(),
            access_log: portcullis::log::Log::off(),
            authorities: Default::default(),
        };
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let gate = free.local_addr().unwrap().to_string();
        drop(free);
        let listen = gate.clone();
        std::thread::spawn(move || {
            let mut server = pingora::server::Server::new(None).unwrap();
            server.bootstrap();
            let mut service = pingora::proxy::http_proxy_service(&server.configuration, gateway);
            service.add_tcp(&listen);
            server.add_service(service);
            server.run_forever();
        });
        let deadline = 200;
        let up = (0..deadline).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(50));
            std::net::TcpStream::connect(&gate).is_ok()
        });
        assert!(up, "the gate listens");
        let ask = |path: &str, extra: &str| {
            send(&gate, &format!("GET {path} HTTP/1.1\nhost: localhost\nconnection: close\n{extra}\n"))
        };
        let bearer = format!("authorization: Bearer {token}\nX_Forwarded_User: root\nu: root\n");
        let answer = ask("/orders/7", &bearer);
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("get /orders/7 http/1.1"), "{answer}");
        assert!(answer.contains("u: robot") && !answer.contains("root"), "S62: {answer}");
        assert!(!answer.contains("authorization"), "stripped by default");
        assert!(ask("/orders/7", "").starts_with("HTTP/1.1 401"));
        assert!(ask(&format!("/orders/7?access_token={token}"), "").starts_with("HTTP/1.1 401"), "S60");
        assert!(ask("/orders/%2e%2e/x", &bearer).starts_with("HTTP/1.1 400"));
        assert!(ask("/nowhere", &bearer).starts_with("HTTP/1.1 404"));
        let form = format!("client_id=app&client_secret={SECRET}&token={token}");
        let revoke = format!(
            "POST /oauth2/revoke HTTP/1.1\nhost: localhost\nconnection: close\ncontent-length: {}\ncontent-type: application/x-www-form-urlencoded\n\n{form}",
            form.len()
        );
        assert!(send(&gate, &revoke).starts_with("HTTP/1.1 200"));
        let after = ask("/orders/7", &bearer);
        assert!(after.starts_with("HTTP/1.1 401") && after.contains("invalid_token"), "S49: {after}");
    }
}
