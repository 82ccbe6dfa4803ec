//! The key-encryption key: seals the keys that the store keeps. It lives outside: a file, the environment, or a command
//! that asks a key management service.
use crate::{
    secret::{Digest, Plain, random, reference::Reference},
    store::StoreError,
};
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use serde::{Deserialize, Serialize};

/// Where the key-encryption key is, and the one before it while it is being changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Seals, and opens.
    pub current: Reference,
    /// Opens what was sealed before the change.
    pub previous: Option<Reference>,
}

/// Seals and opens.
pub struct Wrapping {
    current: Kek,
    previous: Option<Kek>,
}

struct Kek {
    /// Says which one sealed; a part of its digest.
    name: String,
    key: LessSafeKey,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrapped {
    wrapped_by: String,
    sealed: String,
}

impl Kek {
    fn read(place: &Reference) -> Result<Self, String> {
        let text = place.read()?;
        let wrong =
            || format!("{place:?}: not a key of 256 bits in base64url; portcullis keys new-encryption-key makes one");
        let bytes = B64.decode(text.expose()).map_err(|_| wrong())?;
        let key = UnboundKey::new(&AES_256_GCM_SIV, &bytes).map_err(|_| wrong())?;
        let name = Digest::of(&[b"portcullis key-encryption key ", &*bytes].concat()).hex()[..16].to_owned();
        Ok(Self { name, key: LessSafeKey::new(key) })
    }
}

impl Wrapping {
    /// Reads the keys from their places; the error names the place.
    pub fn read(places: &Places) -> Result<Self, String> {
        let previous = places.previous.as_ref().map(Kek::read).transpose()?;
        Ok(Self { current: Kek::read(&places.current)?, previous })
    }

    /// Seals `plain` for the record under `key`.
    pub fn seal(&self, key: &str, plain: &[u8]) -> Vec<u8> {
        let nonce = random::<12>();
        let mut body = plain.to_vec();
        self.current
            .key
            .seal_in_place_append_tag(Nonce::from(&nonce), Aad::from(key.as_bytes()), &mut body)
            .expect("keys are far below AES-GCM-SIV's length limit");
        let sealed = B64.encode([&nonce[..], &body].concat());
        serde_json::to_vec(&Wrapped { wrapped_by: self.current.name.clone(), sealed }).expect("two strings are JSON")
    }

    /// Opens what was sealed for the record under `key`.
    pub fn open(&self, key: &str, sealed: &[u8]) -> Result<Plain, StoreError> {
        let damaged = || StoreError::Corrupt(format!("record {key}"));
        let Wrapped { wrapped_by, sealed } = serde_json::from_slice(sealed).map_err(|_| damaged())?;
        let kek = [Some(&self.current), self.previous.as_ref()].into_iter().flatten().find(|k| k.name == wrapped_by);
        let kek = kek.ok_or_else(|| {
            let ours = &self.current.name;
            StoreError::Corrupt(format!(
                "record {key} was sealed by the key-encryption key {wrapped_by}, and ours is {ours}"
            ))
        })?;
        let mut sealed = B64.decode(sealed).map_err(|_| damaged())?;
        let (nonce, body) = sealed.split_first_chunk_mut::<12>().ok_or_else(damaged)?;
        let plain =
            kek.key.open_in_place(Nonce::from(&*nonce), Aad::from(key.as_bytes()), body).map_err(|_| damaged())?;
        std::str::from_utf8(plain).map(Plain::of).map_err(|_| damaged())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kek(folder: &std::path::Path, name: &str) -> Reference {
        let path = folder.join(name);
        std::fs::write(&path, crate::secret::random_token()).unwrap();
        Reference::File(path)
    }

    #[test]
    fn what_one_key_sealed_opens_with_it_alone_and_while_it_is_changed() {
        let dir = tempfile::tempdir().unwrap();
        let [old, new] = ["old", "new"].map(|name| kek(dir.path(), name));
        let places = |current: &Reference, previous: Option<&Reference>| {
            Wrapping::read(&Places { current: current.clone(), previous: previous.cloned() }).unwrap()
        };
        let sealed = places(&old, None).seal("keys/all", b"secret");
        assert_eq!(places(&new, Some(&old)).open("keys/all", &sealed).unwrap().expose(), "secret");
        let why = places(&new, None).open("keys/all", &sealed).unwrap_err().to_string();
        assert!(why.contains("sealed by the key-encryption key"), "{why}");
        assert!(places(&old, None).open("keys/other", &sealed).is_err(), "bound to its record");
        std::fs::write(dir.path().join("old"), "short").unwrap();
        assert!(
            Wrapping::read(&Places { current: old, previous: None }).err().unwrap().contains("not a key of 256 bits")
        );
    }
}
