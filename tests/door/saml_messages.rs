//! An IdP in a few lines: messages as a good one sends them, for others to spoil.
use portcullis::{
    clock::Timestamp,
    saml::{TrustedKeys, instant, sign::SigningKey, write::Xml},
};
use std::sync::LazyLock;

/// The time in all of these tests.
pub const NOW: Timestamp = Timestamp(1_780_000_000);
pub const ACS: &str = "https://sp.example/saml/acs";
pub const AUDIENCE: &str = "https://sp.example";
pub const ASSERTION: &str = "urn:oasis:names:tc:SAML:2.0:assertion";
pub const PROTOCOL: &str = "urn:oasis:names:tc:SAML:2.0:protocol";
pub const BEARER: &str = "urn:oasis:names:tc:SAML:2.0:cm:bearer";
pub const SUCCESS: &str = "urn:oasis:names:tc:SAML:2.0:status:Success";

pub struct Idp {
    pub key: SigningKey,
    pub certificate: Vec<u8>,
    pub pkcs8: Vec<u8>,
}

pub static RSA: LazyLock<Idp> = LazyLock::new(|| Idp::with(&rcgen::PKCS_RSA_SHA256));
pub static OTHER: LazyLock<Idp> = LazyLock::new(|| Idp::with(&rcgen::PKCS_RSA_SHA256));
pub static P256: LazyLock<Idp> = LazyLock::new(|| Idp::with(&rcgen::PKCS_ECDSA_P256_SHA256));

impl Idp {
    fn with(algorithm: &'static rcgen::SignatureAlgorithm) -> Self {
        let pair = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["idp".to_owned()]).unwrap().self_signed(&pair).unwrap();
        let pkcs8 = pair.serialize_der();
        let key = SigningKey::from_pkcs8(&pkcs8).unwrap();
        Self { key, certificate: certificate.der().to_vec(), pkcs8 }
    }

    pub fn trusted(&self) -> TrustedKeys {
        TrustedKeys::of([self.certificate.as_slice()]).unwrap()
    }

    pub fn sign(&self, canonical: &str, id: &str) -> String {
        self.key.envelop(canonical, id, Some(&self.certificate))
    }
}

/// Which elements an IdP signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signs {
    Assertion,
    Response,
    Both,
}

/// What a message says; a test changes what it is about.
#[derive(Clone)]
pub struct Says {
    pub issuer: String,
    pub response_id: String,
    pub assertion_id: String,
    pub name_id: String,
    pub in_response_to: Option<String>,
    pub destination: Option<String>,
    pub recipient: Option<String>,
    pub audiences: Vec<String>,
    pub status: String,
    pub not_before: Option<Timestamp>,
    pub not_on_or_after: Option<Timestamp>,
    pub confirmation_not_before: Option<Timestamp>,
    pub confirmation_not_on_or_after: Option<Timestamp>,
    pub session_not_on_or_after: Option<Timestamp>,
    pub method: String,
    pub more_conditions: String,
    pub attributes: Vec<(String, Vec<String>)>,
    pub class: String,
    pub issued: Timestamp,
}

impl Default for Says {
    fn default() -> Self {
        let text = |t: &str| t.to_owned();
        Self {
            issuer: text("https://idp.example"),
            response_id: text("_r1"),
            assertion_id: text("_a1"),
            name_id: text("alice@corp.example"),
            in_response_to: Some(text("_q1")),
            destination: Some(text(ACS)),
            recipient: Some(text(ACS)),
            audiences: vec![text(AUDIENCE)],
            status: text(SUCCESS),
            not_before: Some(NOW.plus(-60)),
            not_on_or_after: Some(NOW.plus(300)),
            confirmation_not_before: None,
            confirmation_not_on_or_after: Some(NOW.plus(300)),
            session_not_on_or_after: Some(NOW.plus(3600)),
            method: text(BEARER),
            more_conditions: String::new(),
            attributes: vec![(text("groups"), vec![text("sales"), text("R&D <all>")])],
            class: text("urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport"),
            issued: NOW,
        }
    }
}

impl Says {
    /// The assertion, in canonical form.
    pub fn assertion(&self) -> String {
        let time = |t: Option<Timestamp>| t.map(instant::text);
        let now = instant::text(self.issued);
        let declared = [("xmlns:saml", Some(ASSERTION))];
        let xml = Xml::default().open(
            "saml:Assertion",
            &[declared[0], ("ID", Some(&self.assertion_id)), ("IssueInstant", Some(&now)), ("Version", Some("2.0"))],
        );
        let xml = xml.leaf("saml:Issuer", &[], &self.issuer).open("saml:Subject", &[]);
        let format = Some("urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress");
        let xml = xml.leaf("saml:NameID", &[("Format", format)], &self.name_id);
        let xml = xml.open("saml:SubjectConfirmation", &[("Method", Some(&self.method))]);
        let data = [
            ("InResponseTo", self.in_response_to.clone()),
            ("NotBefore", time(self.confirmation_not_before)),
            ("NotOnOrAfter", time(self.confirmation_not_on_or_after)),
            ("Recipient", self.recipient.clone()),
        ];
        let data: Vec<_> = data.iter().map(|(name, value)| (*name, value.as_deref())).collect();
        let xml = xml.leaf("saml:SubjectConfirmationData", &data, "").close("saml:SubjectConfirmation");
        let (begins, ends) = (time(self.not_before), time(self.not_on_or_after));
        let when = [("NotBefore", begins.as_deref()), ("NotOnOrAfter", ends.as_deref())];
        let mut xml = xml.close("saml:Subject").open("saml:Conditions", &when);
        for audience in &self.audiences {
            xml = xml.open("saml:AudienceRestriction", &[]).leaf("saml:Audience", &[], audience);
            xml = xml.close("saml:AudienceRestriction");
        }
        let xml = xml.text("@conditions@").close("saml:Conditions");
        let until = time(self.session_not_on_or_after);
        let statement = [
            ("AuthnInstant", Some(now.as_str())),
            ("SessionIndex", Some("_s1")),
            ("SessionNotOnOrAfter", until.as_deref()),
        ];
        let xml = xml.open("saml:AuthnStatement", &statement).open("saml:AuthnContext", &[]);
        let xml = xml.leaf("saml:AuthnContextClassRef", &[], &self.class).close("saml:AuthnContext");
        let mut xml = xml.close("saml:AuthnStatement").open("saml:AttributeStatement", &[]);
        for (name, values) in &self.attributes {
            xml = xml.open("saml:Attribute", &[("Name", Some(name))]);
            xml = values.iter().fold(xml, |xml, value| xml.leaf("saml:AttributeValue", &[], value));
            xml = xml.close("saml:Attribute");
        }
        let xml = xml.close("saml:AttributeStatement").close("saml:Assertion");
        xml.finish().replace("@conditions@", &self.more_conditions)
    }

    /// The Response around `assertion`, in canonical form.
    pub fn response(&self, assertion: &str) -> String {
        let now = instant::text(self.issued);
        let xml = Xml::default().open(
            "samlp:Response",
            &[
                ("xmlns:samlp", Some(PROTOCOL)),
                ("Destination", self.destination.as_deref()),
                ("ID", Some(&self.response_id)),
                ("InResponseTo", self.in_response_to.as_deref()),
                ("IssueInstant", Some(&now)),
                ("Version", Some("2.0")),
            ],
        );
        let xml = xml.leaf("saml:Issuer", &[("xmlns:saml", Some(ASSERTION))], &self.issuer);
        let xml = xml.open("samlp:Status", &[]).leaf("samlp:StatusCode", &[("Value", Some(&self.status))], "");
        xml.close("samlp:Status").text("@assertion@").close("samlp:Response").finish().replace("@assertion@", assertion)
    }

    /// The whole message, signed.
    pub fn signed(&self, idp: &Idp, signs: Signs) -> String {
        let assertion = self.assertion();
        let assertion = if signs == Signs::Response { assertion } else { idp.sign(&assertion, &self.assertion_id) };
        let response = self.response(&assertion);
        if signs == Signs::Assertion { response } else { sign_response(idp, &response, &self.response_id) }
    }
}

/// Signs a Response: behind its own issuer, which is the first.
pub fn sign_response(idp: &Idp, response: &str, id: &str) -> String {
    idp.sign(response, id)
}
