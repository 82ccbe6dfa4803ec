//! The pieces of a check and of an exchange, one by one.
#[path = "rig/rsa.rs"]
mod rsa;
#[path = "rig/saml.rs"]
mod saml;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::{HeaderMap, Request};
use portcullis::{
    clock::{Clock, SystemClock, Timestamp},
    config,
    gateway::{canonical::canonical, guard},
    log::Log,
    metrics::Metrics,
    model::{Approval, AuthMethod, Client, ScopeSet, SigningAlgorithm, TokenFormat, User, VerificationKey},
    policy::Policy,
    provider::Provider,
    saml::{Kind, TrustedKeys, read},
    secret,
    store::{Store, memory::MemoryStore},
    token::{Claims, Tokens, keys::Keys, vault::Vault},
};
use std::{hint::black_box, sync::Arc};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const ISSUER: &str = "https://id.example";
/// `make bench` measures a build of each kind.
const VERIFIERS: &str = if cfg!(feature = "xmlsec") { "both verifiers" } else { "the Rust verifier alone" };

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn claims(now: Timestamp) -> Claims {
    Claims {
        iss: ISSUER.to_owned(),
        sub: "alice".to_owned(),
        client_id: "app".to_owned(),
        aud: ISSUER.to_owned(),
        scope: "orders:read orders:write".to_owned(),
        jti: secret::random_id(),
        grant_id: None,
        generation: None,
        auth_time: None,
        iat: now,
        exp: now.plus(3_600),
        more: Default::default(),
    }
}

fn routes(count: usize) -> portcullis::policy::route::Table {
    let folder = tempfile::tempdir().expect("a folder");
    let chain = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    std::fs::write(folder.path().join("c.pem"), chain.cert.pem()).expect("written");
    std::fs::write(folder.path().join("c.key"), chain.signing_key.serialize_pem()).expect("written");
    let mut text = format!(
        "issuer = \"{ISSUER}\"\n[server]\nlisten = [\"127.0.0.1:1\"]\ndata = \"data\"\n\
         [[certificate]]\nhosts = [\"localhost\"]\nchain_file = \"c.pem\"\nkey_file = \"c.key\"\n"
    );
    for n in 0..count {
        text += &format!(
            "[[route]]\nname = \"r{n}\"\npath = \"/api/{n}/*\"\nscopes = [\"orders:read\"]\nupstream.addresses = [\"127.0.0.1:1\"]\n"
        );
    }
    let main = folder.path().join("portcullis.toml");
    std::fs::write(&main, text).expect("written");
    config::load(&main).expect("good").policy.routes
}

fn client(key: &rsa::Pair) -> Client {
    Client {
        id: "app".into(),
        name: "app".to_owned(),
        blocked: false,
        auth_method: AuthMethod::None,
        secrets: Vec::new(),
        keys: vec![VerificationKey::from_pem(key.public.as_bytes()).expect("a key")],
        grants: [GRANT.to_owned(), saml::GRANT.to_owned()].into(),
        scopes: ScopeSet::of(&["orders:read", "orders:write"]),
        approval: Approval::Admin(["sales".to_owned()].into()),
        run_as: None,
        token_format: TokenFormat::Opaque,
        signing_algorithm: SigningAlgorithm::Es256,
        token_lifetime: 600,
        audience: ISSUER.into(),
        assertion_lifetime: 3_600,
        interactive: Default::default(),
        salesforce: Default::default(),
        policies: Default::default(),
        exchange: Default::default(),
        dpop_bound: false,
        certificate_bound: false,
        certificate_name: None,
    }
}

fn token_request(grant: &str, assertion: &str) -> Request<Bytes> {
    let body = format!("grant_type={}&assertion={assertion}", grant.replace(':', "%3A"));
    let request = Request::post("/oauth2/token").header("content-type", "application/x-www-form-urlencoded");
    request.body(Bytes::from(body)).expect("a request")
}

fn benches(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let data = tempfile::tempdir().expect("a folder");
    let now = SystemClock.now();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let metrics = Metrics::new();
    let keys = Arc::new(Keys::load_or_create(data.path(), &SystemClock).expect("keys"));
    let tokens = Arc::new(Tokens::new(keys, store.clone(), 256 << 20, &metrics));
    runtime.block_on(tokens.load_revocations(now)).expect("loaded");
    let key = rsa::Pair::new();
    let mut policy = Policy { issuer: ISSUER.into(), routes: routes(1_000), ..Policy::default() };
    policy.clients.insert("app".into(), Arc::new(client(&key)));
    let alice = User {
        username: "alice".into(),
        permissions: ["sales".to_owned()].into(),
        password: None,
        security_token: None,
        active: true,
        profile: Default::default(),
    };
    policy.users.insert("alice".into(), Arc::new(alice));
    let idp = saml::Signer::new("app", ISSUER);
    let trusted = || TrustedKeys::of([idp.certificate.as_slice()]).expect("trusted");
    policy.saml.apps.insert("app".into(), trusted());
    let policy = Arc::new(policy);

    c.bench_function("canonical path", |b| b.iter(|| canonical(black_box(b"/api/500/orders/42/lines")).is_ok()));
    c.bench_function("route match, one of 1,000", |b| {
        b.iter(|| policy.routes.find("localhost", black_box("/api/500/orders"), "GET"))
    });
    let mint = |format, algorithm| runtime.block_on(tokens.mint(&claims(now), format, algorithm)).expect("minted");
    let bearer = |token: String| {
        HeaderMap::from_iter([(http::header::AUTHORIZATION, format!("Bearer {token}").parse().expect("a header"))])
    };
    let headers = bearer(mint(TokenFormat::Opaque, SigningAlgorithm::Es256));
    c.bench_function("check, cached", |b| {
        b.iter(|| guard::check(&policy, &tokens, ("localhost", "/api/0/x", "GET"), (&headers).into(), now).is_ok())
    });
    for (name, format, algorithm) in [
        ("opaque", TokenFormat::Opaque, SigningAlgorithm::Es256),
        ("JWT ES256", TokenFormat::Jwt, SigningAlgorithm::Es256),
        ("JWT RS256", TokenFormat::Jwt, SigningAlgorithm::Rs256),
        ("JWT EdDSA", TokenFormat::Jwt, SigningAlgorithm::EdDsa),
    ] {
        c.bench_function(&format!("mint, {name}"), |b| b.iter(|| mint(format, algorithm)));
        c.bench_function(&format!("open cold, {name}"), |b| {
            b.iter_batched(|| mint(format, algorithm), |t| tokens.open(&t, now).is_ok(), BatchSize::SmallInput)
        });
    }

    let shared = Arc::new(arc_swap::ArcSwap::new(policy));
    let vault = Vault::load_or_create(data.path()).expect("a key");
    let provider = Provider::new(shared, store, tokens.clone(), Arc::new(SystemClock), metrics, Log::off(), vault);
    let signing = jsonwebtoken::EncodingKey::from_rsa_pem(key.private.as_bytes()).expect("a key");
    let request = || {
        let claims = serde_json::json!({"iss": "app", "sub": "alice", "aud": ISSUER, "exp": now.0 + 3_600,
            "jti": secret::random_id()});
        let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::RS256);
        let assertion = jsonwebtoken::encode(&header, &claims, &signing).expect("signed");
        token_request(GRANT, &assertion)
    };
    assert_eq!(runtime.block_on(provider.handle(request())).status(), 200);
    c.bench_function("JWT bearer exchange, RS256 in, opaque out, memory store", |b| {
        b.iter_batched(request, |r| runtime.block_on(provider.handle(r)), BatchSize::SmallInput)
    });
    let message = idp.assertion("alice", now);
    let keys = trusted();
    let bytes = message.as_bytes();
    c.bench_function("SAML preflight", |b| b.iter(|| read(black_box(bytes), Kind::Assertion).is_ok()));
    c.bench_function(&format!("SAML assertion verified, RSA-2048, {VERIFIERS}"), |b| {
        b.iter(|| read(black_box(bytes), Kind::Assertion).is_ok_and(|m| m.verify(&keys).is_ok()))
    });
    let request = || token_request(saml::GRANT, &idp.parameter("alice", now));
    assert_eq!(runtime.block_on(provider.handle(request())).status(), 200);
    c.bench_function(&format!("SAML bearer exchange, {VERIFIERS}, opaque out, memory store"), |b| {
        b.iter_batched(request, |r| runtime.block_on(provider.handle(r)), BatchSize::SmallInput)
    });
}

criterion_group!(micro, benches);
criterion_main!(micro);
