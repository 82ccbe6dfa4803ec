//! An upstream that costs little, and a load of HTTP/1.1 requests over kept connections.
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

/// Answers every request of a connection with two bytes.
pub fn upstream() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(std::io::Result::ok) {
            std::thread::spawn(move || {
                let _ = stream.set_nodelay(true);
                let mut lines = BufReader::new(stream.try_clone().expect("a handle"));
                let mut line = String::new();
                while lines.read_line(&mut line).is_ok_and(|n| n > 0) {
                    if line == "\r\n" && (&stream).write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").is_err()
                    {
                        return;
                    }
                    line.clear();
                }
            });
        }
    });
    address
}

/// A connection, plain or TLS.
pub trait Wire: Read + Write + Send {}
impl<T: Read + Write + Send> Wire for T {}

/// A connection to `to`.
pub fn connect(to: &str, tls: Option<&Arc<rustls::ClientConfig>>) -> Box<dyn Wire> {
    let socket = TcpStream::connect(to).expect("the server listens");
    socket.set_nodelay(true).expect("set");
    match tls {
        None => Box::new(socket),
        Some(config) => {
            let name = "localhost".try_into().expect("a name");
            Box::new(rustls::StreamOwned::new(
                rustls::ClientConnection::new(config.clone(), name).expect("a session"),
                socket,
            ))
        }
    }
}

fn one(wire: &mut dyn Wire, path: &str, token: Option<&String>, buffer: &mut [u8]) {
    let auth = token.map(|t| format!("authorization: Bearer {t}\r\n")).unwrap_or_default();
    write!(wire, "GET {path} HTTP/1.1\r\nhost: localhost\r\n{auth}\r\n").and_then(|()| wire.flush()).expect("sent");
    let mut length = 0;
    while !buffer[..length].ends_with(b"\r\n\r\nok") {
        let read = wire.read(&mut buffer[length..]).expect("an answer");
        length += read;
        assert!(read > 0, "closed: {}", String::from_utf8_lossy(&buffer[..length]));
    }
    assert!(buffer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&buffer[..length]));
}

/// Sends `count` requests for `path` over `connections`, taking tokens in turn from the one at `from`; with a `pace`,
/// that many a second, each measured from when it was due. Returns seconds and latencies in microseconds.
pub fn load(
    target: (&str, Option<&Arc<rustls::ClientConfig>>),
    path: &str,
    tokens: (&[String], usize),
    (connections, count): (usize, usize),
    pace: Option<f64>,
) -> (f64, Vec<u32>) {
    let mut wires: Vec<_> = (0..connections).map(|_| connect(target.0, target.1)).collect();
    let begun = Instant::now();
    let latencies = std::thread::scope(|scope| {
        let work = wires.iter_mut().enumerate().map(|(n, wire)| {
            scope.spawn(move || {
                let (mut buffer, mut latencies) = (vec![0; 16 << 10], Vec::with_capacity(count / connections));
                for i in 0..count / connections {
                    let number = n + i * connections;
                    let token = tokens.0.get((tokens.1 + number) % tokens.0.len().max(1));
                    #[allow(clippy::cast_precision_loss)] // a few thousand requests
                    let due = pace.map(|pace| begun + Duration::from_secs_f64(number as f64 / pace));
                    if let Some(due) = due {
                        std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    }
                    let sent = due.unwrap_or_else(Instant::now);
                    one(wire.as_mut(), path, token, &mut buffer);
                    latencies.push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
                }
                latencies
            })
        });
        let work: Vec<_> = work.collect();
        work.into_iter().flat_map(|w| w.join().expect("a worker")).collect()
    });
    (begun.elapsed().as_secs_f64(), latencies)
}
