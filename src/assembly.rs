//! The parts put together from a configuration: for `portcullis run`, and for whoever embeds them in a proxy of their own.
use crate::{
    clock::{Clock, SystemClock},
    config::{Loaded, reload::Reloader},
    log::Log,
    metrics::Metrics,
    policy::{SharedPolicy, in_force::InForce},
    provider::Provider,
    store::{Store, StoreError},
    token::{Tokens, keys::Keys, vault::Vault},
};
use std::{path::Path, sync::Arc};

/// Provider, tokens and policy that belong together.
pub struct Assembly {
    /// The policy in force; a request loads it once.
    pub policy: SharedPolicy,
    /// What that policy is made of: the configuration, and what was decided while it runs.
    pub in_force: Arc<InForce>,
    /// The authorization server.
    pub provider: Arc<Provider>,
    /// Opener of tokens, for the guard. Nothing opens before [`Assembly::follow`] has been called once.
    pub tokens: Arc<Tokens>,
    /// What outlives the process.
    pub store: Arc<dyn Store>,
    /// Takes up changed files.
    pub reloader: Arc<Reloader>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What Prometheus sees.
    pub metrics: Arc<Metrics>,
}

impl Assembly {
    /// Opens keys and store in the data folder and puts everything together; the error names the file.
    pub fn of(main: &Path, loaded: Loaded, audit: Log) -> Result<Self, String> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let metrics = Metrics::new();
        let data = &loaded.settings.data;
        std::fs::create_dir_all(data).map_err(|e| format!("{}: {e}", data.display()))?;
        let store = loaded.settings.store.open(data, Some(metrics.clone()))?;
        let vault = Vault::load_or_create(data)?;
        let keys = Arc::new(Keys::load_or_create(data, &*clock)?);
        let tokens = Tokens::new(keys, store.clone(), loaded.settings.cache_bytes, &metrics);
        let tokens = Arc::new(tokens.stale_after(loaded.settings.store.stale_after()));
        let reloader = Arc::new(Reloader::new(main, loaded, clock.clone(), metrics.clone(), audit.clone()));
        let (policy, in_force) = (reloader.policy(), reloader.in_force());
        let provider =
            Provider::new(policy.clone(), store.clone(), tokens.clone(), clock.clone(), metrics.clone(), audit, vault);
        Ok(Self { policy, in_force, provider: Arc::new(provider), tokens, store, reloader, clock, metrics })
    }

    /// Takes up what other processes decided and ended since the last call; the first call reads everything.
    pub async fn follow(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        // First what is blocked: whoever waits for the revocations then knows both.
        self.in_force.follow(&*self.store, now).await?;
        self.tokens.follow(now).await
    }
}
