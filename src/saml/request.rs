//! Messages of ours: requests to sign on, logout messages, and the metadata that tells an IdP of us. All of them are
//! written in canonical form, ready to be signed.
use super::{assertion::NameId, instant, metadata::Binding, sign::SigningKey, write::Xml};
use crate::{clock::Timestamp, secret};
use base64::{Engine, engine::general_purpose::STANDARD};

const ASSERTION: &str = "urn:oasis:names:tc:SAML:2.0:assertion";
const PROTOCOL: &str = "urn:oasis:names:tc:SAML:2.0:protocol";
const METADATA: &str = "urn:oasis:names:tc:SAML:2.0:metadata";
const SIGNATURE: &str = "http://www.w3.org/2000/09/xmldsig#";

/// Bytes of randomness in an identifier; SAML asks for 128 bits, and likes 160 (SAML Core §1.3.4).
const ENTROPY: usize = 20;

/// A fresh identifier: an NCName of 160 random bits.
pub fn new_id() -> String {
    let bytes = secret::random::<ENTROPY>();
    bytes.iter().fold("_".to_owned(), |text, b| format!("{text}{b:02x}"))
}

/// The service provider that we are.
#[derive(Debug)]
pub struct ServiceProvider {
    /// Our `entityID`.
    pub entity: String,
    /// Where Responses come.
    pub acs: String,
    /// Where logout messages come.
    pub logout: String,
    /// The key that signs our messages.
    pub key: SigningKey,
    /// Its certificate, DER.
    pub certificate: Vec<u8>,
}

/// What is asked of an IdP.
#[derive(Clone, Copy, Debug, Default)]
pub struct SignOn<'a> {
    /// The person has to sign in anew.
    pub force: bool,
    /// The format that the name should have (SAML Core §8.3).
    pub name_format: Option<&'a str>,
    /// How the person has to sign in: one of these contexts, exactly (SAML Core §3.3.2.2.1); any where there is none.
    pub contexts: &'a [String],
}

impl ServiceProvider {
    /// An `AuthnRequest` (SAML Core §3.4.1), not signed.
    pub fn sign_on(&self, id: &str, destination: &str, asked: SignOn<'_>, now: Timestamp) -> String {
        let attributes = [
            ("xmlns:samlp", Some(PROTOCOL)),
            ("AssertionConsumerServiceURL", Some(self.acs.as_str())),
            ("Destination", Some(destination)),
            ("ForceAuthn", asked.force.then_some("true")),
            ("ID", Some(id)),
            ("IssueInstant", Some(&instant::text(now))),
            ("ProtocolBinding", Some(Binding::Post.uri())),
            ("Version", Some("2.0")),
        ];
        let xml = self.issuer(Xml::default().open("samlp:AuthnRequest", &attributes));
        let policy = [("AllowCreate", Some("true")), ("Format", asked.name_format)];
        let mut xml = xml.leaf("samlp:NameIDPolicy", &policy, "");
        if !asked.contexts.is_empty() {
            xml = xml.open("samlp:RequestedAuthnContext", &[("Comparison", Some("exact"))]);
            let declared = [("xmlns:saml", Some(ASSERTION))];
            let leaf = |xml: Xml, class: &String| xml.leaf("saml:AuthnContextClassRef", &declared, class);
            xml = asked.contexts.iter().fold(xml, leaf).close("samlp:RequestedAuthnContext");
        }
        xml.close("samlp:AuthnRequest").finish()
    }

    /// A `LogoutRequest` (SAML Core §3.7.1), not signed.
    pub fn logout_request(
        &self,
        id: &str,
        destination: &str,
        name: &NameId,
        session: Option<&str>,
        now: Timestamp,
    ) -> String {
        let xml = self.issuer(self.message("samlp:LogoutRequest", id, destination, None, now));
        let attributes = [
            ("xmlns:saml", Some(ASSERTION)),
            ("Format", name.format.as_deref()),
            ("NameQualifier", name.qualifier.as_deref()),
            ("SPNameQualifier", name.sp_qualifier.as_deref()),
        ];
        let xml = xml.leaf("saml:NameID", &attributes, &name.value);
        let xml = session.map_or(xml.clone(), |index| xml.leaf("samlp:SessionIndex", &[], index));
        xml.close("samlp:LogoutRequest").finish()
    }

    /// A `LogoutResponse` (SAML Core §3.7.2), not signed. Where nobody of that name is `known`, it says so.
    pub fn logout_response(&self, id: &str, destination: &str, request: &str, known: bool, now: Timestamp) -> String {
        let xml = self.issuer(self.message("samlp:LogoutResponse", id, destination, Some(request), now));
        let value = |name: &str| format!("urn:oasis:names:tc:SAML:2.0:status:{name}");
        let xml = xml.open("samlp:Status", &[]);
        let xml = if known {
            xml.leaf("samlp:StatusCode", &[("Value", Some(&value("Success")))], "")
        } else {
            let outer = xml.open("samlp:StatusCode", &[("Value", Some(&value("Responder")))]);
            let inner = outer.leaf("samlp:StatusCode", &[("Value", Some(&value("UnknownPrincipal")))], "");
            inner.close("samlp:StatusCode")
        };
        xml.close("samlp:Status").close("samlp:LogoutResponse").finish()
    }

    fn message(&self, name: &str, id: &str, destination: &str, answers: Option<&str>, now: Timestamp) -> Xml {
        let attributes = [
            ("xmlns:samlp", Some(PROTOCOL)),
            ("Destination", Some(destination)),
            ("ID", Some(id)),
            ("InResponseTo", answers),
            ("IssueInstant", Some(&instant::text(now))),
            ("Version", Some("2.0")),
        ];
        Xml::default().open(name, &attributes)
    }

    fn issuer(&self, xml: Xml) -> Xml {
        xml.leaf("saml:Issuer", &[("xmlns:saml", Some(ASSERTION))], &self.entity)
    }

    /// The same message with a signature in it, for a form.
    pub fn signed(&self, message: &str, id: &str) -> String {
        self.key.envelop(message, id, Some(&self.certificate))
    }

    /// Our own metadata (SAML Metadata §2.4.4), signed if asked for.
    pub fn metadata(&self, signed: bool) -> String {
        let id = new_id();
        let descriptor =
            [("xmlns:md", Some(METADATA)), ("ID", Some(id.as_str())), ("entityID", Some(self.entity.as_str()))];
        let role = [
            ("AuthnRequestsSigned", Some("true")),
            ("WantAssertionsSigned", Some("true")),
            ("protocolSupportEnumeration", Some(PROTOCOL)),
        ];
        let xml = Xml::default().open("md:EntityDescriptor", &descriptor).open("md:SPSSODescriptor", &role);
        let xml = xml.open("md:KeyDescriptor", &[("use", Some("signing"))]);
        let xml = xml.open("ds:KeyInfo", &[("xmlns:ds", Some(SIGNATURE))]).open("ds:X509Data", &[]);
        let xml = xml.leaf("ds:X509Certificate", &[], &STANDARD.encode(&self.certificate));
        let xml = xml.close("ds:X509Data").close("ds:KeyInfo").close("md:KeyDescriptor");
        let logout = |xml: Xml, binding: Binding| {
            let endpoint = [("Binding", Some(binding.uri())), ("Location", Some(self.logout.as_str()))];
            xml.leaf("md:SingleLogoutService", &endpoint, "")
        };
        let xml = logout(logout(xml, Binding::Redirect), Binding::Post);
        let consumer = [
            ("Binding", Some(Binding::Post.uri())),
            ("Location", Some(self.acs.as_str())),
            ("index", Some("0")),
            ("isDefault", Some("true")),
        ];
        let xml = xml.leaf("md:AssertionConsumerService", &consumer, "");
        let text = xml.close("md:SPSSODescriptor").close("md:EntityDescriptor").finish();
        if signed { self.signed(&text, &id) } else { text }
    }
}
