//! A person's own page: which apps hold which scopes since when, taking it back, second factor, signing out everywhere.
use super::{
    Cx,
    error::OAuthError,
    gate_session,
    interaction::{Interaction, Resume},
    logout, paths,
    sign_in::name_of,
    sign_out::SignOut,
    web::Visit,
};
use crate::{
    clock::Timestamp,
    grant::{self, Grant, approval_key, approved_client, device_code::DeviceCodeGrant},
    login::{session, totp},
    model::{Level, ScopeSet},
    pages::{self, Page},
    store::{Change, Changes, Expect},
    token::tally::{self, Tallied},
};
use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// `/oauth2/account`.
pub async fn page(mut visit: Visit<'_>) -> Result<Response<Bytes>, OAuthError> {
    let cx = visit.cx;
    let session = match visit.session().cloned() {
        Some(session) if !session.second_factor_due => session,
        other => {
            let interaction = Interaction::begin(&mut visit, Resume::Account);
            let page = if other.is_some() { paths::SECOND_FACTOR } else { paths::LOGIN };
            let to = interaction.address(page, cx);
            return Ok(visit.redirect(&to));
        }
    };
    if let Some(form) = visit.form_of_session()? {
        match form.get("action").unwrap_or_default() {
            "revoke" => revoke(&session.user, form.get("client").unwrap_or_default(), cx).await?,
            "sign_out_everywhere" => {
                SignOut::everywhere(&session.user, cx).await?.commit(Vec::new(), cx).await?;
                cx.audit.write(json!({"event": "logout", "outcome": "everywhere", "subject": session.user,
                    "time": cx.now}));
                return Ok(logout::signed_out(visit));
            }
            "enrol" => {
                let interaction = Interaction::begin(&mut visit, Resume::Enrol);
                let to = interaction.address(paths::SECOND_FACTOR, cx);
                return Ok(visit.redirect(&to));
            }
            // Who takes the second factor away shows it first.
            "withdraw" if session.level < Level::HighAssurance => {
                let interaction = Interaction::begin(&mut visit, Resume::Account);
                let to = interaction.address(paths::SECOND_FACTOR, cx);
                return Ok(visit.redirect(&to));
            }
            "withdraw" => {
                let lifetime = cx.policy.people.session;
                let mut changes = session::lower(&*cx.store, &session.user, lifetime, cx.now).await?;
                changes.push(totp::withdraw(&session.user));
                cx.store.commit(Changes(changes), cx.now).await?;
                cx.audit.write(json!({"event": "second_factor", "outcome": "withdrawn", "subject": session.user,
                    "time": cx.now}));
            }
            _ => {}
        }
        return Ok(visit.redirect(paths::ACCOUNT));
    }
    let apps = apps(&session.user, visit.language(), cx).await?;
    let sessions = session::of_user(&*cx.store, &session.user, cx.now).await?.len();
    let enrolled = totp::is_enrolled(&*cx.store, &session.user, cx.now).await?;
    let told = json!({"user": name_of(&session.user, cx), "apps": apps, "sessions": sessions, "enrolled": enrolled});
    Ok(visit.page(StatusCode::OK, Page::new("account", told), &[]))
}

/// One entry an app, however many authorizations it holds.
async fn apps(user: &str, language: &str, cx: &Cx) -> Result<Vec<Value>, OAuthError> {
    struct Held {
        scopes: Vec<String>,
        since: Timestamp,
        used: Option<Timestamp>,
    }
    let mut apps: BTreeMap<String, Held> = BTreeMap::new();
    for authorization in grant::authorizations(user, cx).await? {
        let used = cx.tokens.used(&authorization.id, cx.now).await?.map(|u| u.at).max(Some(authorization.renewed));
        let app = apps.entry(authorization.client.clone()).or_insert(Held {
            scopes: Vec::new(),
            since: authorization.created,
            used,
        });
        app.scopes.extend(authorization.scopes.split(' ').map(str::to_owned));
        app.since = app.since.min(authorization.created);
        app.used = app.used.max(used);
    }
    // A yes that holds no token now still spares the question.
    for record in cx.store.find(&format!("user/{user}"), cx.now).await? {
        let Some(client) = approved_client(&record.key).and_then(|id| cx.policy.clients.get(id)) else { continue };
        let consent: grant::Consent = grant::stored(&record)?;
        let scopes = consent.scopes.unwrap_or_else(|| client.scopes.to_string());
        let held = Held { scopes: Vec::new(), since: consent.given, used: None };
        apps.entry(client.id.to_string()).or_insert(held).scopes.extend(scopes.split(' ').map(str::to_owned));
    }
    for (client, scopes, since) in gate_session::held(user, cx).await? {
        let app = apps.entry(client).or_insert(Held { scopes: Vec::new(), since, used: None });
        app.scopes.extend(scopes.split(' ').map(str::to_owned));
        app.since = app.since.min(since);
    }
    for record in cx.store.find(&tally::of_user(user), cx.now).await? {
        let Some((client, _)) = tally::pair(&record.key) else { continue };
        let known: Tallied = tally::read(&record.body);
        if let Some(app) = apps.get_mut(client) {
            app.used = app.used.max(known.last_used.filter(|at| *at >= app.since));
        } else if let Some((since, scopes)) = in_hand(client, user, &known, cx) {
            apps.insert(client.to_owned(), Held { scopes, since, used: known.last_used });
        }
    }
    let day = |at: Timestamp| {
        time::OffsetDateTime::from_unix_timestamp(at.0).map_or_else(|_| String::new(), |t| t.date().to_string())
    };
    let told = |(client, held): (String, Held)| {
        let scopes = ScopeSet::of(&held.scopes);
        let words: Vec<_> = pages::scopes_in_words(scopes.iter().filter(|s| !s.is_empty()), language, &cx.policy)
            .into_iter()
            .map(|(scope, text)| json!([scope, text]))
            .collect();
        let name = cx.policy.clients.get(client.as_str()).map_or_else(|| client.clone(), |c| c.name.clone());
        json!({"client": client, "name": name, "scopes": words, "since": day(held.since), "used": held.used.map(day)})
    };
    Ok(apps.into_iter().map(told).collect())
}

/// Since when, and with the most which scopes, `client` has tokens for `user` that nobody approved on a page: an
/// administrator did, for a flow in which no person takes part. Until the last of them has expired or was taken back.
fn in_hand(client: &str, user: &str, known: &Tallied, cx: &Cx) -> Option<(Timestamp, Vec<String>)> {
    let client = cx.policy.clients.get(client)?;
    let seen = ["authorization_code", "refresh_token", "client_credentials", DeviceCodeGrant.grant_type()];
    let by_itself = client.grants.iter().any(|grant| !seen.contains(&grant.as_str()));
    let runs_as = client.run_as.as_deref() == Some(user);
    let last = known.last_used?;
    let live = last.plus(client.token_lifetime) > cx.now && !cx.tokens.access_has_ended(&client.id, user, last);
    let scopes = client.scopes.iter().map(str::to_owned).collect();
    ((by_itself || runs_as) && live).then_some((known.first_used.unwrap_or(last), scopes))
}

/// Takes everything back that `user` gave `client`; the gate refuses its tokens at once.
async fn revoke(user: &str, client: &str, cx: &Cx) -> Result<(), OAuthError> {
    let mut end = SignOut::default();
    end.access(user, client, cx).await?;
    end.commit(vec![Change::Delete(approval_key(client, user), Expect::Any)], cx).await?;
    cx.audit.write(json!({"event": "revoke", "outcome": "revoked", "client": client, "subject": user,
        "by": "user", "time": cx.now}));
    Ok(())
}
