//! `portcullis demo`: the tour, played over real HTTPS against a gateway of its own, and judged.
use super::{first_start, token};
use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};
use ureq::{
    Agent,
    tls::{Certificate, RootCerts, TlsConfig},
};

const MAIN: &str = include_str!("../../conf/portcullis.toml");
const USERS: &str = include_str!("../../conf/users.toml");
const APP: &str = include_str!("../../conf/apps/orders-robot.toml");
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// Tries, a tenth of a second apart, until something must have come true.
const TRIES: usize = 150;

/// Plays every step; fails if one answer was not the right one.
pub fn demo() -> Result<(), String> {
    let folder = std::env::temp_dir().join(format!("portcullis-demo-{}", crate::secret::random_id()));
    let outcome = Tour::start(&folder).and_then(|tour| tour.play());
    // Left-overs in the temporary folder are no reason to fail.
    let _ = fs::remove_dir_all(&folder);
    outcome
}

struct Tour {
    gateway: Child,
    agent: Agent,
    issuer: String,
    admin: String,
    folder: PathBuf,
}

impl Drop for Tour {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.gateway.kill();
        let _ = self.gateway.wait();
    }
}

impl Tour {
    fn start(folder: &Path) -> Result<Self, String> {
        let failed = |e: std::io::Error| format!("setting up the demo: {e}");
        let port = || TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).map_err(failed);
        let (https, redirect, admin, example) = (port()?.port(), port()?.port(), port()?.port(), port()?.port());
        let moved = |text: &str| {
            text.replace(":8443", &format!(":{https}"))
                .replace(":8080", &format!(":{redirect}"))
                .replace(":9901", &format!(":{admin}"))
                .replace(":9902", &format!(":{example}"))
        };
        fs::create_dir_all(folder.join("conf/apps")).map_err(failed)?;
        for (name, text) in [("portcullis.toml", MAIN), ("users.toml", USERS), ("apps/orders-robot.toml", APP)] {
            fs::write(folder.join("conf").join(name), moved(text)).map_err(failed)?;
        }
        first_start::make(&folder.join("certs"))?;
        let ca = fs::read(folder.join("certs/ca.pem")).map_err(failed)?;
        let ca = Certificate::from_pem(&ca).map_err(|e| e.to_string())?;
        let tls = TlsConfig::builder().root_certs(RootCerts::new_with_certs(&[ca])).build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(10)))
            .build()
            .new_agent();
        let gateway = Command::new(std::env::current_exe().map_err(failed)?)
            .args(["run", "--config"])
            .arg(folder.join("conf/portcullis.toml"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let (issuer, admin) = (format!("https://localhost:{https}"), format!("http://127.0.0.1:{admin}"));
        let tour = Self { gateway, agent, issuer, admin, folder: folder.to_owned() };
        let ready = || tour.agent.get(format!("{}/readyz", tour.admin)).call().is_ok_and(|r| r.status() == 200);
        until(ready).then_some(()).ok_or("the gateway did not start: see `portcullis run`")?;
        Ok(tour)
    }

    fn play(&self) -> Result<(), String> {
        println!("A gateway of its own runs at {}; its policy is in {}/conf.\n", self.issuer, self.folder.display());
        let key = self.folder.join("certs/orders-robot.key");
        let assertion = token::assertion("orders-robot", "alice", &self.issuer, &key, 120)?;
        let scope = ("scope", "orders:read");
        let fields = [("grant_type", GRANT), scope, ("assertion", &*assertion)];
        let answer = self.post("1. A token, by JWT bearer, for reading only", "/oauth2/token", &fields, 200)?;
        let parsed: serde_json::Value = serde_json::from_str(&answer).map_err(|e| e.to_string())?;
        let token = parsed["access_token"].as_str().ok_or("the answer holds no access_token")?.to_owned();
        self.again(&fields)?;
        let seen = self.call("3. The call: the API sees who calls, and no token", "GET", &token, 200)?;
        if !seen.contains("\"x-forwarded-user\":\"alice\"") || seen.contains(&token) {
            return Err(format!("the API saw the wrong thing: {seen}"));
        }
        self.call("4. A call that needs more scope", "POST", &token, 403)?;
        self.tighten(&token)?;
        let fields = [("client_id", "orders-robot"), ("token", &*token)];
        self.post("7. The token is revoked", "/oauth2/revoke", &fields, 200)?;
        self.call("8. The very next call", "GET", &token, 401)?;
        println!("Every answer was the right one.");
        Ok(())
    }

    fn again(&self, fields: &[(&str, &str)]) -> Result<(), String> {
        self.post("2. The same assertion again: it works once", "/oauth2/token", fields, 400).map(drop)
    }

    /// Takes the scope from the app's file while the gateway runs, and gives it back.
    fn tighten(&self, token: &str) -> Result<(), String> {
        let file = self.folder.join("conf/apps/orders-robot.toml");
        let generous = fs::read_to_string(&file).map_err(|e| e.to_string())?;
        let strict = generous.replace("\"orders:read\", ", "");
        let write = |text: &str, status: u16| -> Result<(), String> {
            fs::write(&file, text).map_err(|e| e.to_string())?;
            let changed = until(|| self.send("GET", token).is_ok_and(|(got, _)| got == status));
            changed.then_some(()).ok_or_else(|| "the edited policy did not take effect".to_owned())
        };
        println!("   sed -i 's/\"orders:read\", //' {}\n", file.display());
        write(&strict, 403)?;
        self.call("5. The app's file without orders:read: the token in hand opens nothing", "GET", token, 403)?;
        println!("   sed -i 's/scopes = \\[/&\"orders:read\", /' {}\n", file.display());
        write(&generous, 200)?;
        self.call("6. The file as it was", "GET", token, 200).map(drop)
    }

    fn post(&self, title: &str, path: &str, fields: &[(&str, &str)], expected: u16) -> Result<String, String> {
        let data: Vec<String> = fields.iter().map(|(k, v)| format!("-d {k}={}", shortened(v))).collect();
        let line = format!("curl --cacert certs/ca.pem {}{path} {}", self.issuer, data.join(" "));
        let answer = self.agent.post(format!("{}{path}", self.issuer)).send_form(fields.iter().copied());
        told(title, &line, expected, read(answer)?)
    }

    fn call(&self, title: &str, method: &str, token: &str, expected: u16) -> Result<String, String> {
        let (data, bearer) = (if method == "POST" { " -d item=tea" } else { "" }, shortened(token));
        let url = format!("{}/orders/7", self.issuer);
        let line = format!("curl --cacert certs/ca.pem -H \"Authorization: Bearer {bearer}\"{data} {url}");
        told(title, &line, expected, self.send(method, token)?)
    }

    fn send(&self, method: &str, token: &str) -> Result<(u16, String), String> {
        let url = format!("{}/orders/7", self.issuer);
        let bearer = format!("Bearer {token}");
        read(match method {
            "POST" => self.agent.post(url).header("authorization", bearer).send_form([("item", "tea")]),
            _ => self.agent.get(url).header("authorization", bearer).call(),
        })
    }
}

fn read(answer: Result<http::Response<ureq::Body>, ureq::Error>) -> Result<(u16, String), String> {
    let mut answer = answer.map_err(|e| e.to_string())?;
    let body = answer.body_mut().read_to_string().map_err(|e| e.to_string())?;
    Ok((answer.status().as_u16(), body))
}

fn told(title: &str, line: &str, expected: u16, (status, body): (u16, String)) -> Result<String, String> {
    println!("{title}\n   {line}\n   {status} {}\n", shortened_json(&body));
    if status != expected {
        return Err(format!("{title}: expected {expected}, got {status}: {body}"));
    }
    Ok(body)
}

/// Tokens and assertions are too long to read, and are nobody else's business.
fn shortened(text: &str) -> String {
    if text.len() > 60 && text.is_ascii() { format!("{}…", &text[..12]) } else { text.to_owned() }
}

fn shortened_json(body: &str) -> String {
    match serde_json::from_str::<serde_json::Value>(body) {
        Ok(mut value) => {
            if let Some(token) = value.get_mut("access_token") {
                *token = shortened(token.as_str().unwrap_or_default()).into();
            }
            value.to_string()
        }
        Err(_) => body.to_owned(),
    }
}

fn until(holds: impl Fn() -> bool) -> bool {
    (0..TRIES).any(|_| {
        let so = holds();
        if !so {
            std::thread::sleep(Duration::from_millis(100));
        }
        so
    })
}
