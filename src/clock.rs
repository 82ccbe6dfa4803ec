//! The only place that reads the time.
use std::{
    sync::{
        Mutex, OnceLock, PoisonError,
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

/// How far ahead of its own run a clock is believed at once, seconds: what is forgotten for good is kept for so much longer.
pub const SLACK: i64 = 60;
/// How long a clock that has leapt further ahead must stay there until it is believed, milliseconds.
const BELIEVED_AFTER: u64 = 3_600_000;

/// The time by which is forgotten for good what is over. A clock that leaps ahead and comes back, or is wrong from the start,
/// must not have taken along what holds still: so this one runs on from the last time that was believed, follows the
/// machine's back at once, and a leap ahead only when that has lasted for an hour.
#[derive(Debug)]
pub struct Unhurried(Mutex<Run>);

#[derive(Debug)]
struct Run {
    /// The time at `measured`, which is on the clock of [`elapsed`].
    time: Timestamp,
    measured: u64,
    /// Since when the machine's clock has been ahead.
    ahead: Option<u64>,
}

impl Unhurried {
    /// One that stands at `time`.
    pub fn at(time: Timestamp) -> Self {
        Self(Mutex::new(Run { time, measured: elapsed(), ahead: None }))
    }

    /// The time, where the machine says that it is `now`.
    pub fn time(&self, now: Timestamp) -> Timestamp {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).time(now, elapsed())
    }
}

impl Run {
    fn time(&mut self, now: Timestamp, elapsed: u64) -> Timestamp {
        let run = elapsed.saturating_sub(self.measured) / 1000;
        let run = self.time.plus(i64::try_from(run).unwrap_or(i64::MAX));
        if now > run.plus(SLACK) {
            let since = *self.ahead.get_or_insert(elapsed);
            if elapsed.saturating_sub(since) < BELIEVED_AFTER {
                return run;
            }
        }
        *self = Self { time: now, measured: elapsed, ahead: None };
        now
    }
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
    fn f14_what_is_forgotten_for_good_follows_a_leap_ahead_only_when_it_lasts() {
        let hour = BELIEVED_AFTER;
        let begun = || Run { time: Timestamp(1_000), measured: 0, ahead: None };
        let mut run = begun();
        assert_eq!(run.time(Timestamp(1_060), 60_000), Timestamp(1_060));
        assert_eq!(run.time(Timestamp(1_130), 120_000), Timestamp(1_130), "what a clock is set by now and then");
        assert_eq!(run.time(Timestamp(87_000), 130_000), Timestamp(1_140), "a day ahead");
        assert_eq!(run.time(Timestamp(87_000), 130_000 + hour - 1), Timestamp(1_140 + 3_599));
        assert_eq!(run.time(Timestamp(4_800), 130_000 + hour), Timestamp(4_800), "and back");
        assert_eq!(run.time(Timestamp(1_200), 140_000 + hour), Timestamp(1_200), "an hour back");
        // Off for a month, or wrong from the start: nobody can tell until it has lasted.
        let mut run = begun();
        assert_eq!(run.time(Timestamp(2_600_000), 5_000), Timestamp(1_005));
        assert_eq!(run.time(Timestamp(2_603_600), 5_000 + hour), Timestamp(2_603_600));
        assert_eq!(run.time(Timestamp(2_603_610), 15_000 + hour), Timestamp(2_603_610));
    }
}
