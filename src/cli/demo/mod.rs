//! `portcullis demo`: the tour, played over real HTTPS against a gateway of its own, and judged.
mod administration;
mod exchange;
mod machines;
mod people;
mod salesforce;
mod saml;
mod user_agent;

use super::first_start;
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

const MAIN: &str = include_str!("../../../conf/portcullis.toml");
const USERS: &str = include_str!("../../../conf/users.toml");
const APPS: [(&str, &str); 4] = [
    ("orders-robot.toml", include_str!("../../../conf/apps/orders-robot.toml")),
    ("notebook.toml", include_str!("../../../conf/apps/notebook.toml")),
    ("portal.toml", include_str!("../../../conf/apps/portal.toml")),
    ("dispatch.toml", include_str!("../../../conf/apps/dispatch.toml")),
];
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
        let conf = [("portcullis.toml".to_owned(), MAIN), ("users.toml".to_owned(), USERS)];
        for (name, text) in conf.into_iter().chain(APPS.map(|(name, text)| (format!("apps/{name}"), text))) {
            fs::write(folder.join("conf").join(name), moved(text)).map_err(failed)?;
        }
        first_start::make(&folder.join("certs"))?;
        let ca = fs::read(folder.join("certs/ca.pem")).map_err(failed)?;
        let ca = Certificate::from_pem(&ca).map_err(|e| e.to_string())?;
        let tls = TlsConfig::builder().root_certs(RootCerts::new_with_certs(&[ca])).build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(Duration::from_secs(60)))
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
        println!("A PROGRAM THAT ACTS FOR A USER\n");
        machines::play(self)?;
        println!("A PERSON AND HER APP\n");
        let mut alice = user_agent::UserAgent::new(self);
        people::code_flow(&mut alice)?;
        println!("A DEVICE WITHOUT A KEYBOARD\n");
        people::device_flow(&mut alice)?;
        println!("A COMPANY'S IDENTITY PROVIDER\n");
        saml::play(self)?;
        println!("A SERVICE THAT ACTS ONWARDS, AND A DEVICE WITH A KEY\n");
        exchange::play(&mut alice)?;
        println!("A PROGRAM WRITTEN FOR SALESFORCE\n");
        salesforce::play(&mut alice)?;
        println!("AN ADMINISTRATOR\n");
        administration::play(self)?;
        println!("Every answer was the right one.");
        Ok(())
    }

    fn post(&self, title: &str, path: &str, fields: &[(&str, &str)], expected: u16) -> Result<String, String> {
        let data: Vec<String> = fields.iter().map(|(k, v)| quoted(k, &shortened(v))).collect();
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

fn quoted(name: &str, value: &str) -> String {
    if value.contains(' ') { format!("-d '{name}={value}'") } else { format!("-d {name}={value}") }
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
    if text.len() > 40 && !text.contains(':') && text.is_ascii() {
        format!("{}…", &text[..12])
    } else {
        text.to_owned()
    }
}

fn shortened_json(body: &str) -> String {
    match serde_json::from_str::<serde_json::Value>(body) {
        Ok(mut value) => {
            for name in ["access_token", "refresh_token", "id_token", "device_code"] {
                if let Some(token) = value.get_mut(name) {
                    *token = shortened(token.as_str().unwrap_or_default()).into();
                }
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
