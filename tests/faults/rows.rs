//! One function a fault.
use super::{
    Row,
    cluster::Cluster,
    history::{History, Told},
    node::{Person, REFRESH, redeemed},
    process::{GRANT, Gate, until},
    proxy::Wire,
    times,
};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use portcullis::clock::{Clock, SystemClock};
use serde_json::{Value, json};
use std::{
    fs,
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// The stated bound from a revocation's acceptance on one node to its refusal by all.
const BOUND: Duration = Duration::from_secs(1);

/// A client that remembers what it was told.
struct Client<'a> {
    agent: ureq::Agent,
    history: &'a History,
    url: String,
    issuer: String,
    key: EncodingKey,
}

impl<'a> Client<'a> {
    fn of(gate: &Gate, issuer: &Gate, history: &'a History) -> Self {
        let key = EncodingKey::from_ec_pem(&fs::read(gate.path("certs/orders-robot.key")).unwrap()).unwrap();
        Self { agent: gate.agent(), history, url: gate.issuer(), issuer: issuer.issuer(), key }
    }

    fn post(&self, path: &str, fields: &[(&str, &str)]) -> (u16, Value) {
        match self.agent.post(format!("{}{path}", self.url)).send_form(fields.iter().copied()) {
            Ok(mut answer) => {
                let body = answer.body_mut().read_to_string().unwrap_or_default();
                (answer.status().as_u16(), serde_json::from_str(&body).unwrap_or_default())
            }
            Err(_) => (0, Value::Null),
        }
    }

    fn assertion(&self) -> String {
        let now = SystemClock.now().0;
        let claims = json!({"iss": "orders-robot", "sub": "alice", "aud": self.issuer, "exp": now + 120,
            "iat": now, "jti": portcullis::secret::random_id()});
        jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &self.key).unwrap()
    }

    fn bearer(&self, assertion: &str) -> Option<String> {
        self.history.note(|| {
            let (status, body) = self.post("/oauth2/token", &[("grant_type", GRANT), ("assertion", assertion)]);
            let token = body["access_token"].as_str().filter(|_| status == 200).map(str::to_owned);
            let told = match &token {
                Some(token) => vec![Told::Issued(token.clone()), Told::Used(assertion.to_owned())],
                None if status >= 500 => vec![Told::Failed],
                None => vec![],
            };
            (token, told)
        })
    }

    fn issue(&self) -> Option<String> {
        self.bearer(&self.assertion())
    }

    /// The status; 0 without a connection.
    fn call(&self, token: &str) -> u16 {
        self.history.note(|| {
            let request =
                self.agent.get(format!("{}/orders/7", self.url)).header("authorization", format!("Bearer {token}"));
            let status = request.call().map_or(0, |answer| answer.status().as_u16());
            let decided = match status {
                200 => Some(true),
                401 | 403 => Some(false),
                _ => None,
            };
            let failed = (status >= 500).then_some(Told::Failed);
            (status, [Told::Called(token.to_owned(), decided)].into_iter().chain(failed).collect())
        })
    }

    fn revoke(&self, token: &str) -> bool {
        self.history.note(|| {
            let (status, _) = self.post("/oauth2/revoke", &[("client_id", "orders-robot"), ("token", token)]);
            (status == 200, vec![Told::Revoked(token.to_owned(), status == 200)])
        })
    }

    /// The next pair of a family; the old refresh token is used up.
    fn refresh(&self, refresh: &str) -> (u16, Value) {
        let fields = [("grant_type", REFRESH), ("client_id", "notebook"), (REFRESH, refresh)];
        let (status, body) = self.post("/oauth2/token", &fields);
        if let Some(token) = body["access_token"].as_str() {
            self.history.note(|| ((), vec![Told::Issued(token.to_owned())]));
        }
        (status, body)
    }
}

fn kill(gate: &mut Gate) {
    let mut child = gate.child.take().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
}

fn row(fault: &'static str, tries: usize, history: &History, recovery: String) -> Row {
    Row { fault, tries, verdict: history.judge(BOUND), unexpected: 0, recovery }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned()
}

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

/// One code, many at once, on two nodes.
pub fn raced() -> Result<Row, String> {
    let cluster = Cluster::start(false);
    let mut a = Gate::on(&cluster, &cluster.database());
    a.run();
    let mut b = a.beside();
    b.run();
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
    let mut a = Gate::on(&cluster, &cluster.database());
    a.run();
    let mut b = a.beside();
    b.run();
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

/// The database stands still: what is known is acted upon for so long, then 503, each within two seconds.
pub fn database_stopped() -> Result<Row, String> {
    let cluster = Cluster::start(true);
    let mut gate = Gate::on(&cluster, &cluster.database());
    gate.edit("conf/portcullis.toml", "postgres = ", "stale_after = 2\npostgres = ");
    gate.run();
    let (history, still) = (History::default(), Duration::from_secs(times(6, 30) as u64));
    let client = Client::of(&gate, &gate, &history);
    let token = client.issue().ok_or("no token")?;
    let revoked = client.issue().ok_or("no token")?;
    assert!(client.revoke(&revoked));
    cluster.signal("-STOP");
    let begun = Instant::now();
    let (mut late, mut slowest) = (0, Duration::ZERO);
    while begun.elapsed() < still {
        client.call(&revoked);
        let asked = Instant::now();
        let status = client.call(&token);
        late += usize::from(status == 200 && asked.duration_since(begun) > Duration::from_millis(2_300));
        assert!(client.issue().is_none(), "no token without a store");
        slowest = slowest.max(asked.elapsed());
    }
    cluster.signal("-CONT");
    let back = Instant::now();
    assert!(until(|| client.call(&token) == 200 && client.issue().is_some()));
    let healthy = back.elapsed();
    let slow = usize::from(slowest > Duration::from_secs(2)) + usize::from(healthy > Duration::from_secs(5));
    let recovery = format!("{} ms; slowest answer {} ms", healthy.as_millis(), slowest.as_millis());
    Ok(Row { unexpected: late + slow, ..row("F6 database stopped (SIGSTOP)", 1, &history, recovery) })
}

/// One node is cut off from the database; before that, how long a revocation takes to the other one.
pub fn cut_off() -> Result<Row, String> {
    let cluster = Cluster::start(true);
    let wire = Wire::to(cluster.port);
    let database = cluster.database();
    let mut a = Gate::on(&cluster, &database);
    a.run();
    let mut b = a.beside();
    let address = format!(
        "host=127.0.0.1 port={} user=portcullis dbname={database}\"\nstale_after = 2\npassword_file = \"{}\"\nca_file = \"{}",
        wire.port,
        cluster.password_file().display(),
        cluster.authority.display()
    );
    b.edit("conf/portcullis.toml", &cluster.address(&database), &address);
    b.run();
    let (history, tries) = (History::default(), times(40, 200));
    let [on_a, on_b] = [&a, &b].map(|node| Client::of(node, &a, &history));
    let mut lags: Vec<Duration> = (0..tries)
        .map(|_| {
            let token = on_a.issue().unwrap();
            assert_eq!(on_b.call(&token), 200);
            assert!(on_a.revoke(&token));
            let begun = Instant::now();
            while on_b.call(&token) != 401 {
                std::thread::sleep(Duration::from_millis(1));
            }
            begun.elapsed()
        })
        .collect();
    lags.sort();
    let p99 = lags[(lags.len() * 99).div_ceil(100) - 1];
    let mut alice = Person::default();
    let codes = [alice.code(&[&a]), alice.code(&[&a])];
    let tokens: Vec<String> = (0..2).map(|_| on_a.issue().unwrap()).collect();
    tokens.iter().for_each(|token| assert_eq!(on_b.call(token), 200));
    wire.cut();
    let begun = Instant::now();
    // A revocation on the well node cannot reach the other one: it may answer for so long, and no longer.
    let unheard = History::default();
    assert!(on_a.revoke(&tokens[0]));
    let on_the_cut = Client::of(&b, &a, &unheard);
    let mut late = 0;
    while begun.elapsed() < Duration::from_secs(5) {
        let asked = Instant::now();
        let status = on_the_cut.call(&tokens[0]);
        late += usize::from(status == 200 && asked.duration_since(begun) > Duration::from_millis(2_300));
    }
    for code in &codes {
        let both = [redeemed(&b, code).0, redeemed(&a, code).0];
        both.iter().filter(|s| **s == 200).for_each(|_| history.note(|| ((), vec![Told::Used(code.clone())])));
    }
    wire.mend();
    let back = Instant::now();
    assert!(until(|| on_b.call(&tokens[1]) == 200));
    let (half, p99) = (lags[lags.len() / 2].as_millis(), p99.as_millis());
    let recovery = format!("{} ms; revoke A -> refused B p50 {half} ms, p99 {p99} ms", back.elapsed().as_millis());
    assert_eq!(on_b.call(&tokens[0]), 401, "heard of after its return");
    Ok(Row { unexpected: late, ..row("F7 one of two nodes cut off from the database", tries, &history, recovery) })
}

/// The store's disk is full: no token is handed out that was not stored.
pub fn full_disk() -> Result<Row, String> {
    let mut gate = Gate::prepare();
    let disk = gate.path("disk");
    fs::create_dir(&disk).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs"]).arg(&disk).output();
    if !mounted.is_ok_and(|out| out.status.success()) {
        return Err("F8 needs leave to mount a tmpfs".to_owned());
    }
    let unmount = || Command::new("umount").arg("-l").arg(&disk).status();
    gate.edit("conf/portcullis.toml", "data = \"../data\"", &format!("data = \"{}\"", disk.display()));
    gate.run();
    let history = History::default();
    let client = Client::of(&gate, &gate, &history);
    let kept = client.issue().ok_or("no token")?;
    let filler = disk.join("filler");
    let _ = Command::new("dd").args(["if=/dev/zero", "bs=4096"]).arg(format!("of={}", filler.display())).output();
    let mut refused = 0;
    for _ in 0..times(300, 2000) {
        let assertion = client.assertion();
        let (status, body) = client.post("/oauth2/token", &[("grant_type", GRANT), ("assertion", &assertion)]);
        match body["access_token"].as_str() {
            // Room that the log still had; what was handed out must be there afterwards.
            Some(token) => history.note(|| ((), vec![Told::Issued(token.to_owned()), Told::Used(assertion)])),
            None => {
                assert_eq!(status, 503, "{body}");
                refused += 1;
            }
        }
        if refused > 5 {
            break;
        }
    }
    let starved = usize::from(refused == 0);
    fs::remove_file(&filler).unwrap();
    let back = Instant::now();
    assert!(until(|| client.issue().is_some()));
    let recovery = format!("{} ms", back.elapsed().as_millis());
    client.call(&kept);
    kill(&mut gate);
    gate.run();
    let again = Client::of(&gate, &gate, &history);
    again.call(&kept);
    kill(&mut gate);
    let _ = unmount();
    Ok(Row { unexpected: starved, ..row("F8 store on a full 8 MiB tmpfs", refused, &history, recovery) })
}

/// Bytes of the store are flipped: seen at the start or at the record, never believed.
pub fn flipped() -> Result<Row, String> {
    let (history, tries) = (History::default(), times(4, 40));
    let (mut refused_at_start, mut unseen) = (0, 0);
    for n in 0..tries {
        let mut gate = Gate::start();
        let family = redeemed(&gate, &Person::default().code(&[&gate])).1;
        gate.signal("-TERM");
        gate.child.take().unwrap().wait().unwrap();
        let path = gate.path("data/portcullis.db");
        // What the log still holds would cover what is flipped beneath it.
        rusqlite::Connection::open(&path).unwrap().execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        let mut bytes = fs::read(&path).unwrap();
        let before = b"{\"id\"";
        let spots: Vec<usize> = (0..bytes.len() - before.len()).filter(|at| bytes[*at..].starts_with(before)).collect();
        if n % 2 == 0 {
            // In every authorization's record.
            spots.iter().for_each(|at| bytes[at + 12] ^= 1);
        } else {
            bytes[100 + n * 7] ^= 0x10;
        }
        fs::write(&path, &bytes).unwrap();
        let told = gate.command(&["store", "check"], "");
        if told.status.success() {
            unseen += usize::from(n % 2 == 0);
            continue;
        }
        let words = String::from_utf8_lossy(&told.stderr).into_owned();
        assert!(words.contains("corrupt"), "{words}");
        refused_at_start += 1;
        if words.contains("restore a backup") {
            continue;
        }
        gate.run();
        let (status, body) = gate.refreshed(&family[REFRESH]);
        if status == 200 {
            history.note(|| ((), vec![Told::Used(body.to_string()); 2]));
        }
    }
    let made = row("F9 flipped bytes in the store", tries, &history, format!("{refused_at_start} told in words"));
    Ok(Row { unexpected: unseen, ..made })
}

/// Broken configurations: the old one keeps serving.
pub fn broken_configuration() -> Result<Row, String> {
    let (gate, history, tries) = (Gate::start(), History::default(), times(40, 1000));
    let client = Client::of(&gate, &gate, &history);
    let token = client.issue().ok_or("no token")?;
    let good = fs::read_to_string(gate.config()).unwrap();
    let mut taken_up = 0;
    for n in 0..tries {
        let cut = 40 + (n * 37) % (good.len() - 80);
        let bad = match n % 3 {
            0 => format!("{}\n[[route", good.chars().take(cut).collect::<String>()),
            1 => good.replacen("path", "pth", 1),
            _ => format!("{good}\nstray = \u{0}"),
        };
        fs::write(gate.config(), bad).unwrap();
        taken_up += usize::from(gate.admin("POST", "/reload").0 != 422);
        client.call(&token);
    }
    let metrics = gate.admin("GET", "/metrics").1;
    assert!(metrics.contains("portcullis_reloads_total{outcome=\"refused\"}"));
    fs::write(gate.config(), good).unwrap();
    assert!(until(|| gate.ready()["last_reload_refused"] == json!([])));
    let made = row("F10 broken and half-written configuration", tries, &history, "the old one served".to_owned());
    Ok(Row { unexpected: taken_up + made.verdict.failed, ..made })
}

/// Reloads under load: nobody notices.
pub fn reloaded() -> Result<Row, String> {
    let (gate, history, seconds) = (Gate::start(), History::default(), times(4, 60));
    let over = AtomicBool::new(false);
    let tries = std::thread::scope(|scope| {
        let (gate, history, over) = (&gate, &history, &over);
        for _ in 0..2 {
            scope.spawn(move || {
                let client = Client::of(gate, gate, history);
                let token = client.issue().unwrap();
                while !over.load(Ordering::SeqCst) {
                    client.call(&token);
                }
            });
        }
        let begun = Instant::now();
        let mut tries = 0;
        while begun.elapsed() < Duration::from_secs(seconds as u64) {
            gate.edit("conf/portcullis.toml", "name = \"status\"", &format!("name = \"status{}\"", tries % 2));
            assert_eq!(gate.admin("POST", "/reload").0, 200);
            gate.edit("conf/portcullis.toml", &format!("name = \"status{}\"", tries % 2), "name = \"status\"");
            tries += 1;
            std::thread::sleep(Duration::from_millis(100));
        }
        over.store(true, Ordering::SeqCst);
        tries
    });
    let made = row("F11 reloads under load", tries, &history, "unnoticed".to_owned());
    Ok(Row { unexpected: made.verdict.failed, ..made })
}

/// A policy is tightened: nothing is allowed after the reload was acknowledged.
pub fn tightened() -> Result<Row, String> {
    let (gate, history, tries) = (Gate::start(), History::default(), times(6, 100));
    let client = Client::of(&gate, &gate, &history);
    let token = client.issue().ok_or("no token")?;
    let mut allowed = 0;
    for _ in 0..tries {
        gate.edit("conf/apps/orders-robot.toml", "client_id", "blocked = true\nclient_id");
        assert_eq!(gate.admin("POST", "/reload").0, 200);
        let request = client.agent.get(format!("{}/orders/7", client.url));
        let status =
            request.header("authorization", format!("Bearer {token}")).call().map_or(0, |a| a.status().as_u16());
        allowed += usize::from(status != 401);
        gate.edit("conf/apps/orders-robot.toml", "blocked = true\n", "");
        assert_eq!(gate.admin("POST", "/reload").0, 200);
        client.call(&token);
    }
    Ok(Row {
        unexpected: allowed,
        ..row("F12 policy tightened", tries, &history, "felt at the acknowledgement".to_owned())
    })
}

/// Keys are rotated under load: no false refusal.
pub fn rotated() -> Result<Row, String> {
    let (gate, history, tries) = (Gate::start(), History::default(), times(4, 50));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (gate, history, over) = (&gate, &history, &over);
        for _ in 0..2 {
            scope.spawn(move || {
                let client = Client::of(gate, gate, history);
                let first = client.issue().unwrap();
                while !over.load(Ordering::SeqCst) {
                    client.call(&first);
                    let token = client.issue().unwrap();
                    client.call(&token);
                }
            });
        }
        for _ in 0..tries {
            assert!(gate.command(&["keys", "rotate", "--publish-before", "1"], "").status.success());
            std::thread::sleep(Duration::from_millis(1_200));
        }
        over.store(true, Ordering::SeqCst);
    });
    let made = row("F13 signing keys rotated under load", tries, &history, "no false refusal".to_owned());
    Ok(Row { unexpected: made.verdict.failed, ..made })
}

/// The program is replaced under load.
pub fn upgraded() -> Result<Row, String> {
    // An upstream that stays: the example API of the gateway itself is replaced with it.
    let upstream = Gate::start();
    let (mut gate, history, tries) = (Gate::prepare(), History::default(), times(2, 20));
    let [own, other] = [gate.example, upstream.example].map(|port| format!("addresses = [\"127.0.0.1:{port}\"]"));
    gate.edit("conf/portcullis.toml", &own, &other);
    gate.run();
    let over = AtomicBool::new(false);
    let unanswered = AtomicUsize::new(0);
    let mut serving = gate.child.as_ref().unwrap().id();
    std::thread::scope(|scope| {
        let (over, history, unanswered) = (&over, &history, &unanswered);
        let client = Client::of(&gate, &gate, history);
        scope.spawn(move || {
            let token = client.issue().unwrap();
            while !over.load(Ordering::SeqCst) {
                unanswered.fetch_add(usize::from(client.call(&token) == 0), Ordering::SeqCst);
            }
        });
        for n in 1..=tries {
            Command::new("kill").args(["-USR2", &serving.to_string()]).status().unwrap();
            let handed = || {
                let audit = fs::read_to_string(gate.path("audit.log")).unwrap();
                let lines = audit.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
                lines.filter(|line| line["outcome"] == "handed over").nth(n - 1).map(|line| line["pid"].clone())
            };
            assert!(until(|| handed().is_some()));
            let before = std::mem::replace(&mut serving, u32::try_from(handed().unwrap().as_u64().unwrap()).unwrap());
            assert!(until(|| !std::path::Path::new(&format!("/proc/{before}/fd/0")).exists()));
        }
        over.store(true, Ordering::SeqCst);
    });
    let _ = Command::new("kill").args(["-TERM", &serving.to_string()]).status();
    let _ = gate.child.take().map(|mut child| child.wait());
    let unanswered = unanswered.into_inner();
    let made =
        row("F18 binary upgrade under load", tries, &history, format!("{unanswered} connections without an answer"));
    // A kept connection may end under a request that was just written into it; the client's library asks again.
    Ok(Row { unexpected: made.verdict.failed, ..made })
}
