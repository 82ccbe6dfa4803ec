//! The only place that reads the time.
use std::{
    sync::{
        OnceLock,
        atomic::{AtomicI64, Ordering},
    },
    time::Instant,
};

/// Seconds since the Unix epoch (RFC 7519 `NumericDate`).
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Before everything: what is read at it is read whether it has expired or not.
    pub const FIRST: Self = Self(i64::MIN);

    /// This instant moved by `seconds`, saturating at the ends of time.
    #[must_use]
    pub fn plus(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds))
    }
}

/// A source of the current time; read once per request.
pub trait Clock: Send + Sync + 'static {
    /// The current time.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods)] // the one permitted reader of the machine's time
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Timestamp(since.map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX)))
    }
}

/// Nanoseconds since the Unix epoch, for what is shown to a person beside what other programs did.
#[allow(clippy::disallowed_methods)] // as above
pub fn unix_nanos() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
}

/// Milliseconds since this was first asked: a measure of how long ago something was, which no change of the clock moves.
pub fn elapsed() -> u64 {
    static BEGUN: OnceLock<Instant> = OnceLock::new();
    u64::try_from(BEGUN.get_or_init(Instant::now).elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// `now`, or what it would be if the clock had only run since this was first asked, whichever is earlier. What is forgotten
/// for good because its time is over is forgotten by this one: a clock that jumps ahead and comes back must not have
/// taken revocations with it.
pub fn unhurried(now: Timestamp) -> Timestamp {
    static BEGUN: OnceLock<(Timestamp, u64)> = OnceLock::new();
    let (begun, at) = *BEGUN.get_or_init(|| (now, elapsed()));
    earlier(now, begun, elapsed().saturating_sub(at))
}

fn earlier(now: Timestamp, begun: Timestamp, run: u64) -> Timestamp {
    now.min(begun.plus(i64::try_from(run / 1000).unwrap_or(i64::MAX)))
}

/// A clock that a test moves by hand.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock standing at `at`.
    pub fn at(at: Timestamp) -> Self {
        Self(AtomicI64::new(at.0))
    }

    /// Moves the clock by `seconds`, which may be negative.
    pub fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f14_what_is_forgotten_for_good_follows_no_jump_ahead() {
        let begun = Timestamp(1_000);
        assert_eq!(earlier(Timestamp(1_060), begun, 60_000), Timestamp(1_060));
        assert_eq!(earlier(Timestamp(1_060 + 86_400), begun, 60_000), Timestamp(1_060), "a day ahead");
        assert_eq!(earlier(Timestamp(1_060 - 3_600), begun, 60_000), Timestamp(1_060 - 3_600), "an hour back");
    }
}
