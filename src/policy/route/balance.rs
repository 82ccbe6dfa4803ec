//! Which of an upstream's addresses takes a request, and which take none for now.
use crate::metrics::Metrics;
use http::HeaderName;
use siphasher::sip::SipHasher13;
use std::{
    hash::Hasher,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// Addresses that one upstream may have: one bit each remembers which a request has tried.
pub const MOST_ADDRESSES: usize = 64;

/// How an address is chosen among those that are well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Rule {
    /// In turn.
    #[default]
    RoundRobin,
    /// The one with the fewest requests in flight.
    LeastConnections,
    /// The same one for the same key, and few keys move when an address comes or goes (rendezvous hashing).
    ConsistentHash(Key),
}

/// What requests that belong together have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// The client's address.
    Address,
    /// Who calls.
    Subject,
    /// A header's value.
    Header(HeaderName),
}

/// When an address is taken out because requests failed there, and for how long: its circuit breaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// Consecutive failures.
    pub after: u32,
    /// Time until one request may try it again.
    pub out_for: Duration,
    /// Statuses that count as failures.
    pub statuses: Vec<u16>,
}

/// A request that asks each address how it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Path and query.
    pub path: String,
    /// Time between two.
    pub interval: Duration,
    /// Time to answer.
    pub timeout: Duration,
    /// Good answers in a row that bring an address back.
    pub healthy_after: u32,
    /// Bad ones in a row that take it out.
    pub unhealthy_after: u32,
    /// Good statuses.
    pub statuses: Vec<u16>,
}

/// What an upstream asks for beyond addresses taken in turn.
#[derive(Debug)]
pub struct Balance {
    /// The rule.
    pub rule: Rule,
    /// Its circuit breakers, where it has them.
    pub breaker: Option<Breaker>,
    /// Its probe, where it has one.
    pub probe: Option<Probe>,
    /// Requests in flight that one address takes.
    pub most_in_flight: Option<usize>,
    /// Equal for equal upstreams: what is known of the addresses survives a reload.
    pub identity: String,
    /// What is known of the addresses.
    pub pool: OnceLock<Arc<Pool>>,
}

/// What is known of one address.
#[derive(Debug, Default)]
struct Member {
    in_flight: AtomicUsize,
    failures: AtomicU32,
    /// Milliseconds since the pool began; 0: it is in.
    out_until: AtomicU64,
    trying: AtomicBool,
    sick: AtomicBool,
    /// Answers to probes in a row that contradict `sick`.
    streak: AtomicU32,
}

/// What is known of an upstream's addresses.
#[derive(Debug)]
pub struct Pool {
    members: Vec<Member>,
    begun: Instant,
    turn: AtomicUsize,
    seeds: Vec<u64>,
    names: Vec<String>,
}

impl Pool {
    /// Of addresses of which nothing is known yet.
    pub fn of(names: Vec<String>) -> Self {
        let seeds = names.iter().map(|name| hash(&[name.as_bytes()])).collect();
        let members = names.iter().map(|_| Member::default()).collect();
        Self { members, begun: Instant::now(), turn: AtomicUsize::new(0), seeds, names }
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.begun).as_millis()).unwrap_or(u64::MAX).max(1)
    }

    fn well(&self, at: usize, most: Option<usize>, millis: u64) -> bool {
        let member = &self.members[at];
        let room = most.is_none_or(|most| member.in_flight.load(Ordering::Relaxed) < most);
        let until = member.out_until.load(Ordering::Acquire);
        let in_or_due = until == 0 || (millis >= until && !member.trying.load(Ordering::Acquire));
        room && in_or_due && !member.sick.load(Ordering::Acquire)
    }

    /// Takes an address that is well and not among `tried` (a bit each); `key` is what a hash begins with.
    pub fn take(self: &Arc<Self>, balance: &Balance, key: Option<u64>, mut tried: u64, now: Instant) -> Option<Taken> {
        let millis = self.millis(now);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let count = self.members.len();
        loop {
            let usable = (0..count)
                .map(|step| turn.wrapping_add(step) % count)
                .filter(|at| tried >> at & 1 == 0 && self.well(*at, balance.most_in_flight, millis));
            let at = match (&balance.rule, key) {
                (Rule::LeastConnections, _) => {
                    usable.min_by_key(|at| self.members[*at].in_flight.load(Ordering::Relaxed))
                }
                (Rule::ConsistentHash(_), Some(key)) => {
                    usable.max_by_key(|at| hash(&[&self.seeds[*at].to_be_bytes(), &key.to_be_bytes()]))
                }
                (Rule::RoundRobin | Rule::ConsistentHash(_), _) => {
                    let mut usable = usable;
                    usable.next()
                }
            }?;
            let member = &self.members[at];
            let out = member.out_until.load(Ordering::Acquire) != 0;
            // Of an address that was out, one request tries whether it is back.
            if !out || member.trying.compare_exchange(false, true, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                member.in_flight.fetch_add(1, Ordering::Relaxed);
                return Some(Taken { pool: self.clone(), at, trial: out });
            }
            tried |= 1 << at;
        }
    }

    /// Takes down what a probe found; whether that changed anything.
    pub fn probed(&self, at: usize, good: bool, probe: &Probe) -> bool {
        let member = &self.members[at];
        if member.sick.load(Ordering::Acquire) != good {
            member.streak.store(0, Ordering::Relaxed);
            return false;
        }
        let streak = member.streak.fetch_add(1, Ordering::Relaxed) + 1;
        let turns = streak >= if good { probe.healthy_after } else { probe.unhealthy_after };
        if turns {
            member.sick.store(!good, Ordering::Release);
            member.streak.store(0, Ordering::Relaxed);
        }
        turns
    }

    /// Sets the gauge of addresses that are well.
    pub fn measure(&self, route: &str, metrics: &Metrics, now: Instant) {
        let millis = self.millis(now);
        for (at, name) in self.names.iter().enumerate() {
            let gauge = metrics.upstream_healthy.with_label_values(&[route, name]);
            gauge.set(i64::from(self.well(at, None, millis)));
        }
    }
}

/// An address while one request uses it.
#[derive(Debug)]
pub struct Taken {
    pool: Arc<Pool>,
    at: usize,
    trial: bool,
}

impl Taken {
    /// Its place in the upstream's list.
    pub fn place(&self) -> usize {
        self.at
    }

    /// The request went well there.
    pub fn succeeded(&self) {
        let member = &self.pool.members[self.at];
        if member.failures.load(Ordering::Relaxed) > 0 || self.trial {
            member.failures.store(0, Ordering::Relaxed);
            member.out_until.store(0, Ordering::Release);
        }
    }

    /// It did not; too often, and the address is out.
    pub fn failed(&self, breaker: &Breaker, now: Instant) {
        let member = &self.pool.members[self.at];
        let failures = member.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if failures >= breaker.after || self.trial {
            let out_for = u64::try_from(breaker.out_for.as_millis()).unwrap_or(u64::MAX);
            member.out_until.store(self.pool.millis(now).saturating_add(out_for), Ordering::Release);
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let member = &self.pool.members[self.at];
        member.in_flight.fetch_sub(1, Ordering::Relaxed);
        if self.trial {
            member.trying.store(false, Ordering::Release);
        }
    }
}

/// A number for `parts`; the same in every process, so that all nodes send a key to one address.
pub fn hash(parts: &[&[u8]]) -> u64 {
    let mut hasher = SipHasher13::new();
    for part in parts {
        hasher.write(part);
        hasher.write_u8(0xff);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn balance(rule: Rule) -> Balance {
        let breaker = Breaker { after: 2, out_for: Duration::from_secs(10), statuses: vec![503] };
        Balance {
            rule,
            breaker: Some(breaker),
            probe: None,
            most_in_flight: None,
            identity: String::new(),
            pool: OnceLock::new(),
        }
    }

    fn pool(count: usize) -> Arc<Pool> {
        Arc::new(Pool::of((0..count).map(|n| format!("10.0.0.{n}:80")).collect()))
    }

    #[test]
    fn in_turn_fewest_first_and_the_same_for_the_same_key() {
        let now = Instant::now();
        let (three, turn) = (pool(3), balance(Rule::RoundRobin));
        let places: Vec<usize> = (0..6).map(|_| three.take(&turn, None, 0, now).unwrap().place()).collect();
        assert_eq!(places, [0, 1, 2, 0, 1, 2]);
        assert_eq!(three.take(&turn, None, 0b011, now).unwrap().place(), 2, "what was tried is left out");
        assert!(three.take(&turn, None, 0b111, now).is_none());
        let (three, least) = (pool(3), balance(Rule::LeastConnections));
        let held: Vec<Taken> = (0..3).map(|_| three.take(&least, None, 0, now).unwrap()).collect();
        let free = held.into_iter().nth(1).unwrap().place();
        let fresh = three.take(&least, None, 0, now).unwrap();
        assert!(fresh.place() < 3 && free < 3);
        let (five, hashed) = (pool(5), balance(Rule::ConsistentHash(Key::Subject)));
        let of = |key: u64, tried| five.take(&hashed, Some(key), tried, now).unwrap().place();
        for key in 0..100 {
            let place = of(key, 0);
            assert_eq!(of(key, 0), place);
            let other = (place + 1) % 5;
            assert_eq!(of(key, 1 << other), place, "another address going moves nothing");
        }
        let spread: std::collections::BTreeSet<usize> = (0..100).map(|key| of(key, 0)).collect();
        assert_eq!(spread.len(), 5);
    }

    #[test]
    fn a_breaker_opens_after_failures_lets_one_try_and_closes_when_that_goes_well() {
        let (one, rule) = (pool(1), balance(Rule::RoundRobin));
        let breaker = rule.breaker.clone().unwrap();
        let now = Instant::now();
        one.take(&rule, None, 0, now).unwrap().failed(&breaker, now);
        one.take(&rule, None, 0, now).unwrap().succeeded();
        for _ in 0..2 {
            one.take(&rule, None, 0, now).unwrap().failed(&breaker, now);
        }
        assert!(one.take(&rule, None, 0, now).is_none(), "out");
        let later = now + Duration::from_secs(11);
        let trial = one.take(&rule, None, 0, later).unwrap();
        assert!(one.take(&rule, None, 0, later).is_none(), "one tries");
        trial.failed(&breaker, later);
        drop(trial);
        assert!(one.take(&rule, None, 0, later).is_none(), "out again at once");
        let last = later + Duration::from_secs(11);
        drop(one.take(&rule, None, 0, last).unwrap());
        one.take(&rule, None, 0, last).expect("a trial without an outcome frees the place").succeeded();
        assert!((0..3).all(|_| one.take(&rule, None, 0, last).is_some()), "and in");
    }

    #[test]
    fn probes_and_a_limit_of_requests_in_flight_take_an_address_out() {
        let (two, mut rule) = (pool(2), balance(Rule::RoundRobin));
        rule.most_in_flight = Some(1);
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let probe = Probe {
            path: "/".into(),
            interval: second,
            timeout: second,
            healthy_after: 2,
            unhealthy_after: 2,
            statuses: vec![200],
        };
        assert!(!two.probed(0, false, &probe) && !two.probed(0, true, &probe) && !two.probed(0, false, &probe));
        assert!(two.probed(0, false, &probe), "two in a row");
        let held = two.take(&rule, None, 0, now).unwrap();
        assert_eq!(held.place(), 1);
        assert!(two.take(&rule, None, 0, now).is_none(), "one sick, one full");
        assert!(!two.probed(0, true, &probe) && two.probed(0, true, &probe));
        assert_eq!(two.take(&rule, None, 0, now).unwrap().place(), 0);
    }
}
