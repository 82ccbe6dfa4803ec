//! Nodes of one installation, and a person whom a load balancer sends to another one with every request.
use super::{cluster::Cluster, process::Gate};
use serde_json::Value;
use std::{collections::BTreeMap, fs};

/// As `conf/users.toml` tells everybody.
pub const PASSWORD: &str = "correct horse battery staple";
pub const VERIFIER: &str = "0123456789012345678901234567890123456789abc";
pub const REFRESH: &str = "refresh_token";
pub const DEVICE: &str = "urn:ietf:params:oauth:grant-type:device_code";
pub const LOOPBACK: &str = "http://127.0.0.1:51004/callback";

impl Gate {
    /// A node whose records are in `database`, not yet running.
    pub fn on(cluster: &Cluster, database: &str) -> Self {
        let gate = Self::prepare();
        let address = cluster.address(database);
        fs::write(gate.path("conf/kek"), portcullis::secret::random_token()).unwrap();
        let store =
            format!("[store]\npostgres = \"{address}\"\n\n[keys]\nencryption_key_file = \"kek\"\n\n[[certificate]]");
        gate.edit("conf/portcullis.toml", "[[certificate]]", &store);
        gate
    }

    /// Another node of the same installation: the same configuration on other ports, not yet running.
    pub fn beside(&self) -> Self {
        let gate = Self::prepare();
        let ports = [(self.redirect, gate.redirect), (self.admin, gate.admin), (self.example, gate.example)];
        for entry in
            ["portcullis.toml", "users.toml", "apps/orders-robot.toml", "apps/portal.toml", "apps/notebook.toml"]
        {
            let mut text = fs::read_to_string(self.path("conf").join(entry)).unwrap();
            for (ours, theirs) in ports {
                text = text.replace(&format!("127.0.0.1:{ours}"), &format!("127.0.0.1:{theirs}"));
            }
            let listen = format!("listen = [\"127.0.0.1:{}\"]", self.https);
            text = text.replace(&listen, &format!("listen = [\"127.0.0.1:{}\"]", gate.https));
            fs::write(gate.path("conf").join(entry), text).unwrap();
        }
        fs::copy(self.path("conf/kek"), gate.path("conf/kek")).unwrap();
        fs::create_dir_all(gate.path("certs")).unwrap();
        for entry in fs::read_dir(self.path("certs")).unwrap().flatten() {
            fs::copy(entry.path(), gate.path("certs").join(entry.file_name())).unwrap();
        }
        gate
    }

    /// What the token endpoint, or another one, answers.
    pub fn form(&self, path: &str, fields: &[(&str, &str)]) -> (u16, Value) {
        let url = format!("{}{path}", self.issuer());
        let mut answer = self.agent().post(url).send_form(fields.iter().copied()).unwrap();
        let body = answer.body_mut().read_to_string().unwrap();
        (answer.status().as_u16(), serde_json::from_str(&body).unwrap_or_default())
    }

    pub fn fetched(&self, path: &str) -> String {
        let mut answer = self.agent().get(format!("{}{path}", self.issuer())).call().unwrap();
        answer.body_mut().read_to_string().unwrap()
    }

    pub fn refreshed(&self, token: &Value) -> (u16, Value) {
        let fields = [("grant_type", REFRESH), ("client_id", "notebook"), (REFRESH, token.as_str().unwrap())];
        self.form("/oauth2/token", &fields)
    }
}

/// Whom the load balancer sends to another node with every request.
#[derive(Default)]
pub struct Person {
    cookies: BTreeMap<String, String>,
    asked: usize,
}

pub struct Page {
    pub status: u16,
    pub body: String,
    pub to: String,
}

impl Person {
    fn send(&mut self, nodes: &[&Gate], target: &str, form: Option<&[(&str, &str)]>) -> Page {
        let node = nodes[self.asked % nodes.len()];
        self.asked += 1;
        // As it was before the load balancer: everybody has the issuer's name.
        let host = format!("localhost:{}", nodes[0].https);
        let url = format!("{}{target}", node.issuer());
        let line: Vec<String> = self.cookies.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let answer = match form {
            Some(fields) => {
                let request = node.agent().post(url).header("host", host).header("cookie", line.join("; "));
                request.send_form(fields.iter().copied())
            }
            None => node.agent().get(url).header("host", host).header("cookie", line.join("; ")).call(),
        };
        let mut answer = answer.unwrap();
        for set in answer.headers().get_all("set-cookie") {
            let (name, value) = set.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        let to = answer.headers().get("location").map(|l| l.to_str().unwrap().to_owned()).unwrap_or_default();
        let status = answer.status().as_u16();
        let page = Page { status, body: answer.body_mut().read_to_string().unwrap(), to };
        if page.to.starts_with('/') { self.send(nodes, &page.to, None) } else { page }
    }

    fn submit(&mut self, nodes: &[&Gate], page: &Page, fields: &[(&str, &str)]) -> Page {
        let between = |before: &str| page.body.split_once(before).map(|(_, rest)| rest.split('"').next().unwrap());
        let action = between("action=\"").unwrap_or_else(|| panic!("{} {}", page.to, page.body));
        let mut all = vec![("csrf", between("name=\"csrf\" value=\"").unwrap_or_default())];
        all.extend(between("name=\"user_code\" value=\"").map(|code| ("user_code", code)));
        all.extend(fields);
        self.send(nodes, &action.replace("&#x2f;", "/"), Some(&all))
    }

    /// What `target` shows.
    pub fn open(&mut self, nodes: &[&Gate], target: &str) -> Page {
        self.send(nodes, target, None)
    }

    /// Types a password for alice into the sign-in page.
    pub fn types(&mut self, nodes: &[&Gate], page: &Page, password: &str) -> Page {
        self.submit(nodes, page, &[("username", "alice"), ("password", password)])
    }

    /// Through login and consent, as far as they are shown.
    pub fn visit(&mut self, nodes: &[&Gate], target: &str) -> Page {
        let mut page = self.send(nodes, target, None);
        for _ in 0..4 {
            page = if page.body.contains("name=\"password\"") {
                self.types(nodes, &page, PASSWORD)
            } else if page.body.contains("value=\"allow\"") {
                self.submit(nodes, &page, &[("decision", "allow")])
            } else {
                break;
            };
        }
        page
    }

    /// A code for the notebook.
    pub fn code(&mut self, nodes: &[&Gate]) -> String {
        let challenge = portcullis::secret::Digest::text(VERIFIER);
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([
                ("response_type", "code"),
                ("client_id", "notebook"),
                ("redirect_uri", LOOPBACK),
                ("scope", "openid offline_access orders:read"),
                ("state", "xyz"),
                ("code_challenge", &*challenge),
                ("code_challenge_method", "S256"),
            ])
            .finish();
        let page = self.visit(nodes, &format!("/oauth2/authorize?{query}"));
        let query = page.to.split_once('?').unwrap_or_else(|| panic!("{} {}", page.to, page.body)).1;
        form_urlencoded::parse(query.as_bytes()).find(|(k, _)| k == "code").unwrap().1.into_owned()
    }
}

pub fn redeemed(node: &Gate, code: &str) -> (u16, Value) {
    let fields = [
        ("grant_type", "authorization_code"),
        ("client_id", "notebook"),
        ("code", code),
        ("redirect_uri", LOOPBACK),
        ("code_verifier", VERIFIER),
    ];
    node.form("/oauth2/token", &fields)
}
