//! A browser's sign-on session.
use crate::clock::Timestamp;
use serde::{Deserialize, Serialize};

/// How sure it is who sits there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// One factor.
    #[default]
    Standard,
    /// Two factors.
    HighAssurance,
}

impl Level {
    /// `acr` of ID tokens (OIDC Core §2).
    pub const fn acr(self) -> &'static str {
        match self {
            Self::Standard => "urn:portcullis:standard",
            Self::HighAssurance => "urn:portcullis:high_assurance",
        }
    }

    /// `amr` of ID tokens (RFC 8176).
    pub const fn amr(self) -> &'static [&'static str] {
        match self {
            Self::Standard => &["pwd"],
            Self::HighAssurance => &["pwd", "otp", "mfa"],
        }
    }
}

/// A person signed in with one browser. The cookie is a secret of 256 bits; the store keeps its digest alone.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Session {
    /// Public identifier: `sid` of ID tokens (OIDC Front-Channel Logout §3).
    pub sid: String,
    /// Who.
    pub user: String,
    /// When they last proved who they are: `auth_time`.
    pub auth_time: Timestamp,
    /// How.
    pub level: Level,
    /// They have a second factor and have not shown it yet.
    pub second_factor_due: bool,
    /// When it began.
    pub created: Timestamp,
    /// When it was last seen, to the minute.
    pub seen: Timestamp,
}

/// How long sessions last, seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// Without being used.
    pub idle: i64,
    /// In any case.
    pub absolute: i64,
}

impl Session {
    /// When it ends if it is not used again.
    pub fn expires(&self, lifetime: Lifetime) -> Timestamp {
        self.seen.plus(lifetime.idle).min(self.created.plus(lifetime.absolute))
    }
}
