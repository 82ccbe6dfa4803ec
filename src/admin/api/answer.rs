//! Answers: JSON, nothing, or a problem (RFC 9457).
use super::{Bytes, Failed, HeaderValue, Method, Response, StatusCode, header};
use crate::store::StoreError;
use serde::Serialize;

/// What went wrong, for the caller to read.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct Problem {
    /// The kind: `about:blank`, since the status says it.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The status in words.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What would be right.
    pub detail: String,
    #[serde(skip)]
    header: Option<Box<(header::HeaderName, HeaderValue)>>,
}

impl Problem {
    /// A problem that its status names.
    pub fn new(status: u16, detail: impl Into<String>) -> Self {
        let title = StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or("Problem");
        Self { kind: "about:blank", title, status, detail: detail.into(), header: None }
    }

    fn challenge(self, text: &str) -> Self {
        Self { header: HeaderValue::from_str(text).ok().map(|v| Box::new((header::WWW_AUTHENTICATE, v))), ..self }
    }

    /// 401 (RFC 6750 §3): without an error code where no token came.
    pub fn unauthorized(error: Option<&str>, detail: &str) -> Self {
        let error = error.map(|e| format!(", error=\"{e}\"")).unwrap_or_default();
        Self::new(401, detail).challenge(&format!("Bearer realm=\"portcullis admin\"{error}"))
    }

    /// 403: the token is good, its scope is not enough.
    pub fn insufficient(scope: &str) -> Self {
        let text = format!("Bearer realm=\"portcullis admin\", error=\"insufficient_scope\", scope=\"{scope}\"");
        Self::new(403, format!("the scope {scope} is needed")).challenge(&text)
    }

    /// 405 with what is allowed.
    pub fn not_allowed(allowed: &[Method]) -> Self {
        let names: Vec<&str> = allowed.iter().map(Method::as_str).collect();
        let header = HeaderValue::from_str(&names.join(", ")).ok().map(|v| Box::new((header::ALLOW, v)));
        Self { header, ..Self::new(405, format!("allowed: {}", names.join(", "))) }
    }

    /// As it is sent.
    pub fn response(self) -> Response<Bytes> {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = json(status, &self);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some((name, value)) = self.header.map(|h| *h) {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

impl From<Failed> for Problem {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Unknown(_) => Self::new(404, failed.to_string()),
            Failed::Refused(_) => Self::new(422, failed.to_string()),
            Failed::Store(StoreError::Conflict(_)) => Self::new(409, "somebody else changed the same; look again"),
            Failed::Store(StoreError::Unavailable(_) | StoreError::Corrupt(_)) => {
                Self::new(503, "the store does not answer; try again")
            }
        }
    }
}

/// `value` as JSON.
pub fn json(status: StatusCode, value: &impl Serialize) -> Response<Bytes> {
    let body = serde_json::to_vec(value).expect("what is answered is plain data");
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// 204.
pub fn nothing() -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
