//! The gate as an edge of its own: upstreams that come and go, streams, and what a route asks for besides a decision.
mod balancing;
mod browsers;
mod documents;
mod grpc;
mod proxies;
mod shutdown;
mod streams;
mod terms;

use super::process::Gate;
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, AtomicUsize, Ordering},
    },
};

/// An upstream that answers with its own address, and with the status it is told to.
pub struct Named {
    pub address: String,
    pub status: Arc<AtomicU16>,
    pub served: Arc<AtomicUsize>,
    /// Requests wait while this is locked.
    pub gate: Arc<Mutex<()>>,
}

impl Named {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let named = Self { address, status: Arc::new(200.into()), served: Arc::default(), gate: Arc::default() };
        let (name, status, served, gate) =
            (named.address.clone(), named.status.clone(), named.served.clone(), named.gate.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (name, status, served, gate) = (name.clone(), status.clone(), served.clone(), gate.clone());
                std::thread::spawn(move || {
                    while let Some(head) = head(&stream) {
                        if !head.contains("/probe") {
                            served.fetch_add(1, Ordering::SeqCst);
                            drop(gate.lock());
                        }
                        let status = status.load(Ordering::SeqCst);
                        let length = name.len();
                        let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n{name}");
                        if (&stream).write_all(answer.as_bytes()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        named
    }

    pub fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }
}

/// A request's head; requests with bodies do not come here.
pub fn head(mut reader: impl Read) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if reader.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

/// Replaces the routes of the shipped configuration.
pub fn routes(gate: &Gate, text: &str) {
    let whole = fs::read_to_string(gate.config()).unwrap();
    let head = whole.split("[[route]]").next().unwrap().to_owned();
    fs::write(gate.config(), head + text).unwrap();
}

/// Status and body of a GET.
pub fn get(gate: &Gate, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let mut answer = answer(gate, path, headers);
    (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
}

pub fn answer(gate: &Gate, path: &str, headers: &[(&str, &str)]) -> http::Response<ureq::Body> {
    let request = gate.agent().get(format!("{}{path}", gate.issuer()));
    headers.iter().fold(request, |r, (name, value)| r.header(*name, *value)).call().unwrap()
}

/// Lines until an empty one.
pub fn lines(reader: &mut BufReader<impl Read>) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let mut line = String::new();
        assert!(reader.read_line(&mut line).unwrap() > 0, "closed within the head: {all:?}");
        match line.trim_end() {
            "" => return all,
            line => all.push(line.to_owned()),
        }
    }
}
