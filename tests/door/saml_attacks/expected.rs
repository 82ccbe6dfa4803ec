//! Why each mutant is refused: another reason would mean that its own is not looked for any more.
use portcullis::saml::Refusal::{self, *};

/// The reasons for a mutant of this name: one, or one for each kind of message.
pub fn refusals(name: &str) -> &'static [Refusal] {
    if let Some(what) = name.strip_prefix("well signed: ") {
        return well_signed(what);
    }
    if name.starts_with("XSW") {
        return match (&name[3..4], name.contains("alone"), name.contains("same id")) {
            ("7" | "8", true, _) => &[Root],
            (_, true, true) => &[Identifier, Root],
            (_, true, false) => &[SurplusAssertion, Root],
            ("1" | "2", false, _) => &[Root],
            (_, false, true) => &[Identifier],
            (_, false, false) => &[SurplusAssertion],
        };
    }
    match name {
        "no signature" => &[Comment],
        "CDATA in NameID" => &[Cdata],
        "PI in NameID" | "stylesheet" => &[ProcessingInstruction],
        "element in NameID" => &[Content],
        "undeclared entity" => &[Entity],
        "DOCTYPE" | "billion laughs" | "default attribute" | "external DTD" => &[Doctype],
        "EncryptedAssertion" | "EncryptedKey" => &[Encrypted],
        "5,000 namespaces" | "NUL" | "relative namespace" | "text behind" => &[NotXml],
        "5,000 attributes" => &[TooLarge],
        "another root" | "other namespace" | "two roots" => &[Root],
        "stripped" => &[Unsigned],
        "HMAC named" | "SHA-1 named" | "HMAC with the public key" => &[Algorithm],
        "signature deeper" => &[SignaturePlace, Content],
        "SignedInfo outside" | "signature at the end" | "signature before Issuer" | "two signatures" => {
            &[SignaturePlace]
        }
        "KeyInfoReference" | "Manifest" | "Object" | "empty value" => &[SignatureShape],
        _ if name.starts_with("comment ") => &[Comment],
        _ if name.starts_with("cut at ") => &[NotXml],
        _ if name.starts_with("too ") => &[TooLarge],
        _ if name.starts_with("RetrievalMethod ") => &[SignatureShape],
        _ if name.ends_with(" entity") => &[Doctype],
        _ if name.ends_with(" twice") || name == "xml:id" => &[Identifier],
        // What only a key can tell.
        _ => &[Signature],
    }
}

/// Of what a trusted key signed itself.
fn well_signed(what: &str) -> &'static [Refusal] {
    match what {
        "SHA-1 digest" | "HMACOutputLength" => &[Algorithm],
        "void digest" => &[Signature],
        "no reference" | "reference with Type" => &[SignatureShape],
        "2,000 references" => &[TooLarge],
        _ if what == "no URI" || what.contains("reference to") => &[Reference],
        _ => &[Transform],
    }
}
