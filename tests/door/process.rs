//! The program as its users start it: a process, TLS sockets, files.
use serde_json::Value;
use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};
use ureq::{
    Agent,
    tls::{Certificate, RootCerts, TlsConfig},
};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_portcullis");
pub const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// A gateway of its own: folder, ports, process.
pub struct Gate {
    pub folder: tempfile::TempDir,
    pub child: Option<Child>,
    pub https: u16,
    pub redirect: u16,
    pub admin: u16,
    pub example: u16,
}

impl Drop for Gate {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A free port that no other test of this process gets, below those that the system gives to outgoing connections.
pub fn port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = u16::try_from(std::process::id() % 100).unwrap() * 100;
    loop {
        let port = 20_000 + (begin + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl Gate {
    /// The shipped configuration on free ports, not yet running.
    pub fn prepare() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let gate = Self { https: port(), redirect: port(), admin: port(), example: port(), child: None, folder };
        fs::create_dir_all(gate.path("conf/apps")).unwrap();
        for name in
            ["portcullis.toml", "users.toml", "apps/orders-robot.toml", "apps/portal.toml", "apps/notebook.toml"]
        {
            let text = fs::read_to_string(Path::new("conf").join(name)).unwrap();
            let text = text
                .replace(":8443", &format!(":{}", gate.https))
                .replace(":8080", &format!(":{}", gate.redirect))
                .replace(":9901", &format!(":{}", gate.admin))
                .replace(":9902", &format!(":{}", gate.example))
                .replace("data = ", "access_log = \"../access.log\"\naudit_log = \"../audit.log\"\ndata = ");
            fs::write(gate.path("conf").join(name), text).unwrap();
        }
        gate
    }

    /// Started and ready.
    pub fn start() -> Self {
        let mut gate = Self::prepare();
        gate.run();
        // Each listener begins by itself.
        assert!(until(|| TcpStream::connect(("127.0.0.1", gate.https)).is_ok()));
        gate
    }

    pub fn run(&mut self) {
        self.run_in(&[]);
    }

    /// The same, with more in its environment.
    pub fn run_in(&mut self, environment: &[(&str, String)]) {
        self.begin_in(environment);
        assert!(until(|| self.ready()["ready"] == true), "{}", fs::read_to_string(self.path("stderr")).unwrap());
    }

    /// Started, and perhaps not ready yet.
    pub fn begin_in(&mut self, environment: &[(&str, String)]) {
        let errors = fs::File::create(self.path("stderr")).unwrap();
        let mut command = Command::new(PROGRAM);
        command.arg("run").arg("--config").arg(self.config()).stdout(Stdio::null()).stderr(errors);
        command.envs(environment.iter().map(|(name, value)| (*name, value)));
        self.child = Some(command.spawn().unwrap());
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn config(&self) -> PathBuf {
        self.path("conf/portcullis.toml")
    }

    /// Replaces text of a file beneath the folder.
    pub fn edit(&self, name: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(name)).unwrap();
        assert!(text.contains(from), "{from} in {text}");
        fs::write(self.path(name), text.replace(from, to)).unwrap();
    }

    pub fn issuer(&self) -> String {
        format!("https://localhost:{}", self.https)
    }

    pub fn agent(&self) -> Agent {
        let ca = Certificate::from_pem(&fs::read(self.path("certs/ca.pem")).unwrap()).unwrap();
        let tls = TlsConfig::builder().root_certs(RootCerts::new_with_certs(&[ca])).build();
        let config = Agent::config_builder().tls_config(tls).http_status_as_error(false).max_redirects(0);
        config.timeout_global(Some(Duration::from_secs(20))).build().new_agent()
    }

    pub fn admin(&self, method: &str, path: &str) -> (u16, String) {
        let url = format!("http://127.0.0.1:{}{path}", self.admin);
        let agent = self.plain();
        let answer = if method == "POST" { agent.post(url).send_empty() } else { agent.get(url).call() };
        answer.map_or((0, String::new()), |mut a| (a.status().as_u16(), a.body_mut().read_to_string().unwrap()))
    }

    pub fn plain(&self) -> Agent {
        Agent::config_builder().http_status_as_error(false).max_redirects(0).build().new_agent()
    }

    pub fn ready(&self) -> Value {
        serde_json::from_str(&self.admin("GET", "/readyz").1).unwrap_or_default()
    }

    pub fn command(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = Command::new(PROGRAM)
            .args(arguments)
            .arg("--config")
            .arg(self.config())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    pub fn assertion(&self) -> String {
        let key = self.path("certs/orders-robot.key");
        let key = key.to_str().unwrap();
        let made = ["token", "assertion", "--client", "orders-robot", "--subject", "alice", "--key", key];
        text(&self.command(&made, "").stdout).trim().to_owned()
    }

    pub fn exchange(&self, scope: &str) -> (u16, Value) {
        let fields = [("grant_type", GRANT), ("scope", scope), ("assertion", &self.assertion())];
        let mut answer = self.agent().post(format!("{}/oauth2/token", self.issuer())).send_form(fields).unwrap();
        (answer.status().as_u16(), serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap())
    }

    pub fn token(&self) -> String {
        let (status, body) = self.exchange("orders:read");
        assert_eq!(status, 200, "{body}");
        body["access_token"].as_str().unwrap().to_owned()
    }

    pub fn call(&self, token: &str) -> u16 {
        let request = self.agent().get(format!("{}/orders/7", self.issuer()));
        request.header("authorization", format!("Bearer {token}")).call().unwrap().status().as_u16()
    }

    pub fn curl(&self, arguments: &[&str]) -> String {
        let ca = self.path("certs/ca.pem");
        let run = Command::new("curl").args(["-sS", "--max-time", "20", "--cacert"]).arg(ca).args(arguments).output();
        let run = run.unwrap();
        assert!(run.status.success(), "{}", text(&run.stderr));
        text(&run.stdout)
    }

    pub fn signal(&self, name: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn until(holds: impl Fn() -> bool) -> bool {
    (0..150).any(|_| {
        let so = holds();
        if !so {
            std::thread::sleep(Duration::from_millis(100));
        }
        so
    })
}

#[test]
fn s49_over_http2_and_http1_a_token_opens_until_it_is_revoked_and_neither_log_holds_it() {
    let gate = Gate::start();
    let token = gate.token();
    let bearer = format!("Authorization: Bearer {token}");
    let url = format!("{}/orders/7", gate.issuer());
    for (version, line) in [("--http2", "HTTP/2 200"), ("--http1.1", "HTTP/1.1 200")] {
        let seen = gate.curl(&[version, "-i", "-H", &bearer, &url]);
        assert!(seen.starts_with(line) && seen.contains("\"x-forwarded-user\":\"alice\""), "{seen}");
        assert!(seen.contains("\"x-forwarded-proto\":\"https\"") && !seen.contains(&token), "{seen}");
        let refused = gate.curl(&[version, "-i", "-d", "a=b", "-H", &bearer, &url]).to_ascii_lowercase();
        assert!(refused.contains("403") && refused.contains("scope=\"orders:write\""), "{refused}");
        let none = gate.curl(&[version, "-i", &url]).to_ascii_lowercase();
        assert!(none.contains("x-request-id: "), "{none}");
        assert!(none.contains("401") && none.contains("resource_metadata=\"https://localhost:"), "{none}");
        let method = gate.curl(&[version, "-i", "-X", "DELETE", &url]).to_ascii_lowercase();
        assert!(method.contains(" 405") && method.contains("allow: get, post"), "{method}");
    }
    assert_eq!(gate.curl(&[&format!("{}/status", gate.issuer())]).matches("\"target\":\"/status\"").count(), 1);
    let metadata = gate.curl(&[&format!("{}/.well-known/oauth-protected-resource", gate.issuer())]);
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    assert_eq!(
        (&metadata["resource"], &metadata["authorization_servers"][0]),
        (&gate.issuer().into(), &gate.issuer().into())
    );
    let fields = [("client_id", "orders-robot"), ("token", &token)];
    let revoked = gate.agent().post(format!("{}/oauth2/revoke", gate.issuer())).send_form(fields).unwrap();
    assert_eq!((revoked.status().as_u16(), gate.call(&token)), (200, 401));
    let metrics = gate.admin("GET", "/metrics").1;
    for line in [
        "portcullis_decisions_total{outcome=\"allow\",reason=\"ok\",route=\"orders\"} 2",
        "portcullis_token_requests_total{grant=\"urn:ietf:params:oauth:grant-type:jwt-bearer\",outcome=\"issued\"} 1",
        "portcullis_token_cache_total{result=\"hit\"}",
        "portcullis_upstream_seconds_count{route=\"orders\"} 2",
        "portcullis_store_commit_seconds_count",
        "portcullis_store_read_seconds_count",
        "portcullis_build_info",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    let logs = || ["access.log", "audit.log"].map(|f| fs::read_to_string(gate.path(f)).unwrap());
    assert!(until(|| logs()[0].contains("\"route\":\"orders\"") && logs()[1].contains("\"event\":\"revoke\"")));
    assert!(logs().iter().all(|log| !log.contains(&token)), "a token in a log");
    let line = |status| logs()[0].lines().find(|l| l.contains(status)).map(str::to_owned).unwrap_or_default();
    let refused = line("\"status\":403");
    assert!(refused.contains("\"client\":\"orders-robot\"") && refused.contains("\"subject\":\"alice\""), "{refused}");
}

#[test]
fn a_policy_file_takes_effect_while_running_and_a_bad_one_changes_nothing() {
    let mut gate = Gate::prepare();
    // Kubernetes' way: the apps' folder is a link that is switched.
    fs::rename(gate.path("conf/apps"), gate.path("apps-1")).unwrap();
    std::os::unix::fs::symlink(gate.path("apps-1"), gate.path("conf/apps")).unwrap();
    gate.edit("apps-1/orders-robot.toml", "../../certs/", "../certs/");
    gate.run();
    let token = gate.token();
    assert_eq!(gate.call(&token), 200);
    fs::create_dir(gate.path("apps-2")).unwrap();
    for app in ["orders-robot.toml", "portal.toml"] {
        fs::copy(gate.path("apps-1").join(app), gate.path("apps-2").join(app)).unwrap();
    }
    gate.edit("apps-2/orders-robot.toml", "client_id", "blocked = true\nclient_id");
    std::os::unix::fs::symlink(gate.path("apps-2"), gate.path("next")).unwrap();
    fs::rename(gate.path("next"), gate.path("conf/apps")).unwrap();
    assert!(until(|| gate.call(&token) == 401), "a blocked app's token ends without a restart");
    gate.edit("apps-2/orders-robot.toml", "blocked = true", "blocked = false");
    let (status, body) = gate.admin("POST", "/reload");
    assert!(status == 200, "{body}");
    assert!(until(|| gate.call(&token) == 200));
    // A half-written file, and SIGHUP on top.
    gate.edit("apps-2/orders-robot.toml", "audience = ", "audienc = ");
    let (status, body) = gate.admin("POST", "/reload");
    assert!(status == 422 && body.contains("orders-robot.toml:") && body.contains("audienc"), "{body}");
    gate.signal("-HUP");
    assert!(until(|| gate.ready()["last_reload_refused"][0].as_str().is_some_and(|m| m.contains("audienc"))));
    assert_eq!(gate.call(&token), 200, "the old policy serves");
    assert!(gate.admin("GET", "/metrics").1.contains("portcullis_reloads_total{outcome=\"refused\"}"));
    gate.edit("apps-2/orders-robot.toml", "audienc = ", "audience = ");
    assert!(until(|| gate.ready()["last_reload_refused"] == serde_json::json!([])));
}

#[test]
fn certificates_are_chosen_by_sni_and_replaced_without_dropping_a_connection() {
    let mut gate = Gate::prepare();
    gate.run();
    let agent = gate.agent();
    let url = format!("{}/status", gate.issuer());
    assert_eq!(agent.get(&url).call().unwrap().status(), 200);
    // Another name gets another certificate, which nobody has signed for us.
    let other = rcgen::generate_simple_self_signed(vec!["other.example".to_owned()]).unwrap();
    fs::write(gate.path("certs/other.pem"), other.cert.pem()).unwrap();
    fs::write(gate.path("certs/other.key"), other.signing_key.serialize_pem()).unwrap();
    let table = "[[certificate]]\nhosts = [\"other.example\"]\nchain_file = \"../certs/other.pem\"\nkey_file = \"../certs/other.key\"\n\n[[route]]\nname = \"orders\"";
    gate.edit("conf/portcullis.toml", "[[route]]\nname = \"orders\"", table);
    let shown = || {
        let resolve = format!("other.example:{}:127.0.0.1", gate.https);
        let url = format!("https://other.example:{}/status", gate.https);
        let ca = gate.path("certs/other.pem");
        let run = Command::new("curl").args(["-sS", "--resolve", &resolve, &url, "--cacert"]).arg(ca).output().unwrap();
        run.status.success()
    };
    assert!(until(shown), "the new certificate is shown for its name");
    // Renewed, as certbot and its like do it: written over, then put in the place of the old one.
    let mut roots = rustls::RootCertStore::empty();
    roots.add(other.cert.der().clone()).unwrap();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let client = rustls::ClientConfig::builder_with_provider(provider.into()).with_safe_default_protocol_versions();
    let client = client.unwrap().with_root_certificates(roots).with_no_client_auth();
    let session = rustls::ClientConnection::new(client.into(), "other.example".try_into().unwrap()).unwrap();
    let socket = TcpStream::connect(("127.0.0.1", gate.https)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let open = std::cell::RefCell::new(rustls::StreamOwned::new(session, socket));
    let goes_on = || {
        let mut open = open.borrow_mut();
        open.write_all(b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let (mut seen, mut part) = (Vec::new(), [0; 4096]);
        while !text(&seen).ends_with("}\n") {
            let count = open.read(&mut part).unwrap();
            assert!(count > 0, "the open connection was closed: {}", text(&seen));
            seen.extend_from_slice(&part[..count]);
        }
        text(&seen).starts_with("HTTP/1.1 200")
    };
    for renamed in [false, true] {
        assert!(goes_on());
        let renewed = rcgen::generate_simple_self_signed(vec!["other.example".to_owned()]).unwrap();
        for (name, pem) in [("other.key", renewed.signing_key.serialize_pem()), ("other.pem", renewed.cert.pem())] {
            let place = gate.path("certs").join(name);
            let written = if renamed { gate.path("certs").join(".next") } else { place.clone() };
            fs::write(&written, pem).unwrap();
            fs::rename(written, place).unwrap();
        }
        // Nobody is told: the files say it themselves.
        assert!(until(|| goes_on() && shown()), "a new handshake gets the new certificate, renamed: {renamed}");
    }
    let told = fs::read_to_string(gate.path("audit.log")).unwrap();
    assert!(told.contains("certificate other.example: "), "{told}");
    // What waits for a restart is said.
    gate.edit("conf/portcullis.toml", "data = ", "grace = 11\ndata = ");
    let (_, told) = gate.admin("POST", "/reload");
    assert!(told.contains("[server] grace changed: it takes effect when the process starts again"), "{told}");
    assert_eq!(told.matches("takes effect").count(), 1, "{told}");
    assert_eq!(agent.get(&url).call().unwrap().status(), 200, "the kept connection goes on");
    assert_eq!(gate.agent().get(&url).call().unwrap().status(), 200, "localhost keeps its own");
}

#[test]
fn the_plain_listener_redirects_and_the_admin_listener_answers_its_paths_alone() {
    let mut gate = Gate::prepare();
    gate.edit("conf/portcullis.toml", "data = ", "max_connections = 1\ndata = ");
    gate.run();
    let url = format!("http://127.0.0.1:{}/orders/7?a=b", gate.redirect);
    let answer = gate.plain().get(url).call().unwrap();
    assert_eq!(answer.status(), 308);
    assert_eq!(answer.headers()["location"], format!("{}/orders/7?a=b", gate.issuer()));
    assert_eq!(gate.admin("GET", "/livez"), (200, "ok\n".to_owned()));
    assert_eq!((gate.admin("GET", "/reload").0, gate.admin("GET", "/orders/7").0), (405, 404));
    // The public listeners share their room; the admin listener has its own.
    let held = TcpStream::connect(("127.0.0.1", gate.redirect)).unwrap();
    let served = || gate.agent().get(format!("{}/status", gate.issuer())).call().is_ok_and(|a| a.status() == 200);
    assert!(until(|| !served()), "the one place is taken");
    assert_eq!(gate.admin("GET", "/livez").0, 200);
    drop(held);
    assert!(until(served));
}

#[test]
fn s66_an_upstream_over_tls_is_verified_and_a_failure_is_told_in_json() {
    let gate = Gate::start();
    let mut front = Gate::prepare();
    let upstream = |ca: &str| {
        format!(
            "[[route]]\nname = \"inner\"\npath = \"/status\"\npublic = true\nupstream = {{ addresses = [\"127.0.0.1:{}\"], tls_name = \"localhost\", ca_file = \"{ca}\" }}\n\n[[route]]\nname = \"gone\"\npath = \"/gone\"\npublic = true\nupstream.addresses = [\"127.0.0.1:{}\"]\n",
            gate.https,
            port()
        )
    };
    let config = fs::read_to_string(front.config()).unwrap();
    let config = config.split("[[route]]\nname = \"status\"").next().unwrap().to_owned();
    fs::write(front.config(), config.clone() + &upstream(gate.path("certs/ca.pem").to_str().unwrap())).unwrap();
    front.run();
    let get = |path: &str| {
        let mut answer = front.agent().get(format!("{}{path}", front.issuer())).call().unwrap();
        (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
    };
    let (status, body) = get("/status");
    assert!(status == 200 && body.contains("/status"), "{status} {body}");
    let (status, body) = get("/gone");
    assert!(status == 502 && body.contains("\"error\":\"bad_gateway\""), "{status} {body}");
    let two = |first: u16| {
        format!(
            "[[route]]\nname = \"two\"\npath = \"/two\"\npublic = true\nupstream.addresses = [\"127.0.0.1:{first}\", \"localhost:{}\"]\n",
            front.example
        )
    };
    fs::write(front.config(), config.clone() + &two(port())).unwrap();
    assert!(until(|| get("/two").0 == 200));
    assert!((0..4).all(|_| get("/two").0 == 200), "an address that does not answer is passed over");
    // Another authority: the same upstream is refused.
    fs::write(front.config(), config + &upstream(front.path("certs/ca.pem").to_str().unwrap())).unwrap();
    assert!(until(|| get("/status").0 == 502), "{:?}", get("/status"));
}

#[test]
fn sigterm_ends_the_process_and_a_restart_forgets_no_revocation() {
    let mut gate = Gate::start();
    let token = gate.token();
    let assertion = gate.assertion();
    let fields = [("grant_type", GRANT), ("assertion", &*assertion)];
    let exchange = |gate: &Gate| {
        gate.agent().post(format!("{}/oauth2/token", gate.issuer())).send_form(fields).unwrap().status().as_u16()
    };
    assert_eq!(exchange(&gate), 200);
    let out = gate.command(&["token", "revoke"], &token);
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert!(until(|| gate.call(&token) == 401), "the command line's revocation reaches the running gateway");
    gate.signal("-TERM");
    let mut child = gate.child.take().unwrap();
    assert!((0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        child.try_wait().unwrap().is_some()
    }));
    gate.run();
    assert_eq!(gate.call(&token), 401, "F2");
    assert_eq!(exchange(&gate), 400, "S37: used before the restart");
    use std::os::unix::fs::PermissionsExt;
    for file in ["data/keys.json", "data/portcullis.db", "certs/localhost.key", "certs/orders-robot.key"] {
        assert_eq!(fs::metadata(gate.path(file)).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
}

#[test]
fn a_slow_header_and_a_silent_handshake_are_cut_while_others_are_served() {
    let mut gate = Gate::prepare();
    gate.edit("conf/portcullis.toml", "data = ", "handshake_timeout = 1\nheader_timeout = 1\ndata = ");
    gate.run();
    let mut silent = TcpStream::connect(("127.0.0.1", gate.https)).unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
    let closed = silent.read(&mut [0; 16]);
    assert!(matches!(closed, Ok(0)) || closed.is_err_and(|e| e.kind() != std::io::ErrorKind::WouldBlock));
    // openssl's client sends what it is given, a byte at a time.
    let mut roots = rustls::RootCertStore::empty();
    let ca = fs::read(gate.path("certs/ca.pem")).unwrap();
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    roots.add(CertificateDer::from_pem_slice(&ca).unwrap()).unwrap();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let config = rustls::ClientConfig::builder_with_provider(provider.into()).with_safe_default_protocol_versions();
    let config = config.unwrap().with_root_certificates(roots).with_no_client_auth();
    let session = rustls::ClientConnection::new(config.into(), "localhost".try_into().unwrap()).unwrap();
    let socket = TcpStream::connect(("127.0.0.1", gate.https)).unwrap();
    let mut drip = rustls::StreamOwned::new(session, socket);
    let head = format!("GET /status HTTP/1.1\r\nhost: localhost\r\nx: {}", "x".repeat(1000));
    let cut = |drip: &mut dyn Write| {
        head.bytes().take(300).any(|byte| {
            std::thread::sleep(Duration::from_millis(100));
            drip.write_all(&[byte]).and_then(|()| drip.flush()).is_err()
        })
    };
    std::thread::scope(|scope| {
        for port in [gate.redirect, gate.admin] {
            let mut plain = TcpStream::connect(("127.0.0.1", port)).unwrap();
            scope.spawn(move || assert!(cut(&mut plain), "on the plain listener {port}"));
        }
        assert!(cut(&mut drip), "a dripping header is cut within its limit");
    });
    assert_eq!(gate.agent().get(format!("{}/status", gate.issuer())).call().unwrap().status(), 200);
}

#[test]
fn tokens_are_stripped_passed_or_replaced_and_large_bodies_stream() {
    let mut gate = Gate::prepare();
    let more = |name: &str, relay: &str| {
        format!(
            "[[route]]\nname = \"{name}\"\npath = \"/{name}\"\nscopes = [\"orders:write\"]\ntoken = \"{relay}\"\nupstream.addresses = [\"127.0.0.1:{}\"]\n\n",
            gate.example
        )
    };
    let routes = more("pass", "pass") + &more("replace", "replace") + "[[route]]\nname = \"status\"";
    gate.edit("conf/portcullis.toml", "[[route]]\nname = \"status\"", &routes);
    gate.run();
    let token = gate.exchange("orders:write").1["access_token"].as_str().unwrap().to_owned();
    let bearer = format!("Authorization: Bearer {token}");
    let seen = |path: &str| -> Value {
        serde_json::from_str(&gate.curl(&["-H", &bearer, &format!("{}{path}", gate.issuer())])).unwrap()
    };
    assert_eq!(seen("/pass")["headers"]["authorization"], format!("Bearer {token}"));
    let replaced = seen("/replace")["headers"]["authorization"].as_str().unwrap().to_owned();
    let jwt = replaced.strip_prefix("Bearer ").unwrap();
    let jwks = gate.curl(&[&format!("{}/.well-known/jwks.json", gate.issuer())]);
    let set: jsonwebtoken::jwk::JwkSet = serde_json::from_str(&jwks).unwrap();
    let header = jsonwebtoken::decode_header(jwt).unwrap();
    let key = jsonwebtoken::DecodingKey::from_jwk(set.find(&header.kid.unwrap()).unwrap()).unwrap();
    let mut validation = jsonwebtoken::Validation::new(header.alg);
    validation.set_audience(&[gate.issuer()]);
    let claims = jsonwebtoken::decode::<Value>(jwt, &key, &validation).unwrap().claims;
    assert_eq!((&claims["sub"], &claims["client_id"]), (&"alice".into(), &"orders-robot".into()));
    assert_eq!(gate.call(jwt), 401, "S38: a token for an upstream does not open the gate");
    let body = gate.path("body");
    fs::write(&body, vec![b'x'; 20 << 20]).unwrap();
    for version in ["--http1.1", "--http2"] {
        let (data, url) = (format!("@{}", body.display()), format!("{}/orders/7", gate.issuer()));
        let told = gate.curl(&[version, "-H", &bearer, "--data-binary", &data, &url]);
        assert!(told.contains(&format!("\"body_bytes\":{}", 20 << 20)), "{version}: {told}");
    }
    let (data, url) = (format!("@{}", body.display()), format!("{}/oauth2/token", gate.issuer()));
    // Asked first, or what is sent unread could reset the connection before its answer is read.
    let patient = ["--http1.1", "--expect100-timeout", "60", "-o", "/dev/null", "-w", "%{http_code}"];
    let large = gate.curl(&[&patient[..], &["--data-binary", &data, &url]].concat());
    assert_eq!(large, "413");
    fs::write(&body, format!("token={}&client_id=orders-robot", "x".repeat(900 << 10))).unwrap();
    let small = gate.curl(&[&patient[..], &["-H", "Expect: 100-continue", "--data-binary", &data, &url]].concat());
    assert_eq!(small, "400", "leave to send was given, and what was sent was read");
}

#[test]
fn f9_a_damaged_database_or_a_taken_port_is_refused_at_the_start_in_words() {
    let mut gate = Gate::start();
    let taken = gate.command(&["run"], "");
    assert!(!taken.status.success() && text(&taken.stderr).contains("cannot listen on 127.0.0.1:"));
    drop(gate.child.take().map(|mut c| (c.kill(), c.wait())));
    for name in ["portcullis.db-wal", "portcullis.db-shm"] {
        let _ = fs::remove_file(gate.path("data").join(name));
    }
    fs::write(gate.path("data/portcullis.db"), vec![0x5a; 65_536]).unwrap();
    let damaged = gate.command(&["run"], "");
    assert!(
        !damaged.status.success() && text(&damaged.stderr).contains("restore a backup"),
        "{}",
        text(&damaged.stderr)
    );
    fs::remove_file(gate.path("data/portcullis.db")).unwrap();
    fs::write(gate.path("data/keys.json"), "[").unwrap();
    let keys = gate.command(&["run"], "");
    assert!(!keys.status.success() && text(&keys.stderr).contains("keys.json: damaged"), "{}", text(&keys.stderr));
}
