//! Routes that accept the tokens of other issuers: an issuer over TLS beside the gate, whose requests are counted.
mod keys;
mod tokens;

use super::{
    edge::{head, routes},
    process::{Gate, port},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use portcullis::clock::{Clock, SystemClock};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde_json::{Value, json};
use std::{
    fs,
    io::Write,
    net::TcpListener,
    sync::{Arc, Mutex, MutexGuard},
};

/// A key pair with a name.
pub struct Pair {
    pub kid: String,
    key: rcgen::KeyPair,
}

impl Pair {
    pub fn named(kid: &str) -> Self {
        Self { kid: kid.to_owned(), key: rcgen::KeyPair::generate().unwrap() }
    }

    pub fn jwk(&self) -> Value {
        // An uncompressed point of P-256.
        let point = self.key.public_key_raw();
        json!({"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.kid,
            "x": B64.encode(&point[1..33]), "y": B64.encode(&point[33..])})
    }

    pub fn sign(&self, header: &Header, claims: &Value) -> String {
        let key = EncodingKey::from_ec_pem(self.key.serialize_pem().as_bytes()).unwrap();
        jsonwebtoken::encode(header, claims, &key).unwrap()
    }
}

/// What the issuer does.
pub struct State {
    pub keys: Vec<Value>,
    pub down: bool,
    /// Times that its keys were asked for.
    pub asked: usize,
    /// Requests for keys wait for this.
    pub gate: Arc<Mutex<()>>,
}

/// An issuer, with several names of which all but the first misbehave.
pub struct Idp {
    pub port: u16,
    state: Arc<Mutex<State>>,
}

impl Idp {
    /// With the certificate that `gate`, which has run, made for localhost.
    pub fn start(gate: &Gate) -> Self {
        let pem = |name: &str| fs::read(gate.path(name)).unwrap();
        let chain = CertificateDer::pem_slice_iter(&pem("certs/localhost.pem")).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(&pem("certs/localhost.key")).unwrap();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let config = rustls::ServerConfig::builder_with_provider(provider.into()).with_safe_default_protocol_versions();
        let config = Arc::new(config.unwrap().with_no_client_auth().with_single_cert(chain, key).unwrap());
        let port = port();
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let state = State { keys: Vec::new(), down: false, asked: 0, gate: Arc::default() };
        let idp = Self { port, state: Arc::new(Mutex::new(state)) };
        let state = idp.state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (state, config) = (state.clone(), config.clone());
                std::thread::spawn(move || {
                    if state.lock().unwrap().down {
                        return;
                    }
                    let session = rustls::ServerConnection::new(config).unwrap();
                    let mut tls = rustls::StreamOwned::new(session, stream);
                    let Some(head) = head(&mut tls) else { return };
                    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                    let answer = answered(&path, port, &state);
                    let _ = tls.write_all(answer.as_bytes());
                    tls.conn.send_close_notify();
                    let _ = tls.flush();
                });
            }
        });
        idp
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn url(&self, name: &str) -> String {
        format!("https://localhost:{}/{name}", self.port)
    }

    /// A `[[trusted_issuer]]` for one of its names.
    pub fn table(&self, name: &str, more: &str) -> String {
        format!(
            "[[trusted_issuer]]\nname = \"{name}\"\nurl = \"{}\"\nca_file = \"../certs/ca.pem\"\nprivate = true\naudience = [\"api://orders\"]\nscopes = {{ \"Orders.Read\" = [\"orders:read\"] }}\n{more}\n\n",
            self.url(name)
        )
    }

    pub fn claims(&self, name: &str) -> Value {
        let now = now();
        json!({"iss": self.url(name), "sub": "u1", "aud": "api://orders", "client_id": "app", "iat": now,
            "exp": now + 600, "scope": "Orders.Read unknown"})
    }

    /// A good token but for what `changes` says; `null` takes a claim away.
    pub fn token(&self, pair: &Pair, changes: Value) -> String {
        pair.sign(&header(&pair.kid), &with(self.claims("good"), changes))
    }
}

pub fn now() -> i64 {
    SystemClock.now().0
}

pub fn with(mut claims: Value, changes: Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

pub fn header(kid: &str) -> Header {
    Header { typ: Some("at+jwt".to_owned()), kid: Some(kid.to_owned()), ..Header::new(Algorithm::ES256) }
}

fn answered(path: &str, port: u16, state: &Mutex<State>) -> String {
    let (_, name, rest) = path.split_once('/').and_then(|(a, b)| b.split_once('/').map(|(b, c)| (a, b, c))).unwrap();
    let url = |name: &str, path: &str| format!("https://localhost:{port}/{name}{path}");
    let json = |body: &str| with_kind("200 OK", "application/json", body);
    if rest == ".well-known/openid-configuration" {
        let keys = match name {
            "metadata-address" => "https://169.254.169.254/latest/meta-data".to_owned(),
            "plain" => format!("http://localhost:{port}/plain/keys"),
            name => url(name, "/keys"),
        };
        let issuer = if name == "impostor" { url("good", "") } else { url(name, "") };
        return json(&json!({"issuer": issuer, "jwks_uri": keys}).to_string());
    }
    let (keys, gate) = {
        let mut state = state.lock().unwrap();
        state.asked += 1;
        (json!({"keys": state.keys}).to_string(), state.gate.clone())
    };
    match name {
        "redirect" => format!(
            "HTTP/1.1 302 Found\r\nlocation: {}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            url("good", "/keys")
        ),
        "large" => json(&format!("{}{keys}", " ".repeat(300_000))),
        "html" => with_kind("200 OK", "text/html", &keys),
        _ => {
            drop(gate.lock());
            json(&keys)
        }
    }
}

fn with_kind(status: &str, kind: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
}

/// Status of `path` with a bearer token.
pub fn status(gate: &Gate, path: &str, token: &str) -> u16 {
    let request = gate.agent().get(format!("{}{path}", gate.issuer()));
    request.header("authorization", format!("Bearer {token}")).call().unwrap().status().as_u16()
}

/// What the upstream saw of it.
pub fn seen(gate: &Gate, path: &str, token: &str) -> Value {
    let request = gate.agent().get(format!("{}{path}", gate.issuer()));
    let mut answer = request.header("authorization", format!("Bearer {token}")).call().unwrap();
    assert_eq!(answer.status(), 200, "{path}");
    serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap()
}

/// A route that accepts what `issuers` says.
pub fn route(gate: &Gate, name: &str, issuers: &str, more: &str) -> String {
    let issuers = if issuers.is_empty() { String::new() } else { format!("issuers = [{issuers}]\n") };
    format!(
        "[[route]]\nname = \"{name}\"\npath = \"/{name}\"\nscopes = [\"orders:read\"]\n{issuers}{more}\nupstream.addresses = [\"127.0.0.1:{}\"]\n\n",
        gate.example
    )
}

/// Puts these tables in place of the shipped routes, and them in force.
pub fn reload(gate: &Gate, text: &str) {
    routes(gate, text);
    let (status, body) = gate.admin("POST", "/reload");
    assert_eq!(status, 200, "{body}");
}

pub fn metric(gate: &Gate, line: &str) -> bool {
    gate.admin("GET", "/metrics").1.lines().any(|l| l.starts_with(line))
}
