//! What a verified AuthnRequest says (SAML Core §3.4.1): ours, for whoever looks at one that was saved. None is ever
//! taken.
use super::{
    assertion::{self, content, required, signed, time, version},
    preflight::Kind,
    refusal::Refused,
};
use crate::clock::Timestamp;

/// `AuthnRequest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthnRequest {
    /// `ID`: what the answer's `InResponseTo` has to name.
    pub id: String,
    /// Who asks.
    pub issuer: String,
    /// `Destination`.
    pub destination: Option<String>,
    /// `AssertionConsumerServiceURL`: where the answer is to come.
    pub consumer: Option<String>,
    /// `IssueInstant`.
    pub issue_instant: Timestamp,
}

impl AuthnRequest {
    /// Reads signed bytes, which are a request of this identifier.
    pub(super) fn read(bytes: &[u8], id: &str) -> Result<Self, Refused> {
        let document = signed(bytes, id)?;
        let node = document.root();
        if !Kind::AuthnRequest.is(node) {
            return Err(content(format_args!("{} is signed", node.local())));
        }
        version(node)?;
        Ok(Self {
            id: required(node, "ID")?.to_owned(),
            issuer: assertion::issuer(node)?.ok_or_else(|| content("no Issuer"))?,
            destination: node.attribute("Destination").map(str::to_owned),
            consumer: node.attribute("AssertionConsumerServiceURL").map(str::to_owned),
            issue_instant: time(node, "IssueInstant")?.ok_or_else(|| content("no IssueInstant"))?,
        })
    }
}
