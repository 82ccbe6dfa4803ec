//! What both side-by-side benchmarks stand on: servers as processes of their own, and what they cost.
use base64::{Engine, engine::general_purpose::STANDARD};
use pingora::prelude::*;
use portcullis::{assembly::Assembly, config, gateway, log::Log};
use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

struct Bare(String);

#[async_trait::async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.0.as_str(), false, String::new())))
    }
}

/// The server side: this same program, called with `serve`.
fn serve(kind: &str, folder: &Path, plain: &str, tls: &str, upstream: &str) {
    let stealing = std::env::var_os("PORTCULLIS_PINNED").is_none();
    let conf = pingora::server::configuration::ServerConf { threads: 2, work_stealing: stealing, ..Default::default() };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    if kind == "bare" {
        let mut service = http_proxy_service(&server.configuration, Bare(upstream.to_owned()));
        service.add_tcp(plain);
        let path = |name: &str| folder.join(name).display().to_string();
        service.add_tls(tls, &path("c.pem"), &path("c.key")).expect("a certificate");
        server.add_service(service);
        server.run_forever();
    }
    let main = folder.join("portcullis.toml");
    let assembly = Assembly::of(&main, config::load(&main).expect("good"), Log::off()).expect("assembled");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(assembly.follow()).expect("loaded");
    let assembly = std::sync::Arc::new(assembly);
    // What other nodes tell, as the gateway takes it up.
    let followed = assembly.clone();
    std::thread::spawn(move || {
        runtime.block_on(async {
            loop {
                let _ = tokio::time::timeout(Duration::from_millis(200), followed.store.feed_grown()).await;
                let _ = followed.follow().await;
            }
        });
    });
    let gate = || gateway::proxy::Gateway::of(&assembly);
    let mut service = http_proxy_service(&server.configuration, gate());
    service.add_tcp(plain);
    server.add_service(service);
    let mut proxy = pingora::proxy::HttpProxy::new(gate(), server.configuration.clone());
    proxy.handle_init_modules();
    let limit = Duration::from_secs(10);
    let limits = gateway::connection::Limits { handshake: limit, header: limit, connections: 1_000 };
    let certificates = assembly.reloader.certificates();
    let front = gateway::connection::Front::new(proxy, certificates, limits, assembly.metrics.clone());
    let mut service = pingora::services::listening::Service::new("https".to_owned(), front.expect("a front"));
    service.add_tcp(tls);
    server.add_service(service);
    server.run_forever();
}

/// Serves, if this program was called by [`start`] to do that.
pub fn was_called_to_serve() -> bool {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [serving, kind, folder, plain, tls, upstream] = &arguments[..] else { return false };
    if serving == "serve" {
        serve(kind, Path::new(folder), plain, tls, upstream);
    }
    serving == "serve"
}

/// A free address.
pub fn address() -> String {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").to_string()
}

/// CPU seconds of a process and, where it leads a group, of that, user and kernel, in clock ticks of a hundredth.
pub fn cpu(id: u32) -> f64 {
    let of = |entry: std::io::Result<fs::DirEntry>| {
        let stat = fs::read_to_string(entry.ok()?.path().join("stat")).ok()?;
        let (head, rest) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let ticks = |n: usize| fields.get(n)?.parse::<f64>().ok();
        let own = head.split(' ').next()? == id.to_string() || *fields.get(2)? == id.to_string();
        own.then_some((ticks(11)? + ticks(12)?) / 100.0)
    };
    fs::read_dir("/proc").expect("Linux").filter_map(of).sum()
}

/// A server that ends with this value.
pub struct Served {
    /// Its process.
    pub child: Child,
    /// Where it listens for plain HTTP.
    pub plain: String,
    /// Where it listens for TLS.
    #[allow(dead_code)] // one of the two benchmarks speaks plain HTTP alone
    pub tls: String,
}

/// Starts this program again as a server, possibly `under` another one, and waits until it listens.
pub fn start(kind: &str, folder: &Path, upstream: &str, under: &[String]) -> Served {
    let (plain, tls) = (address(), address());
    let this = std::env::current_exe().expect("this program").display().to_string();
    let all = [under, &[this]].concat();
    let child = Command::new(&all[0])
        .args(&all[1..])
        .args(["serve", kind, &folder.display().to_string(), &plain, &tls, upstream])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("started");
    let up = |a: &String| {
        (0..1200).any(|_| {
            TcpStream::connect(a).is_ok() || {
                std::thread::sleep(Duration::from_millis(50));
                false
            }
        })
    };
    assert!(up(&plain) && up(&tls), "{kind} listens");
    Served { child, plain, tls }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Asked first: a build that writes a profile of itself does so at its end.
        let _ = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        let ended = (0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(50));
            self.child.try_wait().is_ok_and(|status| status.is_some())
        });
        if !ended {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The middle one.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// `der` in PEM.
#[allow(dead_code)] // not every benchmark writes keys
pub fn pem(kind: &str, der: &[u8]) -> String {
    format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", STANDARD.encode(der))
}
