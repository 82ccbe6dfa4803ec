//! What was done, when and by whom: a record of its own in the commit that did it.
use super::{Failed, Office, stored, view::Page};
use crate::{
    clock::Timestamp,
    secret,
    store::{Change, Expect, Record, StoreError},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const PREFIX: &str = "act/";
/// Seconds that an act is remembered.
const KEPT: i64 = 400 * 24 * 3600;
/// Later than any act.
const END_OF_TIME: i64 = 999_999_999_999;

/// One act of an administrator.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Act {
    /// What was done, such as `block_app`.
    pub act: String,
    /// The app it concerns.
    pub client_id: Option<String>,
    /// The user it concerns.
    pub username: Option<String>,
    /// The rest, in words.
    pub detail: Option<String>,
}

/// An act as it is remembered.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Remembered {
    /// Where it stands in the list, the newest first.
    #[serde(default)]
    pub id: String,
    /// When, seconds since the epoch.
    pub time: Timestamp,
    /// Who.
    pub by: String,
    /// Through which door: `api` or `command line`.
    pub through: String,
    /// What.
    #[serde(flatten)]
    pub act: Act,
}

impl Act {
    /// `act` on an app.
    pub fn on_app(act: &str, client: &str) -> Self {
        Self { act: act.to_owned(), client_id: Some(client.to_owned()), ..Self::default() }
    }

    /// `act` on a user.
    pub fn on_user(act: &str, username: &str) -> Self {
        Self { act: act.to_owned(), username: Some(username.to_owned()), ..Self::default() }
    }

    /// The same, with the rest in words.
    #[must_use]
    pub fn detail(self, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..self }
    }

    /// The write that remembers it.
    pub(super) fn record(&self, office: &Office) -> Change {
        let (by, through, time) = (office.by.clone(), office.through.to_owned(), office.now);
        let remembered = Remembered { id: String::new(), time, by, through, act: self.clone() };
        // Keys are in the order of lists: the newest comes first.
        let key = format!("{PREFIX}{:012}-{}", END_OF_TIME - time.0, secret::random_id());
        Change::Put(Record::passing(key, time.plus(KEPT), &remembered), Expect::Absent)
    }
}

impl Office {
    /// What was done, the newest first: at most `limit` acts behind `after`.
    pub async fn acts(&self, after: &str, limit: usize) -> Result<Page<Remembered>, Failed> {
        let mut records = self.store.page(PREFIX, &format!("{PREFIX}{after}"), limit + 1, self.now).await?;
        let more = records.len() > limit;
        records.truncate(limit);
        let read = |r: Record| {
            let act: Remembered = stored(&r)?;
            Ok(Remembered { id: r.key[PREFIX.len()..].to_owned(), ..act })
        };
        let items = records.into_iter().map(read).collect::<Result<Vec<_>, StoreError>>()?;
        let next = items.last().filter(|_| more).map(|act| act.id.clone());
        Ok(Page { items, next })
    }
}
