//! Registered public keys of apps: each pinned to the algorithms of its type (RFC 8725 §3.1).
use super::PublicJwk;
use crate::secret::Digest;
use aws_lc_rs::rsa::PublicEncryptingKey;
use base64::{Engine, engine::general_purpose::STANDARD, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet},
};
use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer, pem::PemObject};

/// Smallest accepted RSA modulus, bits (RFC 7518 §3.3).
const SMALLEST_RSA: usize = 2048;

/// A registered public key with the one algorithm family its type allows.
#[derive(Clone)]
pub struct VerificationKey {
    /// `kid` of a JWK, if it had one.
    pub kid: Option<String>,
    /// The algorithms it may verify.
    pub algorithms: &'static [Algorithm],
    /// The key.
    pub key: DecodingKey,
    /// Tells two keys apart in a diff: the first digits of a SHA-256.
    pub fingerprint: String,
    /// The certificate it came in, DER: SAML assertions are verified with that.
    pub certificate: Option<Vec<u8>>,
}

impl std::fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VerificationKey({:?}, {:?}, {})", self.kid, self.algorithms, self.fingerprint)
    }
}

impl VerificationKey {
    /// A public key (`PUBLIC KEY`) or the key of an X.509 certificate, in PEM.
    pub fn from_pem(pem: &[u8]) -> Result<Self, String> {
        let certificate = CertificateDer::from_pem_slice(pem);
        let kept = certificate.as_ref().ok().map(|der| der.to_vec());
        let spki = match certificate {
            Ok(certificate) => webpki::EndEntityCert::try_from(&certificate)
                .map_err(|e| format!("not a certificate: {e}"))?
                .subject_public_key_info()
                .to_vec(),
            Err(_) => SubjectPublicKeyInfoDer::from_pem_slice(pem)
                .map_err(|_| "holds neither a PUBLIC KEY nor a CERTIFICATE in PEM".to_owned())?
                .to_vec(),
        };
        let fingerprint = Digest::of(&spki).hex()[..16].to_owned();
        let alone = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(&spki));
        let made = |algorithms, key| {
            Ok(Self { kid: None, algorithms, key, fingerprint: fingerprint.clone(), certificate: kept.clone() })
        };
        if let Ok(rsa) = PublicEncryptingKey::from_der(&spki) {
            if rsa.key_size_bits() < SMALLEST_RSA {
                return Err(format!("an RSA key of {} bits; at least {SMALLEST_RSA} are needed", rsa.key_size_bits()));
            }
            let key = DecodingKey::from_rsa_pem(alone.as_bytes()).map_err(|e| format!("not an RSA key: {e}"))?;
            return made(RSA, key);
        }
        if let Ok(key) = DecodingKey::from_ec_pem(alone.as_bytes()) {
            // An uncompressed point of P-256: 0x04 and two coordinates of 32 bytes.
            return match key.try_get_as_bytes() {
                Ok(point) if point.len() == 65 => made(P256, key),
                _ => Err("an elliptic curve other than P-256".to_owned()),
            };
        }
        let key = DecodingKey::from_ed_pem(alone.as_bytes());
        key.map_or_else(|_| Err("neither RSA, P-256 nor Ed25519".to_owned()), |key| made(ED25519, key))
    }

    /// Every key of a JWK Set (RFC 7517 §5).
    pub fn from_jwks(json: &[u8]) -> Result<Vec<Self>, String> {
        let set: JwkSet = serde_json::from_slice(json).map_err(|e| format!("not a JWK Set: {e}"))?;
        if set.keys.is_empty() {
            return Err("the JWK Set is empty".to_owned());
        }
        set.keys.iter().map(Self::from_jwk).collect()
    }

    /// A key that somebody brings along and has yet to prove.
    pub fn from_public(key: &PublicJwk) -> Result<Self, String> {
        let jwk = serde_json::to_value(key).and_then(serde_json::from_value::<Jwk>);
        Self::from_jwk(&jwk.map_err(|e| e.to_string())?)
    }

    fn from_jwk(jwk: &Jwk) -> Result<Self, String> {
        let kid = jwk.common.key_id.clone();
        let named = |what: &str| format!("key {}: {what}", kid.as_deref().unwrap_or("without kid"));
        let algorithms = match &jwk.algorithm {
            AlgorithmParameters::RSA(rsa) => {
                let modulus = URL_SAFE_NO_PAD.decode(&rsa.n).map_err(|_| named("n is not base64url"))?;
                let bits = modulus.iter().skip_while(|b| **b == 0).count() * 8;
                if bits < SMALLEST_RSA {
                    return Err(named(&format!("an RSA key of {bits} bits; at least {SMALLEST_RSA} are needed")));
                }
                RSA
            }
            AlgorithmParameters::EllipticCurve(ec) if ec.curve == EllipticCurve::P256 => P256,
            AlgorithmParameters::OctetKeyPair(okp) if okp.curve == EllipticCurve::Ed25519 => ED25519,
            AlgorithmParameters::EllipticCurve(_)
            | AlgorithmParameters::OctetKeyPair(_)
            | AlgorithmParameters::OctetKey(_) => return Err(named("neither RSA, P-256 nor Ed25519")),
            #[allow(unreachable_patterns)] // the library may learn more kinds
            _ => return Err(named("neither RSA, P-256 nor Ed25519")),
        };
        let fingerprint = serde_json::to_vec(&jwk.algorithm).map(|b| Digest::of(&b).hex()[..16].to_owned());
        Ok(Self {
            key: DecodingKey::from_jwk(jwk).map_err(|e| named(&e.to_string()))?,
            algorithms,
            fingerprint: fingerprint.unwrap_or_default(),
            kid,
            certificate: None,
        })
    }
}

const RSA: &[Algorithm] = &[Algorithm::RS256, Algorithm::PS256];
const P256: &[Algorithm] = &[Algorithm::ES256];
const ED25519: &[Algorithm] = &[Algorithm::EdDSA];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_pinned_to_their_type_and_weak_or_foreign_ones_are_refused() {
        let made = |algorithm| rcgen::KeyPair::generate_for(algorithm).unwrap();
        let p256 = made(&rcgen::PKCS_ECDSA_P256_SHA256);
        assert_eq!(VerificationKey::from_pem(p256.public_key_pem().as_bytes()).unwrap().algorithms, P256);
        let ed = made(&rcgen::PKCS_ED25519);
        assert_eq!(VerificationKey::from_pem(ed.public_key_pem().as_bytes()).unwrap().algorithms, ED25519);
        let p384 = made(&rcgen::PKCS_ECDSA_P384_SHA384);
        assert!(VerificationKey::from_pem(p384.public_key_pem().as_bytes()).unwrap_err().contains("P-256"));
        let certificate =
            rcgen::CertificateParams::new(vec!["app".to_owned()]).unwrap().self_signed(&p256).unwrap().pem();
        let (from_certificate, plain) = (
            VerificationKey::from_pem(certificate.as_bytes()).unwrap(),
            VerificationKey::from_pem(p256.public_key_pem().as_bytes()).unwrap(),
        );
        assert_eq!(from_certificate.fingerprint, plain.fingerprint, "the certificate's own key");
        assert!(VerificationKey::from_pem(b"nothing").is_err());
        let weak = format!(r#"{{"keys":[{{"kty":"RSA","kid":"w","n":"{}","e":"AQAB"}}]}}"#, "q".repeat(172));
        assert!(VerificationKey::from_jwks(weak.as_bytes()).unwrap_err().contains("2048"));
        assert!(VerificationKey::from_jwks(br#"{"keys":[]}"#).is_err());
    }
}
