//! Two nodes on one database: whichever is asked, the answer is the same.
use super::{
    cluster::{Cluster, PASSWORD, cluster},
    node::{DEVICE, LOOPBACK, Person, REFRESH, VERIFIER, redeemed},
    process::{GRANT, Gate, text, until},
    saml_grants::signed,
    saml_messages::{P256, Says},
    saml_verify::pem,
};
use portcullis::clock::{Clock, SystemClock};
use serde_json::Value;
use std::{fs, process::Command};

const SAML: &str = "urn:ietf:params:oauth:grant-type:saml2-bearer";

/// How many of six tries at once, on both nodes in turn, are answered with `good`.
fn won(nodes: [&Gate; 2], good: u16, ask: impl Fn(&Gate) -> u16 + Sync) -> usize {
    std::thread::scope(|scope| {
        let ask = &ask;
        let racers: Vec<_> = (0..6).map(|n| scope.spawn(move || ask(nodes[n % 2]))).collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).filter(|status| *status == good).count()
    })
}

/// Apps may register themselves, and the demo's app signs SAML assertions too.
fn with_saml_and_registration(gate: &Gate) {
    fs::write(gate.path("saml.pem"), pem("CERTIFICATE", &P256.certificate)).unwrap();
    let key = format!("keys = [{{ pem_file = \"{}\" }}, ", gate.path("saml.pem").display());
    gate.edit("conf/apps/orders-robot.toml", "keys = [", &key);
    gate.edit("conf/apps/orders-robot.toml", "grants = [", &format!("grants = [\"{SAML}\", "));
    let table = format!("[registration]\nscopes = [\"openid\"]\napp = {{ audience = \"{}\" }}\n\n", gate.issuer());
    gate.edit("conf/portcullis.toml", "[keys]", &format!("{table}[keys]"));
}

fn registered(node: &Gate, token: &str) -> u16 {
    let request = node.agent().post(format!("{}/oauth2/register", node.issuer()));
    let request = request.header("authorization", format!("Bearer {token}")).header("content-type", "application/json");
    let app = "{\"client_name\": \"Field app\", \"redirect_uris\": [\"https://app.example/callback\"]}";
    request.send(app).unwrap().status().as_u16()
}

#[test]
fn f3_f7_s30_s37_s52_two_nodes_are_one_for_codes_tokens_assertions_handles_and_devices() {
    let cluster = cluster();
    let mut a = Gate::on(cluster, &cluster.database());
    with_saml_and_registration(&a);
    a.run();
    let mut b = a.beside();
    b.run();
    let nodes = [&a, &b];

    // Revoked on one, refused by the other.
    let token = a.token();
    assert_eq!((a.call(&token), b.call(&token)), (200, 200), "a token of one opens the other");
    assert_eq!(a.form("/oauth2/revoke", &[("client_id", "orders-robot"), ("token", &token)]).0, 200);
    assert_eq!(a.call(&token), 401);
    assert!(until(|| b.call(&token) == 401));

    // An assertion is used once (S37).
    let assertion = a.assertion();
    let fields = [("grant_type", GRANT), ("assertion", &*assertion)];
    assert_eq!(a.form("/oauth2/token", &fields).0, 200);
    assert_eq!(b.form("/oauth2/token", &fields).0, 400);
    // So is a SAML assertion, by its identifier (S52), and both at once.
    let says = Says::for_token("orders-robot", "alice", &a.issuer(), SystemClock.now());
    let assertion = signed(&says, &P256);
    let fields = [("grant_type", SAML), ("assertion", &*assertion)];
    assert_eq!(won(nodes, 200, |node| node.form("/oauth2/token", &fields).0), 1);
    assert_eq!(won(nodes, 400, |node| node.form("/oauth2/token", &fields).0), 6);
    // An initial access token counts as often as it says (S30).
    let made = text(&a.command(&["registrations", "new-token", "--uses", "2"], "").stdout);
    let initial = made.lines().next().unwrap().rsplit(' ').next().unwrap();
    assert_eq!(won(nodes, 201, |node| registered(node, initial)), 2, "{made}");
    assert_eq!(won(nodes, 401, |node| registered(node, initial)), 6);

    // Every step of a sign-in reaches another node; the code works once (S23), and its replay ends what came from it (S26).
    let mut alice = Person::default();
    let code = alice.code(&nodes);
    let (status, first) = redeemed(&a, &code);
    assert_eq!(status, 200, "{first}");
    let access = first["access_token"].as_str().unwrap();
    assert_eq!(b.call(access), 200);
    assert_eq!(redeemed(&b, &code).0, 400);
    assert!(until(|| a.call(access) == 401), "the replay on one is felt on the other");
    // Both at once, many times: one wins.
    for _ in 0..5 {
        let code = alice.code(&nodes);
        assert_eq!(won(nodes, 200, |node| redeemed(node, &code).0), 1);
    }

    // A refresh token rotates across nodes, and its replay ends the family (S28).
    let (_, first) = redeemed(&a, &alice.code(&nodes));
    let (status, second) = b.refreshed(&first[REFRESH]);
    assert_eq!(status, 200, "{second}");
    let (status, third) = a.refreshed(&second[REFRESH]);
    assert_eq!(status, 200, "{third}");
    assert_eq!(b.refreshed(&first[REFRESH]).0, 400, "S28");
    assert_eq!(a.refreshed(&third[REFRESH]).0, 400);
    assert!(until(|| a.call(third["access_token"].as_str().unwrap()) == 401));

    // A pushed request is used once (RFC 9126).
    let pushed = [
        ("client_id", "notebook"),
        ("response_type", "code"),
        ("redirect_uri", LOOPBACK),
        ("scope", "orders:read"),
        ("code_challenge", &*portcullis::secret::Digest::text(VERIFIER)),
        ("code_challenge_method", "S256"),
    ];
    let (status, pushed) = a.form("/oauth2/par", &pushed);
    assert_eq!(status, 201, "{pushed}");
    let handle = pushed["request_uri"].as_str().unwrap().replace(':', "%3A");
    let target = format!("/oauth2/authorize?client_id=notebook&request_uri={handle}");
    assert!(alice.visit(&[&b], &target).to.contains("code="), "pushed to one, used on the other");
    assert!(!alice.visit(&[&a], &target).to.contains("code="));

    // A device asks one node, a person says yes on the other, and the device gets its token once.
    let (_, device) = a.form("/oauth2/device_authorization", &[("client_id", "notebook"), ("scope", "orders:read")]);
    let target = device["verification_uri_complete"].as_str().unwrap().strip_prefix(&a.issuer()).unwrap();
    alice.visit(&[&b], target);
    let poll =
        [("grant_type", DEVICE), ("client_id", "notebook"), ("device_code", device["device_code"].as_str().unwrap())];
    let (status, body) = b.form("/oauth2/token", &poll);
    assert_eq!(status, 200, "{body}");
    assert_eq!(a.form("/oauth2/token", &poll).0, 400);

    // The pool is metered, and the command line works on the same database.
    let metrics = b.admin("GET", "/metrics").1;
    for line in ["portcullis_store_connections{role=\"listen\"} 1", "portcullis_revocations_known 1"] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    let token = a.token();
    assert!(a.command(&["token", "revoke"], &token).status.success());
    assert!(until(|| a.call(&token) == 401 && b.call(&token) == 401));

    // Keys are in the database, sealed: no node has any in its folder, and a rotation reaches all.
    for node in nodes {
        assert!(!node.path("data/keys.json").exists() && !node.path("data/vault.key").exists());
    }
    let jwks = |node: &Gate| node.fetched("/.well-known/jwks.json");
    let (old, published) = (a.token(), jwks(&a));
    let kid = text(&b.command(&["keys", "rotate"], "").stdout).trim().to_owned();
    assert!(!published.contains(&kid) && until(|| nodes.iter().all(|node| jwks(node).contains(&kid))), "published");
    assert!(!a.token().contains(&kid), "and not used yet");
    let kid = text(&b.command(&["keys", "rotate", "--publish-before", "0"], "").stdout).trim().to_owned();
    assert!(until(|| nodes.iter().all(|node| node.token().contains(&kid))));
    assert_eq!((a.call(&old), b.call(&old)), (200, 200), "F13: the old one opens through the overlap");
    let new = a.token();
    assert!(a.command(&["keys", "rotate", "--emergency"], "").status.success());
    for token in [&old, &new] {
        assert!(until(|| a.call(token) == 401 && b.call(token) == 401), "an emergency ends all tokens of a key");
    }
    let last = b.token();
    assert!(until(|| a.call(&last) == 200));
    // The key-encryption key is changed: both are named, the keys are sealed again, the old one goes.
    fs::rename(a.path("conf/kek"), a.path("conf/kek-before")).unwrap();
    fs::write(a.path("conf/kek"), portcullis::secret::random_token()).unwrap();
    assert!(!a.command(&["keys", "list"], "").status.success(), "sealed by the other one");
    a.edit("conf/portcullis.toml", "[keys]\n", "[keys]\nprevious_encryption_key_file = \"kek-before\"\n");
    assert!(a.command(&["keys", "rewrap"], "").status.success());
    a.edit("conf/portcullis.toml", "previous_encryption_key_file = \"kek-before\"\n", "");
    assert!(text(&a.command(&["keys", "list"], "").stdout).contains("in use"));
}

#[test]
fn f6_a_stopped_database_fails_the_gate_closed_in_time_and_its_return_heals_it() {
    let cluster = Cluster::start(false);
    let mut a = Gate::on(&cluster, &cluster.database());
    a.edit("conf/portcullis.toml", "postgres = ", "stale_after = 2\npostgres = ");
    a.run();
    let token = a.token();
    assert_eq!(a.call(&token), 200);
    cluster.signal("-STOP");
    assert!(until(|| a.call(&token) == 503), "what is known is acted upon no longer than was configured");
    let ready = a.ready();
    assert!(ready["ready"] == false && ready["revocations_known"] == false, "{ready}");
    assert!(a.admin("GET", "/metrics").1.contains("portcullis_revocations_known 0"));
    assert!(until(|| fs::read_to_string(a.path("audit.log")).unwrap().contains("\"outcome\":\"stale\"")));
    let (status, body) = a.exchange("orders:read");
    assert!(status == 503 && body["access_token"].is_null(), "{body}");
    cluster.signal("-CONT");
    assert!(until(|| a.call(&token) == 200 && a.exchange("orders:read").0 == 200));
    // Every connection is cut at once.
    cluster.query(
        "postgres",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'portcullis'",
    );
    assert!(until(|| a.exchange("orders:read").0 == 200));
}

#[test]
fn f2_a_node_moves_from_sqlite_to_postgres_and_loses_no_authorization() {
    let mut gate = Gate::start();
    let mut alice = Person::default();
    let (_, first) = redeemed(&gate, &alice.code(&[&gate]));
    let (status, tokens) = gate.refreshed(&first[REFRESH]);
    assert_eq!(status, 200, "{tokens}");
    let used = alice.code(&[&gate]);
    let (_, second) = redeemed(&gate, &used);
    let unused = alice.code(&[&gate]);
    let revoked = gate.token();
    assert_eq!(gate.form("/oauth2/revoke", &[("client_id", "orders-robot"), ("token", &revoked)]).0, 200);
    let assertion = gate.assertion();
    let fields = [("grant_type", GRANT), ("assertion", &*assertion)];
    assert_eq!(gate.form("/oauth2/token", &fields).0, 200);
    let stop = |gate: &mut Gate| {
        gate.signal("-TERM");
        gate.child.take().unwrap().wait().unwrap()
    };
    stop(&mut gate);
    let file = gate.path("export");
    let file = file.to_str().unwrap();
    let told = text(&gate.command(&["store", "check"], "").stdout);
    assert!(told.contains("authorization: ") && told.contains("good: "), "{told}");
    assert!(gate.command(&["store", "export", file], "").status.success());
    assert!(!gate.command(&["store", "export", file], "").status.success(), "no file is overwritten");

    let cluster = cluster();
    let address = cluster.address(&cluster.database());
    fs::write(gate.path("conf/kek"), gate.command(&["keys", "new-encryption-key"], "").stdout).unwrap();
    let store =
        format!("[store]\npostgres = \"{address}\"\n\n[keys]\nencryption_key_file = \"kek\"\n\n[[certificate]]");
    gate.edit("conf/portcullis.toml", "[[certificate]]", &store);
    let migrated = gate.command(&["store", "migrate"], "");
    assert!(migrated.status.success(), "{}", text(&migrated.stderr));
    let imported = gate.command(&["store", "import", file], "");
    assert!(imported.status.success(), "{}", text(&imported.stderr));
    assert_eq!(text(&gate.command(&["store", "import", file], "").stdout), "0 records\n", "begun again");
    assert_eq!(text(&gate.command(&["store", "check"], "").stdout), told);
    gate.run();
    let opens = |tokens: &Value| gate.call(tokens["access_token"].as_str().unwrap());
    assert_eq!((opens(&tokens), opens(&second)), (200, 200), "the keys came along");
    assert_eq!(gate.call(&revoked), 401);
    assert_eq!(gate.form("/oauth2/token", &fields).0, 400, "S31, S37");
    assert_eq!(redeemed(&gate, &unused).0, 200);
    assert_eq!(redeemed(&gate, &used).0, 400, "S31");
    assert_eq!(opens(&second), 401);
    assert_eq!(gate.refreshed(&tokens[REFRESH]).0, 200);
    assert_eq!(gate.refreshed(&first[REFRESH]).0, 400, "S31");
    assert!(!alice.visit(&[&gate], "/oauth2/account").body.contains("name=\"password\""), "still signed in");
}

#[test]
fn f18_the_listeners_go_to_the_next_process_and_no_request_is_refused() {
    let mut gate = Gate::start();
    let token = gate.token();
    let old = gate.child.as_ref().unwrap().id();
    let done = std::sync::atomic::AtomicBool::new(false);
    let (calls, other) = std::thread::scope(|scope| {
        let (gate, token, done) = (&gate, &token, &done);
        let load = scope.spawn(move || {
            let mut seen = (0, Vec::new());
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                seen.0 += 1;
                // A connection of its own for each, which is what a balancer sees of a node.
                match gate.call(token) {
                    200 => {}
                    status => seen.1.push(status),
                }
            }
            seen
        });
        gate.signal("-USR2");
        std::thread::sleep(std::time::Duration::from_millis(50));
        gate.signal("-USR2");
        let audit = || fs::read_to_string(gate.path("audit.log")).unwrap();
        assert!(until(|| audit().contains("\"handed over\"")), "{}", audit());
        assert!(
            until(|| !std::path::Path::new(&format!("/proc/{old}/fd/0")).exists()),
            "the old one has drained and ended"
        );
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        load.join().unwrap()
    });
    assert!(calls > 10 && other.is_empty(), "{calls} calls, {other:?}");
    let audit = fs::read_to_string(gate.path("audit.log")).unwrap();
    assert!(audit.contains("being handed over already"), "one at a time: {audit}");
    let line: Value = audit
        .lines()
        .filter_map(|l| serde_json::from_str(l).ok())
        .find(|l: &Value| l["outcome"] == "handed over")
        .unwrap();
    let next = line["pid"].as_u64().unwrap().to_string();
    gate.child.take().unwrap().wait().unwrap();
    assert_eq!(gate.call(&gate.token()), 200, "the next one serves");
    assert!(Command::new("kill").args(["-TERM", &next]).status().unwrap().success());
    assert!(until(|| gate.admin("GET", "/livez").0 == 0));
}

#[test]
fn a_configuration_of_the_database_is_checked_and_a_wrong_one_is_told_in_words() {
    let cluster = cluster();
    let mut gate = Gate::start();
    let database = cluster.database();
    let store = |lines: &str| {
        let config = fs::read_to_string(gate.config()).unwrap();
        let rest = config.split_once("[[certificate]]").unwrap().1;
        let before = config.split("[store]").next().unwrap().split("[[certificate]]").next().unwrap();
        fs::write(gate.config(), format!("{before}[store]\n{lines}\n\n[[certificate]]{rest}")).unwrap();
        text(&gate.command(&["check"], "").stderr)
    };
    let told = store(
        "postgres = \"postgresql://a:b@db.example/c\"\nconnections = 1\npassword_env = \"A\"\npassword_file = \"b\"",
    );
    for mistake in ["postgres: a password has no place here", "connections: between 2", "password_file: one of"] {
        assert!(told.contains(mistake), "{mistake} in {told}");
    }
    let told = store("postgres = \"host=db.example user=a dbname=b\"");
    assert!(told.contains("ca_file: needed") && told.contains("encryption_key_file"), "{told}");
    assert!(store("stale_after = 30\nca_file = \"x\"").contains("postgres: needed beside"));
    // Over TLS, with the password from the environment: wrong, then right.
    let address = format!("postgresql://portcullis@localhost:{}/{database}", cluster.port);
    let lines = format!(
        "postgres = \"{address}\"\npassword_command = [\"printenv\", \"DB_PASSWORD\"]\nca_file = \"{}\"\n\n[keys]\nencryption_key_env = \"KEK\"",
        cluster.authority.display()
    );
    assert_eq!(store(&lines), "");
    let run = |password: &str| {
        let mut command = Command::new(super::process::PROGRAM);
        command.args(["approvals", "grant", "orders-robot", "alice", "--config"]).arg(gate.config());
        command.env("DB_PASSWORD", password).output().unwrap()
    };
    let refused = run("wrong");
    assert!(!refused.status.success() && text(&refused.stderr).contains("password authentication failed"));
    assert!(!text(&refused.stderr).contains("wrong\""), "{}", text(&refused.stderr));
    let done = run(PASSWORD);
    assert!(done.status.success(), "{}", text(&done.stderr));
    drop(gate.child.take().map(|mut c| (c.kill(), c.wait())));
}
