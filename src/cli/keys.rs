//! `portcullis keys`
use super::CLOCK;
use crate::token::keys::Keys;
use clap::Subcommand;
use std::path::Path;

/// Signing and sealing keys.
#[derive(Subcommand)]
pub enum Command {
    /// One line a generation: identifier, creation, state.
    List,
    /// Make a new generation; a running gateway takes it up, and the old ones go on opening for seven days.
    Rotate,
}

/// Runs the command.
pub fn run(config: &Path, command: &Command) -> Result<(), String> {
    let data = super::loaded(config)?.settings.data;
    std::fs::create_dir_all(&data).map_err(|e| format!("{}: {e}", data.display()))?;
    let keys = Keys::load_or_create(&data, &CLOCK)?;
    match command {
        Command::List => keys.list().iter().for_each(|line| println!("{line}")),
        Command::Rotate => println!("{}", Keys::rotate(&data, &CLOCK)?),
    }
    Ok(())
}
