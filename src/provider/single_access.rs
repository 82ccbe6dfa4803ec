//! Front-door single access: a program that holds an access token gets a link that lets the person's browser in. Off
//! unless the app's policy says otherwise; the link is good once, for a minute, and leads to a path of our own.
use super::{
    Cx,
    error::{Code, OAuthError},
    paths, restriction,
    userinfo::Holder,
    web::{SESSION_COOKIE, Visit, own_path, set_cookie},
};
use crate::{
    clock::Timestamp,
    grant,
    login::{session, totp},
    model::{Authorization, Level, network::Shown},
    secret::{self, Digest},
    store::{Change, Changes, Expect, Record, StoreError},
};
use bytes::Bytes;
use http::Response;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Seconds that a link is good for.
const LIFETIME: i64 = 60;
/// Scopes of which one lets a program open a browser session.
const OPENS: [&str; 2] = ["web", "full"];

/// What a link stands for; stored under the digest of its one-time password alone.
#[derive(Serialize, Deserialize)]
struct FrontDoor {
    client: String,
    subject: String,
    /// The authorization that the token came from.
    authorization: String,
    issued: Timestamp,
    auth_time: Timestamp,
    level: Level,
    to: String,
}

fn key(password: &str) -> String {
    format!("front_door/{}", Digest::text(password))
}

/// The link for whoever `holder`'s token acts for; `wanted` is where it shall lead.
pub async fn link(holder: &Holder, wanted: Option<&str>, cx: &Cx) -> Result<Value, OAuthError> {
    let Holder { opened, client, user } = holder;
    let refused = |why, detail: &str| Err(OAuthError::new(Code::UnauthorizedClient, why).detail(detail));
    if !client.policies.single_access {
        return refused("this app may not use single access", "single_access is off");
    }
    let holds = |scope: &&str| opened.entitlement.scopes.contains(scope) && client.scopes.contains(scope);
    if !OPENS.iter().any(holds) {
        return refused("the token opens no browser session", "neither web nor full");
    }
    // Nobody has shown who they are where a program spoke for them by itself.
    let record = match &opened.authorization {
        Some(id) => cx.store.get(&Authorization::key(id), cx.now).await?,
        None => None,
    };
    let Some(record) = record else { return refused("the token opens no browser session", "no person signed in") };
    let begun: Authorization = grant::stored(&record)?;
    let to = wanted.map_or(Some(paths::ACCOUNT), |uri| uri.strip_prefix(&*cx.policy.issuer).or(Some(uri)));
    let Some(to) = to.filter(|to| own_path(to)) else {
        return Err(OAuthError::new(Code::InvalidRequest, "redirect_uri is no path of ours"));
    };
    let password = secret::random_token();
    let (auth_time, level) = (begun.auth_time, begun.level);
    let (client, subject) = (client.id.to_string(), user.username.to_string());
    let audit = json!({"event": "single_access", "outcome": "issued", "client": client, "subject": subject,
        "time": cx.now});
    let (authorization, issued) = (begun.id, cx.now);
    let door = FrontDoor { client, subject, authorization, issued, auth_time, level, to: to.to_owned() };
    let record = Record::passing(key(&password), cx.now.plus(LIFETIME), &door);
    cx.store.commit(Changes(vec![Change::Put(record, Expect::Absent)]), cx.now).await?;
    cx.audit.write(audit);
    Ok(json!({"frontdoor_uri": format!("{}{}?otp={password}", cx.policy.issuer, paths::FRONT_DOOR)}))
}

/// `GET /oauth2/frontdoor?otp=…`: in, under a new session (S55), as sure and as old as the sign-on that it goes back to.
pub async fn enter(mut visit: Visit<'_>) -> Result<Response<Bytes>, OAuthError> {
    let cx = visit.cx;
    let gone = |why: &str| OAuthError::new(Code::InvalidRequest, "the sign-in has expired").detail(why);
    let headers = visit.request.headers();
    if headers.get("sec-purpose").is_some_and(|v| v.to_str().is_ok_and(|v| v.contains("prefetch"))) {
        return Err(gone("looked at ahead of time"));
    }
    let query = visit.request.uri().query().unwrap_or_default();
    let password = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "otp").map(|(_, v)| v);
    let password = password.ok_or_else(|| gone("no one-time password"))?;
    let record = cx.store.get(&key(&password), cx.now).await?.ok_or_else(|| gone("unknown, used or expired"))?;
    let door: FrontDoor = grant::stored(&record)?;
    // Nobody is moved into another account by a link that somebody sent them.
    if visit.session().is_some_and(|own| own.user != door.subject) {
        return Err(OAuthError::new(Code::AccessDenied, "somebody else is signed in"));
    }
    // The policy may have changed in that minute.
    let client = cx.policy.clients.get(door.client.as_str()).filter(|c| !c.blocked && c.policies.single_access);
    let client = client.ok_or_else(|| gone("the app may not, any more"))?;
    // So may what the token came from.
    let stands = cx.store.get(&Authorization::key(&door.authorization), cx.now).await?.is_some();
    if !stands || cx.tokens.access_has_ended(&door.client, &door.subject, door.issued) {
        return Err(gone("taken back meanwhile"));
    }
    grant::user_may(client, &door.subject, cx).await?;
    let user = cx.user(&door.subject).await?;
    restriction::address(client, user.as_deref(), Shown { level: door.level, refreshes: false }, cx)?;
    let due = door.level < Level::HighAssurance && totp::is_enrolled(&*cx.store, &door.subject, cx.now).await?;
    let (own, lifetime) = (visit.session(), cx.policy.people.session);
    let entered = session::handed_over(&door.subject, (door.auth_time, door.level), due, own, lifetime, cx.now);
    let (cookie, begun) = entered.ok_or_else(|| gone("the sign-on is too long ago"))?;
    let mut changes = vec![Change::Delete(record.key, Expect::Version(record.version)), begun];
    changes.extend(visit.session.as_ref().map(|(old, _)| session::end(old)));
    cx.store.commit(Changes(changes), cx.now).await.map_err(|error| match error {
        StoreError::Conflict(_) => gone("used in the same moment"),
        other => other.into(),
    })?;
    cx.audit.write(json!({"event": "single_access", "outcome": "entered", "client": door.client,
        "subject": door.subject, "time": cx.now}));
    visit.set(set_cookie(SESSION_COOKIE, cookie, None));
    Ok(visit.redirect(&door.to))
}
