//! One canonical path: decided on and forwarded byte for byte, or refused.

/// Why a request target is refused with 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is not an origin-form path (RFC 9112 §3.2.1).
    #[error("the request target must be a path")]
    Form,
    /// A byte, an escape or a segment that two programs might read in two ways.
    #[error("the path is ambiguous")]
    Ambiguous,
}

/// Bytes that no reader takes for anything but themselves.
const PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte: u8 = 0;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_graphic()
            && !matches!(byte, b'\\' | b';' | b'#' | b'?' | b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}');
        byte += 1;
    }
    table
};

/// The raw path (without query) if every reader must understand it alike.
pub fn canonical(raw: &[u8]) -> Result<&str, Refused> {
    let path = std::str::from_utf8(raw).map_err(|_| Refused::Ambiguous)?;
    if !path.starts_with('/') {
        return Err(Refused::Form);
    }
    if !path.bytes().all(|b| PLAIN[usize::from(b)]) {
        return Err(Refused::Ambiguous);
    }
    let mut escapes = path.split('%');
    escapes.next();
    if !escapes.all(harmless_escape) || !escapes_text(path) {
        return Err(Refused::Ambiguous);
    }
    let mut segments = path[1..].split('/').peekable();
    while let Some(segment) = segments.next() {
        // An empty segment is a trailing slash at the end and `//` elsewhere.
        if (segment.is_empty() && segments.peek().is_some()) || segment == "." || segment == ".." {
            return Err(Refused::Ambiguous);
        }
    }
    Ok(path)
}

/// `path` with every escape of what may be written plainly written so, and the others in capitals; `None` where it is that
/// already. A reader who decodes takes both for one path.
pub fn plain(path: &str) -> Option<String> {
    if !path.contains('%') {
        return None;
    }
    let mut parts = path.split('%');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for after in parts {
        let (escape, rest) = after.split_at_checked(2).unwrap_or((after, ""));
        match u8::from_str_radix(escape, 16) {
            Ok(byte) if PLAIN[usize::from(byte)] && byte != b'%' => plain.push(char::from(byte)),
            _ => plain.extend(["%", &escape.to_ascii_uppercase()]),
        }
        plain.push_str(rest);
    }
    (plain != path).then_some(plain)
}

/// Whether the escapes spell UTF-8, as an overlong form of `.` or `/` that some decoders take does not, and no segment is
/// dots to whoever trims spaces.
fn escapes_text(path: &str) -> bool {
    let dots = |segment: &str| matches!(segment.trim(), "." | "..");
    let text = |decoded: std::borrow::Cow<'_, str>| !decoded.split('/').any(dots);
    !path.contains('%') || percent_encoding::percent_decode_str(path).decode_utf8().is_ok_and(text)
}

/// Whether an escape stands for a byte that could neither be written plainly nor changes the path's shape.
fn harmless_escape(after: &str) -> bool {
    let Some(byte) = after.get(..2).filter(|h| h.bytes().all(|b| b.is_ascii_hexdigit())) else { return false };
    let Ok(byte) = u8::from_str_radix(byte, 16) else { return false };
    let unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    !(unreserved || byte.is_ascii_control() || b"/\\%;?#".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_confusion_is_refused_and_plain_paths_pass() {
        for bad in [
            "/pub/../admin",
            "/pub/%2e%2e/admin",
            "/%252e",
            "/pub%2f..%2fadmin",
            "//admin",
            "/admin;x",
            "/a\\b",
            "/%00",
            "/a/.",
            "/a/%",
            "/a/%zz",
            "/a b",
            "/%61dmin",
            "http://h/a",
            "*",
            "",
            "/a//",
            "/é",
            "/a\r\nb",
            "/a#b",
            "/%c0%ae%c0%ae/a",
            "/%ff",
            "/a/%20../b",
            "/a/..%20",
        ] {
            assert!(canonical(bad.as_bytes()).is_err(), "{bad}");
        }
        for good in ["/", "/a/b", "/a/", "/a%20b", "/%C3%A9", "/a.b/..c", "/a:b@c,d"] {
            assert_eq!(canonical(good.as_bytes()), Ok(good));
        }
    }

    #[test]
    fn what_reads_as_one_path_has_one_plain_form() {
        assert_eq!(plain("/a%21b%40%c3%a9%20").as_deref(), Some("/a!b@%C3%A9%20"));
        for plainly in ["/a!b", "/caf%C3%A9", "/a%20b", "/"] {
            assert_eq!(plain(plainly), None, "{plainly}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_passes_is_unchanged_and_has_no_dot_segment(raw in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..64)) {
            if let Ok(path) = canonical(&raw) {
                assert_eq!(path.as_bytes(), raw);
                let decoded: Vec<u8> = percent_encoding::percent_decode(&raw).collect();
                assert!(decoded.split(|b| *b == b'/').all(|s| s != b"." && s != b".."));
            }
        }
    }
}
