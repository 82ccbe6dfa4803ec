//! How many wrong guesses an account and an address have left (S59).
use crate::clock::Timestamp;
use std::{
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

/// Accounts and addresses remembered at most.
const MOST: u64 = 200_000;

/// What stands for an address: an IPv6 host has a whole /64 to guess from.
pub fn origin(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

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

    #[test]
    fn s59_an_address_is_a_host_not_one_of_its_many_names() {
        let of = |text: &str| origin(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:0:0:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
