//! Ending authorizations: one, all of a user, all of an app, all of a user's with one app.
use super::{Failed, Office, act::Act, stored};
use crate::{
    grant::{self, LONGEST_TOKEN},
    model::{Authorization, session::AT_GATE},
    store::{Change, Expect, Record},
    token::revocation::Ending,
};

/// What the record of a browser's session at the gate says of whose it is.
#[derive(serde::Deserialize)]
struct GateSession {
    client: String,
}

/// The deletions of those of `records` that are browsers' sessions at the gate with `client`.
fn sessions_with<'a>(client: &str, records: impl Iterator<Item = &'a Record>) -> Result<Vec<Change>, Failed> {
    let mut gone = Vec::new();
    for record in records.filter(|r| r.key.starts_with(AT_GATE)) {
        if stored::<GateSession>(record)?.client == client {
            gone.push(Change::Delete(record.key.clone(), Expect::Any));
        }
    }
    Ok(gone)
}

/// Authorizations read and ended with one commit.
const BATCH: usize = 250;

impl Office {
    /// Ends one authorization and every token issued from it.
    pub async fn revoke(&self, id: &str) -> Result<(), Failed> {
        let record = self.store.get(&Authorization::key(id), self.now).await?;
        let record = record.ok_or_else(|| Failed::Unknown(format!("authorization {id}")))?;
        let authorization: Authorization = stored(&record)?;
        let (change, ending) = grant::ending(id, self.now);
        let act = Act { username: Some(authorization.subject), ..Act::on_app("revoke", &authorization.client) };
        self.enact(act.detail(format!("authorization {id}")), vec![change], vec![ending]).await
    }

    /// Ends all that `user` gave apps, every token for them, and their sessions in every browser; returns how many
    /// authorizations that were.
    pub async fn revoke_user(&self, user: &str) -> Result<usize, Failed> {
        self.must_know_user(user).await?;
        let records = self.store.find(&format!("user/{user}"), self.now).await?;
        let is = |r: &&Record, kind: &str| r.key.starts_with(kind);
        let sessions = records.iter().filter(|r| is(r, "session/") || is(r, AT_GATE));
        let changes = sessions.map(|r| Change::Delete(r.key.clone(), Expect::Any)).collect();
        // What was issued up to now ends with this; the records follow, and cannot be renewed in between: each is ended
        // by its own name too.
        self.enact(Act::on_user("revoke_user", user), changes, vec![self.all_before_now("subject", user)]).await?;
        self.end_each(records.iter().filter(|r| is(r, "authorization/"))).await
    }

    /// Ends all that anybody gave `client`, and every token of it; returns how many authorizations that were.
    pub async fn revoke_app(&self, client: &str) -> Result<usize, Failed> {
        self.must_know_app(client)?;
        let ending = self.all_before_now("client", client);
        self.enact(Act::on_app("revoke_app", client), Vec::new(), vec![ending]).await?;
        self.end_sessions_with(client).await?;
        self.end_all_of(client).await
    }

    /// Ends the sessions of all browsers at the gate with `client`: they may outlast every token.
    async fn end_sessions_with(&self, client: &str) -> Result<(), Failed> {
        let mut after = String::new();
        loop {
            let page = self.store.page(AT_GATE, &after, BATCH, self.now).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.key.clone();
            self.commit(sessions_with(client, page.iter())?, Vec::new()).await?;
        }
    }

    /// Ends each authorization of `client` that is stored.
    pub(super) async fn end_all_of(&self, client: &str) -> Result<usize, Failed> {
        let (mut ended, mut after) = (0, String::new());
        loop {
            let page = self.store.page("authorization/", &after, BATCH, self.now).await?;
            let Some(last) = page.last() else { return Ok(ended) };
            after = last.key.clone();
            let own = |r: &&Record| stored::<Authorization>(r).is_ok_and(|a| a.client == client);
            ended += self.end_each(page.iter().filter(own)).await?;
        }
    }

    /// Ends what `user` gave `client`, and every token that it got for them; returns how many authorizations that were.
    pub async fn revoke_pair(&self, client: &str, user: &str) -> Result<usize, Failed> {
        self.must_know_app(client)?;
        self.must_know_user(user).await?;
        let records = self.store.find(&format!("user/{user}"), self.now).await?;
        let act = Act { username: Some(user.to_owned()), ..Act::on_app("revoke", client) };
        let own = |r: &&Record| {
            r.key.starts_with("authorization/") && stored::<Authorization>(r).is_ok_and(|a| a.client == client)
        };
        let ended = self.end_each(records.iter().filter(own)).await?;
        let rest = Ending::of_access(client, user, self.now, self.now.plus(LONGEST_TOKEN));
        let sessions = sessions_with(client, records.iter())?;
        self.enact(act.detail(format!("{ended} authorizations")), sessions, vec![rest]).await?;
        Ok(ended)
    }

    async fn end_each(&self, records: impl Iterator<Item = &Record>) -> Result<usize, Failed> {
        let ids: Vec<&str> = records.filter_map(|r| r.key.strip_prefix("authorization/")).collect();
        for batch in ids.chunks(BATCH) {
            let (changes, endings) = batch.iter().map(|id| grant::ending(id, self.now)).unzip();
            self.commit(changes, endings).await?;
        }
        Ok(ids.len())
    }

    fn all_before_now(&self, kind: &str, name: &str) -> Ending {
        Ending {
            target: format!("{kind}/{name}"),
            before: self.now,
            until: self.now.plus(LONGEST_TOKEN.max(self.policy.people.session.absolute)),
        }
    }
}
