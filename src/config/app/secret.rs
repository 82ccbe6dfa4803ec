//! `secrets` of an app: a digest, or where the plain text lies.
use crate::secret::{Digest, Plain};
use schemars::JsonSchema;
use serde::Deserialize;
use std::path::Path;

/// Shortest accepted plain secret, bytes.
const SHORTEST_SECRET: usize = 32;

/// Where a secret comes from.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum SecretSource {
    /// `sha256:` and 64 hexadecimal digits, as `portcullis apps new-secret` prints it.
    Digest(String),
    /// An environment variable.
    Env { env: String },
    /// A file, relative to this one.
    File { file: String },
}

/// The digest to compare with, and the plain text where one is known; a file is relative to `folder`.
pub fn read(source: &SecretSource, folder: &Path) -> Result<(Digest, Option<Plain>), String> {
    let plain = match source {
        SecretSource::Digest(text) => {
            let digest = Digest::parse(text).ok_or_else(|| "must be sha256: and 64 hexadecimal digits".to_owned());
            return digest.map(|d| (d, None));
        }
        SecretSource::Env { env } => {
            std::env::var(env).map_err(|_| format!("environment variable {env} is not set"))?
        }
        SecretSource::File { file } => {
            std::fs::read_to_string(folder.join(file)).map_err(|e| format!("{file}: {e}"))?
        }
    };
    let plain = plain.trim_end_matches(['\r', '\n']);
    if plain.len() < SHORTEST_SECRET {
        return Err(format!("a secret of under {SHORTEST_SECRET} characters can be guessed; generate one"));
    }
    Ok((Digest::of(plain.as_bytes()), Some(Plain::of(plain))))
}
