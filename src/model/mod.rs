//! Nouns that several flows share.
pub mod client;
pub mod scope;

pub use client::{Approval, AuthMethod, Client, TokenFormat, User};
pub use scope::ScopeSet;
