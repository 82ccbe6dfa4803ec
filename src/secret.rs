//! The only place that draws random bytes; digests and constant-time comparison beside it.
pub mod reference;

use aws_lc_rs::{digest, hmac, rand};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use std::sync::Arc;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A SHA-256 digest: all that is ever kept of a secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digest(…)")
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl<'de> serde::Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        let bytes = URL_SAFE_NO_PAD.decode(text.as_bytes()).ok().and_then(|b| b.try_into().ok());
        bytes.map(Self).ok_or_else(|| serde::de::Error::custom("not a digest"))
    }
}

impl Digest {
    /// The SHA-256 of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let mut out = [0; 32];
        out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
        Self(out)
    }

    /// Reads the form `sha256:<64 hex digits>` that configuration files carry.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix("sha256:")?.as_bytes();
        let mut out = [0; 32];
        if hex.len() != 64 {
            return None;
        }
        for (byte, pair) in out.iter_mut().zip(hex.chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(out))
    }

    /// The SHA-256 of `text` in base64url: a PKCE challenge, the key of a record.
    pub fn text(text: &str) -> String {
        URL_SAFE_NO_PAD.encode(Self::of(text.as_bytes()).0)
    }

    /// Lower-case hexadecimal.
    pub fn hex(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |half: u8| char::from(DIGITS[usize::from(half)]);
        let mut text = String::with_capacity(64);
        self.0.iter().for_each(|byte| text.extend([digit(byte >> 4), digit(byte & 15)]));
        text
    }

    /// Whether `secret` has this digest, in constant time.
    pub fn matches(&self, secret: &[u8]) -> bool {
        Self::of(secret).is(self)
    }

    /// Whether both are the same, in constant time.
    pub fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// A secret in clear text: wiped when it is dropped, never shown.
#[derive(Clone)]
pub struct Plain(Arc<Zeroizing<String>>);

impl std::fmt::Debug for Plain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Plain(…)")
    }
}

impl Plain {
    /// Takes a secret into keeping.
    pub fn of(text: &str) -> Self {
        Self(Arc::new(Zeroizing::new(text.to_owned())))
    }

    /// The secret itself, for whoever must hand it on.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// HMAC-SHA256 of `message` under this secret.
    pub fn sign(&self, message: &[u8]) -> [u8; 32] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.as_bytes());
        let mut out = [0; 32];
        out.copy_from_slice(hmac::sign(&key, message).as_ref());
        out
    }
}

/// `N` bytes from the operating system's generator.
#[allow(clippy::disallowed_methods)] // the one permitted source of randomness
pub fn random<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    rand::fill(&mut out).expect("the operating system's random generator answers");
    out
}

/// A fresh secret of 256 bits, base64url.
pub fn random_token() -> String {
    URL_SAFE_NO_PAD.encode(random::<32>())
}

/// A fresh security token: 24 characters, 144 bits, base64url.
pub fn random_security_token() -> String {
    URL_SAFE_NO_PAD.encode(random::<18>())
}

/// A fresh identifier of over 128 bits, base64url, that people type on a command line: it begins with no dash.
pub fn random_name() -> String {
    loop {
        let name = URL_SAFE_NO_PAD.encode(random::<17>());
        if !name.starts_with('-') {
            return name;
        }
    }
}

/// A fresh identifier of 128 bits, base64url.
pub fn random_id() -> String {
    URL_SAFE_NO_PAD.encode(random::<16>())
}
