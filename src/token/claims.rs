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
