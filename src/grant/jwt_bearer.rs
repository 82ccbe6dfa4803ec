//! JWT bearer: an assertion of the app itself, for a user who approved it (RFC 7523 §2.1).
use super::{Grant, Redeemed, Terms, TokenRequest, approved, token_exchange::may_act};
use crate::{
    provider::{
        Cx,
        error::{Code, OAuthError, Situation},
        params::Params,
    },
    token::{
        More,
        assertion::{self, Refusal},
    },
};

/// The flow.
pub struct JwtBearer;

#[async_trait::async_trait]
impl Grant for JwtBearer {
    fn grant_type(&self) -> &'static str {
        "urn:ietf:params:oauth:grant-type:jwt-bearer"
    }

    fn names_client(&self, params: &Params, _cx: &Cx) -> Option<String> {
        assertion::unverified_issuer(params.get("assertion")?)
    }

    async fn redeem(&self, request: &TokenRequest<'_>, cx: &Cx) -> Result<Redeemed, OAuthError> {
        let jws = request.params.require("assertion", "assertion is missing")?;
        let refused = |why: Refusal| {
            let public = match why {
                Refusal::Audience => "audience is invalid",
                Refusal::Expired => "the assertion has expired",
                Refusal::TooLong | Refusal::NotYet => "the assertion's times are not acceptable",
                Refusal::Malformed | Refusal::Critical | Refusal::Type | Refusal::Signature | Refusal::Issuer => {
                    "the assertion is invalid"
                }
            };
            let error = OAuthError::new(Code::InvalidGrant, public).detail(why);
            if public == "audience is invalid" { error } else { error.of(Situation::BadAssertion) }
        };
        let client = request.client.ok_or_else(|| refused(Refusal::Issuer))?;
        let verified =
            assertion::verify(jws, &client.id, &client.keys, &cx.rules(client), client.assertion_lifetime, cx.now)
                .map_err(refused)?;
        let scopes = approved(client, &verified.subject, cx).await?;
        let more = More { may_act: may_act(&verified.claims)?, ..More::default() };
        Ok(Redeemed {
            client: client.clone(),
            subject: verified.subject.into(),
            scopes,
            changes: vec![verified.once],
            endings: Vec::new(),
            held: None,
            terms: Terms { more, ..Terms::default() },
        })
    }
}
