//! Refusals as Salesforce's clients read them: the only table from a situation to their codes and texts.
use crate::provider::error::{Code, OAuthError, Situation};
use http::StatusCode;

/// `error` and `error_description`.
pub fn words(error: &OAuthError) -> (&'static str, &'static str) {
    match error.situation {
        Some(Situation::UnknownClient) => ("invalid_client_id", "client identifier invalid"),
        Some(Situation::AppBlocked) => ("OAUTH_APP_BLOCKED", "this app is blocked by admin"),
        Some(Situation::NotAdminApproved) => ("invalid_app_access", "user is not admin approved to access this app"),
        Some(Situation::NotApproved) => ("invalid_grant", "user hasn't approved this consumer"),
        Some(Situation::InactiveUser) => ("inactive_user", "user is inactive"),
        Some(Situation::RedirectUriMismatch) => ("redirect_uri_mismatch", "redirect_uri must match configuration"),
        Some(Situation::RedirectUriMissing) => ("redirect_uri_missing", "redirect_uri not provided"),
        Some(Situation::GrantNotAllowed) => ("unsupported_grant_type", "grant type not supported"),
        Some(Situation::BadCode) => ("invalid_grant", "invalid authorization code"),
        Some(Situation::BadVerifier) => ("invalid_grant", "invalid code verifier"),
        Some(Situation::BadAssertion) => ("invalid_grant", "invalid assertion"),
        Some(Situation::RateLimited) => ("rate_limit_exceeded", "login rate exceeded"),
        Some(Situation::IpRestricted) => ("invalid_grant", "ip restricted"),
        Some(Situation::NoRunAs) => ("invalid_grant", "no client credentials user enabled"),
        None => (code(error.code), text(error)),
    }
}

/// The same where it reaches the app by its redirect URI.
pub fn on_redirect(error: &OAuthError) -> (&'static str, &'static str) {
    match words(error) {
        ("invalid_app_access", text) => ("OAUTH_APP_ACCESS_DENIED", text),
        words => words,
    }
}

/// The HTTP status: 400, but where nothing is wrong with the request.
pub fn status(error: &OAuthError) -> StatusCode {
    match error.code {
        Code::ServerError | Code::TemporarilyUnavailable => error.code.status(),
        _ => StatusCode::BAD_REQUEST,
    }
}

const fn code(code: Code) -> &'static str {
    match code {
        Code::LoginRequired | Code::ConsentRequired | Code::InteractionRequired => "immediate_unsuccessful",
        other => other.name(),
    }
}

fn text(error: &OAuthError) -> &'static str {
    match error.code {
        Code::InvalidClient => "invalid client credentials",
        Code::UnsupportedGrantType => "grant type not supported",
        Code::UnsupportedResponseType => "response type not supported",
        _ => error.public,
    }
}
