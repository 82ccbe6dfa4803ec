//! How slowly a request's body may come.
use pingora::prelude::*;
use std::time::{Duration, Instant};

/// Bytes a second that a body must bring on average, once its grace is over.
const RATE: u64 = 128;

/// The limit of one listener.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Between two reads, and before the average counts.
    pub pause: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { pause: Duration::from_secs(20) }
    }
}

/// What one body has brought so far.
#[derive(Debug, Default)]
pub struct Brought {
    since: Option<Instant>,
    bytes: u64,
}

impl Brought {
    /// Counts a part; an error once the whole comes too slowly.
    pub fn take(&mut self, part: usize, pace: Pace) -> Result<()> {
        let since = *self.since.get_or_insert_with(Instant::now);
        self.bytes += part as u64;
        if pace.holds(since.elapsed(), self.bytes) {
            return Ok(());
        }
        Err(Error::explain(HTTPStatus(408), "the body came too slowly").into_down())
    }
}

impl Pace {
    fn holds(self, elapsed: Duration, bytes: u64) -> bool {
        elapsed <= self.pause || bytes >= (elapsed - self.pause).as_secs().saturating_mul(RATE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dripping_body_is_cut_and_a_slow_line_is_not() {
        let pace = Pace { pause: Duration::from_secs(20) };
        let after = Duration::from_secs;
        assert!(pace.holds(after(20), 1), "the grace");
        assert!(!pace.holds(after(22), 22), "a byte a second");
        assert!(pace.holds(after(3600), 3600 * 1024), "a kilobyte a second, for an hour");
    }
}
