//! The bearer token of a request: in exactly one header, never in the query (RFC 6750 §2.1, S60).
use http::{HeaderMap, header::AUTHORIZATION};

/// What a request carries.
#[derive(Debug, PartialEq, Eq)]
pub enum Credential<'a> {
    /// No `Authorization` header.
    None,
    /// Something else than one bearer token.
    Malformed,
    /// A token.
    Bearer(&'a str),
}

/// Reads the credential.
pub fn credential(headers: &HeaderMap) -> Credential<'_> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Credential::None };
    if values.next().is_some() {
        return Credential::Malformed;
    }
    let token = value.to_str().ok().and_then(|v| v.split_once(' ')).filter(|(s, _)| s.eq_ignore_ascii_case("bearer"));
    match token.map(|(_, t)| t.trim_matches(' ')) {
        Some(token) if is_b64token(token) => Credential::Bearer(token),
        _ => Credential::Malformed,
    }
}

fn is_b64token(token: &str) -> bool {
    let body = token.trim_end_matches('=');
    // `!` beyond RFC 6750: tokens in Salesforce's shape carry it.
    !body.is_empty() && body.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/!".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn s60_one_bearer_token_and_nothing_else() {
        let read = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, HeaderValue::from_static(value));
            }
            format!("{:?}", credential(&headers))
        };
        assert_eq!(read(&[]), "None");
        assert_eq!(read(&["bEaReR abc.d-e=="]), "Bearer(\"abc.d-e==\")");
        for bad in
            [&["Bearer a", "Bearer b"][..], &["Basic YTpi", "Bearer a"], &["Bearer"], &["Bearer a b"], &["Basic YTpi"]]
        {
            assert_eq!(read(bad), "Malformed");
        }
    }
}
