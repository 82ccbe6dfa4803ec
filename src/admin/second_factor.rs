//! Taking a second factor away from somebody who lost it: nobody else can, since whoever takes it away has to show it.
use super::{Failed, Office, act::Act};
use crate::{
    login::{session, totp},
    store::StoreError,
};

impl Office {
    /// Takes the second factor of `user` away; `false` if they had none. Their sessions go on as what they are without.
    pub async fn reset_second_factor(&self, user: &str) -> Result<bool, Failed> {
        self.must_know_user(user).await?;
        if !totp::is_enrolled(&*self.store, user, self.now).await? {
            return Ok(false);
        }
        loop {
            let lifetime = self.policy.people.session;
            let mut changes = session::lower(&*self.store, user, lifetime, self.now).await?;
            changes.push(totp::withdraw(user));
            match self.enact(Act::on_user("reset_second_factor", user), changes, Vec::new()).await {
                Ok(()) => return Ok(true),
                // A session of theirs was seen or ended in the same moment: it is read again.
                Err(Failed::Store(StoreError::Conflict(_))) => {}
                Err(e) => return Err(e),
            }
        }
    }
}
