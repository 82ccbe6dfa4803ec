//! `custom_attributes` of an app: what it is told of each user besides the standard claims.
use crate::{
    config::mistake::Findings,
    model::{Attribute, user::SCOPE_CLAIMS},
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Where the value of a custom attribute comes from.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum AttributeSource {
    /// The same text for everybody.
    Text(String),
    /// A standard claim, such as `email`.
    Claim {
        /// Its name (OpenID Connect Core §5.1).
        claim: String,
    },
    /// What `attributes` in the user's `profile` says under this name.
    Attribute {
        /// The name.
        attribute: String,
    },
}

/// Validates the table; mistakes go to `found`.
pub fn read(raw: BTreeMap<String, AttributeSource>, found: &mut Findings<'_>) -> BTreeMap<String, Attribute> {
    let mut all = BTreeMap::new();
    for (name, source) in raw {
        let attribute = match source {
            AttributeSource::Text(text) => Attribute::Text(text),
            AttributeSource::Attribute { attribute } => Attribute::OfUser(attribute),
            AttributeSource::Claim { claim } => {
                if !SCOPE_CLAIMS.iter().any(|(_, claims)| claims.contains(&claim.as_str())) {
                    found.wrong("custom_attributes", format!("{name}: {claim} is no standard claim"));
                }
                Attribute::Claim(claim)
            }
        };
        all.insert(name, attribute);
    }
    all
}
