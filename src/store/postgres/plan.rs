//! What a group of commits comes to: judged here, in order, on rows that the transaction has locked.
use super::{Job, StoreError};
use crate::{
    clock::Timestamp,
    store::{Change, Expect, Record, is_announced, seal},
};
use std::collections::BTreeMap;

/// A row as it stands: its version, and when it expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) version: u64,
    pub(super) expires: Option<Timestamp>,
}

impl Row {
    fn live(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|at| at > now)
    }
}

#[derive(Default)]
struct Slot<'a> {
    /// The row that is locked; where there is none, the key must still be free when it is written.
    base: Option<Row>,
    now: Option<Row>,
    put: Option<&'a Record>,
    touched: bool,
}

/// One row to be written.
pub(super) struct Write<'a> {
    pub(super) record: &'a Record,
    /// The version that it replaces.
    pub(super) base: Option<u64>,
    pub(super) version: u64,
    pub(super) seal: [u8; 32],
}

/// What is to be written for a group, keys in order.
#[derive(Default)]
pub(super) struct Plan<'a> {
    /// One for each job.
    pub(super) outcomes: Vec<Result<(), StoreError>>,
    pub(super) inserts: Vec<Write<'a>>,
    pub(super) updates: Vec<Write<'a>>,
    pub(super) deletes: Vec<&'a str>,
    /// Keys that other nodes must hear of, in the order of the jobs.
    pub(super) announced: Vec<&'a str>,
}

/// The key of a change, and what it expects.
pub(super) fn of(change: &Change) -> (&str, Expect) {
    match change {
        Change::Put(record, expect) => (&record.key, *expect),
        Change::Delete(key, expect) => (key, *expect),
    }
}

impl<'a> Plan<'a> {
    /// Judges `jobs` one after the other; `locked` holds the rows that exist.
    pub(super) fn of(locked: &BTreeMap<String, Row>, jobs: &'a [Job]) -> Self {
        let mut plan = Self::default();
        let mut slots: BTreeMap<&str, Slot<'a>> = BTreeMap::new();
        for job in jobs {
            let outcome = take(job, locked, &mut slots);
            if outcome.is_ok() {
                let keys = job.changes.0.iter().map(|c| of(c).0);
                plan.announced.extend(keys.filter(|k| is_announced(k)));
            }
            plan.outcomes.push(outcome);
        }
        for (key, slot) in slots.into_iter().filter(|(_, slot)| slot.touched) {
            match (slot.put, slot.now, slot.base) {
                (Some(record), Some(row), base) => {
                    let write = Write {
                        record,
                        base: base.map(|b| b.version),
                        version: row.version,
                        seal: seal(record, row.version),
                    };
                    if base.is_some() { plan.updates.push(write) } else { plan.inserts.push(write) }
                }
                (_, _, Some(_)) => plan.deletes.push(key),
                (_, _, None) => {}
            }
        }
        plan
    }

    /// Whether every job was refused, or asked for nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.inserts.is_empty() && self.updates.is_empty() && self.deletes.is_empty() && self.announced.is_empty()
    }
}

/// First every expectation of a job, then every write of it.
fn take<'a>(
    job: &'a Job,
    locked: &BTreeMap<String, Row>,
    slots: &mut BTreeMap<&'a str, Slot<'a>>,
) -> Result<(), StoreError> {
    let mut versions = Vec::with_capacity(job.changes.0.len());
    for change in &job.changes.0 {
        let (key, expect) = of(change);
        let slot = slots.entry(key).or_insert_with(|| {
            let base = locked.get(key).copied();
            Slot { base, now: base, ..Slot::default() }
        });
        let version = slot.now.filter(|row| row.live(job.now)).map(|row| row.version);
        let holds = match expect {
            Expect::Any => true,
            Expect::Absent => version.is_none(),
            Expect::Version(wanted) => version == Some(wanted),
        };
        if !holds {
            return Err(StoreError::Conflict(key.to_owned()));
        }
        versions.push(version.unwrap_or(0) + 1);
    }
    for (change, version) in job.changes.0.iter().zip(versions) {
        let slot = slots.entry(of(change).0).or_default();
        slot.touched = true;
        (slot.put, slot.now) = match change {
            Change::Put(record, _) => (Some(record), Some(Row { version, expires: record.expires })),
            Change::Delete(..) => (None, None),
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Changes;

    fn job(changes: Vec<Change>) -> Job {
        let (done, _) = tokio::sync::oneshot::channel();
        Job { changes: Changes(changes), now: Timestamp(100), done }
    }

    fn put(key: &str, expect: Expect) -> Change {
        Change::Put(Record::passing(key.to_owned(), Timestamp(200), &0), expect)
    }

    #[test]
    fn a_group_is_judged_in_order_and_each_key_is_written_once() {
        let row = |version, expires| Row { version, expires: Some(Timestamp(expires)) };
        let locked = BTreeMap::from([("code".to_owned(), row(4, 200)), ("old".to_owned(), row(9, 100))]);
        let jobs = [
            job(vec![put("code", Expect::Version(4)), put("family", Expect::Absent)]),
            job(vec![put("code", Expect::Version(4)), put("lost", Expect::Absent)]),
            job(vec![put("old", Expect::Absent)]),
            job(vec![Change::Delete("family".to_owned(), Expect::Version(1))]),
            job(vec![Change::Delete("code".to_owned(), Expect::Any), put("revoked/x", Expect::Any)]),
        ];
        let plan = Plan::of(&locked, &jobs);
        let refused: Vec<bool> = plan.outcomes.iter().map(Result::is_err).collect();
        assert_eq!(refused, [false, true, false, false, false]);
        let keys =
            |all: &[Write<'_>]| all.iter().map(|w| (w.record.key.clone(), w.base, w.version)).collect::<Vec<_>>();
        assert_eq!(keys(&plan.updates), [("old".to_owned(), Some(9), 1)], "an expired row is replaced");
        assert_eq!(keys(&plan.inserts), [("revoked/x".to_owned(), None, 1)], "what came and went is not written");
        assert_eq!((plan.deletes, plan.announced), (vec!["code"], vec!["revoked/x"]));
    }
}
