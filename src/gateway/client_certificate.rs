//! Client certificates, from the handshake to the request. A handshake knows the host by SNI, a request by its authority:
//! a certificate counts only where both lead to the same table, and a request for a host that asks for one never passes
//! over a connection that was not asked on its behalf (421, RFC 9110 §15.5.20).
use crate::{
    clock::Timestamp,
    model::ClientCertificate,
    policy::client_certificate::{Ask, ClientCertificates, Rule},
    secret::Digest,
};
use pingora::{listeners::tls::Acceptor, protocols::l4::stream::Stream};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    server::{
        NoServerSessionStorage, ResolvesServerCert,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, UnixTime};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};
use tokio::io::AsyncReadExt;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Longest beginning of a handshake that is read, bytes: a ClientHello with everything that is in use has below 2,000.
const MOST: usize = 32 << 10;
/// Longest chain, bytes: it is kept for as long as its connection.
const LONGEST_CHAIN: usize = 16 << 10;
/// Seconds for which a chain that was found good is not looked at again: a connection may live for days.
const JUDGED: i64 = 60;

/// What a connection was asked, and what it showed.
#[derive(Debug)]
pub struct Arrived {
    place: Digest,
    chain: Vec<CertificateDer<'static>>,
    judged: Mutex<Option<Judged>>,
}

#[derive(Debug)]
struct Judged {
    rule: Arc<Rule>,
    until: Timestamp,
    certificate: Option<Arc<ClientCertificate>>,
}

/// The request is for a host that this connection was not made for: to be told 421.
#[derive(Debug, PartialEq, Eq)]
pub struct Misdirected;

/// The certificate that counts for a request for `host` over this connection. Rules are the policy's of now, so that an
/// authority that a reload takes away is gone from open connections too.
pub fn admit(
    rules: &ClientCertificates,
    arrived: Option<Arc<Arrived>>,
    (host, local): (&str, Option<SocketAddr>),
    now: Timestamp,
) -> Result<Option<Arc<ClientCertificate>>, Misdirected> {
    let Some(rule) = rules.find(Some(host), local) else { return Ok(None) };
    let arrived = arrived.filter(|arrived| arrived.place == rule.place).ok_or(Misdirected)?;
    match (arrived.chain.is_empty(), rule.ask) {
        (true, Ask::Required) => Err(Misdirected),
        (true, Ask::Optional) => Ok(None),
        (false, _) => arrived.judge(rule, now).map(Some).ok_or(Misdirected),
    }
}

impl Arrived {
    /// What was shown, if `rule` takes it.
    fn judge(&self, rule: &Arc<Rule>, now: Timestamp) -> Option<Arc<ClientCertificate>> {
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = judged.as_ref().filter(|j| Arc::ptr_eq(&j.rule, rule) && now < j.until) {
            return known.certificate.clone();
        }
        let (leaf, intermediates) = self.chain.split_first()?;
        let time = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now.0).unwrap_or_default()));
        let trusted =
            rule.authorities.as_ref().is_some_and(|a| a.verify_client_cert(leaf, intermediates, time).is_ok());
        let certificate = (trusted || rule.self_signed).then(|| Arc::new(ClientCertificate::of(leaf, trusted)));
        *judged = Some(Judged { rule: rule.clone(), until: now.plus(JUDGED), certificate: certificate.clone() });
        certificate
    }
}

/// The name in the ClientHello at the beginning of `socket`, which then begins with it again; `None` where it is no TLS.
pub async fn server_name(socket: &mut Stream) -> Option<Option<String>> {
    let (mut hello, mut bytes) = (rustls::server::Acceptor::default(), Vec::with_capacity(2048));
    loop {
        let mut part = [0; 2048];
        let count = socket.read(&mut part).await.ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&part[..count]);
        let mut rest = &part[..count];
        while !rest.is_empty() {
            hello.read_tls(&mut rest).ok().filter(|count| *count > 0)?;
            match hello.accept() {
                Ok(Some(accepted)) => {
                    let name = accepted.client_hello().server_name().map(str::to_ascii_lowercase);
                    socket.rewind(&bytes);
                    return Some(name);
                }
                Ok(None) => {}
                // The handshake proper answers with the alert that is due.
                Err(_) => {
                    socket.rewind(&bytes);
                    return Some(None);
                }
            }
        }
        if bytes.len() > MOST {
            return None;
        }
    }
}

/// A handshake that asks for a certificate as `rule` says. Each has a configuration of its own and nothing is resumed: a
/// resumed session would bring a certificate that was judged by the authorities of an earlier day.
pub struct Asking {
    verifier: Arc<Verifier>,
    acceptor: Acceptor,
}

impl Asking {
    /// Prepares the handshake.
    pub fn of(
        rule: Arc<Rule>,
        provider: Arc<CryptoProvider>,
        shown: Arc<dyn ResolvesServerCert>,
    ) -> Result<Self, rustls::Error> {
        let verifier = Arc::new(Verifier { rule, provider: provider.clone(), shown: OnceLock::new() });
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(super::connection::VERSIONS)?
            .with_client_cert_verifier(verifier.clone())
            .with_cert_resolver(shown);
        config.alpn_protocols = super::connection::protocols();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { verifier, acceptor: Acceptor::from_server_config(Arc::new(config)) })
    }

    /// Where the handshake is made.
    pub fn acceptor(&self) -> &Acceptor {
        &self.acceptor
    }

    /// What came of it, once it is over: before, the key is not proven.
    pub fn over(self) -> Arrived {
        let chain = self.verifier.shown.get().cloned().unwrap_or_default();
        Arrived { place: self.verifier.rule.place, chain, judged: Mutex::default() }
    }
}

/// Takes the certificates that its rule takes, and keeps what it took. That the key is held is proven to rustls, always.
#[derive(Debug)]
struct Verifier {
    rule: Arc<Rule>,
    provider: Arc<CryptoProvider>,
    shown: OnceLock<Vec<CertificateDer<'static>>>,
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.rule.ask == Ask::Required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        match &self.rule.authorities {
            // Whoever has none of theirs may send another.
            Some(authorities) if !self.rule.self_signed => authorities.root_hint_subjects(),
            _ => &[],
        }
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        // Pingora reads each certificate with this very parser, and panics where it cannot.
        X509Certificate::from_der(end_entity).map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        if std::iter::once(end_entity).chain(intermediates).map(|c| c.len()).sum::<usize>() > LONGEST_CHAIN {
            return Err(Error::General("the chain of certificates is too long".to_owned()));
        }
        if !self.rule.self_signed {
            let unknown = Error::InvalidCertificate(CertificateError::UnknownIssuer);
            self.rule.authorities.as_ref().ok_or(unknown)?.verify_client_cert(end_entity, intermediates, now)?;
        }
        let chain = std::iter::once(end_entity).chain(intermediates).map(|c| c.clone().into_owned()).collect();
        let _ = self.shown.set(chain);
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
