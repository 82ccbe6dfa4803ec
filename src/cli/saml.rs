//! `portcullis saml`
use super::CLOCK;
use crate::{
    clock::Clock,
    saml::{
        IdentityProvider, Kind, Refused, binding, instant, read, second_opinion,
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
    /// The IdP's metadata.
    #[arg(long)]
    metadata: PathBuf,
    /// Our entity ID.
    #[arg(long)]
    audience: String,
    /// The address that it was posted to.
    #[arg(long)]
    recipient: String,
    /// The ID of the request that it answers; without, it is taken for one that the IdP began.
    #[arg(long)]
    in_response_to: Option<String>,
    /// The time to judge it by, such as 2026-05-28T20:26:40Z; now without.
    #[arg(long)]
    at: Option<String>,
}

/// Runs the command.
pub fn run(command: &Command) -> Result<(), String> {
    match command {
        Command::Explain(asked) => walk(asked),
    }
}

fn walk(asked: &Explain) -> Result<(), String> {
    let at = asked.at.as_deref().map(|t| instant::parse(t).ok_or_else(|| format!("{t} is no UTC time"))).transpose()?;
    let now = at.unwrap_or_else(|| CLOCK.now());
    let metadata = text(&asked.metadata)?;
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
    let idp = IdentityProvider::read(&metadata, Some(&passed.issuer));
    let idp = idp.map_err(|why| format!("NO  metadata: {}: {why}", asked.metadata.display()))?;
    let until = idp.valid_until.map_or_else(|| "for ever".to_owned(), instant::text);
    let valid = idp.valid_at(now);
    println!("{}  metadata: keys {}, valid until {until}", word(valid), idp.keys.fingerprints().join(", "));
    let verified = match passed.verify(&idp.keys) {
        Ok(verified) => verified,
        Err(refused) => return failed("signature", &refused),
    };
    let verifiers = if second_opinion::BUILT_IN { "two verifiers, of one mind" } else { "one verifier" };
    let signed = if verified.envelope.is_some() { "Response" } else { "Assertion" };
    println!("ok  signature: over the {signed}, by {verifiers}");
    let (audiences, recipients) = ([asked.audience.clone()], [asked.recipient.clone()]);
    let expected = Expected {
        now,
        issuer: &idp.entity,
        audiences: &audiences,
        recipients: &recipients,
        asked: asked.in_response_to.as_deref().map_or(Asked::Unasked, Asked::For),
        longest: LONGEST,
    };
    let findings = explain(&verified, expected);
    for finding in &findings {
        println!("{}  {}: {}", word(finding.holds), finding.rule, finding.detail);
    }
    let good = valid && findings.iter().all(|f| f.holds);
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
