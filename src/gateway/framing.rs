//! Whether two readers must take the same request out of what came: what Pingora would mend is refused instead (S66).
use http::{
    HeaderMap,
    header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING, UPGRADE},
};
use pingora::http::RequestHeader;

const LENGTH: &[u8] = b"\ncontent-length";

/// Whether one reading alone is possible; `raw` is an HTTP/1 header as its bytes came, and nothing over HTTP/2, where
/// no bytes could be read in two ways.
pub fn sound(raw: &[u8], request: &RequestHeader) -> bool {
    (raw.is_empty() || names(raw, request)) && is_spelt(request.method.as_str()) && unambiguous(raw, &request.headers)
}

/// Whether a request to upgrade may lead to a WebSocket, and brings nothing before it does: no other is forwarded.
pub fn opens_websocket(headers: &HeaderMap) -> bool {
    let websocket = headers.get(UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let brings = headers.contains_key(TRANSFER_ENCODING) || headers.get(CONTENT_LENGTH).is_some_and(|l| l != "0");
    websocket && !brings
}

/// Methods are case-sensitive (RFC 9110 §9.1), and many upstreams do not know it: `post` must not pass for something else
/// than `POST` here and for `POST` there.
fn is_spelt(method: &str) -> bool {
    !method.bytes().any(|b| b.is_ascii_lowercase())
}

/// Whether the first line is what will be forwarded: Pingora drops a fragment.
fn names(raw: &[u8], request: &RequestHeader) -> bool {
    let rest = raw.strip_prefix(request.method.as_str().as_bytes()).and_then(|rest| rest.strip_prefix(b" "));
    rest.and_then(|rest| rest.strip_prefix(request.raw_path())).is_some_and(|rest| rest.starts_with(b" HTTP/1."))
}

fn unambiguous(raw: &[u8], headers: &HeaderMap) -> bool {
    let count = |name| headers.get_all(name).iter().count();
    let (length, encoding) = (count(CONTENT_LENGTH), count(TRANSFER_ENCODING));
    if count(HOST) > 1 || length + encoding > 1 || !ends_in_crlf(raw) {
        return false;
    }
    if let Some(value) = headers.get(CONTENT_LENGTH)
        && !value.as_bytes().iter().all(u8::is_ascii_digit)
    {
        return false;
    }
    match headers.get(TRANSFER_ENCODING) {
        // Pingora has dropped a length beside it already: the raw header still shows it.
        Some(value) => value.as_bytes().eq_ignore_ascii_case(b"chunked") && !tells_length(raw),
        None => true,
    }
}

/// No line ends in a bare LF.
fn ends_in_crlf(raw: &[u8]) -> bool {
    let mut before = 0;
    raw.iter().all(|byte| {
        let well = *byte != b'\n' || before == b'\r';
        before = *byte;
        well
    })
}

fn tells_length(raw: &[u8]) -> bool {
    raw.windows(LENGTH.len()).any(|w| w.eq_ignore_ascii_case(LENGTH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s66_the_target_that_is_judged_is_the_one_that_came() {
        let request = RequestHeader::build("GET", b"/a", None).unwrap();
        assert!(names(b"GET /a HTTP/1.1\r\n\r\n", &request));
        assert!(!names(b"GET /a#b HTTP/1.1\r\n\r\n", &request) && !names(b"GET /a b HTTP/1.1\r\n\r\n", &request));
    }

    #[test]
    fn s66_only_what_brings_no_body_may_be_silent_before_its_upgrade() {
        let opens = |list: &[(&'static str, &'static str)]| {
            let headers = list.iter().map(|(n, v)| (http::HeaderName::from_static(n), v.parse().unwrap()));
            opens_websocket(&headers.collect())
        };
        assert!(opens(&[("upgrade", "WebSocket")]) && opens(&[("upgrade", "websocket"), ("content-length", "0")]));
        assert!(!opens(&[]) && !opens(&[("upgrade", "h2c")]));
        assert!(!opens(&[("upgrade", "websocket"), ("content-length", "9")]));
        assert!(!opens(&[("upgrade", "websocket"), ("transfer-encoding", "chunked")]));
    }

    #[test]
    fn s66_a_method_has_one_spelling() {
        assert!(is_spelt("POST") && is_spelt("M-SEARCH") && !is_spelt("post") && !is_spelt("Post"));
    }

    #[test]
    fn s66_what_two_readers_might_read_differently_is_unsound() {
        let judged = |list: &[(&'static str, &'static str)], raw: &str| {
            let headers = list.iter().map(|(n, v)| (http::HeaderName::from_static(n), v.parse().unwrap()));
            let mut map = HeaderMap::new();
            headers.for_each(|(n, v)| {
                map.append(n, v);
            });
            unambiguous(raw.as_bytes(), &map)
        };
        assert!(judged(&[("host", "a"), ("content-length", "5")], "POST / HTTP/1.1\r\nhost: a\r\n\r\n"));
        assert!(judged(&[("host", "a"), ("transfer-encoding", "Chunked")], "") && judged(&[], ""));
        assert!(!judged(&[("host", "a"), ("host", "a")], ""));
        assert!(!judged(&[("content-length", "5, 5")], "") && !judged(&[("content-length", "+5")], ""));
        assert!(!judged(&[("transfer-encoding", "gzip, chunked")], ""));
        assert!(!judged(&[("transfer-encoding", "chunked")], "POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\n"));
        assert!(!judged(&[("host", "a")], "GET / HTTP/1.1\r\nhost: a\n\r\n"));
    }
}
