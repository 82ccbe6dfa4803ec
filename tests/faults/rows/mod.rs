//! One function a fault, and the client that all of them play.
mod certificates;
mod changes;
mod clock;
mod database;
mod flood;
mod once;

pub use certificates::*;
pub use changes::*;
pub use clock::*;
pub use database::*;
pub use flood::*;
pub use once::*;

use super::{
    Row,
    cluster::Cluster,
    history::{History, Told},
    node::{PASSWORD, Person, REFRESH, redeemed},
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
