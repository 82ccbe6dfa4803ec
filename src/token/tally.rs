//! The usage view: who used which app, how often, first and last, and how often it was denied. Counted in memory beside
//! the requests and written down in batches, so that no request waits for it; a killed process loses what it has counted
//! since the last writing, and nothing else.
use super::place::Placed;
use crate::{
    clock::Timestamp,
    secret,
    store::{Change, Changes, Expect, Record, Store, StoreError, measured},
};
use prometheus::IntCounter;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use siphasher::sip::SipHasher13;
use std::{
    collections::{HashMap, HashSet},
    hash::Hasher,
    sync::{Mutex, PoisonError},
};

/// Parts that are locked each for itself.
const SHARDS: usize = 16;
/// Pairs that wait in one part at most; beyond it counts are lost, and counted as lost.
const MOST: usize = 8192;
/// Pairs written with one commit.
const BATCH: usize = 100;
/// Tries of one batch where another node writes down the same pairs.
const TRIES: usize = 5;
/// How long what is known of a pair is kept after its last event, seconds.
const KEPT: i64 = 400 * 24 * 3600;

/// What is known of an app, or of one user's use of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tallied {
    /// When a token was first issued.
    pub first_used: Option<Timestamp>,
    /// When a token was last issued, or one first shown at the gate.
    pub last_used: Option<Timestamp>,
    /// Tokens issued.
    pub uses: u64,
    /// Requests refused: for a token, or at the gate to a token that was good but not good enough.
    pub denied: u64,
    /// When one last was.
    pub last_denied: Option<Timestamp>,
    /// Of an app: users counted.
    #[serde(default)]
    pub users: u64,
}

impl Tallied {
    fn add(&mut self, more: &Self) {
        self.first_used = [self.first_used, more.first_used].into_iter().flatten().min();
        self.last_used = self.last_used.max(more.last_used);
        self.last_denied = self.last_denied.max(more.last_denied);
        self.uses = self.uses.saturating_add(more.uses);
        self.denied = self.denied.saturating_add(more.denied);
        self.users = self.users.saturating_add(more.users);
    }
}

/// An app and a user; no user where the request did not show one whom we know.
type Pair = (Box<str>, Box<str>);

/// By a keyed digest of the pair.
type Waiting = HashMap<u64, (Pair, Tallied), Placed>;

/// What this process has counted and not yet written down.
pub struct Tally {
    shards: [Mutex<Waiting>; SHARDS],
    places: SipHasher13,
    lost: IntCounter,
}

/// What the keys of an app's users begin with.
pub fn of_app(client: &str) -> String {
    format!("usage/{}/{client}/", client.len())
}

/// The index that finds a user's apps.
pub fn of_user(user: &str) -> String {
    format!("usage/{user}")
}

/// The key of an app's own totals.
pub fn total(client: &str) -> String {
    format!("usage_total/{client}")
}

/// The app and the user of a record's key.
pub fn pair(key: &str) -> Option<(&str, &str)> {
    measured(key.strip_prefix("usage/")?)
}

impl Tally {
    /// Counts in `lost` what there was no room for.
    pub fn new(lost: IntCounter) -> Self {
        let places = SipHasher13::new_with_key(&secret::random::<16>());
        Self { shards: std::array::from_fn(|_| Mutex::default()), places, lost }
    }

    /// A token was issued.
    pub fn issued(&self, client: &str, user: &str, now: Timestamp) {
        let at = Some(now);
        self.note(client, user, Tallied { first_used: at, last_used: at, uses: 1, ..Tallied::default() });
    }

    /// A token was opened for the first time on this node. Never called on a hit of the cache.
    pub fn opened(&self, client: &str, user: &str, now: Timestamp) {
        self.note(client, user, Tallied { last_used: Some(now), ..Tallied::default() });
    }

    /// A request was refused; `user` is empty where nobody we know was shown to stand behind it.
    pub fn denied(&self, client: &str, user: &str, now: Timestamp) {
        self.note(client, user, Tallied { denied: 1, last_denied: Some(now), ..Tallied::default() });
    }

    fn note(&self, client: &str, user: &str, more: Tallied) {
        let mut place = self.places;
        place.write(client.as_bytes());
        place.write_u8(0);
        place.write(user.as_bytes());
        let place = place.finish();
        // Not by the bits that the table goes by.
        let shard = &self.shards[(place >> 32) as usize % SHARDS];
        let mut waiting = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let room = waiting.len() < MOST;
        match waiting.get_mut(&place) {
            Some((known, tallied)) if *known.0 == *client && *known.1 == *user => tallied.add(&more),
            None if room => drop(waiting.insert(place, ((client.into(), user.into()), more))),
            // Two pairs of one place would be a wonder.
            Some(_) | None => self.lost.inc(),
        }
    }

    fn put_back(&self, pairs: Vec<(Pair, Tallied)>) {
        pairs.into_iter().for_each(|((client, user), tallied)| self.note(&client, &user, tallied));
    }

    /// Writes down what waits; what could not be written goes on waiting.
    pub async fn write_down(&self, store: &dyn Store, now: Timestamp) -> Result<(), StoreError> {
        for shard in &self.shards {
            let mut waiting: Vec<(Pair, Tallied)> =
                std::mem::take(&mut *shard.lock().unwrap_or_else(PoisonError::into_inner)).into_values().collect();
            while !waiting.is_empty() {
                let batch = waiting.split_off(waiting.len().saturating_sub(BATCH));
                if let Err(error) = written(&batch, store, now).await {
                    self.put_back(batch);
                    self.put_back(waiting);
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

/// One commit of `batch`, tried again where another node wrote in between.
async fn written(batch: &[(Pair, Tallied)], store: &dyn Store, now: Timestamp) -> Result<(), StoreError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match store.commit(added(batch, store, now).await?, now).await {
            Err(StoreError::Conflict(_)) if tries < TRIES => {}
            outcome => return outcome,
        }
    }
}

/// The records of `batch`'s pairs and of their apps, with what it adds to them.
async fn added(batch: &[(Pair, Tallied)], store: &dyn Store, now: Timestamp) -> Result<Changes, StoreError> {
    let mut changes = Vec::with_capacity(2 * batch.len());
    let mut totals: HashMap<&str, Tallied> = HashMap::new();
    let mut put = |key: String, index: Option<String>, version: Option<u64>, tallied: &Tallied| {
        let mut record = Record::passing(key, now.plus(KEPT), tallied);
        record.index = index;
        changes.push(Change::Put(record, version.map_or(Expect::Absent, Expect::Version)));
    };
    for ((client, user), more) in batch {
        let key = format!("{}{user}", of_app(client));
        let (mut tallied, version) = known(&key, store, now).await?;
        tallied.add(more);
        put(key, Some(of_user(user)), version, &tallied);
        let own = totals.entry(client).or_default();
        own.add(more);
        own.users += u64::from(version.is_none() && !user.is_empty());
    }
    for (client, more) in totals {
        let key = total(client);
        let (mut tallied, version) = known(&key, store, now).await?;
        tallied.add(&more);
        put(key, None, version, &tallied);
    }
    debug_assert_eq!(changes.len(), changes.iter().map(key_of).collect::<HashSet<_>>().len(), "each record once");
    Ok(Changes(changes))
}

fn key_of(change: &Change) -> &str {
    match change {
        Change::Put(record, _) => &record.key,
        Change::Delete(key, _) => key,
    }
}

async fn known(key: &str, store: &dyn Store, now: Timestamp) -> Result<(Tallied, Option<u64>), StoreError> {
    let Some(record) = store.get(key, now).await? else { return Ok((Tallied::default(), None)) };
    Ok((read(&record.body), Some(record.version)))
}

/// What a record says; counts that cannot be read begin anew.
pub fn read<T: DeserializeOwned + Default>(body: &[u8]) -> T {
    serde_json::from_slice(body).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;

    fn tally() -> Tally {
        Tally::new(IntCounter::new("lost", "lost").unwrap())
    }

    async fn of(store: &MemoryStore, key: &str) -> Tallied {
        read(&store.get(key, Timestamp(20)).await.unwrap().unwrap().body)
    }

    #[tokio::test]
    async fn two_nodes_add_to_the_same_counts_and_an_app_has_its_totals() {
        let (store, one, two) = (MemoryStore::default(), tally(), tally());
        one.issued("a/b", "alice", Timestamp(5));
        two.issued("a/b", "alice", Timestamp(3));
        two.opened("a/b", "alice", Timestamp(9));
        two.denied("a/b", "bob", Timestamp(7));
        two.denied("a/b", "", Timestamp(8));
        one.write_down(&store, Timestamp(10)).await.unwrap();
        two.write_down(&store, Timestamp(10)).await.unwrap();
        two.write_down(&store, Timestamp(10)).await.unwrap();
        let alice = of(&store, "usage/3/a/b/alice").await;
        let at = |n| Some(Timestamp(n));
        assert_eq!((alice.first_used, alice.last_used, alice.uses, alice.denied), (at(3), at(9), 2, 0));
        let app = of(&store, "usage_total/a/b").await;
        assert_eq!((app.first_used, app.last_used, app.uses, app.denied), (at(3), at(9), 2, 2));
        assert_eq!((app.users, app.last_denied), (2, at(8)), "a request of nobody is no user");
        assert_eq!(pair("usage/3/a/b/alice"), Some(("a/b", "alice")));
        assert_eq!(store.find(&of_user("alice"), Timestamp(20)).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn memory_is_bounded_and_what_found_no_room_is_counted() {
        let tally = tally();
        (0..2 * SHARDS * MOST).for_each(|n| tally.issued("app", &n.to_string(), Timestamp(1)));
        let kept: usize = tally.shards.iter().map(|s| s.lock().unwrap().len()).sum();
        assert_eq!((kept, tally.lost.get() as usize), (SHARDS * MOST, SHARDS * MOST));
    }
}
