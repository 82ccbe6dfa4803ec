//! OAuth errors: the only table from a code to a status.
use crate::{store::Change, token::revocation::Ending};
use http::StatusCode;

/// An error of the token, revocation or introspection endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// RFC 6749 §5.2.
    InvalidRequest,
    /// RFC 6749 §5.2.
    InvalidClient,
    /// RFC 6749 §5.2.
    InvalidGrant,
    /// RFC 6749 §5.2.
    UnauthorizedClient,
    /// RFC 6749 §5.2.
    UnsupportedGrantType,
    /// RFC 6749 §5.2.
    InvalidScope,
    /// RFC 6749 §4.1.2.1.
    AccessDenied,
    /// RFC 6749 §4.1.2.1.
    UnsupportedResponseType,
    /// RFC 6749 §4.1.2.1.
    ServerError,
    /// RFC 8707 §2.
    InvalidTarget,
    /// RFC 9101 §6.2, RFC 9126.
    InvalidRequestUri,
    /// OIDC Core §3.1.2.6.
    RequestNotSupported,
    /// OIDC Core §3.1.2.6.
    LoginRequired,
    /// OIDC Core §3.1.2.6.
    ConsentRequired,
    /// OIDC Core §3.1.2.6.
    InteractionRequired,
    /// OpenID Connect Core Error Code `unmet_authentication_requirements` §2.
    UnmetAuthenticationRequirements,
    /// RFC 8628 §3.5.
    AuthorizationPending,
    /// RFC 8628 §3.5.
    SlowDown,
    /// RFC 8628 §3.5.
    ExpiredToken,
    /// RFC 6750 §3.1.
    InvalidToken,
    /// RFC 6750 §3.1.
    InsufficientScope,
    /// RFC 9449 §5.
    InvalidDpopProof,
    /// RFC 9449 §8.
    UseDpopNonce,
    /// RFC 7591 §3.2.2.
    InvalidRedirectUri,
    /// RFC 7591 §3.2.2.
    InvalidClientMetadata,
    /// RFC 7591 §3.2.2.
    UnapprovedSoftwareStatement,
    /// A dependency does not answer.
    TemporarilyUnavailable,
}

impl Code {
    /// The `error` value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidScope => "invalid_scope",
            Self::AccessDenied => "access_denied",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::ServerError => "server_error",
            Self::InvalidTarget => "invalid_target",
            Self::InvalidRequestUri => "invalid_request_uri",
            Self::RequestNotSupported => "request_not_supported",
            Self::LoginRequired => "login_required",
            Self::ConsentRequired => "consent_required",
            Self::InteractionRequired => "interaction_required",
            Self::UnmetAuthenticationRequirements => "unmet_authentication_requirements",
            Self::AuthorizationPending => "authorization_pending",
            Self::SlowDown => "slow_down",
            Self::ExpiredToken => "expired_token",
            Self::InvalidToken => "invalid_token",
            Self::InsufficientScope => "insufficient_scope",
            Self::InvalidDpopProof => "invalid_dpop_proof",
            Self::UseDpopNonce => "use_dpop_nonce",
            Self::InvalidRedirectUri => "invalid_redirect_uri",
            Self::InvalidClientMetadata => "invalid_client_metadata",
            Self::UnapprovedSoftwareStatement => "unapproved_software_statement",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
        }
    }

    /// The HTTP status.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::InvalidClient | Self::InvalidToken => StatusCode::UNAUTHORIZED,
            Self::InsufficientScope => StatusCode::FORBIDDEN,
            Self::ServerError => StatusCode::INTERNAL_SERVER_ERROR,
            Self::TemporarilyUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::InvalidRequest
            | Self::InvalidGrant
            | Self::UnauthorizedClient
            | Self::UnsupportedGrantType
            | Self::InvalidScope
            | Self::AccessDenied
            | Self::UnsupportedResponseType
            | Self::InvalidTarget
            | Self::InvalidRequestUri
            | Self::RequestNotSupported
            | Self::LoginRequired
            | Self::ConsentRequired
            | Self::InteractionRequired
            | Self::UnmetAuthenticationRequirements
            | Self::AuthorizationPending
            | Self::SlowDown
            | Self::InvalidDpopProof
            | Self::UseDpopNonce
            | Self::InvalidRedirectUri
            | Self::InvalidClientMetadata
            | Self::UnapprovedSoftwareStatement
            | Self::ExpiredToken => StatusCode::BAD_REQUEST,
        }
    }
}

/// What a profile with finer codes than RFC 6749's tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Situation {
    /// No app has this `client_id`.
    UnknownClient,
    /// The administrator blocked the app.
    AppBlocked,
    /// The administrator has not approved the app for this user.
    NotAdminApproved,
    /// The user has not approved the app.
    NotApproved,
    /// The user is not active.
    InactiveUser,
    /// `redirect_uri` is not the one it must be.
    RedirectUriMismatch,
    /// `redirect_uri` is missing.
    RedirectUriMissing,
    /// The app may not use this flow.
    GrantNotAllowed,
    /// No such authorization code, for this client.
    BadCode,
    /// The PKCE verifier does not match.
    BadVerifier,
    /// The assertion does not hold.
    BadAssertion,
    /// Too many guesses.
    RateLimited,
    /// The request comes from an address that the app's or the user's policy does not let in.
    IpRestricted,
    /// There is no user for the program to run as.
    NoRunAs,
}

/// A refusal: what the caller reads, and what only the log reads.
#[derive(Clone, Debug)]
pub struct OAuthError {
    /// The code.
    pub code: Code,
    /// The situation, where another profile has a code of its own for it.
    pub situation: Option<Situation>,
    /// `error_description`.
    pub public: &'static str,
    /// For the audit stream; never sent.
    pub detail: String,
    /// The client that was refused and the user it acted for, where we know them: for the usage view.
    pub about: Option<Box<(String, String)>>,
    /// Writes that the refusal itself asks for: a replay ends its family.
    pub changes: Vec<Change>,
    /// What ends with it.
    pub endings: Vec<Ending>,
}

impl OAuthError {
    /// A refusal whose description says all.
    pub fn new(code: Code, public: &'static str) -> Self {
        Self {
            code,
            situation: None,
            public,
            detail: String::new(),
            about: None,
            changes: Vec::new(),
            endings: Vec::new(),
        }
    }

    /// The same with a private detail.
    #[must_use]
    pub fn detail(mut self, detail: impl std::fmt::Display) -> Self {
        self.detail = detail.to_string();
        self
    }

    /// The same, with who was refused; `user` is empty where nobody we know stands behind the request.
    #[must_use]
    pub fn about(mut self, client: &str, user: &str) -> Self {
        self.about = Some(Box::new((client.to_owned(), user.to_owned())));
        self
    }

    /// The same in a situation that another profile tells apart.
    #[must_use]
    pub fn of(mut self, situation: Situation) -> Self {
        self.situation = Some(situation);
        self
    }

    /// The same, with what it writes and ends.
    #[must_use]
    pub fn with(mut self, changes: Vec<Change>, endings: Vec<Ending>) -> Self {
        self.changes.extend(changes);
        self.endings.extend(endings);
        self
    }
}

impl From<crate::store::StoreError> for OAuthError {
    fn from(error: crate::store::StoreError) -> Self {
        Self::new(Code::TemporarilyUnavailable, "the service cannot decide now; try again").detail(error)
    }
}

impl From<crate::token::signer::Unsigned> for OAuthError {
    fn from(error: crate::token::signer::Unsigned) -> Self {
        Self::new(Code::TemporarilyUnavailable, "the service cannot sign now; try again").detail(error)
    }
}
