//! SAML bearer: an assertion of the app itself with its registered certificate, or of a trusted IdP, for a user who
//! approved the app (RFC 7522 §2.1).
use super::{Grant, Redeemed, TokenRequest, approved};
use crate::{
    clock::Timestamp,
    model::{Client, Wire},
    policy::{Policy, saml::Partner},
    provider::{
        Cx,
        error::{Code, OAuthError, Situation},
        params::Params,
        paths, rules,
    },
    salesforce,
    saml::{
        Kind, Passed, Refused, TrustedKeys, Verified, binding, read,
        sp::{Accepted, Asked, Broken, Expected, Rule, SKEW, judge},
    },
    secret::Digest,
    store::{Change, Expect, Record},
};

/// The flow.
pub struct SamlBearer;

#[async_trait::async_trait]
impl Grant for SamlBearer {
    fn grant_type(&self) -> &'static str {
        "urn:ietf:params:oauth:grant-type:saml2-bearer"
    }

    /// An app that signs for itself needs no other proof; for a trusted IdP's assertion it has to say who it is.
    fn names_client(&self, params: &Params, cx: &Cx) -> Option<String> {
        unverified_issuer(params.get("assertion")?).filter(|issuer| !cx.policy.saml.partners.contains_key(issuer))
    }

    async fn redeem(&self, request: &TokenRequest<'_>, cx: &Cx) -> Result<Redeemed, OAuthError> {
        let field = request.params.require("assertion", "assertion is missing")?;
        let client = request.client.ok_or_else(|| invalid("no app is named"))?;
        let spoken = spoken(field, client, cx).await?;
        let scopes = approved(client, &spoken.subject, cx).await?;
        Ok(Redeemed {
            client: client.clone(),
            subject: spoken.subject.into(),
            scopes,
            changes: vec![spoken.once],
            endings: Vec::new(),
            held: None,
            terms: Default::default(),
        })
    }
}

/// Whom an assertion speaks of.
pub struct Spoken {
    /// The user.
    pub subject: String,
    /// The IdP that says so; the app itself without.
    pub partner: Option<String>,
    /// When it ends.
    pub expires: Timestamp,
    /// The write that makes it usable once.
    pub once: Change,
}

/// Verifies an assertion for `client`: of a trusted IdP that may grant, or of the app itself.
pub async fn spoken(field: &str, client: &Client, cx: &Cx) -> Result<Spoken, OAuthError> {
    let bytes = decode(field).map_err(invalid)?;
    let passed = read(&bytes, Kind::Assertion).map_err(invalid)?;
    let partner = cx.policy.saml.partners.get(&passed.issuer);
    let (subject, accepted, once) = match partner {
        Some(partner) => {
            may_grant(partner)?;
            cx.policy.saml.usable(&passed.issuer, cx.now).map_err(invalid)?;
            let verified = passed.verify(&partner.idp.keys).map_err(invalid)?;
            let accepted = exchanged(&verified, &partner.idp.entity, client, cx)?;
            let once = once(&verified, &accepted);
            (spoken_for(partner, &verified, cx).await?, accepted, once)
        }
        None => {
            let (verified, accepted) = of_app(&passed, client, cx)?;
            let once = once(&verified, &accepted);
            (accepted.name_id.value.clone(), accepted, once)
        }
    };
    let partner = partner.map(|p| p.idp.entity.clone());
    Ok(Spoken { subject, partner, expires: accepted.remember.plus(-SKEW), once })
}

/// Refuses an IdP whose assertions are not exchanged for tokens.
pub fn may_grant(partner: &Partner) -> Result<(), OAuthError> {
    let refused = || invalid(format_args!("{} may not grant: grants = true is not set", partner.name));
    partner.grants.then_some(()).ok_or_else(refused)
}

/// The user whom `partner` names, if it may speak for them.
pub async fn spoken_for(partner: &Partner, verified: &Verified, cx: &Cx) -> Result<String, OAuthError> {
    let name = partner.username(&verified.assertion).map_err(invalid)?;
    cx.spoken_for_by(partner, name).await?.map_err(invalid)?;
    Ok(name.to_owned())
}

/// The issuer named by an assertion, unverified: good for looking up keys, nothing else.
pub fn unverified_issuer(field: &str) -> Option<String> {
    let bytes = decode(field).ok()?;
    read(&bytes, Kind::Assertion).ok().map(|passed| passed.issuer)
}

/// Base64url (RFC 7522 §2.1); the other alphabet is told by no one and read all the same.
pub fn decode(field: &str) -> Result<Vec<u8>, Refused> {
    let padding = "=".repeat(field.trim_end_matches('=').len().wrapping_neg() % 4);
    binding::from_field(&format!("{}{padding}", field.trim_end_matches('=').replace('-', "+").replace('_', "/")))
}

/// Verifies an assertion with which `client` proves who it is, and returns the write that makes it usable once
/// (RFC 7522 §2.2).
pub fn proves(field: &str, client: &Client, cx: &Cx) -> Result<Change, OAuthError> {
    let bytes = decode(field).map_err(invalid)?;
    let passed = read(&bytes, Kind::Assertion).map_err(invalid)?;
    let (verified, accepted) = of_app(&passed, client, cx)?;
    if accepted.name_id.value != *client.id {
        return Err(invalid(format_args!("its subject is {:?}, not the app", accepted.name_id.value)));
    }
    Ok(once(&verified, &accepted))
}

/// Verifies an assertion that `client` issued with its registered certificate (RFC 7522 §3).
fn of_app(passed: &Passed<'_>, client: &Client, cx: &Cx) -> Result<(Verified, Accepted), OAuthError> {
    let none = TrustedKeys::none();
    let keys = cx.policy.saml.apps.get(&*client.id).unwrap_or(&none);
    let verified = passed.verify(keys).map_err(invalid)?;
    let accepted = exchanged(&verified, &client.id, client, cx)?;
    Ok((verified, accepted))
}

/// Names of ours and addresses of ours: an assertion for the token endpoint is for one of the first, and to be delivered
/// to one of the second. An app may have names of its own for us.
pub fn ours(policy: &Policy, wire: Wire, client: Option<&Client>) -> (Vec<String>, Vec<String>) {
    let mut recipients = vec![format!("{}{}", policy.issuer, paths::TOKEN)];
    if let (Wire::Salesforce, Some(second)) = (wire, &policy.salesforce) {
        recipients.extend([&*policy.issuer, &second.instance_url].map(|host| format!("{host}{}", salesforce::TOKEN)));
    }
    let mut audiences = rules(policy, wire, client).audiences;
    audiences.extend(policy.saml.sp.as_ref().map(|sp| sp.entity.clone()));
    (audiences, recipients)
}

/// Judges an assertion of `issuer` for `client` by the rules of RFC 7522 §3.
pub fn exchanged(verified: &Verified, issuer: &str, client: &Client, cx: &Cx) -> Result<Accepted, OAuthError> {
    let (audiences, recipients) = ours(&cx.policy, cx.wire, Some(client));
    let (audiences, recipients) = (audiences.as_slice(), recipients.as_slice());
    let expected = Expected {
        now: cx.now,
        issuer,
        audiences,
        recipients,
        asked: Asked::Token,
        longest: client.assertion_lifetime,
    };
    judge(verified, expected).map_err(|broken| {
        let Broken { rule, .. } = &broken;
        let public = match rule {
            Rule::Audience | Rule::Recipient | Rule::Destination => "audience is invalid",
            Rule::Confirmed | Rule::NotOnOrAfter | Rule::Session => "the assertion has expired",
            Rule::Longest | Rule::NotBefore | Rule::NoNotBefore | Rule::IssueInstant => {
                "the assertion's times are not acceptable"
            }
            Rule::ResponseIssuer
            | Rule::Status
            | Rule::ResponseTo
            | Rule::Issuer
            | Rule::NameId
            | Rule::Bearer
            | Rule::InResponseTo
            | Rule::Conditions
            | Rule::UnknownCondition
            | Rule::Authenticated => INVALID,
        };
        let error = OAuthError::new(Code::InvalidGrant, public).detail(broken);
        if public == INVALID { error.of(Situation::BadAssertion) } else { error }
    })
}

/// The write that makes an assertion usable once, until it could be presented no more (S52).
pub fn once(verified: &Verified, accepted: &Accepted) -> Change {
    used(&verified.assertion.issuer, &verified.assertion.id, accepted.remember)
}

/// The same for the assertion `id` of `issuer`.
pub fn used(issuer: &str, id: &str, until: Timestamp) -> Change {
    let name = Digest::of(format!("{} {issuer} {id}", issuer.len()).as_bytes()).hex();
    let record = Record {
        key: format!("assertion/saml/{name}"),
        version: 0,
        index: None,
        expires: Some(until),
        body: Vec::new(),
    };
    Change::Put(record, Expect::Absent)
}

const INVALID: &str = "the assertion is invalid";

/// A refusal that says little, with a detail for the log that says all.
pub fn invalid(detail: impl std::fmt::Display) -> OAuthError {
    OAuthError::new(Code::InvalidGrant, INVALID).detail(detail).of(Situation::BadAssertion)
}
