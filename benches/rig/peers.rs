//! Other gates, as `scripts/setup.sh peers` unpacked them: each with the configuration of benches/peers, which checks the
//! same as ours does: signature, expiry, audience, scope.
use crate::{
    load::connect,
    rig::{Served, address, cpu},
    site::ISSUER,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

/// A gate that runs, with all its processes.
#[derive(Clone)]
pub struct Peer {
    pub name: &'static str,
    /// Whether it knows our sealed tokens.
    pub opens_opaque: bool,
    plain: String,
    tls: String,
    process: u32,
    _running: Arc<Running>,
}

enum Running {
    Ours { _served: Served },
    Theirs(Child),
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Self::Theirs(child) = self {
            // The group: master and workers.
            let _ = Command::new("kill").args(["-TERM", "--", &format!("-{}", child.id())]).status();
            let _ = child.wait();
        }
    }
}

impl Peer {
    /// One of our own.
    pub fn of(name: &'static str, served: Served, opens_opaque: bool) -> Self {
        let (plain, tls, process) = (served.plain.clone(), served.tls.clone(), served.child.id());
        Self { name, opens_opaque, plain, tls, process, _running: Arc::new(Running::Ours { _served: served }) }
    }

    /// Where it listens.
    pub fn address(&self, tls: Option<&Arc<rustls::ClientConfig>>) -> &str {
        if tls.is_some() { &self.tls } else { &self.plain }
    }

    /// CPU seconds of its process and its workers.
    pub fn cpu(&self) -> f64 {
        cpu(self.process)
    }
}

type Start = fn(&Path, &str, &str) -> Result<Peer, String>;

/// Those there are.
pub const ALL: [Start; 4] = [haproxy, nginx, apache, envoy];

fn root() -> PathBuf {
    fs::canonicalize("benches/peers/.debian/root").unwrap_or_default()
}

fn haproxy(folder: &Path, upstream: &str, token: &str) -> Result<Peer, String> {
    let program = root().join("usr/sbin/haproxy");
    run("HAProxy, jwt_verify", (&program, &["-f"]), "haproxy.cfg", folder, upstream, token)
}

fn nginx(folder: &Path, upstream: &str, token: &str) -> Result<Peer, String> {
    let (program, log) = (root().join("usr/sbin/nginx"), folder.join("nginx.log").display().to_string());
    run("nginx, Lua", (&program, &["-e", &log, "-c"]), "nginx.conf", folder, upstream, token)
}

fn apache(folder: &Path, upstream: &str, token: &str) -> Result<Peer, String> {
    let program = root().join("usr/sbin/apache2");
    let arguments = ["-DFOREGROUND", "-f"];
    run("Apache, mod_auth_openidc", (&program, &arguments), "apache.conf", folder, upstream, token)
}

fn envoy(folder: &Path, upstream: &str, token: &str) -> Result<Peer, String> {
    let program = fs::canonicalize("benches/peers/.venv/bin/envoy").unwrap_or_default();
    let arguments = ["--concurrency", "2", "-l", "error", "-c"];
    run("Envoy, jwt_authn, cached", (&program, &arguments), "envoy.yaml", folder, upstream, token)
}

fn run(
    name: &'static str,
    (program, arguments): (&Path, &[&str]),
    configuration: &str,
    folder: &Path,
    upstream: &str,
    token: &str,
) -> Result<Peer, String> {
    if !program.exists() {
        return Err(format!("{name} is not there: scripts/setup.sh peers"));
    }
    keys(folder, token)?;
    let (plain, tls, root) = (address(), address(), root());
    let port = |address: &str| address.rsplit(':').next().unwrap_or_default().to_owned();
    let mut text = fs::read_to_string(Path::new("benches/peers").join(configuration)).map_err(|e| e.to_string())?;
    for (what, is) in [
        ("@PLAIN@", plain.clone()),
        ("@TLS@", tls.clone()),
        ("@UPSTREAM@", upstream.to_owned()),
        ("@PLAIN_PORT@", port(&plain)),
        ("@TLS_PORT@", port(&tls)),
        ("@UPSTREAM_PORT@", port(upstream)),
        ("@FOLDER@", folder.display().to_string()),
        ("@ROOT@", root.display().to_string()),
        ("@KID@", kid(token)?),
    ] {
        text = text.replace(what, &is);
    }
    let file = folder.join(configuration);
    fs::write(&file, text).map_err(|e| e.to_string())?;
    let libraries = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"].map(|l| root.join(l).display().to_string());
    let log = fs::File::create(folder.join(configuration).with_extension("out")).map_err(|e| e.to_string())?;
    let child = Command::new(program)
        .args(arguments)
        .arg(&file)
        .env("LD_LIBRARY_PATH", libraries.join(":"))
        .stdout(log.try_clone().map_err(|e| e.to_string())?)
        .stderr(log)
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|e| format!("{name}: {e}"))?;
    let process = child.id();
    let peer = Peer { name, opens_opaque: false, plain, tls, process, _running: Arc::new(Running::Theirs(child)) };
    let up = |address: &str| {
        (0..200).any(|_| {
            std::thread::sleep(Duration::from_millis(50));
            TcpStream::connect(address).is_ok()
        })
    };
    if up(&peer.plain) && up(&peer.tls) { Ok(peer) } else { Err(format!("{name} does not listen")) }
}

fn kid(token: &str) -> Result<String, String> {
    let head = jsonwebtoken::decode_header(token).map_err(|e| e.to_string())?;
    head.kid.ok_or_else(|| "a token without kid".to_owned())
}

/// The gate's public RSA key for the others: as a JWK Set and in PEM; its certificate and key in one file.
fn keys(folder: &Path, token: &str) -> Result<(), String> {
    use portcullis::{
        clock::SystemClock,
        metrics::Metrics,
        store::memory::MemoryStore,
        token::{Tokens, keys::Keys},
    };
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).map_err(|e| e.to_string());
    let read = |name: &str| fs::read_to_string(folder.join(name)).map_err(|e| e.to_string());
    write("both.pem", &(read("c.pem")? + &read("c.key")?))?;
    let keys = Arc::new(Keys::load_or_create(&folder.join("data"), &SystemClock)?);
    let jwks = Tokens::new(keys, Arc::new(MemoryStore::default()), 1, &Metrics::new()).jwks();
    let kid = kid(token)?;
    let key = jwks["keys"].as_array().and_then(|all| all.iter().find(|k| k["kid"] == *kid)).ok_or("no such key")?;
    write("jwks.json", &serde_json::json!({"keys": [key]}).to_string())?;
    let part = |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap_or_default()).map_err(|e| e.to_string());
    let (n, e) = (part("n")?, part("e")?);
    let parts = aws_lc_rs::rsa::PublicKeyComponents { n: &n[..], e: &e[..] };
    let public: aws_lc_rs::rsa::PublicEncryptingKey = parts.try_into().map_err(|_| "a damaged key".to_owned())?;
    let der: aws_lc_rs::encoding::PublicKeyX509Der<'_> =
        aws_lc_rs::encoding::AsDer::as_der(&public).map_err(|e| e.to_string())?;
    write("key.pem", &crate::rig::pem("PUBLIC KEY", der.as_ref()))
}

/// What the status is for `path` with this token.
fn status(peer: &Peer, tls: Option<&Arc<rustls::ClientConfig>>, path: &str, token: Option<&str>) -> String {
    let mut wire = connect(peer.address(tls), tls);
    let auth = token.map(|t| format!("authorization: Bearer {t}\r\n")).unwrap_or_default();
    let sent = write!(wire, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{auth}\r\n");
    let mut head = [0; 12];
    match sent.and_then(|()| wire.flush()).and_then(|()| wire.read_exact(&mut head)) {
        Ok(()) => String::from_utf8_lossy(&head[9..]).into_owned(),
        Err(e) => e.to_string(),
    }
}

/// Whether it decides what all are to decide; a gate that lets more through would be compared with nothing.
pub fn answers(peer: &Peer, tls: &Arc<rustls::ClientConfig>, token: &str) -> Result<(), String> {
    let forged = format!("{}AAAAAAAA", &token[..token.len() - 8]);
    for over in [None, Some(tls)] {
        for (path, token, right) in [
            ("/open/x", None, &["200"][..]),
            ("/orders/7", Some(token), &["200"]),
            ("/orders/7", None, &["401", "403"]),
            ("/orders/7", Some(&*forged), &["401", "403"]),
        ] {
            let told = status(peer, over, path, token);
            if !right.contains(&told.as_str()) {
                return Err(format!("answers {told} and not {} to {path} of {ISSUER}", right.join(" or ")));
            }
        }
    }
    Ok(())
}
