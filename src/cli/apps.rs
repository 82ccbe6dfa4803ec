//! `portcullis apps`
use super::{
    CLOCK,
    desk::{self, PAGE, when},
};
use crate::{
    admin::view::{App, Usage, Use},
    clock::Clock,
    policy::in_force::Kind,
    saml::instant,
    secret::{self, Digest},
};
use clap::Subcommand;
use std::path::Path;

/// Connected apps.
#[derive(Subcommand)]
pub enum Command {
    /// One line an app.
    List {
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// What one app may do, and how it was used.
    Show {
        /// The app's `client_id`.
        client: String,
    },
    /// Who used an app: first and last use, tokens issued, attempts denied, authorizations that live.
    Usage {
        /// The app's `client_id`.
        client: String,
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Block an app: it gets no token, and its tokens open nothing, until it is unblocked.
    Block {
        /// The app's `client_id`.
        client: String,
        /// Why, for whoever comes after.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Take a block back; what the app's own file blocks stays blocked.
    Unblock {
        /// The app's `client_id`.
        client: String,
    },
    /// End all that users gave an app, and every token of it.
    Revoke {
        /// The app's `client_id`.
        client: String,
        /// Only what this user gave it, and every token that it got for them.
        #[arg(long)]
        user: Option<String>,
    },
    /// Make a client secret of 256 bits: the app gets the secret, its file gets the digest.
    NewSecret,
    /// Make a new secret for an app that has one: the line for its file lets the old one count for some days more.
    RotateSecret {
        /// The `client_id`.
        app: String,
        /// Days for which the old secret counts.
        #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(0..=365))]
        days: u16,
    },
    /// Make a security token, which a user types behind the password where no browser takes part.
    NewSecurityToken,
}

/// Runs the command.
pub fn run(config: &Path, command: Command) -> Result<(), String> {
    match command {
        Command::List { json } => {
            let apps = desk::at(config, async |o| desk::all(async |after| o.apps(after, PAGE).await).await)?;
            desk::print(&apps, json, line)
        }
        Command::Show { client } => {
            let app = desk::at(config, async |o| o.app(&client).await)?;
            println!("{}", serde_json::to_string_pretty(&app).map_err(|e| e.to_string())?);
            Ok(())
        }
        Command::Usage { client, json } => {
            let used = async |after: &str, o: &crate::admin::Office| o.usage_of_app(&client, after, PAGE).await;
            let usages = desk::at(config, async |o| desk::all(async |after| used(after, o).await).await)?;
            desk::print(&usages, json, |u| usage(u.username.as_deref().unwrap_or("(nobody known)"), u))
        }
        Command::Block { client, reason } => {
            let new = desk::at(config, async |o| o.block(Kind::Client, &client, reason.as_deref()).await)?;
            println!("{client} is blocked{}", if new { "" } else { " already" });
            Ok(())
        }
        Command::Unblock { client } => {
            let (was, app) =
                desk::at(config, async |o| Ok((o.unblock(Kind::Client, &client).await?, o.app(&client).await?)))?;
            let by_file = app.block.is_none() && app.blocked;
            println!(
                "{}",
                match (was, by_file) {
                    (true, _) => format!("{client} is no longer blocked by an administrator"),
                    (false, true) => format!("{client} is blocked by its own file: edit that"),
                    (false, false) => format!("{client} was not blocked"),
                }
            );
            Ok(())
        }
        Command::Revoke { client, user } => {
            match &user {
                Some(user) => {
                    let ended = desk::at(config, async |o| o.revoke_pair(&client, user).await)?;
                    println!("{ended} authorizations of {user} for {client} ended, and every token of it for them");
                }
                None => {
                    let ended = desk::at(config, async |o| o.revoke_app(&client).await)?;
                    println!("{ended} authorizations of {client} ended, and every token of it");
                }
            }
            Ok(())
        }
        Command::NewSecurityToken => {
            let token = secret::random_security_token();
            println!("security token, shown this once: {token}");
            println!(
                "for the user's table:            security_token = \"sha256:{}\"",
                Digest::of(token.as_bytes()).hex()
            );
            Ok(())
        }
        Command::NewSecret => {
            let (secret, digest) = new_secret();
            println!("secret, shown this once: {secret}");
            println!("for the app's file:      secrets = [\"{digest}\"]");
            Ok(())
        }
        Command::RotateSecret { app, days } => {
            let policy = super::loaded(config)?.policy;
            let client = policy.clients.get(app.as_str()).ok_or_else(|| format!("there is no app {app}"))?;
            let now = CLOCK.now();
            let mut counting = client.secrets.iter().filter(|d| client.policies.secret.counts(d, now));
            let old = counting.next().ok_or_else(|| format!("{app} has no secret yet; see `apps new-secret`"))?.hex();
            let until = instant::text(now.plus(i64::from(days) * 86_400));
            let (secret, digest) = new_secret();
            println!("secret, shown this once: {secret}");
            println!(
                "for the app's file:      secrets = [\"{digest}\", {{ digest = \"sha256:{old}\", until = \"{until}\" }}]"
            );
            Ok(())
        }
    }
}

fn line(app: &App) -> String {
    let state = if app.blocked { " (blocked)" } else { "" };
    let Use { last_used, uses, denied, .. } = app.usage;
    format!(
        "{}{state}: {}; scopes {}; {}; {uses} uses, {denied} denied, last used {}",
        app.client_id,
        app.name,
        app.scopes.join(" "),
        app.audience,
        when(last_used)
    )
}

/// One line of the usage view, which begins with `name`.
pub fn usage(name: &str, usage: &Usage) -> String {
    let Use { first_used, last_used, uses, denied, .. } = usage.usage;
    let (held, approved) = (usage.authorizations, if usage.approved { ", approved" } else { "" });
    let (first, last) = (when(first_used), when(last_used));
    format!("{name}: {uses} uses, first {first}, last {last}; {denied} denied; {held} authorizations{approved}")
}

/// A secret, and its digest as files carry it.
fn new_secret() -> (String, String) {
    let secret = secret::random_token();
    let digest = format!("sha256:{}", Digest::of(secret.as_bytes()).hex());
    (secret, digest)
}
