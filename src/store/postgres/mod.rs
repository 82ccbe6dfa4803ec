//! The store of several nodes: PostgreSQL, or whatever speaks its protocol. Commits travel in groups, and so do reads.
//!
//! Everything runs on threads of its own: a connection lives where its runtime lives, and Pingora gives every service
//! another one. Whoever asks waits for at most the configured time, so that a database that has stopped costs a
//! request that long and no longer.
mod connect;
mod plan;
mod read;
mod schema;
mod session;
mod write;

use super::{Changes, FeedEntry, Record, Store, StoreError};
use crate::{clock::Timestamp, metrics::Metrics};
pub use connect::Database;
use session::{Grown, Worker};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::sync_channel,
    },
    time::Duration,
};
use tokio::sync::{Mutex, Notify, mpsc, oneshot};

/// Most commits, and most reads, that share one way to the database and back.
const GROUP: usize = 256;
/// Records of one page.
const PAGE: usize = 5_000;
/// How long the first connection may take; then the start fails, in words.
const PATIENCE: Duration = Duration::from_secs(10);
/// Threads that talk to the database at most.
const THREADS: usize = 2;

type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

/// A commit that waits for its turn.
struct Job {
    changes: Changes,
    now: Timestamp,
    done: Answer<()>,
}

/// A question that waits for its turn.
enum Read {
    Get(Vec<String>, Timestamp, Answer<Vec<Record>>),
    Find(String, Timestamp, Answer<Vec<Record>>),
    /// Prefix, last key before, how many.
    Page(String, String, usize, Timestamp, Answer<Vec<Record>>),
    Feed(u64, usize, Answer<Vec<FeedEntry>>),
    FeedEnd(Answer<u64>),
    Purge(Timestamp, usize, Answer<usize>),
}

/// One database, shared with other nodes.
pub struct PostgresStore {
    writer: mpsc::Sender<Job>,
    reader: mpsc::Sender<Read>,
    grown: Grown,
    timeout: Duration,
    metrics: Option<Arc<Metrics>>,
    /// How often a connection that reads was made.
    connections: Arc<AtomicU64>,
    /// Its end ends the threads.
    _running: oneshot::Sender<()>,
}

impl PostgresStore {
    /// Connects and brings the schema up to date; waits for that, at most ten seconds. The error says what is wrong.
    pub fn open(database: &Database, metrics: Option<Arc<Metrics>>) -> Result<Self, StoreError> {
        let failed = |e: &dyn std::fmt::Display| StoreError::Unavailable(e.to_string());
        let connector = Arc::new(connect::Connector::new(database).map_err(|e| failed(&e))?);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(std::thread::available_parallelism().map_or(1, usize::from).min(THREADS))
            .thread_name("store-postgres")
            .enable_all()
            .build()
            .map_err(|e| failed(&e))?;
        let (writer, commits) = mpsc::channel::<Job>(4 * GROUP);
        let (reader, reads) = mpsc::channel::<Read>(4 * GROUP);
        let (running, ended) = oneshot::channel();
        let grown: Grown = Arc::new(Notify::new());
        let connections = Arc::new(AtomicU64::new(0));
        let worker = Worker {
            connector: connector.clone(),
            grown: grown.clone(),
            metrics: metrics.clone(),
            name: "write",
            remade: Arc::default(),
        };
        let reads_by = connections.clone();
        let (writers, readers) = database.shares();
        let work = async move {
            let (commits, reads) = (Arc::new(Mutex::new(commits)), Arc::new(Mutex::new(reads)));
            for _ in 0..writers {
                tokio::spawn(worker.clone().write(commits.clone()));
            }
            for _ in 0..readers {
                tokio::spawn(Worker { name: "read", remade: reads_by.clone(), ..worker.clone() }.read(reads.clone()));
            }
            tokio::spawn(Worker { name: "listen", ..worker }.listen());
            // Sent never; dropped with the store.
            let _ = ended.await;
        };
        let (told, prepared) = sync_channel(1);
        // A runtime of its own must not end inside another one: it lives and dies on this thread.
        let run = move || {
            let ready = runtime.block_on(schema::prepare(&connector, PATIENCE));
            let go_on = ready.is_ok();
            if told.send(ready).is_ok() && go_on {
                runtime.block_on(work);
            }
            runtime.shutdown_background();
        };
        std::thread::Builder::new().name("store-postgres".to_owned()).spawn(run).map_err(|e| failed(&e))?;
        prepared.recv().map_err(|e| failed(&e))??;
        Ok(Self { writer, reader, grown, timeout: database.timeout, metrics, connections, _running: running })
    }

    /// What `ask` sends is answered in time, or the store is unavailable.
    async fn within<T>(
        &self,
        operation: &str,
        ask: impl AsyncFnOnce(Answer<T>) -> Result<(), StoreError>,
    ) -> Result<T, StoreError> {
        let (done, answer) = oneshot::channel();
        let asked = async {
            ask(done).await?;
            answer.await.map_err(|_| stopped())?
        };
        let outcome = match tokio::time::timeout(self.timeout, asked).await {
            Ok(outcome) => outcome,
            Err(_) => Err(StoreError::Unavailable(format!("no answer within {:?}", self.timeout))),
        };
        if let (Some(metrics), Err(StoreError::Unavailable(_) | StoreError::Corrupt(_))) = (&self.metrics, &outcome) {
            metrics.store_errors.with_label_values(&[operation]).inc();
        }
        outcome
    }

    async fn ask<T>(&self, operation: &str, read: impl FnOnce(Answer<T>) -> Read) -> Result<T, StoreError> {
        let looks = ["get", "find", "scan"].contains(&operation);
        let _timer = self.metrics.as_ref().filter(|_| looks).map(|m| m.store_read.start_timer());
        let send = async |done| self.reader.send(read(done)).await.map_err(|_| stopped());
        self.within(operation, send).await
    }
}

fn stopped() -> StoreError {
    StoreError::Unavailable("the store has stopped".to_owned())
}

#[async_trait::async_trait]
impl Store for PostgresStore {
    async fn get(&self, key: &str, now: Timestamp) -> Result<Option<Record>, StoreError> {
        let keys = vec![key.to_owned()];
        Ok(self.ask("get", |done| Read::Get(keys, now, done)).await?.pop())
    }

    async fn get_all(&self, keys: Vec<String>, now: Timestamp) -> Result<Vec<Record>, StoreError> {
        self.ask("get", |done| Read::Get(keys, now, done)).await
    }

    async fn find(&self, index: &str, now: Timestamp) -> Result<Vec<Record>, StoreError> {
        self.ask("find", |done| Read::Find(index.to_owned(), now, done)).await
    }

    async fn scan(&self, prefix: &str, now: Timestamp) -> Result<Vec<Record>, StoreError> {
        let mut all: Vec<Record> = Vec::new();
        loop {
            // Page by page: each is answered in time, however many there are.
            let after = all.last().map_or(String::new(), |last| last.key.clone());
            let records = self.page(prefix, &after, PAGE, now).await?;
            let last = records.len() < PAGE;
            all.extend(records);
            if last {
                return Ok(all);
            }
        }
    }

    async fn page(&self, prefix: &str, after: &str, limit: usize, now: Timestamp) -> Result<Vec<Record>, StoreError> {
        let (prefix, after) = (prefix.to_owned(), after.to_owned());
        self.ask("scan", |done| Read::Page(prefix, after, limit, now, done)).await
    }

    async fn commit(&self, changes: Changes, now: Timestamp) -> Result<(), StoreError> {
        let _timer = self.metrics.as_ref().map(|m| m.store_commit.start_timer());
        let send = async |done| self.writer.send(Job { changes, now, done }).await.map_err(|_| stopped());
        self.within("commit", send).await
    }

    async fn purge(&self, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.ask("purge", |done| Read::Purge(before, limit, done)).await
    }

    async fn feed(&self, sequence: u64, limit: usize) -> Result<Vec<FeedEntry>, StoreError> {
        self.ask("feed", |done| Read::Feed(sequence, limit, done)).await
    }

    async fn feed_end(&self) -> Result<u64, StoreError> {
        self.ask("feed", Read::FeedEnd).await
    }

    fn connections(&self) -> u64 {
        self.connections.load(Ordering::Acquire)
    }

    async fn feed_grown(&self) {
        self.grown.notified().await;
    }
}
