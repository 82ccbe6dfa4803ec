//! The parts put together from a configuration: for `portcullis run`, and for whoever embeds them in a proxy of their own.
use crate::{
    clock::{Clock, SystemClock, Timestamp},
    config::{Loaded, reload::Reloader},
    log::Log,
    metrics::Metrics,
    policy::{SharedPolicy, in_force::InForce},
    provider::Provider,
    secret::reference::Reference,
    store::{Backend, Store, StoreError},
    telemetry::{Options, Traced, Tracer},
    token::{Tokens, keys::Keyring, signer::Signer},
    upkeep::Upkeep,
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
    /// Traces requests, where that is on.
    pub tracer: Option<Arc<Tracer>>,
    /// What was issued, refused, ended.
    pub audit: Log,
}

/// Waits for `work` on a thread of its own: whoever embeds us may already be inside a runtime.
pub(crate) fn to_the_end<T: Send>(work: impl Future<Output = Result<T, String>> + Send) -> Result<T, String> {
    let run = || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?.block_on(work)
    };
    std::thread::scope(|scope| scope.spawn(run).join()).map_err(|_| "a thread of the start ended".to_owned())?
}

/// Reads what the collector's headers hold, and begins to send.
fn traced(options: Options, metrics: &Arc<Metrics>) -> Result<Arc<Tracer>, String> {
    let read = |(name, place): &(String, Reference)| {
        let value = place.read().map_err(|why| format!("the header {name} of [telemetry]: {why}"))?;
        Ok((name.clone(), value))
    };
    let headers = options.target.headers.iter().map(read).collect::<Result<_, String>>()?;
    Tracer::start(options, headers, metrics.clone()).map(Arc::new)
}

/// The parts' own [`Assembly::follow`]. First what is blocked: whoever waits for the revocations then knows both.
pub(crate) async fn follow(
    in_force: &InForce,
    tokens: &Tokens,
    store: &dyn Store,
    now: Timestamp,
) -> Result<(), StoreError> {
    in_force.follow(store, now).await?;
    tokens.follow(now).await
}

impl Assembly {
    /// Opens keys and store in the data folder and puts everything together; the error names the file.
    pub fn of(main: &Path, loaded: Loaded, audit: Log) -> Result<Self, String> {
        Self::signing_with(Vec::new(), main, loaded, audit)
    }

    /// The same where keys that live elsewhere sign: each of `outside` whatever its algorithm is asked for.
    pub fn signing_with(
        outside: Vec<Arc<dyn Signer>>,
        main: &Path,
        loaded: Loaded,
        audit: Log,
    ) -> Result<Self, String> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let metrics = Metrics::new();
        let data = &loaded.settings.data;
        std::fs::create_dir_all(data).map_err(|e| format!("{}: {e}", data.display()))?;
        let mut store = loaded.settings.store.open(data, Some(metrics.clone()))?;
        let tracer = loaded.settings.telemetry.clone().map(|options| traced(options, &metrics)).transpose()?;
        if tracer.is_some() {
            let system = match loaded.settings.store {
                Backend::Sqlite => "sqlite",
                Backend::Postgres { .. } => "postgresql",
            };
            store = Arc::new(Traced::of(store, system));
        }
        let keyring = Keyring::of(loaded.settings.keys.as_ref(), data, &store)?;
        let (keys, vault) = to_the_end(keyring.load(&*clock))?;
        let mut tokens = Tokens::new(Arc::new(keys), store.clone(), loaded.settings.cache_bytes, &metrics);
        tokens.issuers.tell(audit.clone(), clock.clone());
        tokens = tokens.stale_after(loaded.settings.store.stale_after()).with_keyring(keyring);
        let tokens = Arc::new(outside.into_iter().fold(tokens, Tokens::signing_with));
        let reloader = Arc::new(Reloader::new(main, loaded, clock.clone(), metrics.clone(), audit.clone()));
        let (policy, in_force) = (reloader.policy(), reloader.in_force());
        let (seen, at) = (metrics.clone(), clock.clone());
        let provider = Provider::new(policy.clone(), store.clone(), tokens.clone(), at, seen, audit.clone(), vault);
        let provider = Arc::new(provider.registering(in_force.clone()));
        Ok(Self { policy, in_force, provider, tokens, store, reloader, clock, metrics, tracer, audit })
    }

    /// What has to go on beside the requests.
    pub fn upkeep(&self) -> Upkeep {
        Upkeep {
            policy: self.policy.clone(),
            in_force: self.in_force.clone(),
            tokens: self.tokens.clone(),
            store: self.store.clone(),
            clock: self.clock.clone(),
            metrics: self.metrics.clone(),
            audit: self.audit.clone(),
            access: Log::off(),
        }
    }

    /// Takes up what other processes decided and ended since the last call; the first call reads everything.
    pub async fn follow(&self) -> Result<(), StoreError> {
        follow(&self.in_force, &self.tokens, &*self.store, self.clock.now()).await
    }
}
