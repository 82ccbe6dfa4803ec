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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::mistake::parse;
    use std::path::Path;

    #[test]
    fn every_mistake_is_told_with_its_line_and_key() {
        let text = "proof_lifetime = 301\nnonce = true\nnonce_lifetime = 5\n";
        let raw: DpopTable = parse(Path::new("p.toml"), text).unwrap();
        let mut found = Findings::of(Path::new("p.toml"), text);
        assert!(read(&raw, &mut found).nonce);
        let told: Vec<String> = found.mistakes.iter().map(ToString::to_string).collect();
        assert!(told[0].starts_with("p.toml:1: proof_lifetime: between"), "{told:?}");
        assert!(told[1].starts_with("p.toml:3: nonce_lifetime: between"), "{told:?}");
        assert_eq!(read(&DpopTable::default(), &mut Findings::of(Path::new("p.toml"), "")), Dpop::default());
    }
}
