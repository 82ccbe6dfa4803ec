//! What works once, however often it is tried and whatever is lost on the way.
use super::*;

/// The process is killed while tokens are issued, rotated and revoked; then everything that was told is asked again.
pub fn killed() -> Result<Row, String> {
    let (mut gate, history, tries) = (Gate::start(), History::default(), times(3, 200));
    let mut slowest = Duration::ZERO;
    for _ in 0..tries {
        let family = redeemed(&gate, &Person::default().code(&[&gate])).1;
        let (over, live, latest) = (AtomicBool::new(false), Mutex::new(Vec::new()), Mutex::new(text(&family[REFRESH])));
        std::thread::scope(|scope| {
            let (gate, history, over, live, latest) = (&gate, &history, &over, &live, &latest);
            for _ in 0..3 {
                scope.spawn(move || {
                    let client = Client::of(gate, gate, history);
                    while !over.load(Ordering::SeqCst) {
                        let Some(token) = client.issue() else { continue };
                        if live.lock().unwrap().len() % 2 == 0 {
                            client.revoke(&token);
                        }
                        live.lock().unwrap().push(token);
                    }
                });
            }
            scope.spawn(move || {
                let client = Client::of(gate, gate, history);
                while !over.load(Ordering::SeqCst) {
                    let token = latest.lock().unwrap().clone();
                    if let (200, body) = client.refresh(&token) {
                        *latest.lock().unwrap() = text(&body[REFRESH]);
                    }
                }
            });
            std::thread::sleep(Duration::from_millis(400));
            gate.signal("-KILL");
            over.store(true, Ordering::SeqCst);
        });
        kill(&mut gate);
        let begun = Instant::now();
        gate.run();
        slowest = slowest.max(begun.elapsed());
        let client = Client::of(&gate, &gate, &history);
        for token in live.lock().unwrap().iter() {
            client.call(token);
        }
        // The answer to the last rotation may have been lost: then the token before it works once more.
        let latest = latest.into_inner().unwrap();
        assert_eq!(client.refresh(&latest).0, 200, "a refresh token that was told is not lost");
    }
    // What was cut off by the kill was no answer of ours.
    Ok(row("F1 kill -9 during issue, rotate, revoke", tries, &history, format!("{} ms to ready", slowest.as_millis())))
}

/// After a restart everything that works once has been used.
pub fn replayed() -> Result<Row, String> {
    let (mut gate, history) = (Gate::start(), History::default());
    let code = Person::default().code(&[&gate]);
    let (_, first) = redeemed(&gate, &code);
    let (status, _) = gate.refreshed(&first[REFRESH]);
    assert_eq!(status, 200);
    let assertion = Client::of(&gate, &gate, &history).assertion();
    assert!(Client::of(&gate, &gate, &history).bearer(&assertion).is_some());
    kill(&mut gate);
    gate.run();
    let client = Client::of(&gate, &gate, &history);
    client.bearer(&assertion);
    for (what, status) in [("code", redeemed(&gate, &code).0), ("refresh", gate.refreshed(&first[REFRESH]).0)] {
        history.note(|| ((), if status == 200 { vec![Told::Used(what.to_owned()); 2] } else { vec![] }));
    }
    Ok(row("F2 restart, then every replay", 3, &history, "refused".to_owned()))
}

/// Two nodes that run on one database.
fn two(cluster: &Cluster) -> (Gate, Gate) {
    let mut a = Gate::on(cluster, &cluster.database());
    a.run();
    let mut b = a.beside();
    b.run();
    (a, b)
}

/// One code, many at once, on two nodes.
pub fn raced() -> Result<Row, String> {
    let cluster = Cluster::start(false);
    let (a, b) = two(&cluster);
    let (nodes, history, tries) = ([&a, &b], History::default(), times(5, 500));
    let mut alice = Person::default();
    let missed = AtomicUsize::new(0);
    for _ in 0..tries {
        let code = alice.code(&nodes);
        let won = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for n in 0..64 {
                let (code, history, won) = (&code, &history, &won);
                scope.spawn(move || {
                    if redeemed(nodes[n % 2], code).0 == 200 {
                        won.fetch_add(1, Ordering::SeqCst);
                        history.note(|| ((), vec![Told::Used(code.clone())]));
                    }
                });
            }
        });
        missed.fetch_add(usize::from(won.into_inner() != 1), Ordering::SeqCst);
    }
    let unexpected = missed.into_inner();
    Ok(Row {
        unexpected,
        ..row("F3 64 redemptions of one code at once, two nodes", tries, &history, "one won each".to_owned())
    })
}

/// One refresh token, many at once, on two nodes: its successor, and once more the successor's replacement.
pub fn refreshed_at_once() -> Result<Row, String> {
    let cluster = Cluster::start(false);
    let (a, b) = two(&cluster);
    let (nodes, history, tries) = ([&a, &b], History::default(), times(5, 500));
    let mut alice = Person::default();
    let mut unexpected = 0;
    for _ in 0..tries {
        let (_, family) = redeemed(&a, &alice.code(&nodes));
        let answers: Vec<u16> = std::thread::scope(|scope| {
            let family = &family;
            let racers: Vec<_> =
                (0..64).map(|n| scope.spawn(move || nodes[n % 2].refreshed(&family[REFRESH]).0)).collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect()
        });
        let count = |status: u16| answers.iter().filter(|s| **s == status).count();
        unexpected += usize::from(!(1..=2).contains(&count(200))) + (64 - count(200) - count(400));
    }
    let words = "one or two each, none of 5xx".to_owned();
    Ok(Row { unexpected, ..row("F4 64 refreshes of one token at once, two nodes", tries, &history, words) })
}

/// The answer to a refresh is lost: the token before it works once more, and its successor is dead.
pub fn answer_lost() -> Result<Row, String> {
    let (gate, history, tries) = (Gate::start(), History::default(), times(5, 50));
    let mut alice = Person::default();
    let mut unexpected = 0;
    for _ in 0..tries {
        let (_, first) = redeemed(&gate, &alice.code(&[&gate]));
        let (_, lost) = gate.refreshed(&first[REFRESH]);
        let (status, second) = gate.refreshed(&first[REFRESH]);
        let dead = gate.call(lost["access_token"].as_str().unwrap());
        let lives = gate.call(second["access_token"].as_str().unwrap());
        unexpected += usize::from((status, dead, lives) != (200, 401, 200));
        // The dead one shown again is a replay: it ends the family.
        unexpected += usize::from(gate.refreshed(&lost[REFRESH]).0 != 400);
    }
    Ok(Row { unexpected, ..row("F5 the answer to a refresh is lost", tries, &history, "recovers once".to_owned()) })
}
