//! What thousands of tokens have in common is kept once.
use crate::model::ScopeSet;
use http::HeaderValue;
use std::{
    collections::HashMap,
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
}

impl Entitlement {
    /// `None` where something in it is malformed.
    fn of(client: &str, audience: &str, scope: &str) -> Option<Self> {
        let scopes = ScopeSet::parse(scope)?;
        Some(Self {
            client_value: HeaderValue::from_str(client).ok()?,
            scopes_value: HeaderValue::try_from(scopes.to_string()).ok()?,
            client: client.into(),
            audience: audience.into(),
            scopes,
        })
    }
}

/// Entitlements in use, by client, audience and `scope` claim. Locked when a token is opened for the first time, never
/// on a hit.
#[derive(Default)]
pub struct Shared(Mutex<HashMap<String, Arc<Entitlement>>>);

impl Shared {
    /// The one of these claims, shared with whoever asked for it before; `None` where it is malformed.
    pub fn entitlement(&self, client: &str, audience: &str, scope: &str) -> Option<Arc<Entitlement>> {
        // No scope and no client identifier holds a line feed.
        let key = [scope, "\n", client, "\n", audience].concat();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(&key) {
            return Some(known.clone());
        }
        let new = Arc::new(Entitlement::of(client, audience, scope)?);
        if all.len() < MOST {
            all.insert(key, new.clone());
        }
        Some(new)
    }
}
