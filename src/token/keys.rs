//! Signing and sealing keys: made at first start, kept 0600, rotated with overlap.
use super::signer::{self, Signer, StoredSigners};
use crate::{
    clock::{Clock, Timestamp},
    model::SigningAlgorithm,
    secret,
};
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, fs, io::Write, os::unix::fs::OpenOptionsExt, path::Path};

/// How long a rotated key still opens what it made, seconds.
pub const OVERLAP: i64 = 7 * 24 * 3600;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    kid: String,
    created: Timestamp,
    retired: Option<Timestamp>,
    signing: StoredSigners,
    /// The 256-bit sealing key, base64url.
    sealing: String,
}

/// One generation of keys.
pub struct KeyGeneration {
    /// Identifies the generation in JWT headers and sealed tokens.
    pub kid: String,
    signers: [Signer; 3],
    retired: Option<Timestamp>,
    created: Timestamp,
    sealing: LessSafeKey,
}

/// All generations, the newest first.
pub struct Keys(Vec<KeyGeneration>);

impl Keys {
    /// Reads `keys.json` in `data_dir`, or makes it. The error says what is wrong with which file.
    pub fn load_or_create(data_dir: &Path, clock: &dyn Clock) -> Result<Self, String> {
        let path = data_dir.join("keys.json");
        let mut stored = match fs::read(&path) {
            Ok(bytes) => parse(&path, &bytes)?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let first = vec![generate(clock.now())?];
                write(&path, &first)?;
                first
            }
            Err(e) => return Err(format!("{}: {e}", path.display())),
        };
        stored.retain(|k| k.retired.is_none_or(|at| at.plus(OVERLAP) > clock.now()));
        let keys: Result<Vec<_>, _> = stored.iter().map(open).collect();
        let keys = keys.map_err(|e| format!("{}: {e}", path.display()))?;
        if keys.is_empty() {
            return Err(format!("{}: holds no key in use", path.display()));
        }
        Ok(Self(keys))
    }

    /// Adds a new generation and retires the others; they go on opening for [`OVERLAP`] seconds.
    /// Running processes take it up.
    pub fn rotate(data_dir: &Path, clock: &dyn Clock) -> Result<String, String> {
        let path = data_dir.join("keys.json");
        let bytes = fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let mut stored = parse(&path, &bytes)?;
        let now = clock.now();
        stored.iter_mut().for_each(|k| k.retired = k.retired.or(Some(now)));
        stored.retain(|k| k.retired.is_none_or(|at| at.plus(OVERLAP) > now));
        stored.insert(0, generate(now)?);
        write(&path, &stored)?;
        Ok(stored[0].kid.clone())
    }

    /// One line a generation: kid, creation, state.
    pub fn list(&self) -> Vec<String> {
        let state = |k: &KeyGeneration| match k.retired {
            None => "in use".to_owned(),
            Some(at) => format!("retired, opens until {}", at.plus(OVERLAP).0),
        };
        self.0.iter().map(|k| format!("{} created {} {}", k.kid, k.created.0, state(k))).collect()
    }

    /// The generation that makes new tokens.
    pub fn current(&self) -> &KeyGeneration {
        self.0.first().expect("load_or_create refuses an empty set")
    }

    /// The generation with this `kid`, if its overlap has not ended at `now`.
    pub fn find(&self, kid: &str, now: Timestamp) -> Option<&KeyGeneration> {
        self.0.iter().find(|k| k.kid == kid && k.retired.is_none_or(|at| at.plus(OVERLAP) > now))
    }

    /// The public keys as a JWK Set (RFC 7517 §5).
    pub fn jwks(&self) -> serde_json::Value {
        let all: Vec<_> = self.0.iter().flat_map(|k| &k.signers).map(|s| &s.jwk).collect();
        serde_json::json!({ "keys": all })
    }

    /// The signer that made a JWT with this `kid` and `alg`, if its overlap has not ended at `now`.
    pub fn signer(&self, kid: &str, algorithm: jsonwebtoken::Algorithm, now: Timestamp) -> Option<&Signer> {
        let generation = self.find(kid.get(..8)?, now)?;
        generation.signers.iter().find(|s| s.kid == kid && s.algorithm == algorithm)
    }
}

impl KeyGeneration {
    /// The signer for `algorithm`.
    pub fn signer(&self, algorithm: SigningAlgorithm) -> &Signer {
        let [es256, rs256, eddsa] = &self.signers;
        match algorithm {
            SigningAlgorithm::Es256 => es256,
            SigningAlgorithm::Rs256 => rs256,
            SigningAlgorithm::EdDsa => eddsa,
        }
    }

    /// Seals an access token's claims behind a fresh nonce: `nonce ‖ ciphertext ‖ tag`.
    pub fn seal(&self, plain: &[u8]) -> Vec<u8> {
        self.seal_for("", plain)
    }

    /// Seals `plain` for one purpose; it opens for no other.
    pub fn seal_for(&self, purpose: &str, plain: &[u8]) -> Vec<u8> {
        let nonce = secret::random::<12>();
        let mut body = plain.to_vec();
        self.sealing
            .seal_in_place_append_tag(Nonce::from(&nonce), self.bound_to(purpose), &mut body)
            .expect("a token is far below AES-GCM-SIV's length limit");
        [&nonce[..], &body].concat()
    }

    /// Opens what [`Self::seal`] made.
    pub fn unseal<'a>(&self, sealed: &'a mut [u8]) -> Option<&'a [u8]> {
        self.unseal_for("", sealed)
    }

    /// Opens what [`Self::seal_for`] made for this purpose.
    pub fn unseal_for<'a>(&self, purpose: &str, sealed: &'a mut [u8]) -> Option<&'a [u8]> {
        let (nonce, body) = sealed.split_first_chunk_mut::<12>()?;
        let nonce = Nonce::from(&*nonce);
        self.sealing.open_in_place(nonce, self.bound_to(purpose), body).ok().map(|b| &*b)
    }

    fn bound_to(&self, purpose: &str) -> Aad<Cow<'_, [u8]>> {
        let kid = self.kid.as_bytes();
        Aad::from(if purpose.is_empty() { kid.into() } else { [kid, purpose.as_bytes()].concat().into() })
    }
}

fn generate(now: Timestamp) -> Result<Stored, String> {
    Ok(Stored {
        kid: secret::random_id()[..8].to_owned(),
        created: now,
        retired: None,
        signing: signer::generate()?,
        sealing: B64.encode(secret::random::<32>()),
    })
}

fn open(stored: &Stored) -> Result<KeyGeneration, String> {
    let bad = |what: &str| format!("key {}: {what}", stored.kid);
    let sealing = B64.decode(&stored.sealing).map_err(|_| bad("sealing is not base64url"))?;
    let sealing = UnboundKey::new(&AES_256_GCM_SIV, &sealing).map_err(|_| bad("sealing is not 32 bytes"))?;
    Ok(KeyGeneration {
        kid: stored.kid.clone(),
        signers: signer::open(&stored.kid, &stored.signing)?,
        retired: stored.retired,
        created: stored.created,
        sealing: LessSafeKey::new(sealing),
    })
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<Stored>, String> {
    serde_json::from_slice(bytes).map_err(|e| format!("{}: damaged: {e}", path.display()))
}

/// Written beside and renamed over, so that a crash leaves the old file or the new one.
fn write(path: &Path, stored: &[Stored]) -> Result<(), String> {
    let beside = path.with_extension("json.new");
    let attempt = || -> std::io::Result<()> {
        let _ = fs::remove_file(&beside);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(&serde_json::to_vec_pretty(stored)?)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    attempt().map_err(|e| format!("{}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn a_rotated_key_opens_through_the_overlap_and_not_after_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let clock = ManualClock::at(Timestamp(1_000));
        let old = Keys::load_or_create(dir.path(), &clock).expect("keys").current().kid.clone();
        let new = Keys::rotate(dir.path(), &clock).expect("rotated");
        let keys = Keys::load_or_create(dir.path(), &clock).expect("keys");
        assert_eq!(keys.current().kid, new);
        assert!(keys.find(&old, Timestamp(1_000)).is_some());
        assert!(keys.find(&old, Timestamp(1_000 + OVERLAP)).is_none());
        clock.advance(OVERLAP);
        assert_eq!(Keys::load_or_create(dir.path(), &clock).expect("keys").list().len(), 1);
    }

    #[test]
    fn sealed_bytes_open_and_a_flipped_bit_does_not() {
        let dir = tempfile::tempdir().expect("a folder");
        let keys = Keys::load_or_create(dir.path(), &ManualClock::at(Timestamp(0))).expect("keys");
        let mut sealed = keys.current().seal(b"claims");
        assert_eq!(keys.current().unseal(&mut sealed.clone()), Some(&b"claims"[..]));
        sealed[13] ^= 1;
        assert_eq!(keys.current().unseal(&mut sealed), None);
    }

    #[test]
    fn a_damaged_key_file_is_refused_by_name() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("keys.json"), "[{").expect("written");
        let error = Keys::load_or_create(dir.path(), &ManualClock::at(Timestamp(0))).err().expect("refused");
        assert!(error.contains("keys.json") && error.contains("damaged"), "{error}");
    }
}
