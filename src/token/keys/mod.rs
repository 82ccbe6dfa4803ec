//! Signing and sealing keys: made at first start, published before they are used, rotated with overlap.
mod file;
mod ring;
pub mod wrapping;

use super::signer::{self, PublicKey, Signer, StoredSigners};
use crate::{
    clock::{Clock, Timestamp},
    model::SigningAlgorithm,
    secret,
};
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
pub use ring::{KEY, Keyring};
use serde::{Deserialize, Serialize};
use std::{
    borrow::Cow,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// How long a rotated key still opens what it made, seconds.
pub const OVERLAP: i64 = 7 * 24 * 3600;

/// How keys are rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// The new keys are published now and used after so many seconds; the old ones go on opening for [`OVERLAP`].
    Planned(i64),
    /// The new keys are used now, and every token of every other key ends.
    Emergency,
}

/// One generation as it is kept.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    kid: String,
    created: Timestamp,
    /// When it begins to make tokens; at once without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    used_from: Option<Timestamp>,
    /// When it makes tokens no longer.
    retired: Option<Timestamp>,
    signing: StoredSigners,
    /// The 256-bit sealing key, base64url.
    sealing: String,
}

/// One generation of keys.
pub struct KeyGeneration {
    /// Identifies the generation in JWT headers and sealed tokens.
    pub kid: String,
    signers: [Arc<dyn Signer>; 3],
    used_from: Timestamp,
    retired: Option<Timestamp>,
    created: Timestamp,
    sealing: LessSafeKey,
}

/// All generations, the newest first, and which of them makes tokens.
pub struct Keys {
    all: Vec<KeyGeneration>,
    current: AtomicUsize,
}

/// Changes `stored` as `rotation` says; the identifier of the new generation.
fn rotate(stored: &mut Vec<Stored>, rotation: Rotation, now: Timestamp) -> Result<String, String> {
    let mut new = generate(now)?;
    match rotation {
        Rotation::Planned(after) => {
            let from = now.plus(after.max(0));
            new.used_from = Some(from);
            // One that never came into use gives way to this one.
            stored.retain(|k| k.used_from.is_none_or(|at| at <= now));
            for key in stored.iter_mut() {
                key.retired = Some(key.retired.map_or(from, |at| at.min(from)));
            }
            stored.retain(|k| k.retired.is_none_or(|at| at.plus(OVERLAP) > now));
        }
        Rotation::Emergency => stored.clear(),
    }
    let kid = new.kid.clone();
    stored.insert(0, new);
    Ok(kid)
}

impl Keys {
    /// Reads `keys.json` in `data_dir`, or makes it. The error says what is wrong with which file.
    pub fn load_or_create(data_dir: &Path, clock: &dyn Clock) -> Result<Self, String> {
        let path = file::path(data_dir);
        Self::of(&file::load_or_create(&path, clock.now())?, clock.now())
            .map_err(|e| format!("{}: {e}", path.display()))
    }

    fn of(stored: &[Stored], now: Timestamp) -> Result<Self, String> {
        let kept = stored.iter().filter(|k| k.retired.is_none_or(|at| at.plus(OVERLAP) > now));
        let all: Vec<_> = kept.map(open).collect::<Result<_, _>>()?;
        if all.is_empty() {
            return Err("holds no key in use".to_owned());
        }
        let keys = Self { all, current: AtomicUsize::new(0) };
        keys.advance(now);
        Ok(keys)
    }

    /// Takes the newest generation into use whose time has come.
    pub fn advance(&self, now: Timestamp) {
        let ripe = self.all.iter().position(|k| k.used_from <= now);
        self.current.store(ripe.unwrap_or(self.all.len() - 1), Ordering::Release);
    }

    /// Whether everything that `other` opens at `now` is opened by this set too.
    pub fn opens_all_of(&self, other: &Self, now: Timestamp) -> bool {
        other
            .all
            .iter()
            .filter(|k| k.used_from <= now && other.find(&k.kid, now).is_some())
            .all(|k| self.all.iter().any(|o| o.kid == k.kid))
    }

    /// Whether this set and `other` are of the same generations.
    pub fn same_as(&self, other: &Self) -> bool {
        let named = |keys: &Self| keys.all.iter().map(|k| (k.kid.clone(), k.used_from, k.retired)).collect::<Vec<_>>();
        named(self) == named(other)
    }

    /// One line a generation: kid, creation, state.
    pub fn list(&self, now: Timestamp) -> Vec<String> {
        let state = |k: &KeyGeneration| match k.retired {
            _ if k.used_from > now => format!("published, in use from {}", k.used_from.0),
            Some(at) if at > now => format!("in use until {}", at.0),
            Some(at) => format!("retired, opens until {}", at.plus(OVERLAP).0),
            None => "in use".to_owned(),
        };
        self.all.iter().map(|k| format!("{} created {} {}", k.kid, k.created.0, state(k))).collect()
    }

    /// The generation that makes new tokens.
    pub fn current(&self) -> &KeyGeneration {
        &self.all[self.current.load(Ordering::Acquire)]
    }

    /// The generation with this `kid`, if its overlap has not ended at `now`.
    pub fn find(&self, kid: &str, now: Timestamp) -> Option<&KeyGeneration> {
        self.all.iter().find(|k| k.kid == kid && k.retired.is_none_or(|at| at.plus(OVERLAP) > now))
    }

    /// The public keys (RFC 7517 §4).
    pub fn jwks(&self) -> Vec<serde_json::Value> {
        self.all.iter().flat_map(|k| &k.signers).map(|s| s.key().jwk.clone()).collect()
    }

    /// The key of a JWT with this `kid` and `alg`, if its overlap has not ended at `now`.
    pub fn public(&self, kid: &str, algorithm: jsonwebtoken::Algorithm, now: Timestamp) -> Option<&PublicKey> {
        let generation = self.find(kid.get(..8)?, now)?;
        generation.signers.iter().map(|s| s.key()).find(|key| key.kid == kid && key.algorithm == algorithm)
    }
}

impl KeyGeneration {
    /// The signer for `algorithm`.
    pub fn signer(&self, algorithm: SigningAlgorithm) -> &Arc<dyn Signer> {
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
        used_from: None,
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
        used_from: stored.used_from.unwrap_or(stored.created),
        retired: stored.retired,
        created: stored.created,
        sealing: LessSafeKey::new(sealing),
    })
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
        let path = file::path(dir.path());
        let mut stored = file::load_or_create(&path, clock.now()).expect("keys");
        let new = rotate(&mut stored, Rotation::Planned(0), clock.now()).expect("rotated");
        file::write(&path, &stored).expect("written");
        let keys = Keys::load_or_create(dir.path(), &clock).expect("keys");
        assert_eq!(keys.current().kid, new);
        assert!(keys.find(&old, Timestamp(1_000)).is_some());
        assert!(keys.find(&old, Timestamp(1_000 + OVERLAP)).is_none());
        clock.advance(OVERLAP);
        assert_eq!(Keys::load_or_create(dir.path(), &clock).expect("keys").list(clock.now()).len(), 1);
    }

    #[test]
    fn f13_new_keys_are_published_before_they_are_used_and_an_emergency_ends_the_others_at_once() {
        let now = Timestamp(1_000);
        let mut stored = vec![generate(now).expect("keys")];
        let first = stored[0].kid.clone();
        let second = rotate(&mut stored, Rotation::Planned(600), now).expect("rotated");
        let keys = Keys::of(&stored, now).expect("keys");
        assert_eq!(keys.current().kid, first);
        assert!(serde_json::json!(keys.jwks()).to_string().contains(&second), "published");
        keys.advance(Timestamp(1_599));
        assert_eq!(keys.current().kid, first);
        keys.advance(Timestamp(1_600));
        assert_eq!(keys.current().kid, second);
        assert!(keys.find(&first, Timestamp(1_599 + OVERLAP)).is_some());
        assert!(keys.find(&first, Timestamp(1_600 + OVERLAP)).is_none(), "the overlap counts from its last use");
        // One that was never used is replaced by another.
        let third = rotate(&mut stored, Rotation::Planned(0), Timestamp(1_100)).expect("rotated");
        let replaced = Keys::of(&stored, Timestamp(1_700)).expect("keys");
        assert!(replaced.current().kid == third && replaced.opens_all_of(&keys, Timestamp(1_100)));
        rotate(&mut stored, Rotation::Emergency, Timestamp(1_800)).expect("rotated");
        let after = Keys::of(&stored, Timestamp(1_800)).expect("keys");
        assert!(!after.opens_all_of(&replaced, Timestamp(1_800)) && after.find(&third, Timestamp(1_800)).is_none());
        assert_eq!(after.jwks().len(), 3);
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
