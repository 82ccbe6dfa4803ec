//! Attacks on the edge, as raw bytes: what reaches the upstream is recorded, and nothing forbidden ever does (S60–S66).
mod http1;
mod http2;
mod logs;
mod paths;
mod slow;

use super::process::{Gate, until};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

/// One request as the upstream took it.
#[derive(Clone, Debug)]
pub struct Hit {
    /// Request line.
    pub line: String,
    /// Header lines in lower case.
    pub headers: Vec<String>,
    pub body: Vec<u8>,
}

impl Hit {
    pub fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Vec<&str> {
        let values = self.headers.iter().filter_map(|h| h.split_once(':'));
        values.filter(|(n, _)| *n == name).map(|(_, v)| v.trim()).collect()
    }
}

/// An upstream that reads strictly, answers 200, and remembers everything.
pub struct Recorder {
    pub address: String,
    hits: Arc<Mutex<Vec<Hit>>>,
}

impl Recorder {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let hits = Arc::new(Mutex::new(Vec::new()));
        let kept = hits.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let kept = kept.clone();
                std::thread::spawn(move || serve(&stream, &kept));
            }
        });
        Self { address, hits }
    }

    pub fn hits(&self) -> Vec<Hit> {
        self.hits.lock().unwrap().clone()
    }
}

fn serve(stream: &TcpStream, hits: &Mutex<Vec<Hit>>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = Vec::new();
            match reader.read_until(b'\n', &mut line) {
                Ok(n) if n > 0 => {}
                _ => return,
            }
            let text = String::from_utf8_lossy(&line).into_owned();
            let text = text.strip_suffix("\r\n").map_or(format!("{text}<bare LF>"), str::to_owned);
            if text.is_empty() {
                break;
            }
            lines.push(text);
        }
        let line = lines.remove(0);
        let headers =
            lines.iter().map(|l| l.split_once(':').map_or(l.clone(), |(n, v)| n.to_ascii_lowercase() + ":" + v));
        let mut hit = Hit { line, headers: headers.collect(), body: Vec::new() };
        let length: Option<usize> = hit.header("content-length").first().map(|l| l.parse().unwrap());
        let chunked = !hit.header("transfer-encoding").is_empty();
        // Taken down before the body: a request that never gets whole has reached the upstream all the same.
        let place = {
            let mut all = hits.lock().unwrap();
            all.push(hit.clone());
            all.len() - 1
        };
        let whole =
            if chunked { chunks(&mut reader, &mut hit.body) } else { exactly(&mut reader, length, &mut hit.body) };
        hits.lock().unwrap()[place] = hit;
        if !whole || write!(&mut &*stream, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").is_err() {
            return;
        }
    }
}

fn exactly(reader: &mut impl Read, length: Option<usize>, body: &mut Vec<u8>) -> bool {
    body.resize(length.unwrap_or(0), 0);
    reader.read_exact(body).is_ok()
}

fn chunks(reader: &mut impl BufRead, body: &mut Vec<u8>) -> bool {
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return false;
        }
        let Ok(size) = usize::from_str_radix(line.trim_end_matches("\r\n"), 16) else { return false };
        let mut part = vec![0; size + 2];
        if reader.read_exact(&mut part).is_err() || !part.ends_with(b"\r\n") {
            return false;
        }
        body.extend_from_slice(&part[..size]);
        if size == 0 {
            return true;
        }
    }
}

pub type Tls = rustls::StreamOwned<rustls::ClientConnection, TcpStream>;

/// A client of the gate that speaks `protocols`.
pub fn tls_config(gate: &Gate, protocols: &[&str]) -> rustls::ClientConfig {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&fs::read(gate.path("certs/ca.pem")).unwrap()).unwrap()).unwrap();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let config = rustls::ClientConfig::builder_with_provider(provider.into()).with_safe_default_protocol_versions();
    let mut config = config.unwrap().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
    config
}

/// A TLS connection to the gate; whatever it waits for has to come within 30 seconds.
pub fn tls(gate: &Gate, protocols: &[&str]) -> Tls {
    let config = tls_config(gate, protocols);
    let session = rustls::ClientConnection::new(config.into(), "localhost".try_into().unwrap()).unwrap();
    // Each listener begins by itself.
    assert!(until(|| TcpStream::connect(("127.0.0.1", gate.https)).is_ok()));
    let socket = TcpStream::connect(("127.0.0.1", gate.https)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    rustls::StreamOwned::new(session, socket)
}

/// Sends `bytes` and reads until the gate closes, as it must.
pub fn exchange(gate: &Gate, bytes: &[u8]) -> String {
    let mut stream = tls(gate, &["http/1.1"]);
    // The gate may close before it has taken everything.
    let _ = stream.write_all(bytes).and_then(|()| stream.flush());
    rest(&mut stream)
}

/// What comes until the gate closes.
pub fn rest(stream: &mut impl Read) -> String {
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    loop {
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(n) => answer.extend_from_slice(&part[..n]),
            Err(e) => {
                let open = matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
                assert!(!open, "still open after 30 s: {}", String::from_utf8_lossy(&answer));
                break;
            }
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// Status codes of the responses in `answer`.
pub fn statuses(answer: &str) -> Vec<u16> {
    let heads = answer.match_indices("HTTP/1.1 ").filter(|(at, _)| *at == 0 || !answer[..*at].ends_with(' '));
    heads.filter_map(|(at, _)| answer.get(at + 9..at + 12)?.parse().ok()).collect()
}

/// A gate before a recorder: `/pub/*` is open, `/in/*` wants orders:read, `/admin/*` what nobody here has.
pub fn rig(server: &str) -> (Gate, Recorder) {
    let recorder = Recorder::start();
    let mut gate = Gate::prepare();
    let text = fs::read_to_string(gate.config()).unwrap();
    let head = text.split("[[route]]").next().unwrap().replace("data = ", &format!("{server}data = "));
    let route = |name: &str, path: &str, needs: &str| {
        format!(
            "[[route]]\nname = \"{name}\"\npath = \"{path}\"\n{needs}\nupstream.addresses = [\"{}\"]\n\n",
            recorder.address
        )
    };
    let routes = [
        route("pub", "/pub/*", "public = true"),
        route("in", "/in/*", "scopes = [\"orders:read\"]"),
        route("admin", "/admin/*", "scopes = [\"nobody:has\"]"),
    ];
    fs::write(gate.config(), head + &routes.concat()).unwrap();
    gate.run();
    (gate, recorder)
}

/// Resident memory of the gate, KiB.
pub fn resident(gate: &Gate) -> u64 {
    let id = gate.child.as_ref().unwrap().id();
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Whether an honest request is served.
pub fn serves(gate: &Gate) -> bool {
    gate.agent().get(format!("{}/pub/honest", gate.issuer())).call().is_ok_and(|a| a.status() == 200)
}
