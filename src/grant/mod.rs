//! One file a flow. A grant reads and decides; the pipeline does everything else.
pub mod client_credentials;
pub mod jwt_bearer;

use crate::{
    model::{Approval, Client, ScopeSet},
    provider::{
        Cx,
        error::{Code, OAuthError},
        params::Params,
    },
    store::Change,
};
use std::sync::Arc;

/// What the pipeline hands to a grant.
pub struct TokenRequest<'a> {
    /// The parameters.
    pub params: &'a Params,
    /// The client, where the request named one.
    pub client: Option<&'a Arc<Client>>,
    /// Whether that client authenticated.
    pub proven: bool,
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
}

/// A flow at the token endpoint.
#[async_trait::async_trait]
pub trait Grant: Send + Sync {
    /// The `grant_type` value.
    fn grant_type(&self) -> &'static str;
    /// The client a request without client authentication speaks of; unverified.
    fn names_client(&self, _params: &Params) -> Option<String> {
        None
    }
    /// Decides; changes nothing.
    async fn redeem(&self, request: &TokenRequest<'_>, cx: &Cx) -> Result<Redeemed, OAuthError>;
}

/// Every grant there is.
pub fn all() -> [&'static dyn Grant; 2] {
    [&client_credentials::ClientCredentials, &jwt_bearer::JwtBearer]
}

/// The key of the record that says `user` approved `client`.
pub fn approval_key(client: &str, user: &str) -> String {
    format!("approval/{}/{client}/{user}", client.len())
}

/// Whether `user` may be represented by `client` without a browser: active, and approved by the
/// administrator or by an earlier yes of their own.
pub async fn approved(client: &Client, user: &str, cx: &Cx) -> Result<(), OAuthError> {
    let refused = |public, detail: String| Err(OAuthError::new(Code::InvalidGrant, public).detail(detail));
    let Some(known) = cx.policy.users.get(user) else {
        return refused("user hasn't approved this consumer", "unknown user".to_owned());
    };
    if !known.active {
        return refused("user hasn't approved this consumer", "inactive user".to_owned());
    }
    match &client.approval {
        Approval::Admin(allowed) if known.permissions.is_disjoint(allowed) => {
            refused("user hasn't approved this consumer", "not admin approved".to_owned())
        }
        Approval::Admin(_) => Ok(()),
        Approval::SelfAuthorized => match cx.store.get(&approval_key(&client.id, user), cx.now).await? {
            Some(_) => Ok(()),
            None => refused("user hasn't approved this consumer", "no recorded approval".to_owned()),
        },
    }
}
