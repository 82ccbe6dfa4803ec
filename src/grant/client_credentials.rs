//! Client credentials with a run-as subject (RFC 6749 §4.4).
use super::{Grant, Redeemed, TokenRequest};
use crate::{
    model::Wire,
    provider::{
        Cx,
        error::{Code, OAuthError, Situation},
    },
    salesforce::scope::without_person,
};

/// The flow.
pub struct ClientCredentials;

#[async_trait::async_trait]
impl Grant for ClientCredentials {
    fn grant_type(&self) -> &'static str {
        "client_credentials"
    }

    async fn redeem(&self, request: &TokenRequest<'_>, cx: &Cx) -> Result<Redeemed, OAuthError> {
        let client = match request.client {
            Some(client) if request.proven => client,
            _ => return Err(OAuthError::new(Code::InvalidClient, "client authentication failed")),
        };
        let subject = client.run_as.clone().ok_or_else(|| {
            OAuthError::new(Code::InvalidGrant, "no client credentials user enabled").of(Situation::NoRunAs)
        })?;
        if cx.policy.has_ended(&subject) {
            let none = OAuthError::new(Code::InvalidGrant, "no client credentials user enabled");
            return Err(none.detail("inactive").of(Situation::NoRunAs));
        }
        Ok(Redeemed {
            client: client.clone(),
            subject,
            scopes: match cx.wire {
                Wire::Standard => client.grantable(Wire::Standard).into_owned(),
                Wire::Salesforce => without_person(client),
            },
            changes: Vec::new(),
            endings: Vec::new(),
            held: None,
            terms: Default::default(),
        })
    }
}
