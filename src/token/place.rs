//! Hash tables whose keys are digests already.
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
