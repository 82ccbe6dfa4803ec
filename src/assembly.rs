//! The parts put together from a configuration: for `portcullis run`, and for whoever embeds them in a proxy of their own.
use crate::{
    clock::{Clock, SystemClock},
    config::{Loaded, reload::Reloader},
    log::Log,
    metrics::Metrics,
    policy::{SharedPolicy, in_force::InForce},
    provider::Provider,
    store::{Store, StoreError},
    token::{Tokens, keys::Keyring},
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

/// Waits for `work` on a thread of its own: whoever embeds us may already be inside a runtime.
fn to_the_end<T: Send>(work: impl Future<Output = Result<T, String>> + Send) -> Result<T, String> {
    let run = || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?.block_on(work)
    };
    std::thread::scope(|scope| scope.spawn(run).join()).map_err(|_| "a thread of the start ended".to_owned())?
}

impl Assembly {
    /// Opens keys and store in the data folder and puts everything together; the error names the file.
    pub fn of(main: &Path, loaded: Loaded, audit: Log) -> Result<Self, String> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let metrics = Metrics::new();
        let data = &loaded.settings.data;
        std::fs::create_dir_all(data).map_err(|e| format!("{}: {e}", data.display()))?;
        let store = loaded.settings.store.open(data, Some(metrics.clone()))?;
        let keyring = Keyring::of(loaded.settings.keys.as_ref(), data, &store)?;
        let (keys, vault) = to_the_end(keyring.load(&*clock))?;
        let tokens = Tokens::new(Arc::new(keys), store.clone(), loaded.settings.cache_bytes, &metrics);
        let tokens = Arc::new(tokens.stale_after(loaded.settings.store.stale_after()).with_keyring(keyring));
        let reloader = Arc::new(Reloader::new(main, loaded, clock.clone(), metrics.clone(), audit.clone()));
        let (policy, in_force) = (reloader.policy(), reloader.in_force());
        let provider =
            Provider::new(policy.clone(), store.clone(), tokens.clone(), clock.clone(), metrics.clone(), audit, vault);
        let provider = Arc::new(provider.registering(in_force.clone()));
        Ok(Self { policy, in_force, provider, tokens, store, reloader, clock, metrics })
    }

    /// Takes up what other processes decided and ended since the last call; the first call reads everything.
    pub async fn follow(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        // First what is blocked: whoever waits for the revocations then knows both.
        self.in_force.follow(&*self.store, now).await?;
        self.tokens.follow(now).await
    }
}
