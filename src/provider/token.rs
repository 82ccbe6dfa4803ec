//! THE token pipeline: parameters → client → may it? → the grant → scopes → mint → commit → answer.
use super::{
    Cx,
    client_auth::{self, Authenticated},
    error::{Code, OAuthError, Situation},
    id_token::{self, Asked},
    params::Params,
    possession, restriction,
};
use crate::{
    grant::{self, Form, Grant, Redeemed, TokenRequest},
    model::{AuthMethod, Client, Confirmation, ScopeSet, TokenFormat, Wire, network::Shown},
    salesforce,
    secret::{self, Digest, Plain},
    store::{Change, Changes, StoreError},
    telemetry::Attribute,
    token::{Claims, More, revocation::Ending},
};
use bytes::Bytes;
use http::Request;
use serde_json::{Map, Value, json};
use std::{borrow::Cow, sync::Arc};

/// What the log may know of a token request.
#[derive(Default)]
pub struct Trace {
    /// The grant type, `unknown` if it is none of ours.
    pub grant: &'static str,
    /// The client.
    pub client: String,
    /// The subject.
    pub subject: String,
    /// The granted scopes.
    pub scopes: String,
    /// Who acts for the subject, and the key that the token is bound to.
    pub more: More,
    /// What became of the asset that it speaks of.
    pub asset: Option<&'static str>,
}

/// Answers `POST /oauth2/token` (RFC 6749 §3.2).
pub async fn answer(request: &Request<Bytes>, cx: &Cx, trace: &mut Trace) -> Result<Value, OAuthError> {
    trace.grant = "unknown";
    let params = Params::read(request)?;
    let grant = which(params.require("grant_type", "grant_type is missing")?)?;
    trace.grant = grant.grant_type();
    let (caller, client) = caller(request, &params, grant, cx)?;
    let proven = caller.as_ref().is_some_and(|c| c.proven);
    let (once, secret) = caller.map_or((None, None), |c| (c.once, c.secret));
    let path = match cx.wire {
        Wire::Standard => super::paths::TOKEN,
        Wire::Salesforce => salesforce::TOKEN,
    };
    let shown = possession::at_endpoint(request, path, cx)?;
    let proof = shown.as_ref().map(|s| s.key);
    let certificate = cx.certificate.as_ref().map(|c| c.thumbprint);
    let asked = TokenRequest { params: &params, client: client.as_ref(), proven, proof, certificate };
    let once = once.into_iter().chain(shown.map(|s| s.once)).collect();
    granted(grant, &asked, once, &Shape { wire: cx.wire, secret, proof, certificate }, cx, trace).await
}

/// The same for an app that the policy itself names: what it asks for came in another way than by HTTP form.
pub async fn for_app(client: &Arc<Client>, params: &Params, cx: &Cx, trace: &mut Trace) -> Result<Value, OAuthError> {
    trace.grant = "unknown";
    let grant = which(params.require("grant_type", "grant_type is missing")?)?;
    trace.grant = grant.grant_type();
    let asked = TokenRequest { params, client: Some(client), proven: true, proof: None, certificate: None };
    granted(grant, &asked, Vec::new(), &Shape { wire: cx.wire, ..Shape::default() }, cx, trace).await
}

async fn granted(
    grant: &dyn Grant,
    asked: &TokenRequest<'_>,
    once: Vec<Change>,
    shape: &Shape,
    cx: &Cx,
    trace: &mut Trace,
) -> Result<Value, OAuthError> {
    let (params, client) = (asked.params, asked.client);
    trace.client = client.as_ref().map(|c| c.id.to_string()).unwrap_or_default();
    let refreshes = grant.grant_type() == "refresh_token";
    if let Some(client) = client {
        may_use(client, grant)?;
        restriction::address_of_app(client, refreshes, cx)?;
    }
    let redeemed = grant.redeem(asked, cx).await?;
    may_use(&redeemed.client, grant)?;
    let level = redeemed.held.as_ref().map_or_else(|| redeemed.terms.more.level(), |held| held.authorization.level);
    let user = cx.seen(&redeemed.subject);
    restriction::address(&redeemed.client, user.as_deref(), Shown { level, refreshes }, cx)?;
    // What a program does in its own name no person has to prove.
    if grant.grant_type() != "client_credentials" {
        restriction::level(&redeemed.client, level)?;
    }
    if !grant.chooses_resource() {
        resource(params, &redeemed.client)?;
    }
    trace.subject = redeemed.subject.to_string();
    let scopes = narrow(params.get("scope"), &redeemed.scopes, cx.wire)?;
    trace.scopes = scopes.to_string();
    trace.more = redeemed.terms.more.clone();
    trace.asset = redeemed.terms.asset;
    issue(Redeemed { scopes, ..redeemed }, once, shape, cx).await
}

/// The outcome of a grant, written down and counted. A refusal writes too: a replay ends its family.
pub async fn told(mut outcome: Result<Value, OAuthError>, trace: &Trace, cx: &Cx) -> Result<Value, OAuthError> {
    if let Err(error) = &outcome
        && !(error.changes.is_empty() && error.endings.is_empty())
    {
        let (changes, endings) = (Changes(error.changes.clone()), error.endings.clone());
        if let Err(unwritten) = cx.tokens.commit(changes, endings, cx.now).await {
            outcome = Err(unwritten.into());
        }
    }
    if let Err(error) = &outcome {
        let (client, user) = error.about.as_deref().map_or((&*trace.client, &*trace.subject), |(c, u)| (c, u));
        if !client.is_empty() {
            cx.tokens.tally.denied(client, user, cx.now);
        }
    }
    let (name, detail) = match &outcome {
        Ok(_) => ("issued", ""),
        Err(error) => (error.code.name(), error.detail.as_str()),
    };
    cx.metrics.token_requests.with_label_values(&[trace.grant, name]).inc();
    cx.audit.write(json!({"event": "token", "outcome": name, "grant": trace.grant, "client": trace.client,
        "subject": trace.subject, "scope": trace.scopes, "detail": detail, "act": trace.more.act, "exchanged_from": trace.more.exchanged_from,
        "cnf": trace.more.cnf.as_ref().and_then(Confirmation::key), "time": cx.now}));
    if let (Ok(_), Some(became)) = (&outcome, trace.asset) {
        cx.audit.write(json!({"event": "asset", "outcome": became, "asset": trace.more.asset.as_ref().map(|a| &a.id),
            "client": trace.client, "subject": trace.subject, "time": cx.now}));
    }
    outcome
}

/// What the trace of a token request says.
pub fn span(outcome: &Result<Value, OAuthError>, trace: &Trace) -> (bool, Cow<'static, str>, Vec<Attribute>) {
    let name = outcome.as_ref().map_or_else(|error| error.code.name(), |_| "issued");
    let mut told: Vec<Attribute> = vec![("oauth.grant_type", trace.grant.into()), ("portcullis.outcome", name.into())];
    // Only what has proved to be an app of ours is named.
    told.extend((!trace.client.is_empty()).then(|| ("oauth.client_id", trace.client.clone().into())));
    let failed = outcome.as_ref().is_err_and(|error| error.code.status().is_server_error());
    (failed, format!("token {}", trace.grant).into(), told)
}

/// What the answer of a grant looks like.
#[derive(Default)]
pub struct Shape {
    /// Whose fields it has.
    pub wire: Wire,
    /// The consumer secret that the request carried: it signs the answer where there is a signature.
    pub secret: Option<Plain>,
    /// Thumbprint of the key that the request proved.
    pub proof: Option<Digest>,
    /// Thumbprint of the certificate of its connection.
    pub certificate: Option<Digest>,
}

/// Mints, commits once, and answers (RFC 6749 §5.1).
pub async fn issue(redeemed: Redeemed, once: Vec<Change>, shape: &Shape, cx: &Cx) -> Result<Value, OAuthError> {
    let Redeemed { client, subject, scopes, mut changes, endings, mut held, terms } = redeemed;
    if client.dpop_bound && shape.proof.is_none() {
        return Err(possession::missing());
    }
    let certificate = shape.certificate.filter(|_| client.certificate_bound);
    if client.certificate_bound && certificate.is_none() {
        return Err(OAuthError::new(
            Code::InvalidRequest,
            "this app's tokens are bound to a client certificate: show it",
        ));
    }
    let usual = cx.now.plus(client.token_lifetime);
    let jti = secret::random_id();
    let mut refresh_token = None;
    if let Some(held) = &mut held {
        // A refresh token that nobody has to prove themselves for is bound to the key (RFC 9449 §5, RFC 8705 §4).
        if client.auth_method == AuthMethod::None && held.authorization.refresh.is_none() {
            held.authorization.key = shape.proof;
            held.authorization.certificate = certificate;
        }
        let (change, token) = held.issue(&client, &jti, cx.now);
        changes.push(change);
        refresh_token = token;
    }
    let authorization = held.as_ref().map(|h| &h.authorization);
    let brought_by = cx.brought_by(&subject).await?;
    let claims = Claims {
        iss: cx.policy.issuer.to_string(),
        sub: subject.to_string(),
        client_id: client.id.to_string(),
        aud: terms.audience.as_ref().unwrap_or(&client.audience).to_string(),
        scope: scopes.to_string(),
        jti,
        grant_id: authorization.map(|a| a.id.clone()),
        generation: authorization.and_then(|a| a.refresh.as_ref()).map(|r| r.generation),
        auth_time: authorization.map(|a| a.auth_time).or(terms.auth_time),
        iat: cx.now,
        exp: [terms.expires, authorization.and_then(|a| a.ends)].into_iter().flatten().fold(usual, Ord::min),
        more: More {
            acr: authorization.map_or(terms.more.acr.clone(), |a| More::acr_of(a.level)),
            brought_by,
            ..bound(terms.more, shape.proof, certificate)
        },
    };
    let second = cx.policy.salesforce.as_deref().filter(|_| shape.wire == Wire::Salesforce);
    if terms.form == Form::Asset {
        let token = cx.tokens.mint_asset(&claims, client.signing_algorithm).await?;
        commit(changes, once, endings, cx).await?;
        cx.tokens.tally.issued(&client.id, &subject, cx.now);
        return Ok(json!({"access_token": token, "issued_token_type": terms.issued_token_type,
            "token_type": token_type(&claims.more), "expires_in": claims.exp.0 - cx.now.0}));
    }
    let token = match (second, client.token_format) {
        (Some(settings), TokenFormat::Opaque) => cx.tokens.mint_for_organization(&claims, &settings.organization),
        (_, TokenFormat::Jwt) if client.policies.token_attributes => {
            let told = attributes(&client, &subject, &scopes, cx);
            cx.tokens.mint_telling(&claims, told, client.signing_algorithm).await?
        }
        (_, format) => cx.tokens.mint(&claims, format, client.signing_algorithm).await?,
    };
    let mut answer = json!({"access_token": token, "token_type": token_type(&claims.more),
        "expires_in": claims.exp.0 - cx.now.0, "scope": claims.scope});
    if let (Some(held), true) = (&held, scopes.contains("openid")) {
        let nonce = held.nonce.as_deref();
        let asked = Asked { nonce, access_token: Some(&token), code: None, scopes: Some(&scopes) };
        answer["id_token"] = id_token::sign(&client, &held.authorization, &asked, cx).await?.into();
    }
    if let Some(refresh_token) = refresh_token {
        answer["refresh_token"] = refresh_token.into();
    }
    if let Some(issued) = terms.issued_token_type {
        answer["issued_token_type"] = issued.into();
    }
    commit(changes, once, endings, cx).await?;
    cx.tokens.tally.issued(&client.id, &subject, cx.now);
    Ok(match second {
        Some(settings) => salesforce::answer::token(answer, &client, &subject, shape.secret.as_ref(), settings, cx.now),
        None => answer,
    })
}

/// What the app's policy lets its access tokens tell of `subject`.
fn attributes(client: &Client, subject: &str, scopes: &ScopeSet, cx: &Cx) -> Map<String, Value> {
    let mut told = Map::new();
    if let Some(user) = cx.seen(subject) {
        told.insert("custom_attributes".to_owned(), client.policies.attributes_of(&user).into());
        if scopes.contains("custom_permissions") {
            told.insert("custom_permissions".to_owned(), client.policies.permissions_of(&user).into());
        }
    }
    told
}

/// Bound to the key and the certificate that the request proved, unless the grant has bound it to a device's key.
fn bound(more: More, proof: Option<Digest>, certificate: Option<Digest>) -> More {
    let cnf = match more.cnf {
        Some(cnf) if cnf.jwk.is_some() => Some(cnf),
        cnf => {
            let jkt = cnf.and_then(|cnf| cnf.jkt).or(proof);
            (jkt.is_some() || certificate.is_some()).then_some(Confirmation { jkt, certificate, jwk: None })
        }
    };
    More { cnf, ..more }
}

/// RFC 9449 §5; a device's key is its own matter, and its tokens are bearer tokens where no route asks for it.
fn token_type(more: &More) -> &'static str {
    if more.cnf.as_ref().is_some_and(|cnf| cnf.jkt.is_some()) { "DPoP" } else { "Bearer" }
}

/// The one commit; what proves the caller can be used once, and says so in its own words.
async fn commit(mut changes: Vec<Change>, once: Vec<Change>, endings: Vec<Ending>, cx: &Cx) -> Result<(), OAuthError> {
    let key = |change: &Change| match change {
        Change::Put(record, _) => record.key.clone(),
        Change::Delete(key, _) => key.clone(),
    };
    let proofs: Vec<String> = once.iter().map(key).collect();
    changes.extend(once);
    cx.tokens.commit(Changes(changes), endings, cx.now).await.map_err(|error| match error {
        StoreError::Conflict(key) if proofs.contains(&key) => match key.starts_with("proof/") {
            true => possession::used_before(),
            false => client_auth::replay(),
        },
        other => used_before(other),
    })
}

fn which(grant_type: &str) -> Result<&'static dyn Grant, OAuthError> {
    let unknown = || OAuthError::new(Code::UnsupportedGrantType, "grant_type is not supported");
    grant::all().into_iter().find(|g| g.grant_type() == grant_type).ok_or_else(unknown)
}

type Caller = (Option<Authenticated>, Option<std::sync::Arc<Client>>);

/// A client that can authenticate must, except where the grant itself proves it (RFC 7521 §4.1).
fn caller(request: &Request<Bytes>, params: &Params, grant: &dyn Grant, cx: &Cx) -> Result<Caller, OAuthError> {
    let caller = client_auth::authenticate(request.headers(), params, cx)?;
    let named = grant.names_client(params, cx);
    if let (Some(caller), Some(named)) = (&caller, &named)
        && *caller.client.id != **named
    {
        return Err(OAuthError::new(Code::InvalidGrant, "the assertion is invalid").detail("issued by another"));
    }
    let must = |c: &Authenticated| c.client.must_authenticate(grant.grant_type(), cx.wire);
    let must_prove = |c: &Authenticated| !c.proven && named.is_none() && must(c);
    if caller.as_ref().is_some_and(must_prove) {
        return Err(OAuthError::new(Code::InvalidClient, "client authentication failed").detail("no credentials"));
    }
    let client = match &caller {
        Some(caller) => Some(caller.client.clone()),
        None => named.and_then(|id| cx.policy.clients.get(id.as_str()).cloned()),
    };
    Ok((caller, client))
}

/// Whether the app is there for this grant: neither blocked, nor without it.
pub fn may_use(client: &Client, grant: &dyn Grant) -> Result<(), OAuthError> {
    if client.blocked {
        return Err(OAuthError::new(Code::UnauthorizedClient, "this app is blocked by admin").of(Situation::AppBlocked));
    }
    if !client.grants.contains(grant.grant_type()) {
        return Err(
            OAuthError::new(Code::UnauthorizedClient, "this app may not use this grant").of(Situation::GrantNotAllowed)
        );
    }
    Ok(())
}

/// An app's tokens open one resource, so no other can be asked for (RFC 8707 §2).
pub fn resource(params: &Params, client: &Client) -> Result<(), OAuthError> {
    match params.get("resource") {
        Some(resource) if *resource != *client.audience => {
            Err(OAuthError::new(Code::InvalidTarget, "this app's tokens do not open this resource"))
        }
        _ => Ok(()),
    }
}

/// Asked scopes must be among the allowed ones (S21); without a request all allowed ones are granted.
pub fn narrow(asked: Option<&str>, allowed: &ScopeSet, wire: Wire) -> Result<ScopeSet, OAuthError> {
    let invalid = |why| OAuthError::new(Code::InvalidScope, why);
    match asked {
        None => Ok(allowed.clone()),
        Some(text) => {
            let asked = ScopeSet::parse(text).ok_or_else(|| invalid("scope is malformed or too long"))?;
            let asked = match wire {
                Wire::Standard => asked,
                Wire::Salesforce => salesforce::scope::by_their_names(&asked, allowed),
            };
            if !allowed.contains_all(&asked) {
                return Err(invalid("scope exceeds what this app may have"));
            }
            Ok(match wire {
                Wire::Standard => asked,
                Wire::Salesforce => salesforce::scope::widened(&asked, allowed),
            })
        }
    }
}

fn used_before(error: StoreError) -> OAuthError {
    match error {
        StoreError::Conflict(key) => {
            let public = if key.starts_with("assertion/") {
                "the assertion was used before"
            } else {
                "it is being used by another request"
            };
            OAuthError::new(Code::InvalidGrant, public).detail(format!("replay of {key}"))
        }
        other => other.into(),
    }
}
