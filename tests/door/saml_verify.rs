//! The one path from a SAML message to what it says: what passes it, and that nothing unsigned does.
use crate::saml_messages::{OTHER, P256, RSA, Says, Signs};
use portcullis::saml::{Kind, Refusal, Refused, TrustedKeys, Verified, read};

pub fn verify(message: &str, trusted: &TrustedKeys) -> Result<Verified, Refused> {
    read(message.as_bytes(), Kind::Response)?.verify(trusted)
}

#[test]
fn s50_what_is_signed_is_read_and_only_that() {
    let says = Says::default();
    for idp in [&*RSA, &*P256] {
        for signs in [Signs::Assertion, Signs::Response, Signs::Both] {
            let message = says.signed(idp, signs);
            let verified = verify(&message, &idp.trusted()).unwrap();
            assert_eq!(verified.assertion.name_id.as_ref().unwrap().value, says.name_id);
            assert_eq!(verified.assertion.values("groups").collect::<Vec<_>>(), ["sales", "R&D <all>"]);
            // The envelope of an unsigned Response is not even there to be asked.
            assert_eq!(verified.envelope.is_some(), signs != Signs::Assertion);
            let outside = message.replacen("Destination=\"https://sp", "Destination=\"https://xx", 1);
            assert_eq!(verify(&outside, &idp.trusted()).is_ok(), signs == Signs::Assertion);
            let inside = message.replace("alice@", "admin@");
            assert_eq!(verify(&inside, &idp.trusted()).unwrap_err().refusal, Refusal::Signature, "{signs:?}");
        }
    }
    let alone = says.assertion();
    let signed = RSA.sign(&alone, &says.assertion_id);
    let verified = read(signed.as_bytes(), Kind::Assertion).unwrap().verify(&RSA.trusted()).unwrap();
    assert_eq!(verified.assertion.issuer, says.issuer);
    assert_eq!(read(signed.as_bytes(), Kind::Response).unwrap_err().refusal, Refusal::Root);
}

/// libxmlsec1 has its own word: a verifier that always said yes would pass everything else here.
#[cfg(feature = "xmlsec")]
#[test]
fn s50_the_second_verifier_refuses_other_bytes_and_other_keys() {
    use portcullis::saml::second_opinion::agrees;
    let says = Says::default();
    for idp in [&*RSA, &*P256] {
        let message = says.signed(idp, Signs::Assertion);
        let (bytes, own) = (says.assertion(), [idp.certificate.as_slice()]);
        agrees(&message, &own, bytes.as_bytes()).unwrap();
        let refused = |text: &str, keys: &[&[u8]], bytes: &str| {
            assert_eq!(agrees(text, keys, bytes.as_bytes()).unwrap_err().refusal, Refusal::SecondOpinion);
        };
        refused(&message, &own, &bytes.replace("alice@", "alicf@"));
        refused(&message, &own, &bytes[..bytes.len() - 1]);
        refused(&message.replace("alice@", "alicf@"), &own, &bytes);
        refused(&message, &[&OTHER.certificate], &bytes);
        refused(&message, &[], &bytes);
    }
}

#[test]
fn s51_whatever_is_encrypted_is_refused_before_any_key_is_looked_at() {
    let message = Says::default().signed(&RSA, Signs::Both);
    let piece = |from: &str, to: &str| {
        let begin = message.find(from).unwrap();
        message[begin..begin + message[begin..].find(to).unwrap() + to.len()].to_owned()
    };
    let encrypted = |name: &str| {
        let assertion = crate::saml_messages::ASSERTION;
        let data = "<x:EncryptedData xmlns:x=\"http://www.w3.org/2001/04/xmlenc#\"></x:EncryptedData>";
        format!("<saml:{name} xmlns:saml=\"{assertion}\">{data}</saml:{name}>")
    };
    for (name, from, to) in [
        ("EncryptedAssertion", "<saml:Assertion", "</saml:Assertion>"),
        ("EncryptedID", "<saml:NameID", "</saml:NameID>"),
        ("EncryptedAttribute", "<saml:Attribute ", "</saml:Attribute>"),
    ] {
        let mutant = message.replace(&piece(from, to), &encrypted(name));
        assert_ne!(mutant, message);
        let refused = read(mutant.as_bytes(), Kind::Response).unwrap_err();
        assert_eq!(refused.refusal, Refusal::Encrypted, "{name}: {refused}");
    }
}

#[test]
fn s63_without_a_trusted_key_nothing_is_accepted() {
    let message = Says::default().signed(&RSA, Signs::Both);
    assert_eq!(verify(&message, &TrustedKeys::none()).unwrap_err().refusal, Refusal::NoTrustedKey);
    assert_eq!(verify(&message, &OTHER.trusted()).unwrap_err().refusal, Refusal::Signature);
    // A rollover: the new key and the old one at once.
    let both = TrustedKeys::of([OTHER.certificate.as_slice(), &P256.certificate, &RSA.certificate]).unwrap();
    assert!(verify(&message, &both).is_ok());
}

#[test]
fn messages_signed_by_the_verifier_s_own_library_are_accepted_too() {
    let says = Says::default();
    let mut keys = bergshamra_keys::KeysManager::new();
    let pem = pem("PRIVATE KEY", &RSA.pkcs8);
    keys.add_key(bergshamra_keys::loader::load_rsa_private_pem(pem.as_bytes()).unwrap());
    let context = bergshamra_dsig::DsigContext::new(keys);
    // Our own signature as a template: its values are computed anew.
    let mut template = says.signed(&RSA, Signs::Assertion);
    for name in ["DigestValue", "SignatureValue"] {
        let from = template.find(&format!("<ds:{name}>")).unwrap() + name.len() + 5;
        let to = template.find(&format!("</ds:{name}>")).unwrap();
        template.replace_range(from..to, "");
    }
    let signed = bergshamra_dsig::sign::sign(&context, &template).unwrap();
    assert!(verify(&signed, &RSA.trusted()).is_ok());
    assert_eq!(signed, says.signed(&RSA, Signs::Assertion), "what we write is its own canonical form");
}

pub fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|l| std::str::from_utf8(l).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
