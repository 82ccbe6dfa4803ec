//! Scopes (RFC 6749 §3.3).

/// A sorted set of scope tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ScopeSet(Box<[Box<str>]>);

/// Longest accepted `scope` parameter, in bytes.
pub const MAX_SCOPE_LENGTH: usize = 4096;

impl ScopeSet {
    /// Parses a space-delimited list; `None` where a character or the length is not allowed.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_SCOPE_LENGTH {
            return None;
        }
        let tokens: Vec<&str> = text.split(' ').filter(|t| !t.is_empty()).collect();
        tokens.iter().all(|t| is_scope_token(t)).then(|| Self::of(&tokens))
    }

    /// A set of known-good tokens.
    pub fn of<S: AsRef<str>>(tokens: &[S]) -> Self {
        let mut set: Vec<Box<str>> = tokens.iter().map(|t| t.as_ref().into()).collect();
        set.sort_unstable();
        set.dedup();
        Self(set.into())
    }

    /// Whether `token` is in the set.
    pub fn contains(&self, token: &str) -> bool {
        self.0.binary_search_by(|t| (**t).cmp(token)).is_ok()
    }

    /// Whether every token of `other` is in this set.
    pub fn contains_all(&self, other: &Self) -> bool {
        other.0.iter().all(|t| self.contains(t))
    }

    /// Whether at least one token of `other` is in this set.
    pub fn contains_any(&self, other: &Self) -> bool {
        other.0.iter().any(|t| self.contains(t))
    }

    /// The tokens in both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self(self.0.iter().filter(|t| other.contains(t)).cloned().collect())
    }

    /// The tokens in either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self::of(&self.iter().chain(other.iter()).collect::<Vec<_>>())
    }

    /// The tokens that are not in `other`.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        Self(self.0.iter().filter(|t| !other.contains(t)).cloned().collect())
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The tokens in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|t| &**t)
    }
}

/// Whether `text` is one scope token: `1*( %x21 / %x23-5B / %x5D-7E )` (RFC 6749 §3.3).
pub fn is_scope_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5B | 0x5D..=0x7E))
}

impl std::fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, token) in self.0.iter().enumerate() {
            write!(f, "{}{token}", if i == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_sorts_and_refuses_what_the_grammar_refuses() {
        let set = ScopeSet::parse("write  read read").expect("a valid list");
        assert_eq!(set.to_string(), "read write");
        assert!(set.contains("read") && !set.contains("admin"));
        assert!(ScopeSet::parse("a\"b").is_none());
        assert!(ScopeSet::parse(&"a".repeat(MAX_SCOPE_LENGTH + 1)).is_none());
    }
}
