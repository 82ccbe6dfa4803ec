//! Configuration: read once, validated once, every mistake told.
pub mod admin_api;
pub mod app;
pub mod certificate;
pub mod client_certificate;
pub mod dpop;
pub mod issuer;
pub mod mistake;
pub mod profile;
pub mod registration;
pub mod reload;
pub mod route;
pub mod salesforce;
pub mod saml;
pub mod server;
pub mod sign_in;
pub mod store;
pub mod telemetry;
pub mod terms;
pub mod upstream;
pub mod user;
mod warning;

use crate::{
    issuer::Trusted,
    model::{Client, Ranges, ScopeSet, User},
    policy::{
        Policy, client_certificate::ClientCertificates, dpop::Dpop, own_paths::are_ours, people::People,
        registration::Registration, route::Table, salesforce::Salesforce, saml::Saml,
    },
    secret::Digest,
};
use certificate::{CertificateTable, Certificates};
use mistake::{Findings, Mistake};
use schemars::JsonSchema;
use serde::Deserialize;
use server::Settings;
use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
};
use toml::Spanned;

/// The main file.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "conf/portcullis.toml")]
pub struct Main {
    /// The issuer identifier: the https URL under which clients reach this server, without trailing slash.
    issuer: String,
    /// Serves an example API, and makes a certificate and the demo's keys where they are missing. Not for production.
    #[serde(default)]
    dev: bool,
    #[schemars(with = "server::ServerTable")]
    server: Spanned<server::ServerTable>,
    #[serde(default)]
    #[schemars(with = "Option<store::StoreTable>")]
    store: Option<Spanned<store::StoreTable>>,
    #[serde(default)]
    #[schemars(with = "Option<store::KeysTable>")]
    keys: Option<Spanned<store::KeysTable>>,
    #[serde(default)]
    #[schemars(with = "Vec<CertificateTable>")]
    certificate: Vec<Spanned<CertificateTable>>,
    #[serde(default)]
    #[schemars(with = "Vec<client_certificate::ClientCertificateTable>")]
    client_certificate: Vec<Spanned<client_certificate::ClientCertificateTable>>,
    #[serde(default)]
    #[schemars(with = "Vec<route::RouteTable>")]
    route: Vec<Spanned<route::RouteTable>>,
    #[serde(default)]
    session: sign_in::SessionTable,
    #[serde(default)]
    login: sign_in::LoginTable,
    #[serde(default)]
    brand: sign_in::BrandTable,
    #[serde(default)]
    dpop: dpop::DpopTable,
    /// Scope → language (`en`, `de`) → what it allows, in plain words for the page that asks for consent.
    #[serde(default)]
    scope: BTreeMap<String, BTreeMap<String, String>>,
    #[serde(default)]
    #[schemars(with = "Vec<sign_in::SignInTable>")]
    sign_in: Vec<Spanned<sign_in::SignInTable>>,
    #[serde(default)]
    #[schemars(with = "Option<saml::SamlTable>")]
    saml: Option<Spanned<saml::SamlTable>>,
    #[serde(default)]
    #[schemars(with = "Vec<saml::IdpTable>")]
    saml_idp: Vec<Spanned<saml::IdpTable>>,
    /// Other authorization servers, whose tokens routes may accept.
    #[serde(default)]
    #[schemars(with = "Vec<issuer::IssuerTable>")]
    trusted_issuer: Vec<Spanned<issuer::IssuerTable>>,
    /// The wire shape that programs written for Salesforce's connected apps expect; off without.
    #[schemars(with = "Option<salesforce::SalesforceTable>")]
    salesforce: Option<Spanned<salesforce::SalesforceTable>>,
    /// Profile or permission set → what holds for everybody who has it.
    #[serde(default)]
    profile: BTreeMap<String, profile::ProfileTable>,
    /// The admin API; off without.
    #[schemars(with = "Option<admin_api::AdminApiTable>")]
    admin_api: Option<Spanned<admin_api::AdminApiTable>>,
    /// OpenTelemetry traces; off without.
    #[schemars(with = "Option<telemetry::TelemetryTable>")]
    telemetry: Option<Spanned<telemetry::TelemetryTable>>,
    /// Dynamic client registration; off without.
    #[schemars(with = "Option<registration::RegistrationTable>")]
    registration: Option<Spanned<registration::RegistrationTable>>,
}

/// A whole configuration without mistakes.
#[derive(Debug)]
pub struct Loaded {
    /// What a reload cannot change.
    pub settings: Settings,
    /// What it can.
    pub policy: Policy,
    /// What the listeners show.
    pub certificates: Certificates,
    /// Lawful, but hardly meant.
    pub warnings: Vec<String>,
}

/// Reads `main`, and `apps/*.toml` and `users.toml` beside it.
pub fn load(main: &Path) -> Result<Loaded, Vec<Mistake>> {
    let folder = main.parent().unwrap_or(Path::new("."));
    let mut mistakes = Vec::new();
    let mut keep = |mut more: Vec<Mistake>| mistakes.append(&mut more);
    let text = read(main).map_err(|m| vec![m])?;
    let (users_file, mut texts) = (folder.join("users.toml"), vec![text.clone()]);
    let users = match std::fs::read_to_string(&users_file) {
        Ok(text) => {
            let users = user::read(&users_file, &text);
            texts.push(text);
            users.unwrap_or_else(|m| {
                keep(m);
                HashMap::new()
            })
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => HashMap::new(),
        Err(e) => {
            keep(vec![unreadable(&users_file, &e)]);
            HashMap::new()
        }
    };
    let mut clients = HashMap::new();
    let files = app_files(&folder.join("apps")).unwrap_or_else(|m| {
        keep(vec![m]);
        Vec::new()
    });
    let count = files.len();
    for file in files {
        let read = read(&file).map_err(|m| vec![m]).and_then(|text| {
            let client = app::read(&file, &text);
            texts.push(text);
            client
        });
        match read {
            Err(more) => keep(more),
            Ok(client) => {
                if let Some(earlier) = clients.insert(client.id.clone(), Arc::new(client)) {
                    let message = format!("client_id: {} stands in another file too", earlier.id);
                    keep(vec![Mistake { file: file.clone(), line: 1, message }]);
                }
            }
        }
    }
    // With a mistake in an app's file it is not known which apps there are.
    let apps = (clients.len() == count).then_some(&clients);
    let parsed = main_file(main, &text, apps, &users).unwrap_or_else(|more| {
        keep(more);
        None
    });
    match parsed {
        Some(parts) if mistakes.is_empty() => {
            let MainParts {
                issuer,
                settings,
                certificates,
                client_certificates,
                routes,
                people,
                mut saml,
                salesforce,
                profiles,
                dpop,
                registration,
                issuers,
            } = parts;
            texts.extend(client_certificates.rules.iter().map(|rule| rule.digest.hex()));
            let mut revisions: Vec<_> = issuers.iter().map(|issuer| format!("{:x}", issuer.revision)).collect();
            revisions.sort();
            texts.extend(revisions);
            let client_certificates = Arc::new(client_certificates);
            saml.apps = saml::certificates(&clients);
            texts.push(saml.digest.clone());
            let revision = Digest::of(texts.join("\0").as_bytes()).hex()[..16].to_owned();
            let issuer = issuer.into();
            let salesforce = salesforce.map(Arc::new);
            let registration = registration.map(Arc::new);
            let decided = Policy::default();
            let mut passwords: Vec<Arc<str>> = users.values().filter_map(|user| user.password.clone()).collect();
            passwords.sort_unstable();
            let mut policy = Policy {
                issuer,
                clients,
                users,
                passwords: passwords.into(),
                profiles,
                routes,
                people,
                saml,
                salesforce,
                client_certificates,
                dpop,
                registration,
                issuers,
                revision,
                // What is decided while it runs.
                barred: decided.barred,
                registered: decided.registered,
            };
            imply(&mut policy);
            let dev = settings.example_api.is_some();
            let warnings = warning::all(&policy, settings.admin_api.as_ref().map(|a| a.audience.as_str()), dev);
            Ok(Loaded { settings, policy, certificates, warnings })
        }
        _ => Err(mistakes),
    }
}

/// Gives apps what their scopes stand for, which the rest of the configuration says.
fn imply(policy: &mut Policy) {
    if policy.salesforce.is_none() {
        return;
    }
    let stand_for_more = |scopes: &ScopeSet| scopes.contains("full") || scopes.contains("id");
    let known = policy.clone();
    for client in policy.clients.values_mut().filter(|client| stand_for_more(&client.scopes)) {
        *client = Arc::new(known.widened(Client::clone(client)));
    }
    if let Some(rules) = &mut policy.registration {
        let audience = rules.app.get("audience").and_then(toml::Value::as_str).unwrap_or_default();
        let implied = known.implied(&rules.scopes, audience);
        *rules = Arc::new(Registration { implied, ..Registration::clone(rules) });
    }
}

type Profiles = HashMap<String, Ranges>;

/// What the main file says.
struct MainParts {
    issuer: String,
    settings: Settings,
    certificates: Certificates,
    client_certificates: ClientCertificates,
    routes: Table,
    people: People,
    saml: Saml,
    salesforce: Option<Salesforce>,
    profiles: Profiles,
    dpop: Dpop,
    registration: Option<Registration>,
    issuers: Trusted,
}

type Apps = HashMap<Arc<str>, Arc<Client>>;
type Users = HashMap<Arc<str>, Arc<User>>;

fn main_file(file: &Path, text: &str, apps: Option<&Apps>, users: &Users) -> Result<Option<MainParts>, Vec<Mistake>> {
    let raw: Main = mistake::parse(file, text)?;
    let mut found = Findings::of(file, text);
    let authority = raw.issuer.strip_prefix("https://").unwrap_or("");
    if authority.is_empty() || raw.issuer.ends_with('/') || raw.issuer.contains(['?', '#', ' ']) {
        found.wrong("issuer", "an https URL without trailing slash, query and fragment (RFC 8414 §2)");
    }
    if authority.contains('/') {
        found.wrong("issuer", "a path in the issuer is not supported; use a host of its own");
    }
    let span = raw.server.span().start;
    let mut settings = server::read(raw.server.into_inner(), raw.dev, found.within(span));
    if let Some(table) = raw.store {
        let span = table.span().start;
        settings.store = store::read(table.into_inner(), found.within(span));
    }
    if let Some(table) = raw.keys {
        let span = table.span().start;
        settings.keys = store::keys(table.into_inner(), found.within(span));
    }
    if settings.keys.is_none() && settings.store.stale_after().is_some() {
        let needed =
            "encryption_key_file, _env or _command is needed in [keys]: nodes share their keys in the database, sealed";
        found.within(0).wrong("postgres", needed);
    }
    settings.admin_api = raw.admin_api.map(|table| {
        let span = table.span().start;
        admin_api::read(table.into_inner(), &raw.issuer, &settings, found.within(span))
    });
    settings.telemetry = raw.telemetry.map(|table| {
        let span = table.span().start;
        telemetry::read(table.into_inner(), found.within(span))
    });
    let mut certificates = Certificates::default();
    if raw.certificate.is_empty() {
        found.within(0).wrong("certificate", "the HTTPS listeners need at least one [[certificate]]");
    }
    for table in raw.certificate {
        let span = table.span().start;
        certificates.add(table.into_inner(), found.within(span));
    }
    let mut client_certificates = ClientCertificates::default();
    for table in raw.client_certificate {
        let span = table.span().start;
        client_certificate::add(&mut client_certificates, table.into_inner(), &settings.listen, found.within(span));
    }
    let issuers = issuer::read(raw.trusted_issuer, &raw.issuer, apps, users, &mut found);
    let mut routes = Vec::new();
    let mut begin = BTreeMap::new();
    for table in raw.route {
        let span = table.span().start;
        let route = route::read(table.into_inner(), (&raw.issuer, &issuers), found.within(span));
        if begin.insert(route.name.clone(), span).is_some() {
            found.wrong("name", format!("{} names two routes", route.name));
        }
        routes.push(Arc::new(route));
    }
    let routes = Table::build(routes);
    let people = sign_in::read(&raw.session, &raw.login, raw.brand, raw.scope, (raw.sign_in, apps), found.within(0));
    let dpop = dpop::read(&raw.dpop, found.table("dpop"));
    let saml = saml::read(raw.saml, raw.saml_idp, &raw.issuer, apps, &mut found);
    let salesforce = raw.salesforce.map(|table| {
        let span = table.span().start;
        salesforce::read(table.into_inner(), &raw.issuer, apps, found.within(span))
    });
    let own = |path: &str| are_ours(path) || crate::salesforce::owns(path, salesforce.as_ref());
    route::unreachable(&routes, &begin, own, &mut found);
    let profiles = profile::read(&raw.profile, found.within(0));
    let registration = raw.registration.map(|table| {
        let span = table.span().start;
        registration::read(table.into_inner(), found.within(span))
    });
    if found.mistakes.is_empty() {
        Ok(Some(MainParts {
            issuer: raw.issuer,
            settings,
            certificates,
            client_certificates,
            routes,
            people,
            saml,
            salesforce,
            profiles,
            dpop,
            registration,
            issuers,
        }))
    } else {
        Err(found.mistakes)
    }
}

fn app_files(folder: &Path) -> Result<Vec<PathBuf>, Mistake> {
    let entries = match std::fs::read_dir(folder) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|e| unreadable(folder, &e))?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| unreadable(folder, &e))?.path();
        // Editors leave hidden and half-written files beside the real one.
        let hidden = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
        if !hidden && path.extension().is_some_and(|e| e == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read(file: &Path) -> Result<String, Mistake> {
    std::fs::read_to_string(file).map_err(|e| unreadable(file, &e))
}

fn unreadable(file: &Path, error: &std::io::Error) -> Mistake {
    Mistake { file: file.to_owned(), line: 1, message: format!("cannot be read: {error}") }
}

/// Scopes named by a list; each entry is one scope token.
fn scopes(found: &mut Findings<'_>, key: &str, list: &[String]) -> ScopeSet {
    if list.iter().all(|s| crate::model::scope::is_scope_token(s)) {
        return ScopeSet::of(list);
    }
    found.wrong(key, "a scope is visible ASCII without space, quote and backslash (RFC 6749 §3.3)");
    ScopeSet::default()
}
