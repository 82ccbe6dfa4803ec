//! Everything at once, for a while: `make soak` for three minutes, `MINUTES=30 make soak` for as long as the list says. Calls,
//! token requests, revocations, refreshes, reloads good and bad, key rotations and an upstream that comes and goes; what every
//! client was told is checked, and so is the memory of the process. Prints one table; fails if one promise was broken.
#![allow(clippy::unwrap_used)] // an actor ends where its ground gives way
mod actors;
#[path = "../door/cluster.rs"]
#[allow(dead_code)]
mod cluster;
#[path = "../faults/history.rs"]
#[allow(dead_code)]
mod history;
mod memory;
#[path = "../door/node.rs"]
#[allow(dead_code)]
mod node;
#[path = "../door/process.rs"]
#[allow(dead_code, unused_imports)]
mod process;
mod upstream;

use actors::{Stage, Tally};
use memory::Memory;
use process::Gate;
use std::{
    fs,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};
use upstream::Upstream;

/// The routes of this run beside the shipped ones.
fn routes(steady: &Upstream, flaky: &Upstream) -> String {
    let route = |name: &str, more: &str, port: u16| {
        format!(
            "[[route]]\nname = \"{name}\"\npath = \"/{name}/*\"\n{more}\nupstream.addresses = [\"127.0.0.1:{port}\"]\n\n"
        )
    };
    let scopes = "scopes = [\"orders:read\"]\nmethod.POST.scopes = [\"orders:write\"]";
    route("steady", scopes, steady.port)
        + &route("flaky", scopes, flaky.port)
        + &route("door", actors::OPEN, steady.port)
}

fn main() {
    history::proved();
    memory::proved();
    let minutes: f64 = std::env::var("MINUTES").ok().and_then(|m| m.parse().ok()).unwrap_or(3.0);
    let (steady, flaky) = (Upstream::start(), Upstream::start());
    let mut gate = Gate::prepare();
    let shipped = fs::read_to_string(gate.config()).unwrap();
    let (head, rest) = shipped.split_once("[[route]]").unwrap();
    fs::write(gate.config(), format!("{head}{}[[route]]{rest}", routes(&steady, &flaky))).unwrap();
    gate.run();
    let stage = Stage::of(&gate, &steady, &flaky);
    let process = gate.child.as_ref().unwrap().id();
    let (begun, whole) = (Instant::now(), Duration::from_secs_f64(minutes * 60.0));
    let mut memory = Memory::of(process);
    std::thread::scope(|scope| {
        let stage = &stage;
        for (_, play) in actors::ALL {
            scope.spawn(move || play(stage));
        }
        while begun.elapsed() < whole {
            memory.look();
            std::thread::sleep(Duration::from_millis(500));
        }
        stage.over.store(true, Ordering::SeqCst);
    });
    let verdict = stage.history.judge(Duration::ZERO);
    println!(
        "{:<14} {:>8} {:>8} {:>8} {:>10} {:>12} {:>6}",
        "actor", "asked", "allowed", "refused", "failed so", "unexplained", "wrong"
    );
    let mut broken = verdict.wrong_allows + verdict.lost + steady.forbidden() + flaky.forbidden();
    let mut asked = 0;
    for ((name, _), tally) in actors::ALL.iter().zip(&stage.tallies) {
        let Tally { asked: of_it, allowed, refused, explained, unexplained, wrong } = tally.seen();
        println!("{name:<14} {of_it:>8} {allowed:>8} {refused:>8} {explained:>10} {unexplained:>12} {wrong:>6}");
        broken += unexplained + wrong;
        asked += of_it;
        assert!(of_it > 0, "{name} has done nothing");
    }
    println!("{asked} requests and acts in {:.1} minutes", begun.elapsed().as_secs_f64() / 60.0);
    println!("history: {} events, {} wrong allows, {} tokens lost", verdict.events, verdict.wrong_allows, verdict.lost);
    println!(
        "upstreams: {} requests, {} that no permit let through",
        steady.served() + flaky.served(),
        steady.forbidden() + flaky.forbidden()
    );
    println!("resident memory: {memory}");
    stage.complaints().iter().take(20).for_each(|line| println!("  {line}"));
    assert!(gate.child.as_mut().unwrap().try_wait().unwrap().is_none(), "the process has ended");
    assert_eq!(broken, 0, "promises broken");
    assert!(memory.is_flat(), "memory grows: {memory}");
}
