//! The strict look at a message before any cryptography: exactly the shape that SAML's profile of XML Signature
//! allows (SAML Core §5.4), and nothing that a verifier could be led astray by (S64, S65).
use super::{
    document::{Document, Node, Space, is_name},
    reader::Limits,
    refusal::{Refusal, Refused},
};
use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::STANDARD};
use std::collections::HashSet;

/// Messages that are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `samlp:Response` (SAML Core §3.3.3).
    Response,
    /// `saml:Assertion` alone, as RFC 7522 exchanges it.
    Assertion,
    /// `samlp:LogoutRequest` (SAML Core §3.7.1).
    LogoutRequest,
    /// `samlp:LogoutResponse` (SAML Core §3.7.2).
    LogoutResponse,
    /// `samlp:AuthnRequest` (SAML Core §3.4.1): what we send, and never take.
    AuthnRequest,
}

impl Kind {
    const fn name(self) -> (Space, &'static str) {
        match self {
            Self::Response => (Space::Protocol, "Response"),
            Self::Assertion => (Space::Assertion, "Assertion"),
            Self::LogoutRequest => (Space::Protocol, "LogoutRequest"),
            Self::LogoutResponse => (Space::Protocol, "LogoutResponse"),
            Self::AuthnRequest => (Space::Protocol, "AuthnRequest"),
        }
    }

    /// Whether `node` is the root of such a message.
    pub fn is(self, node: Node<'_>) -> bool {
        let (space, local) = self.name();
        node.is(space, local)
    }
}

/// Where a message's signature is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seal {
    /// In the message (SAML Bindings §3.5).
    Enveloped,
    /// Beside it, over the query it came in (SAML Bindings §3.4.4.1).
    Detached,
}

/// A signature as it claims to be.
#[derive(Debug)]
pub struct Claim {
    /// Whether it signs the root rather than the assertion in it.
    pub root: bool,
    /// The identifier of the element it signs.
    pub id: String,
    /// The digest's algorithm.
    pub digest: &'static digest::Algorithm,
    /// The digest.
    pub value: Vec<u8>,
    /// `InclusiveNamespaces` of the canonicalization.
    pub prefixes: Vec<String>,
}

/// A message of acceptable shape. Nothing of it is known to be true; only its issuer and identifier are shown, to
/// choose keys by.
#[derive(Debug)]
pub struct Passed<'a> {
    /// What it is.
    pub kind: Kind,
    /// Who claims to have issued it: of the assertion, where there is one.
    pub issuer: String,
    /// Its identifier.
    pub id: String,
    pub(super) text: &'a str,
    /// In document order, so that one over the whole message is the first.
    pub(super) claims: Vec<Claim>,
}

/// Letters of a status that are logged.
const LONGEST_STATUS: usize = 200;
/// Longest issuer (SAML Core §8.3.6).
const LONGEST_ISSUER: usize = 1024;

/// Looks at `text`, which has to be one of `kinds`.
pub fn inspect<'a>(text: &'a str, kinds: &[Kind], seal: Seal) -> Result<Passed<'a>, Refused> {
    let document = Document::read(text, Limits::MESSAGE)?;
    let root = document.root();
    let found = kinds.iter().find(|k| k.is(root));
    let kind = *found.ok_or_else(|| Refusal::Root.with(format_args!("the root is {}", root.local())))?;
    let mut assertions = Vec::new();
    for node in document.elements() {
        shape(node, root)?;
        if node.is(Space::Assertion, "Assertion") {
            assertions.push(node);
        }
    }
    unique(&document)?;
    let wanted = matches!(kind, Kind::Response | Kind::Assertion);
    let assertion = match assertions.as_slice() {
        [] if wanted => return Err(Refusal::NoAssertion.with(status(root))),
        [] => None,
        [one] if wanted && (one.same(root) || one.parent().is_some_and(|p| p.same(root))) => Some(*one),
        several => return Err(Refusal::SurplusAssertion.with(format_args!("{} in all", several.len()))),
    };
    let mut claims = Vec::new();
    for node in document.elements().filter(|n| n.is(Space::Signature, "Signature")) {
        claims.push(claim(node, root, assertion)?);
    }
    match seal {
        Seal::Enveloped if claims.is_empty() => return Err(Refusal::Unsigned.with("no Signature element")),
        Seal::Detached if !claims.is_empty() => {
            return Err(Refusal::SignaturePlace.with("a Signature element in a message signed by its query"));
        }
        Seal::Enveloped | Seal::Detached => {}
    }
    let speaker = assertion.unwrap_or(root);
    let issuer = speaker.one(Space::Assertion, "Issuer")?.filter(|i| !i.has_children()).map(Node::text);
    let issuer = issuer.filter(|i| !i.is_empty() && i.len() <= LONGEST_ISSUER);
    Ok(Passed {
        kind,
        issuer: issuer.ok_or_else(|| Refusal::Issuer.with("none, or too long"))?.to_owned(),
        id: root.attribute("ID").ok_or_else(|| Refusal::Identifier.with("the message has no ID"))?.to_owned(),
        text,
        claims,
    })
}

/// Rules for every element.
fn shape(node: Node<'_>, root: Node<'_>) -> Result<(), Refused> {
    if node.space() == Space::Encryption || node.local().starts_with("Encrypted") && node.space() == Space::Assertion {
        return Err(Refusal::Encrypted.with(node.local()));
    }
    if node.is_mixed() {
        return Err(Refusal::Content.with(format_args!("text beside elements in {}", node.local())));
    }
    // A second protocol message could only be there to be taken for the first.
    let messages = ["Response", "LogoutRequest", "LogoutResponse", "AuthnRequest", "ArtifactResponse"];
    if node.space() == Space::Protocol && messages.contains(&node.local()) && !node.same(root) {
        return Err(Refusal::Root.with(format_args!("a {} inside the message", node.local())));
    }
    if node.space() == Space::Signature && node.local() != "Signature" {
        let inside = std::iter::successors(node.parent(), |n| n.parent());
        if !inside.into_iter().any(|n| n.is(Space::Signature, "Signature")) {
            return Err(Refusal::SignaturePlace.with(format_args!("{} outside of a Signature", node.local())));
        }
    }
    for forbidden in ["id", "base"] {
        if node.has_xml(forbidden) {
            return Err(Refusal::Identifier.with(format_args!("xml:{forbidden}")));
        }
    }
    Ok(())
}

/// Every attribute that any verifier takes for an identifier is a name, and no two are the same (S64).
fn unique(document: &Document) -> Result<(), Refused> {
    let mut seen = HashSet::new();
    for node in document.elements() {
        let mut own = 0;
        for (prefixed, name, value) in node.attributes() {
            let identifies = ["id", "assertionid", "requestid", "responseid"];
            if !identifies.iter().any(|i| name.eq_ignore_ascii_case(i)) {
                continue;
            }
            own += 1;
            if prefixed || own > 1 || !is_name(value) || !seen.insert(value) {
                return Err(Refusal::Identifier.with(format_args!("{name}={value:?}")));
            }
        }
    }
    Ok(())
}

/// What an IdP says instead of an assertion: for whoever reads the log, and nothing is done upon it.
fn status(root: Node<'_>) -> String {
    fn code(node: Node<'_>) -> Option<Node<'_>> {
        node.all(Space::Protocol, "StatusCode").next()
    }
    let status = root.all(Space::Protocol, "Status").next();
    let first = status.and_then(code);
    let message = status.and_then(|s| s.all(Space::Protocol, "StatusMessage").next());
    let said = [first, first.and_then(code)].into_iter().flatten().filter_map(|c| c.attribute("Value"));
    let said: Vec<String> =
        said.chain(message.map(Node::text)).map(|text| text.chars().take(LONGEST_STATUS).collect()).collect();
    format!("the IdP says, unsigned or not: {}", said.join(", "))
}

/// Reads a signature of exactly the shape that is accepted.
fn claim(signature: Node<'_>, root: Node<'_>, assertion: Option<Node<'_>>) -> Result<Claim, Refused> {
    let place = |why: &str| Refusal::SignaturePlace.with(why);
    let signed = signature.parent().ok_or_else(|| place("the signature is the root"))?;
    if !signed.same(root) && !assertion.is_some_and(|a| a.same(signed)) {
        return Err(place(&format!("in {}", signed.local())));
    }
    // The schemas of messages and assertions: right behind the issuer.
    let mut siblings = signed.children();
    if !siblings.next().is_some_and(|n| n.is(Space::Assertion, "Issuer"))
        || !siblings.next().is_some_and(|n| n.same(signature))
        || siblings.any(|n| n.is(Space::Signature, "Signature"))
    {
        return Err(place("not directly behind the Issuer"));
    }
    let [info, value] = begins(signature, ["SignedInfo", "SignatureValue"])?;
    for more in signature.children().skip(2) {
        if !more.is(Space::Signature, "KeyInfo") || signature.children().count() > 3 {
            return Err(Refusal::SignatureShape.with(format_args!("{} in Signature", more.local())));
        }
        key_info(more)?;
    }
    binary(value)?;
    let [canonicalization, method, reference] =
        begins(info, ["CanonicalizationMethod", "SignatureMethod", "Reference"])?;
    match info.children().count() {
        3 => {}
        _ if info.all(Space::Signature, "Reference").count() > 1 => {
            return Err(Refusal::Reference.with("more than one Reference"));
        }
        _ => return Err(Refusal::SignatureShape.with("SignedInfo holds more than three elements")),
    }
    plain(info, &[])?;
    exclusive(canonicalization)?;
    let algorithm = algorithm(method)?;
    if !SIGNATURES.contains(&algorithm) || method.has_children() {
        return Err(Refusal::Algorithm.with(algorithm));
    }
    let (id, prefixes) = referred(reference, signed)?;
    let [_, method, value] = begins(reference, ["Transforms", "DigestMethod", "DigestValue"])?;
    let algorithm = self::algorithm(method)?;
    let known = DIGESTS.iter().find(|(uri, _)| *uri == algorithm && !method.has_children());
    let (_, digest) = known.ok_or_else(|| Refusal::Algorithm.with(algorithm))?;
    let value = binary(value)?;
    if value.len() != digest.output_len() {
        return Err(Refusal::SignatureShape.with("a digest of another length than its algorithm's"));
    }
    Ok(Claim { root: signed.same(root), id, digest, value, prefixes })
}

/// The identifier that the one reference names, which is the signed element's own; and the prefixes of its
/// canonicalization.
fn referred(reference: Node<'_>, signed: Node<'_>) -> Result<(String, Vec<String>), Refused> {
    plain(reference, &["URI"])?;
    let uri = reference.attribute("URI").unwrap_or_default();
    let id = signed.attribute("ID").unwrap_or_default();
    if id.is_empty() || uri.strip_prefix('#') != Some(id) {
        return Err(Refusal::Reference.with(format_args!("URI {uri:?}, and the element around it is {id:?}")));
    }
    let [transforms, ..] = begins(reference, ["Transforms", "DigestMethod", "DigestValue"])?;
    if reference.children().count() > 3 {
        return Err(Refusal::SignatureShape.with("Reference holds more than three elements"));
    }
    let all: Vec<Node<'_>> = transforms.children().collect();
    match all.as_slice() {
        [enveloped, canonical] if all.iter().all(|t| t.is(Space::Signature, "Transform")) => {
            let first = algorithm(*enveloped)?;
            if first != ENVELOPED || enveloped.has_children() {
                return Err(Refusal::Transform.with(first));
            }
            Ok((id.to_owned(), exclusive(*canonical)?))
        }
        others => Err(Refusal::Transform.with(format_args!("{} transforms instead of two", others.len()))),
    }
}

const ENVELOPED: &str = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";
const EXCLUSIVE: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";

/// Accepted `SignatureMethod`s; which key fits is for the pinned keys to say.
const SIGNATURES: [&str; 6] = [
    "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
    "http://www.w3.org/2001/04/xmldsig-more#rsa-sha384",
    "http://www.w3.org/2001/04/xmldsig-more#rsa-sha512",
    "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256",
    "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384",
    "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha512",
];

/// Accepted `DigestMethod`s.
static DIGESTS: [(&str, &digest::Algorithm); 3] = [
    ("http://www.w3.org/2001/04/xmlenc#sha256", &digest::SHA256),
    ("http://www.w3.org/2001/04/xmldsig-more#sha384", &digest::SHA384),
    ("http://www.w3.org/2001/04/xmlenc#sha512", &digest::SHA512),
];

/// The first `N` elements in `node`, which have these names.
fn begins<'a, const N: usize>(node: Node<'a>, names: [&str; N]) -> Result<[Node<'a>; N], Refused> {
    let first: Vec<Node<'a>> = node.children().take(N).collect();
    let right = first.len() == N && first.iter().zip(names).all(|(n, name)| n.is(Space::Signature, name));
    let fits = right.then(|| first.try_into().ok()).flatten();
    fits.ok_or_else(|| Refusal::SignatureShape.with(format_args!("{} begins otherwise", node.local())))
}

/// `Algorithm`, which is the one attribute of `node`.
fn algorithm(node: Node<'_>) -> Result<&str, Refused> {
    plain(node, &["Algorithm"])?;
    Ok(node.attribute("Algorithm").unwrap_or_default())
}

fn plain(node: Node<'_>, allowed: &[&str]) -> Result<(), Refused> {
    match node.attributes().find(|(prefixed, name, _)| *prefixed || !allowed.contains(name)) {
        None => Ok(()),
        Some((_, name, _)) => Err(Refusal::SignatureShape.with(format_args!("{name} on {}", node.local()))),
    }
}

/// Exclusive canonicalization without comments, and the prefixes it treats inclusively.
fn exclusive(node: Node<'_>) -> Result<Vec<String>, Refused> {
    let algorithm = algorithm(node)?;
    if algorithm != EXCLUSIVE {
        return Err(Refusal::Transform.with(algorithm));
    }
    let mut parameters = node.children();
    let Some(list) = parameters.next() else { return Ok(Vec::new()) };
    if parameters.next().is_some() || !list.is(Space::ExclusiveC14n, "InclusiveNamespaces") || list.has_children() {
        return Err(Refusal::Transform.with("a parameter beside InclusiveNamespaces"));
    }
    plain(list, &["PrefixList"])?;
    let prefixes = list.attribute("PrefixList").unwrap_or_default().split_ascii_whitespace();
    let prefixes: Vec<String> = prefixes.map(str::to_owned).collect();
    if prefixes.len() > 16 || !prefixes.iter().all(|p| p == "#default" || is_name(p)) {
        return Err(Refusal::Transform.with("PrefixList"));
    }
    Ok(prefixes)
}

/// The bytes of an element that holds base64 alone.
fn binary(node: Node<'_>) -> Result<Vec<u8>, Refused> {
    plain(node, &[])?;
    let text: String = node.text().split_ascii_whitespace().collect();
    let bytes = STANDARD.decode(text).ok().filter(|b| !b.is_empty() && !node.has_children());
    bytes.ok_or_else(|| Refusal::SignatureShape.with(format_args!("{} is not base64", node.local())))
}

/// Keys that a message brings along are not read; references to keys elsewhere are not even tolerated (S65).
fn key_info(node: Node<'_>) -> Result<(), Refused> {
    let known = ["X509Data", "KeyName", "KeyValue"];
    match node.children().find(|n| n.space() != Space::Signature || !known.contains(&n.local())) {
        None => Ok(()),
        Some(other) => Err(Refusal::SignatureShape.with(format_args!("{} in KeyInfo", other.local()))),
    }
}
