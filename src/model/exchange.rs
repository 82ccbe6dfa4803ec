//! What an app may exchange tokens for (RFC 8693): nothing but its own tokens for its own audience, unless its file says more.
use std::collections::BTreeSet;

/// The rules of one app.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exchange {
    /// Apps whose tokens it may exchange, beside its own.
    pub from: BTreeSet<String>,
    /// Audiences that it may ask for, beside its own.
    pub audiences: BTreeSet<String>,
    /// Whether an actor token has to come along: no token without `act`.
    pub actor_required: bool,
    /// Asset tokens; none without.
    pub asset: Option<AssetTokens>,
}

/// The asset tokens of one app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssetTokens {
    /// What they open.
    pub audiences: Vec<String>,
    /// How long, seconds; never longer than the access token they were exchanged for.
    pub lifetime: i64,
    /// Standard claims of the user that they say.
    pub attributes: BTreeSet<String>,
    /// Scopes that the access token must carry.
    pub needs: BTreeSet<String>,
}

impl Exchange {
    /// Whether a token of `from` may become one of `client` that opens `audience`, which is `own` or another.
    pub fn admits(&self, client: &str, from: &str, own: &str, audience: &str) -> bool {
        (from == client || self.from.contains(from)) && (audience == own || self.audiences.contains(audience))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s41_nothing_but_ones_own_is_admitted_unless_it_is_named() {
        let own = Exchange::default();
        assert!(own.admits("a", "a", "https://a.example", "https://a.example"));
        assert!(!own.admits("a", "b", "https://a.example", "https://a.example"));
        assert!(!own.admits("a", "a", "https://a.example", "https://b.example"));
        let more = Exchange {
            from: ["b".to_owned()].into(),
            audiences: ["https://b.example".to_owned()].into(),
            ..Exchange::default()
        };
        assert!(more.admits("a", "b", "https://a.example", "https://b.example"));
        assert!(!more.admits("a", "c", "https://a.example", "https://b.example"));
    }
}
