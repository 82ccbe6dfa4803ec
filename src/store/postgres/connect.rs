//! Which database, and how it is reached: address, password, TLS.
use crate::secret::reference::Reference;
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::{
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio_postgres::{
    Client, Config, Connection, NoTls, Socket,
    config::{Host, SslMode, TargetSessionAttrs},
    error::SqlState,
    tls::TlsStream,
};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Of the time that a request waits for the store, what a new connection may take.
const OF_TIMEOUT: f64 = 0.7;

/// Which database, and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// libpq's `keyword=value` text or a `postgresql://` URL; without password.
    pub address: String,
    /// Where the password is kept; read anew at every connection.
    pub password: Option<Reference>,
    /// PEM of the authorities that the database's certificate must come from. Without: no TLS, on this machine alone.
    pub authorities: Option<PathBuf>,
    /// PEM of our own certificate chain and key, where the database wants one.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Connections for commits and reads together; one more listens.
    pub connections: usize,
    /// How long a request waits for the store.
    pub timeout: Duration,
}

impl Database {
    /// What is wrong with it, by key.
    pub fn mistakes(&self) -> Vec<(&'static str, String)> {
        let mut all = Vec::new();
        match self.address.parse::<Config>() {
            Err(e) => all.push(("postgres", format!("not a connection string of PostgreSQL: {}", told(&e)))),
            Ok(config) if config.get_password().is_some() => {
                all.push(("postgres", "a password has no place here: name password_file or password_env".to_owned()));
            }
            Ok(config) if config.get_ssl_mode() != SslMode::Prefer => {
                all.push(("postgres", "leave sslmode out: with ca_file TLS is spoken and verified".to_owned()));
            }
            Ok(config) if config.get_hosts().is_empty() => all.push(("postgres", "names no host".to_owned())),
            Ok(config) => {
                if self.authorities.is_none() && !config.get_hosts().iter().all(on_this_machine) {
                    let message = "needed: a database on another machine is spoken to over verified TLS alone";
                    all.push(("ca_file", message.to_owned()));
                }
                if let Err(why) = self.tls() {
                    all.push(("ca_file", why));
                }
            }
        }
        all
    }

    /// Connections that write, and connections that read.
    pub(super) fn shares(&self) -> (usize, usize) {
        let writers = (self.connections / 3).clamp(1, 4);
        (writers, self.connections.saturating_sub(writers).max(1))
    }

    fn tls(&self) -> Result<Option<MakeRustlsConnect>, String> {
        let Some(authorities) = &self.authorities else {
            return if self.identity.is_some() { Err("needed beside client_chain_file".to_owned()) } else { Ok(None) };
        };
        let mut roots = RootCertStore::empty();
        for authority in certificates(authorities)? {
            roots.add(authority).map_err(|e| format!("{}: {e}", authorities.display()))?;
        }
        let config = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .with_root_certificates(roots);
        let config = match &self.identity {
            None => config.with_no_client_auth(),
            Some((chain, key)) => {
                let certificates = certificates(chain)?;
                let key = PrivateKeyDer::from_pem_file(key).map_err(|e| format!("{}: {e}", key.display()))?;
                config.with_client_auth_cert(certificates, key).map_err(|e| format!("{}: {e}", chain.display()))?
            }
        };
        Ok(Some(MakeRustlsConnect::new(config)))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let failed = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    let read = CertificateDer::pem_file_iter(path).map_err(|e| failed(&e))?;
    let all: Vec<_> = read.collect::<Result<_, _>>().map_err(|e| failed(&e))?;
    if all.is_empty() { Err(failed(&"holds no CERTIFICATE in PEM")) } else { Ok(all) }
}

/// Whether nobody can listen in on the way there.
fn on_this_machine(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => name == "localhost" || name.parse().is_ok_and(|address: IpAddr| address.is_loopback()),
    }
}

/// An error and what caused it, in one line.
pub(super) fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// The task that carries a connection; the connection ends with it.
pub(super) type Carrier = tokio::task::JoinHandle<()>;

/// Why there is no connection.
pub(super) struct Unreachable {
    /// In words.
    pub(super) why: String,
    /// Whether trying again is no use.
    pub(super) for_good: bool,
}

/// Makes connections.
pub(super) struct Connector {
    config: Config,
    password: Option<Reference>,
    tls: Option<MakeRustlsConnect>,
    /// How long a request waits for the store.
    pub(super) timeout: Duration,
}

impl Connector {
    /// The error says what is wrong.
    pub(super) fn new(database: &Database) -> Result<Self, String> {
        let mut config: Config = database.address.parse().map_err(|e| told(&e))?;
        let tls = database.tls()?;
        config.ssl_mode(if tls.is_some() { SslMode::Require } else { SslMode::Disable });
        // After a failover the old primary may still answer: it must not.
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        config
            .keepalives_idle(Duration::from_secs(10))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3);
        config.tcp_user_timeout(Duration::from_secs(10));
        config.connect_timeout(database.timeout.mul_f64(OF_TIMEOUT));
        if config.get_application_name().is_none() {
            config.application_name("portcullis");
        }
        Ok(Self { config, password: database.password.clone(), tls, timeout: database.timeout })
    }

    /// A new connection, and the task that carries it; the error says why there is none.
    pub(super) async fn connect(&self, heard: impl Heard) -> Result<(Client, Carrier), Unreachable> {
        let mut config = self.config.clone();
        if let Some(place) = self.password.clone() {
            let for_good = |why: String| Unreachable { why, for_good: true };
            let read = tokio::task::spawn_blocking(move || place.read()).await.map_err(|e| for_good(e.to_string()))?;
            config.password(read.map_err(for_good)?.expose());
        }
        let limit = self.timeout.mul_f64(OF_TIMEOUT);
        let late = |_| Unreachable { why: format!("no connection within {limit:?}"), for_good: false };
        match &self.tls {
            Some(tls) => {
                let connected = tokio::time::timeout(limit, config.connect(tls.clone())).await.map_err(late)?;
                let (client, connection) = connected.map_err(|e| self.refused(&e))?;
                Ok((client, tokio::spawn(carry(connection, heard))))
            }
            None => {
                let connected = tokio::time::timeout(limit, config.connect(NoTls)).await.map_err(late)?;
                let (client, connection) = connected.map_err(|e| self.refused(&e))?;
                Ok((client, tokio::spawn(carry(connection, heard))))
            }
        }
    }

    /// What the database itself refuses will be refused again, unless it is starting, stopping or full.
    fn refused(&self, error: &tokio_postgres::Error) -> Unreachable {
        let passing = [SqlState::CANNOT_CONNECT_NOW, SqlState::ADMIN_SHUTDOWN, SqlState::TOO_MANY_CONNECTIONS];
        let inner = std::error::Error::source(error).and_then(|e| e.downcast_ref::<std::io::Error>());
        let untrusted = inner.and_then(std::io::Error::get_ref).is_some_and(|e| e.is::<rustls::Error>());
        let for_good = untrusted || error.code().is_some_and(|code| !passing.contains(code));
        Unreachable { why: format!("{}: {}", self.place(), told(error)), for_good }
    }

    /// The first address, for messages.
    fn place(&self) -> String {
        let host = match self.config.get_hosts().first() {
            Some(Host::Tcp(name)) => name.clone(),
            Some(Host::Unix(path)) => path.display().to_string(),
            None => Ipv4Addr::LOCALHOST.to_string(),
        };
        format!("{host}:{}", self.config.get_ports().first().unwrap_or(&5432))
    }
}

/// Called at every notification.
pub(super) trait Heard: Fn() + Send + 'static {}
impl<F: Fn() + Send + 'static> Heard for F {}

/// Moves bytes until the connection ends.
async fn carry<S, T>(mut connection: Connection<S, T>, heard: impl Heard)
where
    Connection<S, T>: Send,
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: TlsStream + Unpin,
    Socket: Send,
{
    loop {
        match std::future::poll_fn(|cx| connection.poll_message(cx)).await {
            Some(Ok(tokio_postgres::AsyncMessage::Notification(_))) => heard(),
            Some(Ok(_)) => {}
            // Whoever uses the client sees that it is closed.
            Some(Err(_)) | None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(address: &str) -> Vec<(&'static str, String)> {
        let timeout = Duration::from_millis(1500);
        let address = address.to_owned();
        Database { address, password: None, authorities: None, identity: None, connections: 6, timeout }.mistakes()
    }

    #[test]
    fn only_this_machine_is_spoken_to_without_tls_and_no_password_stands_in_the_address() {
        for fine in ["host=/run/postgresql user=a", "postgresql://a@127.0.0.1:5433/b", "host=localhost,::1 user=a"] {
            assert_eq!(wrong(fine), [], "{fine}");
        }
        assert!(wrong("host=db.example user=a")[0].0 == "ca_file");
        assert!(wrong("host=127.0.0.1,10.0.0.7 user=a")[0].0 == "ca_file");
        for bad in [
            "postgresql://a:b@localhost/c",
            "host=localhost password=x",
            "user=a",
            "hots=x",
            "host=::1 sslmode=disable",
        ] {
            assert_eq!(wrong(bad)[0].0, "postgres", "{bad}");
        }
    }
}
