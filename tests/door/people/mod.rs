//! People's flows through the provider's door, with a browser that keeps cookies and follows nothing by itself.
mod account;
mod authorization_code;
mod authorize;
mod backchannel;
mod device_code;
mod gate_session;
mod openid_connect;
mod refresh_token;
mod sign_in;

pub use super::provider::{SECRET, World, read, world_over, world_with};
pub use bytes::Bytes;
pub use http::{Request, Response, header};
pub use portcullis::{
    clock::Clock,
    model::{
        Approval, AuthMethod, Client, Interactive, Level, RefreshPolicy, ScopeSet, SigningAlgorithm, TokenFormat, User,
    },
    policy::Policy,
    secret::Digest,
};
pub use serde_json::{Value, json};
pub use std::{collections::BTreeMap, sync::Arc};

pub const PASSWORD: &str = "correct horse battery staple";
pub const ISSUER: &str = "https://id.example";
pub const CALLBACK: &str = "https://app.example/cb";
pub const VERIFIER: &str = "0123456789012345678901234567890123456789abc";
pub const DEVICE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// Cheap parameters: what is tested is not argon2.
pub fn hash(password: &str) -> Arc<str> {
    use argon2::{Argon2, Params, PasswordHasher, Version, password_hash::SaltString};
    let argon = Argon2::new(argon2::Algorithm::Argon2id, Version::V0x13, Params::new(8, 1, 1, None).unwrap());
    argon
        .hash_password(password.as_bytes(), &SaltString::from_b64("c2FsdHNhbHRzYWx0").unwrap())
        .unwrap()
        .to_string()
        .into()
}

pub fn app(id: &str) -> Client {
    Client {
        id: id.into(),
        name: format!("The {id} app"),
        blocked: false,
        auth_method: AuthMethod::None,
        secrets: Vec::new(),
        keys: Vec::new(),
        grants: ["authorization_code", "refresh_token", DEVICE].map(str::to_owned).into(),
        scopes: ScopeSet::of(&["openid", "profile", "email", "offline_access", "read", "write"]),
        approval: Approval::SelfAuthorized,
        run_as: None,
        token_format: TokenFormat::Opaque,
        signing_algorithm: SigningAlgorithm::Es256,
        token_lifetime: 600,
        audience: "https://api.example".into(),
        assertion_lifetime: 300,
        interactive: Interactive {
            redirect_uris: vec![CALLBACK.to_owned()],
            post_logout_redirect_uris: vec!["https://app.example/bye".to_owned()],
            response_types: ["code".to_owned()].into(),
            pkce_required: true,
            ..Interactive::default()
        },
        salesforce: Default::default(),
        policies: Default::default(),
        exchange: Default::default(),
        dpop_bound: false,
        certificate_bound: false,
        certificate_name: None,
    }
}

pub fn people(policy: &mut Policy) {
    let mut add = |id: &str, change: fn(&mut Client)| {
        let mut client = app(id);
        change(&mut client);
        policy.clients.insert(id.into(), Arc::new(client));
    };
    add("web", |_| {});
    add("other", |_| {});
    add("admin", |c| c.approval = Approval::Admin(["sales".to_owned()].into()));
    add("strict", |c| c.interactive.level = Level::HighAssurance);
    add("implicit", |c| c.interactive.response_types = ["token", "id_token token"].map(str::to_owned).into());
    add("plain", |c| {
        c.interactive.pkce_required = false;
        c.auth_method = AuthMethod::ClientSecret;
        c.secrets = vec![Digest::of(SECRET.as_bytes())];
    });
    add("short", |c| {
        c.interactive.refresh = RefreshPolicy { lifetime: Some(1000), idle: Some(300), ..RefreshPolicy::default() };
    });
    add("steady", |c| c.interactive.refresh.reusable = true);
    add("once", |c| c.interactive.refresh.expires_at_once = true);
    add("portal", |c| c.interactive.redirect_uris.clear());
    policy.people.sign_in = ["portal.example", "second.example"].map(|h| (h.to_owned(), "portal".to_owned())).into();
    for (name, permission) in [("alice", "sales"), ("bob", "support")] {
        let user = User {
            username: name.into(),
            permissions: [permission.to_owned()].into(),
            password: Some(hash(PASSWORD)),
            security_token: None,
            active: true,
            profile: portcullis::model::Profile { email: Some(format!("{name}@example.com")), ..Default::default() },
        };
        policy.users.insert(name.into(), Arc::new(user));
    }
    policy.passwords = policy.users.values().filter_map(|user| user.password.clone()).collect();
}

pub async fn world() -> World {
    world_with(people).await
}

/// A browser: cookies, and where it stands.
pub struct Browser<'a> {
    pub world: &'a World,
    pub cookies: BTreeMap<String, String>,
    pub headers: Vec<(&'static str, String)>,
    /// Where it is: cookies are of one host.
    pub host: &'static str,
    /// Where it comes from, as the gate takes it off the socket.
    pub address: Option<std::net::IpAddr>,
}

/// What a browser was shown.
pub struct Shown {
    pub status: u16,
    pub body: String,
    pub to: String,
    pub headers: http::HeaderMap,
}

impl<'a> Browser<'a> {
    pub fn new(world: &'a World) -> Self {
        Self { world, cookies: BTreeMap::new(), headers: Vec::new(), host: "id.example", address: None }
    }

    async fn send(&mut self, request: http::request::Builder, body: String) -> Shown {
        let line: Vec<String> = self.cookies.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let mut request = request.header("cookie", line.join("; ")).header("host", self.host);
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let mut request = request.body(Bytes::from(body)).unwrap();
        if let Some(address) = self.address {
            request.extensions_mut().insert(portcullis::provider::ClientAddress(address));
        }
        let response: Response<Bytes> = self.world.provider.handle(request).await;
        for set in response.headers().get_all(header::SET_COOKIE) {
            let text = set.to_str().unwrap();
            for needed in ["Secure", "HttpOnly", "SameSite=Lax", "Path=/"] {
                assert!(text.contains(needed) && text.starts_with("__Host-"), "S56 {text}");
            }
            let (name, value) = text.split(';').next().unwrap().split_once('=').unwrap();
            if value.is_empty() {
                self.cookies.remove(name)
            } else {
                self.cookies.insert(name.into(), value.into())
            };
        }
        let to = response.headers().get(header::LOCATION).map(|l| l.to_str().unwrap().to_owned()).unwrap_or_default();
        let body = String::from_utf8_lossy(response.body()).into_owned();
        if body.starts_with("<!doctype html>") {
            let policy = response.headers()["content-security-policy"].to_str().unwrap();
            assert!(policy.contains("frame-ancestors 'none'") && policy.contains("default-src 'none'"), "S11");
            assert!(!response.headers().contains_key("access-control-allow-origin"), "S8");
        }
        if !to.is_empty() {
            assert_eq!(response.status(), 303, "S10");
        }
        Shown { status: response.status().as_u16(), body, to, headers: response.headers().clone() }
    }

    pub async fn get(&mut self, target: &str) -> Shown {
        self.send(Request::get(target), String::new()).await
    }

    pub async fn post(&mut self, target: &str, fields: &[(&str, &str)]) -> Shown {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.send(Request::post(target).header("content-type", "application/x-www-form-urlencoded"), body).await
    }

    /// Posts the form of a page with `fields` in place of what a person types.
    pub async fn submit(&mut self, page: &Shown, fields: &[(&str, &str)]) -> Shown {
        let action = page.body.split("action=\"").nth(1).unwrap().split('"').next().unwrap();
        let action = action.replace("&#x2f;", "/").replace("&amp;", "&");
        let form = page.body.split("<form").nth(1).unwrap();
        let hidden = form.split("<input type=\"hidden\" name=\"").skip(1).map(|h| {
            let (name, rest) = h.split_once('"').unwrap();
            (name, rest.split("value=\"").nth(1).unwrap().split('"').next().unwrap().replace("&#x2f;", "/"))
        });
        let hidden: Vec<(&str, String)> = hidden.collect();
        let all: Vec<(&str, &str)> =
            hidden.iter().map(|(k, v)| (*k, v.as_str())).chain(fields.iter().copied()).collect();
        self.post(&action, &all).await
    }

    /// Goes to `target` and on through redirects of our own, until there is a page or the way leads away.
    pub async fn visit(&mut self, target: &str) -> Shown {
        let mut shown = self.get(target).await;
        while shown.to.starts_with('/') || shown.to.starts_with(&format!("{ISSUER}/")) {
            let to = shown.to.clone();
            shown = self.get(&to).await;
        }
        shown
    }

    pub async fn follow(&mut self, shown: Shown) -> Shown {
        if shown.to.starts_with('/') || shown.to.starts_with(&format!("{ISSUER}/")) {
            self.visit(&shown.to).await
        } else {
            shown
        }
    }

    pub async fn sign_in(&mut self, page: &Shown, user: &str) -> Shown {
        let answer = self.submit(page, &[("username", user), ("password", PASSWORD)]).await;
        self.follow(answer).await
    }

    /// Through login and consent, as far as they are shown, to the app: the fields of the answer.
    pub async fn authorize(&mut self, target: &str, user: &str) -> BTreeMap<String, String> {
        let mut shown = self.visit(target).await;
        for _ in 0..4 {
            shown = if shown.body.contains("name=\"password\"") {
                self.sign_in(&shown, user).await
            } else if shown.body.contains("value=\"allow\"") {
                let answer = self.submit(&shown, &[("decision", "allow")]).await;
                self.follow(answer).await
            } else {
                break;
            };
        }
        answer(&shown)
    }
}

pub fn answer(shown: &Shown) -> BTreeMap<String, String> {
    let fields = shown.to.split_once(['?', '#']).map(|(_, f)| f).unwrap_or_else(|| panic!("{}", shown.body));
    form_urlencoded::parse(fields.as_bytes()).into_owned().collect()
}

pub fn request(client: &str, more: &[(&str, &str)]) -> String {
    let challenge = Digest::text(VERIFIER);
    let mut fields = BTreeMap::from([
        ("response_type", "code"),
        ("client_id", client),
        ("redirect_uri", CALLBACK),
        ("scope", "openid read offline_access"),
        ("state", "xyz"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ]);
    for (name, value) in more {
        if value.is_empty() {
            fields.remove(name)
        } else {
            fields.insert(name, value)
        };
    }
    format!("/oauth2/authorize?{}", form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish())
}

pub async fn redeem(w: &World, client: &str, code: &str, more: &[(&str, &str)]) -> (u16, Value) {
    let mut fields = BTreeMap::from([
        ("grant_type", "authorization_code"),
        ("client_id", client),
        ("code", code),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
    ]);
    for (name, value) in more {
        if value.is_empty() {
            fields.remove(name)
        } else {
            fields.insert(name, value)
        };
    }
    let fields: Vec<(&str, &str)> = fields.into_iter().collect();
    let response = w.post("/oauth2/token", None, &fields).await;
    (response.status().as_u16(), read(&response))
}

pub async fn refresh(w: &World, client: &str, token: &str) -> (u16, Value) {
    let fields = [("grant_type", "refresh_token"), ("client_id", client), ("refresh_token", token)];
    let response = w.post("/oauth2/token", None, &fields).await;
    (response.status().as_u16(), read(&response))
}

pub async fn tokens<'a>(w: &'a World, client: &str) -> (Value, Browser<'a>) {
    let mut browser = Browser::new(w);
    let answer = browser.authorize(&request(client, &[]), "alice").await;
    let (status, body) = redeem(w, client, &answer["code"], &[]).await;
    assert_eq!(status, 200, "{body}");
    (body, browser)
}

pub fn opens(w: &World, token: &Value) -> bool {
    w.tokens.open(token.as_str().unwrap(), w.clock.now()).is_ok()
}
