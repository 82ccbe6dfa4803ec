//! `[saml]` and `[[saml_idp]]` of `conf/portcullis.toml`: as whom we speak SAML, and whom we trust in it.
use super::mistake::Findings;
use crate::{
    policy::saml::{ACS, LOGOUT, Partner, Saml},
    saml::{IdentityProvider, ServiceProvider, TrustedKeys, sign::SigningKey},
    secret::Digest,
};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use schemars::JsonSchema;
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};
use toml::Spanned;

/// Claims of text that an IdP may fill (OIDC Core §5.1).
const CLAIMS: [&str; 10] = [
    "name",
    "given_name",
    "family_name",
    "nickname",
    "picture",
    "zoneinfo",
    "locale",
    "email",
    "phone_number",
    "address",
];

/// The service provider that we are to identity providers.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SamlTable {
    /// Our entity ID; the issuer without.
    entity_id: Option<String>,
    /// PEM (PKCS#8) of the key that signs our messages: RSA from 2048 bits, or P-256; relative to this file.
    key_file: String,
    /// PEM of its certificate, which IdPs get with our metadata.
    certificate_file: String,
    /// Whether our metadata is signed.
    #[serde(default)]
    sign_metadata: bool,
    /// The app that the SAML assertion flow (`grant_type=assertion`) issues for; that flow is off without.
    assertion_app: Option<String>,
}

/// An identity provider.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IdpTable {
    /// Its name in addresses and in the log: letters, digits, `-` and `_`.
    name: String,
    /// Its name on the login page; `name` without.
    title: Option<String>,
    /// Its metadata; relative to this file, and taken up again when it changes.
    metadata_file: String,
    /// Which entity of the metadata is meant, where it describes several.
    entity_id: Option<String>,
    /// Whether apps may exchange its assertions for tokens (RFC 7522 §2.1).
    #[serde(default)]
    grants: bool,
    /// The attribute that holds the user's name here; NameID without.
    username: Option<String>,
    /// The format of name that is asked for, such as `urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress`.
    name_format: Option<String>,
    /// Mail domains whose people sign in there: their names lead to it from the login page.
    #[serde(default)]
    domains: BTreeSet<String>,
    /// Whether it may sign somebody in whom we did not send there.
    #[serde(default)]
    idp_initiated: bool,
    /// Whether people whom nobody here knows become users when they first come. Who is in users.toml is as that says.
    #[serde(default)]
    create_users: bool,
    /// Whether it may speak for users of users.toml too, whichever it names: at sign-on and in assertions that are
    /// exchanged for tokens. Without, it speaks for those alone whom it brought itself.
    #[serde(default)]
    existing_users: bool,
    /// Whether single logout from the IdP also ends the refresh tokens, and their access tokens, that came from the
    /// session it ends.
    #[serde(default)]
    logout_ends_tokens: bool,
    /// Authentication contexts (`AuthnContextClassRef`) of the IdP that mean two factors, such as
    /// `https://refeds.org/profile/mfa`: who signed in so has `high_assurance` here, and where an app asks for that, the
    /// IdP is asked for one of these.
    #[serde(default)]
    high_assurance_contexts: Vec<String>,
    /// What is learnt of such people: claim (`name`, `given_name`, `family_name`, `nickname`, `email`, `phone_number`,
    /// `address`, `locale`, `zoneinfo`, `picture`) = the IdP's attribute.
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    /// The attribute that names their groups.
    groups: Option<String>,
    /// What a group allows here: group = profiles and permission sets, which decide admin approval.
    #[serde(default)]
    permissions: BTreeMap<String, BTreeSet<String>>,
}

/// What the tables say; mistakes go to `found`.
pub fn read(
    saml: Option<Spanned<SamlTable>>,
    idps: Vec<Spanned<IdpTable>>,
    issuer: &str,
    apps: Option<&super::Apps>,
    found: &mut Findings<'_>,
) -> Saml {
    let mut all = Saml::default();
    let mut texts = Vec::new();
    let saml_stands = saml.is_some();
    if let Some(table) = saml {
        let span = table.span().start;
        own(table.into_inner(), issuer, apps, &mut all, found.within(span));
    }
    for table in idps {
        let span = table.span().start;
        let found = found.within(span);
        let table = table.into_inner();
        let file = found.folder().join(&table.metadata_file);
        all.files.push(file.clone());
        let text = std::fs::read_to_string(&file).map_err(|e| e.to_string());
        let idp = text.and_then(|text| {
            let idp = IdentityProvider::read(&text, table.entity_id.as_deref());
            texts.push(text);
            idp
        });
        let idp = idp.map(Some).map_err(|why| format!("{}: {why}", table.metadata_file));
        let Some(idp) = found.or("metadata_file", idp, None) else { continue };
        let plain =
            |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        if !plain(&table.name) || all.named(&table.name).is_some() {
            found.wrong("name", "one of its own, of letters, digits, - and _");
        }
        let domain = |d: &String| {
            !d.is_empty() && d.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b))
        };
        let taken = |d: &&String| all.partners.values().any(|p| p.domains.contains(*d));
        if !table.domains.iter().all(domain) || table.domains.iter().any(|d| taken(&d)) {
            found.wrong("domains", "lower-case domain names, each of one IdP alone");
        }
        if !saml_stands && !table.grants {
            found.wrong("name", "people sign in at an IdP only where [saml] says as whom we speak");
        }
        let uri = |c: &String| c.contains(':') && c.bytes().all(|b| b.is_ascii_graphic());
        if !table.high_assurance_contexts.iter().all(uri) {
            found.wrong("high_assurance_contexts", "URIs, as the IdP writes them in AuthnContextClassRef");
        }
        for claim in table.attributes.keys().filter(|c| !CLAIMS.contains(&c.as_str())) {
            found.wrong("attributes", format!("{claim} is none of {}", CLAIMS.join(", ")));
        }
        if !table.create_users && !table.existing_users {
            found.wrong("name", "speaks for nobody: create_users or existing_users says for whom it may");
        }
        if !table.permissions.is_empty() && table.groups.is_none() {
            found.wrong("permissions", "needs groups: the attribute that names them");
        }
        let entity = idp.entity.clone();
        let partner = Partner {
            title: table.title.unwrap_or_else(|| table.name.clone()),
            name: table.name,
            idp,
            grants: table.grants,
            idp_initiated: table.idp_initiated,
            domains: table.domains,
            username: table.username,
            name_format: table.name_format,
            create_users: table.create_users,
            existing_users: table.existing_users,
            logout_ends_tokens: table.logout_ends_tokens,
            high_assurance_contexts: table.high_assurance_contexts,
            attributes: table.attributes,
            groups: table.groups,
            permissions: table.permissions,
        };
        if all.partners.insert(entity.clone(), Arc::new(partner)).is_some() {
            found.wrong("metadata_file", format!("{entity} stands in another table too"));
        }
    }
    all.digest = Digest::of(texts.join("\0").as_bytes()).hex();
    all
}

fn own(table: SamlTable, issuer: &str, apps: Option<&super::Apps>, all: &mut Saml, found: &mut Findings<'_>) {
    let folder = found.folder();
    let file = |name: &str| std::fs::read(folder.join(name)).map_err(|e| format!("{name}: {e}"));
    let key = file(&table.key_file)
        .and_then(|pem| SigningKey::from_pem(&pem).map_err(|w| format!("{}: {w}", table.key_file)));
    let certificate = file(&table.certificate_file).and_then(|pem| {
        let der = CertificateDer::from_pem_slice(&pem).map_err(|_| "holds no CERTIFICATE in PEM".to_owned());
        // It has to be one that IdPs can verify with, and so could we.
        let der = der.and_then(|der| TrustedKeys::of([&*der]).map(|keys| (der.to_vec(), keys)));
        der.map_err(|why| format!("{}: {why}", table.certificate_file))
    });
    let key = found.or("key_file", key.map(Some), None);
    let certificate = found.or("certificate_file", certificate.map(Some), None);
    all.files.extend([&table.key_file, &table.certificate_file].map(|name| folder.join(name)));
    if let (Some(key), Some((certificate, keys))) = (key, certificate) {
        if keys.verify_detached(key.algorithm(), b"one pair", &key.sign(b"one pair")).is_err() {
            found.wrong("key_file", format!("is not the key of {}", table.certificate_file));
        }
        all.sp = Some(Arc::new(ServiceProvider {
            entity: table.entity_id.unwrap_or_else(|| issuer.to_owned()),
            acs: format!("{issuer}{}", ACS),
            logout: format!("{issuer}{}", LOGOUT),
            key,
            certificate,
        }));
    }
    all.sign_metadata = table.sign_metadata;
    if let (Some(app), Some(apps)) = (&table.assertion_app, apps)
        && !apps.get(app.as_str()).is_some_and(|a| a.grants.contains("assertion"))
    {
        found.wrong("assertion_app", format!("{app} is no app with the grant assertion"));
    }
    all.assertion_app = table.assertion_app.map(Arc::from);
}

/// The certificates that apps registered, for their SAML assertions. A key that only JOSE knows is none of them.
pub fn certificates(apps: &super::Apps) -> HashMap<Arc<str>, TrustedKeys> {
    let pinned = apps.values().filter_map(|app| {
        let ders = app.keys.iter().filter_map(|k| k.certificate.as_deref());
        let usable: Vec<&[u8]> = ders.filter(|der| TrustedKeys::of([*der]).is_ok()).collect();
        let keys = TrustedKeys::of(usable).ok().filter(|k| !k.is_empty())?;
        Some((app.id.clone(), keys))
    });
    pinned.collect()
}
