//! How many requests an app, a user or an address may make (GCRA, one word for each of them).
use siphasher::sip::SipHasher13;
use std::{
    hash::Hasher,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Callers that one limit remembers; the least recently seen are forgotten first.
const CALLERS: u64 = 100_000;

/// Whose requests are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Per {
    /// One app's.
    App,
    /// One user's.
    User,
    /// One address's; an IPv6 network of 64 bits is one.
    Address,
}

/// So many requests in a window that moves.
pub struct Limit {
    /// Its name in `RateLimit-Policy`; limits of one name, whatever their route, count together.
    pub name: String,
    /// Whose.
    pub per: Per,
    /// How many.
    pub requests: u32,
    /// In which time.
    pub window: Duration,
    /// What was counted.
    pub buckets: OnceLock<Arc<Buckets>>,
}

/// Where a caller stands with a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether one more is within it.
    pub within: bool,
    /// How many more would be.
    pub left: u32,
    /// Seconds until nothing is used.
    pub reset: u64,
    /// Seconds until one more is within it.
    pub retry_after: u64,
}

/// What was counted, by caller.
pub struct Buckets {
    cells: moka::sync::Cache<u64, Arc<AtomicU64>>,
    begun: Instant,
}

impl std::fmt::Debug for Buckets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Buckets")
    }
}

impl Buckets {
    /// Nothing counted; a caller unseen for `window` has used nothing.
    pub fn new(window: Duration) -> Self {
        let cells = moka::sync::Cache::builder()
            .max_capacity(CALLERS)
            // The usual policy would rather forget the newcomer, whose every request would then be the first.
            .eviction_policy(moka::policy::EvictionPolicy::lru())
            .time_to_idle(window)
            .build();
        Self { cells, begun: Instant::now() }
    }
}

impl std::fmt::Debug for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.identity())
    }
}

impl Limit {
    /// Equal for limits that count together.
    pub fn identity(&self) -> String {
        format!("{} {:?} {} {:?}", self.name, self.per, self.requests, self.window)
    }

    /// Its item of `RateLimit-Policy`.
    pub fn policy(&self) -> String {
        format!("\"{}\";q={};w={}", self.name, self.requests, self.window.as_secs())
    }

    /// Counts a request of `caller`, or only looks; one beyond the limit is not counted.
    pub fn standing(&self, buckets: &Buckets, caller: &[u8], now: Instant, count: bool) -> Standing {
        let mut hasher = SipHasher13::new_with_keys(0, self.requests.into());
        hasher.write(caller);
        let cell = buckets.cells.get_with(hasher.finish(), Arc::default);
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX / 4);
        let now = micros(now.saturating_duration_since(buckets.begun));
        let window = micros(self.window);
        let each = (window / u64::from(self.requests)).max(1);
        let judged = |due: u64| {
            let next = due.max(now) + each;
            (next <= now + window, next)
        };
        let taken = cell.fetch_update(Ordering::AcqRel, Ordering::Acquire, |due| match judged(due) {
            (true, next) if count => Some(next),
            _ => None,
        });
        let (within, due) = match taken {
            Ok(before) => (true, judged(before).1),
            Err(due) => (judged(due).0, due.max(now)),
        };
        let left = u32::try_from((now + window).saturating_sub(due) / each).unwrap_or(u32::MAX);
        let seconds = |micros: u64| micros.div_ceil(1_000_000);
        let wait = (due + each).saturating_sub(now + window);
        Standing { within, left, reset: seconds(due - now), retry_after: seconds(wait).max(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(requests: u32, seconds: u64) -> (Limit, Buckets) {
        let window = Duration::from_secs(seconds);
        let made = Limit { name: "n".into(), per: Per::App, requests, window, buckets: OnceLock::new() };
        (made, Buckets::new(window))
    }

    #[test]
    fn so_many_are_within_and_what_is_used_comes_back_with_time() {
        let (limit, buckets) = limit(3, 60);
        let start = Instant::now();
        let lefts: Vec<u32> = (0..3).map(|_| limit.standing(&buckets, b"a", start, true).left).collect();
        assert_eq!(lefts, [2, 1, 0]);
        let fourth = limit.standing(&buckets, b"a", start, true);
        assert!(!fourth.within && (19..=20).contains(&fourth.retry_after) && fourth.reset == 60, "{fourth:?}");
        assert!(limit.standing(&buckets, b"b", start, true).within, "another caller");
        let later = start + Duration::from_secs(21);
        assert!(limit.standing(&buckets, b"a", later, false).within);
        assert!(limit.standing(&buckets, b"a", later, true).within, "to look costs nothing");
        assert!(!limit.standing(&buckets, b"a", later, true).within);
        assert_eq!(limit.policy(), "\"n\";q=3;w=60");
    }

    proptest::proptest! {
        #[test]
        fn within_any_window_never_more_than_twice_the_limit_and_never_less_than_it(
            steps in proptest::collection::vec(0_u64..5_000, 1..200), requests in 1_u32..20
        ) {
            let (limit, buckets) = limit(requests, 10);
            let start = buckets.begun;
            let mut at = 0;
            let mut passed = Vec::new();
            for step in steps {
                at += step;
                if limit.standing(&buckets, b"a", start + Duration::from_millis(at), true).within {
                    passed.push(at);
                }
            }
            for first in &passed {
                let inside = passed.iter().filter(|p| *p >= first && **p < first + 10_000).count();
                proptest::prop_assert!(inside <= 2 * requests as usize);
            }
            let early = passed.iter().take(requests as usize).count();
            proptest::prop_assert!(early >= 1);
        }
    }
}
