//! Hash tables whose keys are digests already, and what an entry of the token cache takes.
use super::Opened;
use std::hash::{BuildHasherDefault, Hasher};

/// For keys that a keyed pseudorandom function made: hashing them once more would spread nothing.
pub type Placed = BuildHasherDefault<Digested>;

/// Takes the low half of what it is given.
#[derive(Clone, Copy, Debug, Default)]
pub struct Digested(u64);

impl Hasher for Digested {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|b| self.0 = self.0.rotate_left(8) ^ u64::from(*b));
    }

    fn write_u64(&mut self, digest: u64) {
        self.0 = digest;
    }

    fn write_u128(&mut self, digest: u128) {
        self.0 = digest as u64;
    }
}

/// What one cached token takes, bytes.
pub fn weight(opened: &Opened) -> u32 {
    // 300: the entry itself, its key and the cache's bookkeeping; client, audience and scopes are shared.
    // A kilobyte: an actor or two, a key, what it is tied to.
    let special = if opened.special.is_some() { 1024 } else { 0 };
    u32::try_from(300 + opened.subject.len() + opened.jti.len() + special).unwrap_or(u32::MAX)
}
