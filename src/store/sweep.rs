//! Removing what has expired, in small batches, so that no request waits for it.
use super::{Store, StoreError};
use crate::clock::Timestamp;
use std::time::{Duration, Instant};

/// Records that go at once: a few milliseconds of the store's time.
pub const BATCH: usize = 200;
/// After each batch the store belongs to requests for so many times as long as the batch took.
const REST: u32 = 4;
const LEAST: Duration = Duration::from_millis(5);

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
    use crate::store::{Change, Changes, Expect, Record, memory::MemoryStore};

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
}
