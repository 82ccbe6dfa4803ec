//! Client authentication (RFC 6749 §2.3, RFC 7523 §2.2, RFC 8705 §2).
use super::{
    Cx,
    error::{Code, OAuthError, Situation},
    params::Params,
};
use crate::{
    clock::Timestamp,
    grant::saml_bearer,
    model::{AuthMethod, Client, ClientCertificate},
    secret::{Digest, Plain},
    store::{Change, Changes, StoreError},
    token::assertion,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, header::AUTHORIZATION};
use std::sync::Arc;

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// RFC 7522 §2.2.
const SAML_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:saml2-bearer";

/// Who calls, and what must be written if the request goes through.
pub struct Authenticated {
    /// The client.
    pub client: Arc<Client>,
    /// Whether it proved who it is.
    pub proven: bool,
    /// Single use of its assertion.
    pub once: Option<Change>,
    /// The secret that it showed, which was right.
    pub secret: Option<Plain>,
}

impl Authenticated {
    /// Uses the assertion up where the request writes nothing else (S37).
    pub async fn spend(&mut self, cx: &Cx) -> Result<(), OAuthError> {
        match self.once.take() {
            Some(once) => cx.store.commit(Changes(vec![once]), cx.now).await.map_err(replayed),
            None => Ok(()),
        }
    }
}

/// Where nothing but a client's assertion can have been written before (RFC 7521 §4.2.1).
pub fn replayed(error: StoreError) -> OAuthError {
    match error {
        StoreError::Conflict(_) => replay(),
        other => other.into(),
    }
}

/// An assertion that proves who the client is was used before (S37).
pub fn replay() -> OAuthError {
    refused("client assertion: used before")
}

enum Presented {
    Secret { id: String, secret: String },
    Assertion { id: String, jws: String },
    Saml { id: String, assertion: String },
    Name(String),
}

/// One method per request (S17); the answer to a wrong secret and to an unknown client is the same.
pub fn authenticate(headers: &HeaderMap, params: &Params, cx: &Cx) -> Result<Option<Authenticated>, OAuthError> {
    let Some(presented) = presented(headers, params)? else { return Ok(None) };
    let id = match &presented {
        Presented::Secret { id, .. }
        | Presented::Assertion { id, .. }
        | Presented::Saml { id, .. }
        | Presented::Name(id) => id,
    };
    let unknown = || refused("unknown client").of(Situation::UnknownClient);
    let client = cx.policy.clients.get(id.as_str()).ok_or_else(unknown)?.clone();
    let wrong = |what| Err(refused(what).about(&client.id, ""));
    let (proven, once) = match (&presented, client.auth_method) {
        (Presented::Secret { secret, .. }, AuthMethod::ClientSecret) => {
            // Every digest is compared, whichever matches.
            let counts = |d: &Digest| client.policies.secret.counts(d, cx.now);
            let matches = client.secrets.iter().fold(false, |seen, d| d.matches(secret.as_bytes()) & counts(d) | seen);
            if !matches {
                return wrong("wrong secret");
            }
            (true, None)
        }
        (Presented::Assertion { jws, .. }, AuthMethod::PrivateKeyJwt) => {
            let verified =
                assertion::verify(jws, &client.id, &client.keys, &cx.rules(&client), client.assertion_lifetime, cx.now)
                    .map_err(|why| refused(&format!("client assertion: {why}")))?;
            if verified.subject != *client.id {
                return wrong("client assertion: sub is not the client");
            }
            (true, Some(verified.once))
        }
        (Presented::Saml { assertion, .. }, AuthMethod::PrivateKeyJwt) => {
            let told = |why: OAuthError| refused(&format!("client assertion: {}", why.detail));
            let once = saml_bearer::proves(assertion, &client, cx).map_err(told)?;
            (true, Some(once))
        }
        // A connection without certificate is no attempt: what needs one refuses it.
        (Presented::Name(_), AuthMethod::TlsClientAuth | AuthMethod::SelfSignedTlsClientAuth) => {
            match &cx.certificate {
                None => (false, None),
                Some(shown) if is_registered(shown, &client, cx.now) => (true, None),
                Some(_) => return wrong("not the client's certificate"),
            }
        }
        (Presented::Name(_), _) => (false, None),
        _ => return wrong("method not registered for this client"),
    };
    let secret = match &presented {
        Presented::Secret { secret, .. } => Some(Plain::of(secret)),
        Presented::Assertion { .. } | Presented::Saml { .. } | Presented::Name(_) => None,
    };
    Ok(Some(Authenticated { client, proven, once, secret }))
}

/// Whether `shown` is the certificate that `client` is known by. Its key was proven in the handshake; what it says is
/// believed if an authority vouches for it, and otherwise it has to be the registered one itself.
fn is_registered(shown: &ClientCertificate, client: &Client, now: Timestamp) -> bool {
    match client.auth_method {
        AuthMethod::TlsClientAuth => {
            shown.trusted && client.certificate_name.as_ref().is_some_and(|name| shown.carries(name))
        }
        AuthMethod::SelfSignedTlsClientAuth => {
            let registered = client.keys.iter().filter_map(|key| key.certificate.as_deref());
            registered.into_iter().any(|der| shown.is(der)) && shown.is_valid_at(now)
        }
        AuthMethod::ClientSecret | AuthMethod::PrivateKeyJwt | AuthMethod::None => false,
    }
}

fn presented(headers: &HeaderMap, params: &Params) -> Result<Option<Presented>, OAuthError> {
    let basic = basic(headers)?;
    let name = params.get("client_id");
    let secret = params.get("client_secret");
    let jws = params.get("client_assertion");
    if usize::from(basic.is_some()) + usize::from(secret.is_some()) + usize::from(jws.is_some()) > 1 {
        return Err(OAuthError::new(Code::InvalidRequest, "more than one client authentication method"));
    }
    if let Some((id, secret)) = basic {
        if name.is_some_and(|n| n != id) {
            return Err(OAuthError::new(Code::InvalidRequest, "client_id differs from the authenticated client"));
        }
        return Ok(Some(Presented::Secret { id, secret }));
    }
    if let Some(jws) = jws {
        let issuer = match params.get("client_assertion_type") {
            Some(ASSERTION_TYPE) => assertion::unverified_issuer(jws),
            Some(SAML_TYPE) => saml_bearer::unverified_issuer(jws),
            _ => return Err(OAuthError::new(Code::InvalidRequest, "unknown client_assertion_type")),
        };
        let id = issuer.ok_or_else(|| refused("client assertion: malformed"))?;
        if name.is_some_and(|n| n != id) {
            return Err(OAuthError::new(Code::InvalidRequest, "client_id differs from the authenticated client"));
        }
        let text = jws.to_owned();
        return Ok(Some(match params.get("client_assertion_type") {
            Some(SAML_TYPE) => Presented::Saml { id, assertion: text },
            _ => Presented::Assertion { id, jws: text },
        }));
    }
    Ok(match (name, secret) {
        (Some(id), Some(secret)) => Some(Presented::Secret { id: id.to_owned(), secret: secret.to_owned() }),
        (None, Some(_)) => return Err(OAuthError::new(Code::InvalidRequest, "client_id is missing")),
        (Some(id), None) => Some(Presented::Name(id.to_owned())),
        (None, None) => None,
    })
}

fn basic(headers: &HeaderMap) -> Result<Option<(String, String)>, OAuthError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let malformed = || OAuthError::new(Code::InvalidRequest, "malformed Authorization header");
    if values.next().is_some() {
        return Err(malformed());
    }
    let (scheme, rest) = value.to_str().ok().and_then(|v| v.split_once(' ')).ok_or_else(malformed)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(malformed());
    }
    let text = STANDARD.decode(rest.trim()).ok().and_then(|b| String::from_utf8(b).ok()).ok_or_else(malformed)?;
    let (id, secret) = text.split_once(':').ok_or_else(malformed)?;
    // Both parts are form-encoded (RFC 6749 §2.3.1).
    let decode = |part: &str| {
        let spaced = part.replace('+', " ");
        percent_encoding::percent_decode_str(&spaced).decode_utf8().map(|s| s.into_owned()).map_err(|_| malformed())
    };
    Ok(Some((decode(id)?, decode(secret)?)))
}

fn refused(detail: &str) -> OAuthError {
    OAuthError::new(Code::InvalidClient, "client authentication failed").detail(detail)
}
