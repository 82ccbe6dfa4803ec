//! Username-password (RFC 6749 §4.3): off unless an app's file names it, and guessed at no faster than on the login page.
//! No refresh token, and nobody who has a second factor: there is no place to show it.
use super::{Grant, Redeemed, TokenRequest, user_may};
use crate::{
    login::{
        password::{self, Refused},
        totp,
    },
    model::Level,
    provider::{
        Cx,
        error::{Code, OAuthError, Situation},
    },
};

/// The flow.
pub struct Password;

#[async_trait::async_trait]
impl Grant for Password {
    fn grant_type(&self) -> &'static str {
        "password"
    }

    async fn redeem(&self, request: &TokenRequest<'_>, cx: &Cx) -> Result<Redeemed, OAuthError> {
        let failed = |detail: &str| OAuthError::new(Code::InvalidGrant, "authentication failure").detail(detail);
        let client = match request.client {
            Some(client) if request.proven => client,
            _ => return Err(OAuthError::new(Code::InvalidClient, "client authentication failed")),
        };
        let name = request.params.require("username", "username is missing")?;
        let typed = request.params.require("password", "password is missing")?;
        let known = password::verify_appended(&cx.login, &cx.policy, name, typed, cx.address, cx.now).await;
        let subject = known.map_err(|refused| match refused {
            Refused::Wrong => failed("wrong name, password or security token"),
            Refused::Throttled => {
                let public = "too many attempts; try again later";
                OAuthError::new(Code::InvalidGrant, public).of(Situation::RateLimited)
            }
            Refused::Busy => {
                OAuthError::new(Code::TemporarilyUnavailable, "the service cannot decide now; try again").detail("busy")
            }
        })?;
        if client.interactive.level > Level::Standard || totp::is_enrolled(&*cx.store, &subject, cx.now).await? {
            return Err(failed("a second factor is due"));
        }
        user_may(client, &subject, cx).await?;
        Ok(Redeemed {
            client: client.clone(),
            subject,
            scopes: client.grantable(cx.wire).into_owned(),
            changes: Vec::new(),
            endings: Vec::new(),
            held: None,
            terms: Default::default(),
        })
    }
}
