//! What a verified message says, in types of our own, read from the signed canonical bytes alone.
use super::{
    document::{Document, Node, Space},
    instant,
    reader::Limits,
    refusal::{Refusal, Refused},
};
use crate::clock::Timestamp;
pub use crate::model::NameId;

/// An assertion (SAML Core §2.3.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assertion {
    /// Its identifier; used once (S52).
    pub id: String,
    /// Who says so.
    pub issuer: String,
    /// When.
    pub issue_instant: Timestamp,
    /// Of whom (SAML Core §2.2.3).
    pub name_id: Option<NameId>,
    /// Who may present it, and how (SAML Core §2.4.1.1).
    pub confirmations: Vec<Confirmation>,
    /// When and for whom it holds (SAML Core §2.5.1).
    pub conditions: Option<Conditions>,
    /// How they signed in (SAML Core §2.7.2).
    pub authentications: Vec<Authentication>,
    /// What is said of them (SAML Core §2.7.3).
    pub attributes: Vec<Attribute>,
}

/// `SubjectConfirmation`, with its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confirmation {
    /// `Method`.
    pub method: String,
    /// `Recipient`.
    pub recipient: Option<String>,
    /// `InResponseTo`.
    pub in_response_to: Option<String>,
    /// `NotBefore`.
    pub not_before: Option<Timestamp>,
    /// `NotOnOrAfter`.
    pub not_on_or_after: Option<Timestamp>,
}

/// `Conditions`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// `NotBefore`.
    pub not_before: Option<Timestamp>,
    /// `NotOnOrAfter`.
    pub not_on_or_after: Option<Timestamp>,
    /// The audiences of each `AudienceRestriction`; one of every restriction has to be met (SAML Core §2.5.1.4).
    pub restrictions: Vec<Vec<String>>,
    /// Conditions that are not known, by name: an assertion with one is not valid for us (SAML Core §2.5.1.1).
    pub unknown: Vec<String>,
}

/// `AuthnStatement`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authentication {
    /// `AuthnInstant`.
    pub instant: Timestamp,
    /// `SessionIndex`.
    pub session_index: Option<String>,
    /// `SessionNotOnOrAfter`.
    pub session_not_on_or_after: Option<Timestamp>,
    /// `AuthnContextClassRef`.
    pub class: Option<String>,
}

/// `Attribute`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// `Name`.
    pub name: String,
    /// `FriendlyName`.
    pub friendly: Option<String>,
    /// Its values of plain text.
    pub values: Vec<String>,
}

/// What a signed Response says beside its assertion (SAML Core §3.2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// `ID`.
    pub id: String,
    /// `Issuer`.
    pub issuer: Option<String>,
    /// `InResponseTo`.
    pub in_response_to: Option<String>,
    /// `Destination`.
    pub destination: Option<String>,
    /// The status code, and the one below it.
    pub status: Vec<String>,
}

/// An assertion under a verified signature; the Response around it, where that was signed too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The Response, if its own signature was verified.
    pub envelope: Option<Envelope>,
    /// The assertion.
    pub assertion: Assertion,
}

impl Verified {
    /// Reads signed canonical bytes; the element in them has to be the one that the signature named.
    pub(super) fn read(bytes: &[u8], root: bool, response: bool, id: &str) -> Result<Self, Refused> {
        let document = signed(bytes, id)?;
        let node = document.root();
        let (envelope, assertion) = match (response, root) {
            (true, true) if node.is(Space::Protocol, "Response") => {
                let inner = node.one(Space::Assertion, "Assertion")?;
                (Some(Envelope::of(node)?), inner.ok_or_else(|| content("no assertion under the signature"))?)
            }
            (true, false) | (false, true) if node.is(Space::Assertion, "Assertion") => (None, node),
            _ => return Err(content(format_args!("{} is signed", node.local()))),
        };
        Ok(Self { envelope, assertion: Assertion::of(assertion)? })
    }
}

/// Reads signed bytes whose element has this identifier.
pub(super) fn signed(bytes: &[u8], id: &str) -> Result<Document, Refused> {
    let text = std::str::from_utf8(bytes).map_err(content)?;
    let document = Document::read(text, Limits::MESSAGE)?;
    let own = document.root().attribute("ID");
    if own == Some(id) { Ok(document) } else { Err(content(format_args!("{own:?} is signed instead of {id:?}"))) }
}

pub(super) fn content(why: impl std::fmt::Display) -> Refused {
    Refusal::Content.with(why)
}

/// An attribute that has to be there.
pub(super) fn required<'a>(node: Node<'a>, name: &str) -> Result<&'a str, Refused> {
    node.attribute(name).ok_or_else(|| content(format_args!("{} has no {name}", node.local())))
}

fn optional(node: Node<'_>, name: &str) -> Option<String> {
    node.attribute(name).map(str::to_owned)
}

/// A time that may be there.
pub(super) fn time(node: Node<'_>, name: &str) -> Result<Option<Timestamp>, Refused> {
    let parse = |text| instant::parse(text).ok_or_else(|| content(format_args!("{name}={text:?} is no UTC time")));
    node.attribute(name).map(parse).transpose()
}

/// The text of an element that holds text alone.
pub(super) fn text(node: Node<'_>) -> Result<String, Refused> {
    if node.has_children() || node.text().is_empty() {
        return Err(content(format_args!("{} is not plain text", node.local())));
    }
    Ok(node.text().to_owned())
}

/// Version 2.0, and nothing else (SAML Core §4.1.3).
pub(super) fn version(node: Node<'_>) -> Result<(), Refused> {
    match node.attribute("Version") {
        Some("2.0") => Ok(()),
        other => Err(content(format_args!("Version {other:?}"))),
    }
}

/// `Issuer`, which names an entity (SAML Core §2.2.5).
pub(super) fn issuer(node: Node<'_>) -> Result<Option<String>, Refused> {
    let Some(issuer) = node.one(Space::Assertion, "Issuer")? else { return Ok(None) };
    match issuer.attribute("Format") {
        None | Some("urn:oasis:names:tc:SAML:2.0:nameid-format:entity") => text(issuer).map(Some),
        Some(other) => Err(content(format_args!("an Issuer of format {other}"))),
    }
}

impl NameId {
    pub(super) fn of(node: Node<'_>) -> Result<Self, Refused> {
        let qualifier = optional(node, "NameQualifier");
        let sp_qualifier = optional(node, "SPNameQualifier");
        Ok(Self { value: text(node)?, format: optional(node, "Format"), qualifier, sp_qualifier })
    }
}

impl Envelope {
    fn of(node: Node<'_>) -> Result<Self, Refused> {
        version(node)?;
        Ok(Self {
            id: required(node, "ID")?.to_owned(),
            issuer: issuer(node)?,
            in_response_to: optional(node, "InResponseTo"),
            destination: optional(node, "Destination"),
            status: statuses(node)?,
        })
    }
}

/// The status codes, the outer one first (SAML Core §3.2.2.2).
pub(super) fn statuses(node: Node<'_>) -> Result<Vec<String>, Refused> {
    let status = node.one(Space::Protocol, "Status")?.ok_or_else(|| content("no Status"))?;
    let mut codes = Vec::new();
    let mut inside = status;
    while let Some(code) = inside.one(Space::Protocol, "StatusCode")? {
        codes.push(required(code, "Value")?.to_owned());
        inside = code;
    }
    if codes.is_empty() { Err(content("no StatusCode")) } else { Ok(codes) }
}

impl Assertion {
    fn of(node: Node<'_>) -> Result<Self, Refused> {
        version(node)?;
        let subject = node.one(Space::Assertion, "Subject")?;
        let name_id = match subject {
            None => None,
            Some(subject) => subject.one(Space::Assertion, "NameID")?.map(NameId::of).transpose()?,
        };
        let confirmations = subject.into_iter().flat_map(|s| s.all(Space::Assertion, "SubjectConfirmation"));
        let conditions = node.one(Space::Assertion, "Conditions")?.map(Conditions::of).transpose()?;
        let statements = node.all(Space::Assertion, "AttributeStatement");
        let attributes = statements.flat_map(|s| s.all(Space::Assertion, "Attribute"));
        Ok(Self {
            id: required(node, "ID")?.to_owned(),
            issuer: issuer(node)?.ok_or_else(|| content("no Issuer"))?,
            issue_instant: time(node, "IssueInstant")?.ok_or_else(|| content("no IssueInstant"))?,
            name_id,
            confirmations: confirmations.map(Confirmation::of).collect::<Result<_, _>>()?,
            conditions,
            authentications: node
                .all(Space::Assertion, "AuthnStatement")
                .map(Authentication::of)
                .collect::<Result<_, _>>()?,
            attributes: attributes.map(Attribute::of).collect::<Result<_, _>>()?,
        })
    }

    /// The values of the attribute with this `Name` or `FriendlyName`.
    pub fn values<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let named = self.attributes.iter().filter(move |a| a.name == name || a.friendly.as_deref() == Some(name));
        named.flat_map(|a| a.values.iter().map(String::as_str)).collect::<Vec<_>>().into_iter()
    }
}

impl Confirmation {
    fn of(node: Node<'_>) -> Result<Self, Refused> {
        let method = required(node, "Method")?.to_owned();
        let Some(data) = node.one(Space::Assertion, "SubjectConfirmationData")? else {
            let nothing = (None, None, None, None);
            let (recipient, in_response_to, not_before, not_on_or_after) = nothing;
            return Ok(Self { method, recipient, in_response_to, not_before, not_on_or_after });
        };
        Ok(Self {
            method,
            recipient: optional(data, "Recipient"),
            in_response_to: optional(data, "InResponseTo"),
            not_before: time(data, "NotBefore")?,
            not_on_or_after: time(data, "NotOnOrAfter")?,
        })
    }
}

impl Conditions {
    fn of(node: Node<'_>) -> Result<Self, Refused> {
        let mut conditions = Self {
            not_before: time(node, "NotBefore")?,
            not_on_or_after: time(node, "NotOnOrAfter")?,
            ..Self::default()
        };
        for child in node.children() {
            match (child.space(), child.local()) {
                (Space::Assertion, "AudienceRestriction") => {
                    let audiences = child.all(Space::Assertion, "Audience").map(text);
                    conditions.restrictions.push(audiences.collect::<Result<_, _>>()?);
                }
                // Every assertion is used once here, and none is passed on (SAML Core §2.5.1.5, §2.5.1.6).
                (Space::Assertion, "OneTimeUse" | "ProxyRestriction") => {}
                (_, other) => conditions.unknown.push(other.to_owned()),
            }
        }
        Ok(conditions)
    }
}

impl Authentication {
    fn of(node: Node<'_>) -> Result<Self, Refused> {
        let context = node.one(Space::Assertion, "AuthnContext")?;
        let class = match context {
            None => None,
            Some(context) => context.one(Space::Assertion, "AuthnContextClassRef")?.map(text).transpose()?,
        };
        Ok(Self {
            instant: time(node, "AuthnInstant")?.ok_or_else(|| content("no AuthnInstant"))?,
            session_index: optional(node, "SessionIndex"),
            session_not_on_or_after: time(node, "SessionNotOnOrAfter")?,
            class,
        })
    }
}

impl Attribute {
    fn of(node: Node<'_>) -> Result<Self, Refused> {
        let values = node.all(Space::Assertion, "AttributeValue").filter(|v| !v.has_children());
        Ok(Self {
            name: required(node, "Name")?.to_owned(),
            friendly: optional(node, "FriendlyName"),
            values: values.map(|v| v.text().to_owned()).collect(),
        })
    }
}
