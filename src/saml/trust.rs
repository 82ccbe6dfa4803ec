//! The keys pinned for one issuer. Whatever key a message brings along is not looked at.
use super::refusal::{Refusal, Refused};
use crate::secret::Digest;
use aws_lc_rs::{
    rsa::PublicEncryptingKey,
    signature::{
        ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, ECDSA_P256_SHA512_ASN1, ECDSA_P384_SHA256_ASN1,
        ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA512_ASN1, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
        RSA_PKCS1_2048_8192_SHA512, UnparsedPublicKey, VerificationAlgorithm,
    },
};
use bergshamra_dsig::DsigContext;
use bergshamra_keys::{KeysManager, loader::load_x509_cert_der};
use std::{borrow::Cow, sync::Arc};
use x509_cert::{
    Certificate,
    der::{
        Decode, Encode, Tag,
        asn1::{AnyRef, UintRef},
        oid::ObjectIdentifier,
    },
};

/// RFC 5480 §2.1.1.1.
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
/// RFC 5480 §2.1.1.1.
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
/// RFC 3279 §2.3.1.
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// Smallest accepted RSA modulus, bits.
const SMALLEST_RSA: usize = 2048;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Rsa,
    P256,
    P384,
}

struct Pinned {
    family: Family,
    key: Vec<u8>,
    certificate: Vec<u8>,
    fingerprint: String,
}

/// Keys pinned for one issuer: several during a rollover, and none means that nothing is accepted (S63).
#[derive(Clone)]
pub struct TrustedKeys {
    keys: Arc<[Pinned]>,
    pub(super) context: Arc<DsigContext>,
}

impl std::fmt::Debug for TrustedKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TrustedKeys({})", self.fingerprints().join(", "))
    }
}

impl TrustedKeys {
    /// The keys of X.509 certificates in DER: RSA from 2048 bits, P-256 or P-384. A certificate is a box for its key
    /// here: its dates and its issuer say nothing about an assertion (SAML Metadata §2.4.1.1).
    pub fn of<'a>(certificates: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, String> {
        let mut manager = KeysManager::new();
        let mut keys: Vec<Pinned> = Vec::new();
        for der in certificates {
            let pinned = Pinned::of(der)?;
            if keys.iter().all(|k| k.fingerprint != pinned.fingerprint) {
                manager.add_key(load_x509_cert_der(der).map_err(|e| e.to_string())?);
                keys.push(pinned);
            }
        }
        // Its defaults are ours: keys of the manager alone, references to an ancestor, every digest computed.
        Ok(Self { keys: keys.into(), context: Arc::new(DsigContext::new(manager)) })
    }

    /// No key.
    pub fn none() -> Self {
        Self { keys: Arc::new([]), context: Arc::new(DsigContext::new(KeysManager::new())) }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The first digits of each key's SHA-256.
    pub fn fingerprints(&self) -> Vec<&str> {
        self.keys.iter().map(|k| k.fingerprint.as_str()).collect()
    }

    /// The certificates in DER.
    pub fn certificates(&self) -> impl Iterator<Item = &[u8]> {
        self.keys.iter().map(|k| k.certificate.as_slice())
    }

    /// Verifies a signature over bytes beside it (SAML Bindings §3.4.4.1). One by a curve is two numbers, one behind the
    /// other (RFC 9231 §2.3.6); in ASN.1, as some senders write them into a query, it is the same signature.
    pub fn verify_detached(&self, algorithm: &str, signed: &[u8], signature: &[u8]) -> Result<(), Refused> {
        if self.is_empty() {
            return Err(Refusal::NoTrustedKey.with("none is pinned for this issuer"));
        }
        if ![Family::Rsa, Family::P256, Family::P384].iter().any(|f| f.detached(algorithm).is_some()) {
            return Err(Refusal::Algorithm.with(algorithm));
        }
        let made_it = |key: &Pinned| {
            let how = key.family.detached(algorithm)?;
            let signature = key.family.in_asn1(signature)?;
            UnparsedPublicKey::new(how, &key.key).verify(signed, &signature).ok()
        };
        if self.keys.iter().any(|key| made_it(key).is_some()) {
            return Ok(());
        }
        Err(Refusal::Signature.with(format_args!("tried {}", self.fingerprints().join(", "))))
    }
}

impl Family {
    /// How a key of this family verifies a signature of this algorithm. Any curve goes with any digest: some IdPs sign
    /// with SHA-256 whatever their key is.
    fn detached(self, algorithm: &str) -> Option<&'static dyn VerificationAlgorithm> {
        Some(match (self, algorithm.strip_prefix("http://www.w3.org/2001/04/xmldsig-more#")?) {
            (Self::Rsa, "rsa-sha256") => &RSA_PKCS1_2048_8192_SHA256,
            (Self::Rsa, "rsa-sha384") => &RSA_PKCS1_2048_8192_SHA384,
            (Self::Rsa, "rsa-sha512") => &RSA_PKCS1_2048_8192_SHA512,
            (Self::P256, "ecdsa-sha256") => &ECDSA_P256_SHA256_ASN1,
            (Self::P256, "ecdsa-sha384") => &ECDSA_P256_SHA384_ASN1,
            (Self::P256, "ecdsa-sha512") => &ECDSA_P256_SHA512_ASN1,
            (Self::P384, "ecdsa-sha256") => &ECDSA_P384_SHA256_ASN1,
            (Self::P384, "ecdsa-sha384") => &ECDSA_P384_SHA384_ASN1,
            (Self::P384, "ecdsa-sha512") => &ECDSA_P384_SHA512_ASN1,
            (Self::Rsa | Self::P256 | Self::P384, _) => return None,
        })
    }

    /// A signature by a key of this family as it is verified: one by a curve in ASN.1 (RFC 3279 §2.2.3).
    fn in_asn1(self, signature: &[u8]) -> Option<Cow<'_, [u8]>> {
        let half = match self {
            Self::Rsa => return Some(Cow::Borrowed(signature)),
            Self::P256 => 32,
            Self::P384 => 48,
        };
        if signature.len() != 2 * half {
            return Some(Cow::Borrowed(signature));
        }
        let number = |bytes| UintRef::new(bytes).and_then(|n| n.to_der()).ok();
        let (r, s) = signature.split_at(half);
        let both = [number(r)?, number(s)?].concat();
        AnyRef::new(Tag::Sequence, &both).and_then(|whole| whole.to_der()).ok().map(Cow::Owned)
    }
}

impl Pinned {
    fn of(der: &[u8]) -> Result<Self, String> {
        let certificate = Certificate::from_der(der).map_err(|e| format!("not an X.509 certificate: {e}"))?;
        let spki = &certificate.tbs_certificate.subject_public_key_info;
        let whole = spki.to_der().map_err(|e| format!("its public key: {e}"))?;
        let key = spki.subject_public_key.as_bytes().unwrap_or_default().to_vec();
        let curve = spki.algorithm.parameters.as_ref().and_then(|p| p.decode_as::<ObjectIdentifier>().ok());
        let family = match curve {
            Some(P256) => Family::P256,
            Some(P384) => Family::P384,
            _ if spki.algorithm.oid == RSA => {
                let rsa = PublicEncryptingKey::from_der(&whole);
                let bits = rsa.map(|k| k.key_size_bits()).unwrap_or_default();
                if bits < SMALLEST_RSA {
                    return Err(format!("an RSA key that is too small or unsound; {SMALLEST_RSA} bits are needed"));
                }
                Family::Rsa
            }
            _ => return Err("its key is neither RSA nor on P-256 or P-384".to_owned()),
        };
        let fingerprint = Digest::of(&whole).hex()[..16].to_owned();
        Ok(Self { family, key, certificate: der.to_vec(), fingerprint })
    }
}
