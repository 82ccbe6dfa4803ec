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
    config::{Loaded, reload::Reloader, server::Settings},
    log::Log,
    telemetry::Tracer,
    upkeep::Upkeep,
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
    time::Duration,
};

/// Between two looks at whether the supervisor may be told that requests are served.
const TOLD: Duration = Duration::from_millis(200);
const DRAIN_POLL: Duration = Duration::from_millis(100);
/// Polls that idle connections get to be closed.
const IDLE_POLLS: u32 = 20;
/// Polls without anything in flight before the end: a connection that was just taken may not have been counted yet.
const QUIET_POLLS: u32 = 5;
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
    let upkeep = Upkeep { access: access_log.clone(), ..assembly.upkeep() };
    let peers = Arc::new(Peers::default());
    let proxies = Proxies { trusted: settings.trusted_proxies.clone(), listeners: settings.proxy_protocol.clone() };
    let gateway = Gateway {
        access_log,
        peers: peers.clone(),
        pace: Pace { pause: settings.body_timeout },
        proxies: proxies.clone(),
        ..Gateway::of(&assembly)
    };
    let Assembly { policy, in_force, tokens, store, reloader, clock, metrics, tracer, .. } = assembly;
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
    let process = Process { upkeep, reloader, draining, handover, tracer };
    server.add_service(background_service("upkeep", process));
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

/// The process around the requests: its signals, and its end.
struct Process {
    upkeep: Upkeep,
    reloader: Arc<Reloader>,
    draining: Arc<AtomicBool>,
    /// Where listeners are handed over.
    handover: PathBuf,
    /// What has spans to send.
    tracer: Option<Arc<Tracer>>,
}

impl Process {
    /// Starts the next process and hands it the listeners.
    fn hand_over(&self) -> impl Future<Output = ()> + use<> {
        let (place, audit, clock) = (self.handover.clone(), self.upkeep.audit.clone(), self.upkeep.clock.clone());
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
        let metrics = &self.upkeep.metrics;
        let (mut polls, mut quiet) = (0, 0);
        loop {
            tokio::time::sleep(DRAIN_POLL).await;
            polls += 1;
            // Idle connections are being closed meanwhile, so that nobody writes a request into one that ends with us.
            let idle = metrics.connections.get() == 0 || polls >= IDLE_POLLS;
            quiet = if metrics.in_flight.get() == 0 && idle { quiet + 1 } else { 0 };
            if quiet >= QUIET_POLLS {
                self.upkeep.end().await;
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
impl BackgroundService for Process {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        use tokio::signal::unix::{SignalKind, signal};
        // SIGHUP would end the process if nobody took it.
        let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
        let Ok(mut upgrade) = signal(SignalKind::user_defined2()) else { return };
        let upkeep = self.upkeep.clone();
        tokio::spawn(async move { upkeep.run().await });
        let mut tick = tokio::time::interval(TOLD);
        let mut known = false;
        loop {
            tokio::select! {
                _ = tick.tick() => {
                    let ready = self.upkeep.tokens.ready();
                    if ready && !known {
                        handover::serving();
                    }
                    known = ready;
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

/// For a host of its own: until the process is asked to end.
#[async_trait::async_trait]
impl BackgroundService for Upkeep {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        tokio::select! {
            () = self.run() => {}
            _ = shutdown.changed() => self.end().await,
        }
    }
}
