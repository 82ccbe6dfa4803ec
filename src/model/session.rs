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

    /// The level that is called `acr`, if one is.
    pub fn of_acr(acr: &str) -> Option<Self> {
        [Self::Standard, Self::HighAssurance].into_iter().find(|level| level.acr() == acr)
    }
}

/// What somebody showed here: `amr` of ID tokens (RFC 8176). What they showed an identity provider is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// A password.
    Pwd,
    /// A code that is good once.
    Otp,
    /// Several factors.
    Mfa,
}

/// What an identity provider calls somebody (SAML Core §2.2.3).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameId {
    /// The name.
    pub value: String,
    /// `Format` (SAML Core §8.3).
    pub format: Option<String>,
    /// `NameQualifier`.
    pub qualifier: Option<String>,
    /// `SPNameQualifier`.
    pub sp_qualifier: Option<String>,
}

/// A session's origin, where that is an identity provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AtIdp {
    /// Its `entityID`.
    pub idp: String,
    /// What it calls them.
    pub name: NameId,
    /// What it calls the session there.
    pub index: Option<String>,
    /// When that ends, and this one with it.
    pub ends: Option<Timestamp>,
    /// When they signed in there.
    pub authenticated: Timestamp,
    /// How, as far as our configuration knows the words that it used.
    #[serde(default)]
    pub level: Level,
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
    /// With what, here; nothing where an identity provider asked for it.
    #[serde(default)]
    pub amr: Vec<Method>,
    /// They have a second factor and have not shown it yet.
    pub second_factor_due: bool,
    /// When it began.
    pub created: Timestamp,
    /// When it was last seen, to the minute.
    pub seen: Timestamp,
    /// Where they signed in, if not here.
    #[serde(default)]
    pub at_idp: Option<AtIdp>,
}

/// How long sessions last, seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// Without being used.
    pub idle: i64,
    /// In any case.
    pub absolute: i64,
}

/// What the keys of browsers' sessions at the gate begin with.
pub const AT_GATE: &str = "gate/";

impl Session {
    /// When it ends if it is not used again.
    pub fn expires(&self, lifetime: Lifetime) -> Timestamp {
        self.seen.plus(lifetime.idle).min(self.ends(lifetime))
    }

    /// When it ends, however much it is used, and all that lives by it.
    pub fn ends(&self, lifetime: Lifetime) -> Timestamp {
        let here = self.created.plus(lifetime.absolute);
        self.at_idp.as_ref().and_then(|a| a.ends).map_or(here, |ends| here.min(ends))
    }
}
