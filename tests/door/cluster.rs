//! A PostgreSQL of the tests' own: a folder, a port and a life that ends with the process that asked for it.
use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

/// What programs sign in with over TCP; over the socket nothing is asked.
pub const PASSWORD: &str = "of the tests";

/// Makes the cluster, says where it is, and ends it when its standard input does: whoever asked for it may be killed.
const KEEPER: &str = r#"
set -eu
umask 077
folder=$(mktemp -d -t portcullis-pg.XXXXXX)
trap 'rm -rf "$folder"' EXIT
printf %s "$DB_PASSWORD" > "$folder/password"
"$DB_BIN/initdb" -D "$folder/data" -U portcullis --pwfile="$folder/password" --auth=trust --no-sync -E UTF8 --locale=C >/dev/null
printf %s "$DB_CERTIFICATE" > "$folder/data/server.crt"
printf %s "$DB_KEY" > "$folder/data/server.key"
printf '%s\n' 'local all all trust' 'host all all 127.0.0.1/32 scram-sha-256' > "$folder/data/pg_hba.conf"
"$DB_BIN/postgres" -D "$folder/data" -k "$folder" -p "$DB_PORT" -c listen_addresses=127.0.0.1 -c ssl=on -c fsync="$DB_FSYNC" \
  -c max_connections=400 -c shared_buffers=64MB -c log_min_messages=fatal >"$folder/log" 2>&1 </dev/null &
server=$!
trap 'kill -INT $server 2>/dev/null || true; wait $server || true; rm -rf "$folder"' EXIT
until "$DB_BIN/pg_isready" -q -h "$folder" -p "$DB_PORT"; do kill -0 $server; sleep 0.05; done
echo "$server $folder"
cat >/dev/null
"#;

/// One server with its databases.
pub struct Cluster {
    /// Where it listens on 127.0.0.1, over TLS.
    pub port: u16,
    /// The folder of its socket.
    pub folder: PathBuf,
    /// PEM of the authority that its certificate comes from.
    pub authority: PathBuf,
    /// The postmaster.
    pub server: u32,
    authorities: tempfile::TempDir,
    keeper: Child,
    _life: Option<ChildStdin>,
}

/// The one that all tests of this process share.
pub fn cluster() -> &'static Cluster {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    SHARED.get_or_init(|| Cluster::start(false))
}

/// The folder of the server's programs.
fn programs() -> PathBuf {
    let mut found: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .map(|all| {
            all.flatten().map(|entry| entry.path().join("bin")).filter(|bin| bin.join("initdb").exists()).collect()
        })
        .unwrap_or_default();
    found.sort();
    found.pop().or_else(|| on_path("initdb")).expect("PostgreSQL is not installed: scripts/setup.sh test installs it")
}

fn on_path(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).find(|folder| folder.join(program).exists())
}

impl Cluster {
    /// A cluster of one's own; `durable` where a test takes its power away.
    pub fn start(durable: bool) -> Self {
        let authority_key = rcgen::KeyPair::generate().unwrap();
        let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let issuer = rcgen::CertifiedIssuer::self_signed(authority, authority_key).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        let authorities = tempfile::tempdir().unwrap();
        let authority = authorities.path().join("ca.pem");
        fs::write(&authority, issuer.pem()).unwrap();
        // PostgreSQL refuses to run as root.
        let root = fs::metadata("/proc/self").is_ok_and(|data| std::os::unix::fs::MetadataExt::uid(&data) == 0);
        let mut command = Command::new(if root { "setpriv" } else { "sh" });
        if root {
            let known = Command::new("id").arg("postgres").output().is_ok_and(|out| out.status.success());
            let user = if known { "postgres" } else { "nobody" };
            command.args([&format!("--reuid={user}"), "--regid", "nogroup", "--clear-groups", "sh"]);
        }
        let port = (0..).map(|n| 14_000 + (std::process::id() * 7 + n) % 5_900);
        let port =
            port.map(|n| u16::try_from(n).unwrap()).find(|n| TcpListener::bind(("127.0.0.1", *n)).is_ok()).unwrap();
        let mut keeper = command
            .args(["-c", KEEPER])
            .env("DB_BIN", programs())
            .env("DB_PORT", port.to_string())
            .env("DB_FSYNC", if durable { "on" } else { "off" })
            .env("DB_PASSWORD", PASSWORD)
            .env("DB_CERTIFICATE", certificate.pem())
            .env("DB_KEY", key.serialize_pem())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (server, folder) = line.trim().split_once(' ').expect("the cluster has started");
        let _life = keeper.stdin.take();
        let (server, folder) = (server.parse().unwrap(), PathBuf::from(folder));
        Self { port, folder, authority, server, authorities, keeper, _life }
    }

    /// A database of one's own, by name.
    pub fn database(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.query("postgres", &format!("CREATE DATABASE {name}"));
        name
    }

    /// How `database` is reached over the socket.
    pub fn address(&self, database: &str) -> String {
        format!("host={} port={} user=portcullis dbname={database}", self.folder.display(), self.port)
    }

    /// Runs SQL as the administrator; what it prints.
    pub fn query(&self, database: &str, sql: &str) -> String {
        let mut command = Command::new(programs().join("psql"));
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "portcullis", "-d", database, "-c", sql]);
        let run = command.arg("-h").arg(&self.folder).args(["-p", &self.port.to_string()]).output().unwrap();
        assert!(run.status.success(), "{sql}: {}", String::from_utf8_lossy(&run.stderr));
        String::from_utf8_lossy(&run.stdout).trim().to_owned()
    }

    /// Runs one of PostgreSQL's own programs on `database` as the administrator.
    pub fn program(&self, name: &str, database: &str, arguments: &[&str]) {
        let mut command = Command::new(programs().join(name));
        command.args(["-U", "portcullis", "-d", database, "-p", &self.port.to_string()]).arg("-h").arg(&self.folder);
        let run = command.args(arguments).output().unwrap();
        assert!(run.status.success(), "{name}: {}", String::from_utf8_lossy(&run.stderr));
    }

    /// A file with the password, for a configuration to name.
    pub fn password_file(&self) -> PathBuf {
        let path = self.authorities.path().join("password");
        fs::write(&path, PASSWORD).unwrap();
        path
    }

    /// Sends `signal` to the server and to everything it has started.
    pub fn signal(&self, signal: &str) {
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.server)).unwrap_or_default();
        let server = self.server.to_string();
        let all: Vec<&str> = children.split_whitespace().chain([&*server]).collect();
        let _ = Command::new("kill").arg(signal).args(all).stderr(Stdio::null()).status();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // A test may have ended while it stood still.
        self.signal("-CONT");
        self._life = None;
        let _ = self.keeper.wait();
    }
}
