//! The tables, and their changes from version to version: made once, by whoever starts first.
//!
//! Plain tables and indexes, no triggers, no advisory locks, no sequences: CockroachDB and YugabyteDB have them too. Keys
//! are bytes, so that no database's collation has a say in their order.
use super::{
    StoreError,
    connect::{Connector, Unreachable, told},
    session::connected,
};
use std::time::Duration;
use tokio_postgres::{Client, Error, error::SqlState};

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(200);

const FIRST: &str = "
    CREATE TABLE IF NOT EXISTS portcullis_record (key BYTEA PRIMARY KEY, version BIGINT NOT NULL, idx BYTEA,
        expires BIGINT, body BYTEA NOT NULL, digest BYTEA NOT NULL);
    CREATE INDEX IF NOT EXISTS portcullis_record_idx ON portcullis_record (idx) WHERE idx IS NOT NULL;
    CREATE INDEX IF NOT EXISTS portcullis_record_expires ON portcullis_record (expires) WHERE expires IS NOT NULL;
    CREATE TABLE IF NOT EXISTS portcullis_feed (sequence BIGINT PRIMARY KEY, key BYTEA NOT NULL);
    CREATE TABLE IF NOT EXISTS portcullis_feed_head (one INT PRIMARY KEY, sequence BIGINT NOT NULL);
    INSERT INTO portcullis_feed_head VALUES (1, 0) ON CONFLICT (one) DO NOTHING;";

/// What leads from one version to the next: add to it, change nothing in it.
const MIGRATIONS: [&str; 1] = [FIRST];
/// The oldest program that may work with the newest schema, by the version it knows: during an upgrade both run.
const READABLE_BY: i64 = 1;

/// Creates or migrates; a database that does not answer yet is tried again until `patience` is over.
pub(super) async fn prepare(connector: &Connector, patience: Duration) -> Result<(), StoreError> {
    let begun = std::time::Instant::now();
    loop {
        let unreachable = match connected(connector, || {}).await {
            Ok((client, carrier)) => {
                let outcome = migrate(&client).await;
                carrier.abort();
                match outcome {
                    Ok(outcome) => return outcome,
                    // Another node was creating the same table.
                    Err(e) => Unreachable { for_good: e.code().is_some_and(|c| !is_race(c)), why: told(&e) },
                }
            }
            Err(unreachable) => unreachable,
        };
        if unreachable.for_good || begun.elapsed() > patience {
            return Err(StoreError::Unavailable(unreachable.why));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn is_race(code: &SqlState) -> bool {
    [
        SqlState::UNIQUE_VIOLATION,
        SqlState::DUPLICATE_TABLE,
        SqlState::DUPLICATE_OBJECT,
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::QUERY_CANCELED,
    ]
    .contains(code)
}

async fn migrate(client: &Client) -> Result<Result<(), StoreError>, Error> {
    let versions = "CREATE TABLE IF NOT EXISTS portcullis_schema \
        (one INT PRIMARY KEY, version BIGINT NOT NULL, readable_by BIGINT NOT NULL)";
    client.batch_execute(versions).await?;
    client.batch_execute("INSERT INTO portcullis_schema VALUES (1, 0, 0) ON CONFLICT (one) DO NOTHING").await?;
    // Its row is the lock: one node migrates, the others wait and find it done.
    client.batch_execute("BEGIN").await?;
    let row = client.query_one("SELECT version, readable_by FROM portcullis_schema WHERE one = 1 FOR UPDATE", &[]);
    let row = row.await?;
    let (version, readable_by): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    let ours = MIGRATIONS.len() as i64;
    if readable_by > ours {
        client.batch_execute("ROLLBACK").await?;
        let message = format!("the database has schema {version}, and this program knows {ours}: it is too old");
        return Ok(Err(StoreError::Unavailable(message)));
    }
    if version < ours {
        for migration in MIGRATIONS.iter().skip(usize::try_from(version).unwrap_or(0)) {
            client.batch_execute(migration).await?;
        }
        let text = format!("UPDATE portcullis_schema SET version = {ours}, readable_by = {READABLE_BY} WHERE one = 1");
        client.batch_execute(&text).await?;
    }
    client.batch_execute("COMMIT").await?;
    Ok(Ok(()))
}
