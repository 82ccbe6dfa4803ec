//! `keys` of an app: public keys and certificates.
use crate::model::VerificationKey;
use schemars::JsonSchema;
use serde::Deserialize;
use std::path::Path;

/// Where registered public keys stand.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum KeySource {
    /// A `PUBLIC KEY` or a `CERTIFICATE` in PEM.
    Pem { pem_file: String },
    /// A JWK Set (RFC 7517).
    Jwks { jwks_file: String },
    /// A JWK Set as text, right here.
    Inline { jwks: String },
}

/// The keys of one source; its file is relative to `folder`.
pub fn read(source: &KeySource, folder: &Path) -> Result<Vec<VerificationKey>, String> {
    let (file, read): (_, fn(&[u8]) -> _) = match source {
        KeySource::Pem { pem_file } => (pem_file, |bytes| VerificationKey::from_pem(bytes).map(|key| vec![key])),
        KeySource::Jwks { jwks_file } => (jwks_file, VerificationKey::from_jwks),
        KeySource::Inline { jwks } => return VerificationKey::from_jwks(jwks.as_bytes()),
    };
    let bytes = std::fs::read(folder.join(file)).map_err(|e| format!("{file}: {e}"))?;
    read(&bytes).map_err(|why| format!("{file}: {why}"))
}
