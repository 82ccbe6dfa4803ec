//! Signing keys of one generation: one for each algorithm that an app may choose (RFC 7518 §3.1, RFC 8037).
use crate::model::SigningAlgorithm;
use aws_lc_rs::{
    encoding::AsDer,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as B64},
};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// PKCS#8 of the private keys, base64url.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredSigners {
    es256: String,
    rs256: String,
    eddsa: String,
}

/// One signing key.
pub struct Signer {
    /// `kid` of the JWTs it signs.
    pub kid: String,
    /// `alg` of the JWTs it signs.
    pub algorithm: Algorithm,
    /// Signs.
    pub encoding: EncodingKey,
    /// Verifies.
    pub decoding: DecodingKey,
    /// The public key (RFC 7517).
    pub jwk: Value,
}

impl SigningAlgorithm {
    /// The `alg` value.
    pub const fn jose(self) -> Algorithm {
        match self {
            Self::Es256 => Algorithm::ES256,
            Self::Rs256 => Algorithm::RS256,
            Self::EdDsa => Algorithm::EdDSA,
        }
    }
}

/// Makes a key for each algorithm.
pub fn generate() -> Result<StoredSigners, String> {
    let failed = |e: aws_lc_rs::error::Unspecified| format!("making a signing key: {e}");
    let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(failed)?;
    let ed = Ed25519KeyPair::generate().map_err(failed)?;
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?;
    Ok(StoredSigners {
        es256: B64.encode(ec.to_pkcs8v1().map_err(failed)?.as_ref()),
        rs256: B64.encode(rsa.as_der().map_err(failed)?.as_ref()),
        eddsa: B64.encode(ed.to_pkcs8v1().map_err(failed)?.as_ref()),
    })
}

/// Opens the keys of generation `kid`.
pub fn open(kid: &str, stored: &StoredSigners) -> Result<[Signer; 3], String> {
    let der = |text: &str| B64.decode(text).map_err(|_| format!("key {kid}: not base64url"));
    let named = |algorithm: &str| format!("{kid}.{algorithm}");
    let bad = |algorithm: &str| format!("key {kid}: the {algorithm} key is damaged");

    let pkcs8 = der(&stored.es256)?;
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8).map_err(|_| bad("ES256"))?;
    let point = pair.public_key().as_ref();
    let (x, y) = (B64.encode(&point[1..33]), B64.encode(&point[33..65]));
    let es256 = Signer {
        kid: named("ES256"),
        algorithm: Algorithm::ES256,
        encoding: EncodingKey::from_ec_der(&pkcs8),
        decoding: DecodingKey::from_ec_components(&x, &y).map_err(|_| bad("ES256"))?,
        jwk: json!({"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": named("ES256"), "x": x, "y": y}),
    };

    let pkcs8 = der(&stored.rs256)?;
    let pair = RsaKeyPair::from_pkcs8(&pkcs8).map_err(|_| bad("RS256"))?;
    let public = pair.public_key();
    let n = public.modulus().big_endian_without_leading_zero().to_vec();
    let e = public.exponent().big_endian_without_leading_zero().to_vec();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(&pkcs8));
    let rs256 = Signer {
        kid: named("RS256"),
        algorithm: Algorithm::RS256,
        encoding: EncodingKey::from_rsa_pem(pem.as_bytes()).map_err(|_| bad("RS256"))?,
        decoding: DecodingKey::from_rsa_raw_components(&n, &e),
        jwk: json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": named("RS256"),
            "n": B64.encode(n), "e": B64.encode(e)}),
    };

    let pkcs8 = der(&stored.eddsa)?;
    let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&pkcs8).map_err(|_| bad("EdDSA"))?;
    let x = B64.encode(pair.public_key().as_ref());
    let eddsa = Signer {
        kid: named("EdDSA"),
        algorithm: Algorithm::EdDSA,
        encoding: EncodingKey::from_ed_der(&pkcs8),
        decoding: DecodingKey::from_ed_components(&x).map_err(|_| bad("EdDSA"))?,
        jwk: json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": named("EdDSA"), "x": x}),
    };
    Ok([es256, rs256, eddsa])
}
