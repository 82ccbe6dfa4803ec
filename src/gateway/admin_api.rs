//! The admin API's listener: TLS or plain, HTTP/1.1, each step within its time.
use super::connection::{BySni, Limits};
use crate::{admin::api::Api, config::certificate::Certificates, metrics::Metrics};
use arc_swap::ArcSwap;
use bytes::{Bytes, BytesMut};
use http::{Request, Response, StatusCode};
use pingora::{
    apps::ServerApp,
    http::ResponseHeader,
    listeners::tls::Acceptor,
    prelude::*,
    protocols::{Stream, http::ServerSession},
    server::ShutdownWatch,
};
use rustls::ServerConfig;
use std::{sync::Arc, time::Duration};
use tokio::{sync::Semaphore, time::timeout};

/// Idle seconds that a connection is kept.
const KEEPALIVE: u64 = 10;
/// Largest body, bytes.
const MAX_BODY: usize = 64 << 10;
const BODY_TIME: Duration = Duration::from_secs(10);
/// Connections at one time: administrators are few.
const ROOM: usize = 64;

/// TLS with the certificates of the HTTPS listeners.
pub fn acceptor(certificates: Arc<ArcSwap<Certificates>>) -> Result<Acceptor, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(BySni(certificates)));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Acceptor::from_server_config(Arc::new(config)))
}

/// Hands requests to the API, and its answers back.
pub struct Listener {
    api: Api,
    tls: Option<Acceptor>,
    limits: Limits,
    room: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

impl Listener {
    /// Over TLS where there is an acceptor.
    pub fn new(api: Api, tls: Option<Acceptor>, limits: Limits, metrics: Arc<Metrics>) -> Self {
        Self { api, tls, limits, room: Arc::new(Semaphore::new(ROOM)), metrics }
    }

    async fn secured(&self, stream: Stream) -> Option<Stream> {
        let Some(acceptor) = &self.tls else { return Some(stream) };
        // Plain sockets come from the listener; anything else is a mistake in the wiring.
        let socket = stream.into_any().downcast::<pingora::protocols::l4::stream::Stream>().ok()?;
        match timeout(self.limits.handshake, acceptor.tls_handshake(*socket)).await {
            Ok(Ok(stream)) => Some(Box::new(stream)),
            Ok(Err(_)) | Err(_) => {
                self.metrics.handshakes_failed.inc();
                None
            }
        }
    }

    /// One request and its answer; the stream, where another may follow.
    async fn serve(&self, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let mut session = ServerSession::new_http1(stream);
        session.set_keepalive(if *shutdown.borrow() { None } else { Some(KEEPALIVE) });
        // A connection may first be idle for the time that keep-alive grants.
        let limit = self.limits.header + Duration::from_secs(KEEPALIVE);
        if !matches!(timeout(limit, session.read_request()).await, Ok(Ok(true))) {
            return None;
        }
        let _counted = self.metrics.request_begun();
        let response = match timeout(BODY_TIME, whole(&mut session)).await {
            Ok(Ok(request)) => {
                let address = session.client_addr().and_then(|a| a.as_inet()).map(|a| a.ip());
                self.api.handle(request, address).await
            }
            Ok(Err(status)) => {
                session.set_keepalive(None);
                empty(status)
            }
            Err(_) => {
                session.set_keepalive(None);
                empty(StatusCode::REQUEST_TIMEOUT)
            }
        };
        send(&mut session, response).await.ok()?;
        // Whoever sends the next request before this answer is not served: nobody here needs that.
        match session.finish().await.ok()??.into_parts() {
            (stream, None) => Some(stream),
            (_, Some(_)) => None,
        }
    }
}

#[async_trait::async_trait]
impl ServerApp for Listener {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let Ok(_room) = self.room.clone().try_acquire_owned() else {
            self.metrics.connections_refused.inc();
            return None;
        };
        let _open = self.metrics.connection_opened();
        let mut next = self.secured(stream).await;
        while let Some(stream) = next {
            next = self.serve(stream, shutdown).await;
        }
        None
    }
}

/// The request with all of its body.
async fn whole(session: &mut ServerSession) -> Result<Request<Bytes>, StatusCode> {
    let mut body = BytesMut::new();
    while let Some(part) = session.read_request_body().await.map_err(|_| StatusCode::BAD_REQUEST)? {
        body.extend_from_slice(&part);
        if body.len() > MAX_BODY {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
    }
    let head = session.req_header();
    let mut request = Request::new(body.freeze());
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = head.uri.clone();
    *request.headers_mut() = head.headers.clone();
    Ok(request)
}

fn empty(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}

async fn send(session: &mut ServerSession, response: Response<Bytes>) -> Result<()> {
    let (parts, body) = response.into_parts();
    let mut head = ResponseHeader::build(parts.status, None)?;
    for (name, value) in &parts.headers {
        head.append_header(name, value)?;
    }
    if parts.status != StatusCode::NO_CONTENT {
        head.insert_header("content-length", body.len())?;
    }
    session.write_response_header(Box::new(head)).await?;
    session.write_response_body(body, true).await
}
