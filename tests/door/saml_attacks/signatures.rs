//! Signatures that are not what they seem.
use super::{Bait, Mutants, Valid, signature, spki};
use crate::{
    saml_messages::{OTHER, part},
    saml_verify::pem,
};
use aws_lc_rs::{digest, hmac};
use base64::{Engine, engine::general_purpose::STANDARD};

/// The same algorithm with another digest.
fn other_digest(method: &str) -> String {
    let (family, digest) = method.rsplit_once('-').unwrap();
    format!("{family}-{}", if digest == "sha256" { "sha384" } else { "sha256" })
}

impl Valid<'_> {
    /// Signatures that are not what they seem.
    pub fn signatures(&self) -> Mutants {
        let (m, place, id) = (&self.message, self.place(), self.id());
        let Bait { http, file, .. } = self.bait;
        let sealed = signature(m);
        let method = self.idp.method;
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
                m.replacen(sealed, "", 1).replace(&self.end(), &format!("{sealed}{}", self.end())),
            ),
            (
                "signature deeper",
                m.replacen(sealed, "", 1).replacen(self.within(), &format!("{}{sealed}", self.within()), 1),
            ),
            (
                "signature before Issuer",
                m.replacen(sealed, "", 1).replacen("<saml:Issuer", &format!("{sealed}<saml:Issuer"), 1),
            ),
            (
                "SignedInfo outside",
                m.replacen(
                    place,
                    &format!("<ds:SignedInfo xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\"/>{place}"),
                    1,
                ),
            ),
            ("HMAC named", m.replacen(method, &format!("{more}hmac-sha256"), 1)),
            ("SHA-1 named", m.replacen(method, "http://www.w3.org/2000/09/xmldsig#rsa-sha1", 1)),
            (
                "another family named",
                m.replacen(
                    method,
                    &format!("{more}{}", if method.contains("#rsa") { "ecdsa-sha256" } else { "rsa-sha256" }),
                    1,
                ),
            ),
            ("another digest named", m.replacen(method, &other_digest(method), 1)),
            ("RetrievalMethod http", key_info(&format!("<ds:RetrievalMethod URI=\"{http}\"/>"))),
            ("RetrievalMethod file", key_info(&format!("<ds:RetrievalMethod URI=\"file://{file}\"/>"))),
            (
                "KeyInfoReference",
                key_info("<r:KeyInfoReference xmlns:r=\"http://www.w3.org/2009/xmldsig11#\" URI=\"#_a1\"/>"),
            ),
            ("EncryptedKey", key_info("<e:EncryptedKey xmlns:e=\"http://www.w3.org/2001/04/xmlenc#\"/>")),
            ("Object", m.replacen("</ds:Signature>", "<ds:Object/></ds:Signature>", 1)),
            ("Manifest", m.replacen("</ds:Signature>", "<ds:Object><ds:Manifest/></ds:Object></ds:Signature>", 1)),
            ("foreign key", self.signed_by(&OTHER)),
            ("foreign key, told by its value", {
                let m = self.signed_by(&OTHER);
                let spki = STANDARD.decode(spki(&OTHER)).unwrap();
                // RFC 3279 §2.3.1: the exponent 65537 is its last five bytes.
                let modulus = STANDARD.encode(&spki[spki.len() - 5 - 256..spki.len() - 5]);
                let value = format!(
                    "<ds:KeyValue><ds:RSAKeyValue><ds:Modulus>{modulus}</ds:Modulus><ds:Exponent>AQAB</ds:Exponent>\
                     </ds:RSAKeyValue></ds:KeyValue>"
                );
                m.replace(part(&m, "<ds:X509Data>", "</ds:X509Data>"), &value)
            }),
            ("foreign key, told by a name", {
                let m = self.signed_by(&OTHER);
                m.replace(part(&m, "<ds:X509Data>", "</ds:X509Data>"), "<ds:KeyName>idp</ds:KeyName>")
            }),
            ("foreign key, our certificate", {
                let mut m = self.signed_by(&OTHER);
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
        let (sha2, whole) = (self.idp.digest, self.bare());
        let right = self.idp.digest_of(&whole);
        let sha1 = STANDARD.encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, whole.as_bytes()));
        let void = STANDARD.encode(digest::digest(sha2.1, b""));
        let mut signed = |name: &str, change: &dyn Fn(String) -> String| {
            all.push((format!("well signed: {name}"), self.idp.resign(&whole, id, change)));
        };
        let reference = |i: &String| part(i, "<ds:Reference", "</ds:Reference>").to_owned();
        signed("SHA-1 digest", &|i| i.replace(sha2.0, "http://www.w3.org/2000/09/xmldsig#sha1").replace(&right, &sha1));
        signed("void digest", &|i| i.replace(&right, &void));
        signed("inclusive c14n", &|i| i.replace(exclusive, "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"));
        signed("c14n with comments", &|i| i.replace(exclusive, "http://www.w3.org/2001/10/xml-exc-c14n#WithComments"));
        signed("HMACOutputLength", &|i| {
            i.replace(&format!("\"{method}\">"), &format!("\"{method}\"><ds:HMACOutputLength>0</ds:HMACOutputLength>"))
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
        let own = format!("URI=\"#{id}\"");
        for uri in [
            "",
            "#",
            if id == "_a1" { "#_r1" } else { "#_a1" },
            "#xpointer(/)",
            &format!("#xpointer(id('{id}'))"),
            http,
            &format!("file://{file}"),
            "Cargo.toml",
            "cid:x",
            id,
        ] {
            signed(&format!("reference to {uri:?}"), &|i| i.replace(&own, &format!("URI=\"{uri}\"")));
            signed(&format!("one more reference to {uri:?}"), &|i| {
                let one = reference(&i);
                i.replace(&one, &format!("{one}{}", one.replace(&own, &format!("URI=\"{uri}\""))))
            });
        }
        signed("no URI", &|i| i.replace(&format!(" {own}"), ""));
        signed("no reference", &|i| i.replace(&reference(&i), ""));
        signed("2,000 references", &|i| {
            let one = reference(&i);
            i.replace(&one, &one.repeat(2_000))
        });
        signed("reference with Type", &|i| {
            i.replace("<ds:Reference ", "<ds:Reference Type=\"http://www.w3.org/2000/09/xmldsig#Manifest\" ")
        });
        // HMAC, with the public key that everybody knows as its secret.
        let spki = STANDARD.decode(spki(self.idp)).unwrap();
        for secret in [spki.as_slice(), &self.idp.certificate, pem("CERTIFICATE", &self.idp.certificate).as_bytes()] {
            let named = self.idp.resign(&whole, id, |i| i.replace(method, &format!("{more}hmac-sha256")));
            let info = part(&named, "<ds:SignedInfo", "</ds:SignedInfo>");
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), info.as_bytes());
            let old = part(&named, "<ds:SignatureValue>", "</ds:SignatureValue>");
            let new = format!("<ds:SignatureValue>{}</ds:SignatureValue>", STANDARD.encode(tag));
            all.push(("HMAC with the public key".to_owned(), named.replace(old, &new)));
        }
        all
    }
}
