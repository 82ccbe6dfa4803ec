//! Signed assertions of clients: as a grant and as client authentication (RFC 7523 §3).
use super::signature_only;
use crate::{
    clock::Timestamp,
    model::VerificationKey,
    secret::Digest,
    store::{Change, Expect, Record},
};
use serde::Deserialize;

/// Accepted difference of clocks, seconds (S35: 10 s ahead must pass, over 60 s must not).
pub const LEEWAY: i64 = 30;

/// `aud` may be one string or several (RFC 7519 §4.1.3).
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

#[derive(Debug, Deserialize)]
struct Raw {
    iss: String,
    sub: String,
    aud: Audience,
    exp: i64,
    nbf: Option<i64>,
    iat: Option<i64>,
    jti: Option<String>,
}

/// An assertion whose signature and claims hold.
#[derive(Debug)]
pub struct Assertion {
    /// `sub`.
    pub subject: String,
    /// `exp`.
    pub expires: Timestamp,
    /// Every claim.
    pub claims: serde_json::Value,
    /// Writes that make it usable once (S37); part of the request's one commit.
    pub once: Change,
}

/// Why an assertion is refused: for the log, never for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not a JWS of JSON claims.
    #[error("malformed")]
    Malformed,
    /// `crit` names what is not understood (RFC 7515 §4.1.11).
    #[error("unknown crit")]
    Critical,
    /// `typ` says it is another kind of token (RFC 8725 §3.11).
    #[error("wrong typ")]
    Type,
    /// No registered key verifies it.
    #[error("signature")]
    Signature,
    /// `iss` is not the client.
    #[error("issuer")]
    Issuer,
    /// `aud` is not ours.
    #[error("audience")]
    Audience,
    /// `exp` has passed.
    #[error("expired")]
    Expired,
    /// `exp` is further ahead than the app's policy allows.
    #[error("exp too far ahead")]
    TooLong,
    /// `nbf` or `iat` lies ahead.
    #[error("not yet valid")]
    NotYet,
}

/// The issuer named by an assertion, unverified: good for looking up keys, nothing else.
pub fn unverified_issuer(jws: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Issuer {
        iss: String,
    }
    jsonwebtoken::dangerous::insecure_decode_claims::<Issuer>(jws).ok().map(|i| i.iss)
}

/// What one profile accepts.
pub struct Rules {
    /// Accepted `aud` values, exact strings (S36).
    pub audiences: Vec<String>,
    /// How far ahead `nbf` and `iat` may lie, seconds.
    pub ahead: i64,
    /// How long after `exp` it still holds, seconds.
    pub late: i64,
    /// Reads claims that are written in another way; the signature has been verified.
    pub read: fn(&mut serde_json::Value),
}

impl Rules {
    /// Those of RFC 7523.
    pub fn standard(audiences: Vec<String>) -> Self {
        Self { audiences, ahead: LEEWAY, late: 0, read: |_| {} }
    }
}

/// Verifies `jws` as an assertion of `client` against its registered keys only; `jku`, `x5u` and
/// `jwk` in its header are ignored (S33). `longest` bounds `exp`, seconds ahead.
pub fn verify(
    jws: &str,
    client: &str,
    keys: &[VerificationKey],
    rules: &Rules,
    longest: i64,
    now: Timestamp,
) -> Result<Assertion, Refusal> {
    let header = jsonwebtoken::decode_header(jws).map_err(|_| Refusal::Malformed)?;
    if header.crit.is_some() {
        return Err(Refusal::Critical);
    }
    let typ = header.typ.as_deref().map(str::to_ascii_lowercase);
    if !matches!(typ.as_deref(), None | Some("jwt" | "client-authentication+jwt" | "authorization-grant+jwt")) {
        return Err(Refusal::Type);
    }
    let candidates = keys.iter().filter(|k| {
        k.algorithms.contains(&header.alg) && (header.kid.is_none() || k.kid.is_none() || k.kid == header.kid)
    });
    let validation = signature_only(header.alg);
    let mut outcome = Err(Refusal::Signature);
    for key in candidates {
        match jsonwebtoken::decode::<serde_json::Value>(jws, &key.key, &validation) {
            Ok(data) => {
                let mut claims = data.claims;
                (rules.read)(&mut claims);
                let raw = serde_json::from_value::<Raw>(claims.clone()).map_err(|_| Refusal::Malformed);
                outcome = raw.map(|raw| (raw, claims));
                break;
            }
            Err(_) => continue,
        }
    }
    let (claims, all) = outcome?;
    if claims.iss != client {
        return Err(Refusal::Issuer);
    }
    let named = match &claims.aud {
        Audience::One(one) => std::slice::from_ref(one),
        Audience::Several(several) => several,
    };
    if !named.iter().any(|a| rules.audiences.contains(a)) {
        return Err(Refusal::Audience);
    }
    let expires = Timestamp(claims.exp).plus(rules.late);
    if expires <= now {
        return Err(Refusal::Expired);
    }
    if claims.exp > now.plus(longest + rules.ahead).0 {
        return Err(Refusal::TooLong);
    }
    if [claims.nbf, claims.iat].into_iter().flatten().any(|t| t > now.plus(rules.ahead).0) {
        return Err(Refusal::NotYet);
    }
    // Without a jti the signed text itself is what may be used once.
    let signed = jws.rsplit_once('.').map_or(jws, |(signed, _)| signed);
    let name = claims.jti.as_deref().map_or_else(|| signed.to_owned(), |jti| format!("jti:{jti}"));
    let record = Record {
        key: format!("assertion/{client}/{}", Digest::of(name.as_bytes()).hex()),
        version: 0,
        index: None,
        expires: Some(expires),
        body: Vec::new(),
    };
    let once = Change::Put(record, Expect::Absent);
    Ok(Assertion { subject: claims.sub, expires: Timestamp(claims.exp), claims: all, once })
}
