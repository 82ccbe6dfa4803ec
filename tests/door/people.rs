//! People's flows through the provider's door, with a browser that keeps cookies and follows nothing by itself.
use super::provider::{World, read, world_with};
use bytes::Bytes;
use http::{Request, Response, header};
use portcullis::{
    clock::Clock,
    model::{
        Approval, AuthMethod, Client, Interactive, Level, RefreshPolicy, ScopeSet, SigningAlgorithm, TokenFormat, User,
    },
    policy::Policy,
    secret::Digest,
};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};

pub const PASSWORD: &str = "correct horse battery staple";
const ISSUER: &str = "https://id.example";
const CALLBACK: &str = "https://app.example/cb";
const VERIFIER: &str = "0123456789012345678901234567890123456789abc";
pub const DEVICE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// Cheap parameters: what is tested is not argon2.
fn hash(password: &str) -> Arc<str> {
    use argon2::{Argon2, Params, PasswordHasher, Version, password_hash::SaltString};
    let argon = Argon2::new(argon2::Algorithm::Argon2id, Version::V0x13, Params::new(8, 1, 1, None).unwrap());
    argon
        .hash_password(password.as_bytes(), &SaltString::from_b64("c2FsdHNhbHRzYWx0").unwrap())
        .unwrap()
        .to_string()
        .into()
}

fn app(id: &str) -> Client {
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
    }
}

fn people(policy: &mut Policy) {
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
        c.secrets = vec![Digest::of(super::provider::SECRET.as_bytes())];
    });
    add("short", |c| {
        c.interactive.refresh = RefreshPolicy { lifetime: Some(1000), idle: Some(300), ..RefreshPolicy::default() };
    });
    add("steady", |c| c.interactive.refresh.reusable = true);
    add("once", |c| c.interactive.refresh.expires_at_once = true);
    for (name, permission) in [("alice", "sales"), ("bob", "support")] {
        let user = User {
            username: name.into(),
            permissions: [permission.to_owned()].into(),
            password: Some(hash(PASSWORD)),
            active: true,
            profile: portcullis::model::Profile { email: Some(format!("{name}@example.com")), ..Default::default() },
        };
        policy.users.insert(name.into(), Arc::new(user));
    }
}

pub async fn world() -> World {
    world_with(people).await
}

/// A browser: cookies, and where it stands.
pub struct Browser<'a> {
    pub world: &'a World,
    pub cookies: BTreeMap<String, String>,
    pub headers: Vec<(&'static str, String)>,
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
        Self { world, cookies: BTreeMap::new(), headers: Vec::new() }
    }

    async fn send(&mut self, request: http::request::Builder, body: String) -> Shown {
        let line: Vec<String> = self.cookies.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let mut request = request.header("cookie", line.join("; ")).header("host", "id.example");
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let response: Response<Bytes> = self.world.provider.handle(request.body(Bytes::from(body)).unwrap()).await;
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

fn opens(w: &World, token: &Value) -> bool {
    w.tokens.open(token.as_str().unwrap(), w.clock.now()).is_ok()
}

#[tokio::test]
async fn s9_s12_s15_first_time_login_and_consent_then_straight_on() {
    let w = world().await;
    let mut b = Browser::new(&w);
    let page = b.visit(&request("web", &[("login_hint", "alice")])).await;
    assert!(page.body.contains("value=\"alice\"") && page.body.contains("The web app"), "S15 login_hint");
    let wrong = b.submit(&page, &[("username", "alice"), ("password", "nope")]).await;
    let unknown = b.submit(&page, &[("username", "nobody"), ("password", "nope")]).await;
    assert_eq!((wrong.status, unknown.status), (401, 401));
    assert_eq!(
        wrong.body.replace("alice", "nobody").split("problem").nth(1).unwrap()[..60],
        unknown.body.split("problem").nth(1).unwrap()[..60],
        "S59 no enumeration by text"
    );
    let consent = b.sign_in(&page, "alice").await;
    assert!(consent.body.contains("The web app asks for access") && consent.body.contains("Know who you are"), "S12");
    let back = b.submit(&consent, &[("decision", "allow")]).await;
    let answer = answer(&back);
    assert_eq!((answer["state"].as_str(), answer["iss"].as_str()), ("xyz", ISSUER), "S9");
    let (status, body) = redeem(&w, "web", &answer["code"], &[]).await;
    assert_eq!(status, 200);
    assert!(body["id_token"].is_string() && body["refresh_token"].is_string() && opens(&w, &body["access_token"]));
    let straight = b.get(&request("web", &[("prompt", "none")])).await;
    assert!(straight.to.starts_with(CALLBACK) && straight.to.contains("code="), "S12 remembered");
    let more = b.get(&request("web", &[("prompt", "none"), ("scope", "openid write")])).await;
    assert!(more.to.contains("error=consent_required"), "S12 a scope never agreed to");
    let asked = b.visit(&request("web", &[("prompt", "consent")])).await;
    let denied = b.submit(&asked, &[("decision", "deny")]).await;
    assert!(denied.to.contains("error=access_denied"));
    assert!(b.visit(&request("web", &[("prompt", "login")])).await.body.contains("name=\"password\""), "S15");
    w.clock.advance(100);
    assert!(b.visit(&request("web", &[("max_age", "50")])).await.body.contains("name=\"password\""), "S15 max_age");
    assert!(b.get(&request("web", &[("max_age", "500")])).await.to.contains("code="), "S15 max_age");
    assert!(b.visit(&request("web", &[("prompt", "select_account")])).await.body.contains("Choose an account"));
    let nobody = Browser::new(&w).get(&request("web", &[("prompt", "none")])).await;
    assert!(nobody.to.contains("error=login_required"), "S15 prompt=none");
}

#[tokio::test]
async fn s1_to_s8_s13_requests_are_checked_before_anybody_is_asked() {
    let w = world().await;
    let mut b = Browser::new(&w);
    for bad in [
        request("nobody", &[]),
        request("web", &[("redirect_uri", "https://app.example/cb/")]),
        request("web", &[("redirect_uri", "https://evil.example/cb")]),
        request("web", &[("client_id", "")]),
        format!("{}&state=again", request("web", &[])),
    ] {
        let shown = b.get(&bad).await;
        assert!(shown.status == 400 && shown.to.is_empty() && shown.body.contains("<h1>"), "S1, S2, S6 {bad}");
    }
    for (change, error) in [
        (("code_challenge", ""), "invalid_request"),
        (("code_challenge_method", "plain"), "invalid_request"),
        (("code_challenge_method", ""), "invalid_request"),
        (("code_challenge", "short"), "invalid_request"),
        (("response_type", "token"), "unauthorized_client"),
        (("response_type", "nonsense"), "unsupported_response_type"),
        (("response_mode", "smoke"), "invalid_request"),
        (("scope", "read everything"), "invalid_scope"),
        (("prompt", "none login"), "invalid_request"),
        (("prompt", "dance"), "invalid_request"),
        (("max_age", "-1"), "invalid_request"),
        (("resource", "https://other.example"), "invalid_target"),
        (("claims", "[]"), "invalid_request"),
        (("request", "eyJ"), "request_not_supported"),
        (("nonce", &*"n".repeat(3000)), "invalid_request"),
    ] {
        let shown = b.get(&request("web", &[change])).await;
        assert!(
            shown.to.replace('#', "?").starts_with(&format!("{CALLBACK}?error={error}&")),
            "S4, S13 {change:?} {}",
            shown.to
        );
        assert!(shown.to.contains("state=xyz") && shown.to.contains("iss="), "{}", shown.to);
    }
    assert!(b.get(&request("web", &[("unheard", "of")])).await.to.contains("/oauth2/login"), "S7");
}

#[tokio::test]
async fn s14_the_interaction_cannot_be_edited_or_carried_to_another_browser_and_goes_back() {
    let w = world().await;
    let mut b = Browser::new(&w);
    let to = b.get(&request("web", &[])).await.to;
    let page = b.get(&to).await;
    let consent = b.sign_in(&page, "alice").await;
    assert!(b.get(&to).await.body.contains("name=\"password\""), "S14 back button");
    let again = b.sign_in(&page, "alice").await;
    assert!(again.body.contains("value=\"allow\""), "S14 the old form still leads on");
    let edited = format!("{}x", &to[..to.len() - 1]);
    assert_eq!(b.get(&edited).await.status, 400, "S14");
    let other = Browser::new(&w).get(&to).await;
    assert!(other.status == 400 && other.body.contains("another browser"), "S14 {}", other.body);
    w.clock.advance(4000);
    assert_eq!(b.submit(&consent, &[("decision", "allow")]).await.status, 400, "S14 too old");
}

#[tokio::test]
async fn s55_s57_s58_sessions_begin_anew_time_out_and_forms_are_bound_to_the_browser() {
    let w = world().await;
    let mut b = Browser::new(&w);
    let page = b.visit(&request("web", &[])).await;
    let action = page.body.split("action=\"").nth(1).unwrap().split('"').next().unwrap().replace("&#x2f;", "/");
    let forged = b.post(&action, &[("username", "alice"), ("password", PASSWORD)]).await;
    assert_eq!(forged.status, 400, "S58 without the form's secret");
    b.headers.push(("origin", "https://evil.example".to_owned()));
    assert_eq!(b.submit(&page, &[("username", "alice"), ("password", PASSWORD)]).await.status, 400, "S58 Origin");
    b.headers = vec![("sec-fetch-site", "cross-site".to_owned())];
    assert_eq!(
        b.submit(&page, &[("username", "alice"), ("password", PASSWORD)]).await.status,
        400,
        "S58 Fetch Metadata"
    );
    b.headers.clear();
    b.cookies.insert("__Host-portcullis".into(), "chosen-by-somebody-else".into());
    b.sign_in(&page, "alice").await;
    let first = b.cookies["__Host-portcullis"].clone();
    assert!(first.len() == 43, "S55 a new identifier of 256 bits, whatever came");
    let page = b.visit(&request("web", &[("prompt", "login")])).await;
    b.sign_in(&page, "alice").await;
    let second = b.cookies["__Host-portcullis"].clone();
    assert_ne!(first, second, "S55");
    let records = w.store.scan("session/", w.clock.now()).await.unwrap();
    assert!(records.len() == 1 && !records[0].key.contains(&second), "S55 one live session, by digest alone");
    let signed_in =
        async |b: &mut Browser<'_>| !b.get(&request("web", &[("prompt", "none")])).await.to.contains("login_required");
    w.clock.advance(8 * 3600 - 10);
    assert!(signed_in(&mut b).await, "S57 within idle");
    w.clock.advance(8 * 3600 + 10);
    assert!(!signed_in(&mut b).await, "S57 idle");
    let page = b.visit(&request("web", &[])).await;
    b.sign_in(&page, "alice").await;
    for _ in 0..4 {
        w.clock.advance(5 * 3600);
        assert!(signed_in(&mut b).await, "S57");
    }
    w.clock.advance(5 * 3600);
    assert!(!signed_in(&mut b).await, "S57 absolute");
}

#[tokio::test]
async fn f17_s59_guesses_run_out_for_account_and_address_on_every_path() {
    let w = world().await;
    let mut b = Browser::new(&w);
    let page = b.visit(&request("web", &[])).await;
    for _ in 0..10 {
        assert_eq!(b.submit(&page, &[("username", "alice"), ("password", "guess")]).await.status, 401);
    }
    let blocked = b.submit(&page, &[("username", "alice"), ("password", PASSWORD)]).await;
    assert_eq!(blocked.status, 429, "S59 not even the right one");
    let nobody = b.submit(&page, &[("username", "nobody"), ("password", "x")]).await;
    assert_eq!(nobody.status, 401, "S59 others go on");
    w.clock.advance(301);
    assert!(b.sign_in(&page, "alice").await.body.contains("value=\"allow\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn s5_s23_to_s26_a_code_works_once_in_time_and_as_it_was_bound() {
    let w = world().await;
    let mut b = Browser::new(&w);
    let code = b.authorize(&request("web", &[]), "alice").await["code"].clone();
    for (client, change, why) in [
        ("other", ("code", ""), "no code"),
        ("other", ("x", "y"), "S25 another client"),
        ("web", ("redirect_uri", "https://app.example/other"), "S25 redirect_uri"),
        ("web", ("redirect_uri", ""), "S25 redirect_uri missing"),
        ("web", ("code_verifier", &*"b".repeat(43)), "S25 verifier"),
        ("web", ("code_verifier", ""), "S25 verifier missing"),
    ] {
        assert_eq!(redeem(&w, client, &code, &[change]).await.0, 400, "{why}");
    }
    let (status, body) = redeem(&w, "web", &code, &[]).await;
    assert_eq!(status, 200, "S26 what was invalid has ended nothing");
    let (status, _) = redeem(&w, "web", &code, &[("code_verifier", &"b".repeat(43))]).await;
    assert!(status == 400 && opens(&w, &body["access_token"]), "S26 an invalid replay revokes nothing");
    assert_eq!(redeem(&w, "web", &code, &[]).await.0, 400, "S23");
    assert!(!opens(&w, &body["access_token"]), "S26");
    assert_eq!(refresh(&w, "web", body["refresh_token"].as_str().unwrap()).await.0, 400, "S26");
    let late = b.authorize(&request("web", &[]), "alice").await["code"].clone();
    w.clock.advance(60);
    assert_eq!(redeem(&w, "web", &late, &[]).await.1["error_description"], "expired authorization code", "S24");
    let plain = b.authorize(&request("plain", &[("code_challenge", ""), ("code_challenge_method", "")]), "alice").await;
    let fields = [("grant_type", "authorization_code"), ("code", &plain["code"]), ("redirect_uri", CALLBACK)];
    let with = [&fields[..], &[("code_verifier", VERIFIER)]].concat();
    assert_eq!(w.post("/oauth2/token", Some("plain"), &with).await.status(), 400, "S5");
    assert_eq!(w.post("/oauth2/token", None, &fields).await.status(), 401, "S19");
    assert_eq!(w.post("/oauth2/token", Some("plain"), &fields).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn f3_f4_racing_redemptions_and_refreshes_leave_one_branch() {
    let w = Arc::new(world().await);
    let mut b = Browser::new(&w);
    for _ in 0..20 {
        let code = b.authorize(&request("web", &[]), "alice").await["code"].clone();
        let racers: Vec<_> = (0..64)
            .map(|_| {
                let (w, code) = (w.clone(), code.clone());
                tokio::spawn(async move { redeem(&w, "web", &code, &[]).await })
            })
            .collect();
        let mut won = 0;
        for racer in racers {
            let (status, _) = racer.await.unwrap();
            assert!(status == 200 || status == 400, "F3 {status}");
            won += u32::from(status == 200);
        }
        assert_eq!(won, 1, "F3");
        let code = b.authorize(&request("web", &[]), "alice").await["code"].clone();
        let first = redeem(&w, "web", &code, &[]).await.1["refresh_token"].as_str().unwrap().to_owned();
        let racers: Vec<_> = (0..64)
            .map(|_| {
                let (w, token) = (w.clone(), first.clone());
                tokio::spawn(async move { refresh(&w, "web", &token).await })
            })
            .collect();
        let mut answers = Vec::new();
        for racer in racers {
            answers.push(racer.await.unwrap());
        }
        assert!(answers.iter().all(|(status, _)| *status == 200 || *status == 400), "F4");
        // Counted when all have been answered: a branch that was given up on the way is dead by now.
        let live = answers.iter().filter(|(status, body)| *status == 200 && opens(&w, &body["access_token"])).count();
        assert_eq!(live, 1, "F4 one live branch");
    }
}

#[tokio::test]
async fn s27_to_s31_f5_refresh_tokens_rotate_recover_once_and_a_replay_ends_the_family() {
    let w = world().await;
    let (first, _) = tokens(&w, "web").await;
    let text = |v: &Value| v["refresh_token"].as_str().unwrap().to_owned();
    let a = text(&first);
    assert_eq!(refresh(&w, "other", &a).await.0, 400, "S27 another client");
    let wider = [("grant_type", "refresh_token"), ("client_id", "web"), ("refresh_token", &*a), ("scope", "write")];
    assert_eq!(read(&w.post("/oauth2/token", None, &wider).await)["error"], "invalid_scope", "S27 never wider");
    let (status, lost) = refresh(&w, "web", &a).await;
    assert_eq!(status, 200);
    let (status, recovered) = refresh(&w, "web", &a).await;
    assert_eq!(status, 200, "F5 the answer was lost");
    assert!(!opens(&w, &lost["access_token"]) && opens(&w, &recovered["access_token"]), "F5 the old branch is dead");
    // The recovered access token has now been used, so its predecessor is a replay.
    assert_eq!(refresh(&w, "web", &a).await.0, 400, "S28");
    assert!(!opens(&w, &recovered["access_token"]), "S28 the family has ended");
    assert_eq!(refresh(&w, "web", &text(&recovered)).await.0, 400, "S28");

    let (first, _) = tokens(&w, "web").await;
    let second = refresh(&w, "web", &text(&first)).await.1;
    let third = refresh(&w, "web", &text(&second)).await.1;
    assert_eq!(refresh(&w, "web", &text(&first)).await.0, 400, "S28 long replaced");
    assert_eq!(refresh(&w, "web", &text(&third)).await.0, 400, "S28");
    assert_eq!(refresh(&w, "web", "pr_x.y").await.0, 400);

    let (first, _) = tokens(&w, "short").await;
    w.clock.advance(299);
    let second = refresh(&w, "short", &text(&first)).await.1;
    w.clock.advance(300);
    assert_eq!(refresh(&w, "short", &text(&second)).await.0, 400, "S29 idle");
    let (mut last, _) = tokens(&w, "short").await;
    for _ in 0..4 {
        w.clock.advance(240);
        last = refresh(&w, "short", &text(&last)).await.1;
    }
    w.clock.advance(40);
    assert_eq!(refresh(&w, "short", &text(&last)).await.0, 400, "S29 absolute");

    let (steady, _) = tokens(&w, "steady").await;
    for _ in 0..3 {
        let (status, body) = refresh(&w, "steady", &text(&steady)).await;
        assert!(status == 200 && body["refresh_token"].is_null());
    }
    assert!(tokens(&w, "once").await.0["refresh_token"].is_null());
}

#[tokio::test]
async fn s49_revoking_a_refresh_token_ends_its_access_tokens_at_once() {
    let w = world().await;
    let (first, _) = tokens(&w, "web").await;
    let token = first["refresh_token"].as_str().unwrap();
    let foreign = w.post("/oauth2/revoke", None, &[("client_id", "other"), ("token", token)]).await;
    assert!(foreign.status() == 200 && opens(&w, &first["access_token"]), "S46");
    let own = w.post("/oauth2/revoke", None, &[("client_id", "web"), ("token", token)]).await;
    assert!(own.status() == 200 && !opens(&w, &first["access_token"]), "S49");
    assert_eq!(refresh(&w, "web", token).await.0, 400, "S49");
}

#[tokio::test]
async fn the_sixth_authorization_of_an_app_ends_the_oldest_and_my_apps_takes_all_back() {
    let w = world().await;
    let mut b = Browser::new(&w);
    let mut all = Vec::new();
    for _ in 0..6 {
        let code = b.authorize(&request("web", &[]), "alice").await["code"].clone();
        all.push(redeem(&w, "web", &code, &[]).await.1);
        w.clock.advance(1);
    }
    let live: Vec<bool> = all.iter().map(|t| opens(&w, &t["access_token"])).collect();
    assert_eq!(live, [false, true, true, true, true, true]);
    let page = b.visit("/oauth2/account").await;
    assert!(page.body.contains("The web app") && page.body.contains("Act for you while you are away"), "{}", page.body);
    let after = b.submit(&page, &[("action", "revoke")]).await;
    let after = b.follow(after).await;
    assert!(!after.body.contains("The web app"), "{}", after.body);
    assert!(!all.iter().any(|t| opens(&w, &t["access_token"])));
    assert!(b.visit(&request("web", &[])).await.body.contains("value=\"allow\""), "the yes is gone too");
}

#[tokio::test]
async fn s42_to_s45_a_device_gets_its_tokens_when_a_person_says_yes() {
    let w = world().await;
    let begin = async |client: &str| {
        read(
            &w.post("/oauth2/device_authorization", None, &[("client_id", client), ("scope", "read offline_access")])
                .await,
        )
    };
    let poll = async |client: &str, code: &Value| {
        let fields = [("grant_type", DEVICE), ("client_id", client), ("device_code", code.as_str().unwrap())];
        let response = w.post("/oauth2/token", None, &fields).await;
        (response.status().as_u16(), read(&response))
    };
    let started = begin("web").await;
    let (device, user) = (&started["device_code"], started["user_code"].as_str().unwrap());
    assert_eq!(poll("web", device).await.1["error"], "authorization_pending");
    assert_eq!(poll("web", device).await.1["error"], "slow_down", "S43");
    assert_eq!(poll("other", device).await.1["error"], "invalid_grant", "S44");
    let mut b = Browser::new(&w);
    let login = b.visit(&format!("/oauth2/device?user_code={user}")).await;
    let confirm = b.sign_in(&login, "alice").await;
    assert!(confirm.body.contains("The web app") && confirm.body.contains(user), "S45 {}", confirm.body);
    let done = b.submit(&confirm, &[("decision", "allow")]).await;
    assert!(done.body.contains("All set"), "{}", done.body);
    let (status, body) = poll("web", device).await;
    assert!(status == 200 && opens(&w, &body["access_token"]) && body["refresh_token"].is_string(), "{body}");
    assert_eq!(poll("web", device).await.1["error"], "invalid_grant", "once");
    let denied = begin("web").await;
    let confirm =
        b.visit(&format!("/oauth2/device?user_code={}", denied["user_code"].as_str().unwrap().to_lowercase())).await;
    b.submit(&confirm, &[("decision", "deny")]).await;
    assert_eq!(poll("web", &denied["device_code"]).await.1["error"], "access_denied");
    let late = begin("web").await;
    w.clock.advance(600);
    assert_eq!(poll("web", &late["device_code"]).await.1["error"], "expired_token", "S43");
    let form = b.visit("/oauth2/device").await;
    let mut last = 0;
    for _ in 0..11 {
        last = b.submit(&form, &[("user_code", "BCDF-GHJK")]).await.status;
    }
    assert_eq!(last, 429, "S42");
}

#[tokio::test]
async fn high_assurance_asks_for_a_second_factor_which_works_once() {
    let w = world().await;
    let mut b = Browser::new(&w);
    let login = b.visit(&request("strict", &[])).await;
    let enrol = b.sign_in(&login, "alice").await;
    let secret = enrol.body.split("id=\"secret\">").nth(1).unwrap().split('<').next().unwrap().to_owned();
    let code = |at: i64| {
        let secret = totp_rs::Secret::Encoded(secret.clone()).to_bytes().unwrap();
        totp_rs::TOTP::new_unchecked(totp_rs::Algorithm::SHA1, 6, 1, 30, secret).generate(at.unsigned_abs())
    };
    assert_eq!(b.submit(&enrol, &[("code", "000000")]).await.status, 401);
    let before = b.cookies["__Host-portcullis"].clone();
    let consent = b.submit(&enrol, &[("code", &code(w.clock.now().0))]).await;
    let consent = b.follow(consent).await;
    assert!(consent.body.contains("value=\"allow\""), "{}", consent.body);
    assert_ne!(before, b.cookies["__Host-portcullis"], "S55");
    let mut other = Browser::new(&w);
    let login = other.visit(&request("web", &[])).await;
    let factor = other.sign_in(&login, "alice").await;
    assert!(factor.body.contains("One more step"), "whoever has one is asked: {}", factor.body);
    assert_eq!(other.submit(&factor, &[("code", &code(w.clock.now().0))]).await.status, 401, "used before");
    w.clock.advance(30);
    let on = other.submit(&factor, &[("code", &code(w.clock.now().0))]).await;
    assert!(other.follow(on).await.body.contains("value=\"allow\""));
}

#[tokio::test]
async fn the_user_agent_flow_answers_in_the_fragment_and_a_pushed_request_works_once() {
    let w = world().await;
    let mut b = Browser::new(&w);
    let target = request("implicit", &[("response_type", "token id_token"), ("nonce", "n1")]);
    let login = b.visit(&target).await;
    let consent = b.sign_in(&login, "alice").await;
    let back = b.submit(&consent, &[("decision", "allow")]).await;
    assert!(back.to.starts_with(&format!("{CALLBACK}#")), "{}", back.to);
    let fields = answer(&back);
    assert!(fields.contains_key("id_token") && !fields.contains_key("refresh_token"));
    assert!(opens(&w, &fields["access_token"].as_str().into()));
    let posted = b.get(&request("implicit", &[("response_type", "token"), ("response_mode", "form_post")])).await;
    assert!(
        posted.body.contains("name=\"access_token\"")
            && posted.headers["content-security-policy"]
                .to_str()
                .unwrap()
                .contains("form-action 'self' https://app.example;")
    );
    let pushed = request("web", &[]);
    let fields: Vec<(String, String)> =
        form_urlencoded::parse(pushed.split_once('?').unwrap().1.as_bytes()).into_owned().collect();
    let fields: Vec<(&str, &str)> = fields.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let response = w.post("/oauth2/par", None, &fields).await;
    assert_eq!(response.status(), 201);
    let uri = read(&response)["request_uri"].as_str().unwrap().to_owned();
    let target = format!("/oauth2/authorize?client_id=web&request_uri={uri}");
    assert!(b.authorize(&target, "alice").await.contains_key("code"));
    assert_eq!(b.get(&target).await.status, 400, "once");
}

#[tokio::test]
async fn an_app_for_some_is_refused_to_others_and_asks_nobody() {
    let w = world().await;
    let login = |b: &mut Browser<'_>| drop(b.cookies.clone());
    let mut alice = Browser::new(&w);
    login(&mut alice);
    let page = alice.visit(&request("admin", &[])).await;
    assert!(alice.sign_in(&page, "alice").await.to.contains("code="), "no consent page");
    let mut bob = Browser::new(&w);
    let page = bob.visit(&request("admin", &[])).await;
    assert!(bob.sign_in(&page, "bob").await.to.contains("error=access_denied"));
}

#[tokio::test]
async fn userinfo_tells_what_the_scopes_allow_and_logout_ends_the_session() {
    let w = world().await;
    let mut b = Browser::new(&w);
    let claims = r#"{"userinfo":{"email":null}}"#;
    let answer = b.authorize(&request("web", &[("nonce", "n"), ("claims", claims)]), "alice").await;
    let (_, body) = redeem(&w, "web", &answer["code"], &[]).await;
    let info = Request::get("/oauth2/userinfo")
        .header("authorization", format!("Bearer {}", body["access_token"].as_str().unwrap()))
        .body(Bytes::new())
        .unwrap();
    let told = read(&w.provider.handle(info).await);
    assert_eq!((&told["sub"], &told["email"]), (&"alice".into(), &"alice@example.com".into()));
    assert!(told["preferred_username"].is_null(), "profile was not asked for: {told}");
    let bad = Request::get("/oauth2/userinfo").header("authorization", "Bearer x").body(Bytes::new()).unwrap();
    assert_eq!(w.provider.handle(bad).await.status(), 401);
    let id_token = body["id_token"].as_str().unwrap().to_owned();
    let as_access = w.tokens.open(&id_token, w.clock.now());
    assert!(as_access.is_err(), "S38 an ID token opens nothing");
    let page = b.get("/oauth2/logout").await;
    assert!(page.body.contains("Sign out?"), "S58 asks first");
    let target =
        format!("/oauth2/logout?id_token_hint={id_token}&post_logout_redirect_uri=https://app.example/bye&state=s");
    let evil = target.replace("app.example", "evil.example");
    assert!(Browser::new(&w).get(&evil).await.to.is_empty(), "no open redirect");
    let out = b.get(&target).await;
    assert_eq!(out.to, "https://app.example/bye?state=s");
    assert!(b.get(&request("web", &[("prompt", "none")])).await.to.contains("login_required"), "S57");
    assert!(opens(&w, &body["access_token"]), "offline access outlives the session");
    let mut b = Browser::new(&w);
    let answer = b.authorize(&request("web", &[("scope", "openid read")]), "alice").await;
    let (_, online) = redeem(&w, "web", &answer["code"], &[]).await;
    let page = b.visit("/oauth2/account").await;
    assert!(page.body.contains("sign_out_everywhere"));
    let csrf = page.body.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    b.post("/oauth2/account", &[("csrf", &csrf), ("action", "sign_out_everywhere")]).await;
    assert!(!opens(&w, &online["access_token"]), "what lived by the session ends with it");
}
