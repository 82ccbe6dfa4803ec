//! The edge, side by side in one run: bare Pingora and the gate, same build, same upstream, same load, rounds interleaved.
//! `make bench` prints the table; ratios are to bare Pingora on the same kind of connection. The gate keeps its records in
//! SQLite, and where a row says so in PostgreSQL on this machine, as one node and as two that share the connections.
#[path = "../tests/door/cluster.rs"]
#[allow(dead_code, clippy::unwrap_used)] // the tests ask it for more, and end where its ground gives way
mod cluster;
#[path = "rig/load.rs"]
mod load;
mod rig;
#[path = "rig/site.rs"]
mod site;

use load::{connect, load, upstream};
use portcullis::{
    clock::{Clock, SystemClock},
    config,
    metrics::Metrics,
    model::{SigningAlgorithm, TokenFormat},
    store::memory::MemoryStore,
    token::{Tokens, keys::Keys},
};
use rig::{Served, cpu, median, start};
use site::{apps, claims, minted, on_postgres, set_up};
use std::{
    fs,
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

/// Who answers.
#[derive(Clone, Copy, PartialEq)]
enum On {
    Bare,
    Sqlite,
    Postgres,
    TwoNodes,
}

struct Case {
    name: &'static str,
    on: On,
    path: &'static str,
    tokens: Vec<String>,
}

/// User instructions a request, counted by callgrind; `None` where it is not installed, or nodes follow one another.
fn instructions(folder: &Path, upstream: &str, case: &Case) -> Option<f64> {
    let kind = match case.on {
        On::Bare => "bare",
        On::Sqlite => "gate",
        On::Postgres | On::TwoNodes => return None,
    };
    Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().ok()?;
    let counts = COUNTED.map(|count| {
        let out = folder.join("callgrind.out");
        let under = ["valgrind", "--tool=callgrind", "--callgrind-out-file="].map(str::to_owned);
        let under = [under[0].clone(), under[1].clone(), format!("{}{}", under[2], out.display())];
        let mut served = start(kind, folder, upstream, &under);
        load((&served.plain, None), case.path, (&case.tokens, 0), (CONNECTIONS, count), None);
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

/// One round: the connections and the requests are shared by all who serve.
fn spread(served: &[&Served], tls: Option<&Arc<rustls::ClientConfig>>, case: &Case, from: usize) -> (f64, Vec<u32>) {
    let share = (CONNECTIONS / served.len(), REQUESTS / served.len());
    let one = |served: &Served| {
        let to = if tls.is_some() { &served.tls } else { &served.plain };
        load((to, tls), case.path, (&case.tokens, from), share, None)
    };
    let rounds: Vec<_> = std::thread::scope(|scope| {
        let work: Vec<_> = served.iter().map(|served| scope.spawn(|| one(served))).collect();
        work.into_iter().map(|work| work.join().expect("a round")).collect()
    });
    let seconds = rounds.iter().map(|(seconds, _)| *seconds).fold(0.0, f64::max);
    (seconds, rounds.into_iter().flat_map(|(_, took)| took).collect())
}

#[allow(clippy::cast_precision_loss)] // counts of requests
fn side_by_side(folder: &Path) {
    let upstream = upstream();
    let tls = set_up(folder, &upstream);
    let cold = REQUESTS * (ROUNDS + 1);
    let es256 = |format| (format, SigningAlgorithm::Es256);
    let one = |format| minted(folder, 1, es256(format));
    let case = |name, on, path, tokens| Case { name, on, path, tokens };
    let (opaque, jwt) = (TokenFormat::Opaque, TokenFormat::Jwt);
    let cases = [
        case("bare Pingora", On::Bare, "/open/x", one(opaque)),
        case("public route", On::Sqlite, "/open/x", one(opaque)),
        case("opaque, cached", On::Sqlite, "/orders/7", one(opaque)),
        case("opaque, cached, PostgreSQL", On::Postgres, "/orders/7", one(opaque)),
        case("opaque, cached, PostgreSQL, two nodes", On::TwoNodes, "/orders/7", one(opaque)),
        case("JWT, cached", On::Sqlite, "/orders/7", one(jwt)),
        case("opaque, cold", On::Sqlite, "/orders/7", minted(folder, cold, es256(opaque))),
        case("JWT ES256, cold", On::Sqlite, "/orders/7", minted(folder, cold, es256(jwt))),
    ];
    let database = cluster::Cluster::start(true);
    let [own, both] = [(); 2].map(|()| database.address(&database.database()));
    let nodes = [("alone", &own), ("shared", &both), ("beside", &both)];
    let [alone, shared, beside] = nodes.map(|(name, address)| on_postgres(folder, name, address));
    let counted: Vec<_> = cases.iter().map(|case| instructions(folder, &upstream, case)).collect();
    println!(
        "| over | case | requests/s | p50 µs | p99 µs | CPU µs/request | to bare | user instructions/request | to bare |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for (over, config) in [("HTTP", None), ("TLS", Some(&tls))] {
        // Fresh processes, so that cold tokens are cold.
        let gate = |folder: &Path| start("gate", folder, &upstream, &[]);
        let (bare, sqlite) = (start("bare", folder, &upstream, &[]), gate(folder));
        let (postgres, first, second) = (gate(&alone), gate(&shared), gate(&beside));
        let mut results = vec![(Vec::new(), Vec::new(), Vec::new()); cases.len()];
        for round in 0..=ROUNDS {
            for (case, (rates, costs, latencies)) in cases.iter().zip(&mut results) {
                let served: &[&Served] = match case.on {
                    On::Bare => &[&bare],
                    On::Sqlite => &[&sqlite],
                    On::Postgres => &[&postgres],
                    On::TwoNodes => &[&first, &second],
                };
                let spent = || served.iter().map(|served| cpu(served.child.id())).sum::<f64>();
                let before = spent();
                let (seconds, mut took) = spread(served, config, case, round * REQUESTS);
                if round > 0 {
                    rates.push(REQUESTS as f64 / seconds);
                    costs.push((spent() - before) * 1e6 / REQUESTS as f64);
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
        let token = runtime.block_on(tokens.mint(&claims(n), TokenFormat::Opaque, SigningAlgorithm::Es256));
        let token = token.expect("minted");
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
