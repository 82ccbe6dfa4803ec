//! Connected apps (OAuth clients, RFC 6749 §2) and local users.
use super::{ScopeSet, verification_key::VerificationKey};
use crate::secret::Digest;
use std::{collections::BTreeSet, sync::Arc};

/// How a client proves who it is (OIDC Core §9 names).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    /// HTTP Basic or form body with a secret.
    ClientSecret,
    /// A signed assertion (RFC 7523 §2.2).
    PrivateKeyJwt,
    /// A public client.
    None,
}

/// The form of the access tokens an app receives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenFormat {
    /// Claims sealed with an AEAD key of ours.
    #[default]
    Opaque,
    /// A signed JWT (RFC 9068).
    Jwt,
}

/// How our JWTs are signed (RFC 7518 §3.1, RFC 8037 §3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
pub enum SigningAlgorithm {
    /// ECDSA on P-256: small, and quick to sign.
    #[default]
    #[serde(rename = "ES256")]
    Es256,
    /// RSA of 2048 bits: quick to verify, slow to sign.
    #[serde(rename = "RS256")]
    Rs256,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

/// Who may use an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Approval {
    /// Users with one of these profiles or permission sets are pre-authorized.
    Admin(BTreeSet<String>),
    /// Every user may approve; flows without a browser need a recorded approval.
    SelfAuthorized,
}

/// A connected app.
#[derive(Debug)]
pub struct Client {
    /// `client_id`.
    pub id: Arc<str>,
    /// The name shown to people.
    pub name: String,
    /// A blocked app gets no token, and its tokens open nothing.
    pub blocked: bool,
    /// How it authenticates.
    pub auth_method: AuthMethod,
    /// Digests of its valid secrets; two during a rotation.
    pub secrets: Vec<Digest>,
    /// Its registered public keys, several during a rotation.
    pub keys: Vec<VerificationKey>,
    /// Grant types it may use.
    pub grants: BTreeSet<String>,
    /// The most it may be granted.
    pub scopes: ScopeSet,
    /// Who may use it.
    pub approval: Approval,
    /// The subject of `client_credentials`.
    pub run_as: Option<Arc<str>>,
    /// The form of its access tokens.
    pub token_format: TokenFormat,
    /// How its JWTs are signed.
    pub signing_algorithm: SigningAlgorithm,
    /// Life of its access tokens, seconds.
    pub token_lifetime: i64,
    /// Audience (resource) of its access tokens.
    pub audience: Arc<str>,
    /// Furthest accepted `exp` of its assertions, seconds ahead.
    pub assertion_lifetime: i64,
}

/// A local user.
#[derive(Clone, Debug)]
pub struct User {
    /// The name an assertion's `sub` carries.
    pub username: Arc<str>,
    /// Profiles and permission sets, which decide admin approval.
    pub permissions: BTreeSet<String>,
    /// The password's argon2id hash in PHC form; without one they cannot sign in here.
    pub password: Option<Arc<str>>,
    /// An inactive user gets no token, and tokens for them open nothing.
    pub active: bool,
}
