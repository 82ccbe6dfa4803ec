//! `conf/apps/*.toml`: one connected app a file.
use super::mistake::{Mistake, line_of, parse};
use crate::{
    model::{Approval, AuthMethod, Client, ScopeSet, TokenFormat, client::VerificationKey},
    secret::Digest,
};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use std::{collections::BTreeSet, path::Path, sync::Arc};

/// Shortest accepted plain secret, bytes.
const SHORTEST_SECRET: usize = 32;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    client_id: String,
    name: Option<String>,
    #[serde(default)]
    blocked: bool,
    auth: AuthMethod,
    #[serde(default)]
    secrets: Vec<SecretSource>,
    #[serde(default)]
    keys: Vec<KeySource>,
    grants: BTreeSet<String>,
    scopes: Vec<String>,
    approval: RawApproval,
    run_as: Option<String>,
    #[serde(default)]
    token_format: TokenFormat,
    #[serde(default = "ten_minutes")]
    token_lifetime: i64,
    audience: String,
    #[serde(default = "five_minutes")]
    assertion_lifetime: i64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum SecretSource {
    Digest(String),
    Env { env: String },
    File { file: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeySource {
    pem_file: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawApproval {
    SelfAuthorized(SelfWord),
    Admin { admin: BTreeSet<String> },
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum SelfWord {
    #[serde(rename = "self")]
    SelfAuthorized,
}

fn ten_minutes() -> i64 {
    600
}

fn five_minutes() -> i64 {
    300
}

/// Reads one app; files it names are relative to its own folder.
pub fn read(file: &Path, text: &str) -> Result<Client, Vec<Mistake>> {
    let raw: Raw = parse(file, text)?;
    let mut mistakes = Vec::new();
    let mut wrong = |key: &str, message: String| {
        let (line, message) = (line_of(text, key), format!("{key}: {message}"));
        mistakes.push(Mistake { file: file.to_owned(), line, message });
    };
    let folder = file.parent().unwrap_or(Path::new("."));
    let mut secrets = Vec::new();
    for source in &raw.secrets {
        secret(source, folder).map_or_else(|why| wrong("secrets", why), |digest| secrets.push(digest));
    }
    let mut keys = Vec::new();
    for source in &raw.keys {
        key(&folder.join(&source.pem_file)).map_or_else(|why| wrong("keys", why), |key| keys.push(key));
    }
    let scopes = ScopeSet::parse(&raw.scopes.join(" ")).unwrap_or_else(|| {
        wrong("scopes", "a scope holds visible ASCII without quote and backslash".to_owned());
        ScopeSet::default()
    });
    let known: Vec<&str> = crate::grant::all().iter().map(|g| g.grant_type()).collect();
    for grant in raw.grants.iter().filter(|g| !known.contains(&g.as_str())) {
        wrong("grants", format!("{grant} is unknown; there are {}", known.join(", ")));
    }
    if raw.secrets.len() > 2 {
        wrong("secrets", "at most two, during a rotation".to_owned());
    }
    if raw.auth == AuthMethod::ClientSecret && raw.secrets.is_empty() {
        wrong("auth", "client_secret needs an entry in secrets".to_owned());
    }
    if raw.auth == AuthMethod::PrivateKeyJwt && raw.keys.is_empty() {
        wrong("auth", "private_key_jwt needs an entry in keys".to_owned());
    }
    if raw.grants.iter().any(|g| g.ends_with(":jwt-bearer")) && raw.keys.is_empty() {
        wrong("grants", "jwt-bearer needs an entry in keys".to_owned());
    }
    if raw.grants.contains("client_credentials") && raw.run_as.is_none() {
        wrong("grants", "client_credentials needs run_as".to_owned());
    }
    if !(1..=86_400).contains(&raw.token_lifetime) {
        wrong("token_lifetime", "between 1 and 86400 seconds".to_owned());
    }
    if !(1..=3_600).contains(&raw.assertion_lifetime) {
        wrong("assertion_lifetime", "between 1 and 3600 seconds".to_owned());
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    Ok(Client {
        name: raw.name.unwrap_or_else(|| raw.client_id.clone()),
        id: raw.client_id.into(),
        blocked: raw.blocked,
        auth_method: raw.auth,
        secrets,
        keys,
        grants: raw.grants,
        scopes,
        approval: match raw.approval {
            RawApproval::SelfAuthorized(SelfWord::SelfAuthorized) => Approval::SelfAuthorized,
            RawApproval::Admin { admin } => Approval::Admin(admin),
        },
        run_as: raw.run_as.map(Arc::from),
        token_format: raw.token_format,
        token_lifetime: raw.token_lifetime,
        audience: raw.audience.into(),
        assertion_lifetime: raw.assertion_lifetime,
    })
}

fn secret(source: &SecretSource, folder: &Path) -> Result<Digest, String> {
    let plain = match source {
        SecretSource::Digest(text) => {
            return Digest::parse(text).ok_or_else(|| "must be sha256: and 64 hexadecimal digits".to_owned());
        }
        SecretSource::Env { env } => {
            std::env::var(env).map_err(|_| format!("environment variable {env} is not set"))?
        }
        SecretSource::File { file } => {
            std::fs::read_to_string(folder.join(file)).map_err(|e| format!("{file}: {e}"))?
        }
    };
    let plain = plain.trim_end_matches(['\r', '\n']);
    if plain.len() < SHORTEST_SECRET {
        return Err(format!("a secret of under {SHORTEST_SECRET} characters can be guessed; generate one"));
    }
    Ok(Digest::of(plain.as_bytes()))
}

/// A public key in PEM; its type alone decides the algorithms (RFC 8725 §3.1).
fn key(path: &Path) -> Result<VerificationKey, String> {
    let pem = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let of = |algorithms: &[Algorithm], key| VerificationKey { kid: None, algorithms: algorithms.to_vec(), key };
    if let Ok(key) = DecodingKey::from_ec_pem(&pem) {
        return Ok(of(&[Algorithm::ES256], key));
    }
    if let Ok(key) = DecodingKey::from_ed_pem(&pem) {
        return Ok(of(&[Algorithm::EdDSA], key));
    }
    let rsa = DecodingKey::from_rsa_pem(&pem);
    rsa.map(|key| of(&[Algorithm::RS256, Algorithm::PS256], key))
        .map_err(|_| format!("{}: not a public key in PEM (RSA, P-256 or Ed25519)", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "client_id = \"a\"\nauth = \"client_secret\"\nsecrets = [\"sha256:DIGEST\"]\n\
        grants = [\"client_credentials\"]\nscopes = [\"read\"]\napproval = \"self\"\nrun_as = \"robot\"\naudience = \"x\"\n";

    #[test]
    fn a_good_file_reads_and_each_mistake_names_its_line() {
        let good = GOOD.replace("DIGEST", &Digest::of(b"x").hex());
        assert_eq!(&*read(Path::new("a.toml"), &good).unwrap().id, "a");
        let bad = good.replace("run_as = \"robot\"\n", "").replace("sha256:", "").replace("read", "re\u{e9}d");
        let told: Vec<String> = read(Path::new("a.toml"), &bad).unwrap_err().iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 3, "{told:?}");
        for line in
            ["a.toml:3: secrets: must be", "a.toml:5: scopes: ", "a.toml:4: grants: client_credentials needs run_as"]
        {
            assert!(told.iter().any(|m| m.starts_with(line)), "{line} in {told:?}");
        }
    }

    #[test]
    fn a_short_hand_made_secret_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("s"), "hunter2\n").unwrap();
        let text = GOOD.replace("\"sha256:DIGEST\"", "{ file = \"s\" }");
        let told = read(&dir.path().join("a.toml"), &text).unwrap_err();
        assert!(told[0].message.contains("can be guessed"), "{told:?}");
    }
}
