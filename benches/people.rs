//! The authorization server at work, beside node-oidc-provider doing the same in the same run: 64 requests in flight,
//! rounds interleaved, CPU by process accounting. Ours writes durably (SQLite, synchronous FULL; PostgreSQL with fsync, on
//! this machine, as one node and as two); the peer keeps all in memory.
#[path = "../tests/door/cluster.rs"]
#[allow(dead_code, clippy::unwrap_used)] // the tests ask it for more, and end where their ground gives way
mod cluster;
#[path = "rig/person.rs"]
mod person;
mod rig;
#[path = "rig/rsa.rs"]
mod rsa;
#[path = "rig/saml.rs"]
mod saml;

use person::{CALLBACK, OURS, PEERS, Person, SECRET, Server, Signers, between};
use portcullis::secret::{self, Digest};
use rig::{address, cpu, median, start};
use std::{
    fs,
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const IN_FLIGHT: usize = 64;
const ROUNDS: usize = 5;
/// Requests of each kind that one of the callers sends in a round.
const EACH: usize = 40;

type Step = fn(&mut Person<'_>);
/// Its name, what it takes before, and it.
type Work = (&'static str, Option<Step>, Step);

/// In an order in which each finds what it needs.
const WORK: [Work; 7] = [
    ("authorize with session and approval -> redirect", None, |p| p.authorize()),
    ("code exchange: opaque, ID token ES256, refresh token", None, |p| p.redeem()),
    ("refresh with rotation: opaque, ID token ES256", None, |p| p.renew()),
    ("client credentials, opaque", None, |p| p.credentials()),
    ("introspection", None, |p| p.introspect()),
    ("JWT bearer: RS256 in, opaque out, used once", Some(|p| p.sign_jwt()), |p| p.bearer()),
    (SAML_BEARER, Some(|p| p.sign_saml()), |p| p.saml_bearer()),
];
/// The peer has none of what comes after these.
const SHARED: usize = 6;
const SAML_BEARER: &str = if cfg!(feature = "xmlsec") {
    "SAML bearer: 5 KB, RSA-2048, both verifiers, used once"
} else {
    "SAML bearer: 5 KB, RSA-2048, the Rust verifier alone, used once"
};

/// A node in `folder` whose records are where `store` says; the tables of a configuration.
fn ours(folder: &Path, public: &str, certificate: &str, store: &str) -> rig::Served {
    fs::create_dir_all(folder.join("data")).expect("made");
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).expect("written");
    write("c.pem", &made.cert.pem());
    write("c.key", &made.signing_key.serialize_pem());
    write(
        "portcullis.toml",
        &format!(
            "issuer = \"https://localhost\"\n[server]\nlisten = [\"127.0.0.1:1\"]\ndata = \"data\"\n\
             [login]\nconcurrent_hashes = 16\n{store}\
             [[certificate]]\nhosts = [\"localhost\"]\nchain_file = \"c.pem\"\nkey_file = \"c.key\"\n"
        ),
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

/// One of ours, as `nodes` processes.
fn portcullis<'s>(name: &'static str, nodes: &'s [rig::Served]) -> Server<'s> {
    let bases = nodes.iter().map(|node| format!("http://{}", node.plain)).collect();
    let processes = nodes.iter().map(|node| node.child.id()).collect();
    Server { name, bases, issuer: "https://localhost".to_owned(), paths: OURS, processes, _life: nodes }
}

/// Requests a second and CPU microseconds a request, a round each.
type Measured = (Vec<f64>, Vec<f64>);

#[allow(clippy::cast_precision_loss)] // counts of requests
fn round(server: &Server, people: &mut [Person<'_>], works: &[Work], measured: &mut [Measured]) {
    let spent = || server.processes.iter().map(|process| cpu(*process)).sum::<f64>();
    for ((_, prepare, work), (rates, costs)) in works.iter().zip(measured) {
        if let Some(prepare) = prepare {
            people.iter_mut().for_each(|person| (0..EACH).for_each(|_| prepare(person)));
        }
        let (before, begun) = (spent(), Instant::now());
        std::thread::scope(|scope| {
            for person in people.iter_mut() {
                scope.spawn(move || (0..EACH).for_each(|_| work(person)));
            }
        });
        let count = (IN_FLIGHT * EACH) as f64;
        rates.push(count / begun.elapsed().as_secs_f64());
        costs.push((spent() - before) * 1e6 / count);
    }
}

fn table(servers: &[Server], results: &[Vec<Measured>]) {
    println!("| work, {IN_FLIGHT} in flight | server | requests/s | CPU µs/request | to Portcullis |");
    println!("|---|---|---|---|---|");
    for (what, (name, ..)) in WORK.iter().enumerate() {
        // The first round warms up.
        let of = |(rates, costs): &Measured| (median(rates[1..].to_vec()), median(costs[1..].to_vec()));
        let base = of(&results[0][what]).1;
        for (server, measured) in servers.iter().zip(results).filter(|(_, m)| !m[what].0.is_empty()) {
            let (rate, cost) = of(&measured[what]);
            println!("| {name} | {} | {rate:.0} | {cost:.0} | {:.2} |", server.name, cost / base);
        }
    }
}

fn main() {
    if rig::was_called_to_serve() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let pair = rsa::Pair::new();
    let signers = Signers {
        jwt: jsonwebtoken::EncodingKey::from_rsa_pem(pair.private.as_bytes()).expect("a key"),
        saml: saml::Signer::new("partner", "https://localhost"),
    };
    let certificate = signers.saml.pem();
    let node = |name: &str, store: &str| vec![ours(&folder.path().join(name), &pair.public, &certificate, store)];
    let alone = node("alone", "");
    let database = cluster::Cluster::start(true);
    let kek = folder.path().join("kek");
    fs::write(&kek, secret::random_token()).expect("written");
    let shared = |name: &str| {
        let address = database.address(&database.database());
        let store = format!("[store]\npostgres = \"{address}\"\n[keys]\nencryption_key_file = \"{}\"\n", kek.display());
        (name.to_owned(), store)
    };
    let (name, store) = shared("one");
    let one = node(&name, &store);
    let (name, store) = shared("two");
    let mut two = node(&name, &store);
    two.extend(node("beside", &store));
    let place = address();
    let peer = peer(&place, &folder.path().join("alone/apps/robot.pem"));
    let mut servers = vec![
        portcullis("Portcullis", &alone),
        portcullis("Portcullis on PostgreSQL", &one),
        portcullis("Portcullis on PostgreSQL, two nodes", &two),
    ];
    match &peer {
        Some(Peer(child)) => servers.push(Server {
            name: "node-oidc-provider",
            bases: vec![format!("http://{place}")],
            issuer: format!("http://{place}"),
            paths: PEERS,
            processes: vec![child.id()],
            _life: &[],
        }),
        None => eprintln!("node-oidc-provider is not there: npm ci in benches/peers"),
    }
    let mut people: Vec<Vec<Person<'_>>> =
        servers.iter().map(|server| (0..IN_FLIGHT).map(|n| Person::new(server, n, &signers)).collect()).collect();
    for person in people.iter_mut().flatten() {
        person.sign_in();
    }
    let mut results = vec![vec![(Vec::new(), Vec::new()); WORK.len()]; servers.len()];
    for _ in 0..=ROUNDS {
        for ((server, people), measured) in servers.iter().zip(&mut people).zip(&mut results) {
            let works = if server.paths.token == OURS.token { &WORK[..] } else { &WORK[..SHARED] };
            round(server, people, works, measured);
        }
    }
    table(&servers, &results);
}
