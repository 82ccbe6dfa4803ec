//! `portcullis users`
use super::{
    apps::usage,
    desk::{self, PAGE},
};
use crate::{admin::view::User, policy::in_force::Kind};
use clap::Subcommand;
use std::path::Path;

/// Users: of the configuration, and whom identity providers brought.
#[derive(Subcommand)]
pub enum Command {
    /// One line a user.
    List {
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// One user, and which apps they used.
    Show {
        /// The user's name.
        user: String,
    },
    /// Block a user: they cannot sign in, get no token, and tokens for them open nothing, until they are unblocked.
    Block {
        /// The user's name.
        user: String,
        /// Why, for whoever comes after.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Take a block back; who is not active in users.toml stays so.
    Unblock {
        /// The user's name.
        user: String,
    },
    /// End all that a user gave apps, every token for them, and their sessions in every browser.
    Revoke {
        /// The user's name.
        user: String,
    },
    /// Take the second factor away from a user who lost it: a password alone signs them in until they set one up anew.
    ResetSecondFactor {
        /// The user's name.
        user: String,
    },
}

/// Runs the command.
pub fn run(config: &Path, command: Command) -> Result<(), String> {
    match command {
        Command::List { json } => {
            let users = desk::at(config, async |o| desk::all(async |after| o.users(after, PAGE).await).await)?;
            desk::print(&users, json, line)
        }
        Command::Show { user } => {
            let used = async |after: &str, o: &crate::admin::Office| o.usage_of_user(&user, after, PAGE).await;
            let (known, usages) = desk::at(config, async |o| {
                Ok((o.user(&user).await?, desk::all(async |after| used(after, o).await).await?))
            })?;
            println!("{}", line(&known));
            desk::print(&usages, false, |u| format!("  {}", usage(&u.client_id, u)))
        }
        Command::Block { user, reason } => {
            let new = desk::at(config, async |o| o.block(Kind::User, &user, reason.as_deref()).await)?;
            println!("{user} is blocked{}", if new { "" } else { " already" });
            Ok(())
        }
        Command::Unblock { user } => {
            let was = desk::at(config, async |o| o.unblock(Kind::User, &user).await)?;
            println!("{user} {}", if was { "is no longer blocked" } else { "was not blocked by an administrator" });
            Ok(())
        }
        Command::Revoke { user } => {
            let ended = desk::at(config, async |o| o.revoke_user(&user).await)?;
            println!("{ended} authorizations of {user} ended, and every token and session");
            Ok(())
        }
        Command::ResetSecondFactor { user } => {
            let had = desk::at(config, async |o| o.reset_second_factor(&user).await)?;
            println!("{user} {}", if had { "has no second factor any more" } else { "had no second factor" });
            Ok(())
        }
    }
}

fn line(user: &User) -> String {
    let state = match (&user.block, user.active) {
        (Some(block), _) => format!(" (blocked by {})", block.by),
        (None, false) => " (not active)".to_owned(),
        (None, true) => String::new(),
    };
    let named = user.name.as_ref().map(|n| format!("{n}; ")).unwrap_or_default();
    format!("{}{state}: {named}permissions {}; {}", user.username, user.permissions.join(" "), user.origin)
}
