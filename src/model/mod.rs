//! Nouns that several flows share.
pub mod actor;
pub mod asset;
pub mod authorization;
pub mod client;
pub mod client_certificate;
pub mod confirmation;
pub mod exchange;
pub mod network;
pub mod policies;
pub mod registered;
pub mod scope;
pub mod session;
pub mod user;
pub mod verification_key;
pub mod wire;

pub use actor::{Actor, MayAct};
pub use authorization::Authorization;
pub use client::{
    Approval, AuthMethod, Client, Interactive, RefreshPolicy, SalesforceRules, SigningAlgorithm, TokenFormat,
};
pub use client_certificate::{CertificateName, ClientCertificate};
pub use confirmation::{Confirmation, PublicJwk};
pub use exchange::Exchange;
pub use network::{Network, Ranges, Relaxation};
pub use policies::{Attribute, IdTokenRules, Policies, SecretRules};
pub use scope::ScopeSet;
pub use session::{Level, NameId, Session};
pub use user::{Profile, User};
pub use verification_key::VerificationKey;
pub use wire::Wire;
