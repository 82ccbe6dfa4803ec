//! Which host a request is for.
use http::header::HOST;
use pingora::http::RequestHeader;

/// The host asked for, lower case, without port and trailing dot; `None` if it is told twice and differently.
pub fn host(request: &RequestHeader) -> Option<String> {
    let plain = |text: &str| {
        let name = text.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
        name.map_or(text, |(name, _)| name).trim_end_matches('.').to_ascii_lowercase()
    };
    let header = match request.headers.get(HOST) {
        Some(value) => Some(plain(value.to_str().ok()?)),
        None => None,
    };
    let authority = request.uri.authority().map(|a| plain(a.as_str()));
    match (authority, header) {
        (Some(a), Some(h)) if a != h => None,
        (Some(host), _) | (None, Some(host)) if !host.is_empty() && host.bytes().all(names_a_host) => Some(host),
        _ => None,
    }
}

/// A byte of a name or an address (RFC 3986 §3.2.2), without what nobody has in one: escapes and sub-delimiters.
fn names_a_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':' | b'[' | b']')
}

/// Host and port as the browser sees them, lower case.
pub fn authority(request: &RequestHeader) -> String {
    named(request).to_ascii_lowercase()
}

/// The same as they were told.
pub fn named(request: &RequestHeader) -> &str {
    let named = request.uri.authority().map(|a| a.as_str());
    let header = request.headers.get(HOST).and_then(|h| h.to_str().ok());
    named.or(header).unwrap_or_default()
}
