//! Browser sessions at the gate: a web app behind it needs no code. The gate is itself the client of a web server flow,
//! for the app that `[[sign_in]]` names for the host; paths and answers are those of oauth2-proxy.
mod decision;

pub use decision::auth;

use super::{
    Cx,
    error::{Code, OAuthError},
    params::Params,
    paths,
    web::{GATE_COOKIE, START_COOKIE, Visit, cookie, own_path, set_cookie},
};
use crate::{
    clock::Timestamp,
    grant::{
        authorization_code::{self, Presented},
        user_may,
    },
    login,
    model::{
        Client, Level, ScopeSet, Wire,
        session::{AT_GATE, Lifetime},
    },
    policy::Policy,
    secret::{self, Digest},
    store::{Change, Changes, Expect, Record, StoreError},
    token::{
        Claims, More, Opened,
        revocation::{Ending, session_name},
    },
};
use bytes::Bytes;
use http::{Method, Request, Response, header};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Seconds that a person may take to sign in.
const LIFETIME: i64 = 3600;
const PURPOSE: &str = "gate";

/// Where a browser goes back to when it has signed in.
#[derive(Serialize, Deserialize)]
struct Way {
    back: String,
    browser: Digest,
    /// Tells it from the other ways of that browser, which may have begun in several tabs.
    name: String,
    begun: Timestamp,
}

impl Way {
    /// The PKCE verifier, which whoever has not the browser's secret cannot know.
    fn verifier(&self, secret: &str) -> String {
        Digest::text(&format!("{secret}:{}", self.name))
    }
}

/// A browser's session with one web app; stored under its cookie's digest.
#[derive(Clone, Serialize, Deserialize)]
struct GateSession {
    id: String,
    authority: String,
    client: String,
    subject: String,
    scopes: String,
    sid: String,
    auth_time: Timestamp,
    #[serde(default)]
    level: Level,
    created: Timestamp,
    /// When the sign-on session that it came from ends at the latest, and this one with it.
    #[serde(default)]
    session_ends: Option<Timestamp>,
}

impl GateSession {
    /// When it ends if it is not used again after `now` (S57).
    fn expires(&self, lifetime: Lifetime, now: Timestamp) -> Timestamp {
        let here = self.created.plus(lifetime.absolute).min(now.plus(lifetime.idle));
        self.session_ends.map_or(here, |ends| ends.min(here))
    }
}

fn key(cookie: &str) -> String {
    format!("{AT_GATE}{}", Digest::text(cookie))
}

/// Callbacks of the gate itself for the app `client`.
pub fn redirect_uris(policy: &Policy, client: &str) -> Vec<String> {
    let own = policy.people.sign_in.iter().filter(|(_, app)| *app == client);
    own.map(|(authority, _)| format!("https://{authority}{}", paths::CALLBACK)).collect()
}

/// `host` or `host:port` that the request was sent to, lower case; behind a proxy that asks for a decision alone, the
/// one that it names. A caller gains nothing by it: whoever can write the one header can write the other.
fn asked_for(request: &Request<Bytes>) -> String {
    let forwarded = request.headers().get("x-forwarded-host").and_then(|h| h.to_str().ok());
    forwarded.map_or_else(|| authority(request), |host| host.trim().to_ascii_lowercase())
}

/// `host` or `host:port` that the request was sent to, lower case.
pub fn authority(request: &Request<Bytes>) -> String {
    let named = request.uri().authority().map(|a| a.as_str());
    let header = request.headers().get(header::HOST).and_then(|h| h.to_str().ok());
    named.or(header).unwrap_or_default().to_ascii_lowercase()
}

fn app<'a>(authority: &str, cx: &'a Cx) -> Result<&'a Arc<Client>, OAuthError> {
    let none = || OAuthError::new(Code::InvalidRequest, "nobody signs in on this host");
    let id = cx.policy.people.sign_in.get(authority).ok_or_else(none)?;
    cx.policy.clients.get(id.as_str()).filter(|c| !c.blocked).ok_or_else(none)
}

/// Where `rd` leads: a path on this very host, or one on a host whose browsers sign in here; `/` otherwise, so that
/// nobody is led away (S54).
fn back(request: &Request<Bytes>, params: &Params, host: &str, cx: &Cx) -> String {
    let header = request.headers().get("x-auth-request-redirect").and_then(|v| v.to_str().ok());
    let target = params.get("rd").or(header).unwrap_or("/");
    let elsewhere = target.strip_prefix("https://").map(|rest| rest.split_at(rest.find('/').unwrap_or(rest.len())));
    match elsewhere {
        None if own_path(target) => target.to_owned(),
        Some((authority, rest)) if rest.is_empty() || own_path(rest) => {
            let rest = if rest.is_empty() { "/" } else { rest };
            if authority.eq_ignore_ascii_case(host) {
                rest.to_owned()
            } else if cx.policy.people.sign_in.contains_key(&authority.to_ascii_lowercase()) {
                format!("https://{authority}{rest}")
            } else {
                "/".to_owned()
            }
        }
        _ => "/".to_owned(),
    }
}

/// `GET /oauth2/start?rd=…`: off to sign in.
pub fn start(mut visit: Visit<'_>) -> Result<Response<Bytes>, OAuthError> {
    let cx = visit.cx;
    let host = asked_for(visit.request);
    let client = app(&host, cx)?;
    let params = Params::of_either(visit.request)?;
    // One secret for all tabs, so that none takes another one's away.
    let known = cookie(visit.request.headers(), START_COOKIE).filter(|secret| secret.len() == 43);
    let secret = known.unwrap_or_else(secret::random_token);
    let back = back(visit.request, &params, &host, cx);
    let way = Way { back, browser: Digest::of(secret.as_bytes()), name: secret::random_id(), begun: cx.now };
    let (state, challenge) = (cx.tokens.seal(PURPOSE, &way), Digest::text(&way.verifier(&secret)));
    let callback = format!("https://{host}{}", paths::CALLBACK);
    let scope = client.grantable(Wire::Standard).to_string();
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs([
            ("response_type", "code"),
            ("client_id", &*client.id),
            ("redirect_uri", &callback),
            ("scope", &scope),
            ("state", &state),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ])
        .finish();
    visit.set(set_cookie(START_COOKIE, secret, Some(LIFETIME)));
    let to = format!("{}{}?{query}", cx.policy.issuer, paths::AUTHORIZE);
    Ok(visit.redirect(&to))
}

/// `GET /oauth2/callback`: back with a code, which is redeemed here and now.
pub async fn callback(mut visit: Visit<'_>) -> Result<Response<Bytes>, OAuthError> {
    let cx = visit.cx;
    let host = authority(visit.request);
    let client = app(&host, cx)?.clone();
    let params = Params::of_either(visit.request)?;
    let gone = |why: &str| OAuthError::new(Code::InvalidRequest, "the sign-in has expired").detail(why);
    let secret = cookie(visit.request.headers(), START_COOKIE).ok_or_else(|| gone("no cookie"))?;
    let way: Option<Way> = params.get("state").and_then(|s| cx.tokens.unseal_value(PURPOSE, s, cx.now));
    let way = way.ok_or_else(|| gone("state"))?;
    if way.browser != Digest::of(secret.as_bytes()) || way.begun.plus(LIFETIME) <= cx.now {
        // Begun long ago, or in the moment in which another tab got the cookie. It begins anew, and nothing of what came
        // along is taken: where it was begun in another browser, this one signs in for itself.
        let back: String = form_urlencoded::byte_serialize(way.back.as_bytes()).collect();
        return Ok(visit.redirect(&format!("{}?rd={back}", paths::START)));
    }
    let verifier = way.verifier(&secret);
    if let Some(error) = params.get("error") {
        return Err(refused(error, params.get("error_description")).detail(error));
    }
    let callback = format!("https://{host}{}", paths::CALLBACK);
    let code = params.require("code", "code is missing")?;
    let presented = Presented { code, redirect_uri: Some(&callback), verifier: Some(&verifier), key: None };
    let (code, used) = authorization_code::take(&presented, &client, cx).await?;
    user_may(&client, &code.subject, cx).await?;
    let session = GateSession {
        id: secret::random_id(),
        authority: host,
        client: client.id.to_string(),
        subject: code.subject,
        scopes: code.scopes,
        sid: code.sid,
        auth_time: code.auth_time,
        level: code.level,
        created: cx.now,
        session_ends: code.session_ends,
    };
    let value = secret::random_token();
    let took_part = login::session::took_part(&session.sid, &client.id, cx.policy.people.session, cx.now);
    let changes = vec![used, took_part, Change::Put(record(key(&value), &session, cx), Expect::Absent)];
    cx.store.commit(Changes(changes), cx.now).await?;
    cx.tokens.tally.issued(&session.client, &session.subject, cx.now);
    visit.set(set_cookie(GATE_COOKIE, value, None));
    Ok(visit.redirect(&way.back))
}

/// What our own authorization endpoint answered, for the page that says so; whoever wrote it into the address by hand
/// reads it alone.
fn refused(error: &str, described: Option<&str>) -> OAuthError {
    let (code, public) = match (error, described) {
        ("access_denied", Some("end-user denied authorization")) => {
            (Code::AccessDenied, "end-user denied authorization")
        }
        ("access_denied", _) => (Code::AccessDenied, "user is not admin approved to access this app"),
        ("unauthorized_client", _) => (Code::UnauthorizedClient, "this app is blocked by admin"),
        _ => (Code::AccessDenied, "the sign-in was refused"),
    };
    OAuthError::new(code, public)
}

fn record(key: String, session: &GateSession, cx: &Cx) -> Record {
    let expires = session.expires(cx.policy.people.session, cx.now);
    let body = serde_json::to_vec(session).expect("a session is plain data");
    Record { key, version: 0, index: Some(format!("user/{}", session.subject)), expires: Some(expires), body }
}

/// `/oauth2/sign_out?rd=…`: ends the session with this app. Another site cannot make a browser do it.
pub async fn sign_out(mut visit: Visit<'_>) -> Result<Response<Bytes>, OAuthError> {
    let cx = visit.cx;
    let site = visit.request.headers().get("sec-fetch-site").and_then(|v| v.to_str().ok());
    if site.is_some_and(|s| s == "cross-site") {
        return Err(OAuthError::new(Code::AccessDenied, "the form was not ours").detail("Sec-Fetch-Site"));
    }
    let params = Params::of_either(visit.request)?;
    if let Some(value) = cookie(visit.request.headers(), GATE_COOKIE)
        && let Some(stored) = cx.store.get(&key(&value), cx.now).await?
    {
        let session: GateSession = crate::grant::stored(&stored)?;
        let changes = vec![Change::Delete(stored.key, Expect::Any)];
        cx.tokens.commit(Changes(changes), vec![ending(&session.id, cx)], cx.now).await?;
    }
    visit.set(set_cookie(GATE_COOKIE, String::new(), Some(0)));
    let to = back(visit.request, &params, &authority(visit.request), cx);
    Ok(visit.redirect(&to))
}

fn ending(id: &str, cx: &Cx) -> Ending {
    Ending::of(format!("token/{id}"), cx.now.plus(cx.policy.people.session.absolute))
}

/// What ends those of `user`'s browser sessions that are `wanted` by their client and their sign-on session.
pub async fn endings(
    user: &str,
    wanted: impl Fn(&str, &str) -> bool,
    cx: &Cx,
) -> Result<(Vec<Change>, Vec<Ending>), OAuthError> {
    let (mut changes, mut endings) = (Vec::new(), Vec::new());
    for (key, session) in of_user(user, cx).await? {
        if wanted(&session.client, &session.sid) {
            changes.push(Change::Delete(key, Expect::Any));
            endings.push(ending(&session.id, cx));
        }
    }
    Ok((changes, endings))
}

/// The apps that `user`'s browsers have sessions with: which app, its scopes, and since when.
pub async fn held(user: &str, cx: &Cx) -> Result<Vec<(String, String, Timestamp)>, OAuthError> {
    let all = of_user(user, cx).await?.into_iter();
    Ok(all.map(|(_, session)| (session.client, session.scopes, session.created)).collect())
}

/// `user`'s sessions, each with its record's key.
async fn of_user(user: &str, cx: &Cx) -> Result<Vec<(String, GateSession)>, OAuthError> {
    let mut all = Vec::new();
    for stored in cx.store.find(&format!("user/{user}"), cx.now).await? {
        if stored.key.starts_with(AT_GATE) {
            let session = crate::grant::stored(&stored)?;
            all.push((stored.key, session));
        }
    }
    Ok(all)
}

/// The session of a gate cookie on `authority`, as if it were a token of its app.
pub async fn open(value: &str, authority: &str, cx: &Cx) -> Result<Option<Arc<Opened>>, OAuthError> {
    let Some(stored) = cx.store.get(&key(value), cx.now).await? else { return Ok(None) };
    let session: GateSession = crate::grant::stored(&stored)?;
    // A browser sends the cookie to its own host alone; anything else was carried over by hand.
    if session.authority != authority {
        return Ok(None);
    }
    let Some(client) = cx.policy.clients.get(session.client.as_str()) else { return Ok(None) };
    // Seen now. Whoever ended it meanwhile wins.
    let renewed = record(stored.key.clone(), &session, cx);
    if renewed.expires.map(|t| t.0 / 60) > stored.expires.map(|t| t.0 / 60) {
        match cx.store.commit(Changes(vec![Change::Put(renewed, Expect::Version(stored.version))]), cx.now).await {
            Ok(()) | Err(StoreError::Conflict(_)) => {}
            Err(e) => return Err(e.into()),
        }
    }
    cx.tokens.tally.opened(&session.client, &session.subject, cx.now);
    let exp = session.expires(cx.policy.people.session, cx.now);
    let brought_by = cx.brought_by(&session.subject).await?;
    let claims = Claims {
        iss: cx.policy.issuer.to_string(),
        sub: session.subject,
        client_id: session.client,
        aud: client.audience.to_string(),
        scope: ScopeSet::parse(&session.scopes).unwrap_or_default().to_string(),
        jti: session.id,
        grant_id: Some(session_name(&session.sid)),
        generation: None,
        auth_time: Some(session.auth_time),
        iat: session.created,
        exp,
        more: More { acr: More::acr_of(session.level), brought_by, ..More::default() },
    };
    Ok(cx.tokens.opened(claims).map(Arc::new))
}

/// Whether a browser navigates, so that a page may be shown to it; a script gets 401 (Fetch Metadata).
pub fn navigates(method: &Method, headers: &http::HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    *method == Method::GET
        && match text("sec-fetch-mode") {
            Some(mode) => mode == "navigate",
            None => text("accept").is_some_and(|a| a.contains("text/html")),
        }
}
