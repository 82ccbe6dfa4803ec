//! Signing out here, at a person's or at an app's request (OIDC RP-Initiated Logout).
use super::{
    error::OAuthError,
    id_token,
    params::Params,
    paths, saml,
    sign_in::name_of,
    sign_out::SignOut,
    web::{SESSION_COOKIE, Visit, set_cookie},
};
use crate::{grant::authorization_code::same_redirect_uri, login::session, model::Client, pages::Page};
use bytes::Bytes;
use http::{Method, Response, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;

/// `/oauth2/logout`: asks first, unless the app shows an ID token of this very session.
pub async fn page(visit: Visit<'_>) -> Result<Response<Bytes>, OAuthError> {
    let cx = visit.cx;
    let posted = visit.request.method() == Method::POST;
    let params = if posted { Params::of_form(visit.request)? } else { Params::of_either(visit.request)? };
    if posted && params.get("confirm").is_none() {
        return Ok(visit.again_as_get());
    }
    let hint = params.get("id_token_hint").and_then(|t| cx.tokens.verify_claims(id_token::TYPE, t, cx.now));
    let text = |claim: &str| hint.as_ref().and_then(|h| h.get(claim)).and_then(Value::as_str);
    let made_for = hint.as_ref().and_then(id_token::made_for);
    let client =
        params.get("client_id").or(made_for).and_then(|id| cx.policy.clients.get(id)).filter(|c| !c.blocked).cloned();
    let agree = hint.is_none() || client.as_ref().is_some_and(|c| made_for == Some(&c.id));
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
        let trusted = client.as_ref().is_some_and(|c| !cx.policy.is_anybodys(&c.id));
        return Ok(match back.filter(|_| trusted) {
            Some(uri) => visit.redirect(&uri),
            None => signed_out(visit),
        });
    };
    let hinted = text("sid") == Some(&session.sid);
    let confirmed = posted && visit.form()?.is_some();
    if !confirmed && (posted || !hinted) {
        let kept = ["client_id", "id_token_hint", "post_logout_redirect_uri", "state"];
        let fields: Vec<_> = kept.iter().filter_map(|name| params.get(name).map(|v| json!([name, v]))).collect();
        let told = json!({"action": paths::LOGOUT, "user": name_of(&session.user, cx), "fields": fields});
        let targets: Vec<&str> = back.as_deref().into_iter().chain(saml::logout::targets(&session, cx)).collect();
        return Ok(visit.page(StatusCode::OK, Page::new("logout", told), &targets));
    }
    let mut end = SignOut::default();
    end.add(session::key(&cookie), &session, cx).await?;
    end.commit(Vec::new(), cx).await?;
    cx.audit.write(json!({"event": "logout", "outcome": "signed_out", "subject": session.user, "sid": session.sid,
        "time": cx.now}));
    if let Some(at) = &session.at_idp {
        return saml::logout::there(visit, at, back).await;
    }
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
