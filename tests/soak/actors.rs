//! Who does what, each in a thread of its own until it is over.
use super::{
    history::{History, Told},
    node::{Person, REFRESH, redeemed},
    process::{GRANT, Gate, until},
    upstream::Upstream,
};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use portcullis::clock::{Clock, SystemClock};
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    fs,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use ureq::{
    Agent,
    tls::{Certificate, RootCerts, TlsConfig},
};

/// What an actor does, in the order of [`Stage::tallies`].
type Play = fn(&Stage<'_>);

/// Their names and parts.
pub const ALL: [(&str, Play); 10] = [
    ("caller", |s| call(s, 0)),
    ("caller", |s| call(s, 1)),
    ("HTTP/2 caller", |s| call_http2(s, 2)),
    ("flaky caller", |s| call_flaky(s, 3)),
    ("forbidden", |s| try_forbidden(s, 4)),
    ("issuer", |s| issue_and_revoke(s, 5)),
    ("refresher", |s| refresh(s, 6)),
    ("reloader", |s| reload(s, 7)),
    ("key rotation", |s| rotate(s, 8)),
    ("upstream", |s| flap(s, 9)),
];

/// What the reloader puts into the route `door`, in turn.
pub const OPEN: &str = "public = true # door";
const SHUT: &str = "scopes = [\"orders:write\"] # door";
/// Tokens that live at once; the oldest is revoked when there is one more.
const ALIVE: usize = 64;
/// Between two requests of a caller: the machine belongs to others too.
const PACE: Duration = Duration::from_millis(4);

/// What an actor was answered.
#[derive(Clone, Copy, Default)]
pub struct Tally {
    pub asked: usize,
    pub allowed: usize,
    pub refused: usize,
    pub explained: usize,
    pub unexplained: usize,
    pub wrong: usize,
}

/// An actor's tally while it is at work.
#[derive(Default)]
pub struct Counts(Mutex<Tally>);

impl Counts {
    pub fn seen(&self) -> Tally {
        *self.0.lock().unwrap()
    }

    fn note(&self, change: impl FnOnce(&mut Tally)) {
        let mut tally = self.0.lock().unwrap();
        tally.asked += 1;
        change(&mut tally);
    }
}

/// What all of them share.
pub struct Stage<'a> {
    pub gate: &'a Gate,
    pub over: AtomicBool,
    pub history: History,
    pub tallies: [Counts; 10],
    steady: &'a Upstream,
    flaky: &'a Upstream,
    key: EncodingKey,
    alive: Mutex<VecDeque<String>>,
    ended: Mutex<VecDeque<String>>,
    turn: AtomicUsize,
    /// Held while the configuration on the disk is broken: a command that reads it then says so, and ends.
    broken: Mutex<()>,
    complaints: Mutex<Vec<String>>,
}

impl<'a> Stage<'a> {
    pub fn of(gate: &'a Gate, steady: &'a Upstream, flaky: &'a Upstream) -> Self {
        let key = EncodingKey::from_ec_pem(&fs::read(gate.path("certs/orders-robot.key")).unwrap()).unwrap();
        Self {
            gate,
            over: AtomicBool::new(false),
            history: History::default(),
            tallies: Default::default(),
            steady,
            flaky,
            key,
            alive: Mutex::default(),
            ended: Mutex::default(),
            turn: AtomicUsize::new(0),
            broken: Mutex::default(),
            complaints: Mutex::default(),
        }
    }

    pub fn complaints(&self) -> Vec<String> {
        self.complaints.lock().unwrap().clone()
    }

    fn on(&self) -> bool {
        !self.over.load(Ordering::SeqCst)
    }

    fn rest(&self, whole: Duration) {
        let begun = Instant::now();
        while self.on() && begun.elapsed() < whole {
            std::thread::sleep(Duration::from_millis(50).min(whole));
        }
    }

    fn complain(&self, what: String) {
        self.complaints.lock().unwrap().push(what);
    }

    /// Keeps connections, but none so long that the gate might be closing it at this very moment.
    fn agent(&self) -> Agent {
        let ca = Certificate::from_pem(&fs::read(self.gate.path("certs/ca.pem")).unwrap()).unwrap();
        let tls = TlsConfig::builder().root_certs(RootCerts::new_with_certs(&[ca])).build();
        let config = Agent::config_builder().tls_config(tls).http_status_as_error(false).max_redirects(0);
        let config = config.max_idle_age(Duration::from_secs(3));
        config.timeout_global(Some(Duration::from_secs(60))).build().new_agent()
    }

    fn post(&self, agent: &Agent, path: &str, fields: &[(&str, &str)]) -> (u16, Value) {
        match agent.post(format!("{}{path}", self.gate.issuer())).send_form(fields.iter().copied()) {
            Ok(mut answer) => {
                let body = answer.body_mut().read_to_string().unwrap_or_default();
                (answer.status().as_u16(), serde_json::from_str(&body).unwrap_or_default())
            }
            Err(e) => {
                self.complain(format!("{path}: {e}"));
                (0, Value::Null)
            }
        }
    }

    /// The status; 0 without an answer.
    fn get(&self, agent: &Agent, path: &str, bearer: Option<&str>, tag: &str) -> u16 {
        let request = agent.get(format!("{}{path}", self.gate.issuer())).header("x-soak", tag);
        let request = bearer.into_iter().fold(request, |r, t| r.header("authorization", format!("Bearer {t}")));
        match request.call() {
            Ok(mut answer) => {
                let _ = answer.body_mut().read_to_vec();
                answer.status().as_u16()
            }
            Err(e) => {
                self.complain(format!("{path}: {e}"));
                0
            }
        }
    }

    fn some_token(&self) -> Option<String> {
        let alive = self.alive.lock().unwrap();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        (!alive.is_empty()).then(|| alive[turn % alive.len()].clone())
    }

    /// Notes the answer to something that a token of the list was shown for: what that must be, the history tells.
    fn judge(&self, actor: usize, status: u16, explained: bool) {
        if (status == 0 || status >= 500) && !explained {
            self.complain(format!("{}: {status}", ALL[actor].0));
        }
        self.tallies[actor].note(|t| match status {
            200..=299 => t.allowed += 1,
            300..=499 => t.refused += 1,
            _ if explained => t.explained += 1,
            _ => t.unexplained += 1,
        });
    }
}

fn decided(status: u16) -> Option<bool> {
    match status {
        200 => Some(true),
        401 | 403 => Some(false),
        _ => None,
    }
}

fn call(stage: &Stage<'_>, actor: usize) {
    let agent = stage.agent();
    while stage.on() {
        let Some(token) = stage.some_token() else { continue };
        let status = stage.history.note(|| {
            let status = stage.get(&agent, "/steady/7", Some(&token), "call");
            (status, vec![Told::Called(token.clone(), decided(status))])
        });
        stage.judge(actor, status, false);
        std::thread::sleep(PACE);
    }
}

/// Several requests over one connection of HTTP/2, as another program asks them.
fn call_http2(stage: &Stage<'_>, actor: usize) {
    while stage.on() {
        let Some(token) = stage.some_token() else { continue };
        let bearer = format!("Authorization: Bearer {token}");
        let url = format!("{}/steady/[1-8]", stage.gate.issuer());
        let told = stage.history.note(|| {
            // As fast as the machine lets it: what is not answered within a minute is a failure.
            let ca = stage.gate.path("certs/ca.pem");
            let run = std::process::Command::new("curl")
                .args([
                    "-sS",
                    "--http2",
                    "-Z",
                    "--max-time",
                    "60",
                    "-o",
                    "/dev/null",
                    "-w",
                    "%{http_code} %{http_version}\\n",
                    "--cacert",
                ])
                .arg(ca)
                .args(["-H", &bearer, &url])
                .output()
                .unwrap();
            let told = String::from_utf8_lossy(&run.stdout).into_owned();
            let statuses: Vec<u16> = told.lines().filter_map(|l| l.strip_suffix(" 2")?.parse().ok()).collect();
            let events = statuses.iter().map(|s| Told::Called(token.clone(), decided(*s))).collect();
            (statuses, events)
        });
        let missing = 8_usize.saturating_sub(told.len());
        told.into_iter().chain(std::iter::repeat_n(0, missing)).for_each(|status| stage.judge(actor, status, false));
        stage.rest(Duration::from_millis(300));
    }
}

fn call_flaky(stage: &Stage<'_>, actor: usize) {
    let agent = stage.agent();
    while stage.on() {
        let Some(token) = stage.some_token() else { continue };
        let begun = Instant::now();
        let status = stage.history.note(|| {
            let status = stage.get(&agent, "/flaky/7", Some(&token), "call");
            (status, vec![Told::Called(token.clone(), decided(status))])
        });
        // Only a bad gateway is explained by an upstream that is away.
        stage.judge(actor, status, status == 502 && stage.flaky.explains(begun));
        std::thread::sleep(PACE * 3);
    }
}

/// What must never reach an upstream; each is tagged, so that the upstreams know.
fn try_forbidden(stage: &Stage<'_>, actor: usize) {
    let agent = stage.agent();
    let mut turn = 0_usize;
    while stage.on() {
        turn += 1;
        let Some(token) = stage.some_token() else { continue };
        let ended = stage.ended.lock().unwrap().back().cloned();
        let mut bent = token.clone();
        bent.replace_range(
            bent.len() / 2..bent.len() / 2 + 1,
            if &bent[bent.len() / 2..bent.len() / 2 + 1] == "A" { "B" } else { "A" },
        );
        let status = match turn % 6 {
            0 => stage.get(&agent, "/steady/7", None, "forbidden"),
            1 => stage.get(&agent, "/steady/7", Some("nonsense"), "forbidden"),
            2 => stage.get(&agent, "/steady/7", Some(&bent), "forbidden"),
            3 => stage.get(&agent, "/steady/%2e%2e/door/x", Some(&token), "forbidden"),
            4 => match &ended {
                Some(ended) => stage.get(&agent, "/steady/7", Some(ended), "forbidden"),
                None => continue,
            },
            // A scope that none of these tokens has.
            _ => {
                let request = agent.post(format!("{}/steady/7", stage.gate.issuer())).header("x-soak", "forbidden");
                let answer = request.header("authorization", format!("Bearer {token}")).send_empty();
                answer.map_or(0, |a| a.status().as_u16())
            }
        };
        if status == 200 {
            stage.complain(format!("let through: {}", turn % 6));
        }
        stage.tallies[actor].note(|t| match status {
            400..=499 => t.refused += 1,
            200..=299 => t.wrong += 1,
            _ => t.unexplained += 1,
        });
        std::thread::sleep(PACE * 3);
    }
}

fn issue_and_revoke(stage: &Stage<'_>, actor: usize) {
    let agent = stage.agent();
    while stage.on() {
        let now = SystemClock.now().0;
        let claims = json!({"iss": "orders-robot", "sub": "alice", "aud": stage.gate.issuer(), "exp": now + 120,
            "iat": now, "jti": portcullis::secret::random_id()});
        let assertion = jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &stage.key).unwrap();
        let fields = [("grant_type", GRANT), ("scope", "orders:read"), ("assertion", &*assertion)];
        let status = stage.history.note(|| {
            let (status, body) = stage.post(&agent, "/oauth2/token", &fields);
            let token = body["access_token"].as_str().map(str::to_owned);
            let told = token.iter().flat_map(|t| [Told::Issued(t.clone()), Told::Used(assertion.clone())]).collect();
            stage.alive.lock().unwrap().extend(token);
            (status, told)
        });
        if (400..500).contains(&status) {
            stage.complain(format!("a sound assertion was refused: {status}"));
            stage.tallies[actor].note(|t| t.wrong += 1);
        } else {
            stage.judge(actor, status, false);
        }
        let oldest = {
            let mut alive = stage.alive.lock().unwrap();
            (alive.len() > ALIVE).then(|| alive.pop_front()).flatten()
        };
        if let Some(token) = oldest {
            let status = stage.history.note(|| {
                let (status, _) =
                    stage.post(&agent, "/oauth2/revoke", &[("client_id", "orders-robot"), ("token", &token)]);
                (status, vec![Told::Revoked(token.clone(), status == 200)])
            });
            stage.judge(actor, status, false);
            let mut ended = stage.ended.lock().unwrap();
            ended.push_back(token);
            if ended.len() > ALIVE {
                ended.pop_front();
            }
        }
        std::thread::sleep(PACE * 5);
    }
}

/// A person who signed in once, and a program that refreshes for her.
fn refresh(stage: &Stage<'_>, actor: usize) {
    let (agent, mut person) = (stage.agent(), Person::default());
    while stage.on() {
        let code = person.code(&[stage.gate]);
        let (status, mut body) = redeemed(stage.gate, &code);
        stage.judge(actor, status, false);
        // A family for a while, then the next.
        for _ in 0..20 {
            if !stage.on() {
                break;
            }
            let token = body["access_token"].as_str().unwrap_or_default().to_owned();
            let status = stage.get(&agent, "/steady/7", Some(&token), "call");
            if status != 200 {
                stage.complain(format!("a refreshed token: {status}"));
            }
            stage.tallies[actor].note(|t| if status == 200 { t.allowed += 1 } else { t.unexplained += 1 });
            let refresh = body["refresh_token"].as_str().unwrap_or_default().to_owned();
            let fields = [("grant_type", REFRESH), ("client_id", "notebook"), (REFRESH, &*refresh)];
            let (status, next) = stage.post(&agent, "/oauth2/token", &fields);
            stage.judge(actor, status, false);
            if status != 200 {
                stage.complain(format!("a refresh: {status} {next}"));
                stage.tallies[actor].note(|t| t.wrong += 1);
                break;
            }
            body = next;
            stage.rest(Duration::from_millis(300));
        }
    }
}

/// Opens and shuts a route; now and then a configuration is broken, and then the one before it goes on.
fn reload(stage: &Stage<'_>, actor: usize) {
    let agent = stage.agent();
    let shipped = fs::read_to_string(stage.gate.config()).unwrap();
    let take_up = |text: &str| {
        let beside = stage.gate.path("conf/next");
        fs::write(&beside, text).unwrap();
        fs::rename(&beside, stage.gate.config()).unwrap();
        stage.gate.admin("POST", "/reload").0
    };
    let mut round = 0_usize;
    while stage.on() {
        round += 1;
        let shut = round % 2 == 1;
        let text = if shut { shipped.replace(OPEN, SHUT) } else { shipped.clone() };
        let taken = take_up(&text);
        let status = stage.get(&agent, "/door/x", None, if shut { "forbidden" } else { "call" });
        if taken != 200 || status != if shut { 401 } else { 200 } {
            stage.complain(format!("reload {taken}, then {status} where the door is shut: {shut}"));
        }
        stage.tallies[actor].note(|t| match (taken, status, shut) {
            (200, 401, true) => t.refused += 1,
            (200, 200, false) => t.allowed += 1,
            (_, 200, true) | (_, 401, false) => t.wrong += 1,
            _ => t.unexplained += 1,
        });
        if round.is_multiple_of(5) {
            let _broken = stage.broken.lock().unwrap();
            let taken = take_up(&text.replace("[server]", "[server]\nno_such_key = 1"));
            let status = stage.get(&agent, "/door/x", None, if shut { "forbidden" } else { "call" });
            let mended = take_up(&text);
            let goes_on = taken >= 400 && mended == 200 && status == if shut { 401 } else { 200 };
            if !goes_on {
                stage.complain(format!("a broken configuration: {taken}, then {status}"));
            }
            stage.tallies[actor].note(|t| if goes_on { t.refused += 1 } else { t.wrong += 1 });
        }
        stage.rest(Duration::from_secs(2));
    }
}

fn rotate(stage: &Stage<'_>, actor: usize) {
    while stage.on() {
        let whole = stage.broken.lock().unwrap();
        let out = stage.gate.command(&["keys", "rotate", "--publish-before", "1"], "");
        drop(whole);
        let done = out.status.success();
        if !done {
            stage.complain(format!("keys rotate: {}", String::from_utf8_lossy(&out.stderr)));
        }
        stage.tallies[actor].note(|t| if done { t.allowed += 1 } else { t.unexplained += 1 });
        stage.rest(Duration::from_secs(15));
    }
}

fn flap(stage: &Stage<'_>, actor: usize) {
    while stage.on() {
        stage.rest(Duration::from_secs(6));
        stage.flaky.go();
        stage.rest(Duration::from_secs(2));
        stage.flaky.come_back();
        let agent = stage.agent();
        // It is well again in time, or else it is a failure that nothing explains.
        let well = until(|| {
            let token = stage.some_token();
            token.is_some_and(|token| stage.get(&agent, "/flaky/7", Some(&token), "call") == 200)
        });
        stage.tallies[actor].note(|t| if well { t.allowed += 1 } else { t.unexplained += 1 });
    }
    assert!(stage.steady.served() > 0);
}
