//! `portcullis store`
use super::CLOCK;
use crate::{clock::Clock, store::transfer};
use clap::Subcommand;
use std::{
    fs::{File, OpenOptions},
    io::{BufReader, BufWriter},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// What must outlive the process.
#[derive(Subcommand)]
pub enum Command {
    /// Make the tables, or bring them up to date; a gateway that starts does the same.
    Migrate,
    /// Read every record, compare it with its digest, and count the kinds.
    Check,
    /// Write every live record to a new file (0600). Stop the gateway first where the file is to replace the store.
    Export {
        /// The file.
        file: PathBuf,
    },
    /// Write the records of an exported file to the store that the configuration names. May be repeated.
    Import {
        /// The file.
        file: PathBuf,
    },
}

/// Runs the command.
pub fn run(config: &Path, command: &Command) -> Result<(), String> {
    let loaded = super::loaded(config)?;
    let store = super::store(&loaded)?;
    let now = CLOCK.now();
    let open = |file: &Path, options: &OpenOptions| -> Result<File, String> {
        options.open(file).map_err(|e| format!("{}: {e}", file.display()))
    };
    super::block_on(async {
        match command {
            Command::Migrate => println!("the tables are up to date"),
            Command::Check => {
                let kinds = transfer::kinds(&*store, now).await.map_err(|e| e.to_string())?;
                kinds.iter().for_each(|(kind, count)| println!("{kind}: {count}"));
                println!("good: {} records", kinds.values().sum::<usize>());
            }
            Command::Export { file } => {
                let mut to = BufWriter::new(open(file, OpenOptions::new().write(true).create_new(true).mode(0o600))?);
                let count = transfer::export(&*store, &mut to, now).await.map_err(|e| e.to_string())?;
                to.get_ref().sync_all().map_err(|e| e.to_string())?;
                println!("{count} records");
            }
            Command::Import { file } => {
                let mut from = BufReader::new(open(file, OpenOptions::new().read(true))?);
                let new = transfer::import(&*store, &mut from, now).await;
                println!("{} records", new.map_err(|e| format!("{}: {e}", file.display()))?);
            }
        }
        Ok(())
    })?
}
