//! Approvals on a user's behalf: flows without a browser need one.
use super::{Failed, Office, act::Act, stored};
use crate::{
    grant::{Consent, approval_key},
    model::ScopeSet,
    store::{Change, Expect},
};

impl Office {
    /// Records that `user` approved `client`, for `scopes` or for all that the app may have; what is so already is left.
    pub async fn approve(&self, client: &str, user: &str, scopes: Option<&str>) -> Result<(), Failed> {
        let app = self.must_know_app(client)?;
        self.must_know_user(user).await?;
        let wanted = scopes.map(|text| ScopeSet::parse(text).filter(|s| !s.is_empty() && app.scopes.contains_all(s)));
        if wanted == Some(None) {
            return Err(Failed::Refused(format!("scopes must be among those of the app: {}", app.scopes)));
        }
        if let Some(record) = self.store.get(&approval_key(client, user), self.now).await? {
            let known: Consent = stored(&record)?;
            if known.scopes.as_deref().map(ScopeSet::parse) == wanted {
                return Ok(());
            }
        }
        let change = Consent { scopes: scopes.map(str::to_owned), given: self.now }.record(client, user);
        let act = Act { username: Some(user.to_owned()), ..Act::on_app("approve", client) };
        let act = Act { detail: scopes.map(str::to_owned), ..act };
        self.enact(act, vec![change], Vec::new()).await
    }

    /// Takes an approval back: nothing new is issued from it; what was issued is ended by revoking. `false` if there
    /// was none.
    pub async fn withdraw(&self, client: &str, user: &str) -> Result<bool, Failed> {
        let key = approval_key(client, user);
        let Some(record) = self.store.get(&key, self.now).await? else {
            self.must_know_app(client)?;
            self.must_know_user(user).await?;
            return Ok(false);
        };
        let act = Act { username: Some(user.to_owned()), ..Act::on_app("withdraw_approval", client) };
        self.enact(act, vec![Change::Delete(key, Expect::Version(record.version))], Vec::new()).await?;
        Ok(true)
    }
}
