//! What apps that register themselves may have.
use crate::model::{Client, ScopeSet, registered::Registered};
use std::collections::BTreeSet;

/// Kinds of redirect URIs (RFC 8252 §7).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum RedirectKind {
    /// `https`.
    Https,
    /// `http` on a loopback address.
    Loopback,
    /// A scheme of the program's own: a reversed domain name.
    CustomScheme,
}

impl RedirectKind {
    /// The kind of a URI that is acceptable at all.
    pub fn of(uri: &str) -> Self {
        match uri.split_once(':').map(|(scheme, _)| scheme) {
            Some("https") => Self::Https,
            Some("http") => Self::Loopback,
            _ => Self::CustomScheme,
        }
    }
}

/// Why an app that registered itself cannot be one: the key of an app's file that is to blame, and what would be right.
pub type Unfit = (String, String);

/// `[registration]`.
#[derive(Clone, Debug)]
pub struct Registration {
    /// Whether anybody may register, without an initial access token.
    pub open: bool,
    /// Grant types that may be had.
    pub grants: BTreeSet<String>,
    /// Scopes that may be had.
    pub scopes: ScopeSet,
    /// What those stand for: an app may ask for it by name.
    pub implied: ScopeSet,
    /// Redirect URIs that may be had.
    pub redirect_uris: BTreeSet<RedirectKind>,
    /// `token_endpoint_auth_method` values that may be had, the first of them where none is named and the standard's
    /// own is not among them.
    pub auth_methods: Vec<String>,
    /// Registered apps at most.
    pub most: usize,
    /// Registrations from one address within an hour.
    pub per_address: u32,
    /// What the file of every such app would say besides, in TOML.
    pub app: toml::Table,
    /// Makes the app under these rules, as if it had a file. All its checks are those of files.
    pub make: fn(&Registered, &Self) -> Result<Client, Unfit>,
}
