//! The authorization endpoint: THE checks, as a table (RFC 6749 §3.1, OIDC Core §3.1.2, RFC 9126 for pushed requests).
use super::{
    Cx,
    authorization_request::{AuthorizationRequest, ResponseMode, ResponseType},
    error::{Code, OAuthError, Situation},
    params::Params,
};
use crate::secret::Digest;
use crate::{
    grant::authorization_code::same_redirect_uri,
    model::{Client, Level, ScopeSet, authorization::ClaimsRequest, user::SCOPE_CLAIMS},
};
use serde_json::Value;
use std::sync::Arc;

/// Longest `state`, `nonce` and `login_hint`, bytes.
const LONGEST: usize = 2048;
/// Claims that may be asked for by name.
const MOST_CLAIMS: usize = 32;

/// Why a request is refused: on a page of ours, or at the app (S2).
pub enum Refusal {
    /// Who asks, or where the answer goes, is not certain.
    Page(OAuthError),
    /// The app is told.
    Redirect(Box<AuthorizationRequest>, OAuthError),
}

type Check = fn(&Params, &Client, &mut AuthorizationRequest, &Cx) -> Result<(), OAuthError>;

/// Each looks at one thing, in this order; the first that does not hold is told to the app.
const CHECKS: [(&str, Check); 17] = [
    ("response_type", response_type),
    ("response_mode", response_mode),
    ("request", no_request_object),
    ("app", app),
    ("scope", scope),
    ("openid", id_token_needs_openid),
    ("state", state),
    ("nonce", nonce),
    ("challenge", challenge),
    ("prompt", prompt),
    ("max_age", max_age),
    ("acr_values", acr_values),
    ("login_hint", login_hint),
    ("id_token_hint", id_token_hint),
    ("resource", resource),
    ("claims", claims),
    ("dpop_jkt", dpop_jkt),
];

/// Checks everything; unknown parameters are ignored (S7).
pub fn check(params: &Params, cx: &Cx) -> Result<AuthorizationRequest, Refusal> {
    let (client, redirect_uri, redirect_uri_named) = addressee(params, cx).map_err(Refusal::Page)?;
    let mut request = AuthorizationRequest {
        wire: cx.wire,
        client: client.id.to_string(),
        redirect_uri,
        redirect_uri_named,
        state: params.get("state").map(str::to_owned),
        begun: cx.now,
        ..AuthorizationRequest::default()
    };
    for (name, check) in CHECKS {
        if let Err(error) = check(params, &client, &mut request, cx) {
            let detail = format!("{name}: {}", error.detail);
            return Err(Refusal::Redirect(Box::new(request), error.detail(detail)));
        }
    }
    Ok(request)
}

/// Who asks and where the answer may go (S1, S2).
fn addressee(params: &Params, cx: &Cx) -> Result<(Arc<Client>, String, bool), OAuthError> {
    let bad = |why| OAuthError::new(Code::InvalidRequest, why);
    let id = params.require("client_id", "client_id is missing")?;
    let unknown = || {
        OAuthError::new(Code::InvalidClient, "no app is registered under this client_id").of(Situation::UnknownClient)
    };
    let client = cx.policy.clients.get(id).ok_or_else(unknown)?.clone();
    if let Some(given) = params.get("redirect_uri") {
        registered(&client, given, cx)?;
        return Ok((client, given.to_owned(), true));
    }
    let gate = super::gate_session::redirect_uris(&cx.policy, id);
    let mut all = client.interactive.redirect_uris.iter().chain(&gate);
    match (all.next().cloned(), all.next()) {
        (Some(only), None) => Ok((client, only, false)),
        _ => Err(bad("redirect_uri is missing").of(Situation::RedirectUriMissing)),
    }
}

/// Whether answers for `client` may go to `uri` (S1): what its file names, or a host of the gate whose browsers sign in to
/// it.
pub fn registered(client: &Client, uri: &str, cx: &Cx) -> Result<(), OAuthError> {
    let of_app = client.interactive.redirect_uris.iter().any(|r| same_redirect_uri(r, uri));
    if of_app || super::gate_session::redirect_uris(&cx.policy, &client.id).iter().any(|own| own == uri) {
        return Ok(());
    }
    let why = "redirect_uri is not registered for this app";
    Err(OAuthError::new(Code::InvalidRequest, why).of(Situation::RedirectUriMismatch))
}

fn response_type(p: &Params, client: &Client, rq: &mut AuthorizationRequest, _: &Cx) -> Result<(), OAuthError> {
    let asked = p.require("response_type", "response_type is missing")?;
    let unsupported = || OAuthError::new(Code::UnsupportedResponseType, "response_type is not supported");
    rq.response_type = ResponseType::parse(asked).ok_or_else(unsupported)?;
    if rq.response_type != ResponseType::Code {
        rq.response_mode = ResponseMode::Fragment;
    }
    // S13
    if client.interactive.response_types.contains(rq.response_type.name()) {
        Ok(())
    } else {
        Err(OAuthError::new(Code::UnauthorizedClient, "this app may not use this response_type"))
    }
}

fn response_mode(p: &Params, _: &Client, rq: &mut AuthorizationRequest, _: &Cx) -> Result<(), OAuthError> {
    rq.response_mode = match (p.get("response_mode"), rq.response_type) {
        (None, _) => rq.response_mode,
        (Some("query"), ResponseType::Code) => ResponseMode::Query,
        (Some("fragment"), _) => ResponseMode::Fragment,
        (Some("form_post"), _) => ResponseMode::FormPost,
        _ => return Err(OAuthError::new(Code::InvalidRequest, "response_mode is not supported here")),
    };
    Ok(())
}

fn no_request_object(p: &Params, _: &Client, _: &mut AuthorizationRequest, _: &Cx) -> Result<(), OAuthError> {
    match p.get("request") {
        None => Ok(()),
        Some(_) => {
            Err(OAuthError::new(Code::RequestNotSupported, "request objects are not supported; push the request"))
        }
    }
}

fn app(_: &Params, client: &Client, rq: &mut AuthorizationRequest, cx: &Cx) -> Result<(), OAuthError> {
    if client.blocked {
        cx.tokens.tally.denied(&client.id, "", cx.now);
        return Err(OAuthError::new(Code::UnauthorizedClient, "this app is blocked by admin").of(Situation::AppBlocked));
    }
    if rq.response_type == ResponseType::Code && !client.grants.contains("authorization_code") {
        return Err(OAuthError::new(Code::UnauthorizedClient, "this app may not use the web server flow")
            .of(Situation::GrantNotAllowed));
    }
    Ok(())
}

fn scope(p: &Params, client: &Client, rq: &mut AuthorizationRequest, cx: &Cx) -> Result<(), OAuthError> {
    rq.scopes = super::token::narrow(p.get("scope"), &client.grantable(cx.wire), cx.wire)?.to_string();
    Ok(())
}

fn has(scopes: &str, scope: &str) -> bool {
    scopes.split(' ').any(|s| s == scope)
}

fn id_token_needs_openid(_: &Params, _: &Client, rq: &mut AuthorizationRequest, _: &Cx) -> Result<(), OAuthError> {
    if rq.response_type == ResponseType::IdTokenToken && !has(&rq.scopes, "openid") {
        return Err(OAuthError::new(Code::InvalidRequest, "id_token needs the scope openid"));
    }
    Ok(())
}

fn short<'a>(p: &'a Params, name: &str) -> Result<Option<&'a str>, OAuthError> {
    match p.get(name) {
        Some(value) if value.len() > LONGEST => {
            Err(OAuthError::new(Code::InvalidRequest, "a parameter is too long").detail(name))
        }
        value => Ok(value),
    }
}

fn state(p: &Params, _: &Client, rq: &mut AuthorizationRequest, _: &Cx) -> Result<(), OAuthError> {
    if let Err(error) = short(p, "state") {
        rq.state = None;
        return Err(error);
    }
    Ok(())
}

fn nonce(p: &Params, _: &Client, rq: &mut AuthorizationRequest, _: &Cx) -> Result<(), OAuthError> {
    rq.nonce = short(p, "nonce")?.map(str::to_owned);
    if rq.response_type == ResponseType::IdTokenToken && rq.nonce.is_none() {
        return Err(OAuthError::new(Code::InvalidRequest, "id_token needs a nonce"));
    }
    Ok(())
}

/// RFC 7636 §4.3; `plain`, also by leaving the method away, is refused (S4).
fn challenge(p: &Params, client: &Client, rq: &mut AuthorizationRequest, _: &Cx) -> Result<(), OAuthError> {
    let bad = |why| Err(OAuthError::new(Code::InvalidRequest, why));
    match (p.get("code_challenge"), p.get("code_challenge_method")) {
        (None, None) if rq.response_type == ResponseType::Code && client.interactive.pkce_required => {
            bad("missing required code challenge")
        }
        (None, None) => Ok(()),
        (Some(challenge), Some("S256")) => {
            let whole =
                challenge.len() == 43 && challenge.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
            rq.challenge = Some(challenge.to_owned());
            if whole { Ok(()) } else { bad("code_challenge is not a SHA-256 digest in base64url") }
        }
        (Some(_), _) => bad("code_challenge_method must be S256"),
        (None, Some(_)) => bad("code_challenge is missing"),
    }
}

fn prompt(p: &Params, _: &Client, rq: &mut AuthorizationRequest, _: &Cx) -> Result<(), OAuthError> {
    let words: Vec<&str> = p.get("prompt").unwrap_or_default().split(' ').filter(|w| !w.is_empty()).collect();
    for word in &words {
        match *word {
            "none" => rq.silent = true,
            "login" => rq.login = true,
            "consent" => rq.consent = true,
            "select_account" => rq.select_account = true,
            _ => return Err(OAuthError::new(Code::InvalidRequest, "prompt has an unknown value")),
        }
    }
    if rq.silent && words.len() > 1 {
        return Err(OAuthError::new(Code::InvalidRequest, "prompt=none stands alone"));
    }
    Ok(())
}

fn max_age(p: &Params, _: &Client, rq: &mut AuthorizationRequest, _: &Cx) -> Result<(), OAuthError> {
    let read = p.get("max_age").map(str::parse::<u32>).transpose();
    let age = read.map_err(|_| OAuthError::new(Code::InvalidRequest, "max_age is a number of seconds"))?;
    rq.max_age = age.map(i64::from);
    Ok(())
}

fn login_hint(p: &Params, _: &Client, rq: &mut AuthorizationRequest, _: &Cx) -> Result<(), OAuthError> {
    rq.login_hint = short(p, "login_hint")?.map(str::to_owned);
    Ok(())
}

/// A wish, not a condition (OIDC Core §3.1.2.1): the first value that there is.
fn acr_values(p: &Params, _: &Client, rq: &mut AuthorizationRequest, _: &Cx) -> Result<(), OAuthError> {
    let asked = p.get("acr_values").unwrap_or_default().split(' ');
    rq.level = asked.filter_map(Level::of_acr).next().unwrap_or_default();
    Ok(())
}

/// An ID token of ours for this very app, however old (OIDC Core §3.1.2.1).
fn id_token_hint(p: &Params, client: &Client, rq: &mut AuthorizationRequest, cx: &Cx) -> Result<(), OAuthError> {
    let Some(token) = p.get("id_token_hint") else { return Ok(()) };
    let claims = cx.tokens.verify_claims(super::id_token::TYPE, token, cx.now);
    let own = claims.filter(|c| super::id_token::made_for(c) == Some(&client.id));
    let subject = own.and_then(|c| c["sub"].as_str().map(str::to_owned));
    let foreign = || OAuthError::new(Code::InvalidRequest, "id_token_hint is no ID token that this app got here");
    rq.subject = Some(subject.ok_or_else(foreign)?);
    rq.login_hint = rq.login_hint.take().or_else(|| rq.subject.clone());
    Ok(())
}

/// RFC 8707: an app's tokens open one resource, so no other can be asked for.
fn resource(p: &Params, client: &Client, _: &mut AuthorizationRequest, _: &Cx) -> Result<(), OAuthError> {
    super::token::resource(p, client)
}

fn claims(p: &Params, client: &Client, rq: &mut AuthorizationRequest, cx: &Cx) -> Result<(), OAuthError> {
    let Some(text) = p.get("claims") else { return Ok(()) };
    let bad = || OAuthError::new(Code::InvalidRequest, "claims is not a JSON object as OpenID Connect defines it");
    let all: Value = serde_json::from_str(text).map_err(|_| bad())?;
    let names = |member: &str| -> Result<Vec<String>, OAuthError> {
        match all.get(member) {
            None => Ok(Vec::new()),
            Some(Value::Object(asked)) if asked.len() <= MOST_CLAIMS => {
                // By name they get no more than by scope.
                let may = client.grantable(cx.wire);
                let open = SCOPE_CLAIMS.iter().filter(|(scope, _)| may.contains(scope));
                let known = open.flat_map(|(_, names)| names.iter());
                Ok(known.filter(|n| asked.contains_key(**n)).map(|n| (*n).to_owned()).collect())
            }
            Some(_) => Err(bad()),
        }
    };
    if !all.is_object() {
        return Err(bad());
    }
    rq.claims = ClaimsRequest { id_token: names("id_token")?, userinfo: names("userinfo")? };
    person(&all, rq)?;
    assurance(&all["id_token"]["acr"], client, rq)
}

/// The values that a claim is asked to have one of, in order of preference (OIDC Core §5.5.1).
fn values(claim: &Value) -> impl Iterator<Item = &str> {
    let several = claim["values"].as_array().into_iter().flatten();
    claim.get("value").into_iter().chain(several).filter_map(Value::as_str)
}

/// Who it must be, where `claims` names a `sub`: nobody else may be spoken of to the app (OIDC Core §5.5.1).
fn person(claims: &Value, rq: &mut AuthorizationRequest) -> Result<(), OAuthError> {
    for wanted in ["id_token", "userinfo"].into_iter().flat_map(|member| values(&claims[member]["sub"])) {
        if *rq.subject.get_or_insert_with(|| wanted.to_owned()) != *wanted {
            return Err(OAuthError::new(Code::InvalidRequest, "the request means more than one person"));
        }
    }
    rq.login_hint = rq.login_hint.take().or_else(|| rq.subject.clone());
    Ok(())
}

/// How sure it must be, where `claims` names values of `acr`. A wish like `acr_values`, unless it is essential: then one
/// of them is what the ID token says, or there is none (OIDC Core §5.5.1.1).
fn assurance(acr: &Value, client: &Client, rq: &mut AuthorizationRequest) -> Result<(), OAuthError> {
    let known: Vec<Level> = values(acr).filter_map(Level::of_acr).collect();
    let preferred = known.first().copied().unwrap_or_default();
    if acr["essential"] != true || values(acr).next().is_none() {
        rq.level = rq.level.max(preferred);
        return Ok(());
    }
    (rq.level, rq.told_level) = (preferred, known.iter().copied().max());
    if rq.told_level.is_none_or(|highest| highest < client.interactive.level) {
        let why = "nobody signs in here as the essential acr asks";
        return Err(OAuthError::new(Code::UnmetAuthenticationRequirements, why));
    }
    Ok(())
}

/// RFC 9449 §10. A token that comes straight back with the redirect cannot be bound to a key.
fn dpop_jkt(p: &Params, client: &Client, rq: &mut AuthorizationRequest, _: &Cx) -> Result<(), OAuthError> {
    if (client.dpop_bound || client.certificate_bound) && rq.response_type != ResponseType::Code {
        return Err(OAuthError::new(Code::UnauthorizedClient, "this app's tokens are bound to a key; ask for a code"));
    }
    let thumbprint = |text: &str| serde_json::from_value::<Digest>(text.into()).ok();
    rq.key = match p.get("dpop_jkt").map(thumbprint) {
        Some(None) => {
            return Err(OAuthError::new(Code::InvalidRequest, "dpop_jkt is not a SHA-256 thumbprint in base64url"));
        }
        known => known.flatten(),
    };
    Ok(())
}

/// What a person is asked to say yes to: the scopes, and those that stand for claims asked for by name.
pub fn asked(request: &AuthorizationRequest) -> ScopeSet {
    let named = |claim: &&str| request.claims.id_token.iter().chain(&request.claims.userinfo).any(|n| n == *claim);
    let by_name = SCOPE_CLAIMS.iter().filter(|(_, claims)| claims.iter().any(&named)).map(|(scope, _)| *scope);
    let all: Vec<&str> = request.scopes.split(' ').filter(|s| !s.is_empty()).chain(by_name).collect();
    ScopeSet::of(&all)
}
