//! `portcullis approvals`
use super::desk::{self, PAGE, when};
use clap::Subcommand;
use std::path::Path;

/// Recorded approvals.
#[derive(Subcommand)]
pub enum Command {
    /// One line an approval of an app.
    List {
        /// The app's `client_id`.
        client: String,
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Record that a user approved an app.
    Grant {
        /// The app's `client_id`.
        client: String,
        /// The user.
        user: String,
        /// For these scopes, space-delimited; for all that the app may have without.
        #[arg(long)]
        scopes: Option<String>,
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
pub fn run(config: &Path, command: Command) -> Result<(), String> {
    match command {
        Command::List { client, json } => {
            let page = async |after: &str, o: &crate::admin::Office| o.approvals(&client, after, PAGE).await;
            let all = desk::at(config, async |o| desk::all(async |after| page(after, o).await).await)?;
            desk::print(&all, json, |a| {
                let scopes = a.scopes.as_ref().map_or_else(|| "all of the app's".to_owned(), |s| s.join(" "));
                format!("{}: scopes {scopes}; since {}", a.username, when(Some(a.given)))
            })
        }
        Command::Grant { client, user, scopes } => {
            desk::at(config, async |o| o.approve(&client, &user, scopes.as_deref()).await)
        }
        Command::Revoke { client, user } => {
            let was = desk::at(config, async |o| o.withdraw(&client, &user).await)?;
            if !was {
                println!("{user} had not approved {client}");
            }
            Ok(())
        }
    }
}
