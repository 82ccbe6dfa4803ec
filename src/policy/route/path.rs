//! How a route's path is written and matched.
use super::canonical::{canonical, plain};

/// How a route's path is matched, most specific first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathRule {
    /// Exactly this path.
    Exact(String),
    /// Segments, `None` standing for any one (`/orders/{id}`).
    Pattern(Vec<Option<String>>),
    /// This path and everything beneath it, at a segment's border.
    Prefix(String),
}

impl PathRule {
    /// Reads `/a` (exact), `/a/{id}` (pattern) or `/a/*` (prefix), of which some request can be.
    pub fn parse(text: &str) -> Result<Self, String> {
        let rule = Self::shaped(text)?;
        let such = rule.such();
        if canonical(such.as_bytes()).is_err() {
            return Err(
                "no request has such a path: one with //, . or .. between slashes, ; \\ or a space, or an escape of \
                        what is written plainly is refused; what is beyond ASCII is written as %C3%A9"
                    .to_owned(),
            );
        }
        match plain(&such) {
            Some(_) => Err(format!("{} is how it is written plainly", plain(text).unwrap_or_default())),
            None => Ok(rule),
        }
    }

    fn shaped(text: &str) -> Result<Self, &'static str> {
        if !text.starts_with('/') {
            return Err("a path begins with /");
        }
        if let Some(prefix) = text.strip_suffix("/*") {
            return if prefix.contains(['*', '{']) {
                Err("a prefix takes no pattern")
            } else {
                Ok(Self::Prefix(prefix.to_owned()))
            };
        }
        if text.contains('*') {
            return Err("* stands only at the end, as /*");
        }
        if !text.contains(['{', '}']) {
            return Ok(Self::Exact(text.to_owned()));
        }
        let segment = |s: &str| match (s.strip_prefix('{').and_then(|s| s.strip_suffix('}')), s.contains(['{', '}'])) {
            (Some(name), _) if !name.is_empty() => Ok(None),
            (None, false) => Ok(Some(s.to_owned())),
            _ => Err("{name} must be a whole segment"),
        };
        text[1..].split('/').map(segment).collect::<Result<_, _>>().map(Self::Pattern)
    }

    /// A path that is covered.
    fn such(&self) -> String {
        match self {
            Self::Exact(path) => path.clone(),
            Self::Prefix(prefix) => format!("{prefix}/x"),
            Self::Pattern(segments) => segments.iter().map(|s| format!("/{}", s.as_deref().unwrap_or("x"))).collect(),
        }
    }

    /// How every path that is covered begins, up to a segment's border.
    pub fn beginning(&self) -> String {
        match self {
            Self::Exact(path) => path.clone(),
            Self::Prefix(prefix) => format!("{prefix}/"),
            Self::Pattern(segments) => {
                let literal = segments.iter().map_while(|s| s.as_deref()).map(|s| format!("/{s}"));
                literal.collect::<String>() + "/"
            }
        }
    }

    /// Whether the canonical `path` is covered.
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == path,
            Self::Prefix(prefix) => {
                path.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            Self::Pattern(segments) => {
                let mut given = path[1..].split('/');
                segments.iter().all(|s| given.next().is_some_and(|g| s.as_deref().map_or(!g.is_empty(), |s| s == g)))
                    && given.next().is_none()
            }
        }
    }
}

impl std::fmt::Display for PathRule {
    /// As it is written, but for the names of segments.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(path) => f.write_str(path),
            Self::Prefix(prefix) => write!(f, "{prefix}/*"),
            Self::Pattern(segments) => {
                segments.iter().try_for_each(|segment| write!(f, "/{}", segment.as_deref().unwrap_or("{}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_match_at_segment_borders() {
        let rule = |text| PathRule::parse(text).expect("a rule");
        assert!(rule("/a/*").matches("/a") && rule("/a/*").matches("/a/b") && !rule("/a/*").matches("/ab"));
        assert!(rule("/a/{id}/c").matches("/a/7/c") && !rule("/a/{id}/c").matches("/a//c"));
        assert!(!rule("/a/{id}").matches("/a/7/8"));
        let shown = |text| rule(text).to_string();
        assert_eq!((&*shown("/a/*"), &*shown("/a/{id}/c"), &*shown("/a")), ("/a/*", "/a/{}/c", "/a"));
        assert!(PathRule::parse("/a*").is_err() && PathRule::parse("/a/x{y}").is_err());
        assert_eq!((&*rule("/a/*").beginning(), &*rule("/a/{id}/c").beginning()), ("/a/", "/a/"));
    }

    #[test]
    fn a_path_that_no_request_can_have_is_no_rule() {
        for never in
            ["/a//b", "/a//*", "/a/%2e%2e/b", "/a/../{id}", "/a b", "/%61", "/é", "/a;b", "/a\\b", "/a?b", "/%zz"]
        {
            assert!(PathRule::parse(never).unwrap_err().starts_with("no request"), "{never}");
        }
        for (twice, once) in [("/a%21b", "/a!b"), ("/caf%c3%a9/*", "/caf%C3%A9/*"), ("/a%40/{id}", "/a@/{id}")] {
            assert!(PathRule::parse(twice).unwrap_err().starts_with(once), "{twice}");
            assert!(PathRule::parse(once).is_ok(), "{once}");
        }
        assert!(["/", "/*", "/a/", "/a/{id}/", "/a%20b"].iter().all(|p| PathRule::parse(p).is_ok()));
    }
}
