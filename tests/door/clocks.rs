//! Nodes whose clocks lie apart, under every order of events that a seed comes up with: what was made before an ending was
//! heard of opens nowhere afterwards, whatever time it bears. `SEED=n cargo test --test door clocks -- --nocapture`.
use super::{
    provider::*,
    simulation::{Dice, Shaky, now, seeds},
};
use portcullis::{
    clock::{ManualClock, Timestamp},
    log::Log,
    provider::Provider,
    store::{Store, memory::MemoryStore},
    token::{Tokens, keys::Keys, vault::Vault},
};
use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

const SEEDS: u64 = 1_000;
const EVENTS: usize = 160;
const NODES: usize = 3;
/// Seconds that a clock may be ahead or behind.
const APART: usize = 30;
/// Seconds that a token lives.
const LIFE: i64 = 600;
/// Everything of it ends.
const TARGET: &str = "client/app";

struct Node {
    provider: Arc<Provider>,
    tokens: Arc<Tokens>,
    clock: Arc<ManualClock>,
}

impl Node {
    fn time(&self) -> Timestamp {
        portcullis::clock::Clock::now(&*self.clock)
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Asked {
    Token,
    End,
    Follow,
}

/// Done, with a token where one was asked for.
type Work = Pin<Box<dyn Future<Output = Option<String>>>>;

struct Flight {
    node: usize,
    asked: Asked,
    /// By the count of events, and by the node's clock.
    begun: usize,
    sent: Timestamp,
    work: Work,
}

fn send(node: &Node, asked: Asked) -> Work {
    let (provider, tokens, at) = (node.provider.clone(), node.tokens.clone(), node.time());
    Box::pin(async move {
        match asked {
            Asked::Token => ask_for_a_token(&provider).await,
            Asked::End => tokens.end_all(TARGET, LIFE, at).await.ok().map(|()| String::new()),
            Asked::Follow => tokens.follow(at).await.ok().map(|()| String::new()),
        }
    })
}

/// A token that was made, by which node and when, and when its ask was answered.
struct Made {
    token: String,
    node: usize,
    answered: usize,
}

/// An ending: asked for and answered at which events, on which node and by which clock.
struct Ended {
    begun: usize,
    answered: usize,
    node: usize,
    at: Timestamp,
}

/// Closed by a clock that was behind, endings, tokens.
fn play(w: &World, keys: &Arc<Keys>, vault: &str, seed: u64) -> [usize; 3] {
    let mut dice = Dice::of(seed);
    let truth = Arc::new(MemoryStore::default());
    let shaky: Arc<dyn Store> = Arc::new(Shaky { store: truth.clone(), dice: Mutex::new(Dice::of(seed ^ 0x5eed)) });
    let nodes: [Node; NODES] = std::array::from_fn(|_| {
        let clock = Arc::new(ManualClock::at(Timestamp(1_000_000 + dice.below(APART + 1) as i64)));
        let metrics = w.metrics.clone();
        let tokens = Arc::new(Tokens::new(keys.clone(), shaky.clone(), 1 << 16, &metrics));
        while now(tokens.load_revocations(portcullis::clock::Clock::now(&*clock))).is_err() {}
        let vault = Vault::of(vault).unwrap();
        let (policy, store) = (w.policy.clone(), shaky.clone());
        let provider = Provider::new(policy, store, tokens.clone(), clock.clone(), metrics, Log::off(), vault);
        Node { provider: Arc::new(provider), tokens, clock }
    });
    let mut flights: Vec<Flight> = Vec::new();
    let (mut made, mut endings): (Vec<Made>, Vec<Ended>) = (Vec::new(), Vec::new());
    // For each node the events between which it followed.
    let mut followed: [Vec<(usize, usize)>; NODES] = Default::default();
    let mut ends_asked = 0;
    let mut closed = 0;
    for event in 0..EVENTS {
        let choice = dice.below(100);
        if choice < 70 && !flights.is_empty() {
            let at_hand = dice.below(flights.len());
            let work = flights[at_hand].work.as_mut();
            let Poll::Ready(answer) = work.poll(&mut Context::from_waker(Waker::noop())) else { continue };
            let Flight { node, asked, begun, sent, .. } = flights.swap_remove(at_hand);
            let Some(answer) = answer else { continue };
            match asked {
                Asked::Token => {
                    let opens = nodes[node].tokens.open(&answer, nodes[node].time()).is_ok();
                    let over = nodes[node].time() >= sent.plus(LIFE);
                    assert!(opens || over || ends_asked > 0, "seed {seed}: a token that nothing has ended is refused");
                    made.push(Made { token: answer, node, answered: event });
                }
                Asked::End => endings.push(Ended { begun, answered: event, node, at: sent }),
                Asked::Follow => {
                    followed[node].push((begun, event));
                    for ended in endings.iter().filter(|ended| ended.answered < begun) {
                        let knew = |by: usize| {
                            by == node
                                || by == ended.node
                                || followed[by].iter().any(|(from, to)| *from > ended.answered && *to < begun)
                        };
                        for token in made.iter().filter(|made| made.answered < ended.begun && knew(made.node)) {
                            let opened = nodes[node].tokens.open(&token.token, nodes[node].time());
                            assert!(opened.is_err(), "seed {seed}: a token opens after its end was heard of (F7, F14)");
                            closed += usize::from(nodes[token.node].time() > ended.at && token.node != ended.node);
                        }
                    }
                }
            }
        } else if choice < 74 {
            let by = [0, 1, 3][dice.below(3)];
            nodes.iter().for_each(|node| node.clock.advance(by));
        } else if flights.len() < 6 {
            let node = dice.below(NODES);
            let asked = match dice.below(16) {
                0 => Asked::End,
                1..=8 => Asked::Follow,
                _ => Asked::Token,
            };
            ends_asked += i64::from(asked == Asked::End);
            let work = send(&nodes[node], asked);
            flights.push(Flight { node, asked, begun: event, sent: nodes[node].time(), work });
        }
    }
    // It reaches as far as the fastest clock, and a second further for each time that it was said again: soon after,
    // everybody's new tokens are good again.
    let fastest = nodes.iter().map(Node::time).max().unwrap();
    let stored = now(truth.get(&format!("revoked/{TARGET}"), Timestamp::FIRST)).unwrap();
    if let Some(record) = stored {
        let before = i64::from_be_bytes(record.body.as_slice().try_into().unwrap());
        assert!(before <= fastest.0 + ends_asked, "seed {seed}: an ending reaches far beyond everybody's time");
    }
    [closed, endings.len(), made.len()]
}

/// One token of [`TARGET`]; none where the store did not answer.
async fn ask_for_a_token(provider: &Provider) -> Option<String> {
    let response = provider.handle(form("/oauth2/token", Some("app"), &[("grant_type", "client_credentials")])).await;
    assert!([200, 503].contains(&response.status().as_u16()), "{}", read(&response));
    read(&response)["access_token"].as_str().map(str::to_owned)
}

#[tokio::test]
async fn f7_f14_what_was_made_before_its_end_was_heard_opens_nowhere_whatever_its_clock_said() {
    let w = world().await;
    let keys = Arc::new(Keys::load_or_create(w.data.path(), &*w.clock).unwrap());
    let vault = Vault::text(w.data.path()).unwrap().unwrap();
    let mut sums = [0; 3];
    let (all, count) = seeds(SEEDS);
    for seed in all {
        sums.iter_mut().zip(play(&w, &keys, &vault, seed)).for_each(|(sum, count)| *sum += count);
    }
    println!("{count} seeds: {} closed by a clock that was behind, {} endings, {} tokens", sums[0], sums[1], sums[2]);
    assert!(count == 1 || sums.iter().all(|sum| *sum > count as usize / 4), "every kind of event happens: {sums:?}");
}
