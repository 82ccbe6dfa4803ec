//! Device flow, the server's side: the endpoint that a device asks, and the page on the second screen (RFC 8628).
use super::{
    Cx, client_auth,
    error::{Code, OAuthError, Situation},
    interaction::{self, Interaction, Resume},
    params::Params,
    paths, restriction,
    sign_in::name_of,
    web::Visit,
};
use crate::{
    grant::{
        Consent,
        device_code::{self, DeviceCode, DeviceCodeGrant, State},
    },
    login::{session, throttle::origin},
    model::{Approval, AuthMethod, ScopeSet, Wire, network::Shown},
    pages::{self, Page},
    secret,
    store::{Changes, StoreError},
};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

/// `POST /oauth2/device_authorization` (RFC 8628 §3.1).
pub async fn authorization(request: &Request<Bytes>, cx: &Cx) -> Result<Value, OAuthError> {
    let params = Params::read(request)?;
    let failed = || OAuthError::new(Code::InvalidClient, "client authentication failed");
    let caller = client_auth::authenticate(request.headers(), &params, cx)?.ok_or_else(failed)?;
    // Salesforce's devices name themselves here, and show a secret when they ask for the token.
    if cx.wire == Wire::Standard && !caller.proven && caller.client.auth_method != AuthMethod::None {
        return Err(failed());
    }
    let client = &caller.client;
    super::token::may_use(client, &DeviceCodeGrant)?;
    restriction::address_of_app(client, false, cx)?;
    let scopes = super::token::narrow(params.get("scope"), &client.grantable(cx.wire), cx.wire)?.to_string();
    let device_code = secret::random_token();
    let code = DeviceCode {
        client: client.id.to_string(),
        scopes,
        expires: cx.now.plus(device_code::LIFETIME),
        state: State::Pending,
    };
    // 34 bits may meet a code in use; the store knows it by index alone, so look first.
    let mut user_code = device_code::new_user_code();
    while DeviceCode::find(&*cx.store, &user_code, cx.now).await?.is_some() {
        user_code = device_code::new_user_code();
    }
    let mut changes = vec![code.begin(&device_code, &user_code)];
    changes.extend(caller.once);
    cx.store.commit(Changes(changes), cx.now).await.map_err(client_auth::replayed)?;
    let shown = device_code::shown_user_code(&user_code);
    let page = format!("{}{}", cx.policy.issuer, paths::DEVICE);
    cx.audit.write(json!({"event": "device", "outcome": "begun", "client": client.id, "time": cx.now}));
    Ok(json!({"device_code": device_code, "user_code": shown, "verification_uri": page,
        "verification_uri_complete": format!("{page}?user_code={shown}"),
        "expires_in": device_code::LIFETIME, "interval": device_code::INTERVAL}))
}

/// `/oauth2/device`: type the code, see which app asks for what (S45), decide.
pub async fn page(mut visit: Visit<'_>) -> Result<Response<Bytes>, OAuthError> {
    let cx = visit.cx;
    let query = visit.request.uri().query().unwrap_or_default().to_owned();
    let linked = form_urlencoded::parse(query.as_bytes()).find(|(k, _)| k == "user_code").map(|(_, v)| v.into_owned());
    let session = match visit.session().cloned() {
        Some(session) if !session.second_factor_due => session,
        _ => {
            let known = linked.as_deref().and_then(device_code::normal_user_code);
            let interaction = Interaction::begin(&mut visit, Resume::Device(known));
            let to = interaction.address(paths::LOGIN, cx);
            return Ok(visit.redirect(&to));
        }
    };
    let own = visit.form_of_session()?;
    // A code that was typed before somebody else signed in is still a code; what was decided then is not theirs.
    let form = if visit.request.method() == Method::POST { visit.form()? } else { None };
    let typed = form.as_ref().map_or(linked, |f| f.get("user_code").map(str::to_owned));
    let Some(typed) = typed else {
        return Ok(visit.page(StatusCode::OK, Page::new("device", json!({"user_code": ""})), &[]));
    };
    let again = |visit: Visit<'_>, status, problem: &str| {
        Ok(visit.page(status, Page::new("device", json!({"user_code": typed, "problem": problem})), &[]))
    };
    // Guesses are limited for the person and for the address (S42).
    let limits = cx.policy.people.limits;
    let account = format!("user_code/{}", session.user);
    let address = cx.address.map(|a| format!("user_code_address/{}", origin(a)));
    let may = cx.login.throttle.take(&account, limits.account, limits.window, cx.now)
        && address.iter().all(|a| cx.login.throttle.take(a, limits.address, limits.window, cx.now));
    if !may {
        return again(visit, StatusCode::TOO_MANY_REQUESTS, "login_throttled");
    }
    let found = match device_code::normal_user_code(&typed) {
        Some(code) => DeviceCode::find(&*cx.store, &code, cx.now).await?.map(|(c, r)| (code, c, r)),
        None => None,
    };
    let Some((user_code, code, record)) = found else {
        return again(visit, StatusCode::BAD_REQUEST, "device_unknown");
    };
    cx.login.throttle.give_back(&account);
    address.iter().for_each(|a| cx.login.throttle.give_back(a));
    let blocked =
        || OAuthError::new(Code::UnauthorizedClient, "this app is blocked by admin").of(Situation::AppBlocked);
    let client = cx.policy.clients.get(code.client.as_str()).filter(|c| !c.blocked).cloned().ok_or_else(blocked)?;
    if !interaction::suffices(&session, client.interactive.level) {
        let interaction = Interaction::begin(&mut visit, Resume::Device(Some(user_code)));
        let to = interaction.address(paths::SECOND_FACTOR, cx);
        return Ok(visit.redirect(&to));
    }
    let user = cx.user(&session.user).await?;
    let shown = Shown { level: session.level, refreshes: false };
    restriction::address(&client, user.as_deref(), shown, cx)?;
    let scopes = ScopeSet::parse(&code.scopes).unwrap_or_default();
    let decision = own.as_ref().and_then(|f| f.get("decision"));
    let (state, key, outcome) = match decision {
        None => {
            let told = json!({
                "app": client.name, "user": name_of(&session.user, cx),
                "user_code": device_code::shown_user_code(&user_code),
                "scopes": pages::scopes_in_words(scopes.iter(), visit.language(), &cx.policy),
            });
            return Ok(visit.page(StatusCode::OK, Page::new("device_confirm", told), &[]));
        }
        Some("allow") => {
            crate::grant::user_may(&client, &session.user, cx).await?;
            let state = State::Approved {
                subject: session.user.clone(),
                sid: session.sid.clone(),
                session_ends: Some(session.ends(cx.policy.people.session)),
                approved_at: cx.now,
                auth_time: session.auth_time,
                level: session.level,
                amr: session.amr.clone(),
            };
            (state, "device_done", "approved")
        }
        Some(_) => (State::Denied, "device_denied", "denied"),
    };
    let mut changes = vec![code.decide(state, record)];
    if outcome == "approved" {
        changes.push(session::took_part(&session.sid, &client.id, cx.policy.people.session, cx.now));
    }
    if outcome == "approved" && client.approval == Approval::SelfAuthorized {
        let before = interaction::consented(&client, &session.user, cx).await?.unwrap_or_default();
        let all: Vec<&str> = before.iter().chain(scopes.iter()).collect();
        let consent = Consent { scopes: Some(ScopeSet::of(&all).to_string()), given: cx.now };
        changes.push(consent.record(&client.id, &session.user));
    }
    match cx.store.commit(Changes(changes), cx.now).await {
        Ok(()) => {}
        // Decided in another tab in the same moment.
        Err(StoreError::Conflict(_)) => return again(visit, StatusCode::BAD_REQUEST, "device_unknown"),
        Err(e) => return Err(e.into()),
    }
    cx.audit.write(json!({"event": "device", "outcome": outcome, "client": client.id, "subject": session.user,
        "time": cx.now}));
    Ok(visit.page(StatusCode::OK, Page::message(key, &Value::Null), &[]))
}
