//! `portcullis registrations`
use super::desk::{self, when};
use clap::Subcommand;
use std::path::Path;

/// Apps that register themselves (RFC 7591), as far as the configuration lets them.
#[derive(Subcommand)]
pub enum Command {
    /// Make an initial access token, which lets apps register; it is shown this once.
    NewToken {
        /// Registrations that it lets through.
        #[arg(long, default_value_t = 1)]
        uses: u32,
        /// Seconds until it expires.
        #[arg(long, default_value_t = 86_400)]
        lifetime: i64,
        /// For what, for whoever comes after.
        #[arg(long)]
        note: Option<String>,
    },
    /// One line an initial access token that is good for something.
    Tokens {
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Take an initial access token back; apps that it let in stay.
    WithdrawToken {
        /// Its identifier, as the list tells it.
        id: String,
    },
    /// Remove an app that registered itself, and all that users gave it.
    Remove {
        /// The app's `client_id`.
        client: String,
    },
}

/// Runs the command.
pub fn run(config: &Path, command: Command) -> Result<(), String> {
    match command {
        Command::NewToken { uses, lifetime, note } => {
            let made = desk::at(config, async |o| o.new_initial_token(uses, lifetime, note.as_deref()).await)?;
            println!("initial access token, shown this once: {}", made.token);
            println!("good for {uses} registrations until {}", when(Some(made.expires)));
            Ok(())
        }
        Command::Tokens { json } => {
            let all = desk::at(config, async |o| o.initial_tokens().await)?;
            desk::print(&all, json, |t| {
                let note = t.note.as_ref().map(|n| format!(": {n}")).unwrap_or_default();
                format!("{}: {} left until {}, by {}{note}", t.id, t.left, when(t.expires), t.by)
            })
        }
        Command::WithdrawToken { id } => desk::at(config, async |o| o.withdraw_initial_token(&id).await),
        Command::Remove { client } => {
            let ended = desk::at(config, async |o| o.remove_app(&client).await)?;
            println!("{client} is gone, and {ended} authorizations with it");
            Ok(())
        }
    }
}
