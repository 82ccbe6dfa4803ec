//! A logout message or a request of ours, step by step.
use super::{Saved, Speaker, Walk, line, refused, verifiers};
use crate::saml::{IdentityProvider, Logout, ServiceProvider, instant, metadata::Endpoint};

const SUCCESS: &str = "urn:oasis:names:tc:SAML:2.0:status:Success";

impl Walk<'_> {
    /// Whether all of a logout message holds.
    pub(super) fn logout(&self) -> Result<bool, String> {
        let verified = match self.saved {
            Saved::Xml(..) => self.passed.verify_logout(&self.keys),
            Saved::Query(_, queried) => queried.verify(self.passed, &self.keys),
        };
        let logout = match verified {
            Ok(logout) => logout,
            Err(why) => return refused("signature", &why),
        };
        line(true, "signature", format_args!("over the message, by {}", verifiers(self.saved)));
        let mut holds = self.named(logout.issuer());
        let addresses = self.addresses(|idp| &idp.logout, |sp| &sp.logout)?;
        for finding in logout.explain(&addresses.iter().map(String::as_str).collect::<Vec<_>>(), self.now) {
            holds &= line(finding.holds, finding.rule, finding.detail);
        }
        match logout {
            Logout::Request(request) => {
                let sessions = if request.sessions.is_empty() { "all".to_owned() } else { request.sessions.join(", ") };
                line(true, "NameID", format_args!("{}, sessions: {sessions}", request.name_id.value));
            }
            Logout::Response(answer) => {
                let named = answer.in_response_to.as_deref().unwrap_or("absent");
                holds &= match &self.asked.in_response_to {
                    Some(id) => line(*named == **id, "InResponseTo", format_args!("{named}; the request is {id}")),
                    None => line(true, "InResponseTo", format_args!("{named}; the request's ID was not given")),
                };
                let done = answer.status.first().is_some_and(|s| s == SUCCESS);
                holds &= line(done, "Status", answer.status.join(", "));
            }
        }
        Ok(holds)
    }

    /// Whether all of a request to sign somebody on holds: as an IdP reads it.
    pub(super) fn request(&self) -> Result<bool, String> {
        let verified = match self.saved {
            Saved::Xml(..) => self.passed.verify_request(&self.keys),
            Saved::Query(_, queried) => queried.verify_request(self.passed, &self.keys),
        };
        let request = match verified {
            Ok(request) => request,
            Err(why) => return refused("signature", &why),
        };
        line(true, "signature", format_args!("over the message, by {}", verifiers(self.saved)));
        let mut holds = self.named(&request.issuer);
        let one_of = |step, named: Option<&str>, expected: &[String]| {
            let told = format!("{}; expected {}", named.unwrap_or("absent"), expected.join(" or "));
            line(named.is_some_and(|n| expected.iter().any(|e| e == n)), step, told)
        };
        let addresses = self.addresses(|idp| &idp.sign_on, |sp| &sp.acs)?;
        holds &= one_of("Destination", request.destination.as_deref(), &addresses);
        if let Speaker::Ours(sp) = &self.speaker {
            let consumer = std::slice::from_ref(&sp.acs);
            holds &= one_of("AssertionConsumerServiceURL", request.consumer.as_deref(), consumer);
        }
        let issued = instant::text(request.issue_instant);
        line(true, "IssueInstant", format_args!("{issued}; now {}", instant::text(self.now)));
        line(true, "ID", format_args!("{}; the answer has to name it: --in-response-to", request.id));
        Ok(holds)
    }

    /// The keys were chosen by a name that was not verified yet.
    fn named(&self, signed: &str) -> bool {
        signed == self.passed.issuer
            || line(false, "Issuer", format_args!("{signed} is signed, {} was read", self.passed.issuer))
    }

    /// Where such a message may go: to an IdP of ours where we sent it, to us where an IdP did.
    fn addresses(
        &self,
        theirs: fn(&IdentityProvider) -> &Vec<Endpoint>,
        ours: fn(&ServiceProvider) -> &String,
    ) -> Result<Vec<String>, String> {
        if let Some(given) = &self.asked.recipient {
            return Ok(vec![given.clone()]);
        }
        if let Speaker::Ours(_) = self.speaker {
            let all = self.policy.saml.partners.values().flat_map(|p| theirs(&p.idp));
            let both = all.flat_map(|e| [Some(&e.location), e.response_location.as_ref()]);
            return Ok(both.flatten().cloned().collect());
        }
        let own = self.policy.saml.sp.as_deref().map(|sp| vec![ours(sp).clone()]);
        own.ok_or_else(|| "The configuration has no [saml]: give --recipient.".to_owned())
    }
}
