//! What dev mode makes where it is missing: a local certificate authority, a leaf for localhost, the demo app's key.
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Days that the local certificates are good for.
const DAYS: i64 = 365;

/// Whether `config` asks for dev mode; a file that cannot be read is told of later, by the reader.
pub fn wanted(config: &Path) -> bool {
    let text = fs::read_to_string(config).unwrap_or_default();
    toml::from_str::<toml::Table>(&text).is_ok_and(|t| t.get("dev").and_then(toml::Value::as_bool) == Some(true))
}

/// The folder beside the configuration's.
pub fn folder(config: &Path) -> PathBuf {
    config.parent().unwrap_or(Path::new(".")).join("../certs")
}

/// Makes what is missing in `folder`; returns what was made.
pub fn make(folder: &Path) -> Result<Vec<String>, String> {
    fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut made = Vec::new();
    let missing = |names: &[&str]| names.iter().any(|n| !folder.join(n).exists());
    let failed = |e: rcgen::Error| format!("making certificates: {e}");
    if missing(&["ca.pem", "localhost.pem", "localhost.key"]) {
        let ca_key = KeyPair::generate().map_err(failed)?;
        let mut ca = params(&[], "Portcullis local CA").map_err(failed)?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca_certificate = ca.self_signed(&ca_key).map_err(failed)?;
        let leaf_key = KeyPair::generate().map_err(failed)?;
        let mut leaf = params(&["localhost", "127.0.0.1", "::1"], "localhost").map_err(failed)?;
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.use_authority_key_identifier_extension = true;
        let leaf = leaf.signed_by(&leaf_key, &Issuer::from_params(&ca, &ca_key)).map_err(failed)?;
        // The authority's key is thrown away: nobody can sign another leaf with it.
        write(folder, "ca.pem", &ca_certificate.pem(), &mut made)?;
        write(folder, "localhost.pem", &leaf.pem(), &mut made)?;
        write(folder, "localhost.key", &leaf_key.serialize_pem(), &mut made)?;
    }
    if missing(&["orders-robot.key", "orders-robot.pub.pem"]) {
        let key = KeyPair::generate().map_err(failed)?;
        write(folder, "orders-robot.key", &key.serialize_pem(), &mut made)?;
        write(folder, "orders-robot.pub.pem", &key.public_key_pem(), &mut made)?;
    }
    Ok(made)
}

fn params(names: &[&str], common_name: &str) -> Result<CertificateParams, rcgen::Error> {
    use crate::clock::Clock;
    let mut params = CertificateParams::new(names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>())?;
    let at = |days: i64| time::OffsetDateTime::from_unix_timestamp(super::CLOCK.now().0 + days * 86_400);
    params.not_before = at(-1).unwrap_or(params.not_before);
    params.not_after = at(DAYS).unwrap_or(params.not_after);
    params.distinguished_name.push(DnType::CommonName, common_name);
    Ok(params)
}

fn write(folder: &Path, name: &str, text: &str, made: &mut Vec<String>) -> Result<(), String> {
    let path = folder.join(name);
    let attempt = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    attempt().map_err(|e: std::io::Error| format!("{}: {e}", path.display()))?;
    made.push(name.to_owned());
    Ok(())
}
