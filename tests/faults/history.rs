//! What every client was told, and whether all of it can be true together.
use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, Instant},
};

/// One thing that a client was told.
#[derive(Clone, Debug)]
pub enum Told {
    /// A token was issued.
    Issued(String),
    /// A revocation was asked for; whether it was accepted.
    Revoked(String, bool),
    /// A call was answered: allowed, refused, or not decided (5xx, no connection).
    Called(String, Option<bool>),
    /// Something that works once was accepted.
    Used(String),
    /// An answer of 5xx.
    Failed,
}

struct Event {
    begun: Instant,
    ended: Instant,
    told: Told,
}

/// Events of all clients, in no order: each has its time.
#[derive(Default)]
pub struct History(Mutex<Vec<Event>>);

/// What the checker found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Calls that were let through after their token was revoked, beyond the bound; things used twice.
    pub wrong_allows: usize,
    /// Tokens refused that were issued and never revoked.
    pub lost: usize,
    /// Answers of 5xx.
    pub failed: usize,
    /// All events.
    pub events: usize,
}

impl History {
    /// Notes what `work` was told.
    pub fn note<T>(&self, work: impl FnOnce() -> (T, Vec<Told>)) -> T {
        let begun = Instant::now();
        let (answer, told) = work();
        let ended = Instant::now();
        self.0.lock().unwrap().extend(told.into_iter().map(|told| Event { begun, ended, told }));
        answer
    }

    /// Judges: a revocation holds from `bound` after its acceptance on.
    pub fn judge(&self, bound: Duration) -> Verdict {
        let events = self.0.lock().unwrap();
        let mut verdict = Verdict { events: events.len(), ..Verdict::default() };
        let mut issued: HashMap<&str, Instant> = HashMap::new();
        let mut asked: HashMap<&str, Instant> = HashMap::new();
        let mut revoked: HashMap<&str, Instant> = HashMap::new();
        let mut used: HashMap<&str, usize> = HashMap::new();
        for Event { begun, ended, told } in events.iter() {
            match told {
                Told::Issued(id) => drop(issued.insert(id, *ended)),
                Told::Revoked(id, accepted) => {
                    // From here on nobody can say whether it opens, until the revocation was accepted.
                    let first = asked.entry(id).or_insert(*begun);
                    *first = (*first).min(*begun);
                    if *accepted {
                        let from = revoked.entry(id).or_insert(*ended);
                        *from = (*from).min(*ended);
                    }
                }
                Told::Used(id) => *used.entry(id).or_default() += 1,
                Told::Failed => verdict.failed += 1,
                Told::Called(..) => {}
            }
        }
        for Event { begun, ended, told } in events.iter() {
            match told {
                Told::Called(id, Some(true)) if revoked.get(&**id).is_some_and(|at| *begun > *at + bound) => {
                    verdict.wrong_allows += 1;
                }
                Told::Called(id, Some(false)) => {
                    let owed = issued.get(&**id).is_some_and(|at| *begun > *at);
                    let given_up = asked.get(&**id).is_some_and(|at| *ended > *at);
                    verdict.lost += usize::from(owed && !given_up);
                }
                _ => {}
            }
        }
        verdict.wrong_allows += used.values().filter(|times| **times > 1).count();
        verdict
    }
}

/// The checker sees what it is there to see: run before it is believed.
pub fn proved() {
    let id = || "a".to_owned();
    let history = History::default();
    let note = |told| history.note(|| ((), vec![told]));
    note(Told::Issued(id()));
    note(Told::Called(id(), Some(true)));
    note(Told::Called(id(), None));
    assert_eq!(history.judge(Duration::ZERO), Verdict { events: 3, ..Verdict::default() });
    note(Told::Called(id(), Some(false)));
    assert_eq!(history.judge(Duration::ZERO).lost, 1);
    note(Told::Revoked(id(), true));
    note(Told::Called(id(), Some(false)));
    note(Told::Called(id(), Some(true)));
    note(Told::Used(id()));
    note(Told::Used(id()));
    let verdict = history.judge(Duration::ZERO);
    assert_eq!((verdict.wrong_allows, verdict.lost), (2, 1));
    assert_eq!(history.judge(Duration::from_secs(60)).wrong_allows, 1, "within the bound");
}
