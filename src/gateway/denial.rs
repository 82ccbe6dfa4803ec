//! What a refused request is told (RFC 6750 §3).
use super::guard::Denial;
use crate::{
    policy::route::{Asked, ErrorStyle, Route},
    provider::possession::NONCE,
    token::proof::ALGORITHMS,
};
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
            Self::NotProven => {
                (StatusCode::UNAUTHORIZED, "invalid_token", "the token is bound to a key: show it with a DPoP proof")
            }
            Self::NotBound => (StatusCode::UNAUTHORIZED, "invalid_token", "a token that is bound to a key is required"),
            Self::NotItsCertificate => (
                StatusCode::UNAUTHORIZED,
                "invalid_token",
                "the token is bound to a client certificate that this connection has not shown",
            ),
            Self::Misdirected => (
                StatusCode::MISDIRECTED_REQUEST,
                "misdirected_request",
                "this host asks for a client certificate, and this connection was made for another: connect anew",
            ),
            Self::InvalidProof => {
                (StatusCode::UNAUTHORIZED, "invalid_dpop_proof", "the DPoP proof is missing or does not hold")
            }
            Self::UseNonce => (
                StatusCode::UNAUTHORIZED,
                "use_dpop_nonce",
                "the DPoP proof needs the nonce that comes with this answer",
            ),
            Self::OtherToken => (StatusCode::FORBIDDEN, "access_denied", "this route takes another kind of token"),
            Self::InsufficientScope => {
                (StatusCode::FORBIDDEN, "insufficient_scope", "the token's scopes do not suffice")
            }
            Self::ClientNotAllowed => (StatusCode::FORBIDDEN, "access_denied", "this app may not use this route"),
            Self::IpRestricted => (StatusCode::FORBIDDEN, "ip_restricted", "ip restricted"),
            Self::Unavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", "nothing can be decided now; try again")
            }
        }
    }

    /// The response.
    pub fn response(self, told: &Told) -> Response<Bytes> {
        let (status, code, description) = self.words();
        let body = match (told.style, self) {
            (
                ErrorStyle::Salesforce,
                Self::Unauthenticated | Self::InvalidToken | Self::NotProven | Self::NotBound | Self::NotItsCertificate,
            ) => json!([{"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}]),
            (ErrorStyle::Salesforce, _) => json!([{"message": description, "errorCode": code.to_ascii_uppercase()}]),
            (ErrorStyle::Oauth, _) => json!({"error": code, "error_description": description}),
        };
        let mut response = json_response(status, &body);
        let headers = response.headers_mut();
        let realm = format!("Bearer realm=\"portcullis\"{}", told.metadata);
        let dpop = || format!("DPoP realm=\"portcullis\"{}, algs=\"{}\"", told.metadata, ALGORITHMS.join(" "));
        let challenge = match self {
            Self::Unauthenticated if told.proof => Some(dpop()),
            Self::InvalidToken if told.proof => Some(format!("{}, error=\"{code}\"", dpop())),
            Self::NotProven | Self::NotBound | Self::InvalidProof | Self::UseNonce => {
                Some(format!("{}, error=\"{code}\"", dpop()))
            }
            Self::Unauthenticated => Some(realm),
            Self::InvalidToken | Self::NotItsCertificate | Self::InvalidRequest => {
                Some(format!("{realm}, error=\"{code}\""))
            }
            Self::InsufficientScope => Some(format!("{realm}, error=\"{code}\", scope=\"{}\"", told.scope)),
            Self::NotFound
            | Self::MethodNotAllowed
            | Self::ClientNotAllowed
            | Self::IpRestricted
            | Self::OtherToken
            | Self::Misdirected
            | Self::Unavailable => None,
        };
        // A scope token carries no quote and no control character (RFC 6749 §3.3).
        if let Some(value) = challenge.and_then(|c| HeaderValue::from_str(&c).ok()) {
            headers.insert(header::WWW_AUTHENTICATE, value);
        }
        if let Some(nonce) = told.nonce.as_deref().and_then(|n| HeaderValue::from_str(n).ok()) {
            headers.insert(NONCE, nonce);
        }
        if self == Self::MethodNotAllowed
            && let Ok(value) = HeaderValue::from_str(&told.allow)
        {
            headers.insert(header::ALLOW, value);
        }
        if self == Self::Unavailable {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// What a denial may tell of the route.
#[derive(Debug, Default)]
pub struct Told {
    /// Shape of the body.
    pub style: ErrorStyle,
    /// The scopes the route asks for.
    pub scope: String,
    /// `resource_metadata` of the challenge (RFC 9728 §5.1), with its comma.
    pub metadata: String,
    /// Methods that the path takes.
    pub allow: String,
    /// Whether the route asks for tokens that are bound to a key.
    pub proof: bool,
    /// For the next proof (RFC 9449 §9).
    pub nonce: Option<String>,
    /// The route's terms.
    pub terms: Asked,
    /// The page that a person is shown instead.
    pub page: Option<&'static str>,
}

impl Told {
    /// Nothing but the shape.
    pub fn nothing(style: ErrorStyle) -> Self {
        Self { style, ..Self::default() }
    }

    /// What is to be known of `route` for `method`.
    pub fn of(route: &Route, method: &str) -> Self {
        let requirement = route.requirement(method);
        let needed: Vec<&str> = requirement.all.iter().chain(requirement.any.iter()).collect();
        Self {
            style: route.errors,
            scope: needed.join(" "),
            metadata: format!(", resource_metadata=\"{}\"", route.metadata_url()),
            allow: String::new(),
            proof: requirement.proof,
            nonce: None,
            terms: route.terms.clone(),
            page: None,
        }
    }
}

/// The answer when the upstream or the way to it failed.
pub fn failure(status: u16, style: ErrorStyle) -> Response<Bytes> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let (code, description) = match status {
        StatusCode::BAD_GATEWAY => ("bad_gateway", "the upstream did not answer"),
        StatusCode::GATEWAY_TIMEOUT => ("gateway_timeout", "the upstream took too long"),
        StatusCode::PAYLOAD_TOO_LARGE => ("invalid_request", "the body is too large"),
        StatusCode::TOO_MANY_REQUESTS => ("rate_limited", "a limit of requests is reached"),
        StatusCode::SERVICE_UNAVAILABLE => ("temporarily_unavailable", "no upstream takes requests now"),
        StatusCode::REQUEST_TIMEOUT => ("invalid_request", "the request came too slowly"),
        s if s.is_client_error() => ("invalid_request", "the request is malformed"),
        _ => ("server_error", "the request could not be served"),
    };
    let body = match style {
        ErrorStyle::Oauth => json!({"error": code, "error_description": description}),
        ErrorStyle::Salesforce => json!([{"message": description, "errorCode": code.to_ascii_uppercase()}]),
    };
    let mut response = json_response(status, &body);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

fn json_response(status: StatusCode, body: &serde_json::Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_6750_challenges_and_the_salesforce_body() {
        let told = Told { scope: "read write".to_owned(), ..Told::default() };
        let challenge = |d: Denial| d.response(&told).headers().get("www-authenticate").cloned();
        assert_eq!(challenge(Denial::Unauthenticated).unwrap(), "Bearer realm=\"portcullis\"");
        assert_eq!(challenge(Denial::InvalidToken).unwrap(), "Bearer realm=\"portcullis\", error=\"invalid_token\"");
        let scope = challenge(Denial::InsufficientScope).unwrap();
        assert_eq!(scope, "Bearer realm=\"portcullis\", error=\"insufficient_scope\", scope=\"read write\"");
        assert_eq!(challenge(Denial::Unavailable), None);
        assert_eq!(Denial::Unavailable.words().0, 503, "never 401 when a dependency is down");
        let body = Denial::InvalidToken.response(&Told::nothing(ErrorStyle::Salesforce)).into_body();
        assert_eq!(&body[..], br#"[{"errorCode":"INVALID_SESSION_ID","message":"Session expired or invalid"}]"#);
    }
}
