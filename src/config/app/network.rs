//! `ip` of an app: where its requests may come from.
use crate::{
    config::mistake::Findings,
    model::{Network, Ranges, Relaxation},
};
use schemars::JsonSchema;
use serde::Deserialize;

/// Where an app's requests may come from: looked at when somebody signs in to it, when it asks for a token, and at the
/// gate.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkTable {
    /// Addresses, ranges (`10.0.0.1-10.0.0.99`) and networks (`10.0.0.0/8`); from anywhere without.
    ranges: Vec<String>,
    /// What becomes of requests from elsewhere, and from outside the ranges of the user's profiles.
    relaxation: Relaxation,
}

/// Validates the table; mistakes go to `found`.
pub fn read(raw: &NetworkTable, found: &mut Findings<'_>) -> Network {
    let ranges = found.or("ip", Ranges::parse(&raw.ranges), Ranges::default());
    Network { ranges: (!raw.ranges.is_empty()).then_some(ranges), relaxation: raw.relaxation }
}
