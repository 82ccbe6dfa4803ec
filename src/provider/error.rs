//! OAuth errors: the only table from a code to a status.
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
            Self::TemporarilyUnavailable => "temporarily_unavailable",
        }
    }

    /// The HTTP status.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::InvalidClient => StatusCode::UNAUTHORIZED,
            Self::TemporarilyUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::InvalidRequest
            | Self::InvalidGrant
            | Self::UnauthorizedClient
            | Self::UnsupportedGrantType
            | Self::InvalidScope => StatusCode::BAD_REQUEST,
        }
    }
}

/// A refusal: what the caller reads, and what only the log reads.
#[derive(Clone, Debug)]
pub struct OAuthError {
    /// The code.
    pub code: Code,
    /// `error_description`.
    pub public: &'static str,
    /// For the audit stream; never sent.
    pub detail: String,
}

impl OAuthError {
    /// A refusal whose description says all.
    pub fn new(code: Code, public: &'static str) -> Self {
        Self { code, public, detail: String::new() }
    }

    /// The same with a private detail.
    #[must_use]
    pub fn detail(mut self, detail: impl std::fmt::Display) -> Self {
        self.detail = detail.to_string();
        self
    }
}

impl From<crate::store::StoreError> for OAuthError {
    fn from(error: crate::store::StoreError) -> Self {
        Self::new(Code::TemporarilyUnavailable, "the service cannot decide now; try again").detail(error)
    }
}
