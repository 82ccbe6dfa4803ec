//! `[[client_certificate]]` tables: where clients are asked for certificates, and whose are trusted (RFC 8705).
use super::{certificate::authorities, mistake::Findings};
use crate::{
    policy::client_certificate::{Ask, ClientCertificates, Rule},
    secret::Digest,
};
use rustls::{
    RootCertStore,
    crypto::aws_lc_rs,
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use rustls_pki_types::{CertificateRevocationListDer, pem::PemObject};
use schemars::JsonSchema;
use serde::Deserialize;
use std::{net::SocketAddr, path::Path, sync::Arc};

/// Whom to ask for a certificate.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientCertificateTable {
    /// Host names that it holds for; `*.example.com` covers one label. All without.
    #[serde(default)]
    hosts: Vec<String>,
    /// Those of `[server] listen` that it holds for. All without.
    #[serde(default)]
    listen: Vec<SocketAddr>,
    /// `optional`: who shows none goes on without; `required`: who shows none does not get through the handshake.
    ask: Ask,
    /// PEM of the authorities whose certificates are trusted; relative to this file.
    #[serde(default)]
    ca_files: Vec<String>,
    /// PEM of their revocation lists; where one is named, every authority that issues to clients needs a current one.
    #[serde(default)]
    crl_files: Vec<String>,
    /// Takes certificates that no authority vouches for, too: they prove their key, for `self_signed_tls_client_auth`
    /// and bound tokens, and nothing else.
    #[serde(default)]
    self_signed: bool,
    /// The https origin under which apps reach the token endpoint with a certificate, where that is not the issuer's:
    /// told as `mtls_endpoint_aliases`.
    endpoints: Option<String>,
}

/// Takes up one table; mistakes go to `found`.
pub fn add(all: &mut ClientCertificates, raw: ClientCertificateTable, listen: &[SocketAddr], found: &mut Findings<'_>) {
    let folder = found.folder();
    let hosts: Vec<String> = raw.hosts.iter().map(|h| h.to_ascii_lowercase()).collect();
    let plain = |h: &String| !h.is_empty() && !h.contains([':', '/']) && !h.trim_start_matches("*.").contains('*');
    if !hosts.iter().all(plain) {
        found.wrong("hosts", "host names without port; *.example.com covers one label");
    }
    if let Some(other) = raw.listen.iter().find(|l| !listen.contains(l)) {
        found.wrong("listen", format!("{other} is none of [server] listen"));
    }
    if hosts.is_empty() && raw.listen.is_empty() {
        found.wrong("client_certificate", "says where: hosts, listen, or both");
    }
    let shares = |rule: &Rule| {
        let host = hosts.is_empty() && rule.hosts.is_empty() || hosts.iter().any(|h| rule.hosts.contains(h));
        let place =
            raw.listen.is_empty() && rule.listen.is_empty() || raw.listen.iter().any(|l| rule.listen.contains(l));
        host && place
    };
    if all.rules.iter().any(|rule| shares(rule)) {
        found.wrong("client_certificate", "another table is for the same hosts and listeners");
    }
    if raw.ca_files.is_empty() && !raw.self_signed {
        found.wrong("client_certificate", "says whose certificates are taken: ca_files, self_signed = true, or both");
    }
    if raw.ca_files.is_empty() && !raw.crl_files.is_empty() {
        found.wrong("crl_files", "revocation lists are of authorities: name them in ca_files");
    }
    let host = raw.endpoints.as_deref().map(|origin| origin.strip_prefix("https://").unwrap_or(""));
    if host.is_some_and(|h| h.is_empty() || h.contains(['/', '?', '#', ' ', '@'])) {
        found.wrong("endpoints", "an https origin without path, such as https://mtls.example.com:8443");
    }
    all.files.extend(raw.ca_files.iter().chain(&raw.crl_files).map(|file| folder.join(file)));
    let text = format!("{:?} {} {:?}", raw.ask, raw.self_signed, raw.endpoints);
    let mut said = text.into_bytes();
    let judge = found.or("ca_files", judge(&raw, folder, &mut said), None);
    let place = Digest::of(format!("{hosts:?} {:?}", raw.listen).as_bytes());
    said.extend_from_slice(place.hex().as_bytes());
    all.rules.push(Arc::new(Rule {
        place,
        hosts,
        listen: raw.listen,
        ask: raw.ask,
        self_signed: raw.self_signed,
        authorities: judge,
        endpoints: raw.endpoints,
        digest: Digest::of(&said),
    }));
}

type Judge = Option<Arc<dyn ClientCertVerifier>>;

/// Who judges chains. Of the authorities' files goes into `said` what makes a change of them felt.
fn judge(raw: &ClientCertificateTable, folder: &Path, said: &mut Vec<u8>) -> Result<Judge, String> {
    if raw.ca_files.is_empty() {
        return Ok(None);
    }
    let mut roots = RootCertStore::empty();
    for file in &raw.ca_files {
        for der in authorities(&folder.join(file)).map_err(|why| format!("{file}: {why}"))? {
            said.extend_from_slice(&der);
            roots.add(der).map_err(|e| format!("{file}: {e}"))?;
        }
    }
    let mut lists = Vec::new();
    for file in &raw.crl_files {
        let read =
            CertificateRevocationListDer::pem_file_iter(folder.join(file)).map_err(|e| format!("{file}: {e}"))?;
        let read: Vec<_> = read.collect::<Result<_, _>>().map_err(|e| format!("{file}: {e}"))?;
        if read.is_empty() {
            return Err(format!("{file}: holds no X509 CRL in PEM"));
        }
        read.iter().for_each(|list| said.extend_from_slice(list));
        lists.extend(read);
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .with_crls(lists)
        // Authorities in between are the roots' matter; a list that is out of date lets nobody in (S66).
        .only_check_end_entity_revocation()
        .enforce_revocation_expiration()
        .build();
    Ok(Some(verifier.map_err(|e| format!("{}: {e}", raw.ca_files.join(", ")))?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::mistake::parse;

    #[test]
    fn every_mistake_is_told_with_its_line_and_key() {
        let listen = ["127.0.0.1:8443".parse().unwrap()];
        let told = |text: &str| {
            let raw: ClientCertificateTable = parse(Path::new("p.toml"), text).unwrap();
            let mut found = Findings::of(Path::new("p.toml"), text);
            add(&mut ClientCertificates::default(), raw, &listen, &mut found);
            found.mistakes.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(told("ask = \"optional\"\nhosts = [\"a.example\"]\nself_signed = true\n"), [""; 0]);
        for (text, mistake) in [
            ("hosts = [\"a:1\"]\nask = \"optional\"\nself_signed = true", "p.toml:1: hosts: host names"),
            ("ask = \"optional\"\nlisten = [\"127.0.0.1:1\"]\nself_signed = true", "p.toml:2: listen: 127.0.0.1:1 is"),
            ("ask = \"optional\"\nself_signed = true", "p.toml:1: client_certificate: says where"),
            ("ask = \"required\"\nhosts = [\"a\"]", "p.toml:1: client_certificate: says whose"),
            ("ask = \"required\"\nhosts = [\"a\"]\nca_files = [\"gone.pem\"]", "p.toml:3: ca_files: gone.pem: "),
            ("hosts = [\"a\"]\nask = \"optional\"\nself_signed = true\ncrl_files = [\"x\"]", "p.toml:4: crl_files: "),
            ("hosts = [\"a\"]\nask = \"optional\"\nself_signed = true\nendpoints = \"a\"", "p.toml:4: endpoints: an"),
        ] {
            let told = told(text);
            assert!(told.iter().any(|m| m.starts_with(mistake)), "{mistake}: {told:?}");
        }
    }
}
