//! A message in whatever form a browser let it be saved.
use crate::{
    grant::saml_bearer::decode,
    saml::{Kind, Passed, Refused, binding::Queried, read_one_of},
};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Parameters that carry a message; the first that is there is meant.
const FIELDS: [&str; 4] = ["SAMLResponse", "SAMLRequest", "assertion", "client_assertion"];
/// What a form or a token request carries.
const IN_XML: [Kind; 5] =
    [Kind::Response, Kind::Assertion, Kind::LogoutRequest, Kind::LogoutResponse, Kind::AuthnRequest];
/// What a query carries (SAML Profiles §4.1.2: a Response never comes so).
const IN_QUERY: [Kind; 3] = [Kind::LogoutRequest, Kind::LogoutResponse, Kind::AuthnRequest];

/// A saved message.
pub enum Saved {
    /// XML, whose signature is in it: how it was packed, and its bytes.
    Xml(&'static str, Vec<u8>),
    /// Out of a query, whose signature is beside it.
    Query(&'static str, Queried),
}

impl Saved {
    /// Reads XML, the base64 of a field, the deflated value of a query, a whole form, a whole query or address.
    pub fn read(text: &str) -> Result<Self, Refused> {
        let text = text.trim();
        if text.starts_with('<') {
            return Ok(Self::Xml("XML", text.as_bytes().to_vec()));
        }
        // An address, or a request line with one.
        let query = text.rsplit('?').next().unwrap_or(text).split([' ', '#']).next().unwrap_or(text);
        let pairs = || query.split('&').filter_map(|pair| pair.split_once('='));
        let named = FIELDS.iter().find_map(|field| pairs().find(|(name, _)| name == field));
        let (field, value) = named.unwrap_or(("", text));
        // A + in base64 that was not encoded has to stay one.
        let plain: String = percent_decode_str(value).decode_utf8_lossy().split_whitespace().collect();
        let bytes = decode(&plain)?;
        if bytes.trim_ascii_start().starts_with(b"<") {
            return Ok(Self::Xml(if field.is_empty() { "base64" } else { "a form" }, bytes));
        }
        if field.is_empty() {
            let query = format!("SAMLRequest={}", utf8_percent_encode(&plain, NON_ALPHANUMERIC));
            return Ok(Self::Query("a deflated value", Queried::read(&query, "SAMLRequest")?));
        }
        Ok(Self::Query("a query", Queried::read(query, field)?))
    }

    /// How it was packed, in words.
    pub const fn packed(&self) -> &'static str {
        match self {
            Self::Xml(packed, _) | Self::Query(packed, _) => packed,
        }
    }

    /// Its length, unpacked.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Xml(_, bytes) => bytes.len(),
            Self::Query(_, queried) => queried.bytes(),
        }
    }

    /// The first look.
    pub fn inspect(&self) -> Result<Passed<'_>, Refused> {
        match self {
            Self::Xml(_, bytes) => read_one_of(bytes, &IN_XML),
            Self::Query(_, queried) => queried.inspect(&IN_QUERY),
        }
    }
}
