//! What an access token says.
use super::revocation::Revocations;
use crate::{
    clock::Timestamp,
    issuer::Foreign,
    model::{Actor, Confirmation, Level, MayAct, asset::AssetClaim},
    secret::Digest,
};
use serde::{Deserialize, Serialize};

/// The claims of a token, in both forms (RFC 9068 §2.2).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Claims {
    /// Issuer.
    pub iss: String,
    /// Subject.
    pub sub: String,
    /// Client.
    pub client_id: String,
    /// Audience: one, or several with spaces between; a JWT then lists them (RFC 7519 §4.1.3).
    #[serde(with = "audience")]
    pub aud: String,
    /// Scopes, space-delimited.
    pub scope: String,
    /// Identifier.
    pub jti: String,
    /// The authorization it is issued from, where one is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant_id: Option<String>,
    /// The refresh token's generation it is issued beside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u32>,
    /// When the subject proved who they are (RFC 9068 §2.2.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<Timestamp>,
    /// Issued at.
    pub iat: Timestamp,
    /// Expires at.
    pub exp: Timestamp,
    /// What few tokens say.
    #[serde(flatten)]
    pub more: More,
}

/// What few tokens say. An opaque token that says nothing of it carries not a byte for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct More {
    /// The key that it is bound to (RFC 7800).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cnf: Option<Confirmation>,
    /// Who acts for the subject (RFC 8693 §4.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Actor>,
    /// Who may act for the subject (RFC 8693 §4.4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub may_act: Option<MayAct>,
    /// The device that it speaks of: an asset token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asset: Option<AssetClaim>,
    /// The app whose token it was exchanged for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchanged_from: Option<String>,
    /// What else ends it, as endings name it: `token/…`, `authorization/…`, `client/…`, `subject/…`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tied_to: Vec<String>,
    /// How they showed who they are, where that took two factors (RFC 9068 §2.2.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acr: Option<String>,
    /// The identity provider that brought the subject, by `entityID`; nothing for a user of the configuration. Once it
    /// is opened it stands with what thousands of tokens have in common.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brought_by: Option<String>,
}

impl More {
    /// `acr` of a token that comes from a sign-on of this level; one factor is what every other token says nothing of.
    pub fn acr_of(level: Level) -> Option<String> {
        (level > Level::Standard).then(|| level.acr().to_owned())
    }

    /// How sure it was who sat there.
    pub fn level(&self) -> Level {
        let high = self.acr.as_deref() == Some(Level::HighAssurance.acr());
        if high { Level::HighAssurance } else { Level::Standard }
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The same as an opened token keeps it.
#[derive(Debug)]
pub struct Special {
    /// What the token says.
    pub more: More,
    /// Thumbprint of the key that has to sign a proof, if one has to.
    pub key: Option<Digest>,
    /// The flags of what it is tied to, in the order of `tied_to`.
    pub(super) ties: Box<[u32]>,
    /// Whose token it is, where it is not ours.
    pub foreign: Option<Foreign>,
}

impl Special {
    pub(super) fn of(more: More, revocations: &Revocations) -> Self {
        let ties = more.tied_to.iter().map(|target| revocations.tie(target)).collect();
        Self { key: more.cnf.as_ref().and_then(Confirmation::key), ties, more, foreign: None }
    }
}

/// One text in memory, a text or a list in JSON.
mod audience {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        One(String),
        Several(Vec<String>),
    }

    pub fn serialize<S: Serializer>(aud: &str, serializer: S) -> Result<S::Ok, S::Error> {
        if aud.contains(' ') {
            aud.split(' ').collect::<Vec<_>>().serialize(serializer)
        } else {
            aud.serialize(serializer)
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
        Ok(match Either::deserialize(deserializer)? {
            Either::One(one) => one,
            Either::Several(several) => several.join(" "),
        })
    }
}

/// The claims as an opaque token seals them, in a compact form: every request carries it. The issuer is whoever holds
/// the key. Borrowed, since what opens a token keeps most of it elsewhere.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Sealed<'a> {
    /// Subject.
    pub sub: &'a str,
    /// Client.
    pub client_id: &'a str,
    /// Audience.
    pub aud: &'a str,
    /// Scopes, space-delimited.
    pub scope: &'a str,
    /// Identifier.
    pub jti: &'a str,
    /// The authorization it is issued from, where one is kept.
    pub grant_id: Option<&'a str>,
    /// The refresh token's generation it is issued beside.
    pub generation: Option<u32>,
    /// When the subject proved who they are.
    pub auth_time: Option<Timestamp>,
    /// Issued at.
    pub iat: Timestamp,
    /// Expires at.
    pub exp: Timestamp,
}

impl<'a> From<&'a Claims> for Sealed<'a> {
    fn from(claims: &'a Claims) -> Self {
        Self {
            sub: &claims.sub,
            client_id: &claims.client_id,
            aud: &claims.aud,
            scope: &claims.scope,
            jti: &claims.jti,
            grant_id: claims.grant_id.as_deref(),
            generation: claims.generation,
            auth_time: claims.auth_time,
            iat: claims.iat,
            exp: claims.exp,
        }
    }
}
