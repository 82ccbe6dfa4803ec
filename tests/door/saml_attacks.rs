//! An attack generator over every valid message: each mutant has to be refused and each unmutated twin accepted (S50,
//! S51, S63, S64, S65).
use crate::{
    saml_messages::{Idp, NOW, OTHER, P256, RSA, Says, Signs},
    saml_verify::{pem, verify},
};
use aws_lc_rs::{digest, hmac};
use base64::{Engine, engine::general_purpose::STANDARD};
use portcullis::saml::{Kind, Refusal, instant, read};
use proptest::prelude::*;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// A valid message, and what is needed to spoil it.
struct Valid<'a> {
    idp: &'a Idp,
    says: Says,
    signs: Signs,
    message: String,
}

type Mutants = Vec<(String, String)>;

/// The text from `open` to the end of `close`, first occurrence.
fn part<'a>(text: &'a str, open: &str, close: &str) -> &'a str {
    let from = text.find(open).unwrap();
    let to = from + text[from..].find(close).unwrap() + close.len();
    &text[from..to]
}

fn assertion(text: &str) -> &str {
    part(text, "<saml:Assertion", "</saml:Assertion>")
}

fn signature(text: &str) -> &str {
    part(text, "<ds:Signature ", "</ds:Signature>")
}

/// Another identity, under another identifier or the same one.
fn evil(text: &str, fresh: bool) -> String {
    let text = text.replace("alice@", "admin@");
    if fresh { text.replace("_a1", "_evil").replace("_r1", "_evil_r") } else { text }
}

/// Signs `element` with a `SignedInfo` that was changed before it was signed: the signature is good, what it says is not.
fn resign(idp: &Idp, element: &str, id: &str, change: impl Fn(String) -> String) -> String {
    let signed = idp.sign(element, id);
    let info = part(&signed, "<ds:SignedInfo", "</ds:SignedInfo>").to_owned();
    let declared =
        format!("<ds:SignedInfo xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\"{}", &info["<ds:SignedInfo".len()..]);
    let changed = change(declared);
    let value = STANDARD.encode(idp.key.sign(changed.as_bytes()));
    let old = part(&signed, "<ds:SignatureValue>", "</ds:SignatureValue>").to_owned();
    signed.replacen(&info, &changed, 1).replacen(&old, &format!("<ds:SignatureValue>{value}</ds:SignatureValue>"), 1)
}

impl<'a> Valid<'a> {
    fn new(idp: &'a Idp, signs: Signs) -> Self {
        let says = Says::default();
        let message = says.signed(idp, signs);
        Self { idp, says, signs, message }
    }

    fn swap(&self, from: &str, to: &str) -> String {
        assert!(self.message.contains(from), "{from} is there to be changed");
        self.message.replacen(from, to, 1)
    }

    /// The eight families of signature wrapping (Somorovsky et al., 2012).
    fn wrapped(&self) -> Mutants {
        let message = &self.message;
        let mut all = Vec::new();
        for fresh in [true, false] {
            let name = |n: u8| format!("XSW{n}{}", if fresh { "" } else { " same id" });
            let (signed, sealed) = (assertion(message), signature(message));
            let bare = signed.replace(sealed, "");
            let stripped = message.replace(sealed, "");
            let forged = evil(&bare, fresh);
            let spoilt = evil(message, fresh);
            // 1 and 2: the signed Response inside or before the signature of a forged one.
            let inner = sealed.replace("</ds:Signature>", &format!("{stripped}</ds:Signature>"));
            let root = evil(&stripped, fresh);
            all.push((name(1), root.replacen("</saml:Issuer>", &format!("</saml:Issuer>{inner}"), 1)));
            all.push((name(2), root.replacen("</saml:Issuer>", &format!("</saml:Issuer>{stripped}{sealed}"), 1)));
            // 3 and 4: a forged assertion before the signed one, or around it.
            all.push((name(3), message.replace(signed, &format!("{forged}{signed}"))));
            let around = forged.replace("</saml:Assertion>", &format!("{signed}</saml:Assertion>"));
            all.push((name(4), message.replace(signed, &around)));
            // 5 and 6: the signature on the forged one, what it signed at the end or inside of it.
            all.push((name(5), spoilt.replace("</samlp:Response>", &format!("{bare}</samlp:Response>"))));
            let swallowed = sealed.replace("</ds:Signature>", &format!("{bare}</ds:Signature>"));
            all.push((name(6), spoilt.replace(evil(sealed, fresh).as_str(), &swallowed)));
            // 7 and 8: forged ones in Extensions, what was signed in an Object.
            let extensions = format!("<samlp:Extensions>{forged}</samlp:Extensions>");
            all.push((name(7), message.replacen("<samlp:Status>", &format!("{extensions}<samlp:Status>"), 1)));
            let object = format!("<ds:Object>{bare}</ds:Object></ds:Signature>");
            all.push((name(8), spoilt.replacen("</ds:Signature>", &object, 1)));
        }
        all
    }

    /// Markup that parsers see differently, and XML that makes them do things.
    fn markup(&self) -> Mutants {
        let m = &self.message;
        let entity = |doctype: &str| format!("{doctype}{}", m.replace("alice@", "&e;@"));
        let laughs: String =
            (1..12).map(|i| format!("<!ENTITY e{i} '{}'>", format!("&e{};", i - 1).repeat(10))).collect();
        let many = |what: &str| (0..5_000).map(|i| format!(" {what}{i}=\"urn:x\"")).collect::<String>();
        let mut all: Mutants = [
            ("comment in NameID", m.replace("alice@corp", "alice@<!-- -->corp")),
            ("comment splits NameID", m.replace("alice@corp.example", "alice@corp.example<!---->.evil")),
            ("comment before the root", format!("<!-- -->{m}")),
            ("CDATA in NameID", m.replace("alice@corp.example", "<![CDATA[alice@corp.example]]>")),
            ("PI in NameID", m.replace("alice@corp", "alice@<?x?>corp")),
            ("element in NameID", m.replace("alice@corp", "alice@<x>corp</x>")),
            ("DOCTYPE", format!("<!DOCTYPE samlp:Response>{m}")),
            ("internal entity", entity("<!DOCTYPE r [<!ENTITY e 'admin'>]>")),
            ("file entity", entity("<!DOCTYPE r [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>")),
            ("http entity", entity("<!DOCTYPE r [<!ENTITY e SYSTEM 'http://127.0.0.1:1/'>]>")),
            ("external DTD", format!("<!DOCTYPE r SYSTEM 'http://127.0.0.1:1/x.dtd'>{m}")),
            ("billion laughs", entity(&format!("<!DOCTYPE r [<!ENTITY e0 'x'>{laughs}<!ENTITY e '&e11;'>]>"))),
            ("default attribute", format!("<!DOCTYPE r [<!ATTLIST saml:NameID Format CDATA 'x'>]>{m}")),
            ("undeclared entity", m.replace("alice@", "&e;@")),
            ("stylesheet", format!("<?xml-stylesheet href='http://127.0.0.1:1/'?>{m}")),
            ("two roots", format!("{m}{m}")),
            ("text behind", format!("{m}x")),
            ("another root", format!("<x>{m}</x>")),
            ("5,000 attributes", m.replacen("<saml:Subject>", &format!("<saml:Subject{}>", many("a")), 1)),
            ("5,000 namespaces", m.replacen("<saml:Subject>", &format!("<saml:Subject{}>", many("xmlns:a")), 1)),
            (
                "too deep",
                m.replacen(
                    "<samlp:Status>",
                    &format!("{}{}<samlp:Status>", "<x>".repeat(9_000), "</x>".repeat(9_000)),
                    1,
                ),
            ),
            ("too many", m.replacen("<samlp:Status>", &format!("{}<samlp:Status>", "<x/>".repeat(40_000)), 1)),
            ("too large", m.replacen("<samlp:Status>", &format!("{}<samlp:Status>", " ".repeat(4 << 20)), 1)),
            ("relative namespace", m.replacen("<samlp:Response ", "<samlp:Response xmlns:v=\"1\" ", 1)),
            ("other namespace", m.replacen(":tc:SAML:2.0:protocol", ":tc:SAML:2.1:protocol", 1)),
            ("SAML 1.1", m.replacen("Version=\"2.0\"", "Version=\"1.1\"", 2)),
            ("NUL", m.replace("alice@", "alice\0@")),
            ("xml:id", m.replacen("<samlp:Status>", "<samlp:Status xml:id=\"_a1\">", 1)),
            ("Id twice", m.replacen("<samlp:Status>", "<samlp:Status Id=\"_a1\">", 1)),
            ("id twice", m.replacen("<samlp:Status>", "<samlp:Status id=\"_r1\">", 1)),
            ("ID twice", m.replacen("<samlp:Status>", "<samlp:Status ID=\"_a1\">", 1)),
            (
                "EncryptedAssertion",
                m.replacen(
                    "<samlp:Status>",
                    &format!(
                        "<saml:EncryptedAssertion xmlns:saml=\"{}\"/><samlp:Status>",
                        crate::saml_messages::ASSERTION
                    ),
                    1,
                ),
            ),
        ]
        .into_iter()
        .map(|(name, text)| (name.to_owned(), text))
        .collect();
        all.extend((1..m.len()).step_by(211).map(|at| (format!("cut at {at}"), m[..at].to_owned())));
        all
    }

    /// Signatures that are not what they seem.
    fn signatures(&self) -> Mutants {
        let m = &self.message;
        let sealed = signature(m);
        let rsa256 = self.idp.key.algorithm();
        let more = "http://www.w3.org/2001/04/xmldsig-more#";
        let exclusive = "http://www.w3.org/2001/10/xml-exc-c14n#";
        let value = part(m, "<ds:SignatureValue>", "</ds:SignatureValue>");
        let key_info = |inside: &str| m.replacen("<ds:X509Data>", &format!("{inside}<ds:X509Data>"), 1);
        let mut all: Mutants = [
            ("no signature", m.replace("<ds:Signature ", "<x xmlns=\"urn:x\"/><!--").replace("</ds:Signature>", "-->")),
            ("stripped", {
                let mut m = m.clone();
                while m.contains("<ds:Signature ") {
                    m = m.replace(signature(&m).to_owned().as_str(), "");
                }
                m
            }),
            ("empty value", m.replace(value, "<ds:SignatureValue></ds:SignatureValue>")),
            (
                "zero value",
                m.replace(value, &format!("<ds:SignatureValue>{}</ds:SignatureValue>", STANDARD.encode([0; 64]))),
            ),
            (
                "two signatures",
                m.replacen(sealed, &format!("{sealed}{}", sealed.replace("Signature ", "Signature Id=\"x\" ")), 1),
            ),
            (
                "signature at the end",
                m.replacen(sealed, "", 1).replace("</samlp:Response>", &format!("{sealed}</samlp:Response>")),
            ),
            (
                "signature in Subject",
                m.replacen(sealed, "", 1).replacen("<saml:Subject>", &format!("<saml:Subject>{sealed}"), 1),
            ),
            (
                "signature before Issuer",
                m.replacen(sealed, "", 1).replacen("<saml:Issuer", &format!("{sealed}<saml:Issuer"), 1),
            ),
            (
                "SignedInfo outside",
                m.replacen(
                    "<samlp:Status>",
                    "<ds:SignedInfo xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\"/><samlp:Status>",
                    1,
                ),
            ),
            ("HMAC named", m.replacen(rsa256, &format!("{more}hmac-sha256"), 1)),
            ("SHA-1 named", m.replacen(rsa256, "http://www.w3.org/2000/09/xmldsig#rsa-sha1", 1)),
            (
                "another family named",
                m.replacen(
                    rsa256,
                    &format!("{more}{}", if rsa256.contains("rsa") { "ecdsa-sha256" } else { "rsa-sha256" }),
                    1,
                ),
            ),
            ("SHA-512 named", m.replacen(rsa256, &rsa256.replace("sha256", "sha512"), 1)),
            ("RetrievalMethod http", key_info("<ds:RetrievalMethod URI=\"http://127.0.0.1:1/\"/>")),
            ("RetrievalMethod file", key_info("<ds:RetrievalMethod URI=\"file:///etc/passwd\"/>")),
            (
                "KeyInfoReference",
                key_info("<r:KeyInfoReference xmlns:r=\"http://www.w3.org/2009/xmldsig11#\" URI=\"#_a1\"/>"),
            ),
            ("EncryptedKey", key_info("<e:EncryptedKey xmlns:e=\"http://www.w3.org/2001/04/xmlenc#\"/>")),
            ("Object", m.replacen("</ds:Signature>", "<ds:Object/></ds:Signature>", 1)),
            ("Manifest", m.replacen("</ds:Signature>", "<ds:Object><ds:Manifest/></ds:Object></ds:Signature>", 1)),
            ("foreign key", self.says.signed(&OTHER, self.signs)),
            ("foreign key, our certificate", {
                let mut m = self.says.signed(&OTHER, self.signs);
                m = m.replace(&STANDARD.encode(&OTHER.certificate), &STANDARD.encode(&self.idp.certificate));
                m
            }),
        ]
        .into_iter()
        .map(|(name, text)| (name.to_owned(), text))
        .collect();
        // From here the trusted key itself signed what it never should have.
        let enveloped =
            "<ds:Transform Algorithm=\"http://www.w3.org/2000/09/xmldsig#enveloped-signature\"></ds:Transform>";
        let canonical = format!("<ds:Transform Algorithm=\"{exclusive}\"></ds:Transform>");
        let sha256 = "http://www.w3.org/2001/04/xmlenc#sha256";
        let (response, whole) = (self.says.response(&self.says.assertion()), digest_of);
        let sha1 = STANDARD.encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, response.as_bytes()));
        let void = STANDARD.encode(digest::digest(&digest::SHA256, b""));
        let mut signed = |name: &str, change: &dyn Fn(String) -> String| {
            all.push((format!("well signed: {name}"), resign(self.idp, &response, "_r1", change)));
        };
        let reference = |i: &String| part(i, "<ds:Reference", "</ds:Reference>").to_owned();
        signed("SHA-1 digest", &|i| {
            i.replace(sha256, "http://www.w3.org/2000/09/xmldsig#sha1").replace(&whole(&response), &sha1)
        });
        signed("void digest", &|i| i.replace(&whole(&response), &void));
        signed("inclusive c14n", &|i| i.replace(exclusive, "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"));
        signed("c14n with comments", &|i| i.replace(exclusive, "http://www.w3.org/2001/10/xml-exc-c14n#WithComments"));
        signed("HMACOutputLength", &|i| {
            i.replace(&format!("\"{rsa256}\">"), &format!("\"{rsa256}\"><ds:HMACOutputLength>0</ds:HMACOutputLength>"))
        });
        signed("no transform", &|i| i.replace(enveloped, "").replace(&canonical, ""));
        signed("no enveloped transform", &|i| i.replace(enveloped, ""));
        signed("no c14n transform", &|i| i.replace(&canonical, ""));
        signed("transforms swapped", &|i| {
            i.replace(&format!("{enveloped}{canonical}"), &format!("{canonical}{enveloped}"))
        });
        for (name, uri) in [
            ("XPath", "http://www.w3.org/TR/1999/REC-xpath-19991116"),
            ("XSLT", "http://www.w3.org/TR/1999/REC-xslt-19991116"),
            ("XPath filter", "http://www.w3.org/2002/06/xmldsig-filter2"),
            ("base64", "http://www.w3.org/2000/09/xmldsig#base64"),
        ] {
            let transform = format!("<ds:Transform Algorithm=\"{uri}\"></ds:Transform>");
            signed(&format!("{name} instead"), &|i| i.replace(enveloped, &transform));
            signed(&format!("{name} beside"), &|i| i.replace(&canonical, &format!("{transform}{canonical}")));
        }
        for uri in [
            "",
            "#",
            "#_a1",
            "#xpointer(/)",
            "#xpointer(id('_r1'))",
            "http://127.0.0.1:1/",
            "file:///etc/passwd",
            "Cargo.toml",
            "cid:x",
            "_r1",
        ] {
            signed(&format!("reference to {uri:?}"), &|i| i.replace("URI=\"#_r1\"", &format!("URI=\"{uri}\"")));
            signed(&format!("one more reference to {uri:?}"), &|i| {
                let own = reference(&i);
                i.replace(&own, &format!("{own}{}", own.replace("URI=\"#_r1\"", &format!("URI=\"{uri}\""))))
            });
        }
        signed("no URI", &|i| i.replace(" URI=\"#_r1\"", ""));
        signed("no reference", &|i| i.replace(&reference(&i), ""));
        signed("2,000 references", &|i| {
            let own = reference(&i);
            i.replace(&own, &own.repeat(2_000))
        });
        signed("reference with Type", &|i| {
            i.replace("<ds:Reference ", "<ds:Reference Type=\"http://www.w3.org/2000/09/xmldsig#Manifest\" ")
        });
        // HMAC, with the public key that everybody knows as its secret.
        let spki = STANDARD.decode(spki(self.idp)).unwrap();
        for secret in [spki.as_slice(), &self.idp.certificate, pem("CERTIFICATE", &self.idp.certificate).as_bytes()] {
            let named = resign(self.idp, &response, "_r1", |i| i.replace(rsa256, &format!("{more}hmac-sha256")));
            let info = part(&named, "<ds:SignedInfo", "</ds:SignedInfo>");
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), info.as_bytes());
            let old = part(&named, "<ds:SignatureValue>", "</ds:SignatureValue>");
            let new = format!("<ds:SignatureValue>{}</ds:SignatureValue>", STANDARD.encode(tag));
            all.push(("HMAC with the public key".to_owned(), named.replace(old, &new)));
        }
        all
    }

    /// Other times, audiences, recipients, names under the same signature.
    fn said(&self) -> Mutants {
        let time = |seconds: i64| instant::text(NOW.plus(seconds));
        let mut all: Mutants = [
            ("NotOnOrAfter", self.message.replace(&time(300), &time(30_000))),
            ("NotBefore", self.message.replace(&time(-60), &time(-6_000))),
            ("SessionNotOnOrAfter", self.message.replace(&time(3600), &time(360_000))),
            ("audience", self.message.replace("Audience>https://sp.", "Audience>https://xx.")),
            ("name", self.swap("alice@corp", "admin@corp")),
            ("a space in the name", self.swap("alice@corp", "alice @corp")),
            ("group", self.swap(">sales<", ">admin<")),
            ("bearer", self.swap(":cm:bearer", ":cm:sender-vouches")),
            ("assertion issuer", {
                let (head, tail) = self.message.split_at(self.message.find("<saml:Assertion").unwrap());
                format!("{head}{}", tail.replacen("https://idp.", "https://xx.", 1))
            }),
            (
                "one more audience",
                self.swap(
                    "<saml:AudienceRestriction>",
                    "<saml:AudienceRestriction><saml:Audience>https://xx</saml:Audience>",
                ),
            ),
            (
                "condition removed",
                self.message
                    .replace(part(&self.message, "<saml:AudienceRestriction>", "</saml:AudienceRestriction>"), ""),
            ),
        ]
        .into_iter()
        .map(|(name, text)| (format!("said: {name}"), text))
        .collect();
        let recipient = self.message.rfind("Recipient=\"https").unwrap();
        let (head, tail) = self.message.split_at(recipient);
        all.push(("said: recipient".to_owned(), format!("{head}{}", tail.replacen("https://sp", "https://xx", 1))));
        all
    }
}

fn digest_of(text: &str) -> String {
    STANDARD.encode(digest::digest(&digest::SHA256, text.as_bytes()))
}

/// The public key of an IdP's certificate, base64 of its DER.
fn spki(idp: &Idp) -> String {
    let certificate = rustls_pki_types::CertificateDer::from(idp.certificate.as_slice());
    STANDARD.encode(webpki::EndEntityCert::try_from(&certificate).unwrap().subject_public_key_info())
}

#[test]
fn s50_s51_s64_s65_every_mutant_is_refused_and_every_twin_accepted() {
    let mut refusals: BTreeMap<String, usize> = BTreeMap::new();
    let mut slowest = (Duration::ZERO, String::new());
    for idp in [&*RSA, &*P256] {
        let trusted = idp.trusted();
        for signs in [Signs::Assertion, Signs::Response, Signs::Both] {
            let valid = Valid::new(idp, signs);
            verify(&valid.message, &trusted).expect("the unmutated twin");
            // The means of mutation by themselves change nothing.
            let twin = resign(idp, &valid.says.response(&valid.says.assertion()), "_r1", |info| info);
            verify(&twin, &trusted).expect("the resigned twin");
            // No key is known to the first look: what it refuses was refused before any cryptography (S64, S65).
            let shape = ["instead", "beside", "reference", "URI", "transform", "Retrieval", "KeyInfo", "c14n"];
            let (mut markup, mut signatures) = (valid.markup(), valid.signatures());
            markup.retain(|(name, _)| name != "SAML 1.1");
            signatures.retain(|(name, _)| shape.iter().any(|word| name.contains(word)));
            for (name, mutant) in [valid.wrapped(), markup, signatures].concat() {
                let looked_at = read(mutant.as_bytes(), Kind::Response);
                assert!(looked_at.is_err(), "{name} over {signs:?} reached the verifier");
            }
            for (name, mutant) in [valid.wrapped(), valid.markup(), valid.signatures(), valid.said()].concat() {
                let measured = (0..2).map(|_| {
                    let begun = Instant::now();
                    let outcome = verify(&mutant, &trusted);
                    (begun.elapsed(), outcome)
                });
                let (took, outcome) = measured.min_by_key(|(took, _)| *took).unwrap();
                let refused = match outcome {
                    Err(refused) => refused,
                    Ok(read) => panic!("{name} over {signs:?} was accepted: {read:?}"),
                };
                *refusals.entry(format!("{:?}", refused.refusal)).or_default() += 1;
                if took > slowest.0 {
                    slowest = (took, format!("{name} over {signs:?}"));
                }
            }
        }
    }
    println!("refused {}: {refusals:?}", refusals.values().sum::<usize>());
    println!("the slowest refusal took {:?}: {}", slowest.0, slowest.1);
    for expected in
        ["Doctype", "Comment", "Cdata", "Entity", "SurplusAssertion", "Identifier", "Reference", "Transform"]
    {
        assert!(refusals.contains_key(expected), "{expected} in {refusals:?}");
    }
}

#[test]
fn s64_bytes_that_are_no_utf8_are_refused_in_words() {
    let message = Valid::new(&RSA, Signs::Both).message;
    let utf16: Vec<u8> = message.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for bytes in [utf16.as_slice(), b"\xff\xfe", b"", &[0xc0, 0xaf]] {
        assert_eq!(read(bytes, Kind::Response).unwrap_err().refusal, Refusal::NotXml);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    /// Whatever is cut out of a message, doubled, or put elsewhere: it is refused, or it says what it said before.
    #[test]
    fn s50_no_edit_of_a_message_changes_what_it_says(
        (from, length, to) in (0usize..6000, 0usize..400, 0usize..6000),
        byte in any::<u8>(), how in 0u8..4, both in any::<bool>(),
    ) {
        let signs = if both { Signs::Both } else { Signs::Assertion };
        let valid = Says::default().signed(&P256, signs);
        let original = verify(&valid, &P256.trusted()).unwrap();
        let mut bytes = valid.into_bytes();
        let (from, to) = (from % bytes.len(), to % bytes.len());
        let end = (from + length).min(bytes.len());
        let piece = bytes[from..end].to_vec();
        match how {
            0 => bytes[from] = byte,
            1 => drop(bytes.splice(from..end, [])),
            2 => drop(bytes.splice(to..to, piece)),
            _ => drop(bytes.splice(from..end, bytes[to..(to + length).min(bytes.len())].to_vec())),
        }
        if let Ok(verified) = read(&bytes, Kind::Response).and_then(|m| m.verify(&P256.trusted())) {
            prop_assert_eq!(verified.assertion, original.assertion);
        }
    }
}
