//! Whom a subject or actor token speaks of, whatever kind of token it is (RFC 8693 §3).
use super::{holds_key, scopes_of};
use crate::{
    clock::Timestamp,
    grant::{TokenRequest, approved, ended, refresh_token, saml_bearer, stored},
    model::{Actor, Authorization, Client, Confirmation, Level, MayAct, ScopeSet, authorization::Presented},
    provider::{
        Cx,
        error::{Code, OAuthError},
        id_token,
    },
    store::Change,
    token::{OpenError, assertion},
};
use serde_json::Value;
use std::sync::Arc;

/// Token type identifiers (RFC 8693 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An access token of ours, in any form.
    AccessToken,
    /// A refresh token of the app's own.
    RefreshToken,
    /// An ID token of ours.
    IdToken,
    /// A JWT: an access token of ours, or an assertion that the app signed.
    Jwt,
    /// A SAML 2.0 assertion, base64url.
    Saml2,
}

const KINDS: [(Kind, &str); 5] = [
    (Kind::AccessToken, "urn:ietf:params:oauth:token-type:access_token"),
    (Kind::RefreshToken, "urn:ietf:params:oauth:token-type:refresh_token"),
    (Kind::IdToken, "urn:ietf:params:oauth:token-type:id_token"),
    (Kind::Jwt, "urn:ietf:params:oauth:token-type:jwt"),
    (Kind::Saml2, "urn:ietf:params:oauth:token-type:saml2"),
];

impl Kind {
    /// Reads an identifier.
    pub fn parse(text: &str) -> Option<Self> {
        KINDS.iter().find(|(_, name)| *name == text).map(|(kind, _)| *kind)
    }

    /// The identifier.
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }
}

/// What a token is shown as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// For whom the new token is.
    Subject,
    /// Who acts for them.
    Actor,
}

/// Whom a token speaks of, and how far it goes.
pub struct Party {
    /// The subject.
    pub subject: String,
    /// The app that it was issued to, or that signed it.
    pub client: Option<String>,
    /// Who says so, where that is not us.
    pub issuer: Option<String>,
    /// The most that may come of it.
    pub scopes: ScopeSet,
    /// When it ends.
    pub expires: Timestamp,
    /// When the subject proved who they are.
    pub auth_time: Option<Timestamp>,
    /// How sure it was who that is.
    pub level: Level,
    /// Who acts in it already.
    pub act: Option<Actor>,
    /// Who may.
    pub may_act: Option<MayAct>,
    /// What ends it.
    pub tied_to: Vec<String>,
    /// The write that makes it usable once, where it is.
    pub once: Option<Change>,
}

/// A refusal that says little, with a detail for the log that says all.
pub fn invalid(detail: impl std::fmt::Display) -> OAuthError {
    OAuthError::new(Code::InvalidGrant, "a token to be exchanged is invalid or has ended").detail(detail)
}

impl Party {
    fn of(subject: String, client: Option<String>, scopes: ScopeSet, expires: Timestamp) -> Self {
        Self {
            subject,
            client,
            issuer: None,
            scopes,
            expires,
            auth_time: None,
            level: Level::Standard,
            act: None,
            may_act: None,
            tied_to: Vec::new(),
            once: None,
        }
    }

    /// Reads a token that is alive, and whose app is one that `client` may exchange for.
    pub async fn read(
        kind: Kind,
        text: &str,
        role: Role,
        request: &TokenRequest<'_>,
        client: &Arc<Client>,
        cx: &Cx,
    ) -> Result<Self, OAuthError> {
        let party = match kind {
            Kind::AccessToken => access_token(text, request, client, cx),
            Kind::Jwt if is_ours(text) => access_token(text, request, client, cx),
            Kind::Jwt => signed(text, role, client, cx).await,
            Kind::RefreshToken => refresh_token(text, request, client, cx).await,
            Kind::IdToken => of_id_token(text, cx).await,
            Kind::Saml2 => saml(text, role, client, cx).await,
        }?;
        // Their own token ends with them; so does what is made of it.
        if cx.policy.has_ended(&party.subject) || cx.user(&party.subject).await?.is_some_and(|user| !user.active) {
            return Err(invalid("its user is not active"));
        }
        Ok(party)
    }
}

fn is_ours(text: &str) -> bool {
    jsonwebtoken::decode_header(text).is_ok_and(|h| h.typ.as_deref() == Some("at+jwt"))
}

fn access_token(text: &str, request: &TokenRequest<'_>, client: &Client, cx: &Cx) -> Result<Party, OAuthError> {
    let opened = cx.tokens.open(text, cx.now).map_err(|e| match e {
        OpenError::Unavailable => {
            OAuthError::new(Code::TemporarilyUnavailable, "the service cannot decide now; try again")
        }
        OpenError::Invalid | OpenError::Expired | OpenError::Revoked => invalid(format_args!("{e:?}")),
    })?;
    let from = &*opened.entitlement.client;
    let ended = || invalid("its app is blocked or gone, its user has ended, or its session is over");
    let app = cx.policy.standing(&opened, cx.now).ok_or_else(ended)?.client;
    let special = opened.special.as_deref();
    if special.is_some_and(|s| s.more.asset.is_some()) {
        return Err(invalid("an asset token"));
    }
    let cnf = special.and_then(|s| s.more.cnf.as_ref());
    let bound = (cnf.and_then(Confirmation::key), cnf.and_then(|cnf| cnf.certificate));
    if !holds_key(bound, *from == *client.id, request) {
        return Err(invalid("bound to a key that the app has not shown"));
    }
    // A scope taken from the app is gone from its older tokens too.
    let scopes = opened.entitlement.scopes.intersection(&app.scopes);
    let mut party = Party::of(opened.subject.to_string(), Some(from.to_owned()), scopes, opened.expires);
    (party.auth_time, party.level) = (opened.auth_time(), opened.shown().level);
    party.tied_to = vec![
        format!("token/{}", opened.jti),
        Authorization::key(opened.authorization.as_deref().unwrap_or(&opened.jti)),
        format!("client/{from}"),
        format!("subject/{}", opened.subject),
    ];
    if let Some(special) = special {
        party.act.clone_from(&special.more.act);
        party.may_act.clone_from(&special.more.may_act);
        party.tied_to.extend(special.more.tied_to.iter().cloned());
    }
    Ok(party)
}

/// A refresh token stays what it is: neither spent nor replaced.
async fn refresh_token(text: &str, request: &TokenRequest<'_>, client: &Client, cx: &Cx) -> Result<Party, OAuthError> {
    let (id, secret) = Authorization::parse(text).ok_or_else(|| invalid("not a refresh token"))?;
    let record = cx.store.get(&Authorization::key(id), cx.now).await?.ok_or_else(|| invalid("ended or unknown"))?;
    let authorization: Authorization = stored(&record)?;
    if *authorization.client != *client.id {
        return Err(invalid("a refresh token of another app"));
    }
    match authorization.refresh.as_ref().map_or(Presented::Unknown, |r| r.judge(secret)) {
        Presented::Current => {}
        // Replaced long ago: one of the two who hold it stole it (S28).
        Presented::Spent => return Err(ended(id, invalid("a replaced refresh token"), cx)),
        Presented::Previous | Presented::PreviousAgain | Presented::Unknown => {
            return Err(invalid("not the live refresh token"));
        }
    }
    if refresh_token::is_over(&authorization, client.interactive.refresh, cx.now) {
        return Err(invalid("its time is over"));
    }
    if !holds_key((authorization.key, authorization.certificate), true, request) {
        return Err(invalid("bound to a key that the app has not shown"));
    }
    Ok(of_authorization(&authorization, record.expires.unwrap_or(Timestamp(i64::MAX))))
}

fn of_authorization(authorization: &Authorization, expires: Timestamp) -> Party {
    let client = Some(authorization.client.clone());
    let mut party = Party::of(authorization.subject.clone(), client, scopes_of(&authorization.scopes), expires);
    (party.auth_time, party.level) = (Some(authorization.auth_time), authorization.level);
    party.tied_to = vec![
        Authorization::key(&authorization.id),
        format!("client/{}", authorization.client),
        format!("subject/{}", authorization.subject),
    ];
    party
}

/// An ID token carries no scope: what may come of it is what its authorization allows, as long as that is kept.
async fn of_id_token(text: &str, cx: &Cx) -> Result<Party, OAuthError> {
    let claims =
        cx.tokens.verify_claims(id_token::TYPE, text, cx.now).ok_or_else(|| invalid("not an ID token of ours"))?;
    let text = |name: &str| claims[name].as_str();
    let expires = claims["exp"].as_i64().map(Timestamp).filter(|at| *at > cx.now);
    let expires = expires.ok_or_else(|| invalid("the ID token has expired"))?;
    let id = text("grant_id").ok_or_else(|| invalid("the ID token names no authorization"))?;
    let record = cx.store.get(&Authorization::key(id), cx.now).await?;
    let record = record.ok_or_else(|| invalid("the ID token's authorization has ended"))?;
    let authorization: Authorization = stored(&record)?;
    if text("sub") != Some(&authorization.subject) || text("azp").or(text("aud")) != Some(&authorization.client) {
        return Err(invalid("the ID token and its authorization differ"));
    }
    let client = cx.policy.clients.get(authorization.client.as_str()).filter(|c| !c.blocked);
    let client = client.ok_or_else(|| invalid("its app is blocked or gone"))?;
    let mut party = of_authorization(&authorization, expires);
    party.scopes = party.scopes.intersection(&client.scopes);
    Ok(party)
}

/// An assertion of the app itself, as for JWT bearer: for a user who approved it, or naming who acts.
async fn signed(text: &str, role: Role, client: &Client, cx: &Cx) -> Result<Party, OAuthError> {
    let verified =
        assertion::verify(text, &client.id, &client.keys, &cx.rules(client), client.assertion_lifetime, cx.now)
            .map_err(|why| invalid(format_args!("assertion: {why}")))?;
    let scopes = match role {
        Role::Subject => approved(client, &verified.subject, cx).await?,
        Role::Actor => ScopeSet::default(),
    };
    let mut party = Party::of(verified.subject, Some(client.id.to_string()), scopes, verified.expires);
    party.may_act = may_act(&verified.claims)?;
    party.tied_to = vec![format!("client/{}", client.id), format!("subject/{}", party.subject)];
    party.once = Some(verified.once);
    Ok(party)
}

async fn saml(text: &str, role: Role, client: &Client, cx: &Cx) -> Result<Party, OAuthError> {
    let spoken = saml_bearer::spoken(text, client, cx).await?;
    let scopes = match role {
        Role::Subject => approved(client, &spoken.subject, cx).await?,
        Role::Actor => ScopeSet::default(),
    };
    let mut party = Party::of(spoken.subject, Some(client.id.to_string()), scopes, spoken.expires);
    party.issuer = spoken.partner;
    party.tied_to = vec![format!("client/{}", client.id), format!("subject/{}", party.subject)];
    party.once = Some(spoken.once);
    Ok(party)
}

/// `may_act` of an assertion; one that cannot be read forbids, rather than allows.
pub fn may_act(claims: &Value) -> Result<Option<MayAct>, OAuthError> {
    let unread = |e| invalid(format_args!("may_act cannot be read: {e}"));
    claims.get("may_act").map(|value| serde_json::from_value(value.clone()).map_err(unread)).transpose()
}
