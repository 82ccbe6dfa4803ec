//! Probes: asks the addresses of upstreams that want it how they are.
use super::upstream::Peers;
use crate::{
    metrics::Metrics,
    policy::{
        SharedPolicy,
        route::{Balance, Probe, Route},
    },
};
use http::header::{HOST, USER_AGENT};
use pingora::{
    connectors::http::Connector, http::RequestHeader, prelude::*, server::ShutdownWatch,
    services::background::BackgroundService,
};
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// Between two looks at which probes are due.
const TICK: Duration = Duration::from_millis(100);

/// Probes whatever the policy in force wants probed.
pub struct Health {
    /// The policy in force.
    pub policy: SharedPolicy,
    /// The ways to upstreams, shared with the gate.
    pub peers: Arc<Peers>,
    /// What is well is shown here.
    pub metrics: Arc<Metrics>,
}

#[async_trait::async_trait]
impl BackgroundService for Health {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let connector = Arc::new(Connector::new(None));
        let mut due: HashMap<Arc<str>, Instant> = HashMap::new();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                _ = shutdown.changed() => return,
            }
            let policy = self.policy.load_full();
            let now = Instant::now();
            due.retain(|name, _| policy.routes.iter().any(|route| route.name == *name));
            for route in policy.routes.iter() {
                let Some(balance) = &route.upstream.balance else { continue };
                self.peers.pool(balance, route).measure(&route.name, &self.metrics, now);
                let Some(probe) = &balance.probe else { continue };
                if due.get(&route.name).is_some_and(|at| *at > now) {
                    continue;
                }
                due.insert(route.name.clone(), now + probe.interval);
                for at in 0..route.upstream.addresses.len() {
                    let (peers, route, balance) = (self.peers.clone(), route.clone(), balance.clone());
                    let (connector, probe) = (connector.clone(), probe.clone());
                    tokio::spawn(async move { look(&peers, &connector, &route, &balance, &probe, at).await });
                }
            }
        }
    }
}

async fn look(peers: &Peers, connector: &Connector, route: &Route, balance: &Balance, probe: &Probe, at: usize) {
    let asked = tokio::time::timeout(probe.timeout, ask(peers, connector, route, probe, at)).await;
    let good = matches!(asked, Ok(Ok(status)) if probe.statuses.contains(&status));
    if peers.pool(balance, route).probed(at, good, probe) {
        let word = if good { "is back" } else { "is out" };
        let address = &route.upstream.addresses[at];
        log::warn!("route {}: {address} {word}: {asked:?}", route.name);
    }
}

async fn ask(peers: &Peers, connector: &Connector, route: &Route, probe: &Probe, at: usize) -> Result<u16> {
    let peer = peers.peer(route, at, 0).await?;
    let (mut session, _) = connector.get_http_session(&*peer).await?;
    let mut request = RequestHeader::build("GET", probe.path.as_bytes(), Some(2))?;
    let upstream = &route.upstream;
    let name = upstream.tls_name.clone().unwrap_or_else(|| upstream.addresses[at].to_string());
    request.insert_header(HOST, name)?;
    request.insert_header(USER_AGENT, "portcullis-probe")?;
    session.write_request_header(Box::new(request)).await?;
    session.finish_request_body().await?;
    session.read_response_header().await?;
    let status = session.response_header().map_or(0, |r| r.status.as_u16());
    while session.read_response_body().await?.is_some() {}
    connector.release_http_session(session, &*peer, None).await;
    Ok(status)
}
