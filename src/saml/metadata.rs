//! Metadata of identity providers (SAML Metadata §2): a file that the operator got from theirs.
use super::{
    document::{Document, Node, Space},
    instant,
    reader::Limits,
    trust::TrustedKeys,
};
use crate::clock::Timestamp;
use base64::{Engine, engine::general_purpose::STANDARD};

/// How a message travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// In a query (SAML Bindings §3.4).
    Redirect,
    /// In a form (SAML Bindings §3.5).
    Post,
}

impl Binding {
    /// Its URI.
    pub const fn uri(self) -> &'static str {
        match self {
            Self::Redirect => "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect",
            Self::Post => "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST",
        }
    }
}

/// Where an IdP takes messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// How.
    pub binding: Binding,
    /// Where.
    pub location: String,
    /// Where answers go, if not there.
    pub response_location: Option<String>,
}

/// An identity provider, as its metadata describes it.
#[derive(Debug)]
pub struct IdentityProvider {
    /// `entityID`: the issuer of its messages.
    pub entity: String,
    /// After this the metadata says nothing any more.
    pub valid_until: Option<Timestamp>,
    /// The keys it signs with; at least one.
    pub keys: TrustedKeys,
    /// Where people sign in.
    pub sign_on: Vec<Endpoint>,
    /// Where they sign out.
    pub logout: Vec<Endpoint>,
    /// Whether it wants requests to be signed; ours always are.
    pub wants_signed: bool,
}

const PROTOCOL: &str = "urn:oasis:names:tc:SAML:2.0:protocol";

impl IdentityProvider {
    /// Reads a file with one `EntityDescriptor`, or with several, of which `entity` is meant.
    pub fn read(text: &str, entity: Option<&str>) -> Result<Self, String> {
        let document = Document::read(text, Limits::METADATA).map_err(|why| why.to_string())?;
        let all: Vec<Node<'_>> = document.elements().filter(|n| n.is(Space::Metadata, "EntityDescriptor")).collect();
        let named = |n: &&Node<'_>| entity.is_none_or(|wanted| n.attribute("entityID") == Some(wanted));
        let mut wanted = all.iter().filter(named);
        let descriptor = *wanted.next().ok_or_else(|| match entity {
            Some(entity) => format!("describes no entity {entity}"),
            None => "holds no EntityDescriptor: is it SAML 2.0 metadata?".to_owned(),
        })?;
        if wanted.next().is_some() {
            return Err(format!("describes {} entities: say which with entity_id", all.len()));
        }
        let speaks = |n: &Node<'_>| {
            let protocols = n.attribute("protocolSupportEnumeration").unwrap_or_default();
            protocols.split_ascii_whitespace().any(|p| p == PROTOCOL)
        };
        let mut roles = descriptor.all(Space::Metadata, "IDPSSODescriptor").filter(speaks);
        let role = roles.next().ok_or("describes no SAML 2.0 identity provider (IDPSSODescriptor)")?;
        if roles.next().is_some() {
            return Err("describes two SAML 2.0 identity providers in one entity".to_owned());
        }
        let entity = descriptor.attribute("entityID").filter(|e| !e.is_empty()).ok_or("has no entityID")?;
        let sign_on = endpoints(role, "SingleSignOnService")?;
        if sign_on.is_empty() {
            return Err("names no SingleSignOnService by HTTP-Redirect or HTTP-POST".to_owned());
        }
        Ok(Self {
            entity: entity.to_owned(),
            valid_until: valid_until(role)?,
            keys: keys(role)?,
            sign_on,
            logout: endpoints(role, "SingleLogoutService")?,
            wants_signed: matches!(role.attribute("WantAuthnRequestsSigned"), Some("true" | "1")),
        })
    }

    /// Whether the metadata still speaks at `now`.
    pub fn valid_at(&self, now: Timestamp) -> bool {
        self.valid_until.is_none_or(|until| now < until)
    }

    /// Where people sign in, by `binding`.
    pub fn sign_on_by(&self, binding: Binding) -> Option<&Endpoint> {
        self.sign_on.iter().find(|e| e.binding == binding)
    }
}

/// The earliest `validUntil` of the role and of what it stands in.
fn valid_until(role: Node<'_>) -> Result<Option<Timestamp>, String> {
    let mut earliest = None;
    for node in std::iter::successors(Some(role), |n| n.parent()) {
        if let Some(text) = node.attribute("validUntil") {
            let until = instant::parse(text).ok_or_else(|| format!("validUntil {text:?} is no UTC time"))?;
            earliest = Some(earliest.map_or(until, |e: Timestamp| e.min(until)));
        }
    }
    Ok(earliest)
}

/// The keys for signing: those of no stated use are for it too (SAML Metadata §2.4.1.1).
fn keys(role: Node<'_>) -> Result<TrustedKeys, String> {
    let mut certificates = Vec::new();
    for descriptor in role.all(Space::Metadata, "KeyDescriptor") {
        match descriptor.attribute("use") {
            None | Some("signing") => {}
            Some("encryption") => continue,
            Some(other) => return Err(format!("a KeyDescriptor for {other:?}")),
        }
        let infos = descriptor.all(Space::Signature, "KeyInfo");
        let data = infos.flat_map(|i| i.all(Space::Signature, "X509Data"));
        // One certificate a key: further ones in an X509Data are a chain, which pins nothing.
        for certificate in data.filter_map(|d| d.all(Space::Signature, "X509Certificate").next()) {
            let text: String = certificate.text().split_ascii_whitespace().collect();
            certificates.push(STANDARD.decode(text).map_err(|e| format!("a certificate is not base64: {e}"))?);
        }
    }
    if certificates.is_empty() {
        return Err("names no certificate for signing: nothing of this IdP could ever be verified".to_owned());
    }
    let keys = TrustedKeys::of(certificates.iter().map(Vec::as_slice));
    keys.map_err(|why| format!("a certificate for signing: {why}"))
}

fn endpoints(role: Node<'_>, name: &str) -> Result<Vec<Endpoint>, String> {
    let mut all = Vec::new();
    for node in role.all(Space::Metadata, name) {
        let stated = node.attribute("Binding");
        let binding = [Binding::Redirect, Binding::Post].into_iter().find(|b| Some(b.uri()) == stated);
        let Some(binding) = binding else { continue };
        let location = node.attribute("Location").unwrap_or_default();
        let response = node.attribute("ResponseLocation");
        for address in [Some(location), response].into_iter().flatten() {
            if !is_address(address) {
                return Err(format!("{name}: {address:?} is neither an https URL nor http on a loopback address"));
            }
        }
        all.push(Endpoint { binding, location: location.to_owned(), response_location: response.map(str::to_owned) });
    }
    Ok(all)
}

fn is_address(text: &str) -> bool {
    let plain = text.bytes().all(|b| b.is_ascii_graphic() && !b"\"'<>\\^`{|}#".contains(&b));
    let host = |rest: &str| rest.split(['/', '?']).next().unwrap_or_default().to_owned();
    let loopback = |host: &str| {
        let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
        matches!(name.map_or(host, |(name, _)| name), "localhost" | "127.0.0.1" | "[::1]")
    };
    plain
        && match text.split_once("://") {
            Some(("https", rest)) => !host(rest).is_empty() && !host(rest).contains('@'),
            Some(("http", rest)) => loopback(&host(rest)),
            _ => false,
        }
}
