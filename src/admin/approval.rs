//! Approvals on a user's behalf: flows without a browser need one.
use super::{Failed, Office, act::Act};
use crate::{
    grant::{Consent, approval_key},
    model::ScopeSet,
    store::{Change, Expect},
};

impl Office {
    /// Records that `user` approved `client`, for `scopes` or for all that the app may have.
    pub async fn approve(&self, client: &str, user: &str, scopes: Option<&str>) -> Result<(), Failed> {
        let app = self.must_know_app(client)?;
        self.must_know_user(user).await?;
        if let Some(scopes) = scopes {
            let parsed = ScopeSet::parse(scopes).filter(|s| !s.is_empty() && app.scopes.contains_all(s));
            let parsed = parsed.map(|s| s.to_string());
            if parsed.is_none() {
                return Err(Failed::Refused(format!("scopes must be among those of the app: {}", app.scopes)));
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
