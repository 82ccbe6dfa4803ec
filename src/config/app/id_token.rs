//! `id_token` of an app: what its ID tokens are like.
use super::duration::Duration;
use crate::{config::mistake::Findings, model::IdTokenRules};
use schemars::JsonSchema;
use serde::Deserialize;

/// Longest that an ID token is good for, seconds.
const LONGEST: i64 = 86_400;

/// What an app's ID tokens are like.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IdTokenTable {
    /// How long they are good for; ten minutes without.
    lifetime: Option<Duration>,
    /// Whom they are for besides the app; the app is then named as `azp`, too.
    audiences: Vec<String>,
    /// They carry the standard claims of the granted scopes.
    claims: bool,
    /// They carry the app's custom attributes.
    custom_attributes: bool,
    /// They carry the app's custom permissions, where the scope `custom_permissions` is granted.
    custom_permissions: bool,
}

/// Validates the table; mistakes go to `found`.
pub fn read(raw: IdTokenTable, found: &mut Findings<'_>) -> IdTokenRules {
    let lifetime = raw.lifetime.as_ref().map(Duration::seconds).transpose();
    let lifetime = found.or("id_token", lifetime.map_err(|why| format!("lifetime: {why}")), None);
    if lifetime.is_some_and(|l| l > LONGEST) {
        found.wrong("id_token", format!("lifetime: at most {LONGEST} seconds"));
    }
    if raw.audiences.iter().any(|a| a.is_empty() || !a.bytes().all(|b| b.is_ascii_graphic())) {
        found.wrong("id_token", "audiences: visible ASCII without spaces");
    }
    IdTokenRules {
        lifetime,
        audiences: raw.audiences,
        claims: raw.claims,
        custom_attributes: raw.custom_attributes,
        custom_permissions: raw.custom_permissions,
    }
}
