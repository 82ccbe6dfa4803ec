//! A store in memory, for tests and for proving the suite.
use super::{Change, Changes, Expect, FeedEntry, Record, Store, StoreError, is_announced};
use crate::clock::Timestamp;
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

#[derive(Default)]
struct State {
    records: BTreeMap<String, Record>,
    feed: Vec<String>,
}

impl State {
    /// Puts back what stood before, the last change first.
    fn undo(&mut self, before: Vec<(String, Option<Record>)>) {
        for (key, record) in before.into_iter().rev() {
            match record {
                Some(record) => drop(self.records.insert(key, record)),
                None => drop(self.records.remove(&key)),
            }
        }
    }
}

/// Forgets everything when it is dropped.
#[derive(Default)]
pub struct MemoryStore(Mutex<State>);

impl MemoryStore {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn select(&self, now: Timestamp, wanted: impl Fn(&Record) -> bool) -> Vec<Record> {
        self.lock().records.values().filter(|r| live(r, now) && wanted(r)).cloned().collect()
    }
}

fn live(record: &Record, now: Timestamp) -> bool {
    record.expires.is_none_or(|at| at > now)
}

#[async_trait::async_trait]
impl Store for MemoryStore {
    async fn get(&self, key: &str, now: Timestamp) -> Result<Option<Record>, StoreError> {
        Ok(self.lock().records.get(key).filter(|r| live(r, now)).cloned())
    }

    async fn find(&self, index: &str, now: Timestamp) -> Result<Vec<Record>, StoreError> {
        Ok(self.select(now, |r| r.index.as_deref() == Some(index)))
    }

    async fn scan(&self, prefix: &str, now: Timestamp) -> Result<Vec<Record>, StoreError> {
        Ok(self.select(now, |r| r.key.starts_with(prefix)))
    }

    async fn commit(&self, changes: Changes, now: Timestamp) -> Result<(), StoreError> {
        let mut state = self.lock();
        let mut before: Vec<(String, Option<Record>)> = Vec::with_capacity(changes.0.len());
        for change in changes.0 {
            let (key, expect) = match &change {
                Change::Put(record, expect) => (record.key.clone(), *expect),
                Change::Delete(key, expect) => (key.clone(), *expect),
            };
            let version = state.records.get(&key).filter(|r| live(r, now)).map(|r| r.version);
            let holds = match expect {
                Expect::Any => true,
                Expect::Absent => version.is_none(),
                Expect::Version(wanted) => version == Some(wanted),
            };
            if !holds {
                state.undo(before);
                return Err(StoreError::Conflict(key));
            }
            let replaced = match change {
                Change::Put(mut record, _) => {
                    record.version = version.unwrap_or(0) + 1;
                    state.records.insert(key.clone(), record)
                }
                Change::Delete(..) => state.records.remove(&key),
            };
            before.push((key, replaced));
        }
        state.feed.extend(before.into_iter().map(|(key, _)| key).filter(|key| is_announced(key)));
        Ok(())
    }

    async fn purge(&self, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let mut state = self.lock();
        let over = |r: &&Record| r.expires.is_some_and(|at| at < before);
        let keys: Vec<String> = state.records.values().filter(over).take(limit).map(|r| r.key.clone()).collect();
        keys.iter().for_each(|key| drop(state.records.remove(key)));
        Ok(keys.len())
    }

    async fn feed(&self, sequence: u64, limit: usize) -> Result<Vec<FeedEntry>, StoreError> {
        let state = self.lock();
        let numbered =
            state.feed.iter().enumerate().map(|(i, key)| FeedEntry { sequence: i as u64 + 1, key: key.clone() });
        Ok(numbered.filter(|e| e.sequence > sequence).take(limit).collect())
    }

    async fn feed_end(&self) -> Result<u64, StoreError> {
        Ok(self.lock().feed.len() as u64)
    }
}
