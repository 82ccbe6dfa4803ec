//! People whom an identity provider brought: kept in the store, one record each, under the IdP that first named them.
use crate::{
    clock::Timestamp,
    model::{Profile, User},
    store::{Change, Expect, Record, Store, StoreError},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// Seconds after which another node's writing is seen.
const FRESH: Duration = Duration::from_secs(10);

/// Somebody whom an IdP brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// `entityID` of the IdP: no other may speak for this name.
    pub idp: String,
    /// Profiles and permission sets, as its groups are mapped.
    pub permissions: BTreeSet<String>,
    /// As its attributes are mapped.
    pub profile: Profile,
}

impl Person {
    /// The same, with the time when anything of it last changed.
    #[must_use]
    pub fn since(mut self, before: Option<&Known>, now: Timestamp) -> Self {
        let before = before.map(|known| &known.person);
        self.profile.updated_at = before.and_then(|b| b.profile.updated_at);
        if before != Some(&self) || self.profile.updated_at.is_none() {
            self.profile.updated_at = Some(now);
        }
        self
    }
}

/// Reads through to the store.
pub struct Directory(moka::sync::Cache<String, Arc<Known>>);

/// A person, and the user that they are here.
#[derive(Clone, Debug)]
pub struct Known {
    /// As stored.
    pub person: Person,
    /// The same as a user.
    pub user: Arc<User>,
}

impl Default for Directory {
    fn default() -> Self {
        Self(moka::sync::Cache::builder().max_capacity(100_000).time_to_live(FRESH).build())
    }
}

/// The key of the record of the person with this name.
pub fn key(name: &str) -> String {
    format!("person/{name}")
}

impl Directory {
    /// The person, if they were looked for a moment ago.
    pub fn recent(&self, name: &str) -> Option<Arc<Known>> {
        self.0.get(name)
    }

    /// The person.
    pub async fn find(&self, name: &str, store: &dyn Store, now: Timestamp) -> Result<Option<Arc<Known>>, StoreError> {
        if let Some(known) = self.recent(name) {
            return Ok(Some(known));
        }
        let Some(record) = store.get(&key(name), now).await? else { return Ok(None) };
        let person: Person =
            serde_json::from_slice(&record.body).map_err(|_| StoreError::Corrupt(format!("record {}", record.key)))?;
        let user = User {
            username: name.into(),
            permissions: person.permissions.clone(),
            password: None,
            security_token: None,
            active: true,
            profile: person.profile.clone(),
        };
        let known = Arc::new(Known { person, user: Arc::new(user) });
        self.0.insert(name.to_owned(), known.clone());
        Ok(Some(known))
    }

    /// The write that makes `person` what is known of `name`; `new` where nobody may have that name yet.
    pub fn write(&self, name: &str, person: &Person, new: bool) -> Change {
        self.0.invalidate(name);
        let body = serde_json::to_vec(person).expect("a person is plain data");
        let expect = if new { Expect::Absent } else { Expect::Any };
        Change::Put(Record { key: key(name), version: 0, index: None, expires: None, body }, expect)
    }

    /// What was found before is looked for again.
    pub fn forget(&self, name: &str) {
        self.0.invalidate(name);
    }
}
