//! `portcullis apps`
use crate::secret::{self, Digest};
use clap::Subcommand;
use std::path::Path;

/// Connected apps.
#[derive(Subcommand)]
pub enum Command {
    /// One line an app.
    List,
    /// Make a client secret of 256 bits: the app gets the secret, its file gets the digest.
    NewSecret,
    /// Make a security token, which a user types behind the password where no browser takes part.
    NewSecurityToken,
}

/// Runs the command.
pub fn run(config: &Path, command: &Command) -> Result<(), String> {
    match command {
        Command::List => {
            let policy = super::loaded(config)?.policy;
            let mut clients: Vec<_> = policy.clients.values().collect();
            clients.sort_by(|a, b| a.id.cmp(&b.id));
            for client in clients {
                let state = if client.blocked { " (blocked)" } else { "" };
                println!("{}{state}: {}; scopes {}; {}", client.id, client.name, client.scopes, client.audience);
            }
        }
        Command::NewSecurityToken => {
            let token = secret::random_security_token();
            println!("security token, shown this once: {token}");
            println!(
                "for the user's table:            security_token = \"sha256:{}\"",
                Digest::of(token.as_bytes()).hex()
            );
        }
        Command::NewSecret => {
            let secret = secret::random_token();
            println!("secret, shown this once: {secret}");
            println!("for the app's file:      secrets = [\"sha256:{}\"]", Digest::of(secret.as_bytes()).hex());
        }
    }
    Ok(())
}
