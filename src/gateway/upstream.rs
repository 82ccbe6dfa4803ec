//! The way to an upstream: the next address, resolved, with the authorities that its certificate must come from.
use crate::{
    policy::route::{Address, Authorities, Balance, Buckets, Limit, Pool, Protocol, Route},
    secret::Digest,
};
use pingora::{
    prelude::*,
    utils::tls::{WrappedX509, parse_x509},
};
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

/// How long a name's addresses are kept.
const RESOLVED: Duration = Duration::from_secs(10);

/// Pools and buckets kept before those that no policy uses any more are let go.
const KEPT: usize = 1024;

type Parsed = Arc<[WrappedX509]>;

/// What has been found out on the way to upstreams, and need not be found out for every request.
pub struct Peers {
    /// Certificate authorities in Pingora's form.
    authorities: moka::sync::Cache<Digest, Parsed>,
    /// Addresses by name and port.
    resolved: moka::future::Cache<String, Arc<[SocketAddr]>>,
    /// What is known of balanced addresses: it survives a reload.
    pools: Mutex<HashMap<String, Arc<Pool>>>,
    /// What limits have counted: it survives a reload.
    buckets: Mutex<HashMap<String, Arc<Buckets>>>,
}

impl Default for Peers {
    fn default() -> Self {
        Self {
            authorities: moka::sync::Cache::new(1024),
            resolved: moka::future::Cache::builder().max_capacity(1024).time_to_live(RESOLVED).build(),
            pools: Mutex::default(),
            buckets: Mutex::default(),
        }
    }
}

impl Peers {
    /// The next address of `route`'s upstream, in turn. `attempt` counts from 0 what one request has tried; beginning
    /// with the second it goes on from the address before, whoever else takes his turn meanwhile.
    pub async fn next(&self, route: &Route, attempt: &mut Attempt) -> Result<Box<HttpPeer>> {
        let upstream = &route.upstream;
        let turn = match *attempt {
            Attempt::First => route.turn.fetch_add(1, Ordering::Relaxed),
            Attempt::After(turn) => turn.wrapping_add(1),
        };
        *attempt = Attempt::After(turn);
        let count = upstream.addresses.len().max(1);
        self.peer(route, turn % count, turn / count).await
    }

    /// The address at `place`; `turn` chooses among those that its name resolves to.
    pub async fn peer(&self, route: &Route, place: usize, turn: usize) -> Result<Box<HttpPeer>> {
        let upstream = &route.upstream;
        let address = upstream.addresses.get(place);
        let address = address.ok_or_else(|| Error::explain(InternalError, "no address"))?;
        let socket = self.socket(address, turn).await?;
        let name = upstream.tls_name.clone();
        let mut peer = HttpPeer::new(socket, name.is_some(), name.unwrap_or_default());
        peer.options.connection_timeout = Some(upstream.connect_timeout);
        peer.options.total_connection_timeout = Some(upstream.connect_timeout * 2);
        peer.options.read_timeout = Some(upstream.read_timeout);
        peer.options.write_timeout = Some(upstream.read_timeout);
        if upstream.protocol != Protocol::Http1 {
            peer.options.set_http_version(2, 2);
        }
        if let Some(authorities) = &upstream.authorities {
            peer.options.ca = Some(self.parsed(authorities));
            // Connections verified under other authorities are not shared.
            peer.group_key = authorities.digest.0.iter().take(8).fold(0, |key, byte| (key << 8) | u64::from(*byte));
        }
        Ok(Box::new(peer))
    }

    /// What is known of the addresses of `route`'s balanced upstream.
    pub fn pool<'a>(&self, balance: &'a Balance, route: &Route) -> &'a Arc<Pool> {
        balance.pool.get_or_init(|| {
            let names = route.upstream.addresses.iter().map(ToString::to_string).collect();
            kept(&self.pools, format!("{} {}", route.name, balance.identity), || Pool::of(names))
        })
    }

    /// What `limit` has counted.
    pub fn buckets(&self, limit: &Limit) -> Arc<Buckets> {
        let made = || kept(&self.buckets, limit.identity(), || Buckets::new(limit.window));
        limit.buckets.get_or_init(made).clone()
    }

    /// Resolved here so that a name that does not resolve is an error of this request alone.
    async fn socket(&self, address: &Address, turn: usize) -> Result<SocketAddr> {
        let name = match address {
            Address::Socket(socket) => return Ok(*socket),
            Address::Name(name) => name,
        };
        let lookup = async { Ok::<_, std::io::Error>(tokio::net::lookup_host(name.as_str()).await?.collect()) };
        let all = self.resolved.try_get_with_by_ref(name.as_str(), lookup).await;
        let all = all.map_err(|e| Error::explain(ConnectError, format!("{name} does not resolve: {e}")))?;
        let count = all.len().max(1);
        all.get(turn % count).copied().ok_or_else(|| Error::explain(ConnectError, format!("{name} does not resolve")))
    }

    fn parsed(&self, authorities: &Authorities) -> Parsed {
        self.authorities.get_with(authorities.digest, || {
            authorities.certificates.iter().map(|c| WrappedX509::new(c.to_vec(), parse_x509)).collect()
        })
    }
}

/// What is kept under `identity`, or a new one.
fn kept<T>(all: &Mutex<HashMap<String, Arc<T>>>, identity: String, made: impl FnOnce() -> T) -> Arc<T> {
    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
    if all.len() > KEPT {
        all.retain(|_, one| Arc::strong_count(one) > 1);
    }
    all.entry(identity).or_insert_with(|| Arc::new(made())).clone()
}

/// Where one request stands with its upstream's addresses.
#[derive(Clone, Copy, Debug, Default)]
pub enum Attempt {
    /// It has tried none.
    #[default]
    First,
    /// It has tried the one of this turn last.
    After(usize),
}
