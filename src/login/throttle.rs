//! How many wrong guesses an account and an address have left (S59).
use crate::clock::Timestamp;
use std::sync::{Mutex, PoisonError};

/// Accounts and addresses remembered at most.
const MOST: u64 = 200_000;

/// Counts guesses in windows. A guess is counted before it is checked, so that no race gives one more.
pub struct Throttle(moka::sync::Cache<String, std::sync::Arc<Mutex<Window>>>);

#[derive(Default)]
struct Window {
    begun: Option<Timestamp>,
    used: u32,
}

impl Default for Throttle {
    fn default() -> Self {
        Self(moka::sync::Cache::new(MOST))
    }
}

impl Throttle {
    /// Takes one of `most` guesses for `name` within `window` seconds; `false` if none is left.
    pub fn take(&self, name: &str, most: u32, window: i64, now: Timestamp) -> bool {
        let entry = self.0.get_with_by_ref(name, Default::default);
        let mut state = entry.lock().unwrap_or_else(PoisonError::into_inner);
        if state.begun.is_none_or(|at| at.plus(window) <= now) {
            *state = Window { begun: Some(now), used: 0 };
        }
        if state.used >= most {
            return false;
        }
        state.used += 1;
        true
    }

    /// Gives a guess back that was right.
    pub fn give_back(&self, name: &str) {
        if let Some(entry) = self.0.get(name) {
            let mut state = entry.lock().unwrap_or_else(PoisonError::into_inner);
            state.used = state.used.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_run_out_and_come_back_after_the_window() {
        let throttle = Throttle::default();
        let take = |at| throttle.take("alice", 2, 60, Timestamp(at));
        assert!(take(0) && take(1) && !take(59) && take(60));
        throttle.give_back("alice");
        assert!(take(61) && take(62) && !take(63));
        assert!(throttle.take("bob", 2, 60, Timestamp(0)));
    }
}
