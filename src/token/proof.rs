//! DPoP proofs (RFC 9449 §4): a JWT that the holder of a key signs for one request.
use super::signature_only;
use crate::{
    clock::Timestamp,
    model::{PublicJwk, VerificationKey},
    secret::Digest,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use serde::Deserialize;
use serde_json::Value;

/// Longest proof that is looked at, bytes.
pub const LONGEST: usize = 4096;
/// `alg` values of proofs.
pub const ALGORITHMS: [&str; 4] = ["ES256", "EdDSA", "PS256", "RS256"];
/// How far ahead `iat` may lie, seconds (S35).
pub const AHEAD: i64 = 30;
/// Longest `jti`, bytes.
const LONGEST_ID: usize = 256;

/// The request that a proof has to be for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The method.
    pub method: &'a str,
    /// Addresses of the request, each as `https`, authority and path: one of them has to be `htu`.
    pub at: &'a [Target<'a>],
    /// The access token it comes with (`ath`); none at the token endpoint.
    pub token: Option<&'a [u8]>,
    /// Seconds after `iat` that a proof holds.
    pub lifetime: i64,
    /// The time.
    pub now: Timestamp,
}

/// An address without query.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Host and port.
    pub authority: &'a str,
    /// The path.
    pub path: &'a str,
}

/// A proof whose signature and claims hold.
#[derive(Debug)]
pub struct Proof {
    /// Thumbprint of the key (RFC 7638).
    pub key: Digest,
    /// Names the proof: one key's one `jti`.
    pub name: Digest,
    /// The `nonce` that it carries.
    pub nonce: Option<String>,
    /// Until when it has to be remembered, so that it is used once.
    pub remember: Timestamp,
}

/// Why a proof is refused: for the log, never for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not a JWS with the claims of a proof.
    #[error("malformed")]
    Malformed,
    /// `typ` is not `dpop+jwt`.
    #[error("wrong typ")]
    Type,
    /// `crit` names what is not understood.
    #[error("unknown crit")]
    Critical,
    /// `alg` is none of ours, or not one of the key's type.
    #[error("algorithm")]
    Algorithm,
    /// `jwk` is missing, not a public key, or a weak one.
    #[error("key")]
    Key,
    /// The key in it did not sign it.
    #[error("signature")]
    Signature,
    /// `htm` is another method.
    #[error("htm")]
    Method,
    /// `htu` is another address.
    #[error("htu")]
    Address,
    /// `iat` lies too far back or ahead.
    #[error("iat")]
    Time,
    /// `ath` is not the token's.
    #[error("ath")]
    Token,
}

#[derive(Deserialize)]
struct Claims {
    jti: String,
    htm: String,
    htu: String,
    iat: serde_json::Number,
    exp: Option<i64>,
    ath: Option<String>,
    nonce: Option<String>,
}

/// Verifies a proof by the key that it brings along, and against the request that it came with.
pub fn verify(jws: &str, asked: Asked<'_>) -> Result<Proof, Refusal> {
    let (key, claims) = signed(jws, "dpop+jwt")?;
    let claims: Claims = serde_json::from_value(claims).map_err(|_| Refusal::Malformed)?;
    if claims.jti.is_empty() || claims.jti.len() > LONGEST_ID || claims.nonce.as_ref().is_some_and(|n| n.len() > 512) {
        return Err(Refusal::Malformed);
    }
    if claims.htm != asked.method {
        return Err(Refusal::Method);
    }
    if !asked.at.iter().any(|target| target.is(&claims.htu)) {
        return Err(Refusal::Address);
    }
    let begun = claims.iat.as_i64().or_else(|| claims.iat.as_f64().map(|n| n as i64)).ok_or(Refusal::Malformed)?;
    let ends = Timestamp(begun).plus(asked.lifetime);
    let over = ends < asked.now || claims.exp.is_some_and(|at| at <= asked.now.0);
    if over || begun > asked.now.plus(AHEAD).0 {
        return Err(Refusal::Time);
    }
    match asked.token {
        Some(token) if claims.ath.as_deref() != Some(&*B64.encode(Digest::of(token).0)) => return Err(Refusal::Token),
        _ => {}
    }
    let key = key.thumbprint();
    let name = Digest::of(&[&key.0[..], claims.jti.as_bytes()].concat());
    Ok(Proof { key, name, nonce: claims.nonce, remember: ends.plus(1) })
}

/// The claims of a JWS of this `typ` that the key in its own header signed: proof that whoever made it holds that key,
/// and of nothing else. Its algorithm is pinned to the key's type (S32); `jku` and `x5u` are not followed (S33).
pub fn signed(jws: &str, typ: &str) -> Result<(PublicJwk, Value), Refusal> {
    let header = header(jws)?;
    if !header["typ"].as_str().is_some_and(|t| t.eq_ignore_ascii_case(typ)) {
        return Err(Refusal::Type);
    }
    let key = PublicJwk::read(&header["jwk"]).map_err(|_| Refusal::Key)?;
    let claims = signed_by(jws, &header, &key)?;
    Ok((key, claims))
}

/// The header of a JWS in compact form.
pub fn header(jws: &str) -> Result<Value, Refusal> {
    if jws.len() > LONGEST || jws.split('.').count() != 3 {
        return Err(Refusal::Malformed);
    }
    let first = jws.split('.').next().and_then(|h| B64.decode(h).ok()).ok_or(Refusal::Malformed)?;
    let header: Value = serde_json::from_slice(&first).map_err(|_| Refusal::Malformed)?;
    if header.get("crit").is_some() {
        return Err(Refusal::Critical);
    }
    Ok(header)
}

/// The claims of a JWS with this `header` that `key` signed, by an algorithm of the key's own type.
pub fn signed_by(jws: &str, header: &Value, key: &PublicJwk) -> Result<Value, Refusal> {
    let algorithm = header["alg"].as_str().filter(|a| ALGORITHMS.contains(a)).ok_or(Refusal::Algorithm)?;
    let algorithm = algorithm.parse().map_err(|_| Refusal::Algorithm)?;
    let verifies = VerificationKey::from_public(key).map_err(|_| Refusal::Key)?;
    if !verifies.algorithms.contains(&algorithm) {
        return Err(Refusal::Algorithm);
    }
    let data = jsonwebtoken::decode::<Value>(jws, &verifies.key, &signature_only(algorithm));
    data.map(|d| d.claims).map_err(|_| Refusal::Signature)
}

impl Target<'_> {
    /// Whether `htu` is this address, query and fragment apart; equal after normalisation (RFC 9449 §4.3, RFC 3986 §6.2).
    pub fn is(&self, htu: &str) -> bool {
        let plain = |authority: &str| -> String {
            let lower = authority.to_ascii_lowercase();
            lower.strip_suffix(":443").map_or(lower.clone(), str::to_owned)
        };
        let whole = htu.split(['?', '#']).next().unwrap_or_default();
        let Some((scheme, rest)) = whole.split_once("://") else { return false };
        let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        scheme.eq_ignore_ascii_case("https")
            && plain(authority) == plain(self.authority)
            && (path == self.path || normal(path) == normal(self.path))
    }
}

/// Escapes of unreserved characters undone, all others in upper case (RFC 3986 §6.2.2).
fn normal(path: &str) -> Vec<u8> {
    let bytes = path.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%').then(|| bytes.get(at + 1..at + 3)).flatten();
        let value = escaped.and_then(|e| u8::from_str_radix(std::str::from_utf8(e).ok()?, 16).ok());
        match (escaped, value) {
            (Some(_), Some(b)) if b.is_ascii_alphanumeric() || b"-._~".contains(&b) => out.push(b),
            (Some(digits), Some(_)) => {
                out.push(b'%');
                out.extend(digits.to_ascii_uppercase());
            }
            _ => {
                out.push(bytes[at]);
                at += 1;
                continue;
            }
        }
        at += 3;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
    use serde_json::json;

    const NOW: Timestamp = Timestamp(1_000_000);
    const AT: [Target<'_>; 1] = [Target { authority: "api.example:8443", path: "/orders/7" }];

    fn asked(token: Option<&[u8]>) -> Asked<'_> {
        Asked { method: "GET", at: &AT, token, lifetime: 60, now: NOW }
    }

    struct Holder(EncodingKey, Value);

    fn holder() -> Holder {
        let pair = rcgen::KeyPair::generate().unwrap();
        let point = pair.public_key_raw();
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": B64.encode(&point[1..33]), "y": B64.encode(&point[33..65])});
        Holder(EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap(), jwk)
    }

    fn claims() -> Value {
        json!({"jti": "1", "htm": "GET", "htu": "https://api.example:8443/orders/7", "iat": NOW.0})
    }

    impl Holder {
        fn sign(&self, claims: &Value, change: impl FnOnce(&mut Header)) -> String {
            let mut header = Header::new(Algorithm::ES256);
            header.typ = Some("dpop+jwt".to_owned());
            header.jwk = Some(serde_json::from_value::<Jwk>(self.1.clone()).unwrap());
            change(&mut header);
            jsonwebtoken::encode(&header, claims, &self.0).unwrap()
        }
    }

    #[test]
    fn a_good_proof_holds_and_names_its_key() {
        let h = holder();
        let mut good = claims();
        good["ath"] = Digest::text("token").into();
        let proof = verify(&h.sign(&good, |_| {}), asked(Some(b"token"))).unwrap();
        assert_eq!(proof.key, PublicJwk::read(&h.1).unwrap().thumbprint());
        assert!(verify(&h.sign(&claims(), |_| {}), asked(None)).is_ok());
    }

    #[test]
    fn s32_to_s39_each_bad_proof_is_refused_for_its_own_reason() {
        let h = holder();
        let with = |name: &str, value: Value| {
            let mut claims = claims();
            claims[name] = value;
            h.sign(&claims, |_| {})
        };
        let foreign = holder();
        let swapped = h.sign(&claims(), |head| head.jwk = serde_json::from_value(foreign.1.clone()).ok());
        let hmac = {
            let mut head = Header::new(Algorithm::HS256);
            head.typ = Some("dpop+jwt".to_owned());
            head.jwk = serde_json::from_value(h.1.clone()).ok();
            jsonwebtoken::encode(&head, &claims(), &EncodingKey::from_secret(b"x")).unwrap()
        };
        let private = {
            let head = json!({"alg": "ES256", "typ": "dpop+jwt", "jwk": {"kty": "EC", "crv": "P-256", "x": h.1["x"], "y": h.1["y"], "d": "AAAA"}});
            let good = h.sign(&claims(), |_| {});
            let rest = good.split_once('.').unwrap().1.to_owned();
            format!("{}.{rest}", B64.encode(head.to_string()))
        };
        let cases = [
            ("S38 typ", h.sign(&claims(), |head| head.typ = Some("JWT".to_owned())), Refusal::Type),
            ("S39 crit", h.sign(&claims(), |head| head.crit = Some(vec!["b64".to_owned()])), Refusal::Critical),
            ("S32 HMAC", hmac, Refusal::Algorithm),
            ("no key", h.sign(&claims(), |head| head.jwk = None), Refusal::Key),
            ("a private key", private, Refusal::Key),
            ("S32 another key", swapped, Refusal::Signature),
            ("htm", with("htm", json!("POST")), Refusal::Method),
            ("htm in lower case", with("htm", json!("get")), Refusal::Method),
            ("htu", with("htu", json!("https://api.example:8443/orders/8")), Refusal::Address),
            ("htu of another host", with("htu", json!("https://api.example/orders/7")), Refusal::Address),
            ("htu in plain HTTP", with("htu", json!("http://api.example:8443/orders/7")), Refusal::Address),
            ("S34 old", with("iat", json!(NOW.0 - 61)), Refusal::Time),
            ("S35 ahead", with("iat", json!(NOW.0 + 61)), Refusal::Time),
            ("S34 expired", with("exp", json!(NOW.0)), Refusal::Time),
            ("S34 iat as text", with("iat", json!("now")), Refusal::Malformed),
            ("no jti", with("jti", json!("")), Refusal::Malformed),
            ("long jti", with("jti", json!("x".repeat(257))), Refusal::Malformed),
            ("malformed", "a.b.c".to_owned(), Refusal::Malformed),
        ];
        for (what, proof, why) in cases {
            assert_eq!(verify(&proof, asked(None)).err(), Some(why), "{what}");
        }
        assert_eq!(verify(&h.sign(&claims(), |_| {}), asked(Some(b"token"))).err(), Some(Refusal::Token), "ath");
    }

    #[test]
    fn addresses_are_equal_after_normalisation_and_not_otherwise() {
        let at = Target { authority: "API.example:443", path: "/a%2fb/~c" };
        for same in ["https://api.example/a%2Fb/~c", "HTTPS://api.example:443/a%2fb/%7Ec?x=1#y"] {
            assert!(at.is(same), "{same}");
        }
        for other in
            ["https://api.example/a/b/~c", "https://x@api.example/a%2fb/~c", "https://api.example", "/a%2fb/~c", ""]
        {
            assert!(!at.is(other), "{other}");
        }
        assert!(Target { authority: "a.example", path: "/" }.is("https://a.example"));
    }

    proptest::proptest! {
        #[test]
        fn foreign_bytes_never_panic_and_never_hold(text in "(eyJ[a-zA-Z0-9_-]{0,80}\\.){0,2}[a-zA-Z0-9_.=%-]{0,120}", htu in "\\PC{0,60}") {
            proptest::prop_assert!(verify(&text, asked(None)).is_err());
            proptest::prop_assert!(!AT[0].is(&htu));
        }

        #[test]
        fn any_header_and_claims_are_judged(header in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200), body in "\\PC{0,100}") {
            let text = format!("{}.{}.{}", B64.encode(&header), B64.encode(&body), B64.encode("x"));
            proptest::prop_assert!(verify(&text, asked(None)).is_err());
            let head = r#"{"alg":"ES256","typ":"dpop+jwt","jwk":{"kty":"EC","crv":"P-256","x":"AAAA","y":"AAAA"}}"#;
            let text = format!("{}.{}.AAAA", B64.encode(head), B64.encode(&body));
            proptest::prop_assert!(verify(&text, asked(None)).is_err());
        }
    }
}
