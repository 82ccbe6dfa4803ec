//! People signing in: passwords, second factors, sessions, and how often anybody may guess.
pub mod directory;
pub mod password;
pub mod session;
pub mod throttle;
pub mod totp;

use crate::{clock::Timestamp, token::vault::Vault};
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};
use throttle::Throttle;
use tokio::sync::Semaphore;

/// What all sign-ins of a process share.
pub struct Login {
    /// Wrong guesses.
    pub throttle: Throttle,
    /// Opens second factors.
    pub vault: Vault,
    /// People whom an identity provider brought.
    pub directory: directory::Directory,
    turns: Mutex<(usize, Arc<Semaphore>)>,
    waiting: AtomicUsize,
    polls: moka::sync::Cache<String, Timestamp>,
}

impl Login {
    /// Nobody has guessed yet.
    pub fn new(vault: Vault) -> Self {
        Self {
            throttle: Throttle::default(),
            vault,
            directory: directory::Directory::default(),
            turns: Mutex::new((0, Arc::new(Semaphore::new(0)))),
            waiting: AtomicUsize::new(0),
            polls: moka::sync::Cache::new(100_000),
        }
    }

    /// Turns to hash a password, `most` at one time; those that were given under another policy are not counted.
    fn turns(&self, most: usize) -> Arc<Semaphore> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.0 != most {
            *turns = (most, Arc::new(Semaphore::new(most)));
        }
        turns.1.clone()
    }

    /// One more waits, behind so many.
    fn wait(&self) -> (Waits<'_>, usize) {
        let before = self.waiting.fetch_add(1, Ordering::AcqRel);
        (Waits(&self.waiting), before)
    }

    /// Whether a device may ask again, `interval` seconds after it last did (RFC 8628 §3.5).
    pub fn may_poll(&self, device: &str, interval: i64, now: Timestamp) -> bool {
        let before = self.polls.get(device);
        self.polls.insert(device.to_owned(), now);
        // A second's tolerance: our clock counts whole ones.
        before.is_none_or(|at| at.plus(interval - 1) <= now)
    }
}

/// Somebody waits while this lives.
struct Waits<'a>(&'a AtomicUsize);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
