//! The immutable snapshot that one request sees from its first line to its last.
pub mod client_certificate;
pub mod diff;
pub mod dpop;
pub mod in_force;
pub mod own_paths;
pub mod people;
pub mod registration;
pub mod route;
pub mod salesforce;
pub mod saml;
pub mod standing;

use crate::{
    issuer::Trusted,
    model::{Client, Ranges, User},
};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// Everything that a reload may change.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// The issuer identifier: an https URL without trailing slash (RFC 8414 §2).
    pub issuer: Arc<str>,
    /// Connected apps by `client_id`.
    pub clients: HashMap<Arc<str>, Arc<Client>>,
    /// Local users by name.
    pub users: HashMap<Arc<str>, Arc<User>>,
    /// The password hashes of those users, in a fixed order; names that nobody has are checked against them.
    pub passwords: Arc<[Arc<str>]>,
    /// Profiles whose people may come from certain addresses alone.
    pub profiles: HashMap<String, Ranges>,
    /// Names that the administrator blocked while it runs; nobody may act under them, whoever knows them.
    pub barred: Arc<HashSet<Arc<str>>>,
    /// What the gate proxies.
    pub routes: route::Table,
    /// What concerns people.
    pub people: people::People,
    /// Whom we trust in SAML.
    pub saml: saml::Saml,
    /// Other authorization servers, whose tokens routes may accept.
    pub issuers: Trusted,
    /// The second wire shape, where it is on.
    pub salesforce: Option<Arc<salesforce::Salesforce>>,
    /// Where clients are asked for certificates.
    pub client_certificates: Arc<client_certificate::ClientCertificates>,
    /// How proofs of possession are judged.
    pub dpop: dpop::Dpop,
    /// What apps that register themselves may have; none can without.
    pub registration: Option<Arc<registration::Registration>>,
    /// Which of the apps registered themselves.
    pub registered: Arc<HashSet<Arc<str>>>,
    /// Digest of what it was built from: equal digests, equal policies.
    pub revision: String,
}

impl Policy {
    /// Whether tokens for `subject` open nothing: it is switched off in the configuration, or blocked.
    pub fn has_ended(&self, subject: &str) -> bool {
        self.users.get(subject).is_some_and(|user| !user.active) || self.is_barred(subject)
    }

    fn is_barred(&self, subject: &str) -> bool {
        !self.barred.is_empty() && self.barred.contains(subject)
    }

    /// Whether anybody may have registered the app `client`: nobody vouches for its addresses, so no browser is sent there
    /// before a person has been asked (RFC 9700 §4.11.2).
    pub fn is_anybodys(&self, client: &str) -> bool {
        self.registration.as_ref().is_some_and(|rules| rules.open) && self.registered.contains(client)
    }
}

/// The snapshot in force; replaced whole.
pub type SharedPolicy = Arc<arc_swap::ArcSwap<Policy>>;
