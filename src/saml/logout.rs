//! Single logout: what a verified LogoutRequest or LogoutResponse says (SAML Core §3.7).
use super::{
    assertion::{self, NameId, content, required, signed, statuses, text, time, version},
    document::{Node, Space},
    instant,
    preflight::Kind,
    refusal::{Refusal, Refused},
    sp::SKEW,
};
use crate::clock::Timestamp;

/// Seconds that a logout message is good for, on its way or waiting for its answer.
pub const LIFETIME: i64 = 600;

/// What a rule found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule}: {detail}")]
pub struct Finding {
    /// The attribute it is about.
    pub rule: &'static str,
    /// Whether it holds.
    pub holds: bool,
    /// The values compared: for the log alone.
    pub detail: String,
}

/// A verified logout message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Logout {
    /// Somebody is to be signed out.
    Request(Request),
    /// They were, or were not.
    Response(Response),
}

/// `LogoutRequest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `ID`.
    pub id: String,
    /// Who asks.
    pub issuer: String,
    /// `Destination`.
    pub destination: Option<String>,
    /// `IssueInstant`.
    pub issue_instant: Timestamp,
    /// `NotOnOrAfter`.
    pub not_on_or_after: Option<Timestamp>,
    /// Who is to be signed out.
    pub name_id: NameId,
    /// Of which sessions; of all where none is named.
    pub sessions: Vec<String>,
}

/// `LogoutResponse`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// `ID`.
    pub id: String,
    /// Who answers.
    pub issuer: String,
    /// `Destination`.
    pub destination: Option<String>,
    /// `InResponseTo`.
    pub in_response_to: Option<String>,
    /// The status code, and the one below it.
    pub status: Vec<String>,
}

impl Logout {
    /// Reads signed bytes, which are a message of this kind and identifier.
    pub(super) fn read(bytes: &[u8], kind: Kind, id: &str) -> Result<Self, Refused> {
        let document = signed(bytes, id)?;
        let node = document.root();
        if !kind.is(node) {
            return Err(content(format_args!("{} is signed", node.local())));
        }
        version(node)?;
        match kind {
            Kind::LogoutRequest => Request::of(node).map(Self::Request),
            Kind::LogoutResponse => Response::of(node).map(Self::Response),
            Kind::Response | Kind::Assertion | Kind::AuthnRequest => Err(Refusal::Root.with("no logout message")),
        }
    }

    /// Every rule for a message that comes to one of `addresses` at `now`, with what it found (SAML Core §3.7.3).
    pub fn explain(&self, addresses: &[&str], now: Timestamp) -> Vec<Finding> {
        let finding = |rule, holds, detail| Finding { rule, holds, detail };
        let (destination, request) = match self {
            Self::Request(request) => (&request.destination, Some(request)),
            Self::Response(response) => (&response.destination, None),
        };
        let named = destination.as_deref();
        let here = named.is_some_and(|to| addresses.contains(&to));
        let told = format!("{}; expected {}", named.unwrap_or("absent"), addresses.join(" or "));
        let mut all = vec![finding("Destination", here, told)];
        if let Some(request) = request {
            let age = now.0 - request.issue_instant.0;
            let told = format!("{}; now {}", instant::text(request.issue_instant), instant::text(now));
            all.push(finding("IssueInstant", (-SKEW..=LIFETIME).contains(&age), told));
            let over = request.not_on_or_after.is_some_and(|end| end.plus(SKEW) <= now);
            let told = request.not_on_or_after.map_or_else(|| "absent".to_owned(), instant::text);
            all.push(finding("NotOnOrAfter", !over, format!("{told}; now {}", instant::text(now))));
        }
        all
    }

    /// The first rule that does not hold.
    pub fn judge(&self, addresses: &[&str], now: Timestamp) -> Result<(), Finding> {
        self.explain(addresses, now).into_iter().find(|finding| !finding.holds).map_or(Ok(()), Err)
    }

    /// Who sent it.
    pub fn issuer(&self) -> &str {
        match self {
            Self::Request(request) => &request.issuer,
            Self::Response(response) => &response.issuer,
        }
    }
}

fn issuer(node: Node<'_>) -> Result<String, Refused> {
    assertion::issuer(node)?.ok_or_else(|| content("no Issuer"))
}

impl Request {
    fn of(node: Node<'_>) -> Result<Self, Refused> {
        let name = node.one(Space::Assertion, "NameID")?.ok_or_else(|| content("no NameID"))?;
        Ok(Self {
            id: required(node, "ID")?.to_owned(),
            issuer: issuer(node)?,
            destination: node.attribute("Destination").map(str::to_owned),
            issue_instant: time(node, "IssueInstant")?.ok_or_else(|| content("no IssueInstant"))?,
            not_on_or_after: time(node, "NotOnOrAfter")?,
            name_id: NameId::of(name)?,
            sessions: node.all(Space::Protocol, "SessionIndex").map(text).collect::<Result<_, _>>()?,
        })
    }
}

impl Response {
    fn of(node: Node<'_>) -> Result<Self, Refused> {
        Ok(Self {
            id: required(node, "ID")?.to_owned(),
            issuer: issuer(node)?,
            destination: node.attribute("Destination").map(str::to_owned),
            in_response_to: node.attribute("InResponseTo").map(str::to_owned),
            status: statuses(node)?,
        })
    }
}
