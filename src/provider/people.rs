//! Who there is: users of the configuration, and people whom an identity provider brought.
use super::{Cx, error::OAuthError};
use crate::{login::directory::Known, model::User};
use std::sync::Arc;

impl Cx {
    /// The user of this name. The configuration's come first; an IdP's are there for as long as it may bring them.
    pub async fn user(&self, name: &str) -> Result<Option<Arc<User>>, OAuthError> {
        if let Some(user) = self.policy.users.get(name) {
            return Ok(Some(user.clone()));
        }
        let brings = self.policy.saml.partners.values().any(|p| p.create_users);
        if !brings {
            return Ok(None);
        }
        let known = self.login.directory.find(name, &*self.store, self.now).await?;
        Ok(known.filter(|k| self.brought(k)).map(|k| k.user.clone()))
    }

    /// The same, of those who were looked for while this request was served.
    pub fn seen(&self, name: &str) -> Option<Arc<User>> {
        let own = self.policy.users.get(name).cloned();
        own.or_else(|| self.login.directory.recent(name).filter(|k| self.brought(k)).map(|k| k.user.clone()))
    }

    fn brought(&self, known: &Known) -> bool {
        self.policy.saml.partners.get(&known.person.idp).is_some_and(|p| p.create_users)
    }
}
