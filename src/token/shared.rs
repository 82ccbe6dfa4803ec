//! What thousands of tokens have in common is kept once.
use super::{place::Placed, revocation::Revocations};
use crate::model::ScopeSet;
use http::HeaderValue;
use std::{
    collections::HashMap,
    hash::{BuildHasher, Hasher, RandomState},
    sync::{Arc, Mutex, PoisonError},
};

/// What is kept at most; beyond it, every token has its own copy.
const MOST: usize = 4096;

/// Which client may do what, and where; with the header values that tell it to upstreams.
#[derive(Debug)]
pub struct Entitlement {
    /// `client_id`.
    pub client: Box<str>,
    /// `aud`: the resource it opens.
    pub audience: Box<str>,
    /// Granted scopes.
    pub scopes: ScopeSet,
    /// The client.
    pub client_value: HeaderValue,
    /// The scopes, space-delimited.
    pub scopes_value: HeaderValue,
    /// The identity provider that brought the subject, by `entityID`; nothing for a user of the configuration.
    pub brought_by: Option<Box<str>>,
    /// The flag that ends the client's tokens.
    pub(super) flag: u32,
}

impl Entitlement {
    /// Whether `resource` is its audience, or one of them.
    pub fn opens(&self, resource: &str) -> bool {
        *self.audience == *resource
            || self.audience.len() > resource.len() && self.audience.split(' ').any(|one| one == resource)
    }

    /// `None` where something in it is malformed.
    fn of([client, audience, scope]: [&str; 3], brought_by: Option<&str>, revocations: &Revocations) -> Option<Self> {
        let scopes = ScopeSet::parse(scope)?;
        Some(Self {
            client_value: HeaderValue::from_str(client).ok()?,
            scopes_value: HeaderValue::try_from(scopes.to_string()).ok()?,
            brought_by: brought_by.map(Into::into),
            flag: revocations.client(client),
            client: client.into(),
            audience: audience.into(),
            scopes,
        })
    }

    fn is_of(&self, [client, audience, scope]: [&str; 3], brought_by: Option<&str>) -> bool {
        *self.client == *client
            && *self.audience == *audience
            && self.scopes_value == scope
            && self.brought_by.as_deref() == brought_by
    }
}

/// Entitlements in use, by a keyed digest of client, audience, `scope` claim and who brought the subject. Locked when a token is opened for the
/// first time, never on a hit.
#[derive(Default)]
pub struct Shared {
    places: RandomState,
    all: Mutex<HashMap<u64, Arc<Entitlement>, Placed>>,
}

impl Shared {
    /// The one of these claims (client, audience, scopes), shared with whoever asked for it before; `None` where it is malformed.
    pub fn entitlement(
        &self,
        claims: [&str; 3],
        brought_by: Option<&str>,
        revocations: &Revocations,
    ) -> Option<Arc<Entitlement>> {
        let mut place = self.places.build_hasher();
        for part in claims.into_iter().chain(brought_by) {
            place.write(part.as_bytes());
            place.write_u8(b'\n');
        }
        let place = place.finish();
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = match all.get(&place) {
            Some(known) if known.is_of(claims, brought_by) => return Some(known.clone()),
            known => known.is_some(),
        };
        let new = Arc::new(Entitlement::of(claims, brought_by, revocations)?);
        if !taken && all.len() < MOST {
            all.insert(place, new.clone());
        }
        Some(new)
    }
}
