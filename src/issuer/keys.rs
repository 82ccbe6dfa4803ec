//! An issuer's public keys as it publishes them (RFC 7517).
use crate::secret::Digest;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use jsonwebtoken::{Algorithm, DecodingKey, jwk::Jwk};
use serde::Deserialize;
use serde_json::Value;
use std::{
    ops::RangeInclusive,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Keys of one set at most.
const MOST: usize = 64;
/// Accepted RSA moduli, bits (RFC 7518 §3.3; beyond the other end they cost more than they are worth).
const RSA_BITS: RangeInclusive<usize> = 2048..=8192;

const RSA: &[Algorithm] =
    &[Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::PS384, Algorithm::PS512];
const P256: &[Algorithm] = &[Algorithm::ES256];
const P384: &[Algorithm] = &[Algorithm::ES384];
const ED25519: &[Algorithm] = &[Algorithm::EdDSA];

/// Every algorithm that some key here may verify; none of them has a shared secret (RFC 8725 §3.1).
pub fn algorithm(name: &str) -> Option<Algorithm> {
    let known = Algorithm::from_str(name).ok()?;
    [RSA, P256, P384, ED25519].iter().any(|family| family.contains(&known)).then_some(known)
}

/// A public key, pinned to the algorithms of its type.
pub struct Key {
    /// `kid`.
    pub kid: Option<Box<str>>,
    /// What it may verify.
    algorithms: Vec<Algorithm>,
    /// The key.
    pub decoding: DecodingKey,
    /// SHA-256 of its parameters: the same key under the same name is the same one.
    fingerprint: Digest,
    /// Whether its issuer has taken it back.
    gone: AtomicBool,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({:?}, {:?})", self.kid, self.algorithms)
    }
}

impl Key {
    /// Whether its issuer does not publish it any more.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    fn is_same(&self, other: &Self) -> bool {
        self.kid == other.kid && self.fingerprint == other.fingerprint && self.algorithms == other.algorithms
    }

    /// A JWK that may verify signatures, or why it is passed over.
    fn read(value: &Value) -> Result<Self, &'static str> {
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        if ["d", "k"].iter().any(|private| value.get(private).is_some()) {
            return Err("is no public key");
        }
        if value.get("use").is_some() && text("use") != Some("sig") {
            return Err("is not for signatures");
        }
        if value.get("key_ops").is_some_and(|ops| ops.as_array().is_none_or(|ops| !ops.iter().any(|o| o == "verify"))) {
            return Err("is not for verifying");
        }
        let family = match (text("kty"), text("crv")) {
            (Some("RSA"), _) => {
                let modulus = text("n").and_then(|n| B64.decode(n).ok()).ok_or("has no modulus")?;
                let leading = modulus.iter().take_while(|b| **b == 0).count();
                let bits = modulus[leading..]
                    .first()
                    .map_or(0, |first| (modulus.len() - leading) * 8 - first.leading_zeros() as usize);
                if !RSA_BITS.contains(&bits) {
                    return Err("is an RSA key of fewer than 2048 bits, or more than 8192");
                }
                RSA
            }
            (Some("EC"), Some("P-256")) => P256,
            (Some("EC"), Some("P-384")) => P384,
            (Some("OKP"), Some("Ed25519")) => ED25519,
            _ => return Err("is of a type that is not known here"),
        };
        let algorithms = match value.get("alg") {
            None => family.to_vec(),
            Some(named) => {
                let named = named.as_str().and_then(|name| Algorithm::from_str(name).ok());
                vec![named.filter(|a| family.contains(a)).ok_or("names an algorithm that is not its type's")?]
            }
        };
        let jwk: Jwk = serde_json::from_value(value.clone()).map_err(|_| "is malformed")?;
        let parameters: Vec<&str> = ["kty", "crv", "n", "e", "x", "y"].iter().filter_map(|name| text(name)).collect();
        Ok(Self {
            kid: text("kid").map(Into::into),
            algorithms,
            decoding: DecodingKey::from_jwk(&jwk).map_err(|_| "is malformed")?,
            fingerprint: Digest::of(parameters.join("\n").as_bytes()),
            gone: AtomicBool::new(false),
        })
    }
}

/// The keys of one issuer at one time.
#[derive(Clone, Debug, Default)]
pub struct KeySet(Vec<Arc<Key>>);

impl KeySet {
    /// Reads a JWK Set. Keys of other types and uses, too short ones and private ones are passed over, as RFC 7517 §5
    /// asks; a set without one usable key is none.
    pub fn read(json: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        let set: Set = serde_json::from_slice(json).map_err(|e| format!("not a JWK Set: {e}"))?;
        if set.keys.len() > MOST {
            return Err(format!("a JWK Set of {} keys; at most {MOST} are taken", set.keys.len()));
        }
        let mut why = "there is none";
        let read = set.keys.iter().filter_map(|value| Key::read(value).inspect_err(|e| why = e).ok());
        let keys: Vec<_> = read.map(Arc::new).collect();
        if keys.is_empty() {
            Err(format!("a JWK Set without a usable key: the last one {why}"))
        } else {
            Ok(Self(keys))
        }
    }

    /// The keys that may have made a signature. Without a name, only one that is the only one.
    pub fn candidates(&self, kid: Option<&str>, algorithm: Algorithm) -> Vec<&Arc<Key>> {
        let fits =
            |key: &&Arc<Key>| key.algorithms.contains(&algorithm) && (kid.is_none() || key.kid.as_deref() == kid);
        let found: Vec<_> = self.0.iter().filter(fits).collect();
        if kid.is_none() && found.len() > 1 { Vec::new() } else { found }
    }

    /// Whether a key has this name.
    pub fn names(&self, kid: &str) -> bool {
        self.0.iter().any(|key| key.kid.as_deref() == Some(kid))
    }

    /// This set in place of `old`: keys that stay are the very same ones, the others have gone. With the names of those
    /// that came and of those that went.
    pub fn replacing(self, old: Option<&Self>) -> (Self, Vec<String>, Vec<String>) {
        let name = |key: &Arc<Key>| key.kid.as_deref().unwrap_or("without kid").to_owned();
        let old = old.map_or(&[][..], |set| &set.0);
        let known = |key: &Arc<Key>| old.iter().find(|o| o.is_same(key)).cloned();
        let came = self.0.iter().filter(|key| known(key).is_none()).map(name).collect();
        let new: Vec<_> = self.0.into_iter().map(|key| known(&key).unwrap_or(key)).collect();
        let went: Vec<_> = old.iter().filter(|o| !new.iter().any(|key| Arc::ptr_eq(key, o))).collect();
        went.iter().for_each(|key| key.gone.store(true, Ordering::Release));
        let went = went.into_iter().map(name).collect();
        (Self(new), came, went)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rsa(bits: usize, more: Value) -> Value {
        let mut modulus = vec![0xff; bits / 8];
        modulus[bits / 8 - 1] = 0x01;
        let mut key = json!({"kty": "RSA", "kid": "r", "n": B64.encode(modulus), "e": "AQAB"});
        key.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        key
    }

    fn read(keys: &[Value]) -> Result<KeySet, String> {
        KeySet::read(json!({"keys": keys}).to_string().as_bytes())
    }

    #[test]
    fn s32_keys_are_pinned_to_their_type_use_and_algorithm_and_what_is_unfit_is_passed_over() {
        let good = read(&[rsa(2048, json!({"use": "sig", "alg": "RS256", "key_ops": ["verify"]}))]).unwrap();
        assert_eq!(good.candidates(Some("r"), Algorithm::RS256).len(), 1);
        for other in [Algorithm::PS256, Algorithm::HS256, Algorithm::ES256] {
            assert!(good.candidates(Some("r"), other).is_empty(), "{other:?}");
        }
        let unfit = [
            rsa(1024, json!({})),
            rsa(16_384, json!({})),
            rsa(2048, json!({"use": "enc"})),
            rsa(2048, json!({"use": 1})),
            rsa(2048, json!({"key_ops": ["encrypt"]})),
            rsa(2048, json!({"alg": "HS256"})),
            rsa(2048, json!({"alg": "ES256"})),
            rsa(2048, json!({"alg": "RSA-OAEP"})),
            rsa(2048, json!({"d": "AQAB"})),
            json!({"kty": "oct", "k": "c2VjcmV0", "kid": "s"}),
            json!({"kty": "EC", "crv": "secp256k1", "x": "AQ", "y": "AQ"}),
            json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AQ"}),
            json!("text"),
        ];
        for key in &unfit {
            assert!(read(std::slice::from_ref(key)).is_err(), "{key}");
        }
        let mixed = read(&[&unfit[..], &[rsa(2048, json!({"kid": "good"}))]].concat()).unwrap();
        assert_eq!(mixed.0.len(), 1, "the rest is passed over");
        assert!(read(&[]).is_err() && read(&vec![rsa(2048, json!({})); 65]).unwrap_err().contains("65"));
    }

    #[test]
    fn a_key_that_stays_is_the_same_and_one_that_goes_is_marked() {
        let named = |kid: &str, last: u8| {
            let mut modulus = vec![0xff; 256];
            modulus[255] = last;
            json!({"kty": "RSA", "kid": kid, "n": B64.encode(modulus), "e": "AQAB"})
        };
        let (first, ..) = read(&[named("a", 1), named("b", 3)]).unwrap().replacing(None);
        let (a, b) = (first.0[0].clone(), first.0[1].clone());
        let (second, came, went) = read(&[named("a", 1), named("b", 5)]).unwrap().replacing(Some(&first));
        assert!(Arc::ptr_eq(&second.0[0], &a) && !a.is_gone() && b.is_gone(), "another key under the same name");
        assert_eq!((came, went), (vec!["b".to_owned()], vec!["b".to_owned()]));
        assert!(second.candidates(None, Algorithm::RS256).is_empty(), "without a name, one of two is nobody's");
    }
}
