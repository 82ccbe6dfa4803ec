//! Web server flow: an authorization code, bound to client, redirect URI and PKCE challenge (RFC 6749 §4.1, RFC 7636).
use super::{Grant, Held, Redeemed, TokenRequest, begin, user_may};
use crate::{
    clock::Timestamp,
    model::{Client, Level, ScopeSet, Wire, authorization::ClaimsRequest, session::Method},
    provider::{
        Cx,
        error::{Code, OAuthError, Situation},
    },
    secret::{self, Digest},
    store::{Change, Expect, Record},
};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Seconds that a code may be redeemed (S24).
pub const LIFETIME: i64 = 60;
/// Seconds that a redeemed code is remembered, so that a replay is known for what it is (S26).
const REMEMBERED: i64 = 3600;

/// What a code stands for; stored under the code's digest alone (S22).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AuthorizationCode {
    /// The client.
    pub client: String,
    /// The redirect URI, as it was asked for.
    pub redirect_uri: String,
    /// Whether the request named the redirect URI, so that the exchange must name it too.
    pub redirect_uri_named: bool,
    /// The S256 challenge, if PKCE is used.
    pub challenge: Option<String>,
    /// The subject.
    pub subject: String,
    /// Granted scopes.
    pub scopes: String,
    /// `nonce` for the ID token.
    pub nonce: Option<String>,
    /// The sign-on session.
    pub sid: String,
    /// When that ends at the latest; not known of codes of before this was written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_ends: Option<Timestamp>,
    /// When the subject proved who they are.
    pub auth_time: Timestamp,
    /// How.
    pub level: Level,
    /// With what, here.
    #[serde(default)]
    pub amr: Vec<Method>,
    /// Claims asked for by name.
    pub claims: ClaimsRequest,
    /// Thumbprint of the key that its tokens will be bound to (`dpop_jkt`, RFC 9449 §10).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Digest>,
    /// The identifier of the authorization that the code turns into.
    pub authorization: String,
    /// Until when it may be redeemed.
    pub expires: Timestamp,
    /// Whether it has been.
    pub redeemed: bool,
}

fn key(code: &str) -> String {
    format!("code/{}", Digest::text(code))
}

impl AuthorizationCode {
    /// A new code's text and the write that makes it good.
    pub fn issue(&self) -> (String, Change) {
        let code = format!("pa_{}", secret::random_token());
        let change = Change::Put(self.record(&code), Expect::Absent);
        (code, change)
    }

    fn record(&self, code: &str) -> Record {
        Record::passing(key(code), self.expires.plus(REMEMBERED), self)
    }
}

/// The flow.
pub struct AuthorizationCodeGrant;

#[async_trait::async_trait]
impl Grant for AuthorizationCodeGrant {
    fn grant_type(&self) -> &'static str {
        "authorization_code"
    }

    async fn redeem(&self, request: &TokenRequest<'_>, cx: &Cx) -> Result<Redeemed, OAuthError> {
        let text = request.params.require("code", "code is missing")?;
        let client = request.client.ok_or_else(|| OAuthError::new(Code::InvalidClient, "client_id is missing"))?;
        let presented = Presented {
            code: text,
            redirect_uri: request.params.get("redirect_uri"),
            verifier: request.params.get("code_verifier"),
            key: request.proof,
        };
        let (code, used) = take(&presented, client, cx).await?;
        user_may(client, &code.subject, cx).await?;
        let mut changes = vec![used];
        let mut endings = Vec::new();
        let held = Held::first(&code, client);
        if held.rotate {
            begin(client, &code.subject, &mut changes, &mut endings, cx).await?;
        }
        let scopes = ScopeSet::parse(&code.scopes).unwrap_or_default().intersection(&client.scopes);
        Ok(Redeemed {
            client: client.clone(),
            subject: code.subject.into(),
            scopes,
            changes,
            endings,
            held: Some(held),
            terms: Default::default(),
        })
    }
}

/// What a client shows for a code.
pub struct Presented<'a> {
    /// The code's text.
    pub code: &'a str,
    /// `redirect_uri`.
    pub redirect_uri: Option<&'a str>,
    /// `code_verifier`.
    pub verifier: Option<&'a str>,
    /// Thumbprint of the key that it proved to hold.
    pub key: Option<Digest>,
}

/// The code that was presented, if everything holds that it is bound to (S25), and the write that uses it up.
pub async fn take(
    presented: &Presented<'_>,
    client: &Client,
    cx: &Cx,
) -> Result<(AuthorizationCode, Change), OAuthError> {
    let invalid =
        |detail: &str| OAuthError::new(Code::InvalidGrant, "the authorization code is invalid").detail(detail);
    let record = cx
        .store
        .get(&key(presented.code), cx.now)
        .await?
        .ok_or_else(|| invalid("unknown code").of(Situation::BadCode))?;
    let code: AuthorizationCode = super::stored(&record)?;
    if *code.client != *client.id {
        return Err(invalid("issued to another client").of(Situation::BadCode));
    }
    match presented.redirect_uri {
        Some(uri) if uri != code.redirect_uri => {
            return Err(invalid("redirect_uri differs").of(Situation::RedirectUriMismatch));
        }
        None if code.redirect_uri_named => {
            return Err(invalid("redirect_uri is missing").of(Situation::RedirectUriMissing));
        }
        _ => {}
    }
    match (&code.challenge, presented.verifier) {
        (None, None) => {}
        // Without a challenge a verifier shows that somebody took the challenge away (S5).
        (None, Some(_)) => return Err(invalid("code_verifier without a challenge").of(Situation::BadVerifier)),
        (Some(_), None) => return Err(invalid("code_verifier is missing").of(Situation::BadVerifier)),
        (Some(challenge), Some(verifier)) => {
            if !is_verifier(verifier, cx.wire) || Digest::text(verifier) != *challenge {
                return Err(invalid("code_verifier does not match").of(Situation::BadVerifier));
            }
        }
    }
    if code.key.is_some() && code.key != presented.key {
        return Err(OAuthError::new(Code::InvalidDpopProof, "the DPoP proof is missing or does not hold")
            .detail("dpop_jkt names another key"));
    }
    if code.redeemed {
        // Everything else holds, so one of the two callers stole it (S26).
        return Err(super::ended(&code.authorization, invalid("replayed").of(Situation::BadCode), cx));
    }
    if code.expires <= cx.now {
        return Err(OAuthError::new(Code::InvalidGrant, "expired authorization code"));
    }
    let (client, subject, given) = (&code.client, &code.subject, code.expires.plus(-LIFETIME));
    if let Some(why) = super::taken_back(client, subject, (&code.sid, code.session_ends), given, cx) {
        return Err(invalid(why).of(Situation::BadCode));
    }
    let used = AuthorizationCode { redeemed: true, ..code.clone() }.record(presented.code);
    Ok((code, Change::Put(used, Expect::Version(record.version))))
}

/// RFC 7636 §4.1; Salesforce's own clients send longer ones.
fn is_verifier(text: &str, wire: Wire) -> bool {
    let longest = match wire {
        Wire::Standard => 128,
        Wire::Salesforce => 256,
    };
    (43..=longest).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))
}

/// Whether an authority names this machine itself: then the port is free (RFC 8252 §7.3).
pub fn is_loopback(authority: &str) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|a| a.is_loopback())
}

/// Whether `given` is the registered URI: byte for byte, but for the port of a loopback address (S1).
pub fn same_redirect_uri(registered: &str, given: &str) -> bool {
    if registered == given {
        return true;
    }
    let parts = |uri: &str| -> Option<(String, String)> {
        let rest = uri.strip_prefix("http://")?;
        let (authority, path) = rest.find(['/', '?']).map_or((rest, ""), |at| rest.split_at(at));
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => host,
            _ => authority,
        };
        is_loopback(host).then(|| (host.to_owned(), path.to_owned()))
    };
    let pair = (parts(registered), parts(given));
    matches!(pair, (Some(a), Some(b)) if a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s1_redirect_uris_are_compared_exactly_but_for_a_loopback_port() {
        let same = same_redirect_uri;
        assert!(same("https://app.example/cb", "https://app.example/cb"));
        for other in [
            "https://app.example/cb/",
            "https://app.example/cb?x=1",
            "https://APP.example/cb",
            "https://app.example:443/cb",
            "http://app.example/cb",
        ] {
            assert!(!same("https://app.example/cb", other), "{other}");
        }
        assert!(
            same("http://127.0.0.1/cb", "http://127.0.0.1:51234/cb") && same("http://[::1]:1/cb", "http://[::1]:2/cb")
        );
        for other in [
            "http://127.0.0.1:1/other",
            "http://127.0.0.1.evil.example:1/cb",
            "http://localhost:1/cb",
            "http://127.0.0.1:1@evil.example/cb",
        ] {
            assert!(!same("http://127.0.0.1/cb", other), "{other}");
        }
        assert!(!same("http://app.example:80/cb", "http://app.example:81/cb"));
    }
}
