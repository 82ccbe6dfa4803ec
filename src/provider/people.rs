//! Who there is: users of the configuration, and people whom an identity provider brought.
use super::{Cx, error::OAuthError};
use crate::{login::directory::Known, model::User, policy::saml::Partner};
use std::sync::Arc;

/// Why an IdP may speak for somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authority {
    /// It brought them.
    Brought,
    /// They are in the configuration, and it may speak for those too.
    ExistingUsers,
}

impl Authority {
    /// As the audit stream says it: the setting that gives it.
    pub const fn setting(self) -> &'static str {
        match self {
            Self::Brought => "create_users",
            Self::ExistingUsers => "existing_users",
        }
    }
}

/// Why an IdP may not speak for somebody; for the log alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stranger {
    /// A user of the configuration.
    #[error("{1:?} is in users.toml, and {0} may not speak for those: existing_users is not set")]
    Existing(String, String),
    /// A user of the configuration who is switched off, or anybody whom the administrator blocked.
    #[error("{0:?} is not active")]
    Inactive(String),
    /// Somebody whom another IdP brought.
    #[error("{1:?} was brought by {0}")]
    Another(String, String),
    /// Nobody here yet, and of a domain whose people sign in elsewhere.
    #[error("{1:?} is of a domain whose people sign in at {0}")]
    OfDomain(String, String),
    /// Nobody here.
    #[error("{0:?} is nobody here")]
    Unknown(String),
}

impl Cx {
    /// The user of this name. The configuration's come first; an IdP's are there for as long as it may bring them.
    pub async fn user(&self, name: &str) -> Result<Option<Arc<User>>, OAuthError> {
        if let Some(user) = self.policy.users.get(name) {
            return Ok(Some(user.clone()));
        }
        Ok(self.brought(name).await?.map(|known| self.standing(name, &known)))
    }

    /// The IdP that brought `name`, by `entityID`, as their tokens say it: nothing for a user of the configuration.
    pub async fn brought_by(&self, name: &str) -> Result<Option<String>, OAuthError> {
        if self.policy.users.contains_key(name) {
            return Ok(None);
        }
        Ok(self.brought(name).await?.map(|known| known.person.idp.clone()))
    }

    /// Whether the IdP `entity` may still speak for `name`, whom it signed in.
    pub fn speaks_still(&self, entity: &str, name: &str) -> bool {
        let partner = self.policy.saml.partners.get(entity);
        let may =
            |p: &Arc<Partner>| if self.policy.users.contains_key(name) { p.existing_users } else { p.create_users };
        partner.is_some_and(may)
    }

    async fn brought(&self, name: &str) -> Result<Option<Arc<Known>>, OAuthError> {
        if !self.policy.saml.partners.values().any(|p| p.create_users) {
            return Ok(None);
        }
        let known = self.login.directory.find(name, &*self.store, self.now).await?;
        Ok(known.filter(|k| self.policy.saml.brings(&k.person.idp)))
    }

    /// The same, of those who were looked for while this request was served.
    pub fn seen(&self, name: &str) -> Option<Arc<User>> {
        let own = self.policy.users.get(name).cloned();
        let brought = || self.login.directory.recent(name).filter(|k| self.policy.saml.brings(&k.person.idp));
        own.or_else(|| brought().map(|k| self.standing(name, &k)))
    }

    /// Whether `partner` may speak for the user `name`: with whose authority, or why not. Whom it brought itself it may
    /// always; whom the configuration holds, only where its table says so; whom another IdP brought, never.
    pub async fn spoken_for_by(
        &self,
        partner: &Partner,
        name: &str,
    ) -> Result<Result<Authority, Stranger>, OAuthError> {
        if let Some(user) = self.policy.users.get(name) {
            return Ok(match (partner.existing_users, user.active) {
                (false, _) => Err(Stranger::Existing(partner.name.clone(), name.to_owned())),
                (true, false) => Err(Stranger::Inactive(name.to_owned())),
                (true, true) => Ok(Authority::ExistingUsers),
            });
        }
        let known = self.login.directory.find(name, &*self.store, self.now).await?;
        Ok(match known {
            Some(known) if known.person.idp != partner.idp.entity => {
                Err(Stranger::Another(known.person.idp.clone(), name.to_owned()))
            }
            Some(_) if self.policy.barred.contains(name) => Err(Stranger::Inactive(name.to_owned())),
            Some(_) if partner.create_users => Ok(Authority::Brought),
            Some(_) => Err(Stranger::Unknown(name.to_owned())),
            // No IdP takes a name before the one whose it is has brought it.
            None => Err(match self.policy.saml.for_domain(name).filter(|p| p.idp.entity != partner.idp.entity) {
                Some(other) => Stranger::OfDomain(other.name.clone(), name.to_owned()),
                None => Stranger::Unknown(name.to_owned()),
            }),
        })
    }

    /// A person as a user; one whom the administrator blocked is not active.
    fn standing(&self, name: &str, known: &Known) -> Arc<User> {
        if self.policy.barred.contains(name) {
            Arc::new(User { active: false, ..User::clone(&known.user) })
        } else {
            known.user.clone()
        }
    }
}
