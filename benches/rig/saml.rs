//! An app that signs its own SAML assertions (RFC 7522).
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use portcullis::{
    clock::Timestamp,
    saml::{instant, request::new_id, sign::SigningKey, write::Xml},
};

pub const GRANT: &str = "urn:ietf:params:oauth:grant-type:saml2-bearer";
const ASSERTION: &str = "urn:oasis:names:tc:SAML:2.0:assertion";

/// Signs with RSA-2048.
pub struct Signer {
    app: &'static str,
    issuer: &'static str,
    key: SigningKey,
    pub certificate: Vec<u8>,
}

impl Signer {
    /// For the app of this `client_id` at the authorization server `issuer`.
    pub fn new(app: &'static str, issuer: &'static str) -> Self {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).expect("a key");
        let made = rcgen::CertificateParams::new(vec![app.to_owned()]).expect("names").self_signed(&pair);
        let certificate = made.expect("a certificate").der().to_vec();
        let key = SigningKey::from_pkcs8(&pair.serialize_der()).expect("a key");
        Self { app, issuer, key, certificate }
    }

    /// The certificate in PEM.
    #[allow(dead_code)] // one of the two benchmarks writes no file
    pub fn pem(&self) -> String {
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(&self.certificate))
    }

    /// About 5 KB, as an IdP with some attributes sends it.
    pub fn assertion(&self, subject: &str, now: Timestamp) -> String {
        let (id, issued, until) = (new_id(), instant::text(now), instant::text(now.plus(3_000)));
        let recipient = format!("{}/oauth2/token", self.issuer);
        let head = [
            ("xmlns:saml", Some(ASSERTION)),
            ("ID", Some(id.as_str())),
            ("IssueInstant", Some(issued.as_str())),
            ("Version", Some("2.0")),
        ];
        let data = [("NotOnOrAfter", Some(until.as_str())), ("Recipient", Some(recipient.as_str()))];
        let bearer = [("Method", Some("urn:oasis:names:tc:SAML:2.0:cm:bearer"))];
        let xml = Xml::default().open("saml:Assertion", &head).leaf("saml:Issuer", &[], self.app);
        let xml = xml.open("saml:Subject", &[]).leaf("saml:NameID", &[], subject);
        let xml = xml.open("saml:SubjectConfirmation", &bearer).leaf("saml:SubjectConfirmationData", &data, "");
        let xml = xml.close("saml:SubjectConfirmation").close("saml:Subject");
        let xml = xml.open("saml:Conditions", &[("NotOnOrAfter", Some(until.as_str()))]);
        let xml = xml.open("saml:AudienceRestriction", &[]).leaf("saml:Audience", &[], self.issuer);
        let mut xml =
            xml.close("saml:AudienceRestriction").close("saml:Conditions").open("saml:AttributeStatement", &[]);
        for n in 0..12 {
            let name = format!("urn:oid:1.3.6.1.4.1.5923.1.1.1.{n}");
            xml = xml.open("saml:Attribute", &[("Name", Some(&name))]);
            xml = xml.leaf("saml:AttributeValue", &[], "cn=a group,ou=groups,dc=corp,dc=example");
            xml = xml.close("saml:Attribute");
        }
        let text = xml.close("saml:AttributeStatement").close("saml:Assertion").finish();
        self.key.envelop(&text, &id, Some(&self.certificate))
    }

    /// The same as the `assertion` parameter takes it (RFC 7522 §2.1).
    pub fn parameter(&self, subject: &str, now: Timestamp) -> String {
        URL_SAFE_NO_PAD.encode(self.assertion(subject, now))
    }
}
