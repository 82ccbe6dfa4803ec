//! The pages between a request and its answer: login, second factor, choice of account, consent.
use super::{
    Cx, authorize,
    error::{Code, OAuthError},
    interaction::{self, Interaction, Resume},
    paths, respond, saml,
    sign_out::SignOut,
    web::{SESSION_COOKIE, Visit, set_cookie},
};
use crate::{
    grant::Consent,
    login::{
        password::{self, Refused},
        session, totp,
    },
    model::session::{AtIdp, Level},
    pages::{self, Page},
    store::{Change, Changes, StoreError},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use bytes::Bytes;
use http::{Method, Response, StatusCode};
use serde_json::json;

/// Seconds after somebody proved who they are in which they may get a second factor.
const MOMENTS: i64 = 600;

/// Where forms of `interaction` may lead in the end.
fn targets(interaction: &Interaction) -> Vec<&str> {
    interaction.request().map(|r| r.redirect_uri.as_str()).into_iter().collect()
}

fn app_name(interaction: &Interaction, cx: &Cx) -> Option<String> {
    let client = interaction.request().and_then(|r| cx.policy.clients.get(r.client.as_str()));
    client.map(|c| c.name.clone())
}

/// `/oauth2/continue`: on to whatever comes next.
pub async fn go_on(mut visit: Visit<'_>) -> Result<Response<Bytes>, OAuthError> {
    let interaction = Interaction::of(&mut visit)?;
    match interaction.request().cloned() {
        Some(request) => interaction::advance(visit, request, Some(interaction)).await,
        None => {
            let to = interaction.next(visit.cx);
            Ok(visit.redirect(&to))
        }
    }
}

/// `/oauth2/login`.
pub async fn login(mut visit: Visit<'_>) -> Result<Response<Bytes>, OAuthError> {
    let interaction = Interaction::of(&mut visit)?;
    if visit.request.method() == Method::GET {
        let hint = interaction.request().and_then(|r| r.login_hint.clone());
        if let Some(to) = hint.as_ref().and_then(|h| saml::elsewhere(h, &interaction.seal(visit.cx), visit.cx)) {
            return Ok(visit.redirect(&to));
        }
        return Ok(login_page(visit, &interaction, hint.as_deref(), None));
    }
    let cx = visit.cx;
    let Some(form) = visit.form()? else { return Ok(login_page(visit, &interaction, None, None)) };
    let (username, password) = (form.get("username").unwrap_or_default(), form.get("password").unwrap_or_default());
    if let Some(to) = saml::elsewhere(username, &interaction.seal(cx), cx) {
        return Ok(visit.redirect(&to));
    }
    let verified = password::verify(&cx.login, &cx.policy, username, password, cx.address, cx.now).await;
    let outcome = match &verified {
        Ok(_) => "signed_in",
        Err(Refused::Wrong) => "login_wrong",
        Err(Refused::Throttled) => "login_throttled",
        Err(Refused::Busy) => "login_busy",
    };
    cx.audit.write(json!({"event": "login", "outcome": outcome, "username": username, "address": cx.address,
        "time": cx.now}));
    cx.metrics.logins.with_label_values(&[outcome]).inc();
    let user = match verified {
        Ok(user) => user,
        Err(_) => return Ok(login_page(visit, &interaction, Some(username), Some(outcome))),
    };
    let due = enter(&mut visit, &user, None, Vec::new(), SignOut::default()).await?;
    let to = next(&interaction, due, cx);
    Ok(visit.redirect(&to))
}

/// Begins the session of somebody who proved who they are, with `more` in the same commit, and the end of whatever `end`
/// holds; whether a second factor is due.
pub async fn enter(
    visit: &mut Visit<'_>,
    user: &str,
    at_idp: Option<AtIdp>,
    more: Vec<Change>,
    mut end: SignOut,
) -> Result<bool, OAuthError> {
    let cx = visit.cx;
    // Two factors shown at an IdP that is believed in it are two factors.
    let high = at_idp.as_ref().is_some_and(|a| a.level == Level::HighAssurance);
    let due = !high && totp::is_enrolled(&*cx.store, user, cx.now).await?;
    let own = visit.session().filter(|before| before.user == *user);
    let (cookie, begun) = session::begin(user, due, own, at_idp, cx.policy.people.session, cx.now);
    // The session that this browser had, if any, ends: nobody goes on under an identifier from before (S55).
    let mut changes = more;
    changes.extend(begun);
    match &visit.session {
        Some((old, before)) if before.user != *user => end.add(session::key(old), before, cx).await?,
        Some((old, _)) => changes.push(session::end(old)),
        None => {}
    }
    end.commit(changes, cx).await?;
    visit.set(set_cookie(SESSION_COOKIE, cookie, None));
    Ok(due)
}

/// Where the browser goes when somebody has signed in.
pub fn next(interaction: &Interaction, due: bool, cx: &Cx) -> String {
    if due && interaction.request().is_none() {
        interaction.address(paths::SECOND_FACTOR, cx)
    } else {
        interaction.next(cx)
    }
}

fn login_page(
    visit: Visit<'_>,
    interaction: &Interaction,
    hint: Option<&str>,
    problem: Option<&'static str>,
) -> Response<Bytes> {
    let cx = visit.cx;
    let status = match problem {
        None => StatusCode::OK,
        Some("login_wrong") => StatusCode::UNAUTHORIZED,
        Some("login_throttled") => StatusCode::TOO_MANY_REQUESTS,
        Some(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    let told = json!({
        "action": interaction.address(paths::LOGIN, cx), "hint": hint, "problem": problem,
        "app": app_name(interaction, cx), "ways": saml::ways(&interaction.seal(cx), cx),
    });
    // The form may lead on to the IdP of somebody's domain, too.
    let partners = cx.policy.saml.partners.values().flat_map(|p| &p.idp.sign_on).map(|e| e.location.as_str());
    let targets: Vec<&str> = targets(interaction).into_iter().chain(partners).collect();
    visit.page(status, Page::new("login", told), &targets)
}

/// `/oauth2/second_factor`: the code, or for who has none yet the way to get one.
pub async fn second_factor(mut visit: Visit<'_>) -> Result<Response<Bytes>, OAuthError> {
    let mut interaction = Interaction::of(&mut visit)?;
    let cx = visit.cx;
    let Some((cookie, session)) = visit.session.clone() else {
        let to = interaction.address(paths::LOGIN, cx);
        return Ok(visit.redirect(&to));
    };
    let enrolled = totp::is_enrolled(&*cx.store, &session.user, cx.now).await?;
    // An open browser is not enough to hang a factor of one's own onto an account.
    if !enrolled && session.auth_time.plus(MOMENTS) <= cx.now {
        interaction.anew = true;
        let to = interaction.address(paths::LOGIN, cx);
        return Ok(visit.redirect(&to));
    }
    interaction.enrolling = interaction.enrolling.filter(|(sid, _)| !enrolled && *sid == session.sid);
    let ready = enrolled || interaction.enrolling.is_some();
    let Some(form) = visit.form_of_session()?.filter(|_| ready) else {
        if !enrolled && interaction.enrolling.is_none() {
            interaction.enrolling = Some((session.sid.clone(), B64.encode(totp::new_secret())));
        }
        return Ok(factor_page(visit, &interaction, &session.user, None));
    };
    let code = form.get("code").unwrap_or_default();
    let limits = cx.policy.people.limits;
    let account = format!("factor/{}", session.user);
    if !cx.login.throttle.take(&account, limits.account, limits.window, cx.now) {
        return Ok(factor_page(visit, &interaction, &session.user, Some("login_throttled")));
    }
    let secret = enrolling(&interaction);
    let used = match &secret {
        Some(secret) => totp::step_of(secret, code, cx.now).map(|s| totp::enrol(&cx.login, &session.user, secret, s)),
        None => totp::check(&cx.login, &*cx.store, &session.user, code, cx.now).await?,
    };
    let event = |outcome| {
        cx.audit.write(json!({"event": "second_factor", "outcome": outcome, "subject": session.user,
            "enrolled": secret.is_some(), "time": cx.now}));
    };
    let Some(used) = used else {
        event("second_factor_wrong");
        return Ok(factor_page(visit, &interaction, &session.user, Some("second_factor_wrong")));
    };
    cx.login.throttle.give_back(&account);
    let proven = secret.is_none().then_some(cx.now);
    let (raised, mut changes) = session::raise(&cookie, &session, cx.policy.people.session, proven);
    changes.push(used);
    match cx.store.commit(Changes(changes), cx.now).await {
        Ok(()) => {}
        // Enrolled in another tab, or the code was used there, in the same moment.
        Err(StoreError::Conflict(_)) => {
            let to = interaction.address(paths::SECOND_FACTOR, cx);
            return Ok(visit.redirect(&to));
        }
        Err(e) => return Err(e.into()),
    }
    event("passed");
    visit.set(set_cookie(SESSION_COOKIE, raised, None));
    interaction.enrolling = None;
    if let Resume::Enrol = interaction.resume {
        interaction.resume = Resume::Account;
    }
    let to = interaction.next(cx);
    Ok(visit.redirect(&to))
}

/// The second factor that is being enrolled.
fn enrolling(interaction: &Interaction) -> Option<Vec<u8>> {
    interaction.enrolling.as_ref().and_then(|(_, secret)| B64.decode(secret).ok())
}

fn factor_page(
    visit: Visit<'_>,
    interaction: &Interaction,
    user: &str,
    problem: Option<&'static str>,
) -> Response<Bytes> {
    let cx = visit.cx;
    let status = match problem {
        None => StatusCode::OK,
        Some("login_throttled") => StatusCode::TOO_MANY_REQUESTS,
        Some(_) => StatusCode::UNAUTHORIZED,
    };
    let action = interaction.address(paths::SECOND_FACTOR, cx);
    let page = match enrolling(interaction) {
        Some(secret) => {
            let (text, uri) = totp::shown(&secret, &cx.policy.people.brand.name, user);
            Page::new("enrol", json!({"action": action, "problem": problem, "secret": text, "qr": pages::qr(&uri)}))
        }
        None => Page::new("second_factor", json!({"action": action, "problem": problem})),
    };
    visit.page(status, page, &targets(interaction))
}

/// `/oauth2/select_account`.
pub async fn select_account(mut visit: Visit<'_>) -> Result<Response<Bytes>, OAuthError> {
    let mut interaction = Interaction::of(&mut visit)?;
    let cx = visit.cx;
    let Some(session) = visit.session().cloned() else {
        let to = interaction.address(paths::LOGIN, cx);
        return Ok(visit.redirect(&to));
    };
    let Some(form) = visit.form_of_session()? else {
        let action = interaction.address(paths::SELECT_ACCOUNT, cx);
        let told = json!({"action": action, "app": app_name(&interaction, cx), "user": name_of(&session.user, cx)});
        return Ok(visit.page(StatusCode::OK, Page::new("select_account", told), &targets(&interaction)));
    };
    let to = if form.get("choice") == Some("same") {
        interaction.chosen = true;
        interaction.next(cx)
    } else {
        interaction.address(paths::LOGIN, cx)
    };
    Ok(visit.redirect(&to))
}

/// `/oauth2/consent`: the app's name, and what it asks for in plain words (S12).
pub async fn consent(mut visit: Visit<'_>) -> Result<Response<Bytes>, OAuthError> {
    let interaction = Interaction::of(&mut visit)?;
    let cx = visit.cx;
    let Resume::Authorize(request) = interaction.resume.clone() else {
        return Err(OAuthError::new(Code::InvalidRequest, "the sign-in has expired"));
    };
    let client = interaction::client(&request, cx)?;
    let session = visit.session().cloned();
    // Whatever else is due comes first, also when the page is opened by its address.
    let step = interaction::step(&request, &client, session.as_ref(), Some(&interaction), cx).await?;
    let (interaction::Step::Consent, Some(session)) = (step, session) else {
        let to = interaction.next(cx);
        return Ok(visit.redirect(&to));
    };
    let asked = authorize::asked(&request);
    let Some(form) = visit.form_of_session()? else {
        let host = request.redirect_uri.split("://").nth(1).and_then(|r| r.split(['/', '?']).next());
        let told = json!({
            "action": interaction.address(paths::CONSENT, cx), "app": client.name, "user": name_of(&session.user, cx),
            "host": host.unwrap_or(&client.name),
            "scopes": pages::scopes_in_words(asked.iter(), visit.language(), &cx.policy),
        });
        return Ok(visit.page(StatusCode::OK, Page::new("consent", told), &targets(&interaction)));
    };
    if form.get("decision") != Some("allow") {
        let denied = OAuthError::new(Code::AccessDenied, "end-user denied authorization");
        return Ok(respond::error(visit, &request, &denied));
    }
    let before = interaction::consented(&client, &session.user, cx).await?.unwrap_or_default();
    let all: Vec<&str> = before.iter().chain(asked.iter()).collect();
    let scopes = crate::model::ScopeSet::of(&all).to_string();
    let consent = Consent { scopes: Some(scopes), given: cx.now };
    cx.store.commit(Changes(vec![consent.record(&client.id, &session.user)]), cx.now).await?;
    cx.audit.write(json!({"event": "consent", "outcome": "given", "client": client.id, "subject": session.user,
        "scope": asked.to_string(), "time": cx.now}));
    respond::success(visit, &request, &client, &session).await
}

/// The name that a page greets `user` with.
pub fn name_of(user: &str, cx: &Cx) -> String {
    cx.seen(user).map_or_else(|| user.to_owned(), |u| u.display_name().to_owned())
}
