//! Where keys are kept: files of the data folder for one node, a sealed record of the store for several.
use super::{
    Keys, Rotation, Stored, file, generate, rotate,
    wrapping::{Places, Wrapping},
};
use crate::{
    clock::{Clock, Timestamp},
    secret,
    store::{Change, Changes, Expect, Record, Store, StoreError},
    token::vault::Vault,
};
use serde::{Deserialize, Serialize};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

/// The record that holds them; announced to other nodes.
pub const KEY: &str = "keys/all";
/// Attempts to write beside another node that writes the same record.
const TRIES: usize = 10;

/// Where keys are kept.
pub enum Keyring {
    /// `keys.json` and `vault.key` of the data folder.
    File(PathBuf),
    /// A record of the store, sealed by a key-encryption key.
    Store {
        /// The store.
        store: Arc<dyn Store>,
        /// What seals the record.
        wrapping: Box<Wrapping>,
        /// The data folder: keys that one node has used until now are taken over from there.
        data: PathBuf,
    },
}

/// What the record says once it is opened.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    generations: Vec<Stored>,
    vault: String,
}

fn unavailable(error: &StoreError) -> String {
    format!("keys in the store: {error}")
}

impl Keyring {
    /// The files of the data folder.
    pub fn file(data: &Path) -> Self {
        Self::File(data.to_owned())
    }

    /// In the store where `places` names a key-encryption key, in files otherwise.
    pub fn of(places: Option<&Places>, data: &Path, store: &Arc<dyn Store>) -> Result<Self, String> {
        Ok(match places {
            None => Self::file(data),
            Some(places) => {
                let wrapping = Box::new(Wrapping::read(places)?);
                Self::Store { store: store.clone(), wrapping, data: data.to_owned() }
            }
        })
    }

    /// When the file was written, where they are in one.
    pub fn written(&self) -> Option<SystemTime> {
        match self {
            Self::File(data) => std::fs::metadata(file::path(data)).and_then(|m| m.modified()).ok(),
            Self::Store { .. } => None,
        }
    }

    /// The keys, made where there are none; the error names their place.
    pub async fn load(&self, clock: &dyn Clock) -> Result<(Keys, Vault), String> {
        let now = clock.now();
        match self {
            Self::File(data) => Ok((Keys::load_or_create(data, clock)?, Vault::load_or_create(data)?)),
            Self::Store { .. } => {
                let kept = self.kept(now).await?;
                Ok((Keys::of(&kept.generations, now)?, Vault::of(&kept.vault)?))
            }
        }
    }

    /// The keys alone.
    pub async fn keys(&self, now: Timestamp) -> Result<Keys, String> {
        match self {
            Self::File(data) => Keys::of(&file::load_or_create(&file::path(data), now)?, now),
            Self::Store { .. } => Keys::of(&self.kept(now).await?.generations, now),
        }
    }

    /// Rotates; every node takes it up. The identifier of the new generation.
    pub async fn rotate(&self, rotation: Rotation, now: Timestamp) -> Result<String, String> {
        match self {
            Self::File(data) => {
                let path = file::path(data);
                let mut stored = file::load_or_create(&path, now)?;
                let kid = rotate(&mut stored, rotation, now)?;
                file::write(&path, &stored)?;
                Ok(kid)
            }
            Self::Store { .. } => self.rewrite(now, |kept| rotate(&mut kept.generations, rotation, now)).await,
        }
    }

    /// Seals the record again with the current key-encryption key.
    pub async fn rewrap(&self, now: Timestamp) -> Result<(), String> {
        match self {
            Self::File(_) => Err("the keys are in files: [keys] names no key-encryption key".to_owned()),
            Self::Store { .. } => self.rewrite(now, |_| Ok(())).await,
        }
    }

    async fn read(&self, now: Timestamp) -> Result<Option<(Kept, u64)>, String> {
        let Self::Store { store, wrapping, .. } = self else { return Ok(None) };
        let Some(record) = store.get(KEY, now).await.map_err(|e| unavailable(&e))? else { return Ok(None) };
        let plain = wrapping.open(KEY, &record.body).map_err(|e| unavailable(&e))?;
        let kept = serde_json::from_str(plain.expose()).map_err(|e| format!("keys in the store: damaged: {e}"))?;
        Ok(Some((kept, record.version)))
    }

    /// `false` where another node was quicker.
    async fn write(&self, kept: &Kept, expect: Expect, now: Timestamp) -> Result<bool, String> {
        let Self::Store { store, wrapping, .. } = self else { return Ok(false) };
        let plain = serde_json::to_vec(kept).map_err(|e| e.to_string())?;
        let body = wrapping.seal(KEY, &plain);
        let record = Record { key: KEY.to_owned(), version: 0, index: None, expires: None, body };
        match store.commit(Changes(vec![Change::Put(record, expect)]), now).await {
            Ok(()) => Ok(true),
            Err(StoreError::Conflict(_)) => Ok(false),
            Err(e) => Err(unavailable(&e)),
        }
    }

    async fn kept(&self, now: Timestamp) -> Result<Kept, String> {
        for _ in 0..TRIES {
            if let Some((kept, _)) = self.read(now).await? {
                return Ok(kept);
            }
            let Self::Store { data, .. } = self else { break };
            // Whoever has run alone until now brings its keys along, so that no token and no second factor is lost.
            let generations = match file::read(&file::path(data))? {
                Some(generations) => generations,
                None => vec![generate(now)?],
            };
            let vault = Vault::text(data)?.unwrap_or_else(secret::random_token);
            let first = Kept { generations, vault };
            if self.write(&first, Expect::Absent, now).await? {
                return Ok(first);
            }
        }
        Err("keys in the store: other nodes were quicker too often".to_owned())
    }

    async fn rewrite<T>(&self, now: Timestamp, change: impl Fn(&mut Kept) -> Result<T, String>) -> Result<T, String> {
        for _ in 0..TRIES {
            self.kept(now).await?;
            let Some((mut kept, version)) = self.read(now).await? else { continue };
            let told = change(&mut kept)?;
            if self.write(&kept, Expect::Version(version), now).await? {
                return Ok(told);
            }
        }
        Err("keys in the store: other nodes were quicker too often".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{secret::reference::Reference, store::memory::MemoryStore};

    const NOW: Timestamp = Timestamp(1_000);

    #[tokio::test]
    async fn nodes_agree_on_keys_that_the_store_keeps_sealed_and_files_are_taken_over() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let before = Keyring::file(dir.path()).keys(NOW).await.unwrap();
        let vault = Vault::load_or_create(dir.path()).unwrap().seal("totp", b"seed");
        let kek = dir.path().join("kek");
        std::fs::write(&kek, secret::random_token()).unwrap();
        let places = Places { current: Reference::File(kek), previous: None };
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let ring = |data: &Path| Keyring::of(Some(&places), data, &store).unwrap();
        let (a, b) = (ring(dir.path()), ring(other.path()));
        let clock = crate::clock::ManualClock::at(NOW);
        let (keys, _) = a.load(&clock).await.unwrap();
        let (same, opened) = b.load(&clock).await.unwrap();
        assert!(keys.same_as(&before) && keys.same_as(&same));
        assert_eq!(opened.open("totp", &vault).as_deref(), Some(&b"seed"[..]));
        let record = store.get(KEY, NOW).await.unwrap().unwrap();
        assert!(!String::from_utf8_lossy(&record.body).contains(&keys.current().kid), "sealed");
        let new = b.rotate(Rotation::Planned(60), NOW).await.unwrap();
        let keys = a.keys(NOW.plus(60)).await.unwrap();
        assert_eq!(keys.current().kid, new);
        a.rewrap(NOW).await.unwrap();
        assert!(b.keys(NOW.plus(60)).await.unwrap().same_as(&keys));
        let last = a.rotate(Rotation::Emergency, NOW).await.unwrap();
        assert_eq!(b.keys(NOW).await.unwrap().list(NOW).len(), 1);
        assert_eq!(b.keys(NOW).await.unwrap().current().kid, last);
        assert!(Keyring::file(dir.path()).rewrap(NOW).await.is_err());
    }
}
