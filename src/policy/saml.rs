//! Whom we trust in SAML, and as whom we speak it.
use crate::{
    clock::Timestamp,
    model::{Level, Profile},
    saml::{Assertion, IdentityProvider, ServiceProvider, TrustedKeys, instant},
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

/// How long before metadata expires it is warned of, seconds.
const EXPIRES_SOON: i64 = 14 * 86_400;

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

/// Why messages of an IdP are not taken; for the log alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// No table names it.
    #[error("{0:?} is no IdP of ours")]
    Unknown(String),
    /// Its metadata says nothing any more (SAML Metadata §2.3.1).
    #[error("the metadata of {name} was valid until {}; now {}", instant::text(*until), instant::text(*now))]
    Expired {
        /// The partner's name.
        name: String,
        /// Its `validUntil`.
        until: Timestamp,
        /// The time it was asked for.
        now: Timestamp,
    },
}

/// Why an assertion names no user of ours; for the log alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Nameless {
    /// No name, or several.
    #[error("it names no user: {0} has to hold exactly one name")]
    Missing(String),
    /// A name made for one sign-on (SAML Core §8.3.8): the next time it would be somebody else.
    #[error(
        "its NameID is transient, another one each time: set username of saml_idp {0} to an attribute, or name_format to a format that lasts"
    )]
    Transient(String),
}

const TRANSIENT: &str = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient";

impl Partner {
    /// The user of ours that an assertion speaks of: exactly one name that lasts, or why there is none.
    pub fn username<'a>(&self, assertion: &'a Assertion) -> Result<&'a str, Nameless> {
        let missing = |of: &str| Nameless::Missing(of.to_owned());
        let Some(attribute) = &self.username else {
            let name = assertion.name_id.as_ref().ok_or_else(|| missing("NameID"))?;
            if name.format.as_deref() == Some(TRANSIENT) {
                return Err(Nameless::Transient(self.name.clone()));
            }
            return Ok(&name.value);
        };
        let mut values = assertion.values(attribute);
        values.next().filter(|name| !name.is_empty() && values.next().is_none()).ok_or_else(|| missing(attribute))
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
    /// The partner whose `entityID` is `entity`, if its metadata still speaks at `now`.
    pub fn usable(&self, entity: &str, now: Timestamp) -> Result<&Arc<Partner>, Unusable> {
        let partner = self.partners.get(entity).ok_or_else(|| Unusable::Unknown(entity.to_owned()))?;
        match partner.idp.valid_until {
            Some(until) if until <= now => Err(Unusable::Expired { name: partner.name.clone(), until, now }),
            Some(_) | None => Ok(partner),
        }
    }

    /// Partners whose metadata has expired at `now`, or will within two weeks: in words, for whoever starts or checks.
    pub fn expiring(&self, now: Timestamp) -> Vec<String> {
        let told = |p: &Arc<Partner>| {
            let until = p.idp.valid_until.filter(|until| *until <= now.plus(EXPIRES_SOON))?;
            let ends = instant::text(until);
            Some(format!("saml_idp {}: its metadata is valid until {ends}, and its messages are refused after", p.name))
        };
        self.partners.values().filter_map(told).collect()
    }

    /// The partner that signs in the people of the domain that `name` ends with.
    pub fn for_domain(&self, name: &str) -> Option<&Arc<Partner>> {
        let domain = name.rsplit_once('@')?.1.to_ascii_lowercase();
        self.partners.values().find(|p| p.domains.contains(&domain))
    }

    /// Whether the IdP `entity` is there and may bring people.
    pub fn brings(&self, entity: &str) -> bool {
        self.partners.get(entity).is_some_and(|p| p.create_users)
    }

    /// The partner with this name.
    pub fn named(&self, name: &str) -> Option<&Arc<Partner>> {
        self.partners.values().find(|p| p.name == name)
    }
}
