//! `portcullis assets`
use super::CLOCK;
use crate::{
    clock::Clock,
    grant::token_exchange::asset,
    metrics::Metrics,
    model::asset::Asset,
    store::Store,
    token::{Tokens, keys::Keys},
};
use clap::Subcommand;
use std::{path::Path, sync::Arc};

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
    },
    /// Everything that is known of one, as JSON.
    Show {
        /// Its identifier.
        id: String,
    },
    /// Remove one; a running gateway refuses its tokens within a second, and it may be registered anew.
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

/// Runs the command; a running gateway sees it with the next request.
pub fn run(config: &Path, command: &Command) -> Result<(), String> {
    let loaded = super::loaded(config)?;
    let store: Arc<dyn Store> = Arc::new(super::store(&loaded)?);
    let keys = Arc::new(Keys::load_or_create(&loaded.settings.data, &CLOCK)?);
    let tokens = Tokens::new(keys, store.clone(), 1 << 20, &Metrics::new());
    let now = CLOCK.now();
    let work = async {
        let found = match command {
            Command::List { client, user } => {
                let all = asset::all(&*store, now).await?;
                let wanted = |asked: &Option<String>, is: &str| asked.as_deref().is_none_or(|a| a == is);
                all.iter().filter(|a| wanted(client, &a.client) && wanted(user, &a.user)).for_each(line);
                return Ok(None);
            }
            Command::Show { id } => asset::find(id, &*store, now).await?,
            Command::Remove { id } => asset::remove(id, &tokens, &*store, now).await?,
            Command::Block { id } => asset::block(id, true, &tokens, &*store, now).await?,
            Command::Unblock { id } => asset::block(id, false, &tokens, &*store, now).await?,
        };
        let (Command::Show { id } | Command::Remove { id } | Command::Block { id } | Command::Unblock { id }) = command
        else {
            return Ok(None);
        };
        Ok(Some(found.ok_or_else(|| format!("there is no asset {id}"))))
    };
    let outcome = super::block_on(work)?.map_err(|e: crate::store::StoreError| e.to_string())?;
    match (outcome.transpose()?, command) {
        (Some(asset), Command::Show { .. }) => {
            println!("{}", serde_json::to_string_pretty(&asset).map_err(|e| e.to_string())?);
        }
        (Some(asset), _) => line(&asset),
        (None, _) => {}
    }
    Ok(())
}

fn line(asset: &Asset) {
    let shown = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let state = if asset.blocked { " (blocked)" } else { "" };
    let (name, serial) = (shown(&asset.data.name), shown(&asset.data.serial_number));
    println!("{}{state}: app {}; user {}; {name}; serial number {serial}", asset.id, asset.client, asset.user);
}
