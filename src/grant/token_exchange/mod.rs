//! Token exchange (RFC 8693): a token that somebody holds becomes one that an app may use onwards. Never with more scope,
//! never for longer, and with who acts written into it (S41). Off unless an app's `grants` name it.
pub mod asset;
mod party;

pub use self::party::may_act;
use self::party::{Kind, Party};
use super::{Form, Grant, Redeemed, Terms, TokenRequest, user_may};
use crate::{
    model::{Actor, AuthMethod, Client, ScopeSet, TokenFormat},
    provider::{
        Cx,
        error::{Code, OAuthError},
        params::Params,
    },
    secret::Digest,
    token::More,
};
use std::sync::Arc;

/// `grant_type`.
pub const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// Things that one token may be tied to: each exchange adds a handful.
const MOST_TIES: usize = 32;

/// The flow.
pub struct TokenExchange;

fn bad(public: &'static str) -> OAuthError {
    OAuthError::new(Code::InvalidRequest, public)
}

#[async_trait::async_trait]
impl Grant for TokenExchange {
    fn grant_type(&self) -> &'static str {
        GRANT_TYPE
    }

    fn chooses_resource(&self) -> bool {
        true
    }

    async fn redeem(&self, request: &TokenRequest<'_>, cx: &Cx) -> Result<Redeemed, OAuthError> {
        let client = request.client.ok_or_else(|| OAuthError::new(Code::InvalidClient, "client_id is missing"))?;
        let params = request.params;
        let text = params.require("subject_token", "subject_token is missing")?;
        let kind = Kind::parse(params.require("subject_token_type", "subject_token_type is missing")?)
            .ok_or_else(|| bad("this subject_token_type is not known"))?;
        if asset::asked_for(client, kind, params) {
            return asset::redeem(request, client, text, cx).await;
        }
        let issued = issued_type(client, params)?;
        let subject = Party::read(kind, text, party::Role::Subject, request, client, cx).await?;
        let actor = actor(request, client, cx).await?;
        let audience = target(client, &subject, params)?;
        if let Some(actor) = &actor
            && let Some(from) = &actor.client
            && !client.exchange.admits(&client.id, from, &client.audience, &audience)
        {
            return Err(party::invalid("the actor's app is none whose tokens this one may exchange"));
        }
        let act = acting(client, &subject, actor.as_ref(), cx)?;
        // Whom this app is not for, it does not get by way of another app either.
        if cx.user(&subject.subject).await?.is_some() {
            user_may(client, &subject.subject, cx).await?;
        }
        let scopes = subject.scopes.intersection(&client.grantable(cx.wire));
        if scopes.is_empty() {
            return Err(OAuthError::new(Code::InvalidScope, "no scope of the token is one that this app may have"));
        }
        let more = More {
            act,
            may_act: subject.may_act.clone(),
            exchanged_from: Some(subject.client.clone().unwrap_or_else(|| client.id.to_string())),
            tied_to: ties(&subject, actor.as_ref())?,
            acr: More::acr_of(subject.level),
            ..More::default()
        };
        let expires = actor.as_ref().map_or(subject.expires, |a| subject.expires.min(a.expires));
        let terms = Terms {
            expires: Some(expires),
            audience: Some(audience),
            auth_time: subject.auth_time,
            issued_token_type: Some(issued.name()),
            form: Form::OfApp,
            more,
            ..Terms::default()
        };
        let changes = subject.once.into_iter().chain(actor.and_then(|a| a.once)).collect();
        Ok(Redeemed {
            client: client.clone(),
            subject: subject.subject.into(),
            scopes,
            changes,
            endings: Vec::new(),
            held: None,
            terms,
        })
    }
}

/// What is issued: an access token; called a JWT where the app gets those.
fn issued_type(client: &Client, params: &Params) -> Result<Kind, OAuthError> {
    match params.get("requested_token_type").map(Kind::parse) {
        None | Some(Some(Kind::AccessToken)) => Ok(Kind::AccessToken),
        Some(Some(Kind::Jwt)) if client.token_format == TokenFormat::Jwt => Ok(Kind::Jwt),
        Some(_) => Err(bad("this requested_token_type is not issued to this app")),
    }
}

async fn actor(request: &TokenRequest<'_>, client: &Arc<Client>, cx: &Cx) -> Result<Option<Party>, OAuthError> {
    match (request.params.get("actor_token"), request.params.get("actor_token_type")) {
        (None, None) if client.exchange.actor_required => Err(bad("this app has to say who acts: actor_token")),
        (None, None) => Ok(None),
        (Some(text), Some(kind)) => {
            let kind = Kind::parse(kind).ok_or_else(|| bad("this actor_token_type is not known"))?;
            Party::read(kind, text, party::Role::Actor, request, client, cx).await.map(Some)
        }
        // RFC 8693 §2.1: neither without the other.
        (Some(_), None) => Err(bad("actor_token_type is missing")),
        (None, Some(_)) => Err(bad("actor_token is missing")),
    }
}

/// The one audience of the new token: the app's own, or another that its file names (RFC 8693 §2.1, RFC 8707 §2).
fn target(client: &Client, subject: &Party, params: &Params) -> Result<Arc<str>, OAuthError> {
    let refused = |why| OAuthError::new(Code::InvalidTarget, why);
    let audience = match (params.get("resource"), params.get("audience")) {
        (Some(resource), Some(audience)) if resource != audience => {
            return Err(refused("a token opens one audience; resource and audience name two"));
        }
        (Some(asked), _) | (None, Some(asked)) => asked,
        (None, None) => &client.audience,
    };
    let from = subject.client.as_deref().unwrap_or(&client.id);
    if !client.exchange.admits(&client.id, from, &client.audience, audience) {
        return Err(match from == &*client.id || client.exchange.from.contains(from) {
            true => refused("this app may not ask for this audience"),
            false => party::invalid("its app is none whose tokens this one may exchange"),
        });
    }
    Ok(audience.into())
}

/// `act` of the new token. Without an actor token the app stands in the subject's place, and what the subject's token
/// says of earlier actors stays. Either way `may_act` has to admit them.
fn acting(client: &Client, subject: &Party, actor: Option<&Party>, cx: &Cx) -> Result<Option<Actor>, OAuthError> {
    let issuer = &cx.policy.issuer;
    let app = || Actor { sub: client.id.to_string(), iss: None, client_id: Some(client.id.to_string()), act: None };
    let now =
        actor.map(|a| Actor { sub: a.subject.clone(), iss: a.issuer.clone(), client_id: a.client.clone(), act: None });
    if let Some(may) = &subject.may_act
        && !may.admits(now.as_ref().unwrap_or(&app()), issuer)
    {
        return Err(party::invalid("may_act names somebody else"));
    }
    match now {
        Some(now) => {
            let chain = now.after(subject.act.as_ref());
            chain.map(Some).ok_or_else(|| party::invalid("too many actors, one behind the other"))
        }
        None => Ok(subject.act.clone()),
    }
}

fn ties(subject: &Party, actor: Option<&Party>) -> Result<Vec<String>, OAuthError> {
    let mut all: Vec<String> = subject.tied_to.iter().chain(actor.iter().flat_map(|a| &a.tied_to)).cloned().collect();
    all.sort_unstable();
    all.dedup();
    if all.len() > MOST_TIES {
        return Err(party::invalid("exchanged too often"));
    }
    Ok(all)
}

/// Whether a client that holds a bound token may exchange it: whoever is sent one by its holder, and proves who they
/// are; everybody else shows that they hold the key.
fn holds_key((key, certificate): (Option<Digest>, Option<Digest>), own: bool, request: &TokenRequest<'_>) -> bool {
    let public = request.client.is_none_or(|c| c.auth_method == AuthMethod::None) || !request.proven;
    key.is_none_or(|key| request.proof == Some(key) || !own && !public)
        && certificate.is_none_or(|shown| request.certificate == Some(shown) || !own && !public)
}

/// All that `client` may get of an authorization.
fn scopes_of(text: &str) -> ScopeSet {
    ScopeSet::parse(text).unwrap_or_default()
}
