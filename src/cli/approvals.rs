//! `portcullis approvals`
use super::CLOCK;
use crate::{
    clock::Clock,
    grant::{Consent, approval_key},
    store::{Change, Changes, Expect, Store},
};
use clap::Subcommand;
use std::path::Path;

/// Recorded approvals.
#[derive(Subcommand)]
pub enum Command {
    /// Record that a user approved an app.
    Grant {
        /// The app's `client_id`.
        client: String,
        /// The user.
        user: String,
    },
    /// Take an approval back: no new token is issued from it.
    Revoke {
        /// The app's `client_id`.
        client: String,
        /// The user.
        user: String,
    },
}

/// Runs the command; a running gateway sees it with the next request.
pub fn run(config: &Path, command: &Command) -> Result<(), String> {
    let loaded = super::loaded(config)?;
    let (Command::Grant { client, user } | Command::Revoke { client, user }) = command;
    if !loaded.policy.clients.contains_key(client.as_str()) {
        return Err(format!("there is no app {client}"));
    }
    if !loaded.policy.users.contains_key(user.as_str()) {
        return Err(format!("there is no user {user}"));
    }
    let key = approval_key(client, user);
    let change = match command {
        Command::Grant { .. } => Consent { scopes: None, given: CLOCK.now() }.record(client, user),
        Command::Revoke { .. } => Change::Delete(key, Expect::Any),
    };
    let store = super::store(&loaded)?;
    super::block_on(store.commit(Changes(vec![change]), CLOCK.now()))?.map_err(|e| e.to_string())
}
