//! What an access token says.
use crate::clock::Timestamp;
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
    /// Audience.
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
