//! `portcullis assets`
use super::desk::{self, PAGE, when};
use crate::admin::{Office, asset::Registered};
use clap::Subcommand;
use std::path::Path;

/// Devices that people registered with asset tokens.
#[derive(Subcommand)]
pub enum Command {
    /// One line an asset: identifier, app, user, name, serial number.
    List {
        /// Only those of this app.
        #[arg(long)]
        client: Option<String>,
        /// Only those of this user.
        #[arg(long)]
        user: Option<String>,
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Everything that is known of one, as JSON.
    Show {
        /// Its identifier.
        id: String,
    },
    /// Remove one; a running gateway refuses its tokens, and it may be registered anew.
    Remove {
        /// Its identifier.
        id: String,
    },
    /// Block one: it gets no token, and those that it has open nothing.
    Block {
        /// Its identifier.
        id: String,
    },
    /// Let a blocked one get tokens again.
    Unblock {
        /// Its identifier.
        id: String,
    },
}

/// Runs the command; a running gateway hears of it by the feed.
pub fn run(config: &Path, command: Command) -> Result<(), String> {
    match command {
        Command::List { client, user, json } => {
            let of = (client.as_deref(), user.as_deref());
            let page = async |after: &str, o: &Office| o.assets(of, after, PAGE).await;
            let all = desk::at(config, async |o| desk::all(async |after| page(after, o).await).await)?;
            desk::print(&all, json, line)
        }
        Command::Show { id } => {
            let asset = desk::at(config, async |o| o.asset(&id).await)?;
            println!("{}", serde_json::to_string_pretty(&asset).map_err(|e| e.to_string())?);
            Ok(())
        }
        Command::Remove { id } => {
            desk::at(config, async |o| o.remove_asset(&id).await)?;
            println!("{id} removed, and its tokens ended");
            Ok(())
        }
        Command::Block { id } => {
            let done = desk::at(config, async |o| o.block_asset(&id, true).await)?;
            println!("{id} {}", if done { "blocked, and its tokens ended" } else { "was blocked already" });
            Ok(())
        }
        Command::Unblock { id } => {
            let done = desk::at(config, async |o| o.block_asset(&id, false).await)?;
            println!("{id} {}", if done { "may get tokens again" } else { "was not blocked" });
            Ok(())
        }
    }
}

fn line(asset: &Registered) -> String {
    let shown = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let state = if asset.blocked { " (blocked)" } else { "" };
    format!(
        "{}{state}: {}, serial number {}; {} of {}; registered {}, seen {}",
        asset.id,
        shown(&asset.name),
        shown(&asset.serial_number),
        asset.client_id,
        asset.username,
        when(Some(asset.registered)),
        when(Some(asset.seen))
    )
}
