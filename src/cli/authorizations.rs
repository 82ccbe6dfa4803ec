//! `portcullis authorizations`
use super::desk::{self, PAGE, when};
use clap::Subcommand;
use std::path::Path;

/// Authorizations that live: this app may act for this user.
#[derive(Subcommand)]
pub enum Command {
    /// One line an authorization.
    List {
        /// Only of this app.
        #[arg(long)]
        client: Option<String>,
        /// Only of this user.
        #[arg(long)]
        user: Option<String>,
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// End one, and every token issued from it.
    Revoke {
        /// Its identifier, as the list tells it.
        id: String,
    },
}

/// Runs the command.
pub fn run(config: &Path, command: Command) -> Result<(), String> {
    match command {
        Command::List { client, user, json } => {
            let of = (client.as_deref(), user.as_deref());
            let page = async |after: &str, o: &crate::admin::Office| o.authorizations(of, after, PAGE).await;
            let all = desk::at(config, async |o| desk::all(async |after| page(after, o).await).await)?;
            desk::print(&all, json, |a| {
                let kind = if a.renewable { "renewable" } else { "ends with its token" };
                format!(
                    "{}: {} for {}; scopes {}; since {}, renewed {}, used {}; {kind}",
                    a.id,
                    a.client_id,
                    a.username,
                    a.scopes.join(" "),
                    when(Some(a.created)),
                    when(Some(a.renewed)),
                    when(a.last_used)
                )
            })
        }
        Command::Revoke { id } => {
            desk::at(config, async |o| o.revoke(&id).await)?;
            println!("{id} ended, and every token issued from it");
            Ok(())
        }
    }
}
