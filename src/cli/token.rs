//! `portcullis token`
use super::{CLOCK, proof::Holder};
use crate::{
    clock::Clock,
    metrics::Metrics,
    secret,
    token::{OpenError, Tokens, keys::Keyring},
};
use clap::Subcommand;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;
use std::{
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Tokens.
#[derive(Subcommand)]
pub enum Command {
    /// Read a token from standard input and print what it says.
    Inspect,
    /// Read a token from standard input and end it; a running gateway refuses it within a second.
    Revoke,
    /// Print an assertion for the JWT bearer grant (RFC 7523), signed with the app's own key.
    Assertion {
        /// The app's `client_id`.
        #[arg(long)]
        client: String,
        /// The user to act for.
        #[arg(long)]
        subject: String,
        /// The app's private key, PEM (PKCS#8; P-256, RSA or Ed25519).
        #[arg(long)]
        key: PathBuf,
        /// Seconds until it expires.
        #[arg(long, default_value_t = 120)]
        lifetime: i64,
        /// `aud`; the configured issuer without.
        #[arg(long)]
        audience: Option<String>,
    },
    /// Print a fresh private key (P-256, PEM) for an app or a device.
    Key,
    /// Print a DPoP proof (RFC 9449) for one request.
    Proof {
        /// The private key that the token is or will be bound to, PEM (PKCS#8; P-256 or Ed25519).
        #[arg(long)]
        key: PathBuf,
        /// The request's address.
        #[arg(long)]
        url: String,
        /// Its method.
        #[arg(long, default_value = "GET")]
        method: String,
        /// The access token that it comes with; none at the token endpoint.
        #[arg(long)]
        token: Option<String>,
        /// The server's nonce, where it asked for one.
        #[arg(long)]
        nonce: Option<String>,
    },
    /// Print the actor token with which a device asks for an asset token, signed with its own key.
    Actor {
        /// The device's private key, PEM (PKCS#8; P-256 or Ed25519).
        #[arg(long)]
        key: PathBuf,
        /// The maker's number.
        #[arg(long)]
        serial_number: Option<String>,
        /// A name for people.
        #[arg(long)]
        name: Option<String>,
        /// The asset that it is, if it is registered already.
        #[arg(long)]
        id: Option<String>,
        /// Seconds until it expires.
        #[arg(long, default_value_t = 120)]
        lifetime: i64,
    },
}

/// Runs the command.
pub fn run(config: &Path, command: Command) -> Result<(), String> {
    match command {
        Command::Assertion { client, subject, key, lifetime, audience } => {
            let audience = match audience {
                Some(given) => given,
                None => super::loaded(config)?.policy.issuer.to_string(),
            };
            println!("{}", assertion(&client, &subject, &audience, &key, lifetime)?);
            Ok(())
        }
        Command::Key => {
            println!("{}", rcgen::KeyPair::generate().map_err(|e| e.to_string())?.serialize_pem().trim_end());
            Ok(())
        }
        Command::Proof { key, url, method, token, nonce } => {
            println!("{}", Holder::read(&key)?.proof(&method, &url, token.as_deref(), nonce.as_deref())?);
            Ok(())
        }
        Command::Actor { key, serial_number, name, id, lifetime } => {
            let says = [("serial_number", serial_number), ("name", name), ("id", id)];
            let says = says.into_iter().filter_map(|(k, v)| Some((k.to_owned(), v?.into()))).collect();
            let audience = super::loaded(config)?.policy.issuer.to_string();
            println!("{}", Holder::read(&key)?.actor(says, &audience, lifetime)?);
            Ok(())
        }
        Command::Inspect => with_token(config, false),
        Command::Revoke => with_token(config, true),
    }
}

/// An assertion of `client` for `subject`.
pub fn assertion(client: &str, subject: &str, audience: &str, key: &Path, lifetime: i64) -> Result<String, String> {
    let pem = std::fs::read(key).map_err(|e| format!("{}: {e}", key.display()))?;
    let (algorithm, key) = EncodingKey::from_ec_pem(&pem)
        .map(|k| (Algorithm::ES256, k))
        .or_else(|_| EncodingKey::from_rsa_pem(&pem).map(|k| (Algorithm::RS256, k)))
        .or_else(|_| EncodingKey::from_ed_pem(&pem).map(|k| (Algorithm::EdDSA, k)))
        .map_err(|_| format!("{}: not a private key in PEM (PKCS#8)", key.display()))?;
    let now = CLOCK.now();
    let claims = json!({"iss": client, "sub": subject, "aud": audience, "iat": now, "exp": now.plus(lifetime),
        "jti": secret::random_id()});
    jsonwebtoken::encode(&Header::new(algorithm), &claims, &key).map_err(|e| e.to_string())
}

fn with_token(config: &Path, end: bool) -> Result<(), String> {
    let mut token = String::new();
    std::io::stdin().read_to_string(&mut token).map_err(|e| e.to_string())?;
    let loaded = super::loaded(config)?;
    let store = super::store(&loaded)?;
    let ring = Keyring::of(loaded.settings.keys.as_ref(), &loaded.settings.data, &store)?;
    let work = async {
        let now = CLOCK.now();
        let keys = ring.keys(now).await?;
        let tokens = Tokens::new(Arc::new(keys), store, 1 << 20, &Metrics::new());
        tokens.load_revocations(now).await.map_err(|e| e.to_string())?;
        let opened = tokens.open(token.trim(), now).map_err(|why| {
            match why {
                OpenError::Invalid => "not a token of this gateway",
                OpenError::Expired => "the token has expired",
                OpenError::Revoked => "the token was revoked",
                OpenError::Unavailable => "the revocations cannot be read",
            }
            .to_owned()
        })?;
        if end {
            tokens.revoke(&opened, now).await.map_err(|e| e.to_string())?;
        }
        let mut said = json!({"client_id": opened.entitlement.client, "sub": opened.subject,
            "scope": opened.entitlement.scopes.to_string(), "aud": opened.entitlement.audience, "jti": opened.jti, "iat": opened.issued, "exp": opened.expires, "revoked": end});
        if let (Some(special), Some(all)) = (&opened.special, said.as_object_mut()) {
            let more = serde_json::to_value(&special.more).map_err(|e| e.to_string())?;
            all.extend(more.as_object().cloned().unwrap_or_default());
        }
        println!("{said:#}");
        Ok(())
    };
    super::block_on(work)?
}
