//! The bearer token of a request: in exactly one header, never in the query (RFC 6750 §2.1, S60).
use crate::policy::route::ErrorStyle;
use http::{HeaderMap, HeaderName, header::AUTHORIZATION};

/// What a request carries.
#[derive(Debug, PartialEq, Eq)]
pub enum Credential<'a> {
    /// No `Authorization` header.
    None,
    /// Something else than one bearer token.
    Malformed,
    /// A token that says it is bound to a key (RFC 9449 §7.1).
    Dpop(&'a [u8]),
    /// A token; whether it is a `b64token` is for [`is_b64token`] to say.
    Bearer(&'a [u8]),
}

const SCHEME: &[u8] = b"Bearer ";
const DPOP: &[u8] = b"DPoP ";
/// What Salesforce's streaming clients and older programs say for `Bearer`.
const OAUTH: &[u8] = b"OAuth ";
/// Where some of its programs put the token instead.
const SESSION: HeaderName = HeaderName::from_static("x-sfdc-session");

/// Reads the credential along a route whose errors are of this style; programs written for Salesforce also send
/// `Authorization: OAuth`, or `X-SFDC-Session` and nothing else.
pub fn credential_for(style: ErrorStyle, headers: &HeaderMap) -> Credential<'_> {
    let (found, name, scheme) = match (style, credential(headers)) {
        (ErrorStyle::Salesforce, found @ Credential::Malformed) => (found, AUTHORIZATION, OAUTH),
        (ErrorStyle::Salesforce, found @ Credential::None) => (found, SESSION, &b""[..]),
        (_, found) => return found,
    };
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return found };
    match value.as_bytes().split_at_checked(scheme.len()) {
        Some((said, token))
            if values.next().is_none() && said.eq_ignore_ascii_case(scheme) && !token.trim_ascii().is_empty() =>
        {
            Credential::Bearer(token.trim_ascii())
        }
        _ => Credential::Malformed,
    }
}

/// Reads the credential.
pub fn credential(headers: &HeaderMap) -> Credential<'_> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Credential::None };
    if values.next().is_some() {
        return Credential::Malformed;
    }
    match value.as_bytes().split_at_checked(SCHEME.len()) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(SCHEME) && !token.trim_ascii().is_empty() => {
            Credential::Bearer(token.trim_ascii())
        }
        _ => match value.as_bytes().split_at_checked(DPOP.len()) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case(DPOP) && !token.trim_ascii().is_empty() => {
                Credential::Dpop(token.trim_ascii())
            }
            _ => Credential::Malformed,
        },
    }
}

/// `b64token` (RFC 6750 §2.1), and `!`: tokens in Salesforce's shape carry it.
const TOKEN_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = matches!(byte as u8, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9')
            || matches!(byte as u8, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'!');
        byte += 1;
    }
    table
};

/// Whether `token` is one that anybody may have issued.
pub fn is_b64token(token: &[u8]) -> bool {
    let length = token.iter().rposition(|b| *b != b'=').map_or(0, |last| last + 1);
    length > 0 && token[..length].iter().all(|b| TOKEN_BYTES[usize::from(*b)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn s60_programs_written_for_salesforce_send_one_token_in_one_of_their_ways() {
        let read = |style, values: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in values {
                headers.append(*name, HeaderValue::from_static(value));
            }
            format!("{:?}", credential_for(style, &headers))
        };
        let (bearer, oauth, session) = (("authorization", "Bearer a"), ("authorization", "oauth a"), "x-sfdc-session");
        let one = format!("{:?}", Credential::Bearer(b"a"));
        for good in [&[bearer][..], &[oauth], &[(session, "a")], &[bearer, (session, "b")]] {
            assert_eq!(read(ErrorStyle::Salesforce, good), one);
        }
        for bad in [&[oauth, oauth][..], &[bearer, oauth], &[(session, "a"), (session, "a")], &[(session, "")]] {
            assert_eq!(read(ErrorStyle::Salesforce, bad), "Malformed");
        }
        assert_eq!(read(ErrorStyle::Oauth, &[oauth]), "Malformed");
        assert_eq!(
            (read(ErrorStyle::Oauth, &[(session, "a")]), read(ErrorStyle::Salesforce, &[])),
            ("None".into(), "None".into())
        );
    }

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
        assert_eq!(read(&["dpop abc"]), format!("{:?}", Credential::Dpop(b"abc")));
        assert_eq!(read(&["bEaReR abc.d-e=="]), format!("{:?}", Credential::Bearer(b"abc.d-e==")));
        for bad in [
            &["Bearer a", "Bearer b"][..],
            &["Basic YTpi", "Bearer a"],
            &["Bearer"],
            &["Bearer "],
            &["Basic YTpi"],
            &["DPoP "],
            &["DPoP a", "Bearer a"],
        ] {
            assert_eq!(read(bad), "Malformed");
        }
        assert!(is_b64token(b"aZ0-._~+/!=") && !is_b64token(b"a b") && !is_b64token(b"=") && !is_b64token(b"a,b"));
    }
}
