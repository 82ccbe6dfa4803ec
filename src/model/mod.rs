//! Nouns that several flows share.
pub mod client;
pub mod scope;
pub mod verification_key;

pub use client::{Approval, AuthMethod, Client, SigningAlgorithm, TokenFormat, User};
pub use scope::ScopeSet;
pub use verification_key::VerificationKey;
