//! One connection, made ready for use, and who works on it.
use super::connect::{Carrier, Connector, Heard, Unreachable, told};
use crate::metrics::{Counted, Metrics};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;
use tokio_postgres::{Client, Statement, error::SqlState, types::Type};

/// Told when another node may have changed something.
pub(super) type Grown = Arc<Notify>;

/// The channel of notifications.
pub(super) const CHANNEL: &str = "portcullis_feed";
/// Between two attempts to listen.
const PAUSE: Duration = Duration::from_millis(500);

/// A connection with its settings and statements.
pub(super) struct Session {
    pub(super) client: Arc<Client>,
    pub(super) statements: Statements,
    carrier: Carrier,
    _open: Option<Counted>,
}

impl Drop for Session {
    fn drop(&mut self) {
        // Whatever still waits for an answer on it has been given up.
        self.carrier.abort();
    }
}

/// Prepared once for each connection.
pub(super) struct Statements {
    pub(super) lock: Statement,
    pub(super) insert: Statement,
    pub(super) update: Statement,
    pub(super) delete: Statement,
    pub(super) announce: Statement,
    pub(super) get: Statement,
}

impl Statements {
    async fn prepare(client: &Client) -> Result<Self, tokio_postgres::Error> {
        let (keys, numbers) = (Type::BYTEA_ARRAY, Type::INT8_ARRAY);
        let lock = client.prepare_typed(
            "SELECT key, version, expires FROM portcullis_record WHERE key = ANY($1) ORDER BY key FOR UPDATE",
            std::slice::from_ref(&keys),
        );
        let insert_types = [keys.clone(), numbers.clone(), keys.clone(), numbers.clone(), keys.clone(), keys.clone()];
        let insert = client.prepare_typed(
            "INSERT INTO portcullis_record (key, version, idx, expires, body, digest) \
             SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bytea[], $4::bigint[], $5::bytea[], $6::bytea[]) \
             ON CONFLICT (key) DO NOTHING",
            &insert_types,
        );
        let update_types = [&insert_types[..], std::slice::from_ref(&numbers)].concat();
        let update = client.prepare_typed(
            "UPDATE portcullis_record SET version = t.version, idx = t.idx, expires = t.expires, body = t.body, \
             digest = t.digest FROM unnest($1::bytea[], $2::bigint[], $3::bytea[], $4::bigint[], $5::bytea[], \
             $6::bytea[], $7::bigint[]) AS t (key, version, idx, expires, body, digest, base) \
             WHERE portcullis_record.key = t.key AND portcullis_record.version = t.base",
            &update_types,
        );
        let delete =
            client.prepare_typed("DELETE FROM portcullis_record WHERE key = ANY($1)", std::slice::from_ref(&keys));
        let announce_types = [keys.clone(), Type::INT8];
        // The row of the head is locked until the transaction ends: whoever comes next gets the next numbers only when
        // these are visible. So no reader can see a number and miss a smaller one.
        let announce = client.prepare_typed(
            "WITH head AS (UPDATE portcullis_feed_head SET sequence = sequence + $2 WHERE one = 1 RETURNING sequence) \
             INSERT INTO portcullis_feed (sequence, key) SELECT head.sequence - $2 + t.n, t.key \
             FROM head, unnest($1::bytea[]) WITH ORDINALITY AS t (key, n)",
            &announce_types,
        );
        let get = client.prepare_typed(
            "SELECT key, version, idx, expires, body, digest FROM portcullis_record WHERE key = ANY($1)",
            std::slice::from_ref(&keys),
        );
        let (lock, insert, update, delete, announce, get) =
            tokio::try_join!(lock, insert, update, delete, announce, get)?;
        Ok(Self { lock, insert, update, delete, announce, get })
    }
}

/// A connection that has its limits: what a node that is gone has locked is free again soon.
pub(super) async fn connected(connector: &Connector, heard: impl Heard) -> Result<(Client, Carrier), Unreachable> {
    let (client, carrier) = connector.connect(heard).await?;
    let most = connector.timeout.as_millis();
    let settings = format!(
        "SET statement_timeout = {most}; SET lock_timeout = {most}; SET idle_in_transaction_session_timeout = {most}"
    );
    let set = async {
        client.batch_execute(&settings).await?;
        // Stronger than `on` is the administrator's choice, weaker would lose what was promised.
        let durable = client.query_one("SHOW synchronous_commit", &[]).await?;
        if ["off", "local"].contains(&durable.get(0)) {
            client.batch_execute("SET synchronous_commit = on").await?;
        }
        Ok::<_, tokio_postgres::Error>(())
    };
    match tokio::time::timeout(connector.timeout, set).await {
        Ok(Ok(())) => Ok((client, carrier)),
        Ok(Err(e)) => {
            carrier.abort();
            Err(Unreachable { why: told(&e), for_good: false })
        }
        Err(_) => {
            carrier.abort();
            Err(Unreachable { why: "no answer in time".to_owned(), for_good: false })
        }
    }
}

/// Who works on one connection.
#[derive(Clone)]
pub(super) struct Worker {
    pub(super) connector: Arc<Connector>,
    pub(super) grown: Grown,
    pub(super) metrics: Option<Arc<Metrics>>,
    pub(super) name: &'static str,
    /// How often a connection was made in another one's place.
    pub(super) remade: Arc<AtomicU64>,
}

impl Worker {
    /// The connection at hand, or another one where it has ended.
    pub(super) async fn session<'a>(&self, kept: &'a mut Option<Session>) -> Result<&'a mut Session, String> {
        if kept.as_ref().is_some_and(|session| session.client.is_closed()) {
            *kept = None;
        }
        if kept.is_none() {
            // Before anything is read over it: see `Store::connections`.
            self.remade.fetch_add(1, Ordering::AcqRel);
            let (client, carrier) = connected(&self.connector, || {}).await.map_err(|e| e.why)?;
            let open = self.metrics.as_ref().map(|m| m.store_connection_opened(self.name));
            let prepared = tokio::time::timeout(self.connector.timeout, Statements::prepare(&client)).await;
            match prepared {
                Ok(Ok(statements)) => {
                    *kept = Some(Session { client: Arc::new(client), statements, carrier, _open: open });
                }
                Ok(Err(e)) => {
                    carrier.abort();
                    return Err(told(&e));
                }
                Err(_) => {
                    carrier.abort();
                    return Err("no answer in time".to_owned());
                }
            }
        }
        Ok(kept.as_mut().expect("made above where it was not there"))
    }

    /// Passes on what other nodes announce. Only for speed: who misses it reads the feed a little later.
    pub(super) async fn listen(self) {
        loop {
            let grown = self.grown.clone();
            if let Ok((client, carrier)) = connected(&self.connector, move || grown.notify_one()).await {
                let _open = self.metrics.as_ref().map(|m| m.store_connection_opened(self.name));
                match client.batch_execute(&format!("LISTEN {CHANNEL}")).await {
                    Ok(()) => {
                        // Whatever was announced while nobody listened.
                        self.grown.notify_one();
                        let _ = carrier.await;
                    }
                    Err(e) if e.code().is_some_and(cannot_notify) => {
                        log::warn!("the database does not notify; its feed is read on an interval: {}", told(&e));
                        carrier.abort();
                        return;
                    }
                    Err(_) => carrier.abort(),
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Whether the database has no notifications at all; whatever else it says is over some time.
fn cannot_notify(code: &SqlState) -> bool {
    [SqlState::FEATURE_NOT_SUPPORTED, SqlState::SYNTAX_ERROR].contains(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_database_without_notifications_is_not_listened_to() {
        for passing in [SqlState::ADMIN_SHUTDOWN, SqlState::QUERY_CANCELED, SqlState::TOO_MANY_CONNECTIONS] {
            assert!(!cannot_notify(&passing));
        }
        assert!(cannot_notify(&SqlState::FEATURE_NOT_SUPPORTED) && cannot_notify(&SqlState::SYNTAX_ERROR));
    }
}
