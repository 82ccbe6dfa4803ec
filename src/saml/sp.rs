//! What a service provider asks of a verified assertion (SAML Profiles §4.1.4.2, §4.1.4.3; RFC 7522 §3): a table of
//! named rules, each with the values it compared. `portcullis saml explain` walks it; the audit stream names the first
//! that does not hold.
use super::{
    assertion::{Confirmation, NameId, Verified},
    instant,
};
use crate::clock::Timestamp;

/// Accepted difference of clocks, seconds.
pub const SKEW: i64 = 30;
/// An assertion that could be presented for longer is refused: it has to be remembered for as long, seconds.
pub const LONGEST: i64 = 86_400;

const BEARER: &str = "urn:oasis:names:tc:SAML:2.0:cm:bearer";
const SUCCESS: &str = "urn:oasis:names:tc:SAML:2.0:status:Success";

/// How an assertion came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked<'a> {
    /// In answer to the request with this identifier, which this very browser made.
    For(&'a str),
    /// Unasked, by an IdP that may begin by itself.
    Unasked,
    /// Unasked, by one that may not.
    Never,
    /// To the token endpoint, where nobody asks (RFC 7522).
    Token,
}

/// What is expected of an assertion.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The time.
    pub now: Timestamp,
    /// Who may have issued it.
    pub issuer: &'a str,
    /// Names of ours, one of which every audience restriction has to hold; exact strings.
    pub audiences: &'a [String],
    /// Addresses of ours that it may be delivered to; exact strings.
    pub recipients: &'a [String],
    /// How it came.
    pub asked: Asked<'a>,
    /// Furthest accepted end of it, seconds ahead; at most [`LONGEST`].
    pub longest: i64,
}

/// One rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rule {
    /// A signed Response names the same issuer (SAML Profiles §4.1.4.2).
    #[error("the Response's Issuer")]
    ResponseIssuer,
    /// A signed Response says Success (SAML Core §3.2.2.2).
    #[error("Status")]
    Status,
    /// A signed Response was sent to us (SAML Bindings §3.5.5.2).
    #[error("Destination")]
    Destination,
    /// A signed Response answers our request, and none where we made none (S54).
    #[error("the Response's InResponseTo")]
    ResponseTo,
    /// The issuer is the one whose keys were used.
    #[error("Issuer")]
    Issuer,
    /// It was not issued in the future.
    #[error("IssueInstant")]
    IssueInstant,
    /// It names somebody.
    #[error("NameID")]
    NameId,
    /// A bearer may present it (SAML Profiles §4.1.4.2).
    #[error("a bearer SubjectConfirmation")]
    Bearer,
    /// It was issued to be delivered here (S40).
    #[error("Recipient")]
    Recipient,
    /// It answers our request, and none where we made none (S54).
    #[error("InResponseTo")]
    InResponseTo,
    /// A bearer's confirmation begins at once.
    #[error("no NotBefore on the confirmation")]
    NoNotBefore,
    /// The confirmation has not ended (S53).
    #[error("the confirmation's NotOnOrAfter")]
    Confirmed,
    /// It can be remembered for as long as it could be replayed (S52).
    #[error("the time it may be presented for")]
    Longest,
    /// It says under which conditions it holds.
    #[error("Conditions")]
    Conditions,
    /// Its conditions have begun.
    #[error("the conditions' NotBefore")]
    NotBefore,
    /// Its conditions have not ended.
    #[error("the conditions' NotOnOrAfter")]
    NotOnOrAfter,
    /// There is a restriction, and every one of them names us (SAML Core §2.5.1.4, S40).
    #[error("every AudienceRestriction")]
    Audience,
    /// Nothing is asked that is not understood (SAML Core §2.5.1.1).
    #[error("no unknown condition")]
    UnknownCondition,
    /// It says how they signed in (SAML Profiles §4.1.4.2).
    #[error("AuthnStatement")]
    Authenticated,
    /// The session at the IdP has not ended.
    #[error("SessionNotOnOrAfter")]
    Session,
}

/// A rule that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule}: {detail}")]
pub struct Broken {
    /// Which.
    pub rule: Rule,
    /// The values compared: for the log alone.
    pub detail: String,
}

/// What a rule found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which rule.
    pub rule: Rule,
    /// Whether it holds.
    pub holds: bool,
    /// The values compared.
    pub detail: String,
}

/// An assertion that every rule holds for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its subject.
    pub name_id: NameId,
    /// Until when it has to be remembered, so that it is used once (S52).
    pub remember: Timestamp,
    /// When they signed in at the IdP.
    pub authenticated: Option<Timestamp>,
    /// The IdP's name for their session there.
    pub session_index: Option<String>,
    /// When the session there ends.
    pub session_ends: Option<Timestamp>,
}

struct Facts<'a> {
    verified: &'a Verified,
    expected: Expected<'a>,
    confirmation: Option<&'a Confirmation>,
}

type Outcome = Result<String, String>;
type Test = fn(&Facts<'_>) -> Outcome;

/// THE rules, in the order in which they are told.
#[rustfmt::skip] // a table
const RULES: [(Rule, Test); 20] = [
    (Rule::ResponseIssuer,   response_issuer),
    (Rule::Status,           status),
    (Rule::Destination,      destination),
    (Rule::ResponseTo,       response_to),
    (Rule::Issuer,           issuer),
    (Rule::IssueInstant,     issue_instant),
    (Rule::NameId,           name_id),
    (Rule::Bearer,           bearer),
    (Rule::Recipient,        recipient),
    (Rule::InResponseTo,     in_response_to),
    (Rule::NoNotBefore,      no_not_before),
    (Rule::Confirmed,        confirmed),
    (Rule::Longest,          longest),
    (Rule::Conditions,       conditions),
    (Rule::NotBefore,        not_before),
    (Rule::NotOnOrAfter,     not_on_or_after),
    (Rule::Audience,         audience),
    (Rule::UnknownCondition, unknown_condition),
    (Rule::Authenticated,    authenticated),
    (Rule::Session,          session),
];

/// Every rule with what it found.
pub fn explain(verified: &Verified, expected: Expected<'_>) -> Vec<Finding> {
    let facts = Facts::of(verified, expected);
    let found = RULES.iter().map(|(rule, test)| match test(&facts) {
        Ok(detail) => Finding { rule: *rule, holds: true, detail },
        Err(detail) => Finding { rule: *rule, holds: false, detail },
    });
    found.collect()
}

/// The assertion, or the first rule that does not hold.
pub fn judge(verified: &Verified, expected: Expected<'_>) -> Result<Accepted, Broken> {
    let facts = Facts::of(verified, expected);
    for (rule, test) in RULES {
        test(&facts).map_err(|detail| Broken { rule, detail })?;
    }
    let broken = |rule| Broken { rule, detail: "missing".to_owned() };
    let statements = &verified.assertion.authentications;
    Ok(Accepted {
        name_id: verified.assertion.name_id.clone().ok_or_else(|| broken(Rule::NameId))?,
        remember: facts.ends().ok_or_else(|| broken(Rule::Longest))?.plus(SKEW),
        authenticated: statements.iter().map(|s| s.instant).min(),
        session_index: statements.iter().find_map(|s| s.session_index.clone()),
        session_ends: statements.iter().filter_map(|s| s.session_not_on_or_after).min(),
    })
}

impl<'a> Facts<'a> {
    /// One confirmation has to pass every rule by itself; where none does, the first bearer's is told about.
    fn of(verified: &'a Verified, expected: Expected<'a>) -> Self {
        let mut facts = Self { verified, expected, confirmation: None };
        let rules = [recipient, in_response_to, no_not_before, confirmed, longest];
        let bearers = verified.assertion.confirmations.iter().filter(|c| c.method == BEARER);
        for confirmation in bearers {
            let candidate = Facts { confirmation: Some(confirmation), ..facts };
            if rules.iter().all(|rule| rule(&candidate).is_ok()) {
                return candidate;
            }
            facts.confirmation = facts.confirmation.or(Some(confirmation));
        }
        facts
    }

    fn confirmation(&self) -> Result<&'a Confirmation, String> {
        self.confirmation.ok_or_else(|| "no bearer confirmation".to_owned())
    }

    /// When the assertion can no longer be presented: of its confirmation and its conditions the one that ends first.
    fn ends(&self) -> Option<Timestamp> {
        let conditions = self.verified.assertion.conditions.as_ref().and_then(|c| c.not_on_or_after);
        [self.confirmation.and_then(|c| c.not_on_or_after), conditions].into_iter().flatten().min()
    }
}

fn holds(condition: bool, detail: String) -> Outcome {
    if condition { Ok(detail) } else { Err(detail) }
}

fn shown(value: Option<&str>) -> &str {
    value.unwrap_or("absent")
}

fn at(time: Option<Timestamp>) -> String {
    time.map_or_else(|| "absent".to_owned(), instant::text)
}

const UNSIGNED: &str = "the Response is not signed, so what it says is not read";

fn response_issuer(f: &Facts<'_>) -> Outcome {
    let Some(envelope) = &f.verified.envelope else { return Ok(UNSIGNED.to_owned()) };
    let named = envelope.issuer.as_deref();
    holds(named == Some(f.expected.issuer), format!("{}; expected {}", shown(named), f.expected.issuer))
}

fn status(f: &Facts<'_>) -> Outcome {
    let Some(envelope) = &f.verified.envelope else { return Ok(UNSIGNED.to_owned()) };
    holds(envelope.status.first().is_some_and(|s| s == SUCCESS), envelope.status.join(", "))
}

fn destination(f: &Facts<'_>) -> Outcome {
    let Some(envelope) = &f.verified.envelope else { return Ok(UNSIGNED.to_owned()) };
    let expected = f.expected.recipients;
    let named = envelope.destination.as_ref();
    holds(
        named.is_some_and(|d| expected.contains(d)),
        format!("{}; expected {}", shown(named.map(String::as_str)), expected.join(" or ")),
    )
}

fn response_to(f: &Facts<'_>) -> Outcome {
    let Some(envelope) = &f.verified.envelope else { return Ok(UNSIGNED.to_owned()) };
    answers(envelope.in_response_to.as_deref(), f.expected.asked)
}

fn answers(named: Option<&str>, asked: Asked<'_>) -> Outcome {
    match asked {
        Asked::For(id) => holds(named == Some(id), format!("{}; this browser's request is {id}", shown(named))),
        Asked::Unasked | Asked::Token => holds(named.is_none(), format!("{}; no request was made", shown(named))),
        Asked::Never => Err(format!("{}; this browser made no request, and this IdP may not begin", shown(named))),
    }
}

fn issuer(f: &Facts<'_>) -> Outcome {
    let (named, expected) = (&f.verified.assertion.issuer, f.expected.issuer);
    holds(named == expected, format!("{named}; expected {expected}"))
}

fn issue_instant(f: &Facts<'_>) -> Outcome {
    let issued = f.verified.assertion.issue_instant;
    holds(
        issued <= f.expected.now.plus(SKEW),
        format!("{}; now {}", instant::text(issued), instant::text(f.expected.now)),
    )
}

fn name_id(f: &Facts<'_>) -> Outcome {
    match &f.verified.assertion.name_id {
        Some(name) => Ok(format!("format {}", shown(name.format.as_deref()))),
        None => Err("absent".to_owned()),
    }
}

fn bearer(f: &Facts<'_>) -> Outcome {
    let methods: Vec<&str> = f.verified.assertion.confirmations.iter().map(|c| c.method.as_str()).collect();
    holds(f.confirmation.is_some(), format!("methods: {}", methods.join(", ")))
}

fn recipient(f: &Facts<'_>) -> Outcome {
    let (named, expected) = (f.confirmation()?.recipient.as_ref(), f.expected.recipients);
    holds(
        named.is_some_and(|r| expected.contains(r)),
        format!("{}; expected {}", shown(named.map(String::as_str)), expected.join(" or ")),
    )
}

fn in_response_to(f: &Facts<'_>) -> Outcome {
    answers(f.confirmation()?.in_response_to.as_deref(), f.expected.asked)
}

fn no_not_before(f: &Facts<'_>) -> Outcome {
    let not_before = f.confirmation()?.not_before;
    holds(not_before.is_none(), at(not_before))
}

fn confirmed(f: &Facts<'_>) -> Outcome {
    let ends = f.confirmation()?.not_on_or_after;
    let told = format!("{}; now {}", at(ends), instant::text(f.expected.now));
    match (ends, f.expected.asked) {
        (Some(ends), _) => holds(f.expected.now < ends.plus(SKEW), told),
        // RFC 7522 §3: the conditions may say it instead.
        (None, Asked::Token) => holds(f.ends().is_some(), told),
        (None, Asked::For(_) | Asked::Unasked | Asked::Never) => Err(told),
    }
}

fn longest(f: &Facts<'_>) -> Outcome {
    let latest = f.expected.now.plus(f.expected.longest.min(LONGEST) + SKEW);
    let ends = f.ends();
    holds(ends.is_some_and(|e| e <= latest), format!("until {}; at most {}", at(ends), instant::text(latest)))
}

fn conditions(f: &Facts<'_>) -> Outcome {
    f.verified.assertion.conditions.as_ref().map(|_| "present".to_owned()).ok_or_else(|| "absent".to_owned())
}

fn not_before(f: &Facts<'_>) -> Outcome {
    let begins = f.verified.assertion.conditions.as_ref().and_then(|c| c.not_before);
    let begun = begins.is_none_or(|b| b <= f.expected.now.plus(SKEW));
    holds(begun, format!("{}; now {}", at(begins), instant::text(f.expected.now)))
}

fn not_on_or_after(f: &Facts<'_>) -> Outcome {
    let ends = f.verified.assertion.conditions.as_ref().and_then(|c| c.not_on_or_after);
    let still = ends.is_none_or(|e| f.expected.now < e.plus(SKEW));
    holds(still, format!("{}; now {}", at(ends), instant::text(f.expected.now)))
}

fn audience(f: &Facts<'_>) -> Outcome {
    let restrictions = f.verified.assertion.conditions.as_ref().map_or(&[][..], |c| &c.restrictions);
    let ours = |r: &Vec<String>| r.iter().any(|a| f.expected.audiences.contains(a));
    let named: Vec<String> = restrictions.iter().map(|r| format!("[{}]", r.join(", "))).collect();
    holds(
        !restrictions.is_empty() && restrictions.iter().all(ours),
        format!("{}; we are {}", named.join(" and "), f.expected.audiences.join(" or ")),
    )
}

fn unknown_condition(f: &Facts<'_>) -> Outcome {
    let unknown = f.verified.assertion.conditions.as_ref().map_or(&[][..], |c| &c.unknown);
    holds(unknown.is_empty(), unknown.join(", "))
}

fn authenticated(f: &Facts<'_>) -> Outcome {
    let statements = &f.verified.assertion.authentications;
    let latest = f.expected.now.plus(SKEW);
    let first = statements.first();
    let told = format!("{}, class {}", at(first.map(|s| s.instant)), shown(first.and_then(|s| s.class.as_deref())));
    let sound = statements.iter().all(|s| s.instant <= latest);
    holds(sound && (first.is_some() || f.expected.asked == Asked::Token), told)
}

fn session(f: &Facts<'_>) -> Outcome {
    let ends = f.verified.assertion.authentications.iter().filter_map(|s| s.session_not_on_or_after).min();
    let open = ends.is_none_or(|e| f.expected.now < e);
    holds(open, format!("{}; now {}", at(ends), instant::text(f.expected.now)))
}
