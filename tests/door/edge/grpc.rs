//! HTTP/2 to upstreams: gRPC with its trailers, both ways at once.
use super::routes;
use crate::{attacks::tls_config, process::Gate};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};

/// Echoes messages as they come, and ends with trailers; says in one whether `te: trailers` reached it.
async fn serve(listener: tokio::net::TcpListener) {
    while let Ok((socket, _)) = listener.accept().await {
        tokio::spawn(async move {
            let Ok(mut connection) = h2::server::handshake(socket).await else { return };
            while let Some(Ok((request, mut answer))) = connection.accept().await {
                tokio::spawn(async move {
                    let te = request.headers().get("te").cloned();
                    let user = request.headers().get("x-forwarded-user").cloned();
                    let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
                    let mut out = answer.send_response(head, false).unwrap();
                    let mut body = request.into_body();
                    while let Some(Ok(part)) = body.data().await {
                        let _ = body.flow_control().release_capacity(part.len());
                        out.send_data(part, false).unwrap();
                    }
                    let mut trailers = HeaderMap::new();
                    trailers.insert("grpc-status", "0".parse().unwrap());
                    te.into_iter().for_each(|te| drop(trailers.insert("x-te", te)));
                    user.into_iter().for_each(|user| drop(trailers.insert("x-user", user)));
                    out.send_trailers(trailers).unwrap();
                });
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_messages_flow_both_ways_and_trailers_arrive() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener));
    let (gate, token) = tokio::task::spawn_blocking(move || {
        let mut gate = Gate::prepare();
        routes(&gate, &format!("[[route]]\nname = \"rpc\"\npath = \"/rpc.Echo/*\"\nscopes = [\"orders:read\"]\nrewrite = {{ add_prefix = \"/v1\" }}\nupstream = {{ addresses = [\"{address}\"], protocol = \"grpc\" }}\n"));
        gate.run();
        let token = gate.token();
        (gate, token)
    })
    .await
    .unwrap();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(tls_config(&gate, &["h2"])));
    let socket = tokio::net::TcpStream::connect(("127.0.0.1", gate.https)).await.unwrap();
    let stream = connector.connect("localhost".try_into().unwrap(), socket).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let call = |bearer: String| {
        let url = format!("{}/rpc.Echo/Both", gate.issuer());
        let request = Request::post(url).header("content-type", "application/grpc").header("te", "trailers");
        let request = request.header("authorization", bearer).body(()).unwrap();
        let mut client = client.clone();
        async move { client.send_request(request, false).unwrap() }
    };
    let (answer, mut out) = call(format!("Bearer {token}")).await;
    // The first message comes back before the second is sent.
    out.send_data(Bytes::from_static(b"\0\0\0\0\x01a"), false).unwrap();
    let answer = answer.await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["content-type"]),
        (200, &"application/grpc".parse().unwrap())
    );
    let mut body = answer.into_body();
    assert_eq!(&body.data().await.unwrap().unwrap()[..], b"\0\0\0\0\x01a");
    out.send_data(Bytes::from_static(b"\0\0\0\0\x01b"), true).unwrap();
    assert_eq!(&body.data().await.unwrap().unwrap()[..], b"\0\0\0\0\x01b");
    while body.data().await.is_some() {}
    let trailers = body.trailers().await.unwrap().unwrap();
    assert_eq!(
        (&trailers["grpc-status"], &trailers["x-te"], &trailers["x-user"]),
        (&"0".parse().unwrap(), &"trailers".parse().unwrap(), &"alice".parse().unwrap())
    );
    let (answer, _out) = call("Bearer x".to_owned()).await;
    assert_eq!(answer.await.unwrap().status(), 401);
}
