//! Commits, as many as wait in one transaction: three ways to the database and back, and one write to its disk.
use super::{
    GROUP, Job, StoreError,
    connect::told,
    plan::{self, Plan, Row, Write},
    session::{CHANNEL, Session, Worker},
};
use crate::clock::Timestamp;
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::{Mutex, mpsc};
use tokio_postgres::{Error, error::SqlState, types::ToSql};

/// How often a group that another node got in the way of is tried again, within the time that a request waits.
const TRIES: u32 = 8;

/// Why a group was not committed.
enum Failure {
    /// Somebody else changed the same rows meanwhile: nothing was written, and trying again helps.
    Again(String),
    /// The database refused; nothing was written.
    Refused(String),
    /// The connection broke before anything could have been committed.
    Lost(String),
    /// It broke while the commit was under way: it may have happened.
    Unsure(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let passing = [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED];
        match error.code() {
            Some(code) if passing.contains(code) => Self::Again(told(&error)),
            // A timeout of its own transaction ends the connection.
            Some(_) if !error.is_closed() => Self::Refused(told(&error)),
            _ => Self::Lost(told(&error)),
        }
    }
}

impl Worker {
    /// Commits what comes until nobody can send any more.
    pub(super) async fn write(self, queue: Arc<Mutex<mpsc::Receiver<Job>>>) {
        let mut kept = None;
        loop {
            let mut jobs = Vec::new();
            if queue.lock().await.recv_many(&mut jobs, GROUP).await == 0 {
                return;
            }
            // Who has gone was told that nothing is known: what they asked for must not happen minutes later.
            jobs.retain(|job| !job.done.is_closed());
            if !jobs.is_empty() {
                let _busy = self.metrics.as_ref().map(|m| m.store_busy(self.name, jobs.len()));
                self.group(&mut kept, jobs).await;
            }
        }
    }

    async fn group(&self, kept: &mut Option<Session>, jobs: Vec<Job>) {
        let limit = self.connector.timeout;
        let outcome = match tokio::time::timeout(limit, self.attempts(kept, &jobs)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Failure::Unsure(format!("no answer within {limit:?}"))),
        };
        match outcome {
            Ok(outcomes) => {
                for (job, outcome) in jobs.into_iter().zip(outcomes) {
                    // Nobody waits any more where the request was given up.
                    let _ = job.done.send(outcome);
                }
            }
            // One of them cannot be written: not the others' fault.
            Err(Failure::Refused(_)) if jobs.len() > 1 => {
                for job in jobs.into_iter().filter(|job| !job.done.is_closed()) {
                    Box::pin(self.group(kept, vec![job])).await;
                }
            }
            Err(failure) => {
                let (Failure::Again(why) | Failure::Refused(why) | Failure::Lost(why) | Failure::Unsure(why)) =
                    &failure;
                if !matches!(failure, Failure::Refused(_)) {
                    *kept = None;
                }
                for job in jobs {
                    let _ = job.done.send(Err(StoreError::Unavailable(why.clone())));
                }
            }
        }
    }

    async fn attempts(&self, kept: &mut Option<Session>, jobs: &[Job]) -> Result<Vec<Result<(), StoreError>>, Failure> {
        let mut tries = 0;
        loop {
            tries += 1;
            let session = self.session(kept).await.map_err(Failure::Lost)?;
            match attempt(session, jobs).await {
                Err(Failure::Again(_)) if tries < TRIES => {}
                // The database was started again: the next connection goes to the new one.
                Err(Failure::Lost(_)) if tries == 1 => *kept = None,
                outcome => return outcome,
            }
        }
    }
}

async fn attempt(session: &Session, jobs: &[Job]) -> Result<Vec<Result<(), StoreError>>, Failure> {
    match transaction(session, jobs).await {
        Err(failure @ (Failure::Again(_) | Failure::Refused(_))) => {
            session.client.batch_execute("ROLLBACK").await?;
            Err(failure)
        }
        outcome => outcome,
    }
}

async fn transaction(
    Session { client, statements, .. }: &Session,
    jobs: &[Job],
) -> Result<Vec<Result<(), StoreError>>, Failure> {
    let mut keys: Vec<&[u8]> = jobs.iter().flat_map(|j| &j.changes.0).map(|c| plan::of(c).0.as_bytes()).collect();
    // Everybody locks in the same order, so that nobody waits in a circle.
    keys.sort_unstable();
    keys.dedup();
    let asked: [&(dyn ToSql + Sync); 1] = [&keys];
    let (begun, rows) = tokio::join!(client.batch_execute("BEGIN"), client.query(&statements.lock, &asked));
    begun?;
    let mut locked = BTreeMap::new();
    for row in rows? {
        let (key, version): (&[u8], i64) = (row.try_get(0)?, row.try_get(1)?);
        let row = Row { version: version.unsigned_abs(), expires: row.try_get::<_, Option<i64>>(2)?.map(Timestamp) };
        locked.insert(String::from_utf8_lossy(key).into_owned(), row);
    }
    let plan = Plan::of(&locked, jobs);
    if plan.is_empty() {
        client.batch_execute("ROLLBACK").await?;
        return Ok(plan.outcomes);
    }
    let (inserts, updates) = (Columns::of(&plan.inserts), Columns::of(&plan.updates));
    let deletes: Vec<&[u8]> = plan.deletes.iter().map(|k| k.as_bytes()).collect();
    let announced: Vec<&[u8]> = plan.announced.iter().map(|k| k.as_bytes()).collect();
    let count = i64::try_from(announced.len()).unwrap_or(i64::MAX);
    // Sent one behind the other and answered together.
    let insert = async {
        let Columns { keys, versions, indexes, expires, bodies, seals, .. } = &inserts;
        match keys.len() {
            0 => Ok(0),
            _ => client.execute(&statements.insert, &[keys, versions, indexes, expires, bodies, seals]).await,
        }
    };
    let update = async {
        let Columns { keys, versions, indexes, expires, bodies, seals, bases } = &updates;
        match keys.len() {
            0 => Ok(0),
            _ => client.execute(&statements.update, &[keys, versions, indexes, expires, bodies, seals, bases]).await,
        }
    };
    let delete =
        async { if deletes.is_empty() { Ok(0) } else { client.execute(&statements.delete, &[&deletes]).await } };
    let announce = async {
        if announced.is_empty() { Ok(0) } else { client.execute(&statements.announce, &[&announced, &count]).await }
    };
    let (inserted, updated, deleted, told) = tokio::join!(insert, update, delete, announce);
    let done = [inserted?, updated?, deleted?, told?];
    if done != [inserts.keys.len(), updates.keys.len(), deletes.len(), announced.len()].map(|n| n as u64) {
        return Err(Failure::Again("another node wrote the same keys".to_owned()));
    }
    if let Err(e) = client.batch_execute("COMMIT").await {
        return Err(match Failure::from(e) {
            // The database says itself that nothing was committed.
            again @ Failure::Again(_) => again,
            Failure::Refused(why) | Failure::Lost(why) | Failure::Unsure(why) => Failure::Unsure(why),
        });
    }
    if !announced.is_empty() {
        // Outside of the transaction: notifying takes a lock of the whole database, and some databases cannot.
        let _ = client.batch_execute(&format!("NOTIFY {CHANNEL}")).await;
    }
    Ok(plan.outcomes)
}

/// The rows of a plan, column by column.
#[derive(Default)]
struct Columns<'a> {
    keys: Vec<&'a [u8]>,
    versions: Vec<i64>,
    indexes: Vec<Option<&'a [u8]>>,
    expires: Vec<Option<i64>>,
    bodies: Vec<&'a [u8]>,
    seals: Vec<&'a [u8]>,
    bases: Vec<i64>,
}

impl<'a> Columns<'a> {
    fn of(writes: &'a [Write<'a>]) -> Self {
        let mut columns = Self::default();
        for write in writes {
            columns.keys.push(write.record.key.as_bytes());
            columns.versions.push(write.version.cast_signed());
            columns.indexes.push(write.record.index.as_ref().map(String::as_bytes));
            columns.expires.push(write.record.expires.map(|t| t.0));
            columns.bodies.push(&write.record.body);
            columns.seals.push(&write.seal);
            columns.bases.push(write.base.unwrap_or(0).cast_signed());
        }
        columns
    }
}
