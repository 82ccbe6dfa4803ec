//! `portcullis saml`
mod assertion;
mod message;
mod saved;

use super::{CLOCK, loaded};
use crate::{
    clock::{Clock, Timestamp},
    model::Client,
    policy::{Policy, saml::Partner},
    saml::{IdentityProvider, Kind, Passed, Refused, ServiceProvider, TrustedKeys, instant, second_opinion},
};
use clap::{Args, Subcommand};
use saved::Saved;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// SAML messages.
#[derive(Subcommand)]
pub enum Command {
    /// Say step by step what holds of a message saved from a browser or an app, and what does not: a Response, an
    /// Assertion, a LogoutRequest, a LogoutResponse, or an AuthnRequest of ours. It may be saved as XML, as the base64 of
    /// the form's field or the whole form, as the deflated value of a query, or as the whole query or address, which
    /// alone shows the signature of a message that came in one.
    Explain(Explain),
}

/// What to explain.
#[derive(Args)]
pub struct Explain {
    /// The saved message.
    file: PathBuf,
    /// The IdP's metadata; without, that of the IdP of the configuration which the message names as its issuer.
    #[arg(long)]
    metadata: Option<PathBuf>,
    /// Our entity ID; without, that of the configuration.
    #[arg(long)]
    audience: Option<String>,
    /// The address that it was sent to; without, the one where the configuration takes such messages. With the token URL
    /// a Response is judged as the SAML assertion flow judges it.
    #[arg(long)]
    recipient: Option<String>,
    /// The ID of the request that it answers; without, a Response is taken for one that the IdP began, which its table
    /// has to allow.
    #[arg(long)]
    in_response_to: Option<String>,
    /// The time to judge it by, such as 2026-05-28T20:26:40Z; now without.
    #[arg(long)]
    at: Option<String>,
}

/// Runs the command.
pub fn run(config: &Path, command: &Command) -> Result<(), String> {
    match command {
        Command::Explain(asked) => explain(config, asked),
    }
}

/// Who sent the message, as far as it says; its keys are theirs.
enum Speaker<'a> {
    /// An IdP: of the configuration, or of metadata beside it.
    Idp(&'a IdentityProvider, Option<&'a Arc<Partner>>),
    /// We ourselves.
    Ours(&'a ServiceProvider),
    /// An app with its registered certificate (RFC 7522).
    App(&'a Client),
}

/// A message on its way through the steps.
struct Walk<'a> {
    asked: &'a Explain,
    policy: &'a Policy,
    saved: &'a Saved,
    passed: &'a Passed<'a>,
    speaker: Speaker<'a>,
    keys: TrustedKeys,
    now: Timestamp,
}

fn explain(config: &Path, asked: &Explain) -> Result<(), String> {
    let policy = configured(config, asked)?;
    let at = asked.at.as_deref().map(|t| instant::parse(t).ok_or_else(|| format!("{t} is no UTC time"))).transpose()?;
    let now = at.unwrap_or_else(|| CLOCK.now());
    let saved = match Saved::read(&text(&asked.file)?) {
        Ok(saved) => saved,
        Err(why) => return refused("encoding", &why),
    };
    println!("ok  encoding: {}, {} bytes of XML", saved.packed(), saved.bytes());
    let passed = match saved.inspect() {
        Ok(passed) => passed,
        Err(why) => return refused("preflight", &why),
    };
    println!("ok  preflight: {:?} {} of {}", passed.kind, passed.id, passed.issuer);
    let given = asked.metadata.as_ref().map(|file| metadata(file, &passed.issuer)).transpose()?;
    let (speaker, keys) = speaker(&passed, given.as_ref(), &policy)?;
    let known = told(&speaker, &keys, asked, now);
    let walk = Walk { asked, policy: &policy, saved: &saved, passed: &passed, speaker, keys, now };
    let holds = match passed.kind {
        Kind::Response | Kind::Assertion => walk.assertion()?,
        Kind::LogoutRequest | Kind::LogoutResponse => walk.logout()?,
        Kind::AuthnRequest => walk.request()?,
    };
    if known && holds { Ok(()) } else { Err(REFUSED.to_owned()) }
}

const REFUSED: &str = "The message is refused.";

/// What the arguments leave open, from the configuration.
fn configured(config: &Path, asked: &Explain) -> Result<Policy, String> {
    if asked.metadata.is_some() && asked.audience.is_some() && asked.recipient.is_some() {
        return Ok(Policy::default());
    }
    loaded(config).map(|loaded| loaded.policy)
}

fn metadata(file: &Path, entity: &str) -> Result<IdentityProvider, String> {
    let read = IdentityProvider::read(&text(file)?, Some(entity));
    read.map_err(|why| format!("NO  metadata: {}: {why}", file.display()))
}

fn speaker<'a>(
    passed: &Passed<'_>,
    given: Option<&'a IdentityProvider>,
    policy: &'a Policy,
) -> Result<(Speaker<'a>, TrustedKeys), String> {
    if let Some(idp) = given {
        return Ok((Speaker::Idp(idp, None), idp.keys.clone()));
    }
    let issuer = passed.issuer.as_str();
    if let Some(partner) = policy.saml.partners.get(issuer) {
        return Ok((Speaker::Idp(&partner.idp, Some(partner)), partner.idp.keys.clone()));
    }
    let own = policy.saml.sp.as_deref().filter(|sp| sp.entity == issuer);
    if let Some(sp) = own.filter(|_| !matches!(passed.kind, Kind::Response | Kind::Assertion)) {
        return Ok((Speaker::Ours(sp), TrustedKeys::of([sp.certificate.as_slice()])?));
    }
    if passed.kind == Kind::Assertion
        && let (Some(app), Some(keys)) = (policy.clients.get(issuer), policy.saml.apps.get(issuer))
    {
        return Ok((Speaker::App(app), keys.clone()));
    }
    let nor = if passed.kind == Kind::Assertion { ", nor an app with a certificate" } else { "" };
    Err(format!("NO  metadata: {issuer} is no IdP of ours{nor}"))
}

/// Tells whose keys are used; whether they may still speak.
fn told(speaker: &Speaker<'_>, keys: &TrustedKeys, asked: &Explain, now: Timestamp) -> bool {
    let fingerprints = keys.fingerprints().join(", ");
    match speaker {
        Speaker::Idp(idp, partner) => {
            let until = idp.valid_until.map_or_else(|| "for ever".to_owned(), instant::text);
            let file = asked.metadata.as_ref().map(|file| file.display().to_string());
            let named = partner.map(|p| p.name.clone()).or(file).unwrap_or_default();
            line(idp.valid_at(now), "metadata", format_args!("{named}, keys {fingerprints}, valid until {until}"))
        }
        Speaker::Ours(_) => line(true, "sender", format_args!("we ourselves, key {fingerprints}")),
        Speaker::App(app) => line(true, "sender", format_args!("the app {}, keys {fingerprints}", app.id)),
    }
}

/// Tells of one step; whether it holds.
fn line(holds: bool, step: &str, detail: impl std::fmt::Display) -> bool {
    println!("{}  {step}: {detail}", if holds { "ok" } else { "NO" });
    holds
}

fn refused<T>(step: &str, why: &Refused) -> Result<T, String> {
    line(false, step, why);
    Err(REFUSED.to_owned())
}

/// How a message was verified, in words.
const fn verifiers(saved: &Saved) -> &'static str {
    match saved {
        Saved::Query(..) => "the query, by one verifier",
        Saved::Xml(..) if second_opinion::BUILT_IN => "two verifiers, of one mind",
        Saved::Xml(..) => "one verifier",
    }
}

fn text(file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))
}
