//! `[[trusted_issuer]]` of `conf/portcullis.toml`: other authorization servers, whose access tokens routes may accept.
use super::{Apps, Users, certificate, mistake::Findings};
use crate::{
    issuer::{
        Accepted, Issuer, Place, Timing, Trusted,
        claims::{self, Audience, Rules},
        discovery::Document,
        keys::{self, KeySet},
    },
    model::scope::is_scope_token,
    outgoing::{self, Reach},
    policy::route::Auth,
    secret::Digest,
};
use jsonwebtoken::Algorithm;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
};
use toml::Spanned;

/// The word for our own tokens in a route's `issuers`.
const SELF: &str = "self";

/// Another authorization server.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IssuerTable {
    /// Its name in routes, logs and metrics, and before the names of its clients: letters, digits, `-` and `_`.
    name: String,
    /// Its `iss`, exactly as its tokens carry it: an https URL.
    url: String,
    /// Which of its documents says where its keys are: `openid-configuration`, or `oauth-authorization-server` (RFC 8414).
    discovery: Option<Document>,
    /// Where its keys are, in place of a document that says so: an https URL.
    jwks_uri: Option<String>,
    /// Its keys in a file; relative to this file, and taken up again when it changes.
    jwks_file: Option<String>,
    /// PEM of the certificate authorities to trust for its servers in place of the usual ones; relative to this file.
    ca_file: Option<String>,
    /// Whether its servers may have loopback and private addresses. Link-local ones are never connected to.
    #[serde(default)]
    private: bool,
    /// The values of `aud` that mean us: a list, each for every route that names the issuer; or a table, each for the routes
    /// with one resource.
    audience: AudienceTable,
    /// What its tokens may be signed with: RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA.
    #[serde(default = "usual_algorithms")]
    algorithms: Vec<String>,
    /// Accepted `typ` of the header; `absent` for none. Only `at+jwt` says by itself that it is an access token.
    #[serde(default = "usual_types")]
    types: Vec<String>,
    /// Claims that name scopes: a text with spaces between them or an array, by name or dotted path.
    #[serde(default = "usual_scopes")]
    scope_claims: Vec<String>,
    /// Their scope → ours. What is neither here nor in `pass` is dropped.
    #[serde(default)]
    scopes: BTreeMap<String, Vec<String>>,
    /// Scopes that mean the same here; one that ends with `*` stands for all that begin so.
    #[serde(default)]
    pass: Vec<String>,
    /// The claim that names the subject, by name or dotted path.
    #[serde(default = "usual_subject")]
    subject_claim: String,
    /// What comes before the subject here, so that it is nobody of ours; the name and a colon without.
    subject_prefix: Option<String>,
    /// Claims that may name the client; the first that is there does. Here it is called by the issuer's name, a colon, and that.
    #[serde(default = "usual_clients")]
    client_claims: Vec<String>,
    /// Claim, by name or dotted path → what it must be, or hold among others.
    #[serde(default)]
    required: BTreeMap<String, Wanted>,
    /// Accepted difference of clocks, seconds.
    #[serde(default = "half_a_minute")]
    clock_skew: i64,
    /// Seconds between two fetches of its keys: for so long a key that it took back is still believed.
    #[serde(default = "five_minutes")]
    refresh: u64,
    /// Seconds between two fetches for the sake of a key that is not known.
    #[serde(default = "ten")]
    refresh_for_unknown_key: u64,
    /// Seconds after which keys are not believed any more when it does not answer.
    #[serde(default = "a_day")]
    longest_key_age: u64,
    /// Whether this node is not ready before its keys are known.
    #[serde(default)]
    needed: bool,
}

/// The values of `aud` that mean us.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
enum AudienceTable {
    /// Each for every route that names the issuer.
    Any(BTreeSet<String>),
    /// Each for the routes with this resource.
    Of(BTreeMap<String, String>),
}

/// What a claim must be.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
enum Wanted {
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
    /// True or false.
    Flag(bool),
}

fn owned(all: &[&str]) -> Vec<String> {
    all.iter().map(|one| (*one).to_owned()).collect()
}

fn usual_algorithms() -> Vec<String> {
    owned(&["RS256", "PS256", "ES256", "EdDSA"])
}

fn usual_types() -> Vec<String> {
    owned(&[claims::ACCESS_TOKEN])
}

fn usual_scopes() -> Vec<String> {
    owned(&["scope"])
}

fn usual_subject() -> String {
    "sub".to_owned()
}

fn usual_clients() -> Vec<String> {
    owned(&["client_id", "azp", "appid", "cid"])
}

fn half_a_minute() -> i64 {
    30
}

fn five_minutes() -> u64 {
    300
}

fn ten() -> u64 {
    10
}

fn a_day() -> u64 {
    86_400
}

/// What the tables say; mistakes go to `found`. `issuer` is our own.
pub fn read(
    tables: Vec<Spanned<IssuerTable>>,
    issuer: &str,
    apps: Option<&Apps>,
    users: &Users,
    found: &mut Findings<'_>,
) -> Trusted {
    let mut all = Trusted::default();
    for table in tables {
        let span = table.span().start;
        one(table.into_inner(), (issuer, apps, users), &mut all, found.within(span));
    }
    all
}

fn one(
    table: IssuerTable,
    (ours, apps, users): (&str, Option<&Apps>, &Users),
    all: &mut Trusted,
    found: &mut Findings<'_>,
) {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    if table.name.is_empty() || !table.name.bytes().all(plain) || table.name == SELF || all.named(&table.name).is_some()
    {
        found.wrong("name", "one of its own, of letters, digits, - and _, and not self");
    }
    if let Err(why) = outgoing::sound(&table.url) {
        found.wrong("url", why);
    }
    if table.url.contains('?') || table.url == ours || all.iter().any(|other| *other.url == *table.url) {
        found.wrong("url", "an issuer of its own, without query: not ours, and in one table alone");
    }
    // With what is in the files, so that a change of them is a change of the rules.
    let mut text = serde_json::to_string(&table).unwrap_or_default();
    let (place, reach) = (place(&table, all, &mut text, found), reach(&table, all, found));
    let authorities = reach.authorities.as_ref().map(|a| a.digest.hex());
    text.push_str(authorities.as_deref().unwrap_or_default());
    let digest = Digest::of(text.as_bytes());
    let mut between = |key: &str, value: u64, least: u64, most: u64| {
        if !(least..=most).contains(&value) {
            found.wrong(key, format!("seconds, between {least} and {most}"));
        }
    };
    between("clock_skew", u64::try_from(table.clock_skew).unwrap_or(u64::MAX), 0, 60);
    between("refresh", table.refresh, 1, 86_400);
    between("refresh_for_unknown_key", table.refresh_for_unknown_key, 1, 3_600);
    between("longest_key_age", table.longest_key_age, 1, 30 * 86_400);
    if table.longest_key_age < table.refresh {
        found.wrong("longest_key_age", "not less than refresh: keys would be too old before they are asked for again");
    }
    let timing = Timing {
        refresh: table.refresh.saturating_mul(1000),
        unknown: table.refresh_for_unknown_key.saturating_mul(1000),
        longest: table.longest_key_age.saturating_mul(1000),
    };
    let identity = match &place {
        Place::File(_) => digest.hex(),
        place => format!("{} {place:?} {authorities:?} {}", table.url, reach.private),
    };
    let url_value = http::HeaderValue::from_str(&table.url);
    let (url, name, needed) = (Arc::from(&*table.url), Arc::<str>::from(&*table.name), table.needed);
    let rules = rules(table, found);
    let owner =
        all.iter().find(|o| o.rules.prefix.starts_with(&rules.prefix) || rules.prefix.starts_with(&o.rules.prefix));
    if owner.is_some() {
        found.wrong("subject_prefix", "of its own: neither begins with that of another issuer nor the other way round");
    }
    let user = users.keys().find(|user| rules.owns(&name, user));
    let app = apps.into_iter().flat_map(|apps| apps.values());
    let app = app.flat_map(|app| [Some(&app.id), app.run_as.as_ref()]).flatten().find(|id| rules.owns(&name, id));
    if let Some(taken) = user.or(app) {
        found.wrong(
            "subject_prefix",
            format!("{taken} is an app or a user of ours: tokens of the issuer could carry its name"),
        );
    }
    let Ok(url_value) = url_value else { return };
    let revision = u128::from_be_bytes(std::array::from_fn(|n| digest.0[n]));
    let issuer = Issuer {
        name,
        url,
        url_value,
        revision,
        place,
        reach,
        timing,
        needed,
        rules,
        identity,
        source: OnceLock::new(),
    };
    all.add(Arc::new(issuer));
}

fn place(table: &IssuerTable, all: &mut Trusted, text: &mut String, found: &mut Findings<'_>) -> Place {
    let otherwise = Place::Discovery(table.discovery.unwrap_or_default());
    match (&table.jwks_uri, &table.jwks_file, table.discovery) {
        (None, None, _) => otherwise,
        (Some(url), None, None) => {
            if let Err(why) = outgoing::sound(url) {
                found.wrong("jwks_uri", why);
            }
            Place::Url(url.clone())
        }
        (None, Some(file), None) => {
            let path = found.folder().join(file);
            let keys = std::fs::read(&path).map_err(|e| e.to_string()).and_then(|json| {
                text.push_str(&Digest::of(&json).hex());
                KeySet::read(&json)
            });
            all.files.push(path);
            let keys = keys.map_err(|why| format!("{file}: {why}"));
            Place::File(Arc::new(found.or("jwks_file", keys, KeySet::default())))
        }
        (Some(_), ..) => {
            found.wrong("jwks_uri", "one of discovery, jwks_uri and jwks_file says where the keys are");
            otherwise
        }
        (None, Some(_), Some(_)) => {
            found.wrong("jwks_file", "one of discovery, jwks_uri and jwks_file says where the keys are");
            otherwise
        }
    }
}

fn reach(table: &IssuerTable, all: &mut Trusted, found: &mut Findings<'_>) -> Reach {
    if table.jwks_file.is_some() && (table.ca_file.is_some() || table.private) {
        found.wrong("jwks_file", "nothing is fetched, so ca_file and private say nothing");
    }
    let authorities = table.ca_file.as_ref().map(|file| {
        let path = found.folder().join(file);
        let read = certificate::authorities(&path).map_err(|why| format!("{file}: {why}"));
        all.files.push(path);
        crate::policy::route::Authorities::of(found.or("ca_file", read, Vec::new()))
    });
    Reach { authorities, private: table.private }
}

fn rules(table: IssuerTable, found: &mut Findings<'_>) -> Rules {
    let visible = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
    let audience = match table.audience {
        AudienceTable::Any(all) => Audience::Any(all),
        AudienceTable::Of(all) => Audience::Of(all),
    };
    let sound = match &audience {
        Audience::Any(all) => !all.is_empty() && all.iter().all(|a| visible(a)),
        Audience::Of(all) => !all.is_empty() && all.iter().all(|(theirs, ours)| visible(theirs) && visible(ours)),
    };
    if !sound {
        found.wrong("audience", "one or more values of aud that mean us, each visible ASCII");
    }
    let mut algorithms = Vec::<Algorithm>::new();
    for name in &table.algorithms {
        match keys::algorithm(name) {
            Some(algorithm) => algorithms.push(algorithm),
            None => found.wrong("algorithms", format!("{name} is no algorithm of public keys that is known here")),
        }
    }
    if table.algorithms.is_empty() {
        found.wrong("algorithms", "one at least");
    }
    let types: BTreeSet<String> = table.types.iter().map(|t| claims::typ(t)).collect();
    if types.is_empty() || !types.iter().all(|t| visible(t)) {
        found.wrong("types", "one or more of at+jwt, JWT, absent");
    }
    if ["dpop+jwt", "logout+jwt", "secevent+jwt", "id_token+jwt"].iter().any(|other| types.contains(*other)) {
        found.wrong("types", "those of access tokens");
    }
    if table.scope_claims.is_empty() || !table.scope_claims.iter().all(|c| !c.is_empty()) {
        found.wrong("scope_claims", "one claim at least");
    }
    if !table.scopes.values().flatten().all(|s| is_scope_token(s)) {
        found.wrong("scopes", "a scope of ours is visible ASCII without space, quote and backslash (RFC 6749 §3.3)");
    }
    if !table.pass.iter().all(|p| is_scope_token(p) && p != "*" && !p.trim_end_matches('*').contains('*')) {
        found.wrong("pass", "scopes, each with at most one * and that at its end behind something");
    }
    if table.scopes.is_empty() && table.pass.is_empty() {
        found.wrong("scopes", "say what its scopes mean here, in scopes or pass: without, its tokens have none");
    }
    let prefix = table.subject_prefix.unwrap_or_else(|| format!("{}:", table.name));
    if !visible(&prefix) || prefix.len() > 64 {
        found.wrong("subject_prefix", "1 to 64 characters of visible ASCII");
    }
    if table.subject_claim.is_empty() {
        found.wrong("subject_claim", "must not be empty");
    }
    if table.client_claims.is_empty() {
        found.wrong("client_claims", "one claim at least");
    }
    let required = table.required.into_iter().map(|(claim, wanted)| {
        let wanted = match wanted {
            Wanted::Text(text) => text.into(),
            Wanted::Number(number) => number.into(),
            Wanted::Flag(flag) => flag.into(),
        };
        (claim, wanted)
    });
    Rules {
        audience,
        algorithms,
        skew: table.clock_skew,
        types,
        scope_claims: table.scope_claims,
        scopes: table.scopes,
        pass: table.pass,
        subject: table.subject_claim,
        prefix,
        clients: table.client_claims,
        required: required.collect(),
    }
}

/// Whose tokens a route accepts, by the names in its `issuers`; `None` where those are ours alone.
pub fn accepted(names: &[String], trusted: &Trusted, auth: Auth, found: &mut Findings<'_>) -> Option<Arc<Accepted>> {
    let own = names.iter().any(|name| name == SELF);
    let mut issuers: Vec<Arc<Issuer>> = Vec::new();
    for name in names.iter().filter(|name| *name != SELF) {
        match trusted.named(name) {
            Some(issuer) if issuers.iter().any(|known| Arc::ptr_eq(known, issuer)) => {}
            Some(issuer) => issuers.push(issuer.clone()),
            None => found.wrong("issuers", format!("{name} is no [[trusted_issuer]] without mistakes")),
        }
    }
    if names.is_empty() {
        found.wrong("issuers", "names of [[trusted_issuer]] tables, and self for ours");
    }
    if auth != Auth::Token && !own {
        found.wrong("issuers", "a browser's session is ours: self has to be among them");
    }
    if auth == Auth::Session && !issuers.is_empty() {
        found.wrong("issuers", "the route takes no tokens: auth has to be token or both");
    }
    (!issuers.is_empty()).then(|| Arc::new(Accepted { own, issuers }))
}
