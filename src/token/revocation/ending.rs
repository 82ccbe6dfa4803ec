//! Something that ends tokens, and how it outlives the process.
use super::{LONGER, PREFIX, access, session};
use crate::{
    clock::Timestamp,
    store::{Change, Changes, Expect, Record, Store, StoreError},
};

/// How often a commit is tried again that another node's ending of the same target got in the way of.
const TRIES: usize = 20;

/// Something that ends tokens; part of the commit that decides it, and felt at the gate right after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// `token/…`, `authorization/…`, `client/…`, `subject/…`, or one that [`Ending::of_access`] makes.
    pub target: String,
    /// Tokens issued up to this instant are ended.
    pub before: Timestamp,
    /// When the last of them has expired anyway.
    pub until: Timestamp,
}

impl Ending {
    /// Ends whatever `target` names for good.
    pub fn of(target: String, until: Timestamp) -> Self {
        Self { target, before: Timestamp(i64::MAX), until }
    }

    /// Ends the sessions behind the gate that came from the sign-on session `sid`, and what its apps have yet to redeem.
    pub fn of_session(sid: &str, until: Timestamp) -> Self {
        Self::of(session(sid), until)
    }

    /// Ends the tokens without an authorization, such as those by JWT bearer, that `client` got for `subject` up to
    /// `now`; the others end with their authorizations.
    pub fn of_access(client: &str, subject: &str, now: Timestamp, until: Timestamp) -> Self {
        Self { target: access(client, subject), before: now, until }
    }

    /// One commit of `changes` and of what makes `endings` outlive the process. An ending that reaches up to an instant
    /// never takes the place of one that reaches further, however many nodes end the same at once; it reaches beyond that
    /// one, so that whoever knows it hears that there is another.
    pub async fn commit(
        endings: &[Self],
        changes: Changes,
        store: &dyn Store,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        Self::write(endings, changes, 1, store, now).await
    }

    /// Makes endings that are stored already reach as far as `endings` say.
    pub async fn widen(endings: &[Self], store: &dyn Store, now: Timestamp) -> Result<(), StoreError> {
        Self::write(endings, Changes::default(), 0, store, now).await
    }

    async fn write(
        endings: &[Self],
        changes: Changes,
        beyond: i64,
        store: &dyn Store,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if endings.is_empty() {
            return if changes.0.is_empty() { Ok(()) } else { store.commit(changes, now).await };
        }
        for _ in 0..TRIES {
            let mut all = changes.clone();
            for ending in endings {
                all.0.push(ending.beside_what_is_stored(beyond, store, now).await?);
            }
            match store.commit(all, now).await {
                // Another node was quicker: what it has written is looked at.
                Err(StoreError::Conflict(key)) if endings.iter().any(|e| e.key() == key) => {}
                outcome => return outcome,
            }
        }
        Err(StoreError::Unavailable("other nodes ended the same too often".to_owned()))
    }

    /// The change that makes it outlive the process, reaching so many seconds beyond what is stored, or further.
    async fn beside_what_is_stored(
        &self,
        beyond: i64,
        store: &dyn Store,
        now: Timestamp,
    ) -> Result<Change, StoreError> {
        let mut ending = self.clone();
        let mut expect = Expect::Any;
        if ending.before != Timestamp(i64::MAX) {
            let stored = store.get(&self.key(), Timestamp::FIRST).await?;
            // What has expired counts as absent at the commit.
            let live = stored.as_ref().filter(|s| s.expires.is_none_or(|at| at > now));
            expect = live.map_or(Expect::Absent, |live| Expect::Version(live.version));
            if let Some(known) = stored.as_ref().and_then(Self::stored) {
                ending.before = ending.before.max(known.before.plus(beyond));
                ending.until = ending.until.max(known.until);
            }
        }
        Ok(Change::Put(ending.record(), expect))
    }

    /// The same, reaching over what a node has stamped up to `stamped`; `None` where it does already. Nodes' clocks are
    /// not the same: what another one has made before it heard may say that it was made later.
    pub fn over(&self, stamped: Timestamp) -> Option<Self> {
        (self.before < stamped).then(|| Self { before: stamped, ..self.clone() })
    }

    fn key(&self) -> String {
        [PREFIX, &self.target].concat()
    }

    pub(super) fn stored(record: &Record) -> Option<Self> {
        let target = record.key.strip_prefix(PREFIX)?.to_owned();
        let before = Timestamp(i64::from_be_bytes(record.body.as_slice().try_into().ok()?));
        Some(Self { target, before, until: record.expires?.plus(-LONGER) })
    }

    /// The record that makes it outlive the process.
    pub(super) fn record(&self) -> Record {
        let body = self.before.0.to_be_bytes().to_vec();
        Record { key: self.key(), version: 0, index: None, expires: Some(self.until.plus(LONGER)), body }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{FeedEntry, memory::MemoryStore};

    #[tokio::test]
    async fn f14_an_end_by_a_clock_that_is_behind_weakens_none_that_is_stored() {
        let store = MemoryStore::default();
        let until = Timestamp(100);
        for before in [9, 5] {
            let ending = Ending { target: "subject/alice".to_owned(), before: Timestamp(before), until };
            Ending::commit(&[ending], Changes::default(), &store, Timestamp(1)).await.unwrap();
        }
        let record = store.get("revoked/subject/alice", Timestamp::FIRST).await.unwrap().unwrap();
        let stored = Ending::stored(&record).unwrap();
        assert_eq!((stored.before, stored.until), (Timestamp(10), until), "and whoever knows the first hears of it");
        let narrower = Ending { before: Timestamp(7), ..stored.clone() };
        Ending::widen(&[narrower], &store, Timestamp(1)).await.unwrap();
        let record = store.get("revoked/subject/alice", Timestamp::FIRST).await.unwrap().unwrap();
        assert_eq!(Ending::stored(&record), Some(stored));
        assert_eq!(record.expires, Some(Timestamp(100 + LONGER)));
    }

    /// A store where another node is quicker: between a look and the commit that follows it.
    struct Raced(MemoryStore, std::sync::Mutex<Vec<Ending>>);

    #[async_trait::async_trait]
    impl Store for Raced {
        async fn get(&self, key: &str, now: Timestamp) -> Result<Option<Record>, StoreError> {
            let seen = self.0.get(key, now).await;
            let other = self.1.lock().unwrap().pop();
            if let Some(other) = other {
                self.0.commit(Changes(vec![Change::Put(other.record(), Expect::Any)]), Timestamp(1)).await?;
            }
            seen
        }
        async fn find(&self, index: &str, now: Timestamp) -> Result<Vec<Record>, StoreError> {
            self.0.find(index, now).await
        }
        async fn scan(&self, prefix: &str, now: Timestamp) -> Result<Vec<Record>, StoreError> {
            self.0.scan(prefix, now).await
        }
        async fn commit(&self, changes: Changes, now: Timestamp) -> Result<(), StoreError> {
            self.0.commit(changes, now).await
        }
        async fn purge(&self, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
            self.0.purge(before, limit).await
        }
        async fn feed(&self, sequence: u64, limit: usize) -> Result<Vec<FeedEntry>, StoreError> {
            self.0.feed(sequence, limit).await
        }
        async fn feed_end(&self) -> Result<u64, StoreError> {
            self.0.feed_end().await
        }
    }

    #[tokio::test]
    async fn f7_of_two_endings_at_once_the_wider_one_stays_whoever_was_quicker() {
        let at = |before| Ending { target: "subject/alice".to_owned(), before, until: Timestamp(100) };
        for (own, others, widest) in [(5, vec![9, 7], 10), (9, vec![5, 7], 9), (5, vec![i64::MAX], i64::MAX)] {
            let others = others.into_iter().map(|n| at(Timestamp(n))).collect();
            let store = Raced(MemoryStore::default(), std::sync::Mutex::new(others));
            let beside = Record::passing("approval/a".to_owned(), Timestamp(9), &0);
            let beside = Changes(vec![Change::Put(beside, Expect::Absent)]);
            Ending::commit(&[at(Timestamp(own))], beside.clone(), &store, Timestamp(1)).await.unwrap();
            let record = store.0.get("revoked/subject/alice", Timestamp(1)).await.unwrap().unwrap();
            assert_eq!(Ending::stored(&record).unwrap().before, Timestamp(widest), "{own}");
            let refused = Ending::commit(&[at(Timestamp(own))], beside, &store, Timestamp(1)).await;
            assert!(matches!(refused, Err(StoreError::Conflict(key)) if key == "approval/a"), "others' are passed on");
        }
        // One that has expired counts for nothing at the commit, and is replaced.
        let store = MemoryStore::default();
        Ending::commit(&[at(Timestamp(5))], Changes::default(), &store, Timestamp(1)).await.unwrap();
        let later = Timestamp(100 + LONGER);
        Ending::commit(&[at(Timestamp(4))], Changes::default(), &store, later).await.unwrap();
    }
}
