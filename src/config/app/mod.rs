//! `conf/apps/*.toml`: one connected app a file. A table or a rule that stands for itself has a file of its own here.
mod approval;
mod attribute;
mod certificate;
mod duration;
mod exchange;
mod id_token;
mod key;
mod network;
mod redirect_uri;
mod refresh;
mod rules;
mod salesforce;
mod secret;

use self::{
    approval::ApprovalRule,
    attribute::AttributeSource,
    certificate::TlsClientAuthTable,
    duration::Duration,
    exchange::{AssetTable, ExchangeTable},
    id_token::IdTokenTable,
    key::KeySource,
    network::NetworkTable,
    refresh::RefreshTable,
    salesforce::SalesforceTable,
    secret::SecretSource,
};
use super::mistake::{Findings, Mistake, parse};
use crate::model::{
    AuthMethod, Client, Interactive, Level, Policies, SalesforceRules, SecretRules, SigningAlgorithm, TokenFormat,
    policies::USUAL_APPROVALS,
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

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
    /// One secret, or two during a rotation: the new one first, the old one with the time when it stops to count.
    #[serde(default)]
    secrets: Vec<SecretSource>,
    /// Registered public keys or certificates, several during a rotation; paths are relative to this file.
    #[serde(default)]
    keys: Vec<KeySource>,
    /// Grant types it may use.
    grants: BTreeSet<String>,
    /// The most it may be granted. With `[salesforce]`, along its paths: `full` stands for all but a refresh token, `id`
    /// for profile, email, address and phone.
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
    refresh: RefreshTable,
    /// How its ID tokens are signed.
    #[serde(default = "rs256")]
    id_token_signing_alg: SigningAlgorithm,
    /// How sure it must be who sits there: `high_assurance` asks for a second factor.
    #[serde(default)]
    required_level: Level,
    /// What it may do on the Salesforce paths alone.
    #[serde(default)]
    salesforce: SalesforceTable,
    /// Whose tokens it may exchange beside its own, and for what (RFC 8693).
    #[serde(default)]
    exchange: ExchangeTable,
    /// Asset tokens; none without.
    asset_tokens: Option<AssetTable>,
    /// Whether its access tokens are always bound to a key (RFC 9449 §5.2).
    #[serde(default)]
    dpop_bound_access_tokens: bool,
    /// Whether its access tokens, and without another authentication its refresh tokens, are always bound to the
    /// certificate of its TLS connection (RFC 8705 §3).
    #[serde(default)]
    certificate_bound_access_tokens: bool,
    /// The name in its certificate, for auth = "tls_client_auth".
    tls_client_auth: Option<TlsClientAuthTable>,
    /// Told when a session ends (OIDC Back-Channel Logout): https, or http on loopback.
    backchannel_logout_uri: Option<String>,
    /// Where its requests may come from.
    #[serde(default)]
    ip: NetworkTable,
    /// After which its access tokens and browser sessions open nothing any more, those issued before this was set too.
    session_timeout: Option<Duration>,
    /// It may redeem codes without its secret; it must use PKCE then.
    #[serde(default)]
    secret_optional: bool,
    /// It must show its secret when it refreshes.
    #[serde(default = "yes")]
    secret_required_for_refresh: bool,
    /// It may introspect tokens of other apps too.
    #[serde(default)]
    introspect_all: bool,
    /// What its ID tokens are like.
    #[serde(default)]
    id_token: IdTokenTable,
    /// Its JWT access tokens carry its custom attributes, and its custom permissions where that scope is granted.
    #[serde(default)]
    token_attributes: bool,
    /// What it is told of each user besides the standard claims: at the identity URL, and where `id_token` and
    /// `token_attributes` say so.
    #[serde(default)]
    custom_attributes: BTreeMap<String, AttributeSource>,
    /// Names of its own for rights, and the profiles and permission sets that hold them; told with the scope
    /// `custom_permissions`.
    #[serde(default)]
    custom_permissions: BTreeMap<String, BTreeSet<String>>,
    /// Authorizations that one user may have given it; the next one ends the oldest.
    #[serde(default = "usual_approvals")]
    approvals_per_user: usize,
    /// Its access tokens may be exchanged for a link into a browser session.
    #[serde(default)]
    single_access: bool,
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

fn usual_approvals() -> usize {
    USUAL_APPROVALS
}

fn rs256() -> SigningAlgorithm {
    SigningAlgorithm::Rs256
}

/// Reads one app; files it names are relative to its own folder.
pub fn read(file: &Path, text: &str) -> Result<Client, Vec<Mistake>> {
    let mut raw: App = parse(file, text)?;
    let mut found = Findings::of(file, text);
    let folder = found.folder();
    let mut secrets = Vec::new();
    let (mut plain, mut ends) = (None, Vec::new());
    for source in &raw.secrets {
        if let Some(secret) = found.or("secrets", source.read(folder).map(Some), None) {
            secrets.push(secret.digest);
            ends.extend(secret.until.map(|until| (secret.digest, until)));
            // The first one named is the newest.
            plain = plain.or(secret.plain);
        }
    }
    let mut keys = Vec::new();
    for source in &raw.keys {
        keys.extend(found.or("keys", key::read(source, folder), Vec::new()));
    }
    if raw.auth == AuthMethod::SelfSignedTlsClientAuth && !keys.iter().any(|key| key.certificate.is_some()) {
        found.wrong("auth", "self_signed_tls_client_auth needs a CERTIFICATE in keys: { pem_file = \"…\" }");
    }
    let certificate_name = certificate::read(raw.tls_client_auth.as_ref(), &mut found);
    let scopes = super::scopes(&mut found, "scopes", &raw.scopes);
    let (exchange, assets) = (std::mem::take(&mut raw.exchange), raw.asset_tokens.take());
    let caller = exchange::Caller { audience: &raw.audience, auth: raw.auth, grants: &raw.grants };
    let exchange = exchange::read(exchange, assets, caller, &mut found);
    let known: Vec<&str> = crate::grant::all().iter().map(|g| g.grant_type()).collect();
    for grant in raw.grants.iter().filter(|g| !known.contains(&g.as_str())) {
        found.wrong("grants", format!("{grant} is unknown; there are {}", known.join(", ")));
    }
    let refresh = refresh::read(&raw.refresh, &mut found);
    let network = network::read(&raw.ip, &mut found);
    let timeout = raw.session_timeout.as_ref().map(Duration::seconds).transpose();
    let session_timeout = found.or("session_timeout", timeout, None);
    rules::of(&raw).into_iter().filter(|(broken, ..)| *broken).for_each(|(_, key, right)| found.wrong(key, right));
    let id_token = id_token::read(raw.id_token, &mut found);
    let custom_attributes = attribute::read(raw.custom_attributes, &mut found);
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
        approval: raw.approval.into(),
        run_as: raw.run_as.map(Arc::from),
        token_format: raw.token_format,
        signing_algorithm: raw.token_signing_alg,
        token_lifetime: session_timeout.unwrap_or(i64::MAX).min(raw.token_lifetime),
        audience: raw.audience.into(),
        assertion_lifetime: raw.assertion_lifetime,
        interactive: Interactive {
            redirect_uris: raw.redirect_uris,
            post_logout_redirect_uris: raw.post_logout_redirect_uris,
            response_types: raw.response_types,
            pkce_required: raw.pkce_required || raw.auth == AuthMethod::None || raw.secret_optional,
            refresh,
            id_token_algorithm: raw.id_token_signing_alg,
            level: raw.required_level,
            backchannel_logout_uri: raw.backchannel_logout_uri,
        },
        exchange,
        dpop_bound: raw.dpop_bound_access_tokens,
        certificate_bound: raw.certificate_bound_access_tokens,
        certificate_name,
        salesforce: SalesforceRules {
            query_parameters: raw.salesforce.query_parameters,
            query_tokens: raw.salesforce.query_tokens,
            hybrid: raw.salesforce.hybrid,
            audiences: raw.salesforce.audiences,
            // What that is depends on the rest of the configuration.
            implied: Default::default(),
            secret: plain,
        },
        policies: Policies {
            network,
            session_timeout,
            secret: SecretRules {
                optional: raw.secret_optional,
                optional_for_refresh: !raw.secret_required_for_refresh,
                ends,
            },
            introspect_all: raw.introspect_all,
            id_token,
            token_attributes: raw.token_attributes,
            custom_attributes,
            custom_permissions: raw.custom_permissions,
            approvals_per_user: raw.approvals_per_user,
            single_access: raw.single_access,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Digest;

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
