//! `[store]`: where everything is kept that must outlive the process.
use super::mistake::Findings;
use crate::{
    secret::reference::Reference,
    store::{Backend, postgres::Database},
    token::keys::wrapping::Places,
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::time::Duration;

/// The place of what must outlive the process: a file of the data folder, or a database that several nodes share.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StoreTable {
    /// PostgreSQL, or what speaks its protocol: `host=… dbname=… user=…` or a `postgresql://` URL, without password.
    /// Several hosts may be named; the one that takes writes is used. Without: SQLite in the data folder, one node.
    postgres: Option<String>,
    /// File that holds the database's password, read at every connection; relative to this file.
    password_file: Option<String>,
    /// Environment variable that holds it.
    password_env: Option<String>,
    /// Program and arguments that print it.
    password_command: Option<Vec<String>>,
    /// PEM of the authorities that the database's certificate must come from; needed unless it is on this machine.
    ca_file: Option<String>,
    /// PEM of our certificate chain, where the database wants one.
    client_chain_file: Option<String>,
    /// PEM of its key.
    client_key_file: Option<String>,
    /// Connections of this node; one more listens for what other nodes announce.
    connections: usize,
    /// Milliseconds that a request waits for the database before it is answered with 503.
    timeout_ms: u64,
    /// Seconds that the gate goes on without hearing of revocations; then it answers 503 until it hears again.
    stale_after: u64,
}

/// The key-encryption key that seals our keys in the store; without, they are files of the data folder (0600).
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeysTable {
    /// File that holds 256 bits in base64url: `portcullis keys new-encryption-key`. Relative to this file.
    encryption_key_file: Option<String>,
    /// Environment variable that holds it.
    encryption_key_env: Option<String>,
    /// Program and arguments that print it, such as a client of a key management service.
    encryption_key_command: Option<Vec<String>>,
    /// File with the one before it, until `portcullis keys rewrap` has been run.
    previous_encryption_key_file: Option<String>,
    /// Environment variable with the one before it.
    previous_encryption_key_env: Option<String>,
    /// Program and arguments that print the one before it.
    previous_encryption_key_command: Option<Vec<String>>,
}

/// Validates `[keys]`; mistakes go to `found`.
pub fn keys(raw: KeysTable, found: &mut Findings<'_>) -> Option<Places> {
    let (file, env) = (raw.encryption_key_file, raw.encryption_key_env);
    let current = reference(found, "encryption_key", [file, env], raw.encryption_key_command);
    let (file, env) = (raw.previous_encryption_key_file, raw.previous_encryption_key_env);
    let previous = reference(found, "previous_encryption_key", [file, env], raw.previous_encryption_key_command);
    let Some(current) = current else {
        if previous.is_some() {
            found.wrong("keys", "a previous key-encryption key stands beside the current one");
        }
        return None;
    };
    // A command may cost something or be allowed to nobody but the gateway: it is run when the gateway starts.
    for place in [Some(&current), previous.as_ref()].into_iter().flatten().filter(|p| matches!(p, Reference::File(_))) {
        if let Err(why) = place.read() {
            found.wrong("encryption_key_file", why);
        }
    }
    Some(Places { current, previous })
}

impl Default for StoreTable {
    fn default() -> Self {
        Self {
            postgres: None,
            password_file: None,
            password_env: None,
            password_command: None,
            ca_file: None,
            client_chain_file: None,
            client_key_file: None,
            connections: 6,
            timeout_ms: 1500,
            stale_after: 30,
        }
    }
}

/// The secret that one of `key_file`, `key_env`, `key_command` names; more than one is a mistake.
pub(super) fn reference(
    found: &mut Findings<'_>,
    key: &str,
    [file, env]: [Option<String>; 2],
    command: Option<Vec<String>>,
) -> Option<Reference> {
    let file = file.map(|file| Reference::File(found.folder().join(file)));
    let mut all: Vec<Reference> =
        file.into_iter().chain(env.map(Reference::Env)).chain(command.map(Reference::Command)).collect();
    if all.len() > 1 {
        found.wrong(&format!("{key}_file"), format!("one of {key}_file, {key}_env and {key}_command, not several"));
    }
    if matches!(all.first(), Some(Reference::Command(words)) if words.is_empty()) {
        found.wrong(&format!("{key}_command"), "a program and its arguments");
    }
    all.pop()
}

/// Validates the table; mistakes go to `found`.
pub fn read(raw: StoreTable, found: &mut Findings<'_>) -> Backend {
    let sources = [raw.password_file, raw.password_env];
    let password = reference(found, "password", sources, raw.password_command);
    let file = |name: String| found.folder().join(name);
    let authorities = raw.ca_file.map(file);
    let identity = match (raw.client_chain_file.map(file), raw.client_key_file.map(file)) {
        (Some(chain), Some(key)) => Some((chain, key)),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            found.wrong("client_chain_file", "stands beside client_key_file, or both are left out");
            None
        }
    };
    if !(2..=100).contains(&raw.connections) {
        found.wrong("connections", "between 2 and 100");
    }
    if !(100..=10_000).contains(&raw.timeout_ms) {
        found.wrong("timeout_ms", "between 100 and 10000");
    }
    if !(1..=3600).contains(&raw.stale_after) {
        found.wrong("stale_after", "between 1 and 3600 seconds");
    }
    let Some(address) = raw.postgres else {
        if password.is_some() || authorities.is_some() || identity.is_some() {
            found.wrong("postgres", "needed beside password, ca_file and client_chain_file");
        }
        return Backend::Sqlite;
    };
    let database = Database {
        address,
        password,
        authorities,
        identity,
        connections: raw.connections,
        timeout: Duration::from_millis(raw.timeout_ms),
    };
    for (key, why) in database.mistakes() {
        found.wrong(key, why);
    }
    Backend::Postgres { database, stale_after: Duration::from_secs(raw.stale_after) }
}
