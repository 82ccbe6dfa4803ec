//! The embedded default: SQLite in WAL mode, synchronous FULL, one writer that commits in groups, readers that read in
//! groups. All on threads of their own: whoever waits for many answers is woken once.
use super::{Change, Changes, Expect, FEED_KEPT, FeedEntry, Record, Store, StoreError, is_announced, seal};
use crate::{clock::Timestamp, metrics::Metrics};
use rusqlite::{Connection, OptionalExtension, Row, config::DbConfig, params};
use std::{
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::sync::{mpsc, oneshot};

/// Most commits that share one write to the disk, and most reads that share one look at it.
const GROUP: usize = 256;
/// Reading threads at most.
const READERS: usize = 4;
const SCHEMA: &str = "
    PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 2000; PRAGMA cache_size = -16384;
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

type Read = Box<dyn FnOnce(&Connection) + Send>;

/// One database file.
pub struct SqliteStore {
    readers: Vec<mpsc::Sender<Read>>,
    turn: AtomicUsize,
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
        let connection = connect(path)?;
        connection.execute_batch(SCHEMA).map_err(|e| damaged(&e))?;
        let verdict: String =
            connection.query_row("PRAGMA quick_check(1)", [], |r| r.get(0)).map_err(|e| damaged(&e))?;
        if verdict != "ok" {
            return Err(damaged(&verdict));
        }
        let (writer, mut jobs) = mpsc::channel::<Job>(4 * GROUP);
        thread("store-writer", move || {
            let mut group = Vec::with_capacity(GROUP);
            while jobs.blocking_recv_many(&mut group, GROUP) > 0 {
                write_group(&connection, &mut group);
            }
        })?;
        let count = std::thread::available_parallelism().map_or(1, usize::from).min(READERS);
        let readers = (0..count).map(|_| reader(path)).collect::<Result<_, _>>()?;
        Ok(Self { readers, turn: AtomicUsize::new(0), writer, metrics })
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
        let gone = || StoreError::Unavailable("the reader has stopped".to_owned());
        let (done, answer) = oneshot::channel();
        let read: Read = Box::new(move |connection| {
            // Nobody waits any more where the request was given up.
            let _ = done.send(work(connection));
        });
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.readers.len();
        self.readers[turn].send(read).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
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

fn thread(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), StoreError> {
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    spawned.map(drop).map_err(|e| StoreError::Unavailable(e.to_string()))
}

/// A connection that plans each statement once, whatever it is asked with: it would parse those with an expiry anew
/// each time, to see whether another index serves that very instant better.
fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(connection)
}

/// A connection that reads on a thread of its own until its sender is dropped.
fn reader(path: &Path) -> Result<mpsc::Sender<Read>, StoreError> {
    let connection = connect(path)?;
    connection.execute_batch("PRAGMA busy_timeout = 2000; PRAGMA query_only = ON; PRAGMA cache_size = -16384;")?;
    let (sender, mut jobs) = mpsc::channel::<Read>(4 * GROUP);
    thread("store-reader", move || {
        let mut group = Vec::with_capacity(GROUP);
        while jobs.blocking_recv_many(&mut group, GROUP) > 0 {
            // Begun after all of them have been asked, so that each sees what was committed before.
            let shared = group.len() > 1 && run(&connection, "BEGIN").is_ok();
            group.drain(..).for_each(|read| read(&connection));
            if shared {
                // Nothing was written that could fail.
                let _ = run(&connection, "COMMIT");
            }
        }
    })?;
    Ok(sender)
}

/// All of `group` in one transaction; what is refused writes nothing. Answers follow the commit.
fn write_group(connection: &Connection, group: &mut Vec<Job>) {
    let mut outcomes = Vec::with_capacity(group.len());
    let written = (|| {
        run(connection, "BEGIN IMMEDIATE")?;
        for job in group.iter() {
            outcomes.push(match &job.work {
                Work::Commit(changes, now) => commit(connection, changes, *now)?.map(|()| 0),
                Work::Purge(before, limit) => Ok(purge(connection, *before, *limit)?),
            });
        }
        run(connection, "COMMIT")
    })();
    if written.is_err() && !connection.is_autocommit() {
        // What fails here fails at the next beginning too, which says so.
        let _ = run(connection, "ROLLBACK");
    }
    for (i, job) in group.drain(..).enumerate() {
        let outcome = match &written {
            Ok(()) => outcomes[i].clone(),
            Err(e) => Err(StoreError::Unavailable(e.to_string())),
        };
        // Nobody waits any more where the request was given up.
        let _ = job.done.send(outcome);
    }
}

/// A statement without parameters and rows, parsed once.
fn run(connection: &Connection, statement: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(statement)?.execute([]).map(|_| ())
}

fn purge(connection: &Connection, before: Timestamp, limit: usize) -> rusqlite::Result<usize> {
    connection
        .prepare_cached(
            "DELETE FROM feed WHERE sequence <= (SELECT MAX(sequence) FROM feed) - ?1 \
                AND sequence < (SELECT MIN(sequence) FROM feed) + ?2",
        )?
        .execute(params![FEED_KEPT, limit as u64])?;
    let expired = "DELETE FROM record WHERE key IN (SELECT key FROM record WHERE expires < ?1 LIMIT ?2)";
    connection.prepare_cached(expired)?.execute(params![before.0, limit as u64])
}

/// First every expectation, then every write: nobody else writes in between.
fn commit(connection: &Connection, changes: &Changes, now: Timestamp) -> rusqlite::Result<Result<(), StoreError>> {
    let mut versions = Vec::with_capacity(changes.0.len());
    for change in &changes.0 {
        let (key, expect) = match change {
            Change::Put(record, expect) => (&record.key, *expect),
            Change::Delete(key, expect) => (key, *expect),
        };
        let version: Option<u64> = match (change, expect) {
            (Change::Delete(..), Expect::Any) => None,
            (Change::Put(..), _) | (Change::Delete(..), Expect::Absent | Expect::Version(_)) => connection
                .prepare_cached("SELECT version FROM record WHERE key = ?1 AND (expires IS NULL OR expires > ?2)")?
                .query_row(params![key, now.0], |r| r.get(0))
                .optional()?,
        };
        let holds = match expect {
            Expect::Any => true,
            Expect::Absent => version.is_none(),
            Expect::Version(wanted) => version == Some(wanted),
        };
        if !holds {
            return Ok(Err(StoreError::Conflict(key.clone())));
        }
        versions.push(version.unwrap_or(0) + 1);
    }
    for (change, version) in changes.0.iter().zip(versions) {
        write(connection, change, version)?;
    }
    Ok(Ok(()))
}

fn write(connection: &Connection, change: &Change, version: u64) -> rusqlite::Result<()> {
    let key = match change {
        Change::Put(record, _) => {
            let upsert = "INSERT INTO record VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (key) DO UPDATE SET \
                version = excluded.version, idx = excluded.idx, expires = excluded.expires, body = excluded.body, \
                digest = excluded.digest";
            let expires = record.expires.map(|t| t.0);
            let digest = seal(record, version);
            let values = params![record.key, version, record.index, expires, record.body, digest];
            connection.prepare_cached(upsert)?.execute(values)?;
            &record.key
        }
        Change::Delete(key, _) => {
            connection.prepare_cached("DELETE FROM record WHERE key = ?1")?.execute([key])?;
            key
        }
    };
    if is_announced(key) {
        connection.prepare_cached("INSERT INTO feed (key) VALUES (?1)")?.execute([key])?;
    }
    Ok(())
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
    if seal(&record, record.version) == stored[..] {
        Ok(record)
    } else {
        Err(StoreError::Corrupt(format!("record {}", record.key)))
    }
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

    async fn page(&self, prefix: &str, after: &str, limit: usize, now: Timestamp) -> Result<Vec<Record>, StoreError> {
        let (prefix, after) = (prefix.to_owned(), after.to_owned());
        self.read(move |c| {
            let text = format!(
                "SELECT {COLUMNS} FROM record WHERE key > ?1 AND key >= ?2 AND key < ?3 \
                AND (expires IS NULL OR expires > ?4) ORDER BY key LIMIT ?5"
            );
            let mut statement = c.prepare_cached(&text)?;
            // No key holds the last character there is.
            let end = format!("{prefix}\u{10FFFF}");
            let rows = statement.query_map(params![after, prefix, end, now.0, limit as u64], raw)?;
            rows.map(|row| checked(row?)).collect()
        })
        .await
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
