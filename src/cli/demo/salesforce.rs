//! A program that was written for Salesforce and pointed here: its paths by hand, and then jsforce itself, where it is.
use super::{Tour, people::member, read, shortened, told, until, user_agent::UserAgent};
use crate::secret::{self, Digest};
use std::{
    env, fs,
    process::{Command, Stdio},
};

const CALLBACK: &str = "http://127.0.0.1:51005/callback";
const TOKEN: &str = "/services/oauth2/token";
const DATA: &str = "/services/data/v62.0/query?q=SELECT+Id+FROM+Order";
const JSFORCE: &str = include_str!("jsforce.js");
/// What the configuration does not have.
const TABLES: &str = r#"
[salesforce]
organization = "00D000000000062EAA"

[[route]]
name = "data"
path = "/services/data/*"
scopes = ["api"]
errors = "salesforce"
upstream.addresses = ["127.0.0.1:EXAMPLE"]
"#;
const APP: &str = r#"client_id = "console"
name = "Sales console"
auth = "client_secret"
secrets = ["sha256:DIGEST"]
grants = ["authorization_code", "refresh_token"]
redirect_uris = ["http://127.0.0.1/callback"]
scopes = ["full", "refresh_token"]
approval = "self"
refresh = { reusable = true }
audience = "ISSUER"
"#;

/// Sign-in, identity, a call, an ended session and its return; then the same by jsforce.
pub fn play(alice: &mut UserAgent<'_>) -> Result<(), String> {
    let tour = alice.tour;
    let secret = turned_on(tour)?;
    let console = [("client_id", "console"), ("client_secret", &*secret)];
    // As long as jsforce and sf make it: RFC 7636 allows 128.
    let verifier = secret::random_token().repeat(4);
    let browser = "curl -L -b jar -c jar --cacert certs/ca.pem";
    let line =
        format!("{browser} '{}/services/oauth2/authorize?response_type=code&client_id=console&...'", tour.issuer);
    let page = alice.open(&ask(&verifier))?;
    let page =
        page.expect("S1. A program written for Salesforce opens a browser, and asks for all", &line, "everything")?;
    let back = alice.submit(&page, &[("decision", "allow")])?;
    let code = back.field("code").ok_or("no code came back")?;
    let redeem = [
        ("grant_type", "authorization_code"),
        ("code", &*code),
        ("redirect_uri", CALLBACK),
        ("code_verifier", &*verifier),
    ];
    let answer = tour.post(
        "S2. She says yes: the answer has Salesforce's fields",
        TOKEN,
        &[&console[..], &redeem].concat(),
        200,
    )?;
    let (token, refresh, id) =
        (member(&answer, "access_token")?, member(&answer, "refresh_token")?, member(&answer, "id")?);
    let path = id.strip_prefix(&*tour.issuer).ok_or("the identity URL leads elsewhere")?;
    let person = get(tour, "S3. Who that is", path, &token, 200)?;
    let seen = get(tour, "S4. A query through the gate", DATA, &token, 200)?;
    for (text, expected) in [(&person, "\"username\":\"alice\""), (&seen, "\"x-forwarded-user\":\"alice\"")] {
        if !text.contains(expected) {
            return Err(format!("{expected} is not in {text}"));
        }
    }
    tour.post("S5. The session is ended", "/services/oauth2/revoke", &[("token", &*token)], 200)?;
    let refused = get(tour, "S6. The next query: refused in the words that these programs know", DATA, &token, 401)?;
    if !refused.contains("INVALID_SESSION_ID") {
        return Err(format!("not in Salesforce's words: {refused}"));
    }
    let fields = [&console[..], &[("grant_type", "refresh_token"), ("refresh_token", &*refresh)]].concat();
    tour.post("S7. So it gets another", TOKEN, &fields, 200)?;
    let code = alice.open(&ask(&verifier))?.field("code").ok_or("no code came back")?;
    jsforce(tour, &[("SECRET", &secret), ("CODE", &code), ("VERIFIER", &verifier)])
}

/// The address that such a program opens: a challenge, and no method.
fn ask(verifier: &str) -> String {
    let challenge = Digest::text(verifier);
    let fields = [
        ("response_type", "code"),
        ("client_id", "console"),
        ("redirect_uri", CALLBACK),
        ("code_challenge", &*challenge),
    ];
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    format!("/services/oauth2/authorize?{query}")
}

/// Puts the tables and the app into the configuration of the running gateway; the app's secret.
fn turned_on(tour: &Tour) -> Result<String, String> {
    let conf = tour.folder.join("conf");
    let write = |name: &str, text: &str| fs::write(conf.join(name), text).map_err(|e| format!("{name}: {e}"));
    let secret = secret::random_token();
    let app = APP.replace("DIGEST", &Digest::of(secret.as_bytes()).hex()).replace("ISSUER", &tour.issuer);
    write("apps/console.toml", &app)?;
    let main = fs::read_to_string(conf.join("portcullis.toml")).map_err(|e| e.to_string())?;
    let example = main.split("example_api = \"127.0.0.1:").nth(1).and_then(|rest| rest.split('"').next());
    let tables = TABLES.replace("EXAMPLE", example.ok_or("there is no example API")?);
    write("portcullis.toml", &(main + &tables))?;
    println!("   cat >> {}/portcullis.toml{}", conf.display(), tables.replace('\n', "\n     "));
    // Both files are taken up at once, or one after the other.
    let challenged = format!("{}{}", tour.issuer, ask("x"));
    let on = || tour.agent.get(&challenged).call().is_ok_and(|answer| answer.status() == 303);
    until(on).then_some(secret).ok_or("the edited configuration did not take effect".to_owned())
}

fn get(tour: &Tour, title: &str, path: &str, token: &str, expected: u16) -> Result<String, String> {
    let url = format!("{}{path}", tour.issuer);
    let line = format!("curl --cacert certs/ca.pem -H \"Authorization: Bearer {}\" '{url}'", shortened(token));
    let answer = tour.agent.get(&url).header("authorization", format!("Bearer {token}")).call();
    told(title, &line, expected, read(answer)?)
}

/// jsforce of npm, unmodified. A machine without it has seen the same requests by hand.
fn jsforce(tour: &Tour, settings: &[(&str, &str)]) -> Result<(), String> {
    let here = env::current_dir().unwrap_or_default();
    let known = env::var_os("NODE_PATH").unwrap_or_default();
    let folders = ["tests/clients/node_modules", "node_modules"].map(|folder| here.join(folder));
    let folders = env::join_paths(folders.into_iter().chain(env::split_paths(&known))).map_err(|e| e.to_string())?;
    let node = |script: &str| {
        let mut node = Command::new("node");
        node.args(["-e", script]).env("NODE_PATH", &folders).stdin(Stdio::null());
        node
    };
    let there = node("require('jsforce')").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !there.is_ok_and(|status| status.success()) {
        println!("S8. jsforce itself is not played: there is no Node.js here, or no jsforce (`npm install jsforce`)\n");
        return Ok(());
    }
    println!("S8. jsforce, unmodified: its answers come from its own code\n   node jsforce.js");
    let mut script = node(JSFORCE);
    script.env("ISSUER", &tour.issuer).env("CALLBACK", CALLBACK).envs(settings.iter().copied());
    let run =
        script.env("NODE_EXTRA_CA_CERTS", tour.folder.join("certs/ca.pem")).output().map_err(|e| e.to_string())?;
    println!("   {}\n", String::from_utf8_lossy(&run.stdout).trim_end().replace('\n', "\n   "));
    if run.status.success() { Ok(()) } else { Err(format!("jsforce: {}", String::from_utf8_lossy(&run.stderr))) }
}
