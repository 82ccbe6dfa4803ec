//! The key that a token is bound to (RFC 7800 `cnf`): whoever shows the token proves that they hold it.
use crate::secret::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Longest accepted member of a public key, characters: an RSA modulus of 8192 bits.
const LONGEST_MEMBER: usize = 1366;

/// `cnf`: each member names a key in a way of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    /// Thumbprint of the key that signs DPoP proofs (RFC 9449 §6.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jkt: Option<Digest>,
    /// SHA-256 of the certificate of the TLS connection, DER (RFC 8705 §3.1).
    #[serde(default, rename = "x5t#S256", skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Digest>,
    /// The key itself (RFC 7800 §3.2): a device's, in asset tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwk: Option<PublicJwk>,
}

impl Confirmation {
    /// Bound to the key with this thumbprint.
    pub fn of_key(thumbprint: Digest) -> Self {
        Self { jkt: Some(thumbprint), ..Self::default() }
    }

    /// Thumbprint of the key that has to sign a proof, if one has to.
    pub fn key(&self) -> Option<Digest> {
        self.jkt.or_else(|| self.jwk.as_ref().map(PublicJwk::thumbprint))
    }
}

/// A public key with the members that its thumbprint covers, and no other (RFC 7638 §3.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kty")]
pub enum PublicJwk {
    /// On an elliptic curve (RFC 7518 §6.2.1).
    #[serde(rename = "EC")]
    Ec {
        /// The curve.
        crv: String,
        /// A coordinate, base64url.
        x: String,
        /// The other.
        y: String,
    },
    /// Ed25519 (RFC 8037 §2).
    #[serde(rename = "OKP")]
    Okp {
        /// The curve.
        crv: String,
        /// The point, base64url.
        x: String,
    },
    /// RSA (RFC 7518 §6.3.1).
    #[serde(rename = "RSA")]
    Rsa {
        /// The exponent, base64url.
        e: String,
        /// The modulus, base64url.
        n: String,
    },
}

/// Members of private and symmetric keys (RFC 7518 §6.2.2, §6.3.2, §6.4.1).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

impl PublicJwk {
    /// The public key in `jwk`; one that carries a private part is refused, since it is nobody's secret any more.
    pub fn read(jwk: &Value) -> Result<Self, &'static str> {
        let members = jwk.as_object().ok_or("the key is no JWK")?;
        if PRIVATE.iter().any(|name| members.contains_key(*name)) {
            return Err("the key is not a public one");
        }
        let key = Self::deserialize(jwk).map_err(|_| "the key is neither EC, RSA nor OKP")?;
        let sound = |text: &&String| {
            !text.is_empty()
                && text.len() <= LONGEST_MEMBER
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        let members = match &key {
            Self::Ec { crv, x, y } => [crv, x, y],
            Self::Okp { crv, x } => [crv, x, x],
            Self::Rsa { e, n } => [e, n, n],
        };
        members.iter().all(sound).then_some(key).ok_or("the key is not in base64url")
    }

    /// SHA-256 of its canonical form (RFC 7638 §3).
    pub fn thumbprint(&self) -> Digest {
        let canonical = match self {
            Self::Ec { crv, x, y } => format!(r#"{{"crv":"{crv}","kty":"EC","x":"{x}","y":"{y}"}}"#),
            Self::Okp { crv, x } => format!(r#"{{"crv":"{crv}","kty":"OKP","x":"{x}"}}"#),
            Self::Rsa { e, n } => format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#),
        };
        Digest::of(canonical.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_thumbprint_is_that_of_rfc_7638() {
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let key = json!({"kty": "RSA", "n": n, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"});
        let told = serde_json::to_value(PublicJwk::read(&key).unwrap().thumbprint()).unwrap();
        assert_eq!(told, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }

    #[test]
    fn what_is_no_public_key_is_refused_and_foreign_members_do_not_stay() {
        let good = json!({"kty": "OKP", "crv": "Ed25519", "x": "AAAA", "use": "sig", "x5u": "https://evil.example"});
        let read = PublicJwk::read(&good).unwrap();
        assert_eq!(serde_json::to_value(read).unwrap(), json!({"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}));
        for bad in [
            json!({"kty": "OKP", "crv": "Ed25519", "x": "AAAA", "d": "AAAA"}),
            json!({"kty": "oct", "k": "AAAA"}),
            json!({"kty": "EC", "crv": "P-256", "x": "AAAA"}),
            json!({"kty": "EC", "crv": "P-256", "x": "AA\"A", "y": "AAAA"}),
            json!("AAAA"),
        ] {
            assert!(PublicJwk::read(&bad).is_err(), "{bad}");
        }
    }
}
