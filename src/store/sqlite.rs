//! The embedded default: SQLite in WAL mode, synchronous FULL. One thread reads single records and commits, both in
//! groups: its connection alone keeps its pages when something is written. What reads much has a thread of its own, so
//! that nobody waits for it.
use super::{Change, Changes, Expect, FEED_KEPT, FeedEntry, Record, Store, StoreError, is_announced, seal};
use crate::{clock::Timestamp, metrics::Metrics};
use rusqlite::{Connection, OptionalExtension, Row, config::DbConfig, params};
use std::{os::unix::fs::OpenOptionsExt, path::Path, sync::Arc};
use tokio::sync::{mpsc, oneshot};

/// Most commits that share one write to the disk, and most reads that share one look at it.
const GROUP: usize = 256;
const PRAGMAS: &str = "
    PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 2000; PRAGMA cache_size = -16384;";
/// A record is appended, and its key lies in an index beside it: a table in the order of such keys would be written all
/// over, and would split a page with every few records.
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS record (key TEXT NOT NULL UNIQUE, version INTEGER NOT NULL, idx TEXT, expires INTEGER,
        body BLOB NOT NULL, digest BLOB NOT NULL);
    CREATE INDEX IF NOT EXISTS record_idx ON record (idx) WHERE idx IS NOT NULL;
    CREATE INDEX IF NOT EXISTS record_expires ON record (expires) WHERE expires IS NOT NULL;
    CREATE TABLE IF NOT EXISTS feed (sequence INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL);";
const IN_KEY_ORDER: &str = "SELECT COUNT(*) FROM sqlite_schema WHERE name = 'record' AND sql LIKE '%WITHOUT ROWID%'";
const COLUMNS: &str = "key, version, idx, expires, body, digest";

type Read = Box<dyn FnOnce(&Connection) + Send>;

enum Work {
    Read(Read),
    Write(Job),
}

struct Job {
    write: Write,
    /// Records purged, or 0.
    done: oneshot::Sender<Result<usize, StoreError>>,
}

enum Write {
    Commit(Changes, Timestamp),
    Purge(Timestamp, usize),
}

/// One database file.
pub struct SqliteStore {
    records: mpsc::Sender<Work>,
    lists: mpsc::Sender<Work>,
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
        connection.execute_batch(PRAGMAS).map_err(|e| damaged(&e))?;
        if connection.query_row(IN_KEY_ORDER, [], |r| r.get::<_, u32>(0)).map_err(|e| damaged(&e))? > 0 {
            take_over(&connection).map_err(|e| damaged(&e))?;
        }
        connection.execute_batch(TABLES).map_err(|e| damaged(&e))?;
        let verdict: String =
            connection.query_row("PRAGMA quick_check(1)", [], |r| r.get(0)).map_err(|e| damaged(&e))?;
        if verdict != "ok" {
            return Err(damaged(&verdict));
        }
        let reader = connect(path)?;
        reader.execute_batch("PRAGMA busy_timeout = 2000; PRAGMA query_only = ON; PRAGMA cache_size = -16384;")?;
        let (records, lists) = (serve("store", connection)?, serve("store-lists", reader)?);
        Ok(Self { records, lists, metrics })
    }

    async fn write(&self, write: Write) -> Result<usize, StoreError> {
        let (done, answer) = oneshot::channel();
        self.records.send(Work::Write(Job { write, done })).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    async fn read<T: Send + 'static>(
        from: &mpsc::Sender<Work>,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (done, answer) = oneshot::channel();
        let read: Read = Box::new(move |connection| {
            // Nobody waits any more where the request was given up.
            let _ = done.send(work(connection));
        });
        from.send(Work::Read(read)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    async fn select(
        &self,
        from: &mpsc::Sender<Work>,
        condition: &'static str,
        value: String,
        now: Timestamp,
    ) -> Result<Vec<Record>, StoreError> {
        let _timer = self.metrics.as_ref().map(|m| m.store_read.start_timer());
        Self::read(from, move |c| {
            let text = format!("SELECT {COLUMNS} FROM record WHERE {condition} AND (expires IS NULL OR expires > ?2)");
            let mut statement = c.prepare_cached(&text)?;
            let rows = statement.query_map(params![value, now.0], raw)?;
            let mut records = rows.map(|row| checked(row?)).collect::<Result<Vec<_>, _>>()?;
            records.sort_unstable_by(|a, b| a.key.cmp(&b.key));
            Ok(records)
        })
        .await
    }
}

fn gone() -> StoreError {
    StoreError::Unavailable("the store's thread has stopped".to_owned())
}

/// A connection that plans each statement once, whatever it is asked with: it would parse those with an expiry anew
/// each time, to see whether another index serves that very instant better.
fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(connection)
}

/// The records of a file that was made while they lay in the order of their keys.
fn take_over(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(&format!(
        "BEGIN IMMEDIATE; DROP INDEX IF EXISTS record_idx; DROP INDEX IF EXISTS record_expires;
        ALTER TABLE record RENAME TO record_by_key; {TABLES}
        INSERT INTO record SELECT {COLUMNS} FROM record_by_key; DROP TABLE record_by_key; COMMIT;"
    ))
}

/// Does what comes over `connection`, on a thread of its own, until its sender is dropped.
fn serve(name: &str, connection: Connection) -> Result<mpsc::Sender<Work>, StoreError> {
    let (sender, mut coming) = mpsc::channel::<Work>(4 * GROUP);
    let run = move || {
        let (mut group, mut reads, mut writes) = (Vec::with_capacity(GROUP), Vec::new(), Vec::new());
        while coming.blocking_recv_many(&mut group, GROUP) > 0 {
            for work in group.drain(..) {
                match work {
                    Work::Read(read) => reads.push(read),
                    Work::Write(job) => writes.push(job),
                }
            }
            read_group(&connection, &mut reads);
            if !writes.is_empty() {
                write_group(&connection, &mut writes);
            }
        }
    };
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    spawned.map(|_| sender).map_err(|e| StoreError::Unavailable(e.to_string()))
}

/// Begun after all of `group` have been asked, so that each sees what was committed before.
fn read_group(connection: &Connection, group: &mut Vec<Read>) {
    let shared = group.len() > 1 && run(connection, "BEGIN").is_ok();
    group.drain(..).for_each(|read| read(connection));
    if shared {
        // Nothing was written that could fail.
        let _ = run(connection, "COMMIT");
    }
}

/// All of `group` in one transaction; what is refused writes nothing. Answers follow the commit.
fn write_group(connection: &Connection, group: &mut Vec<Job>) {
    let mut outcomes = Vec::with_capacity(group.len());
    let written = (|| {
        run(connection, "BEGIN IMMEDIATE")?;
        for job in group.iter() {
            outcomes.push(match &job.write {
                Write::Commit(changes, now) => commit(connection, changes, *now)?.map(|()| 0),
                Write::Purge(before, limit) => Ok(purge(connection, *before, *limit)?),
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
        Ok(self.select(&self.records, "key = ?1", key.to_owned(), now).await?.pop())
    }

    async fn find(&self, index: &str, now: Timestamp) -> Result<Vec<Record>, StoreError> {
        self.select(&self.records, "idx = ?1", index.to_owned(), now).await
    }

    async fn scan(&self, prefix: &str, now: Timestamp) -> Result<Vec<Record>, StoreError> {
        self.select(&self.lists, "key >= ?1 AND substr(key, 1, length(?1)) = ?1", prefix.to_owned(), now).await
    }

    async fn page(&self, prefix: &str, after: &str, limit: usize, now: Timestamp) -> Result<Vec<Record>, StoreError> {
        let _timer = self.metrics.as_ref().map(|m| m.store_read.start_timer());
        let (prefix, after) = (prefix.to_owned(), after.to_owned());
        Self::read(&self.lists, move |c| {
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
        self.write(Write::Commit(changes, now)).await.map(|_| ())
    }

    async fn purge(&self, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.write(Write::Purge(before, limit)).await
    }

    async fn feed_end(&self) -> Result<u64, StoreError> {
        let newest = |c: &Connection| Ok(c.query_row("SELECT IFNULL(MAX(sequence), 0) FROM feed", [], |r| r.get(0))?);
        Self::read(&self.lists, newest).await
    }

    async fn feed(&self, sequence: u64, limit: usize) -> Result<Vec<FeedEntry>, StoreError> {
        Self::read(&self.lists, move |c| {
            let mut statement =
                c.prepare_cached("SELECT sequence, key FROM feed WHERE sequence > ?1 ORDER BY sequence LIMIT ?2")?;
            let entry = |r: &Row<'_>| Ok(FeedEntry { sequence: r.get(0)?, key: r.get(1)? });
            let rows = statement.query_map(params![sequence, limit as u64], entry)?;
            rows.map(|row| row.map_err(StoreError::from)).collect()
        })
        .await
    }
}
