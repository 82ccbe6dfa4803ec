//! A program that holds a key of its own, and proves it (RFC 9449); and a device that signs what it says of itself.
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use portcullis::{model::PublicJwk, secret::Digest};
use serde_json::{Value, json};

pub struct Holder {
    pub key: EncodingKey,
    pub jwk: Value,
}

impl Holder {
    pub fn new() -> Self {
        let pair = rcgen::KeyPair::generate().unwrap();
        let point = pair.public_key_raw();
        let (x, y) = (B64.encode(&point[1..33]), B64.encode(&point[33..65]));
        let key = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
        Self { key, jwk: json!({"kty": "EC", "crv": "P-256", "x": x, "y": y}) }
    }

    pub fn thumbprint(&self) -> Digest {
        PublicJwk::read(&self.jwk).unwrap().thumbprint()
    }

    /// Signs `claims` as a proof; `change` may spoil its header.
    pub fn sign(&self, claims: &Value, change: impl FnOnce(&mut Header)) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some("dpop+jwt".to_owned());
        header.jwk = Some(serde_json::from_value::<Jwk>(self.jwk.clone()).unwrap());
        change(&mut header);
        jsonwebtoken::encode(&header, claims, &self.key).unwrap()
    }

    /// A good proof for one request.
    pub fn proof(&self, method: &str, url: &str, token: Option<&str>, now: i64) -> String {
        self.sign(&claims(method, url, token, now), |_| {})
    }

    /// What a device says of itself, with its key in it.
    pub fn actor(&self, more: Value, now: i64) -> String {
        let mut claims = json!({"iss": "printer", "iat": now, "exp": now + 120, "cnf": {"jwk": self.jwk}});
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &self.key).unwrap()
    }
}

/// What a proof says.
pub fn claims(method: &str, url: &str, token: Option<&str>, now: i64) -> Value {
    let mut claims = json!({"jti": portcullis::secret::random_id(), "htm": method, "htu": url, "iat": now});
    if let Some(token) = token {
        claims["ath"] = Digest::text(token).into();
    }
    claims
}
