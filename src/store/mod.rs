//! What must outlive the process: versioned records, committed atomically.
#[cfg(test)]
mod conformance;
pub mod feed;
pub mod memory;
pub mod postgres;
pub mod sqlite;
pub mod sweep;
pub mod transfer;

use crate::{clock::Timestamp, metrics::Metrics, secret::Digest};
use std::{path::Path, sync::Arc, time::Duration};

/// Where records are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    /// A file of the data folder, for one node.
    Sqlite,
    /// A database, shared by nodes.
    Postgres {
        /// Which.
        database: postgres::Database,
        /// How long a node goes on without hearing of the others.
        stale_after: Duration,
    },
}

impl Backend {
    /// Opens the store; `data` is the data folder. The error says what is wrong with which place.
    pub fn open(&self, data: &Path, metrics: Option<Arc<Metrics>>) -> Result<Arc<dyn Store>, String> {
        Ok(match self {
            Self::Sqlite => {
                let path = data.join("portcullis.db");
                Arc::new(sqlite::SqliteStore::open(&path, metrics).map_err(|e| e.to_string())?)
            }
            Self::Postgres { database, .. } => {
                Arc::new(postgres::PostgresStore::open(database, metrics).map_err(|e| e.to_string())?)
            }
        })
    }

    /// How long what is known of revocations may be acted upon without hearing of the store; for ever, where no other
    /// node writes to it.
    pub fn stale_after(&self) -> Option<Duration> {
        match self {
            Self::Sqlite => None,
            Self::Postgres { stale_after, .. } => Some(*stale_after),
        }
    }
}

/// One record. The body is opaque to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Unique key, `kind/identifier`.
    pub key: String,
    /// Starts at 1 and grows by 1 with every write.
    pub version: u64,
    /// What the record may be found by, such as `client/billing`.
    pub index: Option<String>,
    /// After this instant the record may be purged and is never returned.
    pub expires: Option<Timestamp>,
    /// The serialised value.
    pub body: Vec<u8>,
}

impl Record {
    /// A record of plain data that nothing but its key finds, and that goes at `expires`.
    pub fn passing(key: String, expires: Timestamp, value: &impl serde::Serialize) -> Self {
        let body = serde_json::to_vec(value).expect("what is stored is plain data");
        Self { key, version: 0, index: None, expires: Some(expires), body }
    }
}

/// What must hold for a change to be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// No live record has this key.
    Absent,
    /// The record has exactly this version.
    Version(u64),
    /// Nothing is asked.
    Any,
}

/// One change of a commit.
#[derive(Clone, Debug)]
pub enum Change {
    /// Writes a record; its `version` field is ignored and set by the store.
    Put(Record, Expect),
    /// Removes a record.
    Delete(String, Expect),
}

/// All changes of one request: every one is made, or none.
#[derive(Clone, Debug, Default)]
pub struct Changes(pub Vec<Change>);

/// Why the store did not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// An expectation did not hold; nothing was written.
    #[error("conflict on {0}")]
    Conflict(String),
    /// The store cannot answer now; callers answer 503.
    #[error("store unavailable: {0}")]
    Unavailable(String),
    /// A record or the file itself is damaged.
    #[error("store corrupt: {0}")]
    Corrupt(String),
}

/// One entry of the change feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedEntry {
    /// Grows with every change, without reuse.
    pub sequence: u64,
    /// The key that changed.
    pub key: String,
}

/// The storage seam. Conformance suite: `conformance.rs`.
#[async_trait::async_trait]
pub trait Store: Send + Sync + 'static {
    /// The live record under `key` at `now`.
    async fn get(&self, key: &str, now: Timestamp) -> Result<Option<Record>, StoreError>;
    /// The live ones among the records under `keys`, in any order.
    async fn get_all(&self, keys: Vec<String>, now: Timestamp) -> Result<Vec<Record>, StoreError> {
        let mut records = Vec::new();
        for key in keys {
            records.extend(self.get(&key, now).await?);
        }
        Ok(records)
    }
    /// All live records with this index value, ordered by key.
    async fn find(&self, index: &str, now: Timestamp) -> Result<Vec<Record>, StoreError>;
    /// All live records whose key starts with `prefix`, ordered by key.
    async fn scan(&self, prefix: &str, now: Timestamp) -> Result<Vec<Record>, StoreError>;
    /// At most `limit` live records whose key starts with `prefix` and comes after `after`, ordered by key: one page of
    /// what may be long.
    async fn page(&self, prefix: &str, after: &str, limit: usize, now: Timestamp) -> Result<Vec<Record>, StoreError> {
        let mut all = self.scan(prefix, now).await?;
        all.retain(|r| r.key.as_str() > after);
        all.truncate(limit);
        Ok(all)
    }
    /// Makes all changes atomically and durably, or none.
    async fn commit(&self, changes: Changes, now: Timestamp) -> Result<(), StoreError>;
    /// Removes up to `limit` records that expired before `before`, and up to `limit` feed entries beyond the newest
    /// [`FEED_KEPT`]; returns how many records went.
    async fn purge(&self, before: Timestamp, limit: usize) -> Result<usize, StoreError>;
    /// Changes of [`ANNOUNCED`] keys after `sequence`, oldest first, at most `limit`.
    async fn feed(&self, sequence: u64, limit: usize) -> Result<Vec<FeedEntry>, StoreError>;
    /// The newest sequence number of the feed; 0 if nothing ever changed.
    async fn feed_end(&self) -> Result<u64, StoreError>;
    /// How often a connection that reads was made anew: what comes over it may be from before what was read until then.
    fn connections(&self) -> u64 {
        0
    }
    /// Returns when another process may have added to the feed. Only a hint, which may never come.
    async fn feed_grown(&self) {
        std::future::pending().await
    }
}

/// Of a key's part that is a name behind its length and then anything, `length/name/rest`, the name and the rest: either
/// may hold any character.
pub fn measured(part: &str) -> Option<(&str, &str)> {
    let (length, rest) = part.split_once('/')?;
    let (name, rest) = rest.split_at_checked(length.parse().ok()?)?;
    Some((name, rest.strip_prefix('/')?))
}

/// The digest that is stored beside a record, so that a flipped bit is seen.
fn seal(record: &Record, version: u64) -> [u8; 32] {
    let mut all = Vec::with_capacity(128 + record.body.len());
    let head = (&record.key, version, &record.index, record.expires);
    serde_json::to_writer(&mut all, &head).expect("names and numbers are plain data");
    all.extend_from_slice(&record.body);
    Digest::of(&all).0
}

/// What keys begin with whose changes other nodes must hear of; the feed tells of no others.
pub const ANNOUNCED: [&str; 4] = ["revoked/", "blocked/", "registered/", "keys/"];

/// Whether the feed tells of changes under `key`.
pub fn is_announced(key: &str) -> bool {
    ANNOUNCED.iter().any(|prefix| key.starts_with(prefix))
}

/// Feed entries that a purge leaves: who has fallen further behind reads everything anew.
pub const FEED_KEPT: u64 = 100_000;
