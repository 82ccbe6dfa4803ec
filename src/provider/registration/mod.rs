//! Dynamic client registration (RFC 7591) and its management (RFC 7592).
mod metadata;

use super::{
    Cx,
    error::{Code, OAuthError},
    paths, refuse, respond,
};
use crate::{
    grant,
    login::throttle::origin,
    model::{
        Authorization,
        registered::{InitialToken, Metadata, Registered},
    },
    policy::{
        in_force::{InForce, Kind},
        registration::Registration,
    },
    secret::{self, Digest},
    store::{Change, Changes, Expect, Record, StoreError},
    token::revocation::Ending,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use serde_json::{Value, json};

/// Seconds within which registrations from one address are counted.
const WINDOW: i64 = 3600;
/// Tries where another registration used the same initial access token in the same moment.
const TRIES: usize = 8;
const BATCH: usize = 200;

/// The app that `path` names, where it is the path of one (RFC 7592 §2).
pub fn named(path: &str) -> Option<&str> {
    path.strip_prefix(paths::REGISTER)?.strip_prefix('/').filter(|id| !id.is_empty() && !id.contains('/'))
}

/// Answers a request, where `[registration]` stands in the configuration.
pub async fn answer(request: &Request<Bytes>, in_force: Option<&InForce>, cx: &Cx) -> Response<Bytes> {
    let (Some(rules), Some(in_force)) = (&cx.policy.registration, in_force) else {
        return respond(StatusCode::NOT_FOUND, Some(&json!({"error": "not_found"})));
    };
    let outcome = match (request.method(), named(request.uri().path())) {
        (&Method::GET, Some(id)) => read(id, request, cx).await,
        (&Method::PUT, Some(id)) => replace(id, request, rules, in_force, cx).await,
        (&Method::DELETE, Some(id)) => remove(id, request, in_force, cx).await,
        _ if throttled(rules, cx) => Err(Stop::TooMany),
        _ => register(request, rules, in_force, cx).await,
    };
    let word = match &outcome {
        Ok(_) => "done",
        Err(Stop::TooMany) => "too_many",
        Err(Stop::Refused(error)) => error.code.name(),
    };
    cx.metrics.registrations.with_label_values(&[request.method().as_str(), word]).inc();
    match outcome {
        Ok(response) => response,
        Err(Stop::TooMany) => {
            audit("too_many", "", None, "", cx);
            let mut response = respond(
                StatusCode::TOO_MANY_REQUESTS,
                Some(&json!({"error": "too_many_requests",
                "error_description": "too many registrations from this address; try again later"})),
            );
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("3600"));
            response
        }
        Err(Stop::Refused(error)) => {
            audit(error.code.name(), "", None, &error.detail, cx);
            refuse(&error, cx.wire)
        }
    }
}

enum Stop {
    TooMany,
    Refused(OAuthError),
}

impl From<OAuthError> for Stop {
    fn from(error: OAuthError) -> Self {
        Self::Refused(error)
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Refused(error.into())
    }
}

fn throttled(rules: &Registration, cx: &Cx) -> bool {
    let name = cx.address.map(|a| format!("register {}", origin(a)));
    name.is_some_and(|name| !cx.login.throttle.take(&name, rules.per_address, WINDOW, cx.now))
}

fn audit(outcome: &str, client: &str, by: Option<&str>, detail: &str, cx: &Cx) {
    cx.audit.write(json!({"event": "registration", "outcome": outcome, "client": client, "by": by,
        "detail": detail, "time": cx.now}));
}

/// The one bearer token of a request.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (one, None) = (values.next()?, values.next()) else { return None };
    let (scheme, token) = one.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

fn unauthorized(detail: &str) -> OAuthError {
    OAuthError::new(Code::InvalidToken, "the access token is not valid here").detail(detail)
}

/// The initial access token's use, and its name; nothing where none is needed and none came.
async fn admitted(request: &Request<Bytes>, rules: &Registration, cx: &Cx) -> Result<Option<(Change, String)>, Stop> {
    let Some(token) = bearer(request.headers()) else {
        let sent = request.headers().contains_key(header::AUTHORIZATION);
        return if rules.open && !sent { Ok(None) } else { Err(unauthorized("no initial access token").into()) };
    };
    let (id, secret) = InitialToken::parse(token).ok_or_else(|| unauthorized("not an initial access token"))?;
    let record = cx.store.get(&InitialToken::key(id), cx.now).await?;
    let record = record.ok_or_else(|| unauthorized("the initial access token is used up, expired or unknown"))?;
    let known: InitialToken = grant::stored(&record)?;
    if !known.secret.matches(secret.as_bytes()) {
        return Err(unauthorized("wrong secret of an initial access token").into());
    }
    // The version is what makes it count exactly once (S30).
    let expect = Expect::Version(record.version);
    let change = match known.left {
        0 | 1 => Change::Delete(record.key, expect),
        more => {
            let body = serde_json::to_vec(&InitialToken { left: more - 1, ..known }).expect("a token is plain data");
            Change::Put(Record { body, ..record }, expect)
        }
    };
    Ok(Some((change, id.to_owned())))
}

/// `POST /oauth2/register` (RFC 7591 §3).
async fn register(
    request: &Request<Bytes>,
    rules: &Registration,
    in_force: &InForce,
    cx: &Cx,
) -> Result<Response<Bytes>, Stop> {
    let mut tries = 0;
    loop {
        tries += 1;
        // Nobody learns what would be accepted without a token.
        let admitted = admitted(request, rules, cx).await?;
        if cx.policy.registered.len() >= rules.most {
            let why = OAuthError::new(Code::TemporarilyUnavailable, "no more apps can be registered");
            return Err(why.detail("[registration] most is reached").into());
        }
        let said = metadata::read(&body(request)?, rules)?;
        let (use_up, by) = admitted.unzip();
        let secret = has_secret(&said).then(secret::random_token);
        let token = secret::random_token();
        let registered = Registered {
            client_id: secret::random_name(),
            issued: cx.now,
            by,
            secret: secret.as_ref().map(|s| Digest::of(s.as_bytes())),
            token: Digest::of(token.as_bytes()),
            metadata: said,
        };
        fit(&registered, rules, cx)?;
        let put = Change::Put(record(&registered), Expect::Absent);
        match cx.store.commit(Changes(use_up.into_iter().chain([put]).collect()), cx.now).await {
            Err(StoreError::Conflict(_)) if tries < TRIES => continue,
            outcome => outcome?,
        }
        in_force.hear(&[Registered::key(&registered.client_id)], &*cx.store, cx.now).await?;
        audit("registered", &registered.client_id, registered.by.as_deref(), "", cx);
        return Ok(told(StatusCode::CREATED, &registered, secret.as_deref(), &token, cx));
    }
}

fn body(request: &Request<Bytes>) -> Result<Value, OAuthError> {
    let malformed = |why| OAuthError::new(Code::InvalidClientMetadata, why);
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        return Err(malformed("Content-Type must be application/json"));
    }
    let value: Value = serde_json::from_slice(request.body()).map_err(|_| malformed("the body is not JSON"))?;
    if value.is_object() { Ok(value) } else { Err(malformed("the body is not a JSON object")) }
}

fn has_secret(said: &Metadata) -> bool {
    said.token_endpoint_auth_method.starts_with("client_secret")
}

fn record(registered: &Registered) -> Record {
    let body = serde_json::to_vec(registered).expect("an app is plain data");
    Record { key: Registered::key(&registered.client_id), version: 0, index: None, expires: None, body }
}

/// Whether it makes an app under the rules in force, as an app's file would; and under a name of its own.
fn fit(registered: &Registered, rules: &Registration, cx: &Cx) -> Result<(), OAuthError> {
    if let Some(name) = &registered.metadata.client_name {
        let taken = |c: &crate::model::Client| *c.id != *registered.client_id && c.name.eq_ignore_ascii_case(name);
        if cx.policy.clients.values().any(|c| !cx.policy.registered.contains(&c.id) && taken(c)) {
            return Err(OAuthError::new(Code::InvalidClientMetadata, "client_name: another app has it"));
        }
    }
    (rules.make)(registered, rules).map(drop).map_err(|(key, why)| {
        let (code, public) = match key.as_str() {
            "redirect_uris" => (Code::InvalidRedirectUri, "redirect_uris: not acceptable"),
            "keys" => (Code::InvalidClientMetadata, "jwks: not acceptable"),
            "auth" => (Code::InvalidClientMetadata, "token_endpoint_auth_method: needs what is missing"),
            "grants" => (Code::InvalidClientMetadata, "grant_types: need what is missing"),
            _ => (Code::InvalidClientMetadata, "the metadata is not acceptable"),
        };
        OAuthError::new(code, public).detail(format!("{key}: {why}"))
    })
}

/// The client information response (RFC 7591 §3.2.1). Secrets are told when they are made, and never again: only
/// digests are kept.
fn told(status: StatusCode, app: &Registered, secret: Option<&str>, token: &str, cx: &Cx) -> Response<Bytes> {
    let mut body = serde_json::to_value(&app.metadata).expect("metadata is plain data");
    body["client_id"] = app.client_id.as_str().into();
    body["client_id_issued_at"] = app.issued.0.into();
    body["registration_access_token"] = token.into();
    let uri = format!("{}{}/{}", cx.policy.issuer, paths::REGISTER, app.client_id);
    body["registration_client_uri"] = uri.into();
    if let Some(secret) = secret {
        body["client_secret"] = secret.into();
    }
    if app.secret.is_some() {
        body["client_secret_expires_at"] = 0.into();
    }
    respond(status, Some(&body))
}

/// The app that the registration access token belongs to; any other is told apart from none by nobody (RFC 7592 §2).
async fn own<'a>(id: &str, request: &'a Request<Bytes>, cx: &Cx) -> Result<(Registered, u64, &'a str), OAuthError> {
    let token = bearer(request.headers()).ok_or_else(|| unauthorized("no registration access token"))?;
    let record = cx.store.get(&Registered::key(id), cx.now).await?;
    let record = record.ok_or_else(|| unauthorized("no such app"))?;
    let app: Registered = grant::stored(&record)?;
    if !app.token.matches(token.as_bytes()) {
        return Err(unauthorized("wrong registration access token"));
    }
    Ok((app, record.version, token))
}

async fn read(id: &str, request: &Request<Bytes>, cx: &Cx) -> Result<Response<Bytes>, Stop> {
    let (app, _, token) = own(id, request, cx).await?;
    Ok(told(StatusCode::OK, &app, None, token, cx))
}

/// `PUT`: what is not said again is gone (RFC 7592 §2.2).
async fn replace(
    id: &str,
    request: &Request<Bytes>,
    rules: &Registration,
    in_force: &InForce,
    cx: &Cx,
) -> Result<Response<Bytes>, Stop> {
    let (app, version, token) = own(id, request, cx).await?;
    let value = body(request)?;
    let wrong = |why| Stop::from(OAuthError::new(Code::InvalidRequest, why));
    let server_made =
        ["registration_access_token", "registration_client_uri", "client_secret_expires_at", "client_id_issued_at"];
    if server_made.iter().any(|name| value.get(name).is_some()) {
        return Err(wrong("what the server made up must not be sent back"));
    }
    if value.get("client_id").and_then(Value::as_str) != Some(id) {
        return Err(wrong("client_id must be the app's own"));
    }
    if let Some(sent) = value.get("client_secret") {
        let matches = |s: &str| app.secret.as_ref().is_some_and(|d| d.matches(s.as_bytes()));
        if !sent.as_str().is_some_and(matches) {
            return Err(wrong("client_secret must be the app's own, or left out"));
        }
    }
    let said = metadata::read(&value, rules)?;
    let new = (has_secret(&said) && app.secret.is_none()).then(secret::random_token);
    let kept = app.secret.filter(|_| has_secret(&said));
    let secret = new.as_ref().map(|s| Digest::of(s.as_bytes())).or(kept);
    let app = Registered { secret, metadata: said, ..app };
    fit(&app, rules, cx)?;
    cx.store.commit(Changes(vec![Change::Put(record(&app), Expect::Version(version))]), cx.now).await?;
    in_force.hear(&[Registered::key(id)], &*cx.store, cx.now).await?;
    audit("replaced", id, Some(id), "", cx);
    Ok(told(StatusCode::OK, &app, new.as_deref(), token, cx))
}

/// `DELETE`: the app is gone, and with it every token and what users gave it (RFC 7592 §2.3).
async fn remove(id: &str, request: &Request<Bytes>, in_force: &InForce, cx: &Cx) -> Result<Response<Bytes>, Stop> {
    let (_, version, _) = own(id, request, cx).await?;
    let keys = [Registered::key(id), Kind::Client.key(id)];
    let changes =
        vec![Change::Delete(keys[0].clone(), Expect::Version(version)), Change::Delete(keys[1].clone(), Expect::Any)];
    let until = cx.now.plus(grant::LONGEST_TOKEN);
    cx.tokens.commit(Changes(changes), vec![Ending::of(format!("client/{id}"), until)], cx.now).await?;
    in_force.hear(&keys, &*cx.store, cx.now).await?;
    forget(id, cx).await?;
    audit("removed", id, Some(id), "", cx);
    Ok(respond(StatusCode::NO_CONTENT, None))
}

/// What users gave an app that is gone: whoever gave it anything approved it first.
async fn forget(client: &str, cx: &Cx) -> Result<(), OAuthError> {
    let prefix = grant::approval_key(client, "");
    loop {
        let page = cx.store.page(&prefix, "", BATCH, cx.now).await?;
        if page.is_empty() {
            return Ok(());
        }
        let mut changes = Vec::new();
        for approval in page {
            for held in grant::authorizations(&approval.key[prefix.len()..], cx).await? {
                if held.client == client {
                    changes.push(Change::Delete(Authorization::key(&held.id), Expect::Any));
                }
            }
            changes.push(Change::Delete(approval.key, Expect::Any));
        }
        cx.store.commit(Changes(changes), cx.now).await?;
    }
}
