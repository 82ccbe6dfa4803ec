//! How messages travel: in a form (SAML Bindings §3.5) or in a query (SAML Bindings §3.4).
use super::{
    authn_request::AuthnRequest,
    logout::Logout,
    preflight::{Kind, Passed, Seal, inspect},
    refusal::{Refusal, Refused},
    sign::SigningKey,
    trust::TrustedKeys,
};
use base64::{
    Engine,
    alphabet::STANDARD as ALPHABET,
    engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD},
};
use flate2::{Compression, read::DeflateDecoder, write::DeflateEncoder};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use std::io::{Read, Write};

/// Largest message that is unpacked, bytes.
const LARGEST: u64 = 256 << 10;
/// RFC 3986 §2.3, so that nobody on the way has reason to encode anew.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Not every sender cares for the bits that the last letter leaves over.
const LENIENT: GeneralPurpose =
    GeneralPurpose::new(&ALPHABET, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// The bytes of a `SAMLResponse` or `SAMLRequest` field.
pub fn from_field(field: &str) -> Result<Vec<u8>, Refused> {
    let text: Vec<u8> = field.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    if text.len() as u64 > LARGEST * 4 / 3 + 4 {
        return Err(Refusal::TooLarge.with(format_args!("{} letters of base64", text.len())));
    }
    LENIENT.decode(text).map_err(|e| Refusal::Encoding.with(e))
}

/// A message as a form carries it.
pub fn to_field(message: &str) -> String {
    STANDARD.encode(message)
}

/// The address that sends a browser to `destination` with `message` in its query, signed with `key`. `field` is
/// `SAMLRequest` or `SAMLResponse`.
pub fn to_query(destination: &str, field: &str, message: &str, relay_state: Option<&str>, key: &SigningKey) -> String {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    let packed = encoder.write_all(message.as_bytes()).and_then(|()| encoder.finish());
    let packed = STANDARD.encode(packed.expect("memory takes what is written to it"));
    let encode = |text: &str| utf8_percent_encode(text, UNRESERVED).to_string();
    let mut query = format!("{field}={}", encode(&packed));
    if let Some(state) = relay_state {
        query.push_str(&format!("&RelayState={}", encode(state)));
    }
    query.push_str(&format!("&SigAlg={}", encode(key.algorithm())));
    let signature = STANDARD.encode(key.sign(query.as_bytes()));
    let joint = if destination.contains('?') { '&' } else { '?' };
    format!("{destination}{joint}{query}&Signature={}", encode(&signature))
}

/// A message out of a query: nothing of it is known to be true.
#[derive(Debug)]
pub struct Queried {
    text: String,
    /// `RelayState`.
    pub relay_state: Option<String>,
    signature: Option<Detached>,
}

#[derive(Debug)]
struct Detached {
    algorithm: String,
    /// The very octets that were sent: encoding them anew would verify something else.
    octets: String,
    value: Vec<u8>,
}

impl Queried {
    /// Reads a raw query. `field` is `SAMLRequest` or `SAMLResponse`.
    pub fn read(query: &str, field: &str) -> Result<Self, Refused> {
        let raw = |name: &str| -> Result<Option<&str>, Refused> {
            let mut found = query.split('&').filter_map(|pair| pair.split_once('=').filter(|(n, _)| *n == name));
            let first = found.next().map(|(_, value)| value);
            if found.next().is_some() {
                Err(Refusal::Encoding.with(format_args!("{name} stands twice")))
            } else {
                Ok(first)
            }
        };
        let plain = |text: &str| {
            let decoded = percent_decode_str(&text.replace('+', " ")).decode_utf8().map(|t| t.into_owned());
            decoded.map_err(|e| Refusal::Encoding.with(e))
        };
        let encoding = raw("SAMLEncoding")?.map(plain).transpose()?;
        if encoding.as_deref().is_some_and(|e| e != "urn:oasis:names:tc:SAML:2.0:bindings:URL-Encoding:DEFLATE") {
            return Err(Refusal::Encoding.with(format_args!("SAMLEncoding {encoding:?}")));
        }
        let sent = raw(field)?.ok_or_else(|| Refusal::Encoding.with(format_args!("no {field}")))?;
        // A + in base64 that was not encoded has to stay one.
        let packed = percent_decode_str(sent).decode_utf8().map_err(|e| Refusal::Encoding.with(e))?;
        let mut text = String::new();
        let unpacked = DeflateDecoder::new(&*from_field(&packed)?).take(LARGEST + 1).read_to_string(&mut text);
        unpacked.map_err(|e| Refusal::Encoding.with(e))?;
        if text.len() as u64 > LARGEST {
            return Err(Refusal::TooLarge.with(format_args!("more than {LARGEST} bytes when unpacked")));
        }
        let state = raw("RelayState")?;
        let (algorithm, value) = (raw("SigAlg")?, raw("Signature")?);
        let signature = match (algorithm, value) {
            (None, None) => None,
            (Some(algorithm), Some(value)) => Some(Detached {
                octets: match state {
                    Some(state) => format!("{field}={sent}&RelayState={state}&SigAlg={algorithm}"),
                    None => format!("{field}={sent}&SigAlg={algorithm}"),
                },
                algorithm: plain(algorithm)?,
                value: from_field(&percent_decode_str(value).decode_utf8().map_err(|e| Refusal::Encoding.with(e))?)?,
            }),
            _ => return Err(Refusal::Encoding.with("Signature and SigAlg go together")),
        };
        Ok(Self { text, relay_state: state.map(plain).transpose()?, signature })
    }

    /// The message's length, unpacked.
    pub fn bytes(&self) -> usize {
        self.text.len()
    }

    /// Looks at the message, which has to be one of `kinds`.
    pub fn inspect(&self, kinds: &[Kind]) -> Result<Passed<'_>, Refused> {
        inspect(&self.text, kinds, Seal::Detached)
    }

    /// The logout message, if a trusted key signed the query it came in.
    pub fn verify(&self, passed: &Passed<'_>, trusted: &TrustedKeys) -> Result<Logout, Refused> {
        Logout::read(self.verified(trusted)?, passed.kind, &passed.id)
    }

    /// The same of a request to sign somebody on.
    pub fn verify_request(&self, passed: &Passed<'_>, trusted: &TrustedKeys) -> Result<AuthnRequest, Refused> {
        AuthnRequest::read(self.verified(trusted)?, &passed.id)
    }

    /// The message's bytes, under a signature by one of `trusted`.
    fn verified(&self, trusted: &TrustedKeys) -> Result<&[u8], Refused> {
        let signature = self.signature.as_ref().ok_or_else(|| Refusal::Unsigned.with("no Signature in the query"))?;
        trusted.verify_detached(&signature.algorithm, signature.octets.as_bytes(), &signature.value)?;
        Ok(self.text.as_bytes())
    }
}
