//! What the holder of a key signs: DPoP proofs, and what a device says of itself.
use super::CLOCK;
use crate::{
    clock::Clock,
    secret::{self, Digest},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Map, Value, json};
use std::path::Path;

/// A private key, and the JWK of its public half.
pub struct Holder {
    key: EncodingKey,
    algorithm: Algorithm,
    jwk: Value,
}

impl Holder {
    /// Reads a private key in PEM (PKCS#8): P-256 or Ed25519.
    pub fn read(file: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
        Self::of(&text).map_err(|why| format!("{}: {why}", file.display()))
    }

    /// The same from the text.
    pub fn of(pem: &str) -> Result<Self, String> {
        let wrong = |_| "not a private key in PEM (PKCS#8), P-256 or Ed25519".to_owned();
        let pair = rcgen::KeyPair::from_pem(pem).map_err(|e| wrong(e.to_string()))?;
        let public = pair.public_key_raw();
        match public.len() {
            65 => Ok(Self {
                key: EncodingKey::from_ec_pem(pem.as_bytes()).map_err(|e| wrong(e.to_string()))?,
                algorithm: Algorithm::ES256,
                jwk: json!({"kty": "EC", "crv": "P-256", "x": B64.encode(&public[1..33]), "y": B64.encode(&public[33..])}),
            }),
            32 => Ok(Self {
                key: EncodingKey::from_ed_pem(pem.as_bytes()).map_err(|e| wrong(e.to_string()))?,
                algorithm: Algorithm::EdDSA,
                jwk: json!({"kty": "OKP", "crv": "Ed25519", "x": B64.encode(public)}),
            }),
            _ => Err(wrong(String::new())),
        }
    }

    /// A proof for one request (RFC 9449 §4.2).
    pub fn proof(&self, method: &str, url: &str, token: Option<&str>, nonce: Option<&str>) -> Result<String, String> {
        let mut claims = json!({"jti": secret::random_id(), "htm": method, "htu": url, "iat": CLOCK.now()});
        if let Some(token) = token {
            claims["ath"] = Digest::text(token).into();
        }
        if let Some(nonce) = nonce {
            claims["nonce"] = nonce.into();
        }
        let mut header = Header::new(self.algorithm);
        header.typ = Some("dpop+jwt".to_owned());
        header.jwk = Some(serde_json::from_value(self.jwk.clone()).map_err(|e| e.to_string())?);
        jsonwebtoken::encode(&header, &claims, &self.key).map_err(|e| e.to_string())
    }

    /// The actor token of an asset token: what the device says of itself, with its key.
    pub fn actor(&self, says: Map<String, Value>, audience: &str, lifetime: i64) -> Result<String, String> {
        let now = CLOCK.now();
        let mut claims = json!({"jti": secret::random_id(), "aud": audience, "iat": now, "exp": now.plus(lifetime),
            "cnf": {"jwk": self.jwk}});
        says.into_iter().for_each(|(name, value)| claims[name] = value);
        jsonwebtoken::encode(&Header::new(self.algorithm), &claims, &self.key).map_err(|e| e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        grant::token_exchange::asset::proven,
        token::proof::{Asked, Target, verify},
    };

    #[test]
    fn what_is_signed_here_holds_there_with_both_kinds_of_keys() {
        for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ED25519] {
            let pem = rcgen::KeyPair::generate_for(algorithm).unwrap().serialize_pem();
            let holder = Holder::of(&pem).unwrap();
            let proof = holder.proof("GET", "https://a.example/x", Some("token"), None).unwrap();
            let at = [Target { authority: "a.example", path: "/x" }];
            let asked = Asked { method: "GET", at: &at, token: Some(b"token"), lifetime: 60, now: CLOCK.now() };
            let proof = verify(&proof, asked).unwrap();
            let actor = holder.actor(Map::new(), "https://id.example", 60).unwrap();
            assert_eq!(proven(&actor).unwrap().0.thumbprint(), proof.key);
        }
        assert!(Holder::of("nothing").is_err());
    }
}
