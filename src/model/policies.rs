//! What an administrator may ask of one app besides its flows, scopes and users.
use super::{Network, User};
use crate::{clock::Timestamp, secret::Digest};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Approvals that one user may have given one app, where its file says nothing else.
pub const USUAL_APPROVALS: usize = 5;

/// The policies of one app.
#[derive(Clone, Debug)]
pub struct Policies {
    /// Where its requests may come from.
    pub network: Network,
    /// Seconds after which its access tokens and its browser sessions open nothing any more, whatever they say.
    pub session_timeout: Option<i64>,
    /// When it must show a secret, and until when an old one counts.
    pub secret: SecretRules,
    /// It may introspect tokens of other apps too.
    pub introspect_all: bool,
    /// What its ID tokens say, for how long, to whom.
    pub id_token: IdTokenRules,
    /// Its JWT access tokens carry custom attributes, and custom permissions where the scope is granted.
    pub token_attributes: bool,
    /// What it is told of each user besides the standard claims.
    pub custom_attributes: BTreeMap<String, Attribute>,
    /// Names of its own for rights, and the profiles and permission sets that hold them.
    pub custom_permissions: BTreeMap<String, BTreeSet<String>>,
    /// Authorizations that one user may have given it; the next one ends the oldest.
    pub approvals_per_user: usize,
    /// Its access tokens may be exchanged for a link into a browser session.
    pub single_access: bool,
}

impl Default for Policies {
    fn default() -> Self {
        Self {
            network: Network::default(),
            session_timeout: None,
            secret: SecretRules::default(),
            introspect_all: false,
            id_token: IdTokenRules::default(),
            token_attributes: false,
            custom_attributes: BTreeMap::new(),
            custom_permissions: BTreeMap::new(),
            approvals_per_user: USUAL_APPROVALS,
            single_access: false,
        }
    }
}

/// When an app must show its secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretRules {
    /// It may redeem codes without; PKCE stands in for it.
    pub optional: bool,
    /// It may refresh without.
    pub optional_for_refresh: bool,
    /// Old secrets, and when each stops to count.
    pub ends: Vec<(Digest, Timestamp)>,
}

impl SecretRules {
    /// Whether the secret with this digest counts at `now`.
    pub fn counts(&self, digest: &Digest, now: Timestamp) -> bool {
        self.ends.iter().all(|(ended, until)| ended != digest || now < *until)
    }
}

/// What an app's ID tokens are like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdTokenRules {
    /// Seconds that they are good for; the usual ten minutes without.
    pub lifetime: Option<i64>,
    /// Whom they are for besides the app.
    pub audiences: Vec<String>,
    /// They carry the standard claims of the granted scopes.
    pub claims: bool,
    /// They carry the custom attributes.
    pub custom_attributes: bool,
    /// They carry the custom permissions, where the scope is granted.
    pub custom_permissions: bool,
}

/// Where the value of a custom attribute comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// The same for everybody.
    Text(String),
    /// A standard claim of the user.
    Claim(String),
    /// An attribute that the user's own table holds.
    OfUser(String),
}

impl Policies {
    /// The custom attributes of `user`, as far as they are known.
    pub fn attributes_of(&self, user: &User) -> Map<String, Value> {
        let value = |attribute: &Attribute| match attribute {
            Attribute::Text(text) => Some(Value::from(text.as_str())),
            Attribute::Claim(name) => user.claim(name),
            Attribute::OfUser(name) => user.profile.attributes.get(name).map(|v| Value::from(v.as_str())),
        };
        let known = self.custom_attributes.iter().filter_map(|(name, from)| Some((name.clone(), value(from)?)));
        known.collect()
    }

    /// The custom permissions that `user` holds, each as `true`.
    pub fn permissions_of(&self, user: &User) -> Map<String, Value> {
        let held = self.custom_permissions.iter().filter(|(_, holders)| !holders.is_disjoint(&user.permissions));
        held.map(|(name, _)| (name.clone(), Value::from(true))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_staged_secret_counts_until_its_time_and_another_is_not_concerned() {
        let (old, new) = (Digest::of(b"old"), Digest::of(b"new"));
        let rules = SecretRules { ends: vec![(old, Timestamp(100))], ..SecretRules::default() };
        assert!(rules.counts(&old, Timestamp(99)) && !rules.counts(&old, Timestamp(100)));
        assert!(rules.counts(&new, Timestamp(1_000)));
    }
}
