//! From an accepted socket to requests: TLS, and deadlines that Pingora does not keep.
use super::{
    client_certificate::{self, Arrived, Asking},
    ctx::KEEPALIVE,
    http2,
    proxy::Gateway,
    proxy_protocol,
    watch::Watch,
};
use crate::{
    config::certificate::Certificates,
    metrics::Metrics,
    model::Ranges,
    policy::{SharedPolicy, client_certificate::covers},
};
use arc_swap::ArcSwap;
use pingora::{
    apps::{HttpServerApp, ServerApp},
    listeners::tls::Acceptor,
    protocols::{ALPN, GetSocketDigest, Stream, http::ServerSession, l4::stream::Stream as L4Stream},
    proxy::{HttpProxy, ProxyHttp},
    server::ShutdownWatch,
};
use rustls::{
    ServerConfig,
    crypto::CryptoProvider,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::sync::Semaphore;

/// Versions of TLS that are spoken (RFC 9325 §3.1.1).
pub(super) const VERSIONS: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

/// What is spoken inside TLS, by ALPN.
pub(super) fn protocols() -> Vec<Vec<u8>> {
    vec![b"h2".to_vec(), b"http/1.1".to_vec()]
}

/// Limits of one listener's connections.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of a TLS handshake.
    pub handshake: Duration,
    /// Of a request's header, from its first byte.
    pub header: Duration,
    /// Of open connections.
    pub connections: usize,
}

/// Who stands in front, and may say who is behind.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    /// Whom to believe.
    pub trusted: Ranges,
    /// Listeners where each connection begins with a PROXY header.
    pub listeners: Vec<SocketAddr>,
}

impl Proxies {
    /// Whether connections to `local` begin with a PROXY header.
    fn speak_at(&self, local: Option<SocketAddr>) -> bool {
        local.is_some_and(|local| self.listeners.iter().any(|listener| covers(*listener, local)))
    }
}

/// How long after the listeners have closed a connection may still begin its first request.
const FIRST_WORD: Duration = Duration::from_secs(1);

/// What stands before the proxy on an HTTPS listener: the gate's, or one that it is hung into.
pub struct Front<P = Gateway> {
    proxy: Arc<HttpProxy<P>>,
    acceptor: Acceptor,
    provider: Arc<CryptoProvider>,
    shown: Arc<BySni>,
    policy: Option<SharedPolicy>,
    limits: Limits,
    proxies: Proxies,
    room: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

impl<P> Front<P>
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    /// Serves `proxy` behind the certificates in force.
    pub fn new(
        proxy: HttpProxy<P>,
        certificates: Arc<ArcSwap<Certificates>>,
        limits: Limits,
        metrics: Arc<Metrics>,
    ) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let shown = Arc::new(BySni(certificates));
        let mut config = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(VERSIONS)?
            .with_no_client_auth()
            .with_cert_resolver(shown.clone());
        config.alpn_protocols = protocols();
        Ok(Self {
            proxy: Arc::new(proxy),
            acceptor: Acceptor::from_server_config(Arc::new(config)),
            provider,
            shown,
            policy: None,
            limits,
            proxies: Proxies::default(),
            room: Arc::new(Semaphore::new(limits.connections)),
            metrics,
        })
    }

    /// The same, with proxies in front.
    #[must_use]
    pub fn behind(self, proxies: Proxies) -> Self {
        Self { proxies, ..self }
    }

    /// The same, asking for client certificates where the policy in force says so.
    #[must_use]
    pub fn asking(self, policy: SharedPolicy) -> Self {
        Self { policy: Some(policy), ..self }
    }

    /// The places of its connections, for listeners that share them.
    pub fn room(&self) -> Arc<Semaphore> {
        self.room.clone()
    }

    /// The handshake; where nobody is asked for a certificate it begins at once, otherwise its first message says for
    /// which host it is.
    async fn handshake(&self, mut socket: Box<L4Stream>) -> Option<(Stream, Option<Arc<Arrived>>)> {
        let rules = self.policy.as_ref().map(|policy| policy.load().client_certificates.clone());
        let rule = match rules.filter(|rules| !rules.is_empty()) {
            None => None,
            Some(rules) => {
                let name = client_certificate::server_name(&mut socket).await?;
                rules.find(name.as_deref(), local(&*socket)).cloned()
            }
        };
        let Some(rule) = rule else {
            return Some((Box::new(self.acceptor.tls_handshake(*socket).await.ok()?), None));
        };
        let asking = Asking::of(rule, self.provider.clone(), self.shown.clone()).ok()?;
        let stream = asking.acceptor().tls_handshake(*socket).await.ok()?;
        Some((Box::new(stream), Some(Arc::new(asking.over()))))
    }

    /// Takes off a PROXY header where one has to come; `None` if it does not, or from somebody who may not say it.
    async fn introduced(&self, socket: &mut L4Stream) -> Option<()> {
        if self.proxies.listeners.is_empty() {
            return Some(());
        }
        let digest = socket.get_socket_digest()?;
        if !self.proxies.speak_at(local(socket)) {
            return Some(());
        }
        let peer = digest.peer_addr().and_then(|a| a.as_inet())?.ip();
        if !self.proxies.trusted.contain(peer) {
            return None;
        }
        proxy_protocol::unwrap(socket).await
    }

    /// HTTP/1: each header must be whole within its time, however slowly its bytes drip.
    async fn http1(&self, stream: Stream, arrived: Option<Arc<Arrived>>, shutdown: &ShutdownWatch) {
        let mut next = Some((stream, None));
        while let Some((stream, settings)) = next.take() {
            let mut session = ServerSession::new_http1(stream);
            session.set_keepalive(if *shutdown.borrow() { None } else { Some(KEEPALIVE) });
            if let Some(settings) = settings {
                pingora::apps::HttpPersistentSettings::apply_to_session(settings, &mut session);
            }
            let watch = Arc::new(Watch::of(arrived.clone()));
            // A connection may first be idle for the time that keep-alive grants.
            let limit = self.limits.header + Duration::from_secs(KEEPALIVE);
            next = tokio::select! {
                done = watch.clone().over(self.proxy.process_new_http(session, shutdown)) => {
                    done.map(pingora::apps::ReusedHttpStream::consume)
                }
                () = watch.ended_or_late(limit) => None,
            };
        }
    }
}

#[async_trait::async_trait]
impl<P> ServerApp for Front<P>
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let Ok(_room) = self.room.clone().try_acquire_owned() else {
            self.metrics.connections_refused.inc();
            return None;
        };
        // Plain sockets come from the listener; anything else is a mistake in the wiring.
        let mut socket = stream.into_any().downcast::<L4Stream>().ok()?;
        let _open = self.metrics.connection_opened();
        let handshake = async {
            self.introduced(&mut socket).await?;
            self.handshake(socket).await
        };
        let (stream, arrived) = match tokio::time::timeout(self.limits.handshake, handshake).await {
            Ok(Some(made)) => made,
            Ok(None) | Err(_) => {
                self.metrics.handshakes_failed.inc();
                return None;
            }
        };
        if matches!(stream.selected_alpn_proto(), Some(ALPN::H2)) {
            http2::serve(&self.proxy, (stream, arrived), shutdown, self.limits).await;
            return None;
        }
        self.http1(stream, arrived, shutdown).await;
        None
    }

    async fn cleanup(&self) {
        // It drops whoever has not spoken yet, and who has just shaken hands is about to.
        tokio::time::sleep(FIRST_WORD).await;
        self.proxy.http_cleanup().await;
    }
}

/// The address that a connection was made to.
pub(super) fn local(socket: &(impl GetSocketDigest + ?Sized)) -> Option<SocketAddr> {
    socket.get_socket_digest()?.local_addr().and_then(|a| a.as_inet()).copied()
}

/// Chooses the certificate by SNI from those in force at the handshake.
#[derive(Debug)]
pub(super) struct BySni(pub(super) Arc<ArcSwap<Certificates>>);

impl ResolvesServerCert for BySni {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load().find(hello.server_name())
    }
}
