//! `[profile.NAME]` of `conf/portcullis.toml`: what holds for everybody with a profile or permission set.
use super::mistake::Findings;
use crate::model::Ranges;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};

/// What holds for everybody with a profile or permission set.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProfileTable {
    /// Where they may come from, for every app whose `ip` does not relax it: addresses, ranges, networks. Whoever has
    /// several profiles with ranges may come from the ranges of each.
    #[serde(default)]
    ip_ranges: Vec<String>,
}

/// The ranges of the profiles that have any; mistakes go to `found`.
pub fn read(raw: &BTreeMap<String, ProfileTable>, found: &mut Findings<'_>) -> HashMap<String, Ranges> {
    let mut all = HashMap::new();
    for (name, table) in raw.iter().filter(|(_, table)| !table.ip_ranges.is_empty()) {
        let ranges = Ranges::parse(&table.ip_ranges).map_err(|why| format!("ip_ranges: {why}"));
        all.insert(name.clone(), found.or(&format!("profile.{name}"), ranges, Ranges::default()));
    }
    all
}
