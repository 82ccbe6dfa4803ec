//! HTTP/2 from a connection to its requests: Pingora's streams, with deadlines and bounds of our own.
use super::{client_certificate::Arrived, connection::Limits, watch::Watch};
use pingora::{
    apps::HttpServerApp,
    protocols::{
        Digest, Stream,
        http::{
            ServerSession,
            v2::server::{H2Accept, HttpSession, default_h2_options, handshake},
        },
    },
    proxy::{HttpProxy, ProxyHttp},
    server::ShutdownWatch,
};
use std::{sync::Arc, time::Duration};
use tokio::sync::Semaphore;

/// How long a connection without a request is kept.
const IDLE: Duration = Duration::from_secs(25);
/// The same once the process is to end.
const LEAVING: Duration = Duration::from_millis(500);
/// Streams that a client may have open.
const STREAMS: u32 = 100;
/// Requests still being worked on, those included that the client has given up: more is rapid reset.
const UNFINISHED: u32 = 2 * STREAMS;
/// Malformed requests that one connection may send.
const MALFORMED: u32 = 32;

/// Serves the requests of one connection until it ends, is idle for too long, or abuses its streams.
pub async fn serve<P>(
    proxy: &Arc<HttpProxy<P>>,
    (stream, arrived): (Stream, Option<Arc<Arrived>>),
    shutdown: &ShutdownWatch,
    limits: Limits,
) where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    let digest = Arc::new(Digest {
        ssl_digest: stream.get_ssl_digest(),
        timing_digest: stream.get_timing_digest(),
        proxy_digest: stream.get_proxy_digest(),
        socket_digest: stream.get_socket_digest(),
    });
    let mut options = default_h2_options();
    options.max_concurrent_streams(STREAMS);
    let greeted = tokio::time::timeout(limits.handshake, handshake(stream, Some(options)));
    let Ok(Ok(mut connection)) = greeted.await else { return };
    let room = Arc::new(Semaphore::new(UNFINISHED as usize));
    let mut ending = shutdown.clone();
    let mut leaving = false;
    let mut malformed = 0;
    // The first request must come as soon as its header would have to over HTTP/1.
    let mut idle = limits.header;
    loop {
        let nothing_to_do = async {
            let _all = room.acquire_many(UNFINISHED).await;
            tokio::time::sleep(idle).await;
        };
        let accepted = tokio::select! {
            biased;
            _ = ending.changed(), if !leaving => {
                connection.graceful_shutdown();
                (leaving, idle) = (true, LEAVING);
                continue;
            }
            accepted = HttpSession::from_h2_conn(&mut connection, digest.clone()) => accepted,
            () = nothing_to_do => return,
        };
        match accepted {
            // A client that goes away without a word is nothing to report.
            Err(_) | Ok(None) => return,
            Ok(Some(H2Accept::Rejected)) => {
                malformed += 1;
                if malformed >= MALFORMED {
                    return;
                }
            }
            Ok(Some(H2Accept::Session(session))) => {
                if !leaving {
                    idle = IDLE;
                }
                let Ok(unfinished) = room.clone().try_acquire_owned() else { return };
                let (proxy, shutdown, arrived) = (proxy.clone(), shutdown.clone(), arrived.clone());
                tokio::spawn(async move {
                    let _unfinished = unfinished;
                    let watch = Arc::new(Watch::of(arrived));
                    let session = ServerSession::new_http2(session);
                    tokio::select! {
                        _ = watch.clone().over(proxy.process_new_http(session, &shutdown)) => {}
                        () = watch.ended() => {}
                    }
                });
            }
        }
    }
}
