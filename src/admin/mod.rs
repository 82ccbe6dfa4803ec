//! Administration: what an administrator sees and does while it runs. No sockets: the command line acts on the store, the
//! admin API hands requests in. Every act is one commit with its own record of who did it.
pub mod act;
pub mod api;
pub mod approval;
pub mod asset;
pub mod block;
pub mod registration;
pub mod revoke;
pub mod second_factor;
pub mod view;

use crate::{
    clock::Timestamp,
    log::Log,
    policy::{Policy, in_force::InForce},
    store::{Change, Changes, Store, StoreError},
    token::{Tokens, revocation::Ending},
};
use act::Act;
use serde_json::json;
use std::sync::Arc;

/// Why an administrator does not get what they asked for.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// What was named is not there.
    #[error("there is no {0}")]
    Unknown(String),
    /// What was asked is not possible.
    #[error("{0}")]
    Refused(String),
    /// The store does not answer, or is damaged.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The parts of a running process that an act must be felt by at once; others hear of it by the feed.
#[derive(Clone)]
pub struct Here {
    /// Tokens that end.
    pub tokens: Arc<Tokens>,
    /// The policy that changes.
    pub in_force: Arc<InForce>,
}

/// One administrator at work.
pub struct Office {
    /// What there is: the policy in force.
    pub policy: Arc<Policy>,
    /// Where acts are kept.
    pub store: Arc<dyn Store>,
    /// This process, where it serves; without, a running one hears by the feed.
    pub here: Option<Here>,
    /// The audit stream.
    pub audit: Log,
    /// Who acts: an app and the subject of its token, or a user of the operating system.
    pub by: String,
    /// Through which door: `api` or `command line`.
    pub through: &'static str,
    /// The time, read once.
    pub now: Timestamp,
}

impl Office {
    /// Makes `changes` and `endings` at once and durably, with the record of the act; returns when they are felt here.
    async fn enact(&self, act: Act, mut changes: Vec<Change>, endings: Vec<Ending>) -> Result<(), Failed> {
        let keys: Vec<String> = changes.iter().map(|c| key(c).to_owned()).collect();
        changes.push(act.record(self));
        self.commit(changes, endings).await?;
        if let Some(here) = &self.here {
            here.in_force.hear(&keys, &*self.store, self.now).await?;
        }
        self.audit.write(json!({"event": "admin", "outcome": act.act, "by": self.by, "through": self.through,
            "client": act.client_id, "subject": act.username, "detail": act.detail, "time": self.now}));
        Ok(())
    }

    async fn commit(&self, changes: Vec<Change>, endings: Vec<Ending>) -> Result<(), StoreError> {
        match &self.here {
            Some(here) => here.tokens.commit(Changes(changes), endings, self.now).await,
            None => Ending::commit(&endings, Changes(changes), &*self.store, self.now).await,
        }
    }

    /// Whether somebody can act under this name: a user of the configuration, a person whom an identity provider
    /// brought, or what an app runs as.
    pub async fn knows_user(&self, name: &str) -> Result<bool, StoreError> {
        let policy = &self.policy;
        if policy.users.contains_key(name) || policy.clients.values().any(|c| c.run_as.as_deref() == Some(name)) {
            return Ok(true);
        }
        Ok(self.store.get(&crate::login::directory::key(name), self.now).await?.is_some())
    }

    async fn must_know_user(&self, name: &str) -> Result<(), Failed> {
        if self.knows_user(name).await? { Ok(()) } else { Err(Failed::Unknown(format!("user {name}"))) }
    }

    fn must_know_app(&self, client: &str) -> Result<&Arc<crate::model::Client>, Failed> {
        self.policy.clients.get(client).ok_or_else(|| Failed::Unknown(format!("app {client}")))
    }
}

fn key(change: &Change) -> &str {
    match change {
        Change::Put(record, _) => &record.key,
        Change::Delete(key, _) => key,
    }
}

fn stored<T: serde::de::DeserializeOwned>(record: &crate::store::Record) -> Result<T, StoreError> {
    serde_json::from_slice(&record.body).map_err(|_| StoreError::Corrupt(format!("record {}", record.key)))
}
