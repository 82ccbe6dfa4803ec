//! `conf/apps/*.toml`: one connected app a file.
use super::mistake::{Findings, Mistake, parse};
use crate::{
    model::{
        Approval, AuthMethod, Client, Interactive, Level, RefreshPolicy, SalesforceRules, SigningAlgorithm,
        TokenFormat, VerificationKey,
    },
    secret::{Digest, Plain},
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::{collections::BTreeSet, path::Path, sync::Arc};

/// Shortest accepted plain secret, bytes.
const SHORTEST_SECRET: usize = 32;

/// One connected app.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "conf/apps/*.toml")]
pub struct App {
    /// `client_id`: printable ASCII.
    client_id: String,
    /// The name shown to people; the `client_id` without one.
    name: Option<String>,
    /// A blocked app gets no token, and its tokens open nothing.
    #[serde(default)]
    blocked: bool,
    /// How it authenticates.
    auth: AuthMethod,
    /// One secret, or two during a rotation.
    #[serde(default)]
    secrets: Vec<SecretSource>,
    /// Registered public keys or certificates, several during a rotation; paths are relative to this file.
    #[serde(default)]
    keys: Vec<KeySource>,
    /// Grant types it may use.
    grants: BTreeSet<String>,
    /// The most it may be granted.
    scopes: Vec<String>,
    /// Who may use it.
    approval: ApprovalRule,
    /// The subject of `client_credentials`.
    run_as: Option<String>,
    /// The form of its access tokens.
    #[serde(default)]
    token_format: TokenFormat,
    /// How its JWT access tokens are signed.
    #[serde(default)]
    token_signing_alg: SigningAlgorithm,
    /// Life of its access tokens, seconds.
    #[serde(default = "ten_minutes")]
    token_lifetime: i64,
    /// The resource its tokens open: the `resource` of a route.
    audience: String,
    /// Furthest accepted `exp` of its assertions, seconds ahead.
    #[serde(default = "five_minutes")]
    assertion_lifetime: i64,
    /// Where people's browsers may be sent back to: exact, but for a loopback address's port.
    #[serde(default)]
    redirect_uris: Vec<String>,
    /// Where a browser may be sent after it signed out.
    #[serde(default)]
    post_logout_redirect_uris: Vec<String>,
    /// `code`; and `token`, `id_token token` for the user-agent flow, which is off unless named.
    #[serde(default = "code_alone")]
    response_types: BTreeSet<String>,
    /// Whether it must use PKCE; an app without a secret always must.
    #[serde(default = "yes")]
    pkce_required: bool,
    /// What becomes of its refresh tokens.
    #[serde(default)]
    refresh: RefreshPolicy,
    /// How its ID tokens are signed.
    #[serde(default = "rs256")]
    id_token_signing_alg: SigningAlgorithm,
    /// How sure it must be who sits there: `high_assurance` asks for a second factor.
    #[serde(default)]
    required_level: Level,
    /// What it may do on the Salesforce paths alone.
    #[serde(default)]
    salesforce: SalesforceTable,
    /// Told when a session ends (OIDC Back-Channel Logout): https, or http on loopback.
    backchannel_logout_uri: Option<String>,
}

/// Leniencies for programs that put secrets into URLs; nothing of it is ever logged here, but others may.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct SalesforceTable {
    /// `/services/oauth2/token` takes its parameters from the query of an empty POST.
    query_parameters: bool,
    /// `/services/oauth2/userinfo` and `/id/…` take the token as `oauth_token` or `access_token` of the query.
    query_tokens: bool,
}

/// Where a secret comes from.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum SecretSource {
    /// `sha256:` and 64 hexadecimal digits, as `portcullis apps new-secret` prints it.
    Digest(String),
    /// An environment variable.
    Env { env: String },
    /// A file, relative to this one.
    File { file: String },
}

/// A file with registered public keys.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum KeySource {
    /// A `PUBLIC KEY` or a `CERTIFICATE` in PEM.
    Pem { pem_file: String },
    /// A JWK Set (RFC 7517).
    Jwks { jwks_file: String },
}

/// Who may use the app.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum ApprovalRule {
    /// Every user for themselves.
    SelfAuthorized(SelfWord),
    /// Users with one of these profiles or permission sets.
    Admin { admin: BTreeSet<String> },
}

#[derive(Deserialize, JsonSchema)]
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

fn code_alone() -> BTreeSet<String> {
    ["code".to_owned()].into()
}

fn yes() -> bool {
    true
}

fn rs256() -> SigningAlgorithm {
    SigningAlgorithm::Rs256
}

/// `response_type` values there are (OAuth 2.0 Multiple Response Types §3, RFC 6749 §4).
const RESPONSE_TYPES: [&str; 3] = ["code", "token", "id_token token"];

/// Reads one app; files it names are relative to its own folder.
pub fn read(file: &Path, text: &str) -> Result<Client, Vec<Mistake>> {
    let raw: App = parse(file, text)?;
    let mut found = Findings::of(file, text);
    let folder = found.folder();
    let mut secrets = Vec::new();
    let mut plain = None;
    for source in &raw.secrets {
        if let Some((digest, text)) = found.or("secrets", secret(source, folder).map(Some), None) {
            secrets.push(digest);
            // The first one named is the newest.
            plain = plain.or(text);
        }
    }
    let mut keys = Vec::new();
    for source in &raw.keys {
        keys.extend(found.or("keys", read_keys(source, folder), Vec::new()));
    }
    let scopes = super::scopes(&mut found, "scopes", &raw.scopes);
    let known: Vec<&str> = crate::grant::all().iter().map(|g| g.grant_type()).collect();
    for grant in raw.grants.iter().filter(|g| !known.contains(&g.as_str())) {
        found.wrong("grants", format!("{grant} is unknown; there are {}", known.join(", ")));
    }
    let printable = |text: &str| !text.is_empty() && text.bytes().all(|b| (0x20..0x7f).contains(&b));
    let secret_less = raw.auth == AuthMethod::ClientSecret && raw.secrets.is_empty();
    let key_less = raw.auth == AuthMethod::PrivateKeyJwt && raw.keys.is_empty();
    let uses = |grant: &str| raw.grants.iter().any(|g| g.ends_with(grant));
    let rules = [
        (!printable(&raw.client_id), "client_id", "one or more printable ASCII characters (RFC 6749 appendix A.1)"),
        (raw.secrets.len() > 2, "secrets", "at most two, during a rotation"),
        (secret_less, "auth", "client_secret needs an entry in secrets"),
        (key_less, "auth", "private_key_jwt needs an entry in keys"),
        (uses(":jwt-bearer") && raw.keys.is_empty(), "grants", "jwt-bearer needs an entry in keys"),
        (uses("client_credentials") && raw.run_as.is_none(), "grants", "client_credentials needs run_as"),
        (
            uses("client_credentials") && raw.auth == AuthMethod::None,
            "auth",
            "client_credentials needs a client that authenticates (RFC 6749 §4.4)",
        ),
        (
            raw.grants.contains("authorization_code") && raw.redirect_uris.is_empty(),
            "grants",
            "authorization_code needs redirect_uris",
        ),
        (
            raw.response_types.iter().any(|t| !RESPONSE_TYPES.contains(&t.as_str())),
            "response_types",
            "among \"code\", \"token\", \"id_token token\"",
        ),
        (
            !raw.redirect_uris.iter().chain(&raw.post_logout_redirect_uris).all(|u| redirect_uri(u)),
            "redirect_uris",
            "absolute URIs without fragment: https, http on a loopback address, or an app's own scheme (RFC 8252 §7)",
        ),
        (
            raw.backchannel_logout_uri.as_ref().is_some_and(|u| !redirect_uri(u) || !u.starts_with("http")),
            "backchannel_logout_uri",
            "an absolute URI without fragment: https, or http on a loopback address",
        ),
        (
            [raw.refresh.lifetime, raw.refresh.idle].into_iter().flatten().any(|t| t < 1),
            "refresh",
            "lifetime and idle are at least 1 second",
        ),
        (!(1..=86_400).contains(&raw.token_lifetime), "token_lifetime", "between 1 and 86400 seconds"),
        (!(1..=3_600).contains(&raw.assertion_lifetime), "assertion_lifetime", "between 1 and 3600 seconds"),
    ];
    rules.into_iter().filter(|(broken, ..)| *broken).for_each(|(_, key, right)| found.wrong(key, right));
    if !found.mistakes.is_empty() {
        return Err(found.mistakes);
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
            ApprovalRule::SelfAuthorized(SelfWord::SelfAuthorized) => Approval::SelfAuthorized,
            ApprovalRule::Admin { admin } => Approval::Admin(admin),
        },
        run_as: raw.run_as.map(Arc::from),
        token_format: raw.token_format,
        signing_algorithm: raw.token_signing_alg,
        token_lifetime: raw.token_lifetime,
        audience: raw.audience.into(),
        assertion_lifetime: raw.assertion_lifetime,
        interactive: Interactive {
            redirect_uris: raw.redirect_uris,
            post_logout_redirect_uris: raw.post_logout_redirect_uris,
            response_types: raw.response_types,
            pkce_required: raw.pkce_required || raw.auth == AuthMethod::None,
            refresh: raw.refresh,
            id_token_algorithm: raw.id_token_signing_alg,
            level: raw.required_level,
            backchannel_logout_uri: raw.backchannel_logout_uri,
        },
        salesforce: SalesforceRules {
            query_parameters: raw.salesforce.query_parameters,
            query_tokens: raw.salesforce.query_tokens,
            secret: plain,
        },
    })
}

/// No fragment, and nothing that anybody on the way could read (S3).
fn redirect_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let sound = text.bytes().all(|b| b.is_ascii_graphic()) && !text.contains(['#', '"', '<', '>', '\\', '^', '`']);
    let named = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b));
    let authority = rest.strip_prefix("//").map(|r| r.split(['/', '?']).next().unwrap_or_default());
    sound
        && named
        && match scheme {
            "https" => authority.is_some_and(|a| !a.is_empty() && !a.contains('@')),
            "http" => authority.is_some_and(crate::grant::authorization_code::is_loopback),
            "javascript" | "data" | "vbscript" | "file" | "blob" | "about" => false,
            // A scheme of one's own is a reversed domain name, or at least no word that a browser knows.
            _ => !rest.is_empty(),
        }
}

fn secret(source: &SecretSource, folder: &Path) -> Result<(Digest, Option<Plain>), String> {
    let plain = match source {
        SecretSource::Digest(text) => {
            let digest = Digest::parse(text).ok_or_else(|| "must be sha256: and 64 hexadecimal digits".to_owned());
            return digest.map(|d| (d, None));
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
    Ok((Digest::of(plain.as_bytes()), Some(Plain::of(plain))))
}

fn read_keys(source: &KeySource, folder: &Path) -> Result<Vec<VerificationKey>, String> {
    let (file, read): (_, fn(&[u8]) -> _) = match source {
        KeySource::Pem { pem_file } => (pem_file, |bytes| VerificationKey::from_pem(bytes).map(|key| vec![key])),
        KeySource::Jwks { jwks_file } => (jwks_file, VerificationKey::from_jwks),
    };
    let bytes = std::fs::read(folder.join(file)).map_err(|e| format!("{file}: {e}"))?;
    read(&bytes).map_err(|why| format!("{file}: {why}"))
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
    fn s3_redirect_uris_carry_no_fragment_and_no_plain_http_except_loopback() {
        for good in [
            "https://app.example/cb",
            "https://app.example:8443/cb?tenant=1",
            "http://127.0.0.1/cb",
            "http://[::1]:8080/cb",
            "http://localhost/cb",
            "com.example.app:/cb",
        ] {
            assert!(redirect_uri(good), "{good}");
        }
        for bad in [
            "https://app.example/cb#x",
            "http://app.example/cb",
            "http://127.0.0.1.evil.example/cb",
            "https://user@app.example/cb",
            "https://",
            "/cb",
            "javascript:alert(1)",
            "data:text/html,x",
            "https://app.example/a b",
            "",
        ] {
            assert!(!redirect_uri(bad), "S3 {bad}");
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
