//! Whom we trust in SAML, and as whom we speak it.
use crate::{
    model::{Level, Profile},
    saml::{Assertion, IdentityProvider, ServiceProvider, TrustedKeys},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    sync::Arc,
};

/// Where Responses come; under `/oauth2/`, which is ours whole.
pub const ACS: &str = "/oauth2/saml/acs";
/// Where logout messages come.
pub const LOGOUT: &str = "/oauth2/saml/logout";

/// Part of a policy.
#[derive(Clone, Debug, Default)]
pub struct Saml {
    /// Who we are to identity providers; without, nobody signs in by SAML.
    pub sp: Option<Arc<ServiceProvider>>,
    /// Whether our metadata is signed.
    pub sign_metadata: bool,
    /// Identity providers by `entityID`.
    pub partners: BTreeMap<String, Arc<Partner>>,
    /// Certificates that apps registered, by `client_id`.
    pub apps: HashMap<Arc<str>, TrustedKeys>,
    /// The app that `grant_type=assertion` issues for; without, that grant is off.
    pub assertion_app: Option<Arc<str>>,
    /// Files that it was read from.
    pub files: Vec<PathBuf>,
    /// What was in them, for the policy's revision.
    pub digest: String,
}

/// An identity provider, and what we let it do.
#[derive(Debug)]
pub struct Partner {
    /// Its name in addresses and in the log.
    pub name: String,
    /// Its name on the login page.
    pub title: String,
    /// What its metadata says.
    pub idp: IdentityProvider,
    /// Whether apps may exchange its assertions for tokens (RFC 7522 §2.1).
    pub grants: bool,
    /// Whether it may sign somebody in whom we did not send there.
    pub idp_initiated: bool,
    /// Mail domains whose people sign in there.
    pub domains: BTreeSet<String>,
    /// The attribute that holds the user's name here; without, NameID does.
    pub username: Option<String>,
    /// The name's format that is asked for (SAML Core §8.3).
    pub name_format: Option<String>,
    /// Whether people whom nobody here knows become users when they first come.
    pub create_users: bool,
    /// Whether it may speak for users of the configuration too; else for those alone whom it brought.
    pub existing_users: bool,
    /// Whether its logout also ends what apps may do while the person is away, where it came from that session.
    pub logout_ends_tokens: bool,
    /// `AuthnContextClassRef`s that mean two factors, in the order in which they are asked for.
    pub high_assurance_contexts: Vec<String>,
    /// Claim of ours → attribute of the IdP.
    pub attributes: BTreeMap<String, String>,
    /// The attribute that names groups.
    pub groups: Option<String>,
    /// Group → permissions here.
    pub permissions: BTreeMap<String, BTreeSet<String>>,
}

impl Partner {
    /// The user of ours that an assertion speaks of: exactly one name, or none.
    pub fn username<'a>(&self, assertion: &'a Assertion) -> Option<&'a str> {
        let Some(attribute) = &self.username else { return assertion.name_id.as_ref().map(|n| n.value.as_str()) };
        let mut values = assertion.values(attribute);
        values.next().filter(|name| !name.is_empty() && values.next().is_none())
    }
}

impl Partner {
    /// How the person signed in there: [`Level::HighAssurance`] where a statement names a context that means it.
    pub fn level(&self, assertion: &Assertion) -> Level {
        let mut classes = assertion.authentications.iter().filter_map(|a| a.class.as_ref());
        let high = classes.any(|class| self.high_assurance_contexts.contains(class));
        if high { Level::HighAssurance } else { Level::Standard }
    }

    /// What the IdP's groups allow here.
    pub fn permitted(&self, assertion: &Assertion) -> BTreeSet<String> {
        let groups = self.groups.iter().flat_map(|attribute| assertion.values(attribute));
        groups.filter_map(|group| self.permissions.get(group)).flatten().cloned().collect()
    }

    /// What the IdP's attributes tell of somebody.
    pub fn profile(&self, assertion: &Assertion) -> Profile {
        let told = self.attributes.iter().filter_map(|(claim, attribute)| {
            let value = assertion.values(attribute).next().filter(|v| !v.is_empty())?;
            Some((claim.clone(), serde_json::Value::from(value)))
        });
        // The configuration checked that every claim is one of text.
        serde_json::from_value(told.collect::<serde_json::Map<_, _>>().into()).unwrap_or_default()
    }
}

impl Saml {
    /// The partner that signs in the people of the domain that `name` ends with.
    pub fn for_domain(&self, name: &str) -> Option<&Arc<Partner>> {
        let domain = name.rsplit_once('@')?.1.to_ascii_lowercase();
        self.partners.values().find(|p| p.domains.contains(&domain))
    }

    /// The partner with this name.
    pub fn named(&self, name: &str) -> Option<&Arc<Partner>> {
        self.partners.values().find(|p| p.name == name)
    }
}
