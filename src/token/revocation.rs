//! What can end a token, as shared atomics: ending flips a flag, nobody scans.
use crate::{
    clock::Timestamp,
    store::{Change, Changes, Expect, Record},
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicI64, Ordering},
    },
};

const PREFIX: &str = "revoked/";

/// Tokens issued at or before this instant are ended.
type Flag = Arc<AtomicI64>;

/// The flags that one cached token carries.
#[derive(Debug)]
pub struct Lifelines([Flag; 3]);

impl Lifelines {
    /// Whether a token issued at `issued` has been ended.
    pub fn ended(&self, issued: Timestamp) -> bool {
        self.0.iter().any(|f| issued.0 <= f.load(Ordering::Acquire))
    }
}

#[derive(Default)]
struct Registry {
    live: HashMap<String, Weak<AtomicI64>>,
    ended: HashMap<String, (Flag, Timestamp)>,
    prune_at: usize,
}

/// All flags of this node. Locked on a token's first opening and on revocation, never on a hit.
#[derive(Default)]
pub struct Revocations(Mutex<Registry>);

impl Revocations {
    /// The flags of one authorization, its client and its subject.
    pub fn lifelines(&self, authorization: &str, client: &str, subject: &str) -> Lifelines {
        let mut registry = self.lock();
        Lifelines([
            registry.flag(format!("authorization/{authorization}")),
            registry.flag(format!("client/{client}")),
            registry.flag(format!("subject/{subject}")),
        ])
    }

    /// Flips the flag of `target` (`authorization/…`, `client/…`, `subject/…`).
    pub fn end(&self, target: &str, before: Timestamp, until: Timestamp) {
        let mut registry = self.lock();
        let flag = registry.flag(target.to_owned());
        flag.fetch_max(before.0, Ordering::AcqRel);
        registry.ended.insert(target.to_owned(), (flag, until));
    }

    /// Forgets what ended tokens that have expired anyway.
    pub fn forget(&self, now: Timestamp) {
        self.lock().ended.retain(|_, (_, until)| *until > now);
    }

    /// The record that makes ending `target` outlive the process.
    pub fn record(target: &str, before: Timestamp, until: Timestamp) -> Changes {
        let record = Record {
            key: format!("{PREFIX}{target}"),
            version: 0,
            index: None,
            expires: Some(until),
            body: before.0.to_be_bytes().to_vec(),
        };
        Changes(vec![Change::Put(record, Expect::Any)])
    }

    /// Takes up one stored record; `false` if it is not one of ours.
    pub fn restore(&self, record: &Record) -> bool {
        let (Some(target), Ok(before), Some(until)) =
            (record.key.strip_prefix(PREFIX), <[u8; 8]>::try_from(record.body.as_slice()), record.expires)
        else {
            return false;
        };
        self.end(target, Timestamp(i64::from_be_bytes(before)), until);
        true
    }

    /// The key prefix of the stored records.
    pub const fn prefix() -> &'static str {
        PREFIX
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Registry> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Registry {
    fn flag(&mut self, target: String) -> Flag {
        if let Some((flag, _)) = self.ended.get(&target) {
            return flag.clone();
        }
        if let Some(flag) = self.live.get(&target).and_then(Weak::upgrade) {
            return flag;
        }
        if self.live.len() >= self.prune_at {
            self.live.retain(|_, flag| flag.strong_count() > 0);
            self.prune_at = (self.live.len() * 2).max(1024);
        }
        let flag = Flag::new(AtomicI64::new(i64::MIN));
        self.live.insert(target, Arc::downgrade(&flag));
        flag
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_taken_before_the_end_feels_it_and_one_taken_after_too() {
        let all = Revocations::default();
        let before = all.lifelines("a", "app", "alice");
        assert!(!before.ended(Timestamp(10)));
        all.end("subject/alice", Timestamp(10), Timestamp(100));
        assert!(before.ended(Timestamp(10)) && !before.ended(Timestamp(11)));
        assert!(all.lifelines("b", "app", "alice").ended(Timestamp(9)));
        assert!(!all.lifelines("b", "app", "bob").ended(Timestamp(9)));
    }

    #[test]
    fn a_stored_end_is_taken_up_again() {
        let all = Revocations::default();
        let Changes(changes) = Revocations::record("authorization/a", Timestamp(5), Timestamp(50));
        let [Change::Put(record, _)] = &changes[..] else { panic!("one record") };
        assert!(all.restore(record));
        assert!(all.lifelines("a", "app", "x").ended(Timestamp(5)));
    }
}
