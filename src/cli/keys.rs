//! `portcullis keys`
use super::CLOCK;
use crate::{
    clock::Clock,
    secret,
    token::keys::{Keyring, Rotation},
};
use clap::Subcommand;
use std::path::Path;

/// Signing and sealing keys.
#[derive(Subcommand)]
pub enum Command {
    /// One line a generation: identifier, creation, state.
    List,
    /// Make a new generation, which every running node takes up. The old ones go on opening for seven days.
    Rotate {
        /// Publish it now, and use it only after so many seconds: longer than verifiers keep our key set.
        #[arg(long, default_value_t = 3600, value_name = "SECONDS", conflicts_with = "emergency")]
        publish_before: i64,
        /// A key has leaked: use the new ones now, and end every token of every other key at once.
        #[arg(long)]
        emergency: bool,
    },
    /// Print a fresh key-encryption key for [keys].
    NewEncryptionKey,
    /// Seal the keys in the store with the current key-encryption key; the previous one is then needed no longer.
    Rewrap,
}

/// Runs the command.
pub fn run(config: &Path, command: &Command) -> Result<(), String> {
    if matches!(command, Command::NewEncryptionKey) {
        println!("{}", secret::random_token());
        return Ok(());
    }
    let loaded = super::loaded(config)?;
    let ring = ring(&loaded)?;
    let now = CLOCK.now();
    super::block_on(async {
        let keys = ring.keys(now).await?;
        match command {
            Command::List => keys.list(now).iter().for_each(|line| println!("{line}")),
            Command::Rotate { emergency: true, .. } => println!("{}", ring.rotate(Rotation::Emergency, now).await?),
            Command::Rotate { publish_before, .. } => {
                println!("{}", ring.rotate(Rotation::Planned(*publish_before), now).await?);
            }
            Command::Rewrap => ring.rewrap(now).await?,
            Command::NewEncryptionKey => {}
        }
        Ok(())
    })?
}

/// Where the configuration keeps keys.
pub fn ring(loaded: &crate::config::Loaded) -> Result<Keyring, String> {
    let data = &loaded.settings.data;
    let store = super::store(loaded)?;
    Keyring::of(loaded.settings.keys.as_ref(), data, &store)
}
