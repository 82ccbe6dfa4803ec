//! Reads: all records asked for one by one in one statement, everything else pipelined behind it.
use super::{
    Answer, GROUP, Read, StoreError,
    connect::told,
    session::{Session, Worker},
};
use crate::{
    clock::Timestamp,
    store::{FEED_KEPT, FeedEntry, Record, seal},
};
use std::{collections::HashMap, sync::Arc};
use tokio::{
    sync::{Mutex, mpsc},
    task::JoinSet,
};
use tokio_postgres::{Client, Error, Row};

const COLUMNS: &str = "key, version, idx, expires, body, digest";

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        Self::Unavailable(told(&error))
    }
}

type Gets = Vec<(Vec<String>, Timestamp, Answer<Vec<Record>>)>;

impl Worker {
    /// Answers what comes until nobody can ask any more.
    pub(super) async fn read(self, queue: Arc<Mutex<mpsc::Receiver<Read>>>) {
        let mut kept: Option<Session> = None;
        loop {
            let mut reads = Vec::new();
            if queue.lock().await.recv_many(&mut reads, GROUP).await == 0 {
                return;
            }
            reads.retain(Read::is_awaited);
            if reads.is_empty() {
                continue;
            }
            let _busy = self.metrics.as_ref().map(|m| m.store_busy(self.name, reads.len()));
            let limit = self.connector.timeout;
            let answered = async {
                match self.session(&mut kept).await {
                    Ok(session) => group(session, reads).await,
                    Err(why) => {
                        reads.into_iter().for_each(|read| read.fail(&StoreError::Unavailable(why.clone())));
                        false
                    }
                }
            };
            // Answers that never came are noticed by whoever waits for them.
            if tokio::time::timeout(limit, answered).await != Ok(true) {
                kept = None;
            }
        }
    }
}

/// Whether the connection is still good.
async fn group(Session { client, statements, .. }: &Session, reads: Vec<Read>) -> bool {
    let mut gets: Gets = Vec::new();
    let mut others = JoinSet::new();
    for read in reads {
        match read {
            Read::Get(keys, now, done) => gets.push((keys, now, done)),
            other => drop(others.spawn(one(client.clone(), other))),
        }
    }
    if !gets.is_empty() {
        let keys: Vec<&[u8]> = gets.iter().flat_map(|(keys, ..)| keys).map(String::as_bytes).collect();
        let found = client.query(&statements.get, &[&keys]).await.map_err(StoreError::from);
        answer(gets, found);
    }
    while others.join_next().await.is_some() {}
    !client.is_closed()
}

fn answer(gets: Gets, found: Result<Vec<Row>, StoreError>) {
    let rows = match found {
        Ok(rows) => rows,
        Err(why) => return gets.into_iter().for_each(|(.., done)| drop(done.send(Err(why.clone())))),
    };
    let mut records: HashMap<String, Result<Record, StoreError>> = HashMap::with_capacity(rows.len());
    for row in &rows {
        match raw(row) {
            Ok((key, record)) => drop(records.insert(key, record)),
            Err(why) => return gets.into_iter().for_each(|(.., done)| drop(done.send(Err(why.clone())))),
        }
    }
    for (keys, now, done) in gets {
        let live = keys.iter().filter_map(|key| records.get(key)).filter(|r| r.as_ref().map_or(true, |r| live(r, now)));
        // Nobody waits any more where the request was given up.
        let _ = done.send(live.cloned().collect());
    }
}

async fn one(client: Arc<Client>, read: Read) {
    match read {
        Read::Find(index, now, done) => {
            let text = format!("SELECT {COLUMNS} FROM portcullis_record WHERE idx = $1");
            let _ = done.send(records(client.query(&text, &[&index.as_bytes()]).await, now));
        }
        Read::Page(prefix, after, limit, now, done) => {
            let text = format!(
                "SELECT {COLUMNS} FROM portcullis_record WHERE key > $1 AND key >= $2 AND key < $3 \
                 AND (expires IS NULL OR expires > $4) ORDER BY key LIMIT $5"
            );
            let end = end_of(prefix.as_bytes());
            let (after, prefix, limit) = (after.as_bytes(), prefix.as_bytes(), limit as i64);
            let _ = done.send(records(client.query(&text, &[&after, &prefix, &end, &now.0, &limit]).await, now));
        }
        Read::Feed(sequence, limit, done) => {
            let text = "SELECT sequence, key FROM portcullis_feed WHERE sequence > $1 ORDER BY sequence LIMIT $2";
            let (sequence, limit) = (sequence.cast_signed(), limit as i64);
            let _ = done.send(entries(client.query(text, &[&sequence, &limit]).await));
        }
        Read::FeedEnd(done) => {
            let row = client.query_one("SELECT sequence FROM portcullis_feed_head WHERE one = 1", &[]).await;
            let end = row.and_then(|row| row.try_get::<_, i64>(0)).map(i64::unsigned_abs);
            let _ = done.send(end.map_err(StoreError::from));
        }
        Read::Purge(before, limit, done) => {
            let _ = done.send(purge(&client, before, limit).await.map_err(StoreError::from));
        }
        Read::Get(..) => unreachable!("records by key are read together"),
    }
}

/// Passes over what somebody else is writing: it will be there the next time.
async fn purge(client: &Client, before: Timestamp, limit: usize) -> Result<usize, Error> {
    let limit = limit as i64;
    let feed = "DELETE FROM portcullis_feed WHERE sequence <= \
        (SELECT sequence FROM portcullis_feed_head WHERE one = 1) - $1 \
        AND sequence < (SELECT MIN(sequence) FROM portcullis_feed) + $2";
    client.execute(feed, &[&FEED_KEPT.cast_signed(), &limit]).await?;
    // By the database's clock too: a node whose own runs ahead must take nothing from the others.
    let expired = "DELETE FROM portcullis_record WHERE key = ANY(ARRAY(SELECT key FROM portcullis_record \
        WHERE expires < LEAST($1, CAST(EXTRACT(EPOCH FROM now()) AS BIGINT)) LIMIT $2 FOR UPDATE SKIP LOCKED))";
    Ok(client.execute(expired, &[&before.0, &limit]).await? as usize)
}

fn entries(rows: Result<Vec<Row>, Error>) -> Result<Vec<FeedEntry>, StoreError> {
    let entry = |row: &Row| {
        let (sequence, key): (i64, &[u8]) = (row.try_get(0)?, row.try_get(1)?);
        Ok(FeedEntry { sequence: sequence.unsigned_abs(), key: String::from_utf8_lossy(key).into_owned() })
    };
    rows?.iter().map(entry).collect()
}

fn records(rows: Result<Vec<Row>, Error>, now: Timestamp) -> Result<Vec<Record>, StoreError> {
    let mut records = Vec::new();
    for row in rows? {
        let record = raw(&row)?.1?;
        if live(&record, now) {
            records.push(record);
        }
    }
    records.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    Ok(records)
}

fn live(record: &Record, now: Timestamp) -> bool {
    record.expires.is_none_or(|at| at > now)
}

/// A row's key, and its record unless it is damaged.
fn raw(row: &Row) -> Result<(String, Result<Record, StoreError>), StoreError> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let record = Record {
        key: text(row.try_get(0)?),
        version: row.try_get::<_, i64>(1)?.unsigned_abs(),
        index: row.try_get::<_, Option<&[u8]>>(2)?.map(text),
        expires: row.try_get::<_, Option<i64>>(3)?.map(Timestamp),
        body: row.try_get(4)?,
    };
    let sound = seal(&record, record.version) == row.try_get::<_, &[u8]>(5)?;
    let key = record.key.clone();
    Ok((key.clone(), if sound { Ok(record) } else { Err(StoreError::Corrupt(format!("record {key}"))) }))
}

/// The first key behind all that begin with `prefix`.
fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while end.last() == Some(&u8::MAX) {
        end.pop();
    }
    match end.last_mut() {
        Some(last) => *last += 1,
        // Keys are UTF-8, which never begins so.
        None => end.push(u8::MAX),
    }
    end
}

impl Read {
    fn is_awaited(&self) -> bool {
        match self {
            Self::Get(.., done) | Self::Find(.., done) | Self::Page(.., done) => !done.is_closed(),
            Self::Feed(.., done) => !done.is_closed(),
            Self::FeedEnd(done) => !done.is_closed(),
            Self::Purge(.., done) => !done.is_closed(),
        }
    }

    fn fail(self, why: &StoreError) {
        let why = why.clone();
        // Nobody waits any more where the request was given up.
        match self {
            Self::Get(.., done) | Self::Find(.., done) | Self::Page(.., done) => drop(done.send(Err(why))),
            Self::Feed(.., done) => drop(done.send(Err(why))),
            Self::FeedEnd(done) => drop(done.send(Err(why))),
            Self::Purge(.., done) => drop(done.send(Err(why))),
        }
    }
}
