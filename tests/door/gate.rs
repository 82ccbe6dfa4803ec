//! The gate: its decisions, and a `Gateway` hung into a host's own server.
use super::provider::{SECRET, client, world};
use portcullis::{
    clock::Clock,
    metrics::Metrics,
    model::{ScopeSet, TokenFormat, User},
    policy::Policy,
};
use portcullis::{
    gateway::guard::{Denial, check},
    policy::route::{Address, ErrorStyle, IdentityHeaders, PathRule, Requirement, Route, Table, TokenRelay, Upstream},
};
use std::sync::Arc;

pub fn route(path: &str, resource: &str, requirement: Requirement) -> Arc<Route> {
    let second = std::time::Duration::from_secs(1);
    let header = |n: &'static str| http::HeaderName::from_static(n);
    Arc::new(Route {
        name: path.into(),
        host: None,
        path: PathRule::parse(path).unwrap(),
        methods: ["GET".to_owned()].into(),
        requirement,
        per_method: Vec::new(),
        resource: resource.into(),
        auth: Default::default(),
        upstream: Upstream {
            addresses: vec![Address::of("127.0.0.1:1")],
            connect_timeout: second,
            read_timeout: second,
            ..Upstream::default()
        },
        relay: TokenRelay::Strip,
        errors: ErrorStyle::Oauth,
        headers: IdentityHeaders { user: header("u"), client: header("c"), scopes: header("s"), issuer: header("i") },
        terms: None,
        turn: Arc::default(),
        issuers: None,
        counts: Arc::default(),
    })
}

pub fn needs(scope: &str) -> Requirement {
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
        check(policy, &w.tokens, ("localhost", path, method), (&headers).into(), w.clock.now())
            .map(|p| p.opened().is_some())
    };
    let bearer = || Some(format!("Bearer {token}"));
    assert_eq!(ask(&policy, "GET", "/orders/7", bearer()), Ok(true));
    assert_eq!(ask(&policy, "GET", "/open", None), Ok(false));
    assert_eq!(ask(&policy, "GET", "/orders/7", None), Err(Denial::Unauthenticated));
    assert_eq!(ask(&policy, "GET", "/orders/7", Some("Bearer x".into())), Err(Denial::InvalidToken));
    assert_eq!(ask(&policy, "GET", "/orders/7", Some("Basic x".into())), Err(Denial::InvalidRequest));
    assert_eq!(ask(&policy, "GET", "/orders/7", Some("Bearer a b".into())), Err(Denial::InvalidRequest));
    assert_eq!(ask(&policy, "GET", "/admin", bearer()), Err(Denial::InsufficientScope));
    assert_eq!(ask(&policy, "GET", "/other", bearer()), Err(Denial::InvalidToken), "S61 audience");
    assert_eq!(ask(&policy, "POST", "/admin", bearer()), Err(Denial::MethodNotAllowed));
    assert_eq!(ask(&policy, "GET", "/nowhere", bearer()), Err(Denial::NotFound), "S66");
    let robot = User {
        username: "robot".into(),
        permissions: Default::default(),
        password: None,
        security_token: None,
        active: false,
        profile: Default::default(),
    };
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
            let _ =
                write!(&stream, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{head}", head.len());
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
    Arc::get_mut(&mut orders).unwrap().upstream.addresses = vec![Address::of(&upstream())];
    let pair = rcgen::KeyPair::generate().unwrap();
    let mut policy = Policy { routes: Table::build(vec![orders]), ..Policy::default() };
    policy.clients.insert("app".into(), client("app", TokenFormat::Opaque, &pair.public_key_pem()));
    let gateway = portcullis::gateway::proxy::Gateway {
        provider: w.provider.clone(),
        tokens: w.tokens.clone(),
        policy: Arc::new(arc_swap::ArcSwap::from_pointee(policy)),
        clock: w.clock.clone(),
        metrics: Metrics::new(),
        access_log: portcullis::log::Log::off(),
        peers: Default::default(),
        pace: Default::default(),
        proxies: Default::default(),
        tracer: None,
    };
    let gate = format!("127.0.0.1:{}", super::process::port());
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

/// Ends with the test, however that ends.
struct Host(std::process::Child);

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn s49_s62_s66_the_example_of_embedding_serves_tokens_guards_and_feels_what_others_end() {
    use super::process::{GRANT, Gate, PROGRAM, until};
    use std::{path::Path, process::Command};
    let mut gate = Gate::prepare(); // its example API is the upstream, its folder the configuration
    gate.edit("conf/portcullis.toml", "path = \"/orders/*\"", "path = \"/orders/*\"\nhost = \"api.example\"");
    gate.run();
    let free = format!("127.0.0.1:{}", super::process::port());
    let example = Path::new(PROGRAM).parent().unwrap().join("examples/embed");
    let _host = Host(Command::new(example).arg(gate.config()).arg(&free).spawn().unwrap());
    let call = |bearer: Option<&str>, host: &str| {
        let request = gate.plain().get(format!("http://{free}/orders/7")).header("host", host);
        let request = bearer.iter().fold(request, |r, t| r.header("authorization", format!("Bearer {t}")));
        let mut answer = request.header("X_Auth_Client", "root").call().ok()?;
        Some((answer.status().as_u16(), answer.body_mut().read_to_string().ok()?))
    };
    let status = |bearer: Option<&str>, host: &str| call(bearer, host).map_or(0, |(status, _)| status);
    assert!(until(|| status(None, "api.example") == 401), "it listens, and knows what has ended");
    let fields = [("grant_type", GRANT), ("scope", "orders:read"), ("assertion", &gate.assertion())];
    let mut answer = gate.plain().post(format!("http://{free}/oauth2/token")).send_form(fields).unwrap();
    let body: serde_json::Value = serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap();
    let token = body["access_token"].as_str().unwrap();
    let (passed, seen) = call(Some(token), "API.example.:80").unwrap();
    assert_eq!(passed, 200, "{seen}");
    assert!(seen.contains("\"x-auth-client\":\"orders-robot\"") && !seen.contains("root"), "S62: {seen}");
    assert!(seen.contains("\"x-through\":\"their proxy\""), "{seen}");
    assert_eq!(status(Some(token), "localhost"), 404, "a route of another host");
    let smuggled = "POST /status HTTP/1.1\nhost: localhost\ncontent-length: 4\ntransfer-encoding: chunked\n\n0\n\n";
    assert!(send(&free, smuggled).starts_with("HTTP/1.1 400"), "S66");
    assert!(gate.command(&["token", "revoke"], token).status.success());
    assert!(until(|| status(Some(token), "api.example") == 401), "S49: another process ended it");
}

#[tokio::test]
async fn s66_while_revocations_are_unknown_the_answer_is_503_and_never_401() {
    use portcullis::{gateway::denial::Told, policy::route::ErrorStyle, store::memory::MemoryStore, token::Tokens};
    let w = world().await;
    let token = w.token("app").await;
    let keys = portcullis::token::keys::Keys::load_or_create(w.data.path(), &*w.clock).unwrap();
    let blind = Tokens::new(Arc::new(keys), Arc::new(MemoryStore::default()), 1 << 20, &Metrics::new());
    let policy =
        Policy { routes: Table::build(vec![route("/a", "https://api.example", needs("read"))]), ..Policy::default() };
    let headers =
        http::HeaderMap::from_iter([(http::header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap())]);
    let denial = check(&policy, &blind, ("localhost", "/a", "GET"), (&headers).into(), w.clock.now()).unwrap_err();
    let answer = denial.response(&Told::nothing(ErrorStyle::Oauth));
    assert_eq!((denial, answer.status().as_u16()), (Denial::Unavailable, 503));
    assert!(answer.headers().contains_key("retry-after") && !answer.headers().contains_key("www-authenticate"));
    blind.follow(w.clock.now()).await.unwrap();
    assert!(blind.open(&token, w.clock.now()).is_ok(), "and once they are known, it opens");
}
