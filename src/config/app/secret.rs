//! `secrets` of an app: a digest, or where the plain text lies; and until when an old one counts.
use crate::{
    clock::Timestamp,
    saml::instant,
    secret::{Digest, Plain},
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::path::Path;

/// Shortest accepted plain secret, bytes.
const SHORTEST: usize = 32;

/// Where a secret comes from. `until`, a time such as `2026-12-31T00:00:00Z`, stages its end.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum SecretSource {
    /// `sha256:` and 64 hexadecimal digits, as `portcullis apps new-secret` prints it.
    Digest(String),
    /// The same, of a secret that stops to count at a time.
    Ending {
        /// `sha256:` and 64 hexadecimal digits.
        digest: String,
        /// When.
        until: Option<String>,
    },
    /// An environment variable.
    Env {
        /// Its name.
        env: String,
        /// When it stops to count.
        until: Option<String>,
    },
    /// A file, relative to this one.
    File {
        /// Its path.
        file: String,
        /// When it stops to count.
        until: Option<String>,
    },
}

/// A secret as it is read.
pub struct Secret {
    /// What a shown one is compared with.
    pub digest: Digest,
    /// The text, where it is known.
    pub plain: Option<Plain>,
    /// When it stops to count.
    pub until: Option<Timestamp>,
}

impl SecretSource {
    /// Reads it; a file is relative to `folder`.
    pub fn read(&self, folder: &Path) -> Result<Secret, String> {
        let until = match self {
            Self::Digest(_) => &None,
            Self::Ending { until, .. } | Self::Env { until, .. } | Self::File { until, .. } => until,
        };
        let bad = |text: &String| format!("until = \"{text}\" is no time in UTC such as \"2026-12-31T00:00:00Z\"");
        let until = until.as_ref().map(|text| instant::parse(text).ok_or_else(|| bad(text))).transpose()?;
        let text = match self {
            Self::Digest(digest) | Self::Ending { digest, .. } => {
                let digest = Digest::parse(digest).ok_or("must be sha256: and 64 hexadecimal digits")?;
                return Ok(Secret { digest, plain: None, until });
            }
            Self::Env { env, .. } => {
                std::env::var(env).map_err(|_| format!("environment variable {env} is not set"))?
            }
            Self::File { file, .. } => {
                std::fs::read_to_string(folder.join(file)).map_err(|e| format!("{file}: {e}"))?
            }
        };
        let text = text.trim_end_matches(['\r', '\n']);
        if text.len() < SHORTEST {
            return Err(format!("a secret of under {SHORTEST} characters can be guessed; generate one"));
        }
        Ok(Secret { digest: Digest::of(text.as_bytes()), plain: Some(Plain::of(text)), until })
    }
}
