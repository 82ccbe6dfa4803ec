//! Blocking an app or a user, felt by the next request on this node and within the feed's lag on others.
use super::{Failed, Office, act::Act, stored};
use crate::{
    clock::Timestamp,
    policy::in_force::Kind,
    store::{Change, Expect, Record, Store, StoreError},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Longest reason, characters.
const LONGEST: usize = 500;

/// Why an app or a user is blocked.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Blocked {
    /// Who did it.
    pub by: String,
    /// When, seconds since the epoch.
    pub at: Timestamp,
    /// Why, in the administrator's words.
    pub reason: Option<String>,
}

/// The block on `name`, if there is one that the configuration does not hold itself.
pub async fn of(kind: Kind, name: &str, store: &dyn Store, now: Timestamp) -> Result<Option<Blocked>, StoreError> {
    store.get(&kind.key(name), now).await?.map(|r| stored(&r)).transpose()
}

impl Office {
    /// Blocks an app or a user; `false` if it was blocked already, and then nothing is written.
    pub async fn block(&self, kind: Kind, name: &str, reason: Option<&str>) -> Result<bool, Failed> {
        match kind {
            Kind::Client => drop(self.must_know_app(name)?),
            Kind::User => self.must_know_user(name).await?,
        }
        if reason.is_some_and(|r| r.chars().count() > LONGEST || r.chars().any(char::is_control)) {
            return Err(Failed::Refused(format!("a reason is one line of at most {LONGEST} characters")));
        }
        let blocked = Blocked { by: self.by.clone(), at: self.now, reason: reason.map(str::to_owned) };
        let body = serde_json::to_vec(&blocked).expect("a block is plain data");
        let record = Record { key: kind.key(name), version: 0, index: None, expires: None, body };
        let act = match kind {
            Kind::Client => Act::on_app("block_app", name),
            Kind::User => Act::on_user("block_user", name),
        };
        let act = Act { detail: blocked.reason, ..act };
        match self.enact(act, vec![Change::Put(record, Expect::Absent)], Vec::new()).await {
            Ok(()) => Ok(true),
            Err(Failed::Store(StoreError::Conflict(_))) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Takes a block back; `false` if there was none. What the configuration itself blocks stays blocked.
    pub async fn unblock(&self, kind: Kind, name: &str) -> Result<bool, Failed> {
        let key = kind.key(name);
        let Some(record) = self.store.get(&key, self.now).await? else {
            match kind {
                Kind::Client => drop(self.must_know_app(name)?),
                Kind::User => self.must_know_user(name).await?,
            }
            return Ok(false);
        };
        let act = match kind {
            Kind::Client => Act::on_app("unblock_app", name),
            Kind::User => Act::on_user("unblock_user", name),
        };
        self.enact(act, vec![Change::Delete(key, Expect::Version(record.version))], Vec::new()).await?;
        Ok(true)
    }
}
