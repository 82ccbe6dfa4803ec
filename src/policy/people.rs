//! What concerns people: their sessions, guesses, pages, and where browsers sign in at the gate.
use crate::model::session::Lifetime;
use std::collections::BTreeMap;

/// Part of a policy.
#[derive(Clone, Debug, Default)]
pub struct People {
    /// How long sign-on sessions last.
    pub session: Lifetime,
    /// Guessing.
    pub limits: Limits,
    /// How pages look.
    pub brand: Brand,
    /// Scope → language → what it allows, in plain words.
    pub scopes: BTreeMap<String, BTreeMap<String, String>>,
    /// Authority (`host` or `host:port`) → the app that its browsers sign in to.
    pub sign_in: BTreeMap<String, String>,
}

/// How many wrong guesses within how many seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For one account.
    pub account: u32,
    /// For one address.
    pub address: u32,
    /// Seconds.
    pub window: i64,
    /// Passwords hashed at one time.
    pub hashes: usize,
}

/// How pages look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brand {
    /// The operator's name.
    pub name: String,
    /// Media type and bytes.
    pub logo: Option<(&'static str, Vec<u8>)>,
    /// Colour of buttons and links.
    pub colour: String,
    /// The same on a dark page.
    pub colour_dark: String,
}

impl Default for Lifetime {
    fn default() -> Self {
        Self { idle: 8 * 3600, absolute: 24 * 3600 }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { account: 10, address: 50, window: 300, hashes: 4 }
    }
}

impl Default for Brand {
    fn default() -> Self {
        let text = |t: &str| t.to_owned();
        Self { name: text("Portcullis"), logo: None, colour: text("#1d4ed8"), colour_dark: text("#8ab4ff") }
    }
}
