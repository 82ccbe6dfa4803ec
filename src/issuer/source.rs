//! An issuer's keys as they are known now: asked for beside the requests, once for all who wait.
use super::{
    Issuer, Place, Trusted, discovery,
    keys::{Key, KeySet},
};
use crate::{
    clock::{self, Clock},
    log::Log,
    metrics::Metrics,
    outgoing,
};
use arc_swap::ArcSwapOption;
use jsonwebtoken::Algorithm;
use prometheus::{IntCounterVec, IntGaugeVec};
use serde_json::json;
use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::watch;

/// Names of keys that are remembered as unknown, at most.
const MOST_UNKNOWN: usize = 256;
/// How long such a name asks for nothing, milliseconds.
const UNKNOWN_FOR: u64 = 30_000;
/// Requests that wait for one fetch at most; the others are answered at once.
const MOST_WAITING: usize = 1024;
/// Longest time between two tries that failed, milliseconds.
const LONGEST_PAUSE: u64 = 60_000;

/// Whoever hears of fetches.
#[derive(Clone)]
struct Told {
    fetches: IntCounterVec,
    unknown: IntCounterVec,
    age: IntGaugeVec,
    audit: Option<(Log, Arc<dyn Clock>)>,
}

impl Told {
    fn fetched(&self, issuer: &Issuer, outcome: &str) {
        self.fetches.with_label_values(&[&*issuer.name, outcome]).inc();
    }

    fn write(&self, issuer: &Issuer, outcome: &str, detail: serde_json::Value) {
        if let Some((audit, clock)) = &self.audit {
            audit.write(json!({"event": "issuer_keys", "issuer": &*issuer.name, "outcome": outcome,
                "detail": detail, "time": clock.now()}));
        }
    }
}

/// What has been tried.
#[derive(Default)]
struct Tried {
    /// A fetch is under way.
    under_way: bool,
    /// When the last one began.
    at: Option<u64>,
    /// How many have failed since the last good one.
    failures: u32,
    /// Digests of names that no key has, and until when each asks for nothing.
    unknown: HashMap<u64, u64>,
}

/// The keys of one place. Instants are those of [`clock::elapsed`].
pub struct Source {
    keys: ArcSwapOption<KeySet>,
    /// When what is known was asked for; 0 is never.
    asked: AtomicU64,
    tried: Mutex<Tried>,
    /// Grows with every fetch that ends.
    rounds: watch::Sender<u64>,
    places: RandomState,
    told: Arc<Told>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Source({:?})", self.keys.load())
    }
}

/// What an issuer's keys say of a signature to be verified.
pub enum Candidates {
    /// One of these may have made it.
    Keys(Vec<Arc<Key>>),
    /// No key has this name: it may be a new one.
    Unknown,
    /// Nothing is known of its keys, or has not been for too long.
    Nothing,
}

/// A fetch that is under way until this is dropped, however it ends.
struct UnderWay(Arc<Source>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.tried().under_way = false;
        self.0.rounds.send_modify(|n| *n += 1);
    }
}

impl Source {
    fn new(issuer: &Issuer, told: Arc<Told>) -> Self {
        let (keys, asked) = match &issuer.place {
            // Never too old: it is read again when it changes.
            Place::File(keys) => (Some(keys.clone()), u64::MAX),
            Place::Discovery(_) | Place::Url(_) => (None, 0),
        };
        Self {
            keys: ArcSwapOption::new(keys),
            asked: AtomicU64::new(asked),
            tried: Mutex::default(),
            rounds: watch::Sender::new(0),
            places: RandomState::new(),
            told,
        }
    }

    fn tried(&self) -> MutexGuard<'_, Tried> {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long ago what is known was asked for, milliseconds; `None` if nothing is.
    pub fn age(&self) -> Option<u64> {
        match self.asked.load(Ordering::Acquire) {
            0 => None,
            asked => Some(clock::elapsed().saturating_sub(asked)),
        }
    }

    /// Whether its keys are known, and not for too long.
    pub fn holds(&self, issuer: &Issuer) -> bool {
        self.age().is_some_and(|age| age <= issuer.timing.longest)
    }

    /// The keys that may have made a signature.
    pub fn candidates(&self, issuer: &Issuer, kid: Option<&str>, algorithm: Algorithm) -> Candidates {
        let keys = self.keys.load();
        match &*keys {
            Some(keys) if self.holds(issuer) => {
                if kid.is_some_and(|kid| !keys.names(kid)) {
                    self.told.unknown.with_label_values(&[&*issuer.name]).inc();
                    return Candidates::Unknown;
                }
                Candidates::Keys(keys.candidates(kid, algorithm).into_iter().cloned().collect())
            }
            _ => Candidates::Nothing,
        }
    }

    /// Whether it is time to ask, with nobody waiting for it.
    fn is_due(tried: &Tried, asked: u64, issuer: &Issuer, now: u64) -> bool {
        let Some(at) = tried.at else { return asked != u64::MAX };
        if asked == u64::MAX {
            return false;
        }
        let pause = LONGEST_PAUSE.min(1000 << tried.failures.min(10));
        let since = now.saturating_sub(at);
        if tried.failures > 0 { since >= pause.min(issuer.timing.refresh) } else { since >= issuer.timing.refresh }
    }

    /// Asks beside everything else, if it is time.
    pub fn tend(self: &Arc<Self>, issuer: &Arc<Issuer>) {
        let mut tried = self.tried();
        let now = clock::elapsed();
        if !tried.under_way && Self::is_due(&tried, self.asked.load(Ordering::Acquire), issuer, now) {
            self.begin(&mut tried, issuer, now);
        }
    }

    /// For a request that found no key of the name `kid`, or none at all: what to wait for, where waiting may help.
    pub fn awaited(self: &Arc<Self>, issuer: &Arc<Issuer>, kid: Option<&str>) -> Option<watch::Receiver<u64>> {
        let known = self.keys.load().clone().filter(|_| self.holds(issuer));
        if known.as_ref().is_some_and(|keys| kid.is_none_or(|kid| keys.names(kid))) {
            return None;
        }
        let mut tried = self.tried();
        let now = clock::elapsed();
        // Before anything begins, so that its end is seen.
        let round = self.rounds.subscribe();
        if !tried.under_way {
            let asked = self.asked.load(Ordering::Acquire);
            let may = match (&known, kid) {
                _ if asked == u64::MAX => false,
                (None, _) => Self::is_due(&tried, asked, issuer, now),
                (Some(_), kid) => {
                    let place = self.places.hash_one(kid.unwrap_or_default());
                    let rested = tried.at.is_none_or(|at| now.saturating_sub(at) >= issuer.timing.unknown);
                    let may = rested && tried.unknown.get(&place).is_none_or(|until| *until <= now);
                    if may {
                        tried.unknown.retain(|_, until| *until > now);
                        if tried.unknown.len() < MOST_UNKNOWN {
                            tried.unknown.insert(place, now + UNKNOWN_FOR);
                        }
                    }
                    may
                }
            };
            if !may {
                return None;
            }
            self.begin(&mut tried, issuer, now);
            if !tried.under_way {
                return None;
            }
        }
        (self.rounds.receiver_count() <= MOST_WAITING).then_some(round)
    }

    fn begin(self: &Arc<Self>, tried: &mut Tried, issuer: &Arc<Issuer>, now: u64) {
        tried.at = Some(now);
        let (source, issuer) = (self.clone(), issuer.clone());
        // A thread of its own: there is one a place at most, and no pool that requests need is held up by it.
        let work = move || {
            let under_way = UnderWay(source);
            under_way.0.take(&issuer, fetch(&issuer), now);
        };
        match std::thread::Builder::new().name("issuer".to_owned()).spawn(work) {
            Ok(_) => tried.under_way = true,
            Err(_) => tried.failures = tried.failures.saturating_add(1),
        }
    }

    fn take(&self, issuer: &Issuer, fetched: Result<KeySet, (&'static str, String)>, begun: u64) {
        match fetched {
            Ok(set) => {
                let old = self.keys.load_full();
                let (new, came, went) = set.replacing(old.as_deref());
                self.keys.store(Some(Arc::new(new)));
                // Never 0, which is never.
                self.asked.store(begun.max(1), Ordering::Release);
                let failed = std::mem::take(&mut self.tried().failures);
                self.told.fetched(issuer, "ok");
                if old.is_none() || failed > 0 || !came.is_empty() || !went.is_empty() {
                    let outcome = if came.is_empty() && went.is_empty() { "heard_of_again" } else { "changed" };
                    self.told.write(issuer, outcome, json!({"came": came, "went": went}));
                }
            }
            Err((outcome, detail)) => {
                {
                    let mut tried = self.tried();
                    tried.failures = tried.failures.saturating_add(1);
                }
                self.told.fetched(issuer, outcome);
                log::warn!("keys of the issuer {}: {detail}", issuer.name);
                self.told.write(issuer, "failed", detail.into());
            }
        }
    }
}

/// The keys as they are published now. Blocks.
fn fetch(issuer: &Issuer) -> Result<KeySet, (&'static str, String)> {
    let get = |url: &str| outgoing::json(url, &issuer.reach).map_err(|e| (e.word(), format!("{url}: {e}")));
    let url = match &issuer.place {
        Place::File(keys) => return Ok(KeySet::clone(keys)),
        Place::Url(url) => url.clone(),
        Place::Discovery(document) => {
            let url = document.url(&issuer.url);
            discovery::jwks_uri(&get(&url)?, &issuer.url).map_err(|why| ("discovery", format!("{url}: {why}")))?
        }
    };
    KeySet::read(&get(&url)?).map_err(|why| ("keys", format!("{url}: {why}")))
}

/// All sources of a process, by what tells them apart: a reload that leaves a place as it is leaves its keys too.
pub struct Sources {
    all: Mutex<HashMap<String, Arc<Source>>>,
    told: Arc<Told>,
}

impl Sources {
    /// None yet; fetches are counted in `metrics`.
    pub fn new(metrics: &Metrics) -> Self {
        let told = Told {
            fetches: metrics.issuer_fetches.clone(),
            unknown: metrics.issuer_unknown_keys.clone(),
            age: metrics.issuer_keys_age.clone(),
            audit: None,
        };
        Self { all: Mutex::default(), told: Arc::new(told) }
    }

    /// Changes of key sets and failing fetches are told to `audit` too. To be said before anything is asked for.
    pub fn tell(&mut self, audit: Log, clock: Arc<dyn Clock>) {
        self.told = Arc::new(Told { audit: Some((audit, clock)), ..Told::clone(&self.told) });
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Arc<Source>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keys of `issuer`.
    pub fn of<'a>(&self, issuer: &'a Issuer) -> &'a Arc<Source> {
        issuer.source.get_or_init(|| {
            let mut all = self.all();
            let new = || Arc::new(Source::new(issuer, self.told.clone()));
            all.entry(issuer.identity.clone()).or_insert_with(new).clone()
        })
    }

    /// Asks for keys whose time has come, and forgets those of places that the policy does not name any more; to be
    /// called now and then.
    pub fn tend(&self, trusted: &Trusted) {
        if trusted.is_empty() && self.all().is_empty() {
            return;
        }
        trusted.iter().for_each(|issuer| self.of(issuer).tend(issuer));
        self.all().retain(|identity, _| trusted.iter().any(|issuer| issuer.identity == *identity));
    }

    /// Issuers whose keys are not known, or have not been for too long; and whether the node is not ready for that.
    pub fn unknown(&self, trusted: &Trusted) -> (Vec<Arc<str>>, bool) {
        let unknown: Vec<_> = trusted.iter().filter(|issuer| !self.of(issuer).holds(issuer)).collect();
        let needed = unknown.iter().any(|issuer| issuer.needed);
        let mut names: Vec<_> = unknown.into_iter().map(|issuer| issuer.name.clone()).collect();
        names.sort();
        (names, needed)
    }

    /// Sets the gauge of the keys' age.
    pub fn measure(&self, trusted: &Trusted) {
        for issuer in trusted.iter().filter(|issuer| !matches!(issuer.place, Place::File(_))) {
            let age = self.of(issuer).age().map_or(-1, |age| i64::try_from(age / 1000).unwrap_or(i64::MAX));
            self.told.age.with_label_values(&[&*issuer.name]).set(age);
        }
    }
}
