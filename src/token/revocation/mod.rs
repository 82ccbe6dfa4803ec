//! What can end a token, as shared atomics: ending flips a flag, nobody scans.
use crate::{
    clock::Timestamp,
    secret,
    store::{Change, Changes, Expect, Record, Store, StoreError},
};
use siphasher::sip::SipHasher13;
use std::{
    collections::HashMap,
    hash::Hasher,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicI64, Ordering},
    },
};

/// Announced to other nodes: see [`crate::store::ANNOUNCED`].
const PREFIX: &str = "revoked/";
/// How much longer than needed it is known what was ended, seconds: a clock that runs a day ahead and comes back must not
/// have taken it along.
const LONGER: i64 = 86_400;
/// Shared flags at most; two mebibytes.
const BUCKETS: usize = 1 << 18;
/// Shared flags at least.
const FEWEST: usize = 1 << 10;
/// One flag for so many bytes of cached tokens.
const A_FLAG_FOR: u64 = 256;
/// How often a commit is tried again that another node's ending of the same target got in the way of.
const TRIES: usize = 20;

/// The flags that can end one cached token: its own, and those of its authorization, its client and its subject.
#[derive(Clone, Copy, Debug)]
pub struct Lifelines([u32; 4]);

/// What a token may be ended by: its identifier, authorization (without one, its identifier again), client and subject.
pub type Names<'a> = [&'a str; 4];

/// What comes before each of the names in a target.
const KINDS: [&str; 4] = ["token/", "authorization/", "client/", "subject/"];

fn targets(names: Names<'_>) -> [String; 4] {
    std::array::from_fn(|n| [KINDS[n], names[n]].concat())
}

/// What sessions behind the gate have in place of an authorization: the sign-on session `sid`.
pub fn session_name(sid: &str) -> String {
    format!("sid:{sid}")
}

/// The target of the sign-on session `sid`.
fn session(sid: &str) -> String {
    [KINDS[1], &session_name(sid)].concat()
}

/// What comes before one user's access to one app in a target.
const ACCESS: &str = "access/";

/// The target of what `client` may do for `subject`; either may hold any character.
fn access(client: &str, subject: &str) -> String {
    format!("{ACCESS}{}/{client}/{subject}", client.len())
}

/// The subject in a target of [`access`].
fn subject_of(target: &str) -> Option<&str> {
    let (length, rest) = target.strip_prefix(ACCESS)?.split_once('/')?;
    rest.get(length.parse::<usize>().ok()?..)?.strip_prefix('/')
}

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

    fn stored(record: &Record) -> Option<Self> {
        let target = record.key.strip_prefix(PREFIX)?.to_owned();
        let before = Timestamp(i64::from_be_bytes(record.body.as_slice().try_into().ok()?));
        Some(Self { target, before, until: record.expires?.plus(-LONGER) })
    }

    /// The record that makes it outlive the process.
    fn record(&self) -> Record {
        let body = self.before.0.to_be_bytes().to_vec();
        Record { key: self.key(), version: 0, index: None, expires: Some(self.until.plus(LONGER)), body }
    }
}

/// What was ended on this node. Each flag is shared by all targets of its bucket and holds the latest instant up to
/// which one of them has ended tokens: a check is four loads, and only behind a raised flag is the exact target
/// looked up. So a cached token carries sixteen bytes, and nothing has to be registered for it.
pub struct Revocations {
    flags: Box<[AtomicI64]>,
    /// Places targets in buckets; its key is this process's own, so that nobody can choose names that meet.
    places: SipHasher13,
    /// By target: tokens issued up to the first instant are ended; forgotten after the second.
    ended: RwLock<HashMap<String, (Timestamp, Timestamp)>>,
}

impl Revocations {
    /// As many flags as a cache of `bytes` asks for: with fewer, more targets share one.
    pub fn beside_a_cache_of(bytes: u64) -> Self {
        let flags = usize::try_from(bytes / A_FLAG_FOR).unwrap_or(BUCKETS).clamp(FEWEST, BUCKETS).next_power_of_two();
        Self {
            flags: (0..flags).map(|_| AtomicI64::new(i64::MIN)).collect(),
            places: SipHasher13::new_with_key(&secret::random::<16>()),
            ended: RwLock::default(),
        }
    }

    /// The flags of a token; its client's is kept with what all its tokens share.
    pub fn lifelines(&self, token: &str, authorization: Option<&str>, client: u32, subject: &str) -> Lifelines {
        let token = self.bucket([KINDS[0], token]);
        // What ends a token without an authorization ends it by its own name.
        let authorization = authorization.map_or(token, |name| self.bucket([KINDS[1], name]));
        Lifelines([token, authorization, client, self.bucket([KINDS[3], subject])])
    }

    /// The flag of a client.
    pub fn client(&self, name: &str) -> u32 {
        self.bucket([KINDS[2], name])
    }

    fn bucket(&self, target: [&str; 2]) -> u32 {
        let mut place = self.places;
        target.iter().for_each(|part| place.write(part.as_bytes()));
        (place.finish() % self.flags.len() as u64) as u32
    }

    /// The flag that `target` raises: access of a user to an app has none of its own, so that no token carries more.
    fn flag(&self, target: &str) -> u32 {
        subject_of(target).map_or_else(|| self.bucket([target, ""]), |subject| self.bucket([KINDS[3], subject]))
    }

    /// Whether a token issued at `issued` has been ended; `names` are what it may be ended by.
    pub fn has_ended(&self, lifelines: Lifelines, issued: Timestamp, names: Names<'_>) -> bool {
        let raised = |at: &u32| self.flags[*at as usize].load(Ordering::Acquire) >= issued.0;
        if !lifelines.0.iter().any(raised) {
            return false;
        }
        let [token, authorization, client, subject] = names;
        self.one_has_ended(&targets(names), issued)
            || token == authorization && self.one_has_ended(&[access(client, subject)], issued)
    }

    /// Whether one of `targets` itself, and not another one of its bucket, has ended what was issued at `issued`.
    fn one_has_ended(&self, targets: &[String], issued: Timestamp) -> bool {
        let ended = self.ended.read().unwrap_or_else(PoisonError::into_inner);
        targets.iter().any(|target| ended.get(target).is_some_and(|(before, _)| issued <= *before))
    }

    /// Whether all that `client` got for `subject` up to `issued` has been ended since, by whichever of the two.
    pub fn has_ended_access(&self, client: &str, subject: &str, issued: Timestamp) -> bool {
        let targets = [[KINDS[2], client].concat(), [KINDS[3], subject].concat(), access(client, subject)];
        self.one_has_ended(&targets, issued)
    }

    /// Whether the sign-on session `sid` has been ended.
    pub fn session_has_ended(&self, sid: &str) -> bool {
        self.one_has_ended(&[session(sid)], Timestamp(i64::MAX))
    }

    /// The flag of a further `target` that a token is tied to.
    pub fn tie(&self, target: &str) -> u32 {
        self.bucket([target, ""])
    }

    /// Whether one of `targets`, whose flags are `ties`, has ended tokens issued at `issued`.
    pub fn a_tie_has_ended(&self, ties: &[u32], issued: Timestamp, targets: &[String]) -> bool {
        let raised = |at: &u32| self.flags[*at as usize].load(Ordering::Acquire) >= issued.0;
        ties.iter().any(raised) && self.one_has_ended(targets, issued)
    }

    /// Flips the flag of what `ending` names; whether it was not known to reach so far.
    pub fn end(&self, Ending { target, before, until }: &Ending) -> bool {
        let (before, until) = (*before, *until);
        let mut ended = self.ended.write().unwrap_or_else(PoisonError::into_inner);
        let known = ended.entry(target.clone()).or_insert((Timestamp::FIRST, until));
        let news = known.0 < before;
        *known = (known.0.max(before), known.1.max(until));
        self.flags[self.flag(target) as usize].fetch_max(before.0, Ordering::AcqRel);
        news
    }

    /// Forgets what ended tokens that have expired anyway.
    pub fn forget(&self, now: Timestamp) {
        let mut ended = self.ended.write().unwrap_or_else(PoisonError::into_inner);
        let mut lowered: HashMap<u32, i64> = HashMap::new();
        ended.retain(|target, (_, until)| {
            let stays = until.plus(LONGER) > now;
            if !stays {
                lowered.insert(self.flag(target), i64::MIN);
            }
            stays
        });
        if lowered.is_empty() {
            return;
        }
        // Another target's flag may be the same one.
        for (target, (before, _)) in ended.iter() {
            if let Some(flag) = lowered.get_mut(&self.flag(target)) {
                *flag = before.0.max(*flag);
            }
        }
        for (at, flag) in lowered {
            self.flags[at as usize].store(flag, Ordering::Release);
        }
    }

    /// Takes up one stored record: what it says, and whether that was news. `None` if it is not one of ours.
    pub fn restore(&self, record: &Record) -> Option<(Ending, bool)> {
        let ending = Ending::stored(record)?;
        let news = self.end(&ending);
        Some((ending, news))
    }

    /// The key prefix of the stored records.
    pub const fn prefix() -> &'static str {
        PREFIX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(all: &Revocations, [a, c, s]: [&str; 3], issued: i64) -> bool {
        let names = ["t", a, c, s];
        all.has_ended(all.lifelines("t", Some(a), all.client(c), s), Timestamp(issued), names)
    }

    #[test]
    fn an_end_is_felt_by_its_target_alone_and_up_to_its_instant() {
        let all = Revocations::beside_a_cache_of(0);
        assert!(!ended(&all, ["a", "app", "alice"], 10));
        all.end(&Ending { target: "subject/alice".to_owned(), before: Timestamp(10), until: Timestamp(100) });
        assert!(ended(&all, ["a", "app", "alice"], 10) && !ended(&all, ["a", "app", "alice"], 11));
        assert!(!ended(&all, ["b", "app", "bob"], 9));
        all.forget(Timestamp(99 + LONGER));
        assert!(ended(&all, ["a", "app", "alice"], 10));
        all.forget(Timestamp(100 + LONGER));
        assert!(!ended(&all, ["a", "app", "alice"], 10));
    }

    #[test]
    fn targets_that_share_a_flag_do_not_end_one_another() {
        let all = Revocations::beside_a_cache_of(0);
        let twin = (0..).map(|n| format!("t{n}")).find(|t| {
            let [_, other, ..] = targets(["", t, "", ""]);
            t != "t0" && all.bucket([&other, ""]) == all.bucket(["authorization/t0", ""])
        });
        let twin = twin.unwrap();
        all.end(&Ending::of("authorization/t0".to_owned(), Timestamp(50)));
        assert!(ended(&all, ["t0", "app", "x"], 1) && !ended(&all, [&twin, "app", "x"], 1));
        all.end(&Ending::of(format!("authorization/{twin}"), Timestamp(90)));
        all.forget(Timestamp(50 + LONGER));
        assert!(ended(&all, [&twin, "app", "x"], 1), "the other's flag stays up");
    }

    #[test]
    fn the_access_of_one_user_to_one_app_ends_alone_and_not_what_has_an_authorization() {
        let all = Revocations::beside_a_cache_of(0);
        let is = |authorization: Option<&str>, client: &str, subject: &str, issued| {
            let names = ["t", authorization.unwrap_or("t"), client, subject];
            all.has_ended(all.lifelines("t", authorization, all.client(client), subject), Timestamp(issued), names)
        };
        all.end(&Ending::of_access("a/b", "c/d", Timestamp(10), Timestamp(100)));
        assert!(is(None, "a/b", "c/d", 10) && !is(None, "a/b", "c/d", 11));
        assert!(!is(Some("x"), "a/b", "c/d", 10));
        assert!(
            all.has_ended_access("a/b", "c/d", Timestamp(10)) && !all.has_ended_access("a/b", "c/d", Timestamp(11))
        );
        assert!(!is(None, "a", "b/c/d", 10) && !is(None, "other", "c/d", 10) && !is(None, "a/b", "d", 10));
        all.forget(Timestamp(100 + LONGER));
        assert!(!is(None, "a/b", "c/d", 10));
    }

    #[tokio::test]
    async fn f14_an_end_by_a_clock_that_is_behind_weakens_none_that_is_stored() {
        let store = crate::store::memory::MemoryStore::default();
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
    struct Raced(crate::store::memory::MemoryStore, std::sync::Mutex<Vec<Ending>>);

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
        async fn feed(&self, sequence: u64, limit: usize) -> Result<Vec<crate::store::FeedEntry>, StoreError> {
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
            let store = Raced(crate::store::memory::MemoryStore::default(), std::sync::Mutex::new(others));
            let beside = Record::passing("approval/a".to_owned(), Timestamp(9), &0);
            let beside = Changes(vec![Change::Put(beside, Expect::Absent)]);
            Ending::commit(&[at(Timestamp(own))], beside.clone(), &store, Timestamp(1)).await.unwrap();
            let record = store.0.get("revoked/subject/alice", Timestamp(1)).await.unwrap().unwrap();
            assert_eq!(Ending::stored(&record).unwrap().before, Timestamp(widest), "{own}");
            let refused = Ending::commit(&[at(Timestamp(own))], beside, &store, Timestamp(1)).await;
            assert!(matches!(refused, Err(StoreError::Conflict(key)) if key == "approval/a"), "others' are passed on");
        }
        // One that has expired counts for nothing at the commit, and is replaced.
        let store = crate::store::memory::MemoryStore::default();
        Ending::commit(&[at(Timestamp(5))], Changes::default(), &store, Timestamp(1)).await.unwrap();
        let later = Timestamp(100 + LONGER);
        Ending::commit(&[at(Timestamp(4))], Changes::default(), &store, later).await.unwrap();
    }

    #[test]
    fn a_stored_end_is_taken_up_again() {
        let all = Revocations::beside_a_cache_of(0);
        let ending = Ending { target: "authorization/a".to_owned(), before: Timestamp(5), until: Timestamp(50) };
        assert_eq!(all.restore(&ending.record()), Some((ending.clone(), true)));
        assert_eq!(all.restore(&ending.record()), Some((ending, false)));
        assert!(ended(&all, ["a", "app", "x"], 5));
    }
}
