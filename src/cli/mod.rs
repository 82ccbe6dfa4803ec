//! The command line: one file a command.
mod acts;
mod approvals;
mod apps;
mod assets;
mod authorizations;
mod check;
mod demo;
mod desk;
mod first_start;
mod hash_password;
mod keys;
mod proof;
mod registrations;
mod run;
mod saml;
mod store;
mod token;
mod users;

use crate::{
    clock::{Clock, SystemClock},
    config::{Loaded, load},
    store::Store,
};
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

/// The identity provider and the gate, in one program at the edge.
///
/// Portcullis terminates TLS, issues tokens to connected apps, and lets a request through to an upstream only when
/// its token carries what the route asks for. Start with `portcullis run`, or watch `portcullis demo`.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    /// The main configuration file; apps/ and users.toml are read beside it.
    #[arg(long, short, global = true, env = "PORTCULLIS_CONFIG", default_value = "conf/portcullis.toml")]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve. SIGHUP reloads the policy, SIGTERM drains and ends, SIGUSR2 starts the program anew and hands it the
    /// listeners.
    Run {
        /// Wait for the listeners of the process that serves now; it hands them over at SIGQUIT.
        #[arg(long)]
        upgrade: bool,
    },
    /// Name every mistake of the configuration, each with file, line and key.
    Check,
    /// Play the whole tour on ports of its own: token, call, policy change, revocation.
    Demo,
    /// Print the JSON Schema of a configuration file, for editors.
    Schema {
        /// Which file.
        file: SchemaOf,
    },
    /// Read a password from standard input and print its argon2id hash for users.toml.
    HashPassword,
    /// Signing and sealing keys.
    #[command(subcommand)]
    Keys(keys::Command),
    /// Tokens: what one says, ending one, an assertion to get one.
    #[command(subcommand)]
    Token(token::Command),
    /// Connected apps: what they may do, who used them, blocking and revoking.
    #[command(subcommand)]
    Apps(apps::Command),
    /// Users: who they are, which apps they used, blocking and revoking.
    #[command(subcommand)]
    Users(users::Command),
    /// Apps that register themselves: initial access tokens, and removing one.
    #[command(subcommand)]
    Registrations(registrations::Command),
    /// Authorizations that live, and ending one.
    #[command(subcommand)]
    Authorizations(authorizations::Command),
    /// Devices that people registered with asset tokens.
    #[command(subcommand)]
    Assets(assets::Command),
    /// SAML messages: what is wrong with one.
    #[command(subcommand)]
    Saml(saml::Command),
    /// Recorded approvals of users for self-authorised apps.
    #[command(subcommand)]
    Approvals(approvals::Command),
    /// What administrators did, and who they were, the newest first.
    Acts {
        /// Lines at most.
        #[arg(long, default_value_t = 50)]
        most: usize,
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// What must outlive the process: tables, a look at every record, moving to another database.
    #[command(subcommand)]
    Store(store::Command),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum SchemaOf {
    /// conf/portcullis.toml
    Main,
    /// conf/apps/*.toml
    App,
    /// conf/users.toml
    Users,
}

/// Runs the command that the process was called with.
pub fn main() -> ExitCode {
    let Arguments { config, command } = Arguments::parse();
    let outcome = match command {
        Command::Run { upgrade } => run::run(&config, upgrade),
        Command::Check => check::check(&config),
        Command::Demo => demo::demo(),
        Command::Schema { file } => schema(file),
        Command::HashPassword => hash_password::hash_password(),
        Command::Keys(command) => keys::run(&config, &command),
        Command::Token(command) => token::run(&config, command),
        Command::Apps(command) => apps::run(&config, command),
        Command::Registrations(command) => registrations::run(&config, command),
        Command::Users(command) => users::run(&config, command),
        Command::Authorizations(command) => authorizations::run(&config, command),
        Command::Acts { most, json } => acts::run(&config, most, json),
        Command::Assets(command) => assets::run(&config, command),
        Command::Saml(command) => saml::run(&config, &command),
        Command::Approvals(command) => approvals::run(&config, command),
        Command::Store(command) => store::run(&config, &command),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "portcullis", &mut std::io::stdout());
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn schema(file: SchemaOf) -> Result<(), String> {
    let schema = match file {
        SchemaOf::Main => schemars::schema_for!(crate::config::Main),
        SchemaOf::App => schemars::schema_for!(crate::config::app::App),
        SchemaOf::Users => schemars::schema_for!(crate::config::user::Users),
    };
    println!("{}", serde_json::to_string_pretty(&schema).map_err(|e| e.to_string())?);
    Ok(())
}

/// The configuration, or all its mistakes as one text.
fn loaded(config: &Path) -> Result<Loaded, String> {
    load(config).map_err(|mistakes| {
        let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        let count = if lines.len() == 1 { "1 mistake".to_owned() } else { format!("{} mistakes", lines.len()) };
        format!("{}\n{count}", lines.join("\n"))
    })
}

/// The store that the configuration names.
fn store(loaded: &Loaded) -> Result<Arc<dyn Store>, String> {
    std::fs::create_dir_all(&loaded.settings.data).map_err(|e| format!("{}: {e}", loaded.settings.data.display()))?;
    loaded.settings.store.open(&loaded.settings.data, None)
}

fn block_on<T>(work: impl Future<Output = T>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    Ok(runtime.block_on(work))
}

/// Tells of what stands and is hardly meant so.
fn warn(loaded: &Loaded) {
    let expiring = loaded.policy.saml.expiring(CLOCK.now());
    let shown = loaded.certificates.expiring(CLOCK.now());
    loaded.warnings.iter().chain(&expiring).chain(&shown).for_each(|warning| eprintln!("warning: {warning}"));
}

const CLOCK: SystemClock = SystemClock;
