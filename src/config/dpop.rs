//! `[dpop]` of `conf/portcullis.toml`: how proofs of possession are judged (RFC 9449).
use super::mistake::Findings;
use crate::policy::dpop::Dpop;
use schemars::JsonSchema;
use serde::Deserialize;

/// How proofs of possession are judged.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DpopTable {
    /// Seconds after its `iat` that a proof holds: 60 without.
    proof_lifetime: Option<i64>,
    /// Whether each proof needs a nonce of ours, so that none can be made ahead. Costs the first request of every five
    /// minutes a second try.
    nonce: bool,
    /// Seconds that a nonce holds: 300 without.
    nonce_lifetime: Option<i64>,
}

/// Validates the table; mistakes go to `found`.
pub fn read(raw: &DpopTable, found: &mut Findings<'_>) -> Dpop {
    let usual = Dpop::default();
    let rules = Dpop {
        lifetime: raw.proof_lifetime.unwrap_or(usual.lifetime),
        nonce: raw.nonce,
        nonce_lifetime: raw.nonce_lifetime.unwrap_or(usual.nonce_lifetime),
    };
    if !(1..=300).contains(&rules.lifetime) {
        found.wrong("proof_lifetime", "between 1 and 300 seconds: a proof is remembered for as long");
    }
    if !(10..=86_400).contains(&rules.nonce_lifetime) {
        found.wrong("nonce_lifetime", "between 10 and 86400 seconds");
    }
    rules
}
