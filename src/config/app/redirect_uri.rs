//! Which redirect URIs may be registered.

/// No fragment, and nothing that anybody on the way could read (S3).
pub fn acceptable(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let sound = text.bytes().all(|b| b.is_ascii_graphic()) && !text.contains(['#', '"', '<', '>', '\\', '^', '`']);
    let named = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b));
    let authority = rest.strip_prefix("//").map(|r| r.split(['/', '?']).next().unwrap_or_default());
    sound
        && named
        && match scheme {
            "https" => authority.is_some_and(|a| !a.is_empty() && !a.contains('@')),
            "http" => authority.is_some_and(crate::grant::authorization_code::is_loopback),
            "javascript" | "data" | "vbscript" | "file" | "blob" | "about" => false,
            // A scheme of one's own is a reversed domain name, or at least no word that a browser knows.
            _ => !rest.is_empty(),
        }
}

#[cfg(test)]
mod tests {
    use super::acceptable;

    #[test]
    fn s3_redirect_uris_carry_no_fragment_and_no_plain_http_except_loopback() {
        for good in [
            "https://app.example/cb",
            "https://app.example:8443/cb?tenant=1",
            "http://127.0.0.1/cb",
            "http://[::1]:8080/cb",
            "http://localhost/cb",
            "com.example.app:/cb",
        ] {
            assert!(acceptable(good), "{good}");
        }
        for bad in [
            "https://app.example/cb#x",
            "http://app.example/cb",
            "http://127.0.0.1.evil.example/cb",
            "https://user@app.example/cb",
            "https://",
            "/cb",
            "javascript:alert(1)",
            "data:text/html,x",
            "https://app.example/a b",
            "",
        ] {
            assert!(!acceptable(bad), "S3 {bad}");
        }
    }
}
