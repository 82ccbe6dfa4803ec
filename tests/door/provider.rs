//! The authorization server through its door: HTTP requests in, HTTP responses out.
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Request, Response};
use portcullis::{
    clock::{Clock, ManualClock, Timestamp},
    metrics::Metrics,
    model::{Approval, AuthMethod, Client, ScopeSet, SigningAlgorithm, TokenFormat, User, VerificationKey},
    policy::Policy,
    provider::Provider,
    secret::Digest,
    store::{Store, memory::MemoryStore},
    token::{Tokens, keys::Keys, vault::Vault},
};
use serde_json::{Value, json};
use std::sync::Arc;

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
pub const SECRET: &str = "a-secret-of-more-than-thirty-two-characters";

pub struct World {
    pub provider: Arc<Provider>,
    pub policy: Arc<arc_swap::ArcSwap<Policy>>,
    pub store: Arc<dyn Store>,
    pub tokens: Arc<Tokens>,
    pub clock: Arc<ManualClock>,
    pub metrics: Arc<Metrics>,
    key: jsonwebtoken::EncodingKey,
    pub data: tempfile::TempDir,
}

pub fn client(id: &str, format: TokenFormat, public: &str) -> Arc<Client> {
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
        signing_algorithm: match id {
            "rs256" => SigningAlgorithm::Rs256,
            "eddsa" => SigningAlgorithm::EdDsa,
            _ => SigningAlgorithm::Es256,
        },
        token_lifetime: 600,
        audience: "https://api.example".into(),
        assertion_lifetime: 300,
        interactive: Default::default(),
        salesforce: Default::default(),
        policies: Default::default(),
        exchange: Default::default(),
        dpop_bound: false,
        certificate_bound: false,
        certificate_name: None,
    })
}

pub async fn world() -> World {
    world_with(|_| {}).await
}

pub async fn world_with(change: impl FnOnce(&mut Policy)) -> World {
    world_over(Arc::new(MemoryStore::default()), change).await
}

pub async fn world_over(store: Arc<dyn Store>, change: impl FnOnce(&mut Policy)) -> World {
    let clock = Arc::new(ManualClock::at(Timestamp(1_000_000)));
    let pair = rcgen::KeyPair::generate().unwrap();
    let mut policy = Policy { issuer: "https://id.example".into(), ..Policy::default() };
    let jwts = ["jwt", "rs256", "eddsa"].map(|id| (id, TokenFormat::Jwt));
    for (id, format) in [("app", TokenFormat::Opaque), ("blocked", TokenFormat::Opaque)].into_iter().chain(jwts) {
        policy.clients.insert(id.into(), client(id, format, &pair.public_key_pem()));
    }
    for (name, permission) in [("alice", "sales"), ("bob", "support")] {
        let user = User {
            username: name.into(),
            permissions: [permission.to_owned()].into(),
            password: None,
            security_token: None,
            active: true,
            profile: Default::default(),
        };
        policy.users.insert(name.into(), Arc::new(user));
    }
    change(&mut policy);
    let key = jsonwebtoken::EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
    let data = tempfile::tempdir().unwrap();
    World::begin(Arc::new(arc_swap::ArcSwap::from_pointee(policy)), store, clock, key, data).await
}

impl World {
    async fn begin(
        policy: Arc<arc_swap::ArcSwap<Policy>>,
        store: Arc<dyn Store>,
        clock: Arc<ManualClock>,
        key: jsonwebtoken::EncodingKey,
        data: tempfile::TempDir,
    ) -> Self {
        let metrics = Metrics::new();
        let keys = Arc::new(Keys::load_or_create(data.path(), &*clock).unwrap());
        let tokens = Arc::new(Tokens::new(keys, store.clone(), 1 << 20, &metrics));
        tokens.load_revocations(clock.now()).await.unwrap();
        let vault = Vault::load_or_create(data.path()).unwrap();
        let provider = Provider::new(
            policy.clone(),
            store.clone(),
            tokens.clone(),
            clock.clone(),
            metrics.clone(),
            portcullis::log::Log::off(),
            vault,
        );
        Self { provider: Arc::new(provider), tokens, clock, metrics, key, data, policy, store }
    }

    /// The same server after its process ended: what was in memory is gone, `store` and the key files are left.
    pub async fn restarted(self, store: Arc<dyn Store>) -> Self {
        Self::begin(self.policy, store, self.clock, self.key, self.data).await
    }

    /// Replaces the policy, as a reload does.
    pub fn reload(&self, change: impl FnOnce(&mut Policy)) {
        let old = self.policy.load();
        let mut new = Policy {
            issuer: old.issuer.clone(),
            clients: old.clients.clone(),
            users: old.users.clone(),
            people: old.people.clone(),
            salesforce: old.salesforce.clone(),
            ..Policy::default()
        };
        change(&mut new);
        self.policy.store(Arc::new(new));
    }

    /// The value of the metric that the text exposition names so.
    pub fn gauge(&self, name: &str) -> f64 {
        let text = self.metrics.encode();
        let line = text.lines().find_map(|l| l.strip_prefix(name).map(str::to_owned));
        line.and_then(|l| l.trim().parse::<f64>().ok()).unwrap_or(0.0)
    }

    pub async fn post(&self, path: &str, auth: Option<&str>, fields: &[(&str, &str)]) -> Response<Bytes> {
        self.provider.handle(form(path, auth, fields)).await
    }

    pub async fn token(&self, id: &str) -> String {
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

    /// Claims signed with the key that `app` registered.
    pub fn signed(&self, claims: &Value) -> String {
        self.sign(claims, |_| {})
    }

    /// A good assertion of `app` for alice.
    pub fn assertion(&self) -> String {
        self.sign(&self.claims(), |_| {})
    }

    pub async fn bearer(&self, assertion: &str) -> (u16, Value) {
        let response = self.post("/oauth2/token", None, &[("grant_type", JWT_BEARER), ("assertion", assertion)]).await;
        (response.status().as_u16(), read(&response))
    }
}

/// A form for `path`, from the app `auth` where one is named.
pub fn form(path: &str, auth: Option<&str>, fields: &[(&str, &str)]) -> Request<Bytes> {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let mut request = Request::post(path).header("content-type", "application/x-www-form-urlencoded");
    if let Some(id) = auth {
        request = request.header("authorization", format!("Basic {}", STANDARD.encode(format!("{id}:{SECRET}"))));
    }
    request.body(Bytes::from(body)).unwrap()
}

pub fn read(response: &Response<Bytes>) -> Value {
    serde_json::from_slice(response.body()).unwrap_or(Value::Null)
}

#[tokio::test]
async fn s46_to_s48_both_token_forms_are_introspected_and_revoked_by_their_owner_alone() {
    let w = world().await;
    for owner in ["app", "jwt", "rs256", "eddsa"] {
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
    let other = w.post("/oauth2/token", Some("app"), &[("grant_type", "magic")]).await;
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

#[tokio::test]
async fn jwts_verify_with_the_published_keys_and_say_what_rfc_9068_asks() {
    let w = world().await;
    let request = Request::get("/.well-known/jwks.json").body(Bytes::new()).unwrap();
    let set: jsonwebtoken::jwk::JwkSet = serde_json::from_slice(w.provider.handle(request).await.body()).unwrap();
    for (app, algorithm) in [("jwt", "ES256"), ("rs256", "RS256"), ("eddsa", "EdDSA")] {
        let token = w.token(app).await;
        let header = jsonwebtoken::decode_header(&token).unwrap();
        assert_eq!((format!("{:?}", header.alg).as_str(), header.typ.as_deref()), (algorithm, Some("at+jwt")));
        let key = jsonwebtoken::DecodingKey::from_jwk(set.find(header.kid.as_deref().unwrap()).unwrap()).unwrap();
        let mut validation = jsonwebtoken::Validation::new(header.alg);
        validation.set_audience(&["https://api.example"]);
        validation.set_issuer(&["https://id.example"]);
        validation.validate_exp = false; // the test's clock stands in 1970
        let claims = jsonwebtoken::decode::<Value>(&token, &key, &validation).unwrap().claims;
        for claim in ["iss", "sub", "client_id", "aud", "scope", "jti", "iat", "exp"] {
            assert!(!claims[claim].is_null(), "{claim}");
        }
        let mut forged: Vec<char> = token.chars().collect();
        let last = forged.len() - 10;
        forged[last] = if forged[last] == 'A' { 'B' } else { 'A' };
        assert!(w.tokens.open(&forged.iter().collect::<String>(), w.clock.now()).is_err(), "{app}");
    }
}

#[tokio::test]
async fn a_flood_of_bad_tokens_pushes_no_good_one_out_and_many_waiters_share_one_opening() {
    let w = world().await;
    let good = w.token("app").await;
    assert!(w.tokens.open(&good, w.clock.now()).is_ok());
    for n in 0..20_000 {
        assert!(w.tokens.open(&format!("{}{n}", &good[..40]), w.clock.now()).is_err());
    }
    let hits = || w.gauge("portcullis_token_cache_total{result=\"hit\"}");
    let before = hits();
    assert!(w.tokens.open(&good, w.clock.now()).is_ok());
    assert!(hits() > before, "the good one is still in the cache");
    let other = w.token("jwt").await;
    let opened: Vec<_> = std::thread::scope(|scope| {
        let ask = || scope.spawn(|| w.tokens.open(&other, w.clock.now()).unwrap());
        let all: Vec<_> = (0..16).map(|_| ask()).collect();
        all.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert!(opened.windows(2).all(|two| Arc::ptr_eq(&two[0], &two[1])), "one opening");
}

#[test]
fn foreign_text_never_panics_and_never_opens() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let w = runtime.block_on(world());
    let good = runtime.block_on(w.token("app"));
    proptest::proptest!(|(text in "(pc_[a-zA-Z0-9_-]{8}_)?[a-zA-Z0-9_.=-]{0,200}", cut in 0..good.len(), with in "[a-z]")| {
        proptest::prop_assert!(w.tokens.open(&text, w.clock.now()).is_err());
        let mut damaged = good.clone();
        damaged.replace_range(cut..=cut, &with);
        proptest::prop_assert!(damaged == good || w.tokens.open(&damaged, w.clock.now()).is_err());
        proptest::prop_assert!(runtime.block_on(w.bearer(&text)).0 >= 400);
    });
}
