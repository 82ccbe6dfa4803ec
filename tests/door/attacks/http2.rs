//! HTTP/2, frame by frame: floods end the connection and leave no memory behind; requests that lie are refused.
use super::{Tls, resident, rest, rig, serves, tls};
use crate::process::{Gate, until};
use std::io::{Read, Write};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Literals that enter no table (RFC 7541 §6.2.2).
fn fields(all: &[(&str, &str)]) -> Vec<u8> {
    let all: Vec<_> = all.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    raw_fields(&all)
}

fn raw_fields(all: &[(&str, &[u8])]) -> Vec<u8> {
    let text = |text: &[u8], out: &mut Vec<u8>| {
        let mut length = text.len();
        if length < 127 {
            out.push(u8::try_from(length).unwrap());
        } else {
            out.push(127);
            length -= 127;
            while length >= 128 {
                out.push(u8::try_from(length % 128).unwrap() | 128);
                length /= 128;
            }
            out.push(u8::try_from(length).unwrap());
        }
        out.extend_from_slice(text);
    };
    let mut out = Vec::new();
    for (name, value) in all {
        out.push(0);
        text(name.as_bytes(), &mut out);
        text(value, &mut out);
    }
    out
}

fn get(path: &str) -> Vec<u8> {
    fields(&[(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", path)])
}

fn open(gate: &Gate) -> Tls {
    let mut stream = tls(gate, &["h2"]);
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).unwrap();
    stream
}

/// Frames until the connection ends or the answer on `stream` is whole: kind, flags, stream, payload.
fn frames(stream: &mut Tls, until: u32) -> Vec<(u8, u8, u32, Vec<u8>)> {
    let mut all = Vec::new();
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).is_err() {
            return all;
        }
        let mut payload = vec![0; usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])];
        if stream.read_exact(&mut payload).is_err() {
            return all;
        }
        let id = u32::from_be_bytes([head[5] & 127, head[6], head[7], head[8]]);
        all.push((head[3], head[4], id, payload));
        let (kind, flags) = (head[3], head[4]);
        let whole = id == until && (kind == RST_STREAM || (flags & END_STREAM > 0 && kind <= HEADERS));
        if kind == GOAWAY || whole {
            return all;
        }
    }
}

/// Asks for `target` as it is, which no library would send, on a connection of its own, and waits for what becomes of it.
pub fn ask(gate: &Gate, target: &[u8], tag: usize) {
    let tag = tag.to_string();
    let list: [(&str, &[u8]); 5] = [
        (":method", b"GET"),
        (":scheme", b"https"),
        (":authority", b"localhost"),
        (":path", target),
        ("x-tag", tag.as_bytes()),
    ];
    let mut stream = open(gate);
    stream.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &raw_fields(&list))).unwrap();
    let told = frames(&mut stream, 1);
    assert!(told.iter().any(|(kind, _, id, _)| *kind == GOAWAY || *id == 1), "no answer to {target:?}: {told:?}");
}

/// Begins a body for `path`, stalls, and waits for the end of that.
pub fn stall(gate: &Gate, path: &str) {
    let mut stream = open(gate);
    let list = [(":method", "POST"), (":scheme", "https"), (":authority", "localhost"), (":path", path)];
    stream.write_all(&frame(HEADERS, END_HEADERS, 1, &fields(&list))).unwrap();
    stream.write_all(&frame(DATA, 0, 1, b"x")).unwrap();
    let told = frames(&mut stream, 1);
    assert!(told.iter().any(|(_, _, id, _)| *id == 1), "{told:?}");
}

/// Sends as much of `flood` as the gate takes, and says whether it ended the connection.
fn ends(gate: &Gate, flood: impl Iterator<Item = Vec<u8>>) -> bool {
    let mut stream = open(gate);
    let refused = flood.map(|part| stream.write_all(&part)).any(|sent| sent.is_err());
    let _ = stream.flush();
    let told = frames(&mut stream, u32::MAX);
    refused || told.iter().any(|(kind, ..)| *kind == GOAWAY) || rest(&mut stream).is_empty()
}

#[test]
fn s66_floods_of_frames_end_the_connection_and_memory_stays_flat() {
    let (gate, upstream) = rig("");
    assert!(serves(&gate) && ends(&gate, [frame(WINDOW_UPDATE, 0, 0, &[0; 4])].into_iter()), "a window of nothing");
    let before = resident(&gate);
    let request = get("/in/flood");
    let reset = |n: u32| {
        let id = n * 2 + 1;
        [frame(HEADERS, END_HEADERS | END_STREAM, id, &request), frame(RST_STREAM, 0, id, &8_u32.to_be_bytes())]
            .concat()
    };
    assert!(ends(&gate, (0..10_000).map(reset)), "rapid reset");
    let continued =
        |n: u32| frame(if n == 0 { HEADERS } else { CONTINUATION }, 0, 1, &fields(&[("x", &"y".repeat(1000))]));
    assert!(ends(&gate, (0..10_000).map(continued)), "CONTINUATION without end");
    let empty = |n: u32| frame(if n == 0 { HEADERS } else { CONTINUATION }, 0, 1, &[]);
    assert!(ends(&gate, (0..10_000).map(empty)), "empty CONTINUATION without end");
    let overflow = (0..10_000).map(|_| frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes()));
    assert!(ends(&gate, overflow), "a window beyond all measure");
    assert!(
        ends(&gate, (0..10_000).map(|_| frame(SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff]))),
        "SETTINGS out of range"
    );
    // Lawful frames that ask for an answer each: the connection may live, but nothing may heap up.
    for flood in [frame(PING, 0, 0, &[0; 8]), frame(SETTINGS, 0, 0, &[])] {
        let mut stream = open(&gate);
        let _ = (0..10_000).try_for_each(|_| stream.write_all(&flood));
        drop(stream);
    }
    assert!(until(|| resident(&gate) < before + 48 * 1024), "{before} KiB, then {} KiB", resident(&gate));
    assert!(serves(&gate), "others are served");
    assert!(upstream.hits().iter().all(|h| h.target() == "/pub/honest"), "{:?}", upstream.hits());
}

#[test]
fn s60_s66_requests_over_http2_that_lie_are_refused() {
    let (gate, upstream) = rig("");
    let token = format!("Bearer {}", gate.token());
    let base = |path: &'static str| {
        vec![(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", path)]
    };
    let with = |more: &[(&'static str, &'static str)]| [base("/pub/lie"), more.to_vec()].concat();
    let many: Vec<(&str, &str)> =
        [base("/pub/lie"), vec![("x-many", "0123456789012345678901234567890123456789"); 2_000]].concat();
    let two = [base("/in/lie"), vec![("authorization", token.as_str()), ("authorization", "Bearer x")]].concat();
    let cases: Vec<(&str, Vec<(&str, &str)>)> = vec![
        ("absolute form", base("https://localhost/admin/x")),
        ("dots", base("/pub/../admin/x")),
        ("escaped dots", base("/pub/%2e%2e/admin/x")),
        ("two slashes", base("//admin/x")),
        ("a line of its own", base("/pub/x HTTP/1.1\r\nhost: evil\r\n\r\nGET /admin/x")),
        ("an empty path", base("")),
        ("no path", base("/pub/lie")[..3].to_vec()),
        ("another host", with(&[("host", "evil.example")])),
        ("two hosts", with(&[("host", "localhost"), ("host", "localhost")])),
        (
            "user information",
            vec![(":method", "GET"), (":scheme", "https"), (":authority", "a@localhost"), (":path", "/pub/lie")],
        ),
        ("connection", with(&[("connection", "close, x-auth-client")])),
        ("chunks", with(&[("transfer-encoding", "chunked")])),
        ("upgrade", with(&[("upgrade", "websocket")])),
        ("upper case", with(&[("X-Upper", "y")])),
        ("a line in a name", with(&[("x\r\nhost", "evil")])),
        ("a line in a value", with(&[("x", "y\r\nhost: evil")])),
        ("two lengths", with(&[("content-length", "0"), ("content-length", "5")])),
        ("a late pseudo header", with(&[("x", "y"), (":path", "/admin/x")])),
        ("a pseudo header twice", with(&[(":path", "/admin/x")])),
        ("a status", with(&[(":status", "200")])),
        ("connect", vec![(":method", "CONNECT"), (":authority", "evil.example:443")]),
        ("two tokens", two),
        ("too many headers", many),
    ];
    for (name, list) in &cases {
        let block = fields(list);
        let mut stream = open(&gate);
        let mut parts = block.chunks(16_000).peekable();
        let mut first = true;
        while let Some(part) = parts.next() {
            let end = if parts.peek().is_none() { END_HEADERS } else { 0 };
            let (kind, flags) = if first { (HEADERS, END_STREAM | end) } else { (CONTINUATION, end) };
            first = false;
            let _ = stream.write_all(&frame(kind, flags, 1, part));
        }
        let told = frames(&mut stream, 1);
        // `:status` 200 is one byte of the static table.
        let served =
            told.iter().any(|(kind, _, id, payload)| *kind == HEADERS && *id == 1 && payload.first() == Some(&0x88));
        assert!(!served, "{name}: {told:?}");
    }
    // A body longer, and one shorter, than was said.
    for (said, body) in [("2", "longer"), ("9", "short")] {
        let mut stream = open(&gate);
        let list = [vec![(":method", "POST")], base("/in/lie")[1..].to_vec(), vec![("content-length", said)]].concat();
        stream.write_all(&frame(HEADERS, END_HEADERS, 1, &fields(&list))).unwrap();
        stream.write_all(&frame(DATA, END_STREAM, 1, body.as_bytes())).unwrap();
        let told = frames(&mut stream, 1);
        assert!(!told.iter().any(|(kind, _, _, p)| *kind == HEADERS && p.first() == Some(&0x88)), "{said}: {told:?}");
    }
    assert!(upstream.hits().is_empty(), "{:?}", upstream.hits());
    let mut stream = open(&gate);
    stream.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &get("/pub/plain"))).unwrap();
    let told = frames(&mut stream, 1);
    assert!(told.iter().any(|(kind, _, _, p)| *kind == HEADERS && p.first() == Some(&0x88)), "the plain one: {told:?}");
}

#[test]
fn s66_half_a_preface_and_half_a_header_are_cut_while_others_are_served() {
    let (gate, upstream) = rig("handshake_timeout = 2\nheader_timeout = 2\n");
    let mut silent = tls(&gate, &["h2"]);
    silent.write_all(b"PRI * HTTP").unwrap();
    let mut half = open(&gate);
    half.write_all(&frame(HEADERS, 0, 1, &get("/pub/half"))).unwrap();
    assert!(serves(&gate));
    // Both end by themselves; `rest` fails after 30 s.
    std::thread::scope(|scope| {
        scope.spawn(|| rest(&mut silent));
        scope.spawn(|| rest(&mut half));
    });
    assert_eq!(upstream.hits().len(), 1);
}
