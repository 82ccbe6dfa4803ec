//! Which authorizations' tokens have been used at the gate: told by the first opening, written down beside the requests.
use crate::{
    clock::Timestamp,
    store::{Change, Changes, Expect, Record, Store, StoreError},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// How long the note of a use is kept, seconds.
const KEPT: i64 = 90 * 24 * 3600;
/// Notes that wait for the store at most; beyond it the oldest news are worth nothing.
const MOST: usize = 100_000;
/// Notes of one commit: whoever waits behind it waits briefly.
const BATCH: usize = 100;

/// The newest use of an authorization.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// The newest generation whose access token was used.
    pub generation: u32,
    /// When it was first used on this node.
    pub at: Timestamp,
}

/// Uses that this process has seen and not yet written down.
#[derive(Default)]
pub struct Usage(Mutex<HashMap<Arc<str>, Used>>);

/// The key of the note on an authorization.
pub fn key(authorization: &str) -> String {
    format!("used/{authorization}")
}

impl Usage {
    /// Notes a use. Called when a token is opened for the first time, never on a hit.
    pub fn note(&self, authorization: &str, generation: u32, at: Timestamp) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < MOST || waiting.contains_key(authorization) {
            let known = waiting.entry(authorization.into()).or_insert(Used { generation, at });
            *known = Used { generation: known.generation.max(generation), at };
        }
    }

    /// The newest use of `authorization`, on any node as far as it has told.
    pub async fn of(&self, authorization: &str, store: &dyn Store, now: Timestamp) -> Result<Option<Used>, StoreError> {
        let here = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(authorization).copied();
        let stored = store.get(&key(authorization), now).await?;
        let stored = stored.and_then(|r| serde_json::from_slice::<Used>(&r.body).ok());
        Ok(match (here, stored) {
            (Some(a), Some(b)) => Some(Used { generation: a.generation.max(b.generation), at: a.at.max(b.at) }),
            (one, other) => one.or(other),
        })
    }

    /// Writes down what waits; what could not be written goes on waiting.
    pub async fn write_down(&self, store: &dyn Store, now: Timestamp) -> Result<(), StoreError> {
        let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let waiting: Vec<(Arc<str>, Used)> = waiting.into_iter().collect();
        let put = |(authorization, used): &(Arc<str>, Used)| {
            let body = serde_json::to_vec(used).expect("two numbers are JSON");
            let record =
                Record { key: key(authorization), version: 0, index: None, expires: Some(now.plus(KEPT)), body };
            Change::Put(record, Expect::Any)
        };
        for batch in waiting.chunks(BATCH) {
            store.commit(Changes(batch.iter().map(put).collect()), now).await?;
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            for (authorization, used) in batch {
                if all.get(authorization) == Some(used) {
                    all.remove(authorization);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;

    #[tokio::test]
    async fn all_notes_are_written_down_and_none_waits_any_more() {
        let (usage, store) = (Usage::default(), MemoryStore::default());
        for n in 0..(2 * BATCH + 1) {
            usage.note(&n.to_string(), 1, Timestamp(5));
        }
        usage.write_down(&store, Timestamp(6)).await.unwrap();
        assert_eq!(store.scan("used/", Timestamp(6)).await.unwrap().len(), 2 * BATCH + 1);
        assert!(usage.0.lock().unwrap().is_empty());
    }
}
