//! An authorization request that has passed every check (RFC 6749 §4.1.1, OIDC Core §3.1.2.1).
use crate::{
    clock::Timestamp,
    model::{Level, Wire, authorization::ClaimsRequest},
    secret::Digest,
};
use serde::{Deserialize, Serialize};

/// What an app asks for, checked; sealed on its way through the browser, so that nobody there can edit it (S14).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct AuthorizationRequest {
    /// The shape that it came in, and that the answer has.
    #[serde(default)]
    pub wire: Wire,
    /// The client.
    pub client: String,
    /// Where the answer goes.
    pub redirect_uri: String,
    /// Whether the request named it.
    pub redirect_uri_named: bool,
    /// What is asked for.
    pub response_type: ResponseType,
    /// How the answer travels.
    pub response_mode: ResponseMode,
    /// Asked scopes, all of which the app may have.
    pub scopes: String,
    /// Given back as it came.
    pub state: Option<String>,
    /// For the ID token.
    pub nonce: Option<String>,
    /// The S256 challenge (RFC 7636).
    pub challenge: Option<String>,
    /// `prompt=none`: no page may be shown.
    pub silent: bool,
    /// `prompt=login`: they must prove who they are again.
    pub login: bool,
    /// `prompt=consent`: they must say yes again.
    pub consent: bool,
    /// `prompt=select_account`: they must say as whom.
    pub select_account: bool,
    /// Oldest accepted sign-in, seconds.
    pub max_age: Option<i64>,
    /// How sure it must be who sits there, beyond what the app's policy asks (`acr_values`, `claims`).
    #[serde(default)]
    pub level: Level,
    /// The highest level that the app wants to be told of: one that `claims` names as essential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told_level: Option<Level>,
    /// Who it must be: the subject of `id_token_hint` or of `claims`.
    #[serde(default)]
    pub subject: Option<String>,
    /// Who they probably are.
    pub login_hint: Option<String>,
    /// Claims asked for by name.
    pub claims: ClaimsRequest,
    /// Thumbprint of the key that the tokens will be bound to (`dpop_jkt`, RFC 9449 §10).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Digest>,
    /// When it came.
    pub begun: Timestamp,
}

/// `response_type` (OAuth 2.0 Multiple Response Type Encoding Practices).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResponseType {
    /// `code`.
    #[default]
    Code,
    /// `token`.
    Token,
    /// `id_token token`.
    IdTokenToken,
}

impl ResponseType {
    /// In any order of its words.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words: Vec<&str> = text.split(' ').collect();
        words.sort_unstable();
        match words[..] {
            ["code"] => Some(Self::Code),
            ["token"] => Some(Self::Token),
            ["id_token", "token"] => Some(Self::IdTokenToken),
            _ => None,
        }
    }

    /// As apps' files name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Token => "token",
            Self::IdTokenToken => "id_token token",
        }
    }
}

/// `response_mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResponseMode {
    /// In the query.
    #[default]
    Query,
    /// In the fragment.
    Fragment,
    /// Posted by the browser (OAuth 2.0 Form Post Response Mode).
    FormPost,
}
