//! What can end a token, as shared atomics: ending flips a flag, nobody scans.
mod ending;

use crate::{
    clock::Timestamp,
    secret,
    store::{Record, measured},
};
pub use ending::Ending;
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
    measured(target.strip_prefix(ACCESS)?).map(|(_, subject)| subject)
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

    #[test]
    fn a_stored_end_is_taken_up_again() {
        let all = Revocations::beside_a_cache_of(0);
        let ending = Ending { target: "authorization/a".to_owned(), before: Timestamp(5), until: Timestamp(50) };
        assert_eq!(all.restore(&ending.record()), Some((ending.clone(), true)));
        assert_eq!(all.restore(&ending.record()), Some((ending, false)));
        assert!(ended(&all, ["a", "app", "x"], 5));
    }
}
