//! What can end a token, as shared atomics: ending flips a flag, nobody scans.
use crate::{
    clock::Timestamp,
    secret,
    store::{Change, Expect, Record, Store, StoreError},
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
/// Shared flags; two mebibytes.
const BUCKETS: usize = 1 << 18;

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

/// What the names of sign-on sessions begin with.
pub const SESSION: &str = "sid:";

/// What sessions behind the gate have in place of an authorization: the sign-on session `sid`.
pub fn session_name(sid: &str) -> String {
    format!("{SESSION}{sid}")
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

    /// The changes that make `endings` outlive the process. One that reaches up to an instant never takes the place of one
    /// that reaches further, such as one made by a node whose clock is ahead.
    pub async fn changes(endings: &[Self], store: &dyn Store) -> Result<Vec<Change>, StoreError> {
        let mut all = Vec::with_capacity(endings.len());
        for ending in endings {
            let mut ending = ending.clone();
            if ending.before != Timestamp(i64::MAX)
                && let Some(stored) = store.get(&format!("{PREFIX}{}", ending.target), Timestamp::FIRST).await?
                && let Some(known) = Self::stored(&stored)
            {
                ending.before = ending.before.max(known.before);
                ending.until = ending.until.max(known.until);
            }
            all.push(ending.change());
        }
        Ok(all)
    }

    fn stored(record: &Record) -> Option<Self> {
        let target = record.key.strip_prefix(PREFIX)?.to_owned();
        let before = Timestamp(i64::from_be_bytes(record.body.as_slice().try_into().ok()?));
        Some(Self { target, before, until: record.expires?.plus(-LONGER) })
    }

    /// The record that makes it outlive the process.
    pub fn change(&self) -> Change {
        let record = Record {
            key: format!("{PREFIX}{}", self.target),
            version: 0,
            index: None,
            expires: Some(self.until.plus(LONGER)),
            body: self.before.0.to_be_bytes().to_vec(),
        };
        Change::Put(record, Expect::Any)
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

impl Default for Revocations {
    fn default() -> Self {
        Self {
            flags: (0..BUCKETS).map(|_| AtomicI64::new(i64::MIN)).collect(),
            places: SipHasher13::new_with_key(&secret::random::<16>()),
            ended: RwLock::default(),
        }
    }
}

impl Revocations {
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
        (place.finish() % BUCKETS as u64) as u32
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

    /// Flips the flag of what `ending` names.
    pub fn end(&self, Ending { target, before, until }: &Ending) {
        let (before, until) = (*before, *until);
        let mut ended = self.ended.write().unwrap_or_else(PoisonError::into_inner);
        let known = ended.entry(target.clone()).or_insert((before, until));
        *known = (known.0.max(before), known.1.max(until));
        self.flags[self.flag(target) as usize].fetch_max(before.0, Ordering::AcqRel);
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

    /// Takes up one stored record; `false` if it is not one of ours.
    pub fn restore(&self, record: &Record) -> bool {
        let ending = Ending::stored(record);
        ending.iter().for_each(|ending| self.end(ending));
        ending.is_some()
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
        let all = Revocations::default();
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
        let all = Revocations::default();
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
        let all = Revocations::default();
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
            let changes = Ending::changes(&[ending], &store).await.unwrap();
            store.commit(crate::store::Changes(changes), Timestamp(1)).await.unwrap();
        }
        let record = store.get("revoked/subject/alice", Timestamp::FIRST).await.unwrap().unwrap();
        let stored = Ending::stored(&record).unwrap();
        assert_eq!((stored.before, stored.until), (Timestamp(9), until));
        assert_eq!(record.expires, Some(Timestamp(100 + LONGER)));
    }

    #[test]
    fn a_stored_end_is_taken_up_again() {
        let all = Revocations::default();
        let ending = Ending { target: "authorization/a".to_owned(), before: Timestamp(5), until: Timestamp(50) };
        let Change::Put(record, _) = ending.change() else { panic!("a record") };
        assert!(all.restore(&record));
        assert!(ended(&all, ["a", "app", "x"], 5));
    }
}
