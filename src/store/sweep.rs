//! Removing what has expired, in small batches, so that no request waits for it.
use super::{Change, Changes, Expect, Record, Store, StoreError};
use crate::clock::{SLACK, Timestamp, Unhurried};
use std::time::{Duration, Instant};

/// Records that go at once: a few milliseconds of the store's time.
pub const BATCH: usize = 200;
/// After each batch the store belongs to requests for so many times as long as the batch took.
const REST: u32 = 4;
const LEAST: Duration = Duration::from_millis(5);

/// Where it stands until when was swept: a process that starts believes no clock that is far ahead of it.
const KEY: &str = "swept/until";
/// Seconds between two writings of that.
const WRITTEN_EVERY: u64 = 60;

/// Sweeps a store by a time that follows no leap of the clock.
pub struct Sweeper {
    unhurried: Unhurried,
    /// Whether the store has said until when it was swept before.
    told: bool,
    /// What was written down last.
    written: Option<Timestamp>,
}

impl Sweeper {
    /// For a process that starts at `now`.
    pub fn new(now: Timestamp) -> Self {
        Self { unhurried: Unhurried::at(now), told: false, written: None }
    }

    /// Removes what has expired for certain, where the machine says that it is `now`: how many records that were, and until
    /// when all is over.
    pub async fn sweep(&mut self, store: &dyn Store, now: Timestamp) -> Result<(usize, Timestamp), StoreError> {
        if !self.told {
            let known = store.get(KEY, Timestamp::FIRST).await?;
            if let Some(time) = known.and_then(|record| serde_json::from_slice(&record.body).ok()) {
                self.unhurried = Unhurried::at(time);
            }
            self.told = true;
        }
        let time = self.unhurried.time(now);
        // Where it was set back, what was written is too far ahead.
        if self.written.is_none_or(|written| time.0.abs_diff(written.0) >= WRITTEN_EVERY) {
            let body = serde_json::to_vec(&time).expect("a number is plain data");
            let record = Record { key: KEY.to_owned(), version: 0, index: None, expires: None, body };
            // On a full disk there is no room for it, and what is over goes all the same.
            if store.commit(Changes(vec![Change::Put(record, Expect::Any)]), now).await.is_ok() {
                self.written = Some(time);
            }
        }
        let over = time.plus(-SLACK);
        Ok((sweep(store, over).await?, over))
    }
}

/// Removes all that expired before `before`; how many records that were.
pub async fn sweep(store: &dyn Store, before: Timestamp) -> Result<usize, StoreError> {
    let mut gone = 0;
    loop {
        let begun = Instant::now();
        let batch = store.purge(before, BATCH).await?;
        gone += batch;
        if batch < BATCH {
            return Ok(gone);
        }
        tokio::time::sleep((begun.elapsed() * REST).max(LEAST)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;

    #[tokio::test]
    async fn all_that_has_expired_goes_however_much_it_is() {
        let store = MemoryStore::default();
        let put = |n: i64| {
            let expires = Some(Timestamp(n));
            Change::Put(
                Record { key: format!("a/{n}"), version: 0, index: None, expires, body: Vec::new() },
                Expect::Any,
            )
        };
        store.commit(Changes((0..1_000).map(put).collect()), Timestamp(0)).await.unwrap();
        assert_eq!(sweep(&store, Timestamp(900)).await.unwrap(), 900);
        assert_eq!(store.scan("a/", Timestamp(0)).await.unwrap().len(), 100);
    }

    #[tokio::test]
    async fn f14_a_node_that_starts_with_a_clock_far_ahead_forgets_nothing_that_was_used_once() {
        let (store, year) = (MemoryStore::default(), 31_536_000);
        let used = |key: &str, at: i64| {
            let record = Record::passing(format!("assertion/{key}"), Timestamp(at), &0);
            Changes(vec![Change::Put(record, Expect::Absent)])
        };
        store.commit(used("old", 900), Timestamp(800)).await.unwrap();
        store.commit(used("new", 1_300), Timestamp(1_000)).await.unwrap();
        let mut first = Sweeper::new(Timestamp(1_000));
        assert_eq!(first.sweep(&store, Timestamp(1_000)).await.unwrap(), (1, Timestamp(1_000 - SLACK)));
        let mut wrong = Sweeper::new(Timestamp(year));
        let (gone, over) = wrong.sweep(&store, Timestamp(year)).await.unwrap();
        assert!(gone == 0 && over < Timestamp(1_000));
        // The clock is right again: what was used is used.
        assert!(store.commit(used("new", 1_300), Timestamp(1_010)).await.is_err());
        let mut right = Sweeper::new(Timestamp(1_050));
        assert_eq!(right.sweep(&store, Timestamp(1_050)).await.unwrap().0, 0);
        assert_eq!(right.sweep(&store, Timestamp(1_110)).await.unwrap().0, 0);
        // Nobody has swept before, and the clock leaps before somebody does.
        let mut first = Sweeper::new(Timestamp(1_000));
        assert!(first.sweep(&MemoryStore::default(), Timestamp(year)).await.unwrap().1 < Timestamp(1_000));
    }
}
