//! One file a flow. A grant reads and decides; the pipeline does everything else.
pub mod authorization_code;
pub mod client_credentials;
pub mod device_code;
pub mod implicit;
pub mod jwt_bearer;
pub mod password;
pub mod refresh_token;
pub mod saml_assertion;
pub mod saml_bearer;
pub mod token_exchange;

use crate::{
    clock::Timestamp,
    model::{Approval, Authorization, Client, ScopeSet, Wire},
    provider::{
        Cx,
        error::{Code, OAuthError, Situation},
        params::Params,
    },
    salesforce::scope::reaches_offline,
    secret::{self, Digest},
    store::{Change, Expect, Record, measured},
    token::{More, revocation::Ending},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// No access token lives longer, seconds.
pub const LONGEST_TOKEN: i64 = 86_400;

/// What the pipeline hands to a grant.
pub struct TokenRequest<'a> {
    /// The parameters.
    pub params: &'a Params,
    /// The client, where the request named one.
    pub client: Option<&'a Arc<Client>>,
    /// Whether that client authenticated.
    pub proven: bool,
    /// Thumbprint of the key that it proved to hold (RFC 9449).
    pub proof: Option<Digest>,
    /// Thumbprint of the certificate of its connection (RFC 8705).
    pub certificate: Option<Digest>,
}

/// What a grant decided.
pub struct Redeemed {
    /// For whom; the pipeline checks that this client may use the grant.
    pub client: Arc<Client>,
    /// The subject of the token.
    pub subject: Arc<str>,
    /// The most that may be granted; narrowed to what was asked.
    pub scopes: ScopeSet,
    /// Writes that belong to the one commit.
    pub changes: Vec<Change>,
    /// What ends with that commit.
    pub endings: Vec<Ending>,
    /// The authorization that is begun or renewed, where one is kept.
    pub held: Option<Held>,
    /// What is not as usual.
    pub terms: Terms,
}

/// What a grant may say of the token beyond whom and what it is for.
#[derive(Default)]
pub struct Terms {
    /// It ends here at the latest.
    pub expires: Option<Timestamp>,
    /// What it opens instead of the app's own audience.
    pub audience: Option<Arc<str>>,
    /// When the subject proved who they are, where no authorization is kept that says so.
    pub auth_time: Option<Timestamp>,
    /// What the answer calls it (RFC 8693 §2.2.1).
    pub issued_token_type: Option<&'static str>,
    /// Its form.
    pub form: Form,
    /// What became of the asset it speaks of, for the audit stream.
    pub asset: Option<&'static str>,
    /// What few tokens say.
    pub more: More,
}

/// The form of a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// As the app's file says.
    #[default]
    OfApp,
    /// An asset token.
    Asset,
}

/// An authorization on its way through the pipeline.
pub struct Held {
    /// As it is before anything is issued.
    pub authorization: Authorization,
    /// The state it is expected to be stored in.
    pub expect: Expect,
    /// `nonce` for the ID token.
    pub nonce: Option<String>,
    /// Whether a refresh token is issued.
    pub rotate: bool,
    /// Whether the token presented had been replaced already.
    pub recovered: bool,
}

impl Held {
    /// What a code turns into.
    pub fn first(code: &authorization_code::AuthorizationCode, client: &Client) -> Self {
        let offline = |scope| ScopeSet::parse(&code.scopes).is_some_and(|s| s.contains(scope));
        let wanted = offline("offline_access") || offline("refresh_token");
        Self {
            authorization: Authorization {
                id: code.authorization.clone(),
                client: code.client.clone(),
                subject: code.subject.clone(),
                scopes: code.scopes.clone(),
                sid: Some(code.sid.clone()),
                // What apps may do while the person is away outlives the session.
                ends: code.session_ends.filter(|_| !wanted),
                auth_time: code.auth_time,
                level: code.level,
                amr: code.amr.clone(),
                created: Timestamp(0),
                renewed: Timestamp(0),
                claims: code.claims.clone(),
                key: None,
                certificate: None,
                refresh: None,
            },
            expect: Expect::Absent,
            nonce: code.nonce.clone(),
            rotate: wanted && client.grants.contains("refresh_token") && !client.interactive.refresh.expires_at_once,
            recovered: false,
        }
    }

    /// Issues what is due beside the access token `jti`: the write, and the refresh token's text.
    pub fn issue(&mut self, client: &Client, jti: &str, now: Timestamp) -> (Change, Option<String>) {
        let authorization = &mut self.authorization;
        if self.expect == Expect::Absent {
            authorization.created = now;
        }
        authorization.renewed = now;
        let token = self.rotate.then(|| authorization.rotate(jti));
        if let (Some(refresh), true) = (&mut authorization.refresh, self.recovered) {
            refresh.recovered();
        }
        let policy = client.interactive.refresh;
        let expires = if authorization.refresh.is_some() {
            let ends = [policy.lifetime.map(|l| authorization.created.plus(l)), policy.idle.map(|l| now.plus(l))];
            ends.into_iter().flatten().min()
        } else {
            let usual = now.plus(client.token_lifetime);
            Some(authorization.ends.map_or(usual, |ends| ends.min(usual)))
        };
        let record = Record {
            key: Authorization::key(&authorization.id),
            version: 0,
            index: Some(format!("user/{}", authorization.subject)),
            expires,
            body: serde_json::to_vec(&authorization).expect("an authorization is plain data"),
        };
        (Change::Put(record, self.expect), token)
    }
}

/// A stored record's value; one that does not read is a damaged store.
pub fn stored<T: serde::de::DeserializeOwned>(record: &Record) -> Result<T, OAuthError> {
    serde_json::from_slice(&record.body)
        .map_err(|_| crate::store::StoreError::Corrupt(format!("record {}", record.key)).into())
}

/// `refusal`, and with it the end of an authorization and of every token issued from it.
pub fn ended(authorization: &str, refusal: OAuthError, cx: &Cx) -> OAuthError {
    let (change, ending) = ending(authorization, cx.now);
    refusal.with(vec![change], vec![ending])
}

/// What ends an authorization: its record goes, and its tokens are refused at the gate.
pub fn ending(authorization: &str, now: Timestamp) -> (Change, Ending) {
    let target = Authorization::key(authorization);
    (Change::Delete(target.clone(), Expect::Any), Ending::of(target, now.plus(LONGEST_TOKEN)))
}

/// The authorizations that `user` has given, the oldest first.
pub async fn authorizations(user: &str, cx: &Cx) -> Result<Vec<Authorization>, OAuthError> {
    let records = cx.store.find(&format!("user/{user}"), cx.now).await?;
    let kept = records.iter().filter(|r| r.key.starts_with("authorization/"));
    let mut all = kept.map(stored::<Authorization>).collect::<Result<Vec<_>, _>>()?;
    all.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
    Ok(all)
}

/// Makes room for one more authorization of `user` for `client` that can be renewed.
pub async fn begin(
    client: &Client,
    user: &str,
    changes: &mut Vec<Change>,
    endings: &mut Vec<Ending>,
    cx: &Cx,
) -> Result<(), OAuthError> {
    let mut own = authorizations(user, cx).await?;
    // One that cannot be renewed ends by itself, with its access token.
    own.retain(|a| *a.client == *client.id && a.refresh.is_some());
    for oldest in own.iter().take((own.len() + 1).saturating_sub(client.policies.approvals_per_user)) {
        let (change, ending) = ending(&oldest.id, cx.now);
        changes.push(change);
        endings.push(ending);
    }
    Ok(())
}

/// A user's recorded yes to an app.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Consent {
    /// The scopes they said yes to; all of the app's where none is named.
    pub scopes: Option<String>,
    /// When.
    pub given: Timestamp,
}

impl Consent {
    /// The write that records it.
    pub fn record(&self, client: &str, user: &str) -> Change {
        let body = serde_json::to_vec(self).expect("a consent is plain data");
        let index = Some(format!("user/{user}"));
        Change::Put(Record { key: approval_key(client, user), version: 0, index, expires: None, body }, Expect::Any)
    }
}

/// Whether `user` is there, active, and among those an administrator lets use `client`.
pub async fn user_may(client: &Client, user: &str, cx: &Cx) -> Result<(), OAuthError> {
    let about = |e: OAuthError| e.about(&client.id, user);
    let refused = |detail: &str| Err(OAuthError::new(Code::InvalidGrant, "authentication failure").detail(detail));
    match (cx.user(user).await?, &client.approval) {
        (None, _) => refused("unknown user"),
        (Some(user), _) if !user.active => refused("inactive user").map_err(|e| about(e.of(Situation::InactiveUser))),
        (Some(user), Approval::Admin(allowed)) if user.permissions.is_disjoint(allowed) => {
            refused("not admin approved").map_err(|e| about(e.of(Situation::NotAdminApproved)))
        }
        (Some(_), Approval::Admin(_) | Approval::SelfAuthorized) => Ok(()),
    }
}

/// Why what `subject` let `client` have at `given`, in the sign-on session `sid` that ends at the latest at `ends`, is
/// not to be redeemed any more.
pub fn taken_back(
    client: &str,
    subject: &str,
    (sid, ends): (&str, Option<Timestamp>),
    given: Timestamp,
    cx: &Cx,
) -> Option<&'static str> {
    if cx.tokens.access_has_ended(client, subject, given) {
        Some("taken back meanwhile")
    } else if ends.is_some_and(|ends| ends <= cx.now) {
        Some("the session has run out meanwhile")
    } else {
        cx.tokens.signed_out(sid).then_some("signed out meanwhile")
    }
}

/// A fresh identifier for an authorization.
pub fn new_id() -> String {
    secret::random_name()
}

/// A flow at the token endpoint.
#[async_trait::async_trait]
pub trait Grant: Send + Sync {
    /// The `grant_type` value.
    fn grant_type(&self) -> &'static str;
    /// The client a request without client authentication speaks of; unverified.
    fn names_client(&self, _params: &Params, _cx: &Cx) -> Option<String> {
        None
    }
    /// Whether it decides itself which resource the token opens.
    fn chooses_resource(&self) -> bool {
        false
    }
    /// Decides; changes nothing.
    async fn redeem(&self, request: &TokenRequest<'_>, cx: &Cx) -> Result<Redeemed, OAuthError>;
}

/// Every grant there is.
pub fn all() -> [&'static dyn Grant; 9] {
    [
        &authorization_code::AuthorizationCodeGrant,
        &client_credentials::ClientCredentials,
        &device_code::DeviceCodeGrant,
        &jwt_bearer::JwtBearer,
        &password::Password,
        &refresh_token::RefreshTokenGrant,
        &saml_assertion::SamlAssertion,
        &saml_bearer::SamlBearer,
        &token_exchange::TokenExchange,
    ]
}

/// The key of the record that says `user` approved `client`.
pub fn approval_key(client: &str, user: &str) -> String {
    format!("approval/{}/{client}/{user}", client.len())
}

/// The client in a key of [`approval_key`]; `None` where it is another record's.
pub fn approved_client(key: &str) -> Option<&str> {
    measured(key.strip_prefix("approval/")?).map(|(client, _)| client)
}

/// What `user` lets `client` do without a browser: all that an administrator approved it for, or what an earlier yes
/// of their own named.
pub async fn approved(client: &Client, user: &str, cx: &Cx) -> Result<ScopeSet, OAuthError> {
    let refused = |detail: &str, situation| {
        let public = "user hasn't approved this consumer";
        Err(OAuthError::new(Code::InvalidGrant, public).detail(detail).of(situation))
    };
    let Some(known) = cx.user(user).await? else {
        return refused("unknown user", Situation::NotApproved);
    };
    let refused = |detail, situation| refused(detail, situation).map_err(|e: OAuthError| e.about(&client.id, user));
    if !known.active {
        return refused("inactive user", Situation::InactiveUser);
    }
    match &client.approval {
        Approval::Admin(allowed) if known.permissions.is_disjoint(allowed) => {
            refused("not admin approved", Situation::NotAdminApproved)
        }
        Approval::Admin(_) => Ok(client.grantable(cx.wire).into_owned()),
        Approval::SelfAuthorized => {
            let Some(record) = cx.store.get(&approval_key(&client.id, user), cx.now).await? else {
                return refused("no recorded approval", Situation::NotApproved);
            };
            let approved = match stored::<Consent>(&record)?.scopes {
                Some(scopes) => ScopeSet::parse(&scopes).unwrap_or_default().intersection(&client.scopes),
                None => return Ok(client.grantable(cx.wire).into_owned()),
            };
            if cx.wire == Wire::Salesforce && !reaches_offline(&approved) {
                return refused("approved without refresh_token", Situation::NotApproved);
            }
            Ok(approved)
        }
    }
}
