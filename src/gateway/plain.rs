//! A listener without TLS: HTTP/1.1, each step within its time, and no more connections than there is room for.
use crate::metrics::Metrics;
use http::Response;
use pingora::{
    apps::{ServerApp, http_app::ServeHttp},
    http::ResponseHeader,
    protocols::{Stream, http::ServerSession},
    server::ShutdownWatch,
};
use std::{sync::Arc, time::Duration};
use tokio::{sync::Semaphore, time::timeout};

/// Idle seconds that a connection is kept.
const KEEPALIVE: u64 = 10;
/// For an answer to be taken, and for a body that nobody reads.
const TAKING: Duration = Duration::from_secs(10);
/// Connections at one time, where they are not those of other listeners.
const ROOM: usize = 64;

/// Serves `app`; Pingora alone would keep a silent connection for a minute, a dripping one for ever.
pub struct Plain<A> {
    app: A,
    header: Duration,
    room: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

impl<A: ServeHttp + Send + Sync> Plain<A> {
    /// With room of its own; a header must be whole within `header`.
    pub fn new(app: A, header: Duration, metrics: Arc<Metrics>) -> Self {
        Self { app, header, room: Arc::new(Semaphore::new(ROOM)), metrics }
    }

    /// The same, sharing the room of another listener.
    #[must_use]
    pub fn within(self, room: Arc<Semaphore>) -> Self {
        Self { room, ..self }
    }

    /// One request and its answer; the stream, where another may follow.
    async fn serve(&self, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let mut session = ServerSession::new_http1(stream);
        // A connection may first be idle for the time that keep-alive grants.
        let limit = self.header + Duration::from_secs(KEEPALIVE);
        if !matches!(timeout(limit, session.read_request()).await, Ok(Ok(true))) {
            return None;
        }
        session.set_keepalive(if *shutdown.borrow() { None } else { Some(KEEPALIVE) });
        let response = self.app.response(&mut session).await;
        timeout(TAKING, answer(session, response)).await.ok()?
    }
}

#[async_trait::async_trait]
impl<A: ServeHttp + Send + Sync + 'static> ServerApp for Plain<A> {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let Ok(_room) = self.room.clone().try_acquire_owned() else {
            self.metrics.connections_refused.inc();
            return None;
        };
        let mut next = Some(stream);
        while let Some(stream) = next {
            next = self.serve(stream, shutdown).await;
        }
        None
    }
}

async fn answer(mut session: ServerSession, response: Response<Vec<u8>>) -> Option<Stream> {
    let (parts, body) = response.into_parts();
    session.write_response_header(Box::new(ResponseHeader::from(parts))).await.ok()?;
    if !body.is_empty() {
        session.write_response_body(body.into(), true).await.ok()?;
    }
    // Whoever sends the next request before this answer is not served: nobody here needs that.
    match session.finish().await.ok()??.into_parts() {
        (stream, None) => Some(stream),
        (_, Some(_)) => None,
    }
}
