//! Connected apps (OAuth clients, RFC 6749 §2).
use super::{
    CertificateName, Confirmation, Exchange, Level, Policies, ScopeSet, Wire, verification_key::VerificationKey,
};
use crate::secret::{Digest, Plain};
use std::{borrow::Cow, collections::BTreeSet, sync::Arc};

/// How a client proves who it is (OIDC Core §9 names).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    /// HTTP Basic or form body with a secret.
    ClientSecret,
    /// A signed assertion (RFC 7523 §2.2).
    PrivateKeyJwt,
    /// A certificate that an authority vouches for (RFC 8705 §2.1).
    TlsClientAuth,
    /// A certificate that was registered itself (RFC 8705 §2.2).
    SelfSignedTlsClientAuth,
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
#[derive(Clone, Debug)]
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
    /// The most it may be granted, in whichever way.
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
    /// What concerns apps that people sign in to.
    pub interactive: Interactive,
    /// What it may do on the Salesforce paths alone.
    pub salesforce: SalesforceRules,
    /// What it may exchange tokens for.
    pub exchange: Exchange,
    /// Whether its access tokens are always bound to a key (RFC 9449 §5.2).
    pub dpop_bound: bool,
    /// Whether its access tokens are always bound to its certificate (RFC 8705 §3).
    pub certificate_bound: bool,
    /// The name by which its certificate is known, where it authenticates by `tls_client_auth`.
    pub certificate_name: Option<CertificateName>,
    /// What an administrator asks of it besides.
    pub policies: Policies,
}

impl Client {
    /// The most that it may be granted by a request of this shape: along the Salesforce paths its scopes stand for
    /// others too.
    pub fn grantable(&self, wire: Wire) -> Cow<'_, ScopeSet> {
        match wire {
            Wire::Standard if !self.salesforce.implied.is_empty() => {
                Cow::Owned(self.scopes.without(&self.salesforce.implied))
            }
            Wire::Standard | Wire::Salesforce => Cow::Borrowed(&self.scopes),
        }
    }

    /// Whether what `cnf` says is as much as its tokens have to be bound to.
    pub fn binds(&self, cnf: Option<&Confirmation>) -> bool {
        let key = || cnf.is_some_and(|cnf| cnf.jkt.is_some() || cnf.jwk.is_some());
        let certificate = || cnf.is_some_and(|cnf| cnf.certificate.is_some() || cnf.jwk.is_some());
        (!self.dpop_bound || key()) && (!self.certificate_bound || certificate())
    }

    /// Whether it has to prove who it is before it is served by `grant_type`.
    pub fn must_authenticate(&self, grant_type: &str, wire: Wire) -> bool {
        let rules = &self.policies.secret;
        self.auth_method != AuthMethod::None
            && match grant_type {
                "authorization_code" => !rules.optional,
                // One rule for both of Salesforce's flows for people; RFC 8628 §3.4 knows no exception.
                "urn:ietf:params:oauth:grant-type:device_code" if wire == Wire::Salesforce => !rules.optional,
                "refresh_token" => !rules.optional_for_refresh,
                _ => true,
            }
    }
}

/// Leniencies that are off unless an app's file turns them on, what its scopes stand for, and the key of `signature`.
#[derive(Clone, Debug, Default)]
pub struct SalesforceRules {
    /// Parameters of the token endpoint may stand in the query of an empty POST.
    pub query_parameters: bool,
    /// The identity endpoints take the token from the query too.
    pub query_tokens: bool,
    /// The hybrid flow's names stand for those of the plain flows.
    pub hybrid: bool,
    /// Accepted `aud` values of its assertions besides our own, in place of those for everybody.
    pub audiences: Option<Vec<String>>,
    /// Those of its scopes that its file does not name: `full` or `id` stands for them.
    pub implied: ScopeSet,
    /// The plain consumer secret, where the app's file names it by environment variable or file: signs answers to
    /// requests that do not carry it.
    pub secret: Option<Plain>,
}

/// Settings of flows in which a person takes part.
#[derive(Clone, Debug, Default)]
pub struct Interactive {
    /// Where answers may be sent; exact, but for a loopback address's port.
    pub redirect_uris: Vec<String>,
    /// Where a browser may be sent after it signed out.
    pub post_logout_redirect_uris: Vec<String>,
    /// `response_type` values it may use, each in canonical order.
    pub response_types: BTreeSet<String>,
    /// Whether a confidential app must use PKCE too.
    pub pkce_required: bool,
    /// Refresh tokens.
    pub refresh: RefreshPolicy,
    /// How its ID tokens are signed.
    pub id_token_algorithm: SigningAlgorithm,
    /// How sure it must be who sits there.
    pub level: Level,
    /// Told when a session ends (OIDC Back-Channel Logout §2.2).
    pub backchannel_logout_uri: Option<String>,
}

/// What becomes of an app's refresh tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RefreshPolicy {
    /// None is issued: access ends with the access token.
    pub expires_at_once: bool,
    /// The same token stays valid when it is used. Without, each use replaces it.
    pub reusable: bool,
    /// Seconds after which it ends in any case; valid until revoked without.
    pub lifetime: Option<i64>,
    /// Seconds after which it ends unused.
    pub idle: Option<i64>,
}
