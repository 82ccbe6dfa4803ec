//! The process: listeners, signals, what runs beside them, and the end.
use super::{
    admin::{Admin, Echo, Redirect},
    admin_api,
    connection::{Front, Limits, Proxies},
    handover,
    health::Health,
    pace::Pace,
    plain::Plain,
    proxy::Gateway,
    upstream::Peers,
};
use crate::{
    admin::{Here, api::Api},
    assembly::{Assembly, follow, to_the_end},
    clock::Clock,
    config::{Loaded, reload::Reloader, server::Settings},
    log::Log,
    metrics::Metrics,
    policy::in_force::InForce,
    store::{Store, sweep::Sweeper},
    telemetry::Tracer,
    token::{Tokens, keys::Keyring},
};
use pingora::{
    apps::ServerApp,
    proxy::HttpProxy,
    server::{
        RunArgs, Server, ShutdownWatch,
        configuration::{Opt, ServerConf},
    },
    services::{background::BackgroundService, background::background_service, listening::Service},
};
use serde_json::json;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

/// How long a revocation by another process may go unnoticed where the store gives no hint.
const FEED_POLL: Duration = Duration::from_millis(200);
const DRAIN_POLL: Duration = Duration::from_millis(100);
/// Polls that idle connections get to be closed.
const IDLE_POLLS: u32 = 20;
/// Polls without anything in flight before the end: a connection that was just taken may not have been counted yet.
const QUIET_POLLS: u32 = 5;
/// Rounds between two writings of the usage view: what a killed process loses at most, five seconds of counts.
const TALLY_EVERY: u32 = 25;
/// Rounds between two looks at keys that are kept in the store.
const KEYS_EVERY: u32 = 25;
/// Between two sweeps of the store; a sweep goes on until nothing expired is left.
const SWEEP_EVERY: Duration = Duration::from_secs(10);
/// Sweeps between two forgettings of what ended tokens that have expired.
const FORGET_EVERY: u32 = 6;

/// Serves until asked to end; the error says what could not be started. With `upgrade`, the listeners come from the
/// process that serves now.
pub fn run(main: &Path, loaded: Loaded, upgrade: bool) -> Result<(), String> {
    crate::log::take_diagnostics();
    let settings = loaded.settings.clone();
    let (access_log, audit) = logs(&settings)?;
    let assembly = Assembly::of(main, loaded, audit.clone())?;
    // What was ended before is known before the first request comes: the process before this one hands over its
    // listeners at once. A store that does not answer is asked again, and until it does the gate answers 503.
    let _ = to_the_end(async { assembly.follow().await.map_err(|e| e.to_string()) });
    let Assembly { policy, in_force, provider, tokens, store, reloader, clock, metrics, tracer } = assembly;
    let peers = Arc::new(Peers::default());
    let proxies = Proxies { trusted: settings.trusted_proxies.clone(), listeners: settings.proxy_protocol.clone() };
    let gateway = Gateway {
        provider,
        tokens: tokens.clone(),
        policy: policy.clone(),
        clock: clock.clone(),
        metrics: metrics.clone(),
        access_log: access_log.clone(),
        peers: peers.clone(),
        pace: Pace { pause: settings.body_timeout },
        proxies: proxies.clone(),
        tracer: tracer.clone(),
    };
    if !upgrade {
        free(&settings)?;
    }
    let handover = handover::socket(&settings.data)?;

    let conf = ServerConf {
        threads: settings.threads,
        // Upkeep ends the process earlier, when nothing is in flight any more.
        grace_period_seconds: Some(settings.grace.as_secs()),
        graceful_shutdown_timeout_seconds: Some(1),
        // Nobody but us may offer this process its listeners.
        upgrade_sock: handover.to_string_lossy().into_owned(),
        upstream_keepalive_pool_size: 512,
        ..ServerConf::default()
    };
    let options = Opt { upgrade, ..Opt::default() };
    let mut server = Server::new_with_opt_and_conf(options, conf);
    server.bootstrap();
    if upgrade {
        // The process before this one went on deciding while this one waited for its listeners.
        let anew = follow(&in_force, &tokens, &*store, clock.now());
        let _ = to_the_end(async { anew.await.map_err(|e| e.to_string()) });
    }
    let mut proxy = HttpProxy::new(gateway, server.configuration.clone());
    proxy.handle_init_modules();
    let limits = Limits {
        handshake: settings.handshake_timeout,
        header: settings.header_timeout,
        connections: settings.max_connections,
    };
    let front = Front::new(proxy, reloader.certificates(), limits, metrics.clone()).map_err(|e| e.to_string())?;
    let front = front.behind(proxies).asking(policy.clone());
    let room = front.room();
    let mut https = Service::new("https".to_owned(), front);
    settings.listen.iter().for_each(|address| https.add_tcp(&address.to_string()));
    server.add_service(https);
    if let Some(own) = &settings.admin_api {
        let api = Api {
            here: Here { tokens: tokens.clone(), in_force: in_force.clone() },
            store: store.clone(),
            clock: clock.clone(),
            metrics: metrics.clone(),
            audit: audit.clone(),
            audience: own.audience.clone(),
        };
        let tls = own.tls.then(|| admin_api::acceptor(reloader.certificates())).transpose();
        let listener = admin_api::Listener::new(api, tls.map_err(|e| e.to_string())?, limits, metrics.clone());
        let mut service = Service::new("admin api".to_owned(), listener);
        service.threads = Some(1);
        service.add_tcp(&own.listen.to_string());
        server.add_service(service);
    }
    let draining = Arc::new(AtomicBool::new(false));
    let admin = Admin {
        metrics: metrics.clone(),
        reloader: reloader.clone(),
        tokens: tokens.clone(),
        draining: draining.clone(),
    };
    server.add_service(plain("admin", Plain::new(admin, limits.header, metrics.clone()), &[settings.admin]));
    if !settings.redirect.is_empty() {
        let redirect = Plain::new(Redirect { policy: policy.clone() }, limits.header, metrics.clone());
        server.add_service(plain("redirect", redirect.within(room), &settings.redirect));
    }
    if let Some(address) = settings.example_api {
        server.add_service(plain("example api", Echo, &[address]));
    }
    let health = Health { policy: policy.clone(), peers, metrics: metrics.clone() };
    server.add_service(background_service("health", health));
    reloader.clone().watch().map_err(|e| format!("watching {}: {e}", main.display()))?;
    server.add_service(background_service(
        "upkeep",
        Upkeep {
            in_force,
            tokens,
            store,
            clock,
            reloader,
            draining,
            metrics,
            logs: [access_log, audit],
            handover,
            tracer,
        },
    ));
    server.run(RunArgs::default());
    Ok(())
}

fn logs(settings: &Settings) -> Result<(Log, Log), String> {
    let open = |place: &Option<PathBuf>, otherwise: fn() -> Log| match place {
        Some(path) => Log::file(path).map_err(|e| format!("{}: {e}", path.display())),
        None => Ok(otherwise()),
    };
    Ok((open(&settings.access_log, Log::stdout)?, open(&settings.audit_log, Log::stderr)?))
}

/// Pingora ends a process whose address is taken with a panic: say it in words first.
fn free(settings: &Settings) -> Result<(), String> {
    let all = settings.listen.iter().chain(&settings.redirect).chain([&settings.admin]).chain(&settings.example_api);
    for address in all.chain(settings.admin_api.iter().map(|a| &a.listen)) {
        std::net::TcpListener::bind(address).map_err(|e| format!("cannot listen on {address}: {e}"))?;
    }
    Ok(())
}

fn plain<A: ServerApp + Send + Sync + 'static>(name: &str, app: A, addresses: &[SocketAddr]) -> Service<A> {
    let mut service = Service::new(name.to_owned(), app);
    service.threads = Some(1);
    addresses.iter().for_each(|address| service.add_tcp(&address.to_string()));
    service
}

/// What goes on beside the requests.
struct Upkeep {
    in_force: Arc<InForce>,
    tokens: Arc<Tokens>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    reloader: Arc<Reloader>,
    draining: Arc<AtomicBool>,
    metrics: Arc<Metrics>,
    logs: [Log; 2],
    /// Where listeners are handed over.
    handover: PathBuf,
    /// What has spans to send.
    tracer: Option<Arc<Tracer>>,
}

impl Upkeep {
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
            self.logs[1].write(json!({"event": "keys", "outcome": word, "detail": detail, "time": now}));
        }
    }

    /// Takes up what other nodes announce: at once where the store tells of it, at the next poll for certain.
    fn follow(&self) -> impl Future<Output = ()> + use<> {
        let (tokens, store, clock) = (self.tokens.clone(), self.store.clone(), self.clock.clone());
        let in_force = self.in_force.clone();
        let audit = self.logs[1].clone();
        async move {
            let mut known = false;
            loop {
                let now = clock.now();
                let outcome = follow(&in_force, &tokens, &*store, now).await;
                if tokens.ready() != known {
                    known = !known;
                    if known {
                        handover::serving();
                    }
                    let word = if known { "known" } else { "stale" };
                    let detail = outcome.as_ref().err().map(ToString::to_string);
                    let event = json!({"event": "revocations", "outcome": word, "behind_ms": tokens.behind(),
                        "detail": detail, "time": clock.now()});
                    audit.write(event);
                    log::warn!("revocations of other nodes are {word}");
                }
                // A store that does not answer is tried again at the next tick.
                let _ = tokio::time::timeout(FEED_POLL, store.feed_grown()).await;
            }
        }
    }

    /// Removes what has expired, beside everything else: from the store, and what ended tokens from memory.
    fn sweep(&self) -> impl Future<Output = ()> + use<> {
        let (store, clock, metrics) = (self.store.clone(), self.clock.clone(), self.metrics.clone());
        let tokens = self.tokens.clone();
        let mut sweeper = Sweeper::new(clock.now());
        async move {
            let mut round = 0_u32;
            // At once: from then on the store says until when it was swept.
            loop {
                round = round.wrapping_add(1);
                // A store that does not answer is swept the next time.
                if let Ok((gone, over)) = sweeper.sweep(&*store, clock.now()).await {
                    metrics.swept.inc_by(gone as u64);
                    if round.is_multiple_of(FORGET_EVERY) {
                        tokens.forget_expired(over);
                    }
                }
                tokio::time::sleep(SWEEP_EVERY).await;
            }
        }
    }

    /// Starts the next process and hands it the listeners.
    fn hand_over(&self) -> impl Future<Output = ()> + use<> {
        let (place, audit, clock) = (self.handover.clone(), self.logs[1].clone(), self.clock.clone());
        async move {
            let (word, pid, detail) = match handover::begin(&place).await {
                Ok(pid) => ("handed over", Some(pid), None),
                Err(why) => ("refused", None, Some(why)),
            };
            let time = clock.now();
            audit.write(json!({"event": "upgrade", "outcome": word, "pid": pid, "detail": detail, "time": time}));
        }
    }

    /// Ends the process when the last request has been answered; Pingora alone would sit out the whole grace period.
    async fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        let (mut polls, mut quiet) = (0, 0);
        loop {
            tokio::time::sleep(DRAIN_POLL).await;
            polls += 1;
            // Idle connections are being closed meanwhile, so that nobody writes a request into one that ends with us.
            let idle = self.metrics.connections.get() == 0 || polls >= IDLE_POLLS;
            quiet = if self.metrics.in_flight.get() == 0 && idle { quiet + 1 } else { 0 };
            if quiet >= QUIET_POLLS {
                // A store that does not answer now costs some counts.
                let _ = self.tokens.tally.write_down(&*self.store, self.clock.now()).await;
                self.logs.iter().for_each(Log::flush);
                if let Some(tracer) = self.tracer.clone() {
                    // No longer than one message may take.
                    let _ = tokio::task::spawn_blocking(move || tracer.flush()).await;
                }
                std::process::exit(0);
            }
        }
    }
}

#[async_trait::async_trait]
impl BackgroundService for Upkeep {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        use tokio::signal::unix::{SignalKind, signal};
        // SIGHUP would end the process if nobody took it.
        let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
        let Ok(mut upgrade) = signal(SignalKind::user_defined2()) else { return };
        let mut tick = tokio::time::interval(FEED_POLL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        tokio::spawn(self.follow());
        tokio::spawn(self.sweep());
        let mut round = 0_u32;
        let mut keys = None;
        loop {
            tokio::select! {
                _ = tick.tick() => {
                    self.keys(&mut keys, round.is_multiple_of(KEYS_EVERY)).await;
                    self.tokens.issuers.tend(&self.reloader.policy().load().issuers);
                    let _ = self.tokens.write_down_uses(self.clock.now()).await;
                    round = round.wrapping_add(1);
                    if round.is_multiple_of(TALLY_EVERY) {
                        let _ = self.tokens.tally.write_down(&*self.store, self.clock.now()).await;
                    }
                }
                _ = hangup.recv() => {
                    let reloader = self.reloader.clone();
                    // The outcome is in the audit stream, the metrics and /readyz.
                    let _ = tokio::task::spawn_blocking(move || reloader.reload("SIGHUP").is_ok()).await;
                }
                _ = upgrade.recv() => drop(tokio::spawn(self.hand_over())),
                _ = shutdown.changed() => {
                    self.drain().await;
                    return;
                }
            }
        }
    }
}
