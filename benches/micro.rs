//! The pieces of a check and of an exchange, one by one.
#[path = "rig/rsa.rs"]
mod rsa;

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
    secret,
    store::{Store, memory::MemoryStore},
    token::{Claims, Tokens, keys::Keys, vault::Vault},
};
use std::{hint::black_box, sync::Arc};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const ISSUER: &str = "https://id.example";

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
    }
}

mod saml {
    use super::{Bytes, ISSUER, Request, Timestamp};
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    use portcullis::saml::{Kind, TrustedKeys, instant, read, request::new_id, sign::SigningKey, write::Xml};

    pub const GRANT: &str = "urn:ietf:params:oauth:grant-type:saml2-bearer";
    const ASSERTION: &str = "urn:oasis:names:tc:SAML:2.0:assertion";

    /// An app that signs SAML assertions with RSA-2048.
    pub struct Signer {
        key: SigningKey,
        certificate: Vec<u8>,
        trusted: TrustedKeys,
    }

    impl Signer {
        pub fn new() -> Self {
            let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).expect("a key");
            let made = rcgen::CertificateParams::new(vec!["app".to_owned()]).expect("names").self_signed(&pair);
            let certificate = made.expect("a certificate").der().to_vec();
            let key = SigningKey::from_pkcs8(&pair.serialize_der()).expect("a key");
            let trusted = TrustedKeys::of([certificate.as_slice()]).expect("trusted");
            Self { key, certificate, trusted }
        }

        pub fn trusted(&self) -> TrustedKeys {
            TrustedKeys::of([self.certificate.as_slice()]).expect("trusted")
        }

        /// About 5 KB, as an IdP with some attributes sends it.
        pub fn assertion(&self, now: Timestamp) -> String {
            let (id, issued, until) = (new_id(), instant::text(now), instant::text(now.plus(3_000)));
            let head = [
                ("xmlns:saml", Some(ASSERTION)),
                ("ID", Some(id.as_str())),
                ("IssueInstant", Some(issued.as_str())),
                ("Version", Some("2.0")),
            ];
            let data = [("NotOnOrAfter", Some(until.as_str())), ("Recipient", Some("https://id.example/oauth2/token"))];
            let bearer = [("Method", Some("urn:oasis:names:tc:SAML:2.0:cm:bearer"))];
            let xml = Xml::default().open("saml:Assertion", &head).leaf("saml:Issuer", &[], "app");
            let xml = xml.open("saml:Subject", &[]).leaf("saml:NameID", &[], "alice");
            let xml = xml.open("saml:SubjectConfirmation", &bearer).leaf("saml:SubjectConfirmationData", &data, "");
            let xml = xml.close("saml:SubjectConfirmation").close("saml:Subject");
            let xml = xml.open("saml:Conditions", &[("NotOnOrAfter", Some(until.as_str()))]);
            let xml = xml.open("saml:AudienceRestriction", &[]).leaf("saml:Audience", &[], ISSUER);
            let mut xml =
                xml.close("saml:AudienceRestriction").close("saml:Conditions").open("saml:AttributeStatement", &[]);
            for n in 0..12 {
                let name = format!("urn:oid:1.3.6.1.4.1.5923.1.1.1.{n}");
                xml = xml.open("saml:Attribute", &[("Name", Some(&name))]);
                xml = xml.leaf("saml:AttributeValue", &[], "cn=a group,ou=groups,dc=corp,dc=example");
                xml = xml.close("saml:Attribute");
            }
            let text = xml.close("saml:AttributeStatement").close("saml:Assertion").finish();
            self.key.envelop(&text, &id, Some(&self.certificate))
        }

        pub fn verifies(&self, message: &str) -> bool {
            read(message.as_bytes(), Kind::Assertion).is_ok_and(|passed| passed.verify(&self.trusted).is_ok())
        }

        pub fn request(&self, now: Timestamp) -> Request<Bytes> {
            let assertion = URL_SAFE_NO_PAD.encode(self.assertion(now));
            let body = format!("grant_type={}&assertion={assertion}", GRANT.replace(':', "%3A"));
            Request::post("/oauth2/token")
                .header("content-type", "application/x-www-form-urlencoded")
                .body(Bytes::from(body))
                .expect("a request")
        }
    }

    pub fn passes(message: &str) -> bool {
        read(message.as_bytes(), Kind::Assertion).is_ok()
    }
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
    let idp = saml::Signer::new();
    policy.saml.apps.insert("app".into(), idp.trusted());
    let policy = Arc::new(policy);

    c.bench_function("canonical path", |b| b.iter(|| canonical(black_box(b"/api/500/orders/42/lines")).is_ok()));
    c.bench_function("route match, one of 1,000", |b| {
        b.iter(|| policy.routes.find("localhost", black_box("/api/500/orders"), "GET"))
    });
    let mint = |format, algorithm| tokens.mint(&claims(now), format, algorithm);
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
        let body = format!("grant_type={}&assertion={assertion}", GRANT.replace(':', "%3A"));
        Request::post("/oauth2/token")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Bytes::from(body))
            .expect("a request")
    };
    assert_eq!(runtime.block_on(provider.handle(request())).status(), 200);
    c.bench_function("JWT bearer exchange, RS256 in, opaque out, memory store", |b| {
        b.iter_batched(request, |r| runtime.block_on(provider.handle(r)), BatchSize::SmallInput)
    });
    let message = idp.assertion(now);
    c.bench_function("SAML preflight", |b| b.iter(|| saml::passes(black_box(&message))));
    c.bench_function("SAML assertion verified, RSA-2048", |b| b.iter(|| idp.verifies(black_box(&message))));
    assert_eq!(runtime.block_on(provider.handle(idp.request(now))).status(), 200);
    c.bench_function("SAML bearer exchange, opaque out, memory store", |b| {
        b.iter_batched(|| idp.request(now), |r| runtime.block_on(provider.handle(r)), BatchSize::SmallInput)
    });
}

criterion_group!(micro, benches);
criterion_main!(micro);
