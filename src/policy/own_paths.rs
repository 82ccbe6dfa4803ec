//! Paths that the gateway answers itself, whatever the routes say.
use super::route::RESOURCE_METADATA;

/// RFC 8414.
pub const METADATA: &str = "/.well-known/oauth-authorization-server";
/// OIDC Discovery §4.
pub const OPENID: &str = "/.well-known/openid-configuration";
/// RFC 7517.
pub const JWKS: &str = "/.well-known/jwks.json";

/// Whether `path` is that of a protected resource's metadata (RFC 9728 §3).
pub fn is_resource_metadata(path: &str) -> bool {
    path.strip_prefix(RESOURCE_METADATA).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether `path` is one of the standard profile's. `/oauth2/` is ours whole.
pub fn are_ours(path: &str) -> bool {
    path.starts_with("/oauth2/") || [METADATA, OPENID, JWKS].contains(&path) || is_resource_metadata(path)
}
