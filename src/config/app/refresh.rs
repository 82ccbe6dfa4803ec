//! `refresh` of an app: what becomes of its refresh tokens.
use super::duration::Duration;
use crate::{config::mistake::Findings, model::RefreshPolicy};
use schemars::JsonSchema;
use serde::Deserialize;

/// What becomes of an app's refresh tokens; each is valid until revoked where nothing is said.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RefreshTable {
    /// None is issued: access ends with the access token.
    expires_at_once: bool,
    /// The same token stays valid when it is used. Without, each use replaces it.
    reusable: bool,
    /// After which it ends in any case.
    lifetime: Option<Duration>,
    /// After which it ends unused.
    idle: Option<Duration>,
}

/// Validates the table; mistakes go to `found`.
pub fn read(raw: &RefreshTable, found: &mut Findings<'_>) -> RefreshPolicy {
    let mut seconds = |name: &str, length: &Option<Duration>| {
        let length = length.as_ref().map(|l| l.seconds().map_err(|why| format!("{name}: {why}")));
        found.or("refresh", length.transpose(), None)
    };
    RefreshPolicy {
        expires_at_once: raw.expires_at_once,
        reusable: raw.reusable,
        lifetime: seconds("lifetime", &raw.lifetime),
        idle: seconds("idle", &raw.idle),
    }
}
