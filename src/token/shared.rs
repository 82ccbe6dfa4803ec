//! Text that thousands of tokens have in common is kept once.
use crate::model::ScopeSet;
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

/// What is kept at most; beyond it, every token has its own copy.
const MOST: usize = 4096;

/// Texts and scope sets in use. Locked when a token is opened for the first time, never on a hit.
#[derive(Default)]
pub struct Shared {
    texts: Mutex<HashSet<Arc<str>>>,
    scopes: Mutex<HashMap<Box<str>, Arc<ScopeSet>>>,
}

impl Shared {
    /// `text`, shared with whoever asked for it before.
    pub fn text(&self, text: &str) -> Arc<str> {
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = texts.get(text) {
            return known.clone();
        }
        let new: Arc<str> = text.into();
        if texts.len() < MOST {
            texts.insert(new.clone());
        }
        new
    }

    /// The scopes of a `scope` claim; `None` where it is malformed.
    pub fn scopes(&self, text: &str) -> Option<Arc<ScopeSet>> {
        let mut scopes = self.scopes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = scopes.get(text) {
            return Some(known.clone());
        }
        let new = Arc::new(ScopeSet::parse(text)?);
        if scopes.len() < MOST {
            scopes.insert(text.into(), new.clone());
        }
        Some(new)
    }
}
