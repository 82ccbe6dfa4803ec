//! Parameters of a form body (RFC 6749 appendix B).
use super::error::{Code, OAuthError};
use http::{Request, header::CONTENT_TYPE};
use std::collections::HashMap;

/// Most parameters that one request may carry.
const MAX_PARAMETERS: usize = 64;

/// Parameters, each present once; empty values count as absent (RFC 6749 §3.1).
#[derive(Default)]
pub struct Params(HashMap<String, String>);

impl Params {
    /// Reads the body of a POST. Credentials in the query are refused (S16), so is a repeated parameter (S6).
    pub fn read(request: &Request<bytes::Bytes>) -> Result<Self, OAuthError> {
        let bad = |why| OAuthError::new(Code::InvalidRequest, why);
        if request.uri().query().is_some_and(|q| !q.is_empty()) {
            return Err(bad("parameters belong in the body, not in the query"));
        }
        let kind = request.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
        let kind = kind.split(';').next().unwrap_or("").trim();
        if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(bad("Content-Type must be application/x-www-form-urlencoded"));
        }
        Self::parse(request.body()).map_err(bad)
    }

    /// The form of a page of ours, whose address may carry a query.
    pub fn of_form(request: &Request<bytes::Bytes>) -> Result<Self, OAuthError> {
        Self::parse(request.body()).map_err(|why| OAuthError::new(Code::InvalidRequest, why))
    }

    /// The query of a GET, or the body of a POST (RFC 6749 §3.1).
    pub fn of_either(request: &Request<bytes::Bytes>) -> Result<Self, OAuthError> {
        if request.method() == http::Method::POST {
            return Self::read(request);
        }
        let query = request.uri().query().unwrap_or_default();
        Self::parse(query.as_bytes()).map_err(|why| OAuthError::new(Code::InvalidRequest, why))
    }

    /// Parses form bytes.
    pub fn parse(body: &[u8]) -> Result<Self, &'static str> {
        let mut params = HashMap::new();
        for (name, value) in form_urlencoded::parse(body) {
            if params.len() == MAX_PARAMETERS {
                return Err("too many parameters");
            }
            if value.contains('\u{FFFD}') || name.contains('\u{FFFD}') {
                return Err("a parameter is not valid UTF-8");
            }
            if params.insert(name.into_owned(), value.into_owned()).is_some() {
                return Err("a parameter is repeated");
            }
        }
        params.retain(|_, value| !value.is_empty());
        Ok(Self(params))
    }

    /// The same with `name` set to `value`.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.0.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The value of `name`, or `invalid_request` with `why`.
    pub fn require(&self, name: &str, why: &'static str) -> Result<&str, OAuthError> {
        self.get(name).ok_or_else(|| OAuthError::new(Code::InvalidRequest, why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn foreign_bytes_never_panic(body in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..512)) {
            let _ = Params::parse(&body);
        }
    }

    #[test]
    fn repeated_is_refused_and_empty_is_absent() {
        assert_eq!(Params::parse(b"a=1&a=2").err(), Some("a parameter is repeated"));
        assert_eq!(
            Params::parse(b"a=&b=x+y").ok().map(|p| (p.get("a").is_none(), p.get("b") == Some("x y"))),
            Some((true, true))
        );
    }
}
