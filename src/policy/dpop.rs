//! How proofs of possession are judged (RFC 9449).

/// The rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dpop {
    /// Seconds after `iat` that a proof holds.
    pub lifetime: i64,
    /// Whether a proof needs a nonce of ours (§8, §9).
    pub nonce: bool,
    /// Seconds that a nonce holds.
    pub nonce_lifetime: i64,
}

impl Default for Dpop {
    fn default() -> Self {
        Self { lifetime: 60, nonce: false, nonce_lifetime: 300 }
    }
}
