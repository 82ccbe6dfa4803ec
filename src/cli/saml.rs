//! `portcullis saml`
use super::{CLOCK, loaded};
use crate::{
    clock::Clock,
    policy::saml::Saml,
    saml::{
        IdentityProvider, Kind, Refused, ServiceProvider, binding, instant, read, second_opinion,
        sp::{Asked, Expected, LONGEST, explain},
    },
};
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};

/// SAML messages.
#[derive(Subcommand)]
pub enum Command {
    /// Say step by step what holds of a Response saved from a browser, and what does not: the XML, the base64 of the
    /// form's field, or the whole form.
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
    /// The address that it was posted to; without, the one where the configuration takes Responses.
    #[arg(long)]
    recipient: Option<String>,
    /// The ID of the request that it answers; without, it is taken for one that the IdP began, which its table has to allow.
    #[arg(long)]
    in_response_to: Option<String>,
    /// The time to judge it by, such as 2026-05-28T20:26:40Z; now without.
    #[arg(long)]
    at: Option<String>,
}

/// Runs the command.
pub fn run(config: &Path, command: &Command) -> Result<(), String> {
    match command {
        Command::Explain(asked) => walk(config, asked),
    }
}

/// What the arguments leave open, from the configuration.
fn configured(config: &Path, asked: &Explain) -> Result<Saml, String> {
    if asked.metadata.is_some() && asked.audience.is_some() && asked.recipient.is_some() {
        return Ok(Saml::default());
    }
    loaded(config).map(|loaded| loaded.policy.saml)
}

fn walk(config: &Path, asked: &Explain) -> Result<(), String> {
    let saml = configured(config, asked)?;
    let at = asked.at.as_deref().map(|t| instant::parse(t).ok_or_else(|| format!("{t} is no UTC time"))).transpose()?;
    let now = at.unwrap_or_else(|| CLOCK.now());
    let saved = text(&asked.file)?;
    let failed = |step: &str, refused: &Refused| {
        println!("NO  {step}: {refused}");
        Err("The message is refused.".to_owned())
    };
    let bytes = match unpack(&saved) {
        Ok(bytes) => bytes,
        Err(refused) => return failed("encoding", &refused),
    };
    println!("ok  encoding: {} bytes of XML", bytes.len());
    let passed = match read(&bytes, Kind::Response) {
        Ok(passed) => passed,
        Err(refused) => return failed("preflight", &refused),
    };
    println!("ok  preflight: {} of {}", passed.id, passed.issuer);
    let (named, given);
    let partner = saml.partners.get(&passed.issuer).filter(|_| asked.metadata.is_none());
    let idp: &IdentityProvider = match &asked.metadata {
        Some(file) => {
            let read = IdentityProvider::read(&text(file)?, Some(&passed.issuer));
            given = read.map_err(|why| format!("NO  metadata: {}: {why}", file.display()))?;
            named = file.display().to_string();
            &given
        }
        None => {
            let partner = partner.ok_or_else(|| format!("NO  metadata: {} is no IdP of ours", passed.issuer))?;
            named = partner.name.clone();
            &partner.idp
        }
    };
    let until = idp.valid_until.map_or_else(|| "for ever".to_owned(), instant::text);
    let valid = idp.valid_at(now);
    println!("{}  metadata: {named}, keys {}, valid until {until}", word(valid), idp.keys.fingerprints().join(", "));
    let verified = match passed.verify(&idp.keys) {
        Ok(verified) => verified,
        Err(refused) => return failed("signature", &refused),
    };
    let verifiers = if second_opinion::BUILT_IN { "two verifiers, of one mind" } else { "one verifier" };
    let signed = if verified.envelope.is_some() { "Response" } else { "Assertion" };
    println!("ok  signature: over the {signed}, by {verifiers}");
    let open = |name: &str| format!("The configuration has no [saml]: give --{name}.");
    let or = |argument: &Option<String>, name: &str, own: fn(&ServiceProvider) -> &String| {
        let own = saml.sp.as_deref().map(|sp| own(sp).clone());
        argument.clone().or(own).ok_or_else(|| open(name))
    };
    let audiences = [or(&asked.audience, "audience", |sp| &sp.entity)?];
    let recipients = [or(&asked.recipient, "recipient", |sp| &sp.acs)?];
    let expected = Expected {
        now,
        issuer: &idp.entity,
        audiences: &audiences,
        recipients: &recipients,
        asked: match (&asked.in_response_to, partner) {
            (Some(id), _) => Asked::For(id),
            // As the server does: unasked only where its table says so.
            (None, Some(partner)) if !partner.idp_initiated => Asked::Never,
            (None, _) => Asked::Unasked,
        },
        longest: LONGEST,
    };
    let findings = explain(&verified, expected);
    for finding in &findings {
        println!("{}  {}: {}", word(finding.holds), finding.rule, finding.detail);
    }
    let nameless = partner.and_then(|partner| match partner.username(&verified.assertion) {
        Ok(name) => {
            println!("ok  username: {name}");
            None
        }
        Err(why) => {
            println!("NO  username: {why}");
            Some(why)
        }
    });
    let good = valid && nameless.is_none() && findings.iter().all(|f| f.holds);
    if good { Ok(()) } else { Err("The message is refused.".to_owned()) }
}

const fn word(holds: bool) -> &'static str {
    if holds { "ok" } else { "NO" }
}

/// The XML in whatever form it was saved.
fn unpack(saved: &str) -> Result<Vec<u8>, Refused> {
    let saved = saved.trim();
    if saved.starts_with('<') {
        return Ok(saved.as_bytes().to_vec());
    }
    let query = saved.rsplit('?').next().unwrap_or(saved);
    let mut fields = form_urlencoded::parse(query.as_bytes());
    match fields.find(|(name, _)| name == "SAMLResponse") {
        Some((_, field)) => binding::from_field(&field),
        None => binding::from_field(saved),
    }
}

fn text(file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))
}
