//! A store whose operations are spans of the request that asks for them. It stands before the real one only where requests
//! are traced at all.
use super::{Attribute, CLIENT, span};
use crate::{
    clock::Timestamp,
    store::{Change, Changes, FeedEntry, Record, Store, StoreError},
};
use std::{borrow::Cow, sync::Arc};

/// `store`, traced.
pub struct Traced {
    store: Arc<dyn Store>,
    system: &'static str,
}

impl Traced {
    /// Traces `store`; `system` is its `db.system.name`.
    pub fn of(store: Arc<dyn Store>, system: &'static str) -> Self {
        Self { store, system }
    }

    async fn told<T>(
        &self,
        operation: &'static str,
        kind: String,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let system = self.system;
        span(CLIENT, work, |outcome| {
            let mut attributes: Vec<Attribute> = vec![
                ("db.system.name", system.into()),
                ("db.operation.name", operation.into()),
                ("db.collection.name", kind.into()),
            ];
            let failure = outcome.as_ref().err().map(|e| match e {
                StoreError::Conflict(_) => "conflict",
                StoreError::Unavailable(_) => "unavailable",
                StoreError::Corrupt(_) => "corrupt",
            });
            attributes.extend(failure.map(|word| ("error.type", word.into())));
            // That something was used before is an answer, not a failure of the store.
            (failure.is_some_and(|word| word != "conflict"), Cow::Borrowed(operation), attributes)
        })
        .await
    }
}

/// What a key begins with: the kind of its record. The rest may be the digest of a secret or a person's name.
fn kind(key: &str) -> String {
    key.split('/').next().unwrap_or_default().to_owned()
}

#[async_trait::async_trait]
impl Store for Traced {
    async fn get(&self, key: &str, now: Timestamp) -> Result<Option<Record>, StoreError> {
        self.told("get", kind(key), self.store.get(key, now)).await
    }

    async fn get_all(&self, keys: Vec<String>, now: Timestamp) -> Result<Vec<Record>, StoreError> {
        let first = keys.first().map(|k| kind(k)).unwrap_or_default();
        self.told("get_all", first, self.store.get_all(keys, now)).await
    }

    async fn find(&self, index: &str, now: Timestamp) -> Result<Vec<Record>, StoreError> {
        self.told("find", kind(index), self.store.find(index, now)).await
    }

    async fn scan(&self, prefix: &str, now: Timestamp) -> Result<Vec<Record>, StoreError> {
        self.told("scan", kind(prefix), self.store.scan(prefix, now)).await
    }

    async fn page(&self, prefix: &str, after: &str, limit: usize, now: Timestamp) -> Result<Vec<Record>, StoreError> {
        self.told("page", kind(prefix), self.store.page(prefix, after, limit, now)).await
    }

    async fn commit(&self, changes: Changes, now: Timestamp) -> Result<(), StoreError> {
        let first = changes.0.first().map(|change| match change {
            Change::Put(record, _) => kind(&record.key),
            Change::Delete(key, _) => kind(key),
        });
        self.told("commit", first.unwrap_or_default(), self.store.commit(changes, now)).await
    }

    async fn purge(&self, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.store.purge(before, limit).await
    }

    async fn feed(&self, sequence: u64, limit: usize) -> Result<Vec<FeedEntry>, StoreError> {
        self.store.feed(sequence, limit).await
    }

    async fn feed_end(&self) -> Result<u64, StoreError> {
        self.store.feed_end().await
    }

    fn connections(&self) -> u64 {
        self.store.connections()
    }

    async fn feed_grown(&self) {
        self.store.feed_grown().await;
    }
}
