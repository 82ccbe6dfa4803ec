//! The gate beside the programs one would otherwise take: same tokens (RS256), same upstream, same load, rounds
//! interleaved in one run, CPU by process accounting. `make bench-peers` prints the tables; ratios are to Portcullis.
#[path = "rig/load.rs"]
mod load;
#[path = "rig/peers.rs"]
mod peers;
mod rig;
#[path = "rig/site.rs"]
mod site;

use load::{load, upstream};
use peers::{Peer, answers};
use portcullis::model::{SigningAlgorithm, TokenFormat};
use rig::{median, start};
use site::{minted, set_up};
use std::{fs, path::Path, process::ExitCode, sync::Arc};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 6;
const REQUESTS: usize = 6_400;
const CONNECTIONS: usize = 32;
/// Tokens in turn, which all gates have seen before they are measured.
const TOKENS: usize = 4_000;
/// How far the baseline may wander between rounds, as a share of its median, before nothing is compared.
const DRIFT: f64 = 0.2;

struct Case {
    name: &'static str,
    path: &'static str,
    tokens: Vec<String>,
    /// Nobody else can open them.
    ours_alone: bool,
}

/// What one gate cost in one case: requests a second and CPU microseconds a request, by round.
#[derive(Clone, Default)]
struct Measured {
    rates: Vec<f64>,
    costs: Vec<f64>,
}

#[allow(clippy::cast_precision_loss)] // counts of requests
fn measure(
    gates: &[Peer],
    cases: &[Case],
    tls: Option<&Arc<rustls::ClientConfig>>,
    rounds: usize,
) -> Vec<Vec<Measured>> {
    let mut results = vec![vec![Measured::default(); cases.len()]; gates.len()];
    for round in 0..=rounds {
        for (gate, results) in gates.iter().zip(&mut results) {
            for (case, result) in cases.iter().zip(results) {
                if case.ours_alone && !gate.opens_opaque {
                    continue;
                }
                let before = gate.cpu();
                let shape = (CONNECTIONS, REQUESTS);
                let (seconds, _) = load((gate.address(tls), tls), case.path, (&case.tokens, 0), shape, None);
                // The first one warms caches and connections.
                if round > 0 {
                    result.rates.push(REQUESTS as f64 / seconds);
                    result.costs.push((gate.cpu() - before) * 1e6 / REQUESTS as f64);
                }
            }
        }
    }
    results
}

/// How far the first gate's first case wandered.
fn drift(results: &[Vec<Measured>]) -> f64 {
    let costs = &results[0][0].costs;
    let middle = median(costs.clone());
    costs.iter().map(|cost| (cost / middle - 1.0).abs()).fold(0.0, f64::max)
}

fn print(over: &str, gates: &[Peer], cases: &[Case], results: &[Vec<Measured>]) {
    println!("\n| over {over}: case | gate | requests/s | CPU µs/request | Portcullis to it |");
    println!("|---|---|---|---|---|");
    for (n, case) in cases.iter().enumerate() {
        let ours =
            gates.iter().position(|g| g.opens_opaque).map_or(f64::NAN, |at| median(results[at][n].costs.clone()));
        for (gate, results) in gates.iter().zip(results) {
            let Measured { rates, costs } = results[n].clone();
            if !costs.is_empty() {
                let cost = median(costs);
                let (rate, ratio) = (median(rates), ours / cost);
                println!("| {} | {} | {rate:.0} | {cost:.1} | {ratio:.2} |", case.name, gate.name);
            }
        }
    }
}

/// The 99th percentile of each at the same pace: 80 % of what the slower one can.
fn at_eighty_percent(gates: &[Peer], case: &Case, pace: f64) {
    println!("\n| {}, {pace:.0} requests/s | p50 µs | p99 µs |", case.name);
    println!("|---|---|---|");
    let mut all = vec![Vec::new(); gates.len()];
    for _ in 0..ROUNDS {
        for (gate, all) in gates.iter().zip(&mut all) {
            let shape = (CONNECTIONS, REQUESTS);
            all.extend(load((gate.address(None), None), case.path, (&case.tokens, 0), shape, Some(pace)).1);
        }
    }
    for (gate, mut took) in gates.iter().zip(all) {
        took.sort_unstable();
        println!("| {} | {} | {} |", gate.name, took[took.len() / 2], took[took.len() * 99 / 100]);
    }
}

fn run(folder: &Path) -> ExitCode {
    let upstream = upstream();
    let tls = set_up(folder, &upstream);
    let rs256 = minted(folder, TOKENS, (TokenFormat::Jwt, SigningAlgorithm::Rs256));
    let opaque = minted(folder, TOKENS, (TokenFormat::Opaque, SigningAlgorithm::Es256));
    let cases = [
        Case { name: "open route", path: "/open/x", tokens: Vec::new(), ours_alone: false },
        Case { name: "RS256, one token", path: "/orders/7", tokens: rs256[..1].to_vec(), ours_alone: false },
        Case { name: "RS256, 4,000 tokens", path: "/orders/7", tokens: rs256.clone(), ours_alone: false },
        Case { name: "opaque, 4,000 tokens", path: "/orders/7", tokens: opaque, ours_alone: true },
    ];
    let own = |name, kind: &str, checks| Peer::of(name, start(kind, folder, &upstream, &[]), checks);
    let bare = own("bare Pingora", "bare", false);
    let mut gates = vec![own("Portcullis", "gate", true)];
    for start in peers::ALL {
        match start(folder, &upstream, &rs256[0]) {
            Ok(peer) => gates.push(peer),
            Err(why) => eprintln!("left out: {why}"),
        }
    }
    // Without ours there is nothing to compare with.
    if let Err(why) = answers(&gates[0], &tls, &rs256[0]) {
        eprintln!("{} {why}", gates[0].name);
        return ExitCode::FAILURE;
    }
    gates.retain(|gate| match answers(gate, &tls, &rs256[0]) {
        Ok(()) => true,
        Err(why) => {
            eprintln!("left out: {} {why}", gate.name);
            false
        }
    });
    let mut steady = true;
    // The baseline goes first in every round, and checks nothing.
    gates.insert(0, bare);
    for (over, config) in [("HTTP", None), ("TLS", Some(&tls))] {
        let results = measure(&gates, &cases, config, ROUNDS);
        let drift = drift(&results);
        if drift > DRIFT {
            eprintln!("over {over} the baseline wandered by {:.0} %: nothing is compared; try again", drift * 100.0);
            steady = false;
            continue;
        }
        print(over, &gates, &cases, &results);
        let proxy = gates.iter().position(|g| g.name.starts_with("HAProxy"));
        if let (None, Some(proxy)) = (config, proxy) {
            let pace = 0.8 * median(results[proxy][2].rates.clone()).min(median(results[1][2].rates.clone()));
            let pair: Vec<Peer> = [1, proxy].map(|at| gates[at].clone()).into();
            at_eighty_percent(&pair, &cases[2], pace);
        }
    }
    if steady { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn main() -> ExitCode {
    if rig::was_called_to_serve() {
        return ExitCode::SUCCESS;
    }
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir_all(folder.path().join("data")).expect("made");
    run(folder.path())
}
