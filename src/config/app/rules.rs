//! What must hold between the keys of an app, as a table: broken → key, what is right.
use super::{App, redirect_uri::acceptable};
use crate::model::{AuthMethod, TokenFormat};

/// `response_type` values there are (OAuth 2.0 Multiple Response Types §3, RFC 6749 §4).
const RESPONSE_TYPES: [&str; 3] = ["code", "token", "id_token token"];

/// Every rule of one app: whether it is broken, the key to blame, and what would be right.
pub fn of(raw: &App) -> Vec<(bool, &'static str, &'static str)> {
    let printable = |text: &str| !text.is_empty() && text.bytes().all(|b| (0x20..0x7f).contains(&b));
    let secret_less = raw.auth == AuthMethod::ClientSecret && raw.secrets.is_empty();
    let key_less = raw.auth == AuthMethod::PrivateKeyJwt && raw.keys.is_empty();
    let uses = |grant: &str| raw.grants.iter().any(|g| g.ends_with(grant));
    vec![
        (!printable(&raw.client_id), "client_id", "one or more printable ASCII characters (RFC 6749 appendix A.1)"),
        (raw.secrets.len() > 2, "secrets", "at most two, during a rotation"),
        (secret_less, "auth", "client_secret needs an entry in secrets"),
        (
            (raw.auth == AuthMethod::TlsClientAuth) != raw.tls_client_auth.is_some(),
            "auth",
            "tls_client_auth goes with the table tls_client_auth = { subject_dn = \"…\" }, or with one of its san_ names",
        ),
        (key_less, "auth", "private_key_jwt needs an entry in keys"),
        (uses(":jwt-bearer") && raw.keys.is_empty(), "grants", "jwt-bearer needs an entry in keys"),
        (uses("client_credentials") && raw.run_as.is_none(), "grants", "client_credentials needs run_as"),
        (
            uses("client_credentials") && raw.auth == AuthMethod::None,
            "auth",
            "client_credentials needs a client that authenticates (RFC 6749 §4.4)",
        ),
        (
            raw.grants.contains("authorization_code") && raw.redirect_uris.is_empty(),
            "grants",
            "authorization_code needs redirect_uris",
        ),
        (
            raw.response_types.iter().any(|t| !RESPONSE_TYPES.contains(&t.as_str())),
            "response_types",
            "among \"code\", \"token\", \"id_token token\"",
        ),
        (
            !raw.redirect_uris.iter().chain(&raw.post_logout_redirect_uris).all(|u| acceptable(u)),
            "redirect_uris",
            "absolute URIs without fragment: https, http on a loopback address, or an app's own scheme (RFC 8252 §7)",
        ),
        (
            raw.backchannel_logout_uri.as_ref().is_some_and(|u| !acceptable(u) || !u.starts_with("http")),
            "backchannel_logout_uri",
            "an absolute URI without fragment: https, or http on a loopback address",
        ),
        (!(1..=100).contains(&raw.approvals_per_user), "approvals_per_user", "between 1 and 100"),
        (
            raw.secret_optional && raw.auth != AuthMethod::ClientSecret,
            "secret_optional",
            "for apps with auth = \"client_secret\" alone",
        ),
        (
            !raw.secret_required_for_refresh && raw.auth != AuthMethod::ClientSecret,
            "secret_required_for_refresh",
            "for apps with auth = \"client_secret\" alone",
        ),
        (
            raw.introspect_all && raw.auth == AuthMethod::None,
            "introspect_all",
            "needs a client that authenticates (RFC 7662 §2.1)",
        ),
        (
            raw.token_attributes && raw.token_format != TokenFormat::Jwt,
            "token_attributes",
            "needs token_format = \"jwt\": nobody else reads an opaque token",
        ),
        (
            raw.salesforce.audiences.iter().flatten().any(|a| a.is_empty() || !a.bytes().all(|b| b.is_ascii_graphic())),
            "salesforce",
            "audiences are visible ASCII without spaces, such as \"https://login.salesforce.com\"",
        ),
        (!(1..=86_400).contains(&raw.token_lifetime), "token_lifetime", "between 1 and 86400 seconds"),
        (!(1..=3_600).contains(&raw.assertion_lifetime), "assertion_lifetime", "between 1 and 3600 seconds"),
    ]
}
