//! The edge, side by side in one run: bare Pingora and the gate, same build, same upstream, same load, rounds interleaved.
//! `make bench` prints the table; ratios are to bare Pingora on the same kind of connection.
mod rig;

use portcullis::{
    clock::{Clock, SystemClock},
    config,
    metrics::Metrics,
    model::{SigningAlgorithm, TokenFormat},
    secret,
    store::memory::MemoryStore,
    token::{Claims, Tokens, keys::Keys},
};
use rig::{cpu, median, start};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Instant,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 5;
const REQUESTS: usize = 16_000;
const CONNECTIONS: usize = 16;
/// Requests of the two instruction counts, whose difference is what requests cost.
const COUNTED: [usize; 2] = [400, 2_400];
const ISSUER: &str = "https://localhost";

struct Case {
    name: &'static str,
    bare: bool,
    path: &'static str,
    tokens: Vec<String>,
}

/// Answers every request of a connection with two bytes.
fn upstream() -> String {
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

trait Wire: Read + Write + Send {}
impl<T: Read + Write + Send> Wire for T {}

fn connect(to: &str, tls: Option<&Arc<rustls::ClientConfig>>) -> Box<dyn Wire> {
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

/// Sends `count` requests over some connections; returns seconds and latencies in microseconds.
fn load(to: &str, tls: Option<&Arc<rustls::ClientConfig>>, case: &Case, from: usize, count: usize) -> (f64, Vec<u32>) {
    let mut wires: Vec<_> = (0..CONNECTIONS).map(|_| connect(to, tls)).collect();
    let begun = Instant::now();
    let latencies = std::thread::scope(|scope| {
        let work = wires.iter_mut().enumerate().map(|(n, wire)| {
            scope.spawn(move || {
                let (mut buffer, mut latencies) = (vec![0; 16 << 10], Vec::with_capacity(count / CONNECTIONS));
                for i in 0..count / CONNECTIONS {
                    let token = case.tokens.get((from + n + i * CONNECTIONS) % case.tokens.len().max(1));
                    let sent = Instant::now();
                    one(wire.as_mut(), case.path, token, &mut buffer);
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

fn set_up(folder: &Path, upstream: &str) -> Arc<rustls::ClientConfig> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    fs::write(folder.join("c.pem"), made.cert.pem()).expect("written");
    fs::write(folder.join("c.key"), made.signing_key.serialize_pem()).expect("written");
    let main = format!(
        "issuer = \"{ISSUER}\"\n[server]\nlisten = [\"127.0.0.1:1\"]\ndata = \"data\"\ncache_mib = 256\n\
         [[certificate]]\nhosts = [\"localhost\"]\nchain_file = \"c.pem\"\nkey_file = \"c.key\"\n\
         [[route]]\nname = \"orders\"\npath = \"/orders/*\"\nscopes = [\"orders:read\"]\nupstream.addresses = [\"{upstream}\"]\n\
         [[route]]\nname = \"open\"\npath = \"/open/*\"\npublic = true\nupstream.addresses = [\"{upstream}\"]\n"
    );
    fs::write(folder.join("portcullis.toml"), main).expect("written");
    apps(folder, 1);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Arc::new(config.expect("versions").with_root_certificates(roots).with_no_client_auth())
}

fn apps(folder: &Path, count: usize) {
    fs::create_dir_all(folder.join("apps")).expect("made");
    for n in 0..count {
        let app = format!(
            "client_id = \"app{n}\"\nauth = \"client_secret\"\nsecrets = [\"sha256:{}\"]\ngrants = [\"client_credentials\"]\n\
             scopes = [\"orders:read\"]\napproval = \"self\"\nrun_as = \"robot\"\naudience = \"{ISSUER}\"\n",
            "ab".repeat(32)
        );
        fs::write(folder.join(format!("apps/{n}.toml")), app).expect("written");
    }
}

fn minted(folder: &Path, count: usize, format: TokenFormat) -> Vec<String> {
    let keys = Arc::new(Keys::load_or_create(&folder.join("data"), &SystemClock).expect("keys"));
    let tokens = Tokens::new(keys, Arc::new(MemoryStore::default()), 1 << 20, &Metrics::new());
    (0..count).map(|n| tokens.mint(&claims(n), format, SigningAlgorithm::Es256)).collect()
}

fn claims(n: usize) -> Claims {
    let now = SystemClock.now();
    Claims {
        iss: ISSUER.to_owned(),
        sub: format!("user{n}"),
        client_id: "app0".to_owned(),
        aud: ISSUER.to_owned(),
        scope: "orders:read".to_owned(),
        jti: secret::random_id(),
        grant_id: None,
        generation: None,
        auth_time: None,
        iat: now,
        exp: now.plus(3_600),
        more: Default::default(),
    }
}

/// User instructions a request, counted by callgrind; `None` where it is not installed.
fn instructions(folder: &Path, upstream: &str, case: &Case) -> Option<f64> {
    Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().ok()?;
    let counts = COUNTED.map(|count| {
        let out = folder.join("callgrind.out");
        let under = ["valgrind", "--tool=callgrind", "--callgrind-out-file="].map(str::to_owned);
        let under = [under[0].clone(), under[1].clone(), format!("{}{}", under[2], out.display())];
        let mut served = start(if case.bare { "bare" } else { "gate" }, folder, upstream, &under);
        load(&served.plain, None, case, 0, count);
        let _ = Command::new("kill").args(["-INT", &served.child.id().to_string()]).status();
        let _ = served.child.wait();
        let text = fs::read_to_string(&out).unwrap_or_default();
        let total = text.lines().find_map(|l| l.strip_prefix("totals: ").or_else(|| l.strip_prefix("summary: ")));
        total.and_then(|t| t.trim().parse::<f64>().ok()).unwrap_or(f64::NAN)
    });
    #[allow(clippy::cast_precision_loss)] // a few thousand
    let requests = (COUNTED[1] - COUNTED[0]) as f64;
    Some((counts[1] - counts[0]) / requests)
}

#[allow(clippy::cast_precision_loss)] // counts of requests
fn side_by_side(folder: &Path) {
    let upstream = upstream();
    let tls = set_up(folder, &upstream);
    let cold = REQUESTS * (ROUNDS + 1);
    let one = |format| minted(folder, 1, format);
    let cases = [
        Case { name: "bare Pingora", bare: true, path: "/open/x", tokens: one(TokenFormat::Opaque) },
        Case { name: "public route", bare: false, path: "/open/x", tokens: one(TokenFormat::Opaque) },
        Case { name: "opaque, cached", bare: false, path: "/orders/7", tokens: one(TokenFormat::Opaque) },
        Case { name: "JWT, cached", bare: false, path: "/orders/7", tokens: one(TokenFormat::Jwt) },
        Case {
            name: "opaque, cold",
            bare: false,
            path: "/orders/7",
            tokens: minted(folder, cold, TokenFormat::Opaque),
        },
        Case {
            name: "JWT ES256, cold",
            bare: false,
            path: "/orders/7",
            tokens: minted(folder, cold, TokenFormat::Jwt),
        },
    ];
    let counted: Vec<_> = cases.iter().map(|case| instructions(folder, &upstream, case)).collect();
    println!(
        "| over | case | requests/s | p50 µs | p99 µs | CPU µs/request | to bare | user instructions/request | to bare |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for (over, config) in [("HTTP", None), ("TLS", Some(&tls))] {
        // Fresh processes, so that cold tokens are cold.
        let (bare, gate) = (start("bare", folder, &upstream, &[]), start("gate", folder, &upstream, &[]));
        let mut results = vec![(Vec::new(), Vec::new(), Vec::new()); cases.len()];
        for round in 0..=ROUNDS {
            for (case, (rates, costs, latencies)) in cases.iter().zip(&mut results) {
                let served = if case.bare { &bare } else { &gate };
                let to = if config.is_some() { &served.tls } else { &served.plain };
                let before = cpu(served.child.id());
                let (seconds, mut took) = load(to, config, case, round * REQUESTS, REQUESTS);
                if round > 0 {
                    rates.push(REQUESTS as f64 / seconds);
                    costs.push((cpu(served.child.id()) - before) * 1e6 / REQUESTS as f64);
                    latencies.append(&mut took);
                }
            }
        }
        let base = median(results[0].1.clone());
        for (n, (case, (rates, costs, mut latencies))) in cases.iter().zip(results).enumerate() {
            latencies.sort_unstable();
            let at = |share: usize| latencies[latencies.len() * share / 100];
            let cost = median(costs);
            let (count, ratio) = match (counted[n], counted[0]) {
                (Some(own), Some(bare)) if over == "HTTP" => (format!("{own:.0}"), format!("{:.3}", own / bare)),
                _ => ("–".to_owned(), "–".to_owned()),
            };
            println!(
                "| {over} | {} | {:.0} | {} | {} | {cost:.1} | {:.3} | {count} | {ratio} |",
                case.name,
                median(rates),
                at(50),
                at(99),
                cost / base
            );
        }
    }
}

fn resident() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|n| n.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1024.0
}

fn goals(folder: &Path) {
    apps(folder, 1_000);
    let begun = Instant::now();
    let gate = start("gate", folder, "127.0.0.1:1", &[]);
    let mut wire = connect(&gate.plain, None);
    write!(wire, "GET /nowhere HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("sent");
    assert!(wire.read(&mut [0; 512]).expect("an answer") > 0);
    println!("\nstart to first answer with 1,000 apps: {} ms", begun.elapsed().as_millis());
    apps(folder, 10_000);
    let begun = Instant::now();
    let loaded = config::load(&folder.join("portcullis.toml")).expect("good");
    println!("loading 10,000 apps: {} ms", begun.elapsed().as_millis());
    let begun = Instant::now();
    let changes = portcullis::policy::diff::changes(&loaded.policy, &loaded.policy);
    println!("comparing 10,000 apps with 10,000: {} ms, {} changes", begun.elapsed().as_millis(), changes.len());
    let keys = Arc::new(Keys::load_or_create(&folder.join("data"), &SystemClock).expect("keys"));
    let tokens = Tokens::new(keys, Arc::new(MemoryStore::default()), 4 << 30, &Metrics::new());
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(tokens.load_revocations(SystemClock.now())).expect("loaded");
    let before = resident();
    for n in 0..1_000_000 {
        let token = tokens.mint(&claims(n), TokenFormat::Opaque, SigningAlgorithm::Es256);
        assert!(tokens.open(&token, SystemClock.now()).is_ok());
    }
    println!("1,000,000 distinct cached tokens: {:.0} MiB resident more than before", resident() - before);
}

fn main() {
    if rig::was_called_to_serve() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir_all(folder.path().join("data")).expect("made");
    side_by_side(folder.path());
    goals(folder.path());
}
