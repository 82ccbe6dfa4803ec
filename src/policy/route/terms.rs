//! What a route asks for beyond a decision and an upstream; a plain route has none of it.
use super::{Limit, Requirement};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use std::{collections::BTreeSet, sync::Arc};

/// All of it.
#[derive(Debug, Default)]
pub struct Terms {
    /// Which pages of other origins may read what it answers.
    pub cors: Option<Cors>,
    /// What changes in a request's headers.
    pub request_headers: HeaderRules,
    /// What changes in a response's headers.
    pub response_headers: HeaderRules,
    /// What changes at the beginning of the path, after the decision.
    pub rewrite: Option<Rewrite>,
    /// How many requests.
    pub limits: Vec<Limit>,
    /// Nobody is let through for now.
    pub maintenance: Option<Maintenance>,
    /// What the route is going to need: decided on and reported, not enforced.
    pub shadow: Option<Requirement>,
    /// The upstream is told the client's certificate (RFC 9440).
    pub client_cert: bool,
}

/// Headers set and removed.
#[derive(Default, PartialEq, Eq)]
pub struct HeaderRules {
    /// Set, whatever was there.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Removed.
    pub remove: Vec<HeaderName>,
}

impl std::fmt::Debug for HeaderRules {
    /// A value may be an upstream's secret: enough of its digest is shown to see that it changed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let masked = |value: &HeaderValue| crate::secret::Digest::of(value.as_bytes()).hex()[..6].to_owned();
        let set: Vec<_> = self.set.iter().map(|(name, value)| format!("{name}: {}…", masked(value))).collect();
        write!(f, "set {set:?} remove {:?}", self.remove)
    }
}

/// The beginning of a path exchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// Taken away; empty for nothing.
    pub strip: String,
    /// Put there instead; empty for nothing.
    pub add: String,
}

impl Rewrite {
    /// `target` (path and query) with its beginning exchanged; a path never becomes empty.
    pub fn apply(&self, target: &[u8]) -> Vec<u8> {
        let rest = target.strip_prefix(self.strip.as_bytes()).unwrap_or(target);
        let slash: &[u8] =
            if rest.first() == Some(&b'/') || (!self.add.is_empty() && rest.is_empty()) { b"" } else { b"/" };
        let slash = if rest.first() == Some(&b'?') && !self.add.is_empty() { b"" } else { slash };
        [self.add.as_bytes(), slash, rest].concat()
    }
}

/// A closed route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maintenance {
    /// Seconds after which to ask again.
    pub retry_after: u32,
    /// What people are told.
    pub message: String,
}

/// Cross-origin resource sharing (Fetch §3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// Exact origins; empty means any, and then without credentials.
    pub origins: BTreeSet<String>,
    /// Methods that a preflight allows.
    pub methods: HeaderValue,
    /// Request headers that a preflight allows.
    pub headers: HeaderValue,
    /// Response headers that a page may read.
    pub expose: Option<HeaderValue>,
    /// Whether cookies may come along.
    pub credentials: bool,
    /// Seconds that a preflight's answer is kept.
    pub max_age: u32,
}

impl Cors {
    /// What a response to `origin` says; nothing to an origin that is not allowed.
    pub fn answer(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) -> bool {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        let named = origin.filter(|o| o.to_str().is_ok_and(|o| self.origins.contains(o)));
        let allowed = match (named, origin) {
            (Some(origin), _) => origin.clone(),
            (None, Some(_)) if self.origins.is_empty() => HeaderValue::from_static("*"),
            _ => return false,
        };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        if self.credentials {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        if let Some(expose) = &self.expose {
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone());
        }
        true
    }

    /// Whether pages of `origin` may act with what the browser holds of ours.
    pub fn trusts(&self, origin: &HeaderValue) -> bool {
        self.credentials && origin.to_str().is_ok_and(|origin| self.origins.contains(origin))
    }

    /// What a preflight is told besides.
    pub fn preflight(&self, headers: &mut HeaderMap) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, self.methods.clone());
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, self.headers.clone());
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(self.max_age));
    }
}

/// The method that a preflight asks about (Fetch §3.2.2); `None` for what is no preflight.
pub fn preflight<'a>(method: &Method, headers: &'a HeaderMap) -> Option<&'a str> {
    let asked = || headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?.to_str().ok();
    (method == Method::OPTIONS && headers.contains_key(header::ORIGIN)).then(asked).flatten()
}

/// A route's terms, where it has any.
pub type Asked = Option<Arc<Terms>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rewrite_changes_the_beginning_and_nothing_else() {
        let rewritten = |strip: &str, add: &str, target: &str| {
            let rule = Rewrite { strip: strip.into(), add: add.into() };
            String::from_utf8(rule.apply(target.as_bytes())).unwrap()
        };
        assert_eq!(rewritten("/api", "", "/api/a%20b?x=/api"), "/a%20b?x=/api");
        assert_eq!(rewritten("/api", "/v2", "/api/a"), "/v2/a");
        assert_eq!((rewritten("/api", "", "/api"), rewritten("/api", "", "/api?q")), ("/".into(), "/?q".into()));
        assert_eq!(
            (rewritten("/api", "/v2", "/api"), rewritten("/api", "/v2", "/api?q")),
            ("/v2".into(), "/v2?q".into())
        );
        assert_eq!(rewritten("", "/v2", "/a"), "/v2/a");
    }

    #[test]
    fn an_origin_is_told_only_what_is_meant_for_it() {
        let cors = |origins: &[&str], credentials| Cors {
            origins: origins.iter().map(|&o| o.to_owned()).collect(),
            methods: HeaderValue::from_static("GET"),
            headers: HeaderValue::from_static("authorization"),
            expose: None,
            credentials,
            max_age: 600,
        };
        let told = |cors: &Cors, origin: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            cors.answer(origin.map(HeaderValue::from_static).as_ref(), &mut headers);
            headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN).map(|v| v.to_str().unwrap().to_owned())
        };
        let named = cors(&["https://a.example"], true);
        assert_eq!(told(&named, Some("https://a.example")).as_deref(), Some("https://a.example"));
        for foreign in [None, Some("https://b.example"), Some("null"), Some("https://a.example.evil")] {
            assert_eq!(told(&named, foreign), None);
        }
        assert_eq!(told(&cors(&[], false), Some("https://b.example")).as_deref(), Some("*"));
    }
}
