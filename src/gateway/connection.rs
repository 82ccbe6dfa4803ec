//! From an accepted socket to requests: TLS, and deadlines that Pingora does not keep.
use super::{
    ctx::{HeaderSeen, KEEPALIVE},
    http2,
    proxy::Gateway,
};
use crate::{config::certificate::Certificates, metrics::Metrics};
use arc_swap::ArcSwap;
use pingora::{
    apps::{HttpServerApp, ServerApp},
    listeners::tls::Acceptor,
    protocols::{ALPN, Stream, http::ServerSession},
    proxy::HttpProxy,
    server::ShutdownWatch,
};
use rustls::{
    ServerConfig,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::Semaphore;

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

/// What stands before the proxy on an HTTPS listener.
pub struct Front {
    proxy: Arc<HttpProxy<Gateway>>,
    acceptor: Acceptor,
    limits: Limits,
    room: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

impl Front {
    /// Serves `proxy` behind the certificates in force.
    pub fn new(
        proxy: HttpProxy<Gateway>,
        certificates: Arc<ArcSwap<Certificates>>,
        limits: Limits,
        metrics: Arc<Metrics>,
    ) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(BySni(certificates)));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            proxy: Arc::new(proxy),
            acceptor: Acceptor::from_server_config(Arc::new(config)),
            limits,
            room: Arc::new(Semaphore::new(limits.connections)),
            metrics,
        })
    }

    /// HTTP/1: each header must be whole within its time, however slowly its bytes drip.
    async fn http1(&self, stream: Stream, shutdown: &ShutdownWatch) {
        let mut next = Some((stream, None));
        while let Some((stream, settings)) = next.take() {
            let mut session = ServerSession::new_http1(stream);
            session.set_keepalive(if *shutdown.borrow() { None } else { Some(KEEPALIVE) });
            if let Some(settings) = settings {
                pingora::apps::HttpPersistentSettings::apply_to_session(settings, &mut session);
            }
            let seen = Arc::new(AtomicBool::new(false));
            session.set_connection_user_context(Some(Box::new(HeaderSeen::new(seen.clone()))));
            let work = self.proxy.process_new_http(session, shutdown);
            // A connection may first be idle for the time that keep-alive grants.
            let limit = self.limits.header + Duration::from_secs(KEEPALIVE);
            let late = async {
                tokio::time::sleep(limit).await;
                if seen.load(Ordering::Acquire) {
                    std::future::pending::<()>().await;
                }
            };
            next = tokio::select! {
                done = work => done.map(pingora::apps::ReusedHttpStream::consume),
                () = late => None,
            };
        }
    }
}

#[async_trait::async_trait]
impl ServerApp for Front {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let Ok(_room) = self.room.clone().try_acquire_owned() else {
            self.metrics.connections_refused.inc();
            return None;
        };
        // Plain sockets come from the listener; anything else is a mistake in the wiring.
        let socket = stream.into_any().downcast::<pingora::protocols::l4::stream::Stream>().ok()?;
        let _open = self.metrics.connection_opened();
        let handshake = tokio::time::timeout(self.limits.handshake, self.acceptor.tls_handshake(*socket));
        let stream = match handshake.await {
            Ok(Ok(stream)) => stream,
            Ok(Err(_)) | Err(_) => {
                self.metrics.handshakes_failed.inc();
                return None;
            }
        };
        let stream: Stream = Box::new(stream);
        if matches!(stream.selected_alpn_proto(), Some(ALPN::H2)) {
            http2::serve(&self.proxy, stream, shutdown, self.limits).await;
            return None;
        }
        self.http1(stream, shutdown).await;
        None
    }

    async fn cleanup(&self) {
        self.proxy.http_cleanup().await;
    }
}

/// Chooses the certificate by SNI from those in force at the handshake.
#[derive(Debug)]
struct BySni(Arc<ArcSwap<Certificates>>);

impl ResolvesServerCert for BySni {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load().find(hello.server_name())
    }
}
