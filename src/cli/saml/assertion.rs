//! A Response or an Assertion, step by step.
use super::{Speaker, Walk, line, refused, verifiers};
use crate::{
    grant::saml_bearer::ours,
    model::Wire,
    saml::{
        Kind, ServiceProvider,
        sp::{Asked, Expected, LONGEST, explain},
    },
};

impl Walk<'_> {
    /// Whether all of it holds.
    pub(super) fn assertion(&self) -> Result<bool, String> {
        let verified = match self.passed.verify(&self.keys) {
            Ok(verified) => verified,
            Err(why) => return refused("signature", &why),
        };
        let signed = if verified.envelope.is_some() { "Response" } else { "Assertion" };
        line(true, "signature", format_args!("over the {signed}, by {}", verifiers(self.saved)));
        let token = self.passed.kind == Kind::Assertion
            || self.asked.recipient.as_deref().is_some_and(|to| to.ends_with("/oauth2/token"));
        let (audiences, recipients) = self.addressed(token)?;
        let partner = match &self.speaker {
            Speaker::Idp(_, partner) => *partner,
            Speaker::Ours(_) | Speaker::App(_) => None,
        };
        let expected = Expected {
            now: self.now,
            issuer: &self.passed.issuer,
            audiences: &audiences,
            recipients: &recipients,
            asked: match (&self.asked.in_response_to, partner) {
                _ if token => Asked::Token,
                (Some(id), _) => Asked::For(id),
                // As the server does: unasked only where its table says so.
                (None, Some(partner)) if !partner.idp_initiated => Asked::Never,
                (None, _) => Asked::Unasked,
            },
            longest: match &self.speaker {
                Speaker::App(app) => app.assertion_lifetime,
                Speaker::Idp(..) | Speaker::Ours(_) => LONGEST,
            },
        };
        let findings = explain(&verified, expected);
        for finding in &findings {
            line(finding.holds, &finding.rule.to_string(), &finding.detail);
        }
        let mut holds = findings.iter().all(|f| f.holds);
        if let Some(partner) = partner {
            holds &= match partner.username(&verified.assertion) {
                Ok(name) => line(true, "username", name),
                Err(why) => line(false, "username", why),
            };
            if token {
                holds &=
                    line(partner.grants, "grants", format_args!("{} of saml_idp {}", partner.grants, partner.name));
            }
        } else if let (Speaker::App(_), Some(name)) = (&self.speaker, &verified.assertion.name_id) {
            line(true, "username", &name.value);
        }
        Ok(holds)
    }

    /// Names and addresses of ours that it may be for: of the arguments, or of the configuration.
    fn addressed(&self, token: bool) -> Result<(Vec<String>, Vec<String>), String> {
        let given = |argument: &Option<String>| argument.clone().map(|one| vec![one]);
        let (audience, recipient) = (given(&self.asked.audience), given(&self.asked.recipient));
        if let (Some(audiences), Some(recipients)) = (&audience, &recipient) {
            return Ok((audiences.clone(), recipients.clone()));
        }
        let (audiences, recipients) = if token {
            let wire = if self.policy.salesforce.is_some() { Wire::Salesforce } else { Wire::Standard };
            let app = match &self.speaker {
                Speaker::App(app) => Some(&**app),
                Speaker::Idp(..) | Speaker::Ours(_) => None,
            };
            ours(self.policy, wire, app)
        } else {
            let own = |name: &str, of: fn(&ServiceProvider) -> &String| {
                let own = self.policy.saml.sp.as_deref().map(|sp| vec![of(sp).clone()]);
                own.ok_or_else(|| format!("The configuration has no [saml]: give --{name}."))
            };
            let audiences = audience.as_ref().map_or_else(|| own("audience", |sp| &sp.entity), |_| Ok(Vec::new()))?;
            let recipients = recipient.as_ref().map_or_else(|| own("recipient", |sp| &sp.acs), |_| Ok(Vec::new()))?;
            (audiences, recipients)
        };
        Ok((audience.unwrap_or(audiences), recipient.unwrap_or(recipients)))
    }
}
