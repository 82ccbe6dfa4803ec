//! Signing out: here, at an app's request (OIDC RP-Initiated Logout), everywhere; and telling apps (Back-Channel Logout).
use super::{
    Cx,
    error::OAuthError,
    id_token,
    params::Params,
    paths,
    sign_in::name_of,
    web::{SESSION_COOKIE, Visit, set_cookie},
};
use crate::{
    grant::{self, authorization_code::same_redirect_uri},
    login::session,
    model::{Client, ScopeSet, Session},
    pages::Page,
    store::{Change, Changes, Expect},
    token::revocation::Ending,
};
use bytes::Bytes;
use http::{Method, Response, StatusCode};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// `/oauth2/logout`: asks first, unless the app shows an ID token of this very session.
pub async fn page(visit: Visit<'_>) -> Result<Response<Bytes>, OAuthError> {
    let cx = visit.cx;
    let posted = visit.request.method() == Method::POST;
    let params = if posted { Params::of_form(visit.request)? } else { Params::of_either(visit.request)? };
    let hint = params.get("id_token_hint").and_then(|t| cx.tokens.verify_claims(id_token::TYPE, t, cx.now));
    let text = |claim: &str| hint.as_ref().and_then(|h| h.get(claim)).and_then(Value::as_str);
    let client = params.get("client_id").or(text("aud")).and_then(|id| cx.policy.clients.get(id)).cloned();
    let agree = hint.is_none() || client.as_ref().is_some_and(|c| text("aud") == Some(&c.id));
    let back = params.get("post_logout_redirect_uri").filter(|_| agree);
    let registered =
        |c: &Arc<Client>, uri: &str| c.interactive.post_logout_redirect_uris.iter().any(|r| same_redirect_uri(r, uri));
    // Without a registered address the page stays here (no open redirect).
    let back = back.filter(|uri| client.as_ref().is_some_and(|c| registered(c, uri))).map(|uri| {
        let state = params.get("state").map(|s| form_urlencoded::byte_serialize(s.as_bytes()).collect::<String>());
        let mark = if uri.contains('?') { '&' } else { '?' };
        state.map_or_else(|| uri.to_owned(), |state| format!("{uri}{mark}state={state}"))
    });
    let Some((cookie, session)) = visit.session.clone() else {
        return Ok(match back {
            Some(uri) => visit.redirect(&uri),
            None => signed_out(visit),
        });
    };
    let hinted = text("sid") == Some(&session.sid);
    let confirmed = posted && params.get("confirm").is_some();
    if confirmed {
        visit.form()?;
    } else if !hinted {
        let kept = ["client_id", "id_token_hint", "post_logout_redirect_uri", "state"];
        let fields: Vec<_> = kept.iter().filter_map(|name| params.get(name).map(|v| json!([name, v]))).collect();
        let told = json!({"action": paths::LOGOUT, "user": name_of(&session.user, cx), "fields": fields});
        let targets: Vec<&str> = back.as_deref().into_iter().collect();
        return Ok(visit.page(StatusCode::OK, Page::new("logout", told), &targets));
    }
    let (changes, endings) = end_session(&cookie, &session, cx).await?;
    cx.tokens.commit(Changes(changes), endings, cx.now).await?;
    tell(&session, cx).await?;
    cx.audit.write(json!({"event": "logout", "outcome": "signed_out", "subject": session.user, "sid": session.sid,
        "time": cx.now}));
    Ok(match back {
        Some(uri) => {
            let mut visit = visit;
            visit.set(set_cookie(SESSION_COOKIE, String::new(), Some(0)));
            visit.redirect(&uri)
        }
        None => signed_out(visit),
    })
}

/// The page that says so; the cookie goes.
pub fn signed_out(mut visit: Visit<'_>) -> Response<Bytes> {
    visit.set(set_cookie(SESSION_COOKIE, String::new(), Some(0)));
    visit.page(StatusCode::OK, Page::message("signed_out", &Value::Null), &[])
}

/// What ends one session: its record, its sessions behind the gate, and what apps hold for as long as it lasts.
pub async fn end_session(cookie: &str, session: &Session, cx: &Cx) -> Result<(Vec<Change>, Vec<Ending>), OAuthError> {
    let mut changes = vec![Change::Delete(session::key(cookie), Expect::Any)];
    let mut endings = vec![Ending::of(format!("authorization/sid:{}", session.sid), cx.now.plus(grant::LONGEST_TOKEN))];
    for authorization in grant::authorizations(&session.user, cx).await? {
        let scopes = ScopeSet::parse(&authorization.scopes).unwrap_or_default();
        let offline = scopes.contains("offline_access") || scopes.contains("refresh_token");
        if authorization.sid.as_deref() == Some(&session.sid) && !offline {
            let (change, ending) = grant::ending(&authorization.id, cx.now);
            changes.push(change);
            endings.push(ending);
        }
    }
    Ok((changes, endings))
}

/// Ends every session of `user`, in every browser.
pub async fn everywhere(user: &str, cx: &Cx) -> Result<(), OAuthError> {
    let sessions = session::of_user(&*cx.store, user, cx.now).await?;
    let (mut changes, mut endings) = (Vec::new(), Vec::new());
    for (key, session) in &sessions {
        let (more, ended) = end_session("", session, cx).await?;
        changes.push(Change::Delete(key.clone(), Expect::Any));
        changes.extend(more);
        endings.extend(ended);
    }
    cx.tokens.commit(Changes(changes), endings, cx.now).await?;
    for (_, session) in &sessions {
        tell(session, cx).await?;
    }
    cx.audit.write(json!({"event": "logout", "outcome": "everywhere", "subject": user, "sessions": sessions.len(),
        "time": cx.now}));
    Ok(())
}

/// Tells apps that asked for it (OIDC Back-Channel Logout §2.5), beside the request.
async fn tell(session: &Session, cx: &Cx) -> Result<(), OAuthError> {
    let known = grant::authorizations(&session.user, cx).await?;
    let ended = |c: &&Arc<Client>| {
        let offline = known.iter().any(|a| *a.client == *c.id && a.sid.as_deref() == Some(&session.sid));
        offline || c.interactive.backchannel_logout_uri.is_some()
    };
    for client in cx.policy.clients.values().filter(|c| !c.blocked).filter(ended) {
        let Some(uri) = client.interactive.backchannel_logout_uri.clone() else { continue };
        let token = id_token::sign_logout(client, session, cx);
        let (audit, id, now) = (cx.audit.clone(), client.id.clone(), cx.now);
        tokio::task::spawn_blocking(move || {
            let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(10))).max_redirects(0);
            let agent = config.http_status_as_error(false).build().new_agent();
            // Twice again: the app may be starting at this very moment.
            let sent = (0..3).find_map(|round| {
                std::thread::sleep(Duration::from_millis(300 * round));
                let answer = agent.post(&uri).send_form([("logout_token", &*token)]).ok()?;
                answer.status().is_success().then_some(())
            });
            let outcome = if sent.is_some() { "told" } else { "failed" };
            audit.write(json!({"event": "backchannel_logout", "outcome": outcome, "client": id, "time": now}));
        });
    }
    Ok(())
}
