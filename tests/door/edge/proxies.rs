//! Proxies in front: whom they name is the client, and nobody else is believed.
use super::routes;
use crate::{
    attacks::tls_config,
    process::{Gate, port, until},
};
use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

/// The address that the upstream is told, or nothing if the gate hangs up.
fn seen(gate: &Gate, port: u16, from: &str, header: &[u8], forwarded: &str) -> Option<String> {
    // An address of its own in the loopback network.
    let socket = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut socket: TcpStream = if from == "127.0.0.1" { socket } else { bound(from, port) };
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    socket.write_all(header).unwrap();
    let session =
        rustls::ClientConnection::new(tls_config(gate, &["http/1.1"]).into(), "localhost".try_into().unwrap());
    let mut stream = rustls::StreamOwned::new(session.unwrap(), socket);
    let request = format!("GET /open HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{forwarded}\r\n");
    let mut answer = Vec::new();
    let told = stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_end(&mut answer).map(|_| ()));
    let text = String::from_utf8_lossy(&answer).into_owned();
    let at = text.find("\"x-forwarded-for\":\"");
    assert!(at.is_some() || told.is_err() || text.is_empty(), "{text}");
    Some(text[at? + 19..].split('"').next()?.to_owned())
}

/// A connection from another address of the loopback network.
fn bound(from: &str, port: u16) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
        let stream = socket.connect(format!("127.0.0.1:{port}").parse().unwrap()).await.unwrap();
        let stream = stream.into_std().unwrap();
        stream.set_nonblocking(false).unwrap();
        stream
    })
}

#[test]
fn s62_only_trusted_proxies_say_who_is_behind_them() {
    let mut gate = Gate::prepare();
    let behind = port();
    let upstream = gate.example;
    routes(
        &gate,
        &format!(
            "[[route]]\nname = \"open\"\npath = \"/open\"\npublic = true\nupstream.addresses = [\"127.0.0.1:{upstream}\"]\n"
        ),
    );
    let listen = format!("listen = [\"127.0.0.1:{}\"]", gate.https);
    let both = format!(
        "listen = [\"127.0.0.1:{}\", \"127.0.0.1:{behind}\"]\ntrusted_proxies = [\"127.0.0.2\"]\nproxy_protocol = [\"127.0.0.1:{behind}\"]",
        gate.https
    );
    gate.edit("conf/portcullis.toml", &listen, &both);
    gate.run();
    let forwarded = "X-Forwarded-For: 6.6.6.6, 198.51.100.1\r\n";
    let https = gate.https;
    assert_eq!(seen(&gate, https, "127.0.0.1", b"", forwarded).as_deref(), Some("127.0.0.1"), "not trusted");
    assert_eq!(seen(&gate, https, "127.0.0.2", b"", forwarded).as_deref(), Some("198.51.100.1"));
    let v1 = b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 443\r\n";
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
    v2.extend_from_slice(&[192, 0, 2, 8, 10, 0, 0, 1, 0x13, 0x88, 0x01, 0xbb]);
    assert_eq!(seen(&gate, behind, "127.0.0.2", v1, "").as_deref(), Some("192.0.2.7"));
    assert_eq!(seen(&gate, behind, "127.0.0.2", &v2, "").as_deref(), Some("192.0.2.8"));
    assert_eq!(
        seen(&gate, behind, "127.0.0.2", v1, forwarded).as_deref(),
        Some("192.0.2.7"),
        "whom it names is no proxy"
    );
    assert_eq!(seen(&gate, behind, "127.0.0.2", b"PROXY UNKNOWN\r\n", "").as_deref(), Some("127.0.0.2"));
    assert_eq!(seen(&gate, behind, "127.0.0.1", v1, ""), None, "from anybody else it ends the connection");
    assert_eq!(seen(&gate, behind, "127.0.0.2", b"", ""), None, "and so does none");
    assert_eq!(seen(&gate, https, "127.0.0.2", v1, ""), None, "where none is expected it is no TLS");
    let log = || std::fs::read_to_string(gate.path("access.log")).unwrap();
    assert!(until(|| log().contains("\"client_address\":\"192.0.2.8\"")), "{}", log());
}
