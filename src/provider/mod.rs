//! The authorization server, without sockets: requests in, responses out.
mod account;
pub mod authorization_request;
mod authorize;
pub mod client_auth;
mod device;
mod discovery;
pub mod error;
pub mod gate_session;
pub mod id_token;
mod interaction;
mod introspect;
mod logout;
mod par;
pub mod params;
pub mod paths;
pub mod people;
pub mod possession;
mod registration;
mod respond;
mod restriction;
mod revoke;
mod saml;
mod second_shape;
mod sign_in;
mod sign_out;
mod single_access;
mod soap;
pub mod token;
pub mod userinfo;
pub mod web;

use crate::{
    clock::{Clock, Timestamp},
    log::Log,
    login::Login,
    metrics::Metrics,
    model::{Client, ClientCertificate, Wire},
    policy::{
        Policy, SharedPolicy,
        in_force::InForce,
        own_paths::{are_ours, is_resource_metadata},
    },
    salesforce,
    secret::Digest,
    store::{Changes, Store},
    telemetry,
    token::{Opened, Tokens, assertion::Rules, vault::Vault},
};
use bytes::Bytes;
use error::{Code, OAuthError};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use serde_json::{Value, json};
use std::sync::Arc;

/// The address that a request came from; put among its extensions by whoever took it off the socket. So is the
/// certificate of its connection, an `Arc<ClientCertificate>`: neither is ever read from a header.
#[derive(Clone, Copy, Debug)]
pub struct ClientAddress(pub std::net::IpAddr);

/// What one request sees: one policy, one time.
pub struct Cx {
    /// The snapshot.
    pub policy: Arc<Policy>,
    /// The store.
    pub store: Arc<dyn Store>,
    /// Mint and opener.
    pub tokens: Arc<Tokens>,
    /// The time, read once.
    pub now: Timestamp,
    /// What was issued, refused, ended.
    pub audit: Log,
    /// What all sign-ins share.
    pub login: Arc<Login>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Where the request came from.
    pub address: Option<std::net::IpAddr>,
    /// The certificate of the client's connection.
    pub certificate: Option<Arc<ClientCertificate>>,
    /// The shape that the request came in.
    pub wire: Wire,
}

impl Cx {
    /// What assertions that `client` brings must hold to.
    pub fn rules(&self, client: &Client) -> Rules {
        rules(&self.policy, self.wire, Some(client))
    }
}

/// What assertions have to say, by `policy`, in whose words, and for whom.
pub fn rules(policy: &Policy, wire: Wire, client: Option<&Client>) -> Rules {
    let issuer = &policy.issuer;
    let own = vec![issuer.to_string(), format!("{issuer}/"), format!("{issuer}{}", paths::TOKEN)];
    match (&policy.salesforce, wire) {
        (Some(settings), Wire::Salesforce) => salesforce::assertion::rules(issuer, settings, client, &own),
        _ => Rules::standard(own),
    }
}

/// The authorization server.
pub struct Provider {
    policy: SharedPolicy,
    store: Arc<dyn Store>,
    tokens: Arc<Tokens>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    audit: Log,
    login: Arc<Login>,
    browsers: moka::sync::Cache<Digest, Arc<Opened>>,
    in_force: Option<Arc<InForce>>,
}

/// Seconds that a browser's session behind the gate is taken from memory; its end is felt at once all the same.
const BROWSER_CACHE: u64 = 60;

impl Provider {
    /// Hangs the server onto what it needs.
    pub fn new(
        policy: SharedPolicy,
        store: Arc<dyn Store>,
        tokens: Arc<Tokens>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        audit: Log,
        vault: Vault,
    ) -> Self {
        let login = Arc::new(Login::new(vault));
        let browsers = moka::sync::Cache::builder()
            .max_capacity(100_000)
            .time_to_live(std::time::Duration::from_secs(BROWSER_CACHE))
            .build();
        Self { policy, store, tokens, clock, metrics, audit, login, browsers, in_force: None }
    }

    /// The same, where apps may register themselves: they are taken up into this policy.
    #[must_use]
    pub fn registering(self, in_force: Arc<InForce>) -> Self {
        Self { in_force: Some(in_force), ..self }
    }

    fn cx(&self, address: Option<std::net::IpAddr>, certificate: Option<Arc<ClientCertificate>>) -> Cx {
        Cx {
            policy: self.policy.load_full(),
            store: self.store.clone(),
            tokens: self.tokens.clone(),
            now: self.clock.now(),
            audit: self.audit.clone(),
            login: self.login.clone(),
            metrics: self.metrics.clone(),
            address,
            certificate,
            wire: Wire::Standard,
        }
    }

    /// The session of a browser with the web app behind the gate on `authority`, if its cookie holds.
    pub async fn browser_session(
        &self,
        headers: &http::HeaderMap,
        authority: &str,
    ) -> Result<Option<Arc<Opened>>, OAuthError> {
        let Some(value) = web::cookie(headers, web::GATE_COOKIE) else { return Ok(None) };
        let digest = Digest::of(format!("{authority} {value}").as_bytes());
        let cx = self.cx(None, None);
        let opened = match self.browsers.get(&digest) {
            Some(known) => known,
            None => match gate_session::open(&value, authority, &cx).await? {
                Some(opened) => {
                    self.browsers.insert(digest, opened.clone());
                    opened
                }
                None => return Ok(None),
            },
        };
        Ok(cx.tokens.alive(&opened, cx.now).is_ok().then_some(opened))
    }

    /// Whether `path` is answered here rather than proxied.
    pub fn owns(&self, path: &str) -> bool {
        are_ours(path) || salesforce::may_own(path) && salesforce::owns(path, self.policy.load().salesforce.as_deref())
    }

    /// Answers one request.
    pub async fn handle(&self, request: Request<Bytes>) -> Response<Bytes> {
        let extensions = request.extensions();
        let cx = self.cx(extensions.get::<ClientAddress>().map(|a| a.0), extensions.get().cloned());
        cx.tokens.stamp(cx.now);
        let path = request.uri().path();
        if salesforce::owns(path, cx.policy.salesforce.as_deref()) {
            return self.second_shape(request, cx).await;
        }
        let Some(allowed) = methods(path) else {
            return respond(StatusCode::NOT_FOUND, Some(&json!({"error": "not_found"})));
        };
        if !allowed.contains(&request.method()) {
            return not_allowed(allowed);
        }
        match path {
            paths::TOKEN => self.token(&request, &cx).await,
            paths::REVOKE => settle("revoke", &cx, revoke::answer(&request, &cx).await),
            paths::INTROSPECT => settle("introspect", &cx, introspect::answer(&request, &cx).await.map(Some)),
            paths::DEVICE_AUTHORIZATION => settle("device", &cx, device::authorization(&request, &cx).await.map(Some)),
            paths::USERINFO => settle("userinfo", &cx, userinfo::answer(&request, &cx).await.map(Some)),
            paths::PAR => {
                let mut response = settle("par", &cx, par::push(&request, &cx).await.map(Some));
                if response.status() == StatusCode::OK {
                    *response.status_mut() = StatusCode::CREATED;
                }
                response
            }
            paths::JWKS => respond(StatusCode::OK, Some(&cx.tokens.jwks())),
            paths::METADATA | paths::OPENID => respond(StatusCode::OK, Some(&discovery::metadata(&cx.policy))),
            paths::STYLE => web::asset("text/css; charset=utf-8", crate::pages::style(&cx.policy.people.brand).into()),
            paths::LOGO => match &cx.policy.people.brand.logo {
                Some((kind, bytes)) => web::asset(kind, Bytes::from(bytes.clone())),
                None => respond(StatusCode::NOT_FOUND, None),
            },
            path if is_resource_metadata(path) => match discovery::resource(&cx.policy, path) {
                Some(document) => respond(StatusCode::OK, Some(&document)),
                None => respond(StatusCode::NOT_FOUND, Some(&json!({"error": "not_found"}))),
            },
            path if path.starts_with(paths::REGISTER) => {
                registration::answer(&request, self.in_force.as_deref(), &cx).await
            }
            _ => Box::pin(browse(&request, &cx)).await,
        }
    }

    async fn token(&self, request: &Request<Bytes>, cx: &Cx) -> Response<Bytes> {
        if !self.tokens.ready() {
            // What is blocked is not known yet, so nothing can be decided (S66).
            let why = OAuthError::new(Code::TemporarilyUnavailable, "the service cannot decide now; try again");
            return settle("token", cx, Err(why));
        }
        let mut trace = token::Trace::default();
        // On the heap: what is handed on is moved, and this would be thousands of bytes each time.
        let work = Box::pin(async {
            let outcome = token::answer(request, cx, &mut trace).await;
            let outcome = token::told(outcome, &trace, cx).await;
            (outcome, trace)
        });
        let (outcome, _) =
            telemetry::span(telemetry::INTERNAL, work, |(outcome, trace)| token::span(outcome, trace)).await;
        settle("token", cx, outcome.map(Some))
    }
}

/// The methods that `path` takes; `None` for a path that is not there.
fn methods(path: &str) -> Option<&'static [&'static Method]> {
    const GET: &[&Method] = &[&Method::GET];
    const POST: &[&Method] = &[&Method::POST];
    const BOTH: &[&Method] = &[&Method::GET, &Method::POST];
    match path {
        path if registration::named(path).is_some() => Some(&[&Method::GET, &Method::PUT, &Method::DELETE]),
        paths::REGISTER => Some(POST),
        paths::TOKEN | paths::REVOKE | paths::INTROSPECT | paths::PAR | paths::DEVICE_AUTHORIZATION => Some(POST),
        paths::METADATA | paths::OPENID | paths::JWKS | paths::STYLE | paths::LOGO => Some(GET),
        paths::START | paths::CALLBACK | paths::AUTH | paths::CONTINUE | paths::FRONT_DOOR => Some(GET),
        paths::AUTHORIZE | paths::USERINFO | paths::LOGOUT | paths::LOGIN | paths::SECOND_FACTOR => Some(BOTH),
        paths::SELECT_ACCOUNT | paths::CONSENT | paths::DEVICE | paths::ACCOUNT | paths::SIGN_OUT => Some(BOTH),
        path if is_resource_metadata(path) => Some(GET),
        path => saml::methods(path),
    }
}

/// The paths that browsers visit.
async fn browse(request: &Request<Bytes>, cx: &Cx) -> Response<Bytes> {
    let answer = async {
        let visit = web::Visit::of(request, cx).await?;
        match request.uri().path() {
            paths::AUTHORIZE => authorized(visit).await,
            paths::LOGIN => sign_in::login(visit).await,
            paths::SECOND_FACTOR => sign_in::second_factor(visit).await,
            paths::SELECT_ACCOUNT => sign_in::select_account(visit).await,
            paths::CONSENT => sign_in::consent(visit).await,
            paths::CONTINUE => sign_in::go_on(visit).await,
            paths::FRONT_DOOR => single_access::enter(visit).await,
            paths::DEVICE => device::page(visit).await,
            paths::ACCOUNT => account::page(visit).await,
            paths::LOGOUT => logout::page(visit).await,
            paths::START => gate_session::start(visit),
            paths::CALLBACK => gate_session::callback(visit).await,
            paths::SIGN_OUT => gate_session::sign_out(visit).await,
            path if path.starts_with(saml::PREFIX) => saml::answer(visit).await,
            _ => gate_session::auth(visit).await,
        }
    };
    match answer.await {
        Ok(response) => response,
        Err(error) => {
            if let Err(e) = cx.tokens.commit(Changes(error.changes.clone()), error.endings.clone(), cx.now).await {
                cx.audit.write(json!({"event": "page", "outcome": "unwritten", "detail": e.to_string()}));
            }
            respond::failed(web::Visit::without_session(request, cx), &error)
        }
    }
}

/// `/oauth2/authorize`: checked, then answered or begun.
async fn authorized(visit: web::Visit<'_>) -> Result<Response<Bytes>, OAuthError> {
    if visit.request.method() == Method::POST {
        params::Params::read(visit.request)?;
        return Ok(visit.again_as_get());
    }
    let params = params::Params::of_either(visit.request)?;
    if let Some(request) = par::take(&params, visit.cx).await? {
        return interaction::advance(visit, request, None).await;
    }
    match authorize::check(&params, visit.cx) {
        Ok(request) => interaction::advance(visit, request, None).await,
        Err(refusal) => Ok(respond::refuse(visit, refusal)),
    }
}

fn settle(endpoint: &str, cx: &Cx, outcome: Result<Option<Value>, OAuthError>) -> Response<Bytes> {
    match outcome {
        Ok(body) => respond(StatusCode::OK, body.as_ref()),
        Err(error) => {
            if endpoint != "token" {
                cx.audit.write(json!({"event": endpoint, "outcome": error.code.name(),
                    "detail": error.detail, "time": cx.now}));
            }
            possession::with_nonce(refuse(&error, cx.wire), &error, cx)
        }
    }
}

fn refuse(error: &OAuthError, wire: Wire) -> Response<Bytes> {
    if wire == Wire::Salesforce {
        let (code, text) = salesforce::error::words(error);
        let body = json!({"error": code, "error_description": text});
        return respond(salesforce::error::status(error), Some(&body));
    }
    let body = json!({"error": error.code.name(), "error_description": error.public});
    let mut response = respond(error.code.status(), Some(&body));
    let challenge = match error.code {
        Code::InvalidClient => Some("Basic realm=\"portcullis\""),
        Code::InvalidToken => Some("Bearer realm=\"portcullis\", error=\"invalid_token\""),
        Code::InsufficientScope => Some("Bearer realm=\"portcullis\", error=\"insufficient_scope\", scope=\"openid\""),
        _ => None,
    };
    if let Some(challenge) = challenge {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    response
}

fn not_allowed(allowed: &[&Method]) -> Response<Bytes> {
    let mut refusal = respond(StatusCode::METHOD_NOT_ALLOWED, Some(&json!({"error": "method_not_allowed"})));
    let names: Vec<&str> = allowed.iter().map(|m| m.as_str()).collect();
    let allow = HeaderValue::from_str(&names.join(", ")).expect("methods are a header value");
    refusal.headers_mut().insert(header::ALLOW, allow);
    refusal
}

fn respond(status: StatusCode, body: Option<&Value>) -> Response<Bytes> {
    let mut response = Response::new(body.map(|b| Bytes::from(b.to_string())).unwrap_or_default());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if body.is_some() {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    response
}
