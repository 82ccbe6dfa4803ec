//! Proofs of possession come once, and with a nonce of ours where the policy asks for one (RFC 9449 §8, §11.1).
use super::{Tokens, proof};
use crate::{clock::Timestamp, policy::dpop::Dpop, secret::Digest};
use std::time::Duration;

/// Proofs that this node remembers. Beyond them the longest forgotten one goes: memory is bounded, whoever signs.
const MOST: u64 = 200_000;
/// Seconds that they are remembered: longer than any of them holds.
const KEPT: u64 = 300 + proof::AHEAD as u64 + 2;
/// What nonces are sealed for.
const NONCE: &str = "dpop-nonce";

/// The proofs that were shown here.
pub struct Proofs(moka::sync::Cache<u128, ()>);

impl Default for Proofs {
    fn default() -> Self {
        let all = moka::sync::Cache::builder()
            .max_capacity(MOST)
            // The usual policy would rather forget the newcomer, and then it could come again.
            .eviction_policy(moka::policy::EvictionPolicy::lru())
            .time_to_live(Duration::from_secs(KEPT));
        Self(all.build())
    }
}

impl Tokens {
    /// A nonce for proofs, good on every node that has our keys; nothing is kept of it.
    pub fn nonce(&self, now: Timestamp) -> String {
        self.seal(NONCE, &now)
    }

    /// Whether a proof's nonce is one of ours that still holds; whether there has to be one is for `rules` to say.
    pub fn nonce_holds(&self, nonce: Option<&str>, rules: Dpop, now: Timestamp) -> bool {
        let Some(nonce) = nonce else { return !rules.nonce };
        let begun = self.unseal_value::<Timestamp>(NONCE, nonce, now);
        begun.is_some_and(|begun| begun.plus(rules.nonce_lifetime) > now)
    }

    /// Whether a proof of possession comes for the first time, on this node.
    pub fn first_seen(&self, proof: Digest) -> bool {
        let (half, _) = proof.0.split_at(16);
        let place = half.iter().fold(0, |place: u128, byte| place << 8 | u128::from(*byte));
        self.proofs.0.entry(place).or_insert(()).is_fresh()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s37_a_proof_is_fresh_once_and_memory_is_bounded() {
        let proofs = Proofs::default();
        let first = |n: u128| proofs.0.entry(n).or_insert(()).is_fresh();
        assert!(first(1) && !first(1) && first(2));
        (3..u128::from(MOST) + 50_000).for_each(|n| assert!(first(n)));
        proofs.0.run_pending_tasks();
        assert!(proofs.0.entry_count() <= MOST);
        assert!(!first(u128::from(MOST) + 40_000), "the newest are kept");
    }
}
