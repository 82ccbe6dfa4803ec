//! The SAML assertion flow: a Response of the SSO IdP, or the assertion alone, for the one app that the policy names. Off unless it names one.
use super::{
    Grant, Redeemed, TokenRequest, approved,
    saml_bearer::{decode, exchanged, invalid, may_grant, once, spoken_for},
};
use crate::{
    provider::{
        Cx,
        error::{Code, OAuthError},
        params::Params,
    },
    saml::{Kind, read_one_of},
};

const TYPE: &str = "urn:oasis:names:tc:SAML:2.0:profiles:SSO:browser";

/// The flow.
pub struct SamlAssertion;

#[async_trait::async_trait]
impl Grant for SamlAssertion {
    fn grant_type(&self) -> &'static str {
        "assertion"
    }

    fn names_client(&self, _params: &Params, cx: &Cx) -> Option<String> {
        cx.policy.saml.assertion_app.as_ref().map(ToString::to_string)
    }

    async fn redeem(&self, request: &TokenRequest<'_>, cx: &Cx) -> Result<Redeemed, OAuthError> {
        let off = || OAuthError::new(Code::UnsupportedGrantType, "grant_type is not supported");
        let app = cx.policy.saml.assertion_app.as_ref().ok_or_else(|| off().detail("no assertion_app in [saml]"))?;
        let client = cx.policy.clients.get(app).ok_or_else(|| off().detail("assertion_app is no app"))?;
        if request.params.require("assertion_type", "assertion_type is missing")? != TYPE {
            return Err(OAuthError::new(Code::InvalidRequest, "unknown assertion_type"));
        }
        let bytes = decode(request.params.require("assertion", "assertion is missing")?).map_err(invalid)?;
        let passed = read_one_of(&bytes, &[Kind::Response, Kind::Assertion]).map_err(invalid)?;
        let partner = cx.policy.saml.usable(&passed.issuer, cx.now).map_err(invalid)?;
        may_grant(partner)?;
        let verified = passed.verify(&partner.idp.keys).map_err(invalid)?;
        let accepted = exchanged(&verified, &partner.idp.entity, client, cx)?;
        let subject = spoken_for(partner, &verified, cx).await?;
        let scopes = approved(client, &subject, cx).await?;
        Ok(Redeemed {
            client: client.clone(),
            subject: subject.into(),
            scopes,
            changes: vec![once(&verified, &accepted)],
            endings: Vec::new(),
            held: None,
            terms: Default::default(),
        })
    }
}
