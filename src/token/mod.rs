//! Access tokens: minted self-contained, opened once, then one cache hit a request.
pub mod assertion;
mod claims;
mod cold;
mod following;
mod foreign;
pub mod keys;
mod mint;
mod place;
pub mod proof;
mod replay;
pub mod revocation;
mod shared;
pub mod signer;
pub mod tally;
pub mod usage;
pub mod vault;

use crate::{
    clock::Timestamp,
    issuer::{Foreign, source::Sources},
    metrics::Metrics,
    model::{Level, network::Shown},
    secret,
    store::{Changes, Store, StoreError},
};
use arc_swap::ArcSwap;
pub use claims::{Claims, More, Special};
use following::Following;
pub use foreign::unverified;
use jsonwebtoken::{Algorithm, Validation};
use keys::{Keyring, Keys};
use place::Placed;
use prometheus::IntCounter;
use replay::Proofs;
use revocation::{Ending, Lifelines, Revocations};
pub use shared::Entitlement;
use shared::Shared;
use signer::Signer;
use siphasher::sip128::SipHasher24;
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU32, Ordering},
    },
    time::Duration,
};
use usage::{Usage, Used};

/// Longest token that is looked at, bytes.
pub const MAX_TOKEN_LENGTH: usize = 8 * 1024;
/// `typ` of asset tokens.
const ASSET: &str = "asset+jwt";

/// The epoch of what no key has opened, such as a session of the store.
const KEYLESS: u32 = u32::MAX;

const NEVER: Timestamp = Timestamp::FIRST;

/// An access token whose seal or signature holds.
#[derive(Debug)]
pub struct Opened {
    /// Which client may do what with it, and where.
    pub entitlement: Arc<Entitlement>,
    /// `sub`.
    pub subject: Box<str>,
    /// `jti`.
    pub jti: Box<str>,
    /// The authorization it was issued from, where one is kept.
    pub authorization: Option<Box<str>>,
    /// When the subject proved who they are, or [`NEVER`]: an option would take twice the room in a cache of millions.
    proved: Timestamp,
    /// `iat`.
    pub issued: Timestamp,
    /// `exp`.
    pub expires: Timestamp,
    /// What few tokens say: the key it is bound to, who acts.
    pub special: Option<Box<Special>>,
    generation: u32,
    /// How often keys had been ended when it was opened.
    epoch: u32,
    lifelines: Lifelines,
}

impl Opened {
    /// When the subject proved who they are, where they did.
    pub fn auth_time(&self) -> Option<Timestamp> {
        (self.proved != NEVER).then_some(self.proved)
    }

    /// What it shows that may excuse where a request comes from.
    pub fn shown(&self) -> Shown {
        let level = self.special.as_ref().map_or(Level::Standard, |special| special.more.level());
        Shown { level, refreshes: self.generation > 0 }
    }

    /// Whose token it is, where it is not ours.
    pub fn foreign(&self) -> Option<&Foreign> {
        self.special.as_ref()?.foreign.as_ref()
    }
}

/// Why a token does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// Not ours, or damaged.
    Invalid,
    /// Its time is over.
    Expired,
    /// It was ended.
    Revoked,
    /// Revocations are not known, so nothing can be decided.
    Unavailable,
}

/// Mints and opens access tokens.
pub struct Tokens {
    keys: ArcSwap<Keys>,
    keyring: Option<Keyring>,
    /// Sign in place of the own keys of their algorithms.
    outside: Vec<Arc<dyn Signer>>,
    /// One reading of the keys at a time, so that an older one never replaces a newer one.
    reading_keys: tokio::sync::Mutex<()>,
    /// Grows whenever keys end before their time: what was opened before is to be opened anew.
    epoch: AtomicU32,
    store: Arc<dyn Store>,
    revocations: Revocations,
    /// The latest time that was stamped here on anything, seconds.
    stamped: AtomicI64,
    good: moka::sync::Cache<u128, Arc<Opened>, Placed>,
    bad: moka::sync::Cache<u128, (), Placed>,
    opening: [Mutex<()>; cold::AT_ONCE],
    proofs: Proofs,
    following: Following,
    shared: Shared,
    usage: Usage,
    /// The usage view, as far as this process has counted it.
    pub tally: tally::Tally,
    /// The keys of other issuers.
    pub issuers: Sources,
    places: SipHasher24,
    hits: IntCounter,
    misses: IntCounter,
    negative: IntCounter,
}

impl Tokens {
    /// A cache bounded by `cache_bytes`. Call [`Self::load_revocations`] before opening.
    pub fn new(keys: Arc<Keys>, store: Arc<dyn Store>, cache_bytes: u64, metrics: &Metrics) -> Self {
        let evictions = metrics.cache_evictions.clone();
        let good = moka::sync::Cache::builder()
            .max_capacity(cache_bytes)
            .weigher(|_, o: &Arc<Opened>| place::weight(o))
            .eviction_listener(move |_, _, cause| {
                let cause = if cause == moka::notification::RemovalCause::Size { "size" } else { "ended" };
                evictions.with_label_values(&[cause]).inc();
            })
            .build_with_hasher(Placed::default());
        // Apart from the good ones, so that a flood of bad tokens pushes nothing out.
        let bad = moka::sync::Cache::builder().max_capacity(8192).time_to_live(Duration::from_secs(5));
        let bad = bad.build_with_hasher(Placed::default());
        let counter = |result: &str| metrics.cache.with_label_values(&[result]);
        Self {
            keys: ArcSwap::new(keys),
            keyring: None,
            outside: Vec::new(),
            reading_keys: tokio::sync::Mutex::default(),
            epoch: AtomicU32::new(0),
            store,
            revocations: Revocations::beside_a_cache_of(cache_bytes),
            stamped: AtomicI64::new(Timestamp::FIRST.0),
            good,
            bad,
            opening: std::array::from_fn(|_| Mutex::default()),
            proofs: Proofs::default(),
            following: Following::default(),
            shared: Shared::default(),
            usage: Usage::default(),
            tally: tally::Tally::new(metrics.usage_lost.clone()),
            issuers: Sources::new(metrics),
            places: SipHasher24::new_with_key(&secret::random::<16>()),
            hits: counter("hit"),
            misses: counter("miss"),
            negative: counter("negative"),
        }
    }

    /// Takes up changes of the keys from where they are kept.
    #[must_use]
    pub fn with_keyring(mut self, keyring: Keyring) -> Self {
        self.keyring = Some(keyring);
        self
    }

    /// Lets `signer` sign whatever its algorithm is asked for; its key is published beside the others. Rotation and
    /// emergencies of that key are its keeper's: the own keys go on being made, and seal opaque tokens.
    #[must_use]
    pub fn signing_with(mut self, signer: Arc<dyn Signer>) -> Self {
        self.outside.push(signer);
        self
    }

    /// Where the keys are kept.
    pub fn keyring(&self) -> Option<&Keyring> {
        self.keyring.as_ref()
    }

    /// Reads the keys anew; whether they had changed.
    pub async fn take_up_keys(&self, now: Timestamp) -> Result<bool, String> {
        let Some(keyring) = &self.keyring else { return Ok(false) };
        let _turn = self.reading_keys.lock().await;
        let keys = keyring.keys(now).await?;
        let known = self.keys.load();
        if keys.same_as(&known) {
            return Ok(false);
        }
        self.replace_keys(keys, now);
        Ok(true)
    }

    /// Takes up another set of keys: tokens made by the old one open as long as the new set holds their key.
    pub fn replace_keys(&self, keys: Keys, now: Timestamp) {
        let before = self.keys.load_full();
        let ends_some = !keys.opens_all_of(&before, now);
        self.keys.store(Arc::new(keys));
        if ends_some {
            self.epoch.fetch_add(1, Ordering::AcqRel);
        }
        // A token of a key that was not known yet is no bad one.
        self.bad.invalidate_all();
    }

    /// Takes published keys into use whose time has come; to be called now and then.
    pub fn advance_keys(&self, now: Timestamp) {
        self.keys.load().advance(now);
    }

    /// Forgets what ended tokens that have expired anyway; to be called now and then.
    pub fn forget_expired(&self, now: Timestamp) {
        self.revocations.forget(now);
    }

    /// Opens a token: a cache hit, or its seal or signature checked once for all who wait.
    pub fn open(&self, token: &str, now: Timestamp) -> Result<Arc<Opened>, OpenError> {
        self.open_bytes(token.as_bytes(), now)
    }

    /// The same for bytes that may be no text at all.
    pub fn open_bytes(&self, token: &[u8], now: Timestamp) -> Result<Arc<Opened>, OpenError> {
        if !self.ready() {
            return Err(OpenError::Unavailable);
        }
        if token.len() > MAX_TOKEN_LENGTH {
            return Err(OpenError::Invalid);
        }
        // A keyed pseudorandom function: without the key nobody can look for two tokens that share a place.
        let digest = self.places.hash(token).as_u128();
        let opened = match self.known(&digest) {
            Some(known) => known?,
            None => self.open_once(token, digest, now)?,
        };
        if opened.expires <= now {
            self.good.invalidate(&digest);
        }
        self.alive(&opened, now)?;
        Ok(opened)
    }

    /// Whether no key has been ended since `known` was opened; otherwise it is forgotten.
    fn is_current(&self, known: &Opened, digest: &u128) -> bool {
        let current = known.epoch == self.epoch.load(Ordering::Acquire);
        if !current {
            self.good.invalidate(digest);
        }
        current
    }

    /// Whether what was opened still holds.
    pub fn alive(&self, opened: &Opened, now: Timestamp) -> Result<(), OpenError> {
        if !self.ready() {
            return Err(OpenError::Unavailable);
        }
        if opened.expires <= now {
            return Err(OpenError::Expired);
        }
        if opened.epoch != KEYLESS && opened.epoch != self.epoch.load(Ordering::Acquire) {
            return Err(OpenError::Revoked);
        }
        let authorization = opened.authorization.as_deref().unwrap_or(&opened.jti);
        let names = [&*opened.jti, authorization, &*opened.entitlement.client, &*opened.subject];
        if self.revocations.has_ended(opened.lifelines, opened.issued, names) {
            return Err(OpenError::Revoked);
        }
        let Some(special) = &opened.special else { return Ok(()) };
        if self.revocations.a_tie_has_ended(&special.ties, opened.issued, &special.more.tied_to) {
            return Err(OpenError::Revoked);
        }
        special.foreign.as_ref().map_or(Ok(()), foreign::stands)
    }

    /// Ends one token, durably and then at the gate.
    pub async fn revoke(&self, opened: &Opened, now: Timestamp) -> Result<(), StoreError> {
        self.end(Ending::of(format!("token/{}", opened.jti), opened.expires), now).await
    }

    /// Whether what `client` got for `subject` at `issued` has been taken back since.
    pub fn access_has_ended(&self, client: &str, subject: &str, issued: Timestamp) -> bool {
        self.revocations.has_ended_access(client, subject, issued)
    }

    /// Whether somebody signed out of the sign-on session `sid`; one that ran out by itself is not known here.
    pub fn signed_out(&self, sid: &str) -> bool {
        self.revocations.session_has_ended(sid)
    }

    /// Ends every token issued to `target` (`client/…`, `subject/…`) up to `now`.
    pub async fn end_all(&self, target: &str, longest_life: i64, now: Timestamp) -> Result<(), StoreError> {
        self.end(Ending { target: target.to_owned(), before: now, until: now.plus(longest_life) }, now).await
    }

    async fn end(&self, ending: Ending, now: Timestamp) -> Result<(), StoreError> {
        self.commit(Changes::default(), vec![ending], now).await
    }

    /// One commit of `changes` and `endings`; the endings are felt at the gate when it is durable.
    pub async fn commit(&self, changes: Changes, endings: Vec<Ending>, now: Timestamp) -> Result<(), StoreError> {
        let endings = self.over_what_was_stamped(endings);
        Ending::commit(&endings, changes, &*self.store, now).await?;
        self.feel(&endings);
        // Whoever began meanwhile may have decided by what had not ended yet.
        let stamped = self.stamped();
        let late: Vec<Ending> = endings.iter().filter_map(|ending| ending.over(stamped)).collect();
        if late.is_empty() {
            return Ok(());
        }
        self.feel(&late);
        Ending::widen(&late, &*self.store, now).await
    }

    /// From here on `endings` are felt at the gate.
    fn feel(&self, endings: &[Ending]) {
        for ending in endings {
            self.revocations.end(ending);
        }
    }

    fn over_what_was_stamped(&self, endings: Vec<Ending>) -> Vec<Ending> {
        let stamped = self.stamped();
        endings.into_iter().map(|ending| ending.over(stamped).unwrap_or(ending)).collect()
    }

    /// A request begins that may stamp `now` on what it makes.
    pub fn stamp(&self, now: Timestamp) {
        self.stamped.fetch_max(now.0, Ordering::AcqRel);
    }

    /// The latest time that anything made here may bear.
    fn stamped(&self) -> Timestamp {
        Timestamp(self.stamped.load(Ordering::Acquire))
    }

    /// The newest use of an authorization's tokens.
    pub async fn used(&self, authorization: &str, now: Timestamp) -> Result<Option<Used>, StoreError> {
        self.usage.of(authorization, &*self.store, now).await
    }

    /// Writes down which authorizations have been used; to be called now and then.
    pub async fn write_down_uses(&self, now: Timestamp) -> Result<(), StoreError> {
        self.usage.write_down(&*self.store, now).await
    }
}

/// Signature alone: times and audience are judged by our clock and our rules.
pub(crate) fn signature_only(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    validation
}
