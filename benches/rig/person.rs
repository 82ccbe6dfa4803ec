//! People and programs that ask an authorization server, ours or another one, for what they need.
use crate::saml;
use base64::{Engine, engine::general_purpose::STANDARD};
use portcullis::{
    clock::{Clock, SystemClock},
    secret::{self, Digest},
};
use std::{collections::BTreeMap, time::Duration};
use ureq::Agent;

pub const VERIFIER: &str = "0123456789012345678901234567890123456789abc";
pub const CALLBACK: &str = "https://app.example/callback";
pub const SECRET: &str = "a-secret-of-more-than-thirty-two-characters";
pub const PASSWORD: &str = "correct horse battery staple";

/// One authorization server and where it answers.
pub struct Server<'s> {
    pub name: &'static str,
    /// Its nodes, in turn for each person.
    pub bases: Vec<String>,
    /// What an assertion's `aud` names.
    pub issuer: String,
    pub paths: Paths,
    pub processes: Vec<u32>,
    /// What runs while this is used.
    pub _life: &'s [crate::rig::Served],
}

#[derive(Clone, Copy)]
pub struct Paths {
    pub authorize: &'static str,
    pub token: &'static str,
    pub introspect: &'static str,
}

pub const OURS: Paths =
    Paths { authorize: "/oauth2/authorize", token: "/oauth2/token", introspect: "/oauth2/introspect" };
pub const PEERS: Paths = Paths { authorize: "/auth", token: "/token", introspect: "/token/introspection" };

/// A person with a session and an approval, and what she holds.
pub struct Person<'a> {
    pub server: &'a Server<'a>,
    pub base: &'a str,
    pub name: String,
    pub agent: Agent,
    pub cookies: BTreeMap<String, String>,
    pub codes: Vec<String>,
    pub refresh: String,
    pub tokens: Vec<String>,
    /// Signed before the clock runs: what that costs is not the server's.
    pub assertions: Vec<String>,
    pub signers: &'a Signers,
}

/// What signs assertions elsewhere.
pub struct Signers {
    pub jwt: jsonwebtoken::EncodingKey,
    pub saml: saml::Signer,
}

pub struct Answer {
    pub status: u16,
    pub location: String,
    pub body: String,
}

pub fn form<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

pub fn between<'t>(text: &'t str, before: &str, after: &str) -> Option<&'t str> {
    text.split_once(before)?.1.split(after).next()
}

impl<'a> Person<'a> {
    pub fn new(server: &'a Server<'a>, number: usize, signers: &'a Signers) -> Self {
        let config = Agent::config_builder().http_status_as_error(false).max_redirects(0);
        let agent = config.timeout_global(Some(Duration::from_secs(30))).build().new_agent();
        let (codes, tokens, assertions) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            server,
            base: &server.bases[number % server.bases.len()],
            name: format!("user{number}"),
            agent,
            cookies: BTreeMap::new(),
            codes,
            refresh: String::new(),
            tokens,
            assertions,
            signers,
        }
    }

    pub fn send(&mut self, target: &str, body: Option<&str>, auth: Option<&str>) -> Answer {
        let url = if target.starts_with('/') { format!("{}{target}", self.base) } else { target.to_owned() };
        let cookies: Vec<String> = self.cookies.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let cookies = cookies.join("; ");
        let auth = auth.map_or_else(String::new, |a| format!("Basic {}", STANDARD.encode(a)));
        let answer = match body {
            Some(body) => {
                let mut request = self.agent.post(url).content_type("application/x-www-form-urlencoded");
                if !auth.is_empty() {
                    request = request.header("authorization", auth);
                }
                request.header("cookie", cookies).send(body)
            }
            None => self.agent.get(url).header("cookie", cookies).call(),
        };
        let mut answer = answer.expect("an answer");
        for set in answer.headers().get_all("set-cookie") {
            let pair = set.to_str().ok().and_then(|s| s.split(';').next()?.split_once('='));
            if let Some((name, value)) = pair {
                if value.is_empty() {
                    self.cookies.remove(name);
                } else {
                    self.cookies.insert(name.to_owned(), value.to_owned());
                }
            }
        }
        let location = answer.headers().get("location").and_then(|l| l.to_str().ok()).unwrap_or_default().to_owned();
        let body = answer.body_mut().read_to_string().expect("a body");
        Answer { status: answer.status().as_u16(), location, body }
    }

    /// Redirects of the server's own.
    pub fn follow(&mut self, mut answer: Answer) -> Answer {
        while answer.location.starts_with('/') || answer.location.starts_with(self.base) {
            let to = answer.location.clone();
            answer = self.send(&to, None, None);
        }
        answer
    }

    pub fn request(&self, more: &[(&str, &str)]) -> String {
        let challenge = Digest::text(VERIFIER);
        let fields = [
            ("response_type", "code"),
            ("client_id", "web"),
            ("redirect_uri", CALLBACK),
            ("scope", "openid offline_access"),
            ("state", "xyz"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        format!("{}?{}", self.server.paths.authorize, form(fields.into_iter().chain(more.iter().copied())))
    }

    /// Signs in and says yes, through the pages of either server.
    pub fn sign_in(&mut self) {
        let first = self.request(&[("prompt", "consent")]);
        let mut answer = self.send(&first, None, None);
        for _ in 0..8 {
            answer = self.follow(answer);
            if answer.location.starts_with(CALLBACK) {
                return;
            }
            let page = &answer.body;
            let action = between(page, "action=\"", "\"").expect("a form").replace("&#x2f;", "/");
            let mut fields = vec![("csrf", between(page, "name=\"csrf\" value=\"", "\"").unwrap_or_default())];
            if page.contains("name=\"password\"") {
                // The one asks for a username, the other for a login.
                let name = &self.name;
                fields.extend([("username", &**name), ("login", name), ("password", PASSWORD), ("prompt", "login")]);
            } else {
                fields.extend([("decision", "allow"), ("prompt", "consent")]);
            }
            answer = self.send(&action, Some(&form(fields)), None);
        }
        panic!("{} shows no end: {} {}", self.server.name, answer.status, answer.body);
    }

    pub fn authorize(&mut self) {
        let target = self.request(&[]);
        let answer = self.send(&target, None, None);
        let code = between(&answer.location, "code=", "&").map(str::to_owned);
        self.codes.push(code.unwrap_or_else(|| panic!("{} {} {}", answer.status, answer.location, answer.body)));
    }

    pub fn token(&mut self, fields: &[(&str, &str)], auth: Option<&str>) -> serde_json::Value {
        let answer = self.send(self.server.paths.token, Some(&form(fields.iter().copied())), auth);
        assert_eq!(answer.status, 200, "{}", answer.body);
        serde_json::from_str(&answer.body).expect("JSON")
    }

    pub fn redeem(&mut self) {
        let code = self.codes.pop().expect("a code for each");
        let fields = [
            ("grant_type", "authorization_code"),
            ("client_id", "web"),
            ("code", &*code),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
        ];
        let answer = self.token(&fields, None);
        assert!(answer["id_token"].is_string());
        self.refresh = answer["refresh_token"].as_str().expect("a refresh token").to_owned();
    }

    pub fn renew(&mut self) {
        let before = self.refresh.clone();
        let fields = [("grant_type", "refresh_token"), ("client_id", "web"), ("refresh_token", &*before)];
        let answer = self.token(&fields, None);
        self.refresh = answer["refresh_token"].as_str().expect("a refresh token").to_owned();
        assert!(answer["id_token"].is_string() && self.refresh != before, "rotated");
    }

    pub fn credentials(&mut self) {
        let auth = format!("batch:{SECRET}");
        let answer = self.token(&[("grant_type", "client_credentials")], Some(&auth));
        self.tokens.push(answer["access_token"].as_str().expect("a token").to_owned());
    }

    pub fn sign_jwt(&mut self) {
        let now = SystemClock.now();
        let claims = serde_json::json!({"iss": "robot", "sub": self.name, "aud": self.server.issuer,
            "exp": now.plus(120), "jti": secret::random_id()});
        let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::RS256);
        self.assertions.push(jsonwebtoken::encode(&header, &claims, &self.signers.jwt).expect("signed"));
    }

    pub fn bearer(&mut self) {
        let assertion = self.assertions.pop().expect("an assertion for each");
        let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
        self.token(&[("grant_type", grant), ("client_id", "robot"), ("assertion", &assertion)], None);
    }

    pub fn sign_saml(&mut self) {
        self.assertions.push(self.signers.saml.parameter(&self.name, SystemClock.now()));
    }

    pub fn saml_bearer(&mut self) {
        let assertion = self.assertions.pop().expect("an assertion for each");
        self.token(&[("grant_type", saml::GRANT), ("assertion", &assertion)], None);
    }

    pub fn introspect(&mut self) {
        let token = self.tokens.pop().expect("a token for each");
        let auth = format!("batch:{SECRET}");
        let answer = self.send(self.server.paths.introspect, Some(&form([("token", &*token)])), Some(&auth));
        assert!(answer.status == 200 && answer.body.contains("\"active\":true"), "{}", answer.body);
    }
}
