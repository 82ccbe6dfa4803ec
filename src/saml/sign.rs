//! Signatures of our own: in a message (SAML Core §5.4) and over a query (SAML Bindings §3.4.4.1).
use super::write::Xml;
use aws_lc_rs::{
    digest,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject};

/// A key that signs messages: RSA from 2048 bits, or P-256.
#[derive(Debug)]
pub struct SigningKey(Pair);

#[derive(Debug)]
enum Pair {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
}

impl SigningKey {
    /// A private key in PEM (PKCS#8).
    pub fn from_pem(pem: &[u8]) -> Result<Self, String> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| "holds no PRIVATE KEY in PEM (PKCS#8)")?;
        Self::from_pkcs8(der.secret_pkcs8_der())
    }

    /// A private key in DER (PKCS#8).
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, String> {
        if let Ok(key) = RsaKeyPair::from_pkcs8(der) {
            let bits = key.public_modulus_len() * 8;
            return if bits < 2048 {
                Err(format!("an RSA key of {bits} bits; 2048 are needed"))
            } else {
                Ok(Self(Pair::Rsa(key)))
            };
        }
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der);
        key.map(|k| Self(Pair::P256(k))).map_err(|_| "neither an RSA key from 2048 bits nor one on P-256".to_owned())
    }

    /// The `SignatureMethod` of its signatures (RFC 9231 §2.3).
    pub const fn algorithm(&self) -> &'static str {
        match self.0 {
            Pair::Rsa(_) => "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
            Pair::P256(_) => "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256",
        }
    }

    /// Signs bytes.
    pub fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.0 {
            Pair::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, bytes, &mut signature).expect("a sound RSA key signs");
                signature
            }
            Pair::P256(key) => key.sign(&random, bytes).expect("a sound P-256 key signs").as_ref().to_vec(),
        }
    }

    /// A signature over `canonical`, which has to be in exclusive canonical form already, placed into it behind its
    /// first `</saml:Issuer>`, or behind its first tag where there is none.
    pub fn envelop(&self, canonical: &str, id: &str, certificate: Option<&[u8]>) -> String {
        let digest = STANDARD.encode(digest::digest(&digest::SHA256, canonical.as_bytes()));
        let signature = self.signature(id, &digest, certificate);
        let issuer = canonical.find("</saml:Issuer>").map(|at| at + "</saml:Issuer>".len());
        let at = issuer.or(canonical.find('>').map(|at| at + 1)).unwrap_or(canonical.len());
        format!("{}{signature}{}", &canonical[..at], &canonical[at..])
    }

    fn signature(&self, id: &str, digest: &str, certificate: Option<&[u8]>) -> String {
        let uri = format!("#{id}");
        let method = |name, algorithm| move |xml: Xml| xml.leaf(name, &[("Algorithm", Some(algorithm))], "");
        // By itself the element declares its prefix; inside of Signature it inherits it.
        let info = |declared: Option<&str>| {
            let xml = Xml::default().open("ds:SignedInfo", &[("xmlns:ds", declared)]);
            let xml = method("ds:CanonicalizationMethod", EXCLUSIVE)(xml);
            let xml = method("ds:SignatureMethod", self.algorithm())(xml);
            let xml = xml.open("ds:Reference", &[("URI", Some(&uri))]).open("ds:Transforms", &[]);
            let xml = method("ds:Transform", "http://www.w3.org/2000/09/xmldsig#enveloped-signature")(xml);
            let xml = method("ds:Transform", EXCLUSIVE)(xml).close("ds:Transforms");
            let xml = method("ds:DigestMethod", "http://www.w3.org/2001/04/xmlenc#sha256")(xml);
            xml.leaf("ds:DigestValue", &[], digest).close("ds:Reference").close("ds:SignedInfo").finish()
        };
        let value = STANDARD.encode(self.sign(info(Some(SIGNATURE)).as_bytes()));
        let key = certificate.map(|der| {
            let xml = Xml::default().open("ds:KeyInfo", &[]).open("ds:X509Data", &[]);
            let xml = xml.leaf("ds:X509Certificate", &[], &STANDARD.encode(der));
            xml.close("ds:X509Data").close("ds:KeyInfo").finish()
        });
        let value = Xml::default().leaf("ds:SignatureValue", &[], &value).finish();
        let (info, key) = (info(None), key.unwrap_or_default());
        format!("<ds:Signature xmlns:ds=\"{SIGNATURE}\">{info}{value}{key}</ds:Signature>")
    }
}

const SIGNATURE: &str = "http://www.w3.org/2000/09/xmldsig#";
const EXCLUSIVE: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";
