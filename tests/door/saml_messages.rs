//! An IdP in a few lines: messages as a good one sends them, for others to spoil.
use aws_lc_rs::{
    digest,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
        RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RsaEncoding, RsaKeyPair,
    },
};
use base64::{Engine, engine::general_purpose::STANDARD};
use portcullis::{
    clock::Timestamp,
    saml::{TrustedKeys, instant, request::new_id, sign::SigningKey, write::Xml},
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

/// What an IdP signs with: keys and algorithms that ours never sign with are among them.
enum Signer {
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
    Curve(EcdsaKeyPair, &'static digest::Algorithm),
}

pub struct Idp {
    pub certificate: Vec<u8>,
    pub pkcs8: Vec<u8>,
    /// `SignatureMethod`.
    pub method: &'static str,
    /// `DigestMethod`, and what it means.
    pub digest: (&'static str, &'static digest::Algorithm),
    signer: Signer,
}

const MORE: &str = "http://www.w3.org/2001/04/xmldsig-more#";
const SHA256: (&str, &digest::Algorithm) = ("http://www.w3.org/2001/04/xmlenc#sha256", &digest::SHA256);
const SHA384: (&str, &digest::Algorithm) = ("http://www.w3.org/2001/04/xmldsig-more#sha384", &digest::SHA384);
const SHA512: (&str, &digest::Algorithm) = ("http://www.w3.org/2001/04/xmlenc#sha512", &digest::SHA512);

pub static RSA: LazyLock<Idp> = LazyLock::new(|| Idp::rsa("http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"));
pub static OTHER: LazyLock<Idp> = LazyLock::new(|| Idp::rsa("http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"));
pub static RSA_384: LazyLock<Idp> = LazyLock::new(|| Idp::rsa("http://www.w3.org/2001/04/xmldsig-more#rsa-sha384"));
pub static RSA_512: LazyLock<Idp> = LazyLock::new(|| Idp::rsa("http://www.w3.org/2001/04/xmldsig-more#rsa-sha512"));
pub static P256: LazyLock<Idp> = LazyLock::new(|| {
    let method = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256";
    Idp::curve(&rcgen::PKCS_ECDSA_P256_SHA256, &ECDSA_P256_SHA256_FIXED_SIGNING, method, SHA256)
});
pub static P384: LazyLock<Idp> = LazyLock::new(|| {
    let method = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384";
    Idp::curve(&rcgen::PKCS_ECDSA_P384_SHA384, &ECDSA_P384_SHA384_FIXED_SIGNING, method, SHA384)
});
/// Signs with SHA-256 whatever its key is, as some do.
pub static P384_256: LazyLock<Idp> = LazyLock::new(|| {
    let method = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256";
    Idp::curve(&rcgen::PKCS_ECDSA_P384_SHA384, &ECDSA_P384_SHA384_FIXED_SIGNING, method, SHA256)
});
pub static P256_512: LazyLock<Idp> = LazyLock::new(|| {
    let method = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha512";
    Idp::curve(&rcgen::PKCS_ECDSA_P256_SHA256, &ECDSA_P256_SHA256_FIXED_SIGNING, method, SHA512)
});

/// The text from `open` to the end of `close`, first occurrence.
pub fn part<'a>(text: &'a str, open: &str, close: &str) -> &'a str {
    let from = text.find(open).unwrap();
    let to = from + text[from..].find(close).unwrap() + close.len();
    &text[from..to]
}

impl Idp {
    fn rsa(method: &'static str) -> Self {
        let (encoding, digest): (&'static dyn RsaEncoding, _) = match method.strip_prefix(MORE).unwrap() {
            "rsa-sha256" => (&RSA_PKCS1_SHA256, SHA256),
            "rsa-sha384" => (&RSA_PKCS1_SHA384, SHA384),
            _ => (&RSA_PKCS1_SHA512, SHA512),
        };
        let (certificate, pkcs8) = Self::certified(&rcgen::PKCS_RSA_SHA256);
        let signer = Signer::Rsa(RsaKeyPair::from_pkcs8(&pkcs8).unwrap(), encoding);
        Self { certificate, pkcs8, method, digest, signer }
    }

    fn curve(
        kind: &'static rcgen::SignatureAlgorithm,
        signing: &'static EcdsaSigningAlgorithm,
        method: &'static str,
        digest: (&'static str, &'static digest::Algorithm),
    ) -> Self {
        let (certificate, pkcs8) = Self::certified(kind);
        let own = if *signing == ECDSA_P256_SHA256_FIXED_SIGNING { SHA256.1 } else { SHA384.1 };
        let signer = Signer::Curve(EcdsaKeyPair::from_pkcs8(signing, &pkcs8).unwrap(), own);
        Self { certificate, pkcs8, method, digest, signer }
    }

    fn certified(algorithm: &'static rcgen::SignatureAlgorithm) -> (Vec<u8>, Vec<u8>) {
        let pair = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["idp".to_owned()]).unwrap().self_signed(&pair).unwrap();
        (certificate.der().to_vec(), pair.serialize_der())
    }

    pub fn trusted(&self) -> TrustedKeys {
        TrustedKeys::of([self.certificate.as_slice()]).unwrap()
    }

    /// A signature over bytes.
    pub fn over(&self, bytes: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.signer {
            Signer::Rsa(key, encoding) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(*encoding, &random, bytes, &mut signature).unwrap();
                signature
            }
            Signer::Curve(key, own) => {
                // Any curve goes with any digest: what is longer than its own is cut, and nought stands before what is
                // shorter (SEC 1 §4.1.3).
                let (digest, length) = (digest::digest(self.digest.1, bytes), own.output_len());
                let cut = &digest.as_ref()[..length.min(self.digest.1.output_len())];
                let fitting = [&vec![0; length - cut.len()], cut].concat();
                let fitting = digest::Digest::import_less_safe(&fitting, own).unwrap();
                key.sign_digest(&fitting).unwrap().as_ref().to_vec()
            }
        }
    }

    /// The digest of a text, in base64.
    pub fn digest_of(&self, text: &str) -> String {
        STANDARD.encode(digest::digest(self.digest.1, text.as_bytes()))
    }

    /// Signs `canonical`, which has this identifier: as the program does itself where it has such keys.
    pub fn sign(&self, canonical: &str, id: &str) -> String {
        match SigningKey::from_pkcs8(&self.pkcs8) {
            Ok(own) if own.algorithm() == self.method => own.envelop(canonical, id, Some(&self.certificate)),
            _ => self.resign(canonical, id, |info| info),
        }
    }

    /// Signs `canonical` with a `SignedInfo` that `change` changed before it was signed: the signature is good, what it
    /// says need not be.
    pub fn resign(&self, canonical: &str, id: &str, change: impl Fn(String) -> String) -> String {
        let ours = SigningKey::from_pkcs8(&P256.pkcs8).unwrap();
        let framed = ours.envelop(canonical, id, Some(&self.certificate));
        let info = part(&framed, "<ds:SignedInfo", "</ds:SignedInfo>").to_owned();
        let declared = format!(
            "<ds:SignedInfo xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\"{}",
            &info["<ds:SignedInfo".len()..]
        );
        let declared = declared.replace(ours.algorithm(), self.method).replace(SHA256.0, self.digest.0);
        let changed = change(declared.replace(&P256.digest_of(canonical), &self.digest_of(canonical)));
        let value = STANDARD.encode(self.over(changed.as_bytes()));
        let old = part(&framed, "<ds:SignatureValue>", "</ds:SignatureValue>").to_owned();
        // In the message it inherits the prefix, as in canonical form.
        let inner = changed.replacen(" xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\"", "", 1);
        framed.replacen(&info, &inner, 1).replacen(&old, &format!("<ds:SignatureValue>{value}</ds:SignatureValue>"), 1)
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
    /// What an assertion of `issuer` about `subject` says to the token endpoint of `server` at `now`.
    pub fn for_token(issuer: &str, subject: &str, server: &str, now: Timestamp) -> Self {
        let token = format!("{server}/oauth2/token");
        Self {
            issuer: issuer.to_owned(),
            name_id: subject.to_owned(),
            assertion_id: new_id(),
            response_id: new_id(),
            in_response_to: None,
            recipient: Some(token.clone()),
            destination: Some(token),
            audiences: vec![server.to_owned()],
            not_before: Some(now.plus(-10)),
            not_on_or_after: Some(now.plus(200)),
            confirmation_not_on_or_after: Some(now.plus(200)),
            session_not_on_or_after: None,
            issued: now,
            ..Self::default()
        }
    }

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
