//! Somebody else's authorization server: over TLS on loopback, under an authority of its own, counting who asks for its keys.
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use portcullis::clock::{Clock, SystemClock};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// A key of an issuer.
pub struct Key {
    pub kid: String,
    pub jwk: Value,
    pub signs: EncodingKey,
    /// The same as PEM, for who signs an HMAC with it.
    pub public: String,
}

impl Key {
    pub fn new(kid: &str) -> Self {
        let pair = KeyPair::generate().unwrap();
        let point = pair.public_key_raw();
        let (x, y) = (B64.encode(&point[1..33]), B64.encode(&point[33..65]));
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": kid, "use": "sig", "alg": "ES256"});
        let signs = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
        Self { kid: kid.to_owned(), jwk, signs, public: pair.public_key_pem() }
    }
}

/// How it answers who asks for its keys.
#[derive(Clone)]
pub enum Answer {
    /// As it should.
    Good,
    /// With 503.
    Failing,
    /// With a redirect to where the keys are.
    Redirect,
    /// With more than anybody reads.
    Oversized,
    /// Its discovery document is that of somebody else.
    OtherIssuer,
    /// Its discovery document says that the keys are there.
    KeysAt(String),
    /// As it should, after a while.
    Slow,
}

pub struct Idp {
    pub url: String,
    pub ca: String,
    pub asked: Arc<AtomicUsize>,
    pub connected: Arc<AtomicUsize>,
    pub answer: Arc<Mutex<Answer>>,
    keys: Arc<Mutex<Vec<Value>>>,
}

impl Idp {
    pub fn start(keys: &[&Key]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let root = ca.self_signed(&ca_key).unwrap();
        let leaf_key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&leaf_key, &Issuer::from_params(&ca, &ca_key)).unwrap();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let tls = rustls::ServerConfig::builder_with_provider(provider.into()).with_safe_default_protocol_versions();
        let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf_key.serialize_der()));
        let tls = tls.unwrap().with_no_client_auth().with_single_cert(vec![leaf.der().clone()], secret).unwrap();
        let idp = Self {
            url: url.clone(),
            ca: root.pem(),
            asked: Arc::default(),
            connected: Arc::default(),
            answer: Arc::new(Mutex::new(Answer::Good)),
            keys: Arc::default(),
        };
        idp.publish(keys);
        let (asked, connected) = (idp.asked.clone(), idp.connected.clone());
        let (answer, keys, tls) = (idp.answer.clone(), idp.keys.clone(), Arc::new(tls));
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                connected.fetch_add(1, Ordering::SeqCst);
                let mut stream = rustls::StreamOwned::new(rustls::ServerConnection::new(tls.clone()).unwrap(), socket);
                let (mut head, mut byte) = (Vec::new(), [0]);
                while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
                    head.push(byte[0]);
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
                let now = answer.lock().unwrap().clone();
                let (status, more, body) = match (&*target, now) {
                    ("/.well-known/openid-configuration", Answer::OtherIssuer) => (
                        200,
                        "",
                        json!({"issuer": "https://other.example", "jwks_uri": format!("{url}/keys")}).to_string(),
                    ),
                    ("/.well-known/openid-configuration", Answer::KeysAt(place)) => {
                        (200, "", json!({"issuer": url, "jwks_uri": place}).to_string())
                    }
                    ("/.well-known/openid-configuration", Answer::Failing) => (503, "", String::new()),
                    ("/.well-known/openid-configuration", _) => {
                        (200, "", json!({"issuer": url, "jwks_uri": format!("{url}/keys")}).to_string())
                    }
                    (path, how) => {
                        asked.fetch_add(1, Ordering::SeqCst);
                        let good = json!({"keys": *keys.lock().unwrap()}).to_string();
                        match how {
                            Answer::Redirect if path == "/keys" => (302, "location: /elsewhere\r\n", String::new()),
                            Answer::Oversized => (200, "", good.replace('{', &format!("{{{}", " ".repeat(300_000)))),
                            Answer::Failing => (503, "", String::new()),
                            Answer::Slow => {
                                std::thread::sleep(Duration::from_millis(700));
                                (200, "", good)
                            }
                            _ => (200, "", good),
                        }
                    }
                };
                let length = body.len();
                let head = format!(
                    "HTTP/1.1 {status} X\r\n{more}content-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
                );
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        });
        idp
    }

    pub fn publish(&self, keys: &[&Key]) {
        *self.keys.lock().unwrap() = keys.iter().map(|key| key.jwk.clone()).collect();
    }

    pub fn answers(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    /// How often its keys were asked for.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// What a good token says.
    pub fn claims(&self) -> Value {
        let now = now();
        json!({"iss": self.url, "sub": "u1", "aud": "api://orders", "client_id": "app", "iat": now, "exp": now + 600,
            "scope": "Orders.Read Orders.Unknown", "jti": portcullis::secret::random_id()})
    }

    /// A good token.
    pub fn token(&self, key: &Key) -> String {
        signed(&self.claims(), key, |_| {})
    }

    /// A token whose claims were changed; `null` takes one away.
    pub fn with(&self, key: &Key, changes: &Value) -> String {
        let mut claims = self.claims();
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
                value => claims[name] = value.clone(),
            }
        }
        signed(&claims, key, |_| {})
    }

    /// Its table, with what `more` says beside.
    pub fn table(&self, name: &str, more: &str) -> String {
        format!(
            "[[trusted_issuer]]\nname = \"{name}\"\nurl = \"{}\"\nca_file = \"{name}.pem\"\nprivate = true\naudience = [\"api://orders\"]\nscopes = {{ \"Orders.Read\" = [\"orders:read\"] }}\n{more}\n",
            self.url
        )
    }
}

pub fn now() -> i64 {
    SystemClock.now().0
}

/// `claims` signed as an access token; `change` may spoil its header.
pub fn signed(claims: &Value, key: &Key, change: impl FnOnce(&mut Header)) -> String {
    let mut header = Header::new(Algorithm::ES256);
    header.typ = Some("at+jwt".to_owned());
    header.kid = Some(key.kid.clone());
    change(&mut header);
    jsonwebtoken::encode(&header, claims, &key.signs).unwrap()
}
