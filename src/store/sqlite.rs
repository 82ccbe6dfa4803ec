//! The embedded default: SQLite in WAL mode, synchronous FULL, one writer that commits in groups.
use super::{Change, Changes, Expect, FEED_KEPT, FeedEntry, Record, Store, StoreError};
use crate::{clock::Timestamp, metrics::Metrics, secret::Digest};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::{
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{mpsc, oneshot};

/// Most commits that share one write to the disk.
const GROUP: usize = 256;
const SCHEMA: &str = "
    PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 2000;
    CREATE TABLE IF NOT EXISTS record (key TEXT PRIMARY KEY, version INTEGER NOT NULL, idx TEXT, expires INTEGER,
        body BLOB NOT NULL, digest BLOB NOT NULL) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS record_idx ON record (idx) WHERE idx IS NOT NULL;
    CREATE INDEX IF NOT EXISTS record_expires ON record (expires) WHERE expires IS NOT NULL;
    CREATE TABLE IF NOT EXISTS feed (sequence INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL);";
const COLUMNS: &str = "key, version, idx, expires, body, digest";

enum Work {
    Commit(Changes, Timestamp),
    Purge(Timestamp, usize),
}

struct Job {
    work: Work,
    /// Records purged, or 0.
    done: oneshot::Sender<Result<usize, StoreError>>,
}

/// One database file.
pub struct SqliteStore {
    reader: Arc<Mutex<Connection>>,
    writer: mpsc::Sender<Job>,
    metrics: Option<Arc<Metrics>>,
}

impl SqliteStore {
    /// Opens or makes the file at `path` (0600); a damaged one is refused.
    pub fn open(path: &Path, metrics: Option<Arc<Metrics>>) -> Result<Self, StoreError> {
        std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)
            .map_err(|e| StoreError::Unavailable(format!("{}: {e}", path.display())))?;
        let damaged =
            |e: &dyn std::fmt::Display| StoreError::Corrupt(format!("{}: {e}; restore a backup", path.display()));
        let mut connection = Connection::open(path).map_err(StoreError::from)?;
        connection.execute_batch(SCHEMA).map_err(|e| damaged(&e))?;
        let verdict: String =
            connection.query_row("PRAGMA quick_check(1)", [], |r| r.get(0)).map_err(|e| damaged(&e))?;
        if verdict != "ok" {
            return Err(damaged(&verdict));
        }
        let reader = Connection::open(path)?;
        reader.execute_batch("PRAGMA busy_timeout = 2000; PRAGMA query_only = ON;")?;
        let (writer, mut jobs) = mpsc::channel::<Job>(4 * GROUP);
        let run = move || {
            let mut group = Vec::with_capacity(GROUP);
            while jobs.blocking_recv_many(&mut group, GROUP) > 0 {
                write_group(&mut connection, &mut group);
            }
        };
        std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(run)
            .map_err(|e| StoreError::Unavailable(e.to_string()))?;
        Ok(Self { reader: Arc::new(Mutex::new(reader)), writer, metrics })
    }

    async fn write(&self, work: Work) -> Result<usize, StoreError> {
        let gone = || StoreError::Unavailable("the writer has stopped".to_owned());
        let (done, answer) = oneshot::channel();
        self.writer.send(Job { work, done }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let reader = self.reader.clone();
        let run = move || work(&reader.lock().unwrap_or_else(PoisonError::into_inner));
        tokio::task::spawn_blocking(run).await.map_err(|e| StoreError::Unavailable(e.to_string()))?
    }

    async fn select(&self, condition: &'static str, value: String, now: Timestamp) -> Result<Vec<Record>, StoreError> {
        self.read(move |c| {
            let text = format!(
                "SELECT {COLUMNS} FROM record WHERE {condition} AND (expires IS NULL OR expires > ?2) ORDER BY key"
            );
            let mut statement = c.prepare_cached(&text)?;
            let rows = statement.query_map(params![value, now.0], raw)?;
            rows.map(|row| checked(row?)).collect()
        })
        .await
    }
}

/// All of `group` in one transaction, each in a savepoint of its own; answers follow the commit.
fn write_group(connection: &mut Connection, group: &mut Vec<Job>) {
    let mut outcomes = Vec::with_capacity(group.len());
    let written = (|| {
        let mut transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        for job in group.iter() {
            let savepoint = transaction.savepoint()?;
            let outcome = match &job.work {
                Work::Commit(changes, now) => {
                    changes.0.iter().try_for_each(|change| apply(&savepoint, change, *now)).map(|()| 0)
                }
                Work::Purge(before, limit) => purge(&savepoint, *before, *limit),
            };
            if outcome.is_ok() {
                savepoint.commit()?;
            } // dropped otherwise, which rolls it back
            outcomes.push(outcome);
        }
        transaction.commit()
    })();
    for (i, job) in group.drain(..).enumerate() {
        let outcome = match &written {
            Ok(()) => outcomes[i].clone(),
            Err(e) => Err(StoreError::Unavailable(e.to_string())),
        };
        // Nobody waits any more where the request was given up.
        let _ = job.done.send(outcome);
    }
}

fn purge(connection: &Connection, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
    connection
        .prepare_cached("DELETE FROM feed WHERE sequence <= (SELECT MAX(sequence) FROM feed) - ?1")?
        .execute([FEED_KEPT])?;
    let expired = "DELETE FROM record WHERE key IN (SELECT key FROM record WHERE expires < ?1 LIMIT ?2)";
    Ok(connection.prepare_cached(expired)?.execute(params![before.0, limit as u64])?)
}

fn apply(connection: &Connection, change: &Change, now: Timestamp) -> Result<(), StoreError> {
    let (key, expect) = match change {
        Change::Put(record, expect) => (&record.key, *expect),
        Change::Delete(key, expect) => (key, *expect),
    };
    let version: Option<u64> = connection
        .prepare_cached("SELECT version FROM record WHERE key = ?1 AND (expires IS NULL OR expires > ?2)")?
        .query_row(params![key, now.0], |r| r.get(0))
        .optional()?;
    let holds = match expect {
        Expect::Any => true,
        Expect::Absent => version.is_none(),
        Expect::Version(wanted) => version == Some(wanted),
    };
    if !holds {
        return Err(StoreError::Conflict(key.clone()));
    }
    match change {
        Change::Put(record, _) => {
            let record = Record { version: version.unwrap_or(0) + 1, ..record.clone() };
            connection.prepare_cached("INSERT OR REPLACE INTO record VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?.execute(
                params![
                    record.key,
                    record.version,
                    record.index,
                    record.expires.map(|t| t.0),
                    record.body,
                    digest(&record)
                ],
            )?;
        }
        Change::Delete(..) => {
            connection.prepare_cached("DELETE FROM record WHERE key = ?1")?.execute([key])?;
        }
    }
    connection.prepare_cached("INSERT INTO feed (key) VALUES (?1)")?.execute([key])?;
    Ok(())
}

fn digest(record: &Record) -> Vec<u8> {
    let head = serde_json::json!([record.key, record.version, record.index, record.expires]).to_string();
    Digest::of(&[head.as_bytes(), &record.body].concat()).0.to_vec()
}

fn raw(row: &Row<'_>) -> rusqlite::Result<(Record, Vec<u8>)> {
    let expires: Option<i64> = row.get(3)?;
    let record = Record {
        key: row.get(0)?,
        version: row.get(1)?,
        index: row.get(2)?,
        expires: expires.map(Timestamp),
        body: row.get(4)?,
    };
    Ok((record, row.get(5)?))
}

fn checked((record, stored): (Record, Vec<u8>)) -> Result<Record, StoreError> {
    if digest(&record) == stored { Ok(record) } else { Err(StoreError::Corrupt(format!("record {}", record.key))) }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
                Self::Corrupt(error.to_string())
            }
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

#[async_trait::async_trait]
impl Store for SqliteStore {
    async fn get(&self, key: &str, now: Timestamp) -> Result<Option<Record>, StoreError> {
        Ok(self.select("key = ?1", key.to_owned(), now).await?.pop())
    }

    async fn find(&self, index: &str, now: Timestamp) -> Result<Vec<Record>, StoreError> {
        self.select("idx = ?1", index.to_owned(), now).await
    }

    async fn scan(&self, prefix: &str, now: Timestamp) -> Result<Vec<Record>, StoreError> {
        self.select("key >= ?1 AND substr(key, 1, length(?1)) = ?1", prefix.to_owned(), now).await
    }

    async fn commit(&self, changes: Changes, now: Timestamp) -> Result<(), StoreError> {
        let _timer = self.metrics.as_ref().map(|m| m.store_commit.start_timer());
        self.write(Work::Commit(changes, now)).await.map(|_| ())
    }

    async fn purge(&self, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.write(Work::Purge(before, limit)).await
    }

    async fn feed_end(&self) -> Result<u64, StoreError> {
        let newest = |c: &Connection| Ok(c.query_row("SELECT IFNULL(MAX(sequence), 0) FROM feed", [], |r| r.get(0))?);
        self.read(newest).await
    }

    async fn feed(&self, sequence: u64, limit: usize) -> Result<Vec<FeedEntry>, StoreError> {
        self.read(move |c| {
            let mut statement =
                c.prepare_cached("SELECT sequence, key FROM feed WHERE sequence > ?1 ORDER BY sequence LIMIT ?2")?;
            let entry = |r: &Row<'_>| Ok(FeedEntry { sequence: r.get(0)?, key: r.get(1)? });
            let rows = statement.query_map(params![sequence, limit as u64], entry)?;
            rows.map(|row| row.map_err(StoreError::from)).collect()
        })
        .await
    }
}
