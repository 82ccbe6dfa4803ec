//! What a refused request is told (RFC 6750 §3).
use super::guard::Denial;
use crate::policy::route::ErrorStyle;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::json;

impl Denial {
    /// Status, error code and description.
    pub const fn words(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found", "no route leads there"),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "the route does not take this method")
            }
            Self::Unauthenticated => (StatusCode::UNAUTHORIZED, "unauthorized", "a bearer token is required"),
            Self::InvalidRequest => (StatusCode::BAD_REQUEST, "invalid_request", "the request is malformed"),
            Self::InvalidToken => (StatusCode::UNAUTHORIZED, "invalid_token", "the token is invalid or has ended"),
            Self::InsufficientScope => {
                (StatusCode::FORBIDDEN, "insufficient_scope", "the token's scopes do not suffice")
            }
            Self::ClientNotAllowed => (StatusCode::FORBIDDEN, "access_denied", "this app may not use this route"),
            Self::Unavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", "nothing can be decided now; try again")
            }
        }
    }

    /// The response; `scope` is what the route asks for, where one was found.
    pub fn response(self, style: ErrorStyle, scope: &str) -> Response<Bytes> {
        let (status, code, description) = self.words();
        let body = match (style, self) {
            (ErrorStyle::Salesforce, Self::Unauthenticated | Self::InvalidToken) => {
                json!([{"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}])
            }
            (ErrorStyle::Salesforce, _) => json!([{"message": description, "errorCode": code.to_ascii_uppercase()}]),
            (ErrorStyle::Oauth, _) => json!({"error": code, "error_description": description}),
        };
        let mut response = Response::new(Bytes::from(body.to_string()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let challenge = match self {
            Self::Unauthenticated => Some("Bearer realm=\"portcullis\"".to_owned()),
            Self::InvalidToken | Self::InvalidRequest => Some(format!("Bearer realm=\"portcullis\", error=\"{code}\"")),
            Self::InsufficientScope => {
                Some(format!("Bearer realm=\"portcullis\", error=\"{code}\", scope=\"{scope}\""))
            }
            Self::NotFound | Self::MethodNotAllowed | Self::ClientNotAllowed | Self::Unavailable => None,
        };
        // A scope token carries no quote and no control character (RFC 6749 §3.3).
        if let Some(value) = challenge.and_then(|c| HeaderValue::from_str(&c).ok()) {
            headers.insert(header::WWW_AUTHENTICATE, value);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_6750_challenges_and_the_salesforce_body() {
        let challenge =
            |d: Denial| d.response(ErrorStyle::Oauth, "read write").headers().get("www-authenticate").cloned();
        assert_eq!(challenge(Denial::Unauthenticated).unwrap(), "Bearer realm=\"portcullis\"");
        assert_eq!(challenge(Denial::InvalidToken).unwrap(), "Bearer realm=\"portcullis\", error=\"invalid_token\"");
        let scope = challenge(Denial::InsufficientScope).unwrap();
        assert_eq!(scope, "Bearer realm=\"portcullis\", error=\"insufficient_scope\", scope=\"read write\"");
        assert_eq!(challenge(Denial::Unavailable), None);
        assert_eq!(Denial::Unavailable.words().0, 503, "never 401 when a dependency is down");
        let body = Denial::InvalidToken.response(ErrorStyle::Salesforce, "").into_body();
        assert_eq!(&body[..], br#"[{"errorCode":"INVALID_SESSION_ID","message":"Session expired or invalid"}]"#);
    }
}
