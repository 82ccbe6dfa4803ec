//! Who signs: the keys of one generation, one for each algorithm that an app may choose (RFC 7518 §3.1, RFC 8037), or a
//! key that lives elsewhere.
use crate::model::SigningAlgorithm;
use aws_lc_rs::{
    encoding::AsDer,
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;

/// PKCS#8 of the private keys, base64url.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredSigners {
    es256: String,
    rs256: String,
    eddsa: String,
}

/// Why nothing was signed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("signing: {0}")]
pub struct Unsigned(pub String);

/// Signs for one public key. The private one may live elsewhere: behind PKCS#11, in a KMS.
#[async_trait::async_trait]
pub trait Signer: Send + Sync + 'static {
    /// The public half.
    fn key(&self) -> &PublicKey;
    /// The signature over `input` as a JWS has it (RFC 7515 §5.1, RFC 7518 §3): for ES256 `r ‖ s`, not DER.
    async fn sign(&self, input: &[u8]) -> Result<Vec<u8>, Unsigned>;
}

/// What verifies what a [`Signer`] made.
pub struct PublicKey {
    /// `kid` of the JWTs that it verifies.
    pub kid: String,
    /// `alg` of the JWTs that it verifies.
    pub algorithm: Algorithm,
    /// Verifies.
    pub decoding: DecodingKey,
    /// As it is published (RFC 7517).
    pub jwk: Value,
}

impl PublicKey {
    /// The key of a JWK for signatures that names its `kid` and `alg` (RFC 7517 §4). The error says what is wrong.
    pub fn of(jwk: Value) -> Result<Self, String> {
        let told = |name: &str| jwk[name].as_str().ok_or(format!("the JWK says no {name}"));
        let (kid, alg) = (told("kid")?.to_owned(), told("alg")?);
        let algorithm = match alg {
            "ES256" => Algorithm::ES256,
            "RS256" => Algorithm::RS256,
            "EdDSA" => Algorithm::EdDSA,
            other => return Err(format!("alg {other} is none of ES256, RS256, EdDSA")),
        };
        let parsed = serde_json::from_value(jwk.clone()).map_err(|e| format!("key {kid}: {e}"))?;
        let decoding = DecodingKey::from_jwk(&parsed).map_err(|e| format!("key {kid}: {e}"))?;
        Ok(Self { kid, algorithm, decoding, jwk })
    }
}

/// A key of our own, ready to sign.
struct Own {
    public: PublicKey,
    pair: Pair,
}

enum Pair {
    Ec(EcdsaKeyPair),
    Rsa(RsaKeyPair),
    Ed(Ed25519KeyPair),
}

#[async_trait::async_trait]
impl Signer for Own {
    fn key(&self) -> &PublicKey {
        &self.public
    }

    async fn sign(&self, input: &[u8]) -> Result<Vec<u8>, Unsigned> {
        let failed = |_| Unsigned(format!("the key {} does not sign", self.public.kid));
        match &self.pair {
            Pair::Ec(pair) => Ok(pair.sign(&SystemRandom::new(), input).map_err(failed)?.as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), input, &mut signature).map_err(failed)?;
                Ok(signature)
            }
            Pair::Ed(pair) => Ok(pair.sign(input).as_ref().to_vec()),
        }
    }
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
pub fn open(kid: &str, stored: &StoredSigners) -> Result<[Arc<dyn Signer>; 3], String> {
    let der = |text: &str| B64.decode(text).map_err(|_| format!("key {kid}: not base64url"));
    let bad = |algorithm: &str| format!("key {kid}: the {algorithm} key is damaged");
    let own = |algorithm: &str, mut jwk: Value, pair| {
        jwk["use"] = "sig".into();
        jwk["alg"] = algorithm.into();
        jwk["kid"] = format!("{kid}.{algorithm}").into();
        Ok::<_, String>(Arc::new(Own { public: PublicKey::of(jwk)?, pair }) as Arc<dyn Signer>)
    };

    let ec = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der(&stored.es256)?);
    let ec = ec.map_err(|_| bad("ES256"))?;
    let point = ec.public_key().as_ref();
    let jwk = json!({"kty": "EC", "crv": "P-256", "x": B64.encode(&point[1..33]), "y": B64.encode(&point[33..65])});
    let es256 = own("ES256", jwk, Pair::Ec(ec))?;

    let rsa = RsaKeyPair::from_pkcs8(&der(&stored.rs256)?).map_err(|_| bad("RS256"))?;
    let public = rsa.public_key();
    let n = public.modulus().big_endian_without_leading_zero();
    let e = public.exponent().big_endian_without_leading_zero();
    let jwk = json!({"kty": "RSA", "n": B64.encode(n), "e": B64.encode(e)});
    let rs256 = own("RS256", jwk, Pair::Rsa(rsa))?;

    let ed = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der(&stored.eddsa)?).map_err(|_| bad("EdDSA"))?;
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": B64.encode(ed.public_key().as_ref())});
    Ok([es256, rs256, own("EdDSA", jwk, Pair::Ed(ed))?])
}
