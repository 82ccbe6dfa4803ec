//! Apps that registered themselves (RFC 7591), and what lets one do so.
use crate::{clock::Timestamp, secret::Digest};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An app that registered itself, as it is stored; what it may do is decided anew under every policy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Registered {
    /// `client_id`.
    pub client_id: String,
    /// `client_id_issued_at`.
    pub issued: Timestamp,
    /// The initial access token that let it in; nobody's where none is needed.
    pub by: Option<String>,
    /// Digest of its secret, where it has one.
    pub secret: Option<Digest>,
    /// Digest of its registration access token (RFC 7592 §3).
    pub token: Digest,
    /// What it said of itself.
    pub metadata: Metadata,
}

/// Client metadata (RFC 7591 §2), as far as it is understood.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Where answers may be sent.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub redirect_uris: Vec<String>,
    /// How it authenticates: `none`, `client_secret_basic`, `client_secret_post` or `private_key_jwt`.
    pub token_endpoint_auth_method: String,
    /// Grant types.
    pub grant_types: Vec<String>,
    /// Response types.
    pub response_types: Vec<String>,
    /// The name shown to people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_name: Option<String>,
    /// Its home page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_uri: Option<String>,
    /// Its logo; never fetched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logo_uri: Option<String>,
    /// Its terms of service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tos_uri: Option<String>,
    /// Its privacy policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_uri: Option<String>,
    /// Scopes, space-delimited.
    pub scope: String,
    /// Whom to write to.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub contacts: Vec<String>,
    /// Its public keys, by value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks: Option<Value>,
    /// Identifier of the software.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub software_id: Option<String>,
    /// Version of the software.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub software_version: Option<String>,
    /// `web` or `native` (OIDC Registration §2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application_type: Option<String>,
    /// Where a browser may be sent after it signed out (OIDC RP-Initiated Logout §3.1).
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub post_logout_redirect_uris: Vec<String>,
    /// How its ID tokens are signed (OIDC Registration §2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_token_signed_response_alg: Option<String>,
}

impl Registered {
    /// The key of the record of the app `client_id`; other nodes hear of its changes.
    pub fn key(client_id: &str) -> String {
        format!("registered/{client_id}")
    }
}

/// An initial access token (RFC 7591 §1.2): lets apps register, so often and so long.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InitialToken {
    /// Identifier.
    pub id: String,
    /// Digest of its secret part.
    pub secret: Digest,
    /// Registrations left.
    pub left: u32,
    /// Who made it.
    pub by: String,
    /// When.
    pub created: Timestamp,
    /// For what, in words.
    pub note: Option<String>,
}

impl InitialToken {
    /// The key of the record of the token `id`.
    pub fn key(id: &str) -> String {
        format!("registration_token/{id}")
    }

    /// The identifier and the secret of a token's text.
    pub fn parse(token: &str) -> Option<(&str, &str)> {
        token.strip_prefix("pi_")?.split_once('.').filter(|(id, secret)| !id.is_empty() && secret.len() == 43)
    }

    /// A token's text.
    pub fn text(id: &str, secret: &str) -> String {
        format!("pi_{id}.{secret}")
    }
}
