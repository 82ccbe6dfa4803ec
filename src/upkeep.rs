//! What goes on beside the requests, in `portcullis run` and in every proxy that embeds us.
use crate::{
    assembly::follow,
    clock::Clock,
    log::Log,
    metrics::Metrics,
    policy::{SharedPolicy, in_force::InForce},
    store::{Store, sweep::Sweeper},
    token::{Tokens, keys::Keyring},
};
use serde_json::json;
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::task::JoinSet;

/// How long a revocation by another process may go unnoticed where the store gives no hint.
const FEED_POLL: Duration = Duration::from_millis(200);
/// Rounds between two writings of the usage view: what a killed process loses at most, five seconds of counts.
const TALLY_EVERY: u32 = 25;
/// Rounds between two looks at keys that are kept in the store.
const KEYS_EVERY: u32 = 25;
/// Between two sweeps of the store; a sweep goes on until nothing expired is left.
const SWEEP_EVERY: Duration = Duration::from_secs(10);
/// Sweeps between two forgettings of what ended tokens that have expired.
const FORGET_EVERY: u32 = 6;

/// The upkeep of one [`crate::assembly::Assembly`]. Without it nothing that other processes end is felt, and after
/// `stale_after` nothing opens.
#[derive(Clone)]
pub struct Upkeep {
    /// Whose other issuers are asked for their keys.
    pub policy: SharedPolicy,
    /// What other processes decide is taken up there.
    pub in_force: Arc<InForce>,
    /// What they end, there.
    pub tokens: Arc<Tokens>,
    /// What is swept, and written down.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What was lost and swept is counted here.
    pub metrics: Arc<Metrics>,
    /// The audit stream.
    pub audit: Log,
    /// The access log.
    pub access: Log,
}

impl Upkeep {
    /// Goes on until it is dropped.
    pub async fn run(&self) {
        let mut beside = JoinSet::new();
        let (following, sweeping) = (self.clone(), self.clone());
        beside.spawn(async move { following.follow().await });
        beside.spawn(async move { sweeping.sweep().await });
        self.tend().await;
    }

    /// Writes down what would be lost with the process.
    pub async fn end(&self) {
        // A store that does not answer now costs some counts.
        let _ = self.tokens.tally.write_down(&*self.store, self.clock.now()).await;
        [&self.access, &self.audit].into_iter().for_each(Log::flush);
    }

    async fn tend(&self) {
        let mut tick = tokio::time::interval(FEED_POLL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut round = 0_u32;
        let mut keys = None;
        loop {
            tick.tick().await;
            self.keys(&mut keys, round.is_multiple_of(KEYS_EVERY)).await;
            self.tokens.issuers.tend(&self.policy.load().issuers);
            let _ = self.tokens.write_down_uses(self.clock.now()).await;
            for (name, log) in [("access", &self.access), ("audit", &self.audit)] {
                let counter = self.metrics.log_lines_lost.with_label_values(&[name]);
                counter.inc_by(log.lost().saturating_sub(counter.get()));
            }
            round = round.wrapping_add(1);
            if round.is_multiple_of(TALLY_EVERY) {
                let _ = self.tokens.tally.write_down(&*self.store, self.clock.now()).await;
            }
        }
    }

    /// Takes up keys that were rotated, and published ones whose time has come; damaged ones are left, and the old go on.
    async fn keys(&self, known: &mut Option<SystemTime>, due: bool) {
        let now = self.clock.now();
        self.tokens.advance_keys(now);
        // Where they are in the store, its feed has told already: this is for certain.
        let written = self.tokens.keyring().and_then(Keyring::written);
        if written != *known || written.is_none() && due {
            *known = written;
            let (word, detail) = match self.tokens.take_up_keys(now).await {
                Ok(false) => return,
                Ok(true) => ("taken up", None),
                Err(why) => ("refused", Some(why)),
            };
            self.audit.write(json!({"event": "keys", "outcome": word, "detail": detail, "time": now}));
        }
    }

    /// Takes up what other nodes announce: at once where the store tells of it, at the next poll for certain.
    async fn follow(&self) {
        let mut known = false;
        loop {
            let outcome = follow(&self.in_force, &self.tokens, &*self.store, self.clock.now()).await;
            if self.tokens.ready() != known {
                known = !known;
                let word = if known { "known" } else { "stale" };
                let detail = outcome.as_ref().err().map(ToString::to_string);
                let event = json!({"event": "revocations", "outcome": word, "behind_ms": self.tokens.behind(),
                    "detail": detail, "time": self.clock.now()});
                self.audit.write(event);
                log::warn!("revocations of other nodes are {word}");
            }
            // A store that does not answer is tried again at the next tick.
            let _ = tokio::time::timeout(FEED_POLL, self.store.feed_grown()).await;
        }
    }

    /// Removes what has expired, beside everything else: from the store, and what ended tokens from memory.
    async fn sweep(&self) {
        let mut sweeper = Sweeper::new(self.clock.now());
        let mut round = 0_u32;
        // At once: from then on the store says until when it was swept.
        loop {
            round = round.wrapping_add(1);
            // A store that does not answer is swept the next time.
            if let Ok((gone, over)) = sweeper.sweep(&*self.store, self.clock.now()).await {
                self.metrics.swept.inc_by(gone as u64);
                if round.is_multiple_of(FORGET_EVERY) {
                    self.tokens.forget_expired(over);
                }
            }
            tokio::time::sleep(SWEEP_EVERY).await;
        }
    }
}
