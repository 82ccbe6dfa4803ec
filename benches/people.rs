//! The authorization server at work, beside node-oidc-provider doing the same in the same run: 64 requests in flight,
//! rounds interleaved, CPU by process accounting. Ours writes durably (SQLite, synchronous FULL); the peer keeps all in memory.
mod rig;
#[path = "rig/rsa.rs"]
mod rsa;
#[path = "rig/saml.rs"]
mod saml;

use base64::{Engine, engine::general_purpose::STANDARD};
use portcullis::{
    clock::{Clock, SystemClock},
    secret::{self, Digest},
};
use rig::{address, cpu, median, start};
use std::{
    collections::BTreeMap,
    fs,
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use ureq::Agent;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const IN_FLIGHT: usize = 64;
const ROUNDS: usize = 5;
/// Requests of each kind that one of the callers sends in a round.
const EACH: usize = 40;
const VERIFIER: &str = "0123456789012345678901234567890123456789abc";
const CALLBACK: &str = "https://app.example/callback";
const SECRET: &str = "a-secret-of-more-than-thirty-two-characters";
const PASSWORD: &str = "correct horse battery staple";

/// One authorization server and where it answers.
struct Server {
    name: &'static str,
    base: String,
    /// What an assertion's `aud` names.
    issuer: String,
    paths: Paths,
    process: u32,
}

#[derive(Clone, Copy)]
struct Paths {
    authorize: &'static str,
    token: &'static str,
    introspect: &'static str,
}

const OURS: Paths = Paths { authorize: "/oauth2/authorize", token: "/oauth2/token", introspect: "/oauth2/introspect" };
const PEERS: Paths = Paths { authorize: "/auth", token: "/token", introspect: "/token/introspection" };

/// A person with a session and an approval, and what she holds.
struct Person<'a> {
    server: &'a Server,
    name: String,
    agent: Agent,
    cookies: BTreeMap<String, String>,
    codes: Vec<String>,
    refresh: String,
    tokens: Vec<String>,
    signers: &'a Signers,
}

/// What signs assertions elsewhere.
struct Signers {
    jwt: jsonwebtoken::EncodingKey,
    saml: saml::Signer,
}

struct Answer {
    status: u16,
    location: String,
    body: String,
}

fn form<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

fn between<'t>(text: &'t str, before: &str, after: &str) -> Option<&'t str> {
    text.split_once(before)?.1.split(after).next()
}

impl<'a> Person<'a> {
    fn new(server: &'a Server, number: usize, signers: &'a Signers) -> Self {
        let config = Agent::config_builder().http_status_as_error(false).max_redirects(0);
        let agent = config.timeout_global(Some(Duration::from_secs(30))).build().new_agent();
        let (codes, tokens) = (Vec::new(), Vec::new());
        Self {
            server,
            name: format!("user{number}"),
            agent,
            cookies: BTreeMap::new(),
            codes,
            refresh: String::new(),
            tokens,
            signers,
        }
    }

    fn send(&mut self, target: &str, body: Option<&str>, auth: Option<&str>) -> Answer {
        let url = if target.starts_with('/') { format!("{}{target}", self.server.base) } else { target.to_owned() };
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
    fn follow(&mut self, mut answer: Answer) -> Answer {
        while answer.location.starts_with('/') || answer.location.starts_with(&self.server.base) {
            let to = answer.location.clone();
            answer = self.send(&to, None, None);
        }
        answer
    }

    fn request(&self, more: &[(&str, &str)]) -> String {
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
    fn sign_in(&mut self) {
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

    fn authorize(&mut self) {
        let target = self.request(&[]);
        let answer = self.send(&target, None, None);
        let code = between(&answer.location, "code=", "&").map(str::to_owned);
        self.codes.push(code.unwrap_or_else(|| panic!("{} {} {}", answer.status, answer.location, answer.body)));
    }

    fn token(&mut self, fields: &[(&str, &str)], auth: Option<&str>) -> serde_json::Value {
        let answer = self.send(self.server.paths.token, Some(&form(fields.iter().copied())), auth);
        assert_eq!(answer.status, 200, "{}", answer.body);
        serde_json::from_str(&answer.body).expect("JSON")
    }

    fn redeem(&mut self) {
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

    fn renew(&mut self) {
        let before = self.refresh.clone();
        let fields = [("grant_type", "refresh_token"), ("client_id", "web"), ("refresh_token", &*before)];
        let answer = self.token(&fields, None);
        self.refresh = answer["refresh_token"].as_str().expect("a refresh token").to_owned();
        assert!(answer["id_token"].is_string() && self.refresh != before, "rotated");
    }

    fn credentials(&mut self) {
        let auth = format!("batch:{SECRET}");
        let answer = self.token(&[("grant_type", "client_credentials")], Some(&auth));
        self.tokens.push(answer["access_token"].as_str().expect("a token").to_owned());
    }

    fn bearer(&mut self) {
        let now = SystemClock.now();
        let claims = serde_json::json!({"iss": "robot", "sub": self.name, "aud": self.server.issuer,
            "exp": now.plus(120), "jti": secret::random_id()});
        let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::RS256);
        let assertion = jsonwebtoken::encode(&header, &claims, &self.signers.jwt).expect("signed");
        let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
        self.token(&[("grant_type", grant), ("client_id", "robot"), ("assertion", &assertion)], None);
    }

    fn saml_bearer(&mut self) {
        let assertion = self.signers.saml.parameter(&self.name, SystemClock.now());
        self.token(&[("grant_type", saml::GRANT), ("assertion", &assertion)], None);
    }

    fn introspect(&mut self) {
        let token = self.tokens.pop().expect("a token for each");
        let auth = format!("batch:{SECRET}");
        let answer = self.send(self.server.paths.introspect, Some(&form([("token", &*token)])), Some(&auth));
        assert!(answer.status == 200 && answer.body.contains("\"active\":true"), "{}", answer.body);
    }
}

type Work = fn(&mut Person<'_>);

/// In an order in which each finds what it needs.
const WORK: [(&str, Work); 7] = [
    ("authorize with session and approval -> redirect", |p| p.authorize()),
    ("code exchange: opaque, ID token ES256, refresh token", |p| p.redeem()),
    ("refresh with rotation: opaque, ID token ES256", |p| p.renew()),
    ("client credentials, opaque", |p| p.credentials()),
    ("introspection", |p| p.introspect()),
    ("JWT bearer: RS256 in, opaque out, used once", |p| p.bearer()),
    (SAML_BEARER, |p| p.saml_bearer()),
];
/// The peer has none of what comes after these.
const SHARED: usize = 6;
const SAML_BEARER: &str = if cfg!(feature = "xmlsec") {
    "SAML bearer: 5 KB, RSA-2048, both verifiers, used once"
} else {
    "SAML bearer: 5 KB, RSA-2048, the Rust verifier alone, used once"
};

fn ours(folder: &Path, public: &str, certificate: &str) -> rig::Served {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).expect("written");
    write("c.pem", &made.cert.pem());
    write("c.key", &made.signing_key.serialize_pem());
    write(
        "portcullis.toml",
        "issuer = \"https://localhost\"\n[server]\nlisten = [\"127.0.0.1:1\"]\ndata = \"data\"\n\
         [login]\nconcurrent_hashes = 16\n\
         [[certificate]]\nhosts = [\"localhost\"]\nchain_file = \"c.pem\"\nkey_file = \"c.key\"\n",
    );
    fs::create_dir_all(folder.join("apps")).expect("made");
    write(
        "apps/web.toml",
        &format!(
            "client_id = \"web\"\nauth = \"none\"\ngrants = [\"authorization_code\", \"refresh_token\"]\n\
             redirect_uris = [\"{CALLBACK}\"]\nscopes = [\"openid\", \"offline_access\"]\napproval = \"self\"\n\
             id_token_signing_alg = \"ES256\"\naudience = \"https://localhost\"\n"
        ),
    );
    write(
        "apps/batch.toml",
        &format!(
            "client_id = \"batch\"\nauth = \"client_secret\"\nsecrets = [\"sha256:{}\"]\n\
             grants = [\"client_credentials\"]\nscopes = [\"openid\"]\napproval = \"self\"\nrun_as = \"robot\"\n\
             audience = \"https://localhost\"\n",
            Digest::of(SECRET.as_bytes()).hex()
        ),
    );
    write("apps/robot.pem", public);
    write(
        "apps/robot.toml",
        "client_id = \"robot\"\nauth = \"none\"\nkeys = [{ pem_file = \"robot.pem\" }]\n\
         grants = [\"urn:ietf:params:oauth:grant-type:jwt-bearer\"]\nscopes = [\"openid\"]\n\
         approval = { admin = [\"staff\"] }\naudience = \"https://localhost\"\n",
    );
    write("apps/partner.pem", certificate);
    write(
        "apps/partner.toml",
        "client_id = \"partner\"\nauth = \"none\"\nkeys = [{ pem_file = \"partner.pem\" }]\n\
         grants = [\"urn:ietf:params:oauth:grant-type:saml2-bearer\"]\nscopes = [\"openid\"]\n\
         approval = { admin = [\"staff\"] }\naudience = \"https://localhost\"\nassertion_lifetime = 3600\n",
    );
    // The demo user's password for everybody; each is a person of her own, since five approvals are all that one has.
    let shipped = include_str!("../conf/users.toml");
    let hash = between(shipped, "password = ", "\n").expect("a password");
    let user = |n| format!("[[user]]\nusername = \"user{n}\"\npassword = {hash}\npermissions = [\"staff\"]\n");
    write("users.toml", &(0..IN_FLIGHT).map(user).collect::<String>());
    start("gate", folder, "127.0.0.1:1", &[])
}

struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// node-oidc-provider, where node is and its package has been installed (`make bench` does).
fn peer(address: &str, robot: &Path) -> Option<Peer> {
    let folder = Path::new("benches/peers");
    if !folder.join("node_modules/oidc-provider").exists() {
        return None;
    }
    let port = address.rsplit(':').next()?;
    let mut node = Command::new("node");
    node.arg("oidc_provider.mjs").arg(port).arg(robot).current_dir(folder);
    let child = node.stdout(Stdio::null()).stderr(Stdio::null()).env("NODE_ENV", "production").spawn().ok()?;
    let peer = Peer(child);
    (0..200)
        .any(|_| {
            std::thread::sleep(Duration::from_millis(50));
            TcpStream::connect(address).is_ok()
        })
        .then_some(peer)
}

#[allow(clippy::cast_precision_loss)] // counts of requests
fn main() {
    if rig::was_called_to_serve() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir_all(folder.path().join("data")).expect("made");
    let pair = rsa::Pair::new();
    let signers = Signers {
        jwt: jsonwebtoken::EncodingKey::from_rsa_pem(pair.private.as_bytes()).expect("a key"),
        saml: saml::Signer::new("partner", "https://localhost"),
    };
    let gate = ours(folder.path(), &pair.public, &signers.saml.pem());
    let place = address();
    let peer = peer(&place, &folder.path().join("apps/robot.pem"));
    let mut servers = vec![Server {
        name: "Portcullis",
        base: format!("http://{}", gate.plain),
        issuer: "https://localhost".to_owned(),
        paths: OURS,
        process: gate.child.id(),
    }];
    match &peer {
        Some(Peer(child)) => servers.push(Server {
            name: "node-oidc-provider",
            base: format!("http://{place}"),
            issuer: format!("http://{place}"),
            paths: PEERS,
            process: child.id(),
        }),
        None => eprintln!("node-oidc-provider is not there: npm ci in benches/peers"),
    }
    let mut people: Vec<Vec<Person<'_>>> =
        servers.iter().map(|server| (0..IN_FLIGHT).map(|n| Person::new(server, n, &signers)).collect()).collect();
    for person in people.iter_mut().flatten() {
        person.sign_in();
    }
    let mut results = vec![vec![(Vec::new(), Vec::new()); WORK.len()]; servers.len()];
    for round in 0..=ROUNDS {
        for (at, people) in people.iter_mut().enumerate() {
            let all = if at == 0 { WORK.len() } else { SHARED };
            for (what, (_, work)) in WORK.iter().enumerate().take(all) {
                let before = cpu(servers[at].process);
                let begun = Instant::now();
                std::thread::scope(|scope| {
                    for person in people.iter_mut() {
                        scope.spawn(move || (0..EACH).for_each(|_| work(person)));
                    }
                });
                let count = (IN_FLIGHT * EACH) as f64;
                if round > 0 {
                    let (rates, costs) = &mut results[at][what];
                    rates.push(count / begun.elapsed().as_secs_f64());
                    costs.push((cpu(servers[at].process) - before) * 1e6 / count);
                }
            }
        }
    }
    println!("| work, {IN_FLIGHT} in flight | server | requests/s | CPU µs/request | to Portcullis |");
    println!("|---|---|---|---|---|");
    for (what, (name, _)) in WORK.iter().enumerate() {
        let base = median(results[0][what].1.clone());
        for (at, server) in servers.iter().enumerate() {
            let (rates, costs) = &results[at][what];
            if rates.is_empty() {
                continue;
            }
            let cost = median(costs.clone());
            println!("| {name} | {} | {:.0} | {cost:.0} | {:.2} |", server.name, median(rates.clone()), cost / base);
        }
    }
}
