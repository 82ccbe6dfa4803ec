//! Streams: they flow both ways, and end when what let them in does.
use super::{head, lines, routes};
use crate::{
    attacks::{Tls, rest, tls},
    process::Gate,
};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    process::{Command, Stdio},
};

/// Switches to an echo, or sends events whenever its connection is written to by the test.
fn upstream() -> (String, std::sync::mpsc::Receiver<std::net::TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (sender, events) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let sender = sender.clone();
            std::thread::spawn(move || {
                let head = head(&stream).unwrap().to_ascii_lowercase();
                if head.contains("upgrade: websocket") {
                    let answer =
                        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n";
                    stream.write_all(answer.as_bytes()).unwrap();
                    let mut part = [0; 1024];
                    while let Ok(n @ 1..) = stream.read(&mut part) {
                        stream.write_all(&part[..n]).unwrap();
                    }
                } else {
                    let answer = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: begun\n\n";
                    stream.write_all(answer.as_bytes()).unwrap();
                    sender.send(stream).unwrap();
                }
            });
        }
    });
    (address, events)
}

pub fn open(gate: &Gate, path: &str, token: &str, more: &str) -> (BufReader<Tls>, Vec<String>) {
    let mut stream = tls(gate, &["http/1.1"]);
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n{more}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut reader = BufReader::new(stream);
    let head = lines(&mut reader);
    (reader, head)
}

pub const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";

/// A gate that is not running yet: `/ws` and `/events` want orders:read.
pub fn prepared() -> (Gate, std::sync::mpsc::Receiver<std::net::TcpStream>) {
    let (address, events) = upstream();
    let gate = Gate::prepare();
    let route = |name: &str| {
        format!(
            "[[route]]\nname = \"{name}\"\npath = \"/{name}\"\nscopes = [\"orders:read\"]\nupstream.addresses = [\"{address}\"]\n\n"
        )
    };
    routes(&gate, &(route("ws") + &route("events")));
    (gate, events)
}

pub fn echo(socket: &mut BufReader<Tls>, text: &str) -> String {
    socket.get_mut().write_all(text.as_bytes()).unwrap();
    let mut back = vec![0; text.len()];
    socket.read_exact(&mut back).unwrap();
    String::from_utf8(back).unwrap()
}

#[test]
fn s49_a_websocket_and_an_event_stream_end_when_their_token_is_revoked_or_their_app_blocked() {
    let (mut gate, events) = prepared();
    gate.edit("conf/portcullis.toml", "data = ", "body_timeout = 1\nheader_timeout = 1\ndata = ");
    gate.run();
    let (_, refused) = open(&gate, "/ws", "x", UPGRADE);
    assert!(refused[0].contains("401"), "the token is checked before the 101: {refused:?}");
    let token = gate.token();
    let (mut socket, head) = open(&gate, "/ws", &token, UPGRADE);
    assert!(head[0].contains("101"), "{head:?}");
    assert_eq!(echo(&mut socket, "hello"), "hello");
    let (mut stream, head) = open(&gate, "/events", &token, "");
    assert!(
        head[0].contains("200") && head.iter().any(|h| h.eq_ignore_ascii_case("content-type: text/event-stream")),
        "{head:?}"
    );
    let mut source = events.recv().unwrap();
    let event = |stream: &mut BufReader<Tls>, source: &mut std::net::TcpStream, name: &str| {
        source.write_all(format!("data: {name}\n\n").as_bytes()).unwrap();
        let mut line = String::new();
        while !line.contains(name) {
            line.clear();
            assert!(stream.read_line(&mut line).unwrap() > 0, "closed before {name}");
        }
    };
    event(&mut stream, &mut source, "first");
    // Silent for longer than a body may pause, and than a header may take with the ten seconds of keep-alive before it.
    std::thread::sleep(std::time::Duration::from_secs(12));
    assert_eq!(echo(&mut socket, "still here"), "still here");
    event(&mut stream, &mut source, "second");
    let revoked = gate.command(&["token", "revoke"], &token);
    assert!(revoked.status.success());
    // Nobody sends anything, and yet both end; `rest` fails after 30 s.
    assert_eq!(rest(&mut socket), "");
    rest(&mut stream);
    let metrics = gate.admin("GET", "/metrics").1;
    for route in ["ws", "events"] {
        assert!(metrics.contains(&format!("portcullis_streams_ended_total{{route=\"{route}\"}} 1")), "{metrics}");
    }
    let log = || std::fs::read_to_string(gate.path("access.log")).unwrap();
    let parts = ["\"path\":\"/ws\"", "\"reason\":\"authorization_ended\"", "\"status\":101", "\"subject\":\"alice\""];
    let told = || log().lines().any(|line| parts.iter().all(|part| line.contains(part)));
    assert!(crate::process::until(told), "what was cut is in the log: {}", log());
    let (mut socket, head) = open(&gate, "/ws", &gate.token(), UPGRADE);
    assert!(head[0].contains("101"), "{head:?}");
    assert_eq!(echo(&mut socket, "again"), "again");
    // A policy that takes away what let it in ends it too.
    gate.edit("conf/apps/orders-robot.toml", "client_id", "blocked = true\nclient_id");
    assert_eq!(gate.admin("POST", "/reload").0, 200);
    assert_eq!(rest(&mut socket), "");
    // And so does one that takes its route away.
    gate.edit("conf/apps/orders-robot.toml", "blocked = true\n", "");
    assert_eq!(gate.admin("POST", "/reload").0, 200);
    let (mut socket, head) = open(&gate, "/ws", &gate.token(), UPGRADE);
    assert!(head[0].contains("101"), "{head:?}");
    assert_eq!(echo(&mut socket, "once more"), "once more");
    gate.edit("conf/portcullis.toml", "name = \"ws\"", "name = \"gone\"");
    assert_eq!(gate.admin("POST", "/reload").0, 200);
    assert_eq!(rest(&mut socket), "");
}

#[test]
fn s49_streams_over_http1_and_http2_end_when_their_token_expires_and_others_go_on() {
    let (mut gate, events) = prepared();
    gate.edit("conf/apps/orders-robot.toml", "client_id", "token_lifetime = 12\nclient_id");
    gate.run();
    let short = gate.token();
    let (mut socket, head) = open(&gate, "/ws", &short, UPGRADE);
    assert!(head[0].contains("101"), "{head:?}");
    assert_eq!(echo(&mut socket, "hello"), "hello");
    let (mut stream, head) = open(&gate, "/events", &short, "");
    assert!(head[0].contains("200"), "{head:?}");
    let mut over_http2 = Command::new("curl")
        .args(["-sS", "--http2", "--max-time", "30", "-H", &format!("Authorization: Bearer {short}"), "--cacert"])
        .arg(gate.path("certs/ca.pem"))
        .arg(format!("{}/events", gate.issuer()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Both have reached the upstream, which goes on holding them.
    let _sources = [events.recv().unwrap(), events.recv().unwrap()];
    gate.edit("conf/apps/orders-robot.toml", "token_lifetime = 12", "token_lifetime = 600");
    assert_eq!(gate.admin("POST", "/reload").0, 200);
    let (mut other, head) = open(&gate, "/ws", &gate.token(), UPGRADE);
    assert!(head[0].contains("101"), "{head:?}");
    // Nobody sends anything, and yet all three end; `rest` fails after 30 s.
    assert_eq!(rest(&mut socket), "");
    rest(&mut stream);
    let ended = over_http2.wait().unwrap();
    assert!(ended.code() != Some(28), "curl's time was up before the stream ended");
    let (_, refused) = open(&gate, "/ws", &short, UPGRADE);
    assert!(refused[0].contains("401"), "{refused:?}");
    assert_eq!(echo(&mut other, "still here"), "still here");
    let metrics = gate.admin("GET", "/metrics").1;
    for ended in ["route=\"ws\"} 1", "route=\"events\"} 2"] {
        assert!(metrics.contains(&format!("portcullis_streams_ended_total{{{ended}")), "{metrics}");
    }
}
