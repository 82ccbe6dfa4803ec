//! `[[certificate]]` tables: what the listeners show, chosen by SNI (RFC 6066 §3).
use super::mistake::Findings;
use crate::{clock::Timestamp, metrics::Metrics, saml::instant, secret::Digest};
use rustls::{crypto::aws_lc_rs, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use schemars::JsonSchema;
use serde::Deserialize;
use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
};
use x509_cert::der::Decode;

/// From so many seconds before its end on a certificate is told of.
const EXPIRES_SOON: i64 = 14 * 86_400;

/// A certificate chain and its key.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateTable {
    /// Host names it is shown for; `*.example.com` covers one label.
    hosts: Vec<String>,
    /// PEM of the chain, the leaf first; relative to this file.
    chain_file: String,
    /// PEM of the private key; relative to this file.
    key_file: String,
}

/// Certificates by host name.
#[derive(Clone, Debug, Default)]
pub struct Certificates {
    by_host: HashMap<String, Arc<CertifiedKey>>,
    first: Option<Arc<CertifiedKey>>,
    files: Vec<PathBuf>,
    /// The last instant of each, by a host that it is shown for.
    ends: Vec<(String, Timestamp)>,
}

impl Certificates {
    /// The certificate for `name`: its own, its wildcard's, or else the first one configured.
    pub fn find(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let name = name.map(str::to_ascii_lowercase);
        let own = name.as_deref().and_then(|name| {
            let wildcard = || self.by_host.get(&format!("*.{}", name.split_once('.')?.1));
            self.by_host.get(name).or_else(wildcard)
        });
        own.or(self.first.as_ref()).cloned()
    }

    /// For which hosts another certificate is shown in `new`, in words.
    pub fn changes(&self, new: &Self) -> Vec<String> {
        let leaf = |shown: Option<&Arc<CertifiedKey>>| {
            let leaf = shown.and_then(|shown| shown.cert.first()).map(|leaf| Digest::of(leaf).hex());
            leaf.map_or_else(|| "none".to_owned(), |hex| hex[..16].to_owned())
        };
        let hosts: BTreeSet<&String> = self.by_host.keys().chain(new.by_host.keys()).collect();
        let pairs = hosts.into_iter().map(|h| (h, leaf(self.by_host.get(h)), leaf(new.by_host.get(h))));
        pairs
            .filter(|(_, old, new)| old != new)
            .map(|(h, old, new)| format!("certificate {h}: {old} -> {new}"))
            .collect()
    }

    /// The files they were read from.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Those that have expired at `now`, or will within two weeks, in words: clients refuse them, and this gateway goes on
    /// showing them, since another name's may be good.
    pub fn expiring(&self, now: Timestamp) -> Vec<String> {
        let soon = self.ends.iter().filter(|(_, end)| *end <= now.plus(EXPIRES_SOON));
        let told = |(host, end): &(String, Timestamp)| {
            let word = if *end < now { "expired at" } else { "expires at" };
            format!("certificate for {host}: {word} {}, and clients refuse it after", instant::text(*end))
        };
        soon.map(told).collect()
    }

    /// Sets the gauges of when they end.
    pub fn measure(&self, metrics: &Metrics) {
        metrics.certificate_end.reset();
        self.ends.iter().for_each(|(host, end)| metrics.certificate_end.with_label_values(&[host]).set(end.0));
    }

    /// Takes up one table; mistakes go to `found`.
    pub fn add(&mut self, raw: CertificateTable, found: &mut Findings<'_>) {
        let folder = found.folder();
        if raw.hosts.is_empty() {
            found.wrong("hosts", "one or more host names");
        }
        self.files.extend([&raw.chain_file, &raw.key_file].map(|file| folder.join(file)));
        let chain = authorities(&folder.join(&raw.chain_file)).map_err(|why| format!("{}: {why}", raw.chain_file));
        let chain = found.or("chain_file", chain, Vec::new());
        let key = PrivateKeyDer::from_pem_file(folder.join(&raw.key_file))
            .map_err(|e| format!("{}: {e}", raw.key_file))
            .and_then(|der| aws_lc_rs::sign::any_supported_type(&der).map_err(|e| format!("{}: {e}", raw.key_file)));
        let Some(key) = found.or("key_file", key.map(Some), None) else { return };
        if chain.is_empty() {
            return;
        }
        let leaf = x509_cert::Certificate::from_der(&chain[0]).ok();
        let end = leaf
            .and_then(|leaf| i64::try_from(leaf.tbs_certificate.validity.not_after.to_unix_duration().as_secs()).ok());
        self.ends.extend(raw.hosts.first().cloned().zip(end.map(Timestamp)));
        let certified = CertifiedKey::new(chain, key);
        if let Err(e) = certified.keys_match() {
            return found.wrong("key_file", format!("is not the key of {}: {e}", raw.chain_file));
        }
        let certified = Arc::new(certified);
        self.first.get_or_insert_with(|| certified.clone());
        for host in raw.hosts {
            if self.by_host.insert(host.to_ascii_lowercase(), certified.clone()).is_some() {
                found.wrong("hosts", format!("{host} has two certificates"));
            }
        }
    }
}

/// All certificates of a PEM file; none is a mistake.
pub fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).map_err(|e| e.to_string())?;
    let all: Vec<_> = read.collect::<Result<_, _>>().map_err(|e| e.to_string())?;
    if all.is_empty() { Err("holds no CERTIFICATE in PEM".to_owned()) } else { Ok(all) }
}
