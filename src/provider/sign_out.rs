//! The end of sign-on sessions: their records, their sessions behind the gate, what apps hold for as long as they last;
//! and telling apps that asked for it (OIDC Back-Channel Logout).
use super::{Cx, error::OAuthError, gate_session, id_token};
use crate::{
    grant,
    log::Log,
    login::session,
    model::{Authorization, ScopeSet, Session},
    store::{Change, Changes, Expect},
    token::revocation::Ending,
};
use serde_json::json;
use std::time::Duration;

/// Seconds that an app may take to answer a logout token.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sessions that end with one commit.
#[derive(Default)]
pub struct SignOut {
    changes: Vec<Change>,
    endings: Vec<Ending>,
    /// The `sub` and `sid` of sessions, each with an app that took part in it.
    told: Vec<(String, String, String)>,
}

impl SignOut {
    /// Ends `session`, whose record is `key`. What apps may do while the person is away outlives it.
    pub async fn add(&mut self, key: String, session: &Session, cx: &Cx) -> Result<(), OAuthError> {
        self.record(key);
        self.sid(&session.user, &session.sid, cx).await
    }

    /// Ends the record `key` of a session alone.
    pub fn record(&mut self, key: String) {
        self.changes.push(Change::Delete(key, Expect::Any));
    }

    /// Ends all that lives by the session `sid` of `user`, whose record may have run out.
    pub async fn sid(&mut self, user: &str, sid: &str, cx: &Cx) -> Result<(), OAuthError> {
        self.endings.push(Ending::of_session(sid, cx.now.plus(grant::LONGEST_TOKEN)));
        self.authorizations(user, Some(sid), cx).await?;
        let gone = gate_session::endings(user, |_, of| of == sid, cx).await?;
        self.changes.extend(gone.0);
        self.endings.extend(gone.1);
        for client in session::participants(&*cx.store, sid, cx.now).await? {
            self.changes.push(session::forget(sid, &client));
            self.told.push((user.to_owned(), sid.to_owned(), client));
        }
        Ok(())
    }

    /// Ends every session of `user`, in every browser and behind every gate.
    pub async fn everywhere(user: &str, cx: &Cx) -> Result<Self, OAuthError> {
        let mut all = Self::default();
        for (key, session) in session::of_user(&*cx.store, user, cx.now).await? {
            all.add(key, &session, cx).await?;
        }
        // Also what lived by sessions that have run out since.
        all.authorizations(user, None, cx).await?;
        let gone = gate_session::endings(user, |_, _| true, cx).await?;
        all.changes.extend(gone.0);
        all.endings.extend(gone.1);
        Ok(all)
    }

    /// Ends also what apps may do while the person is away, where it came from the session `sid`, which may have run out;
    /// how many authorizations that were.
    pub async fn offline(&mut self, user: &str, sid: &str, cx: &Cx) -> Result<usize, OAuthError> {
        self.authorizations_that(user, |a| is_offline(a) && a.sid.as_deref() == Some(sid), cx).await
    }

    /// Ends everything that `client` has for `user`, and their sessions with it behind the gate.
    pub async fn access(&mut self, user: &str, client: &str, cx: &Cx) -> Result<(), OAuthError> {
        self.authorizations_that(user, |a| a.client == client, cx).await?;
        let gone = gate_session::endings(user, |app, _| app == client, cx).await?;
        self.changes.extend(gone.0);
        self.endings.extend(gone.1);
        self.endings.push(Ending::of_access(client, user, cx.now, cx.now.plus(grant::LONGEST_TOKEN)));
        Ok(())
    }

    async fn authorizations(&mut self, user: &str, sid: Option<&str>, cx: &Cx) -> Result<(), OAuthError> {
        let lives_by = |a: &Authorization| !is_offline(a) && (sid.is_none() || a.sid.as_deref() == sid);
        self.authorizations_that(user, lives_by, cx).await.map(drop)
    }

    async fn authorizations_that(
        &mut self,
        user: &str,
        end: impl Fn(&Authorization) -> bool,
        cx: &Cx,
    ) -> Result<usize, OAuthError> {
        let mut ended = grant::authorizations(user, cx).await?;
        ended.retain(end);
        for authorization in &ended {
            let (change, ending) = grant::ending(&authorization.id, cx.now);
            self.changes.push(change);
            self.endings.push(ending);
        }
        Ok(ended.len())
    }

    /// Makes it so, with `more` in the same commit, and then tells the apps.
    pub async fn commit(mut self, more: Vec<Change>, cx: &Cx) -> Result<(), OAuthError> {
        self.changes.extend(more);
        cx.tokens.commit(Changes(self.changes), self.endings, cx.now).await?;
        for (user, sid, client) in &self.told {
            cx.audit.write(json!({"event": "logout", "outcome": "signed_out", "subject": user,
                "sid": sid, "client": client, "time": cx.now}));
            tell((user, sid), client, cx).await;
        }
        Ok(())
    }
}

fn is_offline(authorization: &Authorization) -> bool {
    let scopes = ScopeSet::parse(&authorization.scopes).unwrap_or_default();
    scopes.contains("offline_access") || scopes.contains("refresh_token")
}

/// Posts a logout token (OIDC Back-Channel Logout §2.5), beside the request.
async fn tell((user, sid): (&str, &str), client: &str, cx: &Cx) {
    let Some(client) = cx.policy.clients.get(client).filter(|c| !c.blocked) else { return };
    let Some(uri) = client.interactive.backchannel_logout_uri.clone() else { return };
    let told = |audit: &Log, outcome: &str, id: &str, now| {
        audit.write(json!({"event": "backchannel_logout", "outcome": outcome, "client": id, "time": now}));
    };
    let Ok(token) = id_token::sign_logout(client, (user, sid), cx).await else {
        return told(&cx.audit, "failed", &client.id, cx.now);
    };
    let (audit, id, now) = (cx.audit.clone(), client.id.clone(), cx.now);
    tokio::task::spawn_blocking(move || {
        let config = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).max_redirects(0);
        let agent = config.http_status_as_error(false).build().new_agent();
        // Twice again: the app may be starting at this very moment.
        let sent = (0..3).any(|round| {
            std::thread::sleep(Duration::from_millis(300 * round));
            agent.post(&uri).send_form([("logout_token", &*token)]).is_ok_and(|answer| answer.status().is_success())
        });
        told(&audit, if sent { "told" } else { "failed" }, &id, now);
    });
}
