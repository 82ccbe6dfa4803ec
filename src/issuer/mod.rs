//! Authorization servers of others, whose access tokens routes may accept: what is believed of them ([`claims`]), and
//! with which keys ([`source`]).
pub mod claims;
pub mod discovery;
pub mod keys;
pub mod source;

use crate::outgoing::Reach;
use claims::Rules;
use discovery::Document;
use http::HeaderValue;
use keys::{Key, KeySet};
use source::Source;
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, OnceLock},
};

/// Where an issuer's keys come from.
#[derive(Clone, Debug)]
pub enum Place {
    /// From where its own metadata says.
    Discovery(Document),
    /// From a URL.
    Url(String),
    /// From a file, read with the configuration.
    File(Arc<KeySet>),
}

/// How often its keys are asked for, and how long they are good for; milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Between two fetches when nothing is missing: the longest that a key which was taken back is still believed.
    pub refresh: u64,
    /// Between two fetches for the sake of a key that is not known.
    pub unknown: u64,
    /// After so long without an answer nothing is decided any more.
    pub longest: u64,
}

/// An issuer, and what we let it say.
#[derive(Debug)]
pub struct Issuer {
    /// Its name here: in routes, logs and metrics, and before the names of its clients.
    pub name: Arc<str>,
    /// `iss`, exactly.
    pub url: Arc<str>,
    /// The same for the header.
    pub url_value: HeaderValue,
    /// Of everything that the configuration says of it: what was opened under another one is opened anew.
    pub revision: u128,
    /// Where its keys come from.
    pub place: Place,
    /// How far the way there may lead.
    pub reach: Reach,
    /// When they are asked for.
    pub timing: Timing,
    /// Whether the node is not ready before its keys are known.
    pub needed: bool,
    /// What its tokens must say, and what becomes of it.
    pub rules: Rules,
    /// Tells its keys from those of every other place.
    pub identity: String,
    /// Its keys, found once.
    pub source: OnceLock<Arc<Source>>,
}

impl Issuer {
    /// Whether `other` is this very issuer with the very same rules.
    pub fn is_same(&self, other: &Self) -> bool {
        std::ptr::eq(self, other) || self.revision == other.revision && self.name == other.name
    }
}

/// All issuers of a policy.
#[derive(Clone, Debug, Default)]
pub struct Trusted {
    by_name: HashMap<Arc<str>, Arc<Issuer>>,
    /// Files that they were read from.
    pub files: Vec<PathBuf>,
}

impl Trusted {
    /// Takes up an issuer.
    pub fn add(&mut self, issuer: Arc<Issuer>) {
        self.by_name.insert(issuer.name.clone(), issuer);
    }

    /// The one with this name.
    pub fn named(&self, name: &str) -> Option<&Arc<Issuer>> {
        self.by_name.get(name)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Issuer>> {
        self.by_name.values()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Whether what was opened for `issuer` may be believed still.
    pub fn holds(&self, issuer: &Issuer) -> bool {
        self.by_name.get(&issuer.name).is_some_and(|known| known.is_same(issuer))
    }

    /// Whether `name` is one that only the tokens of an issuer may carry, as a subject or as a client: nobody of ours is
    /// called so.
    pub fn owns(&self, name: &str) -> bool {
        self.by_name.values().any(|issuer| issuer.rules.owns(&issuer.name, name))
    }
}

/// Whose tokens a route accepts.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// Ours too.
    pub own: bool,
    /// Those of these.
    pub issuers: Vec<Arc<Issuer>>,
}

impl Accepted {
    /// Whether what was opened for `issuer` is accepted, by the rules in force.
    pub fn holds(&self, issuer: &Issuer) -> bool {
        self.issuers.iter().any(|known| known.is_same(issuer))
    }

    /// The issuer that calls itself `iss`.
    pub fn by_url(&self, iss: &str) -> Option<&Arc<Issuer>> {
        self.issuers.iter().find(|issuer| *issuer.url == *iss)
    }
}

/// Whose token was opened, and by which key.
#[derive(Clone, Debug)]
pub struct Foreign {
    /// The issuer, with the rules it was judged by.
    pub issuer: Arc<Issuer>,
    /// The key that verified it.
    pub key: Arc<Key>,
    /// Where that came from.
    pub source: Arc<Source>,
}

impl Foreign {
    /// Whether its issuer still publishes the key.
    pub fn is_signed_still(&self) -> bool {
        !self.key.is_gone()
    }

    /// Whether its issuer has been heard of recently enough.
    pub fn is_heard_of(&self) -> bool {
        self.source.holds(&self.issuer)
    }
}
